"""The EoMT head and its ViT: tasks, masks, sizes, training."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from projects.oneformer.models.layers.vit_block import ViTBlock
from projects.oneformer.tasks import RESULT_FIELDS, TASKS
from tests.model_configs import (
    NUM_CLASSES,
    NUM_QUERIES,
    WIDTH,
    build_model,
    data_sample,
    images,
    tiny_eomt,
)

SIZE = (64, 96)
EVERYWHERE = ('queries', 'prefix')


@pytest.fixture(scope='module')
def plain():
    return build_model(tiny_eomt(training=False))


@pytest.fixture(scope='module')
def conditioned():
    return build_model(
        tiny_eomt(training=False, conditioned=True, task_at=EVERYWHERE)
    )


def samples_for(*tasks: str | None) -> list:
    return [data_sample(*SIZE, task=task) for task in tasks]


def count_calls(module: nn.Module) -> list:
    calls: list = []
    module.register_forward_hook(lambda *args: calls.append(args[0]))
    return calls


@torch.no_grad()
def test_first_blocks_run_once_for_all_tasks():
    model = build_model(tiny_eomt(training=False, conditioned=True))
    first = [count_calls(block) for block in model.backbone.blocks]
    joint = [count_calls(block) for block in model.panoptic_head.blocks]
    model.predict(images(2, *SIZE), samples_for(None, None))
    # The joint blocks once, too, with the tokens of all tasks at a time.
    assert [len(calls) for calls in first + joint] == [1] * 4


@torch.no_grad()
@pytest.mark.parametrize('places', [('queries',), ('prefix',), EVERYWHERE])
def test_the_answer_depends_on_the_task_wherever_its_token_enters(places):
    model = build_model(
        tiny_eomt(training=False, conditioned=True, task_at=places)
    )
    pictures = images(1, *SIZE)
    scores = [
        model(pictures, samples_for(task), 'tensor')[0][-1] for task in TASKS
    ]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        # Far more than rounding, of scores with a deviation near 1.
        assert (scores[i] - scores[j]).abs().max() > 0.01


@torch.no_grad()
def test_tasks_together_and_mixed_give_what_each_gives_alone(conditioned):
    pictures = images(2, *SIZE)
    pixels = conditioned.pixel_features(pictures)
    together = conditioned.panoptic_head.decode(
        pixels, [task for task in TASKS for _ in pictures]
    ).by_task(len(TASKS))
    for task, prediction in zip(TASKS, together, strict=True):
        alone = conditioned(pictures, samples_for(task, task), 'tensor')
        for found, expected in zip(prediction, alone, strict=True):
            # Other kernels for another batch: rounding of float32.
            torch.testing.assert_close(
                found, expected[-1], atol=1e-4, rtol=1e-5
            )
    mixed = conditioned.predict(pictures, samples_for('semantic', None))
    fields = [
        [task for task in TASKS if RESULT_FIELDS[task] in sample]
        for sample in mixed
    ]
    assert fields == [['semantic'], list(TASKS)]


@torch.no_grad()
def test_without_the_token_it_is_plain_eomt_in_every_bit():
    """A token whose norm gives zeros adds nothing to any query."""
    with_token = build_model(tiny_eomt(training=False, conditioned=True))
    with_token.panoptic_head.task_norm.weight.zero_()
    with_token.panoptic_head.task_norm.bias.zero_()
    plain = build_model(tiny_eomt(training=False), seed=1)
    plain.load_state_dict(
        {
            name: value
            for name, value in with_token.state_dict().items()
            if '.task_' not in name
        }
    )
    pictures = images(2, *SIZE)
    found = with_token(pictures, samples_for(*TASKS[:2]), 'tensor')
    expected = plain(pictures, samples_for(*TASKS[:2]), 'tensor')
    for own, other in zip(found, expected, strict=True):
        assert own[-1].equal(other[-1])


@torch.no_grad()
def test_plain_eomt_answers_all_tasks_from_one_run(plain):
    joint = count_calls(plain.panoptic_head.blocks[0])
    pictures = images(2, *SIZE)
    pixels = plain.pixel_features(pictures)
    output = plain.panoptic_head.decode(pixels, TASKS[0:1] * 6)
    assert len(joint) == 1
    first, *others = output.by_task(3)
    for other in others:
        assert first[0].equal(other[0]) and first[1].equal(other[1])
    alone = plain(pictures, mode='tensor')
    assert first[1].equal(alone[1][-1])


@torch.no_grad()
@pytest.mark.parametrize('rotary', [False, True])
@pytest.mark.parametrize('size', [(64, 64), (48, 112), (128, 96)])
def test_any_size_whose_sides_patches_divide_is_taken(rotary, size):
    model = build_model(tiny_eomt(training=False, rotary=rotary))
    cls_scores, mask_preds = model(images(1, *size), mode='tensor')
    assert cls_scores[0].shape == (1, NUM_QUERIES, NUM_CLASSES + 1)
    assert mask_preds[0].shape == (
        *(1, NUM_QUERIES),
        *(side // 4 for side in size),
    )


def test_other_sizes_are_refused(plain):
    with pytest.raises(ValueError, match='pad_size_divisor .* 16'):
        plain(torch.zeros(1, 3, 64, 72), mode='tensor')
    cfg = tiny_eomt(training=False, size=72)
    with pytest.raises(ValueError, match='image_size that patches of 16'):
        MODELS.build(cfg)


@torch.no_grad()
def test_a_masked_query_ignores_patches_outside_of_its_mask():
    torch.manual_seed(0)
    block = ViTBlock(WIDTH, 4, 96)
    x = torch.randn(1, 9, WIDTH)
    mask = torch.ones(1, 2, 9, dtype=torch.bool)
    mask[0, 0, 7:] = False
    before = block(x, mask=mask)
    x[:, 7:] = torch.randn(1, 2, WIDTH)
    after = block(x, mask=mask)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert not after[:, 1].allclose(before[:, 1])
    # Other tokens see everything, with and without masks.
    torch.testing.assert_close(after[:, 2:], block(x)[:, 2:])


@torch.no_grad()
def test_queries_are_left_free_as_often_as_the_probability_says(plain):
    head = copy.deepcopy(plain.panoptic_head).train()
    torch.manual_seed(0)
    x = torch.randn(50, NUM_QUERIES + 5 + 24, WIDTH)
    prediction = head.predict(x, SIZE_IN_PATCHES)
    for prob in (1.0, 0.3):
        head.set_mask_probs([prob, 0.0])
        mask = head.attention_mask(prediction, SIZE_IN_PATCHES, x.shape[1], 0)
        assert mask[..., : NUM_QUERIES + 5].all()
        free = float(mask.all(-1).float().mean())
        # 1000 queries: three deviations of a share are 0.05. Without chance
        # a mask that covers all 24 patches is rare.
        assert free == pytest.approx(1 - prob, abs=0.05)


SIZE_IN_PATCHES = (4, 6)


@torch.no_grad()
def test_evaluation_masks_a_block_that_most_training_samples_mask():
    model = build_model(tiny_eomt(training=False))
    head, pictures = model.panoptic_head, images(1, *SIZE)
    found = {}
    for probs in ((0.0, 0.0), (0.4, 0.0), (0.6, 0.0), (1.0, 0.0)):
        head.set_mask_probs(probs)
        found[probs[0]] = model(pictures, mode='tensor')[0]
    assert [len(scores) for scores in found.values()] == [1, 1, 2, 2]
    assert found[0.4][-1].equal(found[0.0][-1])
    assert found[0.6][-1].equal(found[1.0][-1])
    assert not found[0.6][-1].allclose(found[0.0][-1], atol=1e-3)


def test_mask_probabilities_are_kept_in_checkpoints():
    model = build_model(tiny_eomt(training=False))
    model.panoptic_head.set_mask_probs([0.25, 1.0])
    other = build_model(tiny_eomt(training=False))
    other.load_state_dict(model.state_dict())
    assert other.panoptic_head.masks_block(1)
    assert not other.panoptic_head.masks_block(0)
    copied = copy.deepcopy(other)
    assert copied.panoptic_head.masks_block(1)


def losses_of(model, *labels):
    samples = [
        data_sample(*SIZE, own, task, seed)
        for seed, (own, task) in enumerate(zip(labels, TASKS, strict=False))
    ]
    return model(images(len(labels), *SIZE), samples, 'loss')


@pytest.mark.parametrize('rotary', [False, True])
@pytest.mark.parametrize('conditioned', [False, True])
@pytest.mark.parametrize('labels', [([1, 2, 1], [0]), ([], [])])
def test_every_parameter_gets_a_gradient(rotary, conditioned, labels):
    model = build_model(
        tiny_eomt(rotary=rotary, conditioned=conditioned, task_at=EVERYWHERE)
    ).train()
    model.panoptic_head.set_mask_probs([1.0, 0.5])
    losses = losses_of(model, *labels)
    # Three predictions; the texts where there is a token.
    assert len(losses) == 9 + conditioned
    sum(losses.values()).backward()
    for name, param in model.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all(), name


def test_checkpointing_changes_no_gradient():
    cfg = tiny_eomt(conditioned=True)
    gradients = []
    for with_cp in (False, True):
        cfg.backbone.with_cp = cfg.panoptic_head.with_cp = with_cp
        model = build_model(cfg).train()
        model.panoptic_head.set_mask_probs([1.0, 0.5])
        torch.manual_seed(0)
        losses = losses_of(model, [1, 2, 1], [0])
        sum(losses.values()).backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_training_runs_under_autocast():
    model = build_model(tiny_eomt(conditioned=True, rotary=True)).train()
    model.panoptic_head.set_mask_probs([1.0, 0.5])
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(model, [1, 2, 1], [0])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    for name, param in model.named_parameters():
        assert param.grad.isfinite().all(), name


def test_parts_that_belong_together_are_asked_for():
    cfg = tiny_eomt(conditioned=True)
    head = dict(cfg.panoptic_head, num_classes=3)
    with pytest.raises(ValueError, match="got .*'middle'"):
        MODELS.build(dict(head, task_at=['middle']))
    with pytest.raises(ValueError, match='needs a place'):
        MODELS.build(dict(head, task_at=[]))
    training = dict(cfg.train_cfg)
    for missing in ('criterion', 'text_mapper', 'contrastive_loss'):
        rest = {k: v for k, v in training.items() if k != missing}
        with pytest.raises(ValueError, match='needed together'):
            MODELS.build(dict(head, **rest))


def test_a_conditioned_inference_model_has_no_text_branch(conditioned):
    training = build_model(tiny_eomt(conditioned=True, task_at=EVERYWHERE))
    model = copy.deepcopy(conditioned)
    model.load_state_dict(training.state_dict())
    assert model.panoptic_head.text_mapper is None
    assert model.panoptic_head.query_embed.weight.equal(
        training.panoptic_head.query_embed.weight
    )


@torch.no_grad()
def test_compiled_parts_give_the_same():
    pytest.importorskip('torch._dynamo')
    model = build_model(tiny_eomt(training=False, conditioned=True))
    pictures = images(1, *SIZE)
    expected = model(pictures, samples_for('semantic'), 'tensor')
    model.compile_parts(backend='eager', fullgraph=True)
    found = model(pictures, samples_for('semantic'), 'tensor')
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own[-1], other[-1])
