"""Predictions for Label Studio: an ML backend.

The environment variables ONEFORMER_CONFIG and ONEFORMER_WEIGHTS name the
model, ONEFORMER_TASK (by default panoptic) and ONEFORMER_DEVICE its task and
device.
"""

import os
from functools import cache

from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.response import ModelResponse

from projects.oneformer.inferencer import OneFormerInferencer

# Tags of the labelling interface that can hold a mask, the first found counts.
TAGS = dict(
    brush='BrushLabels', bitmask='BitmaskLabels', polygon='PolygonLabels'
)


@cache
def load_model() -> OneFormerInferencer:
    """Return the model, loaded once for all requests."""
    return OneFormerInferencer(
        os.environ['ONEFORMER_CONFIG'],
        os.environ['ONEFORMER_WEIGHTS'],
        os.environ.get('ONEFORMER_DEVICE'),
    )


class OneFormerBackend(LabelStudioMLBase):
    """What Label Studio asks for predictions."""

    def setup(self) -> None:
        """Set the version that Label Studio shows."""
        name = os.path.basename(os.environ['ONEFORMER_WEIGHTS'])
        self.set('model_version', f'OneFormer {name}')

    def predict(
        self, tasks: list[dict], context: dict | None = None, **kwargs
    ) -> ModelResponse:
        """Return a prediction for each task.

        Classes that the labelling interface does not have are left out.

        Raises:
            ValueError: If the interface has no tag for masks.
        """
        kind, from_name, to_name, variable = self.find_tag()
        model = load_model()
        known = set(self.label_interface.get_control(from_name).labels)
        classes = known & set(model.dataset_meta['classes'])
        model_task = os.environ.get('ONEFORMER_TASK', 'panoptic')
        predictions = []
        for task in tasks:
            url = task['data'][variable]
            path = self.get_local_path(url, task_id=task.get('id'))
            (result,) = model(path, model_task)
            answer = result.to_label_studio(
                kind=kind,
                classes=classes,
                image_url=url,
                from_name=from_name,
                to_name=to_name,
                model_version=str(self.get('model_version')),
            )
            predictions += answer['predictions']
        return ModelResponse(predictions=predictions)

    def find_tag(self) -> tuple[str, str, str, str]:
        """Return kind and name of the tag, name and variable of the image."""
        for kind, tag in TAGS.items():
            try:
                found = self.label_interface.get_first_tag_occurence(
                    tag, 'Image'
                )
            except ValueError:
                continue
            return kind, *found
        raise ValueError(
            'The labelling interface has no tag for the masks of an <Image>: '
            f'add one of {", ".join(TAGS.values())}.'
        )
