"""SMS encodings and segments (3GPP TS 23.038, the GSM 7-bit default alphabet; TS 23.040, concatenation)."""

import enum
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

# The default alphabet. Form feed and the nine characters of the extension table take two septets each.
GSM7_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_EXTENSION = "^{}\\[~]|€\f"
_BASIC = re.compile(f"[{re.escape(GSM7_BASIC)}]*")
_EXTENDED = re.compile(f"[{re.escape(GSM7_EXTENSION)}]")  # takes two septets
_OUTSIDE = re.compile(f"[^{re.escape(GSM7_BASIC + GSM7_EXTENSION)}]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")  # takes two UTF-16 units
# Stands for any character of two units, so that each unit has an index. Its first half is astral: no single is like it.
_PAIR = "\U0010ffff\0"

GSM7_SINGLE, GSM7_SEGMENT = 160, 153  # septets in a lone message, and in a segment beside its 6-octet header
UCS2_SINGLE, UCS2_SEGMENT = 70, 67  # 16-bit units


class Encoding(enum.StrEnum):
    """How a text travels, in the words of the public API."""

    GSM7 = "GSM-7"
    GSM7_EXTENDED = "GSM-7 Extended"
    UCS2 = "UCS-2"


@dataclass(frozen=True)
class Segments:
    """What a text costs on the air."""

    encoding: Encoding
    count: int


def detect(text: str) -> Encoding:
    """Return the cheapest encoding that holds every character of `text`."""
    if _BASIC.fullmatch(text):
        return Encoding.GSM7
    return Encoding.UCS2 if _OUTSIDE.search(text) else Encoding.GSM7_EXTENDED


def outside_gsm7(text: str) -> Iterator[tuple[int, str]]:
    """Yield where `text` leaves GSM-7: the index and the character of each one that makes it UCS-2.

    An index counts characters, as Python does; JavaScript counts an emoji before it as two.
    """
    return ((match.start(), match[0]) for match in _OUTSIDE.finditer(text))


def segments(text: str) -> Segments:
    """Return the encoding of `text` and how many segments it takes.

    A two-septet escape and a surrogate pair stay whole: one that would straddle two segments moves to the next, so
    a segment may end one short.
    """
    encoding = detect(text)
    if encoding is Encoding.GSM7:
        length = len(text)
        return _segments(encoding, 1 if length <= GSM7_SINGLE else -(-length // GSM7_SEGMENT))
    if encoding is Encoding.UCS2:
        return _segments(encoding, _count(text, _ASTRAL, UCS2_SINGLE, UCS2_SEGMENT))
    return _segments(encoding, _count(text, _EXTENDED, GSM7_SINGLE, GSM7_SEGMENT))


# There are few different answers, and making one takes longer than counting a short text.
_segments = functools.lru_cache(maxsize=256)(Segments)


def _count(text: str, double: re.Pattern[str], single: int, per_segment: int) -> int:
    """Return the segments of `text`, whose characters take one unit each, and two where `double` matches."""
    doubles = len(double.findall(text))
    if len(text) + doubles <= single:
        return 1
    if not doubles:
        return -(-len(text) // per_segment)
    units = double.sub(_PAIR, text)
    count, start = 0, 0
    while start < len(units):
        count, end = count + 1, start + per_segment
        is_torn = end < len(units) and units[end - 1] == _PAIR[0]
        start = end - 1 if is_torn else end
    return count
