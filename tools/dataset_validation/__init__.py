"""Check a data set before it is trained on, and mend a copy of it.

Works on files alone, without torch and without the rest of the project, so
that the command ``tools/misc/validate_dataset.py`` starts at once. The way
through it: :mod:`sets` or :mod:`config` says which annotations there are,
:mod:`panoptic`, :mod:`instances` and :mod:`semantic` know one kind of them
each, :mod:`check` runs them over all images, :mod:`report` collects what
they find, :mod:`fix` writes the copy.
"""

from .check import check_sets
from .config import sets_of_config
from .fix import write_fixed
from .report import CHECKS, Finding, Report
from .sets import AnnotationSet, find_sets

__all__ = [
    'CHECKS',
    'AnnotationSet',
    'Finding',
    'Report',
    'check_sets',
    'find_sets',
    'sets_of_config',
    'write_fixed',
]
