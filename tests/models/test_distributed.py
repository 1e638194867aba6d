"""Training on two processes, which talk through gloo on this machine.

Run as a script, this file is one of the two.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
WORLD_SIZE = 2
LIMIT = 120  # seconds


def in_two_processes(case: str, folder: Path) -> list[dict]:
    """Run a function of this file in each process; return what both return.

    The processes find each other through a file, as a port could be taken.
    """
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        GLOO_SOCKET_IFNAME='lo',
        OMP_NUM_THREADS='1',
    )
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, case, str(rank), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        outputs = [
            process.communicate(timeout=LIMIT)[0] for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return [
        torch.load(result_file(folder, rank)) for rank in range(WORLD_SIZE)
    ]


def result_file(folder: Path, rank: int) -> Path:
    return folder / f'result-{rank}.pt'


def contrastive_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Return queries and texts of a batch that the processes share."""
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(2 * WORLD_SIZE, 6, 8, generator=generator),
        torch.randn(2 * WORLD_SIZE, 6, 8, generator=generator),
    )


def contrastive_loss(queries: torch.Tensor, texts: torch.Tensor) -> dict:
    """Return the loss of a batch, and its gradients."""
    from projects.oneformer.models import QueryTextContrastiveLoss

    queries, texts = queries.clone(), texts.clone()
    queries.requires_grad_()
    texts.requires_grad_()
    module = QueryTextContrastiveLoss()
    loss = module(queries, texts)
    loss.backward()
    return dict(
        loss=loss.detach(),
        queries=queries.grad,
        texts=texts.grad,
        scale=module.logit_scale.grad,
    )


def share_of_the_contrastive_loss(rank: int) -> dict:
    own = slice(2 * rank, 2 * rank + 2)
    queries, texts = contrastive_inputs()
    return contrastive_loss(queries[own], texts[own])


def training_steps(rank: int) -> dict:
    """Train where both, one or no process has objects."""
    # The folder of the tests is on the path of the script only.
    from model_configs import build_model, data_sample, images, tiny_model
    from torch.nn.parallel import DistributedDataParallel

    # Buckets of this size make many, which are reduced while others wait.
    model = DistributedDataParallel(build_model(tiny_model()), bucket_cap_mb=1)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps = []
    for empty in ((0, 1), (0,), (1,), ()):
        labels = [[], []] if rank in empty else [[1, 2, 1], [0, 4]]
        samples = [
            data_sample(64, 96, own, task)
            for own, task in zip(labels, ('panoptic', 'semantic'), strict=True)
        ]
        losses = model(images(2, 64, 96, seed=rank), samples, mode='loss')
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        steps.append(
            dict(
                losses={name: loss.detach() for name, loss in losses.items()},
                grads={n: p.grad for n, p in model.module.named_parameters()},
            )
        )
        optimizer.step()
    return dict(steps=steps)


def test_the_mean_over_processes_is_the_loss_of_the_joined_batch(tmp_path):
    results = in_two_processes('share_of_the_contrastive_loss', tmp_path)
    joined = contrastive_loss(*contrastive_inputs())

    def mean(key):
        return sum(result[key] for result in results) / WORLD_SIZE

    torch.testing.assert_close(mean('loss'), joined['loss'])
    # Else it could be the loss of each half by itself.
    halves = [
        contrastive_loss(*x)
        for x in zip(*(t.split(2) for t in contrastive_inputs()), strict=True)
    ]
    assert not sum(half['loss'] for half in halves).isclose(
        WORLD_SIZE * joined['loss']
    )
    # Training on several processes takes the mean of their gradients.
    torch.testing.assert_close(mean('scale'), joined['scale'])
    for key in ('queries', 'texts'):
        own = torch.cat([result[key] for result in results]) / WORLD_SIZE
        torch.testing.assert_close(own, joined[key])


@pytest.fixture(scope='module')
def steps(tmp_path_factory) -> list[tuple[dict, dict]]:
    results = in_two_processes(
        'training_steps', tmp_path_factory.mktemp('training')
    )
    return list(zip(*(result['steps'] for result in results), strict=True))


def test_every_parameter_gets_a_gradient_with_and_without_objects(steps):
    assert len(steps) == 4
    for first, second in steps:
        for name, grad in first['grads'].items():
            assert grad is not None, name
            assert grad.isfinite().all(), name
            assert grad.equal(second['grads'][name]), name


def test_without_objects_anywhere_there_are_no_mask_losses(steps):
    for step in steps[0]:
        for name, loss in step['losses'].items():
            learned = name.endswith('loss_cls') or name == 'loss_contrastive'
            assert bool(loss > 0) == learned, name


def test_masks_are_counted_over_both_processes(steps):
    """One process alone has five masks: two and a half each."""
    shared, full = steps[2][0]['losses'], steps[3][0]['losses']
    assert steps[2][1]['losses']['loss_mask'] == 0
    assert float(shared['d0.loss_dice']) == pytest.approx(
        2 * float(full['d0.loss_dice']), rel=0.2
    )


if __name__ == '__main__':
    case, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder / "rendezvous"}',
        rank=rank,
        world_size=WORLD_SIZE,
    )
    torch.save(globals()[case](rank), result_file(folder, rank))
    torch.distributed.destroy_process_group()
