"""ONNX files on the engines that run them."""

import threading
from collections.abc import Callable
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import FileError, InputError, MissingFileError
from ..optional import import_optional


class Session(Protocol):
    """A file that an engine has loaded; several threads may run it."""

    #: What the file says about itself.
    metadata: dict[str, str]
    #: Names of the outputs, in the order of the file.
    outputs: list[str]

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """Return the outputs, in the order of the file.

        They are valid until the next call of the same thread.
        """


class OnnxRuntimeSession:
    """A file in onnxruntime, on the CPU."""

    def __init__(self, path: Path, threads: int | None) -> None:
        runtime = import_optional('onnxruntime', 'Exported files')
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = runtime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )
        self.metadata = self._session.get_modelmeta().custom_metadata_map
        self.outputs = [found.name for found in self._session.get_outputs()]

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, inputs)


@cache
def openvino_core() -> Any:
    """Return OpenVINO's runtime, one for the whole process.

    Each new one sets its own stack for signal handlers, and the end of the
    second brings back that of the first, which may be freed by then: the next
    signal, such as Ctrl-C, would end the process with a segmentation fault.
    """
    return import_optional('openvino', 'Exported files').Core()


class OpenVinoSession:
    """A file in OpenVINO, on the CPU and in float32."""

    def __init__(self, path: Path, threads: int | None) -> None:
        core = openvino_core()
        model = core.read_model(path)
        # It keeps the metadata of an ONNX file here.
        texts = dict(model.rt_info.items()).get('framework', {})
        self.metadata = {key: str(text.value) for key, text in texts.items()}
        # By itself it computes in bfloat16 on some processors.
        options: dict[str, Any] = dict(INFERENCE_PRECISION_HINT='f32')
        if threads is not None:
            options['INFERENCE_NUM_THREADS'] = threads
        self._model = core.compile_model(model, 'CPU', options)
        self.outputs = [found.any_name for found in self._model.outputs]
        self._requests = threading.local()  # a request serves one thread

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        if not hasattr(self._requests, 'own'):
            self._requests.own = self._model.create_infer_request()
        results = self._requests.own.infer(
            inputs, share_inputs=True, share_outputs=True
        )
        return [results[output] for output in self._model.outputs]


BACKENDS: dict[str, Callable[[Path, int | None], Session]] = dict(
    onnxruntime=OnnxRuntimeSession, openvino=OpenVinoSession
)


def open_session(
    path: str | PathLike,
    backend: str = 'onnxruntime',
    threads: int | None = None,
) -> Session:
    """Load a file.

    Args:
        path (str | PathLike): ONNX file.
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        threads (int, optional): Threads of one call, by default as many as
            the engine chooses.

    Raises:
        InputError: If there is no such backend.
        MissingPackageError: If it is not installed.
        MissingFileError: If the file does not exist.
        FileError: If the engine cannot load it.
    """
    path = Path(path)
    if backend not in BACKENDS:
        raise InputError(
            f'Expected a backend among {", ".join(BACKENDS)}, got {backend!r}.'
        )
    if not path.is_file():
        raise MissingFileError(
            f'{path} does not exist: expected an ONNX file that '
            'tools/export.py wrote.'
        )
    import_optional(backend, 'Exported files')
    try:
        return BACKENDS[backend](path, threads)
    except Exception as error:  # of many types, by engine
        reason = str(error).strip().partition('\n')[0]
        raise FileError(
            f'{backend} cannot load {path} ({reason}): export the model again.'
        ) from error
