"""The gateway says what the providers' contract pages say, and does to connections what the script says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import factories
from tests.gateway import (
    Gateway,
    accept,
    cut,
    drip,
    drop_after,
    drop_before,
    fault,
    hold,
    html,
    redirect,
    refuse,
    silence,
    throttle,
    truncated,
)
from tests.gateway.remote import GatewayProcess, RemoteGateway

MORA = {**factories.CREDENTIALS["mora-sms"], "message": "Hello", "numbers": "966500000001", "return": "json"}
TWILIO = factories.CREDENTIALS["twilio-sms"]
SEND_PATHS = {
    "mora-sms": "/api/v1/sendsms",
    "taqnyat-sms": "/v1/messages",
    "twilio-sms": f"/2010-04-01/Accounts/{TWILIO['account_sid']}/Messages.json",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    shared.reset()
    return shared


def mora(gateway: Gateway | RemoteGateway, **fields: Any) -> requests.Response:
    """Send through Mora; `timeout` is the caller's, everything else a field."""
    timeout = fields.pop("timeout", 10)
    url = f"{gateway.url}/mora-sms{SEND_PATHS['mora-sms']}"
    return requests.post(url, data={**MORA, **fields}, timeout=timeout, allow_redirects=False)


def taqnyat(gateway: Gateway, token: str = "test-token", **fields: Any) -> requests.Response:
    body = {"recipients": ["966500000001"], "body": "Hello", "sender": "MyBrand", **fields}
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{gateway.base_urls['taqnyat-sms']}/v1/messages", json=body, headers=headers, timeout=10)


def twilio(gateway: Gateway, token: str = TWILIO["auth_token"], **fields: str) -> requests.Response:
    form = {"To": "+15551230001", "From": "+15005550006", "Body": "Hello", **fields}
    url = gateway.base_urls["twilio-sms"] + SEND_PATHS["twilio-sms"]
    return requests.post(url, data=form, auth=(TWILIO["account_sid"], token), timeout=10)


def test_mora_accepts_with_two_codes_that_agree(gateway: Gateway):
    reply = mora(gateway)
    assert reply.status_code == 200
    assert reply.json()["status"] == {"code": 200, "message": "Success", "error": None, "validation_errors": []}
    assert reply.json()["data"]["code"] == 100
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.sender, entry.is_accepted) == ("+966500000001", "Hello", "MyBrand", True)
    assert entry.provider_id == reply.json()["data"]["ref_id"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sender": "Nobody"}, 106),
        ({"numbers": "+966500000001"}, 108),
        ({"numbers": "0500000001"}, 108),
        ({"message": ""}, 117),
        ({"sender": ""}, 118),
        ({"numbers": ""}, 119),
    ],
)
def test_mora_refuses_with_http_200(gateway: Gateway, fields: dict[str, str], code: int):
    reply = mora(gateway, **fields)
    assert reply.status_code == 200
    assert reply.json()["data"]["code"] == code
    assert gateway.journal.numbers() == []


def test_mora_says_its_number_alone_when_asked_for_text(gateway: Gateway):
    assert mora(gateway, **{"return": "text"}).text == "100"


def test_taqnyat_accepts_with_201_and_lists_that_are_strings(gateway: Gateway):
    reply = taqnyat(gateway, recipients=["966500000001", "966500000"])
    assert reply.status_code == 201
    assert reply.json()["accepted"] == "[966500000001,]"
    assert reply.json()["rejected"] == "[966500000,]"
    assert reply.json()["messageId"] > 2**32


def test_taqnyat_refuses_with_a_status_and_a_text(gateway: Gateway):
    reply = taqnyat(gateway, sender="Nobody")
    assert (reply.status_code, reply.json()) == (400, {"statusCode": 400, "message": "sender name is not active"})
    gateway.script("taqnyat-sms", refuse("balance"))
    assert "balance" in taqnyat(gateway).json()["message"]


def test_twilio_accepts_with_201_and_a_resource(gateway: Gateway):
    reply = twilio(gateway)
    assert reply.status_code == 201
    assert reply.json()["sid"].startswith("SM")
    assert len(reply.json()["sid"]) == 34
    assert (reply.json()["status"], reply.json()["num_segments"]) == ("queued", "1")


def test_twilio_refuses_with_a_code(gateway: Gateway):
    assert (twilio(gateway, To="966500000001").status_code, gateway.journal.numbers()) == (400, [])
    assert twilio(gateway, To="+15005550004").json()["code"] == 21610
    gateway.script("twilio-sms", refuse(20005))
    reply = twilio(gateway)
    assert (reply.status_code, reply.json()["code"]) == (401, 20005)


def test_twilio_schedules_only_through_a_service(gateway: Gateway):
    when = {"ScheduleType": "fixed", "SendAt": "2026-02-01T09:30:00Z"}
    assert twilio(gateway, **when).json()["status"] == "queued"
    reply = twilio(gateway, From="", MessagingServiceSid="MG00000000000000000000000000000001", **when)
    assert (reply.json()["status"], reply.json()["from"]) == ("scheduled", None)


def test_wrong_credentials_are_the_documented_failure(gateway: Gateway):
    reply = mora(gateway, api_key="wrong")
    assert (reply.status_code, reply.json()["status"]["code"], reply.json()["data"]) == (401, 401, None)
    reply = taqnyat(gateway, token="wrong")
    assert (reply.status_code, reply.json()["message"]) == (401, "invalid credentials information")
    reply = twilio(gateway, token="wrong")
    assert (reply.status_code, reply.json()["code"]) == (401, 20003)
    assert gateway.journal.numbers() == []
    assert {entry.outcome for entry in gateway.journal.entries} == {"unauthorized"}


def test_balances_and_sender_names(gateway: Gateway):
    def get(path: str, **how: Any) -> dict[str, Any]:
        return requests.get(gateway.url + path, timeout=10, **how).json()

    keys = {"api_key": "test-key", "username": "966500000000"}
    assert get("/mora-sms/api/v1/balance", params=keys)["data"]["balance"] == "1520"
    assert get("/mora-sms/api/v1/sender_names", params=keys)["data"]["sender_names"] == ["MyBrand", "MyBrand-AD"]
    bearer = {"headers": {"Authorization": "Bearer test-token"}}
    assert get("/taqnyat-sms/account/balance", **bearer)["balance"] == "1250.500"
    assert get("/taqnyat-sms/v1/messages/senders", **bearer)["senders"][0]["senderName"] == "MyBrand"
    basic = {"auth": (TWILIO["account_sid"], TWILIO["auth_token"])}
    account = f"/twilio-sms/2010-04-01/Accounts/{TWILIO['account_sid']}"
    assert get(f"{account}/Balance.json", **basic)["balance"] == "12.3400"
    numbers = get(f"{account}/IncomingPhoneNumbers.json", **basic)["incoming_phone_numbers"]
    assert [number["phone_number"] for number in numbers if number["capabilities"]["sms"]] == ["+15005550006"]


def test_a_rule_for_a_number_goes_first_and_rules_wear_out(gateway: Gateway):
    gateway.script("mora-sms", refuse(105))
    gateway.script("mora-sms", throttle(retry_after=7), number="+966500000002", times=1)
    reply = mora(gateway, numbers="966500000002")
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "7")
    assert mora(gateway, numbers="966500000002").json()["data"]["code"] == 105
    assert taqnyat(gateway).status_code == 201


def test_answers_that_nobody_can_read(gateway: Gateway):
    gateway.script("mora-sms", truncated(), times=1)
    with pytest.raises(requests.JSONDecodeError):
        mora(gateway).json()
    gateway.script("mora-sms", html(), times=1)
    assert mora(gateway).headers["Content-Type"].startswith("text/html")
    gateway.script("mora-sms", fault(502), times=1)
    assert mora(gateway).status_code == 502
    gateway.script("mora-sms", redirect("https://elsewhere.example/"), times=1)
    assert mora(gateway).is_redirect
    gateway.script("mora-sms", cut(), times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        mora(gateway)
    assert [entry.is_accepted for entry in gateway.journal.entries] == [True, True, False, False, True]


def test_dropped_connections(gateway: Gateway):
    gateway.script("mora-sms", drop_before(), times=1)
    with pytest.raises(requests.ConnectionError):
        mora(gateway)
    gateway.script("mora-sms", drop_after(), times=1)
    with pytest.raises(requests.ConnectionError):
        mora(gateway)
    unread, read = gateway.journal.entries
    assert (unread.number, unread.is_accepted) == ("", False)
    assert (read.number, read.is_accepted, read.outcome) == ("+966500000001", True, "dropped")


def test_silence_lasts_until_the_caller_leaves(gateway: Gateway):
    gateway.script("mora-sms", silence())
    with pytest.raises(requests.ReadTimeout):
        mora(gateway, timeout=0.2)
    gateway.journal.wait_for(lambda entries: entries[0].has_client_left, seconds=5)
    assert gateway.journal.numbers() == ["+966500000001"]


def test_a_slow_drip_never_lets_a_read_time_out(gateway: Gateway):
    gateway.script("mora-sms", drip(0.002))
    began = time.monotonic()
    assert mora(gateway, timeout=0.3).json()["data"]["code"] == 100
    assert time.monotonic() - began > 0.3


def test_held_sends_are_answered_when_released(gateway: Gateway):
    gateway.script("mora-sms", hold())
    with ThreadPoolExecutor() as pool:
        reply = pool.submit(mora, gateway)
        gateway.journal.wait_for_count(1, outcome="held")
        assert not reply.done()
        gateway.release()
        assert reply.result(timeout=5).json()["data"]["code"] == 100


def test_many_callers_at_once_on_kept_connections(gateway: Gateway):
    gateway.script(None, accept(latency=0.1))
    barrier = threading.Barrier(80)

    def send(caller: int) -> None:
        with requests.Session() as session:
            barrier.wait(10)
            for turn in range(3):
                fields = {**MORA, "numbers": f"9665{caller:04d}{turn:04d}"}
                session.post(gateway.url + "/mora-sms/api/v1/sendsms", data=fields, timeout=10).raise_for_status()

    began = time.monotonic()
    with ThreadPoolExecutor(80) as pool:
        list(pool.map(send, range(80)))
    assert len(gateway.journal.numbers()) == 240
    assert gateway.journal.duplicates() == []
    assert time.monotonic() - began < 8  # one at a time it would be 24 s


def test_a_number_that_came_twice_is_a_duplicate(gateway: Gateway):
    gateway.script("mora-sms", refuse(105), times=1)
    mora(gateway)
    taqnyat(gateway)
    assert gateway.journal.duplicates() == []
    assert gateway.journal.duplicates(accepted_only=False) == ["+966500000001"]
    mora(gateway)
    assert gateway.journal.duplicates() == ["+966500000001"]


def test_as_a_process_it_is_scripted_over_http_and_writes_its_journal(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    with GatewayProcess(journal_path=path) as gateway:
        gateway.script("mora-sms", throttle(retry_after=2), times=1)
        assert mora(gateway).status_code == 429
        assert mora(gateway).status_code == 200
        assert gateway.journal.numbers() == ["+966500000001"]
        gateway.reset()
        assert gateway.journal.entries == []
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["id"], line["outcome"]) for line in written] == [
        (1, "received"), (1, "throttled"), (2, "received"), (2, "accepted"),
    ]  # fmt: skip
