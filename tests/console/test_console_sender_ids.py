"""Sender IDs in the console: whose they are, which app may send under them, and whether an app costs credits."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.db.models import ProtectedError
from django.test import Client, override_settings
from django.urls import reverse

from contacts.models import SmsProgram
from linkit.audit import in_words
from linkit.models import Membership, Organization, Role
from sms_providers import installing
from sms_providers.forms import SenderIdForm
from sms_providers.models import OrganizationApp, SenderId
from tests import factories
from tests.console.conftest import BACKEND
from tests.console.test_console_lists import ODD

pytestmark = pytest.mark.django_db

LIST, ADD = "admin:sms_providers_senderid_changelist", "admin:sms_providers_senderid_add"


def url(sender: SenderId, page: str = "change") -> str:
    return reverse(f"admin:sms_providers_senderid_{page}", args=[sender.pk])


def form(organization: Organization | None, app: OrganizationApp | None, **fields: Any) -> dict[str, Any]:
    given = {"sender_id": "Brand", "country": "SA", "description": "", "status": "active"}
    whose = {"organization": organization.pk if organization else "", "app": app.pk if app else ""}
    return {**given, **whose, **fields}


@pytest.fixture
def foreign(other_organization: Organization) -> OrganizationApp:
    return factories.install(other_organization, "sandbox-sms")


@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "superuser", "stranger", "loner"])
def test_pages_open_by_role(console: Any, organization: Organization, sandbox: OrganizationApp, who: str):
    own, shared = factories.make_sender(organization, sandbox), factories.make_sender(None, sandbox, sender_id="All")
    browser = console(who)
    is_in, manages = who != "loner", who in ("admin", "superuser", "stranger")
    assert browser.get(reverse(LIST)).status_code == (200 if is_in else 403)
    assert browser.get(reverse(ADD)).status_code == (200 if manages else 403)
    for sender, may_change in ((own, who in ("admin", "superuser")), (shared, who == "superuser")):
        is_seen = is_in and (sender is shared or who != "stranger")
        page = browser.get(url(sender))
        assert page.status_code == (200 if is_seen else 302 if is_in else 403)
        assert ('name="sender_id"' in page.text) is may_change
        answer = browser.post(url(sender), form(None, sandbox, sender_id="Changed"))
        is_missing = who == "stranger" and sender is own
        assert answer.status_code == (302 if may_change or is_missing else 403)
        sender.refresh_from_db()
        assert (sender.sender_id == "Changed") is may_change
        assert browser.get(url(sender, "delete")).status_code == (200 if may_change else 302 if is_missing else 403)


def test_an_administrator_adds_an_own_one(console: Any, organization: Organization, sandbox: OrganizationApp):
    browser = console("admin")
    page = browser.get(reverse(ADD)).text
    assert f'<input type="hidden" name="organization" value="{organization.pk}"' in page
    assert "Shared with everybody" not in page
    answer = browser.post(reverse(ADD), form(organization, sandbox, description="For orders"))
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    sender = SenderId.objects.get()
    assert (sender.organization, sender.app, sender.status) == (organization, sandbox, "active")
    browser.post(url(sender), form(None, None, status="inactive"))
    sender.refresh_from_db()
    assert (sender.organization, sender.app, sender.status) == (organization, None, "inactive")
    added, changed = (entry.get_change_message() for entry in LogEntry.objects.order_by("pk"))
    assert added == "Added."
    assert changed == "Changed Description, Status and Gateway."


def test_nothing_of_another_organization_can_be_named(
    console: Any, organization: Organization, sandbox: OrganizationApp, foreign: OrganizationApp
):
    browser, theirs = console("admin"), foreign.organization
    own = factories.make_sender(organization, sandbox)
    page = browser.get(reverse(ADD)).text
    assert f'<option value="{sandbox.pk}">' in page
    assert f'<option value="{foreign.pk}">' not in page
    for data, wrong in [
        (form(None, sandbox), "organization"), (form(theirs, sandbox), "organization"),
        (form(theirs, foreign), "organization"), (form(organization, foreign), "app"),
        (form(organization, None) | {"app": "999999"}, "app"), (form(organization, None) | {"app": "x"}, "app"),
    ]:  # fmt: skip
        answer = browser.post(reverse(ADD), data)
        assert wrong in answer.context["adminform"].form.errors, data
    assert "app" in browser.post(url(own), form(None, foreign)).context["adminform"].form.errors
    browser.post(url(own), form(theirs, sandbox))  # whose it is, is not asked any more
    assert SenderId.objects.get().organization == organization


def test_somebody_of_two_organizations_cannot_mix_them(
    client: Client, organization: Organization, sandbox: OrganizationApp, foreign: OrganizationApp
):
    person = factories.make_user(organization, role=Role.ADMIN, is_staff=True)
    Membership.objects.create(user=person, organization=foreign.organization, role=Role.ADMIN)
    client.force_login(person, BACKEND)
    mixed = client.post(reverse(ADD), form(organization, foreign))
    assert "not installed by Acme" in str(mixed.context["adminform"].form.errors["app"])
    assert client.post(reverse(ADD), form(None, foreign)).context["adminform"].form.errors["organization"]
    assert client.post(reverse(ADD), form(foreign.organization, foreign)).status_code == 302
    sender = SenderId.objects.get()
    assert f'<option value="{sandbox.pk}">' not in client.get(url(sender)).text
    assert "app" in client.post(url(sender), form(None, sandbox)).context["adminform"].form.errors


def test_a_superuser_shares_through_any_app(
    console: Any, organization: Organization, sandbox: OrganizationApp, foreign: OrganizationApp
):
    browser = console("superuser")
    assert browser.post(reverse(ADD), form(None, foreign)).status_code == 302
    shared = SenderId.objects.get()
    assert shared.is_shared
    assert browser.post(url(shared), form(None, sandbox)).status_code == 302
    mixed = browser.post(reverse(ADD), form(organization, foreign))
    assert "app" in mixed.context["adminform"].form.errors
    own = factories.make_sender(organization, None)
    assert "app" in browser.post(url(own), form(None, foreign)).context["adminform"].form.errors
    SenderId.objects.all().delete()
    OrganizationApp.objects.all().delete()
    Organization.objects.all().delete()
    assert browser.get(reverse(ADD)).status_code == 200


def test_bad_sender_ids_are_refused(console: Any, organization: Organization, sandbox: OrganizationApp):
    for field, value in [
        *(("sender_id", typed) for typed in ("", "   ", "x" * 12, "a\tb", "a\nb", "a\x00b", "a\u200bb", "a\u202eb")),
        ("country", "XX"), ("country", "sa"), ("status", "lost"), ("description", "x" * 201),
    ]:  # fmt: skip
        filled_in = SenderIdForm(form(organization, sandbox, **{field: value}))
        filled_in.reach_to(Organization.objects.all(), may_share=False, is_wide=False)
        assert [*filled_in.errors] == [field], repr(value)
    browser = console("admin")
    answer = browser.post(reverse(ADD), form(organization, sandbox, sender_id="a\nb"))
    assert "another hidden character" in str(answer.context["adminform"].form.errors["sender_id"])
    assert not SenderId.objects.exists()
    for typed in ("x", "x" * 11, "A & B", "علامتي"):
        assert browser.post(reverse(ADD), form(organization, sandbox, sender_id=typed)).status_code == 302


def test_one_that_a_program_uses_is_not_deleted(
    console: Any, organization: Organization, sandbox: OrganizationApp, monkeypatch: pytest.MonkeyPatch
):
    used, unused = factories.make_sender(organization, sandbox), factories.make_sender(organization, sandbox)
    SmsProgram.objects.create(organization=organization, name="Secret sale", template="x", sender=used)
    browser = console("admin")
    page = browser.get(url(used, "delete")).text
    assert "SMS programs: 1. Switch its status to inactive instead." in page
    assert "Yes, delete" not in page
    assert browser.post(url(used, "delete"), {"post": "yes"}).status_code == 200
    browser.post(url(unused, "delete"), {"post": "yes"})
    assert list(SenderId.objects.all()) == [used]

    def too_late(*_: Any) -> None:
        raise ProtectedError("used", set())

    monkeypatch.setattr(SenderId, "delete", too_late)
    SmsProgram.objects.all().delete()
    answer = browser.post(url(used, "delete"), {"post": "yes"}, follow=True)
    assert "just begun to use it" in answer.text


def test_the_list_says_whether_its_gateway_sends(
    console: Any, organization: Organization, sandbox: OrganizationApp, foreign: OrganizationApp, settings: Any
):
    factories.make_sender(organization, sandbox)
    browser = console("viewer")

    def page() -> str:
        return str(browser.get(reverse(LIST)).text)

    assert "Usable" in page()
    OrganizationApp.objects.filter(pk=sandbox.pk).update(is_enabled=False)
    assert "Switched off" in page()
    OrganizationApp.objects.filter(pk=sandbox.pk).update(slug="gone-sms")
    assert "Not in the catalogue" in page()
    sandbox.refresh_from_db()
    installing.uninstall(app=sandbox)
    assert "Uninstalled" in page()
    SenderId.objects.update(app=None)
    assert "None yet" in page()
    factories.make_sender(None, foreign, sender_id="All")
    assert "Sandbox, of the platform" in page()
    assert "Shared" in page()
    assert "Stranger" not in page()
    shared = SenderId.objects.get(sender_id="All")
    assert "Stranger" not in browser.get(url(shared)).text


def test_a_gateway_that_was_uninstalled_is_kept_by_saving(
    console: Any, organization: Organization, sandbox: OrganizationApp
):
    sender = factories.make_sender(organization, sandbox)
    installing.uninstall(app=sandbox)
    browser = console("admin")
    assert f'<option value="{sandbox.pk}" selected>' in browser.get(url(sender)).text
    assert browser.post(url(sender), form(None, sandbox, sender_id="Other")).status_code == 302
    sender.refresh_from_db()
    assert (sender.sender_id, sender.app) == ("Other", sandbox)
    assert "app" in browser.post(reverse(ADD), form(organization, sandbox)).context["adminform"].form.errors


def test_credentials_that_no_key_decrypts_break_no_page(console: Any, organization: Organization):
    app = factories.install(organization, "mora-sms")
    sender = factories.make_sender(organization, app)
    with override_settings(FIELD_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]):
        browser = console("admin")
        for page in (reverse(LIST), reverse(ADD), url(sender), url(sender, "history"), url(sender, "delete")):
            assert browser.get(page).status_code == 200, page
        assert browser.post(url(sender), form(None, app)).status_code == 302


def test_odd_questions_break_nothing(console: Any, organization: Organization, sandbox: OrganizationApp):
    factories.make_sender(organization, sandbox)
    browser = console("admin")
    for odd in ODD[::3]:
        assert browser.get(f"{reverse(LIST)}?q={odd}", follow=True).status_code == 200
    for query in ("shared=x", "organization=x", "status__exact=%00", "app__id__exact=x", "id__exact=x"):
        assert browser.get(f"{reverse(LIST)}?{query}", follow=True).status_code in (200, 400)
    for lookup in ("app__credentials__contains=a", "app__slug=x"):
        assert browser.get(f"{reverse(LIST)}?{lookup}").status_code == 400
    for page in ("x", "%00", "00000000-0000-4000-8000-000000000000"):
        assert browser.get(f"/admin/sms_providers/senderid/{page}/change/").status_code == 302
    for answer in (browser.get(reverse(LIST)), browser.get(reverse(ADD))):
        assert answer["Content-Security-Policy"] == django_settings.CONTENT_SECURITY_POLICY
        for forbidden in ("<style", " style=", " onclick=", "<script>"):
            assert forbidden not in answer.text


# --- apps that cost credits ---


def app_form(**fields: Any) -> dict[str, Any]:
    return {"priority": "100", "is_enabled": "on", **fields}


def test_only_a_superuser_makes_an_app_cost_credits(console: Any, sandbox: OrganizationApp):
    page = reverse("admin:sms_providers_organizationapp_change", args=[sandbox.pk])
    admin, root, viewer = console("admin"), console("superuser"), console("viewer")

    def is_metered() -> bool:
        return OrganizationApp.objects.get().is_metered

    assert 'name="is_metered"' not in admin.get(page).text
    assert "costs no credits" in admin.get(page).text
    admin.post(page, app_form(is_metered="on"))
    assert not is_metered()
    assert 'name="is_metered"' in root.get(page).text
    root.post(page, app_form(is_metered="on"))
    assert is_metered()
    assert in_words(LogEntry.objects.latest("pk")) == "Changed: Metered."
    admin.post(page, app_form(priority="5"))
    assert is_metered()
    assert "What is sent through it costs credits" in admin.get(page).text
    assert "yes, it is metered" in viewer.get(page).text
    assert "Metered" in viewer.get(reverse("admin:sms_providers_organizationapp_changelist")).text
    root.post(page, app_form())
    assert not is_metered()


def test_an_app_that_is_installed_anew_has_other_credentials_and_costs_nothing(
    console: Any, organization: Organization, sandbox: OrganizationApp
):
    OrganizationApp.objects.update(is_metered=True)
    installing.uninstall(app=sandbox)
    install = reverse("admin:sms_providers_organizationapp_install", args=["sandbox-sms"])
    console("admin").post(install, app_form(is_metered="on"))
    sandbox.refresh_from_db()
    assert (sandbox.uninstalled_at, sandbox.is_metered) == (None, False)
    installing.uninstall(app=sandbox)
    console("superuser").post(f"{install}?organization={organization.pk}", app_form(is_metered="on"))
    sandbox.refresh_from_db()
    assert sandbox.is_metered
