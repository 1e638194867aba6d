"""Shifted windows of Swin in a graph that accepts maps of any size."""

from typing import Any

import torch
from mmdet.models.backbones.swin import ShiftWindowMSA
from torch import Tensor, nn
from torch.nn import functional as F


def use_traceable_windows(model: nn.Module) -> None:
    """Build traceable windows in place of mmdet's, wherever a model has them.

    Parameters, their names and the results stay the same.

    Args:
        model (nn.Module): Its Swin backbone is to be exported.
    """
    parents: list[Any] = list(model.modules())
    for parent in parents:
        for name, child in parent.named_children():
            if type(child) is ShiftWindowMSA:
                setattr(parent, name, TraceableShiftedWindows(child))


class TraceableShiftedWindows(nn.Module):
    """mmdet's ``ShiftWindowMSA`` without decisions that depend on sizes.

    mmdet fills its mask slice by slice and converts the number of windows to
    a Python int, both of which fix the size of the map in an exported graph.
    Here the mask is a comparison of positions.

    Args:
        plain (ShiftWindowMSA): The module whose parts it takes over.
    """

    def __init__(self, plain: ShiftWindowMSA) -> None:
        super().__init__()
        self.window_size, self.shift = plain.window_size, plain.shift_size
        self.w_msa, self.drop = plain.w_msa, plain.drop

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within windows.

        Args:
            query (Tensor): Tokens of a map, (B, H * W, C).
            hw_shape (tuple[int, int]): H and W.

        Returns:
            Tensor: (B, H * W, C).
        """
        height, width = hw_shape
        side, shift = self.window_size, self.shift
        rows, columns = (height + side - 1) // side, (width + side - 1) // side
        x = query.unflatten(1, (height, width))
        x = F.pad(
            x, (0, 0, 0, columns * side - width, 0, rows * side - height)
        )
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        x = x.unflatten(2, (columns, side)).unflatten(1, (rows, side))
        x = x.transpose(2, 3).flatten(3, 4).flatten(0, 2)  # (B * n, N, C)
        x = self.w_msa(x, mask=self.mask(rows, columns, x) if shift else None)
        x = x.unflatten(1, (side, side)).unflatten(
            0, (query.shape[0], rows, columns)
        )
        x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # (B, H', W', C)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return self.drop(x[:, :height, :width].flatten(1, 2))

    def mask(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Return what is added to the logits, 0 or -100, (n, N, N).

        After the shift, windows at the end hold what has come around from
        the beginning. Tokens attend to those from the same side only.

        Args:
            rows (int): Windows from top to bottom.
            columns (int): Windows from left to right, rows * columns = n.
            like (Tensor): Of the type and device wanted.
        """
        side = self.window_size
        y, x = (
            torch.arange(count * side, device=like.device).unflatten(
                0, (count, side)
            )
            >= count * side - self.shift
            for count in (rows, columns)
        )
        region = 2 * y.int()[:, None, :, None] + x.int()[:, None]
        region = region.flatten(2, 3).flatten(0, 1)  # (n, N)
        apart = region[:, None] != region[:, :, None]
        return torch.zeros_like(apart, dtype=like.dtype).masked_fill(
            apart, -100.0
        )
