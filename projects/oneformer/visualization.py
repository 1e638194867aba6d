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
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image, ImageDraw, ImageFont

from .tasks import RESULT_FIELDS, check_task

# Smaller images are enlarged to about this, so that labels fit on them.
SMALL_SIDE = 512
# How far the things of one class go towards white or (negative) black.
TINTS = (0.0, 0.4, -0.35, 0.2, -0.2)


class Region(NamedTuple):
    """A region to draw.

    Attributes:
        mask (np.ndarray): Its pixels, bool (H, W).
        color (np.ndarray): RGB, 0 to 255.
        text (str): Its label.
    """

    mask: np.ndarray
    color: np.ndarray
    text: str


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
    classes = dataset_meta['classes']
    palette = class_colors(len(classes), dataset_meta.get('palette') or ())
    result = _result_of(data_sample, task)
    if task == 'instance':
        regions = _instance_regions(result, classes, palette, score_thr)
    else:
        regions = _map_regions(_numpy(result.sem_seg)[0], classes, palette)
    for region in regions:
        if region.mask.shape != image.shape[:2]:
            raise ValueError(
                f'The image is {image.shape[:2]} (height, width), its '
                f'{task} result {region.mask.shape}: pass the image that was '
                'given to the model, at its original size.'
            )
    return _draw_regions(image, regions)


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
    gap, font = cell_width // 24, _font(cell_width // 16)
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


def class_colors(
    num_classes: int, palette: Sequence[Sequence[int]] = ()
) -> np.ndarray:
    """Colours of the classes, generated where the palette has none.

    Args:
        num_classes (int): Number of classes.
        palette (Sequence[Sequence[int]]): RGB colours of the first classes.

    Returns:
        np.ndarray: RGB, 0 to 255, uint8 (num_classes, 3).
    """
    index = np.arange(num_classes)
    # Steps of the golden ratio keep any number of hues apart.
    hue = (30 + 360 * 0.618034 * index) % 360
    saturation = np.array([0.85, 0.55, 0.7])[index % 3]
    value = np.array([0.95, 0.8, 0.6])[index // 3 % 3]
    hsv = np.stack([hue, saturation, value], axis=-1).astype(np.float32)
    if num_classes == 0:
        return hsv.astype(np.uint8)
    colors = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] * 255
    given = list(palette)[:num_classes]
    if given:
        colors[: len(given)] = given
    return colors.astype(np.uint8)


# ------------------------------------------------------- results to regions


def _result_of(data_sample: DetDataSample, task: str):
    field = RESULT_FIELDS[task]
    if field not in data_sample:
        raise ValueError(
            f'The sample has no {field}: run the model for the {task} task '
            'before its result is drawn.'
        )
    return data_sample.get(field)


def _numpy(data: torch.Tensor | np.ndarray) -> np.ndarray:
    if isinstance(data, torch.Tensor):
        return data.detach().cpu().numpy()
    return np.asarray(data)


def _map_regions(
    id_map: np.ndarray, classes: Sequence[str], palette: np.ndarray
) -> list[Region]:
    """The segments of a panoptic or, as its special case, semantic map."""
    regions = []
    seen: Counter[int] = Counter()
    for segment_id in np.unique(id_map):
        label = int(segment_id) % INSTANCE_OFFSET
        if label >= len(classes):
            continue
        color = _tint(palette[label], seen[label])
        seen[label] += 1
        regions.append(Region(id_map == segment_id, color, classes[label]))
    return regions


def _instance_regions(
    instances: InstanceData,
    classes: Sequence[str],
    palette: np.ndarray,
    score_thr: float,
) -> list[Region]:
    """The instances, from the lowest score to the highest."""
    masks = _numpy(instances.masks).astype(bool)
    labels = _numpy(instances.labels)
    if len(labels) and labels.max() >= len(classes):
        raise ValueError(
            f'An instance has label {labels.max()}, but dataset_meta names '
            f'{len(classes)} classes: pass that of the model.'
        )
    order: np.ndarray = np.arange(len(labels))
    scores = None
    if 'scores' in instances:
        scores = _numpy(instances.scores)
        order = np.argsort(scores, kind='stable')
        order = order[scores[order] >= score_thr]
    regions = []
    seen: Counter[int] = Counter()
    for index in order:
        label = int(labels[index])
        text = classes[label]
        if scores is not None:
            text = f'{text} {scores[index]:.2f}'
        color = _tint(palette[label], seen[label])
        seen[label] += 1
        regions.append(Region(masks[index], color, text))
    return regions


def _tint(color: np.ndarray, number: int) -> np.ndarray:
    """Tell the things of a class apart by how light they are."""
    tint = TINTS[number % len(TINTS)]
    goal = 255 if tint > 0 else 0
    return color + abs(tint) * (goal - color.astype(float))


# ------------------------------------------------------------------ drawing


def _draw_regions(image: np.ndarray, regions: list[Region]) -> np.ndarray:
    factor = max(1, round(SMALL_SIDE / max(image.shape[:2])))
    regions = [
        region._replace(mask=_enlarge(region.mask, factor))
        for region in regions
        if region.mask.any()
    ]
    canvas = _enlarge(image, factor)  # a copy
    line = max(1, round(max(canvas.shape) / 400))
    kernel = np.ones((2 * line + 1, 2 * line + 1), np.uint8)
    for mask, color, _ in regions:
        canvas[mask] = canvas[mask] // 2 + (color / 2).astype(np.uint8)
        # Nothing erodes at the border of the image, so no line is there.
        inside = cv2.erode(mask.astype(np.uint8), kernel).astype(bool)
        canvas[mask & ~inside] = color + 0.7 * (255 - color)
    return _write_labels(canvas, regions)


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _write_labels(canvas: np.ndarray, regions: list[Region]) -> np.ndarray:
    """Write each label into its region, where it covers no other label.

    A region with less than a quarter of the area of its label has none.
    """
    drawing = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawing)
    size = round(20 * (max(canvas.shape) / SMALL_SIDE) ** 0.5)
    font, pad = _font(size), size // 5
    taken: list[tuple[int, int, int, int]] = []
    # Small regions have the fewest places for a label, so they choose first.
    for mask, color, text in sorted(regions, key=lambda r: r.mask.sum()):
        width = round(font.getlength(text)) + 2 * pad
        height = size + 2 * pad
        if mask.sum() < width * height / 4:
            continue
        box = _place_label(mask, width, height, taken)
        taken.append(box)
        dark = tuple((0.25 * color).astype(int))
        pen.rounded_rectangle(box, radius=pad, fill=dark)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        pen.text(middle, text, 'white', font, anchor='mm')
    return np.asarray(drawing)


def _place_label(
    mask: np.ndarray,
    width: int,
    height: int,
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Choose the box (x1, y1, x2, y2) of a label, deep inside its region."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = depth.shape
    left, top = width // 2 + 1, height // 2 + 1
    free = np.zeros_like(depth)
    inner = (slice(top, rows - top), slice(left, columns - left))
    free[inner] = depth[inner]
    for x1, y1, x2, y2 in taken:
        free[
            max(0, y1 - top) : y2 + top + 1, max(0, x1 - left) : x2 + left + 1
        ] = 0
    if not free.any():
        free = depth  # no free place: cover another label, or the border
    y, x = np.unravel_index(free.argmax(), free.shape)
    x1 = int(np.clip(x - width // 2, 0, max(0, columns - width)))
    y1 = int(np.clip(y - height // 2, 0, max(0, rows - height)))
    return x1, y1, x1 + width, y1 + height


def _fit_width(image: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    # Pixels of small images stay pixels, large images get no moire.
    smaller = width < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    return cv2.resize(image, (width, height), interpolation=method)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """matplotlib's own font, in pixels."""
    folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
    return ImageFont.truetype(str(folder / 'DejaVuSans.ttf'), size)
