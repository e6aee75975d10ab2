"""Unknown outcomes of direct sends, settled by a person who has asked the provider or the recipient."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import transaction

from linkit import clock
from linkit.errors import Conflict
from sms_providers import charging
from sms_providers.models import SmsLog, Status
from sms_providers.results import Outcome

WAS_SENT = "Settled by hand: it was sent."


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
            raise Conflict("Its outcome is not open any more; nothing was changed.", reason="wrong_state")
        now = clock.now()
        changes: dict[str, Any] = {"updated_at": now}
        if was_sent:
            charged = current.credit_cost or Decimal(0)
            changes |= {"status": Status.SENT, "outcome": Outcome.ACCEPTED, "sent_at": now, "credit_charged": charged}
            changes |= {"reason": "", "error_message": WAS_SENT}
        else:
            changes |= {"status": Status.FAILED, "outcome": Outcome.UNAVAILABLE, "idempotency_key": None}
            changes |= {"reason": "settled_unsent", "error_message": "Settled by hand: it was not sent."}
        for name, value in changes.items():
            setattr(current, name, value)
        current.save(update_fields=[*changes])
        charging.settle(accepted=[current] if was_sent else [], unsent=[] if was_sent else [current])
    return current
