"""From the data sample of an image to its result without torch."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from .results import Segment, SegmentationResult
from .results.segment import segments_of_map
from .run_lengths import encode_masks
from .tasks import RESULT_FIELDS, TASKS, ignore_index


def result_of_sample(
    sample: DetDataSample,
    dataset_meta: Mapping,
    tasks: Iterable[str] = TASKS,
    score_thr: float = 0.3,
    image: np.ndarray | None = None,
    image_name: str | None = None,
) -> SegmentationResult:
    """Return the result of an image as NumPy arrays and run lengths.

    Args:
        sample (DetDataSample): Has any of the following, of one size. In the
            maps a class without a name in ``dataset_meta`` is void.

            - ``pred_panoptic_seg.sem_seg`` (1, H, W), the class plus
              ``INSTANCE_OFFSET`` times the number of the thing, maybe with
              scores, see :func:`segment_scores`;
            - ``pred_instances`` with ``masks`` (N, H, W), ``labels`` (N,)
              and, unless it is ground truth, ``scores`` (N,);
            - ``pred_sem_seg.sem_seg`` (1, H, W), the class.
        dataset_meta (Mapping): ``classes``; optionally ``thing_classes``,
            ``palette`` and ``category_ids``.
        tasks (Iterable[str]): Results of other tasks are left out.
        score_thr (float): See :meth:`SegmentationResult.filter`.
        image (np.ndarray, optional): RGB uint8, (H, W, 3).
        image_name (str, optional): Its path or address.

    Raises:
        ValueError: If there is no result, two of them differ in size, or an
            instance has no class of ``dataset_meta``.
    """
    classes = tuple(dataset_meta['classes'])
    things = tuple(dataset_meta.get('thing_classes', ()))
    ids = dataset_meta.get('category_ids')
    found = {t: sample.get(RESULT_FIELDS[t]) for t in tasks}
    found = {task: own for task, own in found.items() if own is not None}
    sizes = {
        task: tuple((own.masks if task == 'instance' else own.sem_seg).shape)
        for task, own in found.items()
    }
    if len({size[1:] for size in sizes.values()}) != 1:
        raise ValueError(
            'Expected a sample with results of one height and width, got '
            f'{sizes or "none"}.'
        )
    _, height, width = next(iter(sizes.values()))
    maps: dict = {}
    if 'panoptic' in found:
        maps['panoptic'], maps['segments'] = _read_panoptic(
            found['panoptic'], classes, things
        )
    if 'semantic' in found:
        maps['semantic'] = _read_semantic(found['semantic'], len(classes))
    if 'instance' in found:
        maps['instances'] = _read_instances(found['instance'], classes, things)
    return SegmentationResult(
        height=int(height),
        width=int(width),
        classes=classes,
        thing_classes=things,
        palette=tuple(map(tuple, dataset_meta.get('palette') or ())),
        category_ids=None if ids is None else tuple(ids),
        image_name=image_name,
        image=image,
        **maps,
    ).filter(score_thr)


def segment_scores(result: PixelData) -> dict[int, float]:
    """Return the score, 0 to 1, of each code of a panoptic result.

    Args:
        result (PixelData): Of the fusion head. Of others, such as ground
            truth, no code has a score.
    """
    if 'segment_codes' not in result:
        return {}
    return dict(
        zip(
            result.segment_codes.tolist(),
            result.segment_scores.tolist(),
            strict=True,
        )
    )


def _numpy(data: torch.Tensor | np.ndarray) -> np.ndarray:
    if isinstance(data, torch.Tensor):
        return data.detach().cpu().numpy()
    return np.asarray(data)


def _read_panoptic(
    result: PixelData, classes: tuple[str, ...], things: tuple[str, ...]
) -> tuple[np.ndarray, list[Segment]]:
    """Return ids, numbered from 1 by rising code, and their segments."""
    codes = _numpy(result.sem_seg)[0]
    shown = np.flatnonzero(np.bincount(codes.ravel()))
    shown = shown[shown % INSTANCE_OFFSET < len(classes)]
    numbers = np.zeros(max(int(codes.max()) + 1, 1), np.int32)
    numbers[shown] = np.arange(1, len(shown) + 1)
    scores = segment_scores(result)
    known = {
        number: (code % INSTANCE_OFFSET, scores.get(code))
        for number, code in enumerate(shown.tolist(), 1)
    }
    ids = numbers[codes]
    return ids, segments_of_map(ids, known, classes, things)


def _read_semantic(result: PixelData, num_classes: int) -> np.ndarray:
    labels = _numpy(result.sem_seg)[0]
    void = ignore_index(num_classes)
    known = (labels >= 0) & (labels < num_classes)
    return np.where(known, labels, void).astype(np.min_scalar_type(void))


def _read_instances(
    result: InstanceData, classes: tuple[str, ...], things: tuple[str, ...]
) -> list[Segment]:
    """Return the instances by falling score, numbered from 1."""
    labels = _numpy(result.labels).tolist()
    if labels and max(labels) >= len(classes):
        raise ValueError(
            f'An instance has label {max(labels)}, but dataset_meta names '
            f'{len(classes)} classes: pass that of the model.'
        )
    scores: list = [None] * len(labels)
    order = list(range(len(labels)))
    if 'scores' in result:
        scores = _numpy(result.scores).tolist()
        order.sort(key=lambda index: -scores[index])
    rles = encode_masks(torch.as_tensor(result.masks).detach())
    return [
        Segment.from_rle(
            rles[index],
            id=number,
            label=labels[index],
            name=classes[labels[index]],
            is_thing=classes[labels[index]] in things,
            score=scores[index],
        )
        for number, index in enumerate(order, 1)
    ]
