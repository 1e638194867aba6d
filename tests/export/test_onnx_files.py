"""Exported files compute what the model computes, at any size and task."""

import json
import sys

import numpy as np
import pytest
import torch

from projects.oneformer.errors import InputError
from projects.oneformer.export import export_onnx, onnx_files
from projects.oneformer.export.onnx_files import (
    ExportError,
    check_deviations,
    deviation_of,
)
from projects.oneformer.tasks import TASKS
from tests.exported_models import (
    BACKBONES,
    SIZE,
    small_config,
)
from tests.model_configs import METAINFO, build_model, images
from tests.pipeline_steps import step_of

onnx = pytest.importorskip('onnx', reason='needs the extra export')
onnxruntime = pytest.importorskip('onnxruntime', reason='needs onnxruntime')


@torch.no_grad()
def logits_of(model, image: torch.Tensor, task: str) -> list[np.ndarray]:
    """Return class and mask logits of the last layer."""
    logits = model.panoptic_head(model.extract_feat(image), [task])
    return [own[-1][0].numpy() for own in logits]


def run(path, **inputs) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    return session.run(None, inputs)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    # Relative to the largest value. Near 0 a mask logit may round to the
    # other side, which moves a pixel of masked attention.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * scale)


@pytest.mark.slow
@pytest.mark.parametrize('backbone', [b for b in BACKBONES if b != 'swin'])
def test_one_file_of_any_backbone_gives_the_logits_of_the_model(
    backbone, tmp_path
):
    if backbone == 'efficientnet':
        pytest.importorskip('timm', reason='needs timm')
    fixed = backbone == 'dinat'
    config = small_config(backbone)
    model = build_model(config.model)
    path = tmp_path / 'model.onnx'
    before = {
        name: value.clone() for name, value in model.state_dict().items()
    }
    found = export_onnx(
        config, model, path, single_file=True, size=SIZE if fixed else None
    )
    assert {part.backend for part in found} >= {'onnxruntime'}
    # Neither the model nor what is cached in this process has changed.
    after = model.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
    for size in [SIZE] if fixed else [(32, 64), (160, 96)]:
        image = images(1, *size, seed=1)
        cls_scores, masks = run(path, tasks=np.arange(3), image=image.numpy())
        for index, task in enumerate(TASKS):
            expected = logits_of(model, image, task)
            assert_close(cls_scores[index], expected[0])
            assert_close(masks[index], expected[1])


@pytest.mark.slow
def test_two_files_give_the_logits_of_the_model_for_any_tasks(exported):
    model = exported.inferencer.model
    for height, width in ((32, 64), (160, 96)):
        image = images(1, height, width, seed=2)
        features = run(
            exported.folder / 'image_encoder.onnx', image=image.numpy()
        )
        names = ('mask_features', 'memory_32', 'memory_16', 'memory_8')
        strides = (4, 32, 16, 8)
        for feature, stride in zip(features, strides, strict=True):
            assert feature.shape == (1, 64, height // stride, width // stride)
        for tasks in ([1], [2, 0], [0, 1, 2]):
            cls_scores, masks = run(
                exported.folder / 'task_decoder.onnx',
                tasks=np.array(tasks),
                **dict(zip(names, features, strict=True)),
            )
            for row, task in enumerate(tasks):
                expected = logits_of(model, image, TASKS[task])
                assert_close(cls_scores[row], expected[0])
                assert_close(masks[row], expected[1])


@pytest.mark.slow
def test_files_describe_themselves(exported):
    for part in ('image_encoder', 'task_decoder'):
        file = onnx.load(exported.folder / f'{part}.onnx')
        onnx.checker.check_model(file)
        assert file.ir_version == 10
        assert [(o.domain, o.version) for o in file.opset_import] == [('', 20)]
        texts = {entry.key: entry.value for entry in file.metadata_props}
        assert texts['format'] == 'oneformer' and texts['part'] == part
        values = {
            key: json.loads(text)
            for key, text in texts.items()
            if key not in ('format', 'version', 'part')
        }
        assert values['classes'] == list(METAINFO['classes'])
        assert values['thing_classes'] == METAINFO['thing_classes']
        assert values['tasks'] == list(TASKS)
        assert values['task_sentences'][1] == 'The task is instance'
        assert values['mean'] == [123.675, 116.28, 103.53]
        assert values['std'] == [58.395, 57.12, 57.375]
        assert values['channel_order'] == 'RGB'
        assert values['scale'] == [96, 64] and values['keep_ratio'] is True
        assert values['size_divisor'] == 32 and values['size'] is None
        assert values['object_mask_thr'] == 0.2
        assert values['iou_thr'] == 0.8
    sentence = 'image_encoder', 'task_decoder'
    assert sorted(file.name for file in exported.folder.iterdir()) == [
        f'{part}.onnx' for part in sentence
    ]


@pytest.mark.slow
def test_a_file_that_deviates_is_not_written(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_files, 'TOLERANCE', 0.0)
    config = small_config('resnet')
    model = build_model(config.model)
    target = tmp_path / 'out'
    with pytest.raises(ExportError, match='nothing was written'):
        export_onnx(config, model, target, size=(32, 64))
    assert list(tmp_path.iterdir()) == []


def test_few_values_may_deviate_more_than_most():
    expected = np.linspace(-1, 1, 1001)
    place = ('engine', 'mask_logits', (32, 64))

    def check(output):
        check_deviations([deviation_of(place, output, expected)])

    few = expected.copy()
    few[:50] += 0.04
    check(few)
    many = expected.copy()
    many[:60] += 0.04
    check(expected + 9e-4)
    for wrong in (
        many,
        expected + 2e-3,
        np.where(expected > 0.99, 2, expected),
        expected * np.nan,
    ):
        with pytest.raises(ExportError, match='mask_logits of engine differs'):
            check(wrong)


def test_dinat_asks_for_a_size(tmp_path):
    config = small_config('dinat')
    model = build_model(config.model)
    with pytest.raises(InputError, match='add --size HEIGHT WIDTH'):
        export_onnx(config, model, tmp_path / 'out')


def test_a_size_is_a_multiple_of_what_images_are_padded_to(tmp_path):
    config = small_config('resnet')
    model = build_model(config.model)
    with pytest.raises(InputError, match='multiples of 32, got 33 and 64'):
        export_onnx(config, model, tmp_path / 'out', size=(33, 64))


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (dict(type='Pad', size_divisor=32), "'Pad'"),
        (dict(type='Resize', scale_factor=0.5), 'scale_factor'),
        (
            dict(type='Resize', scale=(9, 9), interpolation='nearest'),
            'nearest',
        ),
    ],
)
def test_a_test_pipeline_that_the_runner_does_not_know_is_refused(
    step, message, tmp_path
):
    config = small_config('resnet')
    resize = step_of(config.test_dataloader.dataset.pipeline, 'Resize')
    resize.clear()
    resize.update(step)
    with pytest.raises(InputError, match='cannot be exported') as raised:
        export_onnx(config, build_model(config.model), tmp_path / 'out')
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ('name', 'single_file', 'message'),
    [
        ('out', True, 'is a folder: one file needs a name'),
        ('model.onnx', False, 'Expected a folder for two files'),
    ],
)
def test_a_target_fits_the_number_of_files(
    name, single_file, message, tmp_path
):
    (tmp_path / 'out').mkdir()
    config = small_config('resnet')
    model = build_model(config.model)
    with pytest.raises(InputError, match=message):
        export_onnx(config, model, tmp_path / name, single_file)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    config = small_config('resnet')
    model = build_model(config.model)
    with pytest.raises(ImportError, match='pip install onnxscript'):
        export_onnx(config, model, tmp_path / 'out')
