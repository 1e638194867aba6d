"""Results: what they hold, hide, draw and write."""

import json
import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from projects.oneformer.results import SegmentationResult
from tests.results.conftest import PANOPTIC


def test_tasks_are_those_with_a_result(result):
    assert result.tasks == ('panoptic', 'instance', 'semantic')
    assert replace(result, panoptic=None).tasks == ('instance', 'semantic')
    # Nothing found is a result, too.
    assert replace(result, instances=[]).tasks == result.tasks


def test_the_first_task_is_the_default(result):
    assert result.segments_of() == result.segments
    assert replace(result, panoptic=None).segments_of() == result.instances


def test_semantic_segments_are_one_for_each_class_in_the_image(result):
    cat, sky = result.segments_of('semantic')
    assert (cat.name, cat.area, cat.score) == ('cat', 15, None)
    assert (sky.name, sky.area, sky.is_thing) == ('sky', 16, False)
    assert np.array_equal(cat.mask, PANOPTIC > 1)


def test_a_task_without_a_result_is_an_error(result):
    panoptic = replace(result, instances=None, semantic=None)
    with pytest.raises(ValueError, match='is of panoptic, not of instance'):
        panoptic.segments_of('instance')
    with pytest.raises(ValueError, match="Unknown task 'depth'"):
        result.segments_of('depth')
    nothing = replace(panoptic, panoptic=None)
    with pytest.raises(ValueError, match='no task'):
        nothing.segments_of()


def test_a_filter_hides_instances_and_brings_them_back(result):
    shown = result.filter(0.6)
    assert [i.id for i in shown.instances] == [1, 2]  # 0.6 is enough
    assert [i.id for i in shown.hidden] == [3]
    assert [i.id for i in shown.filter(0.0).instances] == [1, 2, 3]
    assert [i.id for i in shown.filter(0.7).filter(0.1).instances] == [1, 2, 3]
    assert shown.panoptic is result.panoptic
    assert len(result.instances) == 3  # not changed


def test_a_filter_leaves_results_without_instances_alone(result):
    panoptic = replace(result, instances=None)
    assert panoptic.filter(0.9).instances is None


def test_category_ids_are_those_of_the_data_or_the_labels(result):
    assert result.category_id(2) == 187
    assert replace(result, category_ids=None).category_id(2) == 2


@pytest.mark.parametrize(
    'ids', [(1, 2), (1, 2, 2), (1, 2, 3, 4), (1, 2, 3, 3)]
)
def test_category_ids_that_do_not_fit_the_classes_are_refused(result, ids):
    with pytest.raises(ValueError, match='Expected 3 category_ids'):
        replace(result, category_ids=ids)


def test_a_map_of_another_size_is_refused(result):
    with pytest.raises(ValueError, match=r'Expected semantic of \(6, 8\)'):
        replace(result, semantic=result.semantic[:5])


def test_names_of_files_and_addresses_have_a_stem(result):
    assert result.stem == 'two cats'
    address = 'https://example.org/photos/1.2.jpg?size=large/x'
    assert replace(result, image_name=address).stem == '1.2'
    assert replace(result, image_name=None).stem is None


def test_a_drawing_covers_the_segments_of_the_task(result):
    # Larger than SMALL_SIDE / 2, so that it is not enlarged.
    large = enlarged(result, 60)
    changed = (np.asarray(large.plot('panoptic')) != large.image).any(-1)
    np.testing.assert_array_equal(changed, large.panoptic > 0)


def enlarged(result: SegmentationResult, factor: int) -> SegmentationResult:
    """The panoptic result alone, on a larger image."""
    from projects.oneformer.results.segment import segments_of_map
    from tests.results.conftest import KNOWN

    ids = result.panoptic.repeat(factor, 0).repeat(factor, 1)
    return SegmentationResult(
        *ids.shape,
        classes=result.classes,
        thing_classes=result.thing_classes,
        image=np.full((*ids.shape, 3), 90, np.uint8),
        panoptic=ids,
        segments=segments_of_map(ids, KNOWN, result.classes, ('cat',)),
    )


def test_a_result_prints_in_a_line(result):
    assert repr(result) == (
        '<SegmentationResult of photos/two cats.jpg, 8 x 6, segments: '
        'panoptic 3, instance 3, semantic 2>'
    )


def test_opacity_mixes_image_and_colour(result):
    large = replace(enlarged(result, 60), palette=result.palette)
    corner = {
        opacity: np.asarray(large.plot(opacity=opacity))[5, 5].tolist()
        for opacity in (0, 0.5, 1)
    }
    assert corner[0] == [90, 90, 90]
    assert corner[1] == [70, 130, 180]
    assert corner[0.5] == [80, 110, 135]
    with pytest.raises(ValueError, match='opacity of 0 to 1, got 2'):
        large.plot(opacity=2)


def test_without_labels_a_region_has_its_colour_and_outline_alone(result):
    large = replace(enlarged(result, 60), palette=result.palette)
    for task in large.tasks:
        outlined = np.asarray(large.plot(task, labels=False))
        colors = {tuple(pixel) for pixel in outlined.reshape(-1, 3).tolist()}
        # One and a lighter one of each segment, and the image.
        assert len(colors) <= 2 * len(large.segments_of(task)) + 1
        labelled = np.asarray(large.plot(task)).reshape(-1, 3)
        assert len(np.unique(labelled, axis=0)) > len(colors)


def test_a_legend_is_beside_the_drawing_and_covers_nothing(result):
    large = replace(enlarged(result, 60), palette=result.palette)
    plain = np.asarray(large.plot())
    legend = np.asarray(large.plot(legend=True))
    height, width, _ = plain.shape
    np.testing.assert_array_equal(legend[:height, :width], plain)
    colors = {tuple(pixel) for pixel in legend[:, width:].reshape(-1, 3)}
    assert {(220, 20, 60), (70, 130, 180)} <= colors
    assert (128, 64, 128) not in colors  # there is no road


def test_a_drawing_without_an_image_needs_one(result):
    without = replace(result, image=None)
    with pytest.raises(ValueError, match='does not hold its image'):
        without.plot()
    assert without.plot(image=result.image) == result.plot()
    with pytest.raises(ValueError, match=r'image is \(5, 8\)'):
        without.plot(image=result.image[:5])


def test_notebooks_show_the_drawing(result):
    shown = Image.open(BytesIO(result._repr_png_()))
    assert shown.format == 'PNG'
    assert np.array_equal(np.asarray(shown), np.asarray(result.plot()))
    assert replace(result, image=None)._repr_png_() is None


def test_saved_files_hold_the_result(result, tmp_path):
    files = result.save(tmp_path / 'new')
    assert [path.name for path in files] == [
        'two cats.json',
        'two cats_panoptic.png',
        'two cats_instance.png',
        'two cats_semantic.png',
        'two cats_panoptic_ids.png',
        'two cats_semantic_labels.png',
    ]
    assert set(files) == set((tmp_path / 'new').iterdir())
    content = json.loads(files[0].read_text())
    assert content['file'] == 'photos/two cats.jpg'
    assert content['category_ids'] == [17, 149, 187]
    assert [own['id'] for own in content['panoptic']] == [1, 2, 3]
    assert [own['score'] for own in content['instance']] == [0.9, 0.6, 0.2]
    assert [own['class'] for own in content['semantic']] == ['cat', 'sky']
    ids = np.asarray(Image.open(files[4])).astype(int) @ [1, 256, 65536]
    np.testing.assert_array_equal(ids, PANOPTIC)
    labels = np.asarray(Image.open(files[5]))
    np.testing.assert_array_equal(labels, result.semantic)


def test_without_an_image_no_drawing_is_written(result, tmp_path):
    files = replace(result, image=None, semantic=None).save(tmp_path, 'x')
    names = [path.name for path in files]
    assert names == ['x.json', 'x_panoptic_ids.png']


def test_files_of_an_array_need_a_name(result, tmp_path):
    unnamed = replace(result, image_name=None)
    with pytest.raises(ValueError, match="name='photo'"):
        unnamed.save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert unnamed.save(tmp_path, 'photo')[0] == tmp_path / 'photo.json'


def test_polygons_of_the_segments(result):
    sky, *_ = result.to_polygons('panoptic')
    assert (sky['class'], sky['score']) == ('sky', 0.95)
    (polygon,) = sky['segmentation']
    corners = list(zip(polygon[::2], polygon[1::2], strict=True))
    assert sorted(corners) == [(0, 0), (0, 2), (8, 0), (8, 2)]


def test_dicts_of_transformers_have_name_score_and_mask(result):
    sky, *cats = result.to_transformers()
    assert (sky['label'], sky['score'], sky['mask'].mode) == ('sky', 0.95, 'L')
    assert np.array_equal(np.asarray(sky['mask']), (PANOPTIC == 1) * 255)
    assert [cat['label'] for cat in cats] == ['cat', 'cat']
    assert result.to_transformers('semantic')[0]['score'] is None


def test_results_need_neither_torch_nor_openmmlab():
    """With the packages around them in place of the real ones."""
    code = (
        'import sys, types\n'
        'class Refuse:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        "        if name.split('.')[0] in ('torch', 'mmcv', 'mmdet',\n"
        "                                  'mmengine', 'matplotlib'):\n"
        '            raise ImportError(name)\n'
        'sys.meta_path.insert(0, Refuse())\n'
        "package = types.ModuleType('projects.oneformer')\n"
        "package.__path__ = ['projects/oneformer']\n"
        "sys.modules['projects.oneformer'] = package\n"
        'import numpy as np\n'
        'from projects.oneformer.results import SegmentationResult\n'
        "result = SegmentationResult(4, 4, ('a',), ('a',),\n"
        '    semantic=np.zeros((4, 4), np.uint8),\n'
        '    image=np.zeros((4, 4, 3), np.uint8))\n'
        'print(result.segments_of()[0].area, result.plot(legend=True).size)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('16 (')
