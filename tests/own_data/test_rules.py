"""Each rule on numbers worked out by hand."""

import pytest
from own_data import rules
from own_data.machine import Machine
from own_data.measures import Measures

CPU = Machine('cpu', 16.0, 2, 'a CPU with 2 cores')
GPU = Machine('cuda', 24.0, 8, 'some GPU')


def measures(**changes) -> Measures:
    """Return measures of 100 images, 640 x 480, with objects of 64 pixels."""
    usual = dict(
        num_train=100,
        num_val=25,
        height=480,
        width=640,
        turned=0.0,
        segments=10,
        most_segments=15,
        object_side=64.0,
    )
    return Measures(**usual | changes)


@pytest.mark.parametrize(
    ('machine', 'wanted', 'has_effnet', 'expected'),
    [
        (GPU, None, True, 'swin-t'),
        (CPU, None, True, 'effnet-lite0'),
        (CPU, None, False, 'r18'),
        (CPU, 'swin-l', True, 'swin-l'),
    ],
)
def test_the_backbone_is_what_the_device_can_bear(
    machine, wanted, has_effnet, expected
):
    choice = rules.choose_backbone(machine, wanted, has_effnet)
    assert choice.value == expected


@pytest.mark.parametrize(
    ('changes', 'machine', 'side'),
    [
        # 32 pixels for objects of 64 would halve the images, which a GPU
        # need not do.
        ({}, GPU, 640),
        # Twice as large, so that objects of 16 span 32.
        (dict(object_side=16.0), GPU, 1280),
        # Not more than twice.
        (dict(object_side=4.0, width=320, height=320), GPU, 640),
        # Nor more than the device can bear.
        (dict(object_side=16.0), CPU, 384),
        (dict(width=4000, height=3000), GPU, 1344),
        # Label maps have no objects.
        (dict(object_side=None, width=100, height=80), CPU, 128),
    ],
)
def test_images_are_tested_so_large_that_objects_can_be_outlined(
    changes, machine, side
):
    assert rules.choose_test_side(measures(**changes), machine).value == side


@pytest.mark.parametrize(
    ('changes', 'machine', 'side', 'crop'),
    [
        ({}, GPU, 640, (480, 640)),
        # 192 / 640 * 480 = 144, of which the next multiple of 32 is 160.
        ({}, CPU, 384, (160, 192)),
        (dict(height=640, width=480), GPU, 640, (640, 480)),
        (dict(turned=0.4), GPU, 640, (640, 640)),
        (dict(height=256, width=256), CPU, 128, (128, 128)),
    ],
)
def test_crops_have_the_shape_of_the_images(changes, machine, side, crop):
    choice = rules.choose_crop(measures(**changes), machine, side)
    assert choice.value == crop


def test_training_images_are_as_large_as_those_in_test_on_average():
    assert rules.choose_scales(640, (480, 640)).value == (0.75, 1.5)
    # The crop shows half of an image, which is enlarged accordingly.
    assert rules.choose_scales(384, (160, 192)).value == (1.5, 3.0)


@pytest.mark.parametrize(
    ('kind', 'side', 'crop', 'tile'),
    [
        ('panoptic', 384, (160, 192), (160, 192)),
        ('instance', 384, (192, 192), (192, 192)),
        ('semantic', 384, (160, 192), None),
        ('panoptic', 256, (160, 192), None),  # three quarters of a side
        ('panoptic', 640, (480, 640), None),
    ],
)
def test_images_are_tiled_where_crops_show_a_small_part(
    kind, side, crop, tile
):
    assert rules.choose_tile(kind, side, crop).value == tile


@pytest.mark.parametrize(
    ('segments', 'backbone', 'weights', 'queries'),
    [
        (10, 'swin-t', None, 150),  # 15 + 16 text slots, of 150
        (10, 'r18', None, 24),  # 15 + 4, of 24
        (20, 'r18', None, 40),  # 30 + 4, in tens
        (120, 'swin-t', None, 200),  # 180 + 16
        (400, 'swin-t', None, 300),
        (120, 'swin-t', 'model.pth', 150),
    ],
)
def test_there_are_queries_for_half_as_many_segments_more(
    segments, backbone, weights, queries
):
    found = measures(segments=segments, most_segments=2 * segments)
    choice = rules.choose_queries(found, rules.BACKBONES[backbone], weights)
    assert choice.value == queries


def test_a_batch_fits_the_memory_of_the_device():
    backbone = rules.BACKBONES['swin-t']._replace(memory=8.0, fixed=0.0)

    def batch(memory: float, crop: tuple[int, int], **changes) -> int:
        machine = GPU._replace(memory=memory)
        found = measures(**changes)
        return rules.choose_batch(found, machine, backbone, crop).value

    # 70 % of the memory, in images of 8 GiB, or of a quarter of it.
    assert batch(80.0, (1024, 1024)) == 7
    assert batch(24.0, (1024, 1024)) == 2
    assert batch(24.0, (512, 512)) == 8
    assert batch(80.0, (512, 512)) == 16
    assert batch(80.0, (512, 512), num_train=6) == 6
    # The contrastive loss compares images.
    assert batch(8.0, (1024, 1024)) == 2


def test_a_cpu_takes_a_smaller_batch_than_the_settings_are_made_for():
    crop = (192, 192)
    small = rules.choose_batch(
        measures(), CPU, rules.BACKBONES['effnet-lite0'], crop
    )
    assert small.value == 8
    large = rules.choose_batch(measures(), CPU, rules.BACKBONES['r50'], crop)
    assert large.value == 8
    assert 'CPU' in large.why


def test_the_learning_rate_grows_with_the_root_of_the_batch():
    backbone = rules.BACKBONES['swin-t']
    assert rules.choose_lr(backbone, 16).value == 1e-4
    assert rules.choose_lr(backbone, 4).value == 5e-5
    assert rules.choose_lr(rules.BACKBONES['r18'], 2).value == 3.5e-4


@pytest.mark.parametrize(
    ('images', 'batch', 'iterations'),
    [(100, 8, 2000), (1000, 8, 6250), (118287, 16, 369647)],
)
def test_a_training_takes_fifty_epochs_or_what_a_network_needs(
    images, batch, iterations
):
    found = measures(num_train=images)
    backbone = rules.BACKBONES['swin-t']
    choice = rules.choose_iterations(found, backbone, batch)
    assert choice.value == iterations


@pytest.mark.parametrize(
    ('iterations', 'warm_up', 'checkpoint', 'validation'),
    [(1600, 100, 80, 400), (200_000, 500, 5000, 50_000), (100, 6, 20, 25)],
)
def test_the_schedule_follows_from_the_length(
    iterations, warm_up, checkpoint, validation
):
    assert rules.choose_warm_up(iterations).value == warm_up
    assert rules.choose_checkpoint_interval(iterations).value == checkpoint
    assert rules.choose_val_interval(iterations).value == validation


@pytest.mark.parametrize(
    ('number', 'validation'),
    [(2, [1]), (3, [2]), (5, [4]), (12, [4, 9])],
)
def test_every_fifth_image_validates(number, validation):
    assert rules.validation_indices(number) == validation


def test_the_backbones_offered_are_those_that_the_rules_know():
    import init

    assert set(init.BACKBONES) == set(rules.BACKBONES)
