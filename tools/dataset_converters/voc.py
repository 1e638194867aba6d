"""Convert VOC's coloured masks to panoptic annotations or label maps.

    python tools/dataset_converters/voc.py VOC2012 voc_converted

reads SegmentationClass/*.png and, if present, SegmentationObject/*.png of
Pascal VOC, or of CVAT's export "Segmentation mask". The colours of the classes
are those of ``labelmap.txt``, or VOC's own. The images are in JPEGImages/, or
anywhere below the folder with the names of the masks; the splits are those of
ImageSets/Segmentation/*.txt.

With objects, it writes ``panoptic_{split}.json`` and its PNGs: every class but
``background`` is a thing, the background is stuff. Without objects, it writes
``labels_{split}/`` and ``classes.txt``. VOC's borders (224, 224, 192) become
void, and so do pixels of a thing without an object.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _annotations  # noqa: E402
from _annotations import write_ids, write_png  # noqa: E402
from _common import (  # noqa: E402
    Outputs,
    Run,
    add_run_options,
    make_files,
    make_jsons,
    read_size,
    run_command,
    total_size,
)
from _package import file_names  # noqa: E402
from _panoptic import IGNORE_INDEX, find_segments  # noqa: E402

CLASSES, OBJECTS = 'SegmentationClass', 'SegmentationObject'
BACKGROUND = 'background'
BORDER = (224, 224, 192)
NO_OBJECT = ((0, 0, 0), BORDER)
NAMES = (
    *(BACKGROUND, 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus'),
    *('car', 'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse'),
    *('motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train'),
    'tvmonitor',
)
SPLITS = ('train', 'val', 'test')


class Sample(NamedTuple):
    """An image and its masks.

    Attributes:
        image (Path): The image.
        classes (Path): Its mask of classes.
        objects (Path | None): Its mask of objects.
        target (Path): The PNG to make.
        names (tuple[str, ...]): Of all classes.
        colors (tuple[tuple[int, int, int], ...]): Of all classes.
        root (Path): Folder that the image is named relative to.
    """

    image: Path
    classes: Path
    objects: Path | None
    target: Path
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    root: Path


# ----------------------------------------------------------------- reading


def is_here(names: Sequence[str]) -> bool:
    """Whether a folder has masks of classes."""
    return any(f'{CLASSES}/' in f'/{name}' for name in names)


def voc_colors(number: int) -> tuple[tuple[int, int, int], ...]:
    """Return VOC's first colours: three bits of a number, highest first."""
    colors = []
    for value in range(number):
        color = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                bit = value >> (3 * place + channel) & 1
                color[channel] |= bit << (7 - place)
        colors.append(tuple(color))
    return tuple(colors)


def read_label_map_file(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return the colour of each class by CVAT's ``labelmap.txt``.

    Raises:
        ValueError: If a line is not ``name:r,g,b:parts:actions``.
    """
    colors = {}
    for line in path.read_text(encoding='utf-8-sig').splitlines():
        if not line.strip() or line.startswith('#'):
            continue
        name, _, rest = line.partition(':')
        values = rest.partition(':')[0].split(',')
        if len(values) != 3 or not all(v.strip().isdecimal() for v in values):
            raise ValueError(
                f'{path} has the line {line!r}: expected '
                'name:red,green,blue:parts:actions.'
            )
        colors[name.strip()] = tuple(int(value) for value in values)
    return colors


def read_colors(path: Path, table: Sequence) -> np.ndarray:
    """Return the colours of a mask as numbers, int32 (H, W).

    Args:
        path (Path): A PNG with a palette, or in RGB, or grey with the places
            of classes in ``table``.
        table (Sequence): Colours of the classes.
    """
    png = _annotations.read_png(path)
    if png.kind == 'grey':
        known = np.array([*table, *[BORDER] * (256 - len(table))], np.int32)
        pixels = known[png.values]
    else:
        pixels = png.pixels[..., :3].astype(np.int32)
    return pixels @ np.array([65536, 256, 1], np.int32)


def numbers_of(colors: Sequence) -> list[int]:
    """Return colours as :func:`read_colors` does."""
    return [red << 16 | green << 8 | blue for red, green, blue in colors]


def read_classes(sample: Sample) -> np.ndarray:
    """Return the class of each pixel, -1 for void, int32 (H, W).

    Raises:
        ValueError: If the mask has another size than the image, or a colour
            of no class.
    """
    coded = read_colors(sample.classes, sample.colors)
    size = read_size(sample.image)
    if coded.shape != size:
        raise ValueError(
            f'{sample.classes} has shape {coded.shape}: expected the size of '
            f'{sample.image}, {size} (height, width).'
        )
    labels = np.full(coded.shape, -1, np.int32)
    known = numbers_of(sample.colors)
    for number in np.unique(coded).tolist():
        if number in known:
            labels[coded == number] = known.index(number)
        elif number not in numbers_of([BORDER]):
            color = number >> 16, number >> 8 & 255, number & 255
            raise ValueError(
                f'{sample.classes} has the colour {color}, of no class: '
                'expected those of labelmap.txt, or of VOC without one.'
            )
    return labels


# -------------------------------------------------------------- converting


def convert_objects(sample: Sample) -> dict:
    """Write the panoptic PNG; return the entries of the JSON."""
    labels = read_classes(sample)
    coded = read_colors(sample.objects, sample.colors)
    ids, kinds = np.zeros(labels.shape, np.int32), {}
    for label, name in enumerate(sample.names):
        mask = labels == label
        if name == BACKGROUND:
            parts = [mask] if mask.any() else []
        else:
            none = numbers_of(NO_OBJECT)
            found = np.setdiff1d(np.unique(coded[mask]), none)
            parts = [mask & (coded == number) for number in found]
        for part in parts:
            kinds[len(kinds) + 1] = label
            ids[part] = len(kinds)
    write_ids(sample.target, ids)
    height, width = ids.shape
    return dict(
        image=dict(
            file_name=sample.image.relative_to(sample.root).as_posix(),
            height=height,
            width=width,
        ),
        annotation=dict(
            file_name=sample.target.name,
            segments_info=[
                dict(
                    id=number,
                    category_id=kinds[number],
                    area=segment.area,
                    bbox=segment.bbox,
                    iscrowd=0,
                )
                for number, segment in find_segments(ids).items()
            ],
        ),
    )


def convert_classes(sample: Sample) -> None:
    """Write the label map."""
    labels = read_classes(sample)
    values = np.where(labels < 0, IGNORE_INDEX, labels).astype(np.uint8)
    write_png(sample.target, values)


def find_masks(folder: Path) -> Path:
    """Return the folder that holds the masks of classes.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = [folder, *(p for p in sorted(folder.rglob('*')) if p.is_dir())]
    for place in found:
        if (place / CLASSES).is_dir():
            return place
    raise FileNotFoundError(
        f'{folder} has no {CLASSES}/: expected it with PNGs of colours.'
    )


def stems_of_splits(root: Path) -> dict[str, list[str]]:
    """Return the names of the masks by split, without ending."""
    masks = sorted(
        Path(name).with_suffix('').as_posix()
        for name in file_names.list_files(root / CLASSES)
        if name.lower().endswith('.png')
    )
    splits = {}
    for path in sorted((root / 'ImageSets' / 'Segmentation').glob('*.txt')):
        if path.stem.lower() in SPLITS:
            listed = set(path.read_text(encoding='utf-8').split('\n'))
            listed = {name.strip() for name in listed}
            splits[path.stem.lower()] = [m for m in masks if m in listed]
    if splits.get('train'):
        return {name: stems for name, stems in splits.items() if stems}
    return dict(train=masks)


def find_samples(
    folder: Path, root: Path, stems: list[str], target: Path
) -> list[Sample]:
    """Return the samples of a split.

    Raises:
        FileNotFoundError: If images are missing.
    """
    table = dict(zip(NAMES, voc_colors(len(NAMES)), strict=True))
    if (root / 'labelmap.txt').is_file():
        table = read_label_map_file(root / 'labelmap.txt')
    images: dict[str, Path] = {}
    for name in file_names.list_files(folder):
        path = folder / name
        if {CLASSES, OBJECTS}.isdisjoint(path.parts):
            stem = file_names.image_stem(path.name)
            if stem is not None:
                images[stem] = path
    missing = [stem for stem in stems if Path(stem).name not in images]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(stems)} masks in {root / CLASSES} have '
            f'no image, the first is {missing[0]}: expected the images in '
            f'{root / "JPEGImages"} (in CVAT, export with "Save images").'
        )
    objects = root / OBJECTS
    return [
        Sample(
            images[Path(stem).name],
            root / CLASSES / f'{stem}.png',
            objects / f'{stem}.png' if objects.is_dir() else None,
            target / f'{stem.replace("/", "_")}.png',
            tuple(table),
            tuple(table.values()),
            folder,
        )
        for stem in stems
    ]


def convert(folder: Path, target: Path, run: Run) -> None:
    """Convert the masks of a folder.

    Args:
        folder (Path): With SegmentationClass/, at any depth.
        target (Path): Folder to write to.
        run (Run): How to run.

    Raises:
        FileNotFoundError: If masks or images are missing.
        ValueError: If a mask cannot be used.
    """
    root = find_masks(folder)
    for split, stems in stems_of_splits(root).items():
        kind = 'panoptic' if (root / OBJECTS).is_dir() else 'labels'
        place = target / f'{kind}_{split}'
        samples = find_samples(folder, root, stems, place)
        if kind == 'panoptic':
            make_panoptic(samples, place.with_suffix('.json'), run)
        else:
            make_label_maps(samples, place, split, run)


def make_panoptic(samples: list[Sample], path: Path, run: Run) -> None:
    """Make the JSON and the PNGs of a split."""
    categories = [
        dict(id=i, name=name, isthing=int(name != BACKGROUND))
        for i, name in enumerate(samples[0].names)
    ]

    def assemble(records: list[dict]) -> list[dict]:
        numbered = list(enumerate(records, start=1))
        return [
            dict(
                images=[dict(id=i, **r['image']) for i, r in numbered],
                annotations=[
                    dict(image_id=i, **r['annotation']) for i, r in numbered
                ],
                categories=categories,
            )
        ]

    make_jsons(
        Outputs(f'{path.stem}: panoptic', [path], path.with_suffix('')),
        {sample.target.name: sample for sample in samples},
        convert_objects,
        assemble,
        lambda todo: 3 * total_size([sample.classes for sample in todo]),
        run,
    )


def make_label_maps(
    samples: list[Sample], place: Path, split: str, run: Run
) -> None:
    """Make the label maps of a split, with links to their images."""
    make_files(
        f'{split}: label maps',
        samples,
        convert_classes,
        lambda todo: 3 * total_size([sample.classes for sample in todo]),
        run,
    )
    # Images are paired by name, and those of other splits lie beside.
    images = place.with_name(f'images_{split}')
    images.mkdir(exist_ok=True)
    for sample in samples:
        link = images / f'{sample.target.stem}{sample.image.suffix}'
        if not link.is_symlink():
            link.symlink_to(sample.image.resolve())
    names = '\n'.join(samples[0].names)
    (place.parent / 'classes.txt').write_text(f'{names}\n', encoding='utf-8')


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description="Convert VOC's masks to panoptic annotations or label "
        'maps.',
        epilog='Example: python tools/dataset_converters/voc.py VOC2012 '
        'voc_converted',
    )
    parser.add_argument('root', type=Path, help='folder of the data')
    parser.add_argument('out', type=Path, help='folder to write to')
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Convert a folder."""
    args = parse_args()
    os.makedirs(args.out, exist_ok=True)
    convert(args.root, args.out, Run(args.workers, args.overwrite))


if __name__ == '__main__':
    run_command(main)
