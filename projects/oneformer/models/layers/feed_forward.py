"""Two linear layers that keep little for the gradient.

What lies between them is four times as wide and kept up to three times
(before and after the activation, and after dropout). In Swin and the pixel
decoder that is a third of the memory of training.
"""

import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .dropout import Dropout, draw_kept

# Of the values between, per part of the tokens: what fits a cache.
PART_BYTES = 2**22


class FeedForward(FFN):
    """mmcv's feed-forward network, leaner in the backward pass.

    Arguments, parameters and their names are those of mmcv's module, with two
    linear layers and ReLU or GELU between. Of what is between, the output of
    the first layer is kept, and activation and dropout are computed again; on
    a CPU a large output is not kept either. On devices other than CPU and
    CUDA it is mmcv's.
    """

    #: Largest output of the first layer that is kept on a CPU.
    kept_bytes = 2**24

    def forward(self, x: Tensor, identity: Tensor | None = None) -> Tensor:
        """Return input (or ``identity``) plus output, (..., C)."""
        tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if tracing or x.device.type not in ('cpu', 'cuda'):
            return super().forward(x, identity)
        (first, activation, inner_dropout), second, dropout = self.layers
        out = feed_forward(
            x,
            first,
            second,
            gelu=isinstance(activation, nn.GELU),
            dropout=inner_dropout.p if self.training else 0.0,
            kept_bytes=self.kept_bytes,
        )
        out = self.dropout_layer(self.gamma2(dropout(out)))
        if not self.add_identity:
            return out
        return out + (x if identity is None else identity)


def use_lean_feed_forward(module: nn.Module) -> None:
    """Let all of mmcv's feed-forward networks in a module be the lean ones."""
    for part in module.modules():
        if type(part) is FFN and part.num_fcs == 2:
            first, activation, dropout = part.layers[0]
            exact = getattr(activation, 'approximate', 'none') == 'none'
            if isinstance(activation, nn.ReLU | nn.GELU) and exact:
                # It holds the same; only what it computes with differs.
                part.__class__ = FeedForward
                part.layers[2].__class__ = Dropout


def feed_forward(
    x: Tensor,
    first: nn.Linear,
    second: nn.Linear,
    gelu: bool,
    dropout: float,
    kept_bytes: int,
) -> Tensor:
    """Apply linear layer, activation, dropout and linear layer.

    Args:
        x (Tensor): (..., C).
        first (nn.Linear): From C to hidden channels.
        second (nn.Linear): From hidden channels.
        gelu (bool): GELU as activation, otherwise ReLU.
        dropout (float): Share of the hidden values that is dropped.
        kept_bytes (int): Largest output of ``first`` that is kept on a CPU.

    Returns:
        Tensor: (..., channels of ``second``).
    """
    tensors = [x, first.weight, first.bias, second.weight, second.bias]
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        tensors = [tensor.to(dtype) for tensor in tensors]
    with torch.autocast(device, enabled=False):
        return _FeedForward.apply(*tensors, gelu, dropout, kept_bytes)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x, weight1, bias1, weight2, bias2, gelu, dropout, kept_bytes
    ):
        tokens = x.reshape(-1, x.shape[-1])
        shape = (len(tokens), len(weight1))
        kept, share = _draw(shape, dropout, x.device)
        out = x.new_empty(len(tokens), len(weight2))
        size = shape[0] * shape[1] * x.element_size()
        outputs = None  # of the first layer
        if not _computes_again(x) or size <= kept_bytes:
            outputs = F.linear(tokens, weight1, bias1)
        for part in _parts(shape, x):
            linear = _linear(tokens, weight1, bias1, outputs, part)
            hidden = _activate(linear, gelu, kept, part)
            torch.addmm(
                bias2, hidden, weight2.T, alpha=1 / share, out=out[part]
            )
        ctx.save_for_backward(x, weight1, bias1, weight2, kept, outputs)
        ctx.gelu, ctx.share = gelu, share
        return out.view(*x.shape[:-1], len(weight2))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight1, bias1, weight2, kept, outputs = ctx.saved_tensors
        grad = grad.reshape(-1, len(weight2))
        tokens = x.reshape(-1, x.shape[-1])
        grad_x = torch.empty_like(tokens)
        grads = [torch.zeros_like(t) for t in (weight1, bias1, weight2)]
        grad_weight1, grad_bias1, grad_weight2 = grads
        for part in _parts((len(tokens), len(weight1)), x):
            linear = _linear(tokens, weight1, bias1, outputs, part)
            hidden = _activate(linear, ctx.gelu, kept, part)
            grad_weight2.addmm_(grad[part].T, hidden, alpha=1 / ctx.share)
            slope = grad[part] @ weight2
            slope = _through_activation(
                slope, linear, hidden, ctx.gelu, kept, part
            )
            if ctx.share < 1:
                slope /= ctx.share
            torch.mm(slope, weight1, out=grad_x[part])
            grad_weight1.addmm_(slope.T, tokens[part])
            grad_bias1 += slope.sum(0)
        return (
            grad_x.view_as(x),
            grad_weight1,
            grad_bias1,
            grad_weight2,
            grad.sum(0),
            None,
            None,
            None,
        )


def _draw(
    shape: tuple[int, int], dropout: float, device: torch.device
) -> tuple[Tensor | None, float]:
    if dropout == 0:
        return None, 1.0
    if device.type == 'cpu':
        return draw_kept(shape, dropout)
    kept = torch.empty(shape, dtype=torch.uint8, device=device)
    return kept.bernoulli_(1 - dropout), 1 - dropout


def _computes_again(x: Tensor) -> bool:
    # In half precision a sum over parts would be less exact than over all.
    return x.device.type == 'cpu' and x.element_size() >= 4


def _parts(shape: tuple[int, int], x: Tensor) -> list[slice]:
    """Divide the tokens, of which elsewhere a device takes all at once."""
    tokens, width = shape
    step = tokens
    if _computes_again(x):
        step = max(1, PART_BYTES // (width * x.element_size()))
    return [
        slice(start, start + step) for start in range(0, tokens, max(step, 1))
    ]


def _linear(
    tokens: Tensor,
    weight: Tensor,
    bias: Tensor,
    outputs: Tensor | None,
    part: slice,
) -> Tensor:
    if outputs is not None:
        return outputs[part]
    return F.linear(tokens[part], weight, bias)


def _activate(
    linear: Tensor, gelu: bool, kept: Tensor | None, part: slice
) -> Tensor:
    """Activation and dropout, without the factor that goes with it."""
    hidden = F.gelu(linear) if gelu else linear.relu()
    if kept is not None:
        hidden *= kept[part].to(hidden.dtype)
    return hidden


def _through_activation(
    slope: Tensor,
    linear: Tensor,
    hidden: Tensor,
    gelu: bool,
    kept: Tensor | None,
    part: slice,
) -> Tensor:
    if not gelu:
        # What was dropped is 0 as well.
        return torch.ops.aten.threshold_backward(slope, hidden, 0)
    if kept is not None:
        slope *= kept[part].to(slope.dtype)
    return torch.ops.aten.gelu_backward(slope, linear)
