"""The card states data, scores and licence, for people and for the Hub."""

import json

import pytest

from projects.oneformer.errors import InputError
from projects.oneformer.pretrained import CardFacts, read_scores, settings_of
from projects.oneformer.pretrained.card import write_card
from tests.pretrained.conftest import tiny_config

hub = pytest.importorskip(
    'huggingface_hub', reason='cards are checked by the client of the Hub'
)


def card(facts):
    return hub.ModelCard(write_card(settings_of(tiny_config()), 'zoo', facts))


def test_the_hub_reads_data_scores_and_licence():
    facts = CardFacts(
        data='Zoo 2, 900 images',
        licence='cc-by-4.0',
        scores=dict(PQ=40.25, mIoU=51),
        evaluated_on='Zoo 2 val',
    )
    found = card(facts)
    assert found.data.license == 'cc-by-4.0'
    assert found.data.pipeline_tag == 'image-segmentation'
    assert found.data.library_name == 'oneformer-openmmlab'
    # The client reads them back from the metadata that the Hub shows.
    results = {r.metric_type: r for r in found.data.eval_results}
    assert {name: r.metric_value for name, r in results.items()} == dict(
        pq=40.25, miou=51
    )
    assert results['pq'].dataset_name == 'Zoo 2 val'
    assert '| panoptic | PQ | 40.2 |' in found.text
    assert 'Zoo 2, 900 images' in found.text
    assert 'Things: cat, dog, car.' in found.text
    assert 'Stuff: wall, sky, road.' in found.text


def test_what_is_not_known_is_not_stated():
    found = card(CardFacts())
    assert found.text.count('Not stated.') == 3
    assert found.data.eval_results is None
    assert 'license' not in found.data.to_dict()


@pytest.mark.parametrize(
    ('scores', 'message'),
    [
        (dict(PQ=140.0), 'in percent, got PQ = 140'),
        (dict(accuracy=1), 'got accuracy = 1'),
        (dict(PQ=float('nan')), 'got PQ = nan'),
        (dict(PQ=40), 'need the data that they were measured on'),
    ],
)
def test_scores_are_percentages_on_some_data(scores, message):
    with pytest.raises(InputError, match=message):
        CardFacts(scores=scores)


def test_scores_are_read_from_the_files_of_a_test_run(tmp_path):
    measured = {
        'panoptic/PQ': 40.254,
        'instance/segm_mAP': 0.2125,
        'semantic/mIoU': -1.0,
        'time': 0.3,
    }
    run = tmp_path / '20260101_120000'
    run.mkdir()
    (run / '20260101_120000.json').write_text(json.dumps(measured))
    # AP is a fraction there, and -1 stands for what is undefined.
    expected = dict(PQ=40.25, AP=21.25)
    assert read_scores(tmp_path) == expected
    assert read_scores(run / '20260101_120000.json') == expected


def test_a_work_dir_without_a_test_run_is_named(tmp_path):
    with pytest.raises(InputError, match='has no scores: expected JSON with'):
        read_scores(tmp_path)
    with pytest.raises(FileNotFoundError, match='work dir of tools/test.py'):
        read_scores(tmp_path / 'none')
    (tmp_path / 'scores.json').write_text('{')
    with pytest.raises(InputError, match='is not valid JSON'):
        read_scores(tmp_path / 'scores.json')
