"""Goals Q1 and Q2: a claim does not get slower as the table grows, nor behind an old snapshot.

    python -m tests.benchmarks.claim [--only Q1,Q2] [--rounds 5] [--pending 1000000] [--finished 5000000]

On a PostgreSQL of its own, a database for each state of the queue, which take turns. A sample is the median of ten
claims of 128 one after the other, as a drain makes them (`outbox.claims.claim`), each with its commit, after two that
are not counted.
    Q1  1 million pending and 5 million finished rows of twenty organizations, against 14,000 pending
    Q2  14,000 pending rows of one organization behind 200,000 dead entries of the index, which no vacuum can remove
        since a transaction is open that began before, against the same without these
For Q2 the usual statement goes the same way, on a table of its own with one index: SELECT from the head of the queue
FOR UPDATE SKIP LOCKED, and UPDATE.

Every few seconds a drain looks at the head again, as the first claim of a sample does: that one is shown apart. Next to
the time stands what this process and its server process have computed, which others on the machine change less.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from tests.benchmarks import harness

BATCH, CLAIMS, WARM = 128, 10, 2
FEW, DEAD = 14_000, 200_000
ORGANIZATIONS = 20
USUAL_TABLE = "usual_message"
_USUAL = f"""
WITH due AS (
    SELECT id FROM {USUAL_TABLE} WHERE status = 'pending' AND next_attempt_at <= now()
    ORDER BY next_attempt_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED
)
UPDATE {USUAL_TABLE} AS m SET status = 'sending', claimed_at = now(), lease_expires_at = now() + interval '2 minutes'
FROM due WHERE m.id = due.id RETURNING m.*
"""


class Sample(NamedTuple):
    """What one turn gave, in milliseconds."""

    first: float
    median: float
    work: float  # of the processor, in the median


def _work() -> float:
    """Return the milliseconds that this process and its server process have computed."""
    from django.db import connection

    connection.ensure_connection()
    server = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    known = int(server.read_text().split()[0]) if server.exists() else 0
    return time.process_time() * 1000 + known / 1e6


class Bench:
    """Databases that are copies of the migrated one, with the tenants in it."""

    def __init__(self, platform: harness.Platform) -> None:
        self.platform = platform
        self.tenants = [harness.make_tenant(f"Tenant {place}") for place in range(ORGANIZATIONS)]
        self.connections: dict[str, Any] = {}
        self.turns: dict[str, Any] = {}

    def make_database(self, name: str) -> None:
        """Make a database, and use it from now on."""
        from django.db import connections

        from outbox.turns import Turns

        self.use("")
        connections["default"].close()
        host = self.platform.database_url.partition("?host=")[2]
        with psycopg.connect(host=host, user="postgres", dbname="template1", autocommit=True) as administrator:
            administrator.execute(f"CREATE DATABASE {name} TEMPLATE postgres".encode())
        wrapper = connections["default"].copy()
        wrapper.settings_dict["NAME"] = name
        self.connections[name], self.turns[name] = wrapper, Turns()
        self.use(name)

    def use(self, name: str) -> None:
        """Have everything that uses Django's connection use this database; "" is the first."""
        from django.db import connections

        self.connections.setdefault("", connections["default"])
        connections["default"] = self.connections[name]

    def execute(self, statement: str) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement)

    def ours(self, name: str) -> Sample:
        """Claim as a drain does in this database, first with a look at the head."""
        from outbox import claims
        from outbox.turns import Turns

        self.use(name)
        self.turns[name] = Turns()
        return self._claim(lambda: len(claims.claim(limit=BATCH, turns=self.turns[name])))

    def usual(self, name: str) -> Sample:
        from django.db import connection

        self.use(name)

        def claim() -> int:
            with connection.cursor() as cursor:
                cursor.execute(_USUAL)
                return len(cursor.fetchall())

        return self._claim(claim)

    def _claim(self, claim: Callable[[], int]) -> Sample:
        took, computed = [], []
        for _ in range(WARM + CLAIMS):
            began, work = time.perf_counter(), _work()
            claimed = claim()
            took.append((time.perf_counter() - began) * 1000)
            computed.append(_work() - work)
            assert claimed == BATCH, f"{claimed} were claimed of {BATCH}"
        return Sample(took[0], statistics.median(took[WARM:]), statistics.median(computed[WARM:]))

    # --- Q1 -----------------------------------------------------------------------------------------------------

    def fill_small(self) -> None:
        self.make_database("small")
        self._fill(FEW, 0)

    def fill_large(self, pending: int, finished: int) -> None:
        self.make_database("large")
        self._fill(pending, finished)

    def _fill(self, pending: int, finished: int) -> None:
        self.execute("SET session_replication_role = replica")  # foreign keys need not be looked up: rows are copies
        pending, finished = pending // ORGANIZATIONS, finished // ORGANIZATIONS
        for place, tenant in enumerate(self.tenants):
            first = place * (pending + finished)
            harness.queue(tenant, pending, first=first)
            if finished:
                _queue_finished(tenant, finished, first=first + pending)
        self.execute("SET session_replication_role = DEFAULT")
        harness.statistics_now()

    # --- Q2 -----------------------------------------------------------------------------------------------------

    def fill_clean(self) -> None:
        self.make_database("clean")
        self._fill_one(FEW)

    def fill_dead(self) -> psycopg.Connection[Any]:
        """Fill, and make the first 200,000 entries dead while a snapshot is open. It is as long as what is returned."""
        self.make_database("dead")
        self._fill_one(FEW + DEAD)
        host = self.platform.database_url.partition("?host=")[2]
        old = psycopg.connect(host=host, user="postgres", dbname="dead")
        old.execute("SET idle_in_transaction_session_timeout = 0")
        old.commit()
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM outbox_message")
        last = harness.number(DEAD - 1)
        for table in ("outbox_message", USUAL_TABLE):
            self.execute(f"UPDATE {table} SET status = 'sent', sent_at = now() WHERE recipient <= '{last}'")
            self.execute(f"VACUUM (ANALYZE) {table}")
        return old

    def _fill_one(self, count: int) -> None:
        harness.queue(self.tenants[0], count)
        self.execute(f"CREATE TABLE {USUAL_TABLE} (LIKE outbox_message INCLUDING DEFAULTS, PRIMARY KEY (id))")
        self.execute(f"INSERT INTO {USUAL_TABLE} SELECT * FROM outbox_message")
        self.execute(f"CREATE INDEX usual_due ON {USUAL_TABLE} (next_attempt_at) WHERE status = 'pending'")
        harness.statistics_now()
        self.execute(f"VACUUM (ANALYZE) {USUAL_TABLE}")


def _queue_finished(tenant: harness.Tenant, count: int, *, first: int) -> None:
    """Add rows that were sent in the last 30 days."""
    from outbox.models import Message

    pk = Message.objects.filter(organization=tenant.organization).values_list("pk", flat=True)[0]
    earlier = f"now() - interval '1 minute' - (n - {first}) * interval '{30 * 86_400 / count} seconds'"
    times = dict.fromkeys(
        ("created_at", "updated_at", "next_attempt_at", "claimed_at", "started_at", "sent_at"), earlier
    )
    harness.copy_message(
        pk,
        count,
        first=first,
        status="'sent'",
        app_id=str(tenant.app.pk),
        provider_slug="'mora-sms'",
        expires_at=f"{earlier} + interval '3 days'",
        **times,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="Q1,Q2", help="goals, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=5_000_000)
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    ways: dict[str, Callable[[], Sample]] = {}
    with harness.platform(postgresql={"shared_buffers": "2GB"}) as platform:
        bench = Bench(platform)
        began = time.perf_counter()
        if "Q1" in wanted:
            bench.fill_small()
            bench.fill_large(options.pending, options.finished)
            ways |= {"small": lambda: bench.ours("small"), "large": lambda: bench.ours("large")}
        if "Q2" in wanted:
            bench.fill_clean()
            old = bench.fill_dead()
            ways |= {
                "clean": lambda: bench.ours("clean"),
                "dead": lambda: bench.ours("dead"),
                "usual, clean": lambda: bench.usual("clean"),
                "usual, dead": lambda: bench.usual("dead"),
            }
        print(f"loaded in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        samples = harness.interleave(ways, rounds=options.rounds)
        if "Q2" in wanted:
            old.close()
        bench.use("")
    medians = {name: [each.median for each in of_rounds] for name, of_rounds in samples.items()}
    heads = {name: statistics.median(each.first for each in of_rounds) for name, of_rounds in samples.items()}
    works = {name: statistics.median(each.work for each in of_rounds) for name, of_rounds in samples.items()}
    titles = {
        "small": f"{FEW:,} pending",
        "large": f"{options.pending:,} pending, {options.finished:,} finished",
        "clean": f"{FEW:,} pending of one organization",
        "dead": f"the same behind {DEAD:,} dead entries",
        "usual, clean": "usual statement",
        "usual, dead": f"usual statement behind {DEAD:,} dead entries",
    }
    rows = [(titles[name], statistics.median(medians[name]), heads[name], works[name]) for name in ways]
    harness.print_table((f"claim of {BATCH}, ms", "median", "first", "processor"), rows)
    goals = []
    if "Q1" in wanted:
        grown = harness.ratio(medians["large"], medians["small"])
        goals.append(harness.Goal("Q1", "claim in a table of millions", grown, at_most=1.4, stretch=1.2))
    if "Q2" in wanted:
        behind = harness.ratio(medians["dead"], medians["clean"])
        usual = harness.ratio(medians["usual, dead"], medians["usual, clean"])
        print(f"\nThe usual statement takes {usual:.1f} x as long behind {DEAD:,} dead entries.")
        goals.append(harness.Goal("Q2", "claim behind dead entries", behind, at_most=2, stretch=1.3))
    harness.report(
        "claim",
        goals=goals,
        median_ms={name: [round(each, 2) for each in values] for name, values in medians.items()},
        work_ms={name: round(each, 2) for name, each in works.items()},
        first_ms={name: round(each, 1) for name, each in heads.items()},
    )


if __name__ == "__main__":
    main()
