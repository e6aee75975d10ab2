"""Whose turn it is: which rows of the queue a claim takes.

There are two lanes. Messages of their own go first; what room is left goes to the rows of running bulk jobs. In each
lane organizations take turns, and so do the jobs of one, so that nobody's million rows delay anybody else's.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F, Q

from linkit import batches
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message

_WALK_SHARE = 0.05  # of the time, at most, goes into looking who waits
_HEAD_EVERY = 5.0  # seconds; then floors are forgotten, and what lies before them is found
_JOBS_EVERY = 0.25  # seconds that a list of running jobs is good for: the start mark asks again whether one runs
_DRY = 0.5  # seconds before a job is asked again that had nothing due
_MOST_AT_ONCE = 64  # queues in one statement
_MOST_JOBS = 1000

# Jobs that cost credits of which messages under way hold all there are: these may come back, and until then a claim
# would only turn their rows over.
_WAITS_FOR_HOLDS = (
    Q(is_test=False)
    & (Q(program_id__isnull=False) | Q(app__is_metered=True))
    & Q(
        organization__credit_account__balance__gt=0,
        organization__credit_account__balance__lte=F("organization__credit_account__held"),
    )
)
# Every organization with a message of its own that is due. Each step is one look into `outbox_turns`, however many
# messages that organization has.
_WALK = """
WITH RECURSIVE line(id) AS (
    SELECT (SELECT organization_id FROM outbox_message WHERE status = 'pending' AND job_id IS NULL
            ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT (SELECT organization_id FROM outbox_message WHERE status = 'pending' AND job_id IS NULL
            AND organization_id > line.id ORDER BY organization_id LIMIT 1)
    FROM line WHERE line.id IS NOT NULL
)
SELECT id FROM line WHERE id IS NOT NULL AND EXISTS (
    SELECT 1 FROM outbox_message WHERE status = 'pending' AND job_id IS NULL AND organization_id = line.id
    AND next_attempt_at <= %s
)
"""
# One statement takes a batch from several queues. PostgreSQL passes over rows that another worker is taking at this
# moment; SQLite has one writer at a time, so there are none.
_TAKE = """
WITH due(due_id) AS MATERIALIZED ({queues})
UPDATE outbox_message AS m
SET status = 'sending', claim_token = %s, claimed_at = %s, lease_expires_at = %s, updated_at = %s
FROM due WHERE m.id = due.due_id
RETURNING {columns}
"""
_QUEUE = """SELECT id FROM (
    SELECT id FROM outbox_message WHERE status = 'pending' AND {lane} AND next_attempt_at <= %s {floor}
    ORDER BY next_attempt_at, {tie} LIMIT %s {lock}
) AS queue_{number}"""


@dataclass(frozen=True)
class Queue:
    """What stands in one line: an organization's own messages, or the rows of one job, which go through `app_id`."""

    key: uuid.UUID
    organization_id: uuid.UUID
    app_id: int | None = None
    is_job: bool = False


def key_of(message: Message) -> uuid.UUID:
    """Return the key of the queue that a message stands in."""
    return message.job_id or message.organization_id


Room = Callable[[Queue], int]  # how many messages of a queue may be taken now


@dataclass(frozen=True)
class _Lane:
    condition: str
    tie: str  # what orders messages that are due at the same moment

    def position(self, message: Message) -> tuple[datetime, Any]:
        return message.next_attempt_at, getattr(message, self.tie)


_SINGLES = _Lane("job_id IS NULL AND organization_id = %s AND expires_at > %s", "id")
_JOBS = _Lane("job_id = %s", "row_number")


class Turns:
    """What one drain remembers between its claims. Only hints: forgetting all of it changes nothing but the time.

    A floor is how far a queue has been taken. The entries of the index before it are dead, and while an old snapshot is
    open somewhere nobody can remove them: a claim that begins at the head would read them all, each time.
    """

    def __init__(self) -> None:
        self._floors: dict[uuid.UUID, tuple[datetime, Any]] = {}
        self._served: dict[uuid.UUID, int] = {}  # organizations and queues: the number of their latest turn
        self._turn = 0
        self._waiting: set[uuid.UUID] = set()
        self._jobs: list[Queue] = []
        self._dry: dict[uuid.UUID, float] = {}
        self._next_walk = self._next_jobs = self._next_head = 0.0

    def take(self, *, limit: int, token: uuid.UUID, now: datetime, room: Room) -> list[Message]:
        """Lease up to `limit` due messages under `token`, in the order of the turns."""
        if time.monotonic() >= self._next_head:
            self._floors.clear()
            self._next_head = time.monotonic() + _HEAD_EVERY
        claim = _Claim(token=token, now=now, floors=self._floors)
        singles = [Queue(each, each) for each in self._organizations(now)]
        messages = self._go_round(_SINGLES, singles, claim, limit=limit, room=room)
        if len(messages) < limit:
            first, others = self._by_organization(job for job in self._running_jobs(now) if room(job) > 0)
            for jobs in (first, others):
                messages += self._go_round(_JOBS, jobs, claim, limit=limit - len(messages), room=room)
        return messages

    def _go_round(self, lane: _Lane, queues: list[Queue], claim: _Claim, *, limit: int, room: Room) -> list[Message]:
        """Take from each queue an equal share, those first whose turn is longest ago, until there is no more."""
        # One without room has no turn: it must not stand before those that have some.
        queues = [queue for queue in queues if room(queue) > 0]
        queues = sorted(queues, key=lambda queue: self._served.get(queue.key, 0))[:_MOST_AT_ONCE]
        taken: list[Message] = []
        from_each: Counter[uuid.UUID] = Counter()
        while queues and len(taken) < limit:
            left = limit - len(taken)
            share, wanted = -(-left // len(queues)), {}
            for queue in queues:
                if count := min(share, left, room(queue) - from_each[queue.key]):
                    wanted[queue] = count
                    left -= count
            if not wanted:
                break
            messages = claim.take(lane, wanted)
            came = Counter(map(key_of, messages))
            for queue, count in wanted.items():
                self._turn += 1
                self._served[queue.key] = self._served[queue.organization_id] = self._turn
                if came[queue.key] < count:
                    self._empty(queue)
            from_each += came
            taken += messages
            queues = [queue for queue in wanted if came[queue.key] == wanted[queue]]
        return taken

    def _empty(self, queue: Queue) -> None:
        if queue.is_job:
            self._dry[queue.key] = time.monotonic() + _DRY
        else:
            self._waiting.discard(queue.key)

    def _organizations(self, now: datetime) -> Collection[uuid.UUID]:
        """Return who has messages of its own that are due."""
        began = time.monotonic()
        if began >= self._next_walk:
            with connection.cursor() as cursor:
                cursor.execute(_WALK, [batches.plain(now)])
                self._waiting = {batches.uuid_of(row[0]) for row in cursor.fetchall()}
            ended = time.monotonic()
            self._next_walk = ended + (ended - began) / _WALK_SHARE
        return self._waiting

    def _running_jobs(self, now: datetime) -> list[Queue]:
        clock = time.monotonic()
        if clock >= self._next_jobs:
            jobs = BulkJob.objects.filter(status=JobStatus.RUNNING, expires_at__gt=now).exclude(_WAITS_FOR_HOLDS)
            found = jobs.order_by("?").values_list("pk", "organization_id", "app_id")[:_MOST_JOBS]
            self._jobs = [Queue(*values, is_job=True) for values in found]
            self._next_jobs = clock + _JOBS_EVERY
        return [queue for queue in self._jobs if self._dry.get(queue.key, 0.0) <= clock]

    def _by_organization(self, jobs: Iterable[Queue]) -> tuple[list[Queue], list[Queue]]:
        """Return of each organization the job whose turn is longest ago, by the organization's turn; and the others."""
        first: dict[uuid.UUID, Queue] = {}
        others = []
        for job in sorted(jobs, key=lambda job: self._served.get(job.key, 0)):
            if first.setdefault(job.organization_id, job) is not job:
                others.append(job)
        by_turn = sorted(first.values(), key=lambda job: self._served.get(job.organization_id, 0))
        return by_turn[:_MOST_AT_ONCE], others


@dataclass
class _Claim:
    """One claim: its random token and its time."""

    token: uuid.UUID
    now: datetime
    floors: dict[uuid.UUID, tuple[datetime, Any]]

    def take(self, lane: _Lane, wanted: dict[Queue, int]) -> list[Message]:
        """Lease so many messages of each queue, in one statement."""
        queues, values = [], []
        lock = "FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
        for number, (queue, count) in enumerate(wanted.items()):
            floor = self.floors.get(queue.key)
            beyond = f"AND (next_attempt_at, {lane.tie}) > (%s, %s)" if floor else ""
            queues.append(_QUEUE.format(lane=lane.condition, floor=beyond, tie=lane.tie, lock=lock, number=number))
            values += [queue.key, *([] if queue.is_job else [self.now]), self.now, *(floor or ()), count]
        statement = _TAKE.format(queues=" UNION ALL ".join(queues), columns=_columns())
        values += [self.token, self.now, self.now + settings.OUTBOX_LEASE, self.now]
        messages = list(Message.objects.raw(statement, [batches.plain(value) for value in values]))
        for message in messages:
            message.claimed_at = self.now
            key, position = key_of(message), lane.position(message)
            self.floors[key] = max(self.floors.get(key, position), position)
        return messages


# What a message in hand is asked for; the rest is read when somebody wants it.
_COLUMNS = (
    "id", "organization_id", "is_test", "recipient", "text", "sender_id", "encoding", "segment_count", "scheduled_at",
    "pinned_app_id", "job_id", "row_number", "program_id", "token_id", "user_id", "reason", "error_message",
    "next_attempt_at", "requeued_at", "claim_token", "app_id", "provider_slug", "created_at",
)  # fmt: skip


def _columns() -> str:
    prefix = "m." if connection.vendor == "postgresql" else ""  # SQLite's RETURNING knows no alias
    return ", ".join(f"{prefix}{name}" for name in _COLUMNS)
