"""Files and folders that appear at once: whole, or not there."""

import json
import os
import os.path as osp
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np


def write_file(path: str, content: bytes) -> None:
    """Write a file at once: readers see the old one or the whole new one."""
    os.makedirs(osp.dirname(path) or '.', exist_ok=True)
    # Another thread or process may write the same file.
    partial = f'{path}.{os.getpid()}-{threading.get_ident()}.partial'
    try:
        with open(partial, 'wb') as file:
            file.write(content)
        os.replace(partial, path)
    except BaseException:
        if osp.exists(partial):
            os.remove(partial)
        raise


def write_json(path: str, content: dict | list) -> None:
    """Write JSON at once."""
    write_file(path, json.dumps(content).encode())


def write_png(path: str, pixels: np.ndarray) -> None:
    """Write a PNG at once.

    Args:
        path (str): Where to.
        pixels (np.ndarray): Booleans (one bit per pixel) or np.uint8 or
            np.uint16, (H, W), or RGB, np.uint8 (H, W, 3).
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # far faster, little larger
    if pixels.dtype == bool:
        options += [cv2.IMWRITE_PNG_BILEVEL, 1]
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    _, content = cv2.imencode('.png', pixels, options)
    write_file(path, content.tobytes())


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` at the end.

    After an error nothing remains of it, and ``folder`` is as it was. Where
    ``folder`` is a symbolic link, it goes on leading to the same place.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(
        tempfile.mkdtemp(prefix=f'.{folder.name}.partial-', dir=folder.parent)
    )
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        if folder.is_dir():
            old = partial.with_name(f'{partial.name}.old')
            folder.rename(old)
            try:
                partial.rename(folder)
            except BaseException:
                old.rename(folder)
                raise
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
