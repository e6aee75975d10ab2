"""Statements that come again and again: PostgreSQL reads and plans each once for a connection.

That takes it longer than many a statement does. The ORM's own are each written anew, with their values in them.
"""

from __future__ import annotations

import functools
import logging
import select
from collections.abc import Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

logger = logging.getLogger(__name__)

_TIMES_FIRST = 2  # that a statement is sent before it is prepared
# What PostgreSQL says of a statement that another session has prepared, or has prepared as well.
_NOT_OURS = {"26000", "42P05"}


def fetch(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Execute a statement and return its rows. Values are sent beside it, so a hole may need its type: `%s::uuid`.

    Nothing is prepared on SQLite, nor behind a pooler: that may give each transaction another session.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]  # this thread's
    if not _can_prepare(database):
        return _fetch(database.cursor(), statement, parameters)
    _trust_if_quiet(database)
    try:
        return _fetch(_preparing_cursor(database), statement, parameters)
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", "") not in _NOT_OURS:
            raise
        logger.warning("There is a pooler before PostgreSQL: nothing is prepared any more.")
        _pooler["is_there"] = True
        if database.in_atomic_block:
            raise
    return _fetch(database.cursor(), statement, parameters)


_pooler = {"is_there": False}


def _can_prepare(database: Any) -> bool:
    # A pooler usually takes no start-up options, so where there are some, there is none.
    return (
        not _pooler["is_there"] and database.vendor == "postgresql" and "options" in database.settings_dict["OPTIONS"]
    )


def _fetch(cursor: Any, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _preparing_cursor(database: Any) -> Any:
    """Return a cursor as `database.cursor()` does, of the kind that sends values by themselves."""
    database.close_if_health_check_failed()
    database.ensure_connection()
    connection = database.connection
    if connection.prepare_threshold is None:
        connection.prepare_threshold = _TIMES_FIRST
    with database.wrap_database_errors:
        return database._prepare_cursor(_cursor_class()(connection))


@functools.cache
def _cursor_class() -> Any:
    from django.db.backends.postgresql.base import ServerBindingCursor

    return ServerBindingCursor


def _trust_if_quiet(database: Any) -> None:
    """Spare a connection the question whether it is alive, which Django asks once in a request.

    A server that went away has said so: then there is something to read, and Django may ask.
    """
    if database.connection is not None and not database.health_check_done:
        poll = select.poll()
        poll.register(database.connection.fileno(), select.POLLIN)
        database.health_check_done = not poll.poll(0)
