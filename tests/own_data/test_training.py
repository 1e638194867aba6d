"""From a folder of data to a tested model, by one command, and again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import _own_training
import _progress
import cv2
import init
import pytest
from _progress import Stopwatch, duration
from own_data import Wishes, make_plan
from own_data.machine import Machine
from own_data.rules import Choice

from tests.own_data import exports

ROOT = Path(__file__).parents[2]
# Two iterations of the small network without loader processes.
SHORT = [
    *('--device', 'cpu', '--backbone', 'r18', '--cfg-options'),
    *('train_cfg.max_iters=2', 'param_scheduler.1.end=2'),
    *('param_scheduler.0.end=1', 'param_scheduler.1.begin=1'),
    *('default_hooks.checkpoint.interval=1', 'train_dataloader.batch_size=2'),
    'model.test_cfg.object_mask_thr=0.0',
    *(
        f'{loader}_dataloader.{option}'
        for loader in ('train', 'val', 'test')
        for option in ('num_workers=0', 'persistent_workers=False')
    ),
]


def train(folder: Path, *arguments: object, check=True):
    """Run the command in a folder; return the finished process."""
    process = subprocess.run(
        [sys.executable, '-m', 'oneformer', 'train', *map(str, arguments)],
        cwd=folder,
        env=os.environ | dict(PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES=''),
        capture_output=True,
        text=True,
    )
    if check:
        assert process.returncode == 0, process.stdout + process.stderr
    return process


METRICS = dict(
    panoptic='panoptic/PQ',
    coco_instances='instance/segm_mAP',
    label_maps='semantic/mIoU',
)


@pytest.mark.parametrize(
    'kind',
    [
        'panoptic',
        pytest.param('coco_instances', marks=pytest.mark.slow),
        pytest.param('label_maps', marks=pytest.mark.slow),
    ],
)
def test_a_folder_becomes_a_tested_model_and_images(kind, drawn, tmp_path):
    getattr(exports, kind)(drawn, tmp_path / 'mine')
    process = train(tmp_path, 'mine', *SHORT)
    assert 'Wrote oneformer_mine.py.' in process.stdout
    assert 'iteration     2 of 2' in process.stdout
    work_dir = tmp_path / 'work_dirs/oneformer_mine'
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    assert METRICS[kind] in metrics
    tasks = 3 if kind == 'panoptic' else 1
    sheet = cv2.imread(str(work_dir / 'sheet.png'))
    assert sheet.shape[1] == 16 + (2 + tasks) * (384 + 16)

    # The same command once more.
    process = train(tmp_path, 'mine', *SHORT)
    assert 'oneformer_mine.py exists and is used as it is.' in process.stdout
    assert 'Trained before: ' in process.stdout
    assert 'Checking the data' not in process.stdout


def test_data_with_errors_is_not_trained_on(drawn, tmp_path):
    exports.coco_instances(drawn, tmp_path / 'mine')
    image = next((tmp_path / 'mine/train').iterdir())
    image.write_bytes(image.read_bytes()[:100])
    process = train(tmp_path, 'mine', *SHORT, check=False)
    assert process.returncode == 1
    assert image.name in process.stdout
    assert 'The data of oneformer_mine.py has errors' in process.stderr
    assert not list(tmp_path.glob('work_dirs/*/*.pth'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('x.py', '--minutes', '3'), '--minutes is for a folder of data'),
        (('.', '--launcher', 'pytorch'), '--launcher needs a config'),
        (('.', '--resume'), 'training resumes by itself'),
        (('.', '--minutes', '-1'), 'expected a number of minutes above 0, go'),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    tmp_path, arguments, message
):
    process = train(tmp_path, *arguments, check=False)
    assert process.returncode == 2
    assert message in process.stderr


def test_time_left_is_shown_in_minutes_and_seconds():
    assert [duration(seconds) for seconds in (0, 75, 3700)] == [
        *('00:00', '01:15', '1:01:40')
    ]


def test_the_pace_so_far_gives_the_time_left(monkeypatch):
    now = iter([100.0, 130.0])
    clock = SimpleNamespace(time=lambda: next(now))
    monkeypatch.setattr(_progress, 'time', clock)
    watch = Stopwatch(done=5)
    assert watch.left(5, 25) == '--:--'
    # 3 s for each of 10 steps, of which 10 are left.
    assert watch.left(15, 25) == '00:30'


# ------------------------------------------------------------------ budget


@pytest.fixture
def fit(drawn, tmp_path, monkeypatch):
    """A function that fits a plan to minutes, of measured times."""
    machine = Machine('cpu', 16.0, 2, 'a CPU')
    plan = make_plan(drawn, tmp_path / 'none', machine, Wishes())
    monkeypatch.setattr(init, 'write', lambda plan, path: None)
    monkeypatch.setattr(_own_training, 'quiet_config', lambda args: None)

    def call(minutes: float, step: float, image: float) -> Choice:
        # 0.9 of the minutes count, less the test of 2 images.
        monkeypatch.setattr(
            _own_training, 'measure', lambda config, folder: (step, image)
        )
        ticks = iter([0.0, step * _own_training.MEASURED])
        clock = SimpleNamespace(time=lambda: next(ticks))
        monkeypatch.setattr(_own_training, 'time', clock)
        args = SimpleNamespace(minutes=minutes, config=None, work_dir=None)
        fitted = _own_training.fit(plan, tmp_path / 'mine.py', args)
        return fitted.choices

    return call


def test_the_schedule_fits_the_minutes(fit):
    choices = fit(minutes=1, step=0.5, image=2.0)
    # (54 - 4) / 0.5
    assert choices['iterations'].value == 100
    assert choices['warm_up'].value == 6
    assert 'what 1 minutes allow' in choices['iterations'].why


def test_the_schedule_of_the_rules_is_the_most(fit):
    assert fit(minutes=600, step=0.5, image=2.0)['iterations'].value == 1600


def test_too_few_minutes_are_refused_with_the_least(fit):
    with pytest.raises(SystemExit) as end:
        fit(minutes=0.1, step=0.5, image=2.0)
    # (20 * 0.5 + 4) / 60 / 0.9 = 0.26
    assert str(end.value.code).endswith('give at least --minutes 0.3.')


@pytest.mark.slow
def test_a_few_iterations_are_measured(drawn, tmp_path):
    """How many the minutes allow is a matter of the machine."""
    exports.coco_instances(drawn, tmp_path / 'mine')
    process = train(tmp_path, 'mine', '--minutes', 30, *SHORT)
    assert 'Measuring 8 iterations' in process.stdout
    text = (tmp_path / 'oneformer_mine.py').read_text().replace('# ', '')
    assert '30 minutes allow' in ' '.join(text.split())
