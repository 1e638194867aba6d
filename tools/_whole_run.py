"""Train, test and draw in one go, with progress, and resumable.

The demo and ``oneformer train DATA`` are a config and these steps. What
mmengine logs goes to a file; the console shows progress and time left.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import IO

NUM_ROWS = 6  # images of the sheet
NUM_LINES = 20  # of progress in a training


def run(config) -> dict[str, float]:
    """Train or resume, evaluate and draw; print the table of the metrics.

    Args:
        config (Config): Of the training; files go to its ``work_dir``.

    Returns:
        dict[str, float]: The metrics, which ``metrics.json`` holds as well.
    """
    from projects.oneformer.engine.task_table_hook import task_table

    work_dir = Path(config.work_dir)
    with log_file(work_dir) as log:
        checkpoint = train(config, log)
        metrics = test(config, checkpoint, log)
        sheet = draw_sheet(config, checkpoint, work_dir / 'sheet.png')
    (work_dir / 'metrics.json').write_text(json.dumps(metrics, indent=1))
    print(task_table(metrics))
    print(f'\nLook at {sheet}. Metrics, log and weights are beside it.')
    return metrics


@contextlib.contextmanager
def log_file(work_dir: Path) -> Iterator[IO[str]]:
    """Open the file that takes what the libraries print."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with open(work_dir / 'log.txt', 'a', buffering=1) as log:
        yield log


def train(config, log: IO[str]) -> str:
    """Train, or resume training, and return the last checkpoint.

    The model is not evaluated while it is trained: :func:`test` does so at
    the end.
    """
    from mmengine.runner import Runner

    from projects.oneformer.engine import WorkDirError
    from projects.oneformer.engine.work_dir import (
        explained_disk_errors,
        resume_from_newest,
    )

    config = deepcopy(config)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    total = config.train_cfg.max_iters
    final = str(Path(config.work_dir, f'iter_{total}.pth'))
    progress = training_progress(sys.stdout)
    try:
        report = resume_from_newest(config)
        if config.load_from == final:
            print(f'Trained before: {final}')
            return final
        tasks = ', '.join(config.model.test_cfg.tasks)
        print(*report, f'Training: {tasks}; {total} iterations', sep='\n')
        with contextlib.redirect_stdout(log), explained_disk_errors():
            runner = Runner.from_cfg(config)
            runner.register_hook(progress, priority='LOWEST')
            runner.train()
    except KeyboardInterrupt as interruption:
        sys.exit(f'\n{interruption} Run the same command again to resume.')
    except WorkDirError as error:
        sys.exit(str(error))
    return final


def test(config, checkpoint: str, log: IO[str]) -> dict[str, float]:
    """Evaluate all tasks of the model in one run and return the metrics."""
    from mmengine.runner import Runner

    from projects.oneformer.inferencer import inference_model

    print(f'Evaluating: {", ".join(config.model.test_cfg.tasks)}')
    config = deepcopy(config)
    config.load_from, config.resume = checkpoint, False
    config.model = inference_model(config.model)
    config.visualizer.name = 'test'  # the one of training exists by now
    progress = test_progress(sys.stdout)
    with contextlib.redirect_stdout(log):
        runner = Runner.from_cfg(config)
        runner.register_hook(progress, priority='LOWEST')
        metrics = runner.test()
    return {name: float(value) for name, value in metrics.items()}


def training_progress(console: IO[str]):
    """Return a hook that prints a line now and then while training."""
    from mmengine.hooks import Hook

    class TrainingProgress(Hook):
        """Print iteration, loss and time left."""

        def before_train(self, runner) -> None:
            self.start, self.first = time.time(), runner.iter

        def after_train_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ) -> None:
            done, total = runner.iter + 1, runner.max_iters
            if done % (total // NUM_LINES or 1) and done != total:
                return
            pace = (time.time() - self.start) / (done - self.first)
            print(
                f'  iteration {done:5d} of {total}   loss '
                f'{outputs["loss"].item():6.2f}   '
                f'{duration(pace * (total - done))} left',
                file=console,
                flush=True,
            )

    return TrainingProgress()


def test_progress(console: IO[str]):
    """Return a hook that prints a line now and then while testing."""
    from mmengine.hooks import Hook

    class TestProgress(Hook):
        """Print batches done and time left."""

        def before_test(self, runner) -> None:
            self.start = time.time()

        def after_test_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ) -> None:
            done, total = batch_idx + 1, len(runner.test_dataloader)
            if done % (total // 4 or 1):
                return
            left = (time.time() - self.start) / done * (total - done)
            print(
                f'  batch {done:5d} of {total}   {duration(left)} left',
                file=console,
                flush=True,
            )

    return TestProgress()


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours where there are any.

    >>> duration(75), duration(3700)
    ('01:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    short = f'{minutes:02d}:{rest:02d}'
    return f'{hours}:{short}' if hours else short


def draw_sheet(config, checkpoint: str, target: Path) -> Path:
    """Draw some validation images with ground truth and predictions."""
    import mmcv
    import numpy as np
    from mmdet.registry import DATASETS

    from projects.oneformer.images import read_image
    from projects.oneformer.inferencer import OneFormerInferencer
    from projects.oneformer.visualization import draw_result, image_sheet

    inferencer = OneFormerInferencer(config, checkpoint)
    meta, tasks = inferencer.dataset_meta, list(inferencer.model.tasks)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    step = max(1, len(dataset) // NUM_ROWS)
    rows = []
    for index in range(0, len(dataset), step)[:NUM_ROWS]:
        info = dataset.get_data_info(index)
        image = read_image(info['img_path'])[..., ::-1]  # RGB
        truth = ground_truth(info, len(meta['classes']))
        (result,) = inferencer(info['img_path'], tasks=tasks)
        rows.append(
            [
                image,
                draw_result(image, truth, dataset.annotation, meta),
                *(np.asarray(result.plot(task)) for task in tasks),
            ]
        )
    sheet = image_sheet(rows, ['image', 'ground truth', *tasks])
    mmcv.imwrite(sheet[..., ::-1], str(target))
    return target


def ground_truth(info: dict, num_classes: int):
    """Return the annotation of an image, of any kind, for drawing."""
    from projects.oneformer.datasets import LoadSegments
    from projects.oneformer.segment_ids import decode_ids
    from projects.oneformer.visualization import ground_truth_sample

    loaded = LoadSegments()(dict(info))
    return ground_truth_sample(
        decode_ids(loaded['gt_seg_map']), loaded['segments_info'], num_classes
    )
