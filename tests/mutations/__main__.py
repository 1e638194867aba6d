"""Check the property on as many sets as you like; see the package."""

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from pathlib import Path

# As mutations, since the environment may have another package named tests.
TESTS = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

from mutations.agreement import (  # noqa: E402
    DisagreementError,
    examine,
    prepare,
)
from mutations.changes import change  # noqa: E402
from mutations.drawn import KINDS  # noqa: E402

CHUNK = 200  # sets per process, which may be ended by a fault


def main() -> None:
    """Print every set that breaks the property, and how many did not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kind', choices=KINDS, nargs='+', default=KINDS)
    parser.add_argument('--count', type=int, default=100)
    parser.add_argument(
        '--first', type=int, default=0, help='number of the first set'
    )
    parser.add_argument(
        '--keep', type=Path, help='write the sets to this new folder'
    )
    args = parser.parse_args()
    faults = 0
    for kind in args.kind:
        tally: Counter = Counter()
        end = args.first + args.count
        for first in range(args.first, end, CHUNK):
            numbers = range(first, min(first + CHUNK, end))
            tally += run_apart(kind, numbers, args.keep)
        faults += tally['fault']
        parts = ', '.join(f'{number} {what}' for what, number in tally.items())
        print(f'{kind}: {tally.total()} sets, {parts}', flush=True)
    sys.exit(faults > 0)


def run_apart(kind: str, numbers: range, keep: Path | None) -> Counter:
    """Check some sets in a process of their own."""
    context = multiprocessing.get_context('fork')
    tally: Counter = Counter()
    while numbers:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=run, args=(kind, numbers, keep, sender)
        )
        process.start()
        sender.close()
        done = 0
        try:
            while True:
                tally[receiver.recv()] += 1
                done += 1
        except EOFError:
            process.join()
        if done < len(numbers):
            fault(kind, numbers[done], f'it ends with {process.exitcode}')
            tally['fault'] += 1
            done += 1
        numbers = numbers[done:]
    return tally


def run(kind: str, numbers: range, keep: Path | None, sender) -> None:
    """Check some sets, and send what comes out."""
    prepare()
    # A file system in memory is faster, where there is one.
    memory = '/dev/shm' if Path('/dev/shm').is_dir() else None
    for number in numbers:
        with tempfile.TemporaryDirectory(dir=memory) as scratch:
            folder = Path(scratch)
            if keep:
                folder = keep / f'{kind}-{number}'
                folder.mkdir(parents=True)
            drawn, _ = change(number, kind)
            try:
                outcome = examine(drawn, folder, mend=number % 10 == 0)
            except DisagreementError as error:
                fault(kind, number, str(error))
                outcome = 'fault'
        sender.send(outcome)


def fault(kind: str, number: int, message: str) -> None:
    """Print a fault, and how to see it again."""
    _, told = change(number, kind)
    print(
        f'{kind} {number}: {message[:600]!r}\n    '
        + '\n    '.join(line[:300] for line in told)
        + f'\n    again: python tests/mutations --kind {kind} --first '
        f'{number} --count 1',
        flush=True,
    )


if __name__ == '__main__':
    main()
