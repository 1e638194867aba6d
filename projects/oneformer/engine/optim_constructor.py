"""Learning rate and weight decay by type of module and by name."""

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

NORMS = (nn.LayerNorm, nn.GroupNorm, _NormBase)
OPTIONS = {
    'custom_keys',
    'norm_decay_mult',
    'decayed_norms',
    'embedding_decay_mult',
}
CUSTOM_OPTIONS = {'lr_mult', 'decay_mult'}
# What PyTorch's FSDP inserts into the names of what it wraps.
FSDP_PREFIX = '_fsdp_wrapped_module.'


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ModuleTypeOptimConstructor(DefaultOptimWrapperConstructor):
    """Set weight decay by the type of module, even if a name sets the rate.

    mmengine's constructor stops at the first name that matches, so a backbone
    with a smaller learning rate loses the rule for its norm layers. Here both
    rules apply, and parameters with equal settings share one group of the
    optimizer.

    ``paramwise_cfg`` has the options ``norm_decay_mult``, ``decayed_norms``
    (names of norm classes that ``norm_decay_mult`` does not apply to),
    ``embedding_decay_mult`` and ``custom_keys`` (part of the name ->
    ``lr_mult``, ``decay_mult``; the longest matching part wins, and overrides
    the type of module).

    Args:
        optim_wrapper_cfg (dict): Config of the wrapper with its optimizer.
        paramwise_cfg (dict, optional): See above.

    Raises:
        ValueError: If ``paramwise_cfg`` or one of its ``custom_keys`` has an
            unknown option, ``decayed_norms`` is not a list, or the optimizer
            lacks the value to multiply.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if unknown := sorted(set(self.paramwise_cfg) - OPTIONS):
            raise ValueError(
                f'{type(self).__name__} does not know {unknown} of '
                f'paramwise_cfg; it knows {sorted(OPTIONS)}.'
            )
        for key, options in self.paramwise_cfg.get('custom_keys', {}).items():
            if unknown := sorted(set(options) - CUSTOM_OPTIONS):
                raise ValueError(
                    f'{type(self).__name__} does not know {unknown} of '
                    f'custom_keys[{key!r}]; it knows '
                    f'{sorted(CUSTOM_OPTIONS)}.'
                )
        decayed_norms = self.paramwise_cfg.get('decayed_norms', [])
        if isinstance(decayed_norms, str):
            raise ValueError(
                'Expected a list of class names as decayed_norms of '
                f'paramwise_cfg, got the str {decayed_norms!r}: write '
                f'[{decayed_norms!r}].'
            )
        needed = dict(lr=self.base_lr)
        if 'embedding_decay_mult' in self.paramwise_cfg:
            needed['weight_decay'] = self.base_wd
        for key, value in needed.items():
            if value is None:
                raise ValueError(
                    f'Expected {key} in the config of the optimizer, which '
                    f'{type(self).__name__} multiplies.'
                )

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append the parameter groups of the whole model to ``params``.

        Args:
            params (list[dict]): Groups of the optimizer.
            module (nn.Module): The model.
            prefix (str): Not used; part of mmengine's interface.
            is_dcn_module (int | float, optional): Not used, likewise.
        """
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        seen = set()
        for path, submodule in module.named_modules():
            for name, param in submodule.named_parameters(recurse=False):
                if not param.requires_grad or id(param) in seen:
                    continue
                seen.add(id(param))
                full_name = f'{path}.{name}' if path else name
                full_name = full_name.replace(FSDP_PREFIX, '')
                rates = self._rates(full_name, submodule)
                groups.setdefault(rates, []).append(param)
        for (lr_mult, decay_mult), members in groups.items():
            group = dict(params=members, lr=self.base_lr * lr_mult)
            if self.base_wd is not None:
                group['weight_decay'] = self.base_wd * decay_mult
            params.append(group)

    def _rates(self, name: str, module: nn.Module) -> tuple[float, float]:
        lr_mult = decay_mult = 1.0
        decayed_norms = self.paramwise_cfg.get('decayed_norms', [])
        if isinstance(module, NORMS):
            if type(module).__name__ not in decayed_norms:
                decay_mult = self.paramwise_cfg.get('norm_decay_mult', 1.0)
        elif isinstance(module, nn.Embedding):
            decay_mult = self.paramwise_cfg.get('embedding_decay_mult', 1.0)
        custom_keys = self.paramwise_cfg.get('custom_keys', {})
        for key in sorted(custom_keys, key=len):
            if key in name:
                lr_mult = custom_keys[key].get('lr_mult', lr_mult)
                decay_mult = custom_keys[key].get('decay_mult', decay_mult)
        return lr_mult, decay_mult
