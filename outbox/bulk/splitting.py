"""A file into messages: every row is checked and written, and then all of them are released at once.

The rows are written in short transactions, each of which names the lease of whoever writes and moves `read_until`. So
a crash costs the time to read again what was written, and no row is written twice. None can be claimed before the
release, because only messages of running jobs can.
"""

from __future__ import annotations

import threading

from django.conf import settings
from django.db import transaction
from django.db.models import F

from linkit import clock
from outbox.bulk import checking, jobs, uploads
from outbox.bulk.checking import BATCH, Batch, Batches
from outbox.bulk.models import BulkJob, BulkRowError, JobStatus, Mode
from outbox.bulk.reading import Overrides, Table, UnreadableFile, open_table
from outbox.bulk.report import Report
from outbox.bulk.writing import RowWriter, write_errors
from outbox.models import Message


class LeaseLost(Exception):
    """The job is somebody else's by now, or has been stopped. Nothing was written."""


def split(job: BulkJob, stop: threading.Event) -> None:
    """Read the file of a leased job to its end, then release it or say why not.

    Raises `LeaseLost`. Ends early when `stop` is set; whoever leases the job next goes on.
    """
    with uploads.opened(job.upload) as file:
        try:
            table = open_table(file, Overrides(**job.options))
            report = checking.report_for(job, table)
            if not _write_all(job, table, report, stop):
                return
        except UnreadableFile as refusal:
            refuse(job, reason=refusal.reason, message=refusal.message)
            return
    _conclude(job, report)


def _write_all(job: BulkJob, table: Table, report: Report, stop: threading.Event) -> bool:
    """Write what the file has beyond `read_until`. Returns False when told to stop before its end."""
    writer = RowWriter(job)
    with Batches(job, table, report) as batches:
        for batch in batches:
            if batch.last > job.read_until:
                with transaction.atomic():
                    _write(job, writer, batch)
                    batches.begin_next()
                job.read_until = batch.last
            if stop.is_set():
                return False
    return True


def _write(job: BulkJob, writer: RowWriter, batch: Batch) -> None:
    """Write the rows of a batch beyond `read_until`, and move it, in the caller's transaction. Raises `LeaseLost`."""
    valid = [row for row in batch.valid if row.number > job.read_until]
    errors = [error for error in batch.errors if error.row > job.read_until]
    wrong = len({error.row for error in errors})
    # Steps, not sums: somebody may cancel single messages meanwhile.
    _keep(
        job,
        total_count=F("total_count") + len(valid) + wrong,
        failed_count=F("failed_count") + wrong,
        invalid_count=F("invalid_count") + wrong,
        read_until=batch.last,
        work_tries=0,
    )
    writer.write(valid)
    write_errors(job, errors)


def _keep(job: BulkJob, **changes: object) -> None:
    """Write to the job and lengthen its lease, in the caller's transaction. Raises `LeaseLost`."""
    now = clock.now()
    kept = BulkJob.objects.filter(pk=job.pk, status=JobStatus.CHECKING, work_token=job.work_token)
    if not kept.update(work_expires_at=now + settings.BULK_WORK_LEASE, updated_at=now, **changes):
        raise LeaseLost


def _conclude(job: BulkJob, report: Report) -> None:
    found = report.as_json()
    if report.invalid and job.mode == Mode.ALL_OR_NOTHING:
        _discard(job)
        message = f"{report.invalid:,} of {report.total:,} rows are wrong, so none was sent."
        _fail(
            job,
            reason="rows_invalid",
            message=message,
            report=found,
            total_count=report.total,
            failed_count=report.total,
        )
        return
    if not report.valid:
        _fail(job, reason="no_valid_rows", message="No row could be sent.", report=found)
        return
    with transaction.atomic():
        _keep(job, report=found)
        jobs.release(job.pk, now=clock.now(), rows=report.valid, last_due_at=report.last_due_at, rate=report.rate)


def refuse(job: BulkJob, *, reason: str, message: str) -> None:
    """End a leased job because of its file as a whole: what was written of it is taken back. Raises `LeaseLost`."""
    _discard(job)
    while ids := list(BulkRowError.objects.filter(job=job).values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            _keep(job)
            BulkRowError.objects.filter(pk__in=ids).delete()
    _fail(job, reason=reason, message=message, total_count=0, failed_count=0, invalid_count=0)


def _discard(job: BulkJob) -> None:
    """Delete the messages of a job that was never released: nobody has seen or claimed one."""
    while ids := list(Message.objects.filter(job=job).values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            _keep(job)
            Message.objects.filter(pk__in=ids).delete()


def _fail(job: BulkJob, *, reason: str, message: str, **changes: object) -> None:
    _keep(
        job,
        status=JobStatus.FAILED,
        reason=reason,
        error_message=message,
        finished_at=clock.now(),
        work_token=None,
        **changes,
    )
