from __future__ import annotations

from datetime import timedelta
from typing import Any

import phonenumbers
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit import encoding
from tests.benchmarks.usual.models import Message


class MessageSerializer(serializers.Serializer[Any]):
    mobile = serializers.CharField(max_length=64, source="recipient")
    message = serializers.CharField(max_length=1600, trim_whitespace=False, source="text")
    sender = serializers.CharField(max_length=20, required=False, allow_blank=True, default="", source="sender_id")
    datetime = serializers.DateTimeField(required=False, allow_null=True, default=None, source="scheduled_at")
    preferred_provider_slug = serializers.CharField(
        max_length=40, required=False, allow_blank=True, default="", source="preferred_slug"
    )
    idempotency_key = serializers.CharField(max_length=128)
    meta = serializers.DictField(required=False, default=dict)
    ttl_seconds = serializers.IntegerField(min_value=1, max_value=30 * 86_400, required=False, default=72 * 3600)

    def validate_mobile(self, value: str) -> str:
        try:
            number = phonenumbers.parse(value, "SA")
        except phonenumbers.NumberParseException:
            raise serializers.ValidationError("This is not a phone number.") from None
        if not phonenumbers.is_valid_number(number):
            raise serializers.ValidationError("No operator has numbers like this.")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    def validate_message(self, value: str) -> str:
        if encoding.segments(value).count > 10:
            raise serializers.ValidationError("The message takes more than 10 parts.")
        return value


class MessagesView(APIView):
    def post(self, request: Request) -> Response:
        serializer = MessageSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        key, lifetime = fields.pop("idempotency_key"), timedelta(seconds=fields.pop("ttl_seconds"))
        counted = encoding.segments(fields["text"])
        due_at = fields["scheduled_at"] or timezone.now()
        message, is_new = Message.objects.get_or_create(
            user=request.user,
            idempotency_key=key,
            defaults={
                **fields,
                "encoding": counted.encoding.value,
                "segment_count": counted.count,
                "next_attempt_at": due_at,
                "expires_at": due_at + lifetime,
            },
        )
        body = {"id": message.pk, "dispatch_status": message.status, "idempotent_replay": not is_new}
        return Response(body, status=201 if is_new else 200)


def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse("pong")


urlpatterns = [path("api/v1/sms/outbox", MessagesView.as_view()), path("api/v1/ping", ping)]
