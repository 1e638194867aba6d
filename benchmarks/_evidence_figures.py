"""Figures of the results: curves with bands, confusion matrices."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')

import numpy as np  # noqa: E402
from _evidence_tables import FIGURES, OWN, Results  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

# The same results always give the same files.
plt.rcParams.update({'svg.hashsalt': 'evidence', 'font.size': 8})
NO_DATE = dict(metadata={'Date': None})
COLORS = dict(joint='C0', single='C1', mask2former='C2')
#: Percent; larger shares have the same colour.
MAX_SHARE = 30
#: Matrices that are shown side by side, and their titles.
CONFUSIONS = {
    'joint': 'contrastive loss',
    'one-word': 'class names alone',
    'no-texts': 'no texts of objects',
    'no-contrastive': 'no contrastive loss',
}


def draw_figures(images: Path, folder: Path) -> None:
    """Draw what there are results for.

    Args:
        images (Path): Folder for the figures.
        folder (Path): Of the results.
    """
    results = Results(folder)
    images.mkdir(parents=True, exist_ok=True)
    draw = dict(curves=draw_curves, confusion=draw_confusions)
    for name, (setting, _) in FIGURES.items():
        data, _, kind = name.partition('-')
        path = images / f'evidence-{name}.svg'
        if not results.of(setting):
            continue
        if data == 'nuclei':
            draw_nuclei(results, path)
        else:
            draw[kind](results, data, path)


def draw_curves(results: Results, data: str, path: Path) -> None:
    """Draw validation scores of joint and single training by iteration."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout='constrained')
    for axis, (metric, task) in zip(axes, OWN.items(), strict=True):
        for kind, setting in (
            ('joint', f'{data}-joint'),
            ('single', f'{data}-{task}'),
            ('mask2former', f'{data}-mask2former-{task}'),
        ):
            draw_band(
                axis,
                [
                    (own['validation'], metric)
                    for own in results.of(setting).values()
                ],
                COLORS[kind],
                label_of(kind, task),
            )
        axis.set(ylabel=f'{metric}, %')
        finish(axis)
    figure.savefig(path, **NO_DATE)
    plt.close(figure)


def label_of(kind: str, task: str) -> str:
    """Return the name of a line."""
    return dict(
        joint='OneFormer, joint',
        single=f'OneFormer, {task} alone',
        mask2former=f'Mask2Former, {task}',
    )[kind]


def draw_nuclei(results: Results, path: Path) -> None:
    """Draw the loss and all validation scores of the nuclei by iteration."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout='constrained')
    own = list(results.of('nuclei-curve').values())
    draw_band(axes[0], [(r['curve'], 'loss') for r in own], 'C0', 'training')
    axes[0].set(ylabel='loss, sum of all terms')
    finish(axes[0])
    for place, metric in enumerate(('PQ_th', 'PQ_st', 'AP', 'mIoU')):
        curves = [(r['validation'], metric) for r in own]
        draw_band(axes[1], curves, f'C{place}', metric)
    axes[1].set(ylabel='%')
    finish(axes[1])
    figure.savefig(path, **NO_DATE)
    plt.close(figure)


def draw_band(
    axis, curves: list[tuple[dict, str]], color: str, label: str
) -> None:
    """Draw the mean of some curves, and the range that they cover.

    Args:
        axis (Axes): To draw on.
        curves (list): Of each seed columns with ``iteration``, and the name
            of the column to draw. An interruption leaves a point of one seed
            alone, which is not drawn.
        color (str): Of the line.
        label (str): Of the line.
    """
    curves = [(own, name) for own, name in curves if name in own]
    if not curves:
        return
    points = [
        dict(zip(own['iteration'], own[name], strict=True))
        for own, name in curves
    ]
    steps = sorted(set.intersection(*map(set, points)))
    values = np.array([[own[s] for s in steps] for own in points])
    marker = '.' if len(steps) < 20 else ''
    seeds = f'{len(points)} seed{"s" * (len(points) > 1)}'
    axis.plot(
        steps,
        values.mean(0),
        color=color,
        label=f'{label} ({seeds})',
        marker=marker,
    )
    axis.fill_between(
        steps, values.min(0), values.max(0), color=color, alpha=0.2, lw=0
    )


def finish(axis) -> None:
    """Let both axes begin at 0, and add grid and legend, below."""
    axis.set(xlabel='iteration', xlim=(0, None), ylim=(0, None))
    axis.grid(alpha=0.3)
    if axis.lines:
        below = dict(loc='upper center', bbox_to_anchor=(0.5, -0.2))
        axis.legend(frameon=False, **below)


def draw_confusions(results: Results, data: str, path: Path) -> None:
    """Draw confusion matrices, two in a row, rows adding up to 100 %."""
    found = {}
    for setting, title in CONFUSIONS.items():
        own = [
            result['test']['semantic']['confusion']
            for result in results.of(f'{data}-{setting}').values()
        ]
        if own:
            seeds = f'{len(own)} seed{"s" * (len(own) > 1)}'
            found[f'{title} ({seeds})'] = np.sum(own, axis=0)
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(1.2 + 3 * columns, 0.6 + 2.8 * rows),
        layout='constrained',
        squeeze=False,
    )
    names = class_names(results, data)
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    for axis, (title, counts) in zip(axes.flat, found.items(), strict=False):
        shares = 100 * counts / counts.sum(1, keepdims=True).clip(1)
        np.fill_diagonal(shares, np.nan)  # what is right is in the tables
        axis.set_facecolor('gainsboro')
        shown = axis.imshow(shares, cmap='Reds', vmin=0, vmax=MAX_SHARE)
        for (row, column), value in np.ndenumerate(shares):
            if value >= 1:
                color = 'white' if value > MAX_SHARE / 2 else 'black'
                style = dict(ha='center', va='center', size=6, color=color)
                axis.text(column, row, f'{value:.0f}', **style)
        axis.set_title(title)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.set(xlabel='predicted', ylabel='ground truth')
    label = '% of the pixels of a class'
    figure.colorbar(shown, ax=axes, label=label, extend='max', shrink=0.8)
    figure.savefig(path, **NO_DATE)
    plt.close(figure)


def class_names(results: Results, data: str) -> list[str]:
    """Return the names of the classes, from any joint run."""
    return next(iter(results.of(f'{data}-joint').values()))['classes']
