"""Ping and health: open to everybody, and true."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import Error, InterfaceError, OperationalError, connection
from django.utils import timezone

from linkit import health
from linkit.health import Check, Health
from outbox import health as outbox_health
from outbox.health import note_drain
from outbox.models import Message
from tests.conftest import Api

HEALTH = "/api/v1/health"


@pytest.fixture
def alive(db: None) -> None:
    """A worker has drained a moment ago."""
    note_drain()


def down(*args: Any, **kwargs: Any) -> Any:
    raise redis.ConnectionError("down")


def test_ping(anonymous: Api):
    body = anonymous.get("/api/v1/ping").json()
    assert set(body) == {"message", "timestamp"}
    assert body["message"] == "pong"
    assert abs(datetime.fromisoformat(body["timestamp"]) - timezone.now()) < timedelta(minutes=1)


@pytest.mark.usefixtures("alive")
def test_all_is_well(anonymous: Api):
    response = anonymous.get(HEALTH)
    assert response.status_code == 200
    body = response.json()
    assert {"status", "version", "environment", "timestamp"} <= set(body)
    assert (body["status"], body["environment"]) == ("healthy", "test")
    assert body["version"]
    assert datetime.fromisoformat(body["timestamp"]).tzinfo
    assert {"database", "broker"} <= set(body["checks"])
    assert all(check["status"] == "healthy" for check in body["checks"].values())


@pytest.mark.django_db
def test_without_a_worker_it_is_degraded(anonymous: Api):
    response = anonymous.get(HEALTH)
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"


@pytest.mark.usefixtures("alive")
def test_without_redis_it_is_degraded(anonymous: Api, monkeypatch: pytest.MonkeyPatch):
    class Down:
        ping = exists = set = down

    for module in (health, outbox_health):
        monkeypatch.setattr(module, "client", Down)
    response = anonymous.get(HEALTH)
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "degraded"
    assert body["checks"]["broker"]["status"] == "degraded"
    assert body["checks"]["database"]["status"] == "healthy"


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("error", [OperationalError, InterfaceError, Error])
def test_without_a_database_it_is_unhealthy(anonymous: Api, monkeypatch: pytest.MonkeyPatch, error: type[Exception]):
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise error("could not connect to sms.internal as linkit")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", broken)
        patch.setattr(connection, "chunked_cursor", broken)
        response = anonymous.get(HEALTH)
        assert anonymous.get("/api/v1/ping").status_code == 200
    assert response.status_code == 503
    body = response.json()
    assert body["status"] == "unhealthy"
    assert body["checks"]["database"]["status"] == "unhealthy"
    assert "sms.internal" not in response.content.decode()


@pytest.mark.usefixtures("alive")
def test_bad_credentials_do_not_matter(anonymous: Api):
    assert anonymous.using("lk_live_wrong").get(HEALTH).status_code == 200
    assert anonymous.using("lk_live_wrong").get("/api/v1/ping").status_code == 200


@pytest.mark.usefixtures("alive")
def test_the_age_of_the_oldest_pending_message_is_shown(anonymous: Api, api: Api, install: Callable[..., Any]):
    install("sandbox-sms")
    api.post("/api/v1/sms/outbox", {"mobile": "0501234567", "message": "x"})
    checks = anonymous.get(HEALTH).json()["checks"]
    assert [name for name, check in checks.items() if "oldest_pending_seconds" in check]
    long_ago = timezone.now() - timedelta(hours=1)
    Message.objects.update(next_attempt_at=long_ago, created_at=long_ago)
    body = anonymous.get(HEALTH).json()
    assert body["status"] == "degraded"
    (age,) = [check["oldest_pending_seconds"] for check in body["checks"].values() if "oldest_pending_seconds" in check]
    assert 3600 <= age < 3700


@pytest.mark.usefixtures("alive")
def test_a_message_for_later_does_not_wait(anonymous: Api, api: Api, install: Callable[..., Any]):
    install("sandbox-sms")
    api.post("/api/v1/sms/outbox", {"mobile": "0501234567", "message": "x", "datetime": "2099-01-01T00:00:00Z"})
    Message.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert anonymous.get(HEALTH).json()["status"] == "healthy"


@pytest.mark.usefixtures("alive")
def test_the_worst_check_decides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_checks", {})
    assert health.report()["status"] is Health.HEALTHY
    for status in (Health.DEGRADED, Health.UNHEALTHY, Health.HEALTHY):
        health.register(status.value, lambda status=status: Check(status, figures={"n": 1}))  # type: ignore[misc]
    report = health.report()
    assert report["status"] is Health.UNHEALTHY
    assert report["checks"]["degraded"] == {"status": "degraded", "n": 1}
