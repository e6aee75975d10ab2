"""POST /api/sms/send and /api/sms/preview: the table of the contract, row by row."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection

from billing import ledger
from billing.models import CreditTransaction, Hold, Kind, Rate
from contacts.models import Contact, CustomAttribute
from linkit import clock
from linkit.models import Organization, Role
from sms_providers.models import OrganizationApp, SenderId, SmsLog
from tests import factories
from tests.conftest import Api

SEND, PREVIEW = "/api/sms/send", "/api/sms/preview"
RATE = 1.887


@pytest.fixture
def contact(organization: Organization) -> Contact:
    tier = CustomAttribute.objects.create(
        organization=organization, name="loyalty_tier", display_name="Loyalty Tier", type="text"
    )
    return factories.make_contact(
        organization, "+966501234567", first_name="Sara", last_name="Ali", attribute_values={str(tier.pk): "gold"}
    )


@pytest.fixture
def credits(organization: Organization) -> None:
    factories.top_up(organization, "10")


@pytest.fixture
def body(contact: Contact, sender: SenderId, credits: None) -> dict[str, Any]:
    """A request that succeeds."""
    return {
        "contactId": str(contact.pk),
        "senderId": str(sender.pk),
        "messageTemplate": "Hello {{ $contact.firstName }}, your tier is {{$contact.customAttributes.loyalty_tier}}.",
    }


def assert_nothing_happened(organization: Organization) -> None:
    assert not SmsLog.objects.exists()
    assert not Hold.objects.exists()
    assert not CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).exists()
    assert ledger.balance_of(organization).held == 0


def test_a_success(api: Api, organization: Organization, body: dict[str, Any]):
    response = api.post(SEND, body)
    assert response.status_code == 201
    log = SmsLog.objects.get()
    assert response.json() == {
        "success": True,
        "messageId": f"sandbox-{log.pk}",
        "smsLogId": str(log.pk),
        "smsParts": 1,
        "encoding": "GSM-7",
        "creditCharged": RATE,
    }
    assert (log.recipient, log.text, log.sender_id, log.source) == (
        "+966501234567", "Hello Sara, your tier is gold.", "MyBrand", "contact",
    )  # fmt: skip
    assert api.get("/api/credits/balance").json() == {"balance": 8.113, "held": 0, "available": 8.113}
    (charge, _) = api.get("/api/credits/transactions").json()["data"]
    assert (charge["id"], charge["type"], charge["amount"], charge["smsProgramId"]) == (
        str(log.pk), "sms_charge", -RATE, None,
    )  # fmt: skip
    call_command("audit_credits")


@pytest.mark.parametrize(
    ("text", "parts", "encoding", "charged"),
    [
        ("x" * 161, 2, "GSM-7", 3.774),
        ("x" * 307, 3, "GSM-7", 5.661),
        ("{" * 80, 1, "GSM-7 Extended", 1.887),
        ("مرحبا", 1, "UCS-2", 1.887),
        ("🙂" * 36, 2, "UCS-2", 3.774),
    ],
)
def test_parts_are_charged_exactly(
    api: Api, body: dict[str, Any], contact: Contact, text: str, parts, encoding, charged
):
    # Through a value, since `{{` would be a placeholder.
    (attribute,) = contact.attribute_values
    Contact.objects.filter(pk=contact.pk).update(attribute_values={attribute: text})
    answer = api.post(SEND, {**body, "messageTemplate": "{{ $contact.customAttributes.loyalty_tier }}"}).json()
    assert (answer["smsParts"], answer["encoding"], answer["creditCharged"]) == (parts, encoding, charged)


@pytest.mark.parametrize(
    ("number", "outcome", "held"),
    [
        ("+966555555504", "rejected", 0),
        ("+966555555507", "unavailable", 0),
        ("+966555555508", "unavailable", 0),
        ("+966555555509", "unknown", RATE),
    ],
)
def test_every_other_outcome_is_201_too(
    api: Api, contact: Contact, body: dict[str, Any], number: str, outcome: str, held: float
):
    Contact.objects.filter(pk=contact.pk).update(primary_phone=number)
    response = api.post(SEND, body)
    assert response.status_code == 201
    answer = response.json()
    assert set(answer) == {"success", "smsLogId", "smsParts", "encoding", "error", "outcome", "creditCharged"}
    assert (answer["success"], answer["outcome"], answer["creditCharged"]) == (False, outcome, 0)
    assert answer["error"]
    assert api.get("/api/credits/balance").json() == {"balance": 10, "held": held, "available": 10 - held}
    call_command("audit_credits")


def test_a_gateway_that_is_metered_too_charges_once(api: Api, body: dict[str, Any], sandbox: OrganizationApp):
    OrganizationApp.objects.update(is_metered=True)
    assert api.post(SEND, body).json()["creditCharged"] == RATE
    assert api.get("/api/credits/balance").json()["balance"] == 8.113


# --- the table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"contactId": None}, "contactId"),
        ({"contactId": "no-uuid"}, "contactId"),
        ({"contactId": 7}, "contactId"),
        ({"senderId": ""}, "senderId"),
        ({"senderId": ["x"]}, "senderId"),
        ({"messageTemplate": ""}, "messageTemplate"),
        ({"messageTemplate": 5}, "messageTemplate"),
        ({"messageTemplate": {"a": 1}}, "messageTemplate"),
        ({"messageTemplate": "a\x00b"}, "messageTemplate"),
        ({"messageTemplate": "{{" * 100_000}, "messageTemplate"),
    ],
)
def test_1_a_malformed_body(api: Api, organization: Organization, body: dict[str, Any], change: dict, field: str):
    response = api.post(SEND, {**body, **change})
    assert response.status_code == 400
    answer = response.json()
    assert (answer["error"], answer["code"], answer["path"]) == ("BadRequestException", "BAD_REQUEST", SEND)
    assert set(answer["fieldErrors"]) == {field}
    assert_nothing_happened(organization)


@pytest.mark.parametrize("content", ["", "[]", "{", '"x"', "null"])
def test_1_a_body_that_is_no_object(api: Api, organization: Organization, body: dict[str, Any], content: str):
    response = api.generic("POST", SEND, content, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["statusCode"] == 400
    assert_nothing_happened(organization)


def fails(response: Any, status: int, error: str, code: str) -> bool:
    answer = response.json()
    return (response.status_code, answer["statusCode"], answer["error"], answer["code"]) == (
        status, status, error, code,
    )  # fmt: skip


def test_each_check_comes_before_the_next(
    api: Api, organization: Organization, other_organization: Organization, body: dict[str, Any], sender: SenderId,
    contact: Contact, sandbox: OrganizationApp,
):  # fmt: skip
    """Everything is wrong at once; each fault that is mended shows the next of the table."""
    ledger.adjust(organization=organization, amount=Decimal(-10), description="spent")
    theirs = factories.make_sender(other_organization, None, status="reserved")
    wrong = {"contactId": str(uuid4()), "senderId": str(uuid4()), "messageTemplate": "{{ $contact.city }}"}
    assert fails(api.post(SEND, wrong), 404, "SenderIdNotFoundError", "SENDER_ID_NOT_FOUND")
    wrong["senderId"] = str(theirs.pk)
    assert fails(api.post(SEND, wrong), 400, "SenderIdNotActiveError", "SENDER_ID_NOT_ACTIVE")
    SenderId.objects.filter(pk=theirs.pk).update(status="active")
    assert fails(api.post(SEND, wrong), 400, "SenderIdNotAccessibleError", "SENDER_ID_NOT_ACCESSIBLE")
    SenderId.objects.filter(pk=theirs.pk).update(organization=None)
    no_gateway = api.post(SEND, wrong)
    assert fails(no_gateway, 400, "SenderIdNotActiveError", "SENDER_ID_NOT_ACTIVE")
    assert "gateway" in no_gateway.json()["message"]
    wrong["senderId"] = body["senderId"]
    assert fails(api.post(SEND, wrong), 404, "ContactNotFoundError", "CONTACT_NOT_FOUND")
    wrong["contactId"] = str(contact.pk)
    assert fails(api.post(SEND, wrong), 402, "InsufficientCreditsError", "INSUFFICIENT_CREDITS")
    factories.top_up(organization, "0.0001")
    missing = api.post(SEND, wrong)
    assert fails(missing, 400, "BadRequestException", "BAD_REQUEST")
    assert "city" in missing.json()["message"]
    assert_nothing_happened(organization)
    assert api.post(SEND, {**wrong, "messageTemplate": "Hello"}).json()["success"]


@pytest.mark.parametrize("status", ["inactive", "reserved"])
def test_3_a_sender_id_that_is_not_active(api: Api, body: dict[str, Any], sender: SenderId, status: str):
    SenderId.objects.update(status=status)
    assert fails(api.post(SEND, body), 400, "SenderIdNotActiveError", "SENDER_ID_NOT_ACTIVE")


@pytest.mark.parametrize(
    "change",
    [{"is_enabled": False}, {"uninstalled_at": clock.now}, {"slug": "gone-sms"}, {"credentials": "unreadable"}],
)
def test_4b_a_gateway_that_cannot_send(api: Api, organization: Organization, body: dict[str, Any], change: dict):
    if "credentials" in change:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE sms_providers_organizationapp SET credentials = 'no key decrypts this'")
    else:
        fields = {name: value() if callable(value) else value for name, value in change.items()}
        OrganizationApp.objects.update(**fields)
    assert fails(api.post(SEND, body), 400, "SenderIdNotActiveError", "SENDER_ID_NOT_ACTIVE")
    assert_nothing_happened(organization)


def test_5_a_foreign_or_deleted_contact_is_missing(
    api: Api, organization: Organization, other_organization: Organization, body: dict[str, Any], contact: Contact
):
    theirs = factories.make_contact(other_organization)
    contact.deleted_at = clock.now()
    contact.save()
    answers = [api.post(SEND, {**body, "contactId": str(each)}).json() for each in (theirs.pk, contact.pk, uuid4())]
    assert {answer["error"] for answer in answers} == {"ContactNotFoundError"}
    assert len({answer["message"] for answer in answers}) == 1
    assert_nothing_happened(organization)


@pytest.mark.parametrize(
    "template",
    [
        "{{ $contact.city }}",
        "{{ $contact.nothing }}",
        "{{ $contact.customAttributes.nothing }}",
        "{{ $organization.name }}",
        "{{ $contact.organization }}",
        "{{ $contact.__class__ }}",
        "{{ settings.SECRET_KEY }}",
        "{% load x %}{{ $contact.firstName|safe }}",
        "Hello {{",
    ],
)
def test_7_a_variable_that_is_missing(api: Api, organization: Organization, body: dict[str, Any], template: str):
    assert fails(api.post(SEND, {**body, "messageTemplate": template}), 400, "BadRequestException", "BAD_REQUEST")
    assert_nothing_happened(organization)


def test_7_every_missing_variable_is_named(api: Api, body: dict[str, Any]):
    template = "{{ $contact.city }} {{ $contact.customAttributes.age }} {{ $contact.zip }} {{ $contact.city }}"
    message = api.post(SEND, {**body, "messageTemplate": template}).json()["message"]
    for name in ("city", "customAttributes.age", "zip"):
        assert message.count(name) == 1


@pytest.mark.parametrize("text", ["   ", "x" * 1601, "م" * 671])
def test_a_text_that_cannot_be_sent(api: Api, organization: Organization, body: dict[str, Any], text: str):
    assert fails(api.post(SEND, {**body, "messageTemplate": text}), 400, "BadRequestException", "BAD_REQUEST")
    assert_nothing_happened(organization)


def test_values_are_never_expanded_again(api: Api, body: dict[str, Any], contact: Contact):
    Contact.objects.filter(pk=contact.pk).update(first_name="{{ $contact.phone }}")
    api.post(SEND, body)
    assert SmsLog.objects.get().text == "Hello {{ $contact.phone }}, your tier is gold."


# --- shared sender IDs ----------------------------------------------------------------------------------------


def test_the_platforms_gateway_is_lent_by_a_shared_sender_id(
    api: Api, organization: Organization, other_organization: Organization, install: Callable, body: dict[str, Any]
):
    platform = install(other_organization, "sandbox-sms")
    shared = factories.make_sender(None, platform, sender_id="Platform")
    assert api.post(SEND, {**body, "senderId": str(shared.pk)}).json()["success"]
    log = SmsLog.objects.get()
    assert (log.organization, log.app, log.sender_id) == (organization, platform, "Platform")
    assert ledger.balance_of(organization).balance == Decimal("8.113")
    assert ledger.balance_of(other_organization).balance == 0
    assert api.get(f"/api/v1/sms/logs/{log.pk}").status_code == 200


def test_sender_ids_are_listed(
    api: Api, organization: Organization, other_organization: Organization, sender: SenderId
):
    factories.make_sender(other_organization, None, sender_id="Theirs")
    factories.make_sender(organization, None, sender_id="Off", status="inactive")
    shared = factories.make_sender(None, None, sender_id="Shared", description="For orders")
    answer = api.get("/api/sender-ids/available").json()
    assert [row["senderId"] for row in answer["data"]] == ["MyBrand", "Shared"]
    assert answer["meta"]["total"] == 2
    assert answer["data"][1] == {
        "id": str(shared.pk),
        "senderId": "Shared",
        "country": "SA",
        "description": "For orders",
        "isShared": True,
        "organizationId": None,
        "status": "active",
        "createdAt": answer["data"][1]["createdAt"],
        "updatedAt": answer["data"][1]["updatedAt"],
    }
    found = api.get("/api/sender-ids/available", {"search": "ORDER", "limit": "1"}).json()
    assert [row["senderId"] for row in found["data"]] == ["Shared"]


# --- keys and roles -------------------------------------------------------------------------------------------


def test_a_test_key_is_simulated_and_free(api: Api, organization: Organization, body: dict[str, Any], sandbox):
    ledger.adjust(organization=organization, amount=Decimal(-10), description="spent")
    OrganizationApp.objects.update(slug="mora-sms")
    tester = api.using(factories.make_api_key(organization, is_test=True))
    answer = tester.post(SEND, body).json()
    assert (answer["success"], answer["creditCharged"]) == (True, 0)
    log = SmsLog.objects.get()
    assert (log.is_test, log.provider_slug, log.credit_cost) == (True, "sandbox-sms", None)


def test_who_may_send(anonymous: Api, api: Api, organization: Organization, body: dict[str, Any]):
    reader = api.using(factories.make_api_key(organization, scopes=("read", "manage")))
    for url in (SEND, PREVIEW):
        assert anonymous.post(url, body).status_code == 401
        assert reader.post(url, body).json()["error"] == "ForbiddenException"
        assert api.get(url).json()["error"] == "MethodNotAllowedException"
    assert not SmsLog.objects.exists()


def test_every_header_form_works(anonymous: Api, organization: Organization, body: dict[str, Any]):
    secret = factories.make_api_key(organization)
    assert anonymous.post(SEND, body, HTTP_X_API_KEY=secret).status_code == 201


def test_a_repeat_with_its_key_gets_the_first_answer(api: Api, organization: Organization, body: dict[str, Any]):
    key: dict[str, Any] = {"HTTP_IDEMPOTENCY_KEY": "order-1"}
    first = api.post(SEND, body, **key).json()
    ledger.adjust(organization=organization, amount=Decimal(-10), description="spent")
    SenderId.objects.update(status="inactive")
    assert api.post(SEND, body, **key).json() == first
    other = api.post(SEND, {**body, "messageTemplate": "Other"}, **key)
    assert fails(other, 409, "ConflictException", "CONFLICT")
    assert SmsLog.objects.count() == 1


# --- preview --------------------------------------------------------------------------------------------------


def test_a_preview_sends_nothing(api: Api, organization: Organization, contact: Contact):
    Rate.objects.create(prefix="966", price=Decimal("0.25"), valid_from=clock.now().date())
    answer = api.post(PREVIEW, {"messageTemplate": "👋 {{ $contact.fullName }}, é’", "contactId": str(contact.pk)})
    assert answer.status_code == 200
    assert answer.json() == {
        "text": "👋 Sara Ali, é’",
        "encoding": "UCS-2",
        "smsParts": 1,
        "creditCost": 0.25,
        "missing": [],
        "ucs2Characters": [{"character": "👋", "index": 0}, {"character": "’", "index": 13}],
    }
    assert_nothing_happened(organization)


def test_a_preview_names_what_is_missing(api: Api, contact: Contact):
    template = "{{ $contact.firstName }} {{ $contact.city }}{{ $contact.customAttributes.age }}"
    answer = api.post(PREVIEW, {"messageTemplate": template, "contactId": str(contact.pk)}).json()
    assert (answer["text"], answer["missing"]) == ("Sara ", ["city", "customAttributes.age"])
    nobody = api.post(PREVIEW, {"messageTemplate": template}).json()
    assert nobody["missing"] == ["firstName", "city", "customAttributes.age"]
    assert nobody["creditCost"] == RATE


def test_a_preview_for_a_foreign_contact_is_missing(api: Api, other_organization: Organization):
    theirs = factories.make_contact(other_organization)
    response = api.post(PREVIEW, {"messageTemplate": "Hi", "contactId": str(theirs.pk)})
    assert fails(response, 404, "ContactNotFoundError", "CONTACT_NOT_FOUND")


def test_a_person_may_send_by_role(anonymous: Api, organization: Organization, body: dict[str, Any]):
    for role, status in [(Role.VIEWER, 403), (Role.OPERATOR, 201), (Role.ADMIN, 201)]:
        person = factories.make_user(organization, role=role)
        token = anonymous.post("/api/v1/auth/login", {"email": person.email, "password": factories.PASSWORD}).json()[
            "token"
        ]
        assert anonymous.using(token).post(SEND, body).status_code == status
