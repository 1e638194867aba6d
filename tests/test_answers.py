"""The pages on results run as they are."""

import json
import re
from pathlib import Path

import cv2
import pytest

from tests.test_inferencer import config, image, weights  # noqa: F401

DOCS = Path(__file__).parents[1] / 'docs'


def blocks_of(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding='utf-8')
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


def test_the_blocks_on_results_run_one_after_the_other(
    weights,  # noqa: F811
    image,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    for package in ('supervision', 'label_studio_sdk', 'cvat_sdk'):
        pytest.importorskip(package, reason=f'{package} is optional')
    photo = tmp_path / 'photo.png'
    cv2.imwrite(str(photo), image)
    names = dict(
        CONFIG=config(), WEIGHTS=weights, PHOTO=photo, FOLDER=tmp_path / 'out'
    )
    classes = enumerate(config().model.metainfo.classes, 1)
    categories = [dict(id=number, name=name) for number, name in classes]
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations' / 'panoptic_val2017.json').write_text(
        json.dumps(dict(categories=categories))
    )
    monkeypatch.chdir(tmp_path)
    run = []
    for block in blocks_of('answers.md'):
        exec(block, names)
        run.append(block)
    for block in blocks_of('other_tools.md'):
        if 'result.' in block:  # the others are of the examples
            exec(block, names)
            run.append(block)
    assert len(run) > 6
    result = names['result']
    assert (names['again'].panoptic == result.panoptic).all()
    assert len(names['certain'].instances) <= len(result.instances)
    assert (tmp_path / 'out' / 'photo.json').exists()
    assert names['task']['data'] == dict(image='https://example.org/photo.jpg')
