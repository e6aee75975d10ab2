"""Goal R1: the sweep that deletes old messages does not hold up who queues new ones.

    python -m tests.benchmarks.retention [--rounds 5] [--seconds 8] [--messages 600000]

Clients (`posting.py`) queue messages over HTTP, as fast as the web server of production takes them: alone, and while
`outbox.retention.purge` deletes messages that were sent forty days ago, of twenty organizations. Both sides have the
same table before them. The sweep is also looked at alone. A batch is one transaction of it, without the rest after it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from datetime import timedelta
from typing import Any, NamedTuple

from tests.benchmarks import harness

ORGANIZATIONS, CONNECTIONS = 20, 8
DAYS = 40  # since the old ones were sent; the settings keep them for 30


class Turn(NamedTuple):
    """What one turn gave: seconds of the requests, and of the sweep's batches if there was one."""

    a_second: float
    took: list[float]
    batches: list[float]
    deleted: int


class Bench:
    def __init__(self, platform: harness.Platform, seconds: float, url: str) -> None:
        self.platform, self.seconds, self.url = platform, seconds, url
        self.tenants = [harness.make_tenant(f"Tenant {place}") for place in range(ORGANIZATIONS)]
        self.place = 0  # of the next number that nobody has

    def fill(self, messages: int) -> None:
        """Put old messages into the table that were sent, as many of each organization."""
        from django.db import connection

        from linkit import clock
        from outbox.models import Message, id_from

        old = f"now() - interval '{DAYS} days'"
        then = id_from(clock.now() - timedelta(days=DAYS))
        share = messages // ORGANIZATIONS
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
        for tenant in self.tenants:
            harness.queue(tenant, 1, first=self.place)
            pk = Message.objects.filter(organization=tenant.organization).values_list("pk", flat=True)[0]
            times = ("created_at", "updated_at", "next_attempt_at", "claimed_at", "started_at", "sent_at", "expires_at")
            values = {**dict.fromkeys(times, old), "app_id": str(tenant.app.pk), "provider_slug": "'mora-sms'"}
            harness.copy_message(pk, share, first=self.place + 1, time_digits=f"'{then}'", status="'sent'", **values)
            self.place += share + 1
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = DEFAULT")
        harness.statistics_now()

    def alone(self) -> Turn:
        return self._turn(None)

    def beside(self) -> Turn:
        return self._turn(self.platform.start("tests.benchmarks.retention", "--sweep", self.seconds))

    def sweep_alone(self) -> Turn:
        """Sweep while nobody queues anything."""
        sweep = self.platform.start("tests.benchmarks.retention", "--sweep", self.seconds)
        sweep.wait_until_ready()
        sweep.go()
        swept = sweep.result()
        return Turn(0, [], swept["batches"], swept["deleted"])

    def _turn(self, sweep: harness.Process | None) -> Turn:
        request = {
            "url": f"{self.url}/api/v1/sms/outbox",
            "authorization": f"Bearer {self.tenants[0].key}",
            "connections": CONNECTIONS,
            "seconds": self.seconds,
            "keys": f"turn-{self.place}",
            "first": self.place,
        }
        clients = self.platform.start("tests.benchmarks.posting", json.dumps(request))
        processes = [clients, *([sweep] if sweep else [])]
        for process in processes:
            process.wait_until_ready()
        for process in processes:
            process.go()
        found = clients.result()
        self.place += found["count"] + CONNECTIONS
        swept: dict[str, Any] = sweep.result() if sweep else {"batches": [], "deleted": 0}
        return Turn(found["count"] / found["seconds"], found["took"], swept["batches"], swept["deleted"])


def be_sweep(seconds: float) -> None:
    """Sweep for so long once told to go, and print what each batch took."""
    import django

    django.setup()
    from outbox import retention

    batches: list[float] = []
    pace_batch = retention.Pace.batch

    def timed(self: Any, work: Any) -> Any:
        def noted(size: int) -> Any:
            began = time.perf_counter()
            done = work(size)
            batches.append(time.perf_counter() - began)
            return done

        return pace_batch(self, noted)

    retention.Pace.batch = timed  # type: ignore[method-assign]
    retention.purge(window=0)  # connects
    print("ready", flush=True)
    sys.stdin.readline()
    batches.clear()
    purged = retention.purge(window=seconds)
    assert not purged.is_done, "the sweep ran out of old messages"
    print(json.dumps({"batches": batches, "deleted": purged.messages}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one turn")
    parser.add_argument("--messages", type=int, default=600_000, help="old ones, to be deleted")
    parser.add_argument("--sweep", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sweep:
        be_sweep(options.sweep)
        return
    with harness.platform() as platform:
        web, url = platform.web()
        bench = Bench(platform, options.seconds, url)
        bench.fill(options.messages)
        bench.alone()  # connections, caches and plans get warm
        ways = {"alone": bench.alone, "beside": bench.beside, "sweep": bench.sweep_alone}
        samples = harness.interleave(ways, rounds=options.rounds)
        web.stop()
    titles = {"alone": "enqueue alone", "beside": "enqueue beside the sweep"}
    speed = {name: [turn.a_second for turn in samples[name]] for name in titles}
    late = {name: [harness.percentile(turn.took, 0.99) * 1000 for turn in samples[name]] for name in titles}
    rows = [(title, statistics.median(speed[name]), statistics.median(late[name])) for name, title in titles.items()]
    harness.print_table(("way", "a second", "99th of 100, ms"), rows)
    sweeps = {"beside": "beside enqueues", "sweep": "alone"}
    deleted = {name: statistics.median(turn.deleted / options.seconds for turn in samples[name]) for name in sweeps}
    batches = {name: [each * 1000 for turn in samples[name] for each in turn.batches] for name in sweeps}
    longest = {name: statistics.median(max(turn.batches) * 1000 for turn in samples[name]) for name in sweeps}
    header = ("the sweep", "messages a second", "batches", "median, ms", "99th of 100", "longest of a turn")
    sweep_rows = [
        (
            title,
            deleted[name],
            len(batches[name]),
            statistics.median(batches[name]),
            harness.percentile(batches[name], 0.99),
            longest[name],
        )
        for name, title in sweeps.items()
    ]
    harness.print_table(header, sweep_rows)
    goals = [
        harness.Goal(
            "R1", "enqueue beside the sweep", harness.ratio(speed["beside"], speed["alone"]), at_least=0.9, stretch=0.95
        ),
        harness.Goal(
            "R1, p99", "its 99th of 100", harness.ratio(late["beside"], late["alone"]), at_most=1.5, stretch=1.2
        ),
        harness.Goal("R1, batch", "longest batch of a turn", longest["beside"], at_most=50, unit="ms"),
    ]
    harness.report(
        "retention",
        goals=goals,
        a_second={name: [round(each) for each in values] for name, values in speed.items()},
        p99_ms={name: [round(each, 1) for each in values] for name, values in late.items()},
        deleted_a_second={name: round(each) for name, each in deleted.items()},
        longest_batch_ms={name: round(each, 1) for name, each in longest.items()},
    )


if __name__ == "__main__":
    main()
