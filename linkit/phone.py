"""Phone numbers: from what people type to E.164, the one form we store."""

import functools
import re
import unicodedata
from collections.abc import Callable

import phonenumbers
from django.utils.translation import gettext as _
from phonenumbers import PhoneMetadata, PhoneNumberDesc, PhoneNumberFormat, PhoneNumberType

from linkit.errors import InvalidInput

_MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
_TYPED = re.compile(r"^\+?[\d\s().\-/]+$")
_MAX_TYPED = 40
# The kinds that `phonenumbers.number_type` tries before mobile.
_BEFORE_MOBILE = (
    "premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail"
)  # fmt: skip
# What a spreadsheet makes of a number when it takes it for an amount: 966501234567.0 and 9.66501E+11.
_AMOUNT = re.compile(r"[+-]?\d+(?:[.,٫]0+|(?:[.,٫]\d+)?E[+-]?\d+)", re.IGNORECASE)
# Not the dot, lest a zero behind it become a digit of the number.
_SEPARATORS = str.maketrans("", "", " -()")


class InvalidNumber(InvalidInput):
    """Not a number that can receive an SMS; the message says why."""

    reason = "invalid_recipient"


def parse_mobile(typed: str, *, region: str) -> str:
    """Return `typed` in E.164, such as `+966501234567`.

    Takes national form in `region`, international form with `+`, `00` or neither, spaces and punctuation, hidden
    direction marks, and digits of any script. Raises `InvalidNumber`.
    """
    # Nearly every row of a file is plain digits, so that is tried before anything is cleaned.
    if found := _usual(typed, region):
        return found
    text = _clean(typed)
    return _usual(_unseparated(text), region) or _judge(text, region)


def msisdn(recipient: str) -> str:
    """Return an E.164 number as bare digits, as most providers want it."""
    return recipient.removeprefix("+")


def _judge(text: str, region: str) -> str:
    """Return what `phonenumbers` makes of a cleaned text, or say what is wrong with it."""
    if not text:
        raise InvalidNumber(_("The number is empty."))
    if _AMOUNT.fullmatch(text.replace(" ", "")):
        raise InvalidNumber(
            _(
                "This is not a phone number: a spreadsheet rewrote its digits. Format the column as text and fill it"
                " again."
            )
        )
    if len(text) > _MAX_TYPED or not _TYPED.match(text):
        raise InvalidNumber(_("This is not a phone number: write digits only, such as +966501234567."))
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


def _clean(typed: str) -> str:
    """Return `typed` without hidden marks, its digits in ASCII."""
    if typed.isascii():
        return typed.strip()
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


def _unseparated(text: str) -> str:
    """Return a cleaned text without spaces, dashes and brackets, or as it is if that would make it another form.

    `0 0966…` is national and `00 966…` is not; `(+966)` is refused; too much of it is no number at all.
    """
    bare = text.translate(_SEPARATORS)
    is_same_form = text.startswith("+") == bare.startswith("+") and text.startswith("00") == bare.startswith("00")
    return bare if is_same_form and len(text) <= _MAX_TYPED else text


def _parse(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _check(number: phonenumbers.PhoneNumber | None, region: str | None = None) -> str:
    if number is None:
        if region:
            text = _("This is not a phone number in %(region)s, nor with a country code.")
            raise InvalidNumber(text % {"region": region})
        raise InvalidNumber(_("This is not a phone number."))
    if not phonenumbers.is_valid_number(number):
        match phonenumbers.is_possible_number_with_reason(number):
            case phonenumbers.ValidationResult.TOO_SHORT:
                raise InvalidNumber(_("The number is too short."))
            case phonenumbers.ValidationResult.TOO_LONG:
                raise InvalidNumber(_("The number is too long."))
        if region:
            text = _("No operator has numbers like this in %(region)s, nor with a country code.")
            raise InvalidNumber(text % {"region": region})
        raise InvalidNumber(_("No operator has numbers like this."))
    if phonenumbers.number_type(number) not in _MOBILE:
        raise InvalidNumber(_("This is not a mobile number."))
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _usual(text: str, region: str) -> str | None:
    """Return the number in E.164 if `text` is a mobile number of `region` in a usual form. None decides nothing.

    `_judge` would say the same in some 30 times the time, which is most of what a row of a file costs.
    """
    plus_code, fullmatch = _usual_forms(region)
    match = fullmatch(text)
    return plus_code + match["number"] if match else None


@functools.cache
def _usual_forms(region: str) -> tuple[str, Callable[[str], re.Match[str] | None]]:
    """Return `+` with the calling code of `region`, and what matches the usual forms of its mobile numbers.

    That is one regular expression, put together from the metadata and the rules of `phonenumbers`. It is narrow:
    wherever `phonenumbers` could find a second meaning in a text, the expression does not match.
    """
    plan = PhoneMetadata.metadata_for_region(region)
    if plan is None or plan.general_desc is None:
        return "", re.compile("(?!)").fullmatch  # no such region
    code = phonenumbers.country_code_for_region(region)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]
    # Of the regions behind one calling code, the first that claims a number has it and says what kind it is.
    mobile = "(?!)"
    for member in reversed([found for each in regions if (found := PhoneMetadata.metadata_for_region(each))]):
        mobile = f"(?:{_mobile(member)}|(?!{_claim(member)}){mobile})"
    main = PhoneMetadata.metadata_for_region(regions[0]) or plan
    # Bare digits are first tried as a call abroad, then as a national number that may begin with the calling code.
    home = [rf"(?!(?:{plan.general_desc.national_number_pattern})\Z){code}", ""]
    # A prefix that is a plain string and the first to be tried is taken off as it is; others may rewrite the number.
    prefix, parsed = plan.national_prefix, plan.national_prefix_for_parsing
    if prefix and parsed and prefix.isdigit() and (parsed == prefix or parsed.startswith(prefix + "|")):
        home.append(f"(?!{code}){prefix}")
    form = (
        rf"(?:(?:\+|00){code}"
        rf"|(?!00){_unless(plan.international_prefix)}(?:{'|'.join(home)})"
        rf"{_unless(parsed)}(?={_numbers(plan.general_desc)}))"
        rf"{_unless(main.national_prefix_for_parsing)}(?P<number>{mobile})"
    )
    return f"+{code}", re.compile(form, re.ASCII).fullmatch


def _mobile(plan: PhoneMetadata) -> str:
    """Return the pattern of the numbers of one region that `phonenumbers.number_type` calls mobile, or either."""
    other = _numbers(*(getattr(plan, kind) for kind in _BEFORE_MOBILE))
    leading = f"(?={plan.leading_digits})" if plan.leading_digits else ""
    return f"{leading}(?={_numbers(plan.general_desc)})(?!{other}){_numbers(plan.mobile)}"


def _claim(plan: PhoneMetadata) -> str:
    """Return the pattern of the numbers that a region takes from those behind it with the same calling code."""
    if plan.leading_digits:
        return plan.leading_digits
    kinds = (*_BEFORE_MOBILE, "fixed_line", "mobile")
    return f"(?={_numbers(plan.general_desc)}){_numbers(*(getattr(plan, kind) for kind in kinds))}"


def _numbers(*descriptions: PhoneNumberDesc | None) -> str:
    """Return the pattern that matches, up to the end of the text, what any of the descriptions does."""
    patterns = []
    for description in descriptions:
        if description is not None and description.national_number_pattern:
            lengths = "|".join(rf"\d{{{length}}}" for length in description.possible_length)
            patterns.append(rf"(?=(?:{description.national_number_pattern})\Z)(?:{lengths})\Z")
    return f"(?:{'|'.join(patterns)})" if patterns else "(?!)"


def _unless(pattern: str | None) -> str:
    return f"(?!{pattern})" if pattern else ""
