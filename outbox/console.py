"""A bulk job in words and pictures, for the console. The figures are those of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop
from django.utils.translation import ngettext

from linkit.markup import amount, in_figures, moment
from outbox.bulk import prices
from outbox.bulk.models import BulkJob, JobStatus, Mode
from outbox.bulk.reading import Table
from outbox.forms import SEPARATOR_NAMES
from outbox.sentences import in_words
from sms_providers import catalogue
from sms_providers.console import Banner
from sms_providers.models import SANDBOX

ROWS_SHOWN = 100
_SAMPLES, _LOOKED_AT = 3, 1000  # rows of a file
# What a report says by names of the API: `in_words` and templates translate them.
NAMES = (
    noop("mobile"), noop("message"), noop("sender"), noop("datetime"),
    noop("spreadsheet quotes"), noop("decimal point"), noop("other digits"), noop("hidden marks"),
    noop("spaces or punctuation"), noop("leading 00"), noop("lost zero"),
)  # fmt: skip

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
    said = in_words(job.error_message, job.reason)
    simulated = job.is_test or job.provider_slug == SANDBOX
    match job.status:
        case JobStatus.CHECKING:
            text = _("Nothing is sent before all of it has been checked.")
            return Banner("calm", _("The file is being read"), text)
        case JobStatus.RUNNING:
            text = _("It goes on whether you stay here or not.")
            if job.expires_at:
                text = format_html("{} {}", text, _at(_("What is not sent by {} fails."), job.expires_at))
            return Banner("calm", _("Sending through %(app)s") % {"app": app}, text)
        case JobStatus.PAUSED:
            text = f"{said} {_('Nothing more is started until somebody resumes it.')}".strip()
            if job.paused_at:
                until = job.paused_at + settings.BULK_MAX_PAUSE
                text = format_html("{} {}", text, _at(_("If nobody does by {}, the rest is cancelled."), until))
            return Banner("caution", _("Paused"), text)
        case JobStatus.STOPPING:
            text = _("What has not been started is being cancelled; what is under way ends.")
            return Banner("calm", _("Stopping"), f"{said} {text}".strip())
        case JobStatus.RETRYING:
            text = _("Then they are sent like at first.")
            return Banner("calm", _("The failed rows are being queued again"), text)
        case JobStatus.COMPLETED if simulated:
            text = ngettext(
                "The simulator took %(count)s row. Nothing left this machine.",
                "The simulator took %(count)s rows. Nothing left this machine.",
                job.total_count,
            )
            return Banner("good", _("Sent, but only simulated"), text % {"count": f"{job.total_count:,}"})
        case JobStatus.COMPLETED:
            text = ngettext(
                "%(app)s accepted %(count)s row. That it arrived is for a delivery receipt to say.",
                "%(app)s accepted %(count)s rows. That they arrived is for delivery receipts to say.",
                job.total_count,
            )
            return Banner("good", _("All sent"), text % {"app": app, "count": f"{job.total_count:,}"})
        case JobStatus.PARTLY_FAILED:
            headline = _("Sent in part") if job.failed_count else _("Sent, but some are not certain")
            return Banner("caution", headline, _how_many(job))
        case JobStatus.STOPPED:
            return Banner("off", _("Stopped"), f"{said} {_how_many(job, tells_failed=False)}".strip())
    none = ngettext(
        "None of %(count)s row could be sent; why is below.",
        "None of %(count)s rows could be sent; why is below.",
        job.total_count,
    )
    return Banner("bad", _("Nothing was sent"), said or none % {"count": f"{job.total_count:,}"})


def _at(text: str, moment_of_it: datetime) -> SafeString:
    return format_html(text, moment(moment_of_it))


def _how_many(job: BulkJob, *, tells_failed: bool = True) -> str:
    """Say how many rows were sent, were not, and may have been."""
    sent = ngettext("%(sent)s of %(total)s row was sent.", "%(sent)s of %(total)s rows were sent.", job.total_count)
    told = [sent % {"sent": f"{job.sent_count:,}", "total": f"{job.total_count:,}"}]
    if job.failed_count and tells_failed:
        failed = ngettext("%(count)s was not.", "%(count)s were not.", job.failed_count)
        told.append(failed % {"count": f"{job.failed_count:,}"})
    if job.unknown_count:
        doubt = ngettext(
            "%(count)s may have been sent: do not send it again before you know.",
            "%(count)s may have been sent: do not send them again before you know.",
            job.unknown_count,
        )
        told.append(doubt % {"count": f"{job.unknown_count:,}"})
    return " ".join(told)


def what_a_stop_does(job: BulkJob) -> list[str]:
    """Say what comes of stopping a job, before anybody does it."""
    told = [_("Nothing more is started. What is under way ends, and what was sent stays sent.")]
    if job.pending_count:
        text = ngettext(
            "%(count)s message that waits is cancelled.",
            "%(count)s messages that wait are cancelled.",
            job.pending_count,
        )
        told.insert(0, text % {"count": f"{job.pending_count:,}"})
    if job.run_started_at is None:
        return [*told, _("Nothing of it has been sent yet, and nothing will be.")]
    return [*told, _("Afterwards they can be sent again as failed ones; a pause only puts them off.")]


def what_a_retry_does(job: BulkJob) -> list[str]:
    """Say what comes of sending the failed rows of a job again, and what it costs."""
    count = job.failed_count - job.invalid_count
    text = ngettext(
        "%(count)s message that failed is queued again and sent through %(app)s.",
        "%(count)s messages that failed are queued again and sent through %(app)s.",
        count,
    )
    told = [text % {"count": f"{count:,}", "app": catalogue.app_name(job.provider_slug)}]
    cost = prices.of_failed(job)
    if cost is None:
        told.append(_("That costs no credits."))
    else:
        told.append(_("That costs %(amount)s credits, each charged as it is sent.") % {"amount": in_figures(cost)})
    told.append(_("No row that was sent, or may have been, is sent again."))
    if job.invalid_count:
        text = ngettext(
            "%(count)s wrong row stays out: correct it and upload it anew.",
            "%(count)s wrong rows stay out: correct them and upload them anew.",
            job.invalid_count,
        )
        told.append(text % {"count": f"{job.invalid_count:,}"})
    return told


def credit_cost(report: Mapping[str, Any]) -> SafeString | None:
    """Return what a checked file costs, for a page; None when it costs no credits."""
    cost = report.get("credit_cost")
    return None if cost is None else amount(Decimal(str(cost)))  # by its digits: a float is not exact


def duration(seconds: int | None) -> str:
    """Return a span of time, roughly; bulk.js says it in the same words."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return _("{seconds} s").format(seconds=seconds)
    hours, minutes = divmod(-(-seconds // 60), 60)
    if hours:
        return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes)
    return _("{minutes} min").format(minutes=minutes)


def readable(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report on a file, which is kept in English, for a page."""
    if not report:
        return {}
    found, repairs = report["detected"], report["repairs"]
    mended = [
        {**each, "repairs": [_(kind.replace("_", " ")) for kind in each["repairs"]]} for each in repairs["samples"]
    ]
    return {
        **report,
        "warnings": [in_words(warning) for warning in report["warnings"]],
        "detected": {**found, "separator": SEPARATOR_NAMES.get(found["separator"], found["separator"])},
        "repairs": {**repairs, "samples": mended},
    }


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
    for number, cells, _fault in islice(table.rows, _LOOKED_AT):
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
    return RowErrors(told([error for error in errors if error["row"] in kept]), max(0, wrong_rows - len(numbers)))


def told(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return what is wrong with rows, which is kept in English, for a page."""
    return [
        {
            **error,
            "column": _(error["column"]) if error["column"] else "",
            "message": in_words(error["message"], error["reason"]),
        }
        for error in errors
    ]


def listed_rows(job: BulkJob) -> int:
    """Return how many rows have an error of their own, and so are in errors.csv."""
    return job.invalid_count if held_back(job) else job.failed_count


def held_back(job: BulkJob) -> bool:
    """Whether the rows that were right were kept back for the wrong ones."""
    return job.mode == Mode.ALL_OR_NOTHING and job.reason == "rows_invalid"


def can_retry(job: BulkJob) -> bool:
    return job.is_ended and job.run_started_at is not None and job.failed_count > job.invalid_count
