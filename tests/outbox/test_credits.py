"""Queued messages through metered apps: held with the start mark, charged with the result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db.models.functions import Now

from billing import ledger
from billing.ledger import Credits, Wanted
from billing.models import CreditTransaction, Hold, Kind
from linkit import clock
from linkit.models import Organization
from outbox import claims, reaping, routing
from outbox.bulk.models import BulkJob, JobStatus
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog, Status
from sms_providers.results import Fault, rejected, unavailable, unknown
from sms_providers.sending import Route
from tests import factories
from tests.outbox.conftest import Script, figures

Queue = Callable[..., Message]
RATE = Decimal("1.887")


def drain_twice() -> None:
    """Drain, and once more a second later: what a hold was refused for is looked at again then."""
    Drain().run()
    Message.objects.filter(status=Status.PENDING).update(next_attempt_at=Now())
    Drain().run()


def spend(organization: Organization, amount: Decimal | int) -> None:
    ledger.adjust(organization=organization, amount=-Decimal(amount), description="spent")


def test_a_batch_is_charged(queue: Queue, metered: OrganizationApp, organization: Organization):
    for _ in range(3):
        queue()
    queue(text="x" * 307)
    assert figures(organization) == (10, 0), "waiting costs nothing"
    Drain().run()
    # The fourth costs more than was left.
    assert figures(organization) == (10 - 6 * RATE, 0)
    assert SmsLog.objects.get(segment_count=3).credit_charged == 3 * RATE
    call_command("audit_credits")


def test_without_credits_the_next_app_sends(
    queue: Queue, metered: OrganizationApp, second: OrganizationApp, organization: Organization, script: Script
):
    spend(organization, 10)
    queue()
    Drain().run()
    assert [slug for slug, _ in script.calls] == ["second-sms"]
    assert SmsLog.objects.get().credit_cost is None


def test_without_credits_and_another_app_it_waits(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
):
    spend(organization, 10)
    message = queue()
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.PENDING, "insufficient_credits")
    assert message.started_at is None
    assert script.calls == []
    assert not SmsLog.objects.exists()
    factories.top_up(organization, "5")
    Message.objects.update(next_attempt_at=Now())
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.SENT, "")


def test_more_than_there_is_is_held_in_the_order_of_the_queue(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
):
    spend(organization, 10 - 2 * RATE)
    messages = [queue() for _ in range(5)]
    drain_twice()
    sent = [message.pk for message in messages if Message.objects.get(pk=message.pk).status == Status.SENT]
    assert len(sent) == len(script.calls) == 2
    assert figures(organization) == (0, 0)
    waiting = Message.objects.exclude(pk__in=sent)
    assert {message.reason for message in waiting} == {"insufficient_credits"}
    assert not waiting.exclude(started_at=None).exists()
    call_command("audit_credits")


def test_the_hold_decides_when_the_look_was_too_early(
    queue: Queue, metered: OrganizationApp, organization: Organization
):
    """Two workers have both seen credits for one: the start mark of the second does not come back."""
    spend(organization, 10 - RATE)
    queue()
    queue()
    batch = claims.claim(limit=2)
    assert [item.credits for item in batch] == [Credits.AVAILABLE] * 2
    routes = [routing.choose(item.message, apps=item.apps, tries=[], now=clock.now()) for item in batch]
    pairs = [(item, route) for item, route in zip(batch, routes, strict=True) if isinstance(route, Route)]
    assert len(claims.mark_started(pairs[:1])) == 1
    assert claims.mark_started(pairs[1:]) == []
    left = Message.objects.get(pk=pairs[1][0].message.pk)
    assert (left.status, left.started_at) == (Status.SENDING, None)
    assert figures(organization) == (RATE, RATE)
    claims.give_back([pairs[1][0]])
    assert claims.claim(limit=2) == [], "it is not due at once, or a worker could spin on it"
    Message.objects.filter(pk=left.pk).update(next_attempt_at=Now())
    assert [item.credits for item in claims.claim(limit=2)] == [Credits.HELD]


@pytest.mark.parametrize("answer", [unavailable(), rejected(Fault.RECIPIENT)])
def test_what_is_not_sent_is_given_back(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script, answer
):
    script.answers["first-sms"] = answer
    queue()
    Drain().run()
    assert figures(organization) == (10, 0)
    call_command("audit_credits")


def test_a_second_try_is_held_and_charged_anew(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
):
    script.answers["first-sms"] = unavailable()
    queue()
    Drain().run()
    del script.answers["first-sms"]
    Message.objects.update(next_attempt_at=Now())
    # In the meantime the app may not let us try: its last answer says when.
    SmsLog.objects.get().attempts.update(retry_at=Now())
    Drain().run()
    assert Message.objects.get().status == Status.SENT
    assert figures(organization) == (10 - RATE, 0)
    assert CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).count() == 1


def test_a_failover_to_an_own_app_costs_nothing(
    queue: Queue, metered: OrganizationApp, second: OrganizationApp, organization: Organization, script: Script
):
    script.answers["first-sms"] = unavailable()
    queue()
    Drain().run()
    log = SmsLog.objects.get()
    assert (log.status, log.provider_slug, log.credit_cost) == (Status.SENT, "second-sms", None)
    assert figures(organization) == (10, 0)
    call_command("audit_credits")


def test_an_unknown_outcome_is_held_for_a_while(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script, settings
):
    script.answers["first-sms"] = unknown("read_timeout", "No answer.")
    queue()
    Drain().run()
    assert figures(organization) == (10, RATE)
    assert reaping.reap() == reaping.Reaped()
    Hold.objects.update(created_at=Now() - settings.CREDIT_HOLD_LIFETIME - timedelta(seconds=1))
    assert reaping.reap() == reaping.Reaped(holds=1)
    assert figures(organization) == (10, 0)


def test_a_worker_that_died_after_its_start_mark_leaves_a_hold(
    queue: Queue, metered: OrganizationApp, organization: Organization
):
    queue()
    (item,) = claims.claim(limit=1)
    route = routing.choose(item.message, apps=item.apps, tries=[], now=clock.now())
    assert isinstance(route, Route)
    claims.mark_started([(item, route)])
    Message.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    assert reaping.reap() == reaping.Reaped(unknown=1)
    assert figures(organization) == (10, RATE)
    call_command("audit_credits")


def test_a_test_key_and_an_own_app_cost_nothing(
    queue: Queue, metered: OrganizationApp, second: OrganizationApp, organization: Organization
):
    queue(is_test=True)
    queue(preferred_slug="second-sms")
    Drain().run()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert figures(organization) == (10, 0)


def test_a_job_without_credits_pauses(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
):
    spend(organization, 10 - 2 * RATE)
    job = BulkJob.objects.create(
        organization=organization, app=metered, provider_slug="first-sms", size=0, status=JobStatus.RUNNING,
        total_count=5, expires_at=Now() + timedelta(hours=1), run_started_at=Now(),
    )  # fmt: skip
    messages = [queue(preferred_slug="first-sms") for _ in range(5)]
    for number, message in enumerate(messages, start=2):
        Message.objects.filter(pk=message.pk).update(job=job, row_number=number, expires_at=None)
    drain_twice()
    job.refresh_from_db()
    assert (job.status, job.reason, job.sent_count, job.pending_count) == (
        JobStatus.PAUSED, "insufficient_credits", 2, 3,
    )  # fmt: skip
    assert len(script.calls) == 2
    assert figures(organization) == (0, 0)


def test_credits_that_are_only_held_pause_no_job(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
):
    """They may come back: it waits, and goes on by itself."""
    message = queue()
    held = uuid4()
    ledger.hold(organization.pk, [Wanted(held, Decimal(10))])
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.PENDING, "credits_held")
    ledger.release(organization.pk, [held])
    Message.objects.update(next_attempt_at=Now())
    Drain().run()
    assert Message.objects.get().status == Status.SENT


def test_a_top_up_brings_forward_what_waits(queue: Queue, metered: OrganizationApp, organization: Organization):
    spend(organization, 10)
    waiting, later = queue(), queue()
    Drain().run()
    Message.objects.filter(pk=later.pk).update(reason="throttled")
    assert claims.claim(limit=2) == []
    factories.top_up(organization, "10")
    assert [item.message.pk for item in claims.claim(limit=2)] == [waiting.pk]


def test_what_nobody_pays_for_is_looked_at_ever_more_rarely(queue: Queue, metered: OrganizationApp):
    message, now = queue(), clock.now()
    for hours, least, most in ((0, 20, 40), (0.1, 120, 240), (5, 400, 800)):
        message.created_at = now - timedelta(hours=hours)
        wait = routing.choose(message, apps=[metered], tries=[], now=now, credits=Credits.NONE)
        assert isinstance(wait, routing.Wait)
        assert least <= (wait.until - now).total_seconds() <= most


def test_a_stale_look_does_not_pause_a_job_that_was_resumed(
    queue: Queue, metered: OrganizationApp, organization: Organization
):
    job = BulkJob.objects.create(
        organization=organization, app=metered, provider_slug="first-sms", size=0, status=JobStatus.RUNNING,
        total_count=1, expires_at=Now() + timedelta(hours=1), run_started_at=Now(),
    )  # fmt: skip
    Message.objects.filter(pk=queue().pk).update(job=job, row_number=2, expires_at=None)
    spend(organization, 10)
    (item,) = claims.claim(limit=1)
    wait = routing.choose(item.message, apps=item.apps, tries=[], now=clock.now(), credits=item.credits)
    assert isinstance(wait, routing.Wait)
    BulkJob.objects.update(run_started_at=clock.now())  # somebody has topped up and resumed it
    claims.give_back([item], waits={item.message.pk: wait})
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING


def test_two_organizations_in_one_batch(
    queue: Queue, metered: OrganizationApp, organization: Organization, other_organization: Organization
):
    OrganizationApp.objects.create(organization=other_organization, slug="first-sms", is_metered=True)
    factories.top_up(other_organization, "10")
    for _ in range(3):
        queue()
        queue(organization=other_organization)
    Drain().run()
    assert figures(organization) == figures(other_organization) == (10 - 3 * RATE, 0)
    call_command("audit_credits")


def test_a_job_whose_credits_are_held_is_left_alone(
    queue: Queue, metered: OrganizationApp, organization: Organization, script: Script
):
    """Its rows are not turned over while messages under way may still give credits back."""
    job = BulkJob.objects.create(
        organization=organization, app=metered, provider_slug="first-sms", size=0, status=JobStatus.RUNNING,
        total_count=1, expires_at=Now() + timedelta(hours=1), run_started_at=Now(),
    )  # fmt: skip
    Message.objects.filter(pk=queue().pk).update(job=job, row_number=2, expires_at=None)
    held = uuid4()
    ledger.hold(organization.pk, [Wanted(held, Decimal(10))])
    assert claims.claim(limit=5) == []
    ledger.release(organization.pk, [held])
    Drain().run()
    job.refresh_from_db()
    assert (job.status, job.sent_count) == (JobStatus.COMPLETED, 1)
