"""List the texts that describe the ground truth."""

import reprlib

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from ...text import class_text, filler_text


@TRANSFORMS.register_module()
class TaskTexts(BaseTransform):
    """Write one text per ground-truth mask, in the order of the classes.

    The model pads the list with the filler text to its number of text slots,
    and drops the texts beyond.

    Required Keys: ``task``, ``gt_bboxes_labels``, ``classes``.

    Added Keys: ``texts`` (list[str]), ``filler_text`` (str).

    Args:
        class_template (str): Text of a class, ``{}`` being its name.
        filler_template (str): Text of an empty slot, ``{}`` being the task
            with its article.
        names (dict[str, str], optional): Other names of classes for the texts,
            such as a synonym, a shorter name or another language.

    Raises:
        ValueError: If ``names`` has a key that is no class.

    Source: arXiv:2211.06220, task-dynamic text queries.
    """

    def __init__(
        self,
        class_template: str = 'a photo with a {}',
        filler_template: str = '{} photo',
        names: dict[str, str] | None = None,
    ) -> None:
        self.class_template = class_template
        self.filler_template = filler_template
        self.names = names or {}

    def transform(self, results: dict) -> dict:
        """Add the texts to ``results``."""
        classes = results['classes']
        if unknown := [name for name in self.names if name not in classes]:
            raise ValueError(
                f'names of TaskTexts has {unknown}, which are not among the '
                f'classes: expected some of {reprlib.repr(list(classes))}.'
            )
        results['texts'] = [
            self.text_of(classes[label])
            for label in sorted(results['gt_bboxes_labels'])
        ]
        results['filler_text'] = filler_text(
            results['task'], self.filler_template
        )
        return results

    def text_of(self, name: str) -> str:
        """Return the text of a class."""
        return class_text(self.names.get(name, name), self.class_template)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(class_template={self.class_template!r}, '
            f'filler_template={self.filler_template!r}, names={self.names})'
        )
