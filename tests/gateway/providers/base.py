"""What a provider's module fills in: who is calling, what is asked, and the documented answers."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from tests.gateway.journal import Journal, Reading

E164_DIGITS = re.compile(r"966[0-9]{9}|(?!966)[1-9][0-9]{7,14}")  # Saudi numbers have one length
SENDERS = ["MyBrand", "MyBrand-AD"]
UNKNOWN_SENDER = "Nobody"  # the sender ID that every account here is refused; all others are taken


@dataclass(frozen=True)
class Call:
    """One HTTP request, with the path as the provider documents it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # lower-case names
    body: bytes = b""

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a form body."""
        if "form-urlencoded" not in self.headers.get("content-type", ""):
            return {}
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @cached_property
    def json(self) -> dict[str, Any]:
        """The fields of a JSON body."""
        if "json" not in self.headers.get("content-type", ""):
            return {}
        try:
            decoded = json.loads(self.body)
        except ValueError:
            return {}
        return decoded if isinstance(decoded, dict) else {}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. A body that is neither text nor bytes becomes JSON."""

    status: int
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        """Return the body's bytes and all headers that belong to it."""
        if isinstance(self.body, bytes):
            return self.body, dict(self.headers)
        if isinstance(self.body, str):
            return self.body.encode(), {"Content-Type": "text/plain; charset=utf-8", **self.headers}
        return json.dumps(self.body, ensure_ascii=False).encode(), {"Content-Type": "application/json", **self.headers}


@dataclass(frozen=True)
class Send:
    """A send as read: numbers in E.164."""

    numbers: list[str]
    text: str
    sender: str
    scheduled: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


class Refusal(Exception):
    """The request itself deserves the provider's no, with this code."""

    def __init__(self, code: str | int) -> None:
        super().__init__(str(code))
        self.code = str(code)


class Provider:
    """One provider's contract. `credentials` are those that it takes, by the App Store's field names."""

    slug: ClassVar[str]
    default_credentials: ClassVar[dict[str, str]]

    def __init__(self, credentials: Mapping[str, str] | None = None) -> None:
        self.credentials = dict(credentials or self.default_credentials)
        self.journal: Reading = Journal()  # the gateway puts its own here, for questions about what was sent
        # What a look-up shows of a message, by our reference, whatever became of the call; the provider's own word.
        self.verdicts: dict[str, str] = {}
        self._ids = itertools.count(1)

    def next_id(self) -> str:
        """Return a new message id in the provider's own shape."""
        raise NotImplementedError

    def id_for(self, send: Send) -> str:
        """Return the id under which this send is taken; a provider that takes the caller's own overrides this."""
        return self.next_id()

    def is_send(self, call: Call) -> bool:
        """Whether this is the documented send call, going by method and path alone."""
        raise NotImplementedError

    def is_authorized(self, call: Call) -> bool:
        raise NotImplementedError

    def unauthorized(self) -> Answer:
        raise NotImplementedError

    def read_send(self, call: Call) -> Send:
        """Read a send, raising `Refusal` where the provider would refuse."""
        raise NotImplementedError

    def accepted(self, send: Send, message_id: str) -> Answer:
        raise NotImplementedError

    def refused(self, code: str) -> Answer:
        raise NotImplementedError

    def throttled(self) -> Answer:
        """The body of a 429; `Retry-After` is added by the script."""
        return Answer(429, "Too Many Requests")

    def question(self, call: Call) -> Answer:
        """Answer balance, senders and the like; what is not documented is a 404."""
        return Answer(404, {"message": "Not found"})


def parts(text: str) -> int:
    """Count segments roughly: plain ASCII as GSM-7, everything else as UCS-2."""
    single, multi = (160, 153) if text.isascii() else (70, 67)
    units = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
    return 1 if units <= single else -(-units // multi)


def e164(digits: str) -> str | None:
    """Return `+digits` for an international number in bare digits, which is how most providers want it."""
    return f"+{digits}" if E164_DIGITS.fullmatch(digits) else None
