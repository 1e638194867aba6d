"""Exported models against eager PyTorch, on a CPU: seconds of an image.

The inferencer and the runner read the same image and make the same results,
in turns, with random weights that are sure of a class in one query of five. A
ratio is the runner's seconds divided by the inferencer's, taken round by
round. Each has a process of its own, as it has in use: idle threads of one
library wait actively for a while, which slows down the next one.

Run: OMP_NUM_THREADS=2 python benchmarks/export.py --out table.md
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from _export_worker import ANSWER
from _measure import Row, compare, machine, markdown
from _models import (
    MODELS,
    ROOT,
    Config,
    images,
    inference_model,
    randomise,
    register_all_modules,
    sharpen,
    test_samples,
)

from projects.oneformer.export import export_onnx
from projects.oneformer.export.onnx_files import installed_backends
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.tasks import TASKS

# Config, side of the images and what the ratio of a network is to reach.
NETWORKS = {
    'tiny': ('oneformer_r18_demo', 128, 0.6),
    'swin-t': ('oneformer_swin-t_coco', 512, 0.8),
}
#: Seconds after which threads of the last call no longer wait actively.
PAUSE = 0.3
THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')


def save_model(config: Config, size: int, folder: Path) -> None:
    """Write a model with random weights that is sure of some queries."""
    register_all_modules()
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (size, size)
    network = MODELS.build(inference_model(config.model))
    torch.manual_seed(0)
    randomise(network)
    network.eval()
    image = images(1, size, size)
    with torch.no_grad():
        samples = test_samples(size, 1, 'panoptic')
        cls_scores, _ = network(image, samples, 'tensor')
        head = network.panoptic_head
        sharpen(head.cls_embed, cls_scores[-1][0], share=0.2)
    config.dump(folder / 'config.py')
    torch.save(dict(state_dict=network.state_dict()), folder / 'weights.pth')
    inferencer = OneFormerInferencer(config, folder / 'weights.pth', 'cpu')
    export_onnx(config, inferencer.model, folder / 'onnx')
    np.save(folder / 'image.npy', drawn_image(size))


@contextmanager
def worker(backend: str, folder: Path) -> Iterator[subprocess.Popen]:
    """Start a process that runs the model of a folder; it ends with us."""
    with subprocess.Popen(
        [
            sys.executable,
            Path(__file__).with_name('_export_worker.py'),
            backend,
            folder,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {name: str(torch.get_num_threads()) for name in THREADS},
    ) as process:
        yield process
        process.stdin.close()


def ask(process: subprocess.Popen, num_tasks: int) -> float:
    """Return the seconds that a process needs for results of the image."""
    time.sleep(PAUSE)
    process.stdin.write(f'{num_tasks}\n')
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith(ANSWER):
            return float(line.removeprefix(ANSWER))
    raise RuntimeError('A worker ended; its error stands above.')


def rows(name: str, repeats: int, size: int | None) -> Iterator[Row]:
    """Measure a network with one task and with three."""
    config_name, default_size, target = NETWORKS[name]
    size = size or default_size
    config = Config.fromfile(ROOT / 'configs' / f'{config_name}.py')
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        save_model(config, size, folder)
        workers = {
            backend: stack.enter_context(worker(backend, folder))
            for backend in ('torch', *installed_backends())
        }
        for num_tasks in (1, len(TASKS)):
            seconds = {backend: [] for backend in workers}
            for _ in range(repeats):
                for backend, process in workers.items():
                    seconds[backend].append(ask(process, num_tasks))
            for backend in installed_backends():
                yield compare(
                    f'{name}, {size} x {size}, {num_tasks} '
                    f'task{"s" * (num_tasks > 1)}, {backend}, s',
                    'eager PyTorch',
                    seconds[backend],
                    seconds['torch'],
                    target=target,
                )


def drawn_image(size: int) -> np.ndarray:
    """Return an image with coarse and fine structure, BGR."""
    image = images(1, size, size)[0].permute(1, 2, 0) * 58 + 116
    return image.clamp(0, 255).byte().numpy()


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--networks', nargs='+', choices=NETWORKS, default=[*NETWORKS]
    )
    parser.add_argument('--size', type=int, help='side of the image')
    parser.add_argument('--repeats', type=int, default=9, help='rounds')
    parser.add_argument('--out', type=Path, help='Markdown file to write')
    args = parser.parse_args()
    warnings.filterwarnings('ignore')
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', '2')))
    about, found = machine(), []
    for name in args.networks:
        found += rows(name, args.repeats, args.size)
        if args.out:  # what is there, should a later network fail
            args.out.write_text(markdown(found, about))
    print(markdown(found, about))


if __name__ == '__main__':
    main()
