"""The drawings as HTML."""

import re
from dataclasses import replace

import numpy as np

from projects.oneformer.serve.viewer import id_runs, message_html, viewer_html
from tests.serve.test_scaling import small_result


def test_runs_say_which_segment_is_at_each_pixel():
    height, width, runs = id_runs(small_result(), 'panoptic')
    assert (height, width) == (2, 4)
    assert runs == [3, 2, 7, 2, 3, 2, 7, 1, 0, 1]


def test_the_map_of_a_large_image_is_reduced():
    height, width, runs = id_runs(small_result(), 'panoptic', side=2)
    assert (height, width) == (1, 2)
    assert sum(runs[1::2]) == 2


def test_the_instance_of_the_highest_score_is_on_top():
    result = small_result().filter(0.0)
    _, _, runs = id_runs(result, 'instance')
    ids = np.repeat(runs[::2], runs[1::2]).reshape(2, 4)
    # The diagonal of instance 2 is covered by instance 1.
    assert ids.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]


def test_each_segment_has_a_row_with_score_and_area():
    html = viewer_html(small_result(), ['panoptic'], 0.5)
    assert html.count('<tr data-id=') == 2
    assert 'data-title="cat 0.50"' in html
    assert '<td>50.0 %</td>' in html
    assert '<caption>2 segments</caption>' in html
    assert 'alt="panoptic: cat, sky"' in html


def test_semantic_segments_have_no_score():
    html = viewer_html(small_result(), ['semantic'], 0.5)
    assert 'data-title="cat"' in html
    assert '<td>–</td>' in html


def test_side_by_side_there_is_a_panel_for_each_task():
    html = viewer_html(small_result(), ['panoptic', 'semantic'], 0.5)
    found = re.findall('data-task="([a-z]+)"', html)
    assert found == ['panoptic', 'semantic']


def test_names_of_classes_are_text_and_no_html():
    evil = '<script>"&'
    result = small_result()
    segments = [replace(s, name=evil) for s in result.segments]
    html = viewer_html(replace(result, segments=segments), ['panoptic'], 0.5)
    assert '<script>' not in html
    assert '&lt;script&gt;&quot;&amp;' in html
    assert '<script>' not in message_html(evil)


def test_a_result_without_segments_says_so():
    html = viewer_html(replace(small_result(), instances=[]), ['instance'], 1)
    assert 'alt="instance: nothing found"' in html
    assert '0 segments' in html
