"""The ledger: what moves a balance, what does not, and that it always adds up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Sum
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import ledger
from billing.ledger import Wanted
from billing.models import CreditAccount, CreditTransaction, Hold, Kind
from linkit.errors import Conflict, InvalidInput
from linkit.models import Organization
from tests import factories

RATE = Decimal("1.887")
pytestmark = pytest.mark.django_db


def account_of(organization: Organization) -> CreditAccount:
    return CreditAccount.objects.get(pk=organization.pk)


def hold(organization: Organization, *amounts: Decimal | str) -> list[UUID]:
    """Hold these amounts and return the references that were granted, in order."""
    wanted = [Wanted(uuid4(), Decimal(amount)) for amount in amounts]
    with transaction.atomic():
        granted = ledger.hold(organization.pk, wanted)
    return [each.reference for each in wanted if each.reference in granted]


def assert_adds_up(organization: Organization) -> None:
    assert ledger.faults(account_of(organization)) == []


def test_a_first_top_up_opens_the_account(organization: Organization):
    first = ledger.top_up(organization=organization, amount=Decimal(10), description=" Invoice 7 ")
    second = ledger.top_up(organization=organization, amount=Decimal("0.0001"))
    assert (first.kind, first.balance_after, first.description) == (Kind.INITIAL, Decimal(10), "Invoice 7")
    assert (second.kind, second.balance_after) == (Kind.CREDIT_ADD, Decimal("10.0001"))
    assert_adds_up(organization)


def test_what_is_held_is_charged_once(organization: Organization):
    factories.top_up(organization, "10")
    (reference,) = hold(organization, RATE)
    assert account_of(organization).available == Decimal("8.113")
    assert account_of(organization).balance == Decimal(10)

    assert ledger.capture(organization.pk, [reference]) == {reference}
    assert ledger.capture(organization.pk, [reference]) == set()
    account = account_of(organization)
    assert (account.balance, account.held) == (Decimal("8.113"), Decimal(0))
    charge = CreditTransaction.objects.get(kind=Kind.SMS_CHARGE)
    assert (charge.reference, charge.amount, charge.balance_after) == (reference, -RATE, Decimal("8.113"))
    assert_adds_up(organization)


def test_what_is_given_back_is_never_charged(organization: Organization):
    factories.top_up(organization, "10")
    (reference,) = hold(organization, RATE)
    assert ledger.release(organization.pk, [reference]) == 1
    assert ledger.release(organization.pk, [reference]) == 0
    assert ledger.capture(organization.pk, [reference]) == set()
    assert account_of(organization).available == Decimal(10)
    assert_adds_up(organization)


def test_a_batch_is_granted_as_long_as_anything_is_there(organization: Organization):
    """The last one may take more than there was, so the account ends below zero by less than one message."""
    factories.top_up(organization, "4")
    granted = hold(organization, RATE, RATE, RATE, RATE)
    assert len(granted) == 3
    assert account_of(organization).available == Decimal("4") - 3 * RATE
    assert hold(organization, "0.0001") == []
    assert ledger.capture(organization.pk, granted) == set(granted)
    balances = list(CreditTransaction.objects.order_by("pk").values_list("balance_after", flat=True))
    assert balances == [Decimal(4), Decimal("2.113"), Decimal("0.226"), Decimal("-1.661")]
    assert_adds_up(organization)


def test_amounts_are_exact(organization: Organization):
    factories.top_up(organization, "5.661")
    references = hold(organization, RATE, RATE, RATE)
    ledger.capture(organization.pk, references)
    assert account_of(organization).balance == 0
    assert CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).aggregate(total=Sum("amount"))["total"] == Decimal(
        "-5.661"
    )


def test_an_account_that_is_not_there_has_nothing(organization: Organization):
    assert hold(organization, "1") == []
    assert ledger.capture(organization.pk, [uuid4()]) == set()
    assert ledger.release(organization.pk, [uuid4()]) == 0
    assert ledger.balance_of(organization).available == 0


def test_another_accounts_hold_is_out_of_reach(organization: Organization, other_organization: Organization):
    factories.top_up(organization, "10")
    factories.top_up(other_organization, "10")
    (reference,) = hold(organization, RATE)
    assert ledger.capture(other_organization.pk, [reference]) == set()
    assert ledger.release(other_organization.pk, [reference]) == 0
    assert account_of(organization).held == RATE


@pytest.mark.parametrize("amount", ["0", "-1", "-0.0001", "100000000.0001", "1E+30", "NaN", "Infinity", "0.00001"])
def test_a_top_up_that_cannot_be_meant_moves_nothing(organization: Organization, amount: str):
    with pytest.raises(InvalidInput) as refusal:
        ledger.top_up(organization=organization, amount=Decimal(amount))
    assert "amount" in refusal.value.fields
    assert not CreditTransaction.objects.exists()


def test_a_balance_cannot_grow_past_its_column(organization: Organization):
    for _ in range(10):
        factories.top_up(organization, "100000000")
    with pytest.raises(InvalidInput):
        factories.top_up(organization, "1")
    assert account_of(organization).balance == 10**9


def test_an_adjustment_needs_a_reason(organization: Organization):
    factories.top_up(organization, "10")
    with pytest.raises(InvalidInput):
        ledger.adjust(organization=organization, amount=Decimal(-1), description=" ")
    with pytest.raises(InvalidInput):
        ledger.adjust(organization=organization, amount=Decimal(0), description="nothing")
    entry = ledger.adjust(organization=organization, amount=Decimal(-12), description="Refund of invoice 7")
    assert (entry.kind, entry.balance_after) == (Kind.ADJUSTMENT, Decimal(-2))
    assert_adds_up(organization)


def test_a_repeated_top_up_adds_nothing(organization: Organization, other_organization: Organization):
    reference = uuid4()
    first = ledger.top_up(organization=organization, amount=Decimal(10), reference=reference)
    assert ledger.top_up(organization=organization, amount=Decimal(10), reference=reference) == first
    with pytest.raises(Conflict):
        ledger.top_up(organization=organization, amount=Decimal(11), reference=reference)
    with pytest.raises(Conflict):
        ledger.top_up(organization=other_organization, amount=Decimal(10), reference=reference)
    assert account_of(organization).balance == 10


def test_a_hold_that_was_forgotten_is_given_back(organization: Organization, settings):
    factories.top_up(organization, "10")
    old, new = hold(organization, RATE), hold(organization, RATE)
    Hold.objects.filter(pk__in=old).update(created_at=Now() - settings.CREDIT_HOLD_LIFETIME - timedelta(seconds=1))
    assert ledger.release_expired() == 1
    assert ledger.release_expired() == 0
    assert set(Hold.objects.values_list("pk", flat=True)) == set(new)
    assert ledger.capture(organization.pk, old) == set(), "a late answer finds it gone"
    assert account_of(organization).balance == 10
    assert_adds_up(organization)


def test_a_message_is_charged_once_even_if_it_is_held_again(organization: Organization):
    factories.top_up(organization, "10")
    (reference,) = hold(organization, RATE)
    ledger.capture(organization.pk, [reference])
    with transaction.atomic():
        ledger.hold(organization.pk, [Wanted(reference, RATE)])
    with pytest.raises(IntegrityError), transaction.atomic():
        ledger.capture(organization.pk, [reference])


@pytest.mark.postgres
@pytest.mark.parametrize(
    "change", ["UPDATE billing_credittransaction SET amount = 0", "DELETE FROM billing_credittransaction"]
)
def test_the_database_refuses_to_change_the_ledger(organization: Organization, change: str):
    factories.top_up(organization, "10")
    with connection.cursor() as cursor, pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        cursor.execute(change)
    assert CreditTransaction.objects.get().amount == 10


# --- any interleaving -----------------------------------------------------------------------------------------

_AMOUNTS = st.decimals(min_value=Decimal("0.0001"), max_value=Decimal(50), places=4)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("top_up"), _AMOUNTS),
        st.tuples(st.just("adjust"), _AMOUNTS.map(lambda amount: -amount) | _AMOUNTS),
        st.tuples(st.just("hold"), st.lists(_AMOUNTS, min_size=1, max_size=4)),
        st.tuples(st.just("capture"), st.integers(0, 12)),
        st.tuples(st.just("release"), st.integers(0, 12)),
        st.tuples(st.just("capture_all"), st.none()),
    ),
    max_size=25,
)
_names = itertools.count(1)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=_STEPS)
def test_whatever_happens_it_adds_up(db: None, steps: list):
    """Against a model of plain numbers: balance is the sum of the ledger, holds never fall below zero."""
    organization = factories.make_organization(f"Model {next(_names)}")
    ledger.open_account(organization)
    balance, everything = Decimal(0), []
    held: dict[UUID, Decimal] = {}
    for step, value in steps:
        if step == "top_up":
            ledger.top_up(organization=organization, amount=value)
            balance += value
        elif step == "adjust":
            ledger.adjust(organization=organization, amount=value, description="model")
            balance += value
        elif step == "hold":
            before = balance - sum(held.values())
            granted = hold(organization, *value)
            expected = []
            for amount in value:
                if before <= 0:
                    break
                expected.append(amount)
                before -= amount
            assert len(granted) == len(expected)
            held.update(zip(granted, expected, strict=True))
            everything += granted
        elif step == "capture_all":
            assert ledger.capture(organization.pk, everything) == set(held)
            balance -= sum(held.values())
            held = {}
        elif everything:  # of any hold there ever was: most are gone by now
            reference = everything[value % len(everything)]
            amount = held.pop(reference, None)
            if step == "capture":
                assert ledger.capture(organization.pk, [reference]) == (set() if amount is None else {reference})
                balance -= amount or 0
            else:
                assert ledger.release(organization.pk, [reference]) == (amount is not None)
        account = account_of(organization)
        assert (account.balance, account.held) == (balance, sum(held.values(), Decimal(0)))
        assert account.held >= 0
        assert_adds_up(organization)
        last = account.transactions.first()
        assert last is None or last.balance_after == balance


# --- races ----------------------------------------------------------------------------------------------------


@pytest.fixture
def racers() -> Callable[[Callable[[int], Any], int], list[Any]]:
    """Run a function in many threads at once and return what each returned."""

    def run(function, count: int) -> list:
        barrier, results = threading.Barrier(count), []

        def one(number: int) -> None:
            try:
                barrier.wait()
                results.append(function(number))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == count
        return results

    return run


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_fifty_at_once_are_granted_ten(organization: Organization, racers):
    factories.top_up(organization, 10 * RATE)
    granted = [references for references in racers(lambda _: hold(organization, RATE), 50) if references]
    assert len(granted) == 10
    assert account_of(organization).available == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_one_hold_is_taken_by_one(organization: Organization, racers):
    """Captures, releases and the sweep of old holds all at once: exactly one of them has it."""
    factories.top_up(organization, "100")
    references = hold(organization, *[RATE] * 10)
    Hold.objects.update(created_at=Now() - timedelta(days=30))

    def settle(number: int) -> int:
        if number % 3 == 0:
            return len(ledger.capture(organization.pk, references))
        return ledger.release(organization.pk, references) if number % 3 == 1 else ledger.release_expired()

    assert sum(racers(settle, 12)) == 10
    account = account_of(organization)
    assert account.held == 0
    assert account.balance == 100 - RATE * CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).count()
    assert_adds_up(organization)


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_everything_at_once_adds_up(organization: Organization, other_organization: Organization, racers):
    for each in (organization, other_organization):
        factories.top_up(each, "50")

    def work(number: int) -> None:
        whose = (organization, other_organization)[number % 2]
        for turn in range(8):
            references = hold(whose, RATE, RATE)
            if turn % 3 == 0:
                ledger.top_up(organization=whose, amount=Decimal("0.5"))
            (ledger.capture if (turn + number) % 4 else ledger.release)(whose.pk, references)

    racers(work, 8)
    for each in (organization, other_organization):
        assert_adds_up(each)
        assert account_of(each).held == 0
        assert account_of(each).balance > -RATE
