"""Results, evaluation and loading around a network on a GPU."""

import tempfile
import time
import warnings
from pathlib import Path

import torch
from _data import SOURCES, draw_images
from _gpu_measure import OURS, Meter
from _gpu_networks import (
    PEER,
    TASKS,
    Workload,
    training_calls,
    workload_of,
)
from _measure import Spread
from _models import (
    MODELS,
    ROOT,
    Config,
    make_ours,
    make_ours_confident,
    register_all_modules,
)


def results(meter: Meter) -> None:
    """The three results of a street scene, from drawn logits."""
    from _peers import image_processor, network_output, post_process
    from cpu import blob_logits

    height, width = (64, 128) if meter.tiny else (1024, 2048)
    size = (height, width)
    scores, masks = (
        logits.to(meter.device)
        for logits in blob_logits(250, 30, 19, height // 4, width // 4)
    )
    things = range(11, 19)
    register_all_modules()
    head = MODELS.build(
        dict(
            type='OneFormerFusionHead', num_classes=19, thing_labels=[*things]
        )
    ).to(meter.device)
    processor = image_processor([str(i) for i in range(19)], things)
    info = dict(img_shape=size, ori_shape=size, batch_input_shape=size)
    output = network_output(scores, masks)
    stuff = set(range(19)) - set(things)
    for task in TASKS:

        @torch.inference_mode()
        def ours(task=task) -> object:
            return head(task, scores, masks, info)

        @torch.inference_mode()
        def peer(task=task) -> object:
            return post_process(processor, output, task, size, stuff)

        meter.compare(
            f'{task} result, {height} x {width}, 30 of 250 queries sure',
            {OURS: ours, PEER: peer},
            ['float32'],
            count=False,
        )


def drawn_config(folder: Path, count: int):
    """Return the config of Swin-T on COCO, for drawn images in its layout."""
    register_all_modules()
    source = SOURCES['COCO']
    config = Config.fromfile(ROOT / 'configs' / source.config)
    draw_images(folder, source, config.model.metainfo, count)
    for loader in ('train', 'val', 'test'):
        config[f'{loader}_dataloader'].dataset.update(
            data_root=str(folder),
            ann_file=source.ann_file,
            data_prefix=dict(img=source.images, seg=source.segments),
        )
    return config


def evaluation(meter: Meter) -> None:
    """Images from files to three scores, with OpenMMLab's runner, once."""
    from mmengine.runner import Runner

    from projects.oneformer.weights.inference_model import inference_model

    count = 4 if meter.tiny else 50
    with tempfile.TemporaryDirectory() as folder:
        config = drawn_config(Path(folder), count)
        config.work_dir = f'{folder}/work'
        config.model = inference_model(config.model)
        config.test_dataloader.update(num_workers=1 if meter.tiny else 8)
        if meter.tiny:
            shrink(config)
        warnings.filterwarnings('ignore')
        runner = Runner.from_cfg(config)
        image = torch.randn(1, 3, 256, 256, device=meter.device)
        runner.model.to(meter.device)
        make_ours_confident(runner.model.eval(), image)
        meter.synchronize()
        start = time.perf_counter()
        runner.test()
        seconds = time.perf_counter() - start
    meter.write(
        dict(
            what=f'evaluation of {count} images of 480 x 640, three tasks',
            implementation=OURS,
            precision='float32',
            ms=Spread.of([1e3 * seconds])._asdict(),
            images_per_second=count / seconds,
            note='drawn images; batch size and transforms of the config',
        )
    )


def shrink(config) -> None:
    """Give a config few queries and layers, and small images."""
    config.model.panoptic_head.num_queries = 20
    config.model.backbone.update(
        embed_dims=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)
    )
    config.model.panoptic_head.in_channels = [24, 48, 96, 192]
    for pipeline in (
        config.train_dataloader.dataset.pipeline,
        config.test_dataloader.dataset.pipeline,
    ):
        for step in pipeline:
            if step.type in ('Resize', 'ResizeWithin', 'ResizeShortSide'):
                step.scale = (160, 120)
            if step.type == 'LargeScaleJitter':
                step.size = (128, 128)


def loader(meter: Meter) -> None:
    """Training samples from 8 workers, and the step that takes them."""
    from mmengine.runner import Runner

    workers, rounds = (1, 3) if meter.tiny else (8, 25)
    with tempfile.TemporaryDirectory() as folder:
        config = drawn_config(Path(folder), 4 if meter.tiny else 200)
        if meter.tiny:
            shrink(config)
        cfg = config.train_dataloader
        batch = 2 if meter.tiny else 16
        cfg.update(
            batch_size=batch, num_workers=workers, persistent_workers=True
        )
        batches = iter(Runner.build_dataloader(cfg, seed=0))
        first = next(batches)['inputs']
        for _ in range(0 if meter.tiny else 2 * workers):
            next(batches)  # what was made while they started
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            next(batches)
            seconds.append(time.perf_counter() - start)
        # Batches come in turns of the workers: the mean is what counts.
        rate = batch * len(seconds) / sum(seconds)
        del batches
    meter.write(
        dict(
            what=f'loading, {workers} workers, batch {batch}, images up to '
            f'{max(max(image.shape) for image in first)} pixels',
            implementation=OURS,
            ms=Spread.of([1e3 * s for s in seconds])._asdict(),
            images_per_second=rate,
            note='drawn images of 480 x 640',
        )
    )
    work = workload_of('swin-t', meter)
    if not meter.tiny:
        work = Workload('swin-t', 1024, 4)
    network = make_ours(work.network, training=True)
    step = training_calls(meter, work, {OURS: network})
    meter.compare(
        f'training step, {work}',
        step,
        ['bfloat16'],
        work.batch,
        f'the loader gives {rate:.3g} images/s',
        count=False,
    )
