import pytest

from outbox.bulk.columns import Columns, find, recognized
from outbox.bulk.unreadable import UnreadableFile


@pytest.mark.parametrize(
    "header",
    [
        ["mobile", "message", "sender", "datetime"],
        ["Phone Number", "TEXT", "Sender ID", "Send at"],
        ["phone_number", "sms-text", "sender.name", "scheduled_at"],
        ["\u200fMSISDN\u200e", " Body ", "From", "Schedule"],
        ["ＭＯＢＩＬＥ", "message*", "sender", "date"],
        ["الجوال", "الرسالة", "المرسل", "التاريخ"],
        ["رقم الجوال", "نص الرسالة", "اسم المرسل", "وقت الإرسال"],
        ["رقم_الهاتف", "نصّ الرِسالة", "المـــرسل", "موعد الارسال"],
        ["رقم المستلم", "الرساله", "إسم المرسل", "تاريخ الأرسال"],
        ["الموبايل", "المحتوى", "المرسل", "الوقت"],
    ],
)
def test_columns_are_known_by_their_everyday_names(header):
    assert find(header) == Columns(0, 1, 2, 3, ())
    assert recognized(header) == 4


def test_columns_come_in_any_order_and_only_two_are_needed():
    assert find(["message", "", "mobile"]) == Columns(mobile=2, message=0, sender=None, datetime=None, unknown=())


def test_names_that_are_not_known_are_listed_as_written():
    assert find(["mobile", " Branch ", "message", "الفرع"]).unknown == ("Branch", "الفرع")


@pytest.mark.parametrize("header", [["mobile", "message", "mobile"], ["mobile", "message", "Phone"], ["الجوال", "to"]])
def test_a_column_that_is_there_twice_is_refused(header):
    with pytest.raises(UnreadableFile, match=r"hold the mobile: .*Nothing was sent") as refusal:
        find(header)
    assert refusal.value.reason == "column_twice"


def test_a_missing_column_is_named_with_what_was_found():
    with pytest.raises(UnreadableFile, match="“mobile”, “Branch”: no column is named message") as refusal:
        find(["mobile", "Branch"])
    assert refusal.value.reason == "no_header"


@pytest.mark.parametrize("number", ["+966501234567", "٩٦٦٥٠١٢٣٤٥٦٧", "050 123 4567"])
def test_data_in_the_first_row_is_said_to_be_data(number):
    with pytest.raises(UnreadableFile, match="looks like data: the first row must name the columns") as refusal:
        find([number, "Hello"])
    assert refusal.value.reason == "no_header"


def test_a_refusal_stays_short_whatever_the_first_row_holds():
    with pytest.raises(UnreadableFile) as refusal:
        find(["x" * 100_000] * 400)
    assert len(refusal.value.message) < 600
    assert "and 394 more" in refusal.value.message
