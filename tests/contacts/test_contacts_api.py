"""Contacts over HTTP: create, read, change, delete, list."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from contacts import services
from contacts.models import AudienceMember, Contact
from linkit.models import Organization, Role, User
from tests import factories
from tests.conftest import Api
from tests.contacts.conftest import (
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

FULL = {
    "primaryPhone": "0501234567",
    "firstName": "Sara",
    "lastName": "القحطاني",
    "fullName": "Sara M. Alqahtani",
    "primaryEmail": "sara@example.com",
    "address": "King Fahd Road 1",
    "city": "Riyadh",
    "state": "Riyadh Province",
    "zip": "012345",
    "occupation": "Engineer",
    "gender": "female",
    "preferredChannel": "sms",
    "channels": ["sms", "واتساب"],
}
TEXTS = [name for name, value in FULL.items() if isinstance(value, str) and name not in ("primaryPhone", "gender")]


# --- creating and reading -----------------------------------------------------------------------------------------


def test_a_contact_is_created_and_read(api: Api, organization: Organization):
    body = answered(api.post(CONTACT, FULL), 201)
    assert body == {
        **FULL,
        "primaryPhone": "+966501234567",
        "id": body["id"],
        "organizationId": str(organization.pk),
        "customAttributes": {},
        "createdAt": body["createdAt"],
        "updatedAt": body["updatedAt"],
    }
    assert datetime.fromisoformat(body["createdAt"]).tzinfo
    assert answered(api.get(f"{CONTACT}/{body['id']}")) == body
    assert answered(api.get(CONTACT))["data"] == [body]


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_is_absent_is_null(api: Api, nothing: str | None):
    little = make(api)
    assert {name for name, value in little.items() if value is None} == set(FULL) - {"primaryPhone", "channels"}
    assert (little["channels"], little["customAttributes"]) == ([], {})
    same = make(api, **dict.fromkeys([*TEXTS, "gender", "channels", "customAttributes"], nothing))
    unlike = {"id", "primaryPhone", "createdAt", "updatedAt"}
    assert {name: same[name] for name in same if name not in unlike} == {
        name: little[name] for name in little if name not in unlike
    }


@pytest.mark.parametrize(
    "typed",
    ["966501234567", "+966 50 123 4567", "00966501234567", "0501234567", "٠٥٠١٢٣٤٥٦٧", 966501234567, "050-123-4567"],
)
def test_a_number_is_taken_as_it_is_typed(api: Api, typed: Any):
    assert make(api, primaryPhone=typed)["primaryPhone"] == "+966501234567"


def test_numbers_without_a_country_are_of_the_organizations(api: Api, organization: Organization):
    organization.default_region = "AE"
    organization.save()
    assert make(api, primaryPhone="0501234567")["primaryPhone"] == "+971501234567"


def test_fields_that_nobody_knows_change_nothing(api: Api, other_organization: Organization):
    given = {"organizationId": str(other_organization.pk), "id": NOBODY, "deletedAt": "2026-01-01T00:00:00Z", "x": 1}
    body = make(api, **given)
    assert body["organizationId"] != str(other_organization.pk)
    assert body["id"] != NOBODY
    assert answered(api.get(f"{CONTACT}/{body['id']}")) == body


WRONG: dict[str, list[Any]] = {
    **{name: [5, False, ["x"], {"x": 1}, "x\x00y", "x" * 301] for name in TEXTS},
    "primaryPhone": ["123", "", None, True, 9.66501234567e11, "+966112345678", ["0501234567"], "0501234567\x00"],
    "primaryEmail": [5, "sara", "sara@", "sara@example.com\x00", f"{'x' * 250}@example.com"],
    "gender": ["Female", "other", 1, ["male"], {}],
    "channels": ["sms", {"sms": True}, [5], [None], [""], ["x" * 33], ["x\x00"], ["sms"] * 21],
    "customAttributes": [[], "x", 1],
}


@pytest.mark.parametrize("field", WRONG)
def test_a_bad_field_is_400_and_nothing_is_stored(api: Api, field: str):
    for value in WRONG[field]:
        wrong = fields_of(api.post(CONTACT, {**FULL, field: value}))
        assert {name.partition(".")[0] for name in wrong} == {field}, value
    assert not Contact.objects.exists()
    contact = make(api)
    for value in WRONG[field]:
        fields_of(api.put(f"{CONTACT}/{contact['id']}", {field: value}))
    assert answered(api.get(f"{CONTACT}/{contact['id']}")) == contact


def test_every_bad_field_is_named(api: Api):
    wrong = {"primaryPhone": "1", "firstName": 1, "gender": "x", "channels": 1, "customAttributes": {"nobody": 1}}
    body = assert_error(api.post(CONTACT, wrong), 400)
    assert set(body["fieldErrors"]) == {*set(wrong) - {"customAttributes"}, "customAttributes.nobody"}
    assert body["error"] == "BadRequestException"
    assert fields_of(api.post(CONTACT, {})) == {"primaryPhone"}


@pytest.mark.parametrize("text", ['"\\ud800"', '["\\udfff"]', '{"\\ud800": "\\ud800"}'])
def test_halves_of_surrogate_pairs_are_400(api: Api, text: str):
    for field in ("firstName", "address", "channels", "primaryPhone", "primaryEmail", "customAttributes"):
        body = json.dumps({**FULL, field: "TEXT"}).replace('"TEXT"', text)
        response = api.generic("POST", CONTACT, body, content_type="application/json")
        assert {name.partition(".")[0] for name in fields_of(response)} == {field}


@pytest.mark.parametrize("body", ["[]", "null", '"x"', "5", "[{}]", "{", ""])
def test_a_body_that_is_no_object_is_400(api: Api, body: str):
    contact = make(api)
    for method, path in (("POST", CONTACT), ("PUT", f"{CONTACT}/{contact['id']}"), ("POST", f"{CONTACT}/upsert")):
        response = api.generic(method, path, body, content_type="application/json")
        if method == "PUT" and body == "":
            assert response.status_code in (200, 400)  # nothing given: nothing changes
        else:
            assert_error(response, 400)
    assert answered(api.get(f"{CONTACT}/{contact['id']}")) == contact
    assert_error(api.generic("POST", CONTACT, "x", content_type="text/plain"), 415)
    assert_error(api.post(CONTACT, {"firstName": "x" * 1_000_000}), 413)


def test_odd_characters_come_back_as_they_were(api: Api):
    for name in ("😀", "a\u202eb", "\ufffe", "é", "é", "'; DROP TABLE contacts_contact; --", "<b>", "{{ x }}", "\\"):
        assert make(api, firstName=name)["firstName"] == name


def test_the_longest_names_can_be_stored_and_found(api: Api):
    """The index of lists holds what a search looks through, and takes no more than 2,704 bytes."""
    names = {"firstName": "ﷺ" * 100, "lastName": "王" * 100, "fullName": "𝄞𠜎" * 100}
    contact = make(api, **names, primaryEmail=f"{'x' * 60}@{'.'.join(['y' * 60] * 3)}.com")
    assert contact["fullName"] == names["fullName"]
    assert answered(api.get(CONTACT, {"search": "王王王"}))["meta"]["total"] == 1


# --- one number, one contact --------------------------------------------------------------------------------------


def test_a_number_is_one_contacts(api: Api, stranger: Api):
    first = make(api, primaryPhone="0501234567")
    body = assert_error(api.post(CONTACT, {"primaryPhone": "+966 50 123 4567"}), 409)
    assert body["error"] == "ConflictException"
    assert "+966501234567" in body["message"]
    second = make(api)
    assert_error(api.put(f"{CONTACT}/{second['id']}", {"primaryPhone": "0501234567", "city": "Abha"}), 409)
    assert answered(api.get(f"{CONTACT}/{second['id']}")) == second
    # A contact keeps its own, and another organization has one with it too.
    assert answered(api.put(f"{CONTACT}/{first['id']}", {"primaryPhone": "966501234567"}))["id"] == first["id"]
    assert make(stranger, primaryPhone="0501234567")["id"] != first["id"]


def test_a_deleted_contacts_number_is_free(api: Api):
    first = make(api, primaryPhone="0501234567")
    assert api.delete(f"{CONTACT}/{first['id']}").status_code == 204
    second = make(api, primaryPhone="0501234567")
    assert second["id"] != first["id"]
    assert api.delete(f"{CONTACT}/{second['id']}").status_code == 204
    third = make(api)
    assert answered(api.put(f"{CONTACT}/{third['id']}", {"primaryPhone": "0501234567"}))["id"] == third["id"]


def test_a_changed_number_is_free(api: Api):
    first = make(api, primaryPhone="0501234567")
    answered(api.put(f"{CONTACT}/{first['id']}", {"primaryPhone": "0501234568"}))
    assert make(api, primaryPhone="0501234567")["id"] != first["id"]


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_with_one_number_one_is_created(anonymous: Api, organization: Organization):
    secret = factories.make_api_key(organization)

    def create() -> int:
        status: int = anonymous.using(secret).post(CONTACT, {"primaryPhone": "0501234567"}).status_code
        return status

    statuses = at_once(*[create] * 6)
    assert sorted(statuses) == [201] + [409] * 5
    assert Contact.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_that_change_to_one_number_one_does(anonymous: Api, organization: Organization):
    api = anonymous.using(factories.make_api_key(organization))
    ids = [make(api)["id"] for _ in range(5)]

    def change() -> int:
        status: int = anonymous.using(secret).put(f"{CONTACT}/{ids.pop()}", {"primaryPhone": "0501234567"}).status_code
        return status

    secret = factories.make_api_key(organization)
    assert sorted(at_once(*[change] * 5)) == [200] + [409] * 4
    assert Contact.objects.filter(primary_phone="+966501234567").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_that_delete_one_does(anonymous: Api, organization: Organization):
    secret = factories.make_api_key(organization)
    contact = make(anonymous.using(secret))
    path = f"{CONTACT}/{contact['id']}"
    statuses = at_once(*[lambda: anonymous.using(secret).delete(path).status_code] * 4)
    assert sorted(statuses) == [204] + [404] * 3


# --- changing -----------------------------------------------------------------------------------------------------


def test_a_change_leaves_the_rest(api: Api):
    before = answered(api.post(CONTACT, FULL), 201)
    after = answered(api.put(f"{CONTACT}/{before['id']}", {"city": "Jeddah"}))
    assert after == {**before, "city": "Jeddah", "updatedAt": after["updatedAt"]}
    assert after["updatedAt"] > before["updatedAt"]
    assert answered(api.get(f"{CONTACT}/{before['id']}")) == after


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_null_and_an_empty_text_clear(api: Api, nothing: str | None):
    before = answered(api.post(CONTACT, FULL), 201)
    for name in [*TEXTS, "gender", "channels"]:
        cleared = "" if nothing == "  " and name in ("gender", "channels") else nothing
        after = answered(api.put(f"{CONTACT}/{before['id']}", {name: cleared}))
        assert after[name] == ([] if name == "channels" else None), name
    assert fields_of(api.put(f"{CONTACT}/{before['id']}", {"primaryPhone": nothing})) == {"primaryPhone"}


def test_a_contact_can_be_given_back_as_it_came(api: Api):
    make_attribute(api, "Tier")
    before = make(api, **{**FULL, "customAttributes": {"tier": "gold"}})
    assert answered(api.put(f"{CONTACT}/{before['id']}", before)) == before


def test_a_change_is_found_by_a_search(api: Api):
    contact = make(api, firstName="Sara")
    answered(api.put(f"{CONTACT}/{contact['id']}", {"firstName": "Nora", "primaryPhone": "0555555555"}))
    for search, count in (("sara", 0), ("nora", 1), ("0555555555", 1), (contact["primaryPhone"], 0)):
        assert answered(api.get(CONTACT, {"search": search}))["meta"]["total"] == count, search


# --- custom attributes --------------------------------------------------------------------------------------------


def test_values_of_attributes_are_merged(api: Api):
    for name, kind in (("Age", "number"), ("Member", "boolean"), ("Note", "text")):
        make_attribute(api, name, kind)
    contact = make(api, customAttributes={"age": 42, "member": False})
    assert contact["customAttributes"] == {"age": 42, "member": False}
    path = f"{CONTACT}/{contact['id']}"
    for change, expected in (
        ({"note": ""}, {"age": 42, "member": False, "note": ""}),
        ({"age": 42.0}, {"age": 42.0, "member": False, "note": ""}),
        ({"age": 42.5, "member": None}, {"age": 42.5, "note": ""}),
        ({}, {"age": 42.5, "note": ""}),
        ({"member": None}, {"age": 42.5, "note": ""}),
    ):
        answered(api.put(path, {"customAttributes": change}))
        assert repr(answered(api.get(path))["customAttributes"]) == repr(expected)
    assert answered(api.put(path, {"city": "Abha"}))["customAttributes"] == {"age": 42.5, "note": ""}
    assert answered(api.put(path, {"customAttributes": None}))["customAttributes"] == {}


def test_an_attribute_that_is_unknown_is_named(api: Api, stranger: Api):
    make_attribute(stranger, "Theirs")
    attribute = make_attribute(api, "Gone")
    api.delete(f"/api/custom-attributes/{attribute['id']}")
    for slug in ("theirs", "gone", "", "Age", "customAttributes", "a.b", "x" * 5000, attribute["id"]):
        (field,) = fields_of(api.post(CONTACT, {**FULL, "customAttributes": {slug: 1}}))
        assert field == f"customAttributes.{slug[:64]}"
    assert not Contact.objects.exists()


def test_more_values_than_there_can_be_attributes_are_not_looked_at(api: Api):
    body = {**FULL, "customAttributes": {f"a{number}": 1 for number in range(50_000)}}
    response = api.post(CONTACT, body)
    assert fields_of(response) == {"customAttributes"}
    assert len(response.content) < 1000
    assert fields_of(api.post(CONTACT, {**FULL, "channels": [1] * 300_000})) == {"channels"}


# --- deleting -----------------------------------------------------------------------------------------------------


def test_a_deleted_contact_is_missing(api: Api):
    contact = make(api, firstName="Sara")
    kept = make(api)
    audience = make_audience(api, contact, kept)
    response = api.delete(f"{CONTACT}/{contact['id']}")
    assert (response.status_code, response.content) == (204, b"")
    for method in ("get", "put", "delete"):
        assert_error(getattr(api, method)(f"{CONTACT}/{contact['id']}"), 404)
    assert [row["id"] for row in answered(api.get(CONTACT))["data"]] == [kept["id"]]
    assert answered(api.get(CONTACT, {"search": "sara"}))["data"] == []
    assert answered(api.get(f"/api/audience/{audience['id']}"))["contactCount"] == 1
    assert Contact.objects.get(pk=contact["id"]).deleted_at is not None


def test_many_are_deleted_at_once(api: Api, organization: Organization, other_organization: Organization):
    contacts = [make(api) for _ in range(3)]
    make_audience(api, *contacts)
    theirs = factories.make_contact(other_organization)
    api.delete(f"{CONTACT}/{contacts[0]['id']}")
    assert services.delete_all(contacts=Contact.objects.filter(organization=organization)) == 2
    assert services.delete_all(contacts=Contact.objects.filter(organization=organization)) == 0
    assert not AudienceMember.objects.exists()
    theirs.refresh_from_db()
    assert theirs.deleted_at is None


# --- ids and callers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["contact/{}", "custom-attributes/{}", "audience/{}", "audience/{}/contacts"])
def test_a_malformed_id_is_400(api: Api, path: str):
    for malformed in ("x", "1", "r00000000000000", NOBODY[:-1], f"{NOBODY}0", "%00", "null", "é", "%20"):
        for method in ("get", "post", "delete") if path.endswith("/contacts") else ("get", "put", "delete"):
            response = getattr(api, method)(f"/api/{path.format(malformed)}", None if method == "get" else {})
            assert fields_of(response) == {"id"}, malformed


def test_a_strangers_contact_is_missing_like_any_other(api: Api, stranger: Api):
    contact = make(api, firstName="Sara")
    for method, body in (("get", None), ("put", {"city": "Abha"}), ("delete", None)):
        seen = getattr(stranger, method)(f"{CONTACT}/{contact['id']}", body)
        missing = getattr(stranger, method)(f"{CONTACT}/{NOBODY}", body)
        theirs, ours = assert_error(seen, 404), assert_error(missing, 404)
        for each in (theirs, ours):
            del each["timestamp"], each["path"]
        assert theirs == ours
    assert answered(stranger.get(CONTACT))["data"] == []
    assert answered(stranger.get(CONTACT, {"search": "sara"}))["data"] == []
    assert answered(stranger.get(CONTACT, {"search": contact["primaryPhone"]}))["meta"]["total"] == 0
    assert answered(api.get(f"{CONTACT}/{contact['id']}")) == contact


def test_who_may_only_read_writes_nothing(api: Api, reader: Api):
    contact = make(api)
    path = f"{CONTACT}/{contact['id']}"
    assert answered(reader.get(path)) == contact
    for response in (
        reader.post(CONTACT, FULL),
        reader.put(path, {"city": "Abha"}),
        reader.delete(path),
        reader.post(f"{CONTACT}/upsert", {"data": [FULL]}),
    ):
        assert_error(response, 403)
    assert answered(api.get(path)) == contact


def test_an_operator_writes_and_a_viewer_does_not(anonymous: Api, user: Callable[..., User]):
    for role, status in ((Role.OPERATOR, 201), (Role.ADMIN, 201), (Role.VIEWER, 403)):
        person = user(role=role)
        login = {"email": person.email, "password": factories.PASSWORD}
        token = anonymous.post("/api/v1/auth/login", login).json()["token"]
        response = anonymous.using(token).post(CONTACT, {"primaryPhone": factories.mobile()})
        assert response.status_code == status


def test_nobody_gets_in_without_credentials(anonymous: Api, api: Api):
    contact = make(api)
    for method, path in (
        ("get", CONTACT),
        ("post", CONTACT),
        ("get", f"{CONTACT}/{contact['id']}"),
        ("get", f"{CONTACT}/x"),
    ):
        assert_error(getattr(anonymous, method)(path), 401)


@pytest.mark.parametrize("path", [f"{CONTACT}/", f"{CONTACT}/upsert/", f"{CONTACT}s"])
def test_other_paths_are_missing(api: Api, path: str):
    assert_error(api.get(path), 404)


# --- the list -----------------------------------------------------------------------------------------------------


def listed(api: Api, **query: Any) -> list[str]:
    return [row["id"] for row in answered(api.get(CONTACT, query))["data"]]


def test_the_list_is_newest_first_in_pages(api: Api):
    ids = [make(api)["id"] for _ in range(5)][::-1]
    assert listed(api) == ids
    body = answered(api.get(CONTACT, {"page": 2, "limit": 2}))
    assert [row["id"] for row in body["data"]] == ids[2:4]
    assert body["meta"] == {
        "page": 2, "limit": 2, "total": 5, "totalPages": 3, "hasNextPage": True, "hasPreviousPage": True,
    }  # fmt: skip
    assert listed(api, page=3, limit=2) == ids[4:]
    assert listed(api, page=4, limit=2) == []


def test_the_list_in_other_orders(api: Api):
    first = make(api, firstName="B", lastName="X")["id"]
    second = make(api, firstName="A", lastName="Z")["id"]
    third = make(api, firstName="C", lastName="Y")["id"]
    answered(api.put(f"{CONTACT}/{first}", {"city": "Abha"}))
    for sort, expected in {
        "createdAt": [first, second, third],
        "updatedAt": [second, third, first],
        "firstName": [second, first, third],
        "lastName": [first, third, second],
    }.items():
        assert listed(api, sortBy=sort, sortOrder="asc") == expected, sort
        assert listed(api, sortBy=sort, sortOrder="desc") == expected[::-1], sort
    assert listed(api, sortOrder="asc") == [first, second, third]


@pytest.mark.parametrize(
    "query",
    [
        {"sortBy": "city"}, {"sortBy": "primaryPhone"},
        {"sortBy": "organization__name"}, {"sortBy": "-createdAt"}, {"sortOrder": "up"},
        {"page": "0"}, {"page": "x"}, {"limit": "-1"},
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_question_is_400(api: Api, query: dict[str, str]):
    assert fields_of(api.get(CONTACT, query)) == set(query)


def test_a_list_costs_the_same_however_long_it_is(api: Api, django_assert_max_num_queries: Any):
    make_attribute(api, "Tier")
    for _ in range(10):
        make(api, customAttributes={"tier": "gold"})
    api.get(CONTACT)
    with django_assert_max_num_queries(6):
        assert len(listed(api)) == 10
