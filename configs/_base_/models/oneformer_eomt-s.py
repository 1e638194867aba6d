"""OneFormer on a plain ViT-S of DINOv2, whose last blocks queries join.

Sides of images are padded to multiples of the patch, 16 pixels. Learned
positions are for squares of 640, those of other sizes are resampled.
"""

tokenizer = dict(type='CLIPTokenizer')
block = dict(embed_dims=384, num_heads=6, feedforward_channels=1536)
num_points = 12544

model = dict(
    type='OneFormer',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=16,
        pad_mask=True,
        mask_pad_value=0,
    ),
    backbone=dict(
        type='PlainViT',
        num_layers=9,
        block=block,
        patch_size=16,
        num_registers=4,
        image_size=640,
    ),
    panoptic_head=dict(
        type='EoMTHead',
        num_queries=200,
        num_layers=3,
        block=block,
        patch_size=16,
        task_token=dict(type='TaskToken', tokenizer=tokenizer),
        task_at=['queries', 'prefix'],
    ),
    panoptic_fusion_head=dict(type='OneFormerFusionHead'),
    # Exists in training only; train_cfg=None makes an inference model.
    train_cfg=dict(
        criterion=dict(
            type='OneFormerCriterion',
            matcher=dict(
                type='QueryMatcher',
                class_cost=2.0,
                mask_cost=5.0,
                dice_cost=5.0,
                num_points=num_points,
            ),
            loss_cls=dict(
                type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0
            ),
            loss_mask=dict(
                type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0
            ),
            loss_dice=dict(
                type='DiceLoss',
                use_sigmoid=True,
                activate=True,
                naive_dice=True,
                eps=1.0,
                loss_weight=5.0,
            ),
            no_object_weight=0.1,
            num_points=num_points,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
        ),
        text_mapper=dict(
            type='TextMapper',
            tokenizer=tokenizer,
            num_context=16,
            num_layers=6,
            num_projection_layers=2,
        ),
        contrastive_loss=dict(
            type='QueryTextContrastiveLoss', loss_weight=0.5, temperature=0.07
        ),
    ),
    test_cfg=dict(
        tasks=['panoptic', 'instance', 'semantic'],
        object_mask_thr=0.8,
        iou_thr=0.8,
        max_per_image=100,
    ),
    # Blocks of the ViT are in the backbone and in the head.
    init_cfg=dict(
        type='PretrainedViT',
        checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/'
        'dinov2_vits14_reg4_pretrain.pth',
    ),
)
# EoMT as in the paper, for one task: ``model = _base_.plain_eomt``.
plain_eomt = dict(
    panoptic_head=dict(task_token=None),
    train_cfg=dict(text_mapper=None, contrastive_loss=None),
    test_cfg=dict(tasks=['panoptic']),
)
