"""Files sent by real web, worker and beat processes: each row reaches the gateway once, and the counters tell it."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests import factories
from tests.gateway import Gateway, accept, hold, refuse
from tests.gateway.providers.base import UNKNOWN_SENDER
from tests.stack import Stack, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

APP = "/api/v1/sms-providers/mora-sms"
BULK_SEND = f"{APP}/bulk-send"
AT_ONCE = {"Prefer": "respond-async"}
ENDED = ("completed", "partly_failed", "failed", "stopped")
SENDERS = 8  # of each worker: few, so that a file is not sent in one go


@pytest.fixture
def stack_env() -> dict[str, str]:
    return {"OUTBOX_SENDERS": str(SENDERS), "OUTBOX_REAP_SECONDS": "1", "PROVIDER_CIRCUIT_PAUSE_SECONDS": "1"}


# --- files, and what is said about them -----------------------------------------------------------------------


def mobiles(count: int) -> list[str]:
    return [factories.mobile() for _ in range(count)]


def csv_of(numbers: Iterable[str], *more: str, header: str = "mobile,message") -> bytes:
    """Return a file with a message to each of these numbers, and `more` lines after them."""
    return "\n".join([header, *(f"{number},Hello" for number in numbers), *more, ""]).encode()


def queue_file(stack: Stack, content: bytes) -> str:
    """Upload a file without waiting for anything, and return the id of the new job."""
    reply = stack.upload(BULK_SEND, content, headers=AT_ONCE)
    assert reply.status_code == 202, reply.text
    assert "duplicate_of" not in reply.json()
    return str(reply.json()["job_id"])


def figures(body: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """Return total, sent, failed, unknown and pending of any answer about a job. They add up in every one."""
    total, sent, failed, unknown, pending = (body[name] for name in ("total", "sent", "failed", "unknown", "pending"))
    assert total == sent + failed + unknown + pending
    assert min(sent, failed, unknown, pending) >= 0
    return total, sent, failed, unknown, pending


def detail(stack: Stack, job_id: str) -> dict[str, Any]:
    body: dict[str, Any] = stack.get(f"{APP}/bulk-jobs/{job_id}").json()
    figures(body)
    return body


def wait_for_status(stack: Stack, job_id: str, *wanted: str, seconds: float = 30.0) -> dict[str, Any]:
    """Poll `progress` as a client would, until the job is in one of these states."""
    seen: dict[str, Any] = {}

    def look() -> bool:
        seen.update(stack.get(f"{APP}/progress", params={"job_id": job_id}).json())
        figures(seen)
        return seen["status"] in wanted

    try:
        eventually(look, seconds=seconds, what=f"the job to be {' or '.join(wanted)}")
    except AssertionError as error:
        raise AssertionError(f"{error} It is {seen}") from None
    return seen


def change(stack: Stack, job_id: str, verb: str) -> dict[str, Any]:
    """Pause, resume, stop or retry a job, and return the answer."""
    reply = stack.post(f"{APP}/bulk-jobs/{job_id}/{verb}", None)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    figures(body)
    return body


def job_row(stack: Stack, job_id: str) -> dict[str, Any]:
    (row,) = stack.select("SELECT * FROM outbox_bulkjob WHERE id = %s", job_id)
    return row


def messages(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """Return the queue's rows of a job, in the order of its file."""
    return stack.select("SELECT * FROM outbox_message WHERE job_id = %s ORDER BY row_number", job_id)


def begun(stack: Stack, job_id: str) -> set[str]:
    """The numbers of a job to which a call was allowed to begin."""
    return {row["recipient"] for row in messages(stack, job_id) if row["started_at"]}


def assert_counters_are_true(stack: Stack, job_id: str) -> None:
    """The counters of a job that is over are what its messages say, and its wrong rows."""
    job, rows = job_row(stack, job_id), messages(stack, job_id)
    statuses = Counter(row["status"] for row in rows)
    assert job["status"] in ENDED
    assert job["sent_count"] == statuses["sent"]
    assert job["failed_count"] == statuses["failed"] + job["invalid_count"]
    assert job["unknown_count"] == statuses["dispatch_timeout"]
    assert job["total_count"] == len(rows) + job["invalid_count"]


def wait_until_drains_have_passed(stack: Stack, gateway: Gateway) -> None:
    """A worker has looked for what is due since: what it has left alone it would always leave alone."""
    mobile = factories.mobile()
    assert stack.post("/api/v1/sms/outbox", {"mobile": mobile, "message": "Hello"}).status_code == 201
    eventually(lambda: gateway.journal.of(number=mobile), what="a single message to be sent")


# --- one client, one worker -----------------------------------------------------------------------------------


def upload_and_listen(stack: Stack, content: bytes) -> http.client.HTTPConnection:
    """Upload a file, and return the connection on which the answer will come."""
    request = requests.Request("POST", stack.url + BULK_SEND, files={"file": ("file.csv", content)}).prepare()
    headers = {**request.headers, "Authorization": f"Bearer {stack.access['api_key']}"}
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=30)
    connection.request("POST", BULK_SEND, request.body, headers)
    return connection


def test_an_upload_is_answered_at_the_end_or_at_once_and_needs_nobody_to_listen(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.web()
    stack.worker()
    stack.beat()
    first, second, third = mobiles(20), mobiles(20), mobiles(20)

    at_the_end = stack.upload(BULK_SEND, csv_of(first, "05012,Hello"))
    assert at_the_end.status_code == 200
    body = at_the_end.json()
    assert (*figures(body), body["status"]) == (21, 20, 1, 0, 0, "partly_failed")
    assert [(error["row"], error["column"], error["mobile"]) for error in body["errors"]] == [(22, "mobile", "05012")]
    assert sorted(gateway.journal.numbers()) == first

    at_once = stack.upload(BULK_SEND, csv_of(second), headers=AT_ONCE)
    assert (at_once.status_code, at_once.headers["Preference-Applied"]) == (202, "respond-async")
    seen = wait_for_status(stack, at_once.json()["job_id"], *ENDED)
    assert (*figures(seen), seen["status"]) == (20, 20, 0, 0, 0, "completed")

    gateway.script("mora-sms", hold())
    connection = upload_and_listen(stack, csv_of(third))
    gateway.journal.wait_for_count(SENDERS, outcome="held")
    connection.close()  # while the server waits for the end of the job
    gateway.script("mora-sms", accept())
    gateway.release()
    job_id = stack.get(f"{APP}/progress").json()["job_id"]
    seen = wait_for_status(stack, job_id, *ENDED)
    assert (*figures(seen), seen["status"]) == (20, 20, 0, 0, 0, "completed")

    assert sorted(gateway.journal.numbers(accepted_only=False)) == [*first, *second, *third]


def test_a_wait_that_runs_out_is_answered_with_the_counts_so_far(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.web(env={"BULK_SYNC_WAIT_SECONDS": "1"})
    stack.worker()
    stack.beat()
    numbers = mobiles(10)
    for slow in numbers[8:]:
        gateway.script("mora-sms", hold(), number=slow)

    reply = stack.upload(BULK_SEND, csv_of(numbers))
    assert reply.status_code == 202
    assert reply.json()["status"] in ("checking", "running")  # a busy machine may not have come to it
    figures(reply.json())
    job_id = reply.json()["job_id"]
    gateway.journal.wait_for_count(2, outcome="held")
    eventually(lambda: job_row(stack, job_id)["sent_count"] == 8, what="the others to be sent")

    again = stack.upload(BULK_SEND, csv_of(numbers))  # a client that was not sure
    assert again.status_code == 202
    assert (*figures(again.json()), again.json()["duplicate_of"]) == (10, 8, 0, 0, 2, job_id)

    gateway.release()
    seen = wait_for_status(stack, job_id, *ENDED)
    assert (*figures(seen), seen["status"]) == (10, 10, 0, 0, 0, "completed")
    assert stack.upload(BULK_SEND, csv_of(numbers)).status_code == 200
    assert sorted(gateway.journal.numbers(accepted_only=False)) == numbers


# --- many at once ---------------------------------------------------------------------------------------------


def all_at_once(calls: Sequence[Callable[[], requests.Response]]) -> list[dict[str, Any]]:
    """Make these calls at the same moment and return the bodies of their answers."""
    barrier, answers = threading.Barrier(len(calls)), []

    def make(call: Callable[[], requests.Response]) -> None:
        barrier.wait(10)
        answers.append(call())

    threads = [threading.Thread(target=make, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers if not answer.ok] == []
    return [answer.json() for answer in answers]


def test_eight_clients_that_upload_one_file_at_once_make_one_job(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.web(workers=4, threads=4)
    stack.worker()
    stack.beat()
    plain, keyed, own_keys = (mobiles(5) for _ in range(3))

    def uploads(numbers: list[str], keys: list[str]) -> list[dict[str, Any]]:
        def call(key: str) -> requests.Response:
            headers = {**AT_ONCE, "Authorization": f"Bearer {stack.access['api_key']}"}
            headers |= {"Idempotency-Key": key} if key else {}
            files = {"file": ("file.csv", csv_of(numbers))}
            return requests.post(stack.url + BULK_SEND, files=files, headers=headers, timeout=60)

        return all_at_once([partial(call, key) for key in keys])

    for numbers, keys, duplicates in (
        (plain, [""] * 8, 7),
        (keyed, ["order-1"] * 8, 0),  # a repeat of a request, not another one of its file
        (own_keys, [f"order-{number}" for number in range(2, 10)], 7),
    ):
        answers = uploads(numbers, keys)
        (job_id,) = {answer["job_id"] for answer in answers}
        assert [answer["duplicate_of"] for answer in answers if "duplicate_of" in answer] == [job_id] * duplicates
        seen = wait_for_status(stack, job_id, *ENDED)
        assert (*figures(seen), seen["status"]) == (5, 5, 0, 0, 0, "completed")

    assert stack.get(f"{APP}/bulk-jobs").json()["total_count"] == 3
    assert sorted(gateway.journal.numbers(accepted_only=False)) == [*plain, *keyed, *own_keys]


def test_two_workers_share_two_files_and_send_each_row_once(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.web()
    files = [mobiles(100), mobiles(100)]
    gateway.script("mora-sms", hold())
    job_ids = [queue_file(stack, csv_of(numbers)) for numbers in files]
    stack.worker()
    stack.worker()
    stack.beat()
    gateway.journal.wait_for_count(2 * SENDERS, outcome="held", seconds=30)  # more than one of them could call
    gateway.script("mora-sms", accept(latency=0.05))
    gateway.release()

    for job_id in job_ids:
        seen = wait_for_status(stack, job_id, *ENDED)
        assert (*figures(seen), seen["status"]) == (100, 100, 0, 0, 0, "completed")
        assert_counters_are_true(stack, job_id)
        assert [row["row_number"] for row in messages(stack, job_id)] == [*range(2, 102)]
    assert sorted(gateway.journal.numbers(accepted_only=False)) == [*files[0], *files[1]]


# --- stop, pause, and a refusal that pauses ---------------------------------------------------------------------


def wait_for_calls(stack: Stack, job_id: str, count: int) -> None:
    eventually(lambda: len(begun(stack, job_id)) >= count, what=f"{count} calls to have begun")


def assert_nothing_begins_after(stack: Stack, gateway: Gateway, job_id: str) -> None:
    """A stop or pause of this job has just answered: what is under way may end, and nothing else reaches anybody."""
    answered_at = time.time()
    under_way = begun(stack, job_id)
    is_in_hand = "SELECT 1 FROM outbox_message WHERE job_id = %s AND status = 'sending'"
    eventually(lambda: not stack.select(is_in_hand, job_id), what="the calls under way to end")
    wait_until_drains_have_passed(stack, gateway)

    assert begun(stack, job_id) == under_way
    rows = messages(stack, job_id)
    assert all(row["started_at"].timestamp() < answered_at for row in rows if row["started_at"])
    numbers = {row["recipient"] for row in rows}
    entries = [entry for entry in gateway.journal.entries if entry.number in numbers]
    assert {entry.number for entry in entries} == under_way
    assert sum(entry.received_at > answered_at for entry in entries) <= SENDERS  # on their way at that moment


def test_once_pause_has_answered_no_call_begins_until_resume(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.web()
    stack.worker()
    stack.beat()
    gateway.script("mora-sms", accept(latency=0.1))
    numbers = mobiles(200)
    job_id = queue_file(stack, csv_of(numbers))

    for calls in (10, 40, 70):
        wait_for_calls(stack, job_id, calls)
        assert change(stack, job_id, "pause")["status"] == "paused"
        assert_nothing_begins_after(stack, gateway, job_id)
        assert change(stack, job_id, "resume")["status"] == "running"
    gateway.script("mora-sms", accept())

    seen = wait_for_status(stack, job_id, *ENDED)
    assert (*figures(seen), seen["status"]) == (200, 200, 0, 0, 0, "completed")
    assert_counters_are_true(stack, job_id)
    assert set(gateway.journal.numbers()) >= set(numbers)
    assert gateway.journal.duplicates(accepted_only=False) == []


def test_once_stop_has_answered_no_call_begins_and_the_rest_is_cancelled(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.web()
    stack.worker()
    stack.beat()
    gateway.script("mora-sms", accept(latency=0.1))
    numbers = mobiles(200)
    job_id = queue_file(stack, csv_of(numbers))

    wait_for_calls(stack, job_id, 20)
    assert change(stack, job_id, "stop")["status"] in ("stopping", "stopped")
    assert_nothing_begins_after(stack, gateway, job_id)

    seen = wait_for_status(stack, job_id, *ENDED)
    sent = len(begun(stack, job_id))
    assert (*figures(seen), seen["status"]) == (200, sent, 200 - sent, 0, 0, "stopped")
    assert_counters_are_true(stack, job_id)
    ends = Counter((row["status"], row["reason"]) for row in messages(stack, job_id))
    assert ends == {("sent", ""): sent, ("failed", "cancelled"): 200 - sent}

    # Whoever thinks better of it sends the rest, and only the rest.
    gateway.script("mora-sms", accept())
    change(stack, job_id, "retry-failed")
    seen = wait_for_status(stack, job_id, *ENDED)
    assert (*figures(seen), seen["status"]) == (200, 200, 0, 0, 0, "completed")
    assert set(gateway.journal.numbers()) >= set(numbers)
    assert gateway.journal.duplicates(accepted_only=False) == []


def assert_all_are_back_and_stay(stack: Stack, gateway: Gateway, job_id: str) -> None:
    """Every row of a paused job is pending again, and no worker takes one."""
    is_elsewhere = "SELECT 1 FROM outbox_message WHERE job_id = %s AND status <> 'pending'"
    eventually(lambda: not stack.select(is_elsewhere, job_id), what="its rows to come back")
    calls = len(gateway.journal.entries)
    wait_until_drains_have_passed(stack, gateway)
    assert len(gateway.journal.entries) == calls + 1  # the single message that they have taken
    assert not stack.select(is_elsewhere, job_id)


def test_a_refusal_of_the_account_pauses_the_job_and_loses_no_row(stack: Stack, gateway: Gateway):
    stack.install("mora-sms")
    stack.web()
    stack.worker()
    stack.beat()
    account = gateway.providers["mora-sms"]
    good = account.credentials
    numbers = mobiles(20)

    account.credentials = {**good, "api_key": "another-key"}
    reply = stack.upload(BULK_SEND, csv_of(numbers))  # does not wait for the end of a paused one
    assert (reply.status_code, reply.json()["status"], reply.json()["reason"]) == (202, "paused", "bad_credentials")
    job_id = reply.json()["job_id"]
    assert_all_are_back_and_stay(stack, gateway, job_id)

    account.credentials = good
    gateway.script("mora-sms", refuse(105))
    change(stack, job_id, "resume")
    wait_for_status(stack, job_id, "paused")
    assert detail(stack, job_id)["reason"] == "insufficient_provider_balance"
    assert_all_are_back_and_stay(stack, gateway, job_id)
    assert figures(detail(stack, job_id)) == (20, 0, 0, 0, 20)
    assert gateway.journal.numbers() == []

    gateway.script("mora-sms", accept())
    change(stack, job_id, "resume")
    seen = wait_for_status(stack, job_id, *ENDED, "paused")
    assert (*figures(seen), seen["status"]) == (20, 20, 0, 0, 0, "completed")
    assert_counters_are_true(stack, job_id)
    assert sorted(gateway.journal.numbers()) == numbers

    # A sender ID is one row's own: the others go out.
    named = mobiles(20)
    lines = [f"{number},Hello,{UNKNOWN_SENDER if place == 5 else 'MyBrand'}" for place, number in enumerate(named)]
    reply = stack.upload(BULK_SEND, csv_of([], *lines, header="mobile,message,sender"))
    assert (reply.status_code, *figures(reply.json())) == (200, 20, 19, 1, 0, 0)
    (error,) = reply.json()["errors"]
    assert (error["row"], error["mobile"], error["reason"]) == (7, named[5], "sender_not_registered")
    assert sorted(gateway.journal.numbers()) == [*numbers, *named[:5], *named[6:]]
