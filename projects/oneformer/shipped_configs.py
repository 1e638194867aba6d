"""Where the configs of this package are, in a checkout and installed."""

import difflib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# The wheel carries them where OpenMMLab's packages do.
PLACES = (PACKAGE / '.mim' / 'configs', PACKAGE.parents[1] / 'configs')


def config_path(name: str) -> str:
    """Return the path of a shipped config, for the ``_base_`` of another.

    Args:
        name (str): Such as ``oneformer_swin-t_coco.py`` or
            ``_base_/datasets/panoptic.py``.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    for folder in PLACES:
        if (folder / name).is_file():
            return str(folder / name)
    known = [*config_names(), *config_names('_base_/**/*.py')]
    close = difflib.get_close_matches(name, known, n=3)
    raise FileNotFoundError(
        f'OneFormer has no config {name!r}; '
        + (f'similar are {", ".join(close)}.' if close else 'see configs/.')
    )


def config_names(pattern: str = '*.py') -> list[str]:
    """Return the names of the shipped configs, sorted.

    Args:
        pattern (str): As for ``Path.glob``; by default the bricks in
            ``_base_`` are left out.
    """
    return sorted(
        path.relative_to(folder).as_posix()
        for folder in PLACES
        for path in folder.glob(pattern)
    )
