"""Whose turn it is: what a claim takes when several organizations and jobs have messages waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from linkit import clock
from linkit.models import Organization
from outbox import claims, turns
from outbox.models import Message, new_ids
from outbox.turns import Queue, Turns
from tests import factories

pytestmark = pytest.mark.django_db

Fill = Callable[..., None]


@pytest.fixture
def fill(organization: Organization) -> Fill:
    """Return a maker of many queued messages: `fill(100)`, `fill(1, of=other_organization)`."""

    def make(count: int, of: Organization = organization, *, ago: timedelta = timedelta(minutes=1)) -> None:
        due_at = clock.now() - ago
        Message.objects.bulk_create(
            Message(
                id=pk, organization=of, recipient=factories.mobile(), text="Hello", encoding="GSM-7",
                segment_count=1, next_attempt_at=due_at, expires_at=clock.now() + timedelta(hours=2),
            )
            for pk in new_ids(count)
        )  # fmt: skip

    return make


def by_organization(claimed: list[claims.Claimed]) -> Counter[UUID]:
    return Counter(each.message.organization_id for each in claimed)


def test_organizations_share_a_claim_however_much_each_has(
    fill: Fill, organization: Organization, other_organization: Organization
) -> None:
    fill(200, ago=timedelta(hours=1))
    fill(10, of=other_organization)
    assert by_organization(claims.claim(limit=12)) == {organization.pk: 6, other_organization.pk: 6}


def test_what_one_has_not_the_others_get(
    fill: Fill, organization: Organization, other_organization: Organization
) -> None:
    fill(200, ago=timedelta(hours=1))
    fill(2, of=other_organization)
    claimed = claims.claim(limit=12)
    assert by_organization(claimed) == {organization.pk: 10, other_organization.pk: 2}
    # The quiet one's first message is not behind the busy one's.
    assert other_organization.pk in {each.message.organization_id for each in claimed[:2]}


def test_with_more_organizations_than_room_each_has_its_turn(fill: Fill) -> None:
    many = [factories.make_organization(f"Org {number}") for number in range(7)]
    for each in many:
        fill(5, of=each)
    memory, seen = Turns(), Counter[UUID]()
    for _ in range(7):
        seen += by_organization(claims.claim(limit=2, turns=memory))
    assert seen == {each.pk: 2 for each in many}


def test_an_organization_that_comes_later_is_found_at_once(fill: Fill, other_organization: Organization) -> None:
    fill(100)
    memory = Turns()
    claims.claim(limit=10, turns=memory)
    fill(1, of=other_organization)
    memory._next_walk = 0.0  # looking takes a share of the time: here as if enough had passed
    assert by_organization(claims.claim(limit=10, turns=memory))[other_organization.pk] == 1


def test_a_floor_hides_nothing_for_long(fill: Fill) -> None:
    fill(20, ago=timedelta(minutes=1))
    memory = Turns()
    claims.claim(limit=20, turns=memory)
    fill(5, ago=timedelta(hours=1))  # a transaction that was open for long has committed: before the floor
    memory._next_walk = 0.0
    assert claims.claim(limit=10, turns=memory) == []
    memory._next_head = 0.0  # as every few seconds
    memory._next_walk = 0.0
    assert len(claims.claim(limit=10, turns=memory)) == 5


def test_a_message_that_is_given_back_lies_behind_no_floor(fill: Fill) -> None:
    fill(3)
    memory = Turns()
    claims.give_back(claims.claim(limit=3, turns=memory))
    memory._next_walk = 0.0
    assert len(claims.claim(limit=3, turns=memory)) == 3


def test_no_more_is_taken_of_a_queue_than_there_is_room_for(
    fill: Fill, organization: Organization, other_organization: Organization
) -> None:
    fill(50)
    fill(50, of=other_organization)
    claimed = claims.claim(limit=20, room=lambda queue: 3 if queue.key == organization.pk else 100)
    assert by_organization(claimed) == {organization.pk: 3, other_organization.pk: 17}


def test_messages_for_later_are_not_taken_and_hide_nobody(fill: Fill, other_organization: Organization) -> None:
    fill(5, ago=-timedelta(hours=1))
    fill(1, of=other_organization)
    assert by_organization(claims.claim(limit=10)) == {other_organization.pk: 1}


def test_a_statement_asks_no_more_queues_than_it_can_plan_quickly(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_MOST_AT_ONCE", 3)
    for number in range(8):
        fill(1, of=factories.make_organization(f"Org {number}"))
    memory, taken = Turns(), 0
    while claimed := claims.claim(limit=64, turns=memory):
        assert len(claimed) <= 3
        taken += len(claimed)
    assert taken == 8


def test_queues_without_room_take_up_no_turns(
    fill: Fill, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_MOST_AT_ONCE", 3)
    barred = [factories.make_organization(f"Org {number}") for number in range(5)]
    for each in barred:
        fill(2, of=each)
    fill(20)
    keys, memory = {each.pk for each in barred}, Turns()
    for _ in range(4):
        claimed = claims.claim(limit=5, turns=memory, room=lambda queue: 0 if queue.key in keys else 100)
        assert by_organization(claimed) == {organization.pk: 5}


def test_of_an_organizations_jobs_one_without_room_hides_none_that_has() -> None:
    memory = Turns()
    ours, theirs = uuid4(), uuid4()
    slow, fast, other = (Queue(uuid4(), of, app, is_job=True) for of, app in ((ours, 1), (ours, 2), (theirs, 3)))
    memory._jobs, memory._next_jobs = [slow, fast, other], float("inf")
    seen: list[set[UUID]] = []

    class Taken:
        def take(self, _: object, wanted: dict[Queue, int]) -> list[Message]:
            seen.append({queue.key for queue in wanted})
            return []

    first, others = memory._by_organization(job for job in memory._running_jobs(clock.now()) if job is not slow)
    for jobs in (first, others):
        memory._go_round(turns._JOBS, jobs, Taken(), limit=10, room=lambda queue: 0 if queue is slow else 5)  # type: ignore[arg-type]
    assert {key for keys in seen for key in keys} == {fast.key, other.key}
