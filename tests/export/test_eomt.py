"""An exported EoMT answers as the model does, at any size and task."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from projects.oneformer.errors import InputError
from projects.oneformer.export import export_onnx, onnx_files
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.runtime import OnnxSegmenter
from projects.oneformer.runtime.sessions import BACKENDS, open_session
from projects.oneformer.tasks import TASKS
from tests.exported_models import drawn_image, with_pipeline
from tests.model_configs import build_model, images, tiny_eomt, tiny_model
from tests.rounding import assert_same_labels, assert_same_values

KINDS = dict(
    plain={},
    conditioned=dict(conditioned=True, task_at=('queries', 'prefix')),
    rotary=dict(conditioned=True, rotary=True),
)


def write_model(folder, masked: bool = False, **kind) -> SimpleNamespace:
    """Return a config, its model, and the inferencer with its weights.

    Args:
        folder: Where the weights are written.
        masked (bool): As before the end of mask annealing.
        **kind: Arguments of ``tiny_eomt``.
    """
    config = with_pipeline(
        tiny_eomt(training=False, object_mask_thr=0.2, **kind)
    )
    model = build_model(config.model)
    if masked:
        model.panoptic_head.set_mask_probs([0.3, 0.9])
    weights = folder / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), weights)
    return SimpleNamespace(
        config=config,
        model=model,
        inferencer=OneFormerInferencer(config, weights, 'cpu'),
    )


def assert_same_answers(segmenter, inferencer, sizes) -> None:
    """Compare the results of all tasks, of images of several sizes."""
    shown = 0
    for seed, size in enumerate(sizes):
        image = drawn_image(*size, seed)
        (expected,) = inferencer(image, list(TASKS), score_thr=0.1)
        found = segmenter(image, list(TASKS), score_thr=0.1)
        alone = segmenter(image, 'panoptic')
        assert alone.panoptic.shape == size
        assert_same_labels(alone.panoptic, found.panoptic)
        for task in TASKS:
            ours, theirs = found.segments_of(task), expected.segments_of(task)
            assert [s.label for s in ours] == [s.label for s in theirs]
            for own, other in zip(ours, theirs, strict=True):
                assert own.score == pytest.approx(other.score, abs=5e-3)
                assert_same_labels(own.mask, other.mask)
            shown += len(ours)
    assert shown > 4 * len(sizes)


@pytest.fixture(scope='module', params=KINDS)
def exported(request, tmp_path_factory):
    """A small EoMT, and its two files of free sizes."""
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra export')
    folder = tmp_path_factory.mktemp('eomt')
    written = write_model(folder, **KINDS[request.param])
    export_onnx(written.config, written.model, folder / 'onnx')
    written.folder = folder / 'onnx'
    return written


@pytest.mark.slow
@pytest.mark.parametrize('backend', BACKENDS)
def test_two_files_give_the_results_of_the_model(exported, backend):
    pytest.importorskip(backend, reason=f'needs {backend}')
    segmenter = OnnxSegmenter(exported.folder, backend, threads=1)
    # 64 x 96 after resizing, 64 x 80 with 48 pixels of image, 80 x 64.
    sizes = [(64, 96), (80, 61), (150, 200)]
    assert_same_answers(segmenter, exported.inferencer, sizes)


@pytest.mark.slow
def test_the_encoder_gives_tokens_once_and_the_decoder_any_tasks(exported):
    encoder, decoder = (
        open_session(exported.folder / f'{part}.onnx')
        for part in ('image_encoder', 'task_decoder')
    )
    image = images(1, 48, 80, seed=1)
    features = dict(
        zip(encoder.outputs, encoder.run(image=image.numpy()), strict=True)
    )
    assert features['prefix_tokens'].shape == (1, 5, 64)
    assert features['patch_tokens'].shape == (1, 64, 3, 5)
    for tasks in ([1], [2, 0], [0, 1, 2]):
        cls_scores, masks = decoder.run(tasks=np.array(tasks), **features)
        assert masks.shape[0] == len(tasks) and masks.shape[2:] == (12, 20)
        for row, task in enumerate(tasks):
            with torch.no_grad():
                expected = exported.model.panoptic_head(
                    exported.model.extract_feat(image), [TASKS[task]]
                )
            for found, logits in zip(
                (cls_scores, masks), expected, strict=True
            ):
                assert_same_values(
                    torch.from_numpy(found[row]),
                    logits[-1][0],
                    # Attention is sharp here, which enlarges rounding.
                    rounding=1e-4,
                )


@pytest.mark.slow
@pytest.mark.parametrize('masked', [False, True])
def test_one_file_of_one_size_gives_the_results_of_the_model(masked, tmp_path):
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra export')
    written = write_model(tmp_path, masked, conditioned=True)
    path = tmp_path / 'model.onnx'
    export_onnx(
        written.config, written.model, path, single_file=True, size=(64, 96)
    )
    # All of them fill the one size after resizing.
    sizes = [(64, 96), (128, 192), (32, 48)]
    assert_same_answers(OnnxSegmenter(path), written.inferencer, sizes)


@pytest.mark.slow
def test_a_model_that_is_too_large_for_a_file_is_refused(
    monkeypatch, tmp_path
):
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra export')
    monkeypatch.setattr(onnx_files, 'MAX_BYTES', 2**15)
    config = with_pipeline(tiny_eomt(training=False))
    model = build_model(config.model)
    with pytest.raises(InputError, match='smaller model, or two files'):
        export_onnx(
            config, model, tmp_path / 'a.onnx', single_file=True, size=(64, 64)
        )
    assert list(tmp_path.iterdir()) == []


def test_a_size_is_a_multiple_of_the_patch(tmp_path):
    config = with_pipeline(tiny_eomt(training=False))
    model = build_model(config.model)
    with pytest.raises(InputError, match='multiples of 16, got 64 and 72'):
        export_onnx(config, model, tmp_path / 'out', size=(64, 72))


@torch.no_grad()
@pytest.mark.parametrize(
    'config',
    [
        tiny_model(training=False),
        *(tiny_eomt(training=False, **kind) for kind in KINDS.values()),
    ],
    ids=['oneformer', *KINDS],
)
def test_tensors_hold_what_tasks_share_and_indices_name_tasks(config):
    model = build_model(config)
    head = model.panoptic_head
    feats = model.extract_feat(images(1, 64, 96))
    tensors = head.shared_tensors(feats)
    assert all(len(tensor) == 1 for tensor in tensors.values())
    expected = head.decode(head.pixel_features(feats), TASKS[1:])
    found = head.decode_indices(
        head.from_tensors(tensors), torch.tensor([1, 2])
    )
    for own, other in zip(
        found.last(),
        (expected.cls_scores[-1], expected.masks()[-1]),
        strict=True,
    ):
        assert len(own) == 2
        # Another memory layout may choose another kernel.
        assert_same_values(own, other, rounding=1e-4)
