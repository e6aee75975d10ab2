"""Audiences over HTTP: static lists, and the contacts on them."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from contacts import audiences
from contacts.models import Audience, AudienceMember
from linkit.models import Organization
from tests import factories
from tests.conftest import Api
from tests.contacts.conftest import (
    AUDIENCE,
    CONTACT,
    NOBODY,
    answered,
    assert_error,
    at_once,
    fields_of,
    make,
    make_attribute,
    make_audience,
)


def members(api: Api, audience: dict[str, Any], **query: Any) -> set[str]:
    return {row["id"] for row in answered(api.get(f"{AUDIENCE}/{audience['id']}/contacts", query))["data"]}


def add(api: Api, audience: dict[str, Any], *contacts: dict[str, Any]) -> dict[str, Any]:
    ids = [contact["id"] for contact in contacts]
    return answered(api.post(f"{AUDIENCE}/{audience['id']}/contacts", {"contactIds": ids}))


def remove(api: Api, audience: dict[str, Any], *contacts: dict[str, Any]) -> dict[str, Any]:
    ids = [contact["id"] for contact in contacts]
    return answered(api.delete(f"{AUDIENCE}/{audience['id']}/contacts", {"contactIds": ids}))


# --- lists --------------------------------------------------------------------------------------------------------


def test_an_audience_is_made_and_read(api: Api, organization: Organization):
    contacts = [make(api), make(api)]
    given = {"name": " Members ", "description": "All of them", "contactIds": [each["id"] for each in contacts]}
    body = answered(api.post(AUDIENCE, given), 201)
    assert body == {
        "id": body["id"],
        "organizationId": str(organization.pk),
        "name": "Members",
        "description": "All of them",
        "contactCount": 2,
        "createdAt": body["createdAt"],
        "updatedAt": body["updatedAt"],
    }
    assert answered(api.get(f"{AUDIENCE}/{body['id']}")) == body
    assert answered(api.get(AUDIENCE))["data"] == [body]
    assert members(api, body) == {each["id"] for each in contacts}
    empty = answered(api.post(AUDIENCE, {"name": "Empty", "contactIds": []}), 201)
    assert (empty["contactCount"], empty["description"]) == (0, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", None), ("name", "  "), ("name", 5), ("name", "x" * 121), ("name", "x\x00"),
        ("description", 5), ("description", "x" * 501),
        ("contactIds", None), ("contactIds", "x"), ("contactIds", ["x"]), ("contactIds", [5]), ("contactIds", [None]),
        ("contactIds", [NOBODY]), ("contactIds", {}),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_bad_field_is_400_and_nothing_is_made(api: Api, field: str, value: Any):
    wrong = fields_of(api.post(AUDIENCE, {"name": "Members", field: value}))
    assert {name.partition(".")[0] for name in wrong} == {field}
    assert not Audience.objects.exists()


def test_a_name_is_one_audiences(api: Api, stranger: Api):
    first, second = make_audience(api, name="Members"), make_audience(api, name="Others")
    assert "Members" in assert_error(api.post(AUDIENCE, {"name": "Members"}), 409)["message"]
    assert_error(api.put(f"{AUDIENCE}/{second['id']}", {"name": "Members"}), 409)
    assert answered(api.get(f"{AUDIENCE}/{second['id']}")) == second
    make_audience(stranger, name="Members")
    assert api.delete(f"{AUDIENCE}/{first['id']}").status_code == 204
    make_audience(api, name="Members")


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_with_one_name_one_is_made(anonymous: Api, organization: Organization):
    secret = factories.make_api_key(organization)
    contact = make(anonymous.using(secret))
    body = {"name": "Members", "contactIds": [contact["id"]]}
    statuses = at_once(*[lambda: anonymous.using(secret).post(AUDIENCE, body).status_code] * 5)
    assert sorted(statuses) == [201] + [409] * 4
    assert AudienceMember.objects.count() == 1


def test_name_and_description_change(api: Api):
    before = make_audience(api, make(api), name="Members")
    path = f"{AUDIENCE}/{before['id']}"
    after = answered(api.put(path, {"name": "Old members", "contactIds": [], "contactCount": 7}))
    assert after == {**before, "name": "Old members", "updatedAt": after["updatedAt"]}
    assert answered(api.put(path, {"description": "x"}))["description"] == "x"
    assert answered(api.put(path, {}))["description"] == "x"
    for nothing in ("", None):
        answered(api.put(path, {"description": "x"}))
        assert answered(api.put(path, {"description": nothing}))["description"] is None
        assert fields_of(api.put(path, {"name": nothing})) == {"name"}
    assert answered(api.get(path))["name"] == "Old members"


def test_an_audience_is_deleted_and_its_contacts_stay(api: Api):
    contact = make(api)
    audience = make_audience(api, contact)
    path = f"{AUDIENCE}/{audience['id']}"
    response = api.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    for method, body in (("get", None), ("put", {"name": "x"}), ("delete", None)):
        assert_error(getattr(api, method)(path, body), 404)
    for method in ("get", "post", "delete"):
        assert_error(getattr(api, method)(f"{path}/contacts", {"contactIds": [contact["id"]]}), 404)
    assert answered(api.get(f"{CONTACT}/{contact['id']}")) == contact
    assert not AudienceMember.objects.exists()


def test_the_list_is_newest_first_in_pages_and_searched_by_name(api: Api):
    made = [make_audience(api, name=name) for name in ("Members", "Old MEMBERS", "100%", "العملاء")]
    newest = made[::-1]
    body = answered(api.get(AUDIENCE))
    assert body["data"] == newest
    assert body["meta"]["total"] == 4
    assert answered(api.get(AUDIENCE, {"page": 2, "limit": 3}))["data"] == newest[3:]
    for search, names in (
        ("member", ["Old MEMBERS", "Members"]),
        ("%", ["100%"]),
        ("_", []),
        ("عملاء", ["العملاء"]),
        ("", [each["name"] for each in newest]),
    ):
        assert [each["name"] for each in answered(api.get(AUDIENCE, {"search": search}))["data"]] == names
    by_name = answered(api.get(AUDIENCE, {"sortBy": "name", "sortOrder": "asc"}))["data"]
    assert [each["name"] for each in by_name][:2] == ["100%", "Members"]
    for query in ({"sortBy": "x"}, {"search": "x" * 101}, {"search": "\x00"}):
        assert_error(api.get(AUDIENCE, query), 400)


def test_a_list_costs_the_same_however_long_it_is(api: Api, django_assert_max_num_queries: Any):
    contacts = [make(api) for _ in range(3)]
    for place in range(8):
        make_audience(api, *contacts[: place % 4])
    api.get(AUDIENCE)
    with django_assert_max_num_queries(6):
        counts = [each["contactCount"] for each in answered(api.get(AUDIENCE))["data"]]
    assert counts == [3, 2, 1, 0] * 2


# --- contacts on them ---------------------------------------------------------------------------------------------


def test_contacts_are_put_on_and_taken_off(api: Api):
    first, second, third = make(api), make(api), make(api)
    audience = make_audience(api, first)
    assert add(api, audience, first, second, second) == {"added": 1, "total": 2}
    assert add(api, audience) == {"added": 0, "total": 2}
    assert members(api, audience) == {first["id"], second["id"]}
    assert remove(api, audience, second, third) == {"removed": 1, "total": 1}
    assert remove(api, audience, second) == {"removed": 0, "total": 1}
    assert members(api, audience) == {first["id"]}
    assert answered(api.get(f"{AUDIENCE}/{audience['id']}"))["contactCount"] == 1


def test_contacts_of_an_audience_come_in_pages(api: Api):
    make_attribute(api, "Tier")
    contacts = [make(api, customAttributes={"tier": "gold"}) for _ in range(5)]
    audience = make_audience(api, *contacts)
    make_audience(api, make(api))
    pages = [
        answered(api.get(f"{AUDIENCE}/{audience['id']}/contacts", {"page": page, "limit": 2})) for page in (1, 2, 3)
    ]
    rows = [row for page in pages for row in page["data"]]
    assert sorted(rows, key=lambda row: row["id"]) == sorted(contacts, key=lambda row: row["id"])
    assert pages[1]["meta"] == {
        "page": 2, "limit": 2, "total": 5, "totalPages": 3, "hasNextPage": True, "hasPreviousPage": True,
    }  # fmt: skip


@pytest.mark.parametrize("method", ["post", "delete"])
def test_one_that_is_not_there_is_named_and_nothing_changes(api: Api, stranger: Api, method: str):
    kept, gone, other, theirs = make(api), make(api), make(api), make(stranger)
    audience = make_audience(api, kept, gone)
    api.delete(f"{CONTACT}/{gone['id']}")
    path = f"{AUDIENCE}/{audience['id']}/contacts"
    for bad in (theirs["id"], gone["id"], str(uuid4())):
        body = assert_error(getattr(api, method)(path, {"contactIds": [kept["id"], other["id"], bad]}), 400)
        assert bad in body["message"]
        assert list(body["fieldErrors"]) == ["contactIds"]
        assert kept["id"] not in body["message"]
    assert members(api, audience) == {kept["id"]}
    many = assert_error(getattr(api, method)(path, {"contactIds": [str(uuid4()) for _ in range(5000)]}), 400)
    assert len(json.dumps(many)) < 1500
    assert "4,995 more" in many["message"]


@pytest.mark.parametrize("method", ["post", "delete"])
@pytest.mark.parametrize(
    "body",
    [{}, {"contactIds": None}, {"contactIds": "x"}, {"contactIds": [1]}, {"contactIds": [NOBODY, "x"]}, []],
    ids=str,
)
def test_what_is_no_list_of_ids_is_400(api: Api, method: str, body: Any):
    audience = make_audience(api)
    assert_error(getattr(api, method)(f"{AUDIENCE}/{audience['id']}/contacts", body), 400)


def test_so_many_at_once_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch):
    assert audiences.MAX_IDS == 10_000
    monkeypatch.setattr(audiences, "MAX_IDS", 5)
    ids = [make(api)["id"] for _ in range(5)]
    audience = make_audience(api)
    path = f"{AUDIENCE}/{audience['id']}/contacts"
    for method, url in (("post", path), ("delete", path), ("post", AUDIENCE)):
        body = assert_error(getattr(api, method)(url, {"name": "New", "contactIds": [*ids, ids[0]]}), 413)
        assert "At most 5 contacts" in body["message"]
    assert answered(api.post(path, {"contactIds": ids})) == {"added": 5, "total": 5}
    assert answered(api.delete(path, {"contactIds": ids})) == {"removed": 5, "total": 0}


def test_a_deleted_contact_is_on_no_list(api: Api):
    contact, other = make(api), make(api)
    audience = make_audience(api, contact, other)
    api.delete(f"{CONTACT}/{contact['id']}")
    assert members(api, audience) == {other["id"]}
    assert answered(api.get(f"{AUDIENCE}/{audience['id']}"))["contactCount"] == 1
    assert answered(api.get(AUDIENCE))["data"][0]["contactCount"] == 1


@pytest.mark.django_db(transaction=True)
def test_lists_are_right_whoever_writes_them_at_once(anonymous: Api, organization: Organization):
    secret = factories.make_api_key(organization)
    api = anonymous.using(secret)
    contacts = [make(api) for _ in range(12)]
    audience = make_audience(api)

    def put_on(some: list[dict[str, Any]]) -> int:
        ids = [each["id"] for each in some]
        url = f"{AUDIENCE}/{audience['id']}/contacts"
        status: int = anonymous.using(secret).post(url, {"contactIds": ids}).status_code
        return status

    def delete() -> int:
        client = anonymous.using(secret)
        return max(client.delete(f"{CONTACT}/{contact['id']}").status_code for contact in contacts[8:])

    calls = [lambda: put_on(contacts[:8]), lambda: put_on(contacts[7::-1]), lambda: put_on(contacts), delete]
    assert set(at_once(*calls)) <= {200, 204, 400}  # 400: one of them was deleted before
    listed = members(api, audience)
    assert listed >= {contact["id"] for contact in contacts[:8]}
    assert answered(api.get(f"{AUDIENCE}/{audience['id']}"))["contactCount"] == len(listed) == 8


# --- callers ------------------------------------------------------------------------------------------------------


def test_a_strangers_audience_is_missing_like_any_other(api: Api, stranger: Api):
    audience = make_audience(api, make(api))
    body = {"name": "x", "contactIds": [make(stranger)["id"]]}
    for method, tail in (
        ("get", ""), ("put", ""), ("delete", ""), ("get", "/contacts"), ("post", "/contacts"), ("delete", "/contacts"),
    ):  # fmt: skip
        given = None if method == "get" else body
        seen, missing = (
            assert_error(getattr(stranger, method)(f"{AUDIENCE}/{pk}{tail}", given), 404)
            for pk in (audience["id"], NOBODY)
        )
        assert {**seen, "timestamp": "", "path": ""} == {**missing, "timestamp": "", "path": ""}
    assert answered(stranger.get(AUDIENCE))["data"] == []
    assert answered(api.get(f"{AUDIENCE}/{audience['id']}")) == audience


def test_who_may_only_read_writes_nothing(api: Api, reader: Api):
    contact = make(api)
    audience = make_audience(api, contact)
    path = f"{AUDIENCE}/{audience['id']}"
    assert members(reader, audience) == {contact["id"]}
    for response in (
        reader.post(AUDIENCE, {"name": "x"}),
        reader.put(path, {"name": "x"}),
        reader.delete(path),
        reader.post(f"{path}/contacts", {"contactIds": []}),
        reader.delete(f"{path}/contacts", {"contactIds": [contact["id"]]}),
    ):
        assert_error(response, 403)
    assert answered(api.get(path)) == audience
