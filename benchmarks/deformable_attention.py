"""Time deformable attention and the pixel decoder, ours against others.

All run in turn, round by round, on the same inputs, so that what else the
machine does hits them alike. With one thread on a CPU the clock stands still
while the process waits for others. "Times as fast" is the median, over the
rounds, of the time of the first row over the time of this row. Memory is the
most that a run allocates beyond its inputs, at any one time.

Example: python benchmarks/deformable_attention.py --threads 1
"""

import argparse
import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

Runs = dict[str, Callable[[], object]]


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument(
        '--side', type=int, default=512, help='of the image, in pixels'
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--rounds', type=int, default=15, help='of sampling')
    parser.add_argument(
        '--decoder-rounds', type=int, default=5, help='of the pixel decoder'
    )
    parser.add_argument('--threads', type=int, default=1, help='of a CPU')
    parser.add_argument(
        '--keep-memory',
        action='store_true',
        help='let glibc keep what is freed, as it does after some training',
    )
    parser.add_argument(
        '--dtype', default='float32', help='float16 or bfloat16 on a GPU'
    )
    return parser.parse_args()


def main() -> None:
    """Print one table per batch size and direction."""
    args = parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('Skipped: PyTorch finds no GPU for --device cuda.')
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.device == 'cuda':
        print(torch.cuda.get_device_name())
    print(f'PyTorch {torch.__version__}, {args.threads} threads')
    if args.keep_memory:
        keep_memory()
    # The decoders last: what they leave changes how memory is allocated.
    for part, make, rounds in (
        (f'Sampling in {args.dtype}', make_sampling, args.rounds),
        ('Pixel decoder in float32', make_decoding, args.decoder_rounds),
    ):
        for batch in args.batch if rounds else ():
            runs, inputs = make(args, batch)
            for backward in (False, True):
                direction = 'forward + backward' if backward else 'forward'
                print(
                    f'\n{part}, batch {batch}, {args.side} x {args.side}, '
                    f'{direction}\n'
                )
                timed = differentiated(runs, inputs, backward)
                compare(timed, rounds, args.device)


def keep_memory() -> None:
    """Have glibc neither map large blocks nor give freed ones back."""
    trim_threshold, map_threshold = -1, -3  # M_... of malloc.h
    libc = ctypes.CDLL('libc.so.6')
    for option, value in ((map_threshold, 1 << 30), (trim_threshold, -1)):
        if not libc.mallopt(option, value):
            sys.exit('This C library does not keep memory as asked.')


def make_sampling(
    args: argparse.Namespace, batch: int
) -> tuple[Runs, list[Tensor]]:
    """Every way to sample at the sizes of the pixel decoder."""
    from projects.oneformer.mmcv_ops import has_compiled_ops
    from projects.oneformer.models.layers.deformable_sampling import (
        Levels,
        sample_grid,
        sample_rows,
    )

    sides = [args.side // stride for stride in (32, 16, 8)]
    levels = Levels.of(tuple((side, side) for side in sides), args.device)
    value, locations, weights = draw_inputs(args, levels, batch)
    inputs = (value, levels, locations, weights)

    from mmcv.ops.multi_scale_deform_attn import (
        MultiScaleDeformableAttnFunction,
        multi_scale_deformable_attn_pytorch,
    )

    points = (locations, weights)
    runs = {
        'mmcv, PyTorch': lambda: multi_scale_deformable_attn_pytorch(
            value, levels.shapes, *(x.type_as(value) for x in points)
        )
    }
    try:
        from transformers.models.oneformer.modeling_oneformer import (
            multi_scale_deformable_attention,
        )
    except ImportError:
        print('transformers is not installed, so it is left out.')
    else:
        runs['transformers'] = lambda: multi_scale_deformable_attention(
            value, levels.sizes, *(x.type_as(value) for x in points)
        )
    runs['ours, grid_sample'] = lambda: sample_grid(*inputs)
    runs['ours, pytorch'] = lambda: sample_rows(*inputs)
    if args.device == 'cuda':
        from projects.oneformer.models.layers.deformable_triton import (
            sample_triton,
        )

        runs['ours, triton'] = lambda: sample_triton(*inputs)
        if has_compiled_ops() and args.dtype == 'float32':
            runs['mmcv, compiled op'] = lambda: (
                MultiScaleDeformableAttnFunction.apply(
                    value, levels.shapes, levels.starts, *points, 64
                )
            )
    return runs, [value, locations, weights]


def draw_inputs(
    args: argparse.Namespace, levels, batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """8 heads of 32 channels look at 4 points a level, some pixels away."""
    centres = []
    for height, width in levels.sizes:
        y, x = torch.meshgrid(
            (torch.arange(height) + 0.5) / height,
            (torch.arange(width) + 0.5) / width,
            indexing='ij',
        )
        centres.append(torch.stack((x, y), dim=-1).flatten(0, 1))
    tokens = sum(levels.lengths)
    offsets = 3 * torch.randn(batch, tokens, 8, len(levels.sizes), 4, 2)
    locations = (
        torch.cat(centres)[None, :, None, None, None]
        + offsets / levels.shapes.cpu().flip(-1)[:, None]
    )
    weights = torch.randn(batch, tokens, 8, len(levels.sizes) * 4).softmax(-1)
    value = torch.randn(batch, tokens, 8, 32)
    return (
        value.to(args.device, getattr(torch, args.dtype)).requires_grad_(),
        locations.to(args.device).requires_grad_(),
        weights.view(offsets.shape[:-1]).to(args.device).requires_grad_(),
    )


def make_decoding(
    args: argparse.Namespace, batch: int
) -> tuple[Runs, list[Tensor]]:
    """The pixel decoder of mmdet and ours, for the features of a ResNet-50."""
    # First, since it makes mmdet work without the compiled ops of mmcv.
    from projects.oneformer.models import OneFormerPixelDecoder  # isort: skip
    from mmdet.models.layers import MSDeformAttnPixelDecoder
    from mmengine import Config

    model = Config.fromfile(
        ROOT / 'configs' / '_base_' / 'models' / 'oneformer_r50.py'
    ).model
    config = model.panoptic_head.pixel_decoder
    config.pop('type')
    config.in_channels = model.panoptic_head.in_channels
    theirs = MSDeformAttnPixelDecoder(**config).to(args.device)
    theirs.init_weights()
    ours = OneFormerPixelDecoder(**config).to(args.device)
    ours.load_state_dict(theirs.state_dict())
    feats = [
        torch.randn(
            batch,
            channels,
            args.side // stride,
            args.side // stride,
            device=args.device,
        )
        for channels, stride in zip(
            config.in_channels, (4, 8, 16, 32), strict=True
        )
    ]
    runs = {
        # Dropout where gradients are asked for.
        'mmdet': lambda: theirs.train(torch.is_grad_enabled())(feats),
        'ours': lambda: ours.train(torch.is_grad_enabled())(feats),
    }
    return runs, list(ours.parameters()) + list(theirs.parameters())


def differentiated(runs: Runs, inputs: list[Tensor], backward: bool) -> Runs:
    """Add the gradients of all inputs to each run, or leave them out."""

    def complete(run: Callable) -> Callable:
        def forward() -> None:
            with torch.no_grad():
                run()

        def forward_and_backward() -> None:
            outputs = run()
            if not isinstance(outputs, Tensor):
                outputs = torch.cat([x.flatten() for x in _flat(outputs)])
            torch.autograd.grad(
                outputs,
                inputs,
                torch.ones_like(outputs),
                allow_unused=True,
            )

        return forward_and_backward if backward else forward

    return {name: complete(run) for name, run in runs.items()}


def _flat(outputs: tuple[Tensor, list[Tensor]]) -> list[Tensor]:
    return [outputs[0], *outputs[1]]


def compare(runs: Runs, rounds: int, device: str) -> None:
    """Print times, ratio to the first run, and peak memory of every run."""
    peaks = {name: peak_memory(run, device) for name, run in runs.items()}
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, device))
    first, *_ = times.values()
    print(
        '| run | median ms | min | max | times as fast | peak MB |\n'
        '|---|---|---|---|---|---|'
    )
    for name, found in times.items():
        ratio = statistics.median(
            a / b for a, b in zip(first, found, strict=True)
        )
        median, low, high = (
            1e3 * f(found) for f in (statistics.median, min, max)
        )
        print(
            f'| {name} | {median:.1f} | {low:.1f} | {high:.1f} | '
            f'{ratio:.2f} | {peaks[name] / 1e6:.0f} |',
            flush=True,
        )


def seconds(run: Callable, device: str) -> float:
    """How long one run takes; with one CPU thread, how long it computes."""
    alone = device == 'cpu' and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    if device == 'cuda':
        torch.cuda.synchronize()
    start = clock()
    run()
    if device == 'cuda':
        torch.cuda.synchronize()
    return clock() - start


def peak_memory(run: Callable, device: str) -> int:
    """The most bytes that one run, after a first, has at any one time."""
    run()
    if device == 'cuda':
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == '[memory]':
            held += event.nbytes()
            peak = max(peak, held)
    return peak


if __name__ == '__main__':
    main()
