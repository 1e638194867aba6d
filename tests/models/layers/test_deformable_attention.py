"""Deformable attention: its points, and which code computes it."""

import functools
import logging
import sys
from types import SimpleNamespace

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention

from projects.oneformer.models import DeformableAttention
from projects.oneformer.models.layers import backends, deformable_backends
from projects.oneformer.models.layers.backends import Conditions
from projects.oneformer.models.layers.deformable_backends import (
    BACKENDS,
    check_triton,
    select_backend,
    triton_deviation,
)
from projects.oneformer.models.layers.deformable_sampling import (
    Levels,
    sample_rows,
)
from tests.deformable_oracle import formula

WIDTH, HEADS, POINTS = 8, 2, 3
SIZES = ((2, 3), (4, 5))  # height, width per level
LENGTH = sum(h * w for h, w in SIZES)


def make_attention(backend: str = 'auto') -> DeformableAttention:
    torch.manual_seed(0)
    module = DeformableAttention(
        backend=backend,
        embed_dims=WIDTH,
        num_heads=HEADS,
        num_levels=len(SIZES),
        num_points=POINTS,
        dropout=0.0,
        batch_first=True,
    )
    for param in module.parameters():
        torch.nn.init.normal_(param, std=0.5)
    return module


def make_inputs(batch: int = 2) -> dict:
    x = torch.randn(batch, LENGTH, WIDTH)
    return dict(
        query=x,
        key=None,
        value=x,
        query_pos=torch.randn(batch, LENGTH, WIDTH),
        key_pos=None,
        key_padding_mask=None,
        reference_points=torch.rand(batch, LENGTH, len(SIZES), 2),
        levels=Levels.of(SIZES, 'cpu'),
    )


@pytest.fixture
def messages(monkeypatch) -> list[tuple[str, int]]:
    """Level and text of what is logged, as in a process that just began."""
    logged = []

    def log(message, logger, level=logging.INFO):
        logged.append((level, message))

    monkeypatch.setattr(backends, 'print_log', log)
    monkeypatch.setattr(deformable_backends, 'print_log', log)
    monkeypatch.setattr(BACKENDS, '_chosen', {})
    monkeypatch.setattr(
        deformable_backends,
        'check_triton',
        functools.cache(check_triton.__wrapped__),
    )
    return logged


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@torch.no_grad()
def test_each_query_sums_what_it_samples_around_its_reference():
    attention, inputs = make_attention(), make_inputs()
    x = inputs['query']
    asked = x + inputs['query_pos']
    offsets = attention.sampling_offsets(asked)
    offsets = offsets.view(2, LENGTH, HEADS, len(SIZES), POINTS, 2)
    weights = attention.attention_weights(asked)
    weights = weights.view(2, LENGTH, HEADS, -1).softmax(-1)
    for level, (height, width) in enumerate(SIZES):
        offsets[:, :, :, level] /= torch.tensor([width, height])
    sampled = formula(
        attention.value_proj(x).view(2, LENGTH, HEADS, -1),
        SIZES,
        inputs['reference_points'][:, :, None, :, None] + offsets,
        weights.view(offsets.shape[:-1]),
    )
    expected = x + attention.output_proj(sampled)
    torch.testing.assert_close(
        attention(**inputs), expected, atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize('backend', ['auto', 'pytorch', 'grid_sample'])
def test_it_agrees_with_the_module_of_mmcv(backend):
    attention, inputs = make_attention(backend), make_inputs()
    found = attention(**inputs)
    levels = inputs.pop('levels')
    expected = MultiScaleDeformableAttention.forward(
        attention,
        **inputs,
        spatial_shapes=levels.shapes,
        level_start_index=levels.starts,
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_reference_for_all_images_and_levels_is_enough():
    attention, inputs = make_attention(), make_inputs()
    shared = inputs['reference_points'][:1, :, :1].clone()
    inputs['reference_points'] = shared.expand(2, -1, len(SIZES), -1)
    expected = attention(**inputs)
    inputs['reference_points'] = shared
    torch.testing.assert_close(
        attention(**inputs), expected, atol=1e-5, rtol=1e-5
    )


def test_parameters_are_those_of_the_module_of_mmcv():
    theirs = MultiScaleDeformableAttention(
        WIDTH, HEADS, num_levels=len(SIZES), num_points=POINTS
    )
    theirs.load_state_dict(make_attention().state_dict(), strict=True)


def test_points_stay_float32_under_autocast(monkeypatch):
    attention, inputs = make_attention(), make_inputs()
    seen = []
    monkeypatch.setattr(
        attention,
        'sample',
        lambda *args: seen.extend(args) or torch.zeros(2, LENGTH, WIDTH),
    )
    with torch.autocast('cpu', torch.bfloat16):
        attention(**inputs)
    values, _, locations, weights = seen
    assert values.dtype == torch.bfloat16
    assert locations.dtype == weights.dtype == torch.float32


@pytest.mark.parametrize(
    'device, dtype, compiled, triton, backend, reason',
    [
        ('cpu', torch.float32, True, None, 'pytorch', 'embedding_bag'),
        ('mps', torch.float32, True, None, 'grid_sample', 'grid_sample'),
        ('cuda', torch.float32, True, 'no', 'mmcv', 'compiled op'),
        ('cuda', torch.float64, True, 'no', 'mmcv', 'compiled op'),
        ('cuda', torch.float32, False, None, 'triton', 'without compiled'),
        ('cuda', torch.bfloat16, True, None, 'triton', 'bfloat16'),
        ('cuda', torch.float16, True, 'no', 'grid_sample', 'float16; no'),
        ('cuda', torch.float64, False, None, 'grid_sample', 'float64'),
    ],
)
def test_the_first_backend_that_can_is_taken(
    monkeypatch, device, dtype, compiled, triton, backend, reason
):
    pytest.importorskip('triton', reason='needs Triton, which is for Linux')
    monkeypatch.setattr(
        deformable_backends, 'has_compiled_ops', lambda: compiled
    )
    monkeypatch.setattr(
        deformable_backends, 'check_triton', lambda dtype: triton
    )
    chosen, why = select_backend(device, dtype)
    assert chosen == backend
    assert reason in why


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_deterministic_mode_takes_what_sums_in_a_fixed_order(
    monkeypatch, deterministic, device
):
    monkeypatch.setattr(deformable_backends, 'has_compiled_ops', lambda: True)
    backend, reason = select_backend(device)
    assert backend == 'pytorch'
    if device == 'cuda':
        assert 'grid_sample adds gradients in no fixed order' in reason


def test_a_change_of_mode_changes_the_choice(monkeypatch, messages):
    monkeypatch.setattr(deformable_backends, 'has_compiled_ops', lambda: True)
    choose = functools.partial(
        BACKENDS.choose, 'auto', 'cuda', torch.float32, False
    )
    assert choose() == 'mmcv'
    torch.use_deterministic_algorithms(True)
    try:
        assert choose() == 'pytorch'
    finally:
        torch.use_deterministic_algorithms(False)
    assert choose() == 'mmcv'
    assert len(messages) == 2


def test_an_export_to_onnx_takes_what_onnx_has(monkeypatch):
    monkeypatch.setattr(torch.onnx, 'is_in_onnx_export', lambda: True)
    assert select_backend('cpu')[0] == 'grid_sample'


def test_the_compiler_gets_what_it_can_trace(monkeypatch, messages):
    monkeypatch.setattr(deformable_backends, 'has_compiled_ops', lambda: True)
    monkeypatch.setattr(
        deformable_backends, 'check_triton', lambda dtype: 'no'
    )
    backend, reason = select_backend('cuda', compiling=True)
    assert backend == 'grid_sample'
    assert 'torch.compile cannot trace' in reason
    asked = []
    monkeypatch.setattr(
        BACKENDS,
        'select',
        lambda *args: asked.append(args) or ('pytorch', 'why'),
    )
    torch.compiler.reset()
    attention, inputs = make_attention(), make_inputs()
    expected = attention(**inputs)
    compiled = torch.compile(attention, fullgraph=True, backend='eager')
    torch.testing.assert_close(compiled(**inputs), expected)
    assert asked == [
        ('auto', Conditions('cpu', torch.float32, compiling=False)),
        ('auto', Conditions('cpu', torch.float32, compiling=True)),
    ]
    assert len(messages) == 2


def test_an_operation_count_sees_the_sampling():
    attention, levels = make_attention(), Levels.of(SIZES, 'cpu')

    class Sampling(torch.nn.Module):
        def forward(self, value, locations, weights):
            return attention.sample(value, levels, locations, weights)

    shape = (1, LENGTH, HEADS, len(SIZES), POINTS)
    graph = torch.jit.trace(
        Sampling(),
        (
            torch.randn(1, LENGTH, HEADS, WIDTH // HEADS),
            torch.rand(*shape, 2),
            torch.rand(shape),
        ),
    ).inlined_graph
    assert 'aten::grid_sampler' in str(graph)


def test_without_triton_pytorch_computes_on_a_gpu(monkeypatch):
    monkeypatch.setattr(deformable_backends, 'has_compiled_ops', lambda: False)
    monkeypatch.setattr(
        deformable_backends.importlib.util, 'find_spec', lambda name: None
    )
    backend, reason = select_backend('cuda')
    assert backend == 'grid_sample'
    assert reason.endswith('Triton is not installed')


@pytest.mark.parametrize('backend', ['mmcv', 'triton'])
def test_a_backend_that_cannot_run_here_is_refused(backend):
    with pytest.raises(ValueError, match=f'cannot run on {backend}.*cpu'):
        make_attention(backend)(**make_inputs())


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="no backend 'cuda'"):
        make_attention('cuda')
    with pytest.raises(ValueError, match="no backend 'cuda'.*grid_sample"):
        select_backend('cpu', wanted='cuda')


def test_the_choice_is_logged_once(messages):
    attention = make_attention()
    for _ in range(3):
        attention(**make_inputs())
    ((level, message),) = messages
    assert level == logging.INFO
    assert 'runs on pytorch' in message
    assert 'torch.float32 on cpu' in message


@pytest.mark.parametrize(
    'deviation, problem',
    [(1e-6, None), (0.5, 'off by 5.0e-01'), (float('nan'), 'off by nan')],
)
def test_triton_is_used_only_if_it_gives_what_pytorch_gives(
    monkeypatch, messages, deviation, problem
):
    monkeypatch.setattr(
        deformable_backends, 'triton_deviation', lambda *_: deviation
    )
    for _ in range(2):
        found = deformable_backends.check_triton(torch.float32)
        assert (found is None) == (problem is None)
    if problem is None:
        assert not messages
    else:
        assert problem in found
        ((level, message),) = messages  # for two calls
        assert level == logging.WARNING
        assert problem in message


def test_triton_is_not_used_if_it_does_not_compile(monkeypatch, messages):
    def fail(*_):
        raise RuntimeError('no such GPU\nand much more')

    monkeypatch.setattr(deformable_backends, 'triton_deviation', fail)
    found = deformable_backends.check_triton(torch.float32)
    assert found == 'the Triton kernels fail: RuntimeError: no such GPU'
    assert messages[0][0] == logging.WARNING


@pytest.mark.parametrize('factor', [1.0, 1.1])
@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_the_check_of_triton_tells_right_from_wrong(
    monkeypatch, dtype, factor
):
    monkeypatch.setitem(
        sys.modules,
        'projects.oneformer.models.layers.deformable_triton',
        SimpleNamespace(
            sample_triton=lambda value, levels, locations, weights: (
                sample_rows(value, levels, locations, weights * factor)
            )
        ),
    )
    with torch.inference_mode():
        deviation = triton_deviation(dtype, 'cpu')
    good = deviation <= deformable_backends.TOLERANCES[dtype]
    assert good == (factor == 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('backend', ['mmcv', 'triton', 'pytorch', 'auto'])
def test_backends_agree_on_a_gpu(backend):
    if backend == 'mmcv' and not deformable_backends.has_compiled_ops():
        pytest.skip('needs the compiled ops of mmcv')
    if backend == 'triton' and check_triton(torch.float32):
        pytest.skip(check_triton(torch.float32))
    inputs = make_inputs()
    inputs.pop('levels')
    levels = Levels.of(SIZES, 'cuda')
    inputs = {k: v if v is None else v.cuda() for k, v in inputs.items()}
    found = make_attention(backend).cuda()(**inputs, levels=levels)
    expected = make_attention('grid_sample').cuda()(**inputs, levels=levels)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
