"""The pages as a site: complete, in order, and without a network."""

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

pytest.importorskip('mkdocs', reason='needs mkdocs, of the extra `site`')

ROOT = Path(__file__).parents[1]
# Attributes by which a page loads something.
LOADING = dict(
    img='src', script='src', link='href', iframe='src', source='src'
)


def load_hooks():
    path = ROOT / '.ci' / 'site_hooks.py'
    spec = importlib.util.spec_from_file_location('site_hooks', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


class Tags(HTMLParser):
    """Counts the tags of a page, and notes what it loads.

    Args:
        page (Path): HTML.
    """

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.depth, self.counts, self.loaded = 0, Counter(), []
        self.feed(page.read_text(encoding='utf-8'))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        address = dict(attrs).get(LOADING.get(tag, ''))
        if address:
            self.loaded.append(address)
        self.depth += tag == 'article'
        if self.depth:
            self.counts[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == 'article'


@pytest.mark.parametrize(
    ('target', 'page', 'path', 'uri'),
    [
        ('docs/gpu.md', 'README.md', 'docs/gpu.md', 'gpu.md'),
        ('../README.md#install', 'docs/gpu.md', 'README.md', 'index.md'),
        ('index.md', 'docs/gpu.md', 'docs/index.md', 'pages.md'),
        (
            '../setup.py',
            'docs/gpu.md',
            'setup.py',
            'source/setup.py.md',
        ),
        (
            '../../projects/oneformer/models',
            'docs/decisions/0001-extension-of-mmdetection.md',
            'projects/oneformer/models/',
            'source/projects/oneformer/models/index.md',
        ),
        (
            'oneformer.py',
            'projects/oneformer/models/',
            'projects/oneformer/models/oneformer.py',
            'source/projects/oneformer/models/oneformer.py.md',
        ),
        (
            'notebooks/first_model.ipynb',
            'docs/index.md',
            'docs/notebooks/first_model.ipynb',
            'notebooks/first_model.md',
        ),
    ],
)
def test_a_link_of_the_repository_has_its_place_in_the_site(
    target, page, path, uri
):
    assert hooks.linked_path(target, page) == path
    assert hooks.site_uri(path) == uri


def pages_in(nav: list) -> list[str]:
    """Return the pages of a navigation in order."""
    pages = []
    for entry in nav:
        for target in entry.values():
            pages += [target] if isinstance(target, str) else pages_in(target)
    return pages


def test_every_page_is_in_the_navigation_once():
    pages = pages_in(hooks.navigation())
    assert len(set(pages)) == len(pages)
    docs = ROOT / 'docs'
    written = {
        hooks.site_uri(path.relative_to(ROOT).as_posix())
        for path in (*docs.rglob('*.md'), *docs.rglob('*.ipynb'))
    }
    assert written <= set(pages)
    assert pages[0] == hooks.site_uri('README.md')


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """The site, built without a warning."""
    folder = tmp_path_factory.mktemp('site')
    process = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', folder],
        cwd=ROOT,
        env=os.environ | dict(NO_MKDOCS_2_WARNING='1'),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.slow
def test_nothing_is_loaded_from_the_web(site):
    pages = sorted(site.rglob('*.html'))
    assert len(pages) > 30
    for page in pages:
        for address in Tags(page).loaded:
            assert not hooks.ON_THE_WEB.match(address), (page, address)
            local = address.partition('#')[0].partition('?')[0]
            if local and page.name != '404.html':  # with absolute addresses
                assert (page.parent / local).exists(), (page, address)
    for sheet in site.rglob('*.css'):
        assert 'url(http' not in sheet.read_text(encoding='utf-8')


@pytest.mark.slow
def test_pages_have_the_lists_and_tables_that_github_shows(site):
    """Python's Markdown needs blank lines where GitHub needs none."""
    github = MarkdownIt('commonmark').enable('table')
    for page in sorted((ROOT / 'docs').rglob('*.md')):
        if 'reference' in page.parts:  # docstrings come on top
            continue
        uri = hooks.site_uri(page.relative_to(ROOT).as_posix())
        shown = Tags(site / uri.replace('.md', '.html')).counts
        expected = Counter(
            token.tag
            for token in github.parse(page.read_text(encoding='utf-8'))
            if token.nesting == 1
        )
        for tag in ('li', 'table', 'tr', 'h2', 'h3'):
            assert shown[tag] == expected[tag], (page.name, tag)


@pytest.mark.slow
def test_the_search_finds_a_class_without_a_network_or_server(site):
    api = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path='/usr/bin/chromium', args=['--no-sandbox']
            )
        except api.Error as error:
            pytest.skip(f'needs Chromium: {error}')
        tab = browser.new_page()
        asked: list[str] = []
        tab.on('request', lambda request: asked.append(request.url))
        tab.goto((site / 'index.html').as_uri())
        tab.locator('input.md-search__input').click()
        tab.keyboard.type('PreflightHook')
        found = tab.locator('.md-search-result__item').first
        found.wait_for(timeout=20_000)
        assert 'PreflightHook' in found.inner_text()
        assert [url for url in asked if not url.startswith('file:')] == []
        browser.close()
