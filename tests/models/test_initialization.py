"""Initial weights follow the published scheme, in the model as shipped."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine import Config
from torch import Tensor, nn

from projects.oneformer.models import OneFormer
from tests.model_configs import build_model, tiny_model

MODEL = Path(__file__).parents[2] / 'configs/_base_/models/oneformer_r50.py'


@pytest.fixture(scope='module')
def model() -> OneFormer:
    cfg = Config.fromfile(MODEL).model
    cfg.backbone.init_cfg = None
    cfg.metainfo = dict(classes=[str(i) for i in range(133)], thing_classes=[])
    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model.requires_grad_(False)


@pytest.fixture(scope='module')
def head(model):
    return model.panoptic_head


def assert_uniform(weight: Tensor, bound: float) -> None:
    """Check that a matrix is drawn evenly from -bound to bound."""
    assert weight.numel() > 500
    assert float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert float(weight.abs().max()) > 0.98 * bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert abs(float(weight.mean())) < 0.1 * bound


def assert_normal(weight: Tensor, std: float) -> None:
    """Check that a tensor is drawn from a normal distribution around 0."""
    rel = max(0.03, 4 / math.sqrt(2 * weight.numel()))
    assert float(weight.std()) == pytest.approx(std, rel=rel)
    assert abs(float(weight.mean())) < 4 * std / math.sqrt(weight.numel())
    # Beyond what a uniform distribution of that width would reach.
    assert float(weight.abs().max()) > 2 * std


def xavier(weight: Tensor) -> float:
    """Return the bound of xavier-uniform weights."""
    fan = weight[0].numel() + weight.numel() // weight.shape[1]
    return math.sqrt(6 / fan)


def default(weight: Tensor) -> float:
    """Return the bound of PyTorch's own linear layers and their biases."""
    return 1 / math.sqrt(weight.shape[1])


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    return [m for m in module.modules() if isinstance(m, nn.Linear)]


def test_input_projections_are_xavier_uniform_with_zero_bias(head):
    for module in head.pixel_decoder.input_convs:
        assert_uniform(module.conv.weight, xavier(module.conv.weight))
        assert not module.conv.bias.any()


def test_other_convolutions_are_caffe2_xavier_with_zero_bias(head):
    decoder = head.pixel_decoder
    for conv in (
        decoder.lateral_convs[0].conv,
        decoder.output_convs[0].conv,
        decoder.mask_feature,
        head.query_init.input_proj,
    ):
        assert_uniform(conv.weight, math.sqrt(3 / conv.weight[0].numel()))
        assert conv.bias is None or not conv.bias.any()


def test_the_norms_start_at_identity(head):
    norms = [
        module
        for module in head.modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm))
    ]
    # Pixel decoder, query transformer, decoder and text encoder.
    assert len(norms) == (5 + 6 * 2) + (2 * 3 + 1) + (9 * 3 + 1) + 13
    for norm in norms:
        assert norm.eps == 1e-5
        assert (norm.weight == 1).all() and not norm.bias.any()
        if isinstance(norm, nn.GroupNorm):
            assert norm.num_groups == 32


def test_deformable_attention_starts_with_eight_directions(head):
    directions = torch.tensor(
        [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]]
    ).float()  # (heads, 2)
    steps = torch.arange(1, 5).float()
    expected = directions[:, None, None] * steps[None, None, :, None]
    expected = expected.expand(8, 3, 4, 2)  # heads, levels, points, (x, y)
    for layer in head.pixel_decoder.encoder.layers:
        attention = layer.self_attn
        assert not attention.sampling_offsets.weight.any()
        torch.testing.assert_close(
            attention.sampling_offsets.bias.view(8, 3, 4, 2),
            expected,
            atol=1e-5,
            rtol=0,
        )
        for zero in attention.attention_weights.parameters():
            assert not zero.any()
        for proj in (attention.value_proj, attention.output_proj):
            assert_uniform(proj.weight, xavier(proj.weight))
            assert not proj.bias.any()


def test_feed_forward_networks_are_xavier_uniform_with_default_biases(head):
    layers = (
        *head.pixel_decoder.encoder.layers,
        *head.query_init.transformer.layers,
        *head.decoder.layers,
    )
    assert len(layers) == 6 + 2 + 9
    for layer in layers:
        first, second = linear_layers(layer.ffn)
        assert first.out_features == (1024 if layer in layers[:6] else 2048)
        for linear in (first, second):
            assert_uniform(linear.weight, xavier(linear.weight))
            assert linear.bias.abs().max() <= default(linear.weight)
            assert linear.bias.std() > 0.5 * default(linear.weight)


def test_attention_is_xavier_uniform_with_zero_biases(head):
    attentions = [
        module
        for part in (head.query_init, head.decoder)
        for module in part.modules()
        if isinstance(module, nn.MultiheadAttention)
    ]
    assert len(attentions) == 2 * (2 + 9)
    for attention in attentions:
        # The three projections count as one matrix.
        assert_uniform(attention.in_proj_weight, math.sqrt(6 / (768 + 256)))
        assert_uniform(attention.out_proj.weight, math.sqrt(6 / (256 + 256)))
        assert not attention.in_proj_bias.any()
        assert not attention.out_proj.bias.any()


def test_small_networks_keep_the_initial_weights_of_pytorch(head):
    layers = (
        head.cls_embed,
        *linear_layers(head.mask_embed),
        *head.task_token.layers,
        *head.text_mapper.projector,
    )
    assert len(layers) == 1 + 3 + 2 + 2
    for layer in layers:
        assert_uniform(layer.weight, default(layer.weight))
        assert 0 < layer.bias.abs().max() <= default(layer.weight)


def test_embeddings_are_standard_normal(head):
    for embedding, shape in (
        (head.query_embed, (150, 256)),
        (head.level_embed, (3, 256)),
        (head.pixel_decoder.level_encoding, (3, 256)),
        (head.text_mapper.context, (16, 256)),
    ):
        assert tuple(embedding.weight.shape) == shape
        assert_normal(embedding.weight, 1.0)


def test_the_text_encoder_starts_as_in_clip(head):
    encoder = head.text_mapper.encoder
    assert tuple(encoder.token_embedding.weight.shape) == (49408, 256)
    assert_normal(encoder.token_embedding.weight, 0.02)
    assert tuple(encoder.positional_embedding.shape) == (77, 256)
    assert_normal(encoder.positional_embedding, 0.01)
    assert len(encoder.layers) == 6
    for layer in encoder.layers:
        assert layer.attn.num_heads == 4
        assert_normal(layer.attn.in_proj_weight, 0.0625)
        assert_normal(layer.attn.out_proj.weight, 0.018042)
        assert_normal(layer.fc1.weight, 0.044194)
        assert_normal(layer.fc2.weight, 0.018042)
        assert not layer.attn.in_proj_bias.any()
        assert not layer.attn.out_proj.bias.any()
        assert 0 < layer.fc1.bias.abs().max() <= default(layer.fc1.weight)


def test_the_logit_scale_starts_at_the_logarithm_of_the_scale(head):
    scale = float(head.contrastive_loss.logit_scale.detach())
    assert scale == pytest.approx(math.log(1 / 0.07))


def test_dropout_is_a_tenth_in_the_pixel_decoder_and_the_query_transformer(
    head,
):
    for layer in head.pixel_decoder.encoder.layers:
        assert layer.self_attn.dropout.p == 0.1
        assert dropouts(layer.ffn) == [0.1, 0.1]
    for layer in head.query_init.transformer.layers:
        for attention in (layer.self_attn, layer.cross_attn):
            assert attention.attn.dropout == 0.1
            assert attention.dropout_layer.p == 0.1
        assert dropouts(layer.ffn) == [0.1, 0.1]


def test_the_decoder_and_the_text_branch_do_without_dropout(head):
    for part in (head.decoder, head.text_mapper, head.task_token):
        assert not any(dropouts(part))
        for module in part.modules():
            if isinstance(module, nn.MultiheadAttention):
                assert module.dropout == 0


def dropouts(module: nn.Module) -> list[float]:
    """Return the rates of all dropout layers, those of paths included."""
    rates = []
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            rates.append(part.p)
        elif hasattr(part, 'drop_prob'):
            rates.append(part.drop_prob)
    return rates


@pytest.mark.parametrize('fits', [True, False])
def test_initial_weights_of_another_backbone_are_refused(tmp_path, fits):
    cfg = tiny_model()
    model = build_model(cfg)
    weights = model.backbone.state_dict()
    # As a detector of mmdet names them.
    named = {f'backbone.{name}': value for name, value in weights.items()}
    if not fits:
        named = {'backbone.conv1.weight': torch.ones(1)}
    torch.save(named, tmp_path / 'swin.pth')
    cfg.backbone.convert_weights = False
    cfg.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'swin.pth')
    )
    model = MODELS.build(cfg)
    if fits:
        model.init_weights()
        name = 'stages.0.blocks.0.ffn.layers.1.weight'
        assert model.backbone.state_dict()[name].equal(weights[name])
        model.init_weights()  # has no effect any more, and no complaint
    else:
        with pytest.raises(ValueError, match=r'swin\.pth left \d+ of \d+'):
            model.init_weights()
