"""Results of a model that is right about everything."""

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from pycocotools import mask as coco_mask


def predict(sample: DetDataSample, num_classes: int) -> None:
    """Add the results of a model that is right about everything."""
    shape = sample.ori_shape
    panoptic = torch.full(shape, num_classes, dtype=torch.int32)
    semantic = torch.zeros(shape, dtype=torch.int64)
    masks, labels = [], []
    for number, segment in enumerate(sample.segments_info, 1):
        mask = coco_mask.decode(segment['segmentation']).astype(bool)
        mask = torch.from_numpy(mask)
        semantic[mask] = segment['category']
        if segment['iscrowd']:
            continue
        code = segment['category']
        if segment['is_thing']:
            code += 1000 * number
            masks.append(mask)
            labels.append(segment['category'])
        panoptic[mask] = code
    sample.pred_panoptic_seg = PixelData(sem_seg=panoptic[None])
    sample.pred_panoptic_seg.set_metainfo(dict(ignore_index=num_classes))
    sample.pred_sem_seg = PixelData(sem_seg=semantic[None])
    sample.pred_sem_seg.set_metainfo(dict(ignore_index=255))
    sample.pred_instances = InstanceData(
        masks=torch.stack(masks),
        labels=torch.tensor(labels),
        scores=torch.linspace(0.9, 0.5, len(masks)),
        bboxes=torch.zeros(len(masks), 4),
    )
