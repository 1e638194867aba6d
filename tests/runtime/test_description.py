"""What the metadata of a file may say."""

import pytest

from projects.oneformer.errors import InputError
from projects.oneformer.runtime.description import (
    Description,
    read_description,
)

KNOWN = Description(
    classes=('cat', 'sky'),
    thing_classes=('cat',),
    palette=((255, 0, 0), (0, 0, 255)),
    category_ids=None,
    default_tasks=('panoptic',),
    trained_tasks=('panoptic', 'semantic'),
    task_sentences=('a', 'b', 'c'),
    mean=(123.675, 116.28, 103.53),
    std=(58, 57, 57),  # whole numbers are numbers, too
    channel_order='RGB',
    scale=(1333, 800),
    keep_ratio=True,
    resize_backend='pillow',
    size_divisor=32,
    size=None,
    object_mask_thr=0.8,
    iou_thr=0.8,
    max_per_image=100,
    weights_digest='abc',
)


def test_metadata_gives_the_description_again():
    assert read_description(KNOWN.to_metadata('model'), 'a.onnx') == (
        'model',
        KNOWN,
    )


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('classes', '5'),
        ('classes', '[1, 2]'),
        ('palette', '[[1, 2]]'),
        ('category_ids', '{"1": 2}'),
        ('mean', '"abc"'),
        ('keep_ratio', 'null'),
        ('size', '[64]'),
        ('size', '["64", "64"]'),
        ('max_per_image', '1.5'),
        ('iou_thr', 'none'),
        ('scale', '[' * 100_000),
    ],
)
def test_values_of_another_kind_are_refused(name, text):
    metadata = KNOWN.to_metadata('model') | {name: text}
    with pytest.raises(InputError, match=r'a\.onnx has damaged metadata'):
        read_description(metadata, 'a.onnx')


def test_a_missing_value_is_named():
    metadata = KNOWN.to_metadata('model')
    del metadata['scale']
    with pytest.raises(InputError, match="KeyError.'scale'"):
        read_description(metadata, 'a.onnx')
