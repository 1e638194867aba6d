"""Model folders of this package: ``config.json``, weights and a card."""

from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import FileError, InputError
from ..file_writing import new_folder
from .card import CARD_FILE, CardFacts, write_card
from .settings import LIBRARY, Settings, read_object_file, write_settings

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'model.safetensors'
FILES = {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE}


def save_folder(
    model: nn.Module,
    settings: Settings,
    folder: str | PathLike,
    float16: bool = False,
    facts: CardFacts | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> None:
    """Write a model folder, whole or not at all.

    Args:
        model (nn.Module): The inference model; its weights are written.
        settings (Settings): Its config.
        folder (str | PathLike): It appears only when it is complete.
        float16 (bool): Write parameters as float16, in half the space. They
            are computed with as float32 all the same.
        facts (CardFacts, optional): What the card says of data, scores and
            licence.
        overwrite (bool): Replace a model folder of this package. One with
            anything else in it, such as notes or ``.git``, is never replaced.
        name (str, optional): Of the model in its card, by default that of the
            folder.

    Raises:
        FileError: If the folder exists and is not to be replaced, or cannot
            be written.
        InputError: If a weight is too large for float16.
    """
    from safetensors.torch import save_file

    folder = Path(folder).expanduser().absolute()
    _check_target(folder, overwrite)
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    if float16:
        weights |= _halved(
            {name: weights[name] for name, _ in model.named_parameters()}
        )
    try:
        with new_folder(folder) as partial:
            save_file(
                weights, partial / WEIGHTS_FILE, metadata=dict(format='pt')
            )
            text = write_settings(settings)
            (partial / CONFIG_FILE).write_text(text, encoding='utf-8')
            card = write_card(
                settings, name or folder.name, facts or CardFacts()
            )
            (partial / CARD_FILE).write_text(card, encoding='utf-8')
    except OSError as error:
        raise FileError(f'{folder} cannot be written: {error}') from error


def _halved(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    halved = {name: value.half() for name, value in parameters.items()}
    for name, value in halved.items():
        if not value.isfinite().all() and parameters[name].isfinite().all():
            raise InputError(
                f'{name} has values up to {parameters[name].abs().max():.3g}, '
                f'float16 ends at {torch.finfo(torch.float16).max:.0f}: save '
                'without float16.'
            )
    return halved


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_model_folder(folder):
        raise FileError(
            f'{folder} exists and is no model folder of this package: name a '
            'new folder.'
        )
    if not overwrite:
        raise FileError(
            f'{folder} holds a model already: name a new folder, or replace '
            'the model with overwrite=True (--overwrite).'
        )
    others = sorted({path.name for path in folder.iterdir()} - FILES)
    if others:
        raise FileError(
            f'{folder} holds {", ".join(others[:3])} besides the model, which '
            'would be lost: move it away, or name a new folder.'
        )


def is_model_folder(folder: Path) -> bool:
    """Whether a folder is one that :func:`save_folder` wrote."""
    config = folder / CONFIG_FILE
    if not config.is_file():
        return False
    try:
        content = read_object_file(config)
    except InputError:
        return False
    return content.get('library') == LIBRARY
