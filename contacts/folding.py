"""How a search sees text: without case, marks and the variants of a letter, and in letters that any index knows.

`folded` is for both sides, what is stored and what is looked for. `pieces` makes what finds one or two characters,
which are too few for an index of trigrams.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator

import phonenumbers
from phonenumbers import PhoneMetadata

_MAX_BYTES = 2000  # of a folded text: the index of lists holds it whole, and an entry there ends at 2,704

# Letters that are one to whoever searches. Unicode itself takes the marks off أ إ آ ؤ ئ.
_VARIANTS = str.maketrans(
    {"ة": "ه", "ى": "ي", "ٱ": "ا", "ک": "ك", "ی": "ي", "ـ": None, "ø": "o", "ł": "l", "đ": "d", "ı": "i"}
)
# PostgreSQL makes trigrams of what the locale of the database calls letters, and in "C" that is ASCII alone. So Arabic
# is written in ASCII capitals, which folding leaves free: one to one, but for the two rarest letters, which stay.
_ARABIC = str.maketrans("ابتثجحخدرزسشصضطعغفقكلمنهوي", "ABTVJHXDRZSCPEIOGFQKLMNUWY")
_RUN = re.compile(r"[^\W_]+")  # of letters and digits


def folded(text: str) -> str:
    """Return `text` as a search sees it: no case, marks, tatweel or variants of a letter, and digits in ASCII."""
    if text.isascii():
        return _spaced(text.lower())
    kept = []
    for character in unicodedata.normalize("NFKD", text):
        category = unicodedata.category(character)
        if category == "Nd":
            kept.append(str(unicodedata.digit(character)))
        elif category not in ("Mn", "Cf", "Cs"):  # marks, hidden characters, halves of surrogate pairs
            kept.append(character)
    return _spaced("".join(kept).casefold().translate(_VARIANTS).translate(_ARABIC))


def _spaced(text: str) -> str:
    return " ".join(text.replace("\x00", " ").split())


def text_of(values: Iterable[str], phone: str) -> str:
    """Return what a search looks through: each word of `values` once, and the number as it is called from anywhere."""
    words = dict.fromkeys(word for value in values for word in folded(value).split())
    words |= dict.fromkeys(_as_dialled(phone.removeprefix("+")))
    return " ".join(words).encode()[:_MAX_BYTES].decode(errors="ignore")


def _as_dialled(digits: str) -> Iterator[str]:
    """Yield a number with `00` and its country code, which has the form without `00` in it, and as it is at home."""
    if not digits.isdecimal():
        return
    yield f"00{digits}"
    for length in (1, 2, 3):
        prefix = _trunk_prefix(digits[:length])
        if prefix is not None:
            yield prefix + digits[length:]
            return


@functools.cache
def _trunk_prefix(calling_code: str) -> str | None:
    """Return what stands before a number at home, such as 0; None for what is no calling code."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(calling_code))
    if regions is None:
        return None
    plan = PhoneMetadata.metadata_for_region(regions[0])
    return (plan.national_prefix if plan else None) or ""


def pieces(text: str) -> list[str]:
    """Return the one or two characters that stand at each place of a folded text, each once.

    Whatever has one or two characters and is in the text begins one of them.
    """
    found = {_coded(run[place : place + 2]) for run in _RUN.findall(text) for place in range(len(run))}
    found |= {_coded(character) for character in set(text) if not character.isalnum() and character != " "}
    return sorted(found)


def pieces_of_term(term: str) -> list[str]:
    """Return beginnings of pieces that every text has which has `term` in it, a word."""
    found = [
        run[place : place + 2] for run in _RUN.findall(term) for place in range(max(1, len(run) - 1))
    ]  # the last character of a longer run begins no piece that we know
    found += [character for character in term if not character.isalnum()]
    return [*dict.fromkeys(map(_coded, found))]


def _coded(piece: str) -> str:
    """Return a piece in ASCII letters and digits. Two may look the same: pieces only narrow a search down."""
    if not (piece.isascii() and piece.isalnum()):
        # With a zero in front, for a zero is in every number: no letter is found more often than it is there.
        coded = "".join(c if c.isascii() and c.isalnum() else f"0x{ord(c):x}" for c in piece)
    else:
        coded = piece
    # Trigrams know no capitals: those of Arabic would be found with the small ones of Latin.
    return f"1{coded}" if "A" <= piece[0] <= "Z" else coded
