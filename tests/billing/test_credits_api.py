"""Credits over HTTP: exact figures, and the ledger between two dates."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from billing import ledger
from billing.ledger import Wanted
from billing.models import CreditTransaction
from linkit.models import Organization, User
from tests import factories
from tests.conftest import Api

BALANCE, TRANSACTIONS = "/api/credits/balance", "/api/credits/transactions"


def test_an_organization_without_an_account_has_nothing(api: Api):
    assert api.get(BALANCE).json() == {"balance": 0, "held": 0, "available": 0}
    assert api.get(TRANSACTIONS).json()["data"] == []


def test_amounts_are_json_numbers_to_the_last_digit(api: Api, organization: Organization):
    factories.top_up(organization, "99999999.9999")
    ledger.hold(organization.pk, [Wanted(uuid4(), Decimal("1.887") * 3)])
    response = api.get(BALANCE)
    assert response.json() == {"balance": 99999999.9999, "held": 5.661, "available": 99999994.3389}
    assert b'"held":5.661,' in response.content


def test_the_ledger_is_told_newest_first(api: Api, organization: Organization):
    person = factories.make_user(organization)
    ledger.top_up(organization=organization, amount=Decimal(10), description="Invoice 7", created_by=person)
    reference, program = uuid4(), uuid4()
    ledger.hold(organization.pk, [Wanted(reference, Decimal("5.661"), program, "SMS, 3 parts")])
    ledger.capture(organization.pk, [reference])
    body = api.get(TRANSACTIONS).json()
    assert body["meta"]["total"] == 2
    charge, opening = body["data"]
    assert charge.pop("createdAt").endswith("Z")
    assert charge == {
        "id": str(reference),
        "organizationId": str(organization.pk),
        "type": "sms_charge",
        "amount": -5.661,
        "balanceAfter": 4.339,
        "callId": None,
        "smsProgramId": str(program),
        "description": "SMS, 3 parts",
        "createdBy": None,
    }
    assert (opening["type"], opening["amount"], opening["createdBy"]) == ("initial", 10, str(person.pk))


@pytest.fixture
def three_days(organization: Organization) -> None:
    """One entry on each of three days, at half past eleven in the evening by UTC: the next day in Riyadh."""
    account = ledger.open_account(organization)
    for day in (1, 2, 3):
        CreditTransaction.objects.create(
            account=account,
            kind="adjustment",
            amount=day,
            balance_after=0,
            created_at=datetime(2026, 11, day, 23, 30, tzinfo=UTC),
        )


@pytest.mark.parametrize(
    ("query", "amounts"),
    [
        ({}, [3, 2, 1]),
        ({"startDate": "2026-11-03"}, [3, 2]),
        ({"endDate": "2026-11-03"}, [2, 1]),
        ({"startDate": "2026-11-03", "endDate": "2026-11-03"}, [2]),
        ({"startDate": "2026-11-02T23:30:00Z"}, [3, 2]),
        ({"endDate": "2026-11-03T02:30:00+03:00"}, [1]),
        ({"startDate": "2026-11-04T02:30:00"}, [3]),
        ({"startDate": "", "endDate": ""}, [3, 2, 1]),
        ({"startDate": "2026-12-01", "endDate": "2026-11-01"}, []),
    ],
)
@pytest.mark.usefixtures("three_days")
def test_days_are_the_organizations(api: Api, query: dict, amounts: list):
    assert [row["amount"] for row in api.get(TRANSACTIONS, query).json()["data"]] == amounts


@pytest.mark.parametrize(
    "query",
    [
        {"startDate": "2026-02-30"},
        {"startDate": "yesterday"},
        {"endDate": "2026-13-01"},
        {"endDate": "9999-12-31"},
        {"endDate": "0001-01-01T00:00:00+23:59"},
        {"startDate": "1" * 5000},
        {"page": "0"},
        {"limit": "x"},
    ],
)
def test_a_date_that_does_not_exist_is_refused(api: Api, query: dict):
    response = api.get(TRANSACTIONS, query)
    assert response.status_code == 400
    body = response.json()
    assert (body["statusCode"], body["error"], body["path"]) == (400, "BadRequestException", TRANSACTIONS)
    assert set(body["fieldErrors"]) == set(query)


@pytest.mark.usefixtures("three_days")
def test_pages(api: Api):
    body = api.get(TRANSACTIONS, {"limit": 2, "page": 2}).json()
    assert [row["amount"] for row in body["data"]] == [1]
    assert body["meta"] == {
        "page": 2, "limit": 2, "total": 3, "totalPages": 2, "hasNextPage": False, "hasPreviousPage": True,
    }  # fmt: skip


@pytest.mark.usefixtures("three_days")
def test_a_stranger_sees_nothing(anonymous: Api, other_organization: Organization, user: User):
    stranger = anonymous.using(factories.make_api_key(other_organization))
    assert stranger.get(TRANSACTIONS).json()["data"] == []
    assert stranger.get(BALANCE).json()["balance"] == 0
    assert anonymous.get(BALANCE).status_code == 401
    assert stranger.post(TRANSACTIONS, {"amount": 5}).status_code == 405
