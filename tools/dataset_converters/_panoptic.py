"""Panoptic annotations in the COCO layout, and what follows from them."""

import reprlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _annotations import (
    Measure,
    measure,
    run_lengths,
    write_png,
)
from _common import (
    Outputs,
    Run,
    make_files,
    make_jsons,
    read_coco,
    read_png,
    total_size,
)
from _package import segment_ids, tasks

IGNORE_INDEX = tasks.IGNORE_INDEX


def read_panoptic(path: Path) -> dict:
    """Read a panoptic JSON, its entries as data sets read them.

    Raises:
        ValueError: If an entry cannot be used, a category has no ``isthing``
            or a segment is of no category.
    """
    content, raw = read_coco(path, 'panoptic')
    for category in content.categories:
        if category.get('isthing') not in (0, 1):
            raise ValueError(
                f'{path} has the category {reprlib.repr(category)} without '
                "'isthing': add 1 for things, 0 for stuff."
            )
    known = {category['id'] for category in content.categories}
    for annotation in content.annotations:
        for segment in annotation['segments_info']:
            if segment['category_id'] not in known:
                raise ValueError(
                    f'{path} has the segment {reprlib.repr(segment)} in '
                    f'{annotation["file_name"]}: expected a category_id that '
                    'is among its categories.'
                )
    return dict(
        raw,
        images=content.images,
        annotations=content.annotations,
        categories=content.categories,
    )


def read_ids(path: Path) -> np.ndarray:
    """Return the segment ids of a panoptic PNG, int32 (H, W).

    Raises:
        ValueError: If the PNG is not RGB with 8 bits.
    """
    png = read_png(path)
    if png.ndim != 3 or png.shape[-1] != 3 or png.dtype != np.uint8:
        raise ValueError(
            f'{path} has shape {png.shape} and type {png.dtype}: expected an '
            'RGB image with 8 bits per channel, where red + 256 green + '
            '65536 blue is the segment id.'
        )
    return segment_ids.decode_ids(png)


def find_segments(ids: np.ndarray) -> dict[int, Measure]:
    """Return area and box of the segments of a map (H, W), without void."""
    return {
        number: measured for number, measured in measure(ids).items() if number
    }


def instances_of(
    ids: np.ndarray, image_id: int | str, infos: list[dict], things: set
) -> list[dict]:
    """Return COCO instances of an image, as yet without ``id``.

    Args:
        ids (np.ndarray): Segment ids (H, W).
        image_id (int | str): Id of the image.
        infos (list[dict]): ``segments_info`` of the image; segments that
            no pixel shows are left out.
        things (set): Ids of the categories to keep.
    """
    found = find_segments(ids)
    return [
        dict(
            image_id=image_id,
            category_id=info['category_id'],
            iscrowd=int(info.get('iscrowd', 0)),
            area=found[info['id']].area,
            bbox=found[info['id']].bbox,
            segmentation=run_lengths(ids == info['id']),
        )
        for info in infos
        if info['category_id'] in things and info['id'] in found
    ]


def number_instances(
    instances: list[list[dict]], first_id: int = 1
) -> list[dict]:
    """Join the instances of all images, and number them."""
    joined = [instance for sample in instances for instance in sample]
    return [
        dict(id=number, **instance)
        for number, instance in enumerate(joined, start=first_id)
    ]


def things_of(categories: list[dict]) -> list[dict]:
    """Return the categories of an instance file, without ``isthing``."""
    return [
        {key: value for key, value in category.items() if key != 'isthing'}
        for category in categories
        if category['isthing']
    ]


def semantic_of(
    ids: np.ndarray, infos: list[dict], indices: dict[int, int], ignore: int
) -> np.ndarray:
    """Return the class of each pixel, np.uint8 (H, W).

    Args:
        ids (np.ndarray): Segment ids (H, W).
        infos (list[dict]): ``segments_info`` of the image. A crowd has its
            class, too.
        indices (dict[int, int]): Class by category id.
        ignore (int): Value of pixels of no segment.
    """
    classes = {info['id']: indices[info['category_id']] for info in infos}
    numbers, places = np.unique(ids, return_inverse=True)
    table = [classes.get(number, ignore) for number in numbers.tolist()]
    return np.array(table, np.uint8)[places.reshape(ids.shape)]


# ------------------------------------------------------------- conversion


class Annotated(NamedTuple):
    """An image with its panoptic annotation.

    Attributes:
        source (Path): The panoptic PNG.
        target (Path): The semantic PNG to make.
        image_id (int | str): Id of the image.
        size (tuple[int, int]): Height and width of the image.
        infos (list[dict]): ``segments_info``.
        numbers (dict): By category id, its class (semantic), or anything
            for those to keep (instances).
        ignore (int): Class of pixels of no segment.
    """

    source: Path
    target: Path
    image_id: int | str
    size: tuple[int, int]
    infos: list[dict]
    numbers: dict[int, int]
    ignore: int

    def read(self) -> np.ndarray:
        """Return the segment ids, int32 (H, W)."""
        ids = read_ids(self.source)
        if ids.shape != self.size:
            raise ValueError(
                f'{self.source} is {ids.shape}, but its image is '
                f'{self.size} (height, width) in the JSON: unpack the '
                'annotations again.'
            )
        listed = {info['id'] for info in self.infos}
        if listed and listed.isdisjoint(np.unique(ids).tolist()):
            raise ValueError(
                f'{self.source} shows none of its segments: expected the ids '
                f'{sorted(listed)[:5]} (red + 256 green + 65536 blue), found '
                f'{np.unique(ids)[:5].tolist()}. Unpack the annotations again.'
            )
        return ids


def annotated(
    content: dict,
    pngs: Path,
    target: Path,
    numbers: dict[int, int],
    ignore: int,
) -> dict[str, Annotated]:
    """Return the annotated images of a panoptic JSON, by name of the PNG.

    Args:
        content (dict): The JSON.
        pngs (Path): Folder of its PNGs.
        target (Path): Folder of PNGs to make.
        numbers (dict): See :class:`Annotated`.
        ignore (int): See :class:`Annotated`.

    Raises:
        ValueError: If an annotation has no image.
        FileNotFoundError: If an annotation has no PNG.
    """
    images = {image['id']: image for image in content['images']}
    tasks = {}
    for annotation in content['annotations']:
        name, image_id = annotation['file_name'], annotation['image_id']
        if image_id not in images:
            raise ValueError(
                f'The annotation {name} has the image_id {image_id!r}, which '
                "no entry of 'images' has: restore the panoptic JSON."
            )
        if name in tasks:
            raise ValueError(
                f'Several annotations have the PNG {name}: expected one for '
                'each image, restore the panoptic JSON.'
            )
        image = images[image_id]
        tasks[name] = Annotated(
            pngs / name,
            target / name,
            image_id,
            (image['height'], image['width']),
            annotation['segments_info'],
            numbers,
            ignore,
        )
    missing = [t.source for t in tasks.values() if not t.source.exists()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(tasks)} panoptic PNGs are missing, the '
            f'first is {missing[0]}: unpack the annotations again.'
        )
    return tasks


def make_instances(
    title: str,
    content: dict,
    pngs: Path,
    path: Path,
    first_id: int,
    run: Run,
) -> None:
    """Make a COCO instance JSON of a panoptic one.

    Args:
        title (str): What is made, for the progress line.
        content (dict): The panoptic JSON.
        pngs (Path): Folder of its PNGs.
        path (Path): File to write.
        first_id (int): Number of the first instance.
        run (Run): How to run.
    """
    things = {c['id']: c['id'] for c in content['categories'] if c['isthing']}

    def assemble(records: list[dict]) -> list[dict]:
        instances = number_instances(
            [record['instances'] for record in records], first_id
        )
        parts = dict(
            images=content['images'],
            annotations=instances,
            categories=things_of(content['categories']),
        )
        return [
            {k: content[k] for k in ('info', 'licenses') if k in content}
            | parts
        ]

    make_jsons(
        Outputs(title, [path]),
        annotated(content, pngs, path.parent, things, ignore=0),
        _find_instances,
        assemble,
        lambda todo: 2 * total_size([task.source for task in todo]),
        run,
    )


def _find_instances(task: Annotated) -> dict:
    found = instances_of(
        task.read(), task.image_id, task.infos, set(task.numbers)
    )
    return dict(instances=found)


def make_semantic(
    title: str,
    content: dict,
    pngs: Path,
    folder: Path,
    ignore: int = IGNORE_INDEX,
    *,
    run: Run,
) -> None:
    """Make semantic PNGs of panoptic ones.

    A class is the place of its category in the JSON.

    Args:
        title (str): What is made, for the progress line.
        content (dict): The panoptic JSON.
        pngs (Path): Folder of its PNGs.
        folder (Path): Folder to write to.
        ignore (int): Value of pixels of no segment.
        run (Run): How to run.
    """
    categories = content['categories']
    if len(categories) > min(ignore, IGNORE_INDEX):
        raise ValueError(
            f'{len(categories)} categories do not fit below {ignore}, the '
            'value of void, in a PNG with 8 bits.'
        )
    classes = {c['id']: index for index, c in enumerate(categories)}
    make_files(
        title,
        list(annotated(content, pngs, folder, classes, ignore).values()),
        _write_semantic,
        lambda todo: total_size([task.source for task in todo]),
        run,
    )


def _write_semantic(task: Annotated) -> None:
    classes = semantic_of(task.read(), task.infos, task.numbers, task.ignore)
    write_png(task.target, classes)
