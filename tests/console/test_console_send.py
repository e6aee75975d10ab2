"""Sending one message by hand: once, whatever the browser does."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from linkit.models import Organization
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog, Source, Status
from tests import factories
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

URL = "admin:send_one"


def form(app: OrganizationApp, **fields: Any) -> dict[str, Any]:
    given = {"once": str(uuid.uuid4()), "app": app.pk, "recipient": "0501234567", "text": "Hello", "send_at": ""}
    return {**given, "sender_id": "", **fields}


def test_a_message_is_sent_and_its_page_shown(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    answer = browser.post(reverse(URL), form(sandbox, sender_id="Shop"))
    log = SmsLog.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == reverse("admin:sms_providers_smslog_change", args=[log.pk])
    assert (log.source, log.recipient, log.sender_id, log.status) == (
        Source.CONSOLE,
        "+966501234567",
        "Shop",
        Status.SENT,
    )
    assert log.user is not None
    page = browser.get(answer["Location"]).text
    assert "only simulated" in page
    assert "Send another" in page
    entry = LogEntry.objects.get()
    assert entry.change_message == "Sent by hand through Sandbox: sent."
    assert "+966" not in entry.object_repr  # it outlives the number


def test_an_app_whose_credentials_no_key_decrypts_is_said_and_keeps_the_input(console: Any, install: Any, queued: Any):
    app = install("mora-sms")
    waiting = queued(pinned_app=app)
    with override_settings(FIELD_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]):
        OrganizationApp.objects.filter(pk=app.pk).update(credentials={"api_key": "lost"})
    browser = console("admin")
    answer = browser.post(reverse(URL), form(app, text="Typed with care"))
    assert answer.status_code == 200
    assert "cannot be read; enter them again. Nothing was sent." in answer.text
    assert "Typed with care" in answer.text
    assert not SmsLog.objects.exists()
    for page in (
        reverse("admin:outbox_message_change", args=[waiting.pk]),
        reverse("admin:sms_providers_organizationapp_changelist"),
        reverse("admin:sms_providers_organizationapp_change", args=[app.pk]),
        reverse("admin:sms_providers_organizationapp_add"),
        reverse("admin:send_one"),
    ):
        assert browser.get(page).status_code == 200, page
    assert "Cannot be read" in browser.get(reverse("admin:sms_providers_organizationapp_changelist")).text


def test_a_double_click_sends_once(console: Any, sandbox: OrganizationApp):
    browser, data = console("operator"), form(sandbox)
    first, second = (browser.post(reverse(URL), data) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert SmsLog.objects.count() == 1
    assert "nothing was sent again" in browser.get(second["Location"]).text
    assert LogEntry.objects.count() == 1


def test_a_second_click_while_the_first_is_under_way(console: Any, sandbox: OrganizationApp):
    browser, data = console("operator"), form(sandbox)
    browser.post(reverse(URL), data)
    SmsLog.objects.update(status=Status.SENDING)
    answer = browser.post(reverse(URL), data)
    assert answer["Location"] == reverse("admin:sms_providers_smslog_change", args=[SmsLog.objects.get().pk])
    assert "Under way" in browser.get(answer["Location"]).text


def test_a_form_that_was_sent_and_then_changed_is_not_sent_by_itself(console: Any, sandbox: OrganizationApp):
    browser, data = console("operator"), form(sandbox)
    browser.post(reverse(URL), data)
    again = browser.post(reverse(URL), {**data, "text": "Other"})
    assert again.status_code == 200
    assert "Nothing was sent now" in again.text
    assert SmsLog.objects.count() == 1
    renewed = again.context["form"]["once"].value()
    assert renewed != data["once"]
    assert "Other" in again.text
    browser.post(reverse(URL), {**data, "text": "Other", "once": renewed})
    assert SmsLog.objects.count() == 2


@pytest.mark.parametrize(
    ("recipient", "status", "words"),
    [
        ("+966555555503", Status.FAILED, "Not sent: refused"),
        ("+966555555508", Status.FAILED, "certainly did not leave"),
        ("+966555555509", Status.DISPATCH_TIMEOUT, "Do not send it again"),
    ],
)
def test_every_outcome_is_told_in_words(
    console: Any, sandbox: OrganizationApp, recipient: str, status: str, words: str
):
    answer = console("operator").post(reverse(URL), form(sandbox, recipient=recipient), follow=True)
    assert SmsLog.objects.get().status == status
    assert words in answer.text


def test_what_certainly_did_not_leave_may_be_sent_by_the_same_form(console: Any, sandbox: OrganizationApp):
    browser, data = console("operator"), form(sandbox, recipient="+966555555508")
    for _ in range(2):
        browser.post(reverse(URL), data)
    assert SmsLog.objects.count() == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"recipient": "12"}, {"recipient": "abc"}, {"recipient": ""}, {"recipient": "0112345678"}, {"text": ""},
        {"text": "  \n "}, {"text": "x" * 1601}, {"text": "م" * 671}, {"text": "a\x00b"}, {"sender_id": "x" * 21},
        {"app": "999999"}, {"app": "x"}, {"send_at": "2001-01-01T00:00"}, {"send_at": "2999-01-01T00:00"},
        {"send_at": "soon"}, {"once": ""}, {"once": "x"},
    ],
)  # fmt: skip
def test_bad_input_sends_nothing_and_is_kept(console: Any, sandbox: OrganizationApp, fields: Any):
    answer = console("operator").post(reverse(URL), form(sandbox, sender_id="Kept") | fields)
    assert answer.status_code == 200
    assert "errornote" in answer.text
    assert uuid.UUID(str(answer.context["form"]["once"].value()))
    assert not SmsLog.objects.exists()
    if "sender_id" not in fields:
        assert 'value="Kept"' in answer.text


def test_line_breaks_count_once(console: Any, sandbox: OrganizationApp):
    console("operator").post(reverse(URL), form(sandbox, text=" a\r\nb "))
    assert SmsLog.objects.get().text == " a\nb "


def test_later_is_queued_in_the_zone_of_the_page(console: Any, sandbox: OrganizationApp, organization: Organization):
    due = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    local = due.astimezone(ZoneInfo(organization.time_zone))
    browser, data = console("operator"), form(sandbox, send_at=f"{local:%Y-%m-%dT%H:%M}")
    answer = browser.post(reverse(URL), data, follow=True)
    message = Message.objects.get()
    assert message.next_attempt_at == due
    assert message.pinned_app == sandbox
    assert "Waiting" in answer.text
    assert message.pk in answer.text
    browser.post(reverse(URL), data)
    assert Message.objects.count() == 1


def test_only_apps_in_reach_can_be_chosen(
    console: Any, sandbox: OrganizationApp, organization: Organization, other_organization: Organization
):
    foreign = factories.install(other_organization, "sandbox-sms")
    browser = console("operator")
    page = browser.get(reverse(URL)).text
    assert f'value="{sandbox.pk}"' in page
    assert f'value="{foreign.pk}"' not in page
    assert browser.post(reverse(URL), form(foreign)).status_code == 200
    OrganizationApp.objects.filter(pk=sandbox.pk).update(is_enabled=False)
    assert "nothing can be sent" in browser.get(reverse(URL)).text
    assert browser.post(reverse(URL), form(sandbox)).status_code == 200
    assert not SmsLog.objects.exists()


def test_a_viewer_sends_nothing(console: Any, sandbox: OrganizationApp):
    assert console("viewer").post(reverse(URL), form(sandbox)).status_code == 403
    assert not SmsLog.objects.exists()


def test_a_form_from_elsewhere_is_refused(sandbox: OrganizationApp, organization: Organization):
    from django.test import Client

    browser = Client(enforce_csrf_checks=True)
    browser.force_login(factories.make_user(organization, is_staff=True), BACKEND)
    assert browser.post(reverse(URL), form(sandbox)).status_code == 403
    assert not SmsLog.objects.exists()
