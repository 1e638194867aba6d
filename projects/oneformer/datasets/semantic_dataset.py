"""Semantic annotations: one PNG of class labels for each image."""

import logging
import os.path as osp
import reprlib
from collections.abc import Sequence

from mmdet.registry import DATASETS
from mmengine.logging import print_log
from PIL import Image

from ..metainfo import repeated_names
from ..tasks import ignore_index as usual_ignore_index
from .annotation_png import READ_ERRORS
from .file_names import pair_label_maps
from .segments_dataset import SegmentsDataset


@DATASETS.register_module()
class OneFormerSemanticDataset(SegmentsDataset):
    """Images and PNGs with the class of every pixel, in two folders.

    It supervises only the semantic task. Value ``i`` of a PNG is the ``i``-th
    of ``png_classes``, and ``ignore_index`` is void; other values are refused.
    By default void counts as unlabelled.

    ``data_prefix`` has ``img`` and ``seg``; a PNG has the path of its image
    below these folders, with another suffix.

    Args:
        png_classes (Sequence[str], optional): Class of each value, by default
            ``classes`` of ``metainfo``.
        img_suffix (str, optional): End of the names of images, in upper or
            lower case; by default that of any image format.
        seg_map_suffix (str): End of the names of PNGs, in its place, in
            upper or lower case.
        ignore_index (int, optional): Value of unlabelled pixels; by default
            255, or 65535 if 255 is a class.
        reduce_zero_label (bool): Whether 0 is unlabelled, too, and value 1 is
            the first class.
        void (str): See :class:`SegmentsDataset`.
        **kwargs: Arguments of :class:`SegmentsDataset`.

    Raises:
        FileNotFoundError: If a folder does not exist, or a PNG is missing.
        ValueError: If classes contradict one another, or there is no image.
    """

    annotation = 'semantic'
    tasks = ('semantic',)

    def __init__(
        self,
        *args,
        png_classes: Sequence[str] | None = None,
        img_suffix: str | None = None,
        seg_map_suffix: str = '.png',
        ignore_index: int | None = None,
        reduce_zero_label: bool = False,
        void: str = 'ignore',
        **kwargs,
    ) -> None:
        self.png_classes = png_classes
        self.img_suffix = img_suffix
        self.ignore_index = ignore_index
        self.reduce_zero_label = reduce_zero_label
        super().__init__(
            *args, seg_map_suffix=seg_map_suffix, void=void, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """List the images that have a PNG.

        Returns:
            list[dict]: Per image ``img_path``, ``img_id`` (its name without
            suffix), ``height``, ``width``, ``seg_map_path``,
            ``label_of_value`` (label, or None, of each value but
            ``ignore_index``), ``ignore_index``, ``things`` (labels) and an
            empty ``segments_info``, which loading fills.
        """
        values = self.settle_values()
        folders = self.data_prefix['img'], self.data_prefix['seg']
        for key, folder in zip(('img', 'seg'), folders, strict=True):
            if not osp.isdir(folder):
                raise FileNotFoundError(
                    f'Folder {folder} does not exist: check data_root and '
                    f'data_prefix[{key!r}] of the dataset.'
                )
        pairs, _ = pair_label_maps(
            *folders, self.img_suffix, self.seg_map_suffix
        )
        if repeated := repeated_names(pair.stem for pair in pairs):
            raise ValueError(
                f'{folders[0]} has images that differ in their ending only: '
                f'{reprlib.repr(repeated)}. Expected one for each PNG: rename '
                'or remove the others, or set img_suffix.'
            )
        data_list, missing = [], []
        for pair in pairs:
            if pair.label_map is None:
                missing.append(pair.image)
                continue
            png = osp.join(folders[1], pair.label_map)
            width, height = self.read_size(png)
            data_list.append(
                dict(
                    img_path=osp.join(folders[0], pair.image),
                    img_id=pair.stem,
                    height=height,
                    width=width,
                    seg_map_path=png,
                    segments_info=[],
                    **values,
                )
            )
        self.report_missing(missing, len(data_list))
        return data_list

    @property
    def source(self) -> str:
        """What messages call the annotation."""
        return self.data_prefix['seg']

    def settle_values(self) -> dict:
        """Set the classes, and return the meaning of the values of a PNG."""
        names = self.png_classes or self._metainfo.get('classes')
        if names is None or isinstance(names, str):
            raise ValueError(
                'Expected the classes of the PNGs as a list, png_classes of '
                f'the dataset or classes of metainfo, got {names!r}.'
            )
        labels = self.settle_classes(list(names), None, 'png_classes')
        values = [labels[name] for name in names]
        if self.reduce_zero_label:
            values = [None, *values]
        ignored = self.ignore_index
        if ignored is None:
            ignored = usual_ignore_index(len(values))
        classes = self._metainfo['classes']
        things = self._metainfo['thing_classes']
        return dict(
            label_of_value=values,
            ignore_index=ignored,
            things=[classes.index(name) for name in things],
        )

    def read_size(self, path: str) -> tuple[int, int]:
        """Return width and height of a PNG, from its first bytes."""
        try:
            with Image.open(path) as png:
                return png.size
        except FileNotFoundError as error:  # a link to nothing
            raise FileNotFoundError(
                f'Label map {path} is a link to a file that does not exist.'
            ) from error
        except READ_ERRORS as error:
            raise ValueError(
                f'{path} cannot be read as a PNG: {error}. Restore the file.'
            ) from error

    def report_missing(self, missing: list[str], found: int) -> None:
        """Warn of images without a PNG; refuse a folder that has no other."""
        where = (
            f'{self.data_prefix["img"]} (*{self.img_suffix or ""}) and '
            f'{self.data_prefix["seg"]} (*{self.seg_map_suffix})'
        )
        if not found:
            raise ValueError(
                f'No image with its PNG in {where}: check data_prefix, '
                f'img_suffix and seg_map_suffix; {len(missing)} images have '
                'none.'
            )
        if missing:
            print_log(
                f'{len(missing)} images in {where} have no PNG and are left '
                f'out, the first is {missing[0]}.',
                logger='current',
                level=logging.WARNING,
            )
