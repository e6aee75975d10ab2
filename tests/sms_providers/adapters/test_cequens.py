"""Cequens: the vectors of its contract, its code table, the spellings of its answers, and signing in.

The vector of delivery reports (7) belongs to receipts, which the product does not take; for the same reason the
`dlrUrl` and `acknowledgement` of vector 2 are not sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import responses
from responses.matchers import header_matcher, json_params_matcher

from sms_providers.adapters import base, cequens
from sms_providers.adapters.base import ProviderRefused, Sms
from sms_providers.adapters.cequens import ERRORS, SIGN_IN_ERRORS, CequensSms, expires_at
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget, Reply
from tests.gateway import Gateway, refuse, throttle
from tests.gateway.providers.cequens import Cequens

SIGN_IN = "https://apis.cequens.com/auth/v1/tokens/"
SEND = "https://apis.cequens.com/sms/v1/messages"
BALANCE = "https://apis.cequens.com/sms/v1/account/balance"
WITH_TOKEN = {"access_token": "test-token", "sender_name": "MyBrand"}
WITH_KEY = {"api_key": "test-key", "username": "test-user", "sender_name": "MyBrand"}
ACCOUNT = {"apiKey": "test-key", "userName": "test-user"}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+201000000001", "Hello")
BODY = {"messageText": "Hello", "senderName": "MyBrand", "messageType": "text", "recipients": "201000000001"}
MESSAGE_ID = "7a1b0000-0000-0000-0000-000000000001"
DATA: dict[str, Any] = {"SentSMSIDs": [{"SMSId": MESSAGE_ID}], "InvalidRecipients": "", "Errors": []}
ACCEPTED: dict[str, Any] = {
    "replyCode": 0,
    "replyMessage": "OK",
    "requestId": "r-2",
    "clientRequestId": 1001,
    "requestTime": "2026-01-02T03:04:05Z",
    "data": DATA,
}
EXPIRED: dict[str, Any] = {
    "replyCode": -1,
    "replyMessage": "Unauthorized",
    "error": {"status": 401, "description": "Invalid or expired token", "internalErrors": []},
}
# Of vector 1. Its `exp` is 1767400000.
TOKEN = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3Njc0MDAwMDB9."
ENDS = 1_767_400_000.0


@pytest.fixture(autouse=True)
def _no_tokens() -> Iterator[None]:
    cequens._sessions.clear()
    yield
    cequens._sessions.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of day by which tokens end: `clock.now`."""
    clock = SimpleNamespace(now=ENDS - 3600)
    monkeypatch.setattr(cequens, "time", SimpleNamespace(time=lambda: clock.now, monotonic=time.monotonic))
    return clock


@pytest.fixture
def console() -> CequensSms:
    """An app with a token of the console: way A."""
    return CequensSms(WITH_TOKEN)


@pytest.fixture
def exchanged() -> CequensSms:
    """An app that exchanges its key for a token: way B."""
    return CequensSms(WITH_KEY)


def send(adapter: CequensSms, sms: Sms = HELLO, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return adapter.send(sms, BUDGET)


def refusal(code: Any, *inner: Any, said: str = "Not so", status: int = 400) -> dict[str, Any]:
    error = {"status": status, "description": said, "internalErrors": [{"code": one, "details": said} for one in inner]}
    return {"json": {"replyCode": code, "replyMessage": "No", "requestId": "r", "error": error}, "status": status}


def signed_in(token: Any = "exchanged-token") -> dict[str, Any]:
    return {"replyCode": 0, "replyMessage": "OK", "requestId": "r-1", "data": {"access_token": token}}


def jwt(number: int = 1, **claims: Any) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, {"jti": number, **claims})]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


def bearers(url: str = SEND) -> list[str]:
    """Return the tokens of the calls that were made to `url`."""
    calls = [call.request for call in responses.calls if call.request.url == url]
    return [request.headers["Authorization"].removeprefix("Bearer ") for request in calls]


def sign_ins(url: str = SIGN_IN) -> int:
    return sum(call.request.url == url for call in responses.calls)


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_token_exchange(exchanged: CequensSms, clock: SimpleNamespace):
    body = {
        "replyCode": 0,
        "replyMessage": "OK",
        "requestId": "r-1",
        "clientRequestId": 0,
        "requestTime": "2026-01-02T03:04:05Z",
        "data": {"access_token": TOKEN},
    }
    headers = header_matcher({"Content-Type": "application/json", "Accept": "application/json"})
    responses.post(SIGN_IN, json=body, match=[json_params_matcher(ACCOUNT), headers])
    responses.post(SEND, json=ACCEPTED)
    assert datetime.fromtimestamp(expires_at(TOKEN), UTC) == datetime(2026, 1, 3, 0, 26, 40, tzinfo=UTC)
    for now, expected in ((ENDS - 3600, 1), (ENDS - 61, 1), (ENDS - 60, 2)):
        clock.now = now
        assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
        assert sign_ins() == expected
    assert bearers() == [TOKEN] * 3
    assert "Authorization" not in responses.calls[0].request.headers


@pytest.mark.parametrize("spelling", ["documented", "other"])
@responses.activate
def test_vector_2_one_recipient_arabic(spelling: str):
    body = {
        "messageText": "مرحبا",
        "senderName": "MyBrand",
        "messageType": "unicode",
        "recipients": "201000000001",
        "clientMessageId": 1001,
    }
    headers = {"Authorization": "Bearer TOKEN", "Content-Type": "application/json", "Accept": "application/json"}
    data = DATA if spelling == "documented" else {"SentSMSIDs": [{"SMSID": MESSAGE_ID}], "invalidRecipients": ""}
    reply = ACCEPTED | {"data": data}
    responses.post(SEND, json=reply, match=[json_params_matcher(body), header_matcher(headers)])
    sms = Sms("+201000000001", "مرحبا", reference=str(uuid.UUID(int=1001)))
    result = CequensSms(WITH_TOKEN | {"access_token": "TOKEN"}).send(sms, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, MESSAGE_ID)
    assert (result.cost, result.currency, result.segment_count) == (None, "", None)
    assert (result.raw, result.http_status) == (reply, 200)


def test_vector_3_two_recipients_one_refused(console: CequensSms):
    """We send one recipient per call, so each half of the vector is an answer of its own."""
    taken = ACCEPTED | {"data": DATA | {"SentSMSIDs": [{"SMSId": "7a1b0000-0000-0000-0000-000000000002"}]}}
    result = send(console, json=taken)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "7a1b0000-0000-0000-0000-000000000002")
    refused = ACCEPTED | {"data": DATA | {"SentSMSIDs": [], "InvalidRecipients": "2010"}}
    result = send(console, Sms("+2010", "Hello"), json=refused)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")


def test_vector_4_sender_not_approved(console: CequensSms):
    body = {
        "replyCode": -12,
        "replyMessage": "Invalid sender name",
        "requestId": "r-4",
        "clientRequestId": 1003,
        "requestTime": "2026-01-02T03:04:07Z",
        "error": {
            "status": 400,
            "description": "Invalid sender name",
            "internalErrors": [{"code": -12, "details": "Invalid sender name"}],
        },
    }
    result = send(console, json=body, status=400)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.SENDER, "-12")
    assert (result.reason, result.raw) == ("sender_not_accepted", body)


def test_vector_5_no_credit_in_the_inner_list_only(console: CequensSms):
    body = {
        "replyCode": -1,
        "replyMessage": "Request failed",
        "requestId": "r-5",
        "error": {
            "status": 400,
            "description": "Not enough credits",
            "internalErrors": [{"code": -17, "details": "Not enough credits"}],
        },
    }
    result = send(console, json=body, status=400)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.BALANCE, "-17")
    assert result.reason == "insufficient_provider_balance"


@responses.activate
def test_vector_6_expired_token_of_the_console(console: CequensSms):
    responses.post(SEND, json=EXPIRED, status=401)
    result = console.send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert len(responses.calls) == 1


@responses.activate
def test_vector_6_expired_token_is_renewed_once(exchanged: CequensSms):
    for token in (jwt(1), jwt(2)):
        responses.post(SIGN_IN, json=signed_in(token))
    responses.post(SEND, json=EXPIRED, status=401)
    responses.post(SEND, json=ACCEPTED)
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert (sign_ins(), bearers()) == (2, [jwt(1), jwt(2)])
    assert [json.loads(call.request.body or "") for call in responses.calls if call.request.url == SEND] == [BODY] * 2


@responses.activate
def test_vector_6_a_second_401_is_final(exchanged: CequensSms):
    responses.post(SIGN_IN, json=signed_in())
    responses.post(SEND, json=EXPIRED, status=401)
    result = exchanged.send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert (sign_ins(), len(bearers())) == (2, 2)


@responses.activate
def test_vector_8_balance():
    body = {
        "replyCode": 0,
        "replyMessage": "OK",
        "requestId": "r-8",
        "data": {"Account": {"UserName": "test-user", "Credit": 1250.5}, "SubAccounts": []},
    }
    responses.get(BALANCE, json=body, match=[header_matcher({"Authorization": "Bearer TOKEN"})])
    left = CequensSms(WITH_TOKEN | {"access_token": "TOKEN"}).balance(BUDGET)
    assert (left.amount, left.currency, left.unit) == (Decimal("1250.5"), "", "credits")


# --- codes ---------------------------------------------------------------------------------------------------------

CODES = {
    "-1": (Fault.OTHER, "refused_by_provider"),
    "-6": (Fault.RECIPIENT, "invalid_recipient"),
    "-8": (Fault.CONTENT, "invalid_request"),
    "-9": (Fault.CONTENT, "empty_text"),
    "-12": (Fault.SENDER, "sender_not_accepted"),
    "-13": (Fault.OTHER, "invalid_request"),
    "-14": (Fault.OTHER, "invalid_request"),
    "-15": (Fault.OTHER, "invalid_request"),
    "-16": (Fault.OTHER, "invalid_schedule"),
    "-17": (Fault.BALANCE, "insufficient_provider_balance"),
    "-41": (Fault.CONTENT, "text_too_long"),
}


def test_the_table_has_every_documented_code_and_no_other():
    assert {code: (meaning.fault, meaning.reason) for code, meaning in ERRORS.items()} == CODES
    assert {code: meaning.fault for code, meaning in SIGN_IN_ERRORS.items()} == {"-1": Fault.AUTH}
    assert list(CequensSms.error_tables().values()) == [ERRORS, SIGN_IN_ERRORS]


FORMS = {
    "number": lambda code: refusal(int(code)),
    "text": refusal,
    "in HTTP 200": lambda code: refusal(int(code), status=200),
    "in both": lambda code: refusal(int(code), int(code)),
    "inside": lambda code: refusal(-1, int(code)),
    "inside as text": lambda code: refusal("-1", code),
    "inside alone": lambda code: {"json": {"error": {"internalErrors": [{"code": code}]}}},
    "pair": lambda code: {"json": {"errors": [[int(code), "Not so"]]}},
    "named pair": lambda code: {"json": {"errors": [{"Code": code, "Text": "Not so"}]}, "status": 400},
}


@pytest.mark.parametrize(("code", "expected"), CODES.items())
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_code(console: CequensSms, code: str, expected: tuple[Fault, str], form: Any):
    result = send(console, **form(code))
    assert (result.outcome, result.code) == (Outcome.REJECTED, code)
    assert (result.fault, result.reason) == expected


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((-1, -17), "-17"),
        ((-12, -17), "-12"),  # the first that is known
        ((-99, -17), "-17"),
        ((-1, -99, -6), "-6"),
        ((0, -6), "-6"),
        ((-99, -1), "-1"),  # known, though general
        ((-1, -99), "-1"),
        ((-99, -98), "-99"),
        ((None, "x", {}, [], True, -9), "-9"),
    ],
)
def test_which_of_several_codes_counts(console: CequensSms, codes: tuple[Any, ...], expected: str):
    assert send(console, **refusal(*codes)).code == expected


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("Not enough credits", Fault.BALANCE),
        ("Insufficient BALANCE", Fault.BALANCE),
        ("Sender is not approved", Fault.SENDER),
        ("Invalid senderName", Fault.SENDER),
        ("No valid recipients", Fault.RECIPIENT),
        ("Wrong number", Fault.RECIPIENT),
        ("Unauthorized", Fault.AUTH),
        ("Invalid or expired token", Fault.AUTH),
        ("wrong credentials", Fault.AUTH),  # and no credits
        ("messageText is too long", Fault.CONTENT),
        ("Message could not be handled", Fault.OTHER),
        ("", Fault.OTHER),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_a_general_failure_goes_by_its_text(console: CequensSms, said: str, fault: Fault, status: int):
    result = send(console, **refusal(-1, said=said, status=status))
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, fault, "-1")
    assert said in result.message


@pytest.mark.parametrize("description", ["", None, " ", 7, ["x"]])
def test_the_words_are_of_the_message_when_there_is_no_description(console: CequensSms, description: Any):
    body = {"replyCode": -99, "replyMessage": "moon phase", "error": {"description": description}}
    assert "moon phase" in send(console, json=body, status=400).message


def test_an_unlisted_code_is_a_refusal_with_the_providers_words(console: CequensSms):
    reply = refusal(-99, said="moon phase")
    result = send(console, **reply)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert (result.code, result.raw) == ("-99", reply["json"])
    assert "moon phase" in result.message


@pytest.mark.parametrize(
    ("status", "outcome", "fault"),
    [
        (401, Outcome.REJECTED, Fault.AUTH),
        (403, Outcome.REJECTED, Fault.AUTH),
        (429, Outcome.UNAVAILABLE, Fault.THROTTLED),
        (500, Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
        (503, Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
    ],
)
@pytest.mark.parametrize("code", [-17, -99, 0])
def test_these_statuses_go_before_any_code(console: CequensSms, status: int, outcome: Outcome, fault: Fault, code: int):
    result = send(console, **refusal(code, status=status))
    assert (result.outcome, result.fault, result.code) == (outcome, fault, str(code or ""))


def test_retry_after_is_honoured(console: CequensSms):
    assert send(console, status=429, headers={"Retry-After": "30"}).retry_after == timedelta(seconds=30)


# --- accepted or not -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        [{"SMSId": MESSAGE_ID}],
        [{"SMSID": MESSAGE_ID}],
        [{"smsid": MESSAGE_ID, "Recipient": "201000000001"}],
        [None, {}, {"SMSId": None}, {"SMSId": MESSAGE_ID}],
        [MESSAGE_ID],
    ],
)
@pytest.mark.parametrize("code", [0, "0", " 0 "])
def test_an_id_in_any_spelling(console: CequensSms, sent: Any, code: Any):
    for key in ("SentSMSIDs", "sentSMSIDs", "SentSmsIds"):
        result = send(console, json={"ReplyCode": code, "Data": {key: sent}})
        assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, MESSAGE_ID)


def test_a_number_for_an_id_becomes_text(console: CequensSms):
    result = send(console, json={"replyCode": 0, "data": {"SentSMSIDs": [{"SMSId": 77}]}})
    assert result.provider_message_id == "77"


@pytest.mark.parametrize(
    "invalid", ["201000000001", "2010, 2011", ["2010"], [201000000001], [{"number": "2010"}], 2010]
)
@pytest.mark.parametrize("key", ["InvalidRecipients", "invalidRecipients"])
def test_an_invalid_recipient_with_and_without_an_id(console: CequensSms, invalid: Any, key: str):
    data = {"SentSMSIDs": [], key: invalid, "Errors": []}
    result = send(console, json=ACCEPTED | {"data": data})
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.RECIPIENT)
    result = send(console, json=ACCEPTED | {"data": data | {"SentSMSIDs": DATA["SentSMSIDs"]}})
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "partly_accepted")
    assert result.provider_message_id == MESSAGE_ID
    assert "may have been sent" in result.message


@pytest.mark.parametrize("invalid", ["", " ", ",", None, [], [""], [None], {}, 0, True])
def test_no_invalid_recipients(console: CequensSms, invalid: Any):
    result = send(console, json=ACCEPTED | {"data": DATA | {"InvalidRecipients": invalid, "Errors": [{"a": 1}]}})
    assert result.outcome == Outcome.ACCEPTED


def test_an_id_beside_a_refusal_is_no_clear_answer(console: CequensSms):
    result = send(console, json=ACCEPTED | {"replyCode": -17})
    assert (result.outcome, result.reason, result.code) == (Outcome.UNKNOWN, "partly_accepted", "-17")
    assert send(console, json=ACCEPTED | {"replyCode": -17}, status=400).reason == "partly_accepted"


@pytest.mark.parametrize(
    "body",
    [
        {"replyCode": 0},
        {"replyCode": 0, "data": None},
        {"replyCode": 0, "data": {"SentSMSIDs": []}},
        {"replyCode": 0, "data": {"SentSMSIDs": [{}], "Errors": ["why"]}},
        {"replyCode": 0, "data": {"SentSMSIDs": {"SMSId": "1"}}},
        {"replyCode": 0, "data": {"SentSMSIDs": [{"SMSId": {}}, {"SMSId": True}]}},
        {"replyCode": 0, "data": []},
        {"data": DATA},  # no code, no acceptance
        {"replyCode": True, "data": DATA},
        {"replyCode": None, "data": DATA},
        {"requestStatus": {"RequestID": "rq-1"}},
    ],
)
def test_a_success_without_code_or_id_is_unknown(console: CequensSms, body: Any):
    result = send(console, json=body)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")


@pytest.mark.parametrize("status", [301, 400, 404])
def test_an_acceptance_that_its_status_contradicts_is_unknown(console: CequensSms, status: int):
    result = send(console, json=ACCEPTED, status=status)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")


def test_the_twins_request_id_stands_in_only_where_there_are_no_ids_at_all(console: CequensSms):
    twin: dict[str, Any] = {"replyCode": 0, "requestStatus": {"RequestID": "rq-1"}}
    result = send(console, json=twin)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "rq-1")
    assert send(console, json=twin | {"data": DATA}).provider_message_id == MESSAGE_ID
    assert send(console, json=twin | {"data": {"SentSMSIDs": []}}).outcome == Outcome.UNKNOWN
    assert send(console, json=twin | {"errors": [[-12, "No such sender"]]}).outcome == Outcome.UNKNOWN
    assert send(console, json=twin | {"data": {"InvalidRecipients": "2010"}}).fault is Fault.RECIPIENT


# --- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hello", "text"),
        ("{Price}: 5 €", "text"),
        ("ñandú à la Ω", "unicode"),  # ú is not in GSM-7
        ("مرحبا", "unicode"),
        ("Hello 👋", "unicode"),
    ],
)
@responses.activate
def test_the_type_is_chosen_by_the_text(console: CequensSms, text: str, kind: str):
    body = BODY | {"messageText": text, "messageType": kind}
    responses.post(SEND, json=ACCEPTED, match=[json_params_matcher(body)])
    assert console.send(Sms("+201000000001", text), BUDGET).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("0190e3a6-7d32-7000-8000-000000000001", 1),
        ("0190e3a6-7d32-7000-8000-0000ffffffff", 0x7FFFFFFF),
        ("0190E3A67D3270008000000080000002", 2),  # bit 32 would make it negative
        ("0190e3a6-7d32-7000-8000-000080000000", 1),  # 0 is no number of a message
        ("order-7", int(hashlib.sha256(b"order-7").hexdigest()[-8:], 16) & 0x7FFFFFFF),
        ("طلب", int(hashlib.sha256("طلب".encode()).hexdigest()[-8:], 16) & 0x7FFFFFFF),
    ],
)
@responses.activate
def test_the_reference_is_an_integer_of_31_bits(console: CequensSms, reference: str, expected: int):
    responses.post(SEND, json=ACCEPTED, match=[json_params_matcher(BODY | {"clientMessageId": expected})])
    assert console.send(Sms("+201000000001", "Hello", reference=reference), BUDGET).outcome == Outcome.ACCEPTED
    assert 0 < expected < 2**31


def test_a_message_for_later_is_never_sent_now(console: CequensSms):
    later = datetime.now(UTC) + timedelta(hours=1)
    assert not console.can_schedule(later, now=datetime.now(UTC))
    with responses.RequestsMock():  # any call would fail the test
        result = console.send(Sms("+201000000001", "Hello", send_at=later), BUDGET)
    assert result.outcome == Outcome.REJECTED


def test_without_a_sender_nothing_is_sent():
    with responses.RequestsMock():
        result = CequensSms({"access_token": "test-token"}).send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_missing")


@responses.activate
def test_the_settings_may_replace_the_host(exchanged: CequensSms, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {"cequens-sms": "http://127.0.0.1:9/relay/"}
    responses.post("http://127.0.0.1:9/relay/auth/v1/tokens/", json=signed_in())
    responses.post("http://127.0.0.1:9/relay/sms/v1/messages", json=ACCEPTED)
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("base_url", ["https://apis.deewan.sa", "https://apis.deewan.sa/"])
@responses.activate
def test_the_twin_has_its_own_host_and_sign_in(base_url: str):
    responses.post("https://apis.deewan.sa/auth/v1/signin", json=signed_in(), match=[json_params_matcher(ACCOUNT)])
    responses.post("https://apis.deewan.sa/sms/v1/messages", json=ACCEPTED)
    assert CequensSms(WITH_KEY | {"base_url": base_url}).send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


# --- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"replyCode": 0, "data": {"Account": {"Credit": "1250.50"}}}, "1250.50"),
        ({"replycode": "0", "Data": {"account": {"credit": 0}}}, "0"),
        ({"data": {"Account": {"Credit": -3}}}, "-3"),
        ({"replyCode": 0, "data": {"Account": {"Credit": 7}, "SubAccounts": [{"Credit": 10}]}}, "7"),
    ],
)
@responses.activate
def test_a_balance_in_any_spelling(console: CequensSms, body: Any, expected: str):
    responses.get(BALANCE, json=body)
    assert console.balance(BUDGET).amount == Decimal(expected)


@pytest.mark.parametrize(
    "body",
    [
        {"replyCode": 0},
        {"replyCode": 0, "data": {"Account": {"Credit": "much"}}},
        {"replyCode": 0, "data": {"SubAccounts": [{"Credit": 10}]}},
        {"replyCode": -1, "data": {"Account": {"Credit": 5}}},
    ],
)
@responses.activate
def test_no_balance_is_not_a_zero_balance(console: CequensSms, body: Any):
    responses.get(BALANCE, json=body)
    with pytest.raises(ProviderRefused):
        console.balance(BUDGET)


@responses.activate
def test_a_question_renews_the_token_too(exchanged: CequensSms):
    for token in (jwt(1), jwt(2)):
        responses.post(SIGN_IN, json=signed_in(token))
    responses.get(BALANCE, json=EXPIRED, status=401)
    responses.get(BALANCE, json={"replyCode": 0, "data": {"Account": {"Credit": 5}}})
    assert exchanged.balance(BUDGET).amount == 5
    assert bearers(BALANCE) == [jwt(1), jwt(2)]


@responses.activate
def test_a_401_whose_body_names_a_message_is_not_called_again(exchanged: CequensSms):
    responses.post(SIGN_IN, json=signed_in(jwt(1)))
    responses.post(SEND, json=ACCEPTED, status=401)
    result = exchanged.send(HELLO, BUDGET)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "partly_accepted")
    assert [call.request.url for call in responses.calls] == [SIGN_IN, SEND]


@pytest.mark.parametrize("status", [408, 499])
def test_a_proxy_that_gave_up_on_a_sign_in_says_nothing_about_the_key(exchanged: CequensSms, status: int):
    result = fails_to_sign_in(exchanged, body="<html>", status=status)
    assert (result.outcome, result.reason) == (Outcome.UNAVAILABLE, "sign_in_failed")


# --- signing in ----------------------------------------------------------------------------------------------------


def fails_to_sign_in(adapter: CequensSms, **reply: Any) -> Result:
    """Return the same result of a send and of a question whose sign-in is answered so. Nothing else is called."""
    with responses.RequestsMock() as http:
        http.post(SIGN_IN, **reply)
        result = adapter.send(HELLO, BUDGET)
        with pytest.raises(ProviderRefused) as caught:
            adapter.balance(BUDGET)
    asked = caught.value.result
    assert result == replace(asked, message=f"{asked.message} Nothing was sent.")
    json.dumps(result.raw, allow_nan=False)
    return result


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectTimeout(),
        requests.exceptions.SSLError(),
        requests.ReadTimeout(),
        requests.ConnectionError(),
        requests.exceptions.ChunkedEncodingError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_sign_in_without_an_answer_has_sent_nothing(exchanged: CequensSms, error: Exception):
    result = fails_to_sign_in(exchanged, body=error)
    assert (result.outcome, result.fault) == (Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN)
    assert (result.reason, result.raw) == ("sign_in_failed", None)
    assert "Nothing was sent" in result.message


@pytest.mark.parametrize(
    "reply",
    [
        refusal(-1, said="no such user", status=401),
        refusal(-1, said="no such user", status=400),
        refusal(-1, said="no such user", status=200),
        refusal("-1", said="no such user", status=404),
        refusal(-99, said="no such user", status=200),
        refusal(-1, -99, said="no such user", status=200),
    ],
)
def test_a_refused_sign_in_is_a_fault_of_the_account(exchanged: CequensSms, reply: dict[str, Any]):
    result = fails_to_sign_in(exchanged, **reply)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert result.may_fail_over
    assert "no such user" in result.message
    assert (result.http_status, result.raw["error"]["description"]) == (reply["status"], "no such user")


@pytest.mark.parametrize("status", [400, 401, 404])
@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"replyCode": 0}'])
def test_a_sign_in_is_refused_by_status_alone(exchanged: CequensSms, status: int, body: str):
    result = fails_to_sign_in(exchanged, status=status, body=body)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")


def test_a_sign_in_that_is_denied(exchanged: CequensSms):
    result = fails_to_sign_in(exchanged, **refusal(-1, status=403))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "access_denied")


def test_a_throttled_sign_in(exchanged: CequensSms):
    result = fails_to_sign_in(exchanged, **refusal(-1, status=429), headers={"Retry-After": "30"})
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled")
    assert result.retry_after == timedelta(seconds=30)


NO_TOKENS: dict[str, dict[str, Any]] = {
    "fault": {"status": 500},
    "fault with a code": refusal(-1, status=503),
    "redirect": {"status": 307, "headers": {"Location": "https://apis.cequens.com/auth/v1/tokens"}},
    "html": {"body": "<html>"},
    "nothing": {"body": ""},
    "list": {"json": [TOKEN]},
    "no token": {"json": {"replyCode": 0, "data": {}}},
    "no data": {"json": {"replyCode": 0, "data": None}},
    "empty": {"json": signed_in("")},
    "number": {"json": signed_in(7)},
    "object": {"json": signed_in({"a": 1})},
    "no header could carry it": {"json": signed_in("a\r\nX-Injected: 1")},
    "not Latin": {"json": signed_in("رمز")},
    "too long": {"json": signed_in("x" * 100_000)},
    "deep": {"body": '{"data":' * 200 + "1" + "}" * 200},
    "deeper than any parser": {"body": "[" * 100_000},
    "NUL and lone surrogates": {"body": '{"error": {"description": "a\\u0000b\\ud800c"}, "\\ud800": "\\u0000"}'},
}


@pytest.mark.parametrize("reply", NO_TOKENS.values(), ids=NO_TOKENS)
def test_an_answer_without_a_usable_token(exchanged: CequensSms, reply: dict[str, Any]):
    result = fails_to_sign_in(exchanged, **reply)
    assert (result.outcome, result.fault) == (Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN)
    assert (result.reason, result.http_status) == ("sign_in_failed", reply.get("status", 200))
    assert "Nothing was sent" in result.message


@pytest.mark.parametrize(
    "body",
    [signed_in("opaque"), {"data": {"access_token": "opaque"}}, {"ReplyCode": "0", "Data": {"Access_Token": "opaque"}}],
)
@responses.activate
def test_a_token_in_any_spelling_and_of_any_kind(exchanged: CequensSms, body: Any):
    responses.post(SIGN_IN, json=body)
    responses.post(SEND, json=ACCEPTED)
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert bearers() == ["opaque"]


@responses.activate
def test_a_renewal_that_fails_has_sent_nothing(exchanged: CequensSms):
    responses.post(SIGN_IN, json=signed_in())
    responses.post(SIGN_IN, status=503)
    responses.post(SEND, json=EXPIRED, status=401)
    result = exchanged.send(HELLO, BUDGET)
    assert (result.outcome, result.reason) == (Outcome.UNAVAILABLE, "sign_in_failed")
    assert (sign_ins(), len(bearers())) == (2, 1)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (requests.ConnectTimeout(), Outcome.UNAVAILABLE, "connection_failed"),
        (requests.ReadTimeout(), Outcome.UNKNOWN, "read_timeout"),
        (requests.ConnectionError(), Outcome.UNKNOWN, "connection_lost"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
@pytest.mark.parametrize("is_repeat", [False, True])
@responses.activate
def test_once_signed_in_the_send_itself_decides(
    exchanged: CequensSms, error: Exception, outcome: Outcome, reason: str, is_repeat: bool
):
    responses.post(SIGN_IN, json=signed_in())
    if is_repeat:
        responses.post(SEND, json=EXPIRED, status=401)
    responses.post(SEND, body=error)
    result = exchanged.send(HELLO, BUDGET)
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize("status", [400, 403, 429, 500])
@responses.activate
def test_only_a_401_renews(exchanged: CequensSms, status: int):
    responses.post(SIGN_IN, json=signed_in())
    responses.post(SEND, json=EXPIRED, status=status)
    exchanged.send(HELLO, BUDGET)
    assert (sign_ins(), len(bearers())) == (1, 1)


@responses.activate
def test_a_token_of_the_console_goes_before_a_key():
    responses.post(SEND, json=ACCEPTED)
    assert CequensSms(WITH_TOKEN | WITH_KEY).send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert bearers() == ["test-token"]


@responses.activate
def test_accounts_do_not_share_tokens_and_adapters_of_one_account_do(exchanged: CequensSms):
    deewan = {"base_url": "https://apis.deewan.sa"}
    for number, change in enumerate([{}, {"api_key": "other"}, {"username": "other"}, deewan], 1):
        account = CequensSms(WITH_KEY | change)
        path = "/auth/v1/signin" if change is deewan else "/auth/v1/tokens/"
        responses.upsert(responses.POST, account.url(path), json=signed_in(jwt(number)))
        responses.upsert(responses.POST, account.url("/sms/v1/messages"), json=ACCEPTED)
        for _ in range(2):
            assert CequensSms(WITH_KEY | change).send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert bearers() == [jwt(number) for number in (1, 1, 2, 2, 3, 3)]
    assert sign_ins() == 3
    assert "test-key" not in str(list(cequens._sessions))


@responses.activate
def test_the_number_of_kept_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cequens, "MAX_SESSIONS", 2)
    responses.post(SIGN_IN, json=signed_in())
    responses.post(SEND, json=ACCEPTED)
    for user, expected in (("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)):
        CequensSms(WITH_KEY | {"username": user}).send(HELLO, BUDGET)
        assert sign_ins() == expected, user
    assert len(cequens._sessions) == 2


@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        "a.b.c",
        "a.%%%.c",
        "..",
        jwt(),
        jwt(exp=None),
        jwt(exp="soon"),
        jwt(exp=True),
        jwt(exp=[1]),
        "a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c",
        "a." + base64.urlsafe_b64encode(b'{"exp":' * 5000).decode() + ".c",
        "a." + base64.urlsafe_b64encode(b"\xff\xfe").decode() + ".c",
    ],
)
def test_a_token_that_does_not_say_when_it_ends_does_not_end(token: str):
    assert expires_at(token) == float("inf")


@pytest.mark.parametrize("end", [1767400000, "1767400000", 1767400000.0])
@pytest.mark.parametrize("padding", range(4))
def test_when_a_token_ends(end: Any, padding: int):
    assert expires_at(jwt(exp=end, sub="x" * padding)) == ENDS


@responses.activate
def test_a_token_that_is_already_over_is_used_this_once(exchanged: CequensSms, clock: SimpleNamespace):
    """The provider's clock and ours may differ by more than a token lasts."""
    clock.now = ENDS + 86_400
    responses.post(SIGN_IN, json=signed_in(TOKEN))
    responses.post(SEND, json=ACCEPTED)
    for expected in (1, 2):
        assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
        assert (sign_ins(), len(bearers())) == (expected, expected)


# --- time and threads ----------------------------------------------------------------------------------------------


def test_all_calls_of_one_send_share_its_limit(exchanged: CequensSms, monkeypatch: pytest.MonkeyPatch):
    given: list[Budget] = []

    def exchange(request: requests.Request, budget: Budget) -> Reply:
        given.append(budget)
        body, status = (EXPIRED, 401) if request.url == SEND else (signed_in(), 200)
        return Reply(status, {}, json.dumps(body).encode())

    monkeypatch.setattr(base, "exchange", exchange)
    start_by = time.monotonic() + 4
    exchanged.send(HELLO, Budget(timedelta(seconds=5), start_by))
    assert len(given) == 4
    limits = [budget.limit for budget in given]
    assert limits == sorted(limits, reverse=True)
    assert len(set(limits)) == 4
    assert limits[0] <= timedelta(seconds=5)
    assert {budget.start_by for budget in given} == {start_by}


@pytest.mark.parametrize("budget", [Budget(timedelta(seconds=-1)), Budget(timedelta(seconds=5), start_by=0.0)])
def test_without_time_left_nothing_is_called(exchanged: CequensSms, budget: Budget):
    with responses.RequestsMock():
        result = exchanged.send(HELLO, budget)
    assert (result.outcome, result.reason) == (Outcome.UNAVAILABLE, "no_time_left")


@pytest.mark.parametrize("is_limited_by_its_start", [False, True])
def test_nobody_waits_for_another_sign_in_longer_than_the_call_may_last(
    exchanged: CequensSms, is_limited_by_its_start: bool
):
    session = exchanged._session()
    assert session is not None
    soon = time.monotonic() + 0.05
    budget = (
        Budget(timedelta(seconds=60), start_by=soon) if is_limited_by_its_start else Budget(timedelta(seconds=0.05))
    )
    with session.lock, responses.RequestsMock():
        result = exchanged.send(HELLO, budget)
    reason = "no_time_left" if is_limited_by_its_start else "sign_in_failed"
    assert (result.outcome, result.reason) == (Outcome.UNAVAILABLE, reason)
    assert time.monotonic() - soon < 5


@responses.activate
def test_a_sign_in_that_fails_lets_the_next_one_try(exchanged: CequensSms):
    responses.post(SIGN_IN, body=requests.ReadTimeout())
    responses.post(SIGN_IN, json=signed_in())
    responses.post(SEND, json=ACCEPTED)
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.UNAVAILABLE
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


@responses.activate
def test_a_token_that_another_thread_has_renewed_meanwhile_is_taken(exchanged: CequensSms):
    responses.post(SIGN_IN, json=signed_in(jwt(1)))
    session = exchanged._session()
    assert session is not None

    def renewed_meanwhile(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if request.headers["Authorization"] == f"Bearer {jwt(2)}":
            return 200, {}, json.dumps(ACCEPTED)
        session.keep(jwt(2))
        return 401, {}, json.dumps(EXPIRED)

    responses.add_callback(responses.POST, SEND, renewed_meanwhile)
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert (sign_ins(), bearers()) == (1, [jwt(1), jwt(2)])


# --- secrets -------------------------------------------------------------------------------------------------------


@responses.activate
def test_an_exchanged_token_is_a_secret(exchanged: CequensSms, caplog: pytest.LogCaptureFixture):
    """What the contract tests for a token of the console holds for exchanged ones, also while they are renewed."""
    responses.post(SIGN_IN, json=signed_in(jwt(1, exp=4e9)))
    responses.post(SEND, json=ACCEPTED)
    exchanged.send(HELLO, BUDGET)
    secrets = exchanged.secrets()
    assert {"test-key", jwt(1, exp=4e9)} <= set(secrets)
    with caplog.at_level("DEBUG"):
        for secret in secrets:
            for reply in (
                {
                    "json": {
                        "replyCode": -99,
                        "replyMessage": secret,
                        "error": {"description": secret},
                        secret: [secret],
                    }
                },
                {"json": {"replyCode": secret, "data": {"SentSMSIDs": [{"SMSId": secret}]}}},
                {"json": {"replyCode": 0, "data": {"SentSMSIDs": [{"SMSId": secret}]}}},
                {"body": f"<b>{secret}</b>"},
            ):
                for status in (200, 400, 401, 429, 500):
                    for url in (SIGN_IN, SEND, BALANCE):  # a 401 makes it sign in, and the answer there is the same
                        responses.upsert(
                            responses.GET if url == BALANCE else responses.POST, url, **reply, status=status
                        )
                    assert secret not in repr(exchanged.send(HELLO, BUDGET))
                    with pytest.raises(ProviderRefused) as caught:
                        exchanged.balance(BUDGET)
                    assert secret not in repr(caught.value.result)
    for secret in secrets:
        assert secret not in caplog.text


@responses.activate
def test_a_renewed_token_is_still_masked(exchanged: CequensSms):
    for number in (1, 2):
        responses.post(SIGN_IN, json=signed_in(jwt(number)))
    responses.post(SEND, json=EXPIRED, status=401)
    responses.post(SEND, **refusal(-99, said=f"first {jwt(1)}, then {jwt(2)}"))
    result = exchanged.send(HELLO, BUDGET)
    assert "first •••, then •••" in result.message
    assert result.raw["error"]["description"] == "first •••, then •••"


SECRET = "eyJzZWNyZXQi.eyJzZWNyZXQi."


@pytest.mark.parametrize(
    "reply",
    [
        {"json": signed_in(SECRET) | {"replyCode": -1}},
        {"json": {"replyCode": 0, "data": {"token": SECRET}}},
        {"json": {"replyCode": 0, "access_token": SECRET}},
        {"json": signed_in(f"{SECRET} {SECRET}")},
        {"json": signed_in([SECRET])},
        {"json": SECRET},
        {"body": SECRET},
        {"body": json.dumps(signed_in(SECRET))[:-10]},
        {"body": json.dumps(signed_in(SECRET)) + " " * 2_000_000},
    ],
)
def test_a_token_that_we_could_not_take_is_not_kept(
    exchanged: CequensSms, reply: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("DEBUG"):
        result = fails_to_sign_in(exchanged, **reply)
    assert result.outcome in (Outcome.REJECTED, Outcome.UNAVAILABLE)
    assert "eyJ" not in repr(result)
    assert "eyJ" not in caplog.text


def test_an_echoed_token_of_the_console_is_masked(console: CequensSms):
    result = send(console, **refusal(-99, said="no test-token!"))
    assert "no •••!" in result.message


# --- credentials ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        WITH_TOKEN,
        WITH_KEY,
        WITH_TOKEN | WITH_KEY,
        WITH_TOKEN | {"username": "test-user"},
        {"access_token": "test-token"},
        WITH_KEY | {"username": "شركة", "sender_name": "متجري"},
        WITH_KEY | {"base_url": "https://apis.cequens.com"},
        WITH_KEY | {"base_url": "https://apis.deewan.sa/"},
    ],
)
def test_good_credentials(given: dict[str, str]):
    assert CequensSms.clean_credentials(given) == (given, {})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "access_token"),
        ({"sender_name": "MyBrand"}, "access_token"),
        ({"access_token": "", "api_key": "", "username": ""}, "access_token"),
        ({"api_key": "test-key"}, "username"),
        ({"username": "test-user"}, "api_key"),
        ({"access_token": "Bearer test-token"}, "access_token"),
        (WITH_KEY | {"api_key": "with space"}, "api_key"),
        (WITH_KEY | {"base_url": "http://apis.cequens.com"}, "base_url"),
        (WITH_KEY | {"base_url": "https://api.cequens.com"}, "base_url"),
        (WITH_KEY | {"base_url": "https://apisxcequens.com"}, "base_url"),
        (WITH_KEY | {"base_url": "https://apis.deewan.com"}, "base_url"),
        (WITH_KEY | {"base_url": "https://apis.deewan.sa:8443"}, "base_url"),
        (WITH_KEY | {"base_url": "https://apis.deewan.sa@evil.example"}, "base_url"),
        (WITH_KEY | {"base_url": "https://apis.deewan.sa//"}, "base_url"),
    ],
)
def test_bad_credentials(given: dict[str, str], field: str):
    assert set(CequensSms.clean_credentials(given)[1]) == {field}


@pytest.mark.parametrize("given", [{}, {"api_key": "test-key"}, {"username": "test-user"}])
def test_half_of_the_credentials_send_and_ask_nothing(given: dict[str, str]):
    stored = CequensSms(given, default_sender="Shop")  # as an app from before a change may have them
    with responses.RequestsMock():
        result = stored.send(HELLO, BUDGET)
        with pytest.raises(ProviderRefused):
            stored.balance(BUDGET)
    assert (result.outcome, result.reason) == (Outcome.REJECTED, "request_not_built")
    assert stored.secrets() == CequensSms(given).secrets()


# --- the local gateway ---------------------------------------------------------------------------------------------


def provider_of(gateway: Gateway) -> Cequens:
    provider = gateway.providers["cequens-sms"]
    assert isinstance(provider, Cequens)
    return provider


@pytest.mark.parametrize("credentials", [WITH_TOKEN, WITH_KEY], ids=["token", "key"])
def test_the_gateway_takes_an_arabic_text_with_joined_emoji(gateway: Gateway, credentials: dict[str, str]):
    text = "مرحبا 👨‍👩‍👧‍👦 أهلاً & سهلاً"
    sms = Sms("+201000000001", text, reference="0190e3a6-7d32-7000-8000-000000001001")
    result = CequensSms(credentials).send(sms, BUDGET)
    assert result.outcome == Outcome.ACCEPTED
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.sender) == ("+201000000001", text, "MyBrand")
    assert (entry.is_accepted, entry.provider_id) == (True, result.provider_message_id)
    assert entry.fields["clientMessageId"] == result.raw["clientRequestId"] == 0x1001


@pytest.mark.parametrize(
    ("sms", "code", "fault"),
    [
        (Sms("+201000000001", "Hello", sender_id="Nobody"), "-12", Fault.SENDER),
        (Sms("+96650000", "Hello"), "-6", Fault.RECIPIENT),
        (Sms("+201000000001", ""), "-9", Fault.CONTENT),
        (Sms("+201000000001", "x" * 3061), "-41", Fault.CONTENT),
    ],
)
def test_the_gateway_refuses_by_code(console: CequensSms, gateway: Gateway, sms: Sms, code: str, fault: Fault):
    result = console.send(sms, BUDGET)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, fault, code)
    assert gateway.journal.numbers() == []


def test_the_gateway_answers_as_scripted(exchanged: CequensSms, gateway: Gateway):
    gateway.script("cequens-sms", refuse(-17), times=1)
    assert exchanged.send(HELLO, BUDGET).fault is Fault.BALANCE
    gateway.script("cequens-sms", throttle(retry_after=7), times=1)
    assert exchanged.send(HELLO, BUDGET).retry_after == timedelta(seconds=7)
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert provider_of(gateway).sign_ins == 1


@pytest.mark.parametrize(
    "given", [WITH_TOKEN | {"access_token": "wrong"}, WITH_KEY | {"api_key": "wrong"}, WITH_KEY | {"username": "wrong"}]
)
def test_the_gateway_knows_wrong_credentials(gateway: Gateway, given: dict[str, str]):
    stranger = CequensSms(given)
    assert stranger.send(HELLO, BUDGET).reason == "bad_credentials"
    with pytest.raises(ProviderRefused) as caught:
        stranger.balance(BUDGET)
    assert caught.value.result.reason == "bad_credentials"
    assert gateway.journal.numbers() == []


@pytest.mark.parametrize("credentials", [WITH_TOKEN, WITH_KEY], ids=["token", "key"])
def test_the_gateway_tells_the_balance(gateway: Gateway, credentials: dict[str, str]):
    assert CequensSms(credentials).balance(BUDGET).amount == Decimal("1250.5")


@pytest.mark.parametrize("path", ["/auth/v1/tokens/", "/auth/v1/tokens", "/auth/v1/signin"])
def test_the_gateway_signs_in_at_every_path(gateway: Gateway, path: str):
    reply = requests.post(gateway.base_urls["cequens-sms"] + path, json=ACCOUNT, timeout=10)
    ends = expires_at(reply.json()["data"]["access_token"])
    assert 3500 < ends - time.time() < 3700


def test_the_gateway_checks_the_request_itself(gateway: Gateway):
    def post(**change: Any) -> dict[str, Any]:
        body = {name: value for name, value in {**BODY, **change}.items() if value is not None}
        headers = {"Authorization": "Bearer test-token"}
        return requests.post(
            gateway.base_urls["cequens-sms"] + "/sms/v1/messages", json=body, headers=headers, timeout=10
        ).json()

    assert post(recipients=["201000000001"])["replyCode"] == -6
    assert post(recipients="+201000000001")["replyCode"] == -6
    assert post(messageType=None)["replyCode"] == -8
    assert post(messageText="مرحبا")["replyCode"] == -8
    assert post(clientMessageId="0190e3a6")["replyCode"] == -1
    assert post(clientMessageId=2**31)["replyCode"] == -1
    assert gateway.journal.numbers() == []
    assert post(messageText="{5 €}", recipients="201000000001,2010")["data"]["InvalidRecipients"] == "2010"


def test_the_gateway_takes_a_token_back_and_it_is_renewed(exchanged: CequensSms, gateway: Gateway):
    provider = provider_of(gateway)
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    provider.tokens.clear()
    assert exchanged.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert provider.sign_ins == 2
    outcomes = [entry.outcome for entry in gateway.journal.entries]
    assert outcomes == ["accepted", "unauthorized", "accepted"]
    assert len(gateway.journal.numbers()) == 2


def test_the_gateway_is_signed_in_to_once_by_many_threads(gateway: Gateway):
    provider, barrier = provider_of(gateway), threading.Barrier(16)

    def send_one(turn: int) -> Outcome:
        barrier.wait(10)
        return CequensSms(WITH_KEY).send(Sms(f"+2010000000{turn:02d}", "Hello"), BUDGET).outcome

    with ThreadPoolExecutor(16) as pool:
        for expected in (1, 2):
            assert set(pool.map(send_one, range(16))) == {Outcome.ACCEPTED}
            assert provider.sign_ins == expected
            provider.tokens.clear()
    assert len(gateway.journal.numbers()) == 32
