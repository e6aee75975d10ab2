"""The gateway's HTTP server: providers below `/<slug>/`, the control API below `/_control/`."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.gateway.journal import Entry, Journal
from tests.gateway.providers import PROVIDERS, Answer, Call, Provider, Refusal, Send
from tests.gateway.script import Behaviour, Rule, Script

_PIECE = 50_000  # bytes of a huge answer at a time
_TICK = 0.05  # seconds between looks at whether a waiting caller is still there


class Gateway:
    """The server in this process, on threads of its own. A context manager; `base_urls` points the product at it."""

    def __init__(
        self,
        *,
        port: int = 0,
        journal_path: Path | None = None,
        credentials: Mapping[str, Mapping[str, str]] | None = None,
        providers: Mapping[str, type[Provider]] = PROVIDERS,
    ) -> None:
        self.providers: dict[str, Provider] = {
            slug: provider((credentials or {}).get(slug)) for slug, provider in providers.items()
        }
        self.journal = Journal(journal_path)
        for provider in self.providers.values():
            provider.journal = self.journal
        self.is_stopping = False
        self._rules = Script()
        self._released = threading.Event()  # replaced at every release: those who wait hold the old one
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.gateway = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="gateway", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.is_stopping = True
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()
        self.journal.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_urls(self) -> dict[str, str]:
        """SMS_PROVIDER_BASE_URLS for this gateway."""
        return {slug: f"{self.url}/{slug}" for slug in self.providers}

    def script(
        self,
        slug: str | None,
        behaviour: Behaviour,
        *,
        number: str | None = None,
        times: int | None = None,
    ) -> None:
        """Behave so from now on: to this provider's sends (None: to all), to this number only, so many times only."""
        self._rules.add(Rule(behaviour, slug=slug, number=number, times_left=times))

    def release(self) -> None:
        """Answer everything that is held at this moment."""
        released, self._released = self._released, threading.Event()
        released.set()

    def reset(self) -> None:
        """Forget the script and the journal, and release what is held."""
        self._rules.clear()
        self.release()
        self.journal.clear()

    # --- for the handler -----------------------------------------------------------------------------------

    @property
    def released(self) -> threading.Event:
        return self._released

    @property
    def rules(self) -> Script:
        return self._rules


def _wrapped(plain: Answer, behaviour: Behaviour) -> Answer:
    """Return the same answer in the behaviour's charset, content type and packing.

    In another charset it has a note more, without which nobody would see the difference.
    """
    body, headers = plain.encoded()
    if behaviour.charset:
        noted = {**json.loads(body), "note": "né"}
        kind = headers["Content-Type"].partition(";")[0]
        headers = {**headers, "Content-Type": f"{kind}; charset={behaviour.charset}"}
        # Everything else stays escaped, since the charset may lack it.
        body = json.dumps(noted).replace("\\u00e9", "é").encode(behaviour.charset)
    if behaviour.is_packed:
        body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
    return Answer(plain.status, body, {**headers, **behaviour.headers})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    gateway: Gateway

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().close_request(request)

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that hang up are what we are here for. Anything else is our own fault and must be seen."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm: ClassVar[bool] = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the journal says it."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    # --- routing -------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        url = urlsplit(self.path)
        head, _, rest = url.path.removeprefix("/").partition("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if head == "_control":
            self._write(self._control(rest, self._read_body()))
            return
        provider = self.gateway.providers.get(head)
        if provider is None:
            self._read_body()
            self._write(Answer(404, {"message": f"This gateway has no provider '{head}'."}))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, "/" + unquote(rest), query, headers)
        if provider.is_send(call):
            if self.gateway.rules.drops_unread(provider.slug):
                self._note_unread(provider, call)
                self._hang_up()
                return
            self._serve_send(provider, Call(call.method, call.path, query, headers, self._read_body()))
            return
        call = Call(call.method, call.path, query, headers, self._read_body())
        self._write(provider.question(call) if provider.is_authorized(call) else provider.unauthorized())

    def _serve_send(self, provider: Provider, call: Call) -> None:
        try:
            send = provider.read_send(call)
        except Refusal as refusal:
            send, refused = Send([""], "", "", fields=dict(call.form or call.json or call.query)), refusal.code
        else:
            refused = ""
        if not provider.is_authorized(call):
            self._finish(self._note(provider, call, send, is_accepted=False), "unauthorized", provider.unauthorized())
        elif refused:
            self._finish(self._note(provider, call, send, is_accepted=False), "refused", provider.refused(refused))
        else:
            behaviour = self.gateway.rules.next(provider.slug, send.numbers)
            message_id = provider.id_for(send) if behaviour.is_accepted else ""
            # Before anything else happens: what was read may ring a handset, whatever comes next.
            released = self.gateway.released
            entries = self._note(provider, call, send, is_accepted=behaviour.is_accepted, provider_id=message_id)
            self._behave(behaviour, provider, send, entries, message_id, released)

    # --- behaviours ----------------------------------------------------------------------------------------

    def _behave(
        self,
        behaviour: Behaviour,
        provider: Provider,
        send: Send,
        entries: list[Entry],
        message_id: str,
        released: threading.Event,
    ) -> None:
        note = self.gateway.journal.note
        if behaviour.latency:
            self._wait(time.monotonic() + behaviour.latency)
        match behaviour.kind:
            case "accept":
                self._finish(entries, "accepted", _wrapped(provider.accepted(send, message_id), behaviour))
            case "huge":
                note(entries, outcome="huge")
                try:
                    self._send(self._head(200, {"Content-Type": "application/json"}, behaviour.size))
                    for _ in range(behaviour.size // _PIECE):
                        self._send(b"x" * _PIECE)
                except OSError:
                    note(entries, has_client_left=True)
                    raise
            case "refuse":
                self._finish(entries, "refused", provider.refused(behaviour.code))
            case "throttle":
                throttled = provider.throttled()
                extra = {"Retry-After": behaviour.retry_after} if behaviour.retry_after is not None else {}
                self._finish(entries, "throttled", Answer(429, throttled.body, {**throttled.headers, **extra}))
            case "answer":
                answer = Answer(behaviour.status, behaviour.body, behaviour.headers)
                self._finish(entries, f"answered {behaviour.status}", answer)
            case "truncated":
                body, headers = provider.accepted(send, message_id).encoded()
                answer = Answer(200, body[: len(body) // 2].decode("utf-8", "ignore"), headers)
                self._finish(entries, "truncated", answer)
            case "cut":
                note(entries, outcome="cut")
                body, headers = provider.accepted(send, message_id).encoded()
                self._send(self._head(200, headers, len(body)) + body[: len(body) // 2])
                self._hang_up()
            case "drip":
                note(entries, outcome="drip")
                body, headers = provider.accepted(send, message_id).encoded()
                self._drip(self._head(200, headers, len(body)) + body, behaviour.interval, entries)
            case "drop_after":
                note(entries, outcome="dropped")
                self._hang_up()
            case "silence":
                note(entries, outcome="silence")
                self._wait(float("inf"))
                note(entries, has_client_left=True)
                self._hang_up()
            case "hold":
                note(entries, outcome="held")
                if self._wait(float("inf"), released):
                    self._finish(entries, "accepted", provider.accepted(send, message_id))
                else:
                    note(entries, has_client_left=True)
                    self._hang_up()

    def _wait(self, until: float, event: threading.Event | None = None) -> bool:
        """Wait for a moment or an event. False: the caller has left, or the gateway stops."""
        event = event or threading.Event()
        while (left := until - time.monotonic()) > 0:
            if event.wait(min(left, _TICK)):
                return not self.gateway.is_stopping
            if self.gateway.is_stopping or self._has_caller_left():
                return False
        return True

    def _has_caller_left(self) -> bool:
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _drip(self, data: bytes, interval: float, entries: list[Entry]) -> None:
        for position in range(len(data)):
            if not self._wait(time.monotonic() + interval):
                self.gateway.journal.note(entries, has_client_left=True)
                self._hang_up()
                return
            self._send(data[position : position + 1])

    # --- the wire ------------------------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        return self.server.gateway

    def _read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _head(self, status: int, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"HTTP/1.1 {status} {self.responses[status][0] if status in self.responses else 'Answer'}"]
        lines += [f"{name}: {value}" for name, value in {**headers, "Content-Length": str(length)}.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def _write(self, answer: Answer) -> None:
        body, headers = answer.encoded()
        # In one piece: two small writes would wait for the caller's delayed acknowledgement in between.
        self._send(self._head(answer.status, headers, len(body)) + body)

    def _finish(self, entries: list[Entry], outcome: str, answer: Answer) -> None:
        """Note the outcome and answer. Noted first, so that whoever has the answer finds it in the journal."""
        note = self.gateway.journal.note
        note(entries, outcome=outcome, status=answer.status, answered_at=time.time())
        try:
            self._write(answer)
        except OSError:
            note(entries, has_client_left=True)
            raise

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    # --- the journal ---------------------------------------------------------------------------------------

    def _note(
        self, provider: Provider, call: Call, send: Send, *, is_accepted: bool, provider_id: str = ""
    ) -> list[Entry]:
        common: dict[str, Any] = {
            "slug": provider.slug,
            "text": send.text,
            "sender": send.sender,
            "scheduled": send.scheduled,
            "is_accepted": is_accepted,
            "provider_id": provider_id,
            "method": call.method,
            "path": call.path,
            "headers": dict(call.headers),
            "fields": send.fields,
        }
        return self.gateway.journal.add({**common, "number": number} for number in send.numbers)

    def _note_unread(self, provider: Provider, call: Call) -> None:
        entries = self._note(provider, call, Send([""], "", ""), is_accepted=False)
        self.gateway.journal.note(entries, outcome="dropped unread")

    # --- the control API -----------------------------------------------------------------------------------

    def _control(self, what: str, body: bytes) -> Answer:
        calls: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "health"): lambda given: {"status": "ok", "base_urls": self.gateway.base_urls},
            ("GET", "journal"): lambda given: {"entries": [asdict(entry) for entry in self.gateway.journal.entries]},
            ("POST", "script"): self._control_script,
            ("POST", "release"): lambda given: self.gateway.release(),
            ("POST", "reset"): lambda given: self.gateway.reset(),
        }
        call = calls.get((self.command, what))
        if call is None:
            return Answer(404, {"message": f"There is no control call {self.command} {what}."})
        try:
            return Answer(200, call(json.loads(body or b"{}")) or {})
        except (TypeError, ValueError, KeyError) as error:
            return Answer(400, {"message": str(error)})

    def _control_script(self, given: dict[str, Any]) -> None:
        behaviour = Behaviour(**given["behaviour"])
        self.gateway.script(given.get("slug"), behaviour, number=given.get("number"), times=given.get("times"))
