"""CSV that people open in a spreadsheet: Arabic shows, figures stay exact, and no cell is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice

from django.http import StreamingHttpResponse

# How cells begin that a spreadsheet takes for formulas.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
Cell = str | int | Decimal | date | None
_ROWS_AT_ONCE = 1000


def encoded(rows: Iterable[Sequence[Cell]], separator: str = ",") -> bytes:
    """Return rows as UTF-8. Texts that begin like a formula get an apostrophe; numbers of ours cannot be one."""
    text = io.StringIO()
    # All in quotes: a spreadsheet that takes another separator finds none outside them.
    csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(
        [_shown(cell) for cell in row] for row in rows
    )
    return text.getvalue().encode("utf-8", "replace")


def lines(rows: Iterable[Sequence[Cell]], separator: str = ",") -> Iterator[bytes]:
    """Yield rows in pieces, after the byte order mark that makes spreadsheets read UTF-8."""
    rows = iter(rows)
    yield "\ufeff".encode()
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield encoded(some, separator)


def download(rows: Iterable[Sequence[Cell]], *, filename: str) -> StreamingHttpResponse:
    """Return rows as a file to save. They are asked for while it is sent, after the view has returned."""
    return StreamingHttpResponse(
        lines(rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )


def exact(amount: Decimal) -> str:
    """Return an amount without an exponent and without zeros at its end, such as 5.661."""
    return f"{amount.normalize() + 0:f}"  # + 0: there is no negative nothing


def _shown(cell: Cell) -> str:
    match cell:
        case Decimal():
            return exact(cell)
        case str():
            return f"'{cell}" if cell.startswith(FORMULA) else cell
    return "" if cell is None else str(cell)
