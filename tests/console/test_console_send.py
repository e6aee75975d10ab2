"""Sending one message by hand: once, whatever the browser does."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from billing.models import Rate
from linkit import audit
from linkit.models import Membership, Organization, Role
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog, Source, Status
from tests import factories
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

URL, SENDERS, COST = "admin:send_one", "admin:send_one_senders", "admin:send_one_cost"
MORA_NAMES = "https://mora-sa.com/api/v1/sender_names"


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
    assert audit.in_words(entry) == "Sent by hand through Sandbox: sent."
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
        {"app": "999999"}, {"app": "x"}, {"app": ""}, {"sender_id": "a\u2028b"},
        {"send_at": "2001-01-01T00:00"}, {"send_at": "2999-01-01T00:00"},
        {"send_at": "soon"}, {"once": ""}, {"once": "x"},
    ],
)  # fmt: skip
def test_bad_input_sends_nothing_and_is_kept(console: Any, sandbox: OrganizationApp, fields: Any):
    answer = console("operator").post(reverse(URL), form(sandbox, sender_id="Kept") | fields)
    assert answer.status_code == 200
    assert "errornote" in answer.text
    assert uuid.UUID(str(answer.context["form"]["once"].value()))
    assert not SmsLog.objects.exists()
    assert not Message.objects.exists()
    assert not LogEntry.objects.exists()
    if "sender_id" not in fields:
        assert 'value="Kept"' in answer.text


def test_what_is_wrong_with_a_number_is_said_and_the_rest_kept(console: Any, sandbox: OrganizationApp):
    answer = console("operator").post(reverse(URL), form(sandbox, recipient="05012", text="Typed with care"))
    assert "The number is too short." in answer.text or "No operator has numbers like this" in answer.text
    assert 'value="05012"' in answer.text
    assert "Typed with care" in answer.text


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
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(factories.make_user(organization, is_staff=True), BACKEND)
    assert browser.post(reverse(URL), form(sandbox)).status_code == 403
    assert not SmsLog.objects.exists()


# --- through any app ------------------------------------------------------------------------------------------------


@pytest.fixture
def mora(install: Any) -> OrganizationApp:
    app: OrganizationApp = install("mora-sms")
    return app


def to_any(**fields: Any) -> dict[str, Any]:
    given = {"once": str(uuid.uuid4()), "app": "any", "recipient": "0501234567", "text": "Hello", "send_at": ""}
    return {**given, "sender_id": "", **fields}


def test_any_app_is_the_queue_which_the_page_of_the_message_shows(
    console: Any, mora: OrganizationApp, sandbox: OrganizationApp
):
    browser = console("operator")
    answer = browser.post(reverse(URL), to_any(sender_id="Shop"))
    message = Message.objects.get()
    assert answer["Location"] == reverse("admin:outbox_message_change", args=[message.pk])
    assert (message.recipient, message.sender_id, message.pinned_app, message.status) == (
        "+966501234567",
        "Shop",
        None,
        Status.PENDING,
    )
    assert message.user is not None
    assert not SmsLog.objects.exists()
    assert "Waiting" in browser.get(answer["Location"]).text
    entry = LogEntry.objects.get()
    assert audit.in_words(entry) == "Sent by hand through any app: queued."
    assert "+966" not in entry.object_repr


def test_any_app_later_is_queued_for_then(console: Any, mora: OrganizationApp, organization: Organization):
    due = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    local = due.astimezone(ZoneInfo(organization.time_zone))
    browser, data = console("operator"), to_any(send_at=f"{local:%Y-%m-%dT%H:%M}")
    first, second = (browser.post(reverse(URL), data) for _ in range(2))
    message = Message.objects.get()
    assert (message.next_attempt_at, message.scheduled_at) == (due, due)
    assert first["Location"] == second["Location"]


def test_a_double_click_queues_once(console: Any, mora: OrganizationApp):
    browser, data = console("operator"), to_any()
    first, second = (browser.post(reverse(URL), data) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert Message.objects.count() == LogEntry.objects.count() == 1
    assert "nothing was sent again" in browser.get(second["Location"]).text


@pytest.mark.parametrize("changed", [{"text": "Other"}, {"app": "direct"}])
def test_a_form_that_was_queued_and_then_changed_is_not_sent_by_itself(
    console: Any, sandbox: OrganizationApp, mora: OrganizationApp, changed: dict[str, Any]
):
    browser, data = console("operator"), to_any()
    browser.post(reverse(URL), data)
    changed = {"app": sandbox.pk} if "app" in changed else changed
    again = browser.post(reverse(URL), {**data, **changed})
    assert "Nothing was sent now" in again.text
    assert again.context["form"]["once"].value() != data["once"]
    assert Message.objects.count() == 1
    assert not SmsLog.objects.exists()


def test_a_form_that_was_sent_through_an_app_is_not_queued_as_well(console: Any, sandbox: OrganizationApp):
    browser, data = console("operator"), form(sandbox)
    browser.post(reverse(URL), data)
    assert "Nothing was sent now" in browser.post(reverse(URL), {**data, "app": "any"}).text
    assert not Message.objects.exists()


def test_without_an_app_that_is_real_any_is_the_sandbox_alone(console: Any, sandbox: OrganizationApp):
    console("operator").post(reverse(URL), to_any())
    assert Message.objects.get().pinned_app == sandbox


def test_a_queue_that_nothing_can_send_from_is_said_and_keeps_the_input(
    console: Any, sandbox: OrganizationApp, mora: OrganizationApp
):
    OrganizationApp.objects.filter(pk=mora.pk).update(is_enabled=False)
    answer = console("operator").post(reverse(URL), to_any(text="Typed with care"))
    assert "nothing was queued" in answer.text
    assert "Typed with care" in answer.text
    assert not Message.objects.exists()
    assert not LogEntry.objects.exists()


# --- two at the same moment -----------------------------------------------------------------------------------------


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    results: list[Any] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        try:
            start.wait()
            results.append(call())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_any", [True, False])
def test_two_submits_of_one_form_at_the_same_moment_send_one(
    sandbox: OrganizationApp, mora: OrganizationApp, organization: Organization, is_any: bool
):
    user = factories.make_user(organization, is_staff=True)
    browsers = [Client() for _ in range(4)]
    for browser in browsers:
        browser.force_login(user, BACKEND)
    data = to_any() if is_any else form(sandbox)
    answers = at_once(*(lambda browser=browser: browser.post(reverse(URL), data) for browser in browsers))
    assert len({answer["Location"] for answer in answers}) == 1
    assert len(answers) == len(browsers)
    model = Message if is_any else SmsLog
    assert model.objects.count() == 1
    assert LogEntry.objects.count() == 1


# --- whose it is ----------------------------------------------------------------------------------------------------


@pytest.fixture
def both(organization: Organization, other_organization: Organization) -> Client:
    """The browser of an operator of two organizations."""
    user = factories.make_user(organization, is_staff=True)
    Membership.objects.create(user=user, organization=other_organization, role=Role.OPERATOR)
    browser = Client()
    browser.force_login(user, BACKEND)
    return browser


def test_one_with_several_organizations_chooses_whose_it_is(
    both: Client, sandbox: OrganizationApp, other_organization: Organization
):
    other = factories.install(other_organization, "sandbox-sms")
    Organization.objects.filter(pk=other_organization.pk).update(time_zone="Asia/Tokyo")
    page = both.get(f"{reverse(URL)}?organization={other_organization.pk}").text
    assert f'value="{other.pk}"' in page
    assert f'value="{sandbox.pk}"' not in page
    assert "Asia/Tokyo" in page
    both.post(reverse(URL), form(other, organization=other_organization.pk))
    assert SmsLog.objects.get().organization == other_organization
    due = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    typed = f"{due.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%dT%H:%M}"
    both.post(reverse(URL), to_any(organization=other_organization.pk, send_at=typed))
    message = Message.objects.get()
    assert (message.organization, message.scheduled_at) == (other_organization, due)


def test_an_app_of_another_of_ones_organizations_is_refused(
    both: Client, sandbox: OrganizationApp, other_organization: Organization
):
    factories.install(other_organization, "sandbox-sms")
    answer = both.post(reverse(URL), form(sandbox, organization=other_organization.pk))
    assert answer.status_code == 200
    assert not SmsLog.objects.exists()


def test_a_form_that_does_not_say_whose_it_is_sends_nothing(
    both: Client, sandbox: OrganizationApp, other_organization: Organization
):
    assert both.post(reverse(URL), to_any()).status_code == 404
    assert not Message.objects.exists()


@pytest.mark.parametrize("app", ["any", "theirs"])
def test_another_tenants_organization_is_refused_like_an_unknown_one(
    console: Any, sandbox: OrganizationApp, other_organization: Organization, app: str
):
    theirs = factories.install(other_organization, "mora-sms")
    browser, data = console("operator"), to_any(app=theirs.pk if app == "theirs" else app)
    for organization in (other_organization.pk, uuid.uuid4(), "x"):
        given = {**data, "organization": organization}
        assert browser.get(reverse(URL), {"organization": organization}).status_code == 404
        assert browser.post(reverse(URL), given).status_code == 404
        assert browser.post(reverse(COST), given).status_code == 404
    assert not Message.objects.exists()
    assert not SmsLog.objects.exists()


@pytest.mark.parametrize("who", ["viewer", "loner"])
def test_who_may_not_send_is_told_nothing(console: Any, sandbox: OrganizationApp, who: str):
    browser = console(who)
    assert browser.post(reverse(URL), to_any()).status_code == 403
    assert browser.post(reverse(COST), form(sandbox)).status_code == 403
    assert browser.get(reverse(SENDERS), {"app": sandbox.pk}).status_code == 403
    assert not Message.objects.exists()


@pytest.mark.parametrize("who", ["operator", "admin", "superuser"])
def test_who_may_send_does(console: Any, sandbox: OrganizationApp, organization: Organization, who: str):
    browser = console(who)
    assert browser.post(reverse(URL), form(sandbox, organization=organization.pk)).status_code == 302
    assert browser.get(reverse(SENDERS), {"app": sandbox.pk}).status_code == 200
    assert SmsLog.objects.count() == 1


def test_a_stranger_reaches_nothing(console: Any, sandbox: OrganizationApp, organization: Organization):
    stranger = console("stranger")
    assert stranger.post(reverse(URL), form(sandbox)).status_code == 200  # no app of theirs: the form again
    assert stranger.post(reverse(URL), form(sandbox, organization=organization.pk)).status_code == 404
    unknown = stranger.get(reverse(SENDERS), {"app": 987654321})
    theirs = stranger.get(reverse(SENDERS), {"app": sandbox.pk})
    assert (theirs.status_code, theirs.json()) == (unknown.status_code, unknown.json())
    assert theirs.status_code == 404
    assert stranger.post(reverse(COST), form(sandbox)).status_code == 404
    assert not SmsLog.objects.exists()


def test_the_cost_is_asked_for_by_post_and_with_the_token_only(sandbox: OrganizationApp, organization: Organization):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(factories.make_user(organization, is_staff=True), BACKEND)
    assert browser.get(reverse(COST)).status_code == 405
    assert browser.post(reverse(COST), form(sandbox)).status_code == 403
    assert browser.post(reverse(URL), to_any()).status_code == 403
    assert not Message.objects.exists()


# --- sender names ---------------------------------------------------------------------------------------------------


def names_of(browser: Client, app: OrganizationApp) -> dict[str, Any]:
    found: dict[str, Any] = browser.get(reverse(SENDERS), {"app": app.pk}).json()
    return found


@responses.activate
def test_the_provider_is_asked_for_its_sender_names_once_in_a_while(console: Any, mora: OrganizationApp):
    answer = {"status": {"code": 200}, "data": {"sender_names": ["MyBrand", {"name": "متجر"}]}}
    responses.get(MORA_NAMES, json=answer)
    browser = console("operator")
    for _ in range(2):
        assert names_of(browser, mora) == {"names": ["MyBrand", "متجر"], "note": "Sender names at Mora SMS:"}
    assert len(responses.calls) == 1
    mora.save()  # as with other credentials
    names_of(browser, mora)
    assert len(responses.calls) == 2


@responses.activate
def test_a_provider_that_does_not_answer_is_said_in_words_and_not_asked_again_at_once(
    console: Any, mora: OrganizationApp
):
    responses.get(MORA_NAMES, status=500, body="down")
    browser = console("operator")
    first, second = names_of(browser, mora), names_of(browser, mora)
    assert first == second
    assert first["names"] == []
    assert first["note"].startswith("Mora SMS did not tell its sender names:")
    assert len(responses.calls) == 1


def test_an_app_that_does_not_tell_its_senders_says_so(console: Any, install: Any):
    found = names_of(console("operator"), install("taqnyat-sms"))
    assert found["names"] == []
    assert "does not tell its sender names" in found["note"] or "did not tell" in found["note"]


def test_credentials_that_nobody_can_read_are_said(console: Any, mora: OrganizationApp):
    with override_settings(FIELD_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]):
        OrganizationApp.objects.filter(pk=mora.pk).update(credentials={"api_key": "lost"})
    assert "cannot be read" in names_of(console("operator"), mora)["note"]


@pytest.mark.parametrize("app", ["", "x", "-1", "9" * 30, "٣"])
def test_an_app_that_there_cannot_be_has_no_names(console: Any, sandbox: OrganizationApp, app: str):
    assert console("operator").get(reverse(SENDERS), {"app": app}).status_code == 404


def test_the_senders_that_we_know_of_are_offered(
    console: Any, install: Any, organization: Organization, other_organization: Organization
):
    app = install("sandbox-sms", default_sender="Default")
    factories.make_sender(organization, app, sender_id="Mine")
    factories.make_sender(None, None, sender_id="Shared")
    factories.make_sender(organization, app, sender_id="Gone", status="inactive")
    factories.make_sender(other_organization, None, sender_id="Theirs")
    assert console("operator").get(reverse(URL)).context["sender_choices"] == ["Default", "Mine", "Shared"]


# --- what it costs --------------------------------------------------------------------------------------------------


@pytest.fixture
def rate(organization: Organization) -> Rate:
    """0.07 credits a part for Saudi numbers; the general rate is another."""
    rate: Rate = Rate.objects.create(
        organization=organization, prefix="966", price=Decimal("0.07"), valid_from=timezone.now().date()
    )
    return rate


@pytest.fixture
def metered(mora: OrganizationApp, rate: Rate) -> OrganizationApp:
    OrganizationApp.objects.filter(pk=mora.pk).update(is_metered=True)
    factories.top_up(mora.organization, "10")
    return mora


def cost(browser: Client, data: dict[str, Any]) -> str:
    answer = browser.post(reverse(COST), data)
    assert answer.status_code == 200
    told: str = answer.json()["cost"]
    return told.translate({0x2066: None, 0x2069: None})


def test_an_app_of_ones_own_costs_no_credits(console: Any, mora: OrganizationApp, sandbox: OrganizationApp):
    browser = console("operator")
    assert cost(browser, form(mora)) == "No credits: it goes through an account of your own."
    assert cost(browser, to_any()) == "No credits: it goes through an account of your own."
    assert cost(browser, form(sandbox)) == "No credits: it is only simulated."


def test_a_metered_app_costs_its_parts_by_the_rate_of_the_number(console: Any, metered: OrganizationApp):
    browser = console("operator")
    assert cost(browser, form(metered)) == "1 part × 0.07 = 0.07 credits"
    assert cost(browser, form(metered, text="م" * 141)) == "3 parts × 0.07 = 0.21 credits"
    assert cost(browser, form(metered, text="a\r\n" * 80)) == "1 part × 0.07 = 0.07 credits"
    assert cost(browser, to_any()) == "1 part × 0.07 = 0.07 credits"


def test_a_price_that_is_not_known_yet_says_what_is_missing(console: Any, metered: OrganizationApp):
    browser = console("operator")
    for recipient in ("", "12", "x" * 500):
        assert "once the number is right" in cost(browser, form(metered, recipient=recipient))
    for text in ("", "م" * 671):
        assert cost(browser, form(metered, text=text)).startswith("0.07 credits a part")


def test_any_of_several_says_which_would_cost(console: Any, metered: OrganizationApp, install: Any):
    install("taqnyat-sms")
    told = cost(console("operator"), to_any())
    assert told == "1 part × 0.07 = 0.07 credits if it goes through Mora SMS; none through the others."


def test_no_credits_left_is_said_before_and_nothing_is_sent(console: Any, mora: OrganizationApp, rate: Rate):
    OrganizationApp.objects.filter(pk=mora.pk).update(is_metered=True)
    browser = console("operator")
    assert cost(browser, form(mora)).endswith("There are no credits left: it is not sent.")
    assert cost(browser, to_any()).endswith("There are no credits left: it waits.")
    answer = browser.post(reverse(URL), form(mora, text="Typed with care"))
    assert "There are no credits left; nothing was sent or charged." in answer.text
    assert "Typed with care" in answer.text
    assert not SmsLog.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("app", ["", "x", "999999"])
def test_an_app_that_is_not_there_has_no_price(console: Any, sandbox: OrganizationApp, app: str):
    assert console("operator").post(reverse(COST), to_any(app=app)).status_code == 404


# --- without a script -----------------------------------------------------------------------------------------------


@responses.activate
def test_a_check_shows_all_of_it_and_sends_nothing(console: Any, metered: OrganizationApp):
    responses.get(MORA_NAMES, json={"status": {"code": 200}, "data": {"sender_names": ["MyBrand"]}})
    data = form(metered, text="<b>See you — at\u00a0“8”</b>")
    page = console("operator").post(reverse(URL), {**data, "check": "yes"})
    assert page.status_code == 200
    assert "errornote" not in page.text
    assert "&lt;b&gt;See you <mark>—</mark> at" in page.text
    assert '<mark class="is-hidden"><bdi dir="ltr">U+00A0</bdi></mark>' in page.text
    assert "<mark>“</mark>8<mark>”</mark>" in page.text
    assert "UCS-2" in page.text
    assert "Sender names at Mora SMS:" in page.text
    assert "0.07" in page.context["quote"].text
    assert page.context["form"]["once"].value() == data["once"]
    assert not SmsLog.objects.exists()


def test_too_long_a_text_is_shown_with_its_parts(console: Any, sandbox: OrganizationApp):
    page = console("operator").post(reverse(URL), form(sandbox, text="م" * 671))
    assert page.context["written"].counted.count == 11
    assert page.context["written"].is_too_long
    assert "م" * 671 in page.text
    assert not SmsLog.objects.exists()


def test_the_page_of_the_next_one_keeps_nothing_of_the_last(console: Any, sandbox: OrganizationApp):
    browser = console("operator")
    answer = browser.post(reverse(URL), form(sandbox, recipient="0501112223", text="Only for your eyes"), follow=True)
    assert f'href="{reverse(URL)}' in answer.text
    page = browser.get(reverse(URL)).text
    assert "Only for your eyes" not in page
    assert "501112223" not in page
