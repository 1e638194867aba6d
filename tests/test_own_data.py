"""The examples of own data: from files in the layout they name to a model."""

import copy
import functools
import json
import logging
import re
import runpy
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.runner import Runner, load_checkpoint

from projects.oneformer.engine import TaskTableHook
from tests.recipe_twins import CONFIGS, load_config, parts_of, shrink

ROOT = CONFIGS.parent
NAMES = ('panoptic', 'instance', 'semantic', 'mixed')
TASKS = dict(
    panoptic=['panoptic', 'instance', 'semantic'],
    instance=['instance'],
    semantic=['semantic'],
    mixed=['panoptic', 'instance', 'semantic'],
)
METRICS = dict(
    panoptic='panoptic/PQ',
    instance='instance/segm_mAP',
    semantic='semantic/mIoU',
)
# What the examples call some of the drawn classes.
RENAMED = dict(
    panoptic=dict(disc='cell', grass='tissue'),
    instance=dict(disc='cat', square='dog'),
)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory) -> Path:
    """Drawn images with all kinds of annotation."""
    folder = tmp_path_factory.mktemp('drawn') / 'demo'
    tool = runpy.run_path(str(ROOT / 'tools/misc/make_demo_data.py'))
    tool['make_demo_data'](folder, num_train=4, num_val=2, size=64)
    return folder


def rename(path: Path, names: dict[str, str]) -> None:
    """Give other names to some categories of a JSON."""
    content = json.loads(path.read_text())
    for category in content['categories']:
        category['name'] = names.get(category['name'], category['name'])
    path.write_text(json.dumps(content))


def copy_labels(source: Path, target: Path, value_of: dict[int, int]) -> None:
    """Copy label maps, with other values, and 255 for all that has none."""
    table = np.full(256, 255, np.uint8)
    for old, new in value_of.items():
        table[old] = new
    target.mkdir(parents=True)
    for path in source.iterdir():
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(target / path.name), table[values])


def lay_out(drawn: Path, name: str) -> None:
    """Put data into ``data/`` as the example expects it."""
    mine = Path('data/mine')
    if name == 'semantic':
        for split in ('train', 'val'):
            shutil.copytree(drawn / split, mine / f'images/{split}')
            copy_labels(
                drawn / f'annotations/semantic_{split}',
                mine / f'labels/{split}',
                {4: 0, 5: 1, 0: 2},  # sky, grass, disc
            )
        return
    shutil.copytree(drawn, mine)
    kind, file = ('panoptic', 'panoptic')
    if name == 'instance':
        kind, file = ('instance', 'instances')
    for split in ('train', 'val'):
        path = mine / f'annotations/{file}_{split}.json'
        rename(path, RENAMED[kind])
    if name == 'mixed':
        cells, tissue = Path('data/cells'), Path('data/tissue')
        shutil.copytree(drawn / 'train', cells / 'images')
        shutil.copy(
            drawn / 'annotations/instances_train.json',
            cells / 'instances.json',
        )
        rename(cells / 'instances.json', RENAMED['panoptic'])
        shutil.copytree(drawn / 'train', tissue / 'images')
        copy_labels(
            drawn / 'annotations/semantic_train', tissue / 'labels', {5: 0}
        )


def small(name: str) -> Config:
    """Return an example for two steps of a small model."""
    return shorten(load_config(f'oneformer_swin-t_own-{name}'), name)


def shorten(config: Config, name: str) -> Config:
    """Change the config of an example to two steps of a small model."""
    config = shrink(config)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.default_hooks.checkpoint.interval = 2
    config.default_hooks.logger.interval = 1
    # Drawing needs a colour for each class. mmdet cannot draw a panoptic
    # result that is void altogether.
    draw = name in ('instance', 'semantic')
    config.default_hooks.visualization.update(draw=draw, interval=1)
    config.visualizer.name = name  # one of the same name would be used again
    for loader in ('train', 'val', 'test'):
        config[f'{loader}_dataloader'].update(
            num_workers=0, persistent_workers=False
        )
    config.work_dir = 'work'
    return config


class Trained(NamedTuple):
    """What is left of a training."""

    runner: Runner
    metrics: dict[str, float]
    config: Config
    folder: Path


@pytest.fixture(scope='module')
def train(drawn, tmp_path_factory):
    """A function that trains an example, once."""

    @functools.cache
    def train_example(name: str) -> Trained:
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            lay_out(drawn, name)
            config = small(name)
            metrics = {}
            patch.setattr(
                TaskTableHook,
                '_print',
                lambda self, found: metrics.update(found),
            )
            runner = Runner.from_cfg(config)
            runner.train()
        return Trained(runner, metrics, config, folder)

    return train_example


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def example(name, drawn, tmp_path, monkeypatch) -> Config:
    """An example, and its data in the current folder."""
    monkeypatch.chdir(tmp_path)
    lay_out(drawn, name)
    return small(name)


def only(name: str):
    """Run a test for one of the examples."""
    return pytest.mark.parametrize('name', [name], indirect=True)


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """What is logged as a warning."""
    logged = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            logged.append(record.getMessage())
        return True

    monkeypatch.setattr(MMLogger, 'handle', lambda self, record: keep(record))
    return logged


def test_an_example_trains_and_is_measured(name, train):
    """With mmengine's runner alone, as any tool of OpenMMLab would."""
    trained = train(name)
    for task, metric in METRICS.items():
        assert (metric in trained.metrics) == (task in TASKS[name])
    model = trained.runner.model
    classes = trained.config.model.metainfo.classes
    assert model.panoptic_head.cls_embed.out_features == len(classes) + 1
    assert model.panoptic_head.criterion.num_classes == len(classes)
    assert model.panoptic_fusion_head.num_classes == len(classes)

    checkpoint = torch.load(
        trained.folder / 'work/iter_2.pth', weights_only=False
    )
    assert checkpoint['meta']['tasks'] == TASKS[name]
    assert tuple(checkpoint['meta']['dataset_meta']['classes']) == classes


def commands() -> list[list[str]]:
    """The shell commands of the page, in its order."""
    page = (ROOT / 'docs/own_data.md').read_text().replace('\\\n', ' ')
    blocks = re.findall('```bash\n(.*?)```', page, re.DOTALL)
    return [
        shlex.split(line) for block in blocks for line in block.splitlines()
    ]


def test_the_shell_commands_of_the_page_run(tmp_path, monkeypatch):
    """As they are written, with few images and steps of a small model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / 'tools')
    for folder in ('configs', 'tools'):
        Path(folder).symlink_to(ROOT / folder)
    import _cli

    def run(program: str, *command: str) -> None:
        assert program == 'python'
        monkeypatch.setattr(sys, 'argv', list(command))
        runpy.run_path(command[0], run_name='__main__')

    def load_small(path: str, overrides: dict) -> Config:
        config = shorten(read(path, overrides), 'panoptic')
        config.visualizer.name = command[1]
        config.work_dir = None
        return config

    read, found = _cli.load_config, []
    monkeypatch.setattr(_cli, 'load_config', load_small)
    monkeypatch.setattr(
        TaskTableHook, '_print', lambda self, metrics: found.append(metrics)
    )
    train, test, draw = commands()
    run(*draw, '--train', '4', '--val', '2')
    for split in ('train', 'val'):
        path = Path(f'data/mine/annotations/panoptic_{split}.json')
        rename(path, RENAMED['panoptic'])
    command = train
    run(*train)
    last = read(train[2], {}).train_cfg.max_iters
    assert test[-1].endswith(f'/iter_{last}.pth')
    command = test
    run(*test[:-1], test[-1].replace(f'iter_{last}', 'iter_2'))
    trained, tested = found
    assert trained.keys() == tested.keys() >= set(METRICS.values())


@pytest.mark.parametrize('name', ['instance', 'semantic'])
def test_results_are_drawn(name, train):
    assert list(train(name).folder.glob('work/**/vis_image/*'))


def test_samples_are_drawn_for_the_tasks_of_their_annotation(name, example):
    counts: dict[str, Counter] = {}
    for part in parts_of(example.train_dataloader.dataset):
        dataset = DATASETS.build(part)
        drawn = counts.setdefault(dataset.annotation, Counter())
        for index in range(len(dataset)):
            drawn.update(dataset[index]['data_samples'].task for _ in '12345')
    expected = dict(
        panoptic={'panoptic', 'instance', 'semantic'},
        instance={'instance'},
        semantic={'semantic'},
    )
    kinds = expected if name == 'mixed' else [name]
    assert set(counts) == set(kinds)
    for kind, drawn in counts.items():
        assert set(drawn) == expected[kind]


@only('mixed')
def test_what_a_part_does_not_label_is_open(example):
    dataset = DATASETS.build(example.train_dataloader.dataset)
    samples = [dataset[i]['data_samples'] for i in (0, 4, 8)]
    # Panoptic data knows both, cells no stuff, tissue no cells.
    found = [sample.get('unlabelled_classes', ()) for sample in samples]
    assert found == [(), (), (0,)]
    assert ['gt_sem_seg' in sample for sample in samples] == [0, 0, 1]


@only('instance')
def test_another_order_of_the_classes_is_refused(example):
    example.model.metainfo = dict(
        classes=('dog', 'cat'), thing_classes=('cat', 'dog')
    )
    with pytest.raises(ValueError) as caught:
        Runner.from_cfg(example).train()
    message = str(caught.value)
    assert 'The classes of train_dataloader are not those of the mod' in (
        message
    )
    assert "the order differs: ('dog', 'cat') and ('cat', 'dog')" in message
    assert 'Give both the same metainfo' in message
    assert not Path('work/iter_2.pth').exists()


def test_a_model_warns_once_when_asked_what_it_was_not_trained_for(
    train, warnings, monkeypatch
):
    trained = train('instance')
    monkeypatch.chdir(trained.folder)
    config = copy.deepcopy(trained.config)
    config.model.update(
        train_cfg=None, test_cfg=dict(tasks=['panoptic', 'instance'])
    )
    model = MODELS.build(config.model).eval()
    load_checkpoint(model, 'work/iter_2.pth')
    assert model.trained_tasks == ('instance',)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    for _ in range(2):
        with torch.no_grad():
            model.test_step(pseudo_collate([dataset[0]]))
    (warning,) = [text for text in warnings if 'is requested' in text]
    assert 'The panoptic task is requested' in warning
    assert 'trained for instance only' in warning


def blocks_of(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    text = (ROOT / 'docs' / page).read_text()
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    return [block for block in blocks if block.startswith('_base_')]


def config_of(block: str, folder: Path) -> Config:
    """Read a block as if it were a file in ``configs/``."""
    path = folder / 'oneformer_of_a_page.py'
    path.write_text(block.replace("'./", f"'{CONFIGS}/"))
    return Config.fromfile(path)


def test_the_page_shows_the_examples_as_they_are(name):
    lines = (CONFIGS / f'oneformer_swin-t_own-{name}.py').read_text()
    body = lines.split('"""\n', 2)[-1].strip()
    shown = [block.strip() for block in blocks_of('own_data.md')]
    assert body in shown


@only('instance')
def test_texts_are_changed_as_the_page_shows(example, tmp_path):
    (block,) = [b for b in blocks_of('own_data.md') if 'TaskTexts' in b]
    config = config_of(block, tmp_path)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    kinds = [type(step).__name__ for step in dataset.pipeline.transforms]
    assert kinds.count('TaskTexts') == 1
    assert kinds[-2:] == ['TaskTexts', 'PackDetInputs']
    texts = {text for data in dataset for text in data['data_samples'].texts}
    assert texts <= {'a drawing of a chat', 'a drawing of a chien, toutou'}
    assert texts


@pytest.mark.parametrize('block', blocks_of('checkpoints.md'))
def test_fine_tuning_is_as_the_page_shows(block, tmp_path):
    config = config_of(block, tmp_path)
    classes = config.model.metainfo.classes
    assert config.load_from.endswith('.pth')
    assert config.model.backbone.init_cfg is None
    for loader in ('train', 'val', 'test'):
        dataset = config[f'{loader}_dataloader'].dataset
        assert dataset.type == 'OneFormerInstanceDataset'
        assert dataset.metainfo.classes == classes
    assert [metric.prefix for metric in config.val_evaluator] == (
        config.model.test_cfg.tasks
    )
    if 'checkpoint_classes' in block:
        assert len(config.model.checkpoint_classes) == 133
        assert config.model.checkpoint_classes[0] == 'person'


def test_a_checkpoint_of_other_classes_can_be_fine_tuned(train, warnings):
    """Of its own classes, the rows of equal names are taken over."""
    trained = train('instance')  # of cat, dog
    config = copy.deepcopy(trained.config)
    names = ('dog', 'cow', 'ant')
    config.model.metainfo = dict(classes=names, thing_classes=names)
    model = MODELS.build(config.model)
    path = trained.folder / 'work/iter_2.pth'
    load_checkpoint(model, str(path))
    old = trained.runner.model.panoptic_head.cls_embed.weight
    new = model.panoptic_head.cls_embed.weight
    assert new[0].equal(old[1])
    assert new[3].equal(old[2])
    assert not new[1].equal(old[0])
