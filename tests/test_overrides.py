"""``--cfg-options`` without effect are refused, the others are applied."""

from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def config() -> dict:
    path = ROOT / 'configs' / 'oneformer_r18_demo.py'
    return Config.fromfile(path).to_dict()


@pytest.fixture
def check(monkeypatch):
    """The check of one override."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import _overrides

    return lambda config, key: _overrides.check_overrides(config, {key: 1})


@pytest.mark.parametrize(
    'key',
    [
        'train_dataloader.batch_size',
        'train_dataloader.dataset.pipeline.0.imdecode_backend',
        'model.panoptic_head.num_queries',
        'default_hooks.checkpoint.interval',
        'load_from',
        # What the config lacks, and is read where it is given:
        'randomness.seed',
        'auto_scale_lr.base_batch_size',
        'train_dataloader.pin_memory',
        'train_dataloader.dataset.skip_unreadable',
        'model.compile',
        'model.test_cfg.max_per_image',
        'optim_wrapper.clip_grad.error_if_nonfinite',
        'optim_wrapper.accumulative_counts',
        'optim_wrapper.paramwise_cfg.norm_decay_mult',
    ],
)
def test_an_override_that_is_read_is_accepted(check, config, key):
    check(config, key)


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('modle.compile', "no 'modle', did you mean model?"),
        ('zzz', "the config has no 'zzz'."),
        (
            'train_dataloader.batch_sise',
            "no 'batch_sise', did you mean train_dataloader.batch_size?",
        ),
        (
            'default_hooks.checkpoints.interval',
            'did you mean default_hooks.checkpoint?',
        ),
        ('env_cfg.cudnn_benchmarkk', 'did you mean env_cfg.cudnn_benchmark?'),
        ('train_cfg.max_iters.x', 'train_cfg.max_iters is '),
        (
            'train_dataloader.dataset.pipeline.99.prob',
            'expected an index from 0 to 7, got ',
        ),
        (
            'train_dataloader.dataset.pipeline.flip.prob',
            'expected an index from 0 to 7, got ',
        ),
    ],
)
def test_an_override_that_leads_nowhere_is_refused_with_the_nearest_key(
    check, config, key, message
):
    with pytest.raises(SystemExit) as error:
        check(config, key)
    assert str(error.value).startswith(f'--cfg-options {key}: ')
    assert message in str(error.value)


def test_a_variable_of_the_file_is_refused_with_the_settings_made_from_it(
    check, config
):
    with pytest.raises(SystemExit) as error:
        check(config, 'data_root')
    assert "'data_root' is a variable of the config file" in str(error.value)
    assert 'train_dataloader.dataset.data_root' in str(error.value)
