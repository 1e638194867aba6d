"""What a visitor sees and does on the page, in Chromium."""

import json
import re
import zipfile
from threading import Event

import numpy as np
import pytest
import torch
from mmengine import Config
from PIL import Image

from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.serve.served_model import ServedModel
from projects.oneformer.tasks import TASKS
from tests.model_configs import be_sure_of_several_classes, build_model
from tests.recipe_twins import CONFIGS
from tests.serve.conftest import LIMITS, save_image
from tests.test_eomt_tools import SMALL

pytestmark = pytest.mark.web
TIMEOUT = 30_000  # milliseconds; where all goes well, nothing waits for it


class Visitor:
    """A visitor with a tab, which is a session, of their own.

    Args:
        context: A context of playwright.
        address (str): Of the page.
    """

    def __init__(self, context, address: str) -> None:
        from playwright.sync_api import expect

        expect.set_options(timeout=TIMEOUT)
        self.expect = expect
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(TIMEOUT)
        self.page.on('request', lambda r: self.requests.append(r.url))
        self.page.on('pageerror', self._note_problem)
        self.page.goto(address)
        self.find('#photo input[type=file]').wait_for(state='attached')

    def _note_problem(self, error) -> None:
        # Example images of gradio 6.17 raise now and then while they load,
        # and are shown all the same. Our script has no address.
        _, place, *_ = error.stack.splitlines()
        if '/assets/' not in place:
            self.problems.append(error.stack)

    def find(self, selector: str):
        return self.page.locator(selector)

    def upload(self, path) -> None:
        """Give an image, and wait until its segments are there."""
        self.find('#photo input[type=file]').set_input_files(path)
        self.find('#viewer .panel').first.wait_for()

    def show(self, view: str) -> None:
        """Choose a task by its name."""
        self.find('#view').get_by_label(view, exact=True).check()

    def panel(self, task: str):
        """Wait for the panel of a task."""
        panel = self.find(f'#viewer .panel[data-task={task}]')
        panel.wait_for()
        return panel

    def open(self, tab: str) -> None:
        self.page.get_by_role('tab', name=tab, exact=True).click()

    def set(self, slider: str, value: float) -> None:
        """Enter a number beside a slider."""
        number = self.find(f'#{slider} input[type=number]')
        number.fill(str(value))
        number.press('Tab')


@pytest.fixture(scope='module')
def desktop(browser):
    """A context of a large screen; its visitors share what was loaded."""
    context = browser.new_context(viewport=dict(width=1280, height=900))
    yield context
    context.close()


@pytest.fixture
def visit(desktop, address):
    """Return a function that lets a visitor come."""
    visitors = []

    def come(context=desktop) -> Visitor:
        visitors.append(Visitor(context, address))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.page.close()


def count_calls(monkeypatch, models) -> list[str]:
    """Return a list that grows with every pass through a model."""
    calls: list[str] = []
    for model in models:
        network = model.inferencer.model
        features = network.pixel_features

        def counted(inputs, features=features, name=model.name):
            calls.append(name)
            return features(inputs)

        monkeypatch.setattr(network, 'pixel_features', counted)
    return calls


def test_three_tasks_are_shown_after_one_pass_through_the_backbone(
    visit, photos, models, monkeypatch, tmp_path
):
    calls = count_calls(monkeypatch, models)
    visitor = visit()
    visitor.page.screenshot(path=tmp_path / 'empty.png')
    visitor.upload(photos / 'photo.png')
    for task in TASKS:
        visitor.show(task)
        panel = visitor.panel(task)
        assert panel.locator('img').get_attribute('alt').startswith(task)
        visitor.page.screenshot(path=tmp_path / f'{task}.png')
    visitor.show('side by side')
    for task in TASKS:
        visitor.panel(task)
    visitor.page.screenshot(path=tmp_path / 'all.png', full_page=True)
    assert calls == ['first']
    assert visitor.problems == []


@pytest.fixture
def eomt(tmp_path) -> ServedModel:
    """A small OneFormer on a plain ViT."""
    path = tmp_path / 'small.py'
    path.write_text(SMALL.format(configs=CONFIGS))
    config = Config.fromfile(path)
    model = build_model(config.model)
    be_sure_of_several_classes(model)
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), weights)
    return ServedModel('eomt', OneFormerInferencer(config, weights, 'cpu'))


def test_a_model_without_decoders_shows_its_answers(
    eomt, desktop, photos, tmp_path
):
    from projects.oneformer.serve.page import Page

    page = Page([eomt], LIMITS, [])
    (result,) = eomt.inferencer(photos / 'photo.png')
    visitor = Visitor(desktop, page.launch(block=False))
    visitor.upload(photos / 'photo.png')
    for task, segments in (
        ('panoptic', result.segments),
        ('instance', result.instances),
    ):
        visitor.show(task)
        titles = (
            visitor.panel(task)
            .locator('button')
            .evaluate_all('all => all.map(one => one.dataset.title)')
        )
        expected = [f'{s.name} {s.score:.2f}' for s in segments]
        assert len(expected) > 1
        assert sorted(titles) == sorted(expected)
    visitor.show('semantic')
    visitor.panel('semantic')
    visitor.page.screenshot(path=tmp_path / 'eomt.png')
    assert visitor.problems == []
    visitor.page.close()
    page.blocks.close()


def test_a_task_chosen_while_the_image_is_segmented_is_shown(
    visit, photos, models, monkeypatch
):
    network = models[0].inferencer.model
    features, running, go_on = network.pixel_features, Event(), Event()

    def wait_then_compute(inputs):
        running.set()
        assert go_on.wait(TIMEOUT / 1000)
        return features(inputs)

    monkeypatch.setattr(network, 'pixel_features', wait_then_compute)
    visitor = visit()
    field = visitor.find('#photo input[type=file]')
    field.set_input_files(photos / 'photo.png')
    assert running.wait(TIMEOUT / 1000)
    visitor.show('instance')
    visitor.expect(visitor.find('#viewer')).to_contain_text('no result yet')
    visitor.show('semantic')
    go_on.set()
    visitor.panel('semantic')
    assert visitor.find('#viewer .panel').count() == 1
    chosen = visitor.find('#view').get_by_label('semantic', exact=True)
    visitor.expect(chosen).to_be_checked()


def test_the_page_asks_no_other_server(visit, photos, address):
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    others = [
        url
        for url in visitor.requests
        if not url.startswith((address, 'data:', 'blob:'))
    ]
    assert others == []


def test_hover_names_the_segment_and_a_click_highlights_it(
    visit, photos, tmp_path
):
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    panel = visitor.panel('panoptic')
    stage, tip = panel.locator('.stage'), panel.locator('.tip')
    stage.hover(position=dict(x=40, y=40))
    visitor.expect(tip).to_be_visible()
    named = tip.inner_text()
    titles = panel.locator('button').evaluate_all(
        'buttons => buttons.map(button => button.dataset.title)'
    )
    assert named in titles and re.search(r' \d\.\d\d$', named)
    stage.click(position=dict(x=40, y=40))
    pressed = panel.locator('button[aria-pressed=true]')
    assert pressed.get_attribute('data-title') == named
    assert transparent(panel) > 0
    visitor.page.screenshot(path=tmp_path / 'clicked.png')
    stage.click(position=dict(x=40, y=40))  # again: nothing is chosen
    visitor.expect(panel.locator('canvas')).to_be_hidden()


def transparent(panel) -> int:
    """Return how many pixels of the shade over a drawing let it through."""
    return panel.locator('canvas').evaluate(
        """canvas => {
            const context = canvas.getContext('2d');
            const { width, height } = canvas;
            const { data } = context.getImageData(0, 0, width, height);
            let count = 0;
            for (let i = 3; i < data.length; i += 4) count += data[i] === 0;
            return count;
        }"""
    )


def test_a_row_of_the_table_highlights_its_segment_and_no_other(visit, photos):
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    panel = visitor.panel('panoptic')
    row = panel.locator('tbody tr').first
    row.locator('button').click()
    share = float(row.locator('td').last.inner_text().removesuffix(' %'))
    size = 64 * 96
    assert transparent(panel) == pytest.approx(share * size / 100, abs=5)


def test_threshold_and_opacity_act_without_another_pass(
    visit, photos, models, monkeypatch
):
    calls = count_calls(monkeypatch, models)
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    visitor.show('instance')
    caption = visitor.panel('instance').locator('caption')
    counts = []
    for score_thr in (0, 0.99):
        visitor.set('score', score_thr)
        expected = models[0].inferencer(
            str(photos / 'photo.png'), 'instance', score_thr=score_thr
        )
        (result,) = expected
        counts.append(len(result.instances))
        visitor.expect(caption).to_have_text(
            re.compile(rf'^{counts[-1]} segments?$')
        )
    assert counts[0] > counts[1]
    visitor.show('panoptic')
    image = visitor.panel('panoptic').locator('img')
    before = image.get_attribute('src')
    visitor.set('opacity', 1)
    visitor.expect(image).not_to_have_attribute('src', before)
    # One pass of the page, and two of this test.
    assert calls == ['first'] * 3


def test_the_slider_has_image_and_drawing(visit, photos, tmp_path):
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    visitor.open('Slider')
    images = visitor.find('#slider img')
    visitor.expect(images).to_have_count(2)
    sizes = images.evaluate_all(
        'all => all.map(image => [image.naturalWidth, image.naturalHeight])'
    )
    assert sizes[0] == sizes[1]
    visitor.page.screenshot(path=tmp_path / 'slider.png')


def test_files_are_downloaded_in_the_size_of_the_image(
    visit, photos, tmp_path
):
    save_image(tmp_path / 'wide.png', 200, 400)  # segmented at 256
    visitor = visit()
    visitor.upload(tmp_path / 'wide.png')
    visitor.expect(visitor.find('#note')).to_contain_text(
        '400 x 200 pixels, segmented at 256 x 128'
    )
    visitor.open('Files')
    visitor.find('#make-files').click()
    links = visitor.find('#files a[download]')
    visitor.expect(links).to_have_count(8)
    visitor.page.screenshot(path=tmp_path / 'files.png', full_page=True)
    saved = {}
    for link in links.all():
        with visitor.page.expect_download() as download:
            link.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        saved[path.name] = path
    record = json.loads(saved['wide.json'].read_text())
    assert (record['height'], record['width']) == (200, 400)
    assert Image.open(saved['wide_semantic_labels.png']).size == (400, 200)
    with zipfile.ZipFile(saved['wide_panoptic_coco.zip']) as archive:
        assert 'panoptic.json' in archive.namelist()


@pytest.mark.parametrize('name', ['damaged.png', 'text.png'])
def test_a_file_that_is_no_image_is_explained_and_the_next_one_works(
    visit, photos, name, tmp_path
):
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    visitor.find('#photo').get_by_label(re.compile('Clear|Remove')).click()
    visitor.expect(visitor.find('#viewer')).to_contain_text('Choose an image')
    visitor.find('#photo input[type=file]').set_input_files(photos / name)
    toast = visitor.find('.toast-body')
    visitor.expect(toast).to_contain_text(f'Image {name} cannot be read')
    visitor.expect(toast).not_to_contain_text('gradio')
    visitor.expect(visitor.find('#viewer .panel')).to_have_count(0)
    visitor.page.screenshot(path=tmp_path / 'toast.png')
    visitor.page.reload()
    visitor.upload(photos / 'other.jpg')
    visitor.panel('panoptic')


def test_an_image_of_30_megapixels_is_segmented(visit, tmp_path):
    pixels = np.zeros((5000, 6000, 3), np.uint8)
    pixels[:, 3000:] = 255
    Image.fromarray(pixels).save(tmp_path / 'huge.png')
    visitor = visit()
    visitor.upload(tmp_path / 'huge.png')
    visitor.expect(visitor.find('#note')).to_contain_text('6000 x 5000')


def test_an_image_of_too_many_pixels_is_refused(visit, tmp_path):
    Image.new('L', (8000, 6000)).save(tmp_path / 'vast.png')
    visitor = visit()
    field = visitor.find('#photo input[type=file]')
    field.set_input_files(tmp_path / 'vast.png')
    visitor.expect(visitor.find('.toast-body')).to_contain_text(
        'more than 40 megapixels'
    )


def test_two_visitors_see_their_own_images_and_tasks(visit, photos):
    one, two = visit(), visit()
    for visitor, name in ((one, 'photo.png'), (two, 'other.jpg')):
        field = visitor.find('#photo input[type=file]')
        field.set_input_files(photos / name)
    one.show('semantic')
    two.show('instance')
    for visitor, task, size in (
        (one, 'semantic', ('96', '64')),
        (two, 'instance', ('64', '96')),
    ):
        panel = visitor.panel(task)
        width = panel.get_attribute('data-width')
        assert (width, panel.get_attribute('data-height')) == size
        assert visitor.find('#viewer .panel').count() == 1


def test_the_page_is_used_by_keyboard_alone(visit, photos):
    """Focus moves by Tab; only the file itself is given by the test."""
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    keyboard = visitor.page.keyboard

    def focus(selector: str) -> None:
        for _ in range(80):
            keyboard.press('Tab')
            if visitor.find(f'{selector}:focus').count():
                return
        raise AssertionError(f'Tab does not lead to {selector}')

    for number, task in ((2, 'instance'), (3, 'semantic')):
        focus(f'#view label:nth-of-type({number}) input')
        keyboard.press('Space')
        panel = visitor.panel(task)
    focus('#viewer button')
    keyboard.press('Enter')
    pressed = panel.locator('button[aria-pressed=true]')
    visitor.expect(pressed).to_have_count(1)
    focus('#opacity input[type=range]')
    image = panel.locator('img')
    before = image.get_attribute('src')
    keyboard.press('ArrowRight')
    visitor.expect(image).not_to_have_attribute('src', before)


def test_a_screen_of_400_pixels_gets_three_answers_and_a_file(
    browser, visit, photos, tmp_path
):
    phone = browser.new_context(
        viewport=dict(width=400, height=800), has_touch=True, is_mobile=True
    )
    visitor = visit(phone)
    visitor.upload(photos / 'photo.png')
    visitor.page.screenshot(path=tmp_path / 'top.png')
    visitor.show('side by side')
    for task in TASKS:
        box = visitor.panel(task).bounding_box()
        assert box['x'] >= 0 and box['x'] + box['width'] <= 400
    assert visitor.page.evaluate('document.documentElement.scrollWidth') <= 400
    visitor.panel('panoptic').locator('.stage').tap()
    visitor.page.screenshot(path=tmp_path / 'phone.png', full_page=True)
    visitor.open('Files')
    visitor.find('#make-files').tap()
    link = visitor.find('#files a[download]').first
    link.wait_for()
    with visitor.page.expect_download() as download:
        link.tap()
    assert download.value.suggested_filename.startswith('photo_')
    visitor.page.screenshot(path=tmp_path / 'files.png', full_page=True)


def test_another_model_segments_the_image_again(
    visit, photos, models, monkeypatch
):
    calls = count_calls(monkeypatch, models)
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    image = visitor.panel('panoptic').locator('img')
    before = image.get_attribute('src')
    visitor.find('#model input').click()
    visitor.page.get_by_role('option', name='second').click()
    visitor.expect(image).not_to_have_attribute('src', before)
    assert calls == ['first', 'second']


def test_two_task_tokens_are_compared_on_one_image(visit, photos, tmp_path):
    visitor = visit()
    visitor.upload(photos / 'photo.png')
    visitor.open('Compare')
    visitor.find('#compare').click()
    visitor.expect(visitor.find('#compared img')).to_have_count(2)
    summary = visitor.find('#summary')
    visitor.expect(summary).to_contain_text('Left (first, panoptic token)')
    visitor.expect(summary).to_contain_text('% of the pixels')
    visitor.page.screenshot(path=tmp_path / 'compare.png', full_page=True)


def test_an_example_is_segmented_by_a_click(visit):
    visitor = visit()
    visitor.page.get_by_role('button', name='photo.png').or_(
        visitor.find('.gallery-item')
    ).first.click()
    visitor.panel('panoptic')


def test_images_of_a_folder_become_a_gallery_and_an_archive(
    visit, photos, tmp_path
):
    visitor = visit()
    visitor.open('Folder or video')
    names = ['photo.png', 'damaged.png', 'other.jpg']
    visitor.find('#many input[type=file]').set_input_files(
        [photos / name for name in names]
    )
    visitor.find('#segment-many').click()
    text = visitor.find('#many-text')
    visitor.expect(text).to_contain_text('Done: 3')
    visitor.expect(text).to_contain_text('Image damaged.png cannot be read')
    link = visitor.find('#archive a[download]')
    with visitor.page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / 'all.zip')
    with zipfile.ZipFile(tmp_path / 'all.zip') as archive:
        assert set(archive.namelist()) == {
            'photo.jpg',
            'other.jpg',
            'segments.jsonl',
        }
    visitor.page.screenshot(path=tmp_path / 'many.png', full_page=True)


def test_a_video_is_shown_with_its_drawings(visit, video, tmp_path):
    pytest.importorskip('av', reason='browsers play what PyAV writes')
    visitor = visit()
    visitor.open('Folder or video')
    visitor.find('#many input[type=file]').set_input_files(video)
    visitor.find('#segment-many').click()
    text = visitor.find('#many-text')
    visitor.expect(text).to_contain_text('longer than the 4 frames')
    visitor.expect(visitor.find('#video video')).to_be_visible()
    visitor.page.screenshot(path=tmp_path / 'video.png', full_page=True)
