"""A plain Vision Transformer up to the blocks that queries join."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import InputError
from ...weights.resampling import resample_positions
from ..layers import recompute
from ..layers.rotary_positions import Rotation, rotation_of_size
from ..layers.tensor_cache import cache_tensors
from ..layers.vit_block import ViTBlock, init_vit_weights


class ImageTokens(NamedTuple):
    """Tokens of images, and what later blocks need to know of them."""

    tokens: Tensor  # class token, registers, patches, (B, 1 + R + P, C)
    size: tuple[int, int]  # rows and columns of patches
    rotation: Rotation | None  # of the patches

    def select(self, rows: list[int]) -> 'ImageTokens':
        """Return the tokens of some images of the batch."""
        if len(rows) == len(self.tokens):
            return self
        return self._replace(tokens=self.tokens[rows])


@MODELS.register_module()
class PlainViT(BaseModule):
    """Patch embedding and the first blocks of a ViT of DINOv2 or DINOv3.

    The last blocks of the network, which queries join, and its final norm
    belong to the head; see :class:`EoMTHead`.

    Args:
        num_layers (int): Number of blocks, without those of the head.
        block (dict): Arguments of :class:`ViTBlock`.
        patch_size (int): Side of a patch in pixels.
        num_registers (int): Register tokens, R.
        image_size (int | None): Side of the square images of the learned
            positions, which are resampled for other sizes. None for rotary
            positions, as in DINOv3.
        with_cp (bool): Recompute the blocks in the backward pass, for memory.
        init_cfg (dict, optional): Initialization config.

    Source: arXiv:2010.11929; arXiv:2309.16588 (registers).
    """

    def __init__(
        self,
        num_layers: int,
        block: Mapping[str, Any],
        patch_size: int = 16,
        num_registers: int = 4,
        image_size: int | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        width = block['embed_dims']
        self.patch_size = patch_size
        self.head_dims = width // block['num_heads']
        self.with_cp = with_cp
        self.patch_embed = nn.Conv2d(3, width, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.registers = nn.Parameter(torch.zeros(1, num_registers, width))
        self.positions: nn.Parameter | None = None
        self.resample = resample_positions
        if image_size is not None:
            if image_size % patch_size:
                raise InputError(
                    f'Expected an image_size that patches of {patch_size} '
                    f'pixels divide, got {image_size}.'
                )
            patches = (image_size // patch_size) ** 2
            self.positions = nn.Parameter(torch.zeros(1, patches, width))
        self.blocks = nn.ModuleList(
            ViTBlock(**block) for _ in range(num_layers)
        )
        init_vit_weights(self.blocks)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        if self.positions is not None:
            nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> ImageTokens:
        """Return the tokens of images before the joint blocks.

        Args:
            x (Tensor): Normalised images, (B, 3, H, W).

        Raises:
            InputError: If patches do not divide the sides.
        """
        height, width = x.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise InputError(
                f'Expected images whose sides patches of {self.patch_size} '
                f'pixels divide, got {height} x {width}: set '
                'pad_size_divisor of the data_preprocessor to '
                f'{self.patch_size}.'
            )
        size = (height // self.patch_size, width // self.patch_size)
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)  # (B, P, C)
        rotation = None
        if self.positions is not None:
            patches = patches + self.resample(self.positions, size)
        else:
            rotation = self.rotation(size, x.device)
        prefix = torch.cat([self.cls_token, self.registers], dim=1)
        tokens = torch.cat([prefix.expand(len(x), -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = recompute.call(
                block, self.with_cp, x=tokens, rotation=rotation
            )
        return ImageTokens(tokens, size, rotation)

    def rotation(
        self, size: tuple[int, int], device: torch.device
    ) -> Rotation:
        """Return the rotation of the patches, in training a random one."""
        if self.training:
            return rotation_of_size(size, self.head_dims, device, rescale=True)
        return constant_rotation(size, self.head_dims, device)


@cache_tensors(maxsize=4)
def constant_rotation(
    size: tuple[int, int], channels: int, device: torch.device
) -> Rotation:
    """Return :func:`rotation_of_size` without its random factor."""
    return rotation_of_size(size, channels, device)
