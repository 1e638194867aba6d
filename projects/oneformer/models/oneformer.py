"""The OneFormer detector: one model, three tasks."""

import logging
from collections.abc import Sequence

from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.logging import print_log
from torch import Tensor

from ..tasks import TASKS, check_task
from ..weights.fitting import load_hook
from .fusion_head import best_class, semantic_result
from .layers.lean import use_lean_layers
from .losses.non_finite import NonFiniteError, NonFiniteGuard
from .oneformer_head import PixelFeatures, predict_masks

# Where the result of a task is found in a data sample.
RESULT_FIELDS = dict(
    panoptic='pred_panoptic_seg',
    instance='pred_instances',
    semantic='pred_sem_seg',
)


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
        train_cfg (dict, optional): What exists in training only:
            ``criterion``, ``text_mapper``, ``contrastive_loss``. Without it
            the model is an inference model.
        test_cfg (dict, optional): ``tasks``, asked of samples that carry no
            ``task``, and options of the fusion head.
        checkpoint_classes (Sequence[str], optional): For training that
            starts from a file of another implementation, its class names in
            label order: the rows of equal names are taken over into the class
            head. By default those that the file gives, as folders of
            transformers do; an empty list takes over none.
        compile (bool | dict): Whether to run backbone, pixel decoder and
            decoder through ``torch.compile``, or its options; see
            :meth:`compile_parts`.
        max_non_finite (int): Batches in a row that are left out of the
            training because something in them is NaN or infinite. One more
            ends it.
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
        tasks = test_cfg.pop('tasks', TASKS)
        tasks = (tasks,) if isinstance(tasks, str) else tuple(tasks)
        self.tasks = tuple(check_task(task) for task in tasks)
        if not self.tasks:
            raise ValueError(
                'Expected at least one task as test_cfg.tasks of the model, '
                f'got none: choose among {", ".join(TASKS)}.'
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
        #: Whether results in the size of the picture have ``scores``, one
        #: map per class, beside ``sem_seg``; for tiles, which share pixels.
        self.keep_semantic_scores = False
        self.checkpoint_classes = checkpoint_classes
        self.non_finite = NonFiniteGuard(max_non_finite)
        #: Tasks that the weights were trained for, told by the checkpoint.
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

        They are compiled when first called, each as one graph. What remains
        as it is: reading texts, matching, which runs on the host, losses and
        the making of results. Names of weights do not change.

        Each size of pictures is compiled for itself by default: what
        PyTorch makes of the windows of Swin takes minutes where sizes are
        symbols.

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
        """Initialise, and see that pretrained weights reach the backbone.

        Raises:
            ValueError: If the file left most of the backbone as it was, as
                mmdet's Swin lets that of another backbone do in silence.
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

        A batch that is not finite is left out, with a warning, by all
        processes.

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
        """Add to each sample the result of every task asked of it.

        Backbone and pixel decoder run once for all tasks; so does the
        decoder, with the queries of all tasks at once.

        Args:
            batch_inputs (Tensor): Normalised pictures, (B, 3, H, W).
            batch_data_samples (SampleList): A sample with ``task`` is asked
                that task, the others are asked ``test_cfg.tasks``.
            rescale (bool): Results in the size of the original picture.

        Returns:
            SampleList: With ``pred_panoptic_seg``, ``pred_instances`` and
            ``pred_sem_seg``, each made with its own task token.
        """
        asked = [self.tasks_of(sample) for sample in batch_data_samples]
        pixels = self.panoptic_head.encode(self.extract_feat(batch_inputs))
        for tasks in dict.fromkeys(asked):
            for task in tasks:
                self.warn_if_untrained(task)
            rows = [i for i, own in enumerate(asked) if own == tasks]
            samples = [batch_data_samples[i] for i in rows]
            for task in tasks:
                self.warn_if_untrained(task)
            self.predict_tasks(
                tasks, select_images(pixels, rows), samples, rescale
            )
        return batch_data_samples

    def predict_tasks(
        self,
        tasks: Sequence[str],
        pixels: PixelFeatures,
        samples: SampleList,
        rescale: bool,
    ) -> None:
        """Write the results of some tasks into the samples."""
        output = self.panoptic_head.decode(
            pixels, [task for task in tasks for _ in samples]
        )
        shape = (len(tasks), len(samples))
        cls_scores = output.cls_scores[-1].unflatten(0, shape)
        mask_embeds = output.mask_embeds[-1].unflatten(0, shape)
        for task, task_scores, task_embeds in zip(
            tasks, cls_scores, mask_embeds, strict=True
        ):
            # The masks of one task at a time: they are large.
            task_masks = predict_masks(task_embeds, pixels.mask_features)
            for sample, scores, masks in zip(
                samples, task_scores, task_masks, strict=True
            ):
                if task == 'semantic' and self.keep_semantic_scores:
                    maps = self.panoptic_fusion_head.semantic_scores(
                        scores, masks, sample.metainfo
                    )
                    result = semantic_result(best_class(maps))
                    result.scores = maps
                else:
                    result = self.panoptic_fusion_head(
                        task, scores, masks, sample.metainfo, rescale
                    )
                setattr(sample, RESULT_FIELDS[task], result)

    def semantic_scores(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[Tensor]:
        """Return the maps behind the semantic result, for averaging.

        Args:
            batch_inputs (Tensor): Normalised pictures, (B, 3, H, W).
            batch_data_samples (SampleList): Their sizes.

        Returns:
            list[Tensor]: Per image one map per class, (K, height, width) of
            the original picture; see
            :meth:`OneFormerFusionHead.semantic_scores`.
        """
        pixels = self.panoptic_head.encode(self.extract_feat(batch_inputs))
        output = self.panoptic_head.decode(
            pixels, ['semantic'] * len(batch_data_samples)
        )
        logits = (
            output.cls_scores[-1],
            predict_masks(output.mask_embeds[-1], pixels.mask_features),
        )
        return [
            self.panoptic_fusion_head.semantic_scores(
                scores, masks, sample.metainfo
            )
            for scores, masks, sample in zip(
                *logits, batch_data_samples, strict=True
            )
        ]

    def _forward(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return raw logits; see :meth:`OneFormerHead.forward`.

        Each picture is asked the first of its tasks.
        """
        samples = batch_data_samples or [{}] * len(batch_inputs)
        tasks = [self.tasks_of(sample)[0] for sample in samples]
        return self.panoptic_head(self.extract_feat(batch_inputs), tasks)

    def warn_if_untrained(self, task: str) -> None:
        """Warn, once a task, if the weights were not trained for it."""
        if task not in self.trained_tasks and task not in self._warned:
            self._warned.add(task)
            print_log(
                f'The model is asked for the {task} task, but its checkpoint '
                f'was trained for {", ".join(self.trained_tasks)} only: '
                'expect little of the result. Set model.test_cfg.tasks, or '
                'train with annotations for it.',
                logger='current',
                level=logging.WARNING,
            )

    def tasks_of(self, sample) -> tuple[str, ...]:
        """Return the tasks asked of a data sample."""
        if 'task' in sample:
            return (check_task(sample.task),)
        return self.tasks


def read_metainfo(metainfo: dict) -> tuple[tuple[str, ...], list[int]]:
    """Return class names and the labels of the things.

    Args:
        metainfo (dict): ``classes`` and ``thing_classes``.

    Raises:
        ValueError: If a list is missing, a name is repeated or a thing is
            not among the classes.
    """
    for key in ('classes', 'thing_classes'):
        if key not in metainfo:
            raise ValueError(
                f'metainfo of the model lacks {key!r}: give the same metainfo '
                'as to the dataset, with classes and thing_classes.'
            )
    classes, things = tuple(metainfo['classes']), metainfo['thing_classes']
    repeated = sorted({name for name in classes if classes.count(name) > 1})
    if repeated:
        raise ValueError(f'metainfo has classes more than once: {repeated}.')
    unknown = [name for name in things if name not in classes]
    if unknown:
        raise ValueError(
            f'thing_classes {unknown} of metainfo are not among its classes: '
            'every thing must be listed in classes, too.'
        )
    return classes, [classes.index(name) for name in things]


def select_images(pixels: PixelFeatures, rows: list[int]) -> PixelFeatures:
    """Return the features of some images of a batch."""
    if len(rows) == len(pixels.mask_features):
        return pixels
    return PixelFeatures(
        pixels.mask_features[rows],
        [memory[rows] for memory in pixels.memories],
        pixels.positions,
        [masks[rows] for masks in pixels.level_masks],
    )
