"""Plain SQL, and many rows in one statement: what the ORM does with a parameter for each value of each row.

PostgreSQL gets them as one JSON text, which takes Python and the driver far less time than a parameter for each value;
SQLite gets VALUES.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import AutoField, Model
from django.db.models.expressions import DatabaseDefault


def table(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """Return a common table expression `given(column, …)` with these rows, and its parameters.

    `columns` maps names to PostgreSQL's types. There must be a row.
    """
    names = [f'"{name}"' for name in columns]
    if connection.vendor == "postgresql":
        typed = ", ".join(f"{name} {kind}" for name, kind in zip(names, columns.values(), strict=True))
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        # Times, UUIDs and decimals are read from their text.
        return f"given AS (SELECT * FROM json_to_recordset(%s) AS record({typed}))", [
            json.dumps(records, default=str, allow_nan=False)
        ]
    holes = f"({', '.join(['%s'] * len(columns))})"
    values = [plain(value) for row in rows for value in row]
    return f"given({', '.join(names)}) AS (VALUES {', '.join([holes] * len(rows))})", values


def holes(values: Iterable[object]) -> str:
    """Return the inside of an `IN (…)` for these values."""
    return ", ".join("%s" for _ in values) or "NULL"


def plain(value: Any) -> Any:
    """Return a value as this database takes it in plain SQL, whoever executes it."""
    if connection.vendor == "postgresql":
        return value
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value) if isinstance(value, dict | list) else value


M = TypeVar("M", bound=Model)


@contextmanager
def pipelined() -> Iterator[None]:
    """Send the statements of this block one after the other without waiting for each answer, on PostgreSQL.

    Whoever fetches waits. What a statement that is not fetched from says, such as how many rows it changed, cannot be
    asked; its error is raised by a later one, or by the end of the block.
    """
    if connection.vendor != "postgresql":
        yield
        return
    connection.ensure_connection()
    with connection.wrap_database_errors, connection.connection.pipeline():
        yield


def build(model: type[M], values: Mapping[str, Any]) -> M:
    """Return an unsaved row with these values, by attribute, and defaults: as its constructor, and much faster."""
    names, defaults = _blank(model)
    given = [values[name] if name in values else default() for name, default in zip(names, defaults, strict=True)]
    row = model.from_db(connection.alias, names, given)
    row._state.adding, row._state.db = True, None
    return row


@cache
def _blank(model: type[Model]) -> tuple[list[str], list[Callable[[], Any]]]:
    fields = model._meta.concrete_fields
    return [field.attname for field in fields], [field.get_default for field in fields]


def insert(rows: Sequence[Model], *, matched_by: str = "") -> None:
    """Insert rows of one model. Plain: a clash raises.

    A key that the database gives out is set on those rows; `matched_by` names a field that tells them apart.
    """
    if not rows:
        return
    meta = type(rows[0])._meta
    fields = [
        field
        for field in meta.concrete_fields
        if not isinstance(field, AutoField) and not isinstance(getattr(rows[0], field.attname), DatabaseDefault)
    ]
    fields = [field for field in fields if any(getattr(row, field.attname) is not None for row in rows)]
    given, values = _given(fields, rows)
    names = ", ".join(f'"{field.column}"' for field in fields)
    statement = f'WITH {given} INSERT INTO "{meta.db_table}" ({names}) SELECT {names} FROM given'
    with connection.cursor() as cursor:
        if matched_by:
            by: Any = meta.get_field(matched_by)
            cursor.execute(f'{statement} RETURNING "{by.column}", "{meta.pk.column}"', values)
            keys = {str(other).replace("-", ""): key for other, key in cursor.fetchall()}
            for row in rows:
                row.pk = keys[str(getattr(row, by.attname)).replace("-", "")]  # SQLite has UUIDs without hyphens
        else:
            cursor.execute(statement, values)
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def update(rows: Sequence[Model], fields: Iterable[str]) -> None:
    """Write these fields of rows of one model, by primary key."""
    if not rows:
        return
    meta = type(rows[0])._meta
    changed: list[Any] = [meta.get_field(name) for name in fields]
    given, values = _given([meta.pk, *changed], rows)
    sets = ", ".join(f'"{field.column}" = given."{field.column}"' for field in changed)
    with connection.cursor() as cursor:
        cursor.execute(
            f'WITH {given} UPDATE "{meta.db_table}" SET {sets} FROM given'
            f' WHERE "{meta.db_table}"."{meta.pk.column}" = given."{meta.pk.column}"',
            values,
        )


def _given(fields: Sequence[Any], rows: Sequence[Model]) -> tuple[str, list[Any]]:
    kinds = {field.column: field.cast_db_type(connection) for field in fields}
    # Django's own fields hold values as they are written; one of ours may not.
    ours = [None if type(field).__module__.startswith("django.") else field for field in fields]
    names = [field.attname for field in fields]
    values = []
    for row in rows:
        given = [getattr(row, name) for name in names]
        values.append(
            [
                value if field is None else field.get_db_prep_save(value, connection)
                for value, field in zip(given, ours, strict=True)
            ]
        )
    return table(kinds, values)
