"""Packages that only some metrics use are not needed to run a model."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from projects.oneformer.optional import import_optional

ROOT = Path(__file__).resolve().parents[1]


def test_a_model_runs_without_the_packages_of_metrics():
    program = """
        import sys

        for name in ('hotcoco', 'cityscapesscripts', 'faster_coco_eval'):
            sys.modules[name] = None  # its import fails
        sys.path.insert(0, 'tests')
        import projects.oneformer
        from model_configs import build_model, data_sample, images, tiny_model

        model = build_model(tiny_model(training=False))
        (sample,) = model.predict(images(1, 64, 64), [data_sample(64, 64)])
        print(sorted(sample.keys()))
    """
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "['pred_instances', 'pred_panoptic_seg'" in done.stdout


def test_a_missing_package_is_named_with_its_user_and_the_remedy(monkeypatch):
    for name in ('hotcoco', 'hotcoco.mask'):  # perhaps imported by now
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as raised:
        import_optional('hotcoco.mask', 'Masks')
    message = str(raised.value)
    assert message.startswith('Masks need hotcoco, which cannot be imported')
    assert message.endswith('pip install hotcoco')
