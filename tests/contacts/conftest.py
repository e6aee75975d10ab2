"""What tests of the contact API share: answers in its shapes, and contacts, attributes and audiences over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from linkit.models import Organization
from sms_providers.models import OrganizationApp, SenderId
from tests import factories
from tests.conftest import Api

CONTACT = "/api/contact"
UPSERT = "/api/contact/upsert"
ATTRIBUTES = "/api/custom-attributes"
AUDIENCE = "/api/audience"
NOBODY = "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10"  # an id that no row has


@pytest.fixture
def sandbox(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("sandbox-sms")


@pytest.fixture
def sender(organization: Organization, sandbox: OrganizationApp) -> SenderId:
    return factories.make_sender(organization, sandbox)


def assert_error(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert {"statusCode", "error", "message", "code", "timestamp", "path"} <= set(body)
    assert body["statusCode"] == status
    assert body["error"].endswith("Exception")
    return body


def fields_of(response: Any) -> set[str]:
    """Return the names of the fields that a 400 complains about."""
    return set(assert_error(response, 400)["fieldErrors"])


def answered(response: Any, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    return body


def make(api: Api, **fields: Any) -> dict[str, Any]:
    """Create a contact, with a number of its own unless one is given."""
    return answered(api.post(CONTACT, {"primaryPhone": factories.mobile(), **fields}), 201)


def make_attribute(api: Api, name: str, type: str = "text") -> dict[str, Any]:
    return answered(api.post(ATTRIBUTES, {"displayName": name, "type": type}), 201)


def make_audience(api: Api, *contacts: dict[str, Any], name: str = "") -> dict[str, Any]:
    ids = [contact["id"] for contact in contacts]
    return answered(api.post(AUDIENCE, {"name": name or f"List {uuid4()}", "contactIds": ids}), 201)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Return what these calls do when threads make them at the same moment, in no order."""
    results: list[Any] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        start.wait()
        try:
            results.append(call())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def stranger(anonymous: Api, api_key: Callable[..., str], other_organization: Organization) -> Api:
    """A client of another organization."""
    return anonymous.using(api_key(organization=other_organization))


@pytest.fixture
def reader(anonymous: Api, api_key: Callable[..., str]) -> Api:
    """A client that may only read."""
    return anonymous.using(api_key(scopes=("read",)))
