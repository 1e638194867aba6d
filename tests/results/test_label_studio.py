"""Predictions for Label Studio, decoded by its own SDK."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

brush = pytest.importorskip(
    'label_studio_sdk.converter.brush', reason='label-studio-sdk is optional'
)


def regions_of(task: dict) -> list[dict]:
    (prediction,) = task['predictions']
    return prediction['result']


def test_the_sdk_decodes_brushes_to_the_masks(result):
    task = result.to_label_studio('panoptic', image_url='s3://cats/1.jpg')
    assert task['data'] == dict(image='s3://cats/1.jpg')
    assert task['predictions'][0]['score'] == 0.6
    regions = regions_of(task)
    assert len({region['id'] for region in regions}) == 3
    for region, segment in zip(regions, result.segments, strict=True):
        assert region['type'] == 'brushlabels'
        assert region['value']['brushlabels'] == [segment.name]
        assert region['score'] == segment.score
        pixels = brush.decode_rle(region['value']['rle']).reshape(6, 8, 4)
        assert np.array_equal(pixels[..., 3] == 255, segment.mask)
    assert [region['meta']['category_id'] for region in regions] == [
        187,
        17,
        17,
    ]


def test_the_sdk_accepts_it_for_its_labelling_interface(result):
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="label" toName="image"><Label value="cat"/>'
        '<Label value="road"/><Label value="sky"/></BrushLabels></View>'
    )
    (prediction,) = result.to_label_studio('panoptic')['predictions']
    assert interface.validate_prediction(prediction)
    for region in prediction['result']:
        region['from_name'] = 'other'
    assert not interface.validate_prediction(prediction)


def test_bitmasks_are_images_of_the_masks(result):
    regions = regions_of(result.to_label_studio('semantic', kind='bitmask'))
    for region, segment in zip(
        regions, result.segments_of('semantic'), strict=True
    ):
        assert region['value']['bitmasklabels'] == [segment.name]
        assert 'score' not in region
        head, code = region['value']['imageDataURL'].split(',')
        assert head == 'data:image/png;base64'
        pixels = np.asarray(Image.open(BytesIO(base64.b64decode(code))))
        assert np.array_equal(pixels == 255, segment.mask)


def test_polygons_are_in_percent(result):
    regions = regions_of(result.to_label_studio('panoptic', kind='polygon'))
    sky = regions[0]['value']
    assert sky['polygonlabels'] == ['sky']
    assert sorted(sky['points']) == pytest.approx(
        np.array([[0, 0], [0, 100 / 3], [100, 0], [100, 100 / 3]])
    )


def test_an_unknown_kind_is_refused(result):
    with pytest.raises(ValueError, match="Unknown kind 'box'"):
        result.to_label_studio(kind='box')
