"""What is measured on a GPU: jobs in order of worth, each its own process."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple


class Job(NamedTuple):
    """One process of a plan.

    Attributes:
        name (str): Its name in tables and on the command line.
        limit (float): Seconds after which it is ended.
        least (float): Seconds without which it is not begun.
        run (Callable): Takes a :class:`_gpu_measure.Meter`.
    """

    name: str
    limit: float
    least: float
    run: Callable


class Plan(NamedTuple):
    """Jobs, and the seconds that all of them may take together."""

    seconds: float
    jobs: list[Job]


def plans() -> dict[str, Plan]:
    """Return the plans by name."""
    return dict(
        first=Plan(
            420,
            [
                Job('tests marked gpu', 110, 20, _call('_gpu_tests', 'run')),
                Job('deformable attention', 60, 20, _attention),
                Job('inference, swin-t', 60, 20, _inference('swin-t')),
                Job('training, swin-t', 80, 20, _training('swin-t')),
                Job('training, swin-l', 90, 30, _training('swin-l')),
                Job('inference, swin-l', 75, 30, _inference('swin-l')),
                Job('lean layers or plain ones', 50, 20, _lean_layers),
                Job('training, r50', 50, 20, _training('r50')),
                Job('inference, r50', 50, 20, _inference('r50')),
            ],
        ),
        second=Plan(
            300,
            [
                Job('compiled inference, swin-t', 80, 30, _compiled(False)),
                Job('compiled training, swin-t', 100, 40, _compiled(True)),
                Job('batch sizes', 60, 20, _call('_gpu_networks', 'batches')),
                Job('three tasks', 40, 20, _call('_gpu_networks', 'tasks')),
                Job('results', 45, 20, _call('_gpu_data', 'results')),
                Job('evaluation', 60, 20, _call('_gpu_data', 'evaluation')),
                Job('loader', 60, 20, _call('_gpu_data', 'loader')),
                Job('TF32', 45, 20, _call('_gpu_networks', 'tf32')),
                Job('compiled inference, swin-l', 150, 60, _compiled_large),
            ],
        ),
    )


def find_job(name: str) -> Job:
    """Return a job of any plan.

    Raises:
        KeyError: If none has this name.
    """
    return {j.name: j for p in plans().values() for j in p.jobs}[name]


def _call(module: str, function: str, *args) -> Callable:
    """Return a call of a function whose module is imported when called.

    The command itself needs none of them, and starts at once.
    """

    def run(meter) -> None:
        getattr(__import__(module), function)(meter, *args)

    return run


_inference = partial(_call, '_gpu_networks', 'inference')
_training = partial(_call, '_gpu_networks', 'training')
_compiled = partial(_call, '_gpu_networks', 'compiled', 'swin-t')
_compiled_large = _call('_gpu_networks', 'compiled', 'swin-l', False)
_attention = _call('_gpu_networks', 'attention')
_lean_layers = _call('_gpu_networks', 'lean_layers')
