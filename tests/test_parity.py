"""OneFormer gives the numbers of an independent implementation.

The oracle is the OneFormer of Hugging Face's ``transformers``, at random
weights that the converter brings over: a tiny model, and Swin-T in full size
as shipped in ``configs/``.

One element of a boolean attention mask decides by the sign of a logit. Where
that logit is zero up to rounding, either side is right, and whatever comes
after moves far more than rounding does. So the masks are compared first: they
may differ in such elements only, which are few. Then this model decodes with
the masks of the oracle, and all ten predictions must agree.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmcv.ops import point_sample
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine import Config, ConfigDict
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from projects.oneformer.models.losses.target import Target
from projects.oneformer.models.query_head import mask_logits
from projects.oneformer.tasks import TASKS
from projects.oneformer.weights import from_huggingface
from tests.model_configs import (
    NUM_CLASSES,
    NUM_POINTS,
    NUM_QUERIES,
    data_sample,
    images,
)
from tests.rounding import assert_same_matching
from tests.transformers_oracle import (
    GivenMasks,
    Pair,
    Trace,
    hand_over_causal_mask,
    loss_terms,
    make_pair,
    text_ids,
    tiny_pair,
    trace_oracle,
    transformers,
)

CONFIGS = Path(__file__).parents[1] / 'configs'
SIZES = ((64, 96), (128, 32))  # multiples of 32, as both pad alike only then


def shipped_model(name: str, num_classes: int, training: bool) -> ConfigDict:
    """Return a model config of the project, without pretrained weights."""
    register_all_modules()
    cfg = Config.fromfile(CONFIGS / '_base_' / 'models' / f'{name}.py').model
    cfg.backbone.init_cfg = None
    cfg.metainfo = dict(
        classes=[f'class {i}' for i in range(num_classes)], thing_classes=[]
    )
    if not training:
        cfg.train_cfg = None
    return cfg


@pytest.fixture(scope='module')
def tiny() -> Pair:
    return tiny_pair(training=False)


@pytest.fixture(scope='module')
def tiny_training() -> Pair:
    pair = tiny_pair(training=True)
    hand_over_causal_mask(pair.oracle)
    return pair


@pytest.fixture(scope='module')
def swin_t() -> Pair:
    return make_pair(shipped_model('oneformer_swin-t', 150, training=False))


@pytest.fixture(scope='module')
def swin_l() -> Pair:
    cfg = shipped_model('oneformer_swin-l', 150, training=False)
    cfg.panoptic_head.num_queries = 250
    return make_pair(
        cfg,
        num_queries=250,
        backbone_config=transformers.SwinConfig(
            embed_dim=192,
            depths=[2, 2, 18, 2],
            num_heads=[6, 12, 24, 48],
            window_size=12,
            out_features=['stage1', 'stage2', 'stage3', 'stage4'],
        ),
    )


@pytest.fixture(
    params=[
        'tiny',
        'swin_t',
        # Of another size only; takes 3 GB.
        pytest.param('swin_l', marks=pytest.mark.slow),
    ]
)
def pair(request) -> Pair:
    return request.getfixturevalue(request.param)


def trace_ours(
    ours: nn.Module,
    pictures: Tensor,
    tasks: Sequence[str],
    attention_masks: list[Tensor],
) -> Trace:
    head = ours.panoptic_head
    feats = ours.extract_feat(pictures)
    mask_features, memories = head.pixel_decoder(list(feats))
    with GivenMasks(head, attention_masks) as masks:
        output = head.decode(head.pixel_features(feats), tasks)
    assert masks.calls == 9
    # Else the comparison of the masks would have had little to say.
    assert masks.ambiguous_rows < 0.05 * masks.rows
    return Trace(
        list(feats),
        memories,
        mask_features,
        output.queries,
        attention_masks,
        output.cls_scores,
        [mask_logits(e, mask_features) for e in output.mask_embeds],
    )


def assert_close(
    ours: Tensor, theirs: Tensor, atol: float, rtol: float = 0.0
) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=rtol)


@torch.no_grad()
@pytest.mark.parametrize('size', SIZES)
def test_every_prediction_agrees_for_every_task(pair, size):
    pictures = images(1, *size).expand(3, -1, -1, -1)
    theirs, _ = trace_oracle(pair.oracle, pictures, TASKS)
    ours = trace_ours(pair.ours, pictures, TASKS, theirs.attention_masks)

    for our_map, their_map in zip(ours.feats, theirs.feats, strict=True):
        assert_close(our_map, their_map, 3e-5)
    for our_map, their_map in zip(ours.memories, theirs.memories, strict=True):
        assert_close(our_map, their_map, 3e-5)
    assert_close(ours.mask_features, theirs.mask_features, 3e-5)
    assert_close(ours.queries, theirs.queries, 5e-5)
    assert len(ours.cls_scores) == len(ours.mask_preds) == 10
    for ours_i, theirs_i in zip(
        ours.cls_scores, theirs.cls_scores, strict=True
    ):
        assert_close(ours_i, theirs_i, 1.5e-4)
    for ours_i, theirs_i in zip(
        ours.mask_preds, theirs.mask_preds, strict=True
    ):
        assert_close(ours_i, theirs_i, 3e-3, 2e-5)


@torch.no_grad()
def test_the_three_tasks_differ_by_more_than_the_tolerances(pair):
    # Else the comparison for every task would compare one task thrice.
    pictures = images(1, *SIZES[0]).expand(3, -1, -1, -1)
    theirs, _ = trace_oracle(pair.oracle, pictures, TASKS)
    for prediction in (*theirs.cls_scores, *theirs.mask_preds):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert (prediction[i] - prediction[j]).abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize('size', SIZES)
def test_the_tiny_network_agrees_from_image_to_logits(tiny, size):
    """Nothing is replaced: with these images no mask is ambiguous."""
    pictures, tasks = images(2, *size, seed=2), ['semantic', 'instance']
    theirs, _ = trace_oracle(tiny.oracle, pictures, tasks)
    samples = [data_sample(*size, task=task) for task in tasks]
    cls_scores, mask_preds = tiny.ours(pictures, samples, mode='tensor')
    for i in range(10):
        assert_close(cls_scores[i], theirs.cls_scores[i], 1.5e-4)
        assert_close(mask_preds[i], theirs.mask_preds[i], 3e-3, 2e-5)


@torch.no_grad()
@pytest.mark.parametrize('size', [(70, 86), (66, 97)])
def test_sizes_that_are_no_multiple_of_32_agree_without_padding(tiny, size):
    pictures = images(1, 64, 96, seed=3)
    pictures = nn.functional.interpolate(pictures, size)
    theirs, _ = trace_oracle(tiny.oracle, pictures, ['semantic'])
    ours = trace_ours(
        tiny.ours, pictures, ['semantic'], theirs.attention_masks
    )
    assert_close(ours.feats[-1], theirs.feats[-1], 3e-5)
    assert_close(ours.mask_features, theirs.mask_features, 3e-5)
    assert_close(ours.cls_scores[-1], theirs.cls_scores[-1], 1.5e-4)
    assert_close(ours.mask_preds[-1], theirs.mask_preds[-1], 3e-3, 2e-5)


def test_a_folder_that_transformers_saved_is_loaded_as_it_is(pair, tmp_path):
    """Then the logits agree, too, as the other tests show."""
    pair.oracle.save_pretrained(tmp_path)
    before = {n: v.clone() for n, v in pair.ours.state_dict().items()}
    for parameter in pair.ours.parameters():
        parameter.data.zero_()
    load_checkpoint(pair.ours, str(tmp_path))
    for name, value in pair.ours.state_dict().items():
        assert value.equal(before[name]), name


TRAINING_SIZE = (64, 96)
TRAINING_SAMPLES = (  # one of them without an object
    ('panoptic', [1, 4, 1, 0]),
    ('instance', []),
    ('semantic', [2, 5]),
)


def training_samples() -> list:
    return [
        data_sample(*TRAINING_SIZE, labels, task, seed)
        for seed, (task, labels) in enumerate(TRAINING_SAMPLES)
    ]


def target_of(sample) -> Target:
    return Target(
        labels=sample.gt_instances.labels,
        masks=sample.gt_instances.masks.to_tensor(torch.bool, 'cpu'),
    )


class Losses(NamedTuple):
    """Loss terms under our names, and gradients under our names."""

    terms: dict[str, Tensor]
    grads: dict[str, Tensor]


@pytest.fixture(scope='module')
def losses(tiny_training) -> tuple[Losses, Losses]:
    """Ours and the oracle's, with the same matching and points."""
    oracle, ours = tiny_training
    our_terms, their_terms = loss_terms(
        tiny_training, images(3, *TRAINING_SIZE), training_samples()
    )
    sum(our_terms.values()).backward()
    our_grads = {name: p.grad for name, p in ours.named_parameters()}
    sum(their_terms.values()).backward()
    their_grads = {name: p.grad for name, p in oracle.named_parameters()}
    return (
        Losses(our_terms, our_grads),
        Losses(their_terms, from_huggingface(their_grads)),
    )


def test_every_loss_term_agrees_with_the_same_matching_and_points(losses):
    ours, theirs = losses
    assert len(ours.terms) == 31
    assert ours.terms.keys() == theirs.terms.keys()
    for name, loss in ours.terms.items():
        assert loss > 0.01, name
        assert_close(loss, theirs.terms[name], 1e-4)


def test_the_gradient_of_every_parameter_agrees(losses):
    ours, theirs = losses
    assert ours.grads.keys() == theirs.grads.keys()
    # A constant in all keys of an attention changes nothing.
    without_effect = 'panoptic_head.query_init.input_proj.bias'
    for name, grad in ours.grads.items():
        scale = float(theirs.grads[name].abs().max())
        if name == without_effect:
            weight = theirs.grads[name.replace('bias', 'weight')]
            rounding = 1e-4 * float(weight.abs().max())
            assert grad.abs().max() < rounding and scale < rounding
            continue
        assert scale > 1e-5, name
        assert_close(grad, theirs.grads[name], 3e-4 * scale)


@torch.no_grad()
def test_with_the_same_random_numbers_the_matching_agrees(
    tiny_training, monkeypatch
):
    oracle, ours = tiny_training
    matcher, costs = ours.panoptic_head.criterion.matcher, []
    cost_of = matcher.cost

    def record(*args, **kwargs):
        costs.append(cost_of(*args, **kwargs))
        return costs[-1]

    monkeypatch.setattr(matcher, 'cost', record)
    samples = training_samples()
    samples = [samples[0], samples[2]]  # the oracle draws for none, too
    targets = [target_of(sample) for sample in samples]
    for seed in range(20):
        torch.manual_seed(seed)
        cls_scores = torch.randn(2, NUM_QUERIES, NUM_CLASSES + 1)
        embeds = torch.randn(2, NUM_QUERIES, 8)
        features = torch.randn(2, 8, 16, 24)
        torch.manual_seed(seed)
        (ours_matched,) = matcher([cls_scores], [embeds], features, targets)
        torch.manual_seed(seed)
        theirs_matched = oracle.matcher(
            mask_logits(embeds, features),
            cls_scores,
            [target.masks.float() for target in targets],
            [target.labels for target in targets],
        )
        for own, theirs, cost in zip(
            ours_matched, theirs_matched, costs[-2:], strict=True
        ):
            assert_same_matching(own, theirs, cost)


@torch.no_grad()
def test_with_the_same_random_numbers_the_uncertain_points_agree(
    tiny_training,
):
    oracle, ours = tiny_training
    criterion = ours.panoptic_head.criterion
    logits = torch.randn(5, 1, 16, 24)
    torch.manual_seed(7)
    points = criterion.draw_points(logits[:, 0])
    torch.manual_seed(7)
    theirs = oracle.criterion.sample_points_using_uncertainty(
        logits,
        oracle.criterion.calculate_uncertainty,
        NUM_POINTS,
        oracle.config.oversample_ratio,
        oracle.config.importance_sample_ratio,
    )
    assert points.shape == (5, NUM_POINTS, 2)
    for mask, own, other in zip(logits, points, theirs, strict=True):
        # In any order.
        own, other = (set(map(tuple, p.tolist())) for p in (own, other))
        assert len(own) == len(other) == NUM_POINTS
        if own != other:  # the last two chosen may tie
            differ = torch.tensor(sorted(own ^ other))
            unsure = point_sample(mask[None], differ[None]).abs()
            assert unsure.max() - unsure.min() < 1e-5


@torch.no_grad()
def test_text_queries_agree_once_the_oracle_uses_its_causal_mask(
    tiny_training,
):
    samples = training_samples()
    samples[0].set_metainfo(dict(texts=['a photo with a ' + 60 * 'cat ']))
    mapper = tiny_training.ours.panoptic_head.text_mapper
    ours = mapper(
        [sample.texts for sample in samples],
        [sample.filler_text for sample in samples],
    )
    ids = text_ids(samples, mapper.num_texts)
    theirs = tiny_training.oracle.model.text_mapper(ids)
    assert ours.shape == (3, NUM_QUERIES, 64)
    assert_close(ours, theirs, 2e-5)
    # As it comes it does without, and gives other queries.
    without = tiny_pair(training=True).oracle.model.text_mapper(ids)
    assert (without - theirs).abs().max() > 0.1


# Millions, as published; see docs/decisions/0004-parity.md.
@pytest.mark.parametrize(
    'part, millions',
    [
        ('', 68.279),
        ('backbone', 27.521),
        ('panoptic_head.pixel_decoder', 5.422),
        ('panoptic_head.text_mapper.encoder', 17.407),
        ('panoptic_head.text_mapper.projector', 0.132),
        ('panoptic_head.text_mapper.context', 0.004),
        ('panoptic_head.task_token', 0.086),
    ],
)
def test_swin_t_has_as_many_parameters_as_published(
    swin_t_training, part, millions
):
    module = swin_t_training.get_submodule(part)
    assert round(num_parameters(module) / 1e6, 3) == millions


def test_swin_t_has_as_many_predictor_parameters_as_published(swin_t_training):
    head = swin_t_training.panoptic_head
    elsewhere = (head.pixel_decoder, head.text_mapper, head.task_token)
    predictor = num_parameters(head) - sum(map(num_parameters, elsewhere))
    predictor -= num_parameters(head.contrastive_loss)
    assert round(predictor / 1e6, 3) == 17.708


@pytest.mark.parametrize(
    'name, num_classes, training, millions, digits',
    [
        ('oneformer_swin-t', 150, False, 50.736, 3),
        ('oneformer_r50', 133, True, 64.82, 2),
        ('oneformer_r50', 133, False, 47.28, 2),
    ],
)
def test_models_have_as_many_parameters_as_published(
    name, num_classes, training, millions, digits
):
    model = MODELS.build(shipped_model(name, num_classes, training))
    assert round(num_parameters(model) / 1e6, digits) == millions


@pytest.fixture(scope='module')
def swin_t_training() -> nn.Module:
    return MODELS.build(shipped_model('oneformer_swin-t', 150, training=True))


def num_parameters(module: nn.Module) -> int:
    """Count what training changes; the norms of ResNet are frozen."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
