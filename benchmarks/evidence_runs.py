"""The runs of evidence.py, those that say most for their time first.

What a run may have beside name, config, data, seed and iterations:

- ``tokens``: tasks to validate, and tokens to decode the test split with
  at the end; without it, the test split is not looked at,
- ``validate_every``: iterations between validations,
- ``pictures``: test images to draw, the result of each token beside them,
- ``steps``: options of steps of the training pipeline, by their type,
- ``network``: ``mask2former`` for one of the same parts and sizes,
- ``cfg_options``: as of the command line.

A name ends with the seed; what is before it names a setting, which tables
average over its seeds.
"""

TASKS = ('panoptic', 'instance', 'semantic')
SEEDS = (0, 1, 2)

SHAPES = dict(
    config='benchmarks/configs/oneformer_shapes.py',
    data='shapes',
    iterations=1000,
    validate_every=250,
)
MANY_SHAPES = dict(SHAPES, data='many-shapes')
# An iteration of a ViT-S takes about five times as long as one of SHAPES.
EOMT_SHAPES = dict(
    SHAPES,
    config='benchmarks/configs/oneformer_eomt_shapes.py',
    iterations=300,
    validate_every=100,
)
CAMVID = dict(
    config='configs/oneformer_effnet-lite0_camvid.py',
    data='camvid',
    iterations=1600,
    validate_every=400,
)
CAMVID_SPLITS = {
    'test_dataloader.dataset.ann_file': 'annotations/panoptic_test.json',
    'test_dataloader.dataset.data_prefix': dict(
        img='test/', seg='annotations/panoptic_test/'
    ),
}
NUCLEI = dict(
    config='configs/oneformer_effnet-lite0_nuclei.py',
    data='nuclei',
    iterations=4000,
    validate_every=1000,
)
EOMT_NUCLEI = dict(
    NUCLEI,
    config='configs/oneformer_eomt-s_nuclei.py',
    iterations=1000,
    validate_every=500,
)
# There is no third split: every seventh image for training validates, and
# the images for validation are the test split.
NUCLEI_SPLITS = {
    'train_dataloader.dataset.indices': [i for i in range(531) if i % 7],
    'val_dataloader.dataset.indices': list(range(0, 531, 7)),
    'val_dataloader.dataset.ann_file': 'annotations/panoptic_train.json',
    'val_dataloader.dataset.data_prefix': dict(
        img='train/', seg='annotations/panoptic_train/'
    ),
}
# Runs for the claims of the paper have queries as the paper has them.
FEATURES = 'model.panoptic_head.query_init.learned_features'
SPLITS = dict(
    shapes={},
    # What a user of the small configs gets.
    **{'many-shapes': {FEATURES: True}},
    camvid=CAMVID_SPLITS | {FEATURES: False},
    nuclei=NUCLEI_SPLITS,
)


def make(setting: str, seed: int, base: dict, **changes) -> dict:
    """Return a run of a setting.

    Args:
        setting (str): Name, without that of the data and the seed.
        seed (int): Of weights, batches and draws.
        base (dict): What runs on the same data share.
        **changes: What this setting has of its own.
    """
    run = dict(base, seed=seed, tokens=list(TASKS)) | changes
    run['cfg_options'] = SPLITS[run['data']] | run.get('cfg_options', {})
    return dict(run, name=f'{run["data"]}-{setting}-{seed}')


def one_task(task: str) -> dict:
    """Return what makes a run one of a single task."""
    return dict(tokens=[task], steps=dict(SampleTask=dict(probs={task: 1.0})))


def joint_and_single(base: dict, seed: int) -> list[dict]:
    """Return a joint run, each task alone, and Mask2Former for each task."""
    return [
        make('joint', seed, base),
        *(make(task, seed, base, **one_task(task)) for task in TASKS),
        *(
            make(
                f'mask2former-{task}',
                seed,
                base,
                network='mask2former',
                **one_task(task),
            )
            for task in TASKS
        ),
    ]


def learned_features(base: dict, seed: int) -> list[dict]:
    """Return a joint run and each task alone, with query features."""
    features = dict(cfg_options={FEATURES: True})
    return [
        make('joint-features', seed, base, **features),
        *(
            make(f'{task}-features', seed, base, **features, **one_task(task))
            for task in TASKS
        ),
    ]


def equal_in_sum(base: dict, seed: int) -> list[dict]:
    """Return runs of single tasks that take as long together as one."""
    third = dict(base, iterations=round(base['iterations'] / 3))
    return [
        make(f'{task}-third', seed, third, **one_task(task)) for task in TASKS
    ]


def texts(base: dict, seed: int) -> list[dict]:
    """Return runs with less of what the contrastive loss is."""
    return [
        make(
            'no-contrastive',
            seed,
            base,
            cfg_options={
                'model.train_cfg.contrastive_loss.loss_weight': 0.0,
            },
        ),
        make(
            'one-word',
            seed,
            base,
            steps=dict(TaskTexts=dict(class_template='{}')),
        ),
        make(
            'no-texts', seed, base, steps=dict(TaskTexts=dict(type='NoTexts'))
        ),
    ]


def annotations(seed: int) -> list[dict]:
    """Return runs on drawn images of which some have all annotations."""
    mixed = 'benchmarks/configs/oneformer_shapes_mixed'
    option = 'train_dataloader.dataset.indices'
    half, few = ({option: list(range(0, 320, step))} for step in (2, 16))
    return [
        make('few-mixed', seed, SHAPES, config=f'{mixed}-few.py'),
        make('few-panoptic', seed, SHAPES, cfg_options=few),
        make(
            'few-mixed-background',
            seed,
            SHAPES,
            config=f'{mixed}-few-background.py',
        ),
        make('mixed', seed, SHAPES, config=f'{mixed}.py'),
        make('panoptic-half', seed, SHAPES, cfg_options=half),
        make(
            'mixed-background', seed, SHAPES, config=f'{mixed}-background.py'
        ),
    ]


def queries(seed: int) -> list[dict]:
    """Return runs with fewer and more queries than 24."""
    option = 'model.panoptic_head.num_queries'
    return [
        make(f'queries-{number}', seed, SHAPES, cfg_options={option: number})
        for number in (12, 48)
    ]


def numbers_of_images(seed: int) -> list[dict]:
    """Return runs on 20, 200 and 2,000 drawn images."""
    option = 'train_dataloader.dataset.indices'
    return [
        make(
            f'images-{number}',
            seed,
            MANY_SHAPES,
            cfg_options={option: list(range(number))},
        )
        for number in (20, 200, 2000)
    ]


def without_decoders(seed: int) -> list[dict]:
    """Return runs of OneFormer on EoMT, and of plain EoMT for each task."""
    plain = {
        'model.panoptic_head.task_token': None,
        'model.train_cfg.text_mapper': None,
        'model.train_cfg.contrastive_loss': None,
    }
    return [
        make('eomt', seed, EOMT_SHAPES),
        *(
            make(
                f'eomt-{task}',
                seed,
                EOMT_SHAPES,
                cfg_options=plain,
                **one_task(task),
            )
            for task in TASKS
        ),
        make(
            'eomt-no-contrastive',
            seed,
            EOMT_SHAPES,
            cfg_options={
                'model.train_cfg.contrastive_loss.loss_weight': 0.0,
            },
        ),
        make(
            'eomt-masked',
            seed,
            EOMT_SHAPES,
            config='benchmarks/configs/oneformer_eomt_shapes_masked.py',
        ),
    ]


def no_pretraining(base: dict, seed: int) -> dict:
    """Return a joint run whose backbone starts at random."""
    return make(
        'no-pretraining',
        seed,
        base,
        cfg_options={'model.backbone.init_cfg': None},
    )


def each_seed(*blocks) -> list[dict]:
    """Return the runs of some functions of the seed, seed by seed."""
    return [run for seed in SEEDS for block in blocks for run in block(seed)]


runs = [
    make('joint', 0, SHAPES, pictures=6),
    make('curve', 0, NUCLEI, pictures=6),
    *joint_and_single(SHAPES, 0)[1:],
    *each_seed(lambda seed: learned_features(SHAPES, seed)),
    *joint_and_single(SHAPES, 1),
    *joint_and_single(SHAPES, 2),
    *each_seed(numbers_of_images),
    *each_seed(lambda seed: texts(SHAPES, seed)),
    *each_seed(annotations),
    *each_seed(lambda seed: equal_in_sum(SHAPES, seed)),
    *each_seed(queries),
    make('eomt', 0, EOMT_NUCLEI, pictures=6),
    *each_seed(without_decoders),
    make('joint', 0, CAMVID, pictures=6),
    *joint_and_single(CAMVID, 0)[1:],
    make('mask2former-instance', 0, NUCLEI, network='mask2former')
    | one_task('instance'),
    *each_seed(
        lambda seed: [
            *learned_features(CAMVID, seed),
            texts(CAMVID, seed)[0],
            no_pretraining(CAMVID, seed),
        ]
    ),
    *joint_and_single(CAMVID, 1),
    *joint_and_single(CAMVID, 2),
    make('curve', 1, NUCLEI),
    make('curve', 2, NUCLEI),
]
