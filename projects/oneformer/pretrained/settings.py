"""The ``config.json`` of a model folder: everything but the weights.

It is data, not a program. A config of OpenMMLab names what is called, so the
content is checked before anything is built of it: it may name the modules and
transforms of this package and those in :data:`FOREIGN_TYPES`, and has no place
for paths, addresses or the other doors of mmengine's configs.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.registry import TRANSFORMS as MMDET_TRANSFORMS
from mmengine.config import Config, ConfigDict

from ..datasets.transforms.annotation_transform import reads_annotations
from ..errors import FileError, InputError
from ..metainfo import check_classes
from ..registry import TRANSFORMS
from ..tasks import TASKS
from ..version import __version__
from ..weights.inference_model import inference_model

LIBRARY = 'oneformer-openmmlab'
FORMAT = 1
PACKAGE = __name__.partition('.pretrained')[0]
SCOPES = ('mmdet', 'mmcv', 'mmengine', 'mmpretrain', 'mmseg', PACKAGE)
# What a config.json may name of other packages. All were read: without the
# keys refused below none opens a file, or looks up a name it is given.
FOREIGN_TYPES = frozenset(
    {
        *('ResNet', 'ResNetV1d', 'SwinTransformer'),
        *('PyramidVisionTransformer', 'PyramidVisionTransformerV2'),
        *('ConvNeXt', 'VisionTransformer', 'TIMMBackbone'),
        *('FPN', 'Feature2Pyramid', 'DetDataPreprocessor'),
        *('BN', 'BN2d', 'SyncBN', 'GN', 'LN', 'LN2d'),
        *('ReLU', 'GELU', 'Swish', 'SiLU', 'Conv2d', 'Conv'),
        *('LoadImageFromFile', 'Resize', 'Pad', 'PackDetInputs'),
    }
)
# Of a backbone whose further options go to timm, which would look them up.
TIMM_OPTIONS = {'type', 'model_name', 'features_only', 'out_indices'}
REFUSED_KEYS = frozenset(
    {
        *('init_cfg', 'pretrained', 'checkpoint', 'checkpoint_path'),
        *('backend_args', 'file_client_args', 'custom_imports', 'train_cfg'),
        'compile',
    }
)


@dataclass(frozen=True)
class Settings:
    """What a model folder says of its model.

    Attributes:
        model (dict): Config of the inference model, without ``metainfo``.
        test_pipeline (list[dict]): Steps from a file to the model, without
            those that read annotations.
        classes (tuple[str, ...]): Names, in label order.
        thing_classes (tuple[str, ...]): The countable ones.
        palette (tuple | None): RGB of each class.
        category_ids (tuple[int, ...] | None): Ids of the classes in the data
            set that the model was trained on.
        trained_tasks (tuple[str, ...]): Tasks that the weights were trained
            for.
    """

    model: dict
    test_pipeline: list[dict]
    classes: tuple[str, ...]
    thing_classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None
    category_ids: tuple[int, ...] | None = None
    trained_tasks: tuple[str, ...] = field(default=TASKS)

    def config(self) -> Config:
        """Return a config that ``OneFormerInferencer`` takes."""
        metainfo: dict[str, Any] = dict(
            classes=self.classes, thing_classes=self.thing_classes
        )
        if self.palette is not None:
            metainfo['palette'] = self.palette
        if self.category_ids is not None:
            metainfo['category_ids'] = self.category_ids
        return Config(
            dict(
                model=dict(self.model, metainfo=metainfo),
                test_dataloader=dict(
                    dataset=dict(pipeline=self.test_pipeline)
                ),
                default_scope='mmdet',
            )
        )


def settings_of(
    config: Config, trained_tasks: Sequence[str] = TASKS
) -> Settings:
    """Return the settings of a config, as under ``configs/``.

    Raises:
        InputError: If a folder has no place for something in the config. The
            message names it.
    """
    model = inference_model(config.model).to_dict()
    metainfo = model.pop('metainfo')
    for key in ('train_cfg', 'checkpoint_classes', 'compile'):
        model.pop(key, None)
    model['backbone'].pop('init_cfg', None)
    model.get('data_preprocessor', {}).pop('batch_augments', None)
    pipeline = [
        step
        for step in ConfigDict(
            steps=config.test_dataloader.dataset.pipeline
        ).to_dict()['steps']
        if not reads_annotations(step)
    ]
    content = dict(
        library=LIBRARY,
        format=FORMAT,
        classes=metainfo['classes'],
        thing_classes=metainfo['thing_classes'],
        palette=metainfo.get('palette'),
        category_ids=metainfo.get('category_ids'),
        trained_tasks=trained_tasks,
        model=model,
        test_pipeline=pipeline,
    )
    return read_settings(_as_json(content), 'The config')


def write_settings(settings: Settings) -> str:
    """Return the text of a ``config.json``."""
    header = dict(library=LIBRARY, format=FORMAT, version=__version__)
    return _as_json(header | vars(settings))


def _as_json(content: dict) -> str:
    """Return JSON of some values; what is None is left out."""
    content = {key: v for key, v in content.items() if v is not None}
    try:
        return json.dumps(content, indent=2, allow_nan=False) + '\n'
    except (TypeError, ValueError) as error:
        raise InputError(
            f'The config cannot be written as JSON: {error}. Expected '
            'numbers, texts, lists and dicts in model and test pipeline.'
        ) from error


def read_settings(text: str, name: str) -> Settings:
    """Return the settings in a ``config.json``, checked.

    Args:
        text (str): Content of the file.
        name (str): What messages call the file.

    Raises:
        InputError: If it is not the JSON of a model folder, or would do more
            than describe a model. The message says where.
    """
    content = read_object(text, name)
    if content.get('library') != LIBRARY:
        raise InputError(
            f'{name}: expected "library": "{LIBRARY}", got '
            f'{content.get("library")!r}. Give a folder that save_pretrained '
            'of this package wrote.'
        )
    if content.get('format') != FORMAT:
        raise InputError(
            f'{name} has format {content.get("format")!r}, this version of '
            f'the package reads {FORMAT}: update the package.'
        )
    known = {'library', 'format', 'version', *Settings.__dataclass_fields__}
    if unknown := sorted(content.keys() - known):
        raise InputError(
            f'{name} has unknown entries {unknown}: expected {sorted(known)}.'
        )
    model = _part(content, 'model', dict, name)
    pipeline = _part(content, 'test_pipeline', list, name)
    for key, part in (('model', model), ('test_pipeline', pipeline)):
        check_values(part, f'{name}: {key}')
    if not _is_detector(model.get('type')):
        raise InputError(
            f'{name}: model is of type {model.get("type")!r}, expected a '
            'whole model of this package, such as OneFormer.'
        )
    steps = [s.get('type') if isinstance(s, dict) else None for s in pipeline]
    if None in steps or not steps:
        raise InputError(
            f'{name}: test_pipeline needs steps, each with a type.'
        )
    classes = _names(content, 'classes', name)
    things = _names(content, 'thing_classes', name)
    try:
        check_classes(classes, things)
    except ValueError as error:
        raise InputError(f'{name}: {error}') from error
    tasks = _names(content, 'trained_tasks', name)
    if not set(tasks) <= set(TASKS):
        raise InputError(
            f'{name}: trained_tasks are {list(tasks)}, expected some of '
            f'{list(TASKS)}.'
        )
    return Settings(
        model=_with_tuples(model),
        test_pipeline=_with_tuples(pipeline),
        classes=classes,
        thing_classes=things,
        palette=_palette(content, len(classes), name),
        category_ids=_category_ids(content, len(classes), name),
        trained_tasks=tasks,
    )


def read_object_file(path: Path) -> dict:
    """Return the object in a JSON file.

    Raises:
        FileError: If it cannot be read.
        InputError: If it is no such JSON.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except OSError as error:
        raise FileError(
            f'{path} cannot be read: {error.strerror}. Check its permissions.'
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path} is not valid JSON: {error}. Download or write it again.'
        ) from error
    return read_object(text, str(path))


def read_object(text: str, name: str) -> dict:
    """Return the object in a JSON text.

    Raises:
        InputError: If it is no such JSON.
    """
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'{name} is not valid JSON: {error}. Download or write it again.'
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f'{name}: expected a JSON object, got {type(content).__name__}.'
        )
    return content


def _no_constant(text: str) -> None:
    raise ValueError(f'{text} is no number of JSON')


def check_values(value: Any, place: str) -> None:
    """Check that values describe a model and do nothing else.

    Args:
        value: Dicts, lists and plain values.
        place (str): Where they are, for the message.

    Raises:
        InputError: If a type or key is not allowed.
    """
    if isinstance(value, list):
        for number, entry in enumerate(value):
            check_values(entry, f'{place}[{number}]')
    elif isinstance(value, dict):
        if 'type' in value:
            _check_type(value, place)
        for key, entry in value.items():
            if key == '_scope_':
                if entry not in SCOPES:
                    raise _refused(f'{place}._scope_', entry, SCOPES)
            elif key.startswith('_') or (
                key in REFUSED_KEYS and entry not in (None, False)
            ):
                raise InputError(
                    f'{place} has {key!r}: a config.json describes a model '
                    'and has no such entry. Remove it, or use a config in '
                    'Python if you wrote it.'
                )
            check_values(entry, f'{place}.{key}')
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f'{place} is {value}, expected a finite number.')


def _check_type(value: dict, place: str) -> None:
    name = value['type']
    scope, _, last = str(name).rpartition('.')
    if (
        not isinstance(name, str)
        or (scope and scope not in SCOPES)
        or not (last in FOREIGN_TYPES or last in own_types())
    ):
        raise _refused(f'{place}.type', name, sorted(FOREIGN_TYPES))
    if last == 'TIMMBackbone':
        further = sorted(value.keys() - TIMM_OPTIONS)
        model_name = str(value.get('model_name'))
        if further or not model_name.replace('_', '').isalnum():
            raise InputError(
                f'{place}: expected a TIMMBackbone with '
                f'{sorted(TIMM_OPTIONS)} and the name of a network of timm, '
                f'got {further or model_name!r}.'
            )


def _refused(place: str, value: object, expected: Sequence[str]) -> InputError:
    return InputError(
        f'{place} is {value!r}: expected one of {list(expected)}'
        + (
            ' or a module or transform of this package. If you wrote the '
            'model, use its config in Python: from_pretrained(weights, '
            'config=...).'
            if place.endswith('.type')
            else '.'
        )
    )


def _is_detector(name: object) -> bool:
    last = str(name).rpartition('.')[-1]
    found = MODELS.module_dict.get(last)
    return (
        last in own_types()
        and isinstance(found, type)
        and issubclass(found, BaseDetector)
    )


def own_types() -> Iterator[str]:
    """Yield the names of the registered classes of this package."""
    for registry in (MODELS, TASK_UTILS, MMDET_TRANSFORMS, TRANSFORMS):
        for name, found in registry.module_dict.items():
            if found.__module__.startswith(f'{PACKAGE}.'):
                yield name


def _part(content: dict, key: str, kind: type, name: str) -> Any:
    part = content.get(key)
    if not isinstance(part, kind):
        raise InputError(
            f'{name}: expected a {kind.__name__} under {key!r}, got '
            f'{type(part).__name__}.'
        )
    return part


def _names(content: dict, key: str, name: str) -> tuple[str, ...]:
    names = _part(content, key, list, name)
    if not all(isinstance(entry, str) for entry in names):
        raise InputError(f'{name}: expected a list of names under {key!r}.')
    return tuple(names)


def _palette(content: dict, number: int, name: str) -> tuple | None:
    if content.get('palette') is None:
        return None
    palette = _part(content, 'palette', list, name)
    if len(palette) != number or not all(
        isinstance(color, list)
        and len(color) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in color)
        for color in palette
    ):
        raise InputError(
            f'{name}: expected a palette of {number} colours [R, G, B] from '
            '0 to 255, one for each class.'
        )
    return tuple(map(tuple, palette))


def _category_ids(content: dict, number: int, name: str) -> tuple | None:
    if content.get('category_ids') is None:
        return None
    ids = _part(content, 'category_ids', list, name)
    if (
        not all(type(entry) is int for entry in ids)
        or len(ids) != number
        or len(set(ids)) != number
    ):
        raise InputError(
            f'{name}: expected {number} category_ids, different whole '
            'numbers, one for each class.'
        )
    return tuple(ids)


def _with_tuples(value: Any) -> Any:
    """Turn lists of plain values into tuples, which mmcv's steps expect.

    JSON has lists only. Lists of dicts, such as steps, remain lists.
    """
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    if isinstance(value, list):
        entries = [_with_tuples(entry) for entry in value]
        plain = not any(isinstance(entry, dict | list) for entry in entries)
        return tuple(entries) if plain else entries
    return value
