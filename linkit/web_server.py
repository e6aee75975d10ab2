"""gunicorn's configuration (`-c python:linkit.web_server`): what it refuses by itself is refused in our words.

A request that is no HTTP never reaches Django: a NUL in a header, a line of 5 KB. gunicorn answers it with a page of
HTML, which no client of an API can read.
"""

import gc
import json
import select
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

worker_class = "linkit.web_server.Worker"
_MOMENT = 5  # milliseconds


def post_worker_init(worker: ThreadWorker) -> None:
    """Take what has been loaded, which stays, out of every later collection of garbage, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class Worker(ThreadWorker):
    """The threaded worker, with JSON in place of its own error pages, and quick with a client that has more to say."""

    def handle(self, conn: Any) -> Any:
        """Answer a request, and those that follow it at once on the same connection.

        Passing a connection back to the main thread and on to another takes as long as many a request does. So a thread
        that nobody else waits for listens a moment longer.
        """
        answered = super().handle(conn)
        while answered is True and self.alive and self._is_idle() and _has_more(conn):
            answered = super().handle(conn)
        return answered

    def _is_idle(self) -> bool:
        return bool(self.tpool._work_queue.empty())

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        super().handle_error(req, _JSONAnswer(client), addr, exc)


def _has_more(conn: Any) -> bool:
    """Whether the client's next request begins within a moment."""
    if conn.parser.unreader.buf.getvalue():
        return True
    poll = select.poll()
    poll.register(conn.sock, select.POLLIN)
    return bool(poll.poll(_MOMENT))


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
