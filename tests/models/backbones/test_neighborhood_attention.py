"""Neighborhood attention: two backends against the definition."""

import logging
import sys
import types

import pytest
import torch
from mmengine.logging import MMLogger
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from projects.oneformer.models.backbones import neighborhood_attention as na
from projects.oneformer.models.layers.backends import Conditions
from tests.models.backbones import neighborhoods as oracle

# Of the recipes: kernel 11 on ADE20K, COCO and Mapillary, 7 on Cityscapes.
DILATIONS = {
    11: (1, 2, 3, 4, 5, 7, 10, 14, 20, 28),
    7: (1, 2, 3, 4, 5, 9, 18),
}
KERNEL_AND_DILATION = [(k, d) for k, ds in DILATIONS.items() for d in ds]


def make_inputs(
    queries: tuple[int, int],
    keys: tuple[int, int],
    kernel_size: int,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Return query, key, value and bias of 2 images and 2 heads."""
    side = 2 * kernel_size - 1
    shapes = (2, *queries, 2, 4), (2, *keys, 2, 4), (2, *keys, 2, 4)
    inputs = [torch.randn(shape) for shape in (*shapes, (2, side, side))]
    return [tensor.to(dtype).requires_grad_() for tensor in inputs]


def map_sizes(kernel_size: int, dilation: int) -> list[tuple]:
    """Return sizes of queries and keys: one pixel, odd, and unpadded."""
    needed = kernel_size * dilation
    sizes = [((1, 1), (needed, needed))]
    sizes.append(((5, min(23, needed)), (needed, needed)))
    if needed < 40:
        odd = needed + dilation + 1, needed + 2 * dilation - 1
        sizes.append((odd, odd))
    return sizes


def forget_natten():
    na._find_natten.cache_clear()
    na.BACKENDS._chosen.clear()


def select(name: str, device_type: str) -> tuple[str, str]:
    return na.BACKENDS.select(name, Conditions(device_type))


@pytest.fixture
def install_natten(monkeypatch):
    """Return what puts functions in the place of natten's."""

    def install(**functions) -> None:
        package = types.ModuleType('natten')
        package.functional = types.ModuleType('natten.functional')
        vars(package.functional).update(functions)
        monkeypatch.setitem(sys.modules, 'natten', package)
        monkeypatch.setitem(
            sys.modules, 'natten.functional', package.functional
        )
        forget_natten()

    yield install
    forget_natten()


@pytest.fixture
def no_natten(monkeypatch):
    monkeypatch.setitem(sys.modules, 'natten', None)
    monkeypatch.setitem(sys.modules, 'natten.functional', None)
    forget_natten()
    yield
    forget_natten()


def na2d_qk(
    query,
    key,
    kernel_size,
    dilation=1,
    additional_keys=None,
    is_causal=False,
    rpb=None,
):
    """As in natten 0.17 to 0.19, which refuse maps that are too small."""
    assert query.shape == key.shape
    assert min(key.shape[2:4]) >= kernel_size * dilation
    assert query.is_contiguous() and key.is_contiguous()
    return oracle.logits(query, key, rpb, kernel_size, dilation)


def na2d_av(
    attn,
    value,
    kernel_size,
    dilation=1,
    additional_values=None,
    is_causal=False,
):
    """As in natten 0.17 to 0.19."""
    assert attn.dtype == value.dtype
    return oracle.gather(attn, value, kernel_size, dilation)


def natten2dqkrpb(query, key, rpb, kernel_size, dilation):
    """As in natten before 0.17.5."""
    return na2d_qk(query, key, kernel_size, dilation, rpb=rpb)


def natten2dav(attn, value, kernel_size, dilation):
    """As in natten before 0.17.5."""
    return na2d_av(attn, value, kernel_size, dilation)


@pytest.mark.parametrize(('kernel_size', 'dilation'), KERNEL_AND_DILATION)
def test_windows_of_all_lengths_are_those_of_the_definition(
    kernel_size, dilation
):
    for length in range(
        kernel_size * dilation, kernel_size * dilation + 2 * dilation + 20
    ):
        keys, rows = oracle.axis_indices(length, length, kernel_size, dilation)
        for part in na.split_remainders(length, length, dilation):
            for tile in na.split_axis(
                part.num_queries, part.num_keys, kernel_size
            ):
                relative, within = na.relative_rows(tile.windows, kernel_size)
                for remainder in range(
                    part.remainders.start, part.remainders.stop
                ):
                    asked = torch.arange(tile.queries.start, tile.queries.stop)
                    seen = torch.arange(tile.keys.start, tile.keys.stop)
                    asked = asked * dilation + remainder
                    seen = (seen * dilation + remainder).expand_as(within)
                    shape = len(asked), kernel_size
                    assert (seen[within].view(shape) == keys[asked]).all()
                    assert (relative[within].view(shape) == rows[asked]).all()


@pytest.mark.parametrize(('kernel_size', 'dilation'), KERNEL_AND_DILATION)
def test_pytorch_is_the_definition_forward_and_backward(kernel_size, dilation):
    for queries, keys in map_sizes(kernel_size, dilation):
        inputs = make_inputs(queries, keys, kernel_size)
        found = na.neighborhood_attention(
            *inputs, kernel_size, dilation, 'pytorch'
        )
        expected = oracle.attend(*inputs, kernel_size, dilation)
        torch.testing.assert_close(found, expected)
        direction = torch.randn_like(found)
        torch.testing.assert_close(
            torch.autograd.grad(found, inputs, direction),
            torch.autograd.grad(expected, inputs, direction),
        )


@pytest.mark.parametrize(
    ('size', 'kernel_size', 'dilation'),
    [((41, 17), 11, 1), ((26, 33), 7, 1), ((36, 19), 3, 2), ((5, 1), 1, 1)],
)
def test_a_map_of_several_tiles_is_the_definition(size, kernel_size, dilation):
    inputs = make_inputs(size, size, kernel_size)
    torch.testing.assert_close(
        na.neighborhood_attention(*inputs, kernel_size, dilation, 'pytorch'),
        oracle.attend(*inputs, kernel_size, dilation),
    )


def test_training_goes_on_after_inference_mode():
    na._tile_places.cache_clear()
    inputs = make_inputs((9, 9), (9, 9), 3)
    with torch.inference_mode():
        expected = na.neighborhood_attention(*inputs, 3)
    found = na.neighborhood_attention(*inputs, 3)
    torch.testing.assert_close(found.detach(), expected.clone())
    found.sum().backward()
    assert all(tensor.grad is not None for tensor in inputs)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [(torch.float32, 3e-6), (torch.bfloat16, 0.04)]
)
@pytest.mark.parametrize('size', [(37, 23), (11, 60)])
def test_lower_precision_comes_close_forward_and_backward(
    dtype, tolerance, size
):
    inputs = make_inputs(size, size, 11, dtype)
    # Exactly the same numbers, in double precision.
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    found = na.neighborhood_attention(*inputs, 11, 1, 'pytorch')
    expected = oracle.attend(*exact, 11, 1)
    direction = torch.randn_like(found)
    grads = torch.autograd.grad(found, inputs, direction)
    exact_grads = torch.autograd.grad(expected, exact, direction.double())
    for ours, theirs in zip(
        (found, *grads), (expected, *exact_grads), strict=True
    ):
        assert ours.dtype == dtype
        scale = theirs.abs().max()
        assert (ours - theirs).abs().max() <= tolerance * scale


@pytest.mark.parametrize(
    'functions',
    [
        dict(na2d_qk=na2d_qk, na2d_av=na2d_av),
        dict(natten2dqkrpb=natten2dqkrpb, natten2dav=natten2dav),
    ],
)
@pytest.mark.parametrize(
    ('queries', 'keys', 'kernel_size', 'dilation'),
    [((2, 3), (15, 15), 5, 3), ((12, 9), (12, 9), 7, 1)],
)
def test_natten_is_called_so_that_it_gives_the_definition(
    install_natten, functions, queries, keys, kernel_size, dilation
):
    install_natten(**functions)
    inputs = make_inputs(queries, keys, kernel_size)
    found = na.neighborhood_attention(*inputs, kernel_size, dilation, 'natten')
    expected = oracle.attend(*inputs, kernel_size, dilation)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
    )


def test_auto_takes_natten_on_a_gpu_only(install_natten):
    install_natten(na2d_qk=na2d_qk, na2d_av=na2d_av)
    assert select('auto', 'cuda')[0] == 'natten'
    assert select('auto', 'cpu')[0] == 'pytorch'
    assert select('auto', 'mps')[0] == 'pytorch'


def test_auto_takes_pytorch_where_natten_is_missing(no_natten):
    assert select('auto', 'cuda') == (
        'pytorch',
        "PyTorch's attention, tile by tile; natten is not installed",
    )


def without_bias(query, key, kernel_size, dilation=1, stride=1):
    raise AssertionError('not to be called')


def without_kernel_size(query, key, rpb, dilation):
    raise AssertionError('not to be called')


@pytest.mark.parametrize(
    'functions',
    [
        dict(na2d=without_bias),
        dict(na2d_qk=without_bias, na2d_av=na2d_av),
        dict(natten2dqkrpb=without_kernel_size, natten2dav=natten2dav),
    ],
)
def test_a_natten_without_position_bias_is_not_used(install_natten, functions):
    install_natten(**functions)
    assert select('auto', 'cuda')[0] == 'pytorch'
    with pytest.raises(ValueError, match='no relative position bias'):
        select('natten', 'cuda')


def test_natten_asked_for_but_not_installed_says_what_to_do(no_natten):
    with pytest.raises(ValueError, match="backend of DiNAT to 'auto'"):
        select('natten', 'cpu')


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="'xformers'.*auto, pytorch"):
        select('xformers', 'cpu')


def test_the_backend_is_logged_once(monkeypatch):
    monkeypatch.setattr(na.BACKENDS, '_chosen', {})
    logger = MMLogger.get_instance('neighborhood')
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    inputs = make_inputs((3, 3), (3, 3), 3)
    for _ in range(2):
        na.neighborhood_attention(*inputs, 3)
    assert [record.getMessage() for record in records] == [
        "Neighborhood attention runs on pytorch (PyTorch's attention, tile by "
        'tile) for torch.float64 on cpu.'
    ]


def test_too_few_keys_are_refused():
    inputs = make_inputs((5, 9), (5, 9), 3)
    with pytest.raises(ValueError, match='at least 6 x 6 keys.*got 5 x 9'):
        na.neighborhood_attention(*inputs, 3, dilation=2)


def test_a_table_of_another_kernel_is_refused():
    query, key, value, _ = make_inputs((7, 7), (7, 7), 3)
    bias = torch.zeros(2, 13, 13)
    with pytest.raises(ValueError, match=r'\(2, 5, 5\).*got \(2, 13, 13\)'):
        na.neighborhood_attention(query, key, value, bias, 3)


def test_a_run_on_fake_tensors_leaves_the_next_one_intact():
    na._tile_places.cache_clear()
    inputs = make_inputs((9, 9), (9, 9), 3)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = na.neighborhood_attention(*inputs, 3)
    assert isinstance(fake, FakeTensor)
    torch.testing.assert_close(
        na.neighborhood_attention(*inputs, 3), oracle.attend(*inputs, 3, 1)
    )
