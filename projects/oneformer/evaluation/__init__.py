"""Metrics. Importing this package registers them."""

from .cityscapes_metric import CityscapesInstanceAP, CityscapesPixelIoU
from .instance_metric import InstanceAP
from .panoptic_metric import PanopticQuality
from .semantic_metric import SemanticIoU

__all__ = [
    'CityscapesInstanceAP',
    'CityscapesPixelIoU',
    'InstanceAP',
    'PanopticQuality',
    'SemanticIoU',
]
