"""The endpoints for programs."""

from collections.abc import Mapping
from html import escape
from typing import Any

from ..results.save import to_record
from ..tasks import TASKS
from .gradio import ONE_AT_A_TIME, gr
from .limits import Limits, read_upload
from .scaling import in_full_size
from .served_model import ServedModel
from .visitor_errors import errors_for_visitors, visitor_error


class Endpoints:
    """What programs ask for over HTTP.

    Args:
        models (Mapping[str, ServedModel]): By name.
        limits (Limits): What programs may ask for.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], limits: Limits
    ) -> None:
        self.models = models
        self.limits = limits

    def build(self) -> None:
        """Add hidden components of the endpoints to the current blocks."""
        with gr.Group(visible=False):
            image = gr.File(label='image')
            model = gr.Textbox(label='model', value=next(iter(self.models)))
            tasks = gr.JSON(label='tasks', value=None)
            score_thr = gr.Number(0.3, label='score_thr')
            answer = gr.JSON(label='segments')
            models = gr.JSON(label='models')
            gr.Button().click(
                self.segment,
                [image, model, tasks, score_thr],
                answer,
                api_name='segment',
                **ONE_AT_A_TIME,
            )
            gr.Button().click(
                self.list_models, None, models, api_name='models', queue=False
            )

    def segment(
        self,
        image: str | None,
        model: str | None = None,
        tasks: list[str] | None = None,
        score_thr: float = 0.3,
    ) -> dict[str, Any]:
        """Segment an image and return its segments as JSON.

        Args:
            image: The image file.
            model: One of /models; by default the first.
            tasks: Some of panoptic, instance and semantic; by default those
                of the model.
            score_thr: Instances with a lower score are left out, 0 to 1.

        Returns:
            Height, width, classes and, for each task, a list of segments
            with id, class, score, area, bbox and COCO run lengths.
        """
        if image is None:
            raise visitor_error('image is missing.')
        name = model or next(iter(self.models))
        asked = tasks or []
        if (
            name not in self.models
            or not isinstance(asked, list)
            or any(task not in TASKS for task in asked)
        ):
            raise visitor_error(
                f'Expected a model of {", ".join(self.models)} and a list of '
                f'tasks of {", ".join(TASKS)}, got {escape(name)} and '
                f'{escape(str(tasks)[:100], quote=False)}.'
            )
        if not isinstance(score_thr, int | float) or not 0 <= score_thr <= 1:
            raise visitor_error('Expected a score_thr of 0 to 1.')
        with errors_for_visitors():
            upload = read_upload(image, self.limits)
            result = self.models[name].segment(upload, asked)
        return to_record(in_full_size(result, upload.size, score_thr))

    def list_models(self) -> list[dict[str, Any]]:
        """Return the models with their tasks and classes."""
        return [
            dict(
                name=model.name,
                tasks=list(model.tasks),
                classes=list(model.classes),
            )
            for model in self.models.values()
        ]
