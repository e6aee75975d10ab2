"""Mora SMS: the vectors of its contract, its code table, and what else its answers have been seen to be."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import responses
from responses.matchers import header_matcher, query_param_matcher, urlencoded_params_matcher

from sms_providers.adapters.base import ProviderRefused, Sms
from sms_providers.adapters.mora import ERRORS, HINTS, MoraSms
from sms_providers.results import Fault, Outcome
from sms_providers.transport import Budget

SEND = "https://mora-sa.com/api/v1/sendsms"
BALANCE = "https://mora-sa.com/api/v1/balance"
SENDERS = "https://mora-sa.com/api/v1/sender_names"
CREDENTIALS = {"api_key": "test-key", "username": "966500000000", "sender": "MyBrand"}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+966500000001", "Hello")
FORM = {
    "api_key": "test-key",
    "username": "966500000000",
    "message": "Hello",
    "sender": "MyBrand",
    "numbers": "966500000001",
    "return": "json",
}
ACCOUNT = {"api_key": "test-key", "username": "966500000000"}


@pytest.fixture
def mora() -> MoraSms:
    return MoraSms(CREDENTIALS)


def answer(data: Any, status: Any = 200, **envelope: Any) -> dict[str, Any]:
    return {"status": {"code": status, **envelope}, "data": data}


def send(mora: MoraSms, sms: Sms = HELLO, **reply: Any):
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return mora.send(sms, BUDGET)


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_recipient_accepted(mora: MoraSms):
    body = {
        "status": {"code": 200, "message": "Success", "error": None, "validation_errors": []},
        "data": {"code": 100, "message": "accepted", "ref_id": "mr-100001", "timestamp": "2026-01-18T10:45:30Z"},
    }
    form = header_matcher({"Content-Type": "application/x-www-form-urlencoded"})
    responses.post(SEND, json=body, match=[urlencoded_params_matcher(FORM), form])
    result = mora.send(HELLO, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "mr-100001")
    assert (result.fault, result.reason, result.cost) == (None, "", None)
    assert (result.raw, result.http_status) == (body, 200)


@responses.activate
def test_vector_2_arabic_text():
    """The vector's second recipient and `datetime` are not ours: we send one number per call and hold it ourselves."""
    body = answer({"code": 100, "message": "accepted", "ref_id": "mr-100002"})
    responses.post(SEND, json=body, match=[urlencoded_params_matcher(FORM | {"message": "مرحبا"})])
    result = MoraSms(CREDENTIALS).send(Sms("+966500000001", "مرحبا"), BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "mr-100002")
    sent = responses.calls[0].request.body
    assert "message=%D9%85%D8%B1%D8%AD%D8%A8%D8%A7" in str(sent)


@pytest.mark.parametrize("status", [200, 400, "200", None])
def test_vector_3_no_balance(mora: MoraSms, status: Any):
    result = send(mora, json=answer({"code": 105, "message": "insufficient balance"}, status))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.BALANCE)
    assert (result.reason, result.code) == ("insufficient_provider_balance", "105")


@responses.activate
def test_vector_4_sender_not_available(mora: MoraSms):
    body = answer({"code": 106, "message": "sender not available"})
    responses.post(SEND, json=body, match=[urlencoded_params_matcher(FORM | {"sender": "Nobody"})])
    result = mora.send(Sms("+966500000001", "Hello", sender_id="Nobody"), BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_not_registered")


@pytest.mark.parametrize("http_status", [401, 200])
def test_vector_5_wrong_key(mora: MoraSms, http_status: int):
    body = answer(None, 401, message="Unauthorized", error="invalid credentials", validation_errors=[])
    result = send(mora, json=body, status=http_status)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.AUTH, "401")
    assert (result.reason, result.raw) == ("bad_credentials", body)


@pytest.mark.parametrize("balance", ["1520", 1520, 1520.0])
@responses.activate
def test_vector_6_balance(mora: MoraSms, balance: Any):
    responses.get(BALANCE, json=answer({"balance": balance}), match=[query_param_matcher(ACCOUNT)])
    left = mora.balance(BUDGET)
    assert (left.amount, left.unit, left.currency) == (Decimal(1520), "points", "")


@pytest.mark.parametrize("key", [None, "name", "sender_name", "sender"])
@responses.activate
def test_vector_7_sender_names(mora: MoraSms, key: str | None):
    names = ["MyBrand", "MyBrand-AD"]
    items = [{key: name, "status": "pending"} for name in names] if key else names
    responses.get(SENDERS, json=answer({"sender_names": items}), match=[query_param_matcher(ACCOUNT)])
    assert mora.sender_names(BUDGET) == names


@pytest.mark.parametrize("body", ["100", " 100\n", '"100"', "\ufeff100"])
def test_vector_8_text_reply(mora: MoraSms, body: str):
    result = send(mora, body=body, content_type="text/plain")
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "")


# --- codes ---------------------------------------------------------------------------------------------------------

FAULTS = {
    Fault.BALANCE: [105],
    Fault.SENDER: [106, 107, 118],
    Fault.RECIPIENT: [108, 119],
    Fault.CONTENT: [112, 117],
    Fault.AUTH: [114, 115, 116],
}
CODES = [(str(code), fault) for fault, codes in FAULTS.items() for code in codes]


def test_the_table_has_every_documented_code_and_no_other():
    assert {code: meaning.fault for code, meaning in ERRORS.items()} == dict(CODES)


@pytest.mark.parametrize(("code", "fault"), CODES)
@pytest.mark.parametrize("form", ["number", "text", "bare"])
def test_every_code(mora: MoraSms, code: str, fault: Fault, form: str):
    if form == "bare":
        result = send(mora, body=code, content_type="text/plain")
    else:
        result = send(mora, json=answer({"code": int(code) if form == "number" else code}))
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, fault, code)
    assert result.reason == ERRORS[code].reason


def test_an_unlisted_code_is_a_refusal_with_the_providers_words(mora: MoraSms):
    result = send(mora, json=answer({"code": 733, "message": "moon phase"}))
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.OTHER, "733")
    assert "moon phase" in result.message
    assert result.raw["data"]["message"] == "moon phase"


@pytest.mark.parametrize(("code", "hint"), HINTS.items())
def test_a_sibling_panels_code_is_only_a_hint(mora: MoraSms, code: str, hint: str):
    result = send(mora, json=answer({"code": int(code)}))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.OTHER)
    assert hint in result.message


def test_validation_errors_are_a_refusal(mora: MoraSms):
    result = send(mora, json=answer(None, 422, validation_errors=["numbers is required", "message is required"]))
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.OTHER, "422")
    assert "numbers is required; message is required" in result.message


@pytest.mark.parametrize(
    "body",
    [
        answer({"ref_id": "mr-1"}),
        answer(None),
        answer([]),
        {"status": 200, "data": "100"},
        {"status": {"code": 201}, "data": {}},
        "Success",
        True,
        [100],
    ],
)
def test_a_success_that_does_not_say_accepted_is_unknown(mora: MoraSms, body: Any):
    result = send(mora, body=json.dumps(body), content_type="application/json")
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")


@pytest.mark.parametrize("envelope", [401, 403, 422, 500, "400"])
@pytest.mark.parametrize("http_status", [200, 401, 403, 422, 429])
def test_an_acceptance_that_its_envelope_contradicts_is_unknown(mora: MoraSms, envelope: Any, http_status: int):
    body = answer({"code": 100, "ref_id": "mr-1"}, envelope, validation_errors=["numbers is required"])
    result = send(mora, json=body, status=http_status)
    assert (result.outcome, result.reason, result.provider_message_id) == (Outcome.UNKNOWN, "partly_accepted", "mr-1")


@pytest.mark.parametrize("status", [408, 499, 500, 502, 503, 504])
def test_a_wrong_key_under_a_fault_is_unknown(mora: MoraSms, status: int):
    result = send(mora, json=answer(None, 401), status=status)
    assert (result.outcome, result.fault) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_gateway_fault_is_unknown_whatever_its_body(mora: MoraSms, status: int):
    result = send(mora, json=answer({"code": 105}), status=status)
    assert (result.outcome, result.fault) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN)


def test_throttled(mora: MoraSms):
    result = send(mora, json=answer({"code": 105}), status=429, headers={"Retry-After": "7"})
    assert (result.outcome, result.fault, result.retry_after) == (
        Outcome.UNAVAILABLE,
        Fault.THROTTLED,
        timedelta(seconds=7),
    )


def test_access_refused(mora: MoraSms):
    result = send(mora, json={}, status=403)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "access_denied")


def test_a_number_for_an_id_becomes_text(mora: MoraSms):
    assert send(mora, json=answer({"code": "100", "ref_id": 77}, "200")).provider_message_id == "77"


# --- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [answer(None), answer({}), answer({"balance": "much"}), answer({"balance": 5}, 500)])
@responses.activate
def test_no_balance_is_not_a_zero_balance(mora: MoraSms, body: Any):
    responses.get(BALANCE, json=body)
    with pytest.raises(ProviderRefused):
        mora.balance(BUDGET)


@responses.activate
def test_a_wrong_key_on_a_question(mora: MoraSms):
    responses.get(SENDERS, json=answer(None, 401), status=401)
    with pytest.raises(ProviderRefused) as caught:
        mora.sender_names(BUDGET)
    assert caught.value.result.fault is Fault.AUTH
    assert "sent" not in caught.value.result.message


@responses.activate
def test_odd_items_among_the_sender_names(mora: MoraSms):
    items = ["MyBrand", None, 5, {}, {"name": None, "sender": "Other"}, {"name": 7}, "  "]
    responses.get(SENDERS, json=answer({"sender_names": items}))
    assert mora.sender_names(BUDGET) == ["MyBrand", "Other"]


# --- the rest ------------------------------------------------------------------------------------------------------


def test_a_message_for_later_is_never_sent_now(mora: MoraSms):
    later = datetime.now(UTC) + timedelta(hours=1)
    assert not mora.can_schedule(later, now=datetime.now(UTC))
    with responses.RequestsMock():  # any call would fail the test
        result = mora.send(Sms("+966500000001", "Hello", send_at=later), BUDGET)
    assert result.outcome == Outcome.REJECTED


def test_without_a_sender_nothing_is_sent():
    with responses.RequestsMock():
        result = MoraSms(ACCOUNT).send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_missing")
    assert MoraSms(ACCOUNT, default_sender="Shop").sender_for(HELLO) == "Shop"


def test_an_echoed_key_is_masked_everywhere(caplog: pytest.LogCaptureFixture):
    secret = 'k/e+y "1"&'
    mora = MoraSms(CREDENTIALS | {"api_key": secret})
    with caplog.at_level("DEBUG"):
        result = send(mora, json=answer({"code": 733, "message": f"bad {secret} and k%2Fe%2By+%221%22%26"}))
        text = send(mora, body=f"<p>{secret}</p><i>k/e+y &quot;1&quot;&amp;</i>k%2fe%2by%20%221%22%26", status=400)
        as_id = send(mora, json=answer({"code": 100, "ref_id": secret}))
    for shown in (repr(result), repr(text), repr(as_id), caplog.text):
        assert "k/e+y" not in shown
        assert "k%2" not in shown
    assert result.message.count("•••") == 2
    assert text.raw["raw"].count("•••") == 3


@responses.activate
def test_the_key_in_a_url_is_not_logged(mora: MoraSms, caplog: pytest.LogCaptureFixture):
    responses.get(BALANCE, json=answer({"balance": 1}))
    with caplog.at_level("DEBUG"):
        mora.balance(BUDGET)
    assert "test-key" not in caplog.text


@responses.activate
def test_the_settings_may_replace_the_host(mora: MoraSms, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://127.0.0.1:9/relay/"}
    responses.post("http://127.0.0.1:9/relay/api/v1/sendsms", json=answer({"code": 100}))
    assert mora.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


def test_credentials():
    assert MoraSms.clean_credentials(CREDENTIALS) == (CREDENTIALS, {})
    assert MoraSms.clean_credentials(ACCOUNT) == (ACCOUNT, {})
    _, wrong = MoraSms.clean_credentials({"api_key": "", "username": " padded", "extra": "x"})
    assert set(wrong) == {"api_key", "username", "extra"}
