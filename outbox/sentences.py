"""What is kept of a file in English, with its gaps filled, said to a person in their language.

The API tells it as it is kept. A page finds the sentence that it was made from, and fills the translation of that; what
was made from none of them is told by its reason.
"""

from __future__ import annotations

import functools
import re

from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

from outbox.bulk import checking, delimited, reading, report, rows, splitting, workbook
from outbox.bulk.report import rows_in_words
from sms_providers.reasons import noted

# Of lower packages, which say them in the language of whoever asks.
_OF_OTHERS = (
    noop("This is not a phone number in %(region)s, nor with a country code."),
    noop("No operator has numbers like this in %(region)s, nor with a country code."),
    noop("The message has %(count)s characters; at most %(most)s are sent."),
    noop("The message takes %(count)s parts in %(encoding)s; at most %(most)s are sent."),
    noop("This is over %(days)s days ahead; nothing was queued."),
)
_KNOWN = (
    *_OF_OTHERS,
    report.MENDED, report.REPEATED, report.SENT_BEFORE, report.MANY_ERRORS,
    reading.READ_AS_CSV, reading.NOT_USED, reading.WIDE_ROW, reading.BLANK_ROWS,
    delimited.LONG_ROW, delimited.LONG_CELL, delimited.OPEN_QUOTE, delimited.ODD_QUOTES,
    workbook.READ_AS_WORKBOOK, workbook.OTHER_SHEETS, workbook.HIDDEN, workbook.ERROR_VALUE, workbook.FAR_CELL,
    workbook.LONG_TEXT, workbook.LARGE_ROW, workbook.MANY_CELLS, workbook.MANY_TEXTS, workbook.DAMAGED_AFTER,
    checking.MANY_ROWS, rows.LONG_SENDER, rows.OTHER_SENDER, splitting.ROWS_WRONG,
)  # fmt: skip
# By the reasons of `docs/errors.md` that no message of the queue has.
_MEANINGS = {
    "unreadable_file": _lazy("The file cannot be read."),
    "too_many_columns": _lazy("The file has too many columns, or a row has too many cells."),
    "too_many_rows": _lazy("The file has too many rows. Split it."),
    "cell_too_large": _lazy("A cell or a row of the file is too long. Look for a quote that is not closed."),
    "unclosed_quote": _lazy("A quote leaves open where a row ends."),
    "wrong_encoding": _lazy("The file is not all in its encoding."),
    "broken_workbook": _lazy("The workbook is damaged, protected, or unpacks to more than is read."),
    "file_deleted": _lazy("The file has been deleted, and its rows with it."),
    "malformed_row": _lazy(
        "The row itself cannot be read: it has too many cells, a stray quote or a value that is none."
    ),
    "invalid_text": _lazy("The text is empty or too long."),
    "invalid_sender": _lazy(
        "The sender ID is too long, has a hidden character, or is not of the kind that the app takes."
    ),
    "invalid_datetime": _lazy("There is no such time, or it has passed, or it is too far ahead."),
}
_GAP = re.compile(r"%\\\((\w+)\\\)s|%\((\w+)\)s")


def in_words(kept: str, reason: str = "") -> str:
    """Return a sentence that is kept in English in the language of whoever reads it."""
    if not kept or (get_language() or "en").startswith("en"):
        return kept
    if (whole := _(kept)) != kept:
        return whole
    for sentence, pattern in _patterns():
        if found := pattern.fullmatch(kept):
            return _(sentence) % {name: _value(name, value) for name, value in found.groupdict().items()}
    return str(_MEANINGS[reason]) if reason in _MEANINGS else noted(reason, kept)


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [(sentence, re.compile(_GAP.sub(r"(?P<\1\2>.+)", re.escape(sentence)), re.DOTALL)) for sentence in _KNOWN]


def _value(name: str, value: str) -> str:
    """Return what fills a gap; words of ours are translated."""
    if name == "rows":
        count = int(re.sub(r"\D", "", value) or 0)
        return rows_of(count) if value == rows_in_words(count) else value
    if name == "kinds":  # of repairs, each with its count
        parts = [part.partition(": ") for part in value.split(", ")]
        return _(", ").join(f"{_(kind)}{colon}{count}" for kind, colon, count in parts)
    return _(value) if name in ("separator", "help") else value  # others are of the file, or figures


def rows_of(count: int) -> str:
    """Return so many rows, in the reader's language."""
    return ngettext("%(count)s row", "%(count)s rows", count) % {"count": f"{count:,}"}
