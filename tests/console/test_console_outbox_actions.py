"""What people do to queued messages in the console: one, or many of a list, each once and with its audit trail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from billing.models import CreditAccount, CreditTransaction, Kind
from linkit import audit, clock
from linkit.models import Membership, Organization, Role, User
from outbox import services, settling, tasks
from outbox.admin.messages import ACTS
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog, Status
from tests import factories
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

LIST = "/admin/outbox/message/"
SILENT, REFUSED = "+966555555509", "+966555555503"  # at the simulator
OVER = django_settings.OUTBOX_LEASE + django_settings.PROVIDER_CALL_LIMIT + timedelta(seconds=1)
STATUS = {"cancel": Status.PENDING, "requeue": Status.FAILED, "sent": "dispatch_timeout", "again": "dispatch_timeout"}
ACTIONS = {
    "cancel": "cancel_chosen",
    "requeue": "requeue_chosen",
    "sent": "settle_chosen_as_sent",
    "again": "send_chosen_again",
}
Make = Callable[..., Message]


@pytest.fixture
def made(organization: Organization, sandbox: OrganizationApp) -> Make:
    """Return a maker of messages by status, their calls long over: `made(Status.FAILED, organization=…)`."""

    def make(status: str, **fields: Any) -> Message:
        given = {"organization": organization, "recipient": factories.mobile(), "text": "Hello", **fields}
        if status == Status.DISPATCH_TIMEOUT:
            given["recipient"] = SILENT
        message = services.enqueue(**given).message
        if status == Status.FAILED:
            services.cancel(message=message)
        elif status != Status.PENDING:
            Drain().run()
        Message.objects.filter(pk=message.pk).update(claimed_at=clock.now() - OVER)
        message.refresh_from_db()
        assert message.status == status
        return message

    return make


def page_of(message: Message, name: str = "change") -> str:
    return reverse(f"admin:outbox_message_{name}", args=[message.pk])


def now(message: Message) -> str:
    return Message.objects.values_list("status", flat=True).get(pk=message.pk)


def choose(browser: Client, name: str, *messages: Message, **more: Any) -> Any:
    """Choose messages in the list and an action for them: the answer is the page that asks."""
    data = {"action": ACTIONS[name], "_selected_action": [message.pk for message in messages], "index": 0, **more}
    return browser.post(more.pop("url", LIST), data)


def confirm(browser: Client, name: str, ids: str) -> Any:
    return browser.post(reverse(f"admin:outbox_message_chosen_{name}"), {"ids": ids}, follow=True)


def notes() -> list[tuple[str | None, str]]:
    return [(entry.object_id, audit.in_words(entry)) for entry in LogEntry.objects.order_by("pk")]


# --- one message ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTS)
def test_its_page_has_the_buttons_of_its_state(console: Any, made: Make, name: str):
    message = made(STATUS[name])
    for who, may in (("viewer", False), ("operator", True), ("admin", True), ("superuser", True)):
        page = console(who).get(page_of(message)).text
        for other in ACTS:
            assert (page_of(message, other) in page) is (may and STATUS[other] == message.status), (who, other)


def test_what_is_sent_or_under_way_has_none(console: Any, queued: Any, made: Make):
    for message in (made(Status.SENT), queued(status=Status.SENT)):
        page = console("admin").get(page_of(message)).text
        assert not any(page_of(message, name) in page for name in ACTS)


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "superuser", "stranger", "loner"])
def test_who_may_send_may_do_it(console: Any, made: Make, name: str, who: str):
    message = made(STATUS[name])
    browser, url = console(who), page_of(message, name)
    may = who in ("operator", "admin", "superuser")
    asked = browser.get(url)
    assert asked.status_code == (200 if may else 403 if who == "viewer" else 302)
    if not may and who != "viewer":
        missing = browser.get(url.replace(message.pk, "r00000000000000"))
        assert (missing.status_code, missing["Location"]) == (asked.status_code, asked["Location"])
    assert now(message) == STATUS[name], "asking changes nothing"
    browser.post(url)
    assert (now(message) != STATUS[name]) is may
    assert len(notes()) == may


@pytest.mark.parametrize(
    ("name", "status", "told", "noted"),
    [
        ("cancel", Status.FAILED, "1 message cancelled.", "Cancelled."),
        ("requeue", Status.PENDING, "1 message queued again.", "Queued again."),
        ("sent", Status.SENT, "1 message settled as sent.", "Settled by hand: sent."),
        ("again", Status.PENDING, "1 message queued again.", "Settled by hand: to be sent again."),
    ],
)
def test_it_is_done_once(
    console: Any, made: Make, monkeypatch: pytest.MonkeyPatch, name: str, status: Status, told: str, noted: str
):
    woken = []
    monkeypatch.setattr(tasks, "wake", lambda: woken.append(1))
    message, browser = made(STATUS[name]), console("operator")
    woken.clear()
    asked = browser.get(page_of(message, name))
    assert asked["Content-Security-Policy"] == django_settings.CONTENT_SECURITY_POLICY
    assert "<script>" not in asked.text
    answer = browser.post(page_of(message, name), follow=True)
    assert answer.redirect_chain == [(page_of(message), 302)]
    assert told in answer.text
    assert now(message) == status
    assert bool(woken) == (status == Status.PENDING)
    again = browser.post(page_of(message, name), follow=True)
    assert "any more" in again.text
    assert notes() == [(message.pk, noted)]
    assert LogEntry.objects.get().object_repr == message.pk, "the trail outlives the number"


def test_of_two_people_the_second_is_told(console: Any, made: Make, monkeypatch: pytest.MonkeyPatch):
    """Both have seen it failed."""
    message = made(Status.FAILED)
    stale = Message.objects.get()
    console("operator").post(page_of(message, "requeue"))
    monkeypatch.setattr("linkit.tenancy.TenantAdmin.fetch", lambda *_: stale)
    answer = console("admin").post(page_of(message, "requeue"))
    told = console("admin").get(answer["Location"])
    assert told.status_code == 200
    assert len(notes()) == 1


def test_too_early_is_said_with_the_time(console: Any, made: Make):
    message = made(Status.DISPATCH_TIMEOUT)
    Message.objects.update(claimed_at=clock.now())
    message.refresh_from_db()
    until = settling.may_send_again_from(message)
    assert until is not None
    browser = console("operator")
    page = browser.get(page_of(message)).text
    assert '<input type="button" value="Send again…" disabled>' in page
    assert page_of(message, "again") not in page
    assert page_of(message, "sent") in page
    assert f"{until.astimezone(ZoneInfo(message.organization.time_zone)):%Y-%m-%d %H:%M:%S}" in page
    answer = browser.post(page_of(message, "again"), follow=True)
    assert f"{until:%Y-%m-%d %H:%M:%S} UTC" in answer.text
    assert now(message) == Status.DISPATCH_TIMEOUT
    assert notes() == []


def test_credits_follow(console: Any, made: Make, organization: Organization, sandbox: OrganizationApp):
    factories.top_up(organization, "10")
    sandbox.is_metered = True
    sandbox.save()
    sent, again = made(Status.DISPATCH_TIMEOUT), made(Status.DISPATCH_TIMEOUT)
    browser = console("operator")
    assert "1.887 credits, which are held for it, are charged." in browser.get(page_of(sent, "sent")).text
    assert "1.887 credits, which are held for it, are given back." in browser.get(page_of(again, "again")).text
    browser.post(page_of(sent, "sent"))
    browser.post(page_of(again, "again"))
    account = CreditAccount.objects.get(pk=organization.pk)
    assert (account.balance, account.held) == (Decimal("8.113"), Decimal(0))
    assert CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).count() == 1
    assert SmsLog.objects.get(queued_id=sent.pk).credit_charged == Decimal("1.887")
    call_command("audit_credits")
    page = browser.get(page_of(sent)).text
    assert "settled it by hand: it was sent" in page
    assert "Charged" in page


def test_the_log_of_an_unknown_one_points_to_it(console: Any, made: Make):
    message = made(Status.DISPATCH_TIMEOUT)
    url = reverse("admin:sms_providers_smslog_change", args=[SmsLog.objects.get().pk])
    for who, may in (("operator", True), ("viewer", False)):
        assert ("Settle it in the outbox" in console(who).get(url).text) is may
    console("operator").post(page_of(message, "sent"))
    assert "Settle it in the outbox" not in console("operator").get(url).text


# --- many of a list ---------------------------------------------------------------------------------------------


def test_the_list_offers_it_to_those_who_may_send(console: Any, made: Make):
    message = made(Status.PENDING)
    for who, may in (("viewer", False), ("operator", True), ("superuser", True)):
        browser = console(who)
        page = browser.get(LIST).text
        for action in ACTIONS.values():
            assert (f'value="{action}"' in page) is may
        assert choose(browser, "cancel", message).status_code == (200 if may else 405)
        assert browser.post(LIST, {"action": "delete_selected"}).status_code == 405


@pytest.mark.parametrize("name", ACTS)
def test_many_are_asked_about_and_done(console: Any, made: Make, name: str):
    other = made(Status.SENT)
    fitting = [made(STATUS[name]) for _ in range(3)]
    browser = console("operator")
    asked = choose(browser, name, *fitting, other)
    assert asked.status_code == 200
    assert '<bdi dir="ltr">3</bdi> messages</strong>, which are' in asked.text
    assert '<bdi dir="ltr">1</bdi> is not' in asked.text
    assert {now(message) for message in fitting} == {STATUS[name]}, "asking changes nothing"
    ids = asked.context["ids"]
    assert set(ids.split(",")) == {message.pk for message in fitting}
    answer = confirm(browser, name, ids)
    assert ACTS[name].done(3) % {"count": 3} in answer.text
    assert all(now(message) != STATUS[name] for message in fitting)
    assert now(other) == Status.SENT
    assert sorted(str(pk) for pk, _ in notes()) == sorted(message.pk for message in fitting)
    # Once more, as by a page that was kept: nothing is left to do, and each says why.
    answer = confirm(browser, name, ids)
    assert "3 not: " in answer.text
    assert len(notes()) == 3


def test_how_many_were_not_done_and_why(console: Any, made: Make):
    messages = [made(Status.PENDING) for _ in range(3)]
    browser = console("operator")
    ids = choose(browser, "cancel", *messages).context["ids"]
    Message.objects.filter(pk=messages[0].pk).update(status=Status.SENT)
    answer = confirm(browser, "cancel", ids)
    assert "2 messages cancelled." in answer.text
    assert "1 not: Only a pending message can be cancelled" in answer.text


def test_those_for_which_it_is_too_early_are_left_out(console: Any, made: Make):
    early, late = made(Status.DISPATCH_TIMEOUT), made(Status.DISPATCH_TIMEOUT)
    Message.objects.filter(pk=early.pk).update(claimed_at=clock.now())
    browser = console("operator")
    asked = choose(browser, "again", early, late)
    assert asked.context["ids"] == late.pk
    assert "may not be sent again before" in asked.text
    answer = confirm(browser, "again", f"{early.pk},{late.pk}")
    assert "1 message queued again." in answer.text
    assert "1 not: It may not be sent again before" in answer.text
    assert (now(early), now(late)) == (Status.DISPATCH_TIMEOUT, Status.PENDING)


def test_nothing_to_do_is_said(console: Any, made: Make):
    asked = choose(console("operator"), "requeue", made(Status.PENDING))
    assert "There is nothing to do." in asked.text
    assert 'type="submit"' not in asked.text.split('id="content-main"')[1]


def test_all_of_a_list_are_chosen_with_its_filters_and_not_more_than_is_bearable(
    console: Any, made: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.admin.messages._MOST_AT_ONCE", 2)
    pending = [made(Status.PENDING) for _ in range(3)]
    failed = made(Status.FAILED)
    browser = console("operator")
    url = f"{LIST}?status__exact=pending"
    asked = choose(browser, "cancel", pending[0], url=url, select_across=1)
    assert asked.context["ids"] == ",".join(message.pk for message in reversed(pending[1:])), "as they are listed"
    assert "the first" in asked.text
    assert failed.pk not in asked.context["ids"]
    assert "2 messages cancelled." in confirm(browser, "cancel", ",".join(message.pk for message in pending)).text


def test_those_it_is_for_are_found_however_many_others_are_chosen(
    console: Any, made: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.admin.messages._MOST_AT_ONCE", 2)
    old = made(Status.FAILED)
    others = [made(Status.PENDING) for _ in range(4)]
    asked = choose(console("operator"), "requeue", others[0], select_across=1)
    assert asked.context["ids"] == old.pk
    assert (asked.context["other"], asked.context["most"]) == (2, None)
    assert "At least" in asked.text


def test_rows_of_another_tenant_are_not_there(console: Any, made: Make, other_organization: Organization):
    factories.install(other_organization, "sandbox-sms")
    ours, theirs = made(Status.PENDING), made(Status.PENDING, organization=other_organization)
    browser = console("operator")
    asked = choose(browser, "cancel", ours, theirs)
    assert asked.context["ids"] == ours.pk
    answer = confirm(browser, "cancel", f"{ours.pk},{theirs.pk}")
    assert "1 message cancelled." in answer.text
    assert now(theirs) == Status.PENDING
    assert "0 messages cancelled." in confirm(browser, "cancel", theirs.pk).text
    assert now(theirs) == Status.PENDING


def test_of_several_organizations_only_those_in_which_one_may_send(
    made: Make, organization: Organization, other_organization: Organization
):
    factories.install(other_organization, "sandbox-sms")
    person: User = factories.make_user(organization, role=Role.VIEWER, is_staff=True)
    Membership.objects.create(user=person, organization=other_organization, role=Role.OPERATOR)
    browser = Client()
    browser.force_login(person, BACKEND)
    seen, may = made(Status.PENDING), made(Status.PENDING, organization=other_organization)
    assert seen.pk in browser.get(LIST).text
    assert choose(browser, "cancel", seen, may).context["ids"] == may.pk
    confirm(browser, "cancel", f"{seen.pk},{may.pk}")
    assert (now(seen), now(may)) == (Status.PENDING, Status.FAILED)


@pytest.mark.parametrize("name", ACTS)
def test_a_viewer_does_nothing_to_many(console: Any, made: Make, name: str):
    message, browser = made(STATUS[name]), console("viewer")
    assert browser.post(reverse(f"admin:outbox_message_chosen_{name}"), {"ids": message.pk}).status_code == 403
    assert now(message) == STATUS[name]


@pytest.mark.parametrize("ids", ["", ",", "r00000000000000", "x" * 20_000, "'\"", "\x00", "r1\x00,r2"])
def test_odd_ids_break_nothing(console: Any, made: Make, ids: str):
    message = made(Status.PENDING)
    browser = console("superuser")
    assert confirm(browser, "cancel", ids).status_code == 200
    assert browser.get(reverse("admin:outbox_message_chosen_cancel"), follow=True).status_code == 200
    assert now(message) == Status.PENDING
