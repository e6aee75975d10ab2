"""The counters of a job, and the states that follow from them.

They move in the transaction that moves the messages, in its last statements, so that a poll reads one row and is
exact, and the row is locked for a moment only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Case, F, Q, Value, When

from linkit import batches
from outbox.bulk.models import ENDED, BulkJob, JobStatus
from sms_providers.models import Status

_COUNTED = {Status.SENT: "sent_count", Status.FAILED: "failed_count", Status.DISPATCH_TIMEOUT: "unknown_count"}


class Moves:
    """What one transaction does to any number of jobs: `note` each message, `pause`, then `write`, once."""

    def __init__(self) -> None:
        self._changes: dict[UUID, Counter[str]] = {}
        self._pauses: dict[UUID, tuple[str, str, datetime]] = {}

    def note(self, job_id: UUID | None, *, before: str, after: str, count: int = 1) -> None:
        """Note that `count` messages of this job went from one status to another. None: they are of no job."""
        if job_id is None:
            return
        changes = self._changes.setdefault(job_id, Counter())
        for status, step in ((before, -count), (after, count)):
            if column := _COUNTED.get(Status(status)):
                changes[column] += step

    def pause(self, job_id: UUID, *, reason: str, message: str, since: datetime | None) -> None:
        """Note that nothing of a job can be sent: it pauses, unless this was the last of it.

        `since`: when that was seen. A job that somebody has resumed after it goes on.
        """
        if since is not None:
            self._pauses[job_id] = (reason, message, since)

    def write(self, *, now: datetime) -> None:
        """Write what was noted, in the caller's transaction."""
        for job_id in sorted({*self._changes, *self._pauses}):  # in one order, so that no two wait for each other
            move(job_id, self._changes.get(job_id, {}), now=now)
            if job_id in self._pauses:
                reason, said, since = self._pauses[job_id]
                BulkJob.objects.filter(pk=job_id, status=JobStatus.RUNNING, run_started_at__lte=since).update(
                    status=JobStatus.PAUSED, paused_at=now, reason=reason, error_message=said, updated_at=now
                )


def note(job_id: UUID | None, *, before: str, after: str, now: datetime) -> None:
    """Write that one message of this job went from one status to another, in the caller's transaction."""
    moves = Moves()
    moves.note(job_id, before=before, after=after)
    moves.write(now=now)


_ALL_ENDED = Q(total_count=F("sent_count") + F("failed_count") + F("unknown_count"))
_END = Case(
    When(status__in=[JobStatus.STOPPING, JobStatus.STOPPED], then=Value(JobStatus.STOPPED)),
    When(sent_count=F("total_count"), then=Value(JobStatus.COMPLETED)),
    When(sent_count=0, unknown_count=0, then=Value(JobStatus.FAILED)),
    default=Value(JobStatus.PARTLY_FAILED),
)
_OPEN_AGAIN = Case(
    When(status=JobStatus.STOPPED, then=Value(JobStatus.STOPPING)),  # and what came back is cancelled
    default=Value(JobStatus.RUNNING),
)


def move(job_id: UUID, changes: Mapping[str, int], *, now: datetime) -> None:
    """Add to the counters of a job, and end it, or open it again, if that is what they now say."""
    job = BulkJob.objects.filter(pk=job_id)
    if steps := {column: F(column) + step for column, step in changes.items() if step}:
        job.update(updated_at=now, **steps)
    # While its file is read, or its failed rows are put back, a job has not all its rows.
    settled = job.exclude(status__in=[JobStatus.CHECKING, JobStatus.RETRYING])
    settled.filter(_ALL_ENDED, status=JobStatus.PAUSED).update(paused_at=None, reason="", error_message="")
    settled.filter(_ALL_ENDED).update(status=_END, finished_at=now)
    if any(step < 0 for step in changes.values()):  # a late answer: the message had not left after all
        settled.filter(status__in=ENDED).exclude(_ALL_ENDED).update(status=_OPEN_AGAIN, finished_at=None)


def holding(job_ids: Collection[UUID]) -> list[batches.Statement]:
    """Return what makes a pause or stop of these jobs wait, before it answers, for the end of the caller's transaction.

    Counters are not held up by it: on PostgreSQL it is the weakest of the row locks. SQLite has one writer at a time.
    """
    if not job_ids or connection.vendor != "postgresql":
        return []
    return [("SELECT 1 FROM outbox_bulkjob WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [sorted(job_ids)])]
