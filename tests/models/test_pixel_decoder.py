"""The pixel decoder: mmdet's numbers, float32 whatever the autocast."""

import copy

import pytest
import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from mmengine import ConfigDict
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from projects.oneformer.models import (
    DeformableAttention,
    OneFormerPixelDecoder,
)
from projects.oneformer.models.pixel_decoder import make_geometry
from tests.model_configs import WIDTH, randomise, tiny_model

CHANNELS = (16, 32, 64, 128)


class Operators(TorchDispatchMode):
    """Writes down which operators run."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def config(**options) -> ConfigDict:
    plain = copy.deepcopy(tiny_model().panoptic_head.pixel_decoder)
    plain.update(in_channels=CHANNELS, feat_channels=WIDTH, out_channels=WIDTH)
    return ConfigDict(dict(plain, **options))


def build(**options) -> OneFormerPixelDecoder:
    torch.manual_seed(0)
    module = MODELS.build(config(**options))
    randomise(module)
    return module.eval()


@pytest.fixture
def pixel_decoder() -> OneFormerPixelDecoder:
    return build()


def make_feats(batch: int = 2, height: int = 64, width: int = 96) -> list:
    return [
        torch.randn(batch, channels, height // stride, width // stride)
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def flattened(output: tuple[Tensor, list[Tensor]]) -> list[Tensor]:
    mask_features, memories = output
    return [mask_features, *memories]


@torch.no_grad()
def test_maps_come_from_coarse_to_fine(pixel_decoder):
    maps = flattened(pixel_decoder(make_feats()))
    assert [tuple(level.shape) for level in maps] == [
        (2, WIDTH, 16, 24),
        (2, WIDTH, 2, 3),
        (2, WIDTH, 4, 6),
        (2, WIDTH, 8, 12),
    ]


@torch.no_grad()
def test_autocast_changes_nothing(pixel_decoder):
    feats = make_feats()
    expected = flattened(pixel_decoder(feats))
    with torch.autocast('cpu', torch.bfloat16):
        maps = flattened(pixel_decoder(feats))
    for level, level_expected in zip(maps, expected, strict=True):
        assert level.dtype == torch.float32
        assert level.equal(level_expected)


@torch.no_grad()
def test_half_precision_features_are_decoded_in_float32(pixel_decoder):
    feats = [feat.bfloat16() for feat in make_feats()]
    expected = flattened(pixel_decoder([feat.float() for feat in feats]))
    with torch.autocast('cpu', torch.bfloat16):
        maps = flattened(pixel_decoder(feats))
    for level, level_expected in zip(maps, expected, strict=True):
        assert level.equal(level_expected)


def test_every_layer_has_our_attention_with_its_dropout():
    cfg = tiny_model(dropout=0.1).panoptic_head.pixel_decoder
    cfg = ConfigDict(cfg, in_channels=CHANNELS, feat_channels=WIDTH)
    module = MODELS.build(cfg)
    for layer in module.encoder.layers:
        assert type(layer.self_attn) is DeformableAttention
        assert layer.self_attn.dropout.p == 0.1


def test_all_parameters_learn_from_all_maps(pixel_decoder):
    maps = flattened(pixel_decoder(make_feats()))
    sum((level * torch.randn_like(level)).sum() for level in maps).backward()
    for name, param in pixel_decoder.named_parameters():
        assert param.grad.any(), name


@torch.no_grad()
def test_it_agrees_with_the_pixel_decoder_of_mmdet(pixel_decoder):
    cfg = config()
    del cfg['type']
    theirs = MSDeformAttnPixelDecoder(**cfg).eval()
    theirs.load_state_dict(pixel_decoder.state_dict(), strict=True)
    feats = make_feats()
    for level, expected in zip(
        flattened(pixel_decoder(feats)), flattened(theirs(feats)), strict=True
    ):
        torch.testing.assert_close(level, expected, atol=1e-5, rtol=1e-5)


def test_another_positional_encoding_is_refused():
    own = dict(num_feats=WIDTH // 2, normalize=True)
    build(positional_encoding=own)
    build(positional_encoding=None)
    with pytest.raises(ValueError, match=f'num_feats.*{WIDTH // 2}.*got'):
        build(positional_encoding=dict(own, normalize=False))


def test_the_backend_of_the_attention_is_an_option():
    module = build(attention_backend='grid_sample')
    for layer in module.encoder.layers:
        assert layer.self_attn.backend == 'grid_sample'
    with pytest.raises(ValueError, match="no backend 'fastest'"):
        build(attention_backend='fastest')


def test_it_never_waits_for_the_device(pixel_decoder):
    feats = [feat.requires_grad_() for feat in make_feats()]
    pixel_decoder(feats)  # computes what is stored for these sizes
    with Operators() as operators:
        maps = flattened(pixel_decoder(feats))
        sum(level.sum() for level in maps).backward()
    assert 'convolution' in operators.names
    assert 'convolution_backward' in operators.names
    assert not operators.names & {
        '_local_scalar_dense',
        'nonzero',
        'masked_select',
        'equal',
        # What comes from Python's numbers is kept.
        'lift_fresh',
        'sin',
        'cos',
    }


def test_every_token_refers_to_its_own_centre():
    geometry = make_geometry(((1, 2), (2, 1)), WIDTH, torch.device('cpu'))
    assert geometry.reference_points.shape == (1, 4, 1, 2)
    assert geometry.reference_points.flatten(0, 2).tolist() == [
        [0.25, 0.5],
        [0.75, 0.5],
        [0.5, 0.25],
        [0.5, 0.75],
    ]
    assert geometry.positions.shape == (1, 4, WIDTH)


def test_it_trains_on_a_size_that_it_predicted_before(pixel_decoder):
    feats = make_feats()
    with torch.inference_mode():
        pixel_decoder(feats)
    maps = flattened(pixel_decoder(feats))
    sum(level.sum() for level in maps).backward()
    assert pixel_decoder.level_encoding.weight.grad.any()


@pytest.mark.parametrize(
    'training, backend, sizes',
    [
        # For the second size, sizes become variables of the graph.
        (False, 'eager', ((64, 96), (96, 64))),
        pytest.param(True, 'aot_eager', ((64, 96),), marks=pytest.mark.slow),
    ],
)
def test_the_compiler_traces_it_as_one_graph(training, backend, sizes):
    cfg = config()
    cfg.encoder.num_layers = 1
    module = MODELS.build(cfg).train(training)
    randomise(module)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    params = list(module.parameters()) if training else []
    for height, width in sizes:
        feats = make_feats(1, height, width)
        results = []
        with torch.set_grad_enabled(training):
            for run in (compiled, module):
                maps = flattened(run(feats))
                total = sum((level**2).mean() for level in maps)
                grads = torch.autograd.grad(total, params) if training else ()
                results.append([*maps, *grads])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('training', [False, True])
def test_it_never_waits_for_a_gpu(pixel_decoder, training):
    pixel_decoder.cuda()
    feats = [feat.cuda() for feat in make_feats()]
    pixel_decoder(feats)  # computes what is stored for these sizes
    torch.cuda.set_sync_debug_mode('error')
    try:
        with torch.set_grad_enabled(training):
            total = sum(x.sum() for x in flattened(pixel_decoder(feats)))
            if training:
                total.backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert total.isfinite()
