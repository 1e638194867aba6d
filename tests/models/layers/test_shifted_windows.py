"""Traceable windows give what mmdet's give, for maps of any size."""

import pytest
import torch
from mmdet.models.backbones.swin import ShiftWindowMSA
from torch import nn

from projects.oneformer.models.layers.shifted_windows import (
    TraceableShiftedWindows,
    use_traceable_windows,
)

CHANNELS, WINDOW = 8, 4


def windows(shift: int) -> nn.ModuleList:
    block = ShiftWindowMSA(CHANNELS, 2, WINDOW, shift_size=shift).double()
    nn.init.normal_(block.w_msa.relative_position_bias_table)
    return nn.ModuleList([block])


@pytest.mark.parametrize('shift', [0, 1, 2])
@pytest.mark.parametrize('size', [(8, 12), (4, 4), (5, 11), (2, 3)])
@torch.no_grad()
def test_tokens_attend_as_in_mmdet(shift, size):
    model = windows(shift)
    tokens = torch.randn(2, size[0] * size[1], CHANNELS, dtype=torch.float64)
    expected = model[0](tokens, size)
    names = list(model.state_dict())
    use_traceable_windows(model)
    assert type(model[0]) is TraceableShiftedWindows
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model[0](tokens, size), expected)
