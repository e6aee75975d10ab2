"""Phone numbers: from what people type to E.164, the one form we store."""

import re
import unicodedata

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from linkit.errors import InvalidInput

_MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
_TYPED = re.compile(r"^\+?[\d\s().\-/]+$")
_MAX_TYPED = 40


class InvalidNumber(InvalidInput):
    """Not a number that can receive an SMS; the message says why."""

    reason = "invalid_recipient"


def parse_mobile(typed: str, *, region: str) -> str:
    """Return `typed` in E.164, such as `+966501234567`.

    Takes national form in `region`, international form with `+`, `00` or neither, spaces and punctuation, hidden
    direction marks, and digits of any script. Raises `InvalidNumber`.
    """
    text = _clean(typed)
    if not text:
        raise InvalidNumber("The number is empty.")
    if len(text) > _MAX_TYPED or not _TYPED.match(text):
        raise InvalidNumber("This is not a phone number: write digits only, such as +966501234567.")
    if text.startswith("00"):
        text = "+" + text[2:]
    if text.startswith("+"):
        return _check(_parse(text, None))
    national = _parse(text, region)
    if national is not None and phonenumbers.is_valid_number(national):
        return _check(national)
    # The country code without a plus, as 966501234567.
    international = _parse("+" + text, None)
    if international is not None and phonenumbers.is_valid_number(international):
        return _check(international)
    return _check(national, region)


def msisdn(recipient: str) -> str:
    """Return an E.164 number as bare digits, as most providers want it."""
    return recipient.removeprefix("+")


def _clean(typed: str) -> str:
    """Return `typed` without hidden marks, its digits in ASCII."""
    kept = []
    for character in typed:
        category = unicodedata.category(character)
        if category == "Nd":
            kept.append(str(unicodedata.digit(character)))
        elif category == "Pd":
            kept.append("-")
        elif category == "Zs":
            kept.append(" ")
        elif character == "\uff0b":  # the full-width plus
            kept.append("+")
        elif category != "Cf":  # direction marks and joiners, which come along when a number is copied
            kept.append(character)
    return "".join(kept).strip()


def _parse(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _check(number: phonenumbers.PhoneNumber | None, region: str | None = None) -> str:
    hint = f" in {region}, nor with a country code" if region else ""
    if number is None:
        raise InvalidNumber(f"This is not a phone number{hint}.")
    if not phonenumbers.is_valid_number(number):
        match phonenumbers.is_possible_number_with_reason(number):
            case phonenumbers.ValidationResult.TOO_SHORT:
                raise InvalidNumber("The number is too short.")
            case phonenumbers.ValidationResult.TOO_LONG:
                raise InvalidNumber("The number is too long.")
        raise InvalidNumber(f"No operator has numbers like this{hint}.")
    if phonenumbers.number_type(number) not in _MOBILE:
        raise InvalidNumber("This is not a mobile number.")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)
