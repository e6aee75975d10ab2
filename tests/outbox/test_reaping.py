"""What nobody finished: the start mark alone decides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F

from linkit import clock
from linkit.models import Organization
from outbox import claims, reaping
from outbox.bulk.models import BulkJob
from outbox.models import Message
from sms_providers import sending
from sms_providers.models import OrganizationApp, SmsLog, Source, Status
from sms_providers.results import Fault, Outcome, accepted, rejected, unavailable
from tests.outbox.bulk.conftest import job, rows, upload
from tests.outbox.test_claims import start

__all__ = ["job", "upload"]  # fixtures

Queue = Callable[..., Message]
PAST = timedelta(seconds=-1)


def end_the_lease() -> None:
    Message.objects.filter(status=Status.SENDING).update(lease_expires_at=clock.now() + PAST)


def test_an_unstarted_message_of_a_dead_worker_goes_back_to_the_queue(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    claims.claim(limit=1)
    end_the_lease()

    assert reaping.reap() == reaping.Reaped(returned=1)
    message.refresh_from_db()
    assert (message.status, message.claim_token, message.lease_expires_at) == (Status.PENDING, None, None)
    assert len(claims.claim(limit=1)) == 1


def test_a_started_message_of_a_dead_worker_is_an_unknown_outcome(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    start(claims.claim(limit=1)[0])
    end_the_lease()

    assert reaping.reap() == reaping.Reaped(unknown=1)
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.DISPATCH_TIMEOUT, "no_report")
    assert message.log is not None
    assert message.log.status == Status.DISPATCH_TIMEOUT
    attempt = message.log.attempts.get()
    assert (attempt.outcome, attempt.reason) == (Outcome.UNKNOWN, "no_report")
    assert claims.claim(limit=10) == []


def test_a_lease_that_has_not_ended_is_left_alone(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    start(claims.claim(limit=1)[0])
    assert reaping.reap() == reaping.Reaped()
    message.refresh_from_db()
    assert message.status == Status.SENDING


def test_the_answer_of_a_worker_that_thawed_settles_its_reaped_message(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    end_the_lease()
    reaping.reap()

    claims.finish([(started, accepted("late", raw={"id": "late"}))])

    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.SENT, "")
    assert message.log is not None
    attempt = message.log.attempts.get()
    assert (attempt.outcome, attempt.response) == (Outcome.ACCEPTED, {"id": "late"})


def test_a_late_word_that_nothing_left_returns_the_message(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    started = start(claims.claim(limit=1)[0])
    end_the_lease()
    reaping.reap()

    claims.finish([(started, unavailable(reason="no_time_left"))])

    message.refresh_from_db()
    assert message.status == Status.PENDING


def test_a_pending_message_past_its_time_fails_as_expired(queue: Queue, first: OrganizationApp) -> None:
    message = queue(ttl=timedelta(seconds=60))
    Message.objects.update(expires_at=clock.now() + PAST)

    assert reaping.reap() == reaping.Reaped(expired=1)
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.FAILED, "expired")


def test_expiry_closes_the_log_of_a_message_that_was_tried(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    claims.finish([(start(claims.claim(limit=1)[0]), unavailable())])
    Message.objects.update(expires_at=clock.now() + PAST)
    reaping.reap()
    log = SmsLog.objects.get(queued_id=message.pk)
    assert (log.status, log.reason) == (Status.FAILED, "expired")


def test_a_direct_send_whose_process_died_becomes_unknown(organization: Organization, first: OrganizationApp) -> None:
    log = sending.new_log(organization_id=organization.pk, source=Source.SEND, recipient="+966500000001", text="Hello")
    log.deadline_at = clock.now() + PAST
    log.save(force_insert=True)
    log.attempts.create(app=first, provider_slug=first.slug, started_at=clock.now())

    assert reaping.reap() == reaping.Reaped(direct=1)
    log.refresh_from_db()
    assert (log.status, log.outcome) == (Status.DISPATCH_TIMEOUT, Outcome.UNKNOWN)
    assert log.deadline_at is None


@pytest.mark.django_db(transaction=True)
def test_two_reapers_at_once_move_every_message_once(queue: Queue, first: OrganizationApp) -> None:
    for _ in range(30):
        queue()
    taken = claims.claim(limit=30)
    for claimed in taken[:15]:
        start(claimed)
    end_the_lease()
    barrier, found = threading.Barrier(2), []

    def work() -> None:
        try:
            barrier.wait(10)
            found.append(reaping.reap())
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sum(reaped.returned for reaped in found) == 15
    assert sum(reaped.unknown for reaped in found) == 15


def test_more_than_one_batch_is_reaped(queue: Queue, first: OrganizationApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaping, "_BATCH", 2)
    for _ in range(5):
        queue()
    claims.claim(limit=5)
    end_the_lease()
    assert reaping.reap().returned == 5


def test_the_command_says_what_it_did(queue: Queue, first: OrganizationApp, capsys: pytest.CaptureFixture[str]) -> None:
    queue()
    claims.claim(limit=1)
    end_the_lease()
    call_command("reap_outbox")
    assert "1 returned to the queue" in capsys.readouterr().out


def test_a_message_that_failed_is_never_reaped(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    claims.finish([(start(claims.claim(limit=1)[0]), rejected(Fault.CONTENT))])
    Message.objects.update(expires_at=clock.now() + PAST)
    assert reaping.reap() == reaping.Reaped()
    message.refresh_from_db()
    assert message.reason == "content_refused"


def test_a_job_that_miscounts_stops_nobody_elses_reaping(
    queue: Queue, job: Callable[..., BulkJob], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, healthy = job(*rows(2)), job(*rows(1))
    alone, unstarted = queue(), queue()
    for claimed in claims.claim(limit=10):
        if claimed.message.pk != unstarted.pk:
            start(claimed)
    # Its rows come first, and there is no place for anything but them in a batch.
    Message.objects.update(lease_expires_at=clock.now() + PAST)
    Message.objects.filter(job=broken).update(lease_expires_at=clock.now() + 10 * PAST)
    BulkJob.objects.filter(pk=broken.pk).update(failed_count=F("total_count"))
    monkeypatch.setattr(reaping, "_BATCH", 2)

    assert reaping.reap() == reaping.Reaped(returned=1, unknown=2)
    assert set(Message.objects.filter(job=broken).values_list("status", flat=True)) == {Status.SENDING}
    assert Message.objects.get(pk=alone.pk).status == Status.DISPATCH_TIMEOUT
    healthy.refresh_from_db()
    assert healthy.unknown_count == 1
    for message in Message.objects.filter(job=broken):
        assert f"Message {message.pk}" in caplog.text
        assert message.recipient not in caplog.text
    # Once somebody has put its counters right they are moved.
    BulkJob.objects.filter(pk=broken.pk).update(failed_count=0)
    assert reaping.reap() == reaping.Reaped(unknown=2)
