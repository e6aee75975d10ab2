"""A workbook that is written while it is sent: one sheet, row by row, in constant memory.

openpyxl would take ten times as long, and its workbook is there only when it is whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cache
from itertools import islice, repeat
from string import ascii_uppercase
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

Cell = str | Decimal  # a number is written as one

_ROWS_AT_ONCE = 500
# What XML cannot hold, or would change; and what a reader would take for one of these escapes.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_CONTENT = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_CONTENT}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_CONTENT}.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" Type="{_RELATIONS}/officeDocument"'
        ' Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" Type="{_RELATIONS}/worksheet"'
        ' Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}


def lines(rows: Iterable[Sequence[Cell]], *, sheet: str) -> Iterator[bytes]:
    """Yield the workbook in pieces. `sheet` is the name of its sheet, with nothing in it that XML escapes."""
    pipe = _Pipe()
    rows = iter(rows)
    book = (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets><sheet name="{sheet}" sheetId="1" r:id="rId1"/>'
        "</sheets></workbook>"
    )
    with ZipFile(pipe, "w", ZIP_DEFLATED) as archive:
        for name, xml in {**_PARTS, "xl/workbook.xml": book}.items():
            archive.writestr(name, _HEAD + xml)
        with archive.open("xl/worksheets/sheet1.xml", "w") as part:
            part.write(f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            number = 1
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                part.write("".join(_row(cells, at) for at, cells in enumerate(some, number)).encode())
                number += len(some)
                yield pipe.taken()
            part.write(b"</sheetData></worksheet>")
    yield pipe.taken()


class _Pipe(io.RawIOBase):
    """What `ZipFile` writes to, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _row(cells: Sequence[Cell], number: int) -> str:
    return f'<row r="{number}">{"".join(map(_cell, cells, _columns(len(cells)), repeat(number)))}</row>'


def _cell(value: Cell, column: str, row: int) -> str:
    if isinstance(value, Decimal):
        return f'<c r="{column}{row}"><v>{value:f}</v></c>'
    if not value:
        return ""
    if not value.isalnum():  # nothing in it that XML minds
        value = escape(_UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", value))
    return f'<c r="{column}{row}" t="inlineStr"><is><t xml:space="preserve">{value}</t></is></c>'


@cache
def _columns(count: int) -> list[str]:
    """Return the letters of that many columns."""
    names = [*ascii_uppercase]
    while len(names) < count:
        names = [*ascii_uppercase, *(name + letter for name in names for letter in ascii_uppercase)]
    return names[:count]
