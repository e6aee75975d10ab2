"""Wake-ups. A task carries no state: losing every one, or running each twice, changes nothing.

So they are acknowledged when they arrive: a late acknowledgement would find the connection gone when Redis goes away
during a drain, and end the worker.
"""

import logging
import threading
import time
from typing import Any

import redis
from celery import shared_task
from celery.signals import worker_shutting_down
from kombu.exceptions import OperationalError

from outbox import looking_up, reaping, retention
from outbox.bulk import work
from outbox.dispatch import Drain
from outbox.health import note_drain

logger = logging.getLogger(__name__)

DRAIN_WINDOW = 25.0  # seconds of claiming; with the last call's limit a task still ends within a minute
# Seconds after which a ring that nobody heard is dropped. Far beyond what the clocks of two machines may differ by:
# Celery writes the moment by the one's clock and reads it by the other's.
RING_EXPIRES = 300
PURGE_WINDOW = 50.0  # seconds; a batch and its rest still end within a minute
_BROKER_PAUSE = 15.0  # seconds without wake-ups after the broker has failed: enqueue must stay fast
_SHORTEST_MOMENT, _LONGEST_MOMENT = 0.05, 0.2  # seconds

_one_drain = threading.Lock()
_one_worker_on_jobs = threading.Lock()
_one_look_up = threading.Lock()
_one_purge = threading.Lock()
_stopping = threading.Event()
_bell = threading.Lock()
_broker = {"next_ring": 0.0, "moment": _SHORTEST_MOMENT, "is_silent": False, "is_owed": False}


@worker_shutting_down.connect
def _stop_claiming(**_: Any) -> None:
    _stopping.set()


@shared_task(expires=RING_EXPIRES)
def drain() -> None:
    """Send what is due. One at a time in a process; another wake-up meanwhile has nothing to add."""
    if not _one_drain.acquire(blocking=False):
        return
    current = Drain(window=DRAIN_WINDOW, stop=_stopping)
    try:
        _show_in_health()
        current.work()
    finally:
        # The others need not wait for our slowest call: the next drain may begin.
        _one_drain.release()
        current.wind_down()
    if current.tally:
        logger.info("Drained: %s", ", ".join(f"{count} {status}" for status, count in sorted(current.tally.items())))


def _show_in_health() -> None:
    try:
        note_drain()
    except redis.RedisError as error:
        logger.warning("This drain is not shown in health: %s", type(error).__name__)


@shared_task(expires=RING_EXPIRES)
def reap() -> None:
    """Settle what nobody finished."""
    reaped = reaping.reap()
    if any(vars(reaped).values()):
        logger.info("Reaped: %s", reaped)


@shared_task(expires=RING_EXPIRES)
def look_up() -> None:
    """Ask providers what became of unknown outcomes. One at a time in a process, which has other things to do."""
    if not _one_look_up.acquire(blocking=False):
        return
    try:
        tally = looking_up.look_up(_stopping)
    finally:
        _one_look_up.release()
    if tally:
        logger.info("Looked up: %s", ", ".join(f"{count} {found}" for found, count in sorted(tally.items())))


@shared_task(expires=RING_EXPIRES)
def purge() -> None:
    """Delete and blank what is old enough. What does not fit into the time is the next task's, which is rung for."""
    if not _one_purge.acquire(blocking=False):
        return
    try:
        purged = retention.purge(_stopping, window=PURGE_WINDOW)
    finally:
        _one_purge.release()
    if purged.messages or purged.logs:
        more = "" if purged.is_done else "; there is more"
        logger.info("Purged: %d messages deleted, %d SMS blanked%s", purged.messages, purged.logs, more)
        if not (purged.is_done or _stopping.is_set()):
            _ring(purge, pause=0)


@shared_task(expires=RING_EXPIRES)
def work_on_jobs() -> None:
    """Read files, cancel and queue again, for bulk jobs. One at a time in a process, which has other things to do."""
    if not _one_worker_on_jobs.acquire(blocking=False):
        return
    try:
        while not _stopping.is_set() and work.do_next(_stopping):
            wake()
    finally:
        _one_worker_on_jobs.release()


def wake() -> None:
    """Ask a worker to drain now. A broker that is down costs nothing: the schedule finds the message.

    A ring costs more than queueing a message. So those who come within a moment of one are rung for together, when it
    is over; and the moment grows while they keep coming.
    """
    _wake(is_late=False)


def _wake(*, is_late: bool) -> None:
    with _bell:
        if is_late:
            _broker["is_owed"] = False
        wait = _broker["next_ring"] - time.monotonic()
        if wait > 0:
            if not (_broker["is_silent"] or _broker["is_owed"]):
                _broker["is_owed"] = True
                late = threading.Timer(min(wait, _LONGEST_MOMENT), _wake, kwargs={"is_late": True})
                late.daemon = True
                late.start()
            return
        is_busy = is_late or _broker["is_owed"]
        _broker["moment"] = min(2 * _broker["moment"], _LONGEST_MOMENT) if is_busy else _SHORTEST_MOMENT
        _broker["next_ring"] = time.monotonic() + _BROKER_PAUSE
    _ring(drain, pause=_broker["moment"])


def wake_for_jobs() -> None:
    """Ask a worker to see now to jobs that need more than their messages sent."""
    with _bell:
        if _broker["is_silent"] and time.monotonic() < _broker["next_ring"]:
            return
        _broker["next_ring"] = time.monotonic() + _BROKER_PAUSE
    _ring(work_on_jobs, pause=0)


def _ring(task: Any, *, pause: float) -> None:
    """Ring, and let nobody else for `pause` seconds.

    Until then nobody may: while one finds out whether a silent broker is back, no other waits for it.
    """
    try:
        task.apply_async(retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        _broker["is_silent"] = True
        logger.warning("No worker was woken, the broker did not answer: %s", type(error).__name__)
    else:
        _broker["is_silent"], _broker["next_ring"] = False, time.monotonic() + pause
