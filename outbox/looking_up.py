"""Ask providers about unknown outcomes, where they can tell, and settle what they say, of queued and direct sends."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

from linkit import clock
from outbox import settling
from sms_providers import looking_up
from sms_providers import settling as direct
from sms_providers.adapters.base import ProviderRefused
from sms_providers.looking_up import Question
from sms_providers.models import OrganizationApp
from sms_providers.results import Result

logger = logging.getLogger(__name__)

WINDOW = 20.0  # seconds of asking in one round


def look_up(stop: threading.Event, *, window: float = WINDOW) -> Counter[str]:
    """Ask about what is due, and return how many were found `accepted`, `rejected`, `unavailable`, or `nothing`.

    An app whose provider does not answer is left alone until the next round. Safe to run twice at once.
    """
    ends_at = time.monotonic() + window
    tally: Counter[str] = Counter()
    apps: dict[int | None, OrganizationApp | None] = {}
    for log in looking_up.due(now=clock.now()):
        if stop.is_set() or time.monotonic() > ends_at:
            break
        if log.app_id not in apps:
            apps[log.app_id] = looking_up.app_of(log)
        if (app := apps[log.app_id]) is None or (question := looking_up.take(log, now=clock.now())) is None:
            continue
        try:
            result = question.ask(app)
        except ProviderRefused as refusal:
            logger.warning("App %s could not be asked what became of a message: %s", app.pk, refusal.result.reason)
            apps[log.app_id] = None
            continue
        tally[result.outcome.value if result and _settle(question, result) else "nothing"] += 1
    return tally


def _settle(question: Question, result: Result) -> bool:
    log, attempt = question.log, question.attempt
    if log.queued_id:
        is_settled = settling.settle_by_answer(log.queued_id, attempt.pk, result)
    else:
        is_settled = direct.settle_by_answer(log.pk, attempt.pk, result)
    if is_settled:
        logger.info("SMS %s, of unknown outcome, was looked up: %s", log.pk, result.outcome)
    return is_settled
