"""Doors of SMS programs: drafts, launch, cancel, resume, and how one stands."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from contacts import programs
from contacts.models import ProgramStatus, SmsProgram
from contacts.paths import path_id
from contacts.single_api import TemplateField
from linkit.pagination import ContactPagination
from linkit.permissions import Scope, caller_of, organization_of
from linkit.schema import contact_errors, example
from outbox.bulk import answers
from sms_providers.fields import IdField, StrictCharField

_TAG = "Contact SMS"


class ProgramProgressSerializer(serializers.Serializer[Any]):
    sent = serializers.IntegerField()
    failed = serializers.IntegerField()
    pending = serializers.IntegerField()
    unknown = serializers.IntegerField(help_text="Of which nobody can say whether they were sent.")
    total = serializers.IntegerField(help_text="The sum of the others; it grows while contacts are being queued.")


class ProgramSerializer(serializers.ModelSerializer[SmsProgram]):
    organizationId = serializers.UUIDField(source="organization_id")
    messageTemplate = serializers.CharField(source="template")
    senderId = serializers.UUIDField(source="sender_id")
    audienceId = serializers.UUIDField(source="audience_id", allow_null=True, help_text="Null: contacts by name.")
    status = serializers.ChoiceField(choices=ProgramStatus.choices)
    isPaused = serializers.SerializerMethodField(help_text="It waits until somebody resumes it; `reason` says why.")
    reason = serializers.SerializerMethodField(help_text="Why it paused, was cancelled or failed; for programs.")
    message = serializers.SerializerMethodField(help_text="The same for people.")
    progress = serializers.SerializerMethodField()
    launchedAt = serializers.DateTimeField(source="launched_at", allow_null=True)
    finishedAt = serializers.SerializerMethodField()
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    class Meta:
        model = SmsProgram
        fields = [
            "id", "organizationId", "name", "messageTemplate", "senderId", "audienceId", "status", "isPaused",
            "reason", "message", "progress", "launchedAt", "finishedAt", "createdAt", "updatedAt",
        ]  # fmt: skip

    def get_isPaused(self, program: SmsProgram) -> bool:
        return program.is_paused

    def get_reason(self, program: SmsProgram) -> str:
        return program.job.reason if program.job else ""

    def get_message(self, program: SmsProgram) -> str:
        return program.job.error_message if program.job else ""

    @extend_schema_field(ProgramProgressSerializer)
    def get_progress(self, program: SmsProgram) -> dict[str, int]:
        return answers.counts(program.job)

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_finishedAt(self, program: SmsProgram) -> Any:
        return program.job.finished_at if program.job else program.cancelled_at


class ProgramFailureSerializer(serializers.Serializer[Any]):
    phone = serializers.CharField()
    reason = serializers.CharField()
    message = serializers.CharField()


class FullProgramSerializer(ProgramSerializer):
    """One program with the first of its messages that were not sent."""

    failures = serializers.SerializerMethodField(help_text="The first messages that were not sent, and why.")

    class Meta(ProgramSerializer.Meta):
        fields = [*ProgramSerializer.Meta.fields, "failures"]

    @extend_schema_field(ProgramFailureSerializer(many=True))
    def get_failures(self, program: SmsProgram) -> list[dict[str, str]]:
        found = answers.errors(program.job) if program.job else []
        return [{"phone": each["mobile"], "reason": each["reason"], "message": each["message"]} for each in found]


class ProgramFieldsSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=120)
    messageTemplate = TemplateField(source="template", help_text="What a contact does not have is left empty.")
    senderId = IdField(source="sender_id", help_text="Of `GET /api/sender-ids/available`.")
    audienceId = IdField(source="audience_id", required=False, allow_null=True, help_text="Whom it goes to.")
    contactIds = serializers.ListField(
        source="contact_ids",
        child=IdField(),
        required=False,
        max_length=programs.MAX_CONTACTS,
        help_text="Or these contacts, one by one.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("audience_id") and attrs.get("contact_ids"):
            raise serializers.ValidationError({"contactIds": "Give an audience or contacts, not both."})
        named = {"audience_id", "contact_ids"} & set(attrs)
        if (named or not self.partial) and not any(attrs.get(name) for name in named):
            raise serializers.ValidationError({"audienceId": "Say whom it goes to: an audience or contacts."})
        return attrs


_DRAFT = {
    "name": "Autumn sale",
    "messageTemplate": "Hello {{ $contact.firstName }}, the sale begins today.",
    "senderId": "550e8400-e29b-41d4-a716-446655440002",
    "audienceId": "550e8400-e29b-41d4-a716-446655440003",
}
_PROGRAM = {
    "id": "550e8400-e29b-41d4-a716-446655440004",
    "organizationId": "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10",
    **_DRAFT,
    "status": "sending",
    "isPaused": False,
    "reason": "",
    "message": "",
    "progress": {"sent": 1200, "failed": 3, "pending": 797, "unknown": 0, "total": 2000},
    "launchedAt": "2026-11-23T09:00:00Z",
    "finishedAt": None,
    "createdAt": "2026-11-23T08:55:00Z",
    "updatedAt": "2026-11-23T09:00:00Z",
}
_SENDER_ERRORS: dict[str, tuple[int, str]] = {
    "SenderIdNotFoundError": (404, "There is no such sender ID; nothing was sent."),
    "SenderIdNotActiveError": (400, "This sender ID is not active; nothing was sent."),
}


def _programs(request: Request) -> QuerySet[SmsProgram]:
    """Return the caller's programs; a test key sees the simulated ones."""
    found = SmsProgram.objects.filter(organization=organization_of(request)).select_related("job")
    return found.filter(is_test=True) if caller_of(request).is_test else found


def _program(request: Request, program_id: str) -> SmsProgram:
    return programs.find(programs=_programs(request), program_id=path_id(program_id))


class ProgramsView(GenericAPIView[SmsProgram]):
    queryset = SmsProgram.objects.none()  # for the schema; `get` scopes its own
    serializer_class = ProgramSerializer
    pagination_class = ContactPagination
    required_scopes = {"POST": Scope.MANAGE}
    sort_fields = {"createdAt": "created_at"}
    default_sort = "-createdAt"

    @extend_schema(
        operation_id="sms_programs_list",
        tags=[_TAG],
        summary="List SMS programs",
        responses={200: ProgramSerializer(many=True), **contact_errors(400)},
        examples=[example(_PROGRAM, status=200)],
    )
    def get(self, request: Request) -> Response:
        rows = self.paginate_queryset(_programs(request))
        return self.get_paginated_response(ProgramSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="sms_programs_create",
        tags=[_TAG],
        summary="Make a draft of an SMS program",
        description="Nothing is sent before it is launched.",
        request=ProgramFieldsSerializer,
        responses={201: FullProgramSerializer, **contact_errors(400, 413, 415, **_SENDER_ERRORS)},
        examples=[example(_DRAFT, request=True), example({**_PROGRAM, "failures": []}, status=201)],
    )
    def post(self, request: Request) -> Response:
        caller = caller_of(request)
        serializer = ProgramFieldsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        program = programs.create(
            organization=organization_of(request),
            **serializer.validated_data,
            is_test=caller.is_test,
            token=caller.token,
            user=caller.user,
        )
        return Response(FullProgramSerializer(program).data, status=201)


class ProgramView(APIView):
    required_scopes = {"PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(
        operation_id="sms_programs_read",
        tags=[_TAG],
        summary="One SMS program, its progress and failures",
        responses={200: FullProgramSerializer, **contact_errors(400, 404)},
        examples=[example({**_PROGRAM, "failures": []}, status=200)],
    )
    def get(self, request: Request, program_id: str) -> Response:
        return Response(FullProgramSerializer(_program(request, program_id)).data)

    @extend_schema(
        operation_id="sms_programs_change",
        tags=[_TAG],
        summary="Change a draft",
        description="What is not given stays. An audience takes the place of named contacts, and they of it.",
        request=ProgramFieldsSerializer(partial=True),
        responses={200: FullProgramSerializer, **contact_errors(400, 404, 409, 413, 415, **_SENDER_ERRORS)},
        examples=[example({"name": "Winter sale"}, request=True), example({**_PROGRAM, "failures": []}, status=200)],
    )
    def put(self, request: Request, program_id: str) -> Response:
        program = _program(request, program_id)
        serializer = ProgramFieldsSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return Response(FullProgramSerializer(programs.change(program=program, fields=serializer.validated_data)).data)

    @extend_schema(
        operation_id="sms_programs_delete",
        tags=[_TAG],
        summary="Delete a draft",
        responses={204: None, **contact_errors(400, 404, 409)},
    )
    def delete(self, request: Request, program_id: str) -> Response:
        programs.delete(program=_program(request, program_id))
        return Response(status=204)


class _StepView(APIView):
    required_scopes = {"POST": Scope.MANAGE}


class LaunchView(_StepView):
    @extend_schema(
        operation_id="sms_programs_launch",
        tags=[_TAG],
        summary="Launch a draft",
        description=(
            "A worker queues one message for each contact, as the contacts are then, and sends them through the gateway"
            " of the sender ID. Each costs credits as it is sent; without any the program pauses."
        ),
        request=None,
        responses={
            200: FullProgramSerializer,
            **contact_errors(
                400,
                404,
                409,
                **_SENDER_ERRORS,
                InsufficientCreditsError=(402, "There are no credits left; nothing was sent or charged."),
            ),
        },
        examples=[example({**_PROGRAM, "status": "pending", "failures": []}, status=200)],
    )
    def post(self, request: Request, program_id: str) -> Response:
        caller, program = caller_of(request), _program(request, program_id)
        launched = programs.launch(program=program, token=caller.token, user=caller.user)
        return Response(FullProgramSerializer(launched).data)


class CancelView(_StepView):
    @extend_schema(
        operation_id="sms_programs_cancel",
        tags=[_TAG],
        summary="Cancel a program",
        description="Nothing more begins once this has answered. What is under way ends, and the rest is cancelled.",
        request=None,
        responses={200: FullProgramSerializer, **contact_errors(400, 404, 409)},
        examples=[example({**_PROGRAM, "status": "cancelled", "failures": []}, status=200)],
    )
    def post(self, request: Request, program_id: str) -> Response:
        return Response(FullProgramSerializer(programs.cancel(program=_program(request, program_id))).data)


class ResumeView(_StepView):
    @extend_schema(
        operation_id="sms_programs_resume",
        tags=[_TAG],
        summary="Go on with a program that has paused",
        description="It pauses when there are no credits left, or its gateway cannot send.",
        request=None,
        responses={200: FullProgramSerializer, **contact_errors(400, 404, 409)},
        examples=[example({**_PROGRAM, "failures": []}, status=200)],
    )
    def post(self, request: Request, program_id: str) -> Response:
        return Response(FullProgramSerializer(programs.resume(program=_program(request, program_id))).data)
