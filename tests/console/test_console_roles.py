"""Every page of the console with every role: who may open it, who may send it, and no button that would say no.

The pages come from the URLs themselves, so a page without a row in `PAGES` fails.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from html.parser import HTMLParser
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import Resolver404, URLPattern, URLResolver, resolve, reverse

from billing.models import CreditTransaction, Rate
from contacts import attributes
from contacts.models import AttributeType, Audience, SmsProgram
from linkit import audit
from linkit.models import ApiKey, AuditEntry, Membership, Organization
from sms_providers.models import OrganizationApp, SandboxDelivery
from tests import factories
from tests.console.conftest import bulk_job

pytestmark = pytest.mark.django_db

ROLES = ["viewer", "operator", "admin", "superuser"]
OUTSIDERS = ["stranger", "loner"]  # the administrator of another organization; somebody without one
NOBODY = "nobody"

# Who opens a page, and who may send what its forms send: that role and those after it. Rows of pages that are there
# for every model are put together below.
PAGES: dict[str, tuple[str, str]] = {
    "app_list": ("viewer", "viewer"),
    "linkit_apikey_revoke": ("admin", "admin"),
    "auth_user_password_change": ("superuser", "superuser"),
    "billing_creditaccount_adjust": ("superuser", "superuser"),
    "billing_creditaccount_alerts": ("admin", "admin"),
    "billing_credittransaction_export": ("viewer", "viewer"),
    "sms_providers_organizationapp_install": ("admin", "admin"),
    "sms_providers_organizationapp_test": ("admin", "admin"),
    "sms_providers_organizationapp_uninstall": ("admin", "admin"),
    "sms_providers_smslog_settle_sent": ("operator", "operator"),
    "sms_providers_smslog_settle_unsent": ("operator", "operator"),
    "usage": ("viewer", "viewer"),
    "usage_export": ("viewer", "viewer"),
    "send_one": ("operator", "operator"),
    "send_one_cost": (NOBODY, "operator"),
    "send_one_senders": ("operator", NOBODY),
    "send_file": ("operator", "operator"),
    "outbox_bulkjob_progress": ("viewer", "viewer"),
    "outbox_bulkjob_errors": ("viewer", "viewer"),
    "outbox_bulkjob_pause": ("operator", "operator"),
    "outbox_bulkjob_resume": ("operator", "operator"),
    "outbox_bulkjob_stop": ("operator", "operator"),
    "outbox_bulkjob_retry": ("operator", "operator"),
    **{f"outbox_message_{act}": ("operator", "operator") for act in ("cancel", "requeue", "sent", "again")},
    **{f"outbox_message_chosen_{act}": ("operator", "operator") for act in ("cancel", "requeue", "sent", "again")},
    "contacts_contact_send": ("operator", "operator"),
    "contacts_contact_import": ("operator", "operator"),
    "contacts_contact_process_import": ("operator", "operator"),
    "contacts_contact_export": ("viewer", "viewer"),
    "contacts_smsprogram_progress": ("viewer", "viewer"),
    **{f"contacts_smsprogram_{act}": ("admin", "admin") for act in ("edit", "remove", "launch", "resume", "cancel")},
}
# Of each model: who sees its list and a row, who adds, who changes, who deletes, who uses the list's actions.
MODELS = {
    "linkit_organization": ("viewer", "superuser", "admin", "superuser", NOBODY),
    "linkit_user": ("superuser", "superuser", "superuser", NOBODY, NOBODY),
    "linkit_membership": ("superuser", "superuser", "superuser", "superuser", NOBODY),
    "linkit_apikey": ("admin", "admin", NOBODY, NOBODY, "admin"),
    "linkit_auditentry": ("admin", NOBODY, NOBODY, NOBODY, NOBODY),
    "billing_creditaccount": ("viewer", "superuser", NOBODY, NOBODY, NOBODY),
    "billing_credittransaction": ("viewer", NOBODY, NOBODY, NOBODY, NOBODY),
    "billing_rate": ("viewer", "superuser", "superuser", "superuser", NOBODY),
    "sms_providers_organizationapp": ("viewer", "admin", "admin", NOBODY, NOBODY),
    "sms_providers_smslog": ("viewer", NOBODY, NOBODY, NOBODY, NOBODY),
    "sms_providers_sandboxdelivery": ("viewer", NOBODY, NOBODY, NOBODY, NOBODY),
    "sms_providers_senderid": ("viewer", "admin", "admin", "admin", NOBODY),
    "outbox_bulkjob": ("viewer", NOBODY, NOBODY, NOBODY, NOBODY),
    "outbox_message": ("viewer", NOBODY, NOBODY, NOBODY, "operator"),
    "contacts_contact": ("viewer", "operator", "operator", "operator", "operator"),
    "contacts_audience": ("viewer", "operator", "operator", "operator", NOBODY),
    "contacts_customattribute": ("viewer", "operator", "operator", "operator", NOBODY),
    "contacts_smsprogram": ("viewer", "admin", NOBODY, NOBODY, NOBODY),
}
for _model, (_sees, _adds, _changes, _deletes, _acts) in MODELS.items():
    PAGES[f"{_model}_changelist"] = (_sees, _acts)
    PAGES[f"{_model}_add"] = (_adds, _adds)
    PAGES[f"{_model}_change"] = (_sees, _changes)
    PAGES[f"{_model}_delete"] = (_deletes, _deletes)
    PAGES[f"{_model}_history"] = (_sees, _sees)
# Of a file that is checked and not sent yet: its maker's alone (tests/console/test_console_bulk.py).
DRAFTS = {"send_file_check", "send_file_errors"}
# Everybody's, also of those who are logged in and belong nowhere.
COMMON = {"index", "login", "logout", "password_change", "password_change_done", "jsi18n"}
# Stock pages that nothing leads to: they answer everybody alike.
UNUSED = {"autocomplete": 403, "view_on_site": 404}


def patterns(found: Iterable[URLPattern | URLResolver] = (), before: str = "") -> Iterator[URLPattern]:
    for each in found or admin.site.get_urls():
        if isinstance(each, URLResolver):
            yield from patterns(each.url_patterns, before)
        else:
            yield each


def names() -> set[str]:
    return {pattern.name for pattern in patterns() if pattern.name}


def may(who: str, needed: str) -> bool:
    return needed != NOBODY and ROLES.index(who) >= ROLES.index(needed)


@pytest.fixture
def rows(organization: Organization, sandbox: OrganizationApp, send: Any, queued: Any, api_key: Any) -> dict[str, Any]:
    """One row of `organization` of every model, in a state in which there is much to do with it."""
    api_key()
    factories.top_up(organization, "100")
    sandbox.is_metered = True
    sandbox.save()
    unknown = send(sandbox, recipient="+966555555509")
    send(sandbox)
    contact = factories.make_contact(organization, factories.mobile(), first_name="Sara")
    audience = Audience.objects.create(organization=organization, name="Customers")
    audience.contacts.set([contact])
    sender = factories.make_sender(organization, sandbox)
    person = factories.make_user(organization, is_staff=True)
    audit.record(sandbox, "Installed.", user=person, organization_id=organization.pk)
    return {
        "linkit_organization": organization,
        "linkit_user": person,
        "auth_user": person,
        "linkit_membership": Membership.objects.get(user=person),
        "linkit_apikey": ApiKey.objects.get(organization=organization),
        "linkit_auditentry": AuditEntry.objects.get(),
        "billing_creditaccount": organization,
        "billing_credittransaction": CreditTransaction.objects.first(),
        "billing_rate": Rate.objects.create(organization=organization, price="2", valid_from=date(2090, 1, 1)),
        "sms_providers_organizationapp": sandbox,
        "sms_providers_smslog": unknown,
        "sms_providers_sandboxdelivery": SandboxDelivery.objects.first(),
        "sms_providers_senderid": sender,
        "outbox_bulkjob": bulk_job(sandbox),
        "outbox_message": queued(),
        "contacts_contact": contact,
        "contacts_audience": audience,
        "contacts_customattribute": attributes.create(
            organization=organization, display_name="Age", type=AttributeType.NUMBER
        ),
        "contacts_smsprogram": SmsProgram.objects.create(
            organization=organization, name="Sale", audience=audience, sender=sender, template="Hello"
        ),
    }


class Addresses(NamedTuple):
    """Where a page is, and where it is for a row that nobody has."""

    url: str
    missing: str = ""  # of a page that is not about one row
    data: Mapping[str, object] = MappingProxyType({})  # without which it has nothing to say


_NO_ROW = {int: 987654321, uuid.UUID: uuid.UUID(int=0), str: "r00000000000000"}


@pytest.fixture
def pages(rows: dict[str, Any]) -> dict[str, Addresses]:
    """Every page by name."""
    found = {}
    for pattern in patterns():
        name = pattern.name
        if name not in PAGES:
            continue
        if "<" not in str(pattern.pattern):
            chosen = {"organization": rows["linkit_organization"].pk, "app": rows["sms_providers_organizationapp"].pk}
            found[name] = Addresses(reverse(f"admin:{name}"), data=chosen if name.startswith("send_one") else {})
        elif name in _NAMED:
            found[name] = Addresses(reverse(f"admin:{name}", args=[_NAMED[name]]))
        else:
            pk = next(row.pk for model, row in rows.items() if name.startswith(f"{model}_"))
            here, missing = (reverse(f"admin:{name}", args=[key]) for key in (pk, _NO_ROW[type(pk)]))
            found[name] = Addresses(here, missing)
    return found


_NAMED = {"app_list": "linkit", "sms_providers_organizationapp_install": "mora-sms"}


def ask(browser: Client, method: str, url: str, data: Mapping[str, object] = MappingProxyType({})) -> Any:
    """Send a request whose traces in the database are wiped."""
    with transaction.atomic():
        answer = getattr(browser, method)(url, dict(data))
        transaction.set_rollback(True)
    return answer


def test_every_page_has_a_row_in_the_table():
    assert sorted(names() - PAGES.keys() - COMMON - DRAFTS - UNUSED.keys()) == [], "say who may open these"
    assert sorted(PAGES.keys() - names()) == [], "there are no such pages"


@pytest.mark.parametrize("method", ["get", "post"])
def test_members_open_and_send_what_their_role_allows(console: Any, pages: dict[str, Addresses], method: str):
    wrong = []
    for who in ROLES:
        browser = console(who)
        for name, page in pages.items():
            answer = ask(browser, method, page.url, page.data)
            is_refused = answer.status_code in (403, 404, 405)
            if answer.status_code == 302 and page.missing:
                other = ask(browser, method, page.missing)
                is_refused = (other.status_code, other.get("Location")) == (302, answer["Location"])
            if answer.status_code >= 500 or is_refused == may(who, PAGES[name][method == "post"]):
                wrong.append((who, name, answer.status_code, answer.get("Location")))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("who", OUTSIDERS)
def test_to_others_a_row_is_like_a_missing_one(console: Any, pages: dict[str, Addresses], who: str, method: str):
    browser = console(who)
    for name, page in pages.items():
        answer = ask(browser, method, page.url, page.data)
        if page.missing:
            other = ask(browser, method, page.missing)
            assert (answer.status_code, answer.get("Location")) == (other.status_code, other.get("Location")), name
            assert answer.status_code in (302, 403, 404, 405), name
        elif who == "loner":
            assert answer.status_code in (403, 404, 405), name


@pytest.mark.parametrize("who", [*ROLES, *OUTSIDERS])
def test_pages_of_the_frame_open_for_all(console: Any, who: str):
    browser = console(who)
    for name in COMMON - {"login", "logout"}:
        assert browser.get(reverse(f"admin:{name}")).status_code == 200, name
    assert browser.get(reverse("admin:autocomplete")).status_code == UNUSED["autocomplete"]
    assert browser.get(reverse("admin:view_on_site", args=["1", "1"])).status_code == UNUSED["view_on_site"]


def test_nobody_gets_in_without_logging_in(client: Client, pages: dict[str, Addresses]):
    for name, page in pages.items():
        for method in ("get", "post"):
            answer = ask(client, method, page.url)
            assert (answer.status_code, answer["Location"].split("?")[0]) == (302, reverse("admin:login")), name


class _Ways(HTMLParser):
    """Where a page leads: links, and forms with their methods."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.form = url, {"method": "", "action": ""}
        self.found: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and given.get("href"):
            self.found.add(("get", urljoin(self.url, given["href"])))
        elif tag == "form":
            self.form = {"method": given.get("method", "get").lower(), "action": given.get("action", "")}
        elif given.get("type", "submit" if tag == "button" else "") == "submit":
            method = given.get("formmethod", self.form["method"]).lower()
            self.found.add((method, urljoin(self.url, given.get("formaction", self.form["action"]))))


@pytest.mark.parametrize("who", ROLES)
def test_no_page_leads_where_the_role_may_not_go(console: Any, pages: dict[str, Addresses], who: str):
    browser, wrong = console(who), []
    known = {page.url for page in pages.values()}
    for url in (reverse("admin:index"), *(pages[name].url for name in pages if may(who, PAGES[name][0]))):
        answer = ask(browser, "get", url)
        if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
            continue
        assert answer["Content-Security-Policy"] == settings.CONTENT_SECURITY_POLICY
        for forbidden in ("<style", " style=", " onclick=", "<script>", "http://cdn", "https://cdn"):
            assert forbidden not in answer.text, (url, forbidden)
        ways = _Ways(url)
        ways.feed(answer.text)
        for method, way in ways.found:
            path = urlsplit(way).path
            name = _name_of(path)
            if name in PAGES and not may(who, PAGES[name][method == "post"]):
                wrong.append((who, url, method, way))
            elif method == "get" and path.startswith("/admin/") and path not in known and name != "logout":
                known.add(path)
                if ask(browser, "get", way).status_code not in (200, 302):
                    wrong.append((who, url, method, way))
    assert not wrong, "\n".join(map(str, wrong))


def _name_of(path: str) -> str:
    try:
        return resolve(path).url_name or ""
    except Resolver404:
        return ""


def test_a_page_of_nobodys_is_not_found(console: Any):
    for url in ("/admin/nothing/", "/admin/linkit/nothing/", "/admin/linkit/token/"):
        assert console("superuser").get(url).status_code == 404
        assert console("viewer").get(url).status_code == 404


def test_the_table_knows_every_model(rows: dict[str, Any]):
    models = {f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry}
    assert models == MODELS.keys()
