"""Weights of other implementations, under the names used here.

A source of weights is a table of names and one function; what reads the
tables is in ``key_table.py``. Nothing here needs the other implementation.
"""

from .huggingface import from_huggingface

__all__ = ['from_huggingface']
