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
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from uuid import UUID

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from linkit import clock, faults
from outbox import claims, routing
from outbox.claims import Claimed, Installed, Started
from outbox.hand import NO_PERMITS_PAUSE, Hand, Ready
from outbox.turns import Turns, key_of
from sms_providers import circuits, pacing
from sms_providers.results import Fault, Result, unavailable, unknown
from sms_providers.sending import Route, sms_for
from sms_providers.transport import Budget

logger = logging.getLogger(__name__)

_IDLE_CLAIM_PAUSE = 0.05  # seconds between looks into an empty queue while calls are in flight
_RESULT_WAIT = 0.1  # seconds; how long the loop waits for a first result before it looks around
_BATCH_WAIT = 0.015  # seconds after the first result in which others join it: a transaction each would be slower
_PROBE_PAUSE = 1.0  # seconds that the others wait while one message tries a half-open circuit
# Seconds, of winding down, in which calls still begin: with that and the limit of a call a task ends within a minute.
_LAST_STARTS = 3.0
_BARRED = 5.0  # seconds, at most, before rows of a job are claimed again whose app's circuit is open
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
        self._turns = Turns()
        self._installed = Installed()
        self._hand = Hand()
        self._meters: defaultdict[int, pacing.Meter] = defaultdict(pacing.Meter)  # by installation
        self._in_flight = 0
        self._next_claim = 0.0
        self._failing_since: float | None = None  # of the write under way
        self._last_start = float("inf")  # when no further call begins, also of a message that is marked
        self._senders: list[threading.Thread] = []
        self._started: queue.SimpleQueue[tuple[Started, Ready] | None] = queue.SimpleQueue()
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
        is_sure = False  # that the last look into the queue saw all of it
        while not self.stop.is_set() and time.monotonic() < ends_at:
            found = self._claim_ahead()
            self._start()
            if self._in_flight or self._hand:
                self._collect()
                is_sure = False
            elif found or not is_sure:
                self._turns = Turns()  # without hints: what came since the last look has no other wake-up
                self._next_claim = 0.0
                is_sure = not found
            else:
                return

    def wind_down(self) -> None:
        """Give unstarted messages back, and write down what is still in flight."""
        self._last_start = time.monotonic() + _LAST_STARTS
        try:
            if self._hand:
                returned = self._hand.clear()
                claims.give_back(returned)
                self.tally["returned"] += len(returned)
        finally:
            while self._in_flight:
                self._collect()
            for _ in self._senders:
                self._started.put(None)

    # --- claiming ------------------------------------------------------------------------------------------

    def _claim_ahead(self) -> int | None:
        """Keep more in hand than the senders can take at once.

        Returns how many messages were due, or None when this was no time to look.
        """
        room = self._hand.wants
        if not room or time.monotonic() < self._next_claim:
            return None
        claimed = claims.claim(limit=room, turns=self._turns, room=self._hand.room, installed=self._installed)
        self._next_claim = 0.0 if claimed else time.monotonic() + _IDLE_CLAIM_PAUSE
        if claimed:
            self._take_in_hand(claimed)
        return len(claimed)

    def _take_in_hand(self, claimed: list[Claimed]) -> None:
        """Route what was claimed; what cannot be sent now goes back, to be looked at again when it may."""
        now, returned, waits = claimed[0].since, [], {}
        apps = {app.pk for item in claimed for app in item.apps}
        lowered, shut, half_open = pacing.lowered(apps), {}, set()
        for app_id, seconds in circuits.look(apps).items():
            if seconds:
                shut[app_id] = now + timedelta(seconds=seconds)
                self._hand.barred_apps[app_id] = time.monotonic() + min(seconds, _BARRED)
            else:
                half_open.add(app_id)
        sendable: set[UUID] = set()  # queues
        for item in claimed:
            message = item.message
            match self._choose(item, now, shut, half_open):
                case Route() as route:
                    sendable.add(key_of(message))
                    app = route.app
                    rate = pacing.rate_of(app.max_per_second, lowered.get(app.pk)) if app else None
                    if not self._hand.add(item, route, per_second=rate):
                        returned.append(item)
                case routing.Wait() as wait:
                    returned.append(item)
                    waits[message.pk] = wait
                case routing.GiveUp(reason, said):
                    claims.give_up(item, reason=reason, message=said)
                    self.tally["failed"] += 1
        if returned:
            claims.give_back(returned, waits=waits)
            self.tally["waiting"] += len(returned)
        for item in returned:
            if shut and (key := key_of(item.message)) not in sendable:
                self._hand.bar(key, seconds=_PROBE_PAUSE)

    def _choose(
        self, item: Claimed, now: datetime, shut: dict[int, datetime], half_open: set[int]
    ) -> Route | routing.Wait | routing.GiveUp:
        """Route a message; of those for an app whose circuit is half open, one that tries it."""
        try:
            while True:
                chosen = routing.choose(
                    item.message, apps=item.apps, tries=item.tries, now=now, credits=item.credits, shut=shut
                )
                app = chosen.app if isinstance(chosen, Route) else None
                if app is None or app.pk not in half_open:
                    return chosen
                half_open.discard(app.pk)
                shut[app.pk] = now + timedelta(seconds=_PROBE_PAUSE)
                if circuits.may_try(app.pk):
                    return chosen
        except DatabaseError:
            raise
        except Exception as error:
            # One message that trips us must not hold up everybody's.
            logger.error("Message %s could not be routed: %s", item.message.pk, faults.describe(error))
            return routing.Wait(now + routing.NO_APP_WAIT, "internal_error", "A fault of ours; it waits.")

    # --- starting ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Mark as many messages as senders can soon take, and hand them over."""
        batch: dict[str, Ready] = {}
        late = self._hand.late()
        for ready in self._hand.take(self._free_places(wanted=len(self._hand))):
            if time.monotonic() < ready.claimed.start_by:
                batch[ready.claimed.message.pk] = ready
            else:
                late.append(ready.claimed)
        if stranded := self._hand.stranded():
            until = clock.now() + timedelta(seconds=NO_PERMITS_PAUSE)
            said = "Its app has a rate, and Redis, which keeps it, does not answer."
            wait = routing.Wait(until, reason="no_permits", message=said)
            claims.give_back(stranded, waits={item.message.pk: wait for item in stranded})
            self.tally["waiting"] += len(stranded)
        if batch:
            for started in claims.mark_started([(ready.claimed, ready.route) for ready in batch.values()]):
                self._in_flight += 1
                self._started.put((started, batch.pop(started.claimed.message.pk)))
            if batch:  # perhaps since their app is not any more what it was
                self._installed.forget()
            late += [ready.claimed for ready in batch.values()]
        if late:
            claims.give_back(late)

    def _free_places(self, *, wanted: int) -> int:
        """Return how many more may be marked, starting threads as long as more are wanted and allowed.

        As many as there are senders may be marked beyond those being sent, so that none is idle while we write.
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
        return max(0, 2 * len(self._senders) - self._in_flight)

    # --- sending -------------------------------------------------------------------------------------------

    def _send_all(self) -> None:
        """Call providers until told to end. A sender thread touches no database."""
        while (handed := self._started.get()) is not None:
            started, ready = handed
            self._results.put((started, self._send(started, ready)))

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

    # --- finishing -----------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Wait for a result, and write it with those that come soon after."""
        batch = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._results.get(timeout=_RESULT_WAIT))
            is_short = self._in_flight > settings.OUTBOX_SENDERS  # of places for more
            waits_until = time.monotonic() + (_BATCH_WAIT if is_short else _RESULT_WAIT)
            while len(batch) < min(self._in_flight, settings.OUTBOX_SENDERS // 2):
                batch.append(self._results.get(timeout=max(0.0, waits_until - time.monotonic())))
            while len(batch) < 2 * settings.OUTBOX_SENDERS:
                batch.append(self._results.get_nowait())
        if batch:
            self._in_flight -= len(batch)
            self._write(batch)
            self._learn(batch)

    def _learn(self, batch: list[tuple[Started, Result]]) -> None:
        """Tell all workers how installations are: whether they work, and whether they want us to be slower."""
        by_app: defaultdict[int, list[Result]] = defaultdict(list)
        for started, result in batch:
            if started.route.app:
                by_app[started.route.app.pk].append(result)
                self._meters[started.route.app.pk].note()
        circuits.note(by_app)
        for app_id, results in by_app.items():
            if any(result.is_throttled and result.http_status for result in results):
                rate = self._hand.rate_of(app_id) or self._meters[app_id].per_second
                pacing.slow_down(app_id, per_second=rate)
                self._hand.slow_down(app_id, per_second=rate / 2)

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
