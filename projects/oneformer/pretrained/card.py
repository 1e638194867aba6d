"""The model card of a folder: ``README.md`` with metadata for the Hub."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from ..errors import InputError, MissingFileError
from ..optional import import_optional
from .settings import LIBRARY, Settings

CARD_FILE = 'README.md'
# Metrics of a test run: name in its files, name here, task of the Hub, factor
# to percent.
METRICS = (
    ('panoptic/PQ', 'PQ', 'panoptic', 1),
    ('instance/segm_mAP', 'AP', 'instance', 100),
    ('semantic/mIoU', 'mIoU', 'semantic', 1),
)


@dataclass(frozen=True)
class CardFacts:
    """What the card says that the weights do not.

    Attributes:
        data (str | None): Data set that the model was trained on.
        licence (str | None): Identifier of the Hub, such as ``apache-2.0``.
        scores (Mapping[str, float]): ``PQ``, ``AP`` and ``mIoU`` in percent.
        evaluated_on (str | None): Data of the scores; by default ``data``.
    """

    data: str | None = None
    licence: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    evaluated_on: str | None = None

    def __post_init__(self) -> None:
        known = [name for _, name, _, _ in METRICS]
        for name, value in self.scores.items():
            if name not in known or not 0 <= value <= 100:
                raise InputError(
                    f'Expected scores {known} in percent, got {name} = '
                    f'{value}.'
                )
        if self.scores and not (self.data or self.evaluated_on):
            raise InputError(
                'Scores need the data that they were measured on: give data '
                'or evaluated_on.'
            )


def read_scores(path: str | PathLike) -> dict[str, float]:
    """Return the scores of a test run, in percent.

    Args:
        path (str | PathLike): The JSON that ``tools/test.py`` wrote, or its
            work dir, of which the newest one counts.

    Raises:
        InputError: If there are none.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(
            f'{path} does not exist: expected the work dir of tools/test.py, '
            'or the JSON in it.'
        )
    files = [path]
    if path.is_dir():
        files = sorted(path.glob('*/*.json'), key=lambda p: p.stat().st_mtime)
    for file in reversed(files):
        scores = _scores_in(file)
        if scores:
            return scores
    raise InputError(
        f'{path} has no scores: expected JSON with some of '
        f'{[key for key, _, _, _ in METRICS]}, as tools/test.py writes it.'
    )


def _scores_in(file: Path) -> dict[str, float]:
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{file} is not valid JSON: {error}.') from error
    if not isinstance(content, dict):
        return {}
    return {
        name: round(content[key] * factor, 2)
        for key, name, _, factor in METRICS
        # pycocotools gives -1 for what is undefined.
        if isinstance(content.get(key), int | float)
        and math.isfinite(content[key])
        and content[key] >= 0
    }


def write_card(settings: Settings, name: str, facts: CardFacts) -> str:
    """Return the text of a card.

    Args:
        settings (Settings): Of the model.
        name (str): Of the model.
        facts (CardFacts): Data, scores, licence.
    """
    hub = import_optional('huggingface_hub', 'Model cards')
    results = [
        hub.EvalResult(
            task_type='image-segmentation',
            task_name=f'{task.capitalize()} segmentation',
            dataset_type='custom',
            dataset_name=facts.evaluated_on or facts.data,
            metric_type=metric.lower(),
            metric_name=f'{metric} (%)',
            metric_value=facts.scores[metric],
        )
        for _, metric, task, _ in METRICS
        if metric in facts.scores
    ]
    licence = dict(license=facts.licence) if facts.licence else {}
    metadata = hub.ModelCardData(
        **licence,
        library_name=LIBRARY,
        pipeline_tag='image-segmentation',
        tags=['oneformer', 'panoptic-segmentation', 'universal-segmentation'],
        model_name=name,
        eval_results=results or None,
    )
    return '\n'.join(
        ['---', metadata.to_yaml(), '---', '', _text(settings, name, facts)]
    )


def _text(settings: Settings, name: str, facts: CardFacts) -> str:
    things = ', '.join(settings.thing_classes) or 'none'
    names = set(settings.thing_classes)
    stuff = ', '.join(n for n in settings.classes if n not in names) or 'none'
    scores = [
        f'| {task} | {metric} | {facts.scores[metric]:.1f} |'
        for _, metric, task, _ in METRICS
        if metric in facts.scores
    ]
    if scores:
        scores = [
            f'In percent, on {facts.evaluated_on or facts.data}, each with '
            'the task token of its task:',
            '',
            '| task | metric | score |',
            '|---|---|---|',
            *scores,
        ]
    backbone = settings.model['backbone']['type'].rpartition('.')[-1]
    queries = settings.model['panoptic_head']['num_queries']
    return '\n'.join(
        [
            f'# {name}',
            '',
            'A [OneFormer](https://arxiv.org/abs/2211.06220): one model for '
            'panoptic, instance and semantic segmentation. Backbone '
            f'{backbone}, {queries} queries, {len(settings.classes)} classes.',
            '',
            '```python',
            'from projects.oneformer.inferencer import OneFormerInferencer',
            '',
            f"model = OneFormerInferencer.from_pretrained('{name}')",
            "for result in model('image.jpg', tasks='panoptic'):",
            "    result.save('out')",
            '```',
            '',
            'The folder is data: `config.json` describes the model, '
            '`model.safetensors` has its weights, and no code is run.',
            '',
            '## Training data',
            '',
            facts.data or 'Not stated.',
            '',
            f'Tasks: {", ".join(settings.trained_tasks)}.',
            '',
            f'Things: {things}.',
            '',
            f'Stuff: {stuff}.',
            '',
            '## Scores',
            '',
            *(scores or ['Not stated.']),
            '',
            '## Licence',
            '',
            facts.licence or 'Not stated.',
            '',
        ]
    )
