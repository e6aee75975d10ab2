"""4Jawaly: the vectors of its contract, its keys, fields and Arabic texts, its firewall, and its lists in three shapes.

Vector 8 is a delivery report, and belongs to receipts, which the product does not take.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses
from responses.matchers import header_matcher, json_params_matcher, query_param_matcher

from sms_providers.adapters.base import MAX_PAGES, ProviderRefused, Sms
from sms_providers.adapters.fourjawaly import ERRORS, MISSING_FIELDS, TEXTS, WRONG_FIELDS, FourJawalySms
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway import Gateway, accept, answer, refuse, throttle

API = "https://api-sms.4jawaly.com/api/v1/account/area"
SEND, PACKAGES, SENDERS = f"{API}/sms/send", f"{API}/me/packages", f"{API}/senders"
CREDENTIALS = {"api_key": "test-key", "api_secret": "test-secret", "sender": "MyBrand"}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+966500000001", "Hello", reference="ref-1")
HEADERS = {
    "Authorization": "Basic dGVzdC1rZXk6dGVzdC1zZWNyZXQ=",
    "Accept": "application/json",
    "Content-Type": "application/json",
}
DONE = "تمت العملية بنجاح"
JOB = "3f0c1a52-0000-11ef-8000-000000000001"
PACKAGES_QUERY = {
    "is_active": "1", "order_by": "id", "order_by_type": "desc", "page": "1", "page_size": "10",
    "return_collection": "1",
}  # fmt: skip


@pytest.fixture
def fourjawaly() -> FourJawalySms:
    return FourJawalySms(CREDENTIALS)


def body_of(**change: Any) -> dict[str, Any]:
    return {"messages": [{"text": "Hello", "numbers": ["966500000001"], "sender": "MyBrand", **change}]}


def taken(job_id: Any = JOB, **change: Any) -> dict[str, Any]:
    """Return the documented acceptance, with the message's object changed; a None leaves its key out."""
    message = {
        "inserted_numbers": 1,
        "message": {"id": 50000001, "encoding": "GSM_7BIT", "messages": 1, "sender_name": "MyBrand"},
        "no_package": [],
        "has_more_iso_code": [],
        **change,
    }
    message = {key: value for key, value in message.items() if value is not None}
    body = {"job_id": job_id, "messages": [message], "code": 200, "message": DONE}
    return {key: value for key, value in body.items() if value is not None}


def send(fourjawaly: FourJawalySms, sms: Sms = HELLO, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return fourjawaly.send(sms, BUDGET)


def read(result: Result) -> tuple[Outcome, Fault | None, str]:
    return result.outcome, result.fault, result.reason


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_recipient_accepted(fourjawaly: FourJawalySms):
    responses.post(SEND, json=taken(), match=[json_params_matcher(body_of()), header_matcher(HEADERS)])
    result = fourjawaly.send(HELLO, BUDGET)
    assert read(result) == (Outcome.ACCEPTED, None, "")
    assert (result.provider_message_id, result.segment_count) == (JOB, 1)
    assert (result.cost, result.currency) == (None, "")
    assert (result.raw, result.http_status) == (taken(), 200)


@pytest.mark.parametrize(
    ("sms", "half", "expected"),
    [
        (Sms("+966500000001", "Hello Ali"), 0, (Outcome.ACCEPTED, None, "")),
        (Sms("+201000000000", "Hello Sara"), 1, (Outcome.REJECTED, Fault.BALANCE, "package_expired")),
    ],
)
@responses.activate
def test_vector_2_one_number_without_a_package(fourjawaly: FourJawalySms, sms: Sms, half: int, expected: Any):
    """The vector has two messages in one call. We send one per call, so each half is sent and answered alone."""
    lists: dict[str, Any] = {"no_package": [], "has_more_iso_code": []}
    halves: list[dict[str, Any]] = [
        {"inserted_numbers": 1, "message": {"id": 50000002, "messages": 1}, **lists},
        {"inserted_numbers": 0, "message": {"id": 50000003, "messages": 1}, **lists, "no_package": ["201000000000"]},
    ]
    job_id = "3f0c1a52-0000-11ef-8000-000000000002"
    body = {"job_id": job_id, "messages": [halves[half]], "code": 200, "message": DONE}
    sent = body_of(text=sms.text, numbers=[sms.recipient.removeprefix("+")])
    responses.post(SEND, json=body, match=[json_params_matcher(sent), header_matcher(HEADERS)])
    result = fourjawaly.send(sms, BUDGET)
    assert read(result) == expected
    assert result.provider_message_id == job_id


def test_vector_3_http_200_with_an_error(fourjawaly: FourJawalySms):
    result = send(fourjawaly, json={"messages": [{"err_text": "لا يوجد ارقام متاحة"}]})
    assert read(result) == (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")
    assert "لا يوجد ارقام متاحة" in result.message


def test_vector_4_sender_not_allowed(fourjawaly: FourJawalySms):
    said = "اسم المرسل غير موجود او لا تملك صلاحية"
    result = send(fourjawaly, json={"code": 400, "message": said, "not_senders": ["MyBrand"]}, status=400)
    assert read(result) == (Outcome.REJECTED, Fault.SENDER, "sender_not_registered")
    assert said in result.message
    assert result.may_fail_over


def test_vector_5_token_expired(fourjawaly: FourJawalySms):
    result = send(fourjawaly, json={"code": 400, "message": "التوكن منتهى او انة غير مفعل"}, status=400)
    assert read(result) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert "expired or is switched off" in result.message


def test_vector_6_empty_text(fourjawaly: FourJawalySms):
    result = send(fourjawaly, json={"messages": [{"text": ["حقل messages.0.text مطلوب."]}]}, status=422)
    assert read(result) == (Outcome.REJECTED, Fault.CONTENT, "empty_text")
    assert result.code == "text"


PACKAGE = {"id": 1, "package_points": 1000, "current_points": 985}


@pytest.mark.parametrize("items", [[PACKAGE], {"current_page": 1, "data": [PACKAGE], "last_page": 1}])
@responses.activate
def test_vector_7_balance(fourjawaly: FourJawalySms, items: Any):
    body = {"code": 200, "message": "تم", "total_balance": 985, "items": items}
    responses.get(PACKAGES, json=body, match=[query_param_matcher(PACKAGES_QUERY), header_matcher(HEADERS)])
    left = fourjawaly.balance(BUDGET)
    assert (left.amount, left.unit, left.currency, left.note) == (Decimal(985), "points", "", "")


@responses.activate
def test_vector_7_senders(fourjawaly: FourJawalySms):
    senders = [
        {"id": 2000, "sender_name": "MyBrand", "status": 1, "is_ad": 0},
        {"id": 2001, "sender_name": "NewOne", "status": 0, "is_ad": 0},
    ]
    body = {"code": 200, "message": "تم", "items": {"current_page": 1, "data": senders, "last_page": 1}}
    query = {"page_size": "50", "page": "1", "status": "1", "return_collection": "1"}
    responses.get(SENDERS, json=body, match=[query_param_matcher(query), header_matcher(HEADERS)])
    assert fourjawaly.sender_names(BUDGET) == ["MyBrand"]


# --- keys ----------------------------------------------------------------------------------------------------------

KEYS = {
    "not_senders": (Fault.SENDER, "sender_not_registered"),
    "is_token_expired": (Fault.AUTH, "bad_credentials"),
    "error_numbers": (Fault.RECIPIENT, "invalid_recipient"),
    "no_package": (Fault.BALANCE, "package_expired"),
    "has_more_iso_code": (Fault.RECIPIENT, "invalid_recipient"),
}
LISTS = ["error_numbers", "no_package", "has_more_iso_code"]


def test_the_table_has_every_documented_key_and_no_other():
    assert {key: (meaning.fault, meaning.reason) for key, meaning in ERRORS.items()} == KEYS


@pytest.mark.parametrize("key", ["not_senders", "is_token_expired"])
@pytest.mark.parametrize("form", ["status", "code", "code as text", "neither"])
def test_every_key_of_the_answer(fourjawaly: FourJawalySms, key: str, form: str):
    body: dict[str, Any] = {"message": "?", key: ["MyBrand"] if key == "not_senders" else True}
    if form in ("code", "code as text"):
        body["code"] = 400 if form == "code" else "400"
    result = send(fourjawaly, json=body, status=400 if form == "status" else 200)
    assert read(result) == (Outcome.REJECTED, *KEYS[key])
    assert result.code == key


@pytest.mark.parametrize("key", LISTS)
@pytest.mark.parametrize(
    "numbers",
    [
        ["966500000001"],
        [966500000001],
        "966500000001",
        [{"number": "966500000001", "country": "SA", "error": "رقم غير صحيح"}],
        {"number": "966500000001", "error": ["رقم غير صحيح"]},
    ],
)
@pytest.mark.parametrize("job_id", [JOB, None])
@pytest.mark.parametrize("count", [0, "0", None])
def test_every_list_of_refused_numbers(fourjawaly: FourJawalySms, key: str, numbers: Any, job_id: Any, count: Any):
    result = send(fourjawaly, json=taken(job_id, inserted_numbers=count, **{key: numbers}))
    assert read(result) == (Outcome.REJECTED, *KEYS[key])
    assert (result.code, result.provider_message_id) == (key, job_id or "")
    assert ("رقم غير صحيح" in result.message) == ("رقم غير صحيح" in str(numbers))


def test_of_several_lists_the_bad_number_counts(fourjawaly: FourJawalySms):
    both = taken(inserted_numbers=0, no_package=["966500000001"], error_numbers=[{"number": "966500000001"}])
    assert send(fourjawaly, json=both).code == "error_numbers"


@pytest.mark.parametrize("value", [False, None, 0, "", "0", "false", [], {}, ["true"], "no"])
def test_a_token_that_has_not_expired(fourjawaly: FourJawalySms, value: Any):
    result = send(fourjawaly, json={"code": 400, "message": "?", "is_token_expired": value}, status=400)
    assert read(result) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")


@pytest.mark.parametrize("value", [True, 1, "1", "true"])
def test_a_token_that_has_expired(fourjawaly: FourJawalySms, value: Any):
    result = send(fourjawaly, json={"code": 400, "message": "?", "is_token_expired": value}, status=400)
    assert result.fault is Fault.AUTH


# --- texts ---------------------------------------------------------------------------------------------------------

SAID = [
    ("التوكن منتهى او انة غير مفعل", Fault.AUTH, "bad_credentials"),
    ("انتهت صلاحية التوكن ولا يوجد رصيد", Fault.AUTH, "bad_credentials"),  # the order of the table decides
    ("لا يوجد رصيد كافي", Fault.BALANCE, "insufficient_provider_balance"),
    ("رصيدك غير كافٍ", Fault.BALANCE, "insufficient_provider_balance"),
    ("الرصيد لا يكفي لهذه الأرقام", Fault.BALANCE, "insufficient_provider_balance"),
    ("لا يوجد رصيد في الباقة", Fault.BALANCE, "insufficient_provider_balance"),
    ("لا توجد باقة لهذه الوجهة", Fault.BALANCE, "package_expired"),
    ("انتهت الباقه", Fault.BALANCE, "package_expired"),
    ("لا يوجد باقات فعالة", Fault.BALANCE, "package_expired"),
    ("اسم المرسل غير موجود او لا تملك صلاحية", Fault.SENDER, "sender_not_registered"),
    ("إسم المرسل غير مفعل", Fault.SENDER, "sender_not_registered"),
    ("لا يوجد ارقام متاحة", Fault.RECIPIENT, "invalid_recipient"),
    ("لا توجد أرقام صحيحة", Fault.RECIPIENT, "invalid_recipient"),
    ("الرقم المرسل إليه غير صحيح", Fault.RECIPIENT, "invalid_recipient"),
    ("خطأ رقم 7", Fault.OTHER, "refused_by_provider"),  # the number of the error
    ("نص المرسل غير واضح", Fault.OTHER, "refused_by_provider"),
    ("حدث خطأ", Fault.OTHER, "refused_by_provider"),
]


def test_every_row_of_the_texts_is_met():
    rows = {next((row for row, (pattern, _) in enumerate(TEXTS) if pattern.search(text)), None) for text, *_ in SAID}
    assert rows == {*range(len(TEXTS)), None}


@pytest.mark.parametrize(("text", "fault", "reason"), SAID)
@pytest.mark.parametrize("form", ["400", "400 inside 200", "err_text", "err_text beside a job", "err_text under 400"])
def test_every_text(fourjawaly: FourJawalySms, text: str, fault: Fault, reason: str, form: str):
    replies: dict[str, dict[str, Any]] = {
        "400": {"json": {"code": 400, "message": text}, "status": 400},
        "400 inside 200": {"json": {"code": "400", "message": text}},
        "err_text": {"json": {"messages": [{"err_text": text}]}},
        "err_text beside a job": {"json": taken(inserted_numbers=None, err_text=text)},
        "err_text under 400": {"json": {"code": 400, "messages": [{"err_text": text}]}, "status": 400},
    }
    result = send(fourjawaly, **replies[form])
    assert read(result) == (Outcome.REJECTED, fault, reason)
    assert text in result.message
    assert result.provider_message_id == (JOB if form == "err_text beside a job" else "")


@pytest.mark.parametrize("said", [["حدث خطأ"], {"ar": "حدث خطأ"}, 7, True, [None]])
def test_an_error_that_is_no_text_is_a_refusal_too(fourjawaly: FourJawalySms, said: Any):
    result = send(fourjawaly, json=taken(inserted_numbers=0, err_text=said))
    assert read(result) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")


# --- fields --------------------------------------------------------------------------------------------------------

FIELDS = {
    "text": (Fault.CONTENT, "content_refused", "empty_text"),
    "numbers": (Fault.RECIPIENT, "invalid_recipient", "recipient_missing"),
    "sender": (Fault.SENDER, "sender_not_accepted", "sender_missing"),
}
PATHS = {
    "text": ["text", "messages.0.text"],
    "numbers": ["numbers", "messages.0.numbers", "messages.0.numbers.0"],
    "sender": ["sender", "messages.0.sender", "globals.sender"],
}
NAMED = [(field, path) for field, paths in PATHS.items() for path in paths]


def test_the_tables_have_every_documented_field_and_no_other():
    wrong = {field: (meaning.fault, meaning.reason) for field, meaning in WRONG_FIELDS.items()}
    missing = {field: (meaning.fault, meaning.reason) for field, meaning in MISSING_FIELDS.items()}
    assert wrong == {field: (fault, reason) for field, (fault, reason, _) in FIELDS.items()}
    assert missing == {field: (fault, reason) for field, (fault, _, reason) in FIELDS.items()}


@pytest.mark.parametrize(("field", "path"), NAMED)
@pytest.mark.parametrize("form", ["list", "object", "errors", "plain text", "inside 200"])
@pytest.mark.parametrize("is_missing", [False, True])
def test_every_field_of_a_422(fourjawaly: FourJawalySms, field: str, path: str, form: str, is_missing: bool):
    said = f"حقل {path} مطلوب." if is_missing else f"حقل {path} غير صالح."
    bodies: dict[str, dict[str, Any]] = {
        "list": {"messages": [{path: [said]}]},
        "object": {"messages": {path: [said]}},
        "errors": {"message": "The given data was invalid.", "errors": {path: [said]}},
        "plain text": {"messages": [{path: said}]},
        "inside 200": {"code": 422, "messages": [{path: [said]}]},
    }
    result = send(fourjawaly, json=bodies[form], status=200 if form == "inside 200" else 422)
    fault, when_wrong, when_missing = FIELDS[field]
    assert read(result) == (Outcome.REJECTED, fault, when_missing if is_missing else when_wrong)
    assert result.code == field
    assert said in result.message


def test_a_missing_field_in_english(fourjawaly: FourJawalySms):
    body = {"messages": [{"text": ["The messages.0.text field is required."]}]}
    assert send(fourjawaly, json=body, status=422).reason == "empty_text"


@pytest.mark.parametrize(
    ("complaints", "field"),
    [
        ([{"sender": ["?"]}, {"numbers": ["?"]}, {"text": ["?"]}], "text"),
        ([{"sender": ["?"], "numbers": ["?"]}], "numbers"),
        ([None, "?", 7, {"webhook": ["?"]}, {"sender": None}], "sender"),
    ],
)
def test_of_several_fields_the_first_of_the_table_counts(fourjawaly: FourJawalySms, complaints: Any, field: str):
    result = send(fourjawaly, json={"messages": complaints}, status=422)
    assert (result.outcome, result.code, result.fault) == (Outcome.REJECTED, field, FIELDS[field][0])


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"webhook": ["?"]}]},
        {"messages": [{"messages": ["حقل messages مطلوب."]}]},
        {"messages": ["text"]},
        {"messages": {"context": ["?"]}},
        {"messages": 7, "errors": "text"},
        {"messages": []},
        {"text": ["outside of its list"]},
        {},
        [],
        "text",
    ],
)
def test_a_422_that_names_no_field_of_ours(fourjawaly: FourJawalySms, body: Any):
    result = send(fourjawaly, body=json.dumps(body), status=422)
    assert read(result) == (Outcome.REJECTED, Fault.OTHER, "invalid_request")


# --- statuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")),
        (401, (Outcome.REJECTED, Fault.AUTH, "bad_credentials")),
        (403, (Outcome.REJECTED, Fault.AUTH, "access_denied")),
        (404, (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")),
        (405, (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")),
        (422, (Outcome.REJECTED, Fault.OTHER, "invalid_request")),
        (429, (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled")),
        (500, (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down")),
        (502, (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down")),
        (503, (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down")),
        (504, (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down")),
    ],
)
@pytest.mark.parametrize("http_says_success", [False, True])
def test_every_status(fourjawaly: FourJawalySms, status: int, expected: Any, http_says_success: bool):
    result = send(fourjawaly, json={"code": status, "message": "?"}, status=200 if http_says_success else status)
    assert read(result) == expected
    assert result.http_status == (200 if http_says_success else status)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, (Outcome.REJECTED, Fault.AUTH, "bad_credentials")),
        (403, (Outcome.REJECTED, Fault.AUTH, "access_denied")),
        (429, (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled")),
        (500, (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down")),
        (504, (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, "provider_down")),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        {"code": 400, "message": "لا يوجد رصيد", "not_senders": ["MyBrand"]},
        {"messages": [{"text": ["?"]}]},
        {"messages": [{"err_text": "لا يوجد ارقام متاحة"}]},
    ],
)
def test_these_statuses_decide_whatever_the_body_says(fourjawaly: FourJawalySms, status: int, expected: Any, body: Any):
    assert read(send(fourjawaly, json=body, status=status)) == expected


def test_a_missing_sender_goes_before_an_expired_token_and_both_before_the_text(fourjawaly: FourJawalySms):
    body = {"code": 400, "message": "التوكن", "not_senders": ["MyBrand"], "is_token_expired": True}
    assert send(fourjawaly, json=body, status=400).code == "not_senders"
    body = {"code": 400, "message": "لا يوجد رصيد", "not_senders": [], "is_token_expired": True}
    assert send(fourjawaly, json=body, status=400).code == "is_token_expired"


@pytest.mark.parametrize("body", ["<html>no</html>", "<!doctype html>", "Forbidden", "[", '{"code": 403, "mess'])
def test_a_403_that_is_not_the_apis_comes_from_a_firewall(fourjawaly: FourJawalySms, body: str):
    result = send(fourjawaly, body=body, status=403, headers={"Retry-After": "30"})
    assert read(result) == (Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN, "blocked_by_firewall")
    assert "Nothing was sent" in result.message
    assert (result.retry_after, result.may_fail_over) == (timedelta(seconds=30), True)


@pytest.mark.parametrize("body", ["{}", '{"code": 403}', "[]", "null", '"Forbidden"', "403", "", " \r\n"])
def test_a_403_in_json_or_without_a_word_is_the_apis(fourjawaly: FourJawalySms, body: str):
    result = send(fourjawaly, body=body, status=403)
    assert read(result) == (Outcome.REJECTED, Fault.AUTH, "access_denied")


def test_a_web_page_under_any_other_status_goes_by_status(fourjawaly: FourJawalySms):
    page = "<html>blocked</html>"
    assert send(fourjawaly, body=page, status=401).fault is Fault.AUTH
    assert send(fourjawaly, body=page, status=406).outcome == Outcome.REJECTED
    assert send(fourjawaly, body=page, status=200).reason == "unreadable_answer"
    assert send(fourjawaly, body=page, status=503).outcome == Outcome.UNKNOWN


# --- what is accepted and what is not ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, "1", 1.0, 2, None, "many", {}])
def test_a_job_is_an_acceptance(fourjawaly: FourJawalySms, count: Any):
    result = send(fourjawaly, json=taken(inserted_numbers=count, error_numbers=[]))
    assert (result.outcome, result.provider_message_id, result.segment_count) == (Outcome.ACCEPTED, JOB, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"job_id": JOB},
        {"job_id": JOB, "code": "200", "messages": None},
        {"job_id": JOB, "messages": []},
        {"job_id": JOB, "messages": [None, 7, "?"]},
        {"job_id": JOB, "messages": {"inserted_numbers": 1, "message": "?"}},
        {"job_id": JOB, "messages": [{"err_text": "", "no_package": None, "error_numbers": {}}]},
        {"messages": [{"inserted_numbers": 1, "message": {"job_id": JOB}}]},
    ],
)
def test_an_acceptance_of_another_shape(fourjawaly: FourJawalySms, body: Any):
    for status in (200, 201):
        result = send(fourjawaly, json=body, status=status)
        assert (result.outcome, result.provider_message_id, result.segment_count) == (Outcome.ACCEPTED, JOB, None)


def test_a_number_for_an_id_becomes_text(fourjawaly: FourJawalySms):
    assert send(fourjawaly, json=taken(77)).provider_message_id == "77"


@pytest.mark.parametrize(("parts", "count"), [(3, 3), ("3", 3), (0, None), ("many", None), (None, None), ([3], None)])
def test_parts(fourjawaly: FourJawalySms, parts: Any, count: int | None):
    result = send(fourjawaly, json=taken(message={"messages": parts}))
    assert (result.outcome, result.segment_count) == (Outcome.ACCEPTED, count)


@pytest.mark.parametrize("count", [0, "0", 0.0, -1])
@pytest.mark.parametrize("job_id", [JOB, None])
def test_no_number_taken_and_no_list_filled_is_a_refusal(fourjawaly: FourJawalySms, count: Any, job_id: Any):
    result = send(fourjawaly, json=taken(job_id, inserted_numbers=count))
    assert read(result) == (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")
    assert result.provider_message_id == (job_id or "")


@pytest.mark.parametrize(
    "body",
    [
        taken(None),
        taken({}),
        taken(True),
        taken(""),
        {"code": 200, "message": DONE},
        {"messages": [{"err_text": None}]},
        {"messages": "لا يوجد رصيد"},
    ],
)
def test_neither_a_job_nor_an_error_is_unknown(fourjawaly: FourJawalySms, body: Any):
    assert read(send(fourjawaly, json=body)) == (Outcome.UNKNOWN, Fault.OTHER, "unreadable_answer")


BOTH = [
    taken(no_package=["966500000001"]),
    taken(inserted_numbers="1", error_numbers=[{"number": "966500000001"}]),
    taken(None, has_more_iso_code=["966500000001"]),
    taken(err_text="لا يوجد ارقام متاحة"),
    taken() | {"not_senders": ["MyBrand"]},
    taken() | {"code": 400},
    taken(inserted_numbers=None) | {"code": "429"},
    taken(None) | {"code": 500},
    {"job_id": JOB, "messages": [{"inserted_numbers": 1}, {"inserted_numbers": 0, "no_package": ["966500000001"]}]},
]


@pytest.mark.parametrize("body", BOTH)
def test_taken_and_refused_at_once_is_unknown(fourjawaly: FourJawalySms, body: dict[str, Any]):
    result = send(fourjawaly, json=body)
    assert read(result) == (Outcome.UNKNOWN, Fault.OTHER, "partly_accepted")
    assert result.provider_message_id == body.get("job_id", "")
    assert "may have been sent" in result.message


# --- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "expected"), [("Shop", "Shop"), ("متجر", "متجر"), ("+966500000009", "966500000009"), ("+Plus", "+Plus")]
)
@responses.activate
def test_the_sender_as_it_is_and_a_number_without_its_plus(fourjawaly: FourJawalySms, sender: str, expected: str):
    responses.post(SEND, json=taken(), match=[json_params_matcher(body_of(sender=expected))])
    assert fourjawaly.send(Sms("+966500000001", "Hello", sender_id=sender), BUDGET).outcome == Outcome.ACCEPTED


@responses.activate
def test_an_arabic_round_trip(fourjawaly: FourJawalySms):
    text = "مرحبًا 👨‍👩‍👧‍👦 ١٢٣"
    reply = taken(message={"messages": 1, "text": text, "encoding": "UCS2"})
    responses.post(SEND, json=reply, match=[json_params_matcher(body_of(text=text))])
    result = fourjawaly.send(Sms("+966500000001", text), BUDGET)
    assert (result.outcome, result.raw) == (Outcome.ACCEPTED, reply)


def test_a_message_for_later_is_never_sent_now(fourjawaly: FourJawalySms):
    later = datetime.now(UTC) + timedelta(hours=1)
    assert not fourjawaly.can_schedule(later, now=datetime.now(UTC))
    with responses.RequestsMock():  # any call would fail the test
        result = fourjawaly.send(Sms("+966500000001", "Hello", send_at=later), BUDGET)
    assert result.outcome == Outcome.REJECTED


@responses.activate
def test_the_settings_may_replace_the_host(fourjawaly: FourJawalySms, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {"fourjawaly-sms": "http://127.0.0.1:9/relay/"}
    responses.post("http://127.0.0.1:9/relay/api/v1/account/area/sms/send", json=taken())
    assert fourjawaly.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


# --- questions -----------------------------------------------------------------------------------------------------


def shapes(items: list[Any]) -> list[dict[str, Any]]:
    """Return an answer for each shape in which a list has been described."""
    return [
        {"items": items},
        {"items": {"current_page": 1, "data": items, "last_page": 1}},
        {"items": {"collection": items, "pagination": {"current_page": 1}}},
        {"collection": items, "pagination": {"current_page": 1}},
    ]


@pytest.mark.parametrize("total", [985, 985.0, "985", " 985 "])
@responses.activate
def test_a_balance_of_another_type(fourjawaly: FourJawalySms, total: Any):
    responses.get(PACKAGES, json={"total_balance": total})  # without any list
    assert fourjawaly.balance(BUDGET).amount == 985


@responses.activate
def test_a_balance_of_zero_is_one(fourjawaly: FourJawalySms):
    responses.get(PACKAGES, json={"code": 200, "total_balance": 0, "items": []})
    assert fourjawaly.balance(BUDGET).amount == 0


@pytest.mark.parametrize("body", shapes([{"current_points": 985}, {"current_points": "15.5"}]))
@responses.activate
def test_without_a_total_the_packages_are_added_up_and_that_is_noted(fourjawaly: FourJawalySms, body: Any):
    responses.get(PACKAGES, json=body)
    left = fourjawaly.balance(BUDGET)
    assert (left.amount, left.unit) == (Decimal("1000.5"), "points")
    assert "no total" in left.note


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        {"items": [{"current_points": None}]},
        {"items": [{"current_points": 985}, {}]},
        {"items": [{"current_points": 985}, None]},
        {"total_balance": "much"},
        {"code": 400, "total_balance": 985},
        {"code": 401, "items": [{"current_points": 985}]},
    ],
)
@responses.activate
def test_no_balance_is_not_a_zero_balance(fourjawaly: FourJawalySms, body: Any):
    responses.get(PACKAGES, json=body)
    with pytest.raises(ProviderRefused):
        fourjawaly.balance(BUDGET)


@pytest.mark.parametrize(
    "body",
    shapes(
        [
            {"sender_name": "MyBrand", "status": 1},
            {"sender_name": "Old", "status": 2},
            {"sender_name": "NewOne", "status": 0},
            {"sender_name": " AsText ", "status": "1"},
            {"sender_name": "Odd", "status": [1]},
            {"sender_name": "NoStatus"},
            {"sender_name": None, "status": 1},
            {"status": 1},
            "Plain",
            None,
            7,
        ]
    ),
)
@responses.activate
def test_approved_senders_only_in_every_shape(fourjawaly: FourJawalySms, body: Any):
    responses.get(SENDERS, json=body)
    assert fourjawaly.sender_names(BUDGET) == ["MyBrand", "AsText"]
    assert len(responses.calls) == 1


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": {"data": {}}}, {"code": 401, "items": []}])
@responses.activate
def test_no_list_is_not_an_empty_list(fourjawaly: FourJawalySms, body: Any):
    responses.get(SENDERS, json=body)
    with pytest.raises(ProviderRefused):
        fourjawaly.sender_names(BUDGET)


@responses.activate
def test_an_account_without_senders(fourjawaly: FourJawalySms):
    responses.get(SENDERS, json={"code": 200, "items": []})
    assert fourjawaly.sender_names(BUDGET) == []


def page(first: int, count: int = 50) -> list[dict[str, Any]]:
    return [{"sender_name": f"Brand{number}", "status": 1} for number in range(first, first + count)]


def serve(number: int, items: list[dict[str, Any]]) -> None:
    query = query_param_matcher({"page": str(number)}, strict_match=False)
    responses.get(SENDERS, json={"items": items}, match=[query, header_matcher(HEADERS)])


@responses.activate
def test_sender_names_of_every_page(fourjawaly: FourJawalySms):
    full = page(1)
    full[7]["status"] = 0  # a page is full by what it holds, not by what is usable
    serve(1, full)
    serve(2, page(51, 3))
    names = fourjawaly.sender_names(BUDGET)
    assert (len(names), names[0], names[-1]) == (52, "Brand1", "Brand53")
    assert len(responses.calls) == 2


@pytest.mark.parametrize("count", [50, 73])
@responses.activate
def test_a_whole_list_that_ignores_the_page_is_read_once(fourjawaly: FourJawalySms, count: int):
    responses.get(SENDERS, json={"items": page(1, count)})
    assert len(fourjawaly.sender_names(BUDGET)) == count
    assert len(responses.calls) == 2


@responses.activate
def test_a_list_without_end_is_left(fourjawaly: FourJawalySms):
    for number in range(MAX_PAGES + 1):
        serve(number + 1, page(50 * number))
    assert len(fourjawaly.sender_names(BUDGET)) == 50 * MAX_PAGES


@responses.activate
def test_a_later_page_that_fails_fails_the_list(fourjawaly: FourJawalySms):
    serve(1, page(1))
    responses.get(SENDERS, json={"code": 400, "message": "التوكن منتهى"}, status=400)
    with pytest.raises(ProviderRefused) as caught:
        fourjawaly.sender_names(BUDGET)
    assert caught.value.result.fault is Fault.AUTH
    assert "sent" not in caught.value.result.message


@responses.activate
def test_a_question_that_meets_the_firewall(fourjawaly: FourJawalySms):
    responses.get(PACKAGES, body="<html>no</html>", status=403)
    with pytest.raises(ProviderRefused) as caught:
        fourjawaly.balance(BUDGET)
    assert caught.value.result.reason == "blocked_by_firewall"


# --- credentials ---------------------------------------------------------------------------------------------------


def test_echoed_secrets_are_masked_everywhere(fourjawaly: FourJawalySms, caplog: pytest.LogCaptureFixture):
    for secret in ("test-key", "test-secret", "dGVzdC1rZXk6dGVzdC1zZWNyZXQ="):
        with caplog.at_level("DEBUG"):
            known = send(fourjawaly, json={"code": 400, "message": f"bad {secret}", secret: [secret]}, status=400)
            inner = send(fourjawaly, json={"messages": [{"err_text": f"bad {secret}"}]})
            page = send(fourjawaly, body=f"<p>{secret}</p>", status=403)
        for shown in (repr(known), repr(inner), repr(page), caplog.text):
            assert secret not in shown
        assert page.raw == {"raw": "<p>•••</p>"}


def test_credentials():
    assert FourJawalySms.clean_credentials(CREDENTIALS) == (CREDENTIALS, {})
    pair = {name: CREDENTIALS[name] for name in ("api_key", "api_secret")}
    assert FourJawalySms.clean_credentials(pair) == (pair, {})
    for name in pair:
        for value in ("", "with space", "مفتاح", "a\nb"):
            assert set(FourJawalySms.clean_credentials(CREDENTIALS | {name: value})[1]) == {name}


def test_without_a_sender_nothing_is_sent():
    with responses.RequestsMock():
        result = FourJawalySms({**CREDENTIALS, "sender": ""}).send(HELLO, BUDGET)
    assert read(result) == (Outcome.REJECTED, Fault.SENDER, "sender_missing")


# --- the gateway ---------------------------------------------------------------------------------------------------


def test_the_gateway_takes_an_arabic_text_with_joined_emoji(fourjawaly: FourJawalySms, gateway: Gateway):
    text = "مرحبا 👨‍👩‍👧‍👦 أهلاً & سهلاً"
    result = fourjawaly.send(Sms("+966500000001", text), BUDGET)
    assert (result.outcome, result.segment_count) == (Outcome.ACCEPTED, 1)
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.text, entry.sender) == ("+966500000001", text, "MyBrand")
    assert (entry.is_accepted, entry.provider_id) == (True, result.provider_message_id)


@pytest.mark.parametrize(
    ("sms", "fault", "reason"),
    [
        (Sms("+966500000001", "Hello", sender_id="Nobody"), Fault.SENDER, "sender_not_registered"),
        (Sms("+96650000", "Hello"), Fault.RECIPIENT, "invalid_recipient"),
        (Sms("+966500000001", ""), Fault.CONTENT, "empty_text"),
    ],
)
def test_the_gateway_refuses(fourjawaly: FourJawalySms, gateway: Gateway, sms: Sms, fault: Fault, reason: str):
    assert read(fourjawaly.send(sms, BUDGET)) == (Outcome.REJECTED, fault, reason)
    assert gateway.journal.numbers() == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recipient", (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")),
        ("balance", (Outcome.REJECTED, Fault.BALANCE, "insufficient_provider_balance")),
        ("package", (Outcome.REJECTED, Fault.BALANCE, "package_expired")),
        ("other", (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")),
        ("sender", (Outcome.REJECTED, Fault.SENDER, "sender_not_registered")),
        ("token", (Outcome.REJECTED, Fault.AUTH, "bad_credentials")),
        ("400", (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")),
        ("401", (Outcome.REJECTED, Fault.AUTH, "bad_credentials")),
        ("403", (Outcome.REJECTED, Fault.AUTH, "access_denied")),
        ("firewall", (Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN, "blocked_by_firewall")),
        ("422 text", (Outcome.REJECTED, Fault.CONTENT, "empty_text")),
        ("422 numbers", (Outcome.REJECTED, Fault.RECIPIENT, "recipient_missing")),
        ("422 messages", (Outcome.REJECTED, Fault.OTHER, "invalid_request")),
        ("error_numbers", (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")),
        ("no_package", (Outcome.REJECTED, Fault.BALANCE, "package_expired")),
        ("has_more_iso_code", (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")),
        ("a text of the script's own", (Outcome.REJECTED, Fault.OTHER, "refused_by_provider")),
    ],
)
def test_the_gateway_refuses_as_scripted(fourjawaly: FourJawalySms, gateway: Gateway, name: str, expected: Any):
    gateway.script("fourjawaly-sms", refuse(name), times=1)
    assert read(fourjawaly.send(HELLO, BUDGET)) == expected
    assert fourjawaly.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED
    assert gateway.journal.numbers() == ["+966500000001"]


def test_the_gateway_throttles_and_fails(fourjawaly: FourJawalySms, gateway: Gateway):
    gateway.script("fourjawaly-sms", throttle(retry_after=7), times=1)
    assert fourjawaly.send(HELLO, BUDGET).retry_after == timedelta(seconds=7)
    gateway.script("fourjawaly-sms", answer(502), times=1)
    assert fourjawaly.send(HELLO, BUDGET).outcome == Outcome.UNKNOWN
    gateway.script("fourjawaly-sms", accept(), times=1)
    assert fourjawaly.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize("change", [{"api_key": "wrong"}, {"api_secret": "wrong"}])
def test_the_gateway_knows_wrong_credentials(gateway: Gateway, change: dict[str, str]):
    stranger = FourJawalySms(CREDENTIALS | change)
    assert stranger.send(HELLO, BUDGET).reason == "bad_credentials"
    for question in (stranger.balance, stranger.sender_names):
        with pytest.raises(ProviderRefused) as caught:
            question(BUDGET)
        assert caught.value.result.reason == "bad_credentials"
    assert {entry.outcome for entry in gateway.journal.entries} == {"unauthorized"}


def test_the_gateway_tells_balance_and_sender_names(fourjawaly: FourJawalySms, gateway: Gateway):
    left = fourjawaly.balance(BUDGET)
    assert (left.amount, left.unit, left.note) == (Decimal(985), "points", "")
    assert fourjawaly.sender_names(BUDGET) == ["MyBrand", "MyBrand-AD"]


def test_the_gateway_gives_pages_where_no_plain_list_is_asked_for(gateway: Gateway):
    def get(path: str, **query: Any) -> Any:
        url = f"{gateway.base_urls['fourjawaly-sms']}/api/v1/account/area/{path}"
        return requests.get(url, params=query, headers=HEADERS, timeout=10).json()["items"]

    items = get("senders", page_size=2)
    assert (items["current_page"], items["last_page"]) == (1, 2)
    assert [item["sender_name"] for item in items["data"]] == ["MyBrand", "MyBrand-AD"]
    assert [item["sender_name"] for item in get("senders", page_size=2, page=2)["data"]] == ["NewOne"]
    assert get("senders", page=2, return_collection=1) == []
    assert get("me/packages")["data"][0]["current_points"] == 985


def test_the_gateway_checks_the_request_itself(gateway: Gateway):
    url = f"{gateway.base_urls['fourjawaly-sms']}/api/v1/account/area/sms/send"

    def post(body: Any) -> requests.Response:
        return requests.post(url, json=body, headers=HEADERS, timeout=10)

    for messages in (None, [], ["Hello"], body_of()["messages"] * 2):
        assert post({"messages": messages}).status_code == 422
    assert "text" in post(body_of(text=" ")).json()["messages"][0]
    assert "numbers" in post(body_of(numbers="966500000001")).json()["messages"][0]
    assert post(body_of(sender="")).json()["not_senders"]
    for number in ("+966500000001", "0500000001", "966 500000001"):
        assert "err_text" in post(body_of(numbers=[number])).json()["messages"][0]
    assert gateway.journal.numbers() == []


def test_the_gateway_takes_a_shared_sender_and_names_the_numbers_it_does_not_take(gateway: Gateway):
    message = {"text": "Hello", "numbers": ["966500000001", "0500000002"]}
    url = f"{gateway.base_urls['fourjawaly-sms']}/api/v1/account/area/sms/send"
    body = {"messages": [message], "globals": {"sender": "Shop"}}
    reply = requests.post(url, json=body, headers=HEADERS, timeout=10).json()["messages"][0]
    assert (reply["inserted_numbers"], reply["error_numbers"][0]["number"]) == (1, "0500000002")
    (entry,) = gateway.journal.entries
    assert (entry.number, entry.sender) == ("+966500000001", "Shop")
