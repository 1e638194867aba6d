"""Merges the results of many images into one file in COCO's format."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


def merge(
    records: Callable[[], Iterable[dict]], categories: list[dict], path: Path
) -> int:
    """Write a COCO file, and return the number of its images.

    Memory does not grow with the images: the records are read twice, once for
    the images and once for their annotations. Both get ids from 1.

    Args:
        records (Callable): Returns an iterator of dicts with ``image`` and
            ``annotations``, as COCO has them.
        categories (list[dict]): Those of the file.
        path (Path): Where to; it appears when it is complete.
    """
    partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
    number = 0
    try:
        with partial.open('w', encoding='utf-8') as file:
            file.write('{"images": [')
            for number, text in enumerate(_images(records()), 1):
                file.write(f'{"," if number > 1 else ""}\n{text}')
            file.write('\n],\n"annotations": [')
            for place, text in enumerate(_annotations(records()), 1):
                file.write(f'{"," if place > 1 else ""}\n{text}')
            file.write(f'\n],\n"categories": {json.dumps(categories)}}}\n')
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return number


def _images(records: Iterable[dict]) -> Iterator[str]:
    for number, record in enumerate(records, 1):
        yield json.dumps(dict(record['image'], id=number))


def _annotations(records: Iterable[dict]) -> Iterator[str]:
    total = 0
    for number, record in enumerate(records, 1):
        for annotation in record['annotations']:
            total += 1
            own = dict(annotation, image_id=number)
            # Panoptic annotations are one for each image, without an id.
            if 'segments_info' not in annotation:
                own['id'] = total
            yield json.dumps(own)
