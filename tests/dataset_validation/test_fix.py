"""The corrected copy: where it goes, what it keeps, who can read it."""

import json

import numpy as np
import pytest
from _package import errors
from dataset_validation import find_sets, write_fixed
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from projects.oneformer.datasets import (
    LoadPanopticSegments,
    OneFormerPanopticDataset,
)
from tests.dataset_validation.tiny_sets import (
    HEIGHT,
    WIDTH,
    files_of,
    rgb,
    segment,
    tag,
)


def test_the_copy_keeps_what_else_the_json_says(tiny, tmp_path):
    write_fixed(find_sets(tiny.folder), tmp_path / 'copy', tiny.folder)
    assert files_of(tmp_path / 'copy').keys() == files_of(tiny.folder).keys()
    path = tmp_path / 'copy' / 'annotations' / 'panoptic_train.json'
    assert json.loads(path.read_text()) == json.loads(tiny.json.read_text())


def test_what_cannot_be_read_is_kept_as_it_is(tiny, tmp_path):
    tiny.images[0]['width'] = None
    tiny.annotations[1]['segments_info'][0]['iscrowd'] = 'no'
    tiny.save_json()
    write_fixed(find_sets(tiny.folder), tmp_path / 'copy', tiny.folder)
    path = tmp_path / 'copy' / 'annotations' / 'panoptic_train.json'
    content = json.loads(path.read_text())
    for name in ('images', 'annotations'):
        before, after = getattr(tiny, name), content[name]
        assert sorted(map(strings, after)) == sorted(map(strings, before))
    ids = np.asarray(Image.open(path.with_suffix('') / '2.png'))
    assert ids.tolist() == rgb(tiny.ids[1]).tolist()
    assert files_of(tmp_path / 'copy').keys() == files_of(tiny.folder).keys()


def strings(entry: dict) -> str:
    """An entry as text, its segments sorted."""
    segments = sorted(entry.get('segments_info', ()), key=str)
    return str(dict(entry, segments_info=segments))


def test_a_copy_goes_neither_into_the_data_nor_over_other_files(
    tiny, tmp_path
):
    sets = find_sets(tiny.folder)
    before = files_of(tmp_path)
    with pytest.raises(ValueError, match='lies inside of the data'):
        write_fixed(sets, tiny.folder / 'fixed', tiny.folder)
    with pytest.raises(ValueError, match='train, which stay untouched'):
        write_fixed(sets, tiny.jpg().parent / 'fixed')
    with pytest.raises(errors.FileError, match='name a new or empty folder'):
        write_fixed(sets, tmp_path, tiny.folder)
    assert files_of(tmp_path) == before


def test_a_cleared_tag_leaves_the_pixels_and_a_baked_turn_turns_them(
    tiny, tmp_path
):
    stored = np.asarray(Image.open(tiny.jpg(1)))
    tag(tiny.jpg(1), 6)
    turned = np.rot90(np.asarray(Image.open(tiny.jpg(2)))).copy()
    tag(tiny.jpg(2), 6, turned)
    expected = np.rot90(np.asarray(Image.open(tiny.jpg(2))), -1)
    tagged = np.asarray(Image.open(tiny.jpg(1)))
    write_fixed(find_sets(tiny.folder), tmp_path / 'copy', tiny.folder)
    copies = [Image.open(tmp_path / f'copy/train/{n}.jpg') for n in (1, 2)]
    assert [copy.getexif().get(0x0112, 1) for copy in copies] == [1, 1]
    np.testing.assert_array_equal(np.asarray(copies[0]), tagged)
    assert tagged.shape == stored.shape
    off = np.asarray(copies[1]).astype(int) - expected
    assert np.abs(off).mean() < 6  # JPEG of noise, encoded once more


def test_the_dataset_reads_a_copy_of_what_it_refuses(tiny, tmp_path):
    Image.fromarray(rgb(tiny.ids[0])).convert('RGBA').save(tiny.png())
    tiny.first.append(segment(555, 9, 8, [0, 0, 2, 4]))  # has no pixel
    tiny.first.append(dict(tiny.first[0]))
    tiny.categories[2]['isthing'] = '0'
    tag(tiny.jpg(2), 6)
    tiny.save_json()

    def read(folder):
        dataset = OneFormerPanopticDataset(
            data_root=str(folder),
            ann_file='annotations/panoptic_train.json',
            data_prefix=dict(img='train', seg='annotations/panoptic_train'),
            pipeline=[
                LoadImageFromFile(imdecode_backend='pillow'),
                LoadPanopticSegments(),
            ],
        )
        return [dataset[index] for index in range(2)]

    with pytest.raises(ValueError):
        read(tiny.folder)
    write_fixed(find_sets(tiny.folder), tmp_path / 'copy', tiny.folder)
    for results, ids in zip(read(tmp_path / 'copy'), tiny.ids, strict=True):
        np.testing.assert_array_equal(results['gt_seg_map'], rgb(ids))
        assert results['img'].shape == (HEIGHT, WIDTH, 3)
