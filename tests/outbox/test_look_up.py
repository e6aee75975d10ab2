"""Unknown outcomes are looked up at their provider, by our reference, until they are settled or given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from billing import ledger
from linkit import clock
from linkit.models import Organization
from outbox import claims, looking_up, reaping, settling, tasks
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers import installing, sending
from sms_providers import looking_up as questions
from sms_providers import settling as direct
from sms_providers.adapters.base import Capabilities, ProviderRefused, Sms
from sms_providers.console import tell
from sms_providers.models import OrganizationApp, SmsLog, Source, Status
from sms_providers.results import Fault, Outcome, Result, accepted, rejected, unavailable, unknown
from sms_providers.settling import WAS_FOUND
from sms_providers.transport import Budget
from tests import factories
from tests.gateway import Gateway, drop_after, refuse, silence
from tests.outbox.conftest import SCRIPT, First, Script
from tests.outbox.test_claims import start

pytestmark = pytest.mark.django_db

Queue = Callable[..., Message]
SILENCE = unknown("read_timeout", "First gave no clear answer.")
RATE = Decimal("1.887")
ASKED: list[Sms] = []
SAYS: dict[str, Any] = {}


class Telling(First):
    """A provider that tells what became of a message: `SAYS` has a result by recipient, or asks for one."""

    slug, name = "telling-sms", "Telling"
    capabilities = Capabilities(reference=True, look_up=True)

    def look_up(self, sms: Sms, budget: Budget) -> Result | None:
        ASKED.append(sms)
        answer = SAYS.get(sms.recipient)
        return answer() if callable(answer) else answer


@pytest.fixture
def telling(script: Script, organization: Organization, settings: Settings) -> OrganizationApp:
    """An app that tells what became of a message, and answers every send with silence."""
    settings.SMS_PROVIDERS = [f"{__name__}.Telling", *settings.SMS_PROVIDERS]
    ASKED.clear()
    SAYS.clear()
    SCRIPT.answers["telling-sms"] = SILENCE
    return OrganizationApp.objects.create(organization=organization, slug="telling-sms", priority=1)


@pytest.fixture
def unknown_one(queue: Queue, telling: OrganizationApp) -> Message:
    message = queue()
    Drain().run()
    message.refresh_from_db()
    assert message.status == Status.DISPATCH_TIMEOUT
    return message


def pass_time(by: timedelta) -> None:
    """Let every log be older, and every look-up longer ago."""
    for log in SmsLog.objects.all():
        looked_up_at = log.looked_up_at and log.looked_up_at - by
        SmsLog.objects.filter(pk=log.pk).update(updated_at=log.updated_at - by, looked_up_at=looked_up_at)


def look_up() -> dict[str, int]:
    return dict(looking_up.look_up(threading.Event()))


MINUTE = timedelta(minutes=1, seconds=1)


# --- when -------------------------------------------------------------------------------------------------------


def test_it_is_asked_about_a_few_times_with_growing_pauses(unknown_one: Message) -> None:
    asked_at, age, step = [], timedelta(0), timedelta(minutes=1)
    while age < timedelta(hours=13):
        pass_time(step)
        age += step
        if look_up():
            asked_at.append(round(age / timedelta(minutes=1)))
        if age >= timedelta(minutes=40):
            step = timedelta(minutes=20)
    assert asked_at == [1, 5, 30, 120, 720]
    pass_time(timedelta(hours=24))
    assert look_up() == {}, "it is somebody's to settle now"
    assert Message.objects.get().status == Status.DISPATCH_TIMEOUT


def test_one_that_comes_late_is_not_asked_about_again_and_again(unknown_one: Message) -> None:
    pass_time(timedelta(hours=3))
    assert look_up() == {"nothing": 1}
    for _ in range(3):
        pass_time(MINUTE)
        assert look_up() == {}
    pass_time(timedelta(hours=9))
    assert look_up() == {"nothing": 1}


def test_an_old_one_is_left_to_people(unknown_one: Message) -> None:
    pass_time(timedelta(hours=49))
    assert look_up() == {}


def test_a_provider_that_tells_nothing_is_not_asked(queue: Queue, first: OrganizationApp, script: Script) -> None:
    script.answers["first-sms"] = SILENCE
    queue()
    Drain().run()
    pass_time(MINUTE)
    assert look_up() == {}


@pytest.mark.parametrize("gone", ["uninstalled", "unreadable", "taken out of the catalogue"])
def test_an_app_that_cannot_be_used_is_not_asked(
    unknown_one: Message, telling: OrganizationApp, settings: Settings, gone: str
) -> None:
    pass_time(MINUTE)
    if gone == "uninstalled":
        installing.uninstall(app=telling)
    elif gone == "unreadable":
        with connection.cursor() as cursor:
            cursor.execute("UPDATE sms_providers_organizationapp SET credentials = 'garbage'")
    else:
        settings.SMS_PROVIDERS = ["sms_providers.adapters.sandbox.SandboxSms"]
        questions.catalogue.adapters.cache_clear()
    assert look_up() == {}
    assert ASKED == []
    assert SmsLog.objects.get().look_up_count == 0, "its turn is not used up"


def test_an_app_that_is_only_disabled_is_asked(unknown_one: Message, telling: OrganizationApp) -> None:
    installing.change(app=telling, is_enabled=False)
    SAYS[unknown_one.recipient] = accepted("id-1")
    pass_time(MINUTE)
    assert look_up() == {"accepted": 1}


def test_a_provider_that_does_not_answer_is_left_alone_in_this_round(queue: Queue, telling: OrganizationApp) -> None:
    def silent() -> Result:
        raise ProviderRefused(unavailable(message="down"))

    messages = [queue() for _ in range(3)]
    Drain().run()
    SAYS.update({message.recipient: silent for message in messages})
    pass_time(MINUTE)
    assert look_up() == {}
    assert len(ASKED) == 1
    assert sorted(SmsLog.objects.values_list("look_up_count", flat=True)) == [0, 0, 1]


def test_apps_take_turns_and_each_has_its_share(
    unknown_one: Message, queue: Queue, telling: OrganizationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MOST", 2)
    for _ in range(3):
        queue()
    other = factories.make_organization()
    OrganizationApp.objects.create(organization=other, slug="telling-sms")
    theirs = queue(organization=other)
    Drain().run()
    pass_time(MINUTE)
    assert look_up() == {"nothing": 3}
    assert theirs.recipient in [sms.recipient for sms in ASKED[:2]]


def test_it_stops_when_it_is_told_to(unknown_one: Message) -> None:
    pass_time(MINUTE)
    stop = threading.Event()
    stop.set()
    assert looking_up.look_up(stop) == {}
    assert looking_up.look_up(threading.Event(), window=-1) == {}
    assert ASKED == []


# --- what follows -----------------------------------------------------------------------------------------------


def test_the_provider_has_it(unknown_one: Message) -> None:
    SAYS[unknown_one.recipient] = accepted("id-1", raw={"found": True})
    pass_time(MINUTE)
    assert look_up() == {"accepted": 1}
    unknown_one.refresh_from_db()
    assert (unknown_one.status, unknown_one.reason) == (Status.SENT, "")
    assert unknown_one.log is not None
    assert (unknown_one.log.status, unknown_one.log.provider_message_id) == (Status.SENT, "id-1")
    assert tell(unknown_one.log).text == "Nobody knew for certain, until Telling was asked for it: it had taken it."
    assert look_up() == {}


@pytest.mark.parametrize("result", [rejected(Fault.BALANCE, "No credit."), unavailable(message="Not sent.")])
def test_the_provider_has_refused_it(unknown_one: Message, second: OrganizationApp, result: Result) -> None:
    SAYS[unknown_one.recipient] = result
    pass_time(MINUTE)
    assert look_up() == {result.outcome.value: 1}
    unknown_one.refresh_from_db()
    assert (unknown_one.status, unknown_one.reason) == (Status.FAILED, result.reason)
    assert unknown_one.error_message.startswith("Asked later, the provider said: ")


@pytest.mark.parametrize("says", [None, unknown("unreadable_answer", "?")])
def test_nothing_certain_settles_nothing(unknown_one: Message, says: Result | None) -> None:
    SAYS[unknown_one.recipient] = says
    pass_time(MINUTE)
    assert look_up() == {"nothing": 1}
    unknown_one.refresh_from_db()
    assert (unknown_one.status, unknown_one.reason) == (Status.DISPATCH_TIMEOUT, "read_timeout")
    assert SmsLog.objects.get().look_up_count == 1


def test_money_follows(queue: Queue, telling: OrganizationApp, organization: Organization) -> None:
    telling.is_metered = True
    telling.save()
    factories.top_up(organization, "10")
    had, refused, nothing = queue(), queue(), queue()
    Drain().run()
    SAYS.update({had.recipient: accepted("1"), refused.recipient: rejected(Fault.CONTENT)})
    pass_time(MINUTE)
    assert look_up() == {"accepted": 1, "rejected": 1, "nothing": 1}
    account = ledger.balance_of(organization)
    assert (account.balance, account.held) == (10 - RATE, RATE)
    assert SmsLog.objects.get(queued_id=had.pk).credit_charged == RATE
    assert SmsLog.objects.get(queued_id=nothing.pk).status == Status.DISPATCH_TIMEOUT
    call_command("audit_credits")


def test_the_reference_is_that_of_the_try_which_may_have_left(queue: Queue, telling: OrganizationApp) -> None:
    SCRIPT.answers["telling-sms"] = unavailable()
    message = queue()
    for _ in range(2):
        Drain().run()
        Message.objects.update(next_attempt_at=clock.now())
        message.log.attempts.update(retry_at=clock.now())  # type: ignore[union-attr]
        message = Message.objects.get()
    SCRIPT.answers["telling-sms"] = SILENCE
    Drain().run()
    pass_time(MINUTE)
    look_up()
    assert [sms.times_refused for _, sms in SCRIPT.calls] == [0, 1, 2]
    (asked,) = ASKED
    assert (asked.times_refused, asked.reference) == (2, str(message.log.pk))  # type: ignore[union-attr]
    # Sent again it has the same reference, by which the provider may know a repeat, and is asked about anew.
    Message.objects.update(claimed_at=clock.now() - timedelta(hours=1))
    settling.settle(Message.objects.get(), was_sent=False)
    Drain().run()
    assert SCRIPT.calls[-1][1].times_refused == 2
    assert SmsLog.objects.get().look_up_count == 0
    pass_time(MINUTE)
    look_up()
    assert [sms.times_refused for sms in ASKED] == [2, 2]


def test_one_that_failed_and_is_unknown_again_is_asked_about_anew(unknown_one: Message) -> None:
    SAYS[unknown_one.recipient] = rejected(Fault.CONTENT)
    pass_time(timedelta(hours=13))
    assert look_up() == {"rejected": 1}
    settling.requeue(Message.objects.get())
    Drain().run()
    assert SmsLog.objects.values_list("status", "look_up_count").get() == (Status.DISPATCH_TIMEOUT, 0)


@pytest.mark.parametrize("outcome", [accepted("id-9"), rejected(Fault.CONTENT, "No."), unavailable(message="No.")])
def test_direct_sends_are_looked_up_too(organization: Organization, telling: OrganizationApp, outcome: Result) -> None:
    log = sending.new_log(
        organization_id=organization.pk, source=Source.SEND, recipient=factories.mobile(), text="Hello"
    )
    sending.send_now(log, sending.route_through(telling), idempotency_key="key-1", request_digest="x")
    SAYS[log.recipient] = outcome
    pass_time(MINUTE)
    assert look_up() == {outcome.outcome.value: 1}
    log.refresh_from_db()
    expected = Status.SENT if outcome.outcome == Outcome.ACCEPTED else Status.FAILED
    assert (log.status, log.outcome) == (expected, outcome.outcome)
    assert (log.idempotency_key is None) == (outcome.outcome == Outcome.UNAVAILABLE), "as the answer itself would"
    attempt = log.attempts.get()
    assert attempt.outcome == outcome.outcome
    assert attempt.message.startswith(SILENCE.message)
    assert not direct.can_settle(log)


# --- two at once ------------------------------------------------------------------------------------------------


def test_no_transaction_is_open_while_the_provider_is_asked(unknown_one: Message) -> None:
    depth = len(connection.savepoint_ids)
    seen = []
    SAYS[unknown_one.recipient] = lambda: seen.append(len(connection.savepoint_ids))
    pass_time(MINUTE)
    look_up()
    assert seen == [depth]


@pytest.mark.parametrize("meanwhile", ["sent", "again", "late answer"])
def test_whoever_settles_while_it_is_asked_about_is_first(
    queue: Queue, telling: OrganizationApp, meanwhile: str
) -> None:
    message = queue()
    (claimed,) = claims.claim(limit=1)
    started = start(claimed)
    Message.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
    reaping.reap()
    Message.objects.update(claimed_at=clock.now() - timedelta(hours=1))
    message.refresh_from_db()

    def asked() -> Result:
        if meanwhile == "late answer":
            claims.finish([(started, rejected(Fault.CONTENT))])
        else:
            settling.settle(message, was_sent=meanwhile == "sent")
        return accepted("too late") if meanwhile != "sent" else rejected(Fault.BALANCE)

    SAYS[message.recipient] = asked
    pass_time(MINUTE)
    assert look_up() == {"nothing": 1}
    message.refresh_from_db()
    log = SmsLog.objects.get()
    expected = {"sent": Status.SENT, "again": Status.PENDING, "late answer": Status.FAILED}[meanwhile]
    assert message.status == log.status == expected
    assert log.provider_message_id == ""


@pytest.mark.django_db(transaction=True)
def test_two_rounds_at_once_ask_about_each_once(queue: Queue, telling: OrganizationApp) -> None:
    messages = [queue() for _ in range(12)]
    Drain().run()
    barrier = threading.Barrier(3)
    for position, message in enumerate(messages):
        SAYS[message.recipient] = accepted("id") if position % 2 else None
    pass_time(MINUTE)
    found = []

    def work() -> None:
        try:
            barrier.wait(10)
            found.append(look_up())
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(sms.recipient for sms in ASKED) == sorted(message.recipient for message in messages)
    assert sum(tally.get("accepted", 0) for tally in found) == 6
    assert Message.objects.filter(status=Status.SENT).count() == 6


def test_the_task_runs_once_in_a_process(unknown_one: Message) -> None:
    SAYS[unknown_one.recipient] = accepted("id")
    pass_time(MINUTE)
    with tasks._one_look_up:
        tasks.look_up()
    assert ASKED == []
    tasks.look_up()
    assert Message.objects.get().status == Status.SENT


# --- with a gateway ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("slug", "verdict"), [("infobip-sms", "12"), ("unifonic-sms", "Rejected")])
def test_at_the_gateway(
    gateway: Gateway, queue: Queue, install: Any, settings: Settings, slug: str, verdict: str
) -> None:
    """A gateway that takes messages and says nothing: each is found again, and nobody gets one twice."""
    settings.PROVIDER_CALL_LIMIT = timedelta(seconds=0.5)
    install(slug, default_sender="MyBrand")
    taken, lost, refused = queue(), queue(), queue()
    for message in (taken, refused):
        gateway.script(slug, silence(), number=message.recipient)
    gateway.script(slug, drop_after(is_accepted=False), number=lost.recipient)
    Drain().run()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.DISPATCH_TIMEOUT}
    gateway.providers[slug].verdicts[str(SmsLog.objects.get(queued_id=refused.pk).pk)] = verdict
    pass_time(MINUTE)
    assert look_up() == {"accepted": 1, "rejected": 1, "nothing": 1}
    statuses = [Message.objects.get(pk=message.pk).status for message in (taken, lost, refused)]
    assert statuses == [Status.SENT, Status.DISPATCH_TIMEOUT, Status.FAILED]
    log = SmsLog.objects.get(queued_id=taken.pk)
    assert (log.error_message, log.provider_segment_count) == (WAS_FOUND, 1)
    assert log.provider_message_id == gateway.journal.of(slug, taken.recipient)[0].provider_id
    # By hand, what the provider does not know is sent again: under the reference that it never got.
    Message.objects.update(claimed_at=clock.now() - timedelta(hours=1))
    gateway.script(slug, refuse("12" if slug == "infobip-sms" else "ER-01"), number=lost.recipient, times=1)
    settling.settle(Message.objects.get(pk=lost.pk), was_sent=False)
    Drain().run()
    assert Message.objects.get(pk=lost.pk).status == Status.FAILED
    assert gateway.journal.duplicates() == []


@pytest.mark.parametrize(
    ("slug", "code", "verdict"), [("infobip-sms", "12", "12"), ("unifonic-sms", "480", "Rejected")]
)
def test_the_entry_of_an_earlier_try_settles_no_later_one(
    gateway: Gateway, queue: Queue, install: Any, settings: Settings, slug: str, code: str, verdict: str
) -> None:
    """The first was refused and is in the log; the second is not there yet, and may have been sent."""
    settings.PROVIDER_CALL_LIMIT = timedelta(seconds=0.5)
    install(slug, default_sender="MyBrand")
    message = queue()
    gateway.script(slug, refuse(code), number=message.recipient, times=1)
    Drain().run()
    message.refresh_from_db()
    assert message.status == Status.FAILED
    log = SmsLog.objects.get(queued_id=message.pk)
    gateway.providers[slug].verdicts[str(log.pk)] = verdict
    settling.requeue(message)
    gateway.script(slug, drop_after(is_accepted=False), number=message.recipient)  # which is not listed
    Drain().run()
    pass_time(MINUTE)
    assert look_up() == {"nothing": 1}
    assert Message.objects.get().status == Status.DISPATCH_TIMEOUT
    # When it is listed, under the reference that it had, it is found.
    gateway.providers[slug].verdicts[f"{log.pk}-2"] = {"infobip-sms": "5", "unifonic-sms": "Sent"}[slug]
    pass_time(timedelta(minutes=5))
    assert look_up() == {"accepted": 1}
