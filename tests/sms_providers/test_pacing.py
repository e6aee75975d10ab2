"""Permits: how many an installation is given, how far apart, and what a throttled answer does to that."""

from __future__ import annotations

import itertools
import threading
import time
from unittest import mock

import pytest
import redis
from pytest_django import Settings

import linkit.redis
from sms_providers import pacing

APP = 7


def test_permits_are_evenly_spaced_whoever_asks() -> None:
    lots = [pacing.reserve(APP, per_second=50, count=3, ahead=1.0).moments for _ in range(5)]
    moments = sorted(moment for lot in lots for moment in lot)
    assert len(moments) == 15
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    # Each answer reaches us a moment after Redis has looked at its clock.
    assert all(0.015 < gap < 0.06 for gap in gaps), gaps


def test_no_more_than_lie_ahead_are_given_and_it_is_said_when_to_ask_again() -> None:
    first = pacing.reserve(APP, per_second=10, count=100, ahead=0.5)
    assert len(first.moments) == 6  # now, and every tenth of a second
    then = pacing.reserve(APP, per_second=10, count=100, ahead=0.5)
    assert then.moments == []
    assert 0 < then.wait <= 0.1


def test_what_was_not_used_is_not_made_up_for() -> None:
    pacing.reserve(APP, per_second=1000, count=1)
    time.sleep(0.05)  # fifty permits' worth
    assert len(pacing.reserve(APP, per_second=1000, count=1000, ahead=0.01).moments) <= 11


def test_installations_have_permits_of_their_own() -> None:
    assert pacing.reserve(APP, per_second=1, count=1).moments
    assert not pacing.reserve(APP, per_second=1, count=1).moments
    assert pacing.reserve(APP + 1, per_second=1, count=1).moments


def test_several_installations_are_asked_for_at_once_and_each_has_its_own_rate() -> None:
    wanted = {APP: pacing.Wanted(10, 100, ahead=0.5), APP + 1: pacing.Wanted(20, 3, ahead=0.5)}
    permits = pacing.reserve_each(wanted)
    assert {app_id: len(given.moments) for app_id, given in permits.items()} == {APP: 6, APP + 1: 3}
    permits = pacing.reserve_each(wanted)
    assert {app_id: len(given.moments) for app_id, given in permits.items()} == {APP: 0, APP + 1: 3}
    assert pacing.reserve_each({}) == {}


def test_many_askers_at_once_never_get_more_than_the_rate() -> None:
    moments: list[float] = []
    until = time.monotonic() + 1.0

    def ask() -> None:
        while time.monotonic() < until:
            moments.extend(pacing.reserve(APP, per_second=200, count=4).moments)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One second of asking and what lies ahead of it, and the first at once.
    assert 150 < len(moments) <= 200 * (1.0 + pacing.AHEAD) + 20


def test_without_redis_there_are_no_permits(settings: Settings) -> None:
    with (
        mock.patch.object(linkit.redis, "_script", side_effect=redis.ConnectionError),
        pytest.raises(redis.ConnectionError),
    ):
        pacing.reserve(APP, per_second=50, count=1)
    # And for a moment nobody waits to find out again.
    with pytest.raises(redis.ConnectionError):
        pacing.reserve(APP, per_second=50, count=1)


def test_a_throttled_answer_halves_the_rate_once_a_second_and_it_recovers() -> None:
    assert pacing.lowered([APP]) == {}
    pacing.slow_down(APP, per_second=50)
    pacing.slow_down(APP, per_second=50)  # of the same event
    lowered = pacing.lowered([APP, APP + 1])
    assert lowered == {APP: pytest.approx(25, rel=0.02)}
    assert pacing.rate_of(50, lowered[APP]) == pytest.approx(25, rel=0.02)
    with mock.patch.object(pacing, "RECOVERY", 0.001):  # as if it were long ago
        time.sleep(0.002)
        assert pacing.rate_of(50, pacing.lowered([APP])[APP]) == 50


def test_an_installation_without_a_rate_has_one_after_a_throttled_answer() -> None:
    assert pacing.rate_of(None, None) is None
    pacing.slow_down(APP, per_second=30)
    assert pacing.rate_of(None, pacing.lowered([APP])[APP]) == pytest.approx(15, rel=0.02)


def test_a_rate_is_never_lowered_below_one_a_second() -> None:
    pacing.slow_down(APP, per_second=1)
    assert pacing.lowered([APP])[APP] == pytest.approx(1, rel=0.02)


def test_a_meter_says_how_much_was_sent_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.2]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: now[0])
    meter = pacing.Meter()
    for _ in range(5):
        meter.note()
    now[0] = 101.1
    meter.note()
    assert meter.per_second == 5
    now[0] = 105.0
    meter.note()
    assert meter.per_second == 1


def test_a_rate_is_lowered_from_what_it_was_and_never_raised() -> None:
    pacing.slow_down(APP, per_second=10)
    linkit.redis.client().hset(f"linkit:pace:{APP}", "at", 0)  # long ago, as far as one event goes
    with mock.patch.object(pacing, "RECOVERY", 1e12):
        pacing.slow_down(APP, per_second=40)
    found = linkit.redis.client().hget(f"linkit:pace:{APP}", "rate")
    assert float(found) == pytest.approx(2.5, rel=0.02)  # type: ignore[arg-type]


def test_a_clock_that_was_put_back_stops_nobody() -> None:
    now, _ = linkit.redis.client().time()
    linkit.redis.client().set(f"linkit:permits:{APP}", (now + 3600) * 1_000_000)
    assert pacing.reserve(APP, per_second=10, count=1).moments
