"""Rows of a CSV file, in constant memory."""

import csv
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from outbox.bulk import columns
from outbox.bulk.charset import Charset, blocks
from outbox.bulk.unreadable import UnreadableFile

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
MAX_RECORD = 1_000_000  # characters, of one row
_SEP_LINE = re.compile(r'"?sep=([^"\r\n])"?[\r\n]', re.IGNORECASE)  # Excel's own
_HEAD = 64 * 1024  # characters that must hold the first row, for the separator to be found

# What shows only while a file is read, which a job keeps.
LONG_ROW = noop(
    "Row %(row)s has over %(most)s characters; nothing was sent. If it should not, a quote that opens there is not"
    " closed, or the rows are not separated by line ends."
)
LONG_CELL = noop(
    "Row %(row)s has a cell of over %(most)s characters; nothing was sent. If it should not, a quote that opens there"
    " is not closed."
)
OPEN_QUOTE = noop(
    'A quote that opens in row %(row)s is not closed before the file ends; nothing was sent. Close it, or write "" for'
    " a quote inside a quoted cell."
)
ODD_QUOTES = noop(
    "The quotes in row %(row)s do not pair up, so that where it ends would be a guess; nothing was sent. Close the"
    ' quote, or write "" for a quote inside a quoted cell.'
)


def named(separator: str) -> str:
    """Return the name of a separator that is written as its name or itself, "" for nothing. Raises `UnreadableFile`."""
    if not separator:
        return ""
    name = separator.strip().lower() or separator
    for known, character in SEPARATORS.items():
        if name in (known, character):
            return known
    text = _(
        "separator: “%(name)s” is not a separator that is read here; nothing was sent. Write comma, semicolon or tab,"
        " or leave the field out."
    )
    raise UnreadableFile(text % {"name": separator[:40]}, reason="invalid_option")


def find_separator(file: BinaryIO, charset: Charset) -> tuple[str, bool, bool]:
    """Return the name of the separator, whether a line `sep=` says it, and whether that is certain.

    It is the one by which the first row has the most names that we know.
    """
    head = _head(file, charset)
    if told := _SEP_LINE.match(head):
        return named(told[1]), True, True
    firsts = {name: _first_row(head, character) for name, character in SEPARATORS.items()}
    ranks = {name: (columns.recognized(cells), len(cells)) for name, cells in firsts.items()}
    best = max(ranks, key=ranks.__getitem__)
    return best, False, list(ranks.values()).count(ranks[best]) == 1


def records(file: BinaryIO, charset: Charset, separator: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield every record, blank ones too: its number from 1, its cells, and what is wrong with it or "".

    Raises `UnreadableFile` when where the next row begins would be a guess.
    """
    lines = _Lines(file, charset)
    reader = csv.reader(lines, delimiter=SEPARATORS[separator], strict=True)
    number = 0
    while True:
        try:
            for cells in reader:
                number += 1
                lines.used = reader.line_num
                if lines.has_nul and "\0" in "".join(cells):
                    yield number, cells, _("The row has a NUL character, which is no text: remove it.")
                else:
                    yield number, cells, ""
            return
        except csv.Error as error:
            number += 1
            line = lines.last()
            fault = _fault(error, number, line, is_one_line=reader.line_num == lines.used + 1)
            lines.used = reader.line_num
        except _TooLong:
            values = {"row": number + 1, "most": f"{MAX_RECORD:,}"}
            raise UnreadableFile(_(LONG_ROW) % values, reason="cell_too_large") from None
        yield number, next(csv.reader([line], delimiter=SEPARATORS[separator])), fault


class _TooLong(Exception):
    """A row that would not fit in the memory we give it."""


class _Lines:
    """The lines of a file with their ends, for `csv.reader`; `used` is how many of them are in finished rows."""

    def __init__(self, file: BinaryIO, charset: Charset) -> None:
        self.blocks = blocks(file, charset)
        self.used = 0
        self.has_nul = False  # in the file so far
        self._block = io.StringIO()

    def __iter__(self) -> Iterator[str]:
        used, pending, rest = 0, 0, ""
        for block in self.blocks:
            # What a row takes is bounded here, once a block: line by line would cost more than reading the row.
            pending = pending + len(block) if used == self.used else len(block)
            used = self.used
            if pending > MAX_RECORD:
                raise _TooLong
            self.has_nul = self.has_nul or "\0" in block
            text = rest + block
            # The last line may go on in the next block, and a \r at the end may be half of \r\n.
            end = max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
            rest = text[end:]
            self._block = io.StringIO(text[:end], newline="")
            yield from self._block
        self._block = io.StringIO(rest, newline="")
        yield from self._block

    def last(self) -> str:
        """Return the line that was handed out last."""
        text = self._block.getvalue()[: self._block.tell()].rstrip("\r\n")
        return text[max(text.rfind("\n"), text.rfind("\r")) + 1 :]


def _fault(error: csv.Error, number: int, line: str, *, is_one_line: bool) -> str:
    """Return what is wrong with a row that `csv` refused, or raise `UnreadableFile` if its end is a guess."""
    if "field limit" in str(error):
        values = {"row": number, "most": f"{csv.field_size_limit():,}"}
        raise UnreadableFile(_(LONG_CELL) % values, reason="cell_too_large")
    if "end of data" in str(error):
        raise UnreadableFile(_(OPEN_QUOTE) % {"row": number}, reason="unclosed_quote")
    # A stray quote. Its row ends with its line if the quotes pair up in it; otherwise the next lines may be this
    # row's message, and to read them as rows could text it to whoever it names.
    if not is_one_line or line.count('"') % 2:
        raise UnreadableFile(_(ODD_QUOTES) % {"row": number}, reason="unclosed_quote")
    return _('The row has a stray quote: write "" for a quote inside a quoted cell.')


def _head(file: BinaryIO, charset: Charset) -> str:
    head = ""
    for text in blocks(file, charset):
        head += text
        if len(head) >= _HEAD:
            break
    return head[:_HEAD]


def _first_row(head: str, separator: str) -> list[str]:
    """Return the first cells that are not all blank. Not strict: what is wrong with them is said on reading."""
    try:
        for cells in csv.reader(io.StringIO(head, newline=""), delimiter=separator):
            if any(cell.strip() for cell in cells):
                return cells
    except csv.Error:
        return []
    return []
