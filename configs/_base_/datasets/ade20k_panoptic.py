"""ADE20K panoptic: 100 things, 50 stuff, crops of 512 x 512.

Training: short side 256 to 1024, crop, colour jitter, padding. Test: short
side 512, long side at most 2048.
"""

_base_ = './panoptic.py'

# fmt: off
classes = (
    'wall', 'building', 'sky', 'floor', 'tree', 'ceiling', 'road, route',
    'bed', 'window ', 'grass', 'cabinet', 'sidewalk, pavement', 'person',
    'earth, ground', 'door', 'table', 'mountain, mount', 'plant', 'curtain',
    'chair', 'car', 'water', 'painting, picture', 'sofa', 'shelf', 'house',
    'sea', 'mirror', 'rug', 'field', 'armchair', 'seat', 'fence', 'desk',
    'rock, stone', 'wardrobe, closet, press', 'lamp', 'tub', 'rail', 'cushion',
    'base, pedestal, stand', 'box', 'column, pillar', 'signboard, sign',
    'chest of drawers, chest, bureau, dresser', 'counter', 'sand', 'sink',
    'skyscraper', 'fireplace', 'refrigerator, icebox',
    'grandstand, covered stand', 'path', 'stairs', 'runway',
    'case, display case, showcase, vitrine',
    'pool table, billiard table, snooker table', 'pillow',
    'screen door, screen', 'stairway, staircase', 'river', 'bridge, span',
    'bookcase', 'blind, screen', 'coffee table',
    'toilet, can, commode, crapper, pot, potty, stool, throne', 'flower',
    'book', 'hill', 'bench', 'countertop', 'stove', 'palm, palm tree',
    'kitchen island', 'computer', 'swivel chair', 'boat', 'bar',
    'arcade machine', 'hovel, hut, hutch, shack, shanty', 'bus', 'towel',
    'light', 'truck', 'tower', 'chandelier', 'awning, sunshade, sunblind',
    'street lamp', 'booth', 'tv', 'plane', 'dirt track', 'clothes', 'pole',
    'land, ground, soil',
    'bannister, banister, balustrade, balusters, handrail',
    'escalator, moving staircase, moving stairway',
    'ottoman, pouf, pouffe, puff, hassock', 'bottle',
    'buffet, counter, sideboard',
    'poster, posting, placard, notice, bill, card', 'stage', 'van', 'ship',
    'fountain',
    'conveyer belt, conveyor belt, conveyer, conveyor, transporter', 'canopy',
    'washer, automatic washer, washing machine', 'plaything, toy', 'pool',
    'stool', 'barrel, cask', 'basket, handbasket', 'falls', 'tent', 'bag',
    'minibike, motorbike', 'cradle', 'oven', 'ball', 'food, solid food',
    'step, stair', 'tank, storage tank', 'trade name', 'microwave', 'pot',
    'animal', 'bicycle', 'lake', 'dishwasher', 'screen', 'blanket, cover',
    'sculpture', 'hood, exhaust hood', 'sconce', 'vase', 'traffic light',
    'tray', 'trash can', 'fan', 'pier', 'crt screen', 'plate', 'monitor',
    'bulletin board', 'shower', 'radiator', 'glass, drinking glass', 'clock',
    'flag',
)
thing_classes = (
    'bed', 'window ', 'cabinet', 'person', 'door', 'table', 'curtain', 'chair',
    'car', 'painting, picture', 'sofa', 'shelf', 'mirror', 'armchair', 'seat',
    'fence', 'desk', 'wardrobe, closet, press', 'lamp', 'tub', 'rail',
    'cushion', 'box', 'column, pillar', 'signboard, sign',
    'chest of drawers, chest, bureau, dresser', 'counter', 'sink', 'fireplace',
    'refrigerator, icebox', 'stairs', 'case, display case, showcase, vitrine',
    'pool table, billiard table, snooker table', 'pillow',
    'screen door, screen', 'bookcase', 'coffee table',
    'toilet, can, commode, crapper, pot, potty, stool, throne', 'flower',
    'book', 'bench', 'countertop', 'stove', 'palm, palm tree',
    'kitchen island', 'computer', 'swivel chair', 'boat', 'arcade machine',
    'bus', 'towel', 'light', 'truck', 'chandelier',
    'awning, sunshade, sunblind', 'street lamp', 'booth', 'tv', 'plane',
    'clothes', 'pole', 'bannister, banister, balustrade, balusters, handrail',
    'ottoman, pouf, pouffe, puff, hassock', 'bottle', 'van', 'ship',
    'fountain', 'washer, automatic washer, washing machine', 'plaything, toy',
    'stool', 'barrel, cask', 'basket, handbasket', 'bag',
    'minibike, motorbike', 'oven', 'ball', 'food, solid food', 'step, stair',
    'trade name', 'microwave', 'pot', 'animal', 'bicycle', 'dishwasher',
    'screen', 'sculpture', 'hood, exhaust hood', 'sconce', 'vase',
    'traffic light', 'tray', 'trash can', 'fan', 'plate', 'monitor',
    'bulletin board', 'radiator', 'glass, drinking glass', 'clock', 'flag',
)
# fmt: on
metainfo = dict(classes=classes, thing_classes=thing_classes)

data_root = 'data/ADEChallengeData2016/'
# For model.test_cfg: how sure a query has to be; elsewhere 0.8.
test_options = dict(object_mask_thr=0.5)

size = 512
random_crop = dict(
    type='RandomChoiceResizeCrop',
    # (long side at most, short side)
    scales=[(4 * size, int(x * 0.1 * size)) for x in range(5, 21)],
    crop_size=(size, size),
)
color_jitter = dict(type='SSDColorJitter')
random_flip = dict(type='RandomFlip', prob=0.5)
pad = dict(type='PadToSize', size=(size, size))
train_pipeline = [
    _base_.load_image,
    _base_.load_segments,
    random_crop,
    color_jitter,
    random_flip,
    pad,
    _base_.sample_task,
    _base_.task_targets,
    _base_.task_texts,
    _base_.pack_train,
]

# Instances and semantic labels have files of their own: in the panoptic
# annotation instances hide each other and the stuff below.
load_semantic_truth = dict(
    type='LoadSemanticTruth',
    img_prefix=data_root + 'images/validation',
    seg_prefix=data_root + 'annotations_detectron2/validation',
)
instance_ap = dict(
    type='InstanceAP',
    ann_file=data_root + 'ade20k_instance_val.json',
    category_key='label',  # its ids are the labels, 0 to 149
    prefix='instance',
)
resize = dict(_base_.resize, scale=(4 * size, size))
test_pipeline = [
    _base_.load_image,
    resize,
    _base_.load_segments,
    _base_.eval_targets,
    load_semantic_truth,
    _base_.pack_test,
]
val_evaluator = [_base_.panoptic_quality, instance_ap, _base_.semantic_iou]
test_evaluator = val_evaluator

train_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img='images/training/', seg='ade20k_panoptic_train/'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='ade20k_panoptic_val.json',
        data_prefix=dict(img='images/validation/', seg='ade20k_panoptic_val/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
