"""The command-line tools, run as a user runs them."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
CONFIG = 'configs/oneformer_r18_demo.py'


def run(*command, check=True, **variables):
    """Run a tool from the root of the project; return the finished process."""
    process = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=dict(
            os.environ,
            CUDA_VISIBLE_DEVICES='',
            PYTHON=sys.executable,
            **variables,
        ),
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check:
        assert process.returncode == 0, process.stdout + process.stderr
    return process


def free_port():
    """Return a port that no other process listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def tool(name, *arguments, check=True):
    """Run a Python tool."""
    return run(sys.executable, f'tools/{name}', *arguments, check=check)


def short_run(data):
    """Config options of a run of 2 iterations without loader processes."""
    loaders = [
        f'{loader}_dataloader.{key}'
        for loader in ('train', 'val', 'test')
        for key in (
            f'dataset.data_root={data}',
            'num_workers=0',
            'persistent_workers=False',
            'batch_size=2',
        )
    ]
    return [
        '--cfg-options',
        *loaders,
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
        # An untrained model is sure of nothing, but shall answer.
        'model.test_cfg.object_mask_thr=0.0',
    ]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    numbers = ('--train', 8, '--val', 3, '--size', 64)
    tool('misc/make_demo_data.py', folder, *numbers)
    return folder


@pytest.fixture(scope='module')
def options(data):
    return short_run(data)


@pytest.fixture(scope='module')
def trained(options, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('run')
    process = tool('train.py', CONFIG, '--work-dir', work_dir, *options)
    return work_dir, process


@pytest.mark.parametrize(
    'name', ['train.py', 'test.py', 'infer.py', 'demo.py']
)
def test_help_comes_without_loading_torch(name):
    process = run(sys.executable, '-X', 'importtime', f'tools/{name}', '-h')
    assert 'Example: ' in process.stdout
    loaded = set(re.findall(r'\| +([\w.]+)$', process.stderr, re.MULTILINE))
    assert 'argparse' in loaded
    assert not loaded & {'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet'}


def test_options_of_the_config_are_read_as_mmengine_reads_them():
    script = (
        'import sys; sys.path.insert(0, "tools"); import argparse, _cli;'
        'parser = argparse.ArgumentParser(); _cli.add_config_options(parser);'
        'print(parser.parse_args(["--cfg-options", "a.b=[1,x]", "c=2.5"]))'
    )
    process = run(sys.executable, '-c', script)
    assert "cfg_options={'a.b': [1, 'x'], 'c': 2.5}" in process.stdout


def test_the_package_loads_nothing_heavy_that_mmdet_does_not():
    script = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    'mmcv_ops', 'projects/oneformer/mmcv_ops.py'
)
mmcv_ops = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mmcv_ops)
mmcv_ops.ensure_mmcv_ops()
import mmdet.apis, mmdet.models
before = {name.partition('.')[0] for name in sys.modules}
import projects.oneformer
after = {name.partition('.')[0] for name in sys.modules}
print('new:', *sorted(after - before - set(sys.stdlib_module_names)))
"""
    process = run(sys.executable, '-c', script, PYTHONPATH=str(ROOT))
    new = set(process.stdout.partition('new:')[2].split())
    assert 'projects' in new
    heavy = {'matplotlib', 'mmpretrain', 'mmseg', 'open_clip', 'timm'}
    assert not new & (heavy | {'torchvision', 'transformers'})


def test_training_writes_a_checkpoint_and_the_table_of_tasks(trained):
    work_dir, process = trained
    checkpoint = torch.load(work_dir / 'iter_2.pth', weights_only=False)
    assert any('text_mapper' in key for key in checkpoint['state_dict'])
    assert re.search(r'task token \| panoptic \| ', process.stdout)


def test_training_goes_on_where_it_stopped(trained, options, tmp_path):
    work_dir, _ = trained
    process = tool(
        'train.py',
        CONFIG,
        *('--work-dir', tmp_path),
        *('--resume', work_dir / 'iter_2.pth'),
        *options,
        'train_cfg.max_iters=3',
        'train_cfg.val_interval=3',
    )
    logged = re.findall(r'Iter\(train\) \[ *(\d+)/3\]', process.stdout)
    assert logged == ['3']


def test_testing_loads_a_training_checkpoint_without_a_warning(
    trained, options, tmp_path
):
    work_dir, _ = trained
    process = tool(
        'test.py',
        CONFIG,
        work_dir / 'iter_2.pth',
        *('--work-dir', tmp_path),
        *('--out', tmp_path / 'predictions.pkl'),
        *options,
    )
    assert 'unexpected key' not in process.stdout
    assert 'missing keys' not in process.stdout
    assert re.search(r'metric +\| PQ +\| PQ_th +\| PQ_st', process.stdout)
    assert (tmp_path / 'predictions.pkl').exists()


def test_two_processes_train_and_test_on_the_cpu(options, tmp_path):
    script = ROOT / 'tools' / 'dist_train.sh'
    process = run(
        *(script, CONFIG, 2, '--work-dir', tmp_path, *options),
        PORT=free_port(),
    )
    assert 'GPU number: 2' in process.stdout or '[2/2]' in process.stdout
    checkpoint = tmp_path / 'iter_2.pth'
    script = ROOT / 'tools' / 'dist_test.sh'
    process = run(
        *(script, CONFIG, checkpoint, 2, '--work-dir', tmp_path, *options),
        PORT=free_port(),
    )
    assert re.search(r'task token \| panoptic \| ', process.stdout)


@pytest.mark.parametrize('name', ['train', 'test'])
@pytest.mark.parametrize('launcher', ['dist', 'slurm'])
def test_a_launcher_without_arguments_says_how_to_use_it(launcher, name):
    script = f'tools/{launcher}_{name}.sh'
    process = run('bash', script, check=False)
    assert process.returncode == 2
    assert f'Usage: {script} ' in process.stdout


def test_slurm_passes_the_job_on(tmp_path):
    fake = tmp_path / 'srun'
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    process = run(
        *('bash', 'tools/slurm_train.sh', 'gpu', 'job', CONFIG, 'out'),
        *('--resume',),
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        GPUS='16',
    )
    assert '--partition=gpu --job-name=job' in process.stdout
    assert '--ntasks=16' in process.stdout
    assert process.stdout.strip().endswith(
        f'tools/train.py {CONFIG} --work-dir out --launcher slurm --resume'
    )


def test_inference_writes_an_image_per_task_and_one_json(
    trained, data, tmp_path
):
    work_dir, _ = trained
    odd = tmp_path / 'odd.png'  # another size, and a name of its own
    cv2.imwrite(str(odd), np.full((50, 75, 3), 90, np.uint8))
    out = tmp_path / 'out'
    tool(
        'infer.py',
        CONFIG,
        data / 'val',
        odd,
        *('--weights', work_dir / 'iter_2.pth'),
        *('--task', 'panoptic', 'semantic'),
        *('--out-dir', out, '--device', 'cpu', '--batch-size', 3),
    )
    content = json.loads((out / 'segments.json').read_text())
    files = [Path(image['file']) for image in content['images']]
    assert files == [*sorted((data / 'val').iterdir()), odd]
    for image in content['images']:
        for task in ('panoptic', 'semantic'):
            name = f'{Path(image["file"]).stem}_{task}.png'
            assert image['drawings'][task] == name
            assert cv2.imread(str(out / name)) is not None
        assert 'instance' not in image
        areas = [segment['area'] for segment in image['semantic']]
        assert sum(areas) == image['height'] * image['width']
    assert (content['images'][-1]['height'], 75) == (50, 75)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere.py', 'x'], 'Config nowhere.py does not exist'),
        ([CONFIG, 'nothing.jpg'], 'nothing.jpg does not exist'),
        ([CONFIG, 'docs/decisions'], 'has no image'),
    ],
)
def test_inference_says_which_path_is_wrong(arguments, message):
    if arguments[0] == 'nowhere.py':
        arguments = ['nowhere.py', 'README.md']
    process = tool(
        'infer.py', *arguments, '--weights', 'none.pth', check=False
    )
    assert process.returncode == 1
    assert message in process.stderr


@pytest.fixture
def bad_ones(data, tmp_path):
    """A folder with a good image between two bad ones."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    good = sorted((data / 'val').iterdir())[0].read_bytes()
    (folder / 'a.jpg').write_bytes(good[:200])
    (folder / 'b.jpg').write_bytes(good)
    os.mkfifo(folder / 'c.jpg')
    return folder


def test_inference_reports_bad_images_and_does_the_others(
    trained, bad_ones, tmp_path
):
    work_dir, _ = trained
    out = tmp_path / 'out'
    options = (
        *('--out-dir', out, '--device', 'cpu', '--batch-size', 2),
        *('--weights', work_dir / 'iter_2.pth'),
    )
    process = tool('infer.py', CONFIG, bad_ones, *options, check=False)
    assert process.returncode == 1
    assert 'Traceback' not in process.stderr
    lines = process.stderr.splitlines()
    assert any('a.jpg cannot be read' in line for line in lines[:-1])
    assert lines[-1] == (
        f'2 of 3 images failed: {bad_ones}/a.jpg, {bad_ones}/c.jpg'
    )
    (image,) = json.loads((out / 'segments.json').read_text())['images']
    assert image['file'] == str(bad_ones / 'b.jpg')
    # All of test_cfg.tasks, as none is asked for.
    assert set(image['drawings']) == {'panoptic', 'instance', 'semantic'}
    for name in image['drawings'].values():
        assert cv2.imread(str(out / name)) is not None
    # Once more, for one task of an image of the same name elsewhere.
    other = tmp_path / 'b.jpg'
    other.write_bytes((bad_ones / 'b.jpg').read_bytes())
    tool('infer.py', CONFIG, other, *options, '--task', 'semantic')
    images = json.loads((out / 'segments.json').read_text())['images']
    assert images[0] == image
    assert images[1]['drawings'] == dict(semantic='b_2_semantic.png')


def test_inference_does_not_draw_among_the_images(data):
    process = tool(
        *('infer.py', CONFIG, data / 'val', '--weights', 'none.pth'),
        *('--out-dir', data / 'val'),
        check=False,
    )
    assert process.returncode == 1
    assert 'is a folder of images' in process.stderr


def test_inference_refuses_the_weights_of_another_model(trained, data):
    work_dir, _ = trained
    process = tool(
        'infer.py',
        CONFIG,
        data / 'val',
        *('--weights', work_dir / 'iter_2.pth'),
        *('--cfg-options', 'model.panoptic_head.num_queries=30'),
        check=False,
    )
    assert process.returncode == 1
    assert 'does not fit this config' in process.stderr
    assert 'query_feat.weight (23, 64) for (29, 64)' in process.stderr
    assert 'the config makes ResNet of 8 blocks, 30 queries' in process.stderr


def test_the_demo_runs_on_a_folder_of_yours_and_goes_on(
    data, options, tmp_path
):
    arguments = ('--data', data, '--work-dir', tmp_path)
    short = [option for option in options if 'data_root' not in option]
    process = tool('demo.py', *arguments, *short)
    assert 'iteration     2 of 2' in process.stdout
    assert re.search(r'task token \| panoptic \| ', process.stdout)
    work_dir = tmp_path / 'shapes'
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    assert {'panoptic/PQ', 'instance/segm_mAP', 'semantic/mIoU'} <= set(
        metrics
    )
    sheet = cv2.imread(str(work_dir / 'sheet.png'))
    assert sheet.shape[1] > sheet.shape[0] > 300  # 3 rows of 5 pictures
    process = tool('demo.py', *arguments, *short, 'train_cfg.max_iters=3')
    assert 'Resuming from' in process.stdout
    assert 'iteration     3 of 3' in process.stdout


def test_the_demo_says_what_a_folder_lacks(tmp_path):
    (tmp_path / 'train').mkdir()
    process = tool('demo.py', '--data', tmp_path, check=False)
    assert process.returncode == 1
    assert 'annotations/panoptic_train.json does not exist' in process.stderr


def test_augmentation_at_test_time_measures_the_semantic_task(
    trained, options, tmp_path
):
    work_dir, _ = trained
    config = tmp_path / 'augmented.py'
    config.write_text(
        f"""_base_ = '{ROOT / CONFIG}'
tta_model = dict(type='OneFormerTTA')
resize = dict(
    type='Resize', scale=(64, 64), keep_ratio=True, backend='pillow'
)
keys = ('img_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction')
tta_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(
        type='TestTimeAug',
        transforms=[
            [resize, dict(resize, scale=(96, 96))],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='LoadPanopticSegments')],
            [dict(type='EvalTargets')],
            [dict(type='PackDetInputs', meta_keys=keys)],
        ],
    ),
]
"""
    )
    process = tool(
        'test.py',
        config,
        work_dir / 'iter_2.pth',
        '--tta',
        *('--work-dir', tmp_path),
        *('--out', tmp_path / 'predictions.pkl'),
        *options,
    )
    assert 'missing keys' not in process.stdout
    assert re.search(r'metric +\| mIoU +\|\n', process.stdout)
    assert re.search(r'task token \| semantic \|\n', process.stdout)
    results = mmengine.load(tmp_path / 'predictions.pkl')
    assert [r['pred_sem_seg']['sem_seg'].shape for r in results] == [
        (1, 64, 64)
    ] * 3


def test_augmentation_at_test_time_needs_its_settings():
    process = tool('test.py', CONFIG, 'none.pth', '--tta', check=False)
    assert process.returncode == 1
    assert '--tta needs tta_model and tta_pipeline' in process.stderr
    assert 'configs/_base_/tta/' in process.stderr


def test_augmentation_at_test_time_needs_the_semantic_metric(tmp_path):
    config = tmp_path / 'panoptic.py'
    config.write_text(
        f"""_base_ = '{ROOT / CONFIG}'
tta_model = dict(type='OneFormerTTA')
tta_pipeline = []
test_evaluator = [dict(type='PanopticQuality', prefix='panoptic')]
"""
    )
    process = tool('test.py', config, 'none.pth', '--tta', check=False)
    assert process.returncode == 1
    assert 'panoptic and instance results have no average' in process.stderr
