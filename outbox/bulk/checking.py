"""A whole file checked: its rows in batches, and the report that every answer shows."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit import clock
from linkit.models import Organization
from outbox.bulk.models import BulkJob, Mode
from outbox.bulk.prices import tariff_of
from outbox.bulk.reading import Overrides, Table, UnreadableFile, open_table
from outbox.bulk.report import RecentMessages, Report
from outbox.bulk.rows import ERRORS_COLUMN, RowChecker, RowError, ValidRow
from sms_providers import catalogue
from sms_providers.models import OrganizationApp

BATCH = 5000  # rows; writing them takes a tenth of a second
MANY_ROWS = noop("The file has more than %(most)s rows; nothing was sent. Split it.")


class Batch(NamedTuple):
    """Some rows of a file, checked. `last` is the number of the last of them."""

    last: int
    valid: list[ValidRow]
    errors: list[RowError]


def report_for(job: BulkJob, table: Table) -> Report:
    """Return the empty report on a file of `job`, which need not be saved."""
    return Report(table, rate=job.max_per_second, tariff=tariff_of(job, today=job.created_at.date()))


class Batches(contextlib.AbstractContextManager["Batches"]):
    """The rows of a file, checked in batches, of each of which `report` is told. Iterating raises `UnreadableFile`."""

    def __init__(self, job: BulkJob, table: Table, report: Report) -> None:
        checker = RowChecker(
            table.columns,
            region=job.region,
            time_zone=job.time_zone,
            now=job.created_at,
            adapter=catalogue.find(job.provider_slug),
            is_errors_file=table.header[-1] == ERRORS_COLUMN,
        )
        self._report = report
        self._batches = _checked(table, checker, report)
        self._recent = RecentMessages(
            organization_id=job.organization_id, is_test=job.is_test, now=job.created_at, except_job=job.pk
        )
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checking")
        self._begun: Future[Batch | None] | None = None

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def __iter__(self) -> Iterator[Batch]:
        while (batch := self._next()) is not None:
            self._report.add_recent(self._recent.repeated(batch.valid))
            yield batch

    def _next(self) -> Batch | None:
        begun, self._begun = self._begun, None
        return begun.result() if begun else next(self._batches, None)

    def begin_next(self) -> None:
        """Check the next batch in a thread, while the caller waits for a commit.

        Not earlier: a thread that computes makes one that talks to the database wait at each of its steps.
        """
        self._begun = self._pool.submit(next, self._batches, None)


def _checked(table: Table, checker: RowChecker, report: Report) -> Iterator[Batch]:
    """Check batch after batch. May run in a thread of its own, so nothing here asks the database."""
    check = checker.check
    while True:
        last = 0
        valid: list[ValidRow] = []
        errors: list[RowError] = []
        # Row by row and not from a list: what lives on is what the garbage collector looks through.
        for number, cells, fault in itertools.islice(table.rows, BATCH):
            last = number
            checked = check(number, cells, fault)
            if isinstance(checked, ValidRow):
                report.add(checked)
                valid.append(checked)
            else:
                report.add_errors(checked)
                errors += checked
        if not last:
            return
        if report.total > settings.BULK_MAX_ROWS:
            raise UnreadableFile(_(MANY_ROWS) % {"most": f"{settings.BULK_MAX_ROWS:,}"}, reason="too_many_rows")
        yield Batch(last, valid, errors)


def check_file(
    file: BinaryIO,
    overrides: Overrides,
    *,
    organization: Organization,
    app: OrganizationApp | None,
    slug: str,
    mode: str,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return the report on a file, as `bulk-check` answers it. Nothing is stored. Raises `UnreadableFile`."""
    job = BulkJob(
        organization=organization,
        is_test=is_test,
        app=app,
        provider_slug=slug,
        region=organization.default_region,
        time_zone=organization.time_zone,
        mode=mode,
        created_at=clock.now(),
    )
    table = open_table(file, overrides)
    report = report_for(job, table)
    with Batches(job, table, report) as batches:
        for _ in batches:
            pass
    would_send = 0 if report.invalid and job.mode == Mode.ALL_OR_NOTHING else report.valid
    return {
        "total": report.total,
        "valid": report.valid,
        "invalid": report.invalid,
        "would_send": would_send,
        "errors": report.errors,
        **report.as_json(),
    }
