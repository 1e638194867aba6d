"""How often the host would wait for a GPU, counted on a CPU.

A GPU works while the host prepares what comes next, until the host asks for a
value or for a number of values: ``item``, ``nonzero``, a boolean mask as an
index, a copy to the host. These operators are intercepted here, wherever
what they read is computed from the weights or inputs of the model, which
would be on the GPU. Copies from the host to the GPU do not wait.
"""

from collections import Counter
from itertools import chain

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from projects.oneformer.tasks import TASKS
from tests.model_configs import (
    NUM_CLASSES,
    NUM_QUERIES,
    build_model,
    data_sample,
    images,
    tiny_model,
)

SIZE = (64, 96)
# Operators that read a value on the host, or how many values there are.
WAITING = {
    'aten::_local_scalar_dense',
    'aten::nonzero',
    'aten::masked_select',
    'aten::_unique2',
    'aten::unique_dim',
    'aten::unique_consecutive',
    'aten::bincount',
    'aten::repeat_interleave',
    'aten::equal',
}
# Methods that copy to the host, which on a CPU reach no operator.
COPYING = {Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.__array__}


class HostSyncs(TorchDispatchMode):
    """Counts, by name, the operators for which the host would wait.

    Args:
        on_device (Iterable[Tensor]): What would be on the GPU. So would be
            whatever is computed from it.
    """

    def __init__(self, on_device) -> None:
        super().__init__()
        # Storages are kept: of a freed one the number could come again.
        self.storages = {}
        self.found = Counter()
        for tensor in on_device:
            self.mark(tensor)
        self.copies = CopiesToHost(self)

    def __enter__(self) -> Counter:
        super().__enter__()
        self.copies.__enter__()
        return self.found

    def __exit__(self, *error) -> None:
        self.copies.__exit__(*error)
        super().__exit__(*error)

    def mark(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self.storages[storage._cdata] = storage

    def holds(self, value) -> bool:
        return (
            isinstance(value, Tensor)
            and value.untyped_storage()._cdata in self.storages
        )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if any(map(self.holds, tree_leaves((args, kwargs)))):
            name = func._schema.name
            masked = name in ('aten::index', 'aten::index_put_') and any(
                index.dtype in (torch.bool, torch.uint8)
                for index in args[1]
                if index is not None
            )
            if masked or name in WAITING:
                self.found[name] += 1
            for output in tree_leaves(result):
                if isinstance(output, Tensor):
                    self.mark(output)
        return result


class CopiesToHost(TorchFunctionMode):
    """Counts copies to the host; what they return is on the host."""

    def __init__(self, syncs: HostSyncs) -> None:
        super().__init__()
        self.syncs = syncs

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        to_host = func in COPYING or (
            func is Tensor.to and torch.device('cpu') in places(args, kwargs)
        )
        if not (to_host and self.syncs.holds(args[0])):
            return func(*args, **kwargs)
        self.syncs.found[func.__name__] += 1
        with torch.utils._python_dispatch._disable_current_modes():
            return func(args[0].detach().clone(), *args[1:], **kwargs)


def places(args: tuple, kwargs: dict) -> list[torch.device]:
    """Return the devices that are named, as 'cpu', in a call of ``to``.

    A tensor's own device may be passed on: that is the GPU.
    """
    named = [*args[1:], *kwargs.values()]
    return [torch.device(name) for name in named if name == 'cpu']


def count_syncs(call, *on_device) -> Counter:
    with torch.no_grad(), HostSyncs(on_device) as found:
        call()
    return found


@pytest.fixture(scope='module')
def model():
    # Every query is kept, so that there is something to do.
    return build_model(
        tiny_model(training=False, object_mask_thr=0.0, iou_thr=0.0)
    )


def weights(model) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


@pytest.mark.parametrize(
    'call',
    [
        lambda x: x[0].item(),
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.index_put_((x > 0,), torch.ones(2)),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: torch.arange(2).repeat_interleave(x.long()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.to('cpu'),
        lambda x: (x + 1)[1:].numpy(),
    ],
)
def test_what_waits_for_a_gpu_is_counted(call):
    x = torch.tensor([1.0, 2.0])
    assert count_syncs(lambda: call(x), x).total() == 1
    # The same, of values that the host has.
    assert count_syncs(lambda: call(x)).total() == 0


def test_what_does_not_wait_is_not_counted():
    x = torch.tensor([1.0, 0.0])

    def call():
        place = torch.tensor([1, 0]).to(x.device)
        x[place].where(x > 0, 0).cumsum(0).masked_fill_(x > 0, 1.0)
        host = x.cpu()  # the one copy
        host.nonzero(), host.tolist(), host.sum().item()

    assert count_syncs(call, x) == {'cpu': 1}


def test_backbone_and_decoders_never_wait(model):
    pictures = images(3, *SIZE)
    samples = [data_sample(*SIZE, task=task) for task in TASKS]

    def call():
        model(pictures, samples, 'tensor')

    call()  # makes the tables that are made once
    assert count_syncs(call, pictures, *weights(model)) == {}


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('size', [SIZE, (300, 450)])
def test_a_result_waits_at_most_twice(model, task, size):
    sample = data_sample(*SIZE)
    sample.set_metainfo(dict(ori_shape=size))
    scores = 3 * torch.randn(NUM_QUERIES, NUM_CLASSES + 1)
    masks = 3 * torch.randn(NUM_QUERIES, SIZE[0] // 4, SIZE[1] // 4)
    fusion = model.panoptic_fusion_head
    result = None

    def call():
        nonlocal result
        result = fusion(task, scores, masks, sample.metainfo)

    found = count_syncs(call, scores, masks, *weights(model))
    assert found.total() <= 2, found
    # There was something to wait for.
    field = 'masks' if task == 'instance' else 'sem_seg'
    assert len(result.get(field).unique()) > 1


def test_a_whole_prediction_waits_only_for_its_results(model):
    pictures = images(2, *SIZE)
    samples = [data_sample(*SIZE), data_sample(*SIZE, task='semantic')]
    model.predict(pictures, samples)
    found = count_syncs(
        lambda: model.predict(pictures, samples),
        *chain([pictures], weights(model)),
    )
    # Two results that wait, in the first image; semantic ones do not.
    assert 0 < found.total() <= 4, found
