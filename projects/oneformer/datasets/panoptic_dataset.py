"""Panoptic annotations in the COCO layout."""

import os.path as osp

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.fileio import load
from mmengine.logging import print_log


@DATASETS.register_module()
class OneFormerPanopticDataset(BaseDetDataset):
    """Pictures with a panoptic PNG each, and one JSON in the COCO layout.

    Unlike mmdet's ``CocoPanopticDataset`` it takes the name of the PNG from
    the annotation, keeps crowds apart from stuff, lets things and stuff come
    in any order, needs segment ids that are unique within a picture only,
    and can read the class names from the JSON.

    ``metainfo`` may give ``classes`` and ``thing_classes``; what is missing
    is read from the ``categories`` of the JSON, in their order. Segments of
    categories that are not among the classes become void.

    ``data_prefix`` has ``img`` for the pictures and ``seg`` for the PNGs.
    With ``filter_cfg=dict(filter_empty_gt=True)`` pictures without any thing
    (crowds aside) are left out of training.

    The other arguments are those of mmdet's ``BaseDetDataset``.

    Raises:
        FileNotFoundError: If the JSON does not exist.
        ValueError: If the JSON has not the COCO panoptic layout or
            contradicts ``metainfo``. The message says where and how to mend.
    """

    def load_data_list(self) -> list[dict]:
        """Read the annotation file.

        Returns:
            list[dict]: Per picture ``img_path``, ``img_id``, ``height``,
            ``width``, ``seg_map_path`` and ``segments_info``, a list of
            ``id``, ``category`` (label), ``is_thing`` and ``iscrowd``.
        """
        content = load(self.ann_file, backend_args=self.backend_args)
        for key in ('images', 'annotations', 'categories'):
            if not isinstance(content, dict) or key not in content:
                raise ValueError(
                    f'{self.ann_file} is not in the COCO panoptic layout: '
                    f'expected a list {key!r} in it.'
                )
        labels = self.read_categories(content['categories'])
        annotations = {}
        for annotation in content['annotations']:
            if 'segments_info' not in annotation:
                raise ValueError(
                    f'{self.ann_file} has annotations without '
                    "'segments_info': expected COCO panoptic annotations, "
                    'not instance annotations.'
                )
            annotations[annotation['image_id']] = annotation
        data_list = []
        missing = []
        for image in content['images']:
            annotation = annotations.get(image['id'])
            if annotation is None and not self.test_mode:
                missing.append(image['file_name'])
            else:
                data_list.append(self.parse_image(image, annotation, labels))
        if missing:
            print_log(
                f'{len(missing)} of {len(content["images"])} pictures in '
                f'{self.ann_file} have no annotation and are left out, the '
                f'first is {missing[0]}.',
                logger='current',
                level='WARNING',
            )
        return data_list

    def read_categories(self, categories: list[dict]) -> dict[int, int]:
        """Settle the classes, and return the label of each category id."""
        names = [category['name'] for category in categories]
        classes = tuple(self._metainfo.get('classes', names))
        if absent := [name for name in classes if name not in names]:
            raise ValueError(
                f'Classes {absent} of metainfo are not among the categories '
                f'of {self.ann_file}, which are {names}.'
            )
        if 'thing_classes' not in self._metainfo:
            lacking = [c['name'] for c in categories if 'isthing' not in c]
            if lacking:
                raise ValueError(
                    f"Categories {lacking} of {self.ann_file} lack 'isthing': "
                    'add it (1 for things, 0 for stuff) or list the things as '
                    'thing_classes in metainfo.'
                )
            self._metainfo['thing_classes'] = tuple(
                c['name']
                for c in categories
                if c['isthing'] and c['name'] in classes
            )
        things = tuple(self._metainfo['thing_classes'])
        if unknown := [name for name in things if name not in classes]:
            raise ValueError(
                f'thing_classes {unknown} of metainfo are not among its '
                'classes: every thing must be listed in classes, too.'
            )
        self._metainfo.update(
            classes=classes,
            thing_classes=things,
            stuff_classes=tuple(name for name in classes if name not in things),
        )
        return {
            category['id']: classes.index(category['name'])
            for category in categories
            if category['name'] in classes
        }

    def parse_image(
        self, image: dict, annotation: dict | None, labels: dict[int, int]
    ) -> dict:
        """Return the data of one picture; see :meth:`load_data_list`."""
        classes = self._metainfo['classes']
        things = set(self._metainfo['thing_classes'])
        segments = annotation['segments_info'] if annotation else []
        return dict(
            img_path=osp.join(self.data_prefix['img'], image['file_name']),
            img_id=image['id'],
            height=image['height'],
            width=image['width'],
            seg_map_path=osp.join(
                self.data_prefix['seg'], annotation['file_name']
            )
            if annotation
            else None,
            segments_info=[
                dict(
                    id=segment['id'],
                    category=labels[segment['category_id']],
                    is_thing=classes[labels[segment['category_id']]] in things,
                    iscrowd=bool(segment.get('iscrowd', 0)),
                )
                for segment in segments
                if segment['category_id'] in labels
            ],
        )

    def filter_data(self) -> list[dict]:
        """Leave out pictures without things, if ``filter_cfg`` says so."""
        config = self.filter_cfg or {}
        if self.test_mode or not config.get('filter_empty_gt', False):
            return self.data_list
        return [
            data
            for data in self.data_list
            if any(
                segment['is_thing'] and not segment['iscrowd']
                for segment in data['segments_info']
            )
        ]

    def get_data_info(self, idx: int) -> dict:
        """Return the data of one picture, with the class names."""
        return dict(
            super().get_data_info(idx),
            classes=self._metainfo['classes'],
            thing_classes=self._metainfo['thing_classes'],
        )
