"""What FSDP makes of a model, in one process; two are in test_processes."""

import copy

import pytest
import torch
from torch import distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType

from projects.oneformer.engine import ShardedModel
from projects.oneformer.engine.optim_constructor import FSDP_PREFIX
from tests.model_configs import build_model, data_sample, images, tiny_model


@pytest.fixture
def group(tmp_path):
    """A group of processes with this one alone."""
    distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.fixture
def model():
    return build_model(tiny_model()).train()


@pytest.fixture
def sharded(group, model):
    wrapper = ShardedModel(
        copy.deepcopy(model), min_layer_params=1, device_id='cpu'
    )
    FullyShardedDataParallel.set_state_dict_type(
        wrapper, StateDictType.FULL_STATE_DICT
    )
    return wrapper


def test_layers_of_the_decoder_are_gathered_one_at_a_time(sharded):
    wrapped = {
        type(part.module).__name__
        for part in sharded.modules()
        if isinstance(part, FullyShardedDataParallel)
    }
    assert {'SwinBlock', 'Mask2FormerTransformerDecoderLayer'} <= wrapped
    # Whose weights others read.
    assert not wrapped & {'Linear', 'Embedding', 'Conv2d'}


def test_without_a_size_the_model_is_gathered_at_once(group, model):
    wrapper = ShardedModel(model, device_id='cpu')
    assert [
        part
        for part in wrapper.modules()
        if isinstance(part, FullyShardedDataParallel)
    ] == [wrapper]


def test_a_checkpoint_of_a_sharded_model_is_that_of_the_model(model, sharded):
    state = sharded.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name
        # What has attributes is saved as an object.
        assert not vars(state[name]), name


def test_a_sharded_model_has_the_losses_and_gradients_of_the_model(
    model, sharded
):
    inputs = images(1, 64, 96), [data_sample(64, 96, [1, 4], 'panoptic')]
    for own in (model, sharded):
        torch.manual_seed(0)
        sum(own(*inputs, mode='loss').values()).backward()
    expected = dict(model.named_parameters())
    for name, param in sharded.named_parameters():
        name = name.replace(FSDP_PREFIX, '')
        torch.testing.assert_close(
            param.grad.flatten(), expected[name].grad.flatten(), msg=name
        )
    assert len(expected) == len(list(sharded.named_parameters()))


def test_scalars_are_whole_in_every_process(sharded):
    scale = sharded.module.panoptic_head.contrastive_loss.logit_scale
    assert isinstance(scale, nn.Parameter)
    assert scale.shape == ()
    assert sharded._whole == [scale]


def test_a_sharded_model_loads_a_checkpoint_of_the_model(sharded):
    other = build_model(tiny_model(), seed=1).state_dict()
    sharded.load_state_dict(other)
    for name, value in sharded.state_dict().items():
        assert torch.equal(value, other[name]), name
