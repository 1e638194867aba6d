"""mmdet's Mask2Former with the post-processing of OneFormer."""

from collections.abc import Sequence
from typing import NamedTuple

from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine import ConfigDict
from torch import Tensor

from projects.oneformer.metainfo import read_metainfo
from projects.oneformer.models.tiled_segmentation import make_tiled
from projects.oneformer.tasks import RESULT_FIELDS, read_tasks


def mask2former_of(model: ConfigDict) -> ConfigDict:
    """Return the config of a Mask2Former of the same parts and sizes.

    Args:
        model (ConfigDict): Config of a OneFormer.
    """
    head, criterion = model.panoptic_head, model.train_cfg.criterion
    width = head.feat_channels
    num_points = criterion.num_points
    return ConfigDict(
        type='PlainMask2Former',
        data_preprocessor=model.data_preprocessor,
        backbone=model.backbone,
        panoptic_head=dict(
            type='Mask2FormerHead',
            in_channels=head.in_channels,
            strides=[4, 8, 16, 32],
            feat_channels=width,
            out_channels=width,
            num_queries=head.num_queries,
            num_transformer_feat_level=head.pixel_decoder.num_outs,
            pixel_decoder=dict(
                head.pixel_decoder, type='MSDeformAttnPixelDecoder'
            ),
            enforce_decoder_input_project=False,
            positional_encoding=head.pixel_decoder.positional_encoding,
            transformer_decoder=dict(head.transformer_decoder, init_cfg=None),
            loss_cls=criterion.loss_cls,
            loss_mask=criterion.loss_mask,
            loss_dice=criterion.loss_dice,
        ),
        panoptic_fusion_head=model.panoptic_fusion_head,
        metainfo=model.metainfo,
        train_cfg=dict(
            num_points=num_points,
            # As the defaults of OneFormerCriterion and QueryMatcher.
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
            assigner=dict(
                type='HungarianAssigner',
                match_costs=[
                    dict(type='ClassificationCost', weight=2.0),
                    dict(
                        type='CrossEntropyLossCost',
                        weight=5.0,
                        use_sigmoid=True,
                    ),
                    dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
                ],
            ),
            sampler=dict(type='MaskPseudoSampler'),
        ),
        test_cfg=model.test_cfg,
    )


class Predictions(NamedTuple):
    """What the head predicts of a batch, after the last layer."""

    cls_scores: Tensor  # (B, Q, K + 1)
    mask_preds: Tensor  # (B, Q, H/4, W/4)


@MODELS.register_module()
class PlainMask2Former(BaseDetector):
    """Mask2Former for the targets that one task makes.

    Network, matching and losses are mmdet's. Targets come as masks, stuff
    included, and results are made by ``OneFormerFusionHead``: what differs
    from OneFormer is the network and how it is trained.

    Args:
        backbone (dict): As of OneFormer.
        panoptic_head (dict): Config of ``Mask2FormerHead``, without what
            follows from the classes.
        panoptic_fusion_head (dict): Config of ``OneFormerFusionHead``.
        metainfo (dict): ``classes`` and ``thing_classes``.
        train_cfg (dict): Of ``Mask2FormerHead``: points, assigner, sampler.
        test_cfg (dict): ``tasks`` to predict, options of the fusion head, and
            ``tile``, as of OneFormer.
        data_preprocessor (dict, optional): As of OneFormer.
        init_cfg (dict, optional): Initialization config.
    """

    def __init__(
        self,
        backbone: dict,
        panoptic_head: dict,
        panoptic_fusion_head: dict,
        metainfo: dict,
        train_cfg: dict,
        test_cfg: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        self.class_names, thing_labels = read_metainfo(metainfo)
        num_classes = len(self.class_names)
        test_cfg = dict(test_cfg)
        self.tasks = read_tasks(test_cfg.pop('tasks'))
        self.tiled = make_tiled(
            test_cfg.pop('tile', None), self.data_preprocessor
        )
        self.backbone = MODELS.build(backbone)
        loss_cls = ConfigDict(
            panoptic_head['loss_cls'], class_weight=[1.0] * num_classes + [0.1]
        )
        self.panoptic_head = MODELS.build(
            dict(
                panoptic_head,
                # All as things: the targets have stuff as masks, too.
                num_things_classes=num_classes,
                num_stuff_classes=0,
                loss_cls=loss_cls,
                train_cfg=train_cfg,
                test_cfg=None,
            )
        )
        self.panoptic_fusion_head = MODELS.build(
            dict(
                panoptic_fusion_head,
                num_classes=num_classes,
                thing_labels=thing_labels,
                **test_cfg,
            )
        )

    def extract_feat(self, batch_inputs: Tensor) -> Sequence[Tensor]:
        """Return backbone features of (B, 3, H, W)."""
        return self.backbone(batch_inputs)

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return the losses of mmdet's head."""
        feats = self.extract_feat(batch_inputs)
        return self.panoptic_head.loss(feats, batch_data_samples)

    def pixel_features(self, batch_inputs: Tensor) -> Predictions:
        """Predict; there is no token to wait for."""
        feats = self.extract_feat(batch_inputs)
        # The head does not read the samples.
        cls_scores, mask_preds = self.panoptic_head(feats, [])
        return Predictions(cls_scores[-1], mask_preds[-1])

    def segment(
        self,
        pixels: Predictions,
        samples: SampleList,
        tokens: Sequence[str],
        results: Sequence[str] | None = None,
        rescale: bool = True,
    ) -> None:
        """Write results into the samples, as ``OneFormer.segment`` does.

        Args:
            pixels (Predictions): Of B images.
            samples (SampleList): Theirs, B.
            tokens (Sequence[str]): Tasks; they change no prediction.
            results (Sequence[str], optional): Tasks whose results to make,
                by default ``tokens``.
            rescale (bool): Results in the size of the original image.
        """
        for sample, *prediction in zip(samples, *pixels, strict=True):
            for task in results or tokens:
                result = self.panoptic_fusion_head(
                    task, *prediction, sample.metainfo, rescale
                )
                setattr(sample, RESULT_FIELDS[task], result)

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> SampleList:
        """Add the results of its tasks to each sample."""
        if self.tiled is not None:
            for image, sample in zip(
                batch_inputs, batch_data_samples, strict=True
            ):
                self.tiled.segment(
                    self, image, sample, self.tasks, rescale=rescale
                )
            return batch_data_samples
        pixels = self.pixel_features(batch_inputs)
        self.segment(pixels, batch_data_samples, self.tasks, rescale=rescale)
        return batch_data_samples

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> Predictions:
        """Return logits."""
        return self.pixel_features(batch_inputs)
