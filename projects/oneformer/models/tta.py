"""Test-time augmentation: one semantic result from scales and flips."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import nn

from .fusion_head import best_class, semantic_result
from .oneformer import OneFormer

# Axes of (K, H, W) along which a flipped picture is turned back.
FLIPPED_AXES = dict(horizontal=(2,), vertical=(1,), diagonal=(1, 2))


@MODELS.register_module()
class OneFormerTTA(BaseTTAModel):
    """Average the semantic score maps of one picture, augmented.

    Every augmentation is asked the semantic task. Its score map (class times
    mask probability, summed over the queries, not normalised) is brought to
    the original size, turned back if it was flipped, and added to the
    others; the class with the largest sum wins. One sum is kept, however
    many augmentations there are.

    Panoptic and instance results are sets of queries, which do not
    correspond from one augmentation to the next: they have no average.

    Args:
        module (dict | nn.Module): The model, an ``OneFormer``.
        data_preprocessor (dict | nn.Module, optional): Replaces that of the
            model.

    Raises:
        TypeError: If the model is not an ``OneFormer``.
        ValueError: If the semantic task is not among its tasks.
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

    def test_step(self, data: dict) -> SampleList:
        """Return the pictures of a batch with ``pred_sem_seg``.

        Args:
            data (dict): ``inputs`` and ``data_samples`` of mmcv's
                ``TestTimeAug``: per augmentation, one of each picture.

        Returns:
            SampleList: The samples of the first augmentation, the result in
            the size of the original picture.

        Raises:
            ValueError: If the pictures are not augmented, a sample does not
                say whether it is flipped, or asks another task.
        """
        if not isinstance(data['data_samples'][0], Sequence):
            raise ValueError(
                'OneFormerTTA needs the transform TestTimeAug at the end of '
                'the test pipeline: use tta_pipeline of the config.'
            )
        merged = None
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
            scores = sample.pop('semantic_scores').scores
            sample.pred_sem_seg = semantic_result(best_class(scores))
        return merged

    def score(self, data: dict) -> SampleList:
        """Add ``semantic_scores`` to the samples of one augmentation.

        Args:
            data (dict): ``inputs`` and ``data_samples`` of all pictures.

        Returns:
            SampleList: With the score maps, (K, height, width), of the
            original picture, unflipped.
        """
        for sample in data['data_samples']:
            check_augmented(sample)
        data = self.module.data_preprocessor(data, training=False)
        samples = data['data_samples']
        maps = self.module.semantic_scores(data['inputs'], samples)
        for sample, scores in zip(samples, maps, strict=True):
            if sample.flip:
                scores = scores.flip(FLIPPED_AXES[sample.flip_direction])
            sample.semantic_scores = PixelData(scores=scores)
        return samples

    def merge_preds(
        self, data_samples_list: Sequence[Sequence[DetDataSample]]
    ) -> SampleList:
        """Add up the score maps of each picture.

        The sum has its largest class where the average has it.

        Args:
            data_samples_list (Sequence[Sequence[DetDataSample]]): Per
                picture, its samples of some augmentations.

        Returns:
            SampleList: The first sample of each picture; its
            ``semantic_scores`` is now the sum.
        """
        for first, *others in data_samples_list:
            for other in others:
                first.semantic_scores.scores += other.semantic_scores.scores
        return [samples[0] for samples in data_samples_list]


def check_augmented(sample: DetDataSample) -> None:
    """Check that a sample can be merged with others.

    Args:
        sample (DetDataSample): Of one augmentation.

    Raises:
        ValueError: If it does not say how it is flipped, or asks for a task
            other than semantic.
    """
    for key in ('flip', 'flip_direction'):
        if key not in sample:
            raise ValueError(
                f'A sample does not say {key!r}, so it cannot be turned back: '
                f'add {key!r} to meta_keys of PackDetInputs in tta_pipeline.'
            )
    task = sample.get('task', 'semantic')
    if task != 'semantic':
        raise ValueError(
            f'A sample asks for the task {task!r}, but test-time augmentation '
            'exists for semantic only: panoptic and instance results have no '
            'average.'
        )
