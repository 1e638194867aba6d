"""A pipeline that answers as transformers' ``image-segmentation`` does.

Example:
    >>> segment = OneFormerPipeline('config.py', 'model.pth')
    >>> segment('photo.jpg', subtask='panoptic')
    [{'score': 0.98, 'label': 'sky', 'mask': <PIL.Image.Image ...>}, ...]
"""

from projects.oneformer.inferencer import Image, OneFormerInferencer


class OneFormerPipeline:
    """Images in, lists of dicts out.

    Unlike transformers' pipeline it joins the stuff of a class, has the
    thresholds of the config, and its semantic results come from the semantic
    task.

    Args:
        config (str): Config of the model.
        weights (str): Checkpoint.
        device (str, optional): By default a GPU if there is one.
    """

    def __init__(
        self, config: str, weights: str, device: str | None = None
    ) -> None:
        # Arrays are RGB, as transformers has them.
        self.inferencer = OneFormerInferencer(
            config, weights, device, channel_order='rgb'
        )

    def __call__(
        self,
        images: Image | list[Image],
        subtask: str = 'panoptic',
        threshold: float = 0.0,
        batch_size: int = 1,
    ) -> list:
        """Return the segments of an image, or of each image of a list.

        Args:
            images (Image | list[Image]): Paths, addresses, images of Pillow
                or arrays.
            subtask (str): 'panoptic', 'instance' or 'semantic'.
            threshold (float): Segments with a lower score are left out;
                semantic ones have none.
            batch_size (int): Images that go through the model together.

        Returns:
            list: Dicts with ``score``, ``label`` and ``mask`` (an image of
            mode L, 255 inside); of a list of images, a list of these lists.
        """
        results = [
            result.to_transformers(score_thr=threshold)
            for result in self.inferencer(
                images, subtask, batch_size, score_thr=threshold
            )
        ]
        return results if isinstance(images, list) else results[0]
