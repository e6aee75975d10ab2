"""Vonage: the vectors of its contract, its statuses, signatures, and answers that say yes and no at once.

Vector 7 is a delivery report, which the product does not take: only its signature is checked. The Messages API has no
vectors and is not spoken.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
import responses
from responses.matchers import header_matcher, query_param_matcher, urlencoded_params_matcher

from sms_providers.adapters import vonage as module
from sms_providers.adapters.base import MAX_PAGES, ProviderRefused, Sms
from sms_providers.adapters.vonage import ERRORS, VonageSms, signature
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway import Gateway, refuse

SEND = "https://rest.nexmo.com/sms/json"
BALANCE = "https://rest.nexmo.com/account/get-balance"
NUMBERS = "https://rest.nexmo.com/account/numbers"
CREDENTIALS = {"api_key": "abcd1234", "api_secret": "abcdef0123456789", "from": "AcmeInc"}
SECRET = "my0signature1secret"
SIGNED = CREDENTIALS | {"signature_secret": SECRET}
BASIC = {"Authorization": "Basic YWJjZDEyMzQ6YWJjZGVmMDEyMzQ1Njc4OQ=="}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+447700900000", "Hello", reference="app-0001")
FORM = {
    "api_key": "abcd1234",
    "api_secret": "abcdef0123456789",
    "from": "AcmeInc",
    "to": "447700900000",
    "text": "Hello",
    "client-ref": "app-0001",
}
PART: dict[str, Any] = {
    "to": "447700900000",
    "message-id": "0A0000000123ABCD1",
    "status": "0",
    "remaining-balance": "3.14159265",
    "message-price": "0.03330000",
    "network": "23410",
    "client-ref": "app-0001",
}
NOW = 1767323045


@pytest.fixture
def vonage() -> VonageSms:
    return VonageSms(CREDENTIALS)


def answer(*parts: Any) -> dict[str, Any]:
    return {"message-count": str(len(parts)), "messages": list(parts)}


def no(status: Any, said: str = "Not so") -> dict[str, Any]:
    return {"status": status, "error-text": said}


def send(vonage: VonageSms, sms: Sms = HELLO, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return vonage.send(sms, BUDGET)


def form_of(vonage: VonageSms, sms: Sms = HELLO) -> dict[str, str]:
    """Return the fields that reach the network for `sms`."""
    with responses.RequestsMock() as http:
        http.post(SEND, json=answer(PART))
        assert vonage.send(sms, BUDGET).outcome == Outcome.ACCEPTED
        return dict(parse_qsl(str(http.calls[0].request.body), keep_blank_values=True, strict_parsing=True))


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_part_accepted(vonage: VonageSms):
    headers = header_matcher({"Content-Type": "application/x-www-form-urlencoded"})
    responses.post(SEND, json=answer(PART), match=[urlencoded_params_matcher(FORM), headers])
    result = vonage.send(HELLO, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "0A0000000123ABCD1")
    assert (result.segment_count, result.cost, result.currency) == (1, Decimal("0.0333"), "EUR")
    assert (result.fault, result.reason, result.raw) == (None, "", answer(PART))


@responses.activate
def test_vector_2_arabic_in_two_parts(vonage: VonageSms):
    form = {
        "api_key": "abcd1234",
        "api_secret": "abcdef0123456789",
        "from": "AcmeInc",
        "to": "966500000001",
        "type": "unicode",
        "text": "مرحبا",
    }
    part = {"to": "966500000001", "status": "0", "message-price": "0.03330000", "network": "42001"}
    first = part | {"message-id": "0A0000000123ABCD2", "remaining-balance": "3.10829265"}
    second = part | {"message-id": "0A0000000123ABCD3", "remaining-balance": "3.07499265"}
    responses.post(SEND, json=answer(first, second), match=[urlencoded_params_matcher(form)])
    result = vonage.send(Sms("+966500000001", "مرحبا"), BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "0A0000000123ABCD2")
    assert (result.segment_count, result.cost, result.currency) == (2, Decimal("0.0666"), "EUR")
    assert result.raw["messages"][1]["message-id"] == "0A0000000123ABCD3"  # kept, as reports come per part
    assert "text=%D9%85%D8%B1%D8%AD%D8%A8%D8%A7" in str(responses.calls[0].request.body)


def test_vector_3_wrong_credentials(vonage: VonageSms):
    result = send(vonage, json=answer(no("4", "Bad Credentials")))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert (result.code, result.http_status) == ("4", 200)


def test_vector_4_throttled(vonage: VonageSms):
    result = send(vonage, json=answer(no("1", "Throughput Rate Exceeded - please wait [ 250 ] and retry")))
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled")
    assert result.retry_after == timedelta(seconds=0.25)


def test_vector_5_no_credit(vonage: VonageSms):
    result = send(vonage, json=answer(no("9", "Quota Exceeded - rejected")))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.BALANCE)
    assert (result.reason, result.code) == ("insufficient_provider_balance", "9")


def test_vector_5_partly_refused(vonage: VonageSms):
    """Failed for the page; unknown for us, which is how nobody sends it again."""
    part = PART | {"message-id": "0A0000000123ABCD4", "remaining-balance": "1.00000000"}
    result = send(vonage, json=answer(part, no("9", "Quota Exceeded - rejected")))
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNKNOWN, Fault.BALANCE, "partly_accepted")
    assert (result.code, result.provider_message_id) == ("9", "0A0000000123ABCD4")
    assert "may have been sent" in result.message
    assert not result.may_fail_over


VECTOR_6 = {
    "api_key": "abcd1234",
    "from": "AcmeInc",
    "text": "Fish & chips = good",
    "timestamp": str(NOW),
    "to": "447700900000",
    "type": "text",
}
SIGNATURES_6 = {
    "md5hash": "50ffa5003896795044b916a6b8d731d1",
    "md5": "89505797f86c6cbbec3473e756c68633",
    "sha1": "ed1b5932f6ad52c961c35bdebc63ba80fbae6fe4",
    "sha256": "196e3631ef9486abc0bac6eb2ee42127086448c4428210176fe4d795afb5dcc0",
    "sha512": "bef7e9dde3ac257e10c589ef5512b4585a3452334a9f1f36752f38679c223642"
    "f5a16320c1bc810b91069fb8fb0d9a86386ab3c57663f1ea797420a75647585d",
}


@pytest.mark.parametrize(("method", "expected"), SIGNATURES_6.items())
def test_vector_6_signature_of_a_request(method: str, expected: str):
    assert signature(VECTOR_6, SECRET, method) == expected


@pytest.mark.parametrize("method", ["", *SIGNATURES_6])
@responses.activate
def test_vector_6_signed_request(method: str, monkeypatch: pytest.MonkeyPatch):
    """The vector's `type=text` is not ours: it is the default, so we leave it out and sign the rest."""
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: NOW + 0.9))
    form = {name: value for name, value in VECTOR_6.items() if name != "type"}
    form["sig"] = signature(form, SECRET, method or "md5hash")
    responses.post(SEND, json=answer(PART), match=[urlencoded_params_matcher(form)])
    vonage = VonageSms(SIGNED | ({"signature_method": method} if method else {}))
    result = vonage.send(Sms("+447700900000", "Fish & chips = good"), BUDGET)
    assert result.outcome == Outcome.ACCEPTED
    assert "text=Fish+%26+chips+%3D+good" in str(responses.calls[0].request.body)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("sha256", "1520fd9323cc23313cb6aa1b3db4b37b1b6d9174e28657be87cf5f9ed9d50fb6"),
        ("md5hash", "57796451a719cad981dcca74554ce844"),
    ],
)
def test_vector_7_signature_of_a_delivery_report(method: str, expected: str):
    fields = {
        "msisdn": "447700900000",
        "to": "AcmeInc",
        "network-code": "23410",
        "messageId": "0A0000001234567B",
        "price": "0.03330000",
        "status": "delivered",
        "scts": "2601020304",
        "err-code": "0",
        "api-key": "abcd1234",
        "message-timestamp": "2026-01-02 03:04:05",
        "timestamp": "1767323045",
        "nonce": "ec11dd3e-1e7f-4db5-9467-82b02cd223b9",
        "sig": "1520fd9323cc23313cb6aa1b3db4b37b1b6d9174e28657be87cf5f9ed9d50fb6",
    }
    assert signature(fields, SECRET, method) == expected


@responses.activate
def test_vector_8_balance(vonage: VonageSms):
    match = [header_matcher(BASIC), query_param_matcher({})]
    responses.get(BALANCE, json={"value": 10.171275, "autoReload": False}, match=match)
    left = vonage.balance(BUDGET)
    assert (left.amount, left.currency, left.unit) == (Decimal("10.171275"), "EUR", "")


@responses.activate
def test_vector_8_balance_with_wrong_credentials(vonage: VonageSms):
    body = {"error-code": "401", "error-code-label": "authentication failed"}
    responses.get(BALANCE, json=body, status=401)
    with pytest.raises(ProviderRefused) as caught:
        vonage.balance(BUDGET)
    result = caught.value.result
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.AUTH, "401")
    assert (result.reason, result.raw) == ("bad_credentials", body)


# --- statuses ------------------------------------------------------------------------------------------------------

EXPECTED = {
    1: (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled"),
    2: (Outcome.REJECTED, Fault.OTHER, "invalid_request"),
    3: (Outcome.REJECTED, Fault.OTHER, "invalid_request"),
    4: (Outcome.REJECTED, Fault.AUTH, "bad_credentials"),
    5: (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
    6: (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    7: (Outcome.REJECTED, Fault.RECIPIENT, "recipient_blocked"),
    8: (Outcome.REJECTED, Fault.AUTH, "account_suspended"),
    9: (Outcome.REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    10: (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled"),
    11: (Outcome.REJECTED, Fault.AUTH, "access_denied"),
    12: (Outcome.REJECTED, Fault.CONTENT, "text_too_long"),
    14: (Outcome.REJECTED, Fault.AUTH, "bad_credentials"),
    15: (Outcome.REJECTED, Fault.SENDER, "sender_not_registered"),
    22: (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    23: (Outcome.REJECTED, Fault.OTHER, "invalid_request"),
    29: (Outcome.REJECTED, Fault.RECIPIENT, "recipient_not_verified"),
    32: (Outcome.REJECTED, Fault.AUTH, "bad_credentials"),
    33: (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient"),
}


def test_the_table_has_every_documented_status_and_no_other():
    assert {code: tuple(meaning[:3]) for code, meaning in ERRORS.items()} == {
        str(code): expected for code, expected in EXPECTED.items()
    }


@pytest.mark.parametrize(("status", "expected"), EXPECTED.items())
@pytest.mark.parametrize("form", ["text", "number", "padded"])
@pytest.mark.parametrize("http_status", [200, 202, 400])
def test_every_status(vonage: VonageSms, status: int, expected: tuple[Any, ...], form: str, http_status: int):
    given = {"text": str(status), "number": status, "padded": f" 0{status} "}[form]
    result = send(vonage, json=answer(no(given)), status=http_status)
    assert (result.outcome, result.fault, result.reason) == expected
    assert (result.code, result.retry_after) == (str(status), None)
    assert ("Nothing was sent" in result.message) == (result.outcome != Outcome.UNKNOWN)


@pytest.mark.parametrize("status", ["34", "1", "10"])
def test_what_is_no_clear_no_beside_an_id_is_unknown(vonage: VonageSms, status: str):
    result = send(vonage, json=answer({"status": status, "message-id": "M1", "error-text": "moon phase"}))
    assert (result.outcome, result.reason, result.code) == (Outcome.UNKNOWN, "partly_accepted", status)
    assert result.provider_message_id == "M1"


@pytest.mark.parametrize("status", ["13", "16", "19", "20", "34", "99", "1000", 34])
def test_an_unlisted_status_is_a_refusal_with_the_providers_words(vonage: VonageSms, status: Any):
    result = send(vonage, json=answer(no(status, "moon phase")))
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.OTHER)
    assert (result.reason, result.code) == ("refused_by_provider", str(status))
    assert "moon phase" in result.message
    assert result.raw["messages"][0]["error-text"] == "moon phase"


@pytest.mark.parametrize(
    ("status", "said", "fault", "reason"),
    [
        ("2", "Missing from param", Fault.SENDER, "sender_missing"),
        ("2", "Missing to param", Fault.RECIPIENT, "recipient_missing"),
        ("2", "Missing text param", Fault.CONTENT, "empty_text"),
        ("2", "Missing api_key", Fault.OTHER, "invalid_request"),
        ("2", "Missing username", Fault.OTHER, "invalid_request"),
        ("3", "Invalid value for parameter: from", Fault.SENDER, "sender_not_accepted"),
        ("3", "Invalid from param", Fault.SENDER, "sender_not_accepted"),
        ("3", "Invalid `to` param", Fault.RECIPIENT, "invalid_recipient"),
        ("3", "TO address is not valid", Fault.RECIPIENT, "invalid_recipient"),
        ("3", "text is not valid", Fault.CONTENT, "content_refused"),
        ("3", "the text has to be shorter", Fault.CONTENT, "content_refused"),
        ("3", "Invalid ttl", Fault.OTHER, "invalid_request"),
        ("3", "token, context and formation are other words", Fault.OTHER, "invalid_request"),
        ("9", "not enough credit from now on", Fault.BALANCE, "insufficient_provider_balance"),
    ],
)
def test_a_bad_parameter_is_known_by_its_name(vonage: VonageSms, status: str, said: str, fault: Fault, reason: str):
    for given in (status, int(status)):
        result = send(vonage, json=answer(no(given, said)))
        assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, fault, reason)
        assert result.code == status


@pytest.mark.parametrize("said", [None, {}, [], "", 5])
def test_a_status_without_a_text(vonage: VonageSms, said: Any):
    assert send(vonage, json=answer({"status": "2", "error-text": said})).reason == "invalid_request"
    assert send(vonage, json=answer({"status": "1", "error-text": said})).retry_after is None
    assert send(vonage, json=answer({"status": "3"})).fault is Fault.OTHER


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ("please wait [ 250 ] and retry", timedelta(milliseconds=250)),
        ("please wait [1500] and retry", timedelta(seconds=1.5)),
        ("please wait [ 86400000 ] and retry", timedelta(hours=24)),
        ("please wait [ 86400001 ] and retry", None),
        ("please wait [ 99999999999999999999 ] and retry", None),
        ("please wait [ 0 ] and retry", None),
        ("please wait [ -250 ] and retry", None),
        ("please wait [ ٢٥٠ ] and retry", None),
        ("please wait [ soon ] and retry", None),
        ("please wait 250 and retry", None),
        ("Throttled", None),
    ],
)
def test_how_long_a_throttled_call_waits(vonage: VonageSms, said: str, wait: timedelta | None):
    for status in ("1", 1, "10"):
        assert send(vonage, json=answer(no(status, said))).retry_after == wait


def test_a_number_in_brackets_is_no_wait_elsewhere(vonage: VonageSms):
    assert send(vonage, json=answer(no("9", "Quota [ 250 ] exceeded"))).retry_after is None


def test_the_header_knows_the_wait_better(vonage: VonageSms):
    body = answer(no("1", "please wait [ 250 ]"))
    assert send(vonage, json=body, headers={"Retry-After": "7"}).retry_after == timedelta(seconds=7)


# --- the order of decisions ----------------------------------------------------------------------------------------

YES_AND_NO = answer(PART, no("9"))


@pytest.mark.parametrize("body", [answer(no("9")), answer(no("1", "[ 250 ]")), {}])
@pytest.mark.parametrize(
    ("status", "outcome", "fault"),
    [
        (401, Outcome.REJECTED, Fault.AUTH),
        (429, Outcome.UNAVAILABLE, Fault.THROTTLED),
        (500, Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
        (503, Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
    ],
)
def test_some_http_statuses_go_before_any_body(
    vonage: VonageSms, body: Any, status: int, outcome: Outcome, fault: Fault
):
    result = send(vonage, json=body, status=status)
    assert (result.outcome, result.fault, result.http_status) == (outcome, fault, status)


@pytest.mark.parametrize("status", [302, 400, 403, 404])
@pytest.mark.parametrize("body", [answer(PART), YES_AND_NO, answer(PART, {})])
def test_a_yes_that_its_http_status_contradicts_is_unknown(vonage: VonageSms, status: int, body: Any):
    result = send(vonage, json=body, status=status)
    assert result.outcome == Outcome.UNKNOWN


def test_access_refused(vonage: VonageSms):
    result = send(vonage, json={}, status=403)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "access_denied")


@pytest.mark.parametrize(
    ("http_status", "code", "outcome", "fault"),
    [
        (401, "401", Outcome.REJECTED, Fault.AUTH),
        (200, "401", Outcome.REJECTED, Fault.AUTH),
        (200, 401, Outcome.REJECTED, Fault.AUTH),
        (200, "429", Outcome.UNAVAILABLE, Fault.THROTTLED),
        (200, "500", Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
        (420, "420", Outcome.REJECTED, Fault.OTHER),
        (200, "420", Outcome.REJECTED, Fault.OTHER),
        (400, "5", Outcome.REJECTED, Fault.OTHER),  # not the status of a part
        (200, "200", Outcome.UNKNOWN, Fault.OTHER),  # a success of nobody knows what
        (200, "5", Outcome.UNKNOWN, Fault.OTHER),
    ],
)
def test_an_error_code_repeats_the_http_status(
    vonage: VonageSms, http_status: int, code: Any, outcome: Outcome, fault: Fault
):
    body = {"error-code": code, "error-code-label": "method failed"}
    result = send(vonage, json=body, status=http_status)
    assert (result.outcome, result.fault, result.http_status) == (outcome, fault, http_status)
    if http_status == 420:
        assert (result.code, "method failed" in result.message) == ("420", True)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        None,
        {},
        "0",
        [None],
        ["0"],
        [{}],
        [{"message-id": "0A1"}],
        [PART | {"status": None}],
        [PART | {"status": ""}],
        [PART | {"status": "ok"}],
        [PART | {"status": "-1"}],
        [PART | {"status": "٠"}],
        [PART | {"status": 0.0}],
        [PART | {"status": False}],
        [PART | {"status": ["0"]}],
        [PART | {"status": "9" * 5000}],
        [PART, {}],
        [{}, PART],
        [no("9"), {}],
        [PART, no("9"), None],
    ],
)
def test_parts_that_nobody_can_read_are_unknown(vonage: VonageSms, messages: Any):
    result = send(vonage, body=json.dumps({"message-count": "1", "messages": messages}))
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNKNOWN, Fault.OTHER, "unreadable_answer")


# --- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusals", "fault", "code"),
    [
        ([no("9")], Fault.BALANCE, "9"),
        ([no(4), no("9")], Fault.AUTH, "4"),
        ([no("1", "wait [ 250 ]")], Fault.THROTTLED, "1"),
        ([no("5")], Fault.PROVIDER_DOWN, "5"),
        ([no("2", "Missing from param")], Fault.SENDER, "2"),
        ([no("99")], Fault.OTHER, "99"),
    ],
)
@pytest.mark.parametrize("is_taken_first", [True, False])
def test_partly_accepted_is_unknown(
    vonage: VonageSms, refusals: list[Any], fault: Fault, code: str, is_taken_first: bool
):
    taken = [PART, PART | {"message-id": "0A2", "status": 0}]
    result = send(vonage, json=answer(*(taken + refusals if is_taken_first else refusals + taken)))
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNKNOWN, fault, "partly_accepted")
    assert (result.code, result.provider_message_id) == (code, PART["message-id"])
    assert (result.cost, result.segment_count, result.retry_after) == (None, None, None)
    assert "Nothing was sent" not in result.message


def test_all_parts_refused_go_by_the_first(vonage: VonageSms):
    result = send(vonage, json=answer(no("9"), no("4"), no("1")))
    assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.BALANCE, "9")


def test_a_part_that_may_have_left_counts_before_the_first(vonage: VonageSms):
    for first in ("1", "9"):
        result = send(vonage, json=answer(no(first), no("5")))
        assert (result.outcome, result.fault, result.code) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "5")


@pytest.mark.parametrize("status", ["0", 0, " 0 ", "00"])
def test_an_accepted_status_may_be_a_number(vonage: VonageSms, status: Any):
    assert send(vonage, json=answer(PART | {"status": status})).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["0A1", "0A2"], "0A1"),
        ([77, 78], "77"),
        ([None, "0A2"], "0A2"),
        (["", {}, "0A3"], "0A3"),
        ([None], ""),
    ],
)
def test_the_first_id_stands_for_the_message(vonage: VonageSms, ids: list[Any], expected: str):
    result = send(vonage, json=answer(*(PART | {"message-id": one} for one in ids)))
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, expected)
    assert result.segment_count == len(ids)


@pytest.mark.parametrize("count", ["1", 3, None, "many", {}])
def test_parts_are_counted_whatever_their_count_says(vonage: VonageSms, count: Any):
    body = answer(PART, PART, PART) | {"message-count": count}
    assert send(vonage, json=body).segment_count == 3


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        (["0.03330000"], Decimal("0.0333")),
        (["0.1", "0.2"], Decimal("0.3")),  # not 0.30000000000000004
        ([0.1, 0.2, 0.3], Decimal("0.6")),
        (["0.00000000"], Decimal(0)),
        (["0.03330000", None], None),
        (["0.03330000", "free"], None),
        ([{}], None),
        (["NaN"], None),
        (["1e30", "1"], None),
    ],
)
def test_the_cost_is_the_exact_sum_or_nothing(vonage: VonageSms, prices: list[Any], cost: Decimal | None):
    result = send(vonage, json=answer(*(PART | {"message-price": price} for price in prices)))
    assert (result.outcome, result.cost) == (Outcome.ACCEPTED, cost)
    assert result.currency == ("EUR" if cost is not None else "")


def test_a_part_without_any_price(vonage: VonageSms):
    result = send(vonage, json=answer({"status": "0", "message-id": "0A1"}))
    assert (result.outcome, result.cost, result.currency) == (Outcome.ACCEPTED, None, "")


# --- what is sent --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Hello", "{}[]~|€^\\", "àéñøÆß", "Line\nbreak"])
def test_a_text_of_gsm_7_has_no_type(vonage: VonageSms, text: str):
    form = form_of(vonage, Sms("+447700900000", text))
    assert form["text"] == text
    assert "type" not in form


@pytest.mark.parametrize("text", ["مرحبًا 👋 ١٢٣ + & =", "Hello “world”", "👨‍👩‍👧‍👦", "naïve"])
def test_any_other_text_says_that_it_is_unicode(vonage: VonageSms, text: str):
    form = form_of(vonage, Sms("+447700900000", text))
    assert (form["text"], form["type"]) == (text, "unicode")


def test_our_own_id_goes_out_only_when_there_is_one(vonage: VonageSms):
    reference = "0190e3a6-7d32-7000-8000-000000000001"
    assert form_of(vonage, Sms("+447700900000", "Hello", reference=reference))["client-ref"] == reference
    assert "client-ref" not in form_of(vonage, Sms("+447700900000", "Hello"))


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("AcmeInc", "AcmeInc"),
        ("Nimbus-AD", "Nimbus-AD"),
        ("4U", "4U"),
        ("+447700900000", "447700900000"),
        ("447700900000", "447700900000"),
        ("+123456789012345", "123456789012345"),
        ("12345", "12345"),
        ("+Plus", "+Plus"),
    ],
)
def test_a_number_that_sends_goes_out_without_a_plus(vonage: VonageSms, sender: str, expected: str):
    assert form_of(vonage, Sms("+447700900000", "Hello", sender_id=sender))["from"] == expected


@pytest.mark.parametrize(
    "sender", ["Nimbus Inc", "TwelveLetter", "1234567890123456", "+1234567890123456", "متجري", "Café", "Nimbus\n"]
)
def test_a_sender_that_vonage_does_not_take_is_not_sent(vonage: VonageSms, sender: str):
    with responses.RequestsMock():  # any call would fail the test
        result = vonage.send(Sms("+447700900000", "Hello", sender_id=sender), BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_not_accepted")


def test_without_a_sender_nothing_is_sent():
    credentials = {name: value for name, value in CREDENTIALS.items() if name != "from"}
    with responses.RequestsMock():
        result = VonageSms(credentials).send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_missing")
    assert form_of(VonageSms(credentials, default_sender="Shop"))["from"] == "Shop"


@responses.activate
def test_the_settings_may_replace_the_host(vonage: VonageSms, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {"vonage-sms": "http://127.0.0.1:9/relay/"}
    responses.post("http://127.0.0.1:9/relay/sms/json", json=answer(PART))
    assert vonage.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


# --- signatures ----------------------------------------------------------------------------------------------------


def test_a_signed_send_has_no_secret_in_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: NOW + 0.9))
    form = form_of(VonageSms(SIGNED))
    assert set(form) == {"api_key", "from", "to", "text", "client-ref", "timestamp", "sig"}
    assert form["timestamp"] == str(NOW)
    assert not {SECRET, CREDENTIALS["api_secret"]} & set(form.values())


def test_a_signature_covers_every_field_that_is_sent():
    form = form_of(
        VonageSms(SIGNED | {"signature_method": "sha256"}), Sms("+966500000001", "مرحبًا & 👋=", reference="r")
    )
    assert set(form) == {"api_key", "from", "to", "text", "type", "client-ref", "timestamp", "sig"}
    assert form["sig"] == signature(form, SECRET, "sha256")
    for name in form.keys() - {"sig"}:
        assert signature(form | {name: f"{form[name]}x"}, SECRET, "sha256") != form["sig"]


def test_an_unsigned_send_has_no_signature(vonage: VonageSms):
    assert not {"sig", "timestamp"} & form_of(vonage).keys()


def test_echoed_secrets_are_masked_everywhere(caplog: pytest.LogCaptureFixture):
    vonage = VonageSms(SIGNED)
    with caplog.at_level("DEBUG"):
        for secret in (SECRET, CREDENTIALS["api_secret"], BASIC["Authorization"].removeprefix("Basic ")):
            known = send(vonage, json=answer(no("99", f"not {secret}!"), {secret: [secret]}), status=400)
            text = send(vonage, body=f"<{secret}>", status=400)
            as_id = send(vonage, json=answer(PART | {"message-id": secret}))
            for shown in (repr(known), repr(text), repr(as_id), caplog.text):
                assert secret not in shown
            assert text.raw == {"raw": "<•••>"}


# --- questions -----------------------------------------------------------------------------------------------------


@responses.activate
def test_a_password_beyond_latin_1_is_utf_8(vonage: VonageSms):
    """The App Store takes none, but an installation may hold what an older release took."""
    headers = header_matcher({"Authorization": "Basic YWJjZDEyMzQ6c8OpY3JldOKCrA=="})
    responses.get(BALANCE, json={"value": 1}, match=[headers])
    assert VonageSms(CREDENTIALS | {"api_secret": "sécret€"}).balance(BUDGET).amount == 1


@pytest.mark.parametrize("body", [{}, {"value": None}, {"value": "much"}, {"value": True}, {"balance": 5}, []])
@responses.activate
def test_no_balance_is_not_a_zero_balance(vonage: VonageSms, body: Any):
    responses.get(BALANCE, json=body)
    with pytest.raises(ProviderRefused):
        vonage.balance(BUDGET)


@responses.activate
def test_a_balance_may_be_text(vonage: VonageSms):
    responses.get(BALANCE, json={"value": "-0.50"})
    assert vonage.balance(BUDGET).amount == Decimal("-0.5")


def owned(number: Any, *features: Any) -> dict[str, Any]:
    return {"country": "GB", "msisdn": number, "type": "mobile-lvn", "features": list(features)}


@responses.activate
def test_sender_names_are_the_numbers_that_can_send(vonage: VonageSms):
    items = [
        owned("447700900000", "VOICE", "SMS", "MMS"),
        owned("447700900001", "VOICE"),
        owned(447700900002, "SMS"),
        owned(None, "SMS"),
        owned("447700900003"),
        owned("447700900004", {}, None, "SMS"),
        {"msisdn": "447700900005"},
        {"msisdn": "447700900006", "features": {"SMS": False}},
        None,
        "447700900007",
    ]
    match = [header_matcher(BASIC), query_param_matcher({"size": "100", "index": "1"})]
    responses.get(NUMBERS, json={"count": len(items), "numbers": items}, match=match)
    assert vonage.sender_names(BUDGET) == ["447700900000", "447700900002", "447700900004"]


def test_no_secret_in_the_address_of_a_question(vonage: VonageSms):
    with responses.RequestsMock() as http:
        http.get(BALANCE, json={"value": 1})
        http.get(NUMBERS, json={})
        vonage.balance(BUDGET)
        vonage.sender_names(BUDGET)
        for call in http.calls:
            assert not [secret for secret in vonage.secrets() if secret in str(call.request.url)]


def pages(http: Any, *sizes: int) -> None:
    """Answer page after page with so many numbers."""
    for index, size in enumerate(sizes, start=1):
        numbers = [owned(f"4477{index:04d}{number:04d}", "SMS") for number in range(size)]
        match = [query_param_matcher({"size": "100", "index": str(index)})]
        http.get(NUMBERS, json={"count": sum(sizes), "numbers": numbers}, match=match)


@responses.activate
def test_sender_names_of_every_page(vonage: VonageSms):
    pages(responses, 100, 100, 7)
    names = vonage.sender_names(BUDGET)
    assert (len(names), len(set(names)), len(responses.calls)) == (207, 207, 3)


@responses.activate
def test_exactly_one_full_page(vonage: VonageSms):
    pages(responses, 100)
    responses.get(NUMBERS, json={}, match=[query_param_matcher({"size": "100", "index": "2"})])
    assert len(vonage.sender_names(BUDGET)) == 100


@responses.activate
def test_a_list_without_end_is_left(vonage: VonageSms):
    pages(responses, *[100] * (MAX_PAGES + 1))
    assert len(vonage.sender_names(BUDGET)) == 100 * MAX_PAGES
    assert len(responses.calls) == MAX_PAGES


@responses.activate
def test_a_later_page_that_fails_fails_the_list(vonage: VonageSms):
    pages(responses, 100)
    body = {"error-code": "401", "error-code-label": "authentication failed"}
    responses.get(NUMBERS, json=body, status=401, match=[query_param_matcher({"size": "100", "index": "2"})])
    with pytest.raises(ProviderRefused) as caught:
        vonage.sender_names(BUDGET)
    assert caught.value.result.fault is Fault.AUTH


@responses.activate
def test_an_account_without_numbers_answers_an_empty_object(vonage: VonageSms):
    responses.get(NUMBERS, json={})
    assert vonage.sender_names(BUDGET) == []


@pytest.mark.parametrize(
    "reply",
    [
        {"json": []},
        {"body": "null"},
        {"body": ""},
        {"json": {"count": 1}},
        {"json": {"numbers": None}},
        {"json": {"numbers": {}}},
        {"json": {"error-code": "401", "error-code-label": "authentication failed"}},
        {"json": {}, "status": 404},
    ],
)
@responses.activate
def test_no_list_of_numbers_is_not_an_empty_one(vonage: VonageSms, reply: Any):
    responses.get(NUMBERS, **reply)
    with pytest.raises(ProviderRefused):
        vonage.sender_names(BUDGET)


# --- credentials ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        CREDENTIALS,
        {"api_key": "abcd1234", "api_secret": "abcdef"},
        CREDENTIALS | {"api_key": "longer-than-8"},
        CREDENTIALS | {"from": "+447700900000"},
        SIGNED,
        *(SIGNED | {"signature_method": method} for method in SIGNATURES_6),
    ],
)
def test_good_credentials(given: dict[str, str]):
    assert VonageSms.clean_credentials(given) == (given, {})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"api_key": ""}, "api_key"),
        ({"api_key": "abcd 1234"}, "api_key"),
        ({"api_secret": ""}, "api_secret"),
        ({"api_secret": "abc def"}, "api_secret"),
        ({"from": "Nimbus Inc"}, "from"),
        ({"from": "TwelveLetter"}, "from"),
        ({"from": "1234567890123456"}, "from"),
        ({"signature_secret": "two words"}, "signature_secret"),
        ({"signature_secret": SECRET, "signature_method": "SHA256"}, "signature_method"),
        ({"signature_secret": SECRET, "signature_method": "sha3_256"}, "signature_method"),
        ({"signature_secret": SECRET, "signature_method": "md5hash|md5"}, "signature_method"),
        ({"signature_method": "sha256"}, "signature_method"),
        ({"application_id": "00000000-0000-0000-0000-000000000001"}, "application_id"),
    ],
)
def test_bad_credentials(change: dict[str, str], field: str):
    _, wrong = VonageSms.clean_credentials(CREDENTIALS | change)
    assert set(wrong) == {field}


# --- the gateway ---------------------------------------------------------------------------------------------------

FAMILY = "مرحبا 👨‍👩‍👧‍👦 & = +"


@pytest.mark.parametrize("credentials", [CREDENTIALS, SIGNED, SIGNED | {"signature_method": "md5hash"}])
def test_the_gateway_takes_arabic_with_joined_emoji(gateway: Gateway, credentials: dict[str, str]):
    result = VonageSms(credentials).send(Sms("+966500000001", FAMILY, reference="app-0001"), BUDGET)
    assert (result.outcome, result.segment_count, result.currency) == (Outcome.ACCEPTED, 1, "EUR")
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.sender) == ("+966500000001", FAMILY, "AcmeInc")
    assert (entry.is_accepted, entry.provider_id) == (True, result.provider_message_id)
    assert result.raw["messages"][0]["client-ref"] == entry.fields["client-ref"] == "app-0001"


@pytest.mark.parametrize("method", SIGNATURES_6)
def test_the_gateway_checks_signatures_of_every_method(settings: Any, method: str):
    signed = SIGNED | {"signature_method": method}
    with Gateway(credentials={"vonage-sms": signed}) as gateway:
        settings.SMS_PROVIDER_BASE_URLS = gateway.base_urls
        assert VonageSms(signed).send(Sms("+966500000001", FAMILY), BUDGET).outcome == Outcome.ACCEPTED
        result = VonageSms(signed | {"signature_secret": "another"}).send(HELLO, BUDGET)
        assert (result.fault, result.code) == (Fault.AUTH, "14")
        assert gateway.journal.numbers() == ["+966500000001"]


def test_the_gateway_counts_and_prices_parts(gateway: Gateway):
    result = VonageSms(CREDENTIALS).send(Sms("+966500000001", "مرحبا " * 24), BUDGET)
    assert (result.outcome, result.segment_count, result.cost) == (Outcome.ACCEPTED, 3, Decimal("0.0999"))
    ids = [part["message-id"] for part in result.raw["messages"]]
    assert (len(set(ids)), ids[0]) == (3, result.provider_message_id)


def test_the_gateway_drops_what_gsm_7_lacks_without_a_type(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Sms, "is_ucs2", False)
    assert VonageSms(CREDENTIALS).send(Sms("+966500000001", "€5 مرحبا"), BUDGET).outcome == Outcome.ACCEPTED
    assert gateway.journal.entries[0].text == "€5 ?????"


def test_the_gateway_refuses_by_status(gateway: Gateway):
    vonage = VonageSms(CREDENTIALS)

    def refused(**sms: Any) -> tuple[str, str]:
        result = vonage.send(Sms(**{"recipient": "+966500000001", "text": "Hello", **sms}), BUDGET)
        assert result.http_status == 200
        return result.code, result.reason

    assert refused(sender_id="Nobody") == ("15", "sender_not_registered")
    assert refused(recipient="+96650") == ("3", "invalid_recipient")
    assert refused(text="") == ("2", "empty_text")
    assert refused(text="x" * 3201) == ("12", "text_too_long")
    assert refused(reference="r" * 41) == ("3", "invalid_request")
    gateway.script("vonage-sms", refuse(1), times=1)
    assert refused() == ("1", "throttled")
    gateway.script("vonage-sms", refuse("2 from"), times=1)
    assert refused() == ("2", "sender_missing")
    for code, (_, _, reason) in EXPECTED.items():
        gateway.script("vonage-sms", refuse(code), times=1)
        assert refused() == (str(code), reason)
    assert gateway.journal.numbers() == []


def test_the_gateway_knows_wrong_credentials(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    for wrong in ({"api_secret": "wrong"}, {"api_key": "wrong"}, {"signature_secret": SECRET, "api_key": "wrong"}):
        result = VonageSms(CREDENTIALS | wrong).send(HELLO, BUDGET)
        assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.AUTH, "4")
    for wrong in ({"signature_secret": "wrong"}, {"signature_secret": SECRET, "signature_method": "sha1"}):
        result = VonageSms(CREDENTIALS | wrong).send(HELLO, BUDGET)
        assert (result.outcome, result.fault, result.code) == (Outcome.REJECTED, Fault.AUTH, "14")
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: NOW))  # long ago
    assert VonageSms(SIGNED).send(HELLO, BUDGET).code == "14"
    for question in ("balance", "sender_names"):
        with pytest.raises(ProviderRefused) as caught:
            getattr(VonageSms(CREDENTIALS | {"api_secret": "wrong"}), question)(BUDGET)
        assert (caught.value.result.fault, caught.value.result.code) == (Fault.AUTH, "401")
    assert gateway.journal.numbers() == []


def test_the_gateway_tells_balance_and_sender_names(gateway: Gateway):
    vonage = VonageSms(CREDENTIALS)
    left = vonage.balance(BUDGET)
    assert (left.amount, left.currency) == (Decimal("10.28"), "EUR")
    assert vonage.sender_names(BUDGET) == ["447700900000"]
