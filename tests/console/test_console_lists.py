"""Lists and read-only pages: filters, search, odd input, large tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from linkit import pagination, tenancy
from linkit.models import Organization
from outbox.models import BulkJob, Message, id_from
from sms_providers.models import Attempt, SmsLog, Status
from sms_providers.reasons import REASONS
from tests import factories

pytestmark = pytest.mark.django_db

LISTS = [
    "sms_providers_smslog", "sms_providers_sandboxdelivery", "outbox_message", "sms_providers_organizationapp",
    "linkit_organization", "linkit_apikey", "linkit_user", "linkit_membership", "linkit_auditentry",
]  # fmt: skip
ODD = [
    "%00", "a%00b", "%25", "_", "%25%25__", "x" * 20_000, "+966" * 5000, "05", "0", "00", "+", "++", "٠٥٠١", "'\"\\",
    "%ED%A0%80", "r00000000000000", "00000000-0000-4000-8000-000000000000", "²", "9" * 400,
]  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_odd_searches_break_nothing(console: Any, sandbox: Any, send: Any, name: str):
    send(sandbox)
    browser, url = console("superuser"), reverse(f"admin:{name}_changelist")
    for odd in ODD:
        assert browser.get(f"{url}?q={odd}", follow=True).status_code == 200, odd[:20]


@pytest.mark.filterwarnings("ignore:.*received a naive datetime:RuntimeWarning")
@pytest.mark.parametrize("name", LISTS)
def test_odd_parameters_break_nothing(console: Any, sandbox: Any, send: Any, name: str):
    send(sandbox)
    browser, url = console("superuser"), reverse(f"admin:{name}_changelist")
    odd = [
        "p=99999999999999999999", "p=-1", "p=x", "o=99.-7.x", "all=", "status__exact=%00", "status=zzz", "e=1",
        "organization=x", "organization=%00", "app=%00", "app=nothing", "created_at__gte=x",
        "created_at__gte=9999-99-99",
        "created_at__gte=0001-01-01", "created_at__gte=9999-12-31T23:59:59Z&created_at__lt=x", "is_test__exact=7",
        "id__exact=99999999999999999999999999", "id__exact=x", "segment_count__exact=1e99", "_facets=", "zzz=1",
        "state=x", "installed=x", "action_time__gte=0001-01-01", "_popup=1", "%00=1", "is_active__exact=x",
    ]  # fmt: skip
    for query in odd:
        assert browser.get(f"{url}?{query}", follow=True).status_code in (200, 400), query


@pytest.mark.parametrize("name", ["sms_providers_smslog", "outbox_message", "sms_providers_sandboxdelivery"])
@pytest.mark.parametrize("who", ["operator", "superuser"])
def test_read_only_pages_reject_post(console: Any, sandbox: Any, send: Any, queued: Any, name: str, who: str):
    row = queued() if name == "outbox_message" else send(sandbox)
    browser = console(who)
    assert browser.post(reverse(f"admin:{name}_changelist"), {"action": "delete_selected"}).status_code == 405
    for page in ("change", "delete"):
        url = reverse(f"admin:{name}_{page}", args=[row.pk])
        assert browser.post(url, {"post": "yes", "status": "sent"}).status_code == 403
    assert browser.post(reverse(f"admin:{name}_add"), {}).status_code == 403
    row.refresh_from_db()


@pytest.mark.parametrize("path", ["%00", "x", "x" * 5000, "0", "r0%00"])
def test_odd_ids_break_nothing(console: Any, path: str):
    browser = console("superuser")
    for model in (
        "sms_providers/smslog",
        "outbox/message",
        "sms_providers/organizationapp",
        "linkit/apikey",
        "linkit/user",
    ):
        for page in ("change", "history", "delete"):
            assert browser.get(f"/admin/{model}/{path}/{page}/").status_code in (302, 403, 404)


def test_secret_columns_cannot_be_searched_by_url(console: Any, api_key: Any, sandbox: Any):
    api_key()
    browser = console("admin")
    for name, lookup in [
        ("linkit_apikey", "digest__startswith=a"),
        ("linkit_apikey", "user__password__startswith=a"),
        ("sms_providers_organizationapp", "credentials__contains=a"),
        ("sms_providers_smslog", "token__digest__startswith=a"),
        ("outbox_message", "claim_token__isnull=1"),
    ]:
        assert browser.get(reverse(f"admin:{name}_changelist") + f"?{lookup}").status_code == 400, lookup


@pytest.mark.parametrize(
    "typed",
    [
        "0501234567", "00966501234567", "+966501234567", "966 50 123 4567", "٠٥٠١٢٣٤٥٦٧", "05012", "0096650123",
        "+9665012", "966501",
    ],
)  # fmt: skip
def test_a_number_is_found_however_it_is_typed(console: Any, sandbox: Any, send: Any, typed: str):
    send(sandbox, recipient="+966501234567")
    send(sandbox, recipient="+966599999999")
    page = console("viewer").get(reverse("admin:sms_providers_smslog_changelist"), {"q": typed}).text
    assert "+966501234567" in page
    assert "+966599999999" not in page


def test_a_message_is_found_by_its_id(console: Any, sandbox: Any, send: Any, queued: Any):
    log, message = send(sandbox), queued()
    browser = console("viewer")
    assert log.recipient in browser.get(reverse("admin:sms_providers_smslog_changelist"), {"q": str(log.pk)}).text
    assert message.recipient in browser.get(reverse("admin:outbox_message_changelist"), {"q": message.pk}).text
    assert "Nothing matches" in browser.get(reverse("admin:sms_providers_smslog_changelist"), {"q": "nothing"}).text


def test_filters_narrow_the_log(console: Any, sandbox: Any, send: Any):
    sent, refused = send(sandbox), send(sandbox, recipient="+966555555503")
    browser, url = console("viewer"), reverse("admin:sms_providers_smslog_changelist")
    failed = browser.get(url, {"status__exact": "failed"}).text
    assert refused.recipient in failed
    assert sent.recipient not in failed
    assert sent.recipient in browser.get(url, {"app": "sandbox-sms"}).text
    assert "Nothing matches" in browser.get(url, {"app": "mora-sms"}).text
    assert "Nothing matches" in browser.get(url, {"is_test__exact": "1"}).text


@pytest.mark.parametrize("name", ["sms_providers_smslog", "outbox_message", "sms_providers_organizationapp"])
def test_an_empty_list_says_what_to_do(console: Any, name: str):
    page = console("admin").get(reverse(f"admin:{name}_changelist")).text
    assert 'class="empty-list"' in page


def test_a_large_table_is_not_counted(
    console: Any, organization: Organization, sandbox: Any, monkeypatch: Any, django_assert_max_num_queries: Any
):
    monkeypatch.setattr(tenancy, "COUNT_CAP", 120)
    assert pagination.COUNT_CAP == 10_000
    SmsLog.objects.bulk_create(
        SmsLog(
            organization=organization, source="send", app=sandbox, provider_slug="sandbox-sms", encoding="GSM-7",
            recipient=factories.mobile(), text="x", segment_count=1, status=Status.SENT,
        )
        for _ in range(150)
    )  # fmt: skip
    browser, url = console("viewer"), reverse("admin:sms_providers_smslog_changelist")
    with django_assert_max_num_queries(12):
        page = browser.get(url)
    assert "of more" in page.text
    assert page.context["cl"].result_count == 120
    assert browser.get(f"{url}?p=3").status_code == 200


def listed(answer: Any) -> list[str]:
    return [row.pk for row in answer.context["cl"].result_list]


@pytest.mark.parametrize("who", ["viewer", "superuser"])
def test_the_outbox_is_in_the_order_of_time(console: Any, queued: Any, who: str):
    now = timezone.now()
    first, second, third = (queued(id=f"{id_from(now + timedelta(seconds=number))}abcdef") for number in range(3))
    for number, message in enumerate((first, second, third)):
        Message.objects.filter(pk=message.pk).update(created_at=now + timedelta(seconds=number))
    browser, url = console(who), reverse("admin:outbox_message_changelist")
    assert listed(browser.get(url)) == [third.pk, second.pk, first.pk]
    position = 1 if who == "superuser" else 0  # a viewer has no actions, and so no column of boxes
    assert listed(browser.get(url, {"o": position})) == [first.pk, second.pk, third.pk]


@pytest.mark.parametrize("who", ["viewer", "superuser"])
def test_what_is_pending_is_found_with_and_without_a_job(
    console: Any, queued: Any, organization: Organization, who: str
):
    job = BulkJob.objects.create(organization=organization, provider_slug="sandbox-sms", size=1)
    alone, ended = queued(), queued(status=Status.FAILED)
    rows = [queued(job=job, row_number=number, expires_at=None) for number in (3, 2)]
    browser, url = console(who), reverse("admin:outbox_message_changelist")
    assert set(listed(browser.get(url, {"status__exact": "pending"}))) == {alone.pk, *(row.pk for row in rows)}
    assert listed(browser.get(url, {"status__exact": "failed"})) == [ended.pk]
    in_order = browser.get(url, {"job": str(job.pk), "status__exact": "pending"})
    assert listed(in_order) == [rows[1].pk, rows[0].pk], "as in the file"


@pytest.mark.parametrize("who", ["viewer", "superuser"])
def test_the_outbox_is_narrowed_by_time(console: Any, organization: Organization, queued: Any, who: str):
    now = timezone.now()
    today, before = queued(), queued(id=f"{id_from(now - timedelta(days=30))}abcdef")
    Message.objects.filter(pk=before.pk).update(created_at=now - timedelta(days=30))
    browser, url = console(who), reverse("admin:outbox_message_changelist")
    since = (now - timedelta(days=7)).isoformat()
    assert listed(browser.get(url, {"created_at__gte": since})) == [today.pk]
    assert listed(browser.get(url, {"created_at__lt": since})) == [before.pk]
    assert set(listed(browser.get(url, {"created_at__gte": "1999-01-01T00:00:00Z"}))) == {today.pk, before.pk}


def test_the_page_of_a_message_tells_the_whole_story(console: Any, sandbox: Any, send: Any, organization: Organization):
    log = send(sandbox, recipient="+966555555509", text="<b>bold</b>")
    page = console("viewer").get(reverse("admin:sms_providers_smslog_change", args=[log.pk])).text
    assert "it may have been sent" in page
    assert "Do not send it again" in page
    assert "read_timeout" in page
    assert "&quot;sandbox&quot;: true" in page  # the raw answer
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert '<bdi dir="ltr">+966555555509</bdi>' in page


@pytest.mark.parametrize("language", ["en", "ar"])
def test_a_reason_is_explained_in_the_readers_language_with_the_next_step(
    console: Any, sandbox: Any, send: Any, queued: Any, language: str
):
    log = send(sandbox, recipient="+966555555502")
    browser = console("viewer")
    browser.cookies["linkit_language"] = language
    shown = browser.get(reverse("admin:sms_providers_smslog_change", args=[log.pk])).text
    expired = queued(status="failed", reason="expired")
    waiting = browser.get(reverse("admin:outbox_message_change", args=[expired.pk])).text
    for page, code in ((shown, "insufficient_provider_balance"), (waiting, "expired")):
        reason = REASONS[code]
        said = {"en": (reason.text, reason.next_step), "ar": (reason.text_ar, reason.next_step_ar)}
        for text in said.pop(language):
            assert text in page, text
        for text in next(iter(said.values())):
            assert text not in page, text


def test_an_attempt_explains_a_reason_that_is_not_the_messages_own(console: Any, sandbox: Any, send: Any):
    log = send(sandbox)
    first = log.attempts.get()
    Attempt.objects.create(
        log=log, app=sandbox, provider_slug="sandbox-sms", outcome="unavailable", reason="dns_failed",
        started_at=first.started_at, finished_at=first.finished_at,
    )  # fmt: skip
    page = console("viewer").get(reverse("admin:sms_providers_smslog_change", args=[log.pk])).text
    assert page.count(escape(REASONS["dns_failed"].text)) == 1


def test_many_attempts_are_cut(console: Any, sandbox: Any, send: Any):
    log = send(sandbox)
    first = log.attempts.get()
    Attempt.objects.bulk_create(
        Attempt(
            log=log, app=sandbox, provider_slug="sandbox-sms", outcome="unavailable", started_at=first.started_at,
            finished_at=first.finished_at,
        )
        for _ in range(60)
    )  # fmt: skip
    page = console("viewer").get(reverse("admin:sms_providers_smslog_change", args=[log.pk])).text
    assert page.count('<details class="attempt"') == 30
    assert '<bdi dir="ltr">31</bdi> earlier' in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Waiting"),
        ({"reason": "no_app", "error_message": "No app may send it."}, "No app may send it."),
        ({"status": "failed", "reason": "expired", "error_message": "It expired."}, "Not sent"),
        ({"status": "dispatch_timeout", "error_message": "Lost."}, "it may have been sent"),
        ({"status": "sent"}, "A provider accepted it"),
        ({"text": "", "recipient": ""}, "blanked"),
    ],
)
def test_the_page_of_a_queued_message_says_how_it_stands(console: Any, queued: Any, fields: Any, words: str):
    message = queued(**fields, meta={"order": "<17>"})
    page = console("viewer").get(reverse("admin:outbox_message_change", args=[message.pk])).text
    assert words in page
    assert "&lt;17&gt;" in page


def test_the_sandbox_inbox_shows_what_handsets_would(console: Any, sandbox: Any, send: Any):
    taken, silent = send(sandbox, text="Taken"), send(sandbox, recipient="+966555555509", text="Silent")
    send(sandbox, recipient="+966555555503", text="Refused")
    page = console("viewer").get(reverse("admin:sms_providers_sandboxdelivery_changelist")).text
    assert "Taken" in page
    assert "Silent" in page
    assert "Refused" not in page
    for row in (taken, silent):
        answer = console("viewer").get(reverse("admin:sms_providers_sandboxdelivery_change", args=[row.pk]))
        assert answer["Location"] == reverse("admin:sms_providers_smslog_change", args=[row.pk])
