"""Doors of contacts: list and search, create, read, change, delete, upsert."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from contacts import attributes, search, services
from contacts.models import Contact
from contacts.paths import path_id
from contacts.serializers import ContactFieldsSerializer, ContactSerializer, UpsertedSerializer, UpsertSerializer
from linkit.error_responses import field_errors
from linkit.errors import InvalidInput, TooLarge
from linkit.permissions import Scope, organization_of
from linkit.schema import contact_errors, example

TAG = "Contacts"
MAX_UPSERT = 1000

FIELDS_EXAMPLE = {
    "primaryPhone": "0501234567",
    "firstName": "Sara",
    "lastName": "Alqahtani",
    "primaryEmail": "sara@example.com",
    "city": "Riyadh",
    "gender": "female",
    "channels": ["sms"],
    "customAttributes": {"customer_age": 42, "is_member": True},
}
CONTACT_EXAMPLE = {
    "id": "550e8400-e29b-41d4-a716-446655440001",
    "organizationId": "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10",
    **FIELDS_EXAMPLE,
    "primaryPhone": "+966501234567",
    **dict.fromkeys(("fullName", "address", "state", "zip", "occupation", "preferredChannel")),
    "createdAt": "2026-11-23T09:00:00Z",
    "updatedAt": "2026-11-23T09:00:00Z",
}
_TAKEN = 409  # the number is another contact's


def _context(request: Request) -> dict[str, Any]:
    organization = organization_of(request)
    return {"organization": organization, "attributes": attributes.live(organization)}


def _contact(request: Request, contact_id: str) -> Contact:
    return services.find(organization=organization_of(request), contact_id=path_id(contact_id))


class ContactsView(GenericAPIView[Contact]):
    queryset = Contact.objects.none()  # for the schema; `get` scopes its own
    serializer_class = ContactSerializer
    pagination_class = search.SearchPagination
    required_scopes = {"POST": Scope.CONTACTS}
    # Each has an index.
    sort_fields = {
        "createdAt": "created_at",
        "updatedAt": "updated_at",
        "firstName": "first_name",
        "lastName": "last_name",
    }
    default_sort = "-createdAt"

    @extend_schema(
        operation_id="contacts_list",
        tags=[TAG],
        summary="List and search contacts",
        parameters=[
            OpenApiParameter(
                "search",
                str,
                description=(
                    "Words, each of which is anywhere in a name, the e-mail address or the number, also as it is"
                    " dialled at home. Case, marks and variants of a letter do not matter, nor the script of digits."
                    f" Read up to {search.LONGEST} characters."
                ),
            )
        ],
        responses={200: ContactSerializer(many=True), **contact_errors(400)},
        examples=[example(CONTACT_EXAMPLE, status=200)],
    )
    def get(self, request: Request) -> Response:
        contacts = Contact.objects.live().filter(organization=organization_of(request))
        rows = self.paginate_queryset(contacts)
        return self.get_paginated_response(ContactSerializer(rows, many=True, context=_context(request)).data)

    @extend_schema(
        operation_id="contacts_create",
        tags=[TAG],
        summary="Create a contact",
        request=ContactFieldsSerializer,
        responses={201: ContactSerializer, **contact_errors(400, _TAKEN, 413, 415)},
        examples=[example(FIELDS_EXAMPLE, request=True), example(CONTACT_EXAMPLE, status=201)],
    )
    def post(self, request: Request) -> Response:
        context = _context(request)
        serializer = ContactFieldsSerializer(data=request.data, context=context)
        serializer.is_valid(raise_exception=True)
        contact = services.create(organization=context["organization"], fields=serializer.validated_data)
        return Response(ContactSerializer(contact, context=context).data, status=201)


class UpsertView(APIView):
    """Many contacts in one request, each checked for itself."""

    required_scopes = {"POST": Scope.CONTACTS}

    @extend_schema(
        operation_id="contacts_upsert",
        tags=[TAG],
        summary="Create or change many contacts",
        description=(
            f"Up to {MAX_UPSERT:,} contacts, found by their number: one that is there is changed in what is given, any"
            " other is created. A number that comes twice is changed by the second. What is wrong is told by index and"
            " stops no other; the rest is written as a whole."
        ),
        request=UpsertSerializer,
        responses={200: UpsertedSerializer, **contact_errors(400, 413, 415)},
        examples=[
            example({"data": [FIELDS_EXAMPLE, {"primaryPhone": "123"}]}, request=True),
            example(
                {
                    "created": 1,
                    "updated": 0,
                    "errors": [{"index": 1, "fieldErrors": {"primaryPhone": ["The number is too short."]}}],
                },
                status=200,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        items = request.data.get("data") if isinstance(request.data, dict) else None
        if not isinstance(items, list):
            sentence = "data must be a list of contacts."
            raise InvalidInput(sentence, fields={"data": [sentence]})
        if len(items) > MAX_UPSERT:
            raise TooLarge(f"At most {MAX_UPSERT:,} contacts at once; nothing was written.")
        context = _context(request)
        serializer = ContactFieldsSerializer(context=context)
        rows, wrong = [], []
        for index, item in enumerate(items):
            try:
                rows.append(serializer.run_validation(item))
            except ValidationError as error:
                wrong.append({"index": index, "fieldErrors": field_errors(error)})
        written = services.upsert(organization=context["organization"], rows=rows)
        return Response({"created": written.created, "updated": written.updated, "errors": wrong})


class ContactView(APIView):
    required_scopes = {"PUT": Scope.CONTACTS, "DELETE": Scope.CONTACTS}

    @extend_schema(
        operation_id="contacts_read",
        tags=[TAG],
        summary="One contact",
        responses={200: ContactSerializer, **contact_errors(400, 404)},
        examples=[example(CONTACT_EXAMPLE, status=200)],
    )
    def get(self, request: Request, contact_id: str) -> Response:
        contact = _contact(request, contact_id)
        return Response(ContactSerializer(contact, context=_context(request)).data)

    @extend_schema(
        operation_id="contacts_change",
        tags=[TAG],
        summary="Change a contact",
        description='What is not given stays. Null or "" clears a field; the number cannot be cleared.',
        request=ContactFieldsSerializer(partial=True),
        responses={200: ContactSerializer, **contact_errors(400, 404, _TAKEN, 413, 415)},
        examples=[
            example({"city": "Jeddah", "customAttributes": {"customer_age": 43}}, request=True),
            example(
                {**CONTACT_EXAMPLE, "city": "Jeddah", "customAttributes": {"customer_age": 43, "is_member": True}},
                status=200,
            ),
        ],
    )
    def put(self, request: Request, contact_id: str) -> Response:
        contact, context = _contact(request, contact_id), _context(request)
        serializer = ContactFieldsSerializer(data=request.data, partial=True, context=context)
        serializer.is_valid(raise_exception=True)
        changed = services.change(contact=contact, fields=serializer.validated_data)
        return Response(ContactSerializer(changed, context=context).data)

    @extend_schema(
        operation_id="contacts_delete",
        tags=[TAG],
        summary="Delete a contact",
        description="Its number is free again, and it is in no audience any more.",
        responses={204: None, **contact_errors(400, 404)},
    )
    def delete(self, request: Request, contact_id: str) -> Response:
        services.delete(contact=_contact(request, contact_id))
        return Response(status=204)
