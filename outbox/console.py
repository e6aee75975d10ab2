"""A bulk job in words and pictures, for the console. The figures are those of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.conf import settings
from django.utils.html import format_html

from linkit.markup import moment
from outbox.bulk.models import BulkJob, JobStatus, Mode
from outbox.bulk.reading import Table
from outbox.bulk.report import rows_in_words
from sms_providers import catalogue
from sms_providers.console import Banner
from sms_providers.models import SANDBOX

ROWS_SHOWN = 100
_SAMPLES, _LOOKED_AT = 3, 1000  # rows of a file

BADGES: dict[str, str] = {
    JobStatus.CHECKING: "pending",
    JobStatus.RUNNING: "pending",
    JobStatus.PAUSED: "unsure",
    JobStatus.STOPPING: "pending",
    JobStatus.RETRYING: "pending",
    JobStatus.COMPLETED: "good",
    JobStatus.PARTLY_FAILED: "unsure",
    JobStatus.FAILED: "bad",
    JobStatus.STOPPED: "off",
}


def tell(job: BulkJob) -> Banner:
    """Say how a job stands, why, and what comes next."""
    app = catalogue.app_name(job.provider_slug)
    sent, failed, unknown = f"{job.sent_count:,}", f"{job.failed_count:,}", f"{job.unknown_count:,}"
    of_all = f"{sent} of {rows_in_words(job.total_count)} {'was' if job.sent_count == 1 else 'were'} sent."
    doubt = f" {unknown} may have been sent: do not send them again before you know." if job.unknown_count else ""
    simulated = job.is_test or job.provider_slug == SANDBOX
    match job.status:
        case JobStatus.CHECKING:
            return Banner("calm", "The file is being read", "Nothing is sent before all of it has been checked.")
        case JobStatus.RUNNING:
            text = "It goes on whether you stay here or not."
            if job.expires_at:
                text = format_html("{} What is not sent by {} fails.", text, moment(job.expires_at))
            return Banner("calm", f"Sending through {app}", text)
        case JobStatus.PAUSED:
            text = f"{job.error_message} Nothing more is started until somebody resumes it."
            if job.paused_at:
                until = moment(job.paused_at + settings.BULK_MAX_PAUSE)
                text = format_html("{} If nobody does by {}, the rest is cancelled.", text, until)
            return Banner("caution", "Paused", text)
        case JobStatus.STOPPING:
            text = f"{job.error_message} What has not been started is being cancelled; what is under way ends."
            return Banner("calm", "Stopping", text.strip())
        case JobStatus.RETRYING:
            return Banner("calm", "The failed rows are being queued again", "Then they are sent like at first.")
        case JobStatus.COMPLETED if simulated:
            text = f"The simulator took {rows_in_words(job.total_count)}. Nothing left this machine."
            return Banner("good", "Sent, but only simulated", text)
        case JobStatus.COMPLETED:
            text = (
                f"{app} accepted {rows_in_words(job.total_count)}. That they arrived is for delivery receipts to say."
            )
            return Banner("good", "All sent", text)
        case JobStatus.PARTLY_FAILED:
            unsent = f" {failed} {'was' if job.failed_count == 1 else 'were'} not." if job.failed_count else ""
            headline = "Sent in part" if job.failed_count else "Sent, but some are not certain"
            return Banner("caution", headline, f"{of_all}{unsent}{doubt}")
        case JobStatus.STOPPED:
            return Banner("off", "Stopped", f"{job.error_message} {of_all}{doubt}".strip())
    why = job.error_message or f"None of {rows_in_words(job.total_count)} could be sent; why is below."
    return Banner("bad", "Nothing was sent", why)


def duration(seconds: int | None) -> str:
    """Return a span of time, roughly; console.js says it in the same words."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(-(-seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@dataclass(frozen=True)
class Slice:
    """A part of the progress bar, in thousandths of it."""

    kind: str
    start: int
    width: int


def bar(figures: Mapping[str, Any]) -> list[Slice]:
    """Return the coloured parts of the progress bar: sent, unknown, failed."""
    slices, start = [], 0
    for kind in ("sent", "unknown", "failed"):
        width = figures[kind] * 1000 // max(1, figures["total"])
        slices.append(Slice(kind, start, width))
        start += width
    return slices


def percent(figures: Mapping[str, Any]) -> int:
    return (figures["total"] - figures["pending"]) * 100 // max(1, figures["total"])


def samples(table: Table) -> list[dict[str, Any]]:
    """Return some rows of a file as they are read: the first, and one with letters that a wrong encoding garbles."""
    found: list[dict[str, Any]] = []
    for number, cells, _ in islice(table.rows, _LOOKED_AT):
        text = cells[table.columns.message]
        if len(found) < _SAMPLES - 1 or not text.isascii():
            sender = cells[table.columns.sender] if table.columns.sender is not None else ""
            found.append({"row": number, "mobile": cells[table.columns.mobile], "sender": sender, "text": text})
        if len(found) == _SAMPLES:
            break
    return found


@dataclass(frozen=True)
class RowErrors:
    """What is wrong with the first rows of a file, and how many further rows have something."""

    shown: list[Mapping[str, Any]]
    more: int


def first_rows(errors: Sequence[Mapping[str, Any]], *, wrong_rows: int) -> RowErrors:
    """Cut errors, which come by row, after the first rows; `wrong_rows` is how many there are."""
    numbers = list(dict.fromkeys(error["row"] for error in errors))[:ROWS_SHOWN]
    kept = frozenset(numbers)
    return RowErrors([error for error in errors if error["row"] in kept], max(0, wrong_rows - len(numbers)))


def listed_rows(job: BulkJob) -> int:
    """Return how many rows have an error of their own, and so are in errors.csv."""
    return job.invalid_count if held_back(job) else job.failed_count


def held_back(job: BulkJob) -> bool:
    """Whether the rows that were right were kept back for the wrong ones."""
    return job.mode == Mode.ALL_OR_NOTHING and job.reason == "rows_invalid"


def can_retry(job: BulkJob) -> bool:
    return job.is_ended and job.run_started_at is not None and job.failed_count > job.invalid_count
