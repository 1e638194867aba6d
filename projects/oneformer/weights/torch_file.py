"""Files of ``torch.save`` and pickles of weights, without running code.

PyTorch writes a zip archive with a pickle and one entry for each storage;
before version 1.6 it wrote pickles one after the other, then the storages.
"""

import io
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import torch

from .unpickler import Storage, UnsafeContentError, WeightsUnpickler

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_zip(file: BinaryIO, map_location: Any = None) -> Any:
    """Read what PyTorch 1.6 or later wrote.

    Args:
        file (BinaryIO): Of a zip archive.
        map_location: Device of the tensors, as for ``torch.load``; by default
            the CPU.

    Returns:
        What was saved, as far as it consists of weights and plain values.

    Raises:
        UnsafeContentError: If it is more.
        Exception: Of any kind if the file is damaged.
    """
    with ZipFile(file) as archive:
        names = archive.namelist()
        if any(name.endswith('/constants.pkl') for name in names):
            raise UnsafeContentError('It is a program of TorchScript.')
        compressed = [
            entry.filename
            for entry in archive.infolist()
            if entry.compress_type != ZIP_STORED
        ]
        if compressed:  # which may unfold to any size
            raise ValueError(f'its entry {compressed[0]} is compressed')
        if broken := archive.testzip():
            raise ValueError(f'the checksum of its entry {broken} is wrong')
        pickles = [n for n in names if n.split('/')[1:] == ['data.pkl']]
        if len(pickles) != 1:
            raise ValueError(
                f'the archive has {len(pickles)} entries named data.pkl, '
                'expected one'
            )
        root = pickles[0].removesuffix('data.pkl')
        order = f'{root}byteorder'
        if order in names and archive.read(order) != sys.byteorder.encode():
            raise ValueError('its numbers are of another byte order')
        storages: dict[str, Storage] = {}

        def find_storage(pid: tuple) -> Storage:
            kind, dtype, key, location, _ = pid
            _check_storage(kind, dtype)
            if key not in storages:
                content = archive.read(f'{root}data/{key}')
                storages[key] = _storage(
                    content, dtype, location, map_location
                )
            return storages[key]

        with archive.open(pickles[0]) as pickled:
            return WeightsUnpickler(pickled, find_storage).load()


def read_pickle(file: BinaryIO, map_location: Any = None) -> Any:
    """Read what PyTorch before 1.6 wrote, or a pickle of detectron2.

    Args:
        file (BinaryIO): At its beginning.
        map_location: As for :func:`read_zip`.

    Returns:
        As :func:`read_zip`. Arrays remain arrays.

    Raises:
        UnsafeContentError: If it is more than weights and plain values.
        Exception: Of any kind if the file is damaged.
    """
    # What a tensor makes of its storage in a pickle that torch.save did not
    # write: bytes of a file of torch.save.
    extra = {
        'torch.storage._load_from_bytes': lambda content: _read_storage(
            content, map_location
        )
    }
    content = WeightsUnpickler(file, extra=extra).load()
    if isinstance(content, int) and content == _MAGIC:
        return _read_legacy(file, map_location)
    return content


def _read_storage(content: bytes, map_location: Any) -> Storage:
    file = io.BytesIO(content)
    if content.startswith(b'PK'):
        storage = read_zip(file, map_location)
    else:
        _expect(WeightsUnpickler(file).load(), _MAGIC, 'magic number')
        storage = _read_legacy(file, map_location)
    if not isinstance(storage, Storage):
        raise UnsafeContentError('It holds a file in place of a storage.')
    return storage


def _read_legacy(file: BinaryIO, map_location: Any) -> Any:
    """Read what follows the magic number."""
    _expect(WeightsUnpickler(file).load(), _PROTOCOL, 'protocol')
    info = WeightsUnpickler(file).load()
    _expect(info['little_endian'], sys.byteorder == 'little', 'byte order')
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    storages: dict[str, Storage] = {}

    # The bytes come after the pickle, tensors are views of them.
    def find_storage(pid: tuple) -> Storage:
        kind, dtype, key, location, length, *view = pid
        _check_storage(kind, dtype)
        if any(part is not None for part in view):
            raise ValueError('it has views as PyTorch before 0.4 wrote them')
        if key not in storages:
            if not 0 <= length * dtype.itemsize <= size:
                raise ValueError(f'it lacks {length} elements of a tensor')
            content = bytes(length * dtype.itemsize)
            storages[key] = _storage(content, dtype, location, map_location)
        return storages[key]

    result = WeightsUnpickler(file, find_storage).load()
    for key in WeightsUnpickler(file).load():
        content, dtype = storages[key]
        length = int.from_bytes(file.read(8), sys.byteorder)
        _expect(length * dtype.itemsize, content.nbytes(), 'storage size')
        data = file.read(content.nbytes())
        _expect(len(data), content.nbytes(), 'number of bytes')
        content.copy_(_memory(data))
    return result


def _check_storage(kind: str, dtype: torch.dtype) -> None:
    if kind != 'storage' or not isinstance(dtype, torch.dtype):
        raise UnsafeContentError('It refers to something but tensors.')


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise ValueError(f'{what} {found} where {expected} is expected')


def _storage(
    content: bytes, dtype: torch.dtype, location: str, map_location: Any
) -> Storage:
    """Return a storage where ``map_location`` wants it."""
    if isinstance(map_location, Mapping):
        map_location = map_location.get(location)
    if map_location is None or isinstance(map_location, (str, torch.device)):
        return Storage(_memory(content, map_location), dtype)
    memory = _memory(content)
    moved = map_location(memory, location)
    return Storage(memory if moved is None else moved, dtype)


def _memory(
    content: bytes, device: str | torch.device | None = None
) -> torch.UntypedStorage:
    if not content:
        return torch.UntypedStorage(0, device=device)
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return values.to(device).untyped_storage()
