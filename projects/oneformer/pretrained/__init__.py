"""Models by name: folders, the Hub, and what other implementations wrote."""

from .card import CardFacts, read_scores
from .folder import save_folder
from .hub import upload_folder
from .settings import Settings, settings_of
from .source import find_pretrained

__all__ = [
    'CardFacts',
    'Settings',
    'find_pretrained',
    'read_scores',
    'save_folder',
    'settings_of',
    'upload_folder',
]
