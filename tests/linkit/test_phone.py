"""Phone numbers as people type them, and the one form that is stored."""

import re

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkit.phone import InvalidNumber, msisdn, parse_mobile

SAUDI = "+966501234567"
LEFT_TO_RIGHT, RIGHT_TO_LEFT, EMBED, POP, NO_BREAK, BOM = "\u200e", "\u200f", "\u202a", "\u202c", "\u00a0", "\ufeff"


@pytest.mark.parametrize(
    "typed",
    [
        "966501234567",
        "+966501234567",
        "+966 50 123 4567",
        "00966501234567",
        "00966 50 123 4567",
        "0501234567",
        "501234567",
        "050 123 4567",
        "050-123-4567",
        "(050) 123-4567",
        "(050)123.4567",
        "+966 (50) 123-4567",
        "+966 (0) 50 123 4567",
        "  0501234567  ",
        "\t0501234567\n",
        "+966-50-123-4567",
        "٠٥٠١٢٣٤٥٦٧",
        "٩٦٦٥٠١٢٣٤٥٦٧",
        "+٩٦٦٥٠١٢٣٤٥٦٧",
        "٠٠٩٦٦٥٠١٢٣٤٥٦٧",
        "۰۵۰۱۲۳۴۵۶۷",
        "+۹۶۶ ۵۰ ۱۲۳ ۴۵۶۷",
        "０５０１２３４５６７",
        "＋966501234567",
        "＋９６６５０１２３４５６７",
        f"{LEFT_TO_RIGHT}+966501234567{LEFT_TO_RIGHT}",
        f"{RIGHT_TO_LEFT}0501234567",
        f"{EMBED}+966 50 123 4567{POP}",
        f"+966{NO_BREAK}50{NO_BREAK}123{NO_BREAK}4567",
        f"{BOM}0501234567",
        "050–123–4567",  # en dashes
        "050‑123‑4567",  # no-break hyphens
        "050\u2009123\u20094567",  # thin spaces
    ],
)
def test_every_way_to_write_it_is_the_same_number(typed: str):
    assert parse_mobile(typed, region="SA") == SAUDI


@pytest.mark.parametrize(
    ("typed", "region", "expected"),
    [
        ("01001234567", "EG", "+201001234567"),
        ("1001234567", "EG", "+201001234567"),
        ("201001234567", "EG", "+201001234567"),
        ("966501234567", "EG", SAUDI),
        ("+966501234567", "EG", SAUDI),
        ("00966501234567", "EG", SAUDI),
        ("0501234567", "AE", "+971501234567"),
        ("971501234567", "SA", "+971501234567"),
        ("966501234567", "AE", SAUDI),
        ("(415) 555-2671", "US", "+14155552671"),
        ("4155552671", "US", "+14155552671"),
        ("14155552671", "US", "+14155552671"),
        ("+1 415-555-2671", "SA", "+14155552671"),
        ("0014155552671", "SA", "+14155552671"),
        ("966501234567", "US", SAUDI),
        ("00966501234567", "US", SAUDI),  # 00 means abroad wherever the organization is
        ("07400123456", "GB", "+447400123456"),
        ("+447400123456", "SA", "+447400123456"),
        ("+393123456789", "SA", "+393123456789"),
    ],
)
def test_a_national_number_belongs_to_the_region(typed: str, region: str, expected: str):
    assert parse_mobile(typed, region=region) == expected


@pytest.mark.parametrize(
    "typed",
    [
        "+966112345678",  # a landline in Riyadh
        "0112345678",
        "+9668001234567",  # toll free
        "+966920012345",  # a company's national number
        "+442071838750",  # a landline in London
        "+18005550199",
    ],
)
def test_a_number_that_is_no_mobile_is_refused(typed: str):
    with pytest.raises(InvalidNumber):
        parse_mobile(typed, region="SA")


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("+96650123456", "short"),
        ("05012", "short"),
        ("050123456", "No operator"),
        ("+96650123456789", "long"),
        ("+9665012345678", "No operator"),  # toll free numbers have ten digits
        ("+966112345678", "mobile"),
        ("", "empty"),
        ("   ", "empty"),
        (RIGHT_TO_LEFT, "empty"),
        ("abc", "digits"),
        ("9.66E+11", "digits"),
    ],
)
def test_the_reason_is_said(typed: str, word: str):
    with pytest.raises(InvalidNumber, match=word):
        parse_mobile(typed, region="SA")


@pytest.mark.parametrize(
    "typed",
    [
        "+",
        "++966501234567",
        "+966+501234567",
        "00",
        "0",
        "123",
        "+00966501234567",
        "+999501234567",  # no such country
        "+0501234567",
        "966501234567890123",
        "5" * 41,
        "5" * 10_000,
        "0501234567;0501234568",
        "0501234567,0501234568",
        "0501234567/0501234568",
        "0501234567 0501234568",
        "0501234567 ext 5",
        "0501234567x5",
        "+966501234567;ext=5",
        "tel:+966501234567",
        "0501234567a",
        "O501234567",  # the letter O
        "1-800-FLOWERS",
        "\x00",
        "0501234567\x00",
        "050\x00123\x004567",
        "9.66E+11",
        "9.66501234567E+11",
        "9,66501E+11",
        "#501234567",
        "*501234567",
        "'0501234567",
        "=0501234567",
        "²²²",
        "½",
        "五〇一二三四五六七",
        "\ud800",
        "😀",
        "null",
        "966501234567.0",
        "+966 50 123 4567 (Amal)",
    ],
    ids=ascii,
)
def test_anything_else_is_refused(typed: str):
    with pytest.raises(InvalidNumber):
        parse_mobile(typed, region="SA")


@pytest.mark.parametrize(
    "typed",
    [
        "50123456.0",  # with its zero it would be a digit longer, and a number
        "050123456.0",
        "+96650123456.0",
        "966501234567.0",
        "966501234567.00",
        "50123456,0",
        "50 123 456.0",
        "٥٠١٢٣٤٥٦٫٠",
        "٥٠١٢٣٤٥٦.٠",
        "9.66E+11",
        "9.66501234567E+11",
        "9,66501E+11",
        "9.66501e11",
        "966E+9",
        "٩٫٦٦E+١١",
    ],
)
def test_an_amount_from_a_spreadsheet_is_no_number(typed: str):
    with pytest.raises(InvalidNumber, match=r"This is not a phone number: .*Format the column as text") as caught:
        parse_mobile(typed, region="SA")
    assert caught.value.reason == "invalid_recipient"


@pytest.mark.parametrize("typed", ["050.123.4567", "050.1234.567", "0501234567.", "050123.4567", "+966.501.234.567"])
def test_a_number_written_with_dots_is_no_amount(typed: str):
    assert parse_mobile(typed, region="SA") == SAUDI


@pytest.mark.parametrize("typed", ["2626262626", "\u0968" * 10, "7\ud8007"], ids=ascii)
def test_a_refusal_does_not_repeat_what_was_typed(typed: str):
    with pytest.raises(InvalidNumber) as caught:
        parse_mobile(typed, region="SA")
    assert typed not in caught.value.message


def test_bare_digits_for_providers():
    assert msisdn(SAUDI) == "966501234567"


TYPED = st.text(alphabet="0123456789+-() ./٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹\u200e\u200f\u00a0＋eExX;,#*aA\x00\ud800\n", max_size=24)
REGIONS = st.sampled_from(["SA", "EG", "US", "AE", "GB", "IT", "AR", "MX", "BR", "DE", "KZ", "SM"])


@given(st.one_of(TYPED, st.text(max_size=50)), REGIONS)
@example("+549 11 2345-6789", "AR")
def test_nothing_but_an_invalid_number_is_ever_raised(typed: str, region: str):
    try:
        found = parse_mobile(typed, region=region)
    except InvalidNumber:
        return
    assert re.fullmatch(r"\+[1-9][0-9]{6,14}", found)


@st.composite
def _valid(draw: st.DrawFn) -> tuple[str, str]:
    """Return something near a number that exists, and a region."""
    region = draw(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
    sample = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if sample is None:
        return "+966501234567", region
    written = draw(
        st.sampled_from(
            [
                phonenumbers.format_number(sample, phonenumbers.PhoneNumberFormat.E164),
                phonenumbers.format_number(sample, phonenumbers.PhoneNumberFormat.INTERNATIONAL),
                phonenumbers.format_number(sample, phonenumbers.PhoneNumberFormat.NATIONAL),
            ]
        )
    )
    return written, draw(st.sampled_from([region, "SA", "EG", "US"]))


@given(_valid())
def test_what_is_stored_reads_as_itself(given_number: tuple[str, str]):
    typed, region = given_number
    try:
        stored = parse_mobile(typed, region=region)
    except InvalidNumber:
        return
    for anywhere in (region, "SA", "US", "EG"):
        assert parse_mobile(stored, region=anywhere) == stored
        assert parse_mobile("00" + msisdn(stored), region=anywhere) == stored


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_the_example_of_every_country_can_be_sent_to_from_abroad(region: str):
    sample = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if sample is None:
        return  # a territory without mobile numbers of its own
    written = phonenumbers.format_number(sample, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    assert parse_mobile(written, region="SA") == phonenumbers.format_number(sample, phonenumbers.PhoneNumberFormat.E164)
