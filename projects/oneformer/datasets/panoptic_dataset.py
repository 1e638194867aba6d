"""Panoptic annotations in the COCO layout."""

import logging
import os.path as osp
import reprlib

from mmdet.registry import DATASETS
from mmengine.logging import print_log

from .segments_dataset import SegmentsDataset
from .transforms.load_segments import MAX_ID

# What the entries of the JSON cannot do without.
KEYS = dict(
    images=('id', 'file_name', 'height', 'width'),
    annotations=('image_id', 'file_name', 'segments_info'),
    categories=('id', 'name'),
    segments_info=('id', 'category_id'),
)


@DATASETS.register_module()
class OneFormerPanopticDataset(SegmentsDataset):
    """Pictures with a panoptic PNG each, and one JSON in the COCO layout.

    Unlike mmdet's ``CocoPanopticDataset`` it takes the name of the PNG from
    the annotation, keeps crowds apart from stuff, lets things and stuff come
    in any order, needs segment ids that are unique within a picture only,
    and can read the class names from the JSON.

    What ``metainfo`` does not give is read from the ``categories`` of the
    JSON, in their order.

    ``data_prefix`` has ``img`` for the pictures and ``seg`` for the PNGs.
    With ``filter_cfg=dict(filter_empty_gt=True)`` pictures without any thing
    (crowds aside) are left out of training.

    The arguments are those of :class:`SegmentsDataset`.

    Raises:
        FileNotFoundError: If the JSON does not exist.
        ValueError: If the JSON has not the COCO panoptic layout, contradicts
            itself or ``metainfo``, or leaves no picture to train on. The
            message says where and how to mend.
    """

    annotation = 'panoptic'

    def load_data_list(self) -> list[dict]:
        """Read the annotation file.

        Returns:
            list[dict]: Per picture ``img_path``, ``img_id``, ``height``,
            ``width``, ``seg_map_path`` and ``segments_info``, a list of
            ``id``, ``category`` (label), ``is_thing`` and ``iscrowd``.
        """
        content = self.read_json()
        labels = self.read_categories(content['categories'])
        annotations = {}
        for annotation in content['annotations']:
            if annotation['image_id'] in annotations:
                raise ValueError(
                    f'{self.ann_file} has several annotations with image_id '
                    f'{annotation["image_id"]!r}: expected one, with all '
                    "segments of the picture in its 'segments_info'."
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
                level=logging.WARNING,
            )
        if not data_list:
            raise ValueError(
                f'{self.ann_file} leaves no picture: expected images, and '
                "annotations whose 'image_id' is the 'id' of an image, got "
                f'{len(content["images"])} images and {len(annotations)} '
                'annotations.'
            )
        return data_list

    def read_json(self) -> dict:
        """Return what the annotation file holds, its keys checked."""
        content = super().read_json()
        for key in ('images', 'annotations', 'categories'):
            if not isinstance(content, dict) or key not in content:
                raise ValueError(
                    f'{self.ann_file} is not in the COCO panoptic layout: '
                    f'expected a list {key!r} in it.'
                )
        for annotation in content['annotations']:
            if 'segments_info' not in annotation:
                raise ValueError(
                    f'{self.ann_file} has annotations without '
                    "'segments_info': expected COCO panoptic annotations, "
                    'not instance annotations.'
                )
            self.check_keys(
                'segments_info',
                annotation['segments_info'],
                KEYS['segments_info'],
            )
        for key in ('images', 'annotations', 'categories'):
            self.check_keys(key, content[key], KEYS[key])
        return content

    def read_categories(self, categories: list[dict]) -> dict[int, int | None]:
        """Settle the classes, and return the label of each category id.

        The label is None where segments become void.
        """
        names = [category['name'] for category in categories]
        for key, values in (
            ('id', [category['id'] for category in categories]),
            ('name', names),
        ):
            if repeated := sorted({v for v in values if values.count(v) > 1}):
                raise ValueError(
                    f'{self.ann_file} has categories with the same {key}: '
                    f'{repeated}. Expected every {key} once.'
                )
        things = [c['name'] for c in categories if c.get('isthing') == 1]
        if 'thing_classes' not in self._metainfo:
            wanted = self._metainfo.get('classes', names)
            lacking = [
                c['name']
                for c in categories
                if c['name'] in wanted and c.get('isthing') not in (0, 1)
            ]
            if lacking:
                raise ValueError(
                    f"Categories {lacking} of {self.ann_file} lack 'isthing': "
                    'add it (1 for things, 0 for stuff) or list the things as '
                    'thing_classes in metainfo.'
                )
        labels = self.settle_classes(names, things, self.ann_file)
        return {c['id']: labels[c['name']] for c in categories}

    def parse_image(
        self,
        image: dict,
        annotation: dict | None,
        labels: dict[int, int | None],
    ) -> dict:
        """Return the data of one picture; see :meth:`load_data_list`."""
        classes = self._metainfo['classes']
        things = set(self._metainfo['thing_classes'])
        segments = annotation['segments_info'] if annotation else []
        self.check_segments(image, segments, labels)
        return dict(
            img_path=self.picture_path(image['file_name']),
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
                if labels[segment['category_id']] is not None
            ],
        )

    def check_segments(
        self,
        image: dict,
        segments: list[dict],
        labels: dict[int, int | None],
    ) -> None:
        """Refuse segments that the PNG or the categories cannot tell."""
        where = f'Picture {image["file_name"]} in {self.ann_file}'
        seen = set()
        for segment in segments:
            number = segment['id']
            if not isinstance(number, int) or not 0 < number <= MAX_ID:
                raise ValueError(
                    f'{where} has a segment with the id {number!r}: expected '
                    f'a whole number from 1 to {MAX_ID}, 0 is void.'
                )
            if number in seen:
                raise ValueError(
                    f'{where} has several segments with the id {number}: '
                    'expected every id once in a picture.'
                )
            seen.add(number)
            if segment['category_id'] not in labels:
                raise ValueError(
                    f'{where} has a segment with the category_id '
                    f'{segment["category_id"]!r}: expected one of the '
                    f'categories, {reprlib.repr(list(labels))}.'
                )
