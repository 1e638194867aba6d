"""Draw what the model is trained with: masks and texts, task by task.

Every sheet shows one augmented image and, for each task, its masks and the
list of texts that the queries are compared with. The augmentation is that of
the training pipeline, the same for all tasks of a sheet.

Example: python tools/analysis_tools/browse_dataset.py \\
             configs/oneformer_swin-t_coco.py --num 4
"""

import argparse
import random
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _cli import (  # noqa: E402
    TASKS,
    add_config_options,
    load_config,
    one_line_errors,
    positive,
)

if TYPE_CHECKING:
    import numpy as np
    from mmdet.structures import DetDataSample

SPLITS = ('train', 'val', 'test')
CELL_WIDTH = 512


class TaskSample(NamedTuple):
    """What one image gives the model to learn, for one task.

    Attributes:
        task (str): One of ``TASKS``.
        image (np.ndarray): The augmented image, RGB uint8 (H, W, 3).
        data_sample (DetDataSample): Has ``gt_instances`` with ``masks`` and
            ``labels``, and ``texts`` and ``filler_text`` as metainfo.
    """

    task: str
    image: 'np.ndarray'
    data_sample: 'DetDataSample'


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('outputs/browse'),
        help='folder for the sheets (default: outputs/browse)',
    )
    parser.add_argument(
        '--num', type=positive, default=8, help='images to draw (default: 8)'
    )
    parser.add_argument(
        '--split',
        choices=SPLITS,
        default='train',
        help='split of the images; all are augmented as for training',
    )
    parser.add_argument(
        '--tasks',
        nargs='+',
        choices=TASKS,
        default=list(TASKS),
        help='tasks to show (default: all)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the choice of images and of the augmentation',
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Draw the sheets."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    paths = draw_sheets(
        config, args.out_dir, args.num, args.split, args.tasks, args.seed
    )
    if len(paths) == 1:
        print(f'Wrote 1 sheet: {paths[0]}')
    else:
        print(f'Wrote {len(paths)} sheets: {paths[0]} ... {paths[-1].name}')


def draw_sheets(
    config,
    out_dir: Path,
    num: int,
    split: str = 'train',
    tasks: Sequence[str] = TASKS,
    seed: int = 0,
) -> list[Path]:
    """Draw images of a config's dataset, and return the files.

    Args:
        config (Config): Config with data loaders and a model.
        out_dir (Path): Folder for the sheets.
        num (int): Number of images; all, if there are fewer.
        split (str): One of ``SPLITS``.
        tasks (Sequence[str]): Tasks to show, a column each.
        seed (int): Chooses images and augmentation.

    Raises:
        InputError: If the config has no such dataset, or no ``SampleTask``
            in its training pipeline.
    """
    import mmcv
    from dataset_validation.config import model_limits

    datasets = build_datasets(config, split)
    pipeline = training_pipeline(config)
    preprocessor = config.model.get('data_preprocessor') or {}
    num_slots = model_limits(config)['num_texts']
    paths = []
    for number, (dataset, index) in enumerate(choose(datasets, num, seed)):
        samples = task_samples(
            dataset.get_data_info(index),
            pipeline,
            tasks,
            seed + number,
            bgr=preprocessor.get('bgr_to_rgb', False),
        )
        sheet = draw_sheet(samples, dataset.metainfo, num_slots)
        name = Path(samples[0].data_sample.img_path).stem
        paths.append(out_dir / f'{number:03d}_{name}.png')
        mmcv.imwrite(sheet[..., ::-1], str(paths[-1]))
    return paths


def build_datasets(config, split: str) -> list:
    """Build the datasets of a split, out of their wrappers."""
    from dataset_validation.config import unwrap
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    from projects.oneformer.errors import InputError

    init_default_scope(config.get('default_scope', 'mmdet'))
    loader = config.get(f'{split}_dataloader') or {}
    settings = list(unwrap(loader.get('dataset')))
    if not settings:
        raise InputError(
            f'The config has no {split}_dataloader.dataset to draw from.'
        )
    return [DATASETS.build(dict(dataset)) for dataset in settings]


def training_pipeline(config) -> list[dict]:
    """Return the transforms that an image goes through in training."""
    from dataset_validation.config import unwrap

    from projects.oneformer.errors import InputError

    dataset = (config.get('train_dataloader') or {}).get('dataset')
    for settings in unwrap(dataset):
        pipeline = list(settings.get('pipeline', ()))
        if any(step['type'] == 'SampleTask' for step in pipeline):
            return pipeline
    raise InputError(
        'Expected a train_dataloader.dataset with SampleTask in its '
        'pipeline: there is no task to draw without it.'
    )


def choose(datasets: list, num: int, seed: int) -> Iterator[tuple]:
    """Yield datasets and indices of different images, at random."""
    places = [(d, index) for d in datasets for index in range(len(d))]
    count = min(num, len(places))
    yield from random.Random(seed).sample(places, count)


def task_samples(
    info: dict,
    pipeline: list[dict],
    tasks: Sequence[str],
    seed: int,
    bgr: bool = True,
) -> list[TaskSample]:
    """Run the training pipeline on an image, once for each task.

    Tasks that the annotation of the image does not supervise are left out.

    Args:
        info (dict): What the dataset knows of the image.
        pipeline (list[dict]): Transforms, with ``SampleTask`` among them.
        tasks (Sequence[str]): The tasks.
        seed (int): Of all random numbers, so that the augmentation is the
            same for all tasks.
        bgr (bool): Whether the pipeline loads images as BGR.

    Returns:
        list[TaskSample]: One for each task.

    Raises:
        UserError: If none of the tasks is supervised, or the pipeline drops
            the image or cannot read its annotation.
    """
    import copy

    import numpy as np
    import torch
    from mmengine.dataset import Compose

    from projects.oneformer.errors import InputError, user_errors

    supervised = info.get('supervised_tasks', tasks)
    if not set(tasks) & set(supervised):
        raise InputError(
            f'The annotation of {info["img_path"]} supervises '
            f'{", ".join(supervised)}, not {", ".join(tasks)}: choose other '
            '--tasks.'
        )
    samples = []
    for task in tasks:
        if task not in supervised:
            continue
        forced = [
            dict(step, probs={task: 1.0})
            if step['type'] == 'SampleTask'
            else step
            for step in pipeline
        ]
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        transforms = Compose(forced)
        with user_errors():  # as a data set does in training
            packed = transforms(copy.deepcopy(info))
        if packed is None:
            raise InputError(
                f'The pipeline gives nothing for {info["img_path"]}: one of '
                'its transforms filters the image.'
            )
        image = packed['inputs'].numpy().transpose(1, 2, 0)
        image = image[..., ::-1] if bgr else image
        samples.append(
            TaskSample(
                task, np.ascontiguousarray(image), packed['data_samples']
            )
        )
    return samples


def draw_sheet(
    samples: Sequence[TaskSample], dataset_meta: dict, num_slots: int | None
) -> 'np.ndarray':
    """Draw image, masks and texts of the tasks side by side.

    Args:
        samples (Sequence[TaskSample]): One for each task.
        dataset_meta (dict): ``classes``, and optionally ``palette``.
        num_slots (int, optional): Text slots of the model.

    Returns:
        np.ndarray: RGB uint8.
    """
    from projects.oneformer.visualization import image_sheet

    first = samples[0]
    rows, columns = content_size(samples)
    headers = ['image']
    images = [enlarge(first.image[:rows, :columns])]
    texts = [text_panel(image_lines(first, (rows, columns)))]
    for sample in samples:
        count = len(sample.data_sample.gt_instances)
        headers.append(f'{sample.task}: {count} mask{"s" * (count != 1)}')
        images.append(draw_masks(sample, dataset_meta, (rows, columns)))
        texts.append(text_panel(text_lines(sample.data_sample, num_slots)))
    return image_sheet([images, texts], headers, cell_width=CELL_WIDTH)


def content_size(samples: Sequence[TaskSample]) -> tuple[int, int]:
    """Return height and width without the padding at bottom and right.

    Padding has one colour and no mask; on a small image it would be most of
    what there is to see.
    """
    import numpy as np

    image = samples[0].image
    used = (image != image[-1, -1]).any(axis=-1)  # (H, W)
    for sample in samples:
        used |= sample.data_sample.gt_instances.masks.masks.any(axis=0)
    if not used.any():
        return image.shape[:2]
    return tuple(
        int(np.flatnonzero(used.any(axis=axis))[-1]) + 1 for axis in (1, 0)
    )


def draw_masks(
    sample: TaskSample,
    dataset_meta: dict,
    size: tuple[int, int] | None = None,
) -> 'np.ndarray':
    """Draw every mask that the model shall find, with its class.

    Args:
        sample (TaskSample): Image and masks.
        dataset_meta (dict): ``classes``, and optionally ``palette``.
        size (tuple[int, int], optional): Height and width to draw, from the
            corner at the top left; by default all.

    Returns:
        np.ndarray: RGB uint8.
    """
    import numpy as np
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    from projects.oneformer.visualization import draw_result

    truth = sample.data_sample.gt_instances
    rows, columns = size or sample.image.shape[:2]
    masks = truth.masks.masks[:, :rows, :columns].astype(bool)
    drawn = DetDataSample()
    # For each task the model predicts a set of masks, so they are all drawn
    # in the way of instances.
    drawn.pred_instances = InstanceData(
        masks=torch.from_numpy(masks), labels=truth.labels
    )
    image = np.ascontiguousarray(sample.image[:rows, :columns])
    return draw_result(image, drawn, 'instance', dataset_meta)


def text_lines(
    data_sample: 'DetDataSample', num_slots: int | None
) -> list[tuple[str, str]]:
    """Return the texts of a sample, each once, with its number.

    Args:
        data_sample (DetDataSample): Has ``texts`` and ``filler_text``.
        num_slots (int, optional): Text slots of the model; without it
            nothing is cut or filled.

    Returns:
        list[tuple[str, str]]: Number and text, in the order of the list.
    """
    texts, filler = data_sample.texts, data_sample.filler_text
    kept = texts if num_slots is None else texts[:num_slots]
    lines = [(str(n), text) for text, n in Counter(kept).items()]
    if num_slots is not None:
        lines.append((str(num_slots - len(kept)), f'{filler} (filler)'))
    if len(kept) < len(texts):
        cut = f'cut: the model has {num_slots} text slots'
        lines.append((str(len(texts) - len(kept)), cut))
    return lines


def image_lines(
    sample: TaskSample, size: tuple[int, int]
) -> list[tuple[str, str]]:
    """Return file, sizes and flip of an image, ``size`` being unpadded."""
    data = sample.data_sample
    lines = [('file', Path(data.img_path).name)]
    sizes = {
        'stored': data.get('ori_shape'),
        'drawn': size,
        'padded to': sample.image.shape[:2],
    }
    for key, shape in sizes.items():
        if shape is not None:
            lines.append((key, f'{shape[1]} x {shape[0]}'))
    if 'flip' in data:
        lines.append(('flipped', 'yes' if data.flip else 'no'))
    return lines


def enlarge(image: 'np.ndarray') -> 'np.ndarray':
    """Return a small image as large as its drawings."""
    from projects.oneformer.drawing import SMALL_SIDE

    factor = max(1, round(SMALL_SIDE / max(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def text_panel(lines: Sequence[tuple[str, str]]) -> 'np.ndarray':
    """Write a table of two columns, the first aligned to the right.

    Returns:
        np.ndarray: RGB uint8, ``CELL_WIDTH`` wide.
    """
    import matplotlib
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
    font = ImageFont.truetype(str(folder / 'DejaVuSans.ttf'), 20)
    indent = max(font.getlength(first) for first, _ in lines)
    room = CELL_WIDTH - indent - font.size
    columns = max(8, int(room / font.getlength('n')))
    rows = []
    for first, second in lines:
        wrapped = textwrap.wrap(second, columns) or ['']
        rows += zip([first, *[''] * len(wrapped)], wrapped, strict=False)
    line_height = round(1.4 * font.size)
    panel = Image.new('RGB', (CELL_WIDTH, line_height * len(rows)), 'white')
    pen = ImageDraw.Draw(panel)
    for number, (first, second) in enumerate(rows):
        top = number * line_height
        pen.text((indent, top), first, 'dimgray', font, anchor='ra')
        pen.text((indent + font.size, top), second, 'black', font)
    return np.asarray(panel)


if __name__ == '__main__':
    with one_line_errors():
        main()
