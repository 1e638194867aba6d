"""Drawing results: one image for each task, and sheets of images.

The drawing is our own. mmdet's ``DetLocalVisualizer`` puts a label at the
centre of mass of its segment, which for stuff is often on another object,
writes at the same size in small and large images, gives all things of a class
one colour in panoptic drawings, and jitters the colours of instances with
NumPy's global random state. Here a label lies inside its segment and off the
other labels, grows with the image, and the same result always gives the same
drawing. Drawings are RGB; write them with
``mmcv.imwrite(drawing[..., ::-1], path)``.
"""

import textwrap
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image, ImageDraw

from .drawing import load_font
from .sample_result import result_of_sample
from .tasks import RESULT_FIELDS, check_task


def draw_result(
    image: np.ndarray,
    data_sample: DetDataSample,
    task: str,
    dataset_meta: dict,
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw the result of one image and one task.

    Args:
        image (np.ndarray): RGB uint8, (H, W, 3).
        data_sample (DetDataSample): Has, at the size of the image, for task

            - 'panoptic': ``pred_panoptic_seg.sem_seg`` (1, H, W), the class
              plus ``INSTANCE_OFFSET`` times the number of the thing;
            - 'instance': ``pred_instances`` with ``masks`` (N, H, W),
              ``labels`` (N, ) and, unless it is ground truth, ``scores``
              (N, ) in 0 to 1;
            - 'semantic': ``pred_sem_seg.sem_seg`` (1, H, W), the class.

            In the two maps a class without a name in ``dataset_meta`` is
            void.
        task (str): One of ``TASKS``.
        dataset_meta (dict): ``classes``, the names, and optionally
            ``palette``, an RGB colour for each.
        score_thr (float): Instances with a lower score are not drawn.

    Returns:
        np.ndarray: RGB uint8. A small image comes back enlarged, by a whole
        factor that brings its longer side near ``SMALL_SIDE``.

    Raises:
        ValueError: If the task is unknown, or if the sample has no result
            for it, one of another size, or instances of unnamed classes.
    """
    check_task(task)
    if RESULT_FIELDS[task] not in data_sample:
        raise ValueError(
            f'The sample has no {RESULT_FIELDS[task]}: run the model for the '
            f'{task} task before its result is drawn.'
        )
    result = result_of_sample(
        data_sample, dataset_meta, tasks=[task], score_thr=score_thr
    )
    return np.asarray(result.plot(task, image=image))


def ground_truth_sample(
    id_map: np.ndarray, segments_info: Iterable[dict], num_classes: int
) -> DetDataSample:
    """Return a panoptic annotation in the fields of results, for drawing.

    A crowd is a segment of the panoptic map and has its class in the semantic
    map, but is no instance.

    Args:
        id_map (np.ndarray): Segment ids, (H, W).
        segments_info (Iterable[dict]): For each segment ``id``, or ``ids``
            where it has several, ``category`` (the index of its class),
            ``is_thing`` and ``iscrowd``.
        num_classes (int): Number of classes, which stands for void.

    Returns:
        DetDataSample: With ``pred_panoptic_seg``, ``pred_instances`` without
        scores, and ``pred_sem_seg``.
    """
    panoptic = np.full(id_map.shape, num_classes, np.int64)
    semantic = panoptic.copy()
    masks, labels = [], []
    for number, segment in enumerate(segments_info, start=1):
        ids = segment['ids'] if 'ids' in segment else [segment['id']]
        mask = np.isin(id_map, ids)
        label = segment['category']
        panoptic[mask] = label
        if segment['is_thing']:
            panoptic[mask] += number * INSTANCE_OFFSET
        semantic[mask] = label
        if segment['is_thing'] and not segment['iscrowd']:
            masks.append(mask)
            labels.append(label)
    instances = InstanceData(
        masks=torch.from_numpy(
            np.array(masks, bool).reshape(-1, *id_map.shape)
        ),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    sample = DetDataSample()
    sample.pred_panoptic_seg = PixelData(
        sem_seg=torch.from_numpy(panoptic[None])
    )
    sample.pred_instances = instances
    sample.pred_sem_seg = PixelData(sem_seg=torch.from_numpy(semantic[None]))
    return sample


def image_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    headers: Sequence[str],
    footer: str | None = None,
    cell_width: int = 384,
) -> np.ndarray:
    """Lay images out in columns with headers, on white.

    Args:
        rows (Sequence[Sequence[np.ndarray]]): RGB uint8 images of any
            size, one for each column.
        headers (Sequence[str]): Titles of the columns.
        footer (str, optional): A remark below the images.
        cell_width (int): Width that all images are scaled to.

    Returns:
        np.ndarray: The sheet, RGB uint8.

    Raises:
        ValueError: If a row has not one image for each header.
    """
    for index, row in enumerate(rows):
        if len(row) != len(headers):
            raise ValueError(
                f'Expected {len(headers)} images in each row, one for each '
                f'header, got {len(row)} in row {index}.'
            )
    cells = [[_fit_width(image, cell_width) for image in r] for r in rows]
    gap, font = cell_width // 24, load_font(cell_width // 16)
    line_height = round(1.5 * font.size)
    width = gap + len(headers) * (cell_width + gap)
    footer_lines = []
    if footer:
        columns = max(1, int((width - 2 * gap) / font.getlength('n')))
        footer_lines = textwrap.wrap(footer, columns)

    heights = [max(cell.shape[0] for cell in row) for row in cells]
    height = (
        gap
        + line_height
        + sum(heights)
        + gap * len(heights)
        + line_height * len(footer_lines)
    )
    sheet = Image.new('RGB', (width, height), 'white')
    pen = ImageDraw.Draw(sheet)
    for column, header in enumerate(headers):
        middle = gap + column * (cell_width + gap) + cell_width // 2
        pen.text((middle, gap), header, 'black', font, anchor='mt')
    top = gap + line_height
    for row, row_height in zip(cells, heights, strict=True):
        for column, cell in enumerate(row):
            left = gap + column * (cell_width + gap)
            sheet.paste(Image.fromarray(cell), (left, top))
        top += row_height + gap
    for line in footer_lines:
        pen.text((gap, top), line, 'dimgray', font, anchor='lt')
        top += line_height
    return np.asarray(sheet)


def _fit_width(image: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    # Pixels of small images stay pixels, large images get no moire.
    smaller = width < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    return cv2.resize(image, (width, height), interpolation=method)
