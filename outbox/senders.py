"""The threads of a drain that call providers. They touch no database."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter, deque
from datetime import timedelta
from uuid import UUID

import redis
from django.conf import settings

from linkit import faults
from outbox.claims import Started
from outbox.hand import Ready
from outbox.turns import key_of
from sms_providers import pacing
from sms_providers.results import Fault, Result, unavailable, unknown
from sms_providers.sending import sms_for
from sms_providers.transport import Budget

logger = logging.getLogger(__name__)

_RESULT_WAIT = 0.05  # seconds; how long `results` waits for a first one


class Senders:
    """Sends messages that are marked, and gives their `results`.

    As many as there are threads may be marked beyond those being sent, so that none is idle while the drain writes. Of
    these the first of a queue that has nothing under way goes before the others.
    """

    def __init__(self) -> None:
        self.in_flight = 0  # marked, and their result not taken yet
        self._threads: list[threading.Thread] = []
        self._last_start = float("inf")
        self._under_way: Counter[UUID] = Counter()  # by queue
        self._first: deque[tuple[Started, Ready]] = deque()
        self._others: deque[tuple[Started, Ready]] = deque()
        # True for each message in these two, put there before; False for each thread that is to end.
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Started, Result]] = queue.SimpleQueue()

    def free_places(self, *, wanted: int) -> int:
        """Return how many more may be marked, starting threads as long as more are wanted and allowed.

        A thread is there before a message is marked for it: a marked one that nobody can send would end unknown.
        """
        most = min(self.in_flight + wanted, settings.OUTBOX_SENDERS)
        while len(self._threads) < most:
            sender = threading.Thread(target=self._send_all, name=f"sender-{len(self._threads)}", daemon=True)
            try:
                sender.start()
            except RuntimeError:  # the system allows no more threads
                if not self._threads:
                    raise
                break
            self._threads.append(sender)
        return max(0, 2 * len(self._threads) - self.in_flight)

    def send(self, started: Started, ready: Ready) -> None:
        """Have one of the threads call the provider."""
        key = key_of(started.claimed.message)
        (self._others if self._under_way[key] else self._first).append((started, ready))
        self._under_way[key] += 1
        self.in_flight += 1
        self._calls.put(True)

    def results(self, *, more_within: float) -> list[tuple[Started, Result]]:
        """Wait a moment for a result, then `more_within` seconds for others, and take all that are there."""
        batch: list[tuple[Started, Result]] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._results.get(timeout=_RESULT_WAIT))
            waits_until = time.monotonic() + more_within
            while len(batch) < min(self.in_flight, settings.OUTBOX_SENDERS // 2):
                batch.append(self._results.get(timeout=max(0.0, waits_until - time.monotonic())))
            while len(batch) < 2 * settings.OUTBOX_SENDERS:
                batch.append(self._results.get_nowait())
        self.in_flight -= len(batch)
        self._under_way -= Counter(key_of(started.claimed.message) for started, _ in batch)
        return batch

    def begin_no_more(self, *, after: float) -> None:
        """Begin no call any more when these seconds are over, also of a message that is marked."""
        self._last_start = time.monotonic() + after

    def end(self) -> None:
        """End the threads, once nothing is in flight."""
        for _ in self._threads:
            self._calls.put(False)

    # --- in a thread ---------------------------------------------------------------------------------------

    def _send_all(self) -> None:
        while self._calls.get():
            started, ready = self._next()
            self._results.put((started, self._send(started, ready)))

    def _next(self) -> tuple[Started, Ready]:
        while True:  # another thread may take the one that was there; then there is one more in the other line
            for line in (self._first, self._others):
                with contextlib.suppress(IndexError):
                    return line.popleft()

    def _send(self, started: Started, ready: Ready) -> Result:
        """Call the provider for one message. Whatever happens, there is a result."""
        log = started.claimed.log
        assert log is not None  # the start mark wrote it
        try:
            if (no_permit := self._wait_for_permit(ready)) is not None:
                return no_permit
            if time.monotonic() > self._last_start:
                said = "The worker was told to end before the call. Nothing was sent."
                return unavailable(message=said, reason="worker_ended", retry_after=timedelta(0))
            budget = Budget(settings.PROVIDER_CALL_LIMIT, start_by=started.claimed.start_by)
            return started.route.adapter.send(sms_for(log, times_refused=started.times_refused), budget)
        except BaseException as error:  # also what a site's own adapter may raise to end a process
            logger.error("Message %s: sending broke off: %s", started.claimed.message.pk, faults.describe(error))
            return unknown("internal_error", "A fault of ours during the call. The message may have been sent.")

    def _wait_for_permit(self, ready: Ready) -> Result | None:
        """Wait for the moment of its permit. One that is long past is given up for another, from the same Redis."""
        moment, app = ready.moment, ready.route.app
        if moment is None or app is None:
            return None
        while True:
            if (ahead := moment - time.monotonic()) > 0:
                time.sleep(ahead)
            if time.monotonic() <= moment + pacing.LATE:
                return None
            try:
                permits = pacing.reserve(app.pk, per_second=ready.per_second, count=1, ahead=pacing.PATIENCE)
            except redis.RedisError:
                permits = pacing.Permits([], 0.0)
            if not permits.moments:
                said = "No permit of its app's rate could be had in time. Nothing was sent."
                return unavailable(Fault.THROTTLED, said, reason="app_rate_reached")
            (moment,) = permits.moments
