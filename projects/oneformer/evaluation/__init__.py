"""Metrics. Importing this package registers them."""

from .instance_metric import InstanceAP
from .panoptic_metric import PanopticQuality
from .semantic_metric import SemanticIoU

__all__ = ['InstanceAP', 'PanopticQuality', 'SemanticIoU']
