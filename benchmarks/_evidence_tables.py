"""Tables and figures of the results, and what differences say, as Markdown.

A page marks the place of a table with two comments, ``<!-- table NAME -->``
and ``<!-- end NAME -->``; what stands between them is replaced.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _evidence_results import GALLERY, SCORES, is_complete, setting_of
from _gpu_store import write_whole

#: Seeds that a claim needs before it is judged.
SEEDS = 3
#: Metric of each task, and the token that it is usually measured with.
OWN = {'PQ': 'panoptic', 'AP': 'instance', 'mIoU': 'semantic'}
RESAMPLES = 2000
CURVES = 'Validation PQ, AP and mIoU by iteration'
CONFUSION = 'Confusion matrices of the semantic results'
#: Of each figure the setting that it needs a result of, and what it shows.
FIGURES = {
    'shapes-curves': ('shapes-joint', CURVES),
    'shapes-confusion': ('shapes-joint', CONFUSION),
    'camvid-curves': ('camvid-joint', CURVES),
    'camvid-confusion': ('camvid-joint', CONFUSION),
    'nuclei-curves': (
        'nuclei-curve',
        'Training loss, and validation scores by iteration',
    ),
}
NO_RESULT = '-'


class Source(NamedTuple):
    """Where a score comes from.

    Attributes:
        setting (str): Name of runs, without their seed.
        token (str): That the test split was decoded with.
    """

    setting: str
    token: str


class Results:
    """The results of all runs at their end.

    Args:
        folder (Path): Of their files.
    """

    def __init__(self, folder: Path) -> None:
        self.runs: dict[str, dict[int, dict]] = {}
        self.unfinished: list[dict] = []
        for path in sorted(folder.glob('*.json')):
            result = json.loads(path.read_text())
            run = result['run']
            if is_complete(result):
                own = self.runs.setdefault(setting_of(run['name']), {})
                own[run['seed']] = result
            else:
                self.unfinished.append(result)

    def of(self, setting: str) -> dict[int, dict]:
        """Return the results of a setting by seed."""
        return self.runs.get(setting, {})

    def scores(self, source: Source, metric: str) -> dict[int, float]:
        """Return a score of the test split by seed, in percent."""
        found = {}
        for seed, result in self.of(source.setting).items():
            test = result['test'].get(source.token, {})
            if (value := test.get('scores', {}).get(metric)) is not None:
                found[seed] = value
        return found

    def confused(self, source: Source) -> np.ndarray | None:
        """Return the confused and the labelled pixels of each image.

        They are sums over the seeds, (images, 2), None without any result.
        """
        found = [
            result['test'][source.token]['confused']
            for result in self.of(source.setting).values()
            if source.token in result['test']
        ]
        return np.sum(found, axis=0) if found else None


def mean_and_spread(values: Iterable[float]) -> str:
    """Write a mean with the standard deviation over the seeds."""
    values = list(values)
    if not values:
        return NO_RESULT
    if len(values) == 1:
        return f'{values[0]:.1f} (1 seed)'
    text = f'{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}'
    return text if len(values) >= SEEDS else f'{text} ({len(values)} seeds)'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    rows = list(rows)
    if not rows:
        return ['No run has ended yet.']
    lines = [header, ['---'] * len(header), *rows]
    return ['| ' + ' | '.join(cells) + ' |' for cells in lines]


def gain(results: Results, metric: str, ours: Source, other: Source) -> str:
    """Say by how much a score is higher than another, seed by seed.

    The claim that it is higher held if it is for every seed, and did not if
    it is lower for every seed.

    Args:
        results (Results): All.
        metric (str): Name of the score.
        ours (Source): That is claimed to be higher.
        other (Source): That it is compared with.
    """
    first, second = (results.scores(s, metric) for s in (ours, other))
    both = sorted(first.keys() & second.keys())
    if len(both) < SEEDS:
        return f'not judged ({len(both)} of {SEEDS} seeds)'
    gains = [first[seed] - second[seed] for seed in both]
    if min(gains) > 0:
        verdict = 'held'
    elif max(gains) < 0:
        verdict = 'did not hold'
    else:
        verdict = 'undecided'
    return (
        f'{np.mean(gains):+.1f} ({min(gains):+.1f} to {max(gains):+.1f}): '
        f'{verdict}'
    )


def joint_against_single(results: Results, data: str) -> list[str]:
    """One training of three tasks against one of each task."""
    rows = {
        'OneFormer, joint': f'{data}-joint',
        'OneFormer, each task alone': f'{data}-{{task}}',
        'OneFormer, each task alone, as many iterations in sum': (
            f'{data}-{{task}}-third'
        ),
        'OneFormer with query features, joint': f'{data}-joint-features',
        'OneFormer with query features, each task alone': (
            f'{data}-{{task}}-features'
        ),
        'Mask2Former, each task alone': f'{data}-mask2former-{{task}}',
    }
    features = [name for name in rows if 'query features' in name]
    return by_task(
        results,
        rows,
        {
            'OneFormer, joint': features,
            'OneFormer with query features, joint': [],
        },
    )


def without_decoders(results: Results) -> list[str]:
    """OneFormer on EoMT against plain EoMT, and without parts of its training.

    The network with decoders is smaller, starts at random and does more
    iterations: it is for orientation, so nothing is said of its difference.
    """
    decoders = 'ResNet-18 with decoders from random weights, joint'
    rows = {
        'OneFormer on EoMT, joint': 'shapes-eomt',
        'plain EoMT, each task alone': 'shapes-eomt-{task}',
        'joint, no contrastive loss': 'shapes-eomt-no-contrastive',
        'joint, masked attention until the end': 'shapes-eomt-masked',
        decoders: 'shapes-joint',
    }
    return by_task(results, rows, {'OneFormer on EoMT, joint': [decoders]})


def by_task(
    results: Results, rows: dict[str, str], firsts: dict[str, list[str]]
) -> list[str]:
    """Each metric with the token of its task, and gains against other rows.

    Args:
        results (Results): All.
        rows (dict[str, str]): Of the text of each row its setting, in which
            ``{task}`` stands for the task of the metric.
        firsts (dict[str, list[str]]): Rows that are compared with all others,
            and those with which each is not.
    """
    sources = {
        name: {
            metric: Source(setting.format(task=task), task)
            for metric, task in OWN.items()
        }
        for name, setting in rows.items()
    }
    present = {
        name: own
        for name, own in sources.items()
        if any(results.of(source.setting) for source in own.values())
    }
    lines = table(
        ['test split', *OWN],
        [
            [
                name,
                *(
                    mean_and_spread(results.scores(own[m], m).values())
                    for m in OWN
                ),
            ]
            for name, own in present.items()
        ],
    )
    for first, left_out in firsts.items():
        joint = present.get(first)
        others = {
            name: own
            for name, own in present.items()
            if name != first and name not in left_out
        }
        if joint and others:
            lines += [
                '',
                *table(
                    [f'gain of {first}, against', *OWN],
                    [
                        [n, *(gain(results, m, joint[m], o[m]) for m in OWN)]
                        for n, o in others.items()
                    ],
                ),
            ]
    return lines


def tokens(results: Results, setting: str) -> list[str]:
    """All results of one checkpoint under each token."""
    return table(
        ['task token', *SCORES],
        [
            [
                token,
                *(
                    mean_and_spread(
                        results.scores(Source(setting, token), m).values()
                    )
                    for m in SCORES
                ),
            ]
            for token in OWN.values()
        ],
    )


def settings(
    results: Results,
    data: str,
    rows: dict[str, str],
    against: Sequence[str] = (),
) -> list[str]:
    """Joint runs with something changed.

    Args:
        results (Results): All.
        data (str): Name of the data.
        rows (dict[str, str]): Of each setting the text of its row.
        against (Sequence[str]): Settings that the first is claimed to be
            better than.
    """

    def sources(setting: str) -> dict[str, Source]:
        return {m: Source(f'{data}-{setting}', t) for m, t in OWN.items()}

    present = [s for s in rows if results.of(f'{data}-{s}')]
    lines = table(
        ['test split', *OWN, 'confused pixels, %'],
        [
            [
                rows[setting],
                *(
                    mean_and_spread(results.scores(source, m).values())
                    for m, source in sources(setting).items()
                ),
                confused_share(results.confused(sources(setting)['mIoU'])),
            ]
            for setting in present
        ],
    )
    first = sources(next(iter(rows)))
    compared = [setting for setting in against if setting in present]
    if not compared:
        return lines
    return lines + [
        '',
        *table(
            ['gain against', *OWN, 'fewer confused pixels, %'],
            [
                [
                    rows[setting],
                    *(
                        gain(results, m, first[m], source)
                        for m, source in sources(setting).items()
                    ),
                    fewer_confused(
                        results, first['mIoU'], sources(setting)['mIoU']
                    ),
                ]
                for setting in compared
            ],
        ),
    ]


def confused_share(counts: np.ndarray | None) -> str:
    """Write the share of confused pixels with an interval over images."""
    if counts is None:
        return NO_RESULT
    low, high = interval(share, counts)
    return f'{share(counts):.2f} ({low:.2f} to {high:.2f})'


def share(counts: np.ndarray) -> float:
    """Return the share of confused pixels in percent, of (images, 2)."""
    confused, labelled = counts.sum(0)[:2]
    return 100 * confused / labelled


def interval(
    statistic: Callable[[np.ndarray], float], counts: np.ndarray
) -> tuple[float, float]:
    """Return the bootstrap interval of 95 % over images.

    Args:
        statistic (Callable): Of the counts of some images.
        counts (np.ndarray): Of each image.
    """
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(counts), size=(RESAMPLES, len(counts)))
    values = [statistic(counts[rows]) for rows in drawn]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def fewer_confused(results: Results, first: Source, other: Source) -> str:
    """Say whether a setting confuses fewer pixels than another."""
    own, its = results.confused(first), results.confused(other)
    if own is None or its is None:
        return NO_RESULT
    counts = np.concatenate([its, own], axis=1)  # (images, 4)

    def difference(rows: np.ndarray) -> float:
        return share(rows) - share(rows[:, 2:])

    low, high = interval(difference, counts)
    if low > 0:
        verdict = 'held'
    elif high < 0:
        verdict = 'did not hold'
    else:
        verdict = 'undecided'
    return f'{difference(counts):+.2f} ({low:+.2f} to {high:+.2f}): {verdict}'


def curve(results: Results, setting: str) -> list[str]:
    """Validation scores on the way, of each seed."""
    rows = []
    unfinished = {
        r['run']['seed']: r
        for r in results.unfinished
        if setting_of(r['run']['name']) == setting
    }
    for seed, result in sorted((unfinished | results.of(setting)).items()):
        own = result['validation']
        for place, iteration in enumerate(own['iteration']):
            rows.append(
                [
                    str(seed),
                    str(iteration),
                    *(
                        f'{own[m][place]:.1f}' if m in own else NO_RESULT
                        for m in SCORES
                    ),
                ]
            )
    return table(['seed', 'iteration', *SCORES], rows)


def gallery(results: Results) -> list[str]:
    """Scores of the runs whose images are shown, each with its own token."""
    runs = [
        *results.unfinished,
        *(result for own in results.runs.values() for result in own.values()),
    ]
    found = {result['run']['name']: result for result in runs}
    rows = []
    for result in (found[name] for name in GALLERY if name in found):
        row = [
            result['run']['name'],
            f'{result["iteration"]} of {result["run"]["iterations"]}',
        ]
        for metric in SCORES:
            test = result['test'].get(OWN.get(metric, 'panoptic'))
            row.append(f'{test["scores"][metric]:.1f}' if test else NO_RESULT)
        rows.append(row)
    return table(['test split', 'iterations', *SCORES], rows)


def figure(results: Results, name: str) -> list[str]:
    """Return the lines that show a figure, none without any result."""
    setting, text = FIGURES[name]
    if not results.of(setting):
        return []
    return ['', f'![{text}](images/evidence-{name}.svg)']


def trained(results: Results) -> list[str]:
    """What was trained, how long, and where."""
    rows = []
    for setting, own in sorted(results.runs.items()):
        minutes = [result['minutes'] for result in own.values()]
        commits = sorted({c for r in own.values() for c in r['commits']})
        hardware = sorted({h for r in own.values() for h in r['hardware']})
        iterations = {r['run']['iterations'] for r in own.values()}
        rows.append(
            [
                setting,
                ', '.join(map(str, sorted(own))),
                ', '.join(map(str, sorted(iterations))),
                f'{np.mean(minutes):.0f}',
                ', '.join(commits),
                '; '.join(hardware),
            ]
        )
    return table(
        ['setting', 'seeds', 'iterations', 'minutes', 'commits', 'machine'],
        rows,
    )


def make_tables(folder: Path) -> dict[str, list[str]]:
    """Return the lines of every table."""
    results = Results(folder)
    texts = {
        'joint': 'contrastive loss, texts "a photo with a ..."',
        'one-word': 'texts of the class name alone',
        'no-texts': 'no texts of objects',
        'no-contrastive': 'no contrastive loss',
    }
    return {
        'joint-shapes': joint_against_single(results, 'shapes')
        + figure(results, 'shapes-curves'),
        'joint-camvid': joint_against_single(results, 'camvid')
        + figure(results, 'camvid-curves'),
        'eomt': without_decoders(results),
        'tokens-eomt': tokens(results, 'shapes-eomt'),
        'tokens-shapes': tokens(results, 'shapes-joint'),
        'tokens-camvid': tokens(results, 'camvid-joint'),
        'tokens-nuclei': tokens(results, 'nuclei-curve'),
        'texts-shapes': settings(results, 'shapes', texts, list(texts)[1:])
        + figure(results, 'shapes-confusion'),
        'texts-camvid': settings(
            results,
            'camvid',
            {s: texts[s] for s in ('joint', 'no-contrastive')},
            ['no-contrastive'],
        )
        + figure(results, 'camvid-confusion'),
        'annotations': settings(
            results,
            'shapes',
            {
                'mixed': 'half panoptic, a quarter instances of two classes, '
                'a quarter stuff alone',
                'panoptic-half': 'the panoptic half alone',
                'mixed-background': 'the same, what is not labelled being '
                'background',
                'joint': 'all panoptic',
            },
            ['panoptic-half', 'mixed-background'],
        ),
        'few-annotations': settings(
            results,
            'shapes',
            {
                'few-mixed': '20 panoptic, 80 instances of two classes, '
                '80 stuff alone',
                'few-panoptic': 'the 20 panoptic alone',
                'few-mixed-background': 'the same, what is not labelled being '
                'background',
            },
            ['few-panoptic', 'few-mixed-background'],
        ),
        'images': settings(
            results,
            'many-shapes',
            {
                'images-20': '20 images',
                'images-200': '200 images',
                'images-2000': '2,000 images',
            },
        ),
        'queries': settings(
            results,
            'shapes',
            {
                'joint': '24 queries',
                'queries-12': '12 queries',
                'queries-48': '48 queries',
            },
        ),
        'pretraining': settings(
            results,
            'camvid',
            {
                'joint': 'ImageNet weights in the backbone',
                'no-pretraining': 'random weights in the backbone',
            },
            ['no-pretraining'],
        ),
        'curve-nuclei': curve(results, 'nuclei-curve')
        + figure(results, 'nuclei-curves'),
        'trained': trained(results),
        'gallery': gallery(results),
    }


def fill(text: str, tables: dict[str, list[str]]) -> str:
    """Return a page with the tables that it has places for.

    Raises:
        ValueError: If it names one that does not exist.
    """

    def replace(match: re.Match) -> str:
        name = match['name']
        if name not in tables:
            raise ValueError(
                f'The page asks for table {name!r}: expected one of '
                f'{sorted(tables)}.'
            )
        body = '\n'.join(tables[name])
        return f'<!-- table {name} -->\n\n{body}\n\n<!-- end {name} -->'

    place = r'<!-- table (?P<name>\S+) -->.*?<!-- end (?P=name) -->'
    return re.sub(place, replace, text, flags=re.DOTALL)


def fill_page(page: Path, folder: Path) -> None:
    """Write the tables into a page."""
    write_whole(page, fill(page.read_text(), make_tables(folder)))
