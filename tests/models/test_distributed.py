"""Training and metrics on two processes, which talk through gloo.

Run as a script, this file is one of the two.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from projects.oneformer.evaluation import (
    CityscapesInstanceAP,
    CityscapesPixelIoU,
)
from projects.oneformer.models import QueryTextContrastiveLoss
from tests.evaluation.test_cityscapes_metric import (
    META,
    make_metric,
    random_samples,
)
from tests.evaluation.test_evaluator import predict
from tests.model_configs import (
    NUM_POINTS,
    build_model,
    data_sample,
    images,
    tiny_model,
)
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[2]
WORLD_SIZE = 2
LIMIT = 600  # seconds, as a busy machine may need
# Another package of this name is installed with mmdet; pytest hides it, too.
AS_SCRIPT = f"""
import runpy, sys, types
sys.modules['tests'] = types.ModuleType('tests')
sys.modules['tests'].__path__ = [{str(ROOT / 'tests')!r}]
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


class Results(NamedTuple):
    """What each process found, by rank."""

    contrastive: list[dict]
    uneven: list[dict]
    steps: list[list[dict]]
    left_out: list[dict]
    gradients: list[dict]
    metrics: list[dict]
    cityscapes: list[dict]


@pytest.fixture(scope='module')
def results(tmp_path_factory) -> Results:
    """Run this file as two processes, which find each other by a file."""
    folder = tmp_path_factory.mktemp('two_processes')
    draw_data(folder)
    environment = dict(
        os.environ,
        PYTHONPATH=str(ROOT),
        GLOO_SOCKET_IFNAME='lo',
    )
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', AS_SCRIPT, __file__, str(rank), folder],
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
            gradients(rank),
            metrics(folder),
            cityscapes_metrics(folder),
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
    """Return losses and gradients where one process has a broken image."""
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


def gradients(rank: int | None) -> dict[str, torch.Tensor]:
    """Return those of two images in this process, or of all four in one."""
    model = build_model(tiny_model())
    model.train()
    # The same for every mask, in whatever order they come.
    points = torch.rand(
        NUM_POINTS, 2, generator=torch.Generator().manual_seed(7)
    )
    criterion = model.panoptic_head.criterion
    criterion.draw_points = lambda logits: points.expand(len(logits), -1, -1)
    criterion.matcher.draw_points = lambda device: points
    # Each process divides the loss of classes by the weights of its own
    # images, as the reference does: so both have five objects.
    tasks = ('panoptic', 'semantic', 'instance', 'panoptic')
    labels = ([1, 2, 1], [0, 4], [3], [5, 0, 2, 1])
    pictures = images(4, 64, 96)
    samples = [
        data_sample(64, 96, own, task, seed=i)
        for i, (own, task) in enumerate(zip(labels, tasks, strict=True))
    ]
    whole = model
    if rank is not None:
        own = slice(2 * rank, 2 * rank + 2)
        pictures, samples = pictures[own], samples[own]
        whole = DistributedDataParallel(model)
    losses = whole(pictures, samples, mode='loss')
    sum(losses.values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def draw_data(folder: Path) -> None:
    """Draw data sets for the metrics: an odd number of images, and four."""
    make_demo_data(folder / 'demo', num_train=1, num_val=7, size=64, seed=4)
    torch.save(random_samples(folder, seed=0), folder / 'cityscapes.pt')


def metrics(folder: Path) -> dict[str, float]:
    """Return the metrics of COCO, of a model that is right about a part.

    Each process evaluates the images that OpenMMLab's sampler gives it.
    """
    init_default_scope('mmdet')
    config = Config.fromfile(ROOT / 'configs/_base_/datasets/coco_panoptic.py')
    options = config.val_dataloader.dataset
    del options['metainfo']
    options.update(
        data_root=str(folder / 'demo'),
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val', seg='annotations/panoptic_val'),
    )
    dataset = DATASETS.build(options)
    for metric in config.val_evaluator:
        metric.classwise = True
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for index in DefaultSampler(dataset, shuffle=False):
        sample = dataset[index]['data_samples']
        predict(sample, len(dataset.metainfo['classes']))
        # By another amount for every image, so that their order counts.
        for result in (sample.pred_panoptic_seg, sample.pred_sem_seg):
            result.sem_seg = result.sem_seg.roll(index, dims=-1)
        instances = sample.pred_instances
        instances.masks = instances.masks.roll(index, dims=-1)
        instances.scores = instances.scores / (1 + index)
        evaluator.process([sample])
    return evaluator.evaluate(len(dataset))


def cityscapes_metrics(folder: Path) -> dict[str, float] | None:
    """Return the metrics by the official scripts, None without these."""
    if importlib.util.find_spec('cityscapesscripts') is None:
        return None
    samples = torch.load(folder / 'cityscapes.pt', weights_only=False)
    evaluator = Evaluator(
        [
            make_metric(kind, folder)
            for kind in (CityscapesInstanceAP, CityscapesPixelIoU)
        ]
    )
    evaluator.dataset_meta = META
    for index in DefaultSampler(samples, shuffle=False):
        for metric in evaluator.metrics:
            metric.process({}, [samples[index]])
    found = evaluator.evaluate(len(samples))
    # Numbers of NumPy would not be read again as weights are.
    return {name: float(value) for name, value in found.items()}


def test_two_processes_have_the_gradients_of_one(results):
    expected = gradients(None)
    largest = max(grad.abs().max() for grad in expected.values())
    for found in results.gradients:
        assert found.keys() == expected.keys()
        for name, grad in found.items():
            torch.testing.assert_close(
                grad, expected[name], rtol=0, atol=1e-5 * float(largest)
            )


def test_two_processes_have_the_metrics_of_one(results, tmp_path):
    draw_data(tmp_path)
    expected = metrics(tmp_path)
    assert len(expected) > 30
    assert 0 < expected['panoptic/PQ'] < 100
    assert 0 < expected['instance/segm_mAP'] < 1
    assert 0 < expected['semantic/mIoU'] < 100
    for found in results.metrics:
        assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_two_processes_have_the_official_metrics_of_one(results, tmp_path):
    pytest.importorskip('cityscapesscripts', reason='needs cityscapesscripts')
    draw_data(tmp_path)
    expected = cityscapes_metrics(tmp_path)
    assert {'instance/segm_mAP', 'semantic/iIoU'} <= expected.keys()
    for found in results.cityscapes:
        assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


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
