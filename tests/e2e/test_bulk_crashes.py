"""Workers that are killed while they read a file or send it: no row is lost, and none reaches anybody twice."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from outbox.bulk import jobs, receiving
from outbox.bulk.models import BulkJob
from sms_providers.models import OrganizationApp
from tests.e2e.test_bulk import (
    APP,
    ENDED,
    SENDERS,
    assert_counters_are_true,
    begun,
    change,
    csv_of,
    detail,
    figures,
    job_row,
    messages,
    mobiles,
    queue_file,
    wait_for_status,
)
from tests.gateway import Gateway, accept, hold, refuse
from tests.stack import Running, Stack, database_url, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]


@pytest.fixture
def stack_env() -> dict[str, str]:
    # Leases that end within the test.
    return {
        "OUTBOX_SENDERS": str(SENDERS),
        "OUTBOX_REAP_SECONDS": "1",
        "OUTBOX_LEASE_SECONDS": "6.5",
        "OUTBOX_LEASE_MARGIN_SECONDS": "0.5",
        "PROVIDER_CALL_LIMIT_SECONDS": "4",
        "BULK_WORK_LEASE_SECONDS": "2",
    }


def make_job(stack: Stack, app_id: int, content: bytes) -> str:
    """Upload a file without HTTP, and return the id of its job."""
    with stack.orm():
        app = OrganizationApp.objects.select_related("organization").get(pk=app_id)
        made = receiving.create(organization=app.organization, app=app, slug=app.slug, file=io.BytesIO(content))
        return str(made.job.pk)


def kill_between_batches(reader: Running, stack: Stack, job_id: str) -> None:
    """Kill a reader when it has written a part of a file and is about to write the next."""
    with psycopg.connect(database_url(stack.database)) as connection:
        written = "SELECT 1 FROM outbox_bulkjob WHERE id = %s AND read_until > 0 FOR UPDATE"
        eventually(lambda: connection.execute(written, [job_id]).fetchone(), what="the first rows to be written")
        eventually(stack.waiting_for_locks, what="the reader to meet the lock")
        reader.kill()


def kill_in_a_batch(stack: Stack) -> None:
    """Start a reader, and kill it when it has moved `read_until` and is about to write the rows it speaks of."""
    with psycopg.connect(database_url(stack.database)) as connection:
        connection.execute("LOCK TABLE outbox_message IN SHARE MODE")
        reader = stack.worker(queues="bulk")
        writes = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND starts_with(query, 'COPY outbox_message')"
        )
        eventually(lambda: stack.select(writes), what="the reader to meet the lock")
        reader.kill()


def test_a_file_whose_readers_are_killed_is_queued_once_and_sent_only_when_it_is_whole(stack: Stack, gateway: Gateway):
    app_id = stack.install("mora-sms")
    stack.worker(queues="drain,upkeep")  # takes whatever may be taken
    stack.beat()
    reader = stack.worker(queues="bulk")
    now, later = mobiles(20), mobiles(11_980)  # batches have 5,000
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    lines = [*(f"{number},Hello," for number in now), *(f"{number},Hello,{tomorrow}" for number in later)]
    job_id = make_job(stack, app_id, csv_of([], *lines, header="mobile,message,datetime"))

    kill_between_batches(reader, stack, job_id)
    parts = [job_row(stack, job_id)["read_until"]]
    kill_in_a_batch(stack)
    parts.append(job_row(stack, job_id)["read_until"])
    assert 1 < parts[0] == parts[1] < 12_001  # what the second has begun was taken back with it
    rows = messages(stack, job_id)
    assert [row["row_number"] for row in rows] == [*range(2, parts[0] + 1)]
    assert {row["status"] for row in rows} == {"pending"}
    assert (job_row(stack, job_id)["status"], gateway.journal.entries) == ("checking", [])

    stack.worker(queues="bulk")
    eventually(lambda: job_row(stack, job_id)["status"] == "running", seconds=30, what="the file to be read")
    gateway.journal.wait_for_count(20)
    eventually(lambda: job_row(stack, job_id)["sent_count"] == 20, what="what is due to be sent")
    rows, job = messages(stack, job_id), job_row(stack, job_id)
    assert [row["row_number"] for row in rows] == [*range(2, 12_002)]
    assert [row["recipient"] for row in rows] == [*now, *later]
    assert min(row["claimed_at"] for row in rows if row["claimed_at"]) >= job["run_started_at"]
    assert (job["total_count"], job["sent_count"], job["failed_count"]) == (12_000, 20, 0)
    assert sorted(gateway.journal.numbers(accepted_only=False)) == now

    with stack.orm():
        jobs.stop(BulkJob.objects.get(pk=job_id))
    eventually(lambda: job_row(stack, job_id)["status"] == "stopped", seconds=30, what="the rest to be cancelled")
    assert job_row(stack, job_id)["failed_count"] == 11_980
    assert_counters_are_true(stack, job_id)


def test_a_worker_killed_while_it_sends_leaves_unknown_what_it_began_and_the_rest_to_others(
    stack: Stack, gateway: Gateway
):
    stack.install("mora-sms")
    stack.web()
    numbers = mobiles(40)
    gateway.script("mora-sms", hold())
    gateway.script("mora-sms", refuse(108), times=1)
    worker = stack.worker()
    stack.beat()
    job_id = queue_file(stack, csv_of(numbers, "05012,Hello"))
    gateway.journal.wait_for_count(SENDERS, outcome="held", seconds=30)

    def is_in_the_middle() -> bool:
        rows = messages(stack, job_id)
        return job_row(stack, job_id)["failed_count"] == 2 and any(
            row["status"] == "sending" and not row["started_at"] for row in rows
        )

    eventually(is_in_the_middle, what="one refused, and others claimed ahead")
    worker.kill()
    (refused,) = {entry.number for entry in gateway.journal.entries if entry.outcome == "refused"}
    started = begun(stack, job_id) - {refused}
    assert set(gateway.journal.numbers()) <= started

    gateway.script("mora-sms", accept())
    stack.worker()
    seen = wait_for_status(stack, job_id, *ENDED)
    assert seen["status"] == "partly_failed"
    assert figures(seen) == (41, 39 - len(started), 2, len(started), 0)
    assert_counters_are_true(stack, job_id)
    rows = messages(stack, job_id)
    assert {row["recipient"] for row in rows if row["status"] == "dispatch_timeout"} == started
    unrefused = [number for number in gateway.journal.numbers(accepted_only=False) if number != refused]
    assert max(Counter(unrefused).values()) == 1
    assert set(unrefused) >= {*numbers} - {refused} - started

    # Whoever corrects and repeats what failed repeats nothing of which nobody knows.
    table = csv.DictReader(io.StringIO(stack.get(f"{APP}/bulk-jobs/{job_id}/errors.csv").content.decode("utf-8-sig")))
    assert [line["mobile"].removeprefix("'") for line in table] == [refused, "05012"]
    change(stack, job_id, "retry-failed")
    seen = wait_for_status(stack, job_id, *ENDED)
    assert figures(seen) == (41, 40 - len(started), 1, len(started), 0)
    assert_counters_are_true(stack, job_id)
    assert [error["row"] for error in detail(stack, job_id)["errors"]] == [42]
    assert gateway.journal.duplicates() == []
    assert [number for number in gateway.journal.numbers(accepted_only=False) if number != refused] == unrefused
