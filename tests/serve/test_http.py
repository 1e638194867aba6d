"""The HTTP interface, used without a browser or gradio's client."""

import ast
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from projects.oneformer.tasks import TASKS

pytestmark = pytest.mark.web
ROOT = Path(__file__).parents[2]


def post(url: str, content: bytes, kind: str = 'application/json'):
    request = urllib.request.Request(url, content, {'Content-Type': kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def upload(address: str, path) -> str:
    """Upload a file; return its path on the server."""
    mark = uuid4().hex
    content = (
        f'--{mark}\r\nContent-Disposition: form-data; name="files"; '
        f'filename="{path.name}"\r\n\r\n'
    ).encode()
    content += path.read_bytes() + f'\r\n--{mark}--\r\n'.encode()
    kind = f'multipart/form-data; boundary={mark}'
    (found,) = post(f'{address}gradio_api/upload', content, kind)
    return found


def call(address: str, name: str, *arguments):
    """Call an endpoint; return the event and its data."""
    url = f'{address}gradio_api/call/{name}'
    body = json.dumps(dict(data=arguments)).encode()
    event = post(url, body)['event_id']
    with urllib.request.urlopen(f'{url}/{event}', timeout=120) as stream:
        kind = ''
        for line in stream:
            key, _, text = line.decode().strip().partition(': ')
            if key == 'event':
                kind = text
            if key == 'data' and kind in ('complete', 'error'):
                return kind, json.loads(text)
    raise AssertionError(f'{name} gave no answer')


def file_of(path: str) -> dict:
    return dict(path=path, meta=dict(_type='gradio.FileData'))


def segment(address: str, path, *arguments):
    return call(address, 'segment', file_of(upload(address, path)), *arguments)


def test_an_image_gets_its_segments_as_json(address, photos, models):
    kind, (record,) = segment(
        address, photos / 'photo.png', 'first', list(TASKS), 0.0
    )
    assert kind == 'complete'
    assert (record['height'], record['width']) == (64, 96)
    (expected,) = models[0].inferencer(
        str(photos / 'photo.png'), score_thr=0.0
    )
    for task in TASKS:
        segments = expected.segments_of(task)
        assert len(record[task]) == len(segments) > 0
        for found, own in zip(record[task], segments, strict=True):
            assert found['class'] == own.name
            rle = found['segmentation']
            assert coco_mask.area(rle) == found['area'] == own.area


def test_the_client_of_the_docs_gets_the_same(address, photos, tmp_path):
    text = (ROOT / 'docs' / 'serve.md').read_text()
    (client,) = re.findall(r'```python\n(import json.*?)```', text, re.DOTALL)
    assert 'http://127.0.0.1:7860/' in client
    script = tmp_path / 'client.py'
    script.write_text(client.replace('http://127.0.0.1:7860/', address))
    done = subprocess.run(
        [sys.executable, script, photos / 'photo.png'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kind, (record,) = ast.literal_eval(done.stdout)
    assert kind == 'complete'
    _, (expected,) = segment(address, photos / 'photo.png', None, None, 0.3)
    del record['file'], expected['file']
    assert record == expected


def test_files_of_the_server_are_out_of_reach(address):
    kind, _ = call(
        address, 'segment', file_of('/etc/hostname'), 'first', None, 0.3
    )
    assert kind == 'error'


def test_models_and_classes_are_listed(address, models):
    kind, (found,) = call(address, 'models')
    assert kind == 'complete'
    assert [model['name'] for model in found] == ['first', 'second']
    assert found[0]['classes'] == list(models[0].classes)


@pytest.mark.parametrize(
    'name, arguments, message',
    [
        ('text.png', ['first', None, 0.3], 'Image text.png cannot be read'),
        ('photo.png', ['third', None, 0.3], 'Expected a model of first, sec'),
        ('photo.png', ['first', ['boxes'], 0.3], "got first and ['boxes']."),
        ('photo.png', ['first', 'panoptic', 0.3], 'and a list of tasks of pa'),
        ('photo.png', ['first', 5, 0.3], 'got first and 5.'),
        ('photo.png', ['first', None, 7], 'Expected a score_thr of 0 to 1'),
    ],
)
def test_what_cannot_be_done_is_an_error_in_json(
    address, photos, name, arguments, message
):
    kind, content = segment(address, photos / name, *arguments)
    assert kind == 'error'
    assert message in content['error']


def test_an_image_of_too_many_pixels_is_an_error_in_json(address, tmp_path):
    Image.new('1', (8000, 6000)).save(tmp_path / 'vast.png')
    kind, content = segment(address, tmp_path / 'vast.png', 'first', None, 0.3)
    assert kind == 'error'
    assert 'more than 40 megapixels' in content['error']


def status_of(function, *arguments) -> tuple[int, dict]:
    with pytest.raises(urllib.error.HTTPError) as raised:
        function(*arguments)
    return raised.value.code, json.load(raised.value)


def test_a_file_of_too_many_bytes_is_refused_in_json(address, tmp_path):
    (tmp_path / 'large.png').write_bytes(bytes(8_000_001))
    code, content = status_of(upload, address, tmp_path / 'large.png')
    assert code == 413
    assert 'maximum allowed size' in content['detail']


@pytest.mark.parametrize('body', [b'{"data": ', b'[]', b'{"data": 3}'])
def test_a_malformed_request_is_refused_in_json(address, body):
    url = f'{address}gradio_api/call/segment'
    code, content = status_of(post, url, body)
    assert 400 <= code < 500
    assert content['detail']


def test_the_server_asks_no_other_server(address, photos, asked_hosts):
    segment(address, photos / 'photo.png', None, None, 0.3)
    assert asked_hosts <= {None, 'localhost', '127.0.0.1'}


def test_what_the_page_does_is_not_listed_among_the_endpoints(address):
    with urllib.request.urlopen(f'{address}gradio_api/info') as answer:
        found = json.load(answer)['named_endpoints']
    assert found.keys() == {'/segment', '/models'}


@pytest.mark.slow
def test_100_requests_of_8_clients_are_all_answered(address, photos):
    """Memory is flat: the second half needs hardly more than the first."""

    def ask(number: int):
        kind, content = segment(
            address, photos / 'photo.png', 'first', ['semantic'], 0.3
        )
        return kind, content[0]['semantic']

    with ThreadPoolExecutor(8) as clients:
        warm = list(clients.map(ask, range(20)))
        before = resident_bytes()
        answers = warm + list(clients.map(ask, range(80)))
    assert len(answers) == 100
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 'complete'
    time.sleep(1)
    # A result held for each request would be far more.
    assert resident_bytes() - before < 64e6


def resident_bytes() -> int:
    with open('/proc/self/status') as file:
        for line in file:
            if line.startswith('VmRSS:'):
                return int(line.split()[1]) * 1024
    raise AssertionError('the system states no resident memory')
