"""Mistakes in pasted credentials, in the console's form: refused by field, nothing kept, no secret anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from sms_providers.models import OrganizationApp
from tests.factories import CREDENTIALS
from tests.pasted import SECRET, SLUGS, assert_nothing_is_left, mistakes, secret_field

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("slug", SLUGS)
def test_by_the_console(slug: str, console: Any, caplog: pytest.LogCaptureFixture):
    browser = console("admin")
    url = reverse("admin:sms_providers_organizationapp_install", args=[slug])
    with caplog.at_level("DEBUG"):
        for name, credentials in mistakes(slug):
            if name == "of_another_app":
                continue  # a form has no place for it
            given = {f"credential_{field}": value for field, value in credentials.items()}
            page = browser.post(url, {**given, "is_enabled": "on", "priority": "1"})
            assert page.status_code == 200, credentials
            assert f"credential_{name}" in page.context["form"].errors
            assert "Pasted" not in page.text
    assert_nothing_is_left(caplog)


@pytest.mark.parametrize("slug", SLUGS)
def test_on_a_change_nothing_is_kept_and_the_history_has_no_secret(
    slug: str, console: Any, install: Any, caplog: pytest.LogCaptureFixture
):
    app = install(slug)
    browser = console("admin")
    url = reverse("admin:sms_providers_organizationapp_change", args=[app.pk])
    field = secret_field(slug)
    given = {f"credential_{name}": value for name, value in CREDENTIALS[slug].items()}
    with caplog.at_level("DEBUG"):
        for value in (f"{SECRET}\n", f" {SECRET}", f"{SECRET[:9]} {SECRET[9:]}", f"{SECRET}\u200f"):
            changed = {**given, f"credential_{field}": value, "is_enabled": "on", "priority": "1"}
            page = browser.post(url, changed)
            assert f"credential_{field}" in page.context["form"].errors
            assert "Pasted" not in page.text
    assert not LogEntry.objects.exists()
    browser.post(url, {**given, f"credential_{field}": SECRET, "is_enabled": "on", "priority": "1"})
    entries = list(LogEntry.objects.values())
    app = OrganizationApp.objects.get(pk=app.pk)
    is_taken = app.credentials[field] == SECRET  # Twilio's and others' own patterns may want another
    assert len(entries) == is_taken
    assert "Pasted" not in str(entries)
    assert "Pasted" not in caplog.text
    history = reverse("admin:sms_providers_organizationapp_history", args=[app.pk])
    assert "Pasted" not in browser.get(history).text
