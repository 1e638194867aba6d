"""A model under the name that the page shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..inferencer import OneFormerInferencer
from ..results import SegmentationResult
from .limits import Upload


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that the page shows.

    Attributes:
        name (str): Unlike that of any other model of the page.
        inferencer (OneFormerInferencer): The model, for arrays in BGR.
    """

    name: str
    inferencer: OneFormerInferencer

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that the page shows of this model."""
        return self.inferencer.model.tasks

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return tuple(self.inferencer.dataset_meta['classes'])

    def segment(
        self, upload: Upload, tasks: Sequence[str] | None = None
    ) -> SegmentationResult:
        """Return the results of several tasks from one backbone pass.

        Args:
            upload (Upload): The image.
            tasks (Sequence[str], optional): By default all of the model.

        Returns:
            SegmentationResult: With instances of all scores.

        Raises:
            ImageError: If the image is too thin for the test pipeline.
        """
        (result,) = self.inferencer(
            _bgr(upload), list(tasks or self.tasks), score_thr=0.0
        )
        assert isinstance(result, SegmentationResult)  # errors are raised
        return replace(result, image_name=upload.name)

    def segment_with_token(
        self, upload: Upload, task: str, token: str
    ) -> SegmentationResult:
        """Return the result of a task, made with the token of another.

        Raises:
            ImageError: If the image is too thin for the test pipeline.
        """
        results = self.inferencer.by_token(
            _bgr(upload), task, [token], score_thr=0.0
        )
        return replace(results[token], image_name=upload.name)


def _bgr(upload: Upload) -> np.ndarray:
    return np.ascontiguousarray(upload.pixels[..., ::-1])
