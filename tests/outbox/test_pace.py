"""A drain keeps to the rate of an app and to its circuit breaker, and nobody else waits for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from unittest import mock

import pytest
import redis
from pytest_django import Settings

import linkit.redis
from linkit.models import Organization
from outbox import dispatch
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers import circuits, pacing
from sms_providers.adapters.base import Sms
from sms_providers.models import OrganizationApp
from sms_providers.results import Fault, Result, accepted, rejected, unavailable
from tests.outbox.conftest import Script

pytestmark = pytest.mark.django_db

Queue = Callable[..., Message]


@pytest.fixture
def moments(script: Script) -> list[float]:
    """When `first-sms` was called."""
    called: list[float] = []

    def answer(_: Sms) -> Result:
        called.append(time.monotonic())
        return accepted("1")

    script.answers["first-sms"] = answer
    return called


def statuses() -> dict[str, int]:
    found: dict[str, int] = {}
    for status in Message.objects.values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found


def test_no_second_has_more_than_the_rate(queue: Queue, first: OrganizationApp, moments: list[float]) -> None:
    OrganizationApp.objects.update(max_per_second=20)
    for _ in range(30):
        queue()
    Drain().run()
    assert statuses() == {"sent": 30}
    moments.sort()
    late = pacing.LATE
    assert all(later - earlier >= 1.0 - late for earlier, later in zip(moments, moments[20:], strict=False))
    assert moments[-1] - moments[0] < 5


def test_another_organization_does_not_wait_for_a_slow_one(
    queue: Queue,
    first: OrganizationApp,
    other_organization: Organization,
    script: Script,
    settings: Settings,
) -> None:
    OrganizationApp.objects.update(max_per_second=1)
    OrganizationApp.objects.create(organization=other_organization, slug="second-sms")
    for _ in range(100):
        queue()
    for _ in range(20):
        queue(organization=other_organization)
    drain = Drain(window=1.0)
    drain.run()
    assert sum(slug == "second-sms" for slug, _ in script.calls) == 20
    assert 1 <= sum(slug == "first-sms" for slug, _ in script.calls) <= 3
    # It has kept no more in hand than it could send in a quarter of the lease.
    assert drain.tally["returned"] <= settings.OUTBOX_LEASE.total_seconds() / 4
    assert statuses() == {"sent": len(script.calls), "pending": 120 - len(script.calls)}


def test_without_redis_an_app_with_a_rate_waits(queue: Queue, first: OrganizationApp, script: Script) -> None:
    OrganizationApp.objects.update(max_per_second=20)
    queue()
    with mock.patch.object(linkit.redis, "_script", side_effect=redis.ConnectionError):
        Drain().run()
    message = Message.objects.get()
    assert (script.calls, message.status, message.reason) == ([], "pending", "no_permits")
    linkit.redis._silent["until"] = 0.0
    Message.objects.update(next_attempt_at=message.created_at)
    Drain().run()
    assert statuses() == {"sent": 1}


def test_a_permit_that_is_long_past_is_given_up_for_another(
    queue: Queue, first: OrganizationApp, moments: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    OrganizationApp.objects.update(max_per_second=5)
    mark = dispatch.claims.mark_started

    def slow_mark(batch: object) -> object:
        time.sleep(0.4)  # the database takes its time, and with it goes the permit
        return mark(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(dispatch.claims, "mark_started", slow_mark)
    asked: list[float] = []
    reserve = pacing.reserve_each

    def noted(wanted: Mapping[int, pacing.Wanted]) -> dict[int, pacing.Permits]:
        asked.extend(each.ahead for each in wanted.values())
        return reserve(wanted)

    monkeypatch.setattr(pacing, "reserve_each", noted)
    queue()
    Drain().run()
    assert asked == [pacing.AHEAD, pacing.PATIENCE]
    assert statuses() == {"sent": 1}


def test_throttled_answers_lower_the_rate_of_their_app(
    queue: Queue, first: OrganizationApp, script: Script, settings: Settings
) -> None:
    settings.OUTBOX_BACKOFF_MIN = settings.OUTBOX_BACKOFF_MAX = timedelta(hours=1)
    script.answers["first-sms"] = rejected(Fault.THROTTLED, "Slower.", http_status=429)
    for _ in range(10):
        queue()
    Drain().run()
    assert pacing.lowered([first.pk])[first.pk] == pytest.approx(5, rel=0.2)
    assert statuses() == {"pending": 10}


@pytest.fixture
def opens_after_three(settings: Settings) -> None:
    settings.PROVIDER_CIRCUIT_FAILURES = 3
    settings.OUTBOX_BACKOFF_MIN = settings.OUTBOX_BACKOFF_MAX = timedelta(milliseconds=1)


def test_an_app_that_fails_again_and_again_is_left_alone_and_its_messages_wait(
    queue: Queue, first: OrganizationApp, script: Script, opens_after_three: None
) -> None:
    script.answers["first-sms"] = unavailable(message="Refused the connection.")
    for _ in range(3):
        queue()
    Drain().run()
    assert list(circuits.not_closed()) == [first.pk]
    calls = len(script.calls)
    late = queue()
    Drain().run()
    assert len(script.calls) == calls
    late.refresh_from_db()
    assert (late.status, late.reason) == ("pending", "circuit_open")
    assert late.next_attempt_at > late.created_at + timedelta(seconds=5)


def test_the_next_app_takes_over_while_a_circuit_is_open(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, script: Script, opens_after_three: None
) -> None:
    circuits.note({first.pk: [unavailable(message="Refused the connection.")] * 3})
    queue()
    Drain().run()
    assert [slug for slug, _ in script.calls] == ["second-sms"]


def test_after_the_pause_one_message_tries_and_the_others_follow(
    queue: Queue, first: OrganizationApp, script: Script, settings: Settings, opens_after_three: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings.PROVIDER_CIRCUIT_PAUSE = timedelta(0)
    monkeypatch.setattr(dispatch, "_PROBE_PAUSE", 0.05)
    circuits.note({first.pk: [unavailable(message="Refused the connection.")] * 3})
    under_way, most = [0], [0]

    def answer(_: Sms) -> Result:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        under_way[0] -= 1
        return accepted("1")

    script.answers["first-sms"] = answer
    for _ in range(5):
        queue()
    first_look = Drain()
    first_look._take_in_hand(dispatch.claims.claim(limit=10))
    assert len(first_look._hand) == 1
    first_look.wind_down()
    linkit.redis.client().delete(f"linkit:circuit:{first.pk}:probe")  # it did not come to a call
    while statuses() != {"sent": 5}:
        Drain().run()
    assert circuits.not_closed() == {}


def test_messages_of_another_app_take_no_turn_to_try(
    queue: Queue, first: OrganizationApp, second: OrganizationApp, script: Script, settings: Settings,
    opens_after_three: None,
) -> None:  # fmt: skip
    settings.PROVIDER_CIRCUIT_PAUSE = timedelta(0)
    circuits.note({second.pk: [unavailable(message="Refused the connection.")] * 3})
    queue()  # goes through the first app
    Drain().run()
    assert [slug for slug, _ in script.calls] == ["first-sms"]
    queue(preferred_slug="second-sms")
    Drain().run()
    assert [slug for slug, _ in script.calls] == ["first-sms", "second-sms"]


def test_messages_that_are_marked_but_not_begun_are_not_sent_once_a_worker_ends(
    queue: Queue, first: OrganizationApp, script: Script, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOX_SENDERS = 2
    monkeypatch.setattr(dispatch, "_LAST_STARTS", 0.0)
    drain, under_way = Drain(), threading.Barrier(2)

    def answer(_: Sms) -> Result:
        if not drain.stop.is_set():
            under_way.wait(10)  # both are under way, and two more are marked
            drain.stop.set()
            time.sleep(0.2)  # the loop looks at it every 50 ms
        return accepted("1")

    script.answers["first-sms"] = answer
    for _ in range(6):
        queue()
    drain.run()
    assert len(script.calls) == 2
    assert statuses() == {"sent": 2, "pending": 4}
    del script.answers["first-sms"]
    while statuses() != {"sent": 6}:
        Drain().run()
    assert len({sms.recipient for _, sms in script.calls}) == len(script.calls) == 6


def test_direct_sends_leave_a_permit_to_the_queue(queue: Queue, first: OrganizationApp, script: Script) -> None:
    OrganizationApp.objects.update(max_per_second=5)
    queue()
    is_over = threading.Event()

    def take_all() -> None:
        while not is_over.wait(0.02):
            pacing.reserve(first.pk, per_second=5, count=1, ahead=2.0)

    others = threading.Thread(target=take_all)
    others.start()
    try:
        Drain(window=8.0).run()
    finally:
        is_over.set()
        others.join()
    assert statuses() == {"sent": 1}
