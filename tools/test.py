"""Evaluate a model: PQ, AP and mIoU, each with its task token, in one run.

Example: python tools/test.py configs/oneformer_swin-t_coco.py model.pth
"""

import argparse
import sys

from _cli import (
    add_run_options,
    build_runner,
    finish,
    load_config,
    one_line_errors,
)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', metavar='FILE.pkl', help='also write all predictions there'
    )
    parser.add_argument(
        '--show-dir', help='also draw the predictions into this folder'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: mIoU over the scales and flips of '
        'tta_pipeline; PQ and AP are left out',
    )
    add_run_options(parser)
    return parser.parse_args()


def augment(config) -> None:
    """Let the model see scales and flips of each image (semantic only)."""
    missing = [
        key for key in ('tta_model', 'tta_pipeline') if key not in config
    ]
    if missing:
        sys.exit(
            f'--tta needs {" and ".join(missing)} in the config: add one of '
            'configs/_base_/tta/ to its _base_. COCO has none, since no '
            'scores with test-time augmentation are published for it.'
        )
    metrics = config.test_evaluator
    metrics = [metrics] if isinstance(metrics, dict) else metrics
    metrics = [
        metric for metric in metrics if metric.get('prefix') == 'semantic'
    ]
    if not metrics:
        sys.exit(
            '--tta is for the semantic task, panoptic and instance results '
            'have no average: test_evaluator needs a metric with the prefix '
            "'semantic'."
        )
    config.test_evaluator = metrics
    config.model = dict(config.tta_model, module=config.model)
    config.test_dataloader.dataset.pipeline = config.tta_pipeline


def main() -> None:
    """Evaluate."""
    args = parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        sys.exit(f'--out {args.out} must end in .pkl or .pickle.')
    config = load_config(args.config, args.cfg_options)
    from projects.oneformer.weights.inference_model import inference_model

    config.load_from = args.checkpoint
    config.model = inference_model(config.model)
    if args.tta:
        augment(config)
    if args.show_dir:
        config.setdefault('custom_hooks', []).append(
            dict(type='ResultDrawingHook', out_dir=args.show_dir)
        )
    runner = build_runner(config, args)
    if args.out:
        from mmdet.evaluation import DumpDetResults

        runner.test_evaluator.metrics.append(
            DumpDetResults(out_file_path=args.out)
        )
    runner.test()
    finish()


if __name__ == '__main__':
    with one_line_errors():
        main()
