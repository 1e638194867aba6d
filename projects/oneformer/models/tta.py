"""Test-time augmentation: one semantic result from scales and flips."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import nn

from .fusion_head import best_class, semantic_result
from .oneformer import OneFormer

# Axes of (K, H, W) along which to flip back.
FLIPPED_AXES = dict(horizontal=(2,), vertical=(1,), diagonal=(1, 2))


@MODELS.register_module()
class OneFormerTTA(BaseTTAModel):
    """Average the semantic scores of the augmentations of an image.

    Every augmentation goes through the model with the semantic task. Its
    scores (class times mask probability, summed over the queries, not
    normalised) are resized to the original image, flipped back, and added to
    those of the others; the class with the largest sum wins. Only the sum is
    in memory, whatever the number of augmentations.

    Panoptic and instance results are sets of queries, which do not correspond
    between augmentations, so they cannot be averaged.

    Args:
        module (dict | nn.Module): The model, an ``OneFormer``.
        data_preprocessor (dict | nn.Module, optional): Replaces that of the
            model.

    Raises:
        TypeError: If the model is not an ``OneFormer``.
        ValueError: If the semantic task is not among its tasks, or it cuts
            images into tiles.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        if not isinstance(self.module, OneFormer):
            raise TypeError(
                'OneFormerTTA wraps a model of type OneFormer, got '
                f'{type(self.module).__name__}.'
            )
        if 'semantic' not in self.module.tasks:
            raise ValueError(
                'Test-time augmentation exists for the semantic task only, '
                f'but test_cfg.tasks of the model is {self.module.tasks}: '
                'panoptic and instance results have no average. Add '
                "'semantic', or test without augmentation."
            )
        if self.module.tiled is not None:
            raise ValueError(
                'Test-time augmentation adds up scores of whole images, but '
                'the model cuts them into tiles: set model.test_cfg.tile='
                'None.'
            )

    def test_step(self, data: dict) -> SampleList:
        """Return the samples of a batch with ``pred_sem_seg``.

        Args:
            data (dict): ``inputs`` and ``data_samples`` of mmcv's
                ``TestTimeAug``: per augmentation, one of each image.

        Returns:
            SampleList: The samples of the first augmentation, the result in
            the size of the original image.

        Raises:
            ValueError: If the images are not augmented, a sample lacks its
                flip, or names another task.
        """
        if not isinstance(data['data_samples'][0], Sequence):
            raise ValueError(
                'OneFormerTTA needs the transform TestTimeAug at the end of '
                'the test pipeline: use tta_pipeline of the config.'
            )
        merged: SampleList = []
        for inputs, samples in zip(
            data['inputs'], data['data_samples'], strict=True
        ):
            scored = self.score(dict(inputs=inputs, data_samples=samples))
            merged = (
                self.merge_preds(list(zip(merged, scored, strict=True)))
                if merged
                else scored
            )
        for sample in merged:
            scores = sample.pred_sem_seg.scores
            sample.pred_sem_seg = semantic_result(
                best_class(scores), len(scores)
            )
        return merged

    def score(self, data: dict) -> SampleList:
        """Return the samples of one augmentation with semantic scores.

        Args:
            data (dict): ``inputs`` and ``data_samples`` of all images.

        Returns:
            SampleList: With ``pred_sem_seg.scores``, (K, height, width), of
            the original image, unflipped.
        """
        for sample in data['data_samples']:
            check_augmented(sample)
            sample.set_metainfo(dict(task='semantic', semantic_scores=True))
        samples = self.module.test_step(data)
        for sample in samples:
            if sample.flip:
                scores = sample.pred_sem_seg.scores
                scores = scores.flip(FLIPPED_AXES[sample.flip_direction])
                sample.pred_sem_seg = PixelData(scores=scores)
        return samples

    def merge_preds(
        self, data_samples_list: Sequence[Sequence[DetDataSample]]
    ) -> SampleList:
        """Add up the semantic scores of each image.

        Sum and average have the same largest class.

        Args:
            data_samples_list (Sequence[Sequence[DetDataSample]]): Per
                image, its samples of some augmentations.

        Returns:
            SampleList: The first sample of each image, now with the sum in
            ``pred_sem_seg.scores``.
        """
        for first, *others in data_samples_list:
            for other in others:
                first.pred_sem_seg.scores += other.pred_sem_seg.scores
        return [samples[0] for samples in data_samples_list]


def check_augmented(sample: DetDataSample) -> None:
    """Check that a sample can be merged with others.

    Args:
        sample (DetDataSample): Of one augmentation.

    Raises:
        ValueError: If it lacks its flip, or names a task other than
            semantic.
    """
    for key in ('flip', 'flip_direction'):
        if key not in sample:
            raise ValueError(
                f'A sample has no {key!r}, so it cannot be flipped back: add '
                f'{key!r} to meta_keys of PackDetInputs in tta_pipeline.'
            )
    task = sample.get('task', 'semantic')
    if task != 'semantic':
        raise ValueError(
            f'A sample has the task {task!r}, but test-time augmentation '
            'exists for semantic only: panoptic and instance results have no '
            'average.'
        )
