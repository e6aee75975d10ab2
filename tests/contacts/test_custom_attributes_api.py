"""Custom attributes over HTTP, and what their values may be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contacts import attributes
from contacts.models import AttributeType, Contact, CustomAttribute
from linkit.models import Organization
from tests import factories
from tests.conftest import Api
from tests.contacts.conftest import (
    ATTRIBUTES,
    CONTACT,
    NOBODY,
    answered,
    assert_error,
    at_once,
    fields_of,
    make,
    make_attribute,
)

AGE = {"displayName": "Customer Age", "description": "In years", "type": "number"}


def test_an_attribute_is_made_and_read(api: Api, organization: Organization):
    body = answered(api.post(ATTRIBUTES, AGE), 201)
    assert body == {
        **AGE,
        "id": body["id"],
        "organizationId": str(organization.pk),
        "name": "customer_age",
        "createdAt": body["createdAt"],
        "updatedAt": body["updatedAt"],
    }
    assert answered(api.get(f"{ATTRIBUTES}/{body['id']}")) == body
    second = make_attribute(api, "Tier")
    assert second["description"] is None
    assert api.get(ATTRIBUTES).json() == [body, second]


@pytest.mark.parametrize(
    ("display_name", "name"),
    [
        ("Customer Age", "customer_age"),
        ("  E-Mail (work)!  ", "e_mail_work"),
        ("__x__", "x"),
        ("Été d'Ünïcode", "ete_d_unicode"),
        ("ﬁ ℡", "fi_tel"),
        ("2024", "2024"),
        ("VIP رقم", "vip"),
        ("A" * 64, "a" * 64),
        ("a\u202e b", "a_b"),
    ],
)
def test_the_name_is_the_slug_of_the_display_name(api: Api, display_name: str, name: str):
    body = make_attribute(api, display_name)
    assert (body["name"], body["displayName"]) == (name, display_name.strip())


@pytest.mark.parametrize("display_name", ["العمر", "العمر 2", "رقم ١", "年齢", "---", "!", "_", "😀", "ﬃ" * 64])
def test_a_name_without_latin_letters_is_400_with_advice(api: Api, display_name: str):
    body = assert_error(api.post(ATTRIBUTES, {**AGE, "displayName": display_name}), 400)
    (text,) = body["fieldErrors"]["displayName"]
    assert "Latin letters" in text or "too long" in text
    assert not CustomAttribute.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("displayName", ""),
        ("displayName", None),
        ("displayName", 5),
        ("displayName", "x" * 65),
        ("displayName", "x\x00"),
        ("displayName", ["x"]),
        ("description", 5),
        ("description", "x" * 501),
        ("type", "integer"),
        ("type", "Number"),
        ("type", None),
        ("type", ""),
        ("type", ["number"]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_field_is_400_and_nothing_is_made(api: Api, field: str, value: Any):
    assert fields_of(api.post(ATTRIBUTES, {**AGE, field: value})) == {field}
    assert not CustomAttribute.objects.exists()


def test_missing_fields_are_named(api: Api):
    assert fields_of(api.post(ATTRIBUTES, {})) == {"displayName", "type"}


def test_a_name_is_one_attributes(api: Api, stranger: Api):
    make_attribute(api, "Customer Age")
    for display_name in ("Customer Age", "customer-age", "CUSTOMER  AGE"):
        body = assert_error(api.post(ATTRIBUTES, {**AGE, "displayName": display_name}), 409)
        assert "customer_age" in body["message"]
    assert make_attribute(stranger, "Customer Age")["name"] == "customer_age"
    assert len(api.get(ATTRIBUTES).json()) == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_with_one_name_one_is_made(anonymous: Api, organization: Organization):
    secret = factories.make_api_key(organization)
    statuses = at_once(*[lambda: anonymous.using(secret).post(ATTRIBUTES, AGE).status_code] * 5)
    assert sorted(statuses) == [201] + [409] * 4


@pytest.mark.django_db(transaction=True)
def test_there_are_so_many_and_no_more(anonymous: Api, organization: Organization, other_organization: Organization):
    secret = factories.make_api_key(organization)
    CustomAttribute.objects.bulk_create(
        CustomAttribute(organization=organization, name=f"a{n}", display_name=f"a{n}", type="text") for n in range(98)
    )
    names = [f"b{number}" for number in range(5)]
    statuses = at_once(
        *[lambda: anonymous.using(secret).post(ATTRIBUTES, {**AGE, "displayName": names.pop()}).status_code] * 5
    )
    assert sorted(statuses) == [201, 201, 409, 409, 409]
    api = anonymous.using(secret)
    gone = api.get(ATTRIBUTES).json()[0]
    assert api.delete(f"{ATTRIBUTES}/{gone['id']}").status_code == 204
    make_attribute(api, "In its place")
    make_attribute(anonymous.using(factories.make_api_key(other_organization)), "Theirs")


# --- changing and deleting ----------------------------------------------------------------------------------------


def test_only_the_description_changes(api: Api):
    before = answered(api.post(ATTRIBUTES, AGE), 201)
    path = f"{ATTRIBUTES}/{before['id']}"
    for given, description in (
        ({"description": "Years"}, "Years"),
        ({"description": None}, None),
        ({**before, "description": "Again"}, "Again"),
        ({"name": "customer_age", "type": "number", "unknown": 1}, "Again"),
        ({}, "Again"),
        ({"description": ""}, None),
    ):
        after = answered(api.put(path, given))
        assert after == {**before, "description": description, "updatedAt": after["updatedAt"]}
    for change in (
        {"displayName": "Age"},
        {"name": "age"},
        {"type": "text"},
        {"type": None},
        {"id": NOBODY},
        {"organizationId": NOBODY},
    ):
        assert fields_of(api.put(path, {"description": "New", **change})) == set(change)
    assert answered(api.get(path))["description"] is None
    assert fields_of(api.put(path, {"description": 5})) == {"description"}


def test_a_deleted_attribute_hides_its_values_for_good(api: Api):
    attribute = make_attribute(api, "Tier")
    make_attribute(api, "Age", "number")
    contact = make(api, customAttributes={"tier": "gold", "age": 42})
    path = f"{CONTACT}/{contact['id']}"
    response = api.delete(f"{ATTRIBUTES}/{attribute['id']}")
    assert (response.status_code, response.content) == (204, b"")
    for method in ("get", "put", "delete"):
        assert_error(getattr(api, method)(f"{ATTRIBUTES}/{attribute['id']}"), 404)
    assert [each["name"] for each in api.get(ATTRIBUTES).json()] == ["age"]
    assert answered(api.get(path))["customAttributes"] == {"age": 42}
    assert fields_of(api.put(path, {"customAttributes": {"tier": "x"}})) == {"customAttributes.tier"}
    again = make_attribute(api, "Tier")
    assert again["id"] != attribute["id"]
    assert answered(api.get(path))["customAttributes"] == {"age": 42}
    assert answered(api.put(path, {"customAttributes": {"tier": "new"}}))["customAttributes"] == {
        "age": 42,
        "tier": "new",
    }
    assert answered(api.put(path, {"customAttributes": None}))["customAttributes"] == {}
    # It is hidden, not lost.
    assert Contact.objects.get().attribute_values == {attribute["id"]: "gold"}


def test_a_strangers_attribute_is_missing_like_any_other(api: Api, stranger: Api):
    attribute = make_attribute(api, "Tier")
    for method in ("get", "put", "delete"):
        seen, missing = (
            assert_error(getattr(stranger, method)(f"{ATTRIBUTES}/{pk}", {"description": "x"}), 404)
            for pk in (attribute["id"], NOBODY)
        )
        assert {**seen, "timestamp": "", "path": ""} == {**missing, "timestamp": "", "path": ""}
    assert stranger.get(ATTRIBUTES).json() == []
    assert answered(api.get(f"{ATTRIBUTES}/{attribute['id']}")) == attribute


def test_who_may_only_read_writes_nothing(api: Api, reader: Api):
    attribute = make_attribute(api, "Tier")
    assert reader.get(ATTRIBUTES).json() == [attribute]
    assert_error(reader.post(ATTRIBUTES, AGE), 403)
    for method in ("put", "delete"):
        assert_error(getattr(reader, method)(f"{ATTRIBUTES}/{attribute['id']}"), 403)
    assert api.get(ATTRIBUTES).json() == [attribute]


# --- values -------------------------------------------------------------------------------------------------------

GOOD: list[tuple[str, str, Any]] = [  # type, value as JSON, and as it is answered
    ("text", '"gold"', "gold"),
    ("text", '""', ""),
    ("text", '"  spaces  "', "  spaces  "),
    ("text", json.dumps("م" * 1000), "م" * 1000),
    ("text", '"😀 {{ $contact.firstName }} \\n\\u202e"', "😀 {{ $contact.firstName }} \n\u202e"),
    ("number", "42", 42),
    ("number", "0", 0),
    ("number", "-7", -7),
    ("number", "0.1", 0.1),
    ("number", "1.50", 1.5),
    ("number", "5.0", 5.0),
    ("number", "1e3", 1000.0),
    ("number", "-1.5e-7", -1.5e-7),
    ("number", "999999999999999", 999999999999999),
    ("number", "123456789.123456", 123456789.123456),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("date", '"2026-11-26"', "2026-11-26"),
    ("date", '"2024-02-29"', "2024-02-29"),
    ("date", '"0001-01-01"', "0001-01-01"),
    ("phone_number", '"0501234567"', "+966501234567"),
    ("phone_number", '"+44 7400 123456"', "+447400123456"),
    ("phone_number", '"٠٥٠١٢٣٤٥٦٧"', "+966501234567"),
    ("email", '"sara@example.com"', "sara@example.com"),
    ("url", '"https://example.com/a?b=c#d"', "https://example.com/a?b=c#d"),
    ("url", '"http://localhost:8000"', "http://localhost:8000"),
    ("url", '"https://مثال.السعودية/"', "https://مثال.السعودية/"),
]  # fmt: skip
BAD: list[tuple[str, str]] = [
    ("text", "5"), ("text", "true"), ("text", "[]"), ("text", '{"a": 1}'), ("text", json.dumps("x" * 1001)),
    ("text", json.dumps("x" * 900_000)), ("text", '"\\u0000"'), ("text", '"\\ud800"'), ("text", '"a\\udfffb"'),
    ("number", '"42"'), ("number", "true"), ("number", "1e15"), ("number", "1000000000000000"), ("number", "-1e300"),
    ("number", "1e999"), ("number", "-1e999"), ("number", "1" * 400), ("number", "[]"), ("number", '""'),
    ("boolean", '"true"'), ("boolean", "1"), ("boolean", "0"), ("boolean", '""'),
    ("date", '"2026-02-29"'), ("date", '"2026-13-01"'), ("date", '"2026-1-1"'), ("date", '"20260101"'),
    ("date", '"2026-W01-1"'), ("date", '"2026-11-26T00:00:00Z"'), ("date", '"0000-01-01"'), ("date", "20261126"),
    ("date", '"٢٠٢٦-١١-٢٦"'), ("date", '"2026-11-26\\n"'), ("date", '""'),
    ("phone_number", '"123"'), ("phone_number", "966501234567"), ("phone_number", '""'), ("phone_number", '"x"'),
    ("email", '"sara"'), ("email", '""'), ("email", "1"), ("email", json.dumps(f"{'x' * 64}@{'y.' * 120}com")),
    ("url", '"example.com"'), ("url", '"ftp://example.com"'), ("url", '"javascript:alert(1)"'), ("url", '""'),
    ("url", '"https://exa mple.com"'), ("url", json.dumps(f"https://example.com/{'x' * 2000}")), ("url", "{}"),
]  # fmt: skip


def put_value(api: Api, contact: dict[str, Any], value: str) -> Any:
    body = f'{{"customAttributes": {{"it": {value}}}}}'
    return api.generic("PUT", f"{CONTACT}/{contact['id']}", body, content_type="application/json")


@pytest.mark.parametrize("kind", AttributeType.values)
def test_values_of_its_type_are_kept_as_they_are(api: Api, kind: str):
    make_attribute(api, "It", kind)
    contact = make(api)
    for _, value, expected in [each for each in GOOD if each[0] == kind]:
        answered(put_value(api, contact, value))
        found = answered(api.get(f"{CONTACT}/{contact['id']}"))["customAttributes"]
        assert found == {"it": expected}, value
        assert type(found["it"]) is type(expected), value


@pytest.mark.parametrize("kind", AttributeType.values)
def test_values_of_another_type_are_400(api: Api, kind: str):
    make_attribute(api, "It", kind)
    contact = make(api)
    for _, value in [each for each in BAD if each[0] == kind]:
        response = put_value(api, contact, value)
        assert response.status_code == 400, value[:50]
        assert fields_of(response) == {"customAttributes.it"}, value[:50]
        assert len(response.content) < 1000
    assert answered(api.get(f"{CONTACT}/{contact['id']}")) == contact


def test_what_is_no_json_is_400(api: Api):
    make_attribute(api, "It", "number")
    for value in ("NaN", "Infinity", "-Infinity", "1" * 5000):
        assert_error(put_value(api, make(api), value), 400)


def test_numbers_are_read_in_the_organizations_region(api: Api, organization: Organization):
    organization.default_region = "AE"
    organization.save()
    make_attribute(api, "It", "phone_number")
    assert make(api, customAttributes={"it": "0501234567"})["customAttributes"] == {"it": "+971501234567"}


# --- values in cells ----------------------------------------------------------------------------------------------


def cell(kind: AttributeType, text: str) -> attributes.Value:
    return attributes.from_text(CustomAttribute(type=kind), text, region="SA")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (AttributeType.TEXT, " gold ", "gold"),
        (AttributeType.NUMBER, "42", 42),
        (AttributeType.NUMBER, " -007 ", -7),
        (AttributeType.NUMBER, "+5", 5),
        (AttributeType.NUMBER, "1.50", 1.5),
        (AttributeType.NUMBER, "1,234,567.5", 1234567.5),
        (AttributeType.NUMBER, "٤٢", 42),
        (AttributeType.NUMBER, "١٬٢٣٤٫٥", 1234.5),
        (AttributeType.NUMBER, "1E+3", 1000.0),
        (AttributeType.BOOLEAN, "TRUE", True),
        (AttributeType.BOOLEAN, "yes", True),
        (AttributeType.BOOLEAN, "1", True),
        (AttributeType.BOOLEAN, "نعم", True),
        (AttributeType.BOOLEAN, "No", False),
        (AttributeType.BOOLEAN, "0", False),
        (AttributeType.BOOLEAN, "لا", False),
        (AttributeType.DATE, "2026-11-26", "2026-11-26"),
        (AttributeType.DATE, "٢٠٢٦-١١-٢٦", "2026-11-26"),
        (AttributeType.PHONE_NUMBER, "050 123 4567", "+966501234567"),
        (AttributeType.EMAIL, " sara@example.com ", "sara@example.com"),
        (AttributeType.URL, "https://example.com", "https://example.com"),
    ],
)
def test_a_cell_becomes_a_value(kind: AttributeType, text: str, value: Any):
    found = cell(kind, text)
    assert found == value
    assert type(found) is type(value)


REFUSED: list[tuple[AttributeType, str]] = [
    *[(kind, text) for kind in AttributeType for text in ("", "   ")],
    *[(kind, "maybe") for kind in AttributeType if kind != AttributeType.TEXT],
    *[(AttributeType.NUMBER, text) for text in ("1,5", "12,34", "1 000", "1.2.3", "--1", "0x10", "1e999", "9" * 41)],
    *[(AttributeType.NUMBER, text) for text in ("NaN", "inf", "1_000", "²", "-", ".", "9" * 16)],
    *[(AttributeType.DATE, text) for text in ("2026-02-30", "26/11/2026", "2026-11-26 00:00", "46352")],
    *[(AttributeType.BOOLEAN, text) for text in ("2", "t", "-")],
    (AttributeType.TEXT, "x" * 1001),
    (AttributeType.TEXT, "x\x00"),
]


def test_a_cell_that_is_no_value_is_refused():
    for kind, text in REFUSED:
        with pytest.raises(attributes.InvalidValue):
            raise AssertionError(f"{text!r} became {cell(kind, text)!r}")
