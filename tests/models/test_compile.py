"""torch.compile sees backbone, pixel decoder and decoder as one graph each."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from torch._dynamo.testing import CompileCounter

from tests.model_configs import build_model, data_sample, images, tiny_model

SIZE = (64, 96)
ROUNDING = dict(atol=1e-4, rtol=1e-4)


def small_model(training: bool = False, **options):
    """Return a model with few layers: tracing each takes its time."""
    cfg = tiny_model(training=training, object_mask_thr=0.0)
    cfg.backbone.depths = (1, 1, 1, 1)
    head = cfg.panoptic_head
    head.pixel_decoder.encoder.num_layers = 1
    head.query_init.transformer.num_layers = 1
    head.transformer_decoder.num_layers = 1
    return build_model(dict(cfg, **options))


@pytest.fixture(autouse=True)
def fresh_compiler():
    """Forget what other tests have compiled."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@torch.no_grad()
def panoptic_scores(model, *tasks: str) -> torch.Tensor:
    cls_scores, _ = model(
        images(2, *SIZE),
        [data_sample(*SIZE, task=task) for task in tasks],
        'tensor',
    )
    return cls_scores[-1]


def test_three_graphs_without_a_break_serve_all_tasks():
    model = small_model()
    expected = panoptic_scores(model, 'panoptic', 'semantic')
    others = panoptic_scores(model, 'instance', 'panoptic')
    graphs = CompileCounter()
    model.compile_parts(backend=graphs, fullgraph=True)
    # Compiled, the lean layers leave the work to plain ones, which round
    # otherwise; the scores of another task are farther away.
    torch.testing.assert_close(
        panoptic_scores(model, 'panoptic', 'semantic'), expected, **ROUNDING
    )
    assert graphs.frame_count == 3
    # Tasks are data: another one is no reason to compile again.
    torch.testing.assert_close(
        panoptic_scores(model, 'instance', 'panoptic'), others, **ROUNDING
    )
    assert not others.allclose(
        expected, **{k: 10 * v for k, v in ROUNDING.items()}
    )
    assert graphs.frame_count == 3


def test_a_copy_of_a_compiled_model_uses_its_own_weights():
    graphs = CompileCounter()
    model = small_model(compile=dict(backend=graphs))
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for param in copied.panoptic_head.cls_embed.parameters():
            param.zero_()
    assert not panoptic_scores(copied, 'panoptic', 'panoptic').any()
    assert graphs.frame_count > 0


def test_the_names_of_weights_are_the_same():
    plain, compiled = small_model(), small_model(compile=True)
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def losses_and_gradients(model) -> tuple[dict, dict]:
    model.zero_grad()
    torch.manual_seed(0)
    samples = [
        data_sample(*SIZE, [1, 2, 1], 'panoptic'),
        data_sample(*SIZE, [0], 'semantic'),
    ]
    losses = model(images(2, *SIZE), samples, 'loss')
    sum(losses.values()).backward()
    return losses, {
        name: param.grad.clone() for name, param in model.named_parameters()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    'backend, with_cp',
    [('aot_eager', False), ('aot_eager', True), ('inductor', False)],
)
def test_losses_and_gradients_are_those_of_the_eager_model(backend, with_cp):
    model = small_model(training=True).train()
    losses, gradients = losses_and_gradients(model)
    head = model.panoptic_head
    for part in (head, head.pixel_decoder, head.query_init):
        part.with_cp = with_cp
    model.compile_parts(backend=backend, fullgraph=True)
    compiled, compiled_gradients = losses_and_gradients(model)
    for name, loss in losses.items():
        torch.testing.assert_close(compiled[name], loss, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            compiled_gradients[name],
            gradient,
            rtol=1e-3,
            atol=1e-3 * scale + 1e-6,
            msg=lambda text, name=name: f'{name}: {text}',
        )


BACKBONES = dict(
    resnet=dict(type='ResNet', depth=18, norm_eval=True),
    resnet_with_cp=dict(type='ResNet', depth=50, norm_eval=True, with_cp=True),
    swin_with_cp=dict(
        type='SwinTransformer',
        embed_dims=8,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 1, 1),
        window_size=4,
        drop_path_rate=0.1,
        with_cp=True,
    ),
    convnext=dict(
        type='mmpretrain.ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]),
        out_indices=[0, 1, 2, 3],
        gap_before_final_norm=False,
        drop_path_rate=0.1,
    ),
    dinat=dict(
        type='DiNAT',
        embed_dims=8,
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 4, 8),
        kernel_size=3,
        dilations=((1,), (1,), (1,), (1,)),
        mlp_ratio=2.0,
        drop_path_rate=0.1,
    ),
)


@pytest.mark.parametrize('name', BACKBONES)
def test_a_backbone_is_one_graph_in_training(name):
    backbone = MODELS.build(BACKBONES[name])
    backbone.train()  # which of some returns nothing
    graphs = CompileCounter()
    backbone.compile(backend=graphs, fullgraph=True)
    backbone(images(1, *SIZE))
    assert graphs.frame_count == 1
