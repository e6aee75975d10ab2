"""SMS encodings and segments (3GPP TS 23.038, the GSM 7-bit default alphabet; TS 23.040, concatenation)."""

import enum
from dataclasses import dataclass

# The default alphabet. Form feed and the nine characters of the extension table take two septets each.
GSM7_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_EXTENSION = "^{}\\[~]|€\f"
_BASIC, _EXTENSION = frozenset(GSM7_BASIC), frozenset(GSM7_EXTENSION)

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
    characters = set(text)
    if characters <= _BASIC:
        return Encoding.GSM7
    return Encoding.GSM7_EXTENDED if characters <= _BASIC | _EXTENSION else Encoding.UCS2


def segments(text: str) -> Segments:
    """Return the encoding of `text` and how many segments it takes.

    A two-septet escape and a surrogate pair stay whole: one that would straddle two segments moves to the next, so
    a segment may end one short.
    """
    encoding = detect(text)
    if encoding is Encoding.UCS2:
        wide = [2 if character > "\uffff" else 1 for character in text]
        return Segments(encoding, _count(wide, UCS2_SINGLE, UCS2_SEGMENT))
    if encoding is Encoding.GSM7:
        return Segments(encoding, 1 if len(text) <= GSM7_SINGLE else -(-len(text) // GSM7_SEGMENT))
    septets = [2 if character in _EXTENSION else 1 for character in text]
    return Segments(encoding, _count(septets, GSM7_SINGLE, GSM7_SEGMENT))


def _count(units: list[int], single: int, per_segment: int) -> int:
    if sum(units) <= single:
        return 1
    count, used = 1, 0
    for unit in units:
        if used + unit > per_segment:
            count, used = count + 1, 0
        used += unit
    return count
