"""What an annotation file means, to all that read it.

A table of odd values, one row each: data sets, the metric, the converters
and the validator have to read or to refuse them alike.
"""

import copy
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.oneformer.datasets import (
    OneFormerInstanceDataset,
    OneFormerPanopticDataset,
)
from projects.oneformer.datasets.coco_layout import (
    READ,
    parse_json,
    read_coco,
    require_coco,
)
from projects.oneformer.evaluation.instance_metric import read_annotations

TOOLS = Path(__file__).parents[2] / 'tools'
HEIGHT, WIDTH = 12, 20
SQUARE = [[3, 2, 8, 2, 8, 6, 3, 6]]
META = dict(classes=('cat', 'sky'), thing_classes=('cat',))


def instances() -> dict:
    return dict(
        images=[dict(id=1, file_name='1.jpg', height=HEIGHT, width=WIDTH)],
        annotations=[
            dict(
                id=4,
                image_id=1,
                category_id=3,
                segmentation=SQUARE,
                iscrowd=0,
                area=20,
                bbox=[3, 2, 5, 4],
            )
        ],
        categories=[dict(id=3, name='cat')],
    )


def panoptic() -> dict:
    return dict(
        images=[dict(id=1, file_name='1.jpg', height=HEIGHT, width=WIDTH)],
        annotations=[
            dict(
                image_id=1,
                file_name='1.png',
                segments_info=[
                    dict(id=7, category_id=3, iscrowd=0),
                    dict(id=300, category_id=9, iscrowd=0),
                ],
            )
        ],
        categories=[
            dict(id=3, name='cat', isthing=1),
            dict(id=9, name='sky', isthing=0),
        ],
    )


def put(*path, value) -> Callable[[dict], None]:
    """A change that puts a value somewhere into a file."""

    def change(content: dict) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


IMAGE, OBJECT = ('images', 0), ('annotations', 0)
SEGMENT = ('annotations', 0, 'segments_info', 0)
NAN = float('nan')
# Kind of file, place, value, whether it has one meaning.
ODD = [
    ('instance', (*OBJECT, 'iscrowd'), '0', True),
    ('instance', (*OBJECT, 'iscrowd'), 'false', True),
    ('instance', (*OBJECT, 'iscrowd'), False, True),
    ('instance', (*OBJECT, 'iscrowd'), 0.0, True),
    ('instance', (*OBJECT, 'iscrowd'), None, True),
    ('instance', (*OBJECT, 'iscrowd'), 'no', False),
    ('instance', (*OBJECT, 'iscrowd'), 2, False),
    ('instance', (*OBJECT, 'iscrowd'), [0], False),
    ('instance', (*OBJECT, 'iscrowd'), NAN, False),
    ('instance', (*OBJECT, 'image_id'), '1', True),
    ('instance', (*OBJECT, 'image_id'), 1.0, True),
    ('instance', (*OBJECT, 'image_id'), None, False),
    ('instance', (*OBJECT, 'image_id'), [1], False),
    ('instance', (*OBJECT, 'category_id'), '3', True),
    ('instance', (*OBJECT, 'category_id'), True, False),
    ('instance', (*OBJECT, 'id'), None, True),
    ('instance', (*OBJECT, 'id'), {}, False),
    ('instance', OBJECT, 'cat', False),
    ('instance', OBJECT, None, False),
    ('instance', (*IMAGE, 'id'), '1', True),
    ('instance', (*IMAGE, 'id'), 1.5, False),
    ('instance', (*IMAGE, 'height'), 12.0, True),
    ('instance', (*IMAGE, 'width'), '20', True),
    ('instance', (*IMAGE, 'width'), 'wide', False),
    ('instance', (*IMAGE, 'width'), 0, False),
    ('instance', (*IMAGE, 'width'), None, False),
    ('instance', (*IMAGE, 'width'), NAN, False),
    ('instance', (*IMAGE, 'width'), float('inf'), False),
    ('instance', (*IMAGE, 'file_name'), 1, False),
    ('instance', (*IMAGE, 'file_name'), 'a\0b', False),
    ('instance', (*IMAGE, 'file_name'), '\ud800', False),
    ('instance', (*OBJECT, 'segments_info'), [], False),
    ('instance', ('categories', 0, 'id'), '3', True),
    ('instance', ('categories', 0, 'name'), None, False),
    ('instance', ('categories', 0, 'name'), ' ', False),
    ('instance', ('categories', 0, 'name'), 'cat\udcff', False),
    ('instance', ('images',), {}, False),
    ('instance', ('annotations',), None, False),
    ('panoptic', (*SEGMENT, 'iscrowd'), '0', True),
    ('panoptic', (*SEGMENT, 'iscrowd'), 'yes', False),
    ('panoptic', (*SEGMENT, 'id'), '7', True),
    ('panoptic', (*SEGMENT, 'id'), 7.0, True),
    ('panoptic', (*SEGMENT, 'id'), None, False),
    ('panoptic', (*SEGMENT, 'id'), {}, False),
    ('panoptic', (*SEGMENT, 'category_id'), '3', True),
    ('panoptic', (*OBJECT, 'image_id'), '1', True),
    ('panoptic', (*OBJECT, 'segments_info'), None, False),
    ('panoptic', (*OBJECT, 'segments_info'), {}, False),
    ('panoptic', (*OBJECT, 'file_name'), None, False),
    ('panoptic', (*IMAGE, 'height'), '12', True),
    ('panoptic', ('categories', 1, 'isthing'), '0', True),
    ('panoptic', ('categories', 1, 'isthing'), False, True),
    ('panoptic', ('categories', 1, 'isthing'), 'no', False),
    ('panoptic', ('categories', 1, 'isthing'), None, False),
]
PLAIN = dict(instance=instances, panoptic=panoptic)


@pytest.fixture
def folder(tmp_path) -> Path:
    """An image with its PNG of ids and its label map."""
    ids = np.full((HEIGHT, WIDTH), 300)
    ids[2:6, 3:8] = 7
    for name in ('images', 'data', 'labels'):
        (tmp_path / name).mkdir()
    coded = np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)
    Image.fromarray(coded).save(tmp_path / 'data' / '1.png')
    Image.fromarray(coded).save(tmp_path / 'images' / '1.jpg')
    labels = Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8))
    labels.save(tmp_path / 'labels' / '1.png')
    return tmp_path


def by_dataset(folder: Path, kind: str) -> list:
    kinds = dict(
        instance=OneFormerInstanceDataset, panoptic=OneFormerPanopticDataset
    )
    dataset = kinds[kind](
        data_root=str(folder),
        ann_file='data.json',
        data_prefix=dict(img='images', seg='data'),
    )
    return [
        dict(own, things=dataset.metainfo['thing_classes'], id=own.get('id'))
        for own in dataset.segments_of(0)
    ]


def by_metric(folder: Path) -> list:
    (truth,) = read_annotations(
        str(folder / 'data.json'), META, 'name'
    ).values()
    return truth


def by_converter(folder: Path, kind: str) -> dict:
    sys.path[:0] = [str(TOOLS), str(TOOLS / 'dataset_converters')]
    path, out = folder / 'data.json', folder / 'out.json'
    words = [folder / 'images', folder / 'labels', out, '--classes', 'sky']
    words += ['--instances', path, '--workers', '1']
    name = 'to_panoptic'
    if kind == 'panoptic':
        words = [path, folder / 'data', '--instances', out, '--workers', '1']
        name = 'from_panoptic'
    module = importlib.import_module(name)
    before = sys.argv
    sys.argv = [name, *map(str, words)]
    try:
        module.main()
    finally:
        sys.argv = before
    return json.loads(out.read_text())


@pytest.mark.parametrize(('kind', 'place', 'value', 'is_clear'), ODD)
def test_all_read_an_odd_value_by_its_meaning_or_refuse_it(
    folder, kind, place, value, is_clear
):
    sys.path.insert(0, str(TOOLS))
    from dataset_validation import AnnotationSet, check_sets

    plain = PLAIN[kind]()
    odd = copy.deepcopy(plain)
    put(*place, value=value)(odd)
    readers = [
        lambda: by_dataset(folder, kind),
        lambda: by_converter(folder, kind),
    ]
    if kind == 'instance':
        readers.append(lambda: by_metric(folder))
    expected = []
    for content in (plain, odd):
        (folder / 'data.json').write_text(json.dumps(content))
        for i, read in enumerate(readers):
            (folder / 'out.json').unlink(missing_ok=True)
            shutil.rmtree(folder / 'out', ignore_errors=True)
            if content is plain:
                expected.append(read())
            elif is_clear:
                assert strip(read()) == strip(expected[i])
            else:
                with pytest.raises(ValueError, match='data.json'):
                    read()
    aset = AnnotationSet(
        'odd',
        kind,
        folder / 'images',
        folder / 'data.json',
        folder / 'data' if kind == 'panoptic' else None,
    )
    report = check_sets([aset])
    assert report.exit_code() == (not is_clear)
    assert ('json-value' in {f.kind for f in report.findings}) == is_clear


def strip(content):
    """Leave out ids of images and instances, which may be texts as well."""
    if isinstance(content, list):
        return [strip(entry) for entry in content]
    if not isinstance(content, dict):
        return content
    return {
        key: strip(value)
        for key, value in content.items()
        if key not in ('id', 'image_id', 'category_id')
        or not isinstance(value, str | None)
    } | (dict(images=None) if 'images' in content else {})


def test_values_of_coco_are_neither_changed_nor_noted():
    for kind, content in PLAIN.items():
        before = copy.deepcopy(content())
        read = read_coco(before, kind)
        assert read.remarks == []
        assert read.images == before['images']
        assert read.annotations == before['annotations']
        assert read.categories == before['categories']
        assert before == content()


def test_all_that_is_odd_is_noted_at_once_and_the_content_is_not_changed():
    content = instances()
    content['images'][0]['width'] = '20'
    content['annotations'].append(dict(content['annotations'][0], id=5))
    content['annotations'][0]['iscrowd'] = 'no'
    content['annotations'][1]['iscrowd'] = '1'
    before = copy.deepcopy(content)
    read = read_coco(content, 'instance')
    assert content == before
    assert [(r.kind, r.part, r.index) for r in read.remarks] == [
        (READ, 'images', 0),
        ('iscrowd', 'annotations', 0),
        (READ, 'annotations', 1),
    ]
    assert [own['iscrowd'] for own in read.annotations] == [1]


def test_a_refused_entry_is_named_with_file_id_and_remedy():
    content = instances()
    content['annotations'][0]['iscrowd'] = 'no'
    with pytest.raises(ValueError) as caught:
        require_coco(content, 'instance', 'a.json')
    assert str(caught.value) == (
        "a.json, entry 0 of annotations (id 4): iscrowd is 'no', expected 0 "
        'or 1. Mend or remove the entry.'
    )


def test_values_that_were_read_are_told_in_one_warning():
    content = instances()
    content['images'][0].update(width='20', height=12.0)
    _, warning = require_coco(content, 'instance', 'a.json')
    assert warning.startswith('1 entries of a.json have values of another typ')
    assert "height 12.0 is read as 12, width '20' is read as 20" in warning


def test_a_byte_order_mark_is_no_part_of_a_json():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == dict(a=1)


def test_the_tools_read_it_without_loading_the_package():
    code = (
        'import sys; sys.path.insert(0, "tools"); import _package; '
        'print(_package.coco_layout.READ, "torch" in sys.modules)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=TOOLS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [READ, 'False']
