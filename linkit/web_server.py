"""gunicorn's configuration (`-c python:linkit.web_server`): what it refuses by itself is refused in our words.

A request that is no HTTP never reaches Django: a NUL in a header, a line of 5 KB. gunicorn answers it with a page of
HTML, which no client of an API can read.
"""

import json
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

worker_class = "linkit.web_server.Worker"


class Worker(ThreadWorker):
    """The threaded worker, with JSON in place of its own error pages."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        super().handle_error(req, _JSONAnswer(client), addr, exc)


class _JSONAnswer:
    """The client's socket, for one answer that gunicorn makes: its status is kept, its page is not."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        status = HTTPStatus(int(data.split(b" ", 2)[1]))
        sentence = "The request is not valid HTTP, or too long; nothing was stored or sent."
        body = json.dumps({"code": status.value, "error": sentence, "details": None}).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._client.sendall(head.encode("latin-1") + body)
