"""Whether a direct send may call its provider now: the circuit is closed, and there is a permit of its rate."""

from __future__ import annotations

import time
from datetime import timedelta

import redis

from sms_providers import catalogue, circuits, pacing
from sms_providers.models import OrganizationApp
from sms_providers.results import Fault, Result, rejected, unavailable


def wait(app: OrganizationApp | None) -> Result | None:
    """Wait for the permit of one message, for a moment at most. Returns why it may not be sent now, or None."""
    if app is None:
        return None
    name = catalogue.app_name(app.slug)
    seconds = circuits.look([app.pk]).get(app.pk)
    if seconds or (seconds == 0 and not circuits.may_try(app.pk)):
        said = f"{name} has failed again and again, and is left alone for a while. Nothing was sent."
        wait_for = timedelta(seconds=seconds or 1)
        return unavailable(Fault.PROVIDER_DOWN, said, reason="circuit_open", retry_after=wait_for)
    rate = pacing.rate_of(app.max_per_second, pacing.lowered([app.pk]).get(app.pk))
    if rate is None:
        return None
    try:
        permits = pacing.reserve(app.pk, per_second=rate, count=1, ahead=pacing.PATIENCE)
    except redis.RedisError:
        permits = pacing.Permits([], pacing.PATIENCE)
    if not permits.moments:
        said = f"{name} takes {rate:g} messages a second, and so many are waiting already. Nothing was sent."
        return rejected(Fault.THROTTLED, said, reason="app_rate_reached", retry_after=timedelta(seconds=permits.wait))
    time.sleep(max(0.0, permits.moments[0] - time.monotonic()))
    return None


def learn(app: OrganizationApp | None, result: Result) -> None:
    """Tell everybody what a call has shown about its installation."""
    if app is None:
        return
    circuits.note({app.pk: [result]})
    rate = pacing.rate_of(app.max_per_second, pacing.lowered([app.pk]).get(app.pk)) if result.is_throttled else None
    if rate is not None:
        pacing.slow_down(app.pk, per_second=rate)
