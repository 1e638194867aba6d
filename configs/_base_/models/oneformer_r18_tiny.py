"""A tiny OneFormer that trains on a CPU: half-width ResNet-18, 24 queries."""

tokenizer = dict(type='CLIPTokenizer')
width = 64
num_heads = 4
ffn_cfg = dict(
    embed_dims=width,
    feedforward_channels=256,
    num_fcs=2,
    ffn_drop=0.0,
    act_cfg=dict(type='ReLU', inplace=True),
)
attn_cfg = dict(
    embed_dims=width, num_heads=num_heads, dropout=0.0, batch_first=True
)
decoder_layer_cfg = dict(
    self_attn_cfg=attn_cfg, cross_attn_cfg=attn_cfg, ffn_cfg=ffn_cfg
)
num_points = 512

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
        depth=18,
        base_channels=32,
        stem_channels=32,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
    ),
    panoptic_head=dict(
        type='OneFormerHead',
        in_channels=[32, 64, 128, 256],
        feat_channels=width,
        num_queries=24,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=dict(
                        embed_dims=width,
                        num_heads=num_heads,
                        num_levels=3,
                        num_points=4,
                        dropout=0.0,
                        batch_first=True,
                    ),
                    ffn_cfg=ffn_cfg,
                ),
            ),
            positional_encoding=dict(num_feats=width // 2, normalize=True),
        ),
        task_token=dict(type='TaskToken', tokenizer=tokenizer),
        query_init=dict(
            type='QueryInit',
            # Not in the paper: little data is learned in fewer iterations.
            learned_features=True,
            transformer=dict(num_layers=1, layer_cfg=decoder_layer_cfg),
        ),
        transformer_decoder=dict(num_layers=3, layer_cfg=decoder_layer_cfg),
    ),
    panoptic_fusion_head=dict(type='OneFormerFusionHead'),
    train_cfg=dict(
        criterion=dict(
            type='OneFormerCriterion',
            matcher=dict(type='QueryMatcher', num_points=num_points),
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
            num_points=num_points,
        ),
        text_mapper=dict(
            type='TextMapper', tokenizer=tokenizer, num_context=4, num_layers=2
        ),
        contrastive_loss=dict(type='QueryTextContrastiveLoss'),
    ),
    test_cfg=dict(
        tasks=['panoptic', 'instance', 'semantic'],
        object_mask_thr=0.6,
        iou_thr=0.7,
    ),
)
