"""Write panoptic, instance and semantic annotations of ADE20K's releases.

    python tools/dataset_converters/ade20k.py data/ADEChallengeData2016

reads, of the scene parsing (semantic) and of the instance segmentation
release,

    images/{training,validation}/*.jpg
    annotations/{training,validation}/*.png            0, or class + 1 of 150
    annotations_instance/{training,validation}/*.png   R: 0, or class + 1 of
                                                       100, G: instance

and writes

    ade20k_panoptic_{train,val}.json   and PNGs in the folder of that name
    ade20k_instance_{train,val}.json
    annotations_detectron2/{training,validation}/*.png   class, 255 is void

Panoptic: stuff is taken from the semantic map, and every instance is pasted
over it. The id of a segment is the class + 1, plus 256 times the number of
the instance, so that the PNG shows both. A class has the same id in all
files, its place in ``CLASSES``.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _annotations import run_lengths, write_ids, write_png  # noqa: E402
from _common import (  # noqa: E402
    Outputs,
    Run,
    make_files,
    make_jsons,
    make_parser,
    read_png,
    read_size,
    require_folders,
    run_command,
    total_size,
)
from _panoptic import find_segments, number_instances, things_of  # noqa: E402

FOLDERS = dict(train='training', val='validation')
# fmt: off
CLASSES = (
    'wall', 'building', 'sky', 'floor', 'tree', 'ceiling', 'road, route',
    'bed', 'window ', 'grass', 'cabinet', 'sidewalk, pavement', 'person',
    'earth, ground', 'door', 'table', 'mountain, mount', 'plant', 'curtain',
    'chair', 'car', 'water', 'painting, picture', 'sofa', 'shelf', 'house',
    'sea', 'mirror', 'rug', 'field', 'armchair', 'seat', 'fence', 'desk',
    'rock, stone', 'wardrobe, closet, press', 'lamp', 'tub', 'rail',
    'cushion', 'base, pedestal, stand', 'box', 'column, pillar',
    'signboard, sign', 'chest of drawers, chest, bureau, dresser', 'counter',
    'sand', 'sink', 'skyscraper', 'fireplace', 'refrigerator, icebox',
    'grandstand, covered stand', 'path', 'stairs', 'runway',
    'case, display case, showcase, vitrine',
    'pool table, billiard table, snooker table', 'pillow',
    'screen door, screen', 'stairway, staircase', 'river', 'bridge, span',
    'bookcase', 'blind, screen', 'coffee table',
    'toilet, can, commode, crapper, pot, potty, stool, throne', 'flower',
    'book', 'hill', 'bench', 'countertop', 'stove', 'palm, palm tree',
    'kitchen island', 'computer', 'swivel chair', 'boat', 'bar',
    'arcade machine', 'hovel, hut, hutch, shack, shanty', 'bus', 'towel',
    'light', 'truck', 'tower', 'chandelier', 'awning, sunshade, sunblind',
    'street lamp', 'booth', 'tv', 'plane', 'dirt track', 'clothes', 'pole',
    'land, ground, soil',
    'bannister, banister, balustrade, balusters, handrail',
    'escalator, moving staircase, moving stairway',
    'ottoman, pouf, pouffe, puff, hassock', 'bottle',
    'buffet, counter, sideboard',
    'poster, posting, placard, notice, bill, card', 'stage', 'van', 'ship',
    'fountain',
    'conveyer belt, conveyor belt, conveyer, conveyor, transporter',
    'canopy', 'washer, automatic washer, washing machine', 'plaything, toy',
    'pool', 'stool', 'barrel, cask', 'basket, handbasket', 'falls', 'tent',
    'bag', 'minibike, motorbike', 'cradle', 'oven', 'ball',
    'food, solid food', 'step, stair', 'tank, storage tank', 'trade name',
    'microwave', 'pot', 'animal', 'bicycle', 'lake', 'dishwasher', 'screen',
    'blanket, cover', 'sculpture', 'hood, exhaust hood', 'sconce', 'vase',
    'traffic light', 'tray', 'trash can', 'fan', 'pier', 'crt screen',
    'plate', 'monitor', 'bulletin board', 'shower', 'radiator',
    'glass, drinking glass', 'clock', 'flag',
)
# The classes of the instance release, in its order.
THINGS = (
    7, 8, 10, 12, 14, 15, 18, 19, 20, 22, 23, 24, 27, 30, 31, 32, 33, 35, 36,
    37, 38, 39, 41, 42, 43, 44, 45, 47, 49, 50, 53, 55, 56, 57, 58, 62, 64,
    65, 66, 67, 69, 70, 71, 72, 73, 74, 75, 76, 78, 80, 81, 82, 83, 85, 86,
    87, 88, 89, 90, 92, 93, 95, 97, 98, 102, 103, 104, 107, 108, 110, 111,
    112, 115, 116, 118, 119, 120, 121, 123, 124, 125, 126, 127, 129, 130,
    132, 133, 134, 135, 136, 137, 138, 139, 142, 143, 144, 146, 147, 148,
    149,
)
# fmt: on
CATEGORIES = [
    dict(id=index, name=name, isthing=int(index in THINGS))
    for index, name in enumerate(CLASSES)
]
ADVICE = (
    'Get ADEChallengeData2016.zip and, for annotations_instance, '
    'annotations_instance.tar of http://sceneparsing.csail.mit.edu, and '
    'unpack the second in the folder of the first.'
)


class Sample(NamedTuple):
    """Files of one image."""

    image: Path
    semantic: Path
    instance: Path
    target: Path


class Label(NamedTuple):
    """A semantic map, and the one to make of it."""

    source: Path
    target: Path


# --------------------------------------------------------------- images


def read_semantic(path: Path) -> np.ndarray:
    """Return 0 or class + 1 of each pixel, np.uint8 (H, W)."""
    label = read_png(path)
    if label.ndim != 2 or label.dtype != np.uint8:
        raise ValueError(
            f'{path} has shape {label.shape} and type {label.dtype}: expected '
            'a grey image with 8 bits, as in ADEChallengeData2016.zip.'
        )
    if label.max(initial=0) > len(CLASSES):
        raise ValueError(
            f'{path} has the value {label.max()}: expected 0 to 150, as in '
            'annotations/ of ADEChallengeData2016.zip.'
        )
    return label


def read_instances(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return class + 1 and number of the instances, int32 (H, W), 0: none."""
    label = read_png(path)
    if label.ndim != 3 or label.dtype != np.uint8:
        raise ValueError(
            f'{path} has shape {label.shape} and type {label.dtype}: expected '
            'an RGB image with 8 bits, as in annotations_instance.tar.'
        )
    category, number = label[..., 0].astype(np.int32), label[..., 1]
    if category.max(initial=0) > len(THINGS):
        raise ValueError(
            f'{path} has the instance class {category.max()} in red: '
            'expected 1 to 100, 0 for none, as in annotations_instance.tar.'
        )
    classes = np.array((-1, *THINGS), np.int32) + 1
    number = number.astype(np.int32)
    category = np.where(number > 0, classes[category], 0)
    pairs = np.unique(category + 256 * number)
    if len(set(pairs // 256)) < len(pairs) or 0 in pairs[pairs > 0] % 256:
        raise ValueError(
            f'{path} has an instance of several classes, or of none: '
            'expected one class in red for each number in green, as in '
            'annotations_instance.tar.'
        )
    return category, number


def convert_image(sample: Sample) -> dict:
    """Write the panoptic PNG; return all entries of the JSON files."""
    ids = panoptic_ids(sample)
    write_ids(sample.target, ids)
    name = sample.image.stem
    segments = [
        dict(
            id=number,
            category_id=number % 256 - 1,
            area=segment.area,
            bbox=segment.bbox,
            iscrowd=0,
        )
        for number, segment in find_segments(ids).items()
    ]
    return dict(
        image=dict(
            id=name,
            file_name=sample.image.name,
            width=ids.shape[1],
            height=ids.shape[0],
        ),
        annotation=dict(
            image_id=name,
            file_name=sample.target.name,
            segments_info=segments,
        ),
        instances=[
            dict(
                image_id=name,
                **{k: v for k, v in segment.items() if k != 'id'},
                segmentation=run_lengths(ids == segment['id']),
            )
            for segment in segments
            if segment['id'] >= 256
        ],
    )


def panoptic_ids(sample: Sample) -> np.ndarray:
    """Return the segment ids of an image, int32 (H, W)."""
    semantic = read_semantic(sample.semantic)
    category, number = read_instances(sample.instance)
    sizes = {
        sample.image: read_size(sample.image),
        sample.semantic: semantic.shape,
        sample.instance: number.shape,
    }
    if len(set(sizes.values())) > 1:
        told = ', '.join(f'{path} is {size}' for path, size in sizes.items())
        raise ValueError(
            f'Expected one size (height, width) for an image, but {told}: '
            'unpack the downloads again.'
        )
    is_stuff = np.isin(np.arange(256) - 1, THINGS, invert=True)
    stuff = np.where(is_stuff, np.arange(256), 0)[semantic]
    return np.where(number > 0, category + 256 * number, stuff)


def convert_label(label: Label) -> None:
    """Write the class of each pixel, 255 where there is none."""
    # As whole bytes, 0 - 1 is 255.
    write_png(label.target, read_semantic(label.source) - np.uint8(1))


# ----------------------------------------------------------------- splits


def find_samples(root: Path, split: str) -> list[Sample]:
    """Return the images of a split, by name."""
    folder = FOLDERS[split]
    images = sorted((root / 'images' / folder).glob('*.jpg'))
    if not images:
        raise FileNotFoundError(
            f'{root / "images" / folder} has no .jpg file. {ADVICE}'
        )
    return [
        Sample(
            image,
            root / 'annotations' / folder / f'{image.stem}.png',
            root / 'annotations_instance' / folder / f'{image.stem}.png',
            root / f'ade20k_panoptic_{split}' / f'{image.stem}.png',
        )
        for image in images
    ]


def with_instances(samples: list[Sample], allow_missing: bool) -> list[Sample]:
    """Return the images with instances, which should be all.

    Raises:
        FileNotFoundError: If some have none and may not, or all have none.
    """
    complete = [p for p in samples if p.instance.exists()]
    missing = [p for p in samples if not p.instance.exists()]
    if missing and not (allow_missing and complete):
        raise FileNotFoundError(
            f'{len(missing)} of {len(samples)} images have no instances, '
            f'the first lacks {missing[0].instance}: unpack '
            'annotations_instance.tar again, or pass --allow-missing to leave '
            'such images out of the panoptic and instance files.'
        )
    if missing:
        print(f'{len(missing)} images have no instances and are left out')
    return complete


def make_panoptic(
    root: Path, split: str, samples: list[Sample], run: Run
) -> None:
    """Make the panoptic and the instance annotations of a split."""
    outputs = Outputs(
        f'{split}: panoptic and instances',
        [
            root / f'ade20k_panoptic_{split}.json',
            root / f'ade20k_instance_{split}.json',
        ],
        root / f'ade20k_panoptic_{split}',
    )
    tasks = {sample.target.name: sample for sample in samples}
    make_jsons(outputs, tasks, convert_image, assemble, space, run)


def assemble(records: list[dict]) -> list[dict]:
    """Return the panoptic and the instance JSON."""
    images = [record['image'] for record in records]
    return [
        dict(
            images=images,
            annotations=[record['annotation'] for record in records],
            categories=CATEGORIES,
        ),
        dict(
            images=images,
            annotations=number_instances(
                [record['instances'] for record in records]
            ),
            categories=things_of(CATEGORIES),
        ),
    ]


def make_semantic(
    root: Path, split: str, samples: list[Sample], run: Run
) -> None:
    """Make the semantic annotations of a split."""
    folder = root / 'annotations_detectron2' / FOLDERS[split]
    labels = [
        Label(sample.semantic, folder / sample.semantic.name)
        for sample in samples
    ]
    make_files(
        f'{split}: semantic',
        labels,
        convert_label,
        lambda todo: 1.5 * total_size([label.source for label in todo]),
        run,
    )


def space(samples: list[Sample]) -> float:
    """Return the bytes to write, estimated from the labels."""
    labels = [p.semantic for p in samples] + [p.instance for p in samples]
    # The PNGs take as much, the JSON files and the journal as much each.
    return 3 * total_size(labels)


def main() -> None:
    parser = make_parser(
        'Write panoptic, instance and semantic annotations of ADE20K.',
        'python tools/dataset_converters/ade20k.py data/ADEChallengeData2016',
        splits=list(FOLDERS),
        default=list(FOLDERS),
    )
    parser.add_argument(
        '--allow-missing',
        action='store_true',
        help='leave images without a file in annotations_instance out of '
        'the panoptic and instance files',
    )
    args = parser.parse_args()
    run = Run(args.workers, args.overwrite)
    for split in args.splits:
        folder = FOLDERS[split]
        needed = ['images', 'annotations', 'annotations_instance']
        require_folders(args.root, [f'{n}/{folder}' for n in needed], ADVICE)
    samples = {split: find_samples(args.root, split) for split in args.splits}
    complete = {
        split: with_instances(samples[split], args.allow_missing)
        for split in args.splits
    }
    for split in args.splits:
        make_panoptic(args.root, split, complete[split], run)
        make_semantic(args.root, split, samples[split], run)


if __name__ == '__main__':
    run_command(main)
