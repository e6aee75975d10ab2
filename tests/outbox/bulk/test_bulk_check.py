"""POST bulk-check: the report on a whole file, with nothing sent, stored or charged."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from billing.models import Rate
from linkit import clock
from linkit.models import Organization
from outbox.bulk.models import BulkJob, UploadChunk
from outbox.models import Message
from outbox.services import enqueue
from sms_providers.models import OrganizationApp, SmsLog
from tests import factories
from tests.outbox.bulk.conftest import Script, Upload, csv_of, rows, send_all


@pytest.fixture
def check(upload: Upload) -> Upload:
    def post(content: bytes, **fields: Any) -> Any:
        return upload(content, path="bulk-check", **fields)

    return post


def test_nothing_is_kept_or_sent(check: Upload, script: Script):
    answer = check(csv_of(*rows(2), ["12", "Hello"]))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["total"], body["valid"], body["invalid"], body["would_send"]) == (3, 2, 1, 2)
    assert not (BulkJob.objects.exists() or UploadChunk.objects.exists() or Message.objects.exists())
    send_all()
    assert script.calls == []


def test_all_or_nothing_would_send_nothing(check: Upload):
    assert check(csv_of(*rows(2), ["12", "Hello"]), mode="all_or_nothing").json()["would_send"] == 0
    assert check(csv_of(*rows(2)), mode="all_or_nothing").json()["would_send"] == 2


def test_every_error_has_row_column_value_and_reason(check: Upload):
    body = check(csv_of(["0501234567", "Hello"], ["9.66E+11", ""])).json()
    assert [(each["row"], each["column"], each["value"], each["reason"]) for each in body["errors"]] == [
        (3, "mobile", "9.66E+11", "invalid_recipient"),
        (3, "message", "", "invalid_text"),
    ]
    assert all(each["mobile"] == "9.66E+11" and each["message"] for each in body["errors"])


def test_repairs_are_shown_as_was_and_is(check: Upload):
    repairs = check(csv_of(["501234567", "Hello"], ["050 123 4568", "Hello"], ["0501234569", "Hello"])).json()[
        "repairs"
    ]
    assert repairs == {
        "rows": 2,
        "kinds": {"lost_zero": 1, "spaces_or_punctuation": 1},
        "samples": [
            {"row": 2, "was": "501234567", "is": "+966501234567", "repairs": ["lost_zero"]},
            {"row": 3, "was": "050 123 4568", "is": "+966501234568", "repairs": ["spaces_or_punctuation"]},
        ],
    }


def test_parts_encodings_and_what_forces_ucs2_are_told(check: Upload):
    texts = ["x" * 161, "a^b", "مرحبا", "It\u2019s", "That\u2019s"]
    body = check(csv_of(*[(factories.mobile(), text) for text in texts])).json()
    assert body["sms_parts"] == 6
    assert body["encodings"] == {
        "GSM-7": {"rows": 1, "sms_parts": 2},
        "GSM-7 Extended": {"rows": 1, "sms_parts": 1},
        "UCS-2": {"rows": 3, "sms_parts": 3},
    }
    assert body["ucs2_characters"] == [
        {"character": "’", "code_point": "U+2019", "name": "RIGHT SINGLE QUOTATION MARK", "rows": 2, "first_row": 5},
        {"character": "م", "code_point": "U+0645", "name": "ARABIC LETTER MEEM", "rows": 1, "first_row": 4},
    ]


def test_duplicates_inside_the_file_are_the_same_number_and_text(check: Upload):
    body = check(
        csv_of(["0501234567", "A"], ["0501234567", "B"], ["966501234567", "A"], ["0501234568", "A"], ["501234567", "A"])
    ).json()
    assert body["duplicates"]["in_file"] == {
        "rows": 2,
        "samples": [{"row": 4, "first_row": 2}, {"row": 6, "first_row": 2}],
    }
    assert "The number and message of an earlier row stand again in 2 rows, the first is row 4" in " ".join(
        body["warnings"]
    )


def test_duplicates_of_the_last_day_are_what_was_sent_or_may_yet_be(
    check: Upload, api: Any, organization: Any, other_organization: Any, script: Script
):
    sent, queued, failed, old, other_text, theirs = (factories.mobile() for _ in range(6))
    path = "/api/v1/sms-providers/first-sms/send"
    for number in (sent, failed, old):
        api.post(path, {"mobile": number, "message": "Hello"})
    SmsLog.objects.filter(recipient=failed).update(status="failed")
    SmsLog.objects.filter(recipient=old).update(created_at=clock.now() - timedelta(hours=25))
    enqueue(organization=organization, recipient=queued, text="Hello")
    enqueue(organization=organization, recipient=other_text, text="Hello?")
    OrganizationApp.objects.create(organization=other_organization, slug="first-sms")
    enqueue(organization=other_organization, recipient=theirs, text="Hello")
    body = check(csv_of(*[(number, "Hello") for number in (sent, queued, failed, old, other_text, theirs)])).json()
    assert body["duplicates"]["last_24_hours"] == {
        "rows": 2,
        "samples": [{"row": 2, "mobile": sent}, {"row": 3, "mobile": queued}],
    }


@pytest.mark.parametrize(("rate", "seconds"), [(None, None), (2, 3)])
def test_the_time_it_takes_is_at_the_rate_of_the_app(check: Upload, rate: int | None, seconds: int | None):
    OrganizationApp.objects.update(max_per_second=rate)
    body = check(csv_of(*rows(5))).json()
    assert (body["max_per_second"], body["estimated_seconds"]) == (rate, seconds)


def test_what_it_costs_is_told_where_it_costs_credits(check: Upload, organization: Organization):
    long = "x" * 161  # two parts
    file = csv_of(["0501234567", "Hello"], ["0501234568", long], ["+201001234567", "Hello"], ["12", "Hello"])
    assert check(file).json()["credit_cost"] is None
    OrganizationApp.objects.update(is_metered=True)
    Rate.objects.create(organization=organization, prefix="20", price=Decimal("0.5"), valid_from=clock.now().date())
    assert check(file).json()["credit_cost"] == 6.161  # three parts at 1.887, and one at 0.5


def test_what_was_detected_is_told_and_can_be_overridden(check: Upload):
    file = "الجوال;الرسالة\r\n0501234567;مرحبا بكم\r\n".encode("cp1256")
    body = check(file).json()
    assert body["detected"] == {
        "format": "csv", "encoding": "windows-1256", "separator": "semicolon", "sheet": "",
        "columns": ["الجوال", "الرسالة"],
    }  # fmt: skip
    assert body["warnings"][0].startswith("Read as CSV, windows-1256, separated by semicolons")
    assert body["ucs2_characters"][0]["character"] == "م"
    other = check("mobile,message\r\n0501234567,caf\xe9 \xe0\r\n".encode("latin-1"), encoding="windows-1256").json()
    assert other["detected"]["encoding"] == "windows-1256"


def test_the_report_of_a_send_is_that_of_the_check(check: Upload, upload: Upload):
    file = csv_of(*rows(2), ["501234567", "Hello"], ["12", "Hello"])
    checked = check(file).json()
    upload(file)
    send_all()
    report = BulkJob.objects.get().report
    assert report == {name: checked[name] for name in report}


def test_a_row_over_the_limit_is_refused(check: Upload, settings: Settings):
    settings.BULK_MAX_ROWS = 2
    answer = check(csv_of(*rows(3)))
    assert (answer.status_code, answer.json()["details"]["reason"]) == (400, "too_many_rows")
    settings.BULK_MAX_BYTES = 10
    assert check(csv_of(*rows(1))).status_code == 413
