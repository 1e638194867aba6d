"""Combine semantic PNGs and, if given, instances to panoptic annotations.

    python tools/dataset_converters/to_panoptic.py \\
        my_data/train my_data/semantic_train \\
        my_data/annotations/panoptic_train.json \\
        --classes sky road person \\
        --instances my_data/annotations/instances_train.json

A semantic PNG has the name of its image, is grey and stores the index of a
class in ``--classes``, from 0; ``--void`` (255) is no class. The things
are the categories of the instance file, a JSON in the COCO layout with
polygons or run lengths; those that are not among the classes are added to
them. Without an instance file all classes are stuff, one segment each.

Every instance is pasted over the semantic map, large ones first. Pixels of a
thing in the map that no instance covers become void, since the number of
things there is unknown.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _annotations import write_ids  # noqa: E402
from _common import (  # noqa: E402
    Outputs,
    Run,
    add_run_options,
    make_jsons,
    read_coco,
    read_label_map,
    read_size,
    run_command,
    total_size,
)
from _package import coco_masks, file_names  # noqa: E402
from _panoptic import IGNORE_INDEX, find_segments  # noqa: E402


class Instances(NamedTuple):
    """A COCO instance file.

    Attributes:
        names (dict[int, str]): Names of the categories by id.
        by_file (dict[str, list[dict]]): Annotations by ``file_name``.
    """

    names: dict[int, str]
    by_file: dict[str, list[dict]]


class Sample(NamedTuple):
    """An image and what is known of it.

    Attributes:
        image (Path): The image.
        semantic (Path): Its semantic PNG.
        target (Path): The panoptic PNG to make.
        instances (list[tuple[int, int, object]]): Class, ``iscrowd`` and
            ``segmentation`` of the instances.
        is_thing (tuple[bool, ...]): Of all classes.
        num_values (int): Number of classes of the semantic PNGs.
        void (int): Value of pixels of no class.
    """

    image: Path
    semantic: Path
    target: Path
    instances: list[tuple[int, int, object]]
    is_thing: tuple[bool, ...]
    num_values: int
    void: int


# --------------------------------------------------------------- images


def read_semantic(sample: Sample) -> np.ndarray:
    """Return the class of each pixel, -1 for void, int32 (H, W)."""
    path, size = sample.semantic, read_size(sample.image)
    labels = read_label_map(path)
    if labels.shape != size:
        raise ValueError(
            f'{path} has shape {labels.shape}: expected the size of '
            f'{sample.image}, {size} (height, width).'
        )
    labels = np.where(labels == sample.void, -1, labels.astype(np.int32))
    if labels.max(initial=-1) >= sample.num_values:
        raise ValueError(
            f'{path} has the value {labels.max()}: expected less than '
            f'{sample.num_values}, the number of --classes, or '
            f'{sample.void} for void (--void).'
        )
    return labels


def decode_all(sample: Sample, size: tuple[int, int]) -> list[tuple]:
    """Return class, ``iscrowd`` and mask of the instances, large first."""
    decoded = []
    for label, iscrowd, segmentation in sample.instances:
        try:
            mask = coco_masks.draw_mask(segmentation, size)
        except ValueError as error:
            raise ValueError(
                f'An instance of {sample.image.name} cannot be drawn: '
                f'{error}. Mend the instance file.'
            ) from error
        decoded.append((label, iscrowd, mask))
    return sorted(decoded, key=lambda entry: -np.count_nonzero(entry[2]))


def convert_image(sample: Sample) -> dict:
    """Write the panoptic PNG; return the entries of the JSON."""
    labels = read_semantic(sample)
    # Of void, which is -1, the last entry.
    is_stuff = np.array([not thing for thing in sample.is_thing] + [False])
    num_stuff = len(sample.is_thing)
    ids = np.where(is_stuff[labels], labels + 1, 0)
    kinds = {label + 1: (label, 0) for label in range(num_stuff)}
    instances = decode_all(sample, labels.shape)
    for number, instance in enumerate(instances, start=num_stuff + 1):
        label, iscrowd, mask = instance
        ids[mask] = number
        kinds[number] = (label, iscrowd)
    write_ids(sample.target, ids)
    height, width = ids.shape
    return dict(
        image=dict(file_name=sample.image.name, height=height, width=width),
        annotation=dict(
            file_name=sample.target.name,
            segments_info=[
                dict(
                    id=number,
                    category_id=kinds[number][0],
                    area=segment.area,
                    bbox=segment.bbox,
                    iscrowd=kinds[number][1],
                )
                for number, segment in find_segments(ids).items()
            ],
        ),
    )


# ------------------------------------------------------------------- sets


def read_instances(path: Path) -> Instances:
    """Read an instance file, its entries as data sets read them."""
    content, _ = read_coco(path, 'instance')
    names = {c['id']: c['name'] for c in content.categories}
    files = {image['id']: image['file_name'] for image in content.images}
    by_file = {name: [] for name in files.values()}
    for annotation in content.annotations:
        for key, known in (('image_id', files), ('category_id', names)):
            if annotation[key] not in known:
                raise ValueError(
                    f'{path} has an annotation (id {annotation["id"]!r}) with '
                    f'the {key} {annotation[key]!r}, which no entry has: '
                    'mend or remove it.'
                )
        by_file[files[annotation['image_id']]].append(annotation)
    return Instances(names, by_file)


def find_samples(
    images: Path, semantic: Path, target: Path
) -> list[tuple[Path, Path, Path]]:
    """Return image, semantic PNG and panoptic PNG of all images."""
    if not images.is_dir():
        raise FileNotFoundError(
            f'{images} is no folder: give the folder of the images.'
        )
    found = sorted(
        p for p in images.iterdir() if file_names.image_stem(p.name)
    )
    triples = [
        (path, semantic / f'{path.stem}.png', target / f'{path.stem}.png')
        for path in found
    ]
    missing = [label for _, label, _ in triples if not label.exists()]
    if not triples or missing:
        first = f', the first is {missing[0]}' if missing else ''
        raise FileNotFoundError(
            f'{len(missing)} of {len(triples)} images in {images} have no '
            f'semantic PNG{first}: expected images, and a PNG of the same '
            f'name in {semantic} for each.'
        )
    if len({target for _, _, target in triples}) < len(triples):
        raise ValueError(
            f'{images} has images that differ in their ending only: rename '
            'them, each needs a PNG of its own.'
        )
    return triples


def make_categories(classes: list[str], things: set[str]) -> list[dict]:
    """Return the categories; things that are no class come last."""
    if len(set(classes)) < len(classes):
        raise ValueError(f'--classes has a name more than once: {classes}.')
    names = classes + sorted(things - set(classes))
    return [
        dict(id=index, name=name, isthing=int(name in things))
        for index, name in enumerate(names)
    ]


def make_tasks(
    args: argparse.Namespace,
    instances: Instances,
    categories: list[dict],
    target: Path,
) -> dict[str, Sample]:
    """Return what to do, by the name of the panoptic PNG in ``target``."""
    triples = find_samples(args.images, args.semantic, target)
    known = {image.name for image, _, _ in triples}
    if unknown := sorted(instances.by_file.keys() - known):
        raise FileNotFoundError(
            f'{args.instances} has {len(unknown)} images that are not in '
            f'{args.images}, the first is {unknown[0]}: expected the same '
            'file names.'
        )
    labels = {c['name']: c['id'] for c in categories}
    things = tuple(bool(c['isthing']) for c in categories)
    tasks = {}
    for image, semantic, png in triples:
        found = [
            (
                labels[instances.names[annotation['category_id']]],
                annotation.get('iscrowd', 0),
                annotation['segmentation'],
            )
            for annotation in instances.by_file.get(image.name, [])
        ]
        tasks[png.name] = Sample(
            image, semantic, png, found, things, len(args.classes), args.void
        )
    return tasks


def make_panoptic(args: argparse.Namespace) -> None:
    """Make the panoptic annotations of a folder."""
    instances = Instances({}, {})
    if args.instances is not None:
        instances = read_instances(args.instances)
    categories = make_categories(args.classes, set(instances.names.values()))
    outputs = Outputs('panoptic', [args.json], args.json.with_suffix(''))
    tasks = make_tasks(args, instances, categories, outputs.folder)

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

    args.json.parent.mkdir(parents=True, exist_ok=True)
    make_jsons(
        outputs,
        tasks,
        convert_image,
        assemble,
        lambda todo: 3 * total_size([sample.semantic for sample in todo]),
        Run(args.workers, args.overwrite),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Combine semantic PNGs and, if given, COCO instances to '
        'panoptic annotations.',
        epilog='Example: python tools/dataset_converters/to_panoptic.py '
        'train semantic_train annotations/panoptic_train.json '
        '--classes sky road person --instances instances_train.json',
    )
    parser.add_argument('images', type=Path, help='folder of images')
    parser.add_argument('semantic', type=Path, help='folder of semantic PNGs')
    parser.add_argument(
        'json',
        type=Path,
        help='panoptic JSON to make; the PNGs go to the folder of that name',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        required=True,
        metavar='NAME',
        help='names of the values 0, 1, ... of the semantic PNGs',
    )
    parser.add_argument(
        '--instances', type=Path, metavar='JSON', help='COCO instance file'
    )
    parser.add_argument(
        '--void',
        type=int,
        default=IGNORE_INDEX,
        help='value of the semantic PNGs that is no class (default: '
        '%(default)s)',
    )
    add_run_options(parser)
    make_panoptic(parser.parse_args())


if __name__ == '__main__':
    run_command(main)
