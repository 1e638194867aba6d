"""From queries to results in NumPy, by the rules of the fusion head.

:mod:`projects.oneformer.models.fusion_head` has the same rules in PyTorch,
and says more about them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from ..results.segment import encode_mask
from ..tasks import ignore_index
from .description import Description
from .resized_masks import Block, ResizedMasks


class Panoptic(NamedTuple):
    """Segments that do not overlap."""

    ids: ndarray  # int32 (H, W), from 1, 0 for void
    known: dict[int, tuple[int, float | None]]  # label and score by id


class Instance(NamedTuple):
    """One of the best pairs of query and class."""

    label: int
    score: float
    rle: dict  # COCO run lengths


def fuse_panoptic(
    cls_scores: ndarray, masks: ResizedMasks, description: Description
) -> Panoptic:
    """Give every pixel the segment with the best score, or void.

    Segments are numbered in the order of the codes that the fusion head
    gives them: stuff by label, then the first thing of each class, and so on.

    Args:
        cls_scores (ndarray): Class logits, (Q, K + 1).
        masks (ResizedMasks): Of the queries.
        description (Description): Classes and thresholds.
    """
    probs = softmax(cls_scores)
    scores, labels = probs.max(-1), probs.argmax(-1)
    (queries,) = np.nonzero(
        (labels != len(description.classes))
        & (scores > description.object_mask_thr)
    )
    scores, labels = scores[queries], labels[queries]  # (M,)
    if not len(queries):
        return Panoptic(np.zeros(masks.size, np.int32), {})
    winner, inside, covered = _compete(scores, queries, masks)
    won = np.bincount(winner.ravel(), minlength=len(queries))
    visible = np.bincount(winner[inside], minlength=len(queries))
    accepted = visible > 0
    accepted &= won >= description.iou_thr * covered
    things = is_thing(description)[labels]
    # Things are numbered from 1 in query order; segments of one stuff class
    # share number 0 and so merge.
    number = (things & accepted).cumsum() * things
    codes = np.stack([number, labels])[:, accepted]  # (2, M')
    shown, place = np.unique(codes, axis=1, return_inverse=True)
    place = place.reshape(-1)
    ids_of = np.zeros(len(queries), np.int32)
    ids_of[accepted] = place + 1
    weights = visible[accepted]
    means = np.bincount(place, weights * scores[accepted]) / np.bincount(
        place, weights
    )
    known: dict[int, tuple[int, float | None]] = {
        id: (int(label), float(score))
        for id, (label, score) in enumerate(
            zip(shown[1], means, strict=True), 1
        )
    }
    return Panoptic(ids_of[winner] * inside, known)


def _compete(
    scores: ndarray, queries: ndarray, masks: ResizedMasks
) -> tuple[ndarray, ndarray, ndarray]:
    """Let queries compete for the pixels.

    Returns:
        tuple[ndarray, ndarray, ndarray]: Which of the queries has the largest
        class score times mask probability, (H, W); whether that mask
        probability is at least 0.5, (H, W); and how many pixels each query
        has with at least 0.5, (M,).
    """
    winner = np.empty(masks.size, np.int64)
    inside = np.empty(masks.size, bool)
    covered = np.zeros(len(queries), np.int64)
    for block in masks.blocks():
        probs = sigmoid(masks.of(block, queries))  # (M, h, w)
        covered += (probs >= 0.5).sum((1, 2))
        best = (scores[:, None, None] * probs).argmax(0)
        winner[block] = best
        inside[block] = np.take_along_axis(probs, best[None], 0)[0] >= 0.5
    return winner, inside, covered


def fuse_instance(
    cls_scores: ndarray, masks: ResizedMasks, description: Description
) -> list[Instance]:
    """Return the best pairs of query and thing, by falling score.

    Args:
        cls_scores (ndarray): Class logits, (Q, K + 1).
        masks (ResizedMasks): Of the queries; they may overlap.
        description (Description): Classes and how many pairs to keep.
    """
    num_classes = len(description.classes)
    scores = softmax(cls_scores)[:, :-1].ravel()  # (Q * K,)
    top_k = min(description.max_per_image or len(cls_scores), len(scores))
    top = np.argpartition(-scores, top_k - 1)[:top_k]
    top = top[is_thing(description)[top % num_classes]]
    # A query may appear with several classes.
    queries, rows = np.unique(top // num_classes, return_inverse=True)
    # Eight masks share a byte of each pixel.
    packed = np.zeros(((len(queries) + 7) // 8, *masks.size), np.uint8)
    area = np.zeros(len(queries))
    total = np.zeros(len(queries))
    for block in masks.blocks():
        logits = masks.of(block, queries)
        inside = logits > 0
        y, x = block
        packed[:, y, x] = np.packbits(inside, axis=0, bitorder='little')
        area += inside.sum((1, 2))
        total += (sigmoid(logits) * inside).sum((1, 2))
    quality = total / (area + 1e-6)
    rles = [
        encode_mask((packed[row // 8] >> (row % 8)) & 1)
        for row in range(len(queries))
    ]
    instances = [
        Instance(int(pair % num_classes), float(score), rles[row])
        for pair, score, row in zip(
            top, scores[top] * quality[rows], rows, strict=True
        )
    ]
    return sorted(instances, key=lambda found: -found.score)


def fuse_semantic(
    cls_scores: ndarray, masks: ResizedMasks, description: Description
) -> ndarray:
    """Return the label with the largest score of each pixel, (H, W).

    Args:
        cls_scores (ndarray): Class logits, (Q, K + 1).
        masks (ResizedMasks): Of the queries.
        description (Description): Classes.
    """
    labels = np.empty(masks.size, label_type(description))
    for block, total in semantic_scores(cls_scores, masks):
        labels[block] = total.argmax(-1)
    return labels


def semantic_scores(
    cls_scores: ndarray, masks: ResizedMasks
) -> Iterator[tuple[Block, ndarray]]:
    """Yield each block with its scores, (h, w, K), summed over the queries.

    Args:
        cls_scores (ndarray): Class logits, (Q, K + 1).
        masks (ResizedMasks): Of the queries.
    """
    probs = softmax(cls_scores)[:, :-1]  # (Q, K)
    for block in masks.blocks():
        inside = sigmoid(masks.of(block))  # (Q, h, w)
        total = inside.reshape(len(inside), -1).T @ probs  # (h * w, K)
        yield block, total.reshape(*inside.shape[1:], -1)


def label_type(description: Description) -> type[np.unsignedinteger]:
    """Return the type that holds each label, and that of void."""
    deep = ignore_index(len(description.classes)) > np.iinfo(np.uint8).max
    return np.uint16 if deep else np.uint8


def is_thing(description: Description) -> ndarray:
    """Return whether the classes are countable, bool (K,)."""
    things = set(description.thing_classes)
    return np.array([name in things for name in description.classes])


def softmax(logits: ndarray) -> ndarray:
    """Return probabilities along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits: ndarray) -> ndarray:
    """Return the probability of each logit, in the memory of the logits."""
    np.negative(logits, out=logits)
    with np.errstate(over='ignore'):  # 1 / inf is 0
        np.exp(logits, out=logits)
    logits += 1
    return np.reciprocal(logits, out=logits)
