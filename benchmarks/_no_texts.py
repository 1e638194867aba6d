"""Training samples without the texts of their objects."""

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from projects.oneformer.text import filler_text


@TRANSFORMS.register_module()
class NoTexts(BaseTransform):
    """List no text, so that all slots hold the text of the task.

    Required Keys: ``task``. Added Keys: ``texts`` (an empty list) and
    ``filler_text`` (str), as of ``TaskTexts``.
    """

    def transform(self, results: dict) -> dict:
        """Add the keys to ``results``."""
        results['texts'] = []
        results['filler_text'] = filler_text(results['task'])
        return results
