"""Drawn data as labelling tools export it."""

import json
import shutil
from pathlib import Path

import numpy as np
from own_data.layouts import ade20k as converter
from PIL import Image

from projects.oneformer.segment_ids import decode_ids

NAMES = (
    *('disc', 'square', 'triangle', 'star'),
    *('sky', 'grass', 'wall', 'water'),
)
THINGS = NAMES[:4]


def read(drawn: Path, kind: str, split: str = 'train') -> dict:
    """Return an annotation file of the drawn data."""
    path = drawn / 'annotations' / f'{kind}_{split}.json'
    return json.loads(path.read_text())


def ids_of(drawn: Path, annotation: dict) -> np.ndarray:
    """Return the segment ids of an image."""
    folder = drawn / 'annotations' / 'panoptic_train'
    with Image.open(folder / annotation['file_name']) as png:
        return decode_ids(np.asarray(png))


def coco_instances(drawn: Path, out: Path) -> None:
    """COCO, in the folders of COCO."""
    (out / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        shutil.copytree(drawn / split, out / split)
        name = f'annotations/instances_{split}.json'
        shutil.copy(drawn / name, out / name)


def cvat_coco(drawn: Path, out: Path) -> None:
    """CVAT's "COCO 1.0": one file, called after the subset."""
    (out / 'annotations').mkdir(parents=True)
    shutil.copytree(drawn / 'train', out / 'images' / 'default')
    shutil.copy(
        drawn / 'annotations/instances_train.json',
        out / 'annotations/instances_default.json',
    )


def roboflow(drawn: Path, out: Path) -> None:
    """Roboflow's COCO: a file beside the images, and a category of none."""
    for split, name in (('train', 'train'), ('val', 'valid')):
        shutil.copytree(drawn / split, out / name)
        content = read(drawn, 'instances', split)
        none = dict(id=0, name='shapes', supercategory='none')
        content['categories'].insert(0, none)
        path = out / name / '_annotations.coco.json'
        path.write_text(json.dumps(content))


def label_studio_coco(drawn: Path, out: Path) -> None:
    """Label Studio's COCO of a server on Windows."""
    shutil.copytree(drawn / 'train', out / 'images')
    content = read(drawn, 'instances')
    for image in content['images']:
        image['file_name'] = f'images\\{image["file_name"]}'
    (out / 'result.json').write_text(json.dumps(content))


def label_maps(drawn: Path, out: Path) -> None:
    """Images and label maps in two folders, and a list of the classes."""
    for split in ('train', 'val'):
        shutil.copytree(drawn / split, out / 'images' / split)
        maps = drawn / f'annotations/semantic_{split}'
        shutil.copytree(maps, out / 'labels' / split)
    (out / 'classes.txt').write_text('\n'.join(NAMES))


def cvat_masks(drawn: Path, out: Path) -> None:
    """CVAT's "Segmentation mask 1.1" of things, with images."""
    for name in ('SegmentationClass', 'SegmentationObject'):
        (out / name).mkdir(parents=True)
    shutil.copytree(drawn / 'train', out / 'JPEGImages')
    colors = {name: (20 + 10 * i, 200, i) for i, name in enumerate(THINGS)}
    lines = [f'{n}:{r},{g},{b}::' for n, (r, g, b) in colors.items()]
    (out / 'labelmap.txt').write_text(
        '\n'.join(
            ['# label:color_rgb:parts:actions', 'background:0,0,0::', *lines]
        )
    )
    content = read(drawn, 'panoptic')
    for annotation in content['annotations']:
        ids = ids_of(drawn, annotation)
        classes = np.zeros((*ids.shape, 3), np.uint8)
        objects = classes.copy()
        for number, segment in enumerate(annotation['segments_info'], 1):
            name = NAMES[segment['category_id'] - 1]
            if name in colors:
                classes[ids == segment['id']] = colors[name]
                objects[ids == segment['id']] = number
        name = annotation['file_name']
        Image.fromarray(classes).save(out / 'SegmentationClass' / name)
        Image.fromarray(objects).save(out / 'SegmentationObject' / name)


def voc_classes(drawn: Path, out: Path) -> None:
    """Masks of classes without those of objects."""
    cvat_masks(drawn, out)
    shutil.rmtree(out / 'SegmentationObject')


def labelme(drawn: Path, out: Path) -> None:
    """LabelMe: the boxes of the objects as polygons."""
    shutil.copytree(drawn / 'train', out)
    content = read(drawn, 'instances')
    for image in content['images']:
        shapes = []
        for entry in content['annotations']:
            if entry['image_id'] == image['id']:
                x, y, w, h = entry['bbox']
                corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
                label = NAMES[entry['category_id'] - 1]
                shapes.append(
                    dict(label=label, points=corners, shape_type='polygon')
                )
        name = image['file_name']
        (out / name).with_suffix('.json').write_text(
            json.dumps(dict(shapes=shapes, imagePath=name, imageData=None))
        )


def label_studio_brush(drawn: Path, out: Path) -> None:
    """Label Studio's brush masks as PNG, with its export as JSON."""
    shutil.copytree(drawn / 'train', out / 'images')
    (out / 'masks').mkdir()
    content, tasks = read(drawn, 'panoptic'), []
    pairs = zip(content['images'], content['annotations'], strict=True)
    for task, (image, annotation) in enumerate(pairs, 11):
        ids = ids_of(drawn, annotation)
        place = f'/data/local-files/?d=images/{image["file_name"]}'
        tasks.append(dict(id=task, data=dict(image=place)))
        for number, segment in enumerate(annotation['segments_info']):
            name = NAMES[segment['category_id'] - 1]
            mask = np.where(ids == segment['id'], 255, 0).astype(np.uint8)
            file = f'task-{task}-annotation-7-by-1-tag-{name}-{number}.png'
            Image.fromarray(mask).save(out / 'masks' / file)
    (out / 'tasks.json').write_text(json.dumps(tasks))


def panoptic(drawn: Path, out: Path) -> None:
    """All that was drawn: panoptic data, instances and label maps."""
    shutil.copytree(drawn, out)


def cityscapes(drawn: Path, out: Path) -> None:
    """Cityscapes as downloaded: a car on a road."""
    for split, number in (('train', 2), ('val', 1)):
        for image in range(number):
            name = f'aachen_{image:06d}_000019'
            place = out / 'leftImg8bit' / split / 'aachen'
            place.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (64, 64)).save(place / f'{name}_leftImg8bit.png')
            ids = np.full((64, 64), 7, np.uint16)
            ids[20:40, 10:50] = 26001
            place = out / 'gtFine' / split / 'aachen'
            place.mkdir(parents=True, exist_ok=True)
            path = place / f'{name}_gtFine_instanceIds.png'
            Image.fromarray(ids).save(path)


def ade20k(drawn: Path, out: Path) -> None:
    """ADE20K as downloaded: a thing in front of a wall."""
    thing = converter.THINGS[0]
    for split, number in (('training', 2), ('validation', 1)):
        for name in ('images', 'annotations', 'annotations_instance'):
            (out / name / split).mkdir(parents=True)
        for image in range(number):
            stem = f'ADE_{split}_{image:08d}'
            Image.new('RGB', (64, 64)).save(
                out / 'images' / split / f'{stem}.jpg'
            )
            classes = np.full((64, 64), 1, np.uint8)
            classes[20:40, 10:50] = thing + 1
            objects = np.zeros((64, 64, 3), np.uint8)
            objects[20:40, 10:50, :2] = 1
            for name, pixels in (('', classes), ('_instance', objects)):
                folder = out / f'annotations{name}' / split
                Image.fromarray(pixels).save(folder / f'{stem}.png')


# What is written, and the kind and the classes to expect of it.
EXPORTS = {
    panoptic: ('panoptic', NAMES),
    coco_instances: ('instance', THINGS),
    cvat_coco: ('instance', THINGS),
    roboflow: ('instance', THINGS),
    label_studio_coco: ('instance', THINGS),
    label_maps: ('semantic', NAMES),
    cvat_masks: ('panoptic', ('background', *THINGS)),
    voc_classes: ('semantic', ('background', *THINGS)),
    labelme: ('instance', THINGS),
    label_studio_brush: ('instance', NAMES),
    cityscapes: ('panoptic', ('road', 'car')),
    ade20k: (
        'panoptic',
        tuple(
            converter.CATEGORIES[label]['name']
            for label in (0, converter.THINGS[0])
        ),
    ),
}
