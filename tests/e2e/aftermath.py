"""What must be true after any fault: `assert_sound` is the one place where that stands."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.core.management import call_command

from billing.models import CreditAccount, CreditTransaction, Hold, Kind
from linkit import clock
from linkit.models import Organization
from outbox.bulk import receiving
from outbox.bulk.models import ENDED, BulkJob
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog, Status
from sms_providers.results import Outcome
from tests import factories
from tests.e2e.test_bulk import csv_of, mobiles
from tests.gateway import Gateway
from tests.stack import Stack, eventually

ZERO = Decimal(0)
UNKNOWN = (Status.DISPATCH_TIMEOUT, Outcome.UNKNOWN)
# What a log may say while its message says something else: it is claimed again, and was not started yet.
CLAIMED_AGAIN = (Status.SENDING, Status.PENDING)


def fill(stack: Stack, *, singles: int = 10, rows: int = 30) -> list[str]:
    """Queue messages of their own and the rows of a file, for an app that costs credits. Returns their numbers."""
    with stack.orm():
        organization = Organization.objects.get(pk=stack.access["organization_id"])
        app = factories.install(organization, "mora-sms")
        OrganizationApp.objects.filter(pk=app.pk).update(is_metered=True)
        factories.top_up(organization, Decimal(10) * (singles + rows))
        if rows:
            file = io.BytesIO(csv_of(mobiles(rows)))
            receiving.create(organization=organization, app=app, slug=app.slug, file=file)
            call_command("drain_outbox", seconds=0, stdout=io.StringIO())  # reads it, and sends nothing
    stack.enqueue(singles)
    return [row["recipient"] for row in stack.rows().values()]


def begun_in(stack: Stack) -> set[str]:
    """The numbers to which a call was allowed to begin."""
    return {row["recipient"] for row in stack.rows().values() if row["is_started"]}


# --- time passes -------------------------------------------------------------------------------------------------


def reap(stack: Stack) -> None:
    """Run `manage.py reap_outbox`, in this process: it starts faster."""
    with stack.orm():
        call_command("reap_outbox", stdout=io.StringIO())


def leases_have_ended(stack: Stack) -> bool:
    return not any(row["is_leased"] for row in stack.rows().values())


def reap_what_is_left(stack: Stack) -> None:
    """Let the leases run out by the database's clock, and settle what nobody finished."""
    eventually(lambda: leases_have_ended(stack), what="the leases to end")
    reap(stack)


# --- money -------------------------------------------------------------------------------------------------------


@dataclass
class Books:
    """The money of the stack's organization at one moment. Charges and holds are by number."""

    balance: Decimal
    held: Decimal
    charges: dict[str, Decimal] = field(default_factory=dict)
    holds: dict[str, Decimal] = field(default_factory=dict)


def books(stack: Stack) -> Books:
    """Read the money, and prove it: with `audit_credits`, and entry by entry."""
    with stack.orm():
        call_command("audit_credits", stdout=io.StringIO())
        account = CreditAccount.objects.get()
        found = Books(account.balance, account.held)
        number_of = dict(SmsLog.objects.values_list("pk", "recipient"))
        running = ZERO
        for entry in CreditTransaction.objects.order_by("pk"):
            running += entry.amount
            assert entry.balance_after == running
            if entry.kind == Kind.SMS_CHARGE:
                number = number_of[entry.reference]
                assert number not in found.charges, f"{number} was charged twice"
                found.charges[number] = -entry.amount
        assert found.balance == running
        found.holds = {number_of[reference]: amount for reference, amount in Hold.objects.values_list("pk", "amount")}
        assert found.held == sum(found.holds.values())
    return found


# --- everything --------------------------------------------------------------------------------------------------


def assert_sound(stack: Stack, gateway: Gateway, *, refused: Collection[str] = ()) -> Counter[str]:
    """Reap, and check every row against its deadline, its log, its attempts, its job, its credits and the gateway.

    `refused` are the numbers of which the gateway has refused a call, so that another one is no fault. Every number
    must have one message. Returns how many messages are in each state.
    """
    reap(stack)
    with stack.orm():
        now = clock.now()
        messages = list(Message.objects.all())
        logs = {log.queued_id: log for log in SmsLog.objects.prefetch_related("attempts")}
        jobs = list(BulkJob.objects.all())
    for message in messages:
        assert_legal(message, now)
        assert_log_agrees(message, logs.pop(message.pk, None))
    assert logs == {}, "a log without a message"
    for job in jobs:
        assert_counters_agree(job, [message for message in messages if message.job_id == job.pk])
    assert_gateway_agrees(messages, gateway, refused)
    assert_books_agree(stack, messages)
    return Counter(message.status for message in messages)


def assert_legal(message: Message, now: datetime) -> None:
    """The row is in one of the states there are, with what belongs to it, and not past its deadline."""
    in_hand = (message.lease_expires_at, message.claim_token)
    if message.status == Status.PENDING:
        assert (*in_hand, message.started_at, message.sent_at) == (None, None, None, None), message
        assert message.expires_at is None or message.expires_at > now, f"{message} has expired"
    elif message.status == Status.SENDING:
        assert None not in in_hand, message
        assert message.lease_expires_at is not None
        assert message.lease_expires_at > now, f"the lease of {message} has ended"
    else:
        assert message.status in (Status.SENT, Status.FAILED, Status.DISPATCH_TIMEOUT), message
        assert message.lease_expires_at is None
        assert (message.sent_at is not None) == (message.status == Status.SENT), message
        assert bool(message.reason) == (message.status != Status.SENT), message
        assert message.status != Status.DISPATCH_TIMEOUT or message.started_at is not None, message


def assert_log_agrees(message: Message, log: SmsLog | None) -> None:
    """There is a log from the first start mark on, and an attempt for each; what they say is what the row says."""
    if log is None:
        assert message.started_at is None, f"{message} was started and has no log"
        assert message.status in (Status.PENDING, Status.SENDING, Status.FAILED), message
        return
    is_under_way = message.status == Status.SENDING and message.started_at is not None
    assert (message.status, log.status) == CLAIMED_AGAIN or message.status == log.status, (message, log.status)
    attempts = list(log.attempts.all())
    assert attempts, f"{message} has a log without an attempt"
    assert [attempt.finished_at is None for attempt in attempts] == [False] * (len(attempts) - 1) + [is_under_way]
    outcomes = [attempt.outcome for attempt in attempts]
    assert outcomes.count(Outcome.ACCEPTED) == (message.status == Status.SENT), outcomes
    if message.status in UNKNOWN:
        assert (log.status, outcomes[-1]) == UNKNOWN
    assert outcomes.count(Outcome.UNKNOWN) == (message.status == Status.DISPATCH_TIMEOUT), outcomes


def assert_counters_agree(job: BulkJob, messages: list[Message]) -> None:
    statuses = Counter(message.status for message in messages)
    open_ = statuses[Status.PENDING] + statuses[Status.SENDING]
    assert job.sent_count == statuses[Status.SENT]
    assert job.failed_count == statuses[Status.FAILED] + job.invalid_count
    assert job.unknown_count == statuses[Status.DISPATCH_TIMEOUT]
    assert job.total_count == len(messages) + job.invalid_count
    assert (job.status in ENDED) == (open_ == 0), f"{open_} rows are open, and the job is {job.status}"


def assert_gateway_agrees(messages: list[Message], gateway: Gateway, refused: Collection[str]) -> None:
    """No number twice; what is sent has come, and what has come is sent, or unknown, or under way."""
    called = gateway.journal.numbers(accepted_only=False)
    assert max(Counter(number for number in called if number not in refused).values(), default=0) <= 1
    assert gateway.journal.duplicates() == []
    status_of = {message.recipient: message.status for message in messages}
    assert len(status_of) == len(messages), "a number has two messages"
    accepted = set(gateway.journal.numbers())
    assert {number for number, status in status_of.items() if status == Status.SENT} <= accepted
    assert {status_of[number] for number in accepted} <= {Status.SENT, Status.DISPATCH_TIMEOUT, Status.SENDING}


def assert_books_agree(stack: Stack, messages: list[Message]) -> None:
    """What is sent is charged, once; for what may have been sent the credits are held; for nothing else."""
    found = books(stack)
    sent = {message.recipient for message in messages if message.status == Status.SENT}
    may_be_sent = {
        message.recipient
        for message in messages
        if message.started_at is not None and message.status in (Status.SENDING, Status.DISPATCH_TIMEOUT)
    }
    assert (set(found.charges), set(found.holds)) == (sent, may_be_sent)
