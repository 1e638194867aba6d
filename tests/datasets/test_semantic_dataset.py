"""The dataset of label maps: what it finds, and what it refuses."""

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

from projects.oneformer.datasets import OneFormerSemanticDataset

META = dict(classes=('sky', 'road', 'car'), thing_classes=('car',))


@pytest.fixture
def folder(tmp_path):
    """Two images with their PNGs, one in a folder of its own."""
    for name in ('b', 'town/a'):
        for kind, end in (('images', 'jpg'), ('labels', 'png')):
            path = tmp_path / kind / f'{name}.{end}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
    return tmp_path


def make(folder, **options) -> OneFormerSemanticDataset:
    return OneFormerSemanticDataset(
        **{
            'data_root': str(folder),
            'data_prefix': dict(img='images', seg='labels'),
            'metainfo': META,
            **options,
        }
    )


def refused(folder, **options) -> str:
    with pytest.raises(ValueError) as caught:
        make(folder, **options)
    return str(caught.value)


def test_images_are_found_with_their_pngs_in_order(folder):
    dataset = make(folder)
    assert len(dataset) == 2
    first, second = dataset.get_data_info(0), dataset.get_data_info(1)
    assert first['img_path'] == str(folder / 'images/b.jpg')
    assert first['seg_map_path'] == str(folder / 'labels/b.png')
    assert second['seg_map_path'] == str(folder / 'labels/town/a.png')
    assert (first['img_id'], second['img_id']) == ('b', 'town/a')
    assert (first['height'], first['width']) == (4, 6)
    assert first['label_of_value'] == [0, 1, 2]
    assert first['things'] == [2]


def test_names_that_images_share_are_listed_for_result_files(folder):
    assert 'repeated_names' not in make(folder, test_mode=True).metainfo
    for kind, end in (('images', 'jpg'), ('labels', 'png')):
        (folder / kind / f'b.{end}').rename(folder / kind / f'A.{end}')
    dataset = make(folder, test_mode=True)
    assert dataset.metainfo['repeated_names'] == ('a',)
    assert 'repeated_names' not in make(folder).metainfo  # for training


def test_a_sample_says_what_it_can_supervise(folder):
    data = make(folder).get_data_info(0)
    assert data['supervised_tasks'] == ('semantic',)
    assert data['annotation'] == 'semantic'
    assert data['void'] == 'ignore'
    assert make(folder, void='background').get_data_info(0)['void'] == (
        'background'
    )


def test_other_suffixes_are_found(folder):
    (folder / 'images/b.jpg').rename(folder / 'images/b_view.jpeg')
    (folder / 'labels/b.png').rename(folder / 'labels/b_ids.png')
    dataset = make(folder, img_suffix='_view.jpeg', seg_map_suffix='_ids.png')
    assert [dataset.get_data_info(0)['img_id']] == ['b']
    assert len(dataset) == 1


@pytest.mark.parametrize('end', ['JPG', 'jpeg', 'png', 'TIF'])
def test_images_of_every_format_are_found(folder, end):
    (folder / 'images/b.jpg').rename(folder / f'images/b.{end}')
    (folder / 'images/notes.txt').write_text('no image')
    dataset = make(folder)
    assert dataset.get_data_info(0)['img_path'].endswith(f'b.{end}')
    assert len(dataset) == 2


def test_a_suffix_is_found_in_upper_case_too(folder):
    (folder / 'images/b.jpg').rename(folder / 'images/b.JPG')
    assert len(make(folder, img_suffix='.jpg')) == 2


def test_images_may_lie_beside_their_pngs(folder):
    (folder / 'labels/b.png').rename(folder / 'images/b.png')
    (folder / 'labels/town/a.png').rename(folder / 'images/town/a.png')
    dataset = make(folder, data_prefix=dict(img='images', seg='images'))
    names = [dataset.get_data_info(i)['img_path'][-5:] for i in range(2)]
    assert names == ['b.jpg', 'a.jpg']


def test_two_images_for_one_png_are_refused(folder):
    (folder / 'images/b.JPEG').write_bytes(b'')
    assert "differ in their ending only: ['b']" in refused(folder)
    assert len(make(folder, img_suffix='.jpg')) == 2


def test_values_of_a_png_are_told_by_the_names_of_its_classes(folder):
    dataset = make(folder, png_classes=('car', 'dust', 'sky', 'road'))
    assert dataset.get_data_info(0)['label_of_value'] == [2, None, 0, 1]
    assert dataset.metainfo['classes'] == META['classes']


def test_zero_may_be_what_is_not_labelled(folder):
    dataset = make(folder, reduce_zero_label=True)
    assert dataset.get_data_info(0)['label_of_value'] == [None, 0, 1, 2]


@pytest.mark.parametrize(
    ('missing_classes', 'unlabelled'),
    [('ignore', (0, 2)), ('background', ())],
)
def test_a_class_that_the_pngs_lack_may_be_open(
    folder, missing_classes, unlabelled
):
    dataset = make(
        folder, png_classes=('road',), missing_classes=missing_classes
    )
    data = dataset.get_data_info(0)
    assert data['unlabelled_classes'] == unlabelled
    assert data['label_of_value'] == [1]


def test_a_class_that_the_pngs_lack_is_refused_as_misspelt(folder):
    message = refused(folder, png_classes=('sky', 'raod', 'car'))
    assert "Classes ['road'] of metainfo are not among" in message
    assert 'png_classes' in message


def test_things_must_be_named(folder):
    message = refused(folder, metainfo=dict(classes=('sky', 'road')))
    assert 'list them as thing_classes in metainfo' in message


def test_there_may_be_no_things(folder):
    meta = dict(classes=('sky', 'road'), thing_classes=())
    assert make(folder, metainfo=meta).get_data_info(0)['things'] == []


@pytest.mark.parametrize('metainfo', [{}, dict(classes='sky')])
def test_classes_must_be_a_list(folder, metainfo):
    message = refused(folder, metainfo=metainfo)
    assert 'Expected the classes of the PNGs as a list' in message


@pytest.mark.parametrize('key', ['img', 'seg'])
def test_a_missing_folder_is_named_with_the_setting_to_check(folder, key):
    prefix = dict(img='images', seg='labels')
    prefix[key] = 'nowhere'
    with pytest.raises(FileNotFoundError) as caught:
        make(folder, data_prefix=prefix)
    assert f'{folder}/nowhere does not exist' in str(caught.value)
    assert f"data_prefix['{key}']" in str(caught.value)


def test_images_without_a_png_are_left_out_with_a_warning(folder, monkeypatch):
    warnings = []
    monkeypatch.setattr(
        MMLogger.get_current_instance(),
        'log',
        lambda level, message: warnings.append(message),
    )
    (folder / 'labels/b.png').unlink()
    assert len(make(folder)) == 1
    (warning,) = [text for text in warnings if 'have no PNG' in text]
    assert warning.startswith('1 images in')
    assert 'the first is b.jpg' in warning


def test_folders_that_do_not_belong_together_are_refused(folder):
    message = refused(folder, seg_map_suffix='_labels.png')
    assert 'No image with its PNG' in message
    assert 'img_suffix and seg_map_suffix; 2 images have none' in message


def test_a_file_that_is_no_png_is_refused(folder):
    (folder / 'labels/b.png').write_bytes(b'nothing')
    message = refused(folder)
    assert f'{folder}/labels/b.png cannot be read as a PNG' in message


def test_no_image_is_without_things_by_the_list_of_files(folder):
    # What a PNG shows is known only once it is read.
    message = refused(folder, filter_cfg=dict(filter_empty_gt=True))
    assert 'remove it from filter_cfg' in message


def test_label_maps_are_found_in_upper_case_too(folder):
    (folder / 'labels/b.png').rename(folder / 'labels/b.PNG')
    dataset = make(folder)
    assert dataset.get_data_info(0)['seg_map_path'].endswith('b.PNG')
    assert len(dataset) == 2


def test_folders_may_be_links(folder):
    (folder / 'images').rename(folder / 'photos')
    (folder / 'images').symlink_to('photos')
    (folder / 'labels/town').rename(folder / 'town')
    (folder / 'labels/town').symlink_to(folder / 'town')
    assert len(make(folder)) == 2


def test_an_image_that_is_a_link_to_nothing_is_not_passed_over(folder):
    (folder / 'images/b.jpg').unlink()
    (folder / 'images/b.jpg').symlink_to('nowhere.jpg')
    assert len(make(folder)) == 2


def test_a_label_map_that_is_a_link_to_nothing_is_named(folder):
    (folder / 'labels/b.png').unlink()
    (folder / 'labels/b.png').symlink_to('nowhere.png')
    with pytest.raises(FileNotFoundError, match=r'labels/b\.png is a link'):
        make(folder)


@pytest.mark.parametrize(
    ('number', 'options', 'ignored'),
    [
        (3, {}, 255),
        (255, {}, 255),
        (256, {}, 65535),
        (255, dict(reduce_zero_label=True), 65535),
        (300, dict(ignore_index=0), 0),
    ],
)
def test_the_ignored_value_is_no_class(folder, number, options, ignored):
    meta = dict(classes=[str(i) for i in range(number)], thing_classes=())
    data = make(folder, metainfo=meta, **options).get_data_info(0)
    assert data['ignore_index'] == ignored
