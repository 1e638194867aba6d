"""Read the image of a sample."""

from mmcv.transforms import LoadImageFromFile

from ...images import MAX_PIXELS, read_image
from ...registry import TRANSFORMS


@TRANSFORMS.register_module(name='LoadImageFromFile')
class LoadImage(LoadImageFromFile):
    """Read an image by the rules of :mod:`projects.oneformer.images`.

    In a config: ``dict(type='LoadImageFromFile',
    _scope_='projects.oneformer')``.

    Required Keys: ``img_path``.

    Added Keys: ``img`` (np.uint8, (H, W, 3), BGR), ``img_shape``,
    ``ori_shape``.

    Args:
        max_pixels (int): A larger image is refused. A pipeline that sets it
            cannot be used with mmdet's ``DetInferencer`` and
            ``inference_detector``, which pass it to their own classes.
        backend_args (dict, optional): File backend of mmengine.

    Raises:
        ImageError: If the image cannot be read; an
            :class:`ImageNotFoundError` if it does not exist.
    """

    def __init__(
        self, max_pixels: int = MAX_PIXELS, backend_args: dict | None = None
    ) -> None:
        if max_pixels < 1:
            raise ValueError(
                'Expected max_pixels of LoadImageFromFile to be 1 or more, '
                f'got {max_pixels}.'
            )
        super().__init__(imdecode_backend='pillow', backend_args=backend_args)
        self.max_pixels = max_pixels

    def transform(self, results: dict) -> dict:
        """Add the image to ``results``."""
        image = read_image(
            results['img_path'], self.max_pixels, self.backend_args
        )
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(max_pixels={self.max_pixels}, '
            f'backend_args={self.backend_args})'
        )
