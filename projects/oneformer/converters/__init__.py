"""Weights of other implementations, under the names used here.

A source of weights is a table of names and a function for each direction;
what reads the tables is in ``key_table.py``. Nothing here needs the other
implementation.
"""

from .huggingface import from_huggingface, to_huggingface
from .layouts import NATIVE, layout_of, to_native
from .reference import from_reference, to_reference

__all__ = [
    'NATIVE',
    'from_huggingface',
    'from_reference',
    'layout_of',
    'to_huggingface',
    'to_native',
    'to_reference',
]
