"""Makes mmengine read every checkpoint through :mod:`reader`.

mmengine finds a loader by the beginning of a path. Its own loaders fall back
to running whatever program a file holds, so none of them remains: files,
folders, web addresses and named models go through our reader, the others are
refused.
"""

import hashlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_torchvision_models,
)

from ..errors import FileError
from .reader import CheckpointError, read_checkpoint


def models_of_openmmlab() -> dict[str, str]:
    """Return the addresses of OpenMMLab's models, by all their names."""
    models = get_external_models()
    renamed = get_deprecated_model_names()
    return models | {
        old: models[new] for old, new in renamed.items() if new in models
    }


# Collections of named models, and what gives the addresses by name.
COLLECTIONS: dict[str, Callable[[], dict[str, str]]] = {
    'torchvision://': get_torchvision_models,
    'modelzoo://': get_torchvision_models,
    'open-mmlab://': models_of_openmmlab,
    'openmmlab://': models_of_openmmlab,
}


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a file or folder; see :func:`read_checkpoint`."""
    if '://' in filename:
        return load_from_elsewhere(filename)
    return read_checkpoint(filename, map_location)


def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Download a checkpoint once, and read it as a local file.

    Raises:
        FileError: If the address cannot be downloaded.
        CheckpointError: If the file cannot be read.
    """
    target = cache_file(filename)
    rank, world_size = get_dist_info()
    try:
        if rank == 0:
            _download(filename, target)
    finally:
        if world_size > 1:  # the others wait
            torch.distributed.barrier()
    _download(filename, target)  # on another node
    try:
        return read_checkpoint(target, map_location)
    except CheckpointError as error:
        raise CheckpointError(
            f'{error} It comes from {filename}: remove it to download it '
            'again.'
        ) from error


def cache_file(address: str) -> Path:
    """Return the place in PyTorch's cache that holds an address.

    Many addresses end in ``pytorch_model.bin``: the hash of the whole address
    keeps them apart.
    """
    name = PurePosixPath(urlparse(address).path).name or 'checkpoint'
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    return Path(torch.hub.get_dir(), 'checkpoints', f'{digest}-{name}')


def _download(address: str, target: Path) -> None:
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    print_log(f'Downloading {address} to {target}', logger='current')
    try:
        torch.hub.download_url_to_file(address, str(target))
    except (OSError, HTTPException, ValueError) as error:
        raise FileError(
            f'{address} cannot be downloaded: {error}. Check the address and '
            'the network, or download the file elsewhere and give its path.'
        ) from error


def load_from_collection(filename: str, map_location: Any = None) -> dict:
    """Read a model of torchvision or OpenMMLab by its name.

    Raises:
        CheckpointError: If the collection has no model of this name.
    """
    scheme, _, name = filename.partition('://')
    addresses = COLLECTIONS[f'{scheme}://']()
    if name not in addresses:
        raise CheckpointError(
            f'{filename}: there is no model {name!r}. Give the address or '
            'path of a file.'
        )
    return CheckpointLoader.load_checkpoint(addresses[name], map_location)


def load_from_elsewhere(filename: str, map_location: Any = None) -> dict:
    """Refuse an address that is neither a file nor on the web.

    Raises:
        CheckpointError: Always.
    """
    raise CheckpointError(
        f'{filename} is not read: checkpoints are read from files, folders, '
        f'https://, http:// and {", ".join(COLLECTIONS)} only. Download the '
        'file and give its path.'
    )


def replace_loaders() -> None:
    """Put our loaders in place of all that mmengine has."""
    loaders = dict.fromkeys(CheckpointLoader._schemes, load_from_elsewhere)
    loaders |= dict.fromkeys(COLLECTIONS, load_from_collection)
    loaders |= {
        'http://': load_from_http,
        'https://': load_from_http,
        '': load_from_local,
    }
    for prefix, loader in loaders.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)
