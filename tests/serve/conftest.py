"""A page with two tiny models, and a browser that visits it."""

import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.serve.limits import Limits
from projects.oneformer.serve.served_model import ServedModel
from tests.model_configs import be_sure_of_several_classes, build_model
from tests.pretrained.conftest import tiny_config

LIMITS = Limits(
    max_bytes=8_000_000,
    max_pixels=40_000_000,
    max_side=256,
    max_images=3,
    max_frames=4,
)
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


@pytest.fixture(scope='session')
def models(tmp_path_factory) -> list[ServedModel]:
    """Two models of the same layout and other weights."""
    config = tiny_config()
    config.model.backbone.init_cfg = None
    config.model.test_cfg.iou_thr = 0.0  # random masks overlap
    models = []
    for seed, name in ((0, 'first'), (3, 'second')):
        path = tmp_path_factory.mktemp('weights') / f'{name}.pth'
        model = build_model(config.model, seed=seed)
        be_sure_of_several_classes(model)
        torch.save(dict(state_dict=model.state_dict()), path)
        inferencer = OneFormerInferencer(config, path, device='cpu')
        models.append(ServedModel(name, inferencer))
    return models


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """A folder of images of several kinds, good and bad."""
    folder = tmp_path_factory.mktemp('photos')
    save_image(folder / 'photo.png', 64, 96)
    save_image(folder / 'other.jpg', 96, 64)
    (folder / 'damaged.png').write_bytes(
        (folder / 'photo.png').read_bytes()[:200]
    )
    (folder / 'text.png').write_text('no image')
    return folder


@pytest.fixture
def video(tmp_path):
    """A video of six frames; the limit is 4."""
    path = tmp_path / 'clip.avi'
    code = cv2.VideoWriter.fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), code, 10, (96, 64))
    for value in range(6):
        writer.write(np.full((64, 96, 3), 40 * value, np.uint8))
    writer.release()
    return path


def save_image(path, height: int, width: int, seed: int = 0) -> None:
    """Save an image of coloured patches."""
    patches = np.random.default_rng(seed).integers(
        0, 256, (4, 6, 3), dtype=np.uint8
    )
    image = Image.fromarray(patches).resize((width, height), Image.BICUBIC)
    image.save(path)


@pytest.fixture(scope='session')
def asked_hosts():
    """The hosts that this process looked up, from the start of the page."""
    original, hosts = socket.getaddrinfo, set()

    def recorded(host, *arguments, **options):
        hosts.add(host)
        return original(host, *arguments, **options)

    socket.getaddrinfo = recorded
    yield hosts
    socket.getaddrinfo = original


@pytest.fixture(scope='session')
def page(models, photos, asked_hosts):
    """The page, without a server."""
    pytest.importorskip('gradio', reason='needs gradio: make test-web')
    from projects.oneformer.serve.page import Page

    return Page(models, LIMITS, [str(photos / 'photo.png')])


@pytest.fixture(scope='session')
def address(page) -> str:
    """The address of the page, which is served while tests run."""
    yield page.launch(block=False)
    page.blocks.close()


@pytest.fixture(scope='session')
def browser():
    """Chromium, without a window."""
    playwright = pytest.importorskip(
        'playwright.sync_api', reason='needs playwright: make test-web'
    )
    paths = [shutil.which(name) for name in BROWSERS]
    with playwright.sync_playwright() as started:
        paths.append(started.chromium.executable_path)  # its own, if any
        path = next((p for p in paths if p and Path(p).exists()), None)
        if path is None:
            pytest.skip('needs Chromium: apt install chromium')
        browser = started.chromium.launch(
            executable_path=path,
            args=['--no-sandbox', '--disable-dev-shm-usage'],
        )
        yield browser
        browser.close()
