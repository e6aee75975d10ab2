"""Bulk jobs in the console: a file is uploaded, checked, confirmed, and watched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop
from django.utils.translation import override
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from linkit.errors import LinkitError, Missing
from linkit.markup import badge, ltr, moment
from linkit.models import User
from linkit.parsing import is_over
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Page, ReadOnlyAdmin, Section, TenantAdmin, person, reach
from outbox import console, tasks
from outbox.bulk import answers, checking, drafts, errors_file, jobs, prices, receiving, uploads
from outbox.bulk.models import LIVE, BulkDraft, BulkJob, JobStatus
from outbox.bulk.reading import Overrides, open_table
from outbox.forms import SendFileForm
from outbox.sentences import in_words
from sms_providers import catalogue, sending
from sms_providers.console import CREATED_FILTER, STATUS_FILTER, AppFilter, sendable_apps
from sms_providers.models import SANDBOX
from sms_providers.reasons import REASONS

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise


@dataclass(frozen=True)
class Act:
    """Something a person does to a job: the verb, and its words on the button, afterwards, and in the audit trail.

    With `question` it is asked before, on a page that says what comes of it.
    """

    do: Callable[[BulkJob], None]
    label: Callable[[int], str]  # for so many failed rows, without the wrong ones
    done: _StrOrPromise
    noted: str
    question: _StrOrPromise = ""
    what_it_does: Callable[[BulkJob], list[str]] | None = None
    is_danger: bool = False


ACTS = {
    "pause": Act(
        jobs.pause,
        lambda _count: _("Pause"),
        _lazy("Paused. What is under way ends; nothing more is started."),
        noop("Paused."),
    ),
    "resume": Act(jobs.resume, lambda _count: _("Resume"), _lazy("It goes on."), noop("Resumed.")),
    "stop": Act(
        jobs.stop,
        lambda _count: _("Stop…"),
        _lazy("Nothing more is started; the rest is being cancelled."),
        noop("Stopped."),
        _lazy("Stop this bulk job?"),
        console.what_a_stop_does,
        is_danger=True,
    ),
    "retry": Act(
        jobs.retry_failed,
        lambda count: _("Send the failed again (%(count)s)…") % {"count": f"{count:,}"},
        _lazy("The failed rows are being queued again."),
        noop("Queued the failed again."),
        _lazy("Send the failed again?"),
        console.what_a_retry_does,
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
    section, position = Section.MESSAGES, 22
    list_title = _lazy("Bulk jobs")
    empty_message = _lazy("No file has been sent yet. “Send a file” checks one first, and sends it when you say so.")
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
    list_filter = [STATUS_FILTER, AppFilter, CREATED_FILTER, OrganizationFilter]
    list_select_related = ["organization"]
    search_fields = ["filename"]
    search_help_text = _lazy("A part of the file's name, or the id of a job.")
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
            path("send/<uuid:draft_id>/errors/", wrap(self.wrong_rows_view), name="send_file_errors"),
            path("<uuid:pk>/progress/", wrap(self.progress_view), name="outbox_bulkjob_progress"),
            path("<uuid:pk>/errors/", wrap(self.errors_view), name="outbox_bulkjob_errors"),
            *acts,
            *super().get_urls(),
        ]

    def console_pages(self, request: HttpRequest) -> list[Page]:
        page = Page(_("Send a file"), reverse("admin:send_file"), position=2)
        return [page] if reach(request).allows(Scope.SEND) else []

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
        context = {"title": _("Send a file"), "form": form, "has_apps": apps.exists()}
        return self.page(request, "outbox/send_file.html", context)

    def _check(self, request: HttpRequest, form: SendFileForm) -> UUID | None:
        """Check a file and keep it with the report. None when it cannot be read, which the form then says."""
        app, file, mode = form.cleaned_data["app"], form.cleaned_data["file"], form.cleaned_data["mode"]
        try:
            sending.route_through(app)
            receiving.check_size(file)
            receiving.check_table(file, form.overrides)
            with override("en"):  # the report is kept, and who looks at it next may have another language
                report = checking.check_file(
                    file, form.overrides, organization=app.organization, app=app, slug=app.slug, mode=mode
                )
                errors = console.first_rows(report["errors"], wrong_rows=report["invalid"])
            samples = console.samples(open_table(file, form.overrides))
        except LinkitError as problem:
            said = in_words(problem.message, problem.reason)
            form.add_error("app" if problem.reason == "credentials_unreadable" else "file", said)
            return None
        return drafts.keep(
            file,
            app=app,
            user=person(request),
            filename=file.name or "",
            overrides=form.overrides,
            mode=mode,
            report={
                **report,
                "errors": errors.shown,
                "more_rows": errors.more,
                "samples": samples,
                "prices": prices.fingerprint(app),
            },
        )

    def check_view(self, request: HttpRequest, draft_id: UUID) -> HttpResponse | TemplateResponse:
        """Show the report on a file, and send it when told to: once, however often."""
        if not reach(request).allows(Scope.SEND):
            raise PermissionDenied
        if (job := self._job_of(request, draft_id)) is not None:
            return self._to_first(request, job)
        draft = self._draft(request, draft_id)
        if draft is None:
            return self._draft_missing(request)
        if request.method == "POST":
            return self._confirm(request, draft, person(request))
        report = draft.report
        context = {
            "report": console.readable(report),
            "errors": console.told(report["errors"]),
            "errors_url": reverse("admin:send_file_errors", args=[draft.pk]),
        }
        return self._draft_page(request, draft, "outbox/send_file_check.html", context)

    def wrong_rows_view(self, request: HttpRequest, draft_id: UUID) -> HttpResponseBase:
        """Return the wrong rows of a checked file, each with the reason, before anything of it is sent."""
        if not reach(request).allows(Scope.SEND):
            raise PermissionDenied
        draft = self._draft(request, draft_id)
        if draft is None:
            return self._draft_missing(request)
        try:
            return errors_file.download_of_draft(draft)
        except Missing:  # sent or replaced meanwhile
            return self._draft_missing(request)

    def _draft(self, request: HttpRequest, draft_id: UUID) -> BulkDraft | None:
        """Return a file that this person has checked, if they may still send it."""
        draft = drafts.take(draft_id, person(request))
        return draft if draft and reach(request).allows(Scope.SEND, draft.app.organization_id) else None

    def _draft_missing(self, request: HttpRequest) -> HttpResponse:
        text = _("That checked file is not here. One that is not sent is kept for a day; upload it again.")
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:send_file"))

    def _draft_page(
        self, request: HttpRequest, draft: BulkDraft, template: str, context: dict[str, Any]
    ) -> TemplateResponse:
        frame = {
            "title": _("Check %(file)s") % {"file": draft},
            "draft": draft,
            "app": catalogue.app_name(draft.app.slug),
            "is_simulated": draft.app.slug == SANDBOX,
            "is_wide": reach(request).is_wide,
            "duration": console.duration(draft.report["estimated_seconds"]),
            "cost": console.credit_cost(draft.report),
            "crumb": _("Send a file"),
            "crumb_url": reverse("admin:send_file"),
        }
        return self.page(request, template, {**frame, **context})

    def _confirm(self, request: HttpRequest, draft: BulkDraft, user: User) -> HttpResponse | TemplateResponse:
        app = draft.app
        if draft.report.get("prices") != prices.fingerprint(app):
            text = _("Nothing was sent: the prices have changed since this file was checked. Upload it again.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(reverse("admin:send_file"))
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
            context = {"job": job, "state": self.state(job)}
            return self._draft_page(request, draft, "outbox/send_file_again.html", context)
        drafts.drop(draft)
        if created.is_replay:
            return self._to_first(request, job)
        tasks.wake_for_jobs()
        values = {"count": draft.report["would_send"], "app": catalogue.app_name(app.slug)}
        self.note(request, job, noop("Sent a file by hand through %(app)s. Rows: %(count)s."), values, flag=ADDITION)
        return HttpResponseRedirect(_url(job))

    def _job_of(self, request: HttpRequest, draft_id: UUID) -> BulkJob | None:
        """Return the job that this person has made of a checked file."""
        return self.get_queryset(request).filter(idempotency_key=_key(draft_id), user=request.user).first()

    def _to_first(self, request: HttpRequest, job: BulkJob) -> HttpResponse:
        if request.method == "POST":
            text = _("This file had been confirmed before; nothing was sent again. To repeat it, upload it once more.")
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
            "title": _("Bulk job: %(job)s") % {"job": job},
            "job": job,
            "original": job,
            "banner": console.tell(job),
            "state": self.state(job),
            "app": catalogue.app_name(job.provider_slug),
            "figures": figures,
            "bar": console.bar(figures),
            "percent": console.percent(figures),
            "eta": console.duration(figures["eta_seconds"]),
            "acts": [(ACTS[name], ACTS[name].label(count), _url(job, name)) for name in acts],
            "reason": REASONS.get(job.reason) if job.status == JobStatus.PAUSED else None,
            "report": console.readable(job.report),
            "duration": console.duration(job.report.get("estimated_seconds")),
            "cost": console.credit_cost(job.report),
            "errors": console.first_rows(answers.errors(job), wrong_rows=console.listed_rows(job)),
            "has_errors_file": bool(console.listed_rows(job)) and _has_file(job),
            "held_back": job.failed_count - job.invalid_count if console.held_back(job) else 0,
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "outbox/job.html", context)

    def act_view(self, request: HttpRequest, pk: UUID, name: str) -> HttpResponse | TemplateResponse:
        """Pause or resume, or stop or send the failed again after asking; then back to the page of the job."""
        job = self.fetch(request, str(pk), Scope.SEND)
        if job is None:
            return self.missing(request, str(pk))
        act = ACTS[name]
        if request.method == "POST":
            try:
                act.do(job)
            except LinkitError as problem:  # it has moved on meanwhile
                self.message_user(request, problem.message, messages.WARNING)
            else:
                tasks.wake_for_jobs()
                self.note(request, job, act.noted)
                self.message_user(request, act.done, messages.SUCCESS)
        elif act.what_it_does is not None and name in _possible(job):
            context = {
                "title": act.question,
                "act": act,
                "follows": act.what_it_does(job),
                "original": job,
                "crumb": job,
                "back": _url(job),
            }
            return self.page(request, "outbox/act.html", context)
        return HttpResponseRedirect(_url(job))

    def progress_view(self, request: HttpRequest, pk: UUID) -> JsonResponse:
        """Return the figures that the page of a job follows, which are the API's."""
        job = self.fetch(request, str(pk))
        if job is None:
            return JsonResponse({"error": _("There is no such bulk job.")}, status=404)
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

    @admin.display(description=_lazy("Time"), ordering="created_at")
    def created(self, job: BulkJob) -> SafeString:
        return moment(job.created_at)

    @admin.display(description=_lazy("File"))
    def file(self, job: BulkJob) -> SafeString:
        return format_html("<bdi>{}</bdi>", job.filename or "–")

    @admin.display(description=_lazy("App"))
    def through(self, job: BulkJob) -> str:
        return catalogue.app_name(job.provider_slug)

    @admin.display(description=_lazy("Status"))
    def state(self, job: BulkJob) -> SafeString:
        shown = badge(job.get_status_display(), console.BADGES[job.status])
        return format_html("{} {}", shown, badge(_("Test"), "test")) if job.is_test else shown

    @admin.display(description=_lazy("Rows"))
    def total(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.total_count:,}")

    @admin.display(description=_lazy("Sent"))
    def sent(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.sent_count:,}")

    @admin.display(description=_lazy("Failed"))
    def failed(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.failed_count:,}")

    @admin.display(description=_lazy("Unknown"))
    def unknown(self, job: BulkJob) -> SafeString:
        return ltr(f"{job.unknown_count:,}")

    @admin.display(description=_lazy("Pending"))
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
