"""Errors that a visitor can correct."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from ..errors import UserError
from .gradio import gr


def visitor_error(message: str) -> Any:
    """Return an error that the page shows, without a traceback in the log.

    Args:
        message (str): HTML: what a visitor typed is escaped in it.
    """
    return gr.Error(message, print_exception=False)


@contextmanager
def errors_for_visitors() -> Iterator[None]:
    """Show what a visitor can correct, without a traceback in the log."""
    try:
        yield
    except UserError as error:
        text = escape(str(error), quote=False)
        raise gr.Error(text, duration=None, print_exception=False) from error
