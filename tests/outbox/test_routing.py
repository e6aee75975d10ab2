"""Who sends next: pins, priority, fail-over, back-off, and the simulator that must never take a real message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkit.models import Organization
from outbox import routing
from outbox.models import Message
from sms_providers.models import SANDBOX, Attempt, OrganizationApp
from sms_providers.results import Fault, Outcome, Result, rejected, unavailable, unknown
from sms_providers.sending import Route
from tests.outbox.conftest import Script

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
Apps = Callable[..., list[OrganizationApp]]


@pytest.fixture(autouse=True)
def _scripted(script: Script) -> None:
    """Every slug here is one of the scripted providers."""


def app(pk: int, slug: str, *, priority: int = 100, is_enabled: bool = True) -> OrganizationApp:
    return OrganizationApp(
        pk=pk,
        slug=slug,
        priority=priority,
        is_enabled=is_enabled,
        installed_at=NOW + timedelta(seconds=pk),
        organization=Organization(name="x"),
    )


def tried(which: OrganizationApp, result: Result, retry_at: datetime | None = None) -> Attempt:
    return Attempt(
        app=which,
        provider_slug=which.slug,
        outcome=result.outcome,
        reason=result.reason,
        message=result.message,
        retry_at=retry_at,
    )


def message(**fields: object) -> Message:
    return Message(recipient="+966500000001", text="x", **fields)


FIRST, SECOND, SIMULATOR = app(1, "first-sms", priority=1), app(2, "second-sms", priority=2), app(3, SANDBOX)


def chosen(choice: Route | routing.Wait | routing.GiveUp) -> str:
    assert isinstance(choice, Route)
    return choice.slug


def test_lower_priority_numbers_come_first_and_equal_ones_by_installation() -> None:
    late, early = app(9, "second-sms", priority=5), app(4, "first-sms", priority=5)
    assert chosen(routing.choose(message(), apps=[late, early], tries=[], now=NOW)) == "first-sms"
    assert chosen(routing.choose(message(), apps=[SECOND, FIRST], tries=[], now=NOW)) == "first-sms"


def test_a_pin_is_obeyed_although_another_app_comes_first() -> None:
    assert chosen(routing.choose(message(pinned_app_id=2), apps=[FIRST, SECOND], tries=[], now=NOW)) == "second-sms"


def test_a_pinned_message_never_fails_over() -> None:
    tries = [tried(SECOND, rejected(Fault.AUTH, "No."))]
    choice = routing.choose(message(pinned_app_id=2), apps=[FIRST, SECOND], tries=tries, now=NOW)
    assert choice == routing.GiveUp("bad_credentials", "No.")


def test_a_message_whose_pinned_app_is_disabled_waits() -> None:
    disabled = app(2, "second-sms", is_enabled=False)
    choice = routing.choose(message(pinned_app_id=2), apps=[FIRST, disabled], tries=[], now=NOW)
    assert isinstance(choice, routing.Wait)
    assert (choice.until, choice.reason) == (NOW + routing.NO_APP_WAIT, "no_app")


def test_an_unavailable_app_is_passed_over_until_its_time_has_come() -> None:
    tries = [tried(FIRST, unavailable(), retry_at=NOW + timedelta(seconds=2))]
    assert chosen(routing.choose(message(), apps=[FIRST, SECOND], tries=tries, now=NOW)) == "second-sms"
    later = NOW + timedelta(seconds=3)
    assert chosen(routing.choose(message(), apps=[FIRST, SECOND], tries=tries, now=later)) == "first-sms"


def test_when_all_are_unavailable_it_waits_for_the_first_to_come_back() -> None:
    tries = [
        tried(FIRST, unavailable(), retry_at=NOW + timedelta(seconds=9)),
        tried(SECOND, unavailable(reason="throttled"), retry_at=NOW + timedelta(seconds=4)),
    ]
    choice = routing.choose(message(), apps=[FIRST, SECOND], tries=tries, now=NOW)
    assert isinstance(choice, routing.Wait)
    assert (choice.until, choice.reason) == (NOW + timedelta(seconds=4), "throttled")


def test_the_simulator_never_takes_a_message_that_does_not_name_it() -> None:
    # Neither beside a disabled app, nor when it is all that is left after an uninstall.
    for apps in ([SIMULATOR], [SIMULATOR, app(1, "first-sms", is_enabled=False)]):
        assert isinstance(routing.choose(message(), apps=apps, tries=[], now=NOW), routing.Wait)
    assert chosen(routing.choose(message(), apps=[SIMULATOR, SECOND], tries=[], now=NOW)) == "second-sms"


def test_the_simulator_is_never_a_fail_over_target() -> None:
    tries = [tried(FIRST, rejected(Fault.AUTH))]
    assert isinstance(routing.choose(message(), apps=[FIRST, SIMULATOR], tries=tries, now=NOW), routing.GiveUp)
    tries = [tried(FIRST, unavailable(), retry_at=NOW + timedelta(seconds=5))]
    assert isinstance(routing.choose(message(), apps=[FIRST, SIMULATOR], tries=tries, now=NOW), routing.Wait)


def test_the_simulator_can_be_asked_for_by_name() -> None:
    assert chosen(routing.choose(message(pinned_app_id=3), apps=[FIRST, SIMULATOR], tries=[], now=NOW)) == SANDBOX


def test_test_messages_go_to_the_simulator_whatever_is_installed() -> None:
    assert chosen(routing.choose(message(is_test=True), apps=[FIRST], tries=[], now=NOW)) == SANDBOX


def test_only_an_unavailable_app_is_tried_again() -> None:
    for result in (rejected(Fault.AUTH), rejected(Fault.RECIPIENT), unknown("read_timeout", "")):
        assert routing.retry_at(result, tries_before=0, now=NOW) is None


def test_a_retry_after_is_never_undercut() -> None:
    result = unavailable(Fault.THROTTLED, retry_after=timedelta(seconds=30))
    for _ in range(50):
        moment = routing.retry_at(result, tries_before=0, now=NOW)
        assert moment is not None
        assert timedelta(seconds=30) <= moment - NOW <= timedelta(seconds=34)


@given(tries_before=st.integers(0, 10_000))
def test_the_back_off_doubles_up_to_its_longest(tries_before: int) -> None:
    moment = routing.retry_at(unavailable(), tries_before=tries_before, now=NOW)
    assert moment is not None
    expected = min(2.0 * 2 ** min(tries_before, 20), 600.0)
    assert expected * 0.74 <= (moment - NOW).total_seconds() <= expected * 1.26


RESULTS = st.sampled_from([rejected(Fault.AUTH), rejected(Fault.BALANCE), unavailable(), unavailable(Fault.THROTTLED)])


@given(
    history=st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), RESULTS, st.integers(-60, 60)), max_size=8),
    is_second_enabled=st.booleans(),
)
def test_whatever_was_tried_a_refused_app_is_not_asked_again_and_no_pause_is_cut_short(
    history: list[tuple[OrganizationApp, Result, int]], is_second_enabled: bool
) -> None:
    tries = [
        tried(which, result, NOW + timedelta(seconds=wait) if result.outcome == Outcome.UNAVAILABLE else None)
        for which, result, wait in history
    ]
    apps = [FIRST, app(2, "second-sms", priority=2, is_enabled=is_second_enabled)]
    choice = routing.choose(message(), apps=apps, tries=tries, now=NOW)
    if isinstance(choice, Route):
        assert choice.app is not None
        assert choice.app.is_usable
        mine = [attempt for attempt in tries if attempt.app_id == choice.app.pk]
        if mine:
            assert mine[-1].outcome == Outcome.UNAVAILABLE
            assert mine[-1].retry_at is not None
            assert mine[-1].retry_at <= NOW
    elif isinstance(choice, routing.Wait):
        assert choice.until > NOW
