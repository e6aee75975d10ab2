"""Bulk sends over HTTP: upload, check, watch, pause, resume, stop, and send the failed again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import django_filters.rest_framework
from django.conf import settings
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit import clock
from linkit.errors import InvalidInput
from linkit.pagination import PageLimitPagination
from linkit.parsing import BoundedMultiPartParser
from linkit.permissions import Scope, caller_of, organization_of
from linkit.schema import errors, example
from outbox import tasks
from outbox.bulk import answers, checking, errors_file, jobs, receiving
from outbox.bulk.models import BulkJob, JobStatus, Mode
from outbox.bulk.reading import Overrides
from sms_providers import catalogue, sending
from sms_providers.api.slugged import IDEMPOTENCY_KEY, idempotency_key

_TAG = "SMS providers"
_FIRST_LOOK, _LONGEST_PAUSE = 0.05, 0.5  # seconds between two looks at a job that is waited for
# Requests of one process that wait for a job's end. The others are answered at once, so that a few long files do not
# take every thread there is.
_waiting = threading.BoundedSemaphore(4)


class UploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(allow_empty_file=True, help_text="CSV or XLSX, with a header row.")
    mode = serializers.ChoiceField(
        choices=Mode.choices, default=Mode.VALID_ROWS, help_text="Whether a wrong row keeps the others back."
    )
    encoding = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="`utf-8`, `utf-16`, `windows-1256` or `latin-1`."
    )
    separator = serializers.CharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,  # it may be a tab
        default="",
        help_text="`comma`, `semicolon` or `tab`.",
    )
    sheet = serializers.CharField(required=False, allow_blank=True, default="", help_text="Of a workbook.")

    @property
    def overrides(self) -> Overrides:
        given = self.validated_data
        return Overrides(encoding=given["encoding"], separator=given["separator"], sheet=given["sheet"])


class BulkSendSerializer(UploadSerializer):
    force = serializers.BooleanField(default=False, help_text="Send it although the same file was sent lately.")


class RowErrorSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="As a spreadsheet counts; the header is row 1.")
    column = serializers.CharField(help_text="mobile, message, sender or datetime; empty when it is the whole row.")
    mobile = serializers.CharField(help_text="As it is in the file.")
    reason = serializers.CharField()
    message = serializers.CharField(help_text="Why it was not sent.")


class CountsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Rows: sent + failed + unknown + pending.")
    sent = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Wrong rows, refused ones, and those that were cancelled.")
    unknown = serializers.IntegerField(help_text="They may have been sent, and are never sent again by themselves.")
    pending = serializers.IntegerField(help_text="Waiting, or being sent.")


class BulkResultSerializer(CountsSerializer):
    # Its name on the wire is that of a property of serializers.
    errors = RowErrorSerializer(many=True, help_text="The first 1,000; errors.csv has all.")  # type: ignore[assignment]
    warnings = serializers.ListField(child=serializers.CharField())
    elapsed_ms = serializers.IntegerField()
    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    reason = serializers.CharField(help_text="Why it paused, stopped or failed; empty otherwise.")
    message = serializers.CharField(help_text="The same in words.")
    duplicate_of = serializers.UUIDField(required=False, help_text="The earlier job of the same file, shown here.")


class ProgressSerializer(CountsSerializer):
    job_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=JobStatus.choices, allow_null=True)
    rate_per_second = serializers.FloatField(allow_null=True, help_text="Since it was last started or resumed.")
    eta_seconds = serializers.IntegerField(allow_null=True)


class BulkJobSerializer(ProgressSerializer):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    filename = serializers.CharField()
    mode = serializers.ChoiceField(choices=Mode.choices)
    is_test = serializers.BooleanField()
    reason = serializers.CharField()
    message = serializers.CharField()
    created = serializers.DateTimeField()
    finished = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="What is pending then is not sent any more.")


class ReportSerializer(serializers.Serializer[Any]):
    """What the check of the whole file has found. Samples are the first 100."""

    warnings = serializers.ListField(child=serializers.CharField())
    detected = serializers.DictField(help_text="format, encoding, separator, sheet, columns.")
    repairs = serializers.DictField(help_text="rows, kinds, and samples: row, was, is, repairs.")
    duplicates = serializers.DictField(help_text="in_file and last_24_hours: rows, and samples.")
    sms_parts = serializers.IntegerField(help_text="Of all valid rows.")
    encodings = serializers.DictField(help_text="Rows and parts by encoding.")
    ucs2_characters = serializers.ListField(
        child=serializers.DictField(), help_text="The first character of a message that forces UCS-2: rows, first row."
    )
    scheduled = serializers.IntegerField(help_text="Rows with a time ahead.")
    max_per_second = serializers.IntegerField(allow_null=True, help_text="The app's rate.")
    estimated_seconds = serializers.IntegerField(allow_null=True, help_text="At that rate; null for an app without.")


class FullBulkJobSerializer(BulkJobSerializer):
    invalid = serializers.IntegerField(help_text="Of the failed: rows that were wrong, and never queued.")
    errors = RowErrorSerializer(many=True)  # type: ignore[assignment]
    report = ReportSerializer(help_text="Empty until the whole file was read.")


class CheckErrorSerializer(RowErrorSerializer):
    value = serializers.CharField(help_text="What is wrong, as it is in the file.")


class BulkCheckSerializer(ReportSerializer):
    total = serializers.IntegerField()
    valid = serializers.IntegerField()
    invalid = serializers.IntegerField()
    would_send = serializers.IntegerField(help_text="Rows that bulk-send would send in this mode.")
    errors = CheckErrorSerializer(many=True)  # type: ignore[assignment]


_ERROR = {
    "row": 3,
    "column": "mobile",
    "mobile": "05012",
    "reason": "invalid_recipient",
    "message": "The number is too short.",
}
_JOB_ID = "0b6f1c52-5f0e-4f5b-9b0e-0d0a3a7e7c11"
_COUNTS = {"total": 100, "sent": 98, "failed": 2, "unknown": 0, "pending": 0}
_DETECTED = "Read as CSV, utf-8, separated by commas; the fields 'encoding' and 'separator' set something else."
_RESULT = {
    **_COUNTS,
    "errors": [_ERROR],
    "warnings": [_DETECTED],
    "elapsed_ms": 1234,
    "job_id": _JOB_ID,
    "status": "partly_failed",
    "reason": "",
    "message": "",
}
_RUNNING = {"total": 100, "sent": 40, "failed": 2, "unknown": 0, "pending": 58}
_PROGRESS = {**_RUNNING, "job_id": _JOB_ID, "status": "running", "rate_per_second": 9.8, "eta_seconds": 6}
_JOB = {
    "id": _JOB_ID,
    "slug": "taqnyat-sms",
    "filename": "customers.csv",
    "mode": "valid_rows",
    "is_test": False,
    "reason": "",
    "message": "",
    "created": "2026-11-26T09:00:00Z",
    "finished": None,
    "expires_at": "2026-11-29T09:00:10Z",
    **_PROGRESS,
}
_REPORT = {
    "warnings": [_DETECTED],
    "detected": {
        "format": "csv",
        "encoding": "utf-8",
        "separator": "comma",
        "sheet": "",
        "columns": ["mobile", "message"],
    },
    "repairs": {
        "rows": 1,
        "kinds": {"lost_zero": 1},
        "samples": [{"row": 2, "was": "501234567", "is": "+966501234567", "repairs": ["lost_zero"]}],
    },
    "duplicates": {"in_file": {"rows": 0, "samples": []}, "last_24_hours": {"rows": 0, "samples": []}},
    "sms_parts": 98,
    "encodings": {"GSM-7": {"rows": 98, "sms_parts": 98}},
    "ucs2_characters": [],
    "scheduled": 0,
    "max_per_second": 10,
    "estimated_seconds": 10,
}


def _jobs(request: Request, slug: str) -> QuerySet[BulkJob]:
    """Return the caller's jobs through one app, which may be uninstalled by now. A test key sees its own."""
    catalogue.find(slug)
    caller = caller_of(request)
    # Without the report, which is large and only shown with one job.
    found = BulkJob.objects.filter(organization=organization_of(request), provider_slug=slug).defer("report")
    return found.filter(is_test=True) if caller.is_test else found


class _UploadView(APIView):
    parser_classes = [BoundedMultiPartParser]
    required_scopes = {"POST": Scope.SEND}

    max_body_bytes, too_large = staticmethod(receiving.max_body_bytes), staticmethod(receiving.too_large)


class BulkSendView(_UploadView):
    """Send a file, and answer with what became of it."""

    @extend_schema(
        operation_id="sms_providers_bulk_send",
        tags=[_TAG],
        summary="Send a file",
        description=(
            "The whole file is checked before anything is sent. 200 when the job is over; 202 with the same shape when"
            " it takes longer than the server waits, when it is paused, or with `Prefer: respond-async`: poll"
            " `progress`. The job goes on without the connection. What shows only while the whole file is read, such"
            " as too many rows, is a 400 if that comes in time; after a 202 the job then is `failed`, with nothing"
            " sent. The same file within 24 hours is not sent again: `duplicate_of` names the job that is shown"
            " instead."
        ),
        parameters=[
            IDEMPOTENCY_KEY,
            OpenApiParameter(
                "Prefer", str, OpenApiParameter.HEADER, description="`respond-async`: do not wait for the end."
            ),
        ],
        request={"multipart/form-data": BulkSendSerializer},
        responses={200: BulkResultSerializer, 202: BulkResultSerializer, **errors(400, 409, 413, 415)},
        examples=[
            example(_RESULT, name="Over", status=200),
            example({**_RESULT, **_RUNNING, "status": "running"}, name="Under way", status=202),
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        caller, organization = caller_of(request), organization_of(request)
        key = idempotency_key(request)
        route = sending.route_for(organization, slug, is_test=caller.is_test)
        serializer = BulkSendSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        created = receiving.create(
            organization=organization,
            app=None if caller.is_test else route.app,
            slug=slug,
            file=given["file"],
            filename=given["file"].name,
            overrides=serializer.overrides,
            mode=given["mode"],
            force=given["force"],
            idempotency_key=key,
            is_test=caller.is_test,
            token=caller.token,
            user=caller.user,
        )
        job = created.job
        if not (created.is_replay or created.is_duplicate):
            tasks.wake_for_jobs()
        headers = {}
        if "respond-async" in [each.strip().lower() for each in request.headers.get("Prefer", "").split(",")]:
            headers["Preference-Applied"] = "respond-async"
        else:
            _wait_for_the_end(job)
        if job.status == JobStatus.FAILED and not job.total_count:
            details = {"reason": job.reason, "job_id": str(job.pk)}
            raise InvalidInput(job.error_message, reason=job.reason, details=details)
        body = answers.result(job, duplicate=created.is_duplicate)
        return Response(body, status=200 if job.is_ended else 202, headers=headers)


def _wait_for_the_end(job: BulkJob) -> None:
    """Look at the job until it is over, paused, or we have waited for long enough."""
    if not _waiting.acquire(blocking=False):
        return
    try:
        ends_at, pause = time.monotonic() + settings.BULK_SYNC_WAIT.total_seconds(), _FIRST_LOOK
        while True:
            job.refresh_from_db(fields=["status"])
            left = ends_at - time.monotonic()
            if job.is_ended or job.status == JobStatus.PAUSED or left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
    finally:
        _waiting.release()
        job.refresh_from_db()


class BulkCheckView(_UploadView):
    """Check a file and send nothing."""

    @extend_schema(
        operation_id="sms_providers_bulk_check",
        tags=[_TAG],
        summary="Check a file without sending it",
        description="The report that `bulk-send` would make, with every error of the first 1,000.",
        request={"multipart/form-data": UploadSerializer},
        responses={200: BulkCheckSerializer, **errors(400, 413, 415)},
        examples=[
            example(
                {
                    **_REPORT,
                    "total": 100,
                    "valid": 98,
                    "invalid": 2,
                    "would_send": 98,
                    "errors": [{**_ERROR, "value": "05012"}],
                },
                status=200,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        caller, organization = caller_of(request), organization_of(request)
        route = sending.route_for(organization, slug, is_test=caller.is_test)
        serializer = UploadSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        job = BulkJob(
            organization=organization,
            is_test=caller.is_test,
            app=None if caller.is_test else route.app,
            provider_slug=slug,
            region=organization.default_region,
            time_zone=organization.time_zone,
            mode=given["mode"],
            created_at=clock.now(),
        )
        receiving.check_size(given["file"])
        return Response(checking.check_file(job, given["file"], serializer.overrides))


class ProgressView(APIView):
    @extend_schema(
        operation_id="sms_providers_progress",
        tags=[_TAG],
        summary="Live counters of a bulk send",
        description="Of the job under way, else of the latest; zeros before any. `job_id` asks for another one.",
        parameters=[OpenApiParameter("job_id", OpenApiTypes.UUID, description="Empty: the running or latest job.")],
        responses={200: ProgressSerializer, **errors(400, 404)},
        examples=[example(_PROGRESS, status=200)],
    )
    def get(self, request: Request, slug: str) -> Response:
        sending.route_for(organization_of(request), slug, is_test=caller_of(request).is_test)
        found = _jobs(request, slug)
        wanted = request.query_params.get("job_id", "")
        if wanted:
            return Response(answers.progress(jobs.find(jobs=found, job_id=wanted)))
        return Response(answers.progress(jobs.current(found.filter(is_test=caller_of(request).is_test))))


class BulkJobFilter(django_filters.rest_framework.FilterSet):
    status = django_filters.ChoiceFilter(choices=JobStatus.choices)

    class Meta:
        model = BulkJob
        fields: list[str] = []


class BulkJobsView(GenericAPIView[BulkJob]):
    queryset = BulkJob.objects.none()  # for the schema; `get` scopes its own
    serializer_class = BulkJobSerializer
    pagination_class = PageLimitPagination
    filter_backends = [django_filters.rest_framework.DjangoFilterBackend]
    filterset_class = BulkJobFilter
    sort_fields = {"created": "created_at"}

    @extend_schema(
        operation_id="sms_providers_bulk_jobs",
        tags=[_TAG],
        summary="List bulk jobs",
        responses={200: BulkJobSerializer(many=True), **errors(400)},
        examples=[example(_JOB, status=200)],
    )
    def get(self, request: Request, slug: str) -> Response:
        page = self.paginate_queryset(self.filter_queryset(_jobs(request, slug)))
        return self.get_paginated_response([answers.listed(job) for job in page or []])


class BulkJobView(APIView):
    @extend_schema(
        operation_id="sms_providers_bulk_job",
        tags=[_TAG],
        summary="Read a bulk job",
        responses={200: FullBulkJobSerializer, **errors(400, 404)},
        examples=[example({**_JOB, "invalid": 2, "errors": [_ERROR], "report": _REPORT}, status=200)],
    )
    def get(self, request: Request, slug: str, job_id: str) -> Response:
        return Response(answers.detailed(jobs.find(jobs=_jobs(request, slug), job_id=job_id)))


class BulkErrorsView(APIView):
    @extend_schema(
        operation_id="sms_providers_bulk_errors",
        tags=[_TAG],
        summary="The rows that were not sent, as a CSV",
        description="As they were uploaded, with a column `reason`: correct them and upload the file again.",
        responses={(200, "text/csv"): OpenApiTypes.STR, **errors(400, 404, 409)},
    )
    def get(self, request: Request, slug: str, job_id: str) -> StreamingHttpResponse:
        return errors_response(jobs.find(jobs=_jobs(request, slug), job_id=job_id))


def errors_response(job: BulkJob) -> StreamingHttpResponse:
    """Return errors.csv of a job as a download. Raises `Conflict` and `Missing`."""
    errors_file.check(job)
    return StreamingHttpResponse(
        errors_file.lines(job),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="errors-{job.pk}.csv"'},
    )


def _action(operation_id: str, summary: str, description: str) -> Any:
    return extend_schema(
        operation_id=operation_id,
        tags=[_TAG],
        summary=summary,
        description=description,
        request=None,
        responses={200: BulkJobSerializer, **errors(400, 404, 409)},
        examples=[example(_JOB, status=200)],
    )


class _ActionView(APIView):
    """One change of a job, answered with the job as it then is."""

    required_scopes = {"POST": Scope.SEND}

    def change(self, request: Request, slug: str, job_id: str, change: Callable[[BulkJob], None]) -> Response:
        job = jobs.find(jobs=_jobs(request, slug), job_id=job_id)
        change(job)
        tasks.wake_for_jobs()
        job.refresh_from_db()
        return Response(answers.listed(job))


class PauseView(_ActionView):
    @_action("sms_providers_bulk_pause", "Pause a bulk job", "Nothing more is started; what is under way ends.")
    def post(self, request: Request, slug: str, job_id: str) -> Response:
        return self.change(request, slug, job_id, jobs.pause)


class ResumeView(_ActionView):
    @_action("sms_providers_bulk_resume", "Resume a paused bulk job", "The pause does not count towards its deadline.")
    def post(self, request: Request, slug: str, job_id: str) -> Response:
        return self.change(request, slug, job_id, jobs.resume)


class StopView(_ActionView):
    @_action(
        "sms_providers_bulk_stop",
        "Stop a bulk job",
        "Once this answers nothing more is started. The rest becomes `failed` with the reason `cancelled`.",
    )
    def post(self, request: Request, slug: str, job_id: str) -> Response:
        return self.change(request, slug, job_id, jobs.stop)


class RetryFailedView(_ActionView):
    @_action(
        "sms_providers_bulk_retry_failed",
        "Send the failed rows of an ended job again",
        "Also those that were cancelled; never one that was sent, or of which nobody knows. Wrong rows stay out.",
    )
    def post(self, request: Request, slug: str, job_id: str) -> Response:
        return self.change(request, slug, job_id, jobs.retry_failed)
