"""Write a model as ONNX files, and check them against PyTorch."""

import importlib.util
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from ..errors import InputError, UserError
from ..models.oneformer import OneFormer
from ..optional import import_optional
from ..runtime.description import DECODER, ENCODER, MODEL
from ..runtime.sessions import BACKENDS, open_session
from ..tasks import TASKS
from .describe import describe_model
from .graphs import (
    ImageEncoder,
    TaskDecoder,
    WholeModel,
    takes_any_size,
    traceable,
)

#: Version of the operators. Files have IR version 10.
OPSET = 20
#: Largest deviation from PyTorch that is accepted of most of the values of an
#: output, relative to its largest value. Rounding gives about 1e-5.
TOLERANCE = 1e-3
#: How many values these are. Where a mask logit is close to 0, rounding
#: decides whether masked attention of a query sees a pixel, and all logits of
#: the query change: of a Swin-T, 1 % of the values did.
MOST = 0.95
#: Largest deviation that is accepted of any value: 6e-3 was seen.
OUTLIER_TOLERANCE = 0.05
# Height and width that files of free sizes are traced with, in multiples of
# the stride. Where a map fits one window of Swin, or fills its windows, a
# tracer takes that for granted: these do neither for windows up to 16.
TRACED_SIZE = (17, 23)
# Heights and widths that files of free sizes are checked with, likewise.
CHECKED_SIZES = ((6, 10), (8, 7))
# Loggers of what PyTorch does while it exports. The last one takes longer than
# the export where a handler listens.
NOISY = (
    'torch.onnx',
    'torch.export',
    'onnxscript',
    'onnx_ir',
    'torch.__trace',
)
OUTPUTS = ['class_logits', 'mask_logits']
#: Bytes of weights that a file can hold, which is one message of protobuf.
MAX_BYTES = 2**31 - 2**24


class Deviation(NamedTuple):
    """How far an engine is from PyTorch.

    Attributes:
        backend (str): The engine.
        output (str): Which output.
        size (tuple[int, int]): Height and width of the input.
        largest (float): Largest difference.
        relative (float): The same, relative to the largest value.
        typical (float): Largest difference of :data:`MOST` values, relative
            to the largest value.
    """

    backend: str
    output: str
    size: tuple[int, int]
    largest: float
    relative: float
    typical: float


class _Graph(NamedTuple):
    """A module, and what its file is to have as inputs and outputs."""

    module: nn.Module
    inputs: dict[str, Any]  # tensors that it is traced with
    sizes: dict[str, Any]  # free sizes of each of them
    outputs: list[str]


def export_onnx(
    config: Config,
    model: OneFormer,
    target: str | os.PathLike,
    single_file: bool = False,
    size: tuple[int, int] | None = None,
) -> list[Deviation]:
    """Write a model as ONNX files, whole or not at all.

    A folder gets two files, ``image_encoder.onnx`` and
    ``task_decoder.onnx``. Their metadata says what
    :class:`~projects.oneformer.runtime.description.Description` has. They are
    compared with PyTorch before they appear, on each of onnxruntime and
    OpenVINO that is installed.

    Args:
        config (Config): Of the model.
        model (OneFormer): With its weights; it does not change.
        target (str | os.PathLike): Folder, or the file to write. Earlier
            files are replaced.
        single_file (bool): Write one file with both parts.
        size (tuple[int, int], optional): The one height and width of the
            input. Without, both are free.

    Returns:
        list[Deviation]: What was found in the comparison.

    Raises:
        InputError: If the model needs a size or is too large for a file, or
            images are prepared in a way that the runner does not know.
        MissingPackageError: If a package of the extra ``export`` is missing.
        ExportError: If a file differs from PyTorch.
    """
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        import_optional(package, 'ONNX files')
    target = Path(target)
    _check_target(target, single_file)
    if size is None and not takes_any_size(model):
        raise InputError(
            f'{type(model.backbone).__name__} is exported for one height and '
            'width: add --size HEIGHT WIDTH, those of most test images after '
            'resizing and padding.'
        )
    description = describe_model(config, model, size)
    model = traceable(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix='.partial-', dir=target.parent))
    try:
        for part, graph in _graphs(model, single_file, size).items():
            _write(
                graph, partial / f'{part}.onnx', description.to_metadata(part)
            )
        deviations = _compare(model, partial, single_file, size)
        if single_file:
            os.replace(partial / f'{MODEL}.onnx', target)
        else:
            target.mkdir(exist_ok=True)
            for file in sorted(partial.iterdir()):
                os.replace(file, target / file.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return deviations


class ExportError(UserError):
    """A file does not compute what the model computes."""


def _check_target(target: Path, single_file: bool) -> None:
    if single_file and target.is_dir():
        raise InputError(
            f'{target} is a folder: one file needs a name, such as '
            f'{target / "model.onnx"}.'
        )
    if not single_file and (target.is_file() or target.suffix == '.onnx'):
        raise InputError(
            f'Expected a folder for two files, got {target}: name a folder, '
            'or ask for one file with --single-file.'
        )


def _graphs(
    model: OneFormer, single_file: bool, size: tuple[int, int] | None
) -> dict[str, _Graph]:
    """Return what goes into each file."""
    stride = model.panoptic_head.stride
    height, width = size or scaled(TRACED_SIZE, stride)
    image, tasks = torch.zeros(1, 3, height, width), torch.arange(len(TASKS))
    free = None if size else (Dim('height', min=1), Dim('width', min=1))
    count = {0: Dim('count', min=1)}
    image_sizes = _multiples(free, stride)
    if single_file:
        return {
            MODEL: _Graph(
                WholeModel(model),
                dict(tasks=tasks, image=image),
                dict(tasks=count, image=image_sizes),
                OUTPUTS,
            )
        }
    with torch.no_grad():
        features = ImageEncoder(model)(image)
    sizes = {
        name: _multiples(free, stride * feature.shape[2] // height)
        if feature.dim() == 4
        else None
        for name, feature in features.items()
    }
    return {
        ENCODER: _Graph(
            ImageEncoder(model),
            dict(image=image),
            dict(image=image_sizes),
            list(features),
        ),
        DECODER: _Graph(
            TaskDecoder(model),
            dict(tasks=tasks, features=features),
            dict(tasks=count, features=sizes),
            OUTPUTS,
        ),
    }


def scaled(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Return a height and a width times a factor."""
    return size[0] * factor, size[1] * factor


def _multiples(free: tuple | None, factor: int) -> dict[int, Any] | None:
    """Return height and width of a map, as multiples of the smallest."""
    if free is None:
        return None
    # 1 * Dim is not allowed.
    height, width = (side if factor == 1 else factor * side for side in free)
    return {2: height, 3: width}


def _write(graph: _Graph, path: Path, metadata: dict[str, str]) -> None:
    names = []
    for name, value in graph.inputs.items():
        names += list(value) if isinstance(value, dict) else [name]
    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(
                graph.module,
                (),
                graph.inputs,
                dynamic_shapes=graph.sizes,
            )
        except torch._dynamo.exc.UserError as error:
            reason = ' '.join(str(error).split())
            raise InputError(
                'This model cannot be exported with free heights and widths '
                f'({reason}): add --size HEIGHT WIDTH.'
            ) from error
        exported = torch.onnx.export(
            program,
            input_names=names,
            output_names=graph.outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    size = sum(
        value.const_value.nbytes
        for value in exported.model.graph.initializers.values()
        if value.const_value is not None
    )
    if size > MAX_BYTES:
        raise InputError(
            f'{path.name} would hold {size / 2**30:.1f} GiB of weights, and '
            'an ONNX file holds less than 2 GiB: export a smaller model'
            + (', or two files.' if path.stem == MODEL else '.')
        )
    exported.model.metadata_props.update(metadata)
    exported.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what PyTorch logs and warns of while it exports."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compare(
    model: OneFormer,
    folder: Path,
    single_file: bool,
    size: tuple[int, int] | None,
) -> list[Deviation]:
    """Return the deviations of all engines that are installed.

    Raises:
        ExportError: If one is above :data:`TOLERANCE` or
            :data:`OUTLIER_TOLERANCE`.
    """
    found = []
    stride = model.panoptic_head.stride
    checked = [scaled(multiples, stride) for multiples in CHECKED_SIZES]
    for height, width in [size] if size else checked:
        image = _drawn_image(height, width)
        calls = _expected_calls(model, image, single_file)
        for backend in installed_backends():
            for part, (inputs, expected) in calls.items():
                session = open_session(folder / f'{part}.onnx', backend)
                outputs = session.run(**inputs)
                for name, output in zip(expected, outputs, strict=True):
                    place = (backend, name, (height, width))
                    found.append(deviation_of(place, output, expected[name]))
    check_deviations(found)
    return found


def check_deviations(found: Iterable[Deviation]) -> None:
    """Raise an ``ExportError`` at the first deviation that is too large."""
    for deviation in found:
        if not (  # NaN included
            deviation.typical <= TOLERANCE
            and deviation.relative <= OUTLIER_TOLERANCE
        ):
            raise ExportError(
                f'{deviation.output} of {deviation.backend} differs from '
                f'PyTorch by {deviation.relative:.1e} of its largest value, '
                f'and by {deviation.typical:.1e} in {MOST:.0%} of the values; '
                f'expected at most {OUTLIER_TOLERANCE} and {TOLERANCE}: '
                'nothing was written. Report it with the config and the '
                'versions of `python -m projects.oneformer doctor`.'
            )


def deviation_of(
    place: tuple[str, str, tuple[int, int]],
    output: np.ndarray,
    expected: np.ndarray,
) -> Deviation:
    """Compare an output with that of PyTorch.

    Args:
        place (tuple[str, str, tuple[int, int]]): Engine, name of the output
            and size of the input.
        output (np.ndarray): Of the engine.
        expected (np.ndarray): Of PyTorch.
    """
    difference = np.abs(output - expected)
    scale = float(np.abs(expected).max())
    largest = float(difference.max())
    typical = float(np.quantile(difference, MOST))
    return Deviation(*place, largest, largest / scale, typical / scale)


def _expected_calls(
    model: OneFormer, image: Tensor, single_file: bool
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Return inputs and outputs of each file, as PyTorch has them."""
    tasks = torch.arange(len(TASKS))
    with torch.no_grad():
        features = ImageEncoder(model)(image)
        logits = TaskDecoder(model)(tasks, features)
    shared = {name: feature.numpy() for name, feature in features.items()}
    results = {
        name: part.numpy() for name, part in zip(OUTPUTS, logits, strict=True)
    }
    given = dict(image=image.numpy())
    chosen = dict(tasks=tasks.numpy())
    if single_file:
        return {MODEL: (chosen | given, results)}
    return {
        ENCODER: (given, shared),
        DECODER: (chosen | shared, results),
    }


def installed_backends() -> list[str]:
    """Return the engines that can check a file here."""
    return [name for name in BACKENDS if importlib.util.find_spec(name)]


def _drawn_image(height: int, width: int) -> Tensor:
    """Return a normalised image with coarse and fine structure."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, height // 16, width // 16, generator=generator)
    fine = torch.randn(1, 3, height, width, generator=generator)
    return F.interpolate(coarse, (height, width)) + 0.3 * fine
