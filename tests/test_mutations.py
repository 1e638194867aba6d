"""What the validator finds no error in trains and evaluates; see the package.

Many more are checked by ``python tests/mutations``.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from tests.mutations import agreement
from tests.mutations.agreement import DisagreementError, examine, prepare
from tests.mutations.changes import change
from tests.mutations.drawn import KINDS, DrawnSet

COUNT = 100


@pytest.fixture(autouse=True)
def quiet():
    logger = MMLogger.get_current_instance()
    level = logger.level
    prepare()
    yield
    logger.setLevel(level)  # other tests read the log


@pytest.mark.parametrize('kind', KINDS)
def test_a_set_as_it_is_drawn_is_clean(kind, tmp_path):
    assert examine(DrawnSet(kind), tmp_path) == 'clean'


@pytest.mark.parametrize('kind', KINDS)
def test_validator_and_use_agree_on_changed_sets(kind, tmp_path):
    outcomes, faults = [], []
    for number in range(COUNT):
        folder = tmp_path / str(number)
        folder.mkdir()
        drawn, told = change(number, kind)
        try:
            outcomes.append(examine(drawn, folder, mend=number % 10 == 0))
        except DisagreementError as error:
            faults.append((number, told, str(error)))
    assert faults == []
    # The changes are neither all harmless nor all fatal.
    assert outcomes.count('clean') > COUNT // 10
    assert outcomes.count('refused') > COUNT // 10


@pytest.mark.parametrize('kind', KINDS)
def test_a_change_is_the_same_every_time(kind):
    first, again, other = change(7, kind), change(7, kind), change(8, kind)
    assert first[1] == again[1]
    assert first[0].files == again[0].files
    assert first[1] != other[1]


def test_a_fault_that_the_validator_does_not_see_is_noticed(
    tmp_path, monkeypatch
):
    drawn = DrawnSet('semantic')
    del drawn.files['maps/1.png']
    (tmp_path / 'seen').mkdir()
    assert examine(drawn, tmp_path / 'seen') == 'reported'
    drawn = DrawnSet('instance')
    del drawn.files['images/1.jpg']
    monkeypatch.setattr(agreement, 'errors_of', lambda options, split: [])
    with pytest.raises(DisagreementError, match='finds no error'):
        examine(drawn, tmp_path)


def test_the_command_says_how_many_sets_agree():
    done = subprocess.run(
        [sys.executable, 'tests/mutations', '--count', '2']
        + ['--kind', 'instance'],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'instance: 2 sets, ' in done.stdout
