"""Metrics. Importing this package registers them."""

from .instance_metric import InstanceAP
from .panoptic_metric import PanopticQuality

__all__ = ['InstanceAP', 'PanopticQuality']
