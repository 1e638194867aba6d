"""Estimate memory and time of a training before it starts.

Counts the parameters of a config, measures the activations of training steps
on small images with the events of PyTorch's CPU allocator and extrapolates
them linearly in pixels, and counts the arithmetic in the same way. Each line
says whether its number is counted, measured, extrapolated or assumed.

Example: python tools/analysis_tools/estimate.py \\
             configs/oneformer_swin-t_coco.py --batch-size 2 --card a6000
"""

import argparse
import os.path as osp
import sys
from collections.abc import Callable
from typing import NamedTuple

HERE = osp.dirname(osp.abspath(__file__))
sys.path[:0] = [HERE, osp.dirname(HERE)]

from _cards import CARDS  # noqa: E402
from _cli import (  # noqa: E402
    add_config_options,
    load_config,
    one_line_errors,
    positive,
)

# Parts of a card's peak that training reaches; rough, for lack of better.
EFFICIENCY = dict(float32=0.5, half=0.25)
BACKWARD = 2  # arithmetic of backward, in forwards
GIB = 2**30


class Crop(NamedTuple):
    """What a training step on one image takes."""

    pixels: int
    activations: int  # bytes
    flops: int  # of the forward


class Estimate(NamedTuple):
    """Memory in bytes, arithmetic in operations, of one iteration."""

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    flops: int

    @property
    def memory(self) -> int:
        """All of it, in bytes."""
        return (
            self.weights + self.gradients + self.optimizer + self.activations
        )


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument(
        '--batch-size',
        type=positive,
        help='images per GPU; default: that of the config',
    )
    parser.add_argument(
        '--size',
        type=positive,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the training images; default: that of the pipeline',
    )
    parser.add_argument(
        '--objects', type=positive, default=30, help='objects per image'
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='estimate for half precision',
    )
    parser.add_argument(
        '--card', choices=sorted(CARDS), help='GPU to estimate the time for'
    )
    parser.add_argument(
        '--crops',
        type=positive,
        nargs=2,
        default=[128, 256],
        metavar='SIDE',
        help='sides of the two small images that are measured',
    )
    add_config_options(parser)
    options = parser.parse_args(args)
    small, large = sorted(options.crops)
    if small < 64 or small == large:
        parser.error(
            f'--crops needs two different sides of 64 or more, got {small} '
            f'and {large}.'
        )
    if options.objects < 1:
        parser.error('--objects needs 1 or more.')
    return options


def training_size(config) -> tuple[int, int]:
    """Return height and width that the training pipeline makes.

    Raises:
        ValueError: If no transform of the pipeline fixes the size.
    """
    dataset = config.train_dataloader.dataset
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset.dataset
    keys = dict(
        LargeScaleJitter='size',
        Pad='size',
        PadToSize='size',
        RandomCrop='crop_size',
        RandomChoiceResizeCrop='crop_size',
    )
    for transform in reversed(dataset.get('pipeline', [])):
        size = transform.get(keys.get(transform['type'], ''))
        if size is not None:
            # The others have the width first.
            first = transform['type'] == 'LargeScaleJitter'
            return tuple(size if first else size[::-1])
    from projects.oneformer.errors import InputError

    raise InputError(
        'The training pipeline neither pads nor crops to one size: give it '
        'as --size HEIGHT WIDTH.'
    )


def build(config):
    """Build the model of a config for training, without its weights file."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    from projects.oneformer.errors import InputError

    register_all_modules()
    cfg = config.model.copy()
    if 'metainfo' not in cfg:
        raise InputError('The config lacks model.metainfo.')
    if cfg.get('train_cfg') is None:
        raise InputError(
            'The config has no model.train_cfg, so nothing can be trained.'
        )
    cfg.init_cfg = cfg.backbone.init_cfg = None
    return MODELS.build(cfg).train()


def measure(model, side: int, objects: int) -> Crop:
    """Measure training steps on a square image with some objects."""
    from torch.utils.flop_counter import FlopCounterMode

    image, sample = training_image(model, side, objects)

    def step() -> None:
        forward().backward()
        model.zero_grad()

    def forward():
        return sum(model.loss(image, [sample]).values())

    step()  # builds what is built once
    with FlopCounterMode(display=False) as counter:
        forward()
    return Crop(side**2, peak_activations(step), counter.get_total_flops())


def training_image(model, side: int, objects: int) -> tuple:
    """Draw a image and its objects, at most half of it each."""
    import numpy as np
    import torch
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(0)
    masks = np.zeros((objects, side, side), np.uint8)
    for mask in masks:
        y, x = rng.integers(0, side // 2, 2)
        mask[y : y + side // 4, x : x + side // 2] = 1
    labels = rng.integers(0, len(model.class_names), objects)
    shape = (side, side)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=shape,
            ori_shape=shape,
            batch_input_shape=shape,
            task='panoptic',
            texts=[model.class_names[label] for label in labels],
            filler_text='a panoptic photo',
        )
    )
    sample.gt_instances = InstanceData(
        labels=torch.from_numpy(labels), masks=BitmapMasks(masks, *shape)
    )
    return torch.randn(1, 3, side, side), sample


def peak_activations(step: Callable) -> int:
    """Return how many bytes a step holds at most, by allocator events."""
    import warnings
    from itertools import accumulate

    from torch.profiler import ProfilerActivity, profile

    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Warning: Profiler clears events')
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            step()
    events = sorted(
        (
            event
            for event in profiler.profiler.kineto_results.events()
            if event.name() == '[memory]'
        ),
        key=lambda event: event.start_ns(),
    )
    return max(accumulate((e.nbytes() for e in events), initial=0))


def extrapolate(small: float, large: float, pixels: tuple, wanted: int) -> int:
    """Continue a straight line through two measurements.

    Args:
        small (float): At ``pixels[0]``.
        large (float): At ``pixels[1]``.
        pixels (tuple[int, int]): Of the measured images.
        wanted (int): Pixels to continue to.
    """
    slope = (large - small) / (pixels[1] - pixels[0])
    return round(large + slope * (wanted - pixels[1]))


def optimizer_values(config) -> int:
    """Return how many numbers the optimizer keeps per parameter.

    Raises:
        ValueError: If the optimizer is not known here.
    """
    optimizer = config.optim_wrapper.optimizer
    known = dict(AdamW=2, Adam=2, SGD=1 if optimizer.get('momentum') else 0)
    if optimizer.type not in known:
        from projects.oneformer.errors import InputError

        raise InputError(
            f'Expected one of {", ".join(known)} as optimizer, got '
            f'{optimizer.type}: its memory is not known here.'
        )
    return known[optimizer.type]


def estimate(
    config,
    batch_size: int,
    size: tuple[int, int],
    objects: int,
    amp: bool,
    crops: tuple[int, int],
) -> Estimate:
    """Estimate one iteration on one GPU.

    Args:
        config (Config): Of the training.
        batch_size (int): Images.
        size (tuple[int, int]): Height and width of the images.
        objects (int): Objects of each image.
        amp (bool): With half precision.
        crops (tuple[int, int]): Sides of the images that are measured.
    """
    model = build(config)
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    parameters = sum(count for count, _ in counts)
    trained = sum(count for count, needed in counts if needed)
    measured = [measure(model, side, objects) for side in sorted(crops)]
    pixels = tuple(crop.pixels for crop in measured)
    wanted = size[0] * size[1]
    activations = extrapolate(
        *(crop.activations for crop in measured), pixels, wanted
    )
    flops = extrapolate(*(crop.flops for crop in measured), pixels, wanted)
    return Estimate(
        parameters,
        trained,
        weights=4 * parameters,
        gradients=4 * trained,
        optimizer=4 * trained * optimizer_values(config),
        activations=batch_size * activations // (2 if amp else 1),
        flops=batch_size * flops * (1 + BACKWARD),
    )


def table(
    result: Estimate, amp: bool, card_name: str | None, crops: list[int]
) -> str:
    """Return the lines to print."""
    source = f'extrapolated from crops of {min(crops)} and {max(crops)}'
    halved = ', halved for half precision (assumed)' if amp else ''
    rows = [
        ('parameters', f'{result.parameters / 1e6:.2f} million', 'counted'),
        ('trained', f'{result.trained / 1e6:.2f} million', 'counted'),
        ('weights', gib(result.weights), 'counted, float32'),
        ('gradients', gib(result.gradients), 'counted, float32'),
        ('optimizer state', gib(result.optimizer), 'counted, float32'),
        ('activations', gib(result.activations), source + halved),
        ('memory', gib(result.memory), 'the sum; a GPU needs 1 GiB more'),
        (
            'arithmetic',
            f'{result.flops / 1e12:.2f} TFLOP',
            f'{source}; backward taken as {BACKWARD} forwards',
        ),
    ]
    if card_name:
        rows += time_rows(result, amp, card_name)
    width = max(len(value) for _, value, _ in rows)
    return '\n'.join(f'{n:16} {v:>{width}}  {how}' for n, v, how in rows)


def time_rows(
    result: Estimate, amp: bool, card_name: str
) -> list[tuple[str, str, str]]:
    """Return the lines about a card."""
    card = CARDS[card_name]
    kind = 'half' if amp else 'float32'
    peak, share = getattr(card, kind), EFFICIENCY[kind]
    seconds = result.flops / (1e12 * peak * share)
    fits = result.memory + GIB < card.memory * 1e9
    return [
        (
            'time',
            f'{seconds:.2f} s',
            f'per iteration on {card.name}: assumes {share:.0%} of '
            f'{peak:g} TFLOP/s (data sheet), no waiting for data',
        ),
        (
            'fits',
            'yes' if fits else 'no',
            f'into {card.memory} GB of {card.name}, by the estimate',
        ),
    ]


def gib(count: int) -> str:
    """Write bytes as GiB."""
    return f'{count / GIB:.2f} GiB'


def main(args: list[str] | None = None) -> None:
    """Print the estimate of a config."""
    options = parse_args(args)
    config = load_config(options.config, options.cfg_options)
    import projects.oneformer  # noqa: F401

    size = tuple(options.size or training_size(config))
    batch_size = options.batch_size or config.train_dataloader.batch_size
    result = estimate(
        config, batch_size, size, options.objects, options.amp, options.crops
    )
    print(
        f'{osp.basename(options.config)}: {batch_size} images of {size[0]} '
        f'x {size[1]} with {options.objects} objects each\n'
    )
    print(table(result, options.amp, options.card, options.crops))


if __name__ == '__main__':
    with one_line_errors():
        main()
