"""The drain: one loop that claims ahead, threads that call providers, results written in batches.

The loop's thread alone talks to the database; the sender threads only call providers. So a slow provider holds a
lease and a thread, never a transaction, and no batch waits for its slowest message.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connection

from linkit import clock, faults
from outbox import claims, routing
from outbox.claims import Claimed, Installed, Started
from outbox.hand import NO_PERMITS_PAUSE, Hand, Ready
from outbox.senders import Senders
from outbox.turns import Turns, key_of
from sms_providers import circuits, pacing
from sms_providers.results import Result
from sms_providers.sending import Route

logger = logging.getLogger(__name__)

_IDLE_CLAIM_PAUSE = 0.05  # seconds between looks into an empty queue while calls are in flight
_BATCH_WAIT = 0.015  # seconds after the first result in which others join it: a transaction each would be slower
_PACED_BATCH_WAIT = 0.1  # seconds, likewise, while no place is needed: all that is in hand waits for permits
_FINE = 0.25  # seconds that an installation is taken to be as it was, unless a result speaks against it
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
        self._senders = Senders()
        self._is_paced = False
        self._fine_until: dict[int, float] = {}  # by installation: neither slowed down nor left alone
        self._next_claim = 0.0
        self._failing_since: float | None = None  # of the write under way

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
            if self._senders.in_flight or self._hand:
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
        self._senders.begin_no_more(after=_LAST_STARTS)
        try:
            if self._hand:
                returned = self._hand.clear()
                claims.give_back(returned)
                self.tally["returned"] += len(returned)
        finally:
            while self._senders.in_flight:
                self._collect()
            self._senders.end()

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
        moment = time.monotonic()
        unsure = {app_id for app_id in apps if self._fine_until.get(app_id, 0.0) <= moment}
        lowered, left_alone, shut, half_open = pacing.lowered(unsure), circuits.look(unsure), {}, set()
        self._fine_until.update(dict.fromkeys(unsure - lowered.keys() - left_alone.keys(), moment + _FINE))
        for app_id, seconds in left_alone.items():
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
        places = self._senders.free_places(wanted=len(self._hand))
        taken = list(self._hand.take(places))
        self._is_paced = len(self._hand) > 0 and len(taken) < places  # what is left waits for permits
        for ready in taken:
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
                self._senders.send(started, batch.pop(started.claimed.message.pk))
            if batch:  # perhaps since their app is not any more what it was
                self._installed.forget()
            late += [ready.claimed for ready in batch.values()]
        if late:
            claims.give_back(late)

    # --- finishing -----------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Wait for a result, and write it with those that come soon after."""
        batch = self._senders.results(more_within=_PACED_BATCH_WAIT if self._is_paced else _BATCH_WAIT)
        if batch:
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
            if not all(circuits.works(result) for result in results):
                self._fine_until.pop(app_id, None)
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
