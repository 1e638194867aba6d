"""The benchmarks for a GPU: what they do about time, failures and names."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine import ConfigDict

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / 'benchmarks'


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(*args) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def measure(calls: dict, *args, **options) -> list[dict]:
    from _gpu_measure import Meter

    rows = []
    Meter('cpu', True, rows.append).compare('work', calls, *args, **options)
    return rows


def test_calls_are_compared_and_one_that_fails_hides_no_other():
    def fail():
        raise ValueError('no such kernel\nand more')

    x = torch.ones(64, 64)
    rows = measure(
        {'ours': lambda: x @ x, 'broken': fail, 'peer': lambda: x @ x @ x},
        ['float32'],
        images=2,
    )
    failed, ours, peer = rows
    assert failed['implementation'] == 'broken'
    assert failed['failed'] == 'ValueError: no such kernel'
    assert ours['implementation'] == 'ours'
    expected = peer['ms']['median'] / ours['ms']['median']
    speed = ours['times_as_fast']['peer']['median']
    assert speed == pytest.approx(expected)
    assert ours['images_per_second'] == pytest.approx(
        2000 / ours['ms']['median']
    )
    # One product of 64 x 64 against two, of which both are held at last.
    assert 'tflops' in peer
    assert ours['gib'] * 2**30 == 64 * 64 * 4
    assert ours['share_of_memory'] == {'peer': 0.5}
    assert 'graphs' not in ours


def test_a_row_says_how_many_graphs_were_compiled():
    torch._dynamo.reset()
    x = torch.ones(3)
    first = torch.compile(lambda y: y + 1, backend='eager')
    second = torch.compile(lambda y: y * 2, backend='eager')
    rows = measure(
        {'ours, compiled': lambda: second(first(x)), 'eager': lambda: x + 1},
        ['float32'],
        count=False,
    )
    compiled, eager = rows
    assert (compiled['graphs'], compiled['graph_breaks']) == (2, 0)
    assert 'graphs' not in eager
    torch._dynamo.reset()


def test_a_call_runs_in_the_precision_of_its_row():
    x = torch.ones(4, 4)
    seen = []
    measure(
        {'ours': lambda: seen.append((x @ x).dtype)},
        ['bfloat16', 'float32'],
        count=False,
    )
    assert set(seen[: len(seen) // 2]) == {torch.bfloat16}
    assert set(seen[len(seen) // 2 :]) == {torch.float32}


def test_tf32_is_on_or_off_in_products_and_convolutions_alike():
    from _gpu_measure import use_precision

    def allowed() -> tuple[bool, bool]:
        return (
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        )

    before = allowed()
    try:
        use_precision('tf32')
        assert allowed() == (True, True)
        for precision in ('float32', 'bfloat16'):
            use_precision(precision)
            assert allowed() == (False, False)
    finally:
        matmul, cudnn = before
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = cudnn


def test_the_peak_is_that_of_the_precision(monkeypatch):
    from _gpu_measure import peak_rate

    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'NVIDIA H100')
    # TFLOP/s of NVIDIA's data sheet for the H100 SXM, without sparsity.
    assert peak_rate('float32', 'cuda') == 66.9
    assert peak_rate('tf32', 'cuda') == pytest.approx(494.7)
    assert peak_rate('bfloat16', 'cuda') == 989.4
    assert peak_rate('float32', 'cpu') is None


JOB = dict(
    name='a job',
    plan='first',
    card='a card',
    tiny=False,
    sources='12ab',
    torch='2',
    python='3',
    commit='c',
    seconds=2.0,
    status='done',
    rows=[],
)


def test_finished_jobs_are_known_by_card_and_sources(tmp_path):
    from _gpu_store import Store

    path = tmp_path / 'gpu.json'
    setting = dict(card='a card', tiny=False, sources='12ab')
    Store(path).put(JOB)
    store = Store(path)
    assert store.done('a job', setting)
    assert not store.done('another', setting)
    for other in (dict(card='b'), dict(tiny=True), dict(sources='34cd')):
        assert not store.done('a job', setting | other)
    # The newest replaces that of the same setting, and no other.
    store.put(JOB | dict(card='b'))
    store.put(JOB | dict(status='failed with exit status 1'))
    store = Store(path)
    assert [job['card'] for job in store.jobs] == ['b', 'a card']
    assert not store.done('a job', setting)


def test_a_file_of_something_else_is_not_overwritten(tmp_path):
    from _gpu_store import Store

    path = tmp_path / 'gpu.json'
    path.write_text('[1]')
    with pytest.raises(SystemExit, match='holds no measurements'):
        Store(path)


def test_rows_become_a_table_without_empty_columns():
    from _gpu_store import tables

    ms = dict(median=12.5, least=12.0, greatest=14.0, count=5)
    rows = [
        dict(what='step', implementation='ours', ms=ms, gib=1.5, graphs=3)
        | dict(times_as_fast={'peer': dict(median=2.0)}),
        dict(what='step', implementation='peer', failed='out of | memory'),
    ]
    lines = tables([JOB | dict(rows=rows)]).splitlines()
    assert 'a card' in lines[2] and 'commit c (sources 12ab)' in lines[2]
    assert 'Plan first: done, 2 s.' in lines
    table = [line for line in lines if line.startswith('|')]
    assert table[0] == (
        '| work | implementation | ms (least to greatest) | GiB '
        '| times as fast as | graphs | note |'
    )
    assert table[2] == (
        '| step | ours | 12.5 (12 to 14, 5 runs) | 1.5 | peer 2.00 | 3 | - |'
    )
    assert table[3].endswith('| failed: out of / memory |')


def test_a_job_that_takes_too_long_is_ended_with_its_children():
    from gpu import run_process

    program = """
import json, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print('measuring')
pathlib.Path(sys.argv[-1]).write_text(json.dumps([dict(what=child.pid)]))
time.sleep(60)
"""
    found = run_process([sys.executable, '-c', program], 5)
    assert found['status'] == 'ended after its limit of 5 s'
    assert found['log'] == ['measuring']
    (row,) = found['rows']
    state = Path(f'/proc/{row["what"]}/stat')
    deadline = time.monotonic() + 10
    while state.exists() and time.monotonic() < deadline:
        if state.read_text().split()[2] == 'Z':
            break  # dead, and nobody has asked how it ended
        time.sleep(0.1)
    else:
        assert not state.exists()


def test_a_job_that_fails_leaves_its_log():
    from gpu import run_process

    program = "raise SystemExit('no memory')"
    found = run_process([sys.executable, '-c', program], 60)
    assert found['status'] == 'failed with exit status 1'
    assert found['log'] == ['no memory']


def test_the_gpu_benchmark_says_when_there_is_no_gpu(tmp_path):
    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    out = tmp_path / 'gpu.json'
    done = run(BENCHMARKS / 'gpu.py', '--out', out)
    assert done.returncode == 1
    assert 'finds no GPU' in done.stderr
    assert not out.exists()


def test_jobs_without_time_are_listed_as_not_run(tmp_path):
    from _gpu_jobs import plans

    out = tmp_path / 'gpu.json'
    done = run(
        BENCHMARKS / 'gpu.py', '--device', 'cpu', '--tiny', '--plan',
        'second', '--minutes', '0.1', '--out', out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jobs = json.loads(out.read_text())['jobs']
    assert [job['name'] for job in jobs] == [
        job.name for job in plans()['second'].jobs
    ]
    assert {job['status'] for job in jobs} == {'not run: out of time'}


def test_the_sources_of_two_states_differ(tmp_path, monkeypatch):
    import _gpu_store

    monkeypatch.setattr(_gpu_store, 'ROOT', tmp_path)
    folder = tmp_path / 'projects'
    folder.mkdir()
    (folder / 'a.py').write_text('1')
    first = _gpu_store.source_state()
    assert first == _gpu_store.source_state()
    (folder / 'a.py').write_text('2')
    assert first['sources'] != _gpu_store.source_state()['sources']


@pytest.mark.slow
@pytest.mark.parametrize('plan', ['first', 'second'])
def test_every_job_runs_on_a_cpu_and_only_once(plan, tmp_path):
    out = tmp_path / 'gpu.json'
    command = [
        BENCHMARKS / 'gpu.py', '--device', 'cpu', '--tiny', '--plan', plan,
        '--minutes', '60', '--out', out,
    ]  # fmt: skip
    done = run(*command)
    assert done.returncode == 0, done.stderr
    jobs = json.loads(out.read_text())['jobs']
    for job in jobs:
        assert job['status'] == 'done', job
        assert job['rows'], job
        assert not any('failed' in row for row in job['rows']), job
        if job['name'].startswith('compiled'):
            rows = [
                r for r in job['rows'] if 'compiled' in r['implementation']
            ]
            assert [row['graphs'] for row in rows] == [3, 3]
    again = run(*command)
    assert again.stdout.count('measured before') == len(jobs)


RUN = dict(
    name='a',
    config='configs/oneformer_r18_demo.py',
    data='demo',
    seed=0,
    iterations=8,
)


def test_a_list_of_runs_is_checked(tmp_path):
    from _trainings import read_runs

    path = tmp_path / 'runs.json'
    for runs, message in (
        ([RUN, RUN], 'names a run twice'),
        ([RUN | dict(lr=1)], "may have .'cfg_options'.*'lr'"),
        ([RUN | dict(config='configs/no.py')], 'configs/no.py does not exist'),
        (dict(RUN), 'must hold a list'),
    ):
        path.write_text(json.dumps(runs))
        with pytest.raises(SystemExit, match=message):
            read_runs(path)
    program = tmp_path / 'runs.py'
    program.write_text(f'runs = [{RUN}]')
    assert read_runs(program) == [RUN]
    with pytest.raises(SystemExit, match='does not exist'):
        read_runs(tmp_path / 'none.json')


def test_the_shipped_list_of_runs_is_one():
    from _trainings import read_runs

    assert read_runs(BENCHMARKS / 'training_runs.json')


def test_learning_rates_are_stretched_to_the_iterations():
    from _training_run import limit_iterations

    config = ConfigDict(
        train_cfg=dict(max_iters=1600, val_interval=400),
        param_scheduler=[
            dict(type='LinearLR', begin=0, end=100),
            dict(type='PolyLR', begin=100, end=1600),
        ],
    )
    limit_iterations(config, 800)
    assert config.train_cfg == dict(max_iters=800, val_interval=200)
    warm_up, decay = config.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 50)
    assert (decay.begin, decay.end) == (50, 800)
    # Of no length at all it would be refused.
    limit_iterations(config, 4)
    assert config.param_scheduler[0].end == 1


def test_curves_of_a_continued_run_are_joined(tmp_path):
    from _trainings import read_scalars

    for folder, lines in (
        ('1', [dict(loss=3.0, step=5), dict(loss=2.0, step=10)]),
        ('2', [dict(loss=1.5, step=10), {'panoptic/PQ': 4.0, 'step': 10}]),
    ):
        path = tmp_path / folder / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(map(json.dumps, lines)) + '\n{"lo')
    losses, scores = read_scalars(tmp_path)
    assert losses == [
        dict(iteration=5, loss=3.0),
        dict(iteration=10, loss=1.5),
    ]
    assert scores == [{'iteration': 10, 'panoptic/PQ': 4.0}]


@pytest.mark.slow
def test_trainings_stop_in_time_and_go_on(tmp_path):
    sys.path.insert(0, str(ROOT / 'tools' / 'misc'))
    from make_demo_data import make_demo_data

    make_demo_data(tmp_path / 'data', num_train=4, num_val=2)
    small = {'train_dataloader.batch_size': 2}
    runs = [
        RUN | dict(cfg_options=small, iterations=4),
        RUN | dict(name='b', cfg_options=small, iterations=10**6),
        RUN | dict(name='c', data='elsewhere'),
    ]
    (tmp_path / 'runs.json').write_text(json.dumps(runs))

    def train() -> dict[str, dict]:
        out = tmp_path / 'out.json'
        done = run(
            BENCHMARKS / 'gpu_training.py', '--runs', tmp_path / 'runs.json',
            '--device', 'cpu', '--minutes', 3, '--at-a-time', 2, '--work-dir',
            tmp_path / 'work', '--data', f'demo={tmp_path / "data"}', '--out',
            out,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert '| a | done | 4 of 4 |' in out.with_suffix('.md').read_text()
        return {r['name']: r for r in json.loads(out.read_text())['runs']}

    first = train()
    assert first['b']['status'] == 'stopped in time, to be continued'
    assert 'panoptic/PQ' in first['b']['scores']
    assert first['c']['status'] == 'not run: no --data elsewhere=FOLDER'
    second = train()
    assert second['a'] == first['a']
    assert second['b']['iteration'] > first['b']['iteration'] > 0
    # One curve, from the first iteration on.
    curve = [point['iteration'] for point in second['b']['curve']]
    assert curve == sorted(set(curve)) and len(curve) == len(set(curve))
