"""Mistakes in pasted credentials, through the API: refused by field, nothing kept, no secret anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Api
from tests.factories import CREDENTIALS
from tests.pasted import SECRET, SLUGS, assert_nothing_is_left, mistakes, secret_field

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("slug", SLUGS)
def test_by_the_api(slug: str, api: Api, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("DEBUG"):
        for name, credentials in mistakes(slug):
            answer = api.post("/api/v1/apps", {"slug": slug, "credentials": credentials})
            body = answer.json()
            assert (answer.status_code, body["code"]) == (400, 400), credentials
            assert f"credentials.{name}" in body["details"], (name, body)
            assert "Nothing was saved" in body["error"]
            assert "Pasted" not in answer.text
    assert_nothing_is_left(caplog)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_change_that_is_refused_keeps_what_was_there(slug: str, api: Api, install: Any):
    app = install(slug)
    name = secret_field(slug)
    answer = api.patch(f"/api/v1/apps/{slug}", {"credentials": {name: f"{SECRET}\n"}, "priority": 3})
    assert (answer.status_code, f"credentials.{name}" in answer.json()["details"]) == (400, True)
    app.refresh_from_db()
    assert (app.credentials, app.priority) == (CREDENTIALS[slug], 100)
