"""The messages in docs/troubleshooting.md are those that the code prints."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'troubleshooting.md'
SOURCES = ('projects', 'tools', 'oneformer')
VALUE = '\0'  # stands for what an f-string fills in
MESSAGE = re.compile(r'^\| `([^`]+)` \|', re.MULTILINE)


def texts_of(code: str) -> list[str]:
    """Return the texts of a program, with ``VALUE`` for what is filled in."""
    texts = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.JoinedStr):
            texts.append(
                ''.join(
                    part.value if isinstance(part, ast.Constant) else VALUE
                    for part in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


def is_printed(message: str, texts: list[str]) -> bool:
    """Return whether one of the texts may become a message.

    A word of the message fits itself only, ``...`` whatever is filled in.
    """
    filled_in = f'{VALUE}(?:.*{VALUE})?'
    parts = message.strip('. ').split('...')
    pattern = re.compile(filled_in.join(map(re.escape, parts)), re.DOTALL)
    return any(pattern.search(text) for text in texts)


@pytest.fixture(scope='module')
def printed() -> list[str]:
    """The texts of all programs."""
    files = [p for name in SOURCES for p in (ROOT / name).rglob('*.py')]
    return [
        text
        for file in files
        for text in texts_of(file.read_text(encoding='utf-8'))
    ]


def messages() -> list[str]:
    """The first column of the tables, except commands."""
    found = MESSAGE.findall(PAGE.read_text(encoding='utf-8'))
    return [text for text in found if len(text.split()) > 4 or '...' in text]


def test_a_message_that_no_program_prints_is_noticed():
    texts = texts_of(
        "raise ValueError(f'No {name} in {path}: ' 'check both.')"
    )
    assert is_printed('No ... in ...: check both.', texts)
    assert is_printed('No ... in ...', texts)
    assert not is_printed('No ... in ...: check one.', texts)
    assert not is_printed('No ... at ...: check both.', texts)
    assert not is_printed('No image in ...: check both.', texts)


@pytest.mark.parametrize('message', messages())
def test_the_page_quotes_a_message_of_the_code(message, printed):
    assert is_printed(message, printed)
