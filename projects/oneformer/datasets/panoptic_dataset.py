"""Panoptic annotations in the COCO layout."""

import logging
import os.path as osp
import reprlib

from mmdet.registry import DATASETS
from mmengine.logging import print_log

from ..segment_ids import MAX_ID
from .coco_layout import Coco
from .segments_dataset import SegmentsDataset


@DATASETS.register_module()
class OneFormerPanopticDataset(SegmentsDataset):
    """Images with a panoptic PNG each, and one JSON in the COCO layout.

    Unlike mmdet's ``CocoPanopticDataset`` it takes the name of the PNG from
    the annotation, distinguishes crowds from stuff, accepts things and stuff
    in any order, needs segment ids that are unique only within an image, and
    can read the class names from the JSON.

    Classes that ``metainfo`` does not give are read from the ``categories`` of
    the JSON, in their order.

    ``data_prefix`` has ``img`` for the images and ``seg`` for the PNGs.
    With ``filter_cfg=dict(filter_empty_gt=True)`` images without any thing
    (crowds aside) are left out of training.

    The arguments are those of :class:`SegmentsDataset`.

    Raises:
        FileNotFoundError: If the JSON does not exist.
        ValueError: If the JSON does not have the COCO panoptic layout,
            contradicts itself or ``metainfo``, or leaves no image to train on.
            The message says where, and what to change.
    """

    annotation = 'panoptic'

    def load_data_list(self) -> list[dict]:
        """Read the annotation file.

        Returns:
            list[dict]: Per image ``img_path``, ``img_id``, ``height``,
            ``width``, ``seg_map_path`` and ``segments_info``, a list of
            ``id``, ``category`` (label), ``is_thing`` and ``iscrowd``.
        """
        content = self.read_layout()
        labels = self.read_categories(content.categories)
        annotations = {}
        for annotation in content.annotations:
            if annotation['image_id'] in annotations:
                raise ValueError(
                    f'{self.ann_file} has several annotations with image_id '
                    f'{annotation["image_id"]!r}: expected one, with all '
                    "segments of the image in its 'segments_info'."
                )
            annotations[annotation['image_id']] = annotation
        data_list = []
        missing: list[str] = []
        for image in content.images:
            found = annotations.get(image['id'])
            if found is None and not self.test_mode:
                missing.append(image['file_name'])
            else:
                data_list.append(self.parse_image(image, found, labels))
        if missing:
            print_log(
                f'{len(missing)} of {len(content.images)} images in '
                f'{self.ann_file} have no annotation and are left out, the '
                f'first is {missing[0]}.',
                logger='current',
                level=logging.WARNING,
            )
        if not data_list:
            raise ValueError(
                f'{self.ann_file} leaves no image: expected images, and '
                "annotations whose 'image_id' is the 'id' of an image, got "
                f'{len(content.images)} images and {len(annotations)} '
                'annotations.'
            )
        return data_list

    def read_layout(self) -> Coco:
        """Return the content of the annotation file."""
        raw = self.read_json()
        annotations = raw.get('annotations') if isinstance(raw, dict) else None
        if isinstance(annotations, list) and any(
            isinstance(entry, dict) and 'segments_info' not in entry
            for entry in annotations
        ):
            raise ValueError(
                f"{self.ann_file} has annotations without 'segments_info': "
                'expected COCO panoptic annotations, not instance '
                'annotations.'
            )
        return self.read_entries(raw)

    def read_categories(self, categories: list[dict]) -> dict[int, int | None]:
        """Set the classes, and return the label of each category id.

        The label is None where segments become void.
        """
        names = [category['name'] for category in categories]
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
        self.report_conflicts(categories)
        return {c['id']: labels[c['name']] for c in categories}

    def report_conflicts(self, categories: list[dict]) -> None:
        """Warn where ``thing_classes`` and the JSON differ."""
        things = self._metainfo['thing_classes']
        conflicts = [
            category['name']
            for category in categories
            if category['name'] in self._metainfo['classes']
            and category.get('isthing') in (0, 1)
            and bool(category['isthing']) != (category['name'] in things)
        ]
        if conflicts:
            print_log(
                f"{self.ann_file} has another 'isthing' of {conflicts} than "
                'thing_classes of metainfo, which decides: things are '
                f'{reprlib.repr(list(things))}.',
                logger='current',
                level=logging.WARNING,
            )

    def parse_image(
        self,
        image: dict,
        annotation: dict | None,
        labels: dict[int, int | None],
    ) -> dict:
        """Return the data of one image; see :meth:`load_data_list`."""
        classes = self._metainfo['classes']
        things = set(self._metainfo['thing_classes'])
        segments = annotation['segments_info'] if annotation else []
        self.check_segments(image, segments, labels)
        return dict(
            img_path=self.image_path(image['file_name']),
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
        """Refuse ids that a PNG cannot hold, and unknown categories."""
        where = f'Image {image["file_name"]} in {self.ann_file}'
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
                    'expected every id once in an image.'
                )
            seen.add(number)
            if segment['category_id'] not in labels:
                raise ValueError(
                    f'{where} has a segment with the category_id '
                    f'{segment["category_id"]!r}: expected one of the '
                    f'categories, {reprlib.repr(list(labels))}.'
                )
