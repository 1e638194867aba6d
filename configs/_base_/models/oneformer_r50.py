"""OneFormer with ResNet-50, 150 queries."""

tokenizer = dict(type='CLIPTokenizer')
width = 256
num_heads = 8
dropout = 0.1

model = dict(
    type='OneFormer',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        pad_mask=True,
        mask_pad_value=0,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    panoptic_head=dict(
        type='OneFormerHead',
        in_channels=[256, 512, 1024, 2048],
        feat_channels=width,
        num_queries=150,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(
                num_layers=6,
                layer_cfg=dict(
                    self_attn_cfg=dict(
                        embed_dims=width,
                        num_heads=num_heads,
                        num_levels=3,
                        num_points=4,
                        dropout=dropout,
                        batch_first=True,
                    ),
                    ffn_cfg=dict(
                        embed_dims=width,
                        feedforward_channels=1024,
                        num_fcs=2,
                        ffn_drop=dropout,
                        act_cfg=dict(type='ReLU', inplace=True),
                    ),
                ),
            ),
            positional_encoding=dict(num_feats=width // 2, normalize=True),
        ),
        task_token=dict(type='TaskToken', tokenizer=tokenizer),
        query_init=dict(
            type='QueryInit',
            transformer=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=dict(
                        embed_dims=width,
                        num_heads=num_heads,
                        dropout=dropout,
                        batch_first=True,
                    ),
                    cross_attn_cfg=dict(
                        embed_dims=width,
                        num_heads=num_heads,
                        dropout=dropout,
                        batch_first=True,
                    ),
                    ffn_cfg=dict(
                        embed_dims=width,
                        feedforward_channels=2048,
                        num_fcs=2,
                        ffn_drop=dropout,
                        act_cfg=dict(type='ReLU', inplace=True),
                    ),
                ),
            ),
        ),
        transformer_decoder=dict(
            num_layers=9,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=width,
                    num_heads=num_heads,
                    dropout=0.0,
                    batch_first=True,
                ),
                cross_attn_cfg=dict(
                    embed_dims=width,
                    num_heads=num_heads,
                    dropout=0.0,
                    batch_first=True,
                ),
                ffn_cfg=dict(
                    embed_dims=width,
                    feedforward_channels=2048,
                    num_fcs=2,
                    ffn_drop=0.0,
                    act_cfg=dict(type='ReLU', inplace=True),
                ),
            ),
        ),
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
                num_points=12544,
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
            num_points=12544,
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
    ),
)
