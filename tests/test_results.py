"""The result folder of infer.py: nothing is lost, nothing is mixed up."""

import json
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

# The tools are scripts, which find each other in their folder.
sys.path.insert(0, str(Path(__file__).parents[1] / 'tools'))

from _results import ResultFolder  # noqa: E402

from projects.oneformer.errors import InputError  # noqa: E402

CLASSES = ('cat', 'sky')


def add(results, path, value, tasks=('panoptic', 'semantic')):
    drawing = np.full((2, 3, 3), value, np.uint8)
    segments = {task: [dict(area=value)] for task in tasks}
    results.add(Path(path), segments, dict.fromkeys(tasks, drawing))


def content(folder):
    return json.loads((folder / 'segments.json').read_text())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def value_of(folder, record, task='semantic'):
    """Return the value that the drawing of an image shows."""
    return int(cv2.imread(str(folder / record['drawings'][task]))[0, 0, 0])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'out'


def test_the_json_says_which_drawing_belongs_to_which_image(folder):
    results = ResultFolder(folder, CLASSES)
    for number, path in enumerate(
        ('a/x.jpg', 'b/x.jpg', 'b/X.png', 'x_2.jpg')
    ):
        add(results, path, number)
    results.close()
    images = content(folder)['images']
    assert [image['file'] for image in images] == [
        *('a/x.jpg', 'b/x.jpg', 'b/X.png', 'x_2.jpg')
    ]
    drawings = [image['drawings']['panoptic'] for image in images]
    assert drawings == [
        *('x_panoptic.png', 'x_2_panoptic.png'),
        *('X_3_panoptic.png', 'x_2_2_panoptic.png'),
    ]
    assert [value_of(folder, image) for image in images] == [0, 1, 2, 3]
    assert content(folder)['classes'] == list(CLASSES)


def test_a_second_run_adds_and_replaces_images_of_the_same_path(folder):
    first = ResultFolder(folder, CLASSES)
    add(first, 'a/x.jpg', 1)
    add(first, 'a/y.jpg', 2)
    first.close()
    second = ResultFolder(folder, CLASSES)
    add(second, 'b/y.jpg', 3)
    add(second, 'a/y.jpg', 4, tasks=['semantic'])
    second.close()
    images = {image['file']: image for image in content(folder)['images']}
    assert list(images) == ['a/x.jpg', 'a/y.jpg', 'b/y.jpg']
    assert [value_of(folder, image) for image in images.values()] == [1, 4, 3]
    assert images['a/y.jpg']['drawings'] == dict(semantic='y_semantic.png')
    assert 'panoptic' not in images['a/y.jpg']
    assert names(folder) == [
        *('segments.json', 'x_panoptic.png', 'x_semantic.png'),
        *('y_2_panoptic.png', 'y_2_semantic.png', 'y_semantic.png'),
    ]


def test_what_a_killed_run_has_done_is_in_the_next_one(folder):
    first = ResultFolder(folder, CLASSES)
    add(first, 'a/x.jpg', 1)
    first.close()
    killed = ResultFolder(folder, CLASSES)
    add(killed, 'b/x.jpg', 2)
    add(killed, 'a/x.jpg', 3)
    with killed.journal.open('a') as lines:
        lines.write('{"classes": ["cat", "s')  # in the middle of a line
    ResultFolder(folder, CLASSES)
    images = content(folder)['images']
    assert [image['file'] for image in images] == ['a/x.jpg', 'b/x.jpg']
    assert [value_of(folder, image) for image in images] == [3, 2]
    assert 'segments.partial.jsonl' not in names(folder)


def test_drawings_that_a_killed_run_did_not_note_are_removed(folder):
    killed = ResultFolder(folder, CLASSES)
    add(killed, 'a/x.jpg', 1)
    files = killed.begin(Path('a/y.jpg'), ['panoptic', 'semantic'])
    (folder / files['panoptic']).write_text('killed before the next')
    add(killed, 'a/x.jpg', 2, tasks=['semantic'])
    (folder / 'x_panoptic.png').write_text('killed before it was removed')
    (folder / 'z_panoptic.png').write_text('of others')
    add(ResultFolder(folder, CLASSES), 'a/y.jpg', 3, tasks=['semantic'])
    images = content(folder)['images']
    assert [value_of(folder, image) for image in images] == [2]
    assert names(folder) == [
        *('segments.json', 'segments.partial.jsonl', 'x_semantic.png'),
        *('y_semantic.png', 'z_panoptic.png'),
    ]


def test_drawings_of_an_image_that_failed_are_removed(folder, monkeypatch):
    results = ResultFolder(folder, CLASSES)
    add(results, 'a/x.jpg', 1)
    with monkeypatch.context() as patched:
        patched.setattr(results, 'add_files', full_disk)
        with pytest.raises(OSError, match='no space'):
            add(results, 'a/y.jpg', 2)
        with pytest.raises(OSError, match='no space'):
            add(results, 'a/x.jpg', 3)
    results.close()
    # x is listed, whichever run drew it last.
    assert names(folder) == [
        *('segments.json', 'x_panoptic.png', 'x_semantic.png')
    ]
    add(ResultFolder(folder, CLASSES), 'a/y.jpg', 4)


def full_disk(*_):
    raise OSError('no space')


def test_an_old_drawing_that_is_an_input_now_stays(folder):
    first = ResultFolder(folder, CLASSES)
    add(first, 'a/x.jpg', 1)
    first.close()
    old = folder / 'x_panoptic.png'
    results = ResultFolder(folder, CLASSES)
    endings = {'a/x.jpg': '.png', str(old): '.png'}
    results.check(endings, endings, ['semantic'])
    add(results, 'a/x.jpg', 2, tasks=['semantic'])
    results.close()
    assert names(folder) == ['segments.json', old.name, 'x_semantic.png']


def test_a_numbered_drawing_does_not_replace_a_file_of_others(folder):
    folder.mkdir()
    other = folder / 'x_2_semantic.png'
    other.write_text('of others')
    results = ResultFolder(folder, CLASSES)
    endings = {'a/x.jpg': '.png', 'b/x.jpg': '.png'}
    with pytest.raises(InputError, match='x_2_semantic.png is no drawing'):
        results.check(endings, endings, ['semantic'])
    assert names(folder) == [other.name]
    # Where the images were not known before, the run ends there.
    add(results, 'a/x.jpg', 1)
    with pytest.raises(InputError, match='x_2_semantic.png is no drawing'):
        add(results, 'b/x.jpg', 2)
    assert other.read_text() == 'of others'


def test_what_an_earlier_version_wrote_in_one_line_is_read(folder):
    folder.mkdir()
    old = dict(
        classes=list(CLASSES),
        images=[
            dict(file='a/x.jpg', drawings=dict(semantic='x_semantic.png')),
            dict(file='a/y.jpg', drawings={}),
        ],
    )
    (folder / 'segments.json').write_text(json.dumps(old))
    results = ResultFolder(folder, CLASSES)
    assert content(folder) == old
    add(results, 'b/x.jpg', 7, tasks=['semantic'])
    results.close()
    assert content(folder)['images'][:2] == old['images']
    drawings = dict(semantic='x_2_semantic.png')
    assert content(folder)['images'][2]['drawings'] == drawings


def test_a_folder_that_is_closed_takes_further_images(folder):
    results = ResultFolder(folder, CLASSES)
    results.close()
    assert content(folder)['images'] == []
    for value, path in enumerate(('x.jpg', 'y.jpg', 'x.jpg', 'z.jpg')):
        add(results, path, value)
        results.close()
    images = content(folder)['images']
    assert [image['file'] for image in images] == ['x.jpg', 'y.jpg', 'z.jpg']
    assert [image['semantic'][0]['area'] for image in images] == [2, 1, 3]


def test_segments_do_not_stay_in_memory(folder):
    """Of 200 images with segments of 20 kB each."""
    segments = dict(semantic=[dict(counts='x' * 20_000)])
    tracemalloc.start()
    try:
        results = ResultFolder(folder, CLASSES)
        folder.mkdir()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(200):
            results.add(Path(f'{number}.jpg'), segments, {})
        tracemalloc.reset_peak()
        results.close()
        again = ResultFolder(folder, CLASSES)
        assert tracemalloc.get_traced_memory()[1] - before < 800_000
    finally:
        tracemalloc.stop()
    assert len(again.records) == 200
    assert (folder / 'segments.json').stat().st_size > 4_000_000


def test_results_of_other_classes_are_not_mixed_in(folder):
    results = ResultFolder(folder, CLASSES)
    add(results, 'x.jpg', 1)
    results.close()
    with pytest.raises(ValueError, match=r"classes \['cat', 'sky'\]") as error:
        ResultFolder(folder, ('cat',))
    assert 'choose another --out-dir' in str(error.value)


@pytest.mark.parametrize(
    'text',
    [
        'no JSON',
        '[]',
        '{"images": []}',
        '{"classes": ["cat", "sky"], "images": [{"id": 1}]}',
        '{"classes": ["cat", "sky"], "images": [{"file": "x.jpg", '
        '"drawings": {"semantic": "../x.png"}}]}',
    ],
)
def test_a_file_of_another_kind_is_left_alone(folder, text):
    folder.mkdir()
    (folder / 'segments.json').write_text(text)
    with pytest.raises(ValueError, match='is no result of infer.py'):
        ResultFolder(folder, CLASSES)
    assert (folder / 'segments.json').read_text() == text


def test_a_name_that_is_no_utf_8_has_results(folder):
    path = b'caf\xe9.jpg'.decode(errors='surrogateescape')
    results = ResultFolder(folder, CLASSES)
    add(results, path, 5)
    results.close()
    (image,) = content(folder)['images']
    assert image['file'] == path
    assert (folder / image['drawings']['semantic']).is_file()
    add(ResultFolder(folder, CLASSES), path, 6)
    assert len(ResultFolder(folder, CLASSES).records) == 1
