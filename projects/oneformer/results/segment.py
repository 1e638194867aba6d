"""A segment: a region of an image with a class."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from pycocotools import mask as coco_mask


@dataclass(frozen=True, eq=False)
class Segment:
    """A region of an image with a class.

    Attributes:
        id (int): Number of the segment within its result, from 1. In a
            panoptic result it is the value of the id map.
        label (int): Index of its class.
        name (str): Name of its class.
        is_thing (bool): Whether the class is countable.
        score (float | None): Confidence, 0 to 1; None if there is none.
        area (int): Number of its pixels.
        bbox (tuple[int, int, int, int]): Left, top, width and height.
        pixels (np.ndarray | dict): What the mask is made from on demand: the
            id map that shows the segment, (H, W), or COCO run lengths,
            ``size`` and ``counts``.
        is_crowd (bool): Whether it is a group of things that are not
            annotated one by one; never of a prediction.
    """

    id: int
    label: int
    name: str
    is_thing: bool
    score: float | None
    area: int
    bbox: tuple[int, int, int, int]
    pixels: np.ndarray | dict = field(repr=False)
    is_crowd: bool = False

    @classmethod
    def from_rle(
        cls,
        rle: dict,
        id: int,
        label: int,
        name: str,
        is_thing: bool,
        score: float | None = None,
    ) -> 'Segment':
        """Return the segment of COCO run lengths.

        Args:
            rle (dict): ``size``, [H, W], and compressed ``counts``.
            id (int): See the attribute.
            label (int): See the attribute.
            name (str): See the attribute.
            is_thing (bool): See the attribute.
            score (float, optional): See the attribute.
        """
        left, top, width, height = map(int, coco_mask.toBbox(rle))
        return cls(
            id=id,
            label=label,
            name=name,
            is_thing=is_thing,
            score=score,
            area=int(coco_mask.area(rle)),
            bbox=(left, top, width, height),
            pixels=rle,
        )

    @property
    def mask(self) -> np.ndarray:
        """The pixels of the segment, bool (H, W)."""
        if isinstance(self.pixels, dict):
            return coco_mask.decode(self.pixels).astype(bool)
        return self.pixels == self.id

    @property
    def rle(self) -> dict:
        """COCO run lengths: ``size``, [H, W], and ``counts``, a str."""
        if isinstance(self.pixels, dict):
            return self.pixels
        return encode_mask(self.mask)

    def polygons(self, tolerance: float = 0.0) -> list[np.ndarray]:
        """Return the outer borders of the parts of the segment.

        They run along the edges of pixels: (0, 0) is the corner of the image,
        not the centre of its first pixel. Holes are filled, as COCO's
        polygons have none; use :attr:`mask` or :attr:`rle` where every pixel
        counts.

        Args:
            tolerance (float): Pixels that a border may move where that saves
                corners. 0 keeps every pixel.

        Returns:
            list[np.ndarray]: x and y of the corners, int (N, 2), N >= 3. A
            part that is so thin that nothing would remain keeps its border.
        """
        left, top, width, height = self.bbox
        crop = self.mask[top : top + height, left : left + width]
        # Contours run through the centres of pixels. Of a mask of twice the
        # size, they lead to the edges: 2x and 2x - 1 are beside edge x.
        twice = crop.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        contours, _ = cv2.findContours(
            twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        polygons = []
        for contour in contours:
            corners = (contour + 1) // 2 + np.array([left, top], np.int32)
            polygon = cv2.approxPolyDP(corners, tolerance, closed=True)
            if len(polygon) < 3:
                polygon = corners
            polygons.append(polygon[:, 0])
        return polygons

    def to_dict(self) -> dict:
        """Return the segment in plain types, for JSON.

        Returns:
            dict: ``label``, ``class``, ``is_thing``, ``area``, ``bbox`` (x,
            y, width, height), ``segmentation`` (COCO run lengths) and, if
            there is one, ``score``, rounded to four digits.
        """
        record = dict(
            label=self.label,
            **{'class': self.name},
            is_thing=self.is_thing,
            area=self.area,
            bbox=list(self.bbox),
            segmentation=self.rle,
        )
        if self.score is not None:
            record['score'] = round(self.score, 4)
        return record


def encode_mask(mask: np.ndarray) -> dict:
    """Return a mask, (H, W), of 0 and 1, as COCO run lengths."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=list(mask.shape), counts=rle['counts'].decode())


def segments_of_map(
    ids: np.ndarray,
    known: Mapping[int, tuple[int, float | None]],
    classes: tuple[str, ...],
    thing_classes: tuple[str, ...],
) -> list[Segment]:
    """Return the segments that an id map shows, in the order of their ids.

    Args:
        ids (np.ndarray): Ids of segments, from 1, and 0 for void, int32
            (H, W).
        known (Mapping[int, tuple[int, float | None]]): Label and score by id.
        classes (tuple[str, ...]): Names, by label.
        thing_classes (tuple[str, ...]): Names of the things.
    """
    segments = []
    for id, (area, box) in _measure(ids).items():
        label, score = known[id]
        name = classes[label]
        segments.append(
            Segment(
                id, label, name, name in thing_classes, score, area, box, ids
            )
        )
    return segments


def _measure(
    ids: np.ndarray,
) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    """Return area and box of each id above 0, by rising id."""
    areas = np.bincount(ids.ravel())
    found = np.flatnonzero(areas)
    measures = {}
    for id in found[found > 0].tolist():
        mask = ids == id
        columns = np.flatnonzero(mask.any(0))
        rows = np.flatnonzero(mask.any(1))
        left, top = int(columns[0]), int(rows[0])
        box = (
            left,
            top,
            int(columns[-1]) + 1 - left,
            int(rows[-1]) + 1 - top,
        )
        measures[id] = (int(areas[id]), box)
    return measures
