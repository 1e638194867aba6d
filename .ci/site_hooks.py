"""Hooks of mkdocs that make a site of pages written for the repository.

The pages are written as GitHub shows them: README.md links docs/, and docs/
links code. For the site,

- README.md is the home, and docs/index.md, the list of all pages, gives the
  navigation its order: a page is added by a link there, and nowhere else;
- a link to a file or folder outside docs/ leads to a page with its source;
- a notebook is a page of its cells;
- an image from the web is replaced by its text, so that the site loads
  nothing from the outside.
"""

import ast
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[1]
HOME = 'README.md'
ALL_PAGES = 'docs/index.md'
LINK = re.compile(r'\[([^\]]+)\]\(([^)\s]+)\)')
# Also of an image that is a link.
TARGET = re.compile(r'\]\(([^)\s]+)\)')
ON_THE_WEB = re.compile(r'[a-z][a-z0-9+.-]*:|//')
LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.json': 'json'}
BINARY = ('.gz', '.jpg', '.png')
# Longer than any fence within a source.
FENCE = '`' * 8
# Sources would hide the pages among the results of a search.
NOT_SEARCHED = '---\nsearch:\n  exclude: true\n---\n'


def leads_to_file(target: str) -> bool:
    """Whether a link names a file of the repository."""
    return not target.startswith('#') and not ON_THE_WEB.match(target)


def linked_path(target: str, page: str) -> str:
    """Return the path in the repository that a link of a page leads to.

    Args:
        target (str): The link, relative to the folder of the page.
        page (str): Path of the page in the repository; that of a folder ends
            with a slash.
    """
    path = unquote(target).partition('#')[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    return f'{path}/' if (ROOT / path).is_dir() else path


def site_uri(path: str) -> str:
    """Return where the site has its page of a path of the repository."""
    if path == HOME:
        return 'index.md'
    if path == ALL_PAGES:
        return 'pages.md'
    if path.endswith('/'):
        return f'source/{path}index.md'
    if path.startswith('docs/'):
        path = path.removeprefix('docs/')
        return re.sub(r'\.ipynb$', '.md', path)
    return path if re.fullmatch(r'[A-Z]+\.md', path) else f'source/{path}.md'


def navigation() -> list[dict]:
    """Return the pages by section, in the order of the list of all pages."""
    nav: list[dict] = [{'Home': site_uri(HOME)}]
    seen = {HOME}
    section = nav
    for line in (ROOT / ALL_PAGES).read_text(encoding='utf-8').splitlines():
        if line.startswith('## '):
            section = []
            nav.append({line.removeprefix('## '): section})
        for title, target in LINK.findall(line):
            path = linked_path(target, ALL_PAGES)
            if leads_to_file(target) and path not in seen:
                seen.add(path)
                title = title.replace('`', '')
                section.append({title[0].upper() + title[1:]: site_uri(path)})
    return [*nav, {'All pages': site_uri(ALL_PAGES)}]


def notebook_page(path: Path) -> str:
    """Return the cells of a notebook as a page."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    sources = [(cell['cell_type'], ''.join(cell['source'])) for cell in cells]
    return '\n\n'.join(
        source if kind == 'markdown' else f'{FENCE} python\n{source}\n{FENCE}'
        for kind, source in sources
    )


def source_page(path: Path, source: str) -> str:
    """Return the source of a file as a page."""
    language = LANGUAGES.get(path.suffix, 'text')
    name = path.relative_to(ROOT).as_posix()
    return (
        f'{NOT_SEARCHED}# {name}\n\n'
        f'{FENCE} {language}\n{source.rstrip()}\n{FENCE}\n'
    )


def summary_of(path: Path) -> str:
    """Return the first line of what a module says of itself."""
    if path.is_dir():
        path = path / '__init__.py'
    if path.suffix != '.py' or not path.is_file():
        return ''
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
    return (text or '').partition('\n')[0]


def folder_page(path: Path) -> str:
    """Return a page that lists a folder."""
    rows = [
        f'| [`{entry.name}`]({entry.name}) | {summary_of(entry)} |'
        for entry in sorted(path.iterdir())
        if entry.name != '__pycache__' and entry.suffix not in BINARY
    ]
    name = path.relative_to(ROOT).as_posix()
    table = '\n'.join(['| | |', '|---|---|', *rows])
    return f'{NOT_SEARCHED}# {name}\n\n{table}\n'


def page_of(path: Path) -> str:
    """Return the page that stands for a path outside the pages."""
    if path.is_dir():
        return folder_page(path)
    if path.suffix == '.ipynb':
        return notebook_page(path)
    text = path.read_text(encoding='utf-8')
    return text if path.suffix == '.md' else source_page(path, text)


class RepositoryLinks(Treeprocessor):
    """Turns links within the repository into links within the site."""

    page = ''  # path in the repository of the page that is rendered

    def run(self, root: Element) -> None:
        folder = posixpath.dirname(site_uri(self.page)) or '.'
        for element in root.iter():
            name = {'a': 'href', 'img': 'src'}.get(element.tag, '')
            target = element.get(name, '#')
            if element.tag == 'img' and ON_THE_WEB.match(target):
                element.tag = 'span'
                element.text = element.get('alt')
                element.attrib.clear()
            elif leads_to_file(target):
                uri = site_uri(linked_path(target, self.page))
                _, mark, anchor = target.partition('#')
                element.set(
                    name, posixpath.relpath(uri, folder) + mark + anchor
                )


LINKS = RepositoryLinks()
PATHS: dict[str, str] = {}  # place in the site: path in the repository


class RepositoryLinksExtension(Extension):
    """Rewrites the links before mkdocs checks them (with priority 0)."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.treeprocessors.register(LINKS, 'repository_links', 1)


def linked_paths(page: str, text: str) -> Iterator[str]:
    """Yield the paths in the repository that a page links."""
    for target in TARGET.findall(text):
        path = linked_path(target, page)
        if leads_to_file(target) and (ROOT / path).exists():
            yield path


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation, links and anchors."""
    config.nav = navigation()
    config.markdown_extensions.append(RepositoryLinksExtension())
    # Anchors as GitHub makes them.
    config.mdx_configs['toc']['slugify'] = slugify(case='lower')
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and one of each source that is linked."""
    queue = [HOME, ALL_PAGES]
    for file in list(files):
        path = f'docs/{file.src_uri}'
        if path == ALL_PAGES or path.endswith('.ipynb'):
            files.remove(file)
        elif file.is_documentation_page():
            queue.append(path)
    PATHS.clear()
    while queue:
        path = queue.pop()
        uri = site_uri(path)
        if uri in PATHS:
            continue
        file = files.get_file_from_path(uri)
        if file is None:
            file = File.generated(
                config,
                uri,
                content=page_of(ROOT / path),
                inclusion=InclusionLevel.NOT_IN_NAV
                if uri.startswith('source/')
                else InclusionLevel.UNDEFINED,
            )
            files.append(file)
        PATHS[uri] = path
        if path.endswith(('/', '.md', '.ipynb')):
            queue += linked_paths(path, file.content_string)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_) -> None:
    """Tell the extension which page comes next."""
    LINKS.page = PATHS[page.file.src_uri]
