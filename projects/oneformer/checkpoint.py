"""Former place of ``weights.reader``, for scripts that import from here."""

from .weights.reader import load_weights, read_checkpoint

__all__ = ['load_weights', 'read_checkpoint']
