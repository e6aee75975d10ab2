"""Goals B1 and B2: a file of a million rows into the queue, its speed, its memory, and its longest transaction.

    python -m tests.benchmarks.bulk [--rows 1000000] [--rounds 3]

Side by side in one run, on the real table with all its indexes: ours from the stored upload to the released job; the
ceiling, a bare `csv.reader` whose lines go by COPY to a temporary table and from there by INSERT SELECT to the real
one, unchecked; and what most would write, DictReader, `phonenumbers` and `bulk_create`, on a tenth of the rows.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import services

GOAL_CEILING, GOAL_NAIVE, GOAL_MEMORY, GOAL_TRANSACTION = 1.5, 5.0, 64.0, 1.0
CEILING_BATCH = 50_000


def make_file(path: Path, count: int) -> None:
    """Write `count` rows, nearly all of which are right."""
    dice = random.Random(4)
    forms = ("966{}", "966{}", "966{}", "+966{}", "0{}")
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["mobile", "message", "sender", "datetime"])
        for place in range(count):
            mobile = forms[place % 5].format(f"5{dice.choice('0345689')}{dice.randrange(10**7):07}")
            if place % 5 == 4:
                text = f"عزيزنا العميل {place:07}، طلبك في الطريق إليك. شكراً لك"
            else:
                text = f"Dear customer {place:07}, your order is on its way. Thank you for shopping at Acme!"
            out.writerow([mobile, text, "MyBrand", ""])


# --- the three ways ---------------------------------------------------------------------------------------------


def ours(path: Path) -> int:
    from outbox.bulk import receiving, work

    organization, app = _owner()
    with path.open("rb") as file:
        receiving.create(organization=organization, app=app, slug=app.slug, file=file, force=True)
    while work.do_next(threading.Event()):
        pass
    return _queued()


def ceiling(path: Path) -> int:
    from django.db import connection, transaction

    organization, app = _owner()
    insert = """
        INSERT INTO outbox_message (id, organization_id, is_test, recipient, text, sender_id, encoding, segment_count,
            pinned_app_id, preferred_slug, request_digest, meta, status, reason, error_message, next_attempt_at,
            provider_slug, updated_at, job_id, row_number, typed_recipient)
        SELECT 'r' || lpad(row_number::text, 14, '0'), %s, false, mobile, message, sender, 'GSM-7', 1, %s, '', '', '{}',
            'pending', '', '', now(), '', now(), %s, row_number, mobile
        FROM staged ON CONFLICT DO NOTHING"""
    job = _empty_job(organization, app)
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        numbered = enumerate(lines, 2)
        while batch := list(itertools.islice(numbered, CEILING_BATCH)):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "CREATE TEMPORARY TABLE staged (row_number int, mobile text, message text, sender text)"
                    " ON COMMIT DROP"
                )
                with cursor.copy("COPY staged FROM STDIN") as copy:
                    copy.write("".join([f"{n}\t{row[0]}\t{row[1]}\t{row[2]}\n" for n, row in batch]))
                cursor.execute(insert, [organization.pk, app.pk, job.pk])
    return _queued()


def naive(path: Path) -> int:
    import phonenumbers
    from django.utils import timezone

    from linkit import encoding
    from outbox.models import Message

    organization, app = _owner()
    job = _empty_job(organization, app)
    with path.open(encoding="utf-8", newline="") as file:
        made = []
        for number, row in enumerate(csv.DictReader(file), 2):
            typed = row["mobile"]
            parsed = phonenumbers.parse(f"+{typed}" if typed.startswith("966") else typed, "SA")
            if not phonenumbers.is_valid_number(parsed):
                continue
            counted = encoding.segments(row["message"])
            made.append(
                Message(
                    organization=organization,
                    recipient=phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164),
                    text=row["message"],
                    sender_id=row["sender"],
                    encoding=counted.encoding.value,
                    segment_count=counted.count,
                    pinned_app=app,
                    next_attempt_at=timezone.now(),
                    job=job,
                    row_number=number,
                )
            )
        Message.objects.bulk_create(made, batch_size=1000)
    return _queued()


def _owner() -> Any:
    from linkit.models import Organization
    from sms_providers.models import OrganizationApp

    organization = Organization.objects.get_or_create(name="Bench")[0]
    return organization, OrganizationApp.objects.get_or_create(organization=organization, slug="sandbox-sms")[0]


def _empty_job(organization: Any, app: Any) -> Any:
    from outbox.bulk.models import BulkJob

    return BulkJob.objects.create(organization=organization, app=app, provider_slug=app.slug, size=0, content_hash="")


def _queued() -> int:
    from outbox.models import Message

    return Message.objects.count()


def _empty() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE outbox_message, outbox_bulkjob, outbox_bulkrowerror, outbox_bulkdraft, outbox_upload,"
            " outbox_uploadchunk CASCADE"
        )
        cursor.execute("CHECKPOINT")


def timed(way: Callable[[Path], int], path: Path, count: int) -> float:
    """Return microseconds a row, on empty tables."""
    _empty()
    began = time.perf_counter()
    queued = way(path)
    took = time.perf_counter() - began
    assert queued >= count * 0.99, f"{way.__name__} queued {queued} of {count}"
    return took / count * 1e6


# --- memory -----------------------------------------------------------------------------------------------------


def measure_memory(path: Path) -> dict[str, float]:
    """Run ours in a process of its own: how far its memory went above idle, and the longest transaction meanwhile."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.bulk", "--memory", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run_measured(path: Path) -> None:
    _set_up_django()
    from django.db import connection

    _owner()
    _queued()
    longest = [0.0]
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(longest, over), daemon=True)
    watcher.start()
    idle = _resident()
    ours(path)
    over.set()
    watcher.join()
    connection.close()
    print(json.dumps({"above_idle_mb": _peak() - idle, "longest_s": longest[0]}))


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peak() -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


def _watch(longest: list[float], over: threading.Event) -> None:
    """Note the age of the oldest transaction of another connection, every 5 ms."""
    import psycopg

    query = (
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
    )
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        while not over.wait(0.005):
            row = connection.execute(query).fetchone()
            longest[0] = max(longest[0], row[0] if row else 0.0)


# --- running ----------------------------------------------------------------------------------------------------


def _set_up_django() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linkit.settings.test")
    django.setup()
    from django.conf import settings

    settings.BULK_MAX_BYTES, settings.BULK_MAX_ROWS = 10**10, 10**9


def _medians(samples: dict[str, list[float]]) -> Iterator[tuple[str, float]]:
    for name, values in samples.items():
        yield name, statistics.median(values)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.memory:
        _run_measured(given.memory)
        return
    services.provide()
    _set_up_django()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    folder = Path(os.environ["VAR_DIR"])
    whole, tenth = folder / "whole.csv", folder / "tenth.csv"
    make_file(whole, given.rows)
    make_file(tenth, given.rows // 10)
    samples: dict[str, list[float]] = {"ours": [], "ceiling": [], "naive": []}
    for _ in range(given.rounds):
        samples["ceiling"].append(timed(ceiling, whole, given.rows))
        samples["ours"].append(timed(ours, whole, given.rows))
        samples["naive"].append(timed(naive, tenth, given.rows // 10))
    medians = dict(_medians(samples))
    for name, value in medians.items():
        print(f"{name:8} {value:7.1f} µs a row   ({', '.join(f'{each:.1f}' for each in samples[name])})")
    print(f"B1: {medians['ours'] / medians['ceiling']:.2f} x the ceiling (goal <= {GOAL_CEILING})")
    print(f"B1: {medians['naive'] / medians['ours']:.1f} x faster than the usual way (goal >= {GOAL_NAIVE})")
    for name, path in (("tenth", tenth), ("whole", whole)):
        _empty()
        found = measure_memory(path)
        print(
            f"B2, {name}: {found['above_idle_mb']:.0f} MB above idle (goal <= {GOAL_MEMORY:.0f}),"
            f" longest transaction {found['longest_s']:.2f} s (goal <= {GOAL_TRANSACTION})"
        )


if __name__ == "__main__":
    main()
