"""How messages enter the queue: one statement, which decides about keys and about who may send them.

There is no look beforehand whose answer could be old by the time the row is written. The statement wants its app to be
there and its key to be free, takes the database's clock, and commits: one round trip, and no transaction around it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from linkit import batches, clock, encoding, prepared
from outbox.models import Message, new_ids
from sms_providers import catalogue
from sms_providers.models import SANDBOX

_MOST_ROWS = 500  # in one statement: SQLite takes 32,766 values
# `WHERE true`: without it SQLite takes ON CONFLICT for the condition of a join.
_INSERT = """
{given} INSERT INTO outbox_message ({columns}, pinned_app_id)
SELECT {values}, sender.app_id FROM {rows} ({sender}) AS sender WHERE true
ON CONFLICT (organization_id, is_test, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id
"""
_SIMULATOR = "SELECT CAST(NULL AS bigint) AS app_id"
_USABLE = "FROM sms_providers_organizationapp WHERE organization_id = %s AND is_enabled AND uninstalled_at IS NULL"
_ANY_APP = f"SELECT CAST(NULL AS bigint) AS app_id {_USABLE} AND slug {{among}} LIMIT 1"
# Whoever uninstalls the app locks its row. Either they wait for our commit and then see the message, or we wait for
# theirs and then see that the app has gone. A foreign key alone is checked too late, and the row stays anyway.
_ONE_APP = f"SELECT id AS app_id {_USABLE} AND slug = %s {{lock}}"
_KNOWN = """
SELECT idempotency_key, id, status, request_digest FROM outbox_message
WHERE organization_id = %s AND is_test = %s AND idempotency_key IN ({keys})
"""
# What is given for each message, with PostgreSQL's types, and for all of a call: `Entry` and `Owner`.
_GIVEN = {
    "id": "text", "recipient": "text", "text": "text", "sender_id": "text", "encoding": "text",
    "segment_count": "smallint", "scheduled_at": "timestamptz", "preferred_slug": "text", "idempotency_key": "text",
    "request_digest": "text", "meta": "jsonb", "due_at": "timestamptz", "lifetime": "double precision",
}  # fmt: skip
_OF_ALL = {"organization_id": "uuid", "is_test": "boolean", "token_id": "uuid", "user_id": "uuid"}
# What is made of them. SQLite is no server and has no clock of its own, so `_row` gives it the times.
_MOMENTS = {
    "next_attempt_at": "COALESCE({due_at}, statement_timestamp())",
    "expires_at": "COALESCE({due_at}, statement_timestamp()) + {lifetime} * interval '1 second'",
    "updated_at": "statement_timestamp()",
}
_MOMENTS_ON_SQLITE = {"next_attempt_at": "{due_at}", "expires_at": "{expires_at}", "updated_at": "{updated_at}"}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose messages they are, and who queues them."""

    organization_id: UUID
    is_test: bool = False
    token_id: UUID | None = None
    user_id: UUID | None = None


@dataclass(slots=True)
class Entry:
    """A message that is to be queued. `due_at` None: now. `insert` gives it an `id`."""

    recipient: str
    text: str
    lifetime: timedelta  # after it is due
    request_digest: str
    sender_id: str = ""
    scheduled_at: datetime | None = None
    due_at: datetime | None = None
    preferred_slug: str = ""
    idempotency_key: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who must be there to send it: the app `slug`, which then alone may; without one, any app that is real.

    `is_simulated`: nobody, the simulator of a test key always is.
    """

    slug: str = ""
    is_simulated: bool = False


class Known(NamedTuple):
    """A message that has a key already."""

    id: str
    status: str
    request_digest: str


def insert(owner: Owner, entries: Sequence[Entry], sender: Sender) -> set[str]:
    """Queue those whose key is free, if `sender` is there. Returns their ids. No two may have the same key."""
    for entry, pk in zip(entries, sorted(new_ids(len(entries))), strict=True):
        entry.id = pk
    if len(entries) == 1:
        return set(_insert(owner, entries, sender))
    # In one order for all, lest two calls with the same keys wait for each other.
    entries = sorted(entries, key=lambda entry: entry.idempotency_key or "")
    queued: set[str] = set()
    for first in range(0, len(entries), _MOST_ROWS):
        queued.update(_insert(owner, entries[first : first + _MOST_ROWS], sender))
    return queued


def known(owner: Owner, keys: Sequence[str]) -> dict[str, Known]:
    """Return the messages that have these keys, by key."""
    if not keys:
        return {}
    statement = _KNOWN.format(keys=batches.holes(keys))
    parameters = [*map(batches.plain, [owner.organization_id, owner.is_test, *keys])]
    return {key: Known(*row) for key, *row in _fetch(statement, parameters, is_one=len(keys) == 1)}


def _insert(owner: Owner, entries: Sequence[Entry], sender: Sender) -> list[str]:
    rows, is_one = [_row(entry) for entry in entries], len(entries) == 1
    columns, values, names = _select(_is_postgresql(), is_one)
    source, wanted = _source(sender, owner)
    parts = {"columns": columns, "values": values, "sender": source}
    of_all: dict[str, Any] = {name: getattr(owner, name) for name in _OF_ALL}
    parameters: list[Any] = []
    if is_one:
        of_all |= rows[0]
        of_all["meta"] = json.dumps(of_all["meta"])
        statement = _INSERT.format(given="", rows="", **parts)
    else:
        kinds = {name: _GIVEN.get(name, "timestamptz") for name in rows[0]}
        given, parameters = batches.table(kinds, [list(row.values()) for row in rows])
        statement = _INSERT.format(given=f"WITH {given}", rows="given,", **parts)
    parameters += map(batches.plain, [*map(of_all.__getitem__, names), *wanted])
    return [pk for (pk,) in _fetch(statement, parameters, is_one=is_one)]


def _fetch(statement: str, parameters: Sequence[Any], *, is_one: bool) -> list[tuple[Any, ...]]:
    if is_one:
        return prepared.fetch(statement, parameters)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _row(entry: Entry) -> dict[str, Any]:
    """Return what is given for one message."""
    counted = encoding.segments(entry.text)
    row = {
        "id": entry.id,
        "recipient": entry.recipient,
        "text": entry.text,
        "sender_id": entry.sender_id,
        "encoding": counted.encoding.value,
        "segment_count": counted.count,
        "scheduled_at": entry.scheduled_at,
        "preferred_slug": entry.preferred_slug,
        "idempotency_key": entry.idempotency_key,
        "request_digest": entry.request_digest,
        "meta": entry.meta,
        "due_at": entry.due_at,
        "lifetime": entry.lifetime.total_seconds(),
    }
    if not _is_postgresql():
        now = clock.now()
        due_at = row["due_at"] = entry.due_at or now
        row |= {"expires_at": due_at + entry.lifetime, "updated_at": now}
    return row


@functools.cache
def _select(is_postgresql: bool, is_one: bool) -> tuple[str, str, list[str]]:
    """Return the columns, an expression for each, and the names of the parameters in these.

    What is given is a parameter for one message, and a column of `given` for many.
    """
    expressions = {name: f"{{{name}}}" for name in (*_GIVEN, *_OF_ALL) if name not in ("due_at", "lifetime")}
    expressions |= _MOMENTS if is_postgresql else _MOMENTS_ON_SQLITE
    expressions |= _defaults()
    names: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if not is_one and name not in _OF_ALL:
            return f'given."{name}"'
        names.append(name)
        return f"%s::{(_GIVEN | _OF_ALL)[name]}" if is_postgresql else "%s"

    values = re.sub(r"{(\w+)}", fill, ", ".join(expressions.values()))
    return ", ".join(f'"{name}"' for name in expressions), values, names


def _defaults() -> dict[str, str]:
    """Return what a new message holds in all other columns, as SQL; without those that are empty (NULL)."""
    named = {*_GIVEN, *_MOMENTS, *_OF_ALL, "pinned_app_id"}
    found = {}
    for column in Message._meta.concrete_fields:
        if column.attname in named or column.has_db_default():
            continue
        value = column.get_db_prep_save(column.get_default(), connection)
        if value is not None:
            found[column.attname] = f"'{value}'" if isinstance(value, str) else str(value)
    return found


def _source(sender: Sender, owner: Owner) -> tuple[str, list[Any]]:
    """Return a query for the app that is to be pinned, with a row if `sender` is there, and its parameters."""
    if sender.slug:
        lock = "FOR KEY SHARE" if _is_postgresql() else ""  # SQLite has one writer at a time
        return _ONE_APP.format(lock=lock), [owner.organization_id, sender.slug]
    if sender.is_simulated:
        return _SIMULATOR, []
    # A site may have taken an app out of its catalogue that somebody has installed.
    slugs = [slug for slug in catalogue.adapters() if slug != SANDBOX]
    if _is_postgresql():  # which takes longer over a list of values than over one array
        return _ANY_APP.format(among="= ANY(%s::text[])"), [owner.organization_id, f"{{{','.join(slugs)}}}"]
    return _ANY_APP.format(among=f"IN ({batches.holes(slugs)})"), [owner.organization_id, *slugs]


@functools.cache
def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"
