"""Every URL below /api, taken from the URLconf so that none is forgotten: nobody gets in, and nobody sees or touches
another organization's rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import responses
from django.apps import apps
from django.core import serializers
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.urls import URLPattern, URLResolver

from billing import ledger
from contacts.models import Audience, CustomAttribute, SmsProgram
from linkit import clock, tokens
from linkit.models import Organization, Role, Token, User
from linkit.urls import contact_api, urlpatterns, v1
from outbox.bulk.models import BulkJob
from sms_providers.models import OrganizationApp, SmsLog
from tests import factories
from tests.conftest import Api
from tests.stack import Blocker

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
    family: str = "/api/v1/"

    @property
    def parameters(self) -> list[str]:
        return [name for _, name in re.findall(r"<(\w+):(\w+)>", self.route)]

    def url(self, **values: Any) -> str:
        route = re.sub(r"<\w+:(\w+)>", lambda found: str(values[found[1]]), self.route)
        return f"{self.family}{route}"

    @property
    def is_v1(self) -> bool:
        return self.family == "/api/v1/"

    @property
    def error_fields(self) -> set[str]:
        """What an error body of its family has, that of a malformed body apart."""
        if self.is_v1:
            return {"code", "error", "details"}
        return {"statusCode", "error", "message", "code", "timestamp", "path"}

    def status_in(self, body: dict[str, Any]) -> int:
        """The HTTP status as the error body says it."""
        status: int = body["code" if self.is_v1 else "statusCode"]
        return status

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


def walk(patterns: list[URLPattern | URLResolver], family: str, prefix: str = "") -> Iterator[Call]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, family, route)
        else:
            view = pattern.callback.view_class  # type: ignore[attr-defined]
            yield from (Call(method, route, family) for method in METHODS if hasattr(view, method.lower()))


CALLS = [*walk(v1, "/api/v1/"), *walk(contact_api, "/api/")]
CLOSED = [call for call in CALLS if call.route not in OPEN]
each_closed_call = pytest.mark.parametrize("call", CLOSED, ids=str)

GOOD = {"mobile": "0501234567", "message": "Hello"}
_DRAFT = {"name": "new", "messageTemplate": "Hello", "senderId": "<sender_id>", "audienceId": "<audience_id>"}
_TO_CONTACT = {"contactId": "<contact_id>", "messageTemplate": "Hello"}
_MEMBERS = {"contactIds": ["<contact_id>"]}
# A body that is well-formed for each URL that takes one: it must not be a 400 that hides a missing check. A value in
# angle brackets is one of the owner's ids.
BODIES: dict[str, dict[str, Any]] = {
    "POST api-keys": {"name": "new"},
    "POST apps": {"slug": "taqnyat-sms", "credentials": factories.CREDENTIALS["taqnyat-sms"]},
    "PATCH apps/<slug:slug>": {"priority": 1, "enabled": False, "credentials": {"username": "966599999999"}},
    "POST sms-providers/<str:slug>/send": GOOD,
    "POST sms/outbox": GOOD,
    "POST sms/outbox/batch": {"messages": [GOOD]},
    "POST contact": {"primaryPhone": "0501234567"},
    "POST contact/upsert": {"data": [{"primaryPhone": "0501234567"}]},
    "PUT contact/<str:contact_id>": {"city": "changed"},
    "POST custom-attributes": {"displayName": "New", "type": "text"},
    "PUT custom-attributes/<str:attribute_id>": {"description": "changed"},
    "POST audience": {"name": "new"},
    "PUT audience/<str:audience_id>": {"name": "changed"},
    "POST audience/<str:audience_id>/contacts": _MEMBERS,
    "DELETE audience/<str:audience_id>/contacts": _MEMBERS,
    "POST sms/send": {**_TO_CONTACT, "senderId": "<sender_id>"},
    "POST sms/preview": _TO_CONTACT,
    "POST sms-programs": _DRAFT,
    "PUT sms-programs/<str:program_id>": {"name": "changed"},
}
# The calls that take a form with a file.
UPLOADS = {"POST sms-providers/<str:slug>/bulk-send", "POST sms-providers/<str:slug>/bulk-check"}


CONTACT_IDS = ("contact_id", "attribute_id", "audience_id", "program_id")


@dataclass
class Tenant:
    """An organization that has one of everything."""

    organization: Organization
    admin: Api
    program: Api
    values: dict[str, Any]  # of the URL parameters, by name
    marks: list[str]  # texts that only its own rows hold


@pytest.fixture(scope="module")
def tenants(django_db_setup: None, django_db_blocker: Blocker) -> Iterator[tuple[Tenant, Tenant]]:
    """Both tenants, made once in a transaction around the transactions of all tests of this module."""
    with django_db_blocker.unblock():
        around = transaction.atomic()
        around.__enter__()
        made = make_owner(), make_stranger()
    yield made
    with django_db_blocker.unblock():
        transaction.set_rollback(True)
        around.__exit__(None, None, None)


@pytest.fixture
def owner(tenants: tuple[Tenant, Tenant], db: None) -> Tenant:
    return tenants[0]


@pytest.fixture
def stranger(tenants: tuple[Tenant, Tenant], db: None) -> Tenant:
    return tenants[1]


def make_owner() -> Tenant:
    """A tenant with apps, keys, messages and a log, each with a text that nobody else has."""
    anonymous, organization = Api(), factories.make_organization("Owner")
    install = partial(factories.install, organization)
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
    attribute = CustomAttribute.objects.create(
        organization=organization, name="attribute_mark", display_name="Attribute-mark", type="text"
    )
    contact = factories.make_contact(organization, "+966599999998", first_name="contact-mark")
    audience = Audience.objects.create(organization=organization, name="audience-mark")
    audience.contacts.add(contact)
    sender = factories.make_sender(
        organization, OrganizationApp.objects.get(slug="sandbox-sms"), sender_id="sender-mark"
    )
    draft = SmsProgram.objects.create(
        organization=organization, name="program-mark", template="template-mark", sender=sender, audience=audience
    )
    ledger.top_up(organization=organization, amount=Decimal("123.4567"), description="ledger-mark")
    values = {
        "contact_id": contact.pk,
        "attribute_id": attribute.pk,
        "audience_id": audience.pk,
        "program_id": draft.pk,
        "sender_id": sender.pk,
        "slug": "mora-sms",
        "job_id": BulkJob.objects.get().pk,
        "message_id": queued["id"],
        "log_id": SmsLog.objects.get().pk,
        "key_id": Token.objects.api_keys().get().pk,
    }
    marks = [
        "owner-mark", "key-mark", "SandMark", "MoraMark", "text-mark", "SendMark", "meta-mark", "idem-mark",
        "file-mark", "966512345678", "599999999", "attribute_mark", "contact-mark", "audience-mark", "sender-mark",
        "program-mark", "template-mark", "ledger-mark", "123.4567", "599999998", str(organization.pk), str(person.pk),
    ]  # fmt: skip
    return Tenant(organization, anonymous.using(session), program, values, marks)


def make_stranger() -> Tenant:
    """A tenant that has nothing but an administrator and a key with every scope."""
    anonymous, organization = Api(), factories.make_organization("Stranger")
    person = factories.make_user(organization, role=Role.ADMIN)
    _, session = tokens.open_session(user=person)
    secret = factories.make_api_key(organization)
    return Tenant(organization, anonymous.using(session), anonymous.using(secret), {}, [])


def make(api: Api, call: Call, values: dict[str, Any], **headers: Any) -> Any:
    if str(call) in UPLOADS:
        form = {"file": SimpleUploadedFile("file.csv", b"mobile,message\n0501234567,Hello\n")}
        return api.post(call.url(**values), form, format="multipart", HTTP_PREFER="respond-async", **headers)
    body = BODIES.get(str(call), {} if call.method in ("POST", "PUT", "PATCH") else None)
    body = json.loads(re.sub(r"<(\w+)>", lambda found: str(values.get(found[1], found[0])), json.dumps(body)))
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
    known = {"slug", "message_id", "log_id", "key_id", "job_id", *CONTACT_IDS}
    assert {name for call in CALLS for name in call.parameters} <= known, "give the new parameter a value in `owner`"
    assert set(BODIES) <= {str(call) for call in CALLS}
    # Whatever is below /api/ and not in v1 is open by intention.
    others = {str(pattern.pattern) for pattern in urlpatterns if str(pattern.pattern).startswith("api/")}
    assert others == {"api/v1/", "api/schema", "api/docs", "api/"}


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
        assert call.status_in(response.json()) == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        for mark in owner.marks:
            assert mark not in response.content.decode()
    assert rows_of(owner.organization) == before


@pytest.mark.parametrize("call", [call for call in CLOSED if call.method != "GET"], ids=str)
def test_who_may_only_read_writes_nothing(anonymous: Api, owner: Tenant, call: Call):
    """Neither a key with the scope `read` alone nor a viewer."""
    secret = factories.make_api_key(owner.organization, scopes=("read",))
    viewer = factories.make_user(owner.organization, role=Role.VIEWER)
    _, session = tokens.open_session(user=viewer)
    before = rows_of(owner.organization)
    for client in (anonymous.using(secret), anonymous.using(session)):
        response = make(client, call, owner.values)
        if (call.method, call.route) in FOR_EVERYBODY:
            assert response.status_code < 400
        else:
            assert response.status_code == 403
            assert call.status_in(response.json()) == 403
    if call.route != "auth/logout":
        assert rows_of(owner.organization) == before


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
@responses.activate
def test_a_stranger_sees_and_touches_nothing(owner: Tenant, stranger: Tenant, call: Call):
    before = rows_of(owner.organization)
    for client in (stranger.admin, stranger.program):
        response = make(client, call, owner.values)
        assert response.status_code < 500, response.content
        text = response.content.decode() + json.dumps(dict(response.headers))
        for mark in owner.marks:
            assert mark not in text
        if call.parameters and response.status_code != 403:
            if call.route.endswith("/bulk-jobs"):  # the history of an app that may be uninstalled by now
                assert response.json()["data"] == []
                continue
            needs_the_app = call.route.startswith("sms-providers") and "job_id" not in call.parameters
            assert response.status_code == (400 if needs_the_app else 404)
            assert set(response.json()) == call.error_fields
    assert rows_of(owner.organization) == before
    assert len(responses.calls) == 0


@each_closed_call
@responses.activate
def test_a_stranger_cannot_choose_the_owners_organization(owner: Tenant, stranger: Tenant, call: Call):
    before = rows_of(owner.organization)
    chosen: dict[str, Any] = {"HTTP_X_ORGANIZATION_ID": str(owner.organization.pk)}
    for client in (stranger.admin, stranger.program):
        response = make(client, call, owner.values, **chosen)
        assert response.status_code == 403
        for mark in owner.marks:
            assert mark not in response.content.decode()
    assert rows_of(owner.organization) == before


@pytest.mark.parametrize("call", [call for call in CLOSED if call.parameters], ids=str)
def test_a_strangers_row_is_missing_like_any_other(owner: Tenant, stranger: Tenant, call: Call):
    """The same body, to the letter, as for an id or a slug that nobody has."""
    nobody = {"slug": "taqnyat-sms", "message_id": "r00000000000000"}
    nobody |= dict.fromkeys(("log_id", "key_id", "job_id", *CONTACT_IDS), "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10")
    theirs, missing = (make(stranger.admin, call, values) for values in (owner.values, nobody))
    assert theirs.status_code == missing.status_code
    same_words = theirs.content.replace(b"mora-sms", b"taqnyat-sms").replace(b"Mora SMS", b"Taqnyat")
    if not call.is_v1:  # that family says the path, and when
        said = [json.loads(content) for content in (same_words, missing.content)]
        assert said[0] == {**said[1], "path": said[0]["path"], "timestamp": said[0]["timestamp"]}
        return
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
