"""What the dataset converters share: files, space, progress, going on.

Nothing here needs torch, so that the commands answer at once. A file appears
under its name when all of it is there. A run that was interrupted goes on
where it stopped when the same command is given again, and no file that was
there before is changed without ``--overwrite``.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import _annotations
import numpy as np
from _annotations import replaced, write_json
from _package import annotation_png, coco_layout
from _progress import Stopwatch
from PIL import Image

# Enough for the JSON files, and for a file system that is not used up.
SPARE_BYTES = 50 * 2**20
Coco = coco_layout.Coco


# --------------------------------------------------------------- commands


def make_parser(
    description: str,
    example: str,
    splits: Sequence[str],
    default: Sequence[str],
    overwrites: bool = True,
) -> argparse.ArgumentParser:
    """Return a parser with the options of all converters.

    Args:
        description (str): What the command does.
        example (str): A command to copy.
        splits (Sequence[str]): Splits to choose from.
        default (Sequence[str]): Splits to convert unless told otherwise.
        overwrites (bool): Whether there is an option to overwrite.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f'Example: {example}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='folder of the data set')
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=splits,
        default=list(default),
        help=f'splits to convert (default: {" ".join(default)})',
    )
    add_run_options(parser, overwrites)
    return parser


def add_run_options(
    parser: argparse.ArgumentParser, overwrites: bool = True
) -> None:
    """Add ``--workers`` and, if it ``overwrites``, ``--overwrite``."""
    parser.add_argument(
        '--workers',
        type=positive,
        default=min(8, os.cpu_count() or 1),
        help='number of processes (default: %(default)s)',
    )
    if overwrites:
        parser.add_argument(
            '--overwrite',
            action='store_true',
            help='replace existing files',
        )


def convert_folder(
    convert: Callable[[Path, Path, 'Run'], None],
    description: str,
    example: str,
) -> None:
    """Convert the folder of the command line, in one process.

    Args:
        convert (Callable): Takes the folder, a folder to write to, and how to
            run.
        description (str): What the command does.
        example (str): A command to copy.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=f'Example: {example}'
    )
    parser.add_argument('root', type=Path, help='folder of the data')
    parser.add_argument('out', type=Path, help='folder to write to')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    convert(args.root, args.out, Run(1, overwrite=True))


def positive(text: str) -> int:
    """Return a whole number of 1 or more, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'expected 1 or more, got {number}')
    return number


def run_command(main: Callable[[], None]) -> None:
    """Call ``main``, and end with a message where a user can help."""
    try:
        main()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        print(
            'Interrupted. The same command goes on where it stopped; with '
            '--overwrite it starts over.',
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenProcessPool:
        sys.exit(
            'error: a worker process died, most likely for want of memory: '
            'give the same command with fewer --workers, it goes on where it '
            'stopped.'
        )
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')


# ------------------------------------------------------------------ files


def read_json(path: Path) -> Any:
    """Read a JSON file of a download.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    try:
        return _annotations.read_json(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{path} does not exist: check the folder given, and that the '
            'download was unpacked into it.'
        ) from error
    except ValueError as error:
        raise ValueError(
            f'{path} cannot be read as JSON ({error}): unpack the download '
            'again.'
        ) from error


def read_coco(path: Path, kind: str) -> tuple[Coco, dict]:
    """Read an annotation file, its entries as data sets read them.

    Args:
        path (Path): The JSON.
        kind (str): 'panoptic' or 'instance'.

    Returns:
        tuple: The entries, and all that the JSON holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or an entry cannot be used.
    """
    raw = read_json(path)
    content, warning = coco_layout.require_coco(raw, kind, str(path))
    if warning:
        print(f'Note: {warning}')
    return content, raw


def read_png(path: Path) -> np.ndarray:
    """Read a PNG of a download as it is stored; a palette's colours are RGB.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    with _readable(path):
        return _annotations.read_png(path).pixels


def read_label_map(path: Path) -> np.ndarray:
    """Return the values of a label map; those of a palette are its indices.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, an image of colours, or was compressed.
    """
    with _readable(path):
        png = _annotations.read_label_map(path)
    if not png.is_label_map:
        raise ValueError(
            f'{path} is {png}: expected one channel, with the class of each '
            'pixel.'
        )
    if annotation_png.has_stray_values(png.values):
        raise ValueError(f'{path} {annotation_png.STRAY}.')
    return png.values


def read_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image as stored, from its header."""
    with _readable(path), Image.open(path) as image:
        return image.height, image.width


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{path} does not exist: unpack the download again, or take the '
            'image out of the data set.'
        ) from error
    except _annotations.READ_ERRORS as error:
        raise ValueError(
            f'{path} cannot be read as an image ({error}): unpack the '
            'download again.'
        ) from error


def require_folders(root: Path, names: Sequence[str], advice: str) -> None:
    """Raise FileNotFoundError with ``advice`` if a folder is missing."""
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise FileNotFoundError(
            f'{root} lacks the folders {missing}. {advice}'
        )


def total_size(paths: Sequence[Path]) -> int:
    """Return the bytes of the files that exist."""
    return sum(path.stat().st_size for path in paths if path.exists())


def check_space(folder: Path, needed: float, what: str) -> None:
    """Raise OSError unless ``needed`` bytes, and some more, are free.

    Args:
        folder (Path): Where to write; it need not exist yet.
        needed (float): Bytes to be written, estimated.
        what (str): What they are, for the message.
    """
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise OSError(
            f'{what} need about {_gigabytes(needed + SPARE_BYTES)} GB, but '
            f'{folder} has {_gigabytes(free)} GB free: free some, or move '
            'the data set to a larger disk.'
        )


def _gigabytes(number: float) -> str:
    return f'{number / 1e9:.2f}'


# -------------------------------------------------------------- processes


class Progress:
    """A line with the number of images done and the time left."""

    WIDTH = 30

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self.watch = Stopwatch(done)
        self.is_live = sys.stdout.isatty()
        self.shown = -1
        self.show()

    def step(self) -> None:
        """Count one more image."""
        self.done += 1
        self.show()

    def show(self) -> None:
        """Print the line, to a file ten times only."""
        share = self.done / max(self.total, 1)
        mark = int(share * (1000 if self.is_live else 10))
        if mark == self.shown:
            return
        self.shown = mark
        full = int(share * self.WIDTH)
        bar = '#' * full + '.' * (self.WIDTH - full)
        left = self.watch.left(self.done, self.total)
        line = f'{self.title} [{bar}] {self.done}/{self.total} {left} left'
        if not self.is_live:
            print(line, flush=True)
        else:
            end = '\n' if self.done == self.total else ''
            print(f'\r{line}', end=end, flush=True)


def _start_worker() -> None:
    # The main process ends the others, when they have written their files.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # If it is killed it cannot, and they would wait for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def results(
    convert: Callable[[Any], Any], tasks: Sequence, workers: int
) -> Iterator:
    """Yield ``convert(task)`` of all tasks, in order."""
    workers = min(workers, len(tasks))
    if workers < 2:
        yield from map(convert, tasks)
        return
    with ProcessPoolExecutor(workers, initializer=_start_worker) as pool:
        # Few at a time: what a worker has begun it ends, if interrupted.
        yield from pool.map(convert, tasks, chunksize=4)


class Run(NamedTuple):
    """How to run: the options of the command line."""

    workers: int
    overwrite: bool


class HasTarget(Protocol):
    """Something to do that ends with one file."""

    target: Path


def make_files(
    title: str,
    tasks: Sequence[HasTarget],
    convert: Callable[[Any], Any],
    space: Callable[[Sequence], float],
    run: Run,
) -> None:
    """Make the files that are missing, or all of them.

    Args:
        title (str): What the files are, for the progress line.
        tasks (Sequence): What to do.
        convert (Callable): Writes ``task.target``; a function of a module,
            as it may run in another process.
        space (Callable): Estimates the bytes that a list of tasks will write.
        run (Run): How to run.
    """
    todo = [t for t in tasks if run.overwrite or not t.target.exists()]
    if not todo:
        print(f'{title}: there already, kept')
        return
    check_space(todo[0].target.parent, space(todo), title)
    for folder in {task.target.parent for task in todo}:
        folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(title, len(tasks), len(tasks) - len(todo))
    for _ in results(convert, todo, run.workers):
        progress.step()


# ---------------------------------------------------------------- journal


class Outputs(NamedTuple):
    """JSON files about many images, and a PNG per image.

    Attributes:
        title (str): What they are, for the progress line.
        jsons (list[Path]): Files written when all images are done.
        folder (Path | None): Folder that holds PNGs of these files only.
    """

    title: str
    jsons: list[Path]
    folder: Path | None = None

    @property
    def journal(self) -> Path:
        """File that exists while a run lasts, with what is done so far."""
        return self.jsons[0].with_name(f'{self.jsons[0].name}.part')

    def are_done(self) -> bool:
        """Whether nothing remains to be made."""
        return not self.journal.exists() and all(
            path.exists() for path in self.jsons
        )

    def refuse_foreign(self) -> None:
        """Raise FileExistsError if something else made part of them."""
        if self.journal.exists():
            return
        found = [path for path in self.jsons if path.exists()]
        if self.folder is not None and any(self.folder.glob('*.png')):
            found.append(self.folder)
        if found:
            missing = [path for path in self.jsons if not path.exists()]
            raise FileExistsError(
                f'{_names(found)} exists, but {_names(missing)} does not: it '
                'is not of an interrupted run of this command. Move it away, '
                'or pass --overwrite to replace it.'
            )

    def discard(self) -> None:
        """Remove the JSON files, which new PNGs may contradict."""
        for path in (*self.jsons, self.journal):
            path.unlink(missing_ok=True)


def make_jsons(
    outputs: Outputs,
    tasks: dict[str, Any],
    convert: Callable[[Any], dict],
    assemble: Callable[[list[dict]], list[dict]],
    space: Callable[[Sequence], float],
    run: Run,
) -> None:
    """Make ``outputs``, or the rest of them after an interruption.

    Args:
        outputs (Outputs): What to make.
        tasks (dict): What to do, by the name of the image. With
            ``outputs.folder`` it is the name of its PNG.
        convert (Callable): Does one of them, and returns a record that JSON
            can hold; a function of a module, as it may run in another
            process.
        assemble (Callable): Makes the contents of ``outputs.jsons`` of the
            records, which are in the order of ``tasks``.
        space (Callable): Estimates the bytes that a list of tasks will write.
        run (Run): How to run.

    Raises:
        FileExistsError: If part of the outputs exists, and is not of an
            interrupted run.
    """
    if outputs.are_done() and not run.overwrite:
        print(f'{outputs.title}: there already, kept')
        return
    records = {}
    if not run.overwrite:
        outputs.refuse_foreign()
        records = _read_journal(outputs, tasks)
    todo = {name: task for name, task in tasks.items() if name not in records}
    check_space(
        outputs.journal.parent, space(list(todo.values())), outputs.title
    )
    if run.overwrite:
        outputs.discard()
    if outputs.folder is not None:
        outputs.folder.mkdir(parents=True, exist_ok=True)
    records |= _convert(outputs, todo, records, convert, run)
    contents = assemble([records[name] for name in tasks])
    for path, content in zip(outputs.jsons, contents, strict=True):
        write_json(path, content)
    outputs.journal.unlink()


def _convert(
    outputs: Outputs,
    todo: dict[str, Any],
    records: dict[str, dict],
    convert: Callable[[Any], dict],
    run: Run,
) -> dict[str, dict]:
    """Convert images, and note each in the journal as it comes."""
    made = {}
    _write_journal(outputs.journal, records)
    progress = Progress(outputs.title, len(records) + len(todo), len(records))
    with outputs.journal.open('a', encoding='utf-8') as stream:
        new = results(convert, list(todo.values()), run.workers)
        for name, record in zip(todo, new, strict=True):
            made[name] = record
            stream.write(json.dumps([name, record]) + '\n')
            stream.flush()
            progress.step()
    return made


def _read_journal(outputs: Outputs, tasks: dict) -> dict[str, dict]:
    """Return what an interrupted run did, and is still there."""
    if not outputs.journal.exists():
        return {}
    # What follows the last end of line was cut off by a kill.
    *lines, _ = outputs.journal.read_text(encoding='utf-8').split('\n')
    return {
        name: record
        for name, record in map(json.loads, lines)
        if name in tasks
        and (outputs.folder is None or (outputs.folder / name).exists())
    }


def _write_journal(path: Path, records: dict) -> None:
    with replaced(path) as part, part.open('w', encoding='utf-8') as stream:
        for entry in records.items():
            stream.write(json.dumps(entry) + '\n')


def _names(paths: Sequence[Path]) -> str:
    return ' and '.join(map(str, paths)) or 'the rest'
