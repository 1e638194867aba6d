"""The page: components, what they do, and the endpoints of its interface."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

# Before gradio is imported, which would report its start otherwise.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'

import numpy as np

from ..errors import InputError, UserError
from ..optional import import_optional
from ..results import SegmentationResult
from ..results.plot import color_segments
from ..results.save import to_record
from ..tasks import TASKS
from .downloads import write_files
from .json_errors import JSONErrors
from .limits import Limits, Upload, read_upload
from .many import segment_images, segment_video, split_videos
from .scaling import fit, resize_image, resize_result
from .served_model import ServedModel
from .viewer import message_html, viewer_html

gr = import_optional('gradio', 'Pages of `oneformer serve`')

SHOWN_SIDE = 1024  # longer side of drawings
ALL_TASKS = 'side by side'
FOLDER = Path(__file__).parent
CHOOSE = 'Choose an image: its segments appear here.'
FAILED = 'This image cannot be segmented.'
NO_RESULT = (
    'This image has no result yet, or it was dropped after an hour: then '
    'choose the image again.'
)
# A GPU computes one image at a time; the others wait in the queue.
ONE_AT_A_TIME = dict(concurrency_id='model', concurrency_limit=1)
# What the page does is not listed among the endpoints for programs, nor takes
# their names.
OF_THE_PAGE = dict(api_visibility='private', api_name='page')
CSS = """
.gradio-container { margin: auto; max-width: 1280px !important; }
.gradio-container, .gradio-container main { width: 100%; }
.gradio-container .prose h1 { margin: 0.4rem 0 0; }
#compared { min-height: 0; }
@media (max-width: 600px) {
  .gradio-container .main.fillable { padding: 0.75rem; }
  #viewer .html-container { padding: 0; }
  /* All tabs fit: gradio hides the last ones in a menu otherwise. */
  .gradio-container .tab-container button { padding: 0 var(--size-2); }
}
"""


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


class ResultParts(NamedTuple):
    """Components that show the result of an image."""

    view: Any  # which task
    viewer: Any
    slider: Any
    make: Any  # the button that makes files
    files: Any


class Page:
    """A page that segments images with some models.

    Args:
        models (Sequence[ServedModel]): At least one, of different names.
        limits (Limits): What visitors may ask for.
        examples (Sequence[str]): Paths of images to offer.

    Raises:
        InputError: If there is no model, or two have one name.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        limits: Limits | None = None,
        examples: Sequence[str] = (),
    ) -> None:
        self.models = {model.name: model for model in models}
        if not models or len(self.models) != len(models):
            raise InputError(
                'Expected models of different names, got '
                f'{", ".join(model.name for model in models) or "none"}.'
            )
        self.limits = limits or Limits()
        self.examples = list(examples)
        self.blocks = self._build()

    # ------------------------------------------------------------- handlers

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
            raise gr.Error(CHOOSE, print_exception=False)
        result = in_full_size(held.result, held.upload, score_thr)
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
            raise gr.Error(CHOOSE, print_exception=False)
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
            raise gr.Error(
                'Choose images, or one video.', print_exception=False
            )
        model = self.models[name]
        if task not in model.tasks:
            raise gr.Error(
                f'{escape(name)} was not made for the {task} task.',
                print_exception=False,
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

    # ------------------------------------------------------------ endpoints

    def api_segment(
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
            raise gr.Error('image is missing.', print_exception=False)
        name = model or next(iter(self.models))
        asked = tasks or []
        if (
            name not in self.models
            or not isinstance(asked, list)
            or any(task not in TASKS for task in asked)
        ):
            raise gr.Error(
                f'Expected a model of {", ".join(self.models)} and a list of '
                f'tasks of {", ".join(TASKS)}, got {escape(name)} and '
                f'{escape(str(tasks)[:100], quote=False)}.',
                print_exception=False,
            )
        if not isinstance(score_thr, int | float) or not 0 <= score_thr <= 1:
            raise gr.Error(
                'Expected a score_thr of 0 to 1.', print_exception=False
            )
        with errors_for_visitors():
            upload = read_upload(image, self.limits)
            result = self.models[name].segment(upload, asked)
        return to_record(in_full_size(result, upload, score_thr))

    def api_models(self) -> list[dict[str, Any]]:
        """Return the models with their tasks and classes."""
        return [
            dict(
                name=model.name,
                tasks=list(model.tasks),
                classes=list(model.classes),
            )
            for model in self.models.values()
        ]

    # --------------------------------------------------------------- layout

    def _build(self) -> Any:
        with gr.Blocks(
            title='OneFormer',
            analytics_enabled=False,
            delete_cache=(600, 3600),
        ) as blocks:
            gr.Markdown('# OneFormer')
            names = list(self.models)
            model = gr.Dropdown(
                names,
                value=names[0],
                label='Model',
                visible=len(names) > 1,
                elem_id='model',
            )
            with gr.Tab('Image'):
                self._build_image(model)
            with gr.Tab('Folder or video'):
                self._build_many(model)
            self._build_endpoints()
        blocks.queue(
            max_size=self.limits.max_queue, default_concurrency_limit=8
        )
        return blocks

    def _build_image(self, model) -> None:
        held = gr.State(time_to_live=3600)
        # Below the drawing, but needed above.
        score_thr, opacity = settings_sliders(render=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                photo, note = self._build_upload()
            with gr.Column(scale=3, min_width=300):
                parts = self._build_result(model, photo, score_thr, opacity)
        settings = [parts.view, score_thr, opacity]
        drawn = [parts.viewer, parts.slider]
        segmented = gr.on(
            [photo.change, model.change],
            self.segment,
            [photo, model],
            [held, note],
            trigger_mode='always_last',
            show_progress_on=drawn,
            **ONE_AT_A_TIME,
            **OF_THE_PAGE,
        )
        # The last result would stand beside an image that failed.
        segmented.failure(no_result, None, [held, note], **OF_THE_PAGE)
        model.change(
            self.views, [model, parts.view], parts.view, **OF_THE_PAGE
        )
        # One listener draws, for a new result as for a new setting: runs of
        # it follow one another, and the last has the newest of both.
        gr.on(
            [part.change for part in (held, *settings)],
            self.draw,
            [held, photo, *settings],
            [*drawn, parts.files],
            trigger_mode='always_last',
            show_progress='hidden',
            **OF_THE_PAGE,
        )
        parts.make.click(
            self.files, [held, score_thr, opacity], parts.files, **OF_THE_PAGE
        )

    def _build_upload(self) -> tuple:
        """Add the image and a note on its size; return both."""
        photo = gr.Image(
            type='filepath',
            image_mode=None,
            sources=['upload', 'clipboard', 'webcam'],
            label='Image',
            height=320,
            elem_id='photo',
        )
        # gr.Image would open the file to find its mode, and fail on a damaged
        # one with a message of its own.
        photo.preprocess = path_of
        note = gr.Markdown(elem_id='note')
        if self.examples:
            gr.Examples(
                [[path] for path in self.examples],
                [photo],
                cache_examples=False,
                label='Examples',
            )
        return photo, note

    def _build_result(self, model, photo, score_thr, opacity) -> ResultParts:
        """Add what shows the result of an image, and the settings below."""
        views = views_of(self.models[model.value])
        view = gr.Radio(views, value=views[0], label='Show', elem_id='view')
        with gr.Tab('Segments'):
            viewer = gr.HTML(
                message_html(CHOOSE),
                css_template=read_asset('viewer.css'),
                js_on_load=read_asset('viewer.js'),
                elem_id='viewer',
            )
        with gr.Tab('Slider'):
            slider = gr.ImageSlider(
                label='Image and segments',
                format='jpeg',
                interactive=False,
                max_height=640,
                elem_id='slider',
            )
        with gr.Tab('Compare'):
            self._build_compare(photo, score_thr, opacity)
        with gr.Tab('Files'):
            gr.Markdown(
                'COCO panoptic (zip), COCO instances, drawings and label maps '
                '(PNG), and all segments (JSON), in the size of the image.'
            )
            make = gr.Button('Make files', elem_id='make-files')
            files = gr.File(
                label='Files',
                file_count='multiple',
                interactive=False,
                elem_id='files',
            )
        with gr.Row():
            score_thr.render()
            opacity.render()
        return ResultParts(view, viewer, slider, make, files)

    def _build_compare(self, photo, score_thr, opacity) -> None:
        names = list(self.models)
        many = len(names) > 1
        with gr.Row():
            first = gr.Dropdown(
                names, value=names[0], label='Left: model', visible=many
            )
            second = gr.Dropdown(
                names, value=names[-1], label='Right: model', visible=many
            )
        with gr.Row():
            first_token = gr.Radio(
                TASKS,
                value='panoptic',
                label='Left: task token',
                min_width=240,
                elem_id='first-token',
            )
            second_token = gr.Radio(
                TASKS,
                value='panoptic' if many else 'semantic',
                label='Right: task token',
                min_width=240,
                elem_id='second-token',
            )
        task = gr.Radio(TASKS, value='panoptic', label='Result to show')
        button = gr.Button('Compare', elem_id='compare')
        compared = gr.ImageSlider(
            label='Left and right',
            format='jpeg',
            interactive=False,
            max_height=640,
            elem_id='compared',
        )
        summary = gr.Markdown(elem_id='summary')
        button.click(
            self.compare,
            [
                *(photo, task, first, first_token, second, second_token),
                *(score_thr, opacity),
            ],
            [compared, summary],
            show_progress_on=compared,
            **ONE_AT_A_TIME,
            **OF_THE_PAGE,
        )

    def _build_many(self, model) -> None:
        limits = self.limits
        with gr.Row():
            files = gr.File(
                label='Images, or one video',
                file_count='multiple',
                file_types=['image', 'video'],
                height=160,
                elem_id='many',
            )
            folder = gr.File(
                label='or a folder of images',
                file_count='directory',
                height=160,
            )
        tasks = self.models[model.value].tasks
        task = gr.Radio(TASKS, value=tasks[0], label='Task')
        with gr.Row():
            score_thr, opacity = settings_sliders('many-')
        with gr.Row():
            start = gr.Button(
                'Segment', variant='primary', elem_id='segment-many'
            )
            stop = gr.Button('Stop', elem_id='stop-many')
        text = gr.Markdown(
            f'Up to {limits.max_images} images, or {limits.max_frames} '
            'frames of a video, whose segments are not followed from one to '
            'the next.',
            elem_id='many-text',
        )
        archive = gr.File(
            label='Drawings and JSON', interactive=False, elem_id='archive'
        )
        video = gr.Video(
            label='Video', interactive=False, visible=False, elem_id='video'
        )
        gallery = gr.Gallery(
            label='Drawings', columns=3, format='jpeg', elem_id='gallery'
        )
        running = start.click(
            self.many,
            [files, folder, model, task, score_thr, opacity],
            [gallery, text, video, archive],
            show_progress_on=text,
            **ONE_AT_A_TIME,
            **OF_THE_PAGE,
        )
        stop.click(None, cancels=[running], **OF_THE_PAGE)

    def _build_endpoints(self) -> None:
        """Add the endpoints for programs, which the page does not show."""
        with gr.Group(visible=False):
            image = gr.File(label='image')
            model = gr.Textbox(label='model', value=next(iter(self.models)))
            tasks = gr.JSON(label='tasks', value=None)
            score_thr = gr.Number(0.3, label='score_thr')
            answer = gr.JSON(label='segments')
            models = gr.JSON(label='models')
            gr.Button().click(
                self.api_segment,
                [image, model, tasks, score_thr],
                answer,
                api_name='segment',
                **ONE_AT_A_TIME,
            )
            gr.Button().click(
                self.api_models, None, models, api_name='models', queue=False
            )

    # --------------------------------------------------------------- server

    def launch(
        self,
        host: str | None = '127.0.0.1',
        port: int | None = None,
        share: bool = False,
        block: bool = True,
    ) -> str:
        """Serve the page.

        Args:
            host (str, optional): Address to listen on; ``0.0.0.0`` for all
                of this machine. None is what GRADIO_SERVER_NAME says.
            port (int, optional): By default the first free one from 7860.
            share (bool): Ask gradio.live for a public address.
            block (bool): Return when the server ends.

        Returns:
            str: Address of the page on this machine.

        Raises:
            InputError: If the port is taken, or the address is not of this
                machine.
        """
        from starlette.middleware import Middleware  # comes with gradio

        try:
            _, address, public = self.blocks.launch(
                server_name=host,
                server_port=port,
                share=share,
                prevent_thread_lock=True,
                quiet=True,
                max_file_size=self.limits.max_bytes,
                state_session_capacity=self.limits.max_sessions,
                enable_monitoring=False,
                mcp_server=False,
                pwa=False,
                ssr_mode=False,
                footer_links=['api', 'settings'],
                # As css, gradio would apply it inside the page's frame only.
                head=f'<style>{CSS}</style>',
                app_kwargs=dict(middleware=[Middleware(JSONErrors)]),
            )
        except OSError as error:
            raise InputError(
                f'The page cannot listen on {host}, port {port or "7860 ff."}'
                f' ({error}): choose another with --host or --port.'
            ) from error
        print(f'Open {public or address} in a browser. Ctrl+C ends the page.')
        if block:
            self.blocks.block_thread()
        return address


def settings_sliders(prefix: str = '', render: bool = True) -> tuple:
    """Return sliders of the threshold and of the opacity.

    Args:
        prefix (str): Begins their ids in the page.
        render (bool): Whether they stand where they are made.
    """
    score_thr = gr.Slider(
        0,
        1,
        0.3,
        step=0.01,
        label='Lowest score of instances',
        elem_id=f'{prefix}score',
        min_width=240,
        render=render,
    )
    opacity = gr.Slider(
        0,
        1,
        0.5,
        step=0.05,
        label='Opacity',
        elem_id=f'{prefix}opacity',
        min_width=240,
        render=render,
    )
    return score_thr, opacity


def views_of(model: ServedModel) -> list[str]:
    """Return what the page can show of a model."""
    tasks = list(model.tasks)
    return [*tasks, ALL_TASKS] if len(tasks) > 1 else tasks


def in_full_size(
    result: SegmentationResult, upload: Upload, score_thr: float
) -> SegmentationResult:
    """Return a result in the size that the image was uploaded in."""
    shown = replace(result.filter(score_thr), hidden=())
    return resize_result(shown, upload.size)


def no_result() -> tuple:
    """Return what `Page.segment` returns of an image it cannot segment."""
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


def read_asset(name: str) -> str:
    """Return the text of a file beside this module."""
    return (FOLDER / name).read_text(encoding='utf-8')


def path_of(payload) -> str | None:
    """Return the path of an uploaded file, without opening it."""
    return None if payload is None else payload.path


@contextmanager
def errors_for_visitors() -> Iterator[None]:
    """Show what a visitor can correct, without a traceback in the log."""
    try:
        yield
    except UserError as error:
        text = escape(str(error), quote=False)
        raise gr.Error(text, duration=None, print_exception=False) from error
