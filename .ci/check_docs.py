"""Check the pages: links, anchors, code blocks and the paths they name.

Usage: python .ci/check_docs.py [ROOT]

Reads README.md, CONTRIBUTING.md and docs/**/*.md below ROOT, by default the
root of this repository. Prints ``file:line: what is wrong`` and exits with 1
if anything is. Addresses on the web are not asked.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

PAGES = ('README.md', 'CONTRIBUTING.md', 'docs/**/*.md')
MARKDOWN = MarkdownIt('commonmark').enable('table')
# Paths that a page names without linking them.
FOLDERS = (
    '.ci|benchmarks|configs|constraints|docs|examples|projects|tests|tools'
)
NAMED = re.compile(rf'(?:{FOLDERS})/[^\s:]*')
# As in configs/NAME.py and configs/oneformer_r50[-VARIANT].py.
PLACEHOLDER = re.compile(r'[A-Z<{\[]|\.\.\.')
SCRIPT = re.compile(r'(?<![\w/.-])(?:benchmarks|tools)/[\w/]+\.(?:py|sh)\b')
IN_HTML = re.compile(r'\b(?:href|src)="([^"]*)"')
ON_THE_WEB = re.compile(r'[a-z][a-z0-9+.-]*:|//')


class Part(NamedTuple):
    """A leaf of a page, such as a link or a block of code."""

    line: int  # from 1
    token: Token


class Problem(NamedTuple):
    """What is wrong, and where."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f'{self.page}:{self.line}: {self.text}'


def parts_of(page: Path) -> Iterator[Part]:
    """Yield the leaves of a page in their order."""
    line = 1
    for token in MARKDOWN.parse(page.read_text(encoding='utf-8')):
        if token.map:
            line = token.map[0] + 1
        yield Part(line, token)
        inner = line
        for child in token.children or ():
            yield Part(inner, child)
            inner += child.type in ('softbreak', 'hardbreak')


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    anchors, seen, in_heading = set(), Counter(), False
    for _, token in parts_of(page):
        if token.type == 'inline' and in_heading:
            text = ''.join(
                child.content
                for child in token.children
                if child.type in ('text', 'code_inline')
            )
            name = re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-')
            anchors.add(f'{name}-{seen[name]}' if seen[name] else name)
            seen[name] += 1
        in_heading = token.type == 'heading_open'
    return anchors


def check_link(target: str, page: Path) -> str | None:
    """Return what is wrong with the target of a link, if anything is."""
    if ON_THE_WEB.match(target):
        return None
    path, _, anchor = unquote(target).partition('#')
    linked = page.parent / path if path else page
    if not linked.exists():
        return f'the link {target} leads to no file'
    if anchor and linked.suffix == '.md' and anchor not in anchors_of(linked):
        return f'the link {target} leads to no heading'
    return None


def check_named_path(code: str, root: Path) -> str | None:
    """Return what is wrong with inline code that is a path, if it is one."""
    named = NAMED.match(code)
    if not named or PLACEHOLDER.search(named[0]):
        return None
    if any(root.glob(named[0])):
        return None
    return f'{named[0]} does not exist'


def check_python(code: str) -> tuple[int, str] | None:
    """Return the line, from 0, and what is wrong there, if anything is."""
    try:
        ast.parse(code)
    except SyntaxError as error:
        return (error.lineno or 1) - 1, f'Python cannot read this: {error.msg}'
    return None


def check_shell(code: str) -> tuple[int, str] | None:
    """Return the line, from 0, and what is wrong there, if anything is."""
    done = subprocess.run(
        ['bash', '-n'], input=code, capture_output=True, text=True
    )
    if done.returncode == 0:
        return None
    first = done.stderr.splitlines()[0]
    found = re.match(r'bash: line (\d+): (.*)', first)
    if not found:
        return 0, f'bash cannot read this: {first}'
    return int(found[1]) - 1, f'bash cannot read this: {found[2]}'


CHECKS = dict(python=check_python, bash=check_shell, shell=check_shell)


def problems_of(page: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each problem of a page."""
    for line, token in parts_of(page):
        targets = []
        if token.type == 'link_open':
            targets = [token.attrGet('href')]
        elif token.type == 'image':
            targets = [token.attrGet('src')]
        elif token.type in ('html_block', 'html_inline'):
            targets = IN_HTML.findall(token.content)
        for target in targets:
            if text := check_link(target, page):
                yield line, text
        if token.type == 'code_inline' and (
            text := check_named_path(token.content, root)
        ):
            yield line, text
        if token.type in ('fence', 'code_block'):
            begin = line + (token.type == 'fence')
            check = CHECKS.get(token.info.split(' ')[0])
            if check and (found := check(token.content)):
                yield begin + found[0], found[1]
            for offset, code in enumerate(token.content.splitlines()):
                for script in SCRIPT.findall(code):
                    if not (root / script).exists():
                        yield begin + offset, f'{script} does not exist'


def check(root: Path) -> list[Problem]:
    """Return the problems of all pages below a root."""
    pages = [page for name in PAGES for page in sorted(root.glob(name))]
    return [
        Problem(page.relative_to(root).as_posix(), *problem)
        for page in pages
        for problem in problems_of(page, root)
    ]


def main() -> int:
    """Print the problems; return the exit status."""
    root = Path(*sys.argv[1:2] or [Path(__file__).parents[1]])
    problems = check(root)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
