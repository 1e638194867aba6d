"""The files of ``examples/``, which are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / 'examples'


def load_example(path: str) -> ModuleType:
    """Run a file as a user's program does, and return it as a module."""
    spec = importlib.util.spec_from_file_location(
        f'example_{Path(path).stem}', EXAMPLES / path
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
