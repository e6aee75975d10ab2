"""The transport over real sockets: what certainly did not leave, what may have, and when a call ends."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sms_providers import transport
from sms_providers.transport import Budget, MaybeSent, NotSent, Reply, exchange

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIMIT = timedelta(seconds=10)  # for calls that are not about time
SHORT = timedelta(seconds=0.5)
GRACE = 1.0  # how much longer than its limit a call may last


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self.sock, self.server = sock, server
        self.got = b""
        self._rest = b""

    def request(self) -> bytes | None:
        """Read one request with its body; None when the client has closed."""
        while True:
            head, end, rest = self._rest.partition(b"\r\n\r\n")
            if end:
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                if len(rest) >= length:
                    self._rest = rest[length:]
                    self.server.requests.append(head + end + rest[:length])
                    return self.server.requests[-1]
            data = self.sock.recv(65536)
            if not data:
                return None
            self.got += data
            self._rest += data

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send a byte every 20 ms, for as long as the client takes it."""
        for byte in data:
            if self.server.is_closing.wait(0.02):
                return
            self.send(bytes([byte]))

    def wait_for_the_client(self) -> None:
        """Return when the client has closed, or the test is over."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass


class Server:
    """A TCP server on loopback that leaves each connection to `talk`."""

    def __init__(self, talk: Callable[[Peer], None]) -> None:
        self.requests: list[bytes] = []
        self.peers: list[Peer] = []
        self.is_closing = threading.Event()
        self._talk = talk
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/send"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(sock, self)
            self.peers.append(peer)
            self._start(self._serve, peer)

    def _serve(self, peer: Peer) -> None:
        with peer.sock, contextlib.suppress(OSError):  # the client may leave at any moment
            self._talk(peer)

    def close(self) -> None:
        self.is_closing.set()
        for sock in (self._listener, *(peer.sock for peer in self.peers)):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Peer], None]], Server]]:
    servers: list[Server] = []

    def start(talk: Callable[[Peer], None]) -> Server:
        servers.append(Server(talk))
        return servers[-1]

    yield start
    transport._http().close()
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _new_pools() -> Iterator[None]:
    transport._http.cache_clear()
    yield
    transport._http().close()
    transport._http.cache_clear()


def answering(answer: bytes) -> Callable[[Peer], None]:
    """Return a talk that gives `answer` to every request of a connection."""

    def talk(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer)

    return talk


def post(url: str, limit: timedelta = LIMIT, **when: float) -> Reply:
    return exchange(requests.Request("POST", url, data={"text": "مرحبا"}), Budget(limit, **when))


def fails_with(error: type[NotSent | MaybeSent], url: str, limit: timedelta = LIMIT, **when: float) -> str:
    """Return the reason with which the call fails, having checked that it ends in time."""
    began = time.monotonic()
    with pytest.raises(error) as caught:
        post(url, limit, **when)
    assert time.monotonic() - began < limit.total_seconds() + GRACE
    assert isinstance(caught.value, NotSent | MaybeSent)
    return caught.value.reason


# --- certainly not sent --------------------------------------------------------------------------------------------


def test_a_refused_connection():
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        assert fails_with(NotSent, f"http://127.0.0.1:{bound.getsockname()[1]}/") == "connection_failed"


def test_a_name_that_does_not_exist():
    assert fails_with(NotSent, "https://gateway.invalid/send") == "dns_failed"


def test_a_server_that_speaks_no_tls(serve):
    def talk(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = serve(talk)
    assert fails_with(NotSent, f"https://127.0.0.1:{server.port}/") == "tls_failed"


def test_a_connection_closed_during_the_tls_handshake(serve):
    server = serve(lambda peer: peer.sock.recv(1))
    assert fails_with(NotSent, f"https://127.0.0.1:{server.port}/") in ("tls_failed", "connection_failed")


def test_a_tls_handshake_that_never_ends(serve):
    server = serve(Peer.wait_for_the_client)
    assert fails_with(NotSent, f"https://127.0.0.1:{server.port}/", SHORT) in ("tls_failed", "connection_failed")


def test_a_certificate_that_nobody_vouches_for(serve, tmp_path: Path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    seen = []

    def talk(peer: Peer) -> None:
        with context.wrap_socket(peer.sock, server_side=True) as secure:
            seen.append(secure.recv(65536))

    server = serve(talk)
    assert fails_with(NotSent, f"https://localhost:{server.port}/") == "tls_failed"
    assert not any(seen)


def test_past_its_start_a_call_does_not_even_connect(serve):
    server = serve(answering(OK))
    assert fails_with(NotSent, server.url, start_by=time.monotonic()) == "no_time_left"
    assert server.peers == []


def test_past_its_start_a_pooled_connection_stays_silent(serve):
    server = serve(answering(OK))
    post(server.url)
    assert fails_with(NotSent, server.url, start_by=time.monotonic()) == "no_time_left"
    post(server.url)
    assert len(server.requests) == 2


def test_no_byte_leaves_when_connecting_took_too_long(serve, monkeypatch: pytest.MonkeyPatch):
    server = serve(Peer.request)
    start_by = time.monotonic() + 0.2
    look_up = socket.getaddrinfo

    def slow_look_up(*args: Any, **kwargs: Any) -> Any:
        while time.monotonic() < start_by:
            threading.Event().wait(0.01)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
    assert fails_with(NotSent, server.url, start_by=start_by) == "no_time_left"
    server.close()
    assert [peer.got for peer in server.peers] in ([b""], [])


def test_without_any_time_nothing_is_tried(serve):
    server = serve(answering(OK))
    assert fails_with(NotSent, server.url, timedelta(0)) == "no_time_left"
    assert server.peers == []


@pytest.mark.parametrize("url", ["", "nowhere", "http://", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
def test_an_address_that_is_none(url: str):
    assert fails_with(NotSent, url) == "request_not_built"


def test_a_header_that_cannot_be_sent(serve):
    server = serve(answering(OK))
    with pytest.raises(NotSent) as caught:
        exchange(requests.Request("POST", server.url, headers={"Authorization": "Bearer رمز"}), Budget(LIMIT))
    assert caught.value.reason == "request_not_built"
    assert server.requests == []


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 403 Forbidden\r\n\r\n", b""])
def test_a_proxy_that_does_not_let_us_through(serve, monkeypatch: pytest.MonkeyPatch, greeting: bytes):
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(greeting)

    proxy = serve(talk)
    monkeypatch.setattr(transport, "_proxies", lambda origin: {"https": f"http://127.0.0.1:{proxy.port}"})
    assert fails_with(NotSent, "https://gateway.invalid/send") in ("tls_failed", "connection_failed")
    assert proxy.requests[0].startswith(b"CONNECT gateway.invalid:443")


# --- may have been sent --------------------------------------------------------------------------------------------


def test_closed_before_the_request_is_read(serve):
    server = serve(lambda peer: None)
    assert fails_with(MaybeSent, server.url) == "connection_lost"


def test_closed_after_the_request_is_read(serve):
    server = serve(lambda peer: peer.request())
    assert fails_with(MaybeSent, server.url) == "connection_lost"
    assert len(server.requests) == 1  # and not repeated


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz",
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 300 + b"\r\n",
    ],
)
def test_an_answer_that_breaks_off_or_is_no_http(serve, beginning: bytes):
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(beginning)

    server = serve(talk)
    assert fails_with(MaybeSent, server.url) == "connection_lost"
    assert len(server.requests) == 1


def test_headers_that_break_off_are_an_empty_answer(serve, caplog: pytest.LogCaptureFixture):
    """The library takes them for whole. An adapter finds nothing in it, and nothing logs the URL."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")

    reply = post(serve(talk).url + "?api_key=Secret")
    assert (reply.status, reply.body) == (200, b"")
    assert "Secret" not in caplog.text


def test_silence(serve):
    def talk(peer: Peer) -> None:
        peer.request()
        peer.wait_for_the_client()

    server = serve(talk)
    assert fails_with(MaybeSent, server.url, SHORT) == "read_timeout"
    assert len(server.requests) == 1


# Each of these would go on for a minute.
DRIPS = {
    "headers": (b"", b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 500),
    "body with a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n", b"x" * 3000),
    "body until close": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 3000),
    "body with a length until close": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n",
        b"x" * 3000,
    ),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 500),
    "old HTTP": (b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 3000),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 120),
}


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
def test_a_drip_does_not_outlive_the_limit(serve, drip: tuple[bytes, bytes]):
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(drip[0])
        peer.drip(drip[1])

    assert fails_with(MaybeSent, serve(talk).url, SHORT) == "read_timeout"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (requests.ConnectTimeout(), NotSent("connection_failed")),
        (requests.exceptions.SSLError(), NotSent("tls_failed")),
        (requests.exceptions.ProxyError(), NotSent("connection_failed")),
        (requests.ReadTimeout(), MaybeSent("read_timeout")),
        (requests.ConnectionError(), MaybeSent("connection_lost")),
        (requests.ConnectionError(ConnectionResetError()), MaybeSent("connection_lost")),
        (requests.ConnectionError(ConnectionRefusedError()), NotSent("connection_failed")),
        (requests.ConnectionError(TimeoutError()), MaybeSent("read_timeout")),
    ],
)
def test_errors_of_another_transport_are_named_in_doubt_as_unknown(error: Exception, expected: NotSent | MaybeSent):
    """As from a replaced HTTP adapter, which notes no progress."""
    with responses.RequestsMock() as http:
        http.post("https://gateway.example/", body=error)
        assert fails_with(type(expected), "https://gateway.example/") == expected.reason


# --- answers -------------------------------------------------------------------------------------------------------


def with_body(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_the_request_arrives_as_made(serve):
    server = serve(answering(OK))
    reply = post(server.url)
    assert (reply.status, reply.text, reply.is_cut) == (200, "ok", False)
    assert server.requests[0].startswith(b"POST /send HTTP/1.1\r\n")
    assert server.requests[0].endswith(b"text=%D9%85%D8%B1%D8%AD%D8%A8%D8%A7")


def test_a_compressed_answer(serve):
    packed = gzip.compress('{"ok": "نعم"}'.encode())
    reply = post(serve(answering(with_body(packed, b"Content-Encoding: gzip"))).url)
    assert reply.json == {"ok": "نعم"}


def test_charsets(serve):
    latin = "né".encode("latin-1")
    assert post(serve(answering(with_body(latin, b"Content-Type: text/plain; charset=ISO-8859-1"))).url).text == "né"
    assert post(serve(answering(with_body(latin, b"Content-Type: text/plain"))).url).text == "né"
    assert post(serve(answering(with_body("né".encode(), b"Content-Type: text/plain"))).url).text == "né"
    arabic = "نعم".encode("cp1256")
    assert post(serve(answering(with_body(arabic, b"Content-Type: text/html; charset=windows-1256"))).url).text == "نعم"
    assert post(serve(answering(with_body(b'\xef\xbb\xbf{"a": 1}'))).url).json == {"a": 1}


def test_a_huge_answer_is_cut_and_not_read_to_its_end(serve):
    length, sent, is_over = 60_000_000, 0, threading.Event()

    def talk(peer: Peer) -> None:
        nonlocal sent
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        try:
            for _ in range(length // 50_000):
                peer.send(b"x" * 50_000)
                sent += 50_000
        finally:
            is_over.set()

    reply = post(serve(talk).url)
    assert (reply.is_cut, len(reply.body), reply.json) == (True, transport.MAX_BODY_BYTES, None)
    assert is_over.wait(10)
    assert sent < length / 2


def test_a_small_answer_that_unpacks_to_a_huge_one_is_cut(serve):
    packed = gzip.compress(b"0" * 60_000_000)
    reply = post(serve(answering(with_body(packed, b"Content-Encoding: gzip"))).url)
    assert (reply.is_cut, len(reply.body)) == (True, transport.MAX_BODY_BYTES)


def test_after_a_cut_answer_the_next_call_is_not_confused(serve):
    def talk(peer: Peer) -> None:
        while request := peer.request():
            peer.send(with_body(b"x" * 3_000_000) if b"/big" in request else OK)

    server = serve(talk)
    assert post(server.url.replace("/send", "/big")).is_cut
    assert post(server.url).text == "ok"


def test_a_redirect_is_not_followed(serve):
    answer = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    server = serve(answering(answer))
    assert post(server.url).status == 302
    assert len(server.requests) == 1


# --- pooled connections --------------------------------------------------------------------------------------------


def test_a_connection_is_kept(serve):
    server = serve(answering(OK))
    for _ in range(3):
        assert post(server.url).text == "ok"
    assert len(server.peers) == 1


def test_a_connection_that_was_idle_too_long_is_not_used_again(serve, monkeypatch: pytest.MonkeyPatch):
    server = serve(answering(OK))
    post(server.url)
    monkeypatch.setattr(transport, "MAX_IDLE_SECONDS", 0.0)
    assert post(server.url).text == "ok"
    assert len(server.peers) == 2


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(serve):
    has_closed = threading.Event()

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.sock.shutdown(socket.SHUT_RDWR)  # though the answer promised to keep it
        has_closed.set()

    server = serve(talk)
    for _ in range(3):
        assert post(server.url).text == "ok"
        assert has_closed.wait(10)
        has_closed.clear()
    assert len(server.requests) == 3


def test_the_limit_of_one_call_does_not_end_the_next_on_its_connection(serve):
    first_ends_at = 0.0

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        while time.monotonic() < first_ends_at + 0.2:
            peer.server.is_closing.wait(0.02)
        peer.send(OK)

    server = serve(talk)
    limit = timedelta(seconds=0.5)
    post(server.url, limit)
    first_ends_at = time.monotonic() + limit.total_seconds()
    assert post(server.url).text == "ok"
    assert len(server.peers) == 1


def test_many_threads_each_get_their_own_answer(serve):
    def talk(peer: Peer) -> None:
        while request := peer.request():
            peer.send(with_body(request.partition(b" ")[2].partition(b" ")[0]))

    server = serve(talk)
    threads, calls = 16, 20
    barrier = threading.Barrier(threads)

    def call(number: int) -> list[str]:
        barrier.wait()
        return [post(f"{server.url}/{number}/{turn}").text for turn in range(calls)]

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(call, range(threads)))
    assert answers == [[f"/send/{number}/{turn}" for turn in range(calls)] for number in range(threads)]
    assert len(server.peers) <= threads


def test_many_calls_that_run_out_of_time_at_once_all_end(serve):
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.drip(b"x" * 3000)

    server = serve(talk)
    threads = 16
    barrier = threading.Barrier(threads)

    def call(_: int) -> str:
        barrier.wait()
        return fails_with(MaybeSent, server.url, SHORT)

    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(call, range(threads))) == {"read_timeout"}
