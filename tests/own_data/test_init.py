"""From an export to a config whose data sets read it."""

import json
import os
import sys
from pathlib import Path

import init
import pytest
from _cli import one_line_errors
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tests.own_data import exports

EXPORTS = exports.EXPORTS


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """A function that runs the tool in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> str:
        command = ['oneformer init', *map(str, arguments), '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', command)
        with one_line_errors():
            init.main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def error(run):
    """A function that returns what the tool ends with."""

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as end:
            run(*arguments)
        return str(end.value.code)

    return call


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize('write', EXPORTS, ids=lambda write: write.__name__)
def test_every_export_becomes_a_config_that_reads_it(
    write, run, drawn, tmp_path, monkeypatch
):
    kind, classes = EXPORTS[write]
    data = tmp_path / 'data'
    write(drawn, data)
    before = snapshot(data)
    report = run('data', '--out', 'mine.py')
    assert snapshot(data) == before
    assert 'Train with: oneformer train mine.py' in report

    # From any folder.
    monkeypatch.chdir('/')
    config = Config.fromfile(tmp_path / 'mine.py')
    init_default_scope('mmdet')
    train = DATASETS.build(config.train_dataloader.dataset)
    val = DATASETS.build(config.val_dataloader.dataset)
    assert set(config.model.metainfo.classes) <= set(classes)
    assert train.metainfo['classes'] == config.model.metainfo.classes
    images = [
        {dataset.get_data_info(i)['img_path'] for i in range(len(dataset))}
        for dataset in (train, val)
    ]
    assert images[0].isdisjoint(images[1])
    assert images[0] and images[1]
    sample = train[0]['data_samples']
    size = config.scale_jitter['size']
    assert train[0]['inputs'].shape[1:] == size
    assert len(sample.gt_instances) > 0
    assert train.annotation == kind
    assert val[0]['data_samples'].ori_shape == (64, 64)


def test_the_config_says_why_and_is_read_again_as_it_is(run, drawn):
    report = run(drawn, '--out', 'mine.py')
    text = Path('mine.py').read_text()
    assert '# Queries: 19 of 20 images have at most ' in text
    assert 'the shape of the images, which fit as a whole' in report
    assert max(map(len, text.splitlines())) <= 79 or str(drawn) in text
    compile(text, 'mine.py', 'exec')
    config = Config.fromfile('mine.py')
    assert [m['prefix'] for m in config.val_evaluator] == [
        *('panoptic', 'instance', 'semantic')
    ]
    assert config.train_cfg.max_iters == 1600
    assert config.param_scheduler[-1]['end'] == 1600


def test_an_existing_config_is_kept(run, error, drawn):
    Path('mine.py').write_text('# mine')
    assert error(drawn, '--out', 'mine.py').startswith('mine.py exists')
    assert Path('mine.py').read_text() == '# mine'


def test_a_fault_of_ours_is_no_fault_of_the_data(run, drawn, monkeypatch):
    def fail(*_):
        raise ValueError('a fault of ours')

    monkeypatch.setattr('own_data.rules.choose_crop', fail)
    with pytest.raises(ValueError, match='a fault of ours'):
        run(drawn)


def test_the_config_is_called_after_the_data(run, drawn):
    run(drawn)
    assert Path('oneformer_shapes.py').is_file()


def test_a_reader_that_stops_early_does_not_cost_the_config(drawn, tmp_path):
    read, write = os.pipe()
    os.close(read)
    import subprocess

    with os.fdopen(write, 'w') as closed:
        subprocess.run(
            [
                *(sys.executable, '-m', 'oneformer', 'init', str(drawn)),
                *('--device', 'cpu', '--out', str(tmp_path / 'mine.py')),
            ],
            cwd=Path(init.__file__).parents[1],
            stdout=closed,
            stderr=subprocess.DEVNULL,
        )
    assert (tmp_path / 'mine.py').is_file()


@pytest.mark.parametrize(
    'name',
    [
        '"""; open("ran", "w"); """',
        'my\\new \\N{x} data"',
        os.fsdecode(b'caf\xe9'),
    ],
)
def test_the_config_runs_nothing_that_the_name_of_the_data_says(
    run, drawn, tmp_path, name
):
    exports.label_maps(drawn, tmp_path / name)
    run(name, '--out', 'mine.py')
    config = Config.fromfile('mine.py')
    assert not Path('ran').exists()
    init_default_scope('mmdet')
    assert len(DATASETS.build(config.train_dataloader.dataset)) == 6


def test_folders_may_have_long_names_with_commas(run, drawn, tmp_path):
    exports.label_maps(drawn, tmp_path / 'data')
    for name in ('images', 'labels'):
        folder = tmp_path / 'data' / name
        folder.rename(folder.with_name(f'{name} of the first flight, 2024'))
    run('data', '--out', 'mine.py')
    config = Config.fromfile('mine.py')
    init_default_scope('mmdet')
    assert len(DATASETS.build(config.train_dataloader.dataset)) == 6


def test_weights_and_backbone_are_options(run, drawn):
    Path('model.pth').touch()
    run(
        *(drawn, '--out', 'mine.py', '--backbone', 'swin-t'),
        *('--weights', 'model.pth'),
    )
    config = Config.fromfile('mine.py')
    assert config.load_from == str(Path('model.pth').resolve())
    assert config.model.backbone.type == 'SwinTransformer'
    assert config.model.backbone.init_cfg is None
    assert config.model.panoptic_head.num_queries == 150


def test_another_kind_of_annotation_can_be_chosen(run, drawn):
    run(drawn, '--out', 'mine.py', '--kind', 'instance')
    config = Config.fromfile('mine.py')
    assert config.model.test_cfg.tasks == ['instance']
    assert config.train_dataloader.dataset.ann_file == (
        'annotations/instances_train.json'
    )


def test_a_test_split_is_for_the_test(run, drawn, tmp_path):
    exports.coco_instances(drawn, tmp_path / 'data')
    folder = tmp_path / 'data' / 'annotations'
    (folder / 'instances_val.json').rename(folder / 'instances_test.json')
    run('data', '--out', 'mine.py')
    config = Config.fromfile('mine.py')
    assert config.val_dataloader.dataset.indices == [4]
    test = config.test_dataloader.dataset
    assert test.ann_file == 'annotations/instances_test.json'
    assert 'indices' not in test


def test_panoptic_images_without_annotation_do_not_mix_the_splits(
    run, drawn, tmp_path
):
    """Training leaves them out, and so would count by other indices."""
    exports.panoptic(drawn, tmp_path / 'data')
    folder = tmp_path / 'data' / 'annotations'
    (folder / 'panoptic_val.json').unlink()
    path = folder / 'panoptic_train.json'
    content = json.loads(path.read_text())
    del content['annotations'][0]
    path.write_text(json.dumps(content))
    run('data', '--out', 'mine.py')
    config = Config.fromfile('mine.py')
    init_default_scope('mmdet')
    names = [
        {dataset.get_data_info(i)['img_path'] for i in range(len(dataset))}
        for dataset in (
            DATASETS.build(config.train_dataloader.dataset),
            DATASETS.build(config.val_dataloader.dataset),
        )
    ]
    assert [len(own) for own in names] == [4, 1]
    assert names[0].isdisjoint(names[1])


# ------------------------------------------------------------------ errors


def test_a_folder_that_does_not_exist_is_named(error):
    assert 'nowhere does not exist: expected a folder with images' in (
        error('nowhere')
    )


def test_a_folder_without_annotation_says_what_is_known(error, tmp_path):
    (tmp_path / 'empty').mkdir()
    message = error('empty')
    assert 'holds no annotations that are known here: expected COCO' in message
    assert 'LabelMe' in message


def test_boxes_without_masks_are_refused(error, drawn, tmp_path):
    exports.cvat_coco(drawn, tmp_path / 'data')
    path = tmp_path / 'data/annotations/instances_default.json'
    content = json.loads(path.read_text())
    for entry in content['annotations'][:2]:
        entry['segmentation'] = []
    path.write_text(json.dumps(content))
    message = error('data')
    assert message.startswith('data cannot be used: 2 of ')
    assert 'Export for instance segmentation' in message


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'panoptic_train.json cannot be read: it is no whole JSON'),
        (
            '{"images": [1], "annotations": [{"segments_info": []}], '
            '"categories": []}',
            'entry 0 of images: expected an object, got 1',
        ),
    ],
)
def test_a_broken_annotation_file_is_named(
    error, drawn, tmp_path, text, message
):
    exports.panoptic(drawn, tmp_path / 'data')
    path = tmp_path / 'data/annotations/panoptic_train.json'
    path.write_text(text)
    assert message in error('data')


def test_images_that_are_missing_are_counted(error, drawn, tmp_path):
    exports.cvat_coco(drawn, tmp_path / 'data')
    image = next((tmp_path / 'data/images/default').iterdir())
    image.unlink()
    message = error('data')
    assert '1 of 6 images of ' in message
    assert image.name in message


def test_nothing_is_converted_into_the_data(error, drawn, tmp_path):
    exports.labelme(drawn, tmp_path / 'data')
    message = error('data', '--out', 'data/mine.py')
    assert message.endswith('give a config elsewhere as --out.')
    assert not list((tmp_path / 'data').glob('mine*'))


def test_one_image_is_too_few(error, drawn, tmp_path):
    exports.cvat_coco(drawn, tmp_path / 'data')
    path = tmp_path / 'data/annotations/instances_default.json'
    content = json.loads(path.read_text())
    content['images'] = content['images'][:1]
    number = content['images'][0]['id']
    content['annotations'] = [
        entry
        for entry in content['annotations']
        if entry['image_id'] == number
    ]
    path.write_text(json.dumps(content))
    assert 'has 1 image with its annotation: expected 2 or more' in (
        error('data')
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--out', 'mine.yaml'), 'mine.yaml must end in .py'),
        (('--weights', 'no.pth'), '--weights no.pth does not exist'),
        (('--classes', 'a'), '--classes is for label maps'),
        (('--train', 'other.json'), "got 'other.json', which 0 of them"),
    ],
)
def test_an_option_that_does_not_fit_is_named(error, drawn, options, message):
    assert message in error(drawn, *options)
