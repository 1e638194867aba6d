"""What the tests of own data share."""

import sys
from pathlib import Path

import pytest

# The tools are scripts, which find each other in their folder.
sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

from tools.misc.make_demo_data import make_demo_data  # noqa: E402


@pytest.fixture(scope='session')
def drawn(tmp_path_factory) -> Path:
    """Drawn images with panoptic data, instances and label maps."""
    folder = tmp_path_factory.mktemp('drawn') / 'shapes'
    make_demo_data(folder, num_train=6, num_val=2, size=64)
    return folder
