"""Everything that can happen to messages, in any order, against a model that is simple enough to be believed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from linkit import clock
from linkit.errors import Conflict
from linkit.models import Organization
from outbox import claims, reaping, routing, services, settling
from outbox.claims import Claimed, Started
from outbox.models import Message
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Fault, Outcome, Result, accepted, rejected, unavailable, unknown
from tests import factories
from tests.outbox.conftest import Script

LONG_AGO = timedelta(hours=2)
RESULTS: dict[str, Result] = {
    "accepted": accepted("id-1", raw={"ok": True}),
    "refused number": rejected(Fault.RECIPIENT, "Bad number."),
    "refused account": rejected(Fault.AUTH, "Wrong key."),
    "unavailable": unavailable(message="Refused the connection."),
    "unknown": unknown("read_timeout", "No answer."),
}


@dataclass
class Known:
    """What the model knows of one message."""

    status: str = Status.PENDING
    claim: object = None  # the token of the claim that may still write to it
    is_started: bool = False
    has_lease: bool = False
    # A call was begun of which nobody has said for certain that it did not send.
    may_have_left: bool = False


class Messages(RuleBasedStateMachine):
    """Workers that claim, start, finish and crash; a reaper; people; and time."""

    organization: Organization

    @initialize()
    def begin(self) -> None:
        self.inside = transaction.atomic()
        self.inside.__enter__()
        self.model: dict[str, Known] = {}
        self.claimed: list[Claimed] = []
        self.started: list[Started] = []
        for _ in range(3):
            self.enqueue(None)

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.inside.__exit__(None, None, None)

    # --- clients and people --------------------------------------------------------------------------------

    @rule(key=st.sampled_from([None, "a", "b"]))
    def somebody_queues(self, key: str | None) -> None:
        self.enqueue(key)

    def enqueue(self, key: str | None) -> None:
        queued = services.enqueue(
            organization=self.organization, recipient=factories.mobile(), text="Hello", idempotency_key=key
        )
        assert queued.is_replay == (queued.message.pk in self.model)
        self.model.setdefault(queued.message.pk, Known())

    @precondition(lambda self: self.model)
    @rule(data=st.data(), act=st.sampled_from(["cancel", "requeue", "was sent", "send again", "send again later"]))
    def a_person_acts(self, data: Any, act: str) -> None:
        pk, known = self._any(data)
        match act:
            case "cancel":
                self._cancel(pk, known)
            case "requeue":
                self._requeue(pk, known)
            case _:
                self._settle(pk, known, was_sent=act == "was sent", is_long_ago=act == "send again later")

    def _cancel(self, pk: str, known: Known) -> None:
        if self._is_done(known.status == Status.PENDING, services.cancel, message=Message.objects.get(pk=pk)):
            known.status = Status.FAILED

    def _requeue(self, pk: str, known: Known) -> None:
        if self._is_done(known.status == Status.FAILED, settling.requeue, Message.objects.get(pk=pk)):
            # A call that certainly did not send, or a person who says that it should go out again.
            known.status, known.claim, known.is_started, known.may_have_left = Status.PENDING, None, False, False

    def _settle(self, pk: str, known: Known, *, was_sent: bool, is_long_ago: bool) -> None:
        if is_long_ago:
            Message.objects.filter(pk=pk, status=Status.DISPATCH_TIMEOUT).update(claimed_at=clock.now() - LONG_AGO)
        message = Message.objects.get(pk=pk)
        over = message.claimed_at is not None and message.claimed_at < clock.now() - timedelta(hours=1)
        may = known.status == Status.DISPATCH_TIMEOUT and (was_sent or over)
        if self._is_done(may, settling.settle, message, was_sent=was_sent):
            known.status, known.claim = (Status.SENT if was_sent else Status.PENDING), None
            if not was_sent:
                known.is_started, known.may_have_left = False, False

    # --- workers -------------------------------------------------------------------------------------------

    @precondition(lambda self: self._some(Status.PENDING))
    @rule(limit=st.integers(1, 3), starts=st.booleans())
    def claim(self, limit: int, starts: bool) -> None:
        for item in claims.claim(limit=limit):
            known = self.model[item.message.pk]
            assert known.status == Status.PENDING
            known.status, known.claim, known.has_lease = Status.SENDING, item.message.claim_token, True
            known.is_started = False
            if starts:
                self._start(item)
            else:
                self.claimed.append(item)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def start(self, data: Any) -> None:
        self._start(self.claimed.pop(data.draw(st.integers(0, len(self.claimed) - 1))))

    def _start(self, item: Claimed) -> None:
        route = routing.choose(item.message, apps=item.apps, tries=item.tries, now=clock.now())
        if not isinstance(route, routing.Route):
            self._back(item)
            return
        known = self.model[item.message.pk]
        may = known.claim == item.message.claim_token and known.status == Status.SENDING and known.has_lease
        started = claims.mark_started([(item, route)])
        assert bool(started) == (may and not known.is_started)
        for each in started:
            assert not known.may_have_left, "a second call of a message that may have been sent"
            known.is_started = known.may_have_left = True
            self.started.append(each)

    def _back(self, item: Claimed) -> None:
        claims.give_back([item])
        known = self.model[item.message.pk]
        if known.claim == item.message.claim_token and known.status == Status.SENDING and not known.is_started:
            known.status, known.claim = Status.PENDING, None

    @precondition(lambda self: self.started)
    @rule(data=st.data(), kind=st.sampled_from(sorted(RESULTS)), times=st.integers(1, 2))
    def finish(self, data: Any, kind: str, times: int) -> None:
        each, result = self.started.pop(data.draw(st.integers(0, len(self.started) - 1))), RESULTS[kind]
        for _ in range(times):  # the second time as after a commit whose answer was lost
            claims.finish([(each, result)])
        known = self.model[each.claimed.message.pk]
        if known.claim != each.claimed.message.claim_token:
            return  # somebody has settled it meanwhile: a late answer changes nothing
        if result.outcome == Outcome.UNKNOWN:
            known.status = Status.DISPATCH_TIMEOUT
            return
        known.claim, known.may_have_left = None, result.outcome == Outcome.ACCEPTED
        if result.outcome == Outcome.ACCEPTED:
            known.status = Status.SENT
        elif result.outcome == Outcome.UNAVAILABLE:
            known.status, known.is_started = Status.PENDING, False
        else:
            known.status = Status.FAILED  # there is one app

    @precondition(lambda self: self.claimed or self.started)
    @rule(is_crash=st.booleans())
    def a_worker_ends(self, is_crash: bool) -> None:
        """It gives back what it has not started and is never heard of again; or it dies, and all is forgotten."""
        for item in [] if is_crash else self.claimed:
            self._back(item)
        self.claimed.clear()
        self.started.clear()

    # --- time ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self._some(Status.SENDING))
    @rule()
    def leases_end(self) -> None:
        Message.objects.filter(status=Status.SENDING).update(lease_expires_at=clock.now() - timedelta(seconds=1))
        for known in self.model.values():
            known.has_lease = False

    @precondition(lambda self: self._some(Status.PENDING))
    @rule(data=st.data(), is_over=st.booleans())
    def a_pause_ends_or_a_time_to_live(self, data: Any, is_over: bool) -> None:
        past = clock.now() - timedelta(seconds=1)
        pk, known = self._any(data)
        if is_over and known.status == Status.PENDING:
            Message.objects.filter(pk=pk).update(expires_at=past)
            known.status = Status.FAILED
            self.reap(times=1)
        Message.objects.filter(status=Status.PENDING).update(next_attempt_at=past)
        Attempt.objects.filter(retry_at__isnull=False).update(retry_at=past)

    @precondition(lambda self: self._some(Status.SENDING))
    @rule(times=st.integers(1, 2))
    def reap(self, times: int) -> None:
        for _ in range(times):
            reaping.reap()
        for known in self.model.values():
            if known.status == Status.SENDING and not known.has_lease:
                if known.is_started:
                    known.status = Status.DISPATCH_TIMEOUT  # and its claim may still tell how it ended
                else:
                    known.status, known.claim = Status.PENDING, None

    # --- what always holds -----------------------------------------------------------------------------------

    @invariant()
    def the_queue_is_as_the_model_says(self) -> None:
        rows = {row.pk: row for row in Message.objects.all()}
        assert {pk: row.status for pk, row in rows.items()} == {pk: each.status for pk, each in self.model.items()}
        for row in rows.values():
            assert (row.lease_expires_at is not None) == (row.status == Status.SENDING)
            assert row.status != Status.PENDING or row.started_at is None

    @invariant()
    def logs_and_attempts_tell_the_same(self) -> None:
        told = dict(SmsLog.objects.values_list("queued_id", "status"))
        for pk, known in self.model.items():
            if pk not in told:
                assert not known.may_have_left
            elif known.status in (Status.SENT, Status.DISPATCH_TIMEOUT, Status.FAILED):
                assert told[pk] == known.status
        under_way = {pk for pk, each in self.model.items() if each.status == Status.SENDING and each.is_started}
        open_now = Attempt.objects.filter(finished_at=None)
        assert sorted(map(str, open_now.values_list("log__queued_id", flat=True))) == sorted(under_way)
        assert not Attempt.objects.filter(finished_at__lt=F("started_at")).exists()

    # --- inside ----------------------------------------------------------------------------------------------

    def _some(self, status: str) -> bool:
        return any(known.status == status for known in self.model.values())

    def _any(self, data: Any) -> tuple[str, Known]:
        pk = data.draw(st.sampled_from(sorted(self.model)))
        return pk, self.model[pk]

    def _is_done(self, may: bool, act: Any, *given: Any, **more: Any) -> bool:
        """Do it, and return whether it was done: it is refused if and only if it may not be done."""
        try:
            with transaction.atomic():
                act(*given, **more)
        except Conflict:
            assert not may
            return False
        assert may
        return True


def _try(organization: Organization, *, examples: int, steps: int) -> None:
    class Here(Messages):
        pass

    Here.organization = organization
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_in_whatever_order(organization: Organization, first: OrganizationApp, script: Script) -> None:
    _try(organization, examples=60, steps=30)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_whatever_happens_for_long(organization: Organization, first: OrganizationApp, script: Script) -> None:
    _try(organization, examples=1500, steps=80)
