"""Every config under configs/ holds together and builds its model."""

import ast
import re

import pytest
import torch
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine import load

from tests.recipe_twins import (
    CONFIGS,
    build_on_meta,
    load_config,
    parts_of,
)

ROOT = CONFIGS.parent
PATHS = sorted(CONFIGS.glob('*.py'))
TINY = [path for path in PATHS if re.search('r18|effnet', path.stem)]


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def config(path):
    return load_config(path.stem)


def test_the_name_says_model_backbone_and_data(path):
    assert re.fullmatch(r'(oneformer_)?[a-z0-9-]+_[a-z0-9-]+', path.stem)


def test_the_docstring_says_how_to_run_it(path):
    docstring = path.read_text().split('"""')[1]
    assert re.search(r'^(Train|Run): ', docstring, re.MULTILINE)


# Lists of a config whose elements have names.
LISTS = '(?:pipeline|evaluator|transforms|datasets|hooks|scheduler)s?'


def positions(source: str) -> list[str]:
    """Return where code picks an element of a config's list by its number."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(value=of, slice=index):
                pass
            case ast.Call(
                func=ast.Attribute(value=of, attr='insert' | 'pop'),
                args=[index, *_],
            ):
                pass
            case _:
                continue
        if re.search(f"{LISTS}(?:'])?$", ast.unparse(of)) and any(
            isinstance(part, ast.Constant) and isinstance(part.value, int)
            for part in ast.walk(index)
        ):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    'code',
    [
        'train_pipeline[6].probs = probs',
        '_base_.test_pipeline[1].update(scale=scale)',
        'val_evaluator = [_base_.val_evaluator[-1]]',
        "tta_pipeline[-1]['transforms'][0] = scales",
        'config.train_pipeline[2:4] = [resize]',
        'config.param_scheduler[0].end = 20',
        'test_pipeline.insert(4, load_semantic_truth)',
        "steps['transforms'].pop(4)",
    ],
)
def test_a_position_in_a_list_of_a_config_is_found(code):
    assert positions(code)


def test_names_and_other_numbers_are_no_positions():
    assert not positions(
        "sizes[0], config['val_evaluator'], pipelines['train'], "
        'config.train_pipeline[:], hooks.pop(name)'
    )


def test_nothing_edits_a_config_by_position():
    """Insert one transform, and such an edit changes another one."""
    sources = {
        str(path.relative_to(ROOT)): [path.read_text()]
        for folder in ('configs', 'tools', 'benchmarks')
        for path in (ROOT / folder).rglob('*.py')
    }
    overrides = {}
    for path in [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')]:
        name, text = str(path.relative_to(ROOT)), path.read_text()
        sources[name] = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
        # The phases of a schedule have no name on the command line.
        overrides[name] = re.findall(rf'{LISTS}(?<!scheduler)\.\d\S*', text)
    found = {
        name: [place for block in blocks for place in positions(block)]
        for name, blocks in sources.items()
    }
    assert not {name: places for name, places in found.items() if places}
    assert not {name: keys for name, keys in overrides.items() if keys}


def test_model_and_data_have_the_same_classes(config):
    for loader in ('train', 'val', 'test'):
        for part in parts_of(config[f'{loader}_dataloader'].dataset):
            # Without metainfo the classes are read from the annotations.
            assert part.get('metainfo', config.model.metainfo) == (
                config.model.metainfo
            )


def test_metrics_carry_the_prefix_of_their_task(config):
    prefixes = {metric.type: metric.prefix for metric in config.val_evaluator}
    # Mapillary Vistas has no AP.
    expected = dict(
        PanopticQuality='panoptic',
        InstanceAP='instance',
        CityscapesInstanceAP='instance',
        SemanticIoU='semantic',
    )
    assert prefixes.items() <= expected.items()
    assert config.test_evaluator == config.val_evaluator
    # Nothing is asked that no metric reads, nor read that is not asked.
    assert set(config.model.test_cfg.tasks) == set(prefixes.values())


def test_the_test_data_are_the_validation_data(config):
    assert config.test_dataloader == config.val_dataloader


def test_pipelines_build(config):
    for loader in ('train', 'val', 'test'):
        for part in parts_of(config[f'{loader}_dataloader'].dataset):
            for step in part.pipeline:
                TRANSFORMS.build(step)
            assert DATASETS.get(part.type) is not None


def test_the_learning_rate_ends_with_the_training(config):
    last = config.param_scheduler[-1]
    # mmengine's polynomial reaches 0 one iteration before its end.
    late = 1 if last.type == 'PolyLR' else 0
    assert last.end - config.train_cfg.max_iters in (0, late)


def test_the_parts_of_the_model_fit_together(path, config):
    config.model.train_cfg = None
    model = build_on_meta(config.model).eval()
    with torch.no_grad():
        feats = model.extract_feat(torch.rand(1, 3, 64, 96, device='meta'))
    head = model.panoptic_head
    if 'eomt' in path.stem:
        width = config.model.panoptic_head.block.embed_dims
        registers = config.model.backbone.num_registers
        assert feats.size == (4, 6)
        assert feats.tokens.shape == (1, 1 + registers + 24, width)
        layers = len(model.backbone.blocks) + len(head.blocks)
        assert layers == {384: 12, 768: 12, 1024: 24, 1536: 40}[width]
    else:
        channels = config.model.panoptic_head.in_channels
        assert [tuple(feat.shape) for feat in feats] == [
            (1, channels[0], 16, 24),
            (1, channels[1], 8, 12),
            (1, channels[2], 4, 6),
            (1, channels[3], 2, 3),
        ]
    num_classes = len(config.model.metainfo.classes)
    assert head.cls_embed.out_features == num_classes + 1
    queries = config.model.panoptic_head.num_queries
    assert head.query_embed.num_embeddings == queries


@pytest.mark.parametrize('path', TINY, ids=lambda path: path.stem)
def test_a_tiny_model_answers_every_task(path):
    # The small twins of the others do so in test_recipes.py.
    config = load_config(path.stem)
    config.model.backbone.init_cfg = None
    config.model.train_cfg = None
    model = MODELS.build(config.model).eval()
    assert model.tasks == ('panoptic', 'instance', 'semantic')
    with torch.no_grad():
        cls_scores, mask_preds = model(torch.rand(1, 3, 64, 96))
    head = config.model.panoptic_head
    layers = head.transformer_decoder.num_layers
    assert len(cls_scores) == len(mask_preds) == layers + 1
    num_classes = len(config.model.metainfo.classes)
    assert cls_scores[-1].shape == (1, head.num_queries, num_classes + 1)
    assert mask_preds[-1].shape == (1, head.num_queries, 16, 24)


def test_the_model_index_has_the_published_scores_of_the_configs():
    """As in the docstrings: PQ, AP, mIoU, and mIoU with scales and flips."""
    index = load(ROOT / 'model-index.yml')
    collections = [own['Name'] for own in index['Collections']]
    listed = {}
    for path in index['Import']:
        for model in load(ROOT / path)['Models']:
            assert model['In Collection'] in collections
            assert model['Config'] == f'configs/{model["Name"]}.py'
            assert 'Weights' not in model  # none of ours
            listed[model['Name']] = [
                score
                for result in model.get('Results', [])
                for score in result['Metrics'].values()
            ]
    published = {}
    for path in PATHS:
        found = re.search(r'^Published: (.*)$', path.read_text(), re.MULTILINE)
        if path.stem in listed:
            scores = re.findall(r'\d+\.\d', found[1])
            published[path.stem] = [float(score) for score in scores]
        else:
            assert not found or found[1].startswith('no score')
    assert listed == published
