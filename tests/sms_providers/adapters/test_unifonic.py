"""Unifonic: the vectors of its contract, its statuses, the lists of its two platforms, and the order among them.

Both calls of vector 8 are left out: the first asks for a message's state, the second is a delivery report, and the
product does neither yet. The balance in an answer to a send (vector 2) is no more than kept.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import responses
from responses.matchers import header_matcher, urlencoded_params_matcher

from sms_providers.adapters.base import NotOffered, ProviderRefused, Sms
from sms_providers.adapters.unifonic import CLASSIC_ERRORS, ERRORS, STATUSES, UnifonicSms
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway import Gateway, html, refuse, throttle

CURRENT, BASIC_HOST, CLASSIC = "https://el.cloud.unifonic.com", "https://basic.unifonic.com", "https://api.unifonic.com"
SEND, CLASSIC_SEND = f"{CURRENT}/rest/SMS/messages", f"{CLASSIC}/rest/Messages/Send"
BALANCE, SENDERS = f"{CURRENT}/rest/Account/GetBalance", f"{CURRENT}/rest/Account/GetSenderIDs"
CREDENTIALS = {"app_sid": "test-app-sid", "sender_id": "MyBrand"}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+966500000001", "Hello", reference="app-0001")
FORM = {
    "AppSid": "test-app-sid",
    "SenderID": "MyBrand",
    "Recipient": "966500000001",
    "Body": "Hello",
    "responseType": "JSON",
    "CorrelationID": "app-0001",
}
QUEUED: dict[str, Any] = {
    "MessageID": 3200017889310,
    "CorrelationID": "app-0001",
    "Status": "Queued",
    "NumberOfUnits": 0,
    "Cost": 0,
    "Balance": 0,
    "Recipient": "966500000001",
    "TimeCreated": "2026-01-02 06:41:53.237",
    "CurrencyCode": "",
}


@pytest.fixture
def unifonic() -> UnifonicSms:
    return UnifonicSms(CREDENTIALS)


@pytest.fixture
def classic() -> UnifonicSms:
    return UnifonicSms(CREDENTIALS | {"base_url": CLASSIC})


def yes(data: Any = None, **change: Any) -> dict[str, Any]:
    return {"success": True, "message": "", "errorCode": "ER-00", "data": QUEUED if data is None else data, **change}


def no(code: Any = None, message: Any = "", **change: Any) -> dict[str, Any]:
    return {"success": False, "message": message, "data": {}, **({"errorCode": code} if code else {}), **change}


def send(unifonic: UnifonicSms, sms: Sms = HELLO, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.post(CLASSIC_SEND if unifonic.is_classic else SEND, **reply)
        return unifonic.send(sms, BUDGET)


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_recipient_queued(unifonic: UnifonicSms):
    headers = header_matcher({"Content-Type": "application/x-www-form-urlencoded"})
    responses.post(SEND, json=yes(), match=[urlencoded_params_matcher(FORM), headers])
    result = unifonic.send(HELLO, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "3200017889310")
    assert (result.segment_count, result.cost, result.currency) == (None, None, "")
    assert (result.fault, result.reason, result.raw) == (None, "", yes())
    assert "Authorization" not in responses.calls[0].request.headers


def test_vector_2_text_booleans_and_decimals(unifonic: UnifonicSms):
    data = {
        "MessageID": "6500000000101",
        "Status": "Sent",
        "NumberOfUnits": "1",
        "Cost": "0.10000",
        "Balance": "0.29878",
        "Recipient": "966500000001",
        "TimeCreated": "2026-01-02 06:41:53",
        "CurrencyCode": "USD",
    }
    result = send(unifonic, json=yes(data, success="true"))
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "6500000000101")
    assert (result.segment_count, result.cost, result.currency) == (1, Decimal("0.1"), "USD")
    assert result.raw["data"]["Balance"] == "0.29878"


def test_vector_3_failure_inside_http_200(unifonic: UnifonicSms, classic: UnifonicSms):
    body = {"success": "false", "message": "Dest num is too short", "errorCode": "ER-04", "data": []}
    result = send(unifonic, json=body)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")
    assert (result.code, result.raw) == ("ER-04", body)
    assert send(classic, json=body).fault is Fault.SENDER


def test_vector_4_private_http_status(unifonic: UnifonicSms):
    body = no("ER-08", "This user cannot use specified SenderID")
    result = send(unifonic, json=body, status=480)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_not_registered")
    assert (result.code, result.http_status, result.raw) == ("480", 480, body)
    assert "This user cannot use specified SenderID" in result.message


def test_vector_5_wrong_key_empty_body(unifonic: UnifonicSms):
    result = send(unifonic, body="", status=401)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")


def test_vector_6_no_funds(unifonic: UnifonicSms):
    result = send(unifonic, json=no("ER-01", "No rate found or insufficient funds"))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.BALANCE)
    assert result.reason == "insufficient_provider_balance"
    assert result.may_fail_over


def test_vector_7_one_accepted_and_one_refused(unifonic: UnifonicSms):
    """The vector is of a bulk call, which we do not make: its two entries are answered to single sends here."""
    first = {"MessageID": 3200017889311, "Recipient": "966500000001", "Status": "Queued"}
    second = {"MessageID": 3200017889312, "Recipient": "96650000", "Status": "Rejected"}
    result = send(unifonic, json=yes(first))
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "3200017889311")
    result = send(unifonic, Sms("+96650000", "Hello"), json=yes(second))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert result.provider_message_id == "3200017889312"


# --- statuses and codes --------------------------------------------------------------------------------------------

REFUSED, LATER, MAYBE = Outcome.REJECTED, Outcome.UNAVAILABLE, Outcome.UNKNOWN
ALL_STATUSES = [
    (400, REFUSED, Fault.OTHER, "refused_by_provider"),
    (401, REFUSED, Fault.AUTH, "bad_credentials"),
    (402, REFUSED, Fault.AUTH, "bad_credentials"),
    (403, REFUSED, Fault.AUTH, "access_denied"),
    (404, REFUSED, Fault.OTHER, "account_not_found"),
    (406, REFUSED, Fault.OTHER, "invalid_request"),
    (409, REFUSED, Fault.CONTENT, "duplicate_message"),
    (410, REFUSED, Fault.RECIPIENT, "invalid_recipient"),
    (412, REFUSED, Fault.CONTENT, "text_too_long"),
    (415, REFUSED, Fault.CONTENT, "content_refused"),
    (417, REFUSED, Fault.CONTENT, "content_refused"),
    (419, REFUSED, Fault.OTHER, "invalid_schedule"),
    (420, REFUSED, Fault.OTHER, "invalid_request"),
    (421, REFUSED, Fault.CONTENT, "empty_text"),
    (422, REFUSED, Fault.RECIPIENT, "recipient_missing"),
    (423, REFUSED, Fault.OTHER, "invalid_schedule"),
    (429, LATER, Fault.THROTTLED, "throttled"),
    (431, REFUSED, Fault.OTHER, "invalid_request"),
    (432, REFUSED, Fault.OTHER, "invalid_request"),
    (440, REFUSED, Fault.SENDER, "sender_not_accepted"),
    (449, REFUSED, Fault.CONTENT, "empty_text"),
    (450, REFUSED, Fault.RECIPIENT, "too_many_recipients"),
    (451, REFUSED, Fault.OTHER, "invalid_schedule"),
    (452, REFUSED, Fault.OTHER, "invalid_request"),
    (455, REFUSED, Fault.OTHER, "invalid_request"),
    (456, REFUSED, Fault.OTHER, "invalid_request"),
    (459, REFUSED, Fault.AUTH, "bad_credentials"),
    (460, REFUSED, Fault.CONTENT, "content_refused"),
    (480, REFUSED, Fault.SENDER, "sender_not_registered"),
    (481, REFUSED, Fault.RECIPIENT, "no_route"),
    (482, REFUSED, Fault.RECIPIENT, "invalid_recipient"),
    (483, REFUSED, Fault.RECIPIENT, "no_route"),
    (499, MAYBE, Fault.PROVIDER_DOWN, "provider_down"),
    (546, MAYBE, Fault.PROVIDER_DOWN, "provider_down"),
    (548, MAYBE, Fault.PROVIDER_DOWN, "provider_down"),
    (599, MAYBE, Fault.PROVIDER_DOWN, "provider_down"),
]
CODES = [
    (1, REFUSED, Fault.BALANCE, "insufficient_provider_balance"),
    (2, REFUSED, Fault.RECIPIENT, "invalid_recipient"),
    (3, REFUSED, Fault.RECIPIENT, "invalid_recipient"),
    (4, REFUSED, Fault.RECIPIENT, "invalid_recipient"),
    (5, REFUSED, Fault.RECIPIENT, "no_route"),
    (6, REFUSED, Fault.CONTENT, "empty_text"),
    (7, REFUSED, Fault.CONTENT, "content_refused"),
    (8, REFUSED, Fault.SENDER, "sender_not_registered"),
    (9, REFUSED, Fault.CONTENT, "duplicate_message"),
    (10, REFUSED, Fault.OTHER, "invalid_schedule"),
]
CLASSIC_CODES = [
    (1, REFUSED, Fault.AUTH, "bad_credentials"),
    (2, REFUSED, Fault.OTHER, "invalid_request"),
    (3, REFUSED, Fault.OTHER, "invalid_request"),
    (4, REFUSED, Fault.SENDER, "sender_not_accepted"),
    (5, REFUSED, Fault.SENDER, "sender_blocked"),
    (6, REFUSED, Fault.SENDER, "sender_not_registered"),
    (8, REFUSED, Fault.SENDER, "sender_not_registered"),
    (9, REFUSED, Fault.BALANCE, "insufficient_provider_balance"),
    (10, REFUSED, Fault.RECIPIENT, "invalid_recipient"),
    (11, REFUSED, Fault.RECIPIENT, "no_route"),
    (12, REFUSED, Fault.CONTENT, "text_too_long"),
    (13, REFUSED, Fault.OTHER, "account_not_found"),
    (14, REFUSED, Fault.SENDER, "sender_blocked"),
    (15, REFUSED, Fault.AUTH, "account_suspended"),
    (16, LATER, Fault.THROTTLED, "throttled"),
    (17, REFUSED, Fault.CONTENT, "content_refused"),
    (18, REFUSED, Fault.OTHER, "invalid_request"),
    (19, REFUSED, Fault.OTHER, "invalid_schedule"),
    (20, REFUSED, Fault.OTHER, "invalid_request"),
    (21, REFUSED, Fault.OTHER, "account_not_found"),
    (22, REFUSED, Fault.OTHER, "account_not_found"),
    (23, REFUSED, Fault.SENDER, "sender_not_registered"),
    (24, REFUSED, Fault.OTHER, "invalid_request"),
    (25, REFUSED, Fault.AUTH, "account_restricted"),
    (35, MAYBE, Fault.OTHER, "already_submitted"),
    (38, REFUSED, Fault.OTHER, "refused_by_provider"),
    (41, REFUSED, Fault.RECIPIENT, "no_route"),
]


def test_the_tables_have_every_documented_code_and_no_other():
    for table, form, rows in (
        (STATUSES, "{}", ALL_STATUSES),
        (ERRORS, "ER-{:02d}", CODES),
        (CLASSIC_ERRORS, "ER-{:02d}", CLASSIC_CODES),
    ):
        assert {code: meaning[:3] for code, meaning in table.items()} == {form.format(row[0]): row[1:] for row in rows}
    assert list(UnifonicSms.error_tables().values()) == [STATUSES, ERRORS, CLASSIC_ERRORS]


@pytest.mark.parametrize(("status", "outcome", "fault", "reason"), ALL_STATUSES)
@pytest.mark.parametrize("form", ["empty", "html", "words", "unlisted code", "code"])
def test_every_status(unifonic: UnifonicSms, status: int, outcome: Outcome, fault: Fault, reason: str, form: str):
    """The status decides, whatever words and codes come with it; a known code says more than one without a cause."""
    if form == "code" and fault is Fault.OTHER and outcome == Outcome.REJECTED:
        expected = (Outcome.REJECTED, Fault.CONTENT, "content_refused", "ER-07")
    else:
        expected = (outcome, fault, reason, str(status))
    replies: dict[str, dict[str, Any]] = {
        "empty": {"body": ""},
        "html": {"body": "<h1>sender balance</h1>", "content_type": "text/html"},
        "words": {"json": no(None, "insufficient balance for this sender")},
        "unlisted code": {"json": no("ER-77", "Message filtered")},
        "code": {"json": no("ER-07", "Message filtered")},
    }
    result = send(unifonic, **replies[form], status=status)
    assert (result.outcome, result.fault, result.reason, result.code) == expected
    assert result.http_status == status


def test_no_balance_under_a_general_status_goes_to_the_next_app(unifonic: UnifonicSms):
    result = send(unifonic, json=no("ER-01", "No rate found or insufficient funds"), status=400)
    assert (result.fault, result.reason, result.may_fail_over) == (Fault.BALANCE, "insufficient_provider_balance", True)


@pytest.mark.parametrize(("code", "outcome", "fault", "reason"), CODES)
@pytest.mark.parametrize("base_url", ["", CURRENT, f"{CURRENT}/", BASIC_HOST])
@pytest.mark.parametrize("form", ["ER-{:02d}", "er-{:02d}", "{:02d}", "{}", "number"])
def test_every_code(code: int, outcome: Outcome, fault: Fault, reason: str, base_url: str, form: str):
    unifonic = UnifonicSms(CREDENTIALS | {"base_url": base_url})
    failure = no(code if form == "number" else form.format(code), "?", success="false", data=[])
    with responses.RequestsMock() as http:
        http.post(unifonic.url("/rest/SMS/messages"), json=failure)
        result = unifonic.send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (outcome, fault, reason)
    assert (result.code, result.http_status) == (f"ER-{code:02d}", 200)


@pytest.mark.parametrize(("code", "outcome", "fault", "reason"), CLASSIC_CODES)
@pytest.mark.parametrize("form", ["ER-{:02d}", "er-{:02d}", "{:02d}", "{}", "number"])
def test_every_classic_code(classic: UnifonicSms, code: int, outcome: Outcome, fault: Fault, reason: str, form: str):
    failure = no(code if form == "number" else form.format(code), "?", success="false", data=[])
    result = send(classic, json=failure)
    assert (result.outcome, result.fault, result.reason) == (outcome, fault, reason)
    assert (result.code, result.http_status) == (f"ER-{code:02d}", 200)


@pytest.mark.parametrize("status", [200, 405, 418])
def test_a_known_code_counts_under_any_status_that_has_no_meaning_of_its_own(unifonic: UnifonicSms, status: int):
    result = send(unifonic, json=no("ER-04"), status=status)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.RECIPIENT, "ER-04")


@pytest.mark.parametrize("code", ["ER-11", "ER-77", "ER-482", "E-1", 4711, "moon"])
def test_an_unlisted_code_is_a_refusal_with_the_providers_words(unifonic: UnifonicSms, code: Any):
    body = no(code, "the moon is full of numbers")
    result = send(unifonic, json=body)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert "the moon is full of numbers" in result.message
    assert str(code) in result.code
    assert result.raw == body


@pytest.mark.parametrize("code", ["ER-77", "ER-01", "ER-08"])
def test_any_code_under_a_fault_is_unknown(unifonic: UnifonicSms, code: str):
    result = send(unifonic, json=no(code), status=503)
    assert (result.outcome, result.fault) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN)


@pytest.mark.parametrize("code", ["ER-07", "ER-11"])
def test_a_code_of_the_other_platform_is_unlisted(unifonic: UnifonicSms, classic: UnifonicSms, code: str):
    stranger = classic if code in ERRORS else unifonic
    assert send(stranger, json=no(code)).reason == "refused_by_provider"


@pytest.mark.parametrize("status", [200, 401, 403, 409, 429])
def test_a_no_beside_a_message_under_way_is_a_contradiction(unifonic: UnifonicSms, status: int):
    for code in (None, "ER-01", "ER-99"):
        result = send(unifonic, json=no(code, "balance", data=QUEUED), status=status)
        assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "partly_accepted")
        assert result.provider_message_id == "3200017889310"


@pytest.mark.parametrize("code", ["ER-01", "ER-77", "OK", "200"])
def test_a_success_with_another_code_is_a_contradiction(unifonic: UnifonicSms, code: str):
    result = send(unifonic, json=yes(errorCode=code))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "partly_accepted")
    assert result.provider_message_id == "3200017889310"


def test_throttled_is_obeyed_whatever_the_body_says(unifonic: UnifonicSms):
    bodies: list[Any] = [no("ER-04"), []]
    for body in bodies:
        result = send(unifonic, json=body, status=429, headers={"Retry-After": "7"})
        assert (result.outcome, result.fault) == (Outcome.UNAVAILABLE, Fault.THROTTLED)
        assert result.retry_after == timedelta(seconds=7)


# --- words ---------------------------------------------------------------------------------------------------------

TEXTS = [
    ("Insufficient BALANCE", Fault.BALANCE),
    ("not enough funds", Fault.BALANCE),
    ("no fund for this sender", Fault.BALANCE),  # the order decides
    ("wrong SenderID", Fault.SENDER),
    ("sender of this number", Fault.SENDER),
    ("Invalid dest num", Fault.RECIPIENT),
    ("unsupported destination", Fault.RECIPIENT),
    ("no recipient", Fault.RECIPIENT),
    ("recipients: body", Fault.RECIPIENT),
    ("wrong number", Fault.RECIPIENT),
    ("body is empty", Fault.CONTENT),
    ("bad content for this AppSid", Fault.CONTENT),
    ("unknown AppSid", Fault.AUTH),
    ("Authentication failed", Fault.AUTH),
    ("Unauthorized", Fault.AUTH),
    ("not in the mood", Fault.OTHER),
    ("refundable", Fault.OTHER),  # "fund" is in it
    ("", Fault.OTHER),
    (None, Fault.OTHER),
    ({"sender": 1}, Fault.OTHER),
]


@pytest.mark.parametrize(("text", "fault"), TEXTS)
@pytest.mark.parametrize("form", ["false", "text", "status", "empty code"])
def test_words_are_the_last_resort(unifonic: UnifonicSms, text: Any, fault: Fault, form: str):
    replies: dict[str, dict[str, Any]] = {
        "false": {"json": no(None, text)},
        "text": {"json": no(None, text, success=" False ")},
        "status": {"json": {"message": text}, "status": 405},
        "empty code": {"json": no(None, text, errorCode="")},
    }
    result = send(unifonic, **replies[form])
    assert (result.outcome, result.fault) == (Outcome.REJECTED, fault)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 547])
def test_words_under_a_fault_do_not_make_it_a_no(unifonic: UnifonicSms, status: int):
    """An internal fault that has something to do with numbers may have come after the message had left."""
    result = send(unifonic, json=no(None, "number pool exhausted"), status=status)
    assert (result.outcome, result.fault) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN)


# --- acceptance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("success", [True, "true", "TRUE", "True "])
@pytest.mark.parametrize("code", ["ER-00", "er-00", "", None, 0])
def test_every_way_to_say_yes(unifonic: UnifonicSms, success: Any, code: Any):
    result = send(unifonic, json=yes(success=success, errorCode=code))
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "3200017889310")


@pytest.mark.parametrize("data", [{}, [], None, "x", [QUEUED], {"MessageID": None}, {"MessageID": {}}])
def test_a_yes_without_an_id_is_a_yes(unifonic: UnifonicSms, data: Any):
    result = send(unifonic, json={"success": True, "errorCode": "ER-00", "data": data})
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "")
    assert send(unifonic, json={"success": "true"}).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("status", ["Queued", "Sent", "Scheduled", "", None, "Something new", 7])
def test_any_other_state_is_accepted(unifonic: UnifonicSms, status: Any):
    assert send(unifonic, json=yes(QUEUED | {"Status": status})).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("status", ["Rejected", "Failed", "FAILED", "rejected"])
def test_refused_at_once(unifonic: UnifonicSms, status: str):
    result = send(unifonic, json=yes(QUEUED | {"Status": status}))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert result.provider_message_id == "3200017889310"
    assert status in result.message

    result = send(unifonic, json=yes(QUEUED | {"Status": status}, message="No balance"))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.BALANCE)
    assert result.provider_message_id == "3200017889310"


@pytest.mark.parametrize("status", [302, 400, 401, 404, 409, 480, 499, 500, 503, 599])
def test_yes_in_the_body_and_no_in_the_status_is_unknown(unifonic: UnifonicSms, status: int):
    result = send(unifonic, json=yes(), status=status)
    assert result.outcome == Outcome.UNKNOWN
    assert result.raw == yes()


@pytest.mark.parametrize(
    "body",
    [
        {"errorCode": "ER-00", "data": QUEUED},
        {"success": None, "errorCode": "ER-00", "data": QUEUED},
        {"success": 1, "errorCode": "ER-00"},
        {"success": "yes", "message": "your number is queued"},
        {"success": ["true"]},
        {"message": "Unknown sender"},
        {"data": QUEUED},
        no("ER-00"),
        no("ER-00", "no balance"),
        {"success": {}, "errorCode": {}, "message": [], "data": "x"},
        {"errorCode": True},
        {"errorCode": None, "success": ""},
    ],
)
def test_what_says_neither_yes_nor_no_is_unknown(unifonic: UnifonicSms, body: Any):
    result = send(unifonic, json=body)
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNKNOWN, Fault.OTHER, "unreadable_answer")


@pytest.mark.parametrize(
    ("change", "parts", "cost", "currency"),
    [
        ({"NumberOfUnits": 2, "Cost": 0.052, "CurrencyCode": "SAR"}, 2, Decimal("0.052"), "SAR"),
        ({"NumberOfUnits": "2", "Cost": "0.052", "CurrencyCode": "SAR"}, 2, Decimal("0.052"), "SAR"),
        ({"Cost": "0.00000", "CurrencyCode": ""}, None, None, ""),
        ({"Cost": 0, "CurrencyCode": None}, None, None, ""),
        ({"Cost": 0, "CurrencyCode": "USD"}, None, Decimal(0), "USD"),
        ({"Cost": "0.1", "CurrencyCode": ""}, None, Decimal("0.1"), ""),
        ({"Cost": "free", "CurrencyCode": "USD", "NumberOfUnits": "many"}, None, None, ""),
        ({"Cost": True, "CurrencyCode": 5, "NumberOfUnits": -1}, None, None, ""),
    ],
)
def test_parts_and_cost(
    unifonic: UnifonicSms, change: dict[str, Any], parts: int | None, cost: Decimal | None, currency: str
):
    result = send(unifonic, json=yes(QUEUED | change))
    assert (result.outcome, result.segment_count) == (Outcome.ACCEPTED, parts)
    assert (result.cost, result.currency) == (cost, currency)


# --- requests ------------------------------------------------------------------------------------------------------


@responses.activate
def test_an_arabic_round_trip(unifonic: UnifonicSms):
    text = "مرحبًا 👋 ١٢٣ + & ="
    reply = no("ER-77", f"refused: {text}")
    responses.post(SEND, json=reply, match=[urlencoded_params_matcher(FORM | {"Body": text})])
    result = unifonic.send(Sms("+966500000001", text, reference="app-0001"), BUDGET)
    assert text in result.message
    assert result.raw == reply


@responses.activate
def test_without_a_reference_no_correlation_id_is_sent(unifonic: UnifonicSms):
    form = {name: value for name, value in FORM.items() if name != "CorrelationID"}
    responses.post(SEND, json=yes(), match=[urlencoded_params_matcher(form, allow_blank=True)])
    assert unifonic.send(Sms("+966500000001", "Hello"), BUDGET).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("sender", "sent"),
    [
        ("MyBrand-AD", "MyBrand-AD"),
        ("+966500000009", "966500000009"),
        ("966500000009", "966500000009"),
        ("70001", "70001"),
        ("+Shop", "+Shop"),
    ],
)
@responses.activate
def test_a_number_for_a_sender_goes_out_in_bare_digits(unifonic: UnifonicSms, sender: str, sent: str):
    responses.post(SEND, json=yes(), match=[urlencoded_params_matcher(FORM | {"SenderID": sent})])
    sms = Sms("+966500000001", "Hello", sender_id=sender, reference="app-0001")
    assert unifonic.send(sms, BUDGET).outcome == Outcome.ACCEPTED


@responses.activate
def test_user_name_and_password_are_sent_as_utf_8():
    basic = base64.b64encode("user@example.com:pässword".encode()).decode()
    headers = header_matcher({"Authorization": f"Basic {basic}"})
    responses.post(SEND, json=yes(), match=[headers, urlencoded_params_matcher(FORM)])
    responses.post(BALANCE, json=yes({"Balance": 1, "CurrencyCode": "SAR"}), match=[headers])
    unifonic = UnifonicSms(CREDENTIALS | {"username": "user@example.com", "password": "pässword"})
    assert unifonic.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert unifonic.balance(BUDGET).amount == 1


@pytest.mark.parametrize("half", [{"username": "user@example.com"}, {"password": "secret"}])
def test_half_of_a_pair_is_not_sent(half: dict[str, str]):
    """Such credentials cannot be stored; an older row may still have them."""
    with responses.RequestsMock() as http:
        http.post(SEND, json=yes())
        UnifonicSms(CREDENTIALS | half).send(HELLO, BUDGET)
        assert "Authorization" not in http.calls[0].request.headers


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (CURRENT, SEND),
        (BASIC_HOST, f"{BASIC_HOST}/rest/SMS/messages"),
        (f"{BASIC_HOST}/", f"{BASIC_HOST}/rest/SMS/messages"),
        (CLASSIC, CLASSIC_SEND),
        (f"{CLASSIC}/", CLASSIC_SEND),
    ],
)
@responses.activate
def test_every_host_has_its_path(base_url: str, url: str):
    responses.post(url, json=yes(), match=[urlencoded_params_matcher(FORM)])
    unifonic = UnifonicSms(CREDENTIALS | {"base_url": base_url})
    assert unifonic.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("base_url", "path", "fault"),
    [("", "/rest/SMS/messages", Fault.RECIPIENT), (CLASSIC, "/rest/Messages/Send", Fault.SENDER)],
)
@responses.activate
def test_a_relay_of_the_site_changes_neither_path_nor_list(settings: Any, base_url: str, path: str, fault: Fault):
    settings.SMS_PROVIDER_BASE_URLS = {"unifonic-sms": "http://127.0.0.1:9/relay/"}
    responses.post(f"http://127.0.0.1:9/relay{path}", json=no("ER-04"))
    assert UnifonicSms(CREDENTIALS | {"base_url": base_url}).send(HELLO, BUDGET).fault is fault


def test_a_message_for_later_is_never_sent_now(unifonic: UnifonicSms):
    later = datetime.now(UTC) + timedelta(hours=1)
    assert not unifonic.can_schedule(later, now=datetime.now(UTC))
    with responses.RequestsMock():  # any call would fail the test
        result = unifonic.send(Sms("+966500000001", "Hello", send_at=later), BUDGET)
    assert result.outcome == Outcome.REJECTED


def test_without_a_sender_nothing_is_sent():
    with responses.RequestsMock():
        result = UnifonicSms({"app_sid": "test-app-sid"}).send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_missing")


# --- questions -----------------------------------------------------------------------------------------------------

ASKED = [urlencoded_params_matcher({"AppSid": "test-app-sid"})]


@pytest.mark.parametrize("amount", ["48.03200", 48.032])
@responses.activate
def test_the_balance(unifonic: UnifonicSms, amount: Any):
    data = {"Balance": amount, "CurrencyCode": "USD", "SharedBalance": "0.00000"}
    responses.post(BALANCE, json=yes(data, success="true"), match=ASKED)
    left = unifonic.balance(BUDGET)
    assert (left.amount, left.currency, left.unit) == (Decimal("48.032"), "USD", "")


@responses.activate
def test_an_empty_account_has_a_currency(unifonic: UnifonicSms):
    responses.post(BALANCE, json=yes({"Balance": "0.00000", "CurrencyCode": "USD"}))
    assert unifonic.balance(BUDGET).amount == 0


@pytest.mark.parametrize(
    "body",
    [
        yes({}),
        yes([]),
        yes({"Balance": "much", "CurrencyCode": "USD"}),
        yes({"Balance": 0, "CurrencyCode": ""}),  # left out
        {"data": {"Balance": 5, "CurrencyCode": "USD"}},
        no("ER-00", data={"Balance": 5, "CurrencyCode": "USD"}),
        [],
    ],
)
@responses.activate
def test_no_balance_is_not_a_zero_balance(unifonic: UnifonicSms, body: Any):
    responses.post(BALANCE, json=body)
    with pytest.raises(ProviderRefused) as caught:
        unifonic.balance(BUDGET)
    assert not isinstance(caught.value, NotOffered)
    assert caught.value.result.reason == "unreadable_answer"
    assert "sent" not in caught.value.result.message


@responses.activate
def test_sender_names_that_may_be_sent_with(unifonic: UnifonicSms):
    names = [
        {"SenderID": "MyBrand", "Status": "Approved", "DateCreated": "2015-01-01", "IsDefault": "1"},
        {"SenderID": "Soon", "Status": "Pending"},
        {"SenderID": "Never", "Status": "Rejected"},
        {"SenderID": " MyBrand-AD ", "Status": "APPROVED"},
        {"SenderID": "NoStatus"},
        {"SenderID": "NullStatus", "Status": None},
        {"SenderID": 70001, "Status": "Approved"},
        "Plain",
        {"Status": "Approved"},
        {"SenderID": {}},
        None,
        [],
        {},
    ]
    responses.post(SENDERS, json=yes({"SenderNames": names}, success="true"), match=ASKED)
    assert unifonic.sender_names(BUDGET) == ["MyBrand", "MyBrand-AD", "NoStatus", "NullStatus", "70001", "Plain"]


@responses.activate
def test_an_account_without_sender_names(unifonic: UnifonicSms):
    responses.post(SENDERS, json=yes({"SenderNames": []}))
    assert unifonic.sender_names(BUDGET) == []


@pytest.mark.parametrize(
    "body", [yes({}), yes([]), yes({"SenderNames": None}), yes({"SenderNames": {"SenderID": "A"}})]
)
@responses.activate
def test_no_list_is_not_an_empty_list(unifonic: UnifonicSms, body: Any):
    responses.post(SENDERS, json=body)
    with pytest.raises(ProviderRefused) as caught:
        unifonic.sender_names(BUDGET)
    assert not isinstance(caught.value, NotOffered)


QUESTIONS = [("balance", "GetBalance"), ("sender_names", "GetSenderIDs")]


@pytest.mark.parametrize(("question", "call"), QUESTIONS)
@pytest.mark.parametrize(
    "reply",
    [
        {"status": 404, "json": no("ER-21", "Method not found")},
        {"status": 404, "body": "<html>"},
        {"status": 405, "body": ""},
        {"body": "<html>Welcome</html>"},
        {"body": ""},
        {"body": "", "status": 204},
    ],
)
@responses.activate
def test_an_account_that_lacks_a_classic_call_is_not_at_fault(
    unifonic: UnifonicSms, question: str, call: str, reply: dict[str, Any]
):
    responses.post(f"{CURRENT}/rest/Account/{call}", **reply)
    with pytest.raises(NotOffered) as caught:
        getattr(unifonic, question)(BUDGET)
    result = caught.value.result
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert question.replace("_", " ") in result.message
    assert result.http_status == reply.get("status", 200)


@pytest.mark.parametrize(("question", "call"), QUESTIONS)
@pytest.mark.parametrize(
    ("reply", "outcome", "fault"),
    [
        ({"status": 401, "body": ""}, Outcome.REJECTED, Fault.AUTH),
        ({"status": 403, "body": "<html>"}, Outcome.REJECTED, Fault.AUTH),
        ({"status": 429, "body": ""}, Outcome.UNAVAILABLE, Fault.THROTTLED),
        ({"status": 503, "body": ""}, Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
        ({"json": no("ER-01")}, Outcome.REJECTED, Fault.BALANCE),
        ({"json": no(None, "Authentication failed")}, Outcome.REJECTED, Fault.AUTH),
    ],
)
@responses.activate
def test_any_other_no_to_a_question_is_a_refusal(
    unifonic: UnifonicSms, question: str, call: str, reply: dict[str, Any], outcome: Outcome, fault: Fault
):
    responses.post(f"{CURRENT}/rest/Account/{call}", **reply)
    with pytest.raises(ProviderRefused) as caught:
        getattr(unifonic, question)(BUDGET)
    assert not isinstance(caught.value, NotOffered)
    assert (caught.value.result.outcome, caught.value.result.fault) == (outcome, fault)


@responses.activate
def test_a_question_to_the_classic_platform_goes_by_its_list(classic: UnifonicSms):
    responses.post(f"{CLASSIC}/rest/Account/GetBalance", json=no("ER-01", "Invalid AppSid", success="false"))
    with pytest.raises(ProviderRefused) as caught:
        classic.balance(BUDGET)
    assert caught.value.result.fault is Fault.AUTH


# --- credentials ---------------------------------------------------------------------------------------------------


def test_echoed_secrets_are_masked_everywhere(caplog: pytest.LogCaptureFixture):
    sid, password = "Ab12/cd34+ef", "p@ss/wörd 1"
    unifonic = UnifonicSms(CREDENTIALS | {"app_sid": sid, "username": "user@example.com", "password": password})
    basic = base64.b64encode(f"user@example.com:{password}".encode()).decode()
    spelled = [sid, password, basic, "Ab12%2Fcd34%2Bef", "p%40ss%2Fw%C3%B6rd+1"]
    with caplog.at_level("DEBUG"):
        for spelling in spelled:
            known = send(unifonic, json=no("ER-77", f"not {spelling}!", data={spelling: [spelling]}))
            by_status = send(unifonic, json=no(None, f"not {spelling}!"), status=480)
            text = send(unifonic, body=f"<{spelling}>", status=418)
            for shown in (repr(known), repr(by_status), repr(text), caplog.text):
                assert spelling not in shown
            assert text.raw == {"raw": "<•••>"}


@pytest.mark.parametrize(
    "given",
    [
        {"app_sid": "test-app-sid"},
        CREDENTIALS,
        CREDENTIALS | {"sender_id": "+966500000001"},
        CREDENTIALS | {"username": "user@example.com", "password": "two wörds"},
        CREDENTIALS | {"base_url": CURRENT},
        CREDENTIALS | {"base_url": f"{BASIC_HOST}/"},
        CREDENTIALS | {"base_url": CLASSIC},
    ],
)
def test_good_credentials(given: dict[str, str]):
    assert UnifonicSms.clean_credentials(given) == (given, {})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"app_sid": ""}, "app_sid"),
        ({"app_sid": "with space"}, "app_sid"),
        ({"app_sid": "رمز"}, "app_sid"),
        ({"sender_id": "A name that is too long"}, "sender_id"),
        ({"sender_id": "متجري"}, "sender_id"),
        ({"username": "user@example.com"}, "password"),
        ({"password": "secret"}, "username"),
        ({"base_url": "http://el.cloud.unifonic.com"}, "base_url"),
        ({"base_url": "https://EL.cloud.unifonic.com"}, "base_url"),
        ({"base_url": "https://unifonic.com"}, "base_url"),
        ({"base_url": "https://other.unifonic.com"}, "base_url"),
        ({"base_url": "https://api.otsdc.com"}, "base_url"),
        ({"base_url": "https://elxcloud.unifonic.com"}, "base_url"),
        ({"base_url": "https://api.unifonic.com//"}, "base_url"),
        ({"base_url": "https://api.unifonic.com/rest"}, "base_url"),
        ({"base_url": "https://api.unifonic.com.evil.example"}, "base_url"),
        ({"base_url": "https://api.unifonic.com@evil.example"}, "base_url"),
    ],
)
def test_bad_credentials(change: dict[str, str], field: str):
    _, wrong = UnifonicSms.clean_credentials(CREDENTIALS | change)
    assert set(wrong) == {field}


def test_what_is_secret():
    assert {field.name for field in UnifonicSms.credential_fields if field.is_secret} == {
        "app_sid",
        "username",
        "password",
    }


# --- the local gateway ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base_url", ["", CLASSIC])
def test_the_gateway_takes_an_arabic_text_with_joined_emoji(gateway: Gateway, base_url: str):
    text = "مرحبا 👨‍👩‍👧‍👦 أهلاً & سهلاً"
    unifonic = UnifonicSms(CREDENTIALS | {"base_url": base_url})
    result = unifonic.send(Sms("+966500000001", text, reference="app-0001"), BUDGET)
    assert result.outcome == Outcome.ACCEPTED
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.sender) == ("+966500000001", text, "MyBrand")
    assert (entry.is_accepted, entry.provider_id) == (True, result.provider_message_id)
    assert entry.fields["CorrelationID"] == "app-0001"


@pytest.mark.parametrize(
    ("sms", "code", "classic_code", "fault"),
    [
        (Sms("+966500000001", "Hello", sender_id="Nobody"), "480", "ER-06", Fault.SENDER),
        (Sms("+96650000", "Hello"), "482", "ER-10", Fault.RECIPIENT),
        (Sms("+966500000001", ""), "449", "ER-02", Fault.CONTENT),
    ],
)
def test_the_gateway_refuses(
    unifonic: UnifonicSms, classic: UnifonicSms, gateway: Gateway, sms: Sms, code: str, classic_code: str, fault: Fault
):
    result = unifonic.send(sms, BUDGET)
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, fault, code)
    result = classic.send(sms, BUDGET)
    assert (result.outcome, result.code, result.http_status) == (Outcome.REJECTED, classic_code, 200)
    assert gateway.journal.numbers() == []


def test_the_gateway_answers_as_scripted(unifonic: UnifonicSms, gateway: Gateway):
    gateway.script("unifonic-sms", refuse("ER-01"), times=1)
    assert unifonic.send(HELLO, BUDGET).fault is Fault.BALANCE
    gateway.script("unifonic-sms", refuse(409), times=1)
    assert unifonic.send(HELLO, BUDGET).reason == "duplicate_message"
    gateway.script("unifonic-sms", refuse(599), times=1)
    assert unifonic.send(HELLO, BUDGET).outcome == Outcome.UNKNOWN
    gateway.script("unifonic-sms", throttle(retry_after=7), times=1)
    assert unifonic.send(HELLO, BUDGET).retry_after == timedelta(seconds=7)
    gateway.script("unifonic-sms", html(502), times=1)
    assert unifonic.send(HELLO, BUDGET).outcome == Outcome.UNKNOWN
    assert unifonic.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


PAIR = {"username": "user@example.com", "password": "test-pässword"}


@pytest.mark.parametrize("change", [{"app_sid": "wrong"}, PAIR | {"password": "wrong"}])
def test_the_gateway_knows_wrong_credentials(gateway: Gateway, change: dict[str, str]):
    stranger = UnifonicSms(CREDENTIALS | change)
    result = stranger.send(HELLO, BUDGET)
    assert (result.outcome, result.reason, result.code) == (Outcome.REJECTED, "bad_credentials", "401")
    for question in (stranger.balance, stranger.sender_names):
        with pytest.raises(ProviderRefused) as caught:
            question(BUDGET)
        assert caught.value.result.reason == "bad_credentials"
    assert {entry.outcome for entry in gateway.journal.entries} == {"unauthorized"}


@pytest.mark.parametrize("change", [{}, PAIR])
def test_the_gateway_tells_balance_and_sender_names(gateway: Gateway, change: dict[str, str]):
    unifonic = UnifonicSms(CREDENTIALS | change)
    left = unifonic.balance(BUDGET)
    assert (left.amount, left.currency) == (Decimal("48.032"), "USD")
    assert unifonic.sender_names(BUDGET) == ["MyBrand", "MyBrand-AD"]
