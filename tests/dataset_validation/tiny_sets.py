"""Tiny sets to spoil, and what helps to look at what is found in them."""

import json
from pathlib import Path

import numpy as np
from dataset_validation import check_sets, find_sets
from PIL import Image

HEIGHT, WIDTH = 12, 20
CATEGORIES = [
    dict(id=3, name='cat', isthing=1),
    dict(id=5, name='dog', isthing=1),
    dict(id=9, name='sky', isthing=0),
]


class TinySet:
    """Two images, each with a cat, a dog and sky; written by ``save``.

    Ids of the first image are 1000 (cat), 70000 (dog) and 7 (sky).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images, self.annotations, self.ids = [], [], []
        self.categories = [dict(category) for category in CATEGORIES]
        self.photo = np.random.default_rng(0).integers(
            0, 256, (HEIGHT, WIDTH, 3), np.uint8
        )
        for number, (cat, dog, sky) in ((1, (1000, 70000, 7)), (2, (1, 2, 3))):
            ids = np.full((HEIGHT, WIDTH), sky)
            ids[2:6, 3:8] = cat
            ids[6:9, 10:14] = dog
            ids[11] = 0
            self.images.append(
                dict(
                    id=number,
                    file_name=f'{number}.jpg',
                    height=HEIGHT,
                    width=WIDTH,
                )
            )
            self.annotations.append(
                dict(
                    image_id=number,
                    file_name=f'{number}.png',
                    segments_info=[
                        segment(cat, 3, 20, [3, 2, 5, 4]),
                        segment(dog, 5, 12, [10, 6, 4, 3]),
                        segment(sky, 9, 11 * WIDTH - 32, [0, 0, WIDTH, 11]),
                    ],
                )
            )
            self.ids.append(ids)

    @property
    def json(self) -> Path:
        return self.folder / 'annotations' / 'panoptic_train.json'

    @property
    def first(self) -> list[dict]:
        return self.annotations[0]['segments_info']

    def png(self, number: int = 1) -> Path:
        return self.json.with_suffix('') / f'{number}.png'

    def jpg(self, number: int = 1) -> Path:
        return self.folder / 'train' / f'{number}.jpg'

    def save(self) -> None:
        self.png().parent.mkdir(parents=True)
        self.jpg().parent.mkdir()
        self.save_json()
        for number, ids in enumerate(self.ids, 1):
            Image.fromarray(self.photo).save(self.jpg(number), quality=90)
            Image.fromarray(rgb(ids)).save(self.png(number))

    def save_json(self) -> None:
        content = dict(
            info='kept',
            images=self.images,
            annotations=self.annotations,
            categories=self.categories,
        )
        self.json.write_text(json.dumps(content))

    def report(self, **settings):
        return check_sets(find_sets(self.folder, **settings))


def segment(number, category, area, bbox):
    return dict(
        id=number, category_id=category, area=area, bbox=bbox, iscrowd=0
    )


def rgb(ids):
    codes = [ids & 255, ids >> 8 & 255, ids >> 16]
    return np.stack(codes, axis=-1).astype(np.uint8)


def kinds(report):
    return {finding.kind for finding in report.findings}


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def tag(path, orientation, pixels=None):
    """Give an image an EXIF orientation."""
    image = Image.open(path) if pixels is None else Image.fromarray(pixels)
    image.load()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
