"""AdamW with the learning rates and weight decays of the reference.

16 images per iteration. Gradients are not clipped: the clipping that the
reference configures never took effect.
"""

# The mixed precision of the reference: ``optim_wrapper = _base_.float16``.
float16 = dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='ModuleTypeOptimConstructor',
    optimizer=dict(
        type='AdamW',
        lr=1e-4,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
    ),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'absolute_pos_embed': dict(decay_mult=0.0),
            # An embedding here, a bare parameter in the reference.
            'level_encoding': dict(decay_mult=1.0),
        },
        norm_decay_mult=0.0,
        # Those of ConvNeXt, which the reference does not take for norms.
        decayed_norms=['LayerNorm2d'],
        embedding_decay_mult=0.0,
    ),
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
