"""Training samples: our pipelines and the image processors of transformers."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from _models import ROOT, register_all_modules
from _peers import TASKS, image_processor
from mmdet.registry import DATASETS
from mmengine import Config
from PIL import Image


class Recipe(NamedTuple):
    """Calls that make ``count`` training samples each."""

    name: str
    target: float  # samples per second, ours divided by the peer's
    count: int
    ours: Callable[[], object]
    peers: dict[str, Callable[[], object]]


class Source(NamedTuple):
    """Where the images of a recipe are, and how large peers make them."""

    config: str
    folder: str
    ann_file: str
    images: str
    segments: str
    short_side: int
    long_side: int
    target: float


SOURCES = {
    'COCO': Source(
        'oneformer_swin-t_coco.py',
        'coco_panoptic_mini',
        'annotations/panoptic_val2017.json',
        'val2017/',
        'annotations/panoptic_val2017/',
        800,
        1333,
        5.0,
    ),
    'ADE20K': Source(
        'oneformer_swin-t_ade20k.py',
        'ade20k_mini/ADEChallengeData2016',
        'ade20k_panoptic_train.json',
        'images/training/',
        'ade20k_panoptic_train/',
        512,
        2048,
        3.5,
    ),
}
PASSES = 3  # over the few images, each time with the next task


def recipes(data: Path) -> list[Recipe]:
    """Return what to measure; images are drawn where ``data`` has none."""
    cv2.setNumThreads(0)  # per core
    return [_recipe(name, source, data) for name, source in SOURCES.items()]


def _recipe(name: str, source: Source, data: Path) -> Recipe:
    register_all_modules()
    folder = data / source.folder
    config = Config.fromfile(ROOT / 'configs' / source.config)
    metainfo = config.model.metainfo
    if not folder.is_dir():
        # Removed when the program ends.
        name += ', drawn images'
        folder = Path(_keep(tempfile.TemporaryDirectory()).name)
        draw_images(folder, source, metainfo)
    listed = json.loads((folder / source.ann_file).read_text())
    dataset = _our_dataset(config, source, folder, listed['categories'])
    peers = {
        f'transformers, {kind} processor': partial(
            _make_peer_samples, processor, source, folder, listed
        )
        for kind, processor in _processors(listed['categories'], source)
    }
    count = PASSES * len(dataset)
    return Recipe(
        name, source.target, count, partial(_make_samples, dataset), peers
    )


_kept = []


def _keep(thing):
    _kept.append(thing)
    return thing


def _our_dataset(config, source: Source, folder: Path, categories: list):
    cfg = config.train_dataloader.dataset
    names = tuple(category['name'] for category in categories)
    things = tuple(c['name'] for c in categories if c['isthing'])
    cfg.update(
        data_root=str(folder),
        ann_file=source.ann_file,
        data_prefix=dict(img=source.images, seg=source.segments),
        # The files name the same classes, some of them shorter.
        metainfo=dict(classes=names, thing_classes=things),
    )
    return DATASETS.build(cfg)


def _make_samples(dataset) -> None:
    for _ in range(PASSES):
        for i in range(len(dataset)):
            dataset[i]


def _processors(categories: list, source: Source) -> list[tuple]:
    classes = [category['name'] for category in categories]
    things = [i for i, c in enumerate(categories) if c['isthing']]
    size = dict(shortest_edge=source.short_side, longest_edge=source.long_side)
    return [
        (
            kind,
            image_processor(classes, things, fast=kind == 'fast', size=size),
        )
        for kind in ('slow', 'fast')
    ]


def _make_peer_samples(
    processor, source: Source, folder: Path, listed: dict
) -> None:
    labels = {c['id']: i for i, c in enumerate(listed['categories'])}
    files = {image['id']: image['file_name'] for image in listed['images']}
    for turn in range(PASSES):
        for i, annotation in enumerate(listed['annotations']):
            image = Image.open(
                folder / source.images / files[annotation['image_id']]
            ).convert('RGB')
            coded = np.asarray(
                Image.open(folder / source.segments / annotation['file_name'])
            ).astype(np.int32)
            ids = coded @ np.array([1, 256, 256**2], np.int32)  # (H, W)
            # Numbers from 1, 0 where there is no segment.
            segments = sorted(
                annotation['segments_info'], key=lambda s: s['id']
            )
            known = np.array([segment['id'] for segment in segments])
            place = np.searchsorted(known, ids).clip(max=len(known) - 1)
            numbers = np.where(known[place] == ids, place + 1, 0)
            processor(
                [image],
                [TASKS[(turn + i) % len(TASKS)]],
                [numbers.astype(np.uint8)],
                instance_id_to_semantic_id={
                    number: labels[segment['category_id']]
                    for number, segment in enumerate(segments, 1)
                },
                return_tensors='pt',
            )


def draw_images(
    folder: Path, source: Source, metainfo: dict, count: int = 2
) -> None:
    """Draw images of 480 x 640 pixels with rectangular segments.

    Args:
        folder (Path): Where to write.
        source (Source): Names of the files.
        metainfo (dict): ``classes`` and ``thing_classes``.
        count (int): Images.
    """
    rng = np.random.default_rng(0)
    classes, things = metainfo['classes'], metainfo['thing_classes']
    categories = [
        dict(id=i, name=name, isthing=int(name in things))
        for i, name in enumerate(classes)
    ]
    images, annotations = [], []
    for i in range(count):
        coarse = rng.integers(0, 256, (48, 64, 3), np.uint8)
        image = Image.fromarray(coarse).resize((640, 480))
        images.append(dict(id=i, file_name=f'{i}.jpg', height=480, width=640))
        ids = np.ones((480, 640), np.uint8)
        for number in range(2, 20):
            y, x = rng.integers(0, 400), rng.integers(0, 560)
            ids[y : y + 80, x : x + 80] = number
        coded = np.zeros((480, 640, 3), np.uint8)
        coded[..., 0] = ids
        segments = []
        for number in np.unique(ids).tolist():
            rows, columns = np.nonzero(ids == number)
            x, y = int(columns.min()), int(rows.min())
            width, height = int(columns.max()) + 1 - x, int(rows.max()) + 1 - y
            segments.append(
                dict(
                    id=number,
                    category_id=int(rng.integers(len(classes))),
                    area=len(rows),
                    bbox=[x, y, width, height],
                    iscrowd=0,
                )
            )
        annotations.append(
            dict(image_id=i, file_name=f'{i}.png', segments_info=segments)
        )
        for place, name, drawn in (
            (source.images, f'{i}.jpg', image),
            (source.segments, f'{i}.png', Image.fromarray(coded)),
        ):
            (folder / place).mkdir(parents=True, exist_ok=True)
            drawn.save(folder / place / name)
    path = folder / source.ann_file
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = dict(
        images=images, annotations=annotations, categories=categories
    )
    path.write_text(json.dumps(listed))
