"""What heads of queries have in common: predictions, texts and losses."""

import types
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from torch import Tensor

from .layers.attention import fold_tasks, unfold_tasks
from .losses.non_finite import finite_everywhere, name_predictions
from .losses.target import make_target


class HeadOutput(NamedTuple):
    """Predictions, the last of which is the result.

    A mask is the product of an embedding with the mask features; see
    :func:`mask_logits`. The features are those of all predictions, or a list
    with those of each.
    """

    cls_scores: list[Tensor]  # (T * B, Q, K + 1), the last is "no object"
    mask_embeds: list[Tensor]  # (T * B, Q, C)
    mask_features: Tensor | list[Tensor]  # (B or T * B, C, H/4, W/4)
    queries: Tensor  # what is compared with the texts, (T * B, Q, C)

    def masks(self) -> list[Tensor]:
        """Return the mask logits of each prediction, (T * B, Q, H/4, W/4)."""
        features = self.mask_features
        if isinstance(features, Tensor):
            features = [features] * len(self.mask_embeds)
        return [
            mask_logits(embeds, own)
            for embeds, own in zip(self.mask_embeds, features, strict=True)
        ]

    def last(self) -> tuple[Tensor, Tensor]:
        """Return class and mask logits of the last prediction.

        Returns:
            tuple[Tensor, Tensor]: (T * B, Q, K + 1) and (T * B, Q, H/4, W/4).
        """
        return self.cls_scores[-1], mask_logits(
            self.mask_embeds[-1], self.last_features()
        )

    def by_task(self, num_tasks: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield class and mask logits of the last prediction, task by task.

        The masks of one task at a time: they are large.

        Args:
            num_tasks (int): T.

        Yields:
            tuple[Tensor, Tensor]: (B, Q, K + 1) and (B, Q, H/4, W/4).
        """
        cls_scores = self.cls_scores[-1].chunk(num_tasks)
        mask_embeds = self.mask_embeds[-1].chunk(num_tasks)
        features = self.last_features()
        own_features: Sequence[Tensor] = [features] * num_tasks
        if len(features) > len(cls_scores[0]):
            own_features = features.chunk(num_tasks)
        for scores, embeds, own in zip(
            cls_scores, mask_embeds, own_features, strict=True
        ):
            yield scores, mask_logits(embeds, own)

    def last_features(self) -> Tensor:
        """Return the mask features of the last prediction."""
        if isinstance(self.mask_features, Tensor):
            return self.mask_features
        return self.mask_features[-1]


def mask_logits(mask_embeds: Tensor, mask_features: Tensor) -> Tensor:
    """Return mask logits, the products of embeddings and features.

    Args:
        mask_embeds (Tensor): (T * B, Q, C), first task of all images first.
        mask_features (Tensor): (B, C, H, W), or (T * B, C, H, W).

    Returns:
        Tensor: (T * B, Q, H, W).
    """
    embeds = fold_tasks(mask_embeds, mask_features.shape[0])  # (B, T * Q, C)
    logits = torch.einsum('bqc,bchw->bqhw', embeds, mask_features)
    return unfold_tasks(logits, mask_embeds.shape[0])


class QueryHead(BaseModule):
    """A head whose queries predict a mask and a class each, for a task.

    A subclass defines :meth:`pixel_features`, what all tasks share, and
    :meth:`decode`. It calls :meth:`build_training_parts` when its other parts
    exist. Without training parts the head drops the entries of the text
    branch when it loads a training checkpoint.

    To be exported it also defines :meth:`shared_tensors`,
    :meth:`from_tensors` and :meth:`decode_indices`: files hold tensors, and
    no text.

    Args:
        num_classes (int): Number of classes, K.
        init_cfg (dict, optional): Initialization config.
    """

    #: Height and width of images must be multiples of it.
    stride: int
    #: Methods that neither read texts nor match on the host.
    compiled_methods: tuple[str, ...] = ('pixel_features', 'decode_ids')

    def __init__(self, num_classes: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.criterion = self.text_mapper = self.contrastive_loss = None
        self._register_load_state_dict_pre_hook(self._drop_training_entries)

    def build_training_parts(
        self,
        criterion: dict,
        text_mapper: dict | None,
        contrastive_loss: dict | None,
        num_queries: int,
        embed_dims: int,
    ) -> None:
        """Build what exists in training only.

        Args:
            criterion (dict): Config of the classification and mask losses.
            text_mapper (dict | None): Config of the text branch.
            contrastive_loss (dict | None): Config of the query-text loss,
                where there is a text branch.
            num_queries (int): Q.
            embed_dims (int): Width of queries, C.
        """
        self.criterion = MODELS.build(
            dict(criterion, num_classes=self.num_classes)
        )
        if text_mapper is not None:
            self.text_mapper = MODELS.build(
                dict(
                    text_mapper, num_queries=num_queries, embed_dims=embed_dims
                )
            )
            self.contrastive_loss = MODELS.build(contrastive_loss)

    def compile_parts(self, **options) -> None:
        """Compile all that neither reads texts nor matches on the host.

        Args:
            **options: Of ``torch.compile``.
        """
        for name in self.compiled_methods:
            function = torch.compile(getattr(type(self), name), **options)
            # Bound, so that a copy of the model calls it with itself.
            setattr(self, name, types.MethodType(function, self))

    @abstractmethod
    def pixel_features(self, feats: Any) -> Any:
        """Return what all tasks share, from the features of the backbone."""

    @abstractmethod
    def shared_tensors(self, feats: Any) -> dict[str, Tensor]:
        """Return what :meth:`pixel_features` is computed from, by name.

        Args:
            feats: Features of the backbone.

        Returns:
            dict[str, Tensor]: Those with four axes are maps, (B, C, H, W),
            whose size follows from that of the image; the shape of the others
            does not.
        """

    @abstractmethod
    def from_tensors(self, tensors: Mapping[str, Tensor]) -> Any:
        """Return :meth:`pixel_features` of :meth:`shared_tensors`."""

    @abstractmethod
    def decode_indices(self, pixels: Any, tasks: Tensor) -> HeadOutput:
        """Decode as :meth:`decode`, for tasks as indices in ``TASKS``.

        Args:
            pixels: Of B images, from :meth:`pixel_features`.
            tasks (Tensor): int64, (T * B,).
        """

    @abstractmethod
    def decode(self, pixels: Any, tasks: Sequence[str]) -> HeadOutput:
        """Predict for the task that each image is asked.

        Args:
            pixels: Of B images, from :meth:`pixel_features`.
            tasks (Sequence[str]): The task of each image; of several tasks
                the first of all images first, T * B altogether.

        Returns:
            HeadOutput: For T * B images.
        """

    def forward(
        self, feats: Any, tasks: Sequence[str]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return class and mask logits of every prediction.

        Args:
            feats: Features of the backbone.
            tasks (Sequence[str]): The task of each image.

        Returns:
            tuple[list[Tensor], list[Tensor]]: Class logits (B, Q, K + 1) and
            mask logits (B, Q, H/4, W/4) of each prediction.
        """
        output = self.decode(self.pixel_features(feats), tasks)
        return output.cls_scores, output.masks()

    def loss(
        self, feats: Any, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return the losses of a batch.

        Args:
            feats: Features of the backbone.
            batch_data_samples (SampleList): Per image ``task`` and
                ``gt_instances`` with ``labels`` and ``masks``; where there is
                a text branch, ``texts`` and ``filler_text``, too.

        Returns:
            dict[str, Tensor]: Scalars, already weighted.

        Raises:
            RuntimeError: If the model was built for inference.
            KeyError: If a sample lacks what the training transforms add.
            NonFiniteError: If the batch of any process is not finite.
        """
        if self.criterion is None:
            raise RuntimeError(
                'This model was built for inference, without the text branch: '
                'set model.train_cfg to train it.'
            )
        self._check_samples(batch_data_samples)
        pixels = self.pixel_features(feats)
        output = self.decode(
            pixels, [sample.task for sample in batch_data_samples]
        )
        predictions = (
            output.cls_scores,
            output.mask_embeds,
            output.mask_features,
        )
        targets = [
            make_target(sample, self.num_classes, output.queries.device)
            for sample in batch_data_samples
        ]
        named, texts = name_predictions(*predictions), None
        if self.text_mapper is not None:
            texts = self.text_mapper(
                [sample.texts for sample in batch_data_samples],
                [sample.filler_text for sample in batch_data_samples],
            )
            named['texts'] = texts
        with finite_everywhere(named):
            losses = self.criterion(*predictions, targets)
        if texts is not None:
            losses['loss_contrastive'] = self.contrastive_loss(
                output.queries, texts
            )
        return losses

    def _check_samples(self, samples: SampleList) -> None:
        needed = ['task']
        if self.text_mapper is not None:
            needed += ['texts', 'filler_text']
        for sample in samples:
            for key in needed:
                if key not in sample:
                    raise KeyError(
                        f'Training needs {key!r} in every sample: add '
                        'SampleTask, TaskTargets and TaskTexts to the train '
                        f'pipeline and {key!r} to meta_keys of PackDetInputs.'
                    )

    def _drop_training_entries(
        self, state_dict: dict, prefix: str, *args
    ) -> None:
        if self.text_mapper is not None:
            return
        training = (f'{prefix}text_mapper.', f'{prefix}contrastive_loss.')
        for key in [key for key in state_dict if key.startswith(training)]:
            del state_dict[key]
