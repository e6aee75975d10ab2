"""The four ways a provider call can end, and why.

A blind retry texts somebody twice, so what is known about the message decides, not what the failure looks like:

* accepted: the provider took it. Final.
* rejected: a definite no. Another app may say yes to a fault of the account; not to a bad number or text.
* unavailable: certainly not sent. Safe to try again, here or elsewhere.
* unknown: may have left. Never sent again by itself.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _lazy


class Outcome(models.TextChoices):
    ACCEPTED = "accepted", _lazy("Accepted")
    REJECTED = "rejected", _lazy("Rejected")
    UNAVAILABLE = "unavailable", _lazy("Unavailable, not sent")
    UNKNOWN = "unknown", _lazy("Unknown, may have been sent")


# For the providers' tables of codes.
REJECTED, UNAVAILABLE, UNKNOWN = Outcome.REJECTED, Outcome.UNAVAILABLE, Outcome.UNKNOWN


class Fault(enum.StrEnum):
    """What was wrong. One set of words for all providers."""

    AUTH = "auth"
    BALANCE = "balance"
    SENDER = "sender"
    RECIPIENT = "recipient"
    CONTENT = "content"
    THROTTLED = "throttled"
    PROVIDER_DOWN = "provider_down"
    OTHER = "unknown"  # a code that nobody documents, or a fault of the request itself

    @property
    def is_about_the_account(self) -> bool:
        """Whether another app may well say yes to the same message."""
        return self in (Fault.AUTH, Fault.BALANCE, Fault.SENDER)


# The reason of a fault when the provider's answer gives no finer one; all are in `reasons.REASONS`.
FAULT_REASONS: dict[Fault, str] = {
    Fault.AUTH: "bad_credentials",
    Fault.BALANCE: "insufficient_provider_balance",
    Fault.SENDER: "sender_not_accepted",
    Fault.RECIPIENT: "invalid_recipient",
    Fault.CONTENT: "content_refused",
    Fault.THROTTLED: "throttled",
    Fault.PROVIDER_DOWN: "provider_unavailable",  # of a certain non-send; one that may have left is `provider_down`
    Fault.OTHER: "refused_by_provider",
}


class Meaning(NamedTuple):
    """What one of a provider's codes, statuses or texts means: a row of the table in that provider's module."""

    outcome: Outcome
    fault: Fault
    reason: str  # of `reasons.REASONS`
    message: str = ""  # a sentence for people, where it says more than the reason does
    retry_after: timedelta | None = None  # when the provider names no time


# A provider's codes and what they mean. One that is missing is a refusal, and its raw answer is kept.
ErrorTable = Mapping[str, Meaning]
# For a provider without codes: what a refusal's text is about. The first that fits counts.
TextTable = tuple[tuple[re.Pattern[str], Meaning], ...]


@dataclass(frozen=True)
class Result:
    """How one provider call ended.

    `reason` is stable and for programs; `message` is a sentence for people and never holds a secret. `raw` is the
    provider's answer (decoded JSON, or `{"raw": text}`), with secrets masked by the adapter's base class.
    """

    outcome: Outcome
    fault: Fault | None = None
    reason: str = ""
    message: str = ""
    code: str = ""  # the provider's own code, as text
    raw: Any = None
    http_status: int | None = None
    provider_message_id: str = ""
    segment_count: int | None = None  # as the provider counts
    cost: Decimal | None = None  # as the provider reports it, in `currency`
    currency: str = ""
    retry_after: timedelta | None = None

    @property
    def may_fail_over(self) -> bool:
        """Whether another app may be tried: nothing left, and the message itself is not at fault."""
        if self.outcome == Outcome.UNAVAILABLE:
            return True
        return self.outcome == Outcome.REJECTED and self.fault is not None and self.fault.is_about_the_account

    @property
    def is_throttled(self) -> bool:
        """Whether the provider wants us to send more slowly."""
        return self.fault == Fault.THROTTLED

    @property
    def is_about_the_whole_account(self) -> bool:
        """Whether the same app would refuse every other message too: credentials or balance, not a sender ID."""
        return self.outcome == Outcome.REJECTED and self.fault in (Fault.AUTH, Fault.BALANCE)


def accepted(provider_message_id: object = "", **details: Any) -> Result:
    """The provider took the message. An id may be a number on the wire; it is kept as text."""
    text = "" if provider_message_id is None else str(provider_message_id)
    return Result(Outcome.ACCEPTED, provider_message_id=text, **details)


def rejected(fault: Fault, message: str = "", *, code: object = "", reason: str = "", **details: Any) -> Result:
    """A definite no. `throttled` is not one: nothing was sent and a later try may pass."""
    outcome = Outcome.UNAVAILABLE if fault is Fault.THROTTLED else Outcome.REJECTED
    return Result(outcome, fault, reason or FAULT_REASONS[fault], message, code=str(code), **details)


def unavailable(fault: Fault = Fault.PROVIDER_DOWN, message: str = "", *, reason: str = "", **details: Any) -> Result:
    """Certainly not sent."""
    return Result(Outcome.UNAVAILABLE, fault, reason or FAULT_REASONS[fault], message, **details)


def unknown(reason: str, message: str, *, fault: Fault = Fault.OTHER, **details: Any) -> Result:
    """May have left."""
    return Result(Outcome.UNKNOWN, fault, reason, message, **details)
