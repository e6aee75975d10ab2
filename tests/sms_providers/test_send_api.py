"""The slugged API: what a client is told about a send, and that a repeat never sends twice."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from linkit.models import Organization, Token
from outbox.models import Message
from sms_providers import reasons, sending, settling
from sms_providers.adapters.base import Capabilities, ProviderAdapter, Sms
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Source, Status
from sms_providers.results import Fault, Outcome, Result, accepted, rejected
from sms_providers.transport import Budget
from tests import gateway as gw
from tests.conftest import Api
from tests.gateway import Gateway

SEND = "/api/v1/sms-providers/mora-sms/send"
SANDBOX_SEND = "/api/v1/sms-providers/sandbox-sms/send"
MORA_URL = "https://mora-sa.com/api/v1/sendsms"
TAQNYAT_URL = "https://api.taqnyat.sa/v1/messages"
TWILIO_SID = "AC00000000000000000000000000000001"
TWILIO_URL = f"https://api.twilio.com/2010-04-01/Accounts/{TWILIO_SID}/Messages.json"
SERVICE = "MG00000000000000000000000000000001"
SECRET = "s3cr3t-api-key-0123456789"

GOOD = {"mobile": "0501234567", "message": "Hello"}
MORA_YES = {"status": {"code": 200, "message": "Success"}, "data": {"code": 100, "ref_id": "7f3a1c20"}}
TAQNYAT_YES = {
    "statusCode": 201,
    "messageId": 5400000001,
    "cost": 0.026,
    "currency": "SAR",
    "accepted": "[966501234567,]",
}
TWILIO_YES = {"sid": "SM1", "status": "accepted", "num_segments": "1", "price": None}

READ_ENDPOINTS = ["balance", "sender-names", "template/csv"]


@pytest.fixture
def mora(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("mora-sms", api_key=SECRET)


@pytest.fixture
def sandbox(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("sandbox-sms")


def later(**delta: float) -> str:
    return (timezone.now() + timedelta(**delta)).isoformat()


def assert_error(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert set(body) == {"code", "error", "details"}
    assert body["code"] == status
    assert isinstance(body["error"], str)
    return body


def assert_names_the_log(response: Any) -> SmsLog:
    """Check our headers and return the log row that they name."""
    log = SmsLog.objects.get(pk=response.headers["X-Sms-Log-Id"])
    assert response.headers["X-Sms-Parts"] == str(log.segment_count)
    assert response.headers["X-Sms-Encoding"] == log.encoding
    return log


def form(call: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(call.request.body, keep_blank_values=True).items()}


def sent_json(call: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(call.request.body)
    return body


# --- the provider takes it ----------------------------------------------------------------------------------------


@responses.activate
def test_the_answer_is_the_providers_own(api: Api, mora: OrganizationApp, organization: Organization):
    responses.post(MORA_URL, json=MORA_YES)
    response = api.post(SEND, {**GOOD, "sender": "", "datetime": ""})
    assert response.status_code == 200
    assert response.json() == MORA_YES
    log = assert_names_the_log(response)
    assert (response.headers["X-Sms-Parts"], response.headers["X-Sms-Encoding"]) == ("1", "GSM-7")
    assert form(responses.calls[0])["numbers"] == "966501234567"
    assert (log.organization, log.app, log.provider_slug, log.source) == (organization, mora, "mora-sms", Source.SEND)
    assert (log.recipient, log.text, log.status, log.outcome) == ("+966501234567", "Hello", "sent", "accepted")
    assert (log.provider_message_id, log.deadline_at) == ("7f3a1c20", None)
    assert log.sent_at is not None
    assert log.token == Token.objects.api_keys().get()
    attempt = log.attempts.get()
    assert (attempt.outcome, attempt.response, attempt.http_status) == ("accepted", MORA_YES, 200)
    assert attempt.finished_at is not None
    read = api.get(f"/api/v1/sms/logs/{log.pk}").json()
    assert (read["status"], read["mobile"], read["source"]) == ("sent", "+966501234567", "send")
    assert read["attempts"][0]["response"] == MORA_YES


@responses.activate
@pytest.mark.parametrize(
    ("text", "parts", "encoding"),
    [
        ("Hello", "1", "GSM-7"),
        ("x" * 161, "2", "GSM-7"),
        ("Price: 5 €", "1", "GSM-7 Extended"),
        ("مرحبا", "1", "UCS-2"),
        ("م" * 71, "2", "UCS-2"),
    ],
    ids=lambda text: ascii(text)[:12],
)
def test_the_headers_tell_parts_and_encoding(api: Api, mora: OrganizationApp, text: str, parts: str, encoding: str):
    responses.post(MORA_URL, json=MORA_YES)
    response = api.post(SEND, {**GOOD, "message": text})
    assert (response.headers["X-Sms-Parts"], response.headers["X-Sms-Encoding"]) == (parts, encoding)
    assert form(responses.calls[0])["message"] == text


@responses.activate
def test_a_text_arrives_as_it_was_written(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    text = "  two spaces\r\n\ttab & = + % \u00a0 😀 مرحبا  "
    assert api.post(SEND, {**GOOD, "message": text}).status_code == 200
    assert form(responses.calls[0])["message"] == text
    assert SmsLog.objects.get().text == text


@responses.activate
def test_an_answer_that_is_no_object_is_wrapped(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, body="100", content_type="text/plain")
    key = keyed("k")
    for _ in range(2):
        response = api.post(SEND, GOOD, **key)
        assert response.status_code == 200
        assert response.json() == {"raw": 100}
    assert len(responses.calls) == 1


@responses.activate
def test_a_large_or_odd_answer_is_passed_on(api: Api, mora: OrganizationApp):
    odd = {**MORA_YES, "big": 2**80, "tiny": 1e-300, "nul": "a\x00b", "half": "\ud800", "list": [None, True, {"a": []}]}
    responses.post(MORA_URL, body=json.dumps(odd))
    response = api.post(SEND, GOOD)
    assert response.status_code == 200
    body = response.json()
    assert (body["big"], body["list"]) == (2**80, [None, True, {"a": []}])
    assert "\x00" not in body["nul"]
    assert SmsLog.objects.get().status == Status.SENT


# --- the sender ---------------------------------------------------------------------------------------------------


@responses.activate
@pytest.mark.parametrize(
    ("asked", "default", "expected"),
    [
        ("Shop", "Default", "Shop"),
        ("", "Default", "Default"),
        (None, "Default", "Default"),
        ("  ", "Default", "Default"),
        ("", "", "MyBrand"),
        ("متجر", "", "متجر"),
    ],
)
def test_the_sender_is_the_messages_or_the_apps_or_the_credentials(
    api: Api, install: Callable[..., OrganizationApp], asked: str | None, default: str, expected: str
):
    install("mora-sms", default_sender=default)
    responses.post(MORA_URL, json=MORA_YES)
    assert api.post(SEND, {**GOOD, "sender": asked}).status_code == 200
    assert form(responses.calls[0])["sender"] == expected


@responses.activate
def test_without_any_sender_nothing_is_sent(api: Api, install: Callable[..., OrganizationApp]):
    install("mora-sms", sender=None)
    body = assert_error(api.post(SEND, GOOD), 400)
    assert body["details"]["reason"] == "sender_missing"
    assert len(responses.calls) == 0


def test_a_sender_that_is_too_long_is_400(api: Api, sandbox: OrganizationApp):
    assert api.post(SANDBOX_SEND, {**GOOD, "sender": "x" * 20}).status_code == 200
    assert "sender" in assert_error(api.post(SANDBOX_SEND, {**GOOD, "sender": "x" * 21}), 400)["details"]


# --- what is refused before anything is sent ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_fine"),
    [
        ("x", True),
        ("x" * 1530, True),  # ten parts
        ("x" * 1531, False),  # eleven
        ("x" * 1600, False),
        ("x" * 1601, False),
        ("م" * 670, True),
        ("م" * 671, False),
        ("€" * 760, True),  # 76 in each of ten parts
        ("€" * 761, False),
        ("😀" * 330, True),
        ("😀" * 331, False),
        ("", False),
        ("   ", False),
        ("\n", False),
    ],
    ids=lambda value: f"{ascii(value)[:8]}-{len(value)}" if isinstance(value, str) else "",
)
def test_the_length_of_a_text(api: Api, sandbox: OrganizationApp, text: str, is_fine: bool):
    response = api.post(SANDBOX_SEND, {**GOOD, "message": text})
    if is_fine:
        assert response.status_code == 200
        assert int(response.headers["X-Sms-Parts"]) <= 10
    else:
        assert "message" in assert_error(response, 400)["details"]
        assert not SmsLog.objects.exists()


def test_the_reason_of_a_long_text_is_said(api: Api, sandbox: OrganizationApp):
    assert "1600" in assert_error(api.post(SANDBOX_SEND, {**GOOD, "message": "x" * 1601}), 400)["error"]
    assert "11 parts" in assert_error(api.post(SANDBOX_SEND, {**GOOD, "message": "x" * 1600}), 400)["error"]


@pytest.mark.parametrize(
    "mobile",
    [
        "",
        None,
        "abc",
        "123",
        "+966112345678",
        "9.66E+11",
        9.66501234567e11,
        4915112345678.0,
        True,
        [],
        ["0501234567"],
        {},
    ],
    ids=str,
)
def test_a_bad_number_is_400_and_nothing_is_logged(api: Api, sandbox: OrganizationApp, mobile: Any):
    assert "mobile" in assert_error(api.post(SANDBOX_SEND, {**GOOD, "mobile": mobile}), 400)["details"]
    assert not SmsLog.objects.exists()


@pytest.mark.parametrize(
    "mobile",
    ["966501234567", "+966 50 123 4567", "00966501234567", "0501234567", "٠٥٠١٢٣٤٥٦٧", 966501234567, 501234567],
)
def test_a_number_may_be_written_in_many_ways(api: Api, sandbox: OrganizationApp, mobile: Any):
    assert api.post(SANDBOX_SEND, {**GOOD, "mobile": mobile}).status_code == 200
    assert SmsLog.objects.get().recipient == "+966501234567"


def test_a_national_number_is_of_the_organizations_region(
    api: Api, sandbox: OrganizationApp, organization: Organization
):
    Organization.objects.filter(pk=organization.pk).update(default_region="EG")
    assert api.post(SANDBOX_SEND, {**GOOD, "mobile": "01001234567"}).status_code == 200
    assert SmsLog.objects.get().recipient == "+201001234567"


def test_missing_fields_are_named(api: Api, sandbox: OrganizationApp):
    assert set(assert_error(api.post(SANDBOX_SEND, {}), 400)["details"]) == {"mobile", "message"}


@pytest.mark.parametrize("endpoint", ["send", *READ_ENDPOINTS])
def test_an_app_that_cannot_be_used_is_400_and_the_sentence_says_why(
    api: Api,
    install: Callable[..., OrganizationApp],
    other_organization: Organization,
    endpoint: str,
):
    def call(slug: str) -> str:
        url = f"/api/v1/sms-providers/{slug}/{endpoint}"
        sentence: str = assert_error(api.post(url, GOOD) if endpoint == "send" else api.get(url), 400)["error"]
        return sentence

    install(other_organization, "mora-sms")
    app = install("taqnyat-sms", is_enabled=False)
    assert "no SMS app 'nobody-sms'" in call("nobody-sms")
    assert "not installed" in call("mora-sms")
    assert "disabled" in call("taqnyat-sms")
    app.uninstalled_at = timezone.now()
    app.save()
    assert "not installed" in call("taqnyat-sms")
    for odd in ("MORA-SMS", "mora", "%00", "a%2Fb", "😀"):
        url = f"/api/v1/sms-providers/{odd}/{endpoint}"
        assert (api.post(url, GOOD) if endpoint == "send" else api.get(url)).status_code in (400, 404)
    assert not SmsLog.objects.exists()


# --- the provider says no, or nothing -----------------------------------------------------------------------------


@responses.activate
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (105, "insufficient_provider_balance"),
        (106, "sender_not_registered"),
        (108, "invalid_recipient"),
        (112, "content_refused"),
        (114, "account_suspended"),
        (999, "refused_by_provider"),
    ],
)
def test_a_refusal_is_400_with_the_providers_json(api: Api, mora: OrganizationApp, code: int, reason: str):
    no = {"status": {"code": 200}, "data": {"code": code, "message": "no"}}
    responses.post(MORA_URL, json=no)
    response = api.post(SEND, GOOD)
    body = assert_error(response, 400)
    assert body["details"] == {**no, "reason": reason, "explanation": reasons.explain(reason)}
    assert body["details"]["explanation"]["text"].keys() == {"en", "ar"}
    log = assert_names_the_log(response)
    assert (log.status, log.outcome, log.reason) == ("failed", "rejected", reason)


@responses.activate
def test_refused_credentials_are_not_the_clients_401(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json={"status": {"code": 401}, "data": None}, status=401)
    assert assert_error(api.post(SEND, GOOD), 400)["details"]["reason"] == "bad_credentials"


def test_a_refused_connection_is_502(api: Api, mora: OrganizationApp, settings: Settings):
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://127.0.0.1:1"}
    response = api.post(SEND, GOOD)
    body = assert_error(response, 502)
    assert "nothing was sent" in body["error"].lower()
    assert body["details"]["reason"] == "connection_failed"
    log = assert_names_the_log(response)
    assert (log.status, log.outcome) == ("failed", "unavailable")


def test_a_host_that_does_not_exist_is_502(api: Api, mora: OrganizationApp, settings: Settings):
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://nobody.invalid"}
    assert assert_error(api.post(SEND, GOOD), 502)["details"]["reason"] == "dns_failed"


@responses.activate
@pytest.mark.parametrize(
    ("given", "expected"), [("7", "7"), (None, "2"), ("0", "1"), ("soon", "2"), ("999999999", "86400")]
)
def test_a_throttled_send_is_503_and_says_when(api: Api, mora: OrganizationApp, given: str | None, expected: str):
    responses.post(MORA_URL, status=429, body="slow down", headers={"Retry-After": given} if given else {})
    response = api.post(SEND, GOOD)
    body = assert_error(response, 503)
    assert response.headers["Retry-After"] == expected
    assert "nothing was sent" in body["error"].lower()
    assert (body["details"]["raw"], body["details"]["reason"]) == ("slow down", "throttled")
    assert body["details"]["explanation"]["side"] == "provider"
    assert_names_the_log(response)


def assert_unknown(response: Any) -> None:
    assert response.status_code == 202, response.content
    body = response.json()
    assert set(body) == {"outcome", "sms_log_id", "error"}
    assert body["outcome"] == "unknown"
    log = assert_names_the_log(response)
    assert body["sms_log_id"] == str(log.pk)
    assert (log.status, log.outcome) == ("dispatch_timeout", "unknown")


@responses.activate
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "body": "<h1>Oops</h1>"},
        {"status": 502, "body": ""},
        {"status": 503, "body": "Service Unavailable"},
        {"status": 504, "json": {"error": "timeout"}},
        {"status": 599, "body": "?"},
        {"status": 200, "body": ""},
        {"status": 200, "body": "<html>Welcome</html>"},
        {"status": 200, "body": '{"status": {"code": 200}, "data": {"co'},
        {"status": 200, "json": []},
        {"status": 200, "json": None},
        {"status": 200, "json": {}},
        {"status": 200, "json": {"status": {"code": 200}, "data": {"code": None}}},
        {"status": 200, "json": {"status": {"code": 500}, "data": {"code": 100}}},
        {"status": 200, "body": b"\xff\xfe\x00"},
        {"status": 200, "body": "[" * 100_000},
        {"status": 302, "headers": {"Location": "https://evil.example/"}},
        {"body": requests.ReadTimeout("slow")},
        {"body": requests.ConnectionError("reset")},
        {"body": requests.exceptions.ChunkedEncodingError("cut")},
    ],
    ids=lambda answer: str(answer)[:40],
)
def test_what_may_have_left_is_202_and_never_5xx(api: Api, mora: OrganizationApp, answer: dict[str, Any]):
    responses.post(MORA_URL, **answer)
    assert_unknown(api.post(SEND, GOOD))
    assert len(responses.calls) == 1


@pytest.mark.parametrize(
    "behaviour", [gw.drop_after(), gw.cut(), gw.truncated(), gw.html(), gw.silence(), gw.drip(0.05), gw.fault(503)]
)
def test_a_line_that_breaks_after_the_request_is_202(
    api: Api, mora: OrganizationApp, gateway: Gateway, settings: Settings, behaviour: gw.Behaviour
):
    settings.PROVIDER_CALL_LIMIT_WEB = timedelta(seconds=0.4)
    OrganizationApp.objects.get().credentials["api_key"]
    gateway.providers["mora-sms"].credentials["api_key"] = SECRET
    gateway.script("mora-sms", behaviour)
    assert_unknown(api.post(SEND, GOOD, HTTP_IDEMPOTENCY_KEY="k"))
    gateway.script("mora-sms", gw.accept())
    assert_unknown(api.post(SEND, GOOD, HTTP_IDEMPOTENCY_KEY="k"))
    assert len(gateway.journal.entries) == 1


def test_a_result_that_cannot_be_recorded_is_unknown(
    api: Api, sandbox: OrganizationApp, monkeypatch: pytest.MonkeyPatch
):
    def broken(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("the database is gone")

    monkeypatch.setattr(sending, "finish", broken)
    monkeypatch.setattr(sending, "_WRITE_PAUSE", 0)
    response = api.post(SANDBOX_SEND, GOOD)
    assert response.status_code == 202
    assert response.json()["outcome"] == "unknown"
    # The row still says `sending`, with a deadline for the reaper.
    log = SmsLog.objects.get()
    assert (log.status, log.deadline_at is None) == (Status.SENDING, False)


@pytest.mark.parametrize(
    ("mobile", "status"),
    [
        ("0555555501", 400),
        ("0555555502", 400),
        ("0555555503", 400),
        ("0555555504", 400),
        ("0555555505", 400),
        ("0555555506", 400),
        ("0555555507", 503),
        ("0555555508", 502),
        ("0555555509", 202),
        ("0555555511", 200),
    ],
)
def test_the_sandbox_plays_every_outcome(api: Api, sandbox: OrganizationApp, mobile: str, status: int):
    response = api.post(SANDBOX_SEND, {**GOOD, "mobile": mobile})
    assert response.status_code == status
    if status >= 400:
        assert assert_error(response, status)["details"]["sandbox"] is True
        assert response.json()["details"]["reason"]
    assert ("Retry-After" in response.headers) == (status == 503)
    assert_names_the_log(response)


# --- written before the call, and without secrets -----------------------------------------------------------------


@responses.activate
@pytest.mark.django_db(transaction=True)
def test_the_log_is_committed_before_the_provider_is_called(api: Api, mora: OrganizationApp):
    seen: list[Any] = []

    def look(request: Any) -> tuple[int, dict[str, str], str]:
        log = SmsLog.objects.get()
        attempt = log.attempts.get()
        seen.append((log.status, log.deadline_at is not None, attempt.finished_at, attempt.outcome))
        assert not connection.in_atomic_block  # no transaction is held while the provider is being called
        return 200, {}, json.dumps(MORA_YES)

    responses.add_callback(responses.POST, MORA_URL, look)
    assert api.post(SEND, GOOD).status_code == 200
    assert seen == [(Status.SENDING, True, None, "")]
    assert Attempt.objects.get().finished_at is not None


@responses.activate
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize("wrapping", ["object", "text", "list"])
def test_a_secret_that_the_provider_repeats_is_masked(api: Api, mora: OrganizationApp, status: int, wrapping: str):
    echo = {**MORA_YES, "you_sent": {"api_key": SECRET, SECRET: f"key={SECRET}&x"}, "status": {"code": status}}
    body = {"object": json.dumps(echo), "text": f"<p>{SECRET}</p>", "list": json.dumps([echo])}[wrapping]
    responses.post(MORA_URL, body=body, status=status)
    response = api.post(SEND, GOOD)
    log = assert_names_the_log(response)
    pages = [response, api.get(f"/api/v1/sms/logs/{log.pk}"), api.get("/api/v1/sms/logs")]
    for page in pages:
        assert SECRET not in page.content.decode()
        assert SECRET not in json.dumps(dict(page.headers))
    rows = [list(SmsLog.objects.values()), list(Attempt.objects.values())]
    assert SECRET not in json.dumps(rows, default=str)
    assert "•••" in json.dumps(rows, default=str, ensure_ascii=False)


# --- Idempotency-Key ----------------------------------------------------------------------------------------------


def keyed(key: str) -> dict[str, Any]:
    return {"HTTP_IDEMPOTENCY_KEY": key}


@responses.activate
def test_a_repeat_returns_the_first_answer(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    first, second = (api.post(SEND, GOOD, **keyed("order-1")) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    for name in ("X-Sms-Log-Id", "X-Sms-Parts", "X-Sms-Encoding"):
        assert first.headers[name] == second.headers[name]
    assert len(responses.calls) == 1
    assert api.post(SEND, GOOD, **keyed("order-2")).headers["X-Sms-Log-Id"] != first.headers["X-Sms-Log-Id"]
    assert len(responses.calls) == 2


@responses.activate
def test_without_a_key_every_send_is_a_new_one(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    for header in ({}, {}, keyed(""), keyed("  ")):
        assert api.post(SEND, GOOD, **header).status_code == 200
    assert len(responses.calls) == 4


@responses.activate
def test_the_same_request_in_other_words_is_a_repeat(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    for body in (
        GOOD,
        {**GOOD, "mobile": "+966 50 123 4567"},
        {**GOOD, "sender": "", "datetime": ""},
        {**GOOD, "sender": None, "datetime": None, "unknown": 1},
    ):
        assert api.post(SEND, body, **keyed("order-1")).status_code == 200
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize(
    "change", [{"message": "Hello!"}, {"mobile": "0501234568"}, {"sender": "Other"}, {"datetime": "2099-01-01 00:00"}]
)
def test_another_request_with_the_same_key_is_409(api: Api, mora: OrganizationApp, change: dict[str, str]):
    responses.post(MORA_URL, json=MORA_YES)
    api.post(SEND, GOOD, **keyed("order-1"))
    body = assert_error(api.post(SEND, {**GOOD, **change}, **keyed("order-1")), 409)
    assert body["details"]["reason"] == "idempotency_key_reused"
    assert len(responses.calls) == 1


@responses.activate
def test_the_same_key_for_another_app_is_409(api: Api, mora: OrganizationApp, sandbox: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    api.post(SEND, GOOD, **keyed("order-1"))
    assert_error(api.post(SANDBOX_SEND, GOOD, **keyed("order-1")), 409)


@responses.activate
def test_a_repeat_while_the_first_is_under_way_is_409(api: Api, mora: OrganizationApp):
    meanwhile: list[Any] = []

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        if not meanwhile:
            meanwhile.append(api.post(SEND, GOOD, **keyed("order-1")))
        return 200, {}, json.dumps(MORA_YES)

    responses.add_callback(responses.POST, MORA_URL, answer)
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 200
    body = assert_error(meanwhile[0], 409)
    assert int(meanwhile[0].headers["Retry-After"]) >= 1
    assert body["details"]["reason"] == "send_under_way"
    assert len(responses.calls) == 1
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 200
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize("change", [{}, {"message": "Other"}])
def test_of_two_that_looked_at_once_the_insert_decides(
    api: Api, mora: OrganizationApp, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
):
    """The second finds no row when it looks, and the constraint tells it that there is one."""
    responses.post(MORA_URL, json=MORA_YES)
    first = api.post(SEND, GOOD, **keyed("order-1"))
    look, looks = sending.find_first, []

    def too_early(*args: Any, **kwargs: Any) -> Any:
        looks.append(1)
        return None if len(looks) == 1 else look(*args, **kwargs)

    monkeypatch.setattr(sending, "find_first", too_early)
    second = api.post(SEND, {**GOOD, **change}, **keyed("order-1"))
    if change:
        assert_error(second, 409)
    else:
        assert second.json() == first.json()
        assert second.headers["X-Sms-Log-Id"] == first.headers["X-Sms-Log-Id"]
    assert len(looks) == 2
    assert len(responses.calls) == 1


@responses.activate
def test_a_refusal_is_remembered(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json={"status": {"code": 200}, "data": {"code": 108}})
    first = api.post(SEND, GOOD, **keyed("order-1"))
    responses.replace(responses.POST, MORA_URL, json=MORA_YES)
    second = api.post(SEND, GOOD, **keyed("order-1"))
    assert assert_error(first, 400) == assert_error(second, 400)
    assert first.headers["X-Sms-Log-Id"] == second.headers["X-Sms-Log-Id"]
    assert len(responses.calls) == 1


@responses.activate
def test_an_unknown_outcome_is_remembered(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, status=500)
    first = api.post(SEND, GOOD, **keyed("order-1"))
    responses.replace(responses.POST, MORA_URL, json=MORA_YES)
    second = api.post(SEND, GOOD, **keyed("order-1"))
    assert_unknown(first)
    assert_unknown(second)
    assert first.json() == second.json()
    assert len(responses.calls) == 1


@responses.activate
def test_an_unknown_outcome_that_a_person_settled_is_answered_so(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, body=requests.ReadTimeout("slow"))
    api.post(SEND, GOOD, **keyed("order-1"))
    SmsLog.objects.update(status=Status.SENT)
    response = api.post(SEND, GOOD, **keyed("order-1"))
    assert (response.status_code, response.json()) == (200, {})


@responses.activate
@pytest.mark.parametrize("body", [{"body": requests.ReadTimeout("slow")}, {"status": 500, "json": {"odd": True}}])
@pytest.mark.parametrize(
    "found", [accepted("id", raw={"messages": [1]}), rejected(Fault.CONTENT, raw={"messages": [1]})]
)
def test_what_a_look_up_settled_is_not_answered_with_the_look_up(
    api: Api, mora: OrganizationApp, body: dict[str, Any], found: Result
):
    responses.post(MORA_URL, **body)
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 202
    attempt = Attempt.objects.get()
    assert settling.settle_by_answer(attempt.log_id, attempt.pk, settling.in_words(found))
    response = api.post(SEND, GOOD, **keyed("order-1"))
    if found.outcome == Outcome.ACCEPTED:
        assert (response.status_code, response.json()) == (200, {})
    else:
        assert response.status_code == 400
        assert set(response.json()["details"]) == {"reason", "explanation"}


@responses.activate
def test_a_503_is_not_remembered(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, status=429)
    first = api.post(SEND, GOOD, **keyed("order-1"))
    assert first.status_code == 503
    responses.replace(responses.POST, MORA_URL, json=MORA_YES)
    second = api.post(SEND, GOOD, **keyed("order-1"))
    assert second.status_code == 200
    assert first.headers["X-Sms-Log-Id"] != second.headers["X-Sms-Log-Id"]
    assert api.post(SEND, GOOD, **keyed("order-1")).headers["X-Sms-Log-Id"] == second.headers["X-Sms-Log-Id"]


@responses.activate
def test_a_502_is_not_remembered(api: Api, mora: OrganizationApp, settings: Settings):
    responses.add_passthru("http://127.0.0.1:1")
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://127.0.0.1:1"}
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 502
    settings.SMS_PROVIDER_BASE_URLS = {}
    responses.post(MORA_URL, json=MORA_YES)
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 200


@responses.activate
def test_a_429_of_ours_is_not_remembered(api: Api, mora: OrganizationApp, settings: Settings):
    settings.API_RATE_BURST = 0
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 429
    settings.API_RATE_BURST = 100
    responses.post(MORA_URL, json=MORA_YES)
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 200


@responses.activate
def test_a_malformed_request_uses_no_key_up(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    assert api.post(SEND, {**GOOD, "mobile": "x"}, **keyed("order-1")).status_code == 400
    assert api.post(SEND, GOOD, **keyed("order-1")).status_code == 200


@responses.activate
def test_a_known_key_answers_after_the_app_is_gone(api: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    api.post(SEND, GOOD, **keyed("order-1"))
    api.delete("/api/v1/apps/mora-sms")
    assert api.post(SEND, GOOD, **keyed("order-1")).json() == MORA_YES
    assert_error(api.post(SEND, GOOD, **keyed("order-2")), 400)


@responses.activate
def test_keys_are_each_organizations_own(
    api: Api,
    anonymous: Api,
    api_key: Callable[..., str],
    install: Callable[..., OrganizationApp],
    mora: OrganizationApp,
    other_organization: Organization,
):
    install(other_organization, "mora-sms")
    stranger = anonymous.using(api_key(organization=other_organization))
    responses.post(MORA_URL, json=MORA_YES)
    first, second = api.post(SEND, GOOD, **keyed("order-1")), stranger.post(SEND, GOOD, **keyed("order-1"))
    assert first.headers["X-Sms-Log-Id"] != second.headers["X-Sms-Log-Id"]
    assert stranger.post(SEND, {**GOOD, "message": "x"}, **keyed("order-2")).status_code == 200
    assert len(responses.calls) == 3


@pytest.mark.parametrize("key", ["x" * 129, "a\x00b", "a\nb", "\x7f", "a\tb"], ids=ascii)
def test_an_odd_key_is_400(api: Api, sandbox: OrganizationApp, key: str):
    assert_error(api.post(SANDBOX_SEND, GOOD, **keyed(key)), 400)
    assert not SmsLog.objects.exists()


@pytest.mark.parametrize(
    "key", ["x" * 128, "order 1", "é", "a,b;c='d'", "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10"], ids=ascii
)
def test_any_printable_key_is_fine(api: Api, sandbox: OrganizationApp, key: str):
    first, second = (api.post(SANDBOX_SEND, GOOD, **keyed(key)) for _ in range(2))
    assert first.status_code == 200
    assert first.headers["X-Sms-Log-Id"] == second.headers["X-Sms-Log-Id"]


# --- datetime -----------------------------------------------------------------------------------------------------


@responses.activate
@pytest.mark.parametrize("moment", ["", None, "  "])
def test_without_a_moment_it_is_sent_now(api: Api, mora: OrganizationApp, moment: str | None):
    responses.post(MORA_URL, json=MORA_YES)
    assert api.post(SEND, {**GOOD, "datetime": moment}).status_code == 200
    assert "datetime" not in form(responses.calls[0])


@responses.activate
@pytest.mark.parametrize("ago", [0, 1, 240])
def test_a_moment_up_to_five_minutes_past_is_now(api: Api, mora: OrganizationApp, ago: int):
    responses.post(MORA_URL, json=MORA_YES)
    assert api.post(SEND, {**GOOD, "datetime": later(seconds=-ago)}).status_code == 200
    assert "datetime" not in form(responses.calls[0])


@responses.activate
@pytest.mark.parametrize(
    "moment",
    [
        "2020-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "tomorrow",
        "2099-13-01T00:00:00Z",
        "2099-02-30 10:00",
        "9999-12-31T23:59:59-14:00",
        "2099-01-01",
        "10:00",
        "1798800000",
        1798800000,
        True,
        {},
        ["2099-01-01T00:00:00Z"],
        "2099-01-01T00:00:00+99:99",
        "2099-01-01T25:00:00Z",
        "\x00",
    ],
    ids=str,
)
def test_a_bad_or_past_moment_is_400(api: Api, mora: OrganizationApp, moment: Any):
    assert "datetime" in assert_error(api.post(SEND, {**GOOD, "datetime": moment}), 400)["details"]
    assert len(responses.calls) == 0
    assert not SmsLog.objects.exists()
    assert not Message.objects.exists()


@responses.activate
def test_a_moment_over_five_minutes_past_is_400(api: Api, mora: OrganizationApp):
    body = assert_error(api.post(SEND, {**GOOD, "datetime": later(minutes=-5, seconds=-5)}), 400)
    assert "has passed" in body["error"]


@responses.activate
def test_a_later_send_is_queued_with_us(api: Api, mora: OrganizationApp):
    moment = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    response = api.post(SEND, {**GOOD, "sender": "Shop", "datetime": moment.isoformat()}, **keyed("order-1"))
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {"id", "dispatch_status", "datetime"}
    assert body["dispatch_status"] == "pending"
    assert datetime.fromisoformat(body["datetime"]) == moment
    assert len(responses.calls) == 0
    message = Message.objects.get(pk=body["id"])
    assert (message.pinned_app, message.next_attempt_at, message.sender_id) == (mora, moment, "Shop")
    log = assert_names_the_log(response)
    assert (log.status, log.queued_id, log.deadline_at) == (Status.PENDING, message.pk, None)
    read = api.get(f"/api/v1/sms/outbox/{body['id']}").json()
    assert (read["preferred_provider_slug"], read["dispatch_status"]) == ("mora-sms", "pending")
    # A repeat is the same message, and it can be cancelled.
    assert api.post(SEND, {**GOOD, "sender": "Shop", "datetime": moment.isoformat()}, **keyed("order-1")).json() == body
    assert api.delete(f"/api/v1/sms/outbox/{body['id']}").status_code == 204
    log.refresh_from_db()
    assert (log.status, log.reason) == (Status.FAILED, "cancelled")
    assert Message.objects.count() == 1


@pytest.mark.parametrize(
    "written",
    ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S+03:00", "%Y-%m-%dt%H:%M:%S+0300"],
)
def test_a_moment_without_an_offset_is_in_the_organizations_time(
    api: Api, mora: OrganizationApp, organization: Organization, written: str
):
    local = datetime(2027, 6, 1, 10, 0, tzinfo=ZoneInfo("Asia/Riyadh"))
    while local < timezone.now() + timedelta(days=1):
        local += timedelta(days=300)
    response = api.post(SEND, {**GOOD, "datetime": local.strftime(written)})
    assert response.status_code == 202, response.content
    assert datetime.fromisoformat(response.json()["datetime"]) == local
    Organization.objects.filter(pk=organization.pk).update(time_zone="Africa/Cairo")
    response = api.post(SEND, {**GOOD, "datetime": local.strftime("%Y-%m-%d %H:%M")})
    moment = datetime.fromisoformat(response.json()["datetime"])
    assert moment.astimezone(ZoneInfo("Africa/Cairo")).strftime("%H:%M") == "10:00"


@responses.activate
def test_taqnyat_holds_a_later_send_itself(api: Api, install: Callable[..., OrganizationApp]):
    install("taqnyat-sms")
    responses.post(TAQNYAT_URL, json=TAQNYAT_YES, status=201)
    moment = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    response = api.post("/api/v1/sms-providers/taqnyat-sms/send", {**GOOD, "datetime": moment.isoformat()})
    assert response.status_code == 200
    assert response.json() == TAQNYAT_YES
    sent = sent_json(responses.calls[0])
    assert sent["scheduledDatetime"] == moment.astimezone(ZoneInfo("Asia/Riyadh")).strftime("%Y-%m-%dT%H:%M")
    assert not Message.objects.exists()
    log = assert_names_the_log(response)
    assert log.scheduled_at == moment


@responses.activate
def test_taqnyat_sends_now_without_a_moment(api: Api, install: Callable[..., OrganizationApp]):
    install("taqnyat-sms")
    responses.post(TAQNYAT_URL, json=TAQNYAT_YES, status=201)
    assert api.post("/api/v1/sms-providers/taqnyat-sms/send", GOOD).json() == TAQNYAT_YES
    assert "scheduledDatetime" not in sent_json(responses.calls[0])


@responses.activate
@pytest.mark.parametrize(
    ("ahead", "service", "is_theirs"),
    [
        (timedelta(minutes=16), SERVICE, True),
        (timedelta(days=34), SERVICE, True),
        (timedelta(minutes=10), SERVICE, False),
        (timedelta(days=36), SERVICE, False),
        (timedelta(hours=1), None, False),
    ],
)
def test_twilio_holds_what_it_can(
    api: Api, install: Callable[..., OrganizationApp], ahead: timedelta, service: str | None, is_theirs: bool
):
    app = install("twilio-sms", messaging_service_sid=service)
    responses.post(TWILIO_URL, json=TWILIO_YES, status=201)
    moment = (timezone.now() + ahead).replace(microsecond=0)
    response = api.post("/api/v1/sms-providers/twilio-sms/send", {**GOOD, "datetime": moment.isoformat()})
    if is_theirs:
        assert (response.status_code, response.json()) == (200, TWILIO_YES)
        sent = form(responses.calls[0])
        assert (sent["ScheduleType"], sent["SendAt"]) == (
            "fixed",
            moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
    else:
        assert response.status_code == 202
        assert Message.objects.get().pinned_app == app
        assert len(responses.calls) == 0


# --- test keys ----------------------------------------------------------------------------------------------------


@pytest.fixture
def rehearsal(anonymous: Api, api_key: Callable[..., str]) -> Api:
    return anonymous.using(api_key(is_test=True))


@responses.activate
def test_a_test_key_sends_nothing(api: Api, rehearsal: Api, mora: OrganizationApp):
    response = rehearsal.post(SEND, GOOD)
    assert response.status_code == 200
    assert response.json()["sandbox"] is True
    assert len(responses.calls) == 0
    log = assert_names_the_log(response)
    assert (log.is_test, log.provider_slug, log.app) == (True, "sandbox-sms", None)
    for mobile, status in [("0555555504", 400), ("0555555507", 503), ("0555555508", 502), ("0555555509", 202)]:
        assert rehearsal.post(SEND, {**GOOD, "mobile": mobile}).status_code == status
    assert len(responses.calls) == 0


@responses.activate
def test_a_test_key_goes_the_whole_way(rehearsal: Api, install: Callable[..., OrganizationApp]):
    assert "not installed" in assert_error(rehearsal.post(SEND, GOOD), 400)["error"]
    install("mora-sms", is_enabled=False)
    assert "disabled" in assert_error(rehearsal.post(SEND, GOOD), 400)["error"]
    assert_error(rehearsal.post(SEND, {**GOOD, "mobile": "x"}), 400)
    assert rehearsal.post(SANDBOX_SEND, GOOD).status_code == 200  # installed or not


@responses.activate
def test_test_and_live_keys_do_not_share_idempotency_keys(api: Api, rehearsal: Api, mora: OrganizationApp):
    responses.post(MORA_URL, json=MORA_YES)
    simulated = rehearsal.post(SEND, GOOD, **keyed("order-1"))
    real = api.post(SEND, GOOD, **keyed("order-1"))
    assert simulated.json() != real.json()
    assert len(responses.calls) == 1
    assert rehearsal.post(SEND, GOOD, **keyed("order-1")).json() == simulated.json()


@responses.activate
def test_a_test_key_can_send_later(rehearsal: Api, mora: OrganizationApp):
    response = rehearsal.post(SEND, {**GOOD, "datetime": later(days=1)})
    assert response.status_code == 202
    message = Message.objects.get()
    assert (message.is_test, message.pk) == (True, response.json()["id"])


# --- balance, sender names, template ------------------------------------------------------------------------------


class Plain(ProviderAdapter):
    """A provider that has nothing but a send call."""

    slug: ClassVar[str] = "plain-sms"
    name: ClassVar[str] = "Plain"
    origin: ClassVar[str] = ""
    capabilities: ClassVar[Capabilities] = Capabilities()

    def send(self, sms: Sms, budget: Budget) -> Result:
        return accepted("1", raw={})


def ask(api: Api, what: str, slug: str = "mora-sms") -> Any:
    return api.get(f"/api/v1/sms-providers/{slug}/{what}")


@responses.activate
@pytest.mark.parametrize(("given", "expected"), [("1520", 1520), ("15.25", 15.25), (0, 0), (-3.5, -3.5), ("1e3", 1000)])
def test_the_balance(api: Api, mora: OrganizationApp, given: Any, expected: float):
    responses.get("https://mora-sa.com/api/v1/balance", json={"status": {"code": 200}, "data": {"balance": given}})
    body = ask(api, "balance").json()
    assert set(body) == {"supported", "balance", "unit", "checked_at"}
    assert (body["supported"], body["balance"], body["unit"]) == (True, expected, "points")
    assert datetime.fromisoformat(body["checked_at"]).tzinfo
    mora.refresh_from_db()
    assert mora.last_sync_at is not None


@responses.activate
def test_a_balance_of_money_names_its_currency(api: Api, install: Callable[..., OrganizationApp]):
    install("taqnyat-sms")
    responses.get(
        "https://api.taqnyat.sa/account/balance",
        json={"balance": "12.50", "currency": "SAR", "accountStatus": "active"},
    )
    body = ask(api, "balance", "taqnyat-sms").json()
    assert (body["balance"], body["currency"]) == (12.5, "SAR")
    assert "unit" not in body


@responses.activate
def test_the_sender_names(api: Api, mora: OrganizationApp):
    responses.get(
        "https://mora-sa.com/api/v1/sender_names",
        json={"status": {"code": 200}, "data": {"sender_names": ["MyBrand", {"name": "متجر"}]}},
    )
    assert ask(api, "sender-names").json() == {"sender_names": ["MyBrand", "متجر"], "count": 2, "supported": True}


@responses.activate
@pytest.mark.parametrize("what", ["balance", "sender-names"])
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"status": 401, "json": {"status": {"code": 401}}}, 400),
        ({"status": 429, "headers": {"Retry-After": "9"}}, 503),
        ({"status": 500}, 502),
        ({"status": 200, "body": "<h1>"}, 502),
        ({"body": requests.ConnectionError("x")}, 502),
    ],
    ids=str,
)
def test_a_question_that_gets_no_answer(
    api: Api, mora: OrganizationApp, what: str, answer: dict[str, Any], status: int
):
    responses.get(f"https://mora-sa.com/api/v1/{what.replace('-', '_')}", **answer)
    response = ask(api, what)
    assert assert_error(response, status)["details"]["reason"]
    assert response.headers.get("Retry-After") == ("9" if status == 503 else None)
    mora.refresh_from_db()
    assert mora.last_sync_at is None


def test_what_a_provider_does_not_offer_is_said(api: Api, organization: Organization, settings: Settings):
    settings.SMS_PROVIDERS = [f"{__name__}.Plain"]
    OrganizationApp.objects.create(organization=organization, slug="plain-sms")
    assert ask(api, "balance", "plain-sms").json() == {"supported": False}
    assert ask(api, "sender-names", "plain-sms").json() == {"sender_names": [], "count": 0, "supported": False}


@responses.activate
@pytest.mark.parametrize(
    ("answer", "reason", "is_explained"),
    [
        ({"json": {"status": {"code": 401}, "data": None, "hint": 7}, "status": 401}, "bad_credentials", True),
        ({"json": {"hint": 7}, "status": 429}, "throttled", True),
        ({"json": {"hint": 7}, "status": 500}, "provider_down", False),  # there is no message to look up
        ({"json": {"hint": 7}}, "unreadable_answer", False),
    ],
)
def test_a_failed_question_has_the_providers_json_and_speaks_of_no_message(
    api: Api, mora: OrganizationApp, answer: dict[str, Any], reason: str, is_explained: bool
):
    responses.get("https://mora-sa.com/api/v1/balance", **answer)
    body = ask(api, "balance").json()
    assert (body["details"]["hint"], body["details"]["reason"]) == (7, reason)
    assert ("explanation" in body["details"]) == is_explained
    assert "sent" not in body["error"]


@responses.activate
def test_what_a_provider_does_not_offer_to_this_account_is_said_with_the_cause(
    api: Api, install: Callable[..., OrganizationApp]
):
    app = install("infobip-sms")
    for path in ("account/1/balance", "numbers/1/numbers"):
        responses.get(f"https://xxxxx.api.infobip.com/{path}", status=403, json={"errorCode": "E403"})
    note = "This key may not ask that: its scopes, its addresses or the account do not allow it."
    assert ask(api, "balance", "infobip-sms").json() == {"supported": False, "note": note}
    senders = ask(api, "sender-names", "infobip-sms").json()
    assert senders == {"sender_names": [], "count": 0, "supported": False, "note": note}
    tested = api.post("/api/v1/apps/infobip-sms/test").json()
    assert (tested["ok"], tested["reason"]) == (None, "not_testable")
    assert tested["message"] == f"{note} To be sure, send a message to yourself."
    app.refresh_from_db()
    assert app.last_sync_at is None


def test_the_csv_template_opens_in_a_spreadsheet(api: Api, sandbox: OrganizationApp):
    response = ask(api, "template/csv", "sandbox-sms")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"].startswith("attachment; filename=")
    assert response.content.startswith(b"\xef\xbb\xbf")
    header, *rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert header == ["mobile", "message", "sender", "datetime"]
    assert len(rows) == 1
    assert len(rows[0]) == 4
    example = dict(zip(header, rows[0], strict=True))
    assert any("\u0600" <= character <= "\u06ff" for character in example["message"])
    assert api.post(SANDBOX_SEND, example).status_code == 200


def test_the_template_is_csv_whatever_is_accepted(api: Api, sandbox: OrganizationApp):
    url = "/api/v1/sms-providers/sandbox-sms/template/csv"
    for accept in ("text/csv", "application/json", "text/html", "*/*"):
        assert api.get(url, HTTP_ACCEPT=accept).headers["Content-Type"].startswith("text/csv")


def test_the_sandbox_answers_questions_without_a_network(api: Api, sandbox: OrganizationApp):
    assert ask(api, "balance", "sandbox-sms").json()["supported"] is True
    assert ask(api, "sender-names", "sandbox-sms").json()["sender_names"] == ["Sandbox"]


@responses.activate
def test_a_number_that_answers_late_is_not_sent_twice(api: Api, mora: OrganizationApp):
    """The reaper has made it unknown; the late answer of the same attempt settles it."""

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        SmsLog.objects.update(status=Status.DISPATCH_TIMEOUT, outcome="unknown", deadline_at=None)
        return 200, {}, json.dumps(MORA_YES)

    responses.add_callback(responses.POST, MORA_URL, answer)
    assert api.post(SEND, GOOD).status_code == 200
    assert SmsLog.objects.get().status == Status.SENT
