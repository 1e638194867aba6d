"""Draw the confusion matrix of the classes of the semantic result.

Writes a figure and a table: rows are the ground truth, columns the
prediction. The figure shows percent of the pixels of a row, the table
pixels.

Examples:
  confusion_matrix.py configs/oneformer_swin-t_ade20k.py model.pth
  confusion_matrix.py configs/oneformer_swin-t_ade20k.py predictions.pkl
"""

import argparse
import io
import os.path as osp
import sys

HERE = osp.dirname(osp.abspath(__file__))
sys.path[:0] = [HERE, osp.dirname(HERE)]

from _cli import (  # noqa: E402
    finish,
    load_config,
    one_line_errors,
    positive,
)
from _evaluation import add_evaluation_options, evaluate  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_evaluation_options(parser)
    parser.add_argument(
        '--out',
        metavar='STEM',
        help='write STEM.png and STEM.csv; by default confusion_matrix in '
        'the work folder',
    )
    parser.add_argument(
        '--top',
        type=positive,
        default=10,
        help='number of confusions to print',
    )
    return parser.parse_args()


def main() -> None:
    """Count, write and print."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    from mmengine.dist import is_main_process

    from projects.oneformer.evaluation import SemanticIoU

    metric = SemanticIoU()
    folder = evaluate(config, args, metric, ['semantic'])
    if is_main_process():
        classes = list(metric.dataset_meta['classes'])
        stem = args.out or f'{folder}/confusion_matrix'
        write_matrix(stem, metric.confusion, classes)
        print('\n'.join(largest(metric.confusion, classes, args.top)))
        print(f'Written: {stem}.png, {stem}.csv')
    finish()


def write_matrix(stem: str, confusion, classes: list[str]) -> None:
    """Write the figure and the table.

    Args:
        stem (str): Path without ending.
        confusion (np.ndarray): Pixels by ground truth and prediction,
            (K, K + 1), see ``SemanticIoU``.
        classes (list[str]): Names, K.
    """
    import csv

    from projects.oneformer.file_writing import write_file

    columns = list(classes)
    if confusion[:, -1].any():
        columns.append('(no class)')
    confusion = confusion[:, : len(columns)]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow(['ground truth', *columns])
    for name, counts in zip(classes, confusion.tolist(), strict=True):
        writer.writerow([name, *counts])
    write_file(f'{stem}.csv', table.getvalue().encode())
    write_file(f'{stem}.png', draw_matrix(confusion, classes, columns))


def draw_matrix(confusion, rows: list[str], columns: list[str]) -> bytes:
    """Return a PNG that stays legible with many classes.

    Args:
        confusion (np.ndarray): Pixels, (rows, columns).
        rows (list[str]): Names of the ground truth.
        columns (list[str]): Names of the predictions.
    """
    import matplotlib
    import numpy as np

    matplotlib.use('Agg')
    from matplotlib import pyplot

    with np.errstate(invalid='ignore'):
        share = 100 * confusion / confusion.sum(1, keepdims=True)
    few = len(rows) <= 25  # room for the numbers
    cell = 0.5 if few else 0.17  # inches
    font = 9 if few else 7
    rows, columns = (
        [name if len(name) <= 24 else f'{name[:23]}…' for name in names]
        for names in (rows, columns)
    )
    width, height = cell * len(columns), cell * len(rows)
    figure = pyplot.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # names and bar lie outside
    colors = matplotlib.colormaps['Blues'].with_extremes(bad='lightgrey')
    # By the square root, so that rare confusions are visible.
    norm = matplotlib.colors.PowerNorm(0.5, vmin=0, vmax=100)
    image = axes.imshow(share, cmap=colors, norm=norm)
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=font)
    axes.set_yticks(range(len(rows)), rows, fontsize=font)
    axes.xaxis.tick_top()
    axes.tick_params(labelbottom=not few)
    axes.xaxis.set_label_position('top')
    axes.set(xlabel='prediction', ylabel='ground truth (grey: never there)')
    right, bottom = len(columns) - 0.5, len(rows) - 0.5
    lines = dict(color='0.85', linewidth=0.4)
    axes.hlines(np.arange(len(rows)) - 0.5, -0.5, right, **lines)
    axes.vlines(np.arange(len(columns)) - 0.5, -0.5, bottom, **lines)
    for y, x in zip(*np.nonzero(share >= 0.5), strict=True) if few else ():
        axes.text(
            x,
            y,
            f'{share[y, x]:.0f}',
            ha='center',
            va='center',
            fontsize=8,
            color='white' if share[y, x] > 40 else 'black',
        )
    figure.colorbar(
        image,
        cax=axes.inset_axes((1 + 0.15 / width, 0.2, 0.15 / width, 0.6)),
        label='% of the pixels of the ground truth',
        ticks=[0, 1, 5, 10, 25, 50, 75, 100],
    )
    content = io.BytesIO()
    figure.savefig(content, format='png', dpi=150, bbox_inches='tight')
    pyplot.close(figure)
    return content.getvalue()


def largest(confusion, classes: list[str], number: int) -> list[str]:
    """Return lines that name the confusions of most pixels.

    Args:
        confusion (np.ndarray): Pixels, (K, K + 1), see ``SemanticIoU``.
        classes (list[str]): Names, K.
        number (int): How many lines at most.
    """
    import numpy as np

    names = [*classes, '(no class)']
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind='stable')[:number]
    lines = []
    for truth, guess in zip(
        *np.unravel_index(order, wrong.shape), strict=True
    ):
        if wrong[truth, guess]:
            share = 100 * wrong[truth, guess] / confusion[truth].sum()
            lines.append(
                f'{names[truth]} taken for {names[guess]}: {share:.1f} % of '
                f'its pixels ({wrong[truth, guess]})'
            )
    return lines


if __name__ == '__main__':
    with one_line_errors():
        main()
