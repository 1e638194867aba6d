"""Our pipeline gives what transformers' own makes of the same segments."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ImageSegmentationPipeline

from tests.examples.loading import load_example
from tests.test_inferencer import config, image, weights  # noqa: F401


@pytest.fixture
def pipeline(weights):  # noqa: F811
    module = load_example('huggingface/oneformer_pipeline.py')
    return module.OneFormerPipeline(config(), weights, 'cpu')


def of_transformers(result) -> list[dict]:
    """Let the pipeline of transformers turn a result into dicts."""
    answer = dict(
        segmentation=torch.tensor(result.panoptic),
        segments_info=[
            dict(id=s.id, label_id=s.label, score=s.score)
            for s in result.segments
        ],
    )
    stand_in = SimpleNamespace(
        image_processor=SimpleNamespace(
            post_process_panoptic_segmentation=lambda *args, **kwargs: [answer]
        ),
        model=SimpleNamespace(
            config=SimpleNamespace(id2label=dict(enumerate(result.classes)))
        ),
    )
    return ImageSegmentationPipeline.postprocess(
        stand_in, dict(target_size=None), subtask='panoptic'
    )


def test_panoptic_dicts_are_those_of_transformers(pipeline, image):  # noqa: F811
    rgb = image[..., ::-1]
    (result,) = pipeline.inferencer(rgb, 'panoptic')
    expected = of_transformers(result)
    found = pipeline(rgb)
    assert len(found) == len(expected) > 0
    for own, other in zip(found, expected, strict=True):
        assert own.keys() == other.keys()
        assert (own['label'], own['score']) == (other['label'], other['score'])
        assert own['mask'].mode == other['mask'].mode
        assert np.array_equal(own['mask'], other['mask'])


def test_a_list_gives_lists_and_an_image_one(pipeline, image):  # noqa: F811
    photo = Image.fromarray(image[..., ::-1])
    alone = pipeline(photo, subtask='semantic')
    both = pipeline([photo, photo], subtask='semantic', batch_size=1)
    assert len(both) == 2 and isinstance(alone[0], dict)
    assert [own['label'] for own in both[0]] == [o['label'] for o in alone]
    assert alone[0]['score'] is None


def test_a_threshold_leaves_segments_out(pipeline, image):  # noqa: F811
    scores = sorted(own['score'] for own in pipeline(image, 'instance'))
    best = pipeline(image, 'instance', threshold=scores[-1])
    assert len(best) == scores.count(scores[-1]) < len(scores)
