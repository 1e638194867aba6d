"""Large images: overlapping tiles, and how their results are joined.

The model sees each tile as an image. The results of all tiles are joined by
these rules:

- Semantic: the score maps of the tiles that show a pixel are averaged.
- Panoptic: every pixel comes from the tile whose border is farthest away. Two
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
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..sample_result import segment_scores
from .fusion_head import best_class, panoptic_result, semantic_result
from .mask_blocks import mask_boxes

# A segment has at most one partner with an IoU above it.
JOIN_IOU = 0.5


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
        self.labels = torch.zeros(height, width, dtype=torch.int64)
        self.first = 0  # row that the first row of the sums belongs to
        # A pixel has as many scores for each class: their sums are largest
        # where their averages are.
        self.sums = torch.zeros(num_classes, 0, width)

    def add(self, tile: Tile, scores: Tensor) -> None:
        """Add the scores of a tile, (K, h, w); tiles come row by row."""
        self._finish(tile.box.top)
        missing = tile.box.bottom - self.first - self.sums.shape[1]
        if missing > 0:
            self.sums = F.pad(self.sums, (0, 0, 0, missing))
        kept = Box(self.first, 0, *self.labels.shape)
        rows, columns = tile.box.within(kept)
        self.sums[:, rows, columns] += scores.cpu()

    def result(self) -> Tensor:
        """Return the labels, int64, (height, width)."""
        self._finish(len(self.labels))
        return self.labels

    def _finish(self, row: int) -> None:
        """Label all rows above this one."""
        count = row - self.first
        if count > 0:
            self.labels[self.first : row] = best_class(self.sums[:, :count])
            self.sums = self.sums[:, count:].clone()
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


class PanopticMosaic:
    """Puts panoptic results side by side and joins things across borders.

    Args:
        height (int): Of the image.
        width (int): Of the image.
        num_classes (int): Number of classes, the code of void.
    """

    def __init__(self, height: int, width: int, num_classes: int) -> None:
        self.groups = Groups()
        self.num_classes = num_classes
        self.classes: list[int] = []  # of each thing
        # Pixels, and pixels times score, of the part of each thing that the
        # canvas shows; and of each class of stuff.
        self.thing_weights: list[tuple[int, float]] = []
        self.stuff_weights: dict[int, tuple[int, float]] = {}
        # Labels of stuff, void, and -1 - i where the thing i is.
        self.canvas = torch.full(
            (height, width), num_classes, dtype=torch.int32
        )
        self._seen: list[tuple[Box, Tensor]] = []

    def add(self, tile: Tile, result: PixelData) -> None:
        """Add the result of a tile; tiles come row by row.

        Args:
            tile (Tile): Its place.
            result (PixelData): Of the fusion head, (h, w).
        """
        codes = result.sem_seg[0].cpu().to(torch.int32)
        scores = segment_scores(result)
        shown = codes[tile.core.within(tile.box)]
        segments = codes.clone()
        for code in codes.unique().tolist():
            area = int((shown == code).sum())
            weight = (area, area * scores.get(code, 0.0))
            if code >= INSTANCE_OFFSET:
                segments[codes == code] = -1 - self.groups.add()
                self.classes.append(code % INSTANCE_OFFSET)
                self.thing_weights.append(weight)
            elif code != self.num_classes:
                old = self.stuff_weights.get(code, (0, 0.0))
                self.stuff_weights[code] = _add(old, weight)
        self._seen = [
            seen for seen in self._seen if seen[0].bottom > tile.box.top
        ]
        for box, others in self._seen:
            both = tile.box.common(box)
            if all(both.size):
                self._join(
                    segments[both.within(tile.box)], others[both.within(box)]
                )
        self._seen.append((tile.box, segments))
        whole = Box(0, 0, *self.canvas.shape)
        self.canvas[tile.core.within(whole)] = segments[
            tile.core.within(tile.box)
        ]

    def _join(self, own: Tensor, others: Tensor) -> None:
        """Join things of two tiles by their masks in the overlap."""
        things = (own < 0) & (others < 0)
        pairs, counts = torch.stack([own[things], others[things]]).unique(
            dim=1, return_counts=True
        )
        for (first, second), overlap in zip(
            pairs.T.tolist(), counts.tolist(), strict=True
        ):
            joint = (own == first) | (others == second)
            if (
                self.classes[-1 - first] == self.classes[-1 - second]
                and overlap / int(joint.sum()) > JOIN_IOU
            ):
                self.groups.join(-1 - first, -1 - second)

    def result(self) -> PixelData:
        """Return a result as of the fusion head, int32, (height, width).

        Things are numbered from 1 in the order of their tiles.
        """
        weights = dict(self.stuff_weights)
        codes = torch.zeros(len(self.groups), dtype=torch.int32)
        numbers: dict[int, int] = {}
        things = self.canvas < 0
        shown = (-1 - self.canvas[things]).unique().tolist()
        # The first of a group may be shown only by others of it.
        for thing in sorted(shown, key=self.groups.find):
            group = self.groups.find(thing)
            number = numbers.setdefault(group, len(numbers) + 1)
            code = self.classes[group] + INSTANCE_OFFSET * number
            codes[thing] = code
            old = weights.get(code, (0, 0.0))
            weights[code] = _add(old, self.thing_weights[thing])
        joined = self.canvas.clone()
        joined[things] = codes[-1 - self.canvas[things]]
        shown_codes = [code for code, (area, _) in weights.items() if area]
        return panoptic_result(
            joined,
            self.num_classes,
            torch.tensor(shown_codes, dtype=torch.int32),
            torch.tensor(
                [weights[code][1] / weights[code][0] for code in shown_codes],
                dtype=torch.float32,
            ),
        )


def _add(
    first: tuple[int, float], second: tuple[int, float]
) -> tuple[int, float]:
    return first[0] + second[0], first[1] + second[1]


class _Instance(NamedTuple):
    number: int
    label: int
    score: Tensor
    box: Box  # around its mask
    mask: Tensor  # bool, in the box


class InstanceMosaic:
    """Collects instances of tiles and joins them across borders.

    Each mask is stored within its box; only the result has masks in the size
    of the image.

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
        self.instances: list[_Instance] = []
        self._seen: list[tuple[Box, list[_Instance]]] = []

    def add(self, tile: Tile, result: InstanceData) -> None:
        """Add the instances of a tile; tiles come row by row.

        Args:
            tile (Tile): Its place.
            result (InstanceData): ``masks`` (N, h, w), ``labels``,
                ``scores``.
        """
        result = result[result.scores >= self.score_thr].cpu()
        own = [
            _Instance(self.groups.add(), label, score, *_crop(mask, tile.box))
            for mask, label, score in zip(
                result.masks,
                result.labels.tolist(),
                result.scores,
                strict=True,
            )
        ]
        self._seen = [
            seen for seen in self._seen if seen[0].bottom > tile.box.top
        ]
        for box, others in self._seen:
            both = tile.box.common(box)
            if all(both.size):
                self._join(own, others, both)
        self._seen.append((tile.box, own))
        self.instances += own

    def _join(
        self, own: list[_Instance], others: list[_Instance], both: Box
    ) -> None:
        """Join instances of two tiles by their masks in the overlap."""
        candidates: list[tuple[float, int, int]] = []
        for first, second in itertools.product(own, others):
            if first.label == second.label:
                iou = _iou_within(first, second, both)
                if iou > JOIN_IOU:
                    candidates.append((iou, first.number, second.number))
        taken: set[int] = set()
        for _, *pair in sorted(candidates, reverse=True):
            if taken.isdisjoint(pair):
                taken.update(pair)
                self.groups.join(*pair)

    def result(self) -> InstanceData:
        """Return ``masks``, ``labels``, ``scores`` and ``bboxes``."""
        groups: dict[int, list[_Instance]] = {}
        for instance in self.instances:
            group = self.groups.find(instance.number)
            groups.setdefault(group, []).append(instance)
        masks = torch.zeros(len(groups), *self.size, dtype=torch.bool)
        whole = Box(0, 0, *self.size)
        for mask, members in zip(masks, groups.values(), strict=True):
            for member in members:
                mask[member.box.within(whole)] |= member.mask
        return InstanceData(
            bboxes=mask_boxes(masks),
            labels=torch.tensor(
                [members[0].label for members in groups.values()],
                dtype=torch.int64,
            ),
            scores=torch.tensor(
                [
                    max(float(member.score) for member in members)
                    for members in groups.values()
                ]
            ),
            masks=masks,
        )


def _crop(mask: Tensor, box: Box) -> tuple[Box, Tensor]:
    """Crop the mask of a tile to the smallest box around it."""
    (edges,) = mask_boxes(mask[None]).tolist()
    left, top, right, bottom = map(int, edges)
    return (
        Box(
            box.top + top, box.left + left, box.top + bottom, box.left + right
        ),
        mask[top:bottom, left:right].clone(),
    )


def _iou_within(first: _Instance, second: _Instance, part: Box) -> float:
    """IoU within a part of the image; 0 if they do not meet there."""
    meeting = first.box.common(second.box).common(part)
    if not all(meeting.size):
        return 0.0
    overlap = int(
        (
            first.mask[meeting.within(first.box)]
            & second.mask[meeting.within(second.box)]
        ).sum()
    )
    if not overlap:
        return 0.0
    areas = 0
    for instance in (first, second):
        inside = instance.box.common(part)
        areas += int(instance.mask[inside.within(instance.box)].sum())
    return overlap / (areas - overlap)


class Mosaic:
    """The result of an image, made tile by tile.

    Args:
        height (int): Of the image.
        width (int): Of the image.
        num_classes (int): Number of classes, K.
        tasks (Sequence[str]): Which results.
        score_thr (float): Instances of a tile with a lower score are dropped.
    """

    def __init__(
        self,
        height: int,
        width: int,
        num_classes: int,
        tasks: Sequence[str],
        score_thr: float,
    ) -> None:
        self.semantic = self.panoptic = self.instance = None
        if 'semantic' in tasks:
            self.semantic = SemanticMosaic(height, width, num_classes)
        if 'panoptic' in tasks:
            self.panoptic = PanopticMosaic(height, width, num_classes)
        if 'instance' in tasks:
            self.instance = InstanceMosaic(height, width, score_thr)

    def add(self, tile: Tile, sample: DetDataSample) -> None:
        """Add the results of a tile.

        Args:
            tile (Tile): Its place; tiles come row by row.
            sample (DetDataSample): With the results of all tasks, the
                semantic one with its ``scores``.
        """
        if self.semantic:
            self.semantic.add(tile, sample.pred_sem_seg.scores)
        if self.panoptic:
            self.panoptic.add(tile, sample.pred_panoptic_seg)
        if self.instance:
            self.instance.add(tile, sample.pred_instances)

    def write(self, sample: DetDataSample) -> None:
        """Write the joined results, on the CPU, into a sample."""
        if self.semantic:
            sample.pred_sem_seg = semantic_result(
                self.semantic.result(), len(self.semantic.sums)
            )
        if self.panoptic:
            sample.pred_panoptic_seg = self.panoptic.result()
        if self.instance:
            sample.pred_instances = self.instance.result()
