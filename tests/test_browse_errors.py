"""The errors of a model, and the page that shows them."""

import base64
import json
import pickle
import re
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from projects.oneformer.evaluation import PanopticQuality
from projects.oneformer.run_lengths import encode_labels, rle_area
from tests.evaluation.perfect_results import predict
from tools.analysis_tools import browse_errors
from tools.misc.make_demo_data import make_demo_data

sys.path.insert(0, str(Path(browse_errors.__file__).parent))
from _error_collector import ErrorCollector  # noqa: E402
from _errors import Region, find_errors, void_of  # noqa: E402

CONFIG = str(Path(__file__).parents[1] / 'configs/oneformer_r18_demo.py')


def regions(labels: np.ndarray, crowds: tuple[int, ...] = ()) -> list[Region]:
    """Return a region for each value of a map: class + 10 * number."""
    return [
        Region(code % 10, rle, crowd=code in crowds)
        for code, rle in encode_labels(labels, void=-1).items()
    ]


def columns(*codes: int) -> np.ndarray:
    """Return a map of 2 rows with these values in the columns."""
    return np.array([codes, codes])


def test_errors_of_a_row_of_columns():
    truth = regions(columns(0, 0, 0, 0, 1, 1, 2, 2))
    found = regions(columns(0, 0, 0, 1, 1, 1, 3, 3))
    errors = {
        (error.kind, error.label): error for error in find_errors(found, truth)
    }
    assert errors.keys() == {
        ('inexact', 0),
        ('inexact', 1),
        ('missed', 2),
        ('extra', 3),
    }
    assert errors['inexact', 0].loss == pytest.approx(1 / 4)
    assert errors['inexact', 1].loss == pytest.approx(1 / 3)
    assert errors['missed', 2].loss == errors['extra', 3].loss == 0.5
    assert errors['inexact', 0].pixels == errors['inexact', 1].pixels == 2
    assert errors['missed', 2].pixels == errors['extra', 3].pixels == 4


def test_the_largest_losses_come_first():
    truth = regions(columns(0, 0, 0, 0, 1, 2, 2))
    found = regions(columns(0, 0, 0, 3, 1, 4, 4))
    losses = [error.loss for error in find_errors(found, truth)]
    assert losses == sorted(losses, reverse=True) and len(losses) == 4


def test_a_perfect_result_has_no_error():
    truth = regions(columns(0, 1, 11, 2))
    assert find_errors(truth, truth) == []


def test_pixels_without_annotation_count_for_nothing():
    labels = columns(0, 0, -1, -1, -1)
    truth = regions(labels)
    void = void_of(truth, *labels.shape)
    found = regions(columns(0, 0, 0, 1, 1))
    assert find_errors(found, truth, void) == []
    kinds = {error.kind for error in find_errors(found, truth)}
    assert kinds == {'inexact', 'extra'}


def test_a_crowd_is_neither_missed_nor_makes_an_extra():
    truth = regions(columns(0, 0, 0, 1), crowds=(0,))
    assert find_errors(regions(columns(1, 1, 1, 1)), truth)[0].kind != 'missed'
    assert find_errors(regions(columns(0, 0, 10, 1)), truth) == []


@pytest.mark.parametrize('seed', range(5))
def test_losses_are_what_the_panoptic_quality_lacks(seed):
    """hotcoco is the oracle, with void pixels and crowds."""
    rng = np.random.default_rng(seed)
    names = ('a', 'b', 'c')
    metric = PanopticQuality(classwise=True)
    metric.dataset_meta = dict(classes=names, thing_classes=names[:2])
    lost, matches, weights = np.zeros((3, 3))
    for _ in range(4):
        truth = draw_boxes(rng, np.full((24, 32), -1))
        found = np.where(rng.random(truth.shape) < 0.9, truth, -1)
        found = draw_boxes(rng, found, number=2)
        codes = [code for code in np.unique(truth).tolist() if code >= 0]
        # COCO has one crowd of a class at most.
        crowds = tuple({code % 10: code for code in codes[:3]}.values())
        own = regions(truth, crowds)
        guesses = regions(found)
        metric.results.append(
            dict(
                size=truth.shape,
                truth=[to_coco(*r) for r in enumerate(own, 1)],
                predicted=[to_coco(*r) for r in enumerate(guesses, 1)],
            )
        )
        errors = find_errors(guesses, own, void_of(own, *truth.shape))
        for label in range(3):
            mine = [error for error in errors if error.label == label]
            count = sum(r.label == label and not r.crowd for r in own)
            missed = sum(error.kind == 'missed' for error in mine)
            extra = sum(error.kind == 'extra' for error in mine)
            matches[label] += count - missed
            weights[label] += count - missed + (missed + extra) / 2
            lost[label] += sum(error.loss for error in mine)
    assert matches.sum() > 3 and lost.sum() > 1
    quality = metric.compare(metric.results)['per_class']
    for label in range(3):
        if weights[label]:
            expected = 1 - lost[label] / weights[label]
            assert quality[label]['pq'] == pytest.approx(expected)


def draw_boxes(rng, labels: np.ndarray, number: int = 8) -> np.ndarray:
    """Return a map with rectangles of classes 0 to 2 over it."""
    labels = labels.copy()
    height, width = labels.shape
    for index in range(number):
        top, left = rng.integers(height - 6), rng.integers(width - 6)
        code = rng.integers(3) + 10 * (index + 1)
        labels[top : top + rng.integers(4, 14), left : left + 12] = code
    return labels


def to_coco(number: int, region: Region) -> dict:
    """Return a region as the metric keeps it."""
    return dict(
        id=number,
        category_id=region.label,
        iscrowd=int(region.crowd),
        area=rle_area(region.rle),
        segmentation=region.rle,
    )


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('errors') / 'data'
    make_demo_data(folder, num_train=1, num_val=4, size=64, seed=2)
    return folder


@pytest.fixture(scope='module')
def samples(data) -> list:
    """Perfect results but for the second image, where nothing is found."""
    init_default_scope('mmdet')
    settings = Config.fromfile(CONFIG).test_dataloader.dataset
    dataset = DATASETS.build(dict(settings, data_root=str(data)))
    num_classes = len(dataset.metainfo['classes'])
    samples = []
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        predict(sample, num_classes)
        if index == 1:
            sample.pred_panoptic_seg.sem_seg[:] = num_classes
            sample.pred_instances = sample.pred_instances[:0]
        if index == 2:  # one class is taken for another
            labels = sample.pred_sem_seg.sem_seg
            labels[labels == labels.max()] = 0
        samples.append(sample.to_dict())
    return samples


def run(monkeypatch, data: Path, *arguments) -> None:
    """Run the tool as from the command line, in this process."""
    arguments = [
        browse_errors.__file__,
        CONFIG,
        *arguments,
        '--cfg-options',
        f'test_dataloader.dataset.data_root={data}',
    ]
    monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
    browse_errors.main()


def data_of(page: Path) -> dict:
    text = page.read_text(encoding='utf-8')
    (content,) = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(content)


@pytest.fixture
def page(data, samples, tmp_path, monkeypatch) -> Path:
    predictions = tmp_path / 'predictions.pkl'
    predictions.write_bytes(pickle.dumps(samples))
    run(monkeypatch, data, predictions)
    return tmp_path / 'errors.html'


def test_the_page_shows_the_worst_image_first(page, samples):
    content = data_of(page)
    names = [card['name'] for card in content['cards']]
    assert len(names) == 4
    assert names[0] == Path(samples[1]['img_path']).name
    worst = content['cards'][0]['tasks']
    kinds = {error['kind'] for error in worst['panoptic']['errors']}
    assert kinds == {'missed'}
    assert len(worst['panoptic']['errors']) == len(
        [s for s in samples[1]['segments_info'] if not s['iscrowd']]
    )
    assert {error['kind'] for error in worst['instance']['errors']} == {
        'missed'
    }
    assert worst['semantic']['errors'] == []
    others = [card['tasks']['panoptic']['errors'] for card in content['cards']]
    assert others[1:] == [[], [], []]
    confused = names.index(Path(samples[2]['img_path']).name)
    assert content['cards'][confused]['tasks']['semantic']['errors']


def test_the_page_brings_everything_along(page):
    text = page.read_text(encoding='utf-8')
    assert not re.search(r'(src|href)\s*=\s*"?(?!data:)\w+:|https?://', text)
    (card, *_) = data_of(page)['cards']
    images = [card['image'], card['tasks']['panoptic']['wrong']]
    for image in images:
        kind, _, content = image.partition(',')
        assert kind == 'data:image/jpeg;base64'
        assert Image.open(BytesIO(base64.b64decode(content))).size == (64, 64)


def test_a_name_cannot_end_the_data_of_the_page(page):
    from _error_page import error_page

    text = error_page('</script><b>', ['<!--'], [])
    assert text.count('</script>') == 2


def test_only_the_asked_number_of_images_is_kept(samples, data):
    collector = ErrorCollector(['semantic'], number=1)
    init_default_scope('mmdet')
    settings = Config.fromfile(CONFIG).test_dataloader.dataset
    collector.dataset_meta = DATASETS.build(
        dict(settings, data_root=str(data))
    ).metainfo
    collector.process({}, samples)
    metrics = collector.evaluate(len(samples))
    assert metrics == {'errors/images': 4, 'errors/wrong_images': 1}
    (card,) = collector.cards
    assert card['name'] == Path(samples[2]['img_path']).name


def test_results_without_a_task_are_refused(
    data, samples, tmp_path, monkeypatch
):
    predictions = tmp_path / 'predictions.pkl'
    lacking = [
        {k: v for k, v in own.items() if k != 'pred_instances'}
        for own in samples
    ]
    predictions.write_bytes(pickle.dumps(lacking))
    with pytest.raises(SystemExit, match='has no instance result'):
        run(monkeypatch, data, predictions)


@pytest.mark.slow
def test_the_filters_of_the_page_work_in_a_browser(page):
    api = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path='/usr/bin/chromium', args=['--no-sandbox']
            )
        except api.Error as error:
            pytest.skip(f'needs Chromium: {error}')
        tab = browser.new_page(viewport=dict(width=400, height=800))
        messages: list[str] = []
        tab.on('pageerror', lambda error: messages.append(str(error)))
        tab.on('request', lambda request: messages.append(request.url))
        tab.goto(page.as_uri())
        assert tab.locator('article').count() == 1
        tab.get_by_label('missed').uncheck()
        assert tab.locator('article').count() == 0
        tab.get_by_label('missed').check()
        tab.get_by_label('Task').select_option('semantic')
        assert tab.locator('article').count() == 1
        label = tab.get_by_label('Class')
        first = label.locator('option').nth(1).get_attribute('value')
        label.select_option(first)
        assert tab.locator('td.missed, td.extra, td.inexact').count() == 1
        width = tab.evaluate('document.documentElement.scrollWidth')
        assert width <= 400
        requests = [m for m in messages if not m.startswith('data:')]
        assert requests == [page.as_uri()]
        browser.close()


def test_a_model_can_be_run(data, tmp_path, monkeypatch):
    from tests.test_analysis_tools import build_model

    weights = dict(state_dict=build_model().state_dict())
    torch.save(weights, tmp_path / 'model.pth')
    out = tmp_path / 'errors.html'
    run(
        monkeypatch,
        data,
        tmp_path / 'model.pth',
        *('--work-dir', tmp_path, '--out', out, '--num', 2),
    )
    assert len(data_of(out)['cards']) == 2
