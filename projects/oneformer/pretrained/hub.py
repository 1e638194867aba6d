"""Model folders on the Hub of Hugging Face, through its own client."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileError, InputError
from ..optional import import_optional
from ..weights.reader import FOLDER_FILES
from .folder import CONFIG_FILE
from .settings import LIBRARY, read_object_file

USER = 'Models of the Hub'


def download_folder(
    repo_id: str, revision: str | None = None, token: str | None = None
) -> Path:
    """Return a copy of a model of the Hub, in the cache of its client.

    Its settings come first, so that another model is refused before its
    weights are downloaded; of several formats of weights the first counts.

    Args:
        repo_id (str): ``owner/name``.
        revision (str, optional): Branch, tag or commit.
        token (str, optional): By default the one that ``hf auth login`` saved.

    Raises:
        InputError: If there is no such model, it is gated, or holds no
            weights.
        FileError: If the Hub cannot be reached and the cache has no copy.
    """
    hub = import_optional('huggingface_hub', USER)

    def fetch(*patterns: str) -> Path:
        with _hub_errors(repo_id, revision):
            return Path(
                hub.snapshot_download(
                    repo_id,
                    revision=revision,
                    token=token,
                    allow_patterns=list(patterns),
                )
            )

    folder = fetch('*.json', 'README.md')
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f'{repo_id} on the Hub has no {CONFIG_FILE}: expected a model '
            'that push_to_hub of this package wrote, or a OneFormer of '
            'transformers.'
        )
    _check_kind(folder / CONFIG_FILE, repo_id)
    for pattern in ('model*.safetensors', 'pytorch_model*.bin'):
        folder = fetch('*.json', 'README.md', pattern)
        if any(folder.glob(pattern)):
            return folder
    raise InputError(
        f'{repo_id} on the Hub has no weights, or its copy in {folder} lacks '
        f'them and the Hub cannot be reached: expected one of '
        f'{", ".join(FOLDER_FILES)}.'
    )


def upload_folder(
    folder: Path,
    repo_id: str,
    private: bool | None = None,
    token: str | None = None,
    message: str | None = None,
) -> str:
    """Upload a model folder, in one commit, and return its address.

    Args:
        folder (Path): What to upload.
        repo_id (str): ``owner/name``; made if there is none.
        private (bool, optional): Whether a new one is private.
        token (str, optional): By default the one that ``hf auth login`` saved.
        message (str, optional): Of the commit.

    Raises:
        InputError: If the Hub does not accept name, token or content.
        FileError: If it cannot be reached.
    """
    hub = import_optional('huggingface_hub', USER)
    api = hub.HfApi(token=token)
    with _hub_errors(repo_id, None):
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=message or 'Upload a OneFormer',
        )
    return str(commit.repo_url)


def _check_kind(config: Path, repo_id: str) -> None:
    content = read_object_file(config)
    if content.get('library') == LIBRARY:
        return
    if content.get('model_type') not in ('oneformer', 'eomt'):
        raise InputError(
            f'{repo_id} on the Hub is a model of type '
            f'{content.get("model_type")!r}, expected a model of this '
            'package, or a OneFormer or EoMT of transformers.'
        )


@contextmanager
def _hub_errors(repo_id: str, revision: str | None) -> Iterator[None]:
    """Turn the errors of the client into ours.

    The client takes a private repository and one that does not exist for the
    same, as the Hub does not say which it is.
    """
    errors = import_optional('huggingface_hub.errors', USER)
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(
            f'{repo_id} on the Hub is gated: accept its conditions on its '
            'page, then log in with "hf auth login" or give a token.'
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f'{repo_id!r} is no folder or file here, and the Hub has no model '
            'of this name, or a private one: check the name (owner/name), '
            'and for a private one log in with "hf auth login".'
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f'{repo_id} on the Hub has no revision {revision!r}: give a '
            'branch, a tag or a commit of it.'
        ) from error
    except errors.HFValidationError as error:
        raise InputError(
            f'{repo_id!r} is no name of a model on the Hub, owner/name: '
            f'{error}'
        ) from error
    except (
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        ConnectionError,
    ) as error:
        raise _unreachable(repo_id, error) from error
    except errors.HfHubHTTPError as error:
        raise InputError(
            f'The Hub refuses {repo_id}: {str(error).splitlines()[0]} Check '
            'the token ("hf auth whoami") and what it may do.'
        ) from error
    except OSError as error:  # of the connection, or of the disk
        raise _unreachable(repo_id, error) from error
    except InputError:
        raise
    except ValueError as error:  # of the metadata of a card
        message = ' '.join(str(error).split())
        raise InputError(f'The Hub refuses {repo_id}: {message}') from error


def _unreachable(repo_id: str, error: Exception) -> FileError:
    return FileError(
        f'{repo_id} is no folder or file here, and the Hub cannot be reached '
        f'({str(error).splitlines()[0] if str(error) else error!r}): check '
        'the network, or give a folder with a copy of the model.'
    )
