"""The database's clock: one clock for all workers, however wrong their own are."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from linkit import batches


def now() -> datetime:
    """Return the database's present time, also inside a long transaction.

    SQLite has no server: its clock is that of this machine.
    """
    return now_after()[0]


def now_after(*statements: batches.Statement) -> tuple[datetime, list[list[tuple[Any, ...]]]]:
    """Return the time when these statements had been executed, and the rows of each, in one round trip."""
    if connection.vendor != "postgresql":
        found = batches.execute(*statements)
        return timezone.now(), found
    *found, [(moment,)] = batches.execute(*statements, ("SELECT clock_timestamp()", []))
    return moment.astimezone(UTC), found
