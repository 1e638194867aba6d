"""Make panoptic annotations of semantic PNGs and, if there are, instances.

    python tools/dataset_converters/to_panoptic.py \\
        my_data/train my_data/semantic_train \\
        my_data/annotations/panoptic_train.json \\
        --classes sky road person \\
        --instances my_data/annotations/instances_train.json

A semantic PNG, of the same name as its picture, is grey and stores the place
of a class in ``--classes``, from 0; ``--void`` (255) is no class. The things
are the categories of the instance file, a JSON in the COCO layout with
polygons or run lengths; those that are not among the classes are added to
them. Without an instance file all classes are stuff, one segment each.

Every instance is pasted over the semantic map, large ones first. What the
map shows of a thing and no instance covers becomes void, as nobody knows how
many things it is.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _common import (
    Outputs,
    Run,
    add_run_options,
    make_jsons,
    read_json,
    read_png,
    read_size,
    run_command,
    total_size,
)
from _panoptic import find_segments, write_ids
from pycocotools import mask as coco_mask

PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


class Instances(NamedTuple):
    """A COCO instance file.

    Attributes:
        names (dict[int, str]): Names of the categories by id.
        by_file (dict[str, list[dict]]): Annotations by ``file_name``.
    """

    names: dict[int, str]
    by_file: dict[str, list[dict]]


class Picture(NamedTuple):
    """A picture and what is known of it.

    Attributes:
        image (Path): The picture.
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


# --------------------------------------------------------------- pictures


def read_semantic(picture: Picture) -> np.ndarray:
    """Return the class of each pixel, -1 for void, int32 (H, W)."""
    path, size = picture.semantic, read_size(picture.image)
    labels = read_png(path)
    if labels.ndim != 2 or labels.shape != size:
        raise ValueError(
            f'{path} has shape {labels.shape}: expected one channel and the '
            f'size of {picture.image}, {size} (height, width).'
        )
    labels = np.where(labels == picture.void, -1, labels.astype(np.int32))
    if labels.max(initial=-1) >= picture.num_values:
        raise ValueError(
            f'{path} has the value {labels.max()}: expected less than '
            f'{picture.num_values}, the number of --classes, or '
            f'{picture.void} for void (--void).'
        )
    return labels


def decode(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of polygons or run lengths, bool (H, W)."""
    if isinstance(segmentation, list):
        if not segmentation or min(map(len, segmentation)) < 6:
            raise ValueError('a polygon needs three points')
        segmentation = coco_mask.merge(
            coco_mask.frPyObjects(segmentation, *size)
        )
    elif isinstance(segmentation['counts'], list):
        segmentation = coco_mask.frPyObjects(segmentation, *size)
    return coco_mask.decode(segmentation).astype(bool)


def decode_all(picture: Picture, size: tuple[int, int]) -> list[tuple]:
    """Return class, ``iscrowd`` and mask of the instances, large first."""
    decoded = []
    for label, iscrowd, segmentation in picture.instances:
        try:
            mask = decode(segmentation, size)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f'An instance of {picture.image.name} has a segmentation '
                f'that cannot be read ({error!r}): expected polygons or run '
                'lengths as in COCO.'
            ) from error
        if mask.shape != size:
            raise ValueError(
                f'An instance of {picture.image.name} is {mask.shape}, but '
                f'the picture is {size} (height, width): mend the instance '
                'file.'
            )
        decoded.append((label, iscrowd, mask))
    return sorted(decoded, key=lambda entry: -np.count_nonzero(entry[2]))


def convert_picture(picture: Picture) -> dict:
    """Write the panoptic PNG; return the entries of the JSON."""
    labels = read_semantic(picture)
    # Of void, which is -1, the last entry.
    is_stuff = np.array([not thing for thing in picture.is_thing] + [False])
    num_stuff = len(picture.is_thing)
    ids = np.where(is_stuff[labels], labels + 1, 0)
    kinds = {label + 1: (label, 0) for label in range(num_stuff)}
    instances = decode_all(picture, labels.shape)
    for number, instance in enumerate(instances, start=num_stuff + 1):
        label, iscrowd, mask = instance
        ids[mask] = number
        kinds[number] = (label, iscrowd)
    write_ids(picture.target, ids)
    height, width = ids.shape
    return dict(
        image=dict(file_name=picture.image.name, height=height, width=width),
        annotation=dict(
            file_name=picture.target.name,
            segments_info=[
                dict(
                    id=segment.id,
                    category_id=kinds[segment.id][0],
                    area=segment.area,
                    bbox=segment.bbox,
                    iscrowd=kinds[segment.id][1],
                )
                for segment in find_segments(ids)
            ],
        ),
    )


# ------------------------------------------------------------------- sets


def read_instances(path: Path) -> Instances:
    """Read an instance file, its keys checked."""
    content = read_json(path)
    try:
        names = {c['id']: c['name'] for c in content['categories']}
        files = {
            image['id']: image['file_name'] for image in content['images']
        }
        by_file = {name: [] for name in files.values()}
        for annotation in content['annotations']:
            names[annotation['category_id']]
            annotation['segmentation']
            by_file[files[annotation['image_id']]].append(annotation)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is not in the COCO instance layout: expected images, '
            'categories, and annotations with an image_id and a category_id '
            f'that are among them, and a segmentation; {error!r} is missing.'
        ) from error
    return Instances(names, by_file)


def find_pictures(
    images: Path, semantic: Path, target: Path
) -> list[tuple[Path, Path, Path]]:
    """Return picture, semantic PNG and panoptic PNG of all pictures."""
    if not images.is_dir():
        raise FileNotFoundError(
            f'{images} is no folder: give the folder of the pictures.'
        )
    found = sorted(p for p in images.iterdir() if p.suffix.lower() in PICTURES)
    triples = [
        (path, semantic / f'{path.stem}.png', target / f'{path.stem}.png')
        for path in found
    ]
    missing = [label for _, label, _ in triples if not label.exists()]
    if not triples or missing:
        first = f', the first is {missing[0]}' if missing else ''
        raise FileNotFoundError(
            f'{len(missing)} of {len(triples)} pictures in {images} have no '
            f'semantic PNG{first}: expected pictures, and a PNG of the same '
            f'name in {semantic} for each.'
        )
    if len({target for _, _, target in triples}) < len(triples):
        raise ValueError(
            f'{images} has pictures that differ in their ending only: rename '
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
) -> dict[str, Picture]:
    """Return what to do, by the name of the panoptic PNG in ``target``."""
    triples = find_pictures(args.images, args.semantic, target)
    known = {image.name for image, _, _ in triples}
    if unknown := sorted(instances.by_file.keys() - known):
        raise FileNotFoundError(
            f'{args.instances} has {len(unknown)} pictures that are not in '
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
                int(annotation.get('iscrowd', 0)),
                annotation['segmentation'],
            )
            for annotation in instances.by_file.get(image.name, [])
        ]
        tasks[png.name] = Picture(
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
        convert_picture,
        assemble,
        lambda todo: 3 * total_size([picture.semantic for picture in todo]),
        Run(args.workers, args.overwrite),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Make panoptic annotations of semantic PNGs and, if there '
        'are, COCO instances.',
        epilog='Example: python tools/dataset_converters/to_panoptic.py '
        'train semantic_train annotations/panoptic_train.json '
        '--classes sky road person --instances instances_train.json',
    )
    parser.add_argument('images', type=Path, help='folder of pictures')
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
        default=255,
        help='value of the semantic PNGs that is no class (default: '
        '%(default)s)',
    )
    add_run_options(parser)
    make_panoptic(parser.parse_args())


if __name__ == '__main__':
    run_command(main)
