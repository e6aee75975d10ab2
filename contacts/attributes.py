"""Custom attributes: what an organization adds to its contacts, and what their values may be.

Values are stored by the id of their attribute, so those of a deleted one stay hidden, whatever is named like it later.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator, validate_email
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from contacts.models import AttributeType, CustomAttribute
from contacts.turns import take_turn
from linkit import phone
from linkit.errors import Conflict, InvalidInput, Missing
from linkit.models import Organization

MAX_ATTRIBUTES = 100  # live ones of an organization
MAX_TEXT, MAX_EMAIL, MAX_URL = 1000, 254, 2000
MAX_NUMBER = 10**15  # beyond it a double, which is what most clients have, is not exact any more
_LONGEST_NAME = 64
_LONGEST_NUMBER = 40  # characters of a number in a cell

Value = str | int | float | bool


class InvalidValue(InvalidInput):
    """Not a value of this attribute; the message says why."""

    reason = "invalid_attribute_value"


class AttributeExists(Conflict):
    """The organization has an attribute of this name."""


class TooManyAttributes(Conflict):
    """The organization has as many attributes as it may."""


# --- attributes ---------------------------------------------------------------------------------------------------


def live(organization: Organization | UUID) -> dict[str, CustomAttribute]:
    """Return the attributes of an organization, which an id may name, by their slug, oldest first."""
    found = CustomAttribute.objects.filter(organization=organization, deleted_at__isnull=True)
    return {attribute.name: attribute for attribute in found}


def find(*, organization: Organization, attribute_id: UUID) -> CustomAttribute:
    """Return an attribute that is not deleted. Raises `Missing`."""
    attribute = CustomAttribute.objects.filter(
        organization=organization, pk=attribute_id, deleted_at__isnull=True
    ).first()
    if attribute is None:
        raise _missing()
    return attribute


def create(*, organization: Organization, display_name: str, type: str, description: str = "") -> CustomAttribute:
    """Make an attribute, named by the slug of `display_name`.

    Raises `InvalidInput` when there is no slug in it, `AttributeExists`, and `TooManyAttributes`.
    """
    name = slug(display_name)
    attribute = CustomAttribute(
        organization=organization, name=name, display_name=display_name, description=description, type=type
    )
    try:
        with transaction.atomic():
            take_turn(organization)
            if len(live(organization)) >= MAX_ATTRIBUTES:
                raise TooManyAttributes(
                    _("There are %(count)s custom attributes already; delete one first.") % {"count": MAX_ATTRIBUTES}
                )
            attribute.save(force_insert=True)
    except IntegrityError:
        said = _("There is a custom attribute '%(name)s' already.") % {"name": name}
        raise AttributeExists(said) from None
    attribute.refresh_from_db(fields=["created_at"])
    return attribute


def change(*, attribute: CustomAttribute, description: str) -> CustomAttribute:
    """Describe an attribute anew; nothing else of it changes. Raises `Missing` once it is deleted."""
    _still_live(attribute, description=description, updated_at=Now())
    attribute.refresh_from_db()
    return attribute


def delete(*, attribute: CustomAttribute) -> None:
    """Hide an attribute and all its values, and free its name. Raises `Missing` when it is deleted already."""
    _still_live(attribute, deleted_at=Now(), updated_at=Now())


def _still_live(attribute: CustomAttribute, **changes: Any) -> None:
    if not CustomAttribute.objects.filter(pk=attribute.pk, deleted_at__isnull=True).update(**changes):
        raise _missing()


def _missing() -> Missing:
    return Missing(_("There is no such custom attribute."))


def slug(display_name: str) -> str:
    """Return the name for templates and the API: `Customer Age` is `customer_age`. Raises `InvalidInput`.

    Letters of other scripts are left out, not transliterated: there are several ways, and a template must say the
    same one. When only digits remain of a name in Arabic, they say nothing.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", display_name) if not unicodedata.combining(c)).casefold()
    found = re.sub("[^a-z0-9]+", "_", plain).strip("_")
    has_letters = any(character.isalpha() for character in plain)
    if not found or (has_letters and not re.search("[a-z]", found)):
        problem = _(
            "Write the display name in Latin letters, such as Customer Age: templates call the attribute by it."
        )
    elif len(found) > _LONGEST_NAME:
        problem = _("The display name is too long.")
    else:
        return found
    raise InvalidInput(problem, fields={"displayName": [problem]})


# --- values -------------------------------------------------------------------------------------------------------


def clean(attribute: CustomAttribute, value: object, *, region: str) -> Value:
    """Return `value`, as JSON has it, in the form in which it is stored; `region` is for phone numbers.

    Raises `InvalidValue`.
    """
    return _CHECKS[AttributeType(attribute.type)](value, region)


def from_text(attribute: CustomAttribute, text: str, *, region: str) -> Value:
    """Return the value that a cell of a spreadsheet stands for. Raises `InvalidValue`, also for an empty cell."""
    typed = text.strip()
    match attribute.type:
        case AttributeType.NUMBER:
            return clean(attribute, _number_in(typed), region=region)
        case AttributeType.BOOLEAN:
            if typed.casefold() not in _TRUTH:
                raise InvalidValue(_("This must be yes or no."))
            return _TRUTH[typed.casefold()]
        case AttributeType.DATE:
            return clean(attribute, _ascii_digits(typed), region=region)
    if not typed:
        raise InvalidValue(_("This is empty."))
    return clean(attribute, typed, region=region)


def _text(value: object, region: str) -> str:
    text = _string(value)
    if len(text) > MAX_TEXT:
        raise InvalidValue(_("This has more than %(count)s characters.") % {"count": f"{MAX_TEXT:,}"})
    return text


def _number(value: object, region: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue(_("This must be a number."))
    if not abs(value) < MAX_NUMBER:  # also infinity, and what is no number at all
        raise InvalidValue(
            _("This number is too large: at most 15 digits. Keep longer ones, which count nothing, as text.")
        )
    return value


def _boolean(value: object, region: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(_("This must be true or false."))
    return value


def _date(value: object, region: str) -> str:
    text = _string(value)
    # The library takes other ISO forms too, and digits of any script.
    if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise InvalidValue(_("There is no such day.")) from None
    raise InvalidValue(_("Write the date as YYYY-MM-DD."))


def _phone_number(value: object, region: str) -> str:
    try:
        return phone.parse_mobile(_string(value), region=region)
    except phone.InvalidNumber as error:
        raise InvalidValue(error.message) from None


def _email(value: object, region: str) -> str:
    text = _string(value).strip()
    try:
        validate_email(text)
    except ValidationError:
        raise InvalidValue(_("This is not an e-mail address.")) from None
    if len(text) > MAX_EMAIL:
        raise InvalidValue(_("This e-mail address is too long."))
    return text


_validate_url = URLValidator(schemes=["http", "https"])


def _url(value: object, region: str) -> str:
    text = _string(value).strip()
    try:
        if len(text) <= MAX_URL:
            _validate_url(text)
            return text
    except ValidationError:
        raise InvalidValue(_("This is not a URL that begins with http:// or https://.")) from None
    raise InvalidValue(_("This URL is too long."))


_CHECKS: Mapping[AttributeType, Callable[[object, str], Value]] = {
    AttributeType.TEXT: _text,
    AttributeType.NUMBER: _number,
    AttributeType.BOOLEAN: _boolean,
    AttributeType.DATE: _date,
    AttributeType.PHONE_NUMBER: _phone_number,
    AttributeType.EMAIL: _email,
    AttributeType.URL: _url,
}


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValue(_("This must be text."))
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidValue(_("This holds a NUL or half a surrogate pair."))
    return value


# What spreadsheets and people write, in English and Arabic.
_TRUTH = {
    **dict.fromkeys(("true", "yes", "y", "1", "نعم", "صح", "صحيح"), True),
    **dict.fromkeys(("false", "no", "n", "0", "لا", "خطأ"), False),
}


def _number_in(text: str) -> object:
    """Return the number in a cell, and for anything else what `clean` refuses."""
    plain = _ascii_digits(text).replace("٫", ".").replace("٬", "").removeprefix("+")
    # Commas only where they part thousands: as a decimal point they would make 1,5 a 15.
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", plain):
        plain = plain.replace(",", "")
    if len(plain) > _LONGEST_NUMBER or not re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?", plain, re.ASCII):
        return text
    return float(plain) if re.search("[.eE]", plain) else int(plain)


def _ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.digit(c)) if unicodedata.category(c) == "Nd" else c for c in text)
