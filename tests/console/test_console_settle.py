"""An unknown direct send in the console: settled by whoever may send, once, and its money with it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from billing import ledger
from billing.models import CreditAccount, CreditTransaction, Hold, Kind
from linkit.audit import in_words
from linkit.models import Organization
from sms_providers import settling
from sms_providers.models import OrganizationApp, SmsLog, Source, Status
from sms_providers.reasons import REASONS
from tests import factories

pytestmark = pytest.mark.django_db

SILENT, REFUSED = "+966555555509", "+966555555503"


def page_of(log: SmsLog, word: str = "") -> str:
    return reverse(f"admin:sms_providers_smslog_{f'settle_{word}' if word else 'change'}", args=[log.pk])


@pytest.fixture
def unknown(organization: Organization, sandbox: OrganizationApp, send: Any) -> SmsLog:
    """Three parts of which nobody knows; 5.661 credits are held for it."""
    factories.top_up(organization, "100")
    sandbox.is_metered = True
    sandbox.save()
    log: SmsLog = send(sandbox, recipient=SILENT, text="x" * 400)
    SmsLog.objects.filter(pk=log.pk).update(idempotency_key="key-1")
    return log


def money(organization: Organization) -> Any:
    return CreditAccount.objects.values_list("balance", "held").get(pk=organization.pk)


def test_the_page_shows_the_money_and_two_ways_out(console: Any, unknown: SmsLog):
    for who, may in (("viewer", False), ("operator", True), ("admin", True), ("superuser", True)):
        page = console(who).get(page_of(unknown)).text
        assert "Held until its end is known" in page
        assert page.count(">5.661</bdi>") == 2  # it costs that, and holds that
        for word in ("sent", "unsent"):
            assert (page_of(unknown, word) in page) is may


@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "superuser", "stranger", "loner"])
def test_who_may_send_may_settle(console: Any, unknown: SmsLog, organization: Organization, who: str):
    browser = console(who)
    may = who in ("operator", "admin", "superuser")
    for word in ("sent", "unsent"):
        answer = browser.get(page_of(unknown, word))
        assert answer.status_code == (200 if may else 403 if who == "viewer" else 302)
        missing = browser.get(page_of(unknown, word).replace(str(unknown.pk), "00000000-0000-4000-8000-000000000000"))
        assert who == "viewer" or may or missing["Location"] == answer["Location"]
    assert money(organization) == (100, Decimal("5.661"))
    browser.post(page_of(unknown, "sent"))
    unknown.refresh_from_db()
    assert unknown.status == (Status.SENT if may else Status.DISPATCH_TIMEOUT)


def test_it_was_sent_and_is_charged(console: Any, unknown: SmsLog, organization: Organization):
    browser = console("operator")
    asked = browser.get(page_of(unknown, "sent"))
    assert "5.661 credits, which are held for it, are charged" in asked.text
    assert asked["Content-Security-Policy"] == django_settings.CONTENT_SECURITY_POLICY
    answer = browser.post(page_of(unknown, "sent"), follow=True)
    assert "Settled: sent. 5.661 credits were charged." in answer.text
    assert "settled it by hand: it was sent" in answer.text
    unknown.refresh_from_db()
    assert (unknown.status, unknown.credit_charged, unknown.idempotency_key) == ("sent", Decimal("5.661"), "key-1")
    assert money(organization) == (Decimal("94.339"), 0)
    assert "Charged" in answer.text
    assert f"?q={unknown.pk}" in answer.text  # to the charge in the ledger
    note = LogEntry.objects.get()
    assert (in_words(note), note.object_repr) == ("Settled by hand: sent.", str(unknown.pk))


def test_it_was_not_sent_and_may_be_sent_again(console: Any, unknown: SmsLog, organization: Organization):
    browser = console("operator")
    asked = browser.get(page_of(unknown, "unsent")).text
    assert "are given back" in asked
    assert "may be sent again" in asked
    answer = browser.post(page_of(unknown, "unsent"), follow=True)
    unknown.refresh_from_db()
    assert (unknown.status, unknown.reason, unknown.idempotency_key) == ("failed", "settled_unsent", None)
    assert money(organization) == (100, 0)
    for shown in ("Given back", "You can send it again", REASONS["settled_unsent"].text):
        assert shown in answer.text
    assert in_words(LogEntry.objects.get()) == "Settled by hand: not sent."


def test_it_is_settled_once(console: Any, unknown: SmsLog, organization: Organization, monkeypatch: pytest.MonkeyPatch):
    browser = console("operator")
    browser.post(page_of(unknown, "sent"))
    for method in (browser.get, browser.post):
        answer = method(page_of(unknown, "unsent"), follow=True)
        assert "not open any more" in answer.text
        assert "It was sent…" not in answer.text
    # Also when both have seen it open.
    monkeypatch.setattr(settling, "can_settle", lambda log: (log.pk and log.status != Status.SENT) or log.text == "")
    stale = SmsLog.objects.get(pk=unknown.pk)
    stale.status = Status.DISPATCH_TIMEOUT
    monkeypatch.setattr("linkit.tenancy.TenantAdmin.fetch", lambda *_: stale)
    browser.post(page_of(unknown, "unsent"))
    unknown.refresh_from_db()
    assert unknown.status == Status.SENT
    assert CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).count() == 1
    assert LogEntry.objects.count() == 1


def test_what_was_given_back_is_not_charged_any_more(console: Any, unknown: SmsLog, organization: Organization):
    ledger.release(organization.pk, [unknown.pk])
    browser = console("operator")
    assert "Given back" in browser.get(page_of(unknown)).text
    assert "given back already" in browser.get(page_of(unknown, "sent")).text
    answer = browser.post(page_of(unknown, "sent"), follow=True)
    assert "were charged" not in answer.text
    assert money(organization) == (100, 0)


def test_without_credits_it_says_so(console: Any, sandbox: OrganizationApp, send: Any):
    log = send(sandbox, recipient=SILENT)
    browser = console("operator")
    assert "<dt>Credits it costs</dt><dd>none</dd>" in browser.get(page_of(log)).text
    assert "It costs no credits." in browser.get(page_of(log, "sent")).text
    assert "Settled: sent.</li>" in browser.post(page_of(log, "sent"), follow=True).text


def test_what_is_over_or_of_the_outbox_has_no_buttons(
    console: Any, organization: Organization, sandbox: OrganizationApp, unknown: SmsLog, send: Any
):
    browser = console("admin")
    for log in (send(sandbox), send(sandbox, recipient=REFUSED)):
        assert "settle/" not in browser.get(page_of(log)).text
        assert browser.post(page_of(log, "unsent")).status_code == 302
    SmsLog.objects.filter(pk=unknown.pk).update(queued_id="r00000000000001", source=Source.OUTBOX)
    page = browser.get(page_of(unknown)).text
    assert "settle/" not in page
    assert "Held until its end is known" in page
    assert "not open any more" in browser.post(page_of(unknown, "sent"), follow=True).text
    assert Hold.objects.filter(pk=unknown.pk).exists()
    assert not LogEntry.objects.exists()


def test_money_is_shown_on_the_page_of_a_queued_message_too(console: Any, unknown: SmsLog, queued: Any):
    message = queued(status=Status.DISPATCH_TIMEOUT, recipient=SILENT)
    SmsLog.objects.filter(pk=unknown.pk).update(queued_id=message.pk)
    page = console("viewer").get(reverse("admin:outbox_message_change", args=[message.pk])).text
    assert "Held until its end is known" in page
    assert page.count(">5.661</bdi>") == 2
