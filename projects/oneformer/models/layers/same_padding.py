"""TensorFlow's padding in a graph that accepts maps of any size."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def use_fixed_padding(model: nn.Module) -> None:
    """Build convolutions of fixed padding in place of timm's ``Conv2dSame``.

    Parameters, their names and the results stay the same.

    Args:
        model (nn.Module): Height and width of its images are multiples of
            the largest stride.
    """
    parents: list[Any] = list(model.modules())
    for parent in parents:
        for name, child in parent.named_children():
            # By name, as timm need not be installed.
            if type(child).__name__ == 'Conv2dSame':
                setattr(parent, name, FixedPaddingConv(child))


class FixedPaddingConv(nn.Module):
    """timm's ``Conv2dSame`` for maps that its stride divides.

    timm works the padding out of the size of each map, which tracers follow
    for minutes. If the stride divides the size, it does not depend on it.

    Args:
        plain (nn.Conv2d): The module whose parameters it takes over.
    """

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias
        self.options: dict[str, Any] = dict(
            stride=plain.stride, dilation=plain.dilation, groups=plain.groups
        )
        self.padding: list[int] = []  # left, right, top, bottom
        for axis in (1, 0):
            reach = plain.dilation[axis] * (plain.kernel_size[axis] - 1) + 1
            total = max(reach - plain.stride[axis], 0)
            self.padding += [total // 2, total - total // 2]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        x = F.pad(x, self.padding)
        return F.conv2d(x, self.weight, self.bias, **self.options)
