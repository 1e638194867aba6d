"""The parts of a model as modules with tensors in and out."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from ..models.backbones.dinat import DiNAT, NeighborhoodAttention
from ..models.backbones.plain_vit import PlainViT
from ..models.layers.deformable_attention import DeformableAttention
from ..models.layers.same_padding import use_fixed_padding
from ..models.layers.shifted_windows import use_traceable_windows
from ..models.oneformer import OneFormer
from ..weights.resampling import resample_by_products


class ImageEncoder(nn.Module):
    """What no task has a part in: backbone, and pixel decoder if any."""

    def __init__(self, model: OneFormer) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Encode an image.

        Args:
            image (Tensor): Normalised and padded, (1, 3, H, W).

        Returns:
            dict[str, Tensor]: See :meth:`QueryHead.shared_tensors`.
        """
        feats = self.model.extract_feat(image)
        return self.model.panoptic_head.shared_tensors(feats)


class TaskDecoder(nn.Module):
    """Everything that depends on the task, up to the logits."""

    def __init__(self, model: OneFormer) -> None:
        super().__init__()
        self.head = model.panoptic_head

    def forward(
        self, tasks: Tensor, features: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Decode an image for several tasks.

        Args:
            tasks (Tensor): Indices in ``TASKS``, int64 (T,).
            features (Mapping[str, Tensor]): From the image encoder.

        Returns:
            tuple[Tensor, Tensor]: Class logits (T, Q, K + 1) and mask logits
            (T, Q, H/4, W/4), those after the last layer.
        """
        pixels = self.head.from_tensors(features)
        return self.head.decode_indices(pixels, tasks).last()


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
        return self.decoder(tasks, self.encoder(image))


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
        if isinstance(module, PlainViT):
            module.resample = resample_by_products
    return model


def takes_any_size(model: OneFormer) -> bool:
    """Whether one graph serves images of all sizes.

    The groups and tiles of DiNAT's attention are laid out for one size.
    """
    return not isinstance(model.backbone, DiNAT)
