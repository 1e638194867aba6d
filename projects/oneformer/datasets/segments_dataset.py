"""What the datasets of all kinds of annotation have in common."""

import logging
import os.path as osp
import reprlib
from collections.abc import Mapping, Sequence

import cv2
from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from ..drawing import class_colors
from ..errors import user_errors
from ..images import (
    DECODER_ERRORS,
    ImageError,
    ImageNotFoundError,
    printable,
)
from ..metainfo import check_classes, class_list, repeated_names
from ..tasks import TASKS
from .annotation_files import read_json
from .coco_layout import Coco, require_coco
from .file_names import file_stem

MISSING_CLASSES = ('error', 'ignore', 'background')
VOID = ('background', 'ignore')
# Of a process, about files it cannot read: the first, then every so many.
_FIRST_MESSAGES, _MESSAGE_INTERVAL = 10, 100
_MAX_IN_A_ROW = 20


class SegmentsDataset(BaseDetDataset):
    """Images with labelled segments, of whatever kind of annotation.

    All datasets give their samples the same keys, so that sets of several
    kinds train together in a ``ConcatDataset``, with one pipeline.

    Classes are matched by name. ``metainfo`` may give ``classes`` and
    ``thing_classes``, those of the model; what is missing is read from the
    annotation. Segments of other classes become void.

    What an annotation does not label is not counted as an error of the
    model:

    - a class of ``metainfo`` that the annotation does not know is refused as
      a likely misspelling, unless ``missing_classes`` says how to take it:
      with ``'ignore'`` a query that finds it is not penalised, with
      ``'background'`` it counts as absent from the images;
    - void pixels, and those of crowds, are background of every mask with
      ``void='background'``, as in the reference, and have no part in matching
      and mask losses with ``void='ignore'``.

    Args:
        missing_classes (str): ``'error'``, ``'ignore'`` or ``'background'``.
        void (str): ``'background'`` or ``'ignore'``.
        skip_unreadable (bool): In training, draw another image in place of
            one whose files cannot be read. They are counted in ``skipped``
            and logged: the first ten of a process, then every hundredth.
            After twenty in a row training stops.
        **kwargs: Arguments of mmdet's ``BaseDetDataset``.

    Raises:
        ValueError: If an option is unknown.
    """

    #: Tasks that the annotation can supervise.
    tasks: tuple[str, ...] = TASKS
    #: How the annotation is read: panoptic, instance or semantic.
    annotation: str

    def __init__(
        self,
        *args,
        missing_classes: str = 'error',
        void: str = 'background',
        skip_unreadable: bool = False,
        **kwargs,
    ) -> None:
        for name, value, known in (
            ('missing_classes', missing_classes, MISSING_CLASSES),
            ('void', void, VOID),
        ):
            if value not in known:
                raise ValueError(
                    f'Expected {name} of the dataset to be one of {known}, '
                    f'got {value!r}.'
                )
        self.missing_classes = missing_classes
        self.void = void
        self.skip_unreadable = skip_unreadable
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._unlabelled: tuple[int, ...] = ()
        super().__init__(*args, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping | None = None) -> dict:
        """Read ``metainfo``, with colors for its classes.

        mmdet's inferencers ask a dataset for them before it is read.
        """
        read = super()._load_metainfo(metainfo)
        if read.get('classes'):
            read.setdefault('palette', palette(read['classes']))
        return read

    def full_init(self) -> None:
        """Read the annotation.

        If images to test share a name, in different folders, ``metainfo``
        lists these names as ``repeated_names``, in lower case, so that
        metrics name result files apart.

        Raises:
            UserError: If it cannot be used.
        """
        if self._fully_initialized:
            return
        with user_errors():
            super().full_init()
        if self.test_mode and (
            repeated := repeated_names(
                file_stem(self.get_data_info(idx)['img_path']).casefold()
                for idx in range(len(self))
            )
        ):
            self._metainfo['repeated_names'] = tuple(repeated)

    def _join_prefix(self) -> None:
        """Find files in ``data_root`` where ``data_prefix`` says nothing."""
        for key in ('img', 'seg'):
            self.data_prefix.setdefault(key, '')
        super()._join_prefix()

    def read_json(self) -> object:
        """Return what the annotation file holds."""
        return read_json(
            self.ann_file,
            'data_root and ann_file of the dataset',
            self.backend_args,
        )

    def read_entries(self, raw: object) -> Coco:
        """Return the entries of an annotation file, values read.

        Values of another type than COCO's are read by their meaning, with a
        warning.

        Args:
            raw (object): What the JSON holds.

        Raises:
            ValueError: If an entry cannot be used, or images or categories
                share an id or a name.
        """
        content, warning = require_coco(raw, self.annotation, self.ann_file)
        if warning:
            print_log(warning, logger='current', level=logging.WARNING)
        for part, key in (
            ('images', 'id'),
            ('categories', 'id'),
            ('categories', 'name'),
        ):
            entries = getattr(content, part)
            if repeated := repeated_names(entry[key] for entry in entries):
                raise ValueError(
                    f'{self.ann_file} has {part} with the same {key}: '
                    f'{reprlib.repr(repeated)}. Expected every {key} once.'
                )
        return content

    def settle_classes(
        self,
        names: list[str],
        things: list[str] | None,
        source: str,
    ) -> dict[str, int | None]:
        """Settle ``metainfo``, given the classes of the annotation.

        Args:
            names (list[str]): Classes of the annotation, in its order.
            things (list[str] | None): Those that are things, or None if the
                annotation does not say.
            source (str): What messages call the annotation.

        Returns:
            dict[str, int | None]: Label of each name, None where segments
            become void.

        Raises:
            ValueError: If the classes contradict one another.
        """
        classes = class_list(self._metainfo, 'classes')
        classes = tuple(names) if classes is None else classes
        thing_classes = class_list(self._metainfo, 'thing_classes')
        check_classes(classes, thing_classes or ())
        self.check_missing(classes, names, source)
        if thing_classes is None:
            if things is None:
                raise ValueError(
                    f'{source} does not say which classes are things: list '
                    'them as thing_classes in metainfo.'
                )
            thing_classes = tuple(name for name in things if name in classes)
        # OpenMMLab's visualizer needs one.
        self._metainfo.setdefault('palette', palette(classes))
        self._metainfo.update(
            classes=classes,
            thing_classes=thing_classes,
            stuff_classes=tuple(
                name for name in classes if name not in thing_classes
            ),
        )
        return {
            name: classes.index(name) if name in classes else None
            for name in names
        }

    def check_missing(
        self, classes: tuple[str, ...], names: list[str], source: str
    ) -> None:
        """Note the classes that the annotation lacks, or refuse them."""
        absent = [name for name in classes if name not in names]
        if absent and self.missing_classes == 'error':
            raise ValueError(
                f'Classes {absent} of metainfo are not among the categories '
                f'of {source}, which are {names}. If they are not misspelt, '
                "set missing_classes='ignore' (not labelled there) or "
                "'background' (never in these images)."
            )
        if not any(name in names for name in classes):
            raise ValueError(
                f'None of the classes of metainfo, {classes}, is among the '
                f'categories of {source}, which are {names}.'
            )
        if self.missing_classes == 'ignore':
            self._unlabelled = tuple(classes.index(name) for name in absent)

    def filter_data(self) -> list[dict]:
        """Leave out images without things, if ``filter_cfg`` says so."""
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
                f'No image in {self.ann_file} has a thing, so that '
                'filter_empty_gt leaves none: remove it from filter_cfg, or '
                'check thing_classes of metainfo.'
            )
        return kept

    def image_path(self, file_name: str) -> str:
        """Return the path of an image."""
        return osp.join(self.data_prefix['img'], file_name)

    @property
    def source(self) -> str:
        """What messages call the annotation."""
        return self.ann_file

    def segments_of(self, idx: int) -> list[dict]:
        """Return the segments of an image, as far as they are read."""
        return super().get_data_info(idx)['segments_info']

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the labels in an image, one for each segment."""
        return [segment['category'] for segment in self.segments_of(idx)]

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline on an image.

        Returns:
            dict | None: The sample, or None if a file cannot be read and
            ``skip_unreadable`` is set, which draws another image.

        Raises:
            OSError: If a file cannot be read; the message names the image.
            ValueError: If the annotation of the image is wrong.
            RuntimeError: If a transform fails otherwise; this is never
                skipped.
        """
        try:
            with user_errors():
                sample = self.run_pipeline(idx)
        except (OSError, ValueError) as error:
            self._skipped_in_a_row += 1
            if (
                not self.skip_unreadable
                or self.test_mode
                or self._skipped_in_a_row > _MAX_IN_A_ROW
            ):
                raise
            self.skipped += 1
            if (
                self.skipped <= _FIRST_MESSAGES
                or self.skipped % _MESSAGE_INTERVAL == 0
            ):
                print_log(
                    f'Skipped an image, number {self.skipped} of this '
                    f'process: {error}',
                    logger='current',
                    level=logging.WARNING,
                )
            return None
        self._skipped_in_a_row = 0
        return sample

    def run_pipeline(self, idx: int) -> dict:
        """Run the pipeline; whatever it raises names the image."""
        path = self.get_data_info(idx)['img_path']
        try:
            return super().prepare_data(idx)
        except Exception as error:
            named = _name_error(error, path)
            if named is error:
                raise
            raise named from error

    def get_data_info(self, idx: int) -> dict:
        """Return the data of one image, with what holds for all."""
        return dict(
            super().get_data_info(idx),
            annotation=self.annotation,
            classes=self._metainfo['classes'],
            thing_classes=self._metainfo['thing_classes'],
            supervised_tasks=self.tasks,
            unlabelled_classes=self._unlabelled,
            void=self.void,
        )


def palette(classes: Sequence[str]) -> list[tuple[int, ...]]:
    """Return an RGB color for each class."""
    return list(map(tuple, class_colors(len(classes)).tolist()))


def _name_error(error: Exception, path: str) -> Exception:
    """Return an error of a pipeline so that it names the image.

    Args:
        error (Exception): What a step raised: our transforms name files, mmcv
            and mmdet do not.
        path (str): The image.
    """
    name = printable(path)
    if isinstance(error, FileNotFoundError):
        if not isinstance(error, ImageError) and error.filename != path:
            return error  # another file, which it names
        return ImageNotFoundError(
            f'Image {name} does not exist: check data_root and '
            'data_prefix["img"] of the dataset, and "file_name" of the '
            'image in the annotation file.'
        )
    if isinstance(error, ImageError):
        return ImageError(f'{error} Or take it out of the annotation file.')
    if _is_read_error(error):
        reason = str(error).rstrip('.')
        return ImageError(
            f'Image {name} cannot be read: {reason}. Restore the file, or '
            'take it out of the annotation file.'
        )
    if isinstance(error, ValueError):
        if name in str(error):
            return error
        return ValueError(f'Image {name}: {error}')
    return RuntimeError(
        f'A transform fails on image {name}: {type(error).__name__}: {error}'
    )


def _is_read_error(error: Exception) -> bool:
    """Whether it is what mmcv's reader raises on a damaged image."""
    if isinstance(error, AssertionError | cv2.error):
        return 'failed to load image' in str(error) or 'imdecode' in str(error)
    return isinstance(error, (OSError, *DECODER_ERRORS))
