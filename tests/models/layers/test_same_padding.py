"""Fixed padding gives what timm's gives, where the stride divides the map."""

import pytest
import torch
from torch import nn

from projects.oneformer.models.layers.same_padding import (
    FixedPaddingConv,
    use_fixed_padding,
)


@pytest.mark.parametrize('size', [(8, 12), (4, 20)])
@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=3, stride=2),
        dict(kernel_size=5, stride=2, groups=4),
        dict(kernel_size=(3, 5), stride=(2, 1), bias=False),
        dict(kernel_size=3, dilation=2),
        dict(kernel_size=1, stride=2),
    ],
    ids=str,
)
@torch.no_grad()
def test_maps_are_padded_as_in_timm(options, size):
    layers = pytest.importorskip('timm.layers', reason='needs timm')
    model = nn.Sequential(layers.Conv2dSame(4, 8, **options)).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    expected, names = model(x), list(model.state_dict())
    use_fixed_padding(model)
    assert type(model[0]) is FixedPaddingConv
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(x), expected)
