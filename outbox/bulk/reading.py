"""Reading the file of a bulk send: what it is, and its rows one by one."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from outbox.bulk import charset, columns, delimited
from outbox.bulk.columns import Columns
from outbox.bulk.unreadable import UnreadableFile, not_a_table

__all__ = ["Overrides", "Table", "UnreadableFile", "open_table"]

MAX_HEADER, MAX_CELLS = 500, 1_000  # columns of the first row, cells of any row
MAX_BLANK = 1_048_576  # rows; as many as a sheet has

# What a job keeps of these, in English.
READ_AS_CSV = noop(
    "Read as CSV, %(encoding)s, separated by %(separator)ss; the fields 'encoding' and 'separator' set something else."
)
NOT_USED = noop("Columns that are not used: %(columns)s.")
WIDE_ROW = noop(
    "Row %(row)s has %(count)s cells, and %(most)s can be read; nothing was sent. Check that the rows end where they"
    " should."
)
BLANK_ROWS = noop("The file has over %(most)s blank rows; nothing was sent. Delete them.")

# A row's number as a spreadsheet shows it, its cells, and what is wrong with the row itself or "".
Row = tuple[int, list[str], str]


@dataclass(frozen=True)
class Overrides:
    """What the caller knows better than we can detect. "" is to detect it; `separator` is a name or the character."""

    encoding: str = ""
    separator: str = ""
    sheet: str = ""


@dataclass
class Table:
    """A file that has been understood, its first row read.

    `rows` can be gone through once. It leaves out blank rows but counts them, and raises `UnreadableFile` for what
    shows only further down. Cells are as many as `header` names, and more only where the row is at fault for it.
    `encoding` and `separator` are a CSV's, `sheet` a workbook's; `warnings` are sentences on what was detected and how
    to say otherwise.
    """

    format: str  # "csv" or "xlsx"
    encoding: str
    separator: str  # comma, semicolon or tab
    sheet: str
    header: list[str]
    columns: Columns
    warnings: list[str]
    rows: Iterator[Row]


def open_table(file: BinaryIO, overrides: Overrides = Overrides()) -> Table:
    """Return the table in a seekable file, wherever it stands. One table at a time can be read from a file.

    Nothing but the first row is checked yet, except that a CSV is all in one encoding. Raises `UnreadableFile`.
    """
    encoding, separator = charset.named(overrides.encoding), delimited.named(overrides.separator)
    file.seek(0)
    head = file.read(8192)
    if len(head) < 8192 and not head.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"):
        raise _empty()
    if head.startswith(b"PK\x03\x04"):
        return _open_workbook(file, overrides)
    if kind := _other_kind(file, head):
        raise kind
    return _open_csv(file, head, encoding=encoding, separator=separator, sheet=overrides.sheet)


def _open_csv(file: BinaryIO, head: bytes, *, encoding: str, separator: str, sheet: str) -> Table:
    found = charset.detect(file, forced=encoding)
    if found.name != "utf-16" and _is_binary(head):
        raise not_a_table(noop("The file is not text"))
    detected, is_told, is_certain = delimited.find_separator(file, found)
    records = delimited.records(file, found, separator or detected)
    if is_told:
        next(records)
    warnings = [READ_AS_CSV % {"encoding": found.name, "separator": separator or detected}]
    if not found.is_certain and not encoding:
        warnings.append(
            noop(
                "The encoding is a guess: look at a message below, and set 'encoding' to windows-1256, latin-1 or utf-8"
                " if it is not readable."
            )
        )
    if not is_certain and not separator:
        warnings.append(
            noop("The separator is a guess: set 'separator' to comma, semicolon or tab if a message is cut.")
        )
    if sheet:
        warnings.append(noop("The field 'sheet' is for workbooks and was not used."))
    table = _table(records, warnings)
    table.format, table.encoding, table.separator = "csv", found.name, separator or detected
    return table


def _open_workbook(file: BinaryIO, overrides: Overrides) -> Table:
    # Only now: openpyxl takes a fifth of a second to load, and most processes never see a workbook.
    from outbox.bulk import workbook

    sheet = workbook.open_sheet(file, overrides.sheet)
    warnings = sheet.notes
    if overrides.encoding or overrides.separator:
        warnings.append(noop("The fields 'encoding' and 'separator' are for CSV files and were not used."))
    table = _table(iter(sheet), warnings)
    table.format, table.sheet = "xlsx", sheet.name
    found = table.columns
    # An error value in a column of somebody's own calculations is no reason to refuse a row.
    sheet.used = {found.mobile, found.message, found.sender, found.datetime} - {None}
    return table


def _table(records: Iterator[Row], warnings: list[str]) -> Table:
    """Take the header off `records` and say which columns are not used."""
    first = next((record for record in records if record[2] or any(cell.strip() for cell in record[1])), None)
    if first is None:
        raise _empty()
    number, cells, fault = first
    if fault:
        text = _("Row %(row)s, which must name the columns, cannot be read; nothing was sent. %(why)s")
        raise UnreadableFile(text % {"row": number, "why": fault}, reason="no_header")
    header = [cell.strip() for cell in cells]
    while not header[-1]:
        header.pop()
    if len(header) > MAX_HEADER:
        text = _(
            "The first row names %(count)s columns, and %(most)s can be read; nothing was sent. Delete the columns that"
            " are not used."
        )
        raise UnreadableFile(text % {"count": len(header), "most": MAX_HEADER}, reason="too_many_columns")
    found = columns.find(header)
    if found.unknown:
        warnings.append(NOT_USED % {"columns": columns.listed(found.unknown)})
    rows = _settled(records, width=len(header), mobile=found.mobile, unnamed=[i for i, n in enumerate(header) if not n])
    return Table("", "", "", "", header, found, warnings, rows)


def _settled(records: Iterator[Row], *, width: int, mobile: int, unnamed: list[int]) -> Iterator[Row]:
    """Leave out blank rows and give the others `width` cells, or all that a row has too many."""
    blank = 0
    for record in records:
        number, cells, fault = record
        if len(cells) == width and cells[mobile] and not unnamed and not fault and not cells[mobile].isspace():
            yield record
            continue
        if len(cells) > MAX_CELLS:
            values = {"row": number, "count": f"{len(cells):,}", "most": f"{MAX_CELLS:,}"}
            raise UnreadableFile(_(WIDE_ROW) % values, reason="too_many_columns")
        if not fault and not any(cell.strip() for cell in cells):
            blank += 1
            if blank > MAX_BLANK:
                raise UnreadableFile(_(BLANK_ROWS) % {"most": f"{MAX_BLANK:,}"}, reason="too_many_rows")
            continue
        if any(cell.strip() for cell in cells[width:]):
            fault = fault or _(
                "The row has more cells than the header names: a message with a comma must be in quotes."
            )
        elif any(place < len(cells) and cells[place].strip() for place in unnamed):
            fault = fault or _("The row has a cell in a column without a name: name the column in the first row.")
        else:
            cells = cells[:width]
        yield number, cells + [""] * (width - len(cells)), fault


# The first bytes of what people send in place of a table.
_SIGNATURES = {
    b"%PDF": noop("The file is a PDF"),
    b"\x89PNG": noop("The file is a PNG image"),
    b"\xff\xd8\xff": noop("The file is a JPEG image"),
    b"GIF8": noop("The file is a GIF image"),
    b"\x1f\x8b": noop("The file is compressed (gzip)"),
    b"BZh": noop("The file is compressed (bzip2)"),
    b"\xfd7zXZ": noop("The file is compressed (xz)"),
    b"7z\xbc\xaf": noop("The file is a 7-Zip archive"),
    b"Rar!": noop("The file is a RAR archive"),
    b"PK\x05\x06": noop("The file is an empty zip archive"),
    b"{\\rtf": noop("The file is a text document (RTF)"),
    b"<": noop("The file is a web page or XML"),
}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\x0b\x0c\r"))


def _other_kind(file: BinaryIO, head: bytes) -> UnreadableFile | None:
    """Return the refusal of a file that by its first bytes is something else."""
    if head.startswith(_OLE):
        if _is_encrypted(file, head):
            return UnreadableFile(
                _(
                    "The workbook is protected with a password; nothing was sent. Save it without one (File, Info,"
                    " Protect Workbook, Encrypt with Password: empty the box)."
                ),
                reason="broken_workbook",
            )
        return not_a_table(noop("The file is a workbook of Excel 97-2003 (.xls) or another old Office document"))
    for signature, kind in _SIGNATURES.items():
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(signature):
            return not_a_table(kind)
    return None


def _is_encrypted(file: BinaryIO, head: bytes) -> bool:
    """Tell whether an OLE container holds an encrypted workbook: its directory then names the package."""
    if len(head) < 512:
        return False
    (shift,), (sector,) = struct.unpack_from("<H", head, 0x1E), struct.unpack_from("<I", head, 0x30)
    if shift not in (9, 12):  # the two sector sizes there are
        return False
    file.seek((sector + 1) << shift)
    return "EncryptedPackage".encode("utf-16-le") in file.read(4096)


def _is_binary(head: bytes) -> bool:
    # A stray control character is a row's fault; text does not have one in twenty.
    return len(head) - len(head.translate(None, _CONTROLS)) > 1 + len(head) // 20


def _empty() -> UnreadableFile:
    return UnreadableFile(
        _(
            "The file is empty; nothing was sent. Put the names mobile and message in the first row, and a message in"
            " each row below."
        ),
        reason="empty_file",
    )
