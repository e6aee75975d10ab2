"""The regular expressions that recognize usual numbers, against `phonenumbers`, which stays the judge."""

from __future__ import annotations

import random
from collections.abc import Iterator

import phonenumbers
import pytest
from phonenumbers import PhoneNumberType

from linkit.phone import InvalidNumber, _clean, _judge, _unseparated, _usual, parse_mobile

# The Gulf and the Maghreb; calling codes that regions share (US, GB, RU, IT, MA, NO, AU and others); and plans with
# rules of their own: prefixes that rewrite the number (AR, BR, CO, GG, AU, SM), several (GB, CN, KR), none (KW),
# calling codes that begin a national number (DE), mobile numbers that begin with 00 (TJ).
REGIONS = [
    *("SA", "AE", "EG", "KW", "QA", "BH", "OM", "YE", "JO", "LB", "IQ", "MA", "EH", "DZ", "TN", "US", "CA", "DO", "VI"),
    *("GB", "GG", "DE", "FR", "IT", "VA", "SM", "TR", "RU", "KZ", "IN", "PK", "BR", "AR", "MX", "NG", "CN", "SG", "AU"),
    *("NO", "KR", "CO", "TJ"),
]
STRINGS_A_REGION = 1800  # 75,600 in all
OTHER_SCRIPTS = [str.maketrans("0123456789", digits) for digits in ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९")]


def strings(region: str, *, count: int = STRINGS_A_REGION, seed: int = 0) -> Iterator[str]:
    """Yield numbers as people of `region` might write them, most of them near a number that exists."""
    dice = random.Random(f"{region} {seed}")
    prefix = phonenumbers.ndd_prefix_for_region(region, True) or "0"
    samples = _samples(region)
    for _ in range(count):
        sample = samples[0] if dice.random() < 0.7 else dice.choice(samples)
        code, digits = str(sample.country_code), phonenumbers.national_significant_number(sample)
        digits = _another(digits, dice)
        usual = ["+" + code, "00" + code, code, prefix, ""]
        twice = [prefix * 2, code * 2, "+" + code + prefix, code + prefix, "00" + code + prefix, "0" + code]
        wrong = ["0", "8", "1", "011" + code, "810" + code, "0011" + code, "001", "+", "00", "0 0" + code, "+00" + code]
        form = dice.choice(usual * 3 + twice + wrong)
        yield _decorated(form + digits, dice)


def _samples(region: str) -> list[phonenumbers.PhoneNumber]:
    """Return the example of a mobile number in `region`, then those of other kinds and of other regions."""
    wanted = [(region, kind) for kind in (PhoneNumberType.MOBILE, *PhoneNumberType.values())]
    wanted += [(other, PhoneNumberType.MOBILE) for other in REGIONS]
    return [found for where, kind in wanted if (found := phonenumbers.example_number_for_type(where, kind))]


def _another(digits: str, dice: random.Random) -> str:
    """Return a number with the first digits of the given one, or a digit more or less, or any number."""
    match dice.randrange(10):
        case 0:
            return digits
        case 1:  # a digit less
            return digits[:-1]
        case 2:  # a digit more
            return digits + dice.choice("0123456789")
        case 3:  # one digit is another
            place = dice.randrange(len(digits))
            return digits[:place] + dice.choice("0123456789") + digits[place + 1 :]
        case 4:
            return _any_digits(dice.randrange(4, 14), dice)
    kept = dice.randrange(1, 5)
    return digits[:kept] + _any_digits(len(digits) - kept, dice)


def _any_digits(length: int, dice: random.Random) -> str:
    return "".join(dice.choices("0123456789", k=length))


def _decorated(text: str, dice: random.Random) -> str:
    match dice.randrange(20):
        case 0:
            return text.translate(dice.choice(OTHER_SCRIPTS))
        case 1 | 2 | 3:
            for place in sorted(dice.sample(range(len(text) + 1), k=min(3, len(text))), reverse=True):
                text = text[:place] + dice.choice(" -()./\t\u00a0\u200f–") + text[place:]
        case 4:
            return text + dice.choice([".0", ".00", ",0", "E+11", " ", "\n", ".", "x", "+", "\u200e", "-" * 30])
        case 5:  # the digits of one number in two scripts
            at = dice.randrange(len(text) + 1)
            return text[:at] + text[at:].translate(dice.choice(OTHER_SCRIPTS))
        case 6:
            return f"({text[:3]}) {text[3:6]}-{text[6:]}"
    return text


def _answer(text: str, region: str, *, by_judge: bool = False) -> str:
    try:
        return _judge(_clean(text), region) if by_judge else parse_mobile(text, region=region)
    except InvalidNumber as refusal:
        return f"{refusal.reason}: {refusal.message}"


def differences(region: str, *, seed: int = 0, count: int = STRINGS_A_REGION) -> list[str]:
    """Return the texts that are answered, or refused, in other words than those of the judge."""
    return [
        text
        for text in strings(region, seed=seed, count=count)
        if _answer(text, region) != _answer(text, region, by_judge=True)
    ]


@pytest.mark.parametrize("count", [STRINGS_A_REGION // 3, pytest.param(STRINGS_A_REGION, marks=pytest.mark.soak)])
@pytest.mark.parametrize("region", REGIONS)
def test_the_answer_is_that_of_the_judge(region: str, count: int):
    assert differences(region, count=count) == []


@pytest.mark.parametrize(
    ("typed", "region", "expected"),
    [
        ("966501234567", "SA", "+966501234567"),
        ("+966501234567", "SA", "+966501234567"),
        ("00966501234567", "SA", "+966501234567"),
        ("0501234567", "SA", "+966501234567"),
        ("501234567", "SA", "+966501234567"),
        ("01001234567", "EG", "+201001234567"),
        ("0501234567", "AE", "+971501234567"),
        ("50012345", "KW", "+96550012345"),
        ("14155552671", "US", "+14155552671"),
        ("4155552671", "US", "+14155552671"),
        ("16045551234", "US", "+16045551234"),  # a Canadian number
        ("07400123456", "GB", "+447400123456"),
        ("+447781123456", "GB", "+447781123456"),  # of Guernsey
        ("89123456789", "RU", "+79123456789"),
        ("87710009998", "KZ", "+77710009998"),
        ("3123456789", "IT", "+393123456789"),
    ],
)
def test_a_usual_form_needs_no_judge(typed: str, region: str, expected: str):
    assert _usual(typed, region) == expected


@pytest.mark.parametrize(
    "typed",
    ["050 123 4567", "(050) 123-4567", "+966 50 123 4567", "00966-501234567", "٠٥٠ ١٢٣ ٤٥٦٧", "\u200e0501234567"],
)
def test_a_number_written_for_people_needs_no_judge_either(typed: str):
    assert _usual(_unseparated(_clean(typed)), "SA") == "+966501234567"


@pytest.mark.parametrize("region", ["ZZ", "sa", "001", ""])
def test_a_region_that_does_not_exist_is_left_to_the_judge(region: str):
    assert _usual("0501234567", region) is None
    assert parse_mobile("+966501234567", region=region) == "+966501234567"
    with pytest.raises(InvalidNumber):
        parse_mobile("0501234567", region=region)


@pytest.mark.parametrize("typed", ["0501234567\n0", "0501234567\n", "0501234567 ", "٠٥٠١٢٣٤٥٦٧", "0501234567."])
def test_only_a_whole_text_in_plain_digits_is_matched(typed: str):
    assert _usual(typed, "SA") is None
