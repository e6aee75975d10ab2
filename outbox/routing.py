"""Which app sends a message next: one choice from the organization's apps and what was tried before."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from billing.ledger import Credits
from outbox.models import Message
from sms_providers import catalogue, charging
from sms_providers.models import SANDBOX, Attempt, OrganizationApp
from sms_providers.results import Outcome, Result
from sms_providers.sending import Route

logger = logging.getLogger(__name__)

WAITS_FOR_CREDITS = ("insufficient_credits", "credits_held")  # reasons of a `Wait`

NO_APP_WAIT = timedelta(seconds=30)  # until the installed apps are looked at again
# Until the balance is. A top-up comes first (receivers.send_what_waited), so the pause may grow with the age.
_CREDITS_WAIT_MIN, _CREDITS_WAIT_MAX = timedelta(seconds=30), timedelta(minutes=10)
_HELD_WAIT = timedelta(seconds=1)
_NONE_SHUT: Mapping[int, datetime] = {}


@dataclass(frozen=True)
class Wait:
    """Nobody can send it now; look again at `until`."""

    until: datetime
    reason: str
    message: str


@dataclass(frozen=True)
class GiveUp:
    """Nobody can send it: every app that may has refused."""

    reason: str
    message: str


def choose(
    message: Message,
    *,
    apps: Sequence[OrganizationApp],
    tries: Sequence[Attempt],
    now: datetime,
    credits: Credits = Credits.AVAILABLE,
    shut: Mapping[int, datetime] = _NONE_SHUT,
) -> Route | Wait | GiveUp:
    """Return who sends `message` next. `apps` are the organization's installed ones, `tries` all former attempts.

    An app that refused for a fault of its account is out; one that was unavailable comes back at its `retry_at`,
    and until then the next by priority is tried. So it is with one whose circuit is open, until when `shut` says.
    Without credits, one that costs them is skipped.
    """
    tries = _since_requeued(message, tries)
    left = [
        (app, max(free_at, shut.get(app.pk, free_at)) if app else free_at)
        for app, free_at in _left(message, apps, tries, now)
    ]
    if not left:
        refusals = [attempt for attempt in tries if attempt.outcome == Outcome.REJECTED]
        if refusals:
            return GiveUp(refusals[-1].reason, refusals[-1].message)
        return Wait(now + NO_APP_WAIT, "no_app", "No app that may send this is installed and enabled; it waits.")
    if credits is not Credits.AVAILABLE:
        free = [(app, free_at) for app, free_at in left if not _is_charged(message, app)]
        if not free:
            if credits is Credits.HELD:
                # Rows of a job are not claimed at all meanwhile; one that was in hand already comes back with them.
                until = now + (_HELD_WAIT if message.job_id else _credits_wait(message, now))
                return Wait(until, "credits_held", "Messages under way hold all credits that are left; it waits.")
            return Wait(
                now + _credits_wait(message, now), "insufficient_credits", "It costs credits, and there are none left."
            )
        left = free
    for app, free_at in left:
        if free_at <= now and (route := _route(app)):
            return route
    later = [free_at for _, free_at in left if free_at > now]
    if not later:
        return Wait(now + NO_APP_WAIT, "no_app", "No installed app could be used; our log says why. It waits.")
    if not tries or any(app and app.pk in shut for app, free_at in left if free_at == min(later)):
        return Wait(min(later), "circuit_open", "Its app has failed again and again; it waits for the next look at it.")
    return Wait(min(later), tries[-1].reason, tries[-1].message)


def next_try_at(
    message: Message, *, apps: Sequence[OrganizationApp], tries: Sequence[Attempt], now: datetime
) -> datetime | None:
    """Return when `message` may be tried next, after the last of `tries`; None when nobody is left to try."""
    left = _left(message, apps, _since_requeued(message, tries), now)
    return min((free_at for _, free_at in left), default=None)


def _since_requeued(message: Message, tries: Sequence[Attempt]) -> Sequence[Attempt]:
    """Return the tries that count: those before somebody queued the message again decide nothing any more."""
    since = message.requeued_at
    return tries if since is None else [attempt for attempt in tries if attempt.started_at >= since]


def usable(apps: Sequence[OrganizationApp]) -> list[OrganizationApp]:
    """Return the apps that may send a message that names none, first choice first.

    Never the simulator: a real message must not end `sent` in it because of what happens to be installed now.
    """
    real = [app for app in apps if app.slug != SANDBOX and _is_usable(app)]
    return sorted(real, key=lambda app: (app.priority, app.installed_at, app.pk))


def retry_at(result: Result, *, tries_before: int, now: datetime) -> datetime | None:
    """Return when the same app may be tried again after `result`; None unless it was unavailable.

    The provider's own `Retry-After`, else doubling from the shortest to the longest back-off; both with jitter, so
    that messages that failed together do not come back together.
    """
    if result.outcome != Outcome.UNAVAILABLE:
        return None
    if result.retry_after is not None:
        return now + result.retry_after * random.uniform(1.0, 1.1) + timedelta(milliseconds=random.randint(0, 500))
    shortest, longest = settings.OUTBOX_BACKOFF_MIN, settings.OUTBOX_BACKOFF_MAX
    delay = min(shortest * 2 ** min(tries_before, 16), longest)
    return now + delay * random.uniform(0.75, 1.25)


def _route(app: OrganizationApp | None) -> Route | None:
    """Return the route through an app, or None when its credentials cannot be read: others may still send."""
    try:
        return Route(app, catalogue.adapter_for(app) if app else catalogue.sandbox())
    except ImproperlyConfigured as error:
        logger.error("App %s cannot be used: %s", app.pk if app else "", error)
        return None


def _credits_wait(message: Message, now: datetime) -> timedelta:
    """Return how long a message waits that nobody can pay: half its age, so that many of them cost ever less."""
    age = now - (message.scheduled_at or message.created_at)
    return max(_CREDITS_WAIT_MIN, min(age / 2, _CREDITS_WAIT_MAX)) * random.uniform(0.75, 1.25)


def _is_charged(message: Message, app: OrganizationApp | None) -> bool:
    return charging.is_charged(is_test=message.is_test, source=message.source, app=app)


def _is_usable(app: OrganizationApp) -> bool:
    # A site may have taken an app out of its catalogue that somebody has installed.
    return app.is_usable and app.slug in catalogue.adapters()


def _left(
    message: Message, apps: Sequence[OrganizationApp], tries: Sequence[Attempt], now: datetime
) -> list[tuple[OrganizationApp | None, datetime]]:
    """Return who may still send it, first choice first, and from when. None stands for the simulator of a test key.

    An app that has refused it is out, unless the refusal says when to come back: then a job was paused for it.
    """
    if message.is_test:
        candidates: list[OrganizationApp | None] = [None]
    elif message.pinned_app_id is not None:
        candidates = [app for app in apps if app.pk == message.pinned_app_id and _is_usable(app)]
    else:
        candidates = [*usable(apps)]
    latest = {attempt.app_id: attempt for attempt in tries}
    left = []
    for app in candidates:
        attempt = latest.get(app.pk if app else None)
        if attempt is None or attempt.outcome != Outcome.REJECTED or attempt.retry_at:
            left.append((app, (attempt and attempt.retry_at) or now))
    return left
