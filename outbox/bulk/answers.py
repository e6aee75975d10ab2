"""What callers are told about a bulk job: the same figures in every answer, and in the console."""

from __future__ import annotations

from typing import Any

from linkit import clock
from outbox.bulk import jobs
from outbox.bulk.models import BulkJob, BulkRowError
from outbox.bulk.report import MAX_SHOWN
from outbox.models import Message
from sms_providers.models import Status


def counts(job: BulkJob | None) -> dict[str, int]:
    """Return the five counters, zeros for none; `total` is the sum of the others."""
    if job is None:
        return dict.fromkeys(("total", "sent", "failed", "unknown", "pending"), 0)
    return {
        "total": job.total_count,
        "sent": job.sent_count,
        "failed": job.failed_count,
        "unknown": job.unknown_count,
        "pending": job.pending_count,
    }


def progress(job: BulkJob | None) -> dict[str, Any]:
    """Return where a job stands, from its own row alone; zeros for none."""
    if job is None:
        return {**counts(None), "job_id": None, "status": None, "rate_per_second": None, "eta_seconds": None}
    pace = jobs.pace(job, now=clock.now())
    return {
        **counts(job),
        "job_id": str(job.pk),
        "status": job.status,
        "rate_per_second": pace.rate_per_second,
        "eta_seconds": pace.eta_seconds,
    }


def result(job: BulkJob, *, duplicate: bool = False) -> dict[str, Any]:
    """Return what an upload is answered with, now or at the end of its job."""
    warnings = list(job.report.get("warnings", []))
    if duplicate:
        warnings.insert(
            0,
            "This file was uploaded within the last 24 hours, so nothing new was made of it and these are that job's"
            " figures. To send it once more, upload it with force=true.",
        )
    elapsed = (job.finished_at or clock.now()) - job.created_at
    body = {
        **counts(job),
        "errors": errors(job),
        "warnings": warnings,
        "elapsed_ms": max(0, round(elapsed.total_seconds() * 1000)),
        "job_id": str(job.pk),
        "status": job.status,
        "reason": job.reason,
        "message": job.error_message,
    }
    return {**body, "duplicate_of": str(job.pk)} if duplicate else body


def errors(job: BulkJob) -> list[dict[str, Any]]:
    """Return the first rows that were not sent, by row: `{row, column, mobile, reason, message}`."""
    found: list[dict[str, Any]] = []
    if job.invalid_count:
        found = [
            {
                "row": error.row_number,
                "column": error.column,
                "mobile": error.mobile,
                "reason": error.reason,
                "message": error.message,
            }
            for error in BulkRowError.objects.filter(job=job).order_by("row_number", "pk")[:MAX_SHOWN]
        ]
    if job.failed_count > job.invalid_count:
        failed = Message.objects.filter(job=job.pk, status=Status.FAILED).order_by("row_number")
        found += [
            {"row": row, "column": "", "mobile": mobile, "reason": reason, "message": message}
            for row, mobile, reason, message in failed.values_list(
                "row_number", "typed_recipient", "reason", "error_message"
            )[:MAX_SHOWN]
        ]
        found.sort(key=lambda error: error["row"])
    return found[:MAX_SHOWN]


def listed(job: BulkJob) -> dict[str, Any]:
    """Return one line of a list of jobs."""
    return {
        "id": str(job.pk),
        "slug": job.provider_slug,
        "filename": job.filename,
        "mode": job.mode,
        "is_test": job.is_test,
        "reason": job.reason,
        "message": job.error_message,
        "created": job.created_at,
        "finished": job.finished_at,
        "expires_at": job.expires_at,
        **progress(job),
    }


def detailed(job: BulkJob) -> dict[str, Any]:
    """Return one job with its errors and the report of its check."""
    return {**listed(job), "invalid": job.invalid_count, "errors": errors(job), "report": job.report}
