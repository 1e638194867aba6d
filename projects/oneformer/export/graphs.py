"""The parts of a model as modules with tensors in and out."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from ..models.backbones.dinat import DiNAT, NeighborhoodAttention
from ..models.layers.deformable_attention import DeformableAttention
from ..models.layers.same_padding import use_fixed_padding
from ..models.layers.shifted_windows import use_traceable_windows
from ..models.oneformer import OneFormer
from ..models.query_head import mask_logits


class ImageEncoder(nn.Module):
    """Backbone and pixel decoder, which no task has a part in."""

    def __init__(self, model: OneFormer) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode an image.

        Args:
            image (Tensor): Normalised and padded, (1, 3, H, W).

        Returns:
            tuple[Tensor, ...]: Mask features (1, C, H/4, W/4), then the
            memories at strides 32, 16 and 8.
        """
        feats = self.model.extract_feat(image)
        mask_features, memories = self.model.panoptic_head.pixel_decoder(
            list(feats)
        )
        return mask_features, *memories


class TaskDecoder(nn.Module):
    """Everything that depends on the task, up to the logits."""

    def __init__(self, model: OneFormer) -> None:
        super().__init__()
        self.head = model.panoptic_head

    def forward(
        self, tasks: Tensor, mask_features: Tensor, memories: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Decode an image for several tasks.

        Args:
            tasks (Tensor): Indices in ``TASKS``, int64 (T,).
            mask_features (Tensor): (1, C, H/4, W/4).
            memories (Sequence[Tensor]): At strides 32, 16 and 8.

        Returns:
            tuple[Tensor, Tensor]: Class logits (T, Q, K + 1) and mask logits
            (T, Q, H/4, W/4), those after the last layer.
        """
        head = self.head
        output = head.decode_ids(
            head.features_of_maps(mask_features, memories),
            head.task_token.token_ids[tasks],
        )
        return output.cls_scores[-1], mask_logits(
            output.mask_embeds[-1], mask_features
        )


class WholeModel(nn.Module):
    """Both parts in one graph."""

    def __init__(self, model: OneFormer) -> None:
        super().__init__()
        self.encoder = ImageEncoder(model)
        self.decoder = TaskDecoder(model)

    def forward(self, tasks: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segment an image for several tasks.

        Arguments and result are those of the two parts.
        """
        mask_features, *memories = self.encoder(image)
        return self.decoder(tasks, mask_features, memories)


def traceable(model: OneFormer) -> OneFormer:
    """Return a copy of a model, for inference, that a tracer can follow.

    Args:
        model (OneFormer): It does not change.
    """
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    use_traceable_windows(model)
    use_fixed_padding(model)
    for module in model.modules():
        # Operations that every engine has.
        if isinstance(module, DeformableAttention):
            module.backend = 'grid_sample'
        if isinstance(module, NeighborhoodAttention):
            module.backend = 'pytorch'
    return model


def takes_any_size(model: OneFormer) -> bool:
    """Whether one graph serves images of all sizes.

    The groups and tiles of DiNAT's attention are laid out for one size.
    """
    return not isinstance(model.backbone, DiNAT)
