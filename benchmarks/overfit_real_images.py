"""Overfit real images with the three tasks, as a check of the whole chain.

One model learns panoptic, instance and semantic segmentation of the images
of one folder in the COCO panoptic layout and is tested on the same images.
A chain without a fault reaches a high PQ.

Example: python benchmarks/overfit_real_images.py \\
             --data ../shared/data/coco_panoptic_mini
"""

import argparse
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--data', type=Path, required=True, help='folder')
    parser.add_argument(
        '--split', default='val2017', help='name of images and annotations'
    )
    parser.add_argument('--iterations', type=int, default=600)
    parser.add_argument('--weights', help='checkpoint to begin with')
    parser.add_argument('--long-side', type=int, default=512, help='pixels')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/overfit')
    )
    return parser.parse_args()


def main() -> None:
    """Train and test."""
    args = parse_args()
    from _cli import load_config

    config = load_config(
        str(ROOT / 'configs' / 'oneformer_effnet-lite0_coco.py'), {}
    )
    from mmengine.runner import Runner

    warnings.filterwarnings('ignore', 'torch.meshgrid')
    side = args.long_side
    resize = dict(
        type='Resize', scale=(side, side), keep_ratio=True, backend='pillow'
    )
    pipelines = dict(
        train=[  # neither flip nor jitter
            config.load_image,
            config.load_segments,
            resize,
            config.sample_task,
            config.task_targets,
            config.task_texts,
            config.pack_train,
        ],
        val=[
            config.load_image,
            resize,
            config.load_segments,
            config.eval_targets,
            config.pack_test,
        ],
    )
    loaders = {}
    for name, pipeline in pipelines.items():
        loader = config[f'{name}_dataloader']
        loader.batch_size = 2
        loader.dataset.update(
            data_root=str(args.data),
            ann_file=f'annotations/panoptic_{args.split}.json',
            data_prefix=dict(
                img=f'{args.split}/', seg=f'annotations/panoptic_{args.split}/'
            ),
            pipeline=pipeline,
        )
        loaders[name] = loader
    config.test_dataloader = loaders['val']
    config.work_dir = str(args.work_dir)
    config.load_from = args.weights
    config.train_cfg.update(
        max_iters=args.iterations, val_interval=args.iterations
    )
    config.param_scheduler = [
        config.warmup_lr,
        dict(config.poly_lr, end=args.iterations),
    ]
    Runner.from_cfg(config).train()


if __name__ == '__main__':
    main()
