"""Top-ups and audits from the command line."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from billing import ledger
from billing.ledger import Wanted
from billing.models import CreditAccount, CreditTransaction
from linkit.models import Organization
from tests import factories

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def test_a_top_up_says_what_there_is_now(organization: Organization):
    said = run("topup_credits", "--organization", "acme", "--amount", "500.5", "--description", "Invoice 7")
    assert said.startswith("500.5 credits for Acme: 500.5000 now")
    assert CreditTransaction.objects.get().description == "Invoice 7"


@pytest.mark.parametrize("amount", ["-5", "0", "ten", "", "1e99", "nan", "0.00001", "١٠x"])
def test_a_top_up_that_cannot_be_meant_is_refused(organization: Organization, amount: str):
    with pytest.raises(CommandError):
        run("topup_credits", "--organization", "Acme", f"--amount={amount}")
    assert not CreditTransaction.objects.exists()


def test_a_top_up_of_nobody_is_refused(organization: Organization):
    with pytest.raises(CommandError, match="no organization"):
        run("topup_credits", "--organization", "Nobody", "--amount", "5")


def test_a_top_up_with_a_reference_is_made_once(organization: Organization):
    reference = str(uuid4())
    for _ in range(2):
        run("topup_credits", "--organization", "Acme", "--amount", "5", "--reference", reference)
    assert ledger.balance_of(organization).balance == 5


def test_a_sound_account_passes_the_audit(organization: Organization):
    assert run("audit_credits") == "There is no credit account.\n"
    factories.top_up(organization, "10")
    assert run("audit_credits") == "ok   Acme: balance 10.0000, held 0.0000\n"


def test_the_audit_finds_what_does_not_add_up(organization: Organization):
    factories.top_up(organization, "10")
    CreditAccount.objects.update(balance=Decimal(11), held=Decimal(2))
    with pytest.raises(CommandError, match="1 of 1"):
        run("audit_credits")
    output = StringIO()
    with pytest.raises(CommandError):
        call_command("audit_credits", stdout=output)
    said = output.getvalue()
    assert "the balance is not the sum of the ledger: expected 10.0000, found 11.0000" in said
    assert "what is held is not the sum of the holds: expected 0, found 2.0000" in said


def test_the_audit_finds_holds_and_charges_without_a_message(organization: Organization):
    factories.top_up(organization, "10")
    stray, charged = uuid4(), uuid4()
    ledger.hold(organization.pk, [Wanted(stray, Decimal(1)), Wanted(charged, Decimal(2))])
    ledger.capture(organization.pk, [charged])
    output = StringIO()
    with pytest.raises(CommandError):
        call_command("audit_credits", stdout=output)
    assert f"a hold without a message under way: {stray}" in output.getvalue()
    assert "what the ledger charged is not what the SMS log says: expected 2.0000, found 0" in output.getvalue()
