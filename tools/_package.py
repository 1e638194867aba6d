"""Modules of the package that need no torch, without the package around them.

``import projects.oneformer`` registers models and takes many seconds, for
every process. To check or convert data only what annotations mean is needed.
These modules say it, and import nothing else of the package, so they are
loaded from their files.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).resolve().parent
# In a checkout, and installed as projects/oneformer/.mim/tools.
PLACES = (TOOLS.parent / 'projects' / 'oneformer', TOOLS.parents[1])
# Where they find one another: as modules of this one.
__path__ = [str(place) for place in PLACES]


def _load(path: str) -> ModuleType:
    folder = next(place for place in PLACES if (place / path).is_file())
    name = f'{__name__}.{Path(path).stem}'
    spec = importlib.util.spec_from_file_location(name, folder / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


errors = _load('errors.py')  # first, as others import its classes
annotation_png = _load('datasets/annotation_png.py')
coco_layout = _load('datasets/coco_layout.py')
coco_masks = _load('datasets/coco_masks.py')
file_names = _load('datasets/file_names.py')
images = _load('images.py')
metainfo = _load('metainfo.py')
segment_ids = _load('segment_ids.py')
tasks = _load('tasks.py')
