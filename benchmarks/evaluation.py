"""What evaluation costs: time per image and memory of each metric.

Predictions of one large image are drawn, then every metric takes them in,
ours and mmdet's by turns. At the end AP of many small images is worked out
by three libraries from the same run lengths.

Example: python benchmarks/evaluation.py
"""

import argparse
import contextlib
import copy
import io
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmdet.evaluation import CocoMetric, SemSegMetric  # noqa: E402
from pycocotools.coco import COCO  # noqa: E402
from pycocotools.cocoeval import COCOeval  # noqa: E402

import projects.oneformer  # noqa: E402, F401
from projects.oneformer.evaluation import (  # noqa: E402
    InstanceAP,
    PanopticQuality,
    SemanticIoU,
)
from projects.oneformer.evaluation.instance_metric import (  # noqa: E402
    evaluate,
)
from projects.oneformer.run_lengths import (  # noqa: E402
    encode_labels,
    encode_masks,
    rle_area,
    rle_box,
)

CLASSES = [f'class {label}' for label in range(133)]
META = dict(classes=CLASSES, thing_classes=CLASSES[:80])
VOID = len(CLASSES)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--size', type=int, nargs=2, default=(1024, 2048))
    parser.add_argument('--queries', type=int, default=250)
    parser.add_argument('--segments', type=int, default=60)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--images', type=int, default=200)
    return parser.parse_args()


def main() -> None:
    """Measure and print two tables in Markdown."""
    args = parse_args()
    rng = np.random.default_rng(0)
    print(f'Drawing {args.queries} masks of {args.size} ...', file=sys.stderr)
    sample = draw_sample(rng, tuple(args.size), args.queries, args.segments)
    metrics = {
        'PanopticQuality': our(PanopticQuality),
        'PNG and areas, as mmdet `CocoPanopticMetric`': write_panoptic,
        'InstanceAP': our(InstanceAP),
        'mmdet `CocoMetric`': theirs(CocoMetric(metric='segm')),
        'SemanticIoU': our(SemanticIoU),
        'mmdet `SemSegMetric`': theirs(SemSegMetric()),
    }
    times = {name: [] for name in metrics}
    for _ in range(args.rounds):
        for name, process in metrics.items():
            start = time.perf_counter()
            process(sample)
            times[name].append(time.perf_counter() - start)
    print('| metric | ms per image | range | MiB more at the peak |')
    print('|---|---|---|---|')
    for name, process in metrics.items():
        own = [1000 * value for value in times[name]]
        print(
            f'| {name} | {statistics.median(own):.0f} | {min(own):.0f} to '
            f'{max(own):.0f} | {peak_memory(process, sample):.0f} |'
        )
    print()
    compare_libraries(rng, args.images)


def draw_mask(rng, size: tuple[int, int], share: float = 0.1) -> np.ndarray:
    """Return a mask of some blobs with rough borders, (H, W)."""
    height, width = size
    coarse = rng.normal(size=(rng.integers(3, 9), rng.integers(4, 17)))
    fine = rng.normal(scale=0.02, size=(height // 4, width // 4))
    field = sum(
        cv2.resize(part.astype(np.float32), (width, height))
        for part in (coarse, fine)
    )
    return field > np.quantile(field[::8, ::8], 1 - share)


def draw_sample(
    rng, size: tuple[int, int], queries: int, segments: int
) -> dict:
    """Return an image with the results and ground truth of three tasks."""
    masks = np.stack([draw_mask(rng, size) for _ in range(queries)])
    labels = rng.integers(0, 80, queries)
    numbers = np.zeros(size, np.int32)
    for number, mask in enumerate(masks[:segments], 1):
        numbers[mask] = number
    table = np.array([VOID, *(1000 * np.arange(segments) + labels[:segments])])
    truth = [
        dict(
            id=number,
            category=int(labels[number - 1]),
            is_thing=True,
            iscrowd=False,
            segmentation=rle,
            area=rle_area(rle),
        )
        for number, rle in encode_labels(numbers, 0).items()
    ]
    semantic = np.where(numbers > 0, labels[numbers - 1], 132)
    return dict(
        img_id=1,
        img_path='a.jpg',
        ori_shape=size,
        segments_info=truth,
        instances=[to_instance(segment) for segment in truth],
        gt_sem_seg=dict(
            sem_seg=torch.from_numpy(semantic.astype(np.uint8))[None]
        ),
        pred_sem_seg=dict(sem_seg=torch.from_numpy(semantic)[None]),
        pred_panoptic_seg=dict(
            sem_seg=torch.from_numpy(table[numbers].astype(np.int32))[None]
        ),
        pred_instances=dict(
            masks=torch.from_numpy(masks),
            labels=torch.from_numpy(labels),
            scores=torch.rand(queries),
            bboxes=torch.zeros(queries, 4),
        ),
    )


def to_instance(segment: dict) -> dict:
    """Return a segment as the metrics of instances want it."""
    left, top, width, height = rle_box(segment['segmentation'])
    return dict(
        bbox=[left, top, left + width, top + height],
        bbox_label=segment['category'],
        mask=segment['segmentation'],
        ignore_flag=0,
    )


def our(kind: type) -> Callable[[dict], None]:
    """Return what a metric of ours does with an image."""
    return theirs(kind())


def theirs(metric) -> Callable[[dict], None]:
    """Return what a metric does with an image."""
    metric.dataset_meta = META

    def process(sample: dict) -> None:
        metric.process({}, [sample])
        metric.results.clear()

    return process


def write_panoptic(sample: dict) -> None:
    """Compare each segment with the whole map, and write a PNG."""
    codes = sample['pred_panoptic_seg']['sem_seg'][0].numpy()
    segments = []
    for code in np.unique(codes):
        if code != VOID:
            segments.append((int(code), int((codes == code).sum())))
    colours = np.stack([codes // 256**k % 256 for k in range(3)], -1)
    with tempfile.TemporaryDirectory() as folder:
        cv2.imwrite(f'{folder}/a.png', colours.astype(np.uint8))


def peak_memory(process: Callable[[dict], None], sample: dict) -> float:
    """Return how many MiB a process grows by at most, beyond its sample."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)

    def measure() -> None:
        Path('/proc/self/clear_refs').write_text('5')  # forget the peak
        before = read_memory('VmHWM')
        process(sample)
        sender.send(read_memory('VmHWM') - before)

    child = context.Process(target=measure)
    child.start()
    growth = receiver.recv()
    child.join()
    return growth / 1024


def read_memory(name: str) -> int:
    """Return a value of this process in KiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise KeyError(name)


def compare_libraries(rng, number: int) -> None:
    """Time AP of many images by hotcoco, faster-coco-eval, pycocotools."""
    print(f'Drawing {number} images ...', file=sys.stderr)
    results = [draw_result(rng) for _ in range(number)]
    truth, found = to_coco(results)
    print(f'| library | seconds for {number} images | AP |')
    print('|---|---|---|')
    start = time.perf_counter()
    precision, _ = evaluate('segm', results, 80, (1, 10, 100))
    ap = precision[..., 0, -1]
    report('hotcoco', time.perf_counter() - start, ap[ap > -1].mean())
    libraries = {'pycocotools': (COCO, COCOeval)}
    with contextlib.suppress(ImportError):
        import faster_coco_eval as faster

        libraries['faster-coco-eval'] = (faster.COCO, faster.COCOeval_faster)
    for name, (coco_type, eval_type) in libraries.items():
        own_truth, own_found = copy.deepcopy((truth, found))  # they write
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            coco = coco_type()
            coco.dataset = own_truth
            coco.createIndex()
            evaluation = eval_type(coco, coco.loadRes(own_found), 'segm')
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        report(name, time.perf_counter() - start, evaluation.stats[0])


def report(name: str, seconds: float, ap: float) -> None:
    """Print a row of the second table."""
    print(f'| {name} | {seconds:.2f} | {ap:.15f} |')


def draw_result(rng) -> dict:
    """Return an image of 480 x 640 with objects and 100 predictions."""
    size = (480, 640)
    masks = [draw_mask(rng, size, rng.uniform(0.002, 0.2)) for _ in range(10)]
    shifted = [
        np.roll(masks[place], rng.integers(-6, 7, 2), (0, 1))
        for place in rng.integers(0, 10, 100)
    ]
    labels = rng.integers(0, 80, 10)
    truth = encode_masks(torch.from_numpy(np.stack(masks)))
    return dict(
        size=size,
        labels=rng.choice(labels, 100).tolist(),
        scores=rng.random(100).tolist(),
        masks=encode_masks(torch.from_numpy(np.stack(shifted))),
        truth=[
            dict(
                category_id=int(label),
                iscrowd=0,
                area=rle_area(rle),
                bbox=rle_box(rle),
                segmentation=rle,
            )
            for label, rle in zip(labels, truth, strict=True)
        ],
    )


def to_coco(results: list[dict]) -> tuple[dict, list[dict]]:
    """Return ground truth and predictions as pycocotools wants them."""
    truth = dict(
        info={},
        images=[
            dict(id=number, height=480, width=640)
            for number, _ in enumerate(results, 1)
        ],
        annotations=[],
        categories=[dict(id=k, name=CLASSES[k]) for k in range(80)],
    )
    found = []
    for number, result in enumerate(results, 1):
        for own in result['truth']:
            place = len(truth['annotations']) + 1
            truth['annotations'].append(dict(own, id=place, image_id=number))
        for label, score, mask in zip(
            result['labels'], result['scores'], result['masks'], strict=True
        ):
            found.append(
                dict(
                    image_id=number,
                    category_id=label,
                    score=score,
                    segmentation=dict(mask),
                )
            )
    return truth, found


if __name__ == '__main__':
    main()
