"""Annotation sets, and how a folder shows which of them it holds."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from _annotations import read_json, read_png
from _package import errors, file_names, tasks

# Endings of an image's name and of its semantic PNG.
LABEL_NAMES = (
    ('', ''),
    ('', '_mask'),
    ('', '_label'),
    ('', '_seg'),
    ('_leftImg8bit', '_gtFine_labelTrainIds'),
)
# An image in grey has more values than a map of classes.
MOST_CLASSES = 100
CITYSCAPES_JSON, CITYSCAPES_FILE = (
    '_gtFine_leftImg8bit.png',
    '_leftImg8bit.png',
)


@dataclass(frozen=True)
class AnnotationSet:
    """One annotation file, or folder of semantic PNGs, and its images.

    Args:
        name (str): What to call it, as 'panoptic_train.json'.
        kind (str): 'panoptic', 'instance' or 'semantic'.
        image_dir (Path): Folder of the images.
        ann_file (Path, optional): The JSON.
        seg_dir (Path, optional): Folder of the PNGs.
        classes (tuple[str], optional): Those of the config, in its order.
        thing_classes (tuple[str], optional): Those of the config.
        optional_classes (tuple[str]): Those that the annotation need not
            know.
        model_classes (tuple[str], optional): Those of the model, where it
            has a list of its own.
        num_queries (int, optional): Queries of the model.
        num_texts (int, optional): Text slots of the model.
        training (bool): Whether a model learns from it.
        evaluated (bool): Whether results are compared with it.
        num_classes (int, optional): Values of semantic PNGs that are
            classes.
        png_classes (tuple[str], optional): Class of each value of semantic
            PNGs.
        ignore_index (int): Value of semantic PNGs that is no class.
        reduce_zero_label (bool): 0 is no class, and 1 the first of
            ``png_classes``.
        label_name (tuple[str, str]): Endings of the stems of an image and
            of its semantic PNG.
        img_suffix (str, optional): End of the names of images that the
            config asks for; others are not used.
        seg_suffix (str): End of the names of semantic PNGs.
        filter_empty (bool): Whether images without things are left out.
    """

    name: str
    kind: str
    image_dir: Path
    ann_file: Path | None = None
    seg_dir: Path | None = None
    classes: tuple[str, ...] | None = None
    thing_classes: tuple[str, ...] | None = None
    optional_classes: tuple[str, ...] = ()
    model_classes: tuple[str, ...] | None = None
    num_queries: int | None = None
    num_texts: int | None = None
    training: bool = False
    evaluated: bool = False
    num_classes: int | None = None
    png_classes: tuple[str, ...] | None = None
    ignore_index: int = tasks.IGNORE_INDEX
    reduce_zero_label: bool = False
    label_name: tuple[str, str] = ('', '')
    img_suffix: str | None = None
    seg_suffix: str = '.png'
    filter_empty: bool = False

    @property
    def source(self) -> Path | None:
        """The JSON, or the folder of semantic PNGs."""
        return self.ann_file or self.seg_dir

    def image_path(self, file_name: str) -> Path:
        """Return the image that an annotation names."""
        path = self.image_dir / file_name
        if file_name.endswith(CITYSCAPES_JSON) and not os.path.exists(path):
            # Cityscapes names the annotated image, and sorts by city.
            stem = file_name.removesuffix(CITYSCAPES_JSON)
            city = stem.partition('_')[0]
            return self.image_dir / city / f'{stem}{CITYSCAPES_FILE}'
        return path

    def summary(self) -> dict:
        """Return name, kind and paths, for the report."""
        paths = dict(
            annotations=self.ann_file,
            images=self.image_dir,
            pngs=self.seg_dir,
        )
        return dict(
            name=self.name,
            kind=self.kind,
            **{key: str(path) for key, path in paths.items() if path},
        )


def find_sets(folder: Path, **settings) -> list[AnnotationSet]:
    """Find the annotation sets of a folder by what is in its files.

    A JSON with ``segments_info`` is COCO panoptic, one with ``segmentation``
    COCO instances; a folder of grey or palette PNGs that are named as the
    images of another folder is semantic.

    Args:
        folder (Path): Folder of a data set, of any depth.
        settings: Settings that all the sets shall have.

    Raises:
        ValueError: If there is none.
    """
    files = [folder / name for name in file_names.list_files(folder)]
    samples = _Index(
        path for path in files if file_names.image_stem(path.name) is not None
    )
    sets = []
    for path in sorted(p for p in files if p.suffix.lower() == '.json'):
        if found := _coco_set(path, samples, settings):
            sets.append(found)
    sets += _semantic_sets(
        samples,
        {aset.seg_dir for aset in sets},
        {aset.image_dir for aset in sets},
        settings,
    )
    if not sets:
        raise errors.InputError(
            f'{folder} holds no annotations that are known here: expected a '
            'JSON with images, annotations and categories (COCO panoptic or '
            'COCO instances), or folders of grey PNGs named as the images '
            '(semantic).'
        )
    return sets


class _Index:
    """Where the images are: folders, and folders of each name."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.folders: dict[Path, list[Path]] = {}
        self.places: dict[str, list[Path]] = {}
        for path in sorted(paths):
            self.folders.setdefault(path.parent, []).append(path)
            self.places.setdefault(path.name, []).append(path)

    def folder_of(self, names: list[str], near: Path) -> Path | None:
        """Return the folder that the names are relative to.

        Most names must be there; between equals the place whose path is the
        most like ``near`` wins.
        """
        votes = Counter()
        for name in names:
            parts = Path(name).parts
            for path in self.places.get(parts[-1], ()) if parts else ():
                if path.parts[-len(parts) :] == parts:
                    votes[Path(*path.parts[: -len(parts)])] += 1
        if not votes:
            return None
        return max(
            sorted(votes),
            key=lambda place: (votes[place], _likeness(place, near)),
        )


def _likeness(place: Path, near: Path) -> tuple[bool, int]:
    """Prefer a folder of the same name, then one of the same split."""
    split = near.stem.rpartition('_')[2]
    return place == near.with_suffix(''), split in place.parts


def _coco_set(
    path: Path, samples: _Index, settings: dict
) -> AnnotationSet | None:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        # Possibly an annotation file: its own PNG folder tells.
        if path.with_suffix('').is_dir():
            return AnnotationSet(
                path.name, 'panoptic', path.parent, path, path.with_suffix('')
            )
        return None
    kind = coco_kind(content)
    if kind is None:
        return None
    names = _file_names(content['images'])
    cityscapes = [
        f'{name.partition("_")[0]}/'
        f'{name.removesuffix(CITYSCAPES_JSON)}{CITYSCAPES_FILE}'
        for name in names
        if name.endswith(CITYSCAPES_JSON)
    ]
    image_dir = samples.folder_of(cityscapes or names, path)
    seg_dir = None
    if kind == 'panoptic':
        png_names = _file_names(content['annotations'])
        own = path.with_suffix('')
        seg_dir = own if own.is_dir() else samples.folder_of(png_names, path)
        if seg_dir == image_dir and not set(names).isdisjoint(png_names):
            seg_dir = None  # these are the images themselves
    return AnnotationSet(
        name=path.name,
        kind=kind,
        image_dir=image_dir or path.parent,
        ann_file=path,
        seg_dir=(seg_dir or path.with_suffix(''))
        if kind == 'panoptic'
        else None,
        training='train' in path.stem.lower(),
        evaluated='train' not in path.stem.lower(),
        **settings,
    )


def coco_kind(content) -> str | None:
    """Return 'panoptic' or 'instance', or None for another JSON."""
    keys = ('images', 'annotations', 'categories')
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in keys
    ):
        return None
    annotations = [a for a in content['annotations'] if isinstance(a, dict)]
    if any('segments_info' in a for a in annotations):
        return 'panoptic'
    if any('segmentation' in a or 'bbox' in a for a in annotations):
        return 'instance'
    # Without any annotation only the categories tell.
    named = [c for c in content['categories'] if isinstance(c, dict)]
    return 'panoptic' if any('isthing' in c for c in named) else 'instance'


def _file_names(entries: list) -> list[str]:
    """Return the file names of some entries, spread over all."""
    step = max(1, len(entries) // 50)
    return [
        entry['file_name']
        for entry in entries[::step]
        if isinstance(entry, dict) and isinstance(entry.get('file_name'), str)
    ]


def _semantic_sets(
    samples: _Index, pngs: set, images: set, settings: dict
) -> list[AnnotationSet]:
    sets = []
    for folder, paths in samples.folders.items():
        if folder in pngs or folder in images:
            continue
        for ending in LABEL_NAMES:
            labels = [
                path
                for path in paths
                if path.suffix.lower() == '.png'
                and path.stem.endswith(ending[1])
            ]
            if not labels or not _seem_labels(labels):
                continue
            image_dir = _images_of(labels, ending, folder, samples, images)
            if image_dir:
                sets.append(
                    AnnotationSet(
                        name=folder.name,
                        kind='semantic',
                        image_dir=image_dir,
                        seg_dir=folder,
                        training='train' in str(folder.name).lower(),
                        evaluated='train' not in str(folder.name).lower(),
                        ignore_index=tasks.ignore_index(
                            settings.get('num_classes') or 0
                        ),
                        label_name=ending,
                        **settings,
                    )
                )
                break
    return sets


def _seem_labels(paths: list[Path]) -> bool:
    """Whether a few PNGs all look like maps of classes."""
    step = max(1, len(paths) // 3)
    readable = 0
    for path in paths[::step]:
        try:
            png = read_png(path)
        except (OSError, ValueError):
            continue
        readable += 1
        distinct = len(set(png.values.ravel().tolist()))
        if png.kind not in ('grey', 'palette') or distinct > MOST_CLASSES:
            return False
    return readable > 0


def _images_of(
    labels: list[Path],
    ending: tuple[str, str],
    folder: Path,
    samples: _Index,
    images: set[Path],
) -> Path | None:
    """Return the folder whose images are named as the labels."""
    stems = {path.stem.removesuffix(ending[1]) + ending[0] for path in labels}
    votes = {
        other: sum(path.stem in stems for path in paths)
        for other, paths in samples.folders.items()
        if other != folder
        and not (
            all(path.suffix.lower() == '.png' for path in paths)
            and _seem_labels(paths)
        )
    }
    best = max(
        votes,
        default=None,
        key=lambda other: (
            votes[other],
            # Images elsewhere, then no PNGs, which may be annotations.
            other in images,
            any(p.suffix.lower() != '.png' for p in samples.folders[other]),
            other.name == folder.name,
        ),
    )
    return best if best and votes[best] >= (len(labels) + 1) // 2 else None
