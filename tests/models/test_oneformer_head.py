"""The head: decoding step by step, attention masks, and its losses."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from projects.oneformer.models import OneFormerHead
from projects.oneformer.models.query_head import mask_logits
from tests.model_configs import (
    METAINFO,
    NUM_CLASSES,
    NUM_QUERIES,
    WIDTH,
    data_sample,
    randomise,
    tiny_model,
)

SIZE = (64, 96)
CHANNELS = (16, 32, 64, 128)
TASKS = ['semantic', 'instance']


def make_head(training: bool = True, dropout: float = 0.0) -> OneFormerHead:
    cfg = tiny_model(training, dropout)
    head = MODELS.build(
        ConfigDict(
            cfg.panoptic_head,
            num_classes=NUM_CLASSES,
            **(cfg.train_cfg or {}),
        )
    )
    randomise(head)
    return head.eval()


@pytest.fixture(scope='module')
def head() -> OneFormerHead:
    torch.manual_seed(0)
    return make_head()


def make_feats(batch: int = 2) -> list[Tensor]:
    return [
        torch.randn(batch, channels, SIZE[0] // stride, SIZE[1] // stride)
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def make_samples() -> list:
    return [
        data_sample(*SIZE, [1, 4, 0], 'panoptic', seed=1),
        data_sample(*SIZE, [2], 'semantic', seed=2),
    ]


@torch.no_grad()
def test_there_is_a_prediction_before_the_first_layer_and_after_each(head):
    cls_scores, mask_preds = head(make_feats(), TASKS)
    assert len(cls_scores) == len(mask_preds) == 10
    for scores, masks in zip(cls_scores, mask_preds, strict=True):
        assert scores.shape == (2, NUM_QUERIES, NUM_CLASSES + 1)
        assert masks.shape == (2, NUM_QUERIES, 16, 24)


@torch.no_grad()
def test_the_first_prediction_is_that_of_the_initial_queries(head):
    pixels = head.pixel_features(make_feats())
    output = head.decode(pixels, TASKS)
    queries = head.decoder.post_norm(output.queries)
    torch.testing.assert_close(output.cls_scores[0], head.cls_embed(queries))
    torch.testing.assert_close(output.mask_embeds[0], head.mask_embed(queries))


@torch.no_grad()
def test_the_last_initial_query_is_the_normalised_task_token(head):
    output = head.decode(head.pixel_features(make_feats()), TASKS)
    token = head.decoder.post_norm(head.task_token(TASKS))
    torch.testing.assert_close(output.queries[:, -1], token)


@torch.no_grad()
def test_autocast_leaves_the_task_query_alone(head):
    feats = make_feats()
    expected = head.decode(head.pixel_features(feats), TASKS).queries[:, -1]
    with torch.autocast('cpu', torch.bfloat16):
        found = head.decode(head.pixel_features(feats), TASKS).queries[:, -1]
    assert found.equal(expected)


@torch.no_grad()
def test_layers_look_at_the_levels_in_turn_the_coarsest_first(head):
    asked = []
    handles = [
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: asked.append(kwargs),
            with_kwargs=True,
        )
        for layer in head.decoder.layers
    ]
    pixels = head.pixel_features(make_feats())
    head.decode(pixels, TASKS)
    for handle in handles:
        handle.remove()
    assert len(asked) == 9
    for i, kwargs in enumerate(asked):
        memory = pixels.memories[i % 3]
        assert kwargs['key'] is kwargs['value'] is memory
        assert memory.shape[1] == (6, 24, 96)[i % 3]
        assert kwargs['key_pos'][0].equal(pixels.positions[i % 3][0])
        assert kwargs['query_pos'][0].equal(head.query_embed.weight)


@torch.no_grad()
def test_memories_are_the_decoded_maps_plus_the_level(head):
    feats = make_feats()
    _, maps = head.pixel_decoder(list(feats))
    memories = head.pixel_features(feats).memories
    for i, level_map in enumerate(maps):
        expected = level_map + head.level_embed.weight[i][:, None, None]
        torch.testing.assert_close(
            memories[i], expected.flatten(2).transpose(1, 2)
        )


@torch.no_grad()
def test_attention_is_blocked_where_the_resized_mask_is_below_half(head):
    pixels = head.pixel_features(make_feats())
    embeds = torch.randn(2, NUM_QUERIES, WIDTH)
    masks = mask_logits(embeds, pixels.mask_features)  # (2, Q, 16, 24)
    for level_masks in pixels.level_masks:
        resized = F.interpolate(
            masks, level_masks.shape[-2:], mode='bilinear', align_corners=False
        ).flatten(2)
        expected = resized.sigmoid() < 0.5
        everywhere = expected.all(-1)
        expected[everywhere] = False
        found = head.attention_mask(embeds, level_masks)
        assert found.dtype == torch.bool
        assert found.shape == expected.shape
        # One sign in a thousand may be up to rounding.
        assert (found != expected).float().mean() < 1e-3
        assert 0.1 < found.float().mean() < 0.9


@torch.no_grad()
def test_a_query_without_foreground_attends_everywhere(head):
    features = torch.ones(1, WIDTH, 2, 3)
    embeds = torch.stack([-torch.ones(WIDTH), torch.ones(WIDTH)])[None]
    assert not head.attention_mask(embeds, features).any()
    features[..., 0] = -1
    blocked = head.attention_mask(embeds, features)[0].view(2, 2, 3)
    assert blocked[0, 0].tolist() == [False, True, True]
    assert blocked[1, 0].tolist() == [True, False, False]


def test_attention_masks_pass_no_gradient(head):
    pixels = head.pixel_features(make_feats())
    assert not any(masks.requires_grad for masks in pixels.level_masks)
    assert pixels.mask_features.requires_grad


@torch.no_grad()
def test_images_of_a_batch_do_not_influence_one_another(head):
    feats = make_feats()
    together, _ = head(feats, TASKS)
    for i in range(2):
        alone, _ = head([feat[i : i + 1] for feat in feats], TASKS[i : i + 1])
        torch.testing.assert_close(
            together[-1][i : i + 1], alone[-1], atol=1e-4, rtol=1e-4
        )


def test_losses_are_those_of_the_criterion_and_the_contrastive_one(head):
    torch.manual_seed(3)
    losses = head.loss(make_feats(), make_samples())
    assert len(losses) == 31
    assert list(losses)[-1] == 'loss_contrastive'
    assert all(loss.ndim == 0 and loss > 0 for loss in losses.values())


def test_the_contrastive_loss_ties_initial_queries_to_the_texts(
    head, monkeypatch
):
    seen = []

    def contrastive_loss(queries, texts):
        seen.append((queries, texts))
        return queries.sum()

    samples, feats = make_samples(), make_feats()
    monkeypatch.setattr(head.contrastive_loss, 'forward', contrastive_loss)
    head.loss(feats, samples)
    ((queries, texts),) = seen
    output = head.decode(head.pixel_features(feats), [s.task for s in samples])
    torch.testing.assert_close(queries, output.queries)
    expected = head.text_mapper(
        [['a photo with a wall', 'a photo with a cat', 'a photo with a car']]
        + [['a photo with a sky']],
        ['a panoptic photo', 'a semantic photo'],
    )
    torch.testing.assert_close(texts, expected)


def test_an_inference_head_has_no_training_parts():
    head = make_head(training=False)
    assert head.criterion is head.text_mapper is head.contrastive_loss is None
    names = {name.split('.')[0] for name, _ in head.named_parameters()}
    assert not names & {'criterion', 'text_mapper', 'contrastive_loss'}
    with pytest.raises(RuntimeError, match='set model.train_cfg'):
        head.loss(make_feats(), make_samples())


@pytest.mark.parametrize(
    'missing', ['criterion', 'text_mapper', 'contrastive_loss']
)
def test_training_parts_are_needed_together(missing):
    cfg = tiny_model()
    train_cfg = dict(cfg.train_cfg)
    del train_cfg[missing]
    with pytest.raises(ValueError, match='needed together'):
        MODELS.build(ConfigDict(cfg.panoptic_head, num_classes=3, **train_cfg))


@pytest.mark.parametrize('key', ['task', 'texts', 'filler_text'])
def test_a_sample_that_misses_a_training_key_is_refused(head, key):
    samples = make_samples()
    meta = samples[1].metainfo
    del meta[key]
    bare = type(samples[1])(metainfo=meta)
    bare.gt_instances = samples[1].gt_instances
    with pytest.raises(KeyError, match=f"Training needs '{key}'"):
        head.loss(make_feats(), [samples[0], bare])


def test_a_training_checkpoint_fills_an_inference_head(head):
    inference = make_head(training=False)
    inference.load_state_dict(head.state_dict(), strict=True)
    for name, param in inference.named_parameters():
        assert param.equal(head.get_parameter(name))


def test_entries_that_are_unknown_for_other_reasons_are_reported(head):
    entries = head.state_dict()
    entries['text_mapped.weight'] = torch.zeros(1)
    with pytest.raises(RuntimeError, match='text_mapped.weight'):
        make_head(training=False).load_state_dict(entries, strict=True)
    # A training head needs its text branch.
    lacking = {
        name: value
        for name, value in head.state_dict().items()
        if not name.startswith('text_mapper.')
    }
    with pytest.raises(RuntimeError, match='text_mapper.context.weight'):
        make_head(training=True).load_state_dict(lacking, strict=True)


def test_a_copied_inference_head_drops_the_entries_by_itself(head):
    twin = copy.deepcopy(make_head(training=False))
    twin.load_state_dict(head.state_dict(), strict=True)


def test_dropout_is_in_the_pixel_decoder_and_the_query_transformer_only():
    head = make_head(dropout=0.1)
    rates = {}
    for name, module in head.named_modules():
        if isinstance(module, nn.Dropout) and module.p:
            rates.setdefault(name.split('.')[0], set()).add(module.p)
        if isinstance(module, nn.MultiheadAttention) and module.dropout:
            rates.setdefault(name.split('.')[0], set()).add(module.dropout)
    assert rates == dict(pixel_decoder={0.1}, query_init={0.1})


def test_class_names_come_from_the_metainfo_alone():
    assert make_head().cls_embed.out_features == len(METAINFO['classes']) + 1
