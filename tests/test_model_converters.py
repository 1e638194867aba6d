"""Checkpoints leave for other programs, which load them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from PIL import Image

from projects.oneformer.tasks import TASKS
from projects.oneformer.text import CLIPTokenizer, task_sentence
from projects.oneformer.weights import to_reference
from projects.oneformer.weights.huggingface_folder import (
    backbone_settings,
    model_settings,
    save_huggingface_folder,
)
from projects.oneformer.weights.reader import load_weights, read_checkpoint
from tests.model_configs import METAINFO, build_model, images, tiny_model
from tests.pipeline_steps import step_of

ROOT = Path(__file__).parents[1]
TOOL = ROOT / 'tools' / 'model_converters' / 'convert_checkpoint.py'
SCALE = (160, 64)


def tiny_config(training: bool = True, **resize) -> Config:
    """Return a config with what the conversion reads of one."""
    pipeline = [dict(type='LoadImageFromFile')]
    resize = dict(scale=SCALE, keep_ratio=True) | resize
    pipeline.append(dict(resize, type='Resize'))
    return Config(
        dict(
            model=tiny_model(training),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            default_scope='mmdet',
        )
    )


@pytest.fixture(scope='module')
def ours():
    return build_model(tiny_model(), seed=1)


@pytest.fixture(scope='module')
def folder(ours, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('folders') / 'huggingface'
    save_huggingface_folder(tiny_config(), ours.state_dict(), path)
    return path


@pytest.fixture(scope='module')
def transformers():
    package = pytest.importorskip('transformers')
    if int(package.__version__.split('.')[0]) >= 5:
        pytest.skip('needs transformers < 5')
    return package


@torch.no_grad()
def test_transformers_computes_our_logits_from_our_folder(
    folder, ours, transformers
):
    network, loading = (
        transformers.OneFormerForUniversalSegmentation.from_pretrained(
            folder, output_loading_info=True
        )
    )
    # What it keeps for training is not in files for inference.
    assert all(n.startswith('criterion') for n in loading['missing_keys'])
    assert not loading['unexpected_keys'] and not loading['mismatched_keys']
    pixels = images(1, 64, 96, seed=2)
    ids = CLIPTokenizer()([task_sentence('semantic')]).float()
    theirs = network.eval()(pixels, ids)
    cls_scores, mask_preds = ours.panoptic_head(
        ours.extract_feat(pixels), ['semantic']
    )
    torch.testing.assert_close(
        cls_scores[-1], theirs.class_queries_logits, atol=1.5e-4, rtol=0
    )
    torch.testing.assert_close(
        mask_preds[-1], theirs.masks_queries_logits, atol=3e-3, rtol=2e-5
    )


def test_the_processor_loads_and_prepares_what_our_pipeline_does(
    folder, transformers
):
    processor = transformers.OneFormerProcessor.from_pretrained(folder)
    image = np.random.randint(0, 256, (32, 50, 3), dtype=np.uint8)
    inputs = processor(images=Image.fromarray(image), task_inputs=['panoptic'])
    pixels = torch.as_tensor(np.array(inputs['pixel_values'][0]))
    assert pixels.shape == (3, 64, 100)
    resized = Image.fromarray(image).resize(
        (100, 64), Image.Resampling.BILINEAR
    )
    expected = torch.tensor(np.array(resized)).permute(2, 0, 1).float()
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    torch.testing.assert_close(
        pixels.float(), (expected - mean) / std, atol=1e-5, rtol=1e-5
    )
    for task in TASKS:
        ids = processor.tokenizer(
            [f'the task is {task}'], padding='max_length', max_length=77
        )
        ids = torch.tensor(ids['input_ids']) * torch.tensor(
            ids['attention_mask']
        )
        assert ids.equal(CLIPTokenizer()([task_sentence(task)]))
    metadata = processor.image_processor.metadata
    assert metadata['class_names'] == list(METAINFO['classes'])
    assert metadata['thing_ids'] == [1, 3, 4]
    assert processor.image_processor.num_text == 16  # 20 queries, 4 context


@pytest.mark.parametrize(
    ('resize', 'image_size', 'expected'),
    [
        (dict(scale=(512, 512), keep_ratio=False), (30, 50), (512, 512)),
        (dict(scale=(96, 64), keep_ratio=False), (30, 50), (64, 96)),
        (dict(scale=64, keep_ratio=False), (30, 50), (64, 64)),
        # The long side is 128, the short one its half, as in the image.
        (dict(scale=(128, 128)), (20, 40), (64, 128)),
        (dict(scale=(128, 128)), (40, 20), (128, 64)),
    ],
)
def test_square_and_fixed_test_sizes_are_those_of_the_processor(
    ours, transformers, tmp_path, resize, image_size, expected
):
    config = tiny_config(**resize)
    save_huggingface_folder(config, ours.state_dict(), tmp_path / 'folder')
    processor = transformers.OneFormerProcessor.from_pretrained(
        tmp_path / 'folder'
    )
    image = np.random.randint(0, 256, (*image_size, 3), dtype=np.uint8)
    inputs = processor(images=Image.fromarray(image), task_inputs=['semantic'])
    assert np.shape(inputs['pixel_values'][0])[1:] == expected
    resize = step_of(config.test_dataloader.dataset.pipeline, 'Resize')
    step = TRANSFORMS.build(resize)
    assert step(dict(img=image))['img'].shape[:2] == expected


def test_a_pipeline_that_does_not_resize_is_not_exported(ours, tmp_path):
    config = tiny_config()
    config.test_dataloader.dataset.pipeline.pop()
    with pytest.raises(ValueError, match='Expected a Resize with a scale'):
        save_huggingface_folder(config, ours.state_dict(), tmp_path / 'new')


def test_the_folder_comes_back_as_the_same_weights(folder, ours):
    model = build_model(tiny_model(training=False), seed=3)
    load_weights(model, str(folder))
    for name, value in model.state_dict().items():
        assert value.equal(ours.state_dict()[name]), name


def test_the_folder_names_the_classes(folder):
    names = json.loads((folder / 'config.json').read_text())['id2label']
    assert names == dict(zip('012345', METAINFO['classes'], strict=True))


def test_an_existing_folder_is_not_touched(folder, ours):
    before = sorted(folder.iterdir())
    with pytest.raises(FileExistsError, match='name a new folder'):
        save_huggingface_folder(tiny_config(), ours.state_dict(), folder)
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_cannot_be_finished_is_not_left(ours, tmp_path):
    config = tiny_config()
    config.model.metainfo.classes = [b'bytes']  # not in JSON
    config.model.metainfo.thing_classes = []
    with pytest.raises(TypeError):
        save_huggingface_folder(config, ours.state_dict(), tmp_path / 'new')
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_that_transformers_has_not_is_named():
    config = Config.fromfile(ROOT / 'configs' / 'oneformer_r50_coco.py')
    with pytest.raises(ValueError, match='no backbone ResNet'):
        model_settings(config)


def test_the_settings_of_dinat_are_those_of_its_config(transformers):
    path = ROOT / 'configs' / '_base_' / 'models' / 'oneformer_dinat-l.py'
    settings = backbone_settings(Config.fromfile(path).model.backbone)
    config = transformers.DinatConfig(
        **{k: v for k, v in settings.items() if k != 'model_type'}
    )
    assert settings['model_type'] == config.model_type
    assert (config.embed_dim, config.kernel_size) == (192, 11)
    assert config.depths == [3, 4, 18, 5]
    assert config.dilations[1] == [1, 5, 1, 10]
    assert config.mlp_ratio == 2.0


def test_the_settings_of_training_are_kept():
    settings = model_settings(tiny_config())
    assert settings['decoder_layers'] == 10
    assert settings['text_encoder_n_ctx'] == 4
    assert settings['train_num_points'] == 112
    assert 'train_num_points' not in model_settings(tiny_config(False))


# ---------------------------------------------------------------------------
# The tools
# ---------------------------------------------------------------------------


def convert(*arguments, check=True):
    process = subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if check:
        assert process.returncode == 0, process.stderr
    return process


def test_the_tool_goes_through_all_layouts_and_changes_nothing(ours, tmp_path):
    theirs = to_reference(ours.state_dict())
    torch.save(dict(model=theirs), tmp_path / 'reference.pth')
    convert(tmp_path / 'reference.pth', tmp_path / 'ours.safetensors')
    process = convert(
        tmp_path / 'ours.safetensors',
        tmp_path / 'back.pth',
        *('--to', 'reference'),
    )
    assert 'OpenMMLab layout' in process.stdout
    back = torch.load(tmp_path / 'back.pth', weights_only=True)['model']
    assert back.keys() == theirs.keys()
    for name, value in theirs.items():
        assert back[name].equal(value), name
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *('back.pth', 'ours.safetensors', 'reference.pth'),
    ]


def test_the_tool_writes_a_folder_and_our_file_with_class_names(
    ours, tmp_path
):
    torch.save(to_reference(ours.state_dict()), tmp_path / 'reference.pth')
    tiny_config().dump(tmp_path / 'config.py')
    for target, layout in (('folder', 'transformers'), ('a.pth', 'ours')):
        convert(
            *(tmp_path / 'reference.pth', tmp_path / target),
            *('--to', layout, '--config', tmp_path / 'config.py'),
        )
    for target in ('folder', 'a.pth'):
        content = read_checkpoint(tmp_path / target)
        classes = content['state_dict']._metadata['']['classes']
        assert classes == METAINFO['classes']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('none.pth', 'out.pth'), 'none.pth does not exist'),
        (('none.pth', 'out.txt'), 'must end in .pth or .safetensors'),
        (('none.pth', 'out', '--to', 'transformers'), 'needs --config'),
        (('none.pth', '/'), '/ exists'),
    ],
)
def test_the_tool_says_what_is_wrong(arguments, message):
    process = convert(*arguments, check=False)
    assert process.returncode == 1
    assert message in process.stderr
    assert 'Traceback' not in process.stderr


def test_a_fault_of_ours_is_not_reported_as_one_of_the_file(
    ours, tmp_path, monkeypatch
):
    tool = load_tool(monkeypatch, 'model_converters/convert_checkpoint.py')
    torch.save(ours.state_dict(), tmp_path / 'a.pth')

    def fail(weights):
        raise ValueError('ours')

    monkeypatch.setattr('projects.oneformer.weights.to_native', fail)
    command = ['convert_checkpoint.py', tmp_path / 'a.pth', tmp_path / 'b.pth']
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    with pytest.raises(ValueError, match='ours'), tool.one_line_errors():
        tool.main()


def load_tool(monkeypatch, name: str):
    """Return a script of ``tools/`` as a module."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    path = ROOT / 'tools' / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def verify(monkeypatch):
    """The tool that compares with published numbers, as a module."""
    return load_tool(monkeypatch, 'verify_checkpoint.py')


def test_verifying_ends_in_one_line_only_where_a_user_is_wrong(
    verify, tmp_path, monkeypatch
):
    command = ['verify_checkpoint.py', '--weights', str(tmp_path / 'none.pth')]
    monkeypatch.setattr(sys, 'argv', command)
    with (
        pytest.raises(SystemExit, match='none.pth'),
        verify.one_line_errors(),
    ):
        verify.main()

    def fail(*_):
        raise ValueError('a fault of ours')

    monkeypatch.setattr(verify, 'compute', fail)
    with (
        pytest.raises(ValueError, match='a fault of ours'),
        verify.one_line_errors(),
    ):
        verify.main()


@torch.no_grad()
def test_verifying_compares_with_what_transformers_computes(
    verify, folder, transformers, tmp_path, monkeypatch, capsys
):
    network = transformers.OneFormerForUniversalSegmentation.from_pretrained(
        folder
    ).eval()
    monkeypatch.setattr(verify, 'SIZE', (70, 86))
    image = np.random.randint(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / 'a.png')
    model = build_model(tiny_model(False))
    pixels = verify.read_image(
        str(tmp_path / 'a.png'), model.data_preprocessor
    )
    assert pixels.shape == (1, 3, 70, 86)
    ids = CLIPTokenizer()([task_sentence('semantic')]).float()
    output = network(pixels, ids, output_hidden_states=True)
    golden = dict(
        zip(
            verify.GOLDEN,
            (
                output.encoder_hidden_states[-1][0, 0],
                output.pixel_decoder_hidden_states[0][0, 0],
                output.class_queries_logits[0],
                output.masks_queries_logits[0, 0],
            ),
            strict=True,
        )
    )
    computed = verify.compute(
        tiny_config(), str(folder), str(tmp_path / 'a.png')
    )
    golden = {name: v[:3, :3].tolist() for name, v in golden.items()}
    monkeypatch.setattr(verify, 'GOLDEN', golden)
    assert verify.compare(computed)
    assert capsys.readouterr().out.count('pass') == 4

    golden['class logits'][2][1] += 0.002
    assert not verify.compare(computed)
    assert 'FAIL  class logits' in capsys.readouterr().out
