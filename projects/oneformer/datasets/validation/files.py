"""Reading JSON and listing folders."""

import json
from pathlib import Path


def read_json(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        ValueError: If it does not exist or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except ValueError as error:
        raise ValueError(f'it is no whole JSON: {error}') from error


def list_files(folder: Path, extensions: set[str]) -> list[Path]:
    """Return the files below a folder, sorted; none if it is missing."""
    return sorted(
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in extensions and path.is_file()
    )
