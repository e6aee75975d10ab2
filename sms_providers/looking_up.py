"""Unknown outcomes that a provider can be asked about, by our own reference: which are due, and the question."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q, QuerySet

from sms_providers import catalogue, sending, settling
from sms_providers.adapters.base import Sms
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Outcome, Result
from sms_providers.transport import Budget

# When a provider is asked, counted from when the outcome became unknown: its log may lag behind.
PAUSES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=12),
)
KEPT = timedelta(hours=48)  # as long as Infobip keeps its log; of the others nobody says
APART = timedelta(minutes=1)  # between two questions about one message, also when a look-up came late
MOST = 50  # questions to one app in one round: Infobip takes 120 a minute
_CALL_LIMIT = timedelta(seconds=10)


@dataclass(frozen=True)
class Question:
    """One unknown outcome, taken by us alone until the next is due: the attempt, and the SMS as it was sent."""

    log: SmsLog
    attempt: Attempt
    sms: Sms

    def ask(self, app: OrganizationApp) -> Result | None:
        """Ask the provider, which takes a while: outside of a transaction. Raises `ProviderRefused`.

        None: it cannot tell, or not yet.
        """
        result = catalogue.adapter_for(app).look_up(self.sms, Budget(_CALL_LIMIT))
        return None if result is None or result.outcome == Outcome.UNKNOWN else settling.in_words(result)


def due(*, now: datetime) -> list[SmsLog]:
    """Return the unknown outcomes to ask about now: some of each app in turn, the oldest first."""
    waiting = _waiting(now)
    of_apps = [
        list(waiting.filter(app=app_id).order_by("updated_at")[:MOST])
        for app_id in waiting.order_by().values_list("app", flat=True).distinct()
    ]
    return [log for turn in itertools.zip_longest(*of_apps) for log in turn if log is not None]


def app_of(log: SmsLog) -> OrganizationApp | None:
    """Return the installed app that has sent it; None when it is gone, or its credentials cannot be read."""
    try:
        app = OrganizationApp.objects.filter(pk=log.app_id or 0, uninstalled_at=None).first()
    except ImproperlyConfigured:
        return None
    return app if app is not None and app.slug in _able() else None


def take(log: SmsLog, *, now: datetime) -> Question | None:
    """Take one of `due` in hand, so that nobody else asks about it now. None: somebody has, or it is settled."""
    passed = sum(1 for pause in PAUSES if log.updated_at <= now - pause)
    open_still = SmsLog.objects.filter(pk=log.pk, status=Status.DISPATCH_TIMEOUT, look_up_count=log.look_up_count)
    if not open_still.update(look_up_count=passed, looked_up_at=now):
        return None
    attempts = list(log.attempts.order_by("pk"))
    if not attempts or attempts[-1].outcome != Outcome.UNKNOWN:
        return None
    of_app = [attempt for attempt in attempts if attempt.app_id == log.app_id]
    return Question(log, attempts[-1], sending.sms_for(log, times_refused=sending.times_refused(of_app)))


def _waiting(now: datetime) -> QuerySet[SmsLog]:
    is_due = Q()
    for count, pause in enumerate(PAUSES):
        is_due |= Q(look_up_count=count, updated_at__lte=now - pause)
    unknown = SmsLog.objects.filter(status=Status.DISPATCH_TIMEOUT, provider_slug__in=_able())
    fresh = unknown.filter(updated_at__gt=now - KEPT, app__isnull=False)
    return fresh.filter(is_due, Q(looked_up_at=None) | Q(looked_up_at__lte=now - APART))


def _able() -> list[str]:
    """Return the slugs of the apps that can be asked."""
    return [slug for slug, adapter in catalogue.adapters().items() if adapter.capabilities.look_up]
