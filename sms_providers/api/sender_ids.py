"""Sender IDs over HTTP: those that an organization may send under."""

from __future__ import annotations

from typing import Any

import django_filters.rest_framework
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from linkit.pagination import ContactPagination
from linkit.permissions import organization_of
from linkit.schema import contact_errors, example
from sms_providers.models import SenderId, SenderIdStatus


class SenderIdSerializer(serializers.ModelSerializer[SenderId]):
    senderId = serializers.CharField(source="sender_id")
    isShared = serializers.BooleanField(source="is_shared", help_text="Lent to every organization by the platform.")
    organizationId = serializers.UUIDField(source="organization_id", allow_null=True, help_text="Null: shared.")
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    class Meta:
        model = SenderId
        fields = [
            "id", "senderId", "country", "description", "isShared", "organizationId", "status", "createdAt",
            "updatedAt",
        ]  # fmt: skip


class SenderIdFilter(django_filters.FilterSet):
    search = django_filters.CharFilter(method="find", max_length=100, help_text="In the sender ID or description.")

    class Meta:
        model = SenderId
        fields: list[str] = []

    def find(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(Q(sender_id__icontains=value) | Q(description__icontains=value))


class SenderIdsView(GenericAPIView[SenderId]):
    queryset = SenderId.objects.none()  # for the schema; `get` scopes its own
    serializer_class = SenderIdSerializer
    pagination_class = ContactPagination
    filter_backends = [django_filters.rest_framework.DjangoFilterBackend]
    filterset_class = SenderIdFilter
    sort_fields = {"senderId": "sender_id", "createdAt": "created_at"}
    default_sort = "senderId"

    @extend_schema(
        operation_id="sender_ids_available",
        tags=["Contact SMS"],
        summary="The sender IDs you may send under",
        description="Active ones, shared or your own. They are managed in the console.",
        responses={200: SenderIdSerializer(many=True), **contact_errors(400)},
        examples=[
            example(
                {
                    "id": "550e8400-e29b-41d4-a716-446655440002",
                    "senderId": "MyBrand",
                    "country": "SA",
                    "description": "",
                    "isShared": True,
                    "organizationId": None,
                    "status": "active",
                    "createdAt": "2026-11-23T09:00:00Z",
                    "updatedAt": "2026-11-23T09:00:00Z",
                },
                status=200,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        senders = SenderId.objects.accessible_to(organization_of(request)).filter(status=SenderIdStatus.ACTIVE)
        rows = self.paginate_queryset(self.filter_queryset(senders))
        return self.get_paginated_response(SenderIdSerializer(rows, many=True).data)
