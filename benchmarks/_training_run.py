"""One run of a list: train until a moment, then evaluate.

The runner is OpenMMLab's. What gpu_training.py and evidence.py start, and not
for use alone.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

from _cli import build_runner, load_config  # noqa: E402
from _gpu_store import source_state, write_whole  # noqa: E402
from _precision import use_float32, use_mixed_precision  # noqa: E402
from _trainings import SHEET, lock  # noqa: E402


def main() -> None:
    """Train, stop in time, evaluate, and leave scores.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument('run', type=Path)
    run = json.loads(parser.parse_args().run.read_text())
    # Held by this process alone, after the one that started it let go.
    for _ in range(50):
        try:
            with lock(Path(run['work_dir'])):
                return train_and_score(run)
        except BlockingIOError:
            time.sleep(0.1)
    sys.exit(f'Another process trains in {run["work_dir"]}.')


def train_and_score(run: dict) -> None:
    """Do all of a run that there is time for."""
    import torch

    if run['threads']:
        torch.set_num_threads(run['threads'])
    config = make_config(run)
    note_session(run, config)
    place(config, run)
    options = argparse.Namespace(
        launcher='none', local_rank=0, work_dir=run['work_dir'], config=''
    )
    runner = build_runner(config, options)
    watch = make_hook(run['stop_at'])
    runner.register_hook(watch, priority='LOWEST')
    start, resumed = time.time(), runner.iter
    runner.train()
    minutes = (time.time() - start) / 60
    if watch.scored_at != runner.iter:
        runner.val_loop.run()
    report = dict(
        iteration=runner.iter,
        scores={key: float(value) for key, value in watch.scores.items()},
        minutes=minutes,
        from_iteration=resumed,
        classes=list(config.model.metainfo.classes),
        device=torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else 'cpu',
    )
    if 'tokens' in run and runner.iter >= run['iterations']:
        from _token_scores import Sheet, score_tokens

        sheet = None
        if 'pictures' in run:
            meta = runner.val_dataloader.dataset.metainfo
            sheet = Sheet(meta, run['pictures'])
        report['test'] = score_tokens(runner, run['tokens'], sheet)
        if sheet is not None:
            sheet.write(Path(run['work_dir'], SHEET))
    if torch.cuda.is_available():
        report['gib'] = torch.cuda.max_memory_allocated() / 2**30
    write_whole(
        Path(run['work_dir'], 'scores.json'), json.dumps(report, indent=1)
    )


def make_config(run: dict):
    """Return what a run trains, wherever it is trained."""
    config = load_config(str(ROOT / run['config']), {})
    limit_iterations(config, run['iterations'])
    if 'validate_every' in run:
        config.train_cfg.val_interval = run['validate_every']
    config.default_hooks.checkpoint.update(
        # The last one is deleted before the next is written.
        interval=max(1, min(200, run['iterations'] // 4)),
        max_keep_ckpts=2,
    )
    config.default_hooks.logger.update(
        interval=max(1, min(20, run['iterations'] // 20)),
        # Else all scores are those of epoch 0.
        log_metric_by_epoch=False,
    )
    # Of the last iterations alone, so that a curve is one from the start.
    config.log_processor.window_size = config.default_hooks.logger.interval
    config.randomness = dict(seed=run['seed'])
    config.merge_from_dict(run.get('cfg_options', {}))
    for kind, options in run.get('steps', {}).items():
        change_steps(config, kind, options)
    if 'tokens' in run:
        keep_tasks(config, run['tokens'])
    if run.get('network') == 'mask2former':
        from _mask2former import mask2former_of

        config.model = mask2former_of(config.model)
    return config


def place(config, run: dict) -> None:
    """Set what depends on the machine: folders, workers, precision."""
    config.train_dataloader.num_workers = run['workers']
    for name in ('train', 'val', 'test'):
        for dataset in datasets_of(config[f'{name}_dataloader'].dataset):
            dataset.data_root = run['data_root']
    if run['precision'] == 'bfloat16':
        use_mixed_precision(config, 'bfloat16')
    else:
        use_float32(config)
    config.resume = Path(run['work_dir'], 'last_checkpoint').exists()


def datasets_of(config) -> Iterator:
    """Yield the configs of the datasets inside of wrappers."""
    inside = config.get('datasets') or [config.get('dataset')]
    if inside == [None]:
        yield config
    for part in filter(None, inside):
        yield from datasets_of(part)


def change_steps(config, kind: str, options: dict) -> None:
    """Set options of a step of the training pipelines.

    Args:
        config (Config): To change.
        kind (str): Type of the step.
        options (dict): New values; ``type`` puts another step in its place.

    Raises:
        ValueError: If a pipeline has no such step.
    """
    if options.get('type') == 'NoTexts':
        import _no_texts  # noqa: F401, registers it
    for dataset in datasets_of(config.train_dataloader.dataset):
        found = [step for step in dataset.pipeline if step.type == kind]
        if not found:
            raise ValueError(f'A training pipeline has no step {kind}.')
        for step in found:
            if 'type' in options:
                step.clear()
            for name, value in options.items():
                step[name] = value  # update() would merge dicts


def keep_tasks(config, tasks: list[str]) -> None:
    """Validate some of the tasks only."""
    config.model.test_cfg.tasks = list(tasks)
    config.val_evaluator = [
        metric for metric in config.val_evaluator if metric.prefix in tasks
    ]


def note_session(run: dict, config) -> None:
    """Add a line about sources and machine to sessions.jsonl."""
    import torch

    content = json.dumps(config.to_dict(), sort_keys=True, default=str)
    session = dict(
        source_state(),
        config=hashlib.sha256(content.encode()).hexdigest()[:12],
        hardware=torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f'{processor()}, {torch.get_num_threads()} thread(s)',
        precision=run['precision'],
        torch=torch.__version__,
    )
    with open(Path(run['work_dir'], 'sessions.jsonl'), 'a') as file:
        file.write(json.dumps(session) + '\n')


def processor() -> str:
    """Return the name of the processor."""
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


def limit_iterations(config, iterations: int) -> None:
    """Train for so many iterations, and stretch the learning rates."""
    ratio = iterations / config.train_cfg.max_iters
    config.train_cfg.update(
        max_iters=iterations,
        val_interval=max(1, round(ratio * config.train_cfg.val_interval)),
    )
    for scheduler in config.param_scheduler:
        begin = round(ratio * scheduler.get('begin', 0))
        end = max(begin + 1, round(ratio * scheduler.end))
        scheduler.update(begin=begin, end=end)


def make_hook(stop_at: float):
    """Return a hook that ends training at a moment, with a checkpoint."""
    from mmengine.hooks import Hook

    class Watch(Hook):
        """Keeps the scores, and the time."""

        scores: dict = {}
        scored_at = None

        def after_train_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ) -> None:
            loop = runner.train_loop
            done = runner.iter + 1
            if time.time() < stop_at or done >= loop.max_iters:
                return
            name = f'iter_{done}.pth'
            runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
            path = Path(runner.work_dir, name)
            # Where the runner looks when it resumes.
            write_whole(
                Path(runner.work_dir, 'last_checkpoint'), os.fspath(path)
            )
            loop.stop_training = True

        def after_val_epoch(self, runner, metrics=None) -> None:
            self.scores, self.scored_at = metrics, runner.iter

    return Watch()


if __name__ == '__main__':
    main()
