"""Weights: reading files, recognising their layout, fitting and initial ones.

A source of weights is a table of names and a function for each direction;
what reads the tables is in ``key_table.py``. Nothing here needs the other
implementation. Importing this package registers the initializers and makes
mmengine read every checkpoint through ``reader.py``.
"""

from .addresses import replace_loaders
from .huggingface import from_huggingface, to_huggingface
from .initial import PretrainedBackbone, PretrainedInOrder
from .layouts import NATIVE, layout_of, to_native
from .pretrained_vit import PretrainedViT
from .reader import CheckpointError, load_weights, read_checkpoint
from .reference import from_reference, to_reference

replace_loaders()

__all__ = [
    'CheckpointError',
    'NATIVE',
    'PretrainedBackbone',
    'PretrainedInOrder',
    'PretrainedViT',
    'from_huggingface',
    'from_reference',
    'layout_of',
    'load_weights',
    'read_checkpoint',
    'to_huggingface',
    'to_native',
    'to_reference',
]
