"""In hand and before the senders queues take turns, so that what was claimed first of one delays no other."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from pytest_django import Settings

from outbox.claims import Claimed, Installed, Started
from outbox.hand import Hand, Ready
from outbox.models import Message
from outbox.senders import Senders
from sms_providers.adapters.base import Capabilities, ProviderAdapter, Sms
from sms_providers.models import Attempt, OrganizationApp, SmsLog
from sms_providers.results import Result, accepted
from sms_providers.sending import Route
from sms_providers.transport import Budget
from tests import factories

BUSY, QUIET, JOB = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)


class Gate(ProviderAdapter):
    """Notes who is sent for, and lets calls wait until it is opened."""

    slug, name, origin = "gate", "Gate", ""
    capabilities = Capabilities()

    def __init__(self) -> None:
        super().__init__({})
        self.called: list[str] = []
        self.opened, self.entered = threading.Event(), threading.Event()

    def send(self, sms: Sms, budget: Budget) -> Result:
        self.called.append(sms.text)
        self.entered.set()
        assert self.opened.wait(20)
        return accepted("1")


@pytest.fixture
def gate() -> Gate:
    return Gate()


def claimed(text: str, organization: uuid.UUID, *, job: uuid.UUID | None = None, start_in: float = 60) -> Claimed:
    message = Message(organization_id=organization, job_id=job, text=text, recipient="+966500000001")
    log = SmsLog(organization_id=organization, recipient=message.recipient, text=text)
    return Claimed(message, time.monotonic() + start_in, [], log, [])


def texts(taken: list[Ready]) -> list[str]:
    return [ready.claimed.message.text for ready in taken]


def test_each_queue_in_hand_has_its_turn_and_rows_of_jobs_come_last(gate: Gate) -> None:
    hand = Hand()
    for text in ("row 1", "row 2"):
        hand.add(claimed(text, BUSY, job=JOB), Route(None, gate), per_second=None)
    for text in ("busy 1", "busy 2", "busy 3"):
        hand.add(claimed(text, BUSY), Route(None, gate), per_second=None)
    hand.add(claimed("quiet 1", QUIET), Route(None, gate), per_second=None)

    assert texts(list(hand.take(4))) == ["busy 1", "quiet 1", "busy 2", "busy 3"]
    assert texts(list(hand.take(4))) == ["row 1", "row 2"]
    assert len(hand) == 0


def test_so_it_is_with_what_waits_for_permits_of_one_app(gate: Gate) -> None:
    hand, route = Hand(), Route(OrganizationApp(pk=77), gate)
    for text in ("busy 1", "busy 2", "busy 3"):
        hand.add(claimed(text, BUSY), route, per_second=1000)
    hand.add(claimed("late", BUSY, start_in=-1), route, per_second=1000)
    hand.add(claimed("quiet 1", QUIET), route, per_second=1000)

    taken = list(hand.take(3))
    assert texts(taken) == ["busy 1", "quiet 1", "busy 2"]
    moments = [ready.moment or 0.0 for ready in taken]
    assert moments == sorted(moments)
    assert texts(list(hand.take(1))) == ["busy 3"]
    assert [item.message.text for item in hand.late()] == ["late"]
    assert hand.clear() == []


def test_places_are_never_exceeded_however_many_apps_there_are(gate: Gate) -> None:
    hand = Hand()
    for app in range(100, 107):
        for number in range(5):
            hand.add(claimed(str(number), uuid.UUID(int=app)), Route(OrganizationApp(pk=app), gate), per_second=1000)
    assert len(list(hand.take(10))) <= 10


def test_the_first_of_a_queue_that_has_nothing_under_way_is_sent_before_the_others(
    gate: Gate, settings: Settings
) -> None:
    settings.OUTBOX_SENDERS = 1
    senders = Senders()

    def send(text: str, organization: uuid.UUID) -> None:
        started = Started(claimed(text, organization), Route(None, gate), Attempt(log=SmsLog()))
        senders.send(started, Ready(started.claimed, started.route))

    assert senders.free_places(wanted=4) == 2
    send("busy 1", BUSY)
    assert gate.entered.wait(20)
    for text, organization in (("busy 2", BUSY), ("busy 3", BUSY), ("quiet 1", QUIET), ("quiet 2", QUIET)):
        send(text, organization)
    gate.opened.set()
    done: list[tuple[Started, Result]] = []
    while senders.in_flight:
        done += senders.results(more_within=0.01)
    senders.end()

    assert len(done) == 5
    assert gate.called == ["busy 1", "quiet 1", "busy 2", "busy 3", "quiet 2"]


@pytest.mark.django_db
def test_installed_apps_are_remembered_until_something_changed(django_assert_num_queries: object) -> None:
    organization = factories.make_organization("Acme")
    app = factories.install(organization, "mora-sms")
    message, installed = Message(organization_id=organization.pk), Installed()
    installed.look([message])
    assert installed.of(message) == [app]
    OrganizationApp.objects.update(is_enabled=False)
    with django_assert_num_queries(0):  # type: ignore[operator]
        installed.look([message])
    installed.forget()
    installed.look([message])
    assert [each.is_enabled for each in installed.of(message)] == [False]
