"""The results of an image, made from those of its tiles."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from pycocotools import mask as coco_mask

from ..results.segment import encode_mask
from ..tiling import (
    Instance,
    InstanceMosaic,
    PanopticMosaic,
    PanopticSegment,
    SemanticMosaic,
    Tile,
)
from . import postprocessing
from .description import Description
from .resized_masks import ResizedMasks


class ResultMosaic:
    """Joins what the exported model predicts of the tiles of an image.

    Args:
        size (tuple[int, int]): Height and width of the image.
        tasks (Sequence[str]): Which results.
        description (Description): Of the model.
    """

    def __init__(
        self,
        size: tuple[int, int],
        tasks: Sequence[str],
        description: Description,
    ) -> None:
        self.tasks = tasks
        self.description = description
        self.things = postprocessing.is_thing(description)
        self.semantic = SemanticMosaic(*size, len(description.classes))
        self.panoptic = PanopticMosaic(*size)
        self.instance = InstanceMosaic(*size, description.tile_score_thr)

    def add(
        self, tile: Tile, task: str, cls_scores: ndarray, masks: ResizedMasks
    ) -> None:
        """Add what the queries of a task say of a tile.

        Args:
            tile (Tile): Its place; tiles come row by row.
            task (str): Of the queries.
            cls_scores (ndarray): Class logits, (Q, K + 1).
            masks (ResizedMasks): In the size of the tile's place.
        """
        if task == 'semantic':
            scores = np.empty((len(self.things), *masks.size), np.float32)
            for (rows, columns), total in postprocessing.semantic_scores(
                cls_scores, masks
            ):
                scores[:, rows, columns] = total.transpose(2, 0, 1)
            self.semantic.add(tile, scores)
        elif task == 'panoptic':
            found = postprocessing.fuse_panoptic(
                cls_scores, masks, self.description
            )
            segments = {
                id: PanopticSegment(
                    label, id if self.things[label] else 0, score or 0.0
                )
                for id, (label, score) in found.known.items()
            }
            self.panoptic.add(tile, found.ids, segments)
        else:
            self.instance.add(
                tile,
                (
                    Instance(
                        found.label,
                        found.score,
                        coco_mask.decode(found.rle).astype(bool),
                    )
                    for found in postprocessing.fuse_instance(
                        cls_scores, masks, self.description
                    )
                ),
            )

    def semantic_result(self) -> ndarray:
        """Return the label of each pixel, (H, W)."""
        labels = self.semantic.result()
        return labels.astype(postprocessing.label_type(self.description))

    def panoptic_result(self) -> postprocessing.Panoptic:
        """Return the joined segments."""
        joined = self.panoptic.result()
        return postprocessing.Panoptic(
            joined.ids,
            {
                id: (segment.label, segment.score)
                for id, segment in enumerate(joined.segments, 1)
            },
        )

    def instance_result(self) -> list[postprocessing.Instance]:
        """Return the joined instances by falling score."""
        instances = [
            postprocessing.Instance(label, score, encode_mask(mask))
            for label, score, mask in self.instance.result()
        ]
        return sorted(instances, key=lambda found: -found.score)
