"""Watching jobs: progress, the list, one job, and errors.csv; the figures are the same everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from linkit import clock
from outbox.bulk import jobs
from outbox.bulk.models import BulkJob
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import OrganizationApp
from sms_providers.results import Fault, accepted, rejected, unknown
from tests import factories
from tests.conftest import Api
from tests.outbox.bulk.conftest import URL, Script, Upload, csv_of, rows, send_all, work_on_jobs

Make = Callable[..., BulkJob]
ZEROS = {"total": 0, "sent": 0, "failed": 0, "unknown": 0, "pending": 0}


def errors_csv(api: Api, job: BulkJob) -> list[list[str]]:
    answer = api.get(f"{URL}/bulk-jobs/{job.pk}/errors.csv")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert f"errors-{job.pk}.csv" in answer["Content-Disposition"]
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:])))


def test_progress_is_zeros_before_any_job(api: Api, first: OrganizationApp):
    assert api.get(f"{URL}/progress").json() == {
        **ZEROS, "job_id": None, "status": None, "rate_per_second": None, "eta_seconds": None,
    }  # fmt: skip


def test_progress_is_of_the_running_job_else_of_the_latest(job: Make, api: Api):
    def shown(**query: Any) -> Any:
        return api.get(f"{URL}/progress", query).json()["job_id"]

    running = job(*rows(1))
    latest = job(*rows(1))
    assert shown() == str(latest.pk)
    jobs.pause(latest)
    assert shown() == str(running.pk)
    assert shown(job_id=latest.pk) == str(latest.pk)
    Drain().run()
    assert shown() == str(latest.pk)
    BulkJob.objects.filter(pk=latest.pk).update(is_test=True)
    assert shown() == str(running.pk)


def test_progress_says_how_fast_it_goes_and_how_long_it_takes(job: Make, api: Api):
    made = job(*rows(40))
    BulkJob.objects.update(sent_count=10, run_started_at=clock.now() - timedelta(seconds=5))
    found = api.get(f"{URL}/progress").json()
    assert 1.8 < found["rate_per_second"] <= 2.0
    assert 15 <= found["eta_seconds"] <= 17
    jobs.pause(made)
    found = api.get(f"{URL}/progress").json()
    assert (found["rate_per_second"], found["eta_seconds"], found["status"]) == (None, None, "paused")


def test_progress_counts_no_messages(job: Make, api: Api):
    job(*rows(3))
    with CaptureQueriesContext(connection) as queries:
        api.get(f"{URL}/progress")
    assert not [query["sql"] for query in queries if "outbox_message" in query["sql"]]


def test_what_does_not_exist_or_is_somebody_elses_is_404(job: Make, api: Api, other_organization: Any, anonymous: Api):
    made = job(*rows(1))
    OrganizationApp.objects.create(organization=other_organization, slug="first-sms")
    stranger = anonymous.using(factories.make_api_key(other_organization))
    missing = api.get(f"{URL}/bulk-jobs/{'0' * 8}-0000-0000-0000-{'0' * 12}").json()
    for path in ("", "/errors.csv"):
        assert stranger.get(f"{URL}/bulk-jobs/{made.pk}{path}").json() == missing
        assert api.get(f"{URL}/bulk-jobs/nonsense{path}").json() == missing
    for action in ("pause", "resume", "stop", "retry-failed"):
        assert stranger.post(f"{URL}/bulk-jobs/{made.pk}/{action}").json() == missing
    assert stranger.get(f"{URL}/progress", {"job_id": str(made.pk)}).json() == missing
    assert stranger.get(f"{URL}/bulk-jobs").json()["data"] == []
    assert stranger.get(f"{URL}/progress").json()["total"] == 0


def test_the_list_the_job_and_the_progress_say_the_same(job: Make, api: Api, script: Script):
    made = job(*rows(3), ["12", "Hello"])
    script.answers["first-sms"] = rejected(Fault.CONTENT, "No.")
    Drain().run()
    progress = api.get(f"{URL}/progress").json()
    full = api.get(f"{URL}/bulk-jobs/{made.pk}").json()
    page = api.get(f"{URL}/bulk-jobs", {"status": "failed"}).json()
    assert {name: full[name] for name in progress} == progress
    assert {name: page["data"][0][name] for name in progress} == progress
    assert (progress["total"], progress["failed"], full["invalid"], page["total_count"]) == (4, 4, 1, 1)
    assert [error["row"] for error in full["errors"]] == [2, 3, 4, 5]
    assert (full["filename"], full["mode"], full["slug"]) == ("file.csv", "valid_rows", "first-sms")
    assert full["report"]["sms_parts"] == 3
    assert api.get(f"{URL}/bulk-jobs", {"status": "running"}).json()["data"] == []


def test_errors_csv_has_the_rows_that_were_not_sent_as_they_were_uploaded(upload: Upload, api: Api, script: Script):
    good, refused, lost = rows(3)
    ends = {refused[0]: rejected(Fault.CONTENT, "Not this text."), lost[0]: unknown("read_timeout", "Silence.")}
    script.answers["first-sms"] = lambda sms: ends.get(sms.recipient) or accepted("1")
    upload(
        csv_of(
            ["1", *good], ["2", *refused], ["3", "12", ""], ["4", *lost], ["5", "٠٥٠", "مرحبا"],
            header="Customer;Mobile;Message".replace(";", ","),
        )
    )  # fmt: skip
    send_all()
    job = BulkJob.objects.get()
    found = errors_csv(api, job)
    assert found[0] == ["Customer", "Mobile", "Message", "reason"]
    assert [row[:3] for row in found[1:]] == [
        ["2", f"'{refused[0]}", "Hello"],
        ["3", "12", ""],
        ["5", "٠٥٠", "مرحبا"],
    ]
    assert found[1][3] == "Not this text."
    assert found[2][3] == "The number is too short. The message is empty."


def test_errors_csv_of_many_rows_is_whole_and_in_order(
    upload: Upload, api: Api, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.bulk.errors_file._ROWS_AT_ONCE", 2)
    script.answers["first-sms"] = rejected(Fault.CONTENT, "No.")
    upload(csv_of(*[cells for number in range(5) for cells in ([str(number), ""], *rows(1))]))
    send_all()
    found = errors_csv(api, BulkJob.objects.get())[1:]
    assert [row[1] for row in found] == ["", "Hello"] * 5
    assert [row[0] for row in found[::2]] == ["0", "1", "2", "3", "4"]


def test_errors_csv_can_be_corrected_and_uploaded(upload: Upload, api: Api, script: Script):
    script.answers["first-sms"] = rejected(Fault.CONTENT, "No.")
    upload(csv_of(["+966501234567", "Hello"]))
    send_all()
    answer = api.get(f"{URL}/bulk-jobs/{BulkJob.objects.get().pk}/errors.csv")
    script.answers.clear()
    upload(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    send_all()
    assert script.recipients() == ["+966501234567"] * 2
    assert "Columns that are not used: “reason”." in " ".join(BulkJob.objects.first().report["warnings"])  # type: ignore[union-attr]


def test_a_row_with_too_many_cells_is_in_errors_csv_as_it_was_and_is_refused_again(
    upload: Upload, api: Api, script: Script
):
    upload(b"mobile,message\n0501234567,Hello, dear, customer\n")
    send_all()
    answer = api.get(f"{URL}/bulk-jobs/{BulkJob.objects.get().pk}/errors.csv")
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert b'"0501234567","Hello"," dear"," customer"' in content
    upload(content)
    send_all()
    assert script.calls == []


def test_what_errors_csv_protects_is_sent_as_it_was(upload: Upload, api: Api, script: Script):
    script.answers["first-sms"] = rejected(Fault.CONTENT, "No.")
    upload(csv_of(["+966501234567", "-50% today", "+966500000000"], header="mobile,message,sender"))
    send_all()
    answer = api.get(f"{URL}/bulk-jobs/{BulkJob.objects.get().pk}/errors.csv")
    upload(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    send_all()
    assert {(sms.recipient, sms.text, sms.sender_id) for _, sms in script.calls} == {
        ("+966501234567", "-50% today", "+966500000000")
    }


def test_errors_csv_has_the_separator_of_its_file(upload: Upload, api: Api):
    upload(b"mobile;message;note\n12;Hello;a\n")
    send_all()
    answer = api.get(f"{URL}/bulk-jobs/{BulkJob.objects.get().pk}/errors.csv")
    assert b'"12";"Hello";"a";' in b"".join(answer.streaming_content)  # type: ignore[attr-defined]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_no_cell_of_errors_csv_is_a_formula(upload: Upload, api: Api, cell: str):
    upload(csv_of(["12", "Hello", cell], header="mobile,message,note"))
    send_all()
    (row,) = errors_csv(api, BulkJob.objects.get())[1:]
    assert row[2] == f"'{cell}"


def test_errors_csv_needs_a_file_that_was_read(upload: Upload, api: Api):
    upload(csv_of(*rows(1)))
    job = BulkJob.objects.get()
    answer = api.get(f"{URL}/bulk-jobs/{job.pk}/errors.csv")
    assert (answer.status_code, answer.json()["details"]["reason"]) == (409, "wrong_state")
    work_on_jobs()
    assert errors_csv(api, job)[1:] == []


def test_only_the_first_errors_are_listed_and_the_file_has_all(
    upload: Upload, api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.bulk.report.MAX_SHOWN", 3)
    monkeypatch.setattr("outbox.bulk.answers.MAX_SHOWN", 3)
    upload(csv_of(*[(str(number), "Hello") for number in range(5)]))
    send_all()
    job = BulkJob.objects.get()
    full = api.get(f"{URL}/bulk-jobs/{job.pk}").json()
    assert [error["row"] for error in full["errors"]] == [2, 3, 4]
    assert "errors.csv of a job has all" in full["report"]["warnings"][-1]
    assert len(errors_csv(api, job)) == 6
    assert Message.objects.count() == 0
