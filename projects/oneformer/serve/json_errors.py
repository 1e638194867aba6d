"""Refused uploads in JSON, as all other errors of the interface are."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]


class JSONErrors:
    """ASGI middleware that turns refusals in plain text into JSON.

    gradio refuses a file that is too large in plain text.

    Args:
        app (Callable): The application.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        """Answer a request."""
        refusal: Message | None = None

        async def answer(message: Message) -> None:
            nonlocal refusal
            if message['type'] == 'http.response.start' and _in_text(message):
                refusal = message
            elif refusal is not None:
                text = message.get('body', b'').decode()
                body = json.dumps(dict(detail=text)).encode()
                refusal['headers'] = [
                    (b'content-type', b'application/json'),
                    (b'content-length', str(len(body)).encode()),
                ]
                await send(refusal)
                await send(dict(message, body=body))
            else:
                await send(message)

        upload = scope['type'] == 'http' and scope['path'].endswith('/upload')
        await self.app(scope, receive, answer if upload else send)


def _in_text(message: Message) -> bool:
    kind = dict(message['headers']).get(b'content-type', b'')
    return message['status'] >= 400 and kind.startswith(b'text/plain')
