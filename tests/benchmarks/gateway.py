"""A provider that costs next to nothing: Mora's accepted answer, 50 ms after the request, from one process.

    with FastGateway() as gateway:              starts `python -m tests.benchmarks.gateway`
        ... SMS_PROVIDER_BASE_URLS={"mora-sms": gateway.url} ...
        gateway.counts()                        requests, distinct numbers, times of the first and last arrival
        gateway.arrivals()                      [(time, number)], in order
        gateway.reset(delay=0.05)

Whatever it takes of the processor is missing in what is measured, on a machine with two cores. So it is one loop over
epoll, whose answers wait in one line since all wait equally long. An arrival is noted when the request is there as a
whole. Times are those of `time.time`, which is also the clock of a database on this machine.
"""

from __future__ import annotations

import collections
import contextlib
import json
import select
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).resolve().parents[2]
DELAY = 0.05  # seconds
SEND_PATH = "/api/v1/sendsms"
_BODY = (
    b'{"status":{"code":200,"message":"Success","error":null,"validation_errors":[]},"data":{"code":100,'
    b'"message":"accepted","ref_id":"mr-%d","timestamp":"2026-01-18T10:45:30Z"}}'
)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


# --- the process ------------------------------------------------------------------------------------------------


class _Server:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._connections: dict[int, socket.socket] = {}
        self._parts: dict[int, bytes] = {}  # of requests that are not there as a whole
        self._due: collections.deque[tuple[float, int, socket.socket, bytes]] = collections.deque()
        self._delay = DELAY
        self._arrivals: list[tuple[float, str]] = []
        self._began = 0.0  # of the processor's time

    def run(self) -> None:
        listening, connections, due = self._listener.fileno(), self._connections, self._due
        while True:
            wait = max(due[0][0] - time.monotonic(), 0) if due else -1
            for number, _ in self._epoll.poll(wait):
                if number == listening:
                    self._accept()
                elif number == 0:
                    return  # stdin: whoever started us closed it
                else:
                    self._read(number)
            now = time.monotonic()
            while due and due[0][0] <= now:
                _, number, connection, answer = due.popleft()
                if connections.get(number) is connection:
                    self._write(number, answer)

    def end_with(self, stream: Any) -> None:
        """Return from `run` when this stream, which is stdin, is closed."""
        self._epoll.register(stream.fileno(), select.EPOLLIN | select.EPOLLHUP)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _read(self, number: int) -> None:
        try:
            data = self._connections[number].recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(number)
            return
        if number in self._parts:
            data = self._parts.pop(number) + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + (length := _length(data[:end])):
            self._parts[number] = data
            return
        # A client sends its next request when it has this one's answer, so nothing follows.
        self._answer(number, data, data[end + 4 : end + 4 + length])

    def _answer(self, number: int, head: bytes, body: bytes) -> None:
        if head.startswith((b"GET /_control/", b"POST /_control/")):
            what = head.split(b" ", 2)[1].decode().removeprefix("/_control/")
            found = json.dumps(self._control(what, json.loads(body or b"{}"))).encode()
            self._write(number, _HEAD % len(found) + found)
            return
        begin = body.find(b"numbers=")
        to = body[begin + 8 :].split(b"&", 1)[0].decode() if begin >= 0 else ""
        self._arrivals.append((time.time(), to))
        answer = _BODY % len(self._arrivals)
        due = (time.monotonic() + self._delay, number, self._connections[number], _HEAD % len(answer) + answer)
        self._due.append(due)

    def _control(self, what: str, given: dict[str, Any]) -> Any:
        if what == "arrivals":
            return self._arrivals
        if what == "reset":
            self._delay = given.get("delay", DELAY)
            self._arrivals, self._began = [], time.process_time()
        arrivals = self._arrivals
        return {
            "requests": len(arrivals),
            "distinct": len({number for _, number in arrivals}) if what == "counts" else 0,
            "first": arrivals[0][0] if arrivals else 0.0,
            "last": arrivals[-1][0] if arrivals else 0.0,
            "processor": time.process_time() - self._began,
        }

    def _write(self, number: int, answer: bytes) -> None:
        connection = self._connections[number]
        try:
            sent = connection.send(answer)
        except OSError:
            self._forget(number)
            return
        if sent < len(answer):  # the arrivals of a long run; nothing is being measured then
            connection.setblocking(True)
            connection.sendall(answer[sent:])
            connection.setblocking(False)

    def _forget(self, number: int) -> None:
        self._parts.pop(number, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(number)
        self._connections.pop(number).close()


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def serve() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server = _Server(listener)
        server.end_with(sys.stdin)
        print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
        server.run()


# --- from outside -----------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """Since the last reset. Times are seconds since 1970, 0 when nothing came; `processor` is seconds as well."""

    requests: int
    distinct: int
    first: float
    last: float
    processor: float


class FastGateway:
    """Starts the process and stops it at the end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.gateway"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._process.communicate()  # closes its stdin, which is the sign to stop

    def counts(self) -> Counts:
        """What came. Finding the distinct numbers takes a moment: not while something is being measured."""
        return Counts(**self._control("counts"))

    def progress(self) -> Counts:
        """The same without the distinct numbers, at any time."""
        return Counts(**self._control("progress"))

    def arrivals(self) -> list[tuple[float, str]]:
        return [(at, number) for at, number in self._control("arrivals")]

    def reset(self, *, delay: float = DELAY) -> None:
        """Forget what came. From now on an answer takes `delay` seconds."""
        self._control("reset", {"delay": delay})

    def prove_once_each(self, count: int) -> None:
        """Raise AssertionError unless exactly so many numbers came, each once."""
        counts = self.counts()
        assert counts.requests == counts.distinct == count, (
            f"{counts.requests} requests for {counts.distinct} numbers came, {count} each once were due"
        )

    def _control(self, what: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_control/{what}", data=data)) as response:
            return json.load(response)


if __name__ == "__main__":
    serve()
