"""Train one model on panoptic, instance-only and semantic-only images.

Two images of COCO with panoptic annotations, some with instances alone and
street scenes of CamVid with label maps alone; 133 classes of COCO and those
of CamVid that have no namesake among them. Then each part is evaluated, with
the metrics of its annotation. The panoptic images are tested on
themselves, the others on images that were not trained on.

Example: python benchmarks/mixed_real_data.py --data ../shared/data
"""

import argparse
import runpy
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

CAMVID = (
    *('car', 'pedestrian', 'bicyclist', 'sky', 'building', 'pole'),
    *('road', 'pavement', 'tree', 'sign', 'fence'),
)
CAMVID_THINGS = ('car', 'pedestrian', 'bicyclist')


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--data',
        type=Path,
        required=True,
        help='folder of coco_panoptic_mini, coco_things_mini, camvid_panoptic',
    )
    parser.add_argument('--iterations', type=int, default=120)
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/mixed')
    )
    return parser.parse_args()


def make_label_maps(data: Path, work_dir: Path) -> Path:
    """Make what a user with label maps alone has."""
    for split in ('train', 'val'):
        annotations = data / 'camvid_panoptic' / 'annotations'
        sys.argv = [
            'from_panoptic.py',
            str(annotations / f'panoptic_{split}.json'),
            str(annotations / f'panoptic_{split}'),
            *('--semantic', str(work_dir / 'camvid' / split)),
        ]
        tools = ROOT / 'tools' / 'dataset_converters'
        sys.path.insert(0, str(tools))
        runpy.run_path(str(tools / 'from_panoptic.py'), run_name='__main__')
    return work_dir / 'camvid'


def make_parts(data: Path, labels: Path, metainfo: dict) -> dict:
    """Return the datasets to train on and to test, by kind."""
    own = dict(metainfo=metainfo, missing_classes='ignore')
    coco = data / 'coco_panoptic_mini'
    panoptic = dict(
        type='OneFormerPanopticDataset',
        data_root=str(coco),
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017', seg='annotations/panoptic_val2017'),
        **own,
    )
    things = {
        split: dict(
            type='OneFormerInstanceDataset',
            data_root=str(data / 'coco_things_mini'),
            ann_file=f'annotations/instances_{split}2017.json',
            data_prefix=dict(img=f'{split}2017'),
            **own,
        )
        for split in ('train', 'val')
    }
    camvid = {
        split: dict(
            type='OneFormerSemanticDataset',
            data_prefix=dict(
                img=str(data / 'camvid_panoptic' / split),
                seg=str(labels / split),
            ),
            png_classes=CAMVID,
            **own,
        )
        for split in ('train', 'val')
    }
    return dict(
        panoptic=(panoptic, panoptic),
        instance=(things['train'], things['val']),
        semantic=(camvid['train'], camvid['val']),
    )


def main() -> None:
    """Train, and test each part."""
    args = parse_args()
    labels = make_label_maps(args.data, args.work_dir)
    from _cli import load_config

    config = load_config(
        str(ROOT / 'configs' / 'oneformer_effnet-lite0_camvid.py'), {}
    )
    from mmengine.config import Config
    from mmengine.runner import Runner

    warnings.filterwarnings('ignore', 'torch.meshgrid')
    coco = Config.fromfile(ROOT / 'configs/oneformer_effnet-lite0_coco.py')
    own = tuple(n for n in CAMVID if n not in coco.metainfo.classes)
    metainfo = dict(
        classes=(*coco.metainfo.classes, *own),
        thing_classes=(
            *coco.metainfo.thing_classes,
            *(name for name in own if name in CAMVID_THINGS),
        ),
    )
    train_pipeline = [
        config.load_image,
        config.load_segments,
        config.random_flip,
        dict(config.scale_jitter, size=(160, 160), ratio_range=(0.75, 2.0)),
        config.sample_task,
        config.task_targets,
        config.task_texts,
        config.pack_train,
    ]
    test_pipeline = [
        config.load_image,
        dict(config.resize, scale=(320, 240)),
        config.load_segments,
        config.eval_targets,
        config.pack_test,
    ]
    parts = make_parts(args.data, labels, metainfo)
    times = dict(panoptic=50, instance=4, semantic=1)
    config.model.metainfo = metainfo
    config.train_dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='RepeatDataset',
                times=times[kind],
                dataset=dict(train, pipeline=train_pipeline),
            )
            for kind, (train, _) in parts.items()
        ],
    )
    config.work_dir = str(args.work_dir)
    config.train_cfg.update(
        max_iters=args.iterations, val_interval=args.iterations + 1
    )
    config.param_scheduler = [
        dict(config.warmup_lr, end=20),
        dict(config.poly_lr, begin=20, end=args.iterations),
    ]
    config.default_hooks.logger.interval = 20
    metrics = dict(
        panoptic=config.val_evaluator,
        instance=[m for m in config.val_evaluator if m.prefix == 'instance'],
        # Over the classes of CamVid, not over all that are predicted.
        semantic=[
            dict(type='SemanticIoU', average='truth', prefix='semantic')
        ],
    )
    val_dataloader = config.val_dataloader
    config.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    config.update(test_dataloader=None, test_cfg=None, test_evaluator=None)
    Runner.from_cfg(config).train()

    config.load_from = str(args.work_dir / f'iter_{args.iterations}.pth')
    for kind, (_, test) in parts.items():
        config.experiment_name = f'mixed_{kind}'
        config.test_dataloader = dict(
            val_dataloader,
            dataset=dict(test, pipeline=test_pipeline, test_mode=True),
        )
        config.test_cfg = dict(type='TestLoop')
        config.test_evaluator = metrics[kind]
        config.model.test_cfg.tasks = [m['prefix'] for m in metrics[kind]]
        Runner.from_cfg(config).test()


if __name__ == '__main__':
    main()
