"""The SMS log over HTTP: every SMS of every door."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import django_filters.rest_framework
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from billing.fields import CreditsField
from linkit import phone
from linkit.errors import Missing
from linkit.pagination import PageLimitPagination
from linkit.permissions import caller_of, organization_of
from linkit.schema import errors, example
from sms_providers import reasons
from sms_providers.models import Attempt, SmsLog, Source, Status


class InTwoLanguagesSerializer(serializers.Serializer[Any]):
    en = serializers.CharField()
    ar = serializers.CharField()


class ExplanationSerializer(serializers.Serializer[Any]):
    """What a reason means, for people: the words may change, the reason does not."""

    side = serializers.ChoiceField(choices=reasons.Side.choices, help_text="Who can change something.")
    text = InTwoLanguagesSerializer(help_text="What happened.")
    next_step = InTwoLanguagesSerializer(help_text="What to do about it.")


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    """One provider call. `outcome` is empty while it is under way."""

    explanation = serializers.SerializerMethodField(
        help_text="Of the `reason`; null when there is none, or it is a site's own."
    )

    class Meta:
        model = Attempt
        fields = ["provider_slug", "outcome", "reason", "explanation", "started_at", "finished_at"]

    @extend_schema_field(ExplanationSerializer(allow_null=True))
    def get_explanation(self, attempt: Attempt) -> Any:
        return reasons.explain(attempt.reason)


class FullAttemptSerializer(AttemptSerializer):
    """One provider call with the provider's own words."""

    response = serializers.JSONField(allow_null=True, help_text="The provider's answer, without secrets.")

    class Meta(AttemptSerializer.Meta):
        fields = [
            *AttemptSerializer.Meta.fields, "message", "code", "http_status", "provider_message_id", "response"
        ]  # fmt: skip


class LogSerializer(serializers.ModelSerializer[SmsLog]):
    mobile = serializers.CharField(source="recipient")
    message = serializers.CharField(source="text")
    sender = serializers.CharField(source="sender_id")
    datetime = serializers.DateTimeField(source="scheduled_at", allow_null=True)
    sms_parts = serializers.IntegerField(source="segment_count")
    cost = serializers.SerializerMethodField(help_text="As the provider says; null when its account is not yours.")
    currency = serializers.SerializerMethodField()
    provider_parts = serializers.IntegerField(
        source="provider_segment_count", allow_null=True, help_text="As the provider counts, if it says."
    )
    credit_cost = CreditsField(
        allow_null=True, help_text="In credits: what it is charged once it is sent. Null: it costs none."
    )
    credit_charged = CreditsField(help_text="In credits: what it was charged.")
    outbox_id = serializers.CharField(source="queued_id", allow_null=True)
    created = serializers.DateTimeField(source="created_at")
    updated = serializers.DateTimeField(source="updated_at")

    class Meta:
        model = SmsLog
        fields = [
            "id", "source", "provider_slug", "mobile", "message", "sender", "datetime", "status", "outcome", "reason",
            "error_message", "provider_message_id", "sms_parts", "encoding", "provider_parts", "cost", "currency",
            "credit_cost", "credit_charged", "is_test", "outbox_id", "program_id", "created", "updated", "sent_at",
        ]  # fmt: skip

    @extend_schema_field(serializers.DecimalField(max_digits=12, decimal_places=5, allow_null=True))
    def get_cost(self, log: SmsLog) -> str | None:
        return None if log.provider_cost is None or log.is_lent else str(log.provider_cost)

    def get_currency(self, log: SmsLog) -> str:
        return "" if not log.provider_currency or log.is_lent else log.provider_currency


class FullLogSerializer(LogSerializer):
    """One SMS with its attempts, oldest first."""

    attempts = serializers.SerializerMethodField()

    class Meta(LogSerializer.Meta):
        fields = [*LogSerializer.Meta.fields, "attempts"]

    @extend_schema_field(FullAttemptSerializer(many=True))
    def get_attempts(self, log: SmsLog) -> Any:
        attempts: Any = FullAttemptSerializer(log.attempts.all(), many=True).data
        if log.is_lent:  # what a provider answers names its account and what it pays
            return [{**attempt, "response": None} for attempt in attempts]
        return attempts


class MobileFilter(django_filters.CharFilter):
    """A number as people type it, found by its E.164 form."""

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return qs
        request: Request = self.parent.request
        try:
            number = phone.parse_mobile(value, region=organization_of(request).default_region)
        except phone.InvalidNumber as error:
            raise ValidationError({"mobile": [error.message]}) from None
        return qs.filter(recipient=number)


class MomentFilter(django_filters.IsoDateTimeFilter):
    """A moment in ISO 8601. The first and last hours of the calendar have no UTC, which SQLite would need."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        try:
            return super().filter(qs, value and value.astimezone(UTC))
        except OverflowError:
            name = next(name for name, known in self.parent.filters.items() if known is self)
            raise ValidationError({name: ["This is outside the years that have a calendar."]}) from None


class SmsFilter(django_filters.FilterSet):
    """What every list of SMS can be filtered by."""

    provider_slug = django_filters.CharFilter(max_length=40)
    mobile = MobileFilter(field_name="recipient", max_length=64)
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")


class LogFilter(SmsFilter):
    status = django_filters.ChoiceFilter(choices=Status.choices)
    source = django_filters.ChoiceFilter(choices=Source.choices)

    class Meta:
        model = SmsLog
        fields: list[str] = []


ATTEMPT_EXAMPLE = {
    "provider_slug": "mora-sms",
    "outcome": "accepted",
    "reason": "",
    "explanation": None,
    "started_at": "2026-11-23T09:00:00Z",
    "finished_at": "2026-11-23T09:00:01Z",
}
ANSWER_EXAMPLE = {"status": {"code": 200}, "data": {"code": 100, "ref_id": "7f3a1c20"}}
_LOG = {
    "id": "3f7c2b9e-1a1d-4c55-9a5e-2f6b9d0c7e21",
    "source": "outbox",
    "provider_slug": "mora-sms",
    "mobile": "+966501234567",
    "message": "Your order is ready",
    "sender": "MyBrand",
    "datetime": None,
    "status": "sent",
    "outcome": "accepted",
    "reason": "",
    "error_message": "",
    "provider_message_id": "7f3a1c20",
    "sms_parts": 1,
    "encoding": "GSM-7",
    "provider_parts": None,
    "cost": None,
    "currency": "",
    "credit_cost": None,
    "credit_charged": 0,
    "is_test": False,
    "outbox_id": "r0m5x2k9q7a1b2c",
    "program_id": None,
    "created": "2026-11-23T09:00:00Z",
    "updated": "2026-11-23T09:00:01Z",
    "sent_at": "2026-11-23T09:00:01Z",
}


def _logs(request: Request) -> QuerySet[SmsLog]:
    """Return the SMS that the caller may see: a test key's world is the simulated one."""
    logs = SmsLog.objects.filter(organization=organization_of(request))
    return logs.filter(is_test=True) if caller_of(request).is_test else logs


class LogsView(GenericAPIView[SmsLog]):
    queryset = SmsLog.objects.none()  # for the schema; `get` scopes its own
    serializer_class = LogSerializer
    pagination_class = PageLimitPagination
    filter_backends = [django_filters.rest_framework.DjangoFilterBackend]
    filterset_class = LogFilter
    sort_fields = {"created": "created_at"}

    @extend_schema(
        operation_id="sms_logs_list",
        tags=["SMS logs"],
        summary="List SMS",
        responses={200: LogSerializer(many=True), **errors(400)},
        examples=[example(_LOG, status=200)],
    )
    def get(self, request: Request) -> Response:
        logs = self.filter_queryset(_logs(request))
        rows = self.paginate_queryset(logs)
        return self.get_paginated_response(LogSerializer(rows, many=True).data)


class LogView(GenericAPIView[SmsLog]):
    serializer_class = FullLogSerializer

    @extend_schema(
        operation_id="sms_logs_read",
        tags=["SMS logs"],
        summary="One SMS with its attempts",
        responses={200: FullLogSerializer, **errors(404)},
        examples=[
            example(
                {
                    **_LOG,
                    "attempts": [
                        {
                            **ATTEMPT_EXAMPLE,
                            "message": "",
                            "code": "",
                            "http_status": 200,
                            "provider_message_id": "7f3a1c20",
                            "response": ANSWER_EXAMPLE,
                        }
                    ],
                },
                status=200,
            )
        ],
    )
    def get(self, request: Request, log_id: UUID) -> Response:
        log = _logs(request).filter(pk=log_id).first()
        if log is None:
            raise Missing("There is no such SMS.")
        return Response(FullLogSerializer(log).data)
