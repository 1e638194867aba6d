"""Modules of the package import from lower layers only, in no circle."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'projects' / 'oneformer'
ROOT = 'projects.oneformer'
# From the lowest layer to the highest. A module belongs to the longest name
# that it begins with; modules of one layer may import one another.
LAYERS = (
    ('version', 'compat', 'errors', 'shipped_configs'),
    (
        *('optional', 'tasks', 'run_lengths', 'images', 'tiling'),
        *('segment_ids', 'file_writing', 'video', 'video_writing'),
    ),
    ('drawing',),
    ('results',),
    ('runtime',),
    ('mmcv_ops', 'registry', 'text', 'metainfo', 'sample_result'),
    ('visualization',),
    ('weights', 'checkpoint'),
    ('models.layers',),
    ('models.losses', 'models.backbones'),
    ('models',),
    # The layout of annotation files, which metrics read as well.
    (
        *('datasets.coco_layout', 'datasets.coco_masks'),
        *('datasets.file_names', 'datasets.annotation_png'),
        'datasets.annotation_files',
    ),
    ('datasets.transforms',),
    ('datasets',),
    ('evaluation',),
    ('engine',),
    ('pretrained',),
    ('inferencer', 'input_images'),
    ('serve',),
    ('export',),
    ('doctor',),
    ('__main__',),
)


def modules() -> dict[str, Path]:
    """Return the files of the package by module, as ``models.layers``."""
    found = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE).with_suffix('').parts
        if parts[-1] == '__init__':
            parts = parts[:-1]
        found['.'.join(parts)] = path
    return found


MODULES = modules()


def imports(module: str) -> set[str]:
    """Return the modules of the package that one imports, at any place."""
    path = MODULES[module]
    package = [*ROOT.split('.'), *filter(None, module.split('.'))]
    if path.name != '__init__.py':
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level]
            base = above if node.level else []
            base = '.'.join([*base, *filter(None, [node.module])])
            targets = [f'{base}.{alias.name}' for alias in node.names]
        else:
            continue
        for target in targets:
            if target == ROOT or target.startswith(f'{ROOT}.'):
                found.add(longest(target.removeprefix(ROOT).lstrip('.')))
    return found - {module}


def longest(target: str) -> str:
    """Return the module that a name such as ``models.tta.merge`` is in."""
    while target and target not in MODULES:
        target = target.rpartition('.')[0]
    return target


def layer(module: str) -> int:
    """Return the number of the layer of a module."""
    names = {name: i for i, names in enumerate(LAYERS) for name in names}
    while module and module not in names:
        module = module.rpartition('.')[0]
    assert module, 'state the layer of a new module in LAYERS'
    return names[module]


@pytest.mark.parametrize('module', [name for name in MODULES if name])
def test_a_module_imports_from_its_own_or_lower_layers(module):
    upwards = [
        target
        for target in imports(module)
        if target == '' or layer(target) > layer(module)
    ]
    assert upwards == []


def test_no_imports_go_in_a_circle():
    arrows = {module: imports(module) for module in MODULES}
    while arrows:
        free = [
            module
            for module, targets in arrows.items()
            if not targets & arrows.keys()
        ]
        assert free, f'imports in a circle among {sorted(arrows)}'
        for module in free:
            del arrows[module]
