"""Doors of custom attributes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from contacts import attributes
from contacts.api import TAG
from contacts.models import CustomAttribute
from contacts.paths import path_id
from contacts.serializers import AttributeChangesSerializer, AttributeSerializer, NewAttributeSerializer
from linkit.permissions import Scope, organization_of
from linkit.schema import contact_errors, example

_NEW = {"displayName": "Customer Age", "description": "In years", "type": "number"}
_ATTRIBUTE = {
    "id": "550e8400-e29b-41d4-a716-446655440005",
    "organizationId": "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10",
    "name": "customer_age",
    **_NEW,
    "createdAt": "2026-11-23T09:00:00Z",
    "updatedAt": "2026-11-23T09:00:00Z",
}
# Of the answer, what a change may be given back with whatever value.
_CHANGING = {"description", "updatedAt"}


def _attribute(request: Request, attribute_id: str) -> CustomAttribute:
    return attributes.find(organization=organization_of(request), attribute_id=path_id(attribute_id))


class AttributesView(APIView):
    required_scopes = {"POST": Scope.CONTACTS}

    @extend_schema(
        operation_id="custom_attributes_list",
        tags=[TAG],
        summary="List custom attributes",
        description=f"All of them, oldest first: there are at most {attributes.MAX_ATTRIBUTES}.",
        responses={200: AttributeSerializer(many=True), **contact_errors()},
        examples=[example(_ATTRIBUTE, status=200)],
    )
    def get(self, request: Request) -> Response:
        found = attributes.live(organization_of(request))
        return Response(AttributeSerializer(list(found.values()), many=True).data)

    @extend_schema(
        operation_id="custom_attributes_create",
        tags=[TAG],
        summary="Create a custom attribute",
        description=(
            "`name` is made of the display name and must be new. An attribute that is named like a deleted one is"
            " another, without its values."
        ),
        request=NewAttributeSerializer,
        responses={201: AttributeSerializer, **contact_errors(400, 409, 413, 415)},
        examples=[example(_NEW, request=True), example(_ATTRIBUTE, status=201)],
    )
    def post(self, request: Request) -> Response:
        serializer = NewAttributeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        attribute = attributes.create(organization=organization_of(request), **serializer.validated_data)
        return Response(AttributeSerializer(attribute).data, status=201)


class AttributeView(APIView):
    required_scopes = {"PUT": Scope.CONTACTS, "DELETE": Scope.CONTACTS}

    @extend_schema(
        operation_id="custom_attributes_read",
        tags=[TAG],
        summary="One custom attribute",
        responses={200: AttributeSerializer, **contact_errors(400, 404)},
        examples=[example(_ATTRIBUTE, status=200)],
    )
    def get(self, request: Request, attribute_id: str) -> Response:
        return Response(AttributeSerializer(_attribute(request, attribute_id)).data)

    @extend_schema(
        operation_id="custom_attributes_change",
        tags=[TAG],
        summary="Change the description of a custom attribute",
        description="Nothing else changes: the rest may be given as it is, and is 400 when it differs.",
        request=AttributeChangesSerializer,
        responses={200: AttributeSerializer, **contact_errors(400, 404, 413, 415)},
        examples=[
            example({"description": "In whole years"}, request=True),
            example({**_ATTRIBUTE, "description": "In whole years"}, status=200),
        ],
    )
    def put(self, request: Request, attribute_id: str) -> Response:
        attribute = _attribute(request, attribute_id)
        serializer = AttributeChangesSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        _refuse_other_changes(attribute, request.data)
        if serializer.validated_data:
            attribute = attributes.change(attribute=attribute, **serializer.validated_data)
        return Response(AttributeSerializer(attribute).data)

    @extend_schema(
        operation_id="custom_attributes_delete",
        tags=[TAG],
        summary="Delete a custom attribute",
        description="All its values are hidden, and stay so when another is made with the same name.",
        responses={204: None, **contact_errors(400, 404)},
    )
    def delete(self, request: Request, attribute_id: str) -> Response:
        attributes.delete(attribute=_attribute(request, attribute_id))
        return Response(status=204)


def _refuse_other_changes(attribute: CustomAttribute, given: Any) -> None:
    present = AttributeSerializer(attribute).data
    fixed = [name for name in present if name not in _CHANGING and name in given and given[name] != present[name]]
    if fixed:
        raise serializers.ValidationError({name: ["Only the description can be changed."] for name in fixed})
