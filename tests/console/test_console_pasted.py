"""Mistakes in pasted credentials, in the console's form: refused by field, nothing kept, no secret anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from tests.pasted import SLUGS, assert_nothing_is_left, mistakes

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
