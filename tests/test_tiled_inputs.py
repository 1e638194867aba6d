"""Tiles of the network's input: with PyTorch and with exported files."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData

from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.models import OneFormerFusionHead, OneFormerTTA
from projects.oneformer.models.fusion_head import panoptic_result
from projects.oneformer.models.tiled_segmentation import TiledSegmentation
from projects.oneformer.runtime import OnnxSegmenter
from projects.oneformer.runtime.preprocessing import prepare
from projects.oneformer.sample_result import result_of_sample
from projects.oneformer.tasks import TASKS
from projects.oneformer.tiling import Box, input_tiles
from tests.model_configs import tiny_model
from tests.rounding import assert_same_instances, assert_same_labels
from tests.runtime.test_description import KNOWN
from tests.test_inferencer import config, weights  # noqa: F401

CAT, SKY, VOID = 0, 1, 2


def test_places_are_those_of_the_input_in_the_size_of_the_result():
    # 96 columns are cut at 0, 32, 64 and 32 wide; the result is half as wide.
    tiles = list(input_tiles((32, 96), (16, 48), size=(32, 32), overlap=0))
    assert [box for box, _ in tiles] == [
        Box(0, 0, 32, 32),
        Box(0, 32, 32, 64),
        Box(0, 64, 32, 96),
    ]
    assert [place.box for _, place in tiles] == [
        Box(0, 0, 16, 16),
        Box(0, 16, 16, 32),
        Box(0, 32, 16, 48),
    ]


@pytest.mark.parametrize('result_shape', [(61, 83), (30, 41), (100, 100)])
def test_cores_cover_the_result_once_whatever_the_rounding(result_shape):
    covered = np.zeros(result_shape, int)
    whole = Box(0, 0, *result_shape)
    for _, place in input_tiles((57, 77), result_shape, (24, 32), overlap=8):
        assert place.core.common(place.box) == place.core
        covered[place.core.within(whole)] += 1
    assert (covered == 1).all()


class Recognizes:
    """Segments what the pixels say: id of a cat, or 0 for sky."""

    class_names = ('cat', 'sky')

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def pixel_features(self, batch_inputs):
        self.shapes.append(tuple(batch_inputs.shape))
        return batch_inputs[:, 0].long()  # (B, H, W)

    def segment(self, pixels, samples, tokens, results=None):
        for ids, sample in zip(pixels, samples, strict=True):
            height, width = sample.img_shape
            ids = ids[:height, :width]
            assert sample.ori_shape == sample.img_shape
            cats = ids.unique()[ids.unique() > 0]
            codes = torch.where(ids > 0, CAT + 1000 * ids, SKY)
            sample.pred_panoptic_seg = panoptic_result(
                codes.int(),
                VOID,
                torch.tensor([SKY, *(CAT + 1000 * cats)], dtype=torch.int32),
                torch.full((1 + len(cats),), 0.75),
            )
            sample.pred_sem_seg = PixelData(
                scores=torch.stack([ids > 0, ids == 0]).float()
            )
            sample.pred_instances = InstanceData(
                masks=ids == cats[:, None, None],
                labels=torch.full_like(cats, CAT),
                scores=torch.full((len(cats),), 0.5),
            )


def draw_cats(height: int, width: int) -> torch.Tensor:
    """Return ids of cats from 1 on a grid, each 6 x 9 pixels, in sky."""
    ids = torch.zeros(height, width)
    number = 0
    for top in range(2, height - 6, 11):
        for left in range(1, width - 9, 14):
            number += 1
            ids[top : top + 6, left : left + 9] = number
    return ids


def segment(tiled, ids, **metainfo):
    height, width = ids.shape
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(height, width), ori_shape=(height, width), **metainfo
        )
    )
    model = Recognizes()
    padded = torch.nn.functional.pad(ids, (0, -width % 32, 0, -height % 32))
    tiled.segment(model, padded.expand(3, -1, -1), sample, TASKS)
    return sample, model


@pytest.mark.parametrize('size', [(50, 70), (32, 70), (20, 24), (64, 64)])
def test_joined_results_of_perfect_tiles_are_perfect(size):
    ids = draw_cats(*size)
    tiled = TiledSegmentation(32, overlap=12, divisor=32)
    sample, model = segment(tiled, ids)
    assert sample.pred_sem_seg.sem_seg[0].equal((ids == 0).long())
    codes = sample.pred_panoptic_seg.sem_seg[0]
    number = int(ids.max())
    assert len(codes.unique()) == number + 1
    for cat in range(1, number + 1):
        (code,) = codes[ids == cat].unique()
        assert (codes == code).equal(ids == cat)
        assert int(code) % 1000 == CAT
    assert (codes[ids == 0] == SKY).all()
    masks = {mask.numpy().tobytes() for mask in sample.pred_instances.masks}
    assert masks == {
        (ids == cat).numpy().tobytes() for cat in range(1, number + 1)
    }
    assert len(sample.pred_instances) == number
    # Tiles are padded to multiples of 32.
    assert {shape[1:] for shape in model.shapes} == {(3, 32, 32)}


def test_tiles_are_processed_several_at_a_time():
    ids = draw_cats(64, 64)
    tiled = TiledSegmentation((32, 32), overlap=0, batch_size=3, divisor=32)
    _, model = segment(tiled, ids)
    assert [shape[0] for shape in model.shapes] == [3, 1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=(32, 32, 32)), 'height and width'),
        (dict(size='large'), 'height and width'),
        (dict(size=32, overlap=17), 'overlap of 0 to half'),
        (dict(size=0), 'tiles of 1 pixel or more'),
        (dict(size=32, batch_size=0), 'batch_size of 1 or more'),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TiledSegmentation(**options)


def test_semantic_scores_are_not_made_in_tiles():
    with pytest.raises(ValueError, match=r'set model\.test_cfg\.tile=None'):
        segment(TiledSegmentation(32), draw_cats(40, 40), semantic_scores=True)


def test_test_time_augmentation_needs_whole_images():
    init_default_scope('mmdet')
    model = MODELS.build(tiny_model(training=False, tile=dict(size=64)))
    with pytest.raises(ValueError, match=r'set model\.test_cfg\.tile=None'):
        OneFormerTTA(model)


def test_tiles_within_tiles_are_refused(weights):  # noqa: F811
    tiled = config()
    tiled.model.test_cfg.tile = dict(size=64)
    with pytest.raises(ValueError, match=r'tiles already.*leave out tile'):
        OneFormerInferencer(tiled, weights, 'cpu', tile=32)


def test_a_tile_that_shows_the_whole_image_changes_nothing(
    weights,  # noqa: F811
):
    image = np.random.default_rng(0).integers(
        0, 256, (40, 52, 3), dtype=np.uint8
    )
    tiled = config()
    tiled.model.test_cfg.tile = dict(size=96, score_thr=0.0)
    (expected,) = OneFormerInferencer(config(), weights, 'cpu').samples(image)
    (found,) = OneFormerInferencer(tiled, weights, 'cpu').samples(image)
    for name in ('pred_panoptic_seg', 'pred_sem_seg'):
        assert_same_labels(found.get(name).sem_seg, expected.get(name).sem_seg)
    assert_same_instances(found.pred_instances, expected.pred_instances)


def test_smaller_tiles_give_results_in_the_size_of_the_image(
    weights,  # noqa: F811
):
    image = np.random.default_rng(0).integers(
        0, 256, (40, 52, 3), dtype=np.uint8
    )
    tiled = config()
    tiled.model.test_cfg.tile = dict(size=(32, 64))
    (result,) = OneFormerInferencer(tiled, weights, 'cpu')(image)
    assert result.semantic.shape == result.panoptic.shape == (40, 52)
    assert all(s.mask.shape == (40, 52) for s in result.instances)


# What the fake network below says of each query: three of things, of which
# one is no object, and two of stuff.
CLASS_LOGITS = np.array(
    [[6, 0, 0], [5, 0, 1], [0, 0, 6], [0, 6, 0], [1, 5, 0]], np.float32
)


def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return class and mask logits of an input, (1, 3, H, W).

    The masks follow its colours, so that tiles agree where they overlap.
    """
    _, _, height, width = image.shape
    small = image[0].reshape(3, height // 4, 4, width // 4, 4).mean((2, 4))
    red, green, blue = small
    masks = np.stack([red, green, blue, -red - green, blue - red])
    return CLASS_LOGITS, (4 * masks).astype(np.float32)


class FakeSession:
    """One exported file that predicts by the function above."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata

    def run(self, tasks, image):
        cls_scores, masks = predict(image)
        return [
            np.stack([cls_scores] * len(tasks)),
            np.stack([masks] * len(tasks)),
        ]


class FakeModel:
    """The same predictions, with the fusion head of the package."""

    class_names = KNOWN.classes
    fusion_head = OneFormerFusionHead(
        2, [CAT], KNOWN.object_mask_thr, KNOWN.iou_thr, KNOWN.max_per_image
    )

    def pixel_features(self, batch_inputs):
        return [predict(image[None].numpy()) for image in batch_inputs]

    def segment(self, pixels, samples, tokens, results=None):
        fields = ('pred_panoptic_seg', 'pred_instances', 'pred_sem_seg')
        for prediction, sample in zip(pixels, samples, strict=True):
            logits = map(torch.from_numpy, prediction)
            cls_scores, masks = logits
            for task, field in zip(TASKS, fields, strict=True):
                result = self.fusion_head(
                    task, cls_scores, masks, sample.metainfo
                )
                setattr(sample, field, result)


@pytest.mark.parametrize('size', [None, (64, 64)])
def test_an_exported_file_cuts_as_the_model_does(monkeypatch, size):
    described = dict(
        tile=json.dumps([48, 64]),
        tile_overlap='16',
        tile_score_thr='0.3',
        size=json.dumps(size),
        scale=json.dumps([160, 120]),
    )
    metadata = KNOWN.to_metadata('model') | described
    monkeypatch.setattr(
        'projects.oneformer.runtime.segmenter.open_session',
        lambda *_: FakeSession(metadata),
    )
    segmenter = OnnxSegmenter('model.onnx')
    noise = np.random.default_rng(3).integers(0, 256, (6, 8, 3))
    image = np.kron(noise, np.ones((13, 13, 1))).astype(np.uint8)
    found = segmenter(image, TASKS)

    given = prepare(image, KNOWN_WHOLE)
    sample = DetDataSample(
        metainfo=dict(img_shape=given.resized, ori_shape=image.shape[:2])
    )
    tiled = TiledSegmentation((48, 64), 16, score_thr=0.3, divisor=32)
    tiled.segment(FakeModel(), torch.from_numpy(given.image[0]), sample, TASKS)
    expected = result_of_sample(
        sample, dict(classes=KNOWN.classes, thing_classes=['cat'])
    )
    assert_same_labels(found.semantic, expected.semantic)
    for task in ('panoptic', 'instance'):
        ours, theirs = found.segments_of(task), expected.segments_of(task)
        assert [s.label for s in ours] == [s.label for s in theirs]
        assert len(ours) > 1
        for own, other in zip(ours, theirs, strict=True):
            assert own.score == pytest.approx(other.score, abs=1e-3)
            assert_same_labels(own.mask, other.mask)


KNOWN_WHOLE = KNOWN.__class__(**(vars(KNOWN) | dict(scale=(160, 120))))


def test_a_file_of_the_version_before_has_no_tiles(monkeypatch):
    metadata = KNOWN.to_metadata('model') | dict(version='1')
    for name in ('tile', 'tile_overlap', 'tile_score_thr'):
        del metadata[name]
    monkeypatch.setattr(
        'projects.oneformer.runtime.segmenter.open_session',
        lambda *_: FakeSession(metadata),
    )
    assert OnnxSegmenter('model.onnx').description == KNOWN
