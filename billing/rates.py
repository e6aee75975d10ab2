"""What one part of an SMS costs in credits: by number, organization and day."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import date
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from billing.models import Rate


class Tariff:
    """The rates of one organization on one day.

    Its own come before those of everybody; among each the longest prefix that fits counts, and of one prefix the
    rate that began last. Where none fits it is `SMS_CREDIT_RATE`.
    """

    def __init__(self, rates: Iterable[Rate]) -> None:
        own: dict[str, Decimal] = {}
        general: dict[str, Decimal] = {}
        for rate in sorted(rates, key=lambda rate: rate.valid_from):
            (general if rate.organization_id is None else own)[rate.prefix] = rate.price
        self._by_prefix = (own, general)

    @property
    def fingerprint(self) -> str:
        """The same for tariffs that price every number alike."""
        prices = [sorted(prices.items()) for prices in self._by_prefix]
        return hashlib.sha256(f"{prices} {settings.SMS_CREDIT_RATE}".encode()).hexdigest()

    def price(self, recipient: str = "") -> Decimal:
        """Return the credits for one part to a number in E.164; without one, to any number."""
        digits = recipient.removeprefix("+")
        for prices in self._by_prefix:
            if prices:
                for length in range(min(len(digits), 8), -1, -1):
                    if (price := prices.get(digits[:length])) is not None:
                        return price
        return settings.SMS_CREDIT_RATE


def tariffs(organization_ids: Collection[UUID], *, today: date) -> dict[UUID, Tariff]:
    """Return the tariff of each of these organizations on a day, which is one in UTC."""
    valid = Rate.objects.filter(Q(valid_until=None) | Q(valid_until__gte=today), valid_from__lte=today)
    rates = list(valid.filter(Q(organization=None) | Q(organization__in=organization_ids)))
    return {
        pk: Tariff(rate for rate in rates if rate.organization_id is None or rate.organization_id == pk)
        for pk in organization_ids
    }
