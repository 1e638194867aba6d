"""Semantic ground truth out of PNGs of its own."""

import numpy as np
import pytest
from mmdet.datasets.transforms import PackDetInputs
from PIL import Image

from projects.oneformer.datasets import LoadSemanticTruth


def load_semantic(folder, labels, **options) -> dict:
    """Store a map for the image ``b.jpg`` in ``city``, and load it."""
    name = options.get('seg_suffix', '.png')
    target = folder / 'truth/city' / f'b{name}'
    target.parent.mkdir(parents=True, exist_ok=True)
    image = (
        labels
        if isinstance(labels, Image.Image)
        else Image.fromarray(np.array(labels, np.uint8))
    )
    image.save(target)
    transform = LoadSemanticTruth(
        img_prefix=str(folder / 'images'),
        seg_prefix=str(folder / 'truth'),
        **options,
    )
    path = folder / 'images/city' / f'b{options.get("img_suffix", ".jpg")}'
    results = dict(
        img_path=str(path),
        ori_shape=image.size[::-1],
        classes=('sky', 'cat', 'dog'),
    )
    return transform(results)


def test_semantic_truth_is_read_from_its_own_png(tmp_path):
    results = load_semantic(tmp_path, [[0, 1, 2], [255, 2, 0]])
    assert results['gt_seg_map'].dtype == np.uint8
    assert results['gt_seg_map'].tolist() == [[0, 1, 2], [255, 2, 0]]
    assert results['seg_fields'] == ['gt_seg_map']
    packed = PackDetInputs(meta_keys=())(
        dict(results, img=np.zeros((2, 3, 3), np.uint8))
    )['data_samples']
    assert packed.gt_sem_seg.sem_seg.tolist() == [[[0, 1, 2], [255, 2, 0]]]


def test_the_file_has_the_place_of_the_image_and_another_ending(tmp_path):
    results = load_semantic(
        tmp_path,
        [[0, 1]],
        img_suffix='_leftImg8bit.png',
        seg_suffix='_gtFine_labelTrainIds.png',
    )
    assert results['gt_seg_map'].tolist() == [[0, 1]]


def test_zero_may_stand_for_what_does_not_count(tmp_path):
    results = load_semantic(tmp_path, [[0, 1, 3]], reduce_zero_label=True)
    assert results['gt_seg_map'].tolist() == [[255, 0, 2]]


def test_another_label_may_stand_for_what_does_not_count(tmp_path):
    results = load_semantic(tmp_path, [[0, 65, 2]], ignore_index=65)
    assert results['gt_seg_map'].tolist() == [[0, 255, 2]]


def test_a_palette_is_read_by_its_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert('P')
    image.putpalette([9, 9, 9, 200, 1, 1, 3, 100, 50])
    results = load_semantic(tmp_path, image)
    assert results['gt_seg_map'].tolist() == [[0, 1, 2]]


def test_semantic_truth_replaces_that_of_the_panoptic_annotation(tmp_path):
    panoptic = dict(gt_seg_map=np.zeros((3, 4)), instances=[{}, {}])
    results = dict(load_semantic(tmp_path, [[0, 1]]), **panoptic)
    results['ori_shape'] = (1, 2)
    results['seg_fields'] = ['gt_seg_map']
    results = LoadSemanticTruth(
        str(tmp_path / 'images'), str(tmp_path / 'truth')
    )(results)
    assert results['gt_seg_map'].tolist() == [[0, 1]]
    assert results['seg_fields'] == ['gt_seg_map']
    assert len(results['instances']) == 2


def test_semantic_truth_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'labels \[3, 7\] that are no class'):
        load_semantic(tmp_path, [[0, 3], [7, 255]])
    with pytest.raises(ValueError, match='does not end in img_suffix'):
        LoadSemanticTruth(str(tmp_path / 'images'), 'truth')(
            dict(img_path=str(tmp_path / 'images/b.txt'), classes='a')
        )
    with pytest.raises(ValueError, match='is not in img_prefix'):
        LoadSemanticTruth(str(tmp_path / 'images'), 'truth')(
            dict(img_path=str(tmp_path / 'b.jpg'), classes='a')
        )
    colours = Image.fromarray(np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(ValueError, match='expected one value per pixel'):
        load_semantic(tmp_path, colours)
    results = load_semantic(tmp_path, [[0, 1]])
    transform = LoadSemanticTruth(
        str(tmp_path / 'images'), str(tmp_path / 'truth')
    )
    with pytest.raises(ValueError, match=r'is \(1, 2\) \(height, width\)'):
        transform(dict(results, ori_shape=(2, 1)))
    path = tmp_path / 'truth/city/b.png'
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match='cannot be read as a PNG'):
        transform(results)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='check seg_prefix'):
        transform(results)


@pytest.mark.parametrize('ending', ['.JPG', '.jpeg', '.png', '_view.PNG'])
def test_images_of_every_format_have_their_truth(tmp_path, ending):
    suffix = '_view.png' if ending.startswith('_') else None
    load_semantic(tmp_path, [[0, 1]])
    transform = LoadSemanticTruth(
        str(tmp_path / 'images'), str(tmp_path / 'truth'), suffix
    )
    results = dict(
        img_path=str(tmp_path / f'images/city/b{ending}'),
        ori_shape=(1, 2),
        classes=('sky', 'cat'),
    )
    assert transform(results)['gt_seg_map'].tolist() == [[0, 1]]


@pytest.mark.parametrize('count', [255, 256, 300])
def test_more_than_255_classes_move_what_does_not_count(tmp_path, count):
    void = 255 if count == 255 else 65535
    last = np.array([[0, count - 1, void]], np.uint16)
    (tmp_path / 'truth/city').mkdir(parents=True)
    Image.fromarray(last).save(tmp_path / 'truth/city/b.png')
    transform = LoadSemanticTruth(
        str(tmp_path / 'images'), str(tmp_path / 'truth')
    )
    results = dict(
        img_path=str(tmp_path / 'images/city/b.jpg'),
        ori_shape=(1, 3),
        classes=range(count),
    )
    found = transform(results)['gt_seg_map']
    assert found.tolist() == [[0, count - 1, void]]
