"""Pause, resume, stop and retry: what may still be sent, what is counted, and what is never touched."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from linkit import clock
from linkit.errors import Conflict
from outbox import claims, reaping, routing, services
from outbox.bulk import jobs, leases, splitting, uploads, work
from outbox.bulk.models import BulkJob, JobStatus, Upload, UploadChunk
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Fault, Result, accepted, rejected, unavailable, unknown
from sms_providers.sending import Route
from tests import factories
from tests.conftest import Api
from tests.outbox.bulk.conftest import URL, Script, csv_of, rows, send_all, work_on_jobs

Make = Callable[..., BulkJob]
Uploader = Callable[..., Any]


def counts(job: BulkJob) -> tuple[int, int, int, int, int]:
    """Return total, sent, failed, unknown and pending, and hold them against the messages themselves."""
    job.refresh_from_db()
    found = Counter(Message.objects.filter(job=job).values_list("status", flat=True))
    assert job.sent_count == found[Status.SENT]
    assert job.failed_count == found[Status.FAILED] + job.invalid_count
    assert job.unknown_count == found[Status.DISPATCH_TIMEOUT]
    assert job.pending_count == found[Status.PENDING] + found[Status.SENDING]
    return job.total_count, job.sent_count, job.failed_count, job.unknown_count, job.pending_count


def start_one() -> claims.Started:
    """Claim and mark one message, as a drain does before it calls the provider."""
    (claimed,) = claims.claim(limit=1)
    route = routing.choose(claimed.message, apps=claimed.apps, tries=claimed.tries, now=clock.now())
    assert isinstance(route, Route)
    (started,) = claims.mark_started([(claimed, route)])
    return started


def mark(claimed: list[claims.Claimed]) -> list[claims.Started]:
    batch = []
    for item in claimed:
        route = routing.choose(item.message, apps=item.apps, tries=item.tries, now=clock.now())
        assert isinstance(route, Route)
        batch.append((item, route))
    return claims.mark_started(batch)


# --- pause and resume -------------------------------------------------------------------------------------------


def test_a_paused_job_sends_nothing_and_a_resumed_one_goes_on(job: Make, script: Script):
    paused = job(*rows(3))
    jobs.pause(paused)
    Drain().run()
    assert (counts(paused), paused.status, script.calls) == ((3, 0, 0, 0, 3), JobStatus.PAUSED, [])
    jobs.resume(paused)
    Drain().run()
    assert (counts(paused), paused.status) == ((3, 3, 0, 0, 0), JobStatus.COMPLETED)


def test_a_row_that_was_claimed_before_the_pause_is_not_started_after_it(job: Make):
    paused = job(*rows(2))
    claimed = claims.claim(limit=2)
    jobs.pause(paused)
    assert mark(claimed) == []
    claims.give_back(claimed)
    assert counts(paused) == (2, 0, 0, 0, 2)


def test_what_was_started_before_the_pause_ends_as_it_ends(job: Make):
    paused = job(*rows(2))
    started = start_one()
    jobs.pause(paused)
    claims.finish([(started, accepted("1"))])
    assert (counts(paused), paused.status) == ((2, 1, 0, 0, 1), JobStatus.PAUSED)


def test_a_job_that_ends_while_it_is_paused_is_just_over(job: Make):
    paused = job(*rows(1))
    started = start_one()
    jobs.pause(paused)
    claims.finish([(started, accepted("1"))])
    assert (counts(paused), paused.status) == ((1, 1, 0, 0, 0), JobStatus.COMPLETED)
    assert (paused.reason, paused.error_message, paused.paused_at) == ("", "", None)


def test_a_pause_does_not_count_towards_the_deadline(job: Make):
    paused = job(*rows(1))
    before = paused.expires_at
    assert before is not None
    jobs.pause(paused)
    BulkJob.objects.update(paused_at=clock.now() - timedelta(hours=5))
    jobs.resume(paused)
    paused.refresh_from_db()
    assert paused.expires_at is not None
    assert timedelta(hours=5) <= paused.expires_at - before < timedelta(hours=5, minutes=1)


# --- stop -------------------------------------------------------------------------------------------------------


def test_a_stopped_job_cancels_what_has_not_been_started(job: Make, script: Script):
    stopped = job(*rows(4))
    started = start_one()
    claimed = claims.claim(limit=1)
    jobs.stop(stopped)
    assert mark(claimed) == []
    work_on_jobs()
    assert (counts(stopped), stopped.status) == ((4, 0, 3, 0, 1), JobStatus.STOPPING)
    claims.finish([(started, accepted("1"))])
    assert (counts(stopped), stopped.status) == ((4, 1, 3, 0, 0), JobStatus.STOPPED)
    assert set(Message.objects.filter(status="failed").values_list("reason", flat=True)) == {"cancelled"}
    Drain().run()
    assert script.calls == []


@pytest.mark.parametrize("pause_first", [False, True])
def test_a_job_with_nothing_under_way_is_stopped_at_once(job: Make, pause_first: bool):
    stopped = job(*rows(2))
    if pause_first:
        jobs.pause(stopped)
    jobs.stop(stopped)
    work_on_jobs()
    assert (counts(stopped), stopped.status, stopped.reason) == ((2, 0, 2, 0, 0), JobStatus.STOPPED, "cancelled")
    assert stopped.finished_at is not None


def test_a_file_is_not_read_any_further_once_it_is_stopped(
    upload: Uploader, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    upload(csv_of(*rows(5)))
    stopped = BulkJob.objects.get()
    write = splitting.RowWriter.write

    def stop_after_the_second(self: splitting.RowWriter, written: Any) -> None:
        write(self, written)
        if written and written[0].number == 3:
            jobs.stop(stopped)

    monkeypatch.setattr(splitting.RowWriter, "write", stop_after_the_second)
    send_all()
    assert (counts(stopped), stopped.status) == ((2, 0, 2, 0, 0), JobStatus.STOPPED)
    assert script.calls == []


def test_a_late_answer_that_nothing_left_does_not_make_a_stopped_job_send(job: Make, script: Script):
    stopped = job(*rows(1))
    started = start_one()
    Message.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
    reaping.reap()
    assert counts(stopped) == (1, 0, 0, 1, 0)
    BulkJob.objects.update(status=JobStatus.STOPPED)
    claims.finish([(started, unavailable(message="Refused the connection."))])
    assert (counts(stopped), stopped.status) == ((1, 0, 0, 0, 1), JobStatus.STOPPING)
    send_all()
    assert (counts(stopped), stopped.status, script.calls) == ((1, 0, 1, 0, 0), JobStatus.STOPPED, [])


# --- send the failed again --------------------------------------------------------------------------------------


def test_only_failed_messages_are_sent_again(job: Make, script: Script):
    sent, refused, lost = rows(3)
    ends: dict[str, Result] = {refused[0]: rejected(Fault.CONTENT, "No."), lost[0]: unknown("read_timeout", "Silence.")}
    script.answers["first-sms"] = lambda sms: ends.get(sms.recipient) or accepted("1")
    retried = job(sent, refused, lost, ["12", "a wrong row"])
    Drain().run()
    assert (counts(retried), retried.status) == ((4, 1, 2, 1, 0), JobStatus.PARTLY_FAILED)

    script.calls.clear()
    ends.clear()
    jobs.retry_failed(retried)
    send_all()

    assert script.recipients() == [refused[0]]
    assert (counts(retried), retried.status) == ((4, 2, 1, 1, 0), JobStatus.PARTLY_FAILED)
    log = SmsLog.objects.get(recipient=refused[0])
    assert (log.status, log.attempts.count()) == (Status.SENT, 2)


def test_cancelled_rows_are_sent_when_the_failed_are_sent_again(job: Make, script: Script):
    stopped = job(*rows(3))
    jobs.stop(stopped)
    work_on_jobs()
    jobs.retry_failed(stopped)
    send_all()
    assert (counts(stopped), stopped.status) == ((3, 3, 0, 0, 0), JobStatus.COMPLETED)


def test_none_of_the_failed_is_claimed_before_all_are_back(job: Make, script: Script, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "BATCH", 1)
    script.answers["first-sms"] = rejected(Fault.CONTENT, "No.")
    retried = job(*rows(3))
    Drain().run()
    jobs.retry_failed(retried)
    seen = []
    reopen = work.reopen

    def drain_too(ids: Any, **options: Any) -> None:
        seen.append(len(claims.claim(limit=10)))
        reopen(ids, **options)

    monkeypatch.setattr(work, "reopen", drain_too)
    work_on_jobs()
    assert seen == [0, 0, 0]
    assert (counts(retried), retried.status) == ((3, 0, 0, 0, 3), JobStatus.RUNNING)


def test_a_worker_that_overslept_cancels_nothing_that_was_queued_again(
    job: Make, script: Script, monkeypatch: pytest.MonkeyPatch
):
    made = job(*rows(2))
    jobs.stop(made)
    overslept = leases.take()
    assert overslept is not None
    BulkJob.objects.update(work_expires_at=clock.now())
    work_on_jobs()
    jobs.retry_failed(made)
    work_on_jobs()
    with pytest.raises(leases.LeaseLost):
        work.cancel(overslept, threading.Event())
    Drain().run()
    assert counts(made) == (2, 2, 0, 0, 0)


def test_wrong_rows_alone_are_nothing_to_send_again(job: Make):
    only_wrong = job(["12", "Hello"])
    with pytest.raises(Conflict, match="No failed row"):
        jobs.retry_failed(only_wrong)


def test_a_file_that_was_stopped_half_read_is_not_sent_by_sending_the_failed_again(
    upload: Uploader, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    upload(csv_of(*rows(3), ["12", "Hello"]), mode="all_or_nothing")
    stop = threading.Event()
    stop.set()
    assert work.do_next(stop)
    made = BulkJob.objects.get()
    jobs.stop(made)
    work_on_jobs()
    assert (counts(made), made.status) == ((1, 0, 1, 0, 0), JobStatus.STOPPED)
    with pytest.raises(Conflict, match="not read to the end"):
        jobs.retry_failed(made)


def test_a_message_cannot_be_cancelled_while_the_failed_are_queued_again(
    job: Make, api: Api, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(work, "BATCH", 1)
    made = job(*rows(2))
    jobs.stop(made)
    work_on_jobs()
    jobs.retry_failed(made)
    answers: list[int] = []
    reopen = work.reopen

    def cancel_now(ids: Any, **options: Any) -> None:
        reopen(ids, **options)
        answers.append(api.delete(f"/api/v1/sms/outbox/{ids[0]}").status_code)

    monkeypatch.setattr(work, "reopen", cancel_now)
    work_on_jobs()
    assert (answers, counts(made)) == ([409, 409], (2, 0, 0, 0, 2))


def test_a_job_that_was_held_back_as_a_whole_has_nothing_to_send_again(job: Make):
    held_back = job(*rows(2), ["12", "Hello"], mode="all_or_nothing")
    assert (held_back.total_count, 0, held_back.failed_count, 0, held_back.pending_count) == (3, 0, 3, 0, 0)
    with pytest.raises(Conflict, match="No failed row"):
        jobs.retry_failed(held_back)


# --- wrong states -----------------------------------------------------------------------------------------------


def test_a_change_that_the_state_forbids_is_409(job: Make, api: Api):
    made = job(*rows(1))
    path = f"{URL}/bulk-jobs/{made.pk}"

    def answers(*actions: str) -> list[int]:
        return [api.post(f"{path}/{action}").status_code for action in actions]

    assert answers("resume", "retry-failed") == [409, 409]
    assert answers("pause", "pause", "retry-failed", "resume") == [200, 409, 409, 200]
    assert answers("stop", "pause", "resume", "stop") == [200, 409, 409, 409]
    work_on_jobs()
    assert answers("stop", "pause", "resume", "retry-failed") == [409, 409, 409, 200]
    problem = api.post(f"{path}/pause").json()
    assert problem["details"]["reason"] == "wrong_state"
    assert problem["error"] == "Only a running job can be paused; this one is 'retrying'."


# --- the account ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (rejected(Fault.AUTH, "The key is wrong."), "bad_credentials"),
        (rejected(Fault.BALANCE, "No balance."), "insufficient_provider_balance"),
    ],
)
def test_a_refusal_of_the_account_pauses_the_job_and_loses_no_row(
    job: Make, script: Script, refusal: Result, reason: str
):
    script.answers["first-sms"] = refusal
    paused = job(*rows(5))
    Drain().run()
    assert (counts(paused), paused.status, paused.reason) == ((5, 0, 0, 0, 5), JobStatus.PAUSED, reason)
    assert paused.error_message.startswith(refusal.message)
    assert "resume" in paused.error_message

    script.answers.clear()
    script.calls.clear()
    jobs.resume(paused)
    Drain().run()
    assert (counts(paused), paused.status, len(script.calls)) == ((5, 5, 0, 0, 0), JobStatus.COMPLETED, 5)


def test_a_refused_sender_is_the_rows_error(job: Make, script: Script):
    script.answers["first-sms"] = lambda sms: (
        rejected(Fault.SENDER, "Not yours.") if sms.sender_id == "Theirs" else accepted("1")
    )
    good, bad = rows(2)
    made = job([*good, ""], [*bad, "Theirs"], header="mobile,message,sender")
    Drain().run()
    assert (counts(made), made.status) == ((2, 1, 1, 0, 0), JobStatus.PARTLY_FAILED)
    assert Message.objects.get(status="failed").reason == "sender_not_accepted"


def test_a_job_whose_app_is_switched_off_pauses(job: Make, first: OrganizationApp, script: Script):
    paused = job(*rows(3))
    OrganizationApp.objects.update(is_enabled=False)
    Drain().run()
    assert (counts(paused), paused.status, paused.reason) == ((3, 0, 0, 0, 3), JobStatus.PAUSED, "no_app")


def test_a_job_whose_apps_credentials_no_key_decrypts_pauses(upload: Uploader, script: Script, settings: Settings):
    OrganizationApp.objects.update(max_per_second=5)
    upload(csv_of(*rows(3)))
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    send_all()
    paused = BulkJob.objects.get()
    assert (counts(paused), paused.status, paused.reason) == ((3, 0, 0, 0, 3), JobStatus.PAUSED, "no_app")
    assert paused.report["max_per_second"] == 5


def test_an_app_with_a_job_under_way_cannot_be_uninstalled(job: Make, api: Api, script: Script):
    made = job(*rows(1))
    jobs.pause(made)
    assert api.delete("/api/v1/apps/first-sms").json()["details"]["reason"] == "app_in_use"
    jobs.stop(made)
    work_on_jobs()
    assert api.delete("/api/v1/apps/first-sms").status_code == 204


# --- lanes ------------------------------------------------------------------------------------------------------


def test_single_messages_go_before_bulk(job: Make, queue: Callable[..., Message]):
    job(*rows(3))
    single = queue()
    assert [each.message.pk for each in claims.claim(limit=1)] == [single.pk]


def test_jobs_of_two_organizations_share_a_claim(
    job: Make, upload: Uploader, anonymous: Api, other_organization: Any, organization: Any
):
    job(*rows(10))
    OrganizationApp.objects.create(organization=other_organization, slug="first-sms")
    upload(csv_of(*rows(10)), client=anonymous.using(factories.make_api_key(other_organization)))
    work_on_jobs()
    taken = Counter(each.message.organization_id for each in claims.claim(limit=8))
    assert taken == {organization.pk: 4, other_organization.pk: 4}


def test_rows_are_claimed_in_the_order_of_the_file(job: Make):
    job(*rows(6))
    assert [each.message.row_number for each in claims.claim(limit=4)] == [2, 3, 4, 5]


# --- time -------------------------------------------------------------------------------------------------------


def test_what_is_pending_at_the_deadline_expires_and_the_job_is_over(job: Make, script: Script):
    late = job(*rows(2))
    claimed = claims.claim(limit=1)
    BulkJob.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    assert mark(claimed) == []
    assert reaping.reap().jobs == 1
    send_all()
    assert (counts(late), late.status, late.reason) == ((2, 0, 2, 0, 0), JobStatus.STOPPED, "expired")
    assert set(Message.objects.values_list("reason", flat=True)) == {"expired"}


def test_a_job_does_not_stay_paused_for_ever(job: Make, settings: Settings):
    forgotten = job(*rows(1))
    jobs.pause(forgotten)
    assert reaping.reap().jobs == 0
    BulkJob.objects.update(paused_at=clock.now() - settings.BULK_MAX_PAUSE)
    assert reaping.reap().jobs == 1
    work_on_jobs()
    assert (counts(forgotten), forgotten.status) == ((1, 0, 1, 0, 0), JobStatus.STOPPED)


def test_the_file_is_deleted_some_days_after_the_end(job: Make, api: Api, settings: Settings):
    made = job(*rows(1), ["12", "Hello"])
    assert uploads.purge() == 0
    Drain().run()
    assert uploads.purge() == 0
    BulkJob.objects.update(finished_at=clock.now() - settings.BULK_FILE_LIFETIME - timedelta(seconds=1))
    assert (uploads.purge(), uploads.purge(), UploadChunk.objects.count()) == (1, 0, 0)
    answer = api.get(f"{URL}/bulk-jobs/{made.pk}/errors.csv")
    assert (answer.status_code, answer.json()["details"]["reason"]) == (404, "file_deleted")


def test_a_file_that_a_crash_has_left_to_nobody_is_deleted(job: Make):
    kept = job(*rows(1))
    left = uploads.store(io.BytesIO(b"mobile,message"))
    assert uploads.purge() == 0
    Upload.objects.update(created_at=clock.now() - timedelta(hours=2))
    assert uploads.purge() == 1
    assert not Upload.objects.filter(pk=left.pk).exists()
    assert Upload.objects.get().pk == kept.upload_id


def test_one_message_of_a_job_can_be_cancelled(job: Make):
    made = job(*rows(2))
    services.cancel(message=Message.objects.get(row_number=2))
    Drain().run()
    assert (counts(made), made.status) == ((2, 1, 1, 0, 0), JobStatus.PARTLY_FAILED)


def test_messages_can_be_cancelled_while_the_file_is_still_being_read(
    upload: Uploader, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    upload(csv_of(*rows(3), ["12", "Hello"]))
    write = splitting.write_errors

    def cancel_first(*arguments: Any) -> None:
        write(*arguments)
        for message in Message.objects.filter(status="pending"):
            services.cancel(message=message)

    monkeypatch.setattr(splitting, "write_errors", cancel_first)
    made = BulkJob.objects.get()
    work_on_jobs()
    assert counts(made) == (4, 0, 4, 0, 0)
    assert made.status == JobStatus.FAILED


# --- crashes ----------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_while_sending_leaves_an_unknown_row_and_the_rest_goes_out(job: Make, script: Script):
    made = job(*rows(3))
    start_one()
    claims.claim(limit=1)
    Message.objects.filter(status="sending").update(lease_expires_at=clock.now() - timedelta(seconds=1))
    reaping.reap()
    assert counts(made) == (3, 0, 0, 1, 2)
    Drain().run()
    assert (counts(made), made.status) == ((3, 2, 0, 1, 0), JobStatus.PARTLY_FAILED)


def test_a_late_answer_settles_the_counters_too(job: Make):
    made = job(*rows(1))
    started = start_one()
    Message.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
    reaping.reap()
    assert (counts(made), made.status) == ((1, 0, 0, 1, 0), JobStatus.PARTLY_FAILED)
    claims.finish([(started, accepted("1"))])
    assert (counts(made), made.status) == ((1, 1, 0, 0, 0), JobStatus.COMPLETED)


def test_a_late_answer_that_nothing_left_opens_the_job_again(job: Make, script: Script):
    made = job(*rows(1))
    started = start_one()
    Message.objects.update(lease_expires_at=clock.now() - timedelta(seconds=1))
    reaping.reap()
    claims.finish([(started, unavailable(message="Refused the connection."))])
    assert (counts(made), made.status, made.finished_at) == ((1, 0, 0, 0, 1), JobStatus.RUNNING, None)
    Message.objects.update(next_attempt_at=clock.now())
    Attempt.objects.update(retry_at=clock.now())
    Drain().run()
    assert (counts(made), made.status) == ((1, 1, 0, 0, 0), JobStatus.COMPLETED)


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("place", ["before the write", "after the commit"])
def test_a_split_that_dies_is_taken_up_and_writes_no_row_twice(
    upload: Uploader, script: Script, monkeypatch: pytest.MonkeyPatch, place: str
):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 2)
    upload(csv_of(*rows(3), ["12", "Hello"], *rows(3)))
    made = BulkJob.objects.get()
    write, keep = splitting.RowWriter.write, leases.keep
    with monkeypatch.context() as broken:

        def die_writing(self: splitting.RowWriter, written: Any) -> None:
            if written and written[0].number >= 4:
                raise Crash
            write(self, written)

        def die_next_time(job: BulkJob, **changes: Any) -> Any:
            if changes.get("read_until") == 5:
                raise Crash
            return keep(job, **changes)

        if place == "before the write":
            broken.setattr(splitting.RowWriter, "write", die_writing)
        else:
            broken.setattr(leases, "keep", die_next_time)
        with pytest.raises(Crash):
            work_on_jobs()
    assert (counts(made), made.status, made.read_until) == ((2, 0, 0, 0, 2), JobStatus.CHECKING, 3)
    assert not work.do_next(threading.Event()), "it is leased"
    BulkJob.objects.update(work_expires_at=clock.now())
    work_on_jobs()
    assert (counts(made), made.status, made.work_tries) == ((7, 0, 1, 0, 6), JobStatus.RUNNING, 0)
    Drain().run()
    assert len(set(script.recipients())) == len(script.calls) == 6


def test_a_split_that_lost_its_lease_writes_nothing_more(upload: Uploader, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    upload(csv_of(*rows(3)))
    made = BulkJob.objects.get()
    write = splitting.RowWriter.write

    def lose_the_lease(self: splitting.RowWriter, written: Any) -> None:
        write(self, written)
        BulkJob.objects.update(work_token=None)

    monkeypatch.setattr(splitting.RowWriter, "write", lose_the_lease)
    assert work.do_next(threading.Event())
    assert (counts(made), made.status) == ((1, 0, 0, 0, 1), JobStatus.CHECKING)


def test_a_split_that_is_told_to_stop_leaves_the_job_to_the_next(upload: Uploader, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    upload(csv_of(*rows(3)))
    stop = threading.Event()
    stop.set()
    work.do_next(stop)
    made = BulkJob.objects.get()
    assert (counts(made), made.status) == ((1, 0, 0, 0, 1), JobStatus.CHECKING)
    work_on_jobs()
    assert (counts(made), made.status) == ((3, 0, 0, 0, 3), JobStatus.RUNNING)


def test_what_is_read_again_keeps_the_lease(upload: Uploader, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    upload(csv_of(*rows(3)))
    BulkJob.objects.update(read_until=4, total_count=3)
    kept: list[Any] = []
    keep = leases.keep

    def note(job: BulkJob, **changes: Any) -> Any:
        kept.append(changes)
        return keep(job, **changes)

    monkeypatch.setattr(leases, "keep", note)
    work_on_jobs()
    assert kept[:3] == [{}, {}, {}]


def test_a_second_reading_under_other_rules_leaves_no_row_behind(
    upload: Uploader, organization: Any, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("outbox.bulk.checking.BATCH", 1)
    upload(csv_of(["0501234567", "Hello"], ["0501234568", "Hello"]))
    stop = threading.Event()
    stop.set()
    assert work.do_next(stop)
    organization.default_region = "US"
    organization.save()
    send_all()
    made = BulkJob.objects.get()
    assert (counts(made), made.status) == ((2, 2, 0, 0, 0), JobStatus.COMPLETED)


def test_a_stop_while_a_refused_file_is_taken_back_ends_the_job(
    upload: Uploader, script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(splitting, "BATCH", 1)
    upload(csv_of(*rows(3), ["12", "Hello"]), mode="all_or_nothing")
    made = BulkJob.objects.get()
    keep = leases.keep

    def stop_after_the_first(job: BulkJob, **changes: Any) -> Any:
        now = keep(job, **changes)
        if "total_count" in changes and "read_until" not in changes and made.status == JobStatus.CHECKING:
            BulkJob.objects.filter(pk=made.pk).update(
                status=JobStatus.STOPPING, reason="cancelled", work_expires_at=None
            )
            made.refresh_from_db()
        return now

    monkeypatch.setattr(leases, "keep", stop_after_the_first)
    work_on_jobs()
    assert (counts(made), made.status) == ((3, 0, 3, 0, 0), JobStatus.STOPPED)


def test_a_job_that_is_looked_at_again_and_again_keeps_nobody_waiting(upload: Uploader, script: Script):
    upload(csv_of(*rows(1)))
    BulkJob.objects.update(work_tries=32767, status=JobStatus.STOPPING)
    work_on_jobs()
    assert BulkJob.objects.get().work_tries <= 10


def test_organizations_take_turns_when_files_wait(
    upload: Uploader, anonymous: Api, other_organization: Any, monkeypatch: pytest.MonkeyPatch
):
    for _ in range(3):
        upload(csv_of(*rows(1)))
    OrganizationApp.objects.create(organization=other_organization, slug="first-sms")
    upload(csv_of(*rows(1)), client=anonymous.using(factories.make_api_key(other_organization)))
    first_two = {leases.take().organization_id for _ in range(2)}  # type: ignore[union-attr]
    turns = [leases.take() for _ in range(2)]
    assert len(first_two | {turn.organization_id for turn in turns if turn}) == 2


def test_a_file_that_breaks_our_reader_again_and_again_is_given_up(upload: Uploader, monkeypatch: pytest.MonkeyPatch):
    upload(csv_of(*rows(3)))
    made = BulkJob.objects.get()
    with monkeypatch.context() as broken:
        broken.setattr("outbox.bulk.checking.report_for", lambda *_: 1 / 0)
        for _ in range(5):
            assert work.do_next(threading.Event())
            BulkJob.objects.update(work_expires_at=clock.now())
        assert BulkJob.objects.get().status == JobStatus.CHECKING
        assert work.do_next(threading.Event())
    assert (counts(made), made.status, made.reason) == ((0, 0, 0, 0, 0), JobStatus.FAILED, "internal_error")
