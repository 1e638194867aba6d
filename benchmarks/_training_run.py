"""One run of a list: train until a moment, then evaluate.

The runner is OpenMMLab's. What gpu_training.py starts, and not for use alone.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

from _cli import build_runner, load_config  # noqa: E402
from _gpu_store import write_whole  # noqa: E402


def main() -> None:
    """Train, stop in time, evaluate, and leave scores.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument('run', type=Path)
    run = json.loads(parser.parse_args().run.read_text())
    import torch

    if run['threads']:
        torch.set_num_threads(run['threads'])
    config = make_config(run)
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
        device=torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else 'cpu',
    )
    if torch.cuda.is_available():
        report['gib'] = torch.cuda.max_memory_allocated() / 2**30
    write_whole(
        Path(run['work_dir'], 'scores.json'), json.dumps(report, indent=1)
    )


def make_config(run: dict):
    """Return the config of a run."""
    import train

    config = load_config(str(ROOT / run['config']), {})
    for name in ('train', 'val', 'test'):
        config[f'{name}_dataloader'].dataset.data_root = run['data_root']
    limit_iterations(config, run['iterations'])
    config.default_hooks.checkpoint.update(
        interval=max(1, min(200, run['iterations'] // 4)), max_keep_ckpts=1
    )
    config.default_hooks.logger.interval = max(
        1, min(20, run['iterations'] // 20)
    )
    # Of the last iterations alone, so that a curve is one from the start.
    config.log_processor.window_size = config.default_hooks.logger.interval
    config.randomness = dict(seed=run['seed'])
    config.train_dataloader.num_workers = run['workers']
    config.merge_from_dict(run.get('cfg_options', {}))
    if run['precision'] == 'bfloat16':
        train.use_mixed_precision(config, 'bfloat16')
    else:
        train.use_float32(config)
    config.resume = Path(run['work_dir'], 'last_checkpoint').exists()
    return config


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
