"""Twilio: the vectors of its contract, its code table, Messaging Services, regions and paging.

The vectors of delivery reports (7, and the first half of 8) belong to receipts, which the product does not take; for
the same reason the `StatusCallback` of vector 1 is not sent.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import responses
from responses.matchers import header_matcher, urlencoded_params_matcher

from sms_providers.adapters.base import MAX_PAGES, NotOffered, ProviderRefused, Sms
from sms_providers.adapters.twilio import ERRORS, TwilioSms, utc_second
from sms_providers.results import Fault, Outcome
from sms_providers.transport import Budget

SID = "AC00000000000000000000000000000001"
KEY = "SK00000000000000000000000000000001"
SERVICE = "MG00000000000000000000000000000001"
ACCOUNT = f"https://api.twilio.com/2010-04-01/Accounts/{SID}"
SEND = f"{ACCOUNT}/Messages.json"
CREDENTIALS = {"account_sid": SID, "auth_token": "token", "from": "+15005550006"}
WITH_SERVICE = {"account_sid": SID, "auth_token": "token", "messaging_service_sid": SERVICE}
BASIC = {"Authorization": "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTp0b2tlbg=="}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+15551230001", "Hello")
FORM = {"To": "+15551230001", "From": "+15005550006", "Body": "Hello"}
QUEUED: dict[str, Any] = {
    "account_sid": SID,
    "body": "Hello",
    "error_code": None,
    "error_message": None,
    "from": "+15005550006",
    "messaging_service_sid": None,
    "num_segments": "1",
    "price": None,
    "price_unit": "USD",
    "sid": "SM00000000000000000000000000000001",
    "status": "queued",
    "to": "+15551230001",
}


@pytest.fixture
def twilio() -> TwilioSms:
    return TwilioSms(CREDENTIALS)


def send(twilio: TwilioSms, **reply: Any):
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return twilio.send(HELLO, BUDGET)


def refusal(code: Any, status: int = 400) -> dict[str, Any]:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return {"json": {"code": code, "message": "Not so", "more_info": more, "status": status}, "status": status}


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_recipient_accepted(twilio: TwilioSms):
    headers = header_matcher({**BASIC, "Content-Type": "application/x-www-form-urlencoded"})
    responses.post(SEND, json=QUEUED, status=201, match=[urlencoded_params_matcher(FORM), headers])
    result = twilio.send(HELLO, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "SM00000000000000000000000000000001")
    assert (result.segment_count, result.cost, result.currency) == (1, None, "")
    assert result.raw == QUEUED


@responses.activate
def test_vector_2_scheduled_through_a_messaging_service():
    form = {
        "To": "+15551230001",
        "MessagingServiceSid": SERVICE,
        "Body": "Reminder",
        "ScheduleType": "fixed",
        "SendAt": "2026-02-01T09:30:00Z",
    }
    body = {
        "sid": "SM00000000000000000000000000000002",
        "status": "scheduled",
        "from": None,
        "messaging_service_sid": SERVICE,
        "num_segments": "0",
        "price": None,
        "price_unit": None,
        "error_code": None,
        "error_message": None,
        "to": "+15551230001",
    }
    responses.post(SEND, json=body, status=201, match=[urlencoded_params_matcher(form)])
    due = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
    result = TwilioSms(WITH_SERVICE).send(Sms("+15551230001", "Reminder", send_at=due), BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "SM00000000000000000000000000000002")
    assert result.segment_count is None


def test_vector_3_bad_number(twilio: TwilioSms):
    result = send(twilio, **refusal(21211))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")
    assert result.code == "21211"


def test_vector_4_opted_out(twilio: TwilioSms):
    result = send(twilio, **refusal(21610))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.RECIPIENT, "recipient_opted_out")


def test_vector_5_wrong_token(twilio: TwilioSms):
    result = send(twilio, **refusal(20003, 401))
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")


def test_vector_6_throttled(twilio: TwilioSms):
    result = send(twilio, **refusal(20429, 429), headers={"Twilio-Concurrent-Requests": "100"})
    assert (result.outcome, result.fault, result.code) == (Outcome.UNAVAILABLE, Fault.THROTTLED, "20429")
    assert result.retry_after is None


@responses.activate
def test_vector_8_balance(twilio: TwilioSms):
    body = {"account_sid": SID, "balance": "12.3400", "currency": "USD"}
    responses.get(f"{ACCOUNT}/Balance.json", json=body, match=[header_matcher(BASIC)])
    left = twilio.balance(BUDGET)
    assert (left.amount, left.currency) == (Decimal("12.34"), "USD")


# --- codes ---------------------------------------------------------------------------------------------------------

FAULTS = {
    Fault.AUTH: [20003, 20005, 90010, 20006, 20403, 20008, 30002],
    Fault.RECIPIENT: [
        21211, 21421, 21604, 21612, 21614, 21635, 21608, 21219, 21408, 21610, 21653, 30003, 30004, 30005, 30006,
    ],
    Fault.SENDER: [
        21212, 21601, 21606, 21603, 21607, 21659, 21701, 21702, 21703, 21704, 21705, 21709, 21712, 30018, 30024, 30032,
        30034,
    ],
    Fault.CONTENT: [21602, 21617, 21605, 21618, 21654, 21655, 21656, 30007],
    Fault.THROTTLED: [20429, 21611, 14107, 63017, 63018, 63038, 35125, 30001, 30017, 30022, 30023, 30027],
    Fault.PROVIDER_DOWN: [20500, 20503, 30410],
    Fault.OTHER: [20404, 21609, 21624, 35111, 35114, 35115, 35116, 35118, 35119, 30008, 30010],
}  # fmt: skip
CODES = [(code, fault) for fault, codes in FAULTS.items() for code in codes]
OUTCOMES = {Fault.THROTTLED: Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN: Outcome.UNKNOWN}


def test_the_table_has_every_documented_code_and_no_other():
    assert {code: meaning.fault for code, meaning in ERRORS.items()} == {str(code): fault for code, fault in CODES}


@pytest.mark.parametrize(("code", "fault"), CODES)
@pytest.mark.parametrize("form", ["number", "text", "failed"])
def test_every_code(twilio: TwilioSms, code: int, fault: Fault, form: str):
    if form in ("number", "text"):
        result = send(twilio, **refusal(code if form == "number" else str(code)))
    else:
        result = send(twilio, json=QUEUED | {"status": form, "error_code": code}, status=201)
        assert result.provider_message_id == QUEUED["sid"]
    assert (result.outcome, result.fault) == (OUTCOMES.get(fault, Outcome.REJECTED), fault)
    assert (result.code, result.reason) == (str(code), ERRORS[str(code)].reason)


@pytest.mark.parametrize(("code", "fault"), CODES)
def test_every_code_of_a_message_that_was_with_the_carrier(twilio: TwilioSms, code: int, fault: Fault):
    """What would be tried again, and an error that nobody explains, may still arrive."""
    result = send(twilio, json=QUEUED | {"status": "undelivered", "error_code": code}, status=201)
    assert (result.code, result.provider_message_id) == (str(code), QUEUED["sid"])
    if fault is Fault.THROTTLED or code == 30008:
        assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "no_carrier_report")
    else:
        assert (result.outcome, result.fault) == (OUTCOMES.get(fault, Outcome.REJECTED), fault)


@pytest.mark.parametrize(
    ("status", "outcome", "fault"),
    [
        (400, Outcome.REJECTED, Fault.OTHER),
        (401, Outcome.REJECTED, Fault.AUTH),
        (403, Outcome.REJECTED, Fault.AUTH),
        (404, Outcome.REJECTED, Fault.OTHER),
        (429, Outcome.UNAVAILABLE, Fault.THROTTLED),
        (500, Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
        (503, Outcome.UNKNOWN, Fault.PROVIDER_DOWN),
    ],
)
@pytest.mark.parametrize("code", [99999, None])
def test_an_unlisted_code_goes_by_status(
    twilio: TwilioSms, status: int, outcome: Outcome, fault: Fault, code: int | None
):
    result = send(twilio, **refusal(code, status))
    assert (result.outcome, result.fault, result.code) == (outcome, fault, str(code or ""))
    assert result.raw["message"] == "Not so"


def test_a_known_no_stays_a_no_under_any_status_but_429_and_a_fault(twilio: TwilioSms):
    assert send(twilio, **refusal(21211, 404)).fault is Fault.RECIPIENT
    assert send(twilio, **refusal(21211, 500)).outcome == Outcome.UNKNOWN
    assert send(twilio, **refusal(21211, 429)).outcome == Outcome.UNAVAILABLE


def test_loop_protection_asks_for_its_30_seconds(twilio: TwilioSms):
    assert send(twilio, **refusal(14107)).retry_after == timedelta(seconds=30)
    reply = {**refusal(14107), "headers": {"Retry-After": "45"}}
    assert send(twilio, **reply).retry_after == timedelta(seconds=45)


def test_failed_at_once_without_a_code(twilio: TwilioSms):
    result = send(twilio, json=QUEUED | {"status": "failed"}, status=201)
    assert (result.outcome, result.fault) == (Outcome.REJECTED, Fault.OTHER)


@pytest.mark.parametrize("status", ["queued", "accepted", "scheduled", "sending", "sent", None, "something new"])
def test_any_other_status_is_accepted(twilio: TwilioSms, status: Any):
    assert send(twilio, json=QUEUED | {"status": status}, status=201).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("body", [{}, {"sid": None}, {"sid": ""}, {"sid": {}}, {"status": "queued"}])
def test_a_success_without_a_sid_is_unknown(twilio: TwilioSms, body: Any):
    assert send(twilio, json=body, status=201).outcome == Outcome.UNKNOWN


def test_a_price_is_negative_for_a_charge(twilio: TwilioSms):
    result = send(twilio, json=QUEUED | {"price": "-0.00750"}, status=201)
    assert (result.cost, result.currency) == (Decimal("0.0075"), "USD")


# --- sender, service, region ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "default_sender", "sender_id", "expected"),
    [
        (CREDENTIALS, "", "", {"From": "+15005550006"}),
        (CREDENTIALS, "Shop", "", {"From": "Shop"}),
        (CREDENTIALS, "Shop", "Sale", {"From": "Sale"}),
        (WITH_SERVICE, "", "", {"MessagingServiceSid": SERVICE}),
        (WITH_SERVICE, "", "Sale", {"From": "Sale", "MessagingServiceSid": SERVICE}),
        (WITH_SERVICE | CREDENTIALS, "", "", {"From": "+15005550006", "MessagingServiceSid": SERVICE}),
    ],
)
@responses.activate
def test_who_sends(credentials: dict[str, str], default_sender: str, sender_id: str, expected: dict[str, str]):
    form = {"To": "+15551230001", "Body": "Hello", **expected}
    responses.post(SEND, json=QUEUED, status=201, match=[urlencoded_params_matcher(form)])
    twilio = TwilioSms(credentials, default_sender=default_sender)
    assert twilio.send(Sms("+15551230001", "Hello", sender_id=sender_id), BUDGET).outcome == Outcome.ACCEPTED


@responses.activate
def test_an_api_key_takes_the_place_of_the_token():
    credentials = {"account_sid": SID, "api_key_sid": KEY, "api_key_secret": "sécret", "from": "Shop"}
    basic = base64.b64encode(f"{KEY}:sécret".encode()).decode()
    headers = header_matcher({"Authorization": f"Basic {basic}"})
    responses.post(SEND, json=QUEUED, status=201, match=[headers])
    for extra in ({}, {"auth_token": "token"}):
        assert TwilioSms(credentials | extra).send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


@responses.activate
def test_a_regional_host(settings: Any):
    regional = TwilioSms(CREDENTIALS | {"base_url": "https://api.dublin.ie1.twilio.com/"})
    responses.post(SEND.replace("api.twilio.com", "api.dublin.ie1.twilio.com"), json=QUEUED, status=201)
    assert regional.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED

    settings.SMS_PROVIDER_BASE_URLS = {"twilio-sms": "http://127.0.0.1:9"}
    assert regional.url("/x") == "http://127.0.0.1:9/x"


# --- time ----------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 2, 1, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (timedelta(minutes=15), True),
        (timedelta(minutes=15, microseconds=-1), False),
        (timedelta(days=35), True),
        (timedelta(days=35, microseconds=1), False),
        (timedelta(minutes=-20), False),
    ],
)
def test_twilio_holds_only_for_a_service_and_within_its_window(ahead: timedelta, expected: bool):
    assert TwilioSms(WITH_SERVICE).can_schedule(NOW + ahead, now=NOW) is expected
    assert not TwilioSms(CREDENTIALS).can_schedule(NOW + ahead, now=NOW)


def test_without_a_service_a_message_for_later_is_never_sent_now(twilio: TwilioSms):
    with responses.RequestsMock():
        result = twilio.send(Sms("+15551230001", "Hello", send_at=NOW), BUDGET)
    assert result.outcome == Outcome.REJECTED


def test_a_scheduled_time_is_utc_and_never_early():
    assert utc_second(datetime.fromisoformat("2026-02-01T12:30:00+03:00")) == "2026-02-01T09:30:00Z"
    assert utc_second(datetime(2026, 2, 1, 9, 29, 59, 1, tzinfo=UTC)) == "2026-02-01T09:30:00Z"


# --- questions -----------------------------------------------------------------------------------------------------

NUMBERS, SHORT_CODES = f"{ACCOUNT}/IncomingPhoneNumbers.json", f"{ACCOUNT}/SMS/ShortCodes.json"


def page(*names: str, after: Any = None, sms: Any = True) -> dict[str, Any]:
    numbers = [{"phone_number": name, "capabilities": {"sms": sms, "voice": True}} for name in names]
    return {"incoming_phone_numbers": numbers, "next_page_uri": after}


@responses.activate
def test_sender_names_of_every_page_and_short_codes(twilio: TwilioSms):
    after = f"/2010-04-01/Accounts/{SID}/IncomingPhoneNumbers.json?PageSize=50&Page=1&PageToken=PA1"
    responses.get(f"{NUMBERS}?PageSize=50", json=page("+15005550001", after=after), match=[header_matcher(BASIC)])
    last = page("+15005550002")
    last["incoming_phone_numbers"] += page("+15005550003", sms=False)["incoming_phone_numbers"]
    last["incoming_phone_numbers"] += [{"phone_number": "+15005550004"}, None, {"capabilities": {"sms": True}}]
    responses.get(f"https://api.twilio.com{after}", json=last, match=[header_matcher(BASIC)])
    responses.get(SHORT_CODES, json={"short_codes": [{"short_code": "12345"}, {"short_code": 67890}, {}]})
    assert twilio.sender_names(BUDGET) == ["+15005550001", "+15005550002", "12345", "67890"]


@pytest.mark.parametrize("reply", [{"status": 403, "json": {"code": 20008}}, {"body": "<html>"}, {"status": 301}])
@responses.activate
def test_short_codes_that_cannot_be_asked_for_are_left_out(twilio: TwilioSms, reply: Any):
    responses.get(NUMBERS, json=page("+15005550001"))
    responses.get(SHORT_CODES, **reply)
    assert twilio.sender_names(BUDGET) == ["+15005550001"]


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.example/2010-04-01/",
        "//evil.example/x",
        "@evil.example/x",
        f"/2010-04-01/Accounts/AC{'2' * 32}/IncomingPhoneNumbers.json",
        7,
        "",
    ],
)
@responses.activate
def test_the_next_page_is_this_accounts_on_the_same_host(twilio: TwilioSms, after: Any):
    responses.get(NUMBERS, json=page("+15005550001", after=after))
    responses.get(SHORT_CODES, json={"short_codes": []})
    assert twilio.sender_names(BUDGET) == ["+15005550001"]
    assert len(responses.calls) == 2


@responses.activate
def test_a_list_without_end_is_left(twilio: TwilioSms):
    after = f"/2010-04-01/Accounts/{SID}/IncomingPhoneNumbers.json?Page=1"
    responses.get(NUMBERS, json=page("+15005550001", after=after))
    responses.get(SHORT_CODES, json={"short_codes": []})
    assert len(twilio.sender_names(BUDGET)) == MAX_PAGES


@responses.activate
def test_a_later_page_that_fails_fails_the_list(twilio: TwilioSms):
    after = f"/2010-04-01/Accounts/{SID}/IncomingPhoneNumbers.json?Page=1"
    responses.get(f"{NUMBERS}?PageSize=50", json=page("+15005550001", after=after))
    responses.get(f"https://api.twilio.com{after}", **refusal(20003, 401))
    with pytest.raises(ProviderRefused) as caught:
        twilio.sender_names(BUDGET)
    assert caught.value.result.fault is Fault.AUTH


@responses.activate
def test_a_sub_account_has_no_balance_to_tell(twilio: TwilioSms):
    responses.get(f"{ACCOUNT}/Balance.json", **refusal(20404, 404))
    with pytest.raises(NotOffered) as caught:
        twilio.balance(BUDGET)
    assert "sub-account" in caught.value.result.message


@pytest.mark.parametrize(
    ("sender", "expected"),
    [("15005550006", "+15005550006"), ("+15005550006", "+15005550006"), ("12345", "12345"), ("Shop", "Shop")],
)
def test_a_number_goes_out_with_its_plus_and_a_short_code_without(twilio: TwilioSms, sender: str, expected: str):
    assert twilio.build_send(Sms("+15551230001", "Hello", sender_id=sender)).data["From"] == expected


# --- the rest ------------------------------------------------------------------------------------------------------


@responses.activate
def test_an_arabic_round_trip(twilio: TwilioSms):
    text = "مرحبًا 👋 ١٢٣ + & ="
    reply = QUEUED | {"body": text}
    responses.post(SEND, json=reply, status=201, match=[urlencoded_params_matcher(FORM | {"Body": text})])
    assert twilio.send(Sms("+15551230001", text), BUDGET).raw == reply


def test_echoed_secrets_are_masked_everywhere(caplog: pytest.LogCaptureFixture):
    token, secret = "0123456789abcdef0123456789abcdef", "p@ss/wörd+1"
    twilio = TwilioSms(CREDENTIALS | {"auth_token": token, "api_key_sid": KEY, "api_key_secret": secret})
    basics = [base64.b64encode(f"{user}:{word}".encode()).decode() for user, word in ((SID, token), (KEY, secret))]
    spelled = [token, secret, *basics, "p%40ss%2Fw%C3%B6rd%2B1", "p%40ss%2fw%c3%b6rd%2b1", "p@ss\\/w\\u00f6rd+1"]
    with caplog.at_level("DEBUG"):
        for spelling in spelled:
            body = {"code": 99999, "message": f"not {spelling}!", "details": {spelling: [spelling]}}
            known, text = send(twilio, json=body, status=400), send(twilio, body=f"<{spelling}>", status=400)
            for shown in (repr(known), repr(text), caplog.text):
                assert spelling not in shown
            assert text.raw == {"raw": "<•••>"}


HEX = "0123456789abcdefABCDEF0123456789"


@pytest.mark.parametrize(
    "given",
    [
        CREDENTIALS,
        WITH_SERVICE,
        {"account_sid": f"AC{HEX}", "api_key_sid": f"SK{HEX}", "api_key_secret": "s", "from": "Shop"},
        CREDENTIALS | {"base_url": "https://api.twilio.com"},
        CREDENTIALS | {"base_url": "https://api.dublin.ie1.twilio.com/"},
        CREDENTIALS | {"base_url": "https://api.ie1.twilio.com"},
    ],
)
def test_good_credentials(given: dict[str, str]):
    assert TwilioSms.clean_credentials(given) == (given, {})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"account_sid": ""}, "account_sid"),
        ({"account_sid": "AC123"}, "account_sid"),
        ({"account_sid": f"AC{'0' * 32}/../x"}, "account_sid"),
        ({"auth_token": ""}, "auth_token"),
        ({"from": ""}, "from"),
        ({"messaging_service_sid": SID}, "messaging_service_sid"),
        ({"api_key_sid": KEY}, "api_key_secret"),
        ({"api_key_secret": "secret"}, "api_key_sid"),
        ({"base_url": "http://api.twilio.com"}, "base_url"),
        ({"base_url": "https://evil.example"}, "base_url"),
        ({"base_url": "https://api.twilio.com.evil.example"}, "base_url"),
        ({"base_url": "https://eviltwilio.com"}, "base_url"),
        ({"base_url": "https://api.evil.example/.twilio.com"}, "base_url"),
        ({"base_url": "https://api.twilio.com@evil.example"}, "base_url"),
        ({"base_url": "https://user@api.twilio.com"}, "base_url"),
        ({"base_url": "https://api.twilio.com:8443"}, "base_url"),
        ({"base_url": "https://api.a.b.c.twilio.com"}, "base_url"),
        ({"base_url": "https://api.twilio.com/path"}, "base_url"),
        ({"base_url": "https://127.0.0.1"}, "base_url"),
    ],
)
def test_bad_credentials(change: dict[str, str], field: str):
    _, wrong = TwilioSms.clean_credentials(CREDENTIALS | change)
    assert set(wrong) == {field}
