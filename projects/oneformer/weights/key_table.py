"""Tables of names: our name for each entry of another layout."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError

_MAX_NAMES = 20  # in an error message


class Row(NamedTuple):
    """One kind of entry, and its place in our state dict.

    In names, ``{i}`` and ``{j}`` stand for a number and a final ``*`` for
    the rest of the last component, such as ``weight``; a target repeats what
    they stood for in the source.
    """

    source: str
    target: str | None  # None: not needed here
    # What ``{part}`` stands for in the source: the tensors of all parts are
    # joined along their first axis, in this order.
    parts: tuple[str, ...] = ()
    change: Callable[[Tensor], Tensor] | None = None  # of the joined tensor
    undo: Callable[[Tensor], Tensor] | None = None  # the way back

    def pattern(self, name: str) -> re.Pattern:
        """Return the expression that the names meant by ``name`` match."""
        wildcards = {
            '{i}': r'(?P<i>\d+)',
            '{j}': r'(?P<j>\d+)',
            '{part}': f'(?P<part>{"|".join(self.parts)})',
            '*': r'(?P<rest>[^.]+)',
        }
        pieces = re.split(r'({i}|{j}|{part}|\*)', name)
        return re.compile(
            ''.join(wildcards.get(piece, re.escape(piece)) for piece in pieces)
        )


def with_prefix(source: str, target: str, rows: Iterable[Row]) -> list[Row]:
    """Return the rows with a prefix before all names of either side."""
    return [
        row._replace(
            source=source + row.source,
            target=None if row.target is None else target + row.target,
        )
        for row in rows
    ]


def convert(
    state_dict: Mapping[str, Tensor],
    table: Iterable[Row],
    optional_prefix: str = '',
) -> dict[str, Tensor]:
    """Rename, join and change the entries of a state dict.

    The first row that matches a name counts. Tensors that no row joins or
    changes are not copied.

    Args:
        state_dict (Mapping[str, Tensor]): Entries under foreign names.
        table (Iterable[Row]): Where they belong.
        optional_prefix (str): What some files have before the names of the
            table.

    Returns:
        dict[str, Tensor]: Entries under our names.

    Raises:
        InputError: If no row matches a name, or a part to be joined is not
            there. The message lists the names.
    """
    patterns = [(row.pattern(row.source), row) for row in table]
    found: dict[str, dict[str | None, Tensor]] = {}  # target: part: tensor
    rows: dict[str, Row] = {}
    unknown = []
    for name, tensor in state_dict.items():
        row, wildcards = _find(name.removeprefix(optional_prefix), patterns)
        if row is None:
            unknown.append(name)
        elif row.target is not None:
            target = _fill(row.target, wildcards)
            rows[target] = row
            found.setdefault(target, {})[wildcards.get('part')] = tensor
    if unknown:
        raise InputError(
            f'{len(unknown)} of {len(state_dict)} entries are not known: '
            f'{listed(unknown)}. Are these the weights of another model?'
        )
    incomplete = [
        f'{target} without {part}'
        for target, tensors in found.items()
        for part in rows[target].parts
        if part not in tensors
    ]
    if incomplete:
        raise InputError(
            f'{len(incomplete)} parts are missing: {listed(incomplete)}. Is '
            'the file complete?'
        )
    return {
        target: _join(rows[target], tensors)
        for target, tensors in found.items()
    }


def convert_back(
    state_dict: Mapping[str, Tensor], table: Iterable[Row]
) -> dict[str, Tensor]:
    """Rename, change and split entries of ours into those of the source.

    Args:
        state_dict (Mapping[str, Tensor]): Entries under our names.
        table (Iterable[Row]): As for :func:`convert`.

    Returns:
        dict[str, Tensor]: Entries under foreign names; what :func:`convert`
        makes of them are the entries given.

    Raises:
        InputError: If the source has no place for an entry. The message lists
            the names.
    """
    patterns = [
        (row.pattern(row.target), row)
        for row in table
        if row.target is not None
    ]
    converted, unknown = {}, []
    for name, tensor in state_dict.items():
        row, wildcards = _find(name, patterns)
        if row is None:
            unknown.append(name)
            continue
        assert row.change is None or row.undo is not None, row
        tensor = row.undo(tensor) if row.undo else tensor
        if row.parts:
            tensors = tensor.chunk(len(row.parts))
            for part, piece in zip(row.parts, tensors, strict=True):
                source = _fill(row.source, dict(wildcards, part=part))
                converted[source] = piece
        else:
            converted[_fill(row.source, wildcards)] = tensor
    if unknown:
        raise InputError(
            f'{len(unknown)} of {len(state_dict)} entries have no place in '
            f'that layout: {listed(unknown)}. It holds a OneFormer with the '
            'backbones of the paper only.'
        )
    return converted


def _fill(name: str, wildcards: Mapping[str, str]) -> str:
    return name.replace('*', '{rest}').format(**wildcards)


def _find(
    name: str, patterns: Iterable[tuple[re.Pattern, Row]]
) -> tuple[Row | None, dict[str, str]]:
    for pattern, row in patterns:
        if match := pattern.fullmatch(name):
            return row, match.groupdict()
    return None, {}


def _join(row: Row, tensors: dict[str | None, Tensor]) -> Tensor:
    if row.parts:
        tensor = torch.cat([tensors[part] for part in row.parts])
    else:
        tensor = tensors[None]
    return row.change(tensor) if row.change else tensor


def listed(names: list[str]) -> str:
    """Return names for a message, the first ones only if they are many."""
    listed = ', '.join(names[:_MAX_NAMES])
    more = len(names) - _MAX_NAMES
    return f'{listed} and {more} more' if more > 0 else listed
