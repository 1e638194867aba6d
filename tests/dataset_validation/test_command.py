"""The command, as a user gives it, and the page about it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_validation import CHECKS

from tests.dataset_validation.tiny_sets import segment

ROOT = Path(__file__).parents[2]
TOOL = 'tools/misc/validate_dataset.py'


def tool(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_starts_without_torch():
    process = subprocess.run(
        [sys.executable, '-X', 'importtime', TOOL, '-h'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 'Example: ' in process.stdout
    assert not re.search(r'\| +torch$', process.stderr, re.MULTILINE)


def test_the_command_reports_mends_and_exits_for_ci(tiny, tmp_path):
    assert tool(tiny.folder, '--strict').returncode == 0
    tiny.first[0]['area'] = 21
    tiny.save_json()
    process = tool(tiny.folder)
    assert process.returncode == 0
    assert '0 errors, 1 warning, 0 remarks.' in process.stdout
    assert tool(tiny.folder, '--strict').returncode == 1
    tiny.first.append(segment(555, 9, 8, [0, 0, 2, 4]))
    tiny.first.append(segment(556, 9, 8, [0, 0, 2, 4]))
    tiny.save_json()
    options = ('--max-examples', 1, '--json', tmp_path / 'all.json')
    process = tool(tiny.folder, *options, '--fix', tmp_path / 'copy')
    assert process.returncode == 1
    assert 'error missing-id (2): segment of the JSON' in process.stdout
    assert '1.png: segment 555: is listed' in process.stdout
    assert '    ... and 1 more' in process.stdout
    assert 'differs in 3 places' in process.stdout
    content = json.loads((tmp_path / 'all.json').read_text())
    assert content['counts'] == dict(error=2, warning=1, info=0)
    assert {f['id'] for f in content['findings']} == {555, 556, 1000}
    assert tool(tmp_path / 'copy', '--strict').returncode == 0


def test_the_command_checks_on_several_processes(tiny):
    for number in range(3, 30):
        tiny.images.append(
            dict(tiny.images[0], id=number, file_name=f'{number}.jpg')
        )
        tiny.annotations.append(
            dict(
                tiny.annotations[0],
                image_id=number,
                file_name=f'{number}.png',
            )
        )
        if number != 20:
            tiny.jpg(number).write_bytes(tiny.jpg(1).read_bytes())
        tiny.png(number).write_bytes(tiny.png(1).read_bytes())
    tiny.save_json()
    process = tool(tiny.folder, '--workers', 2)
    assert process.returncode == 1
    assert 'train/20.jpg: does not exist' in process.stdout
    assert '1 error, 0 warnings' in process.stdout


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere'], 'error: nowhere does not exist'),
        (['docs'], 'holds no annotations that are known here'),
        (['tests', '--workers', '99'], 'Expected 1 to 32 workers, got 99'),
    ],
)
def test_the_command_says_what_it_cannot_do(tiny, arguments, message):
    if arguments[0] == 'tests':
        arguments = [tiny.folder, *arguments[1:]]
    process = tool(*arguments)
    assert process.returncode == 1
    assert message in process.stderr


def test_a_fault_of_ours_is_no_fault_of_the_data(tiny, monkeypatch):
    from tools.misc import validate_dataset

    def fail(*_):
        raise ValueError('a fault of ours')

    monkeypatch.setattr('dataset_validation.check_sets', fail)
    monkeypatch.setattr(sys, 'argv', [TOOL, str(tiny.folder)])
    with pytest.raises(ValueError, match='a fault of ours'):
        validate_dataset.main()


def test_the_page_explains_every_kind_of_finding():
    page = (ROOT / 'docs' / 'check_your_data.md').read_text()
    assert [kind for kind in CHECKS if f'`{kind}`' not in page] == []
