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
_WINDOW = 20_000  # contacts of a first look
_CAP = COUNT_CAP + 1
_USUAL, _SAMPLE = 0.7, 2000  # of so many of the newest
_MIDDLE = 6  # letters of a name, four trigrams
# What it costs, in µs: to read a contact from the index of lists; to find one by its trigrams, and to look at it then.
_READ, _FIND, _VISIT = 0.3, 0.5, 1.5

_TYPED_NUMBER = re.compile(r"\+?(?:[().\-/ ]*\d){7,}[().\-/ ]*")
_INDEXED = re.compile("[A-Za-z0-9]{3}")  # whatever the locale, this makes a trigram
_NO_OTHER_PLAN = """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true),
        set_config('enable_indexonlyscan', 'off', true), set_config('jit', 'off', true)
"""


def terms(typed: str) -> list[str]:
    """Return the words to look for, as they stand in `Contact.search_text`; none for a search for nothing."""
    text = folding.folded(typed[:LONGEST])
    if _TYPED_NUMBER.fullmatch(text):
        text = re.sub(r"[().\-/]", "", text)
    words = {f"00{word[1:]}" if word[0] == "+" and word[1:].isdecimal() else word for word in text.split()}
    # A word that is in another says nothing; the longest is the rarest, as a rule, and the others are not looked for.
    needed = {word for word in words if not any(word in other for other in words if other != word)}
    return sorted(needed, key=lambda word: (-len(word), word))


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
        scanned, hits, newest = self.look(_WINDOW)
        if scanned < _WINDOW:
            return Found(newest if self.is_by_time else self.walk(), min(hits, _CAP))
        share = max(hits, 1) / scanned
        if window := self.cheaper_window(share):
            scanned, hits, newest = self.look(window)
            if scanned < window and hits < _CAP:
                return Found(newest if self.is_by_time else self.walk(), hits)
        is_here = self.is_by_time and len(newest) == self.stop - self.start
        if hits < _CAP:
            hits, ids = self.ask_the_index(is_for_all=not is_here)
            if hits < _CAP or not is_here:
                return Found(ids, min(hits, _CAP))
        return Found(newest if is_here else self.walk(), _CAP)

    def look(self, window: int) -> tuple[int, int, list[UUID]]:
        """Return how many of the newest contacts were read, how many of those match, and the page if it is there."""
        order = self.order if self.is_by_time else _sql_order(["-created_at", "-pk"])
        scanned, hits, ids = self.one(
            f"""
            SELECT count(*), count(*) FILTER (WHERE is_hit), (array_agg(id) FILTER (WHERE is_hit))[%s:%s]
            FROM (SELECT id, {self.has_words} AS is_hit FROM {self.contacts} ORDER BY {order} LIMIT %s) newest
            """,
            [self.start + 1, self.stop, *self.words, *self.organization, window],
        )
        return scanned, hits, ids or []

    def cheaper_window(self, share: float) -> int:
        """Return how many contacts to read to count up to the cap, or 0 where the index of trigrams costs less.

        `share` is that of the contacts that match, as far as we know.
        """
        own = self.estimate(f"SELECT FROM {self.contacts}", self.organization)
        everybodys = self.estimate("SELECT FROM contacts_contact WHERE deleted_at IS NULL", [])
        window = min(_CAP / share, own) * 1.2  # for the newest are not like all, and an estimate is one
        # It looks at what it finds until it has enough, and also at what is other organizations'.
        found = share * max(everybodys, own)
        index = _FIND * found + _VISIT * min(found, _CAP * max(everybodys / own, 1))
        return int(window) if _READ * window < index else 0

    def estimate(self, statement: str, values: Sequence[Any]) -> int:
        """Return how many rows PostgreSQL expects, without asking for them."""
        (plan,) = self.one(f"EXPLAIN (FORMAT JSON) {statement}", values)
        return max(int(plan[0]["Plan"]["Plan Rows"]), _WINDOW)

    def ask_the_index(self, *, is_for_all: bool = False) -> tuple[int, list[UUID]]:
        """Return how many match, up to the cap, and the page of those: of all when all are asked for."""
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
                [*self.organization, *values, self.start + 1, self.stop, None if is_for_all else _CAP],
            )
            transaction.set_rollback(True)  # nothing was written, and an outer transaction gets its settings back
        return count, ids or []

    def indexed_conditions(self) -> tuple[str, list[str]]:
        """Return conditions of which the index of trigrams answers as many as it can, and no more.

        It would read itself from end to end for a pattern that has no trigram.
        """
        usual = self.usual_words()
        conditions, values = [], []
        for word in self.words:
            if _INDEXED.search(word):
                conditions.append("search_text LIKE %s")
                values.append(f"%{_literal(_middle(word))}%")
            else:
                found = [] if word in usual else folding.pieces_of_term(word)
                conditions += ["search_pieces LIKE %s"] * len(found)
                values += [f"% {piece}%" for piece in found]
            conditions.append("strpos(search_text, %s) > 0")
            values.append(word)
        return " AND ".join(conditions), values

    def usual_words(self) -> set[str]:
        """Return short words that most contacts have: beside a rarer one, reading the long lists of them is no help."""
        short = [word for word in self.words if not _INDEXED.search(word)]
        if len(self.words) == 1 or not short:
            return set()
        newest = f"SELECT search_text FROM {self.contacts} ORDER BY {_sql_order(['-created_at', '-pk'])} LIMIT %s"
        counts = ", ".join(["count(*) FILTER (WHERE strpos(search_text, %s) > 0)"] * len(short))
        found = self.one(f"SELECT {counts} FROM ({newest}) newest", [*short, *self.organization, _SAMPLE])
        usual = {word for word, count in zip(short, found, strict=True) if count > _USUAL * _SAMPLE}
        return usual if len(usual) < len(self.words) else set()

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


def _middle(word: str) -> str:
    """Return what the index is asked of a word: of a long one some trigrams find hardly more than all, and sooner."""
    if len(word) <= _MIDDLE or not (word.isascii() and word.isalpha()):
        return word
    start = (len(word) - _MIDDLE) // 2
    return word[start : start + _MIDDLE]


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
