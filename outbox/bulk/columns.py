"""Which column of a file is which, by the names in its first row, in English or Arabic."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from outbox.bulk.unreadable import UnreadableFile


@dataclass(frozen=True)
class Columns:
    """Where each known column is, counted from 0; `unknown` has the other names, as they are written."""

    mobile: int
    message: int
    sender: int | None
    datetime: int | None
    unknown: tuple[str, ...]


# What people write above each column. How `_simplified` reads a name makes "Phone Number", "phone_number" and
# "PHONENUMBER" one, and "الرسالة" and "الرساله" too, so each needs one entry.
NAMES = {
    "mobile": (
        "mobile", "mobiles", "mobile number", "mobile no", "mobile phone", "mobile phone number", "phone", "phones",
        "phone number", "phone no", "cell", "cell phone", "cell number", "telephone", "telephone number", "tel",
        "tel no", "msisdn", "gsm", "number", "numbers", "recipient", "recipients", "recipient number",
        "recipient mobile", "recipient phone", "receiver", "receiver number", "destination", "destination number",
        "to", "to number", "customer mobile", "customer phone", "contact number",
        "الجوال", "جوال", "رقم الجوال", "رقم جوال", "أرقام الجوال", "جوال المستلم", "رقم جوال المستلم", "جوال العميل",
        "رقم جوال العميل", "الهاتف", "هاتف", "رقم الهاتف", "رقم هاتف", "الهاتف المحمول", "رقم الهاتف المحمول",
        "المحمول", "رقم المحمول", "الموبايل", "موبايل", "رقم الموبايل", "رقم موبايل", "النقال", "رقم النقال",
        "الهاتف النقال", "التليفون", "تليفون", "رقم التليفون", "المستلم", "رقم المستلم", "المستقبل", "رقم المستقبل",
        "المرسل إليه", "رقم المرسل إليه", "الرقم", "رقم", "الأرقام", "رقم التواصل", "إلى",
    ),
    "message": (
        "message", "messages", "message text", "message body", "message content", "text", "text message", "sms",
        "sms text", "sms message", "sms body", "body", "content", "msg",
        "الرسالة", "رسالة", "نص الرسالة", "نص رسالة", "محتوى الرسالة", "النص", "نص", "المحتوى", "محتوى",
        "الرسالة النصية", "رسالة نصية", "نص الرسالة النصية",
    ),
    "sender": (
        "sender", "sender id", "sender name", "sms sender", "from", "originator", "source",
        "المرسل", "مرسل", "اسم المرسل", "معرف المرسل", "هوية المرسل", "من",
    ),
    "datetime": (
        "datetime", "date time", "date and time", "date", "time", "send at", "send on", "send date", "send time",
        "send datetime", "sending time", "sending date", "schedule", "scheduled", "scheduled at", "scheduled for",
        "scheduled time", "scheduled date", "schedule at", "schedule time", "schedule date", "delivery time",
        "التاريخ", "تاريخ", "الوقت", "وقت", "التاريخ والوقت", "تاريخ ووقت الإرسال", "وقت الإرسال", "وقت إرسال",
        "موعد الإرسال", "الموعد", "تاريخ الإرسال", "تاريخ ووقت", "وقت وتاريخ الإرسال", "الجدولة", "موعد الجدولة",
        "وقت الجدولة",
    ),
}  # fmt: skip
_SHOWN_CELLS, _SHOWN_CHARACTERS = 6, 30
_LETTERS = str.maketrans("أإآٱةى", "ااااهي")  # people leave hamza and dots out, or put them in
_PHONE = re.compile(r"\+?[\d\s().\-]{7,25}")


def find(header: Sequence[str]) -> Columns:
    """Return where each column is, for the cells of the first row. Raises `UnreadableFile`."""
    places: dict[str, int] = {}
    unknown = []
    for place, name in enumerate(header):
        column = _column(name)
        if column is None:
            if name.strip():
                unknown.append(name.strip())
        elif column in places:
            text = _(
                "Two columns hold the %(column)s: %(first)s and %(second)s. Nothing was sent. Keep one of them, or"
                " rename the other."
            )
            values = {"column": column, "first": _shown(header[places[column]]), "second": _shown(name)}
            raise UnreadableFile(text % values, reason="column_twice")
        else:
            places[column] = place
    if "mobile" not in places or "message" not in places:
        raise UnreadableFile(_missing(header, places), reason="no_header")
    return Columns(places["mobile"], places["message"], places.get("sender"), places.get("datetime"), tuple(unknown))


def recognized(header: Sequence[str]) -> int:
    """Return how many of the four columns these cells name."""
    return len({_column(name) for name in header} - {None})


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence: shortened, the first few of them, blank ones left out."""
    found = [_shown(name) for name in names if name.strip()]
    more = f" and {len(found) - _SHOWN_CELLS} more" if len(found) > _SHOWN_CELLS else ""
    return ", ".join(found[:_SHOWN_CELLS]) + more


def _simplified(name: str) -> str:
    """Return a name by which its usual spellings are equal: letters and digits only."""
    text = unicodedata.normalize("NFKC", name).casefold().translate(_LETTERS)
    # Left out with all that stands between: Cf, hidden marks; Mn, tashkeel; Lm, tatweel.
    return "".join(character for character in text if unicodedata.category(character) in {"Ll", "Lo", "Nd"})


_BY_NAME = {_simplified(name): column for column, names in NAMES.items() for name in names}


def _column(name: str) -> str | None:
    # No known name is near this long, and a message put in the first row may be.
    return _BY_NAME.get(_simplified(name)) if len(name) <= 100 else None


def _missing(header: Sequence[str], places: dict[str, int]) -> str:
    if any(_is_phone(name) for name in header):
        text = _(
            "The first row has %(cells)s, which looks like data: the first row must name the columns. Nothing was sent."
            " Put a row above it with the names mobile and message, and sender or datetime if you use them."
        )
    elif "mobile" in places:
        text = _(
            "The first row has %(cells)s: no column is named message. Nothing was sent. Name the columns in the first"
            " row: mobile and message, and sender or datetime if you use them."
        )
    elif "message" in places:
        text = _(
            "The first row has %(cells)s: no column is named mobile. Nothing was sent. Name the columns in the first"
            " row: mobile and message, and sender or datetime if you use them."
        )
    else:
        text = _(
            "The first row has %(cells)s: no column is named mobile and message. Nothing was sent. Name the columns in"
            " the first row: mobile and message, and sender or datetime if you use them."
        )
    return text % {"cells": listed(header)}


def _is_phone(cell: str) -> bool:
    text = unicodedata.normalize("NFKC", cell).strip()
    return _PHONE.fullmatch(text) is not None and sum(character.isdigit() for character in text) >= 7


def _shown(cell: str) -> str:
    text = " ".join(cell.split())
    return f"“{text[:_SHOWN_CHARACTERS]}…”" if len(text) > _SHOWN_CHARACTERS else f"“{text}”"
