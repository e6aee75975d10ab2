"""What the check of a whole file has found: the same report before a send and after it."""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext_noop as noop

from billing.rates import Tariff
from linkit import encoding
from linkit.encoding import Encoding
from outbox.bulk.reading import Table
from outbox.bulk.rows import RowError, ValidRow
from outbox.models import Message
from sms_providers.models import SmsLog, Status

MAX_SHOWN = 1000  # errors in an answer; errors.csv has all
_SAMPLES = 100  # repairs, duplicates and characters
RECENT = timedelta(hours=24)
_BUCKETS = 256

# Kept in English, with its gaps filled; `outbox.console` shows it in the reader's language.
MENDED = noop("%(rows)s had a number that was mended (%(kinds)s); 'repairs' shows some.")
REPEATED = noop(
    "The number and message of an earlier row stand again in %(rows)s, the first is row %(row)s; each is sent."
)
SENT_BEFORE = noop("The message of %(rows)s was sent to the same number, or queued for it, within the last 24 hours.")
MANY_ERRORS = noop("Only the first %(most)s errors are listed here; errors.csv of a job has all.")


class Duplicates:
    """Rows of one file that have the same number and text as an earlier one, in 16 bytes a row.

    A dictionary of a million texts would take a hundred times that. Two 64-bit hashes that are equal by chance would
    show a duplicate where there is none: once in 37 million files of a million rows.
    """

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_BUCKETS)]
        self._rows = [array("L") for _ in range(_BUCKETS)]

    def add(self, row: ValidRow) -> None:
        key = hash((row.recipient, row.text))
        bucket = key % _BUCKETS
        self._hashes[bucket].append(key)
        self._rows[bucket].append(row.number)

    def found(self, *, most: int) -> tuple[int, list[dict[str, int]]]:
        """Return how many rows repeat an earlier one, and the first of them: `{row, first_row}`."""
        count = 0
        samples: list[tuple[int, int]] = []
        for hashes, rows in zip(self._hashes, self._rows, strict=True):
            if len(set(hashes)) == len(hashes):
                continue
            firsts: dict[int, int] = {}
            repeats: list[tuple[int, int]] = []
            for key, row in zip(hashes, rows, strict=True):
                if (first := firsts.setdefault(key, row)) != row:
                    count += 1
                    if len(repeats) < most:  # they come in order
                        repeats.append((row, first))
            samples = sorted(samples + repeats)[:most]
        return count, [{"row": row, "first_row": first} for row, first in samples]


class Report:
    """Gathers what is worth telling about a file, row by row, in constant memory but for `Duplicates`."""

    def __init__(self, table: Table, *, rate: int | None, tariff: Tariff | None = None) -> None:
        self.table = table
        self.rate = rate  # the app's, in messages a second
        self.tariff = tariff  # None: nothing of this file costs credits
        self._parts_by_price: Counter[Decimal] = Counter()
        self.total = self.valid = self.invalid = 0
        self.errors: list[dict[str, Any]] = []
        self.last_due_at: datetime | None = None
        self._gsm7, self._extended, self._ucs2 = [0, 0], [0, 0], [0, 0]  # rows, segments
        self._odd: dict[str, dict[str, int]] = {}
        self._repairs: Counter[str] = Counter()
        self._repaired: list[dict[str, Any]] = []
        self._repaired_count = 0
        self._scheduled = 0
        self._duplicates = Duplicates()
        self._recent: list[dict[str, Any]] = []
        self._recent_count = 0

    def add(self, row: ValidRow) -> None:
        self.total += 1
        self.valid += 1
        # Not a Counter of encodings: hashing a member of an enum takes longer than all the rest here.
        if row.encoding is Encoding.UCS2:
            tally = self._ucs2
            self._note_odd(row)
        else:
            tally = self._gsm7 if row.encoding is Encoding.GSM7 else self._extended
        tally[0] += 1
        tally[1] += row.segment_count
        self._duplicates.add(row)
        if self.tariff is not None:
            self._parts_by_price[self.tariff.price(row.recipient)] += row.segment_count
        if row.repairs:
            self._repaired_count += 1
            self._repairs.update(row.repairs)
            if len(self._repaired) < _SAMPLES:
                self._repaired.append(
                    {"row": row.number, "was": row.typed, "is": row.recipient, "repairs": list(row.repairs)}
                )
        if row.due_at is not None:
            self._scheduled += 1
            if self.last_due_at is None or row.due_at > self.last_due_at:
                self.last_due_at = row.due_at

    def _note_odd(self, row: ValidRow) -> None:
        _, character = next(encoding.outside_gsm7(row.text))
        known = self._odd.get(character)
        if known is not None:
            known["rows"] += 1
        elif len(self._odd) < _SAMPLES:
            self._odd[character] = {"rows": 1, "first_row": row.number}

    def add_errors(self, errors: list[RowError]) -> None:
        self.total += 1
        self.invalid += 1
        for error in errors:
            if len(self.errors) < MAX_SHOWN:
                self.errors.append(vars(error))

    def add_recent(self, rows: list[ValidRow]) -> None:
        """Note valid rows whose message somebody has got, or is to get, within the last 24 h."""
        self._recent_count += len(rows)
        for row in rows[: _SAMPLES - len(self._recent)]:
            self._recent.append({"row": row.number, "mobile": row.typed})

    @property
    def estimated_seconds(self) -> int | None:
        """How long sending the valid rows takes at the app's rate; None for an app without one."""
        return None if self.rate is None else -(-self.valid // self.rate)

    @property
    def credit_cost(self) -> Decimal | None:
        """What the valid rows cost at today's rates if all of them are sent; None when they cost no credits."""
        if self.tariff is None:
            return None
        return sum((price * parts for price, parts in self._parts_by_price.items()), Decimal(0))

    def _warnings(self, repeats: int, samples: list[dict[str, int]]) -> list[str]:
        """Return what an operator should know before sending, in sentences; `repeats` are rows like an earlier one."""
        found = list(self.table.warnings)
        if self._repaired_count:
            kinds = ", ".join(f"{kind.replace('_', ' ')}: {count:,}" for kind, count in self._repairs.most_common())
            found.append(MENDED % {"rows": rows_in_words(self._repaired_count), "kinds": kinds})
        if repeats:
            found.append(REPEATED % {"rows": rows_in_words(repeats), "row": samples[0]["row"]})
        if self._recent_count:
            found.append(SENT_BEFORE % {"rows": rows_in_words(self._recent_count)})
        if len(self.errors) >= MAX_SHOWN:
            found.append(MANY_ERRORS % {"most": f"{MAX_SHOWN:,}"})
        return found

    def as_json(self) -> dict[str, Any]:
        """Return all but the errors, as it is kept with the job and shown to callers."""
        repeats, samples = self._duplicates.found(most=_SAMPLES)
        table = self.table
        tallies = ((Encoding.GSM7, self._gsm7), (Encoding.GSM7_EXTENDED, self._extended), (Encoding.UCS2, self._ucs2))
        return {
            "warnings": self._warnings(repeats, samples),
            "detected": {
                "format": table.format,
                "encoding": table.encoding,
                "separator": table.separator,
                "sheet": table.sheet,
                "columns": table.header,
            },
            "repairs": {"rows": self._repaired_count, "kinds": dict(self._repairs), "samples": self._repaired},
            "duplicates": {
                "in_file": {"rows": repeats, "samples": samples},
                "last_24_hours": {"rows": self._recent_count, "samples": self._recent},
            },
            "sms_parts": sum(parts for _, (_, parts) in tallies),
            "encodings": {str(kind): {"rows": rows, "sms_parts": parts} for kind, (rows, parts) in tallies if rows},
            "ucs2_characters": [
                {
                    "character": character,
                    "code_point": f"U+{ord(character):04X}",
                    "name": unicodedata.name(character, ""),
                    **seen,
                }
                for character, seen in sorted(self._odd.items(), key=lambda each: -each[1]["rows"])
            ],
            "credit_cost": None if self.credit_cost is None else float(self.credit_cost),
            "scheduled": self._scheduled,
            "max_per_second": self.rate,
            "estimated_seconds": self.estimated_seconds,
        }


def rows_in_words(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


class RecentMessages:
    """Tells which rows repeat a message of the last 24 h, of any door, that was sent or may yet be."""

    def __init__(self, *, organization_id: UUID, is_test: bool, now: datetime, except_job: UUID | None = None) -> None:
        span = {
            "organization": organization_id, "is_test": is_test, "created_at__gt": now - RECENT, "created_at__lte": now,
        }  # fmt: skip
        self._logs = SmsLog.objects.filter(**span).exclude(status=Status.FAILED).order_by()
        # A queued message that was never tried has no log; what was tried is in both.
        self._queued = Message.objects.filter(~Q(status=Status.FAILED), **span).order_by()
        if except_job is not None:
            self._queued = self._queued.exclude(job=except_job)
        self._is_needed = self._logs.exists() or self._queued.exists()

    def repeated(self, rows: list[ValidRow]) -> list[ValidRow]:
        """Return those of `rows` that somebody has got, or is to get, already."""
        if not self._is_needed or not rows:
            return []
        numbers = {row.recipient for row in rows}
        known: set[tuple[str, str]] = set()
        for messages in (self._logs, self._queued):
            found = messages.filter(recipient__in=numbers).values_list("recipient", "text").distinct()
            known.update(found)
        return [row for row in rows if (row.recipient, row.text) in known]
