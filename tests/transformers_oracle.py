"""The OneFormer of transformers beside ours, with equal weights and draws."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import pytest
import torch
from mmengine import ConfigDict
from torch import Tensor, nn

from projects.oneformer.models.query_head import mask_logits
from projects.oneformer.text import (
    CLIPTokenizer,
    fill_text_slots,
    task_sentence,
)
from projects.oneformer.weights import from_huggingface
from tests.model_configs import (
    NUM_POINTS,
    NUM_QUERIES,
    build_model,
    randomise,
    tiny_model,
)

transformers = pytest.importorskip('transformers')
if int(transformers.__version__.split('.')[0]) >= 5:
    pytest.skip('needs transformers < 5', allow_module_level=True)

# Logits nearer to zero may have either sign, depending on the order of sums.
AMBIGUOUS = 5e-4


class Trace(NamedTuple):
    """What a network computes on the way, in the order of its data flow."""

    feats: list[Tensor]  # of the backbone
    memories: list[Tensor]  # (B, C, H_l, W_l)
    mask_features: Tensor  # (B, C, H/4, W/4)
    queries: Tensor  # before the first decoder layer, (B, Q, C)
    attention_masks: list[Tensor]  # one a layer, (B * heads, Q, H_l * W_l)
    cls_scores: list[Tensor]  # one a prediction, (B, Q, K + 1)
    mask_preds: list[Tensor]  # (B, Q, H/4, W/4)


class Pair(NamedTuple):
    """The oracle and our model with the same weights."""

    oracle: nn.Module
    ours: nn.Module


def make_pair(cfg: ConfigDict, **oracle_options) -> Pair:
    """Build both networks with random weights that are the same."""
    torch.manual_seed(2)
    num_classes = len(cfg.metainfo['classes'])
    oracle = transformers.OneFormerForUniversalSegmentation(
        transformers.OneFormerConfig(
            id2label={i: str(i) for i in range(num_classes)}, **oracle_options
        )
    )
    randomise(oracle)
    ours = build_model(cfg)
    ours.load_state_dict(from_huggingface(oracle.state_dict()), strict=True)
    return Pair(oracle.eval(), ours)


def tiny_pair(training: bool) -> Pair:
    return make_pair(
        tiny_model(training),
        is_training=training,
        backbone_config=transformers.SwinConfig(
            embed_dim=16,
            depths=[2, 2, 2, 2],
            num_heads=[1, 2, 2, 4],
            window_size=4,
            drop_path_rate=0.0,
            out_features=['stage1', 'stage2', 'stage3', 'stage4'],
        ),
        num_queries=NUM_QUERIES,
        conv_dim=64,
        mask_dim=64,
        hidden_dim=64,
        encoder_feedforward_dim=96,
        dim_feedforward=128,
        encoder_layers=2,
        text_encoder_width=64,
        text_encoder_num_layers=2,
        text_encoder_n_ctx=4,
        train_num_points=NUM_POINTS,
        dropout=0.0,
    )


def hand_over_causal_mask(oracle: nn.Module) -> None:
    """Let the text encoder of the oracle use the causal mask it builds.

    It stores the mask in each layer but never passes it to the attention.
    """
    for layer in oracle.model.text_mapper.text_encoder.transformer.layers:
        layer.self_attn.forward = partial(
            layer.self_attn.forward, attn_mask=layer.attn_mask
        )


def task_ids(tasks: Sequence[str]) -> Tensor:
    return CLIPTokenizer()([task_sentence(task) for task in tasks]).float()


def trace_oracle(
    oracle: nn.Module, pictures: Tensor, tasks: Sequence[str], **inputs
) -> tuple[Trace, object]:
    attention_masks = []

    def record(module, args, kwargs, output):
        # The layer has freed the rows without foreground in place.
        attention_masks.append(kwargs['attention_mask'].clone())

    layers = oracle.model.transformer_module.decoder.layers
    handles = [
        layer.register_forward_hook(record, with_kwargs=True)
        for layer in layers
    ]
    output = oracle.model(
        pictures, task_ids(tasks), output_hidden_states=True, **inputs
    )
    for handle in handles:
        handle.remove()
    mask_features, *memories = output.pixel_decoder_hidden_states
    auxiliary = output.transformer_decoder_auxiliary_predictions
    cls_scores = [layer['class_queries_logits'] for layer in auxiliary]
    mask_preds = [layer['masks_queries_logits'] for layer in auxiliary]
    trace = Trace(
        list(output.encoder_hidden_states),
        memories,
        mask_features,
        output.transformer_decoder_contrastive_queries,
        attention_masks,
        cls_scores + [output.transformer_decoder_class_predictions],
        mask_preds + [output.transformer_decoder_mask_predictions],
    )
    return trace, output


class GivenMasks:
    """Decode with the attention masks of the oracle; check our own.

    Args:
        head (nn.Module): Whose masks are replaced.
        given (list[Tensor]): One mask a layer.
        ambiguous (float): Logits nearer to zero may have either sign; with
            inf the masks are not compared.
    """

    def __init__(
        self,
        head: nn.Module,
        given: list[Tensor],
        ambiguous: float = AMBIGUOUS,
    ) -> None:
        self.ambiguous = ambiguous
        self.head = head
        self.given = given
        self.num_heads = head.decoder.layers[0].cross_attn.num_heads
        self.own_method: Callable = head.attention_mask
        self.calls = self.rows = self.ambiguous_rows = 0

    def __enter__(self) -> 'GivenMasks':
        self.head.attention_mask = self.check_and_replace
        return self

    def __exit__(self, *args) -> None:
        del self.head.attention_mask

    def check_and_replace(self, embeds: Tensor, features: Tensor) -> Tensor:
        own = self.own_method(embeds, features)
        # The oracle repeats a mask for every head.
        given = self.given[self.calls][:: self.num_heads]
        logits = mask_logits(embeds, features).flatten(2)
        ambiguous = (logits.abs() < self.ambiguous).any(-1)  # (B, Q)
        differs = (own != given).any(-1)  # (B, Q)
        assert not (differs & ~ambiguous).any()
        self.calls += 1
        self.rows += ambiguous.numel()
        self.ambiguous_rows += int(ambiguous.sum())
        return given


def text_ids(samples: list, num_texts: int) -> Tensor:
    tokenize = CLIPTokenizer()
    return torch.stack(
        [
            tokenize(fill_text_slots(s.texts, s.filler_text, num_texts))
            for s in samples
        ]
    )


def loss_terms(
    pair: Pair, pictures: Tensor, samples: list, ambiguous: float = AMBIGUOUS
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the loss terms of ours and of the oracle, under our names.

    Attention masks are the oracle's, matching and points are ours.

    Args:
        pair (Pair): Both networks.
        pictures (Tensor): Normalised images, (B, 3, H, W).
        samples (list): Theirs.
        ambiguous (float): See :class:`GivenMasks`.
    """
    oracle, ours = pair
    ids = text_ids(samples, ours.panoptic_head.text_mapper.num_texts)
    theirs, output = trace_oracle(
        oracle, pictures, [s.task for s in samples], text_inputs=ids
    )

    criterion = ours.panoptic_head.criterion
    matcher, matches, points = criterion.matcher, [], []

    def match(*args):
        matches.extend(matcher(*args))
        return matches

    def draw_points(logits):
        points.append(torch.rand(len(logits), NUM_POINTS, 2))
        return points[-1]

    with (
        pytest.MonkeyPatch.context() as patch,
        GivenMasks(ours.panoptic_head, theirs.attention_masks, ambiguous),
    ):
        patch.setattr(criterion, 'matcher', match)
        patch.setattr(criterion, 'draw_points', draw_points)
        our_terms = ours(pictures, samples, mode='loss')

    # The oracle takes the last prediction first.
    their_matches = iter(matches[-1:] + matches[:-1])
    their_points = iter(points[-1:] + points[:-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            oracle.criterion.matcher, 'forward', lambda *_: next(their_matches)
        )
        patch.setattr(
            oracle.criterion,
            'sample_points_using_uncertainty',
            lambda *_: next(their_points),
        )
        their_terms = oracle.get_loss_dict(
            theirs.mask_preds[-1],
            theirs.cls_scores[-1],
            theirs.queries,
            [
                s.gt_instances.masks.to_tensor(torch.float, 'cpu')
                for s in samples
            ],
            [s.gt_instances.labels for s in samples],
            output.text_queries,
            output.transformer_decoder_auxiliary_predictions,
            calculate_contrastive_loss=True,
        )
    assert next(their_matches, None) is next(their_points, None) is None
    return our_terms, {
        our_loss_name(name): loss.reshape(()).float()
        for name, loss in their_terms.items()
    }


def our_loss_name(name: str) -> str:
    name = name.replace('cross_entropy', 'cls')
    kind, _, index = name.rpartition('_')
    return f'd{index}.{kind}' if index.isdigit() else name
