"""What never reaches Django: the web server's own refusals are in our words too."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]


def exchange(url: str, request: bytes) -> tuple[int, str, bytes]:
    """Send raw bytes and return the status, the content type and the body of the answer."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers["content-type"], body


def test_what_is_no_http_is_refused_in_json(stack: Stack):
    stack.web(workers=1)
    path = b"/api/v1/sms/outbox"
    requests = {
        b"GET /api/v1/apps\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n": 400,
        b"GET /api/v1/apps HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: a\x00b\r\n\r\n": 400,
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n": 400,
        b"GET " + path + b"/" + b"x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n": 414,
        b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n": 431,
    }
    for request, expected in requests.items():
        status, content_type, body = exchange(stack.url, request)
        assert (status, content_type) == (expected, "application/json"), request[:60]
        answer = json.loads(body)
        assert answer["code"] == expected
        assert "nothing was stored or sent" in answer["error"]
    assert stack.get("/api/v1/ping").status_code == 200
