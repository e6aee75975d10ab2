"""A file in the console: uploaded, checked, confirmed once, watched, and changed by whoever may."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from csv import reader as csv_reader
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse
from django.utils.translation import get_language

from billing.models import Rate
from linkit import audit, clock
from linkit.markup import in_figures
from linkit.models import Organization
from outbox.bulk import drafts, jobs, receiving, work
from outbox.bulk.models import BulkDraft, BulkJob, JobStatus, Mode, UploadChunk
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog
from tests import factories
from tests.console.conftest import BACKEND
from tests.console.test_console_lists import ODD

pytestmark = pytest.mark.django_db

UPLOAD = "admin:send_file"
REFUSED, SILENT = "+966555555503", "+966555555509"
PAGES = ("change", "history", "progress", "errors")
ACTS = ("pause", "resume", "stop", "retry")


def csv(*rows: Iterable[str], header: str = "mobile,message") -> bytes:
    return "\r\n".join([header, *(",".join(row) for row in rows), ""]).encode()


def good(count: int = 2) -> list[tuple[str, str]]:
    return [(factories.mobile(), "Hello") for _ in range(count)]


def form(sender: OrganizationApp, content: bytes, *, name: str = "people.csv", **fields: Any) -> dict[str, Any]:
    return {"app": sender.pk, "file": SimpleUploadedFile(name, content), "mode": Mode.VALID_ROWS, **fields}


def upload(browser: Client, app: OrganizationApp, content: bytes, **fields: Any) -> str:
    """Upload a file and return the URL of its check."""
    answer = browser.post(reverse(UPLOAD), form(app, content, **fields))
    assert answer.status_code == 302, answer.context["form"].errors
    assert answer["Location"] == reverse("admin:send_file_check", args=[BulkDraft.objects.latest("created_at").pk])
    return answer["Location"]


def page_of(job: BulkJob, page: str = "change") -> str:
    return reverse(f"admin:outbox_bulkjob_{page}", args=[job.pk])


def read_files() -> None:
    while work.do_next(threading.Event()):
        pass


def send_all() -> None:
    read_files()
    Drain().run()
    read_files()


Make = Callable[..., BulkJob]


@pytest.fixture
def job(sandbox: OrganizationApp) -> Make:
    """Return a maker of jobs whose file is not read yet: `job(rows)`, `job(rows, mode=…)`."""

    def make(rows: Iterable[Iterable[str]] = (), **fields: Any) -> BulkJob:
        content = csv(*(rows or good()), header=fields.pop("header", "mobile,message"))
        given = {"organization": sandbox.organization, "app": sandbox, "slug": sandbox.slug, "filename": "people.csv"}
        return receiving.create(**{**given, "file": SimpleUploadedFile("x", content), **fields}).job

    return make


# --- upload, check, confirm ---


def test_a_file_is_checked_and_sent_only_when_confirmed(console: Any, sandbox: OrganizationApp):
    browser, rows = console("operator"), good(3)
    check = upload(browser, sandbox, csv(*rows, ("12", "Hello")))
    page = browser.get(check).text
    assert "Nothing has been sent yet" in page
    assert "Send 3 messages" in page
    assert "too short" in page
    assert not BulkJob.objects.exists()
    read_files()
    assert not Message.objects.exists()

    answer = browser.post(check)
    job = BulkJob.objects.get()
    assert answer["Location"] == page_of(job)
    assert (job.app, job.provider_slug, job.filename, job.mode) == (sandbox, "sandbox-sms", "people.csv", "valid_rows")
    assert job.user is not None
    assert (job.token, job.idempotency_key) == (None, f"console:{check.split('/')[-2]}")
    assert not BulkDraft.objects.exists()
    assert not BulkDraft.objects.exists()
    assert audit.in_words(LogEntry.objects.get()) == "Sent a file by hand through Sandbox. Rows: 3."
    send_all()
    job.refresh_from_db()
    assert (job.sent_count, job.failed_count, job.status) == (3, 1, "partly_failed")
    assert {log.recipient for log in SmsLog.objects.all()} == {number for number, _ in rows}


def test_a_price_that_has_changed_since_the_check_sends_nothing(console: Any, sandbox: OrganizationApp):
    OrganizationApp.objects.update(is_metered=True)
    browser = console("operator")
    check = upload(browser, sandbox, csv(*good(2)))
    assert "3.774" in browser.get(check).text  # two parts at 1.887
    today = clock.now().date()
    Rate.objects.create(organization=sandbox.organization, prefix="966", price=Decimal(2), valid_from=today)
    answer = browser.post(check, follow=True)
    assert "the prices have changed" in answer.text
    assert not BulkJob.objects.exists()
    again = upload(browser, sandbox, csv(*good(2)))
    browser.post(again)
    assert BulkJob.objects.count() == 1


def test_the_wrong_rows_of_a_file_that_is_gone_are_not_begun(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    draft = upload(browser, sandbox, csv(("12", "Hello"))).split("/")[-2]
    UploadChunk.objects.all().delete()
    answer = browser.get(reverse("admin:send_file_errors", args=[draft]))
    assert answer.status_code == 302


def test_the_file_is_kept_to_the_byte(console: Any, sandbox: OrganizationApp):
    content = csv(*((factories.mobile(), "Hello " + "x" * 150) for _ in range(6500)))
    assert len(content) > 1_000_000
    browser = console("operator")
    browser.post(upload(browser, sandbox, content))
    assert b"".join(UploadChunk.objects.order_by("number").values_list("data", flat=True)) == content


def test_what_the_check_has_found_is_shown(console: Any, sandbox: OrganizationApp, send: Any):
    sandbox.max_per_second = 2
    sandbox.save()
    known = factories.mobile()
    send(sandbox, recipient=known, text="Hello")
    rows = [
        ("501234567", "Hello"),  # a lost zero
        ("0501234567", "Hello"),  # the same number
        (known, "Hello"),
        (factories.mobile(), "It’s here"),
        ("\u202e<b>05</b>", "<script>alert(1)</script>"),
        ('"=""12"""', "Hello"),
        (factories.mobile(), ""),
    ]
    browser = console("operator")
    page = browser.get(upload(browser, sandbox, csv(*rows))).text
    for shown in (
        "Send 4 messages", "Mended numbers", '<bdi dir="ltr">501234567</bdi>', "lost zero", "+966501234567",
        "like an earlier row of this file", "within the last <bdi", "Right single quotation mark", "U+2019",
        "2 s</bdi>, at the app's rate of", "&lt;b&gt;05&lt;/b&gt;", "=&quot;12&quot;", "The message is empty",
    ):  # fmt: skip
        assert shown in page, shown
    assert "<b>05" not in page
    assert "<script>alert" not in page


def test_some_rows_are_shown_as_they_are_read(console: Any, sandbox: OrganizationApp):
    rows = [(factories.mobile(), f"Plain {number}", "Shop") for number in range(5)]
    content = csv(*rows, (factories.mobile(), "<i>مرحبا</i>", "Shop"), header="mobile,message,sender")
    browser = console("operator")
    page = browser.get(upload(browser, sandbox, content)).text
    shown = [text for text in ("Plain 0", "Plain 1", "Plain 2", "&lt;i&gt;مرحبا&lt;/i&gt;") if f">{text}</div>" in page]
    assert shown == ["Plain 0", "Plain 1", "&lt;i&gt;مرحبا&lt;/i&gt;"]
    assert "from <bdi>Shop</bdi>" in page


def test_an_app_without_a_rate_gives_no_estimate(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    assert "the app has no rate set" in browser.get(upload(browser, sandbox, csv(*good()))).text


def test_only_the_first_wrong_rows_are_shown(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    page = browser.get(upload(browser, sandbox, csv(*good(), *([("12", "")] * 150)))).text
    assert page.count("The message is empty") == 100
    assert 'And <bdi dir="ltr">50</bdi> more rows.' in page


@pytest.mark.parametrize(
    ("content", "fields", "words"),
    [
        (b"", {}, "The file is empty"),
        (b"mobile,message\r\n", {}, "a header and no rows"),
        (b"0501234567,Hello\r\n", {}, "which looks like data"),
        (b"%PDF-1.7 ", {}, "The file is a PDF, not a table"),
        (b"PK\x03\x04broken", {}, "sent"),
        (csv(("0501234567", '"Hello')), {}, "is not closed"),
        ("mobile,message\r\n0501234567,مرحبا".encode("cp1256"), {"encoding": "utf-8"}, "Encoding"),
        (csv(*good()), {"sheet": "a\x00b"}, "Null characters"),
        (csv(*good()), {"encoding": "klingon"}, "Select a valid choice"),
        (csv(*good()), {"mode": "half"}, "Select a valid choice"),
        (csv(*good()), {"app": 99999999}, "Select a valid choice"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(
    console: Any, sandbox: OrganizationApp, content: bytes, fields: Any, words: str
):
    answer = console("operator").post(reverse(UPLOAD), form(sandbox, content, **fields))
    assert answer.status_code == 200
    assert "errornote" in answer.text
    assert words in answer.text
    assert not BulkDraft.objects.exists()
    assert not BulkJob.objects.exists()


def test_a_form_without_a_file_asks_for_one(console: Any, sandbox: OrganizationApp):
    answer = console("operator").post(reverse(UPLOAD), {"app": sandbox.pk, "mode": "valid_rows"})
    assert "This field is required" in answer.text
    assert "This field is required" in console("operator").post(reverse(UPLOAD), {}).text


def test_how_the_file_is_read_can_be_said(console: Any, sandbox: OrganizationApp):
    content = f"mobile;message\r\n{factories.mobile()};Déjà vu\r\n".encode("latin-1")
    browser = console("operator")
    check = upload(browser, sandbox, content, encoding="latin-1", separator="semicolon")
    assert "Déjà vu" in browser.get(check).text  # so that one sees a wrong encoding
    browser.post(check)
    assert BulkJob.objects.get().options == {"encoding": "latin-1", "separator": "semicolon"}
    read_files()
    assert Message.objects.get().text == "Déjà vu"


def test_the_wrong_rows_are_downloaded_before_anything_is_sent(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    rows = [*good(), ("12", "Hello"), ("=1+1", ""), *good(1)]
    check = upload(browser, sandbox, csv(*rows))
    url = reverse("admin:send_file_errors", args=[BulkDraft.objects.get().pk])
    assert f'href="{url}"' in browser.get(check).text
    answer = browser.get(url)
    assert answer["Content-Type"].startswith("text/csv")
    lines = list(csv_reader(b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()))
    assert lines[0] == ["mobile", "message", "reason"]
    assert [line[:2] for line in lines[1:]] == [["12", "Hello"], ["'=1+1", ""]]
    assert lines[1][2] == "The number is too short."
    assert "The message is empty." in lines[2][2]
    assert not BulkJob.objects.exists()
    # It can be corrected and uploaded as it is.
    corrected = b"".join(browser.get(url).streaming_content).replace(b'"12"', b'"0501234567"')
    assert "Send 1 message" in browser.get(upload(browser, sandbox, corrected)).text


@pytest.mark.parametrize("who", ["viewer", "operator", "superuser", "stranger"])
def test_the_wrong_rows_of_a_checked_file_are_its_persons_alone(console: Any, sandbox: OrganizationApp, who: str):
    upload(console("operator"), sandbox, csv(*good(), ("12", "Hello")))
    url = reverse("admin:send_file_errors", args=[BulkDraft.objects.get().pk])
    answer = console(who).get(url)
    assert answer.status_code == (403 if who == "viewer" else 302)
    assert "Hello" not in answer.text


def test_a_report_is_kept_in_english_whoever_has_uploaded_the_file(
    console: Any, sandbox: OrganizationApp, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("linkit.phone._", lambda text: f"{get_language()}: {text}")
    browser = console("operator")
    browser.cookies["linkit_language"] = "ar"
    upload(browser, sandbox, csv(*good(), ("12", "Hello")))
    report = BulkDraft.objects.get().report
    assert [error["message"] for error in report["errors"]] == ["en: The number is too short."]
    assert report["warnings"][0].startswith("Read as CSV, utf-8, separated by commas")


def test_a_file_is_dropped_or_chosen_and_its_size_is_known_before(
    console: Any, sandbox: OrganizationApp, settings: Any
):
    settings.BULK_MAX_BYTES = 3_000_000
    page = console("operator").get(reverse(UPLOAD))
    assert "linkit/bulk.js" in page.text
    assert 'data-max-bytes="3000000"' in page.text
    assert 'data-too-large="The file is over 3 MB. Split it."' in page.text
    zone = page.text.split("data-drop ")[1].split("</div>")[0]
    assert '<input type="file"' in zone  # which works by itself, also from a keyboard
    assert 'role="status"' in zone


def test_all_or_nothing_with_a_wrong_row_has_no_button(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    page = browser.get(upload(browser, sandbox, csv(*good(), ("12", "x")), mode="all_or_nothing")).text
    assert "Nothing of this file can be sent" in page
    assert 'class="default"' not in page
    page = browser.get(upload(browser, sandbox, csv(("12", "x")))).text
    assert "No row is right" in page


def test_too_large_a_file_is_refused_before_it_is_read(console: Any, sandbox: OrganizationApp, settings: Any):
    settings.BULK_MAX_BYTES = 100
    browser = console("operator")
    told = browser.post(reverse(UPLOAD), form(sandbox, csv(*good(20))))
    assert "is over 100 bytes" in told.text
    told = browser.post(reverse(UPLOAD), form(sandbox, csv(*good(9000))), follow=True)
    assert "is over 100 bytes" in told.text
    assert not BulkDraft.objects.exists()


def test_a_nul_in_a_cell_is_shown_and_stored(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    page = browser.get(upload(browser, sandbox, csv(*good(), ("05\x0012", "a\x00b")))).text
    assert "NUL" in page
    assert "05\ufffd12" in page


def test_a_double_click_makes_one_job(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    check = upload(browser, sandbox, csv(*good()))
    first, second = (browser.post(check) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert BulkJob.objects.count() == 1
    assert LogEntry.objects.count() == 1
    assert "nothing was sent again" in browser.get(second["Location"]).text
    assert browser.get(check)["Location"] == first["Location"]


def test_two_clicks_at_once_make_one_job(console: Any, sandbox: OrganizationApp, monkeypatch: Any):
    """The second click has found the checked file still there, and then the first one's job is made."""
    browser = console("operator")
    check = upload(browser, sandbox, csv(*good()))
    draft = BulkDraft.objects.select_related("app", "upload").get()
    browser.post(check)
    monkeypatch.setattr(drafts, "take", lambda *_: draft)
    looks = iter([None, BulkJob.objects.get()])
    monkeypatch.setattr("outbox.admin.bulk.BulkJobAdmin._job_of", lambda *_: next(looks))
    answer = browser.post(check)
    assert answer["Location"] == page_of(BulkJob.objects.get())
    assert BulkJob.objects.count() == 1


def test_a_file_of_which_a_part_is_gone_is_not_sent(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    check = upload(browser, sandbox, csv(*good()))
    UploadChunk.objects.all().delete()
    assert "The file has been deleted, and its rows with it; nothing was sent" in browser.post(check, follow=True).text
    assert not BulkJob.objects.exists()


def test_the_same_file_within_a_day_asks_first(console: Any, sandbox: OrganizationApp):
    browser, content = console("operator"), csv(*good())
    browser.post(upload(browser, sandbox, content))
    first = BulkJob.objects.get()
    check = upload(browser, sandbox, content)
    asked = browser.post(check)
    assert asked.status_code == 200
    assert "has been sent within the last 24 hours" in asked.text
    assert page_of(first) in asked.text
    assert "Send it again anyway" in asked.text
    assert BulkJob.objects.count() == 1
    answers = [browser.post(check, {"force": "yes"}) for _ in range(2)]
    second = BulkJob.objects.exclude(pk=first.pk).get()
    assert {answer["Location"] for answer in answers} == {page_of(second)}


def test_an_app_that_is_gone_by_then_sends_nothing(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    check = upload(browser, sandbox, csv(*good()))
    OrganizationApp.objects.update(is_enabled=False)
    assert "nothing was sent" in browser.post(check, follow=True).text
    assert not BulkJob.objects.exists()
    assert "nothing can be sent" in browser.get(reverse(UPLOAD)).text


def test_an_app_whose_credentials_no_key_decrypts_is_said(console: Any, install: Any):
    app = install("mora-sms")
    browser = console("operator")
    check = upload(browser, app, csv(*good()))
    with override_settings(FIELD_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]):
        OrganizationApp.objects.filter(pk=app.pk).update(credentials={"api_key": "lost"})
    assert "enter them again" in browser.post(check, follow=True).text
    answer = browser.post(reverse(UPLOAD), form(app, csv(*good())))
    assert "enter them again" in answer.context["form"].errors["app"][0]
    assert not BulkJob.objects.exists()


def test_a_checked_file_is_gone_after_a_day(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    check, other = (upload(browser, sandbox, csv(*good())) for _ in range(2))
    old = BulkDraft.objects.earliest("created_at")
    BulkDraft.objects.filter(pk=old.pk).update(created_at=old.created_at - timedelta(hours=25))
    assert "upload it again" in browser.post(check, follow=True).text
    assert drafts.purge() == 1
    assert BulkDraft.objects.count() == 1
    assert browser.get(other).status_code == 200
    assert not BulkJob.objects.exists()


def test_a_person_keeps_ten_checked_files(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    first = upload(browser, sandbox, csv(*good()))
    for _ in range(10):
        last = upload(browser, sandbox, csv(*good()))
    assert BulkDraft.objects.count() == 10
    assert browser.get(first)["Location"] == reverse(UPLOAD)
    assert browser.get(last).status_code == 200


@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "superuser", "stranger", "loner"])
def test_a_checked_file_is_its_persons_alone(console: Any, sandbox: OrganizationApp, who: str):
    check = upload(console("operator"), sandbox, csv(*good()))
    browser = console(who)
    missing = reverse("admin:send_file_check", args=[uuid.uuid4()])
    for method in ("get", "post"):
        theirs, nobodys = (getattr(browser, method)(url) for url in (check, missing))
        assert (theirs.status_code, theirs.get("Location")) == (nobodys.status_code, nobodys.get("Location"))
        assert theirs.status_code == (403 if who in ("viewer", "loner") else 302)
    assert not BulkJob.objects.exists()


def test_whoever_may_send_no_more_confirms_nothing(console: Any, sandbox: OrganizationApp, other_organization: Any):
    browser = console("operator")
    check = upload(browser, sandbox, csv(*good()))
    person = BulkDraft.objects.get().user
    person.memberships.update(organization=other_organization)
    assert browser.post(check)["Location"] == reverse(UPLOAD)
    person.memberships.all().delete()
    assert browser.post(check).status_code == 403
    assert not BulkJob.objects.exists()


def test_only_apps_in_reach_can_be_chosen(console: Any, sandbox: OrganizationApp, other_organization: Organization):
    foreign = factories.install(other_organization, "sandbox-sms")
    browser = console("operator")
    assert f'value="{foreign.pk}"' not in browser.get(reverse(UPLOAD)).text
    assert browser.post(reverse(UPLOAD), form(foreign, csv(*good()))).status_code == 200
    assert not BulkDraft.objects.exists()


@pytest.mark.parametrize("who", ["viewer", "loner"])
def test_whoever_may_not_send_uploads_nothing(console: Any, sandbox: OrganizationApp, who: str):
    assert console(who).post(reverse(UPLOAD), form(sandbox, csv(*good()))).status_code == 403
    assert not BulkDraft.objects.exists()


def test_forms_from_elsewhere_are_refused(sandbox: OrganizationApp, organization: Organization, job: Make):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(factories.make_user(organization, is_staff=True), BACKEND)
    assert browser.post(reverse(UPLOAD), form(sandbox, csv(*good()))).status_code == 403
    assert not BulkDraft.objects.exists()
    made = job()
    assert browser.post(page_of(made, "stop")).status_code == 403
    made.refresh_from_db()
    assert made.status == JobStatus.CHECKING


def test_an_upload_of_nobody_is_not_read(sandbox: OrganizationApp, client: Client):
    answer = client.post(reverse(UPLOAD), form(sandbox, csv(*good())))
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("admin:login"))


# --- the page of a job ---


@pytest.mark.parametrize(
    ("status", "words", "acts"),
    [
        ("checking", "The file is being read", ["stop"]),
        ("running", "Sending through Sandbox", ["pause", "stop"]),
        ("paused", "Nothing more is started until somebody resumes it", ["resume", "stop"]),
        ("stopping", "is being cancelled", []),
        ("retrying", "being queued again", ["stop"]),
    ],
)
def test_what_is_under_way_has_its_words_and_buttons(console: Any, job: Make, status: str, words: str, acts: list[str]):
    made = job()
    if status != "checking":
        read_files()
        BulkJob.objects.update(status=status)
    page = console("operator").get(page_of(made)).text
    assert words in page
    assert [name for name in ACTS if page_of(made, name) in page] == acts
    assert f'data-follow="{page_of(made, "progress")}" data-status="{status}"' in page
    assert "Load this page again" in page
    shown = console("viewer").get(page_of(made)).text
    assert words in shown
    assert not [name for name in ACTS if page_of(made, name) in shown]


@pytest.mark.parametrize(
    ("rows", "words", "acts"),
    [
        (["ok"], "only simulated", []),
        (["ok", "refused"], "Sent in part", ["retry"]),
        (["ok", "silent"], "some are not certain", []),
        (["ok", "wrong"], "Sent in part", []),
        (["refused"], "Nothing was sent", ["retry"]),
        (["wrong"], "No row could be sent", []),
    ],
)
def test_an_end_has_its_words_and_buttons(console: Any, job: Make, rows: list[str], words: str, acts: list[str]):
    numbers = {"ok": factories.mobile(), "refused": REFUSED, "silent": SILENT, "wrong": "12"}
    made = job([(numbers[kind], "Hello") for kind in rows])
    send_all()
    page = console("operator").get(page_of(made)).text
    assert words in page
    assert [name for name in ACTS if page_of(made, name) in page] == acts
    assert "data-follow" not in page
    assert ("again before you know" in page) == ("silent" in rows)
    assert (page_of(made, "errors") in page) == bool({"refused", "wrong"} & set(rows))


def test_a_file_that_turns_out_unreadable_says_why(console: Any, job: Make):
    made = job(header="mobile,message,datetime", rows=[(factories.mobile(), "Hello", ""), ("0501234567", '"Hello', "")])
    send_all()
    page = console("viewer").get(page_of(made)).text
    assert "Nothing was sent" in page
    assert "is not closed" in page
    assert page_of(made, "errors") not in page


def test_all_or_nothing_says_what_was_held_back(console: Any, job: Make):
    made = job([*good(2), ("12", "x")], mode="all_or_nothing")
    send_all()
    page = console("operator").get(page_of(made)).text
    assert "1 of 3 rows are wrong, so none was sent." in page
    assert "held back for the wrong ones" in page
    assert page_of(made, "retry") not in page
    assert "more row" not in page


def test_the_button_names_how_many_are_sent_again(console: Any, job: Make):
    made = job([*good(), (REFUSED, "Hello"), ("12", "Hello")])
    send_all()
    assert "Send the failed again (1)" in console("operator").get(page_of(made)).text


def test_the_page_shows_the_figures_of_the_api(console: Any, job: Make, api: Any):
    made = job([*good(3), (REFUSED, "x"), (SILENT, "x"), ("12", "x")])
    browser = console("viewer")
    for step in (lambda: None, read_files, send_all):
        step()
        figures = browser.get(page_of(made, "progress")).json()
        told = api.get(f"/api/v1/sms-providers/sandbox-sms/progress?job_id={made.pk}").json()
        assert {**figures, "rate_per_second": None, "eta_seconds": None} == {
            **told, "rate_per_second": None, "eta_seconds": None,
        }  # fmt: skip
        page = browser.get(page_of(made)).text
        for name in ("total", "sent", "failed", "unknown", "pending"):
            assert f'data-progress="{name}">{figures[name]}<' in page, name
    assert (figures["sent"], figures["failed"], figures["unknown"], figures["total"]) == (3, 2, 1, 6)


def test_the_bar_and_the_pace_are_there_for_everybody(console: Any, job: Make, monkeypatch: pytest.MonkeyPatch):
    made = job([*good(3), ("12", "x")])
    read_files()
    browser = console("viewer")
    page = browser.get(page_of(made)).text
    assert "linkit/bulk.js" in page
    bar = page.split('role="progressbar"')[1].split(">")[0]
    assert 'aria-valuenow="25"' in bar
    assert 'aria-valuemin="0" aria-valuemax="100"' in bar
    assert '<span data-when="measured" hidden>' in page
    monkeypatch.setattr(jobs, "pace", lambda *_, **__: jobs.Pace(12.5, 90))
    page = browser.get(page_of(made)).text
    assert '<span data-when="unmeasured" hidden>' in page
    assert 'data-progress="rate_per_second">12.50<' in page
    assert 'data-progress="eta_seconds">2 min<' in page
    assert 'data-announce-left="{percent} percent done, {left} to go"' in page


def test_a_job_is_paused_resumed_and_stopped(console: Any, job: Make):
    made = job()
    read_files()
    browser = console("operator")
    for name, status in (("pause", "paused"), ("resume", "running"), ("stop", "stopping")):
        answer = browser.post(page_of(made, name))
        assert answer["Location"] == page_of(made)
        made.refresh_from_db()
        assert made.status == status
    Drain().run()
    read_files()
    assert not SmsLog.objects.exists()
    assert "Stopped by hand. 0 of 2 rows were sent." in browser.get(page_of(made)).text
    browser.post(page_of(made, "retry"))
    BulkJob.objects.update(work_expires_at=None)  # the worker has let go of it only for now
    send_all()
    made.refresh_from_db()
    assert (made.status, made.sent_count) == ("completed", 2)
    notes = [audit.in_words(entry) for entry in LogEntry.objects.order_by("pk")]
    assert notes == ["Paused.", "Resumed.", "Stopped.", "Queued the failed again."]
    assert "Resumed." in browser.get(page_of(made, "history")).text


def test_a_stop_asks_first_and_says_what_comes_of_it(console: Any, job: Make):
    made = job([*good(3), ("12", "x")])
    read_files()
    browser = console("operator")
    asked = browser.get(page_of(made, "stop"))
    assert asked.status_code == 200
    assert "Stop this bulk job?" in asked.text
    assert "3 messages that wait are cancelled." in asked.text
    assert "<script>" not in asked.text
    made.refresh_from_db()
    assert made.status == JobStatus.RUNNING, "asking changes nothing"
    assert not LogEntry.objects.exists()
    assert console("viewer").get(page_of(made, "stop")).status_code == 403
    for name in ("pause", "resume", "retry"):  # done by their button, or not possible now
        assert browser.get(page_of(made, name))["Location"] == page_of(made)


@pytest.mark.parametrize("is_metered", [False, True])
def test_sending_the_failed_again_asks_first_with_count_and_cost(
    console: Any, job: Make, sandbox: OrganizationApp, is_metered: bool
):
    factories.top_up(sandbox.organization, "10")
    OrganizationApp.objects.update(is_metered=is_metered)
    made = job([*good(), (REFUSED, "Hello"), ("+966555555504", "x" * 200), ("12", "Hello")])
    send_all()
    made.refresh_from_db()
    count = made.failed_count - made.invalid_count
    browser = console("operator")
    asked = browser.get(page_of(made, "retry")).text
    assert f"{count} message" in asked
    assert "1 wrong row stays out" in asked
    parts = sum(Message.objects.filter(status="failed").values_list("segment_count", flat=True))
    assert ("That costs no credits." in asked) is not is_metered
    assert (f"That costs {in_figures(parts * settings.SMS_CREDIT_RATE)} credits" in asked) is is_metered
    assert Message.objects.filter(status="failed").count() == count, "asking changes nothing"
    browser.post(page_of(made, "retry"))
    made.refresh_from_db()
    assert made.status == JobStatus.RETRYING


@pytest.mark.parametrize("name", ACTS)
def test_what_cannot_be_done_any_more_is_said(console: Any, job: Make, name: str):
    made = job()
    send_all()
    browser = console("operator")
    told = browser.post(page_of(made, name), follow=True)
    assert 'class="warning"' in told.text
    made.refresh_from_db()
    assert made.status == "completed"
    assert not LogEntry.objects.exists()
    assert browser.get(page_of(made, name))["Location"] == page_of(made)  # nothing happens by a link


@pytest.mark.parametrize("name", ACTS)
def test_a_viewer_changes_nothing(console: Any, job: Make, name: str):
    made = job()
    read_files()
    before = BulkJob.objects.values().get()
    assert console("viewer").post(page_of(made, name)).status_code == 403
    assert BulkJob.objects.values().get() == before


@pytest.mark.parametrize("who", ["stranger", "loner"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_another_tenants_job_is_like_a_missing_one(console: Any, job: Make, who: str, method: str):
    made = job([*good(), ("12", "x")])
    read_files()
    before = BulkJob.objects.values().get()
    browser = console(who)
    for page in (*PAGES, *ACTS, "delete"):
        url = page_of(made, page)
        theirs = getattr(browser, method)(url)
        nobodys = getattr(browser, method)(url.replace(str(made.pk), str(uuid.uuid4())))
        assert (theirs.status_code, theirs.get("Location")) == (nobodys.status_code, nobodys.get("Location")), page
        assert theirs.status_code in (302, 403, 404), page
        assert "people.csv" not in theirs.text
    assert BulkJob.objects.values().get() == before
    messages = browser.get(reverse("admin:outbox_message_changelist"), {"job": str(made.pk)})
    assert "people.csv" not in messages.text


def test_the_refused_rows_are_downloaded(console: Any, job: Make):
    made = job([*good(), (REFUSED, "Hello"), ("=1+1", "<b>")])
    browser = console("viewer")
    assert browser.get(page_of(made, "errors"))["Location"] == page_of(made)
    assert "still being read" in browser.get(page_of(made)).text
    send_all()
    answer = browser.get(page_of(made, "errors"))
    assert answer["Content-Type"].startswith("text/csv")
    assert f"errors-{made.pk}.csv" in answer["Content-Disposition"]
    lines = list(csv_reader(b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()))
    assert lines[0] == ["mobile", "message", "reason"]
    assert [line[0] for line in lines[1:]] == ["'" + REFUSED, "'=1+1"]
    page = browser.get(page_of(made)).text
    assert "=1+1" in page
    BulkJob.objects.update(upload=None)
    assert page_of(made, "errors") not in browser.get(page_of(made)).text
    assert "has been deleted" in browser.get(page_of(made, "errors"), follow=True).text


def test_what_a_file_says_is_shown_as_text(console: Any, job: Make):
    evil = "<img src=x onerror=alert(1)>"
    made = job(
        [*good(), (evil, "x"), (factories.mobile(), "x")], filename=f"{evil}.csv", header=f"mobile,message,{evil}"
    )
    send_all()
    browser = console("superuser")
    for url in (page_of(made), page_of(made, "history"), reverse("admin:outbox_bulkjob_changelist")):
        page = browser.get(url).text
        assert "&lt;img src=x" in page
        assert "<img src=x" not in page
    check = upload(browser, OrganizationApp.objects.get(), csv((evil, "x"), header=f"mobile,message,{evil}"))
    page = browser.get(check).text
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page


def test_a_message_shows_its_job_and_its_row(console: Any, job: Make):
    made = job([("0501234567", "Hello"), (factories.mobile(), "Hello")])
    read_files()
    message = Message.objects.earliest("row_number")
    browser, url = console("viewer"), reverse("admin:outbox_message_change", args=[message.pk])
    page = browser.get(url).text
    assert f'<a href="{page_of(made)}"><bdi>people.csv</bdi></a>, row <bdi dir="ltr">2</bdi>' in page
    assert '<bdi dir="ltr">0501234567</bdi>' in page
    made.refresh_from_db()
    assert made.expires_at is not None
    assert f"{made.expires_at:%Y}" in page.split("Not after")[1][:60]
    jobs.pause(made)
    assert "not running now: paused" in browser.get(url).text


def test_the_outbox_is_narrowed_to_one_job(console: Any, job: Make, queued: Any):
    other, made = queued(), job()
    read_files()
    browser, url = console("viewer"), reverse("admin:outbox_message_changelist")
    page = browser.get(url, {"job": str(made.pk)}).text
    assert "people.csv" in page
    assert other.recipient not in page
    assert all(message.recipient in page for message in Message.objects.filter(job=made))
    assert "Nothing matches" in browser.get(url, {"job": str(made.pk), "status__exact": "failed"}).text
    for odd in ("x", str(uuid.uuid4()), "%00", "9" * 400, ""):
        assert browser.get(f"{url}?job={odd}", follow=True).status_code == 200
    assert "bulk job" not in browser.get(url).text.lower().split("changelist-filter")[-1]


# --- the list ---


def test_the_list_shows_figures_and_nothing_personal(console: Any, job: Make, django_assert_max_num_queries: Any):
    rows = [*good(3), (REFUSED, "Hello"), ("12", "Hello")]
    for number in range(3):
        job(rows, filename=f"file-{number}.csv", force=True)
    send_all()
    browser, url = console("superuser"), reverse("admin:outbox_bulkjob_changelist")
    with django_assert_max_num_queries(9):
        page = browser.get(url).text
    assert all(f"file-{number}.csv" in page for number in range(3))
    assert "Partly failed" in page
    assert "Acme" in page
    assert "+966" not in page
    assert "Hello" not in page
    assert "Acme</td>" not in console("viewer").get(url).text
    assert "Nothing matches" in browser.get(url, {"status__exact": "running"}).text
    assert "file-1.csv" in browser.get(url, {"app": "sandbox-sms"}).text
    found = BulkJob.objects.get(filename="file-1.csv")
    for typed in ("file-1", str(found.pk)):
        page = browser.get(url, {"q": typed}).text
        assert "file-1.csv" in page
        assert "file-2.csv" not in page


def test_the_report_is_not_read_for_the_list(console: Any, job: Make):
    job()
    with CaptureQueries() as queries:
        console("viewer").get(reverse("admin:outbox_bulkjob_changelist"))
    listed = [sql for sql in queries.found if 'FROM "outbox_bulkjob"' in sql]
    assert listed
    assert not [sql for sql in listed if '"report"' in sql]


class CaptureQueries:
    """What the database is asked, in this block."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._wrapper = connection.execute_wrapper(self._note)

    def _note(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.found.append(sql)
        return execute(sql, params, many, context)

    def __enter__(self) -> CaptureQueries:
        self._wrapper.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._wrapper.__exit__(*error)


def test_an_empty_list_says_what_to_do(console: Any):
    page = console("viewer").get(reverse("admin:outbox_bulkjob_changelist")).text
    assert "No file has been sent yet" in page


def test_odd_searches_and_parameters_break_nothing(console: Any, job: Make):
    job()
    browser, url = console("superuser"), reverse("admin:outbox_bulkjob_changelist")
    for odd in ODD:
        assert browser.get(f"{url}?q={odd}", follow=True).status_code == 200, odd[:20]
    for query in (
        "status__exact=%00", "status__exact=x", "%00=1", "app=%00", "organization=%00", "created_at__gte=x", "p=-1",
        "id__exact=x", "total_count__exact=99999999999999999999", "job=%00", "o=99",
    ):  # fmt: skip
        assert browser.get(f"{url}?{query}", follow=True).status_code in (200, 400), query
    for hidden in ("content_hash__startswith=a", "idempotency_key__startswith=a", "token__digest__startswith=a",
                   "messages__recipient__startswith=a", "user__password__startswith=a"):  # fmt: skip
        assert browser.get(f"{url}?{hidden}").status_code == 400, hidden


@pytest.mark.parametrize("path", ["%00", "x", "x" * 5000, "0", "%ED%A0%80"])
def test_odd_ids_break_nothing(console: Any, path: str):
    browser = console("superuser")
    for page in ("change", "history", "delete", "progress", "errors", *ACTS):
        for method in (browser.get, browser.post):
            assert method(f"/admin/outbox/bulkjob/{path}/{page}/").status_code in (302, 403, 404)
    for method in (browser.get, browser.post):
        assert method(f"/admin/outbox/bulkjob/send/{path}/").status_code in (302, 403, 404)


@pytest.mark.parametrize("who", ["operator", "superuser"])
def test_a_job_is_not_edited_or_deleted(console: Any, job: Make, who: str):
    made, browser = job(), console(who)
    assert browser.post(reverse("admin:outbox_bulkjob_changelist"), {"action": "delete_selected"}).status_code == 405
    for page in ("change", "delete"):
        assert browser.post(page_of(made, page), {"post": "yes", "status": "completed"}).status_code == 403
    assert browser.post(reverse("admin:outbox_bulkjob_add"), {}).status_code == 403
    made.refresh_from_db()
    assert made.status == JobStatus.CHECKING


def test_the_navigation_shows_the_upload_to_whoever_may_send(console: Any, sandbox: OrganizationApp):
    viewer, operator = (console(who).get(reverse("admin:index")).text for who in ("viewer", "operator"))
    assert "Send a file" not in viewer
    assert "Bulk jobs" in viewer
    order = [operator.index(f">{name}</a>") for name in ("Send one", "Send a file", "Outbox", "SMS log", "Bulk jobs")]
    assert order == sorted(order)
