"""Doors of audiences: the lists, and the contacts on them."""

from __future__ import annotations

from typing import Any

import django_filters.rest_framework
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from contacts import attributes, audiences
from contacts.api import CONTACT_EXAMPLE, TAG
from contacts.models import Audience, AudienceMember, Contact
from contacts.paths import path_id
from contacts.serializers import (
    AddedSerializer,
    AudienceFieldsSerializer,
    AudienceSerializer,
    ContactIdsSerializer,
    ContactSerializer,
    NewAudienceSerializer,
    RemovedSerializer,
)
from linkit.pagination import ContactPagination, count_up_to_cap
from linkit.permissions import Scope, caller_of, organization_of
from linkit.schema import contact_errors, example

_FIELDS = {"name": "Members", "description": "Since the autumn"}
_IDS = {"contactIds": ["550e8400-e29b-41d4-a716-446655440001"]}
_AUDIENCE = {
    "id": "550e8400-e29b-41d4-a716-446655440003",
    "organizationId": "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10",
    **_FIELDS,
    "contactCount": 1,
    "createdAt": "2026-11-23T09:00:00Z",
    "updatedAt": "2026-11-23T09:00:00Z",
}


def _audience(request: Request, audience_id: str) -> Audience:
    return audiences.find(organization=organization_of(request), audience_id=path_id(audience_id))


def _answer(audience: Audience) -> Any:
    return AudienceSerializer(audience, context={"counts": audiences.counts([audience])}).data


class AudienceFilter(django_filters.FilterSet):
    search = django_filters.CharFilter(
        field_name="name", lookup_expr="icontains", max_length=100, help_text="In the name."
    )

    class Meta:
        model = Audience
        fields: list[str] = []


class AudiencesView(GenericAPIView[Audience]):
    queryset = Audience.objects.none()  # for the schema; `get` scopes its own
    serializer_class = AudienceSerializer
    pagination_class = ContactPagination
    filter_backends = [django_filters.rest_framework.DjangoFilterBackend]
    filterset_class = AudienceFilter
    required_scopes = {"POST": Scope.CONTACTS}
    sort_fields = {"createdAt": "created_at", "name": "name"}
    default_sort = "-createdAt"

    @extend_schema(
        operation_id="audiences_list",
        tags=[TAG],
        summary="List audiences",
        responses={200: AudienceSerializer(many=True), **contact_errors(400)},
        examples=[example(_AUDIENCE, status=200)],
    )
    def get(self, request: Request) -> Response:
        own: QuerySet[Audience] = Audience.objects.filter(organization=organization_of(request))
        rows = self.paginate_queryset(self.filter_queryset(own)) or []
        context = {"counts": audiences.counts(rows)}
        return self.get_paginated_response(AudienceSerializer(rows, many=True, context=context).data)

    @extend_schema(
        operation_id="audiences_create",
        tags=[TAG],
        summary="Create an audience",
        request=NewAudienceSerializer,
        responses={201: AudienceSerializer, **contact_errors(400, 409, 413, 415)},
        examples=[example({**_FIELDS, **_IDS}, request=True), example(_AUDIENCE, status=201)],
    )
    def post(self, request: Request) -> Response:
        serializer = NewAudienceSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        audience = audiences.create(
            organization=organization_of(request), user=caller_of(request).user, **serializer.validated_data
        )
        return Response(_answer(audience), status=201)


class AudienceView(APIView):
    required_scopes = {"PUT": Scope.CONTACTS, "DELETE": Scope.CONTACTS}

    @extend_schema(
        operation_id="audiences_read",
        tags=[TAG],
        summary="One audience",
        responses={200: AudienceSerializer, **contact_errors(400, 404)},
        examples=[example(_AUDIENCE, status=200)],
    )
    def get(self, request: Request, audience_id: str) -> Response:
        return Response(_answer(_audience(request, audience_id)))

    @extend_schema(
        operation_id="audiences_change",
        tags=[TAG],
        summary="Rename or describe an audience",
        description="What is not given stays.",
        request=AudienceFieldsSerializer(partial=True),
        responses={200: AudienceSerializer, **contact_errors(400, 404, 409, 413, 415)},
        examples=[
            example({"name": "Old members"}, request=True),
            example({**_AUDIENCE, "name": "Old members"}, status=200),
        ],
    )
    def put(self, request: Request, audience_id: str) -> Response:
        audience = _audience(request, audience_id)
        serializer = AudienceFieldsSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return Response(_answer(audiences.change(audience=audience, **serializer.validated_data)))

    @extend_schema(
        operation_id="audiences_delete",
        tags=[TAG],
        summary="Delete an audience",
        description="Its contacts stay.",
        responses={204: None, **contact_errors(400, 404)},
    )
    def delete(self, request: Request, audience_id: str) -> Response:
        audiences.delete(audience=_audience(request, audience_id))
        return Response(status=204)


class MemberPagination(ContactPagination):
    """Pages of the contacts behind members. Only members are counted: deleting a contact takes it off all lists."""

    def fetch(self, queryset: QuerySet[AudienceMember], start: int, stop: int) -> tuple[list[Contact], int]:
        ids = list(queryset.order_by("contact_id").values_list("contact_id", flat=True)[start:stop])
        contacts = Contact.objects.live().in_bulk(ids)
        return [contacts[pk] for pk in ids if pk in contacts], count_up_to_cap(queryset)


class AudienceContactsView(GenericAPIView[Contact]):
    queryset = Contact.objects.none()  # for the schema; `get` scopes its own
    serializer_class = ContactSerializer
    pagination_class = MemberPagination
    required_scopes = {"POST": Scope.CONTACTS, "DELETE": Scope.CONTACTS}

    @extend_schema(
        operation_id="audience_contacts_list",
        tags=[TAG],
        summary="List the contacts of an audience",
        responses={200: ContactSerializer(many=True), **contact_errors(400, 404)},
        examples=[example(CONTACT_EXAMPLE, status=200)],
    )
    def get(self, request: Request, audience_id: str) -> Response:
        pages = MemberPagination()
        members = AudienceMember.objects.filter(audience=_audience(request, audience_id))
        rows = pages.paginate_queryset(members, request, self)
        context = {"attributes": attributes.live(organization_of(request))}
        return pages.get_paginated_response(ContactSerializer(rows, many=True, context=context).data)

    @extend_schema(
        operation_id="audience_contacts_add",
        tags=[TAG],
        summary="Put contacts on an audience",
        description="All of them or, when one is not yours, none.",
        request=ContactIdsSerializer,
        responses={200: AddedSerializer, **contact_errors(400, 404, 413, 415)},
        examples=[example(_IDS, request=True), example({"added": 1, "total": 1}, status=200)],
    )
    def post(self, request: Request, audience_id: str) -> Response:
        audience, ids = self._read(request, audience_id)
        added = audiences.add(audience=audience, contact_ids=ids)
        return Response({"added": added, "total": audiences.counts([audience])[audience.pk]})

    @extend_schema(
        operation_id="audience_contacts_remove",
        tags=[TAG],
        summary="Take contacts off an audience",
        description=(
            "All of them or, when one is not yours, none. The body is as for putting them on, `{contactIds: […]}`;"
            " OpenAPI 3.0 has no way to say that of a DELETE."
        ),
        responses={200: RemovedSerializer, **contact_errors(400, 404, 413, 415)},
        examples=[example({"removed": 1, "total": 0}, status=200)],
    )
    def delete(self, request: Request, audience_id: str) -> Response:
        audience, ids = self._read(request, audience_id)
        removed = audiences.remove(audience=audience, contact_ids=ids)
        return Response({"removed": removed, "total": audiences.counts([audience])[audience.pk]})

    @staticmethod
    def _read(request: Request, audience_id: str) -> tuple[Audience, Any]:
        audience = _audience(request, audience_id)
        serializer = ContactIdsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return audience, serializer.validated_data["contact_ids"]
