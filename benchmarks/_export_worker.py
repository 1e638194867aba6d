"""One way to run a model, in a process of its own: what export.py starts.

A line of the input is a number of tasks; a line of the output, ``seconds``
and how long their results took.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from projects.oneformer.tasks import TASKS  # noqa: E402

#: What a line with an answer starts with; libraries print others.
ANSWER = 'seconds'


def main() -> None:
    """Load the model of a folder, then answer until the input ends."""
    backend, folder = sys.argv[1], Path(sys.argv[2])
    threads = int(os.environ['OMP_NUM_THREADS'])
    call = load(backend, folder, threads)
    image = np.load(folder / 'image.npy')
    for line in sys.stdin:
        tasks = TASKS[: int(line)]
        call(image, tasks)  # another process had the processor's caches
        start = time.perf_counter()
        call(image, tasks)
        print(ANSWER, time.perf_counter() - start, flush=True)


def load(
    backend: str, folder: Path, threads: int
) -> Callable[[np.ndarray, Sequence[str]], object]:
    """Return what makes results of an image with PyTorch, or from files."""
    if backend != 'torch':
        from projects.oneformer.runtime import OnnxSegmenter

        return OnnxSegmenter(folder / 'onnx', backend, threads)
    import torch

    from projects.oneformer.inferencer import OneFormerInferencer

    torch.set_num_threads(threads)
    inferencer = OneFormerInferencer(
        folder / 'config.py', folder / 'weights.pth', 'cpu'
    )
    return lambda image, tasks: list(inferencer(image, tasks))


if __name__ == '__main__':
    main()
