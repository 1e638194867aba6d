"""Derive instance and semantic annotations from COCO's panoptic ones.

    python tools/dataset_converters/coco.py data/coco

reads annotations/panoptic_{split}2017.json and the PNGs in the folder of
that name (or the .zip of that name, which it unpacks first), and writes

    annotations/panoptic2instances_{split}2017.json   things as run lengths
    panoptic_semseg_{split}2017/*.png                 0 to 132, 255 is void

Training and evaluation of this project read the panoptic annotations only;
these files are for other tools. A class of the semantic PNGs is the place of
its category in the panoptic JSON; crowds have their class, too.
"""

import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _common import (  # noqa: E402
    Progress,
    Run,
    check_space,
    make_parser,
    require_folders,
    run_command,
)
from _panoptic import make_instances, make_semantic, read_panoptic  # noqa: E402

ADVICE = (
    'Get panoptic_annotations_trainval2017.zip of https://cocodataset.org '
    'and unpack it here; annotations/ comes with it.'
)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the PNGs that lie in ``folder.name`` of a zip file."""
    with zipfile.ZipFile(archive) as content:
        members = [
            member
            for member in content.infolist()
            if PurePosixPath(member.filename).parts[:1] == (folder.name,)
            and member.filename.endswith('.png')
        ]
        if not members:
            raise ValueError(f'{archive} has no {folder.name}/*.png. {ADVICE}')
        title = f'unpack {archive.name}'
        check_space(folder.parent, sum(m.file_size for m in members), title)
        part = folder.with_name(f'.{folder.name}.part')
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        progress = Progress(title, len(members))
        for member in members:
            target = part / PurePosixPath(member.filename).name
            with content.open(member) as source, target.open('wb') as stream:
                shutil.copyfileobj(source, stream)
            progress.step()
    part.replace(folder)


def find_pngs(annotations: Path, split: str) -> Path:
    """Return the folder of panoptic PNGs, unpacked if need be."""
    folder = annotations / f'panoptic_{split}2017'
    archive = folder.with_suffix('.zip')
    if not folder.is_dir():
        if not archive.is_file():
            raise FileNotFoundError(
                f'Neither {folder} nor {archive} exists. {ADVICE}'
            )
        try:
            unpack(archive, folder)
        except zipfile.BadZipFile as error:
            raise ValueError(
                f'{archive} cannot be unpacked ({error}). {ADVICE}'
            ) from error
    return folder


def main() -> None:
    parser = make_parser(
        "Derive instance and semantic annotations from COCO's panoptic ones.",
        'python tools/dataset_converters/coco.py data/coco',
        splits=('train', 'val'),
        default=('val',),
    )
    parser.add_argument(
        '--ids-from-zero',
        action='store_true',
        help='number the instances from 0, as the reference does; pycocotools '
        'then never counts the first one as found',
    )
    args = parser.parse_args()
    run = Run(args.workers, args.overwrite)
    annotations = args.root / 'annotations'
    require_folders(args.root, ['annotations'], ADVICE)
    for split in args.splits:
        content = read_panoptic(annotations / f'panoptic_{split}2017.json')
        pngs = find_pngs(annotations, split)
        make_instances(
            f'{split}: instances',
            content,
            pngs,
            annotations / f'panoptic2instances_{split}2017.json',
            first_id=0 if args.ids_from_zero else 1,
            run=run,
        )
        folder = args.root / f'panoptic_semseg_{split}2017'
        make_semantic(f'{split}: semantic', content, pngs, folder, run=run)


if __name__ == '__main__':
    run_command(main)
