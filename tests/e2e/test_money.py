"""Credits under races, kills and freezes: what was sent is charged once, what may have been sent stays held."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import requests
from django.conf import settings
from django.core.management import call_command

from billing.models import Hold
from contacts.models import Contact
from linkit import clock
from linkit.errors import Conflict
from linkit.models import Organization
from sms_providers import settling
from sms_providers.models import OrganizationApp, SmsLog
from tests import factories
from tests.e2e.aftermath import ZERO, Books, begun_in, books, leases_have_ended, reap
from tests.e2e.harm import (
    ACCOUNT,
    LOG,
    PROGRAM,
    STARTED,
    freeze_group,
    locked,
    thaw_group,
    wait_for_waiters,
    wait_until_direct_sends_are_overdue,
    wait_until_nobody_is_in_a_transaction,
)
from tests.e2e.test_bulk import assert_counters_are_true, messages
from tests.gateway import Gateway, accept, hold, refuse
from tests.stack import ORGANIZATION, Stack, database_url, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

RATE = Decimal("1.887")  # of one part, the default
ONE, TWO, THREE = "x" * 160, "x" * 161, "x" * 307
PARTS = {ONE: 1, TWO: 2, THREE: 3}
SENDERS = 8  # of each worker: few, so that several find something to do


@pytest.fixture
def stack_env() -> dict[str, str]:
    return {"OUTBOX_SENDERS": str(SENDERS), "BULK_WORK_LEASE_SECONDS": "0.5"}


# For processes that a test kills or freezes: deadlines and leases that end within it. A send has three seconds to
# begin and 3.5 to end, which a busy machine may need.
IMPATIENT = {
    "DIRECT_SEND_DEADLINE_SECONDS": "6.5",
    "PROVIDER_CALL_LIMIT_WEB_SECONDS": "3.5",
    "OUTBOX_LEASE_SECONDS": "7",
    "OUTBOX_LEASE_MARGIN_SECONDS": "0.5",
    "PROVIDER_CALL_LIMIT_SECONDS": "3.5",
    # After which the database ends the session of one that stands still in a transaction.
    "DATABASE_IDLE_TRANSACTION_SECONDS": "2",
}


# --- who sends, and what it costs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shop:
    """The stack's organization with credits, a sender ID that goes through the gateway, and contacts by number."""

    stack: Stack
    sender_id: str
    contact_ids: dict[str, str]

    @property
    def numbers(self) -> list[str]:
        return list(self.contact_ids)

    def send(self, number: str, text: str = "Hello", *, key: str = "", url: str = "") -> requests.Response:
        """POST /api/sms/send, from any thread."""
        headers = {"Authorization": f"Bearer {self.stack.access['api_key']}"}
        headers |= {"Idempotency-Key": key} if key else {}
        body = {"contactId": self.contact_ids[number], "senderId": self.sender_id, "messageTemplate": text}
        return requests.post(f"{url or self.stack.url}/api/sms/send", json=body, headers=headers, timeout=60)


def open_shop(
    stack: Stack, *, credits: str | Decimal, contacts: int = 0, names: Sequence[str] = (), is_metered: bool = False
) -> Shop:
    """Install the gateway, and make so many contacts, or one with each of these first names."""
    with stack.orm():
        organization = Organization.objects.get(pk=stack.access["organization_id"])
        app = factories.install(organization, "mora-sms")
        OrganizationApp.objects.filter(pk=app.pk).update(is_metered=is_metered)
        sender = factories.make_sender(organization, app)
        made = Contact.objects.bulk_create(
            Contact(organization=organization, primary_phone=factories.mobile(), first_name=name)
            for name in names or [""] * contacts
        )
        factories.top_up(organization, credits)
    return Shop(stack, str(sender.pk), {contact.primary_phone: str(contact.pk) for contact in made})


def launch(shop: Shop, template: str = "Hello") -> str:
    """Make a program for all contacts, launch it, and return its id."""
    body = {"name": "Sale", "messageTemplate": template, "senderId": shop.sender_id}
    made = shop.stack.post("/api/sms-programs", {**body, "contactIds": list(shop.contact_ids.values())})
    assert made.status_code == 201, made.text
    program_id = str(made.json()["id"])
    launched = shop.stack.post(f"/api/sms-programs/{program_id}/launch", None)
    assert (launched.status_code, launched.json()["status"]) == (200, "pending"), launched.text
    return program_id


def look(stack: Stack, program_id: str) -> dict[str, Any]:
    """Poll a program as a client would. Its figures add up in every answer."""
    body: dict[str, Any] = stack.get(f"/api/sms-programs/{program_id}").json()
    figures = dict(body["progress"])
    assert figures.pop("total") == sum(figures.values()), body["progress"]
    assert min(figures.values()) >= 0
    return body


def logs(stack: Stack) -> dict[str, tuple[str, Decimal]]:
    """Return status and charge in the SMS log, by number."""
    with stack.orm():
        rows = SmsLog.objects.values_list("recipient", "status", "credit_charged")
        found = {recipient: (status, charged) for recipient, status, charged in rows}
        assert len(found) == SmsLog.objects.count(), "a number has two logs"
    return found


# --- many spenders -----------------------------------------------------------------------------------------------


def two_webs(stack: Stack) -> list[str]:
    """Start two web processes, as on two machines, with a thread for every caller, and return their URLs."""
    urls = []
    for _ in range(2):
        stack.web(workers=1, threads=30)
        urls.append(stack.url)
    return urls


def test_fifty_sends_at_once_with_credits_for_ten_are_ten(stack: Stack, gateway: Gateway):
    shop = open_shop(stack, contacts=50, credits=10 * RATE)
    urls = two_webs(stack)
    gateway.script("mora-sms", hold())
    with ThreadPoolExecutor(50) as pool:
        sends = [pool.submit(shop.send, number, url=urls[place % 2]) for place, number in enumerate(shop.numbers)]

        def is_everybody_served() -> bool:
            return len(gateway.journal.entries) + sum(send.done() for send in sends) == 50

        # So that all who are let through are with the provider at the same time.
        eventually(is_everybody_served, what="every call to be refused or with the provider")
        assert stack.get("/api/credits/balance").json() == {"balance": 18.87, "held": 18.87, "available": 0}
        gateway.release()
    answers = [send.result() for send in sends]

    assert Counter(answer.status_code for answer in answers) == {201: 10, 402: 40}
    bodies = [answer.json() for answer in answers]
    good = [body for body in bodies if body.get("success")]
    assert [(body["smsParts"], body["creditCharged"]) for body in good] == [(1, 1.887)] * 10
    assert Counter(body["error"] for body in bodies if "error" in body) == {"InsufficientCreditsError": 40}
    sent = gateway.journal.numbers(accepted_only=False)
    assert len(sent) == len(set(sent)) == 10
    found = books(stack)
    assert (found.balance, found.held) == (ZERO, ZERO)
    assert found.charges == dict.fromkeys(sent, RATE)
    assert logs(stack) == dict.fromkeys(sent, ("sent", RATE))
    assert stack.manage("audit_credits").startswith("ok ")
    assert shop.send(shop.numbers[0]).status_code == 402


def test_long_texts_at_once_end_below_zero_by_less_than_one_message(stack: Stack, gateway: Gateway):
    """Each of them is held, charged or given back while others are: the provider takes its time, or refuses."""
    shop = open_shop(stack, contacts=65, credits=30 * RATE + Decimal("0.0001"))
    urls = two_webs(stack)
    crowd, later = shop.numbers[:50], shop.numbers[50:]
    refused = set(crowd[::5])
    for place, number in enumerate(crowd):
        latency = place * 7 % 10 / 20
        gateway.script("mora-sms", refuse(108, latency) if number in refused else accept(latency), number=number)
    texts = dict(zip(crowd, (ONE, TWO, THREE) * 17, strict=False))
    with ThreadPoolExecutor(50) as pool:
        sends = [
            pool.submit(shop.send, number, texts[number], url=urls[place % 2]) for place, number in enumerate(crowd)
        ]
    answers = {number: send.result() for number, send in zip(crowd, sends, strict=True)}

    assert {answer.status_code for answer in answers.values()} == {201, 402}
    taken = [number for number, answer in answers.items() if answer.status_code == 201]
    spent = {number: PARTS[texts[number]] * RATE for number in taken if number not in refused}
    for number in taken:
        body = answers[number].json()
        assert (body["success"], body["creditCharged"]) == (number in spent, float(spent.get(number, 0)))
    assert sorted(gateway.journal.numbers()) == sorted(spent)
    found = books(stack)
    assert (found.charges, found.held) == (spent, ZERO)
    assert found.balance > -3 * RATE

    # What was given back is there for others, and for no more than there is.
    for number in later:
        if shop.send(number, THREE).status_code == 402:
            break
        spent[number] = 3 * RATE
    found = books(stack)
    assert (found.charges, found.held) == (spent, ZERO)
    assert -3 * RATE < found.balance <= 0
    assert sorted(gateway.journal.numbers()) == sorted(spent)
    assert gateway.journal.duplicates(accepted_only=False) == []


# --- a web process that ends, or stands still, between the provider's answer and the charge ----------------------


def settle_at_once(stack: Stack, number: str, *answers: bool) -> list[bool | str]:
    """Let as many people say at the same moment whether it was sent. Returns what each has done, or was refused for."""

    def settle(was_sent: bool) -> bool | str:
        with stack.orm():
            try:
                settling.settle(log=SmsLog.objects.get(recipient=number), was_sent=was_sent)
            except Conflict as refusal:
                return refusal.reason
        return was_sent

    with ThreadPoolExecutor(len(answers)) as pool, locked(stack, LOG, [number]):
        people = [pool.submit(settle, answer) for answer in answers]
        wait_for_waiters(stack, len(answers))
    return [person.result() for person in people]


def test_a_send_whose_web_process_is_killed_before_the_charge_is_charged_once_it_is_settled(
    stack: Stack, gateway: Gateway
):
    shop = open_shop(stack, contacts=2, credits="10")
    first, second = shop.numbers
    web = stack.web(workers=1, threads=4, env=IMPATIENT)
    gateway.script("mora-sms", hold())
    with ThreadPoolExecutor(2) as pool:
        sends = [pool.submit(shop.send, number) for number in shop.numbers]
        gateway.journal.wait_for_count(2, outcome="held")
        # The one before anything of its answer is written, the other when all is but the charge.
        with locked(stack, LOG, [first]), locked(stack, ACCOUNT):
            gateway.release()
            wait_for_waiters(stack, 2)
            web.kill()
    assert [type(send.exception()) for send in sends] == [requests.ConnectionError] * 2
    wait_until_nobody_is_in_a_transaction(stack)
    assert logs(stack) == dict.fromkeys(shop.numbers, ("sending", ZERO))
    kept = Books(Decimal(10), 2 * RATE, holds=dict.fromkeys(shop.numbers, RATE))
    assert books(stack) == kept

    wait_until_direct_sends_are_overdue(stack)
    assert "2 direct sends unknown" in stack.manage("reap_outbox")
    assert logs(stack) == dict.fromkeys(shop.numbers, ("dispatch_timeout", ZERO))
    assert books(stack) == kept

    assert sorted(map(str, settle_at_once(stack, first, True, True, True))) == ["True", "wrong_state", "wrong_state"]
    assert books(stack) == Books(10 - RATE, RATE, {first: RATE}, {second: RATE})
    answers = settle_at_once(stack, second, True, False)
    assert answers.count("wrong_state") == 1
    charges = {first: RATE, second: RATE} if True in answers else {first: RATE}
    assert books(stack) == Books(10 - sum(charges.values(), ZERO), ZERO, charges)
    assert logs(stack) == {number: ("sent", RATE) if number in charges else ("failed", ZERO) for number in shop.numbers}
    assert sorted(gateway.journal.numbers(accepted_only=False)) == sorted(shop.numbers)


def test_a_late_answer_of_a_frozen_web_process_charges_what_is_still_held_once(stack: Stack, gateway: Gateway):
    shop = open_shop(stack, contacts=4, credits="10")
    open_, sent, unsent, lapsed = shop.numbers
    web = stack.web(workers=1, threads=8, env=IMPATIENT)
    gateway.script("mora-sms", hold())
    with ThreadPoolExecutor(4) as pool:
        sends = {number: pool.submit(shop.send, number, key=f"order-{number}") for number in shop.numbers}
        gateway.journal.wait_for_count(4, outcome="held")
        with locked(stack, LOG, [sent, unsent, lapsed]), locked(stack, ACCOUNT):
            gateway.release()
            wait_for_waiters(stack, 4)
            freeze_group(web)
        # Each statement goes through now, one of them is the charge, and the database takes all of it back.
        wait_until_nobody_is_in_a_transaction(stack)
        wait_until_direct_sends_are_overdue(stack)
        reap(stack)
        assert logs(stack) == dict.fromkeys(shop.numbers, ("dispatch_timeout", ZERO))
        assert books(stack) == Books(Decimal(10), 4 * RATE, holds=dict.fromkeys(shop.numbers, RATE))

        # To three of them something happens before the process goes on.
        with stack.orm():
            settling.settle(log=SmsLog.objects.get(recipient=sent), was_sent=True)
            settling.settle(log=SmsLog.objects.get(recipient=unsent), was_sent=False)
            long_ago = clock.now() - settings.CREDIT_HOLD_LIFETIME - timedelta(seconds=1)
            Hold.objects.filter(pk=SmsLog.objects.get(recipient=lapsed).pk).update(created_at=long_ago)
        reap(stack)
        assert books(stack) == Books(10 - RATE, RATE, {sent: RATE}, {open_: RATE})
        thaw_group(web)
    answers = {number: send.result() for number, send in sends.items()}

    assert {answer.status_code for answer in answers.values()} == {201}
    told = {number: (answer.json()["success"], answer.json()["creditCharged"]) for number, answer in answers.items()}
    assert told == {open_: (True, 1.887), sent: (True, 1.887), unsent: (False, 0), lapsed: (True, 0)}
    after = Books(10 - 2 * RATE, ZERO, {sent: RATE, open_: RATE})
    assert books(stack) == after
    assert logs(stack) == {
        open_: ("sent", RATE),
        sent: ("sent", RATE),
        unsent: ("failed", ZERO),
        lapsed: ("sent", ZERO),
    }

    # Whoever has lost the answer and asks again is told the same, and nothing is sent.
    assert shop.send(open_, key=f"order-{open_}").json() == answers[open_].json()
    assert books(stack) == after
    assert sorted(gateway.journal.numbers(accepted_only=False)) == sorted(shop.numbers)


# --- the same of workers -----------------------------------------------------------------------------------------


def test_workers_killed_or_frozen_before_the_charge_leave_a_hold_that_lapses(stack: Stack, gateway: Gateway):
    shop = open_shop(stack, contacts=40, credits="100", is_metered=True)
    stack.web(workers=1)
    program_id = launch(shop)
    singles = stack.enqueue(6)
    with stack.orm():
        call_command("drain_outbox", seconds=0, stdout=io.StringIO())  # writes the program and sends nothing
    rows = stack.rows()
    everybody = {row["recipient"] for row in rows.values()}
    assert len(everybody) == 46
    gateway.script("mora-sms", hold())

    # One worker has its answers and is about to write them. It began with the six that are alone. What it has marked
    # for its senders to do next is held at the gateway when it is killed.
    killed = stack.manage_start("drain_outbox", env=IMPATIENT)
    gateway.journal.wait_for_count(SENDERS, outcome="held", seconds=30)
    with locked(stack, STARTED):
        gateway.release()
        wait_for_waiters(stack, 1)
        of_killed = begun_in(stack)
        eventually(lambda: set(gateway.journal.numbers()) == of_killed, what="all that is marked to be called")
        assert {rows[message]["recipient"] for message in singles} < of_killed
        # Another has written all but the charge of what was answered.
        frozen = stack.manage_start("drain_outbox", env=IMPATIENT)
        gateway.journal.wait_for_count(len(of_killed) + SENDERS, seconds=30)
        answered = set(gateway.journal.numbers()) - of_killed
        with locked(stack, ACCOUNT):
            gateway.release()
            wait_for_waiters(stack, 2)
            of_frozen = begun_in(stack) - of_killed
            everything = of_killed | of_frozen
            eventually(lambda: set(gateway.journal.numbers()) == everything, what="all that is marked to be called")
            killed.kill()
            frozen.freeze()
    wait_until_nobody_is_in_a_transaction(stack)
    eventually(lambda: leases_have_ended(stack), what="the leases to end")
    reap(stack)
    begun = of_killed | of_frozen
    assert len(answered) == SENDERS <= len(of_frozen)
    unknown = {row["recipient"] for row in stack.rows().values() if row["status"] == "dispatch_timeout"}
    assert unknown == begun
    assert stack.statuses() == {"dispatch_timeout": len(begun), "pending": 46 - len(begun)}
    assert books(stack) == Books(Decimal(100), len(begun) * RATE, holds=dict.fromkeys(begun, RATE))

    gateway.script("mora-sms", accept())
    stack.manage("drain_outbox")
    assert stack.statuses() == {"dispatch_timeout": len(begun), "sent": 46 - len(begun)}
    charges = dict.fromkeys(everybody - begun, RATE)
    balance = 100 - sum(charges.values(), ZERO)
    assert books(stack) == Books(balance, len(begun) * RATE, charges, dict.fromkeys(begun, RATE))
    unknown_of_program = len(begun) - len(singles)
    assert look(stack, program_id)["progress"] == {
        "sent": 40 - unknown_of_program, "failed": 0, "pending": 0, "unknown": unknown_of_program, "total": 40,
    }  # fmt: skip

    # Nobody has found out in time. What the frozen one then knows is noted, and not charged any more. Of those calls
    # whose answer it has missed it knows nothing.
    stack.manage("reap_outbox", env={"CREDIT_HOLD_HOURS": "0.0001"})
    after = Books(balance, ZERO, charges)
    assert books(stack) == after
    frozen.thaw()
    assert frozen.wait() == 0
    assert books(stack) == after
    ends = logs(stack)
    assert {number for number, end in ends.items() if end == ("dispatch_timeout", ZERO)} == begun - answered
    assert {number for number, end in ends.items() if end == ("sent", ZERO)} == answered
    assert {number for number, end in ends.items() if end == ("sent", RATE)} == everybody - begun
    body = look(stack, program_id)
    assert (body["status"], body["progress"]["unknown"]) == ("completed", len(begun - answered) - len(singles))
    assert sorted(gateway.journal.numbers(accepted_only=False)) == sorted(everybody)


# --- programs ----------------------------------------------------------------------------------------------------


def ledger_over_http(stack: Stack) -> list[dict[str, Any]]:
    """Read the whole ledger as a client would, with amounts as they are written."""
    entries: list[dict[str, Any]] = []
    page = {"meta": {"hasNextPage": True}}
    while page["meta"]["hasNextPage"]:
        number = len(entries) // 100 + 1
        reply = stack.get("/api/credits/transactions", params={"page": number, "limit": 100})
        page = json.loads(reply.text, parse_float=Decimal)
        entries += page["data"]
    return entries


def test_a_program_that_runs_out_of_credits_pauses_and_goes_on_after_a_top_up(stack: Stack, gateway: Gateway):
    # With the hundred characters of the template: one part, two, and three in UCS-2.
    names = [("Sara", "y" * 100, "ن" * 50)[place % 3] for place in range(200)]
    shop = open_shop(stack, names=names, credits="300.0001")
    cost = {number: (place % 3 + 1) * RATE for place, number in enumerate(shop.numbers)}
    total = sum(cost.values(), ZERO)
    assert total == 399 * RATE
    stack.beat()
    with ThreadPoolExecutor() as pool:  # none need wait for another
        starts = [pool.submit(stack.web, workers=1), pool.submit(stack.worker), pool.submit(stack.worker)]
    for start in starts:
        start.result()
    gateway.script("mora-sms", hold())
    program_id = launch(shop, "x" * 100 + "{{ $contact.firstName }}")
    gateway.journal.wait_for_count(2 * SENDERS, outcome="held", seconds=30)  # more than one worker could call
    gateway.script("mora-sms", accept(latency=0.05))
    gateway.release()

    eventually(lambda: look(stack, program_id)["isPaused"], what="the credits to run out")
    in_hand = "SELECT 1 FROM outbox_message WHERE status = 'sending'"
    eventually(lambda: not stack.select(in_hand), what="the calls under way to end")
    body = look(stack, program_id)
    sent = gateway.journal.numbers(accepted_only=False)
    assert len(sent) == len(set(sent))
    assert (body["status"], body["isPaused"], body["reason"]) == ("sending", True, "insufficient_credits")
    assert body["progress"] == {
        "sent": len(sent), "failed": 0, "pending": 200 - len(sent), "unknown": 0, "total": 200,
    }  # fmt: skip
    found = books(stack)
    assert (found.charges, found.held) == ({number: cost[number] for number in sent}, ZERO)
    assert -3 * RATE < found.balance <= 0

    stack.manage("topup_credits", "--organization", ORGANIZATION, "--amount", str(total - Decimal("300.0001")))
    assert stack.post(f"/api/sms-programs/{program_id}/resume", None).status_code == 200
    eventually(lambda: look(stack, program_id)["status"] != "sending", what="the rest to be sent after the resume")
    body = look(stack, program_id)
    assert (body["status"], body["progress"]["sent"], body["progress"]["total"]) == ("completed", 200, 200)
    assert_counters_are_true(stack, str(stack.select("SELECT id FROM outbox_bulkjob")[0]["id"]))
    assert sorted(gateway.journal.numbers(accepted_only=False)) == shop.numbers
    assert books(stack) == Books(ZERO, ZERO, cost)
    charges = [entry for entry in ledger_over_http(stack) if entry["type"] == "sms_charge"]
    assert len(charges) == 200
    assert {entry["smsProgramId"] for entry in charges} == {program_id}
    assert sum(entry["amount"] for entry in charges) == -total


# Whoever writes row 2500 of a program waits for an advisory lock there.
WAIT_AT_ROW_2500 = """
CREATE FUNCTION wait_at_row_2500() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock(2500); RETURN NEW; END';
CREATE TRIGGER wait_at_row_2500 BEFORE INSERT ON outbox_message FOR EACH ROW
    WHEN (NEW.row_number = 2500) EXECUTE FUNCTION wait_at_row_2500();
"""


def wait_until_the_job_is_free(stack: Stack) -> None:
    leased = "SELECT 1 FROM outbox_bulkjob WHERE work_expires_at > clock_timestamp()"
    eventually(lambda: not stack.select(leased), what="the dead writer's lease to end")


def test_a_program_whose_writers_are_killed_reaches_each_contact_once(stack: Stack, gateway: Gateway):
    count = 3000
    shop = open_shop(stack, contacts=count, credits=count * RATE)
    stack.web(workers=1)
    program_id = launch(shop)

    # The first is killed when it has written messages and not yet how far it has come.
    with locked(stack, PROGRAM):
        writer = stack.manage_start("drain_outbox")
        wait_for_waiters(stack, 1)
        writer.kill()
    wait_until_nobody_is_in_a_transaction(stack)
    assert look(stack, program_id)["progress"]["total"] == 0
    assert stack.rows() == {}
    wait_until_the_job_is_free(stack)

    # The second when a part of its second batch is written.
    with psycopg.connect(database_url(stack.database)) as connection:
        connection.execute(WAIT_AT_ROW_2500)
    with locked(stack, "SELECT pg_advisory_xact_lock(2500)"):
        writer = stack.manage_start("drain_outbox")
        wait_for_waiters(stack, 1)
        writer.kill()
    wait_until_nobody_is_in_a_transaction(stack)
    written = look(stack, program_id)["progress"]["total"]
    assert 0 < written < 2500
    assert len(stack.rows()) == written
    assert gateway.journal.entries == []
    wait_until_the_job_is_free(stack)

    # The third writes the rest, and sends for a while.
    stack.manage("drain_outbox", "--seconds", "1")
    (job,) = stack.select("SELECT id FROM outbox_bulkjob")
    rows = messages(stack, job["id"])
    assert [row["row_number"] for row in rows] == [*range(1, count + 1)]
    assert sorted(row["recipient"] for row in rows) == shop.numbers
    sent = gateway.journal.numbers(accepted_only=False)
    assert 0 < len(sent) == len(set(sent))
    assert look(stack, program_id)["progress"] == {
        "sent": len(sent), "failed": 0, "pending": count - len(sent), "unknown": 0, "total": count,
    }  # fmt: skip
    assert books(stack).charges == dict.fromkeys(sent, RATE)
