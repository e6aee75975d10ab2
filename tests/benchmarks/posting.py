"""Posts messages from one process and one thread, over connections that stay open.

    python -m tests.benchmarks.posting '{"url": …, "authorization": …, "connections": 8, "seconds": 4, "keys": "a"}'

Prints `ready`, waits for a line on stdin, posts for so many seconds, each connection one message after the other, and
prints a JSON line: how many, in how many seconds, what each took, the seconds of processor that it used itself.

`keys` is what all idempotency keys begin with, `first` the place of the first number and key, and `again` (optional)
how many places there are, after which it begins anew: then every key is known, and anything but a repeat is an error.
`races` (optional) instead: each connection posts the same message at once, once for each of so many keys, and the line
tells what was answered for each key.

Requests are bytes over plain sockets, waited for by epoll: what this takes of the processor, the server lacks.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count, cycle
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.form import SENDER, TEXT


class Poster:
    def __init__(self, given: dict[str, Any]) -> None:
        parts = urlsplit(given["url"])
        self._given, self._keys = given, given["keys"]
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: {given['authorization']}\r\n"
            "Accept: */*\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: "
        )
        address = (parts.hostname or "", parts.port or 80)
        self._connections = [socket.create_connection(address) for _ in range(given["connections"])]
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _request(self, place: int) -> bytes:
        body = (
            f'{{"mobile":"05{place:08d}","message":"{TEXT.format(place)}","sender":"{SENDER}",'
            f'"idempotency_key":"{self._keys}-{place}","meta":{{"order_id":"{place}"}}}}'
        )
        return f"{self._head}{len(body)}\r\n\r\n{body}".encode()

    def post(self) -> dict[str, Any]:
        """Post for as long as was asked, and return how it went."""
        first, again = self._given.get("first", 0), self._given.get("again", 0)
        places: Iterator[int] = cycle(range(first, first + again)) if again else count(first)
        expected = b"HTTP/1.1 200" if again else b"HTTP/1.1 201"
        epoll, by_number = select.epoll(), {each.fileno(): each for each in self._connections}
        sent_at, answers, took = {}, dict.fromkeys(by_number, b""), []
        began, processor = time.perf_counter(), time.process_time()
        ends_at = began + self._given["seconds"]
        for number, connection in by_number.items():
            epoll.register(number, select.EPOLLIN)
            connection.sendall(self._request(next(places)))
            sent_at[number] = time.perf_counter()
        while sent_at:
            for number, _ in epoll.poll():
                answer = answers[number] + _some(by_number[number])
                if not _is_whole(answer):
                    answers[number] = answer
                    continue
                answers[number] = b""
                now = time.perf_counter()
                took.append(now - sent_at.pop(number))
                assert answer.startswith(expected), answer
                if now < ends_at:
                    by_number[number].sendall(self._request(next(places)))
                    sent_at[number] = time.perf_counter()
        lasted = time.perf_counter() - began
        return {"count": len(took), "seconds": lasted, "took": took, "processor": time.process_time() - processor}

    def race(self) -> dict[str, Any]:
        """Post each message over all connections at once, and return for each its statuses and ids."""
        ends = []
        for place in range(self._given["races"]):
            data = self._request(place)
            for connection in self._connections:
                connection.sendall(data)
            answers = [_whole_answer(connection).decode() for connection in self._connections]
            statuses = [int(answer.split(" ", 2)[1]) for answer in answers]
            ids = {json.loads(answer.rpartition("\r\n")[2]).get("id") for answer in answers}
            ends.append({"statuses": sorted(statuses), "ids": len(ids)})
        return {"races": ends}


def _whole_answer(connection: socket.socket) -> bytes:
    answer = b""
    while not _is_whole(answer):
        answer += _some(connection)
    return answer


def _is_whole(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = answer.find(b"Content-Length:")
    return len(answer) >= end + 4 + int(answer[at + 15 : answer.index(b"\r", at)])


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("The server closed the connection.")
    return data


def main(given: dict[str, Any]) -> None:
    poster = Poster(given)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(poster.race() if given.get("races") else poster.post()), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
