"""A file into messages: every row is checked and written, and then all of them are released at once.

The rows are written in short transactions, each of which names the lease of whoever writes and moves `read_until`. So
a crash costs the time to read again what was written, and no row is written twice. None can be claimed before the
release, because only messages of running jobs can.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext_noop as noop

from linkit import clock
from linkit.errors import Missing
from outbox.bulk import checking, jobs, leases, uploads
from outbox.bulk.checking import BATCH, Batch, Batches
from outbox.bulk.models import BulkJob, BulkRowError, JobStatus, Mode
from outbox.bulk.reading import Overrides, Table, UnreadableFile, open_table
from outbox.bulk.report import Report
from outbox.bulk.writing import RowWriter, write_errors
from outbox.models import Message
from sms_providers.models import Status

ROWS_WRONG = noop("%(wrong)s of %(total)s rows are wrong, so none was sent.")


def split(job: BulkJob, stop: threading.Event) -> None:
    """Read the file of a leased job to its end, then release it or say why not.

    Raises `LeaseLost`. Ends early when `stop` is set; whoever leases the job next goes on.
    """
    try:
        with uploads.opened(job.upload) as file:
            table = open_table(file, Overrides(**job.options))
            report = checking.report_for(job, table)
            if not _write_all(job, table, report, stop):
                return
    except (UnreadableFile, Missing) as refusal:
        refuse(job, reason=refusal.reason, message=refusal.message)
    else:
        conclude(job, report.as_json(), last_due_at=report.last_due_at, rate=report.rate)


def _write_all(job: BulkJob, table: Table, report: Report, stop: threading.Event) -> bool:
    """Write what the file has beyond `read_until`. Returns False when told to stop before its end."""
    writer = RowWriter(job)
    with Batches(job, table, report) as batches:
        for batch in batches:
            if batch.last > job.read_until:
                with transaction.atomic():
                    write(job, writer, batch)
                    batches.begin_next()
                job.read_until = batch.last
            else:
                leases.keep(job)  # written before a crash; reading it again may take longer than a lease
            if stop.is_set():
                return False
    return True


def write(job: BulkJob, writer: RowWriter, batch: Batch) -> None:
    """Write the rows of a batch beyond `read_until`, and move it, in the caller's transaction. Raises `LeaseLost`."""
    valid = [row for row in batch.valid if row.number > job.read_until]
    errors = [error for error in batch.errors if error.row > job.read_until]
    wrong = len({error.row for error in errors})
    # Steps, not sums: somebody may cancel single messages meanwhile.
    leases.keep(
        job,
        total_count=F("total_count") + len(valid) + wrong,
        failed_count=F("failed_count") + wrong,
        invalid_count=F("invalid_count") + wrong,
        read_until=batch.last,
        work_tries=0,
    )
    writer.write(valid)
    write_errors(job, errors)


def conclude(job: BulkJob, found: dict[str, Any], *, last_due_at: datetime | None, rate: int | None) -> None:
    """Release a job whose rows are written, or say why not: by its own counters, whatever a second reading found.

    `found` is its report, `last_due_at` when its last row is due, if that is later, `rate` its app's per second.
    """
    job.refresh_from_db(fields=["total_count", "failed_count", "invalid_count"])
    if job.invalid_count and job.mode == Mode.ALL_OR_NOTHING:
        wrong, total = job.invalid_count, job.total_count
        _discard(job)
        message = ROWS_WRONG % {"wrong": f"{wrong:,}", "total": f"{total:,}"}
        _fail(job, reason="rows_invalid", message=message, report=found, total_count=total, failed_count=total)
        return
    if job.invalid_count == job.total_count:
        _fail(job, reason="no_valid_rows", message=noop("No row could be sent."), report=found)
        return
    with transaction.atomic():
        leases.keep(job, report=found)
        jobs.release(job.pk, now=clock.now(), rows=job.pending_count, last_due_at=last_due_at, rate=rate)


def refuse(job: BulkJob, *, reason: str, message: str) -> None:
    """End a leased job because of its file as a whole: what was written of it is taken back. Raises `LeaseLost`."""
    _discard(job)
    while ids := list(BulkRowError.objects.filter(job=job).values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            BulkRowError.objects.filter(pk__in=ids).delete()
            leases.keep(job)
    _fail(job, reason=reason, message=message, total_count=0, failed_count=0, invalid_count=0)


def _discard(job: BulkJob) -> None:
    """Delete the messages of a job that was never released, and count them no more: nobody has claimed one."""
    while rows := list(Message.objects.filter(job=job).values_list("pk", "status")[:BATCH]):
        cancelled = sum(status == Status.FAILED for _, status in rows)
        with transaction.atomic():
            Message.objects.filter(pk__in=[pk for pk, _ in rows]).delete()
            leases.keep(
                job,
                total_count=F("total_count") - len(rows),
                failed_count=F("failed_count") - cancelled,
            )


def _fail(job: BulkJob, *, reason: str, message: str, **changes: object) -> None:
    leases.keep(
        job,
        status=JobStatus.FAILED,
        reason=reason,
        error_message=message,
        finished_at=clock.now(),
        work_token=None,
        **changes,
    )
