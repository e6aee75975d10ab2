"""Msegat: the vectors of its contract, its two families of codes in every form, and a balance that may be a code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses
from responses.matchers import header_matcher, json_params_matcher, urlencoded_params_matcher

from sms_providers.adapters.base import ProviderRefused, Sms
from sms_providers.adapters.msegat import ERRORS, MsegatSms
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway import Gateway, refuse, throttle

SEND = "https://www.msegat.com/gw/sendsms.php"
BALANCE = "https://www.msegat.com/gw/Credits.php"
SENDERS = "https://www.msegat.com/gw/senders.php"
CREDENTIALS = {"user_name": "demo", "api_key": "test-key", "user_sender": "MyBrand"}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+966500000001", "Hello")
ACCOUNT = {"userName": "demo", "apiKey": "test-key", "msgEncoding": "UTF8"}
BODY = {
    "userName": "demo",
    "apiKey": "test-key",
    "numbers": "966500000001",
    "userSender": "MyBrand",
    "msg": "Hello",
    "msgEncoding": "UTF8",
    "timeToSend": "now",
    "reqBulkId": "true",
    "reqFilter": "true",
}
IS_JSON = header_matcher({"Content-Type": "application/json"})
IS_FORM = header_matcher({"Content-Type": "application/x-www-form-urlencoded"})


@pytest.fixture
def msegat() -> MsegatSms:
    return MsegatSms(CREDENTIALS)


def send(msegat: MsegatSms, sms: Sms = HELLO, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return msegat.send(sms, BUDGET)


def bare(text: str, **how: Any) -> dict[str, Any]:
    return {"body": text, "content_type": "text/html", **how}


def refusal_of(msegat: MsegatSms, question: str, **reply: Any) -> Result:
    """Ask and return how the question was refused."""
    with responses.RequestsMock() as http:
        http.post({"balance": BALANCE, "sender_names": SENDERS}[question], **reply)
        with pytest.raises(ProviderRefused) as caught:
            getattr(msegat, question)(BUDGET)
    return caught.value.result


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_recipient_accepted(msegat: MsegatSms):
    body = {"code": "1", "message": "Success", "bulk_id": "700000001"}
    responses.post(SEND, json=body, match=[json_params_matcher(BODY), IS_JSON])
    result = msegat.send(HELLO, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "700000001")
    assert (result.fault, result.reason, result.cost, result.segment_count) == (None, "", None, None)
    assert (result.raw, result.http_status) == (body, 200)


@pytest.mark.parametrize(
    ("reply", "message_id"),
    [
        ({"json": {"code": "1-700000002", "message": "Success"}}, "700000002"),
        ({"json": {"code": 1, "message": "Success"}}, ""),
        (bare("M0000"), ""),
    ],
)
def test_vector_2_glued_id_integer_code_and_bare_code(msegat: MsegatSms, reply: dict[str, Any], message_id: str):
    result = send(msegat, **reply)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, message_id)


@pytest.mark.parametrize(
    ("reply", "code"), [({"json": {"code": "M0002", "message": "Invalid login info"}}, "M0002"), (bare("1020"), "1020")]
)
def test_vector_3_wrong_credentials(msegat: MsegatSms, reply: dict[str, Any], code: str):
    result = send(msegat, **reply)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert result.code == code


def test_vector_4_no_balance(msegat: MsegatSms):
    body = {"code": "1060", "message": "Balance is not enough"}
    result = send(msegat, json=body)
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.BALANCE)
    assert (result.reason, result.code, result.raw) == ("insufficient_provider_balance", "1060", body)


def test_vector_5_sender_wrong(msegat: MsegatSms):
    result = send(msegat, json={"code": "1110", "message": "Sender name is missing or incorrect"})
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_not_accepted")


def test_vector_5_number_wrong(msegat: MsegatSms):
    result = send(msegat, json={"code": "1120", "message": "Mobile number is not correct"})
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")


@responses.activate
def test_vector_6_balance(msegat: MsegatSms):
    responses.post(BALANCE, **bare("272.6"), match=[urlencoded_params_matcher(ACCOUNT), IS_FORM])
    left = msegat.balance(BUDGET)
    assert (left.amount, left.unit, left.currency) == (Decimal("272.6"), "points", "")
    assert responses.calls[0].request.body == "userName=demo&apiKey=test-key&msgEncoding=UTF8"


def test_vector_6_balance_with_wrong_credentials(msegat: MsegatSms):
    result = refusal_of(msegat, "balance", **bare("M0002"))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")


@responses.activate
def test_vector_7_senders(msegat: MsegatSms):
    senders = [{"SenderID": "MyBrand", "Status": "Activated"}, {"SenderID": "OldName", "Status": "Refused"}]
    responses.post(SENDERS, json=senders, match=[json_params_matcher(ACCOUNT), IS_JSON])
    assert msegat.sender_names(BUDGET) == ["MyBrand"]


def test_vector_8_personalised_and_scheduled(msegat: MsegatSms):
    """Only the answer is ours: we send one finished text per call, so `sendVars.php` is not used, and hold messages
    for later ourselves, so neither is the provider's scheduling with its Saudi clock.
    """
    result = send(msegat, json={"code": "1", "message": "Success", "bulk_id": "700000003"})
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "700000003")


# --- accepted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        ({"code": "1", "message": "Success"}, ""),
        ({"code": "M0000", "message": "Success"}, ""),
        ({"code": "1", "message": "Success", "id": "123456789"}, "123456789"),
        ({"code": "1", "id": 123456789}, "123456789"),
        ({"code": 1, "bulk_id": 123456789}, "123456789"),
        ({"code": "M0000-123456789"}, "123456789"),
        ({"code": "1-12-34"}, "12-34"),  # the first hyphen counts
        ({"code": "1-"}, ""),
        ({"code": " 1 "}, ""),
        ({"code": "m0000"}, ""),
        ({"code": "1-333", "bulk_id": "111", "id": "222"}, "111"),
        ({"code": "1-333", "bulk_id": "", "id": "222"}, "222"),
        ({"code": "1-333", "bulk_id": None, "id": {}}, "333"),
        ({"code": "1", "bulk_id": False, "message": ["Success"]}, ""),
    ],
)
def test_every_shape_of_an_acceptance(msegat: MsegatSms, body: dict[str, Any], message_id: str):
    result = send(msegat, json=body)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, message_id)


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        ("1", ""),
        (" 1\r\n", ""),
        ('"1"', ""),
        ("M0000", ""),
        ('"M0000"', ""),
        ("\ufeff1", ""),
        ("1-700000002", "700000002"),
    ],
)
def test_a_bare_acceptance(msegat: MsegatSms, body: str, message_id: str):
    result = send(msegat, **bare(body))
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, message_id)


@pytest.mark.parametrize("status", [302, 400, 404])
@pytest.mark.parametrize("code", ["1", "M0000", "1-700000002"])
def test_a_status_that_contradicts_the_acceptance_is_unknown(msegat: MsegatSms, status: int, code: str):
    result = send(msegat, json={"code": code, "message": "Success"}, status=status)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")


# --- codes ---------------------------------------------------------------------------------------------------------

FAULTS = {
    Fault.AUTH: ["1020", "M0002", "M0037"],
    Fault.BALANCE: ["1060"],
    Fault.SENDER: [
        "1110", "M0022", "M0023", "M0024", "M0025", "M0026", "M0027", "M0028", "M0029", "M0030", "M0031", "M0032",
        "M0033", "M0036",
    ],
    Fault.RECIPIENT: ["1120", "M0008"],
    Fault.CONTENT: ["1050", "1061", "1064", "1140", "M0090"],
    Fault.OTHER: ["1010", "M0001", "M0034"],
}  # fmt: skip
CODES = [(code, fault) for fault, codes in FAULTS.items() for code in codes]
REASONS = {
    "1010": "invalid_request",
    "1020": "bad_credentials",
    "1050": "empty_text",
    "1060": "insufficient_provider_balance",
    "1061": "duplicate_message",
    "1064": "content_refused",
    "1110": "sender_not_accepted",
    "1120": "invalid_recipient",
    "1140": "text_too_long",
    "M0001": "invalid_request",
    "M0002": "bad_credentials",
    "M0008": "invalid_recipient",
    "M0022": "sender_not_registered",
    "M0023": "sender_not_registered",
    "M0024": "sender_not_accepted",
    "M0025": "sender_not_accepted",
    "M0026": "sender_not_registered",
    "M0027": "sender_not_registered",
    "M0028": "sender_not_registered",
    "M0029": "sender_not_accepted",
    "M0030": "sender_not_accepted",
    "M0031": "sender_not_registered",
    "M0032": "sender_not_registered",
    "M0033": "sender_not_registered",
    "M0034": "invalid_request",
    "M0036": "sender_not_registered",
    "M0037": "access_denied",
    "M0090": "template_not_approved",
}


def test_the_table_has_every_documented_code_and_no_other():
    assert {code: meaning.fault for code, meaning in ERRORS.items()} == dict(CODES)


@pytest.mark.parametrize(("code", "fault"), CODES)
@pytest.mark.parametrize("form", ["text", "glued", "bare", "bare glued", "bare text of JSON", "number", "HTTP 400"])
def test_every_code(msegat: MsegatSms, code: str, fault: Fault, form: str):
    reply: dict[str, Any] = {
        "text": {"json": {"code": code, "message": "No"}},
        "glued": {"json": {"code": f"{code}-700000009"}},
        "bare": bare(code),
        "bare glued": bare(f"{code}-700000009"),
        "bare text of JSON": bare(f'"{code}"\n'),
        "number": {"json": {"code": int(code) if code.isdigit() else code.lower()}},
        "HTTP 400": {"json": {"code": code}, "status": 400},
    }[form]
    result = send(msegat, **reply)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, fault, code)
    assert result.reason == REASONS[code]


@pytest.mark.parametrize("code", [9999, "9999", "M0777", "M1", "2"])
def test_an_unlisted_code_is_a_refusal_with_the_providers_words(msegat: MsegatSms, code: Any):
    result = send(msegat, json={"code": code, "message": "moon phase"})
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert result.code == str(code)
    assert "moon phase" in result.message
    assert result.raw == {"code": code, "message": "moon phase"}


def test_of_bare_ones_only_what_begins_with_m_is_a_code_for_certain(msegat: MsegatSms):
    result = send(msegat, **bare("M0777"))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert result.raw["raw"] == "M0777"
    assert send(msegat, **bare("9999")).reason == "unreadable_answer"  # it may as well be an id


@pytest.mark.parametrize(
    "reply",
    [
        {"json": {"code": "9999-700000001", "message": "moon phase"}},
        {"json": {"code": "200", "message": "Success", "bulk_id": "700000001"}},
        {"json": {"code": 9999, "id": 700000001}},
        bare("9999-700000001"),
        bare("M0777-700000001"),
    ],
)
def test_an_unlisted_code_beside_an_id_is_no_clear_no(msegat: MsegatSms, reply: dict[str, Any]):
    result = send(msegat, **reply)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "partly_accepted")
    assert result.provider_message_id == "700000001"


@pytest.mark.parametrize(
    "body",
    [
        {"code": "Success"},
        {"code": "ERR1"},
        {"code": "M"},
        {"code": "-1"},
        {"code": "1.5"},
        {"code": 1.0},
        {"code": True},
        {"code": None},
        {"code": ["1"]},
        {"code": "1 sent"},
        {"code": "1-7 sent"},
        {"code": ""},
        {"message": "Success", "bulk_id": "700000001"},
        {"status": "success", "data": {"code": "1"}},
        [{"code": "1", "message": "Success"}],
        ["1"],
        "Success",
        "",
        700000001,  # a bulk id alone is no code
        1.0,
        -1,
        True,
        None,
    ],
)
def test_an_answer_without_a_code_is_unknown(msegat: MsegatSms, body: Any):
    result = send(msegat, body=json.dumps(body), content_type="application/json")
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNKNOWN, Fault.OTHER, "unreadable_answer")


@pytest.mark.parametrize("body", ["Success", "1 Success", "M0000 Success", "code: 1", "1\n1", "<p>1</p>", "", "\u0661"])
def test_a_bare_text_that_is_no_code_is_unknown(msegat: MsegatSms, body: str):
    result = send(msegat, **bare(body))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")


@pytest.mark.parametrize(
    ("status", "outcome", "fault", "reason"),
    [
        (429, Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled"),
        (401, Outcome.REJECTED, Fault.AUTH, "bad_credentials"),
        (403, Outcome.REJECTED, Fault.AUTH, "access_denied"),
        (500, Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
        (502, Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
        (503, Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
        (504, Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
    ],
)
@pytest.mark.parametrize("code", ["1060", "1120", "9999"])
def test_these_statuses_count_before_any_code(
    msegat: MsegatSms, status: int, outcome: Outcome, fault: Fault, reason: str, code: str
):
    for reply in ({"json": {"code": code}}, bare(code)):
        result = send(msegat, **reply, status=status)
        assert (result.outcome, result.fault, result.reason, result.code) == (outcome, fault, reason, code)


def test_retry_after_is_honoured(msegat: MsegatSms):
    assert send(msegat, status=429, headers={"Retry-After": "30"}).retry_after == timedelta(seconds=30)


# --- requests ------------------------------------------------------------------------------------------------------


@responses.activate
def test_an_arabic_round_trip(msegat: MsegatSms):
    text = "مرحبًا 👋 ١٢٣ {name} + & ="
    reply = {"code": "M0777", "message": f"refused: {text}"}
    responses.post(SEND, json=reply, match=[json_params_matcher(BODY | {"msg": text})])
    result = msegat.send(Sms("+966500000001", text), BUDGET)
    assert text in result.message
    assert result.raw == reply


@pytest.mark.parametrize(
    ("sender", "sent"), [("+966500000009", "966500000009"), ("966500000009", "966500000009"), ("+Brand", "+Brand")]
)
@responses.activate
def test_a_sender_that_is_a_number_goes_out_as_digits(msegat: MsegatSms, sender: str, sent: str):
    responses.post(SEND, json={"code": "1"}, match=[json_params_matcher(BODY | {"userSender": sent})])
    assert msegat.send(Sms("+966500000001", "Hello", sender_id=sender), BUDGET).outcome == Outcome.ACCEPTED


@responses.activate
def test_the_free_test_sender_may_be_used(msegat: MsegatSms):
    body = BODY | {"userSender": "auth-mseg", "msg": "رمز التحقق: 1234"}
    responses.post(SEND, json={"code": "1"}, match=[json_params_matcher(body)])
    sms = Sms("+966500000001", "رمز التحقق: 1234", sender_id="auth-mseg")
    assert msegat.send(sms, BUDGET).outcome == Outcome.ACCEPTED


def test_without_a_sender_nothing_is_sent():
    account = {"user_name": "demo", "api_key": "test-key"}
    with responses.RequestsMock():  # any call would fail the test
        result = MsegatSms(account).send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_missing")
    assert MsegatSms(account, default_sender="Shop").sender_for(HELLO) == "Shop"


def test_a_message_for_later_is_never_sent_now(msegat: MsegatSms):
    later = datetime.now(UTC) + timedelta(hours=1)
    assert not msegat.can_schedule(later, now=datetime.now(UTC))
    with responses.RequestsMock():
        result = msegat.send(Sms("+966500000001", "Hello", send_at=later), BUDGET)
    assert result.outcome == Outcome.REJECTED


# --- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "amount"),
    [
        ("3042.00", "3042"),
        ("5010", "5010"),
        (" 272.6\r\n", "272.6"),
        ('"272.6"', "272.6"),
        ("\ufeff272.6", "272.6"),
        ("0", "0"),
        ("-3.5", "-3.5"),
        ("1", "1"),
        ("1060", "1060"),  # a code when a send is answered, but nobody reads a balance so
        ("1010.00", "1010"),
        ("1020.0", "1020"),
    ],
)
@responses.activate
def test_a_balance(msegat: MsegatSms, body: str, amount: str):
    responses.post(BALANCE, **bare(body))
    assert msegat.balance(BUDGET).amount == Decimal(amount)


@pytest.mark.parametrize("code", ["1010", "1020"])
@pytest.mark.parametrize("form", ["{}", " {}\n", '"{}"'])
def test_a_balance_that_is_a_code_as_well_is_uncertain(msegat: MsegatSms, code: str, form: str):
    result = refusal_of(msegat, "balance", **bare(form.format(code)))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")
    assert "balance is uncertain" in result.message
    assert f"{code} points" in result.message
    assert "sent" not in result.message


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (bare("M0001"), Fault.OTHER),
        (bare("M0777"), Fault.OTHER),
        ({"json": {"code": "M0002", "message": "Invalid login info"}}, Fault.AUTH),
        ({"json": {"code": 1020}}, Fault.AUTH),  # in an object it is a code for certain
        ({"json": {"code": "M0037"}}, Fault.AUTH),
        (bare("1020", status=401), Fault.AUTH),
    ],
)
def test_a_balance_that_is_refused(msegat: MsegatSms, reply: dict[str, Any], fault: Fault):
    result = refusal_of(msegat, "balance", **reply)
    assert (result.outcome, result.fault) == (Outcome.REJECTED, fault)


@pytest.mark.parametrize(
    "body", ["", "much", "3,9", "3042 points", "NaN", '{"balance": 5}', '{"code": "1"}', "M0000", "[5]", "true", "null"]
)
def test_no_balance_is_not_a_zero_balance(msegat: MsegatSms, body: str):
    result = refusal_of(msegat, "balance", **bare(body))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")


def test_a_number_under_a_failure_is_no_balance(msegat: MsegatSms):
    for status in (302, 400, 404, 500):
        assert refusal_of(msegat, "balance", **bare("272.6", status=status)).http_status == status


@pytest.mark.parametrize("reply", [{"json": {"code": "M0036", "message": "No senders"}}, bare("M0036"), {"json": []}])
@responses.activate
def test_an_account_without_sender_names_has_an_empty_list(msegat: MsegatSms, reply: dict[str, Any]):
    responses.post(SENDERS, **reply)
    assert msegat.sender_names(BUDGET) == []


@responses.activate
def test_odd_items_among_the_sender_names(msegat: MsegatSms):
    items = [
        {"SenderID": "MyBrand", "Status": "ACTIVATED"},
        {"SenderID": " MyBrand-AD ", "Status": " activated "},
        {"SenderID": 966500000009, "Status": "Activated"},
        {"SenderID": "Waiting", "Status": "Waiting"},
        {"SenderID": "Off", "Status": "Deactivated"},
        {"SenderID": "Bare"},
        {"SenderID": "Null", "Status": None},
        {"SenderID": None, "Status": "Activated"},
        {"Status": "Activated"},
        "Plain",
        None,
        7,
    ]
    responses.post(SENDERS, json=items)
    assert msegat.sender_names(BUDGET) == ["MyBrand", "MyBrand-AD", "966500000009"]


@pytest.mark.parametrize(
    "body", [{}, {"SenderID": "MyBrand", "Status": "Activated"}, ["MyBrand"], [{"name": "MyBrand"}]]
)
def test_no_list_is_not_an_empty_list(msegat: MsegatSms, body: Any):
    result = refusal_of(msegat, "sender_names", json=body)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "unreadable_answer")


@pytest.mark.parametrize("reply", [{"json": {"code": "M0002", "message": "Invalid login info"}}, bare("1020")])
def test_wrong_credentials_on_the_sender_names(msegat: MsegatSms, reply: dict[str, Any]):
    result = refusal_of(msegat, "sender_names", **reply)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert "sent" not in result.message


# --- the rest ------------------------------------------------------------------------------------------------------


def test_an_echoed_key_is_masked_everywhere(caplog: pytest.LogCaptureFixture):
    secret = 'k/e+y"1"&'
    msegat = MsegatSms(CREDENTIALS | {"api_key": secret})
    with caplog.at_level("DEBUG"):
        known = send(msegat, json={"code": "M0777", "message": f"bad {secret} and k%2Fe%2By%221%22%26"})
        text = send(msegat, body=f"<p>{secret}</p><i>k/e+y&quot;1&quot;&amp;</i>", status=400)
        as_id = send(msegat, json={"code": "1", "bulk_id": secret})
    for shown in (repr(known), repr(text), repr(as_id), caplog.text):
        assert "k/e+y" not in shown
        assert "k%2" not in shown
    assert known.message.count("•••") == 2
    assert text.raw["raw"].count("•••") == 2


@pytest.mark.parametrize("sender", ["MyBrand", "MyBrand-AD", "auth-mseg", "OTP", "966500000009", "+966500000009"])
def test_good_credentials(sender: str):
    given = CREDENTIALS | {"user_sender": sender}
    assert MsegatSms.clean_credentials(given) == (given, {})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_name": ""}, "user_name"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "with space"}, "api_key"),
        ({"api_key": "مفتاح"}, "api_key"),
        ({"user_sender": "A name that is too long"}, "user_sender"),
        ({"user_sender": "متجري"}, "user_sender"),
        ({"user_password": "secret"}, "user_password"),
    ],
)
def test_bad_credentials(change: dict[str, str], field: str):
    _, wrong = MsegatSms.clean_credentials(CREDENTIALS | change)
    assert set(wrong) == {field}


def test_the_sender_name_may_be_left_out():
    account = {"user_name": "demo", "api_key": "test-key"}
    assert MsegatSms.clean_credentials(account) == (account, {})


# --- the gateway ---------------------------------------------------------------------------------------------------


def test_the_gateway_takes_an_arabic_text_with_joined_emoji(msegat: MsegatSms, gateway: Gateway):
    text = "مرحبا 👨‍👩‍👧‍👦 أهلاً & سهلاً"
    result = msegat.send(Sms("+966500000001", text), BUDGET)
    assert result.outcome == Outcome.ACCEPTED
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.sender) == ("+966500000001", text, "MyBrand")
    assert (entry.is_accepted, entry.provider_id, entry.scheduled) == (True, result.provider_message_id, "")


@pytest.mark.parametrize(
    ("sms", "code", "fault"),
    [
        (Sms("+966500000001", "Hello", sender_id="Nobody"), "1110", Fault.SENDER),
        (Sms("+96650000", "Hello"), "1120", Fault.RECIPIENT),
        (Sms("+966500000001", ""), "1050", Fault.CONTENT),
        (Sms("+966500000001", "Hello", sender_id="auth-mseg"), "1064", Fault.CONTENT),
    ],
)
def test_the_gateway_refuses_by_code(msegat: MsegatSms, gateway: Gateway, sms: Sms, code: str, fault: Fault):
    result = msegat.send(sms, BUDGET)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, fault, code)
    assert gateway.journal.numbers() == []


def test_the_gateway_answers_as_scripted(msegat: MsegatSms, gateway: Gateway):
    gateway.script("msegat-sms", refuse(1060), times=1)
    assert msegat.send(HELLO, BUDGET).fault is Fault.BALANCE
    gateway.script("msegat-sms", throttle(retry_after=7), times=1)
    assert msegat.send(HELLO, BUDGET).retry_after == timedelta(seconds=7)
    assert msegat.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


def test_the_gateway_takes_the_free_sender_with_its_own_texts(msegat: MsegatSms, gateway: Gateway):
    sms = Sms("+966500000001", "رمز التحقق: 1234", sender_id="auth-mseg")
    assert msegat.send(sms, BUDGET).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("change", [{"api_key": "wrong"}, {"user_name": "wrong"}])
def test_the_gateway_knows_wrong_credentials(gateway: Gateway, change: dict[str, str]):
    stranger = MsegatSms(CREDENTIALS | change)
    assert stranger.send(HELLO, BUDGET).reason == "bad_credentials"
    for question in (stranger.balance, stranger.sender_names):
        with pytest.raises(ProviderRefused) as caught:
            question(BUDGET)
        assert caught.value.result.reason == "bad_credentials"
    assert {entry.outcome for entry in gateway.journal.entries} == {"unauthorized"}


def test_the_gateway_tells_balance_and_sender_names(msegat: MsegatSms, gateway: Gateway):
    assert msegat.balance(BUDGET).amount == 3042
    assert msegat.sender_names(BUDGET) == ["MyBrand", "MyBrand-AD"]


def test_the_gateway_checks_the_request_itself(gateway: Gateway):
    def post(**change: Any) -> dict[str, Any]:
        body = {name: value for name, value in {**BODY, **change}.items() if value is not None}
        return requests.post(f"{gateway.base_urls['msegat-sms']}/gw/sendsms.php", json=body, timeout=10).json()

    assert post(msg=None)["code"] == "M0001"
    assert post(numbers=["966500000001"])["code"] == "M0001"
    assert post(numbers="+966500000001")["code"] == "1120"
    assert "bulk_id" not in post(reqBulkId="false")
    reply = requests.get(f"{gateway.base_urls['msegat-sms']}/gw/sendsms.php", params=BODY, timeout=10)
    assert reply.json()["code"] == "M0034"


def test_the_gateway_takes_a_form_and_drops_repeated_numbers(gateway: Gateway):
    form = BODY | {"numbers": "966500000001,966500000001", "msg": "مرحبا & أهلاً"}
    later = {"timeToSend": "later", "exactTime": "2026-02-01 09:30:00"}
    url = f"{gateway.base_urls['msegat-sms']}/gw/sendsms.php"
    assert requests.post(url, data=form | later, timeout=10).json()["code"] == "1"
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.scheduled) == ("+966500000001", "مرحبا & أهلاً", "2026-02-01 09:30:00")
