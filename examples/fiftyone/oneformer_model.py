"""A model for FiftyOne's ``dataset.apply_model``.

Example:
    >>> model = OneFormerModel('config.py', 'model.pth')
    >>> dataset.apply_model(model, label_field='oneformer', batch_size=4)
    >>> dataset.default_mask_targets = mask_targets(model.classes)
"""

from collections.abc import Sequence

import numpy as np
from fiftyone.core.models import Model

from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.results.fiftyone import mask_targets

__all__ = ['OneFormerModel', 'mask_targets']


class OneFormerModel(Model):
    """Adds a field for each task: ``oneformer_panoptic``, and so on.

    Args:
        config (str): Config of the model.
        weights (str): Checkpoint.
        tasks (Sequence[str], optional): By default those of the model.
        device (str, optional): By default a GPU if there is one.
        score_thr (float): Instances with a lower score are left out.
    """

    def __init__(
        self,
        config: str,
        weights: str,
        tasks: Sequence[str] | None = None,
        device: str | None = None,
        score_thr: float = 0.3,
    ) -> None:
        self.inferencer = OneFormerInferencer(
            config, weights, device, channel_order='rgb'
        )
        self.tasks = tasks
        self.score_thr = score_thr
        self.classes = tuple(self.inferencer.dataset_meta['classes'])

    @property
    def media_type(self) -> str:
        """FiftyOne gives images."""
        return 'image'

    @property
    def transforms(self) -> None:
        """None: the test pipeline of the config prepares the images."""
        return None

    @property
    def preprocess(self) -> bool:
        """Nothing is to be done before :meth:`predict`."""
        return False

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        """FiftyOne sets it; it changes nothing."""

    @property
    def ragged_batches(self) -> bool:
        """Images of a batch may differ in size."""
        return True

    def predict(self, arg: np.ndarray) -> dict:
        """Return the labels of an image, uint8 RGB (H, W, 3)."""
        return self.predict_all([arg])[0]

    def predict_all(self, args: Sequence[np.ndarray]) -> list[dict]:
        """Return the labels of images that go through the model together."""
        results = self.inferencer(
            list(args),
            self.tasks,
            batch_size=len(args),
            score_thr=self.score_thr,
        )
        return [result.to_fiftyone() for result in results]
