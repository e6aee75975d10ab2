"""Sheets of contacts, CSV and XLSX: what an import reads and what an export writes.

Reading is that of bulk files, which knows every encoding, damaged workbooks and what is no table at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from django.utils.translation import gettext as _

from contacts import columns
from contacts.columns import PHONE, Columns
from linkit.spreadsheet import FORMULA
from outbox.bulk import charset, delimited
from outbox.bulk.charset import Charset
from outbox.bulk.columns import listed
from outbox.bulk.reading import MAX_BLANK, MAX_HEADER, Overrides, open_table
from outbox.bulk.unreadable import UnreadableFile
from outbox.sentences import in_words

MAX_BYTES, MAX_ROWS = 10_000_000, 10_000
CLEAR = "-"  # the cell that empties a field; an empty one keeps it

# Cells that a spreadsheet takes for formulas get one apostrophe more, and a file of ours loses one again, so that
# every value comes back as it was, also one that begins with apostrophes itself.
_FORMULA = re.compile(f"'*[{''.join(map(re.escape, FORMULA))}]")
_WRITTEN = re.compile(f"'{_FORMULA.pattern}")
# What the reader of bulk files says of the columns, which are others here.
_OF_COLUMNS = {"no_header", "column_twice", "too_many_columns", "empty_file"}
_HEAD = 64 * 1024  # characters that must hold the first row, for the separator to be found

Record = tuple[int, Sequence[str], str]  # the number that a spreadsheet shows, cells, what is wrong with the row or ""


@dataclass
class Sheet:
    """A sheet that has been read: its rows by the keys of `Columns`, and what to tell about it.

    Each row has its number and what is wrong with the row itself before its cells.
    """

    keys: list[str]
    names: dict[str, str]  # of the columns, as they are written in the file
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def neutral(value: str) -> str:
    """Return a value as a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if _FORMULA.match(value) else value


def original(cell: str) -> str:
    """Return what `neutral` was given."""
    return cell[1:] if _WRITTEN.match(cell) else cell


def read(file: BinaryIO, known: Columns, overrides: Overrides = Overrides()) -> Sheet:  # noqa: B008  frozen
    """Read a whole file. Raises `UnreadableFile` for what is no sheet with a phone and at most `MAX_ROWS` rows."""
    try:
        return _read(file, known, overrides)
    except UnreadableFile as problem:
        raise UnreadableFile(_in_our_words(problem.message), reason=problem.reason) from problem


def _read(file: BinaryIO, known: Columns, overrides: Overrides) -> Sheet:
    _refuse_other_kinds(file, overrides)
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        # Only now: openpyxl takes a fifth of a second to load, and most processes never see a workbook.
        from outbox.bulk import workbook

        opened = workbook.open_sheet(file, overrides.sheet)
        records: Iterator[Record] = iter(opened)
        header = _header(records)
        found = known.find(header)
        opened.used = found.keys  # an error value in somebody's own calculations is no reason to refuse a row
        rows = _rows(records, header, found)
        return _sheet(header, found, rows, [in_words(note) for note in opened.notes])
    encoding = charset.detect(file, forced=charset.named(overrides.encoding))
    separator, is_told = _separator(file, encoding)
    records = delimited.records(file, encoding, delimited.named(overrides.separator) or separator)
    if is_told:
        next(records)
    header = _header(records)
    found = known.find(header)
    told = _("Read as CSV, %(encoding)s, separator: %(separator)s.")
    notes = [told % {"encoding": encoding.name, "separator": _(delimited.named(overrides.separator) or separator)}]
    sheet = _sheet(header, found, _rows(records, header, found), notes)
    if not (encoding.is_certain or overrides.encoding):
        sheet.warnings.append(_("The encoding is a guess: if a name below is not readable, choose another."))
    return sheet


def _sheet(header: list[str], found: columns.Found, rows: list[list[str]], notes: list[str]) -> Sheet:
    if not rows:
        raise UnreadableFile(_("The file has a first row and no other; nothing was imported."), reason="no_rows")
    names = {key: header[place] for place, key in found.keys.items()}
    warnings = [_("Columns that are not used: %(names)s.") % {"names": listed(found.unknown)}] if found.unknown else []
    return Sheet(list(found.keys.values()), names, rows, notes, warnings)


def _refuse_other_kinds(file: BinaryIO, overrides: Overrides) -> None:
    """Let the reader of bulk files refuse what is no table; that it looks for other columns is of no interest."""
    try:
        open_table(file, overrides)
    except UnreadableFile as problem:
        if problem.reason not in _OF_COLUMNS:
            raise


def _header(records: Iterator[Record]) -> list[str]:
    for number, cells, fault in records:
        if fault:
            raise UnreadableFile(
                _("Row %(row)s, which must name the columns, cannot be read; nothing was imported. %(fault)s")
                % {"row": number, "fault": fault},
                reason="no_header",
            )
        if any(cell.strip() for cell in cells):
            header = [cell.strip() for cell in cells]
            while not header[-1]:
                header.pop()
            if len(header) > MAX_HEADER:
                raise UnreadableFile(
                    _(
                        "The first row names %(count)s columns, and %(most)s can be read; nothing was imported. Delete "
                        "the columns that are not used."
                    )
                    % {"count": f"{len(header):,}", "most": MAX_HEADER},
                    reason="too_many_columns",
                )
            return header
    raise UnreadableFile(
        _(
            "The file is empty; nothing was imported. Put the names of the columns in the first row, %(phone)s among "
            "them, and a contact in each row below."
        )
        % {"phone": PHONE},
        reason="empty_file",
    )


def _rows(records: Iterable[Record], header: Sequence[str], found: columns.Found) -> list[list[str]]:
    unnamed = [place for place, name in enumerate(header) if not name]
    rows: list[list[str]] = []
    blank = 0
    for number, cells, fault in records:
        if not fault and not any(cell.strip() for cell in cells):
            blank += 1
            if blank > MAX_BLANK:
                said = _("The file has over %(count)s blank rows; nothing was imported. Delete them.")
                raise _too_many(said % {"count": f"{MAX_BLANK:,}"})
            continue
        if len(rows) == MAX_ROWS:
            said = _(
                "The file has over %(count)s rows of contacts, which is more than one import takes; nothing was "
                "imported. Split it."
            )
            raise _too_many(said % {"count": f"{MAX_ROWS:,}"})
        used = (cells[place] if place < len(cells) else "" for place in found.keys)
        rows.append([str(number), fault or _misplaced(cells, len(header), unnamed), *used])
    return rows


def _misplaced(cells: Sequence[str], width: int, unnamed: Sequence[int]) -> str:
    if any(cell.strip() for cell in cells[width:]):
        return _("The row has more cells than the first row names: a value with a comma must be in quotes.")
    if any(place < len(cells) and cells[place].strip() for place in unnamed):
        return _("The row has a cell in a column without a name: name the column in the first row.")
    return ""


def _too_many(message: str) -> UnreadableFile:
    return UnreadableFile(message, reason="too_many_rows")


def _separator(file: BinaryIO, encoding: Charset) -> tuple[str, bool]:
    """Return the separator by which the first row names the most fields of ours, and whether a line `sep=` says it."""
    head = ""
    for text in charset.blocks(file, encoding):
        head += text
        if len(head) >= _HEAD:
            break
    data = BytesIO(head[:_HEAD].encode("utf-8", "replace"))
    told, is_told, _ = delimited.find_separator(data, Charset("utf-8", "utf-8"))
    if is_told:
        return told, True
    ranks = {}
    for name in delimited.SEPARATORS:
        cells = _first_cells(data, name)
        ranks[name] = (columns.recognized(cells), len(cells))
    return max(ranks, key=ranks.__getitem__), False


def _first_cells(data: BinaryIO, separator: str) -> list[str]:
    try:
        for _, cells, _ in delimited.records(data, Charset("utf-8", "utf-8"), separator):
            if any(cell.strip() for cell in cells):
                return cells
    except UnreadableFile:  # what is wrong is said when the file is read by the separator it has
        return []
    return []


def _in_our_words(message: str) -> str:
    """Return what the reader of bulk files says, in the words of an import."""
    # A translation that says it otherwise stays as it is, which is true too.
    for theirs, ours in (
        (_("nothing was sent"), _("nothing was imported")),
        (_("Nothing was sent"), _("Nothing was imported")),
        (_("send that file"), _("import that file")),
        (_("a message with a comma"), _("a value with a comma")),
    ):
        message = message.replace(theirs, ours)
    return message
