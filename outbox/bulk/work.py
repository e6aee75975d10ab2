"""What jobs need done apart from sending: files read, messages cancelled, failed ones queued again.

Whoever leases a job does it, in short transactions; a crash leaves a lease that runs out and a state to go on from.
"""

from __future__ import annotations

import logging
import random
import threading
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import F, Q
from django.db.models.functions import Least

from linkit import clock, faults
from outbox.bulk import counters, jobs, splitting
from outbox.bulk.models import NEEDS_WORK, BulkJob, JobStatus
from outbox.models import Message
from sms_providers.models import Status
from sms_providers.sending import close_unsent, reopen

logger = logging.getLogger(__name__)

BATCH = 5000  # messages in a transaction
_TRIES = 5  # to read a file without any progress, before it is given up
_LOOKED_AT = 1000  # jobs
_AGAIN = timedelta(seconds=10)  # before a job that broke off is looked at again
_SOON = timedelta(seconds=1)  # before one that waits for calls under way is


def do_next(stop: threading.Event) -> bool:
    """Do what one job needs now. Returns whether there was one. Ends early when `stop` is set."""
    job = _lease()
    if job is None:
        return False
    try:
        _step(job, stop)
    except splitting.LeaseLost:
        logger.info("Bulk job %s is somebody else's by now, or was stopped.", job.pk)
    except Exception as error:  # of whatever kind: the next job must not wait for this one's fault
        logger.error("Bulk job %s broke off: %s", job.pk, faults.describe(error))
        _let_go(job, after=_AGAIN)
    return True


def _lease() -> BulkJob | None:
    """Take the oldest job of an organization. Whose turn it is comes by lot: nobody's files keep the others' back."""
    now = clock.now()
    waiting = BulkJob.objects.filter(status__in=NEEDS_WORK).filter(
        Q(work_expires_at=None) | Q(work_expires_at__lte=now)
    )
    oldest: dict[uuid.UUID, uuid.UUID] = {}
    for organization_id, pk in waiting.order_by("created_at", "pk").values_list("organization_id", "pk")[:_LOOKED_AT]:
        oldest.setdefault(organization_id, pk)
    for pk in random.sample(list(oldest.values()), len(oldest)):
        token = uuid.uuid4()
        if waiting.filter(pk=pk).update(
            work_token=token,
            work_expires_at=now + settings.BULK_WORK_LEASE,
            work_tries=Least(F("work_tries") + 1, _TRIES + 1),
        ):
            return BulkJob.objects.select_related("organization", "upload").get(pk=pk)
    return None


def _let_go(job: BulkJob, *, after: timedelta = timedelta(0)) -> None:
    try:
        BulkJob.objects.filter(pk=job.pk, work_token=job.work_token).update(
            work_token=None, work_expires_at=clock.now() + after
        )
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Bulk job %s is kept until its lease ends: %s", job.pk, faults.describe(error))


def _step(job: BulkJob, stop: threading.Event) -> None:
    match job.status:
        case JobStatus.CHECKING if job.work_tries > _TRIES:
            splitting.refuse(job, reason="internal_error", message="The file could not be read: a fault of ours.")
        case JobStatus.CHECKING:
            splitting.split(job, stop)
            if stop.is_set():
                _let_go(job)
        case JobStatus.STOPPING:
            cancel(job, stop)
            _let_go(job, after=_SOON)  # what is left, if anything, is being sent, and ends the job
        case JobStatus.RETRYING:
            _queue_again(job, stop)
            _let_go(job)


def cancel(job: BulkJob, stop: threading.Event) -> None:
    """Fail the messages of a stopping job that have not been started, for the reason it is stopped for."""
    message = f"{job.error_message} It was not sent.".strip()
    unstarted = Q(status=Status.PENDING) | Q(status=Status.SENDING, started_at=None)
    while not stop.is_set():
        with transaction.atomic():
            now = _still_ours(job)
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


def _still_ours(job: BulkJob) -> datetime:
    """Lengthen the lease in the caller's transaction, and return the time. Raises `LeaseLost`."""
    now = clock.now()
    held = BulkJob.objects.filter(pk=job.pk, status=job.status, work_token=job.work_token)
    if not held.update(work_expires_at=now + settings.BULK_WORK_LEASE):
        raise splitting.LeaseLost
    return now


def _queue_again(job: BulkJob, stop: threading.Event) -> None:
    """Make the failed messages of a job pending, in the order of its file, then let it run."""
    while not stop.is_set():
        with transaction.atomic():
            now = _still_ours(job)
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
                next_attempt_at=now,
                requeued_at=now,
                updated_at=now,
            )
            reopen(ids, now=now)
            counters.move(job.pk, {"failed_count": -len(ids)}, now=now)
