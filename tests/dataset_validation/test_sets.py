"""How the sets of a folder are found."""

import pytest
from dataset_validation import AnnotationSet, check_sets, find_sets


def test_pngs_and_images_may_lie_in_one_folder(tiny):
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


def test_a_set_can_be_named_by_hand(tiny):
    aset = AnnotationSet(
        'mine',
        'panoptic',
        image_dir=tiny.jpg().parent,
        ann_file=tiny.json,
        seg_dir=tiny.png().parent,
    )
    assert check_sets([aset]).findings == []


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
