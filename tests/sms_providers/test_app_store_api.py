"""The App Store over HTTP: what can be installed, what is, whether it works, and no secret in any answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
import responses
from cryptography.fernet import Fernet
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from linkit.models import Organization
from outbox.models import Message
from sms_providers import catalogue, installing
from sms_providers.installing import AlreadyInstalled
from sms_providers.models import OrganizationApp, SmsLog
from tests import factories
from tests.conftest import Api

APPS = "/api/v1/apps"
MORA = f"{APPS}/mora-sms"
OUTBOX = "/api/v1/sms/outbox"
BALANCE_URL = "https://mora-sa.com/api/v1/balance"
SECRET = "s3cr3t-api-key-0123456789"
CREDENTIALS = {"api_key": SECRET, "username": "966500000000", "sender": "MyBrand"}
INSTALL = {"slug": "mora-sms", "credentials": CREDENTIALS}


@pytest.fixture
def mora(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("mora-sms", api_key=SECRET)


def assert_error(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert set(body) == {"code", "error", "details"}
    assert body["code"] == status
    assert SECRET not in response.content.decode()
    return body


# --- the catalogue ------------------------------------------------------------------------------------------------


def test_the_store_lists_every_app(api: Api):
    body = api.get("/api/v1/app-store").json()
    assert [app["slug"] for app in body["data"]] == list(catalogue.adapters())
    assert body["count"] == body["total_count"] == len(body["data"])
    assert body["has_next"] is False
    for app in body["data"]:
        assert set(app) == {"slug", "name", "credential_fields", "capabilities"}
        assert app["name"]
        for field in app["credential_fields"]:
            assert set(field) == {"name", "label", "secret", "required", "help"}
    mora = next(app for app in body["data"] if app["slug"] == "mora-sms")
    assert {field["name"]: (field["secret"], field["required"]) for field in mora["credential_fields"]} == {
        "api_key": (True, True),
        "username": (False, True),
        "sender": (False, False),
    }
    assert mora["capabilities"]["balance"] is True
    assert mora["capabilities"]["scheduling"] is False


def test_the_store_has_the_sandbox_without_credentials(api: Api):
    body = api.get("/api/v1/app-store").json()
    sandbox = next(app for app in body["data"] if app["slug"] == "sandbox-sms")
    assert sandbox["credential_fields"] == []


# --- installing ---------------------------------------------------------------------------------------------------


def test_installing_an_app(api: Api, organization: Organization):
    response = api.post(APPS, {**INSTALL, "default_sender": "Shop", "priority": 5, "max_per_second": 10})
    assert response.status_code == 201
    body = response.json()
    app = OrganizationApp.objects.get()
    assert body == {
        "id": app.pk,
        "slug": "mora-sms",
        "name": "Mora SMS",
        "type": "sms",
        "enabled": True,
        "priority": 5,
        "max_per_second": 10,
        "default_sender": "Shop",
        "credentials": {"username": "966500000000", "sender": "MyBrand"},
        "secrets_set": ["api_key"],
        "last_sync": None,
        "installed_at": body["installed_at"],
    }
    assert body["installed_at"]
    assert (app.organization, app.credentials) == (organization, CREDENTIALS)
    assert api.get(MORA).json() == body
    assert api.get(APPS).json()["data"] == [body]


def test_what_is_not_said_has_a_default(api: Api):
    body = api.post(APPS, INSTALL).json()
    assert (body["enabled"], body["priority"], body["max_per_second"], body["default_sender"]) == (True, 100, None, "")
    assert api.post(APPS, {"slug": "sandbox-sms"}).status_code == 201


def test_an_app_can_be_installed_disabled(api: Api):
    assert api.post(APPS, {**INSTALL, "enabled": False}).json()["enabled"] is False
    assert api.get(APPS).json()["data"][0]["enabled"] is False


def test_an_unknown_slug_is_400(api: Api):
    for slug in ("nobody-sms", "MORA-SMS", "mora", "mora-sms ✓", "../mora-sms"):
        body = assert_error(api.post(APPS, {**INSTALL, "slug": slug}), 400)
        assert "slug" in body["details"]
    assert "slug" in assert_error(api.post(APPS, {"credentials": CREDENTIALS}), 400)["details"]
    assert not OrganizationApp.objects.exists()


@pytest.mark.parametrize(
    ("credentials", "field"),
    [
        ({}, "api_key"),
        ({"api_key": "x"}, "username"),
        ({**CREDENTIALS, "api_key": ""}, "api_key"),
        ({**CREDENTIALS, "api_key": None}, "api_key"),
        ({**CREDENTIALS, "api_key": 5}, "api_key"),
        ({**CREDENTIALS, "api_key": [SECRET]}, "api_key"),
        ({**CREDENTIALS, "api_key": f" {SECRET}"}, "api_key"),
        ({**CREDENTIALS, "api_key": f"{SECRET}\r\nX-Evil: 1"}, "api_key"),
        ({**CREDENTIALS, "api_key": SECRET * 100}, "api_key"),
        ({**CREDENTIALS, "apikey": SECRET}, "apikey"),
        ({**CREDENTIALS, "": "x"}, ""),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_credentials_are_400_with_their_field(api: Api, credentials: dict[str, Any], field: str):
    body = assert_error(api.post(APPS, {**INSTALL, "credentials": credentials}), 400)
    assert f"credentials.{field}" in body["details"]
    assert not OrganizationApp.objects.exists()


def test_credentials_that_belong_together_are_checked_together(api: Api):
    sid = "AC" + "0" * 32
    body = assert_error(api.post(APPS, {"slug": "twilio-sms", "credentials": {"account_sid": sid}}), 400)
    assert any(name.startswith("credentials.") for name in body["details"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", -1),
        ("priority", 1_000_001),
        ("priority", "first"),
        ("priority", None),
        ("max_per_second", 0),
        ("max_per_second", 10_001),
        ("max_per_second", 1.5),
        ("enabled", "perhaps"),
        ("enabled", None),
        ("default_sender", "x" * 21),
        ("default_sender", ["x"]),
        ("credentials", "x"),
        ("credentials", []),
        ("credentials", None),
    ],
)
def test_a_bad_setting_is_400_with_its_field(api: Api, mora: OrganizationApp, field: str, value: Any):
    for response in (api.post(APPS, {"slug": "sandbox-sms", field: value}), api.patch(MORA, {field: value})):
        assert field in assert_error(response, 400)["details"]
    assert OrganizationApp.objects.count() == 1


def test_installing_twice_is_409(api: Api, mora: OrganizationApp):
    body = assert_error(api.post(APPS, {**INSTALL, "credentials": {**CREDENTIALS, "sender": "Other"}}), 409)
    assert body["details"]["reason"] == "already_installed"
    mora.refresh_from_db()
    assert mora.credentials["sender"] == "MyBrand"


def test_a_disabled_app_is_installed_all_the_same(api: Api, install: Callable[..., OrganizationApp]):
    install("mora-sms", is_enabled=False)
    assert_error(api.post(APPS, INSTALL), 409)


def test_each_organization_installs_for_itself(
    api: Api, mora: OrganizationApp, other_organization: Organization, install: Callable[..., OrganizationApp]
):
    theirs = install(other_organization, "mora-sms")
    assert theirs.pk != mora.pk
    assert [app["id"] for app in api.get(APPS).json()["data"]] == [mora.pk]


@pytest.mark.django_db(transaction=True)
def test_of_two_installs_at_once_one_wins():
    organization = factories.make_organization()
    made: list[int] = []
    refused: list[Exception] = []
    start = threading.Barrier(4)

    def install() -> None:
        start.wait()
        try:
            made.append(installing.install(organization=organization, slug="mora-sms", credentials=CREDENTIALS).pk)
        except AlreadyInstalled as error:
            refused.append(error)
        finally:
            connections.close_all()

    def race() -> None:
        threads = [threading.Thread(target=install) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    race()
    assert (len(made), len(refused)) == (1, 3)
    # And again for a row that is there: installed before, and uninstalled.
    installing.uninstall(app=OrganizationApp.objects.get())
    made.clear()
    refused.clear()
    race()
    assert (len(made), len(refused)) == (1, 3)
    assert OrganizationApp.objects.count() == 1


# --- changing -----------------------------------------------------------------------------------------------------


def test_changing_one_thing_leaves_the_rest(api: Api, mora: OrganizationApp):
    before = api.get(MORA).json()
    body = api.patch(MORA, {"enabled": False}).json()
    assert body == {**before, "enabled": False}
    mora.refresh_from_db()
    assert mora.credentials == CREDENTIALS
    assert api.patch(MORA, {}).json() == body
    changed = api.patch(MORA, {"priority": 7, "max_per_second": 3, "default_sender": "New"}).json()
    assert changed == {**body, "priority": 7, "max_per_second": 3, "default_sender": "New"}
    assert api.patch(MORA, {"max_per_second": None, "default_sender": ""}).json() == {**body, "priority": 7}


def test_changing_one_credential_leaves_the_others(api: Api, mora: OrganizationApp):
    body = api.patch(MORA, {"credentials": {"username": "966511111111"}}).json()
    assert body["credentials"] == {"username": "966511111111", "sender": "MyBrand"}
    assert body["secrets_set"] == ["api_key"]
    mora.refresh_from_db()
    assert mora.credentials == {**CREDENTIALS, "username": "966511111111"}


def test_an_empty_credential_is_taken_away(api: Api, mora: OrganizationApp):
    assert api.patch(MORA, {"credentials": {"sender": ""}}).json()["credentials"] == {"username": "966500000000"}
    body = assert_error(api.patch(MORA, {"credentials": {"api_key": ""}}), 400)
    assert "credentials.api_key" in body["details"]
    mora.refresh_from_db()
    assert mora.credentials["api_key"] == SECRET


def test_a_bad_change_changes_nothing(api: Api, mora: OrganizationApp):
    assert_error(api.patch(MORA, {"priority": 1, "credentials": {"nonsense": "x"}}), 400)
    mora.refresh_from_db()
    assert mora.priority == 100


def test_neither_slug_nor_id_can_be_changed(api: Api, mora: OrganizationApp):
    body = api.patch(MORA, {"slug": "taqnyat-sms", "id": 99, "last_sync": "2026-01-01T00:00:00Z"}).json()
    assert (body["slug"], body["id"], body["last_sync"]) == ("mora-sms", mora.pk, None)


@pytest.mark.parametrize("slug", ["taqnyat-sms", "nobody-sms", "MORA-SMS", "x"])
def test_what_is_not_installed_is_404(api: Api, mora: OrganizationApp, slug: str):
    for method, url in [("get", ""), ("patch", ""), ("delete", ""), ("post", "/test")]:
        assert_error(getattr(api, method)(f"{APPS}/{slug}{url}"), 404)


def test_a_strangers_app_is_missing_like_any_other(
    api: Api, other_organization: Organization, install: Callable[..., OrganizationApp]
):
    theirs = install(other_organization, "mora-sms")
    for method, url in [("get", MORA), ("patch", MORA), ("delete", MORA), ("post", f"{MORA}/test")]:
        stranger = getattr(api, method)(url)
        assert_error(stranger, 404)
        nobody = getattr(api, method)(url.replace("mora-sms", "nobody-sms"))
        assert stranger.content == nobody.content.replace(b"nobody-sms", b"mora-sms")
    theirs.refresh_from_db()
    assert theirs.uninstalled_at is None


# --- uninstalling -------------------------------------------------------------------------------------------------


def test_uninstalling_wipes_the_credentials_and_keeps_the_row(api: Api, mora: OrganizationApp):
    assert api.delete(MORA).status_code == 204
    mora.refresh_from_db()
    assert mora.credentials == {}
    assert mora.is_enabled is False
    assert mora.uninstalled_at is not None
    assert_error(api.get(MORA), 404)
    assert_error(api.delete(MORA), 404)
    assert_error(api.patch(MORA, {"enabled": True}), 404)
    assert api.get(APPS).json()["data"] == []


def test_installing_again_keeps_the_id_and_nothing_else(api: Api, mora: OrganizationApp):
    api.patch(MORA, {"priority": 1, "max_per_second": 5, "default_sender": "Old", "enabled": False})
    OrganizationApp.objects.update(last_sync_at=timezone.now(), installed_at=timezone.now() - timedelta(days=30))
    api.delete(MORA)
    response = api.post(APPS, {"slug": "mora-sms", "credentials": {"api_key": "new", "username": "u"}})
    assert response.status_code == 201
    body = response.json()
    assert body["id"] == mora.pk
    assert (body["priority"], body["max_per_second"], body["default_sender"], body["enabled"]) == (100, None, "", True)
    assert (body["credentials"], body["last_sync"]) == ({"username": "u"}, None)
    assert OrganizationApp.objects.get().installed_at > timezone.now() - timedelta(minutes=1)


def test_uninstalling_waits_for_the_messages_that_only_it_may_send(
    api: Api, mora: OrganizationApp, install: Callable[..., OrganizationApp]
):
    install("taqnyat-sms")
    message = {"mobile": "0501234567", "message": "Hello"}
    queued = api.post(OUTBOX, {**message, "preferred_provider_slug": "mora-sms"}).json()
    assert assert_error(api.delete(MORA), 409)["details"]["reason"] == "app_in_use"
    mora.refresh_from_db()
    assert mora.credentials == CREDENTIALS
    api.delete(f"{OUTBOX}/{queued['id']}")
    # One that any app may send is no reason to wait.
    api.post(OUTBOX, message)
    assert api.delete(MORA).status_code == 204
    assert Message.objects.count() == 2


def test_uninstalling_waits_for_a_send_that_was_put_off(api: Api, mora: OrganizationApp):
    later = {"mobile": "0501234567", "message": "Hello", "datetime": (timezone.now() + timedelta(days=1)).isoformat()}
    queued = api.post("/api/v1/sms-providers/mora-sms/send", later)
    assert queued.status_code == 202
    assert_error(api.delete(MORA), 409)
    assert api.delete(f"{OUTBOX}/{queued.json()['id']}").status_code == 204
    assert api.delete(MORA).status_code == 204


# --- secrets ------------------------------------------------------------------------------------------------------


@responses.activate
def test_no_answer_holds_a_secret(api: Api):
    echo = {"status": {"code": 401, "message": f"bad key {SECRET}"}, "data": {"you_sent": SECRET}}
    responses.get(BALANCE_URL, json=echo, status=401)
    answers = [
        api.post(APPS, INSTALL),
        api.post(APPS, INSTALL),
        api.post(APPS, {**INSTALL, "credentials": {**CREDENTIALS, "api_key": SECRET + "\n"}}),
        api.get(APPS),
        api.get(MORA),
        api.patch(MORA, {"credentials": {"api_key": SECRET}}),
        api.patch(MORA, {"credentials": {"sender": f"{SECRET}\x00"}}),
        api.post(f"{MORA}/test"),
        api.get("/api/v1/sms-providers/mora-sms/balance"),
        api.options(MORA),
        api.get("/api/v1/app-store"),
        api.delete(MORA),
    ]
    assert [answer.status_code for answer in answers] == [201, 409, 400, 200, 200, 200, 400, 200, 400, 200, 200, 204]
    for answer in answers:
        text = answer.content.decode() + json.dumps(dict(answer.headers))
        assert SECRET not in text


# --- credentials that nobody can read, and fields that went away ----------------------------------------------------


@pytest.fixture
def unreadable(mora: OrganizationApp, install: Callable[..., OrganizationApp]) -> OrganizationApp:
    """Mora, whose credentials no key decrypts, beside the sandbox."""
    with override_settings(FIELD_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]):
        OrganizationApp.objects.filter(pk=mora.pk).update(credentials={"api_key": "lost"})
    install("sandbox-sms")
    return mora


def test_credentials_that_no_key_decrypts_are_said_and_hinder_no_other(api: Api, unreadable: OrganizationApp):
    listed = api.get(APPS).json()["data"]
    assert {row["slug"]: row["secrets_set"] for row in listed} == {"mora-sms": [], "sandbox-sms": []}
    tested = api.post(f"{MORA}/test").json()
    assert (tested["ok"], tested["reason"]) == (False, "credentials_unreadable")
    for answer in (
        api.get("/api/v1/sms-providers/mora-sms/balance"),
        api.post("/api/v1/sms-providers/mora-sms/send", {"mobile": "0501234567", "message": "Hello"}),
    ):
        body = assert_error(answer, 400)
        assert body["details"]["reason"] == "credentials_unreadable"
        assert "Nothing was sent" in body["error"]
    assert (
        api.post("/api/v1/sms-providers/sandbox-sms/send", {"mobile": "0501234567", "message": "Hi"}).status_code == 200
    )
    assert not SmsLog.objects.exclude(provider_slug="sandbox-sms").exists()


def test_they_can_be_entered_anew(api: Api, unreadable: OrganizationApp):
    assert_error(api.patch(MORA, {"credentials": {"api_key": "new-key"}}), 400)  # the user name is lost as well
    assert api.patch(MORA, {"priority": 7}).status_code == 200
    entered = api.patch(MORA, {"credentials": {"api_key": "new-key", "username": "966500000000"}})
    assert (entered.status_code, entered.json()["priority"]) == (200, 7)
    unreadable.refresh_from_db()
    assert unreadable.credentials == {"api_key": "new-key", "username": "966500000000"}
    assert api.delete(MORA).status_code == 204


@pytest.mark.parametrize("changes", [{}, {"priority": 3}, {"enabled": False}, {"credentials": {}}])
def test_any_change_encrypts_with_the_newest_key(
    api: Api, mora: OrganizationApp, changes: dict[str, Any], settings: Any
):
    """As docs/production.md says of changing keys: afterwards the old one can go."""
    newest = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [newest, *settings.FIELD_ENCRYPTION_KEYS]
    assert api.patch(MORA, changes).status_code == 200
    settings.FIELD_ENCRYPTION_KEYS = [newest]
    assert api.get(MORA).json()["secrets_set"] == ["api_key"]


def test_a_stored_field_that_the_app_has_no_more_is_left_behind(api: Api, mora: OrganizationApp):
    mora.credentials = {**mora.credentials, "former_field": "x"}
    mora.save()
    assert api.patch(MORA, {"credentials": {"sender": "Shop"}}).status_code == 200
    mora.refresh_from_db()
    assert "former_field" not in mora.credentials
    refused = assert_error(api.patch(MORA, {"credentials": {"former_field": "x"}}), 400)
    assert refused["error"].startswith("Mora SMS has no field 'former_field'.")


# --- do the credentials work? -------------------------------------------------------------------------------------


@responses.activate
def test_a_test_says_that_it_works(api: Api, mora: OrganizationApp):
    responses.get(BALANCE_URL, json={"status": {"code": 200}, "data": {"balance": "1520.50"}})
    body = api.post(f"{MORA}/test").json()
    assert set(body) == {"ok", "message", "reason", "checked_at"}
    assert (body["ok"], body["reason"]) == (True, "working")
    assert "1520.5" in body["message"]
    mora.refresh_from_db()
    assert mora.last_sync_at is not None
    assert api.get(MORA).json()["last_sync"] is not None
    assert not SmsLog.objects.exists()


@responses.activate
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 401, "json": {"status": {"code": 401}, "data": None}}, "bad_credentials"),
        ({"status": 403, "body": "Forbidden"}, "access_denied"),
        ({"status": 429, "body": "slow down"}, "throttled"),
        ({"status": 500, "body": "<h1>Oops</h1>"}, "provider_down"),
        ({"status": 200, "body": "<h1>Welcome</h1>"}, "unreadable_answer"),
        ({"status": 200, "body": ""}, "unreadable_answer"),
        ({"status": 200, "json": {"status": {"code": 200}, "data": {"balance": "NaN"}}}, "unreadable_answer"),
        ({"status": 200, "json": {"status": {"code": 200}, "data": {"balance": None}}}, "unreadable_answer"),
        ({"status": 200, "json": {"status": {"code": 200}, "data": {"code": 114}}}, "account_suspended"),
        ({"body": requests.ConnectionError("refused")}, None),
        ({"body": requests.ReadTimeout("slow")}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_test_says_in_words_why_not(api: Api, mora: OrganizationApp, answer: dict[str, Any], reason: str | None):
    responses.get(BALANCE_URL, **answer)
    response = api.post(f"{MORA}/test")
    assert response.status_code == 200
    body = response.json()
    assert body["ok"] is False
    assert body["message"].endswith((".", "!"))
    assert " " in body["message"]
    assert body["reason"] == reason if reason else body["reason"]
    mora.refresh_from_db()
    assert mora.last_sync_at is None


def test_a_test_of_the_sandbox_needs_no_network(api: Api, install: Callable[..., OrganizationApp]):
    install("sandbox-sms")
    assert api.post(f"{APPS}/sandbox-sms/test").json()["ok"] is True


@responses.activate
def test_a_disabled_app_can_be_tested(api: Api, install: Callable[..., OrganizationApp]):
    install("mora-sms", is_enabled=False)
    responses.get(BALANCE_URL, json={"status": {"code": 200}, "data": {"balance": 0}})
    body = api.post(f"{MORA}/test").json()
    assert body["ok"] is True
    assert "Balance: 0 points" in body["message"]


def test_nobody_listens(api: Api, mora: OrganizationApp, settings: Any):
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://127.0.0.1:1"}
    body = api.post(f"{MORA}/test").json()
    assert (body["ok"], body["reason"]) == (False, "connection_failed")


def test_an_app_that_left_the_catalogue_is_still_listed(api: Api, mora: OrganizationApp, settings: Any):
    settings.SMS_PROVIDERS = ["sms_providers.adapters.sandbox.SandboxSms"]
    body = api.get(MORA).json()
    assert (body["name"], body["credentials"]) == ("mora-sms", {})
    assert body["secrets_set"] == ["api_key", "sender", "username"]
    assert_error(api.post(f"{MORA}/test"), 400)
    assert api.delete(MORA).status_code == 204
