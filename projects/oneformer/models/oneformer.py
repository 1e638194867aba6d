"""The OneFormer detector: one model, three tasks."""

import itertools
import logging
from collections.abc import Sequence
from typing import Any

from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.logging import print_log
from torch import Tensor

from ..metainfo import read_metainfo
from ..tasks import RESULT_FIELDS, TASKS, read_tasks
from ..weights.fitting import load_hook
from .layers.lean import use_lean_layers
from .losses.non_finite import NonFiniteError, NonFiniteGuard
from .tiled_segmentation import make_tiled


@MODELS.register_module()
class OneFormer(BaseDetector):
    """Universal image segmentation, conditioned on the task.

    The class names are given once, as ``metainfo``; the number of classes
    and which of them are things follow from it everywhere in the model.

    Args:
        backbone (dict): Config of the backbone, four feature maps at strides
            4, 8, 16 and 32.
        panoptic_head (dict): Config of the head, without the class number
            and the training-only parts.
        panoptic_fusion_head (dict): Config of the fusion head.
        metainfo (dict): ``classes`` (all names, in label order) and
            ``thing_classes`` (the countable ones), as in the dataset.
        train_cfg (dict, optional): Parts for training only: ``criterion``,
            ``text_mapper``, ``contrastive_loss``. Without it the model is an
            inference model.
        test_cfg (dict, optional): ``tasks``, for samples that do not name
            their tasks, options of the fusion head, and ``tile``, options of
            :class:`TiledSegmentation`, to segment images in tiles.
        checkpoint_classes (Sequence[str], optional): For training that starts
            from a file of another implementation, its class names in label
            order: rows of the class layer with equal names are loaded. By
            default the names in the file, if it has them, as folders of
            transformers do; with an empty list no row is loaded.
        compile (bool | dict): Whether to compile backbone, pixel decoder and
            decoder by ``torch.compile``, or its options; see
            :meth:`compile_parts`.
        max_non_finite (int): Consecutive batches that training may skip
            because of NaN or infinity. One more ends training.
        lean (bool): Whether feed-forward networks and windows of Swin
            recompute a part of their activations in the backward pass. By
            default they do: training needs two thirds of the memory, with
            the same results.
        neck (dict, optional): Config of a neck between backbone and head.
        data_preprocessor (dict, optional): Config of the preprocessor.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: If ``metainfo`` is incomplete or contradicts itself, or a
            task is unknown.

    Source: arXiv:2211.06220.
    """

    def __init__(
        self,
        backbone: dict,
        panoptic_head: dict,
        panoptic_fusion_head: dict,
        metainfo: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        checkpoint_classes: Sequence[str] | None = None,
        compile: bool | dict = False,
        max_non_finite: int = 10,
        lean: bool = True,
        neck: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        self.class_names, thing_labels = read_metainfo(metainfo)
        num_classes = len(self.class_names)
        test_cfg = dict(test_cfg or {})
        #: Tasks of samples that name none.
        self.tasks = read_tasks(test_cfg.pop('tasks', TASKS))
        #: How images are cut into tiles, None if they are not.
        self.tiled = make_tiled(
            test_cfg.pop('tile', None), self.data_preprocessor
        )

        self.backbone = MODELS.build(backbone)
        if neck is not None:
            self.neck = MODELS.build(neck)
        self.panoptic_head = MODELS.build(
            dict(panoptic_head, num_classes=num_classes, **(train_cfg or {}))
        )
        self.panoptic_fusion_head = MODELS.build(
            dict(
                panoptic_fusion_head,
                num_classes=num_classes,
                thing_labels=thing_labels,
                **test_cfg,
            )
        )
        self.checkpoint_classes = checkpoint_classes
        self.non_finite = NonFiniteGuard(max_non_finite)
        #: Tasks that the weights were trained for, from the checkpoint.
        self.trained_tasks: tuple[str, ...] = TASKS
        self._warned: set[str] = set()
        self._backbone_is_set = False
        # Weights of any known layout, see weights/fitting.py.
        self.register_load_state_dict_pre_hook(load_hook)
        if lean:
            use_lean_layers(self)
        if compile is not False:
            self.compile_parts(**({} if compile is True else compile))

    def compile_parts(self, **options) -> None:
        """Run backbone, neck, pixel decoder and decoder compiled.

        They are compiled when first called, each as one graph. The text
        branch, matching (on the host), losses and fusion are not compiled.
        Names of weights do not change.

        By default each image size is compiled separately: with symbolic
        sizes PyTorch takes minutes for the windows of Swin.

        Args:
            **options: Of ``torch.compile``, such as ``mode='max-autotune'``
                or ``dynamic=None``.
        """
        options = dict(dynamic=False) | options
        self.backbone.compile(**options)
        if self.with_neck:
            self.neck.compile(**options)
        self.panoptic_head.compile_parts(**options)

    def init_weights(self) -> None:
        """Initialise, and check that the backbone got its pretrained weights.

        Raises:
            ValueError: If the file left most of the backbone unchanged.
                mmdet's Swin silently accepts the file of another backbone.
        """
        init_cfg = getattr(self.backbone, 'init_cfg', None) or {}
        path = isinstance(init_cfg, dict) and init_cfg.get('checkpoint')
        before = [p.detach().sum() for p in self.backbone.parameters()]
        super().init_weights()
        after = [p.detach().sum() for p in self.backbone.parameters()]
        same = sum(a.equal(b) for a, b in zip(before, after, strict=True))
        if path and not self._backbone_is_set and 2 * same > len(before):
            raise ValueError(
                f'{path} left {same} of {len(before)} parameters of the '
                'backbone as they were: give the weights of this backbone as '
                'model.backbone.init_cfg.checkpoint.'
            )
        self._backbone_is_set = True

    def extract_feat(self, batch_inputs: Tensor) -> Sequence[Tensor]:
        """Return backbone (and neck) features of (B, 3, H, W)."""
        feats = self.backbone(batch_inputs)
        return self.neck(feats) if self.with_neck else feats

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return the losses; see :meth:`OneFormerHead.loss`.

        All processes skip a non-finite batch, with a warning.

        Raises:
            NonFiniteError: If too many batches in a row are not finite.
        """
        feats = self.extract_feat(batch_inputs)
        try:
            losses = self.panoptic_head.loss(feats, batch_data_samples)
        except NonFiniteError as error:
            return self.non_finite.skip(error, self.parameters())
        self.non_finite.passed()
        return losses

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> SampleList:
        """Add the results of its tasks to each sample.

        Backbone and pixel decoder run once for all tasks; so does the
        decoder, with the queries of all tasks at once.

        Args:
            batch_inputs (Tensor): Normalised images, (B, 3, H, W).
            batch_data_samples (SampleList): May have ``task`` (str) or
                ``tasks`` (several), otherwise ``test_cfg.tasks`` applies, and
                ``semantic_scores`` (bool), for a semantic result with the
                ``scores`` of all classes.
            rescale (bool): Results in the size of the original image.

        Returns:
            SampleList: With ``pred_panoptic_seg``, ``pred_instances`` and
            ``pred_sem_seg``, each made with its own task token.
        """
        asked = [self.tasks_of(sample) for sample in batch_data_samples]
        for task in dict.fromkeys(itertools.chain(*asked)):
            self.warn_if_untrained(task)
        if self.tiled is not None:
            for image, sample, tasks in zip(
                batch_inputs, batch_data_samples, asked, strict=True
            ):
                self.tiled.segment(self, image, sample, tasks, rescale=rescale)
            return batch_data_samples
        pixels = self.pixel_features(batch_inputs)
        for tasks in dict.fromkeys(asked):
            rows = [i for i, own in enumerate(asked) if own == tasks]
            self.segment(
                pixels.select(rows),
                [batch_data_samples[i] for i in rows],
                tasks,
                rescale=rescale,
            )
        return batch_data_samples

    def pixel_features(self, batch_inputs: Tensor) -> Any:
        """Return what all tasks share of normalised images, (B, 3, H, W)."""
        return self.panoptic_head.pixel_features(
            self.extract_feat(batch_inputs)
        )

    def segment(
        self,
        pixels: Any,
        samples: SampleList,
        tokens: Sequence[str],
        results: Sequence[str] | None = None,
        rescale: bool = True,
    ) -> None:
        """Decode, and write results into the samples.

        Args:
            pixels: Of B images, from :meth:`pixel_features`.
            samples (SampleList): Theirs, B.
            tokens (Sequence[str]): Tasks of the tokens to decode with.
            results (Sequence[str], optional): Tasks whose results to make
                from the queries of each token; by default that of the token.
            rescale (bool): Results in the size of the original image.
        """
        output = self.panoptic_head.decode(
            pixels, [token for token in tokens for _ in samples]
        )
        for token, prediction in zip(
            tokens, output.by_task(len(tokens)), strict=True
        ):
            for sample, scores, masks in zip(
                samples, *prediction, strict=True
            ):
                for task in results or [token]:
                    result = self.panoptic_fusion_head(
                        task, scores, masks, sample.metainfo, rescale
                    )
                    setattr(sample, RESULT_FIELDS[task], result)

    def _forward(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return raw logits; see :meth:`OneFormerHead.forward`.

        Each image is decoded with the first of its tasks.
        """
        samples = batch_data_samples or [{}] * len(batch_inputs)
        tasks = [self.tasks_of(sample)[0] for sample in samples]
        return self.panoptic_head(self.extract_feat(batch_inputs), tasks)

    def warn_if_untrained(self, task: str) -> None:
        """Warn, once per task, if the weights were not trained for it."""
        if task not in self.trained_tasks and task not in self._warned:
            self._warned.add(task)
            print_log(
                f'The {task} task is requested, but the checkpoint was '
                f'trained for {", ".join(self.trained_tasks)} only: do not '
                'rely on the result. Set model.test_cfg.tasks, or train with '
                'annotations for it.',
                logger='current',
                level=logging.WARNING,
            )

    def tasks_of(self, sample) -> tuple[str, ...]:
        """Return the tasks of a data sample, by default those of the model.

        Raises:
            ValueError: If a task is unknown, or there is none.
        """
        if 'task' in sample:
            return read_tasks(sample.task)
        return read_tasks(sample.get('tasks', self.tasks))
