"""Queueing through real web processes: connections that stay open, a database that hangs up, keys that are revoked."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import requests

from tests.gateway import Gateway
from tests.stack import Stack, database_url, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

OUTBOX = "/api/v1/sms/outbox"
GOOD = {"mobile": "0501234567", "message": "Hello"}


class Caller:
    """One connection that stays open."""

    def __init__(self, stack: Stack) -> None:
        self._connection = http.client.HTTPConnection(stack.url.removeprefix("http://"), timeout=60)
        self._connection.connect()
        self._headers = {"Authorization": f"Bearer {stack.access['api_key']}", "Content-Type": "application/json"}

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        self._connection.request("POST", path, json.dumps(body), self._headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def close(self) -> None:
        self._connection.close()


def test_more_connections_than_threads_are_all_served(stack: Stack) -> None:
    """A thread listens for a client's next request only while nobody waits for it."""
    stack.install("mora-sms")
    stack.web(workers=1, threads=2)
    callers = [Caller(stack) for _ in range(8)]
    turns: list[int] = []

    def call(number: int) -> list[int]:
        statuses = []
        for _ in range(15):
            statuses.append(callers[number].post(OUTBOX, GOOD)[0])
            turns.append(number)
        callers[number].close()
        return statuses

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(call, range(8)))
    assert found == [[201] * 15] * 8
    assert set(turns[:60]) == set(range(8)), "some had to wait until others were done"
    assert stack.statuses() == {"pending": 120}


def test_an_idle_connection_holds_no_thread(stack: Stack) -> None:
    stack.web(workers=1, threads=1)
    idle = [requests.Session() for _ in range(4)]
    for session in idle:
        assert session.get(f"{stack.url}/api/v1/ping", timeout=10).ok
    began = time.monotonic()
    assert requests.get(f"{stack.url}/api/v1/ping", timeout=10).ok
    assert time.monotonic() - began < 1.5, "the others' keep-alive is 2 s"
    for session in idle:
        session.close()


def test_a_terminated_web_process_answers_what_it_has_begun(stack: Stack) -> None:
    stack.install("mora-sms")
    web = stack.web(workers=1, threads=4)
    caller = Caller(stack)
    answers = []

    def call_until_told_to_close() -> None:
        try:
            for _ in range(10_000):
                answers.append(caller.post(OUTBOX, GOOD)[0])
        except (OSError, http.client.HTTPException):
            caller.close()

    with ThreadPoolExecutor() as threads:
        calling = threads.submit(call_until_told_to_close)
        eventually(lambda: len(answers) > 5, what="a few answers")
        web.terminate()
        assert web.wait(30) == 0
        calling.result(30)
    assert set(answers) == {201}
    assert len(stack.rows()) == len(answers), "a message was queued whose caller got no answer"


def test_a_database_that_hangs_up_between_requests_costs_no_error(stack: Stack) -> None:
    """As after its restart: each thread finds its connection dead."""
    stack.install("mora-sms")
    stack.web(workers=1, threads=4)
    callers = [Caller(stack) for _ in range(4)]

    def post_all() -> Counter[int]:
        with ThreadPoolExecutor(4) as threads:
            return Counter(status for status, _ in threads.map(lambda caller: caller.post(OUTBOX, GOOD), callers))

    for _ in range(3):
        assert post_all() == {201: 4}
        with psycopg.connect(database_url(stack.database), autocommit=True) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
        assert ended, "nothing to hang up on"
        assert post_all() == {201: 4}
    for caller in callers:
        caller.close()


def test_a_revoked_key_queues_nothing_in_any_process_after_a_second(stack: Stack) -> None:
    stack.install("mora-sms")
    stack.web(workers=3, threads=2)
    credentials = {"email": stack.access["email"], "password": stack.access["password"]}
    login = requests.post(f"{stack.url}/api/v1/auth/login", json=credentials, timeout=30).json()
    person = {"Authorization": f"Bearer {login['token']}"}
    (key,) = requests.get(f"{stack.url}/api/v1/api-keys", headers=person, timeout=30).json()["data"]
    callers = [Caller(stack) for _ in range(12)]  # spread over the processes
    assert {caller.post(OUTBOX, GOOD)[0] for caller in callers} == {201}
    requests.delete(f"{stack.url}/api/v1/api-keys/{key['id']}", headers=person, timeout=30).raise_for_status()
    revoked = time.monotonic()
    while time.monotonic() < revoked + 1.0:
        assert {caller.post(OUTBOX, GOOD)[0] for caller in callers} <= {201, 401}
    assert {caller.post(OUTBOX, GOOD)[0] for caller in callers} == {401}
    for caller in callers:
        caller.close()


def test_a_burst_is_sent_within_a_moment_without_a_schedule(stack: Stack, gateway: Gateway) -> None:
    """No beat runs: what no wake-up is rung for would stay."""
    stack.install("mora-sms")
    stack.web(workers=2, threads=4)
    stack.worker(queues="drain")
    callers = [Caller(stack) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        for _ in range(5):
            assert {status for status, _ in threads.map(lambda caller: caller.post(OUTBOX, GOOD), callers)} == {201}
    for caller in callers:
        caller.close()
    assert len(stack.wait_until_settled(seconds=10)) == 30
    assert stack.statuses() == {"sent": 30}
