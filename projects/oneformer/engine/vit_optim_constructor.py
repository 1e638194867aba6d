"""Layer-wise decay of the learning rate for a ViT that queries join."""

import re
from typing import Any

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..errors import InputError
from .optim_constructor import FSDP_PREFIX

DEFAULTS = dict(decay_rate=0.8, decay_joint=True)
_BLOCK = re.compile(r'(backbone|panoptic_head)\.blocks\.(\d+)\.')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ViTOptimConstructor(DefaultOptimWrapperConstructor):
    """Give early blocks of the ViT a smaller learning rate.

    The rate of block ``i`` of ``N`` is multiplied by ``decay_rate ** (N - 1 -
    i)``; the embeddings have the rate of the first block. The final norm,
    queries and heads have the full rate. Every parameter has the weight decay
    of the optimizer.

    Groups of the ViT have ``vit=True``, the others ``vit=False``, which
    :class:`TwoStageWarmupPolyLR` reads.

    ``paramwise_cfg`` has the options ``decay_rate`` (0.8) and ``decay_joint``
    (True): whether joint blocks have smaller rates, too, as for DINOv2; for
    DINOv3 they have the full rate.

    Args:
        optim_wrapper_cfg (dict): Config of the wrapper with its optimizer.
        paramwise_cfg (dict, optional): See above.

    Raises:
        InputError: If ``paramwise_cfg`` has an unknown option, or the
            optimizer has no ``lr``.

    Source: arXiv:2503.19108, section A, and its released code.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        given = paramwise_cfg or {}
        if unknown := sorted(set(given) - set(DEFAULTS)):
            raise InputError(
                f'{type(self).__name__} does not know {unknown} of '
                f'paramwise_cfg; it knows {sorted(DEFAULTS)}.'
            )
        # Never empty: mmengine would then not ask for groups.
        self.paramwise_cfg = DEFAULTS | given
        if self.base_lr is None:
            raise InputError(
                'Expected lr in the config of the optimizer, which '
                f'{type(self).__name__} multiplies.'
            )

    def add_params(
        self,
        params: list[dict],
        module: Any,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append the parameter groups of the whole model to ``params``.

        Args:
            params (list[dict]): Groups of the optimizer.
            module (OneFormer): The model.
            prefix (str): Not used; part of mmengine's interface.
            is_dcn_module (int | float, optional): Not used, likewise.

        Raises:
            InputError: If the model is no ViT with an ``EoMTHead``.
        """
        first = getattr(module.backbone, 'blocks', None)
        joint = getattr(module.panoptic_head, 'blocks', None)
        if first is None or joint is None:
            raise InputError(
                f'{type(self).__name__} is for PlainViT with EoMTHead, the '
                f'model has {type(module.backbone).__name__} with '
                f'{type(module.panoptic_head).__name__}: use '
                'ModuleTypeOptimConstructor.'
            )
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, param in module.named_parameters():
            if not param.requires_grad:
                continue
            name = name.replace(FSDP_PREFIX, '')
            key = self._rate(name, len(first), len(joint)), is_vit(name)
            groups.setdefault(key, []).append(param)
        for (rate, vit), members in groups.items():
            params.append(
                dict(params=members, lr=self.base_lr * rate, vit=vit)
            )

    def _rate(self, name: str, num_first: int, num_joint: int) -> float:
        decay_rate = self.paramwise_cfg['decay_rate']
        last = num_first + num_joint - 1
        if match := _BLOCK.match(name):
            block = int(match[2])
            if match[1] == 'panoptic_head':
                if not self.paramwise_cfg['decay_joint']:
                    return 1.0
                block += num_first
            return decay_rate ** (last - block)
        if name.startswith('backbone.'):
            return decay_rate**last
        return 1.0


def is_vit(name: str) -> bool:
    """Whether a parameter belongs to the pretrained ViT."""
    return name.startswith(
        ('backbone.', 'panoptic_head.blocks.', 'panoptic_head.norm.')
    )
