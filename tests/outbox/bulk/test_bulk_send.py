"""POST bulk-send: a file becomes messages of one app, each row is accounted for, and nothing is sent by accident."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from linkit import clock
from outbox.bulk import splitting
from outbox.bulk.models import BulkJob, JobStatus, UploadChunk
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog
from sms_providers.results import Fault, accepted, rejected, unavailable, unknown
from tests import factories
from tests.conftest import Api
from tests.outbox.bulk.conftest import URL, Script, Upload, csv_of, rows, send_all, work_on_jobs

COUNTS = ("total", "sent", "failed", "unknown", "pending")


def counts(body: dict[str, Any]) -> tuple[int, ...]:
    return tuple(body[name] for name in COUNTS)


def test_every_valid_row_is_sent_once_through_the_app_of_the_url(upload: Upload, script: Script, second: Any):
    numbers = rows(3)
    answer = upload(csv_of(*numbers))
    assert answer.status_code == 202
    assert (counts(answer.json()), answer.json()["status"]) == ((0, 0, 0, 0, 0), "checking")
    send_all()
    assert sorted((slug, sms.recipient, sms.text) for slug, sms in script.calls) == sorted(
        ("first-sms", number, "Hello") for number, _ in numbers
    )
    assert set(SmsLog.objects.values_list("source", "status")) == {("bulk", "sent")}
    assert BulkJob.objects.get().status == JobStatus.COMPLETED


def test_it_answers_with_the_end_when_that_comes_in_time(at_once: Upload, script: Script):
    bad = ("05012", "Hello")
    answer = at_once(csv_of(*rows(2), bad))
    assert answer.status_code == 200
    body = answer.json()
    assert counts(body) == (3, 2, 1, 0, 0)
    assert body["status"] == "partly_failed"
    assert body["errors"] == [
        {
            "row": 4,
            "column": "mobile",
            "mobile": "05012",
            "reason": "invalid_recipient",
            "message": "The number is too short.",
        }
    ]
    assert body["warnings"] == [
        "Read as CSV, utf-8, separated by commas; the fields 'encoding' and 'separator' set something else."
    ]
    assert body["elapsed_ms"] >= 0
    assert "duplicate_of" not in body


def test_a_client_that_does_not_wait_is_told_so(at_once: Upload, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("outbox.tasks.wake_for_jobs", lambda: None)
    answer = at_once(csv_of(*rows(1)), headers={"Prefer": "handling=lenient, respond-async"})
    assert (answer.status_code, answer["Preference-Applied"]) == (202, "respond-async")


def test_each_end_of_a_message_has_its_counter(at_once: Upload, script: Script):
    sent, refused, lost = rows(3)
    answers = {
        refused[0]: rejected(Fault.RECIPIENT, "No such number."),
        lost[0]: unknown("read_timeout", "No answer."),
    }
    script.answers["first-sms"] = lambda sms: answers.get(sms.recipient) or accepted()
    body = at_once(csv_of(sent, refused, lost)).json()
    assert counts(body) == (3, 1, 1, 1, 0)
    assert body["status"] == "partly_failed"
    assert [(error["row"], error["mobile"], error["reason"], error["message"]) for error in body["errors"]] == [
        (3, refused[0], "invalid_recipient", "No such number.")
    ]


def test_errors_have_the_number_as_it_is_in_the_file(at_once: Upload, script: Script):
    script.answers["first-sms"] = rejected(Fault.RECIPIENT, "No such number.")
    body = at_once(csv_of(["050 123 4567", "Hello"], ["٠٥٠", "Hello"])).json()
    assert [error["mobile"] for error in body["errors"]] == ["050 123 4567", "٠٥٠"]
    assert body["status"] == "failed"


def test_nothing_is_sent_when_one_row_is_wrong_and_all_or_nothing_was_asked_for(at_once: Upload, script: Script):
    body = at_once(csv_of(*rows(2), ["12", "Hello"]), mode="all_or_nothing").json()
    assert counts(body) == (3, 0, 3, 0, 0)
    assert (body["status"], body["reason"]) == ("failed", "rows_invalid")
    assert body["message"] == "1 of 3 rows are wrong, so none was sent."
    assert [error["row"] for error in body["errors"]] == [4]
    assert script.calls == []
    assert not Message.objects.exists()


def test_all_is_sent_when_no_row_is_wrong_and_all_or_nothing_was_asked_for(at_once: Upload, script: Script):
    assert counts(at_once(csv_of(*rows(2)), mode="all_or_nothing").json()) == (2, 2, 0, 0, 0)


def test_a_file_without_a_valid_row_fails_with_its_errors(at_once: Upload):
    body = at_once(csv_of(["12", "Hello"], ["13", ""])).json()
    assert (counts(body), body["status"], body["reason"]) == ((2, 0, 2, 0, 0), "failed", "no_valid_rows")
    assert [(error["row"], error["column"]) for error in body["errors"]] == [
        (2, "mobile"), (3, "mobile"), (3, "message"),
    ]  # fmt: skip


# --- the same again ---------------------------------------------------------------------------------------------


def test_the_same_file_within_a_day_gives_the_earlier_job(at_once: Upload, script: Script):
    file = csv_of(*rows(2))
    first = at_once(file).json()
    again = at_once(file, name="renamed.csv")
    assert again.status_code == 200
    body = again.json()
    assert (body["duplicate_of"], body["job_id"], counts(body)) == (first["job_id"], first["job_id"], (2, 2, 0, 0, 0))
    assert "force=true" in body["warnings"][0]
    assert len(script.calls) == 2


def test_the_same_file_is_sent_again_when_that_is_forced(at_once: Upload, script: Script):
    file = csv_of(*rows(2))
    at_once(file)
    body = at_once(file, force="true").json()
    assert (counts(body), len(script.calls)) == ((2, 2, 0, 0, 0), 4)
    assert "The message of 2 rows was sent to the same number" in " ".join(body["warnings"])


@pytest.mark.parametrize("end", [rejected(Fault.CONTENT, "No."), unknown("read_timeout", "No answer.")])
def test_the_same_file_is_a_new_job_only_if_nothing_may_have_been_sent(at_once: Upload, script: Script, end: Any):
    script.answers["first-sms"] = end
    file = csv_of(*rows(1))
    first, again = at_once(file).json(), at_once(file).json()
    assert (first["job_id"] != again["job_id"]) is (end.outcome == "rejected")


def test_the_same_file_a_day_later_is_a_new_job(at_once: Upload):
    file = csv_of(*rows(1))
    at_once(file)
    BulkJob.objects.update(created_at=clock.now() - timedelta(hours=25))
    assert "duplicate_of" not in at_once(file).json()


def test_another_app_and_another_organization_have_their_own_jobs(
    at_once: Upload, anonymous: Api, other_organization: Any, second: OrganizationApp
):
    file = csv_of(*rows(1))
    at_once(file)
    OrganizationApp.objects.create(organization=other_organization, slug="first-sms")
    stranger = anonymous.using(factories.make_api_key(other_organization))
    assert "duplicate_of" not in at_once(file, client=stranger).json()
    assert "duplicate_of" not in at_once(file, slug="second-sms").json()


def test_a_repeated_key_gives_the_first_job_and_another_file_under_it_a_conflict(at_once: Upload, script: Script):
    file, headers = csv_of(*rows(1)), {"Idempotency-Key": "k-1"}
    first = at_once(file, headers=headers).json()
    assert at_once(file, headers=headers).json()["job_id"] == first["job_id"]
    other = at_once(csv_of(*rows(1)), headers=headers)
    assert (other.status_code, other.json()["details"]["reason"]) == (409, "idempotency_key_reused")
    assert len(script.calls) == 1


# --- refused as a whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"mobile,message\r\n", "no_rows"),
        (b"0501234567,Hello\r\n", "no_header"),
        (b"mobile,text,mobile\r\n0501234567,Hello,0501234567\r\n", "column_twice"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "not_a_table"),
        (b"\x00\x01\x02\x03" * 500, "not_a_table"),
    ],
)
def test_what_is_no_table_is_refused_and_nothing_is_kept(upload: Upload, content: bytes, reason: str):
    answer = upload(content)
    assert (answer.status_code, answer.json()["details"]["reason"]) == (400, reason)
    assert "nothing was sent" in answer.json()["error"].lower()
    assert not BulkJob.objects.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (csv_of(*rows(6)), "too_many_rows"),
        (csv_of(*rows(2)) + b'0501234567,"Hello\r\n', "unclosed_quote"),
        (csv_of(*rows(2)) + b"0501234567," + b"x" * 200_000 + b"\r\n", "cell_too_large"),
    ],
)
def test_a_file_that_turns_out_unreadable_is_refused_with_all_its_rows(
    at_once: Upload, script: Script, settings: Settings, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
):
    settings.BULK_MAX_ROWS = 5
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)  # so that rows are written before it shows
    answer = at_once(content)
    body = answer.json()
    assert (answer.status_code, body["details"]["reason"]) == (400, reason)
    assert body["details"]["job_id"] == str(BulkJob.objects.get().pk)
    assert not Message.objects.exists()
    assert (BulkJob.objects.get().status, script.calls) == (JobStatus.FAILED, [])


def test_a_file_over_the_size_is_413_and_not_kept(upload: Upload, settings: Settings):
    settings.BULK_MAX_BYTES = 1000
    for size in (1001, 300_000):
        answer = upload(b"mobile,message\r\n".ljust(size, b" "))
        assert answer.status_code == 413
        assert "nothing was stored or sent" in answer.json()["error"]
    assert not BulkJob.objects.exists()


def test_what_is_no_upload_is_refused(api: Api, upload: Upload):
    assert api.post(f"{URL}/bulk-send", {"file": "x"}).status_code == 415
    missing = api.post(f"{URL}/bulk-send", {"mode": "valid_rows"}, format="multipart")
    assert (missing.status_code, list(missing.json()["details"])) == (400, ["file"])
    unknown_mode = upload(csv_of(*rows(1)), mode="whatever")
    assert (unknown_mode.status_code, list(unknown_mode.json()["details"])) == (400, ["mode"])
    wrong = upload(csv_of(*rows(1)), encoding="klingon")
    assert (wrong.status_code, wrong.json()["details"]["reason"]) == (400, "invalid_option")
    broken = api.post(f"{URL}/bulk-send", b"--x\r\nnonsense", content_type="multipart/form-data; boundary=y")
    assert broken.status_code == 400


@pytest.mark.parametrize("path", ["bulk-send", "bulk-check"])
def test_an_app_that_cannot_send_is_refused(upload: Upload, first: OrganizationApp, path: str):
    for change, reason in (
        ({"is_enabled": False}, "app_disabled"),
        ({"uninstalled_at": clock.now()}, "app_not_installed"),
    ):
        OrganizationApp.objects.update(**change)
        answer = upload(csv_of(*rows(1)), path=path)
        assert (answer.status_code, answer.json()["details"]["reason"]) == (400, reason)
    assert upload(csv_of(*rows(1)), slug="nobody-sms", path=path).json()["details"]["reason"] == "unknown_app"


# --- how rows are sent ------------------------------------------------------------------------------------------


def test_a_row_for_later_waits_and_the_job_with_it(at_once: Upload, script: Script):
    later = (clock.now() + timedelta(hours=2)).isoformat()
    now, ahead = rows(2)
    body = at_once(csv_of([*now, ""], [*ahead, later], header="mobile,message,datetime")).json()
    assert (counts(body), body["status"]) == ((2, 1, 0, 0, 1), "running")
    waiting = Message.objects.get(status="pending")
    assert (waiting.recipient, waiting.next_attempt_at) == (ahead[0], waiting.scheduled_at)
    job = BulkJob.objects.get()
    assert job.expires_at is not None
    assert job.expires_at > clock.now() + timedelta(hours=73)


def test_the_sender_of_a_row_comes_before_the_apps(at_once: Upload, script: Script):
    own, none = rows(2)
    at_once(csv_of([*own, "MyBrand"], [*none, ""], header="mobile,message,sender"))
    assert {sms.recipient: sms.sender_id for _, sms in script.calls} == {own[0]: "MyBrand", none[0]: ""}


def test_a_row_that_cannot_be_sent_now_is_tried_again_and_through_no_other_app(
    at_once: Upload, script: Script, second: OrganizationApp
):
    script.answers["first-sms"] = unavailable(message="Down.")
    body = at_once(csv_of(*rows(1))).json()
    assert (counts(body), body["status"]) == ((1, 0, 0, 0, 1), "running")
    assert {slug for slug, _ in script.calls} == {"first-sms"}


def test_a_test_key_simulates_its_file(at_once: Upload, script: Script, anonymous: Api, organization: Any):
    key = anonymous.using(factories.make_api_key(organization, is_test=True))
    body = at_once(csv_of(*rows(2)), client=key).json()
    assert (counts(body), script.calls) == ((2, 2, 0, 0, 0), [])
    assert set(Message.objects.values_list("is_test", "provider_slug")) == {(True, "sandbox-sms")}
    assert not Message.objects.exclude(pinned_app=None).exists()
    live = at_once(csv_of(*rows(1)))
    assert key.get(f"{URL}/bulk-jobs").json()["total_count"] == 1
    assert key.get(f"{URL}/bulk-jobs/{live.json()['job_id']}").status_code == 404


def test_messages_of_a_file_are_seen_in_the_outbox(at_once: Upload, api: Api):
    at_once(csv_of(*rows(1)))
    (listed,) = api.get("/api/v1/sms/outbox").json()["data"]
    job = BulkJob.objects.get()
    assert listed["preferred_provider_slug"] == "first-sms"
    assert listed["expires_at"] == api.get(f"{URL}/bulk-jobs/{job.pk}").json()["expires_at"]


def test_no_row_can_be_claimed_before_the_whole_file_was_read(
    upload: Upload, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    conclude = splitting.conclude

    def drain_first(*arguments: Any, **options: Any) -> None:
        assert Message.objects.filter(status="pending").count() == 3
        Drain().run()
        assert script.calls == []
        conclude(*arguments, **options)

    monkeypatch.setattr(splitting, "conclude", drain_first)
    upload(csv_of(*rows(3)))
    send_all()
    assert len(script.calls) == 3


def test_the_file_is_kept_in_pieces(upload: Upload, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("outbox.bulk.uploads._CHUNK_BYTES", 10)
    file = csv_of(*rows(4))
    upload(file)
    assert b"".join(bytes(chunk.data) for chunk in UploadChunk.objects.order_by("number")) == file
    work_on_jobs()
    assert BulkJob.objects.get().total_count == 4


def test_a_name_that_no_database_or_page_should_see_is_cleaned(api: Api, upload: Upload):
    data = {"file": SimpleUploadedFile("x\x07y\u202e.csv", csv_of(*rows(1)))}
    api.post(f"{URL}/bulk-send", data, format="multipart")
    assert BulkJob.objects.get().filename == "xy.csv"
