"""The benchmarks measure what they say; their numbers are not tested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / 'benchmarks'


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *args], cwd=ROOT, capture_output=True, text=True
    )


def test_peak_memory_is_that_of_what_lives_at_the_same_time():
    from _measure import peak_memory

    def call():
        a = torch.empty(1000)  # 4000 bytes
        b = torch.empty(500)  # 6000
        del a  # 2000
        c = torch.empty(250)  # 3000
        return b, c

    assert peak_memory(call) == 6000


def test_peak_memory_does_not_count_what_was_there_before():
    from _measure import peak_memory

    before = [torch.empty(10_000)]

    def call():
        before.clear()
        return torch.empty(100)

    assert peak_memory(call) == 400
    assert peak_memory(lambda: None) == 0


def test_peak_memory_counts_what_autograd_keeps_for_backward():
    from _measure import peak_memory

    x = torch.zeros(1000, requires_grad=True)
    # exp keeps its result; sum makes a scalar.
    assert peak_memory(lambda: x.exp()) == 4000
    assert peak_memory(lambda: x.exp().exp()) == 8000
    with torch.no_grad():
        assert peak_memory(lambda: x.exp().exp_()) == 4000


def test_calls_take_turns_in_alternating_order():
    from _measure import interleave

    order = []
    calls = {name: lambda name=name: order.append(name) for name in 'ab'}
    seconds = interleave(calls, repeats=3, warmup=1)
    assert ''.join(order) == 'abbaabba'
    assert {name: len(values) for name, values in seconds.items()} == dict(
        a=3, b=3
    )


def test_ratios_are_taken_round_by_round():
    from _measure import ratios

    # A load that triples both in the second round changes no ratio.
    spread = ratios([1.0, 3.0, 1.5], [2.0, 6.0, 2.0])
    assert spread == (0.5, 0.5, 0.75, 3)


@pytest.mark.parametrize(
    'value, target, at_least, reached',
    [
        (0.5, 0.6, False, True),
        (0.7, 0.6, False, False),
        (4.5, 4.0, True, True),
        (3.5, 4.0, True, False),
        (3.5, None, False, None),
    ],
)
def test_a_row_tells_whether_it_reaches_its_target(
    value, target, at_least, reached
):
    from _measure import compare

    row = compare('work', 'peer', [value], [1.0], target, at_least)
    assert row.reached is reached


def test_the_table_has_a_cell_for_every_column_and_each_note_once():
    from _measure import Row, Spread, compare, markdown

    rows = [
        compare('a', 'peer', [1.0, 2.0], [4.0, 4.0], 0.2, note='as drawn'),
        Row('b', '', Spread.of([3.0]), note='as drawn'),
    ]
    header, rule, first, second, *rest = markdown(
        rows, dict(cores='2')
    ).splitlines()
    cells = {line.count('|') for line in (header, rule, first, second)}
    assert cells == {9}
    assert '0.375 (0.25 to 0.5) | 2 | <= 0.2 | **no**' in first
    assert second == '| b | - | 3 | - | - | 1 | - | - |'
    assert rest == ['', '- as drawn', '', 'Measured on: cores 2.']


def test_drawn_logits_have_as_many_sure_queries_as_asked_for():
    from cpu import blob_logits

    scores, masks = blob_logits(50, 12, 19, 32, 64)
    probs, labels = scores.softmax(-1).max(-1)
    assert int(((labels < 19) & (probs > 0.8)).sum()) == 12
    assert int(((labels == 19) & (probs > 0.8)).sum()) == 38
    share = (masks > 0).float().mean((1, 2))
    assert masks.shape == (50, 32, 64)
    assert (share < 0.6).all() and share.mean() > 0.02


def test_the_cpu_table_is_written_with_its_machine(tmp_path):
    transformers = pytest.importorskip('transformers', reason='the peer')
    if not hasattr(transformers, 'OneFormerImageProcessorFast'):
        pytest.skip('needs the faster image processor of later transformers')
    out = tmp_path / 'table.md'
    done = run(
        'benchmarks/cpu.py', '--quick', '--tiny', '--rows', 'post-processing',
        'data', '--data', str(tmp_path), '--out', str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = out.read_text()
    # The header, three measurements of post-processing, two recipes.
    assert len(re.findall(r'^\| .* \|$', table, re.M)) == 1 + 3 + 2
    assert 'COCO, drawn images' in table
    assert f'torch {torch.__version__}' in table


@pytest.mark.slow
def test_every_row_of_the_cpu_table_can_be_measured(tmp_path):
    out = tmp_path / 'table.md'
    done = run(
        'benchmarks/cpu.py', '--quick', '--tiny', '--data', str(tmp_path),
        '--out', str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '20 of 20 assignments are equal' in out.read_text()
