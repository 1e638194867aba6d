"""Time and memory of DiNAT-L on an image, on the CPU, without weights.

Run: OMP_NUM_THREADS=2 python benchmarks/dinat_cpu.py [--model] [--size 512]
"""

import argparse
import importlib
import resource
import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def build(whole_model: bool) -> nn.Module:
    """Build DiNAT-L, or OneFormer on it, with 133 classes."""
    # First, since it makes mmdet importable where mmcv has no ops.
    importlib.import_module('projects.oneformer')
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    from projects.oneformer.weights.inference_model import inference_model

    register_all_modules()
    brick = ROOT / 'configs' / '_base_' / 'models' / 'oneformer_dinat-l.py'
    cfg = inference_model(Config.fromfile(brick).model)
    if not whole_model:
        return MODELS.build(cfg.backbone)
    cfg.metainfo = dict(
        classes=[str(i) for i in range(133)],
        thing_classes=[str(i) for i in range(80)],
    )
    return MODELS.build(cfg)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', action='store_true', help='the whole model')
    parser.add_argument('--size', type=int, default=512, help='side in pixels')
    args = parser.parse_args()
    model = build(args.model).eval()
    image = torch.rand(1, 3, args.size, args.size)
    with torch.inference_mode():
        start = time.perf_counter()
        model(image)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f'{"OneFormer, " if args.model else ""}DiNAT-L, {args.size} x '
        f'{args.size}, {torch.get_num_threads()} threads: {seconds:.1f} s, '
        f'{peak:.1f} GiB at most'
    )


if __name__ == '__main__':
    main()
