"""Search in contacts: every word of what somebody types is somewhere in a name, an e-mail address or a number.

`matching` says what is found. On PostgreSQL `find` finds the same in an organization of a million without looking at
each: it reads the newest contacts from an index, which answers for small organizations and for common words, and asks
the index of trigrams (migration 0002) for rare ones. Left to itself the planner errs by a second either way, since it
takes the rows with a word to be spread evenly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import StrIndex
from rest_framework.request import Request

from contacts import folding
from contacts.models import Contact
from linkit.pagination import COUNT_CAP, ContactPagination
from linkit.permissions import organization_of

LONGEST = 100  # characters of a search that are read
_WINDOW = 50_000  # contacts that a first look reads, in some 10 ms
_COMMON = 0.05  # the share of them from which on a word is counted on in the same way
_FAR_WINDOW = 250_000
_CAP = COUNT_CAP + 1

_TYPED_NUMBER = re.compile(r"\+?[\d().\-/]{7,}")
_INDEXED = re.compile("[A-Za-z0-9]{3}")  # whatever the locale, this makes a trigram
_NO_OTHER_PLAN = """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true),
        set_config('enable_indexonlyscan', 'off', true), set_config('jit', 'off', true)
"""


def terms(typed: str) -> list[str]:
    """Return the words to look for, as they stand in `Contact.search_text`; none for a search for nothing."""
    words = dict.fromkeys(map(_as_stored, folding.folded(typed[:LONGEST]).split()))
    return [word for word in words if not any(word in other for other in words if other != word)]


def _as_stored(word: str) -> str:
    if _TYPED_NUMBER.fullmatch(word):  # in one word, with dashes and brackets
        word = re.sub(r"[().\-/]", "", word)
    return f"00{word[1:]}" if word[0] == "+" and word[1:].isdecimal() else word


def matching(contacts: QuerySet[Contact], typed: str) -> QuerySet[Contact]:
    """Return those of `contacts` that a search finds: all of them when it is for nothing."""
    for term in terms(typed):
        # Not LIKE: it has wildcards, and on SQLite it ignores case.
        contacts = contacts.alias(place=StrIndex("search_text", Value(term))).filter(place__gt=0)
    return contacts


@dataclass(frozen=True)
class Found:
    """A page of a search: the ids in their order, and how many contacts were found, counted up to COUNT_CAP + 1."""

    ids: list[UUID]
    count: int


def find(*, organization_id: UUID, words: Sequence[str], order: Sequence[str], start: int, stop: int) -> Found:
    """Return a page of the live contacts of an organization that have all of `words`, one at least. PostgreSQL only.

    `order` is as for `order_by`, by columns that end with the key, all in one direction.
    """
    return _Search(organization_id, words, order, start, stop).run()


class _Search:
    def __init__(
        self, organization_id: UUID, words: Sequence[str], order: Sequence[str], start: int, stop: int
    ) -> None:
        self.words, self.start, self.stop = words, start, stop
        self.is_by_time = order[0].removeprefix("-") == "created_at"
        self.order = _sql_order(order)
        self.contacts = "contacts_contact WHERE organization_id = %s AND deleted_at IS NULL"
        self.organization = [organization_id]
        # A function instead of LIKE, so that the planner has no index to try.
        self.has_words = " AND ".join(["strpos(search_text, %s) > 0"] * len(words))

    def run(self) -> Found:
        scanned, hits, newest = self.look()
        if scanned < _WINDOW:
            return Found(newest if self.is_by_time else self.walk(), hits)
        if hits < _COMMON * _WINDOW or self.count_far() < _CAP:
            hits, ids = self.ask_the_index()
            if hits < _CAP:
                return Found(ids, hits)
        is_here = self.is_by_time and len(newest) == self.stop - self.start
        return Found(newest if is_here else self.walk(), _CAP)

    def look(self) -> tuple[int, int, list[UUID]]:
        """Return how many contacts a first look has read, how many of them match, and the page if it is among them."""
        order = self.order if self.is_by_time else _sql_order(["-created_at", "-pk"])
        scanned, hits, ids = self.one(
            f"""
            SELECT count(*), count(*) FILTER (WHERE is_hit), (array_agg(id) FILTER (WHERE is_hit))[%s:%s]
            FROM (SELECT id, {self.has_words} AS is_hit FROM {self.contacts} ORDER BY {order} LIMIT %s) newest
            """,
            [self.start + 1, self.stop, *self.words, *self.organization, _WINDOW],
        )
        return scanned, hits, ids or []

    def count_far(self) -> int:
        """Return how many match among the newest, up to the cap, reading no further than that."""
        (count,) = self.one(
            f"""
            SELECT count(*) FROM (
                SELECT FROM (
                    SELECT {self.has_words} AS is_hit FROM {self.contacts}
                    ORDER BY {_sql_order(["-created_at", "-pk"])} LIMIT %s
                ) newest WHERE is_hit LIMIT %s
            ) hits
            """,
            [*self.words, *self.organization, _FAR_WINDOW, _CAP],
        )
        return int(count)

    def ask_the_index(self) -> tuple[int, list[UUID]]:
        """Return how many match, up to the cap, and, of any less, the page."""
        conditions, values = self.indexed_conditions()
        columns = ", ".join(sorted({each.split()[0] for each in self.order.split(", ")}))
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(_NO_OTHER_PLAN)
            # The planner takes it that a CTE is read to its end, and the executor stops at the cap all the same.
            count, ids = self.one(
                f"""
                WITH hits AS MATERIALIZED (SELECT {columns} FROM {self.contacts} AND {conditions})
                SELECT count(*), (array_agg(id ORDER BY {self.order}))[%s:%s]
                FROM (SELECT * FROM hits LIMIT %s) counted
                """,
                [*self.organization, *values, self.start + 1, self.stop, _CAP],
            )
            transaction.set_rollback(True)  # nothing was written, and an outer transaction gets its settings back
        return count, ids or []

    def indexed_conditions(self) -> tuple[str, list[str]]:
        """Return conditions of which the index of trigrams answers as many as it can, and no more.

        It would read itself from end to end for a pattern that has no trigram.
        """
        conditions, values = [], []
        for word in self.words:
            if _INDEXED.search(word):
                conditions.append("search_text LIKE %s")
                values.append(f"%{_literal(word)}%")
            else:
                found = folding.pieces_of_term(word)
                conditions += [*["search_pieces LIKE %s"] * len(found), "strpos(search_text, %s) > 0"]
                values += [*[f"% {piece}%" for piece in found], word]
        return " AND ".join(conditions), values

    def walk(self) -> list[UUID]:
        """Return the page, from an index that has the order."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM {self.contacts} AND {self.has_words} ORDER BY {self.order} LIMIT %s OFFSET %s",
                [*self.organization, *self.words, self.stop - self.start, self.start],
            )
            return [pk for (pk,) in cursor.fetchall()]

    @staticmethod
    def one(statement: str, values: Sequence[Any]) -> tuple[Any, ...]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            row: tuple[Any, ...] = cursor.fetchone()
            return row


def _sql_order(order: Sequence[str]) -> str:
    columns = [("id" if each.lstrip("-") == "pk" else each.lstrip("-"), each[0] == "-") for each in order]
    return ", ".join(f"{name} DESC" if is_descending else name for name, is_descending in columns)


def _literal(word: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", word)


class SearchPagination(ContactPagination):
    """Pages of contacts, narrowed by `search`. The queryset has those of the caller's organization."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.typed, self.organization_id = request.query_params.get("search", ""), organization_of(request).pk
        return super().paginate_queryset(queryset, request, view)

    def fetch(self, queryset: QuerySet[Contact], start: int, stop: int) -> tuple[list[Contact], int]:
        words = terms(self.typed)
        if not words or connection.vendor != "postgresql":
            return super().fetch(matching(queryset, self.typed), start, stop)
        found = find(
            organization_id=self.organization_id,
            words=words,
            order=[str(each) for each in queryset.query.order_by],
            start=start,
            stop=stop,
        )
        rows = {contact.pk: contact for contact in queryset.filter(pk__in=found.ids)}
        return [rows[pk] for pk in found.ids if pk in rows], found.count
