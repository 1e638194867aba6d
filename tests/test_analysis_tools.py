"""Tools that look closer at the scores of a model."""

import csv
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from projects.oneformer.tasks import RESULT_FIELDS
from tests.rounding import assert_same_instances, assert_same_labels
from tools.analysis_tools import confusion_matrix, task_dynamics
from tools.misc.make_demo_data import make_demo_data

CONFIG = str(Path(__file__).parents[1] / 'configs/oneformer_r18_demo.py')


def build_model() -> torch.nn.Module:
    """The demo with random weights, sure enough not to say all the same."""
    init_default_scope('mmdet')
    config = Config.fromfile(CONFIG).model
    config.update(train_cfg=None)
    # Of random weights they outweigh the token.
    config.panoptic_head.query_init.learned_features = False
    config.test_cfg = dict(object_mask_thr=0, iou_thr=0)
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    for name, weights in model.named_parameters():
        if 'cls_embed' in name or 'mask_embed' in name:
            weights.data *= 8
    return model


@pytest.fixture(scope='module')
def options(tmp_path_factory) -> dict[str, str]:
    """A model with random weights, and five images to test it on."""
    folder = tmp_path_factory.mktemp('analysis')
    make_demo_data(folder / 'data', num_train=1, num_val=5, size=64, seed=2)
    weights = dict(state_dict=build_model().state_dict())
    torch.save(weights, folder / 'model.pth')
    return dict(checkpoint=str(folder / 'model.pth'), data=folder / 'data')


def run(monkeypatch, tool, *arguments, data) -> None:
    """Run a tool as from the command line, in this process."""
    settings = (
        f'test_dataloader.dataset.data_root={data}',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        'test_dataloader.batch_size=2',
        # Random weights are sure of nothing.
        'model.test_cfg.object_mask_thr=0',
        'model.test_cfg.iou_thr=0',
    )
    arguments = [tool.__file__, *arguments, '--cfg-options', *settings]
    monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
    tool.main()


def test_each_token_gives_all_results_and_its_own_those_of_a_test(
    options, tmp_path, monkeypatch, capfd
):
    out = tmp_path / 'new/metrics.json'
    arguments = (CONFIG, options['checkpoint'], '--work-dir', tmp_path)
    run(
        monkeypatch,
        task_dynamics,
        *arguments,
        *('--out', out),
        data=options['data'],
    )
    metrics = json.loads(out.read_text())
    assert list(metrics) == ['panoptic', 'instance', 'semantic']
    names = [set(own) for own in metrics.values()]
    assert names[0] == names[1] == names[2]
    assert {'panoptic/PQ', 'instance/segm_mAP', 'semantic/mIoU'} <= names[0]
    assert '* measured with the token of the metric' in capfd.readouterr().out
    # The same by the test, which asks each task with its own token.
    test = pytest.importorskip('tools.test')
    monkeypatch.setattr(test, 'finish', lambda: None)
    found = {}

    def build_runner(*arguments):
        runner = task_dynamics.build_runner(*arguments)
        run_test = runner.test
        runner.test = lambda: found.update(run_test())
        return runner

    monkeypatch.setattr(test, 'build_runner', build_runner)
    run(monkeypatch, test, *arguments, data=options['data'])
    for name, value in found.items():
        task = name.split('/')[0]
        np.testing.assert_allclose(value, metrics[task][name], atol=0.01)
    assert found['semantic/mIoU'] > 1
    assert len({own['semantic/mIoU'] for own in metrics.values()}) == 3


def test_all_results_of_a_token_come_from_its_queries():
    model = build_model()
    shape = dict(img_shape=(64, 96), ori_shape=(40, 60))
    data = dict(
        inputs=[torch.randint(256, (3, 64, 96), dtype=torch.uint8)] * 2,
        data_samples=[DetDataSample(metainfo=shape) for _ in range(2)],
    )
    seen = []
    with torch.no_grad():
        for token, samples in task_dynamics.results_by_token(model, data):
            asked = model.data_preprocessor(data)
            for sample in asked['data_samples']:
                sample.set_metainfo(dict(task=token))
            logits = model(**asked, mode='tensor')
            for place, sample in enumerate(samples):
                for task, field in RESULT_FIELDS.items():
                    expected = model.panoptic_fusion_head(
                        task,
                        *(own[-1][place] for own in logits),
                        sample.metainfo,
                    )
                    found = getattr(sample, field)
                    if task == 'instance':
                        assert_same_instances(found, expected)
                    else:
                        assert_same_labels(found.sem_seg, expected.sem_seg)
            seen.append(logits[0][-1].sum().item())
    assert len(set(seen)) == 3


def test_the_table_marks_the_numbers_to_quote():
    metrics = {
        token: {
            'panoptic/PQ': 10.0 + place,
            'instance/segm_mAP': 0.2 + place / 10,
            'semantic/mIoU': float('nan'),
        }
        for place, token in enumerate(('panoptic', 'instance', 'semantic'))
    }
    lines = task_dynamics.dynamics_table(metrics).splitlines()
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    assert [row for row in rows if row] == [
        ['task token', 'PQ', 'AP', 'mIoU'],
        ['panoptic', '10.0*', '20.0', '-'],
        ['instance', '11.0', '30.0*', '-'],
        ['semantic', '12.0', '40.0', '-*'],
    ]


def read_table(path: Path) -> list[list[str]]:
    with path.open() as file:
        return list(csv.reader(file))


def test_a_model_and_its_predictions_give_the_same_confusion(
    options, tmp_path, monkeypatch, capsys
):
    arguments = ('--work-dir', tmp_path, '--out', tmp_path / 'of_model')
    run(
        monkeypatch,
        confusion_matrix,
        *(CONFIG, options['checkpoint'], *arguments),
        data=options['data'],
    )
    table = read_table(tmp_path / 'of_model.csv')
    names = ['disc', 'square', 'triangle', 'star']
    names += ['sky', 'grass', 'wall', 'water']
    assert table[0] == ['ground truth', *names]
    assert [row[0] for row in table[1:]] == names
    truth = [
        np.array(Image.open(path))
        for path in options['data'].glob('annotations/semantic_val/*.png')
    ]
    counted = np.array([row[1:] for row in table[1:]], int)
    for label, counts in enumerate(counted):
        assert counts.sum() == sum((own == label).sum() for own in truth)
    with Image.open(tmp_path / 'of_model.png') as image:
        assert min(image.size) > 400
    assert 'taken for' in capsys.readouterr().out


def test_predictions_may_come_from_a_file(
    options, tmp_path, monkeypatch, capsys
):
    truth = torch.tensor([[[0, 0, 1, 255]]])
    samples = [
        dict(
            img_path='a.jpg',
            gt_sem_seg=dict(sem_seg=truth),
            pred_sem_seg=dict(sem_seg=torch.tensor([[[0, 7, 1, 3]]])),
        )
    ]
    path = tmp_path / 'predictions.pkl'
    path.write_bytes(pickle.dumps(samples))
    run(monkeypatch, confusion_matrix, CONFIG, path, data=options['data'])
    table = read_table(tmp_path / 'confusion_matrix.csv')
    assert table[1] == ['disc', '1', '0', '0', '0', '0', '0', '0', '1']
    assert table[2] == ['square', '0', '1', '0', '0', '0', '0', '0', '0']
    assert capsys.readouterr().out.splitlines()[-2:] == [
        'disc taken for water: 50.0 % of its pixels (1)',
        f'Written: {tmp_path}/confusion_matrix.png, '
        f'{tmp_path}/confusion_matrix.csv',
    ]
    del samples[0]['pred_sem_seg']
    path.write_bytes(pickle.dumps(samples))
    with pytest.raises(SystemExit, match='has no semantic result'):
        run(monkeypatch, confusion_matrix, CONFIG, path, data=options['data'])
    path.write_bytes(b'no pickle')
    with pytest.raises(SystemExit, match='cannot be read .UnpicklingError'):
        run(monkeypatch, confusion_matrix, CONFIG, path, data=options['data'])
    path.write_bytes(pickle.dumps(dict(state_dict={})))
    with pytest.raises(SystemExit, match='holds no predictions: expected a'):
        run(monkeypatch, confusion_matrix, CONFIG, path, data=options['data'])
    with pytest.raises(SystemExit, match='none.pkl do not exist'):
        run(
            monkeypatch,
            confusion_matrix,
            *(CONFIG, tmp_path / 'none.pkl'),
            data=options['data'],
        )


def test_many_classes_and_predictions_of_none_are_drawn(tmp_path):
    classes = [f'a class with quite a long name, {n}' for n in range(40)]
    confusion = np.zeros((40, 41), np.int64)
    confusion[np.arange(0, 40, 2), np.arange(0, 40, 2)] = 100
    confusion[4, -1] = 300
    confusion[8, 3] = 50
    confusion_matrix.write_matrix(str(tmp_path / 'out'), confusion, classes)
    table = read_table(tmp_path / 'out.csv')
    assert table[0][-1] == '(no class)'
    assert table[5][-1] == '300'
    with Image.open(tmp_path / 'out.png') as image:
        assert min(image.size) > 40 * 20  # pixels of a row and its name
    assert confusion_matrix.largest(confusion, classes, 9) == [
        f'{classes[4]} taken for (no class): 75.0 % of its pixels (300)',
        f'{classes[8]} taken for {classes[3]}: 33.3 % of its pixels (50)',
    ]
