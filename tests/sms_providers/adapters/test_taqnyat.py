"""Taqnyat: the vectors of its contract, its texts and statuses, and its Saudi clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import responses
from responses.matchers import header_matcher, json_params_matcher

from sms_providers.adapters.base import ProviderRefused, Sms
from sms_providers.adapters.taqnyat import ERRORS, TaqnyatSms, numbers, saudi_minute
from sms_providers.results import Fault, Outcome
from sms_providers.transport import Budget

SEND = "https://api.taqnyat.sa/v1/messages"
SENDERS = "https://api.taqnyat.sa/v1/messages/senders"
BALANCE = "https://api.taqnyat.sa/account/balance"
CREDENTIALS = {"bearer_token": "test-token", "sender": "MyBrand"}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+966500000001", "Hello", reference="ref-1")
BEARER = {"Authorization": "Bearer test-token"}
ACCEPTED = {
    "statusCode": 201,
    "messageId": 5400000001,
    "cost": 0.026,
    "currency": "SAR",
    "totalCount": 1,
    "msgLength": 1,
    "accepted": "[966500000001,]",
    "rejected": "[]",
}


@pytest.fixture
def taqnyat() -> TaqnyatSms:
    return TaqnyatSms(CREDENTIALS)


def send(taqnyat: TaqnyatSms, sms: Sms = HELLO, **reply: Any):
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return taqnyat.send(sms, BUDGET)


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_recipient_accepted(taqnyat: TaqnyatSms):
    body = {"recipients": ["966500000001"], "body": "Hello", "sender": "MyBrand", "smsId": "ref-1"}
    headers = header_matcher({**BEARER, "Content-Type": "application/json"})
    responses.post(SEND, json=ACCEPTED, status=201, match=[json_params_matcher(body), headers])
    result = taqnyat.send(HELLO, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "5400000001")
    assert (result.cost, result.currency, result.segment_count) == (Decimal("0.026"), "SAR", 1)
    assert (numbers(ACCEPTED["accepted"]), numbers(ACCEPTED["rejected"])) == (["966500000001"], [])
    assert result.raw == ACCEPTED


@responses.activate
def test_vector_2_one_of_two_rejected(taqnyat: TaqnyatSms):
    """We send one recipient per call, so both halves of the vector are read from the lists, and then sent alone."""
    both = ACCEPTED | {"accepted": "[966500000001,]", "rejected": "[966500000,]"}
    assert (numbers(both["accepted"]), numbers(both["rejected"])) == (["966500000001"], ["966500000"])

    body = {"recipients": ["966500000"], "body": "مرحبا", "sender": "MyBrand"}
    reply = ACCEPTED | {"messageId": 5400000002, "accepted": "[]", "rejected": "[966500000,]"}
    responses.post(SEND, json=reply, status=201, match=[json_params_matcher(body)])
    result = taqnyat.send(Sms("+966500000", "مرحبا"), BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")
    assert result.provider_message_id == "5400000002"


@responses.activate
def test_vector_3_scheduled(taqnyat: TaqnyatSms):
    body = {
        "recipients": ["966500000001"],
        "body": "Reminder",
        "sender": "MyBrand",
        "smsId": "70001",
        "scheduledDatetime": "2026-02-01T09:30",
        "deleteId": "70001",
    }
    responses.post(SEND, json=ACCEPTED, status=201, match=[json_params_matcher(body)])
    due = datetime(2026, 2, 1, 6, 30, tzinfo=UTC)
    assert taqnyat.can_schedule(due, now=due - timedelta(days=1))
    result = taqnyat.send(Sms("+966500000001", "Reminder", send_at=due, reference="70001"), BUDGET)
    assert result.outcome == Outcome.ACCEPTED


def test_vector_4_wrong_token(taqnyat: TaqnyatSms):
    result = send(taqnyat, json={"statusCode": 401, "message": "invalid credentials information"}, status=401)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")


def test_vector_5_sender_not_approved(taqnyat: TaqnyatSms):
    result = send(taqnyat, json={"statusCode": 400, "message": "sender name is not active"}, status=400)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_not_registered")
    assert "sender name is not active" in result.message


@responses.activate
def test_vector_6_balance_good(taqnyat: TaqnyatSms):
    body = {
        "statusCode": 200,
        "accountStatus": "active",
        "accountExpiryDate": "31-12-2026",
        "balance": "1250.500",
        "currency": "SAR",
    }
    responses.get(BALANCE, json=body, match=[header_matcher(BEARER)])
    left = taqnyat.balance(BUDGET)
    assert (left.amount, left.currency, left.note) == (Decimal("1250.500"), "SAR", "")


@pytest.mark.parametrize("status", [200, 400])
@responses.activate
def test_vector_6_balance_failed(taqnyat: TaqnyatSms, status: int):
    body = {"ResponseStatus": "fail", "Error": {"MessageEn": "account restriction"}}
    responses.get(BALANCE, json=body, status=status)
    with pytest.raises(ProviderRefused) as caught:
        taqnyat.balance(BUDGET)
    assert (caught.value.result.outcome, caught.value.result.fault) == (Outcome.REJECTED, Fault.AUTH)


@pytest.mark.parametrize("status", [200, 201])
@responses.activate
def test_vector_7_senders(taqnyat: TaqnyatSms, status: int):
    senders = [
        {"senderName": "MyBrand", "status": "active", "destination": "SA"},
        {"senderName": "Old", "status": "inactive", "destination": "SA"},
    ]
    responses.get(SENDERS, json={"statusCode": status, "senders": senders}, match=[header_matcher(BEARER)])
    assert taqnyat.sender_names(BUDGET) == ["MyBrand"]


def test_vector_8_gateway_fault(taqnyat: TaqnyatSms):
    """The contract's class holds; that a 5xx may have been processed is decided for all providers alike."""
    result = send(taqnyat, body="<html>unavailable</html>", status=503, content_type="text/html")
    assert (result.outcome, result.fault) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN)
    assert result.raw == {"raw": "<html>unavailable</html>"}


# --- texts and statuses --------------------------------------------------------------------------------------------

TEXTS = [
    ("insufficient balance", Fault.BALANCE),
    ("Not enough CREDIT", Fault.BALANCE),
    ("your balance does not cover this sender", Fault.BALANCE),  # the order of the table decides
    ("sender name is missing", Fault.SENDER),
    ("sender_name invalid", Fault.SENDER),
    ("bad recipients", Fault.RECIPIENT),
    ("recipient description", Fault.RECIPIENT),  # "ip" is in both words
    ("mobile is not valid", Fault.RECIPIENT),
    ("wrong number", Fault.RECIPIENT),
    ("IP not allowed", Fault.AUTH),
    ("country not allowed", Fault.AUTH),
    ("account restriction", Fault.AUTH),
    ("body is empty", Fault.CONTENT),
    ("message too long", Fault.CONTENT),
    ("length exceeded", Fault.CONTENT),
    ("subscription description", Fault.OTHER),
    ("", Fault.OTHER),
]


@pytest.mark.parametrize(("text", "fault"), TEXTS)
@pytest.mark.parametrize("form", ["400", "body", "envelope"])
def test_every_text(taqnyat: TaqnyatSms, text: str, fault: Fault, form: str):
    reply: dict[str, Any] = {
        "400": {"json": {"statusCode": 400, "message": text}, "status": 400},
        "body": {"json": {"statusCode": 400, "message": text}, "status": 200},
        "envelope": {"json": {"ResponseStatus": "fail", "Error": {"MessageEn": text}}, "status": 200},
    }[form]
    result = send(taqnyat, **reply)
    assert (result.outcome, result.fault) == (Outcome.REJECTED, fault)


FAULTS = {
    Fault.BALANCE: [2, 3],
    Fault.SENDER: [14],
    Fault.RECIPIENT: [15],
    Fault.CONTENT: [16, 17],
    Fault.AUTH: [101, 102, 104],
}
CODES = [(str(code), fault) for fault, codes in FAULTS.items() for code in codes]


def test_the_table_has_every_documented_code_and_no_other():
    assert {code: meaning.fault for code, meaning in ERRORS.items()} == dict(CODES)


@pytest.mark.parametrize(("code", "fault"), CODES)
def test_every_code_of_the_other_product(taqnyat: TaqnyatSms, code: str, fault: Fault):
    result = send(taqnyat, json={"statusCode": 400, "code": int(code), "message": "?"}, status=400)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, fault, code)


@pytest.mark.parametrize(
    ("status", "text", "outcome", "fault"),
    [
        (401, "message body", Outcome.REJECTED, Fault.AUTH),
        (403, "forbidden", Outcome.REJECTED, Fault.AUTH),
        (403, "messages are not allowed from your IP", Outcome.REJECTED, Fault.AUTH),
        (403, "no balance", Outcome.REJECTED, Fault.BALANCE),
        (403, "message refused", Outcome.REJECTED, Fault.AUTH),
        (404, "sender", Outcome.REJECTED, Fault.OTHER),
        (405, "method not allowed for messages", Outcome.REJECTED, Fault.OTHER),
        (429, "balance", Outcome.UNAVAILABLE, Fault.THROTTLED),
        (500, "balance", Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
        (504, "", Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
    ],
)
@pytest.mark.parametrize("http_says_success", [False, True])
def test_every_status(
    taqnyat: TaqnyatSms, status: int, text: str, outcome: Outcome, fault: Fault, http_says_success: bool
):
    body = {"statusCode": status, "message": text}
    result = send(taqnyat, json=body, status=200 if http_says_success else status)
    assert (result.outcome, result.fault) == (outcome, fault)
    assert result.http_status == (200 if http_says_success else status)


def test_retry_after_is_honoured(taqnyat: TaqnyatSms):
    assert send(taqnyat, status=429, headers={"Retry-After": "30"}).retry_after == timedelta(seconds=30)


@pytest.mark.parametrize(
    "body", [{"statusCode": 201}, {"statusCode": 201, "messageId": None}, {"messageId": {}}, {"messageId": True}]
)
def test_a_success_without_an_id_is_unknown(taqnyat: TaqnyatSms, body: Any):
    assert send(taqnyat, json=body, status=201).outcome == Outcome.UNKNOWN


def test_accepted_and_rejected_at_once_is_unknown(taqnyat: TaqnyatSms):
    body = ACCEPTED | {"rejected": "[966500000001]"}
    result = send(taqnyat, json=body, status=201)
    assert (result.outcome, result.reason, result.provider_message_id) == (
        Outcome.UNKNOWN,
        "partly_accepted",
        "5400000001",
    )


@pytest.mark.parametrize("cost", [None, "free", True, "1e400", float("1e9"), {}])
def test_a_cost_that_is_none_does_not_spoil_the_acceptance(taqnyat: TaqnyatSms, cost: Any):
    result = send(taqnyat, json=ACCEPTED | {"cost": cost, "msgLength": "many", "currency": 5}, status=201)
    assert (result.outcome, result.cost, result.segment_count) == (Outcome.ACCEPTED, None, None)


def test_a_cost_as_text(taqnyat: TaqnyatSms):
    result = send(taqnyat, json=ACCEPTED | {"cost": "0.052", "msgLength": "2"}, status=201)
    assert (result.cost, result.segment_count) == (Decimal("0.052"), 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[966500000001,966500000002]", ["966500000001", "966500000002"]),
        ("[966500000001,]", ["966500000001"]),
        ("[\"966500000001\", '966500000002']", ["966500000001", "966500000002"]),
        (["966500000001", 966500000002], ["966500000001", "966500000002"]),
        ("966500000001", ["966500000001"]),
        (966500000001, ["966500000001"]),
        ("[]", []),
        ("", []),
        ([], []),
        (None, []),
        ({"a": 1}, []),
    ],
)
def test_lists_of_numbers(value: Any, expected: list[str]):
    assert numbers(value) == expected


# --- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 2, 1, 6, 30, tzinfo=UTC), "2026-02-01T09:30"),
        (datetime(2026, 2, 1, 6, 30, 0, 1, tzinfo=UTC), "2026-02-01T09:31"),
        (datetime(2026, 2, 1, 6, 30, 1, tzinfo=UTC), "2026-02-01T09:31"),
        (datetime(2025, 12, 31, 20, 59, 30, tzinfo=UTC), "2026-01-01T00:00"),
    ],
)
def test_a_scheduled_time_is_saudi_and_never_early(moment: datetime, expected: str):
    assert saudi_minute(moment) == expected


# --- questions -----------------------------------------------------------------------------------------------------


@responses.activate
def test_an_account_that_is_not_active_is_noted(taqnyat: TaqnyatSms):
    responses.get(BALANCE, json={"balance": "5", "currency": "SAR", "accountStatus": "suspended"})
    left = taqnyat.balance(BUDGET)
    assert left.amount == 5
    assert "suspended" in left.note


@pytest.mark.parametrize("status", [200, 400])
@responses.activate
def test_a_plain_text_about_the_key_is_a_refusal_of_the_token(taqnyat: TaqnyatSms, status: int):
    responses.get(BALANCE, body="Invalid API key", status=status, content_type="text/plain")
    with pytest.raises(ProviderRefused) as caught:
        taqnyat.balance(BUDGET)
    assert caught.value.result.fault is Fault.AUTH


@responses.activate
def test_senders_of_other_shapes(taqnyat: TaqnyatSms):
    senders = ["Plain", {"name": "A", "status": "ACTIVE"}, {"sender": "B"}, {"sender": "C", "status": "pending"}, 7]
    responses.get(SENDERS, json={"senders": senders})
    assert taqnyat.sender_names(BUDGET) == ["Plain", "A", "B"]


@pytest.mark.parametrize("body", [{}, {"senders": None}, {"statusCode": 401, "message": "invalid", "senders": []}])
@responses.activate
def test_no_list_is_not_an_empty_list(taqnyat: TaqnyatSms, body: Any):
    responses.get(SENDERS, json=body)
    with pytest.raises(ProviderRefused):
        taqnyat.sender_names(BUDGET)


# --- the rest ------------------------------------------------------------------------------------------------------


@responses.activate
def test_an_arabic_round_trip(taqnyat: TaqnyatSms):
    text = "مرحبًا 👋 ١٢٣"
    body = {"recipients": ["966500000001"], "body": text, "sender": "متجر"}
    reply = {"statusCode": 400, "message": f"message refused: {text}"}
    responses.post(SEND, json=reply, status=400, match=[json_params_matcher(body)])
    result = taqnyat.send(Sms("+966500000001", text, sender_id="متجر"), BUDGET)
    assert text in result.message
    assert result.raw == reply


def test_an_echoed_token_is_masked_everywhere(taqnyat: TaqnyatSms, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("DEBUG"):
        known = send(
            taqnyat, json={"statusCode": 400, "message": "sender? Bearer test-token", "test-token": 1}, status=400
        )
        text = send(taqnyat, body="x" * 1995 + "test-token", status=400)  # across the place where it is cut
    for shown in (repr(known), repr(text), caplog.text):
        assert "test-token" not in shown
    assert "test-" not in text.raw["raw"]


def test_credentials():
    assert TaqnyatSms.clean_credentials(CREDENTIALS) == (CREDENTIALS, {})
    for token in ("", "with space", "رمز", "a\nb", "x" * 600):
        _, wrong = TaqnyatSms.clean_credentials({"bearer_token": token})
        assert set(wrong) == {"bearer_token"}
        assert not token or token not in str(wrong)
