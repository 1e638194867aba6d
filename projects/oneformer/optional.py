"""Packages that only some metrics need, imported when these are used."""

import importlib
from types import ModuleType

from .errors import MissingPackageError


def import_optional(name: str, user: str) -> ModuleType:
    """Import a module of a package that a model runs without.

    Args:
        name (str): Of the module, such as ``hotcoco.mask``.
        user (str): What needs it, for the message.

    Raises:
        MissingPackageError: If the package is missing or broken.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition('.')[0]
        raise MissingPackageError(
            f'{user} need {package}, which cannot be imported ({error}): '
            f'pip install {package}'
        ) from error
