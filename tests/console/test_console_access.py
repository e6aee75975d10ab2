"""Who may do what, beyond the table of tests/console/test_console_roles.py."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from linkit.models import Membership, Organization, Role, Token, User
from linkit.tokens import open_session
from sms_providers.models import OrganizationApp
from tests import factories
from tests.console.conftest import BACKEND, bulk_job

pytestmark = pytest.mark.django_db


def test_no_row_of_another_organization_is_listed(
    console: Any, organization: Organization, sandbox: OrganizationApp, send: Any, queued: Any
):
    send(sandbox)
    queued()
    bulk_job(sandbox)
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


def test_an_org_admin_changes_settings_but_not_the_name(console: Any, organization: Organization):
    browser, url = console("admin"), reverse("admin:linkit_organization_change", args=[organization.pk])
    data = {"name": "Hacked", "default_region": "EG", "time_zone": "Africa/Cairo"}
    assert browser.post(url, data).status_code == 302
    organization.refresh_from_db()
    assert (organization.name, organization.default_region, organization.is_active) == ("Acme", "EG", True)


def test_an_organization_with_a_history_is_not_deleted(console: Any, organization: Organization, sandbox: Any):
    browser = console("superuser")
    url = reverse("admin:linkit_organization_delete", args=[organization.pk])
    assert "Switch the organization off" in browser.get(url).text
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
    assert f"{log.created_at.astimezone(ZoneInfo('Asia/Riyadh')):%Y-%m-%d %H:%M:%S}" in page


def test_switching_off_and_taking_access_away_ask_first(console: Any, organization: Organization):
    browser, url = console("superuser"), reverse("admin:linkit_organization_change", args=[organization.pk])
    member = Membership.objects.create(user=factories.make_user(), organization=organization, role=Role.VIEWER)
    data = {
        "name": "Renamed", "default_region": "EG", "time_zone": "Africa/Cairo",
        "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "1", "memberships-MIN_NUM_FORMS": "0",
        "memberships-MAX_NUM_FORMS": "1000", "memberships-0-id": str(member.pk), "memberships-0-DELETE": "on",
        "memberships-0-organization": str(organization.pk), "memberships-0-user": str(member.user_id),
        "memberships-0-role": "viewer",
    }  # fmt: skip
    asked = browser.post(url, data)
    assert asked.status_code == 200
    assert "its keys are refused" in asked.text
    assert f"{member.user} loses access" in asked.text
    assert 'name="name" value="Renamed"' in asked.text
    organization.refresh_from_db()
    assert (organization.name, organization.is_active) == ("Acme", True)
    assert browser.post(url, {**data, "_confirmed": "yes"}).status_code == 302
    organization.refresh_from_db()
    assert (organization.name, organization.is_active) == ("Renamed", False)
    assert not Membership.objects.filter(pk=member.pk).exists()


def test_making_somebody_a_superuser_asks_first(console: Any, organization: Organization):
    person = factories.make_user(organization, is_staff=True)
    browser, url = console("superuser"), reverse("admin:linkit_user_change", args=[person.pk])
    data = {
        "email": person.email, "is_active": "on", "is_staff": "on", "is_superuser": "on",
        "memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0", "memberships-MIN_NUM_FORMS": "0",
        "memberships-MAX_NUM_FORMS": "1000",
    }  # fmt: skip
    assert "may see and do everything" in browser.post(url, data).text
    superusers = User.objects.filter(pk=person.pk, is_superuser=True)
    assert not superusers.exists()
    browser.post(url, {**data, "_confirmed": "yes"})
    assert superusers.exists()
    assert "cannot log in any more" in browser.post(url, {k: v for k, v in data.items() if k != "is_active"}).text
