"""Who may open what. Every page for every role, and for somebody of another organization."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from linkit.models import ApiKey, Membership, Organization, Role, Token
from linkit.tokens import open_session
from outbox.bulk import receiving, work
from outbox.bulk.models import BulkJob
from sms_providers.models import OrganizationApp
from tests import factories
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

LISTS = {
    "sms_providers_smslog": "viewer operator admin superuser",
    "sms_providers_sandboxdelivery": "viewer operator admin superuser",
    "outbox_message": "viewer operator admin superuser",
    "outbox_bulkjob": "viewer operator admin superuser",
    "sms_providers_organizationapp": "viewer operator admin superuser",
    "linkit_organization": "viewer operator admin superuser",
    "linkit_apikey": "admin superuser",
    "linkit_user": "superuser",
    "linkit_membership": "superuser",
    "linkit_auditentry": "admin superuser",
}
EVERYBODY = ["viewer", "operator", "admin", "superuser", "loner"]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("who", EVERYBODY)
def test_lists_open_by_role(console: Any, sandbox: Any, name: str, who: str):
    answer = console(who).get(reverse(f"admin:{name}_changelist"))
    assert answer.status_code == (200 if who in LISTS[name].split() else 403)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("admin:send_one", "operator admin superuser"),
        ("admin:send_file", "operator admin superuser"),
        ("admin:sms_providers_organizationapp_add", "admin superuser"),
        ("admin:linkit_apikey_add", "admin superuser"),
        ("admin:linkit_organization_add", "superuser"),
        ("admin:linkit_user_add", "superuser"),
        ("admin:linkit_membership_add", "superuser"),
        ("admin:sms_providers_smslog_add", ""),
        ("admin:outbox_message_add", ""),
        ("admin:outbox_bulkjob_add", ""),
        ("admin:linkit_auditentry_add", ""),
    ],
)
@pytest.mark.parametrize("who", EVERYBODY)
def test_forms_open_by_role(console: Any, sandbox: Any, url: str, allowed: str, who: str):
    assert console(who).get(reverse(url)).status_code == (200 if who in allowed.split() else 403)


@pytest.fixture
def pages(organization: Organization, sandbox: Any, send: Any, queued: Any, api_key: Any) -> dict[str, str]:
    """Every page of one row of `organization`, by name."""
    api_key()
    rows = {
        "sms_providers_smslog": send(sandbox),
        "sms_providers_sandboxdelivery": send(sandbox),
        "outbox_message": queued(),
        "outbox_bulkjob": bulk_job(sandbox),
        "sms_providers_organizationapp": sandbox,
        "linkit_organization": organization,
        "linkit_apikey": ApiKey.objects.get(organization=organization),
    }
    found = {
        f"{name}_{page}": reverse(f"admin:{name}_{page}", args=[row.pk])
        for name, row in rows.items()
        for page in ("change", "history", "delete")
    }
    for page, name in [("test", "organizationapp"), ("uninstall", "organizationapp")]:
        found[page] = reverse(f"admin:sms_providers_{name}_{page}", args=[sandbox.pk])
    for page in ("progress", "errors", "pause", "resume", "stop", "retry"):
        found[f"bulk_{page}"] = reverse(f"admin:outbox_bulkjob_{page}", args=[rows["outbox_bulkjob"].pk])
    found["revoke"] = reverse("admin:linkit_apikey_revoke", args=[rows["linkit_apikey"].pk])
    return found


def bulk_job(app: OrganizationApp) -> BulkJob:
    """A job whose file has a wrong row, and is read."""
    file = io.BytesIO(f"mobile,message\n{factories.mobile()},Hello\n12,Hello\n".encode())
    job = receiving.create(organization=app.organization, app=app, slug=app.slug, file=file, filename="file.csv").job
    while work.do_next(threading.Event()):
        pass
    return job


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("who", ["stranger", "loner"])
def test_another_tenants_row_is_like_a_missing_one(console: Any, pages: dict[str, str], who: str, method: str):
    browser = console(who)
    for name, url in pages.items():
        answer = getattr(browser, method)(url)
        missing = getattr(browser, method)(_other_id(url))
        assert (answer.status_code, answer.get("Location")) == (missing.status_code, missing.get("Location")), name
        assert answer.status_code in (302, 403, 404), name


def _other_id(url: str) -> str:
    """The same URL for a row that nobody has."""
    *head, identity, page, end = url.split("/")
    if "-" in identity:
        identity = "00000000-0000-4000-8000-000000000000"
    else:
        identity = "987654321" if identity.isdigit() else "r00000000000000"
    return "/".join([*head, identity, page, end])


@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "superuser"])
def test_members_see_their_rows(console: Any, pages: dict[str, str], who: str):
    browser = console(who)
    seen = ["sms_providers_smslog", "outbox_message", "outbox_bulkjob", "sms_providers_organizationapp"]
    for name in (*seen, "linkit_organization"):
        assert browser.get(pages[f"{name}_change"]).status_code == 200, name
        assert browser.get(pages[f"{name}_history"]).status_code == 200, name


@pytest.mark.parametrize("who", ["viewer", "operator"])
def test_below_admin_nothing_is_changed(console: Any, pages: dict[str, str], who: str):
    browser = console(who)
    for name in ("sms_providers_organizationapp_change", "linkit_organization_change", "test", "uninstall"):
        assert browser.post(pages[name], {"priority": 1}).status_code == 403, name
    assert browser.post(pages["revoke"]).status_code in (302, 403)
    assert ApiKey.objects.get().revoked_at is None


def test_no_row_of_another_organization_is_listed(console: Any, pages: Any, organization: Organization):
    browser = console("stranger")
    names = ["sms_providers_smslog", "sms_providers_organizationapp", "outbox_message", "outbox_bulkjob"]
    for name in (*names, "linkit_organization"):
        text = browser.get(reverse(f"admin:{name}_changelist")).text
        assert "Acme" not in text
        assert "+9665" not in text
        assert "file.csv" not in text


def test_a_role_counts_only_in_its_organization(
    sandbox: Any, organization: Organization, other_organization: Organization, client: Client
):
    person = factories.make_user(organization, role=Role.VIEWER, is_staff=True)
    Membership.objects.create(user=person, organization=other_organization, role=Role.ADMIN)
    client.force_login(person, BACKEND)
    url = reverse("admin:sms_providers_organizationapp_change", args=[sandbox.pk])
    assert client.get(url).status_code == 200
    assert client.post(url, {"priority": 5}).status_code == 403
    assert client.get(reverse("admin:linkit_apikey_add")).status_code == 200
    data = {"organization": organization.pk, "name": "sly", "scopes": ["read"]}
    answer = client.post(reverse("admin:linkit_apikey_add"), data)
    assert "Select a valid choice" in answer.text
    add = reverse("admin:sms_providers_organizationapp_install", args=["mora-sms"])
    assert client.get(f"{add}?organization={organization.pk}").status_code == 404
    assert client.get(f"{add}?organization={other_organization.pk}").status_code == 200


def test_model_permissions_open_nothing(organization: Organization, client: Client):
    person = factories.make_user(organization, role=Role.VIEWER, is_staff=True)
    person.user_permissions.set(Permission.objects.all())
    client.force_login(person, BACKEND)
    assert client.get(reverse("admin:linkit_user_changelist")).status_code == 403
    assert client.get(reverse("admin:linkit_apikey_changelist")).status_code == 403


def test_an_inactive_organization_is_gone_from_the_console(console: Any, organization: Organization, sandbox: Any):
    browser = console("admin")
    organization.is_active = False
    organization.save()
    assert browser.get(reverse("admin:sms_providers_smslog_changelist")).status_code == 403
    assert "member of no active organization" in browser.get(reverse("admin:index")).text


def test_the_index_shows_what_the_role_has(console: Any, sandbox: Any):
    viewer, admin = (console(who).get(reverse("admin:index")).text for who in ("viewer", "admin"))
    assert "Send one" not in viewer
    assert "API keys" not in viewer
    assert "Users" not in admin
    assert "Send one" in admin
    assert "API keys" in admin
    assert "Acme" in admin  # the organization's name in the header


@pytest.mark.parametrize("label", ["linkit", "sms_providers", "outbox"])
def test_the_page_of_a_package_opens(console: Any, label: str):
    assert console("superuser").get(reverse("admin:app_list", args=[label])).status_code == 200


def test_an_org_admin_changes_settings_but_not_the_name(console: Any, organization: Organization):
    browser, url = console("admin"), reverse("admin:linkit_organization_change", args=[organization.pk])
    data = {"name": "Hacked", "default_region": "EG", "time_zone": "Africa/Cairo"}
    assert browser.post(url, data).status_code == 302
    organization.refresh_from_db()
    assert (organization.name, organization.default_region, organization.is_active) == ("Acme", "EG", True)


def test_an_organization_with_a_history_is_not_deleted(console: Any, organization: Organization, sandbox: Any):
    browser = console("superuser")
    url = reverse("admin:linkit_organization_delete", args=[organization.pk])
    assert "switch the organization off" in browser.get(url).text
    browser.post(url, {"post": "yes"})
    assert Organization.objects.filter(pk=organization.pk).exists()
    empty = factories.make_organization("Empty")
    browser.post(reverse("admin:linkit_organization_delete", args=[empty.pk]), {"post": "yes"})
    assert not Organization.objects.filter(pk=empty.pk).exists()


def test_people_are_made_by_superusers(console: Any, organization: Organization):
    browser = console("superuser")
    password = "quite a long passphrase"
    data = {
        "email": "New@Example.com", "name": "New", "is_staff": "on", "password1": password, "password2": password,
        "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "0", "memberships-MIN_NUM_FORMS": "0",
        "memberships-MAX_NUM_FORMS": "1000", "memberships-0-organization": str(organization.pk),
        "memberships-0-role": "viewer",
    }  # fmt: skip
    answer = browser.post(reverse("admin:linkit_user_add"), data)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    member = Membership.objects.get(user__email="New@example.com")
    assert member.user.check_password(password)
    again = browser.post(reverse("admin:linkit_user_add"), {**data, "email": "new@example.COM"})
    assert again.status_code == 200
    for page in ("change", "password_change"):
        url = reverse("admin:auth_user_password_change", args=[member.user.pk])
        if page == "change":
            url = reverse("admin:linkit_user_change", args=[member.user.pk])
        assert browser.get(url).status_code == 200
    assert browser.post(reverse("admin:linkit_user_delete", args=[member.user.pk]), {"post": "yes"}).status_code == 403


def test_sessions_are_not_shown(console: Any, organization: Organization):
    person = factories.make_user(organization)
    session, _ = open_session(user=person)
    browser = console("superuser")
    assert session.prefix not in browser.get(reverse("admin:linkit_apikey_changelist") + "?state=all").text
    assert browser.get(reverse("admin:linkit_apikey_change", args=[session.pk])).status_code == 302
    browser.post(reverse("admin:linkit_apikey_revoke", args=[session.pk]))
    assert Token.objects.get(pk=session.pk).revoked_at is None


def test_the_login_page_asks_for_the_e_mail(client: Client, organization: Organization, settings: Any):
    page = client.get(reverse("admin:login"))
    assert "Linkit SMS" in page.text
    assert "E-mail" in page.text
    person = factories.make_user(organization, is_staff=True)
    settings.LOGIN_FAILURE_LIMIT = 2
    url, wrong = reverse("admin:login"), {"username": person.email, "password": "wrong"}
    for _ in range(2):
        assert "Too many" not in client.post(url, wrong).text
    locked = client.post(url, {"username": person.email, "password": factories.PASSWORD})
    assert "Too many failed log-ins" in locked.text
    assert "_auth_user_id" not in client.session


def test_members_without_console_access_stay_out(organization: Organization, client: Client):
    client.force_login(factories.make_user(organization, role=Role.ADMIN), BACKEND)
    assert client.get(reverse("admin:index")).status_code == 302


def test_times_are_in_the_organizations_zone(console: Any, sandbox: Any, send: Any):
    log = send(sandbox)
    page = console("viewer").get(reverse("admin:sms_providers_smslog_change", args=[log.pk])).text
    assert "Asia/Riyadh" in page
    from zoneinfo import ZoneInfo

    assert f"{log.created_at.astimezone(ZoneInfo('Asia/Riyadh')):%Y-%m-%d %H:%M:%S}" in page


def test_every_page_keeps_to_the_content_security_policy(console: Any, pages: dict[str, str]):
    browser = console("superuser")
    urls = [reverse("admin:index"), reverse("admin:send_one"), reverse("admin:send_file")]
    urls += [reverse("admin:linkit_apikey_add")]
    urls += [reverse(f"admin:{name}_changelist") for name in LISTS]
    urls += [reverse("admin:sms_providers_organizationapp_install", args=["twilio-sms"])]
    urls += [url for name, url in pages.items() if name.endswith(("_change", "_history"))]
    for url in urls:
        answer = browser.get(url, follow=True)
        assert answer.status_code == 200, url
        assert answer["Content-Security-Policy"] == settings.CONTENT_SECURITY_POLICY
        for forbidden in ("<style", " style=", " onclick=", "<script>", "http://cdn", "https://cdn"):
            assert forbidden not in answer.text, (url, forbidden)
