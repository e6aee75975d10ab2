"""Failures that a caller can act on. `linkit.error_responses` says how they look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied


class LinkitError(Exception):
    """A failure that the caller can act on: a sentence, a stable reason, and what it concerns."""

    status = 400
    reason = "bad_request"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.details = {"reason": self.reason} if details is None else details
        self.headers = dict(headers or {})


class InvalidInput(LinkitError):
    """The request cannot be carried out as it is written. `fields` says which parts are wrong."""

    reason = "invalid_input"

    def __init__(self, message: str, *, fields: Mapping[str, list[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.fields = dict(fields or {})
        self.details = {**self.fields, **self.details}


class NotAllowed(LinkitError, PermissionDenied):
    """The caller is known but may not do this. Frameworks that ask beforehand know it as Django's."""

    status = 403
    reason = "not_allowed"


class Missing(LinkitError):
    """It does not exist, or is another organization's: nobody can tell which."""

    status = 404
    reason = "not_found"


class Conflict(LinkitError):
    """The request is well formed but the present state forbids it."""

    status = 409
    reason = "conflict"


class TooLarge(LinkitError):
    """The body is larger than we read."""

    status = 413
    reason = "too_large"


class TooManyRequests(LinkitError):
    """The caller is over a limit; `retry_after` is in seconds."""

    status = 429
    reason = "rate_limited"

    def __init__(self, message: str, *, retry_after: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after), **(headers or {})})
