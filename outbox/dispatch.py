"""The drain: one loop that claims ahead, threads that call providers, results written in batches.

The loop's thread alone talks to the database; the sender threads only call providers. So a slow provider holds a
lease and a thread, never a transaction, and no batch waits for its slowest message.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter, deque
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from linkit import clock, faults
from outbox import claims, routing
from outbox.claims import Claimed, Started
from sms_providers.results import Result, unknown
from sms_providers.sending import Route, sms_for
from sms_providers.transport import Budget

logger = logging.getLogger(__name__)

_IDLE_CLAIM_PAUSE = 0.2  # seconds between looks into an empty queue while calls are in flight
_RESULT_WAIT = 0.05  # seconds; how long the loop waits for a first result before it looks around
# Seconds; a database restart takes minutes at most. With DRAIN_WINDOW and a call it stays below the broker's
# visibility_timeout, after which it would hand the same wake-up to another worker (which does no harm).
_WRITE_PATIENCE = 240.0
_WRITE_PATIENCE_STOPPING = 15.0  # seconds; whoever asked us to stop will not wait much longer
_WRITE_PAUSE_MAX = 15.0


class Drain:
    """Sends what is due: `work` until nothing is, then `wind_down` for what is still in flight. `run` does both.

    `work` also ends after `window` seconds and when `stop` is set. It claims no more then and gives unstarted
    messages back.
    """

    def __init__(self, *, window: float = float("inf"), stop: threading.Event | None = None) -> None:
        self.window = window
        self.stop = stop or threading.Event()
        self.tally: Counter[str] = Counter()
        self._ready: deque[tuple[Claimed, Route]] = deque()
        self._in_flight = 0
        self._next_claim = 0.0
        self._failing_since: float | None = None  # of the write under way
        self._senders: list[threading.Thread] = []
        self._started: queue.SimpleQueue[Started | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Started, Result]] = queue.SimpleQueue()

    def run(self) -> Counter[str]:
        """Drain, and return how many messages went to each status."""
        try:
            self.work()
        finally:
            self.wind_down()
        return self.tally

    def work(self) -> None:
        """Claim and send until nothing is due and nothing in flight, or it is time to end."""
        ends_at = time.monotonic() + self.window
        while not self.stop.is_set() and time.monotonic() < ends_at:
            found = self._claim_ahead()
            self._start()
            if self._in_flight:
                self._collect()
            elif not self._ready:
                if found == 0:
                    return
                self._next_claim = 0.0  # look again: what came since the last look has no other wake-up

    def wind_down(self) -> None:
        """Give unstarted messages back, and write down what is still in flight."""
        try:
            if self._ready:
                claims.give_back(item for item, _ in self._ready)
                self.tally["returned"] += len(self._ready)
                self._ready.clear()
        finally:
            while self._in_flight:
                self._collect()
            for _ in self._senders:
                self._started.put(None)

    def _claim_ahead(self) -> int | None:
        """Keep one batch leased beyond what the senders can take at once.

        Returns how many messages were due, or None when this was no time to look.
        """
        room = settings.OUTBOX_SENDERS - len(self._ready)
        if room <= settings.OUTBOX_SENDERS // 2 or time.monotonic() < self._next_claim:
            return None
        claimed = claims.claim(limit=room)
        self._next_claim = 0.0 if claimed else time.monotonic() + _IDLE_CLAIM_PAUSE
        now, waiting, waits = clock.now(), [], {}
        for item in claimed:
            match self._choose(item, now):
                case Route() as route:
                    self._ready.append((item, route))
                case routing.Wait() as wait:
                    waiting.append(item)
                    waits[item.message.pk] = wait
                case routing.GiveUp(reason, message):
                    claims.give_up(item, reason=reason, message=message)
                    self.tally["failed"] += 1
        if waiting:
            claims.give_back(waiting, waits=waits)
            self.tally["waiting"] += len(waiting)
        return len(claimed)

    def _choose(self, item: Claimed, now: datetime) -> Route | routing.Wait | routing.GiveUp:
        try:
            return routing.choose(item.message, apps=item.apps, tries=item.tries, now=now, credits=item.credits)
        except DatabaseError:
            raise
        except Exception as error:
            # One message that trips us must not hold up everybody's.
            logger.error("Message %s could not be routed: %s", item.message.pk, faults.describe(error))
            return routing.Wait(now + routing.NO_APP_WAIT, "internal_error", "A fault of ours; it waits.")

    def _start(self) -> None:
        """Mark as many messages as there are free senders, and hand them over."""
        batch: list[tuple[Claimed, Route]] = []
        late: list[Claimed] = []
        free = self._ready_senders(wanted=len(self._ready))
        while self._ready and len(batch) < free:
            item, route = self._ready.popleft()
            if time.monotonic() < item.start_by:
                batch.append((item, route))
            else:
                late.append(item)
        if batch:
            started = claims.mark_started(batch)
            for each in started:
                self._in_flight += 1
                self._started.put(each)
            kept = {each.claimed.message.pk for each in started}
            late += [item for item, _ in batch if item.message.pk not in kept]
        if late:
            claims.give_back(late)

    def _ready_senders(self, *, wanted: int) -> int:
        """Return how many senders have nothing to do, starting threads as long as more are wanted and allowed.

        A thread is there before a message is marked for it: a marked one that nobody can send would end unknown.
        """
        most = min(self._in_flight + wanted, settings.OUTBOX_SENDERS)
        while len(self._senders) < most:
            sender = threading.Thread(target=self._send_all, name=f"sender-{len(self._senders)}", daemon=True)
            try:
                sender.start()
            except RuntimeError:  # the system allows no more threads
                if not self._senders:
                    raise
                break
            self._senders.append(sender)
        return len(self._senders) - self._in_flight

    def _send_all(self) -> None:
        """Call providers until told to end. A sender thread touches no database."""
        while (started := self._started.get()) is not None:
            self._results.put((started, self._send(started)))

    def _send(self, started: Started) -> Result:
        """Call the provider for one message. Whatever happens, there is a result."""
        log = started.claimed.log
        assert log is not None  # the start mark wrote it
        try:
            budget = Budget(settings.PROVIDER_CALL_LIMIT, start_by=started.claimed.start_by)
            return started.route.adapter.send(sms_for(log, times_refused=started.times_refused), budget)
        except BaseException as error:  # also what a site's own adapter may raise to end a process
            logger.error("Message %s: sending broke off: %s", started.claimed.message.pk, faults.describe(error))
            return unknown("internal_error", "A fault of ours during the call. The message may have been sent.")

    def _collect(self) -> None:
        """Wait for a result, and write it with all others that are there."""
        batch = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._results.get(timeout=_RESULT_WAIT))
            while len(batch) < settings.OUTBOX_SENDERS:
                batch.append(self._results.get_nowait())
        if batch:
            self._in_flight -= len(batch)
            self._write(batch)

    def _write(self, batch: list[tuple[Started, Result]]) -> None:
        """Write results, through an outage of the database: they exist nowhere else."""
        self._failing_since = None
        lost = []
        try:
            self._write_through(batch)
        except (OperationalError, InterfaceError):
            lost = batch
        except Exception:  # of any kind: the results exist nowhere else
            # Something in one of them was not taken: that is not the others' fault.
            for part in batch:
                try:
                    self._write_through([part])
                except Exception:  # as above, and said in the log by now
                    lost.append(part)
        for started, result in lost:
            pk = started.claimed.message.pk
            # The reaper will make it unknown; this line is the evidence.
            logger.error("Message %s ended %s (%s), unrecorded", pk, result.outcome, result.reason)

    def _write_through(self, batch: list[tuple[Started, Result]]) -> None:
        """Write a batch, waiting for a database that is away. Raises what the last try raised.

        The patience begins with the first failure: a process that was frozen in its first try has another.
        """
        pause = 0.2
        while True:
            try:
                self.tally.update(claims.finish(batch))
                return
            except Exception as error:
                logger.warning("%d results could not be written: %s", len(batch), faults.describe(error))
                patience = _WRITE_PATIENCE_STOPPING if self.stop.is_set() else _WRITE_PATIENCE
                is_away = isinstance(error, OperationalError | InterfaceError)
                now = time.monotonic()
                self._failing_since = self._failing_since or now
                if not is_away or now - self._failing_since > patience:
                    raise
            connection.close()
            time.sleep(min(pause, 1.0) if self.stop.is_set() else pause)
            pause = min(pause * 2, _WRITE_PAUSE_MAX)
