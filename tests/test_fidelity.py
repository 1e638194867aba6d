"""docs/fidelity.md names tests that exist; facts that no other test holds."""

import re
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample

from tests.model_configs import build_model, images, tiny_model
from tests.rounding import assert_same_values

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / 'docs' / 'fidelity.md').read_text()
ENTRIES = re.findall(
    r'^### (\d+)\. (.*?)(?=^##)', PAGE, re.MULTILINE | re.DOTALL
)
NAMED = sorted(set(re.findall(r'`(\S+\.py)::(\w+)`', PAGE)))


@pytest.fixture(scope='module')
def model():
    return build_model(tiny_model(training=False, tasks=['semantic']))


def test_every_surprise_has_a_decision_and_a_proof():
    numbers = [int(number) for number, _ in ENTRIES]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, entry in ENTRIES:
        assert re.search(r'^\*\*Reference\.\*\* \S', entry, re.MULTILINE), (
            number
        )
        assert re.search(r'^\*\*Here\.\*\* \S', entry, re.MULTILINE), number
        (proof,) = re.findall(
            r'^- Tests: (.*)', entry, re.DOTALL | re.MULTILINE
        )
        assert '.py' in proof or proof.startswith('none, '), number
        assert '- Code: ' in entry or number == '40'


def test_every_test_named_on_the_page_exists():
    missing = [
        f'{file}::{name}'
        for file, name in NAMED
        if f'def {name}(' not in (TESTS / file).read_text()
    ]
    assert not missing
    assert len(NAMED) > 40


def test_images_are_normalised_as_rgb_and_padded_with_zero_after_it(model):
    blue, green, red = 10, 20, 30
    image = torch.tensor([blue, green, red], dtype=torch.uint8)
    image = image[:, None, None].expand(3, 40, 33)
    data = model.data_preprocessor(
        dict(inputs=[image], data_samples=[DetDataSample()])
    )
    inputs, (sample,) = data['inputs'], data['data_samples']
    assert inputs.shape == (1, 3, 64, 64)
    assert tuple(sample.batch_input_shape) == (64, 64)
    assert inputs[0, :, 0, 0].tolist() == pytest.approx(
        [
            (red - 123.675) / 58.395,
            (green - 116.28) / 57.12,
            (blue - 103.53) / 57.375,
        ]
    )
    assert not inputs[:, :, 40:].any()
    assert not inputs[:, :, :, 33:].any()


@torch.no_grad()
def test_the_network_does_not_know_what_is_padding(model):
    # The same input, once all image, once half of it padding.
    inputs = images(1, 64, 64)
    inputs[:, :, 32:] = 0
    whole, half = (
        DetDataSample(
            metainfo=dict(
                img_shape=size,
                ori_shape=size,
                batch_input_shape=(64, 64),
                semantic_scores=True,
            )
        )
        for size in ((64, 64), (32, 64))
    )
    of_whole, of_half = (
        model.predict(inputs, [sample])[0].pred_sem_seg.scores
        for sample in (whole, half)
    )
    # Resized in one step each, but to other sizes.
    assert_same_values(of_half, of_whole[:, :32])


def test_train_and_eval_of_a_model_can_be_chained():
    model = build_model(tiny_model(training=False))
    assert model.train() is model
    assert model.backbone.training
    assert model.eval() is model
    assert not model.backbone.training
