"""What an exported file says about itself, in the metadata of ONNX."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import InputError
from ..tasks import TASKS

FORMAT = 'oneformer'
#: It rises when a file can no longer be used by an older runner.
VERSION = 2
#: Older ones that this runner reads; what they lack has its default.
READABLE = (1, VERSION)

#: Names of the files of a folder, and of what each holds.
ENCODER, DECODER, MODEL = 'image_encoder', 'task_decoder', 'model'


@dataclass(frozen=True)
class Description:
    """How to use an exported model, and what its results mean.

    Attributes:
        classes (tuple[str, ...]): Names of the classes, by label.
        thing_classes (tuple[str, ...]): Those of them that are countable.
        palette (tuple[tuple[int, int, int], ...]): RGB colours of the
            classes; may be empty.
        category_ids (tuple[int, ...] | None): Ids of the classes in the data
            set, by label; None if they are the labels.
        default_tasks (tuple[str, ...]): Tasks of images that name none.
        trained_tasks (tuple[str, ...]): Tasks that the weights were trained
            for.
        task_sentences (tuple[str, ...]): What the decoder reads for each
            value of its input ``tasks``, in the order of
            :data:`~projects.oneformer.tasks.TASKS`.
        mean (tuple[float, ...]): Subtracted from each channel, 0 to 255.
        std (tuple[float, ...]): By which the difference is divided.
        channel_order (str): Of the input ``image``, ``'RGB'`` or ``'BGR'``.
        scale (tuple[int, int] | None): Long and short side that images are
            resized to fit, or width and height without ``keep_ratio``; None
            if they are not resized.
        keep_ratio (bool): Whether resizing keeps the ratio of the sides.
        resize_backend (str): ``'pillow'`` or ``'cv2'``, both bilinear.
        size_divisor (int): Images are padded to a multiple of it, with 0
            after normalisation, to the bottom and to the right.
        size (tuple[int, int] | None): The one height and width of the input,
            to which images are padded; None if they are free.
        object_mask_thr (float): See ``OneFormerFusionHead``.
        iou_thr (float): See ``OneFormerFusionHead``.
        max_per_image (int | None): See ``OneFormerFusionHead``.
        weights_digest (str): SHA-256 of the weights, the same in both files
            of a model.
        tile (tuple[int, int] | None): Height and width of the tiles into
            which the resized image is cut; None if it is not.
        tile_overlap (int): See :func:`~projects.oneformer.tiling.tile_grid`.
        tile_score_thr (float): Instances of a tile with a lower score are
            dropped.
    """

    classes: tuple[str, ...]
    thing_classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    category_ids: tuple[int, ...] | None
    default_tasks: tuple[str, ...]
    trained_tasks: tuple[str, ...]
    task_sentences: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    scale: tuple[int, int] | None
    keep_ratio: bool
    resize_backend: str
    size_divisor: int
    size: tuple[int, int] | None
    object_mask_thr: float
    iou_thr: float
    max_per_image: int | None
    weights_digest: str
    tile: tuple[int, int] | None = None
    tile_overlap: int = 0
    tile_score_thr: float = 0.0

    def to_metadata(self, part: str) -> dict[str, str]:
        """Return texts by key: format, version, part, and JSON of the rest.

        Args:
            part (str): What the file holds, such as :data:`ENCODER`.
        """
        values = {
            field.name: json.dumps(getattr(self, field.name))
            for field in fields(self)
        }
        return dict(
            format=FORMAT,
            version=str(VERSION),
            part=part,
            tasks=json.dumps(TASKS),
            **values,
        )


def read_description(
    metadata: Mapping[str, str], path: object
) -> tuple[str, Description]:
    """Return which part of a model a file holds, and its description.

    Args:
        metadata (Mapping[str, str]): Of the file.
        path (object): What messages call it.

    Raises:
        InputError: If the file was not written by our export, by a later
            version of it, or is damaged.
    """
    if metadata.get('format') != FORMAT:
        raise InputError(
            f'{path} says nothing of OneFormer: expected a file that '
            'tools/export.py wrote. Export the model with it.'
        )
    version = metadata.get('version', '')
    if version not in map(str, READABLE):
        raise InputError(
            f'{path} has version {version} of the export, this runner reads '
            f'{" and ".join(map(str, READABLE))}: export the model again, or '
            'install the version of this project that exported it.'
        )
    try:
        part = metadata['part']
        kinds = get_type_hints(Description)
        values = {
            field.name: _read_value(metadata[field.name], kinds[field.name])
            for field in fields(Description)
            if field.name in metadata or field.default is MISSING
        }
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(
            f'{path} has damaged metadata ({error!r}): export the model again.'
        ) from error
    return part, Description(**values)


def _read_value(text: str, kind: Any) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: If it is not of the kind that a field has.
    """
    value = _as_tuples(json.loads(text))
    if not _is_of(value, kind):
        raise ValueError(f'expected {kind}, got {text[:80]}')
    return value


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind that the type hint of a field says."""
    if isinstance(kind, UnionType):
        return any(_is_of(value, each) for each in get_args(kind))
    if get_origin(kind) is not tuple:
        return type(value) in ((int, float) if kind is float else (kind,))
    if not isinstance(value, tuple):
        return False
    kinds = get_args(kind)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    return len(kinds) == len(value) and all(map(_is_of, value, kinds))


def _as_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_as_tuples, value))
    return value
