"""Real workers share themselves between tenants, and together keep to the rate of an app."""

from __future__ import annotations

import time
from bisect import bisect_left
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connections

from linkit import clock
from linkit.models import Organization
from outbox import services
from outbox.bulk.models import BulkJob, JobStatus
from sms_providers.models import OrganizationApp
from tests import factories
from tests.gateway import Gateway, accept
from tests.stack import Stack, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

_ROWS = """
INSERT INTO outbox_message (id, organization_id, is_test, recipient, text, sender_id, encoding, segment_count,
    preferred_slug, pinned_app_id, request_digest, meta, job_id, row_number, typed_recipient, status, reason,
    error_message, next_attempt_at, provider_slug, updated_at)
SELECT %(prefix)s || lpad(to_hex(n), 12, '0'), %(organization)s, false, '+9665' || lpad((%(base)s + n)::text, 8, '0'),
    'Hello', '', 'GSM-7', 1, %(slug)s, %(app)s, '', '{}', %(job)s, n + 1, '', 'pending', '', '', now(), '', now()
FROM generate_series(1, %(count)s) AS n
"""


def bulk(stack: Stack, organization_id: UUID | str, app_id: int, *, rows: int, base: int) -> None:
    """Make a running bulk job with so many rows due, as a file leaves them behind."""
    with stack.orm():
        now = clock.now()
        job = BulkJob.objects.create(
            organization_id=organization_id,
            app_id=app_id,
            provider_slug="mora-sms",
            size=1,
            content_hash=f"{base}",
            region="SA",
            time_zone="Asia/Riyadh",
            status=JobStatus.RUNNING,
            total_count=rows,
            expires_at=now + timedelta(hours=1),
            run_started_at=now,
        )
        with connections["default"].cursor() as cursor:
            given = {
                "prefix": f"r{base // 10_000_000:02d}", "organization": organization_id, "base": base,
                "slug": "mora-sms", "app": app_id, "job": job.pk, "count": rows,
            }  # fmt: skip
            cursor.execute(_ROWS, given)


def tenant(stack: Stack, name: str) -> tuple[UUID, int]:
    """Make another organization with an app, and return the ids of both."""
    with stack.orm():
        organization = factories.make_organization(name)
        return organization.pk, factories.install(organization, "mora-sms").pk


@pytest.mark.parametrize("rows", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_tenants_bulk_delays_neither_anothers_message_nor_anothers_bulk(
    stack: Stack, gateway: Gateway, rows: int
) -> None:
    bulk(stack, stack.access["organization_id"], stack.install("mora-sms"), rows=rows, base=10_000_000)
    quiet_id, _ = tenant(stack, "Quiet")
    second_id, second_app = tenant(stack, "Second")
    gateway.script("mora-sms", accept(latency=0.05))
    stack.worker()
    stack.beat()
    gateway.journal.wait_for_count(200, seconds=30)

    with stack.orm():
        organization = Organization.objects.get(pk=quiet_id)
        began = time.time()
        services.enqueue(organization=organization, recipient="+966599999999", text="Your code")
    eventually(lambda: gateway.journal.of(number="+966599999999"), seconds=10, what="the single message to be sent")
    (entry,) = gateway.journal.of(number="+966599999999")
    assert entry.received_at - began < 2.0

    bulk(stack, second_id, second_app, rows=1000, base=30_000_000)
    released = time.time()
    eventually(
        lambda: [entry for entry in gateway.journal.entries if entry.received_at > released + 2],
        what="two seconds of sending",
    )
    # What was in hand already when it came goes first: a second at most.
    then = [entry.number for entry in gateway.journal.entries if released + 1 < entry.received_at < released + 2]
    share = sum(number.startswith("+96653") for number in then) / len(then)
    assert 0.3 < share < 0.7
    assert gateway.journal.duplicates(accepted_only=False) == []


def most_within(seconds: float, moments: list[float]) -> int:
    """Return the most moments that any window of so many seconds holds."""
    return max(bisect_left(moments, moment + seconds) - place for place, moment in enumerate(moments))


@pytest.mark.parametrize("count", [400, pytest.param(3000, marks=pytest.mark.soak)])
def test_two_workers_together_keep_to_the_rate_of_an_app_and_use_it(stack: Stack, gateway: Gateway, count: int) -> None:
    app_id = stack.install("mora-sms")
    with stack.orm():
        OrganizationApp.objects.filter(pk=app_id).update(max_per_second=50)
    bulk(stack, stack.access["organization_id"], app_id, rows=count, base=10_000_000)
    gateway.script("mora-sms", accept(latency=0.05))
    drains = [stack.manage_start("drain_outbox") for _ in range(2)]
    assert [drain.wait(count / 50 + 30) for drain in drains] == [0, 0]

    moments = sorted(entry.received_at for entry in gateway.journal.entries)
    assert len(set(gateway.journal.numbers())) == len(moments) == count
    assert most_within(5.0, moments) <= 5 * 50 * 1.05
    assert (count - 1) / (moments[-1] - moments[0]) >= 0.9 * 50
    assert all("sent: " in drain.output for drain in drains), "one worker did everything, which proves nothing"
