"""Instance annotations in the COCO layout, things only."""

import logging
import reprlib

from mmdet.registry import DATASETS
from mmengine.logging import print_log

from .coco_layout import Coco
from .coco_masks import check_segmentation
from .segments_dataset import SegmentsDataset


@DATASETS.register_module()
class OneFormerInstanceDataset(SegmentsDataset):
    """Images with a mask per object, and one JSON in the COCO layout.

    All its classes are things, and it supervises only the instance task, since
    the pixels between the objects are not annotated. Masks may overlap.

    Classes of ``metainfo`` that are stuff need not be in the JSON;
    ``missing_classes`` applies to thing classes that it lacks. Without
    ``metainfo`` the classes are the ``categories`` of the JSON.

    ``data_prefix`` has ``img`` for the images. ``filter_cfg`` is that of
    :class:`OneFormerPanopticDataset`; so are the other arguments.

    Raises:
        FileNotFoundError: If the JSON does not exist.
        ValueError: If the JSON does not have the COCO layout, contradicts
            itself or ``metainfo``, or leaves no image.
    """

    annotation = 'instance'
    tasks = ('instance',)

    def load_data_list(self) -> list[dict]:
        """Read the annotation file.

        Returns:
            list[dict]: Per image ``img_path``, ``img_id``, ``height``,
            ``width`` and ``segments_info``, a list of ``category`` (label),
            ``is_thing``, ``iscrowd`` and ``segmentation`` (polygons or run
            lengths, as in the file).
        """
        content = self.read_layout()
        labels = self.read_categories(content.categories)
        images = {image['id']: image for image in content.images}
        segments: dict = {number: [] for number in images}
        for annotation in content.annotations:
            image = images.get(annotation['image_id'])
            if image is None:
                raise ValueError(
                    f'{self.ann_file} has an annotation (id '
                    f'{annotation["id"]!r}) of the image '
                    f'{annotation["image_id"]!r}, which is not among its '
                    'images: add the image or remove the annotation.'
                )
            segment = self.parse_annotation(annotation, labels)
            if segment is not None:
                self.check_mask(annotation, image)
                segments[image['id']].append(segment)
        if not content.images:
            raise ValueError(f'{self.ann_file} lists no images.')
        return [
            dict(
                img_path=self.image_path(image['file_name']),
                img_id=image['id'],
                height=image['height'],
                width=image['width'],
                segments_info=segments[image['id']],
            )
            for image in content.images
        ]

    def read_layout(self) -> Coco:
        """Return what the annotation file holds, its kind checked."""
        raw = self.read_json()
        annotations = raw.get('annotations') if isinstance(raw, dict) else None
        if isinstance(annotations, list) and any(
            isinstance(entry, dict) and 'segments_info' in entry
            for entry in annotations
        ):
            raise ValueError(
                f"{self.ann_file} has annotations with 'segments_info', "
                'which are panoptic: use OneFormerPanopticDataset.'
            )
        return self.read_entries(raw)

    def read_categories(self, categories: list[dict]) -> dict[int, int | None]:
        """Set the classes, and return the label of each category id."""
        names = [category['name'] for category in categories]
        labels = self.settle_classes(names, names, self.ann_file)
        return {c['id']: labels[c['name']] for c in categories}

    def check_missing(
        self, classes: tuple[str, ...], names: list[str], source: str
    ) -> None:
        """Ignore stuff, which is not part of the instance task."""
        things = self._metainfo.get('thing_classes', classes)
        stuff = [name for name in names if name in classes]
        if wrong := [name for name in stuff if name not in things]:
            print_log(
                f'Classes {wrong} of {source} are stuff by metainfo: their '
                'segments are left out.',
                logger='current',
                level=logging.WARNING,
            )
        known = [*names, *(name for name in classes if name not in things)]
        super().check_missing(classes, known, source)

    def parse_annotation(
        self, annotation: dict, labels: dict[int, int | None]
    ) -> dict | None:
        """Return a segment, or None if its class is not learned."""
        number = annotation['category_id']
        if number not in labels:
            raise ValueError(
                f'{self.ann_file} has an annotation (id '
                f'{annotation["id"]!r}, image '
                f'{annotation["image_id"]!r}) with the category_id '
                f'{number!r}: expected one of {reprlib.repr(list(labels))}.'
            )
        label = labels[number]
        things = self._metainfo['thing_classes']
        if label is None or self._metainfo['classes'][label] not in things:
            return None
        return dict(
            category=label,
            is_thing=True,
            iscrowd=bool(annotation.get('iscrowd', 0)),
            segmentation=annotation['segmentation'],
        )

    def check_mask(self, annotation: dict, image: dict) -> None:
        """Refuse a mask that is not polygons or run lengths of the image."""
        size = image['height'], image['width']
        try:
            check_segmentation(annotation['segmentation'], size)
        except ValueError as error:
            raise ValueError(
                f'{self.ann_file} has an annotation (id '
                f'{annotation["id"]!r}, image {image["file_name"]}) that '
                f'cannot be drawn: {error}. Mend or remove it.'
            ) from error
