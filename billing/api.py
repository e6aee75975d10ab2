"""Credits over HTTP: what there is, and the ledger."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import django_filters.rest_framework
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import ledger
from billing.fields import CreditsField
from billing.models import CreditTransaction, Kind
from linkit import days
from linkit.models import Organization
from linkit.pagination import ContactPagination
from linkit.permissions import organization_of
from linkit.schema import contact_errors, example

_TAG = "Credits"


class CreditBalanceSerializer(serializers.Serializer[Any]):
    balance = CreditsField(help_text="The sum of the ledger. Below zero by less than one message at most.")
    held = CreditsField(help_text="Kept back for messages under way, or whose outcome nobody knows yet.")
    available = CreditsField(help_text="`balance` less `held`: a message is sent while it is above zero.")


class CreditBalanceView(APIView):
    @extend_schema(
        operation_id="credits_balance",
        tags=[_TAG],
        summary="The credits of your organization",
        responses={200: CreditBalanceSerializer, **contact_errors()},
        examples=[example({"balance": 994.339, "held": 1.887, "available": 992.452}, status=200)],
    )
    def get(self, request: Request) -> Response:
        return Response(CreditBalanceSerializer(ledger.balance_of(organization_of(request))).data)


class TransactionSerializer(serializers.ModelSerializer[CreditTransaction]):
    id = serializers.UUIDField(source="reference", help_text="Of an SMS its `smsLogId`.")
    organizationId = serializers.UUIDField(source="account_id")
    type = serializers.ChoiceField(source="kind", choices=Kind.choices)
    amount = CreditsField(help_text="Negative for a charge.")
    balanceAfter = CreditsField(source="balance_after")
    callId = serializers.SerializerMethodField(help_text="Always null.")
    smsProgramId = serializers.UUIDField(source="program_id", allow_null=True)
    createdBy = serializers.UUIDField(source="created_by_id", allow_null=True, help_text="Who topped up or adjusted.")
    createdAt = serializers.DateTimeField(source="created_at")

    class Meta:
        model = CreditTransaction
        fields = [
            "id", "organizationId", "type", "amount", "balanceAfter", "callId", "smsProgramId", "description",
            "createdBy", "createdAt",
        ]  # fmt: skip

    @extend_schema_field({"type": "string", "nullable": True, "example": None})
    def get_callId(self, entry: CreditTransaction) -> None:
        return None


class DayFilter(django_filters.CharFilter):
    """A day in the organization's time zone, or a moment in ISO 8601. `is_end`: a day counts to its end."""

    def __init__(self, *args: Any, is_end: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, max_length=40, **kwargs)
        self.is_end = is_end

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return qs
        organization = organization_of(self.parent.request)
        try:
            moment = self._moment(value.strip(), organization)
        except (ValueError, OverflowError):
            name = "endDate" if self.is_end else "startDate"
            raise ValidationError({name: ["Not a date such as 2026-11-23, or it does not exist."]}) from None
        return qs.filter(**{f"{self.field_name}__{'lt' if self.is_end else 'gte'}": moment})

    def _moment(self, text: str, organization: Organization) -> datetime:
        zone = ZoneInfo(organization.time_zone)
        if len(text) > len("2026-11-23"):
            # A `+` of an offset that was not escaped comes as a blank.
            moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        return (days.end if self.is_end else days.begin)(date.fromisoformat(text), zone)


class TransactionFilter(django_filters.FilterSet):
    startDate = DayFilter(field_name="created_at")
    endDate = DayFilter(field_name="created_at", is_end=True)

    class Meta:
        model = CreditTransaction
        fields: list[str] = []


_ENTRY = {
    "id": "550e8400-e29b-41d4-a716-446655440099",
    "organizationId": "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10",
    "type": "sms_charge",
    "amount": -1.887,
    "balanceAfter": 994.339,
    "callId": None,
    "smsProgramId": None,
    "description": "SMS, 1 part",
    "createdBy": None,
    "createdAt": "2026-11-23T09:00:01Z",
}


class TransactionsView(GenericAPIView[CreditTransaction]):
    queryset = CreditTransaction.objects.none()  # for the schema; `get` scopes its own
    serializer_class = TransactionSerializer
    pagination_class = ContactPagination
    filter_backends = [django_filters.rest_framework.DjangoFilterBackend]
    filterset_class = TransactionFilter

    @extend_schema(
        operation_id="credits_transactions",
        tags=[_TAG],
        summary="The ledger, newest first",
        parameters=[
            OpenApiParameter("startDate", str, description="From this day on, in your organization's time zone."),
            OpenApiParameter("endDate", str, description="To the end of this day."),
        ],
        responses={200: TransactionSerializer(many=True), **contact_errors(400)},
        examples=[example(_ENTRY, status=200)],
    )
    def get(self, request: Request) -> Response:
        entries = self.filter_queryset(CreditTransaction.objects.filter(account=organization_of(request).pk))
        rows = self.paginate_queryset(entries)
        return self.get_paginated_response(TransactionSerializer(rows, many=True).data)
