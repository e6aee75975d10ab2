"""Goals C1 and C2: what a charge costs, of one busy organization and of a hundred.

    python -m tests.bench.credits [--seconds 2] [--rounds 3] [--clients 8]

Over a PostgreSQL of its own that is durable: fsync, full_page_writes and synchronous_commit are on, unlike in the
tests, and every commit below has waited for the disk. How long the disk takes is printed, since where that is next to
nothing (a virtual disk) the processor is the limit, and clients and server share it. Autovacuum and checkpoints stay
out, so that none falls into one side's turn; tables are vacuumed between turns.

A client is a process with two connections on the same socket: Django's, and a plain one of psycopg with its defaults,
where a statement that comes back is prepared. Only one is used at a time. In a turn all clients do one thing for some
seconds, one commit after the other; which references is decided before, and what must be held is held before. Turns
take turns within a round, each round in the other direction, and a ratio is the median of the rounds' own ratios.

C1, one organization, so that everybody waits for one row:
    capture     `ledger.capture` of one reference, as it is called, each call its own transaction
    ceiling     the same work by one bare statement of psycopg: the hold is deleted, the balance updated, the entry
                inserted, for exactly one reference, without what a batch needs. Nothing that keeps a balance exact on
                these tables is faster; a charge that pays no more than this is as good as it gets
C2, a hundred organizations, a random one each time:
    charge      `ledger.capture` of one reference, as above
    inserts     the same ledger entries and nothing else, by psycopg: no balance, no hold, nobody waits for anybody

For information: capture between BEGIN and COMMIT of the client, which is how it is called when more is written with
it, against the ceiling between the same; capture of 64 at once; hold; hold and capture, each its own transaction.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tests import services

GOAL_HOT, GOAL_MANY, STRETCH_MANY = 0.9, 0.85, 0.95
ORGANIZATIONS, BATCH = 100, 64
AMOUNT = Decimal("1.887")
STORED = 18870  # the same in ten-thousandths, as in the database
OPENING = 10**12
TEXT = "SMS, 1 part"

_CEILING = """
WITH gone AS (
    DELETE FROM billing_hold WHERE reference = %s AND account_id = %s RETURNING amount, program_id, description
), charged AS (
    UPDATE billing_creditaccount
    SET balance = balance - amount, held = held - amount, updated_at = clock_timestamp()
    FROM gone WHERE organization_id = %s RETURNING balance
)
INSERT INTO billing_credittransaction
    (reference, account_id, kind, amount, balance_after, program_id, description, created_at)
SELECT %s, %s, 'sms_charge', -amount, balance, program_id, description, clock_timestamp() FROM gone, charged
"""
_INSERT = """
INSERT INTO billing_credittransaction
    (reference, account_id, kind, amount, balance_after, program_id, description, created_at)
VALUES (%s, %s, 'sms_charge', %s, %s, NULL, %s, clock_timestamp())
"""


# --- what a client does in one turn -------------------------------------------------------------------------------
# Each takes the plain connection, an account and references, and answers how many of these it has written.


def capture(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    from billing import ledger

    return len(ledger.capture(account, references))


def capture_unprepared(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    from django.db import connection

    connection.connection.prepare_threshold = None
    try:
        return capture(plain, account, references)
    finally:
        connection.connection.prepare_threshold = 5


def ceiling(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    (reference,) = references
    return int(plain.execute(_CEILING, (reference, account, account, reference, account)).rowcount)


def capture_in_transaction(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    from django.db import transaction

    with transaction.atomic():
        return capture(plain, account, references)


def ceiling_in_transaction(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    with plain.transaction():
        return ceiling(plain, account, references)


def insert(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    (reference,) = references
    return int(plain.execute(_INSERT, (reference, account, -STORED, OPENING, TEXT)).rowcount)


def hold(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    from django.db import transaction

    from billing import ledger

    with transaction.atomic():
        return len(ledger.hold(account, [ledger.Wanted(reference, AMOUNT, None, TEXT) for reference in references]))


def hold_and_capture(plain: Any, account: UUID, references: Sequence[UUID]) -> int:
    hold(plain, account, references)
    return capture(plain, account, references)


@dataclass
class Way:
    """One of them, and what was measured."""

    title: str
    act: Callable[[Any, UUID, Sequence[UUID]], int]
    is_hot: bool  # one organization, not all
    batch: int = 1
    needs_holds: bool = True
    a_second: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)  # its processor, microseconds a commit
    server: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.a_second)

    def against(self, other: Way) -> float:
        """Return the median of the rounds' ratios."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.a_second, other.a_second, strict=True))


def make_ways() -> dict[str, Way]:
    """By key, in the order of the first round."""
    return {
        "capture": Way("capture", capture, True),
        "unprepared": Way("capture, not prepared", capture_unprepared, True),
        "ceiling": Way("ceiling: one bare statement", ceiling, True),
        "hot_inserts": Way("inserts alone", insert, True, needs_holds=False),
        "capture_in": Way("capture in a transaction", capture_in_transaction, True),
        "ceiling_in": Way("ceiling in a transaction", ceiling_in_transaction, True),
        "capture_64": Way(f"capture, {BATCH} at once", capture, True, batch=BATCH),
        "hold": Way("hold", hold, True, needs_holds=False),
        "charge": Way("charge", capture, False),
        "inserts": Way("inserts alone", insert, False, needs_holds=False),
        "many_ceiling": Way("one bare statement", ceiling, False),
        "whole": Way("hold, then capture", hold_and_capture, False, needs_holds=False),
    }


# --- clients ------------------------------------------------------------------------------------------------------

Task = tuple[UUID, list[UUID]]


def be_client(pipe: Pipe, barrier: Any) -> None:
    """Do what the pipe says until it says None. Answers commits, references, seconds and seconds of processor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    _set_up_django()
    import psycopg
    from django.db import connection

    ways = make_ways()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as plain:
        connection.settings_dict["OPTIONS"]["prepare_threshold"] = 5
        connection.ensure_connection()
        backends = [each.info.backend_pid for each in (plain, connection.connection)]
        pipe.send(None)
        while (order := pipe.recv()) is not None:
            key, seconds, tasks = order
            act, commits, written = ways[key].act, 0, 0
            barrier.wait()
            server, client, began = _processor_of(backends), time.process_time(), time.perf_counter()
            until = now = began + seconds
            for account, references in tasks:
                written += act(plain, account, references)
                commits += 1
                if (now := time.perf_counter()) >= until:
                    break
            client, server = time.process_time() - client, _processor_of(backends) - server
            pipe.send((commits, written, now - began, client, server))
    connection.close()


def _processor_of(processes: Sequence[int]) -> float:
    """Return the seconds that these have used, where the system tells."""
    try:
        return sum(int(Path(f"/proc/{each}/schedstat").read_text().split()[0]) for each in processes) / 1e9
    except OSError:
        return 0.0


@contextmanager
def clients(count: int) -> Iterator[list[Pipe]]:
    """Start processes that do not share the interpreter's lock, and end them."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    pipes, processes = [], []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=be_client, args=(theirs, barrier), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        for pipe in pipes:
            pipe.recv()  # an EOFError here or later: a client died, and has said why
        yield pipes
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()


# --- a turn -------------------------------------------------------------------------------------------------------


def take_turn(key: str, way: Way, accounts: Sequence[UUID], pipes: Sequence[Pipe], seconds: float) -> None:
    """Let all clients do one thing, note how it went, and prove that it added up."""
    accounts = accounts[:1] if way.is_hot else accounts
    # More than anybody gets through; a client that runs out stops its clock.
    tasks = prepare(accounts, int(seconds * (60_000 if way.batch > 1 else 12_000)), way)
    last = _one("SELECT coalesce(max(id), 0) FROM billing_credittransaction")
    for number, pipe in enumerate(pipes):
        pipe.send((key, seconds, tasks[number :: len(pipes)]))
    answers = [pipe.recv() for pipe in pipes]
    commits = sum(answer[0] for answer in answers)
    written = sum(answer[1] for answer in answers)
    assert written == commits * way.batch, f"{way.title}: {written} written in {commits} commits"
    check(way, written, last)
    way.a_second.append(sum(answer[1] / answer[2] for answer in answers))
    way.client.append(sum(answer[3] for answer in answers) / commits * 1e6)
    way.server.append(sum(answer[4] for answer in answers) / commits * 1e6)


def prepare(accounts: Sequence[UUID], count: int, way: Way) -> list[Task]:
    """Set the accounts back, hold `count` references, or just name them, and deal them out at random."""
    dice = random.Random(5)
    tasks = [(dice.choice(accounts), [uuid4() for _ in range(way.batch)]) for _ in range(count // way.batch)]
    with _plain() as plain:
        plain.execute("TRUNCATE billing_hold")
        if way.needs_holds:
            with plain.cursor().copy(
                "COPY billing_hold (reference, account_id, amount, description) FROM STDIN"
            ) as copy:
                for account, references in tasks:
                    for reference in references:
                        copy.write_row((reference, account, STORED, TEXT))
        plain.execute(
            "UPDATE billing_creditaccount SET balance = %s, held = (SELECT coalesce(sum(amount), 0)"
            " FROM billing_hold WHERE account_id = organization_id)",
            [OPENING],
        )
        plain.execute("VACUUM (ANALYZE) billing_hold, billing_creditaccount, billing_credittransaction")
    dice.shuffle(tasks)
    return tasks


def check(way: Way, written: int, last: int) -> None:
    """Stop when a turn has not written what it says, or a balance is not exact, entry by entry."""
    entries = _one("SELECT count(*) FROM billing_credittransaction WHERE id > %s", last)
    assert entries == (0 if way.act is hold else written), f"{way.title}: {entries} entries for {written}"
    if way.act is insert:
        return
    wrong = _one(
        "SELECT count(*) FROM (SELECT balance_after, %s + sum(amount) OVER (PARTITION BY account_id ORDER BY id) AS due"
        " FROM billing_credittransaction WHERE id > %s) AS entries WHERE balance_after <> due",
        OPENING,
        last,
    )
    assert not wrong, f"{way.title}: {wrong} balances in the ledger are wrong"
    wrong = _one(
        "SELECT count(*) FROM billing_creditaccount WHERE"
        " balance <> %s + (SELECT coalesce(sum(amount), 0) FROM billing_credittransaction AS entry"
        " WHERE id > %s AND entry.account_id = organization_id)"
        " OR held <> (SELECT coalesce(sum(amount), 0) FROM billing_hold AS hold WHERE hold.account_id = organization_id)",
        OPENING,
        last,
    )
    assert not wrong, f"{way.title}: {wrong} accounts are wrong"


def _one(query: str, *values: Any) -> int:
    with _plain() as plain:
        row = plain.execute(query, values).fetchone()
        assert row is not None
        return int(row[0])


def _plain() -> Any:
    import psycopg

    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


# --- a durable server ---------------------------------------------------------------------------------------------


def start_postgresql(folder: Path) -> tuple[str, services.Server]:
    """Start a server as `tests.services` does, but one that keeps what it has committed."""
    data, user = folder / "pg", services._postgresql_user()
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user["user"], user["group"])
    binaries = services._postgresql_binaries(folder, user)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    subprocess.run(
        [binaries / "initdb", "-D", data / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"],
        cwd=data,
        env=environment,
        capture_output=True,
        check=True,
        **user,
    )
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(data),
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "autovacuum": "off",
        "checkpoint_timeout": "1h",
        "max_wal_size": "16GB",
        "log_min_messages": "fatal",
        "timezone": "UTC",
    }
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    server = services.Server(
        [str(binaries / "postgres"), "-D", str(data / "data"), *settings],
        log=folder / "postgresql.log",
        stop_by=signal.SIGQUIT,
        cwd=data,
        env=environment,
        **user,
    )
    server.wait_until(lambda: services._postgresql_answers(data))
    return f"postgres://postgres@/postgres?host={data}", server


def disk_milliseconds(folder: Path) -> float:
    """Return what a small write takes until the disk has it."""
    took = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(b"x" * 8192)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


# --- running ------------------------------------------------------------------------------------------------------


def _set_up_django() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linkit.settings.test")
    django.setup()


def make_accounts() -> list[UUID]:
    from billing import ledger
    from linkit.models import Organization

    organizations = [Organization.objects.create(name=f"Bench {number}") for number in range(ORGANIZATIONS)]
    return [ledger.open_account(organization).pk for organization in organizations]


def report(ways: dict[str, Way], options: argparse.Namespace, disk: float) -> None:
    print(
        f"{options.clients} clients on {os.cpu_count()} cores, {options.rounds} rounds of {options.seconds:g} s,"
        f" the disk takes {disk:.2f} ms; µs are of the client's processor, a commit"
    )
    for is_hot, title in ((True, "one organization"), (False, f"{ORGANIZATIONS} organizations")):
        print(title)
        for way in ways.values():
            if way.is_hot == is_hot and way.a_second:
                rounds = f"{min(way.a_second):,.0f} to {max(way.a_second):,.0f}"
                client, server = statistics.median(way.client), statistics.median(way.server)
                print(f"  {way.title:28} {way.median:8,.0f} ({rounds:16}) {client:8.0f} {server:8.0f}")
    if options.only:
        W = list(ways.values())
        print(
            [
                (
                    w.title,
                    round(w.against(W[-1]), 2),
                    round(
                        (statistics.median(W[-1].client) + statistics.median(W[-1].server))
                        / (statistics.median(w.client) + statistics.median(w.server)),
                        2,
                    ),
                )
                for w in W
            ]
        )
        return
    ratios = {
        "C1": ways["capture"].against(ways["ceiling"]),
        "C2": ways["charge"].against(ways["inserts"]),
        "C1 in a transaction": ways["capture_in"].against(ways["ceiling_in"]),
        "one organization, capture to inserts": ways["capture"].against(ways["hot_inserts"]),
        "many, ceiling to inserts": ways["many_ceiling"].against(ways["inserts"]),
        "many, charge to ceiling": ways["charge"].against(ways["many_ceiling"]),
        "many, hold and capture to inserts": ways["whole"].against(ways["inserts"]),
    }
    for name, goal in (("C1", f">= {GOAL_HOT}"), ("C2", f">= {GOAL_MANY}, stretch {STRETCH_MANY}")):
        is_met = ratios[name] >= float(goal.split()[1].rstrip(","))
        print(f"{name}: {ratios[name]:.2f} (goal {goal}): {'met' if is_met else 'MISSED'}")
    for name in list(ratios)[2:]:
        print(f"for information, {name}: {ratios[name]:.2f}")
    figures = {key: round(way.median) for key, way in ways.items()}
    print(json.dumps({"bench": "credits", "ratios": {k: round(v, 3) for k, v in ratios.items()}, "a_second": figures}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.7, help="of one turn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped
    folder = Path(tempfile.mkdtemp(prefix="linkit-"))
    folder.chmod(0o711)
    url, server = start_postgresql(folder)
    try:
        os.environ["DATABASE_URL"] = url
        services.provide()
        _set_up_django()
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0)
        accounts, ways, disk = make_accounts(), make_ways(), disk_milliseconds(folder)
        connections.close_all()
        if options.only:
            ways = {k: v for k, v in ways.items() if k in options.only}
        with clients(options.clients) as pipes:
            for key, way in ways.items():
                take_turn(key, way, accounts, pipes, 0.3)  # warms up: connections, caches, prepared statements
            for way in ways.values():
                way.a_second.clear()
                way.client.clear()
                way.server.clear()
            for number in range(options.rounds):
                for key in list(ways)[:: -1 if number % 2 else 1]:
                    take_turn(key, ways[key], accounts, pipes, options.seconds)
        report(ways, options, disk)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
