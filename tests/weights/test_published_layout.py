"""Published checkpoints fill the models of configs/, entry by entry.

The names and shapes are typed in from the tables of the reference; tensors
without memory stand for those of 200 to 400 million parameters.
"""

from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from projects.oneformer.weights import (
    from_reference,
    to_huggingface,
    to_native,
    to_reference,
)
from tests.reference_layout import checkpoint_shapes

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
# Config of the backbone, its checkpoint, queries, classes, entries.
VARIANTS = [
    ('r50', 'r50', 150, 133, 683),
    ('r50', 'r50-syncbn', 150, 19, 736),
    ('swin-t', 'swin-t', 150, 150, 607),
    ('swin-l', 'swin-l', 150, 133, 775),
    ('swin-l', 'swin-l', 250, 150, 775),
    ('convnext-l', 'convnext-l', 250, 19, 766),
    ('convnext-xl', 'convnext-xl', 250, 65, 766),
    ('dinat-l', 'dinat-l', 150, 133, 831),
    ('dinat-l', 'dinat-l', 250, 150, 831),
    ('dinat-l', 'dinat-l-k7', 250, 19, 831),
]


def model_shapes(
    backbone: str, checkpoint: str, queries: int, classes: int, training: bool
) -> dict[str, torch.Size]:
    """Return name and shape of every entry of a model of configs/."""
    register_all_modules()
    cfg = Config.fromfile(CONFIGS / f'oneformer_{backbone}.py').model
    cfg.backbone.init_cfg = None
    if checkpoint.endswith('-k7'):
        cfg.backbone.kernel_size = 7
    cfg.panoptic_head.num_queries = queries
    cfg.metainfo = dict(
        classes=[f'class {i}' for i in range(classes)], thing_classes=[]
    )
    if not training:
        cfg.train_cfg = None
    # The rates of drop path are needed as numbers.
    linspace = partial(torch.linspace, device='cpu')
    with torch.device('meta'), patch('torch.linspace', linspace):
        model = MODELS.build(cfg)
    return {name: value.shape for name, value in model.state_dict().items()}


def without_memory(shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    return {
        name: torch.empty(shape, device='meta')
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ('backbone', 'checkpoint', 'queries', 'classes', 'entries'), VARIANTS
)
@pytest.mark.parametrize('training', [True, False])
def test_every_entry_has_a_place_and_every_place_is_filled(
    backbone, checkpoint, queries, classes, entries, training
):
    published = checkpoint_shapes(checkpoint, queries, classes, training)
    if training:
        assert len(published) == entries
    converted = from_reference(without_memory(published))
    expected = model_shapes(backbone, checkpoint, queries, classes, training)
    if not training:
        # The temperature, which the reference keeps for inference, too.
        del converted['panoptic_head.contrastive_loss.logit_scale']
    if checkpoint == 'r50':
        # Frozen norms of the reference do not count batches.
        expected = {
            name: shape
            for name, shape in expected.items()
            if not name.endswith('num_batches_tracked')
        }
    found = {name: value.shape for name, value in converted.items()}
    assert found == expected


def shallow_checkpoint(checkpoint: str) -> dict[str, torch.Tensor]:
    """Return random weights of a checkpoint without its deepest stages."""
    deep = ('.2.', '.3.', 'res4.', 'res5.', 'token_embedding')
    return {
        name: torch.rand(shape)
        for name, shape in checkpoint_shapes(checkpoint, 150, 19).items()
        if not name.startswith('backbone.')
        or not any(part in name for part in deep)
    }


@pytest.mark.parametrize(
    'checkpoint', ['r50-syncbn', 'swin-t', 'convnext-l', 'dinat-l-k7']
)
def test_going_to_ours_and_back_changes_nothing(checkpoint):
    state_dict = shallow_checkpoint(checkpoint)
    state_dict['criterion.empty_weight'] = torch.tensor([1.0] * 19 + [0.1])
    back = to_reference(from_reference(state_dict))
    assert back.keys() == state_dict.keys()
    for name, value in state_dict.items():
        assert back[name].equal(value), name


@pytest.mark.parametrize('checkpoint', ['swin-t', 'dinat-l'])
def test_going_to_transformers_and_back_changes_nothing(checkpoint):
    ours = from_reference(shallow_checkpoint(checkpoint))
    theirs = to_huggingface(ours)
    assert all(name.startswith(('model.', 'criterion.')) for name in theirs)
    back = to_native(theirs)
    assert back.keys() == ours.keys()
    for name, value in ours.items():
        assert back[name].equal(value), name


def test_transformers_has_no_place_for_other_backbones():
    ours = from_reference(shallow_checkpoint('r50'))
    with pytest.raises(ValueError, match='no place in that layout: backbone'):
        to_huggingface(ours)


def test_frozen_norms_leave_as_they_came():
    shapes = checkpoint_shapes('r50', 150, 19)
    ours = from_reference(
        {name: torch.ones(shape[:1]) for name, shape in shapes.items()}
    )
    ours['backbone.bn1.num_batches_tracked'] = torch.tensor(0)
    assert to_reference(ours).keys() == shapes.keys()


def test_the_tables_fill_no_entry_twice():
    from projects.oneformer.weights import huggingface, reference

    for table in (huggingface.TABLE, reference.TABLE):
        targets = [row.target for row in table if row.target is not None]
        assert len(targets) == len(set(targets))
        sources = [row.source for row in table]
        assert len(sources) == len(set(sources))
