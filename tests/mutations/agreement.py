"""What the validator says of a data set, and what becomes of it."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from pycocotools import mask as coco_mask

from projects.oneformer.evaluation import (
    InstanceAP,
    PanopticQuality,
    SemanticIoU,
)
from projects.oneformer.tasks import ignore_index
from projects.oneformer.text import CLIPTokenizer

from .drawn import TYPES, DrawnSet

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
from dataset_validation import check_sets, find_sets, write_fixed  # noqa: E402
from dataset_validation.config import BUILDERS  # noqa: E402

SECONDS = 20  # for one set; most take a hundredth of one
LIMITS = dict(num_queries=100, num_texts=96, model_classes=None)
PIPELINES = Config.fromfile(
    ROOT / 'configs/_base_/datasets/panoptic_128.py',
    import_custom_modules=False,
)


class DisagreementError(Exception):
    """The property does not hold."""


def examine(drawn: DrawnSet, folder: Path, mend: bool = False) -> str:
    """Check that all agree on a set.

    Args:
        drawn (DrawnSet): The set.
        folder (Path): An empty folder to write it to.
        mend (bool): Whether to write a corrected copy as well.

    Returns:
        str: 'clean', 'reported' (the validator finds an error in what loads)
        or 'refused'.

    Raises:
        DisagreementError: If they do not.
    """
    data = folder / 'data'
    data.mkdir()
    drawn.write(data)
    options = dict(drawn.options, type=TYPES[drawn.kind], data_root=str(data))
    # To serialize takes ten times as long as all the rest.
    used = dict(options, serialize_data=False)
    with time_limit():
        with faults_of('the validator, by the folder'):
            check_folder(data, folder / 'copy' if mend else None)
        errors = {
            split: errors_of(options, split) for split in ('train', 'val')
        }
        refused = False
        for split, use in (('train', train), ('val', evaluate)):
            with faults_of(f'the use as {split} set'):
                error = refusal(use, used)
            if error is None:
                continue
            refused = True
            if not errors[split]:
                raise DisagreementError(
                    f'the validator finds no error for the {split} set, but '
                    f'its use ends in {type(error).__name__}: {error}'
                )
            if not names_its_place(str(error), data):
                raise DisagreementError(
                    f'an error of the {split} set names no file or setting: '
                    f'{type(error).__name__}: {error}'
                )
    if refused:
        return 'refused'
    return 'reported' if errors['train'] or errors['val'] else 'clean'


def names_its_place(message: str, data: Path) -> bool:
    """Whether a message says which file or setting is wrong."""
    settings = ('metainfo', 'png_classes', 'filter_cfg', 'Image ', 'PNG ')
    return any(word in message for word in (str(data), *settings))


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise an error for what does not end."""

    def stop(*_) -> None:
        raise DisagreementError(f'it does not end in {SECONDS} seconds')

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def faults_of(where: str) -> Iterator[None]:
    """Turn any error into one that names the place."""
    try:
        yield
    except DisagreementError:
        raise
    except Exception as error:
        raise DisagreementError(
            f'{where} ends in {type(error).__name__}: {error}'
        ) from error


def check_folder(data: Path, copy: Path | None) -> None:
    """Look at the folder as the command does, and print the report."""
    try:
        sets = find_sets(data, num_classes=4)
    except (OSError, ValueError):
        return
    report = check_sets(sets)
    report.text().encode()
    report.to_json().encode()
    if copy is None:
        return
    try:
        moved, _ = write_fixed(sets, copy, data)
    except (OSError, ValueError):
        return
    check_sets(moved)


def errors_of(options: dict, split: str) -> list[str]:
    """Return the errors that the validator finds by a config."""
    with faults_of('the validator'):
        try:
            aset = BUILDERS[options['type']](options, split, LIMITS)
        except ValueError as error:
            return [str(error)]
        report = check_sets([aset])
        report.text().encode()
        return [str(f) for f in report.findings if f.level == 'error']


def refusal(use: Callable, options: dict) -> Exception | None:
    """Return the error by which something is refused."""
    try:
        use(options)
    except (OSError, ValueError) as error:
        return error
    return None


@cache
def prepare() -> None:
    """Find transforms by name, and keep tables and warnings quiet."""
    init_default_scope('mmdet')
    MMLogger.get_current_instance().setLevel(logging.CRITICAL)


@cache
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer()


def train(options: dict) -> None:
    """Load every sample for training."""
    dataset = DATASETS.build(dict(options, pipeline=PIPELINES.train_pipeline))
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples']
        assert len(sample.gt_instances) <= len(sample.texts)
    for name in dataset.metainfo['classes']:
        tokenizer().encode(name)


def evaluate(options: dict) -> None:
    """Measure perfect predictions of all samples."""
    dataset = DATASETS.build(
        dict(options, pipeline=PIPELINES.test_pipeline, test_mode=True)
    )
    samples = [dataset[i]['data_samples'] for i in range(len(dataset))]
    metrics: list = []
    if 'panoptic' in dataset.tasks:
        metrics.append(PanopticQuality())
    if 'instance' in dataset.tasks:
        metrics.append(InstanceAP(['segm']))
    if 'semantic' in dataset.tasks:
        metrics.append(SemanticIoU())
    if dataset.annotation == 'instance':
        metrics.append(InstanceAP(ann_file=dataset.ann_file, prefix='file'))
    for sample in samples:
        predict(sample, dataset)
    found = {}
    for metric in metrics:
        metric.dataset_meta = dataset.metainfo
        for sample in samples:
            metric.process({}, [sample.to_dict()])
        found |= metric.evaluate(len(samples))
    for name, best in (
        ('panoptic/PQ', 100),
        ('instance/segm_mAP', 1),
        ('semantic/mIoU', 100),
    ):
        value = found.get(name, best)
        # NaN or -1 without any truth.
        if value >= 0 and not np.isclose(value, best):
            raise DisagreementError(f'perfect predictions have {name} {value}')


def predict(sample, dataset) -> None:
    """Predict what the ground truth says, crowds aside."""
    size, classes = sample.ori_shape, dataset.metainfo['classes']
    if 'gt_sem_seg' in sample:
        truth = sample.gt_sem_seg.sem_seg.long()
        void = truth == ignore_index(len(classes))
        sample.pred_sem_seg = PixelData(sem_seg=truth.masked_fill(void, 0))
    if 'segments_info' in sample:
        found = np.full(size, len(classes))
        for number, segment in enumerate(sample.segments_info):
            if not segment['iscrowd']:
                code = segment['category'] + 1000 * number
                found[decoded(segment['segmentation'])] = code
        sample.pred_panoptic_seg = PixelData(
            sem_seg=torch.from_numpy(found)[None]
        )
    if 'instances' in sample:
        own = [o for o in sample.instances if not o['ignore_flag']]
        masks = [decoded(o['mask']) for o in own]
        sample.pred_instances = InstanceData(
            masks=torch.from_numpy(np.array(masks, bool).reshape(-1, *size)),
            labels=torch.tensor([o['bbox_label'] for o in own]).long(),
            scores=torch.ones(len(own)),
            bboxes=torch.tensor([o['bbox'] for o in own]).reshape(-1, 4),
        )


def decoded(rle: dict) -> np.ndarray:
    """Return a mask, bool (H, W)."""
    return coco_mask.decode(rle).astype(bool)
