"""What a drain has in hand: messages that are claimed and routed, and wait for a sender or for a permit.

Those of an installation with a rate stand in a line of its own, so that nobody waits behind them.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import redis
from django.conf import settings

from outbox.claims import Claimed
from outbox.turns import Queue, key_of
from sms_providers import pacing
from sms_providers.sending import Route

logger = logging.getLogger(__name__)

_AHEAD = 1.0  # seconds; so much of its rate a queue has in hand, or one message
_ASK_EVERY = pacing.AHEAD / 2  # seconds before more permits of an installation are asked for
_STARVED = 1.0  # seconds without a permit
_MOST = 16  # times the senders: so many messages at most are in hand, whatever their rates
NO_PERMITS_PAUSE = 5.0  # seconds before permits are asked for again when Redis does not answer


@dataclass(frozen=True)
class Ready:
    """A message that may be marked now. `moment`, on the monotonic clock: not before, and not long after."""

    claimed: Claimed
    route: Route
    moment: float | None = None
    per_second: float = 0.0


class _Waiting:
    """Messages in hand, in turns: single ones before rows of jobs, and in each lane one of each queue after the other.

    A claim takes whole batches of a queue. Who comes after one need not wait for all of it.
    """

    def __init__(self) -> None:
        self._lanes: tuple[dict[uuid.UUID, _Queue], dict[uuid.UUID, _Queue]] = ({}, {})
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, claimed: Claimed, route: Route) -> None:
        lane = self._lanes[claimed.message.job_id is not None]
        lane.setdefault(key_of(claimed.message), deque()).append((claimed, route))
        self._count += 1

    def pop(self) -> tuple[Claimed, Route]:
        lane = self._lanes[0] or self._lanes[1]
        key, queue = next(iter(lane.items()))
        del lane[key]
        first = queue.popleft()
        if queue:
            lane[key] = queue  # behind the others
        self._count -= 1
        return first

    def pop_late(self, now: float) -> list[Claimed]:
        """Take out what it is too late to start."""
        late = []
        for lane in self._lanes:
            for key, queue in list(lane.items()):
                while queue and queue[0][0].start_by <= now:
                    late.append(queue.popleft()[0])
                if not queue:
                    del lane[key]
        self._count -= len(late)
        return late


_Queue = deque[tuple[Claimed, Route]]


@dataclass
class _Line:
    """The messages of one installation with a rate."""

    per_second: float
    waiting: _Waiting = field(default_factory=_Waiting)
    ask_at: float = 0.0
    empty_since: float | None = None  # since when no permit was to be had

    def __len__(self) -> int:
        return len(self.waiting)


class Hand:
    """Messages in hand, by whether they need a permit."""

    def __init__(self) -> None:
        self._free = _Waiting()
        self._lines: dict[int, _Line] = {}
        self._held: Counter[uuid.UUID] = Counter()  # by queue: how many wait for permits
        self._quota: dict[uuid.UUID, int] = {}  # by queue: how many may
        self._barred: dict[uuid.UUID, float] = {}  # queues of which nothing can be sent until then
        self.barred_apps: dict[int, float] = {}
        self._stranded: list[Claimed] = []
        self._turn = 0

    def __len__(self) -> int:
        return len(self._free) + sum(map(len, self._lines.values()))

    @property
    def wants(self) -> int:
        """How many more messages would keep the senders busy: two rounds of them, taken when one is left."""
        free = len(self._free)
        if free > 3 * settings.OUTBOX_SENDERS // 2 or len(self) >= _MOST * settings.OUTBOX_SENDERS:
            return 0
        return 2 * settings.OUTBOX_SENDERS - free

    def room(self, queue: Queue) -> int:
        """How many more of a queue may be claimed: no more than its installation's rate lets go soon."""
        now = time.monotonic()
        if self._barred.get(queue.key, 0.0) > now or self.barred_apps.get(queue.app_id or 0, 0.0) > now:
            return 0
        most = 2 * settings.OUTBOX_SENDERS
        quota = self._quota.get(queue.key, most)
        left = quota - self._held[queue.key]
        return min(most, left) if 2 * left >= quota else 0  # a few at a time would be a claim for each

    def bar(self, key: uuid.UUID, *, seconds: float) -> None:
        """Take nothing of this queue for a while: nobody can send it."""
        self._barred[key] = time.monotonic() + seconds

    def rate_of(self, app_id: int) -> float | None:
        """The rate a second under which messages of this installation are sent; None: it has none."""
        line = self._lines.get(app_id)
        return None if line is None else line.per_second

    def slow_down(self, app_id: int, *, per_second: float) -> None:
        """Send what is in hand more slowly, too."""
        if (line := self._lines.get(app_id)) is not None:
            line.per_second = max(1.0, min(line.per_second, per_second))

    def add(self, claimed: Claimed, route: Route, *, per_second: float | None) -> bool:
        """Take a message in hand. Returns False when its installation could not send it soon enough."""
        key = key_of(claimed.message)
        if per_second is None or route.app is None:
            if not self._held[key]:
                self._quota.pop(key, None)
            self._free.add(claimed, route)
            return True
        line = self._lines.setdefault(route.app.pk, _Line(per_second))
        line.per_second = per_second
        self._quota[key] = max(1, round(per_second * _AHEAD))
        if len(line) >= max(1, per_second * settings.OUTBOX_LEASE.total_seconds() / 4):
            self.bar(key, seconds=1.0)
            return False
        line.waiting.add(claimed, route)
        self._held[key] += 1
        return True

    def take(self, count: int) -> Iterator[Ready]:
        """Take out up to `count` messages to be sent, those that need a permit with one."""
        lines: list[tuple[int, _Line | None]] = [(app_id, line) for app_id, line in self._lines.items() if line]
        lines += [(0, None)] if self._free else []  # those that need no permit
        if not lines or not count:
            return
        self._turn += 1
        first, share = self._turn % len(lines), -(-count // len(lines))
        lines = lines[first:] + lines[:first]
        permits = self._permits([(app_id, line) for app_id, line in lines if line], share=share, count=count)
        for app_id, line in lines:
            if line is None:
                for _ in range(min(len(self._free), share, count)):
                    count -= 1
                    yield Ready(*self._free.pop())
            else:
                for moment in permits.get(app_id, ()):
                    claimed, route = self._popped(line)
                    count -= 1
                    yield Ready(claimed, route, moment, line.per_second)
        while count and self._free:
            count -= 1
            yield Ready(*self._free.pop())

    def _permits(self, lines: list[tuple[int, _Line]], *, share: int, count: int) -> dict[int, list[float]]:
        """Take permits for up to `share` messages of each line, `count` in all."""
        wanted, now = {}, time.monotonic()
        for app_id, line in lines:
            if count and now >= line.ask_at:
                # Direct sends look further ahead. When they have taken every permit for a while, so does one of ours.
                is_starved = line.empty_since is not None and line.empty_since < now - _STARVED
                most, ahead = (1, pacing.PATIENCE) if is_starved else (min(len(line), share, count), pacing.AHEAD)
                wanted[app_id] = pacing.Wanted(line.per_second, most, ahead)
                count -= most
        try:
            permits = pacing.reserve_each(wanted)
        except redis.RedisError as error:
            logger.warning("Messages of apps %s wait, Redis gives no permits: %s", [*wanted], type(error).__name__)
            for line in map(self._lines.__getitem__, wanted):
                while line:
                    self._stranded.append(claimed := self._popped(line)[0])
                    self.bar(key_of(claimed.message), seconds=NO_PERMITS_PAUSE)
            return {}
        now = time.monotonic()
        for app_id, given in permits.items():
            line = self._lines[app_id]
            # Asked for as soon as there is one, each permit would have a transaction of its own.
            is_short = len(given.moments) < wanted[app_id].count
            line.ask_at = now + (max(given.wait, _ASK_EVERY) if is_short else given.wait)
            line.empty_since = None if given.moments else line.empty_since or now
        return {app_id: given.moments for app_id, given in permits.items()}

    def stranded(self) -> list[Claimed]:
        """Take out what can have no permit, since Redis does not answer."""
        stranded, self._stranded = self._stranded, []
        return stranded

    def late(self) -> list[Claimed]:
        """Take out what has waited for its permit for too long to be sent under its lease."""
        now = time.monotonic()
        late = [claimed for line in self._lines.values() for claimed in line.waiting.pop_late(now)]
        self._let_go(late)
        return late

    def clear(self) -> list[Claimed]:
        """Take out everything."""
        everything = self.stranded()
        for waiting in (self._free, *(line.waiting for line in self._lines.values())):
            everything += [waiting.pop()[0] for _ in range(len(waiting))]
        self._lines.clear()
        self._held.clear()
        return everything

    def _popped(self, line: _Line) -> tuple[Claimed, Route]:
        claimed, route = line.waiting.pop()
        self._let_go([claimed])
        return claimed, route

    def _let_go(self, claimed: list[Claimed]) -> None:
        for each in claimed:
            self._held[key_of(each.message)] -= 1
