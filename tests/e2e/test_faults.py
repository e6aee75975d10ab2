"""Faults in the middle of a drain. After each: nobody is texted twice, nothing is stuck, and everything adds up.

Crashes of readers of files are in test_bulk_crashes.py, of web processes and of charges in test_money.py.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from linkit import clock
from outbox import claims, routing
from outbox.models import Message
from tests import factories, meddling, services
from tests.e2e.aftermath import assert_sound, begun_in, fill, leases_have_ended, reap_what_is_left
from tests.e2e.harm import ACCOUNT, STARTED, locked, wait_for_waiters, wait_until_nobody_is_in_a_transaction
from tests.e2e.test_bulk import BULK_SEND, csv_of, mobiles
from tests.gateway import Gateway, accept, drop_after, hold, silence
from tests.stack import FINAL, Blocker, Running, Stack, Template, database_url, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

SENDERS = 8


@pytest.fixture
def stack_env() -> dict[str, str]:
    # Leases that end within the test, and few senders, so that several workers find something to do.
    return {
        "OUTBOX_LEASE_SECONDS": "3.5",
        "OUTBOX_LEASE_MARGIN_SECONDS": "0.5",
        "PROVIDER_CALL_LIMIT_SECONDS": "1.5",
        "OUTBOX_SENDERS": str(SENDERS),
        "OUTBOX_REAP_SECONDS": "1",
        "DATABASE_IDLE_TRANSACTION_SECONDS": "2",
    }


def claimed_ahead(stack: Stack) -> int:
    return sum(row["status"] == "sending" and not row["is_started"] for row in stack.rows().values())


# --- kill -9, at each step ----------------------------------------------------------------------------------------

Death = Callable[[Stack, Gateway], Running]


def after_the_claim(stack: Stack, gateway: Gateway) -> Running:
    worker = stack.manage_start("drain_outbox", env=meddling.kill("after", "outbox.claims.claim"))
    assert worker.wait() == -signal.SIGKILL
    return worker


def in_the_start_mark(stack: Stack, gateway: Gateway) -> Running:
    """Messages are marked, and their logs about to be written, in one transaction."""
    with psycopg.connect(database_url(stack.database)) as connection:
        connection.execute("LOCK TABLE sms_providers_smslog IN SHARE MODE")
        worker = stack.manage_start("drain_outbox")
        wait_for_waiters(stack, 1)
        worker.kill()
    return worker


def after_the_start_mark(stack: Stack, gateway: Gateway) -> Running:
    worker = stack.manage_start("drain_outbox", env=meddling.kill("after", "outbox.claims.mark_started"))
    assert worker.wait() == -signal.SIGKILL
    return worker


def in_the_middle_of_a_request(stack: Stack, gateway: Gateway) -> Running:
    worker = stack.manage_start("drain_outbox")
    gateway.journal.wait_for_count(SENDERS, outcome="held", seconds=30)
    # One of each kind that a crash leaves: started, and claimed ahead but not started.
    eventually(lambda: claimed_ahead(stack), what="the worker to claim ahead")
    worker.kill()
    return worker


def before_the_answers_are_written(stack: Stack, gateway: Gateway) -> Running:
    worker = stack.manage_start("drain_outbox")
    gateway.journal.wait_for_count(SENDERS, outcome="held", seconds=30)
    with locked(stack, STARTED):
        gateway.release()
        gateway.journal.wait_for_count(SENDERS, outcome="accepted")
        wait_for_waiters(stack, 1)
        worker.kill()
    return worker


def while_the_answers_are_written(stack: Stack, gateway: Gateway) -> Running:
    """All is written but the charges."""
    worker = stack.manage_start("drain_outbox")
    gateway.journal.wait_for_count(SENDERS, outcome="held", seconds=30)
    with locked(stack, ACCOUNT):
        gateway.release()
        gateway.journal.wait_for_count(SENDERS, outcome="accepted")
        wait_for_waiters(stack, 1)
        worker.kill()
    return worker


@pytest.mark.parametrize(
    ("die", "is_started", "is_called"),
    [
        (after_the_claim, False, False),
        (in_the_start_mark, False, False),
        (after_the_start_mark, True, False),
        (in_the_middle_of_a_request, True, True),
        (before_the_answers_are_written, True, True),
        (while_the_answers_are_written, True, True),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_a_worker_killed_at_any_step_loses_nothing_and_repeats_nothing(
    stack: Stack, gateway: Gateway, die: Death, is_started: bool, is_called: bool
):
    numbers = fill(stack)
    gateway.script("mora-sms", hold())
    die(stack, gateway)
    wait_until_nobody_is_in_a_transaction(stack)
    begun = begun_in(stack)
    assert (bool(begun), bool(gateway.journal.entries)) == (is_started, is_called)
    assert set(gateway.journal.numbers()) <= begun
    assert any(row["status"] == "sending" for row in stack.rows().values())

    # The start mark alone decides.
    reap_what_is_left(stack)
    assert assert_sound(stack, gateway) == +Counter(pending=40 - len(begun), dispatch_timeout=len(begun))
    assert {row["recipient"] for row in stack.rows().values() if row["status"] == "dispatch_timeout"} == begun

    gateway.script("mora-sms", accept())
    gateway.release()
    stack.manage("drain_outbox")
    assert assert_sound(stack, gateway)["sent"] == 40 - len(begun)
    assert set(gateway.journal.numbers()) >= set(numbers) - begun


# --- workers that stand still past their lease --------------------------------------------------------------------


def is_still(process: Running) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize(("when", "is_started"), [("before", False), ("after", True)])
def test_a_worker_frozen_at_its_start_mark_sends_nothing_that_is_not_its_own_any_more(
    stack: Stack, gateway: Gateway, when: meddling.When, is_started: bool
):
    numbers = fill(stack)
    sleeper = stack.manage_start("drain_outbox", env=meddling.freeze(when, "outbox.claims.mark_started"))
    eventually(lambda: is_still(sleeper), what="the worker to freeze")
    begun = begun_in(stack)
    assert bool(begun) == is_started
    reap_what_is_left(stack)
    stack.manage("drain_outbox")  # somebody else sends what was not started
    assert assert_sound(stack, gateway) == +Counter(sent=40 - len(begun), dispatch_timeout=len(begun))

    # What it has marked it knows not to have sent: it is too late for that now, and not too late to say so.
    sleeper.thaw()
    assert sleeper.wait() == 0
    stack.manage("drain_outbox")
    assert assert_sound(stack, gateway) == {"sent": 40}
    assert sorted(gateway.journal.numbers(accepted_only=False)) == sorted(numbers)


def freeze_between_transactions(worker: Running, stack: Stack) -> None:
    def froze() -> bool:
        worker.freeze()
        is_between = not stack.open_transactions()
        if not is_between:
            worker.thaw()
        return is_between

    eventually(froze, what="the worker to be outside a transaction")


def freeze_in_transaction(worker: Running, stack: Stack, gateway: Gateway) -> None:
    """Freeze it while it writes results: its transaction stays open, and the rows it has written stay locked."""
    with locked(stack, STARTED):
        gateway.release()  # now it wants to write, and has to wait for us
        wait_for_waiters(stack, 1)
        worker.freeze()
    eventually(stack.open_transactions, what="the worker's statement to end")


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_worker_frozen_in_the_middle_of_its_calls_sends_nothing_twice_when_it_thaws(
    stack: Stack, gateway: Gateway, in_transaction: bool
):
    fill(stack)
    gateway.script("mora-sms", hold())
    sleeper = stack.manage_start("drain_outbox", env={"DATABASE_IDLE_TRANSACTION_SECONDS": "60"})
    gateway.journal.wait_for_count(SENDERS, outcome="held", seconds=30)
    eventually(lambda: claimed_ahead(stack), what="the worker to claim ahead")
    if in_transaction:
        freeze_in_transaction(sleeper, stack, gateway)
    else:
        freeze_between_transactions(sleeper, stack)
    gateway.script("mora-sms", accept(latency=0.05))
    gateway.release()

    # Some of its messages are claimed, some marked, some sent. To everybody else it is dead.
    reap_what_is_left(stack)
    stack.manage("drain_outbox")
    # Rows that it has locked are passed over by everybody, and wait for it, or for the database to end its session.
    assert set(stack.statuses()) <= (FINAL | {"sending"} if in_transaction else FINAL)
    sleeper.thaw()
    assert sleeper.wait() == 0

    reap_what_is_left(stack)
    stack.manage("drain_outbox")
    assert set(assert_sound(stack, gateway)) <= {"sent", "dispatch_timeout"}


# --- two reapers --------------------------------------------------------------------------------------------------


def abandon(stack: Stack, *, marked: int, unmarked: int) -> None:
    """Claim and mark so many messages as a worker does that is never heard of again, until their leases have ended."""
    with stack.orm():
        left = marked + unmarked
        while left:
            batch = []
            for claimed in claims.claim(limit=left):
                route = routing.choose(claimed.message, apps=claimed.apps, tries=claimed.tries, now=clock.now())
                assert isinstance(route, routing.Route)
                batch.append((claimed, route))
            assert batch
            left -= len(batch)
            if to_mark := batch[: max(0, marked)]:
                assert len(claims.mark_started(to_mark)) == len(to_mark)
                marked -= len(to_mark)
        Message.objects.filter(status="sending").update(lease_expires_at=clock.now() - timedelta(seconds=1))


def test_two_reapers_at_once_move_every_row_once(stack: Stack, gateway: Gateway):
    fill(stack, singles=0, rows=700)
    abandon(stack, marked=400, unmarked=300)
    assert leases_have_ended(stack)
    # Both have taken rows, at most 500, and want to count them at their job.
    with locked(stack, "SELECT 1 FROM outbox_bulkjob FOR UPDATE"):
        reapers = [stack.manage_start("reap_outbox") for _ in range(2)]
        wait_for_waiters(stack, 2)
    assert [reaper.wait() for reaper in reapers] == [0, 0]
    said = [reaper.output.split() for reaper in reapers]
    assert sum(int(words[0]) for words in said) == 300
    assert sum(int(words[words.index("unknown,") - 1]) for words in said) == 400
    assert assert_sound(stack, gateway) == {"pending": 300, "dispatch_timeout": 400}


# --- a gateway that takes messages and does not say so ------------------------------------------------------------


def test_a_gateway_that_accepts_and_then_times_out_gets_no_message_again(stack: Stack, gateway: Gateway):
    numbers = fill(stack)
    silent = {*numbers[::4], *numbers[1::8]}
    for place, number in enumerate(sorted(silent)):
        gateway.script("mora-sms", drop_after() if place % 3 == 0 else silence(), number=number)
    stack.worker()
    stack.beat()
    rows = stack.wait_until_settled(seconds=40)
    assert {row["recipient"] for row in rows.values() if row["status"] == "dispatch_timeout"} == silent
    # Beat goes on ticking and reaping: the rest of the lease has passed, and nothing was sent again.
    eventually(lambda: leases_have_ended(stack), what="the leases to end")
    stack.manage("drain_outbox")
    assert assert_sound(stack, gateway) == {"sent": 40 - len(silent), "dispatch_timeout": len(silent)}
    assert sorted(gateway.journal.numbers()) == sorted(numbers)


# --- a disk that is full ------------------------------------------------------------------------------------------

# Whoever has written to a message is refused the commit: of every `odds`th transaction, or of none with 0.
FULL_DISK = """
CREATE TABLE disk (odds int NOT NULL);
INSERT INTO disk VALUES (0);
CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT odds > 0 AND txid_current() % odds = 0 FROM disk) THEN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT OR UPDATE ON outbox_message DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse_commit();
"""


def execute(stack: Stack, statement: str) -> None:
    with psycopg.connect(database_url(stack.database)) as connection:
        connection.execute(statement.encode())


def test_a_full_disk_holds_up_results_and_new_messages_and_loses_none(stack: Stack, gateway: Gateway):
    fill(stack, singles=40, rows=0)
    execute(stack, FULL_DISK)
    stack.web(workers=1)
    gateway.script("mora-sms", hold())
    worker = stack.manage_start("drain_outbox", env={"OUTBOX_LEASE_SECONDS": "30", "PROVIDER_CALL_LIMIT_SECONDS": "20"})
    gateway.journal.wait_for_count(SENDERS, outcome="held", seconds=30)
    execute(stack, "UPDATE disk SET odds = 1")
    gateway.script("mora-sms", accept())
    gateway.release()
    eventually(lambda: "results could not be written" in worker.output, what="results to be refused")

    number = factories.mobile()
    refused = stack.post("/api/v1/sms/outbox", {"mobile": number, "message": "Hello"})
    assert refused.status_code >= 500, refused.text
    assert not any(row["recipient"] == number for row in stack.rows().values())
    assert stack.statuses()["sent"] == 0

    execute(stack, "UPDATE disk SET odds = 0")
    # A claim that the disk refuses ends a drain with an error, though not before its results are written.
    worker.wait(60)
    stack.manage("drain_outbox")
    assert assert_sound(stack, gateway) == {"sent": 40}


@pytest.mark.parametrize(("rows", "odds"), [(30, 4), pytest.param(1500, 2, marks=pytest.mark.soak)])
def test_commits_that_fail_now_and_then_lose_nothing_and_repeat_nothing(
    stack: Stack, gateway: Gateway, rows: int, odds: int
):
    fill(stack, singles=rows // 3, rows=rows)
    execute(stack, FULL_DISK)
    execute(stack, f"UPDATE disk SET odds = {odds}")
    gateway.script("mora-sms", accept(latency=0.05))
    workers = [stack.worker() for _ in range(2)]
    stack.beat()
    # None is unknown: a commit that is refused is one that was not made, and whoever has a result keeps it.
    everybody = rows + rows // 3
    eventually(lambda: stack.statuses() == {"sent": everybody}, seconds=30 + rows / 2, what="everything to be sent")
    assert all(worker.is_alive for worker in workers)
    assert "No space left on device" not in gateway_text(gateway)
    assert any(
        "No space left on device" in worker.output or "could not be written" in worker.output for worker in workers
    )
    assert assert_sound(stack, gateway) == {"sent": everybody}


def gateway_text(gateway: Gateway) -> str:
    return " ".join(entry.text for entry in gateway.journal.entries)


# --- PostgreSQL and Redis that end and come back ------------------------------------------------------------------


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder with a short path, which another user may pass through, and that goes with the test run."""
    with tempfile.TemporaryDirectory(prefix="own-", dir=Path(os.environ[services.GROUPS]).parent) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def own_postgresql(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[services.Server]:
    """A PostgreSQL that this test may stop. From here on it is the one that stacks are made on."""
    url, server = services.start_postgresql(own_folder, forgets=False)
    monkeypatch.setenv("DATABASE_URL", url)
    yield server
    server.stop()


@pytest.fixture
def own_redis(own_folder: Path) -> Iterator[tuple[str, services.Server]]:
    """The URL of a Redis that this test may stop, and its server."""
    url, server = services.start_redis(own_folder)
    yield url, server
    server.stop()


@pytest.fixture
def stack_on_own_postgresql(
    own_postgresql: services.Server, gateway: Gateway, stack_env: dict[str, str], django_db_blocker: Blocker
) -> Iterator[Stack]:
    with Stack(
        template=Template(),
        redis_url=services.stack_redis_url(),
        base_urls=gateway.base_urls,
        blocker=django_db_blocker,
        env=stack_env,
    ) as running:
        yield running


@pytest.fixture
def stack_on_own_redis(
    own_redis: tuple[str, services.Server],
    gateway: Gateway,
    stack_template: Template,
    stack_env: dict[str, str],
    django_db_blocker: Blocker,
) -> Iterator[Stack]:
    url, server = own_redis
    with Stack(
        template=stack_template, redis_url=url, base_urls=gateway.base_urls, blocker=django_db_blocker, env=stack_env
    ) as running:
        yield running
        if not server.is_running:
            server.start_again()  # the stack cleans up


CRASH, FAST = signal.SIGQUIT, signal.SIGINT  # to PostgreSQL: end at once and recover later; end all sessions, then end


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.soak)])
def test_a_postgresql_that_restarts_in_the_middle_of_a_drain(
    stack_on_own_postgresql: Stack, own_postgresql: services.Server, gateway: Gateway, count: int
):
    stack = stack_on_own_postgresql
    numbers = fill(stack, singles=count // 3, rows=count - count // 3)
    gateway.script("mora-sms", accept(latency=0.1))
    workers = [stack.worker() for _ in range(2)]
    beat = stack.beat()
    ends = [CRASH, FAST] * (count // 150)
    for restart, end in enumerate(ends, start=1):
        gateway.journal.wait_for_count(restart * count // (len(ends) + 1), seconds=60)
        own_postgresql.stop(end)
        time.sleep(0.5)  # for so long it is away
        own_postgresql.start_again()

    rows = stack.wait_until_settled(seconds=60 + count / 10)
    assert all(process.is_alive for process in [*workers, beat])
    statuses = assert_sound(stack, gateway)
    assert set(statuses) <= {"sent", "dispatch_timeout"}
    # Unknown is at most what was in the commit of its start mark at that moment.
    assert statuses["dispatch_timeout"] <= len(ends) * 2 * len(workers) * SENDERS
    assert {row["recipient"] for row in rows.values()} == set(numbers)


def test_a_redis_that_is_flushed_and_restarted_in_the_middle_of_a_drain(
    stack_on_own_redis: Stack, own_redis: tuple[str, services.Server], gateway: Gateway
):
    stack, (url, server) = stack_on_own_redis, own_redis
    fill(stack, singles=50, rows=150)
    gateway.script("mora-sms", accept(latency=0.2))
    workers = [stack.worker() for _ in range(2)]
    beat = stack.beat()
    gateway.journal.wait_for_count(40, seconds=30)
    with redis.Redis.from_url(url) as client:
        client.flushall()
    gateway.journal.wait_for_count(80, seconds=30)
    server.stop()
    called = len(gateway.journal.entries)
    gateway.journal.wait_for_count(called + 4 * SENDERS, seconds=30)  # a drain that is under way needs no Redis
    stack.enqueue(20)  # without a wake-up
    server.start_again()

    stack.wait_until_settled(seconds=60)
    assert all(process.is_alive for process in [*workers, beat])
    assert assert_sound(stack, gateway) == {"sent": 220}


def test_messages_are_queued_while_redis_is_away(
    stack_on_own_redis: Stack, own_redis: tuple[str, services.Server], gateway: Gateway
):
    stack, (_, server) = stack_on_own_redis, own_redis
    stack.install("mora-sms")
    stack.web()
    server.stop()

    answer = stack.post("/api/v1/sms/outbox", {"mobile": "0501234567", "message": "Hello"})

    assert answer.status_code == 201
    health = stack.get("/api/v1/health").json()
    assert health["status"] == "degraded"
    assert health["checks"]["broker"]["status"] == "degraded"
    stack.manage("drain_outbox")
    assert stack.statuses() == {"sent": 1}


# --- a broker that delivers everything three times -----------------------------------------------------------------


class Tripler:
    """Stands between those who ring and those who hear: each task of the one Redis comes three times out of the other.

    Celery's messages are elements of a list for each queue.
    """

    def __init__(self, source: str, target: str) -> None:
        self._source, self._target = redis.Redis.from_url(source), redis.Redis.from_url(target)
        self.count = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._carry)

    def __enter__(self) -> Tripler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._source.close()
        self._target.close()

    def _carry(self) -> None:
        while not self._is_over.wait(0.01):
            for queue in ("drain", "upkeep", "bulk"):
                while isinstance(message := self._source.rpop(queue), bytes):
                    self._target.lpush(queue, message, message, message)
                    self.count += 1


def test_tasks_that_are_delivered_three_times_send_once(
    stack: Stack, gateway: Gateway, own_redis: tuple[str, services.Server]
):
    fill(stack, singles=40, rows=80)
    url, _ = own_redis
    ringing = {"REDIS_URL": url}
    gateway.script("mora-sms", accept(latency=0.05))
    for _ in range(2):
        stack.worker()
    with Tripler(source=url, target=stack.redis_url) as tripler:
        stack.beat(env=ringing)
        stack.web(env=ringing)
        for number in mobiles(20):
            assert stack.post("/api/v1/sms/outbox", {"mobile": number, "message": "Hello"}).status_code == 201
        reply = stack.upload(BULK_SEND, csv_of(mobiles(60)), headers={"Prefer": "respond-async"})
        assert reply.status_code == 202, reply.text

        def is_all_there() -> bool:
            return stack.statuses() == {"sent": 200}

        eventually(is_all_there, seconds=40, what="everything to be sent")
        heard = tripler.count
        eventually(lambda: tripler.count >= heard + 5, what="more wake-ups to come three times")
        assert assert_sound(stack, gateway) == {"sent": 200}
    (job,) = stack.select("SELECT total_count FROM outbox_bulkjob WHERE id = %s", reply.json()["job_id"])
    assert job == {"total_count": 60}


# --- clocks that are wrong ----------------------------------------------------------------------------------------


def test_workers_whose_clocks_are_five_minutes_apart_send_once_and_in_time(stack: Stack, gateway: Gateway):
    """Nothing is early, late, or anybody's but its claim's for the clock of whoever looks at it."""
    fill(stack, singles=0, rows=60)
    stack.web(workers=1)
    gateway.script("mora-sms", hold())
    half = timedelta(minutes=2.5)
    patient = {"OUTBOX_LEASE_SECONDS": "30", "PROVIDER_CALL_LIMIT_SECONDS": "25"}
    ahead = stack.worker(env={**patient, **meddling.wrong_clock(half)})
    behind = stack.worker(env={**patient, **meddling.wrong_clock(-half)})
    stack.beat()
    gateway.journal.wait_for_count(2 * SENDERS, outcome="held", seconds=20)  # so both have called, and both reap
    scheduled_for = time.time() + 5
    moment = clock_text(scheduled_for)
    later = mobiles(10)
    for number in later:
        body = {"mobile": number, "message": "Hello", "datetime": moment, "ttl_seconds": 60}
        assert stack.post("/api/v1/sms/outbox", body).status_code == 201
    gateway.script("mora-sms", accept(latency=0.02))
    gateway.release()

    stack.wait_until_settled(seconds=40)
    assert stack.statuses() == {"sent": 70}
    early = [e for e in gateway.journal.entries if e.number in later and e.received_at < scheduled_for]
    assert early == []
    assert ahead.is_alive
    assert behind.is_alive
    assert assert_sound(stack, gateway) == {"sent": 70}


def clock_text(seconds: float) -> str:
    """Return a moment as a client writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


# --- everything at once -------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_two_minutes_of_workers_that_are_killed_frozen_and_started(stack: Stack, gateway: Gateway):
    dice = random.Random(20251127)
    total = 6000
    numbers = fill(stack, singles=total // 3, rows=total - total // 3)
    gateway.script("mora-sms", accept(latency=0.05))
    stack.beat()
    workers = [stack.worker() for _ in range(3)]
    ends_at = time.monotonic() + 120
    frozen: list[tuple[float, Running]] = []
    while time.monotonic() < ends_at:
        time.sleep(dice.uniform(0.3, 2.0))
        place = dice.randrange(len(workers))
        if dice.random() < 0.5:
            workers[place].kill()
            workers[place] = stack.worker()
        elif workers[place] not in [worker for _, worker in frozen]:
            workers[place].freeze()
            frozen.append((time.monotonic() + dice.uniform(0.5, 8.0), workers[place]))
        for until, worker in list(frozen):
            if time.monotonic() > until or not worker.is_alive:
                worker.thaw() if worker.is_alive else None
                frozen.remove((until, worker))
    for _, worker in frozen:
        worker.thaw() if worker.is_alive else None
    stack.wait_until_settled(seconds=300)
    eventually(lambda: leases_have_ended(stack), what="the leases to end")
    statuses = assert_sound(stack, gateway)
    assert set(statuses) <= {"sent", "dispatch_timeout"}
    assert sum(statuses.values()) == len(numbers) == total
