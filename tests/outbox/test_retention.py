"""What is kept for how long: what goes, what stays, and that nothing is in the way of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from linkit import clock
from linkit.errors import Conflict
from linkit.models import Organization
from outbox import claims, retention, services, settling, tasks
from outbox.bulk import jobs
from outbox.bulk.models import BulkJob, JobStatus
from outbox.dispatch import Drain
from outbox.models import Message, id_from, new_id
from outbox.retention import Ages, Pace, Purged
from sms_providers import blanking, sending
from sms_providers import settling as direct
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Source, Status, Sweep
from sms_providers.results import Fault, accepted, rejected, unknown
from tests import factories
from tests.conftest import Api
from tests.outbox.bulk.conftest import at_once, job, rows, upload, work_on_jobs
from tests.outbox.conftest import Script
from tests.outbox.test_claims import start

__all__ = ["at_once", "job", "upload"]  # fixtures

pytestmark = pytest.mark.django_db

Queue = Callable[..., Message]
Jobs = Callable[..., BulkJob]
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each sweep begins anew, and rests no longer than it must."""
    monkeypatch.setattr(retention, "_REST", 0)
    retention._resume_after.clear()
    yield
    retention._resume_after.clear()


def aged(message: Message, *, ended: float, created: float | None = None, **changes: Any) -> Message:
    """Make a message so many days old, by when it ended and was created, with an id of that time."""
    created_at = clock.now() - (created or ended) * DAY
    new = id_from(created_at) + new_id()[-6:]
    SmsLog.objects.filter(queued_id=message.pk).update(queued_id=new, created_at=created_at)
    Message.objects.filter(pk=message.pk).update(
        id=new, created_at=created_at, updated_at=clock.now() - ended * DAY, **changes
    )
    return Message.objects.get(pk=new)


@pytest.fixture
def ended(queue: Queue, first: OrganizationApp, script: Script) -> Callable[..., Message]:
    """Return a maker of old messages: `ended(status, days)`, tried once unless `is_tried` is false."""
    results = {
        Status.SENT: accepted("id", raw={"to": "1"}),
        Status.FAILED: rejected(Fault.CONTENT, "No, +966500000001 is odd.", raw={"to": "+966500000001"}),
        Status.DISPATCH_TIMEOUT: unknown("read_timeout", "?"),
    }

    def make(status: Status, days: float, *, is_tried: bool = True, **fields: Any) -> Message:
        message = queue(**fields)
        if is_tried:
            script.answers["first-sms"] = results[status]
            Drain().run()
        else:
            assert status == Status.FAILED
            services.cancel(message=message)
        return aged(message, ended=days)

    return make


def left() -> set[str]:
    return set(Message.objects.values_list("pk", flat=True))


# --- messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.SENT, Status.FAILED, Status.DISPATCH_TIMEOUT])
def test_what_ended_long_ago_goes(ended: Callable[..., Message], status: Status) -> None:
    ended(status, 30.01)
    younger = ended(status, 29.99)
    assert retention.purge() == Purged(messages=1, is_done=True)
    assert left() == {younger.pk}
    assert SmsLog.objects.count() == 2, "its line in the log stays"
    assert retention.purge() == Purged(is_done=True)


@pytest.mark.parametrize("reason", ["cancelled", "expired"])
def test_what_was_never_tried_goes_sooner(ended: Callable[..., Message], reason: str) -> None:
    gone = ended(Status.FAILED, 7.01, is_tried=False)
    young = ended(Status.FAILED, 6.99, is_tried=False)
    tried = ended(Status.FAILED, 8)
    Message.objects.update(reason=reason)
    assert retention.purge().messages == 1
    assert left() == {young.pk, tried.pk}
    assert gone.pk not in left()


def test_when_it_ended_counts_not_when_it_was_queued(ended: Callable[..., Message]) -> None:
    message = aged(ended(Status.SENT, 1), ended=29, created=200)
    assert retention.purge().messages == 0
    aged(message, ended=31, created=200)
    assert retention.purge().messages == 1


@pytest.mark.parametrize("status", [Status.PENDING, Status.SENDING])
def test_what_waits_never_goes(queue: Queue, first: OrganizationApp, status: Status) -> None:
    message = queue()
    if status == Status.SENDING:
        claims.claim(limit=1)
    aged(message, ended=400)
    assert retention.purge() == Purged(is_done=True)
    assert retention.purge(ages=Ages(timedelta(0), timedelta(0), timedelta(0))) == Purged(is_done=True)
    assert Message.objects.get().status == status


def test_settings_say_how_old(ended: Callable[..., Message], settings: Any) -> None:
    settings.OUTBOX_RETENTION, settings.OUTBOX_UNDISPATCHED_RETENTION = 3 * DAY, 2 * DAY
    ended(Status.SENT, 3.1)
    ended(Status.FAILED, 2.1, is_tried=False)
    stays = ended(Status.SENT, 2.9)
    assert retention.purge().messages == 2
    assert left() == {stays.pk}


def test_a_key_is_free_again_when_its_message_is_gone(
    ended: Callable[..., Message], queue: Queue, first: OrganizationApp
) -> None:
    ended(Status.SENT, 31, idempotency_key="key-1")
    retention.purge()
    assert queue(idempotency_key="key-1").status == Status.PENDING


def test_an_unknown_outcome_can_still_be_settled_on_its_log(ended: Callable[..., Message]) -> None:
    ended(Status.DISPATCH_TIMEOUT, 31)
    log = SmsLog.objects.get()
    assert not direct.can_settle(log)
    retention.purge()
    log.refresh_from_db()
    assert direct.can_settle(log)
    assert direct.settle(log=log, was_sent=True).status == Status.SENT


def test_a_late_answer_finds_nothing_to_change(queue: Queue, first: OrganizationApp) -> None:
    queue()
    started = start(claims.claim(limit=1)[0])
    claims.finish([(started, unknown("read_timeout", "?"))])
    Message.objects.update(updated_at=clock.now() - 31 * DAY)
    aged(Message.objects.get(), ended=31)
    retention.purge()
    assert claims.finish([(started, accepted("late"))]) == {}
    assert SmsLog.objects.get().status == Status.DISPATCH_TIMEOUT


# --- jobs -------------------------------------------------------------------------------------------------------


def old_rows(job: BulkJob, days: float) -> None:
    """Let a job have ended so many days ago, with all its rows."""
    for message in Message.objects.filter(job=job):
        aged(message, ended=days)
    BulkJob.objects.filter(pk=job.pk).update(finished_at=clock.now() - days * DAY)


def test_rows_of_a_job_go_when_it_is_over_and_its_counters_stay(job: Jobs, script: Script) -> None:
    made = job(*rows(3))
    Drain().run()
    old_rows(made, 31)
    before = BulkJob.objects.values().get()
    assert retention.purge().messages == 3
    assert BulkJob.objects.values().get() == before


def test_all_rows_of_a_job_are_kept_as_long_as_the_last(job: Jobs, script: Script) -> None:
    script.answers["first-sms"] = rejected(Fault.CONTENT)
    made = job(*rows(3))
    Drain().run()
    old_rows(made, 40)
    BulkJob.objects.update(finished_at=clock.now() - 29.9 * DAY)
    assert retention.purge().messages == retention.count().messages == 0
    BulkJob.objects.update(finished_at=clock.now() - 30.1 * DAY)
    assert retention.count().messages == 3
    assert retention.purge().messages == 3


@pytest.mark.parametrize("state", [JobStatus.PAUSED, JobStatus.RUNNING, JobStatus.STOPPING, JobStatus.RETRYING])
def test_no_row_goes_of_a_job_that_is_not_over(job: Jobs, script: Script, state: JobStatus) -> None:
    script.answers["first-sms"] = rejected(Fault.CONTENT)
    made = job(*rows(2))
    Drain().run()
    old_rows(made, 31)
    BulkJob.objects.update(status=state)
    assert retention.purge().messages == 0
    assert retention.count().messages == 0
    BulkJob.objects.update(status=JobStatus.STOPPED)
    assert retention.count().messages == 2
    assert retention.purge().messages == 2


def test_of_a_job_whose_failed_rows_are_gone_none_is_queued_again(job: Jobs, script: Script) -> None:
    script.answers["first-sms"] = rejected(Fault.CONTENT)
    made = job(*rows(2))
    Drain().run()
    old_rows(made, 31)
    retention.purge()
    with pytest.raises(Conflict, match="not kept any more"):
        jobs.retry_failed(made)


def test_of_one_whose_rows_are_gone_in_part_the_others_are(job: Jobs, script: Script) -> None:
    script.answers["first-sms"] = rejected(Fault.CONTENT)
    made = job(*rows(3))
    Drain().run()
    aged(Message.objects.order_by("row_number")[0], ended=31)
    BulkJob.objects.update(finished_at=clock.now() - 31 * DAY)
    assert retention.purge().messages == 1
    script.answers.clear()
    jobs.retry_failed(made)
    work_on_jobs()
    Drain().run()
    made.refresh_from_db()
    assert (made.status, made.sent_count, made.failed_count) == (JobStatus.PARTLY_FAILED, 2, 1)


# --- the SMS log ------------------------------------------------------------------------------------------------


def direct_send(organization: Organization, app: OrganizationApp, days: float, **fields: Any) -> SmsLog:
    log = sending.new_log(
        organization_id=organization.pk, source=Source.SEND, recipient=factories.mobile(), text="Hello", **fields
    )
    sending.send_now(log, sending.route_through(app), idempotency_key=f"key {log.pk}", request_digest="digest")
    SmsLog.objects.filter(pk=log.pk).update(created_at=clock.now() - days * DAY)
    return log


def test_old_numbers_and_texts_are_blanked_and_what_counts_stays(
    organization: Organization, first: OrganizationApp, script: Script
) -> None:
    first.is_metered = True
    first.save()
    factories.top_up(organization, "10")
    script.answers["first-sms"] = rejected(Fault.CONTENT, "No to +966500000001.", raw={"to": "+966500000001"})
    refused = direct_send(organization, first, 91)
    script.answers["first-sms"] = accepted("id-1", raw={"to": "+966500000001"}, cost=Decimal("0.1"), currency="SAR")
    sent, young = direct_send(organization, first, 90.1), direct_send(organization, first, 89.9)
    kept = {log.pk: _kept(log.pk) for log in (refused, sent, young)}
    assert retention.purge() == Purged(logs=2, is_done=True)
    for log in (refused, sent):
        log.refresh_from_db()
        assert (log.recipient, log.text) == ("", "")
        attempt = log.attempts.get()
        assert (attempt.response, attempt.message) == (None, "")
        assert "966500000001" not in str(SmsLog.objects.filter(pk=log.pk).values()) + str(log.attempts.values())
    assert {pk: _kept(pk) for pk in kept} == kept
    young.refresh_from_db()
    assert young.text == "Hello"
    assert young.attempts.get().response == {"to": "+966500000001"}
    assert retention.purge() == Purged(is_done=True)
    call_command("audit_credits")


def _kept(pk: Any) -> Any:
    columns = (
        "status", "outcome", "reason", "segment_count", "encoding", "provider_message_id", "provider_cost",
        "provider_currency", "credit_cost", "credit_charged", "idempotency_key", "request_digest", "created_at",
        "updated_at", "sent_at",
    )  # fmt: skip
    attempts = Attempt.objects.filter(log=pk).values_list("outcome", "reason", "code", "http_status", "started_at")
    return SmsLog.objects.values_list(*columns).get(pk=pk), list(attempts)


def test_what_a_person_settled_still_says_so(organization: Organization, first: OrganizationApp, script: Script):
    script.answers["first-sms"] = unknown("read_timeout", "?")
    log = direct_send(organization, first, 91)
    direct.settle(log=log, was_sent=True)
    assert retention.purge().logs == 1
    log.refresh_from_db()
    assert (log.text, log.error_message) == ("", direct.WAS_SENT)


def test_a_repeat_of_a_blanked_send_sends_nothing(
    api: Api, organization: Organization, first: OrganizationApp, script: Script
) -> None:
    """The key and the fingerprint of its request stay, and a repeat is answered, without the provider's words."""
    body, headers = {"mobile": factories.mobile(), "message": "Hello"}, {"Idempotency-Key": "k"}
    url = "/api/v1/sms-providers/first-sms/send"
    for answer in (accepted("id-1", raw={"ok": True}), rejected(Fault.CONTENT, "No."), unknown("read_timeout", "?")):
        script.answers["first-sms"] = answer
        before = api.post(url, body, headers=headers)
        calls = len(script.calls)
        SmsLog.objects.update(created_at=clock.now() - 91 * DAY)
        Sweep.objects.all().delete()
        assert retention.purge().logs == 1
        again = api.post(url, body, headers=headers)
        assert (again.status_code, again["X-Sms-Log-Id"]) == (before.status_code, before["X-Sms-Log-Id"])
        assert body["mobile"].removeprefix("+") not in again.text
        assert len(script.calls) == calls
        assert api.get(f"/api/v1/sms/logs/{again['X-Sms-Log-Id']}").status_code == 200
        SmsLog.objects.all().delete()


def test_a_log_whose_message_is_still_there_keeps_its_number(ended: Callable[..., Message], script: Script) -> None:
    """It may be sent again, with the number of the log; when the message goes, the number goes."""
    message = aged(ended(Status.FAILED, 1), ended=2, created=100)
    SmsLog.objects.update(created_at=clock.now() - 100 * DAY)
    assert retention.purge() == Purged(is_done=True)
    settling.requeue(message)
    script.answers.clear()
    Drain().run()
    message.refresh_from_db()
    assert message.status == Status.SENT
    assert script.recipients()[-1] == message.recipient
    aged(message, ended=31, created=100)
    assert retention.purge().messages == 1
    assert SmsLog.objects.values_list("recipient", "text").get() == ("", "")


def test_a_log_that_waits_for_its_time_keeps_its_number(
    organization: Organization, first: OrganizationApp, script: Script
) -> None:
    log = sending.new_log(organization_id=organization.pk, source=Source.SEND, recipient="+966500000001", text="Later")
    sending.send_now(log, sending.route_through(first), send_at=clock.now() + timedelta(days=200))
    SmsLog.objects.update(created_at=clock.now() - 100 * DAY)
    retention.purge()
    log.refresh_from_db()
    assert (log.recipient, log.status) == ("+966500000001", Status.PENDING)


def test_a_sweep_of_the_log_never_looks_twice(
    organization: Organization, other_organization: Organization, first: OrganizationApp, script: Script
) -> None:
    theirs = OrganizationApp.objects.create(organization=other_organization, slug="first-sms")
    for days in (400, 200, 95):
        direct_send(organization, first, days)
        direct_send(other_organization, theirs, days + 1)
    assert retention.purge().logs == 6
    reached = Sweep.objects.get().reached_at
    assert abs(reached - (clock.now() - 90 * DAY)) < timedelta(minutes=1)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert retention.purge().logs == 0
    about_logs = [query["sql"] for query in queries if "sms_providers_smslog" in query["sql"]]
    assert about_logs
    assert all(str(reached.year) in sql for sql in about_logs), "each looks from where the last one came to"


def test_a_sweep_that_is_cut_off_goes_on(organization: Organization, first: OrganizationApp, script: Script) -> None:
    for days in (300, 200, 100):
        direct_send(organization, first, days)
    stop = threading.Event()
    until = clock.now() - 90 * DAY
    pace = Pace(stop)
    batch = pace.batch

    def one_then_stop(work: Any) -> Any:
        done = batch(work)
        if done[0]:
            stop.set()
        return done

    pace.batch = one_then_stop  # type: ignore[method-assign]
    assert retention._blank_all(until, pace) == 1
    assert Sweep.objects.get().reached_at < until
    assert retention.purge() == Purged(logs=2, is_done=True)


# --- how it goes about it ---------------------------------------------------------------------------------------


def test_batches_are_small_and_it_rests_after_each(
    ended: Callable[..., Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        ended(Status.SENT, 31)
    monkeypatch.setattr(retention, "_FIRST", 2)
    monkeypatch.setattr(retention, "_LARGEST", 2)
    rests: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0)
            return False

    with CaptureQueriesContext(connection) as queries:
        assert retention.purge(Stop()).messages == 5
    deletes = [query["sql"] for query in queries if query["sql"].startswith("DELETE")]
    assert len(deletes) == 3
    assert len(rests) >= 3
    assert min(rests) >= retention._LEAST_REST


def test_the_size_of_a_batch_follows_its_time() -> None:
    pace = Pace(ends_at=time.monotonic())  # no rest
    pace.size = 1000
    pace.batch(lambda size: time.sleep(0.1))
    assert pace.size == 250, "no less than a quarter at once"
    for _ in range(30):
        pace.batch(lambda size: None)
    assert pace.size == 2000
    for _ in range(30):
        pace.batch(lambda size: time.sleep(0.0001 * size))
    assert 100 <= pace.size <= 250, "20 ms of them"


def test_it_ends_with_its_time_and_goes_on_the_next(
    ended: Callable[..., Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        ended(Status.SENT, 31)
    stay = aged(ended(Status.SENT, 1), ended=1, created=365)  # first of all, and not to go yet
    monkeypatch.setattr(retention, "_FIRST", 1)
    monkeypatch.setattr(retention, "_LARGEST", 1)
    stop = threading.Event()
    batch = Pace.batch

    def twice(self: Pace, work: Any) -> Any:
        done = batch(self, work)
        if done == (stay.pk, 0):
            stop.set()
        return done

    monkeypatch.setattr(Pace, "batch", twice)
    assert retention.purge(stop) == Purged(is_done=False)
    looked_at: list[Any] = []

    def noting(self: Pace, work: Any) -> Any:
        looked_at.append(batch(self, work))
        return looked_at[-1]

    monkeypatch.setattr(Pace, "batch", noting)
    assert retention.purge().messages == 4
    assert (stay.pk, 0) not in looked_at, "it went on where it had stopped"
    retention.purge()
    assert (stay.pk, 0) in looked_at, "and then from the beginning"
    assert retention.purge(window=-1) == Purged(is_done=False)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_rows_that_somebody_holds_are_passed_over(ended: Callable[..., Message]) -> None:
    held, free = ended(Status.SENT, 31), ended(Status.SENT, 31)
    results: list[Purged] = []

    def work() -> None:
        try:
            results.append(retention.purge())
        finally:
            connection.close()

    with transaction.atomic():
        Message.objects.select_for_update().get(pk=held.pk)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert results == [Purged(messages=1, is_done=True)]
    assert left() == {held.pk}
    assert free.pk not in left()
    assert retention.purge().messages == 1


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_and_a_retry_between_count_right(job: Jobs, script: Script) -> None:
    script.answers["first-sms"] = rejected(Fault.CONTENT)
    made = job(*rows(40))
    Drain().run()
    old_rows(made, 31)
    barrier = threading.Barrier(3)
    deleted: list[int] = []

    def sweep() -> None:
        try:
            barrier.wait(10)
            deleted.append(retention.purge().messages)
        finally:
            connection.close()

    def retry() -> None:
        try:
            barrier.wait(10)
            try:
                jobs.retry_failed(made)
            except Conflict:  # all were gone
                return
            work_on_jobs()
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for work in (sweep, sweep, retry)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    made.refresh_from_db()
    pending = Message.objects.filter(status=Status.PENDING).count()
    assert made.pending_count == pending
    assert sum(deleted) + Message.objects.count() == 40
    script.answers.clear()
    Drain().run()
    made.refresh_from_db()
    assert made.is_ended


@pytest.mark.postgres
def test_what_was_never_tried_is_found_by_its_index(queue: Queue, first: OrganizationApp) -> None:
    queue()
    (_, messages, before), *_ = retention._due(clock.now(), Ages.from_settings())
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        rows_of = messages.filter(pk__gt="", pk__lt=id_from(before)).order_by("pk").values_list("pk")[:10]
        plan = rows_of.explain()
    assert "outbox_called_off" in plan


def test_the_task_runs_once_in_a_process_and_stops_when_told(ended: Callable[..., Message]) -> None:
    ended(Status.SENT, 31)
    with tasks._one_purge:
        tasks.purge()
    assert Message.objects.count() == 1
    tasks._stopping.set()
    try:
        tasks.purge()
    finally:
        tasks._stopping.clear()
    assert Message.objects.count() == 1
    tasks.purge()
    assert not Message.objects.exists()


def test_what_does_not_fit_is_the_next_tasks(ended: Callable[..., Message], monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        ended(Status.SENT, 31)
    rung: list[Any] = []
    monkeypatch.setattr(tasks, "_ring", lambda task, **_: rung.append(task))
    monkeypatch.setattr(retention, "_FIRST", 1)
    monkeypatch.setattr(retention, "_LARGEST", 1)
    monkeypatch.setattr(Pace, "may_go_on", lambda self: Message.objects.count() > 1)
    tasks.purge()
    assert (Message.objects.count(), rung) == (1, [tasks.purge])
    monkeypatch.undo()
    monkeypatch.setattr(tasks, "_ring", lambda task, **_: rung.append(task))
    tasks.purge()
    assert (Message.objects.count(), len(rung)) == (0, 1)


# --- the command ------------------------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("purge_outbox", *arguments, stdout=out)
    return out.getvalue()


def test_the_command(ended: Callable[..., Message], organization: Organization, first: OrganizationApp) -> None:
    for days in (40, 20, 10):
        ended(Status.SENT, days)
    ended(Status.FAILED, 8, is_tried=False)
    direct_send(organization, first, 91)
    assert command("--dry-run") == "2 messages would be deleted, 1 SMS blanked.\n"
    assert command("--dry-run", "--older-than", "15") == "2 messages would be deleted, 1 SMS blanked.\n"
    assert Message.objects.count() == 4
    assert command() == "2 messages deleted, 1 SMS blanked.\n"
    assert command("--older-than", "15") == "1 messages deleted, 0 SMS blanked.\n"
    assert command("--older-than", "0.5") == "1 messages deleted, 0 SMS blanked.\n"
    assert Message.objects.count() == 0


def test_whatever_age_is_given_a_call_that_may_be_under_way_keeps_its_message(ended: Callable[..., Message]) -> None:
    longest = settling.longest_call() / DAY
    fresh = ended(Status.DISPATCH_TIMEOUT, longest * 0.9)
    ended(Status.DISPATCH_TIMEOUT, longest * 1.1)
    ended(Status.SENT, longest * 0.1)
    assert command("--dry-run", "--older-than", "0").startswith("2 messages")
    assert command("--older-than", "0").startswith("2 messages")
    assert left() == {fresh.pk}


@pytest.mark.parametrize("days", ["-1", "x", "1e99"])
def test_the_command_takes_a_number_of_days(days: str) -> None:
    with pytest.raises(CommandError):
        command(f"--older-than={days}")


def test_nothing_is_there(organization: Organization) -> None:
    assert retention.purge() == Purged(is_done=True)
    assert blanking.oldest() is None
