"""What beat rings for."""

import logging
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down

from sms_providers import balances

logger = logging.getLogger(__name__)

RING_EXPIRES = 240  # seconds; a later ring finds the same

_one_refresh = threading.Lock()
_stopping = threading.Event()


@worker_shutting_down.connect
def _stop_asking(**_: Any) -> None:
    _stopping.set()


@shared_task(expires=RING_EXPIRES)
def refresh_balances() -> None:
    """Ask providers what is left. One at a time in a process, which has other things to do."""
    if not _one_refresh.acquire(blocking=False):
        return
    try:
        tally = balances.refresh(_stopping)
    finally:
        _one_refresh.release()
    if tally:
        logger.info("Asked for balances: %d answered, %d did not", tally["answered"], tally["not"])
