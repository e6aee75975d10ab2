"""No secret in whatever is kept of an answer: every spelling of it is found and blanked out."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from sms_providers.transport import Reply

MASK = "•••"
MAX_KEPT_BYTES = 64_000  # of an answer that is kept as JSON
MAX_KEPT_TEXT = 2000
MAX_KEPT_DEPTH = 32
_ODD_NUMBER = re.compile(r"\d[eE][+-]?\d|\d{300}")  # may be read as infinity, or as a secret spelled differently
_SURROGATE = re.compile("[\ud800-\udfff]")  # which a body in UTF-7 may hold
_SHORT_SECRET = 4  # a shorter one is masked as a whole word only, or it would blank out half of every answer


def spellings(secrets: Iterable[str], *, users: Iterable[str] = ()) -> list[str]:
    """Return secrets in every spelling in which a request or an answer may carry them, the longest first.

    `users` are those with which a secret may stand in HTTP Basic.
    """
    return list(_spellings(tuple(secrets), tuple(users)))


@lru_cache(maxsize=1024)  # the same for every message of an installation
def _spellings(secrets: tuple[str, ...], users: tuple[str, ...]) -> tuple[str, ...]:
    found = set[str]()
    for secret in secrets:
        quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
        found |= {secret, html.escape(secret), *quoted, *(re.sub("%..", _lower, text) for text in quoted)}
        for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
            found |= {escaped, escaped.replace("/", "\\/")}
        found |= {base64.b64encode(f"{user}:{secret}".encode()).decode() for user in users}
        found.add(base64.b64encode(secret.encode()).decode())
    return tuple(sorted(found, key=len, reverse=True))


class Masker:
    """Blanks these spellings out of any decoded JSON: `mask(value)`."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._long = [secret for secret in secrets if len(secret) >= _SHORT_SECRET]
        self._short = [rf"\b{re.escape(secret)}\b" for secret in secrets if len(secret) < _SHORT_SECRET]

    def leaves_alone(self, text: str) -> bool:
        """Whether the JSON of this text certainly has nothing to change. Most answers have not; this is much faster."""
        return (
            not self._short
            and "\\" not in text  # an escape may spell anything
            and not any(secret in text for secret in self._long)
            and text.count("{") + text.count("[") <= MAX_KEPT_DEPTH
            and not _ODD_NUMBER.search(text)
            and (text.isascii() or not _SURROGATE.search(text))
        )

    def __call__(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            if not value:
                return value
            # NUL and lone surrogates may come in any answer, and no database column takes them.
            value = value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
            for secret in self._long:  # in a body of 1 MB much faster than one expression for all
                value = value.replace(secret, MASK)
            return re.sub("|".join(self._short), MASK, value) if self._short else value
        if isinstance(value, dict | list) and depth >= MAX_KEPT_DEPTH:
            return "…"
        if isinstance(value, dict):
            return {self(key): self(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item, depth + 1) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            text = str(value)
            masked = self(text)
            return value if masked == text else masked
        return value


@lru_cache(maxsize=1024)
def masker(secrets: tuple[str, ...]) -> Masker:
    """Return a `Masker`, the same for every message of an installation."""
    return Masker(secrets)


def kept(reply: Reply, mask: Masker) -> dict[str, Any]:
    """Return what is kept of an answer: its JSON object, or under `raw` other JSON or the beginning of its text."""
    decoded = reply.json if len(reply.body) <= MAX_KEPT_BYTES else None
    if isinstance(decoded, dict):
        return decoded if mask.leaves_alone(reply.text) else mask(decoded)
    # Masked before it is cut: the first half of a secret is a secret too.
    return {"raw": mask(reply.text)[:MAX_KEPT_TEXT] if decoded is None else mask(decoded)}


def _lower(match: re.Match[str]) -> str:
    return match[0].lower()
