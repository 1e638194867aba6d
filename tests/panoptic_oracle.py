"""The rules of the panoptic result, query by query, in double precision."""

from typing import NamedTuple

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from torch import Tensor

# Of the float32 that is compared with it: probabilities, whose logits of up to
# 20 are resized with an error of some 1e-7 of their value.
ROUNDING = 2e-6


class Panoptic(NamedTuple):
    """What the rules give.

    Attributes:
        codes (np.ndarray): class + 1000 * number of the thing, (H, W).
        doubtful (np.ndarray): Where rounding may decide otherwise, bool.
        accepted (list[tuple[int, int]]): Query and class of each segment.
    """

    codes: np.ndarray
    doubtful: np.ndarray
    accepted: list[tuple[int, int]]


def sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore'):  # 1 / inf is the 0 that is meant
        return 1 / (1 + np.exp(-x))


def softmax(cls_scores: Tensor) -> np.ndarray:
    powers = np.exp(cls_scores.double().numpy())
    return powers / powers.sum(1, keepdims=True)


def panoptic_by_the_rules(
    cls_scores: Tensor,
    logits: np.ndarray,
    things: list[int],
    object_thr: float,
    iou_thr: float,
    rounding: float = ROUNDING,
) -> Panoptic:
    """Give each pixel to a query.

    Args:
        cls_scores (Tensor): Class logits, (Q, K + 1).
        logits (np.ndarray): Mask logits in the size of the result, (Q, H, W).
        things (list[int]): Classes that are things.
        object_thr (float): What the probability of a class must exceed.
        iou_thr (float): Share of its pixels that a query must win.
        rounding (float): Probabilities that differ by less are doubtful.
    """
    num_classes = cls_scores.shape[1] - 1
    kept = []
    for query, row in enumerate(softmax(cls_scores)):
        label = int(np.argmax(row))
        assert abs(row[label] - object_thr) > rounding
        if label != num_classes and row[label] > object_thr:
            probs = sigmoid(logits[query].astype(np.float64))
            kept.append((query, row[label], label, probs))
    codes = np.full(logits.shape[1:], num_classes)
    doubtful = np.zeros(logits.shape[1:], bool)
    accepted: list[tuple[int, int]] = []
    if not kept:
        return Panoptic(codes, doubtful, accepted)
    weighted = np.array([score * probs for _, score, _, probs in kept])
    ranked = np.sort(weighted, 0)
    if len(kept) > 1:
        doubtful |= ranked[-1] - ranked[-2] < rounding
    winner = weighted.argmax(0)
    number, margins = 0, []
    for k, (query, _, label, probs) in enumerate(kept):
        doubtful |= (winner == k) & (abs(probs - 0.5) < rounding)
        won, covered = winner == k, probs >= 0.5
        segment = won & covered
        if min(won.sum(), covered.sum(), segment.sum()) == 0:
            continue
        margins.append(abs(won.sum() - iou_thr * covered.sum()))
        if won.sum() / covered.sum() < iou_thr:
            continue
        accepted.append((query, label))
        if label in things:
            number += 1
            codes[segment] = label + number * INSTANCE_OFFSET
        else:
            codes[segment] = label
    # Doubtful pixels decide over themselves, never over a whole segment.
    assert (
        not doubtful.any() or min(margins, default=np.inf) > 2 * doubtful.sum()
    )
    return Panoptic(codes, doubtful, accepted)
