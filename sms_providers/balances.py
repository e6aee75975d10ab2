"""What is left at the providers: the last answer of each, and who is asked for the next."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from linkit import clock
from sms_providers import catalogue
from sms_providers.adapters.base import Balance, ProviderRefused
from sms_providers.models import SANDBOX, OrganizationApp
from sms_providers.transport import Budget

logger = logging.getLogger(__name__)

EVERY = timedelta(minutes=20)  # of one app, whether it answers or not
WINDOW = 45.0  # seconds of asking in one round: those that it leaves are the first of the next
_CALL_LIMIT = timedelta(seconds=10)
_GRAIN = Decimal("0.00001")
_TOO_MUCH = Decimal(10) ** 20  # for the column


def keep(app: OrganizationApp, balance: Balance) -> None:
    """Remember what the provider of `app`, as it was read before the question, has just said is left."""
    if abs(balance.amount) >= _TOO_MUCH:
        logger.warning("App %s has a balance that is no balance: %.30s", app.pk, balance.amount)
        return
    unit = (balance.currency or balance.unit)[:32]
    # Unless it has been changed meanwhile: the answer may be of other credentials.
    OrganizationApp.objects.filter(pk=app.pk, uninstalled_at=None, updated_at=app.updated_at).update(
        balance=balance.amount.quantize(_GRAIN), balance_unit=unit, balance_read_at=Now()
    )


def forget(app: OrganizationApp) -> None:
    """Take away what is known of a balance, for the caller to save: the credentials are others now."""
    app.balance, app.balance_unit, app.balance_read_at, app.balance_asked_at = None, "", None, None


def telling() -> list[str]:
    """Return the slugs of the apps whose provider tells what is left. The simulator has nothing to lose."""
    return [slug for slug, adapter in catalogue.adapters().items() if adapter.capabilities.balance and slug != SANDBOX]


def low(apps: QuerySet[OrganizationApp]) -> QuerySet[OrganizationApp]:
    """Return those with less left than their threshold, or with nothing."""
    return apps.filter(slug__in=telling()).filter(Q(balance__lte=0) | Q(balance__lt=F("balance_alert")))


def refresh(stop: threading.Event | None = None, *, window: float = WINDOW) -> Counter[str]:
    """Ask the providers that were not asked lately, and return how many have `answered` and how many have `not`.

    One after the other, each within its limit, the longest unasked first. One that fails is not asked again before
    the others have had their turn. Safe to run twice at once: an app is taken before its provider is asked.
    """
    ends_at, tally = time.monotonic() + window, Counter[str]()
    for app in _due():
        if (stop and stop.is_set()) or time.monotonic() > ends_at:
            break
        taken = OrganizationApp.objects.filter(pk=app.pk, balance_asked_at=app.balance_asked_at)
        if taken.update(balance_asked_at=clock.now()):
            tally["answered" if _ask(app) else "not"] += 1
    return tally


def _due() -> list[OrganizationApp]:
    apps = OrganizationApp.objects.usable().filter(organization__is_active=True, slug__in=telling())
    unasked = Q(balance_asked_at=None) | Q(balance_asked_at__lte=clock.now() - EVERY)
    # Somebody who has tested the connection has asked just now.
    unread = Q(balance_read_at=None) | Q(balance_read_at__lte=clock.now() - EVERY)
    return list(apps.filter(unasked, unread).order_by(F("balance_asked_at").asc(nulls_first=True), "pk"))


def _ask(app: OrganizationApp) -> bool:
    if app.readable_credentials is None:
        logger.warning("App %s is not asked for its balance: no key decrypts its credentials.", app.pk)
        return False
    try:
        balance = catalogue.adapter_for(app).balance(Budget(_CALL_LIMIT))
    except ProviderRefused as refusal:
        logger.info("App %s did not tell its balance: %s", app.pk, refusal.result.reason)
        return False
    keep(app, balance)
    # Its circuit stays as it is: that a provider answers questions does not prove that it takes messages.
    OrganizationApp.objects.filter(pk=app.pk).update(last_sync_at=Now())
    return True
