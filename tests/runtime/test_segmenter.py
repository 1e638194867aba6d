"""The runner gives the results of the model, and says what is wrong."""

import json
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.oneformer.errors import FileError, InputError, MissingFileError
from projects.oneformer.images import ImageError
from projects.oneformer.results import SegmentationResult
from projects.oneformer.runtime import OnnxSegmenter
from projects.oneformer.runtime.sessions import BACKENDS
from tests.exported_models import drawn_image
from tests.rounding import assert_same_labels

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TORCH = """
    import sys

    class Refused:
        def find_spec(self, name, path=None, target=None):
            if name.partition('.')[0] in ('mmengine', 'mmcv', 'mmdet'):
                raise ImportError(f'{name} is not here')

    sys.meta_path.insert(0, Refused())
    sys.modules['torch'] = None  # its import fails
"""


def run_without_torch(program: str, *arguments: object) -> str:
    program = textwrap.dedent(WITHOUT_TORCH) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, '-c', program, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def change_metadata(path: Path, **texts: str) -> None:
    import onnx

    file = onnx.load(path)
    for entry in file.metadata_props:
        entry.value = texts.get(entry.key, entry.value)
    onnx.save(file, path)


@pytest.fixture(params=BACKENDS)
def segmenter(request, exported):
    pytest.importorskip(request.param, reason=f'needs {request.param}')
    return OnnxSegmenter(exported.folder, request.param, threads=1)


def assert_same_results(
    found: SegmentationResult, expected: SegmentationResult
) -> None:
    """Compare results, of which pixels may tie."""
    for name in ('height', 'width', 'classes', 'thing_classes', 'image_name'):
        assert getattr(found, name) == getattr(expected, name)
    assert np.array_equal(found.image, expected.image)
    assert found.tasks == expected.tasks
    for task in found.tasks:
        ours, theirs = found.segments_of(task), expected.segments_of(task)
        assert [s.label for s in ours] == [s.label for s in theirs]
        for own, other in zip(ours, theirs, strict=True):
            assert own.is_thing == other.is_thing
            assert own.score == pytest.approx(other.score, abs=5e-3)
            assert_same_labels(own.mask, other.mask)


@pytest.mark.slow
def test_results_are_those_of_the_model(segmenter, exported):
    shown = 0
    for seed, size in enumerate([(64, 96), (80, 61), (150, 200)]):
        image = drawn_image(*size, seed)
        for tasks in ('panoptic', ['semantic', 'instance'], None):
            (expected,) = exported.inferencer(image, tasks, score_thr=0.1)
            found = segmenter(image, tasks, score_thr=0.1)
            assert_same_results(found, expected)
            shown += len(found.segments or []) + len(found.instances or [])
    assert shown > 10


@pytest.mark.slow
def test_images_come_in_every_kind_that_the_inferencer_reads(
    exported, tmp_path
):
    segmenter = OnnxSegmenter(exported.folder)
    image = drawn_image(40, 60)
    path = tmp_path / 'image.png'
    Image.fromarray(image[..., ::-1]).save(path)
    (expected,) = exported.inferencer(path, 'semantic')
    assert_same_results(segmenter(path, 'semantic'), expected)
    assert segmenter(str(path), 'semantic').image_name == str(path)
    for other in (
        image,
        Image.open(path),
        np.dstack([image, np.zeros_like(image[..., :1])]),
    ):
        found = segmenter(other, 'semantic')
        assert np.array_equal(found.semantic, expected.semantic)
        assert np.array_equal(found.image, image[..., ::-1])


@pytest.mark.slow
def test_what_is_no_image_or_task_is_refused(exported, tmp_path):
    segmenter = OnnxSegmenter(exported.folder)
    with pytest.raises(TypeError, match='got int'):
        segmenter(3)
    with pytest.raises(ImageError, match='does not exist'):
        segmenter(tmp_path / 'missing.png')
    with pytest.raises(ImageError, match='Expected an array uint8'):
        segmenter(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="Unknown task 'depth'"):
        segmenter(drawn_image(32, 32), 'depth')


@pytest.mark.slow
def test_threads_get_the_results_of_their_own_calls(segmenter):
    calls = [
        (drawn_image(48, 64, seed), task)
        for seed in range(4)
        for task in ('panoptic', 'semantic')
    ]
    alone = [segmenter(*call) for call in calls]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda call: segmenter(*call), calls))
    for found, expected in zip(together, alone, strict=True):
        assert_same_results(found, expected)


@pytest.mark.slow
def test_a_task_that_was_not_trained_is_warned_of_once(
    tmp_path, exported, caplog
):
    folder = tmp_path / 'onnx'
    shutil.copytree(exported.folder, folder)
    for path in folder.iterdir():
        change_metadata(path, trained_tasks=json.dumps(['semantic']))
    segmenter = OnnxSegmenter(folder)
    for task in ('panoptic', 'semantic', 'panoptic'):
        segmenter(drawn_image(32, 32), task)
    (message,) = caplog.messages
    assert message.startswith('The panoptic task is requested')


@pytest.mark.slow
def test_a_model_runs_where_torch_is_not_installed(exported, tmp_path):
    image = tmp_path / 'image.png'
    Image.fromarray(drawn_image(50, 70)[..., ::-1]).save(image)
    out = run_without_torch(
        """
        from projects.oneformer.runtime import OnnxSegmenter

        result = OnnxSegmenter(sys.argv[1])(sys.argv[2])
        print(result.tasks, result.semantic.sum(), len(result.segments))
        """,
        exported.folder,
        image,
    )
    expected = OnnxSegmenter(exported.folder)(image)
    assert out.strip() == (
        f'{expected.tasks} {expected.semantic.sum()} {len(expected.segments)}'
    )


def test_the_runner_is_imported_without_torch_and_openmmlab():
    out = run_without_torch(
        """
        from projects.oneformer.runtime import OnnxSegmenter
        from projects.oneformer.results import SegmentationResult

        print(sorted(name for name in sys.modules if name.startswith('mm')))
        """
    )
    assert out.strip() == '[]'


def test_an_address_names_the_package_that_would_read_it():
    out = run_without_torch(
        """
        from projects.oneformer.errors import MissingPackageError
        from projects.oneformer.runtime.segmenter import read_pixels

        try:
            read_pixels('https://example.invalid/a.jpg')
        except MissingPackageError as error:
            print(error)
        """
    )
    assert out.startswith('Images at an address need mmengine, which cannot')


def write_foreign(path: Path, metadata: dict[str, str]) -> None:
    """Write an ONNX file that returns its input."""
    onnx = pytest.importorskip('onnx', reason='needs onnx')
    from onnx import TensorProto, helper

    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        for name in 'xy'
    )
    graph = helper.make_graph(
        [helper.make_node('Identity', ['x'], ['y'])], 'foreign', [x], [y]
    )
    opset = [helper.make_opsetid('', 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(
    ('metadata', 'message'),
    [
        ({}, 'says nothing of OneFormer'),
        (dict(format='oneformer', version='7'), 'has version 7'),
        (dict(format='oneformer', version='1'), 'has damaged metadata'),
    ],
)
def test_a_foreign_file_is_refused(backend, metadata, message, tmp_path):
    pytest.importorskip(backend, reason=f'needs {backend}')
    path = tmp_path / 'foreign.onnx'
    write_foreign(path, metadata)
    with pytest.raises(InputError, match=message) as raised:
        OnnxSegmenter(path, backend)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize('backend', BACKENDS)
def test_signals_are_handled_after_several_files(backend, tmp_path):
    pytest.importorskip(backend, reason=f'needs {backend}')
    path = tmp_path / 'model.onnx'
    write_foreign(path, {})
    out = run_without_torch(
        """
        import os
        import signal

        import numpy as np
        from projects.oneformer.runtime.sessions import open_session

        signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
        path, backend = sys.argv[1:]
        first = open_session(path, backend)
        second = open_session(path, backend)
        first.run(x=np.ones(1, np.float32))
        del first
        del second
        os.kill(os.getpid(), signal.SIGUSR1)
        """,
        path,
        backend,
    )
    assert out.split()[-1] == 'handled'


@pytest.mark.parametrize('backend', BACKENDS)
def test_what_is_no_onnx_file_is_refused(backend, tmp_path):
    pytest.importorskip(backend, reason=f'needs {backend}')
    path = tmp_path / 'text.onnx'
    path.write_text('no model')
    with pytest.raises(FileError, match=f'{backend} cannot load .*text.onnx'):
        OnnxSegmenter(path, backend)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match='nothing.onnx does not exist'):
        OnnxSegmenter(tmp_path / 'nothing.onnx')
    (tmp_path / 'image_encoder.onnx').touch()
    with pytest.raises(MissingFileError, match='lacks task_decoder.onnx'):
        OnnxSegmenter(tmp_path)


def test_an_unknown_or_missing_backend_is_named(monkeypatch, tmp_path):
    path = tmp_path / 'model.onnx'
    path.touch()
    with pytest.raises(InputError, match='onnxruntime, openvino'):
        OnnxSegmenter(path, 'tensorrt')
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(ImportError, match='pip install openvino'):
        OnnxSegmenter(path, 'openvino')


@pytest.mark.slow
def test_files_of_two_models_are_not_mixed(exported, tmp_path):
    folder = tmp_path / 'mixed'
    shutil.copytree(exported.folder, folder)
    change_metadata(folder / 'task_decoder.onnx', weights_digest='"other"')
    with pytest.raises(InputError, match='are of different models'):
        OnnxSegmenter(folder)
    with pytest.raises(InputError, match='holds the part image_encoder'):
        OnnxSegmenter(folder / 'image_encoder.onnx')
