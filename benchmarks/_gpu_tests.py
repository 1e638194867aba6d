"""The tests marked ``gpu``, each a row as soon as it has run."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


class _Rows:
    def __init__(self, meter) -> None:
        self.meter = meter

    def pytest_runtest_logreport(self, report) -> None:
        if report.when != 'call' and report.outcome == 'passed':
            return
        reason = ''
        if report.outcome == 'skipped':
            reason = str(report.longrepr[-1])
        elif report.outcome == 'failed':
            reason = str(report.longreprtext).strip().splitlines()[-1]
        row = dict(
            what=report.nodeid,
            outcome=report.outcome,
            ms=dict.fromkeys(
                ('median', 'least', 'greatest'), 1e3 * report.duration
            )
            | dict(count=1),
            note=f'{report.outcome}. {reason}'.strip(),
        )
        if report.outcome == 'failed':
            row['failed'] = reason
        self.meter.write(row)


def run(meter) -> None:
    """Run them; files without the mark are not even imported."""
    files = [
        str(path)
        for path in sorted((ROOT / 'tests').rglob('test_*.py'))
        if 'pytest.mark.gpu' in path.read_text()
    ]
    options = ['-q', '-m', 'gpu', '-p', 'no:cacheprovider', '--durations=5']
    status = pytest.main(options + files, plugins=[_Rows(meter)])
    # Failed tests are rows; anything else is a failure of the job.
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f'pytest ended with {status!r}, see the log.')
