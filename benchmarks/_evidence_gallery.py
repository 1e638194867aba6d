"""Images of a test split with the three results of a trained model."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _training_run import datasets_of, make_config
from mmdet.registry import DATASETS
from PIL import Image, ImageOps

from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.results import SegmentationResult
from projects.oneformer.tasks import TASKS
from projects.oneformer.visualization import image_sheet

IMAGES = 4
CELL_WIDTH = 256
#: Below it, small models have several instances for one thing.
SCORE_THR = 0.5
#: Names would hide the segments of a result that has more of them.
MAX_NAMES = 8
#: Share of the pixels that turn white as the contrast is stretched, percent.
BRIGHTEST = 0.5


def draw_gallery(run: dict, folder: Path, data_root: str, path: Path) -> None:
    """Draw a row for each image: itself, and the result of each task.

    Args:
        run (dict): As in the list of runs.
        folder (Path): Its work directory, with ``last_checkpoint``.
        data_root (str): Folder of the data.
        path (Path): The JPEG to write.
    """
    config = make_config(run)
    split = config.test_dataloader.dataset
    for part in datasets_of(split):
        part.data_root = data_root
    weights = last_checkpoint(folder)
    inferencer = OneFormerInferencer(config, weights)
    dataset = DATASETS.build(split)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    sizes = [(info['height'], info['width']) for info in infos]
    palette = colors_of(Path(dataset.ann_file), dataset.metainfo['classes'])
    results = inferencer(
        [infos[i]['img_path'] for i in first_of_each_size(sizes, IMAGES)],
        tasks=TASKS,
        score_thr=SCORE_THR,
    )
    iteration = weights.stem.removeprefix('iter_')
    sheet = image_sheet(
        [draw_row(replace(result, palette=palette)) for result in results],
        ['image', *TASKS],
        f'{run["name"]}, {iteration} of {run["iterations"]} iterations',
        CELL_WIDTH,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, quality=80, optimize=True)


def last_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a run.

    Raises:
        FileNotFoundError: If it has none.
    """
    note = folder / 'last_checkpoint'
    if not note.exists():
        raise FileNotFoundError(
            f'{folder} has no checkpoint: train the run first, or name the '
            'folder that it was trained in with --work-dir.'
        )
    # The folder may have been moved since the path was noted.
    return folder / Path(note.read_text().strip()).name


def first_of_each_size(
    sizes: Sequence[tuple[int, int]], number: int
) -> list[int]:
    """Choose images before any result is known, of different kinds.

    Data from several sources has images of several sizes: the first image of
    each size is chosen, then the second of each, and so on.

    Args:
        sizes (Sequence[tuple[int, int]]): Of all images.
        number (int): Of images to choose.

    Returns:
        list[int]: Their indices.
    """
    seen: Counter[tuple[int, int]] = Counter()
    turns = []
    for index, size in enumerate(sizes):
        turns.append((seen[size], index))
        seen[size] += 1
    return [index for _, index in sorted(turns)[:number]]


def colors_of(
    ann_file: Path, classes: Sequence[str]
) -> tuple[tuple[int, int, int], ...]:
    """Return the colours that an annotation gives to the classes."""
    categories = json.loads(ann_file.read_text())['categories']
    colors = {c['name']: tuple(c['color']) for c in categories}
    return tuple(colors[name] for name in classes)


def draw_row(result: SegmentationResult) -> list[np.ndarray]:
    """Draw an image, and its results over it.

    Fluorescence images are almost black, so their contrast is stretched.
    """
    image = np.asarray(
        ImageOps.autocontrast(
            Image.fromarray(result.image),
            cutoff=(0, BRIGHTEST),
            preserve_tone=True,
        )
    )
    drawings = [
        result.plot(task, image, labels=has_names(result, task))
        for task in result.tasks
    ]
    return [image, *map(np.asarray, drawings)]


def has_names(result: SegmentationResult, task: str) -> bool:
    """Whether names of segments are of use in a drawing.

    The semantic result shows the colour of each class, which is enough where
    all things are of one.
    """
    few = len(result.segments_of(task)) <= MAX_NAMES
    return task == 'semantic' or (few and len(result.thing_classes) > 1)
