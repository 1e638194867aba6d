"""The task token: a float32 MLP on raw token ids."""

import pytest
import torch
from mmengine import ConfigDict
from torch.nn import functional as F

from projects.oneformer.models import TaskToken
from projects.oneformer.tasks import TASKS
from tests.rounding import assert_same_values

# "The task is {task}", from the start to the end token.
WORD_IDS = dict(
    panoptic=[49406, 518, 10549, 533, 1072, 24755, 49407],
    instance=[49406, 518, 10549, 533, 34572, 49407],
    semantic=[49406, 518, 10549, 533, 29119, 1550, 49407],
)


@pytest.fixture
def task_token() -> TaskToken:
    return TaskToken(16, ConfigDict(type='CLIPTokenizer'))


@pytest.mark.parametrize('task', TASKS)
def test_the_token_is_an_mlp_of_the_ids_as_numbers(task_token, task):
    ids = torch.zeros(77)
    ids[: len(WORD_IDS[task])] = torch.tensor(WORD_IDS[task]).float()
    first, last = task_token.layers
    hidden = (first.weight @ ids + first.bias).relu()
    expected = last.weight @ hidden + last.bias
    assert_same_values(task_token([task]), expected[None])


def test_each_image_gets_the_token_of_its_task(task_token):
    tokens = task_token(['semantic', 'instance', 'semantic'])
    assert tokens.shape == (3, 16)
    semantic, instance = (task_token([task])[0] for task in TASKS[:0:-1])
    assert_same_values(tokens, torch.stack([semantic, instance, semantic]))
    # No rounding takes one for the other.
    assert (semantic - instance).abs().max() > 0.01 * semantic.abs().max()


def test_the_token_is_the_same_in_every_bit_under_autocast(task_token):
    expected = task_token(TASKS)
    with torch.autocast('cpu', torch.bfloat16):
        # Else autocast would have nothing to say about it.
        linear = F.linear(torch.ones(1, 77), task_token.layers[0].weight)
        assert linear.dtype == torch.bfloat16
        tokens = task_token(TASKS)
    assert tokens.dtype == torch.float32
    assert tokens.equal(expected)


def test_half_precision_weights_leave_the_ids_alone(task_token):
    half = task_token.to(torch.bfloat16)
    assert half.token_ids.max() == 49407
    assert half(TASKS).dtype == torch.float32


def test_the_ids_are_not_part_of_a_checkpoint(task_token):
    assert sorted(task_token.state_dict()) == [
        'layers.0.bias',
        'layers.0.weight',
        'layers.1.bias',
        'layers.1.weight',
    ]


def test_an_unknown_task_is_refused(task_token):
    with pytest.raises(ValueError, match="'depth'.*panoptic"):
        task_token(['panoptic', 'depth'])
