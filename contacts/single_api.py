"""Doors of the single SMS: send it, and see beforehand what it would be."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import rates
from billing.fields import number
from contacts import rendering, single
from linkit import clock, encoding
from linkit.encoding import Encoding
from linkit.permissions import Scope, caller_of, organization_of
from linkit.schema import contact_errors, example
from sms_providers.api.slugged import IDEMPOTENCY_KEY, idempotency_key
from sms_providers.fields import IdField, StrictCharField
from sms_providers.models import SmsLog, Status
from sms_providers.results import Outcome

MAX_TEMPLATE = 5000  # characters: placeholders are longer than what they stand for
_SHOWN_CHARACTERS = 100
_TAG = "Contact SMS"


class TemplateField(StrictCharField):
    """A text with placeholders, kept as it is typed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_TEMPLATE, trim_whitespace=False, **kwargs)


class SendToContactSerializer(serializers.Serializer[Any]):
    contactId = IdField(source="contact_id")
    senderId = IdField(source="sender_id", help_text="Of `GET /api/sender-ids/available`.")
    messageTemplate = TemplateField(source="template", help_text="With `{{ $contact.firstName }}` and the like.")


class SentToContactSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Whether the provider took it.")
    messageId = serializers.CharField(required=False, help_text="The provider's, if it gives one. On success only.")
    smsLogId = serializers.UUIDField()
    smsParts = serializers.IntegerField()
    encoding = serializers.ChoiceField(choices=[each.value for each in Encoding])
    error = serializers.CharField(required=False, help_text="Without success only.")
    outcome = serializers.ChoiceField(
        required=False,
        choices=[Outcome.REJECTED.value, Outcome.UNAVAILABLE.value, Outcome.UNKNOWN.value],
        help_text="Without success only. `unknown`: it may have been sent, and may be charged once that is settled.",
    )
    creditCharged = serializers.FloatField(help_text="0 without success, and for a test key.")


_REQUEST = {
    "contactId": "550e8400-e29b-41d4-a716-446655440001",
    "senderId": "550e8400-e29b-41d4-a716-446655440002",
    "messageTemplate": "Hello {{ $contact.firstName }}, your tier is {{ $contact.customAttributes.loyalty_tier }}.",
}
_COUNTED = {"smsLogId": "550e8400-e29b-41d4-a716-446655440099", "smsParts": 1, "encoding": "GSM-7"}


class SendToContactView(APIView):
    required_scopes = {"POST": Scope.SEND}

    @extend_schema(
        operation_id="contact_sms_send",
        tags=[_TAG],
        summary="Send one templated SMS to a contact",
        description=(
            "201 for every outcome: `success` says whether the provider took it. Credits are charged for a success"
            " only. Any other status means that nothing was sent, logged or charged."
        ),
        parameters=[IDEMPOTENCY_KEY],
        request=SendToContactSerializer,
        responses={
            201: SentToContactSerializer,
            **contact_errors(
                400,
                402,
                409,
                413,
                415,
                SenderIdNotFoundError=(404, "There is no such sender ID; nothing was sent."),
                ContactNotFoundError=(404, "There is no such contact; nothing was sent."),
                SenderIdNotActiveError=(400, "This sender ID is not active; nothing was sent."),
                SenderIdNotAccessibleError=(400, "This sender ID is not available to your organization."),
                InsufficientCreditsError=(402, "There are no credits left; nothing was sent or charged."),
            ),
        },
        examples=[
            example(_REQUEST, request=True),
            example(
                {"success": True, "messageId": "7f3a1c20", **_COUNTED, "creditCharged": 1.887}, name="Sent", status=201
            ),
            example(
                {
                    "success": False,
                    **_COUNTED,
                    "error": "The provider did not answer in time. The message may have been sent.",
                    "outcome": "unknown",
                    "creditCharged": 0,
                },
                name="Not sent, or unknown",
                status=201,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        caller, organization = caller_of(request), organization_of(request)
        key = idempotency_key(request)
        serializer = SendToContactSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        log, _ = single.send(
            organization=organization,
            **serializer.validated_data,
            is_test=caller.is_test,
            token=caller.token,
            user=caller.user,
            idempotency_key=key,
        )
        return Response(answer(log), status=201)


def answer(log: SmsLog) -> dict[str, Any]:
    """Return what a send is answered with, read from its log, so that a repeat answers the same."""
    counted = {"smsLogId": str(log.pk), "smsParts": log.segment_count, "encoding": log.encoding}
    if log.status == Status.SENT:
        known = {"messageId": log.provider_message_id} if log.provider_message_id else {}
        return {"success": True, **known, **counted, "creditCharged": number(log.credit_charged)}
    why = log.error_message or "The provider did not take the message."
    return {"success": False, **counted, "error": why, "outcome": log.outcome, "creditCharged": 0}


class PreviewSerializer(serializers.Serializer[Any]):
    messageTemplate = TemplateField(source="template")
    contactId = IdField(
        source="contact_id", required=False, allow_null=True, default=None, help_text="Empty: nobody in particular."
    )


class Ucs2CharacterSerializer(serializers.Serializer[Any]):
    character = serializers.CharField()
    index = serializers.IntegerField(help_text="In `text`, from 0, in characters: an emoji counts as one.")


class PreviewedSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(allow_blank=True, help_text="What is missing is empty here.")
    encoding = serializers.ChoiceField(choices=[each.value for each in Encoding])
    smsParts = serializers.IntegerField()
    creditCost = serializers.FloatField(help_text="To this contact; without one, at the rate for any number.")
    missing = serializers.ListField(child=serializers.CharField(), help_text="What a single SMS would be refused for.")
    ucs2Characters = Ucs2CharacterSerializer(many=True, help_text=f"The first {_SHOWN_CHARACTERS} that force UCS-2.")


class PreviewView(APIView):
    required_scopes = {"POST": Scope.SEND}

    @extend_schema(
        operation_id="contact_sms_preview",
        tags=[_TAG],
        summary="See what a template becomes, without sending",
        request=PreviewSerializer,
        responses={
            200: PreviewedSerializer,
            **contact_errors(400, 413, 415, ContactNotFoundError=(404, "There is no such contact.")),
        },
        examples=[
            example(
                {"messageTemplate": "Hello {{ $contact.firstName }} 👋", "contactId": _REQUEST["contactId"]},
                request=True,
            ),
            example(
                {
                    "text": "Hello Sara 👋",
                    "encoding": "UCS-2",
                    "smsParts": 1,
                    "creditCost": 1.887,
                    "missing": [],
                    "ucs2Characters": [{"character": "👋", "index": 11}],
                },
                status=200,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        organization = organization_of(request)
        serializer = PreviewSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        template, contact_id = serializer.validated_data["template"], serializer.validated_data["contact_id"]
        contact = single.find_contact(organization, contact_id) if contact_id else None
        rendered = rendering.render(template, single.values_for(contact) if contact else {})
        counted = encoding.segments(rendered.text)
        tariff = rates.tariffs([organization.pk], today=clock.now().date())[organization.pk]
        price = tariff.price(contact.primary_phone if contact else "")
        forcing = list(encoding.outside_gsm7(rendered.text))[:_SHOWN_CHARACTERS]
        return Response(
            {
                "text": rendered.text,
                "encoding": counted.encoding,
                "smsParts": counted.count,
                "creditCost": number(price * counted.count),
                "missing": list(rendered.missing),
                "ucs2Characters": [{"character": character, "index": index} for index, character in forcing],
            }
        )
