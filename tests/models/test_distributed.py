"""Training on two processes, which talk through gloo on this machine.

Run as a script, this file is one of the two.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F

ROOT = Path(__file__).parents[2]
WORLD_SIZE = 2
LIMIT = 600  # seconds, as a busy machine may need


class Results(NamedTuple):
    """What each process found, by rank."""

    contrastive: list[dict]
    uneven: list[dict]
    steps: list[list[dict]]
    left_out: list[dict]


@pytest.fixture(scope='module')
def results(tmp_path_factory) -> Results:
    """Run this file as two processes, which find each other by a file."""
    folder = tmp_path_factory.mktemp('two_processes')
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        GLOO_SOCKET_IFNAME='lo',
    )
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        outputs = [p.communicate(timeout=LIMIT)[0] for p in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    found = [torch.load(result_file(folder, r)) for r in range(WORLD_SIZE)]
    return Results(*zip(*found, strict=True))


def result_file(folder: Path, rank: int) -> Path:
    return folder / f'result-{rank}.pt'


def main(rank: int, folder: Path) -> None:
    """Be one of the processes."""
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder / "rendezvous"}',
        rank=rank,
        world_size=WORLD_SIZE,
    )
    own = slice(2 * rank, 2 * rank + 2)
    queries, texts = contrastive_inputs()
    uneven = slice(0, 3) if rank == 0 else slice(3, 4)
    torch.save(
        (
            contrastive_loss(queries[own], texts[own]),
            contrastive_loss(queries[uneven], texts[uneven]),
            training_steps(rank),
            step_left_out(rank),
        ),
        result_file(folder, rank),
    )
    torch.distributed.destroy_process_group()


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


def training_steps(rank: int) -> list[dict]:
    """Return losses and sums of gradients: none, one or both have objects."""
    # The folder of the tests is on the path of the script only.
    from model_configs import build_model, data_sample, images, tiny_model
    from torch.nn.parallel import DistributedDataParallel

    # Small buckets are reduced while others still wait for gradients.
    model = DistributedDataParallel(build_model(tiny_model()), bucket_cap_mb=1)
    model.train()
    steps = []
    for empty in ((0, 1), (0,), (1,), ()):
        torch.manual_seed(rank)  # the same points in every step
        labels = [[], []] if rank in empty else [[1, 2, 1], [0, 4]]
        samples = [
            data_sample(64, 96, own, task)
            for own, task in zip(labels, ('panoptic', 'semantic'), strict=True)
        ]
        losses = model(images(2, 64, 96, seed=rank), samples, mode='loss')
        model.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        steps.append(
            dict(
                losses={name: loss.detach() for name, loss in losses.items()},
                grads={
                    name: None if p.grad is None else p.grad.double().sum()
                    for name, p in model.module.named_parameters()
                },
            )
        )
    return steps


def step_left_out(rank: int) -> dict:
    """Return losses and gradients where one process has a broken picture."""
    from model_configs import build_model, data_sample, images, tiny_model
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(build_model(tiny_model()))
    pictures = images(1, 64, 96)
    if rank == 1:
        pictures[:] = torch.nan
    sample = data_sample(64, 96, [1, 2], 'panoptic')
    losses = model(pictures, [sample], mode='loss')
    sum(losses.values()).backward()
    return dict(
        losses={name: loss.detach() for name, loss in losses.items()},
        moved=[
            name
            for name, param in model.module.named_parameters()
            if param.grad is None or param.grad.any()
        ],
    )


def test_both_processes_leave_out_what_is_not_finite_in_one(results):
    for step in results.left_out:
        assert step == dict(
            losses=dict(loss_left_out=torch.tensor(0.0)), moved=[]
        )


def test_the_mean_over_processes_is_the_loss_of_the_joined_batch(results):
    joined = contrastive_loss(*contrastive_inputs())

    def mean(key):
        return sum(found[key] for found in results.contrastive) / WORLD_SIZE

    torch.testing.assert_close(mean('loss'), joined['loss'])
    # Training on several processes takes the mean of their gradients.
    torch.testing.assert_close(mean('scale'), joined['scale'])
    for key in ('queries', 'texts'):
        own = torch.cat([found[key] for found in results.contrastive])
        torch.testing.assert_close(own / WORLD_SIZE, joined[key])


def test_processes_may_have_different_numbers_of_images(results):
    queries, texts = contrastive_inputs()
    queries.requires_grad_()
    images = F.normalize(queries.flatten(1), dim=-1)
    logits = images @ F.normalize(texts.flatten(1), dim=-1).T / 0.07
    match = torch.arange(4)
    losses = 0.5 * (
        F.cross_entropy(logits, match, reduction='none')
        + F.cross_entropy(logits.T, match, reduction='none')
    )
    own = losses[:3].mean(), losses[3:].mean()
    sum(own).backward()
    for found, loss in zip(results.uneven, own, strict=True):
        torch.testing.assert_close(found['loss'], loss.detach())
    found = torch.cat([found['queries'] for found in results.uneven])
    torch.testing.assert_close(found, queries.grad)


def test_images_of_the_other_process_count_in_the_contrastive_loss(results):
    queries, texts = contrastive_inputs()
    alone = contrastive_loss(queries[:2], texts[:2])
    assert results.contrastive[0]['loss'] > 1.1 * alone['loss']


def test_every_parameter_gets_a_gradient_with_and_without_objects(results):
    first, second = results.steps
    assert len(first) == len(second) == 4
    for step, other in zip(first, second, strict=True):
        for name, grad in step['grads'].items():
            assert grad is not None, name
            assert grad.isfinite().all(), name
            assert grad.equal(other['grads'][name]), name


def test_without_objects_anywhere_there_are_no_mask_losses(results):
    for steps in results.steps:
        for name, loss in steps[0]['losses'].items():
            learned = name.endswith('loss_cls') or name == 'loss_contrastive'
            assert bool(loss > 0) == learned, name


def test_masks_are_counted_over_both_processes(results):
    first, second = results.steps
    assert second[2]['losses']['loss_mask'] == 0  # it has no object there
    for name in ('loss_mask', 'loss_dice'):
        # Five masks, shared by two processes, against five for each.
        torch.testing.assert_close(
            first[2]['losses'][name], 2 * first[3]['losses'][name]
        )


if __name__ == '__main__':
    main(int(sys.argv[1]), Path(sys.argv[2]))
