"""What every adapter of the catalogue promises, whatever a provider answers. A new one is tested by all of this."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import hypothesis
import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st

from sms_providers.adapters.base import Balance, ProviderAdapter, ProviderRefused, Sms, Unicode
from sms_providers.adapters.masking import MASK
from sms_providers.models import SANDBOX
from sms_providers.reasons import REASONS, Kind
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway.providers import Call
from tests.sms_providers.adapters.examples import (
    ALL,
    FAMILY,
    GATEWAY_PROVIDERS,
    REFERENCE,
    SPEAKING,
    TEN_PARTS,
    TEN_PARTS_ARABIC,
)

BUDGET = Budget(timedelta(seconds=5))
SMS = Sms("+966500000001", "Hello مرحبا 👋", reference=REFERENCE)
ANY = re.compile(".*")


@pytest.fixture(params=SPEAKING, ids=lambda kind: kind.slug)
def kind(request: pytest.FixtureRequest) -> type[ProviderAdapter]:
    found: type[ProviderAdapter] = request.param
    return found


@pytest.fixture
def adapter(kind: type[ProviderAdapter]) -> ProviderAdapter:
    return kind(kind.example_credentials())


def those(fits: Callable[[type[ProviderAdapter]], bool]) -> pytest.MarkDecorator:
    """Run a test for those adapters only."""
    return pytest.mark.parametrize("kind", [kind for kind in SPEAKING if fits(kind)], ids=lambda kind: kind.slug)


def send(adapter: ProviderAdapter, sms: Sms = SMS, **reply: Any) -> Result:
    with responses.RequestsMock() as http:
        http.add(responses.POST, ANY, **reply)
        result = adapter.send(sms, BUDGET)
    json.dumps(result.raw, allow_nan=False)  # or the attempt could not be written
    return result


def request_of(adapter: ProviderAdapter, sms: Sms) -> requests.PreparedRequest:
    """Return the send call that reaches the network for `sms`."""
    with responses.RequestsMock() as http:
        http.add(responses.POST, ANY, status=503)
        adapter.send(sms, BUDGET)
        return http.calls[0].request


def values_in(request: requests.PreparedRequest) -> list[str]:
    """Return every value of a form or JSON body, as text."""
    body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
    if "json" not in request.headers["Content-Type"]:
        return [value for _, value in parse_qsl(body, keep_blank_values=True, strict_parsing=True)]
    found: list[str] = []
    pending: list[Any] = [json.loads(body)]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            pending += value.values() if isinstance(value, dict) else value
        else:
            found.append(str(value))
    return found


# --- the declaration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.slug)
def test_the_declaration(kind: type[ProviderAdapter]):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-sms", kind.slug)
    assert kind.name
    assert (kind.capabilities.batch_size, kind.capabilities.receipts) == (1, False)  # nobody would use either yet
    if kind.slug != SANDBOX:
        origin = urlsplit(kind.origin)
        assert (origin.scheme, origin.path, origin.query) == ("https", "", "")
        assert any(field.is_secret for field in kind.credential_fields)
        names = [field.name for field in kind.credential_fields]
        assert not kind.needs_sender or kind.sender_field in names
        assert len(names) == len(set(names))
    for field in kind.credential_fields:
        assert re.fullmatch("[a-z][a-z0-9_]*", field.name)
        assert field.label
        assert bool(field.pattern) == bool(field.pattern_help)
        re.compile(field.pattern)
        assert field.example or not field.is_required, f"{field.name}: without an example nothing can be tested"


# A row of a table has to agree with what its reason says about the message.
KINDS = {
    (Outcome.REJECTED, True): {Kind.ACCOUNT},
    (Outcome.REJECTED, False): {Kind.MESSAGE},
    (Outcome.UNAVAILABLE, False): {Kind.NOT_SENT},
    (Outcome.UNKNOWN, False): {Kind.UNKNOWN},
}


def test_the_error_tables(kind: type[ProviderAdapter]):
    for title, table in kind.error_tables().items():
        assert title
        for code, meaning in table.items():
            assert isinstance(code, str)
            about_the_account = meaning.outcome == Outcome.REJECTED and meaning.fault.is_about_the_account
            assert meaning.reason in REASONS, code
            assert REASONS[meaning.reason].kind in KINDS[meaning.outcome, about_the_account], code
            if meaning.fault is Fault.THROTTLED:
                assert meaning.outcome == Outcome.UNAVAILABLE, code
            if meaning.message:
                assert meaning.message.endswith("."), code
                assert 10 <= len(meaning.message) <= 120, code
            assert meaning.retry_after is None or meaning.outcome == Outcome.UNAVAILABLE, code


PASTED = (" Hidden-value ", "Hidden-value\n", "Hidden-\x00value", "\u200fHidden", "H" * 600, 7, ["Hidden"], {"a": 1})


def test_credentials_are_checked(kind: type[ProviderAdapter]):
    good = kind.example_credentials()
    assert kind.clean_credentials(good) == (good, {})
    assert kind.clean_credentials({**good, "of_another_app": "x"})[1].keys() == {"of_another_app"}
    for field in kind.credential_fields:
        for bad in PASTED:
            _, wrong = kind.clean_credentials({**good, field.name: bad})
            assert field.name in wrong
            assert "Hidden" not in str(wrong)
        if field.is_required:
            assert field.name in kind.clean_credentials({**good, field.name: ""})[1]
            assert field.name in kind.clean_credentials({**good, field.name: None})[1]


ELSEWHERE = (
    "https://10.0.0.1", "https://127.0.0.1:8443", "https://[::1]", "https://localhost", "https://169.254.169.254/latest",
    "http://{host}", "ftp://{host}", "https://{host}.evil.example", "https://evil.example/{host}",
    "https://evil.example#{host}", "https://evil.example?{host}", "https://user:pass@{host}", "https://{host}@evil.example",
    "https://{host}:8443", "https://{host}/path", "https://evil{domain}", "https://{host}\\.evil.example",
    "https://{host}\n", "javascript:alert(1)", "//evil.example",
)  # fmt: skip


@those(lambda kind: any(field.name == "base_url" for field in kind.credential_fields))
def test_a_base_url_leads_to_the_provider_only(kind: type[ProviderAdapter]):
    """The credentials go wherever it points, and an operator of a tenant must not reach our own network."""
    good = kind.example_credentials()
    adapter = kind(good)
    host = str(urlsplit(adapter.host()).hostname)
    domain = ".".join(host.split(".")[-2:])
    for pattern in ELSEWHERE:
        _, wrong = kind.clean_credentials({**good, "base_url": pattern.format(host=host, domain=domain)})
        assert wrong.keys() == {"base_url"}, pattern
    clean, wrong = kind.clean_credentials({**good, "base_url": f"https://{host}/"})
    assert not wrong
    assert kind(clean).url("/path") == f"https://{host}/path"


# --- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Hello & goodbye = 100% <b>", "{}[]~|€^\\", FAMILY, TEN_PARTS, TEN_PARTS_ARABIC])
def test_the_text_travels_as_it_is(adapter: ProviderAdapter, text: str):
    assert text in values_in(request_of(adapter, Sms("+966500000001", text, reference=REFERENCE)))


def test_numbers_of_any_country(adapter: ProviderAdapter):
    for number in ("+966500000001", "+201000000001", "+15551230001", "+447700900000"):
        values = values_in(request_of(adapter, Sms(number, "Hello")))
        assert {number, number[1:]} & set(values)


def test_the_sender_of_the_message_wins(adapter: ProviderAdapter):
    adapter.default_sender = "Shop"
    assert "Other" in values_in(request_of(adapter, Sms("+966500000001", "Hello", sender_id="Other")))
    assert "Shop" in values_in(request_of(adapter, Sms("+966500000001", "Hello")))


def test_some_apps_have_a_rule_for_senders():
    ruled = {kind.slug for kind in SPEAKING if kind.sender_rule() is not None}
    assert ruled >= {"msegat-sms", "unifonic-sms", "twilio-sms", "infobip-sms", "vonage-sms", "nimbus-sms"}


@those(lambda kind: kind.sender_rule() is not None)
def test_a_sender_that_breaks_the_rule_is_not_sent(adapter: ProviderAdapter):
    for sender in ("A name that is too long", "متجري", "9665000000000000001"):
        with responses.RequestsMock():  # any call would fail the test
            result = adapter.send(Sms("+966500000001", "Hello", sender_id=sender), BUDGET)
        assert (result.outcome, result.fault, result.reason) == (Outcome.REJECTED, Fault.SENDER, "sender_not_accepted")
        assert "Nothing was sent" in result.message


def test_our_own_id_is_the_reference(adapter: ProviderAdapter):
    values = values_in(request_of(adapter, SMS))
    assert (str(adapter.reference_for(SMS)) in values) == adapter.capabilities.reference
    request_of(adapter, Sms("+966500000001", "Hello"))  # and without one it is sent all the same


def test_the_encoding_is_said_where_it_has_to_be(adapter: ProviderAdapter):
    """What differs between two requests besides the text is a flag."""

    def rest(text: str) -> list[str]:
        return [value for value in values_in(request_of(adapter, Sms("+966500000001", text))) if value != text]

    flags = {tuple(rest(text)) for text in ("Hello", "{Hello} €")}
    assert len(flags) == 1, "the extension table is GSM-7 as well"
    arabic = tuple(rest("مرحبا"))
    assert (arabic not in flags) == (adapter.capabilities.unicode is Unicode.FLAG)
    assert tuple(rest("Hello “world”")) == arabic


NOW = datetime(2026, 2, 1, 6, 0, tzinfo=UTC)


@those(lambda kind: not kind.capabilities.scheduling)
def test_who_cannot_hold_a_message_never_sends_it_early(adapter: ProviderAdapter):
    for ahead in (timedelta(minutes=1), timedelta(hours=1), timedelta(days=30)):
        assert not adapter.can_schedule(NOW + ahead, now=NOW)
    with responses.RequestsMock():  # any call would fail the test
        result = adapter.send(Sms("+966500000001", "Hello", send_at=NOW + timedelta(hours=1)), BUDGET)
    assert result.outcome == Outcome.REJECTED
    assert "Nothing was sent" in result.message


@those(lambda kind: kind.capabilities.scheduling)
def test_who_can_hold_a_message_is_told_until_when(kind: type[ProviderAdapter]):
    with_all = {**kind.example_credentials(), **SCHEDULING_NEEDS.get(kind.slug, {})}
    adapter = kind(with_all)
    at = NOW + timedelta(hours=1, seconds=30, microseconds=1)
    assert adapter.can_schedule(at, now=NOW)
    assert not adapter.can_schedule(NOW + timedelta(days=4000), now=NOW) or kind.slug == "taqnyat-sms"  # names no limit
    now, later = (values_in(request_of(adapter, Sms("+966500000001", "Hello", send_at=when))) for when in (None, at))
    times = [value for value in later if value not in now and re.match(r"\d{4}-\d\d-\d\dT", value)]
    assert len(times) == 1
    given = datetime.fromisoformat(times[0])
    if given.tzinfo is None:
        given = given.replace(tzinfo=ZoneInfo("Asia/Riyadh"))
    assert at <= given < at + timedelta(minutes=1), "late by less than a minute, and never early"


# What an adapter needs beside its example to hold messages.
SCHEDULING_NEEDS = {"twilio-sms": {"messaging_service_sid": "MG00000000000000000000000000000001"}}


def test_no_secret_in_an_address(adapter: ProviderAdapter):
    """Of a send: addresses end in the logs of every proxy."""
    url = request_of(adapter, SMS).url
    assert not [secret for secret in adapter.secrets() if secret in str(url)]


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
    "big": {"body": b"x" * 3_000_000},  # of text `responses` looks at every letter
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
    if result.reason == "blocked_by_firewall":  # a page in front of the gateway: it never saw the message
        assert (status, result.outcome) == (403, Outcome.UNAVAILABLE)
    else:
        assert (result.outcome, result.fault) == (Outcome.REJECTED, fault)
    assert result.reason in REASONS


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
    assert secrets
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


def test_a_request_that_cannot_be_built_is_not_sent(kind: type[ProviderAdapter]):
    with responses.RequestsMock():
        result = kind({}, default_sender="Shop").send(SMS, BUDGET)
    assert result.outcome == Outcome.REJECTED
    assert "Nothing was sent" in result.message


# --- answers that are nearly right ---------------------------------------------------------------------------------


def spoken(adapter: ProviderAdapter) -> list[Any]:
    """Return an acceptance and a refusal of `SMS`, decoded, as the local gateway has them."""
    provider = GATEWAY_PROVIDERS[adapter.slug]()
    request = request_of(adapter, SMS)
    url = urlsplit(str(request.url))
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = request.body if isinstance(request.body, bytes) else str(request.body).encode()
    sent = provider.read_send(Call(str(request.method), url.path, dict(parse_qsl(url.query)), headers, body))
    answers = provider.accepted(sent, provider.id_for(sent)), provider.unauthorized()
    return [json.loads(answer.encoded()[0] or b"null") for answer in answers]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything inside a decoded body, the body itself included."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with `new` at `path`."""
    if not path:
        return new
    copied = copy.copy(value)
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["0", "1", "-1", "true", "false", "fail", "rejected", "ER-04", "1-7", "M0002", "1e999", "رصيد"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_no_answer_is_too_odd_to_be_read(
    adapter: ProviderAdapter, caplog: pytest.LogCaptureFixture, data: st.DataObject
):
    """Any part of a real answer may become anything: it is read without a fault, and kept."""
    body = data.draw(st.sampled_from(spoken(adapter)))
    path = data.draw(st.sampled_from(list(places(body))))
    status = data.draw(st.sampled_from([200, 201, 302, 400, 403, 404, 422, 429, 500]))
    encoded = json.dumps(changed(body, path, data.draw(ODD))).encode()
    result = send(adapter, status=status, body=encoded, content_type="application/json")
    said = {Outcome.ACCEPTED: "", Outcome.UNKNOWN: "The message may have been sent."}
    assert result.message.endswith(said.get(result.outcome, "Nothing was sent."))
    assert not result.reason or result.reason in REASONS
    assert caplog.text == ""  # where a defect of ours in reading would be
    if not 200 <= status < 300:
        assert result.outcome != Outcome.ACCEPTED
    if status == 429:
        assert result.outcome == Outcome.UNAVAILABLE or result.reason == "partly_accepted"


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_a_yes_in_the_body_and_a_no_in_the_status_is_unknown(adapter: ProviderAdapter, status: int):
    yes, _ = spoken(adapter)
    result = send(adapter, status=status, json=yes)
    assert result.outcome == Outcome.UNKNOWN
    assert result.raw == yes


@pytest.mark.parametrize("status", [301, 307, 408, 499, 500, 502, 503, 504])
def test_a_no_of_whoever_has_a_fault_or_sends_us_elsewhere_is_not_believed(adapter: ProviderAdapter, status: int):
    _, no = spoken(adapter)
    assert send(adapter, status=status, json=no).outcome == Outcome.UNKNOWN


@pytest.mark.parametrize("status", [408, 499])
def test_a_proxy_that_gave_up_waiting_is_unknown(adapter: ProviderAdapter, status: int):
    result = send(adapter, status=status, body="<html>timeout</html>")
    assert (result.outcome, result.fault) == (Outcome.UNKNOWN, Fault.PROVIDER_DOWN)


# --- questions -----------------------------------------------------------------------------------------------------

QUESTIONS = [(kind, question) for kind in SPEAKING for question in ("balance", "sender_names")]


def questions(*, are_offered: bool) -> pytest.MarkDecorator:
    """Run a test for each question that an adapter does, or does not, declare."""
    pairs = [(kind, question) for kind, question in QUESTIONS if getattr(kind.capabilities, question) == are_offered]
    return pytest.mark.parametrize(("kind", "question"), pairs, ids=[f"{kind.slug}-{name}" for kind, name in pairs])


def asked(adapter: ProviderAdapter, question: str, **reply: Any) -> ProviderRefused:
    """Ask, with this reply to every call, and return the refusal."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as http:
        for method in (responses.GET, responses.POST):
            http.add(method, ANY, **reply)
        with pytest.raises(ProviderRefused) as caught:
            getattr(adapter, question)(BUDGET)
        assert len(http.calls)
    return caught.value


# Nonsense that is a provider's way to say that there are no sender names.
EMPTY_OBJECTS = [reply for reply in NONSENSE.values() if reply.get("json") == {} or reply.get("body") == "{}"]
SAYS_NONE = {"vonage-sms": EMPTY_OBJECTS}


@questions(are_offered=True)
@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
def test_a_question_without_a_usable_answer_is_refused(adapter: ProviderAdapter, question: str, reply: dict[str, Any]):
    for status in (200, 301, 400, 401, 403, 404, 429, 500, 503):
        if status == 200 and question == "sender_names" and reply in SAYS_NONE.get(adapter.slug, ()):
            continue
        result = asked(adapter, question, **{**reply, "status": status}).result
        assert result.http_status == status
        assert result.message
        assert result.reason in REASONS
        assert "may have been sent" not in result.message
        json.dumps(result.raw, allow_nan=False)


@questions(are_offered=True)
@pytest.mark.parametrize("error", [requests.ConnectTimeout(), requests.ReadTimeout(), requests.ConnectionError()])
def test_a_question_without_any_answer_is_refused(adapter: ProviderAdapter, question: str, error: Exception):
    assert asked(adapter, question, body=error).result.outcome == Outcome.UNAVAILABLE


def test_a_secret_in_an_answer_to_a_question_is_masked(adapter: ProviderAdapter, monkeypatch: pytest.MonkeyPatch):
    secret = next(adapter.config[field.name] for field in adapter.credential_fields if field.is_secret)
    monkeypatch.setattr(adapter, "fetch_balance", lambda _: Balance(Decimal(1), secret, secret, f"see {secret}"))
    monkeypatch.setattr(adapter, "fetch_sender_names", lambda _: ["Shop", secret])
    assert secret not in str(adapter.balance(BUDGET))
    assert adapter.sender_names(BUDGET) == ["Shop", MASK]


@questions(are_offered=False)
def test_what_a_provider_cannot_be_asked_is_not_asked(adapter: ProviderAdapter, question: str):
    with responses.RequestsMock(), pytest.raises(NotImplementedError):
        getattr(adapter, f"fetch_{question}")(BUDGET)
