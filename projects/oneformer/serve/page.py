"""The page: its components, their listeners, and its server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..tasks import TASKS
from .actions import CHOOSE, Actions, no_result, views_of
from .endpoints import Endpoints
from .gradio import ONE_AT_A_TIME, gr
from .json_errors import JSONErrors
from .limits import Limits
from .served_model import ServedModel
from .viewer import message_html

FOLDER = Path(__file__).parent
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
        self.actions = Actions(self.models, self.limits)
        self.blocks = self._build()

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
            Endpoints(self.models, self.limits).build()
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
            self.actions.segment,
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
            self.actions.views, [model, parts.view], parts.view, **OF_THE_PAGE
        )
        # One listener draws, for a new result as for a new setting: runs of
        # it follow one another, and the last has the newest of both.
        gr.on(
            [part.change for part in (held, *settings)],
            self.actions.draw,
            [held, photo, *settings],
            [*drawn, parts.files],
            trigger_mode='always_last',
            show_progress='hidden',
            **OF_THE_PAGE,
        )
        parts.make.click(
            self.actions.files,
            [held, score_thr, opacity],
            parts.files,
            **OF_THE_PAGE,
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
            self.actions.compare,
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
            self.actions.many,
            [files, folder, model, task, score_thr, opacity],
            [gallery, text, video, archive],
            show_progress_on=text,
            **ONE_AT_A_TIME,
            **OF_THE_PAGE,
        )
        stop.click(None, cancels=[running], **OF_THE_PAGE)

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


def read_asset(name: str) -> str:
    """Return the text of a file beside this module."""
    return (FOLDER / name).read_text(encoding='utf-8')


def path_of(payload) -> str | None:
    """Return the path of an uploaded file, without opening it."""
    return None if payload is None else payload.path
