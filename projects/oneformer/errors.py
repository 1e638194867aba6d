"""Errors that a user can correct.

The tools print the message of such an error as one line. Every other
exception is a fault of this project and keeps its traceback. This module
imports the standard library alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A setting or file is wrong; the message says what to change."""


class InputError(UserError, ValueError):
    """A value of a config, an annotation or a command line is wrong."""


class FileError(UserError, OSError):
    """A file cannot be read or written."""


class MissingFileError(FileError, FileNotFoundError):
    """A file does not exist."""


class MissingPackageError(UserError, ImportError):
    """A package that a setting needs is not installed, or broken."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Mark the errors of a block that reads what a user provides.

    Raises:
        MissingFileError: In place of ``FileNotFoundError``.
        FileError: In place of other ``OSError``.
        InputError: In place of ``ValueError``.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(str(error)) from error
    except OSError as error:
        raise FileError(str(error)) from error
    except ValueError as error:
        raise InputError(str(error)) from error
