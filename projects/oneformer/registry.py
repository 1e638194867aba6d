"""Registries of what has the name of a class of OpenMMLab.

mmdet's ``DetInferencer`` looks for a step ``type='LoadImageFromFile'``, and
``inference_detector`` replaces the type of the first step. So our reader
keeps that name, in a registry of its own, and a config asks for it by
mmengine's ``_scope_``:

``dict(type='LoadImageFromFile', _scope_='projects.oneformer')``

Without ``_scope_`` it is mmcv's. mmengine imports ``<scope>.registry`` and
warns where there is none: hence the names of the scope and of this file.
"""

from mmdet.registry import TRANSFORMS as MMDET_TRANSFORMS
from mmengine.registry import Registry

TRANSFORMS = Registry(
    'transform', parent=MMDET_TRANSFORMS, scope='projects.oneformer'
)
