"""Training has the losses of an independent implementation, step by step.

From equal weights, on equal batches, with equal draws of points, our tiny
OneFormer and that of ``transformers`` are trained side by side with the same
AdamW. What is decided once for both: the matching, the points of the losses
and the attention masks; tests/test_parity.py shows that each would decide
alike.

Known differences that are set to ours first:

- the text encoder of ``transformers`` builds a causal mask and does not use
  it (``hand_over_causal_mask``),
- it takes the last prediction first, so that it would draw points in another
  order.
"""

import math
from collections.abc import Iterator

import pytest
import torch
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor

from projects.oneformer.tasks import TASKS
from projects.oneformer.weights import from_huggingface
from tests.model_configs import NUM_CLASSES, data_sample, images
from tests.transformers_oracle import (
    Pair,
    hand_over_causal_mask,
    loss_terms,
    tiny_pair,
)

SCHEDULE = 'configs/_base_/schedules/adamw.py'
SIZE = (64, 96)


def batch(step: int) -> tuple[Tensor, list]:
    """Return three images with up to four objects, one of each task."""
    rng = torch.Generator().manual_seed(step)
    samples = []
    for place, task in enumerate(TASKS):
        count = int(torch.randint(1, 5, (), generator=rng))
        labels = torch.randperm(NUM_CLASSES, generator=rng)[:count].tolist()
        samples.append(data_sample(*SIZE, labels, task, 3 * step + place))
    return images(3, *SIZE, seed=step), samples


def optimizers(pair: Pair) -> list[torch.optim.Optimizer]:
    """Return ours, and one with the same groups for the oracle."""
    own = build_optim_wrapper(
        pair.ours, Config.fromfile(SCHEDULE).optim_wrapper
    ).optimizer
    rates = {}
    for group in own.param_groups:
        for param in group['params']:
            rates[param] = group['lr'], group['weight_decay']
    # Which of our tensors each of theirs becomes.
    named = dict(pair.oracle.named_parameters())
    marks = {
        name: torch.full_like(param, float(place))
        for place, (name, param) in enumerate(named.items())
    }
    groups: dict[tuple, list] = {}
    parameters = list(named.values())
    ours = dict(pair.ours.named_parameters())
    for name, places in from_huggingface(marks).items():
        for place in places.unique().int().tolist():
            groups.setdefault(rates[ours[name]], []).append(parameters[place])
    assert sum(map(len, groups.values())) == len(parameters)
    theirs = torch.optim.AdamW(
        [
            dict(params=params, lr=lr, weight_decay=decay)
            for (lr, decay), params in groups.items()
        ],
        betas=own.defaults['betas'],
        eps=own.defaults['eps'],
    )
    return [own, theirs]


def train(pair: Pair, steps: int) -> Iterator[tuple[float, float]]:
    """Train both, and yield the loss of ours and of the oracle."""
    pair.ours.train()
    pair.oracle.train()
    both = optimizers(pair)
    for step in range(steps):
        torch.manual_seed(step)
        losses = [
            sum(terms.values())
            for terms in loss_terms(pair, *batch(step), ambiguous=math.inf)
        ]
        yield tuple(loss.item() for loss in losses)
        for loss, optimizer in zip(losses, both, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.parametrize(
    'steps', [3, pytest.param(20, marks=pytest.mark.slow)]
)
def test_every_step_has_the_loss_of_the_oracle(steps):
    pair = tiny_pair(training=True)
    hand_over_causal_mask(pair.oracle)
    for ours, theirs in train(pair, steps):
        assert ours == pytest.approx(theirs, rel=1e-3)
