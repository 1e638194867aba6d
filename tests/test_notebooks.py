"""The notebooks run from the first cell to the last, and hold no outputs."""

import json
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from tests.model_configs import METAINFO, build_model, tiny_model

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / 'docs' / 'notebooks').glob('*.ipynb'))
# Two iterations of the small network, without loader processes.
SHORT = (
    '--device cpu --backbone r18 --cfg-options train_cfg.max_iters=2 '
    'param_scheduler.1.end=2 param_scheduler.0.end=1 '
    'param_scheduler.1.begin=1 default_hooks.checkpoint.interval=1 '
    'train_dataloader.batch_size=2 train_dataloader.num_workers=0 '
    'train_dataloader.persistent_workers=False '
    'model.test_cfg.object_mask_thr=0.0'
)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(path):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert code
    for cell in code:
        assert cell['outputs'] == [] and cell['execution_count'] is None


def execute(name: str, folder: Path, monkeypatch, **parameters):
    """Run a notebook in a folder, with parameters of the test.

    Args:
        name (str): Without ending.
        folder (Path): Where it runs.
        monkeypatch: Of pytest.
        **parameters: Set after the cell with the tag ``parameters``.

    Returns:
        NotebookNode: With outputs.
    """
    nbclient = pytest.importorskip('nbclient', reason='needs nbclient')
    nbformat = pytest.importorskip('nbformat', reason='needs nbformat')
    pytest.importorskip('ipykernel', reason='needs ipykernel')
    notebook = nbformat.read(ROOT / f'docs/notebooks/{name}.ipynb', 4)
    (cell,) = [
        cell
        for cell in notebook.cells
        if 'parameters' in cell.metadata.get('tags', ())
    ]
    for key, value in parameters.items():
        cell.source += f'\n{key} = {value!r}'
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    client = nbclient.NotebookClient(
        notebook,
        timeout=900,
        kernel_name='python3',
        resources=dict(metadata=dict(path=str(folder))),
    )
    client.execute()
    return notebook


def printed(notebook) -> str:
    """Return what the cells of a notebook print."""
    return ''.join(
        output.get('text', '')
        for cell in notebook.cells
        for output in cell.get('outputs', ())
    )


def images_in(notebook) -> int:
    """Return how many images the cells of a notebook show."""
    return sum(
        'image/png' in output.get('data', {})
        for cell in notebook.cells
        for output in cell.get('outputs', ())
    )


def test_the_first_model_is_trained_and_used(tmp_path, monkeypatch):
    notebook = execute('first_model', tmp_path, monkeypatch, OPTIONS=SHORT)
    text = printed(notebook)
    assert 'Traceback' not in text and 'rror:' not in text, text
    assert 'iteration     2 of 2' in text
    assert images_in(notebook) == 3  # samples, sheet and a result
    assert (tmp_path / 'errors.html').is_file()
    assert (tmp_path / 'onnx' / 'task_decoder.onnx').is_file()
    # A line of a terminal that is written over counts as one.
    assert text.count('\n') < 220, 'logs belong into log.txt'


def test_the_notebook_of_published_weights_runs_on_files(
    tmp_path, monkeypatch
):
    """On tiny weights of our own, so without a network."""
    model = tiny_model(training=False, object_mask_thr=0.0, iou_thr=0.0)
    pipeline = [
        dict(type='LoadImageFromFile', imdecode_backend='pillow'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True, backend='pillow'),
        dict(
            type='PackDetInputs',
            meta_keys=('img_path', 'ori_shape', 'img_shape'),
        ),
    ]
    Config(
        dict(
            model=model,
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            default_scope='mmdet',
            custom_imports=dict(imports=['projects.oneformer']),
        )
    ).dump(tmp_path / 'config.py')
    weights = dict(state_dict=build_model(model).state_dict())
    torch.save(weights, tmp_path / 'model.pth')
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photo.png')
    notebook = execute(
        'published_weights',
        tmp_path,
        monkeypatch,
        CONFIG='config.py',
        WEIGHTS='model.pth',
        IMAGE='photo.png',
    )
    assert images_in(notebook) == 3
    assert (tmp_path / 'out' / 'photo.json').is_file()
    assert any(name in printed(notebook) for name in METAINFO['classes'])


@pytest.mark.slow
def test_the_notebook_of_published_weights_runs_as_it_is(
    tmp_path, monkeypatch
):
    try:
        urlopen('https://huggingface.co', timeout=5).close()
    except (URLError, TimeoutError) as error:
        pytest.skip(f'needs a network: {error}')
    assert images_in(execute('published_weights', tmp_path, monkeypatch)) == 3
