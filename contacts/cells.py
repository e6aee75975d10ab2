"""What one cell of a sheet says of a contact, read and written. What is written is read as the same value again."""

from __future__ import annotations

import re
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import CharField
from django.utils.translation import gettext as _

from contacts import attributes
from contacts.columns import FIELDS, Columns
from contacts.models import AttributeType, Contact, Gender
from contacts.serializers import LONGEST_CHANNEL, MAX_CHANNELS
from linkit import phone
from linkit.errors import InvalidInput

_BETWEEN_CHANNELS = re.compile("[,،;؛]")
_GENDERS: dict[str, str] = {
    **dict.fromkeys(("male", "m", "man", "ذكر", "رجل"), Gender.MALE),
    **dict.fromkeys(("female", "f", "woman", "أنثى", "انثى", "امرأة"), Gender.FEMALE),
}
# What is typed or saved around a number so that a spreadsheet leaves it alone, and what one makes of it if not.
_QUOTED = re.compile(r'="([^"]*)"|\'(.*)', re.DOTALL)
_FLOAT = re.compile(r"(\+?\d+)\.0+")
_MIDNIGHT = " 00:00:00"  # which a workbook's days come with
_EXACT_DIGITS = 15  # of a number in a workbook

Value = str | int | float | bool | list[str]


class InvalidCell(InvalidInput):
    """Not a value of this field; the message says why."""


def stored(contact: Contact, key: str, known: Columns) -> Value | None:
    """Return what a contact has in a column; None for no attribute."""
    attribute = known.attributes.get(key)
    value: Value | None
    if attribute is not None:
        value = contact.attribute_values.get(str(attribute.pk))
    else:
        value = getattr(contact, FIELDS[key])
    return value


def text_of(value: object) -> str:
    """Return a stored value as a cell has it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(str(each) for each in value)
        case float():
            return format(Decimal(repr(value)), "f").removesuffix(".0")
    return str(value)


def shown(value: object) -> str:
    """Return a stored value as a page shows it."""
    return (_("yes") if value else _("no")) if isinstance(value, bool) else text_of(value)


def number_of(value: object) -> Decimal | None:
    """Return a number that a workbook can hold as one, without a change."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = Decimal(text_of(value))
    return number if len(number.as_tuple().digits) <= _EXACT_DIGITS else None


def value_in(text: str, key: str, known: Columns, *, region: str) -> Value:
    """Return the value that is typed into a column. Raises `InvalidInput`."""
    attribute = known.attributes.get(key)
    if "\x00" in text:
        raise InvalidCell(_("This holds a NUL character, which is no text: remove it."))
    if attribute is not None:
        if attribute.type == AttributeType.DATE:
            text = text.strip().removesuffix(_MIDNIGHT)
        elif attribute.type == AttributeType.PHONE_NUMBER:
            text = _bare_number(text)
        return attributes.from_text(attribute, text, region=region)
    typed = text.strip()
    match key:
        case "phone":
            return phone.parse_mobile(_bare_number(text), region=region)
        case "channels":
            return _channels(typed)
        case "gender":
            if (found := _GENDERS.get(typed.casefold())) is None:
                raise InvalidCell(_("This must be male or female."))
            return str(found)
    column = Contact._meta.get_field(FIELDS[key])
    assert isinstance(column, CharField) and column.max_length
    if len(typed) > column.max_length:
        raise InvalidCell(_("This has more than %(count)s characters.") % {"count": column.max_length})
    if key == "email":
        try:
            validate_email(typed)
        except ValidationError:
            raise InvalidCell(_("This is not an e-mail address.")) from None
    return typed


def _bare_number(text: str) -> str:
    typed = text.strip()
    if found := _QUOTED.fullmatch(typed):
        typed = next(group for group in found.groups() if group is not None)
    if found := _FLOAT.fullmatch(typed):
        typed = found[1]
    return typed


def _channels(typed: str) -> list[str]:
    names = [name.strip() for name in _BETWEEN_CHANNELS.split(typed) if name.strip()]
    if len(names) > MAX_CHANNELS or any(len(name) > LONGEST_CHANNEL for name in names):
        said = _("At most %(channels)s channels, each of at most %(characters)s characters.")
        raise InvalidCell(said % {"channels": MAX_CHANNELS, "characters": LONGEST_CHANNEL})
    return list(dict.fromkeys(names))
