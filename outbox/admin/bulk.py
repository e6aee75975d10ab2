"""Bulk jobs in the console: a file is uploaded, checked, confirmed, and watched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from linkit.errors import LinkitError
from linkit.markup import badge, ltr, moment
from linkit.models import User
from linkit.parsing import is_over
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, ReadOnlyAdmin, Section, TenantAdmin, reach
from outbox import console, tasks
from outbox.bulk import answers, checking, drafts, errors_file, jobs, receiving, uploads
from outbox.bulk.models import LIVE, BulkDraft, BulkJob, JobStatus
from outbox.bulk.reading import Overrides, open_table
from outbox.bulk.report import rows_in_words
from outbox.forms import SendFileForm
from sms_providers import catalogue, sending
from sms_providers.console import AppFilter, sendable_apps
from sms_providers.models import SANDBOX
from sms_providers.reasons import REASONS


@dataclass(frozen=True)
class Act:
    """Something a person does to a job: the verb, and its words on the button, afterwards, and in the audit trail."""

    do: Callable[[BulkJob], None]
    label: str  # {count}: of failed rows, without the wrong ones
    done: str
    noted: str
    is_danger: bool = False


ACTS = {
    "pause": Act(jobs.pause, "Pause", "Paused. What is under way ends; nothing more is started.", "Paused."),
    "resume": Act(jobs.resume, "Resume", "It goes on.", "Resumed."),
    "stop": Act(jobs.stop, "Stop", "Nothing more is started; the rest is being cancelled.", "Stopped.", is_danger=True),
    "retry": Act(
        jobs.retry_failed,
        "Send the failed again ({count:,})",
        "The failed rows are being queued again.",
        "Queued the failed again.",
    ),
}


def _possible(job: BulkJob) -> Collection[str]:
    """Return the names of what can be done to a job as it is."""
    if console.can_retry(job):
        return ["retry"]
    by_status = {JobStatus.RUNNING: ["pause", "stop"], JobStatus.PAUSED: ["resume", "stop"], JobStatus.STOPPING: []}
    return by_status.get(JobStatus(job.status), ["stop"] if job.status in LIVE else [])


@admin.register(BulkJob)
class BulkJobAdmin(ReadOnlyAdmin, TenantAdmin):
    section, position = Section.MESSAGES, 21
    list_title = "Bulk jobs"
    empty_message = "No file has been sent yet. “Send a file” checks one first, and sends it when you say so."
    hidden_lookups = ["content_hash", "request_digest", "idempotency_key", "work_token", "options", "report"]
    list_display = [
        "created",
        "organization",
        "file",
        "through",
        "state",
        "total",
        "sent",
        "failed",
        "unknown",
        "pending",
    ]
    list_display_links = ["created", "file"]
    list_filter = ["status", AppFilter, "created_at", OrganizationFilter]
    list_select_related = ["organization"]
    search_fields = ["filename"]
    search_help_text = "A part of the file's name, or the id of a job."
    sortable_by = ("created",)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        acts = [
            path(f"<uuid:pk>/{name}/", wrap(self.act_view), {"name": name}, name=f"outbox_bulkjob_{name}")
            for name in ACTS
        ]
        return [
            path("send/", wrap(self.upload_view), name="send_file"),
            path("send/<uuid:draft_id>/", wrap(self.check_view), name="send_file_check"),
            path("<uuid:pk>/progress/", wrap(self.progress_view), name="outbox_bulkjob_progress"),
            path("<uuid:pk>/errors/", wrap(self.errors_view), name="outbox_bulkjob_errors"),
            *acts,
            *super().get_urls(),
        ]

    def console_pages(self, request: HttpRequest) -> list[tuple[str, str]]:
        return [("Send a file", reverse("admin:send_file"))] if reach(request).allows(Scope.SEND) else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        files = super().get_queryset(request).filter(program_id=None)
        return files.defer("report")  # large, and only one page shows it

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        with contextlib.suppress(ValueError):
            return queryset.filter(pk=UUID(search_term.strip())), False
        return super().get_search_results(request, queryset, search_term)

    # --- upload, check, confirm ---

    @method_decorator(csrf_exempt)  # only until the size is known: looking for the token reads the whole upload
    def upload_view(self, request: HttpRequest) -> HttpResponse | TemplateResponse:
        """Take a file and check it. Nothing is sent: the answer is the page with the report, where one may say yes."""
        if not reach(request).allows(Scope.SEND):
            raise PermissionDenied
        if is_over(request, receiving.max_body_bytes()):
            self.message_user(request, receiving.too_large().message, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:send_file"))
        return self._upload(request)

    @method_decorator(csrf_protect)
    def _upload(self, request: HttpRequest) -> HttpResponse | TemplateResponse:
        apps = sendable_apps(request)
        is_sent = request.method == "POST"
        form = SendFileForm(
            request.POST if is_sent else None,
            request.FILES if is_sent else None,
            apps=apps,
            is_wide=reach(request).is_wide,
        )
        if form.is_valid() and (draft_id := self._check(request, form)) is not None:
            return HttpResponseRedirect(reverse("admin:send_file_check", args=[draft_id]))
        context = {"title": "Send a file", "form": form, "has_apps": apps.exists()}
        return self.page(request, "outbox/send_file.html", context)

    def _check(self, request: HttpRequest, form: SendFileForm) -> UUID | None:
        """Check a file and keep it with the report. None when it cannot be read, which the form then says."""
        assert isinstance(request.user, User)
        app, file, mode = form.cleaned_data["app"], form.cleaned_data["file"], form.cleaned_data["mode"]
        try:
            sending.route_through(app)
            receiving.check_size(file)
            report = checking.check_file(
                file, form.overrides, organization=app.organization, app=app, slug=app.slug, mode=mode
            )
            if not report["total"]:
                receiving.check_table(file, form.overrides)  # says that there is no row
            samples = console.samples(open_table(file, form.overrides))
        except LinkitError as problem:
            form.add_error("app" if problem.reason == "credentials_unreadable" else "file", problem.message)
            return None
        errors = console.first_rows(report["errors"], wrong_rows=report["invalid"])
        return drafts.keep(
            file,
            app=app,
            user=request.user,
            filename=file.name or "",
            overrides=form.overrides,
            mode=mode,
            report={**report, "errors": errors.shown, "more_rows": errors.more, "samples": samples},
        )

    def check_view(self, request: HttpRequest, draft_id: UUID) -> HttpResponse | TemplateResponse:
        """Show the report on a file, and send it when told to: once, however often."""
        if not reach(request).allows(Scope.SEND):
            raise PermissionDenied
        assert isinstance(request.user, User)
        if (job := self._job_of(request, draft_id)) is not None:
            return self._to_first(request, job)
        draft = drafts.take(draft_id, request.user)
        if draft is None or not reach(request).allows(Scope.SEND, draft.app.organization_id):
            text = "That checked file is not here. One that is not sent is kept for a day; upload it again."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(reverse("admin:send_file"))
        if request.method == "POST":
            return self._confirm(request, draft, request.user)
        return self._draft_page(request, draft, "outbox/send_file_check.html", {"report": draft.report})

    def _draft_page(
        self, request: HttpRequest, draft: BulkDraft, template: str, context: dict[str, Any]
    ) -> TemplateResponse:
        frame = {
            "title": f"Check {draft}",
            "draft": draft,
            "app": catalogue.app_name(draft.app.slug),
            "is_simulated": draft.app.slug == SANDBOX,
            "is_wide": reach(request).is_wide,
            "duration": console.duration(draft.report["estimated_seconds"]),
            "crumb": "Send a file",
            "crumb_url": reverse("admin:send_file"),
        }
        return self.page(request, template, {**frame, **context})

    def _confirm(self, request: HttpRequest, draft: BulkDraft, user: User) -> HttpResponse | TemplateResponse:
        app = draft.app
        try:
            sending.route_through(app)
            with uploads.opened(draft.upload) as file:
                created = receiving.create(
                    organization=app.organization,
                    app=app,
                    slug=app.slug,
                    file=file,
                    filename=draft.filename,
                    overrides=Overrides(**draft.options),
                    mode=draft.mode,
                    force=request.POST.get("force") == "yes",
                    idempotency_key=_key(draft.pk),
                    user=user,
                )
        except LinkitError as problem:
            if (job := self._job_of(request, draft.pk)) is not None:  # the other click's
                return self._to_first(request, job)
            self.message_user(request, problem.message, messages.ERROR)
            return HttpResponseRedirect(request.path)
        job = created.job
        if created.is_duplicate:
            context = {"job": job, "state": self.state(job), "report": draft.report}
            return self._draft_page(request, draft, "outbox/send_file_again.html", context)
        drafts.drop(draft)
        if created.is_replay:
            return self._to_first(request, job)
        tasks.wake_for_jobs()
        count = rows_in_words(draft.report["would_send"])
        name = catalogue.app_name(app.slug)
        self.note(request, job, f"Sent a file of {count} by hand through {name}.", flag=ADDITION)
        return HttpResponseRedirect(_url(job))

    def _job_of(self, request: HttpRequest, draft_id: UUID) -> BulkJob | None:
        """Return the job that this person has made of a checked file."""
        return self.get_queryset(request).filter(idempotency_key=_key(draft_id), user=request.user).first()

    def _to_first(self, request: HttpRequest, job: BulkJob) -> HttpResponse:
        if request.method == "POST":
            text = "This file had been confirmed before; nothing was sent again. To repeat it, upload it once more."
            self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(_url(job))

    # --- one job ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        job: BulkJob | None = self.fetch(request, object_id)
        if job is None:
            return self.missing(request, object_id)
        figures = answers.progress(job)
        acts = _possible(job) if self.is_allowed(request, Scope.SEND, job) else []
        count = job.failed_count - job.invalid_count
        context = {
            "title": f"Bulk job: {job}",
            "job": job,
            "original": job,
            "banner": console.tell(job),
            "state": self.state(job),
            "app": catalogue.app_name(job.provider_slug),
            "figures": figures,
            "bar": console.bar(figures),
            "percent": console.percent(figures),
            "eta": console.duration(figures["eta_seconds"]),
            "acts": [(ACTS[name], ACTS[name].label.format(count=count), _url(job, name)) for name in acts],
            "reason": REASONS.get(job.reason) if job.status == JobStatus.PAUSED else None,
            "report": job.report,
            "duration": console.duration(job.report.get("estimated_seconds")),
            "errors": console.first_rows(answers.errors(job), wrong_rows=console.listed_rows(job)),
            "has_errors_file": bool(console.listed_rows(job)) and _has_file(job),
            "held_back": job.failed_count - job.invalid_count if console.held_back(job) else 0,
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "outbox/job.html", context)

    def act_view(self, request: HttpRequest, pk: UUID, name: str) -> HttpResponse:
        """Pause, resume, stop, or send the failed again; then back to the page of the job."""
        job = self.fetch(request, str(pk), Scope.SEND)
        if job is None:
            return self.missing(request, str(pk))
        if request.method == "POST":
            act = ACTS[name]
            try:
                act.do(job)
            except LinkitError as problem:  # it has moved on meanwhile
                self.message_user(request, problem.message, messages.WARNING)
            else:
                tasks.wake_for_jobs()
                self.note(request, job, act.noted)
                self.message_user(request, act.done, messages.SUCCESS)
        return HttpResponseRedirect(_url(job))

    def progress_view(self, request: HttpRequest, pk: UUID) -> JsonResponse:
        """Return the figures that the page of a job follows, which are the API's."""
        job = self.fetch(request, str(pk))
        if job is None:
            return JsonResponse({"error": "There is no such bulk job."}, status=404)
        return JsonResponse(answers.progress(job))

    def errors_view(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        job = self.fetch(request, str(pk))
        if job is None:
            return self.missing(request, str(pk))
        try:
            return errors_file.download(job)
        except LinkitError as problem:
            self.message_user(request, problem.message, messages.WARNING)
            return HttpResponseRedirect(_url(job))

    # --- columns ---

    @admin.display(description="Time", ordering="created_at")
    def created(self, job: BulkJob) -> SafeString:
        return moment(job.created_at)

    @admin.display(description="File")
    def file(self, job: BulkJob) -> SafeString:
        return format_html("<bdi>{}</bdi>", job.filename or "–")

    @admin.display(description="App")
    def through(self, job: BulkJob) -> str:
        return catalogue.app_name(job.provider_slug)

    @admin.display(description="Status")
    def state(self, job: BulkJob) -> SafeString:
        shown = badge(job.get_status_display(), console.BADGES[job.status])
        return format_html("{} {}", shown, badge("Test", "test")) if job.is_test else shown

    @admin.display(description="Rows")
    def total(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.total_count:,}")

    @admin.display(description="Sent")
    def sent(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.sent_count:,}")

    @admin.display(description="Failed")
    def failed(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.failed_count:,}")

    @admin.display(description="Unknown")
    def unknown(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.unknown_count:,}")

    @admin.display(description="Pending")
    def pending(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.pending_count:,}")


def _key(draft_id: UUID) -> str:
    """Return the idempotency key of a confirmation, in a corner of the keys that no program chooses by accident."""
    return f"console:{draft_id}"


def _url(job: BulkJob, page: str = "change") -> str:
    return reverse(f"admin:outbox_bulkjob_{page}", args=[job.pk])


def _has_file(job: BulkJob) -> bool:
    try:
        errors_file.check(job)
    except LinkitError:
        return False
    return True
