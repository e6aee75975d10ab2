"""From the HTTP request to the provider and back, through real web, worker and beat processes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import Gateway, drop_after, refuse, silence, throttle
from tests.stack import FINAL, Stack, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

OUTBOX = "/api/v1/sms/outbox"


@pytest.fixture
def stack_env() -> dict[str, str]:
    # So that silence is noticed within the test.
    return {
        "PROVIDER_CALL_LIMIT_SECONDS": "1.5",
        "PROVIDER_CALL_LIMIT_WEB_SECONDS": "1.5",
        "OUTBOX_LEASE_SECONDS": "6",
        "OUTBOX_LEASE_MARGIN_SECONDS": "1",
        "OUTBOX_REAP_SECONDS": "1",
    }


def enqueue(stack: Stack, mobile: str, **fields: Any) -> str:
    reply = stack.post(OUTBOX, {"mobile": mobile, "message": "Your order is ready", "sender": "MyBrand", **fields})
    assert reply.status_code == 201, reply.text
    assert reply.json()["dispatch_status"] == "pending"
    return str(reply.json()["id"])


def settled(stack: Stack, message_id: str, *, seconds: float = 20.0) -> dict[str, Any]:
    """Poll as a client would, until the message is final."""

    def look() -> dict[str, Any] | None:
        body: dict[str, Any] = stack.get(f"{OUTBOX}/{message_id}").json()
        return body if body["dispatch_status"] in FINAL else None

    return eventually(look, seconds=seconds, what=f"message {message_id} to be settled") or {}


def outcomes(message: dict[str, Any]) -> list[tuple[str, str]]:
    return [(attempt["provider_slug"], attempt["outcome"]) for attempt in message["attempts"]]


def test_a_queued_message_reaches_the_gateway_once(stack: Stack, gateway: Gateway):
    app_id = stack.install("mora-sms")
    stack.web()
    stack.worker()
    stack.beat()

    message = settled(stack, enqueue(stack, "0501234567", idempotency_key="order-1", meta={"order_id": "1"}))

    assert message["dispatch_status"] == "sent"
    assert (message["mobile"], message["provider_slug"]) == ("+966501234567", "mora-sms")
    assert message["claimed_organization_app_id"] == app_id
    assert message["response"]["data"]["code"] == 100
    assert (message["meta"], message["idempotency_key"]) == ({"order_id": "1"}, "order-1")
    assert outcomes(message) == [("mora-sms", "accepted")]
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.sender) == ("+966501234567", "Your order is ready", "MyBrand")


def test_a_message_that_is_due_later_is_found_by_beat(stack: Stack, gateway: Gateway):
    """No wake-up comes for it: it became due long after its enqueue, or the broker forgot. The schedule finds it."""
    stack.install("mora-sms")
    stack.enqueue(3)  # by a process whose wake-ups go to another broker
    stack.worker()
    assert stack.statuses() == {"pending": 3}
    stack.beat()
    assert {row["status"] for row in stack.wait_until_settled().values()} == {"sent"}
    assert len(gateway.journal.numbers()) == 3


def test_a_direct_send_answers_with_the_providers_own_json(stack: Stack, gateway: Gateway):
    for slug in ("mora-sms", "taqnyat-sms", "twilio-sms"):
        stack.install(slug)
    stack.web()

    def send(slug: str, mobile: str = "966501234567") -> Any:
        return stack.post(f"/api/v1/sms-providers/{slug}/send", {"mobile": mobile, "message": "Hello"})

    mora, taqnyat, twilio = send("mora-sms"), send("taqnyat-sms"), send("twilio-sms")
    assert [reply.status_code for reply in (mora, taqnyat, twilio)] == [200, 200, 200]
    assert mora.json()["data"]["code"] == 100
    assert taqnyat.json()["accepted"] == "[966501234567,]"
    assert (twilio.json()["to"], twilio.json()["status"]) == ("+966501234567", "queued")
    assert mora.headers["X-Sms-Parts"] == "1"
    ids = [entry.provider_id for entry in gateway.journal.entries]
    assert ids == [mora.json()["data"]["ref_id"], str(taqnyat.json()["messageId"]), twilio.json()["sid"]]

    gateway.script("mora-sms", refuse(106))
    refused = send("mora-sms", "966501234568")
    assert refused.status_code == 400
    assert refused.json()["details"]["data"]["code"] == 106

    gateway.script("taqnyat-sms", drop_after())
    unknown = send("taqnyat-sms", "966501234569")
    assert unknown.status_code == 202  # never a 5xx when it may have left: clients retry those
    assert unknown.json()["outcome"] == "unknown"

    gateway.script("twilio-sms", throttle(retry_after=9))
    throttled = send("twilio-sms", "966501234570")
    assert throttled.status_code == 503
    assert int(throttled.headers["Retry-After"]) >= 1
    assert gateway.journal.duplicates(accepted_only=False) == ["+966501234567"]  # the three that we asked for


def test_what_certainly_was_not_sent_fails_over_and_what_may_have_been_is_left_alone(stack: Stack, gateway: Gateway):
    stack.install("mora-sms", priority=1)
    stack.install("taqnyat-sms", priority=2)
    stack.web()
    stack.worker()
    stack.beat()
    throttled, refused, dropped, silent, bad = (f"+96650123450{digit}" for digit in range(5))
    gateway.script("mora-sms", throttle(retry_after=60), number=throttled)
    gateway.script("mora-sms", refuse(105), number=refused)
    gateway.script("mora-sms", drop_after(), number=dropped)
    gateway.script("mora-sms", silence(), number=silent)
    gateway.script("mora-sms", refuse(108), number=bad)

    ids = {number: enqueue(stack, number) for number in (throttled, refused, dropped, silent, bad)}
    ended = {number: settled(stack, message_id) for number, message_id in ids.items()}

    assert outcomes(ended[throttled]) == [("mora-sms", "unavailable"), ("taqnyat-sms", "accepted")]
    assert outcomes(ended[refused]) == [("mora-sms", "rejected"), ("taqnyat-sms", "accepted")]
    for number in (dropped, silent):
        assert (ended[number]["dispatch_status"], outcomes(ended[number])) == (
            "dispatch_timeout",
            [("mora-sms", "unknown")],
        )
    assert (ended[bad]["dispatch_status"], outcomes(ended[bad])) == ("failed", [("mora-sms", "rejected")])

    # Beat goes on ticking and reaping: give it the time to do the wrong thing.
    latest = enqueue(stack, "+966501234510")
    assert settled(stack, latest)["dispatch_status"] == "sent"
    stack.manage("reap_outbox")
    stack.manage("drain_outbox")
    assert [len(gateway.journal.of(number=number)) for number in (dropped, silent, bad)] == [1, 1, 1]
    assert gateway.journal.duplicates() == []
