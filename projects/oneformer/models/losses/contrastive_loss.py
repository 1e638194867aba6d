"""The query-text contrastive loss."""

import math

import torch
from mmdet.registry import MODELS
from mmengine.dist import all_gather, all_reduce, get_rank
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError


@MODELS.register_module()
class QueryTextContrastiveLoss(nn.Module):
    """Tie the queries of each image to the texts of that image.

    One image is one example: its Q queries are flattened to one vector, and
    image ``i`` is positive with the texts of image ``i`` only, among the
    images of all processes. With a global batch of one image the loss is 0.

    Args:
        loss_weight (float): Factor of the loss.
        temperature (float): Initial temperature; its inverse is learned on a
            logarithmic scale.
        max_scale (float): Upper bound of the inverse temperature.

    Source: arXiv:2211.06220, contrastive loss on object and text queries.
    """

    def __init__(
        self,
        loss_weight: float = 0.5,
        temperature: float = 0.07,
        max_scale: float = 100.0,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.max_scale = max_scale
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, queries: Tensor, texts: Tensor) -> Tensor:
        """Return the weighted loss.

        Args:
            queries (Tensor): Queries before the first decoder layer,
                (B, Q, C). B may differ between processes.
            texts (Tensor): Text queries, (B, Q, C).

        Returns:
            Tensor: Image-to-text plus text-to-image cross entropy, each the
            mean over the images of this process, scalar.

        Raises:
            ValueError: If the shapes differ.
        """
        if queries.shape != texts.shape:
            raise InputError(
                'Expected as many text queries as object queries, got '
                f'{tuple(texts.shape)} for {tuple(queries.shape)}: text slots '
                'plus num_context must equal num_queries.'
            )
        images = F.normalize(queries.float().flatten(1), dim=-1)  # (B, Q * C)
        texts = F.normalize(texts.float().flatten(1), dim=-1)  # (B, Q * C)
        counts = examples_per_process(images)
        all_images, all_texts = gather_examples(counts, images, texts)
        scale = self.logit_scale.exp().clamp(max=self.max_scale)
        match = torch.arange(len(images), device=images.device)
        match = match + sum(counts[: get_rank()])
        loss = F.cross_entropy(scale * images @ all_texts.T, match)
        loss = loss + F.cross_entropy(scale * texts @ all_images.T, match)
        return self.loss_weight * loss


def examples_per_process(examples: Tensor) -> list[int]:
    """Return how many examples each process has, in rank order.

    At the end of an epoch the last batch may be smaller on some.
    """
    own = torch.tensor([len(examples)], device=examples.device)
    return torch.cat(all_gather(own)).tolist()


def gather_examples(counts: list[int], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Join the examples of all processes, in rank order.

    Gradients flow back to the process that an example came from.

    Args:
        counts (list[int]): Examples of each process.
        *tensors (Tensor): Those of this process, (B, ...).

    Returns:
        tuple[Tensor, ...]: The joined tensors, (sum of counts, ...).
    """
    if len(counts) == 1:
        return tensors
    return tuple(_GatherExamples.apply(tensor, counts) for tensor in tensors)


class _GatherExamples(torch.autograd.Function):
    """Gather whose backward sums what every process wants of an example."""

    @staticmethod
    def forward(ctx, tensor: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        # Only tensors of one shape can be gathered.
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = all_gather(padded)
        return torch.cat(
            [part[:n] for part, n in zip(parts, counts, strict=True)]
        )

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        all_reduce(grad, op='sum')
        return grad.split(ctx.counts)[get_rank()], None
