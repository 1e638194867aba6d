"""Train a tiny model once and solve three tasks, in minutes on a CPU.

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
from _whole_run import log_file, run

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'oneformer_r18_demo.py'


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
        'of that name. By default a small data set is drawn',
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
    # What imports print goes to the file, too.
    with log_file(work_dir) as log, contextlib.redirect_stdout(log):
        config = prepare(data, work_dir, args.cfg_options)
    run(config)
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


if __name__ == '__main__':
    with one_line_errors():
        main()
