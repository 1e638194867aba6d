"""What a folder of data holds; foreign exports are converted beside it.

The data itself is never changed: converted annotations, and copies of JSON
files whose image names lead nowhere, go to a folder of their own.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from _annotations import read_json, write_json
from _package import coco_layout, errors, file_names
from dataset_validation import AnnotationSet, find_sets

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1] / 'dataset_converters')
)
import ade20k  # noqa: E402
import cityscapes  # noqa: E402
import label_studio  # noqa: E402
import labelme  # noqa: E402
import voc  # noqa: E402
from _common import Run  # noqa: E402

KNOWN = (
    'COCO panoptic or instances (also of CVAT, Label Studio and Roboflow), '
    'label maps, Cityscapes, ADE20K, VOC and the segmentation masks of CVAT, '
    'brush masks of Label Studio, or LabelMe'
)


class Foreign(NamedTuple):
    """A layout that is converted.

    Attributes:
        name (str): What to call it.
        is_here (Callable): Whether a list of file names, relative to the
            folder, shows it.
        convert (Callable): Converts a folder into another one, with the
            options to run.
    """

    name: str
    is_here: Callable[[Sequence[str]], bool]
    convert: Callable[[Path, Path, Run], None]


def find_annotations(
    folder: Path, converted: Path
) -> tuple[str, list[AnnotationSet], Path]:
    """Find the annotation sets of a folder.

    Args:
        folder (Path): Of the data.
        converted (Path): Folder for what has to be converted.

    Returns:
        tuple: The layout in words, the sets, and the folder whose names say
        which one is for training.

    Raises:
        FileNotFoundError: If the folder or images do not exist.
        ValueError: If no layout is recognised.
    """
    if not folder.is_dir():
        raise errors.MissingFileError(
            f'{folder} does not exist: expected a folder with images and '
            f'their annotations, {KNOWN}.'
        )
    folder = folder.resolve()
    names = file_names.list_files(folder)
    for foreign in FOREIGN:
        if not foreign.is_here(names):
            continue
        unfinished = any(converted.rglob('*.part'))
        _make(converted, folder)
        run = Run(min(8, os.cpu_count() or 1), overwrite=not unfinished)
        with errors.user_errors():  # converters refuse data by ValueError
            foreign.convert(folder, converted, run)
        sets = [_placed(aset, folder) for aset in _found(converted)]
        return f'{foreign.name}, converted to {converted}', sets, converted
    sets = [_mended(aset, folder, names, converted) for aset in _found(folder)]
    return _in_words(sets), sets, folder


def _found(folder: Path) -> list[AnnotationSet]:
    try:
        sets = find_sets(folder)
    except errors.InputError as error:
        raise errors.InputError(
            f'{folder} holds no annotations that are known here: expected '
            f'{KNOWN}.'
        ) from error
    used = [aset for aset in sets if _has_annotations(aset)]
    if not used:
        raise errors.InputError(
            f'The annotations of {folder} are empty: {sets[0].source}.'
        )
    return used


def _make(converted: Path, folder: Path) -> None:
    """Make the folder for what is converted, which is not that of the data.

    Raises:
        ValueError: If it lies in the data, where it would be found as part
            of it.
    """
    if folder in converted.parents:
        raise errors.InputError(
            f'its annotation has to be converted, beside the config, and '
            f'{converted.parent} is in the data: give a config elsewhere as '
            '--out.'
        )
    converted.mkdir(parents=True, exist_ok=True)


def _placed(aset: AnnotationSet, folder: Path) -> AnnotationSet:
    """Return a converted set, whose images lie where they were."""
    if aset.ann_file is None:
        return aset
    first = _read(aset.ann_file)['images'][0]['file_name']
    if aset.image_path(first).is_file():
        return aset
    return replace(aset, image_dir=folder)


def _has_annotations(aset: AnnotationSet) -> bool:
    """Whether it is more than a list of images, as of COCO's test split."""
    return aset.ann_file is None or bool(_read(aset.ann_file)['annotations'])


def _read(path: Path) -> dict:
    """Return what an annotation file holds.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise errors.InputError(f'{path} cannot be read: {error}') from error
    assert isinstance(content, dict), 'otherwise it is no set'
    return content


def _in_words(sets: Sequence[AnnotationSet]) -> str:
    names = dict(
        panoptic='COCO panoptic',
        instance='COCO instances',
        semantic='label maps',
    )
    kinds = dict.fromkeys(names[aset.kind] for aset in sets)
    return ' and '.join(kinds)


# ------------------------------------------------------------------ images


def _mended(
    aset: AnnotationSet, folder: Path, names: list[str], converted: Path
) -> AnnotationSet:
    """Return the set, or one of a JSON whose images can all be found.

    Exports name images by their place on a server, or with the backslashes
    of Windows; panoptic files may list images without annotation, which
    training leaves out.
    """
    if aset.ann_file is None:
        return aset
    content = _read(aset.ann_file)
    _require_masks(content, aset)
    with errors.user_errors():
        coco_layout.require_coco(content, aset.kind, str(aset.ann_file))
    images = content['images']
    if aset.kind == 'panoptic':
        annotated = {a.get('image_id') for a in content['annotations']}
        images = [i for i in images if i.get('id') in annotated]
    places = _find_images(aset, images, folder, names)
    if places is None and len(images) == len(content['images']):
        return aset
    if places is not None:
        images = [
            dict(image, file_name=place)
            for image, place in zip(images, places, strict=True)
        ]
    inside = aset.ann_file.relative_to(folder)
    target = converted / '_'.join(inside.parts)
    _make(converted, folder)
    write_json(target, dict(content, images=images))
    return replace(
        aset,
        ann_file=target,
        image_dir=aset.image_dir if places is None else folder,
    )


def _find_images(
    aset: AnnotationSet, images: list[dict], folder: Path, names: list[str]
) -> list[str] | None:
    """Return where the images are, below the folder; None if as written.

    Raises:
        FileNotFoundError: If some cannot be found.
    """
    written = [str(image.get('file_name')) for image in images]
    if all((aset.image_dir / name).is_file() for name in written):
        return None
    by_name: dict[str, list[str]] = {}
    for name in names:
        if file_names.image_stem(name) is not None:
            by_name.setdefault(PurePosixPath(name).name, []).append(name)
    places, missing = [], []
    for name in written:
        path = aset.image_path(name)
        last = re.split(r'[/\\]', name)[-1]
        found = by_name.get(last, [])
        if path.is_file():
            places.append(path.relative_to(folder).as_posix())
        elif len(found) == 1:
            places.append(found[0])
        else:
            missing.append(name)
    if missing:
        raise errors.MissingFileError(
            f'{len(missing)} of {len(images)} images of {aset.ann_file} are '
            f'not below {folder}, or several have the name; the first is '
            f'{missing[0]}. Export the images, too, or copy them there.'
        )
    return places


def _require_masks(content: dict, aset: AnnotationSet) -> None:
    """Refuse boxes without masks, which some exports hold."""
    if aset.kind != 'instance':
        return
    entries = content['annotations']
    lacking = [
        entry
        for entry in entries
        if isinstance(entry, dict) and not entry.get('segmentation')
    ]
    if lacking:
        raise errors.InputError(
            f'{len(lacking)} of {len(entries)} annotations of '
            f'{aset.ann_file} have no mask: segmentation is missing or '
            'empty, as in an export for object detection. Export for '
            'instance segmentation, or remove these annotations.'
        )


# ----------------------------------------------------------------- foreign


def _convert_cityscapes(folder: Path, target: Path, run: Run) -> None:
    """Make panoptic annotations in a folder of links to the release."""
    gt = target / 'gtFine'
    gt.mkdir(exist_ok=True)
    _link(folder / 'leftImg8bit', target / 'leftImg8bit')
    for split in ('train', 'val'):
        if (folder / 'gtFine' / split).is_dir():
            _link(folder / 'gtFine' / split, gt / split)
            samples = cityscapes.find_samples(target, split)
            cityscapes.make_panoptic(target, split, samples, run)


def _convert_ade20k(folder: Path, target: Path, run: Run) -> None:
    """Make panoptic annotations in a folder of links to the release."""
    for name in ('images', 'annotations', 'annotations_instance'):
        _link(folder / name, target / name)
    for split, name in ade20k.FOLDERS.items():
        if (folder / 'images' / name).is_dir():
            samples = ade20k.with_instances(
                ade20k.find_samples(target, split), allow_missing=True
            )
            ade20k.make_panoptic(target, split, samples, run)


def _link(source: Path, place: Path) -> None:
    if not place.is_symlink():
        place.symlink_to(source, target_is_directory=True)


def _is_cityscapes(names: Sequence[str]) -> bool:
    return any(
        name.startswith('gtFine/') and name.endswith('_instanceIds.png')
        for name in names
    ) and not any('cityscapes_panoptic' in name for name in names)


def _is_ade20k(names: Sequence[str]) -> bool:
    return any(
        name.startswith('annotations_instance/training/') for name in names
    ) and not any(name.startswith('ade20k_panoptic') for name in names)


# In the order in which they are looked for.
FOREIGN = (
    Foreign('Cityscapes', _is_cityscapes, _convert_cityscapes),
    Foreign('ADE20K', _is_ade20k, _convert_ade20k),
    Foreign('VOC masks', voc.is_here, voc.convert),
    Foreign(
        'brush masks of Label Studio',
        label_studio.is_here,
        label_studio.convert,
    ),
    Foreign('LabelMe', labelme.is_here, labelme.convert),
)
