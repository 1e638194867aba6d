"""EoMT on a CPU: against transformers', and against our Swin-T.

All networks have random weights; time does not depend on them, except where
results are counted, which is not measured here. Ours and the one of
transformers have the same weights. Runs are interleaved: one of each, again
and again, so that what else the machine does meets all of them.

Run: OMP_NUM_THREADS=1 python benchmarks/eomt_cpu.py [--vit s] [--size 640]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

TASKS = ('panoptic', 'instance', 'semantic')
CONFIGS = Path(__file__).parents[1] / 'configs'


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--vit', choices='sbl', default='s')
    parser.add_argument('--size', type=int, default=640)
    parser.add_argument('--runs', type=int, default=7)
    parser.add_argument(
        '--without-swin', action='store_true', help='leave out our Swin-T'
    )
    return parser.parse_args()


def main() -> None:
    """Measure, and print medians and ratios."""
    args = parse_args()
    torch.manual_seed(0)
    cases = make_cases(args)
    with torch.inference_mode():
        for case in cases.values():  # what is computed once
            case()
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(args.runs):
            for name, case in cases.items():
                start = time.perf_counter()
                case()
                times[name].append(time.perf_counter() - start)
    report(args, times)


def make_cases(args: argparse.Namespace) -> dict[str, Callable]:
    """Return what is measured, by its name."""
    image = torch.rand(1, 3, args.size, args.size)
    plain = build(f'eomt-{args.vit}_coco', args.size)
    conditioned = build(f'oneformer_eomt-{args.vit}_coco', args.size)
    oracle = transformers_eomt(plain, args)
    cls_scores = predict(plain, image, TASKS[:1])[0][0]
    expected = oracle(image).class_queries_logits
    torch.testing.assert_close(cls_scores, expected, atol=1e-3, rtol=1e-3)
    cases = {
        'transformers, one call': lambda: oracle(image),
        'plain, one task': lambda: predict(plain, image, TASKS[:1]),
        'conditioned, one task': lambda: predict(
            conditioned, image, TASKS[:1]
        ),
        'conditioned, three tasks': lambda: predict(conditioned, image, TASKS),
    }
    if not args.without_swin:
        swin = build('oneformer_swin-t_coco')
        cases['Swin-T, one task'] = lambda: predict(swin, image, TASKS[:1])
        cases['Swin-T, three tasks'] = lambda: predict(swin, image, TASKS)
    return cases


def build(name: str, size: int | None = None) -> nn.Module:
    """Return a model of a config, for inference, with random weights."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from projects.oneformer.inferencer import inference_model

    config = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(config.default_scope)
    if size is not None:
        config.model.backbone.image_size = size
    return MODELS.build(inference_model(config.model)).eval()


def predict(
    model: nn.Module, image: Tensor, tasks: tuple[str, ...]
) -> list[tuple[Tensor, Tensor]]:
    """Return class and mask logits of each task."""
    output = model.panoptic_head.decode(
        model.pixel_features(image), [task for task in tasks for _ in image]
    )
    return list(output.by_task(len(tasks)))


def transformers_eomt(ours: nn.Module, args: argparse.Namespace) -> nn.Module:
    """Return the EoMT of transformers with the weights of ours."""
    from mmengine.config import Config
    from transformers import EomtConfig, EomtForUniversalSegmentation

    from projects.oneformer.weights.eomt import to_transformers_eomt
    from projects.oneformer.weights.eomt_folder import model_settings

    config = Config.fromfile(CONFIGS / f'eomt-{args.vit}_coco.py')
    config.model.backbone.image_size = args.size
    settings = model_settings(config)
    oracle = EomtForUniversalSegmentation(
        EomtConfig(**settings, attn_implementation='sdpa')
    )
    oracle.load_state_dict(to_transformers_eomt(ours.state_dict()))
    return oracle.eval()


def report(args: argparse.Namespace, times: dict[str, list[float]]) -> None:
    """Print a row for each case: median, spread, ratio to transformers."""
    first = statistics.median(next(iter(times.values())))
    print(
        f'ViT-{args.vit.upper()}, {args.size} x {args.size}, float32, '
        f'{torch.get_num_threads()} thread(s), {args.runs} interleaved runs'
    )
    print('| | median s | least s | most s | of transformers |')
    print('|---|---|---|---|---|')
    for name, own in times.items():
        median = statistics.median(own)
        print(
            f'| {name} | {median:.3f} | {min(own):.3f} | {max(own):.3f} | '
            f'{median / first:.2f} |'
        )


if __name__ == '__main__':
    main()
