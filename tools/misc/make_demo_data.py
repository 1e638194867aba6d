"""Draw a small panoptic data set: shapes that lie on patches of ground.

    python tools/misc/make_demo_data.py data/demo

Every image has 2 to 6 things (discs, squares, triangles, stars) in front
of 2 to 4 sorts of stuff (sky, grass, wall, water). A class is told by its
shape and its texture; its colours are usual rather than certain. Things hide
parts of each other, some images hold a crowd (one segment of many tiny
things, ``iscrowd`` 1), some an unlabelled patch or border. The result is in
the COCO panoptic layout:

    OUT_DIR/{train,val}/000001.jpg
    OUT_DIR/annotations/panoptic_{train,val}.json  and  .../000001.png
    OUT_DIR/annotations/instances_{train,val}.json
    OUT_DIR/annotations/semantic_{train,val}/000001.png

and the same for ``test``, if that split is asked for.

A panoptic PNG stores the segment id ``R + 256 G + 65536 B``, 0 is void. A
semantic PNG stores the index of the class in the list of categories, of
crowds, too; 255 is void. The same arguments always give the same files, and an
image depends on the seed, its split and its position only.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _annotations import run_lengths  # noqa: E402
from _package import segment_ids, tasks  # noqa: E402

THINGS = ('disc', 'square', 'triangle', 'star')
STUFF = ('sky', 'grass', 'wall', 'water')
COLORS = (
    (220, 20, 60),
    (255, 150, 30),
    (150, 60, 200),
    (250, 220, 40),
    (110, 190, 255),
    (60, 160, 60),
    (160, 100, 80),
    (0, 90, 160),
)
CATEGORIES = [
    dict(
        id=index + 1,
        name=name,
        isthing=int(index < len(THINGS)),
        color=list(COLORS[index]),
        supercategory='thing' if index < len(THINGS) else 'stuff',
    )
    for index, name in enumerate(THINGS + STUFF)
]
SPLITS = ('train', 'val', 'test')
DESCRIPTION = 'Drawn shapes on patches of ground, made by make_demo_data.py'

# All lengths below are in pixels of an image of this size, and are scaled
# to the size asked for.
UNIT_SIZE = 128
TINY_DIAMETERS = (6, 9)
# Degrees: a class has its usual hues, which overlap with those of others.
HUES = (0, 90, 180, 270)
HUE_DEVIATION = 25
MIN_VISIBLE_AREA = 40
MIN_STUFF_AREA = 250
CROWD_SHARE = 0.15
VOID_SHARE = 0.25


class Difficulty(NamedTuple):
    """What makes things easy or hard to find.

    Attributes:
        diameters (tuple[float, float]): Least and greatest.
        odd_hue_share (float): Things whose hue is any, not one of the class.
        min_visible_share (float): Part of a thing that others leave visible.
    """

    diameters: tuple[float, float]
    odd_hue_share: float
    min_visible_share: float


EASY = Difficulty((24, 56), odd_hue_share=0.1, min_visible_share=0.4)
HARD = Difficulty((15, 50), odd_hue_share=1.0, min_visible_share=0.3)


class Segment(NamedTuple):
    """A segment of an image.

    Attributes:
        mask (np.ndarray): The pixels that show it, bool, (H, W).
        label (int): Index in ``CATEGORIES``.
        iscrowd (int): 1 for a group of things that are not told apart.
    """

    mask: np.ndarray
    label: int
    iscrowd: int


class Grid(NamedTuple):
    """Where the pixels are, in units of a 128-pixel image, each (H, W)."""

    x: np.ndarray
    y: np.ndarray

    @property
    def pixel(self) -> float:
        """Side of one pixel."""
        return UNIT_SIZE / len(self.x)


# ---------------------------------------------------------------- shapes


class Outline(NamedTuple):
    """A star-like polygon around the unit circle.

    Attributes:
        tips (int): Number of corners on the circle.
        inner (float): Distance to the centre of the corners between them.
    """

    tips: int
    inner: float

    @property
    def area(self) -> float:
        return self.tips * self.inner * np.sin(np.pi / self.tips)

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Distance to the nearest side's line, negative inside."""
        half = np.pi / self.tips
        angle = np.arctan2(v, u) % (2 * half)
        angle = np.minimum(angle, 2 * half - angle)  # fold onto one side
        radius = np.hypot(u, v)
        # That side runs from the tip (1, 0) to the corner at angle `half`.
        run = self.inner * np.cos(half) - 1
        rise = self.inner * np.sin(half)
        return (
            rise * (radius * np.cos(angle) - 1) - run * radius * np.sin(angle)
        ) / np.hypot(run, rise)


def _regular(corners: int) -> Outline:
    return Outline(corners, np.cos(np.pi / corners))


OUTLINES = (_regular(60), _regular(4), _regular(3), Outline(5, 0.5))


def _rings(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.cos(2.2 * np.pi * np.hypot(u, v))


def _checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    across, along = (u + v) / np.sqrt(2), (u - v) / np.sqrt(2)
    return 4 * np.sin(2.2 * np.pi * across) * np.sin(2.2 * np.pi * along)


def _stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 2 * np.sin(2.6 * np.pi * u)


def _bright_core(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 1 - 2.6 * np.hypot(u, v)


# Patterns are about -1 where a thing is dark and 1 where it is light.
PATTERNS = (_rings, _checks, _stripes, _bright_core)


class Thing(NamedTuple):
    """One shape in the image, in units of a 128-pixel image."""

    label: int
    x: float
    y: float
    radius: float
    angle: float

    def local(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates in which the thing is upright and of radius 1."""
        u, v = grid.x - self.x, grid.y - self.y
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return (
            (cos * u + sin * v) / self.radius,
            (cos * v - sin * u) / self.radius,
        )

    def distance(self, grid: Grid) -> np.ndarray:
        """Distance to the outline in pixels, negative inside, (H, W)."""
        outline = OUTLINES[self.label].distance(*self.local(grid))
        return outline * self.radius / grid.pixel

    def area(self, grid: Grid) -> float:
        """Area in pixels if nothing hides it."""
        return OUTLINES[self.label].area * (self.radius / grid.pixel) ** 2

    def _hue(self, rng: np.random.Generator, odd_share: float) -> float:
        """Near the hue of the class or, with a probability, any; degrees."""
        if rng.random() < odd_share:
            return rng.uniform(0, 360)
        return rng.normal(HUES[self.label], HUE_DEVIATION) % 360

    def paint(
        self,
        rng: np.random.Generator,
        image: np.ndarray,
        grid: Grid,
        difficulty: Difficulty,
    ) -> None:
        """Draw it onto ``image`` (H, W, 3), in a colour of its own."""
        u, v = self.local(grid)
        distance = self.distance(grid)
        hsv = np.array(
            [
                self._hue(rng, difficulty.odd_hue_share),
                rng.uniform(0.55, 0.9),
                rng.uniform(0.8, 1.0),
            ],
            np.float32,
        )
        color = cv2.cvtColor(hsv[None, None], cv2.COLOR_HSV2RGB)[0, 0] * 255
        tone = np.clip(PATTERNS[self.label](u, v), -1, 1)[..., None]
        color = color * (0.72 + 0.28 * tone) + 45 * (tone > 0) * tone
        light = (grid.x - self.x + grid.y - self.y) / self.radius
        color *= (1 - 0.12 * light)[..., None]
        rim = np.clip(distance + 1.8 / grid.pixel, 0, 1)[..., None]
        color *= 1 - 0.75 * rim
        _blend(image, color, np.clip(0.5 - distance, 0, 1))


def _blend(image: np.ndarray, color: np.ndarray, alpha: np.ndarray) -> None:
    image += alpha[..., None] * (color - image)


# ----------------------------------------------------------------- stuff


def _noise(
    rng: np.random.Generator, grid: Grid, cell_x: float, cell_y: float
) -> np.ndarray:
    """Smooth noise of deviation 1 with spots of the given size, (H, W)."""
    coarse = rng.normal(
        size=(int(UNIT_SIZE / cell_y) + 1, int(UNIT_SIZE / cell_x) + 1)
    )
    return cv2.resize(
        coarse, grid.x.shape[::-1], interpolation=cv2.INTER_CUBIC
    )


def _pick(rng: np.random.Generator, *colors: tuple) -> np.ndarray:
    """One of the colours, slightly changed, RGB in 0 to 255."""
    return np.array(colors[rng.integers(len(colors))]) + rng.normal(0, 8, 3)


def _sky(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    top = _pick(rng, (95, 150, 225), (120, 130, 165), (225, 160, 120))
    fall = (grid.y / UNIT_SIZE)[..., None]
    clouds = np.clip(_noise(rng, grid, 40, 16) - 0.2, 0, 1)[..., None]
    return top + 70 * fall + (245 - top) * 0.55 * clouds


def _grass(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    base = _pick(rng, (70, 130, 50), (110, 135, 45), (45, 105, 60))
    blades = _noise(rng, grid, 1.6, 4.5) + 0.5 * _noise(rng, grid, 18, 18)
    return base * (1 + 0.28 * blades)[..., None]


def _wall(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    base = _pick(rng, (160, 80, 65), (150, 125, 100), (120, 115, 115))
    width, height = 16, 8
    row = np.floor(grid.y / height).astype(int)
    across = grid.x / width + 0.5 * (row % 2)
    column = np.floor(across).astype(int)
    shades = rng.normal(1, 0.1, (row.max() + 1, column.max() + 1))
    mortar = ((across - column) * width < 1.5) | (grid.y - row * height < 1.5)
    bricks = base * shades[row, column][..., None]
    return np.where(mortar[..., None], base * 0.35 + 130, bricks)


def _water(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    base = _pick(rng, (30, 85, 140), (25, 110, 125), (55, 75, 105))
    phase = 1.2 * np.sin(grid.x / 7 + rng.uniform(0, 6)) + 1.5 * _noise(
        rng, grid, 30, 30
    )
    waves = np.sin(grid.y * 2 * np.pi / 9 + phase)
    return base * (1 + 0.3 * waves)[..., None] + 70 * (waves > 0.85)[..., None]


GROUNDS: tuple[Callable[[np.random.Generator, Grid], np.ndarray], ...] = (
    _sky,
    _grass,
    _wall,
    _water,
)


def _layout(
    rng: np.random.Generator, grid: Grid, num_regions: int
) -> np.ndarray:
    """Split the image into regions, top to bottom, index (H, W).

    The regions are wavy bands; often the last two lie side by side.
    """
    side_by_side = num_regions > 2 and rng.random() < 0.6
    num_bands = num_regions - side_by_side
    region = np.zeros(grid.x.shape, int)
    for band in range(1, num_bands):
        height = UNIT_SIZE * (band / num_bands + rng.uniform(-0.1, 0.1))
        slope = rng.uniform(-0.15, 0.15)
        wave = rng.uniform(1, 5) * np.sin(
            grid.x / rng.uniform(8, 16) + rng.uniform(0, 6)
        )
        edge = height + slope * (grid.x - UNIT_SIZE / 2) + wave
        region[grid.y > edge] = band
    if side_by_side:
        split = UNIT_SIZE * rng.uniform(0.3, 0.7)
        slope = rng.uniform(-0.4, 0.4)
        right = grid.x - slope * (grid.y - UNIT_SIZE) > split
        region[right & (region == num_bands - 1)] = num_bands
    return region


# --------------------------------------------------------------- images


def draw_image(
    rng: np.random.Generator, size: int, difficulty: Difficulty = EASY
) -> tuple[np.ndarray, list[Segment]]:
    """Draw one image and its segments.

    Args:
        rng (np.random.Generator): Source of all that varies.
        size (int): Height and width in pixels.
        difficulty (Difficulty): How hard its things are to find.

    Returns:
        tuple: The image, RGB uint8 (size, size, 3), and its segments, which
        do not overlap. Pixels in no segment are void.
    """
    while True:
        drawn = _try_image(rng, size, difficulty)
        if drawn is not None:
            return drawn


def _try_image(
    rng: np.random.Generator, size: int, difficulty: Difficulty
) -> tuple[np.ndarray, list[Segment]] | None:
    """Draw one image, or None if too little of a segment can be seen."""
    centers = (np.arange(size) + 0.5) * UNIT_SIZE / size
    grid = Grid(*np.meshgrid(centers, centers))
    image, segments = _paint_stuff(rng, grid)
    has_void, has_crowd = rng.random(2) < (VOID_SHARE, CROWD_SHARE)
    void_is_patch = rng.random() < 0.5
    if has_void and void_is_patch:
        _cover(segments, _paint_patch(rng, image, grid))
    if has_crowd:
        _paint_crowd(rng, image, grid, segments, difficulty)
    things = _paint_things(rng, image, grid, segments, difficulty)
    if has_void and not void_is_patch:
        _cover(segments, _paint_border(rng, image, grid))

    areas = [int(segment.mask.sum()) for segment in segments]
    stuff_and_crowd, visible = areas[: -len(things)], areas[-len(things) :]
    if min(stuff_and_crowd) < MIN_STUFF_AREA / grid.pixel**2:
        return None
    for thing, area in zip(things, visible, strict=True):
        if area < _least_visible(thing, grid, difficulty):
            return None
    return _photograph(rng, image, grid), segments


def _least_visible(thing: Thing, grid: Grid, difficulty: Difficulty) -> float:
    """The number of pixels of a thing that must be seen."""
    return max(
        difficulty.min_visible_share * thing.area(grid),
        MIN_VISIBLE_AREA / grid.pixel**2,
    )


def _cover(segments: list[Segment], mask: np.ndarray) -> None:
    """Take the pixels that something new hides from the segments."""
    for segment in segments:
        segment.mask[mask] = False


def _paint_stuff(
    rng: np.random.Generator, grid: Grid
) -> tuple[np.ndarray, list[Segment]]:
    num_regions = rng.integers(2, len(STUFF) + 1)
    kinds = rng.permutation(len(STUFF))[:num_regions]
    # The sky is above everything else.
    kinds = sorted(kinds, key=lambda kind: STUFF[kind] != 'sky')
    region = _layout(rng, grid, num_regions)
    image = np.zeros((*grid.x.shape, 3))
    segments = []
    for index, kind in enumerate(kinds):
        mask = region == index
        image[mask] = GROUNDS[kind](rng, grid)[mask]
        segments.append(Segment(mask, len(THINGS) + int(kind), 0))
    return image, segments


def _paint_things(
    rng: np.random.Generator,
    image: np.ndarray,
    grid: Grid,
    segments: list[Segment],
    difficulty: Difficulty,
) -> list[Thing]:
    """Add 2 to 6 things, each in front of those before it."""
    things: list[Thing] = []
    num_things = rng.integers(2, 7)
    while len(things) < num_things:
        thing = _place_thing(rng, things, difficulty)
        mask = thing.distance(grid) <= 0
        hidden_too_much = mask.sum() < _least_visible(
            thing, grid, difficulty
        ) or any(
            (segment.mask & ~mask).sum()
            < _least_visible(other, grid, difficulty)
            for segment, other in zip(
                segments[len(segments) - len(things) :], things, strict=True
            )
        )
        if hidden_too_much:
            continue
        thing.paint(rng, image, grid, difficulty)
        _cover(segments, mask)
        segments.append(Segment(mask, thing.label, 0))
        things.append(thing)
    return things


def _place_thing(
    rng: np.random.Generator, others: list[Thing], difficulty: Difficulty
) -> Thing:
    """Choose a thing; half of them touch or overlap an earlier one."""
    radius = rng.uniform(*difficulty.diameters) / 2
    low, high = 0.6 * radius, UNIT_SIZE - 0.6 * radius
    if others and rng.random() < 0.5:
        other = others[rng.integers(len(others))]
        reach = rng.uniform(0.6, 1) * (radius + other.radius)
        angle = rng.uniform(0, 2 * np.pi)
        x = np.clip(other.x + reach * np.cos(angle), low, high)
        y = np.clip(other.y + reach * np.sin(angle), low, high)
    else:
        x, y = rng.uniform(low, high, 2)
    return Thing(
        label=int(rng.integers(len(THINGS))),
        x=x,
        y=y,
        radius=radius,
        angle=rng.uniform(0, 2 * np.pi),
    )


def _paint_crowd(
    rng: np.random.Generator,
    image: np.ndarray,
    grid: Grid,
    segments: list[Segment],
    difficulty: Difficulty,
) -> None:
    """Add a cluster of tiny things of one class as one segment."""
    label = int(rng.integers(len(THINGS)))
    center = rng.uniform(25, UNIT_SIZE - 25, 2)
    crowd = np.zeros(grid.x.shape, bool)
    for _ in range(rng.integers(14, 25)):
        x, y = center + rng.normal(0, 1, 2) * (11, 7)
        thing = Thing(
            label=label,
            x=x,
            y=y,
            radius=rng.uniform(*TINY_DIAMETERS) / 2,
            angle=rng.uniform(0, 2 * np.pi),
        )
        thing.paint(rng, image, grid, difficulty)
        crowd |= thing.distance(grid) <= 0
    _cover(segments, crowd)
    segments.append(Segment(crowd, label, 1))


def _paint_patch(
    rng: np.random.Generator, image: np.ndarray, grid: Grid
) -> np.ndarray:
    """Paint a grey chequered rectangle; return its pixels."""
    width, height = rng.uniform(18, 40, 2)
    x, y = rng.uniform(0, UNIT_SIZE - 40, 2)
    mask = (abs(grid.x - x - width / 2) < width / 2) & (
        abs(grid.y - y - height / 2) < height / 2
    )
    checks = (grid.x // 4 + grid.y // 4) % 2
    image[mask] = (90 + 110 * checks[mask])[..., None]
    return mask


def _paint_border(
    rng: np.random.Generator, image: np.ndarray, grid: Grid
) -> np.ndarray:
    """Paint a dark strip along one edge; return its pixels."""
    depth = (grid.x, grid.y, UNIT_SIZE - grid.x, UNIT_SIZE - grid.y)
    mask = depth[rng.integers(4)] < rng.uniform(5, 12)
    image[mask] = 15
    return mask


def _photograph(
    rng: np.random.Generator, image: np.ndarray, grid: Grid
) -> np.ndarray:
    """Blur, light and grain of a camera; float to uint8."""
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.7) / grid.pixel)
    image = image * rng.uniform(0.8, 1.15)
    image += rng.normal(0, rng.uniform(2, 6), image.shape)
    return image.round().clip(0, 255).astype(np.uint8)


# ------------------------------------------------------------------ files


def make_demo_data(
    out_dir: str | Path,
    num_train: int = 320,
    num_val: int = 60,
    size: int = 128,
    seed: int = 0,
    force: bool = False,
    num_test: int = 0,
    hard: bool = False,
) -> None:
    """Write the data set; the folder appears when all of it is there.

    Args:
        out_dir (str | Path): Folder to make.
        num_train (int): Number of images to train on.
        num_val (int): Number of images to validate on.
        size (int): Height and width of the images, at least 64 pixels.
        seed (int): The same seed gives the same files.
        force (bool): Replace an earlier data set in ``out_dir``.
        num_test (int): Number of images of a third split, ``test``, for
            scores after all choices; with 0 there is none.
        hard (bool): Things are smaller, hide more of each other and have any
            hue; else each class has usual hues.

    Raises:
        ValueError: If a number is too small.
        FileExistsError: If ``out_dir`` exists and may not be replaced.
    """
    check_numbers(num_train, num_val, num_test, size, seed)
    out_dir = Path(out_dir).absolute()
    _check_free(out_dir, force)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=out_dir.parent, prefix=f'.{out_dir.name}-'
    ) as folder:
        new, old = Path(folder, 'new'), Path(folder, 'old')
        difficulty = HARD if hard else EASY
        first = 0
        for split, count in zip(
            SPLITS, (num_train, num_val, num_test), strict=True
        ):
            if count:
                _write_split(new, split, first, count, size, seed, difficulty)
            first += count
        if out_dir.exists():
            out_dir.rename(old)
        new.rename(out_dir)


def _check_free(out_dir: Path, force: bool) -> None:
    if not out_dir.exists():
        return
    if not force:
        raise FileExistsError(
            f'{out_dir} exists: choose another folder, or pass --force '
            '(force=True) to replace the data set in it.'
        )
    # Nobody should lose a folder of their own to a wrong path.
    info = out_dir / 'annotations' / 'panoptic_train.json'
    if not info.is_file() or DESCRIPTION not in info.read_text():
        raise FileExistsError(
            f'{out_dir} was not made by this tool and is not replaced: choose '
            'another folder or remove it yourself.'
        )


def _write_split(
    root: Path,
    split: str,
    first: int,
    count: int,
    size: int,
    seed: int,
    difficulty: Difficulty,
) -> None:
    """Write ``count`` images with the image ids ``first + 1`` and up."""
    annotations = root / 'annotations'
    image_dir = root / split
    panoptic_dir = annotations / f'panoptic_{split}'
    semantic_dir = annotations / f'semantic_{split}'
    for folder in (image_dir, panoptic_dir, semantic_dir):
        folder.mkdir(parents=True)

    images, panoptic, instances = [], [], []
    for index in range(count):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        pixels, segments = draw_image(rng, size, difficulty)
        ids = _segment_ids(rng, len(segments))
        image_id = first + index + 1
        image = dict(
            id=image_id,
            file_name=f'{image_id:06d}.jpg',
            width=size,
            height=size,
        )
        png_name = f'{image_id:06d}.png'
        _write_image(image_dir / image['file_name'], pixels)
        _write_image(panoptic_dir / png_name, _panoptic_png(segments, ids))
        _write_image(semantic_dir / png_name, _semantic_png(segments))
        images.append(image)
        panoptic.append(
            dict(
                image_id=image_id,
                file_name=png_name,
                segments_info=[
                    dict(id=segment_id, **_describe(segment))
                    for segment_id, segment in zip(ids, segments, strict=True)
                ],
            )
        )
        instances += _instances(segments, image_id, len(instances) + 1)
        if (index + 1) % 20 == 0 or index + 1 == count:
            done = f'{split}: {index + 1}/{count} images'
            print(f'\r{done}', end='', flush=True)
    print()

    things = [c for c in CATEGORIES if c['isthing']]
    _write_json(annotations, 'panoptic', split, images, panoptic, CATEGORIES)
    _write_json(annotations, 'instances', split, images, instances, things)


def _instances(
    segments: list[Segment], image_id: int, first_id: int
) -> list[dict]:
    """COCO instance annotations of the things in one image."""
    things = [s for s in segments if CATEGORIES[s.label]['isthing']]
    return [
        dict(
            id=annotation_id,
            image_id=image_id,
            segmentation=run_lengths(thing.mask),
            **_describe(thing),
        )
        for annotation_id, thing in enumerate(things, start=first_id)
    ]


def _write_json(
    folder: Path,
    kind: str,
    split: str,
    images: list[dict],
    annotations: list[dict],
    categories: list[dict],
) -> None:
    content = dict(
        info=dict(description=DESCRIPTION),
        images=images,
        annotations=annotations,
        categories=categories,
    )
    (folder / f'{kind}_{split}.json').write_text(json.dumps(content))


def _write_image(path: Path, image: np.ndarray) -> None:
    """Write an RGB or grey image; the kind of file is in its name."""
    if image.ndim == 3:
        image = image[..., ::-1]
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise OSError(f'Could not write {path}.')


def _segment_ids(rng: np.random.Generator, count: int) -> list[int]:
    """Different ids, spread so that the PNG shows different colours."""
    return (1 + rng.choice(segment_ids.MAX_ID, count, replace=False)).tolist()


def _panoptic_png(segments: list[Segment], ids: list[int]) -> np.ndarray:
    shown = np.zeros(segments[0].mask.shape, np.int32)
    for segment, number in zip(segments, ids, strict=True):
        shown[segment.mask] = number
    return segment_ids.encode_ids(shown)


def _semantic_png(segments: list[Segment]) -> np.ndarray:
    png = np.full(segments[0].mask.shape, tasks.IGNORE_INDEX, np.uint8)
    for segment in segments:
        png[segment.mask] = segment.label
    return png


def _describe(segment: Segment) -> dict:
    """The fields that panoptic and instance annotations share."""
    rows, columns = np.nonzero(segment.mask)
    x, y = int(columns.min()), int(rows.min())
    return dict(
        category_id=CATEGORIES[segment.label]['id'],
        area=len(rows),
        bbox=[x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1],
        iscrowd=segment.iscrowd,
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw a small panoptic data set of shapes.'
    )
    parser.add_argument('out_dir', metavar='OUT_DIR', help='folder to write')
    parser.add_argument(
        '--train', type=int, default=320, help='training images'
    )
    parser.add_argument(
        '--val', type=int, default=60, help='validation images'
    )
    parser.add_argument('--test', type=int, default=0, help='test images')
    parser.add_argument(
        '--hard',
        action='store_true',
        help='draw smaller things of any hue that hide more of each other',
    )
    parser.add_argument(
        '--size', type=int, default=128, help='height and width in pixels'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the drawings'
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an earlier data set'
    )
    return parser.parse_args()


def check_numbers(
    num_train: int, num_val: int, num_test: int, size: int, seed: int
) -> None:
    """Check the options of a data set that are numbers.

    Raises:
        ValueError: If one is too small.
    """
    if min(num_train, num_val) < 1 or num_test < 0 or size < 64 or seed < 0:
        raise ValueError(
            'Expected at least 1 image a split (num_test=0 for no test '
            'split), a size of 64 or more and a seed of 0 or more, got '
            f'num_train={num_train}, num_val={num_val}, num_test={num_test}, '
            f'size={size}, seed={seed}.'
        )


def main() -> None:
    args = parse_args()
    try:
        check_numbers(args.train, args.val, args.test, args.size, args.seed)
    except ValueError as error:
        sys.exit(f'error: {error}')
    try:
        make_demo_data(
            args.out_dir,
            num_train=args.train,
            num_val=args.val,
            size=args.size,
            seed=args.seed,
            force=args.force,
            num_test=args.test,
            hard=args.hard,
        )
    except FileExistsError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
