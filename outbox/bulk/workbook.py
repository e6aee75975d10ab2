"""Rows of one sheet of an Excel workbook (ECMA-376), in constant memory.

openpyxl reads the cells. Its own walk over a workbook keeps every shared text and an element for every row in memory,
so the parts are found and walked here, and the texts wait in a file.
"""

import posixpath
import re
import zlib
from array import array
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO, NamedTuple
from xml.etree.ElementTree import Element, ParseError, iterparse
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from defusedxml import ElementTree as defused
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel
from openpyxl.worksheet._reader import WorkSheetParser
from openpyxl.xml.constants import REL_NS, SHEET_MAIN_NS

from outbox.bulk.unreadable import UnreadableFile, not_a_table

MAX_UNPACKED = 10  # times the limit of files, of all parts together; zipfile reads no more than a part declares
# What else a workbook cannot have, or has no use for: each costs a little time or memory, and takes no room in a zip.
MAX_TEXTS, MAX_STYLES = 2_000_000, 100_000
MAX_CELLS_A_ROW = 50  # on the average of as many rows as a file may have
MAX_TEXT = 32_767  # characters of a cell, as in Excel
MAX_PENDING = 2 * 1024 * 1024  # bytes without a finished row or text; Excel's longest cell is 32,767 characters
MAX_DIRECTORY = 1024 * 1024  # bytes of the zip's list of parts, which takes 20 times that in memory
MAX_DEPTH = 100  # elements inside each other; a workbook has about ten
MAX_ROW, MAX_COLUMN = 1_048_576, 1_000  # Excel's last row; the widest row that we read

Row = tuple[int, list[str], str]

# What a job keeps of these, in English.
READ_AS_WORKBOOK = noop("Read as an Excel workbook, sheet “%(sheet)s”.")
OTHER_SHEETS = noop(
    "The workbook has %(count)s sheets; only “%(sheet)s” was read; name another with the field 'sheet': %(names)s."
)
HIDDEN = noop("%(count)s rows that are hidden in the sheet were read like all others.")
ERROR_VALUE = noop("The row has the error value %(value)s: correct the formula or empty the cell.")
FAR_CELL = noop(
    "Row %(row)s has a cell in column %(column)s, and %(most)s can be read; nothing was sent. Delete the columns that"
    " are not used."
)
LONG_TEXT = noop("A cell of the workbook has over %(most)s characters; nothing was sent. Shorten it.")
LARGE_ROW = noop(
    "A row, or a cell, of the workbook takes over %(most)s MB; nothing was sent. Shorten it, or copy what is needed"
    " into a new workbook."
)
MANY_CELLS = noop("The workbook has over %(most)s cells; nothing was sent. Copy what is needed into a new one.")
MANY_TEXTS = noop("The workbook has over %(most)s texts; nothing was sent. Copy what is needed into a new one.")
MANY_STYLES = noop("The workbook has over %(most)s styles; nothing was sent. Copy what is needed into a new one.")
DAMAGED = noop(
    "The workbook is damaged: it cannot be read at its start. Nothing was sent. Open it in Excel, save it again as"
    " “Excel Workbook (.xlsx)”, or copy what is needed into a new workbook."
)
DAMAGED_AFTER = noop(
    "The workbook is damaged: it cannot be read after row %(row)s. Nothing was sent. Open it in Excel, save it again as"
    " “Excel Workbook (.xlsx)”, or copy what is needed into a new workbook."
)

_NS = f"{{{SHEET_MAIN_NS}}}"
_ROW, _CELL, _FORMULA, _VALUE, _INLINE = f"{_NS}row", f"{_NS}c", f"{_NS}f", f"{_NS}v", f"{_NS}is"
_T, _RUN = f"{_NS}t", f"{_NS}r"
_TEXTS_AHEAD = 1000  # read together, as the file turns from writing to reading less often
_PIECE = 64 * 1024  # bytes read at a time
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")  # how a workbook writes what XML cannot hold

# Parts by which other zip files are known.
_OTHER_KINDS = {
    "mimetype": noop("The file is an OpenDocument file (.ods or .odt)"),
    "word/document.xml": noop("The file is a Word document"),
    "ppt/presentation.xml": noop("The file is a PowerPoint presentation"),
    "xl/workbook.bin": noop("The file is a binary workbook (.xlsb)"),
    "Index/Document.iwa": noop("The file is a Numbers or Pages document"),
}

# Damage shows wherever a part is read: in the zip, its compression, the XML, or a value that is none. defusedxml's
# refusals are ValueErrors.
_DAMAGE = (BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError, ParseError, KeyError, IndexError,
           ValueError, TypeError, OverflowError)  # fmt: skip


class OpenSheet:
    """One sheet of a workbook: its name, what to tell about it, and its rows, which can be gone through once.

    A row is its number, its cells as text, and what is wrong with it or "". Blank rows may be there or not. The last
    note may come with the last row. `used` are
    the columns, from 0, in which a value that is none spoils its row: all until it is set.
    """

    def __init__(self, book: "_Workbook", sheet: "_Sheet", notes: list[str]) -> None:
        self.name = sheet.name
        self.notes = notes
        self.used: Container[int | None] | None = None
        self._book, self._sheet = book, sheet

    def __iter__(self) -> Iterator[Row]:
        number = hidden = cells = 0
        with TemporaryFile() as store, _damage_explained(lambda: number):
            cells_of = _Cells(_Texts(self._book, store), self._book)
            for element in _elements(self._book.archive, self._sheet.part, f"{_NS}sheetData", _ROW):
                last, number = number, int(element.get("r", number + 1))
                if not last < number <= MAX_ROW:
                    number = last
                    raise ValueError("row numbers must rise")
                hidden += element.get("hidden") in ("1", "true")
                cells += len(element)
                if cells > MAX_CELLS_A_ROW * settings.BULK_MAX_ROWS:
                    raise _too_much(MANY_CELLS, MAX_CELLS_A_ROW * settings.BULK_MAX_ROWS)
                if any(len(cell) for cell in element):  # else each has at most a style
                    yield number, *self._read(number, cells_of.row(number, element))
                else:
                    yield number, [], ""
        if hidden:  # by hand, or by a filter, and whoever filtered a list may think that the rest is out
            self.notes.append(HIDDEN % {"count": f"{hidden:,}"})

    def _read(self, number: int, values: Iterator[tuple[int, str, str]]) -> tuple[list[str], str]:
        cells: list[str] = []
        fault = ""
        for place, text, problem in values:
            if not text and not problem:
                continue
            if place >= MAX_COLUMN:
                gaps = {"row": number, "column": f"{place + 1:,}", "most": f"{MAX_COLUMN:,}"}
                raise UnreadableFile(_(FAR_CELL) % gaps, reason="too_many_columns")
            if place >= len(cells):
                cells += [""] * (place + 1 - len(cells))
            cells[place] = text
            if problem and not fault and (self.used is None or place in self.used):
                fault = problem
        return cells, fault


def open_sheet(file: BinaryIO, name: str = "") -> OpenSheet:
    """Return a sheet of the workbook: the first visible one unless named. Raises `UnreadableFile`."""
    with _damage_explained(lambda: 0):
        book = _Workbook(_archive(file))
    sheet = _choose(book.sheets, name)
    notes = [READ_AS_WORKBOOK % {"sheet": sheet.name}]
    if len(book.sheets) > 1 and not name:
        values = {"count": len(book.sheets), "sheet": sheet.name, "names": _names(book.sheets)}
        notes.append(OTHER_SHEETS % values)
    if book.has_macros:
        notes.append(noop("The workbook has macros, which were not run."))
    return OpenSheet(book, sheet, notes)


class _Sheet(NamedTuple):
    name: str
    part: str
    is_visible: bool


class _Workbook:
    """What the small parts of a workbook say: its sheets, and where its texts and styles are."""

    def __init__(self, archive: ZipFile) -> None:
        self.archive = archive
        names = set(archive.namelist())
        for part, kind in _OTHER_KINDS.items():
            if part in names:
                raise not_a_table(kind)
        if "_rels/.rels" not in names:
            raise not_a_table(noop("The file is a zip archive"))
        main = next((part for kind, part in _related(archive, "").values() if kind == "officeDocument"), "")
        root = _small(archive, main)
        if root.tag != f"{_NS}workbook":
            text = _(
                "The workbook is in a form that is not read here, such as strict Open XML; nothing was sent. Save it as"
                " “Excel Workbook (.xlsx)”."
            )
            raise UnreadableFile(text, reason="broken_workbook")
        related = _related(archive, main)
        self.sheets = []
        for sheet in root.iter(f"{_NS}sheet"):
            kind, part = related[sheet.get(f"{{{REL_NS}}}id", "")]
            if kind == "worksheet":  # the others are charts and dialogs
                archive.getinfo(part)
                self.sheets.append(_Sheet(sheet.get("name", ""), part, sheet.get("state") in (None, "visible")))
        parts = dict(related.values())
        self.texts, self.styles = parts.get("sharedStrings"), parts.get("styles")
        self.has_macros = "vbaProject" in parts
        properties, calculation = root.find(f"{_NS}workbookPr"), root.find(f"{_NS}calcPr")
        is_1904 = properties is not None and properties.get("date1904") in ("1", "true")
        self.epoch = MAC_EPOCH if is_1904 else WINDOWS_EPOCH
        # Libraries that cannot calculate ask Excel to do it on opening, and some of them store 0 until then.
        self.is_uncalculated = calculation is not None and calculation.get("fullCalcOnLoad") in ("1", "true")

    def date_styles(self) -> tuple[set[int], set[int]]:
        """Return the cell styles that show a number as a date or time, and those of them that show a duration."""
        dates: set[int] = set()
        durations: set[int] = set()
        if self.styles:
            formats = dict(BUILTIN_FORMATS)
            for custom in _few(_elements(self.archive, self.styles, f"{_NS}numFmts", f"{_NS}numFmt")):
                formats[int(custom.get("numFmtId", 0))] = custom.get("formatCode", "")
            for number, style in enumerate(_few(_elements(self.archive, self.styles, f"{_NS}cellXfs", f"{_NS}xf"))):
                shown = formats.get(int(style.get("numFmtId", 0)), "General")
                if is_date_format(shown):
                    dates.add(number)
                if is_timedelta_format(shown):
                    durations.add(number)
        return dates, durations


class _Texts:
    """The texts that cells refer to by number. They wait in a file, as far as they have been asked for."""

    def __init__(self, book: _Workbook, store: IO[bytes]) -> None:
        self._store = store
        self._ends = array("Q", [0])
        self._next = _elements(book.archive, book.texts, f"{_NS}sst", f"{_NS}si") if book.texts else iter(())

    def __getitem__(self, number: int) -> str:
        if number < 0:
            raise IndexError(number)
        while number >= len(self._ends) - 1:
            self._store.seek(self._ends[-1])
            before = len(self._ends)
            for element in islice(self._next, _TEXTS_AHEAD):
                self._ends.append(self._ends[-1] + self._store.write(_text(element).encode()))
            if len(self._ends) > MAX_TEXTS:
                raise _too_much(MANY_TEXTS, MAX_TEXTS)
            if len(self._ends) == before:
                raise IndexError(number)
        self._store.seek(self._ends[number])
        return self._store.read(self._ends[number + 1] - self._ends[number]).decode()


class _Cells(WorkSheetParser):
    """openpyxl's reader of cells, given one row at a time."""

    def __init__(self, texts: _Texts, book: _Workbook) -> None:
        super().__init__(BytesIO(), texts, data_only=True)  # `row` is given the elements
        self._is_uncalculated = book.is_uncalculated
        self._epoch = book.epoch
        self._dates, self._durations = book.date_styles()

    def row(self, number: int, row: Element) -> Iterator[tuple[int, str, str]]:
        """Yield column from 0, text, and what is wrong with it or ""."""
        self.row_counter, self.col_counter = number, 0
        for element in row:
            if element.tag == _CELL:
                cell = self.parse_cell(element)
                if cell["column"] < 1:
                    raise ValueError("a cell without a column")
                yield cell["column"] - 1, *self._shown(element, cell)

    def _shown(self, element: Element, cell: dict[str, Any]) -> tuple[str, str]:
        value = cell["value"]
        if element.find(_FORMULA) is not None and (self._is_uncalculated or not _is_stored(element)):
            return "", _(
                "The row has a formula without a stored value: open the workbook in Excel and paste values only."
            )
        if cell["data_type"] == "e":
            return str(value or ""), _(ERROR_VALUE) % {"value": value}
        if element.get("t") == "inlineStr" and (inline := element.find(_INLINE)) is not None:
            return _unescaped(_text(inline)), ""
        if isinstance(value, str):
            return _unescaped(_of_a_cell(value)), ""
        if value is None:
            return "", ""
        if cell["style_id"] in self._dates and isinstance(value, int | float) and not isinstance(value, bool):
            try:
                value = from_excel(value, self._epoch, timedelta=cell["style_id"] in self._durations)
            except (OverflowError, ValueError):
                return _plain(value), _("The row has a date outside the calendar: write it again.")
        return _plain(value), ""


def _plain(value: bool | float | datetime | date | time | timedelta) -> str:
    """Return a value as a person would type it, a moment as `schedule.parse` reads it."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            # 15 digits are what Excel shows; 0.1 + 0.2 is stored with 17.
            return str(int(value)) if value.is_integer() else format(Decimal(f"{value:.15g}"), "f")
        case datetime():
            return (value + timedelta(milliseconds=500)).strftime("%Y-%m-%d %H:%M:%S")
        case date():
            return f"{value:%Y-%m-%d} 00:00:00"
    return str(value)


def _is_stored(formula: Element) -> bool:
    # An empty text is a result; an empty number is none.
    value = formula.find(_VALUE)
    return value is not None and (bool(value.text) or formula.get("t") == "str")


def _text(element: Element) -> str:
    """Return the text of a shared or inline text, of all its runs but not of its reading aids."""
    if len(element) == 1 and element[0].tag == _T:
        text = element[0].text or ""
    else:
        parts = [part.text if part.tag == _T else part.findtext(_T) for part in element if part.tag in (_T, _RUN)]
        text = "".join(part or "" for part in parts)
    return _of_a_cell(text)


def _of_a_cell(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise UnreadableFile(_(LONG_TEXT) % {"most": f"{MAX_TEXT:,}"}, reason="cell_too_large")
    return text


def _few(styles: Iterator[Element]) -> Iterator[Element]:
    for number, style in enumerate(styles):
        if number >= MAX_STYLES:
            raise _too_much(MANY_STYLES, MAX_STYLES)
        yield style


def _too_much(text: str, most: int) -> UnreadableFile:
    return UnreadableFile(_(text) % {"most": f"{most:,}"}, reason="broken_workbook")


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(_character, text) if "_x" in text else text


def _character(escaped: re.Match[str]) -> str:
    code = int(escaped[1], 16)
    # A NUL and half a surrogate pair are no text anywhere; left as they are written they do no harm.
    return escaped[0] if code == 0 or 0xD800 <= code <= 0xDFFF else chr(code)


def _elements(archive: ZipFile, part: str, parent: str, tag: str) -> Iterator[Element]:
    """Yield each `tag` inside the first `parent` of a part. An element holds only until the next is asked for."""
    # Entities can be declared only before the first element. defusedxml's parser is written in Python and takes
    # several times as long as the standard library's, so it reads up to there, and refuses a DTD, which workbooks
    # do not have.
    with archive.open(part) as stream:
        next(defused.iterparse(_Guarded(stream), ("start",), forbid_dtd=True), None)
    with archive.open(part) as stream:
        source = _Guarded(stream)
        path: list[Element] = []  # the elements that are open
        is_inside = False
        for event, element in iterparse(source, ("start", "end")):
            if event == "start":
                path.append(element)
                if len(path) > MAX_DEPTH:
                    raise ValueError("elements inside each other without end")
                is_inside = is_inside or element.tag == parent
                continue
            path.pop()
            if is_inside:
                if element.tag == parent:
                    return
                if element.tag != tag:
                    continue
                yield element
            if path:
                path[-1].clear()  # of what is finished; an element that was only emptied would still take 80 bytes
            source.pending = 0


class _Guarded:
    """A stream that refuses to go on when its reader makes no progress.

    `pending` is what was read since the reader last set it to 0, which it does when the parser has finished an
    element: no trick inside the XML can pretend to be one.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.pending = 0

    def read(self, size: int = -1, /) -> bytes:
        # iterparse asks for 16 KB, and a comment or attribute that goes on is looked through again with each piece.
        data = self.stream.read(max(size, _PIECE))
        self.pending += len(data)
        if self.pending > MAX_PENDING:
            raise UnreadableFile(_(LARGE_ROW) % {"most": MAX_PENDING // 1024**2}, reason="cell_too_large")
        return data


class _ZipSource:
    """The file as zipfile reads it: in small pieces but for the list of parts, which is thus held to a limit."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if size > MAX_DIRECTORY:
            raise BadZipFile("too many parts")
        return self._file.read(size)


def _archive(file: BinaryIO) -> ZipFile:
    archive = ZipFile(_ZipSource(file))
    parts = archive.infolist()
    limit = MAX_UNPACKED * settings.BULK_MAX_BYTES
    if sum(part.file_size for part in parts) > limit:
        text = _("The workbook unpacks to over %(most)s MB; nothing was sent. Split it, or save it as “CSV UTF-8”.")
        raise UnreadableFile(text % {"most": f"{limit // 10**6:,}"}, reason="broken_workbook")
    if any(part.compress_type not in (ZIP_STORED, ZIP_DEFLATED) for part in parts):
        raise BadZipFile("compressed in a way that workbooks are not")
    return archive


def _small(archive: ZipFile, part: str) -> Element:
    if archive.getinfo(part).file_size > MAX_PENDING:
        raise BadZipFile("far larger than this part ever is")
    root: Element = defused.fromstring(archive.read(part), forbid_dtd=True)
    return root


def _related(archive: ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Return what a part refers to inside the archive, "" being the archive: id -> (last word of the type, part)."""
    folder, name = posixpath.split(part)
    found = {}
    for relation in _small(archive, posixpath.join(folder, "_rels", f"{name}.rels")):
        if relation.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/", folder, relation.get("Target", "")))
            kind = relation.get("Type", "").rpartition("/")[2]
            found[relation.get("Id", "")] = kind, target.lstrip("/")
    return found


@contextmanager
def _damage_explained(last_row: Callable[[], int]) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        row = last_row()
        text = _(DAMAGED_AFTER) % {"row": row} if row else _(DAMAGED)
        raise UnreadableFile(text, reason="broken_workbook") from error


def _choose(sheets: list[_Sheet], name: str) -> _Sheet:
    if not sheets:
        raise UnreadableFile(_("The workbook has no sheet with cells; nothing was sent."), reason="broken_workbook")
    if not name:
        return next((sheet for sheet in sheets if sheet.is_visible), sheets[0])
    for sheet in sheets:
        if sheet.name.strip().casefold() == name.strip().casefold():
            return sheet
    text = _(
        "sheet: the workbook has no sheet “%(name)s”; nothing was sent. Write one of %(names)s, or leave the field out"
        " for the first."
    )
    raise UnreadableFile(text % {"name": name[:40], "names": _names(sheets)}, reason="invalid_option")


def _names(sheets: list[_Sheet]) -> str:
    shown = [f"“{sheet.name[:40]}”" for sheet in sheets[:20]]
    return ", ".join(shown) + (f" and {len(sheets) - 20} more" if len(sheets) > 20 else "")
