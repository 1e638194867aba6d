"""tools/infer.py on much data: by name, in parts, again, and on videos."""

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from projects.oneformer.images import ImageError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.results import SegmentationResult
from tests.model_configs import METAINFO, build_model
from tests.pretrained.conftest import tiny_config

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import infer  # noqa: E402
from _cli import one_line_errors  # noqa: E402
from _outputs import Lines  # noqa: E402
from _sources import Item, Sources  # noqa: E402
from _throughput import Progress  # noqa: E402


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Return the folder of a tiny model."""
    folder = tmp_path_factory.mktemp('model')
    config = tiny_config()
    config.model.backbone.init_cfg = None
    weights = build_model(config.model, seed=3).state_dict()
    torch.save(dict(state_dict=weights), folder / 'iter_1.pth')
    inferencer = OneFormerInferencer(config, folder / 'iter_1.pth', 'cpu')
    inferencer.save_pretrained(folder / 'tiny')
    return folder / 'tiny'


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Return a folder of seven images of several sizes."""
    folder = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for number in range(7):
        size = (40 + number, 52, 3)
        pixels = generator.integers(0, 256, size, dtype=np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), pixels)
    return folder


@pytest.fixture
def run(model, monkeypatch):
    """Return a function that runs the tool with some arguments."""

    def run(*arguments, model=model):
        line = ['infer.py', model, *arguments, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', [str(part) for part in line])
        with one_line_errors():
            infer.main()

    return run


@pytest.fixture
def video(tmp_path):
    """Return a video of seven frames, five of them a second."""
    path = tmp_path / 'clip.mp4'
    code = cv2.VideoWriter.fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(path), code, 5, (64, 48))
    for number in range(7):
        writer.write(np.full((48, 64, 3), 30 * number, np.uint8))
    writer.release()
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(records):
    return [Path(record['file']).name for record in records]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--overlap', 8), 'An overlap needs the size of tiles'),
        (('--tile', 32, '--overlap', 20), 'overlap'),
    ],
)
def test_options_of_tiles_that_do_not_fit_end_in_one_line(
    run, photos, tmp_path, options, message
):
    with pytest.raises(SystemExit, match=message):
        run(photos, '--out-dir', tmp_path / 'out', *options)
    assert not (tmp_path / 'out').exists()


def test_a_model_by_name_gives_a_line_for_each_image(run, photos, tmp_path):
    run(photos, '--format', 'jsonl', '--out-dir', tmp_path)
    found = lines(tmp_path / 'segments.jsonl')
    assert names(found) == [f'{number}.png' for number in range(7)]
    for number, record in enumerate(found):
        assert record['height'] == 40 + number
        areas = [segment['area'] for segment in record['semantic']]
        assert sum(areas) == (40 + number) * 52
    settings = json.loads((tmp_path / 'segments.settings.json').read_text())
    assert settings['classes'] == list(METAINFO['classes'])
    assert settings['category_ids'] == [7, 1, 90, 3, 4, 5]


def test_drawings_and_lines_hold_the_same_segments(run, photos, tmp_path):
    task = ('--task', 'panoptic', 'instance')
    run(photos, '--out-dir', tmp_path / 'drawn', *task, '--batch-size', 3)
    run(photos, '--out-dir', tmp_path / 'lines', *task, '--format', 'jsonl')
    drawn = json.loads((tmp_path / 'drawn' / 'segments.json').read_text())
    drawn = drawn['images']
    for record in drawn:
        files = record.pop('drawings')
        assert set(files) == {'panoptic', 'instance'}
    found = lines(tmp_path / 'lines' / 'segments.jsonl')
    assert names(found) == names(drawn)
    # A batch is computed by other kernels than its images one by one.
    assert [record.keys() for record in found] == [r.keys() for r in drawn]
    for record, other in zip(found, drawn, strict=True):
        assert record['height'] == other['height']


@pytest.mark.parametrize('own', [False, True], ids=['foreign', 'own'])
def test_a_drawing_never_replaces_an_input(run, photos, tmp_path, own):
    image = tmp_path / '0.png'
    image.write_bytes((photos / '0.png').read_bytes())
    task = ('--task', 'panoptic', '--out-dir', tmp_path)
    other = tmp_path / '0_panoptic.png'
    if own:  # an input now, whichever run made it
        run(image, *task)
    else:
        other.write_bytes((photos / '1.png').read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit, match='0_panoptic.png is an input of this'):
        run(image, other, *task)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_files_of_others_are_not_replaced(run, photos, tmp_path, video):
    files = [tmp_path / '6_semantic.png', tmp_path / 'clip_semantic.mp4']
    options = ('--task', 'semantic', '--out-dir', tmp_path)
    for file, name in zip(files, (photos, video), strict=True):
        file.write_text('of others')
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(SystemExit, match=f'{file.name} is no drawing'):
            run(name, *options)
        assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
        file.unlink()
    file = tmp_path / 'instances.json'
    file.write_text('of others')
    with pytest.raises(SystemExit, match='instances.json would be replaced'):
        run(photos, '--format', 'coco-instances', '--out-dir', tmp_path)
    assert sorted(tmp_path.iterdir()) == [video, file]
    assert file.read_text() == 'of others'


def test_a_list_gives_its_images_and_bad_ones_are_reported(
    run, photos, tmp_path, capsys
):
    (tmp_path / 'list.txt').write_text(
        f'{photos}/3.png\n\n{tmp_path}/none.png\n{photos}/1.png\n'
    )
    with pytest.raises(SystemExit) as error:
        run(
            *(tmp_path / 'list.txt', '--out-dir', tmp_path / 'out'),
            *('--format', 'jsonl'),
        )
    assert error.value.code == f'1 of 3 images failed: {tmp_path}/none.png'
    assert 'none.png does not exist' in capsys.readouterr().err
    found = lines(tmp_path / 'out' / 'segments.jsonl')
    assert names(found) == ['3.png', '1.png']


def test_a_second_run_does_what_is_left(run, photos, tmp_path):
    out = ('--format', 'jsonl', '--out-dir', tmp_path)
    run(photos / '2.png', photos / '4.png', *out)
    with pytest.raises(SystemExit, match='go on with --resume'):
        run(photos, *out)
    run(photos, *out, '--resume')
    found = names(lines(tmp_path / 'segments.jsonl'))
    assert found == [f'{i}.png' for i in (2, 4, 0, 1, 3, 5, 6)]


def test_drawings_are_made_again_unless_the_run_resumes(
    run, photos, tmp_path, capsys
):
    out = ('--task', 'semantic', '--out-dir', tmp_path)
    run(photos / '0.png', *out)
    capsys.readouterr()
    run(photos / '0.png', photos / '1.png', *out, '--resume')
    assert '0.png' not in capsys.readouterr().out
    run(photos / '0.png', *out)
    assert '0.png: semantic' in capsys.readouterr().out
    # Drawings of another task are not there yet.
    run(photos / '0.png', *out[2:], '--task', 'panoptic', '--resume')
    assert '0.png: panoptic' in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_loses_no_image_and_does_none_twice(
    run, model, photos, tmp_path
):
    paths = []
    for number in range(60):
        path = tmp_path / f'{number:02d}.png'
        os.link(photos / f'{number % 7}.png', path)
        paths.append(path)
    (tmp_path / 'list.txt').write_text('\n'.join(map(str, paths)))
    out = tmp_path / 'out'
    arguments = (
        *(tmp_path / 'list.txt', '--out-dir', out),
        *('--format', 'coco-panoptic'),
    )
    process = subprocess.Popen(
        [sys.executable, 'tools/infer.py', model, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES=''),
    )
    log = out / 'panoptic.jsonl'
    deadline = time.monotonic() + 300
    while not log.exists() or log.read_bytes().count(b'\n') < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = log.read_bytes().count(b'\n')
    assert 3 <= done < 60
    run(*arguments, '--resume')
    assert names(lines(log)) == [path.name for path in paths]
    content = json.loads((out / 'panoptic.json').read_text())
    assert len(content['images']) == len(content['annotations']) == 60
    files = {own['file_name'] for own in content['annotations']}
    assert {path.name for path in (out / 'panoptic').iterdir()} == files


def test_processes_share_the_images_and_the_last_merges(
    run, photos, tmp_path, monkeypatch
):
    out = (
        *('--format', 'coco-instances', '--out-dir', tmp_path),
        *('--launcher', 'pytorch'),
    )
    monkeypatch.setenv('WORLD_SIZE', '2')
    for rank in range(2):
        monkeypatch.setenv('RANK', str(rank))
        monkeypatch.setenv('LOCAL_RANK', str(rank))
        assert not (tmp_path / 'instances.json').exists()
        run(photos, *out)
    for rank, expected in enumerate(([0, 2, 4, 6], [1, 3, 5])):
        path = tmp_path / f'instances-{rank:05d}-of-00002.jsonl'
        assert names(lines(path)) == [f'{i}.png' for i in expected]
    content = json.loads((tmp_path / 'instances.json').read_text())
    found = sorted(own['file_name'] for own in content['images'])
    # Below the folder that was given.
    assert found == [f'{number}.png' for number in range(7)]


def test_a_launcher_has_to_say_which_process_this_is(run, photos, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(SystemExit, match="needs 'RANK' in the environment"):
        run(photos, '--launcher', 'pytorch')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--format', 'coco-panoptic', '--task', 'semantic'], 'panoptic alon'),
        (['--cfg-options', 'a=1'], '--cfg-options are of a config file'),
    ],
)
def test_options_that_contradict_each_other_are_named(
    run, photos, tmp_path, arguments, message
):
    with pytest.raises(SystemExit, match=message):
        run(photos, '--out-dir', tmp_path, *arguments)


def test_a_config_needs_its_weights(run, photos):
    config = ROOT / 'configs' / 'oneformer_r18_demo.py'
    with pytest.raises(SystemExit, match='A config needs --weights'):
        run(photos, model=config)


def test_a_video_becomes_a_video_for_each_task(run, video, tmp_path):
    out = tmp_path / 'out'
    run(video, '--task', 'panoptic', 'semantic', '--out-dir', out)
    (record,) = json.loads((out / 'segments.json').read_text())['images']
    assert record == dict(
        file=str(video),
        drawings=dict(
            panoptic='clip_panoptic.mp4', semantic='clip_semantic.mp4'
        ),
        height=48,
        width=64,
        frames=7,
    )
    assert {path.name for path in out.iterdir()} == {
        *('segments.json', 'clip_panoptic.mp4', 'clip_semantic.mp4')
    }
    for name in record['drawings'].values():
        found = cv2.VideoCapture(str(out / name))
        assert found.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
        frames = []
        while (frame := found.read())[0]:
            frames.append(frame[1])
        assert len(frames) == 7
        # Small images are enlarged, in their proportions.
        height, width = frames[0].shape[:2]
        assert width > 64 and height / width == pytest.approx(0.75, abs=0.01)


def test_frames_of_a_video_are_images_of_the_other_formats(
    run, video, tmp_path
):
    run(video, '--format', 'jsonl', '--out-dir', tmp_path / 'out')
    found = lines(tmp_path / 'out' / 'segments.jsonl')
    assert names(found) == [f'clip_{number:06d}.png' for number in range(7)]


def test_a_damaged_video_is_reported(run, tmp_path, photos):
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    out = tmp_path / 'out'
    with pytest.raises(SystemExit, match='1 of 2 images failed.*clip.mp4'):
        run(
            *(tmp_path / 'clip.mp4', photos / '0.png'),
            *('--task', 'semantic', '--out-dir', out),
        )
    (image,) = json.loads((out / 'segments.json').read_text())['images']
    assert image['file'] == str(photos / '0.png')
    assert not [p for p in out.iterdir() if p.suffix == '.mp4']


def test_a_fault_of_ours_keeps_its_traceback(
    run, photos, tmp_path, monkeypatch
):
    def fail(*args, **kwargs):
        raise ValueError('of ours')

    monkeypatch.setattr(OneFormerInferencer, 'read', fail)
    with pytest.raises(ValueError, match='of ours'):
        run(photos, '--out-dir', tmp_path)


class Pixels(np.ndarray):
    """An image that counts how many of its kind there are."""

    alive = 0
    most = 0

    @classmethod
    def make(cls):
        pixels = np.zeros((4, 4, 3), np.uint8).view(cls)
        weakref.finalize(pixels, cls.count, -1)
        cls.count(1)
        return pixels

    @classmethod
    def count(cls, change):
        cls.alive += change
        cls.most = max(cls.most, cls.alive)


class Inferencer:
    """Finds nothing in images, every tenth of which cannot be read."""

    def read(self, path):
        if path.endswith('0'):
            raise ImageError(f'{path} cannot be read')
        return Pixels.make()

    def __call__(self, images, tasks, batch_size, return_errors, score_thr):
        for image in images:
            yield SegmentationResult(
                height=4,
                width=4,
                classes=('cat',),
                thing_classes=('cat',),
                image=image,
                instances=[],
            )


def test_a_few_images_wait_whatever_their_number(tmp_path, capsys):
    args = Namespace(batch_size=1, threads=2, score_thr=0.3, format='jsonl')
    meta = dict(classes=('cat',), thing_classes=('cat',))
    output = Lines(tmp_path, meta, ['instance'], resume=False)
    progress = Progress(1000)
    run = infer.Run(Inferencer(), output, ['instance'], args, progress)
    run.segment(Item(str(number), str(number)) for number in range(1000))
    output.close()
    assert (progress.done, progress.failed) == (1000, 100)
    assert len(lines(tmp_path / 'segments.jsonl')) == 900
    assert len(run.failed) == infer.MAX_NAMES
    # Those that are read ahead, in the model, and waiting to be written.
    assert 1 <= Pixels.most <= 10
    assert Pixels.alive == 0


def test_every_nth_image_is_of_a_process(photos):
    parts = [
        [item.name for item in Sources([str(photos)], rank, 3)]
        for rank in range(3)
    ]
    assert parts == [
        ['0.png', '3.png', '6.png'],
        ['1.png', '4.png'],
        ['2.png', '5.png'],
    ]
    lengths = [len(Sources([str(photos)], rank, 3)) for rank in range(3)]
    assert lengths == [3, 2, 2]


def test_a_list_may_hold_addresses(tmp_path):
    listed = ['https://host/a.jpg?size=2', 'b c.jpg']
    (tmp_path / 'list.txt').write_text('\r\n'.join(listed))
    paths = ['http://host/c.png', str(tmp_path / 'list.txt')]
    sources = Sources(paths)
    assert [item.path for item in sources] == [paths[0], *listed]
    assert len(sources) == 3


def test_progress_gives_throughput_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr('_throughput.time.monotonic', lambda: now[0])
    progress = Progress(1_000_000)
    progress.skipped = 4000
    now[0] += 2.0
    for failed in (False, False, True, False):
        progress.step(failed)
    assert progress.line() == (
        '4,004 of 1,000,000 images, 2.00 a second, '
        '5 days, 18:19:58 left, 4,000 done before, 1 failed'
    )
