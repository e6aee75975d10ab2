"""People are told once when a balance falls low."""

from __future__ import annotations

from decimal import Decimal
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail

from billing import alerts, ledger
from billing.models import BalanceAlert
from billing.tasks import send_alerts
from linkit.models import Organization, Role
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _admin(organization: Organization) -> None:
    factories.make_user(organization, role=Role.ADMIN, email="boss@example.com")
    factories.make_user(organization, role=Role.OPERATOR, email="operator@example.com")
    factories.make_user(organization, role=Role.ADMIN, email="gone@example.com", is_active=False)


def spend(organization: Organization, amount: str) -> None:
    ledger.adjust(organization=organization, amount=-Decimal(amount), description="spent")


def test_each_threshold_is_told_once(organization: Organization):
    factories.top_up(organization, "150")
    send_alerts()
    assert mail.outbox == []
    spend(organization, "50.0001")
    send_alerts()
    send_alerts()
    (first,) = mail.outbox
    assert first.to == ["boss@example.com"]
    assert first.subject == "Acme: 99.9999 SMS credits left"
    assert "below 100" in first.body
    spend(organization, "90")
    send_alerts()
    assert "below 20" in mail.outbox[1].body
    assert len(mail.outbox) == 2


def test_two_thresholds_at_once_are_one_mail(organization: Organization):
    factories.top_up(organization, "150")
    spend(organization, "149")
    assert alerts.send_due() == 1
    assert "below 20" in mail.outbox[0].body
    assert alerts.send_due() == 0


def test_a_top_up_makes_it_news_again(organization: Organization):
    factories.top_up(organization, "50")
    send_alerts()
    factories.top_up(organization, "49")
    spend(organization, "1")
    send_alerts()
    assert len(mail.outbox) == 1, "it was not above 100 in between"
    factories.top_up(organization, "2")
    spend(organization, "1")
    send_alerts()
    assert len(mail.outbox) == 2


def test_a_mail_that_did_not_go_is_tried_again(organization: Organization, monkeypatch: pytest.MonkeyPatch):
    factories.top_up(organization, "50")

    def refuse(*_: Any) -> None:
        raise SMTPServerDisconnected

    with monkeypatch.context() as patch:
        patch.setattr(alerts, "send_mail", refuse)
        assert alerts.send_due() == 0
    assert not BalanceAlert.objects.exclude(alerted_at=None).exists()
    assert alerts.send_due() == 1


def test_nobody_to_tell_is_no_failure(other_organization: Organization):
    factories.top_up(other_organization, "50")
    assert alerts.send_due() == 0
    assert mail.outbox == []


def test_the_console_is_told_of_the_lowest(organization: Organization, other_organization: Organization):
    factories.top_up(organization, "5")
    factories.top_up(other_organization, "500")
    low = alerts.low([organization.pk, other_organization.pk])
    assert [(alert.account_id, alert.threshold) for alert in low] == [(organization.pk, Decimal(20))]
