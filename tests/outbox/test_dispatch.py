"""The drain: everything due is sent once, whatever the providers and the database do meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DataError, OperationalError, connection
from pytest_django import Settings

from linkit import clock
from linkit.models import Organization
from outbox import claims, dispatch, routing, tasks
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers import catalogue
from sms_providers.adapters.base import Sms
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Fault, Outcome, Result, accepted, rejected, unavailable, unknown
from sms_providers.sending import Route
from tests.outbox.conftest import Script

Queue = Callable[..., Message]


def statuses() -> dict[str, int]:
    found: dict[str, int] = {}
    for status in Message.objects.values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found


def test_everything_due_is_sent_once(queue: Queue, first: OrganizationApp, script: Script) -> None:
    sent_to = [queue().recipient for _ in range(200)]

    tally = Drain().run()

    assert dict(tally) == {Status.SENT: 200}
    assert sorted(script.recipients()) == sorted(sent_to)
    assert statuses() == {"sent": 200}
    assert SmsLog.objects.filter(status=Status.SENT, source="outbox").count() == 200


def test_an_empty_queue_ends_at_once(first: OrganizationApp) -> None:
    assert not Drain().run()


def test_what_a_provider_is_given(queue: Queue, first: OrganizationApp, script: Script) -> None:
    message = queue(recipient="+966500000001", text="Héllo", sender_id="MyBrand")
    Drain().run()
    ((slug, sms),) = script.calls
    assert slug == "first-sms"
    assert message.log is not None
    assert sms == Sms("+966500000001", "Héllo", "MyBrand", None, str(message.log.pk))


def test_a_refused_account_fails_over_within_one_drain(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, script: Script
) -> None:
    script.answers["first-sms"] = rejected(Fault.AUTH)
    message = queue()
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.provider_slug) == (Status.SENT, "second-sms")
    assert [slug for slug, _ in script.calls] == ["first-sms", "second-sms"]


def test_an_unavailable_first_app_fails_over_and_is_not_asked_again_too_soon(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, script: Script
) -> None:
    script.answers["first-sms"] = unavailable()
    script.answers["second-sms"] = unavailable(Fault.THROTTLED, retry_after=timedelta(seconds=60))
    message = queue()
    Drain().run()
    message.refresh_from_db()
    assert message.status == Status.PENDING
    assert [slug for slug, _ in script.calls] == ["first-sms", "second-sms"]
    assert message.next_attempt_at < clock.now() + timedelta(seconds=10)


def test_an_adapter_is_told_how_often_it_has_certainly_not_sent(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, script: Script
) -> None:
    """By itself, not by others: for a provider that takes our id only once."""
    outcomes = iter([unavailable(retry_after=timedelta(0)), unavailable(retry_after=timedelta(0)), accepted("id-1")])
    script.answers["first-sms"] = lambda _: next(outcomes)
    script.answers["second-sms"] = unavailable(retry_after=timedelta(minutes=5))
    message = queue()
    for _ in range(10):
        Message.objects.filter(status=Status.PENDING).update(next_attempt_at=clock.now())
        Attempt.objects.filter(provider_slug="first-sms").update(retry_at=clock.now())
        Drain().run()
    message.refresh_from_db()
    assert message.status == Status.SENT
    asked = [(slug, sms.times_refused) for slug, sms in script.calls]
    assert asked == [("first-sms", 0), ("second-sms", 0), ("first-sms", 1), ("first-sms", 2)]


def test_tries_after_one_that_may_have_sent_keep_its_id(queue: Queue, first: OrganizationApp, script: Script) -> None:
    """Should a person have it sent again, a provider that takes an id once refuses what it has sent already."""
    message = queue()
    Drain().run()
    assert message.log is not None
    (attempt,) = message.log.attempts.all()
    outcomes = (Outcome.REJECTED, Outcome.UNKNOWN, Outcome.UNAVAILABLE)
    tries = [Attempt(app_id=first.pk, outcome=outcome) for outcome in outcomes]
    claimed = claims.Claimed(message, 0.0, [first], message.log, tries)
    started = claims.Started(claimed, Route(first, catalogue.adapter_for(first)), attempt)
    assert started.times_refused == 1


def test_a_pinned_message_stays_with_its_app(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, script: Script
) -> None:
    script.answers["second-sms"] = rejected(Fault.SENDER, "Not yours.")
    message = queue(preferred_slug="second-sms")
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.FAILED, "sender_not_accepted")
    assert [slug for slug, _ in script.calls] == ["second-sms"]


def test_an_unknown_outcome_is_never_sent_again(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, script: Script
) -> None:
    script.answers["first-sms"] = unknown("read_timeout", "Silence.")
    queue()
    Drain().run()
    Drain().run()
    assert statuses() == {"dispatch_timeout": 1}
    assert len(script.calls) == 1


def test_an_adapter_that_breaks_off_leaves_an_unknown_outcome_and_stops_nobody(
    queue: Queue, first: OrganizationApp, script: Script
) -> None:
    broken = queue()

    def answer(sms: Sms) -> Result:
        if sms.recipient == broken.recipient:
            raise ZeroDivisionError
        return accepted("ok")

    script.answers["first-sms"] = answer
    for _ in range(3):
        queue()
    Drain().run()
    assert statuses() == {"dispatch_timeout": 1, "sent": 3}


def test_without_an_app_a_message_waits_and_says_why(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    OrganizationApp.objects.update(is_enabled=False)
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.PENDING, "no_app")
    assert message.next_attempt_at > clock.now()


def test_an_app_that_is_disabled_between_claim_and_start_sends_nothing(
    queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    mark = claims.mark_started

    def disabled_in_between(batch: Any) -> Any:
        OrganizationApp.objects.update(is_enabled=False)
        return mark(batch)

    monkeypatch.setattr(claims, "mark_started", disabled_in_between)
    Drain().run()
    assert script.calls == []
    assert statuses() == {"pending": 1}


def test_nothing_starts_when_too_little_of_the_lease_is_left(
    queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    claim = claims.claim

    def slow_claim(*, limit: int, **hints: Any) -> list[claims.Claimed]:
        taken = claim(limit=limit)
        for claimed in taken:
            claimed.start_by = time.monotonic() - 1  # the worker was frozen in between
        monkeypatch.setattr(claims, "claim", lambda **_: [])
        return taken

    monkeypatch.setattr(claims, "claim", slow_claim)
    Drain().run()
    assert script.calls == []
    assert statuses() == {"pending": 1}


def test_stop_lets_calls_in_flight_finish_and_gives_the_rest_back(
    queue: Queue, first: OrganizationApp, script: Script, settings: Settings
) -> None:
    settings.OUTBOX_SENDERS = 4
    stop, release = threading.Event(), threading.Event()

    def answer(sms: Sms) -> Result:
        stop.set()
        release.wait(10)
        return accepted("ok")

    script.answers["first-sms"] = answer
    for _ in range(30):
        queue()
    threading.Timer(0.2, release.set).start()
    Drain(stop=stop).run()

    found = statuses()
    assert found["sent"] == len(script.calls) <= 8
    assert found == {"sent": len(script.calls), "pending": 30 - len(script.calls)}


def test_results_survive_an_outage_of_the_database(
    queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    finish, failures = claims.finish, iter([OperationalError("gone"), OperationalError("gone")])

    def flaky(batch: Any) -> dict[str, int]:
        for failure in failures:
            raise failure
        return finish(batch)

    monkeypatch.setattr(claims, "finish", flaky)
    monkeypatch.setattr(dispatch, "_WRITE_PAUSE_MAX", 0.001)
    monkeypatch.setattr(dispatch.connection, "close", lambda: None)  # this test's transaction lives in it
    Drain().run()
    assert statuses() == {"sent": 1}
    assert len(script.calls) == 1


def test_a_message_queued_while_the_drain_runs_is_sent_by_it(
    organization: Organization, queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    finish = claims.finish

    def one_more(batch: Any) -> dict[str, int]:
        counts = finish(batch)
        if Message.objects.count() < 3:
            queue()
        return counts

    monkeypatch.setattr(claims, "finish", one_more)
    Drain().run()
    assert statuses() == {"sent": 3}


def test_messages_of_every_organization_go_through_their_own_apps(
    organization: Organization, other_organization: Organization, queue: Queue, first: OrganizationApp, script: Script
) -> None:
    OrganizationApp.objects.create(organization=other_organization, slug="second-sms")
    mine, theirs = queue(), queue(organization=other_organization)
    Drain().run()
    assert {(slug, sms.recipient) for slug, sms in script.calls} == {
        ("first-sms", mine.recipient),
        ("second-sms", theirs.recipient),
    }
    assert Attempt.objects.filter(log__organization=other_organization).get().provider_slug == "second-sms"


def test_the_task_drains_and_a_second_one_at_once_does_nothing(
    queue: Queue, first: OrganizationApp, script: Script
) -> None:
    queue()
    assert tasks._one_drain.acquire(blocking=False)
    try:
        tasks.drain()
        assert script.calls == []
    finally:
        tasks._one_drain.release()
    tasks.drain()
    assert len(script.calls) == 1


def test_enqueue_answers_although_the_broker_is_down(
    queue: Queue, first: OrganizationApp, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    from kombu.exceptions import OperationalError as BrokerDown

    rings = []

    def refuse(**_: Any) -> None:
        rings.append(1)
        raise BrokerDown("refused")

    monkeypatch.setattr(tasks.drain, "apply_async", refuse)
    monkeypatch.setitem(tasks._broker, "next_ring", 0.0)
    with django_capture_on_commit_callbacks(execute=True):
        queue()
        queue()
    assert rings == [1]  # the second does not wait for a broker that has just failed
    assert statuses() == {"pending": 2}


def test_the_command_prints_the_tally(queue: Queue, first: OrganizationApp, capsys: pytest.CaptureFixture[str]) -> None:
    queue()
    call_command("drain_outbox")
    assert "sent: 1" in capsys.readouterr().out
    call_command("drain_outbox")
    assert "Nothing was due." in capsys.readouterr().out


def test_an_app_whose_credentials_no_key_opens_stops_nobody_else(
    organization: Organization,
    other_organization: Organization,
    queue: Queue,
    first: OrganizationApp,
    second: OrganizationApp,
) -> None:
    broken = OrganizationApp.objects.create(organization=other_organization, slug="first-sms")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sms_providers_organizationapp SET credentials = 'no ciphertext' WHERE id IN (%s, %s)",
            [broken.pk, first.pk],
        )
    mine, theirs = queue(), queue(organization=other_organization)
    Drain().run()
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.status, mine.provider_slug) == (Status.SENT, "second-sms")
    assert (theirs.status, theirs.reason) == (Status.PENDING, "no_app")


def test_an_app_that_the_site_has_taken_out_of_its_catalogue_is_passed_over(
    queue: Queue, first: OrganizationApp, second: OrganizationApp
) -> None:
    OrganizationApp.objects.filter(pk=first.pk).update(slug="gone-sms")
    message = queue()
    Drain().run()
    message.refresh_from_db()
    assert message.provider_slug == "second-sms"


def test_a_message_that_cannot_be_routed_waits_and_the_others_are_sent(
    queue: Queue, first: OrganizationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = queue()
    queue()
    choose = routing.choose

    def trip(message: Message, **given: Any) -> Any:
        if message.pk == odd.pk:
            raise ZeroDivisionError
        return choose(message, **given)

    monkeypatch.setattr(routing, "choose", trip)
    Drain().run()
    odd.refresh_from_db()
    assert (odd.status, odd.reason) == (Status.PENDING, "internal_error")
    assert statuses() == {"pending": 1, "sent": 1}


def test_a_result_that_cannot_be_written_costs_only_its_own_message(
    queue: Queue, first: OrganizationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = queue()
    for _ in range(4):
        queue()
    finish = claims.finish

    def trip(batch: Any) -> dict[str, int]:
        if any(started.claimed.message.pk == odd.pk for started, _ in batch):
            raise DataError("a value that the database does not take")
        return finish(batch)

    monkeypatch.setattr(claims, "finish", trip)
    Drain().run()
    odd.refresh_from_db()
    assert odd.status == Status.SENDING  # the reaper will call it unknown
    assert statuses() == {"sending": 1, "sent": 4}


def test_a_sender_that_is_told_to_exit_leaves_an_unknown_outcome(
    queue: Queue, first: OrganizationApp, script: Script
) -> None:
    def leave(sms: Sms) -> Result:
        raise SystemExit

    script.answers["first-sms"] = leave
    queue()
    Drain().run()
    assert statuses() == {"dispatch_timeout": 1}


def test_nothing_is_marked_for_a_thread_that_cannot_start(
    queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def no_more_than_two(thread: threading.Thread) -> None:
        if thread.name.startswith("sender"):
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_more_than_two)
    for _ in range(20):
        queue()
    Drain().run()
    assert statuses() == {"sent": 20}
    assert len(script.calls) == 20


def test_a_head_of_the_queue_that_can_only_wait_holds_up_nobody(
    organization: Organization,
    other_organization: Organization,
    queue: Queue,
    first: OrganizationApp,
    settings: Settings,
) -> None:
    settings.OUTBOX_SENDERS = 4
    for _ in range(50):
        queue()
    OrganizationApp.objects.update(is_enabled=False)
    OrganizationApp.objects.create(organization=other_organization, slug="second-sms")
    message = queue(organization=other_organization)
    Drain().run()
    message.refresh_from_db()
    assert message.status == Status.SENT
    assert statuses() == {"pending": 50, "sent": 1}


def test_a_message_that_expires_while_it_is_claimed_is_not_sent(
    queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    mark = claims.mark_started

    def expired_meanwhile(batch: Any) -> Any:
        Message.objects.update(expires_at=clock.now() - timedelta(seconds=1))
        return mark(batch)

    monkeypatch.setattr(claims, "mark_started", expired_meanwhile)
    Drain().run()
    assert script.calls == []


def test_credentials_that_change_while_a_message_is_claimed_are_read_anew(
    queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    mark = claims.mark_started
    seen: list[dict[str, str]] = []

    def changed_meanwhile(batch: Any) -> Any:
        if not seen:
            app = OrganizationApp.objects.get(pk=first.pk)
            app.credentials = {"api_key": "new"}
            app.save()
        seen.extend(dict(route.adapter.config) for _, route in batch)
        return mark(batch)

    monkeypatch.setattr(claims, "mark_started", changed_meanwhile)
    Drain().run()
    assert seen == [{}, {"api_key": "new"}]
    assert statuses() == {"sent": 1}
    assert len(script.calls) == 1


@pytest.mark.django_db(transaction=True)
def test_a_slow_last_call_does_not_keep_the_next_drain_from_starting(
    queue: Queue, first: OrganizationApp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, release, is_called = queue(), threading.Event(), threading.Event()

    def answer(sms: Sms) -> Result:
        if sms.recipient == slow.recipient:
            is_called.set()
            assert release.wait(20)
        return accepted("ok")

    script.answers["first-sms"] = answer
    monkeypatch.setattr(tasks, "DRAIN_WINDOW", 0.3)

    def work() -> None:
        try:
            tasks.drain()
        finally:
            connection.close()

    other = threading.Thread(target=work)
    other.start()
    try:
        assert is_called.wait(10)
        assert tasks._one_drain.acquire(timeout=10), "the window has closed, so the lock is free"
        tasks._one_drain.release()
        quick = queue()
        tasks.drain()
        quick.refresh_from_db()
        assert quick.status == Status.SENT
    finally:
        release.set()
        other.join(20)
    slow.refresh_from_db()
    assert slow.status == Status.SENT


def test_a_process_that_was_frozen_while_it_wrote_tries_again(
    queue: Queue, first: OrganizationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps far longer than it is patient, and finds its session gone: that is its first failure, not its last."""
    queue()
    finish, monotonic, slept = claims.finish, time.monotonic, [0.0]

    def frozen(results: Any) -> dict[str, int]:
        if not slept[0]:
            slept[0] = 10 * dispatch._WRITE_PATIENCE
            raise OperationalError("terminating connection due to idle-in-transaction timeout")
        return finish(results)

    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + slept[0])
    monkeypatch.setattr(claims, "finish", frozen)
    monkeypatch.setattr(dispatch.connection, "close", lambda: None)  # this test's transaction lives in it
    Drain().run()
    assert statuses() == {"sent": 1}
