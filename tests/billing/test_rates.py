"""Rates: which one counts for a number on a day."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError

from billing.models import Rate
from billing.rates import tariffs
from linkit.models import Organization

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 26)


def rate(organization: Organization | None, prefix: str, price: str, **fields) -> Rate:
    made = Rate(organization=organization, prefix=prefix, price=Decimal(price), **{"valid_from": TODAY, **fields})
    made.full_clean()
    made.save()
    return made


def price(organization: Organization, recipient: str = "+966501234567", *, today: date = TODAY) -> Decimal:
    return tariffs([organization.pk], today=today)[organization.pk].price(recipient)


def test_without_a_rate_the_default_counts(organization: Organization, settings):
    assert price(organization) == Decimal("1.887")
    settings.SMS_CREDIT_RATE = Decimal("0.5")
    assert price(organization) == Decimal("0.5")


def test_the_longest_prefix_counts(organization: Organization):
    for prefix, amount in [("", "9"), ("966", "3"), ("9665", "2"), ("96650", "1"), ("971", "7")]:
        rate(None, prefix, amount)
    assert price(organization, "+966501234567") == 1
    assert price(organization, "+966541234567") == 2
    assert price(organization, "+966112345678") == 3
    assert price(organization, "+971501234567") == 7
    assert price(organization, "+14155550123") == 9


def test_an_organizations_own_rate_comes_first(organization: Organization, other_organization: Organization):
    rate(None, "96650", "1")
    rate(organization, "966", "4")
    assert price(organization) == 4
    assert price(organization, "+971501234567") == Decimal("1.887")
    assert price(other_organization) == 1


def test_a_rate_counts_on_its_days(organization: Organization):
    rate(None, "966", "1", valid_from=date(2026, 1, 1))
    rate(None, "966", "2", valid_from=date(2026, 11, 26), valid_until=date(2026, 11, 27))
    assert price(organization, today=date(2025, 12, 31)) == Decimal("1.887")
    assert price(organization, today=date(2026, 11, 25)) == 1
    assert price(organization, today=date(2026, 11, 26)) == 2
    assert price(organization, today=date(2026, 11, 27)) == 2
    assert price(organization, today=date(2026, 11, 28)) == 1


def test_a_free_number_costs_nothing(organization: Organization):
    rate(organization, "966", "0")
    assert price(organization) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"prefix": "+966"},
        {"prefix": "0966"},
        {"prefix": "966501234"},
        {"prefix": "٩٦٦"},
        {"price": Decimal(-1)},
        {"price": Decimal("1.00001")},
        {"price": Decimal("1E+12")},
        {"valid_until": date(2026, 11, 25)},
    ],
)
def test_a_rate_that_cannot_be_meant_is_refused(fields: dict):
    made = Rate(**{"prefix": "966", "price": Decimal(1), "valid_from": TODAY, **fields})
    with pytest.raises(ValidationError):
        made.full_clean()


def test_one_prefix_has_one_rate_a_day(organization: Organization):
    rate(None, "966", "1")
    rate(organization, "966", "1")
    for whose in (None, organization):
        with pytest.raises(ValidationError):
            rate(whose, "966", "2")
