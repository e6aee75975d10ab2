"""What nobody finished: leases that ran out, messages that expired, direct sends that never reported back.

The start mark alone decides: a leased message without it goes back to the queue, one with it is an unknown outcome.
Everything is measured by the database's clock, in short transactions that pass over rows somebody holds.
"""

import logging
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from billing import ledger
from linkit import clock, faults
from outbox.bulk import counters, drafts, jobs, uploads
from outbox.models import Message
from sms_providers.models import Attempt, Status
from sms_providers.reaping import lose, lost, reap_direct_sends
from sms_providers.sending import close_unsent

logger = logging.getLogger(__name__)

_BATCH = 500


@dataclass
class Reaped:
    """How many messages each rule moved."""

    returned: int = 0
    unknown: int = 0
    expired: int = 0
    direct: int = 0
    jobs: int = 0  # that ran into their deadline: their messages are cancelled next
    holds: int = 0  # credits held for unknown outcomes for too long, and given back
    files: int = 0  # of jobs long over, and of checks that nobody confirmed


def reap() -> Reaped:
    """Apply every rule until nothing is left to move. Safe to run twice at once."""
    reaped = Reaped(
        direct=reap_direct_sends(),
        jobs=jobs.stop_overdue(),
        files=uploads.purge() + drafts.purge(),
    )
    while True:
        ended = _reap_leases(reaped)
        expired = _expire(reaped)
        if ended < _BATCH and expired < _BATCH:
            break
    reaped.holds = ledger.release_expired()  # last: an account that does not add up must hold up nobody's messages
    return reaped


def _locked(messages: QuerySet[Message], order: str) -> list[Message]:
    return list(messages.order_by(order).select_for_update(skip_locked=True)[:_BATCH])


def _reap_leases(reaped: Reaped) -> int:
    """Move a batch of them, or all one by one when the database refuses it: a job that miscounts stops no other.

    Returns how many the batch had, 0 when they were moved one by one.
    """
    ended = Message.objects.filter(status=Status.SENDING, lease_expires_at__lt=Now())
    try:
        return _move_ended(ended, reaped)
    except IntegrityError as error:
        logger.error("A batch of ended leases was refused; they are moved one by one: %s", faults.describe(error))
    # All of them, or those that cannot be moved would keep the place of others for good.
    for pk in list(ended.order_by("lease_expires_at").values_list("pk", flat=True)):
        try:
            _move_ended(ended.filter(pk=pk), reaped)
        except IntegrityError as error:
            logger.error("Message %s, whose lease has ended, cannot be moved: %s", pk, faults.describe(error))
    return 0


def _move_ended(messages: QuerySet[Message], reaped: Reaped) -> int:
    with transaction.atomic():
        ended = _locked(messages, "lease_expires_at")
        now = clock.now()
        unstarted = [message.pk for message in ended if message.started_at is None]
        started = [message.pk for message in ended if message.started_at is not None]
        Message.objects.filter(pk__in=unstarted).update(
            status=Status.PENDING, claim_token=None, lease_expires_at=None, next_attempt_at=now, updated_at=now
        )
        result = lost()
        # The claim token stays: a late answer of this very attempt may still settle it.
        Message.objects.filter(pk__in=started).update(
            status=Status.DISPATCH_TIMEOUT,
            lease_expires_at=None,
            reason=result.reason,
            error_message=result.message,
            updated_at=now,
        )
        lose(Attempt.objects.filter(log__queued_id__in=started), now=now)
        moves = counters.Moves()
        for message in ended:
            if message.started_at is not None:
                moves.note(message.job_id, before=Status.SENDING, after=Status.DISPATCH_TIMEOUT)
        moves.write(now=now)
    reaped.returned += len(unstarted)
    reaped.unknown += len(started)
    return len(ended)


def _expire(reaped: Reaped) -> int:
    with transaction.atomic():
        overdue = Message.objects.filter(status=Status.PENDING, job=None, expires_at__lte=Now())
        ids = [message.pk for message in _locked(overdue, "expires_at")]
        words = "It could not be sent before it expired."
        Message.objects.filter(pk__in=ids).update(
            status=Status.FAILED, reason="expired", error_message=words, updated_at=clock.now()
        )
        close_unsent(ids, reason="expired", message=words)
    reaped.expired += len(ids)
    return len(ids)
