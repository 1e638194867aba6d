"""Check Mapillary Vistas v1.2, and make what is missing of its labels.

    python tools/dataset_converters/mapillary.py data/mapillary_vistas

The panoptic release of 2018 is in the layout that is trained from:

    {training,validation}/images/*.jpg
    {training,validation}/panoptic/panoptic_2018.json and *.png
    {training,validation}/labels/*.png          0 to 64, 65 is void

so that the command only checks that all files are there. The download of
v2.0 has the same annotations in {training,validation}/v1.2/; the command
links ``panoptic`` and ``labels`` to it. Where a file of ``labels`` is
missing, it is made of the panoptic one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _common import Run, make_parser, require_folders, run_command  # noqa: E402
from _panoptic import make_semantic, read_panoptic  # noqa: E402

COUNTS = dict(training=18000, validation=2000)
# fmt: off
CLASSES = (
    'Bird', 'Ground Animal', 'Curb', 'Fence', 'Guard Rail', 'Barrier', 'Wall',
    'Bike Lane', 'Crosswalk - Plain', 'Curb Cut', 'Parking',
    'Pedestrian Area', 'Rail Track', 'Road', 'Service Lane', 'Sidewalk',
    'Bridge', 'Building', 'Tunnel', 'Person', 'Bicyclist', 'Motorcyclist',
    'Other Rider', 'Lane Marking - Crosswalk', 'Lane Marking - General',
    'Mountain', 'Sand', 'Sky', 'Snow', 'Terrain', 'Vegetation', 'Water',
    'Banner', 'Bench', 'Bike Rack', 'Billboard', 'Catch Basin',
    'CCTV Camera', 'Fire Hydrant', 'Junction Box', 'Mailbox', 'Manhole',
    'Phone Booth', 'Pothole', 'Street Light', 'Pole', 'Traffic Sign Frame',
    'Utility Pole', 'Traffic Light', 'Traffic Sign (Back)',
    'Traffic Sign (Front)', 'Trash Can', 'Bicycle', 'Boat', 'Bus', 'Car',
    'Caravan', 'Motorcycle', 'On Rails', 'Other Vehicle', 'Trailer', 'Truck',
    'Wheeled Slow', 'Car Mount', 'Ego Vehicle',
)
# fmt: on
VOID_CLASS = len(CLASSES)
ADVICE = (
    'Get Mapillary Vistas of https://www.mapillary.com/dataset/vistas and '
    'unpack it here; v1.2 is needed, which the download of v2.0 includes.'
)


def link_release(folder: Path) -> None:
    """Link the annotations of v1.2 to where the release of 2018 has them."""
    for name in ('panoptic', 'labels'):
        link, source = folder / name, folder / 'v1.2' / name
        if link.exists() or not source.is_dir():
            continue
        try:
            link.symlink_to(Path('v1.2', name), target_is_directory=True)
        except OSError as error:
            raise OSError(
                f'{link} cannot be made a link ({error}): move {source} there.'
            ) from error
        print(f'{link} now links to {source}')


def check_split(folder: Path) -> dict:
    """Return the panoptic JSON of a split that has all of its files.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the annotations are not those of v1.2.
    """
    require_folders(folder, ['images', 'panoptic'], ADVICE)
    path = folder / 'panoptic' / 'panoptic_2018.json'
    content = read_panoptic(path)
    categories = {c['id']: c['name'] for c in content['categories']}
    expected = dict(enumerate(CLASSES, start=1))
    if categories != expected:
        odd = sorted(dict(categories.items() ^ expected.items()))
        raise ValueError(
            f'{path} has {len(categories)} categories, which differ from the '
            f'{len(CLASSES)} of v1.2 in the ids {odd[:10]}. {ADVICE}'
        )
    check_images(folder, path, content)
    by_id = sorted(content['categories'], key=lambda c: c['id'])
    return dict(content, categories=by_id)


def check_images(folder: Path, path: Path, content: dict) -> None:
    """Compare the JSON with the images, and tell the numbers."""
    names = [image['file_name'] for image in content['images']]
    missing = [n for n in names if not (folder / 'images' / n).exists()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(names)} images of {path} are missing, '
            f'the first is {folder / "images" / missing[0]}. {ADVICE}'
        )
    annotated = {entry['image_id'] for entry in content['annotations']}
    ids = {image['id'] for image in content['images']}
    print(
        f'{folder.name}: {len(names)} images, all there; '
        f'{len(ids & annotated)} of them annotated'
    )
    official = COUNTS[folder.name]
    if len(names) != official or len(annotated) != official:
        print(f'{folder.name}: note that the release has {official} of each')


def main() -> None:
    parser = make_parser(
        'Check Mapillary Vistas v1.2, and write missing semantic labels.',
        'python tools/dataset_converters/mapillary.py data/mapillary_vistas',
        splits=list(COUNTS),
        default=list(COUNTS),
        # It would change labels of the download.
        overwrites=False,
    )
    args = parser.parse_args()
    run = Run(args.workers, overwrite=False)
    require_folders(args.root, args.splits, ADVICE)
    contents = {}
    for split in args.splits:
        link_release(args.root / split)
        contents[split] = check_split(args.root / split)
    for split, content in contents.items():
        folder = args.root / split
        make_semantic(
            f'{split}: labels',
            content,
            folder / 'panoptic',
            folder / 'labels',
            VOID_CLASS,
            run=run,
        )


if __name__ == '__main__':
    run_command(main)
