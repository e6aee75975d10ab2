"""Unknown outcomes, settled: by a person who has asked the provider or the recipient, or by the provider's own word.

A direct send is settled here. The outcome of a queued message is decided on its row in the queue (`outbox.settling`),
and what that means for its log, its attempts and its credits is written here all the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit import clock
from linkit.errors import Conflict
from sms_providers import charging, sending
from sms_providers.models import Attempt, SmsLog, Status
from sms_providers.results import Outcome, Result

# Stored as they are; a page translates them.
WAS_SENT = noop("Settled by hand: it was sent.")
WAS_FOUND = noop("The provider was asked later, and had taken it: it was sent.")
_SAID_LATER = "Asked later, the provider said:"


def can_settle(log: SmsLog) -> bool:
    """Whether its outcome is unknown and ours to settle: that of a queued message is the outbox's."""
    return log.status == Status.DISPATCH_TIMEOUT and log.queued_id is None


def settle(*, log: SmsLog, was_sent: bool) -> SmsLog:
    """Record how a direct send ended, and charge it or give its credits back. Its attempt stays as it was.

    Credits that have been given back meanwhile are not charged any more. After "not sent" its idempotency key is free
    again. Raises `Conflict` when somebody, or a late answer, has settled it already.
    """
    with transaction.atomic():
        current = SmsLog.objects.select_for_update().get(pk=log.pk)
        if not can_settle(current):
            raise Conflict(_("Its outcome is not open any more; nothing was changed."), reason="wrong_state")
        now = clock.now()
        if was_sent:
            record_sent(current, now=now)
        else:
            _write(
                current,
                now=now,
                status=Status.FAILED,
                outcome=Outcome.UNAVAILABLE,
                reason="settled_unsent",
                error_message=noop("Settled by hand: it was not sent."),
                idempotency_key=None,
            )
            charging.settle(unsent=[current])
    return current


def settle_by_answer(log_id: UUID, attempt_id: int, result: Result) -> bool:
    """Record what the provider says later about a direct send, and return True.

    False when somebody, or the answer itself, has settled it meanwhile: then nothing is changed.
    """
    with transaction.atomic():
        current = SmsLog.objects.select_for_update().get(pk=log_id)
        attempt = current.attempts.last()
        if not can_settle(current) or attempt is None or attempt.pk != attempt_id:
            return False
        attempt.log = current
        record_answer(attempt, result, now=clock.now())
    return True


# --- in the transaction of whoever has made sure that the outcome is still open ----------------------------------


def record_sent(log: SmsLog, *, now: datetime) -> None:
    """Note on the log that a person says it was sent, and charge it."""
    _write(
        log,
        now=now,
        status=Status.SENT,
        outcome=Outcome.ACCEPTED,
        reason="",
        error_message=WAS_SENT,
        sent_at=now,
        credit_charged=log.credit_cost or Decimal(0),
    )
    charging.settle(accepted=[log])


def record_waiting(log: SmsLog, *, now: datetime) -> None:
    """Note on the log that it is to be sent again, and give its credits back: the next start mark holds them anew."""
    _write(log, now=now, **sending.WAITS_AGAIN)
    charging.settle(unsent=[log])


def record_answer(attempt: Attempt, result: Result, *, now: datetime) -> None:
    """Note what the provider says later on the attempt and its log, and charge it or give its credits back.

    As a late answer of that call would. When the call ended, and what was said of it then, stays beside it, and so
    does the answer that it had: what the provider says later takes its place only where there was none.
    """
    said_then, status_then, answer_then = attempt.message, attempt.http_status, attempt.response
    sending.close(attempt, result, now=attempt.finished_at or now)
    if status_then or answer_then is not None:
        attempt.http_status, attempt.response = status_then, answer_then
    attempt.message = f"{said_then} {result.message}".strip()
    sending.finish([sending.Ending(attempt, result, sending.FINAL_STATUS[result.outcome])], now=now)


def in_words(result: Result) -> Result:
    """Return what a look-up found with a sentence that says that it came later."""
    if result.outcome == Outcome.ACCEPTED:
        return replace(result, message=WAS_FOUND)
    return replace(result, message=f"{_SAID_LATER} {result.message}")


def is_settled_later(log: SmsLog) -> bool:
    """Whether its outcome was settled after it was unknown, so that no answer to the send itself tells it."""
    return log.error_message in (WAS_SENT, WAS_FOUND) or log.error_message.startswith(_SAID_LATER)


def _write(log: SmsLog, *, now: datetime, **changes: Any) -> None:
    changes["updated_at"] = now
    for name, value in changes.items():
        setattr(log, name, value)
    log.save(update_fields=[*changes])
