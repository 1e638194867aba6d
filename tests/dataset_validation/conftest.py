"""What the tests of the validator share."""

import sys
from pathlib import Path

import pytest

# The tools are scripts, which find each other in their folder.
sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

from tests.dataset_validation.tiny_sets import TinySet  # noqa: E402


@pytest.fixture
def tiny(tmp_path):
    tiny = TinySet(tmp_path / 'data')
    tiny.save()
    return tiny
