"""Initial weights of a ViT whose last blocks are in the head."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ..errors import InputError
from .initial import unwrap
from .mismatch import describe_mismatch
from .vit import divide, fit_sizes, to_whole_vit

PARTS_OF_VIT = ('backbone.', 'panoptic_head.blocks.', 'panoptic_head.norm.')


@WEIGHT_INITIALIZERS.register_module()
class PretrainedViT:
    """Load a pretrained ViT into the backbone and the joint blocks.

    As ``init_cfg`` of the model, since its last blocks are in the head. Files
    of DINOv2 and DINOv3 are told apart by their content; patches and learned
    positions of other sizes are resampled.

    Args:
        checkpoint (str): Path or address of a file, or a folder of
            transformers.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``, a detector.

        Raises:
            FileNotFoundError: If there is no such file.
            InputError: If it cannot be read, or the weights are those of
                another network. The module is then unchanged.
        """
        content = CheckpointLoader.load_checkpoint(
            self.checkpoint, map_location='cpu'
        )
        load_vit(module, unwrap(content), self.checkpoint)


@torch.no_grad()
def load_vit(model: Any, weights: Mapping[str, Tensor], source: str) -> None:
    """Load the weights of a plain ViT into a model with an EoMT head.

    Args:
        model (OneFormer): With a ``PlainViT`` and an ``EoMTHead``.
        weights (Mapping[str, Tensor]): As published, without prefixes.
        source (str): Named in messages.

    Raises:
        InputError: If they do not fit. The model is then unchanged.
    """
    expected = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(PARTS_OF_VIT)
    }
    entries = divide(
        to_whole_vit(weights, source), len(model.panoptic_head.blocks)
    )
    entries = fit_sizes(entries, expected)
    registers = 'backbone.registers'
    if expected[registers].shape[1] == 0:
        entries.setdefault(registers, expected[registers])
    if mismatch := describe_mismatch(entries, expected):
        found = entries.get(registers, torch.empty(1, 0)).shape[1]
        raise InputError(
            f'{source} does not fit this model: {mismatch}. Expected a ViT '
            'of the width, depth and kind (learned or rotary positions) of '
            'the config; num_registers of the backbone must be that of the '
            f'file, {found}.'
        )
    model.load_state_dict(model.state_dict() | entries)
    print_log(
        f'Loaded {len(entries)} tensors of a ViT from {source}.',
        logger='current',
    )
