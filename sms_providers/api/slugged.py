"""The slugged API: send through one installed app, and ask it for its balance and sender names."""

import csv
import io
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit import clock
from linkit.errors import InvalidInput, LinkitError
from linkit.permissions import Scope, caller_of, organization_of
from linkit.schema import errors, example
from sms_providers import balances, catalogue, installing, reasons, schedule, sending, settling
from sms_providers.adapters.base import NotOffered, ProviderRefused
from sms_providers.fields import MAX_IDEMPOTENCY_KEY, MobileField, MomentField, SenderField, TextField
from sms_providers.models import Attempt, SmsLog, Source, Status
from sms_providers.reasons import REASONS, Kind
from sms_providers.results import Fault, Outcome
from sms_providers.sending import Route
from sms_providers.transport import Budget

_TAG = "SMS providers"
T = TypeVar("T")
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="A repeat returns the first answer."
)


class ProviderRejected(LinkitError):
    """The provider said no. Nothing was sent; its answer is in the details."""


class ProviderUnavailable(LinkitError):
    """The provider could not be reached or is down. Nothing was sent."""

    status = 502


class ProviderThrottled(LinkitError):
    """The provider takes no more for now. Nothing was sent."""

    status = 503
    reason = "throttled"


class SendSerializer(serializers.Serializer[Any]):
    mobile = MobileField(help_text="As people type it; without a country code it is taken as one of your region.")
    message = TextField(help_text="1 to 1,600 characters and at most 10 parts.")
    sender = SenderField(help_text="Empty: the app's default.")
    datetime = MomentField(help_text="Empty: now. RFC 3339, or `YYYY-MM-DD HH:MM` in your organization's time zone.")


class SentElsewhereSerializer(serializers.Serializer[Any]):
    """202: queued with us for later, or an outcome that nobody knows."""

    id = serializers.CharField(required=False, help_text="Queued: the id in the outbox.")
    dispatch_status = serializers.ChoiceField(choices=Status.choices, required=False)
    datetime = serializers.DateTimeField(required=False)
    outcome = serializers.CharField(required=False, help_text="Always `unknown`.")
    sms_log_id = serializers.UUIDField(required=False)
    error = serializers.CharField(required=False)


class SendView(APIView):
    """Send one SMS now, and answer with what the provider said."""

    required_scopes = {"POST": Scope.SEND}

    @extend_schema(
        operation_id="sms_providers_send",
        tags=[_TAG],
        summary="Send one SMS",
        description=(
            "200 holds the provider's own JSON; our ids are in the headers `X-Sms-Log-Id`, `X-Sms-Parts` and"
            " `X-Sms-Encoding`. 202 means queued for later, or `outcome: unknown`: it may have been sent, so do not"
            " repeat it. 502 and 503 mean that nothing was sent, and so does 402, which only a metered app answers."
        ),
        parameters=[IDEMPOTENCY_KEY],
        request=SendSerializer,
        responses={
            200: OpenApiResponse(OpenApiTypes.OBJECT, "The provider's own JSON."),
            202: SentElsewhereSerializer,
            **errors(400, 402, 409, 413, 415, 502, 503),
        },
        examples=[
            example(
                {"mobile": "966501234567", "message": "Your order is ready", "sender": "MyBrand", "datetime": ""},
                request=True,
            ),
            example({"status": {"code": 200}, "data": {"code": 100, "ref_id": "7f3a1c20"}}, name="Sent", status=200),
            example(
                {
                    "code": 400,
                    "error": "Mora SMS: This account may not use the sender ID, or not for this country."
                    " Nothing was sent.",
                    "details": {
                        "status": {"code": 200},
                        "data": {"code": 106, "message": "sender not available"},
                        "reason": "sender_not_registered",
                        "explanation": reasons.explain("sender_not_registered"),
                    },
                },
                name="Refused by the provider",
                status=400,
            ),
            example(
                {
                    "outcome": "unknown",
                    "sms_log_id": "3f7c2b9e-1a1d-4c55-9a5e-2f6b9d0c7e21",
                    "error": "Mora SMS gave no clear answer. The message may have been sent. Do not send it again.",
                },
                name="Unknown",
                status=202,
            ),
            example(
                {"id": "r0m5x2k9q7a1b2c", "dispatch_status": "pending", "datetime": "2026-12-01T09:00:00Z"},
                name="Queued",
                status=202,
            ),
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        caller, organization = caller_of(request), organization_of(request)
        key = idempotency_key(request)
        catalogue.find(slug)
        serializer = SendSerializer(data=request.data, context={"organization": organization})
        serializer.is_valid(raise_exception=True)
        sms = serializer.validated_data
        request_digest = sending.digest(slug=slug, **sms)
        if key and (first := sending.find_first(organization.pk, key, request_digest, is_test=caller.is_test)):
            return answer(*first)
        route = sending.route_for(organization, slug, is_test=caller.is_test)
        if caller.is_test:
            route = Route(None, catalogue.sandbox())
        log = sending.new_log(
            organization_id=organization.pk,
            source=Source.SEND,
            recipient=sms["mobile"],
            text=sms["message"],
            sender_id=sms["sender"],
            is_test=caller.is_test,
            scheduled_at=sms["datetime"],
            token=caller.token,
            user=caller.user,
        )
        send_at = schedule.resolve(sms["datetime"], now=clock.now())
        return answer(
            *sending.send_now(log, route, send_at=send_at, idempotency_key=key, request_digest=request_digest)
        )


def idempotency_key(request: Request) -> str:
    """Return the caller's name for this intent, "" without one. Raises `InvalidInput`."""
    key: str = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > MAX_IDEMPOTENCY_KEY or not key.isprintable():
        raise InvalidInput(f"Idempotency-Key must be at most {MAX_IDEMPOTENCY_KEY} printable characters.")
    return key


def answer(log: SmsLog, attempt: Attempt | None) -> Response:
    """Return what a send answers with, read from its log, so that a repeat answers the same."""
    headers = {
        "X-Sms-Log-Id": str(log.pk),
        "X-Sms-Parts": str(log.segment_count),
        "X-Sms-Encoding": log.encoding,
    }
    if log.queued_id:
        queued = {"id": log.queued_id, "dispatch_status": log.status, "datetime": log.scheduled_at}
        return Response(queued, status=202, headers=headers)
    if log.status == Status.SENT:
        said = _said(log, attempt)
        return Response({} if said is None else said, headers=headers)
    if log.status == Status.DISPATCH_TIMEOUT:
        why = log.error_message or "Nobody can say how it ended."
        unclear = {"outcome": "unknown", "sms_log_id": str(log.pk), "error": f"{why} Do not send it again."}
        return Response(unclear, status=202, headers=headers)
    raise _failure(log, attempt, headers)


def _said(log: SmsLog, attempt: Attempt | None) -> Any:
    """Return the provider's answer to the send; None when it was settled later, by a person or a look-up."""
    return None if attempt is None or settling.is_settled_later(log) else attempt.response


def _failure(log: SmsLog, attempt: Attempt | None, headers: dict[str, str]) -> LinkitError:
    details = _details(_said(log, attempt), log.reason)
    if log.outcome != Outcome.UNAVAILABLE:
        message = log.error_message or "The provider refused the message; nothing was sent."
        return ProviderRejected(message, reason=log.reason, details=details, headers=headers)
    if attempt and attempt.fault == Fault.THROTTLED:
        wait = attempt.retry_at - attempt.finished_at if attempt.retry_at and attempt.finished_at else None
        headers = {**headers, **_retry_after(wait)}
        return ProviderThrottled(log.error_message, reason=log.reason, details=details, headers=headers)
    return ProviderUnavailable(log.error_message, reason=log.reason, details=details, headers=headers)


def _details(raw: Any, reason: str) -> dict[str, Any]:
    """Return the provider's own JSON with our reason and what it means; these two names are ours."""
    return {**(raw if isinstance(raw, dict) else {}), "reason": reason, "explanation": reasons.explain(reason)}


def _ask(route: Route, question: Callable[[Budget], T]) -> T:
    """Return the provider's answer to a question.

    Raises `NotOffered` when it has none for this account, else the error that a caller gets when there is none.
    """
    try:
        found = question(Budget(settings.PROVIDER_CALL_LIMIT_WEB))
    except NotOffered:
        raise
    except ProviderRefused as refusal:
        result = refusal.result
        details = _details(result.raw, result.reason)
        if details["explanation"] and REASONS[result.reason].kind not in (Kind.ACCOUNT, Kind.NOT_SENT):
            del details["explanation"]  # it speaks of a message, and there is none
        if result.fault is Fault.THROTTLED:
            raise ProviderThrottled(result.message, details=details, headers=_retry_after(result.retry_after)) from None
        failure = ProviderRejected if result.outcome == Outcome.REJECTED else ProviderUnavailable
        raise failure(result.message, reason=result.reason, details=details) from None
    if route.app:
        installing.note_answer(route.app)
    return found


def _retry_after(wait: timedelta | None) -> dict[str, str]:
    """Return the header that says when to try again, in whole seconds."""
    seconds = (sending.DEFAULT_WAIT if wait is None else wait).total_seconds()
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


class BalanceSerializer(serializers.Serializer[Any]):
    supported = serializers.BooleanField()
    balance = serializers.FloatField(required=False, help_text="What is left, in `currency` or `unit`.")
    currency = serializers.CharField(required=False)
    unit = serializers.CharField(required=False)
    note = serializers.CharField(required=False, help_text="About the figure, or why this account is not told one.")
    checked_at = serializers.DateTimeField(required=False)


class BalanceView(APIView):
    @extend_schema(
        operation_id="sms_providers_balance",
        tags=[_TAG],
        summary="Balance at the provider",
        responses={200: BalanceSerializer, **errors(400, 502, 503)},
        examples=[
            example(
                {"supported": True, "balance": 1520, "unit": "points", "checked_at": "2026-11-23T09:00:00Z"},
                status=200,
            )
        ],
    )
    def get(self, request: Request, slug: str) -> Response:
        route = sending.route_for(organization_of(request), slug, is_test=caller_of(request).is_test)
        if not route.adapter.capabilities.balance:
            return Response({"supported": False})
        try:
            balance = _ask(route, route.adapter.balance)
        except NotOffered as refusal:
            return Response({"supported": False, "note": refusal.result.message})
        if route.app:
            balances.keep(route.app, balance)
        whole = balance.amount == balance.amount.to_integral_value()
        body: dict[str, Any] = {
            "supported": True,
            "balance": int(balance.amount) if whole else float(balance.amount),
            "checked_at": clock.now(),
        }
        for name in ("currency", "unit", "note"):
            if value := getattr(balance, name):
                body[name] = value
        return Response(body)


class SenderNamesSerializer(serializers.Serializer[Any]):
    sender_names = serializers.ListField(child=serializers.CharField())
    count = serializers.IntegerField()
    supported = serializers.BooleanField()
    note = serializers.CharField(required=False, help_text="Why this account is not told, where others are.")


class SenderNamesView(APIView):
    @extend_schema(
        operation_id="sms_providers_sender_names",
        tags=[_TAG],
        summary="Sender names registered at the provider",
        responses={200: SenderNamesSerializer, **errors(400, 502, 503)},
        examples=[example({"sender_names": ["MyBrand"], "count": 1, "supported": True}, status=200)],
    )
    def get(self, request: Request, slug: str) -> Response:
        route = sending.route_for(organization_of(request), slug, is_test=caller_of(request).is_test)
        nothing = {"sender_names": [], "count": 0, "supported": False}
        if not route.adapter.capabilities.sender_names:
            return Response(nothing)
        try:
            names = _ask(route, route.adapter.sender_names)
        except NotOffered as refusal:
            return Response({**nothing, "note": refusal.result.message})
        return Response({"sender_names": names, "count": len(names), "supported": True})


class CsvTemplateView(APIView):
    @extend_schema(
        operation_id="sms_providers_template_csv",
        tags=[_TAG],
        summary="The CSV template for bulk sends",
        description="UTF-8 with a byte order mark, so that spreadsheets show Arabic.",
        responses={(200, "text/csv"): OpenApiTypes.STR, **errors(400)},
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        sending.route_for(organization_of(request), slug, is_test=caller_of(request).is_test)
        text = io.StringIO()
        csv.writer(text).writerows(
            [["mobile", "message", "sender", "datetime"], ["966501234567", "مرحبا، طلبك جاهز", "MyBrand", ""]]
        )
        return HttpResponse(
            text.getvalue().encode("utf-8-sig"),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="sms-template.csv"'},
        )
