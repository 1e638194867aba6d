"""Training that is interrupted is training that is not."""

import functools
import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from tests.engine.toy_training import (
    BATCH_SIZE,
    NUM_SAMPLES,
    Noise,
    differing,
    read,
    toy_runner,
    workers,
)
from tools.misc.make_demo_data import make_demo_data

ROOT = Path(__file__).parents[2]
ITERATIONS = 6


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return functools.partial(tmp_path_factory.mktemp, 'run')


def resume(folder, path: Path, **options) -> Path:
    """Continue with a checkpoint; return the last one."""
    target = folder()
    toy_runner(
        target, ITERATIONS, resume=True, load_from=str(path), **options
    ).train()
    return target / f'iter_{ITERATIONS}.pth'


@pytest.mark.parametrize('number', [0, 2])
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(val_interval=2),
        dict(custom_hooks=[dict(type='EMAHook')]),
        dict(accumulative_counts=2),
    ],
    ids=['plain', 'validated', 'averaged', 'accumulated'],
)
def test_resumed_training_equals_uninterrupted_training(
    folder, number, options
):
    options = dict(options, loader=workers(number))
    whole = folder()
    toy_runner(whole, ITERATIONS, **options).train()
    last = whole / f'iter_{ITERATIONS}.pth'
    saved = sorted(whole.glob('iter_*.pth'))
    for path in saved[:-1:3]:  # some of them, without the last
        found = differing(resume(folder, path, **options), last)
        # A validation after the checkpoint is not made up for.
        assert [name for name in found if '/logs/val/' not in name] == []


def test_the_comparison_above_can_fail(folder):
    whole, other = folder(), folder()
    toy_runner(whole, 2, seed=0).train()
    toy_runner(other, 2, seed=1).train()
    found = differing(whole / 'iter_2.pth', other / 'iter_2.pth')
    for part in (
        '/state_dict/layers.0.weight',
        '/optimizer/state/0/exp_avg',
        '/logs/train/loss',
    ):
        assert part in found


def test_numbers_of_processes_and_validations_change_nothing(folder):
    lasts = []
    for options in (
        {},
        dict(loader=workers(2)),
        dict(loader=dict(num_workers=1)),
        dict(val_interval=1),
    ):
        target = folder()
        torch.manual_seed(0)  # for the initial weights
        toy_runner(target, 3, seed=5, **options).train()
        lasts.append(read(target / 'iter_3.pth')['state_dict'])
    for other in lasts[1:]:
        assert all(torch.equal(other[name], lasts[0][name]) for name in other)


def reads(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


@pytest.mark.parametrize(
    'sampler', ['InfiniteSampler', 'DefaultSampler', 'ClassAwareSampler']
)
@pytest.mark.parametrize('shape', [None, 'AspectRatioBatchSampler'])
def test_images_seen_before_are_not_read_again(
    folder, tmp_path, monkeypatch, sampler, shape
):
    # What ClassAwareSampler asks of a dataset.
    monkeypatch.setattr(
        Noise, 'get_cat_ids', lambda _, index: [index % 2], raising=False
    )
    monkeypatch.setattr(Noise, 'metainfo', dict(classes=('even', 'odd')))

    def loader(name: str) -> dict:
        return dict(
            dataset=dict(type=Noise, reads=str(tmp_path / name)),
            sampler=dict(type=sampler),
            batch_sampler=shape and dict(type=shape),
        )

    whole = folder()
    toy_runner(whole, ITERATIONS, loader=loader('whole')).train()
    resume(folder, whole / 'iter_4.pth', loader=loader('resumed'))
    ahead = reads(tmp_path / 'resumed')
    assert 2 <= len(ahead) <= 2 * BATCH_SIZE  # two batches
    assert reads(tmp_path / 'whole')[-len(ahead) :] == ahead


def test_every_epoch_has_every_image_in_an_order_of_its_own(folder, tmp_path):
    loader = dict(
        dataset=dict(type=Noise, reads=str(tmp_path / 'reads')),
        sampler=dict(type='DefaultSampler'),
        batch_sampler=None,
        batch_size=1,
    )
    toy_runner(folder(), 2 * NUM_SAMPLES, loader=loader).train()
    drawn = reads(tmp_path / 'reads')
    epochs = drawn[:NUM_SAMPLES], drawn[NUM_SAMPLES:]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 2
    assert epochs[0] != epochs[1]


def warnings(caplog) -> str:
    return '\n'.join(
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
    )


def hear(caplog, monkeypatch) -> None:
    """Let messages of mmengine's logger reach pytest."""
    handle = caplog.handler.handle
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.callHandlers',
        lambda _, record: handle(record),
    )


def test_a_checkpoint_of_an_older_version_resumes_and_says_how(
    folder, caplog, monkeypatch
):
    whole = folder()
    toy_runner(whole, 2).train()
    checkpoint = read(whole / 'iter_2.pth')
    del checkpoint['message_hub']['runtime_info']['train_samples']
    del checkpoint['message_hub']['resumed_keys']['train_samples']
    torch.save(checkpoint, whole / 'old.pth')
    hear(caplog, monkeypatch)
    last = resume(folder, whole / 'old.pth')
    assert read(last)['meta']['iter'] == ITERATIONS
    text = warnings(caplog)
    assert 'differ from those of an uninterrupted training: the check' in text
    assert 'does not record how its samples were drawn' in text


def test_another_batch_size_is_reported(folder, caplog, monkeypatch):
    whole = folder()
    toy_runner(whole, 2).train()
    hear(caplog, monkeypatch)
    resume(folder, whole / 'iter_2.pth')
    assert 'uninterrupted' not in warnings(caplog)
    resume(folder, whole / 'iter_2.pth', loader=dict(batch_size=3))
    assert 'uninterrupted training: batch_size was 2 and is 3.' in warnings(
        caplog
    )


def test_a_loader_that_is_built_already_is_refused(folder):
    runner = toy_runner(folder(), 1)
    runner._train_dataloader = DataLoader(Noise())
    with pytest.raises(TypeError, match='expected its config, got a DataLoa'):
        runner.train()


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_a_training_set_without_images_is_refused(folder, sampler):
    loader = dict(
        dataset=dict(type=Noise, length=0), sampler=dict(type=sampler)
    )
    with pytest.raises(ValueError, match='training set has no samples: check'):
        toy_runner(folder(), 1, loader=loader).train()


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    target = tmp_path_factory.mktemp('data') / 'shapes'
    make_demo_data(target, num_train=6, num_val=1, size=64)
    return target


@pytest.mark.parametrize('number', [0, 2])
def test_a_oneformer_resumes_exactly(folder, shapes, number):
    def train(target: Path, **options) -> Path:
        config = Config.fromfile(ROOT / 'configs' / 'oneformer_r18_demo.py')
        loader = config.train_dataloader
        loader.update(workers(number), batch_size=2)
        loader.dataset.data_root = str(shapes)
        config.train_cfg.max_iters = 3
        config.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=3)
        config.merge_from_dict(
            dict(
                work_dir=str(target),
                experiment_name=str(target),
                randomness=dict(seed=None),
                log_level='WARNING',
                **dict.fromkeys(
                    f'val_{part}' for part in ('cfg', 'dataloader')
                ),
                val_evaluator=None,
                **options,
            )
        )
        Runner.from_cfg(config).train()
        return target / 'iter_3.pth'

    whole = train(folder())
    killed = whole.with_name('iter_1.pth')
    resumed = train(folder(), resume=True, load_from=str(killed))
    assert differing(whole, resumed) == []
