"""The memory of a worker over 50,000 messages: it must not grow.

    python -m tests.benchmarks.memory [--messages 50000]

The worker is a Celery process as in production, woken by beat, which goes through as many drains as it takes; the
messages are those of twenty organizations, and the gateway answers after 50 ms. Its resident memory is looked at five
times a second. What is compared are the averages over quarters of the messages: the first is left out, since threads,
connections and caches come then.
"""

from __future__ import annotations

import argparse
import statistics
import time

from tests.benchmarks import harness

ORGANIZATIONS = 20
EVERY = 0.2  # seconds
GOAL = 0.05


def samples(platform: harness.Platform, messages: int) -> list[tuple[int, float]]:
    """Drain so many, and return how many were sent and the megabytes at that moment, again and again."""
    share = messages // ORGANIZATIONS
    for place in range(ORGANIZATIONS):
        harness.queue(harness.make_tenant(f"Tenant {place}"), share, first=place * share)
    harness.statistics_now()
    platform.flush_redis()
    platform.gateway.reset()
    worker, beat = platform.worker(), platform.beat()
    seen: list[tuple[int, float]] = []
    try:
        while (sent := platform.gateway.progress().requests) < messages:
            seen.append((sent, worker.resident / 1e6))
            assert worker.is_alive, worker.output
            time.sleep(EVERY)
        harness.wait_for(lambda: harness.unsettled() == 0, seconds=60, what="the last results")
    finally:
        beat.stop()
        worker.stop()
    platform.gateway.prove_once_each(messages)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000)
    options = parser.parse_args()
    with harness.platform() as platform:
        seen = samples(platform, options.messages)
    quarters = [
        statistics.mean(megabytes for sent, megabytes in seen if min(4 * sent // options.messages, 3) == quarter)
        for quarter in range(4)
    ]
    header = ("resident memory, MB", "1st quarter", "2nd", "3rd", "4th", "most")
    harness.print_table(header, [("worker", *quarters, max(megabytes for _, megabytes in seen))])
    growth = quarters[3] / quarters[1] - 1
    harness.report(
        "memory",
        goals=[harness.Goal("memory", "growth from the second quarter to the last", growth, at_most=GOAL, unit="")],
        messages=options.messages,
        quarters_mb=[round(each, 1) for each in quarters],
    )


if __name__ == "__main__":
    main()
