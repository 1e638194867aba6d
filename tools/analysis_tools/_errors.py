"""What is wrong with the result of an image: missed, extra and inexact.

Segments are matched as in the panoptic quality: a predicted one and an
annotated one of the same class that overlap by an IoU above 0.5. In the
terms of PQ = sum of IoU / (TP + FP / 2 + FN / 2), a segment that is missed or
extra costs 0.5, a match 1 - IoU; these losses of all images add up to what
PQ lacks, times its denominator.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

MISSED, EXTRA, INEXACT = 'missed', 'extra', 'inexact'


class Region(NamedTuple):
    """A segment of a result or of an annotation.

    Attributes:
        label (int): Index of the class.
        rle (dict): COCO run lengths.
        score (float | None): Of a prediction that has one.
        crowd (bool): Of an annotation that is not to be found.
    """

    label: int
    rle: dict
    score: float | None = None
    crowd: bool = False


class Error(NamedTuple):
    """A difference between result and annotation.

    Attributes:
        kind (str): 'missed', 'extra' or 'inexact'.
        label (int): Index of the class.
        loss (float): What it costs in the terms of PQ, 0 to 0.5.
        pixels (int): How many pixels are wrong.
        truth (int | None): Place among the annotated regions.
        found (int | None): Place among the predicted ones.
    """

    kind: str
    label: int
    loss: float
    pixels: int
    truth: int | None
    found: int | None


def find_errors(
    found: Sequence[Region],
    truth: Sequence[Region],
    void: dict | None = None,
) -> list[Error]:
    """Compare the result of an image with its annotation.

    Args:
        found (Sequence[Region]): Predicted regions. Where several fit one
            annotated region, the first is its match.
        truth (Sequence[Region]): Annotated regions.
        void (dict, optional): Run lengths of what is not annotated, which
            counts for nothing.

    Returns:
        list[Error]: The largest losses first; none for a perfect match.
    """
    area = coco_mask.area([region.rle for region in found])
    true_area = coco_mask.area([region.rle for region in truth])
    common = _overlaps(found, [region.rle for region in truth])
    ignored = _overlaps(found, [void] if void else []).sum(1)
    errors: list[Error] = []
    matched: set[int] = set()
    for f, region in enumerate(found):
        same = [t for t, o in enumerate(truth) if o.label == region.label]
        unions = {
            t: area[f] - ignored[f] + true_area[t] - common[f, t]
            for t in same
            if not truth[t].crowd and t not in matched
        }
        match = next((t for t in unions if 2 * common[f, t] > unions[t]), None)
        if match is not None:
            matched.add(match)
            wrong = int(unions[match] - common[f, match])
            loss = wrong / unions[match]
            errors.append(Error(INEXACT, region.label, loss, wrong, match, f))
            continue
        crowds = sum(common[f, t] for t in same if truth[t].crowd)
        if 2 * (ignored[f] + crowds) <= area[f]:
            wrong = int(area[f] - ignored[f])
            errors.append(Error(EXTRA, region.label, 0.5, wrong, None, f))
    for t, own in enumerate(truth):
        if t not in matched and not own.crowd:
            wrong = int(true_area[t])
            errors.append(Error(MISSED, own.label, 0.5, wrong, t, None))
    errors = [error for error in errors if error.pixels]
    return sorted(errors, key=lambda error: (-error.loss, -error.pixels))


def _overlaps(found: Sequence[Region], others: list[dict]) -> np.ndarray:
    """Return the common pixels of each pair, (found, others)."""
    if not found or not others:
        return np.zeros((len(found), len(others)), int)
    masks = [region.rle for region in found]
    # With crowds, pycocotools divides by the area of the first mask.
    shares = coco_mask.iou(masks, others, [1] * len(others))
    area = np.asarray(coco_mask.area(masks), float)[:, None]
    return np.rint(shares * area).astype(int)


def void_of(truth: Sequence[Region], height: int, width: int) -> dict | None:
    """Return the run lengths of the pixels that no region covers."""
    covered = np.zeros((height, width), bool)
    for region in truth:
        covered |= coco_mask.decode(region.rle).astype(bool)
    if covered.all():
        return None
    return coco_mask.encode(np.asfortranarray(~covered, np.uint8))
