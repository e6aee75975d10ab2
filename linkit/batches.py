"""Plain SQL, and many rows in one statement: what the ORM does with a parameter for each value of each row.

PostgreSQL gets them as one JSON text, which takes Python and the driver far less time than a parameter for each value;
SQLite gets VALUES.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import AutoField, Model
from django.db.models.base import ModelState
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


def uuid_of(value: Any) -> UUID:
    """Return a UUID from what plain SQL gives, which on SQLite is a text."""
    return value if isinstance(value, UUID) else UUID(value)


M = TypeVar("M", bound=Model)


Statement = tuple[str, Sequence[Any]]  # plain SQL and its parameters


def execute(*statements: Statement) -> list[list[tuple[Any, ...]]]:
    """Execute statements in this order, on PostgreSQL in one round trip. Returns the rows of each.

    Each round trip costs a busy process its turn at the interpreter's lock, which takes longer than most statements.
    """
    if connection.vendor == "postgresql":
        # Values stand in the text that is sent, as Django's cursors have it: so it may be several statements.
        statements = (("; ".join(sql for sql, _ in statements), [each for _, values in statements for each in values]),)
    found = []
    with connection.cursor() as cursor:
        for sql, parameters in statements:
            cursor.execute(sql, parameters)
            found.append(_rows(cursor))
            while connection.vendor == "postgresql" and cursor.nextset():
                found.append(_rows(cursor))
    return found


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    return list(cursor.fetchall()) if cursor.description else []


def build(model: type[M], values: Mapping[str, Any]) -> M:
    """Return an unsaved row with these values, by attribute, and defaults: as its constructor, and much faster.

    No signal is sent, and what a constructor of its own would do is not done.
    """
    constants, made = _defaults(model)
    row = model.__new__(model)
    row.__dict__.update(constants)
    row.__dict__.update((name, make()) for name, make in made if name not in values)
    row.__dict__.update(values)
    row._state = ModelState()
    return row


@cache
def _defaults(model: type[Model]) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """Return the defaults of a model that are the same for every row, and those that are made for each."""
    constants, made = {}, []
    for field in model._meta.concrete_fields:
        if callable(field.default) and field.has_default():
            made.append((field.attname, field.get_default))
        else:
            constants[field.attname] = field.get_default()
    return constants, made


def inserting(rows: Sequence[Model], *, returning: Sequence[str] = ()) -> Statement:
    """Return the statement that inserts rows of one model, of which there must be one. Plain: a clash raises.

    It returns these fields of each, in any order. A key that the database gives out is not set.
    """
    meta = type(rows[0])._meta
    fields = [
        field
        for field in meta.concrete_fields
        if not isinstance(field, AutoField) and not isinstance(getattr(rows[0], field.attname), DatabaseDefault)
    ]
    fields = [field for field in fields if any(getattr(row, field.attname) is not None for row in rows)]
    given, values = _given(fields, rows)
    names = ", ".join(f'"{field.column}"' for field in fields)
    wanted = ", ".join(f'"{meta.get_field(name).column}"' for name in returning)  # type: ignore[union-attr]
    end = f" RETURNING {wanted}" if wanted else ""
    return f'WITH {given} INSERT INTO "{meta.db_table}" ({names}) SELECT {names} FROM given{end}', values


def note_inserted(rows: Sequence[Model]) -> None:
    """Note on rows that they are in the database now."""
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def updating(rows: Sequence[Model], fields: Iterable[str]) -> Statement:
    """Return the statement that writes these fields of rows of one model, of which there must be one, by their key."""
    meta = type(rows[0])._meta
    changed: list[Any] = [meta.get_field(name) for name in fields]
    given, values = _given([meta.pk, *changed], rows)
    sets = ", ".join(f'"{field.column}" = given."{field.column}"' for field in changed)
    key = f'"{meta.db_table}"."{meta.pk.column}" = given."{meta.pk.column}"'
    return f'WITH {given} UPDATE "{meta.db_table}" SET {sets} FROM given WHERE {key}', values


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
