"""Files get what one list allows, and nothing in it runs or reaches code."""

import io
import pickle
import sys
from collections import Counter, OrderedDict
from types import BuiltinFunctionType, FunctionType, ModuleType

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from projects.oneformer.weights import unpickler
from projects.oneformer.weights.torch_file import read_pickle, read_zip
from projects.oneformer.weights.unpickler import (
    ALLOWED,
    UnsafeContentError,
    WeightsUnpickler,
)
from tests.weights.crafted import (
    PAYLOADS,
    call,
    named,
    pickled,
    text,
)

HARMLESS_CLASSES = (OrderedDict, Counter, set, torch.Size, torch.device)


def unpickle(content: bytes):
    return WeightsUnpickler(io.BytesIO(content)).load()


# ---------------------------------------------------------------------------
# The list
# ---------------------------------------------------------------------------


@pytest.mark.parametrize('name', ALLOWED)
def test_a_name_stands_for_a_constant_a_harmless_class_or_our_function(name):
    value, reason = ALLOWED[name]
    assert reason
    if callable(value) and value not in HARMLESS_CLASSES:
        assert isinstance(value, FunctionType)
        assert value.__module__ == unpickler.__name__
    else:
        assert isinstance(value, (str, torch.dtype)) or (
            value in HARMLESS_CLASSES
        )


@pytest.mark.parametrize(
    'name',
    [
        *('builtins.eval', 'builtins.exec', 'builtins.compile'),
        *('builtins.setattr', 'builtins.delattr', 'builtins.hasattr'),
        *('builtins.__import__', 'builtins.open', 'builtins.type'),
        *('builtins.object', 'builtins.super', 'builtins.vars'),
        *('builtins.map', 'builtins.filter', 'builtins.apply'),
        *('operator.attrgetter', 'operator.methodcaller', 'operator.call'),
        *('operator.itemgetter', 'operator.setitem', 'operator.getitem'),
        *('functools.partial', 'functools.reduce', 'types.FunctionType'),
        *('types.MethodType', 'copyreg._reconstructor', 'copyreg.__newobj__'),
        *('importlib.import_module', 'pydoc.locate', 'pkgutil.resolve_name'),
        *('os.system', 'posix.system', 'subprocess.Popen', 'shutil.rmtree'),
        *('pickle.loads', 'torch.load', 'torch.jit.load', 'numpy.load'),
        *(
            'torch._tensor._rebuild_from_type_v2',
            'torch._utils._set_obj_state',
        ),
        *('torch._utils._rebuild_wrapper_subclass', 'torch.hub.load'),
        *('mmengine.registry.build_from_cfg', 'mmengine.Config.fromstring'),
        *('collections.OrderedDict.fromkeys', 'builtins.getattr.__call__'),
        'mmengine.logging.history_buffer.HistoryBuffer.__init__',
        'mmengine.logging.history_buffer.HistoryBuffer.register_statistics',
    ],
)
def test_what_calls_gets_or_sets_by_name_is_not_allowed(name):
    module, _, attribute = name.rpartition('.')
    old, new = named(name), text(module) + text(attribute) + b'\x93'
    for operation in (old, new):  # GLOBAL and STACK_GLOBAL
        with pytest.raises(UnsafeContentError, match='It asks for'):
            unpickle(b'\x80\x04' + operation + b'.')
    dotted = text('builtins') + text('getattr.__self__') + b'\x93'
    with pytest.raises(UnsafeContentError, match='getattr.__self__'):
        unpickle(b'\x80\x04' + dotted + b'.')


@pytest.mark.parametrize('name', ALLOWED)
def test_nothing_allowed_calls_what_it_is_given_or_gives_code(name):
    value = ALLOWED[name].value
    if not callable(value):
        return
    called = []

    def spy(*arguments):
        called.append(arguments)
        return spy

    attempts = [
        (),
        (spy,),
        (spy, '__globals__'),
        (spy, (spy,)),
        (spy, spy, (), None),
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, 'mean'),
        (unpickler.make_history, '__globals__'),
        (unpickler.make_history, '__class__'),
        (sys, 'modules'),
        ('os',),
        ('system', 'rot13'),
        ('O',),
        ('f8,O',),
        (np.dtype('O'), b'12345678'),
        (OrderedDict, 'fromkeys'),
        (b'12345678', np.dtype('O'), (1,), 'C'),
    ]
    for arguments in attempts:
        try:
            result = value(*arguments)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            continue
        except UnsafeContentError:
            continue
        assert not isinstance(
            result, (type, ModuleType, FunctionType, BuiltinFunctionType)
        ), arguments
        assert getattr(result, 'dtype', None) != np.dtype('O'), arguments
    assert called == []


def test_types_that_the_process_declares_safe_are_not_allowed_here():
    content = b'\x80\x02' + call(named('builtins.eval'), text('1')) + b'.'
    with (
        torch.serialization.safe_globals([eval]),
        pytest.raises(UnsafeContentError, match='builtins.eval'),
    ):
        unpickle(content)


def test_importing_the_package_declares_nothing_safe_for_others():
    safe = torch.serialization.get_safe_globals()
    assert not {getattr, setattr, eval, exec} & set(filter(callable, safe))


# ---------------------------------------------------------------------------
# Operations
# ---------------------------------------------------------------------------


@pytest.mark.parametrize('payload', PAYLOADS)
def test_no_payload_runs(payload, tmp_path):
    marker = tmp_path / 'marker'
    content = pickled(payload(marker))
    with pytest.raises(pickle.UnpicklingError):
        unpickle(content)
    assert not marker.exists()


@pytest.mark.parametrize('payload', PAYLOADS)
def test_an_ordinary_unpickler_runs_each_payload(payload, tmp_path):
    """Otherwise the tests that nothing runs could not fail."""
    marker = tmp_path / 'marker'
    result = pickle.loads(pickled(payload(marker)))
    if hasattr(result['meta'], 'wait'):
        result['meta'].wait()
    assert marker.exists()


@pytest.mark.parametrize(
    'name', ['torch._utils._rebuild_tensor_v2', 'collections.OrderedDict']
)
def test_a_function_or_class_gets_no_state(name):
    before = ALLOWED[name].value.__dict__.copy()
    state = b'N}' + text('__doc__') + text('changed') + b's\x86'
    with pytest.raises(UnsafeContentError, match='It changes a'):
        unpickle(b'\x80\x02' + named(name) + state + b'b.')
    assert ALLOWED[name].value.__dict__ == before


def test_only_allowed_functions_are_called():
    with pytest.raises(UnsafeContentError, match='It calls a'):
        unpickle(b'\x80\x02' + call(named('torch.float32'), text('a')) + b'.')


@pytest.mark.parametrize(
    'operations',
    [b'\x82\x01', b'\x83\x01\x00', b'Pname\n', b'\x97', b'N)}\x92'],
)
def test_operations_that_no_checkpoint_needs_are_refused(operations):
    with pytest.raises(pickle.UnpicklingError):
        unpickle(b'\x80\x04' + operations + b'.')


def test_the_attributes_of_a_state_dict_are_its_metadata_alone():
    weights = OrderedDict(a=1)
    weights._metadata = OrderedDict({'': dict(version=2, source='evil')})
    weights.other = 'something'
    found = unpickle(pickle.dumps(weights, 2))
    assert list(found.items()) == [('a', 1)]
    assert found._metadata == {'': dict(version=2)}
    assert not hasattr(found, 'other')


# ---------------------------------------------------------------------------
# The log of mmengine
# ---------------------------------------------------------------------------


def test_a_history_comes_back_with_its_statistics():
    history = HistoryBuffer([1.0, 3.0, 8.0], [1, 1, 2], max_length=7)
    found = unpickle(pickle.dumps(history, 2))
    assert type(found) is HistoryBuffer
    assert found.statistics('mean') == 3.0
    assert found.statistics('mean', 1) == 4.0
    assert found.max() == 8.0 and found.min() == 1.0
    assert found.current() == 8.0 and found.max_length == 7
    found.update(5.0)
    assert found.data[0].tolist() == [1, 3, 8, 5]


def test_an_empty_history_comes_back():
    found = unpickle(pickle.dumps(HistoryBuffer(), 2))
    assert found.data[0].shape == found.data[1].shape == (0,)


def test_a_file_changes_neither_statistics_nor_methods_of_histories():
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    state = history.__getstate__() | dict(
        update='overwritten',
        statistics_methods=dict(mean=HistoryBuffer.max, other=1),
    )

    class Crafted:
        def __reduce__(self):
            return HistoryBuffer, (), state

    before = dict(HistoryBuffer._statistics_methods)
    found = unpickle(pickle.dumps(Crafted(), 2))
    assert HistoryBuffer._statistics_methods == before
    assert found.statistics('mean') == 2.0
    found.update(1.0)


@pytest.mark.parametrize(
    'name', ['__init__', '__globals__', 'register_statistics', 'update']
)
def test_getattr_gives_statistics_of_histories_and_nothing_else(name):
    history = named('mmengine.logging.history_buffer.HistoryBuffer')
    content = call(named('builtins.getattr'), history, text(name))
    with pytest.raises(UnsafeContentError, match=name):
        unpickle(b'\x80\x02' + content + b'.')


# ---------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------


def same(found, expected) -> bool:
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert found.requires_grad == expected.requires_grad
        return found.shape == expected.shape and bool(
            (found.view(torch.uint8) == expected.view(torch.uint8)).all()
            if expected.is_contiguous() and expected.dim()
            else (found == expected).all()
        )
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            same(found[key], value) for key, value in expected.items()
        )
    return bool(np.array_equal(found, expected))


def values() -> dict:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    return dict(
        state_dict=OrderedDict(
            whole=base,
            view=base[1:, ::2],
            transposed=base.T,
            scalar=torch.tensor(3.5),
            empty=torch.zeros(0, 3),
            half=base.half(),
            brain=base.bfloat16(),
            double=base.double(),
            long=torch.arange(5),
            byte=torch.arange(5, dtype=torch.uint8),
            mask=base > 0,
            complex=torch.complex(base, base),
            eight_bits=base.to(torch.float8_e4m3fn),
            parameter=torch.nn.Parameter(base.clone()),
        ),
        plain=dict(
            number=1.5,
            large=2**70,
            nothing=None,
            flags=[True, False],
            names=('a', 'ä'),
            some={1, 2},
            raw=b'\x00\xff',
            shape=torch.Size([2, 3]),
            device=torch.device('cpu'),
            dtype=torch.bfloat16,
            milestones=Counter({3: 1, 7: 2}),
        ),
        numpy=dict(
            array=np.arange(6.0).reshape(2, 3),
            fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
            flags=np.array([True, False]),
            names=np.array(['cat', 'sky']),
            none=np.zeros((0, 2)),
            number=np.float64(0.1),
            count=np.int32(7),
        ),
    )


@pytest.mark.parametrize('zipped', [True, False])
def test_what_pytorch_saves_comes_back(zipped):
    file = io.BytesIO()
    content = values()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    found = read_zip(file) if zipped else read_pickle(file)
    for part, expected in content.items():
        for name, value in expected.items():
            assert same(found[part][name], value), name
    weights = found['state_dict']
    weights['whole'][1, 2] = 7  # views share their storage
    assert weights['view'][0, 1] == weights['transposed'][2, 1] == 7


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_what_pickle_writes_comes_back(protocol):
    content = values()
    del content['state_dict']['eight_bits']
    file = io.BytesIO(pickle.dumps(content, protocol))
    found = read_pickle(file)
    for part, expected in content.items():
        for name, value in expected.items():
            assert same(found[part][name], value), name


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    'map_location',
    [
        *('meta', torch.device('meta'), dict(cpu='meta')),
        lambda storage, _: torch.UntypedStorage(
            storage.nbytes(), device='meta'
        ),
    ],
)
def test_tensors_are_put_where_they_are_asked_for(zipped, map_location):
    file = io.BytesIO()
    torch.save(
        dict(a=torch.ones(2, 3)), file, _use_new_zipfile_serialization=zipped
    )
    file.seek(0)
    read = read_zip if zipped else read_pickle
    tensor = read(file, map_location)['a']
    assert tensor.is_meta
    assert tensor.shape == (2, 3)


@pytest.mark.parametrize(
    'array',
    [
        np.array([print, {}], dtype=object),
        np.zeros(2, dtype=[('a', 'f8'), ('b', 'i4')]),
        np.zeros(2, dtype='>f8'),
        np.array(['2026-01-01'], dtype='datetime64[D]'),
    ],
)
def test_arrays_of_anything_but_numbers_and_text_are_refused(array):
    with pytest.raises(UnsafeContentError):
        unpickle(pickle.dumps(array, 2))


def test_a_tensor_beyond_its_storage_is_refused():
    content = io.BytesIO()
    torch.save(torch.zeros(4), content)
    storage = unpickler.Storage(torch.UntypedStorage(16), torch.float32)
    with pytest.raises(ValueError, match='needs 9 elements, its storage has'):
        unpickler.make_tensor(storage, 1, (2, 4), (4, 1))
    with pytest.raises(RuntimeError):
        unpickler.make_tensor(storage, -1, (2,), (1,))
