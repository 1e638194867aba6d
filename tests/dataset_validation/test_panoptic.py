"""COCO panoptic sets: every violation, made by hand in a tiny one."""

import json

import numpy as np
import pytest
from dataset_validation import check_sets, find_sets, write_fixed
from PIL import Image

from tests.dataset_validation.tiny_sets import (
    CATEGORIES,
    HEIGHT,
    WIDTH,
    files_of,
    kinds,
    rgb,
    segment,
    tag,
)


def test_a_clean_set_has_no_findings(tiny):
    report = tiny.report()
    assert report.findings == []
    assert report.exit_code(strict=True) == 0
    assert report.summaries[0]['kind'] == 'panoptic'
    text = '2 images, 6 masks, at most 3 in an image, 3 classes in use'
    assert text in report.text()


# ------------------------------------------------ violations, one at a time
# Each spoils a saved set. It is found with this kind, in this file, and with
# this id; ``mends`` tells whether the copy is free of it.


def spoil_missing_image(tiny):
    tiny.jpg().unlink()


def spoil_truncated_image(tiny):
    tiny.jpg().write_bytes(tiny.jpg().read_bytes()[:-200])


def spoil_empty_image_file(tiny):
    tiny.jpg().write_bytes(b'')


def spoil_image_size(tiny):
    Image.fromarray(tiny.photo[:-1]).save(tiny.jpg())


def spoil_json_size(tiny):
    tiny.images[0]['height'] = 99


def spoil_deep_image(tiny):
    tiny.images[0]['file_name'] = '1.tif'
    tiny.jpg().unlink()
    deep = np.full((HEIGHT, WIDTH), 300, np.uint16)
    Image.fromarray(deep).save(tiny.jpg().with_suffix('.tif'))


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


def spoil_unlisted_image(tiny):
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
    tiny.annotations.append(dict(tiny.annotations[0], image_id=77))
    tiny.annotations[-1]['file_name'] = '3.png'


def spoil_annotated_twice(tiny):
    tiny.annotations.append(dict(tiny.annotations[0], file_name='3.png'))


def test_a_transparent_colour_is_no_matter(tiny):
    ids = rgb(tiny.ids[0])
    color = tuple(ids[0, 0].tolist())
    Image.fromarray(ids).save(tiny.png(), transparency=color)
    assert tiny.report().findings == []


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


def spoil_named_id(tiny):
    tiny.first[0]['id'] = 'cat'


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
    (spoil_missing_image, 'image-missing', '1.jpg', None, True),
    (spoil_truncated_image, 'image-unreadable', '1.jpg', None, True),
    (spoil_empty_image_file, 'image-unreadable', '1.jpg', None, True),
    (spoil_image_size, 'image-size', '1.jpg', None, False),
    (spoil_json_size, 'image-size', '1.jpg', None, True),
    (spoil_json_size, 'png-size', '1.png', None, True),
    (spoil_deep_image, 'image-depth', '1.tif', None, False),
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
    (spoil_unlisted_image, 'unlisted-image', '77.jpg', None, True),
    (spoil_unlisted_png, 'unlisted-png', '77.png', None, True),
    (spoil_image_entry, 'json-layout', '.json', 0, False),
    (spoil_segment_entry, 'json-layout', '.json', 1, False),
    (spoil_image_ids, 'duplicate-image-id', '.json', 1, True),
    (spoil_file_names, 'duplicate-file', '.json', '1.jpg', False),
    (spoil_png_names, 'shared-png', '.json', '1.png', False),
    (spoil_annotation_without_image, 'unknown-image', '.json', 77, True),
    (spoil_annotated_twice, 'several-annotations', '.json', 1, False),
    (spoil_no_annotation, 'no-annotation', '.json', 1, False),
    (spoil_no_segment, 'empty-image', '.json', 1, False),
    (spoil_category_ids, 'duplicate-category-id', '.json', 5, False),
    (spoil_category_names, 'duplicate-category-name', '.json', 'dog', False),
    (spoil_isthing, 'isthing-missing', '.json', 9, False),
    (spoil_isthing_text, 'json-value', '.json', 2, True),
    (spoil_category_zero, 'category-zero', '.json', 0, False),
    (spoil_class_use, 'unused-class', '.json', 44, False),
    (spoil_id_zero, 'id-zero', '.json', 0, True),
    (spoil_large_id, 'bad-id', '.json', 256**3, True),
    (spoil_text_id, 'json-value', '.json', 0, True),
    (spoil_named_id, 'bad-id', '.json', 'cat', False),
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
    spoil_missing_image(tiny)
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


def test_a_png_of_another_image_is_left_as_it_is(tiny, tmp_path):
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


def test_things_are_told_by_name_by_another_file_or_by_several_in_an_image(
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


def test_more_segments_than_queries_or_text_slots_are_reported(tiny):
    findings = tiny.report(num_queries=2).findings
    assert [(f.kind, f.id) for f in findings] == [
        ('too-many-segments', 1),
        ('too-many-segments', 2),
    ]
    assert '3 segments, the model 2 queries' in findings[0].message
    tiny.first[0]['iscrowd'] = 1  # never learned
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


def test_a_set_without_any_image_to_use_is_an_error(tiny):
    tiny.annotations.clear()
    tiny.save_json()
    assert 'empty-set' in kinds(tiny.report())
    tiny.images.clear()
    tiny.save_json()
    (found,) = find_sets(tiny.folder)
    assert 'empty-set' in kinds(check_sets([found]))
