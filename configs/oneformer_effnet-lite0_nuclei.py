"""A tiny OneFormer, pretrained backbone, nuclei of microscopy (2 classes).

Train: python tools/train.py configs/oneformer_effnet-lite0_nuclei.py
Ours: see docs/results.md.

Half of the nuclei measure less than 10 pixels across where the long side of
the image is 256. Therefore this config differs from the other small ones:

- Images are enlarged for test. With perfect masks at stride 4, the largest
  AP is 52 at a long side of 256 and 65 at 384. (Perfect masks in full size
  reach 79, as AP counts 100 predictions an image.)
- Crops for training show a smaller part of the image, as much enlarged, and
  images are tested in tiles of the size of a crop. Shown an image as a whole,
  with several times as many nuclei, the network joins most of them.
- The losses and the matching of each mask use more points: of 512, a third of
  the nuclei in crops of a whole image would get none.
"""

_base_ = [
    './_base_/models/oneformer_effnet-lite0_tiny.py',
    './_base_/datasets/panoptic_128.py',
    './_base_/schedules/adamw_tiny.py',
    './_base_/default_runtime.py',
]

metainfo = dict(classes=('nucleus', 'background'), thing_classes=('nucleus',))
num_points = 2048
crop = (160, 160)
model = dict(
    metainfo=metainfo,
    train_cfg=dict(
        criterion=dict(
            num_points=num_points, matcher=dict(num_points=num_points)
        )
    ),
    test_cfg=dict(tile=dict(size=crop)),
)

data_root = 'data/nuclei_panoptic/'
scale_jitter = dict(_base_.scale_jitter, size=crop, ratio_range=(1.6, 4.0))
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
# In the range of training, and the best of 384, 512 and 640 on validation.
resize = dict(_base_.resize, scale=(640, 640))
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
