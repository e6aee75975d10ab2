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
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit.errors import InvalidInput
from linkit.pagination import PageLimitPagination
from linkit.parsing import BoundedMultiPartParser
from linkit.permissions import Scope, caller_of, organization_of
from linkit.schema import errors, example
from outbox import tasks
from outbox.bulk import answers, checking, errors_file, jobs, receiving
from outbox.bulk.models import BulkJob, JobStatus
from outbox.bulk.serializers import (
    ERROR_EXAMPLE,
    JOB_EXAMPLE,
    PROGRESS_EXAMPLE,
    REPORT_EXAMPLE,
    RESULT_EXAMPLE,
    RUNNING_EXAMPLE,
    BulkCheckSerializer,
    BulkJobSerializer,
    BulkResultSerializer,
    BulkSendSerializer,
    FullBulkJobSerializer,
    ProgressSerializer,
    UploadSerializer,
)
from sms_providers import catalogue, sending
from sms_providers.api.slugged import IDEMPOTENCY_KEY, idempotency_key

_TAG = "SMS providers"
_FIRST_LOOK, _LONGEST_PAUSE = 0.05, 0.5  # seconds between two looks at a job that is waited for
# Requests of one process that wait for a job's end. The others are answered at once, so that a few long files do not
# take every thread there is.
_waiting = threading.BoundedSemaphore(4)


def _jobs(request: Request, slug: str) -> QuerySet[BulkJob]:
    """Return the caller's jobs through one app, which may be uninstalled by now. A test key sees its own."""
    catalogue.find(slug)
    caller = caller_of(request)
    # Without the report, which is large and only shown with one job.
    found = BulkJob.objects.files().filter(organization=organization_of(request), provider_slug=slug).defer("report")
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
            example(RESULT_EXAMPLE, name="Over", status=200),
            example({**RESULT_EXAMPLE, **RUNNING_EXAMPLE, "status": "running"}, name="Under way", status=202),
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
                    **REPORT_EXAMPLE,
                    "total": 100,
                    "valid": 98,
                    "invalid": 2,
                    "would_send": 98,
                    "errors": [{**ERROR_EXAMPLE, "value": "05012"}],
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
        receiving.check_size(given["file"])
        report = checking.check_file(
            given["file"],
            serializer.overrides,
            organization=organization,
            app=None if caller.is_test else route.app,
            slug=slug,
            mode=given["mode"],
            is_test=caller.is_test,
        )
        return Response(report)


class ProgressView(APIView):
    @extend_schema(
        operation_id="sms_providers_progress",
        tags=[_TAG],
        summary="Live counters of a bulk send",
        description="Of the job under way, else of the latest; zeros before any. `job_id` asks for another one.",
        parameters=[OpenApiParameter("job_id", OpenApiTypes.UUID, description="Empty: the running or latest job.")],
        responses={200: ProgressSerializer, **errors(400, 404)},
        examples=[example(PROGRESS_EXAMPLE, status=200)],
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
        examples=[example(JOB_EXAMPLE, status=200)],
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
        examples=[
            example({**JOB_EXAMPLE, "invalid": 2, "errors": [ERROR_EXAMPLE], "report": REPORT_EXAMPLE}, status=200)
        ],
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
        return errors_file.download(jobs.find(jobs=_jobs(request, slug), job_id=job_id))


def _action(operation_id: str, summary: str, description: str) -> Any:
    return extend_schema(
        operation_id=operation_id,
        tags=[_TAG],
        summary=summary,
        description=description,
        request=None,
        responses={200: BulkJobSerializer, **errors(400, 404, 409)},
        examples=[example(JOB_EXAMPLE, status=200)],
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
