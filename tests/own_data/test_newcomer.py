"""The newcomer's script of the README, as it is written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.own_data import exports
from tests.own_data.test_training import SHORT

ROOT = Path(__file__).parents[2]
KINDS = dict(
    my_objects=exports.coco_instances,
    my_maps=exports.label_maps,
    my_panoptic=exports.panoptic,
)
TASKS = dict(
    my_objects=['instance'],
    my_maps=['semantic'],
    my_panoptic=['instance', 'panoptic', 'semantic'],
)


def script() -> str:
    """Return the block of the README that trains on three folders."""
    page = (ROOT / 'README.md').read_text()
    (block,) = re.findall(r'```bash\n(for data in .*?)```', page, re.DOTALL)
    return block


@pytest.mark.slow
@pytest.mark.parametrize('names', [['my_objects'], [*KINDS]])
def test_the_script_leads_from_folders_to_models_and_images(
    names, drawn, tmp_path
):
    """With two iterations of a small network in place of half an hour."""
    for name in names:
        KINDS[name](drawn, tmp_path / name)
    shutil.copytree(drawn / 'val', tmp_path / 'photos')
    shim = tmp_path / 'bin' / 'oneformer'
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m oneformer "$@"\n')
    shim.chmod(0o755)
    text = script().replace('--minutes 30', ' '.join(SHORT))
    text = text.replace(' '.join(KINDS), ' '.join(names))
    process = subprocess.run(
        ['bash', '-ec', text],
        cwd=tmp_path,
        env=os.environ
        | dict(
            PATH=f'{shim.parent}:{os.environ["PATH"]}',
            PYTHONPATH=str(ROOT),
            CUDA_VISIBLE_DEVICES='',
        ),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    for name in names:
        assert (tmp_path / f'work_dirs/oneformer_{name}/sheet.png').is_file()
        drawings = list((tmp_path / 'out' / name).rglob('*.png'))
        assert len(drawings) == 2 * len(TASKS[name])
        assert sorted(
            f.name for f in (tmp_path / 'onnx' / name).iterdir()
        ) == [
            'image_encoder.onnx',
            'task_decoder.onnx',
        ]
