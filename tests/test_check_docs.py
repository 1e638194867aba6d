"""The check of the pages finds what is wrong, and nothing else."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('markdown_it', reason='needs the extra "lint"')

TOOL = Path(__file__).parents[1] / '.ci' / 'check_docs.py'
SCRIPT = runpy.run_path(str(TOOL))


@pytest.fixture
def root(tmp_path) -> Path:
    """A repository with a page, a config and a tool."""
    for folder in ('docs/decisions', 'configs', 'tools'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'configs' / 'oneformer_r50.py').touch()
    (tmp_path / 'tools' / 'train.py').touch()
    (tmp_path / 'docs' / 'own.md').write_text(
        '# Own data\n\n## A `mix`, or two\n\n## Masks\n\n## Masks\n'
    )
    return tmp_path


def problems(root: Path, text: str, name: str = 'README.md') -> list[str]:
    (root / name).write_text(text)
    return [str(problem) for problem in SCRIPT['check'](root)]


@pytest.mark.parametrize(
    'text',
    [
        '[a](docs/own.md) [b](docs) [c](docs/own.md#own-data)',
        '[a](docs/own.md#a-mix-or-two) [b](docs/own.md#masks-1)',
        '# Here\n\n[a](#here) [b](https://x.org/y#z) [c](mailto:a@b.org)',
        '`configs/oneformer_r50.py` `configs/oneformer_*.py` `configs/`',
        '`tools/train.py --amp` `configs/NAME.py` `configs/x[-y].py`',
        '`data/configs/mine.py` `other/tools/x.py`',
        '```python\n_base_ = "./a.py"\nmodel = dict(a=1)\n```',
        '```shell\npython tools/train.py configs/mine.py | tee log\n```',
        '```\nneither python nor ( shell\n```',
        '`[a](nowhere.md)`',
    ],
)
def test_nothing_is_said_of_what_is_right(root, text):
    assert problems(root, text) == []


@pytest.mark.parametrize(
    'text, expected',
    [
        (
            'One\ntwo [a\nb](docs/none.md).',
            '2: the link docs/none.md leads to no file',
        ),
        (
            '![a](docs/none.jpg)',
            '1: the link docs/none.jpg leads to no file',
        ),
        (
            '<p><img src="docs/none.jpg"></p>',
            '1: the link docs/none.jpg leads to no file',
        ),
        (
            '\n[a](docs/own.md#mix)',
            '2: the link docs/own.md#mix leads to no heading',
        ),
        (
            '[a](docs/own.md#masks-2)',
            '1: the link docs/own.md#masks-2 leads to no heading',
        ),
        ('[a](#here)', '1: the link #here leads to no heading'),
        (
            '| a | b |\n|---|---|\n| c | [d](none.md) |',
            '3: the link none.md leads to no file',
        ),
        (
            'Such as `configs/oneformer_r5.py`.',
            '1: configs/oneformer_r5.py does not exist',
        ),
        (
            'Such as `configs/swin_*.py`.',
            '1: configs/swin_*.py does not exist',
        ),
        (
            'Run\n\n    python tools/test.py a.py',
            '3: tools/test.py does not exist',
        ),
        (
            '```shell\nls\npython tools/test.py a.py\n```',
            '3: tools/test.py does not exist',
        ),
        (
            '- A\n\n  ```python\n  a = 1\n  b = (\n  ```',
            "5: Python cannot read this: '(' was never closed",
        ),
        (
            '```bash\nls\nfor a in b; do )\n```',
            "3: bash cannot read this: syntax error near unexpected token `)'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(root, text, expected):
    assert problems(root, text) == [f'README.md:{expected}']


def test_links_start_from_the_folder_of_their_page(root):
    assert problems(root, '[a](../own.md)', 'docs/decisions/1.md') == []
    assert problems(root, '[a](own.md)', 'docs/decisions/1.md') == [
        'docs/decisions/1.md:1: the link own.md leads to no file'
    ]


@pytest.mark.parametrize('text, status', [('Right.', 0), ('[a](b)', 1)])
def test_the_command_prints_problems_and_fails_if_there_are_any(
    root, text, status
):
    (root / 'CONTRIBUTING.md').write_text(text)
    done = subprocess.run(
        [sys.executable, TOOL, root], capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    assert done.stdout.count('\n') == status
    if status:
        assert done.stdout == (
            'CONTRIBUTING.md:1: the link b leads to no file\n'
        )
