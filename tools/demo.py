"""The main job in minutes on a CPU: train once, solve three tasks.

Trains one small OneFormer on panoptic, instance and semantic segmentation
together, evaluates all three in one test run and draws a sheet of images.
Run it again after an interruption to resume.

Example: python tools/demo.py --data my_data
"""

import argparse
import contextlib
import json
import sys
import time
import warnings
from pathlib import Path

from _cli import (
    add_config_options,
    check_numbers,
    load_config,
    one_line_errors,
    override,
)

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'oneformer_r18_demo.py'
NUM_ROWS = 6


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--data',
        type=Path,
        help='folder in the COCO panoptic layout: train/ and val/ with '
        'images, annotations/panoptic_{train,val}.json and PNGs in folders '
        'of that name. By default a small set is drawn for the purpose',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder for data, checkpoints, log and drawings',
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the demo."""
    args = parse_args()
    warnings.filterwarnings('ignore', 'torch.meshgrid')  # mmdet's, harmless
    start = time.time()
    work_dir = args.work_dir
    if args.data is None:
        data = make_data(work_dir / 'data')
    else:
        data = check_data(args.data)
        work_dir = work_dir / args.data.resolve().name
    work_dir.mkdir(parents=True, exist_ok=True)
    with open(work_dir / 'log.txt', 'a', buffering=1) as log:
        with contextlib.redirect_stdout(log):  # messages of imports
            config = prepare(data, work_dir, args.cfg_options)
        checkpoint = train(config, log)
        metrics = test(config, checkpoint, log)
        sheet = draw_sheet(config, checkpoint, data, work_dir / 'sheet.png')
    (work_dir / 'metrics.json').write_text(json.dumps(metrics, indent=1))

    from projects.oneformer.engine.task_table_hook import task_table

    print(task_table(metrics))
    print(f'\nLook at {sheet}. Metrics, log and weights are beside it.')
    print(f'The demo took {(time.time() - start) / 60:.1f} minutes.')


def make_data(folder: Path) -> Path:
    """Draw the demo's own data set, once."""
    if not folder.exists():
        sys.path.insert(0, str(Path(__file__).parent / 'misc'))
        from make_demo_data import make_demo_data

        print(f'Drawing the data set in {folder}')
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_demo_data(folder)
    return folder


def check_data(folder: Path) -> Path:
    """Return the folder if it has the layout that the demo reads."""
    for split in ('train', 'val'):
        for path in (
            folder / split,
            folder / 'annotations' / f'panoptic_{split}.json',
            folder / 'annotations' / f'panoptic_{split}',
        ):
            if not path.exists():
                sys.exit(
                    f'{path} does not exist. The demo reads {split}/ with '
                    f'images, annotations/panoptic_{split}.json and PNGs in '
                    f'annotations/panoptic_{split}/.'
                )
    return folder


def prepare(data: Path, work_dir: Path, overrides: dict):
    """Return the demo's config for a data set."""
    config = load_config(str(CONFIG), {})
    content = json.loads(
        (data / 'annotations' / 'panoptic_train.json').read_text()
    )
    categories = content['categories']
    metainfo = dict(
        classes=tuple(c['name'] for c in categories),
        thing_classes=tuple(c['name'] for c in categories if c['isthing']),
    )
    most = max(len(a['segments_info']) for a in content['annotations'])
    config.merge_from_dict(
        {
            'model.metainfo': metainfo,
            # Room for every segment, within what a CPU can bear.
            'model.panoptic_head.num_queries': min(max(24, most + 8), 100),
            'work_dir': str(work_dir),
        }
    )
    for loader in ('train', 'val', 'test'):
        config[f'{loader}_dataloader'].dataset.data_root = str(data)
    override(config, overrides)
    check_numbers(config)
    return config


def train(config, log) -> str:
    """Train, or resume training, and return the last checkpoint."""
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    from projects.oneformer.engine import WorkDirError
    from projects.oneformer.engine.work_dir import (
        explained_disk_errors,
        resume_from_newest,
    )

    class Progress(Hook):
        """Print a line now and then."""

        def before_train(self, runner) -> None:
            self.start, self.first = time.time(), runner.iter

        def after_train_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ) -> None:
            done, total = runner.iter + 1, runner.max_iters
            if done % (total // 20 or 1) and done != total:
                return
            pace = (time.time() - self.start) / (done - self.first)
            left = time.strftime('%M:%S', time.gmtime(pace * (total - done)))
            loss = outputs['loss'].item()
            print(
                f'  iteration {done:5d} of {total}   loss {loss:6.2f}   '
                f'{left} left',
                file=console,
                flush=True,
            )

    console = sys.stdout
    total = config.train_cfg.max_iters
    final = str(Path(config.work_dir, f'iter_{total}.pth'))
    try:
        report = resume_from_newest(config)
        if config.load_from == final:
            print(f'Trained before: {final}')
            return final
        print(*report, f'Three tasks, {total} iterations', sep='\n')
        with contextlib.redirect_stdout(log), explained_disk_errors():
            runner = Runner.from_cfg(config)
            runner.register_hook(Progress(), priority='LOWEST')
            runner.train()
    except KeyboardInterrupt as interruption:
        sys.exit(f'\n{interruption} Run the same command again to resume.')
    except WorkDirError as error:
        sys.exit(str(error))
    return final


def test(config, checkpoint: str, log) -> dict[str, float]:
    """Evaluate the three tasks in one run and return the metrics."""
    from copy import deepcopy

    from mmengine.runner import Runner

    from projects.oneformer.inferencer import inference_model

    print('Evaluating panoptic, instance and semantic in one run')
    config = deepcopy(config)
    config.load_from, config.resume = checkpoint, False
    config.model = inference_model(config.model)
    config.visualizer.name = 'test'  # the one of training exists by now
    with contextlib.redirect_stdout(log):
        metrics = Runner.from_cfg(config).test()
    return {name: float(value) for name, value in metrics.items()}


def draw_sheet(config, checkpoint: str, data: Path, target: Path) -> Path:
    """Draw some validation images with ground truth and predictions."""
    import mmcv
    import numpy as np
    from mmdet.registry import DATASETS

    from projects.oneformer.datasets import LoadPanopticSegments
    from projects.oneformer.images import read_image
    from projects.oneformer.inferencer import OneFormerInferencer
    from projects.oneformer.segment_ids import decode_ids
    from projects.oneformer.tasks import TASKS
    from projects.oneformer.visualization import (
        draw_result,
        ground_truth_sample,
        image_sheet,
    )

    inferencer = OneFormerInferencer(config, checkpoint)
    meta = inferencer.dataset_meta
    dataset = DATASETS.build(config.val_dataloader.dataset)
    load_segments = LoadPanopticSegments()
    step = max(1, len(dataset) // NUM_ROWS)
    rows = []
    for index in range(0, len(dataset), step)[:NUM_ROWS]:
        info = dataset.get_data_info(index)
        image = read_image(info['img_path'])[..., ::-1]  # RGB
        ids = decode_ids(load_segments(dict(info))['gt_seg_map'])
        truth = ground_truth_sample(
            ids, info['segments_info'], len(meta['classes'])
        )
        (result,) = inferencer(info['img_path'])
        rows.append(
            [
                image,
                draw_result(image, truth, 'panoptic', meta),
                *(np.asarray(result.plot(task)) for task in TASKS),
            ]
        )
    sheet = image_sheet(rows, ['image', 'ground truth', *TASKS])
    mmcv.imwrite(sheet[..., ::-1], str(target))
    return target


if __name__ == '__main__':
    with one_line_errors():
        main()
