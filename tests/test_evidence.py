"""The runs behind the results: lists, files, tables, figures, gallery."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mmengine import Config, ConfigDict

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / 'benchmarks'
RUN = dict(
    name='shapes-joint-0',
    config='benchmarks/configs/oneformer_shapes.py',
    data='shapes',
    seed=0,
    iterations=8,
    tokens=['panoptic', 'instance', 'semantic'],
)


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    # They add these themselves, when they are first imported.
    for folder in (ROOT / 'tools' / 'misc', ROOT / 'tools', BENCHMARKS):
        monkeypatch.syspath_prepend(str(folder))


def result(setting: str, seed: int, token: str, **scores) -> dict:
    """A result at its end, with an image of one confused pixel of ten."""
    return dict(
        run=dict(RUN, name=f'{setting}-{seed}', seed=seed, tokens=[token]),
        iteration=8,
        minutes=1.0,
        commits=['c'],
        hardware=['h'],
        classes=['a', 'b'],
        curve={},
        validation=dict(iteration=[4, 8], PQ=[1.0, 2.0]),
        test={
            token: dict(
                scores=scores,
                confusion=[[4, 1], [0, 5]],
                confused=[[1, 10], [3, 30]],
            )
        },
    )


def write(folder: Path, *results: dict) -> Path:
    from _evidence_results import write_result

    for own in results:
        write_result(folder, own)
    return folder


def test_the_list_of_runs_has_three_seeds_of_what_is_compared():
    from _evidence_results import setting_of
    from _trainings import read_runs

    runs = read_runs(BENCHMARKS / 'evidence_runs.py')
    seeds: dict[str, set[int]] = {}
    for run in runs:
        assert run['name'].endswith(f'-{run["seed"]}')
        seeds.setdefault(setting_of(run['name']), set()).add(run['seed'])
    once = {'nuclei-mask2former-instance', 'nuclei-eomt'}
    assert {s for s, own in seeds.items() if own != {0, 1, 2}} == once


def test_no_run_sees_the_test_split_before_its_end():
    from _training_run import make_config
    from _trainings import read_runs

    runs = {r['name']: r for r in read_runs(BENCHMARKS / 'evidence_runs.py')}
    for name in ('shapes-joint-0', 'camvid-joint-0', 'nuclei-curve-0'):
        config = make_config(runs[name])
        train, val, test = (
            config[f'{split}_dataloader'].dataset
            for split in ('train', 'val', 'test')
        )
        assert test.ann_file not in (train.ann_file, val.ann_file)
        if train.ann_file == val.ann_file:
            assert not set(train.indices) & set(val.indices)


def pipeline() -> ConfigDict:
    steps = [
        dict(type='SampleTask', probs=dict(semantic=0.5, instance=0.5)),
        dict(type='TaskTexts', class_template='a {}'),
    ]
    dataset = dict(type='A', pipeline=steps)
    both = dict(type='ConcatDataset', datasets=[dataset, dataset])
    return Config(dict(train_dataloader=dict(dataset=both)))


def test_a_step_is_changed_in_every_part_and_wholly():
    from _training_run import change_steps, datasets_of

    config = pipeline()
    change_steps(config, 'SampleTask', dict(probs=dict(semantic=1.0)))
    change_steps(config, 'TaskTexts', dict(type='NoTexts'))
    parts = list(datasets_of(config.train_dataloader.dataset))
    assert len(parts) == 2
    for part in parts:
        assert part.pipeline == [
            dict(type='SampleTask', probs=dict(semantic=1.0)),
            dict(type='NoTexts'),
        ]
    with pytest.raises(ValueError, match='no step RandomCrop'):
        change_steps(config, 'RandomCrop', {})


def test_without_texts_every_slot_has_the_text_of_the_task():
    from _no_texts import NoTexts

    sample = NoTexts()(dict(task='instance'))
    assert sample['texts'] == []
    assert sample['filler_text'] == 'an instance photo'


def test_mask2former_has_the_parts_of_oneformer_in_their_sizes():
    from _mask2former import mask2former_of
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules()
    config = Config.fromfile(ROOT / RUN['config']).model
    ours = MODELS.build(config)
    peer = MODELS.build(mask2former_of(config))

    def shapes(model, name: str) -> list:
        part = model.get_submodule(name)
        return sorted(tuple(p.shape) for p in part.parameters())

    assert shapes(ours, 'backbone') == shapes(peer, 'backbone')
    for name, its in (
        ('pixel_decoder', 'pixel_decoder'),
        ('decoder', 'transformer_decoder'),
        ('query_embed', 'query_embed'),
        ('cls_embed', 'cls_embed'),
        ('mask_embed', 'mask_embed'),
    ):
        own = shapes(ours, f'panoptic_head.{name}')
        assert own == shapes(peer, f'panoptic_head.{its}'), name
    assert peer.panoptic_head.num_points == 512


def test_a_result_is_of_the_settings_that_the_list_has(tmp_path):
    from _evidence_results import is_complete, read_result

    own = result('shapes-joint', 0, 'panoptic', PQ=50.0)
    assert read_result(tmp_path, own['run']) is None
    write(tmp_path, own)
    assert read_result(tmp_path, own['run']) == own
    assert is_complete(own)
    assert not is_complete(dict(own, iteration=7))
    assert not is_complete(dict(own, test={}))
    with pytest.raises(ValueError, match='is the result of other settings'):
        read_result(tmp_path, dict(own['run'], iterations=9))


def test_a_curve_has_its_end_and_minutes_count_an_iteration_once():
    from _evidence_results import MAX_POINTS, columns, minutes_of, thin

    curve = [
        dict(iteration=20, loss=3.14159, time=1.5),
        dict(iteration=40, loss=2.0, time=3.0),
    ]
    assert minutes_of(curve) == pytest.approx(1.5)  # (30 + 60) / 60
    assert columns(curve) == dict(iteration=[20, 40], loss=[3.142, 2.0])
    assert thin(curve) == curve
    long = [dict(iteration=i) for i in range(1, 402)]
    short = thin(long)
    assert len(short) <= MAX_POINTS and short[-1] == long[-1]


def test_a_score_is_written_with_its_spread_over_seeds():
    from _evidence_tables import mean_and_spread

    assert mean_and_spread([]) == '-'
    assert mean_and_spread([41.26]) == '41.3 (1 seed)'
    assert mean_and_spread([40, 42]) == '41.0 ± 1.4 (2 seeds)'
    assert mean_and_spread([40, 41, 42]) == '41.0 ± 1.0'


@pytest.mark.parametrize(
    'other, verdict',
    [
        ((40, 41, 42), '+5.0 (+5.0 to +5.0): held'),
        ((50, 51, 52), '-5.0 (-5.0 to -5.0): did not hold'),
        ((40, 51, 42), '+1.7 (-5.0 to +5.0): undecided'),
        ((40, 41), 'not judged (2 of 3 seeds)'),
    ],
)
def test_a_claim_holds_if_every_seed_says_so(tmp_path, other, verdict):
    from _evidence_tables import Results, Source, gain

    for name, values in (('a', (45, 46, 47)), ('b', other)):
        for seed, value in enumerate(values):
            write(tmp_path, result(name, seed, 'panoptic', PQ=value))
    sources = (Source(name, 'panoptic') for name in 'ab')
    assert gain(Results(tmp_path), 'PQ', *sources) == verdict


def test_the_interval_of_equal_images_has_no_width():
    from _evidence_tables import interval, share

    counts = np.array([[1, 10]] * 5)
    assert share(counts) == 10
    assert interval(share, counts) == (10, 10)
    # Half of the images at 0 and half at 20 %, 40 images: a deviation of
    # 10 / sqrt(40) = 1.6, so about 3.1 to each side.
    low, high = interval(share, np.array([[0, 10], [2, 10]] * 20))
    assert low == pytest.approx(6.9, abs=0.5)
    assert high == pytest.approx(13.1, abs=0.5)


def test_fewer_confused_pixels_are_judged_by_the_interval(tmp_path):
    from _evidence_tables import Results, Source, fewer_confused

    clean = result('b', 0, 'semantic')
    clean['test']['semantic']['confused'] = [[0, 10], [0, 30]]
    results = Results(write(tmp_path, result('a', 0, 'semantic'), clean))
    a, b, c = (Source(name, 'semantic') for name in 'abc')
    held = '+10.00 (+10.00 to +10.00): held'
    assert fewer_confused(results, b, a) == held
    assert fewer_confused(results, a, b).endswith('did not hold')
    assert fewer_confused(results, a, a).endswith('undecided')
    assert fewer_confused(results, a, c) == '-'


def test_a_page_gets_the_tables_that_it_asks_for():
    from _evidence_tables import fill

    page = 'A\n<!-- table x -->\nold\n<!-- end x -->\nB'
    filled = fill(page, dict(x=['| 1 |'], y=['| 2 |']))
    assert filled == ('A\n<!-- table x -->\n\n| 1 |\n\n<!-- end x -->\nB')
    assert fill(filled, dict(x=['| 1 |'])) == filled
    with pytest.raises(ValueError, match="asks for table 'x'.*'z'"):
        fill(page, dict(z=[]))


@pytest.mark.parametrize('page', ['results.md', 'gallery.md'])
def test_the_tables_of_a_page_are_those_of_the_committed_results(page):
    from _evidence_tables import fill, make_tables

    changed = subprocess.run(
        ['git', 'status', '--porcelain', '--', 'benchmarks/evidence'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if changed.stdout:
        pytest.skip('there are results that are not committed')
    text = (ROOT / 'docs' / page).read_text()
    assert fill(text, make_tables(BENCHMARKS / 'evidence')) == text


def test_tables_and_figures_are_made_of_a_few_results(tmp_path):
    from _evidence_figures import draw_figures
    from _evidence_tables import make_tables

    own = result('shapes-joint', 0, 'semantic', mIoU=70.0)
    single = result('shapes-semantic', 0, 'semantic', mIoU=60.0)
    write(tmp_path / 'results', own, single)
    tables = make_tables(tmp_path / 'results')
    assert (
        '| OneFormer, joint | - | - | 70.0 (1 seed) |'
        in (tables['joint-shapes'])
    )
    assert '| shapes-joint | 0 | 8 | 1 | c | h |' in tables['trained']
    draw_figures(tmp_path / 'images', tmp_path / 'results')
    lines = '\n'.join(line for own in tables.values() for line in own)
    shown = re.findall(r'!\[.+\]\((images/.+)\)', lines)
    assert sorted(shown) == [
        'images/evidence-shapes-confusion.svg',
        'images/evidence-shapes-curves.svg',
    ]
    drawn = {path.name for path in (tmp_path / 'images').iterdir()}
    assert drawn == {Path(path).name for path in shown}


def test_a_curve_has_the_points_that_all_seeds_have():
    from _evidence_figures import draw_band, plt

    whole = dict(iteration=[4, 8], PQ=[1.0, 3.0])
    # Validated once more, as it was interrupted there.
    interrupted = dict(iteration=[4, 5, 8], PQ=[2.0, 9.0, 4.0])
    other_metric = dict(iteration=[4, 8], AP=[7.0, 7.0])
    figure, axis = plt.subplots()
    curves = [(own, 'PQ') for own in (whole, interrupted, other_metric)]
    draw_band(axis, curves, 'C0', 'ours')
    plt.close(figure)
    (line,) = axis.lines
    assert line.get_xydata().tolist() == [[4, 1.5], [8, 3.5]]
    assert line.get_label() == 'ours (2 seeds)'


def test_scores_of_the_gallery_are_each_of_its_own_token(tmp_path):
    from _evidence_tables import make_tables

    scores = dict(PQ=50.0, PQ_th=20.0, PQ_st=80.0, AP=9.0, mIoU=60.0)
    own = result('shapes-joint', 0, 'panoptic', **scores)
    for token, change in (('instance', 1), ('semantic', 2)):
        other = {name: value + change for name, value in scores.items()}
        own['test'][token] = dict(own['test']['panoptic'], scores=other)
    training = dict(
        result('nuclei-curve', 0, 'panoptic'), iteration=5, test={}
    )
    lines = make_tables(write(tmp_path, own, training))['gallery']
    assert lines[2:] == [
        '| nuclei-curve-0 | 5 of 8 | - | - | - | - | - |',
        '| shapes-joint-0 | 8 of 8 | 50.0 | 20.0 | 80.0 | 10.0 | 62.0 |',
    ]


def test_images_of_every_size_are_in_the_gallery():
    from _evidence_gallery import first_of_each_size

    small, wide, tall = (4, 4), (4, 8), (8, 4)
    sizes = [small, small, wide, small, tall, wide]
    assert first_of_each_size(sizes, 3) == [0, 2, 4]
    # Then the second of each: there is one tall image alone.
    assert first_of_each_size(sizes, 5) == [0, 2, 4, 1, 5]
    assert first_of_each_size([small] * 3, 5) == [0, 1, 2]


def test_a_gallery_needs_a_run_with_a_checkpoint(tmp_path):
    from _evidence_gallery import last_checkpoint

    with pytest.raises(FileNotFoundError, match='no checkpoint: train'):
        last_checkpoint(tmp_path)
    # The runner notes where the folder was at that time.
    (tmp_path / 'last_checkpoint').write_text('/moved/since/iter_8.pth')
    assert last_checkpoint(tmp_path) == tmp_path / 'iter_8.pth'


def test_the_gallery_has_an_image_and_its_results_in_each_row(tmp_path):
    import torch
    from _evidence_gallery import CELL_WIDTH, draw_gallery, draw_row
    from _training_run import make_config
    from _trainings import draw_data
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    from PIL import Image

    from projects.oneformer.images import read_image
    from projects.oneformer.results import SegmentationResult

    data = draw_data(
        tmp_path / 'data', num_train=1, num_val=1, num_test=2, size=64
    )
    folder = tmp_path / 'run'
    folder.mkdir()
    init_default_scope('mmdet')
    state = MODELS.build(make_config(RUN).model).state_dict()
    torch.save(dict(state_dict=state), folder / 'iter_8.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_8.pth'))
    path = tmp_path / 'images' / 'gallery.jpg'
    draw_gallery(RUN, folder, data, path)

    sheet = np.asarray(Image.open(path)).astype(int)
    side, gap = CELL_WIDTH, CELL_WIDTH // 24
    header = footer = 3 * (CELL_WIDTH // 16) // 2
    assert sheet.shape == (
        gap + header + 2 * (side + gap) + footer,
        gap + 4 * (side + gap),
        3,
    )
    photos = sorted(Path(data, 'test').iterdir())
    assert len(photos) == 2
    for row, photo in enumerate(photos):
        image = read_image(str(photo))[..., ::-1]
        (stretched,) = draw_row(
            SegmentationResult(
                *image.shape[:2], classes=(), thing_classes=(), image=image
            )
        )
        large = stretched.repeat(4, axis=0).repeat(4, axis=1)
        top = gap + header + row * (side + gap)
        distances = []
        for column in range(4):
            left = gap + column * (side + gap)
            cell = sheet[top : top + side, left : left + side]
            distances.append(np.abs(cell - large).mean())
        # The image but for the JPEG; semantic results cover all of it.
        assert distances[0] < 5 < 15 < distances[3]
        # White is further off than colours that let the image through.
        white = np.abs(255 - large).mean()
        assert max(distances) < white


def command(tmp_path: Path, *args) -> list[str]:
    return [
        *(sys.executable, str(BENCHMARKS / 'evidence.py'), *map(str, args)),
        *('--runs', str(tmp_path / 'runs.json')),
        *('--work-dir', str(tmp_path / 'work')),
        *('--results', str(tmp_path / 'results')),
    ]


def test_a_copy_of_the_instances_has_two_classes_alone(tmp_path, monkeypatch):
    import evidence

    small = dict(num_train=6, num_val=1, num_test=1, size=64, hard=True)
    monkeypatch.setattr(evidence, 'SHAPES', small)
    folder = Path(evidence.draw_shapes(tmp_path / 'shapes'))
    every, some = (
        json.loads((folder / 'annotations' / name).read_text())
        for name in ('instances_train.json', 'instances_train_some.json')
    )
    assert [c['name'] for c in some['categories']] == ['disc', 'square']
    assert some['images'] == every['images']
    assert some['annotations'] == [
        a for a in every['annotations'] if a['category_id'] in (1, 2)
    ]
    assert 0 < len(some['annotations']) < len(every['annotations'])


@pytest.mark.slow
def test_runs_go_on_after_an_interruption_and_leave_results(tmp_path):
    from _trainings import draw_data

    data = draw_data(
        tmp_path / 'data', num_train=8, num_val=2, num_test=2, hard=True
    )
    options = {'train_dataloader.batch_size': 2}
    joint = dict(
        RUN,
        cfg_options=options,
        pictures=1,
        iterations=40,
        validate_every=25,
    )
    peer = dict(
        joint,
        name='shapes-mask2former-instance-0',
        network='mask2former',
        tokens=['instance'],
        steps=dict(SampleTask=dict(probs=dict(instance=1.0))),
        iterations=4,
    )
    (tmp_path / 'runs.json').write_text(json.dumps([joint, peer]))
    train = command(tmp_path, 'run', '--data', f'shapes={data}')
    process = subprocess.Popen(train, cwd=ROOT, start_new_session=True)
    folder = tmp_path / 'work' / 'shapes-joint-0'
    deadline = time.monotonic() + 300
    while not (folder / 'last_checkpoint').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert not (tmp_path / 'results' / 'shapes-joint-0.json').exists()

    done = subprocess.run(train, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ours = json.loads(
        (tmp_path / 'results' / 'shapes-joint-0.json').read_text()
    )
    assert ours['sessions'] == 2 and ours['iteration'] == 40
    assert ours['curve']['iteration'] == list(range(2, 42, 2))
    assert ours['validation']['iteration'] == [25, 40]
    assert set(ours['test']) == set(RUN['tokens'])
    for found in ours['test'].values():
        assert set(found['scores']) == {'PQ', 'PQ_th', 'PQ_st', 'AP', 'mIoU'}
        confusion = np.array(found['confusion'])
        confused = np.array(found['confused'])
        assert confusion.shape == (8, 8) and len(confused) == 2
        assert confusion.sum() == confused[:, 1].sum()
        wrong = confusion.sum() - np.trace(confusion)
        assert wrong == confused[:, 0].sum()
    assert (tmp_path / 'results' / 'shapes-joint-0.jpg').exists()
    theirs = json.loads(
        (tmp_path / 'results' / f'{peer["name"]}.json').read_text()
    )
    assert set(theirs['test']) == {'instance'}
    assert set(theirs['validation']) == {'iteration', 'AP'}

    again = subprocess.run(
        command(tmp_path, 'status'), cwd=ROOT, capture_output=True, text=True
    )
    assert again.stdout.count('done in') == 2
