"""Panoptic annotations in the COCO layout."""

import logging
import os.path as osp
import reprlib

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.fileio import load
from mmengine.logging import print_log

from .transforms.load_segments import MAX_ID

# What the entries of the JSON cannot do without.
KEYS = dict(
    images=('id', 'file_name', 'height', 'width'),
    annotations=('image_id', 'file_name', 'segments_info'),
    categories=('id', 'name'),
    segments_info=('id', 'category_id'),
)


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
        ValueError: If the JSON has not the COCO panoptic layout, contradicts
            itself or ``metainfo``, or leaves no picture to train on. The
            message says where and how to mend.
    """

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
        try:
            content = load(self.ann_file, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'Annotation file {self.ann_file} does not exist: check '
                'data_root and ann_file of the dataset.'
            ) from error
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'Annotation file {self.ann_file!r} cannot be read as JSON: '
                f'{error}. Check ann_file of the dataset, or restore the '
                'file.'
            ) from error
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
            self.check_keys('segments_info', annotation['segments_info'])
        for key in ('images', 'annotations', 'categories'):
            self.check_keys(key, content[key])
        return content

    def check_keys(self, name: str, entries: list[dict]) -> None:
        """Refuse entries of the list ``name`` that lack a key."""
        needed = set(KEYS[name])
        for entry in entries:
            if lacking := needed - entry.keys():
                raise ValueError(
                    f'{self.ann_file} has an entry of {name!r} without '
                    f'{sorted(lacking)}: expected {list(KEYS[name])}, got '
                    f'{reprlib.repr(entry)}.'
                )

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
        for key in ('classes', 'thing_classes'):
            if isinstance(value := self._metainfo.get(key), str):
                raise ValueError(
                    f'Expected a list as {key} of metainfo, got the str '
                    f'{value!r}: for one class write [{value!r}].'
                )
        classes = tuple(self._metainfo.get('classes', names))
        if len(set(classes)) < len(classes):
            raise ValueError(
                f'metainfo has classes more than once: {classes}.'
            )
        if absent := [name for name in classes if name not in names]:
            raise ValueError(
                f'Classes {absent} of metainfo are not among the categories '
                f'of {self.ann_file}, which are {names}.'
            )
        if 'thing_classes' not in self._metainfo:
            lacking = [
                c['name']
                for c in categories
                if c['name'] in classes and c.get('isthing') not in (0, 1)
            ]
            if lacking:
                raise ValueError(
                    f"Categories {lacking} of {self.ann_file} lack 'isthing': "
                    'add it (1 for things, 0 for stuff) or list the things as '
                    'thing_classes in metainfo.'
                )
            self._metainfo['thing_classes'] = tuple(
                c['name']
                for c in categories
                if c['name'] in classes and c['isthing']
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
            stuff_classes=tuple(
                name for name in classes if name not in things
            ),
        )
        return {
            category['id']: classes.index(category['name'])
            if category['name'] in classes
            else None
            for category in categories
        }

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

    def filter_data(self) -> list[dict]:
        """Leave out pictures without things, if ``filter_cfg`` says so."""
        config = self.filter_cfg or {}
        if unknown := sorted(set(config) - {'filter_empty_gt'}):
            raise ValueError(
                f'{type(self).__name__} does not know {unknown} of '
                "filter_cfg; it knows 'filter_empty_gt'."
            )
        if self.test_mode or not config.get('filter_empty_gt', False):
            return self.data_list
        kept = [
            data
            for data in self.data_list
            if any(
                segment['is_thing'] and not segment['iscrowd']
                for segment in data['segments_info']
            )
        ]
        if not kept:
            raise ValueError(
                f'No picture in {self.ann_file} has a thing, so that '
                'filter_empty_gt leaves none: remove it from filter_cfg, or '
                'check thing_classes of metainfo.'
            )
        return kept

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the labels in a picture, one for each segment."""
        segments = self.get_data_info(idx)['segments_info']
        return [segment['category'] for segment in segments]

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline on a picture.

        Raises:
            OSError: If a file cannot be read; the message names the picture.
        """
        path = self.get_data_info(idx)['img_path']
        try:
            return super().prepare_data(idx)
        except FileNotFoundError as error:
            if error.filename != path:  # another file, told already
                raise
            raise FileNotFoundError(
                f'Picture {path} does not exist: check data_root and '
                'data_prefix["img"] of the dataset, and "file_name" of the '
                'image in the annotation file.'
            ) from error
        except OSError as error:
            raise OSError(
                f'Picture {path} cannot be read: {error}. Restore the file, '
                'or take it out of the annotation file.'
            ) from error

    def get_data_info(self, idx: int) -> dict:
        """Return the data of one picture, with the class names."""
        return dict(
            super().get_data_info(idx),
            classes=self._metainfo['classes'],
            thing_classes=self._metainfo['thing_classes'],
        )
