"""What operators paste into the App Store: every kind of mistake, for every app."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from sms_providers import catalogue
from sms_providers.models import SANDBOX, OrganizationApp
from tests.factories import CREDENTIALS

SLUGS = [slug for slug in catalogue.adapters() if slug != SANDBOX]
SECRET = "Pasted-Secret-0123456789"


def secret_field(slug: str) -> str:
    """Return a secret field that every installation of this app has."""
    fields = catalogue.find(slug).credential_fields
    return next(field.name for field in fields if field.is_secret and field.name in CREDENTIALS[slug])


def mistakes(slug: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the field at fault and the credentials as they were pasted, for every kind of mistake."""
    good, name = CREDENTIALS[slug], secret_field(slug)
    pasted = [
        f" {SECRET}",
        f"{SECRET} ",
        f"{SECRET}\n",
        f"{SECRET}\r\nX-Evil: 1",
        f"\t{SECRET}",
        f"{SECRET[:9]} {SECRET[9:]}",
    ]
    pasted += [f"{SECRET}\u200f", f"\ufeff{SECRET}", f"“{SECRET}”", SECRET * 40]
    found = [(name, {**good, name: value}) for value in pasted]
    found += [("of_another_app", {**good, "of_another_app": SECRET})]
    for field in catalogue.find(slug).credential_fields:
        if field.is_required:
            found.append((field.name, {key: value for key, value in good.items() if key != field.name}))
        if field.name == "base_url":
            urls = ["https://10.1.2.3", "http://127.0.0.1:8000", "https://metadata.internal", "https://evil.example"]
            found += [("base_url", {**good, "base_url": url}) for url in urls]
    return found


def assert_nothing_is_left(caplog: pytest.LogCaptureFixture) -> None:
    assert not OrganizationApp.objects.exists()
    assert not LogEntry.objects.exists()
    assert "Pasted" not in caplog.text
