"""What is kept for how long: finished messages are deleted, numbers and texts of the SMS log are blanked.

The tables are large and busy, so it goes in small batches, each a short transaction that passes over rows somebody
holds, and after each the sweep rests for nine times as long. It finds what is due without reading the table: ids are in
the order of their creation, and what was never tried has a small index.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from linkit import clock
from linkit.models import Organization
from outbox.bulk.models import ENDED, BulkJob
from outbox.models import CALLED_OFF, Message, id_from
from outbox.settling import longest_call
from sms_providers import blanking
from sms_providers.models import SmsLog, Status, Sweep

_AIM = 0.02  # seconds of one transaction; half of them take longer, and none should take 50 ms
_REST = 9  # times as long as a batch took
_LEAST_REST = 0.005  # seconds
# Rows in a batch. With fewer it would take hardly less: what a transaction costs by itself is most of it then.
_SMALLEST, _FIRST, _LARGEST = 100, 200, 2000
_OVER = (Status.SENT, Status.FAILED, Status.DISPATCH_TIMEOUT)
_ORGANIZATIONS = 500  # whose logs are looked at together
_BLANKED = "sms_log_blanked"  # the name of the sweep over the log
_SHORTEST_STEP, _LONGEST_STEP = timedelta(hours=1), timedelta(days=30)  # of the log's time that is looked at together


@dataclass
class Ages:
    """From which age on something goes, counted from its end; of an SMS in the log from its beginning."""

    finished: timedelta
    undispatched: timedelta
    numbers: timedelta

    @classmethod
    def from_settings(cls) -> Ages:
        return cls(settings.OUTBOX_RETENTION, settings.OUTBOX_UNDISPATCHED_RETENTION, settings.SMS_LOG_PII_AGE)


@dataclass
class Purged:
    """How many messages were deleted and SMS blanked, and whether that was all there was."""

    messages: int = 0
    logs: int = 0
    is_done: bool = False


@dataclass
class Pace:
    """Batches of a size that takes `_AIM`, with a rest after each; `may_go_on` until it is time to stop."""

    stop: threading.Event = field(default_factory=threading.Event)
    ends_at: float = float("inf")
    size: int = _FIRST
    longest: float = 0.0  # seconds of a batch

    def may_go_on(self) -> bool:
        return not self.stop.is_set() and time.monotonic() < self.ends_at

    def batch(self, work: Callable[[int], Any]) -> Any:
        """Do `work(size)`, rest, and return what it returned."""
        began = time.monotonic()
        done = work(self.size)
        took = time.monotonic() - began
        self.longest = max(self.longest, took)
        wanted = self.size * _AIM / max(took, 0.0005)
        self.size = int(min(max(wanted, self.size / 4, _SMALLEST), self.size * 1.25, _LARGEST))
        self.stop.wait(min(max(took * _REST, _LEAST_REST), max(0.0, self.ends_at - time.monotonic())))
        return done


# Where the last sweep of this process stopped, by sweep: what may not go yet is not looked at again in each.
_resume_after: dict[str, str] = {}


def purge(stop: threading.Event | None = None, *, window: float = float("inf"), ages: Ages | None = None) -> Purged:
    """Delete and blank what is old enough, for `window` seconds or until `stop`. Safe to run twice at once.

    A message that waits never goes. Those of a bulk job go by the same ages, counted from the end of the job: until
    then its failed ones can be queued again.
    """
    ages = ages or Ages.from_settings()
    pace = Pace(stop or threading.Event(), time.monotonic() + window)
    purged, now = Purged(), clock.now()
    for name, messages, before in _due(now, ages):
        purged.messages += _delete_all(name, messages, before, pace, numbers_before=now - ages.numbers)
    purged.logs = _blank_all(now - ages.numbers, pace)
    purged.is_done = pace.may_go_on()
    return purged


def count(ages: Ages | None = None) -> Purged:
    """Return what `purge` would do, without doing it. It reads a lot."""
    ages, now = ages or Ages.from_settings(), clock.now()
    going = Q()
    for _, messages, before in _due(now, ages):
        going |= Q(pk__in=_deletable(messages, before).values("pk"))
    organizations = list(Organization.objects.values_list("pk", flat=True))
    due = _without_message(blanking.over(organizations, after=None, until=now - ages.numbers))
    return Purged(Message.objects.filter(going).count(), due.count(), is_done=True)


def _due(now: datetime, ages: Ages) -> Iterable[tuple[str, QuerySet[Message], datetime]]:
    """Yield each kind of message that goes: its name, the rows to look through by id, and when they must have ended."""
    undispatched = Message.objects.filter(status=Status.FAILED, reason__in=CALLED_OFF)
    yield "undispatched", undispatched.filter(provider_slug=""), now - ages.undispatched
    # However young they may go, not while their call may be under way: its answer is still to come.
    open_still = Q(status=Status.DISPATCH_TIMEOUT, updated_at__gte=now - longest_call())
    yield "finished", Message.objects.exclude(open_still), now - ages.finished


def _deletable(messages: QuerySet[Message], before: datetime) -> QuerySet[Message]:
    """Return those that have ended before that, and their job too: what `_delete_some` would delete of them."""
    ended = messages.filter(pk__lt=id_from(before), status__in=_OVER, updated_at__lt=before)
    return ended.filter(Q(job=None) | Q(job__status__in=ENDED, job__finished_at__lt=before)).order_by()


# --- messages ---------------------------------------------------------------------------------------------------


def _delete_all(
    name: str, messages: QuerySet[Message], before: datetime, pace: Pace, *, numbers_before: datetime
) -> int:
    """Go through the ids up to that time, from where the last sweep stopped, and delete what has ended before."""
    deleted, after = 0, _resume_after.get(name, "")
    while pace.may_go_on():
        last, some = pace.batch(partial(_delete_some, messages, before, numbers_before, after))
        deleted += some
        if last is None:
            _resume_after.pop(name, None)  # the next one begins anew
            break
        after = _resume_after[name] = last
    return deleted


def _delete_some(
    messages: QuerySet[Message], before: datetime, numbers_before: datetime, after: str, size: int
) -> tuple[str | None, int]:
    """Look at the next `size` ids, and delete what may go. Returns the last id, None at the end, and how many went."""
    columns = ("pk", "status", "updated_at", "job", "job__finished_at")
    next_ones = messages.filter(pk__gt=after, pk__lt=id_from(before)).order_by("pk")
    if not (found := list(next_ones.values_list(*columns)[:size])):
        return None, 0
    last = found[-1][0]
    # Looked at here and not in the query, so that however much has to stay, a query reads `size` rows.
    jobs_of = {
        pk: job
        for pk, status, updated_at, job, finished_at in found
        if status in _OVER and updated_at < before and (job is None or (finished_at and finished_at < before))
    }
    if not jobs_of:
        return last, 0
    with transaction.atomic():
        over: set[UUID | None] = {None}
        if of_jobs := {job for job in jobs_of.values() if job is not None}:
            # Its job first, as those who queue its failed messages again do. None of it moves while we hold it.
            jobs = BulkJob.objects.filter(pk__in=of_jobs, status__in=ENDED, finished_at__lt=before).order_by()
            over |= set(jobs.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))
        going = messages.filter(pk__in=[pk for pk, job in jobs_of.items() if job in over])
        still = going.filter(status__in=_OVER, updated_at__lt=before).order_by()
        locked = list(still.select_for_update(skip_locked=True).values_list("pk", "status", "created_at"))
        _leave_logs_alone(locked, numbers_before)
        Message.objects.filter(pk__in=[pk for pk, _, _ in locked]).delete()
    return last, len(locked)


def _leave_logs_alone(messages: list[tuple[str, str, datetime]], numbers_before: datetime) -> None:
    """See to the logs of messages that go: they stay, and nobody looks after them any more."""
    unknown = [pk for pk, status, _ in messages if status == Status.DISPATCH_TIMEOUT]
    old = [pk for pk, _, created_at in messages if created_at <= numbers_before]
    if old:  # a message that was scheduled long ahead: the sweep over the log has passed it while it waited
        blanking.blank(SmsLog.objects.filter(queued_id__in=old, created_at__lte=numbers_before))
    if unknown:  # from now on it is settled on the page of its log
        SmsLog.objects.filter(queued_id__in=unknown).update(queued_id=None)


# --- the SMS log ------------------------------------------------------------------------------------------------


def _blank_all(until: datetime, pace: Pace) -> int:
    """Blank number and text of every SMS up to that time, a stretch of time after the other. Returns how many."""
    reached = Sweep.objects.filter(pk=_BLANKED).values_list("reached_at", flat=True).first()
    if reached is None:
        oldest = blanking.oldest()
        if oldest is None or oldest > until:
            return 0
        reached = oldest - timedelta(seconds=1)
    blanked, step = 0, _SHORTEST_STEP
    organizations = list(Organization.objects.order_by("pk").values_list("pk", flat=True))
    while reached < until:
        end, batches = min(reached + step, until), 0
        for start in range(0, len(organizations), _ORGANIZATIONS):
            some, is_all = organizations[start : start + _ORGANIZATIONS], False
            while not is_all:
                if not pace.may_go_on():
                    return blanked
                count, is_all = pace.batch(partial(_blank_some, some, reached, end))
                blanked, batches = blanked + count, batches + 1
        Sweep.objects.update_or_create(pk=_BLANKED, defaults={"reached_at": end})
        # Many batches of one stretch read what the first of them have done.
        is_dense = batches > 2 * -(-len(organizations) // _ORGANIZATIONS)
        reached, step = end, max(step / 2, _SHORTEST_STEP) if is_dense else min(step * 2, _LONGEST_STEP)
    return blanked


def _blank_some(organizations: Sequence[UUID], after: datetime, until: datetime, size: int) -> tuple[int, bool]:
    """Blank up to `size` SMS of these organizations and that time. Returns how many, and whether that was all."""
    due = _without_message(blanking.over(organizations, after=after, until=until))
    with transaction.atomic():
        count = blanking.blank(due, limit=size)
        return count, count < size and not due.exists()  # unless somebody holds one


def _without_message(logs: QuerySet[SmsLog]) -> QuerySet[SmsLog]:
    """Leave out those whose message is still there: it may be sent again, with the number of the log."""
    return logs.filter(~Exists(Message.objects.filter(pk=OuterRef("queued_id"))))
