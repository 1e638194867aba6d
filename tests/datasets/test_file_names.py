"""Which files of a folder are found, and which label map is whose."""

import os

import pytest

from projects.oneformer.datasets.file_names import (
    Paired,
    list_files,
    pair_label_maps,
)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'')


def test_links_to_files_and_folders_are_followed(tmp_path):
    touch(tmp_path / 'store', 'day/1.jpg', '2.jpg')
    folder = tmp_path / 'set'
    folder.mkdir()
    (folder / 'day').symlink_to(tmp_path / 'store/day')
    (folder / '3.jpg').symlink_to(tmp_path / 'store/2.jpg')
    assert list_files(folder) == ['3.jpg', 'day/1.jpg']
    (tmp_path / 'link').symlink_to(folder)
    assert list_files(tmp_path / 'link') == ['3.jpg', 'day/1.jpg']


def test_a_link_to_a_folder_above_ends_nowhere(tmp_path):
    touch(tmp_path, 'a/1.jpg')
    (tmp_path / 'a' / 'loop').symlink_to('..')
    (tmp_path / 'a' / 'self').symlink_to('.')
    (tmp_path / 'a' / '2.jpg').symlink_to('2.jpg')
    assert list_files(tmp_path) == ['a/1.jpg', 'a/2.jpg']


def test_a_folder_that_two_links_lead_to_is_listed_twice(tmp_path):
    touch(tmp_path, 'a/1.jpg')
    (tmp_path / 'b').symlink_to('a')
    assert list_files(tmp_path) == ['a/1.jpg', 'b/1.jpg']


def test_a_link_to_nothing_is_listed_and_a_pipe_is_not(tmp_path):
    (tmp_path / '1.jpg').symlink_to('nowhere')
    os.mkfifo(tmp_path / '2.jpg')
    assert list_files(tmp_path) == ['1.jpg']


def test_hidden_files_and_folders_are_left_out(tmp_path):
    touch(tmp_path, '1.jpg', '._1.jpg', '.cache/2.jpg')
    assert list_files(tmp_path) == ['1.jpg']


def test_a_missing_folder_has_no_files(tmp_path):
    assert list_files(tmp_path / 'nowhere') == []


def pairs_of(folder, **options):
    return pair_label_maps(folder / 'images', folder / 'maps', **options)


def test_endings_are_compared_without_their_case(tmp_path):
    touch(
        tmp_path / 'images', '1.jpg', '2.JPG', '3.jpeg', '4.PNG', 'day/5.jpg'
    )
    touch(tmp_path / 'maps', '1.PNG', '2.png', '3.Png', '4.png', 'day/5.png')
    pairs, left = pairs_of(tmp_path)
    assert pairs == [
        Paired('1.jpg', '1', '1.PNG'),
        Paired('2.JPG', '2', '2.png'),
        Paired('3.jpeg', '3', '3.Png'),
        Paired('4.PNG', '4', '4.png'),
        Paired('day/5.jpg', 'day/5', 'day/5.png'),
    ]
    assert left == []


def test_what_has_no_partner_is_returned(tmp_path):
    touch(tmp_path / 'images', '1.jpg', 'notes.txt')
    touch(tmp_path / 'maps', '2.png')
    assert pairs_of(tmp_path) == ([Paired('1.jpg', '1', None)], ['2.png'])


def test_of_two_maps_that_of_the_asked_ending_is_taken(tmp_path):
    touch(tmp_path / 'images', '1.jpg')
    touch(tmp_path / 'maps', '1.PNG', '1.png')
    pairs, left = pairs_of(tmp_path)
    assert (pairs[0].label_map, left) == ('1.png', ['1.PNG'])
    pairs, left = pairs_of(tmp_path, map_suffix='.PNG')
    assert (pairs[0].label_map, left) == ('1.PNG', ['1.png'])


def test_names_may_have_endings_of_their_own(tmp_path):
    touch(tmp_path / 'images', '1_view.png', '1_depth.png')
    touch(tmp_path / 'maps', '1_ids.png')
    pairs, _ = pairs_of(
        tmp_path, image_suffix='_view.png', map_suffix='_ids.png'
    )
    assert pairs == [Paired('1_view.png', '1', '1_ids.png')]
    touch(tmp_path / 'images', '2_left.png')
    pairs, _ = pairs_of(tmp_path, map_suffix='_ids.png', image_end='_view')
    assert pairs == [Paired('1_view.png', '1', '1_ids.png')]


@pytest.mark.parametrize('maps', ['images', './images', 'link'])
def test_in_one_folder_what_ends_as_maps_do_is_no_image(tmp_path, maps):
    touch(tmp_path / 'images', '1.jpg', '1.PNG')
    (tmp_path / 'link').symlink_to('images')
    pairs, left = pair_label_maps(tmp_path / 'images', tmp_path / maps)
    assert (pairs, left) == ([Paired('1.jpg', '1', '1.PNG')], [])
