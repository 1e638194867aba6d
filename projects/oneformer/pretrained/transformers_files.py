"""What the JSON files of a model folder of ``transformers`` say."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .published import published_settings
from .settings import read_object_file


def read_processor(folder: Path) -> dict:
    """Return the settings of images, and the ``path`` of their file.

    Raises:
        InputError: If the folder has none, or it is no JSON object.
    """
    path = folder / 'preprocessor_config.json'
    if not path.is_file():
        raise InputError(
            f'{folder} has no preprocessor_config.json, which gives image '
            'size, normalisation and things: download the whole folder.'
        )
    return dict(read_object_file(path), path=path)


def class_names(values: dict, path: Path) -> tuple[str, ...]:
    """Return the names of the classes in label order.

    Raises:
        InputError: If a label has no name.
    """
    names = values.get('id2label')
    if (
        not isinstance(names, dict)
        or set(names) != {str(label) for label in range(len(names))}
        or not names
    ):
        raise InputError(
            f'{path}: expected id2label to name the classes of labels 0 to '
            'N - 1.'
        )
    return tuple(str(names[str(label)]) for label in range(len(names)))


def thing_classes(
    folder: Path, processor: dict, classes: Sequence[str]
) -> tuple[str, ...]:
    """Return the things, from the file of the folder that names them.

    The things of the data sets of the paper are known without such a file.

    Raises:
        InputError: If no file does, and the classes are not known.
    """
    labels = _labels_of_things(folder, processor)
    if labels is None:
        things = published_settings(classes).get('thing_classes')
        if things is not None:
            return things
        raise InputError(
            f'{folder} does not say which classes are things: expected '
            'thing_ids under metadata of preprocessor_config.json, or the '
            f'file {processor.get("class_info_file")!r} in the folder. Or '
            'give the config of the model: from_pretrained(folder, '
            'config=...), or the config and --weights on the command line.'
        )
    if not all(type(i) is int and 0 <= i < len(classes) for i in labels):
        raise InputError(
            f'{folder} names the labels {labels} as things: expected numbers '
            f'from 0 to {len(classes) - 1}.'
        )
    return tuple(classes[label] for label in labels)


def _labels_of_things(folder: Path, processor: dict) -> list | None:
    metadata = processor.get('metadata')
    if isinstance(metadata, dict) and isinstance(
        metadata.get('thing_ids'), list
    ):
        return metadata['thing_ids']
    file = processor.get('class_info_file')
    # A name alone: the file is read from this folder and from no other place.
    if not isinstance(file, str) or Path(file).name != file:
        return None
    if not (folder / file).is_file():
        return None
    info = read_object_file(folder / file)
    try:
        return [int(i) for i, entry in info.items() if entry['isthing']]
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f'{folder / file}: expected name and isthing for each label.'
        ) from error


def check_fixed(values: dict, fixed: Mapping, path: Path | str) -> None:
    """Refuse values other than those that our modules have built in.

    Raises:
        InputError: Names the first that differs. A key that is not there
            has the value expected.
    """
    for key, expected in fixed.items():
        found = values.get(key, expected)
        if found != expected:
            raise InputError(
                f'{path}: {key} is {json.dumps(found)}, this package has '
                f'the model with {json.dumps(expected)} only.'
            )


def whole_number(
    values: dict, key: str, default: int, path: Path | str, least: int = 1
) -> int:
    """Return a whole number, or raise an ``InputError`` if it is too low."""
    value = values.get(key, default)
    if type(value) is not int or value < least:
        raise InputError(
            f'{path}: expected a whole number of {least} or more as {key}, '
            f'got {value!r}.'
        )
    return value


def positive_number(
    values: dict, key: str, default: float, path: Path | str
) -> float:
    """Return a number above 0, or raise an ``InputError``."""
    value = values.get(key, default)
    if type(value) not in (int, float) or not value > 0:
        raise InputError(
            f'{path}: expected a positive number as {key}, got {value!r}.'
        )
    return value


def whole_numbers(
    values: dict,
    key: str,
    default: list | None,
    path: Path | str,
    length: int | None = 4,
) -> tuple[int, ...]:
    """Return numbers of 1 or more, or raise an ``InputError``."""
    numbers: Any = values.get(key, default)
    if (
        not isinstance(numbers, list)
        or (length is not None and len(numbers) != length)
        or not all(type(entry) is int and entry > 0 for entry in numbers)
    ):
        raise InputError(
            f'{path}: expected whole numbers as {key}, one for each stage, '
            f'got {numbers!r}.'
        )
    return tuple(numbers)


def colour_values(processor: dict, key: str) -> list[float]:
    """Return mean or deviation of the colours on the scale of 0 to 255."""
    values = processor.get(key)
    if (
        not isinstance(values, list)
        or len(values) != 3
        or not all(type(value) in (int, float) for value in values)
    ):
        raise InputError(
            f'{processor["path"]}: expected three numbers as {key}, got '
            f'{values!r}.'
        )
    # Written as thousandths of the published values over 255.
    return [round(value * 255, 3) for value in values]


def image_steps(scale: tuple[int, int], keep_ratio: bool) -> list[dict]:
    """Return the steps that prepare an image as a processor does.

    Args:
        scale (tuple[int, int]): Long and short side at most, or width and
            height.
        keep_ratio (bool): Whether the image keeps its aspect ratio.
    """
    return [
        dict(type='LoadImageFromFile', _scope_='projects.oneformer'),
        dict(
            type='Resize',
            scale=scale,
            keep_ratio=keep_ratio,
            backend='pillow',
        ),
        dict(
            type='PackDetInputs',
            meta_keys=(
                *('img_id', 'img_path', 'ori_shape'),
                *('img_shape', 'scale_factor'),
            ),
        ),
    ]
