"""Learning rates of EoMT: two warm-ups, then a polynomial."""

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ..errors import InputError


@PARAM_SCHEDULERS.register_module()
class TwoStageWarmupPolyLR(LRSchedulerMixin, _ParamScheduler):
    """Warm up new parameters first, then the pretrained ViT.

    The rate of new parameters is linear from 0 over ``warmup`` iterations,
    then ``(1 - t) ** power``, where ``t`` is the completed fraction of the
    rest. That of the ViT is 0 over ``warmup`` iterations, linear over the next
    ``vit_warmup``, then the same polynomial over the remaining ones.
    :class:`ViTOptimConstructor` marks the groups.

    Args:
        optimizer (Optimizer | BaseOptimWrapper): With ``vit`` in its groups.
        warmup (int): Iterations of the first warm-up.
        vit_warmup (int): Iterations of the second warm-up.
        end (int): Iterations of the whole training.
        power (float): Exponent of the polynomial.
        by_epoch (bool): Must be False; part of mmengine's interface.
        begin (int): Must be 0; part of mmengine's interface.
        last_step (int): Last step of a resumed training.
        verbose (bool): Whether to print the rates.

    Raises:
        InputError: If both warm-ups take the whole training or more, or no
            group says whether it belongs to the ViT.

    Source: arXiv:2503.19108, section A, and its released code.
    """

    def __init__(
        self,
        optimizer,
        warmup: int,
        vit_warmup: int,
        end: int,
        power: float = 0.9,
        by_epoch: bool = False,
        begin: int = 0,
        last_step: int = -1,
        verbose: bool = False,
    ) -> None:
        if by_epoch or begin != 0:
            raise InputError(
                'TwoStageWarmupPolyLR counts iterations from the first: set '
                'by_epoch=False and begin=0.'
            )
        if warmup + vit_warmup >= end:
            raise InputError(
                f'Warm-ups of {warmup} and {vit_warmup} iterations leave '
                f'nothing of the {end}: lower them.'
            )
        self.warmup = warmup
        self.vit_warmup = vit_warmup
        self.power = power
        if not any('vit' in group for group in optimizer.param_groups):
            raise InputError(
                'TwoStageWarmupPolyLR needs constructor='
                "'ViTOptimConstructor' in the optim_wrapper."
            )
        super().__init__(
            optimizer,
            begin=0,
            end=end,
            last_step=last_step,
            by_epoch=False,
            verbose=verbose,
        )

    def _get_value(self) -> list[float]:
        """Return the learning rate of each group at this step."""
        return [
            base * self.factor(self.last_step, group.get('vit', False))
            for base, group in zip(
                self.base_values, self.optimizer.param_groups, strict=True
            )
        ]

    def factor(self, step: int, vit: bool) -> float:
        """Return the part of the full learning rate.

        Args:
            step (int): Iterations that are over.
            vit (bool): Whether of the pretrained ViT.
        """
        start = self.warmup if vit else 0
        warmup = self.vit_warmup if vit else self.warmup
        if step < start:
            return 0.0
        if step < start + warmup:
            return (step - start) / warmup
        rest = self.end - start - warmup
        over = min(step - start - warmup, rest)
        return (1 - over / rest) ** self.power
