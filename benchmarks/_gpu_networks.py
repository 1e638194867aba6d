"""Whole networks on a GPU: inference, training, compiled or not."""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import _models as models
import torch
from _gpu_measure import OURS, Calls, Meter, autocast, summary, use_precision

TASKS = ('panoptic', 'instance', 'semantic')
PEER = 'transformers'
OBJECTS = 20


class Workload(NamedTuple):
    """A network and its images."""

    network: str
    size: int
    batch: int

    def __str__(self) -> str:
        return f'{self.network}, {self.batch} x {self.size} x {self.size}'


WORKLOADS = {
    'swin-t': Workload('swin-t', 640, 4),
    'r50': Workload('r50', 640, 4),
    'swin-l': Workload('swin-l', 1024, 2),
}


def workload_of(name: str, meter: Meter) -> Workload:
    """Return the workload of a network."""
    return Workload('tiny', 64, 2) if meter.tiny else WORKLOADS[name]


def attention(meter: Meter) -> None:
    """Deformable attention at the sizes of the pixel decoder."""
    from deformable_attention import differentiated, make_sampling

    side, batch = (64, 1) if meter.tiny else (1024, 2)
    for dtype in ('float32', 'bfloat16'):
        args = Namespace(side=side, device=meter.device, dtype=dtype)
        runs, inputs = make_sampling(args, batch)
        for backward in (False, True):
            direction = 'forward + backward' if backward else 'forward'
            meter.compare(
                f'sampling, {batch} x {side} x {side}, {direction}',
                differentiated(runs, inputs, backward),
                [dtype],
                batch,
                'locations and weights in float32',
                count=False,
                cast=False,
            )


def inference(meter: Meter, name: str) -> None:
    """From images to panoptic results, against transformers."""
    work = workload_of(name, meter)
    calls, note = inference_calls(meter, work)
    meter.compare(f'inference, {work}', calls, images=work.batch, note=note)


def inference_calls(meter: Meter, work: Workload) -> tuple[Calls, str]:
    """Return both calls, and what the first image holds."""
    from _peers import image_processor, network_output, post_process

    pair = models.make_pair(work.network, training=False)
    for network in pair:
        network.to(meter.device)
    inputs = models.images(work.batch, work.size, work.size)
    inputs = inputs.to(meter.device)
    ids = models.task_ids(['panoptic'] * work.batch).to(meter.device)
    sharpen_both(pair, inputs, ids)
    things = pair.ours.panoptic_fusion_head.is_thing.cpu()
    processor = image_processor(
        pair.ours.class_names, things.nonzero()[:, 0].tolist()
    )
    stuff = set((~things).nonzero()[:, 0].tolist())

    @torch.inference_mode()
    def peer() -> list:
        output = pair.peer(inputs, ids)
        return [
            post_process(
                processor,
                network_output(scores.float(), masks.float()),
                'panoptic',
                (work.size, work.size),
                stuff,
            )
            for scores, masks in zip(
                output.class_queries_logits,
                output.masks_queries_logits,
                strict=True,
            )
        ]

    ours = our_inference(pair.ours, inputs, 'panoptic')
    return {OURS: ours, PEER: peer}, contents(ours())


def sharpen_both(pair, inputs: torch.Tensor, ids: torch.Tensor) -> None:
    """Make both sure of some queries, each by its own logits.

    The weights of R50 are not the same in both.
    """
    with torch.no_grad():
        logits = pair.peer(inputs, ids).class_queries_logits[0]
    decoder = pair.peer.model.transformer_module.decoder
    with torch.no_grad():
        models.sharpen(decoder.class_embed, logits, 0.2)
    models.make_ours_confident(pair.ours, inputs)


def our_inference(network, inputs: torch.Tensor, task: str | None):
    """Return a call from images to the results of a task, or of all."""
    batch, size = len(inputs), inputs.shape[-1]

    @torch.inference_mode()
    def call() -> list:
        samples = models.test_samples(size, batch, task)
        return network.predict(inputs, samples)

    return call


def contents(samples: list) -> str:
    """Say how many segments the first result has."""
    segments = samples[0].pred_panoptic_seg.sem_seg.unique().tolist()
    return f'{len(segments)} segments, void included, in the first result'


def training(meter: Meter, name: str) -> None:
    """Forward, loss and backward, against transformers and Mask2Former."""
    work = workload_of(name, meter)
    pair = models.make_pair(work.network, training=True)
    networks = {OURS: pair.ours, PEER: pair.peer}
    calls = training_calls(meter, work, networks)
    note = f'{OBJECTS} objects an image'
    meter.compare(
        f'training step, {work}', calls, images=work.batch, note=note
    )
    if name != 'swin-t':
        return
    del networks[PEER], calls[PEER], pair
    meter.free()
    networks['Mask2Former'] = models.mask2former(150, meter.tiny)
    meter.compare(
        f'training step, {work}',
        training_calls(meter, work, networks),
        # mmcv's compiled operator knows no bfloat16. On a CPU a convolution
        # in half precision may take minutes.
        ['float32'] + ['float16'] * (meter.device == 'cuda'),
        images=work.batch,
        note=note,
    )


def training_calls(meter: Meter, work: Workload, networks: dict) -> Calls:
    """Return a step of each network; Mask2Former takes our samples."""
    batch = models.training_batch(
        networks[OURS], work.size, OBJECTS, work.batch
    ).to(meter.device)

    def step(name: str) -> None:
        network = networks[name]
        if name == PEER:
            network(**batch.peer).loss.sum().backward()
        else:
            losses = network.loss(batch.inputs, batch.samples)
            sum(losses.values()).backward()
        network.zero_grad()

    for network in networks.values():
        network.to(meter.device)
    return {name: partial(step, name) for name in networks}


def lean_layers(meter: Meter) -> None:
    """A training step with lean layers and with those of mmcv and mmdet."""
    work = workload_of('swin-t', meter)
    calls = {}
    for name, lean in ((OURS, True), ('plain layers', False)):
        network = models.make_ours(work.network, training=True, lean=lean)
        (calls[name],) = training_calls(meter, work, {OURS: network}).values()
    meter.compare(
        f'training step, {work}', calls, images=work.batch, count=False
    )


def compiled(meter: Meter, name: str, for_training: bool) -> None:
    """Compiled against eager; a row says how many graphs there are."""
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    work = workload_of(name, meter)
    calls = {}
    for kind in ('eager', f'{OURS}, compiled'):
        # A network each: one of them has to stay eager.
        network = models.make_ours(work.network, for_training)
        network.to(meter.device)
        if for_training:
            step = training_calls(meter, work, {OURS: network})[OURS]
        else:
            inputs = models.images(work.batch, work.size, work.size)
            inputs = inputs.to(meter.device)
            models.make_ours_confident(network, inputs)
            step = our_inference(network, inputs, 'panoptic')
        if kind != 'eager':
            # On a CPU the compiler takes longer than all the rest.
            backend = 'eager' if meter.tiny else 'inductor'
            network.compile_parts(backend=backend)
        calls[kind] = step
    what = 'training step' if for_training else 'inference'
    meter.compare(f'{what}, {work}', calls, images=work.batch)


def batches(meter: Meter) -> None:
    """Images per second by batch size, until memory is full."""
    use_precision('bfloat16')
    for for_training in (False, True):
        work = workload_of('swin-t', meter)._replace(batch=1)
        network = models.make_ours(work.network, for_training)
        network.to(meter.device)
        while measure_batch(meter, network, work, for_training):
            work = work._replace(batch=2 * work.batch)
            if work.batch > (2 if meter.tiny else 256):
                break
        del network
        meter.free()


def measure_batch(
    meter: Meter, network, work: Workload, for_training: bool
) -> bool:
    """Measure a batch size, and say whether a larger one is worth a try."""
    what = 'training step' if for_training else 'inference'
    try:
        call = batch_call(meter, network, work, for_training)
        autocast(call, 'bfloat16', meter.device)()
    except torch.OutOfMemoryError as error:
        meter.write(dict(what=f'{what}, {work}', failed=summary(error)))
        network.zero_grad()
        return False
    meter.compare(
        f'{what}, {work}',
        {OURS: call},
        ['bfloat16'],
        images=work.batch,
        count=False,
    )
    return True


def batch_call(
    meter: Meter, network, work: Workload, for_training: bool
) -> Callable:
    """Return a training step, or inference, of a batch."""
    if for_training:
        return training_calls(meter, work, {OURS: network})[OURS]
    inputs = models.images(work.batch, work.size, work.size)
    inputs = inputs.to(meter.device)
    return our_inference(network, inputs, 'panoptic')


def tasks(meter: Meter) -> None:
    """Three tasks of an image against one."""
    work = workload_of('swin-t', meter)._replace(batch=1)
    network = models.make_ours(work.network, training=False)
    network.to(meter.device)
    inputs = models.images(1, work.size, work.size).to(meter.device)
    models.make_ours_confident(network, inputs)
    meter.compare(
        f'inference, {work}',
        {
            f'{OURS}, three tasks': our_inference(network, inputs, None),
            'panoptic alone': our_inference(network, inputs, 'panoptic'),
        },
    )


def tf32(meter: Meter) -> None:
    """Inference and training with TF32 in products and convolutions."""
    work = workload_of('swin-t', meter)
    calls, note = inference_calls(meter, work)
    meter.compare(f'inference, {work}', calls, ['tf32'], work.batch, note)
    pair = models.make_pair(work.network, training=True)
    calls = training_calls(meter, work, {OURS: pair.ours, PEER: pair.peer})
    meter.compare(f'training step, {work}', calls, ['tf32'], work.batch)
