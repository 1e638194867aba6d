"""Mask annealing: training ends without masked attention, as inference is."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import InputError


@HOOKS.register_module()
class MaskAnnealingHook(Hook):
    """Anneal the probability of masked attention to 0, block after block.

    For each joint block of an :class:`EoMTHead` the probability is 1 until
    its start, then ``(1 - progress) ** power``, and 0 from its end. Times are
    fractions of ``max_iters``, so that short schedules have the same shape.
    By default, of L joint blocks, block ``i`` starts at
    ``1/6 + i / (2 * (L - 1))`` and takes 1/6: the last sixth of the training
    is without masks.

    Args:
        start (Sequence[float], optional): Start for each joint block.
        end (Sequence[float], optional): End for each joint block.
        power (float): Exponent of the decline.

    Raises:
        InputError: If only one of start and end is given, or a block would
            end before it starts.

    Source: arXiv:2503.19108, mask annealing; the fractions are those of its
    released configs.
    """

    def __init__(
        self,
        start: Sequence[float] | None = None,
        end: Sequence[float] | None = None,
        power: float = 0.9,
    ) -> None:
        if (start is None) != (end is None):
            raise InputError(
                'MaskAnnealingHook needs both start and end, or neither.'
            )
        self.phases: list[tuple[float, float]] | None = None
        if start is not None and end is not None:
            if len(start) != len(end) or any(
                not 0 <= first < last
                for first, last in zip(start, end, strict=False)
            ):
                raise InputError(
                    'Expected for each joint block a start and a later end, '
                    f'as fractions of max_iters, got start={list(start)} and '
                    f'end={list(end)}.'
                )
            self.phases = list(zip(start, end, strict=True))
        self.power = power

    def before_train(self, runner: Runner) -> None:
        """Set the first probabilities.

        Raises:
            InputError: If the model has no joint blocks, or not as many as
                there are phases.
        """
        head = head_of(runner)
        if not hasattr(head, 'set_mask_probs'):
            raise InputError(
                'MaskAnnealingHook belongs to an EoMTHead, the model has a '
                f'{type(head).__name__}: remove it from custom_hooks.'
            )
        if self.phases is None:
            self.phases = default_phases(len(head.blocks))
        if len(self.phases) != len(head.blocks):
            raise InputError(
                f'MaskAnnealingHook has {len(self.phases)} starts and ends, '
                f'the model {len(head.blocks)} joint blocks: give one for '
                'each.'
            )

        head.set_mask_probs(self.probs(runner.iter / runner.max_iters))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: object = None,
        outputs: object = None,
    ) -> None:
        """Set the probabilities of the next iteration.

        Now, so that the last checkpoint has those of the end.
        """
        head_of(runner).set_mask_probs(
            self.probs((runner.iter + 1) / runner.max_iters)
        )

    def probs(self, time: float) -> list[float]:
        """Return the probability of each block.

        Args:
            time (float): Completed fraction of the training.
        """
        assert self.phases is not None
        return [
            decline(time, start, end, self.power) for start, end in self.phases
        ]


def default_phases(num_blocks: int) -> list[tuple[float, float]]:
    """Return start and end for each joint block, fractions of the training."""
    steps = max(num_blocks - 1, 1)
    starts = [1 / 6 + i / (2 * steps) for i in range(num_blocks)]
    return [(start, start + 1 / 6) for start in starts]


def decline(time: float, start: float, end: float, power: float) -> float:
    """Return 1 before the start, 0 from the end on, a power between."""
    if time < start:
        return 1.0
    if time >= end:
        return 0.0
    return (1 - (time - start) / (end - start)) ** power


def head_of(runner: Runner):
    """Return the head of the model that is trained."""
    model = runner.model
    if is_model_wrapper(model):
        model = model.module
    return model.panoptic_head
