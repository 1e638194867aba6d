"""Read checkpoints of any origin, safely, and load them into models."""

import io
import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import get_dist_info
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from ..compat import mmengine_checkpoint_types
from .layouts import layout_of

# In a folder written by transformers, in the order of preference.
FOLDER_FILES = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
# What detectron2's pickles of arrays and tensors are made of, nothing that
# could do harm.
_PICKLED = {
    ('collections', 'OrderedDict'),
    ('numpy', 'dtype'),
    ('numpy', 'ndarray'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy.core.multiarray', 'scalar'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', 'scalar'),
    ('numpy.core.numeric', '_frombuffer'),
    ('numpy._core.numeric', '_frombuffer'),
    ('_codecs', 'encode'),
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_parameter'),
}


def read_checkpoint(
    path: str | PathLike, map_location=None, trust_pickle: bool = False
) -> dict:
    """Read a checkpoint: ours, of the reference, or of transformers.

    What the file is follows from its content, not from its name. Names of
    classes that a file gives are kept as metadata of the state dict.

    Args:
        path (str | PathLike): A ``.pth``, ``.pkl`` or ``.safetensors`` file,
            or a folder that transformers wrote.
        map_location: Device of the tensors, as for ``torch.load``.
        trust_pickle (bool): Unpickle whatever the file holds. Such a file can
            run any program: only for files of known origin.

    Returns:
        dict: What the file holds. If these are the weights of a OneFormer,
        they are under ``'state_dict'``, with the names of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is incomplete, no checkpoint, or would run code.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        file = find_weights(path)
    elif path.is_file():
        file = path
    else:
        raise FileNotFoundError(f'Checkpoint {path} does not exist.')
    if file.name.endswith('.index.json'):
        content = {}
        shards = json.loads(file.read_text())['weight_map'].values()
        for shard in sorted(set(shards)):
            content |= _read_file(file.parent / shard, map_location, False)
    else:
        content = _read_file(file, map_location, trust_pickle)
    content = _unwrap(content)
    if 'state_dict' in content:
        _annotate(content, path, _class_names(content, file.parent))
    return content


def find_weights(folder: Path) -> Path:
    """Return the file in a folder of transformers that holds the weights.

    Raises:
        FileNotFoundError: If there is none.
    """
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f'{folder} holds no weights: expected one of '
        f'{", ".join(FOLDER_FILES)}. Give the folder that save_pretrained '
        'wrote, or a checkpoint file.'
    )


def _read_file(path: Path, map_location, trust_pickle: bool) -> dict:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist, but the index beside it names it: '
            'download the folder again.'
        )
    with path.open('rb') as file:
        start = file.read(512)
    try:
        if trust_pickle and start[8:9] != b'{':
            content = _load_trusted(path, map_location)
        elif start.startswith(b'PK'):
            content = _load_torch(path, map_location)
        elif start[8:9] == b'{':
            content = _load_safetensors(path, map_location)
        elif start.startswith(b'\x80'):
            content = _load_pickle(path, map_location)
        else:
            raise ValueError(_what_else(start))
    except pickle.UnpicklingError as error:
        if 'truncated' in str(error):
            raise _unreadable(path, error) from error
        raise ValueError(
            f'{path} was not read, since it holds more than weights and would '
            'run code to restore it. If you trust its origin: python '
            'tools/model_converters/convert_checkpoint.py --trust-pickle '
            f'{path} OUT.pth. ({_first_line(error)})'
        ) from error
    except (
        EOFError,
        IndexError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise _unreadable(path, error) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{path} is not a checkpoint: expected a dict of weights, got '
            f'{type(content).__name__}.'
        )
    return content


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f'{path} ({path.stat().st_size} bytes) cannot be read as a '
        f'checkpoint: {_first_line(error)}. Is the download complete?'
    )


def _what_else(start: bytes) -> str:
    if not start:
        return 'the file is empty'
    if start.startswith(b'version https://git-lfs'):
        return 'it is a pointer of Git LFS (git lfs pull gets the file)'
    if start.lstrip()[:1] == b'<':
        return 'it is a web page'
    return 'it is neither a file of PyTorch, safetensors nor a pickle'


def _load_torch(path: Path | io.BytesIO, map_location) -> dict:
    with torch.serialization.safe_globals(mmengine_checkpoint_types()):
        return torch.load(path, map_location=map_location, weights_only=True)


def _load_trusted(path: Path, map_location) -> dict:
    try:
        return torch.load(path, map_location=map_location, weights_only=False)
    except RuntimeError:  # not written by torch.save
        with path.open('rb') as file:
            return pickle.load(file)


def _load_safetensors(path: Path, map_location) -> dict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device=str(map_location or 'cpu'))
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _load_pickle(path: Path, map_location) -> dict:
    """Load a file that PyTorch before 1.6 or detectron2 wrote."""
    with path.open('rb') as file:
        content = _Unpickler(file, encoding='latin1').load()
    if not isinstance(content, dict):  # the magic number of PyTorch
        return _load_torch(path, map_location)
    weights = content.get('model', content)
    tensors = {name: torch.as_tensor(value) for name, value in weights.items()}
    return dict(content, model=tensors) if 'model' in content else tensors


class _Unpickler(pickle.Unpickler):
    """Unpickles arrays and tensors, and nothing that could run code."""

    def find_class(self, module: str, name: str):
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return lambda content: _load_torch(io.BytesIO(content), 'cpu')
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f'It asks for {module}.{name}.')
        return super().find_class(module, name)


def _unwrap(content: dict) -> dict:
    """Bring the weights of a OneFormer under ``'state_dict'``."""
    if 'state_dict' in content:
        return dict(content)
    weights = content.get('model', content)
    if isinstance(weights, Mapping) and layout_of(weights):
        return dict(state_dict=weights)
    return content


def _class_names(content: dict, folder: Path) -> tuple[str, ...] | None:
    """Return the class names that a checkpoint comes with, in label order."""
    meta = (content.get('meta') or {}).get('dataset_meta') or {}
    if meta.get('classes'):
        return tuple(meta['classes'])
    config = folder / 'config.json'
    if layout_of(content['state_dict']) != 'transformers' or (
        not config.is_file()
    ):
        return None
    names = json.loads(config.read_text()).get('id2label') or {}
    return tuple(names[key] for key in sorted(names, key=int)) or None


def _annotate(
    content: dict, path: Path, classes: tuple[str, ...] | None
) -> None:
    """Note in the state dict what the model it is loaded into will ask."""
    weights = content['state_dict']
    metadata = OrderedDict(getattr(weights, '_metadata', {}))
    metadata[''] = dict(
        metadata.get('', {}),
        source=str(path),
        classes=classes,
        tasks=(content.get('meta') or {}).get('tasks'),
    )
    content['state_dict'] = OrderedDict(weights)
    content['state_dict']._metadata = metadata


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location=None) -> dict:
    """Read what mmengine is given as a local path; see the above."""
    return read_checkpoint(filename, map_location)


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location=None) -> dict:
    """Download a checkpoint once, and read it as a local one."""
    target = Path(torch.hub.get_dir(), 'checkpoints')
    target /= os.path.basename(urlparse(filename).path)
    rank, world_size = get_dist_info()
    target.parent.mkdir(parents=True, exist_ok=True)
    if rank == 0 and not target.is_file():
        torch.hub.download_url_to_file(filename, str(target))
    if world_size > 1:
        torch.distributed.barrier()
    if not target.is_file():  # on another node
        torch.hub.download_url_to_file(filename, str(target))
    return read_checkpoint(target, map_location)


def load_weights(model: nn.Module, path: str) -> dict:
    """Load a checkpoint whose weights fit the model, all of them.

    Args:
        model (nn.Module): Takes the weights. Unchanged if they do not fit.
        path (str): File, folder or address of the checkpoint.

    Returns:
        dict: The content of the checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the weights belong to another model. The message says
            what is missing, left over or of another shape.
    """
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    model.load_state_dict(checkpoint.get('state_dict', checkpoint))
    return checkpoint


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip('.')
