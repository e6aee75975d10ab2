"""Cancelling a message while somebody else moves it: one of them does, and the counters of its job say so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from linkit.errors import Conflict
from outbox import claims, services
from outbox.bulk import jobs, leases, work
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message
from sms_providers.models import OrganizationApp, Status
from tests.outbox.bulk.conftest import job, rows, upload
from tests.outbox.bulk.test_stop_race import Other, somebody_waits_for_a_lock
from tests.outbox.test_settling import at_the_same_time, counts, one_won
from tests.stack import eventually

__all__ = ["job", "upload"]  # fixtures

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

Jobs = Callable[..., BulkJob]
Queue = Callable[..., Message]


def meanwhile(first_one: Callable[[], Any], other: Callable[[], Any]) -> Other:
    """Do the first, and before it is committed let the other come as far as it can."""
    with transaction.atomic():
        first_one()
        second_one = Other(other)
        eventually(somebody_waits_for_a_lock, what="a lock that somebody waits for")
    return second_one


def reason(other: Other) -> str:
    with pytest.raises(Conflict) as conflict:
        other.wait()
    return conflict.value.reason


@pytest.fixture(params=["of a job", "by itself"])
def message(request: pytest.FixtureRequest, job: Jobs, queue: Queue) -> Message:
    if request.param == "by itself":
        return queue()
    return Message.objects.filter(job=job(*rows(3))).order_by("row_number")[0]


def failed_of(message: Message) -> int:
    return counts(message.job)[2] if message.job else 1


def test_of_two_who_cancel_one_does(message: Message) -> None:
    cancel = partial(services.cancel, message=message)
    assert reason(meanwhile(cancel, cancel)) == "not_pending"
    message.refresh_from_db()
    assert (message.status, failed_of(message)) == (Status.FAILED, 1)


def test_of_many_at_once_one_does(job: Jobs) -> None:
    made = job(*rows(5))
    for number, each in enumerate(Message.objects.filter(job=made), start=1):
        assert one_won(at_the_same_time(*[partial(services.cancel, message=each)] * 4))
        assert counts(made)[2] == number
    assert counts(made) == (JobStatus.FAILED, 0, 5, 0)


def test_what_is_claimed_meanwhile_is_not_cancelled(message: Message) -> None:
    def claim() -> None:
        assert message.pk in [claimed.message.pk for claimed in claims.claim(limit=10)]

    cancel = meanwhile(claim, partial(services.cancel, message=message))
    assert reason(cancel) == "not_pending"
    message.refresh_from_db()
    assert message.status == Status.SENDING


def test_what_is_cancelled_meanwhile_is_not_claimed(message: Message) -> None:
    with transaction.atomic():
        services.cancel(message=message)
        claimed = Other(partial(claims.claim, limit=10)).wait()
    assert message.pk not in [each.message.pk for each in claimed]
    assert failed_of(message) == 1


@pytest.mark.parametrize("is_person_first", [True, False])
def test_a_row_of_a_job_that_is_being_stopped_is_counted_once(job: Jobs, is_person_first: bool) -> None:
    made = job(*rows(3))
    message = Message.objects.filter(job=made)[0]
    jobs.stop(made)
    taken = leases.take()
    assert taken is not None
    person, worker = partial(services.cancel, message=message), partial(work.cancel, taken, threading.Event())
    if is_person_first:
        meanwhile(person, worker).wait()
    else:
        assert reason(meanwhile(worker, person)) == "not_pending"
    assert counts(made) == (JobStatus.STOPPED, 0, 3, 0)


def test_while_its_job_is_queued_again_it_is_not_cancelled(job: Jobs, first: OrganizationApp) -> None:
    made = job(*rows(2))
    one, other = Message.objects.filter(job=made)
    services.cancel(message=one)
    # Somebody queues the failed ones again while we wait for the job.
    retry = partial(BulkJob.objects.filter(pk=made.pk).update, status=JobStatus.RETRYING)
    assert reason(meanwhile(retry, partial(services.cancel, message=other))) == "wrong_state"
    assert reason(Other(partial(services.cancel, message=one))) == "not_pending"
    assert counts(made)[2] == 1
