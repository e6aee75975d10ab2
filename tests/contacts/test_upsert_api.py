"""Many contacts in one request: made or changed by their number, each checked for itself, written as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import IntegrityError

from contacts import services
from contacts.models import Contact
from linkit.models import Organization
from tests import factories
from tests.conftest import Api
from tests.contacts.conftest import CONTACT, UPSERT, answered, assert_error, at_once, fields_of, make, make_attribute


def upsert(api: Api, *contacts: Any) -> dict[str, Any]:
    body = answered(api.post(UPSERT, {"data": list(contacts)}))
    assert set(body) == {"created", "updated", "errors"}
    return body


def stored(api: Api) -> dict[str, dict[str, Any]]:
    """Return the contacts by number."""
    return {row["primaryPhone"]: row for row in answered(api.get(CONTACT, {"limit": 100}))["data"]}


def test_contacts_are_made_or_changed_by_their_number(api: Api):
    make_attribute(api, "Age", "number")
    make_attribute(api, "Tier")
    known = make(
        api,
        primaryPhone="0501234567",
        firstName="Sara",
        city="Riyadh",
        channels=["sms"],
        customAttributes={"age": 42, "tier": "gold"},
    )
    body = upsert(
        api,
        {"primaryPhone": "+966 50 123 4567", "city": None, "lastName": "Ali", "customAttributes": {"age": None}},
        {"primaryPhone": "0501234568", "firstName": "نورة", "customAttributes": {"age": 30}},
    )
    assert body == {"created": 1, "updated": 1, "errors": []}
    changed = stored(api)["+966501234567"]
    assert changed == {
        **known,
        "city": None,
        "lastName": "Ali",
        "customAttributes": {"tier": "gold"},
        "updatedAt": changed["updatedAt"],
    }
    assert changed["updatedAt"] > known["updatedAt"]
    new = stored(api)["+966501234568"]
    assert (new["firstName"], new["customAttributes"], new["channels"]) == ("نورة", {"age": 30}, [])
    for search, found in (("ali", changed), ("نوره", new), ("0501234568", new)):
        assert answered(api.get(CONTACT, {"search": search}))["data"] == [found]


def test_what_is_the_same_is_updated_and_left_alone(api: Api):
    contact = make(api, firstName="Sara")
    same = {"primaryPhone": contact["primaryPhone"], "firstName": "Sara"}
    assert upsert(api, same) == {"created": 0, "updated": 1, "errors": []}
    assert stored(api)[contact["primaryPhone"]] == contact


def test_an_empty_list_is_fine(api: Api):
    assert upsert(api) == {"created": 0, "updated": 0, "errors": []}


def test_a_bad_contact_stops_no_other(api: Api):
    make_attribute(api, "Age", "number")
    good = [{"primaryPhone": factories.mobile()} for _ in range(3)]
    body = upsert(
        api,
        good[0],
        {"primaryPhone": "123", "gender": "x"},
        {},
        good[1],
        {**good[1], "customAttributes": {"age": "old", "nobody": 1}},
        *["x", None, 5, [], True],
        good[2],
    )
    assert (body["created"], body["updated"]) == (3, 0)
    assert [error["index"] for error in body["errors"]] == [1, 2, 4, 5, 6, 7, 8, 9]
    first, second, third, *others = (error["fieldErrors"] for error in body["errors"])
    assert set(first) == {"primaryPhone", "gender"}
    assert first["primaryPhone"] == ["The number is too short."]
    assert set(second) == {"primaryPhone"}
    assert set(third) == {"customAttributes.age", "customAttributes.nobody"}
    assert all(list(each) == ["non_field_errors"] for each in others)
    assert Contact.objects.count() == 3


def test_halves_of_surrogate_pairs_are_told_like_any_other_error(api: Api):
    body = '{"data": [{"primaryPhone": "0501234567", "firstName": "\\ud800", "customAttributes": {"\\ud800": 1}}]}'
    response = api.generic("POST", UPSERT, body, content_type="application/json")
    (error,) = answered(response)["errors"]
    assert set(error["fieldErrors"]) == {"firstName", "customAttributes.?"}


def test_of_a_number_that_comes_twice_the_later_wins(api: Api):
    body = upsert(
        api,
        {"primaryPhone": "0501234567", "firstName": "Sara", "city": "Riyadh"},
        {"primaryPhone": "+966501234567", "firstName": "Nora"},
        {"primaryPhone": "٠٥٠١٢٣٤٥٦٧", "zip": "1"},
    )
    assert body == {"created": 1, "updated": 2, "errors": []}
    (contact,) = stored(api).values()
    assert (contact["firstName"], contact["city"], contact["zip"]) == ("Nora", "Riyadh", "1")


def test_a_deleted_contact_is_not_the_one(api: Api):
    gone = make(api, primaryPhone="0501234567", firstName="Sara")
    api.delete(f"{CONTACT}/{gone['id']}")
    assert upsert(api, {"primaryPhone": "0501234567"}) == {"created": 1, "updated": 0, "errors": []}
    (contact,) = stored(api).values()
    assert (contact["id"] != gone["id"], contact["firstName"]) == (True, None)


def test_a_strangers_contact_is_not_the_one(api: Api, stranger: Api):
    theirs = make(api, primaryPhone="0501234567", firstName="Sara")
    assert upsert(stranger, {"primaryPhone": "0501234567", "firstName": "X"})["created"] == 1
    assert stored(api)["+966501234567"] == theirs


def test_a_thousand_are_written_in_a_few_statements(api: Api, django_assert_max_num_queries: Any):
    contacts = [{"primaryPhone": factories.mobile(), "firstName": f"Name {number}"} for number in range(1000)]
    assert upsert(api, *contacts) == {"created": 1000, "updated": 0, "errors": []}
    from django.db import connection

    # SQLite takes so many values in a statement and no more.
    most = 20 if connection.vendor == "postgresql" else 120
    with django_assert_max_num_queries(most):
        changed = [{**contact, "lastName": "Changed"} for contact in contacts]
        assert upsert(api, *changed) == {"created": 0, "updated": 1000, "errors": []}
    assert Contact.objects.filter(last_name="Changed", search_text__contains="changed").count() == 1000


def test_more_than_a_thousand_are_413_and_nothing_is_written(api: Api):
    contacts = [{"primaryPhone": f"05{number:08}"} for number in range(1001)]
    assert_error(api.post(UPSERT, {"data": contacts}), 413)
    assert_error(api.post(UPSERT, {"data": [0] * 100_000}), 413)
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    "body", [{}, {"data": None}, {"data": {}}, {"data": "x"}, {"data": 5}, {"contacts": []}], ids=str
)
def test_without_a_list_it_is_400(api: Api, body: Any):
    assert fields_of(api.post(UPSERT, body)) == {"data"}


def test_all_are_written_or_none(api: Api, organization: Organization, monkeypatch: pytest.MonkeyPatch):
    known = make(api, primaryPhone="0501234567", firstName="Sara")
    create = type(Contact.objects).bulk_create

    def fail_on_new(self: Any, contacts: Any, **options: Any) -> Any:
        if options.get("ignore_conflicts"):
            raise IntegrityError("for the test")
        return create(self, contacts, **options)

    monkeypatch.setattr(type(Contact.objects), "bulk_create", fail_on_new)
    rows = [{"primary_phone": known["primaryPhone"], "first_name": "X"}, {"primary_phone": factories.mobile()}]
    with pytest.raises(IntegrityError):
        services.upsert(organization=organization, rows=rows)
    assert stored(api) == {known["primaryPhone"]: known}


def test_a_field_that_no_contact_has_is_our_mistake(organization: Organization):
    with pytest.raises(TypeError, match="deleted_at"):
        services.create(organization=organization, fields={"primary_phone": factories.mobile(), "deleted_at": None})


# --- at once ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_those_who_write_the_same_numbers_take_turns(anonymous: Api, organization: Organization):
    secret = factories.make_api_key(organization)
    numbers = [factories.mobile() for _ in range(60)]
    orders = [numbers, numbers[::-1], numbers[30:] + numbers[:30], numbers[10:50]]

    def write() -> dict[str, Any]:
        data = [{"primaryPhone": number, "firstName": json.dumps(len(orders))} for number in orders.pop()]
        return answered(anonymous.using(secret).post(UPSERT, {"data": data}))

    results = at_once(write, write, write, write)
    assert sum(each["created"] for each in results) == 60
    assert sum(each["updated"] for each in results) == 60 * 2 + 40
    assert Contact.objects.count() == 60


@pytest.mark.django_db(transaction=True)
def test_others_make_and_change_single_contacts_meanwhile(anonymous: Api, organization: Organization):
    """Nobody fails but for a number that is taken, and nothing is twice."""
    secret = factories.make_api_key(organization)
    numbers = [factories.mobile() for _ in range(40)]
    spare = make(anonymous.using(secret))

    def write() -> set[int]:
        data = [{"primaryPhone": number, "city": "Abha"} for number in numbers]
        return {anonymous.using(secret).post(UPSERT, {"data": data}).status_code for _ in range(3)}

    def create() -> set[int]:
        client = anonymous.using(secret)
        return {client.post(CONTACT, {"primaryPhone": number}).status_code for number in numbers[::-4]}

    def change() -> set[int]:
        client = anonymous.using(secret)
        path = f"{CONTACT}/{spare['id']}"
        return {client.put(path, {"primaryPhone": number}).status_code for number in numbers[::5]}

    seen = set().union(*at_once(write, write, create, change))
    assert seen <= {200, 201, 409}
    live = Contact.objects.live().values_list("primary_phone", flat=True)
    assert len(live) == len(set(live))
    assert set(numbers) <= set(live)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_who_makes_a_contact_between_our_look_and_our_write_is_changed(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    number = factories.mobile()
    create = type(Contact.objects).bulk_create
    made: list[Contact] = []

    def somebody_first(self: Any, contacts: Any, **options: Any) -> Any:
        if options.get("ignore_conflicts") and not made:
            made.extend(at_once(lambda: factories.make_contact(organization, number, first_name="Sara")))
        return create(self, contacts, **options)

    monkeypatch.setattr(type(Contact.objects), "bulk_create", somebody_first)
    rows = [{"primary_phone": number, "city": "Abha"}, {"primary_phone": factories.mobile()}]
    assert services.upsert(organization=organization, rows=rows) == services.Upserted(created=1, updated=1)
    contact = Contact.objects.get(primary_phone=number)
    assert (contact.pk, contact.first_name, contact.city) == (made[0].pk, "Sara", "Abha")
