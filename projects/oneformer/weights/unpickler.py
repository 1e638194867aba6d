"""Unpickling that can make weights and plain values, and nothing else.

PyTorch's own ``weights_only`` is not strict enough: its list holds a function
that calls what it is given (``_rebuild_from_type_v2``), every package of the
process may add to the list, and mmengine adds ``getattr``. Here a file names
what it needs, and :data:`ALLOWED` says what it gets instead: a constant, a
harmless class or one of the functions below, which check what they are given.
"""

import operator
import pickle
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import IO, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor


class UnsafeContentError(pickle.UnpicklingError):
    """A file asks for more than weights; the message says for what."""


class Storage(NamedTuple):
    """Memory that tensors of a file share.

    Attributes:
        content (torch.UntypedStorage): The bytes.
        dtype (torch.dtype): Type of its elements.
    """

    content: torch.UntypedStorage
    dtype: torch.dtype


class Allowed(NamedTuple):
    """What a name in a file stands for, and why files have it."""

    value: Any
    reason: str


def make_tensor(
    storage: Storage,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool = False,
    hooks: object = None,
    metadata: object = None,
) -> Tensor:
    """Make a tensor of a part of a storage; hooks are left out."""
    if metadata:
        raise UnsafeContentError('It holds a conjugated or negated view.')
    return _view(storage, storage.dtype, offset, shape, stride, requires_grad)


def make_tensor_of_dtype(
    storage: Storage,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    hooks: object,
    dtype: torch.dtype,
    metadata: object = None,
) -> Tensor:
    """Make a tensor of a storage that does not say what it holds."""
    if metadata:
        raise UnsafeContentError('It holds a conjugated or negated view.')
    return _view(storage, dtype, offset, shape, stride, requires_grad)


def _view(
    storage: Storage,
    dtype: torch.dtype,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
) -> Tensor:
    last = offset + sum(
        (size - 1) * step for size, step in zip(shape, stride, strict=True)
    )
    size = storage.content.nbytes() // dtype.itemsize
    if 0 not in shape and last >= size:
        # PyTorch would enlarge the storage.
        raise ValueError(
            f'a tensor of shape {tuple(shape)} needs {last + 1} elements, '
            f'its storage has {size}'
        )
    tensor = torch.empty(0, dtype=dtype, device=storage.content.device)
    tensor.set_(storage.content, offset, shape, stride)
    return tensor.requires_grad_(bool(requires_grad))


def make_parameter(
    data: Tensor,
    requires_grad: bool = True,
    hooks: object = None,
    state: object = None,
) -> torch.nn.Parameter:
    """Make a parameter; hooks and further attributes are left out."""
    return torch.nn.Parameter(data, bool(requires_grad))


def make_bytes(text: str = '', encoding: str = 'latin1') -> bytes:
    """Make bytes of the text that older protocols write them as."""
    if encoding != 'latin1':
        raise UnsafeContentError(f'It asks for the codec {encoding!r}.')
    return text.encode('latin1')


def make_dtype(code: str, align: bool = False, copy: bool = True) -> np.dtype:
    """Make a NumPy type of numbers or text, in the machine's byte order."""
    if not re.fullmatch(r'[biufcSU]\d+', code):
        raise UnsafeContentError(f'It holds NumPy data of type {code!r}.')
    return np.dtype(code)


def make_array(kind: str, shape: tuple, code: bytes) -> np.ndarray:
    """Make an array for the state that follows in the file."""
    if kind != NDARRAY:
        raise UnsafeContentError(f'It asks for an array of type {kind!r}.')
    return np.empty(0)


def make_array_of_bytes(
    content: bytes,
    dtype: np.dtype,
    shape: tuple[int, ...],
    order: Literal['C', 'F'],
) -> np.ndarray:
    """Make an array as protocol 5 writes it."""
    if not isinstance(content, (bytes, bytearray)):
        raise UnsafeContentError('It holds an array without content.')
    return np.frombuffer(bytearray(content), dtype).reshape(shape, order=order)


def make_scalar(dtype: np.dtype, content: bytes | str) -> np.generic:
    """Make a NumPy scalar of its bytes."""
    if isinstance(content, str):  # by Python 2
        content = content.encode('latin1')
    return np.frombuffer(content, dtype)[0]


def make_history() -> HistoryBuffer:
    """Make a history for the state that follows in the file."""
    return HistoryBuffer()


def name_of_statistic(owner: Callable, name: str) -> str:
    """Stand for ``getattr``, with which histories name their statistics.

    A history has the statistics of the mmengine that reads it, whatever the
    file says, so the name alone is returned.
    """
    if owner is not make_history or name not in STATISTICS:
        raise UnsafeContentError(f'It asks for an attribute named {name!r}.')
    return name


NDARRAY = 'numpy.ndarray'  # a word for make_array, not the class
STATISTICS = ('min', 'max', 'current', 'mean')

_TENSORS = 'tensors in state dicts'
_NUMPY = 'arrays and numbers of detectron2, and in the log of mmengine'
# The one list of what files may name. Nothing in it may call, get or set
# what it is given by name: tests/weights/test_unpickler.py goes through it.
ALLOWED: dict[str, Allowed] = {
    'collections.OrderedDict': Allowed(OrderedDict, 'state dicts'),
    'collections.Counter': Allowed(Counter, 'milestones of schedulers'),
    'builtins.set': Allowed(set, 'values in the meta of a checkpoint'),
    'builtins.bytes': Allowed(make_bytes, 'contents of empty arrays'),
    '_codecs.encode': Allowed(make_bytes, 'contents of arrays'),
    'torch.Size': Allowed(torch.Size, 'shapes'),
    'torch.device': Allowed(torch.device, 'devices in states of optimizers'),
    'torch._utils._rebuild_tensor': Allowed(make_tensor, _TENSORS),
    'torch._utils._rebuild_tensor_v2': Allowed(make_tensor, _TENSORS),
    'torch._utils._rebuild_tensor_v3': Allowed(make_tensor_of_dtype, _TENSORS),
    'torch._utils._rebuild_parameter': Allowed(make_parameter, _TENSORS),
    'torch._utils._rebuild_parameter_with_state': Allowed(
        make_parameter, _TENSORS
    ),
    'torch.storage.UntypedStorage': Allowed(torch.uint8, _TENSORS),
    'numpy.dtype': Allowed(make_dtype, _NUMPY),
    'numpy.ndarray': Allowed(NDARRAY, _NUMPY),
    'numpy._core.multiarray._reconstruct': Allowed(make_array, _NUMPY),
    'numpy._core.multiarray.scalar': Allowed(make_scalar, _NUMPY),
    'numpy._core.numeric._frombuffer': Allowed(make_array_of_bytes, _NUMPY),
    'mmengine.logging.history_buffer.HistoryBuffer': Allowed(
        make_history, 'the log of mmengine'
    ),
    'builtins.getattr': Allowed(
        name_of_statistic, 'statistics in the log of mmengine'
    ),
    **{
        f'torch.{name}Storage': Allowed(dtype, _TENSORS)
        for name, dtype in dict(
            Double=torch.float64,
            Float=torch.float32,
            Half=torch.float16,
            BFloat16=torch.bfloat16,
            Long=torch.int64,
            Int=torch.int32,
            Short=torch.int16,
            Char=torch.int8,
            Byte=torch.uint8,
            Bool=torch.bool,
            ComplexDouble=torch.complex128,
            ComplexFloat=torch.complex64,
        ).items()
    },
    **{
        str(dtype): Allowed(dtype, 'types in the meta of a checkpoint')
        for dtype in vars(torch).values()
        if isinstance(dtype, torch.dtype)
    },
}
# Names that differ by the version of Python or NumPy.
_RENAMED = (
    (r'__builtin__\.', 'builtins.'),
    (r'numpy\.core\.', 'numpy._core.'),
    (r'torch\.cuda\.(?=\w+Storage$)', 'torch.'),
)
# Operations of pickle that no checkpoint needs: they make objects of names
# in other ways, or refer to what lies outside the file.
_REFUSED = (
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.PERSID),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4),
    *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


class WeightsUnpickler(pickle._Unpickler):
    """Unpickles what :data:`ALLOWED` lists.

    Python's unpickler in Python, so that each operation can be replaced: the
    one in C gives any object on its stack a state, also a function or class.

    Args:
        file (IO[bytes]): At the beginning of a pickle.
        find_storage (Callable, optional): Returns the :class:`Storage` that
            a persistent id of PyTorch, a tuple, refers to.
        extra (dict[str, Callable]): What further names stand for.
    """

    stack: list  # of pickle's unpickler

    def __init__(
        self,
        file: IO[bytes],
        find_storage: Callable[[tuple], Storage] | None = None,
        extra: dict[str, Callable] | None = None,
    ) -> None:
        super().__init__(file, encoding='latin1')
        self._find_storage = find_storage
        self._names = {name: a.value for name, a in ALLOWED.items()}
        self._names.update(extra or {})

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the file stands for.

        Raises:
            UnsafeContentError: If it is not allowed.
        """
        full_name = f'{module}.{name}'
        for pattern, replacement in _RENAMED:
            full_name = re.sub(f'^{pattern}', replacement, full_name)
        if full_name not in self._names:
            raise UnsafeContentError(f'It asks for {full_name}.')
        return self._names[full_name]

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that the file refers to."""
        if self._find_storage is None or not isinstance(pid, tuple):
            raise UnsafeContentError('It refers to another file.')
        return self._find_storage(pid)

    def _make(self) -> None:
        """Call one of our functions or classes (REDUCE and NEWOBJ)."""
        arguments, function = self.stack.pop(), self.stack[-1]
        makers = filter(callable, self._names.values())
        if not any(function is maker for maker in makers):
            raise UnsafeContentError(f'It calls a {type(function).__name__}.')
        self.stack[-1] = function(*arguments)

    def _set_state(self) -> None:
        """Give the last object its state (BUILD)."""
        state, target = self.stack.pop(), self.stack[-1]
        for kind, set_state in _STATES.items():
            if isinstance(target, kind):
                set_state(target, state)
                return
        raise UnsafeContentError(f'It changes a {type(target).__name__}.')

    def _refuse(self) -> None:
        raise UnsafeContentError('It uses a rare operation of pickle.')

    dispatch: ClassVar[dict[int, Callable]] = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: _make,
        pickle.NEWOBJ[0]: _make,
        pickle.BUILD[0]: _set_state,
        **dict.fromkeys((code[0] for code in _REFUSED), _refuse),
    }


def _set_metadata(target: Any, state: dict) -> None:
    """Keep the versions of modules, which state dicts have as attribute."""
    target._metadata = OrderedDict(
        (name, dict(version=entry['version']))
        for name, entry in state['_metadata'].items()
        if isinstance(name, str) and isinstance(entry.get('version'), int)
    )


def _check_dtype(target: np.dtype, state: tuple) -> None:
    """Accept the state that :func:`make_dtype` has given the type already."""
    byte_order, *structure = state[1:5]
    native = '<' if sys.byteorder == 'little' else '>'
    if byte_order not in (native, '|', '=') or any(
        part is not None for part in structure
    ):
        raise UnsafeContentError(
            'It holds structured NumPy data or such of another byte order.'
        )


def _fill_array(target: np.ndarray, state: tuple) -> None:
    """Fill an array with numbers or text."""
    _, _, dtype, _, _ = state
    if not isinstance(dtype, np.dtype):
        raise UnsafeContentError(f'It holds an array of {dtype!r}.')
    target.__setstate__(state)


def _fill_history(target: HistoryBuffer, state: dict) -> None:
    """Fill a history with values and counts, and with nothing else."""
    values, counts = state['_log_history'], state['_count_history']
    if not isinstance(values, np.ndarray) or not isinstance(
        counts, np.ndarray
    ):
        raise UnsafeContentError('It holds a log of something but numbers.')
    length = operator.index(state['max_length'])
    HistoryBuffer.__init__(target, values, counts, length)


_STATES: dict[type, Callable[[Any, Any], None]] = {
    OrderedDict: _set_metadata,
    np.dtype: _check_dtype,
    np.ndarray: _fill_array,
    HistoryBuffer: _fill_history,
}
