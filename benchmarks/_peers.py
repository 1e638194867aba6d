"""Post-processing and images in the way of transformers."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import transformers
from torch import Tensor

TASKS = ('panoptic', 'instance', 'semantic')


def image_processor(
    classes: Sequence[str],
    things: Sequence[int],
    num_text: int = 134,
    fast: bool = False,
    **options,
):
    """Build the image processor of OneFormer in transformers.

    Args:
        classes (Sequence[str]): Names in label order.
        things (Sequence[int]): Labels of the countable ones.
        num_text (int): Texts per image.
        fast (bool): The implementation on tensors.
        **options: Of the processor, as the size of its images.
    """
    info = {
        str(label): dict(name=name, isthing=int(label in set(things)))
        for label, name in enumerate(classes)
    }
    name = 'OneFormerImageProcessor' + ('Fast' if fast else '')
    with tempfile.TemporaryDirectory() as folder:
        # It reads the classes from a file.
        Path(folder, 'classes.json').write_text(json.dumps(info))
        return getattr(transformers, name)(
            repo_path=folder,
            class_info_file='classes.json',
            num_text=num_text,
            ignore_index=0,
            **options,
        )


def network_output(cls_scores: Tensor, mask_preds: Tensor) -> SimpleNamespace:
    """Return logits of one image as the network of transformers does."""
    return SimpleNamespace(
        class_queries_logits=cls_scores[None],
        masks_queries_logits=mask_preds[None],
    )


def post_process(
    processor,
    output: SimpleNamespace,
    task: str,
    size: tuple[int, int],
    stuff: set[int],
    only_confident: bool = False,
) -> object:
    """Make the result of one task, with the thresholds that we use.

    Args:
        processor: Image processor of transformers.
        output (SimpleNamespace): Logits of one image.
        task (str): Which result.
        size (tuple[int, int]): Of the result.
        stuff (set[int]): Labels of stuff, whose segments merge.
        only_confident (bool): Instance: leave out scores up to 0.5, as for a
            demonstration. Average precision needs them, and ours keeps them.
    """
    sizes = [size]
    if task == 'semantic':
        return processor.post_process_semantic_segmentation(output, sizes)
    if task == 'panoptic':
        return processor.post_process_panoptic_segmentation(
            output,
            threshold=0.8,
            overlap_mask_area_threshold=0.8,
            label_ids_to_fuse=stuff,
            target_sizes=sizes,
        )
    return processor.post_process_instance_segmentation(
        output, is_demo=only_confident, target_sizes=sizes
    )
