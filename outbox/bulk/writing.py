"""Rows of a file into the queue: COPY on PostgreSQL, one prepared INSERT on SQLite. Both fill the same columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from outbox.bulk.models import BulkJob, BulkRowError
from outbox.bulk.rows import RowError, ValidRow
from outbox.models import Message, new_ids
from sms_providers.models import Status

# What a row says for itself; the rest is the same for all rows of a job, or null until it is claimed.
_OF_ROW = (
    "id", "recipient", "text", "encoding", "segment_count", "sender_id", "scheduled_at", "next_attempt_at",
    "row_number", "typed_recipient",
)  # fmt: skip
_SPECIAL = re.compile(r"[\\\n\r\t]")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class RowWriter:
    """Writes the valid rows of one job, in the caller's transaction."""

    def __init__(self, job: BulkJob) -> None:
        self.job = job
        same = {
            "organization_id": job.organization_id,
            "is_test": job.is_test,
            "pinned_app_id": job.app_id,
            "preferred_slug": job.provider_slug,
            "request_digest": "",
            "meta": "{}",
            "token_id": job.token_id,
            "user_id": job.user_id,
            "status": Status.PENDING.value,
            "reason": "",
            "error_message": "",
            "provider_slug": "",
            "job_id": job.pk,
            "program_id": job.program_id,
            "updated_at": job.created_at,
        }
        self._names = (*_OF_ROW, *same)
        self._same = tuple(same.values())

    def write(self, rows: Sequence[ValidRow]) -> None:
        """Insert `rows` as pending messages, due when the file says, else at once. `created_at` is the database's."""
        if not rows:
            return
        columns = ", ".join(f'"{name}"' for name in self._names)
        table = Message._meta.db_table
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                    copy.write(self._lines(rows))
            else:
                marks = ", ".join(["%s"] * len(self._names))
                cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", self._tuples(rows))

    def _lines(self, rows: Sequence[ValidRow]) -> str:
        """Return the rows in PostgreSQL's text format of COPY."""
        same = "\t".join(_as_text(value) for value in self._same) + "\n"
        now = _as_text(self.job.created_at)
        # Joining is faster than formatting, and takes an encoding for the text that it is.
        return "".join(
            [
                "\t".join(
                    (
                        pk,
                        row.recipient,
                        _escaped(row.text),
                        row.encoding,
                        str(row.segment_count),
                        _escaped(row.sender_id),
                        "\\N" if row.due_at is None else _as_text(row.due_at),
                        now if row.due_at is None else _as_text(row.due_at),
                        str(row.number),
                        _escaped(row.typed),
                        same,
                    )
                )
                for pk, row in zip(new_ids(len(rows)), rows, strict=True)
            ]
        )

    def _tuples(self, rows: Sequence[ValidRow]) -> list[tuple[Any, ...]]:
        moment = connection.ops.adapt_datetimefield_value
        same = tuple(
            moment(value) if isinstance(value, datetime) else getattr(value, "hex", value) for value in self._same
        )
        now = moment(self.job.created_at)
        return [
            (
                pk, row.recipient, row.text, row.encoding.value, row.segment_count, row.sender_id,
                row.due_at and moment(row.due_at), moment(row.due_at) if row.due_at else now,
                row.number, row.typed, *same,
            )
            for pk, row in zip(new_ids(len(rows)), rows, strict=True)
        ]  # fmt: skip


def write_errors(job: BulkJob, errors: Sequence[RowError]) -> None:
    """Insert what is wrong with rows of this job, in the caller's transaction."""
    BulkRowError.objects.bulk_create(
        [
            BulkRowError(
                job=job,
                row_number=error.row,
                column=error.column,
                mobile=_storable(error.mobile),
                value=_storable(error.value),
                reason=error.reason,
                message=_storable(error.message)[:300],
            )
            for error in errors
        ],
        batch_size=1000,
    )


def _storable(text: str) -> str:
    # No database column takes a NUL.
    return text.replace("\x00", "\ufffd")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text) if _SPECIAL.search(text) else text


def _as_text(value: object) -> str:
    if value is None:
        return "\\N"
    return value.isoformat() if isinstance(value, datetime) else _escaped(str(value))
