"""No entry of a state dict is renamed or reshaped: checkpoints stay usable.

The records are hashes of all names and shapes of a training model, one for
each kind of model in ``configs/``. Only a change that is meant to break
checkpoints may change one: ``python -m tests.weights.test_state_dict_names``
prints them.
"""

import hashlib
import json
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

import projects.oneformer  # noqa: F401

ROOT = Path(__file__).parents[2]
RECORDS = json.loads(Path(__file__).with_name('state_dicts.json').read_text())


def fingerprint(name: str) -> str:
    """Return number and hash of the entries of a config's training model."""
    model = Config.fromfile(ROOT / 'configs' / f'{name}.py').model
    model.backbone.init_cfg = None
    # Backbones ask for the values of these, which "meta" tensors have not.
    with (
        mock.patch('torch.linspace', values_on_the_cpu(torch.linspace)),
        DefaultScope.overwrite_default_scope('mmdet'),
        torch.device('meta'),
    ):
        state_dict = MODELS.build(model).state_dict()
    lines = sorted(f'{n} {tuple(v.shape)}' for n, v in state_dict.items())
    digest = hashlib.sha256('\n'.join(lines).encode()).hexdigest()
    return f'{len(lines)} {digest[:16]}'


def values_on_the_cpu(function):
    return lambda *args, **options: function(
        *args, **{**options, 'device': 'cpu'}
    )


@pytest.mark.parametrize('name', RECORDS)
def test_the_state_dict_of_a_config_has_the_recorded_names(name):
    assert fingerprint(name) == RECORDS[name]


if __name__ == '__main__':
    print(json.dumps({name: fingerprint(name) for name in RECORDS}, indent=2))
