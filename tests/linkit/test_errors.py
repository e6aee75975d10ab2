"""Whatever a client sends, it is told what was wrong in JSON of the documented shape, and never with a traceback."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import RequestFactory, override_settings
from django.urls import include, path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit import api as kernel
from linkit.errors import InvalidInput, LinkitError, Missing
from linkit.models import Token
from linkit.urls import v1
from linkit.wsgi import application
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog
from tests.conftest import Api

OUTBOX = "/api/v1/sms/outbox"
GOOD = {"mobile": "0501234567", "message": "Hello"}


class SenderIdNotActiveError(LinkitError):
    pass


class Broken(APIView):
    """A view of the contact family that fails as its last path segment says."""

    permission_classes = []

    class BodySerializer(serializers.Serializer[Any]):
        name = serializers.CharField(max_length=3)
        tags = serializers.ListField(child=serializers.CharField(max_length=2), default=list)

    def get(self, request: Request, how: str) -> Response:
        raise {
            "named": SenderIdNotActiveError("The sender ID is reserved."),
            "missing": Missing("There is no such contact."),
            "field": InvalidInput("phone: bad.", fields={"phone": ["bad."]}),
            "fault": RuntimeError("secret detail"),
        }[how]

    def post(self, request: Request, how: str) -> Response:
        self.BodySerializer(data=request.data).is_valid(raise_exception=True)
        return Response({})


class ContactFamily:
    """A URLconf with a view outside v1, as the contact API will be."""

    urlpatterns = [
        path("api/v1/", include(v1)),
        path("api/v1/broken/<str:how>", Broken.as_view()),
        path("api/broken/<str:how>", Broken.as_view()),
    ]
    handler400 = "linkit.error_responses.bad_request"
    handler403 = "linkit.error_responses.permission_denied"
    handler404 = "linkit.error_responses.page_not_found"
    handler500 = "linkit.error_responses.server_error"


with_contact_family = override_settings(ROOT_URLCONF=ContactFamily)


@pytest.fixture
def sandbox(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("sandbox-sms")


def is_json(response: Any) -> bool:
    return bool(response.headers["Content-Type"] == "application/json")


def assert_v1(response: Any, status: int) -> dict[str, Any]:
    """Check the shape of a v1 error and return it."""
    assert response.status_code == status, response.content
    assert is_json(response)
    body: dict[str, Any] = json.loads(response.content)
    assert set(body) == {"code", "error", "details"}
    assert body["code"] == status
    assert isinstance(body["error"], str)
    assert len(body["error"]) > 5
    assert body["details"] is None or isinstance(body["details"], dict | str)
    assert "Traceback" not in response.content.decode()
    return body


def assert_contact(response: Any, status: int) -> dict[str, Any]:
    """Check the shape of an error of the contact API and return it."""
    assert response.status_code == status, response.content
    assert is_json(response)
    body: dict[str, Any] = json.loads(response.content)
    assert set(body) - {"fieldErrors"} == {"statusCode", "error", "message", "code", "timestamp", "path"}
    assert body["statusCode"] == status
    assert body["timestamp"].endswith("Z")
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert "Traceback" not in response.content.decode()
    return body


def raw(api: Api, body: bytes | str, *, to: str = OUTBOX, content_type: str = "application/json", **extra: Any) -> Any:
    data: Any = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    return api.generic("POST", to, data, content_type=content_type, **extra)


# --- the two families ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["/api/v1/nothing", "/api/v1/", "/api/v1/sms/outbox/", "/api/v1/auth/login/", "/api/v1/a/b"]
)
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_path_of_v1_is_404(api: Api, url: str, method: str):
    assert assert_v1(getattr(api, method)(url), 404)["details"] is None


@pytest.mark.parametrize(
    "url", ["/api/nothing", "/api/", "/api/contact/", "/api/v2/ping", "/api/v10/x", "/api//v1/ping"]
)
def test_an_unknown_path_outside_v1_is_404_of_the_other_family(anonymous: Api, url: str):
    body = assert_contact(anonymous.get(url), 404)
    assert (body["error"], body["code"], body["path"]) == ("NotFoundException", "NOT_FOUND", url)


def test_an_unknown_path_outside_the_api_is_no_page_with_a_stack(anonymous: Api):
    response = anonymous.get("/nothing")
    assert response.status_code == 404
    assert "html" not in response.headers["Content-Type"]


@with_contact_family
@pytest.mark.parametrize(
    ("how", "status", "error", "code"),
    [
        ("named", 400, "SenderIdNotActiveError", "SENDER_ID_NOT_ACTIVE"),
        ("missing", 404, "NotFoundException", "NOT_FOUND"),
        ("field", 400, "BadRequestException", "BAD_REQUEST"),
    ],
)
def test_the_contact_family_names_what_clients_branch_on(anonymous: Api, how: str, status: int, error: str, code: str):
    body = assert_contact(anonymous.get(f"/api/broken/{how}"), status)
    assert (body["error"], body["code"], body["path"]) == (error, code, f"/api/broken/{how}")
    assert ("fieldErrors" in body) == (how == "field")


@with_contact_family
def test_the_contact_family_lists_malformed_fields(anonymous: Api):
    body = assert_contact(anonymous.post("/api/broken/x", {"name": "long", "tags": ["ok", "long"]}), 400)
    assert body["error"] == "BadRequestException"
    assert body["code"] == "BAD_REQUEST"
    assert set(body["fieldErrors"]) == {"name", "tags.1"}
    assert all(isinstance(text, str) for texts in body["fieldErrors"].values() for text in texts)


@with_contact_family
@pytest.mark.parametrize("how", ["named", "missing", "field"])
def test_v1_has_its_own_shape_for_the_same_failures(anonymous: Api, how: str):
    assert_v1(anonymous.get(f"/api/v1/broken/{how}"), 404 if how == "missing" else 400)


@with_contact_family
@pytest.mark.parametrize("family", ["/api/v1/broken/fault", "/api/broken/fault"])
@pytest.mark.django_db
def test_a_fault_of_ours_is_a_500_without_its_details(family: str):
    client = Api(raise_request_exception=False)
    response = client.get(family)
    (assert_v1 if "v1" in family else assert_contact)(response, 500)
    assert "secret detail" not in response.content.decode()


def test_a_fault_inside_a_known_view_is_json_too(api: Api, monkeypatch: pytest.MonkeyPatch):
    def explode(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(kernel.MeView, "get", explode)
    api.raise_request_exception = False
    response = api.get("/api/v1/auth/me", HTTP_ACCEPT="text/html")
    assert_v1(response, 500)
    assert "secret detail" not in response.content.decode()


# --- methods and what is accepted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("put", "/api/v1/apps"),
        ("delete", "/api/v1/apps"),
        ("patch", OUTBOX),
        ("delete", OUTBOX),
        ("get", "/api/v1/auth/logout"),
        ("post", "/api/v1/auth/me"),
        ("get", "/api/v1/sms/outbox/batch"),
        ("get", "/api/v1/sms-providers/mora-sms/send"),
        ("post", "/api/v1/sms-providers/mora-sms/balance"),
        ("post", "/api/v1/sms/logs"),
        ("put", "/api/v1/api-keys"),
    ],
)
def test_a_method_that_nobody_serves_is_405(api: Api, method: str, url: str):
    response = getattr(api, method)(url, {} if method in ("put", "patch", "post") else None)
    assert_v1(response, 405)
    assert "Allow" in response.headers
    assert method.upper() not in response.headers["Allow"]


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
@pytest.mark.parametrize("url", ["/api/v1/ping", "/api/v1/health"])
def test_an_open_url_knows_its_methods(anonymous: Api, method: str, url: str):
    assert_v1(getattr(anonymous, method)(url), 405)


@pytest.mark.parametrize("url", ["/api/v1/ping", "/api/v1/apps", OUTBOX, "/api/v1/auth/me"])
def test_head_is_a_get_without_a_body(api: Api, url: str):
    response = api.head(url)
    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.parametrize("scopes", [("read",), ("read", "send", "manage")])
@pytest.mark.parametrize("url", ["/api/v1/apps", OUTBOX, "/api/v1/sms/logs", "/api/v1/api-keys", "/api/v1/ping"])
def test_options_say_what_is_allowed(anonymous: Api, api_key: Callable[..., str], url: str, scopes: tuple[str, ...]):
    response = anonymous.using(api_key(scopes=scopes)).options(url)
    assert response.status_code == 200
    assert is_json(response)
    assert "GET" in response.headers["Allow"]


def test_options_need_a_caller_too(anonymous: Api, db: None):
    assert_v1(anonymous.options(OUTBOX), 401)


@pytest.mark.parametrize("accept", ["text/html", "text/csv", "application/xml", "image/*", "nonsense", "*/*;q=0", ""])
def test_the_answer_is_json_whatever_is_accepted(api: Api, accept: str):
    assert is_json(api.get("/api/v1/auth/me", HTTP_ACCEPT=accept))
    assert_v1(api.get("/api/v1/nothing", HTTP_ACCEPT=accept), 404)
    assert_v1(api.post(OUTBOX, {}, HTTP_ACCEPT=accept), 400)


@pytest.mark.parametrize("format_", ["api", "html", "admin", "csv", "json", "\x00"])
def test_no_query_makes_it_another_format(api: Api, format_: str):
    assert is_json(api.get("/api/v1/auth/me", {"format": format_}))


# --- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "nonsense",
        '{"mobile": "0501234567", "message": }',
        "{'mobile': '0501234567'}",
        '{"mobile": "0501234567", "message": "a",}',
        '{"mobile": NaN, "message": "a"}',
        '{"mobile": "0501234567", "message": "a", "meta": {"x": Infinity}}',
        '{"mobile": "0501234567", "message": "a", "meta": {"x": -Infinity}}',
        '{"mobile": "0501234567", "message": "a", "meta": {"x": NaN}}',
        '{"mobile": "0501234567", "message": "a\nb"}',
        '{"a": ' + "9" * 5000 + "}",
        b"\xff\xfe\x00",
        b'{"mobile": "\xff"}',
        b"\x00",
        b"\x1f\x8b\x08\x00",
        "{}{}",
        " ",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_bad_json_is_400(api: Api, sandbox: OrganizationApp, body: bytes | str):
    assert_v1(raw(api, body), 400)
    assert not Message.objects.exists()


@pytest.mark.parametrize("body", ["null", "[]", "[{}]", '"text"', "1", "1.5", "true", "1e999"])
@pytest.mark.parametrize("url", [OUTBOX, OUTBOX + "/batch", "/api/v1/auth/login", "/api/v1/apps"])
def test_json_that_is_no_object_is_400(api: Api, body: str, url: str):
    assert_v1(raw(api, body, to=url), 400)


@pytest.mark.parametrize("url", [OUTBOX, OUTBOX + "/batch", "/api/v1/auth/login", "/api/v1/apps"])
def test_an_empty_body_is_400(api: Api, url: str):
    body = assert_v1(api.generic("POST", url), 400)
    assert body["details"]
    assert_v1(raw(api, b"", to=url), 400)


WRONG_TYPES: list[Any] = [None, True, 0, -1, 1.5, 1e300, 10**300, [], [[]], [None], {}, {"a": {}}, "", " ", "x" * 5000]


@pytest.mark.parametrize("value", WRONG_TYPES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(
    "field",
    ["mobile", "message", "sender", "datetime", "preferred_provider_slug", "idempotency_key", "meta", "ttl_seconds"],
)
def test_a_wrong_type_anywhere_is_at_most_a_400(api: Api, sandbox: OrganizationApp, field: str, value: Any):
    response = api.post(OUTBOX, {**GOOD, field: value})
    assert response.status_code in (201, 400)
    if response.status_code == 400:
        assert assert_v1(response, 400)["details"]


@pytest.mark.parametrize("value", WRONG_TYPES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("field", ["slug", "credentials", "default_sender", "enabled", "priority", "max_per_second"])
def test_a_wrong_type_in_an_installation_is_at_most_a_400(api: Api, field: str, value: Any):
    response = api.post("/api/v1/apps", {"slug": "sandbox-sms", field: value})
    assert response.status_code in (201, 400)
    if response.status_code == 400:
        assert_v1(response, 400)


@pytest.mark.parametrize("value", [*WRONG_TYPES, ["read", ["send"]], {"read": 1}], ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("field", ["name", "scopes", "is_test", "expires_at"])
def test_a_wrong_type_in_a_key_is_at_most_a_400(anonymous: Api, login: Callable[..., Api], field: str, value: Any):
    response = login("admin").post("/api/v1/api-keys", {"name": "x", field: value})
    assert response.status_code in (201, 400)
    if response.status_code == 400:
        assert_v1(response, 400)


def test_a_body_over_a_megabyte_is_413_and_nothing_is_stored(api: Api, sandbox: OrganizationApp):
    large = {**GOOD, "meta": {"x": "y" * 1_000_001}}
    assert_v1(api.post(OUTBOX, large), 413)
    assert_v1(api.post(OUTBOX + "/batch", {"messages": [GOOD], "padding": "y" * 1_000_001}), 413)
    assert_v1(api.post("/api/v1/sms-providers/sandbox-sms/send", {**GOOD, "padding": "y" * 1_000_001}), 413)
    assert not Message.objects.exists()
    assert not SmsLog.objects.exists()


def test_a_body_of_just_a_megabyte_is_read(api: Api, sandbox: OrganizationApp):
    body = json.dumps({**GOOD, "padding": ""})
    exact = json.dumps({**GOOD, "padding": "y" * (1_000_000 - len(body))})
    assert len(exact) == 1_000_000
    assert raw(api, exact).status_code == 201
    assert_v1(raw(api, exact + " "), 413)


def test_white_space_counts_towards_the_megabyte(api: Api, sandbox: OrganizationApp):
    assert_v1(raw(api, json.dumps(GOOD) + " " * 1_000_000), 413)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/html",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/jsonp",
        "json",
        "nonsense",
        "",
    ],
)
def test_another_media_type_is_415(api: Api, sandbox: OrganizationApp, content_type: str):
    assert_v1(raw(api, json.dumps(GOOD), content_type=content_type), 415)
    assert not Message.objects.exists()


def test_a_form_is_415(api: Api, sandbox: OrganizationApp):
    assert_v1(raw(api, "mobile=0501234567&message=Hello", content_type="application/x-www-form-urlencoded"), 415)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json;charset=UTF-8 ",
        "application/json; x=y",
    ],
)
def test_json_is_json_however_it_is_named(api: Api, sandbox: OrganizationApp, content_type: str):
    assert raw(api, json.dumps(GOOD), content_type=content_type).status_code == 201


@pytest.mark.parametrize(
    "charset", ["zlib", "bz2", "hex", "rot13", "base64", "uu", "quopri", "idna", "undefined", "utf-16", "ascii", "x"]
)
def test_json_is_utf8_whatever_charset_is_claimed(api: Api, sandbox: OrganizationApp, charset: str):
    body = json.dumps({**GOOD, "message": "مرحبا"}, ensure_ascii=False)
    response = raw(api, body, content_type=f"application/json; charset={charset}")
    assert response.status_code == 201, response.content
    assert Message.objects.get().text == "مرحبا"
    assert_v1(raw(api, b"\x00\x01nonsense\xff", content_type=f"application/json; charset={charset}"), 400)


def test_a_byte_order_mark_is_no_mistake(api: Api, sandbox: OrganizationApp):
    assert raw(api, b"\xef\xbb\xbf" + json.dumps(GOOD).encode()).status_code == 201


def test_of_a_key_that_comes_twice_the_last_counts(api: Api, sandbox: OrganizationApp):
    assert raw(api, '{"mobile": "0501234567", "message": "first", "message": "second"}').status_code == 201
    assert Message.objects.get().text == "second"


def test_unknown_fields_are_ignored(api: Api, sandbox: OrganizationApp):
    assert api.post(OUTBOX, {**GOOD, "id": "r00000000000000", "status": "sent", "is_test": True}).status_code == 201
    message = Message.objects.get()
    assert (message.status, message.is_test) == ("pending", False)
    assert message.pk != "r00000000000000"


@pytest.mark.parametrize("depth", [201, *range(900, 1000, 7), 5_000, 400_000])
@pytest.mark.parametrize(
    ("url", "template"),
    [
        (OUTBOX, '{"mobile": "0501234567", "message": "a", "meta": {"x": DEEP}}'),
        (OUTBOX, '{"mobile": DEEP, "message": "a"}'),
        (OUTBOX, '{"mobile": "0501234567", "message": "a", "padding": DEEP}'),
        (OUTBOX, "DEEP"),
        (OUTBOX + "/batch", '{"messages": [DEEP]}'),
        ("/api/v1/apps", '{"slug": "sandbox-sms", "credentials": {"x": DEEP}}'),
        ("/api/v1/auth/login", '{"email": DEEP, "password": DEEP}'),
    ],
)
def test_deep_nesting_is_400(api: Api, sandbox: OrganizationApp, url: str, template: str, depth: int):
    deep = "[" * depth + "]" * depth
    assert_v1(raw(api, template.replace("DEEP", deep)), 400 if depth < 400_000 or template.count("DEEP") == 1 else 413)
    objects = '{"a":' * depth + "1" + "}" * depth
    if depth < 100_000:
        assert_v1(raw(api, template.replace("DEEP", objects)), 400)
    assert not Message.objects.exists()


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_deep_nesting_in_the_scopes_of_a_key_is_400(login: Callable[..., Api], depth: int):
    body = '{"name": "x", "scopes": [' + "[" * depth + "]" * depth + "]}"
    assert_v1(raw(login("admin"), body, to="/api/v1/api-keys"), 400)
    assert not Token.objects.api_keys().exists()


BAD_TEXT = ["\\u0000", "\\ud800", "\\udc00 \\ud800", "a\\u0000b"]


@pytest.mark.parametrize("bad", BAD_TEXT)
@pytest.mark.parametrize(
    "field", ["mobile", "message", "sender", "datetime", "preferred_provider_slug", "idempotency_key"]
)
def test_nul_and_half_a_surrogate_pair_are_400_in_a_message(api: Api, sandbox: OrganizationApp, field: str, bad: str):
    body = json.dumps({**GOOD, field: "BAD"}).replace("BAD", bad)
    assert_v1(raw(api, body), 400)
    assert not Message.objects.exists()


@pytest.mark.parametrize("bad", BAD_TEXT)
@pytest.mark.parametrize(
    "body",
    [
        '{"slug": "BAD"}',
        '{"slug": "sandbox-sms", "credentials": {"BAD": "x"}}',
        '{"slug": "mora-sms", "credentials": {"api_key": "BAD", "username": "x"}}',
        '{"slug": "sandbox-sms", "default_sender": "BAD"}',
        '{"slug": "sandbox-sms", "priority": "BAD"}',
        '{"slug": "sandbox-sms", "enabled": "BAD"}',
    ],
)
def test_nul_and_half_a_surrogate_pair_are_400_in_an_installation(api: Api, body: str, bad: str):
    assert_v1(raw(api, body.replace("BAD", bad), to="/api/v1/apps"), 400)
    assert not OrganizationApp.objects.exists()


@pytest.mark.parametrize("bad", BAD_TEXT)
@pytest.mark.parametrize(
    "body", ['{"name": "BAD"}', '{"name": "x", "scopes": ["BAD"]}', '{"name": "x", "expires_at": "BAD"}']
)
def test_nul_and_half_a_surrogate_pair_are_400_in_a_key(login: Callable[..., Api], body: str, bad: str):
    assert_v1(raw(login("admin"), body.replace("BAD", bad), to="/api/v1/api-keys"), 400)
    assert not Token.objects.api_keys().exists()


@pytest.mark.parametrize("bad", BAD_TEXT)
@pytest.mark.parametrize(
    "body", ['{"email": "BAD@example.com", "password": "x"}', '{"email": "a@example.com", "password": "BAD"}']
)
@pytest.mark.django_db
def test_nul_and_half_a_surrogate_pair_are_400_at_login(anonymous: Api, body: str, bad: str):
    assert_v1(raw(anonymous, body.replace("BAD", bad), to="/api/v1/auth/login"), 400)


def test_names_of_unknown_fields_are_never_looked_at(api: Api, sandbox: OrganizationApp):
    body = '{"mobile": "0501234567", "message": "a", "\\ud800": 1, "\\u0000": 2, "": 3}'
    assert raw(api, body).status_code == 201


# --- bodies in chunks ---------------------------------------------------------------------------------------------


def chunked(secret: str, body: bytes, **environ: Any) -> tuple[int, dict[str, Any]]:
    """Call the WSGI application as gunicorn does for `Transfer-Encoding: chunked`: with a body and no length."""
    request = RequestFactory().post(OUTBOX, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {secret}")
    request.environ.update({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, **environ})
    request.environ["wsgi.input"] = io.BytesIO(body)
    del request.environ["CONTENT_LENGTH"]
    statuses: list[int] = []
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)  # the connection is the test's, with its transaction
    try:
        response = application(request.environ, lambda status, headers: statuses.append(int(status.split()[0])))
        answer: dict[str, Any] = json.loads(b"".join(response))
        response.close()  # type: ignore[attr-defined]
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)
    return statuses[0], answer


def test_a_body_may_come_in_chunks(api_key: Callable[..., str], sandbox: OrganizationApp):
    assert chunked(api_key(), json.dumps(GOOD).encode())[0] == 201
    assert Message.objects.count() == 1


def test_chunks_are_no_way_around_the_limit(api_key: Callable[..., str], sandbox: OrganizationApp):
    # The first megabyte alone would be a message.
    body = json.dumps(GOOD).encode()
    status, answer = chunked(api_key(), body + b" " * 1_000_000)
    assert (status, answer["code"]) == (413, 413)
    assert chunked(api_key(), body + b" " * (1_000_000 - len(body)))[0] == 201
    assert Message.objects.count() == 1


def test_a_body_without_a_length_and_an_end_is_none(api_key: Callable[..., str], sandbox: OrganizationApp):
    """A server that does not end the input itself would let us wait for ever."""
    status, answer = chunked(api_key(), json.dumps(GOOD).encode(), **{"wsgi.input_terminated": False})
    assert (status, set(answer["details"])) == (400, {"mobile", "message"})


# --- URLs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", ["%00", "a%00b", "%ED%A0%80", "%FF", "..", "%2e%2e%2f", "%0a", "x" * 3000, "😀", "%F0%9F%98%80"]
)
@pytest.mark.parametrize(
    "url",
    [
        "/api/v1/apps/BAD",
        "/api/v1/sms/outbox/BAD",
        "/api/v1/sms/logs/BAD",
        "/api/v1/sms-providers/BAD/balance",
        "/api/v1/sms-providers/BAD/template/csv",
    ],
)
def test_a_malformed_id_in_the_url_is_at_most_a_404(api: Api, url: str, bad: str):
    response = api.get(url.replace("BAD", bad))
    assert_v1(response, 400 if "providers" in url and response.status_code == 400 else 404)


@pytest.mark.parametrize("bad", ["%00", "%FF", "x" * 3000])
def test_a_malformed_id_is_404_for_every_method(api: Api, bad: str):
    assert_v1(api.delete(f"/api/v1/apps/{bad}"), 404)
    assert_v1(api.patch(f"/api/v1/apps/{bad}", {}), 404)
    assert_v1(api.post(f"/api/v1/apps/{bad}/test"), 404)
    assert_v1(api.delete(f"{OUTBOX}/{bad}"), 404)


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=x",
        "page=%00",
        "limit=0",
        "sort=nothing",
        "sort=%00",
        "mobile=%00",
        "mobile=abc",
        "created_after=yesterday",
        "created_after=%00",
        "created_before=2026-13-01T00:00:00Z",
        "created_after=99999-01-01T00:00:00Z",
        "provider_slug=%00",
    ],
)
@pytest.mark.parametrize("url", [OUTBOX, "/api/v1/sms/logs"])
def test_a_bad_query_is_400(api: Api, url: str, query: str):
    assert_v1(api.get(f"{url}?{query}"), 400)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "9999-12-31T23:59:59Z"]
)
@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize("url", [OUTBOX, "/api/v1/sms/logs"])
def test_the_ends_of_the_calendar_break_nothing(api: Api, url: str, name: str, moment: str):
    response = api.get(url, {name: moment})
    assert response.status_code in (200, 400)
    assert is_json(response)


def test_a_foreign_host_is_400(anonymous: Api, settings: Any):
    settings.ALLOWED_HOSTS = ["sms.example.org"]
    assert_v1(anonymous.get("/api/v1/ping", HTTP_HOST="evil.example"), 400)
    assert_contact(anonymous.get("/api/nothing", HTTP_HOST="evil.example"), 400)
    assert anonymous.get("/api/v1/ping", HTTP_HOST="sms.example.org").status_code == 200


def test_too_many_parameters_are_400(api: Api):
    assert_v1(api.get(OUTBOX + "?" + "&".join(f"a{number}=1" for number in range(2000))), 400)


def test_errors_in_another_language_have_the_same_shape(api: Api):
    body = assert_v1(api.post(OUTBOX, {}, HTTP_ACCEPT_LANGUAGE="ar"), 400)
    assert set(body["details"]) == {"mobile", "message"}
    assert_v1(Api().get(OUTBOX, HTTP_ACCEPT_LANGUAGE="ar"), 401)
