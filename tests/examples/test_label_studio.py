"""The backend of Label Studio, on a stand-in for its base class.

The base class is installed from a repository, not from PyPI. The labelling
interface, which checks the predictions, is that of the real SDK.
"""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import pytest

from tests.examples.loading import load_example
from tests.test_inferencer import config, image, weights  # noqa: F401

label_interface = pytest.importorskip(
    'label_studio_sdk.label_interface', reason='label-studio-sdk is optional'
)
INTERFACE = (
    '<View><Image name="photo" value="$address"/><{tag} name="label" '
    'toName="photo"><Label value="cat"/><Label value="sky"/>'
    '<Label value="unicorn"/></{tag}></View>'
)


class StandIn:
    """What label_studio_ml's LabelStudioMLBase offers to a backend."""

    def __init__(self, label_config: str) -> None:
        self.label_interface = label_interface.LabelInterface(label_config)
        self._values: dict = {}
        self.setup()

    def set(self, key: str, value: str) -> None:
        self._values[key] = value

    def get(self, key: str) -> str:
        return self._values[key]

    def get_local_path(self, url: str, task_id: int | None = None) -> str:
        assert task_id == 5
        return url.removeprefix('s3://photos')


@pytest.fixture
def module(monkeypatch, weights):  # noqa: F811
    base, response = ModuleType('model'), ModuleType('response')
    base.LabelStudioMLBase = StandIn
    response.ModelResponse = SimpleNamespace
    package = ModuleType('label_studio_ml')
    monkeypatch.setitem(sys.modules, 'label_studio_ml', package)
    monkeypatch.setitem(sys.modules, 'label_studio_ml.model', base)
    monkeypatch.setitem(sys.modules, 'label_studio_ml.response', response)
    path = weights.with_name('config.py')
    config().dump(path)
    monkeypatch.setenv('ONEFORMER_CONFIG', str(path))
    monkeypatch.setenv('ONEFORMER_WEIGHTS', str(weights))
    monkeypatch.setenv('ONEFORMER_DEVICE', 'cpu')
    return load_example('label_studio/model.py')


@pytest.fixture
def task(image, tmp_path):  # noqa: F811
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    return dict(id=5, data=dict(address=f's3://photos{tmp_path}/a.png'))


@pytest.mark.parametrize('model_task', ['panoptic', 'semantic'])
@pytest.mark.parametrize(
    'kind, tag',
    [
        ('brush', 'BrushLabels'),
        ('bitmask', 'BitmaskLabels'),
        ('polygon', 'PolygonLabels'),
    ],
)
def test_the_labelling_interface_accepts_the_predictions(
    module, task, kind, tag, model_task, monkeypatch
):
    monkeypatch.setenv('ONEFORMER_TASK', model_task)
    backend = module.OneFormerBackend(INTERFACE.format(tag=tag))
    (prediction,) = backend.predict([task]).predictions
    (result,) = module.load_model()(
        task['data']['address'].removeprefix('s3://photos'), model_task
    )
    names = {s.name for s in result.segments_of()} & {'cat', 'sky'}
    found = {
        name
        for region in prediction['result']
        for name in region['value'][f'{kind}labels']
    }
    assert names and found == names
    assert prediction['model_version'] == 'OneFormer training.pth'
    errors = backend.label_interface.validate_prediction(
        prediction, return_errors=True
    )
    assert errors == []


def test_an_interface_without_masks_is_refused(module, task):
    backend = module.OneFormerBackend(
        '<View><Image name="photo" value="$address"/><Choices name="c" '
        'toName="photo"><Choice value="cat"/></Choices></View>'
    )
    with pytest.raises(ValueError, match='no tag for the masks .* Brush'):
        backend.predict([task])
