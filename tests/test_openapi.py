"""The OpenAPI document and the page that shows it: valid, complete, and true of the answers that are really given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from django.urls import resolve
from django.utils import timezone
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from linkit.models import Role
from sms_providers.models import OrganizationApp
from tests import factories
from tests.conftest import Api
from tests.test_tenancy import CALLS, OPEN, Call

Json = dict[str, Any]
WITH_BODY = {"post", "put", "patch"}
OUTBOX = "/api/v1/sms/outbox"
GOOD = {"mobile": "0501234567", "message": "Hello"}


@cache
def document() -> Json:
    generated: Json = json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))
    return generated


def operations() -> Iterator[tuple[str, str, Json]]:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if method in ("get", "post", "put", "patch", "delete"):
                yield method, path, operation


EVERY = list(operations())
each_operation = pytest.mark.parametrize(
    ("method", "path", "operation"), EVERY, ids=[operation["operationId"] for _, _, operation in EVERY]
)


def as_json_schema(node: Any) -> Any:
    """Return an OpenAPI 3.0 schema as a JSON schema: `nullable` is the difference that matters here."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: as_json_schema(value) for name, value in node.items() if name not in ("nullable", "example")}
    return {"anyOf": [made, {"type": "null"}]} if node.get("nullable") is True else made


FORMATS = jsonschema.FormatChecker(formats=["uuid", "email"])


@FORMATS.checks("date-time", raises=ValueError)
def is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def mismatches(schema: Json, value: Any) -> list[str]:
    """Return what is wrong with `value` by a schema of the document."""
    whole = {**as_json_schema(schema), "components": as_json_schema(document()["components"])}
    checker = jsonschema.Draft202012Validator(whole, format_checker=FORMATS)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]


def media(content: Json) -> Json:
    found: Json = content["application/json"]
    return found


# --- the document -------------------------------------------------------------------------------------------------


def test_it_is_made_without_a_warning():
    GENERATOR_STATS.reset()
    SchemaGenerator().get_schema(request=None, public=True)
    said = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    GENERATOR_STATS.reset()
    assert said == []


def test_it_is_valid():
    assert document()["openapi"].startswith("3.0")
    validate_schema(document())


def test_every_url_is_in_it():
    def template(call: Call) -> str:
        return call.family + re.sub(r"<\w+:(\w+)>", r"{\1}", call.route)

    served = {(call.method.lower(), template(call)) for call in CALLS}
    assert served == {(method, path) for method, path, _ in EVERY}


def test_operation_ids_are_unique():
    ids = [operation["operationId"] for _, _, operation in EVERY]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]+", each) for each in ids)


def test_the_tags_are_those_that_are_described():
    described = {tag["name"] for tag in document()["tags"]}
    assert {"SMS providers", "SMS outbox"} <= described
    assert {tag for _, _, operation in EVERY for tag in operation["tags"]} == described


@each_operation
def test_every_operation_says_what_it_is(method: str, path: str, operation: Json):
    assert operation["operationId"]
    assert operation["summary"]
    assert len(operation["tags"]) == 1
    for parameter in operation.get("parameters", []):
        assert parameter["schema"]
    named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", path))


@each_operation
def test_every_operation_says_how_it_fails(method: str, path: str, operation: Json):
    statuses = set(operation["responses"])
    assert any(status.startswith("2") for status in statuses)
    if path.removeprefix("/api/v1/") in OPEN:
        assert not operation.get("security")
        assert not statuses & {"403", "404"}
    else:
        assert {"401", "403", "429"} <= statuses
        # Either header is enough.
        assert operation["security"] == [{"bearer": []}, {"apiKeyHeader": []}]
    if "requestBody" in operation:
        assert {"400", "413", "415"} <= statuses
    if "{" in path and "sms-providers" not in path:
        assert "404" in statuses
    if path == "/api/v1/auth/login":
        assert {"401", "429"} <= statuses
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            assert response["description"]


@each_operation
def test_every_operation_has_examples_that_are_true(method: str, path: str, operation: Json):
    bodies = {"request": operation["requestBody"]["content"]} if "requestBody" in operation else {}
    bodies |= {
        status: response["content"] for status, response in operation["responses"].items() if "content" in response
    }
    for name, content in bodies.items():
        if "application/json" not in content:
            assert set(content) <= {"text/csv", "multipart/form-data"}
            continue
        examples = media(content).get("examples")
        assert examples, f"{name} has no example"
        for each in examples.values():
            assert mismatches(media(content)["schema"], each["value"]) == []


@pytest.mark.parametrize("call", [call for call in CALLS if "<" not in call.route], ids=str)
def test_every_path_resolves(call: Any):
    assert resolve(call.url())


# --- what is really answered --------------------------------------------------------------------------------------


def check(response: Any, method: str, template: str, *, family: str = "/api/v1/") -> None:
    """Check that this status is documented and that the body is as documented."""
    operation = document()["paths"][f"{family}{template}"][method]
    documented = operation["responses"].get(str(response.status_code))
    assert documented is not None, f"{method} {template} answered {response.status_code}: {response.content!r}"
    content = documented.get("content")
    if content is None:
        assert response.content == b""
        return
    media_type = response.headers["Content-Type"].partition(";")[0]
    assert media_type in content
    if media_type == "application/json":
        assert mismatches(content[media_type]["schema"], response.json()) == []


@pytest.fixture
def sandbox(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("sandbox-sms")


def test_answers_about_the_caller_are_as_documented(anonymous: Api, api: Api, sandbox: OrganizationApp):
    person = factories.make_user(sandbox.organization, role=Role.ADMIN, name="Amal")
    login = anonymous.post("/api/v1/auth/login", {"email": person.email, "password": factories.PASSWORD})
    check(login, "post", "auth/login")
    check(anonymous.post("/api/v1/auth/login", {"email": person.email, "password": "x"}), "post", "auth/login")
    check(anonymous.post("/api/v1/auth/login", {}), "post", "auth/login")
    alone = factories.make_user()
    check(
        anonymous.post("/api/v1/auth/login", {"email": alone.email, "password": factories.PASSWORD}),
        "post",
        "auth/login",
    )
    admin = anonymous.using(login.json()["token"])
    for client in (admin, api, anonymous):
        check(client.get("/api/v1/auth/me"), "get", "auth/me")
    for body in ({"name": "x"}, {"name": ""}, {"name": "x", "expires_at": (timezone.now() + timedelta(1)).isoformat()}):
        made = admin.post("/api/v1/api-keys", body)
        check(made, "post", "api-keys")
    for query in ("", "?page=0", "?sort=name&limit=1"):
        check(admin.get(f"/api/v1/api-keys{query}"), "get", "api-keys")
    check(api.get("/api/v1/api-keys"), "get", "api-keys")
    for _ in range(2):
        check(admin.delete(f"/api/v1/api-keys/{made.json()['id']}"), "delete", "api-keys/{key_id}")
    check(admin.post("/api/v1/auth/logout"), "post", "auth/logout")
    for name in ("ping", "health"):
        check(anonymous.get(f"/api/v1/{name}"), "get", name)


def test_answers_about_apps_are_as_documented(api: Api, sandbox: OrganizationApp, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://127.0.0.1:1"}
    check(api.get("/api/v1/app-store"), "get", "app-store")
    mora = {"slug": "mora-sms", "credentials": factories.CREDENTIALS["mora-sms"], "max_per_second": 5}
    for body in (mora, mora, {"slug": "x"}, {}):
        check(api.post("/api/v1/apps", body), "post", "apps")
    check(api.get("/api/v1/apps"), "get", "apps")
    check(api.get("/api/v1/apps?sort=x"), "get", "apps")
    for slug in ("mora-sms", "sandbox-sms", "nobody-sms"):
        check(api.get(f"/api/v1/apps/{slug}"), "get", "apps/{slug}")
        check(api.patch(f"/api/v1/apps/{slug}", {"priority": 3}), "patch", "apps/{slug}")
        check(api.post(f"/api/v1/apps/{slug}/test"), "post", "apps/{slug}/test")
        for name in ("balance", "sender-names", "template/csv"):
            check(api.get(f"/api/v1/sms-providers/{slug}/{name}"), "get", f"sms-providers/{{slug}}/{name}")
    check(api.patch("/api/v1/apps/mora-sms", {"priority": -1}), "patch", "apps/{slug}")
    pinned = api.post(OUTBOX, {**GOOD, "preferred_provider_slug": "mora-sms"})
    check(api.delete("/api/v1/apps/mora-sms"), "delete", "apps/{slug}")
    api.delete(f"{OUTBOX}/{pinned.json()['id']}")
    for _ in range(2):
        check(api.delete("/api/v1/apps/mora-sms"), "delete", "apps/{slug}")


def test_answers_to_a_send_are_as_documented(api: Api, sandbox: OrganizationApp):
    later = {**GOOD, "datetime": (timezone.now() + timedelta(days=1)).isoformat()}
    scripted = [{**GOOD, "mobile": f"05555555{number:02d}"} for number in range(1, 10)]
    statuses = set()
    for body in (GOOD, later, {}, *scripted):
        response = api.post("/api/v1/sms-providers/sandbox-sms/send", body)
        check(response, "post", "sms-providers/{slug}/send")
        statuses.add(response.status_code)
    assert statuses == {200, 202, 400, 502, 503}
    for body in (GOOD, {**GOOD, "message": "x"}):
        response = api.post("/api/v1/sms-providers/sandbox-sms/send", body, HTTP_IDEMPOTENCY_KEY="k")
        check(response, "post", "sms-providers/{slug}/send")
    assert response.status_code == 409
    check(api.post("/api/v1/sms-providers/nobody-sms/send", GOOD), "post", "sms-providers/{slug}/send")
    for query in ("", "?status=sent", "?status=x"):
        check(api.get(f"/api/v1/sms/logs{query}"), "get", "sms/logs")
    for row in api.get("/api/v1/sms/logs").json()["data"]:
        check(api.get(f"/api/v1/sms/logs/{row['id']}"), "get", "sms/logs/{log_id}")


def test_answers_of_the_outbox_are_as_documented(api: Api, sandbox: OrganizationApp):
    keyed = {**GOOD, "idempotency_key": "k", "meta": {"a": [1]}, "sender": "Shop", "ttl_seconds": 60}
    for body in (GOOD, keyed, keyed, {**keyed, "message": "x"}, {}, {**GOOD, "preferred_provider_slug": "x"}):
        response = api.post(OUTBOX, body)
        check(response, "post", "sms/outbox")
    big = api.post(OUTBOX, {**GOOD, "padding": "x" * 1_000_000})
    text = api.generic("POST", OUTBOX, "x", content_type="text/plain")
    assert (big.status_code, text.status_code) == (413, 415)
    check(big, "post", "sms/outbox")
    check(text, "post", "sms/outbox")
    check(
        api.post(f"{OUTBOX}/batch", {"messages": [GOOD, keyed, {**keyed, "message": "x"}, {}, None]}),
        "post",
        "sms/outbox/batch",
    )
    check(api.post(f"{OUTBOX}/batch", {}), "post", "sms/outbox/batch")
    check(api.post(f"{OUTBOX}/batch", {"messages": [{}] * 1001}), "post", "sms/outbox/batch")
    for query in ("", "?dispatch_status=pending&sort=created", "?mobile=x"):
        check(api.get(f"{OUTBOX}{query}"), "get", "sms/outbox")
    for row in api.get(OUTBOX).json()["data"]:
        check(api.get(f"{OUTBOX}/{row['id']}"), "get", "sms/outbox/{message_id}")
        for _ in range(2):
            check(api.delete(f"{OUTBOX}/{row['id']}"), "delete", "sms/outbox/{message_id}")
    check(api.get(f"{OUTBOX}/nobody"), "get", "sms/outbox/{message_id}")


def test_answers_of_the_contact_api_are_as_documented(api: Api, sandbox: OrganizationApp):
    def checked(response: Any, method: str, template: str) -> Any:
        check(response, method, template, family="/api/")
        return response.json() if response.content else None

    sender = factories.make_sender(sandbox.organization, sandbox)
    body: Json
    for body in (
        {"displayName": "Customer Age", "type": "number"},
        {"displayName": "Customer Age", "type": "number"},
        {},
    ):
        checked(api.post("/api/custom-attributes", body), "post", "custom-attributes")
    (attribute,) = checked(api.get("/api/custom-attributes"), "get", "custom-attributes")
    one = "custom-attributes/{attribute_id}"
    for pk in (attribute["id"], uuid4(), "x"):
        checked(api.get(f"/api/custom-attributes/{pk}"), "get", one)
        checked(api.put(f"/api/custom-attributes/{pk}", {"description": "In years"}), "put", one)
    contact = {"primaryPhone": "0501234567", "firstName": "Sara", "customAttributes": {"customer_age": 30}}
    for body in (contact, contact, {}, {"primaryPhone": "0501234568", "customAttributes": {"nobody": 1}}):
        checked(api.post("/api/contact", body), "post", "contact")
    checked(api.post("/api/contact/upsert", {"data": [contact, {}]}), "post", "contact/upsert")
    checked(api.post("/api/contact/upsert", {"data": [{}] * 1001}), "post", "contact/upsert")
    (row,) = checked(api.get("/api/contact?search=sara"), "get", "contact")["data"]
    checked(api.get("/api/contact?sortBy=nothing"), "get", "contact")
    for pk in (row["id"], uuid4(), "x"):
        checked(api.get(f"/api/contact/{pk}"), "get", "contact/{contact_id}")
        checked(api.put(f"/api/contact/{pk}", {"city": "Riyadh"}), "put", "contact/{contact_id}")
    for body in ({"name": "All", "contactIds": [row["id"]]}, {"name": "All"}, {}):
        checked(api.post("/api/audience", body), "post", "audience")
    (audience,) = checked(api.get("/api/audience"), "get", "audience")["data"]
    send = {"contactId": row["id"], "senderId": str(sender.pk), "messageTemplate": "Hi {{ $contact.firstName }}"}
    program = {"name": "Sale", "senderId": str(sender.pk), "messageTemplate": "Hi", "audienceId": audience["id"]}
    statuses = set()
    for credits in (None, "10"):
        if credits:
            factories.top_up(sandbox.organization, credits)
        for body in (send, {}, {**send, "contactId": str(uuid4())}, {**send, "senderId": str(uuid4())}):
            response = api.post("/api/sms/send", body)
            checked(response, "post", "sms/send")
            statuses.add(response.status_code)
        draft = checked(api.post("/api/sms-programs", program), "post", "sms-programs")
        for name in ("launch", "launch", "resume", "cancel", "cancel"):
            checked(api.post(f"/api/sms-programs/{draft['id']}/{name}"), "post", f"sms-programs/{{program_id}}/{name}")
    assert statuses == {201, 400, 402, 404}
    checked(api.get("/api/sms-programs"), "get", "sms-programs")
    for pk in (draft["id"], uuid4(), "x"):
        checked(api.get(f"/api/sms-programs/{pk}"), "get", "sms-programs/{program_id}")
        checked(api.put(f"/api/sms-programs/{pk}", {"name": "New"}), "put", "sms-programs/{program_id}")
        checked(api.delete(f"/api/sms-programs/{pk}"), "delete", "sms-programs/{program_id}")
    for body in ({"messageTemplate": "Hi 👋"}, {"messageTemplate": "Hi", "contactId": row["id"]}, {}):
        checked(api.post("/api/sms/preview", body), "post", "sms/preview")
    checked(api.get("/api/sender-ids/available"), "get", "sender-ids/available")
    checked(api.get("/api/credits/balance"), "get", "credits/balance")
    for query in ("", "?startDate=2026-02-30", "?endDate=2026-11-26"):
        checked(api.get(f"/api/credits/transactions{query}"), "get", "credits/transactions")
    members = f"/api/audience/{audience['id']}/contacts"
    checked(api.get(members), "get", "audience/{audience_id}/contacts")
    for body in ({"contactIds": [row["id"]]}, {"contactIds": [str(uuid4())]}, {}):
        checked(api.post(members, body), "post", "audience/{audience_id}/contacts")
        checked(api.delete(members, body), "delete", "audience/{audience_id}/contacts")
    for pk in (audience["id"], uuid4(), "x"):
        checked(api.get(f"/api/audience/{pk}"), "get", "audience/{audience_id}")
        checked(api.put(f"/api/audience/{pk}", {"name": "Some"}), "put", "audience/{audience_id}")
        checked(api.delete(f"/api/audience/{pk}"), "delete", "audience/{audience_id}")
        checked(api.delete(f"/api/contact/{row['id']}"), "delete", "contact/{contact_id}")
        checked(api.delete(f"/api/custom-attributes/{attribute['id']}"), "delete", one)


def test_the_check_sees_a_difference():
    error = {"$ref": "#/components/schemas/Error"}
    assert mismatches(error, {"code": 400, "error": "x", "details": None}) == []
    assert mismatches(error, {"code": "400", "error": "x", "details": None})
    assert mismatches(error, {"code": 400, "error": None, "details": {}})
    assert mismatches(error, {"error": "x", "details": {}})


# --- how it is served ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", "application/json", "application/json"),
        ("?format=json", "*/*", "json"),
        ("", "application/yaml", "application/yaml"),
        ("?format=yaml", "*/*", "openapi"),
        ("", "*/*", "openapi"),
        ("", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "openapi"),
        ("", "application/vnd.oai.openapi+json", "json"),
    ],
)
def test_the_document_comes_as_json_and_as_yaml(anonymous: Api, query: str, accept: str, media_type: str):
    response = anonymous.get(f"/api/schema{query}", HTTP_ACCEPT=accept)
    assert response.status_code == 200
    assert media_type in response.headers["Content-Type"]
    text = response.content.decode()
    served = json.loads(text) if "json" in media_type else yaml.safe_load(text)
    assert served["info"]["title"] == "Linkit SMS"
    assert set(served["paths"]) == set(document()["paths"])


def test_credentials_are_not_needed_and_not_looked_at(anonymous: Api):
    assert anonymous.using("lk_live_nobody").get("/api/schema").status_code == 200
    assert anonymous.using("lk_live_nobody").get("/api/docs").status_code == 200


class Page(HTMLParser):
    """What an HTML page loads, and what it holds inline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.references += [str(given[name]) for name in ("src", "href", "action", "data") if given.get(name)]
        if (tag == "script" and not given.get("src")) or tag == "style":
            self.inline.append(tag)
        self.inline += [name for name in given if name.startswith("on") or name == "style"]


def test_the_page_loads_nothing_from_elsewhere_and_works_under_our_policy(anonymous: Api, settings: Any):
    response = anonymous.get("/api/docs", HTTP_ACCEPT="text/html")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    policy = response.headers["Content-Security-Policy"]
    assert policy == settings.CONTENT_SECURITY_POLICY
    assert "unsafe" not in policy
    page = Page(response.content.decode())
    assert page.inline == []
    assert len(page.references) >= 4
    for reference in page.references:
        assert reference.startswith("/")
        assert not reference.startswith("//")
        loaded = anonymous.get(reference, HTTP_ACCEPT="*/*")
        assert loaded.status_code == 200, reference
        kind = loaded.headers["Content-Type"]
        content = b"".join(loaded) if loaded.streaming else loaded.content
        assert content
        if ".css" in reference:
            assert kind.startswith("text/css")
        elif ".js" in reference or "script" in reference:
            assert "javascript" in kind


def test_the_page_asks_for_our_document(anonymous: Api):
    response = anonymous.get("/api/docs?script=", HTTP_ACCEPT="*/*")
    assert response.status_code == 200
    assert "javascript" in response.headers["Content-Type"]
    script = response.content.decode()
    assert "/api/schema" in script
    assert not re.findall(r"https?://(?!127\.0\.0\.1|localhost|testserver)[\w.]+", script)
