"""What happens to a batch whose numbers are not finite."""

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn

from ...errors import UserError


class NonFiniteError(UserError, FloatingPointError):
    """Something of a batch is NaN or infinite; the message names it."""


class NonFiniteGuard:
    """Leaves out batches that are not finite, some in a row at most.

    Args:
        limit (int): Batches in a row that may be left out. One more ends the
            training, as the first one does with 0.

    Raises:
        ValueError: If ``limit`` is negative.
    """

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise ValueError(
                f'Expected max_non_finite of 0 or more, got {limit}.'
            )
        self.limit = limit
        self.in_a_row = 0
        self.in_all = 0

    def skip(
        self, error: NonFiniteError, params: Iterable[nn.Parameter]
    ) -> dict[str, Tensor]:
        """Return what stands for the losses of a batch that is left out.

        Args:
            error (NonFiniteError): What is wrong with the batch.
            params (Iterable[nn.Parameter]): Those of the whole model.

        Returns:
            dict[str, Tensor]: A loss of 0. The gradient of each parameter is
            0, and not missing, as distributed training demands.

        Raises:
            NonFiniteError: If too many batches in a row are not finite.
        """
        self.in_a_row += 1
        self.in_all += 1
        if self.in_a_row > self.limit:
            raise NonFiniteError(
                f'{self.in_a_row} batches in a row are not finite, '
                f'max_non_finite of the model allows {self.limit}. {error}'
            ) from error
        print_log(
            f'Batch left out, {self.in_a_row} in a row of {self.limit} '
            f'allowed, {self.in_all} in all. {error}',
            logger='current',
            level=logging.WARNING,
        )
        # Not through the network, where 0 times infinity is NaN.
        zeros = [
            param.flatten()[:0].sum(dtype=torch.float32)
            for param in params
            if param.requires_grad
        ]
        return dict(loss_left_out=functools.reduce(torch.add, zeros))

    def passed(self) -> None:
        """Note a batch that is finite."""
        self.in_a_row = 0


@contextmanager
def finite_everywhere(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise in all processes if something is not finite in one of them.

    That is a tensor, or what a :class:`NonFiniteError` in the block says.
    The tensors are looked at when the block ends, so that the host need not
    wait for the device before. All processes must reach that end alike: what
    they exchange in the block comes before such an error.

    Args:
        tensors (Mapping[str, Tensor]): In the order in which they arise.

    Raises:
        NonFiniteError: Naming the first tensor that is not finite, or saying
            that another process has one.
    """
    tensors = {name: x.detach() for name, x in tensors.items()}
    # A sum is finite only if all its terms are.
    sums = torch.stack([x.sum(dtype=torch.float32) for x in tensors.values()])
    error = None
    try:
        yield
        if not sums.isfinite().all():
            raise_first_non_finite(tensors)
    except NonFiniteError as found:
        error = found
    agree(error, sums.device)


def raise_first_non_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise an error that names the first tensor that is not finite.

    Args:
        tensors (Mapping[str, Tensor]): In the order in which they arise.

    Raises:
        NonFiniteError: Always; if all are finite, their products are not.
    """
    for name, tensor in tensors.items():
        bad = int((~tensor.isfinite()).sum())
        if bad:
            raise NonFiniteError(
                f'Matching needs finite costs, but {name} has {bad} '
                f'non-finite of {tensor.numel()} values. Lower the learning '
                'rate, or train in float32 or bfloat16 instead of float16.'
            )
    raise NonFiniteError(
        'Matching needs finite costs, but the mask logits overflow float32 '
        'although mask_features and mask_embeds are finite. Lower the '
        'learning rate.'
    )


def name_predictions(
    cls_scores: list[Tensor],
    mask_embeds: list[Tensor],
    mask_features: Tensor | list[Tensor],
) -> dict[str, Tensor]:
    """Return the predictions by name, in the order in which they arise."""
    named = {}
    if isinstance(mask_features, Tensor):
        named['mask_features'] = mask_features
    for layer, (scores, embeds) in enumerate(
        zip(cls_scores, mask_embeds, strict=True)
    ):
        if not isinstance(mask_features, Tensor):
            own = mask_features[layer]
            named[f'mask_features of prediction {layer}'] = own
        named[f'cls_scores of prediction {layer}'] = scores
        named[f'mask_embeds of prediction {layer}'] = embeds
    return named


def agree(error: NonFiniteError | None, device: torch.device) -> None:
    """Let all processes skip a batch if one of them has to.

    Raises:
        NonFiniteError: The ``error`` of this process, or one that says that
            another process has one.
    """
    failed = torch.tensor(float(error is not None), device=device)
    all_reduce(failed, op='max')
    if error is not None:
        raise error
    if failed:
        raise NonFiniteError(
            'The batch of another process is not finite: its log has more.'
        )
