"""Every URL below /api/v1, taken from the URLconf so that none is forgotten: nobody gets in, and nobody sees or touches
another organization's rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import responses
from django.apps import apps
from django.core import serializers
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import URLPattern, URLResolver

from linkit import clock, tokens
from linkit.models import Organization, Role, Token, User
from linkit.urls import urlpatterns, v1
from outbox.bulk.models import BulkJob
from sms_providers.models import OrganizationApp, SmsLog
from tests import factories
from tests.conftest import Api

# The calls that need no caller, by the contract.
OPEN = {"auth/login", "ping", "health"}
# The calls that every caller may make, with whatever scopes.
FOR_EVERYBODY = {("POST", "auth/logout"), ("GET", "auth/me")}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Call:
    """One method of one URL pattern; `route` has its parameters in angle brackets."""

    method: str
    route: str

    @property
    def parameters(self) -> list[str]:
        return [name for _, name in re.findall(r"<(\w+):(\w+)>", self.route)]

    def url(self, **values: Any) -> str:
        route = re.sub(r"<\w+:(\w+)>", lambda found: str(values[found[1]]), self.route)
        return f"/api/v1/{route}"

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


def walk(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[Call]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, route)
        else:
            view = pattern.callback.view_class  # type: ignore[attr-defined]
            yield from (Call(method, route) for method in METHODS if hasattr(view, method.lower()))


CALLS = list(walk(v1))
CLOSED = [call for call in CALLS if call.route not in OPEN]
each_closed_call = pytest.mark.parametrize("call", CLOSED, ids=str)

GOOD = {"mobile": "0501234567", "message": "Hello"}
# A body that is well-formed for each URL that takes one: it must not be a 400 that hides a missing check.
BODIES: dict[str, dict[str, Any]] = {
    "POST api-keys": {"name": "new"},
    "POST apps": {"slug": "taqnyat-sms", "credentials": factories.CREDENTIALS["taqnyat-sms"]},
    "PATCH apps/<slug:slug>": {"priority": 1, "enabled": False, "credentials": {"username": "966599999999"}},
    "POST sms-providers/<str:slug>/send": GOOD,
    "POST sms/outbox": GOOD,
    "POST sms/outbox/batch": {"messages": [GOOD]},
}
# The calls that take a form with a file.
UPLOADS = {"POST sms-providers/<str:slug>/bulk-send", "POST sms-providers/<str:slug>/bulk-check"}


@dataclass
class Tenant:
    """An organization that has one of everything."""

    organization: Organization
    admin: Api
    program: Api
    values: dict[str, Any]  # of the URL parameters, by name
    marks: list[str]  # texts that only its own rows hold


@pytest.fixture
def owner(anonymous: Api, organization: Organization, install: Callable[..., OrganizationApp]) -> Tenant:
    """A tenant with apps, keys, messages and a log, each with a text that nobody else has."""
    person = factories.make_user(organization, role=Role.ADMIN, email="owner-mark@example.com")
    _, session = tokens.open_session(user=person)
    secret = factories.make_api_key(organization, name="key-mark")
    install("sandbox-sms", default_sender="SandMark")
    program = anonymous.using(secret)
    message = {"mobile": "0599999999", "message": "text-mark", "sender": "SendMark"}
    program.post("/api/v1/sms-providers/sandbox-sms/send", message)
    queued = program.post(
        "/api/v1/sms/outbox", {**message, "meta": {"note": "meta-mark"}, "idempotency_key": "idem-mark"}
    ).json()
    install("mora-sms", username="966512345678", default_sender="MoraMark")
    make(program, Call("POST", "sms-providers/<str:slug>/bulk-send"), {"slug": "mora-sms"})
    BulkJob.objects.update(
        status="failed", filename="file-mark", total_count=1, failed_count=1, finished_at=clock.now()
    )
    values = {
        "slug": "mora-sms",
        "job_id": BulkJob.objects.get().pk,
        "message_id": queued["id"],
        "log_id": SmsLog.objects.get().pk,
        "key_id": Token.objects.api_keys().get().pk,
    }
    marks = [
        "owner-mark", "key-mark", "SandMark", "MoraMark", "text-mark", "SendMark", "meta-mark", "idem-mark",
        "file-mark", "966512345678", "599999999", str(organization.pk), str(person.pk),
    ]  # fmt: skip
    return Tenant(organization, anonymous.using(session), program, values, marks)


@pytest.fixture
def stranger(anonymous: Api, other_organization: Organization) -> Tenant:
    """A tenant that has nothing but an administrator and a key with every scope."""
    person = factories.make_user(other_organization, role=Role.ADMIN)
    _, session = tokens.open_session(user=person)
    secret = factories.make_api_key(other_organization)
    return Tenant(other_organization, anonymous.using(session), anonymous.using(secret), {}, [])


def make(api: Api, call: Call, values: dict[str, Any], **headers: Any) -> Any:
    if str(call) in UPLOADS:
        form = {"file": SimpleUploadedFile("file.csv", b"mobile,message\n0501234567,Hello\n")}
        return api.post(call.url(**values), form, format="multipart", HTTP_PREFER="respond-async", **headers)
    body = BODIES.get(str(call), {}) if call.method in ("POST", "PUT", "PATCH") else None
    return getattr(api, call.method.lower())(call.url(**values), body, **headers)


def rows_of(organization: Organization) -> list[str]:
    """Return every row of the organization in every table, to see that nothing has changed."""
    found = []
    for model in apps.get_models():
        if "organization" in {field.name for field in model._meta.fields} and not model._meta.proxy:
            rows = model._default_manager.filter(organization=organization).order_by("pk")
            fields = [field.name for field in model._meta.fields if field.name not in ("last_used_at", "credentials")]
            found.append(serializers.serialize("json", rows, fields=fields))
            if model is OrganizationApp:
                found.append(json.dumps(list(rows.values_list("pk", "credentials"))))
    return found


def test_the_walk_sees_everything():
    routes = {call.route for call in CALLS}
    assert {"auth/login", "apps/<slug:slug>", "sms/outbox/<slug:message_id>", "sms/logs/<uuid:log_id>"} <= routes
    assert len(CALLS) >= 25
    known = {"slug", "message_id", "log_id", "key_id", "job_id"}
    assert {name for call in CALLS for name in call.parameters} <= known, "give the new parameter a value in `owner`"
    bodies = {str(call) for call in CALLS if call.method in ("POST", "PUT", "PATCH")}
    assert set(BODIES) <= bodies
    # Whatever is below /api/ and not in v1 is open by intention.
    others = {str(pattern.pattern) for pattern in urlpatterns if str(pattern.pattern).startswith("api/")}
    assert others == {"api/v1/", "api/schema", "api/docs"}


@pytest.mark.parametrize("call", [call for call in CALLS if call.route in OPEN], ids=str)
@pytest.mark.django_db
def test_what_is_open_is_open(anonymous: Api, call: Call):
    assert make(anonymous, call, {}).status_code in (200, 400)


@each_closed_call
def test_nobody_gets_in_without_credentials(anonymous: Api, owner: Tenant, call: Call):
    before = rows_of(owner.organization)
    for client in (anonymous, anonymous.using("lk_live_nobody")):
        response = make(client, call, owner.values)
        assert response.status_code == 401
        assert response.json()["code"] == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        for mark in owner.marks:
            assert mark not in response.content.decode()
    assert rows_of(owner.organization) == before


@each_closed_call
def test_a_key_that_may_only_read_writes_nothing(anonymous: Api, owner: Tenant, call: Call):
    secret = factories.make_api_key(owner.organization, scopes=("read",))
    before = rows_of(owner.organization)
    if call.method == "GET":
        return
    response = make(anonymous.using(secret), call, owner.values)
    if (call.method, call.route) in FOR_EVERYBODY:
        assert response.status_code < 400
    else:
        assert response.status_code == 403
        assert response.json()["code"] == 403
    assert rows_of(owner.organization) == before


@each_closed_call
def test_a_viewer_writes_nothing(anonymous: Api, owner: Tenant, call: Call):
    person = factories.make_user(owner.organization, role=Role.VIEWER)
    _, session = tokens.open_session(user=person)
    before = rows_of(owner.organization)
    response = make(anonymous.using(session), call, owner.values)
    if call.method != "GET" and (call.method, call.route) not in FOR_EVERYBODY:
        assert response.status_code == 403
    assert response.status_code < 500 or "sms-providers" in call.route
    if call.route != "auth/logout":
        assert [rows for rows in rows_of(owner.organization) if rows not in before] == []


@each_closed_call
@responses.activate
def test_the_owner_gets_through(owner: Tenant, call: Call):
    """Without this the tests of strangers would pass for calls that answer nobody."""
    response = make(owner.admin, call, owner.values)
    # Every provider is unreachable here, which is a fair answer to whoever may ask; and a job is in one state only.
    fair = (
        200,
        201,
        202,
        204,
        502,
        *([409] if call.route.endswith(("/pause", "/resume", "/stop", "/retry-failed")) else []),
    )
    assert response.status_code in fair, response.content


@each_closed_call
@pytest.mark.parametrize("who", ["admin", "program"])
@responses.activate
def test_a_stranger_sees_and_touches_nothing(owner: Tenant, stranger: Tenant, call: Call, who: str):
    before = rows_of(owner.organization)
    response = make(getattr(stranger, who), call, owner.values)
    assert response.status_code < 500, response.content
    text = response.content.decode() + json.dumps(dict(response.headers))
    for mark in owner.marks:
        assert mark not in text
    if call.parameters and response.status_code != 403:
        if call.route.endswith("/bulk-jobs"):  # the history of an app that may be uninstalled by now
            assert response.json()["data"] == []
            return
        needs_the_app = call.route.startswith("sms-providers") and "job_id" not in call.parameters
        assert response.status_code == (400 if needs_the_app else 404)
        assert set(response.json()) == {"code", "error", "details"}
    assert rows_of(owner.organization) == before
    assert len(responses.calls) == 0


@each_closed_call
@pytest.mark.parametrize("who", ["admin", "program"])
@responses.activate
def test_a_stranger_cannot_choose_the_owners_organization(owner: Tenant, stranger: Tenant, call: Call, who: str):
    before = rows_of(owner.organization)
    chosen: dict[str, Any] = {"HTTP_X_ORGANIZATION_ID": str(owner.organization.pk)}
    response = make(getattr(stranger, who), call, owner.values, **chosen)
    assert response.status_code == 403
    for mark in owner.marks:
        assert mark not in response.content.decode()
    assert rows_of(owner.organization) == before


@pytest.mark.parametrize("call", [call for call in CLOSED if call.parameters], ids=str)
def test_a_strangers_row_is_missing_like_any_other(owner: Tenant, stranger: Tenant, call: Call):
    """The same body, to the letter, as for an id or a slug that nobody has."""
    nobody = {"slug": "taqnyat-sms", "message_id": "r00000000000000"}
    nobody |= dict.fromkeys(("log_id", "key_id", "job_id"), "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10")
    theirs, missing = (make(stranger.admin, call, values) for values in (owner.values, nobody))
    assert theirs.status_code == missing.status_code
    same_words = theirs.content.replace(b"mora-sms", b"taqnyat-sms").replace(b"Mora SMS", b"Taqnyat")
    assert same_words == missing.content


def test_lists_hold_the_callers_own_rows_only(owner: Tenant, stranger: Tenant):
    for url in ("apps", "sms/outbox", "sms/logs", "api-keys", "sms-providers/mora-sms/bulk-jobs"):
        theirs = owner.admin.get(f"/api/v1/{url}").json()
        assert theirs["total_count"] >= 1, url
        ours = stranger.admin.get(f"/api/v1/{url}").json()
        assert ours["total_count"] == (1 if url == "api-keys" else 0)
        assert not {str(row["id"]) for row in ours["data"]} & {str(row["id"]) for row in theirs["data"]}


def test_no_filter_reaches_into_another_organization(owner: Tenant, stranger: Tenant):
    queries: list[dict[str, Any]] = [
        {"mobile": "0599999999"},
        {"organization": owner.organization.pk},
        {"organization_id": owner.organization.pk},
        {"organization__name": owner.organization.name},
        {"id": owner.values["message_id"]},
        {"sort": "created", "limit": 100},
    ]
    for query in queries:
        for url in ("sms/outbox", "sms/logs"):
            assert stranger.program.get(f"/api/v1/{url}", query).json()["data"] == []


def test_a_key_that_is_used_twice_is_two_keys(owner: Tenant, stranger: Tenant, install: Callable[..., OrganizationApp]):
    """An idempotency key of the owner tells a stranger nothing."""
    install(stranger.organization, "sandbox-sms")
    response = stranger.program.post("/api/v1/sms/outbox", {**GOOD, "idempotency_key": "idem-mark"})
    assert response.status_code == 201
    assert response.json()["id"] != owner.values["message_id"]


def test_a_member_of_both_sees_one_at_a_time(
    owner: Tenant, stranger: Tenant, user: Callable[..., User], anonymous: Api
):
    person = user(organization=stranger.organization, role=Role.VIEWER)
    person.memberships.create(organization=owner.organization, role=Role.VIEWER)
    client = anonymous.using(tokens.open_session(user=person)[1])
    assert client.get("/api/v1/apps").json()["data"] == []
    chosen: dict[str, Any] = {"HTTP_X_ORGANIZATION_ID": str(owner.organization.pk)}
    assert len(client.get("/api/v1/apps", **chosen).json()["data"]) == 2
