"""The rules by which settings are chosen, one function each.

Each returns a value and the reason for it, in words that the config and the
console show. The numbers are of this project's configs and of the reference
where a comment does not say otherwise.
"""

import math
from typing import Any, NamedTuple

from .machine import Machine
from .measures import Measures

# Of the masks that the decoder predicts, in pixels of its input.
MASK_STRIDE = 4
# An object that is narrower than some pixels of the mask cannot be outlined.
OBJECT_SIDE = 8 * MASK_STRIDE
LARGEST_ZOOM = 2.0
SIDE_STEP = 32  # the coarsest features, 1/32
TURNED_SHARE = 0.1  # of the images, from which on crops are square
TILED_BELOW = 0.75  # of the image, that a crop shows of each side
MOST_QUERIES = 300
VAL_STEP = 5  # one of so many images is for validation
MOST_EPOCHS = 50
MEMORY_SHARE = 0.7  # of what is free, as estimates err


class Choice(NamedTuple):
    """A setting, and why it has this value."""

    value: Any
    why: str


class Backbone(NamedTuple):
    """A shipped config to start from, and what is known of it.

    Attributes:
        config (str): Its name.
        lr (float): Learning rate for batches of ``base_batch`` images.
        base_batch (int): See ``lr``.
        memory (float): GiB that the activations of an image of 1024 x 1024
            take in float32. Of the large networks those of Mask2Former on a
            GPU, by mmdet's model zoo (DiNAT-L taken as Swin-L), of the small
            ones by ``tools/analysis_tools/estimate.py``, which for the large
            ones finds less.
        fixed (float): GiB of weights, gradients and optimizer, and 1 of the
            GPU.
        num_context (int): Text slots that hold no object.
        num_queries (int): Of the config.
        fewest_iterations (int): A shorter training has not begun to separate
            objects.
        pretrained (str): Where its backbone starts.
    """

    config: str
    lr: float
    base_batch: int
    memory: float
    fixed: float
    num_context: int
    num_queries: int
    fewest_iterations: int
    pretrained: str


def _large(config: str, memory: float, fixed: float) -> Backbone:
    where = 'ImageNet weights, downloaded once'
    return Backbone(config, 1e-4, 16, memory, fixed, 16, 150, 2000, where)


BACKBONES = {
    'r18': Backbone(
        *('oneformer_r18_demo.py', 7e-4, 8, 0.45, 1.1, 4, 24, 1600),
        'random weights',
    ),
    'effnet-lite0': Backbone(
        *('oneformer_effnet-lite0_coco.py', 7e-4, 8, 1.9, 1.1, 4, 100, 1600),
        'ImageNet weights of an installed package',
    ),
    'r50': _large('oneformer_r50_coco.py', 6.0, 2.0),
    'swin-t': _large('oneformer_swin-t_coco.py', 7.0, 2.0),
    'swin-l': _large('oneformer_swin-l_coco.py', 17.0, 4.5),
    'dinat-l': _large('oneformer_dinat-l_coco.py', 17.0, 4.5),
}


class Limits(NamedTuple):
    """What a kind of device computes in a bearable time.

    Attributes:
        test_side (int): Longest side of an image in test, in pixels.
        crop_side (int): Longest side of a training crop.
        batch (int): Most images of a batch.
    """

    test_side: int
    crop_side: int
    batch: int


LIMITS = dict(cpu=Limits(384, 192, 8), cuda=Limits(1333, 1024, 16))


def choose_backbone(
    machine: Machine, wanted: str | None, has_effnet: bool
) -> Choice:
    """Choose the network.

    Args:
        machine (Machine): To train on.
        wanted (str, optional): A key of ``BACKBONES``.
        has_effnet (bool): Whether the packages of EfficientNet-Lite0 are
            installed.
    """
    if wanted is not None:
        return Choice(wanted, 'as you asked')
    if machine.device == 'cuda':
        return Choice(
            'swin-t',
            f'the smallest of the large ones, for a GPU ({machine.name})',
        )
    if has_effnet:
        return Choice(
            'effnet-lite0',
            'the small one with ImageNet weights, as there is no GPU',
        )
    return Choice(
        'r18',
        'a small one without pretrained weights, as there is no GPU; with '
        "pip install '.[effnet-lite0]' there is a better one",
    )


def choose_test_side(measures: Measures, machine: Machine) -> Choice:
    """Choose the longer side of images in test, in pixels.

    Images are shown so large that three of four objects span ``OBJECT_SIDE``
    pixels, but not enlarged more than ``LARGEST_ZOOM`` times, and within the
    limit of the device. Without objects, as in label maps, they keep their
    size.
    """
    side = max(measures.height, measures.width)
    limit = LIMITS[machine.device].test_side
    zoom, why = 1.0, f'the images are {measures.width} x {measures.height}'
    if measures.object_side is not None:
        zoom = min(OBJECT_SIDE / measures.object_side, LARGEST_ZOOM)
        # Large images of large objects keep some detail.
        zoom = max(zoom, min(1.0, limit / side))
        why += (
            f', three of four objects span {measures.object_side:.0f} pixels '
            'or more'
        )
    wanted = round_up(side * zoom)
    value = min(wanted, round_up(limit))
    if value < wanted:
        where = 'CPU' if machine.device == 'cpu' else 'GPU'
        why += f'; {wanted} were better, but {limit} is the limit on a {where}'
    return Choice(value, why)


def choose_crop(measures: Measures, machine: Machine, side: int) -> Choice:
    """Choose height and width of training crops.

    They have the shape of the images, or are square where some stand and
    some lie, and show images whole where the device permits.

    Args:
        measures (Measures): Of the data.
        machine (Machine): To train on.
        side (int): Longer side of images in test.
    """
    longer = min(side, LIMITS[machine.device].crop_side)
    ratio = longer / max(measures.height, measures.width)
    value = (
        round_up(measures.height * ratio - 0.5),
        round_up(measures.width * ratio - 0.5),
    )
    why = 'the shape of the images'
    if measures.turned > TURNED_SHARE:
        value = (longer, longer)
        why = f'square, as {measures.turned:.0%} of the images are turned'
    if longer == side:
        return Choice(value, f'{why}, which fit as a whole')
    return Choice(
        value,
        f'{why}; a crop shows {longer / side:.0%} of their height and width, '
        'as a larger one would take too long',
    )


def choose_scales(side: int, crop: tuple[int, int]) -> Choice:
    """Choose the range of sizes of training images, relative to the crop.

    Args:
        side (int): Longer side of images in test.
        crop (tuple[int, int]): Height and width of the crop.
    """
    middle = side / max(crop)
    value = (round(0.75 * middle, 2), round(1.5 * middle, 2))
    return Choice(value, '0.75 to 1.5 times the size in test')


def choose_tile(kind: str, side: int, crop: tuple[int, int]) -> Choice:
    """Choose the height and width of tiles in test, None for whole images.

    A network that was trained on crops for some thousand iterations joins
    objects where an image shows several times as many (docs/results.md).
    Classes of label maps profit from the whole image.

    Args:
        kind (str): Of the annotation: 'panoptic', 'instance' or 'semantic'.
        side (int): Longer side of images in test.
        crop (tuple[int, int]): Height and width of training crops.
    """
    if kind == 'semantic' or max(crop) >= TILED_BELOW * side:
        return Choice(None, 'images are tested as a whole')
    return Choice(
        crop,
        'in test the image is cut into tiles that show as much as a crop, '
        'and their results are joined; seen as a whole, with several times '
        'as many objects, objects would be merged',
    )


def choose_queries(
    measures: Measures, backbone: Backbone, weights: str | None
) -> Choice:
    """Choose the number of queries.

    Each segment needs one, and a text slot, of which there are fewer. Half as
    many more leave room for images with more segments.
    """
    needed = round(1.5 * measures.segments) + backbone.num_context
    why = (
        f'19 of 20 images have at most {measures.segments} segments, and one '
        f'has {measures.most_segments}'
    )
    if weights is not None:
        return Choice(
            backbone.num_queries, f'the number of the weights; {why}'
        )
    if needed <= backbone.num_queries:
        return Choice(backbone.num_queries, f'{why}, so the usual number does')
    value = min(10 * math.ceil(needed / 10), MOST_QUERIES)
    if value < needed:
        why += (
            f'; more than {value} queries cost too much, so some segments go '
            'without one'
        )
    return Choice(value, why)


def choose_batch(
    measures: Measures,
    machine: Machine,
    backbone: Backbone,
    crop: tuple[int, int],
) -> Choice:
    """Choose the number of images of an iteration.

    At least 2, as the contrastive loss compares images.
    """
    each = backbone.memory * crop[0] * crop[1] / 1024**2
    free = max(0.0, machine.memory - backbone.fixed)
    fitting = int(MEMORY_SHARE * free / each)
    limit = min(LIMITS[machine.device].batch, backbone.base_batch)
    value = max(2, min(fitting, limit, measures.num_train))
    if measures.num_train <= value:
        why = 'all training images'
    elif value == limit:
        why = f'that of {backbone.config}'
        if limit < backbone.base_batch:
            why = 'more take too long on a CPU'
    else:
        why = (
            f'a crop takes about {each:.2g} GiB, and {free:.0f} are free for '
            f'{fitting} of them and some to spare'
        )
    if fitting < value:
        why += '; the contrastive loss needs 2, though they may not fit'
    return Choice(value, why)


def choose_lr(backbone: Backbone, batch: int) -> Choice:
    """Choose the learning rate.

    It grows with the square root of the batch, as the noise of the gradients
    that Adam divides by shrinks (arXiv:2205.10287).
    """
    value = backbone.lr * math.sqrt(batch / backbone.base_batch)
    value = float(f'{value:.2g}')
    if batch == backbone.base_batch:
        return Choice(value, f'that of {backbone.config} for this batch')
    return Choice(
        value,
        f'{backbone.lr:g} for batches of {backbone.base_batch}, times the '
        f'square root of {batch}/{backbone.base_batch}',
    )


def choose_iterations(
    measures: Measures, backbone: Backbone, batch: int
) -> Choice:
    """Choose the length of the training.

    ``MOST_EPOCHS`` passes over the images, as the reference on COCO, but not
    fewer iterations than a network needs to begin.
    """
    value = math.ceil(MOST_EPOCHS * measures.num_train / batch)
    if value >= backbone.fewest_iterations:
        return Choice(
            value,
            f'{MOST_EPOCHS} passes over {measures.num_train} images, as the '
            'reference on COCO',
        )
    value = backbone.fewest_iterations
    passes = value * batch / measures.num_train
    return Choice(
        value,
        f'the least for this network; {passes:.0f} passes over '
        f'{measures.num_train} images',
    )


def choose_warm_up(iterations: int) -> Choice:
    """Choose the iterations over which the learning rate rises."""
    value = max(1, min(500, iterations // 16))
    return Choice(value, 'a sixteenth of the training, at most 500')


def choose_checkpoint_interval(iterations: int) -> Choice:
    """Choose the iterations between checkpoints.

    A twentieth of the training, but at least 20, as writing takes as long as
    some iterations.
    """
    value = min(5000, max(20, iterations // 20))
    return Choice(value, 'no more is lost if the machine fails')


def choose_val_interval(iterations: int) -> Choice:
    """Choose the iterations between validations of tools/train.py."""
    value = max(1, math.ceil(iterations / 4))
    return Choice(value, 'four times in the training')


def choose_metrics(kind: str) -> Choice:
    """Choose the metrics, each of which needs its ground truth.

    Args:
        kind (str): Of the annotation: 'panoptic', 'instance' or 'semantic'.
    """
    return dict(
        panoptic=Choice(
            ('panoptic_quality', 'instance_ap', 'semantic_iou'),
            'panoptic annotation is the ground truth of all three tasks',
        ),
        instance=Choice(
            ('instance_ap',), 'instances are the ground truth of AP alone'
        ),
        semantic=Choice(
            ('semantic_iou',), 'label maps are the ground truth of mIoU alone'
        ),
    )[kind]


def choose_workers(machine: Machine) -> Choice:
    """Choose the processes that load images."""
    most = 1 if machine.device == 'cpu' else 4
    value = max(1, min(most, machine.cores))
    why = 'the others compute' if most == 1 else 'the images are ready in time'
    return Choice(value, why)


def validation_indices(number: int) -> list[int]:
    """Return which images validate where the data has no such split.

    Every ``VAL_STEP``-th, and at least one.
    """
    return list(range(min(VAL_STEP, number) - 1, number, VAL_STEP))


def round_up(length: float) -> int:
    """Return the next multiple of ``SIDE_STEP``, at least one."""
    return max(1, math.ceil(length / SIDE_STEP)) * SIDE_STEP
