"""Checks of ``--cfg-options``: every override has to have an effect.

mmengine adds whatever key it is given, so that a misspelt one changes
nothing, and says nothing. Here a key that the config lacks is refused, except
where the config builds an object or a data loader from the dict: those refuse
options that they do not know. A variable that a config file only uses while
it is read, such as ``data_root``, has no effect afterwards and is refused,
too.
"""

import difflib
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# Read by mmengine or our tools beside the arguments of the runner.
OTHER_KEYS = {
    'activation_checkpointing',
    'auto_scale_lr',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'tta_model',
    'tta_pipeline',
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Dicts that are passed on as arguments, which are checked then.
PASSED_ON = {
    'env_cfg.dist_cfg',
    'model.test_cfg',
    'model.train_cfg',
    'optim_wrapper.clip_grad',
    'optim_wrapper.paramwise_cfg',
    'randomness',
}


def check_overrides(config: Mapping, overrides: Mapping[str, Any]) -> None:
    """Refuse overrides without effect.

    Args:
        config (Mapping): The config before they are applied.
        overrides (Mapping): Values by dotted keys.

    Raises:
        SystemExit: If a key leads nowhere, or nothing reads it.
    """
    for key in overrides:
        check_top(config, key)
        check_path(config, key)


def check_top(config: Mapping, key: str) -> None:
    """Refuse a key whose first part neither mmengine nor a tool reads."""
    top = key.partition('.')[0]
    known = runner_keys() | OTHER_KEYS
    if top in known:
        return
    if top not in config:
        sys.exit(
            f'--cfg-options {key}: the config has no {top!r}'
            f'{_suggestion(top, [*config, *known])}'
        )
    last = key.rpartition('.')[2]
    places = [path for path in _paths(config, known) if _ends_in(path, last)]
    hint = f', for example {", ".join(places[:4])}' if places else ''
    sys.exit(
        f'--cfg-options {key} has no effect: {top!r} is a variable of the '
        'config file, which is only used while the file is read. Override '
        f'the settings made from it{hint}, or write a config with this one '
        'as its _base_.'
    )


def check_path(config: Mapping, key: str) -> None:
    """Refuse a key that the config lacks, where nothing would read it."""
    node: Any = config
    parts = key.split('.')
    for i, part in enumerate(parts):
        path = '.'.join(parts[:i])
        if isinstance(node, (list, tuple)):
            if not part.isdecimal() or int(part) >= len(node):
                sys.exit(
                    f'--cfg-options {key}: {path} is a list of {len(node)}, '
                    f'expected an index from 0 to {len(node) - 1}, got '
                    f'{part!r}.'
                )
            node = node[int(part)]
        elif isinstance(node, Mapping):
            if part not in node:
                if i == 0 or takes_options(node, path, part):
                    return
                sys.exit(
                    f'--cfg-options {key}: {path} has no {part!r}'
                    f'{_suggestion(part, list(node), path)}'
                )
            node = node[part]
        elif node is None:  # an option that is switched off
            return
        else:
            sys.exit(
                f'--cfg-options {key}: {path} is {node!r}, which has no '
                f'{part!r}.'
            )


def takes_options(node: Mapping, path: str, option: str) -> bool:
    """Whether a dict may have options that the config does not give."""
    if path in LOADERS:
        return option in loader_keys()
    return 'type' in node or path in PASSED_ON


def runner_keys() -> set[str]:
    """Return what mmengine reads at the top of a config."""
    from mmengine.runner import Runner

    return set(inspect.signature(Runner).parameters)


def loader_keys() -> set[str]:
    """Return the options of a data loader."""
    from torch.utils.data import DataLoader

    return set(inspect.signature(DataLoader).parameters) | {
        'num_batch_per_epoch'
    }


def _suggestion(key: str, known: list, path: str = '') -> str:
    """Return how a message goes on: with the nearest key, if one is near."""
    close = difflib.get_close_matches(key, map(str, known), n=1)
    if close:
        return f', did you mean {".".join(filter(None, [path, close[0]]))}?'
    return f'; it has {", ".join(sorted(map(str, known)))}.' if path else '.'


def _paths(config: Mapping, tops: set[str]) -> Iterator[str]:
    """Yield the dotted keys of what is read from a config."""

    def walk(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, Mapping):
            pairs: Any = node.items()
        elif isinstance(node, (list, tuple)):
            pairs = enumerate(node)
        else:
            return
        for key, value in pairs:
            yield f'{path}.{key}'
            yield from walk(value, f'{path}.{key}')

    for top in config:
        if top in tops:
            yield top
            yield from walk(config[top], top)


def _ends_in(path: str, key: str) -> bool:
    return path.rpartition('.')[2] == key
