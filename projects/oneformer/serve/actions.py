"""What a visitor's actions on the page compute."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..results import SegmentationResult
from ..results.plot import color_segments
from .downloads import write_files
from .gradio import gr
from .limits import Limits, Upload, read_upload
from .many import segment_images, segment_video, split_videos
from .scaling import fit, in_full_size, resize_image, resize_result
from .served_model import ServedModel
from .viewer import message_html, viewer_html
from .visitor_errors import errors_for_visitors, visitor_error

SHOWN_SIDE = 1024  # longer side of drawings
ALL_TASKS = 'side by side'
CHOOSE = 'Choose an image: its segments appear here.'
FAILED = 'This image cannot be segmented.'
NO_RESULT = (
    'This image has no result yet, or it was dropped after an hour: then '
    'choose the image again.'
)


@dataclass(frozen=True, eq=False)
class Held:
    """The result of a visitor's last image.

    Attributes:
        upload (Upload): The image.
        result (SegmentationResult): With instances of all scores.
        shown (SegmentationResult): The same in the size of drawings.
    """

    upload: Upload
    result: SegmentationResult
    shown: SegmentationResult


class Actions:
    """What a visitor's actions compute with some models.

    The methods are listeners of gradio: they take the values of components
    and return those of others.

    Args:
        models (Mapping[str, ServedModel]): By name.
        limits (Limits): What visitors may ask for.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], limits: Limits
    ) -> None:
        self.models = models
        self.limits = limits

    def segment(
        self,
        path: str | None,
        name: str,
        progress=gr.Progress(),  # noqa: B008 (how gradio finds it)
    ) -> tuple:
        """Segment an image in all tasks; return the result and a note.

        What is drawn of the result is decided when it is there: a visitor
        may have chosen another task, threshold or opacity by then.
        """
        if path is None:
            return None, ''
        with errors_for_visitors():
            progress(0.1, desc='Reading the image')
            upload = read_upload(path, self.limits)
            progress(0.3, desc='Segmenting')
            result = self.models[name].segment(upload)
            progress(0.9, desc='Drawing')
            shown = resize_result(result, fit(result.size, SHOWN_SIDE))
        return Held(upload, result, shown), size_note(upload)

    def views(self, name: str, view: str) -> Any:
        """Offer the views of a model; keep the one chosen if it is one."""
        views = views_of(self.models[name])
        if view in views:
            return gr.Radio(choices=views)
        return gr.Radio(choices=views, value=views[0])

    def draw(
        self,
        held: Held | str | None,
        path: str | None,
        view: str,
        score_thr: float,
        opacity: float,
    ) -> tuple:
        """Draw the result that is held; no model is run.

        Args:
            held (Held | str, optional): The result, or the message in place
                of it.
            path (str, optional): Of the image on the page.
            view (str): A task, or all.
            score_thr (float): Lowest score of instances.
            opacity (float): Of the segments, 0 to 1.

        Returns:
            tuple: HTML of the viewer, both images of the slider, no files.
        """
        if not isinstance(held, Held):
            message = held or (NO_RESULT if path else CHOOSE)
            return message_html(message), None, None
        shown = held.shown.filter(score_thr)
        tasks = [view] if view in shown.tasks else list(shown.tasks)
        assert shown.image is not None
        drawing = np.asarray(shown.plot(tasks[0], opacity=opacity))
        height, width = drawing.shape[:2]
        image = resize_image(shown.image, (height, width))
        html = viewer_html(shown, tasks, opacity)
        return html, (image, drawing), None

    def files(
        self, held: Held | str | None, score_thr: float, opacity: float
    ) -> Iterator[list[str]]:
        """Write the files of the result, in the size of the upload."""
        if not isinstance(held, Held):
            raise visitor_error(CHOOSE)
        result = in_full_size(held.result, held.upload.size, score_thr)
        with TemporaryDirectory() as folder:
            paths = write_files(result, opacity, Path(folder))
            yield [str(path) for path in paths]  # gradio copies them

    def compare(
        self,
        path: str | None,
        task: str,
        first: str,
        first_token: str,
        second: str,
        second_token: str,
        score_thr: float,
        opacity: float,
        progress=gr.Progress(),  # noqa: B008
    ) -> tuple:
        """Segment an image twice; return both drawings and a summary."""
        if path is None:
            raise visitor_error(CHOOSE)
        pairs = [(first, first_token), (second, second_token)]
        results = []
        with errors_for_visitors():
            upload = read_upload(path, self.limits)
            for number, (name, token) in enumerate(pairs):
                progress((number, 2), desc=f'{name}, {token} token')
                result = self.models[name].segment_with_token(
                    upload, task, token
                )
                size = fit(result.size, SHOWN_SIDE)
                results.append(resize_result(result, size).filter(score_thr))
        drawings = tuple(
            np.asarray(result.plot(task, opacity=opacity))
            for result in results
        )
        counts = ', '.join(
            f'{side} ({escape(name)}, {token} token): '
            f'{len(result.segments_of(task))} segments'
            for side, (name, token), result in zip(
                ('Left', 'right'), pairs, results, strict=True
            )
        )
        same = 100 * agreement(results[0], results[1], task)
        return drawings, f'{counts}. Same class at {same:.1f} % of the pixels.'

    def many(
        self,
        files: list[str] | None,
        folder: list[str] | None,
        name: str,
        task: str,
        score_thr: float,
        opacity: float,
        progress=gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple]:
        """Segment images, or one video; yield drawings, text and files."""
        paths = [*(files or ()), *(folder or ())]
        images, videos = split_videos(paths)
        if not paths or len(videos) > 1 or (images and videos):
            raise visitor_error('Choose images, or one video.')
        model = self.models[name]
        if task not in model.tasks:
            raise visitor_error(
                f'{escape(name)} was not made for the {task} task.'
            )
        settings = (task, score_thr, opacity, self.limits)
        gallery: list[tuple[np.ndarray, str]] = []
        problems: list[str] = []
        step = None
        with TemporaryDirectory() as folder_name, errors_for_visitors():
            target = Path(folder_name, f'{task}.zip')
            video = Path(folder_name, f'{task}.mp4')
            steps = (
                segment_video(model, videos[0], *settings, video, target)
                if videos
                else segment_images(model, images, *settings, target)
            )
            for step in steps:
                if step.total:
                    progress((step.done, step.total), desc=step.name)
                if step.problem:
                    problems.append(step.problem)
                if step.drawing is not None and not videos:
                    height, width = step.drawing.shape[:2]
                    small = fit((height, width), 480)
                    drawing = resize_image(step.drawing, small)
                    gallery.append((drawing, step.name))
                text = progress_text(step.done, step.total, problems)
                yield gallery, text, gr.skip(), gr.skip()
            assert step is not None  # as there are images
            text = progress_text(step.done, step.done, problems, 'Done: ')
            player = gr.skip()
            if videos:
                player = gr.Video(str(video), visible=True)
            yield gallery, text, player, str(target)


def views_of(model: ServedModel) -> list[str]:
    """Return what the page can show of a model."""
    tasks = list(model.tasks)
    return [*tasks, ALL_TASKS] if len(tasks) > 1 else tasks


def no_result() -> tuple:
    """Return what `Actions.segment` returns of an image it cannot segment."""
    return FAILED, ''


def size_note(upload: Upload) -> str:
    """Return what became of the size of an image."""
    height, width = upload.size
    if upload.pixels.shape[:2] == upload.size:
        return f'{width} x {height} pixels'
    smaller = f'{upload.pixels.shape[1]} x {upload.pixels.shape[0]}'
    return f'{width} x {height} pixels, segmented at {smaller}'


def progress_text(
    done: int, total: int | None, problems: list[str], begin: str = ''
) -> str:
    """Return how far a run is, and what went wrong."""
    of = '' if total is None else f' of {total}'
    lines = [f'{begin}{done}{of}', *(f'- {escape(p)}' for p in problems)]
    return '\n\n'.join(lines)


def agreement(
    first: SegmentationResult, second: SegmentationResult, task: str
) -> float:
    """Return the share of pixels that have one class in both, or none."""
    numbers: dict[str, int] = {}
    maps = []
    for result in (first, second):
        labels = np.zeros(result.size, np.int32)
        for segment, _ in color_segments(result, task):
            number = numbers.setdefault(segment.name, len(numbers) + 1)
            labels[segment.mask] = number
        maps.append(labels)
    return float((maps[0] == maps[1]).mean())
