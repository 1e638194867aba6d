"""What the predictions of an image are compared with in training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.structures import DetDataSample
from torch import Tensor
from torch.nn import functional as F

from ...tasks import IGNORE_INDEX


@dataclass(frozen=True)
class Target:
    """The objects of an image, and what its annotation leaves unlabelled.

    Its length is the number of objects, N.

    Attributes:
        labels (Tensor): Class of each object, int64, (N,).
        masks (Tensor): bool, (N, H, W), H and W those of the padded batch.
        unlabelled_classes (Tensor | None): Classes that may be in the image
            without a label, bool, (K,); in its ignored region, if there is
            one. None if every class is labelled.
        ignored (Tensor | None): The ignored region, which are the pixels
            that are not labelled, bool, (H, W). None if all are labelled.
    """

    labels: Tensor
    masks: Tensor
    unlabelled_classes: Tensor | None = None
    ignored: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


def make_target(
    sample: DetDataSample, num_classes: int, device: torch.device
) -> Target:
    """Return the target that a training sample holds.

    Args:
        sample (DetDataSample): ``gt_instances`` with ``labels`` and
            ``masks``; optionally ``unlabelled_classes`` (labels) and
            ``gt_sem_seg``, which is ``IGNORE_INDEX`` in the ignored region.
        num_classes (int): Number of classes, K.
        device (torch.device): Of the masks.
    """
    masks = sample.gt_instances.masks.to_tensor(torch.bool, device)
    classes = list(sample.get('unlabelled_classes', ()))
    ignored = None
    if 'gt_sem_seg' in sample:
        ignored = ignored_region(
            sample.gt_sem_seg.sem_seg[0].to(device), masks.shape[-2:]
        )
    return Target(
        labels=sample.gt_instances.labels,
        masks=masks,
        unlabelled_classes=class_mask(classes, num_classes, device)
        if classes
        else None,
        ignored=ignored,
    )


def ignored_region(semantic: Tensor, size: Sequence[int]) -> Tensor:
    """Return where a map is ``IGNORE_INDEX``, in the size of the batch.

    Args:
        semantic (Tensor): Semantic ground truth of an image, (h, w).
        size (Sequence[int]): Height and width of the padded batch.

    Returns:
        Tensor: bool, (H, W). Padding is background, as in the masks.
    """
    height, width = semantic.shape
    return F.pad(
        semantic == IGNORE_INDEX, (0, size[1] - width, 0, size[0] - height)
    )


def class_mask(
    labels: list[int], num_classes: int, device: torch.device
) -> Tensor:
    """Return which classes are among the labels, bool, (K,)."""
    classes = torch.zeros(num_classes, dtype=torch.bool, device=device)
    classes[labels] = True
    return classes
