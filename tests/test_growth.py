"""The growth benchmark fits the exponent that its table states."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / 'benchmarks'


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize('power', [0, 1, 2])
def test_the_exponent_is_that_of_the_last_step(power):
    from growth import Growth

    # A fixed cost hides the growth of small sizes: only the last step counts.
    values = {1: 100.0, 10: 7.0 * 10**power, 40: 7.0 * 40**power}
    assert Growth('n', 's', values).exponent == pytest.approx(power)


def test_a_row_holds_each_size_in_time_and_memory(tmp_path):
    out = tmp_path / 'growth.md'
    done = subprocess.run(
        [
            sys.executable, 'benchmarks/growth.py', '--tiny', '--repeats',
            '1', '--rows', 'classes', '--out', str(out),
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    time, memory = (
        line.split(' | ')
        for line in out.read_text().splitlines()
        if line.startswith('| classes')
    )
    assert time[1] == 's' and memory[1] == 'MiB at most'
    for cells in (time, memory):
        sizes = [part.split(':')[0] for part in cells[2].split(', ')]
        assert sizes == ['10', '100']
