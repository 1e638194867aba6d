"""The checks of a data set: every violation, made by hand in a tiny one."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from projects.oneformer.datasets import (
    LoadPanopticSegments,
    OneFormerPanopticDataset,
)
from projects.oneformer.datasets.validation import (
    CHECKS,
    AnnotationSet,
    check_sets,
    find_sets,
    sets_of_config,
    write_fixed,
)
from projects.oneformer.datasets.validation.instances import decode_counts

ROOT = Path(__file__).parent.parent
TOOL = 'tools/misc/validate_dataset.py'
HEIGHT, WIDTH = 12, 20
CATEGORIES = [
    dict(id=3, name='cat', isthing=1),
    dict(id=5, name='dog', isthing=1),
    dict(id=9, name='sky', isthing=0),
]


class TinySet:
    """Two pictures, each with a cat, a dog and sky; written by ``save``.

    Ids of the first picture are 1000 (cat), 70000 (dog) and 7 (sky).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images, self.annotations, self.ids = [], [], []
        self.categories = [dict(category) for category in CATEGORIES]
        self.photo = np.random.default_rng(0).integers(
            0, 256, (HEIGHT, WIDTH, 3), np.uint8
        )
        for number, (cat, dog, sky) in ((1, (1000, 70000, 7)), (2, (1, 2, 3))):
            ids = np.full((HEIGHT, WIDTH), sky)
            ids[2:6, 3:8] = cat
            ids[6:9, 10:14] = dog
            ids[11] = 0
            self.images.append(
                dict(
                    id=number,
                    file_name=f'{number}.jpg',
                    height=HEIGHT,
                    width=WIDTH,
                )
            )
            self.annotations.append(
                dict(
                    image_id=number,
                    file_name=f'{number}.png',
                    segments_info=[
                        segment(cat, 3, 20, [3, 2, 5, 4]),
                        segment(dog, 5, 12, [10, 6, 4, 3]),
                        segment(sky, 9, 11 * WIDTH - 32, [0, 0, WIDTH, 11]),
                    ],
                )
            )
            self.ids.append(ids)

    @property
    def json(self) -> Path:
        return self.folder / 'annotations' / 'panoptic_train.json'

    @property
    def first(self) -> list[dict]:
        return self.annotations[0]['segments_info']

    def png(self, number: int = 1) -> Path:
        return self.json.with_suffix('') / f'{number}.png'

    def jpg(self, number: int = 1) -> Path:
        return self.folder / 'train' / f'{number}.jpg'

    def save(self) -> None:
        self.png().parent.mkdir(parents=True)
        self.jpg().parent.mkdir()
        self.save_json()
        for number, ids in enumerate(self.ids, 1):
            Image.fromarray(self.photo).save(self.jpg(number), quality=90)
            Image.fromarray(rgb(ids)).save(self.png(number))

    def save_json(self) -> None:
        content = dict(
            info='kept',
            images=self.images,
            annotations=self.annotations,
            categories=self.categories,
        )
        self.json.write_text(json.dumps(content))

    def report(self, **settings):
        return check_sets(find_sets(self.folder, **settings))


def segment(number, category, area, bbox):
    return dict(
        id=number, category_id=category, area=area, bbox=bbox, iscrowd=0
    )


def rgb(ids):
    codes = [ids & 255, ids >> 8 & 255, ids >> 16]
    return np.stack(codes, axis=-1).astype(np.uint8)


def kinds(report):
    return {finding.kind for finding in report.findings}


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def tool(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def tiny(tmp_path):
    tiny = TinySet(tmp_path / 'data')
    tiny.save()
    return tiny


def test_a_clean_set_has_no_findings(tiny):
    report = tiny.report()
    assert report.findings == []
    assert report.exit_code(strict=True) == 0
    assert report.summaries[0]['kind'] == 'panoptic'
    text = '2 pictures, 6 masks, at most 3 in a picture, 3 classes in use'
    assert text in report.text()


# ------------------------------------------------ violations, one at a time
# Each spoils a saved set. It is found with this kind, in this file, and with
# this id; ``mends`` tells whether the copy is free of it.


def spoil_missing_picture(tiny):
    tiny.jpg().unlink()


def spoil_truncated_picture(tiny):
    tiny.jpg().write_bytes(tiny.jpg().read_bytes()[:-200])


def spoil_empty_picture_file(tiny):
    tiny.jpg().write_bytes(b'')


def spoil_picture_size(tiny):
    Image.fromarray(tiny.photo[:-1]).save(tiny.jpg())


def spoil_json_size(tiny):
    tiny.images[0]['height'] = 99


def spoil_deep_picture(tiny):
    tiny.images[0]['file_name'] = '1.tif'
    tiny.jpg().unlink()
    deep = np.full((HEIGHT, WIDTH), 300, np.uint16)
    Image.fromarray(deep).save(tiny.jpg().with_suffix('.tif'))


def tag(path, orientation, pixels=None):
    """Give a picture an EXIF orientation."""
    image = Image.open(path) if pixels is None else Image.fromarray(pixels)
    image.load()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


def spoil_turn_away(tiny):
    tag(tiny.jpg(), 6)


def spoil_turn_to_fit(tiny):
    tag(tiny.jpg(), 6, np.rot90(tiny.photo).copy())


def spoil_turn_upside_down(tiny):
    tag(tiny.jpg(), 3)


def spoil_missing_png(tiny):
    tiny.png().unlink()


def spoil_truncated_png(tiny):
    tiny.png().write_bytes(tiny.png().read_bytes()[:60])


def spoil_jpeg_named_png(tiny):
    Image.fromarray(rgb(tiny.ids[0])).save(tiny.png(), format='JPEG')


def spoil_png_size(tiny):
    Image.fromarray(rgb(tiny.ids[0][:, :-1])).save(tiny.png())


def spoil_png_grey(tiny):
    Image.fromarray(tiny.ids[1].astype(np.uint8)).save(tiny.png(2))


def spoil_png_16_bit_grey(tiny):
    tiny.ids[0][tiny.ids[0] == 70000] = 60000
    tiny.first[1]['id'] = 60000
    Image.fromarray(tiny.ids[0].astype(np.uint16)).save(tiny.png())


def spoil_png_16_bit_rgb(tiny):
    import cv2

    deep = rgb(tiny.ids[0])[..., ::-1].astype(np.uint16) * 257
    cv2.imwrite(str(tiny.png()), deep)


def spoil_png_rgba(tiny):
    Image.fromarray(rgb(tiny.ids[0])).convert('RGBA').save(tiny.png())


def spoil_png_bgr(tiny):
    Image.fromarray(rgb(tiny.ids[0])[..., ::-1].copy()).save(tiny.png())


def spoil_png_palette_of_indices(tiny):
    image = Image.fromarray(tiny.ids[1].astype(np.uint8))
    image.putpalette([90] * 3 + [100, 200, 50] * 255)
    image.save(tiny.png(2))


def spoil_png_palette_of_colors(tiny):
    values, places = np.unique(tiny.ids[0], return_inverse=True)
    places = 9 + places.reshape(tiny.ids[0].shape)
    image = Image.fromarray(places.astype(np.uint8))
    image.putpalette([255] * 27 + rgb(values).ravel().tolist())
    image.save(tiny.png())


def spoil_unlisted_picture(tiny):
    Image.fromarray(tiny.photo).save(tiny.jpg(77))


def spoil_unlisted_png(tiny):
    Image.fromarray(rgb(tiny.ids[0])).save(tiny.png(77))


def spoil_image_entry(tiny):
    del tiny.images[0]['height']


def spoil_segment_entry(tiny):
    del tiny.first[1]['category_id']


def spoil_image_ids(tiny):
    tiny.images.append(dict(tiny.images[0]))


def spoil_file_names(tiny):
    tiny.images.append(dict(tiny.images[0], id=50))


def spoil_png_names(tiny):
    tiny.annotations[1]['file_name'] = '1.png'


def spoil_annotation_without_image(tiny):
    tiny.annotations.append(dict(tiny.annotations[0], image_id='1'))
    tiny.annotations[-1]['file_name'] = '3.png'


def spoil_annotated_twice(tiny):
    tiny.annotations.append(dict(tiny.annotations[0], file_name='3.png'))


def spoil_no_annotation(tiny):
    del tiny.annotations[0]


def spoil_no_segment(tiny):
    tiny.annotations[0]['segments_info'] = []
    Image.new('RGB', (WIDTH, HEIGHT)).save(tiny.png())


def spoil_category_ids(tiny):
    tiny.categories[0]['id'] = 5


def spoil_category_names(tiny):
    tiny.categories[0]['name'] = 'dog'


def spoil_isthing(tiny):
    del tiny.categories[2]['isthing']


def spoil_isthing_text(tiny):
    tiny.categories[2]['isthing'] = '0'


def spoil_category_zero(tiny):
    tiny.categories[0]['id'] = 0
    for annotation in tiny.annotations:
        annotation['segments_info'][0]['category_id'] = 0


def spoil_class_use(tiny):
    tiny.categories.append(dict(id=44, name='bird', isthing=1))


def spoil_id_zero(tiny):
    # Void, 20 pixels, is meant to be a segment.
    tiny.first.append(segment(0, 9, WIDTH, [0, 11, WIDTH, 1]))


def spoil_large_id(tiny):
    tiny.first.append(segment(256**3, 9, 1, [0, 0, 1, 1]))


def spoil_text_id(tiny):
    tiny.first[0]['id'] = '1000'


def spoil_segment_ids(tiny):
    tiny.first.append(dict(tiny.first[0]))


def spoil_category(tiny):
    tiny.first[0]['category_id'] = 666


def spoil_listed_only(tiny):
    tiny.first.append(segment(555, 9, 8, [0, 0, 2, 4]))


def spoil_png_only(tiny):
    tiny.ids[0][:2] = 444
    Image.fromarray(rgb(tiny.ids[0])).save(tiny.png())


def spoil_crowd(tiny):
    tiny.first[0]['iscrowd'] = 'no'


def spoil_area(tiny):
    tiny.first[0]['area'] = 21


def spoil_box(tiny):
    tiny.first[0]['bbox'] = [3, 2, 8, 6]  # x1, y1, x2, y2


def spoil_box_form(tiny):
    tiny.first[0]['bbox'] = [3, 2, None, 6]


VIOLATIONS = [
    # spoil, kind, file, id, mends
    (spoil_missing_picture, 'image-missing', '1.jpg', None, True),
    (spoil_truncated_picture, 'image-unreadable', '1.jpg', None, True),
    (spoil_empty_picture_file, 'image-unreadable', '1.jpg', None, True),
    (spoil_picture_size, 'image-size', '1.jpg', None, False),
    (spoil_json_size, 'image-size', '1.jpg', None, True),
    (spoil_json_size, 'png-size', '1.png', None, True),
    (spoil_deep_picture, 'image-depth', '1.tif', None, False),
    (spoil_turn_away, 'exif-rotation', '1.jpg', None, True),
    (spoil_turn_to_fit, 'exif-turned', '1.jpg', None, True),
    (spoil_turn_upside_down, 'exif-turned', '1.jpg', None, False),
    (spoil_missing_png, 'png-missing', '1.png', None, True),
    (spoil_truncated_png, 'png-unreadable', '1.png', None, True),
    (spoil_jpeg_named_png, 'png-unreadable', '1.png', None, True),
    (spoil_png_size, 'png-size', '1.png', None, False),
    (spoil_png_grey, 'png-mode', '2.png', None, True),
    (spoil_png_16_bit_grey, 'png-mode', '1.png', None, True),
    (spoil_png_16_bit_rgb, 'png-mode', '1.png', None, True),
    (spoil_png_rgba, 'png-mode', '1.png', None, True),
    (spoil_png_bgr, 'png-mode', '1.png', None, True),
    (spoil_png_palette_of_indices, 'png-mode', '2.png', None, True),
    (spoil_png_palette_of_colors, 'png-palette', '1.png', None, True),
    (spoil_unlisted_picture, 'unlisted-image', '77.jpg', None, True),
    (spoil_unlisted_png, 'unlisted-png', '77.png', None, True),
    (spoil_image_entry, 'json-layout', '.json', 0, False),
    (spoil_segment_entry, 'json-layout', '.json', 1, False),
    (spoil_image_ids, 'duplicate-image-id', '.json', 1, True),
    (spoil_file_names, 'duplicate-file', '.json', '1.jpg', False),
    (spoil_png_names, 'shared-png', '.json', '1.png', False),
    (spoil_annotation_without_image, 'unknown-image', '.json', '1', True),
    (spoil_annotated_twice, 'several-annotations', '.json', 1, False),
    (spoil_no_annotation, 'no-annotation', '.json', 1, False),
    (spoil_no_segment, 'empty-picture', '.json', 1, False),
    (spoil_category_ids, 'duplicate-category-id', '.json', 5, False),
    (spoil_category_names, 'duplicate-category-name', '.json', 'dog', False),
    (spoil_isthing, 'isthing-missing', '.json', 9, False),
    (spoil_isthing_text, 'isthing-missing', '.json', 9, True),
    (spoil_category_zero, 'category-zero', '.json', 0, False),
    (spoil_class_use, 'unused-class', '.json', 44, False),
    (spoil_id_zero, 'id-zero', '.json', 0, True),
    (spoil_large_id, 'bad-id', '.json', 256**3, True),
    (spoil_text_id, 'bad-id', '.json', '1000', False),
    (spoil_segment_ids, 'duplicate-segment-id', '.json', 1000, True),
    (spoil_category, 'unknown-category', '.json', 1000, False),
    (spoil_listed_only, 'missing-id', '1.png', 555, True),
    (spoil_png_only, 'unlisted-id', '1.png', 444, True),
    (spoil_crowd, 'iscrowd', '.json', 1000, False),
    (spoil_area, 'area', '.json', 1000, True),
    (spoil_box, 'bbox', '.json', 1000, True),
    (spoil_box_form, 'bbox', '.json', 1000, True),
]


@pytest.mark.parametrize(
    'spoil, kind, file, number, mends',
    VIOLATIONS,
    ids=[f'{v[0].__name__[6:]}-{v[1]}' for v in VIOLATIONS],
)
def test_a_violation_is_found_and_what_is_clear_is_mended(
    tiny, tmp_path, spoil, kind, file, number, mends
):
    spoil(tiny)
    tiny.save_json()
    before = files_of(tiny.folder)
    sets = find_sets(tiny.folder)
    report = check_sets(sets)
    found = [f for f in report.findings if f.kind == kind]
    assert [(f.file.endswith(file), f.id) for f in found] == [(True, number)]
    assert report.exit_code(strict=True) == (found[0].level != 'info')
    errors = any(finding.level == 'error' for finding in report.findings)
    assert report.exit_code() == errors

    moved, notes = write_fixed(sets, tmp_path / 'copy', tiny.folder)
    left = check_sets(moved)
    assert files_of(tiny.folder) == before
    if mends:
        assert notes
        assert left.findings == []
    else:
        assert kind in kinds(left)


def test_all_violations_of_a_set_are_found_at_once(tiny):
    spoil_area(tiny)
    spoil_listed_only(tiny)
    spoil_missing_picture(tiny)
    tiny.annotations[1]['segments_info'][2]['area'] = 1
    tiny.save_json()
    findings = [(f.kind, f.id) for f in tiny.report().findings]
    assert sorted(findings, key=str) == [
        ('area', 1000),
        ('area', 3),
        ('image-missing', None),
        ('missing-id', 555),
    ]


@pytest.mark.parametrize(
    'spoil',
    [
        spoil_png_grey,
        spoil_png_16_bit_grey,
        spoil_png_16_bit_rgb,
        spoil_png_rgba,
        spoil_png_bgr,
        spoil_png_palette_of_indices,
        spoil_png_palette_of_colors,
    ],
)
def test_a_converted_png_has_the_ids_it_was_drawn_with(tiny, tmp_path, spoil):
    spoil(tiny)
    tiny.save_json()
    write_fixed(find_sets(tiny.folder), tmp_path / 'copy')
    for number, ids in enumerate(tiny.ids, 1):
        path = tmp_path / 'copy' / 'annotations/panoptic_train'
        image = Image.open(path / f'{number}.png')
        assert image.mode == 'RGB'
        np.testing.assert_array_equal(np.asarray(image), rgb(ids))


def test_a_png_of_another_picture_is_left_as_it_is(tiny, tmp_path):
    Image.fromarray(rgb(tiny.ids[1])).save(tiny.png(1))
    write_fixed(find_sets(tiny.folder), tmp_path / 'copy', tiny.folder)
    copy = tmp_path / 'copy' / 'annotations/panoptic_train/1.png'
    assert copy.read_bytes() == tiny.png(1).read_bytes()
    content = json.loads((copy.parents[1] / 'panoptic_train.json').read_text())
    assert content['annotations'][0]['segments_info'] == tiny.first


def test_a_palette_that_could_be_read_both_ways_is_left_as_it_is(
    tiny, tmp_path
):
    image = Image.fromarray(tiny.ids[1].astype(np.uint8))
    # Index 1 has the colour of id 2, and the other way round.
    image.putpalette([0, 0, 0, 2, 0, 0, 1, 0, 0, 3, 0, 0])
    image.save(tiny.png(2))
    sets = find_sets(tiny.folder)
    assert 'png-mode' in kinds(check_sets(sets))
    moved, notes = write_fixed(sets, tmp_path / 'copy', tiny.folder)
    assert notes == []
    assert 'png-mode' in kinds(check_sets(moved))


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


def test_things_are_told_by_name_by_another_file_or_by_several_in_a_picture(
    tiny, tmp_path
):
    for category in tiny.categories:
        del category['isthing']
    tiny.ids[0][0, :2] = 8
    tiny.first.append(segment(8, 5, 2, [0, 0, 2, 1]))
    tiny.save_json()

    def flags(name, *arguments):
        write_fixed(
            find_sets(tiny.folder), tmp_path / name, tiny.folder, *arguments
        )
        path = tmp_path / name / 'annotations' / 'panoptic_train.json'
        categories = json.loads(path.read_text())['categories']
        return [category.get('isthing') for category in categories]

    assert flags('segments') == [None, 1, None]  # two dogs
    assert flags('names', ['cat', 'dog']) == [1, 1, 0]
    other = dict(images=[], annotations=[], categories=CATEGORIES)
    (tiny.folder / 'panoptic_val.json').write_text(json.dumps(other))
    assert flags('file') == [1, 1, 0]


def test_the_copy_keeps_what_else_the_json_says(tiny, tmp_path):
    write_fixed(find_sets(tiny.folder), tmp_path / 'copy', tiny.folder)
    assert files_of(tmp_path / 'copy').keys() == files_of(tiny.folder).keys()
    path = tmp_path / 'copy' / 'annotations' / 'panoptic_train.json'
    assert json.loads(path.read_text()) == json.loads(tiny.json.read_text())


def test_a_copy_goes_neither_into_the_data_nor_over_other_files(
    tiny, tmp_path
):
    sets = find_sets(tiny.folder)
    before = files_of(tmp_path)
    with pytest.raises(ValueError, match='lies inside of the data'):
        write_fixed(sets, tiny.folder / 'fixed', tiny.folder)
    with pytest.raises(ValueError, match='train, which stay untouched'):
        write_fixed(sets, tiny.jpg().parent / 'fixed')
    with pytest.raises(FileExistsError, match='name a new or empty folder'):
        write_fixed(sets, tmp_path, tiny.folder)
    assert files_of(tmp_path) == before


def test_more_segments_than_queries_or_text_slots_are_reported(tiny):
    findings = tiny.report(num_queries=2).findings
    assert [(f.kind, f.id) for f in findings] == [
        ('too-many-segments', 1),
        ('too-many-segments', 2),
    ]
    assert '3 segments, the model 2 queries' in findings[0].message
    tiny.first[0]['iscrowd'] = 1  # never learnt
    tiny.save_json()
    findings = tiny.report(num_queries=3, num_texts=2).findings
    assert [(f.kind, f.id) for f in findings] == [('too-many-texts', 2)]
    assert tiny.report(num_queries=3, num_texts=3).findings == []


def test_a_broken_json_is_an_error(tiny):
    tiny.json.write_text(tiny.json.read_text()[:-20])
    report = tiny.report()
    assert [
        (f.kind, f.file) for f in report.findings if f.level == 'error'
    ] == [('json-unreadable', str(tiny.json))]


def test_a_set_without_any_picture_to_use_is_an_error(tiny):
    tiny.annotations.clear()
    tiny.save_json()
    assert 'empty-set' in kinds(tiny.report())
    tiny.images.clear()
    tiny.save_json()
    (found,) = find_sets(tiny.folder)
    assert 'empty-set' in kinds(check_sets([found]))


def test_the_dataset_reads_a_copy_of_what_it_refuses(tiny, tmp_path):
    spoil_png_rgba(tiny)
    spoil_listed_only(tiny)
    spoil_segment_ids(tiny)
    spoil_isthing_text(tiny)
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


def test_pngs_and_pictures_may_lie_in_one_folder(tiny):
    for path in tiny.png().parent.iterdir():
        path.rename(tiny.jpg().parent / path.name)
    tiny.png().parent.rmdir()
    (found,) = find_sets(tiny.folder)
    assert found.seg_dir == found.image_dir == tiny.jpg().parent
    assert check_sets([found]).findings == []


def test_a_folder_without_annotations_says_what_was_expected(tmp_path):
    (tmp_path / 'settings.json').write_text('{"a": 1}')
    with pytest.raises(ValueError, match='COCO panoptic or COCO instances'):
        find_sets(tmp_path)


# ------------------------------------------------------------------- config

CONFIG = """
model = dict(
    metainfo=dict(classes=('cat', 'dog', 'sky')),
    panoptic_head=dict(num_queries=5),
    train_cfg=dict(text_mapper=dict(num_context=3)),
)
custom_imports = dict(imports=['no.such.module'])
dataset = dict(
    type='OneFormerPanopticDataset',
    data_root={root!r},
    ann_file='annotations/panoptic_train.json',
    data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
    metainfo={metainfo},
)
train_dataloader = dict(
    dataset=dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(type='ConcatDataset', datasets=[dataset, dataset]),
    )
)
val_dataloader = dict(dataset=dict(type='FancyDataset'))
"""


def check_config(tiny, **metainfo):
    path = tiny.folder.parent / 'config.py'
    path.write_text(CONFIG.format(root=str(tiny.folder), metainfo=metainfo))
    sets, remarks = sets_of_config(str(path))
    return check_sets(sets), remarks


def test_a_config_tells_datasets_inside_of_wrappers_and_the_model(tiny):
    report, remarks = check_config(tiny)
    assert len(report.summaries) == 1
    assert [(f.kind, f.id) for f in report.findings] == [
        ('too-many-texts', 1),
        ('too-many-texts', 2),
    ]
    assert 'type FancyDataset cannot be checked' in remarks[0]


def test_a_config_that_contradicts_the_json_is_reported(tiny):
    report, _ = check_config(
        tiny, classes=('dog', 'bird', 'dog'), thing_classes=('elk',)
    )
    found = [(f.kind, f.id) for f in report.findings]
    assert found.count(('metainfo', 'bird')) == 1  # no category
    assert found.count(('metainfo', 'dog')) == 1  # twice
    assert found.count(('metainfo', 'elk')) == 1  # thing, but no class
    assert found.count(('metainfo', None)) == 1  # the model has others
    assert ('isthing-conflict', 5) in found
    left_out = {i for kind, i in found if kind == 'category-left-out'}
    assert left_out == {3, 9}


def test_things_of_the_config_stand_in_for_those_of_the_json(tiny, tmp_path):
    spoil_isthing(tiny)
    tiny.save_json()
    classes = ('cat', 'dog', 'sky')
    report, _ = check_config(
        tiny, classes=classes, thing_classes=('cat', 'dog')
    )
    levels = {f.level for f in report.findings if f.kind == 'isthing-missing'}
    assert levels == {'info'}
    assert report.exit_code() == 0


def test_a_class_name_in_place_of_a_list_is_refused(tiny):
    with pytest.raises(ValueError, match=r"for one class write \['cat'\]"):
        check_config(tiny, classes='cat')


def test_a_config_tells_each_kind_of_its_datasets():
    configs = Path(__file__).parents[1] / 'configs'
    sets, remarks = sets_of_config(
        str(configs / 'oneformer_swin-t_own-mixed.py')
    )
    assert remarks == []
    panoptic, cells, tissue, validation = sets
    assert [aset.kind for aset in sets] == [
        *('panoptic', 'instance', 'semantic', 'panoptic'),
    ]
    assert panoptic.seg_dir == Path('data/mine/annotations/panoptic_train')
    assert panoptic.optional_classes == ('cell', 'tissue')
    assert validation.optional_classes == ()
    assert cells.ann_file == Path('data/cells/instances.json')
    assert cells.seg_dir is None
    assert tissue.image_dir == Path('data/tissue/images')
    assert tissue.seg_dir == Path('data/tissue/labels')
    # Its PNGs know one class, 0, and 255.
    assert (tissue.num_classes, tissue.ignore_index) == (1, 255)
    assert tissue.label_name == ('', '')
    assert {aset.num_queries for aset in sets} == {150, None}

    (train, _), _ = sets_of_config(
        str(configs / 'oneformer_swin-t_own-instance.py')
    )
    # Neither thing may lack, and there is no stuff.
    assert train.optional_classes == ()


def test_classes_that_the_annotation_need_not_know_may_lack(tiny):
    (aset,) = find_sets(tiny.folder)
    classes = ('cat', 'dog', 'sky', 'unicorn')
    lacking = replace(aset, classes=classes)
    kinds = [(f.kind, f.id) for f in check_sets([lacking]).findings]
    assert ('metainfo', 'unicorn') in kinds
    lenient = replace(lacking, optional_classes=('unicorn',))
    kinds = [(f.kind, f.id) for f in check_sets([lenient]).findings]
    assert ('metainfo', 'unicorn') not in kinds


# ---------------------------------------------------------------- instances


class Objects:
    """One picture with two objects, as COCO instances."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.annotations = [
            self.square(1, 3, 2, 1, 6),
            self.square(2, 5, 10, 3, 6),
        ]

    def square(self, number, category, x, y, side):
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        return dict(
            id=number,
            image_id=8,
            category_id=category,
            segmentation=[corners],
            area=side * side,
            bbox=[x, y, side, side],
            iscrowd=0,
        )

    def save(self):
        (self.folder / 'photos').mkdir(parents=True, exist_ok=True)
        picture = Image.new('RGB', (WIDTH, HEIGHT), 'green')
        picture.save(self.folder / 'photos' / 'a.jpg')
        image = dict(id=8, file_name='a.jpg', height=HEIGHT, width=WIDTH)
        content = dict(
            images=[image],
            annotations=self.annotations,
            categories=CATEGORIES[:2],
        )
        (self.folder / 'labels.json').write_text(json.dumps(content))
        return find_sets(self.folder)


@pytest.fixture
def objects(tmp_path):
    return Objects(tmp_path / 'objects')


def test_clean_instances_have_no_findings(objects):
    (found,) = objects.save()
    assert (found.kind, found.image_dir.name) == ('instance', 'photos')
    assert check_sets([found]).findings == []


RUNS = dict(size=[HEIGHT, WIDTH], counts=[100, 30, HEIGHT * WIDTH - 130])
OBJECT_CHANGES = [
    (dict(category_id=77), 'unknown-category', False),
    (dict(image_id=99), 'unknown-image', True),
    (dict(id=1), 'duplicate-annotation-id', True),
    (dict(iscrowd=2), 'iscrowd', False),
    (dict(iscrowd=1), 'crowd-polygon', False),
    (dict(segmentation=[]), 'mask-invalid', False),
    (dict(segmentation='abc'), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4]]), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4, 5, 1e9]]), 'mask-invalid', False),
    (dict(segmentation=[[1, 2, 3, 4, None, 6]]), 'mask-invalid', False),
    (dict(segmentation=dict(RUNS, size=[9, 9])), 'mask-invalid', False),
    (dict(segmentation=dict(RUNS, counts=[5])), 'mask-invalid', False),
    (dict(segmentation=dict(RUNS, counts='@@')), 'mask-invalid', False),
    (
        dict(segmentation=dict(RUNS, counts=[HEIGHT * WIDTH])),
        'mask-empty',
        True,
    ),
    (
        dict(segmentation=[[10, 3, 35, 3, 35, 9, 10, 9]]),
        'mask-outside',
        False,
    ),
    (dict(area=500), 'area', True),
    (dict(bbox=[10, 3, 16, 9]), 'bbox', True),
    (dict(segmentation=[[5, 1, 11, 1, 11, 7, 5, 7]]), 'overlap', False),
]


@pytest.mark.parametrize('change, kind, mends', OBJECT_CHANGES)
def test_a_violation_of_an_object_is_found(
    objects, tmp_path, change, kind, mends
):
    objects.annotations[1].update(change)
    sets = objects.save()
    before = files_of(objects.folder)
    found = [f for f in check_sets(sets).findings if f.kind == kind]
    numbers = {'unknown-image': 99, 'duplicate-annotation-id': 1}
    assert [f.id for f in found] == [numbers.get(kind, 2)]
    assert found[0].file.endswith('labels.json')
    moved, _ = write_fixed(sets, tmp_path / 'copy', objects.folder)
    assert (kind not in kinds(check_sets(moved))) == mends
    assert files_of(objects.folder) == before


def test_an_object_annotated_twice_is_found(objects):
    objects.annotations[1] = dict(objects.annotations[0], id=2)
    report = check_sets(objects.save())
    found = [(f.kind, f.id) for f in report.findings if f.level == 'warning']
    assert found == [('duplicate-mask', 2)]


def test_objects_that_only_touch_do_not_overlap(objects):
    objects.annotations[1] = objects.square(2, 5, 8, 1, 6)
    assert check_sets(objects.save()).findings == []


def test_the_text_of_run_lengths_is_decoded():
    from pycocotools import mask as coco_mask

    mask = np.random.default_rng(1).random((40, 300)) > 0.4
    mask[:, 50:200] = 0
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    lengths = decode_counts(rle['counts'].decode())
    values = np.arange(len(lengths)) % 2
    np.testing.assert_array_equal(
        np.repeat(values, lengths), mask.ravel(order='F')
    )


# ----------------------------------------------------------------- semantic


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / 'maps'
    for name in ('images', 'labels'):
        (folder / name).mkdir(parents=True)
    for number in range(2):
        rng = np.random.default_rng(number)
        photo = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(photo).save(folder / 'images' / f'{number}.jpg')
        classes = np.repeat([[0, 1, 2, 255]], HEIGHT, 0).repeat(5, 1)
        label = Image.fromarray(classes.astype(np.uint8))
        label.save(folder / 'labels' / f'{number}.png')
    return folder


def test_clean_maps_of_classes_have_no_findings(maps):
    (found,) = find_sets(maps, num_classes=3)
    assert (found.kind, found.seg_dir.name) == ('semantic', 'labels')
    assert check_sets([found]).findings == []


def test_maps_may_have_a_palette_and_names_with_an_ending(maps):
    for path in sorted((maps / 'labels').iterdir()):
        image = Image.open(path)
        image.putpalette(list(range(256)) * 3)
        image.save(path.with_name(f'{path.stem}_mask.png'))
        path.unlink()
    (found,) = find_sets(maps, num_classes=3)
    assert found.label_name == ('', '_mask')
    assert check_sets([found]).findings == []


def map_values(path, values):
    Image.fromarray(values).save(path)


MAP_CHANGES = {
    'png-value': lambda label, _: map_values(
        label, np.full((HEIGHT, WIDTH), 3, np.uint8)
    ),
    'empty-picture': lambda label, _: map_values(
        label, np.full((HEIGHT, WIDTH), 255, np.uint8)
    ),
    'image-size': lambda label, _: map_values(
        label, np.ones((HEIGHT, 9), np.uint8)
    ),
    'png-mode': lambda label, _: Image.open(label).convert('RGB').save(label),
    'png-missing': lambda label, _: label.unlink(),
    'png-unreadable': lambda label, _: label.write_bytes(b'PNG'),
    'unlisted-png': lambda _, picture: picture.unlink(),
    'image-unreadable': lambda _, picture: picture.write_bytes(b''),
    'exif-rotation': lambda _, picture: tag(picture, 8),
}


@pytest.mark.parametrize('kind', MAP_CHANGES)
def test_a_violation_of_a_map_is_found(maps, tmp_path, kind):
    sets = find_sets(maps, num_classes=3)
    picture, label = maps / 'images' / '1.jpg', maps / 'labels' / '1.png'
    MAP_CHANGES[kind](label, picture)
    before = files_of(maps)
    found = [f for f in check_sets(sets).findings if f.kind == kind]
    assert len(found) == 1
    assert found[0].file in (str(picture), str(label))
    moved, _ = write_fixed(sets, tmp_path / 'copy', maps)
    mends = kind not in ('png-value', 'empty-picture', 'image-size')
    assert (kind not in kinds(check_sets(moved))) == mends
    assert files_of(maps) == before


def test_deep_maps_and_classes_that_never_occur_are_found(maps):
    deep = np.full((HEIGHT, WIDTH), 1, np.uint16)
    for number in range(2):
        map_values(maps / 'labels' / f'{number}.png', deep)
    (found,) = find_sets(maps, num_classes=3)
    findings = check_sets([found]).findings
    assert [f.kind for f in findings] == [
        *('png-mode', 'png-mode', 'unused-class', 'unused-class')
    ]
    assert [f.id for f in findings[2:]] == [0, 2]


# ------------------------------------------------------------- the command


def test_the_command_starts_without_torch():
    process = subprocess.run(
        [sys.executable, '-X', 'importtime', TOOL, '-h'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 'Example: ' in process.stdout
    assert not re.search(r'\| +torch$', process.stderr, re.MULTILINE)


def test_the_command_reports_mends_and_exits_for_ci(tiny, tmp_path):
    assert tool(tiny.folder, '--strict').returncode == 0
    spoil_area(tiny)
    tiny.save_json()
    process = tool(tiny.folder)
    assert process.returncode == 0
    assert '0 errors, 1 warning, 0 remarks.' in process.stdout
    assert tool(tiny.folder, '--strict').returncode == 1
    spoil_listed_only(tiny)
    tiny.first.append(segment(556, 9, 8, [0, 0, 2, 4]))
    tiny.save_json()
    options = ('--max-examples', 1, '--json', tmp_path / 'all.json')
    process = tool(tiny.folder, *options, '--fix', tmp_path / 'copy')
    assert process.returncode == 1
    assert 'error missing-id (2): segment of the JSON' in process.stdout
    assert '1.png: segment 555: is listed' in process.stdout
    assert '    ... and 1 more' in process.stdout
    assert 'differs in 3 places' in process.stdout
    content = json.loads((tmp_path / 'all.json').read_text())
    assert content['counts'] == dict(error=2, warning=1, info=0)
    assert {f['id'] for f in content['findings']} == {555, 556, 1000}
    assert tool(tmp_path / 'copy', '--strict').returncode == 0


def test_the_command_checks_on_several_processes(tiny):
    for number in range(3, 30):
        tiny.images.append(
            dict(tiny.images[0], id=number, file_name=f'{number}.jpg')
        )
        tiny.annotations.append(
            dict(
                tiny.annotations[0],
                image_id=number,
                file_name=f'{number}.png',
            )
        )
        if number != 20:
            tiny.jpg(number).write_bytes(tiny.jpg(1).read_bytes())
        tiny.png(number).write_bytes(tiny.png(1).read_bytes())
    tiny.save_json()
    process = tool(tiny.folder, '--workers', 2)
    assert process.returncode == 1
    assert 'train/20.jpg: does not exist' in process.stdout
    assert '1 error, 0 warnings' in process.stdout


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere'], 'error: nowhere does not exist'),
        (['docs'], 'holds no annotations that are known here'),
        (['tests', '--workers', '99'], 'Expected 1 to 32 workers, got 99'),
    ],
)
def test_the_command_says_what_it_cannot_do(tiny, arguments, message):
    if arguments[0] == 'tests':
        arguments = [tiny.folder, *arguments[1:]]
    process = tool(*arguments)
    assert process.returncode == 1
    assert message in process.stderr


@pytest.mark.parametrize(
    'name',
    [
        'ade20k_mini',
        'camvid_cityscapes_layout',
        'coco_panoptic_mini',
        'coco_things_mini',
    ],
)
def test_real_data_is_recognised_and_has_no_errors(shared_data, name):
    sets = find_sets(shared_data / name)
    assert 'panoptic' in {aset.kind for aset in sets}
    report = check_sets(sets)
    assert [f for f in report.findings if f.level == 'error'] == []


def test_every_kind_of_finding_is_tested():
    source = Path(__file__).read_text()
    assert [kind for kind in CHECKS if f"'{kind}'" not in source] == []


def test_the_page_about_the_checks_lists_them_all():
    page = (ROOT / 'docs' / 'check_your_data.md').read_text()
    for kind, check in CHECKS.items():
        row = f'| `{kind}` | {check.level} | {check.title} | {check.fix} |'
        assert row in page


def test_a_set_can_be_named_by_hand(tiny):
    aset = AnnotationSet(
        'mine',
        'panoptic',
        image_dir=tiny.jpg().parent,
        ann_file=tiny.json,
        seg_dir=tiny.png().parent,
    )
    assert check_sets([aset]).findings == []
