"""One row: the message that it makes, the repairs that are shown, and every error that it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from linkit.encoding import Encoding
from outbox.bulk.columns import Columns
from outbox.bulk.rows import RowChecker, RowError, ValidRow
from sms_providers.adapters.msegat import MsegatSms
from sms_providers.adapters.sandbox import SandboxSms

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
COLUMNS = Columns(mobile=0, message=1, sender=2, datetime=3, unknown=())


def checker(region: str = "SA") -> RowChecker:
    return RowChecker(COLUMNS, region=region, time_zone="Asia/Riyadh", now=NOW, adapter=SandboxSms)


def valid(mobile: str = "0501234567", text: str = "Hello", sender: str = "", moment: str = "") -> ValidRow:
    checked = checker().check(2, [mobile, text, sender, moment])
    assert isinstance(checked, ValidRow), checked
    return checked


def wrong(mobile: str = "0501234567", text: str = "Hello", sender: str = "", moment: str = "") -> list[RowError]:
    checked = checker().check(2, [mobile, text, sender, moment])
    assert isinstance(checked, list), checked
    return checked


def test_a_row_becomes_a_message():
    assert valid("0501234567", "Hello", " MyBrand ", "") == ValidRow(
        2, "+966501234567", "0501234567", "Hello", Encoding.GSM7, 1, "MyBrand", None, ()
    )


@pytest.mark.parametrize(
    ("typed", "repairs"),
    [
        ("966501234567", ()),
        ("+966501234567", ()),
        ("0501234567", ()),
        ("501234567", ("lost_zero",)),
        ("00966501234567", ("leading_00",)),
        ("050 123-4567", ("spaces_or_punctuation",)),
        (" +966501234567 ", ("spaces_or_punctuation",)),
        ("\u200e+966501234567\u202c", ("hidden_marks",)),
        ("٠٥٠١٢٣٤٥٦٧", ("other_digits",)),
        ("٥٠ ١٢٣ ٤٥٦٧", ("other_digits", "spaces_or_punctuation", "lost_zero")),
        ("'0501234567", ("spreadsheet_quotes",)),
        ('="501234567"', ("spreadsheet_quotes", "lost_zero")),
        ("966501234567.0", ("decimal_point",)),
    ],
)
def test_a_number_is_mended_where_that_is_safe_and_the_repair_is_named(typed: str, repairs: tuple[str, ...]):
    row = valid(typed)
    assert (row.recipient, row.typed, row.repairs) == ("+966501234567", typed, repairs)


@pytest.mark.parametrize("typed", ["9.66501E+11", "9,66501E+11", "9.66E+11", " 9.66501234567e+11 ", "9E11"])
def test_a_number_that_a_spreadsheet_has_shortened_is_refused_with_advice(typed: str):
    (error,) = wrong(typed)
    assert (error.column, error.value, error.reason) == ("mobile", typed, "invalid_recipient")
    assert "Format the column as text" in error.message


def test_a_number_of_a_region_without_a_trunk_zero_has_not_lost_one():
    checked = checker("KW").check(2, ["50012345", "Hello", "", ""])
    assert isinstance(checked, ValidRow) and checked.repairs == ()


@pytest.mark.parametrize("typed", ["", "  ", "12", "0111234567", "hello", "=1+1", "0501234567;0501234568", "\x00"])
def test_what_is_no_mobile_number_is_an_error(typed: str):
    (error,) = wrong(typed)
    assert (error.row, error.column, error.mobile) == (2, "mobile", typed)
    assert error.message


def test_every_error_of_a_row_is_told():
    errors = wrong("12", " ", "x" * 21, "yesterday")
    assert [(error.column, error.reason) for error in errors] == [
        ("mobile", "invalid_recipient"),
        ("message", "invalid_text"),
        ("sender", "invalid_sender"),
        ("datetime", "invalid_datetime"),
    ]


@pytest.mark.parametrize("text", ["", " \n", "x" * 1601, "م" * 671, "a\x00b"])
def test_a_text_that_cannot_be_sent_is_an_error(text: str):
    (error,) = wrong(text=text)
    assert (error.column, error.reason) == ("message", "invalid_text")


def test_line_breaks_of_a_cell_are_sent_as_one_character():
    row = valid(text="One\r\nTwo\nThree")
    assert row.text == "One\nTwo\nThree"


def test_a_formula_in_a_csv_is_text():
    assert valid(text="=HYPERLINK(1)").text == "=HYPERLINK(1)"


@pytest.mark.parametrize("sender", ["a\nb", "a\u202eb", "x" * 21])
def test_a_sender_that_no_app_takes_is_an_error(sender: str):
    (error,) = wrong(sender=sender)
    assert (error.column, error.reason) == ("sender", "invalid_sender")


def test_a_sender_has_to_fit_the_rule_of_its_app():
    own = RowChecker(COLUMNS, region="SA", time_zone="UTC", now=NOW, adapter=MsegatSms)
    checked = own.check(2, ["0501234567", "Hello", "Far Too Long A Sender"[:20], ""])
    assert isinstance(checked, list)
    assert "takes another kind of sender ID" in checked[0].message


@pytest.mark.parametrize(
    ("written", "due_at"),
    [
        ("", None),
        ("2026-11-26 12:30", datetime(2026, 11, 26, 9, 30, tzinfo=UTC)),  # in Riyadh
        ("2026-11-26T09:30:00Z", datetime(2026, 11, 26, 9, 30, tzinfo=UTC)),
        ("2026-11-26T08:56:00Z", None),  # up to five minutes past is now
    ],
)
def test_a_time_is_read_as_the_other_doors_read_it(written: str, due_at: datetime | None):
    assert valid(moment=written).due_at == due_at


@pytest.mark.parametrize(
    "written", ["2026-11-26T08:54:00Z", "2028-01-01T00:00:00Z", "26/11/2026", "soon", "2026-02-30 10:00"]
)
def test_a_time_that_is_past_or_no_time_is_an_error(written: str):
    (error,) = wrong(moment=written)
    assert (error.column, error.reason, error.value) == ("datetime", "invalid_datetime", written)
    assert not error.message.startswith("datetime:")


def test_what_the_reader_says_of_a_row_is_an_error():
    checked = checker().check(2, ["0501234567", "Hello", "", ""], "A quote stands alone.")
    assert isinstance(checked, list)
    assert [(error.column, error.reason, error.message) for error in checked] == [
        ("", "malformed_row", "A quote stands alone.")
    ]


def test_the_same_file_gives_the_same_rows_whenever_it_is_read():
    moment = (NOW + timedelta(minutes=1)).isoformat()
    assert valid(moment=moment) == valid(moment=moment)


def test_no_more_of_a_huge_cell_is_kept_than_is_shown():
    (error,) = wrong("1" * 30_000)
    assert (len(error.mobile), len(error.value)) == (64, 200)
    assert len(valid("\u200e" * 5_000 + "0501234567").typed) == 64
