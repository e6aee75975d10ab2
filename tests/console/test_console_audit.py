"""The audit trail: each organization's administrators see their own, in their own language."""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection
from django.urls import reverse
from django.utils import translation
from django.utils.translation import trans_real

from billing.models import CreditAccount, Rate
from linkit import audit
from linkit.models import ApiKey, AuditEntry, Membership, Organization, Role
from tests import factories

pytestmark = pytest.mark.django_db

TRAIL = "admin:linkit_auditentry_changelist"


@pytest.fixture
def record(organization: Organization) -> Any:
    """Return a writer of entries: `record("Cancelled.")`, `record(text, {"count": 2}, owner=…)`."""
    person = factories.make_user(organization, role=Role.OPERATOR)

    def write(text: str, values: Any = None, *, owner: Organization | None = organization, **given: Any) -> AuditEntry:
        whose = owner.pk if owner else None
        audit.record(owner or person, text, user=person, organization_id=whose, values=values, **given)
        return AuditEntry.objects.latest("pk")

    return write


@pytest.fixture
def arabic() -> Iterator[None]:
    """The reader's language, with words of its own that no catalogue has."""
    catalogue: dict[str, str] = trans_real.translation("ar")._catalog._catalogs[0]  # type: ignore[attr-defined]
    words = {"Did %(what)s to %(name)s.": "فعل %(what)s إلى %(name)s.", "this": "هذا", "that": "ذلك", "price": "السعر"}
    catalogue.update(words)
    with translation.override("ar"):
        yield
    for word in words:
        del catalogue[word]


# --- who sees what ---


def test_administrators_see_their_own_organization(
    console: Any, record: Any, organization: Organization, other_organization: Organization
):
    record("Cancelled.")
    record("Uninstalled.", owner=other_organization)
    record("Closed the platform.", owner=None)
    pages = {who: console(who).get(reverse(TRAIL)) for who in ("viewer", "operator", "loner", "admin", "superuser")}
    pages["stranger"] = console("stranger").get(reverse(TRAIL))
    seen = {
        who: {text for text in ("Cancelled.", "Uninstalled.", "Closed the platform.") if text in page.text}
        for who, page in pages.items()
        if page.status_code == 200
    }
    assert seen == {
        "admin": {"Cancelled."},
        "stranger": {"Uninstalled."},
        "superuser": {"Cancelled.", "Uninstalled.", "Closed the platform."},
    }
    assert {page.status_code for who, page in pages.items() if who not in seen} == {403}


def test_one_entry_is_read_and_never_edited(console: Any, record: Any):
    entry = record("Did %(what)s to %(name)s.", {"what": ["this"], "name": "<b>"})
    url = reverse("admin:linkit_auditentry_change", args=[entry.pk])
    page = console("admin").get(url).text
    assert "Did this to &lt;b&gt;." in page
    assert '"text"' not in page
    for who in ("admin", "superuser"):
        assert console(who).post(url, {"change_message": "nothing"}).status_code == 403
        assert console(who).post(reverse("admin:linkit_auditentry_delete", args=[entry.pk])).status_code == 403
    assert console("stranger").get(url).status_code == 302
    assert audit.in_words(AuditEntry.objects.get()) == "Did this to <b>."


def test_the_trail_is_searched_and_filtered(console: Any, record: Any, other_organization: Organization):
    record("Cancelled.", name="an order")
    record("Uninstalled.", owner=other_organization)
    browser = console("superuser")
    for query, count in [("q=order", 1), ("q=nobody", 0), (f"organization={other_organization.pk}", 1), ("", 2)]:
        assert browser.get(reverse(TRAIL) + f"?{query}").context["cl"].result_count == count, query


def test_an_empty_trail_says_so(console: Any):
    assert "Nothing has been done in the console yet." in console("admin").get(reverse(TRAIL)).text


# --- words ---


def test_an_entry_is_in_the_readers_language(record: Any, arabic: None):
    entry = record("Did %(what)s to %(name)s.", {"what": ["this", "that"], "name": "this"})
    joined = translation.gettext(", ").join(["هذا", "ذلك"])
    assert audit.in_words(entry) == f"فعل {joined} إلى this.", "a scalar is somebody's own word"
    with translation.override("en"):
        assert audit.in_words(entry) == "Did this, that to this."


@pytest.mark.parametrize(
    "typed", ["100% %(name)s %s", '{"text": "x", "values": {}}', '[{"added": {}}]', "{0.__class__}", "\u202e<b>", ""]
)
def test_what_a_person_typed_is_harmless(console: Any, record: Any, typed: str):
    entry = record("Did %(what)s to %(name)s.", {"what": ["this"], "name": typed}, name=typed or "-")
    assert audit.in_words(entry) == f"Did this to {typed}."
    page = console("admin").get(reverse(TRAIL))
    assert page.status_code == 200
    assert "<b>" not in page.text


def test_entries_of_the_stock_forms_are_translated_with_their_fields(arabic: None, organization: Organization):
    with translation.override("ar"):
        rate = Rate.objects.create(organization=organization, price="2", valid_from=date(2090, 1, 1))
        audit.record_stock(
            rate, [{"changed": {"fields": ["Price"]}}], user=factories.make_user(), organization_id=None, flag=CHANGE
        )
    entry = AuditEntry.objects.get()
    assert "السعر" in audit.in_words(entry)
    assert entry.object_repr == "every number: 2", "what is stored is in English, whoever wrote it"
    with translation.override("en"):
        assert audit.in_words(entry) == "Changed Price."


@pytest.mark.parametrize("old", ["Topped up by 5 credits.", "", "[not json", "{}"])
def test_an_entry_of_before_is_read_as_it_is(record: Any, old: str):
    entry = record("x")
    entry.change_message = old
    assert audit.in_words(entry) == old


def test_the_trail_of_before_is_kept(console: Any, organization: Organization):
    person = factories.make_user(is_staff=True)
    LogEntry.objects.create(
        user_id=str(person.pk), object_id="1", object_repr="old", action_flag=CHANGE, change_message="Done long ago."
    )
    assert not AuditEntry.objects.exists()
    migration = importlib.import_module("linkit.migrations.0003_keep_the_old_trail").Migration
    with connection.cursor() as cursor:
        cursor.execute(migration.operations[0].sql)
    assert "Done long ago." in console("superuser").get(reverse(TRAIL)).text
    assert "Done long ago." not in console("admin").get(reverse(TRAIL)).text


# --- what is noted ---


def trail() -> list[tuple[str | None, str]]:
    """Return whose entries there are and what they say, and forget them."""
    entries = AuditEntry.objects.select_related("organization").order_by("pk")
    found = [(entry.organization.name if entry.organization else None, audit.in_words(entry)) for entry in entries]
    AuditEntry.objects.all().delete()
    return found


def _send(browser: Any, url: str, **data: Any) -> None:
    answer = browser.post(url, data)
    assert answer.status_code in (200, 302), answer.status_code
    assert "errornote" not in answer.text, answer.text


def test_organizations_and_memberships_are_noted(console: Any, organization: Organization):
    admin, root = console("admin"), console("superuser")
    settings_url = reverse("admin:linkit_organization_change", args=[organization.pk])
    _send(admin, settings_url, default_region="EG", time_zone="Africa/Cairo")
    assert trail() == [("Acme", "Changed Default region and Time zone.")]

    person = factories.make_user(is_staff=True)
    given = {"user": person.pk, "organization": organization.pk, "role": "viewer"}
    _send(root, reverse("admin:linkit_membership_add"), **given)
    member = Membership.objects.get(user=person)
    _send(root, reverse("admin:linkit_membership_change", args=[member.pk]), **{**given, "role": "admin"})
    _send(root, reverse("admin:linkit_membership_delete", args=[member.pk]), post="yes")
    assert trail() == [("Acme", "Added."), ("Acme", "Changed Role."), ("Acme", "Deleted.")]


def test_people_are_noted_without_an_organization(console: Any):
    password = "quite a long passphrase"
    inline = {
        f"memberships-{name}": number
        for name, number in [("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0), ("MIN_NUM_FORMS", 0), ("MAX_NUM_FORMS", 9)]
    }
    given = {"email": "new@example.com", "name": "New", "password1": password, "password2": password}
    _send(console("superuser"), reverse("admin:linkit_user_add"), **given, **inline)
    assert trail() == [(None, "Added.")]
    assert password not in str(list(LogEntry.objects.values()))


def test_keys_are_noted(console: Any, organization: Organization):
    admin = console("admin")
    _send(admin, reverse("admin:linkit_apikey_add"), organization=organization.pk, name="shop", scopes=["read"])
    key = ApiKey.objects.get()
    _send(admin, reverse("admin:linkit_apikey_revoke", args=[key.pk]))
    history = admin.get(reverse("admin:linkit_apikey_history", args=[key.pk])).text
    assert "Made a key (live, read)." in history
    assert trail() == [("Acme", "Made a key (live, read)."), ("Acme", "Revoked.")]


def test_credits_are_noted_for_their_account(console: Any, organization: Organization):
    root = console("superuser")
    once = {"once": str(uuid.uuid4()), "confirmed": "yes", "amount": "5", "description": "Invoice 9"}
    _send(root, reverse("admin:billing_creditaccount_add"), **once, organization=organization.pk)
    url = reverse("admin:billing_creditaccount_adjust", args=[organization.pk])
    _send(root, url, **{**once, "once": str(uuid.uuid4()), "amount": "-1"})
    _send(root, url, once=str(uuid.uuid4()), amount="-1", description="only asked")
    alerts = reverse("admin:billing_creditaccount_alerts", args=[organization.pk])
    _send(console("admin"), alerts, threshold_0="7")
    account = reverse("admin:billing_creditaccount_history", args=[CreditAccount.objects.get().pk])
    assert "Invoice 9" in console("viewer").get(account).text
    assert trail() == [
        ("Acme", "Topped up by 5 credits: Invoice 9"),
        ("Acme", "Adjusted by -1 credits: Invoice 9"),
        ("Acme", "No alert below 100, 20 any more."),
        ("Acme", "Alert below 7."),
    ]


def test_rates_are_noted_for_their_organization_or_for_none(console: Any, organization: Organization):
    root = console("superuser")
    for owner in (organization.pk, ""):
        given = {"organization": owner, "prefix": "966", "price": "2", "valid_from": "2090-01-01"}
        _send(root, reverse("admin:billing_rate_add"), **given)
    for rate in Rate.objects.order_by("pk"):
        _send(root, reverse("admin:billing_rate_delete", args=[rate.pk]), post="yes")
    assert trail() == [("Acme", "Added."), (None, "Added."), ("Acme", "Deleted."), (None, "Deleted.")]


def test_a_note_keeps_its_gaps(record: Any):
    entry = record("Did %(what)s to %(name)s.", {"what": ["this"], "name": "x"})
    assert json.loads(entry.change_message) == {
        "text": "Did %(what)s to %(name)s.", "values": {"what": ["this"], "name": "x"},
    }  # fmt: skip


def test_the_trail_outlives_the_organization(console: Any):
    empty = factories.make_organization("Empty")
    browser = console("superuser")
    browser.post(reverse("admin:linkit_organization_delete", args=[empty.pk]), {"post": "yes"})
    assert not Organization.objects.filter(pk=empty.pk).exists()
    assert "Empty" in browser.get(reverse("admin:linkit_auditentry_changelist")).text
