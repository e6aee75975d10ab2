"""Claim, start mark, finish and give back: what two workers at once can and cannot do to one message."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from pytest_django import Settings

from linkit import clock
from outbox import claims, routing
from outbox.models import Message
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Fault, Outcome, accepted, rejected, unavailable, unknown
from tests.outbox.conftest import Script

Queue = Callable[..., Message]


def start(claimed: claims.Claimed) -> claims.Started:
    """Route and mark one claimed message."""
    route = routing.choose(claimed.message, apps=claimed.apps, tries=claimed.tries, now=clock.now())
    assert isinstance(route, routing.Route)
    (started,) = claims.mark_started([(claimed, route)])
    return started


def test_a_claim_leases_the_longest_waiting_messages(queue: Queue, first: OrganizationApp) -> None:
    oldest, younger, youngest = queue(), queue(), queue()
    Message.objects.filter(pk=youngest.pk).update(next_attempt_at=clock.now() - timedelta(hours=1))

    taken = claims.claim(limit=2)

    assert [claimed.message.pk for claimed in taken] == [youngest.pk, oldest.pk]
    oldest.refresh_from_db()
    assert oldest.status == Status.SENDING
    assert oldest.claim_token is not None
    assert oldest.lease_expires_at is not None
    assert oldest.lease_expires_at > clock.now()
    younger.refresh_from_db()
    assert younger.status == Status.PENDING


def test_a_claimed_message_is_not_claimed_again(queue: Queue, first: OrganizationApp) -> None:
    queue()
    assert len(claims.claim(limit=10)) == 1
    assert claims.claim(limit=10) == []


def test_messages_that_are_not_due_or_have_expired_are_left_alone(queue: Queue, first: OrganizationApp) -> None:
    later = queue(scheduled_at=clock.now() + timedelta(hours=1))
    overdue = queue()
    Message.objects.filter(pk=overdue.pk).update(expires_at=clock.now() - timedelta(seconds=1))

    assert claims.claim(limit=10) == []
    assert later.status == Status.PENDING


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_claim_at_once_never_share_a_message(queue: Queue, first: OrganizationApp) -> None:
    for _ in range(40):
        queue()
    barrier, lock = threading.Barrier(4), threading.Lock()
    taken: list[str] = []

    def work() -> None:
        try:
            barrier.wait(10)
            while batch := claims.claim(limit=3):
                with lock:
                    taken.extend(claimed.message.pk for claimed in batch)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(taken) == 40
    assert len(set(taken)) == 40


def test_the_start_mark_writes_the_log_and_an_open_attempt_before_the_call(
    queue: Queue, first: OrganizationApp
) -> None:
    message = queue()
    (claimed,) = claims.claim(limit=1)
    start(claimed)

    message.refresh_from_db()
    assert message.started_at is not None
    assert message.provider_slug == "first-sms"
    log = SmsLog.objects.get(queued_id=message.pk)
    assert log.status == Status.SENDING
    attempt = log.attempts.get()
    assert (attempt.outcome, attempt.finished_at) == ("", None)


def test_no_start_mark_after_the_lease_has_ended(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    (claimed,) = claims.claim(limit=1)
    route = routing.choose(message, apps=claimed.apps, tries=[], now=clock.now())
    assert isinstance(route, routing.Route)
    Message.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))

    assert claims.mark_started([(claimed, route)]) == []
    assert not SmsLog.objects.exists()
    assert not Attempt.objects.exists()


def test_no_start_mark_under_another_claims_token(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    (claimed,) = claims.claim(limit=1)
    route = routing.choose(message, apps=claimed.apps, tries=[], now=clock.now())
    assert isinstance(route, routing.Route)
    Message.objects.update(claim_token=uuid.uuid4())

    assert claims.mark_started([(claimed, route)]) == []


def test_no_start_mark_for_an_app_that_was_disabled_meanwhile(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    (claimed,) = claims.claim(limit=1)
    route = routing.choose(message, apps=claimed.apps, tries=[], now=clock.now())
    assert isinstance(route, routing.Route)
    OrganizationApp.objects.update(is_enabled=False)

    assert claims.mark_started([(claimed, route)]) == []
    message.refresh_from_db()
    assert message.started_at is None


def test_a_second_start_mark_of_one_claim_is_refused(queue: Queue, first: OrganizationApp) -> None:
    queue()
    (claimed,) = claims.claim(limit=1)
    started = start(claimed)
    assert claims.mark_started([(claimed, started.route)]) == []


def test_accepted_is_sent_with_the_providers_id_and_answer(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    claims.finish([(started, accepted("p-1", raw={"id": "p-1"}))])

    message.refresh_from_db()
    assert (message.status, message.reason, message.claim_token) == (Status.SENT, "", None)
    assert message.sent_at is not None
    assert message.log is not None
    assert (message.log.status, message.log.provider_message_id) == (Status.SENT, "p-1")
    attempt = message.log.attempts.get()
    assert (attempt.outcome, attempt.response) == (Outcome.ACCEPTED, {"id": "p-1"})
    assert attempt.finished_at is not None


def test_a_refused_recipient_ends_the_message_although_another_app_is_there(
    queue: Queue, first: OrganizationApp, second: OrganizationApp
) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    claims.finish([(started, rejected(Fault.RECIPIENT, "No such number."))])

    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.FAILED, "invalid_recipient")
    assert message.error_message == "No such number."


@pytest.mark.parametrize("fault", [Fault.AUTH, Fault.BALANCE, Fault.SENDER])
def test_a_fault_of_the_account_goes_to_the_next_app_at_once(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, fault: Fault
) -> None:
    message = queue()
    claims.finish([(start(claims.claim(limit=1)[0]), rejected(fault))])

    message.refresh_from_db()
    assert message.status == Status.PENDING
    assert message.next_attempt_at <= clock.now()
    assert (message.started_at, message.claim_token, message.lease_expires_at) == (None, None, None)
    assert message.log is not None
    assert message.log.status == Status.PENDING
    assert start(claims.claim(limit=1)[0]).route.slug == "second-sms"


def test_when_every_app_has_refused_the_message_fails_with_the_last_reason(
    queue: Queue, first: OrganizationApp, second: OrganizationApp
) -> None:
    message = queue()
    claims.finish([(start(claims.claim(limit=1)[0]), rejected(Fault.AUTH))])
    claims.finish([(start(claims.claim(limit=1)[0]), rejected(Fault.BALANCE))])

    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.FAILED, "insufficient_provider_balance")
    assert message.log is not None
    assert [attempt.provider_slug for attempt in message.log.attempts.all()] == ["first-sms", "second-sms"]


def test_an_unavailable_only_app_is_tried_again_after_the_back_off(
    queue: Queue, first: OrganizationApp, settings: Settings
) -> None:
    message = queue()
    before = clock.now()
    claims.finish([(start(claims.claim(limit=1)[0]), unavailable(reason="connection_failed"))])

    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.PENDING, "connection_failed")
    wait = message.next_attempt_at - before
    assert settings.OUTBOX_BACKOFF_MIN * 0.7 <= wait <= settings.OUTBOX_BACKOFF_MIN * 1.6


def test_an_unknown_outcome_is_final_and_keeps_its_evidence(
    queue: Queue, first: OrganizationApp, second: OrganizationApp
) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    claims.finish([(started, unknown("read_timeout", "No answer.", raw={"raw": "half an ans"}))])

    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.DISPATCH_TIMEOUT, "read_timeout")
    assert message.lease_expires_at is None
    assert claims.claim(limit=10) == []
    assert message.log is not None
    assert message.log.attempts.get().response == {"raw": "half an ans"}


def test_a_late_answer_settles_its_own_unknown(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    claims.finish([(started, unknown("no_report", "The worker died."))])

    claims.finish([(started, accepted("late"))])

    message.refresh_from_db()
    assert message.status == Status.SENT
    assert message.log is not None
    assert message.log.status == Status.SENT


def test_a_late_answer_does_not_overwrite_what_a_person_has_settled(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    claims.finish([(started, unknown("no_report", "The worker died."))])
    Message.objects.update(status=Status.SENT, claim_token=None)

    assert claims.finish([(started, rejected(Fault.RECIPIENT))]) == {}
    message.refresh_from_db()
    assert message.status == Status.SENT


def test_a_worker_that_overslept_cannot_finish_its_successors_message(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    (claimed,) = claims.claim(limit=1)
    started = start(claimed)
    Message.objects.update(claim_token=uuid.uuid4())

    assert claims.finish([(started, accepted("x"))]) == {}
    message.refresh_from_db()
    assert message.status == Status.SENDING


def test_finishing_twice_changes_nothing_more(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    claims.finish([(started, accepted("x"))])
    assert claims.finish([(started, rejected(Fault.AUTH))]) == {}
    message.refresh_from_db()
    assert message.status == Status.SENT


def test_give_back_returns_only_what_has_not_been_started(queue: Queue, first: OrganizationApp) -> None:
    queue()
    queue()
    one, two = claims.claim(limit=2)
    start(one)

    claims.give_back([one, two])

    one.message.refresh_from_db()
    two.message.refresh_from_db()
    assert one.message.status == Status.SENDING
    assert two.message.status == Status.PENDING


def test_a_test_message_goes_to_the_simulator_without_an_installation(queue: Queue, script: Script) -> None:
    queue(is_test=True)
    started = start(claims.claim(limit=1)[0])
    assert (started.route.app, started.route.slug) == (None, "sandbox-sms")
