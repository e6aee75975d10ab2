"""API keys: the secret is shown once, and revoking asks first."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from linkit import audit, tokens
from linkit.models import ApiKey, AuditEntry, Organization
from tests.conftest import Api

pytestmark = pytest.mark.django_db

ADD, LIST = "admin:linkit_apikey_add", "admin:linkit_apikey_changelist"


def make(browser: Any, owner: Organization, **fields: Any) -> Any:
    data = {"organization": owner.pk, "name": "web shop", "scopes": ["read", "send"], **fields}
    return browser.post(reverse(ADD), data)


def secret_in(text: str) -> str:
    found = re.search(r"lk_(live|test)_[0-9A-Za-z]{40}", text)
    assert found
    return found[0]


def test_the_secret_is_shown_once(console: Any, organization: Organization, anonymous: Api):
    browser = console("admin")
    answer = make(browser, organization)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    secret = secret_in(answer.text)
    assert "/api/v1/sms/outbox" in answer.text
    assert anonymous.using(secret).get("/api/v1/auth/me").status_code == 200

    key = ApiKey.objects.get()
    assert (key.name, key.scopes, key.is_test) == ("web shop", ["read", "send"], False)
    assert key.user is not None
    for url in (
        reverse(LIST), reverse("admin:linkit_apikey_change", args=[key.pk]), reverse("admin:index"),
        reverse("admin:linkit_apikey_history", args=[key.pk]),
    ):  # fmt: skip
        assert secret not in browser.get(url).text
    assert not any(secret in cookie.value for cookie in browser.cookies.values())
    assert secret not in str(dict(browser.session))
    assert secret not in str(list(AuditEntry.objects.values()))
    assert audit.in_words(AuditEntry.objects.get()) == "Made a key (live, read, send)."


def test_a_test_key_and_a_narrow_key(console: Any, organization: Organization):
    browser = console("admin")
    assert secret_in(make(browser, organization, is_test="on").text).startswith("lk_test_")
    assert "/api/v1/auth/me" in make(browser, organization, scopes=["read"]).text


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""}, {"scopes": []}, {"scopes": ["keys"]}, {"name": "a\x00b"}, {"name": "x" * 121},
        {"expires_at": "2001-01-01T00:00"}, {"expires_at": "soon"}, {"organization": "x"},
    ],
)  # fmt: skip
def test_bad_input_makes_no_key(console: Any, organization: Organization, fields: Any):
    answer = make(console("admin"), organization, **fields)
    assert answer.status_code == 200
    assert "errornote" in answer.text
    assert not ApiKey.objects.exists()


def test_the_expiry_is_in_the_zone_of_the_page(console: Any, organization: Organization):
    make(console("admin"), organization, expires_at="2090-01-01T12:00")
    assert ApiKey.objects.get().expires_at == datetime(2090, 1, 1, 9, tzinfo=UTC)


def test_revoking_asks_first(console: Any, organization: Organization, anonymous: Api):
    browser = console("admin")
    secret = secret_in(make(browser, organization).text)
    key = ApiKey.objects.get()
    url = reverse("admin:linkit_apikey_revoke", args=[key.pk])
    assert "cannot be brought back" in browser.get(url).text
    assert anonymous.using(secret).get("/api/v1/auth/me").status_code == 200
    assert "are refused within a second." in browser.post(url, follow=True).text
    assert anonymous.using(secret).get("/api/v1/auth/me").status_code == 401
    assert "web shop" not in browser.get(reverse(LIST)).context["cl"].queryset.values_list("name", flat=True)
    assert "Revoked" in browser.get(reverse(LIST) + "?state=over").text
    trail = AuditEntry.objects.order_by("pk")
    assert [audit.in_words(entry) for entry in trail] == ["Made a key (live, read, send).", "Revoked."]
    browser.post(url)  # again changes nothing
    assert trail.count() == 2


def test_revoking_many_asks_first(console: Any, organization: Organization, other_organization: Organization):
    browser = console("admin")
    keys = [tokens.issue_api_key(organization=organization, name=f"k{n}", scopes=["read"])[0] for n in range(2)]
    foreign, _ = tokens.issue_api_key(organization=other_organization, name="theirs", scopes=["read"])
    data = {"action": "revoke_chosen", "_selected_action": [str(key.pk) for key in [*keys, foreign]]}
    asked = browser.post(reverse(LIST), data)
    assert asked.status_code == 200
    assert "k0" in asked.text
    assert "theirs" not in asked.text
    assert not ApiKey.objects.filter(revoked_at__isnull=False).exists()
    browser.post(reverse(LIST), {**data, "confirmed": "yes"})
    assert set(ApiKey.objects.filter(revoked_at__isnull=False)) == {ApiKey.objects.get(pk=key.pk) for key in keys}


def test_a_key_is_not_edited_or_deleted(console: Any, organization: Organization):
    key, _ = tokens.issue_api_key(organization=organization, name="k", scopes=["read"])
    browser = console("superuser")
    assert browser.post(reverse("admin:linkit_apikey_change", args=[key.pk]), {"name": "other"}).status_code == 403
    assert browser.post(reverse("admin:linkit_apikey_delete", args=[key.pk]), {"post": "yes"}).status_code == 403
    assert ApiKey.objects.get().name == "k"


def test_states_of_keys(console: Any, organization: Organization):
    past = timezone.now() - timedelta(days=1)
    tokens.issue_api_key(organization=organization, name="old one", scopes=["read"], expires_at=past)
    browser = console("admin")
    assert "old one" not in browser.get(reverse(LIST)).text
    assert "Expired" in browser.get(reverse(LIST) + "?state=all").text
