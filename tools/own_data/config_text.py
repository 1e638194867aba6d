"""Write the config of a plan, as a person would have written it."""

import os
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from dataset_validation import AnnotationSet

from . import rules
from .plan import Plan

WIDTH = 79
DATASETS = dict(
    panoptic='OneFormerPanopticDataset',
    instance='OneFormerInstanceDataset',
    semantic='OneFormerSemanticDataset',
)
TASKS = dict(
    panoptic=('panoptic', 'instance', 'semantic'),
    instance=('instance',),
    semantic=('semantic',),
)
TEMPLATE = """\
\"\"\"{about}
\"\"\"

_base_ = __import__('oneformer').config_path('{base}')

{classes}
data_root = {data_root!r}

{queries}
{model}
{weights}

{crop}
scale_jitter = dict(
    _base_.scale_jitter, size={size}, ratio_range={ratio_range}
)
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    _base_.random_flip,
    scale_jitter,
    _base_.sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]

{test_side}
resize = dict(_base_.resize, scale=({side}, {side}))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.pack_test,
]

{loaders}
{metrics}
val_evaluator = [
{evaluator}
]
test_evaluator = val_evaluator

{iterations_why}
max_iters = {iterations}
{val_interval_why}
train_cfg = dict(max_iters=max_iters, val_interval={val_interval})

{lr_why}
optim_wrapper = dict(optimizer=dict(lr={lr:g}))
{warm_up_why}
warmup_lr = dict(
    type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end={warm_up}
)
poly_lr = dict(
    type='PolyLR', power=0.9, by_epoch=False, begin={warm_up}, end=max_iters
)
param_scheduler = [warmup_lr, poly_lr]

{checkpoint_why}
default_hooks = dict(checkpoint=dict(interval={checkpoint}, max_keep_ckpts=1))
randomness = dict(seed=0)
"""


def config_text(plan: Plan, path: Path) -> str:
    """Return the text of a config.

    Args:
        plan (Plan): Data and settings.
        path (Path): Where the config will be.
    """
    choices = plan.choices
    values = {name: choice.value for name, choice in choices.items()}
    return TEMPLATE.format(
        about=_about(plan, path),
        base=plan.backbone.config,
        classes=_classes(plan),
        data_root=f'{data_root(plan)}/',
        queries=why('Queries', choices['queries']),
        model=_model(plan),
        weights=_weights(plan),
        crop=why('Crop', choices['crop'])
        + '\n'
        + why('Sizes', choices['scales']),
        size=values['crop'],
        ratio_range=values['scales'],
        test_side=why('Size in test', choices['test_side']),
        side=values['test_side'],
        loaders=_loaders(plan),
        metrics=why('Metrics', choices['metrics']),
        evaluator='\n'.join(
            f'    _base_.{name},' for name in values['metrics']
        ),
        iterations_why=why('Length', choices['iterations']),
        iterations=values['iterations'],
        val_interval_why=why('Validation', choices['val_interval']),
        val_interval=values['val_interval'],
        lr_why=why('Learning rate', choices['lr']),
        lr=values['lr'],
        warm_up_why=why('Warm-up', choices['warm_up']),
        warm_up=values['warm_up'],
        checkpoint_why=why('Checkpoints', choices['checkpoint_interval']),
        checkpoint=values['checkpoint_interval'],
    )


def why(name: str, choice: rules.Choice, indent: int = 0) -> str:
    """Return the reason for a setting as a comment."""
    return comment(f'{name}: {choice.why}.', indent)


def comment(text: str, indent: int = 0) -> str:
    """Return a text, which may quote names of the data, as a comment.

    Args:
        text (str): It may be long.
        indent (int): Columns by which its lines will be indented.
    """
    text = ''.join(c if c.isprintable() else ' ' for c in text)
    width = WIDTH - 2 - indent
    lines = textwrap.wrap(text, width, break_long_words=False)
    return '\n'.join(f'# {line}' for line in lines)


def data_root(plan: Plan) -> Path:
    """Return the folder that all paths of the config are relative to."""
    folders = [plan.splits.train.image_dir, _of(plan.splits.train)]
    for aset in (plan.splits.val, plan.splits.test):
        if aset is not None:
            folders += [aset.image_dir, _of(aset)]
    return Path(os.path.commonpath(folders))


def _of(aset: AnnotationSet) -> Path:
    """Return the folder of the annotations of a set."""
    if aset.ann_file is None:
        assert aset.seg_dir is not None
        return aset.seg_dir
    if aset.seg_dir is None:
        return aset.ann_file.parent
    return Path(os.path.commonpath([aset.ann_file.parent, aset.seg_dir]))


def _about(plan: Plan, path: Path) -> str:
    """Return what the config is for, as the inside of a docstring.

    The config is a program: whatever a folder is called, its name ends no
    string.
    """
    text = (
        f'OneFormer on {plan.folder.resolve().name}: '
        f'{plan.measures.num_train} images for training, '
        f'{plan.measures.num_val} for validation ({plan.layout}).'
    )
    iterations = plan.choices['iterations'].value
    checkpoint = f'work_dirs/{path.stem}/iter_{iterations}.pth'
    train = shlex.join(['oneformer', 'train', path.name])
    test = shlex.join(['oneformer', 'test', path.name, checkpoint])
    lines = [
        *textwrap.wrap(text, WIDTH - 3),
        '',
        f'Train: {train}',
        f'Test: {test}',
    ]
    # A name that is not UTF-8 cannot be written as it is.
    inside = '\n'.join(lines).encode('utf-8', 'backslashreplace').decode()
    return inside.replace('\\', '\\\\').replace('"', '\\"')


def _classes(plan: Plan) -> str:
    labels = plan.labels
    lines = [comment(f'Classes: {labels.why}.')]
    if labels.things == labels.classes:
        lines.append(_tuple('classes', labels.classes, ''))
        lines.append('metainfo = dict(classes=classes, thing_classes=classes)')
        return '\n'.join(lines)
    lines += [
        'metainfo = dict(',
        f'{_tuple("classes", labels.classes, "    ")},',
        f'{_tuple("thing_classes", labels.things, "    ")},',
        ')',
    ]
    return '\n'.join(lines)


def _tuple(name: str, items: Sequence[str], indent: str) -> str:
    """Return ``name=(...)``, or ``name = (...)`` without indent."""
    equals = '=' if indent else ' = '
    quoted = [repr(item) for item in items]
    line = ', '.join(quoted) + (',' if len(items) == 1 else '')
    short = f'{indent}{name}{equals}({line})'
    if len(short) < WIDTH:
        return short
    rows = [f'{indent}    {q},' for q in quoted]
    return '\n'.join([f'{indent}{name}{equals}(', *rows, f'{indent})'])


def _model(plan: Plan) -> str:
    parts = ['    metainfo=metainfo,']
    queries = plan.choices['queries'].value
    parts.append(f'    panoptic_head=dict(num_queries={queries}),')
    tasks = TASKS[plan.kind]
    tile = plan.choices['tile']
    in_test = []
    if len(tasks) == 1:
        in_test.append(f'tasks={list(tasks)!r}')
    if tile.value is not None:
        in_test.append(f'tile=dict(size={tile.value})')
        parts.append(textwrap.indent(why('Tiles', tile, indent=4), ' ' * 4))
    if in_test:
        parts.append(f'    test_cfg=dict({", ".join(in_test)}),')
    if plan.weights is not None:
        parts.append('    # The checkpoint has these weights.')
        parts.append('    backbone=dict(init_cfg=None),')
    return '\n'.join(['model = dict(', *parts, ')'])


def _weights(plan: Plan) -> str:
    if plan.weights is None:
        return comment(
            f'Weights: the backbone starts from {plan.backbone.pretrained}, '
            'all else from random ones.'
        )
    path = plan.weights
    if os.path.exists(path):
        path = os.path.abspath(path)
    return f'load_from = {path!r}'


def _loaders(plan: Plan) -> str:
    values = {name: choice.value for name, choice in plan.choices.items()}
    lines = [why('Batch', plan.choices['batch'])]
    split = plan.splits.val is None
    if split:
        first = rules.validation_indices(plan.num_images)[0]
        lines = [
            comment(
                f'Of the {plan.num_images} images every '
                f'{rules.VAL_STEP}th is for validation, as the data has no '
                'such split.'
            ),
            f'val_indices = list(range({first}, {plan.num_images}, '
            f'{rules.VAL_STEP}))',
            'train_indices = [',
            f'    index for index in range({plan.num_images})',
            f'    if index % {rules.VAL_STEP} != {first}',
            ']',
            *lines,
        ]
    train = dataset(plan, plan.splits.train, 'train', split)
    val = dataset(plan, plan.splits.val or plan.splits.train, 'val', split)
    lines += [
        'train_dataloader = dict(',
        f'    batch_size={values["batch"]},',
        f'    num_workers={values["workers"]},',
        *train,
        ')',
        'val_dataloader = dict(',
        '    batch_size=1,',
        f'    num_workers={values["workers"]},',
        *val,
        ')',
    ]
    if plan.splits.test is None:
        lines.append('test_dataloader = val_dataloader')
    else:
        test = dataset(plan, plan.splits.test, 'test', False)
        lines += [
            'test_dataloader = dict(',
            '    batch_size=1,',
            f'    num_workers={values["workers"]},',
            *test,
            ')',
        ]
    return '\n'.join(lines)


def dataset(
    plan: Plan, aset: AnnotationSet, split: str, shared: bool
) -> list[str]:
    """Return the lines of a dataset.

    Args:
        plan (Plan): Data and settings.
        aset (AnnotationSet): What the dataset reads.
        split (str): 'train', 'val' or 'test'.
        shared (bool): Whether training and validation share the set.
    """
    root = data_root(plan)
    prefix = {'img': _below(aset.image_dir, root)}
    if aset.seg_dir is not None:
        prefix['seg'] = _below(aset.seg_dir, root)
    folders = [f'{key}={path!r}' for key, path in prefix.items()]
    data_prefix = [f'data_prefix=dict({", ".join(folders)}),']
    if len(data_prefix[0]) + 8 > WIDTH:
        data_prefix = [
            'data_prefix=dict(',
            *(f'    {folder},' for folder in folders),
            '),',
        ]
    ann_file = ''
    if aset.ann_file is not None:
        ann_file = os.path.relpath(aset.ann_file, root)
    lines = [
        f'type={DATASETS[plan.kind]!r},',
        'metainfo=metainfo,',
        'data_root=data_root,',
        f'ann_file={ann_file!r},',
        *data_prefix,
    ]
    image_end, map_end = aset.label_name
    if plan.kind == 'semantic' and image_end:
        lines.append(f"img_suffix='{image_end}.png',")
    if plan.kind == 'semantic' and map_end:
        lines.append(f"seg_map_suffix='{map_end}.png',")
    if plan.labels.reduce_zero_label:
        lines.append('reduce_zero_label=True,')
    if shared:
        lines.append(f'indices={split}_indices,')
    if split == 'train':
        lines.append('filter_cfg=None,')
        lines.append('pipeline=train_pipeline,')
    else:
        lines.append('pipeline=test_pipeline,')
    return [
        '    dataset=dict(',
        *(f'        {line}' for line in lines),
        '    ),',
    ]


def _below(path: Path, root: Path) -> str:
    relative = os.path.relpath(path, root)
    return '' if relative == '.' else f'{relative}/'
