"""A whole file checked: its rows in batches, and the report that every answer shows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO

from django.conf import settings

from outbox.bulk.models import BulkJob, Mode
from outbox.bulk.reading import Overrides, Table, UnreadableFile, open_table
from outbox.bulk.report import RecentMessages, Report
from outbox.bulk.rows import RowChecker, RowError, ValidRow
from sms_providers import catalogue

BATCH = 5000  # rows; writing them takes a tenth of a second


def report_for(job: BulkJob, table: Table) -> Report:
    """Return the empty report on a file of `job`, which need not be saved."""
    return Report(table, rate=job.max_per_second)


def batches(job: BulkJob, table: Table, report: Report) -> Iterator[tuple[int, list[ValidRow], list[RowError]]]:
    """Check a file: yield its rows in batches as (last row number, valid rows, errors), and tell `report` of each.

    Raises `UnreadableFile`, also in the middle.
    """
    organization = job.organization
    checker = RowChecker(
        table.columns,
        region=organization.default_region,
        time_zone=organization.time_zone,
        now=job.created_at,
        adapter=catalogue.find(job.provider_slug),
    )
    recent = RecentMessages(
        organization_id=job.organization_id, is_test=job.is_test, now=job.created_at, except_job=job.pk
    )
    check = checker.check
    while rows := list(itertools.islice(table.rows, BATCH)):
        valid: list[ValidRow] = []
        errors: list[RowError] = []
        for number, cells, fault in rows:
            checked = check(number, cells, fault)
            if isinstance(checked, ValidRow):
                report.add(checked)
                valid.append(checked)
            else:
                report.add_errors(checked)
                errors += checked
        if report.total > settings.BULK_MAX_ROWS:
            raise UnreadableFile(
                f"The file has more than {settings.BULK_MAX_ROWS:,} rows; nothing was sent. Split it.",
                reason="too_many_rows",
            )
        report.add_recent(recent.repeated(valid))
        yield rows[-1][0], valid, errors


def check_file(job: BulkJob, file: BinaryIO, overrides: Overrides) -> dict[str, Any]:
    """Return the report on a file, as `bulk-check` answers it. Nothing is stored. Raises `UnreadableFile`."""
    table = open_table(file, overrides)
    report = report_for(job, table)
    for _ in batches(job, table, report):
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
