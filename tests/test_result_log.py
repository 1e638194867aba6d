"""Results of many images: constant memory, and nothing lost or mixed up."""

import gc
import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'tools'))

from _coco_files import merge  # noqa: E402
from _outputs import CocoInstances, CocoPanoptic, Lines  # noqa: E402
from _result_log import ResultLog  # noqa: E402
from _sources import Item  # noqa: E402

from projects.oneformer.errors import FileError, InputError  # noqa: E402
from projects.oneformer.results import (  # noqa: E402
    Segment,
    SegmentationResult,
)

META = dict(
    classes=('cat', 'sky'), thing_classes=('cat',), category_ids=(17, 90)
)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def log(folder, rank=0, world_size=1, resume=True, **settings):
    return ResultLog(folder, 'segments', settings, rank, world_size, resume)


def test_each_image_is_a_line_as_soon_as_it_is_done(tmp_path):
    results = log(tmp_path)
    results.add('a.jpg', dict(height=2))
    assert lines(results.path) == [dict(file='a.jpg', height=2)]
    results.add('b "c".jpg', dict(height=3))
    results.close()
    assert len(lines(tmp_path / 'segments.jsonl')) == 2


@pytest.mark.parametrize('content', ['', '{"task', '[]', 'null'])
def test_damaged_settings_are_named_and_nothing_is_written(tmp_path, content):
    log(tmp_path).close()
    path = tmp_path / 'segments.settings.json'
    path.write_text(content)
    with pytest.raises(FileError, match='settings.json is damaged'):
        log(tmp_path)
    assert path.read_text() == content


def test_what_is_done_is_known_to_a_run_that_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path('out')
    first = log(folder)
    for name in ('a.jpg', 'caf\u00e9 "1".jpg', 'b\udce9.jpg'):
        first.add(name, dict(file_of='x', nested={'file': 'c.jpg'}))
    first.close()
    second = log(folder)
    assert 'a.jpg' in second
    assert 'caf\u00e9 "1".jpg' in second
    assert 'b\udce9.jpg' in second
    assert str(tmp_path / 'a.jpg') in second  # the same file
    assert 'c.jpg' not in second
    second.close()


def test_half_a_line_of_a_killed_run_is_removed(tmp_path):
    first = log(tmp_path)
    first.add('a.jpg', {})
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole + b'{"file": "b.jpg", "height": ' + b'1' * 99)
    second = log(tmp_path)
    assert 'a.jpg' in second and 'b.jpg' not in second
    assert second.path.read_bytes() == whole
    second.close()
    # Nothing but half a line, longer than what is read at a time.
    second.path.write_bytes(b'{"file": "' + b'x' * 2**17)
    log(tmp_path).close()
    assert second.path.read_bytes() == b''


def test_results_are_added_to_on_demand_only(tmp_path):
    log(tmp_path, resume=False).close()
    for rank, world_size in ((0, 1), (1, 2)):
        with pytest.raises(InputError, match='go on with --resume'):
            log(tmp_path, rank, world_size, resume=False)


def test_processes_of_one_run_begin_one_after_the_other(tmp_path):
    for rank in range(2):
        log(tmp_path, rank, 2, resume=False).close()
    with pytest.raises(InputError, match='00001-of-00002.jsonl has results'):
        log(tmp_path, 1, 2, resume=False)


def test_results_of_another_model_are_not_mixed_in(tmp_path):
    log(tmp_path, classes=('cat', 'sky'), score_thr=0.3).close()
    log(tmp_path, classes=('cat', 'sky'), score_thr=0.3).close()
    with pytest.raises(InputError, match=r"classes = \['cat', 'sky'\]"):
        log(tmp_path, classes=('cat',), score_thr=0.3)
    with pytest.raises(
        InputError, match=r'score_thr = 0\.3, this one has 0.5'
    ):
        log(tmp_path, classes=('cat', 'sky'), score_thr=0.5)


def test_a_file_of_another_kind_is_left_alone(tmp_path):
    (tmp_path / 'segments.jsonl').write_text('{"image": 1}\n')
    with pytest.raises(InputError, match='is no result of infer.py'):
        log(tmp_path)
    assert (tmp_path / 'segments.jsonl').read_text() == '{"image": 1}\n'


def test_processes_know_what_all_of_them_have_done(tmp_path):
    shards = [log(tmp_path, rank, 2) for rank in range(2)]
    assert len({shard.path for shard in shards}) == 2
    shards[0].add('a.jpg', {})
    shards[1].add('b.jpg', {})
    assert [record['file'] for record in shards[0].records()] == [
        *('a.jpg', 'b.jpg')
    ]
    assert not shards[0].finish()
    assert shards[1].finish()
    # The next run may have another number of processes.
    alone = log(tmp_path)
    assert 'a.jpg' in alone and 'b.jpg' in alone
    for shard in (*shards, alone):
        shard.close()


def test_a_process_that_starts_again_is_not_finished(tmp_path):
    first, second = (log(tmp_path, rank, 2) for rank in range(2))
    first.finish()
    again = log(tmp_path, 0, 2)
    assert not second.finish()
    assert again.finish()


def result(path):
    panoptic = np.array([[1, 1, 0], [2, 2, 2]], np.int32)
    cat, sky = (
        Segment(
            id=label + 1,
            label=label,
            name=name,
            is_thing=name == 'cat',
            score=0.75,
            area=2 + label,
            bbox=(0, label, 2 + label, 1),
            pixels=panoptic,
        )
        for label, name in enumerate(META['classes'])
    )
    return SegmentationResult(
        height=2,
        width=3,
        image_name=path,
        panoptic=panoptic,
        segments=[cat, sky],
        instances=[cat],
        **META,
    )


def write(kind, folder, paths, tasks, **options):
    output = kind(folder, META, tasks, resume=True, **options)
    for path in paths:
        if path not in output:
            output.write(Item(path, path), result(path))
    output.close()
    return output


def test_instances_of_all_processes_are_one_file_that_pycocotools_reads(
    tmp_path,
):
    from pycocotools.coco import COCO

    tasks = ['instance']
    shards = [
        write(CocoInstances, tmp_path, paths, tasks, rank=rank, world_size=2)
        for rank, paths in enumerate((['a/x.jpg', 'b.jpg'], ['c/x.jpg']))
    ]
    assert 'the last process writes' in shards[0].finish(2)
    assert not (tmp_path / 'instances.json').exists()
    assert 'with 3 images' in shards[1].finish(1)
    coco = COCO(tmp_path / 'instances.json')
    assert [own['file_name'] for own in coco.loadImgs([1, 2, 3])] == [
        *('a/x.jpg', 'b.jpg', 'c/x.jpg')
    ]
    assert [own['name'] for own in coco.loadCats([17])] == ['cat']
    for number in (1, 2, 3):
        (own,) = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert (own['category_id'], own['area']) == (17, 2)
        assert coco.annToMask(own).tolist() == [[1, 1, 0], [0, 0, 0]]


def test_panoptic_files_are_what_was_found(tmp_path):
    output = write(
        CocoPanoptic, tmp_path, ['a/x.jpg', 'b/x.jpg'], ['panoptic']
    )
    output.finish(2)
    content = json.loads((tmp_path / 'panoptic.json').read_text())
    assert [own['id'] for own in content['categories']] == [17, 90]
    assert [own['image_id'] for own in content['annotations']] == [1, 2]
    names = {own['file_name'] for own in content['annotations']}
    # Images of the same name, PNGs of different ones.
    assert len(names) == 2
    for number, name in enumerate(sorted(names), 1):
        png = read_rgb(tmp_path / 'panoptic' / name)
        again = SegmentationResult.from_coco_panoptic(content, png, number)
        assert again.panoptic.tolist() == [[1, 1, 0], [2, 2, 2]]
        assert [own.name for own in again.segments] == ['cat', 'sky']


def read_rgb(path):
    import cv2

    return cv2.imread(str(path))[..., ::-1]


def test_a_merge_that_fails_leaves_the_file_before(tmp_path):
    target = tmp_path / 'instances.json'
    target.write_text('old')

    def records():
        yield dict(image=dict(file_name='a'), annotations=[])
        raise OSError('unreadable')

    with pytest.raises(OSError, match='unreadable'):
        merge(records, [], target)
    assert target.read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['instances.json']


def test_no_images_are_a_file_too(tmp_path):
    assert merge(lambda: iter(()), [dict(id=1)], tmp_path / 'a.json') == 0
    content = json.loads((tmp_path / 'a.json').read_text())
    assert content == dict(images=[], annotations=[], categories=[dict(id=1)])


@pytest.mark.parametrize(
    ('kind', 'tasks'),
    [
        (Lines, ['panoptic', 'instance']),
        (CocoInstances, ['instance']),
    ],
)
def test_memory_does_not_grow_with_the_images(tmp_path, kind, tasks):
    """Ten times as many images, the same memory to some kilobytes."""
    output = kind(tmp_path, META, tasks, resume=True)

    def grown(start, stop):
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(start, stop):
            path = f'{number:06d}.jpg'
            assert path not in output
            output.write(Item(path, path), result(path))
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        grown(0, 50)  # caches fill
        few, many = grown(50, 150), grown(150, 1150)
        # A kept line would be more than 200 bytes an image.
        assert many - few < 20_000
        output.close()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        output.finish(1150)
        assert tracemalloc.get_traced_memory()[1] - before < 100_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / f'{kind.kind}.jsonl').stat().st_size > 200_000
