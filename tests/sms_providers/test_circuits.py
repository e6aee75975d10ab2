"""The circuit breaker: what opens it, who may try, what closes it."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
import redis
from pytest_django import Settings

import linkit.redis
from linkit.redis import client
from sms_providers import circuits, health
from sms_providers.results import Fault, Result, accepted, rejected, unavailable, unknown

APP = 7
DOWN = unavailable(message="Refused the connection.", reason="connection_failed")
WRONG_KEY = rejected(Fault.AUTH, "Wrong key.", http_status=401)


@pytest.fixture(autouse=True)
def _three_failures(settings: Settings) -> None:
    settings.PROVIDER_CIRCUIT_FAILURES = 3
    settings.PROVIDER_CIRCUIT_PAUSE = timedelta(seconds=60)
    settings.PROVIDER_CIRCUIT_PAUSE_MAX = timedelta(seconds=200)


def seconds_left() -> float | None:
    return circuits.look([APP]).get(APP)


def let_the_pause_end() -> None:
    """Move the end of the pause to a second ago."""
    key = f"linkit:circuit:{APP}"
    now, _ = client().time()
    client().hset(key, "until", (now - 1) * 1_000_000)


@pytest.mark.parametrize("failure", [DOWN, WRONG_KEY, unknown("read_timeout", "No answer.")])
def test_failures_in_a_row_open_it(failure: Result) -> None:
    circuits.note({APP: [failure, failure]})
    assert seconds_left() is None
    circuits.note({APP: [failure]})
    assert seconds_left() == pytest.approx(60, abs=2)
    assert list(circuits.not_closed()) == [APP]


def test_results_of_several_installations_are_noted_at_once_and_each_counts_for_itself() -> None:
    circuits.note({APP: [DOWN] * 2, APP + 1: [DOWN] * 3, APP + 2: [accepted("1")], APP + 3: []})
    assert list(circuits.not_closed()) == [APP + 1]
    circuits.note({APP: [DOWN], APP + 1: [accepted("1")]})
    assert list(circuits.not_closed()) == [APP]


def test_a_success_in_between_counts() -> None:
    circuits.note({APP: [DOWN, DOWN, accepted("1"), DOWN, DOWN]})
    assert seconds_left() is None
    circuits.note({APP: [DOWN]})
    assert seconds_left() is not None


@pytest.mark.parametrize(
    "result",
    [
        rejected(Fault.RECIPIENT, "Bad number.", http_status=200),
        rejected(Fault.BALANCE, "Empty.", http_status=402),
        rejected(Fault.SENDER, "There is no sender ID.", reason="sender_missing"),
        rejected(Fault.THROTTLED, "Slower.", http_status=429),
        unavailable(message="No time.", reason="no_time_left"),
        unknown("internal_error", "A fault of ours."),
        unknown("unreadable_answer", "Nonsense.", http_status=200),
    ],
)
def test_what_is_not_the_installations_failure_never_opens_it(result: Result) -> None:
    circuits.note({APP: [result] * 10})
    assert seconds_left() is None


def test_one_caller_tries_when_the_pause_is_over_and_its_success_closes_it() -> None:
    circuits.note({APP: [DOWN] * 3})
    let_the_pause_end()
    assert seconds_left() == 0
    assert [circuits.may_try(APP) for _ in range(3)] == [True, False, False]
    circuits.note({APP: [accepted("1")]})
    assert seconds_left() is None
    assert circuits.not_closed() == {}


def test_each_failed_try_doubles_the_pause_up_to_the_longest() -> None:
    circuits.note({APP: [DOWN] * 3})
    pauses = []
    for _ in range(3):
        let_the_pause_end()
        assert seconds_left() == 0
        circuits.note({APP: [DOWN]})
        pauses.append(seconds_left())
    assert pauses == [pytest.approx(120, abs=2), pytest.approx(200, abs=2), pytest.approx(200, abs=2)]


def test_answers_of_calls_that_began_before_do_not_lengthen_the_pause() -> None:
    circuits.note({APP: [DOWN] * 3})
    circuits.note({APP: [DOWN] * 50})
    assert seconds_left() == pytest.approx(60, abs=2)


def test_somebody_who_has_seen_to_it_closes_it() -> None:
    circuits.note({APP: [DOWN] * 3})
    circuits.close(APP)
    assert seconds_left() is None
    circuits.note({APP: [DOWN] * 2})
    assert seconds_left() is None


def test_circuits_are_each_installations_own() -> None:
    circuits.note({APP: [DOWN] * 3})
    assert set(circuits.look([APP, APP + 1])) == {APP}


def test_while_redis_is_down_every_circuit_is_closed() -> None:
    circuits.note({APP: [DOWN] * 3})
    with mock.patch.object(linkit.redis, "_script", side_effect=redis.ConnectionError):
        assert circuits.look([APP]) == {}
        circuits.note({APP: [DOWN]})
        circuits.close(APP)
        assert circuits.not_closed() == {}


def test_health_counts_them_and_is_not_the_worse_for_them() -> None:
    assert health.check_apps().figures == {"open_circuits": 0}
    circuits.note({APP: [DOWN] * 3})
    assert health.check_apps().as_dict() == {"status": "healthy", "open_circuits": 1}
