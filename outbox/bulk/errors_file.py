"""errors.csv: the rows of a file that were not sent, as they were uploaded, each with the reason."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _

from linkit import spreadsheet
from linkit.errors import Conflict, Missing
from outbox.bulk import uploads
from outbox.bulk.delimited import SEPARATORS
from outbox.bulk.models import BulkDraft, BulkJob, BulkRowError, JobStatus
from outbox.bulk.reading import Overrides, Table, open_table
from outbox.bulk.rows import ERRORS_COLUMN, RowChecker
from outbox.models import Message
from outbox.sentences import in_words
from sms_providers import catalogue
from sms_providers.models import Status

_ROWS_AT_ONCE = 1000


def check(job: BulkJob) -> None:
    """Raise `Conflict` or `Missing` unless this job has rows to list and still has its file."""
    if job.status == JobStatus.CHECKING:
        raise Conflict(_("The file is still being read; ask again in a moment."), reason="wrong_state")
    if not job.total_count:
        text = _("No row of the file was read: %(why)s")
        raise Conflict(text % {"why": in_words(job.error_message, job.reason)}, reason="wrong_state")
    if job.upload_id is None:
        raise Missing(_("The file of this job has been deleted, and its rows with it."), reason="file_deleted")


def download(job: BulkJob) -> StreamingHttpResponse:
    """Return errors.csv of a job as a file to save. Raises `Conflict` and `Missing`, as `check` does."""
    check(job)
    return StreamingHttpResponse(
        lines(job),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="errors-{job.pk}.csv"'},
    )


def lines(job: BulkJob) -> Iterator[bytes]:
    """Yield errors.csv in pieces: UTF-8 with a byte order mark, so that spreadsheets show Arabic.

    Rows that were sent, wait, or of which nobody knows are not in it. A cell that a spreadsheet would take for a
    formula is made text by an apostrophe, which an upload of the corrected file takes off again.
    """
    with uploads.opened(job.upload) as file:
        table = open_table(file, Overrides(**job.options))
        rows = _rows(table, _reasons(job))
        separator = SEPARATORS.get(table.separator, ",")  # what this person's spreadsheet takes for one
        yield from spreadsheet.lines(chain([[*table.header, ERRORS_COLUMN]], rows), separator)


def download_of_draft(draft: BulkDraft) -> StreamingHttpResponse:
    """Return the wrong rows of a checked file, in the same form, as a file to save.

    Raises `Missing` when the file is not there any more.
    """
    pieces = lines_of_draft(draft)
    first = next(pieces)  # the file is opened before anything is answered
    return StreamingHttpResponse(
        chain([first], pieces),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="errors-{draft.pk}.csv"'},
    )


def lines_of_draft(draft: BulkDraft) -> Iterator[bytes]:
    """Yield the wrong rows of a checked file in pieces; it is checked once more for that."""
    organization = draft.app.organization
    with uploads.opened(draft.upload) as file:
        table = open_table(file, Overrides(**draft.options))
        checker = RowChecker(
            table.columns,
            region=organization.default_region,
            time_zone=organization.time_zone,
            now=draft.created_at,
            adapter=catalogue.find(draft.app.slug),
            is_errors_file=table.header[-1] == ERRORS_COLUMN,
        )
        wrong = (
            [*cells, " ".join(error.message for error in errors)]
            for number, cells, fault in table.rows
            if isinstance(errors := checker.check(number, cells, fault), list)
        )
        separator = SEPARATORS.get(table.separator, ",")
        yield from spreadsheet.lines(chain([[*table.header, ERRORS_COLUMN]], wrong), separator)


def _rows(table: Table, reasons: Iterator[tuple[int, str]]) -> Iterator[list[str]]:
    """Go through the file once, taking the rows that `reasons`, in the same order, names."""
    wanted, why = next(reasons, (0, ""))
    for number, cells, _fault in table.rows:
        if number == wanted:
            yield [*cells, why]
            wanted, why = next(reasons, (0, ""))
        if not wanted:
            return


def _reasons(job: BulkJob) -> Iterator[tuple[int, str]]:
    """Return the numbers of the rows that failed, in order, with all that is wrong with each in one sentence."""
    errors = BulkRowError.objects.filter(job=job).order_by("pk")  # which is the order of the file
    failed = Message.objects.filter(job=job.pk, status=Status.FAILED).order_by("row_number")
    wrong = _in_pieces(errors.values_list("pk", "row_number", "message"), "pk")
    refused = _in_pieces(failed.values_list("row_number", "row_number", "error_message"), "row_number")
    for number, group in groupby(heapq.merge(wrong, refused, key=itemgetter(0)), key=itemgetter(0)):
        yield number, " ".join(message for _, message in group)


def _in_pieces(rows: QuerySet[Any, tuple[Any, ...]], key: str) -> Iterator[tuple[int, str]]:
    """Yield row number and message from rows of (key, row number, message), without a cursor: poolers keep none."""
    last = 0
    while some := list(rows.filter(**{f"{key}__gt": last})[:_ROWS_AT_ONCE]):
        yield from ((number, message) for _, number, message in some)
        last = some[-1][0]
