"""Read checkpoints of any origin, safely, and load them into models."""

import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ..errors import InputError
from .layouts import NATIVE, layout_of
from .torch_file import read_pickle, read_zip
from .unpickler import UnsafeContentError

# In a folder written by transformers, in the order of preference.
FOLDER_FILES = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)

NUMBERS = (np.ndarray, np.generic)


class CheckpointError(InputError):
    """A file cannot be used as a checkpoint; the message names it."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such file; the message names it."""


def read_checkpoint(
    path: str | PathLike, map_location: Any = None, trust_pickle: bool = False
) -> dict:
    """Read a checkpoint: ours, of the reference, or of transformers.

    The content decides what a file is, not its name. Class names that come
    with the file become metadata of the state dict. The text of a config in
    the file is left out, since mmengine would run it.

    Args:
        path (str | PathLike): A ``.pth``, ``.pkl`` or ``.safetensors`` file,
            or a folder that transformers wrote.
        map_location: Device of the tensors, as for ``torch.load``; by default
            the CPU.
        trust_pickle (bool): Unpickle whatever the file holds. Such a file can
            run any program: only for files of known origin.

    Returns:
        dict: Content of the file. The weights of a OneFormer are under
        ``'state_dict'``, with the names of the file.

    Raises:
        CheckpointNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, no checkpoint, or would run code.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        file = find_weights(path)
    elif path.is_file():
        file = path
    else:
        raise CheckpointNotFoundError(f'Checkpoint {path} does not exist.')
    if file.name.endswith('.index.json'):
        found: Mapping = {}
        for shard in _shards(file):
            found = {**found, **_read_file(shard, map_location, trust_pickle)}
    else:
        found = _read_file(file, map_location, trust_pickle)
    content = _unwrap(found)
    _leave_out_configs(content)
    if 'state_dict' in content:
        _annotate(content, path, file)
    return content


def find_weights(folder: Path) -> Path:
    """Return the file in a folder of transformers that holds the weights.

    Raises:
        CheckpointNotFoundError: If there is none.
    """
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointNotFoundError(
        f'{folder} holds no weights: expected one of '
        f'{", ".join(FOLDER_FILES)}. Give the folder that save_pretrained '
        'wrote, or a checkpoint file.'
    )


def _shards(index: Path) -> list[Path]:
    """Return the files that an index names, all of them in its folder."""
    table = _read_json(index).get('weight_map')
    if (
        not isinstance(table, dict)
        or not table
        or not all(isinstance(name, str) for name in table.values())
    ):
        raise CheckpointError(
            f'{index}: expected a weight_map that names a file for each '
            'tensor. Download the folder again.'
        )
    folder = index.parent.resolve()
    # In the cache of the Hub, files are links to blobs beside the snapshots.
    in_cache = folder.parent.name == 'snapshots'
    root = folder.parent.parent if in_cache else folder
    shards = []
    for name in sorted(set(table.values())):
        shard = index.parent / name
        if (
            not name
            or PurePath(name).name != name
            or not (shard.resolve().is_relative_to(root))
        ):
            raise CheckpointError(
                f'{index} names {name!r}, which is outside its folder: '
                'expected file names only. Do not use this folder if you do '
                'not know its origin.'
            )
        if not shard.is_file():
            raise CheckpointNotFoundError(
                f'{shard} does not exist, but {index} names it: download the '
                'folder again.'
            )
        shards.append(shard)
    return shards


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f'{path} is not valid JSON: {_first_line(error)}. Download the '
            'folder again.'
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f'{path}: expected a JSON object, got '
            f'{type(content).__name__}. Download the folder again.'
        )
    return content


def _read_file(path: Path, map_location: Any, trust_pickle: bool) -> Mapping:
    with path.open('rb') as file:
        return _read_open_file(path, file, map_location, trust_pickle)


def _read_open_file(
    path: Path, file: BinaryIO, map_location: Any, trust_pickle: bool
) -> Mapping:
    try:
        content = _content(path, file, map_location, trust_pickle)
    except UnsafeContentError as error:
        raise CheckpointError(
            f'{path} was not read, since it holds more than weights and could '
            f'run code. {_first_line(error)}. If you trust its origin: python '
            'tools/model_converters/convert_checkpoint.py --trust-pickle '
            f'{path} OUT.pth'
        ) from error
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(
            f'{path} ({path.stat().st_size} bytes) cannot be read as a '
            f'checkpoint: {_first_line(error)}. Is the download complete?'
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f'{path} is not a checkpoint: expected a dict of weights, got '
            f'{type(content).__name__}.'
        )
    return content


def _content(
    path: Path, file: BinaryIO, map_location: Any, trust_pickle: bool
) -> Any:
    start = file.read(512)
    file.seek(0)
    if start[8:9] == b'{':
        return _read_safetensors(path, map_location)
    if trust_pickle:
        return _with_tensors(_read_trusted(path, map_location))
    if start.startswith(b'PK'):
        return read_zip(file, map_location)
    if start.startswith(b'\x80'):
        return _with_tensors(read_pickle(file, map_location))
    raise ValueError(_what_else(start))


def _what_else(start: bytes) -> str:
    if not start:
        return 'the file is empty'
    if start.startswith(b'version https://git-lfs'):
        return 'it is a pointer of Git LFS (git lfs pull gets the file)'
    if start.lstrip()[:1] == b'<':
        return 'it is a web page'
    return 'it is neither a file of PyTorch, safetensors nor a pickle'


def _read_trusted(path: Path, map_location: Any) -> Any:
    try:
        return torch.load(path, map_location=map_location, weights_only=False)
    except RuntimeError:  # not written by torch.save
        with path.open('rb') as file:
            return pickle.load(file)


def _read_safetensors(path: Path, map_location: Any) -> dict:
    from safetensors.torch import load_file

    return load_file(path, device=str(map_location or 'cpu'))


def _with_tensors(content: Any) -> Any:
    """Turn the arrays of a pickle of detectron2 into tensors."""
    weights = content.get('model') if isinstance(content, dict) else None
    if isinstance(weights, dict):
        return dict(content, model=_with_tensors(weights))
    if not isinstance(content, dict) or not any(
        isinstance(value, np.ndarray) for value in content.values()
    ):
        return content
    return {
        name: torch.as_tensor(value) if isinstance(value, NUMBERS) else value
        for name, value in content.items()
    }


def _unwrap(content: Mapping) -> dict:
    """Bring the weights of a OneFormer under ``'state_dict'``."""
    if 'state_dict' in content:
        return dict(content)
    weights = content.get('model', content)
    if isinstance(weights, Mapping) and layout_of(weights):
        return dict(state_dict=weights)
    return dict(content)


def _leave_out_configs(content: dict) -> None:
    """Remove the text of configs, which are programs in Python.

    mmengine runs ``meta['config']`` when training is resumed; its inferencer
    runs the others where it is given weights without a config.
    """
    meta = content.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)
        meta.pop('cfg', None)
    messages = content.get('message_hub')
    if isinstance(messages, dict) and isinstance(
        messages.get('runtime_info'), dict
    ):
        messages['runtime_info'].pop('cfg', None)


def _annotate(content: dict, path: Path, file: Path) -> None:
    """Note in the state dict what the model that loads it needs to know."""
    weights = content['state_dict']
    if not isinstance(weights, Mapping):
        raise CheckpointError(
            f'{path}: expected a dict of weights under state_dict, got '
            f'{type(weights).__name__}.'
        )
    metadata = OrderedDict(getattr(weights, '_metadata', {}))
    metadata[''] = dict(metadata.get('', {}), source=str(path))
    if layout := layout_of(weights):
        _check_entries(weights, path)
        meta = _section(content, 'meta', path)
        classes = _names(_section(meta, 'dataset_meta', path), 'classes', path)
        tasks = _names(meta, 'tasks', path)
        config = file.parent / 'config.json'
        if not classes and config.is_file():
            if 'transformers' in layout:
                classes = _names_of_labels(config)
            elif layout == NATIVE and path.is_dir():
                settings = _read_json(config)
                classes = _names(settings, 'classes', config)
                tasks = _names(settings, 'trained_tasks', config)
        metadata[''].update(classes=classes or None, tasks=tasks or None)
    content['state_dict'] = OrderedDict(weights)
    content['state_dict']._metadata = metadata


def _check_entries(weights: Mapping, path: Path) -> None:
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            subject = name if isinstance(name, str) else 'another key'
            raise CheckpointError(
                f'{path}: expected tensors under names, got a '
                f'{type(value).__name__} under {subject}.'
            )


def _section(content: Mapping, key: str, path: Path) -> Mapping:
    section = content.get(key)
    if section is not None and not isinstance(section, Mapping):
        raise CheckpointError(
            f'{path}: expected a dict under {key}, got '
            f'{type(section).__name__}.'
        )
    return section or {}


def _names(section: Mapping, key: str, path: Path) -> tuple[str, ...]:
    names = section.get(key)
    if names is None:
        names = ()
    if not isinstance(names, (list, tuple)) or not all(
        isinstance(name, str) for name in names
    ):
        raise CheckpointError(
            f'{path}: expected a list of names under {key}, got '
            f'{type(names).__name__}.'
        )
    return tuple(names)


def _names_of_labels(config: Path) -> tuple[str, ...]:
    """Return class names in the order of labels, as transformers has them."""
    names = _read_json(config).get('id2label')
    if names is None:
        return ()
    if not isinstance(names, dict) or set(names) != set(
        map(str, range(len(names)))
    ):
        raise CheckpointError(
            f'{config}: expected id2label to name the classes of labels 0 to '
            'N - 1. Mend the file, or give checkpoint_classes in the model '
            'config and remove id2label.'
        )
    ordered = [names[str(label)] for label in range(len(names))]
    return _names(dict(id2label=ordered), 'id2label', config)


def load_weights(model: nn.Module, path: str) -> dict:
    """Load a checkpoint whose weights fit the model, all of them.

    Args:
        model (nn.Module): Takes the weights. Unchanged if they do not fit.
        path (str): File, folder or address of the checkpoint.

    Returns:
        dict: The content of the checkpoint.

    Raises:
        CheckpointNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read.
        ValueError: If the weights belong to another model. The message says
            what is missing, left over or of another shape.
    """
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    model.load_state_dict(checkpoint.get('state_dict', checkpoint))
    return checkpoint


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip('.')
