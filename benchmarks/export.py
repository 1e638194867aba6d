"""Exported models against eager PyTorch, on a CPU: seconds of an image.

The inferencer and the runner read the same image and make the same results,
in turns, with random weights that are sure of a class in one query of five. A
ratio is the runner's seconds divided by the inferencer's, taken round by
round.

Run: OMP_NUM_THREADS=2 python benchmarks/export.py --out table.md
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from _measure import Row, compare, interleave, machine, markdown
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
from projects.oneformer.runtime import OnnxSegmenter
from projects.oneformer.tasks import TASKS

# Config, side of the images and what the ratio of a network is to reach.
NETWORKS = {
    'tiny': ('oneformer_r18_demo', 128, 0.6),
    'swin-t': ('oneformer_swin-t_coco', 512, 0.8),
}


def make_inferencer(config: Config, size: int) -> OneFormerInferencer:
    """Return a model with random weights that is sure of some queries."""
    register_all_modules()
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (size, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'weights.pth')
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
        torch.save(dict(state_dict=network.state_dict()), path)
        return OneFormerInferencer(config, path, 'cpu')


def rows(name: str, repeats: int, size: int | None) -> Iterator[Row]:
    """Measure a network with one task and with three."""
    config_name, default_size, target = NETWORKS[name]
    size = size or default_size
    config = Config.fromfile(ROOT / 'configs' / f'{config_name}.py')
    inferencer = make_inferencer(config, size)
    image = drawn_image(size)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(config, inferencer.model, Path(folder, 'onnx'))
        runners = {
            backend: OnnxSegmenter(Path(folder, 'onnx'), backend, threads)
            for backend in installed_backends()
        }
        for tasks in (TASKS[:1], TASKS):
            calls = {
                'torch': lambda tasks=tasks: list(inferencer(image, tasks)),
                **{
                    backend: lambda tasks=tasks, run=run: run(image, tasks)
                    for backend, run in runners.items()
                },
            }
            seconds = interleave(calls, repeats)
            for backend in runners:
                yield compare(
                    f'{name}, {size} x {size}, {len(tasks)} '
                    f'task{"s" * (len(tasks) > 1)}, {backend}, s',
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
