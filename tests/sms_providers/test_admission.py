"""Direct sends meet the rate of their app and its circuit breaker: no call, and the caller knows when to repeat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from unittest import mock

import pytest
import redis
from pytest_django import Settings

import linkit.redis
from sms_providers import admission, circuits, pacing
from sms_providers.models import OrganizationApp, SmsLog
from sms_providers.results import accepted, unavailable
from tests.conftest import Api
from tests.gateway import Gateway, fault, throttle

pytestmark = pytest.mark.django_db

SEND = "/api/v1/sms-providers/mora-sms/send"
GOOD = {"mobile": "0501234567", "message": "Hello"}
DOWN = unavailable(message="Refused the connection.")


@pytest.fixture
def mora(install: Callable[..., OrganizationApp], gateway: Gateway) -> OrganizationApp:
    return install("mora-sms")


def test_an_open_circuit_answers_502_without_a_call(api: Api, mora: OrganizationApp, gateway: Gateway) -> None:
    circuits.note({mora.pk: [DOWN] * 10})
    answer = api.post(SEND, GOOD)
    assert answer.status_code == 502
    assert answer.json()["details"]["reason"] == "circuit_open"
    assert "Nothing was sent" in answer.json()["error"]
    assert gateway.journal.numbers() == []
    log = SmsLog.objects.get()
    assert (log.status, log.reason) == ("failed", "circuit_open")


def test_a_success_after_the_pause_closes_it(api: Api, mora: OrganizationApp, settings: Settings) -> None:
    settings.PROVIDER_CIRCUIT_PAUSE = timedelta(0)
    circuits.note({mora.pk: [DOWN] * 10})
    assert api.post(SEND, GOOD).status_code == 200
    assert circuits.not_closed() == {}


def test_failures_of_direct_sends_open_it(
    api: Api, mora: OrganizationApp, gateway: Gateway, settings: Settings
) -> None:
    settings.PROVIDER_CIRCUIT_FAILURES = 2
    gateway.script("mora-sms", fault(500))
    assert [api.post(SEND, GOOD).status_code for _ in range(3)] == [202, 202, 502]


def test_over_the_rate_a_send_waits_for_its_permit(api: Api, mora: OrganizationApp) -> None:
    OrganizationApp.objects.update(max_per_second=5)
    pacing.reserve(mora.pk, per_second=5, count=2, ahead=1)
    assert api.post(SEND, GOOD).status_code == 200
    log = SmsLog.objects.get()
    assert log.created_at is not None


def test_when_too_many_wait_it_answers_503_with_a_time(api: Api, mora: OrganizationApp, gateway: Gateway) -> None:
    OrganizationApp.objects.update(max_per_second=1)
    pacing.reserve(mora.pk, per_second=1, count=10, ahead=10)
    answer = api.post(SEND, GOOD, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["details"]["reason"] == "app_rate_reached"
    assert gateway.journal.numbers() == []
    linkit.redis.client().flushdb()
    assert api.post(SEND, GOOD, headers={"Idempotency-Key": "k1"}).status_code == 200  # a 503 is not remembered


def test_without_redis_an_app_with_a_rate_sends_nothing_and_one_without_does(
    api: Api, mora: OrganizationApp, gateway: Gateway
) -> None:
    with mock.patch.object(linkit.redis, "_script", side_effect=redis.ConnectionError):
        assert api.post(SEND, GOOD).status_code == 200
        OrganizationApp.objects.update(max_per_second=5)
        assert api.post(SEND, GOOD).status_code == 503
    assert len(gateway.journal.numbers()) == 1


def test_a_message_that_we_hold_for_later_needs_no_permit(api: Api, mora: OrganizationApp) -> None:
    OrganizationApp.objects.update(max_per_second=1)
    pacing.reserve(mora.pk, per_second=1, count=10, ahead=10)
    assert api.post(SEND, {**GOOD, "datetime": "2099-01-01T00:00:00Z"}).status_code in (202, 400)


def test_a_throttled_answer_slows_the_app_down(api: Api, mora: OrganizationApp, gateway: Gateway) -> None:
    OrganizationApp.objects.update(max_per_second=50)
    gateway.script("mora-sms", throttle())
    assert api.post(SEND, GOOD).status_code == 503
    assert pacing.lowered([mora.pk])[mora.pk] == pytest.approx(25, rel=0.05)


def test_test_messages_know_neither() -> None:
    assert admission.wait(None) is None
    admission.learn(None, accepted("1"))
