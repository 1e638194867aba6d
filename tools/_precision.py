"""The precision of a training: of the config, of the options, or possible."""

import argparse
import sys


def choose_precision(config, args: argparse.Namespace) -> None:
    """Set the precision that the options or the machine ask for."""
    if args.amp:
        use_mixed_precision(config, args.amp)
    elif args.no_amp:
        use_float32(config)
    else:
        use_what_there_is(config)


def use_mixed_precision(config, dtype: str) -> None:
    """Set up mixed precision in a config."""
    import torch

    if not torch.cuda.is_available():
        sys.exit('--amp needs a GPU, and PyTorch finds none: leave it out.')
    config.optim_wrapper.type = 'AmpOptimWrapper'
    config.optim_wrapper.dtype = dtype
    # Only float16 can underflow.
    config.optim_wrapper.loss_scale = 'dynamic' if dtype == 'float16' else 1.0


def use_float32(config) -> None:
    """Undo the mixed precision of a config."""
    if config.optim_wrapper.type == 'AmpOptimWrapper':
        config.optim_wrapper.type = 'OptimWrapper'
        for option in ('dtype', 'loss_scale', 'use_fsdp'):
            config.optim_wrapper.pop(option, None)


def use_what_there_is(config) -> None:
    """Train in float32 where mixed precision is not to be had."""
    import torch

    wrapper = config.optim_wrapper
    if wrapper.type != 'AmpOptimWrapper' or torch.cuda.is_available():
        return
    print(
        f'The config asks for mixed precision ({wrapper.get("dtype")}), which '
        'needs a GPU, and PyTorch finds none: training in float32.',
        file=sys.stderr,
    )
    use_float32(config)
