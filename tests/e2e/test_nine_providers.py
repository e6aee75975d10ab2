"""All nine apps through real processes: each sends, each passes a message on, and signing in never doubles one."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from sms_providers import catalogue
from sms_providers.models import SANDBOX
from tests.gateway import Gateway, accept, refuse
from tests.gateway.providers import Answer, Call
from tests.gateway.providers.cequens import Cequens
from tests.stack import FINAL, Stack, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

SLUGS = [slug for slug in catalogue.adapters() if slug != SANDBOX]
# How each says that the account has no balance; Twilio has no code of its own for that.
NO_BALANCE: dict[str, str | int] = {
    "mora-sms": 105, "taqnyat-sms": "balance", "msegat-sms": 1060, "fourjawaly-sms": "no_package",
    "unifonic-sms": "ER-01", "cequens-sms": -17, "twilio-sms": 20005, "infobip-sms": 12, "vonage-sms": 9,
}  # fmt: skip
TEXT = "مرحبا 👨‍👩‍👧‍👦"
SIGNED_IN = {"access_token": None, "api_key": "test-key", "username": "test-user"}


@pytest.fixture
def stack_env() -> dict[str, str]:
    # Leases that end within the test, and few senders, so that two workers find something to do.
    return {
        "OUTBOX_LEASE_SECONDS": "5",
        "OUTBOX_LEASE_MARGIN_SECONDS": "0.5",
        "PROVIDER_CALL_LIMIT_SECONDS": "3",
        "OUTBOX_REAP_SECONDS": "1",
        "OUTBOX_SENDERS": "8",
    }


def test_each_app_answers_in_its_own_words(stack: Stack, gateway: Gateway):
    for slug in SLUGS:
        stack.install(slug)
    stack.web()
    for number, slug in enumerate(SLUGS):
        mobile = f"+96650000010{number}"
        reply = stack.post(f"/api/v1/sms-providers/{slug}/send", {"mobile": mobile, "message": TEXT})
        assert reply.status_code == 200, reply.text
        assert isinstance(reply.json(), dict)
        assert reply.headers["X-Sms-Encoding"] == "UCS-2"
        (entry,) = gateway.journal.of(slug)
        assert (entry.number, entry.text) == (mobile, TEXT)
        balance = stack.get(f"/api/v1/sms-providers/{slug}/balance").json()
        assert (balance["supported"], balance["balance"] > 0) == (True, True)
        senders = stack.get(f"/api/v1/sms-providers/{slug}/sender-names").json()
        assert senders["supported"] == bool(senders["sender_names"]) == (slug != "cequens-sms")
    assert gateway.journal.duplicates(accepted_only=False) == []


def test_a_message_goes_on_until_an_app_takes_it(stack: Stack, gateway: Gateway):
    *poor, last = SLUGS
    for priority, slug in enumerate(SLUGS):
        stack.install(slug, priority=priority)
        if slug != last:
            gateway.script(slug, refuse(NO_BALANCE[slug]))
    stack.web()
    stack.worker()
    stack.beat()
    reply = stack.post("/api/v1/sms/outbox", {"mobile": "+966500000200", "message": TEXT})
    path = f"/api/v1/sms/outbox/{reply.json()['id']}"

    def look() -> dict[str, Any] | None:
        body: dict[str, Any] = stack.get(path).json()
        return body if body["dispatch_status"] in FINAL else None

    message = eventually(look, seconds=30, what="the message to be settled") or {}
    assert (message["dispatch_status"], message["provider_slug"]) == ("sent", last)
    tried = [(attempt["provider_slug"], attempt["outcome"]) for attempt in message["attempts"]]
    assert tried == [*((slug, "rejected") for slug in poor), (last, "accepted")]
    assert {attempt["explanation"]["side"] for attempt in message["attempts"][:-1]} == {"account"}
    assert gateway.journal.numbers() == ["+966500000200"]


def test_two_workers_that_sign_in_send_every_message_once(stack: Stack, gateway: Gateway):
    """Also when the provider takes the token back in mid-drain: nobody is let in with it, so nothing was sent."""
    cequens = gateway.providers["cequens-sms"]
    assert isinstance(cequens, Cequens)
    gateway.script("cequens-sms", accept(latency=0.05))
    stack.install("cequens-sms", **SIGNED_IN)
    stack.enqueue(120)
    for _ in range(2):
        stack.worker()
    stack.beat()
    gateway.journal.wait_for_count(30, outcome="accepted")
    cequens.tokens.clear()
    assert {row["status"] for row in stack.wait_until_settled(seconds=40).values()} == {"sent"}
    assert len(gateway.journal.numbers()) == 120
    assert gateway.journal.duplicates() == []
    # Each process signs in for itself, and again for a token that was taken back; its threads share both.
    assert 2 <= cequens.sign_ins <= 6


def test_a_worker_that_dies_while_it_signs_in_doubles_nothing_and_loses_nothing(
    stack: Stack, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """The start mark stands before the sign-in: what was in hand is unknown, and everything else goes out."""
    cequens = gateway.providers["cequens-sms"]
    answer, is_signing_in, may_answer = cequens.question, threading.Event(), threading.Event()

    def slow(call: Call) -> Answer:
        is_signing_in.set()
        may_answer.wait(30)
        return answer(call)

    monkeypatch.setattr(cequens, "question", slow)
    stack.install("cequens-sms", **SIGNED_IN)
    stack.enqueue(20)
    worker = stack.worker()
    stack.beat()
    assert is_signing_in.wait(20)
    worker.kill()
    may_answer.set()
    assert gateway.journal.entries == []
    stack.worker()
    counts = Counter(row["status"] for row in stack.wait_until_settled(seconds=40).values())
    assert counts.keys() == {"sent", "dispatch_timeout"}
    assert counts["dispatch_timeout"] <= 16  # what one worker has at its senders, and as many marked for them next
    assert len(gateway.journal.numbers()) == counts["sent"]
    assert gateway.journal.duplicates() == []
