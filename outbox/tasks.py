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

from outbox import reaping
from outbox.bulk import work
from outbox.dispatch import Drain
from outbox.health import note_drain

logger = logging.getLogger(__name__)

DRAIN_WINDOW = 25.0  # seconds of claiming; with the last call's limit a task still ends within a minute
# Seconds after which a ring that nobody heard is dropped. Far beyond what the clocks of two machines may differ by:
# Celery writes the moment by the one's clock and reads it by the other's.
RING_EXPIRES = 300
_BROKER_PAUSE = 15.0  # seconds without wake-ups after the broker has failed: enqueue must stay fast

_one_drain = threading.Lock()
_one_worker_on_jobs = threading.Lock()
_stopping = threading.Event()
_broker = {"next_ring": 0.0}


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
    """Ask a worker to drain now. A broker that is down costs nothing: the schedule finds the message."""
    _ring(drain)


def wake_for_jobs() -> None:
    """Ask a worker to see now to jobs that need more than their messages sent."""
    _ring(work_on_jobs)


def _ring(task: Any) -> None:
    if time.monotonic() < _broker["next_ring"]:
        return
    # Set before the try: while one caller finds out whether a silent broker is back, no other waits for it.
    _broker["next_ring"] = time.monotonic() + _BROKER_PAUSE
    try:
        task.apply_async(retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        logger.warning("No worker was woken, the broker did not answer: %s", type(error).__name__)
    else:
        _broker["next_ring"] = 0.0
