"""AdamW as EoMT is trained: layer-wise decay, two warm-ups, masks annealed.

16 images per iteration. All parameters decay alike.
"""

# Mixed precision: ``optim_wrapper = _base_.float16``.
float16 = dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='ViTOptimConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(decay_rate=0.8, decay_joint=True),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
# Schedules add ``max_iters``, and ``end`` of the learning rate.
train_cfg = dict(type='ReproducibleTrainLoop', val_interval=5000)
warmup_poly_lr = dict(type='TwoStageWarmupPolyLR', warmup=500, vit_warmup=1000)
# ``custom_hooks = [*_base_.custom_hooks, _base_.mask_annealing]``
mask_annealing = dict(type='MaskAnnealingHook')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
