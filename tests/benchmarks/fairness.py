"""Goal D5: who queues one message is not held up by who has queued 100,000.

    python -m tests.benchmarks.fairness [--rounds 3] [--messages 100000] [--probes 10]

Against the workers of production, one Celery process for drains and beat, and a gateway that answers after 50 ms. A
probe is one message of an organization that has nothing else, queued as the API does it; its time goes from before it
is queued until it reaches the gateway:
    idle      while nothing else is queued
    singles   while 100,000 messages of their own of another organization are being drained
    bulk      while a file of 100,000 rows of another organization is
A batch is the time in which the gateway sees as many messages as one worker has senders, in the same phase.

And a second organization's file of 1,000 rows, queued while the first one's 100,000 are being sent: what share of what
the gateway sees is its rows', from the moment at which its job runs, second by second. A half is fair.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import harness

SETTLED = 1_500  # messages that a drain has sent before anybody probes
WARM = 2  # probes that are not counted: the first of an idle worker starts its threads
PROBES_FROM, SECOND_FROM = 90_000_100, 80_000_000  # places of numbers


@dataclass
class Phase:
    """What one phase of one round gave."""

    probes: list[float]  # seconds
    batch: float = 0.0  # seconds

    @property
    def median(self) -> float:
        return statistics.median(self.probes)


class Bench:
    def __init__(self, platform: harness.Platform, messages: int, probes: int) -> None:
        self.platform, self.messages, self.probes = platform, messages, probes
        self.busy, self.quiet = harness.make_tenant("Busy"), harness.make_tenant("Quiet")
        self.dice = random.Random(5)

    def idle(self) -> Phase:
        return self._phase(lambda: None)

    def singles(self) -> Phase:
        return self._phase(lambda: harness.queue(self.busy, self.messages))

    def bulk(self) -> Phase:
        return self._phase(lambda: harness.queue_file(self.busy, self.messages))

    def share(self) -> list[float]:
        """Return the second organization's share of what the gateway saw, by seconds from when its job ran."""
        began: list[float] = []

        def look() -> None:
            harness.queue_file(self.quiet, 1_000, first=SECOND_FROM)
            began.append(time.time())
            time.sleep(3)

        arrivals = self._run(lambda: harness.queue_file(self.busy, self.messages), look)
        shares = []
        for second in range(3):
            within = [to for at, to in arrivals if second <= at - began[0] < second + 1]
            shares.append(sum(to.startswith("96658") for to in within) / max(len(within), 1))
        return shares

    def _phase(self, fill: Callable[[], None]) -> Phase:
        asked: dict[str, float] = {}

        def probe() -> None:
            from outbox import services

            for place in range(-WARM, self.probes):
                time.sleep(self.dice.uniform(0.2, 0.6))
                to = harness.number(PROBES_FROM + place)
                if place >= 0:
                    asked[to.removeprefix("+")] = time.time()
                services.enqueue(
                    organization=self.quiet.organization,
                    recipient=to,
                    text="Your code is 1234",
                    sender_id=harness.SENDER,
                )
            time.sleep(2)

        arrivals = self._run(fill, probe)
        came = {to: at for at, to in arrivals if to in asked}
        assert len(came) == self.probes, f"{len(came)} of {self.probes} probes reached the gateway within 2 s"
        first, last = min(asked.values()), max(asked.values())
        others = [at for at, to in arrivals if to not in asked and first <= at <= last]
        batch = harness.SENDERS * (last - first) / len(others) if others else 0.0
        return Phase([came[to] - at for to, at in asked.items()], batch)

    def _run(self, fill: Callable[[], None], act: Callable[[], None]) -> list[tuple[float, str]]:
        """Fill the queue, start the workers, and act once they are under way. Returns what reached the gateway."""
        harness.empty_queue()
        fill()
        harness.statistics_now()
        self.platform.flush_redis()
        self.platform.gateway.reset()
        is_full = harness.unsettled() > 0
        worker, beat = self.platform.worker(), self.platform.beat()
        try:
            if is_full:
                enough = lambda: self.platform.gateway.progress().requests >= SETTLED  # noqa: E731
                harness.wait_for(enough, seconds=60, what="a drain", every=0.1)
            act()
        finally:
            beat.stop()
            worker.stop()
        counts = self.platform.gateway.counts()
        assert counts.requests == counts.distinct, f"{counts.requests} requests for {counts.distinct} numbers"
        return self.platform.gateway.arrivals()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--probes", type=int, default=10, help="in each phase of each round")
    options = parser.parse_args()
    with harness.platform() as platform:
        bench = Bench(platform, options.messages, options.probes)
        phases = harness.interleave(
            {"idle": bench.idle, "singles": bench.singles, "bulk": bench.bulk}, rounds=options.rounds
        )
        shares = harness.interleave({"share": bench.share}, rounds=options.rounds)["share"]
    rows, goals = [], []
    for name, of_rounds in phases.items():
        probes = [each * 1000 for phase in of_rounds for each in phase.probes]
        batch = statistics.median(phase.batch for phase in of_rounds) * 1000
        rows.append((name, statistics.median(probes), harness.percentile(probes, 0.95), max(probes), batch))
        if name != "idle":
            # What a round's probes may take is twice those of its idle phase, and its batch.
            pairs = list(zip(of_rounds, phases["idle"], strict=True))
            for_goal = [phase.median / (2 * idle.median + phase.batch) for phase, idle in pairs]
            for_stretch = statistics.median(phase.median / (1.5 * idle.median + phase.batch) for phase, idle in pairs)
            within = statistics.median(for_goal)
            goals.append(harness.Goal(f"D5, {name}", "of twice the idle time and a batch", within, at_most=1))
            goals.append(harness.Goal(f"D5, {name}, 1.5", "of 1.5 times and a batch", for_stretch, at_most=1))
    harness.print_table(("a probe's ms", "median", "95th of 100", "most", "a batch, ms"), rows)
    by_second = [statistics.median(each) for each in zip(*shares, strict=True)]
    harness.print_table(
        ("a second organization's file of 1,000", "in its 1st second", "2nd", "3rd"), [("share of all", *by_second)]
    )
    goals.append(
        harness.Goal("share", "of a second file, in its first second", by_second[0], at_least=0.4, stretch=0.5)
    )
    harness.report(
        "fairness",
        goals=goals,
        probes_ms={
            name: [[round(each * 1000, 1) for each in phase.probes] for phase in of_rounds]
            for name, of_rounds in phases.items()
        },
        batch_ms={name: [round(phase.batch * 1000) for phase in of_rounds] for name, of_rounds in phases.items()},
        shares=[[round(each, 3) for each in of_round] for of_round in shares],
    )


if __name__ == "__main__":
    main()
