"""Queueing a failed message again, and settling an unknown one: once, with its log, its credits and its job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection

from billing import ledger
from billing.models import CreditTransaction, Hold, Kind
from linkit import clock
from linkit.errors import Conflict
from linkit.models import Organization
from outbox import claims, reaping, services, settling
from outbox.bulk import jobs, work
from outbox.bulk.models import BulkJob, JobStatus
from outbox.claims import Started
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers import installing
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Fault, Outcome, Result, accepted, rejected, unavailable, unknown
from sms_providers.settling import WAS_FOUND, WAS_SENT, in_words
from tests.outbox.bulk.conftest import at_once, job, rows, upload, work_on_jobs
from tests.outbox.conftest import Script, figures
from tests.outbox.test_claims import start

__all__ = ["at_once", "job", "upload"]  # fixtures

pytestmark = pytest.mark.django_db

Queue = Callable[..., Message]
Jobs = Callable[..., BulkJob]
SILENCE = unknown("read_timeout", "First gave no clear answer. The message may have been sent.")
OVER = django_settings.OUTBOX_LEASE + django_settings.PROVIDER_CALL_LIMIT + timedelta(seconds=1)
RATE = Decimal("1.887")


@pytest.fixture
def unknown_one(queue: Queue, first: OrganizationApp) -> Message:
    """A message of which nobody knows whether it was sent, its call long over."""
    message = queue()
    claims.finish([(start_one(), SILENCE)])
    return long_over(message)


def start_one() -> Started:
    (claimed,) = claims.claim(limit=1)
    return start(claimed)


def long_over(message: Message) -> Message:
    Message.objects.filter(pk=message.pk).update(claimed_at=clock.now() - OVER)
    message.refresh_from_db()
    return message


def failed_one(queue: Queue, result: Result | None = None, **fields: Any) -> Message:
    message = queue(**fields)
    claims.finish([(start_one(), result or rejected(Fault.CONTENT))])
    message.refresh_from_db()
    assert message.status == Status.FAILED
    return message


def log_of(message: Message) -> SmsLog:
    return SmsLog.objects.get(queued_id=message.pk)


def refused(reason: str, verb: Callable[..., Any], message: Message, **given: Any) -> str:
    """Try something that is not possible, see that nothing changed, and return what was said."""
    before = Message.objects.filter(pk=message.pk).values().first()
    with pytest.raises(Conflict) as problem:
        verb(message, **given)
    assert (problem.value.reason, problem.value.status) == (reason, 409)
    assert Message.objects.filter(pk=message.pk).values().first() == before
    return problem.value.message


# --- requeue ----------------------------------------------------------------------------------------------------


def test_a_failed_message_is_queued_again_at_the_end(queue: Queue, first: OrganizationApp) -> None:
    message = failed_one(queue)
    other = queue()
    settling.requeue(message)
    message.refresh_from_db()
    assert (message.status, message.reason, message.error_message) == (Status.PENDING, "", "")
    assert (message.claim_token, message.started_at) == (None, None)
    assert message.requeued_at == message.next_attempt_at > other.next_attempt_at
    log = log_of(message)
    assert (log.status, log.outcome, log.reason) == (Status.PENDING, "", "")
    Drain().run()
    message.refresh_from_db()
    assert message.status == Status.SENT
    assert [attempt.outcome for attempt in log.attempts.all()] == [Outcome.REJECTED, Outcome.ACCEPTED]


def test_an_app_that_refused_for_its_account_may_try_again(queue: Queue, first: OrganizationApp) -> None:
    message = failed_one(queue, rejected(Fault.AUTH))
    settling.requeue(message)
    Drain().run()
    message.refresh_from_db()
    assert message.status == Status.SENT


@pytest.mark.parametrize("ttl", [timedelta(seconds=90), None])
def test_it_has_its_whole_time_to_live_again(queue: Queue, first: OrganizationApp, ttl: timedelta | None) -> None:
    message = queue(ttl=ttl)
    wanted = ttl or django_settings.OUTBOX_TTL
    for _ in range(3):
        Message.objects.filter(pk=message.pk).update(status=Status.FAILED, reason="expired")
        message.refresh_from_db()
        settling.requeue(message)
        message.refresh_from_db()
        assert message.expires_at is not None
        assert abs(message.expires_at - message.next_attempt_at - wanted) < timedelta(seconds=1)


def test_an_odd_time_to_live_becomes_the_usual(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    Message.objects.filter(pk=message.pk).update(status=Status.FAILED, expires_at=clock.now() - timedelta(days=400))
    message.refresh_from_db()
    settling.requeue(message)
    message.refresh_from_db()
    assert message.expires_at == message.next_attempt_at + django_settings.OUTBOX_TTL


def test_a_cancelled_one_that_is_for_later_still_waits_for_its_time(queue: Queue, first: OrganizationApp) -> None:
    later = clock.now() + timedelta(days=3)
    message = queue(scheduled_at=later)
    services.cancel(message=message)
    message.refresh_from_db()
    settling.requeue(message)
    message.refresh_from_db()
    assert message.next_attempt_at == later
    assert message.expires_at == later + django_settings.OUTBOX_TTL
    assert claims.claim(limit=1) == []


@pytest.mark.parametrize("status", [Status.PENDING, Status.SENT, Status.DISPATCH_TIMEOUT])
def test_only_a_failed_message_is_queued_again(queue: Queue, first: OrganizationApp, status: Status) -> None:
    message = queue()
    Message.objects.filter(pk=message.pk).update(status=status)
    said = refused("wrong_state", settling.requeue, message)
    assert f"'{status}'" in said


def test_one_that_is_gone_is_not_queued_again(queue: Queue, first: OrganizationApp) -> None:
    message = failed_one(queue)
    Message.objects.filter(pk=message.pk).delete()
    assert "deleted" in refused("wrong_state", settling.requeue, message)


@pytest.mark.parametrize("gone", ["uninstalled", "disabled"])
def test_without_the_only_app_that_may_send_it_it_stays_failed(queue: Queue, first: OrganizationApp, gone: str) -> None:
    message = failed_one(queue, preferred_slug="first-sms")
    if gone == "uninstalled":
        installing.uninstall(app=first)
    else:
        installing.change(app=first, is_enabled=False)
    assert "First" in refused("app_disabled", settling.requeue, message)
    assert log_of(message).status == Status.FAILED


# --- settle -----------------------------------------------------------------------------------------------------


def test_it_was_sent(unknown_one: Message) -> None:
    settling.settle(unknown_one, was_sent=True)
    unknown_one.refresh_from_db()
    assert (unknown_one.status, unknown_one.reason, unknown_one.error_message) == (Status.SENT, "", WAS_SENT)
    assert unknown_one.claim_token is None
    log = log_of(unknown_one)
    assert (log.status, log.outcome, log.reason, log.error_message) == ("sent", Outcome.ACCEPTED, "", WAS_SENT)
    assert log.sent_at == unknown_one.sent_at is not None
    assert log.attempts.get().outcome == Outcome.UNKNOWN, "the evidence stays"


def test_it_is_sent_again(unknown_one: Message, script: Script) -> None:
    settling.settle(unknown_one, was_sent=False)
    unknown_one.refresh_from_db()
    assert (unknown_one.status, unknown_one.claim_token, unknown_one.started_at) == (Status.PENDING, None, None)
    log = log_of(unknown_one)
    assert (log.status, log.outcome, log.reason, log.error_message) == (Status.PENDING, "", "", "")
    Drain().run()
    unknown_one.refresh_from_db()
    log.refresh_from_db()
    assert unknown_one.status == log.status == Status.SENT
    ((_, sms),) = script.calls
    assert sms.times_refused == 0, "the provider gets the reference of the first call, by which it may know a repeat"


@pytest.mark.parametrize("was_sent", [True, False])
def test_a_late_answer_of_the_old_attempt_changes_nothing(queue: Queue, first: OrganizationApp, was_sent: bool) -> None:
    message = queue()
    started = start_one()
    Message.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
    reaping.reap()
    settling.settle(long_over(message), was_sent=was_sent)
    before = Message.objects.values().get(), SmsLog.objects.values().get(), Attempt.objects.values().get()
    for late in (rejected(Fault.CONTENT), unavailable(), accepted("late")):
        assert claims.finish([(started, late)]) == {}
    assert (Message.objects.values().get(), SmsLog.objects.values().get(), Attempt.objects.values().get()) == before


def test_sending_again_is_refused_while_the_call_may_be_under_way(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    claims.finish([(start_one(), SILENCE)])
    message.refresh_from_db()
    assert message.claimed_at is not None
    until = message.claimed_at + django_settings.OUTBOX_LEASE + django_settings.PROVIDER_CALL_LIMIT
    said = refused("too_early", settling.settle, message, was_sent=False)
    assert f"{until:%Y-%m-%d %H:%M:%S} UTC" in said
    assert log_of(message).status == Status.DISPATCH_TIMEOUT
    settling.settle(message, was_sent=True)  # that may be said at any time


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize("status", [Status.PENDING, Status.SENT, Status.FAILED])
def test_only_an_unknown_outcome_is_settled(unknown_one: Message, status: Status, was_sent: bool) -> None:
    Message.objects.update(status=status, started_at=None)
    said = refused("wrong_state", settling.settle, unknown_one, was_sent=was_sent)
    assert f"'{status}'" in said


# --- what a provider says later ---------------------------------------------------------------------------------


def attempt_of(message: Message) -> Attempt:
    attempt = Attempt.objects.filter(log__queued_id=message.pk).last()
    assert attempt is not None
    return attempt


def test_the_provider_has_it(unknown_one: Message) -> None:
    attempt = attempt_of(unknown_one)
    found = in_words(accepted("id-7", cost=Decimal("0.05"), currency="EUR", segment_count=1, raw={"results": [1]}))
    assert settling.settle_by_answer(unknown_one.pk, attempt.pk, found)
    unknown_one.refresh_from_db()
    assert (unknown_one.status, unknown_one.reason, unknown_one.claim_token) == (Status.SENT, "", None)
    log = log_of(unknown_one)
    assert (log.status, log.outcome, log.provider_message_id) == ("sent", Outcome.ACCEPTED, "id-7")
    assert (log.provider_cost, log.provider_currency) == (Decimal("0.05"), "EUR")
    assert unknown_one.error_message == log.error_message == WAS_FOUND
    after = attempt_of(unknown_one)
    assert (after.outcome, after.response) == (Outcome.ACCEPTED, {"results": [1]})
    assert after.finished_at == attempt.finished_at, "when the call ended"
    assert after.message == f"{SILENCE.message} {WAS_FOUND}"


def test_the_answer_of_the_call_itself_stays(queue: Queue, first: OrganizationApp) -> None:
    message = queue()
    claims.finish([(start_one(), unknown("unreadable_answer", "Odd.", http_status=500, raw={"odd": True}))])
    found = in_words(accepted("id-7", http_status=200, raw={"results": [1]}))
    assert settling.settle_by_answer(message.pk, attempt_of(message).pk, found)
    after = attempt_of(message)
    assert (after.outcome, after.http_status, after.response) == (Outcome.ACCEPTED, 500, {"odd": True})


@pytest.mark.parametrize(
    "result", [rejected(Fault.BALANCE, "No."), rejected(Fault.RECIPIENT, "No."), unavailable(message="No.")]
)
def test_the_provider_has_refused_it(unknown_one: Message, second: OrganizationApp, result: Result) -> None:
    found = in_words(result)
    assert settling.settle_by_answer(unknown_one.pk, attempt_of(unknown_one).pk, found)
    unknown_one.refresh_from_db()
    assert (unknown_one.status, unknown_one.reason) == (Status.FAILED, result.reason)
    log = log_of(unknown_one)
    assert (log.status, log.outcome, log.reason) == ("failed", result.outcome, result.reason)
    assert "Asked later" in log.error_message == unknown_one.error_message
    Drain().run()
    unknown_one.refresh_from_db()
    assert unknown_one.status == Status.FAILED, "no other app is tried by itself"
    settling.requeue(unknown_one)
    assert Message.objects.get().status == Status.PENDING


def test_what_was_settled_or_sent_again_meanwhile_is_left_alone(unknown_one: Message, script: Script) -> None:
    asked_about = attempt_of(unknown_one)
    settling.settle(unknown_one, was_sent=False)
    assert not settling.settle_by_answer(unknown_one.pk, asked_about.pk, accepted("old"))
    assert Message.objects.get().status == Status.PENDING
    script.answers["first-sms"] = SILENCE
    Drain().run()
    before = Message.objects.values().get(), SmsLog.objects.values().get()
    assert before[0]["status"] == Status.DISPATCH_TIMEOUT
    assert not settling.settle_by_answer(unknown_one.pk, asked_about.pk, rejected(Fault.CONTENT))
    assert (Message.objects.values().get(), SmsLog.objects.values().get()) == before
    settling.settle(unknown_one, was_sent=True)
    assert not settling.settle_by_answer(unknown_one.pk, attempt_of(unknown_one).pk, rejected(Fault.CONTENT))
    assert Message.objects.get().status == Status.SENT


# --- credits ----------------------------------------------------------------------------------------------------


def test_money_follows(queue: Queue, metered: OrganizationApp, organization: Organization, script: Script) -> None:
    script.answers["first-sms"] = SILENCE
    sent, again, gone = queue(), queue(), queue()
    found, refused_one = queue(), queue()
    Drain().run()
    assert figures(organization) == (10, 5 * RATE)
    for message in (sent, again, gone, found, refused_one):
        long_over(message)
    settling.settle(sent, was_sent=True)
    assert figures(organization) == (10 - RATE, 4 * RATE)
    assert log_of(sent).credit_charged == RATE
    settling.settle(again, was_sent=False)
    assert figures(organization) == (10 - RATE, 3 * RATE)
    assert settling.settle_by_answer(found.pk, attempt_of(found).pk, accepted("1"))
    assert settling.settle_by_answer(refused_one.pk, attempt_of(refused_one).pk, rejected(Fault.CONTENT))
    assert figures(organization) == (10 - 2 * RATE, RATE)
    # Held for too long, and given back: settled later it costs nothing.
    ledger.release(organization.pk, [log_of(gone).pk])
    settling.settle(gone, was_sent=True)
    assert log_of(gone).credit_charged == 0
    assert figures(organization) == (10 - 2 * RATE, 0)
    call_command("audit_credits")
    # Sent again it is held and charged anew, and one that failed likewise.
    settling.requeue(Message.objects.get(pk=refused_one.pk))
    script.answers.clear()
    Drain().run()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert figures(organization) == (10 - 4 * RATE, 0)
    assert CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).count() == 4
    call_command("audit_credits")


def test_what_is_sent_again_waits_for_credits_like_others(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
) -> None:
    script.answers["first-sms"] = SILENCE
    message = queue()
    Drain().run()
    ledger.adjust(organization=organization, amount=Decimal(-10), description="spent")
    settling.settle(long_over(message), was_sent=False)
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.PENDING, "insufficient_credits")
    assert not Hold.objects.exists()
    call_command("audit_credits")


# --- jobs -------------------------------------------------------------------------------------------------------


def counts(job: BulkJob) -> tuple[str, int, int, int]:
    job.refresh_from_db()
    return job.status, job.sent_count, job.failed_count, job.unknown_count


def row(job: BulkJob, number: int) -> Message:
    return Message.objects.get(job=job, row_number=number)


@pytest.fixture
def ended(job: Jobs, script: Script) -> BulkJob:
    """A job that is over: one row sent, one refused, one unknown (rows 2 to 4)."""
    cells = rows(3)
    made = job(*cells)
    by_number = {cells[1][0]: rejected(Fault.CONTENT, "No."), cells[2][0]: SILENCE}
    script.answers["first-sms"] = lambda sms: by_number.get(sms.recipient, accepted("id"))
    Drain().run()
    assert counts(made) == (JobStatus.PARTLY_FAILED, 1, 1, 1)
    script.answers.clear()
    Message.objects.update(claimed_at=clock.now() - OVER)
    return made


def test_settling_a_row_moves_the_counters_of_its_job(ended: BulkJob) -> None:
    settling.settle(row(ended, 4), was_sent=True)
    assert counts(ended) == (JobStatus.PARTLY_FAILED, 2, 1, 0)
    assert ended.finished_at is not None


def test_a_row_that_the_provider_has_may_complete_its_job(job: Jobs, script: Script) -> None:
    script.answers["first-sms"] = SILENCE
    made = job(*rows(1))
    Drain().run()
    message = row(made, 2)
    assert settling.settle_by_answer(message.pk, attempt_of(message).pk, accepted("id"))
    assert counts(made) == (JobStatus.COMPLETED, 1, 0, 0)


@pytest.mark.parametrize("number", [3, 4])
def test_a_row_that_is_sent_again_opens_its_job(ended: BulkJob, number: int) -> None:
    BulkJob.objects.filter(pk=ended.pk).update(expires_at=clock.now() - timedelta(days=1))
    if number == 3:
        settling.requeue(row(ended, 3))
    else:
        settling.settle(row(ended, 4), was_sent=False)
    status, sent, failed, unknown_count = counts(ended)
    assert (status, sent, failed + unknown_count) == (JobStatus.RUNNING, 1, 1)
    assert ended.finished_at is None
    assert ended.run_base == 2
    assert ended.expires_at is not None
    assert ended.expires_at > clock.now() + timedelta(days=2), "it would be stopped at once"
    assert jobs.stop_overdue() == 0
    Drain().run()
    assert counts(ended)[:2] == (JobStatus.PARTLY_FAILED, 2)


def test_a_row_of_a_job_under_way_is_queued_again(job: Jobs, script: Script) -> None:
    made = job(*rows(2))
    services.cancel(message=row(made, 2))
    assert counts(made) == (JobStatus.RUNNING, 0, 1, 0)
    expires_at = made.expires_at
    settling.requeue(row(made, 2))
    assert counts(made) == (JobStatus.RUNNING, 0, 0, 0)
    assert made.expires_at == expires_at
    jobs.pause(made)
    services.cancel(message=row(made, 3))
    settling.requeue(row(made, 3))
    assert counts(made) == (JobStatus.PAUSED, 0, 0, 0)
    jobs.resume(made)
    Drain().run()
    assert counts(made) == (JobStatus.COMPLETED, 2, 0, 0)


@pytest.mark.parametrize("state", [JobStatus.STOPPING, JobStatus.STOPPED])
def test_nothing_of_a_stopped_job_is_sent_again(ended: BulkJob, state: JobStatus) -> None:
    BulkJob.objects.filter(pk=ended.pk).update(status=state)
    again = "Send the failed rows"
    assert again in refused("wrong_state", settling.requeue, row(ended, 3))
    said = refused("wrong_state", settling.settle, row(ended, 4), was_sent=False)
    assert again not in said, "which would not send it"
    assert "stopped" in said
    assert counts(ended) == (state, 1, 1, 1)
    assert log_of(row(ended, 4)).status == Status.DISPATCH_TIMEOUT
    settling.settle(row(ended, 4), was_sent=True)
    assert counts(ended) == (JobStatus.STOPPED, 2, 1, 0)


def test_while_the_failed_rows_are_queued_again_none_is_by_itself(ended: BulkJob) -> None:
    jobs.retry_failed(ended)
    assert "queued again" in refused("wrong_state", settling.requeue, row(ended, 3))
    settling.settle(row(ended, 4), was_sent=False)
    assert counts(ended) == (JobStatus.RETRYING, 1, 1, 0)
    work_on_jobs()
    Drain().run()
    assert counts(ended) == (JobStatus.COMPLETED, 3, 0, 0)


def test_a_job_whose_app_is_gone_is_not_opened(ended: BulkJob, first: OrganizationApp) -> None:
    installing.uninstall(app=first)
    refused("app_disabled", settling.requeue, row(ended, 3))
    refused("app_disabled", settling.settle, row(ended, 4), was_sent=False)
    assert counts(ended) == (JobStatus.PARTLY_FAILED, 1, 1, 1)


# --- two at once ------------------------------------------------------------------------------------------------


def at_the_same_time(*verbs: Callable[[], Any]) -> list[Any]:
    """Run these at once, each on a connection of its own. Returns what each returned; a `Conflict` as itself."""
    barrier = threading.Barrier(len(verbs))
    results: list[Any] = [None] * len(verbs)

    def run(position: int, verb: Callable[[], Any]) -> None:
        try:
            barrier.wait(10)
            results[position] = verb()
        except BaseException as error:  # told by the caller
            results[position] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(verbs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    unexpected = [
        result for result in results if isinstance(result, BaseException) and not isinstance(result, Conflict)
    ]
    assert not unexpected, unexpected
    return results


def one_won(results: list[Any]) -> bool:
    return sum(not isinstance(result, Conflict) for result in results) == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_people_at_once_one_settles(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
) -> None:
    script.answers["first-sms"] = SILENCE
    messages = [queue(text="x") for _ in range(5)]
    Drain().run()
    for message in messages:
        long_over(message)
        verbs = [partial(settling.settle, message, was_sent=was_sent) for was_sent in (True, False)]
        assert one_won(at_the_same_time(*verbs, *verbs))
    sent = Message.objects.filter(status=Status.SENT)
    assert figures(organization) == (10 - sent.count() * RATE, 0)
    for message in Message.objects.all():
        assert log_of(message).status == message.status
    call_command("audit_credits")


@pytest.mark.django_db(transaction=True)
def test_of_two_people_at_once_one_queues_again(job: Jobs, script: Script) -> None:
    script.answers["first-sms"] = rejected(Fault.CONTENT)
    made = job(*rows(6))
    Drain().run()
    for number in range(2, 8):
        one = row(made, number)
        assert one_won(at_the_same_time(*[partial(settling.requeue, one)] * 3))
    assert counts(made) == (JobStatus.RUNNING, 0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_person_and_a_late_answer_at_once_make_one_change(
    job: Jobs, metered: OrganizationApp, organization: Organization
) -> None:
    made = job(*rows(5))
    started = [start(claimed) for claimed in claims.claim(limit=5)]
    Message.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
    reaping.reap()
    for position, each in enumerate(started):
        message = long_over(each.claimed.message)
        late, was_sent = (accepted("late"), False) if position % 2 else (rejected(Fault.CONTENT), True)
        settled, counted = at_the_same_time(
            partial(settling.settle, message, was_sent=was_sent), partial(claims.finish, [(each, late)])
        )
        assert isinstance(settled, Conflict) == bool(counted), "exactly one of them"
    totals = counts(made)
    by_status = [Message.objects.filter(status=each).count() for each in ("sent", "failed", "dispatch_timeout")]
    assert list(totals[1:]) == by_status
    call_command("audit_credits")


@pytest.mark.django_db(transaction=True)
def test_retrying_a_job_and_one_of_its_rows_at_once(job: Jobs, script: Script) -> None:
    """Neither waits for the other for ever, and each row is counted once."""
    script.answers["first-sms"] = rejected(Fault.CONTENT)
    made = job(*rows(20))
    Drain().run()
    some = [row(made, number) for number in (2, 9, 21)]

    def retry() -> None:
        jobs.retry_failed(made)
        while work.do_next(threading.Event()):
            pass

    at_the_same_time(retry, *[partial(settling.requeue, one) for one in some])
    made.refresh_from_db()
    pending = Message.objects.filter(job=made, status=Status.PENDING).count()
    assert (made.pending_count, made.failed_count) == (pending, 20 - pending)
    script.answers.clear()
    work_on_jobs()
    Drain().run()
    made.refresh_from_db()
    assert made.is_ended


@pytest.mark.django_db(transaction=True)
def test_uninstalling_and_queueing_again_at_once(queue: Queue, first: OrganizationApp) -> None:
    """Either the app stays for the message, or the message stays failed."""
    message = failed_one(queue, preferred_slug="first-sms")
    at_the_same_time(lambda: settling.requeue(message), lambda: installing.uninstall(app=first))
    message.refresh_from_db()
    first.refresh_from_db()
    assert (message.status == Status.PENDING) == (first.uninstalled_at is None)
