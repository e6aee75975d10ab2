"""The App Store: install, change, test the connection, uninstall; and no secret in any page."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from linkit.audit import in_words
from linkit.models import Organization
from sms_providers import catalogue, circuits, installing, standing
from sms_providers.models import OrganizationApp
from sms_providers.reasons import REASONS
from sms_providers.results import unavailable
from tests import factories

pytestmark = pytest.mark.django_db

SECRET = "very-secret-token-0123456789"
LIST = "admin:sms_providers_organizationapp_changelist"


def url(page: str, *args: Any) -> str:
    return reverse(f"admin:sms_providers_organizationapp_{page}", args=args)


def taqnyat(**fields: Any) -> dict[str, Any]:
    given = {"credential_bearer_token": SECRET, "credential_sender": "MyBrand", "is_enabled": "on", "priority": "100"}
    return {**given, **fields}


@pytest.fixture
def installed(organization: Organization) -> OrganizationApp:
    return factories.install(organization, "taqnyat-sms", bearer_token=SECRET)


def test_every_app_has_a_card_and_a_form(console: Any, sandbox: Any):
    browser = console("admin")
    page = browser.get(url("add")).text
    for slug in catalogue.adapters():
        assert slug in page
        answer = browser.get(url("install", slug))
        # The sandbox is there already.
        assert answer.status_code == (302 if slug == "sandbox-sms" else 200)
    assert "Change or test" in page
    assert page.count("Needs no account") == 1  # the sandbox; others need at least one of several
    assert "Needs one of: Access token, API key." in page
    assert browser.get(url("install", "nothing")).status_code == 404


def test_install_stores_the_credentials_and_shows_none(console: Any, organization: Organization):
    browser = console("admin")
    answer = browser.post(
        url("install", "taqnyat-sms"), taqnyat(default_sender="Shop", max_per_second="5"), follow=True
    )
    app = OrganizationApp.objects.get()
    assert app.credentials == {"bearer_token": SECRET, "sender": "MyBrand"}
    assert (app.organization, app.default_sender, app.priority, app.max_per_second) == (organization, "Shop", 100, 5)
    assert "Test the connection" in answer.text
    for page in (url("change", app.pk), reverse(LIST), url("history", app.pk), url("add"), reverse("admin:index")):
        assert SECRET not in browser.get(page).text
    assert "MyBrand" in browser.get(url("change", app.pk)).text  # no secret
    assert SECRET not in str(list(LogEntry.objects.values()))
    assert [in_words(entry) for entry in LogEntry.objects.all()] == ["Installed."]


def test_an_error_keeps_the_input_but_not_the_secret(console: Any):
    data = taqnyat(credential_sender="My Brand 1", priority="-3", default_sender="Shop")
    page = console("admin").post(url("install", "taqnyat-sms"), data)
    assert page.status_code == 200
    assert 'value="Shop"' in page.text
    assert 'value="My Brand 1"' in page.text
    assert SECRET not in page.text
    assert "type it again" in page.text
    assert not OrganizationApp.objects.exists()


def test_what_the_service_finds_wrong_stands_beside_its_field(console: Any):
    data = {
        "credential_account_sid": "nonsense",
        "credential_auth_token": "x" * 32,
        "is_enabled": "on",
        "priority": "1",
    }
    page = console("admin").post(url("install", "twilio-sms"), data)
    form = page.context["form"]
    assert "credential_account_sid" in form.errors
    assert 'value="nonsense"' in page.text
    missing = console("admin").post(url("install", "taqnyat-sms"), taqnyat(credential_bearer_token=""))
    assert "This field is required" in str(missing.context["form"].errors["credential_bearer_token"])


def test_an_empty_secret_field_keeps_the_secret(console: Any, installed: OrganizationApp):
    browser = console("admin")
    page = browser.get(url("change", installed.pk)).text
    assert SECRET not in page
    assert "Leave empty to keep it" in page
    browser.post(url("change", installed.pk), taqnyat(credential_bearer_token="", priority="7"))
    installed.refresh_from_db()
    assert installed.credentials["bearer_token"] == SECRET
    assert installed.priority == 7
    assert in_words(LogEntry.objects.latest("pk")) == "Changed: Priority."


def test_a_new_secret_replaces_the_old_and_is_not_logged(console: Any, installed: OrganizationApp):
    console("admin").post(url("change", installed.pk), taqnyat(credential_bearer_token="another-secret-token"))
    installed.refresh_from_db()
    assert installed.credentials["bearer_token"] == "another-secret-token"
    entry = LogEntry.objects.latest("pk")
    assert "Bearer token" in entry.change_message
    assert "another-secret-token" not in str(list(LogEntry.objects.values()))


def test_an_optional_secret_can_be_removed(console: Any, organization: Organization):
    credentials = {
        "account_sid": "AC" + "0" * 31 + "1", "auth_token": "a" * 32, "api_key_sid": "SK" + "0" * 32,
        "api_key_secret": "b" * 32, "from": "+15005550006",
    }  # fmt: skip
    app = installing.install(organization=organization, slug="twilio-sms", credentials=credentials)
    names = {"credential_account_sid": credentials["account_sid"], "credential_api_key_sid": credentials["api_key_sid"]}
    data = {**names, "credential_from": "+15005550006", "is_enabled": "on", "priority": "1"}
    console("admin").post(url("change", app.pk), {**data, "remove_auth_token": "on"})
    app.refresh_from_db()
    assert "auth_token" not in app.credentials
    assert app.credentials["api_key_secret"] == "b" * 32
    assert "Removed: Auth token." in [in_words(entry) for entry in LogEntry.objects.all()]


def test_viewers_see_which_credentials_are_set_and_no_value(console: Any, installed: OrganizationApp):
    page = console("viewer").get(url("change", installed.pk)).text
    assert "Bearer token" in page
    assert SECRET not in page
    assert "MyBrand" not in page
    assert "Uninstall" not in page


@responses.activate
def test_the_connection_is_tested_in_words(console: Any, organization: Organization):
    app = factories.install(organization, "mora-sms")
    page = console("admin").get(url("change", app.pk)).text
    assert "Test connection" in page
    for method in (responses.GET, responses.POST):
        responses.add(method, re.compile(r"https://.*"), json={"status": {"code": 401}}, status=401)
    answer = console("admin").post(url("test", app.pk), follow=True)
    (message,) = answer.context["messages"]
    assert message.level_tag == "error"
    assert "Mora" in message.message
    assert "test-key" not in answer.text
    assert in_words(LogEntry.objects.latest("pk")).startswith("Tested the connection: ")


def test_a_working_connection(console: Any, sandbox: OrganizationApp):
    browser = console("admin")
    answer = browser.post(url("test", sandbox.pk), follow=True)
    assert "The credentials work. Balance: 1000 messages." in answer.text
    assert in_words(LogEntry.objects.latest("pk")) == "Tested the connection: working."
    before = LogEntry.objects.count()
    browser.get(url("test", sandbox.pk))  # a link or a crawler tests nothing
    assert LogEntry.objects.count() == before


def test_uninstalling_asks_first_and_wipes_the_credentials(console: Any, installed: OrganizationApp):
    browser = console("admin")
    assert "credentials are wiped" in browser.get(url("uninstall", installed.pk)).text
    assert OrganizationApp.objects.installed().exists()
    answer = browser.post(url("uninstall", installed.pk), follow=True)
    installed.refresh_from_db()
    assert installed.uninstalled_at is not None
    assert installed.credentials == {}
    assert not answer.context["cl"].result_count  # hidden from the list
    assert "Uninstalled" in browser.get(reverse(LIST) + "?installed=no").text
    assert "Install it again" in browser.get(url("change", installed.pk)).text
    assert "Uninstalled" in in_words(LogEntry.objects.latest("pk"))
    # Installed again it is the same row.
    browser.post(url("install", "taqnyat-sms"), taqnyat())
    assert OrganizationApp.objects.get().uninstalled_at is None


def test_an_app_that_is_needed_says_why_it_stays(console: Any, sandbox: OrganizationApp, queued: Any):
    queued(pinned_app=sandbox)
    answer = console("admin").post(url("uninstall", sandbox.pk), follow=True)
    assert "still waiting" in answer.text
    sandbox.refresh_from_db()
    assert sandbox.uninstalled_at is None


def test_an_app_that_left_the_catalogue_can_still_be_seen_and_switched_off(
    console: Any, installed: OrganizationApp, settings: Any
):
    settings.SMS_PROVIDERS = ["sms_providers.adapters.sandbox.SandboxSms"]
    browser = console("admin")
    assert "not in the server" in browser.get(url("change", installed.pk)).text
    assert "Not in the catalogue" in browser.get(reverse(LIST)).text
    browser.post(url("change", installed.pk), {"priority": "1"})
    installed.refresh_from_db()
    assert not installed.is_enabled
    assert installed.credentials["bearer_token"] == SECRET
    assert browser.post(url("test", installed.pk)).status_code == 302
    assert console("operator").get(reverse("admin:send_one")).status_code == 200


def test_nothing_is_deleted(console: Any, installed: OrganizationApp):
    assert console("superuser").post(url("delete", installed.pk), {"post": "yes"}).status_code == 403
    assert OrganizationApp.objects.exists()


def test_a_superuser_chooses_the_organization(console: Any, other_organization: Organization):
    browser = console("superuser")
    assert "For the organization" in browser.get(url("add")).text
    where = f"?organization={other_organization.pk}"
    browser.post(url("install", "sandbox-sms") + where, {"is_enabled": "on", "priority": "1"})
    assert OrganizationApp.objects.get().organization == other_organization
    assert browser.get(url("add") + "?organization=x").status_code == 404


# --- how an installed app stands ---

DOWN = unavailable(message="Refused the connection.", reason="connection_failed")
IN_ARABIC = {"HTTP_ACCEPT_LANGUAGE": "ar"}


def pages_of(browser: Any, app: OrganizationApp) -> dict[str, str]:
    places = {"list": reverse(LIST), "page": url("change", app.pk), "cards": url("add")}
    return {name: browser.get(place).text for name, place in places.items()}


def test_the_circuit_is_shown_on_the_list_the_card_and_the_page(
    console: Any, installed: OrganizationApp, monkeypatch: pytest.MonkeyPatch
):
    browser, now = console("admin"), timezone.now()
    for text in pages_of(browser, installed).values():
        assert "Circuit open" not in text
    assert "Closed: messages go through it." in browser.get(url("change", installed.pk)).text
    circuits.note({installed.pk: [DOWN] * django_settings.PROVIDER_CIRCUIT_FAILURES})
    shown = pages_of(browser, installed)
    assert "Circuit open" in shown["list"]
    (until,) = circuits.not_closed().values()
    assert until > now
    for name in ("page", "cards"):
        assert "Open: it failed again and again" in shown[name], name
        assert f"{timezone.localtime(until, ZoneInfo('Asia/Riyadh')):%Y-%m-%d %H:%M}" in shown[name], name
    # Its pause is over: the next message tries it.
    monkeypatch.setattr(circuits, "not_closed", lambda: {installed.pk: now})
    shown = pages_of(browser, installed)
    assert "Circuit half open" in shown["list"]
    assert "the next message tries it" in shown["page"]
    assert "the next message tries it" in shown["cards"]


def test_the_circuit_of_one_that_is_switched_off_is_not_shown(console: Any, installed: OrganizationApp):
    circuits.note({installed.pk: [DOWN] * django_settings.PROVIDER_CIRCUIT_FAILURES})
    OrganizationApp.objects.update(is_enabled=False)
    for name, text in pages_of(console("admin"), installed).items():
        assert "Circuit open" not in text
        assert "Open: it failed" not in text
        assert "Switched off" in text or name == "page", name


def test_a_card_and_a_page_say_whether_it_has_worked_lately(
    console: Any, sandbox: OrganizationApp, send: Any, other_organization: Organization
):
    browser = console("admin")
    assert "It had none of the latest messages." in browser.get(url("change", sandbox.pk)).text
    send(factories.install(other_organization, "sandbox-sms"))
    for number in ("+966555555503", "+966555555509", factories.mobile(), factories.mobile()):
        log = send(sandbox, recipient=number)
    for page in (url("change", sandbox.pk), url("add")):
        text = browser.get(page).text
        counts = [f'<bdi dir="ltr">{count}</bdi>' for count in (2, 1, 1)]
        assert f"it sent {counts[0]}, {counts[1]} failed, and of {counts[2]} nobody knows" in text
        assert f"{timezone.localtime(log.sent_at, ZoneInfo('Asia/Riyadh')):%Y-%m-%d %H:%M}" in text


def test_whether_it_has_worked_costs_one_query_however_many_apps_there_are(
    organization: Organization, sandbox: OrganizationApp, send: Any, django_assert_num_queries: Any
):
    send(sandbox)
    with django_assert_num_queries(1):
        assert standing.lately(organization.pk)[sandbox.pk].sent == 1


def test_viewers_see_how_it_stands(console: Any, installed: OrganizationApp):
    page = console("viewer").get(url("change", installed.pk)).text
    assert "Has it worked lately?" in page
    assert "Closed: messages go through it." in page


def test_the_cards_are_in_the_navigation_of_whoever_may_install(console: Any, organization: Organization):
    for who, may in (("viewer", False), ("operator", False), ("admin", True), ("superuser", True)):
        page = console(who).get(reverse("admin:index")).text
        assert (f'href="{url("add")}">All apps' in page) is may, who


@responses.activate
def test_testing_remembers_what_is_left_at_the_provider(console: Any, organization: Organization):
    app = factories.install(organization, "mora-sms")
    body = {"status": {"code": 200}, "data": {"balance": 1520}}
    for method in (responses.GET, responses.POST):
        responses.add(method, re.compile(r"https://.*"), json=body)
    answer = console("admin").post(url("test", app.pk), follow=True)
    assert "The credentials work. Balance: 1520 points." in answer.text
    app.refresh_from_db()
    assert (app.balance, app.balance_unit) == (Decimal(1520), "points")
    assert "Balance at the provider" in answer.text
    # Installed anew it has another account.
    installing.uninstall(app=app)
    installing.install(organization=organization, slug="mora-sms", credentials=factories.CREDENTIALS["mora-sms"])
    app.refresh_from_db()
    assert app.balance is None


@responses.activate
def test_a_refused_test_is_explained_in_the_readers_language(console: Any, organization: Organization):
    app = factories.install(organization, "mora-sms")
    for method in (responses.GET, responses.POST):
        responses.add(method, re.compile(r"https://.*"), json={"status": {"code": 401}}, status=401)
    reason = REASONS["bad_credentials"]
    (english,) = console("admin").post(url("test", app.pk), follow=True).context["messages"]
    assert reason.next_step in english.message
    (arabic,) = console("admin").post(url("test", app.pk), follow=True, **IN_ARABIC).context["messages"]
    assert arabic.message == f"{reason.text_ar} {reason.next_step_ar}"


def test_what_changed_is_noted_in_english_whatever_the_reader_reads(console: Any, installed: OrganizationApp):
    data = taqnyat(credential_bearer_token="another-secret-token", priority="7", default_sender="Shop")
    console("admin").post(url("change", installed.pk), data, **IN_ARABIC)
    assert in_words(LogEntry.objects.latest("pk")) == "Changed: Bearer token, Default sender, Priority."
