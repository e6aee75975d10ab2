"""Who is calling: the five header forms, organizations, roles and scopes, logging in, and API keys."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from linkit import lockout, throttling, tokens
from linkit.models import Membership, Organization, Role, Token, User
from linkit.permissions import ROLE_SCOPES, Scope, key_scopes
from linkit.redis import client
from tests import factories
from tests.conftest import Api

ME = "/api/v1/auth/me"
LOGIN = "/api/v1/auth/login"
KEYS = "/api/v1/api-keys"
OUTBOX = "/api/v1/sms/outbox"
GOOD = {"mobile": "0501234567", "message": "Hello"}

FORMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "bearer": lambda secret: {"HTTP_AUTHORIZATION": f"Bearer {secret}"},
    "lower case": lambda secret: {"HTTP_AUTHORIZATION": f"bearer {secret}"},
    "bare": lambda secret: {"HTTP_AUTHORIZATION": secret},
    "token": lambda secret: {"HTTP_AUTHORIZATION": f"Token {secret}"},
    "x-api-key": lambda secret: {"HTTP_X_API_KEY": secret},
    "spaces": lambda secret: {"HTTP_AUTHORIZATION": f"  Bearer   {secret}  "},
}


def session(user: User) -> str:
    return tokens.open_session(user=user)[1]


def assert_refused(response: Any) -> None:
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    body = response.json()
    assert set(body) == {"code", "error", "details"}
    assert body["code"] == 401


# --- header forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_key_works_in_every_form(anonymous: Api, api_key: Callable[..., str], organization: Organization, form: str):
    response = anonymous.get(ME, **FORMS[form](api_key()))
    assert response.status_code == 200
    assert response.json()["organization_id"] == str(organization.pk)


@pytest.mark.parametrize("form", FORMS)
def test_a_session_works_in_every_form(anonymous: Api, user: Callable[..., User], form: str):
    person = user()
    response = anonymous.get(ME, **FORMS[form](session(person)))
    assert response.status_code == 200
    assert response.json()["email"] == person.email


def test_an_empty_authorization_leaves_the_word_to_x_api_key(anonymous: Api, api_key: Callable[..., str]):
    assert anonymous.get(ME, HTTP_AUTHORIZATION="", HTTP_X_API_KEY=api_key()).status_code == 200


def test_authorization_goes_before_x_api_key(anonymous: Api, api_key: Callable[..., str]):
    assert_refused(anonymous.get(ME, HTTP_AUTHORIZATION="Bearer lk_live_wrong", HTTP_X_API_KEY=api_key()))


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "Token",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer a b",
        "a b c",
        "lk_live_nobody",
        "Bearer lk_live_nobody",
        "Bearer null",
        "Bearer undefined",
        "Bearer ' OR 1=1 --",
        "Bearer %00",
        "Bearer é\xff",
        "\x00",
        "Bearer " + "x" * 10_000,
        "Bearer ••••",
    ],
    ids=lambda header: ascii(header[:20]),
)
def test_anything_else_is_401(anonymous: Api, db: None, header: str):
    assert_refused(anonymous.get(ME, HTTP_AUTHORIZATION=header))
    if header:
        assert_refused(anonymous.get(ME, HTTP_X_API_KEY=header))


def test_no_credentials_are_401(anonymous: Api, db: None):
    assert_refused(anonymous.get(ME))
    assert_refused(anonymous.post(OUTBOX, GOOD))


def test_a_session_of_the_console_is_no_credential(anonymous: Api, user: Callable[..., User]):
    person = user(role=Role.ADMIN, is_staff=True, is_superuser=True)
    anonymous.force_login(person)
    assert anonymous.cookies
    assert_refused(anonymous.get(ME))
    assert_refused(anonymous.post(OUTBOX, GOOD))


def test_what_is_stored_opens_no_door(anonymous: Api, api_key: Callable[..., str]):
    api_key()
    stored = Token.objects.get()
    for text in (stored.digest, stored.prefix, str(stored.pk)):
        assert_refused(anonymous.get(ME, HTTP_AUTHORIZATION=f"Bearer {text}"))


def test_a_secret_is_matched_to_the_letter(anonymous: Api, api_key: Callable[..., str]):
    secret = api_key()
    for text in (secret.upper(), secret[:-1], secret + "x", secret.removeprefix("lk_live_")):
        assert_refused(anonymous.get(ME, HTTP_AUTHORIZATION=f"Bearer {text}"))


# --- what closes the door -----------------------------------------------------------------------------------------


def test_an_expired_key_is_401(anonymous: Api, api_key: Callable[..., str]):
    now = timezone.now()
    assert anonymous.using(api_key(expires_at=now + timedelta(minutes=5))).get(ME).status_code == 200
    assert_refused(anonymous.using(api_key(expires_at=now - timedelta(seconds=1))).get(ME))


def test_a_revoked_key_is_401(anonymous: Api, api_key: Callable[..., str]):
    secret = api_key()
    tokens.revoke(Token.objects.get())
    assert_refused(anonymous.using(secret).get(ME))


def test_an_expired_session_is_401(anonymous: Api, user: Callable[..., User]):
    secret = session(user())
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert_refused(anonymous.using(secret).get(ME))


def test_a_key_of_an_inactive_organization_is_401(
    anonymous: Api, api_key: Callable[..., str], organization: Organization
):
    secret = api_key()
    Organization.objects.filter(pk=organization.pk).update(is_active=False)
    assert_refused(anonymous.using(secret).get(ME))


def test_a_session_of_an_inactive_person_is_401(anonymous: Api, user: Callable[..., User]):
    person = user()
    secret = session(person)
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert_refused(anonymous.using(secret).get(ME))


def test_a_session_of_a_deleted_person_is_401(anonymous: Api, user: Callable[..., User]):
    person = user()
    secret = session(person)
    person.delete()
    assert_refused(anonymous.using(secret).get(ME))


def test_a_key_outlives_the_person_who_made_it(anonymous: Api, api_key: Callable[..., str], user: Callable[..., User]):
    person = user(role=Role.ADMIN)
    secret = api_key(created_by=person)
    person.delete()
    assert anonymous.using(secret).get(ME).status_code == 200


def test_the_last_use_is_noted_once_a_minute(api: Api, django_assert_max_num_queries: DjangoAssertNumQueries):
    api.get(ME)
    first = Token.objects.get().last_used_at
    assert first is not None
    with django_assert_max_num_queries(3) as queries:
        api.get(ME)
    assert not [query for query in queries if query["sql"].startswith("UPDATE")]
    Token.objects.update(last_used_at=first - timedelta(minutes=2))
    api.get(ME)
    latest = Token.objects.get().last_used_at
    assert latest is not None
    assert latest >= first


# --- which organization -------------------------------------------------------------------------------------------


def test_a_person_acts_for_the_oldest_membership(
    anonymous: Api, user: Callable[..., User], organization: Organization, other_organization: Organization
):
    person = user()
    Membership.objects.create(user=person, organization=other_organization, role=Role.ADMIN)
    body = anonymous.using(session(person)).get(ME).json()
    assert body["organization_id"] == str(organization.pk)
    assert body["organizations"] == [
        {"id": str(organization.pk), "name": "Acme", "role": "operator"},
        {"id": str(other_organization.pk), "name": "Stranger", "role": "admin"},
    ]


def test_a_member_chooses_by_header(
    anonymous: Api,
    user: Callable[..., User],
    install: Callable[..., Any],
    organization: Organization,
    other_organization: Organization,
):
    person = user()
    Membership.objects.create(user=person, organization=other_organization, role=Role.VIEWER)
    install(other_organization, "sandbox-sms")
    client = anonymous.using(session(person))
    assert client.get("/api/v1/apps").json()["count"] == 0
    chosen: dict[str, Any] = {"HTTP_X_ORGANIZATION_ID": str(other_organization.pk)}
    assert client.get("/api/v1/apps", **chosen).json()["count"] == 1
    assert client.get(ME, **chosen).json()["organization_id"] == str(other_organization.pk)
    assert len(client.get(ME, **chosen).json()["organizations"]) == 2
    # The role of the chosen organization counts, not that of the other.
    assert client.post(OUTBOX, GOOD, **chosen).status_code == 403
    for spelling in (str(other_organization.pk).upper(), other_organization.pk.hex, f" {other_organization.pk} "):
        assert client.get("/api/v1/apps", HTTP_X_ORGANIZATION_ID=spelling).json()["count"] == 1


@pytest.mark.parametrize("wanted", ["stranger", "nobody", "1", "x", "\x00", "null", "0" * 31, "é" * 16, "*"], ids=ascii)
def test_an_organization_that_is_not_the_callers_is_403(
    anonymous: Api,
    user: Callable[..., User],
    api_key: Callable[..., str],
    other_organization: Organization,
    wanted: str,
):
    named = {"stranger": str(other_organization.pk), "nobody": str(uuid.uuid4())}.get(wanted, wanted)
    for secret in (session(user(role=Role.ADMIN)), api_key()):
        response = anonymous.using(secret).get("/api/v1/apps", HTTP_X_ORGANIZATION_ID=named)
        assert response.status_code == 403
        assert set(response.json()) == {"code", "error", "details"}


def test_a_stranger_and_nobody_look_the_same(
    anonymous: Api, api_key: Callable[..., str], user: Callable[..., User], other_organization: Organization
):
    for secret in (api_key(), session(user())):
        client = anonymous.using(secret)
        stranger = client.get(ME, HTTP_X_ORGANIZATION_ID=str(other_organization.pk))
        nobody = client.get(ME, HTTP_X_ORGANIZATION_ID=str(uuid.uuid4()))
        assert stranger.content == nobody.content


def test_a_key_may_name_its_own_organization(api: Api, organization: Organization):
    assert api.get(ME, HTTP_X_ORGANIZATION_ID=str(organization.pk)).status_code == 200


def test_a_membership_of_an_inactive_organization_is_none(
    anonymous: Api, user: Callable[..., User], organization: Organization
):
    client = anonymous.using(session(user(role=Role.ADMIN)))
    Organization.objects.filter(pk=organization.pk).update(is_active=False)
    assert client.get(ME).json()["organizations"] == []
    assert client.get("/api/v1/apps").status_code == 403
    assert client.get(ME, HTTP_X_ORGANIZATION_ID=str(organization.pk)).status_code == 403


def test_a_person_without_an_organization_can_only_say_who_they_are(anonymous: Api, user: Callable[..., User]):
    person = user(organization=None)
    client = anonymous.using(session(person))
    body = client.get(ME).json()
    assert (body["organization_id"], body["organizations"]) == (None, [])
    for method, url in [("get", "/api/v1/apps"), ("get", OUTBOX), ("post", OUTBOX), ("get", KEYS), ("post", KEYS)]:
        response = getattr(client, method)(url)
        assert response.status_code == 403
        assert "organization" in response.json()["error"]
    assert client.post("/api/v1/auth/logout").status_code == 204


def test_even_a_superuser_has_no_organization_by_that_alone(
    anonymous: Api, user: Callable[..., User], organization: Organization
):
    client = anonymous.using(session(user(organization=None, is_superuser=True, is_staff=True)))
    assert client.get("/api/v1/apps").status_code == 403
    assert client.get(ME, HTTP_X_ORGANIZATION_ID=str(organization.pk)).status_code == 403


# --- scopes and roles ---------------------------------------------------------------------------------------------

# method, path, body, the scope it needs.
CALLS: list[tuple[str, str, Any, Scope]] = [
    ("get", "/api/v1/apps", None, Scope.READ),
    ("get", "/api/v1/app-store", None, Scope.READ),
    ("get", "/api/v1/apps/sandbox-sms", None, Scope.READ),
    ("head", "/api/v1/apps/sandbox-sms", None, Scope.READ),
    ("get", OUTBOX, None, Scope.READ),
    ("get", f"{OUTBOX}/r00000000000000", None, Scope.READ),
    ("get", "/api/v1/sms/logs", None, Scope.READ),
    ("get", f"/api/v1/sms/logs/{uuid.uuid4()}", None, Scope.READ),
    ("get", "/api/v1/sms-providers/sandbox-sms/balance", None, Scope.READ),
    ("get", "/api/v1/sms-providers/sandbox-sms/sender-names", None, Scope.READ),
    ("get", "/api/v1/sms-providers/sandbox-sms/template/csv", None, Scope.READ),
    ("post", "/api/v1/sms-providers/sandbox-sms/send", GOOD, Scope.SEND),
    ("post", OUTBOX, GOOD, Scope.SEND),
    ("post", f"{OUTBOX}/batch", {"messages": [GOOD]}, Scope.SEND),
    ("delete", f"{OUTBOX}/r00000000000000", None, Scope.SEND),
    ("post", "/api/v1/apps", {"slug": "sandbox-sms"}, Scope.MANAGE),
    ("patch", "/api/v1/apps/sandbox-sms", {}, Scope.MANAGE),
    ("delete", "/api/v1/apps/sandbox-sms", None, Scope.MANAGE),
    ("post", "/api/v1/apps/sandbox-sms/test", None, Scope.MANAGE),
    ("get", KEYS, None, Scope.KEYS),
    ("post", KEYS, {"name": "x"}, Scope.KEYS),
    ("delete", f"{KEYS}/{uuid.uuid4()}", None, Scope.KEYS),
]


def assert_only(client: Api, allowed: frozenset[str]) -> None:
    """Make every call of `CALLS` and check that exactly those within `allowed` get past the door."""
    for method, url, body, needed in CALLS:
        response = getattr(client, method)(url, body) if body is not None else getattr(client, method)(url)
        was_let_in = response.status_code != 403
        assert was_let_in == (needed in allowed), (method, url, response.status_code)
        assert response.status_code != 401
        if not was_let_in and method != "head":
            assert needed in response.json()["error"]


@pytest.mark.parametrize(
    "scopes", [(), ("read",), ("send",), ("manage",), ("read", "send"), ("send", "manage"), ("read", "send", "manage")]
)
def test_a_key_may_do_what_its_scopes_say(
    anonymous: Api, api_key: Callable[..., str], install: Callable[..., Any], scopes: tuple[str, ...]
):
    install("sandbox-sms")
    assert_only(anonymous.using(api_key(scopes=scopes)), frozenset(scopes))


def test_no_key_has_the_scope_of_keys_whatever_is_stored(anonymous: Api, api_key: Callable[..., str]):
    secret = api_key(scopes=("read", "keys", "contacts", "nonsense"))
    assert_only(anonymous.using(secret), frozenset({"read"}))
    assert Scope.KEYS not in key_scopes(list(Scope))
    assert Scope.CONTACTS in key_scopes(["manage"])
    assert Scope.CONTACTS not in key_scopes(["read", "send", "contacts"])


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("viewer", {Scope.READ}),
        ("operator", {Scope.READ, Scope.SEND, Scope.CONTACTS}),
        ("admin", set(Scope)),
    ],
)
def test_a_person_may_do_what_their_role_says(
    login: Callable[..., Api], install: Callable[..., Any], role: str, allowed: set[str]
):
    install("sandbox-sms")
    assert ROLE_SCOPES[role] == allowed
    assert_only(login(role), frozenset(allowed))


def test_a_role_that_is_taken_away_counts_at_once(login: Callable[..., Api], user: Callable[..., User]):
    person = user(role=Role.ADMIN)
    client = login(user=person)
    assert client.get(KEYS).status_code == 200
    Membership.objects.update(role=Role.VIEWER)
    assert client.get(KEYS).status_code == 403
    Membership.objects.all().delete()
    assert client.get("/api/v1/apps").status_code == 403


# --- log in, log out, who am I ------------------------------------------------------------------------------------


@pytest.fixture
def amal(user: Callable[..., User]) -> User:
    return user(email="Amal@Example.com", name="Amal", role=Role.ADMIN)


def test_logging_in_gives_a_session(anonymous: Api, amal: User, organization: Organization, settings: Settings):
    before = timezone.now()
    response = anonymous.post(LOGIN, {"email": "amal@example.com", "password": factories.PASSWORD})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"token", "expires_at", "user"}
    assert body["user"] == {"id": str(amal.pk), "email": amal.email, "organization_id": str(organization.pk)}
    token = Token.objects.get()
    assert token.expires_at is not None
    assert token.expires_at >= before + settings.SESSION_TOKEN_LIFETIME - timedelta(seconds=5)
    assert body["expires_at"].endswith("Z")
    assert "no-store" in response.headers["Cache-Control"]
    assert not response.cookies
    assert anonymous.using(body["token"]).get(ME).json()["email"] == amal.email


def test_only_the_hash_of_a_session_is_stored(anonymous: Api, amal: User):
    secret = anonymous.post(LOGIN, {"email": amal.email, "password": factories.PASSWORD}).json()["token"]
    stored = Token.objects.filter(pk=Token.objects.get().pk).values().get()
    assert stored["digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in json.dumps(stored, default=str)


@pytest.mark.parametrize(
    "given",
    [
        {"email": "amal@example.com", "password": "wrong"},
        {"email": "nobody@example.com", "password": factories.PASSWORD},
        {"email": "amal@example.com", "password": factories.PASSWORD.upper()},
        {"email": "amal@example.com", "password": factories.PASSWORD + " "},
        {"email": "amal@example.com", "password": " "},
    ],
)
def test_a_wrong_log_in_is_401_and_does_not_say_which(anonymous: Api, amal: User, given: dict[str, str]):
    response = anonymous.post(LOGIN, given)
    assert_refused(response)
    assert response.json()["error"] == "E-mail or password is wrong."
    assert not Token.objects.exists()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"email": "amal@example.com"},
        {"password": "x"},
        {"email": "no address", "password": "x"},
        {"email": "", "password": ""},
        {"email": ["amal@example.com"], "password": "x"},
        {"email": "amal@example.com", "password": {"$ne": ""}},
        {"email": "a" * 300 + "@example.com", "password": "x"},
        {"email": "amal@example.com", "password": "x" * 1025},
    ],
    ids=lambda given: str(given)[:30],
)
def test_a_malformed_log_in_is_400(anonymous: Api, db: None, given: dict[str, Any]):
    response = anonymous.post(LOGIN, given)
    assert response.status_code == 400
    assert set(response.json()["details"]) <= {"email", "password"}


def test_an_inactive_person_cannot_log_in(anonymous: Api, amal: User):
    User.objects.update(is_active=False)
    assert_refused(anonymous.post(LOGIN, {"email": amal.email, "password": factories.PASSWORD}))


def test_bad_credentials_in_the_header_do_not_stop_a_log_in(anonymous: Api, amal: User):
    client = anonymous.using("lk_session_expired")
    assert client.post(LOGIN, {"email": amal.email, "password": factories.PASSWORD}).status_code == 200


def test_logging_out_ends_this_session_only(anonymous: Api, amal: User):
    first, second = (anonymous.using(session(amal)) for _ in range(2))
    assert first.post("/api/v1/auth/logout").status_code == 204
    assert_refused(first.get(ME))
    assert_refused(first.post("/api/v1/auth/logout"))
    assert second.get(ME).status_code == 200


def test_logging_out_does_not_revoke_a_key(api: Api):
    assert api.post("/api/v1/auth/logout").status_code == 204
    assert api.get(ME).status_code == 200


def test_who_am_i(anonymous: Api, amal: User, organization: Organization):
    assert anonymous.using(session(amal)).get(ME).json() == {
        "id": str(amal.pk),
        "email": amal.email,
        "name": "Amal",
        "organization_id": str(organization.pk),
        "organizations": [{"id": str(organization.pk), "name": "Acme", "role": "admin"}],
    }


def test_a_key_is_nobody(anonymous: Api, api_key: Callable[..., str], amal: User, organization: Organization):
    body = anonymous.using(api_key(name="web shop", created_by=amal)).get(ME).json()
    assert (body["id"], body["email"], body["organization_id"]) == (None, None, str(organization.pk))
    assert [each["id"] for each in body["organizations"]] == [str(organization.pk)]


# --- too many log-ins ---------------------------------------------------------------------------------------------


def test_repeated_failures_lock_the_account(anonymous: Api, amal: User, settings: Settings):
    settings.LOGIN_FAILURE_LIMIT = 3
    for _ in range(3):
        assert anonymous.post(LOGIN, {"email": amal.email, "password": "wrong"}).status_code == 401
    # Now the right password does not help, from anywhere, in any spelling of the address.
    for email, address in [(amal.email, "203.0.113.7"), (amal.email.upper(), "203.0.113.8")]:
        response = anonymous.post(LOGIN, {"email": email, "password": factories.PASSWORD}, REMOTE_ADDR=address)
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= settings.LOGIN_LOCKOUT.total_seconds()
        assert set(response.json()) == {"code", "error", "details"}
    assert not Token.objects.exists()


def test_letters_that_only_look_alike_do_not_get_around_the_lock(
    anonymous: Api, user: Callable[..., User], settings: Settings
):
    # A database may hold U+017F and U+212A for capital S and K, and an address in either spelling for this person's.
    person = user(email="sk@example.com")
    settings.LOGIN_FAILURE_LIMIT = 2
    for email in ("\u017fk@example.com", "s\u212a@example.com"):
        anonymous.post(LOGIN, {"email": email, "password": "wrong"}, REMOTE_ADDR="203.0.113.7")
    response = anonymous.post(LOGIN, {"email": person.email, "password": factories.PASSWORD}, REMOTE_ADDR="203.0.113.8")
    assert response.status_code == 429


def test_repeated_failures_lock_the_address(
    anonymous: Api, amal: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lockout, "_ADDRESS_FACTOR", 1)
    settings.LOGIN_FAILURE_LIMIT = 3
    for number in range(3):
        anonymous.post(LOGIN, {"email": f"nobody{number}@example.com", "password": "x"}, REMOTE_ADDR="203.0.113.7")
    right = {"email": amal.email, "password": factories.PASSWORD}
    assert anonymous.post(LOGIN, right, REMOTE_ADDR="203.0.113.7").status_code == 429
    assert anonymous.post(LOGIN, right, REMOTE_ADDR="203.0.113.8").status_code == 200


def test_a_strangers_header_is_no_address(
    anonymous: Api, amal: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lockout, "_ADDRESS_FACTOR", 1)
    settings.LOGIN_FAILURE_LIMIT = 3
    for number in range(3):
        forged: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": f"198.51.100.{number}"}
        anonymous.post(LOGIN, {"email": f"nobody{number}@example.com", "password": "x"}, **forged)
    assert anonymous.post(LOGIN, {"email": amal.email, "password": factories.PASSWORD}).status_code == 429


def test_behind_a_trusted_proxy_its_word_is_the_address(
    anonymous: Api, amal: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lockout, "_ADDRESS_FACTOR", 1)
    settings.LOGIN_FAILURE_LIMIT, settings.TRUSTED_PROXY_COUNT = 2, 1
    for number in range(2):
        hops: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": f"198.51.100.{number}, 203.0.113.7"}
        anonymous.post(LOGIN, {"email": f"nobody{number}@example.com", "password": "x"}, **hops)
    right = {"email": amal.email, "password": factories.PASSWORD}
    assert anonymous.post(LOGIN, right, HTTP_X_FORWARDED_FOR="203.0.113.7").status_code == 429
    assert anonymous.post(LOGIN, right, HTTP_X_FORWARDED_FOR="203.0.113.8").status_code == 200


def test_a_success_forgets_the_failures_of_the_account(anonymous: Api, amal: User, settings: Settings):
    settings.LOGIN_FAILURE_LIMIT = 3
    right = {"email": amal.email, "password": factories.PASSWORD}
    for number in range(4):
        wrong = {"email": amal.email, "password": "wrong"}
        assert anonymous.post(LOGIN, wrong, REMOTE_ADDR=f"203.0.113.{number}").status_code == 401
        assert anonymous.post(LOGIN, right, REMOTE_ADDR="203.0.113.99").status_code == 200


def test_a_lock_ends(anonymous: Api, amal: User, settings: Settings):
    settings.LOGIN_FAILURE_LIMIT = 1
    anonymous.post(LOGIN, {"email": amal.email, "password": "wrong"})
    assert anonymous.post(LOGIN, {"email": amal.email, "password": factories.PASSWORD}).status_code == 429
    keys = list(client().keys("*lockout*"))
    assert keys
    assert all(0 < client().ttl(key) <= settings.LOGIN_LOCKOUT.total_seconds() for key in keys)
    cache.clear()  # as if the time had passed
    assert anonymous.post(LOGIN, {"email": amal.email, "password": factories.PASSWORD}).status_code == 200


def test_many_log_ins_from_one_address_are_throttled(anonymous: Api, amal: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(throttling, "LOGIN_BURST", 2)
    monkeypatch.setattr(throttling, "LOGIN_RATE_PER_MINUTE", 1)
    right = {"email": amal.email, "password": factories.PASSWORD}
    answers = [anonymous.post(LOGIN, right) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert anonymous.post(LOGIN, right, REMOTE_ADDR="203.0.113.8").status_code == 200


def test_log_ins_go_on_while_redis_is_down(anonymous: Api, amal: User, monkeypatch: pytest.MonkeyPatch):
    def down(*args: Any, **kwargs: Any) -> Any:
        raise redis.ConnectionError("down")

    monkeypatch.setattr(throttling, "take", down)
    for name in ("get_many", "add", "incr", "delete_many"):
        monkeypatch.setattr(cache, name, down)
    assert anonymous.post(LOGIN, {"email": amal.email, "password": "wrong"}).status_code == 401
    assert anonymous.post(LOGIN, {"email": amal.email, "password": factories.PASSWORD}).status_code == 200


# --- API keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_test", "prefix"), [(False, "lk_live_"), (True, "lk_test_")])
def test_a_key_is_shown_once(
    anonymous: Api, login: Callable[..., Api], user: Callable[..., User], is_test: bool, prefix: str
):
    person = user(role=Role.ADMIN)
    admin = login(user=person)
    response = admin.post(KEYS, {"name": "web shop", "scopes": ["send", "read"], "is_test": is_test})
    assert response.status_code == 201
    assert "no-store" in response.headers["Cache-Control"]
    body = response.json()
    secret = body.pop("key")
    assert secret.startswith(prefix)
    assert secret.startswith(body["prefix"])
    assert len(secret) > len(body["prefix"]) + 20
    assert body["scopes"] == ["read", "send"]
    assert (body["name"], body["is_test"], body["created_by"]) == ("web shop", is_test, person.email)
    assert (body["expires_at"], body["last_used_at"]) == (None, None)

    listed = admin.get(KEYS)
    assert listed.json()["data"] == [body]
    assert secret not in listed.content.decode()

    token = Token.objects.api_keys().get()
    assert token.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in json.dumps(Token.objects.filter(pk=token.pk).values().get(), default=str)
    assert anonymous.using(secret).get(ME).status_code == 200


def test_two_keys_are_never_alike(login: Callable[..., Api]):
    admin = login()
    secrets = {admin.post(KEYS, {"name": "same"}).json()["key"] for _ in range(5)}
    assert len(secrets) == 5


def test_a_key_may_expire(anonymous: Api, login: Callable[..., Api]):
    moment = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    body = login().post(KEYS, {"name": "x", "expires_at": moment.isoformat()}).json()
    assert body["expires_at"] == moment.isoformat().replace("+00:00", "Z")
    client = anonymous.using(body["key"])
    assert client.get(ME).status_code == 200
    Token.objects.api_keys().update(expires_at=timezone.now())
    assert_refused(client.get(ME))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": ""},
        {"name": "x" * 121},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["keys"]},
        {"name": "x", "scopes": ["contacts"]},
        {"name": "x", "scopes": ["read", "admin"]},
        {"name": "x", "scopes": "read"},
        {"name": "x", "scopes": None},
        {"name": "x", "is_test": "perhaps"},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "soon"},
        {"name": "x", "expires_at": "0001-01-01T00:00:00+14:00"},
    ],
    ids=str,
)
def test_a_malformed_key_is_400(login: Callable[..., Api], given: dict[str, Any]):
    response = login().post(KEYS, given)
    assert response.status_code == 400
    assert response.json()["details"]
    assert not Token.objects.api_keys().exists()


def test_a_revoked_key_is_gone(anonymous: Api, login: Callable[..., Api]):
    admin = login()
    made = admin.post(KEYS, {"name": "x"}).json()
    client = anonymous.using(made["key"])
    assert client.get(ME).status_code == 200
    assert admin.delete(f"{KEYS}/{made['id']}").status_code == 204
    assert_refused(client.get(ME))
    assert admin.get(KEYS).json()["data"] == []
    assert admin.delete(f"{KEYS}/{made['id']}").status_code == 404
    assert Token.objects.api_keys().get().revoked_at is not None


def test_another_organizations_key_is_missing(
    login: Callable[..., Api], api_key: Callable[..., str], other_organization: Organization
):
    api_key(organization=other_organization)
    admin = login()
    theirs = Token.objects.api_keys().get()
    stranger, nobody = admin.delete(f"{KEYS}/{theirs.pk}"), admin.delete(f"{KEYS}/{uuid.uuid4()}")
    assert stranger.status_code == nobody.status_code == 404
    assert stranger.content == nobody.content
    assert admin.get(KEYS).json()["data"] == []
    theirs.refresh_from_db()
    assert theirs.revoked_at is None


@pytest.mark.parametrize("key_id", ["1", "x", "%00", "00000000-0000-0000-0000-00000000000", "null"])
def test_a_malformed_id_is_404(login: Callable[..., Api], key_id: str):
    response = login().delete(f"{KEYS}/{key_id}")
    assert response.status_code == 404
    assert set(response.json()) == {"code", "error", "details"}


def test_a_session_is_no_key(login: Callable[..., Api], user: Callable[..., User]):
    person = user(role=Role.ADMIN)
    admin = login(user=person)
    assert admin.get(KEYS).json()["data"] == []
    assert admin.delete(f"{KEYS}/{Token.objects.get().pk}").status_code == 404
    assert admin.get(ME).status_code == 200
