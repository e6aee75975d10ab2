"""Goals E1 to E3: what it takes to queue one message over HTTP.

    python -m tests.benchmarks.enqueue [--rounds 5] [--seconds 4] [--connections 8]

E1, the whole job, with authentication, validation, idempotency and parts:
    ours       POST /api/v1/sms/outbox
    usual      the same job as a usual view of Django REST Framework does it (`usual/`), on the same web server with the
               same middleware, in a database of the same PostgreSQL
E2, our request alone and beside
    a drain    a worker that sends what is posted, and a backlog before it, as fast as a provider takes it: 100 a second
    a sweep    `retention.py`'s, of messages that were sent forty days ago
and, for information, beside a worker that also has another organization's messages, which nothing limits: on two cores
it takes one for itself.
E3, repeats of keys that are known, against new ones; and 32 connections that post one key at once.

Each turn is a few seconds of clients that keep their connections (`posting.py`), and that wait for nothing but the
answer: so a rate is what the whole machine does, on which clients, web server and PostgreSQL share the cores. The
processor's time of a request is shown beside it, since it depends less on who else is at work.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks import harness, retention

PATH = "/api/v1/sms/outbox"
RACERS, RACES = 32, 25
PROVIDER_LIMIT = 100  # messages a second
BACKLOG, FIRST_OF_BACKLOG = 20_000, 1_000_000
OLD = 300_000  # messages for the sweep
# Limits that this load does not meet, but that are asked for as in production.
LIMITS = {"API_RATE_PER_MINUTE": "120000", "API_RATE_BURST": "20000"}
USUAL = {"DJANGO_SETTINGS_MODULE": "tests.benchmarks.usual.settings", "USUAL_DATABASE": "usual"}


@dataclass
class Turn:
    """What one turn gave. Times are seconds; those of the processor are of one request."""

    count: int
    a_second: float
    took: list[float]
    web: float
    postgresql: float
    client: float

    @property
    def p99(self) -> float:
        return harness.percentile(self.took, 0.99)

    @property
    def processor(self) -> float:
        return self.web + self.postgresql


@dataclass
class Server:
    """A web server, and what its callers need."""

    process: harness.Process
    url: str
    authorization: str


class Bench:
    def __init__(self, platform: harness.Platform, ours: Server, usual: Server, options: argparse.Namespace) -> None:
        self.platform, self.ours, self.usual = platform, ours, usual
        self.seconds, self.connections = options.seconds, options.connections
        self.lots = itertools.count()  # each turn has keys of its own
        self.known = 0

    def new(self) -> Turn:
        return self._post(self.ours)

    def usual_new(self) -> Turn:
        return self._post(self.usual)

    def repeats(self) -> Turn:
        """Post what has been posted before."""
        if not self.known:
            self.known = self._post(self.ours, keys="known").count
        return self._post(self.ours, keys="known", again=self.known)

    def race(self) -> list[dict[str, Any]]:
        """Post each of a few messages over many connections at once. Returns for each what was answered."""
        clients = self._clients(self.ours, connections=RACERS, races=RACES, keys="race")
        clients.go()
        ends: list[dict[str, Any]] = clients.result()["races"]
        return ends

    @contextlib.contextmanager
    def drain(self, tenant: harness.Tenant) -> Iterator[None]:
        """Have a worker send messages of `tenant` for as long as the context lasts."""
        harness.queue(tenant, BACKLOG, first=FIRST_OF_BACKLOG)
        self.platform.gateway.reset()
        worker, beat = self.platform.worker(), self.platform.beat()
        try:
            # Until all of them have started: that takes more of the processor than what they do later.
            enough = lambda: self.platform.gateway.progress().requests >= 4 * PROVIDER_LIMIT  # noqa: E731
            harness.wait_for(enough, seconds=30, what="the drain", every=0.1)
            yield
            assert harness.unsettled(), "the worker ran out of messages"
        finally:
            beat.stop()
            worker.stop()
            empty_backlog(tenant)

    def beside(self, tenant: harness.Tenant) -> Turn:
        """Post while a worker drains and a sweep runs."""
        sweep = self.platform.start("tests.benchmarks.retention", "--sweep", self.seconds)
        sweep.wait_until_ready()
        with self.drain(tenant):
            sweep.go()
            turn = self._post(self.ours)
        assert sweep.result()["deleted"], "the sweep found nothing"
        return turn

    def _post(self, server: Server, **given: Any) -> Turn:
        clients = self._clients(server, **given)
        web, postgresql = server.process.processor, self.platform.database_processor
        clients.go()
        found = clients.result()
        count = found["count"]
        web, postgresql = server.process.processor - web, self.platform.database_processor - postgresql
        each = (spent / count for spent in (web, postgresql, found["processor"]))
        return Turn(count, count / found["seconds"], found["took"], *each)

    def _clients(self, server: Server, **given: Any) -> harness.Process:
        request = {
            "url": server.url,
            "authorization": server.authorization,
            "connections": self.connections,
            "seconds": self.seconds,
            "keys": f"lot-{next(self.lots)}",
            **given,
        }
        clients = self.platform.start("tests.benchmarks.posting", json.dumps(request))
        clients.wait_until_ready()
        return clients


def empty_backlog(tenant: harness.Tenant) -> None:
    from outbox.models import Message
    from sms_providers.models import SmsLog

    Message.objects.filter(organization=tenant.organization).delete()
    SmsLog.objects.filter(organization=tenant.organization).delete()


@contextlib.contextmanager
def usual_server(platform: harness.Platform) -> Iterator[Server]:
    """Make the rival's database and run its server: the product's WSGI module and all else, with other settings."""
    import psycopg

    with psycopg.connect(platform.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {USUAL['USUAL_DATABASE']}")
    make_token = (
        "from django.contrib.auth.models import User; from rest_framework.authtoken.models import Token;"
        "print('token', Token.objects.create(user=User.objects.create_user('acme')).key)"
    )
    manage("migrate", "auth", "--verbosity", "0")  # before the table that points to its users
    manage("migrate", "--run-syncdb", "--verbosity", "0")
    (token,) = re.findall(r"token (\w+)", manage("shell", "--verbosity", "0", "--command", make_token))
    web, url = platform.web(env=USUAL)
    try:
        yield Server(web, url + PATH, f"Token {token}")
    finally:
        web.stop()


def manage(*arguments: str) -> str:
    """Run a command of the rival's, and return what it printed."""
    command, env = [sys.executable, "-m", "django", *arguments], {**os.environ, **USUAL}
    return subprocess.run(command, cwd=harness.ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def table(header: str, samples: dict[str, list[Turn]]) -> None:
    rows = []
    for name, turns in samples.items():
        median = {
            what: statistics.median(getattr(turn, what) for turn in turns)
            for what in ("a_second", "p99", "web", "postgresql", "client")
        }
        spread = f"{min(turn.a_second for turn in turns):,.0f} to {max(turn.a_second for turn in turns):,.0f}"
        times = (median[what] * 1000 for what in ("p99", "web", "postgresql", "client"))
        rows.append((name, median["a_second"], spread, *times))
    columns = (header, "a second", "least to most", "99th of 100, ms", "processor, ms: web", "PostgreSQL", "client")
    harness.print_table(columns, rows)


def ratio(ours: Sequence[Turn], theirs: Sequence[Turn], what: str = "a_second") -> float:
    return harness.ratio([getattr(turn, what) for turn in ours], [getattr(turn, what) for turn in theirs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn")
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    with harness.platform() as platform, usual_server(platform) as usual:
        tenant = harness.make_tenant("Acme", max_per_second=PROVIDER_LIMIT)
        unlimited = harness.make_tenant("Unlimited")
        web, url = platform.web(env=LIMITS)
        bench = Bench(platform, Server(web, url + PATH, f"Bearer {tenant.key}"), usual, options)
        ways = {"ours": bench.new, "usual": bench.usual_new}
        for warm in ways.values():
            warm()
        alone = harness.interleave(ways, rounds=options.rounds)
        repeated = harness.interleave({"new": bench.new, "repeat": bench.repeats}, rounds=options.rounds)
        races = bench.race()
        retention.Bench(platform, options.seconds, url).fill(OLD)
        busy = harness.interleave(
            {
                "alone": bench.new,
                "beside": lambda: bench.beside(tenant),
                "unlimited": lambda: bench.beside(unlimited),
            },
            rounds=options.rounds,
        )
        web.stop()
    table("E1, one message", alone)
    table("E2, beside others", busy)
    table("E3, known keys", repeated)
    races_won = Counter(str(Counter(race["statuses"])) for race in races)
    assert all(race["ids"] == 1 and Counter(race["statuses"]) == {201: 1, 200: RACERS - 1} for race in races), races_won
    print(f"\nof {RACES} keys, each posted by {RACERS} connections at once, every one made one message")
    goals = [
        harness.Goal("E1", "ours to a usual view", ratio(alone["ours"], alone["usual"]), at_least=2.5, stretch=3.3),
        harness.Goal(
            "E2", "beside a drain and a sweep", ratio(busy["beside"], busy["alone"]), at_least=0.7, stretch=0.85
        ),
        harness.Goal(
            "E2, p99", "its 99th of 100", ratio(busy["beside"], busy["alone"], "p99"), at_most=2.5, stretch=1.5
        ),
        harness.Goal(
            "E3", "a repeat's time to a new one's", ratio(repeated["new"], repeated["repeat"]), at_most=1.1, stretch=0.8
        ),
    ]
    harness.report(
        "enqueue",
        goals=goals,
        ratios={
            "processor of a usual view to ours": round(ratio(alone["usual"], alone["ours"], "processor"), 2),
            "beside an unlimited drain": round(ratio(busy["unlimited"], busy["alone"]), 2),
            "its p99": round(ratio(busy["unlimited"], busy["alone"], "p99"), 2),
        },
        a_second={
            name: round(statistics.median(turn.a_second for turn in turns))
            for name, turns in {**alone, **busy, **repeated}.items()
        },
    )


if __name__ == "__main__":
    main()
