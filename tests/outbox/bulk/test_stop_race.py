"""Once stop or pause has answered nothing more is started; counters wait for no start mark. On two connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from linkit import clock
from outbox import claims, routing
from outbox.bulk import jobs
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message
from sms_providers.models import Status
from sms_providers.results import accepted
from sms_providers.sending import Route
from tests.outbox.bulk.conftest import rows, work_on_jobs
from tests.stack import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

Jobs = Callable[..., BulkJob]
Change = Callable[[BulkJob], None]
Batch = list[tuple[claims.Claimed, Route]]
STOP_AND_PAUSE = [(jobs.stop, JobStatus.STOPPING), (jobs.pause, JobStatus.PAUSED)]


class Other:
    """Somebody else at the same time: `work` in a thread with a database connection of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # told by `wait`
            self.error = error
        finally:
            connection.close()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> Any:
        self._thread.join(20)
        assert self.is_over, "it waits for something"
        if self.error:
            raise self.error
        return self.result


def somebody_waits_for_a_lock() -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction would go on seeing what it saw first
        cursor.execute(query)
        return bool(cursor.fetchone()[0])


def claim_rows(job: BulkJob) -> Batch:
    """Read the file of a job and take its rows in hand, each with the app that sends it."""
    work_on_jobs()
    batch = []
    for claimed in claims.claim(limit=100):
        route = routing.choose(claimed.message, apps=claimed.apps, tries=claimed.tries, now=clock.now())
        assert isinstance(route, Route)
        batch.append((claimed, route))
    job.refresh_from_db()
    assert (len(batch), job.status) == (job.total_count, JobStatus.RUNNING)
    return batch


@pytest.mark.parametrize(("change", "status"), STOP_AND_PAUSE)
def test_stop_and_pause_wait_for_a_start_mark_that_has_begun(job: Jobs, change: Change, status: str) -> None:
    uploaded = job(*rows(4))
    batch = claim_rows(uploaded)

    with transaction.atomic():  # what a worker has begun and not yet committed
        started = claims.mark_started(batch[:2])
        assert len(started) == 2
        other = Other(lambda: change(uploaded))
        eventually(somebody_waits_for_a_lock, what="the other to meet the lock")
        assert not other.is_over, "it has answered, and two calls begin after that"
    other.wait()

    uploaded.refresh_from_db()
    assert uploaded.status == status
    assert Message.objects.filter(started_at__isnull=False).count() == 2  # begun before the answer
    assert claims.mark_started(batch[2:]) == []
    assert Message.objects.filter(started_at__isnull=False).count() == 2


@pytest.mark.parametrize(("change", "status"), STOP_AND_PAUSE)
def test_a_start_mark_that_meets_a_stop_or_pause_starts_nothing(job: Jobs, change: Change, status: str) -> None:
    uploaded = job(*rows(2))
    batch = claim_rows(uploaded)

    with transaction.atomic():
        change(uploaded)
        other = Other(lambda: claims.mark_started(batch))
        eventually(somebody_waits_for_a_lock, what="the other to meet the lock")
        assert not other.is_over
    assert other.wait() == []

    uploaded.refresh_from_db()
    assert uploaded.status == status
    assert not Message.objects.filter(started_at__isnull=False).exists()


def test_results_are_counted_while_start_marks_are_being_written(job: Jobs) -> None:
    uploaded = job(*rows(6))
    batch = claim_rows(uploaded)
    first, second = claims.mark_started(batch[:2]), claims.mark_started(batch[2:4])

    with transaction.atomic():
        assert len(claims.mark_started(batch[4:])) == 2
        others = [
            Other(partial(claims.finish, [(each, accepted("id-1")) for each in started])) for started in (first, second)
        ]
        assert [other.wait() for other in others] == [{"sent": 2}, {"sent": 2}]

    uploaded.refresh_from_db()
    assert (uploaded.sent_count, uploaded.pending_count) == (4, 2)


def test_two_writers_of_results_lose_no_count(job: Jobs) -> None:
    """They wait for each other at the counters, for a moment, and both are counted."""
    uploaded = job(*rows(4))
    started = claims.mark_started(claim_rows(uploaded))
    first, second = started[:2], started[2:]

    with transaction.atomic():
        claims.finish([(each, accepted("id-1")) for each in first])
        other = Other(lambda: claims.finish([(each, accepted("id-2")) for each in second]))
        eventually(somebody_waits_for_a_lock, what="the other to meet the lock")
    other.wait()

    uploaded.refresh_from_db()
    assert (uploaded.sent_count, uploaded.status) == (4, JobStatus.COMPLETED)
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
