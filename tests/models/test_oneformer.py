"""The detector: its three modes, its tasks, and its checkpoints."""

import logging

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.structures import InstanceData
from torch import Tensor, nn

from projects.oneformer.metainfo import read_metainfo
from projects.oneformer.models import OneFormer
from projects.oneformer.tasks import RESULT_FIELDS, TASKS
from tests.model_configs import (
    METAINFO,
    NUM_CLASSES,
    NUM_QUERIES,
    build_model,
    data_sample,
    images,
    tiny_model,
)
from tests.rounding import assert_same_instances, assert_same_labels

SIZE = (64, 96)


@pytest.fixture(scope='module')
def training() -> OneFormer:
    return build_model(tiny_model())


@pytest.fixture(scope='module')
def inference() -> OneFormer:
    model = build_model(
        tiny_model(training=False, object_mask_thr=0.1, iou_thr=0.1)
    )
    # Else all queries were of one class.
    model.panoptic_head.cls_embed.weight.data *= 8
    return model


def samples_for(*tasks: str | None) -> list:
    return [data_sample(*SIZE, task=task) for task in tasks]


def count_calls(module: nn.Module, monkeypatch) -> list:
    """Return a list that grows with each call."""
    calls, forward = [], module.forward

    def counted(*args, **kwargs):
        calls.append(args)
        return forward(*args, **kwargs)

    monkeypatch.setattr(module, 'forward', counted)
    return calls


def assert_same_result(found, expected) -> None:
    if isinstance(expected, InstanceData):
        assert_same_instances(found, expected)
    else:
        assert found.keys() == expected.keys()
        assert_same_labels(found.sem_seg, expected.sem_seg)


@torch.no_grad()
def test_predict_gives_each_task_its_result(inference):
    samples = inference(images(2, *SIZE), samples_for(None, None), 'predict')
    assert len(samples) == 2
    for sample in samples:
        panoptic = sample.pred_panoptic_seg.sem_seg
        assert panoptic.shape == (1, *SIZE)
        assert (panoptic % 1000 <= NUM_CLASSES).all()
        semantic = sample.pred_sem_seg.sem_seg
        assert semantic.shape == (1, *SIZE)
        assert (semantic < NUM_CLASSES).all()
        instances = sample.pred_instances
        assert instances.masks.shape == (len(instances), *SIZE)
        things = {
            METAINFO['classes'].index(t) for t in METAINFO['thing_classes']
        }
        assert set(instances.labels.tolist()) <= things
        assert (instances.scores <= 1).all()


@torch.no_grad()
@pytest.mark.parametrize(
    'rescale, size', [(True, (40, 50)), (False, (50, 70))]
)
def test_results_have_the_size_asked_for(inference, rescale, size):
    sample = data_sample(*SIZE)
    sample.set_metainfo(dict(img_shape=(50, 70), ori_shape=(40, 50)))
    (sample,) = inference.predict(images(1, *SIZE), [sample], rescale)
    assert sample.pred_panoptic_seg.sem_seg.shape[1:] == size
    assert sample.pred_sem_seg.sem_seg.shape[1:] == size
    assert sample.pred_instances.masks.shape[1:] == size


@torch.no_grad()
@pytest.mark.parametrize('task', TASKS)
def test_a_sample_is_asked_the_task_it_carries_alone(
    inference, task, monkeypatch
):
    query_init = count_calls(inference.panoptic_head.query_init, monkeypatch)
    (sample,) = inference.predict(images(1, *SIZE), samples_for(task))
    assert len(query_init) == 1
    found = [field for field in RESULT_FIELDS.values() if field in sample]
    assert found == [RESULT_FIELDS[task]]


@torch.no_grad()
@pytest.mark.parametrize('tasks', ['semantic', ['instance', 'panoptic']])
def test_samples_without_a_task_are_asked_those_of_test_cfg(tasks):
    model = build_model(tiny_model(training=False, tasks=tasks))
    (sample,) = model.predict(images(1, *SIZE), samples_for(None))
    asked = [tasks] if isinstance(tasks, str) else tasks
    found = {field for field in RESULT_FIELDS.values() if field in sample}
    assert found == {RESULT_FIELDS[task] for task in asked}


@torch.no_grad()
def test_several_tasks_share_backbone_and_pixel_decoder(
    inference, monkeypatch
):
    head = inference.panoptic_head
    backbone = count_calls(inference.backbone, monkeypatch)
    pixel_decoder = count_calls(head.pixel_decoder, monkeypatch)
    layers = [count_calls(x, monkeypatch) for x in head.decoder.layers]
    inference.predict(images(2, *SIZE), samples_for(None, None))
    assert len(backbone) == len(pixel_decoder) == 1
    assert [len(calls) for calls in layers] == [1] * len(layers)


@torch.no_grad()
def test_several_tasks_give_what_each_gives_alone(inference):
    pictures = images(2, *SIZE)
    together = inference.predict(pictures, samples_for(None, None))
    for task in TASKS:
        alone = inference.predict(pictures, samples_for(task, task))
        for found, expected in zip(together, alone, strict=True):
            field = RESULT_FIELDS[task]
            assert_same_result(found.get(field), expected.get(field))


@torch.no_grad()
def test_each_task_is_asked_with_its_own_token(inference, monkeypatch):
    fused, fusion_head = {}, inference.panoptic_fusion_head
    forward = fusion_head.forward

    def record(task, cls_scores, mask_preds, *args):
        fused[task] = cls_scores, mask_preds
        return forward(task, cls_scores, mask_preds, *args)

    monkeypatch.setattr(fusion_head, 'forward', record)
    pictures = images(1, *SIZE)
    inference.predict(pictures, samples_for(None))
    for task in TASKS:
        expected = inference(pictures, samples_for(task), 'tensor')
        for found, predictions in zip(fused[task], expected, strict=True):
            torch.testing.assert_close(
                found, predictions[-1][0], atol=1e-4, rtol=1e-5
            )
    assert not fused['panoptic'][0].allclose(fused['semantic'][0], atol=0.1)


@torch.no_grad()
def test_tasks_may_be_mixed_in_a_batch(inference, monkeypatch):
    pictures = images(4, *SIZE)
    tasks = ('semantic', None, 'panoptic', 'instance')
    with monkeypatch.context() as patch:
        backbone = count_calls(inference.backbone, patch)
        mixed = inference.predict(pictures, samples_for(*tasks))
        assert len(backbone) == 1
    for i, task in enumerate(tasks):
        (alone,) = inference.predict(pictures[i : i + 1], samples_for(task))
        for field in RESULT_FIELDS.values():
            assert (field in mixed[i]) == (field in alone)
            if field in alone:
                assert_same_result(mixed[i].get(field), alone.get(field))


@torch.no_grad()
def test_raw_logits_are_those_of_the_first_task_asked(inference):
    pictures = images(2, *SIZE)
    cls_scores, mask_preds = inference(
        pictures, samples_for('instance', None), 'tensor'
    )
    expected, expected_masks = inference.panoptic_head(
        inference.extract_feat(pictures), ['instance', TASKS[0]]
    )
    for i in range(10):
        torch.testing.assert_close(cls_scores[i], expected[i])
        torch.testing.assert_close(mask_preds[i], expected_masks[i])
    without_samples, _ = inference(pictures, mode='tensor')
    torch.testing.assert_close(without_samples[-1][1], expected[-1][1])
    assert cls_scores[-1].shape == (2, NUM_QUERIES, NUM_CLASSES + 1)


def test_an_unknown_task_is_refused(inference):
    with pytest.raises(ValueError, match="'depth'"):
        build_model(tiny_model(tasks=['panoptic', 'depth']))
    with pytest.raises(ValueError, match="'depth'"):
        inference.predict(images(1, *SIZE), samples_for('depth'))


def losses_of(model: OneFormer, *labels: list[int]) -> dict[str, Tensor]:
    samples = [
        data_sample(*SIZE, own, task, seed)
        for seed, (own, task) in enumerate(zip(labels, TASKS, strict=False))
    ]
    return model(images(len(labels), *SIZE), samples, 'loss')


@pytest.mark.parametrize(
    'labels',
    [([1, 2, 1], [0]), ([], [3, 4]), ([], []), ([2, 4],), ([],)],
    ids=['objects', 'one empty', 'all empty', 'one image', 'one empty image'],
)
def test_every_parameter_gets_a_gradient(training, labels):
    training.zero_grad()
    training.train()
    losses = losses_of(training, *labels)
    sum(losses.values()).backward()
    training.eval()
    assert len(losses) == 31
    for name, param in training.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all(), name


def test_without_objects_only_classes_and_texts_are_learned(training):
    losses = losses_of(training, [], [])
    for name, loss in losses.items():
        learned = name.endswith('loss_cls') or name == 'loss_contrastive'
        assert bool(loss > 0) == learned, name


def test_a_single_image_has_no_contrastive_loss(training):
    assert losses_of(training, [1, 2])['loss_contrastive'] == 0


def test_more_objects_than_queries_can_be_trained(training):
    losses = losses_of(training, (NUM_QUERIES + 5) * [1], [0])
    assert sum(losses.values()).isfinite()


def test_training_runs_under_autocast(training):
    training.zero_grad()
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(training, [1, 2, 1], [0])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    expected = losses_of(training, [1, 2, 1], [0])
    for name in ('d0.loss_cls', 'loss_contrastive'):
        assert float(losses[name].detach()) == pytest.approx(
            float(expected[name].detach()), rel=0.1
        )
    sum(losses.values()).backward()
    for name, param in training.named_parameters():
        assert param.grad.isfinite().all(), name


@torch.no_grad()
def test_inference_runs_under_autocast(inference):
    with torch.autocast('cpu', torch.bfloat16):
        (sample,) = inference.predict(images(1, *SIZE), samples_for(None))
    assert sample.pred_instances.scores.dtype == torch.float32


def test_an_inference_model_loads_a_training_checkpoint_silently(
    training, tmp_path, capsys, caplog
):
    checkpoint = tmp_path / 'training.pth'
    save_checkpoint(dict(state_dict=training.state_dict()), str(checkpoint))
    model = build_model(tiny_model(training=False), seed=1)
    logger = logging.getLogger('oneformer.test')
    capsys.readouterr()
    with caplog.at_level(logging.DEBUG, logger='oneformer.test'):
        load_checkpoint(
            model, str(checkpoint), map_location='cpu', logger=logger
        )
    # The loader reports what does not fit there, or prints it.
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    written = capsys.readouterr().out + caplog.text
    for word in ('unexpected', 'missing', 'match'):
        assert word not in written
    for name, value in model.state_dict().items():
        assert value.equal(training.state_dict()[name])


def test_what_does_not_fit_is_not_loaded_in_part(training, tmp_path):
    state_dict = training.state_dict()
    state_dict['panoptic_head.text_mapped.weight'] = torch.zeros(1)
    checkpoint = tmp_path / 'training.pth'
    save_checkpoint(dict(state_dict=state_dict), str(checkpoint))
    model = build_model(tiny_model(training=False), seed=1)
    initial = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(ValueError, match='as panoptic_head.text_mapped'):
        load_checkpoint(model, str(checkpoint), map_location='cpu')
    for name, value in model.state_dict().items():
        assert value.equal(initial[name])


@torch.no_grad()
def test_a_training_model_predicts_what_its_inference_model_does(training):
    model = build_model(tiny_model(training=False), seed=1)
    model.load_state_dict(training.state_dict(), strict=True)
    pictures = images(1, *SIZE)
    (found,) = model.predict(pictures, samples_for(None))
    (expected,) = training.predict(pictures, samples_for(None))
    for field in RESULT_FIELDS.values():
        assert_same_result(found.get(field), expected.get(field))


def test_an_inference_model_cannot_be_trained(inference):
    with pytest.raises(RuntimeError, match='set model.train_cfg'):
        losses_of(inference, [1])


def test_a_neck_stands_between_backbone_and_head():
    cfg = tiny_model(training=False)
    cfg.neck = dict(
        type='ChannelMapper',
        in_channels=[16, 32, 64, 128],
        kernel_size=1,
        out_channels=16,
        num_outs=4,
    )
    cfg.panoptic_head.in_channels = [16, 16, 16, 16]
    model = build_model(cfg)
    feats = model.extract_feat(images(1, *SIZE))
    assert [feat.shape[1] for feat in feats] == [16, 16, 16, 16]
    assert model(images(1, *SIZE), samples_for('semantic'), 'tensor')


def test_labels_of_things_follow_from_the_metainfo():
    names, things = read_metainfo(METAINFO)
    assert names == METAINFO['classes']
    assert things == [1, 3, 4]
    model = build_model(tiny_model(training=False))
    is_thing = model.panoptic_fusion_head.is_thing
    assert is_thing.nonzero()[:, 0].tolist() == things


def test_a_model_without_a_task_is_refused():
    with pytest.raises(ValueError, match='at least one task'):
        build_model(tiny_model(training=False, tasks=[]))


def test_an_unknown_option_of_test_cfg_is_refused():
    with pytest.raises(TypeError, match='object_mask_threshold'):
        build_model(tiny_model(object_mask_threshold=0.5))
