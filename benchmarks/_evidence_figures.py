"""Figures of the results: curves with bands, confusion matrices."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')

import numpy as np  # noqa: E402
from _evidence_tables import OWN, Results  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

# The same results always give the same files.
plt.rcParams.update({'svg.hashsalt': 'evidence', 'font.size': 8})
NO_DATE = dict(metadata={'Date': None})
COLORS = dict(joint='C0', single='C1', mask2former='C2')
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
    for data in ('shapes', 'camvid'):
        if results.of(f'{data}-joint'):
            path = images / f'evidence_{data}_curves.svg'
            draw_curves(results, data, path)
            path = images / f'evidence_{data}_confusion.svg'
            draw_confusions(results, data, path)
    if results.of('nuclei-curve'):
        draw_nuclei(results, images / 'evidence_nuclei_curve.svg')


def draw_curves(results: Results, data: str, path: Path) -> None:
    """Draw validation scores of joint and single training by iteration."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout='constrained')
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
        axis.set(xlabel='iteration', ylabel=f'{metric}, %', ylim=(0, None))
        if axis.lines:
            axis.legend(frameon=False)
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
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout='constrained')
    own = list(results.of('nuclei-curve').values())
    draw_band(axes[0], [(r['curve'], 'loss') for r in own], 'C0', 'loss')
    axes[0].set(xlabel='iteration', ylabel='loss, sum of all terms')
    for place, metric in enumerate(('PQ_th', 'PQ_st', 'AP', 'mIoU')):
        curves = [(r['validation'], metric) for r in own]
        draw_band(axes[1], curves, f'C{place}', metric)
    axes[1].set(xlabel='iteration', ylabel='%', ylim=(0, 100))
    axes[1].legend(frameon=False)
    figure.savefig(path, **NO_DATE)
    plt.close(figure)


def draw_band(
    axis, curves: list[tuple[dict, str]], color: str, label: str
) -> None:
    """Draw the mean of some curves, and the range that they cover.

    Args:
        axis (Axes): To draw on.
        curves (list): Of each seed columns with ``iteration``, and the name
            of the column to draw; they have the same iterations.
        color (str): Of the line.
        label (str): Of the line.
    """
    curves = [(own, name) for own, name in curves if name in own]
    if not curves:
        return
    steps = curves[0][0]['iteration']
    values = np.array([own[name] for own, name in curves])  # (seeds, points)
    axis.plot(steps, values.mean(0), color=color, label=label, marker='.')
    axis.fill_between(
        steps, values.min(0), values.max(0), color=color, alpha=0.2, lw=0
    )


def draw_confusions(results: Results, data: str, path: Path) -> None:
    """Draw confusion matrices side by side, rows adding up to 100 %."""
    found = {}
    for setting, title in CONFUSIONS.items():
        own = [
            result['test']['semantic']['confusion']
            for result in results.of(f'{data}-{setting}').values()
        ]
        if own:
            found[title] = np.sum(own, axis=0)
    figure, axes = plt.subplots(
        1,
        len(found),
        figsize=(0.6 + 2.8 * len(found), 3),
        layout='constrained',
        squeeze=False,
    )
    names = class_names(results, data)
    for axis, (title, counts) in zip(axes[0], found.items(), strict=True):
        shares = 100 * counts / counts.sum(1, keepdims=True).clip(1)
        np.fill_diagonal(shares, np.nan)  # what is right is in the tables
        shown = axis.imshow(shares, cmap='Reds', vmin=0, vmax=30)
        axis.set_title(title)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.set_xlabel('predicted')
    axes[0, 0].set_ylabel('ground truth')
    figure.colorbar(shown, ax=axes, label='% of the pixels of a class')
    figure.savefig(path, **NO_DATE)
    plt.close(figure)


def class_names(results: Results, data: str) -> list[str]:
    """Return the names of the classes, from any joint run."""
    return next(iter(results.of(f'{data}-joint').values()))['classes']
