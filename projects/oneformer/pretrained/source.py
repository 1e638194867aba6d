"""From a name to a model: what ``from_pretrained`` accepts."""

import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from ..errors import InputError, MissingFileError
from ..shipped_configs import config_path
from ..weights.reader import read_checkpoint
from .eomt_settings import eomt_settings
from .folder import CONFIG_FILE, is_model_folder
from .hub import download_folder
from .published import recognise
from .settings import read_object_file, read_settings
from .transformers_settings import transformers_settings

HUB_NAME = re.compile(r'[\w][\w.-]*/[\w][\w.-]*', re.ASCII)
FILE_ENDINGS = ('.pth', '.pkl', '.pt', '.bin', '.safetensors', '.py')


class Pretrained(NamedTuple):
    """A model that can be built.

    Attributes:
        config (Config): What ``OneFormerInferencer`` takes.
        weights (str): File, folder or address of the checkpoint.
    """

    config: Config
    weights: str


def find_pretrained(
    source: str | PathLike,
    config: str | PathLike | Config | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Pretrained:
    """Find config and weights of a model.

    Args:
        source (str | PathLike): One of

            - a folder of ``save_pretrained`` of this package,
            - a folder of a OneFormer or EoMT of ``transformers``,
            - the name of either on the Hub, ``owner/name``,
            - a checkpoint: file or address, of the reference if there is no
              ``config``.
        config (str | PathLike | Config, optional): Config of the weights, as
            a path or the name of a shipped one. It is a program.
        revision (str, optional): Branch, tag or commit on the Hub.
        token (str, optional): For private and gated models of the Hub.

    Raises:
        MissingFileError: If there is nothing of this name.
        InputError: If it is no OneFormer, or its config is not clear.
        FileError: If the Hub cannot be reached.
    """
    name = str(source)
    path = Path(name).expanduser()
    if config is not None:
        return Pretrained(_read_config(config), name)
    if path.is_dir():
        return _from_folder(path)
    if path.is_file() or '://' in name:
        return _from_file(name)
    if HUB_NAME.fullmatch(name) and not name.endswith(FILE_ENDINGS):
        return _from_folder(download_folder(name, revision, token))
    raise MissingFileError(
        f'{name} does not exist: expected a folder, a checkpoint, or the name '
        'of a model on the Hub, owner/name.'
    )


def _read_config(config: str | PathLike | Config) -> Config:
    if isinstance(config, Config):
        return config
    path = Path(config).expanduser()
    if not path.is_file():
        name = path.name if path.suffix == '.py' else f'{path.name}.py'
        try:
            path = Path(config_path(name))
        except FileNotFoundError as error:
            raise MissingFileError(
                f'Config {config} does not exist, neither as a file nor as a '
                f'shipped config: {error}'
            ) from error
    return Config.fromfile(path)


def _from_folder(folder: Path) -> Pretrained:
    config = folder / CONFIG_FILE
    if not config.is_file():
        raise InputError(
            f'{folder} has no {CONFIG_FILE}: expected a folder of '
            'save_pretrained. For a work dir of a training give the '
            'checkpoint in it and its config: from_pretrained(checkpoint, '
            'config=...).'
        )
    if is_model_folder(folder):
        settings = read_settings(config.read_text('utf-8'), str(config))
    elif read_object_file(config).get('model_type') == 'eomt':
        settings = eomt_settings(folder)
    else:
        settings = transformers_settings(folder)
    return Pretrained(settings.config(), str(folder))


def _from_file(name: str) -> Pretrained:
    if '://' in name:
        content = CheckpointLoader.load_checkpoint(name, map_location='cpu')
    else:
        content = read_checkpoint(name)
    weights = content.get('state_dict', content)
    metadata = getattr(weights, '_metadata', {}).get('', {})
    config = recognise(weights, Path(name).name, metadata.get('classes'))
    return Pretrained(config, name)
