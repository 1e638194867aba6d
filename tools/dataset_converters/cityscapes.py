"""Make panoptic annotations and train ids of Cityscapes' fine labels.

    python tools/dataset_converters/cityscapes.py data/cityscapes

reads leftImg8bit/{split}/CITY/ and, in gtFine/{split}/CITY/, the files
``*_gtFine_instanceIds.png`` and ``*_gtFine_labelIds.png``. It makes

    gtFine/cityscapes_panoptic_{split}.json   and PNGs in the folder of that
                                              name
    gtFine/{split}/CITY/*_gtFine_labelTrainIds.png   0 to 18, 255 is void

They are what ``csCreatePanopticImgs`` and ``csCreateTrainIdLabelImgs`` of
cityscapesscripts make, but for one thing: in the JSON, ``file_name`` of an
image is where the image is, ``aachen/aachen_000000_000019_leftImg8bit.png``.
Where the official JSON is there already, only these names are changed, and
the original is kept as ``cityscapes_panoptic_{split}_official.json``.

A pixel of instanceIds below 1000 is a label id, any other is 1000 times the
label id plus the number of the instance. Labels that the benchmark ignores
become void; a thing that is labelled without a number is a crowd.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _annotations import write_ids, write_json, write_png  # noqa: E402
from _common import (  # noqa: E402
    Outputs,
    Run,
    make_files,
    make_jsons,
    make_parser,
    read_png,
    require_folders,
    run_command,
    total_size,
)
from _panoptic import IGNORE_INDEX, find_segments, read_panoptic  # noqa: E402

SPLITS = ('train', 'val', 'test')


class Label(NamedTuple):
    """A class that the benchmark evaluates, in the order of train ids."""

    id: int
    name: str
    category: str
    isthing: int
    color: tuple[int, int, int]


LABELS = (
    Label(7, 'road', 'flat', 0, (128, 64, 128)),
    Label(8, 'sidewalk', 'flat', 0, (244, 35, 232)),
    Label(11, 'building', 'construction', 0, (70, 70, 70)),
    Label(12, 'wall', 'construction', 0, (102, 102, 156)),
    Label(13, 'fence', 'construction', 0, (190, 153, 153)),
    Label(17, 'pole', 'object', 0, (153, 153, 153)),
    Label(19, 'traffic light', 'object', 0, (250, 170, 30)),
    Label(20, 'traffic sign', 'object', 0, (220, 220, 0)),
    Label(21, 'vegetation', 'nature', 0, (107, 142, 35)),
    Label(22, 'terrain', 'nature', 0, (152, 251, 152)),
    Label(23, 'sky', 'sky', 0, (70, 130, 180)),
    Label(24, 'person', 'human', 1, (220, 20, 60)),
    Label(25, 'rider', 'human', 1, (255, 0, 0)),
    Label(26, 'car', 'vehicle', 1, (0, 0, 142)),
    Label(27, 'truck', 'vehicle', 1, (0, 0, 70)),
    Label(28, 'bus', 'vehicle', 1, (0, 60, 100)),
    Label(31, 'train', 'vehicle', 1, (0, 80, 100)),
    Label(32, 'motorcycle', 'vehicle', 1, (0, 0, 230)),
    Label(33, 'bicycle', 'vehicle', 1, (119, 11, 32)),
)
CATEGORIES = [
    dict(
        id=label.id,
        name=label.name,
        color=list(label.color),
        supercategory=label.category,
        isthing=label.isthing,
    )
    for label in LABELS
]
THING_IDS = {label.id for label in LABELS if label.isthing}
# Of all labels, the ignored ones included.
MAX_LABEL_ID = 33
ADVICE = (
    'Get leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of '
    'https://www.cityscapes-dataset.com and unpack both here.'
)


class Sample(NamedTuple):
    """Files of one image; ``name`` is city_sequence_frame."""

    name: str
    image: Path
    instance: Path
    target: Path


class LabelMap(NamedTuple):
    """Label ids, and the train ids to make of them."""

    source: Path
    target: Path


# --------------------------------------------------------------- images


def read_labels(path: Path, is_instance: bool) -> np.ndarray:
    """Return the stored numbers, int32 (H, W)."""
    numbers = read_png(path)
    if numbers.ndim != 2:
        raise ValueError(
            f'{path} has shape {numbers.shape}: expected one channel, as in '
            'gtFine_trainvaltest.zip.'
        )
    numbers = numbers.astype(np.int32)
    labels = np.where(numbers < 1000, numbers, numbers // 1000)
    if not is_instance:
        labels = numbers
    if numbers.min(initial=0) < 0 or labels.max(initial=0) > MAX_LABEL_ID:
        raise ValueError(
            f'{path} has the label id {labels.max()}: expected 0 to '
            f'{MAX_LABEL_ID}, as in gtFine_trainvaltest.zip.'
        )
    return numbers


def convert_image(sample: Sample) -> dict:
    """Write the panoptic PNG; return the entries of the JSON."""
    numbers = read_labels(sample.instance, is_instance=True)
    labels = np.where(numbers < 1000, numbers, numbers // 1000)
    evaluated = np.isin(labels, [label.id for label in LABELS])
    ids = np.where(evaluated, numbers, 0)
    write_ids(sample.target, ids)
    return dict(
        image=dict(
            id=sample.name,
            width=ids.shape[1],
            height=ids.shape[0],
            file_name=f'{sample.image.parent.name}/{sample.image.name}',
        ),
        annotation=dict(
            image_id=sample.name,
            file_name=sample.target.name,
            segments_info=segments_of(ids),
        ),
    )


def segments_of(ids: np.ndarray) -> list[dict]:
    """Return ``segments_info`` of Cityscapes' instance ids (H, W)."""
    infos = []
    for number, segment in find_segments(ids).items():
        has_number = number >= 1000
        label = number // 1000 if has_number else number
        infos.append(
            dict(
                id=number,
                category_id=label,
                area=segment.area,
                bbox=segment.bbox,
                iscrowd=int(label in THING_IDS and not has_number),
            )
        )
    return infos


def convert_labels(label_map: LabelMap) -> None:
    """Write the train id of each pixel."""
    table = np.full(MAX_LABEL_ID + 1, IGNORE_INDEX, np.uint8)
    table[[label.id for label in LABELS]] = range(len(LABELS))
    labels = read_labels(label_map.source, is_instance=False)
    write_png(label_map.target, table[labels])


# ----------------------------------------------------------------- splits


def find_samples(root: Path, split: str) -> list[Sample]:
    """Return the labelled images of a split.

    Raises:
        FileNotFoundError: If there are none, or an image is missing.
    """
    folder = root / 'gtFine' / split
    samples = []
    for path in sorted(folder.glob('*/*_gtFine_instanceIds.png')):
        name = path.name.removesuffix('_gtFine_instanceIds.png')
        city = root / 'leftImg8bit' / split / path.parent.name
        image = city / f'{name}_leftImg8bit.png'
        target = folder.parent / f'cityscapes_panoptic_{split}'
        png = target / f'{name}_gtFine_panoptic.png'
        samples.append(Sample(name, image, path, png))
    if not samples:
        raise FileNotFoundError(
            f'{folder} has no CITY/*_gtFine_instanceIds.png. {ADVICE}'
        )
    if missing := [p.image for p in samples if not p.image.exists()]:
        raise FileNotFoundError(
            f'{len(missing)} of {len(samples)} labels have no '
            f'image, the first is {missing[0]}. {ADVICE}'
        )
    return samples


def make_panoptic(
    root: Path, split: str, samples: list[Sample], run: Run
) -> None:
    """Make the panoptic annotations of a split."""
    path = root / 'gtFine' / f'cityscapes_panoptic_{split}.json'
    if path.exists() and not run.overwrite:
        rename_images(path, samples)
    outputs = Outputs(f'{split}: panoptic', [path], path.with_suffix(''))
    tasks = {sample.target.name: sample for sample in samples}
    make_jsons(
        outputs,
        tasks,
        convert_image,
        assemble,
        lambda todo: 2 * total_size([p.instance for p in todo]),
        run,
    )


def assemble(records: list[dict]) -> list[dict]:
    """Return the panoptic JSON."""
    return [
        dict(
            images=[record['image'] for record in records],
            annotations=[record['annotation'] for record in records],
            categories=CATEGORIES,
        )
    ]


def rename_images(path: Path, samples: list[Sample]) -> None:
    """Let an official JSON tell where the images are; keep the original."""
    content = read_panoptic(path)
    if not any(
        image['file_name'] == f'{image["id"]}_gtFine_leftImg8bit.png'
        for image in content['images']
    ):
        return
    places = {sample.name: sample.image for sample in samples}
    if unknown := [i for i in content['images'] if i['id'] not in places]:
        raise ValueError(
            f'{path} has the image {unknown[0]["id"]}, which is not in '
            f'{samples[0].image.parents[1]}: unpack both downloads again, or '
            'pass --overwrite to make the JSON again.'
        )
    original = path.with_name(f'{path.stem}_official.json')
    if not original.exists():
        write_json(original, content)
    for image in content['images']:
        place = places[image['id']]
        image['file_name'] = f'{place.parent.name}/{place.name}'
    write_json(path, content)
    print(
        f'{path} was made by cityscapesscripts: it now tells where the images '
        f'are, the original is {original.name}'
    )


def make_train_ids(
    root: Path, split: str, samples: list[Sample], run: Run
) -> None:
    """Make the train ids of a split."""
    label_maps = []
    for sample in samples:
        stem = str(sample.instance).removesuffix('instanceIds.png')
        label_maps.append(
            LabelMap(
                Path(f'{stem}labelIds.png'), Path(f'{stem}labelTrainIds.png')
            )
        )
    make_files(
        f'{split}: train ids',
        label_maps,
        convert_labels,
        lambda todo: 1.5 * total_size([m.source for m in todo]),
        run,
    )


def main() -> None:
    parser = make_parser(
        'Write panoptic annotations and train ids of Cityscapes.',
        'python tools/dataset_converters/cityscapes.py data/cityscapes',
        splits=SPLITS,
        default=('train', 'val'),
    )
    args = parser.parse_args()
    run = Run(args.workers, args.overwrite)
    for split in args.splits:
        folders = [f'leftImg8bit/{split}', f'gtFine/{split}']
        require_folders(args.root, folders, ADVICE)
    samples = {split: find_samples(args.root, split) for split in args.splits}
    for split in args.splits:
        make_panoptic(args.root, split, samples[split], run)
        make_train_ids(args.root, split, samples[split], run)


if __name__ == '__main__':
    run_command(main)
