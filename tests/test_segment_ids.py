"""The code of segment ids in three channels, and their places in a list."""

import numpy as np
import pytest

from projects.oneformer.segment_ids import (
    decode_ids,
    encode_ids,
    number_ids,
)

IDS = np.array([[0, 1, 255], [256, 65536, 256**3 - 1]])
CODED = np.array(
    [
        [(0, 0, 0), (1, 0, 0), (255, 0, 0)],
        [(0, 1, 0), (0, 0, 1), (255, 255, 255)],
    ],
    np.uint8,
)


def test_red_counts_1_green_256_and_blue_65536():
    ids = decode_ids(CODED)
    assert ids.dtype == np.int32
    assert ids.tolist() == IDS.tolist()


def test_decoding_leaves_the_codes_as_they_are():
    coded = CODED.copy()
    decode_ids(coded)
    assert (coded == CODED).all()


def test_ids_are_numbered_in_the_order_given():
    numbers = number_ids(CODED, [65536, 1, 77])
    assert numbers.tolist() == [[0, 2, 0], [0, 1, 0]]
    assert numbers.dtype == np.uint8


def test_without_ids_all_pixels_are_0():
    assert number_ids(CODED, []).tolist() == [[0] * 3] * 2


def test_more_than_255_ids_are_told_apart():
    ids = np.arange(1, 301)
    coded = np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)
    numbers = number_ids(coded[None], ids.tolist())
    assert numbers.tolist() == [ids.tolist()]


@pytest.mark.parametrize('length', [1, 40])
def test_any_map_is_numbered_as_by_a_comparison_one_by_one(length):
    # Each pixel for itself, and in runs.
    rng = np.random.default_rng(0)
    known = rng.choice(256**3 - 1, 30, replace=False) + 1
    ids = np.repeat(rng.choice(known, 4000 // length), length).reshape(80, 50)
    coded = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1)
    listed = [int(number) for number in rng.permutation(known)[:20]]
    expected = np.zeros(ids.shape, int)
    for place, number in enumerate(listed, 1):
        expected[ids == number] = place
    found = number_ids(coded.astype(np.uint8), listed)
    assert (found == expected).all()
    assert found.dtype == np.uint8


def test_encoded_ids_are_decoded_to_the_same():
    ids = np.array([[0, 255, 256], [65535, 65536, 256**3 - 1]])
    assert decode_ids(encode_ids(ids)).tolist() == ids.tolist()
