"""A small imitation of the Hub: the routes that its client needs.

Repositories are dicts in memory. Weights go through Git LFS, as on the Hub;
every other file is part of the commit.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import yaml

TOKEN = 'hf_abcdefgh'


class Hub:
    """What the server holds.

    Attributes:
        repos (dict): Files by name, by repository.
        gated (set): Repositories whose conditions nobody accepted.
        requests (list): Method and path of each request.
    """

    def __init__(self) -> None:
        self.address = ''
        self.repos: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.lfs: dict[str, bytes] = {}
        self.requests: list[str] = []

    def commit_of(self, repo: str) -> str:
        names = repr(sorted(self.repos[repo].items())).encode()
        return hashlib.sha1(names).hexdigest()


@contextmanager
def serve():
    """Run a hub on a free port of this machine and yield it."""
    hub = Hub()
    server = ThreadingHTTPServer(
        ('127.0.0.1', 0), type('Handler', (_Handler,), dict(hub=hub))
    )
    hub.address = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args) -> None:
        """Keep the output of the tests clean."""

    def do_GET(self) -> None:
        self._route(
            {
                r'/api/models/([^/]+/[^/]+)(?:/revision/(.+))?': self._info,
                r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)': self._file,
            }
        )

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self._route(
            {
                '/api/repos/create': self._create,
                '/api/validate-yaml': self._validate,
                r'/api/models/([^/]+/[^/]+)/preupload/.+': self._preupload,
                r'/api/models/([^/]+/[^/]+)/commit/.+': self._commit,
                r'/([^/]+/[^/]+)\.git/info/lfs/objects/batch': self._batch,
            }
        )

    def do_PUT(self) -> None:
        self._route({r'/lfs/(\w+)': self._upload})

    def _route(self, routes) -> None:
        path = unquote(self.path.partition('?')[0])
        self.hub.requests.append(f'{self.command} {path}')
        length = int(self.headers.get('Content-Length') or 0)
        self.body = self.rfile.read(length)
        if self.command != 'GET' and self.command != 'HEAD':
            token = self.headers.get('Authorization')
            if token != f'Bearer {TOKEN}' and not path.startswith('/lfs/'):
                self._answer(401, dict(error='Invalid username or password.'))
                return
        for pattern, action in routes.items():
            if match := re.fullmatch(pattern, path):
                action(*match.groups())
                return
        self._answer(404, dict(error=f'no route {path}'))

    def _answer(self, status: int, content, **headers) -> None:
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def _known(self, repo: str, revision: str | None) -> bool:
        if repo not in self.hub.repos:
            # As on the Hub, which does not say whether it is private.
            self._answer(401, {}, X_Error_Code='RepoNotFound')
            return False
        if revision not in (None, 'main', self.hub.commit_of(repo)):
            self._answer(404, {}, X_Error_Code='RevisionNotFound')
            return False
        return True

    def _info(self, repo: str, revision: str | None) -> None:
        if self._known(repo, revision):
            files = [dict(rfilename=name) for name in self.hub.repos[repo]]
            commit = self.hub.commit_of(repo)
            self._answer(
                200,
                dict(
                    id=repo,
                    sha=commit,
                    siblings=files,
                    private=False,
                    tags=[],
                    downloads=0,
                    likes=0,
                ),
            )

    def _file(self, repo: str, revision: str, name: str) -> None:
        if not self._known(repo, revision):
            return
        if repo in self.hub.gated:
            self._answer(403, {}, X_Error_Code='GatedRepo')
            return
        content = self.hub.repos[repo].get(name)
        if content is None:
            self._answer(404, {}, X_Error_Code='EntryNotFound')
            return
        self._answer(
            200,
            content,
            ETag=f'"{hashlib.sha1(content).hexdigest()}"',
            X_Repo_Commit=self.hub.commit_of(repo),
        )

    def _create(self) -> None:
        asked = json.loads(self.body)
        repo = f'{asked.get("organization", "me")}/{asked["name"]}'
        known = repo in self.hub.repos
        self.hub.repos.setdefault(repo, {})
        self._answer(
            409 if known else 200, dict(url=f'{self.hub.address}/{repo}')
        )

    def _validate(self) -> None:
        """Check what the Hub checks of a card, as far as its rules say."""
        card = json.loads(self.body)['content']
        metadata = yaml.safe_load(card.split('---')[1])
        licence = metadata.get('license', 'other')
        if re.fullmatch(r'[a-z0-9.-]+', licence):
            self._answer(200, dict(errors=[], warnings=[]))
        else:
            error = dict(message='"license" must be one of [apache-2.0, ...]')
            self._answer(400, dict(errors=[error], warnings=[]))

    def _preupload(self, repo: str) -> None:
        files = [
            dict(
                path=file['path'],
                uploadMode='lfs'
                if file['path'].endswith('.safetensors')
                else 'regular',
                shouldIgnore=False,
            )
            for file in json.loads(self.body)['files']
        ]
        self._answer(200, dict(files=files))

    def _batch(self, repo: str) -> None:
        objects = [
            dict(
                entry,
                actions=dict(
                    upload=dict(href=f'{self.hub.address}/lfs/{entry["oid"]}')
                ),
            )
            for entry in json.loads(self.body)['objects']
        ]
        self._answer(200, dict(transfer='basic', objects=objects))

    def _upload(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.lfs[oid] = self.body
        self._answer(200, {})

    def _commit(self, repo: str) -> None:
        files = self.hub.repos[repo]
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry['value']
            if entry['key'] == 'file':
                files[value['path']] = base64.b64decode(value['content'])
            elif entry['key'] == 'lfsFile':
                files[value['path']] = self.hub.lfs[value['oid']]
        commit = self.hub.commit_of(repo)
        self._answer(
            200,
            dict(
                commitUrl=f'{self.hub.address}/{repo}/commit/{commit}',
                commitOid=commit,
            ),
        )
