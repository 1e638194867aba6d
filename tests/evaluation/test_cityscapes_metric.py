"""The official metrics, against the official scripts where they are."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from projects.oneformer.evaluation import (
    CityscapesInstanceAP,
    CityscapesPixelIoU,
    SemanticIoU,
)
from projects.oneformer.evaluation.cityscapes_metric import (
    LABEL_IDS,
    match_class,
    read_instances,
)
from projects.oneformer.run_lengths import encode_masks

CLASSES = tuple(LABEL_IDS)
THINGS = CLASSES[11:]
META = dict(classes=CLASSES, thing_classes=THINGS)
SIZE = (60, 90)


def official(script: str):
    """The official script, or no test."""
    pytest.importorskip(
        'cityscapesscripts', reason='needs cityscapesscripts to compare with'
    )
    return importlib.import_module(f'cityscapesscripts.evaluation.{script}')


def rectangle(rng, low=5, high=45) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    top, left = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
    height, width = rng.integers(low, high, 2)
    mask[top : top + height, left : left + width] = True
    return mask


def draw_truth(rng) -> np.ndarray:
    """Numbers of stuff, void, groups, objects and objects of no interest."""
    numbers = np.full(SIZE, 7, np.int32)
    numbers[rectangle(rng)] = 11
    numbers[rectangle(rng)] = 4  # static, does not count
    for count in range(8):
        label = int(rng.choice([24, 25, 26, 33]))
        group = rng.random() < 0.2
        mask = rectangle(rng, 3)
        numbers[mask] = label if group else 1000 * label + count
    numbers[rectangle(rng, 3, 15)] = 29001  # caravan
    return numbers


def draw_predictions(rng, truth) -> list[tuple]:
    """Masks, labels and scores: shifted objects, and inventions."""
    found = []
    for number in np.unique(truth):
        if number > 1000 and number != 29001 and rng.random() < 0.8:
            mask = np.roll(truth == number, rng.integers(-2, 3, 2), (0, 1))
            label = CLASSES.index(
                next(n for n, i in LABEL_IDS.items() if i == number // 1000)
            )
            for _ in range(rng.integers(1, 3)):
                found.append((mask, label, float(rng.random())))
    for _ in range(4):
        label = int(rng.choice([11, 12, 13, 18]))
        found.append((rectangle(rng), label, float(rng.random())))
    found.append((np.zeros(SIZE, bool), 13, 0.99))
    return found


def label_ids(numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers < 1000, numbers, numbers // 1000).astype(np.uint8)


def store(folder: Path, name: str, numbers: np.ndarray) -> dict:
    """Write the annotation of an image; return its sample."""
    city = folder / 'gtFine/val' / name.split('_')[0]
    city.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers.astype(np.uint16)).save(
        city / f'{name}_gtFine_instanceIds.png'
    )
    Image.fromarray(label_ids(numbers)).save(
        city / f'{name}_gtFine_labelIds.png'
    )
    return dict(img_path=f'leftImg8bit/val/x/{name}_leftImg8bit.png')


def with_instances(sample: dict, predictions: list[tuple]) -> dict:
    masks = np.array([own[0] for own in predictions]).reshape(-1, *SIZE)
    return dict(
        sample,
        pred_instances=dict(
            masks=torch.from_numpy(masks),
            labels=torch.tensor([own[1] for own in predictions], dtype=int),
            scores=torch.tensor(
                [own[2] for own in predictions], dtype=torch.float64
            ),
        ),
    )


def random_samples(folder: Path, seed: int) -> list[dict]:
    """Images with instances and a semantic result; the last has none."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(4):
        truth = draw_truth(rng)
        sample = store(folder, f'{"ab"[number % 2]}_00000{number}_01', truth)
        found = draw_predictions(rng, truth) if number < 3 else []
        sample = with_instances(sample, found)
        table = np.zeros(256, np.int64)
        table[list(LABEL_IDS.values())] = range(len(LABEL_IDS))
        labels = table[label_ids(truth)]
        noise = rng.random(SIZE) < 0.3
        labels[noise] = rng.integers(0, 19, noise.sum())
        sample['pred_sem_seg'] = dict(sem_seg=torch.from_numpy(labels)[None])
        samples.append(sample)
    return samples


def make_metric(kind, folder: Path, **options):
    metric = kind(seg_prefix=str(folder / 'gtFine/val'), **options)
    metric.dataset_meta = META
    return metric


def evaluate(metric, samples) -> dict[str, float]:
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def truth_files(folder: Path, kind: str) -> list[str]:
    return sorted(map(str, folder.glob(f'gtFine/val/*/*_{kind}.png')))


@pytest.mark.parametrize('seed', range(3))
def test_ap_is_that_of_the_official_script(tmp_path, monkeypatch, seed):
    script = official('evalInstanceLevelSemanticLabeling')
    samples = random_samples(tmp_path, seed)
    metric = make_metric(
        CityscapesInstanceAP, tmp_path, outfile_prefix=str(tmp_path / 'out')
    )
    found = evaluate(metric, samples)
    monkeypatch.chdir(tmp_path)  # where the script leaves a file
    monkeypatch.setattr(np, 'in1d', np.isin, raising=False)
    options = script.args
    for name, value in dict(
        predictionPath=str(tmp_path / 'out.instance'),
        predictionWalk=None,
        gtInstancesFile=str(tmp_path / 'cache.json'),
        JSONOutput=False,
        quiet=True,
    ).items():
        monkeypatch.setattr(options, name, value)
    truth = truth_files(tmp_path, 'instanceIds')
    files = [script.getPrediction(path, options) for path in truth]
    expected = script.evaluateImgLists(files, truth, options)['averages']
    # Means may be summed up in another order.
    wanted = {
        'instance/segm_mAP': expected['allAp'],
        'instance/segm_mAP_50': expected['allAp50%'],
    } | {
        f'instance/segm_mAP_{name}': own['ap']
        for name, own in expected['classes'].items()
    }
    assert {name: found[name] for name in wanted} == pytest.approx(
        wanted, abs=1e-9, nan_ok=True
    )
    assert 0.02 < expected['allAp'] < 0.9


@pytest.mark.parametrize('seed', range(3))
def test_iou_is_that_of_the_official_script(tmp_path, monkeypatch, seed):
    script = official('evalPixelLevelSemanticLabeling')
    samples = random_samples(tmp_path, seed)
    metric = make_metric(
        CityscapesPixelIoU, tmp_path, outfile_prefix=str(tmp_path / 'out')
    )
    found = evaluate(metric, samples)
    monkeypatch.setattr(np, 'in1d', np.isin, raising=False)
    options = script.args
    for name, value in dict(
        predictionPath=str(tmp_path / 'out.semantic'),
        predictionWalk=None,
        JSONOutput=False,
        quiet=True,
    ).items():
        monkeypatch.setattr(options, name, value)
    truth = truth_files(tmp_path, 'labelIds')
    files = [script.getPrediction(options, path) for path in truth]
    expected = script.evaluateImgLists(files, truth, options)
    assert found == pytest.approx(
        {
            'semantic/mIoU': 100 * expected['averageScoreClasses'],
            'semantic/iIoU': 100 * expected['averageScoreInstClasses'],
            'semantic/mIoU_category': 100 * expected['averageScoreCategories'],
            'semantic/iIoU_category': 100
            * expected['averageScoreInstCategories'],
        },
        abs=1e-9,
    )
    assert 10 < found['semantic/mIoU'] < 90
    # And the metric that needs no scripts gives the same.
    plain = SemanticIoU()
    plain.dataset_meta = META
    table = np.full(256, 255, np.uint8)
    table[list(LABEL_IDS.values())] = range(19)
    for sample, path in zip(
        sorted(samples, key=lambda own: own['img_path']), truth, strict=True
    ):
        labels = table[np.array(Image.open(path))]
        own = dict(gt_sem_seg=dict(sem_seg=torch.from_numpy(labels)[None]))
        plain.process({}, [dict(sample, **own)])
    assert plain.evaluate(4)['semantic/mIoU'] == pytest.approx(
        found['semantic/mIoU'], abs=1e-9
    )


def test_the_numbers_of_the_classes_are_the_official_ones():
    official('evalPixelLevelSemanticLabeling')
    labels = importlib.import_module('cityscapesscripts.helpers.labels')
    assert {
        label.name: label.id
        for label in labels.labels
        if not label.ignoreInEval
    } == LABEL_IDS


def test_nothing_is_left_behind_that_was_not_asked_for(tmp_path, monkeypatch):
    official('evalPixelLevelSemanticLabeling')
    samples = random_samples(tmp_path, 0)
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    for kind in (CityscapesInstanceAP, CityscapesPixelIoU):
        evaluate(make_metric(kind, tmp_path), samples)
    assert list(Path().iterdir()) == []


def test_matches_of_a_class_by_hand():
    truth = np.array([[24001, 24001, 24], [24002, 0, 0]])
    masks = torch.tensor(
        [
            [[1, 1, 1], [0, 0, 1]],
            [[0, 0, 0], [1, 1, 0]],
            [[0, 0, 0], [0, 0, 0]],
        ],
        dtype=torch.bool,
    )
    objects = {
        number: encode_masks(torch.from_numpy(truth == number)[None])[0]
        for number in (24, 24001, 24002)
    }
    there, found = match_class(
        objects, encode_masks(masks), [0.9, 0.8, 0.7], [1, 1, 0]
    )
    assert [own['pixelCount'] for own in there] == [1, 2, 1]
    assert [
        [(pred['confidence'], pred['intersection']) for pred in own]
        for own in (own['matchedPred'] for own in there)
    ] == [[(0.9, 1)], [(0.9, 2)], [(0.8, 1)]]
    # The one without pixels is left out.
    assert [
        (own['confidence'], own['pixelCount'], own['voidIntersection'])
        for own in found
    ] == [(0.9, 4, 1), (0.8, 2, 1)]
    assert [
        [(own['instID'], own['intersection']) for own in pred['matchedGt']]
        for pred in found
    ] == [[(24, 1), (24001, 2)], [(24002, 1)]]


def test_regions_are_told_by_their_number(tmp_path):
    sample = store(tmp_path, 'a_0_0', np.array([[0, 7, 33005], [0, 0, 7]]))
    metric = CityscapesInstanceAP(
        format_only=True, outfile_prefix='x', seg_prefix=None
    )
    metric.seg_prefix = str(tmp_path / 'gtFine/val')
    regions = read_instances(metric.truth_path(sample, 'instanceIds'))
    assert list(regions) == [0, 7, 33005]


def test_files_to_submit_are_written_without_scripts_or_truth(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'cityscapesscripts', None)
    mask = np.zeros(SIZE, bool)
    mask[:3] = True
    sample = dict(img_path='test/c_000001_000019_leftImg8bit.png')
    sample = with_instances(sample, [(mask, 13, 0.5), (~mask, 17, 0.25)])
    labels = torch.zeros(1, *SIZE, dtype=torch.int64)
    labels[..., 1] = 18
    sample['pred_sem_seg'] = dict(sem_seg=labels)
    for kind in (CityscapesInstanceAP, CityscapesPixelIoU):
        metric = kind(format_only=True, outfile_prefix=str(tmp_path / 'out'))
        metric.dataset_meta = META
        assert evaluate(metric, [sample]) == {}
    name = 'c_000001_000019_leftImg8bit'
    folder = tmp_path / 'out.instance'
    assert (folder / f'{name}_pred.txt').read_text() == (
        f'{name}_0_car.png 26 0.5\n{name}_1_motorcycle.png 32 0.25\n'
    )
    image = np.array(Image.open(folder / f'{name}_0_car.png').convert('L'))
    assert ((image != 0) == mask).all()
    image = np.array(Image.open(tmp_path / f'out.semantic/{name}.png'))
    assert image.dtype == np.uint8
    assert set(image[:, 1]) == {33}
    assert set(image[:, 0]) == {7}


def test_what_is_missing_is_told(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='needs seg_prefix, the folder'):
        CityscapesInstanceAP()
    with pytest.raises(ValueError, match='format_only needs outfile_prefix'):
        CityscapesPixelIoU(format_only=True)
    metric = CityscapesPixelIoU(
        seg_prefix='gt', format_only=True, outfile_prefix=str(tmp_path)
    )
    with pytest.raises(FileNotFoundError, match='check seg_prefix of Citysc'):
        metric.truth_path(dict(img_path='a_1_2_leftImg8bit.png'), 'labelIds')
    with pytest.raises(ValueError, match='is not named as in Cityscapes'):
        metric.truth_path(dict(img_path='a.png'), 'labelIds')
    metric.dataset_meta = dict(classes=('road', 'lake'))
    with pytest.raises(ValueError, match=r"no classes \['lake'\]"):
        metric.process({}, [])
    name = f'cityscapesscripts.evaluation.{CityscapesPixelIoU.script}'
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match='pip install cityscapesscripts'):
        CityscapesPixelIoU(seg_prefix='gt')
