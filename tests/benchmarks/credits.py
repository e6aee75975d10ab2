"""Goals C1 and C2: what a charge costs, of one busy organization and of a hundred.

    python -m tests.benchmarks.credits [--seconds 0.25] [--rounds 5] [--clients 8]

C1, one organization, so that everybody waits for one row:
    capture     `ledger.capture` of one reference, each call its own transaction
    ceiling     the same work by one bare statement, sent by psycopg: the hold is deleted, the balance updated and the
                entry inserted, of one reference. With these tables a charge cannot cost less than that
C2, a hundred organizations, a random one each time:
    charge      the same `ledger.capture`
    inserts     the same ledger entries by psycopg and nothing else: no hold, no balance, nobody waits for anybody

A client is a process with two connections to the same socket, of which it uses one at a time: Django's, and one of
psycopg with its defaults, which has PostgreSQL keep the plan of a statement that comes back. What `capture` calls is
a function, whose plans PostgreSQL keeps as well. In a turn all clients do one thing, a commit at a time. Which
references, and what is held of them, is prepared before; afterwards every entry and balance is checked. Turns are
short, since a busy machine must slow both sides: in a round they go through what is compared and back again, three
times for a goal. A ratio is the median of those of the rounds. Next to it stands the same of the processor's time, of
client and server together, which depends less on who else is at work.

The server is one of its own and durable: fsync, full_page_writes and synchronous_commit are on, unlike in the tests.
Autovacuum and checkpoints are kept out, so that none falls into the turn of one side; tables are vacuumed between.
Where the disk takes next to nothing, the processor is the limit and a ratio is that of the work; on a usual disk both
sides wait. So some turns are taken again on a disk that seems slower: by commit_delay every flush takes 1 ms more.
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
from tests.benchmarks import harness

GOAL_HOT, GOAL_MANY, STRETCH_MANY = 0.9, 0.85, 0.95
ORGANIZATIONS, BATCH = 100, 64
DELAY = 1000
POSTGRESQL = {"commit_siblings": "0", "autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "16GB"}
AMOUNT = Decimal("1.887")
STORED = 18870  # the same in ten-thousandths, as in the database
OPENING = 10**12
TEXT, OTHER_TEXT = "SMS, 1 part", "only a line"  # of a charge, and of what has no balance behind it

_CEILING = """
WITH gone AS (
    DELETE FROM billing_hold WHERE reference = %(reference)s AND account_id = %(account)s
    RETURNING amount, program_id, description
), charged AS (
    UPDATE billing_creditaccount
    SET balance = balance - amount, held = held - amount, updated_at = clock_timestamp()
    FROM gone WHERE organization_id = %(account)s
    RETURNING balance
)
INSERT INTO billing_credittransaction
    (reference, account_id, kind, amount, balance_after, program_id, description, created_at)
SELECT %(reference)s, %(account)s, 'sms_charge', -amount, balance, program_id, description, clock_timestamp()
FROM gone, charged
"""
_INSERT = """
INSERT INTO billing_credittransaction
    (reference, account_id, kind, amount, balance_after, program_id, description, created_at)
VALUES (%s, %s, 'sms_charge', %s, %s, NULL, %s, clock_timestamp())
"""


# --- what a client does in one turn -------------------------------------------------------------------------------


class Client:
    """What can be measured: each takes an account and references, and answers how many of these it has written."""

    def __init__(self, plain: Any) -> None:
        from django.db import connection, transaction

        from billing import ledger

        self.ledger, self.atomic, self.plain = ledger, transaction.atomic, plain
        connection.ensure_connection()
        self.django = connection.connection

    def capture(self, account: UUID, references: Sequence[UUID]) -> int:
        return len(self.ledger.capture(account, references))

    def ceiling(self, account: UUID, references: Sequence[UUID]) -> int:
        (reference,) = references
        return int(self.plain.execute(_CEILING, {"reference": reference, "account": account}).rowcount)

    def capture_in_transaction(self, account: UUID, references: Sequence[UUID]) -> int:
        with self.atomic():
            return self.capture(account, references)

    def ceiling_in_transaction(self, account: UUID, references: Sequence[UUID]) -> int:
        with self.plain.transaction():
            return self.ceiling(account, references)

    def insert(self, account: UUID, references: Sequence[UUID]) -> int:
        (reference,) = references
        return int(self.plain.execute(_INSERT, (reference, account, -STORED, OPENING, OTHER_TEXT)).rowcount)

    def hold(self, account: UUID, references: Sequence[UUID]) -> int:
        wanted = [self.ledger.Wanted(reference, AMOUNT, None, TEXT) for reference in references]
        with self.atomic():
            return len(self.ledger.hold(account, wanted))

    def hold_and_capture(self, account: UUID, references: Sequence[UUID]) -> int:
        self.hold(account, references)
        return self.capture(account, references)


@dataclass
class Way:
    """One of them, and what was measured in each round."""

    title: str
    act: Callable[[Client, UUID, Sequence[UUID]], int]
    batch: int = 1
    needs_holds: bool = True
    a_second: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)  # its processor, microseconds a commit
    server: list[float] = field(default_factory=list)
    fastest: float = 0.0  # of all rounds, so that there is enough to do

    @property
    def median(self) -> float:
        return statistics.median(self.a_second)

    @property
    def processor(self) -> float:
        """Return the microseconds of client and server a commit."""
        return statistics.median(map(sum, zip(self.client, self.server, strict=True)))

    def against(self, other: Way) -> float:
        """Return the median of the rounds' ratios."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.a_second, other.a_second, strict=True))


@dataclass
class Group:
    """What is prepared together and takes turns."""

    title: str
    ways: dict[str, Way]
    organizations: int = 1
    delay: int = 0  # of a flush, microseconds
    times: int = 1  # there and back in a round


def make_groups() -> list[Group]:
    one, many = "one organization", f"{ORGANIZATIONS} organizations"
    slower = f", disk {DELAY / 1000:g} ms slower"
    return [
        Group(one, {"capture": Way("capture", Client.capture), "ceiling": Way("ceiling", Client.ceiling)}, times=3),
        Group(
            one,
            {
                "capture_in": Way("capture in a transaction", Client.capture_in_transaction),
                "ceiling_in": Way("ceiling in a transaction", Client.ceiling_in_transaction),
                "hot_inserts": Way("inserts alone", Client.insert, needs_holds=False),
            },
        ),
        Group(one, {"batch": Way(f"capture of {BATCH} at once", Client.capture, batch=BATCH)}),
        Group(one, {"hold": Way("hold", Client.hold, needs_holds=False)}),
        Group(
            one + slower,
            {"capture_slow": Way("capture", Client.capture), "ceiling_slow": Way("ceiling", Client.ceiling)},
            delay=DELAY,
        ),
        Group(
            many,
            {
                "charge": Way("charge", Client.capture),
                "inserts": Way("inserts alone", Client.insert, needs_holds=False),
                "many_ceiling": Way("ceiling of C1", Client.ceiling),
            },
            ORGANIZATIONS,
            times=3,
        ),
        Group(many, {"whole": Way("hold, then charge", Client.hold_and_capture, needs_holds=False)}, ORGANIZATIONS),
        Group(
            many + slower,
            {
                "charge_slow": Way("charge", Client.capture),
                "inserts_slow": Way("inserts alone", Client.insert, needs_holds=False),
            },
            ORGANIZATIONS,
            DELAY,
        ),
    ]


# --- clients ------------------------------------------------------------------------------------------------------

Task = tuple[UUID, list[UUID]]


def be_client(pipe: Pipe, barrier: Any) -> None:
    """Take tasks from the pipe, or a turn with some of them, until it says None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    _set_up_django()
    import psycopg

    acts = {key: way.act for group in make_groups() for key, way in group.ways.items()}
    tasks: dict[str, Iterator[Task]] = {}
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as plain:
        client = Client(plain)
        backends = [each.info.backend_pid for each in (plain, client.django)]
        pipe.send(None)
        while (order := pipe.recv()) is not None:
            if isinstance(order, dict):
                tasks = {key: iter(each) for key, each in order.items()}
                continue
            key, seconds = order
            act, commits, written = acts[key], 0, 0
            barrier.wait(60)
            server, own, began = _processor_of(backends), time.process_time(), time.perf_counter()
            until = now = began + seconds
            for account, references in tasks[key]:
                written += act(client, account, references)
                commits += 1
                if (now := time.perf_counter()) >= until:
                    break
            pipe.send((commits, written, now - began, time.process_time() - own, _processor_of(backends) - server))


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


# --- a round ------------------------------------------------------------------------------------------------------


class Bench:
    """The accounts, the clients, and a connection to prepare and check with."""

    def __init__(self, plain: Any, pipes: Sequence[Pipe], accounts: Sequence[UUID]) -> None:
        self.plain, self.pipes, self.accounts = plain, pipes, accounts

    def go_round(self, group: Group, seconds: float) -> None:
        """Let each way have a turn, and in reverse another; note how it went, and prove that it added up."""
        self.prepare(group, 2 * group.times * seconds)
        last = self.one("SELECT coalesce(max(id), 0) FROM billing_credittransaction")
        turns: dict[str, list[Any]] = {key: [] for key in group.ways}
        for key in (*group.ways, *reversed(group.ways)) * group.times:
            for pipe in self.pipes:
                pipe.send((key, seconds))
            turns[key] += [pipe.recv() for pipe in self.pipes]
        entries = 0
        for key, way in group.ways.items():
            commits, written, took, client, server = (sum(each) for each in zip(*turns[key], strict=True))
            assert written == commits * way.batch, f"{way.title}: {written} written in {commits} commits"
            way.a_second.append(written * len(self.pipes) / took)
            way.fastest = max(way.fastest, way.a_second[-1])
            way.client.append(client / commits * 1e6)
            way.server.append(server / commits * 1e6)
            entries += 0 if way.act is Client.hold else written
        self.check(group, entries, last)

    def prepare(self, group: Group, seconds: float) -> None:
        """Set the accounts back, and hold or just name as many references as can be used, in another order."""
        accounts, rows, lots = self.accounts[: group.organizations], [], {}
        for key, way in group.ways.items():
            # More than will be used, as far as is known; a client that runs out stops its clock.
            most = 1.5 * (way.fastest or 4_000 * way.batch)
            count = max(int(seconds * most) // way.batch, len(self.pipes))
            tasks = [(random.choice(accounts), [uuid4() for _ in range(way.batch)]) for _ in range(count)]
            if way.needs_holds:
                rows += [f"{each}\t{account}\t{STORED}\t{TEXT}\n" for account, those in tasks for each in those]
            random.shuffle(tasks)
            lots[key] = tasks
        self.plain.execute(f"ALTER SYSTEM SET commit_delay = {group.delay}")
        self.plain.execute("SELECT pg_reload_conf()")
        self.plain.execute("TRUNCATE billing_hold")
        into = "COPY billing_hold (reference, account_id, amount, description) FROM STDIN"
        with self.plain.cursor() as cursor, cursor.copy(into) as copy:
            copy.write("".join(rows))
        self.plain.execute(
            "WITH holds AS (SELECT account_id, sum(amount) AS total FROM billing_hold GROUP BY 1)"
            " UPDATE billing_creditaccount SET balance = %s, held = coalesce("
            "(SELECT total FROM holds WHERE account_id = organization_id), 0)",
            [OPENING],
        )
        self.plain.execute("VACUUM (ANALYZE) billing_hold, billing_creditaccount")
        for place, pipe in enumerate(self.pipes):
            pipe.send({key: tasks[place :: len(self.pipes)] for key, tasks in lots.items()})

    def check(self, group: Group, entries: int, last: int) -> None:
        """Stop when a round has not written what it says, or a balance is not exact, entry by entry."""
        found = self.one("SELECT count(*) FROM billing_credittransaction WHERE id > %s", last)
        assert found == entries, f"{group.title}: {found} entries for {entries}"
        wrong = self.one(
            "SELECT count(*) FROM ("
            "SELECT balance_after, %s + sum(amount) OVER (PARTITION BY account_id ORDER BY id) AS due"
            " FROM billing_credittransaction WHERE id > %s AND description = %s) AS entries WHERE balance_after <> due",
            OPENING,
            last,
            TEXT,
        )
        assert not wrong, f"{group.title}: {wrong} balances in the ledger are wrong"
        wrong = self.one(
            "WITH spent AS (SELECT account_id, sum(amount) AS total"
            " FROM billing_credittransaction WHERE id > %s AND description = %s GROUP BY 1),"
            " holds AS (SELECT account_id, sum(amount) AS total FROM billing_hold GROUP BY 1)"
            " SELECT count(*) FROM billing_creditaccount LEFT JOIN spent ON spent.account_id = organization_id"
            " LEFT JOIN holds ON holds.account_id = organization_id"
            " WHERE balance <> %s + coalesce(spent.total, 0) OR held <> coalesce(holds.total, 0)",
            last,
            TEXT,
            OPENING,
        )
        assert not wrong, f"{group.title}: {wrong} accounts are wrong"

    def one(self, query: str, *values: Any) -> int:
        """Return the one number that is asked for."""
        return int(self.plain.execute(query, values).fetchone()[0])


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


def report(groups: Sequence[Group], options: argparse.Namespace, disk: float) -> None:
    print(
        f"{options.clients} clients on {os.cpu_count()} cores, {options.rounds} rounds, turns of {options.seconds:g} s;"
        f" to write a page and wait for the disk takes {disk:.2f} ms"
    )
    title = ""
    for group in groups:
        if group.title != title:
            title = group.title
            print(f"\n{title:40} a second {'least to most':>18}   µs of processor a commit: client, server")
        for way in group.ways.values():
            spread = f"{min(way.a_second):,.0f} to {max(way.a_second):,.0f}"
            client, server = statistics.median(way.client), statistics.median(way.server)
            print(f"  {way.title:38} {way.median:8,.0f} {spread:>18} {client:27.0f} {server:7.0f}")
    ways = {key: way for group in groups for key, way in group.ways.items()}
    pairs = {
        "C1": ("capture", "ceiling"),
        "C2": ("charge", "inserts"),
        "C1, both in a transaction": ("capture_in", "ceiling_in"),
        "C1, slower disk": ("capture_slow", "ceiling_slow"),
        "C2, slower disk": ("charge_slow", "inserts_slow"),
        "one organization, capture to inserts": ("capture", "hot_inserts"),
        "many, charge to the ceiling of C1": ("charge", "many_ceiling"),
        "many, that ceiling to inserts": ("many_ceiling", "inserts"),
        "many, hold and charge to inserts": ("whole", "inserts"),
    }
    ratios = {name: ways[one].against(ways[other]) for name, (one, other) in pairs.items()}
    work = {name: ways[other].processor / ways[one].processor for name, (one, other) in pairs.items()}
    print("\nspeed, processor")
    for name, ratio in ratios.items():
        goal = {"C1": GOAL_HOT, "C2": GOAL_MANY}.get(name)
        stretch = f", stretch {STRETCH_MANY}" if name == "C2" else ""
        verdict = f"goal >= {goal}{stretch}: {'met' if ratio >= goal else 'MISSED'}" if goal else "for information"
        print(f"{ratio:.2f}  {work[name]:.2f}  {name} ({verdict})")
    figures = {
        "bench": "credits",
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "processor": {name: round(ratio, 3) for name, ratio in work.items()},
        "a_second": {key: round(way.median) for key, way in ways.items()},
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.25, help="of one turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped
    folder = Path(tempfile.mkdtemp(prefix="linkit-"))
    folder.chmod(0o711)
    url, server = harness.start_postgresql(folder, POSTGRESQL)
    try:
        os.environ["DATABASE_URL"] = url
        services.provide()
        _set_up_django()
        import psycopg
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0)
        accounts, groups, disk = make_accounts(), make_groups(), harness.disk_milliseconds(folder)
        connections.close_all()
        with psycopg.connect(url, autocommit=True) as plain, clients(options.clients) as pipes:
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                assert plain.execute(f"SHOW {name}").fetchone() == ("on",), f"{name} is off"
            bench = Bench(plain, pipes, accounts)
            for group in groups:
                bench.go_round(group, 0.2)  # connections, caches and plans get warm
            plain.execute("VACUUM (ANALYZE) billing_credittransaction")
            for way in [way for group in groups for way in group.ways.values()]:
                for measured in (way.a_second, way.client, way.server):
                    measured.clear()
            for _ in range(options.rounds):
                for group in groups:
                    bench.go_round(group, options.seconds)
        report(groups, options, disk)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
