"""The four results over real sockets, for every adapter that the local gateway can play.

The gateway's journal is the witness: whatever happens to a call, it arrived once or not at all.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from sms_providers import transport
from sms_providers.adapters.base import ProviderAdapter, Sms
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway import (
    Behaviour,
    Gateway,
    accept,
    answer,
    cut,
    drip,
    drop_after,
    drop_before,
    fault,
    html,
    huge,
    redirect,
    refuse,
    silence,
    throttle,
    truncated,
)
from tests.sms_providers.adapters.examples import (
    FAMILY,
    GATEWAY_PROVIDERS,
    REFERENCE,
    SPEAKING,
    TEN_PARTS,
    TEN_PARTS_ARABIC,
)

NUMBER = "+966500000001"
SMS = Sms(NUMBER, "Hello", reference=REFERENCE)
LIMIT = timedelta(seconds=10)  # of calls that are not about time
SHORT = timedelta(seconds=0.4)
GRACE = 1.0  # how much longer than its limit a call may last


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    with Gateway(providers=GATEWAY_PROVIDERS) as gateway:
        yield gateway
        transport._http().close()  # connections to a gateway that is gone


@pytest.fixture
def gateway(running: Gateway, settings: Any) -> Gateway:
    running.reset()
    settings.SMS_PROVIDER_BASE_URLS = running.base_urls
    return running


@pytest.fixture(params=SPEAKING, ids=lambda kind: kind.slug)
def adapter(request: pytest.FixtureRequest) -> ProviderAdapter:
    adapter: ProviderAdapter = request.param(request.param.example_credentials())
    return adapter


def send(adapter: ProviderAdapter, gateway: Gateway, behaviour: Behaviour, limit: timedelta = LIMIT) -> Result:
    """Send once to a gateway that behaves so. It ends in time and never arrives twice."""
    gateway.script(adapter.slug, behaviour)
    began = time.monotonic()
    result = adapter.send(SMS, Budget(limit))
    assert time.monotonic() - began < limit.total_seconds() + GRACE
    assert len(gateway.journal.of(adapter.slug)) == 1
    return result


def read(result: Result) -> tuple[Outcome, Fault | None, str]:
    return result.outcome, result.fault, result.reason


# --- certainly not sent --------------------------------------------------------------------------------------------


def test_a_refused_connection(adapter: ProviderAdapter, settings: Any):
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        settings.SMS_PROVIDER_BASE_URLS = {adapter.slug: f"http://127.0.0.1:{bound.getsockname()[1]}"}
        result = adapter.send(SMS, Budget(LIMIT))
    assert read(result) == (Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN, "connection_failed")
    assert "Nothing was sent" in result.message


def test_a_host_without_an_address(adapter: ProviderAdapter, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {adapter.slug: "https://gateway.invalid"}
    result = adapter.send(SMS, Budget(LIMIT))
    assert read(result) == (Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN, "dns_failed")


def test_throttled_without_a_time(adapter: ProviderAdapter, gateway: Gateway):
    result = send(adapter, gateway, throttle())
    assert read(result) == (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled")
    assert result.retry_after is None


def test_throttled_for_so_many_seconds(adapter: ProviderAdapter, gateway: Gateway):
    result = send(adapter, gateway, throttle(retry_after=90))
    assert (result.outcome, result.retry_after) == (Outcome.UNAVAILABLE, timedelta(seconds=90))


def test_throttled_until_a_date(adapter: ProviderAdapter, gateway: Gateway):
    until = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    result = send(adapter, gateway, throttle(retry_after=until))
    assert result.retry_after is not None
    assert timedelta(minutes=9) < result.retry_after <= timedelta(minutes=10)


# --- may have been sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [drop_before(), drop_after(), cut()], ids=lambda behaviour: behaviour.kind)
def test_a_connection_that_closes(adapter: ProviderAdapter, gateway: Gateway, behaviour: Behaviour):
    """Also before the request is read: that it was handed to the network is all that we can know."""
    result = send(adapter, gateway, behaviour)
    assert read(result) == (Outcome.UNKNOWN, Fault.OTHER, "connection_lost")
    assert "may have been sent" in result.message


@pytest.mark.parametrize("behaviour", [silence(), drip(0.03)], ids=lambda behaviour: behaviour.kind)
def test_an_answer_that_does_not_come_in_time(adapter: ProviderAdapter, gateway: Gateway, behaviour: Behaviour):
    assert read(send(adapter, gateway, behaviour, SHORT)) == (Outcome.UNKNOWN, Fault.OTHER, "read_timeout")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_fault_of_the_gateway(adapter: ProviderAdapter, gateway: Gateway, status: int):
    result = send(adapter, gateway, fault(status))
    assert read(result) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down")
    assert result.raw == {"raw": f"<html><body><h1>{status}</h1></body></html>"}


@pytest.mark.parametrize(
    "behaviour",
    [html(), truncated(), answer(200, is_accepted=True)],
    ids=["html", "truncated", "empty"],
)
def test_a_success_that_nobody_can_read(adapter: ProviderAdapter, gateway: Gateway, behaviour: Behaviour):
    result = send(adapter, gateway, behaviour)
    assert read(result) == (Outcome.UNKNOWN, Fault.OTHER, "unreadable_answer")
    assert len(str(result.raw)) < 100_000


def test_a_huge_answer_is_not_read_to_its_end(adapter: ProviderAdapter, gateway: Gateway):
    result = send(adapter, gateway, huge(50_000_000))
    assert read(result) == (Outcome.UNKNOWN, Fault.OTHER, "unreadable_answer")
    assert len(str(result.raw)) < 100_000
    gateway.journal.wait_for(lambda entries: entries[0].has_client_left, what="the caller to leave")


def test_a_redirect_is_not_followed(adapter: ProviderAdapter, gateway: Gateway):
    result = send(adapter, gateway, redirect(f"{gateway.url}/{adapter.slug}/elsewhere"))
    assert (result.outcome, result.http_status) == (Outcome.UNKNOWN, 302)


# --- accepted ------------------------------------------------------------------------------------------------------

WRAPPINGS = {
    "as documented": accept(),
    "gzip": accept(is_packed=True),
    "Latin-1": accept(charset="latin-1"),
    "Latin-1, undeclared": accept(charset="latin-1", content_type="application/json"),
    "UTF-16": accept(charset="utf-16"),
    "as a web page": accept(content_type="text/html"),
    "without a type": accept(content_type="application/octet-stream"),
}


@pytest.mark.parametrize("behaviour", WRAPPINGS.values(), ids=WRAPPINGS)
def test_an_acceptance_in_any_wrapping(adapter: ProviderAdapter, gateway: Gateway, behaviour: Behaviour):
    result = send(adapter, gateway, behaviour)
    assert read(result) == (Outcome.ACCEPTED, None, "")
    (entry,) = gateway.journal.of(adapter.slug)
    assert (entry.number, entry.text, entry.outcome) == (NUMBER, "Hello", "accepted")
    assert result.provider_message_id == entry.provider_id
    assert result.raw.get("note") == ("né" if behaviour.charset else None)


@pytest.mark.parametrize(
    "text", [FAMILY, TEN_PARTS, TEN_PARTS_ARABIC], ids=["joined emoji", "ten parts", "ten of UCS-2"]
)
def test_a_text_arrives_as_it_was_written(adapter: ProviderAdapter, gateway: Gateway, text: str):
    result = adapter.send(Sms(NUMBER, text, reference=REFERENCE), Budget(LIMIT))
    assert result.outcome == Outcome.ACCEPTED
    (entry,) = gateway.journal.of(adapter.slug)
    assert entry.text == text
    if result.segment_count is not None:
        assert result.segment_count == (10 if text != FAMILY else 1)


def test_wrong_credentials(kind_with_wrong_secrets: ProviderAdapter, gateway: Gateway):
    result = kind_with_wrong_secrets.send(SMS, Budget(LIMIT))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.AUTH)
    assert gateway.journal.numbers() == []


@pytest.fixture(params=SPEAKING, ids=lambda kind: kind.slug)
def kind_with_wrong_secrets(request: pytest.FixtureRequest) -> ProviderAdapter:
    kind: type[ProviderAdapter] = request.param
    secret = {field.name for field in kind.credential_fields if field.is_secret}
    return kind({name: "Wrong-0" if name in secret else value for name, value in kind.example_credentials().items()})


def test_a_code_that_nobody_documents_is_a_refusal_with_the_answer_kept(adapter: ProviderAdapter, gateway: Gateway):
    code = "ER-77" if adapter.slug == "unifonic-sms" else "987654"  # digits alone are an HTTP status there
    result = send(adapter, gateway, refuse(code))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.OTHER)
    assert not result.may_fail_over
    assert code in json.dumps(result.raw)


# --- questions -----------------------------------------------------------------------------------------------------


def test_balance_and_sender_names(adapter: ProviderAdapter, gateway: Gateway):
    if adapter.capabilities.balance:
        left = adapter.balance(Budget(LIMIT))
        assert left.amount > 0
    if adapter.capabilities.sender_names:
        names = adapter.sender_names(Budget(LIMIT))
        assert names
        assert len(names) == len(set(names))
