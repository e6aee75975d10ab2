"""What every adapter of the catalogue promises, whatever a provider answers."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import responses

from sms_providers import catalogue
from sms_providers.adapters.base import ProviderAdapter, ProviderRefused, Sms
from sms_providers.models import SANDBOX
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget

# What clean_credentials takes, for each app that speaks HTTP. A new adapter is added here and is tested by all below.
CREDENTIALS: dict[str, dict[str, str]] = {
    "mora-sms": {"api_key": "Secret-of-mora", "username": "966500000000", "sender": "MyBrand"},
    "taqnyat-sms": {"bearer_token": "Secret-of-taqnyat", "sender": "MyBrand"},
    "twilio-sms": {"account_sid": "AC" + "0" * 32, "auth_token": "Secret-of-twilio", "from": "+15005550006"},
}
BUDGET = Budget(timedelta(seconds=5))
SMS = Sms("+966500000001", "Hello مرحبا 👋", reference="0190e3a6-7d32-7000-8000-000000000001")
ANY = re.compile(".*")

ALL = sorted(catalogue.adapters())
SPEAKING = [slug for slug in ALL if slug != SANDBOX]


@pytest.fixture(params=SPEAKING)
def adapter(request: pytest.FixtureRequest) -> ProviderAdapter:
    return catalogue.find(request.param)(CREDENTIALS[request.param])


def send(adapter: ProviderAdapter, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.add(responses.POST, ANY, **reply)
        result = adapter.send(SMS, BUDGET)
    json.dumps(result.raw, allow_nan=False)  # or the attempt could not be written
    return result


# --- the declaration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ALL)
def test_the_declaration(slug: str):
    adapter = catalogue.find(slug)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-sms", adapter.slug)
    assert adapter.slug == slug
    assert adapter.name
    assert adapter.capabilities.batch_size >= 1
    if slug != SANDBOX:
        origin = urlsplit(adapter.origin)
        assert (origin.scheme, origin.path, origin.query) == ("https", "", "")
        assert any(field.is_secret for field in adapter.credential_fields)
        names = [field.name for field in adapter.credential_fields]
        assert not adapter.needs_sender or adapter.sender_field in names
        assert len(names) == len(set(names))
    for field in adapter.credential_fields:
        assert re.fullmatch("[a-z][a-z0-9_]*", field.name)
        assert field.label
        assert bool(field.pattern) == bool(field.pattern_help)
        re.compile(field.pattern)


@pytest.mark.parametrize("slug", SPEAKING)
def test_the_error_table(slug: str):
    for code, (fault, reason, message) in catalogue.find(slug).errors.items():
        assert isinstance(code, str)
        assert isinstance(fault, Fault)
        assert re.fullmatch("[a-z][a-z0-9_]{2,63}", reason), code
        assert message.endswith("."), code
        assert 10 <= len(message) <= 120, code


@pytest.mark.parametrize("slug", SPEAKING)
def test_credentials_are_checked(slug: str):
    adapter, good = catalogue.find(slug), CREDENTIALS[slug]
    assert adapter.clean_credentials(good) == (good, {})
    assert adapter.clean_credentials({**good, "of_another_app": "x"})[1].keys() == {"of_another_app"}
    for field in adapter.credential_fields:
        for bad in (" Hidden-value ", "Hidden-value\n", "Hidden-\x00value", "H" * 600, 7, ["Hidden-value"], {"a": 1}):
            _, wrong = adapter.clean_credentials({**good, field.name: bad})
            assert field.name in wrong
            assert "Hidden" not in str(wrong)
        if field.is_required:
            assert field.name in adapter.clean_credentials({**good, field.name: ""})[1]
            assert field.name in adapter.clean_credentials({**good, field.name: None})[1]


# --- sends ---------------------------------------------------------------------------------------------------------

DEEP = 200
NONSENSE: dict[str, dict[str, Any]] = {
    "html": {"body": "<!doctype html><title>Welcome</title>", "content_type": "text/html"},
    "html that claims to be JSON": {"body": "<html>", "content_type": "application/json"},
    "empty": {"body": "", "content_type": "application/json"},
    "no content": {"body": "", "status": 204},
    "truncated": {"body": '{"status": {"code": 200, "mess', "content_type": "application/json"},
    "list": {"json": [1, 2, 3]},
    "list of objects": {"json": [{"sid": "SM1", "messageId": 1}]},
    "empty object": {"json": {}},
    "null": {"body": "null", "content_type": "application/json"},
    "true": {"body": "true", "content_type": "application/json"},
    "text": {"json": "OK"},
    "deep beyond any parser": {"body": "[" * 100_000},
    "deep": {"body": '{"a":' * DEEP + "1" + "}" * DEEP},
    "numbers nobody means": {"body": '{"a": NaN, "b": -Infinity, "c": 1e999, "d": ' + "9" * 4000 + "}"},
    "number too long to read": {"body": "9" * 10_000},
    "everything of a wrong type": {
        "json": {"status": [], "data": "x", "sid": {}, "messageId": [], "code": {}, "message": 5, "accepted": {}}
    },
    "NUL and lone surrogates": {"body": '{"note": "a\\u0000b\\ud800c", "\\ud800": "\\u0000"}'},
    "bytes": {"body": bytes(range(256)) * 4, "content_type": "image/png"},
    "charset that is no charset": {"body": "{}", "content_type": "application/json; charset=undefined"},
    "unknown charset": {"body": "{}", "content_type": "application/json; charset=klingon"},
    "big": {"body": "x" * 3_000_000},
    "big object": {"json": {"note": "x" * 200_000}},
}


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
def test_a_success_that_nobody_can_read_is_unknown(adapter: ProviderAdapter, reply: dict[str, Any], status: int):
    result = send(adapter, **{"status": status, **reply})
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNKNOWN, Fault.OTHER, "unreadable_answer")
    assert result.message
    assert len(json.dumps(result.raw)) < 100_000
    assert not re.search(r"\\u0000|\\ud800", json.dumps(result.raw))


@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
def test_a_gateway_fault_is_unknown(adapter: ProviderAdapter, reply: dict[str, Any]):
    for status in (500, 502, 503, 504, 520):
        result = send(adapter, **{**reply, "status": status})
        assert (result.outcome, result.fault, result.http_status) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN, status)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_not_followed_and_unknown(adapter: ProviderAdapter, status: int):
    result = send(adapter, status=status, headers={"Location": "https://elsewhere.example/"})
    assert (result.outcome, result.http_status) == (Outcome.UNKNOWN, status)


@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
def test_too_many_requests_is_unavailable(adapter: ProviderAdapter, reply: dict[str, Any]):
    result = send(adapter, **{**reply, "status": 429})
    assert (result.outcome, result.fault, result.reason) == (Outcome.UNAVAILABLE, Fault.THROTTLED, "throttled")
    assert result.retry_after is None


def test_retry_after_in_seconds_and_as_a_date(adapter: ProviderAdapter):
    assert send(adapter, status=429, headers={"Retry-After": "120"}).retry_after == timedelta(minutes=2)
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    wait = send(adapter, status=429, headers={"Retry-After": date}).retry_after
    assert wait is not None
    assert timedelta(minutes=9) < wait <= timedelta(minutes=10)
    past = format_datetime(datetime.now(UTC) - timedelta(minutes=10), usegmt=True)
    assert send(adapter, status=429, headers={"Retry-After": past}).retry_after == timedelta(0)
    for text in ("soon", "-5", "1e9", "Thu, 99 Foo 2026", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"):
        assert send(adapter, status=429, headers={"Retry-After": text}).retry_after is None
    assert send(adapter, status=429, headers={"Retry-After": "999999999"}).retry_after == timedelta(hours=24)


@pytest.mark.parametrize(
    ("status", "fault"),
    [(400, Fault.OTHER), (401, Fault.AUTH), (403, Fault.AUTH), (404, Fault.OTHER), (418, Fault.OTHER)],
)
@pytest.mark.parametrize("body", ["<html>no</html>", "", "{}", "[", "[]"])
def test_a_refusal_without_a_reason_goes_by_status(adapter: ProviderAdapter, status: int, fault: Fault, body: str):
    result = send(adapter, status=status, body=body)
    assert (result.outcome, result.fault) == (Outcome.REJECTED, fault)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (requests.ConnectTimeout(), Outcome.UNAVAILABLE, "connection_failed"),
        (requests.exceptions.SSLError(), Outcome.UNAVAILABLE, "tls_failed"),
        (requests.ReadTimeout(), Outcome.UNKNOWN, "read_timeout"),
        (requests.ConnectionError(), Outcome.UNKNOWN, "connection_lost"),  # in doubt
        (requests.exceptions.ChunkedEncodingError(), Outcome.UNKNOWN, "connection_lost"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_no_answer_at_all(adapter: ProviderAdapter, error: Exception, outcome: Outcome, reason: str):
    result = send(adapter, body=error)
    assert (result.outcome, result.reason, result.raw) == (outcome, reason, None)


def test_no_secret_in_a_result_or_a_log(adapter: ProviderAdapter, caplog: pytest.LogCaptureFixture):
    secrets = adapter.secrets()
    assert any("Secret-of-" in secret for secret in secrets)
    with caplog.at_level("DEBUG"):
        for secret in secrets:
            for reply in (
                {"json": {"message": secret, "code": secret, secret: [secret]}},
                {"body": f"<b>{secret}</b>"},
            ):
                for status in (200, 400, 401, 429, 500):
                    assert secret not in repr(send(adapter, **reply, status=status))
    for secret in secrets:
        assert secret not in caplog.text


def test_a_defect_in_reading_is_an_unknown_outcome_and_logs_no_answer(
    adapter: ProviderAdapter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def fail(reply: Any) -> Result:
        raise ValueError(f"cannot read {reply.text}")

    monkeypatch.setattr(adapter, "read_send", fail)
    assert send(adapter, body="Secret-words").outcome == Outcome.UNKNOWN
    assert "ValueError" in caplog.text
    assert "Secret-words" not in caplog.text


def test_a_request_that_cannot_be_built_is_not_sent(adapter: ProviderAdapter):
    with responses.RequestsMock():
        result = type(adapter)({}, default_sender="Shop").send(SMS, BUDGET)
    assert result.outcome == Outcome.REJECTED
    assert "Nothing was sent" in result.message


# --- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["balance", "sender_names"])
@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
def test_a_question_without_a_usable_answer_is_refused(adapter: ProviderAdapter, question: str, reply: dict[str, Any]):
    if not getattr(adapter.capabilities, question):
        pytest.skip("not asked")
    for status in (200, 301, 400, 401, 403, 404, 429, 500, 503):
        with responses.RequestsMock() as http:
            http.add(responses.GET, ANY, **{**reply, "status": status})
            with pytest.raises(ProviderRefused) as caught:
                getattr(adapter, question)(BUDGET)
        result = caught.value.result
        assert result.http_status == status
        assert result.message
        assert "may have been sent" not in result.message
        json.dumps(result.raw, allow_nan=False)


@pytest.mark.parametrize("question", ["balance", "sender_names"])
@pytest.mark.parametrize("error", [requests.ConnectTimeout(), requests.ReadTimeout(), requests.ConnectionError()])
def test_a_question_without_any_answer_is_refused(adapter: ProviderAdapter, question: str, error: Exception):
    with responses.RequestsMock() as http:
        http.add(responses.GET, ANY, body=error)
        with pytest.raises(ProviderRefused) as caught:
            getattr(adapter, question)(BUDGET)
    assert caught.value.result.outcome == Outcome.UNAVAILABLE
