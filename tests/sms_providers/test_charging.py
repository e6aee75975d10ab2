"""What a direct send through a metered app costs, by how it ends, and how an unknown one is settled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now

from billing import ledger
from billing.models import CreditTransaction, Hold, Kind, Rate
from linkit import clock
from linkit.errors import Conflict
from linkit.models import Organization
from sms_providers import reaping, sending, settling
from sms_providers.models import OrganizationApp, SmsLog, Status
from tests import factories
from tests.conftest import Api

SEND = "/api/v1/sms-providers/sandbox-sms/send"
RATE = Decimal("1.887")
REJECTED, THROTTLED, DOWN, UNKNOWN = (f"+9665555555{number}" for number in ("04", "07", "08", "09"))


@pytest.fixture
def metered(organization: Organization, install: Callable[..., OrganizationApp]) -> OrganizationApp:
    app = install("sandbox-sms")
    OrganizationApp.objects.update(is_metered=True)
    factories.top_up(organization, "10")
    return app


def send(api: Api, mobile: str = "0501234567", message: str = "Hello", **headers: Any) -> Any:
    return api.post(SEND, {"mobile": mobile, "message": message}, **headers)


def figures(organization: Organization) -> tuple[Any, ...]:
    """Return the balance and what is held of it."""
    account = ledger.balance_of(organization)
    return account.balance, account.held


@pytest.mark.usefixtures("metered")
def test_a_send_that_is_accepted_is_charged(api: Api, organization: Organization):
    response = send(api, message="x" * 307)
    assert response.status_code == 200
    log = SmsLog.objects.get()
    assert (log.segment_count, log.credit_cost, log.credit_charged) == (3, Decimal("5.661"), Decimal("5.661"))
    assert figures(organization) == (Decimal("4.339"), 0)
    charge = CreditTransaction.objects.get(kind=Kind.SMS_CHARGE)
    assert (charge.reference, charge.amount, charge.description) == (log.pk, Decimal("-5.661"), "SMS, 3 parts")
    body = api.get(f"/api/v1/sms/logs/{log.pk}").json()
    assert (body["credit_cost"], body["credit_charged"]) == (5.661, 5.661)
    call_command("audit_credits")


@pytest.mark.parametrize(("number", "status"), [(REJECTED, 400), (THROTTLED, 503), (DOWN, 502)])
@pytest.mark.usefixtures("metered")
def test_what_is_not_sent_costs_nothing(api: Api, organization: Organization, number: str, status: int):
    assert send(api, number).status_code == status
    log = SmsLog.objects.get()
    assert log.credit_cost == RATE
    assert log.credit_charged == 0
    assert figures(organization) == (10, 0)
    call_command("audit_credits")


@pytest.mark.usefixtures("metered")
def test_an_unknown_outcome_keeps_its_hold(api: Api, organization: Organization):
    assert send(api, UNKNOWN).status_code == 202
    assert figures(organization) == (10, RATE)
    assert Hold.objects.get().reference == SmsLog.objects.get().pk
    call_command("audit_credits")


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.usefixtures("metered")
def test_an_unknown_outcome_is_settled_once(api: Api, organization: Organization, was_sent: bool):
    send(api, UNKNOWN, HTTP_IDEMPOTENCY_KEY="order-1")
    log = settling.settle(log=SmsLog.objects.get(), was_sent=was_sent)
    assert log.status == (Status.SENT if was_sent else Status.FAILED)
    assert figures(organization) == (10 - RATE if was_sent else 10, 0)
    for again in (True, False):
        with pytest.raises(Conflict):
            settling.settle(log=log, was_sent=again)
    assert figures(organization)[1] == 0
    assert SmsLog.objects.get().credit_charged == (RATE if was_sent else 0)
    # A repeat of the request gets what was found out, or sends at last.
    assert send(api, UNKNOWN, HTTP_IDEMPOTENCY_KEY="order-1").status_code == (200 if was_sent else 202)
    assert SmsLog.objects.count() == (1 if was_sent else 2)
    call_command("audit_credits")


@pytest.mark.usefixtures("metered")
def test_what_was_given_back_is_not_charged_when_it_is_settled(api: Api, organization: Organization, settings):
    send(api, UNKNOWN)
    Hold.objects.update(created_at=Now() - settings.CREDIT_HOLD_LIFETIME - timedelta(seconds=1))
    assert ledger.release_expired() == 1
    settled = settling.settle(log=SmsLog.objects.get(), was_sent=True)
    assert settled.status == Status.SENT
    assert settled.credit_charged == 0
    assert figures(organization) == (10, 0)
    call_command("audit_credits")


def test_only_an_open_direct_send_can_be_settled(api: Api, metered: OrganizationApp):
    send(api)
    log = SmsLog.objects.get()
    with pytest.raises(Conflict):
        settling.settle(log=log, was_sent=False)
    SmsLog.objects.update(status=Status.DISPATCH_TIMEOUT, queued_id="r00000000000000")
    with pytest.raises(Conflict):
        settling.settle(log=log, was_sent=False)


@pytest.mark.usefixtures("metered")
def test_a_process_that_dies_before_the_charge_leaves_a_hold(
    api: Api, organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    """The provider's answer is lost, so nobody knows; the late writer then finds it settled, and charges nothing."""
    lost = []
    monkeypatch.setattr(sending, "_settle", lambda attempt, result: lost.append((attempt, result)))
    send(api)
    SmsLog.objects.update(deadline_at=clock.now() - timedelta(seconds=1))
    assert reaping.reap_direct_sends() == 1
    assert figures(organization) == (10, RATE)
    settling.settle(log=SmsLog.objects.get(), was_sent=True)
    assert figures(organization) == (10 - RATE, 0)
    monkeypatch.undo()
    sending._settle(*lost[0])
    assert figures(organization) == (10 - RATE, 0)
    assert CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).count() == 1


@pytest.mark.usefixtures("metered")
def test_a_late_answer_charges_what_is_still_held(
    api: Api, organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    late = []
    monkeypatch.setattr(sending, "_settle", lambda attempt, result: late.append((attempt, result)))
    send(api)
    SmsLog.objects.update(deadline_at=clock.now() - timedelta(seconds=1))
    reaping.reap_direct_sends()
    monkeypatch.undo()
    for _ in range(2):
        sending._settle(*late[0])
    assert SmsLog.objects.get().status == Status.SENT
    assert figures(organization) == (10 - RATE, 0)
    call_command("audit_credits")


@pytest.mark.usefixtures("metered")
def test_without_credits_nothing_is_sent_or_logged(api: Api, organization: Organization):
    ledger.adjust(organization=organization, amount=Decimal(-10), description="spent")
    response = send(api)
    assert response.status_code == 402
    assert response.json()["details"] == {"reason": "insufficient_credits"}
    assert not SmsLog.objects.exists()
    assert not Hold.objects.exists()


@pytest.mark.usefixtures("metered")
def test_the_last_message_may_cost_more_than_there_is(api: Api, organization: Organization):
    ledger.adjust(organization=organization, amount=Decimal("-9.9999"), description="spent")
    assert send(api, message="x" * 307).status_code == 200
    assert figures(organization)[0] == Decimal("0.0001") - Decimal("5.661")
    assert send(api).status_code == 402


@pytest.mark.usefixtures("metered")
def test_a_test_key_costs_nothing(api: Api, organization: Organization):
    assert send(api.using(factories.make_api_key(organization, is_test=True))).status_code == 200
    assert SmsLog.objects.get().credit_cost is None
    assert figures(organization) == (10, 0)


def test_a_tenants_own_credentials_cost_nothing(
    api: Api, organization: Organization, install: Callable[..., OrganizationApp]
):
    install("sandbox-sms")
    assert send(api).status_code == 200
    assert SmsLog.objects.get().credit_cost is None
    assert not CreditTransaction.objects.exists()


@pytest.mark.usefixtures("metered")
def test_the_rate_of_the_day_counts_and_stays(api: Api, organization: Organization):
    rate = Rate.objects.create(prefix="966", price=Decimal("0.5"), valid_from=clock.now().date())
    send(api)
    rate.price = Decimal(9)
    rate.save()
    assert figures(organization)[0] == Decimal("9.5")
    assert SmsLog.objects.get().credit_charged == Decimal("0.5")


@pytest.mark.usefixtures("metered")
def test_a_repeat_is_charged_once(api: Api, organization: Organization):
    for _ in range(3):
        assert send(api, HTTP_IDEMPOTENCY_KEY="order-1").status_code == 200
    assert figures(organization)[0] == 10 - RATE
