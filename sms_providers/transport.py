"""One provider call over HTTP: sent once, bounded in time and size, and sure about what left.

`requests` raises the same ConnectionError for "refused" and for "closed after the request was read". The difference
decides whether a message may be sent again, so our connections note how far each call came: a failure before the
first byte was handed to the socket is certainly not sent, everything later is unknown.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import cache, cached_property, lru_cache
from typing import Any
from urllib.parse import urlencode
from weakref import WeakValueDictionary

import requests
from django.conf import settings
from django.utils import timezone
from requests.adapters import HTTPAdapter
from requests.utils import get_encoding_from_headers, get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)

# urllib3 logs URLs, at DEBUG each one and as a warning those whose answer is malformed, and some providers take the
# API key in the query. What goes wrong is named by us.
logging.getLogger("urllib3").setLevel(logging.ERROR)

MAX_BODY_BYTES = 1_000_000
MAX_IDLE_SECONDS = 15.0  # gateways close idle connections; a request on a dying one has an unknown outcome
MAX_RETRY_AFTER = timedelta(hours=24)
_CHUNK = 65_536


class NotSent(Exception):
    """Certainly nothing left.

    `reason` is stable: connection_failed, dns_failed, tls_failed, no_time_left, request_not_built.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MaybeSent(Exception):
    """The request may have left and no clear answer came. `reason`: read_timeout, connection_lost."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Budget:
    """How long a call may take, and until when its first byte may leave (on this process's monotonic clock)."""

    limit: timedelta
    start_by: float = float("inf")

    @property
    def ends_at(self) -> float:
        """When a call that begins now is ended."""
        return time.monotonic() + self.limit.total_seconds()

    def until(self, ends_at: float) -> Budget:
        """Return what is left until `ends_at`, for the next of several calls that share one limit."""
        return replace(self, limit=timedelta(seconds=ends_at - time.monotonic()))


@dataclass(frozen=True)
class Reply:
    """A provider's answer, read to its end or to our size limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False
    charset: str | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_turned_away(self) -> bool:
        """Whether nobody was let in: without credentials that count, without access, or for now."""
        return self.status in (401, 403, 429)

    @property
    def is_fault(self) -> bool:
        """Whether the provider has failed, or a proxy before it has stopped waiting (408, and nginx' 499).

        What it had done by then nobody knows.
        """
        return self.status >= 500 or self.status in (408, 499)

    @cached_property
    def text(self) -> str:
        """The body as text: as declared, else UTF-8, else Latin-1, which takes any byte. Without a byte order mark."""
        for charset in (self.charset, "utf-8"):
            if charset:
                with contextlib.suppress(ValueError, LookupError):
                    return self.body.decode(charset).removeprefix("\ufeff")
        return self.body.decode("latin-1")

    @cached_property
    def json(self) -> Any:
        """The decoded body, or None when it is no JSON, whatever its content type says."""
        if self.is_cut:
            return None
        try:
            return json.loads(self.text, parse_constant=lambda name: None)
        except (ValueError, RecursionError):
            return None

    @property
    def object(self) -> dict[str, Any]:
        """The decoded body when it is a JSON object, else an empty one."""
        decoded = self.json
        return decoded if isinstance(decoded, dict) else {}

    @property
    def retry_after(self) -> timedelta | None:
        """The `Retry-After` header, seconds or HTTP date, within sane bounds."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            wait = timedelta(seconds=int(text))
        else:
            try:
                wait = parsedate_to_datetime(text) - timezone.now()
            except (ValueError, TypeError, OverflowError):
                return None
        return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


class _Call(threading.local):
    """How far the call of this thread came."""

    stage = "idle"  # then connecting and connected (on a new connection), then sent
    start_by = float("inf")
    ends_at = float("inf")
    watch: int | None = None  # the watchdog's number for it

    def begin(self, budget: Budget) -> None:
        self.stage, self.start_by, self.ends_at, self.watch = "idle", budget.start_by, budget.ends_at, None


_call = _Call()


class _Tracked(HTTPConnection):
    """A connection that notes its call's progress and is ended when the call's time is over."""

    idle_since = 0.0

    @property
    def is_connected(self) -> bool:
        # The pool asks this before it lends a connection again, and opens a new one on a no.
        return super().is_connected and time.monotonic() - self.idle_since < MAX_IDLE_SECONDS

    def connect(self) -> None:
        _call.stage = "connecting"
        super().connect()
        _call.stage = "connected"

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if _call.stage not in ("connecting", "sent"):  # while connecting it is the greeting to a proxy
            if time.monotonic() >= min(_call.start_by, _call.ends_at):
                raise NotSent("no_time_left")
            _call.stage = "sent"
            _call.watch = _watchdog.watch(self.sock, _call.ends_at)
        super().send(data)


class _TrackedTLS(_Tracked, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Tracked


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TrackedTLS


class _Watchdog:
    """Ends calls whose time is over, from one thread: a socket time-out alone starts anew with every byte.

    It holds the socket, since the connection lets go of it as soon as the answer says `Connection: close`.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._deadlines: list[tuple[float, int]] = []
        self._sockets: dict[int, Any] = {}  # the calls under way, by number
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def watch(self, sock: Any, ends_at: float) -> int:
        """Shut `sock` down at `ends_at`, unless the returned number is forgotten before."""
        with self._lock:
            number = next(self._numbers)
            self._sockets[number] = sock
            heapq.heappush(self._deadlines, (ends_at, number))
            if self._thread is None or not self._thread.is_alive():  # the first call, or a fork since
                self._thread = threading.Thread(target=self._run, name="provider-call-limit", daemon=True)
                self._thread.start()
            elif self._deadlines[0][1] == number:
                self._lock.notify()
            return number

    def forget(self, number: int) -> None:
        with self._lock:
            self._sockets.pop(number, None)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._deadlines or (wait := self._deadlines[0][0] - time.monotonic()) > 0:
                    self._lock.wait(None if not self._deadlines else wait)
                _, number = heapq.heappop(self._deadlines)
                sock = self._sockets.pop(number, None)
                if sock is not None:
                    # The plain shutdown, also under TLS: another thread is inside the TLS layer's read.
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(getattr(sock, "socket", sock), socket.SHUT_RDWR)


_watchdog = _Watchdog()


class _ProviderHTTPAdapter(HTTPAdapter):
    """`requests`' adapter over our connections. No retries of its own: whoever calls knows what may be repeated."""

    def __init__(self) -> None:
        # As many connections to one host as a worker has senders, or the pool would throw them away.
        # Weak: how many are kept is for the pool manager to say.
        self._pools: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()
        super().__init__(pool_connections=32, pool_maxsize=max(settings.OUTBOX_SENDERS, 16), max_retries=0)

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pool of a host, which is looked up anew for each message otherwise."""
        host = (request.url or "").split("/", 3)[:3]
        key = (*host, *sorted((proxies or {}).items()))
        pool = self._pools.get(key)
        if pool is None or pool.pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            self._pools[key] = pool
        return pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Wrap an answer. Without its cookies: nobody sends them back."""
        response = requests.Response()
        response.status_code, response.raw, response.reason = resp.status, resp, resp.reason
        response.headers = resp.headers  # which knows no case either
        response.encoding = get_encoding_from_headers(response.headers)
        response.url, response.request = req.url or "", req
        return response

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager


@cache
def _http() -> _ProviderHTTPAdapter:
    return _ProviderHTTPAdapter()


@lru_cache(maxsize=256)
def _proxies(origin: str) -> dict[str, str]:
    return dict(get_environ_proxies(origin))


def exchange(request: requests.Request, budget: Budget) -> Reply:
    """Send `request` once and read the answer, whatever its status.

    Redirects are not followed. Raises `NotSent` or `MaybeSent`; nothing else.
    """
    try:
        prepared = _prepare(request)
    except (requests.RequestException, ValueError):
        raise NotSent("request_not_built") from None
    _call.begin(budget)
    if time.monotonic() >= min(_call.start_by, _call.ends_at):
        raise NotSent("no_time_left")
    limit = budget.limit.total_seconds()
    connect = min(settings.PROVIDER_CONNECT_TIMEOUT.total_seconds(), limit)
    scheme, _, rest = (prepared.url or "").partition("://")
    proxies = _proxies(f"{scheme}://{rest.partition('/')[0]}")
    try:
        response = _http().send(prepared, stream=True, timeout=(connect, limit), proxies=proxies)
        lent = getattr(response.raw, "connection", None)  # by the pool, and given back when all is read
        try:
            body, is_cut = _read(response)
        finally:
            if isinstance(lent, _Tracked):
                lent.idle_since = time.monotonic()
            response.close()  # and the connection, when the answer was not read to its end
        if time.monotonic() > _call.ends_at:
            raise MaybeSent("read_timeout")  # an answer without a length seems whole when it is cut off
    except (NotSent, MaybeSent):
        raise
    except Exception as error:  # of any kind: whether it left is what counts, and our connection knows
        raise _name(error) from None
    finally:
        if _call.watch is not None:
            _watchdog.forget(_call.watch)
    charset = response.encoding if _says_charset(response) else None
    return Reply(response.status_code, response.headers, body, is_cut, charset)


def _prepare(request: requests.Request) -> requests.PreparedRequest:
    """Return what goes over the wire. All but the body is shared with every message alike, and must not be changed."""
    if request.method != "POST" or request.params or request.files:
        return request.prepare()
    body: Any = request.data or ""
    kind = ""
    if request.json is not None and not body:
        body, kind = json.dumps(request.json, allow_nan=False).encode(), "application/json"
    elif not isinstance(body, str | bytes):
        pairs = body.items() if isinstance(body, Mapping) else body
        body = urlencode([pair for pair in pairs if pair[1] is not None], doseq=True)
        kind = "application/x-www-form-urlencoded"
    if isinstance(body, str) and not body.isascii():
        body = body.encode()
    template = _template(request.url, tuple(request.headers.items()), request.auth, kind, len(body))
    prepared = requests.PreparedRequest()
    prepared.method, prepared.url, prepared.hooks = template.method, template.url, template.hooks
    prepared.headers, prepared.body = template.headers, body
    return prepared


@lru_cache(maxsize=4096)
def _template(
    url: str, headers: tuple[tuple[str, str], ...], auth: Any, kind: str, length: int
) -> requests.PreparedRequest:
    template = requests.Request("POST", url, headers=dict(headers), auth=auth).prepare()
    if kind:
        template.headers.setdefault("Content-Type", kind)
    template.headers["Content-Length"] = str(length)
    return template


def _says_charset(response: requests.Response) -> bool:
    return "charset" in response.headers.get("Content-Type", "").lower()


def _read(response: requests.Response) -> tuple[bytes, bool]:
    """Return the decoded body up to the size limit, and whether it was longer."""
    parts: list[bytes] = []
    size = 0
    for chunk in response.raw.stream(_CHUNK, decode_content=True):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return b"".join(parts)[:MAX_BODY_BYTES], True
    return b"".join(parts), False


def _name(error: Exception) -> NotSent | MaybeSent:
    """Say whether anything left. What our connection noted decides; in doubt it may have."""
    causes = list(_causes(error))
    timed_out = any(isinstance(cause, requests.ReadTimeout | ReadTimeoutError | TimeoutError) for cause in causes)
    if _call.stage == "sent":
        return MaybeSent("read_timeout" if timed_out or time.monotonic() >= _call.ends_at else "connection_lost")
    if any(isinstance(cause, NameResolutionError | socket.gaierror) for cause in causes):
        return NotSent("dns_failed")
    if isinstance(error, requests.exceptions.SSLError):
        return NotSent("tls_failed")
    if isinstance(error, ValueError):  # a URL, a header or a proxy's address that is none
        return NotSent("request_not_built")
    if _call.stage != "idle" or any(isinstance(cause, _NO_CONNECTION) for cause in causes):
        return NotSent("connection_failed")
    return MaybeSent("read_timeout" if timed_out else "connection_lost")


_NO_CONNECTION = (
    requests.ConnectTimeout,
    requests.exceptions.ProxyError,
    NewConnectionError,
    ConnectTimeoutError,
    ConnectionRefusedError,
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk what an exception wraps: `requests` and urllib3 keep the inner one in args, reason, cause or context."""
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        cause = pending.pop()
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
