"""The outbox over HTTP: queue, read, list, cancel."""

import json
import logging
import threading
from datetime import timedelta
from typing import Any

import django_filters.rest_framework
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit import faults
from linkit.error_responses import describe
from linkit.errors import InvalidInput, LinkitError, TooLarge
from linkit.models import Organization
from linkit.pagination import PageLimitPagination
from linkit.permissions import Scope, caller_of, organization_of
from linkit.schema import errors, example
from outbox import services
from outbox.models import Message
from outbox.services import Enqueued, Fate, Wanted
from sms_providers.api.logs import ANSWER_EXAMPLE, ATTEMPT_EXAMPLE, AttemptSerializer, SmsFilter
from sms_providers.fields import IdempotencyKeyField, MetaField, MobileField, MomentField, SenderField, TextField
from sms_providers.models import Status

logger = logging.getLogger(__name__)

_TAG = "SMS outbox"
_MAYBE_QUEUED = (
    "It may not have been queued: our database did not answer. Send it again under the same idempotency_key;"
    " without one, look it up first."
)
MAX_TTL = timedelta(days=30)
MAX_BATCH = 1000


class EnqueueSerializer(serializers.Serializer[Any]):
    """Checks form and maps wire names to ours; services decide the rest."""

    mobile = MobileField(source="recipient", help_text="As people type it.")
    message = TextField(source="text", help_text="1 to 1,600 characters and at most 10 parts.")
    sender = SenderField(source="sender_id", help_text="Empty: the default of the app that sends.")
    datetime = MomentField(source="scheduled_at", help_text="Empty: now. RFC 3339, or local time without an offset.")
    preferred_provider_slug = serializers.CharField(
        source="preferred_slug",
        max_length=40,
        required=False,
        allow_blank=True,
        allow_null=True,
        default="",
        help_text="The only app that may send it. Empty: any.",
    )
    idempotency_key = IdempotencyKeyField()
    meta = MetaField(help_text="Your own notes, given back as they are; up to 8 KiB.")
    ttl_seconds = serializers.IntegerField(
        source="ttl",
        min_value=1,
        max_value=int(MAX_TTL.total_seconds()),
        required=False,
        allow_null=True,
        default=None,
        help_text="How long after it is due it may still be sent; 72 hours without one.",
    )

    def validate_preferred_provider_slug(self, value: str | None) -> str:
        return value or ""

    def validate_ttl_seconds(self, value: int | None) -> timedelta | None:
        return None if value is None else timedelta(seconds=value)


class EnqueuedSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    dispatch_status = serializers.ChoiceField(choices=Status.choices)
    idempotent_replay = serializers.BooleanField()
    payload_mismatch = serializers.BooleanField(required=False, help_text="The key came with another body before.")


class MessageSerializer(serializers.ModelSerializer[Message]):
    """The request as it was queued, and what became of it."""

    mobile = serializers.CharField(source="recipient")
    message = serializers.CharField(source="text")
    sender = serializers.CharField(source="sender_id")
    datetime = serializers.DateTimeField(source="scheduled_at", allow_null=True)
    preferred_provider_slug = serializers.CharField(source="preferred_slug")
    dispatch_status = serializers.ChoiceField(source="status", choices=Status.choices)
    claimed_organization_app_id = serializers.IntegerField(source="app_id", allow_null=True)
    sms_parts = serializers.IntegerField(source="segment_count")
    created = serializers.DateTimeField(source="created_at")
    updated = serializers.DateTimeField(source="updated_at")
    expires_at = serializers.DateTimeField(source="deadline", allow_null=True, help_text="Not sent after this.")
    bulk_job_id = serializers.UUIDField(source="job_id", allow_null=True, help_text="The file it came in, if it did.")

    class Meta:
        model = Message
        fields = [
            "id", "mobile", "message", "sender", "datetime", "preferred_provider_slug", "idempotency_key", "meta",
            "dispatch_status", "provider_slug", "claimed_organization_app_id", "reason", "error_message", "sms_parts",
            "encoding", "is_test", "created", "updated", "claimed_at", "sent_at", "expires_at",
            "bulk_job_id",
        ]  # fmt: skip


class FullMessageSerializer(MessageSerializer):
    """A message with its attempts and the provider's last answer."""

    response = serializers.SerializerMethodField(help_text="The provider's last answer, or null.")
    attempts = serializers.SerializerMethodField()

    class Meta(MessageSerializer.Meta):
        fields = [*MessageSerializer.Meta.fields, "response", "attempts"]

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": True})
    def get_response(self, message: Message) -> Any:
        if message.log is None or message.log.is_lent:
            return None
        return next((each.response for each in reversed(message.attempts) if each.response is not None), None)

    @extend_schema_field(AttemptSerializer(many=True))
    def get_attempts(self, message: Message) -> Any:
        return AttemptSerializer(message.attempts, many=True).data


class MessageFilter(SmsFilter):
    dispatch_status = django_filters.ChoiceFilter(field_name="status", choices=Status.choices)

    class Meta:
        model = Message
        fields: list[str] = []


_REQUEST = {
    "mobile": "966501234567",
    "message": "Your order is ready",
    "sender": "MyBrand",
    "datetime": "",
    "preferred_provider_slug": "",
    "idempotency_key": "order-123-notify",
    "meta": {"order_id": "123"},
}
_ENQUEUED = {"id": "r0m5x2k9q7a1b2c", "dispatch_status": "pending", "idempotent_replay": False}
_MESSAGE = {
    "id": "r0m5x2k9q7a1b2c",
    "mobile": "+966501234567",
    "message": "Your order is ready",
    "sender": "MyBrand",
    "datetime": None,
    "preferred_provider_slug": "",
    "idempotency_key": "order-123-notify",
    "meta": {"order_id": "123"},
    "dispatch_status": "sent",
    "provider_slug": "mora-sms",
    "claimed_organization_app_id": 7,
    "reason": "",
    "error_message": "",
    "sms_parts": 1,
    "encoding": "GSM-7",
    "is_test": False,
    "created": "2026-11-23T09:00:00Z",
    "updated": "2026-11-23T09:00:01Z",
    "claimed_at": "2026-11-23T09:00:00Z",
    "sent_at": "2026-11-23T09:00:01Z",
    "expires_at": "2026-11-26T09:00:00Z",
    "bulk_job_id": None,
}


def _messages(request: Request) -> QuerySet[Message]:
    """Return the messages that the caller may see: a test key's world is the simulated one."""
    messages = Message.objects.filter(organization=organization_of(request)).select_related("job")
    return messages.filter(is_test=True) if caller_of(request).is_test else messages


_OPTIONAL = frozenset(name for name, field in EnqueueSerializer().fields.items() if not field.required)


class _Serializers(threading.local):
    """This thread's serializers, by the optional fields that they have."""

    def __init__(self) -> None:
        self.context: dict[str, Any] = {}  # of all of them
        self._by_fields: dict[frozenset[str], EnqueueSerializer] = {}

    def for_fields(self, optional: frozenset[str]) -> EnqueueSerializer:
        if optional not in self._by_fields:
            serializer = self._by_fields[optional] = EnqueueSerializer(context=self.context)
            for name in _OPTIONAL - optional:
                del serializer.fields[name]
        return self._by_fields[optional]


_serializers = _Serializers()


def _check(data: Any, organization: Organization) -> dict[str, Any]:
    """Return what `EnqueueSerializer` makes of a message, without the fields that are not there.

    A serializer is used again and again, as DRF itself does with the child of a list: copying its fields for each
    message would take longer than checking it. Raises `ValidationError`.
    """
    serializer = _serializers.for_fields(_OPTIONAL.intersection(data) if isinstance(data, dict) else _OPTIONAL)
    _serializers.context["organization"] = organization
    try:
        checked: dict[str, Any] = serializer.run_validation(data)
    except ValidationError:
        failed = EnqueueSerializer(data=data, context={"organization": organization})  # which words the errors
        failed.is_valid(raise_exception=True)
        raise
    return checked


def _enqueued(enqueued: Enqueued) -> dict[str, Any]:
    body = {"id": enqueued.pk, "dispatch_status": enqueued.status, "idempotent_replay": enqueued.is_replay}
    return body | {"payload_mismatch": True} if enqueued.is_mismatch else body


class OutboxView(GenericAPIView[Message]):
    queryset = Message.objects.none()  # for the schema; `get` scopes its own
    serializer_class = MessageSerializer
    pagination_class = PageLimitPagination
    filter_backends = [django_filters.rest_framework.DjangoFilterBackend]
    filterset_class = MessageFilter
    required_scopes = {"POST": Scope.SEND}
    remembers_callers_of = ("POST",)
    sort_fields = {"created": "created_at"}

    @extend_schema(
        operation_id="sms_outbox_list",
        tags=[_TAG],
        summary="List queued messages",
        responses={200: MessageSerializer(many=True), **errors(400)},
        examples=[example(_MESSAGE, status=200)],
    )
    def get(self, request: Request) -> Response:
        messages = self.filter_queryset(_messages(request))
        rows = self.paginate_queryset(messages)
        return self.get_paginated_response(MessageSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="sms_outbox_enqueue",
        tags=[_TAG],
        summary="Queue a message",
        description="201 for a new message. A repeat of `idempotency_key` answers 200 with the first one's status.",
        request=EnqueueSerializer,
        responses={201: EnqueuedSerializer, 200: EnqueuedSerializer, **errors(400, 413, 415)},
        examples=[
            example(_REQUEST, request=True),
            example(_ENQUEUED, name="Queued", status=201),
            example({**_ENQUEUED, "dispatch_status": "sent", "idempotent_replay": True}, name="Repeat", status=200),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        caller, organization = caller_of(request), organization_of(request)
        enqueued = services.enqueue(
            organization=organization,
            is_test=caller.is_test,
            token=caller.token,
            user=caller.user,
            **_check(request.data, organization),
        )
        # As a Response is rendered, without what it takes to render anything.
        body = json.dumps(_enqueued(enqueued), separators=(",", ":"))
        return HttpResponse(body, content_type="application/json", status=200 if enqueued.is_replay else 201)


class BatchSerializer(serializers.Serializer[Any]):
    """For the document: the view reads the list itself, so that each message is checked for itself."""

    messages = EnqueueSerializer(many=True)


class BatchItemSerializer(EnqueuedSerializer):
    """`status` is the item's own: 201, 200 for a repeat, 400 with the error body's fields."""

    status = serializers.IntegerField()
    id = serializers.CharField(required=False)
    dispatch_status = serializers.ChoiceField(choices=Status.choices, required=False)
    idempotent_replay = serializers.BooleanField(required=False)
    error = serializers.CharField(required=False)
    details = serializers.JSONField(required=False)


class BatchResultSerializer(serializers.Serializer[Any]):
    results = BatchItemSerializer(many=True)


class BatchView(APIView):
    """Up to 1,000 messages in one request, each for itself: a bad one stops no other."""

    required_scopes = {"POST": Scope.SEND}
    remembers_callers_of = ("POST",)

    @extend_schema(
        operation_id="sms_outbox_batch",
        tags=[_TAG],
        summary="Queue many messages",
        description=f"Up to {MAX_BATCH:,} messages. Results come in the order of the messages, each with a status.",
        request=BatchSerializer,
        responses={200: BatchResultSerializer, **errors(400, 413, 415)},
        examples=[
            example({"messages": [_REQUEST]}, request=True),
            example({"results": [{"status": 201, **_ENQUEUED}]}, status=200),
        ],
    )
    def post(self, request: Request) -> Response:
        messages = request.data.get("messages") if isinstance(request.data, dict) else None
        if not isinstance(messages, list) or not messages:
            sentence = "messages must be a list with at least one message."
            raise InvalidInput(sentence, fields={"messages": [sentence]})
        if len(messages) > MAX_BATCH:
            raise TooLarge(f"At most {MAX_BATCH:,} messages at once; nothing was queued.")
        return Response({"results": self._results(request, messages)})

    def _results(self, request: Request, messages: list[Any]) -> list[dict[str, Any]]:
        caller, organization = caller_of(request), organization_of(request)
        checked: list[Wanted | ValidationError] = []
        for data in messages:
            try:
                checked.append(Wanted(**_check(data, organization)))
            except ValidationError as error:
                checked.append(error)
        fates = iter(
            services.enqueue_many(
                [each for each in checked if isinstance(each, Wanted)],
                organization=organization,
                is_test=caller.is_test,
                token=caller.token,
                user=caller.user,
            )
        )
        return [_result(next(fates) if isinstance(each, Wanted) else each) for each in checked]


def _result(fate: Fate | ValidationError) -> dict[str, Any]:
    """Return the line of a batch that tells what became of one message."""
    if isinstance(fate, Enqueued):
        return {"status": 200 if fate.is_replay else 201, **_enqueued(fate)}
    if isinstance(fate, LinkitError | ValidationError):
        status, sentence, details, _ = describe(fate)
        return {"status": status, "error": sentence, "details": details}
    # The others' answers must not be lost with it.
    logger.error("A message of a batch was not queued: %s", faults.describe(fate))
    return {"status": 503, "error": _MAYBE_QUEUED, "details": None}


class MessageView(GenericAPIView[Message]):
    serializer_class = FullMessageSerializer
    required_scopes = {"DELETE": Scope.SEND}

    @extend_schema(
        operation_id="sms_outbox_read",
        tags=[_TAG],
        summary="Read a message and its status",
        responses={200: FullMessageSerializer, **errors(404)},
        examples=[
            example(
                {
                    **_MESSAGE,
                    "response": ANSWER_EXAMPLE,
                    "attempts": [ATTEMPT_EXAMPLE],
                },
                status=200,
            )
        ],
    )
    def get(self, request: Request, message_id: str) -> Response:
        message = services.find(messages=_messages(request), message_id=message_id)
        return Response(FullMessageSerializer(message).data)

    @extend_schema(
        operation_id="sms_outbox_cancel",
        tags=[_TAG],
        summary="Cancel a pending message",
        description="The row stays as `failed` with the reason `cancelled`, and its key still answers.",
        responses={204: None, **errors(404, 409)},
    )
    def delete(self, request: Request, message_id: str) -> Response:
        services.cancel(message=services.find(messages=_messages(request), message_id=message_id))
        return Response(status=204)
