"""The result of a run: one small JSON file, made of what the run left."""

import json
from pathlib import Path

from _gpu_store import write_whole
from _trainings import Training, read_scalars

#: Column of tables, and the metric that it shows.
SCORES = {
    'PQ': 'panoptic/PQ',
    'PQ_th': 'panoptic/PQ_th',
    'PQ_st': 'panoptic/PQ_st',
    'AP': 'instance/segm_mAP',
    'mIoU': 'semantic/mIoU',
}
TERMS = (
    ('loss', 'loss_cls', 'loss_mask', 'loss_dice', 'loss_contrastive')
    # For the minutes.
    + ('time',)
)
MAX_POINTS = 200
#: Runs whose images a page may show: drawn here, or in the public domain.
GALLERY = ('nuclei-curve-0', 'shapes-joint-0')


def setting_of(name: str) -> str:
    """Return the name of a run without its seed."""
    return name.rpartition('-')[0]


def result_path(folder: Path, run: dict) -> Path:
    """Return the file of a run."""
    return folder / f'{run["name"]}.json'


def read_result(folder: Path, run: dict) -> dict | None:
    """Return the result of a run, None if there is none.

    Raises:
        ValueError: If the file of its name is that of other settings.
    """
    path = result_path(folder, run)
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    if result['run'] != json.loads(json.dumps(run)):
        raise ValueError(
            f'{path} is the result of other settings than the list has for '
            'this name: give the run another name, or delete the file.'
        )
    return result


def is_complete(result: dict | None) -> bool:
    """Whether a result is that of a run at its end."""
    return (
        result is not None
        and result['iteration'] >= result['run']['iterations']
        and ('tokens' not in result['run'] or bool(result['test']))
    )


def result_of(training: Training) -> dict:
    """Return what there is to say of a run, at its end or before."""
    curve, scores = read_scalars(training.folder, TERMS)
    report = training.report() or {}
    sessions = [
        json.loads(line)
        for line in (training.folder / 'sessions.jsonl')
        .read_text()
        .splitlines()
    ]
    return dict(
        run=training.run,
        iteration=report.get('iteration')
        or (curve[-1]['iteration'] if curve else 0),
        minutes=round(minutes_of(curve), 1),
        commits=in_order(session['commit'] for session in sessions),
        config=in_order(session['config'] for session in sessions),
        hardware=in_order(session['hardware'] for session in sessions),
        precision=in_order(session['precision'] for session in sessions),
        torch=in_order(session['torch'] for session in sessions),
        sessions=len(sessions),
        classes=report.get('classes', []),
        curve=columns(thin(curve)),
        validation=columns(
            [
                {
                    'iteration': entry['iteration'],
                    **{
                        name: entry[key] * (100 if name == 'AP' else 1)
                        for name, key in SCORES.items()
                        if key in entry
                    },
                }
                for entry in scores
            ]
        ),
        test=report.get('test', {}),
    )


def minutes_of(curve: list[dict]) -> float:
    """Return the minutes of training, whatever was trained twice aside."""
    seconds, before = 0.0, 0
    for point in curve:
        # A mean of the iterations since the point before.
        seconds += point['time'] * (point['iteration'] - before)
        before = point['iteration']
    return seconds / 60


def thin(curve: list[dict]) -> list[dict]:
    """Return at most ``MAX_POINTS`` points, the last included."""
    step = -(-len(curve) // MAX_POINTS) or 1
    return curve[::-1][::step][::-1]


def columns(points: list[dict]) -> dict[str, list]:
    """Return a list for each key, with four digits."""
    keys = in_order(key for point in points for key in point if key != 'time')
    return {
        key: [
            value if isinstance(value, int) else float(f'{value:.4g}')
            for value in (point.get(key, float('nan')) for point in points)
        ]
        for key in keys
    }


def in_order(values) -> list:
    """Return each value once, in the order of the first."""
    return list(dict.fromkeys(values))


def write_result(folder: Path, result: dict) -> None:
    """Write a result, each entry on a line of its own."""
    lines = [
        f'{json.dumps(key)}: {json.dumps(value)}'
        for key, value in result.items()
    ]
    write_whole(
        result_path(folder, result['run']), '{\n' + ',\n'.join(lines) + '\n}\n'
    )
