"""Which encoding a text file is in. A wrong guess texts gibberish to every number, so what is certain comes first."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from charset_normalizer import from_bytes
from django.utils.translation import gettext as _

from outbox.bulk.unreadable import UnreadableFile

NAMES = ("utf-8", "utf-16", "windows-1256", "latin-1")  # in public
CHOICES = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"
BLOCK = 64 * 1024  # bytes decoded at a time
_SAMPLE = 64 * 1024  # bytes that are looked at closely

# What people call each encoding, without spaces, hyphens and underscores.
_ALIASES = {
    **dict.fromkeys(("utf8", "utf8sig", "utf8bom", "utf8withbom"), "utf-8"),
    **dict.fromkeys(("utf16", "utf16le", "utf16be", "unicode", "unicodetext", "ucs2"), "utf-16"),
    **dict.fromkeys(("windows1256", "cp1256", "win1256", "1256", "ansi1256", "arabic"), "windows-1256"),
    **dict.fromkeys(("latin1", "latin", "iso88591", "windows1252", "cp1252", "win1252", "1252", "western"), "latin-1"),
}


@dataclass(frozen=True)
class Charset:
    """An encoding by its public name and Python's, and the bytes of its mark at the start."""

    name: str
    codec: str
    mark: int = 0
    is_certain: bool = True


def named(name: str) -> str:
    """Return the public name for what a caller wrote, "" for nothing. Raises `UnreadableFile`."""
    if not name.strip():
        return ""
    try:
        return _ALIASES[re.sub(r"[\s_-]", "", name).lower()]
    except KeyError:
        text = _(
            "encoding: “%(name)s” is not an encoding that is read here; nothing was sent. Write %(choices)s, or leave"
            " the field out."
        )
        raise UnreadableFile(text % {"name": name[:40], "choices": CHOICES}, reason="invalid_option") from None


def detect(file: BinaryIO, *, forced: str = "") -> Charset:
    """Return the encoding of the whole file, or `forced` (a public name) if the file is that.

    UTF-8 and UTF-16 are decoded to the end before they are believed. Raises `UnreadableFile`.
    """
    file.seek(0)
    head = file.read(_SAMPLE)
    marked = _by_mark(head)
    if forced:
        charset = marked if marked and marked.name == forced else _forced(head, forced)
    elif marked:
        charset = marked
    elif _is_valid(file, Charset("utf-8", "utf-8")) is None and not _looks_utf16(head):
        return Charset("utf-8", "utf-8")
    else:
        charset = _looks_utf16(head) or _legacy(file)
    if (line := _is_valid(file, charset)) is not None:
        if forced:
            text = _(
                "The file is not all %(name)s, as the field 'encoding' says: line %(line)s has bytes that are not."
                " Nothing was sent. Save it again as “CSV UTF-8”, or name its encoding in the field 'encoding':"
                " %(choices)s."
            )
        else:
            text = _(
                "The file is not all %(name)s, as it looks: line %(line)s has bytes that are not. Nothing was sent."
                " Save it again as “CSV UTF-8”, or name its encoding in the field 'encoding': %(choices)s."
            )
        values = {"name": charset.name, "line": line, "choices": CHOICES}
        raise UnreadableFile(text % values, reason="wrong_encoding")
    return charset


def blocks(file: BinaryIO, charset: Charset) -> Iterator[str]:
    """Decode the file from its start, a block at a time. Raises `UnicodeDecodeError`."""
    decoder = codecs.getincrementaldecoder(charset.codec)(_CP1252_GAPS if charset.codec == "cp1252" else "strict")
    file.seek(charset.mark)
    while block := file.read(BLOCK):
        yield decoder.decode(block)
    yield decoder.decode(b"", True)


# Five bytes mean nothing in Windows-1252, and Latin-1 has invisible controls there: a stray one should not cost
# the file.
_CP1252_GAPS = "outbox.cp1252_gaps"


def _as_latin1(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_CP1252_GAPS, _as_latin1)


def _by_mark(head: bytes) -> Charset | None:
    if head.startswith(codecs.BOM_UTF8):
        return Charset("utf-8", "utf-8", mark=3)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise UnreadableFile(
            _("The file is UTF-32, which is not read here; nothing was sent. Save it as “CSV UTF-8”."),
            reason="wrong_encoding",
        )
    if head.startswith(codecs.BOM_UTF16_LE):
        return Charset("utf-16", "utf-16-le", mark=2)
    if head.startswith(codecs.BOM_UTF16_BE):
        return Charset("utf-16", "utf-16-be", mark=2)
    return None


def _forced(head: bytes, name: str) -> Charset:
    if name == "utf-16":
        return Charset(name, "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le")
    return Charset(name, {"windows-1256": "cp1256", "latin-1": "cp1252"}.get(name, name))


def _looks_utf16(head: bytes) -> Charset | None:
    """Return which UTF-16 this is, without a mark: the high byte of separators, digits and line ends is 0."""
    high_first, high_last = head[::2].count(0), head[1::2].count(0)
    charset = _forced(head, "utf-16")
    # One stray NUL in an 8-bit file is on one side too. Read as UTF-16 such a file is Chinese, without a line end,
    # comma or digit among its characters.
    text = head[: len(head) // 2 * 2].decode(charset.codec, "replace")
    is_one_sided = max(high_first, high_last) > 20 * min(high_first, high_last)
    plain = sum(text.count(character) for character in "\n\r,;\t0123456789")
    return charset if is_one_sided and plain * 20 > len(text) else None


def _is_valid(file: BinaryIO, charset: Charset) -> int | None:
    """Return None, or the line with the first bytes that are not in this encoding."""
    line = 1
    try:
        for text in blocks(file, charset):
            line += text.count("\n")
    except UnicodeDecodeError as error:
        return line + error.object[: error.start].decode(charset.codec, "replace").count("\n")
    return None


# Letters that both encodings have beyond ASCII start at C0; a few stand before it.
_HIGH = rb"\xC0-\xFF\x81\x8A\x8C-\x90\x98\x9A\x9C\x9E\x9F\xAA"
_MIXED = re.compile(rb"[A-Za-z][%b]|[%b][A-Za-z]" % (_HIGH, _HIGH))
_RUN = re.compile(rb"(?<![A-Za-z%b])[%b]{2,}(?![A-Za-z%b])" % (_HIGH, _HIGH, _HIGH))
_UTF8_CHARACTER = re.compile(rb"[\xC2-\xDF][\x80-\xBF]|[\xE0-\xEF][\x80-\xBF]{2}|[\xF0-\xF4][\x80-\xBF]{3}")
_IS_HIGH = re.compile(rb"[\x80-\xFF]")


def _legacy(file: BinaryIO) -> Charset:
    """Return windows-1256 or latin-1 for a file that is not Unicode. Raises `UnreadableFile` for damaged UTF-8."""
    sample = _telling_lines(file)
    # In either encoding such sequences are a letter before a sign, as in "لا؟": never nearly all of it. This is UTF-8
    # that was cut, or joined to something else.
    utf8_bytes = sum(len(found) for found in _UTF8_CHARACTER.findall(sample))
    if utf8_bytes > 0.7 * len(_IS_HIGH.findall(sample)):
        line = _is_valid(file, Charset("utf-8", "utf-8"))
        text = _(
            "The file is UTF-8 but damaged: line %(line)s has bytes that are not. Nothing was sent. Save it again as"
            " “CSV UTF-8”, or name its encoding in the field 'encoding': %(choices)s."
        )
        raise UnreadableFile(text % {"line": line, "choices": CHOICES}, reason="wrong_encoding")
    # Arabic words are runs of high bytes, European ones have one or two among ASCII letters. That settles nearly
    # everything. charset-normalizer 3.5 restricted to the two was right on sentences, but took "ÉTÉ À PARIS" for
    # Arabic and had no answer to 300 lines of "Déjà", so it is asked when the words do not say.
    runs, mixed = len(_RUN.findall(sample)), len(_MIXED.findall(sample))
    if runs > 3 * mixed:
        return Charset("windows-1256", "cp1256")
    if mixed > 3 * runs:
        return Charset("latin-1", "cp1252")
    best = from_bytes(sample, cp_isolation=["cp1256", "cp1252"]).best()
    if best is not None and best.encoding == "cp1256":
        return Charset("windows-1256", "cp1256", is_certain=False)
    return Charset("latin-1", "cp1252", is_certain=False)


def _telling_lines(file: BinaryIO) -> bytes:
    """Return the lines that are not ASCII, from anywhere in the file, up to `_SAMPLE` bytes."""
    file.seek(0)
    lines: list[bytes] = []
    size = 0
    while size < _SAMPLE and (block := file.read(BLOCK)):
        if not block.isascii():
            found = [line for line in block.splitlines() if not line.isascii()]
            lines += found
            size += sum(map(len, found))
    return b"\n".join(lines)[: 2 * _SAMPLE]
