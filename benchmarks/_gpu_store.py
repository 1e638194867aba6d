"""What was measured on a GPU, in a JSON file, and the tables made of it."""

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = (
    (
        'work',
        'implementation',
        'precision',
        'ms (least to greatest)',
        'images/s',
        'GiB',
    )
    + ('TFLOP/s', 'of the peak', 'times as fast as', 'of its memory')
    + ('graphs', 'note')
)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_text(text)
    os.replace(part, path)


def source_state() -> dict[str, str]:
    """Return what tells one state of the sources from another.

    ``sources`` is a hash of the files that are measured, for checkouts with
    changes and copies without a repository; ``commit`` is for the reader.
    """
    digest = hashlib.sha256()
    for folder in ('benchmarks', 'configs', 'projects'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    try:
        done = subprocess.run(
            ['git', 'describe', '--always', '--dirty'],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        commit = done.stdout.strip()
    except FileNotFoundError:
        commit = ''
    return dict(
        commit=commit or 'no repository', sources=digest.hexdigest()[:12]
    )


class Store:
    """The jobs of all calls of the command, each with its rows.

    Args:
        path (Path): JSON file; the tables are written beside it, as ``.md``.

    Raises:
        SystemExit: If the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jobs: list[dict] = []
        if path.exists():
            try:
                self.jobs = json.loads(path.read_text())['jobs']
            except (ValueError, KeyError, TypeError) as error:
                raise SystemExit(
                    f'{path} holds no measurements of this program ({error}): '
                    'name another file with --out.'
                ) from error

    def done(self, name: str, setting: dict) -> bool:
        """Whether a job was measured to its end, at the same setting."""
        return any(
            job['name'] == name
            and job['status'] == 'done'
            and all(job[key] == value for key, value in setting.items())
            for job in self.jobs
        )

    def put(self, job: dict) -> None:
        """Take a job in place of an earlier one of its name and setting."""
        keys = ('name', 'card', 'tiny', 'sources')
        self.jobs = [
            other
            for other in self.jobs
            if any(other[key] != job[key] for key in keys)
        ]
        self.jobs.append(job)
        self.write()

    def write(self) -> None:
        """Write both files."""
        write_whole(self.path, json.dumps(dict(jobs=self.jobs), indent=1))
        write_whole(self.path.with_suffix('.md'), tables(self.jobs))


def tables(jobs: Sequence[dict]) -> str:
    """Return all jobs as Markdown, a part for each machine and state."""
    lines = ['# Measured on a GPU', '']
    about = None
    for job in jobs:
        if about != (about := describe(job)):
            lines += [about, '']
        lines += [f'## {job["name"]}', '', status_line(job), '']
        rows = [cells(row) for row in job['rows']]
        if rows:
            # Columns that no row has a value for are left out.
            kept = [
                i for i, _ in enumerate(COLUMNS) if any(r[i] for r in rows)
            ]
            for row in (COLUMNS, ['---'] * len(COLUMNS), *rows):
                row = [row[i] or '-' for i in kept]
                lines.append('| ' + ' | '.join(row) + ' |')
            lines.append('')
        if job.get('log'):
            lines += ['```', *job['log'], '```', '']
    return '\n'.join(lines)


def describe(job: dict) -> str:
    """Return a sentence about the machine and the sources of a job."""
    tiny = ' Tiny networks: whether it runs, not how fast.' * job['tiny']
    return (
        f'{job["card"]}, torch {job["torch"]}, Python {job["python"]}, commit '
        f'{job["commit"]} (sources {job["sources"]}).{tiny}'
    )


def status_line(job: dict) -> str:
    """Say how a job ended."""
    return f'Plan {job["plan"]}: {job["status"]}, {job["seconds"]:.0f} s.'


def cells(row: dict) -> list[str]:
    """Return the cells of a row, empty where there is nothing to say."""
    ms, note = row.get('ms'), row.get('failed') or row.get('note', '')
    speed = row.get('times_as_fast', {})
    memory = row.get('share_of_memory', {})
    graphs = str(row.get('graphs', ''))
    if row.get('graph_breaks'):
        graphs += f' ({row["graph_breaks"]} breaks)'
    return [
        row['what'],
        row.get('implementation', ''),
        row.get('precision', ''),
        f'{ms["median"]:.4g} ({ms["least"]:.4g} to {ms["greatest"]:.4g}, '
        f'{ms["count"]} runs)'
        if ms
        else '',
        number(row.get('images_per_second')),
        number(row.get('gib')),
        number(row.get('tflops')),
        f'{row["share_of_peak"]:.1%}' if row.get('share_of_peak') else '',
        ', '.join(f'{k} {v["median"]:.2f}' for k, v in speed.items()),
        ', '.join(f'{k} {v:.2f}' for k, v in memory.items()),
        graphs,
        ('failed: ' * ('failed' in row) + note).replace('|', '/'),
    ]


def number(value: float | None) -> str:
    """Write a number with three digits."""
    return '' if value is None else f'{value:.3g}'
