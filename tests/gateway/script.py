"""How the gateway behaves: the kinds of behaviour, and which one a send meets."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Kind = Literal[
    "accept",
    "refuse",
    "throttle",
    "answer",
    "huge",
    "drop_before",
    "drop_after",
    "truncated",
    "cut",
    "drip",
    "silence",
    "hold",
]


@dataclass(frozen=True)
class Behaviour:
    """What happens to one send. Made by the functions below.

    `is_accepted`: whether the provider takes the message, so that a handset rings, whatever the caller is told.
    """

    kind: Kind
    is_accepted: bool = False
    latency: float = 0.0  # seconds before anything is answered
    code: str = ""  # refuse: the provider's own
    retry_after: str | None = None
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    interval: float = 0.0  # drip: seconds between bytes
    charset: str = ""  # accept: of the answer, instead of UTF-8
    is_packed: bool = False  # accept: with gzip
    size: int = 0  # huge: bytes

    def after(self, seconds: float) -> Behaviour:
        """Return the same, slower."""
        return replace(self, latency=seconds)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def accept(latency: float = 0.0, *, content_type: str = "", charset: str = "", is_packed: bool = False) -> Behaviour:
    """Take the message, as documented; in another wrapping if one is given."""
    headers = {"Content-Type": content_type} if content_type else {}
    return Behaviour("accept", is_accepted=True, latency=latency, headers=headers, charset=charset, is_packed=is_packed)


def huge(size: int = 50_000_000) -> Behaviour:
    """Take the message and answer with so many bytes, for as long as the caller reads."""
    return Behaviour("huge", is_accepted=True, size=size)


def refuse(code: str | int, latency: float = 0.0) -> Behaviour:
    """Answer no with one of the provider's own codes, such as 105 for Mora or 21610 for Twilio."""
    return Behaviour("refuse", code=str(code), latency=latency)


def throttle(retry_after: str | int | None = None) -> Behaviour:
    """Answer 429; nothing is sent."""
    return Behaviour("throttle", retry_after=None if retry_after is None else str(retry_after))


def answer(
    status: int, body: str = "", *, headers: dict[str, str] | None = None, is_accepted: bool = False
) -> Behaviour:
    """Answer anything at all."""
    return Behaviour("answer", status=status, body=body, headers=headers or {}, is_accepted=is_accepted)


def fault(status: int = 500, *, is_accepted: bool = False) -> Behaviour:
    """Answer a 5xx as a proxy in front of the provider would."""
    body = f"<html><body><h1>{status}</h1></body></html>"
    return answer(status, body, headers={"Content-Type": "text/html"}, is_accepted=is_accepted)


def html(status: int = 200) -> Behaviour:
    """Take the message and answer with a web page."""
    body = "<!doctype html><title>Welcome</title><p>It works!</p>"
    return answer(status, body, headers={"Content-Type": "text/html; charset=utf-8"}, is_accepted=True)


def redirect(location: str, status: int = 302) -> Behaviour:
    """Point elsewhere."""
    return answer(status, headers={"Location": location})


def drop_before() -> Behaviour:
    """Close the connection before the body is read. Only by provider: the number is in the body."""
    return Behaviour("drop_before")


def drop_after(*, is_accepted: bool = True) -> Behaviour:
    """Read the whole request and close the connection without a word."""
    return Behaviour("drop_after", is_accepted=is_accepted)


def truncated() -> Behaviour:
    """Take the message and answer half of the JSON, as if it were all."""
    return Behaviour("truncated", is_accepted=True)


def cut() -> Behaviour:
    """Take the message, announce the whole answer and close after half of it."""
    return Behaviour("cut", is_accepted=True)


def drip(interval: float = 0.2) -> Behaviour:
    """Take the message and answer one byte at a time: no single wait is long, the whole is."""
    return Behaviour("drip", is_accepted=True, interval=interval)


def silence() -> Behaviour:
    """Take the message and never answer, until the caller leaves."""
    return Behaviour("silence", is_accepted=True)


def hold() -> Behaviour:
    """Take the message and answer when `release` is called, or never if the caller leaves first."""
    return Behaviour("hold", is_accepted=True)


@dataclass
class Rule:
    """A behaviour for a provider, a number, both or everything, for so many times or for good."""

    behaviour: Behaviour
    slug: str | None = None
    number: str | None = None
    times_left: int | None = None

    def fits(self, slug: str, number: str | None) -> bool:
        return self.slug in (None, slug) and self.number in (None, number) and self.times_left != 0


class Script:
    """The rules: one that names a number goes before one that does not, and a later one before an earlier one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.insert(0, rule)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def drops_unread(self, slug: str) -> bool:
        """Whether the next send of this provider is dropped before its body is read, and use the rule up."""
        with self._lock:
            for rule in self._rules:
                if rule.number is None and rule.fits(slug, None):
                    return rule.behaviour.kind == "drop_before" and self._use(rule)
        return False

    def next(self, slug: str, numbers: list[str]) -> Behaviour:
        """Return what a send to these numbers meets, and use the rule up."""
        with self._lock:
            fitting = [
                rule
                for rule in self._rules
                if rule.behaviour.kind != "drop_before" and any(rule.fits(slug, number) for number in numbers or [""])
            ]
            fitting.sort(key=lambda rule: rule.number is None)  # stable: later ones stay first
            if not fitting:
                return accept()
            self._use(fitting[0])
            return fitting[0].behaviour

    @staticmethod
    def _use(rule: Rule) -> bool:
        if rule.times_left is not None:
            rule.times_left -= 1
        return True
