"""The page of one message: what was asked for, why this app, what it cost, and what is not known of its arrival."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from linkit.models import Organization
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Source, Status
from sms_providers.reasons import REASONS
from tests import factories

pytestmark = pytest.mark.django_db

IN_ARABIC = {"HTTP_ACCEPT_LANGUAGE": "ar"}
LOG, QUEUED = "admin:sms_providers_smslog_change", "admin:outbox_message_change"


def log_page(browser: Client, log: SmsLog, **headers: Any) -> str:
    return str(browser.get(reverse(LOG, args=[log.pk]), **headers).text)


def tried(log: SmsLog, *endings: tuple[OrganizationApp, str, str]) -> None:
    """Give a log these attempts: app, outcome, reason."""
    now = timezone.now()
    for app, outcome, reason in endings:
        Attempt.objects.create(
            log=log, app=app, provider_slug=app.slug, outcome=outcome, reason=reason, started_at=now, finished_at=now
        )


def routing(page: str) -> list[str]:
    """Return what the page says about why this app, without its marks."""
    part = page[page.index("Why this app") : page.index(">Attempts<")]
    return [re.sub("<[^>]+>", "", line) for line in re.findall(r"<li>(.*?)</li>", part)]


@pytest.fixture
def waits(organization: Organization, queued: Any) -> Any:
    """Return a maker of a queued message with its log: `waits(app, **message's fields)`."""

    def make(app: OrganizationApp, **fields: Any) -> tuple[Any, SmsLog]:
        message = queued(**fields)
        log = SmsLog.objects.create(
            organization=organization, source=Source.OUTBOX, app=app, provider_slug=app.slug, queued_id=message.pk,
            recipient=message.recipient, text=message.text, encoding="GSM-7", segment_count=1, status=message.status,
            is_test=message.is_test,
        )  # fmt: skip
        return message, log

    return make


def test_it_says_what_was_asked_for(console: Any, sandbox: OrganizationApp, send: Any):
    log = send(sandbox, sender_id="Shop")
    browser = console("viewer")
    page = log_page(browser, log)
    for fact in ("<dt>Came by</dt><dd>API: send</dd>", "<dt>Wanted at</dt><dd>at once</dd>", "<bdi>Shop</bdi>"):
        assert fact in page
    assert "Idempotency key" not in page
    SmsLog.objects.filter(pk=log.pk).update(idempotency_key="order-17", scheduled_at=timezone.now())
    page = log_page(browser, log)
    assert '<bdi dir="ltr">order-17</bdi>' in page
    assert "at once" not in page
    # Those of the console's own forms say nothing to anybody.
    SmsLog.objects.filter(pk=log.pk).update(source=Source.CONSOLE)
    assert "order-17" not in log_page(browser, log)


@pytest.mark.parametrize(
    ("source", "first"),
    [
        (Source.SEND, "The call named the app."),
        (Source.COMMAND, "The command named the app."),
        (Source.CONTACT, "The app is the gateway of its sender ID."),
        (Source.CONSOLE, "A direct send goes through one app, and is not tried through another."),
    ],
)
def test_a_direct_send_says_who_named_its_app(
    console: Any, organization: Organization, sandbox: OrganizationApp, send: Any, source: Source, first: str
):
    factories.top_up(organization, "10")  # messages to contacts cost credits
    told = routing(log_page(console("viewer"), send(sandbox, source=source)))
    assert told[0] == first
    assert told[-1] == "A direct send goes through one app, and is not tried through another."


def test_a_test_key_reaches_the_simulator_only(console: Any, sandbox: OrganizationApp, waits: Any, send: Any):
    browser = console("viewer")
    _, log = waits(sandbox, is_test=True)
    for page in (log_page(browser, log), log_page(browser, send(sandbox, is_test=True))):
        assert routing(page) == ["It came by a test key, so that only the simulator may take it."]


def test_a_fail_over_names_the_refusal_before_it(console: Any, organization: Organization, waits: Any):
    mora, twilio = factories.install(organization, "mora-sms"), factories.install(organization, "twilio-sms")
    message, log = waits(twilio, status=Status.SENT)
    tried(
        log,
        (mora, "unavailable", "dns_failed"),
        (mora, "unavailable", "dns_failed"),
        (mora, "rejected", "bad_credentials"),
        (twilio, "accepted", ""),
    )
    browser = console("viewer")
    told = routing(str(browser.get(reverse(QUEUED, args=[message.pk])).text))
    assert told[0].startswith("Any app that is installed and enabled may send it")
    assert told[1:4] == [
        "Mora SMS was the first that could take it.",
        "Mora SMS was tried 3 times.",
        f"Then Twilio was tried, since Mora SMS had refused it: {REASONS['bad_credentials'].text}",
    ]
    assert "passed over" in told[4]
    # The log does not know which apps the message might have gone through: it says less, and nothing else.
    assert routing(log_page(browser, log)) == told[2:4]
    arabic = browser.get(reverse(QUEUED, args=[message.pk]), **IN_ARABIC).text
    assert REASONS["bad_credentials"].text_ar in arabic
    assert REASONS["bad_credentials"].text not in arabic


def test_one_that_could_not_take_it_and_an_unknown_outcome_are_told_apart(
    console: Any, organization: Organization, waits: Any
):
    mora, twilio = factories.install(organization, "mora-sms"), factories.install(organization, "twilio-sms")
    message, log = waits(twilio, status=Status.SENT)
    tried(log, (mora, "unavailable", "throttled"), (twilio, "unknown", "read_timeout"), (mora, "accepted", ""))
    told = routing(str(console("viewer").get(reverse(QUEUED, args=[message.pk])).text))
    assert f"Then Twilio was tried, since Mora SMS could not take it: {REASONS['throttled'].text}" in told
    assert "Then Mora SMS was tried: the outcome at Twilio was unknown, and somebody had it sent again." in told


def test_a_message_that_names_its_app_says_so(console: Any, organization: Organization, waits: Any):
    mora = factories.install(organization, "mora-sms")
    message, _ = waits(mora, pinned_app=mora)
    told = routing(str(console("viewer").get(reverse(QUEUED, args=[message.pk])).text))
    assert told == [
        "Only Mora SMS may send it: it was asked for by name, or was the only app when the message was queued."
    ]


def test_the_first_of_a_cut_list_is_not_called_the_first(
    console: Any, organization: Organization, waits: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sms_providers.console._ATTEMPTS_SHOWN", 2)
    mora = factories.install(organization, "mora-sms")
    message, log = waits(mora)
    tried(log, *[(mora, "unavailable", "dns_failed")] * 3)
    page = str(console("viewer").get(reverse(QUEUED, args=[message.pk])).text)
    assert "was the first that could take it" not in page
    assert '<bdi dir="ltr">1</bdi> earlier' in page


def test_nothing_sounds_like_a_delivery_receipt(
    console: Any, organization: Organization, sandbox: Any, waits: Any, send: Any
):
    browser, mora = console("viewer"), factories.install(organization, "mora-sms")
    assert "No delivery receipt: the simulator delivers nothing." in log_page(browser, send(sandbox))
    _, accepted = waits(mora, status=Status.SENT)
    assert "delivery receipts are not collected yet, so whether it arrived is not known" in log_page(browser, accepted)
    _, failed = waits(mora, status=Status.FAILED)
    page = log_page(browser, failed)
    assert "<dt>Receipt</dt><dd>No delivery receipt.</dd>" in page


def test_the_answers_of_a_lent_app_are_said_to_be_hidden(
    console: Any, organization: Organization, other_organization: Organization, send: Any
):
    log = send(factories.install(other_organization, "sandbox-sms"))
    SmsLog.objects.filter(pk=log.pk).update(organization=organization)
    page = log_page(console("viewer"), log)
    assert "The provider's answers are for whoever has the account" in page
    assert "&quot;sandbox&quot;" not in page
    assert "&quot;sandbox&quot;" in log_page(console("superuser"), log)


def test_each_reader_gets_a_reason_in_one_language(console: Any, sandbox: OrganizationApp, send: Any, queued: Any):
    log = send(sandbox, recipient="+966555555502")
    expired = queued(status="failed", reason="expired")
    browser = console("viewer")
    for place, code in (
        (reverse(LOG, args=[log.pk]), "insufficient_provider_balance"),
        (reverse(QUEUED, args=[expired.pk]), "expired"),
    ):
        reason = REASONS[code]
        english, arabic = browser.get(place).text, browser.get(place, **IN_ARABIC).text
        for text in (reason.text, reason.next_step):
            assert english.count(text) == 1, text
            assert text not in arabic
        for text in (reason.text_ar, reason.next_step_ar):
            assert text in arabic
            assert text not in english
        assert f"<dd>{reason.side.label}</dd>" in english


def test_the_log_tells_reasons_in_the_language_of_the_reader(console: Any, sandbox: OrganizationApp, send: Any):
    send(sandbox, recipient="+966555555502")
    browser, place = console("viewer"), reverse("admin:sms_providers_smslog_changelist")
    english, arabic = browser.get(place).text, browser.get(place, **IN_ARABIC).text
    reason = REASONS["insufficient_provider_balance"]
    assert "insufficient provider balance" in english
    assert reason.text_ar in arabic
    assert "insufficient provider balance" not in arabic


def test_what_is_stored_is_english_whoever_sends(console: Any, sandbox: OrganizationApp, send: Any):
    log = send(sandbox, recipient="+966555555509")
    for word in ("sent", "unsent"):
        SmsLog.objects.filter(pk=log.pk).update(status=Status.DISPATCH_TIMEOUT, error_message="", queued_id=None)
        place = reverse(f"admin:sms_providers_smslog_settle_{word}", args=[log.pk])
        assert console("operator").post(place, **IN_ARABIC).status_code == 302
        log.refresh_from_db()
        assert log.error_message == f"Settled by hand: it was {'sent' if word == 'sent' else 'not sent'}."


def test_a_number_that_is_blanked_is_said_to_be(console: Any, sandbox: OrganizationApp, send: Any):
    log = send(sandbox)
    SmsLog.objects.filter(pk=log.pk).update(recipient="", text="", created_at=timezone.now() - timedelta(days=400))
    page = log_page(console("viewer"), log)
    assert "<h1>SMS to a number that is blanked</h1>" in page
    assert "<title>SMS to a number that is blanked" in page
