"""Says how weights differ from those that a network has."""

from collections.abc import Iterable, Mapping

from torch import Tensor


def describe_mismatch(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    optional: Iterable[str] = (),
) -> str:
    """Return what is missing, left over or of another shape.

    Args:
        weights (Mapping[str, Tensor]): Of a file, with the names of the
            network.
        expected (Mapping[str, Tensor]): Of the network.
        optional (Iterable[str]): Names that either side may lack.

    Returns:
        str: How many entries of each kind, with one as an example; empty if
        the weights fit.
    """
    optional = set(optional)
    missing = [n for n in expected if n not in weights and n not in optional]
    left_over = [n for n in weights if n not in expected and n not in optional]
    reshaped = [
        f'{name} {tuple(weights[name].shape)} for {tuple(value.shape)}'
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    return '; '.join(
        f'{len(names)} {what}, as {names[0]}'
        for what, names in (
            ('missing', missing),
            ('left over', left_over),
            ('of another shape', reshaped),
        )
        if names
    )
