"""Infobip: the vectors of its contract, its statuses and error codes, whose entry is whose, hosts, time and paging.

The vector of delivery reports (7) belongs to receipts, which the product does not take; for the same reason nothing is
sent as `webhooks`.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import responses
from responses.matchers import header_matcher, json_params_matcher, query_param_matcher

from sms_providers.adapters.base import MAX_PAGES, NotOffered, ProviderRefused, Sms
from sms_providers.adapters.infobip import ERRORS, STATUSES, VIOLATIONS, InfobipSms, utc_millisecond
from sms_providers.adapters.wire import bare_sender
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway import Gateway, drop_after, fault, refuse, throttle

HOST = "https://xxxxx.api.infobip.com"
SEND = f"{HOST}/sms/3/messages"
BALANCE = f"{HOST}/account/1/balance"
NUMBERS = f"{HOST}/numbers/1/numbers"
CREDENTIALS = {"base_url": HOST, "api_key": "test-key", "sender": "MyBrand"}
APP = {"Authorization": "App test-key", "Accept": "application/json"}
BUDGET = Budget(timedelta(seconds=5))
HELLO = Sms("+41793026727", "Hello", reference="app-0001")
BODY: dict[str, Any] = {
    "messages": [
        {
            "sender": "MyBrand",
            "destinations": [{"to": "41793026727", "messageId": "app-0001"}],
            "content": {"text": "Hello"},
        }
    ],
    "options": {"includeSmsCountInResponse": True},
}
PENDING = {
    "groupId": 1,
    "groupName": "PENDING",
    "id": 26,
    "name": "PENDING_ACCEPTED",
    "description": "Message sent to next instance",
}
NO_CREDIT = {
    "groupId": 5,
    "groupName": "REJECTED",
    "id": 12,
    "name": "REJECTED_NOT_ENOUGH_CREDITS",
    "description": "Not enough credits",
}
OURS = {"messageId": "app-0001", "status": PENDING, "destination": "41793026727", "details": {"messageCount": 1}}
ACCEPTED = {"bulkId": "2034072219640523072", "messages": [OURS]}


@pytest.fixture
def infobip() -> InfobipSms:
    return InfobipSms(CREDENTIALS)


def send(infobip: InfobipSms, sms: Sms = HELLO, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.post(SEND, **reply)
        return infobip.send(sms, BUDGET)


def error(code: Any, status: int, *violations: dict[str, Any]) -> dict[str, Any]:
    """A failure in the form of today."""
    body = {"errorCode": code, "description": "Not so", "action": "Adjust it.", "violations": list(violations)}
    return {"json": {**body, "resources": []}, "status": status}


def older_error(code: Any, status: int) -> dict[str, Any]:
    return {"json": {"requestError": {"serviceException": {"messageId": code, "text": "Not so"}}}, "status": status}


def entry(status: Any, **fields: Any) -> dict[str, Any]:
    return {"messageId": "app-0001", "destination": "41793026727", **fields, "status": status}


def answered(infobip: InfobipSms, *entries: Any, sms: Sms = HELLO) -> Result:
    return send(infobip, sms, json={"bulkId": "B1", "messages": list(entries)})


# --- the vectors ---------------------------------------------------------------------------------------------------


@responses.activate
def test_vector_1_one_recipient_accepted(infobip: InfobipSms):
    headers = header_matcher({**APP, "Content-Type": "application/json"})
    responses.post(SEND, json=ACCEPTED, match=[json_params_matcher(BODY), headers])
    result = infobip.send(HELLO, BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "app-0001")
    assert (result.segment_count, result.cost, result.currency) == (1, None, "")
    assert (result.raw, result.http_status) == (ACCEPTED, 200)


def test_vector_2_one_of_two_rejected_for_credit(infobip: InfobipSms):
    """We send one recipient per call, so each of the vector's two is an answer of its own. Both at once are none."""
    taken = {"messageId": "app-0002", "status": PENDING, "destination": "41793026727"}
    refused = {"messageId": "app-0003", "status": NO_CREDIT, "destination": "41793026834"}
    first = send(infobip, json={"bulkId": "B2", "messages": [taken]})
    assert (first.outcome, first.provider_message_id, first.segment_count) == (Outcome.ACCEPTED, "app-0002", None)
    second = send(infobip, json={"bulkId": "B2", "messages": [refused]})
    assert (second.outcome, second.fault, second.provider_message_id) == (Outcome.REJECTED, Fault.BALANCE, "app-0003")
    both = send(infobip, json={"bulkId": "B2", "messages": [taken, refused]})
    assert (both.outcome, both.reason) == (UNKNOWN, "partly_accepted")


@responses.activate
def test_vector_3_scheduled(infobip: InfobipSms):
    """Cancelling is not ours to ask. The count and our id in the destination are in every request that we make."""
    body = {
        "messages": [
            {
                "sender": "MyBrand",
                "destinations": [{"to": "41793026727", "messageId": "job-17"}],
                "content": {"text": "Reminder"},
            }
        ],
        "options": {
            "includeSmsCountInResponse": True,
            "schedule": {"bulkId": "job-17", "sendAt": "2026-02-01T09:30:00.000+0000"},
        },
    }
    headers = header_matcher({**APP, "Content-Type": "application/json"})
    reply = {"bulkId": "job-17", "messages": [OURS | {"messageId": "job-17"}]}
    responses.post(SEND, json=reply, match=[json_params_matcher(body), headers])
    due = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
    result = infobip.send(Sms("+41793026727", "Reminder", send_at=due, reference="job-17"), BUDGET)
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, "job-17")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            {
                "errorCode": "E401",
                "description": "The request lacks valid authentication credentials for the requested resource.",
                "action": "Check the resources and adjust authentication credentials.",
                "violations": [],
                "resources": [],
            },
            "E401",
        ),
        (
            {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED", "text": "Invalid login details"}}},
            "UNAUTHORIZED",
        ),
    ],
)
def test_vector_4_wrong_key_in_both_shapes(infobip: InfobipSms, body: dict[str, Any], code: str):
    result = send(infobip, json=body, status=401)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.AUTH, "bad_credentials")
    assert (result.code, result.raw) == (code, body)


def test_vector_5_bad_request(infobip: InfobipSms):
    body = {
        "errorCode": "E400",
        "description": "Request cannot be processed.",
        "action": "Check the syntax, violations and adjust the request.",
        "violations": [{"property": "messages[0].destinations[0].to", "violation": "size must be between 0 and 64"}],
        "resources": [],
    }
    result = send(infobip, json=body, status=400)
    assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.RECIPIENT, "invalid_recipient")
    assert result.code == "E400"
    assert "messages[0].destinations[0].to size must be between 0 and 64" in result.message


@pytest.mark.parametrize(("headers", "wait"), [({"Retry-After": "2"}, timedelta(seconds=2)), ({}, None)])
def test_vector_6_throttled(infobip: InfobipSms, headers: dict[str, str], wait: timedelta | None):
    body = {
        "errorCode": "E429",
        "description": "Too many requests sent.",
        "action": "Check request rate limit specified in the API endpoint documentation resource.",
        "violations": [],
        "resources": [],
    }
    result = send(infobip, json=body, status=429, headers=headers)
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled")
    assert result.retry_after == wait


@responses.activate
def test_vector_8_balance(infobip: InfobipSms):
    responses.get(BALANCE, json={"balance": 47.79134, "currency": "EUR"}, match=[header_matcher(APP)])
    left = infobip.balance(BUDGET)
    assert (left.amount, left.currency) == (Decimal("47.79134"), "EUR")


# --- statuses ------------------------------------------------------------------------------------------------------

REJECTED, UNAVAILABLE, UNKNOWN = Outcome.REJECTED, Outcome.UNAVAILABLE, Outcome.UNKNOWN

# Group, id and what it means.
MEANINGS = [
    (2, 4, REJECTED, Fault.RECIPIENT, "recipient_unreachable"),
    (2, 9, REJECTED, Fault.RECIPIENT, "recipient_unreachable"),
    (2, 31, UNAVAILABLE, Fault.PROVIDER_DOWN, "provider_unavailable"),
    (4, 15, REJECTED, Fault.RECIPIENT, "recipient_unreachable"),
    (4, 29, UNKNOWN, Fault.OTHER, "no_carrier_report"),
    (5, 6, REJECTED, Fault.RECIPIENT, "no_route"),
    (5, 8, REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    (5, 10, REJECTED, Fault.RECIPIENT, "recipient_opted_out"),
    (5, 11, REJECTED, Fault.SENDER, "sender_not_registered"),
    (5, 12, REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    (5, 13, REJECTED, Fault.SENDER, "sender_blocked"),
    (5, 14, REJECTED, Fault.RECIPIENT, "recipient_blocked"),
    (5, 17, REJECTED, Fault.BALANCE, "package_expired"),
    (5, 18, REJECTED, Fault.RECIPIENT, "recipient_not_verified"),
    (5, 19, REJECTED, Fault.RECIPIENT, "no_route"),
    (5, 20, UNAVAILABLE, Fault.THROTTLED, "recipient_limit_reached"),
    (5, 21, UNAVAILABLE, Fault.PROVIDER_DOWN, "provider_unavailable"),
    (5, 23, UNKNOWN, Fault.OTHER, "already_submitted"),
    (5, 24, REJECTED, Fault.CONTENT, "content_refused"),
    (5, 25, REJECTED, Fault.CONTENT, "text_too_long"),
    (5, 51, REJECTED, Fault.RECIPIENT, "recipient_missing"),
    (5, 52, REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    (4, 87, REJECTED, Fault.RECIPIENT, "recipient_blocked"),
    (5, 87, REJECTED, Fault.RECIPIENT, "recipient_blocked"),
    (5, 100, REJECTED, Fault.OTHER, "refused_by_provider"),
]


def test_the_table_has_every_documented_status_and_no_other():
    expected = {str(code): (outcome, fault, reason) for _, code, outcome, fault, reason in MEANINGS}
    assert {code: meaning[:3] for code, meaning in STATUSES.items()} == expected


@pytest.mark.parametrize(("group", "code", "outcome", "fault", "reason"), MEANINGS)
@pytest.mark.parametrize("form", [int, str])
def test_every_status(
    infobip: InfobipSms, group: int, code: int, outcome: Outcome, fault: Fault, reason: str, form: type
):
    result = answered(infobip, entry({"groupId": form(group), "id": form(code), "description": "No"}))
    assert (result.outcome, result.fault, result.reason) == (outcome, fault, reason)
    assert (result.code, result.provider_message_id, result.http_status) == (str(code), "app-0001", 200)


@pytest.mark.parametrize(("group", "code"), [(1, 3), (1, 7), (1, 26), (3, 2), (3, 5), (0, 0), (1, 999), (1, 12)])
@pytest.mark.parametrize("form", [int, str])
def test_the_group_alone_says_that_it_was_taken(infobip: InfobipSms, group: int, code: int, form: type):
    result = answered(infobip, entry({"groupId": form(group), "id": form(code)}))
    assert (result.outcome, result.reason, result.provider_message_id) == (Outcome.ACCEPTED, "", "app-0001")


@pytest.mark.parametrize("group", [2, 5])
@pytest.mark.parametrize("code", [999, 26, "NEW"])
def test_an_unlisted_status_of_a_failed_group_is_a_refusal(infobip: InfobipSms, group: int, code: Any):
    result = answered(infobip, entry({"groupId": group, "id": code, "description": "moon phase"}))
    assert (result.outcome, result.fault, result.reason) == (REJECTED, Fault.OTHER, "refused_by_provider")
    assert result.code == str(code)
    assert "moon phase" in result.message
    assert result.raw["messages"][0]["status"]["description"] == "moon phase"


def test_an_unlisted_way_to_expire_is_unknown(infobip: InfobipSms):
    """It was on its way for as long as it was valid."""
    result = answered(infobip, entry({"groupId": 4, "id": 22, "name": "EXPIRED_UNKNOWN"}))
    assert (result.outcome, result.reason, result.code) == (UNKNOWN, "no_carrier_report", "22")


def test_a_refused_id_is_not_used_again(infobip: InfobipSms):
    """Infobip may count it as seen, and a message that was never sent would look like a repeat."""
    for times, expected in ((0, "app-0001"), (1, "app-0001-2"), (2, "app-0001-3")):
        sms = Sms("+41793026727", "Hello", reference="app-0001", times_refused=times)
        body: Any = infobip.build_send(sms).json
        assert body["messages"][0]["destinations"][0]["messageId"] == expected


def test_a_failed_group_without_a_status_id_is_a_refusal(infobip: InfobipSms):
    result = answered(infobip, entry({"groupId": 5, "name": "REJECTED_SO"}))
    assert (result.outcome, result.fault, result.code) == (REJECTED, Fault.OTHER, "")
    assert "REJECTED_SO" in result.message


@pytest.mark.parametrize("group", [None, "", True, 1.5, [1], {"id": 1}, "PENDING", 6, 7, -1])
def test_an_entry_without_a_readable_group_is_unknown(infobip: InfobipSms, group: Any):
    statuses: list[Any] = [{"groupId": group, "id": 12}, {"id": 26}, {}, None, [], "PENDING"]
    for status in statuses:
        result = answered(infobip, entry(status))
        assert (result.outcome, result.reason) == (UNKNOWN, "unreadable_answer")


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": None}, {"messages": {}}, {"messages": [None, 1, "x"]}])
def test_a_success_without_an_entry_is_unknown(infobip: InfobipSms, body: Any):
    assert send(infobip, json=body | {"bulkId": "B1"}).reason == "unreadable_answer"


def test_the_flooding_filter_asks_for_an_hour(infobip: InfobipSms):
    body = {"messages": [entry({"groupId": 5, "id": 20})]}
    assert send(infobip, json=body).retry_after == timedelta(hours=1)
    assert send(infobip, json=body, headers={"Retry-After": "90"}).retry_after == timedelta(seconds=90)


@pytest.mark.parametrize("details", [None, {}, [], {"messageCount": 0}, {"messageCount": "many"}, {"messageCount": {}}])
def test_a_count_that_is_none_does_not_spoil_the_acceptance(infobip: InfobipSms, details: Any):
    result = answered(infobip, OURS | {"details": details})
    assert (result.outcome, result.segment_count) == (Outcome.ACCEPTED, None)


def test_a_count_or_an_id_of_another_type(infobip: InfobipSms):
    result = answered(infobip, OURS | {"messageId": 77, "details": {"messageCount": "3"}})
    assert (result.provider_message_id, result.segment_count) == ("77", 3)
    assert answered(infobip, OURS | {"messageId": None}).outcome == Outcome.ACCEPTED


# --- several entries -----------------------------------------------------------------------------------------------

OTHERS = {"messageId": "app-0002", "destination": "41793026834", "status": NO_CREDIT}


def test_the_only_entry_is_ours_whatever_it_is_called(infobip: InfobipSms):
    assert answered(infobip, OTHERS).fault is Fault.BALANCE
    assert answered(infobip, {"to": "41793026727", "status": PENDING}).outcome == Outcome.ACCEPTED
    assert answered(infobip, None, 7, {"status": PENDING}).outcome == Outcome.ACCEPTED


@pytest.mark.parametrize(
    "entries",
    [
        [OURS, OURS | {"status": NO_CREDIT}],
        [OURS | {"status": NO_CREDIT}, OURS],
        [OURS, {"messageId": "part-2", "destination": "41793026727", "status": NO_CREDIT}],
        [OTHERS, OTHERS | {"status": PENDING}],
        [OURS, OURS | {"status": {}}],
    ],
)
def test_entries_that_disagree_are_unknown(infobip: InfobipSms, entries: list[Any]):
    result = answered(infobip, *entries)
    assert (result.outcome, result.fault, result.reason) == (UNKNOWN, Fault.OTHER, "partly_accepted")


def test_entries_that_agree_are_one_answer(infobip: InfobipSms):
    assert answered(infobip, OURS, OURS).outcome == Outcome.ACCEPTED
    assert answered(infobip, OTHERS, OTHERS).fault is Fault.BALANCE


# --- error codes ---------------------------------------------------------------------------------------------------

CODES = [
    ("E400", "BAD_REQUEST", 400, REJECTED, Fault.OTHER, "invalid_request"),
    ("E401", "UNAUTHORIZED", 401, REJECTED, Fault.AUTH, "bad_credentials"),
    ("E403", "FORBIDDEN", 403, REJECTED, Fault.AUTH, "access_denied"),
    ("E404", "NOT_FOUND", 404, REJECTED, Fault.OTHER, "account_not_found"),
    ("E429", "TOO_MANY_REQUESTS", 429, UNAVAILABLE, Fault.THROTTLED, "throttled"),
    ("E500", "GENERAL_ERROR", 500, UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
]


def test_the_table_has_every_documented_code_and_no_other():
    expected = {code: meaning for today, older, _, *meaning in CODES for code in (today, older)}
    assert {code: list(meaning[:3]) for code, meaning in ERRORS.items()} == expected


def test_every_table_is_documented():
    assert list(InfobipSms.error_tables().values()) == [STATUSES, ERRORS]


@pytest.mark.parametrize(("today", "older", "status", "outcome", "fault", "reason"), CODES)
@pytest.mark.parametrize("in_200", [False, True])
def test_every_code(
    infobip: InfobipSms, today: str, older: str, status: int, outcome: Outcome, fault: Fault, reason: str, in_200: bool
):
    status = 200 if in_200 else status
    for code, reply in (
        (today, error(today, status)),
        (older, error(older, status)),
        (older, older_error(older, status)),
    ):
        result = send(infobip, **reply)
        assert (result.outcome, result.fault, result.reason, result.code) == (outcome, fault, reason, code)


@pytest.mark.parametrize(
    ("status", "outcome", "fault"),
    [
        (200, REJECTED, Fault.OTHER),
        (400, REJECTED, Fault.OTHER),
        (401, REJECTED, Fault.AUTH),
        (403, REJECTED, Fault.AUTH),
        (404, REJECTED, Fault.OTHER),
        (429, UNAVAILABLE, Fault.THROTTLED),
        (500, UNKNOWN, Fault.PROVIDER_DOWN),
        (502, UNKNOWN, Fault.PROVIDER_DOWN),
        (503, UNKNOWN, Fault.PROVIDER_DOWN),
        (504, UNKNOWN, Fault.PROVIDER_DOWN),
    ],
)
@pytest.mark.parametrize("code", ["E418", 418, "SOMETHING_NEW"])
def test_an_unlisted_code_goes_by_status(
    infobip: InfobipSms, status: int, outcome: Outcome, fault: Fault, code: int | str
):
    for reply in (error(code, status), older_error(code, status)):
        result = send(infobip, **reply)
        assert (result.outcome, result.fault, result.code) == (outcome, fault, str(code))
        assert result.raw == reply["json"]


def test_entries_count_only_in_a_success(infobip: InfobipSms):
    assert send(infobip, json=ACCEPTED, status=500).outcome == UNKNOWN
    assert send(infobip, json=ACCEPTED, status=400).outcome == UNKNOWN
    assert send(infobip, json=ACCEPTED | error("E401", 401)["json"], status=401).outcome == UNKNOWN


@pytest.mark.parametrize(
    "body", [{"requestError": None}, {"requestError": {"serviceException": "no"}}, {"errorCode": []}]
)
def test_an_error_of_an_odd_shape_goes_by_status(infobip: InfobipSms, body: dict[str, Any]):
    assert send(infobip, json=body, status=400).fault is Fault.OTHER
    assert send(infobip, json=body, status=401).fault is Fault.AUTH
    assert send(infobip, json=body, status=200).reason == "unreadable_answer"


# --- violations ----------------------------------------------------------------------------------------------------

PROPERTIES = [
    ("messages[0].destinations", Fault.RECIPIENT, "invalid_recipient"),
    ("messages[0].destinations[0].to", Fault.RECIPIENT, "invalid_recipient"),
    ("messages[0].sender", Fault.SENDER, "sender_not_accepted"),
    ("messages[0].content", Fault.CONTENT, "content_refused"),
    ("messages[0].content.text", Fault.CONTENT, "content_refused"),
    ("options.schedule", Fault.OTHER, "invalid_schedule"),
    ("options.schedule.sendAt", Fault.OTHER, "invalid_schedule"),
    ("messages[0].webhooks.contentType", Fault.OTHER, "invalid_request"),  # not the content
    ("messages", Fault.OTHER, "invalid_request"),
    ("", Fault.OTHER, "invalid_request"),
]


@pytest.mark.parametrize(("path", "fault", "reason"), PROPERTIES)
@pytest.mark.parametrize("code", ["E400", "BAD_REQUEST", None])
def test_a_violation_says_what_a_bad_request_is_about(
    infobip: InfobipSms, path: str, fault: Fault, reason: str, code: str | None
):
    result = send(infobip, **error(code, 400, {"property": path, "violation": "must not be null"}))
    expected = "refused_by_provider" if (code, reason) == (None, "invalid_request") else reason
    assert (result.outcome, result.fault, result.reason, result.code) == (REJECTED, fault, expected, code or "")


def test_of_several_violations_the_first_of_the_table_counts(infobip: InfobipSms):
    both = [{"property": "messages[0].sender", "violation": "a"}, {"property": "messages[0].destinations[0].to"}]
    result = send(infobip, **error("E400", 400, *both))
    assert result.fault is Fault.RECIPIENT
    assert "messages[0].sender a; messages[0].destinations[0].to" in result.message


def test_violations_do_not_change_what_another_code_or_status_says(infobip: InfobipSms):
    sender = {"property": "messages[0].sender", "violation": "must not be null"}
    assert send(infobip, **error("E401", 400, sender)).fault is Fault.AUTH
    assert send(infobip, **error("E429", 400, sender)).outcome == UNAVAILABLE
    assert send(infobip, **error("E400", 429, sender)).outcome == UNAVAILABLE
    assert send(infobip, **error("E500", 500, sender)).outcome == UNKNOWN
    assert send(infobip, **error("E4000", 400, sender)).fault is Fault.SENDER


@pytest.mark.parametrize("violations", [None, {}, "sender", [None, 5, "sender", {}], [{"property": ["sender"]}]])
def test_violations_of_an_odd_shape(infobip: InfobipSms, violations: Any):
    body = {"errorCode": "E400", "description": "No", "violations": violations}
    assert send(infobip, json=body, status=400).reason == "invalid_request"


# --- sender and reference ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("MyBrand", "MyBrand"),
        ("+447860041117", "447860041117"),
        ("447860041117", "447860041117"),
        ("12345", "12345"),
        ("+Plus", "+Plus"),
        ("A+1", "A+1"),
    ],
)
def test_a_sender_that_is_a_number_goes_out_bare(infobip: InfobipSms, sender: str, expected: str):
    assert bare_sender(sender) == expected
    body: Any = infobip.build_send(dataclasses.replace(HELLO, sender_id=sender)).json
    assert body["messages"][0]["sender"] == expected


@responses.activate
def test_without_a_reference_there_is_no_id(infobip: InfobipSms):
    destination, due = {"to": "41793026727"}, datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
    message = {"sender": "MyBrand", "destinations": [destination], "content": {"text": "Hello"}}
    options = {"includeSmsCountInResponse": True, "schedule": {"sendAt": "2026-02-01T09:30:00.000+0000"}}
    expected = {"messages": [message], "options": options}
    responses.post(SEND, json=ACCEPTED, match=[json_params_matcher(expected)])
    assert infobip.send(Sms("+41793026727", "Hello", send_at=due), BUDGET).outcome == Outcome.ACCEPTED


# --- time ----------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 2, 1, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (timedelta(microseconds=1), True),
        (timedelta(0), False),
        (timedelta(minutes=-1), False),
        (timedelta(days=180), True),
        (timedelta(days=180, microseconds=1), False),
    ],
)
def test_infobip_holds_messages_for_180_days(infobip: InfobipSms, ahead: timedelta, expected: bool):
    assert infobip.can_schedule(NOW + ahead, now=NOW) is expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-01T09:30:00+00:00", "2026-02-01T09:30:00.000+0000"),
        ("2026-02-01T12:30:00+03:00", "2026-02-01T09:30:00.000+0000"),
        ("2026-02-01T09:30:00.250+00:00", "2026-02-01T09:30:00.250+0000"),
        ("2026-02-01T09:30:00.250001+00:00", "2026-02-01T09:30:00.251+0000"),
        ("2025-12-31T23:59:59.999001+00:00", "2026-01-01T00:00:00.000+0000"),
    ],
)
def test_a_scheduled_time_is_utc_and_never_early(moment: str, expected: str):
    assert utc_millisecond(datetime.fromisoformat(moment)) == expected


# --- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [error("E403", 403), older_error("FORBIDDEN", 403), {"body": "no", "status": 403}])
@responses.activate
def test_a_key_that_may_not_see_the_balance_is_not_a_wrong_key(infobip: InfobipSms, reply: dict[str, Any]):
    responses.get(BALANCE, **reply)
    responses.get(NUMBERS, **reply)
    for question in (infobip.balance, infobip.sender_names):
        with pytest.raises(NotOffered) as caught:
            question(BUDGET)
        result = caught.value.result
        assert (result.fault, result.reason, result.http_status) == (Fault.AUTH, "access_denied", 403)
        assert "may not ask that" in result.message


@pytest.mark.parametrize("reply", [error("E401", 401), older_error("UNAUTHORIZED", 401)])
@responses.activate
def test_a_wrong_key_on_a_question(infobip: InfobipSms, reply: dict[str, Any]):
    responses.get(BALANCE, **reply)
    responses.get(NUMBERS, **reply)
    for question in (infobip.balance, infobip.sender_names):
        with pytest.raises(ProviderRefused) as caught:
            question(BUDGET)
        assert caught.value.result.reason == "bad_credentials"


@pytest.mark.parametrize("body", [{}, {"balance": None}, {"balance": "much"}, {"balance": True}, {"balance": {}}, [5]])
@responses.activate
def test_no_balance_is_not_a_zero_balance(infobip: InfobipSms, body: Any):
    responses.get(BALANCE, json=body)
    with pytest.raises(ProviderRefused):
        infobip.balance(BUDGET)


@responses.activate
def test_a_balance_of_zero_and_as_text(infobip: InfobipSms):
    responses.get(BALANCE, json={"balance": 0, "currency": "EUR"})
    responses.get(BALANCE, json={"balance": "-1.5", "currency": None})
    assert infobip.balance(BUDGET).amount == 0
    left = infobip.balance(BUDGET)
    assert (left.amount, left.currency) == (Decimal("-1.5"), "")


def owned(number: Any, *capabilities: str) -> dict[str, Any]:
    return {"numberKey": "K1", "number": number, "country": "GB", "capabilities": list(capabilities), "shared": False}


def add_page(page: int, numbers: list[Any]) -> None:
    match = [query_param_matcher({"limit": 50, "page": page}), header_matcher(APP)]
    responses.get(NUMBERS, json={"numbers": numbers, "numberCount": 52}, match=match)


@responses.activate
def test_sender_names_are_the_numbers_of_every_page_that_can_send(infobip: InfobipSms):
    add_page(0, [owned(f"4478600411{number:02d}", "SMS", "VOICE") for number in range(50)])
    odd = [None, 5, {}, {"capabilities": ["SMS"]}, {"number": "1", "capabilities": "SMS"}, {"number": "2"}]
    add_page(1, [owned(447860041150, "SMS"), owned("447860041151", "VOICE"), *odd])
    names = infobip.sender_names(BUDGET)
    assert (len(names), names[0], names[-1]) == (51, "447860041100", "447860041150")


@responses.activate
def test_a_list_without_end_is_left(infobip: InfobipSms):
    responses.get(NUMBERS, json={"numbers": [owned("447860041117", "SMS")] * 50})
    assert len(infobip.sender_names(BUDGET)) == 50 * MAX_PAGES


@responses.activate
def test_a_later_page_that_fails_fails_the_list(infobip: InfobipSms):
    add_page(0, [owned("447860041117", "SMS")] * 50)
    responses.get(NUMBERS, **error("E429", 429))
    with pytest.raises(ProviderRefused) as caught:
        infobip.sender_names(BUDGET)
    assert caught.value.result.fault is Fault.THROTTLED


@responses.activate
def test_no_list_is_not_an_empty_list(infobip: InfobipSms):
    bodies: list[Any] = [{}, {"numbers": None}, {"numbers": {}}, []]
    for body in bodies:
        responses.get(NUMBERS, json=body)
        with pytest.raises(ProviderRefused):
            infobip.sender_names(BUDGET)
        responses.reset()
    responses.get(NUMBERS, json={"numbers": [], "numberCount": 0})
    assert infobip.sender_names(BUDGET) == []


# --- host and credentials ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://xxxxx.api.infobip.com", "https://xxxxx.api.infobip.com"),
        ("https://xxxxx.api.infobip.com/", "https://xxxxx.api.infobip.com"),
        ("xxxxx.api.infobip.com", "https://xxxxx.api.infobip.com"),
        ("xxxxx.api.infobip.com/", "https://xxxxx.api.infobip.com"),
        ("HTTPS://XXXXX.Api.Infobip.COM/", "https://xxxxx.api.infobip.com"),
        ("api.infobip.com", "https://api.infobip.com"),
        ("https://xxxxx.api-us.infobip.com", "https://xxxxx.api-us.infobip.com"),
    ],
)
def test_a_host_of_infobips_however_it_is_written(base_url: str, host: str):
    given = CREDENTIALS | {"base_url": base_url}
    assert InfobipSms.clean_credentials(given) == (given, {})
    assert InfobipSms(given).host() == host
    assert InfobipSms(given).url("/sms/3/messages") == f"{host}/sms/3/messages"


@pytest.mark.parametrize(
    "base_url",
    [
        "https://infobip.com",
        "infobip.com",
        "https://.infobip.com",
        "https://evilinfobip.com",
        "https://xxxxx.api.evilinfobip.com",
        "https://xxxxx.api.infobip.com.evil.example",
        "https://xxxxx.api.infobip.co",
        "https://xxxxx.api.infobip.com.",
        "https://xxxxx.api.infobipxcom",
        "https://xxxxx.api.\u0131nfobip.com",  # a dotless i, which ignoring case would take for one
        "https://xxxxx.api.\u0130nfobip.com",
        "https://\u017fms.api.infobip.com",
        "https://evil.example/.infobip.com",
        "https://evil.example?.infobip.com",
        "https://evil.example#.infobip.com",
        "https://evil.example\\.infobip.com",
        "https://user@xxxxx.api.infobip.com",
        "https://user:pass@xxxxx.api.infobip.com",
        "https://xxxxx.api.infobip.com@evil.example",
        "https://xxxxx.api.infobip.com:8443",
        "https://xxxxx.api.infobip.com/sms",
        "https://xxxxx.api.infobip.com//",
        "https://xxxxx.api.infobip.com?x=1",
        "https://xxxxx.api.infobip.com#x",
        "http://xxxxx.api.infobip.com",
        "//xxxxx.api.infobip.com",
        "https:xxxxx.api.infobip.com",
        "ftp://xxxxx.api.infobip.com",
        "https://127.0.0.1",
        "localhost",
    ],
)
def test_any_other_host_is_refused(base_url: str):
    _, wrong = InfobipSms.clean_credentials(CREDENTIALS | {"base_url": base_url})
    assert set(wrong) == {"base_url"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base_url": ""}, "base_url"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "App test-key"}, "api_key"),
        ({"sender": "A name that is too long"}, "sender"),
        ({"sender": "متجري"}, "sender"),
        ({"webhook_user": "me"}, "webhook_user"),
    ],
)
def test_bad_credentials(change: dict[str, str], field: str):
    _, wrong = InfobipSms.clean_credentials(CREDENTIALS | change)
    assert set(wrong) == {field}


@responses.activate
def test_the_settings_may_replace_the_host(infobip: InfobipSms, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {"infobip-sms": "http://127.0.0.1:9/relay/"}
    responses.post("http://127.0.0.1:9/relay/sms/3/messages", json=ACCEPTED)
    assert infobip.send(HELLO, BUDGET).outcome == Outcome.ACCEPTED


# --- the rest ------------------------------------------------------------------------------------------------------


@responses.activate
def test_an_arabic_round_trip(infobip: InfobipSms):
    text = "مرحبًا 👋 ١٢٣"
    body = BODY | {"messages": [BODY["messages"][0] | {"content": {"text": text}}]}
    reply = {"messages": [entry({"groupId": 5, "id": 999, "description": f"refused: {text}"})]}
    responses.post(SEND, json=reply, match=[json_params_matcher(body)])
    result = infobip.send(dataclasses.replace(HELLO, text=text), BUDGET)
    assert text in result.message
    assert result.raw == reply


def test_an_echoed_key_is_masked_everywhere(infobip: InfobipSms, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("DEBUG"):
        refused = answered(
            infobip, entry({"groupId": 5, "id": 999, "description": "App test-key"}, test_key="test-key")
        )
        violated = send(infobip, **error("E400", 400, {"property": "sender", "violation": "test-key"}))
        as_id = answered(infobip, OURS | {"messageId": "test-key"})
    for shown in (repr(refused), repr(violated), repr(as_id), caplog.text):
        assert "test-key" not in shown


# --- the gateway ---------------------------------------------------------------------------------------------------

FAMILY = "مرحبا 👨‍👩‍👧‍👦 أهلاً وسهلاً"  # joined emoji: seven characters, one picture


def test_the_gateway_takes_arabic_text_with_joined_emoji(infobip: InfobipSms, gateway: Gateway):
    result = infobip.send(Sms("+966500000001", FAMILY, reference="app-0001"), BUDGET)
    assert (result.outcome, result.provider_message_id, result.segment_count) == (Outcome.ACCEPTED, "app-0001", 1)
    (received,) = gateway.journal.entries
    assert received.provider_id == "app-0001"
    assert (received.slug, received.number, received.text) == ("infobip-sms", "+966500000001", FAMILY)
    assert (received.sender, received.scheduled, received.is_accepted) == ("MyBrand", "", True)


def test_the_gateway_holds_a_scheduled_message(infobip: InfobipSms, gateway: Gateway):
    due = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
    result = infobip.send(Sms("+15551230001", "Hello", sender_id="+447860041117", send_at=due), BUDGET)
    (received,) = gateway.journal.entries
    assert (result.outcome, result.provider_message_id) == (Outcome.ACCEPTED, received.provider_id)
    assert (received.sender, received.scheduled) == ("447860041117", "2026-02-01T09:30:00.000+0000")


@pytest.mark.parametrize("code", [*STATUSES, *ERRORS])
def test_the_gateway_refuses_with_every_code(infobip: InfobipSms, gateway: Gateway, code: str):
    gateway.script("infobip-sms", refuse(code))
    result = infobip.send(HELLO, BUDGET)
    meaning = {**STATUSES, **ERRORS}[code]
    assert bool(result.provider_message_id) == (code in STATUSES)
    assert (result.outcome, result.fault, result.reason, result.code) == (*meaning[:3], code)
    assert gateway.journal.numbers() == []


@pytest.mark.parametrize(("name", "meaning"), VIOLATIONS.items())
def test_the_gateway_refuses_with_a_violation(infobip: InfobipSms, gateway: Gateway, name: str, meaning: Any):
    gateway.script("infobip-sms", refuse(name))
    result = infobip.send(HELLO, BUDGET)
    assert (result.outcome, result.fault, result.reason, result.http_status) == (*meaning[:3], 400)


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        ({"text": ""}, "content_refused", "E400"),
        ({"text": "م" * 1700}, "text_too_long", "25"),
        ({"recipient": ""}, "recipient_missing", "51"),
        ({"recipient": "+9665"}, "invalid_recipient", "52"),
        ({"recipient": "1" * 65}, "invalid_recipient", "E400"),
        ({"sender_id": "Nobody"}, "sender_not_registered", "11"),
        ({"reference": "x" * 201}, "invalid_recipient", "E400"),
    ],
)
def test_the_gateway_checks_what_is_documented(
    infobip: InfobipSms, gateway: Gateway, change: dict[str, Any], reason: str, code: str
):
    result = infobip.send(dataclasses.replace(HELLO, **change), BUDGET)
    assert (result.outcome, result.reason, result.code) == (REJECTED, reason, code)


def test_the_gateway_refuses_wrong_credentials(gateway: Gateway):
    stranger = InfobipSms(CREDENTIALS | {"api_key": "other-key"})
    assert stranger.send(HELLO, BUDGET).reason == "bad_credentials"
    for question in (stranger.balance, stranger.sender_names):
        with pytest.raises(ProviderRefused) as caught:
            question(BUDGET)
        assert caught.value.result.reason == "bad_credentials"
    assert gateway.journal.numbers() == []


def test_the_gateway_tells_balance_and_senders(infobip: InfobipSms, gateway: Gateway):
    left = infobip.balance(BUDGET)
    assert (left.amount, left.currency) == (Decimal("47.79134"), "EUR")
    assert infobip.sender_names(BUDGET) == ["447860041117", "447860041119"]


def test_the_gateway_fails_as_it_is_told(infobip: InfobipSms, gateway: Gateway):
    gateway.script("infobip-sms", throttle(retry_after=2), times=1)
    result = infobip.send(HELLO, BUDGET)
    assert (result.outcome, result.code, result.retry_after) == (UNAVAILABLE, "E429", timedelta(seconds=2))
    gateway.script("infobip-sms", fault(502), times=1)
    assert infobip.send(HELLO, BUDGET).reason == "provider_down"
    gateway.script("infobip-sms", drop_after(), times=1)
    assert infobip.send(HELLO, BUDGET).reason == "connection_lost"
    assert gateway.journal.numbers() == ["+41793026727"]
