"""What jobs need done apart from sending: files read, messages cancelled, failed ones queued again.

Whoever leases a job does it, in short transactions; a crash leaves a lease that runs out and a state to go on from.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils.translation import gettext_noop as noop

from linkit import faults
from outbox import signals
from outbox.bulk import counters, jobs, leases, splitting
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message
from sms_providers.models import Status
from sms_providers.sending import close_unsent, reopen

logger = logging.getLogger(__name__)

BATCH = 5000  # messages in a transaction
_AGAIN = timedelta(seconds=10)  # before a job that broke off is looked at again
_SOON = timedelta(seconds=1)  # before one that waits for calls under way is


def do_next(stop: threading.Event) -> bool:
    """Do what one job needs now. Returns whether there was one. Ends early when `stop` is set."""
    job = leases.take()
    if job is None:
        return False
    try:
        _step(job, stop)
    except leases.LeaseLost:
        logger.info("Bulk job %s is somebody else's by now, or was stopped.", job.pk)
    except Exception as error:  # of whatever kind: the next job must not wait for this one's fault
        logger.error("Bulk job %s broke off: %s", job.pk, faults.describe(error))
        leases.let_go(job, after=_AGAIN)
    return True


def _step(job: BulkJob, stop: threading.Event) -> None:
    match job.status:
        case JobStatus.CHECKING if job.work_tries > leases.TRIES:
            splitting.refuse(job, reason="internal_error", message=noop("Its rows could not be read: a fault of ours."))
        case JobStatus.CHECKING:
            if job.program_id:
                signals.rows_wanted.send(BulkJob, job=job, stop=stop)
            else:
                splitting.split(job, stop)
            if stop.is_set():
                leases.let_go(job)
        case JobStatus.STOPPING:
            cancel(job, stop)
            leases.let_go(job, after=_SOON)  # what is left, if anything, is being sent, and ends the job
        case JobStatus.RETRYING:
            _queue_again(job, stop)
            leases.let_go(job)


def cancel(job: BulkJob, stop: threading.Event) -> None:
    """Fail the messages of a stopping job that have not been started, for the reason it is stopped for."""
    message = f"{job.error_message} It was not sent.".strip()
    unstarted = Q(status=Status.PENDING) | Q(status=Status.SENDING, started_at=None)
    while not stop.is_set():
        with transaction.atomic():
            now = leases.keep(job)
            rows = Message.objects.select_for_update(skip_locked=True).filter(unstarted, job=job.pk)
            ids = list(rows.values_list("pk", flat=True)[:BATCH])
            if ids:
                Message.objects.filter(pk__in=ids).update(
                    status=Status.FAILED,
                    reason=job.reason,
                    error_message=message,
                    claim_token=None,
                    lease_expires_at=None,
                    updated_at=now,
                )
                close_unsent(ids, reason=job.reason, message=message)
            counters.move(job.pk, {"failed_count": len(ids)}, now=now)
        if len(ids) < BATCH:
            return


def _queue_again(job: BulkJob, stop: threading.Event) -> None:
    """Make the failed messages of a job pending, in the order of its file, then let it run."""
    while not stop.is_set():
        with transaction.atomic():
            now = leases.keep(job)
            failed = Message.objects.filter(job=job.pk, status=Status.FAILED).order_by("row_number")
            ids = list(failed.values_list("pk", flat=True)[:BATCH])
            if not ids:
                left = Message.objects.filter(job=job.pk, status=Status.PENDING)
                last_due_at = left.order_by("-next_attempt_at").values_list("next_attempt_at", flat=True).first()
                jobs.release(job.pk, now=now, rows=left.count(), last_due_at=last_due_at, rate=job.max_per_second)
                return
            Message.objects.filter(pk__in=ids).update(
                status=Status.PENDING,
                reason="",
                error_message="",
                claim_token=None,
                started_at=None,
                next_attempt_at=Case(
                    When(scheduled_at__gt=now, then=F("scheduled_at")), default=Value(now)
                ),  # never early
                requeued_at=now,
                updated_at=now,
            )
            reopen(ids, now=now)
            counters.move(job.pk, {"failed_count": -len(ids)}, now=now)
