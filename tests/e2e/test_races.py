"""What must hold when processes race, or are told to end: no number is texted twice, and no message is lost.

What dies or freezes is in test_faults.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.gateway import Gateway, accept, hold
from tests.stack import Running, Stack

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]


@pytest.fixture
def stack_env() -> dict[str, str]:
    # Leases that end within the test, and few senders, so that several workers find something to do.
    return {
        "OUTBOX_LEASE_SECONDS": "3.5",
        "OUTBOX_LEASE_MARGIN_SECONDS": "0.5",
        "PROVIDER_CALL_LIMIT_SECONDS": "1.5",
        "OUTBOX_SENDERS": "8",
    }


# Connects, says so, waits for the word, then sends every key as fast as it can. Standard library only: it starts fast.
_CALLER = """
import http.client, json, sys
host, api_key, keys = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
connection = http.client.HTTPConnection(host, timeout=60)
connection.connect()
print("ready", flush=True)
sys.stdin.readline()
answers = []
for key in keys:
    body = json.dumps({"mobile": "0501234567", "message": "Hello", "idempotency_key": key})
    headers = {"Authorization": "Bearer " + api_key, "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/sms/outbox", body, headers)
    response = connection.getresponse()
    answers.append([response.status, json.loads(response.read())])
print(json.dumps(answers), flush=True)
"""


def test_eight_processes_with_one_key_make_one_row(stack: Stack):
    stack.install("mora-sms")
    stack.web(workers=4, threads=4)
    keys = [f"order-{number}" for number in range(10)]
    arguments = [stack.url.removeprefix("http://"), stack.access["api_key"], json.dumps(keys)]
    callers = [
        subprocess.Popen(
            [sys.executable, "-c", _CALLER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    try:
        for caller in callers:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "ready\n"
        for caller in callers:  # all are connected: now at once
            assert caller.stdin is not None
            caller.stdin.write("go\n")
            caller.stdin.flush()
        answers = [json.loads(caller.communicate(timeout=60)[0]) for caller in callers]
    finally:
        for caller in callers:
            caller.kill()
            caller.communicate()
    for of_one_key in zip(*answers, strict=True):
        assert Counter(status for status, _ in of_one_key) == {201: 1, 200: 7}
        assert len({body["id"] for _, body in of_one_key}) == 1
        assert Counter(body["idempotent_replay"] for _, body in of_one_key) == {False: 1, True: 7}
    assert len(stack.rows()) == len(keys)


def test_four_workers_drain_one_queue_without_sending_twice(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    gateway.script("mora-sms", accept(latency=0.05))  # long enough that nobody is done before all are at work
    ids = stack.enqueue(500)
    drains = [stack.manage_start("drain_outbox") for _ in range(4)]
    assert [drain.wait(60) for drain in drains] == [0, 0, 0, 0]

    assert stack.statuses() == {"sent": 500}
    assert len(ids) == len(set(gateway.journal.numbers())) == 500
    assert gateway.journal.duplicates(accepted_only=False) == []
    busy = [drain for drain in drains if "sent: " in drain.output]
    assert len(busy) > 1, "one worker did everything, which proves nothing"


def in_mid_send(stack: Stack, gateway: Gateway, *, held: int) -> Running:
    """Start a worker and return when the gateway holds so many of its sends."""
    worker = stack.worker(queues="drain")
    stack.beat()  # the tick that starts the drain
    gateway.journal.wait_for_count(held, outcome="held", seconds=30)
    return worker


def test_a_terminated_worker_finishes_its_calls_and_gives_the_rest_back(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.enqueue(40)
    gateway.script("mora-sms", hold())
    worker = in_mid_send(stack, gateway, held=8)
    worker.terminate()
    gateway.script("mora-sms", accept())
    gateway.release()
    assert worker.wait(30) == 0

    statuses = stack.statuses()
    assert statuses["sent"] == len(gateway.journal.numbers()) >= 8
    assert statuses["sent"] + statuses["pending"] == 40  # nothing is left in a dead worker's hands
    assert gateway.journal.duplicates(accepted_only=False) == []
