"""Goals D1 to D4: how fast one worker drains, beside a bare pool of senders and beside task queues.

    python -m tests.benchmarks.drain [--only D1,D4] [--rounds 3] [--messages 4000] [--profile FILE]

Everybody sends the same messages with 64 threads to a gateway that answers after 50 ms:
    ours      `manage.py drain_outbox` in one process, on the real tables: claim, permit of the app's rate, start mark,
              attempt, log row and result of each; of one organization, and of twenty
    two       two such processes
    bare      64 threads with a `requests` Session each and no database; and two processes of these, which is what two
              workers could reach on this machine
    celery    a task for each message, `-P threads -c 64`, which loads its row, posts with a Session of its thread and
              saves the row, in the same database; the broker is the same Valkey
    dramatiq  the same task with 64 threads of one process

Processes are started and warm before; the queue is full before. The time of a run goes from the first arrival at the
gateway to the last result that is written, for the bare pool that is read. The processor's time is that of the workers'
process from when it was told to go, without the start of the interpreter. After each run the gateway must have seen
each number once, and each row must be sent.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import harness
from tests.benchmarks.gateway import SEND_PATH

ORGANIZATIONS = 20
SENDERS = 64


class Run(NamedTuple):
    """What one run gave."""

    a_second: float
    processor: float  # milliseconds a message
    gateway: float  # the same of the gateway
    database: float  # and of PostgreSQL


class Bench:
    def __init__(self, platform: harness.Platform, messages: int) -> None:
        self.platform, self.messages = platform, messages
        self.tenants = [harness.make_tenant(f"Tenant {place}") for place in range(ORGANIZATIONS)]

    # --- ours ---------------------------------------------------------------------------------------------------

    def ours(self) -> Run:
        return self._drain()

    def ours_of_twenty(self) -> Run:
        return self._drain(organizations=ORGANIZATIONS)

    def two_workers(self) -> Run:
        return self._drain(workers=2)

    def _drain(self, *, organizations: int = 1, workers: int = 1) -> Run:
        # Two workers have twice as much to do, so that the end of a run is as small a part of it.
        count = self.messages * workers
        self._fill(count, organizations)
        processes = [self.platform.start("tests.benchmarks.worker") for _ in range(workers)]
        before = self.platform.count_scripts()
        run = self._measure(processes, count)
        assert harness.unsettled() == 0
        assert self.platform.count_scripts() > before, "no permit of the app's rate was taken"
        return run

    def _fill(self, count: int, organizations: int) -> None:
        harness.empty_queue()
        share = count // organizations
        for place, tenant in enumerate(self.tenants[:organizations]):
            harness.queue(tenant, share, first=place * share)
        harness.statistics_now()
        self.platform.flush_redis()

    def _measure(self, processes: list[harness.Process], count: int) -> Run:
        """Let processes go that print when they have ended, and return how they did."""
        for process in processes:
            process.wait_until_ready()
        self.platform.gateway.reset()
        database = self.platform.database_processor
        for process in processes:
            process.go()
        results = [process.result() for process in processes]
        database = self.platform.database_processor - database
        self.platform.gateway.prove_once_each(count)
        came = self.platform.gateway.progress()
        took = max(result["ended"] for result in results) - came.first
        computed = (sum(result["processor"] for result in results), came.processor, database)
        return Run(count / took, *(each / count * 1000 for each in computed))

    def profile(self, path: Path) -> None:
        """Write what held the interpreter's lock in a run of ours, as stacks, and print what holds it most."""
        self._fill(self.messages, 1)
        worker = self.platform.start("tests.benchmarks.worker")
        worker.wait_until_ready()
        command = ["py-spy", "record", "--gil", "--rate", "500", "--format", "raw", "--output", str(path)]
        py_spy = self.platform.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:], "-p", str(worker.pid)]
        )
        py_spy.wait_until_ready("Sampling")
        self.platform.gateway.reset()
        worker.go()
        worker.result()
        harness.wait_for(lambda: not py_spy.is_alive, seconds=60, what="py-spy")
        own: Counter[str] = Counter()
        within: Counter[str] = Counter()
        for line in path.read_text().splitlines():
            stack, _, times = line.rpartition(" ")
            frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
            own[frames[-1]] += int(times)
            within.update({frame: int(times) for frame in set(frames)})
        total = own.total()
        for title, counted in (("itself", own), ("with what it calls", within)):
            rows = [(name, 100 * times / total) for name, times in counted.most_common(45)]
            harness.print_table((f"holds the interpreter's lock, {title}", "%"), rows)

    # --- the ceiling --------------------------------------------------------------------------------------------

    def bare(self, processes: int = 1) -> Run:
        url = self.platform.gateway.url + SEND_PATH
        pools = [
            self.platform.start("tests.benchmarks.pool", url, self.messages, SENDERS, place * self.messages)
            for place in range(processes)
        ]
        return self._measure(pools, self.messages * processes)

    def two_bare(self) -> Run:
        return self.bare(processes=2)

    # --- task queues --------------------------------------------------------------------------------------------

    def celery(self) -> Run:
        from tests.benchmarks import peers

        command = (
            "celery --app=tests.benchmarks.peers:celery_app worker --pool=threads --queues=peers --loglevel=WARNING"
        )
        quiet = "--without-mingle --without-gossip --without-heartbeat"
        return self._peer(peers.send_by_celery.delay, [*command.split(), *quiet.split(), f"--concurrency={SENDERS}"])

    def dramatiq(self) -> Run:
        from tests.benchmarks import peers

        command = ["dramatiq", "tests.benchmarks.peers:broker", "--processes", "1", "--threads", str(SENDERS)]
        return self._peer(peers.send_by_dramatiq.send, command)

    def _peer(self, put: Callable[[int], object], command: list[str]) -> Run:
        """Queue a task for each message, start the workers, and wait until the last row is saved."""
        from tests.benchmarks import peers

        gateway, count = self.platform.gateway, self.messages
        self.platform.flush_redis()
        for pk in peers.fill(count):
            put(pk)
        gateway.reset()
        workers = self.platform.run([sys.executable, "-m", *command])
        try:
            wait_for = partial(harness.wait_for, seconds=600, what=f"messages of {command[0]}")
            wait_for(lambda: gateway.progress().requests, every=0.01)
            computed, database = workers.processor, self.platform.database_processor
            wait_for(lambda: gateway.progress().requests >= count, every=0.1)
            wait_for(lambda: peers.count_unsent() == 0)
            ended, computed = time.time(), workers.processor - computed
            database = self.platform.database_processor - database
        finally:
            workers.stop()
        gateway.prove_once_each(count)
        came = gateway.progress()
        took = ended - came.first
        return Run(count / took, *(each / count * 1000 for each in (computed, came.processor, database)))


def goals(speed: dict[str, list[float]], work: dict[str, list[float]], wanted: set[str]) -> list[harness.Goal]:
    """Return those that are asked for, from messages a second and milliseconds a message."""

    def of(samples: dict[str, list[float]], one: str, other: str) -> float:
        return harness.ratio(samples[one], samples[other])

    made = []
    if "D1" in wanted:
        twenty = f"ours, {ORGANIZATIONS} organizations"
        made += [
            harness.Goal("D1", "drain, against the bare pool", of(speed, "ours", "bare"), at_least=0.95, stretch=1.05),
            harness.Goal(
                f"D1, {ORGANIZATIONS}",
                "the same of twenty organizations",
                of(speed, twenty, "bare"),
                at_least=0.95,
                stretch=1.05,
            ),
        ]
    if "D2" in wanted:
        made += [
            harness.Goal(
                "D2, celery", "against a task a message", of(speed, "ours", "celery"), at_least=3.5, stretch=4
            ),
            harness.Goal("D2, dramatiq", "against dramatiq", of(speed, "ours", "dramatiq"), at_least=1.7, stretch=2),
        ]
    if "D3" in wanted:
        made.append(
            harness.Goal("D3", "two workers against one", of(speed, "two workers", "ours"), at_least=1.6, stretch=1.8)
        )
    if "D4" in wanted:
        made.append(
            harness.Goal(
                "D4", "processor a message, against the bare pool", of(work, "ours", "bare"), at_most=1.1, stretch=0.85
            )
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="D1,D2,D3,D4", help="goals, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=4_000, help="of a run; two workers have twice as many")
    parser.add_argument("--profile", type=Path, help="a file for the stacks of one more run of ours, by py-spy")
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    with harness.platform() as platform:
        bench = Bench(platform, options.messages)
        ways: dict[str, Callable[[], Run]] = {"bare": bench.bare, "ours": bench.ours}
        if "D1" in wanted:
            ways[f"ours, {ORGANIZATIONS} organizations"] = bench.ours_of_twenty
        if "D2" in wanted:
            from tests.benchmarks import peers

            peers.make_table()
            ways |= {"celery": bench.celery, "dramatiq": bench.dramatiq}
        if "D3" in wanted:
            ways |= {"two workers": bench.two_workers, "two bare pools": bench.two_bare}
        samples = harness.interleave(ways, rounds=options.rounds)
        if options.profile:
            bench.profile(options.profile)
    speed = {name: [run.a_second for run in runs] for name, runs in samples.items()}
    work = {name: [run.processor for run in runs] for name, runs in samples.items()}
    rows = [
        (
            name,
            statistics.median(speed[name]),
            f"{min(speed[name]):,.0f} to {max(speed[name]):,.0f}",
            harness.ratio(speed[name], speed["bare"]),
            statistics.median(work[name]),
            harness.ratio(work[name], work["bare"]),
            statistics.median(run.database for run in samples[name]),
        )
        for name in ways
    ]
    header = ("way", "messages/s", "least to most", "x bare", "processor, ms a message", "x bare", "PostgreSQL")
    harness.print_table(header, rows)
    gateway = statistics.median(run.gateway for runs in samples.values() for run in runs)
    print(f"\nThe gateway took {gateway:.3f} ms of processor a request; {SENDERS} threads at 50 ms could do 1,280/s.")
    if "D3" in wanted:
        most = harness.ratio(speed["two bare pools"], speed["bare"])
        print(f"Two bare pools make {most:.2f} x what one makes here: two workers cannot make much more of one.")
    harness.report(
        "drain",
        goals=goals(speed, work, wanted),
        messages=options.messages,
        a_second={name: [round(each) for each in values] for name, values in speed.items()},
        processor_ms={name: [round(each, 3) for each in values] for name, values in work.items()},
        database_ms={name: [round(run.database, 3) for run in runs] for name, runs in samples.items()},
        gateway_processor_ms=round(gateway, 4),
    )


if __name__ == "__main__":
    main()
