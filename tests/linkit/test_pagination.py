"""Lists of v1: pages, limits, order, and how far rows are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from linkit import pagination
from linkit.models import Organization
from outbox.models import Message
from sms_providers.models import OrganizationApp
from tests.conftest import Api

OUTBOX = "/api/v1/sms/outbox"


def make(organization: Organization, count: int) -> list[str]:
    """Queue `count` messages a second apart and return their ids, newest first."""
    begin = timezone.now() - timedelta(days=1)
    rows = [
        Message(
            id=f"r{number:014d}",
            organization=organization,
            recipient="+966501234567",
            text="x",
            encoding="GSM-7",
            segment_count=1,
            next_attempt_at=begin,
            expires_at=begin + timedelta(days=3),
            created_at=begin + timedelta(seconds=number),
        )
        for number in range(count)
    ]
    Message.objects.bulk_create(rows)
    return [row.pk for row in reversed(rows)]


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["data"]]


def pages(api: Api, **query: Any) -> Iterator[list[str]]:
    """Walk all pages as `has_next` says."""
    page = 1
    while True:
        response = api.get(OUTBOX, {**query, "page": page})
        yield ids(response)
        if not response.json()["has_next"]:
            return
        page += 1


def test_an_empty_list(api: Api):
    assert api.get(OUTBOX).json() == {
        "data": [],
        "count": 0,
        "total_count": 0,
        "page": 1,
        "limit": 20,
        "has_next": False,
        "meta": {},
    }


def test_twenty_rows_unless_more_are_asked_for(api: Api, organization: Organization):
    newest_first = make(organization, 45)
    body = api.get(OUTBOX).json()
    assert [row["id"] for row in body["data"]] == newest_first[:20]
    assert (body["count"], body["total_count"], body["page"], body["limit"]) == (20, 45, 1, 20)
    assert body["has_next"] is True
    assert body["meta"] == {}
    last = api.get(OUTBOX, {"page": 3}).json()
    assert (last["count"], last["total_count"], last["has_next"]) == (5, 45, False)


@pytest.mark.parametrize("limit", [1, 7, 15, 44, 45, 46])
def test_the_pages_together_are_the_list(api: Api, organization: Organization, limit: int):
    newest_first = make(organization, 45)
    found = list(pages(api, limit=limit))
    assert [each for page in found for each in page] == newest_first
    assert all(len(page) == limit for page in found[:-1])


def test_a_full_last_page_has_no_next(api: Api, organization: Organization):
    make(organization, 40)
    assert api.get(OUTBOX, {"page": 2}).json()["has_next"] is False


@pytest.mark.parametrize("limit", [100, 101, 1000, 100_000])
def test_no_more_than_a_hundred_at_once(api: Api, organization: Organization, limit: int):
    make(organization, 105)
    body = api.get(OUTBOX, {"limit": limit}).json()
    assert (body["count"], body["limit"], body["has_next"]) == (100, 100, True)


def test_a_page_past_the_end_is_empty(api: Api, organization: Organization):
    make(organization, 3)
    body = api.get(OUTBOX, {"page": 100_000, "limit": 100}).json()
    assert (body["data"], body["total_count"], body["page"], body["has_next"]) == ([], 3, 100_000, False)


@pytest.mark.parametrize("name", ["page", "limit"])
@pytest.mark.parametrize(
    "value", ["0", "-1", "1.5", "x", "1e3", " 1 x", "٣", "²", "0x10", "9" * 30, "%00", "null", "+1"]
)
def test_what_is_no_number_is_400(api: Api, name: str, value: str):
    response = api.get(f"{OUTBOX}?{name}={value}")
    assert response.status_code == 400
    assert name in response.json()["details"]


@pytest.mark.parametrize("name", ["page", "limit", "sort"])
def test_an_empty_parameter_is_none(api: Api, name: str):
    assert api.get(f"{OUTBOX}?{name}=").status_code == 200


def test_sorting_both_ways(api: Api, organization: Organization):
    newest_first = make(organization, 5)
    assert ids(api.get(OUTBOX, {"sort": "-created"})) == newest_first
    assert ids(api.get(OUTBOX, {"sort": "created"})) == newest_first[::-1]


@pytest.mark.parametrize(
    "sort",
    ["text", "-text", "--created", "-", "organization__name", "created,id", "?", "created_at", "pk", "\x00", "CREATED"],
)
def test_an_unknown_order_is_400(api: Api, sort: str):
    response = api.get(OUTBOX, {"sort": sort})
    assert response.status_code == 400
    assert "sort" in response.json()["details"]


def test_rows_of_the_same_moment_have_one_order(api: Api, organization: Organization):
    make(organization, 30)
    Message.objects.update(created_at=timezone.now())
    found = [each for page in pages(api, limit=7, sort="created") for each in page]
    assert len(set(found)) == len(found) == 30


def test_counting_ends_somewhere(api: Api, organization: Organization, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pagination, "COUNT_CAP", 10)
    make(organization, 10)
    body = api.get(OUTBOX, {"limit": 3}).json()
    assert (body["total_count"], body["meta"]) == (10, {})
    Message.objects.all().delete()
    make(organization, 25)
    body = api.get(OUTBOX, {"limit": 3, "page": 2}).json()
    assert (body["total_count"], body["meta"], body["has_next"]) == (10, {"total_is_capped": True}, True)
    found = [each for page in pages(api, limit=10) for each in page]
    assert len(found) == 25


def test_the_count_is_exact_up_to_ten_thousand():
    assert pagination.COUNT_CAP == 10_000


def test_apps_are_listed_in_the_order_in_which_they_are_tried(
    api: Api, organization: Organization, install: Callable[..., OrganizationApp]
):
    first = install("mora-sms")
    install("taqnyat-sms")
    install("sandbox-sms", priority=1)
    OrganizationApp.objects.update(installed_at=timezone.now())
    # Installed again, it keeps its id and goes to the end of its priority.
    OrganizationApp.objects.filter(pk=first.pk).update(installed_at=timezone.now() + timedelta(minutes=1))
    tried = [app.slug for app in OrganizationApp.objects.usable()]
    assert tried == ["sandbox-sms", "taqnyat-sms", "mora-sms"]
    assert [app["slug"] for app in api.get("/api/v1/apps").json()["data"]] == tried
    assert [app["slug"] for app in api.get("/api/v1/apps?sort=-priority").json()["data"]] == tried[::-1]


@pytest.mark.parametrize("url", ["/api/v1/apps", "/api/v1/app-store", OUTBOX, "/api/v1/sms/logs"])
def test_every_list_has_the_same_shape(api: Api, url: str):
    body = api.get(url).json()
    assert list(body) == ["data", "count", "total_count", "page", "limit", "has_next", "meta"]
    assert isinstance(body["data"], list)
    assert body["count"] == len(body["data"])
