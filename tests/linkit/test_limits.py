"""The limit on requests: for each key its own, the same for all web processes, and open while Redis is down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from pytest_django import Settings

from linkit import throttling
from linkit.redis import Permit, client, take
from linkit.redis import client as redis_client
from outbox.models import Message
from tests.conftest import Api

ME = "/api/v1/auth/me"
OUTBOX = "/api/v1/sms/outbox"


@pytest.fixture
def narrow(settings: Settings) -> None:
    """Two requests at once, and one a minute after that."""
    settings.API_RATE_PER_MINUTE, settings.API_RATE_BURST = 1, 2


@pytest.mark.usefixtures("narrow")
def test_over_the_limit_is_429_and_says_when(api: Api):
    assert [api.get(ME).status_code for _ in range(2)] == [200, 200]
    response = api.get(ME)
    assert response.status_code == 429
    assert 55 <= int(response.headers["Retry-After"]) <= 60
    assert response.headers["X-RateLimit-Limit"] == "1"
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert 115 <= int(response.headers["X-RateLimit-Reset"]) <= 120
    body = response.json()
    assert set(body) == {"code", "error", "details"}
    assert (body["code"], body["details"]) == (429, {"reason": "rate_limited"})


@pytest.mark.usefixtures("narrow")
def test_nothing_is_done_over_the_limit(api: Api, install: Callable[..., Any]):
    install("sandbox-sms")
    statuses = [api.post(OUTBOX, {"mobile": "0501234567", "message": "x"}).status_code for _ in range(3)]
    assert statuses == [201, 201, 429]
    assert Message.objects.count() == 2


@pytest.mark.usefixtures("narrow")
def test_another_key_has_its_own_limit(anonymous: Api, api_key: Callable[..., str]):
    first, second = anonymous.using(api_key()), anonymous.using(api_key())
    assert [first.get(ME).status_code for _ in range(3)] == [200, 200, 429]
    assert second.get(ME).status_code == 200


@pytest.mark.usefixtures("narrow")
def test_the_limit_is_the_same_in_every_header_form_and_url(anonymous: Api, api_key: Callable[..., str]):
    secret = api_key()
    assert anonymous.get(ME, HTTP_AUTHORIZATION=f"Bearer {secret}").status_code == 200
    assert anonymous.get("/api/v1/apps", HTTP_AUTHORIZATION=secret).status_code == 200
    assert anonymous.get(OUTBOX, HTTP_X_API_KEY=secret).status_code == 429


@pytest.mark.usefixtures("narrow")
def test_a_person_has_a_limit_too(login: Callable[..., Api]):
    client = login("viewer")
    assert [client.get(ME).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.usefixtures("narrow")
def test_open_urls_have_no_limit(api: Api):
    for _ in range(5):
        assert api.get("/api/v1/ping").status_code == 200
        assert api.get("/api/v1/health").status_code == 200


@pytest.mark.usefixtures("narrow")
def test_who_is_refused_uses_nothing_up(anonymous: Api, api_key: Callable[..., str]):
    client = anonymous.using(api_key(scopes=("read",)))
    assert [client.post(OUTBOX).status_code for _ in range(4)] == [403] * 4
    assert client.get(ME).status_code == 200


def test_the_default_lets_a_burst_through(api: Api, settings: Settings):
    settings.API_RATE_BURST = 30
    assert [api.get("/api/v1/ping").status_code for _ in range(30)] == [200] * 30
    assert api.get(ME).status_code == 200


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("error", [redis.ConnectionError, redis.TimeoutError, redis.ResponseError])
def test_without_redis_there_is_no_limit(api: Api, monkeypatch: pytest.MonkeyPatch, error: type[Exception]):
    def down(*args: Any, **kwargs: Any) -> Any:
        raise error("down")

    monkeypatch.setattr(throttling, "take", down)
    assert [api.get(ME).status_code for _ in range(4)] == [200] * 4


# --- the bucket ---------------------------------------------------------------------------------------------------


def test_a_bucket_holds_its_burst_and_refills():
    permits = [take("x", per_second=0.001, burst=3) for _ in range(4)]
    assert [permit.is_allowed for permit in permits] == [True, True, True, False]
    assert [permit.remaining for permit in permits] == [2, 1, 0, 0]
    assert 999 < permits[3].wait <= 1000
    assert 2999 < permits[3].reset <= 3000


def test_a_refusal_uses_nothing_up():
    assert take("x", per_second=0.001, burst=1).is_allowed
    waits = [take("x", per_second=0.001, burst=1).wait for _ in range(3)]
    assert max(waits) <= 1000


def test_a_bucket_is_forgotten_when_it_is_full():
    take("x", per_second=1, burst=10)
    (key,) = client().keys("linkit:rate:*")
    assert 0 < client().pttl(key) <= 2500


def test_callers_at_once_get_no_more_than_the_burst():
    allowed: list[bool] = []
    start = threading.Barrier(8)

    def call() -> None:
        start.wait()
        allowed.extend(take("x", per_second=0.001, burst=10).is_allowed for _ in range(5))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 10
    assert redis_client() is client()


def test_several_are_taken_or_none():
    permits = [take("x", per_second=0.001, burst=10, count=count) for count in (6, 6, 4, 1)]
    assert [permit.is_allowed for permit in permits] == [True, False, True, False]
    assert [permit.remaining for permit in permits] == [4, 0, 0, 0]
    assert 1999 < permits[1].wait <= 2000, "until there are six"


# --- a high limit -------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens Redis was asked for, each time."""
    counts: list[int] = []

    def counted(key: str, *, count: int = 1, **given: Any) -> Any:
        counts.append(count)
        return take(key, count=count, **given)

    monkeypatch.setattr(throttling, "take", counted)
    return counts


@pytest.mark.parametrize("per_minute", [600, 3000, 5999])
def test_an_ordinary_limit_is_asked_about_every_time(api: Api, settings: Settings, asked: list[int], per_minute: int):
    settings.API_RATE_PER_MINUTE = per_minute
    for _ in range(5):
        assert api.get(ME).status_code == 200
    assert asked == [1] * 5


def test_a_high_one_is_asked_about_for_20_ms_ahead(api: Api, settings: Settings, asked: list[int]):
    settings.API_RATE_PER_MINUTE, settings.API_RATE_BURST = 30_000, 1_000  # 500 a second
    for _ in range(21):
        assert api.get(ME).status_code == 200
    assert asked == [10, 10, 10]


def test_what_is_taken_ahead_is_used_within_a_second(
    api: Api, settings: Settings, asked: list[int], monkeypatch: pytest.MonkeyPatch
):
    settings.API_RATE_PER_MINUTE, settings.API_RATE_BURST = 30_000, 1_000
    now = [1000.0]
    monkeypatch.setattr(throttling.time, "monotonic", lambda: now[0])
    for _ in range(3):
        assert api.get(ME).status_code == 200
        now[0] += 1.0
    assert asked == [10, 10, 10]


def test_a_high_limit_ends_too(api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    settings.API_RATE_PER_MINUTE, settings.API_RATE_BURST = 30_000, 1_000
    left = [23]  # and nothing comes in

    def from_a_bucket(key: str, *, count: int = 1, **_: Any) -> Permit:
        is_allowed = left[0] >= count
        left[0] -= count if is_allowed else 0
        return Permit(is_allowed, left[0], wait=0.0 if is_allowed else 2.0, reset=3.0)

    monkeypatch.setattr(throttling, "take", from_a_bucket)
    assert [api.get(ME).status_code for _ in range(25)] == [200] * 23 + [429] * 2


def test_each_key_has_what_it_took(anonymous: Api, api_key: Callable[..., str], settings: Settings, asked: list[int]):
    settings.API_RATE_PER_MINUTE, settings.API_RATE_BURST = 30_000, 1_000
    for caller in (anonymous.using(api_key()), anonymous.using(api_key())):
        assert caller.get(ME).status_code == 200
    assert asked == [10, 10]
