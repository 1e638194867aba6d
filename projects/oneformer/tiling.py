"""Large images: overlapping tiles, and how their results are joined.

The model sees each tile as an image. The results of all tiles are joined by
these rules:

- Semantic: the score maps of the tiles that show a pixel are averaged.
- Panoptic: every pixel comes from the tile whose border is farthest away; if
  it is void there, from the first other tile that has a segment there. Two
  things of different tiles are one if they have the same class and their IoU,
  within the overlap of the two tiles, is above 0.5. The score of a segment is
  the mean of its parts, weighted by the pixels that come from each.
- Instance: the same rule joins instances. The result is the union of their
  masks with the largest of their scores. As instances of one tile may
  overlap, pairs of two tiles are formed in order of falling IoU, and each
  instance is in one pair at most.

Joining is transitive. Tiles without an overlap join nothing.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from .errors import InputError

# A segment has at most one partner with an IoU above it.
JOIN_IOU = 0.5
# Of a panoptic canvas: where there is no segment, and where no tile was yet.
VOID, UNSEEN = 0, np.iinfo(np.int32).max


class Box(NamedTuple):
    """A part of an image, bottom and right not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, 0 where there is nothing."""
        return (
            max(self.bottom - self.top, 0),
            max(self.right - self.left, 0),
        )

    def within(self, other: 'Box') -> tuple[slice, slice]:
        """Rows and columns of this part in an array of another part."""
        return (
            slice(self.top - other.top, self.bottom - other.top),
            slice(self.left - other.left, self.right - other.left),
        )

    def scaled(self, y: float, x: float) -> 'Box':
        """Return the same part of the image in another size of it."""
        return Box(
            round(self.top * y),
            round(self.left * x),
            round(self.bottom * y),
            round(self.right * x),
        )

    def common(self, other: 'Box') -> 'Box':
        """What lies in both; of size 0 if nothing does."""
        return Box(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )


class Tile(NamedTuple):
    """An input of the model; the cores of all tiles cover each pixel once."""

    box: Box
    core: Box


def tile_grid(
    height: int, width: int, size: int | tuple[int, int], overlap: int
) -> list[Tile]:
    """Cover an image with tiles, row by row.

    Args:
        height (int): Of the image.
        width (int): Of the image.
        size (int | tuple[int, int]): Height and width of a tile; a smaller
            image is one tile.
        overlap (int): Pixels that neighbours share at least.

    Raises:
        ValueError: If the overlap is negative or over half of a side.
    """
    sides = (size, size) if isinstance(size, int) else size
    if min(sides) < 1 or not 0 <= overlap <= min(sides) // 2:
        raise InputError(
            'Expected tiles of 1 pixel or more with an overlap of 0 to half '
            f'of that, got size {size} and overlap {overlap}.'
        )
    return [
        Tile(
            Box(box_y[0], box_x[0], box_y[1], box_x[1]),
            Box(core_y[0], core_x[0], core_y[1], core_x[1]),
        )
        for (box_y, core_y), (box_x, core_x) in itertools.product(
            _spans(height, sides[0], overlap),
            _spans(width, sides[1], overlap),
        )
    ]


def _spans(
    length: int, size: int, overlap: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Begin and end of each tile along one side, and of its core."""
    size = min(size, length)
    gaps = -(-(length - size) // (size - overlap))
    starts = [i * (length - size) // max(gaps, 1) for i in range(gaps + 1)]
    middles = [(b + a + size) // 2 for a, b in itertools.pairwise(starts)]
    borders = itertools.pairwise([0, *middles, length])
    return [
        ((start, start + size), core)
        for start, core in zip(starts, borders, strict=True)
    ]


class SemanticMosaic:
    """Averages score maps; only incomplete rows stay in memory.

    Args:
        height (int): Of the image.
        width (int): Of the image.
        num_classes (int): Number of classes, K.
    """

    def __init__(self, height: int, width: int, num_classes: int) -> None:
        self.labels = np.zeros((height, width), np.int64)
        self.first = 0  # row that the first row of the sums belongs to
        # A pixel has as many scores for each class: their sums are largest
        # where their averages are.
        self.sums: ndarray = np.zeros((num_classes, 0, width), np.float32)

    def add(self, tile: Tile, scores: ndarray) -> None:
        """Add the scores of a tile, (K, h, w); tiles come row by row."""
        self._finish(tile.box.top)
        missing = tile.box.bottom - self.first - self.sums.shape[1]
        if missing > 0:
            self.sums = np.pad(self.sums, ((0, 0), (0, missing), (0, 0)))
        kept = Box(self.first, 0, *self.labels.shape)
        rows, columns = tile.box.within(kept)
        self.sums[:, rows, columns] += scores

    def result(self) -> ndarray:
        """Return the labels, int64, (height, width)."""
        self._finish(len(self.labels))
        return self.labels

    def _finish(self, row: int) -> None:
        """Label all rows above this one."""
        count = row - self.first
        if count > 0:
            self.labels[self.first : row] = self.sums[:, :count].argmax(0)
            self.sums = self.sums[:, count:].copy()
            self.first = row


class Groups:
    """Disjoint sets of the numbers from 0 (union-find)."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def __len__(self) -> int:
        return len(self._parents)

    def add(self) -> int:
        """Return a new number, in a set of its own."""
        self._parents.append(len(self))
        return len(self) - 1

    def join(self, first: int, second: int) -> None:
        """Join the sets of two numbers."""
        first, second = sorted((self.find(first), self.find(second)))
        self._parents[second] = first

    def find(self, number: int) -> int:
        """Return the smallest number in the set of a number."""
        while self._parents[number] != number:
            number = self._parents[number]
        return number


class PanopticSegment(NamedTuple):
    """A segment of a panoptic result.

    Attributes:
        label (int): Its class.
        number (int): 0 for stuff. Things are numbered from 1, within a tile
            in any way, in a joined result in the order of their tiles.
        score (float): 0 to 1.
    """

    label: int
    number: int
    score: float


class JoinedSegments(NamedTuple):
    """A panoptic result.

    Attributes:
        ids (ndarray): int32, (height, width), 0 where there is no segment.
        segments (list[PanopticSegment]): Those of the ids 1, 2, ..., by
            number and label.
    """

    ids: ndarray
    segments: list[PanopticSegment]


class PanopticMosaic:
    """Puts panoptic results side by side and joins things across borders.

    Args:
        height (int): Of the image.
        width (int): Of the image.
    """

    def __init__(self, height: int, width: int) -> None:
        self.groups = Groups()
        self.classes: list[int] = []  # of each thing
        # 1 + label of stuff, VOID, and -1 - i where the thing i is.
        self.canvas = np.full((height, width), UNSEEN, np.int32)
        # Of each value of the canvas, the pixels times their score.
        self.weights: dict[int, float] = {}
        self._seen: list[tuple[Box, ndarray, dict[int, float]]] = []

    def add(
        self, tile: Tile, ids: ndarray, segments: Mapping[int, PanopticSegment]
    ) -> None:
        """Add the result of a tile; tiles come row by row.

        Args:
            tile (Tile): Its place.
            ids (ndarray): Ids of segments, (h, w); others are void.
            segments (Mapping[int, PanopticSegment]): The segments by id.
        """
        own = np.full(ids.shape, VOID, np.int32)
        scores: dict[int, float] = {}
        for id, segment in segments.items():
            value = 1 + segment.label
            if segment.number:
                value = -1 - self.groups.add()
                self.classes.append(segment.label)
            own[ids == id] = value
            scores[value] = segment.score
        self._seen = [
            seen for seen in self._seen if seen[0].bottom > tile.box.top
        ]
        self._paint(tile.core, tile.box, own, scores, UNSEEN)
        for box, others, other_scores in self._seen:
            both = tile.box.common(box)
            if all(both.size):
                self._join(
                    own[both.within(tile.box)], others[both.within(box)]
                )
            shared = tile.core.common(box)
            if all(shared.size):
                self._paint(shared, box, others, other_scores, VOID)
        self._paint(tile.box, tile.box, own, scores, VOID)
        self._seen.append((tile.box, own, scores))

    def _paint(
        self,
        part: Box,
        box: Box,
        values: ndarray,
        scores: Mapping[int, float],
        over: int,
    ) -> None:
        """Paint a part of a tile where the canvas has the value ``over``.

        Args:
            part (Box): To paint.
            box (Box): Of the tile.
            values (ndarray): Of the tile.
            scores (Mapping[int, float]): Of its segments.
            over (int): ``UNSEEN`` or ``VOID``.
        """
        canvas = self.canvas[part.within(Box(0, 0, *self.canvas.shape))]
        shown = values[part.within(box)]
        place = canvas == over
        canvas[place] = shown[place]
        for value, area in zip(
            *np.unique(shown[place], return_counts=True), strict=True
        ):
            if value != VOID:
                self.weights[int(value)] = (
                    self.weights.get(int(value), 0.0)
                    + int(area) * scores[int(value)]
                )

    def _join(self, own: ndarray, others: ndarray) -> None:
        """Join things of two tiles by their masks in the overlap."""
        things = (own < 0) & (others < 0)
        pairs, counts = np.unique(
            np.stack([own[things], others[things]]), axis=1, return_counts=True
        )
        for first, second, overlap in zip(*pairs, counts, strict=True):
            joint = (own == first) | (others == second)
            if (
                self.classes[-1 - first] == self.classes[-1 - second]
                and overlap / joint.sum() > JOIN_IOU
            ):
                self.groups.join(-1 - int(first), -1 - int(second))

    def result(self) -> JoinedSegments:
        """Return the joined result."""
        numbers: dict[int, int] = {}
        members: dict[tuple[int, int], list[int]] = {}
        values, areas = np.unique(self.canvas, return_counts=True)
        area_of = dict(zip(values.tolist(), areas.tolist(), strict=True))
        things = [-1 - value for value in area_of if value < VOID]
        # The first of a group may be shown only by others of it.
        for thing in sorted(things, key=self.groups.find):
            group = self.groups.find(thing)
            number = numbers.setdefault(group, len(numbers) + 1)
            key = (number, self.classes[group])
            members.setdefault(key, []).append(-1 - thing)
        for value in area_of:
            if VOID < value < UNSEEN:
                members[0, value - 1] = [value]
        ids = np.zeros_like(self.canvas)
        segments: list[PanopticSegment] = []
        for number, label in sorted(members):
            own = members[number, label]
            score = sum(self.weights[value] for value in own)
            area = sum(area_of[value] for value in own)
            segments.append(PanopticSegment(label, number, score / area))
            ids[np.isin(self.canvas, own)] = len(segments)
        return JoinedSegments(ids, segments)


class Instance(NamedTuple):
    """A thing with a mask that may overlap others.

    Attributes:
        label (int): Its class.
        score (float): 0 to 1.
        mask (ndarray): Bool, (h, w), of the tile or, joined, of the image.
    """

    label: int
    score: float
    mask: ndarray


class _Part(NamedTuple):
    """An instance of a tile, its mask within the box around it."""

    number: int
    label: int
    score: float
    box: Box
    mask: ndarray


class InstanceMosaic:
    """Collects instances of tiles and joins them across borders.

    Each mask is stored within its box.

    Args:
        height (int): Of the image.
        width (int): Of the image.
        score_thr (float): Instances of a tile with a lower score are dropped.
    """

    def __init__(
        self, height: int, width: int, score_thr: float = 0.0
    ) -> None:
        self.size = (height, width)
        self.score_thr = score_thr
        self.groups = Groups()
        self.parts: list[_Part] = []
        self._seen: list[tuple[Box, list[_Part]]] = []

    def add(self, tile: Tile, instances: Iterable[Instance]) -> None:
        """Add the instances of a tile; tiles come row by row."""
        own = [
            _Part(self.groups.add(), label, score, *_crop(mask, tile.box))
            for label, score, mask in instances
            if score >= self.score_thr
        ]
        self._seen = [
            seen for seen in self._seen if seen[0].bottom > tile.box.top
        ]
        for box, others in self._seen:
            both = tile.box.common(box)
            if all(both.size):
                self._join(own, others, both)
        self._seen.append((tile.box, own))
        self.parts += own

    def _join(self, own: list[_Part], others: list[_Part], both: Box) -> None:
        """Join instances of two tiles by their masks in the overlap."""
        candidates: list[tuple[float, int, int]] = []
        for first, second in _meeting(own, others, both):
            if first.label == second.label:
                iou = _iou_within(first, second, both)
                if iou > JOIN_IOU:
                    candidates.append((iou, first.number, second.number))
        taken: set[int] = set()
        for _, *pair in sorted(candidates, reverse=True):
            if taken.isdisjoint(pair):
                taken.update(pair)
                self.groups.join(*pair)

    def result(self) -> Iterator[Instance]:
        """Yield the joined instances, one mask in memory at a time."""
        groups: dict[int, list[_Part]] = {}
        for part in self.parts:
            groups.setdefault(self.groups.find(part.number), []).append(part)
        whole = Box(0, 0, *self.size)
        for members in groups.values():
            mask = np.zeros(self.size, bool)
            for member in members:
                mask[member.box.within(whole)] |= member.mask
            score = max(member.score for member in members)
            yield Instance(members[0].label, score, mask)


def _crop(mask: ndarray, box: Box) -> tuple[Box, ndarray]:
    """Crop the mask of a tile to the smallest box around it."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return Box(box.top, box.left, box.top, box.left), mask[:0, :0].copy()
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    return (
        Box(
            box.top + top, box.left + left, box.top + bottom, box.left + right
        ),
        mask[top:bottom, left:right].copy(),
    )


def _meeting(
    own: list[_Part], others: list[_Part], both: Box
) -> Iterator[tuple[_Part, _Part]]:
    """Yield the pairs whose boxes meet within a part of the image."""
    if not own or not others:
        return
    first = np.array([part.box.common(both) for part in own])[:, None]
    second = np.array([part.box.common(both) for part in others])[None]
    begin = np.maximum(first[..., :2], second[..., :2])
    end = np.minimum(first[..., 2:], second[..., 2:])
    for i, j in np.argwhere((begin < end).all(-1)).tolist():
        yield own[i], others[j]


def _iou_within(first: _Part, second: _Part, part: Box) -> float:
    """IoU within a part of the image, in which the boxes meet."""
    meeting = first.box.common(second.box).common(part)
    overlap = np.count_nonzero(
        first.mask[meeting.within(first.box)]
        & second.mask[meeting.within(second.box)]
    )
    if not overlap:
        return 0.0
    areas = 0
    for instance in (first, second):
        inside = instance.box.common(part)
        areas += np.count_nonzero(instance.mask[inside.within(instance.box)])
    return overlap / (areas - overlap)


def input_tiles(
    shape: tuple[int, int],
    result_shape: tuple[int, int],
    size: tuple[int, int],
    overlap: int,
) -> Iterator[tuple[Box, Tile]]:
    """Yield tiles of a resized image, and their places in the result.

    Args:
        shape (tuple[int, int]): Height and width of the resized image.
        result_shape (tuple[int, int]): Of the result.
        size (tuple[int, int]): Of a tile, in pixels of the resized image.
        overlap (int): See :func:`tile_grid`.
    """
    scale = (result_shape[0] / shape[0], result_shape[1] / shape[1])
    for box, core in tile_grid(*shape, size, overlap):
        yield box, Tile(box.scaled(*scale), core.scaled(*scale))
