"""SMS programs in the console: drafted, looked over, launched, watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, DELETION
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing import rates
from contacts import programs, rendering, single
from contacts.console import person
from contacts.models import ProgramStatus, SmsProgram
from contacts.program_forms import ProgramForm
from linkit import clock, encoding
from linkit.errors import LinkitError
from linkit.markup import badge, ltr, moment
from linkit.permissions import Scope
from linkit.spreadsheet import exact
from linkit.tenancy import OrganizationFilter, ReadOnlyAdmin, Section, TenantAdmin, reach
from outbox import console
from outbox.bulk import answers
from outbox.bulk.models import BulkJob, JobStatus
from sms_providers.console import Banner
from sms_providers.models import SANDBOX
from sms_providers.reasons import REASONS

_SAMPLES = 3
_BADGES: dict[str, str] = {
    ProgramStatus.DRAFT: "off",
    ProgramStatus.PENDING: "pending",
    ProgramStatus.SENDING: "pending",
    ProgramStatus.COMPLETED: "good",
    ProgramStatus.CANCELLED: "off",
    ProgramStatus.FAILED: "bad",
}


@dataclass(frozen=True)
class Act:
    """Something a person does to a program: the verb, its words on the button, afterwards, and in the audit trail."""

    do: Callable[..., SmsProgram]
    label: str
    done: str
    noted: str
    is_danger: bool = False


ACTS = {
    "launch": Act(programs.launch, "Launch", "Launched: its messages are being queued.", "Launched."),
    "resume": Act(programs.resume, "Resume", "It goes on.", "Resumed."),
    "cancel": Act(
        programs.cancel, "Cancel", "Nothing more is started; the rest is cancelled.", "Cancelled.", is_danger=True
    ),
}


def _possible(program: SmsProgram) -> list[str]:
    if program.status == ProgramStatus.DRAFT:
        return ["launch"]
    if program.job is None or program.job.is_ended or program.job.status == JobStatus.STOPPING:
        return []
    return ["resume", "cancel"] if program.is_paused else ["cancel"]


@admin.register(SmsProgram)
class SmsProgramAdmin(ReadOnlyAdmin, TenantAdmin):
    section, position = Section.MESSAGES, 22
    list_title = "SMS programs"
    add_label = "Add a program"
    empty_message = "No program yet. One sends a text with placeholders to every contact of an audience."
    list_display = ["created", "organization", "shown_name", "state", "total", "sent", "failed", "unknown", "pending"]
    list_display_links = ["created", "shown_name"]
    list_filter = ["created_at", "is_test", OrganizationFilter]
    list_select_related = ["organization", "job"]
    search_fields = ["name"]
    sortable_by = ("created",)
    hidden_lookups = ["template"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.is_allowed(request, Scope.MANAGE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("job__report")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        acts = [
            path(f"<uuid:pk>/{name}/", wrap(self.act_view), {"name": name}, name=f"contacts_smsprogram_{name}")
            for name in ACTS
        ]
        return [
            path("<uuid:pk>/progress/", wrap(self.progress_view), name="contacts_smsprogram_progress"),
            path("<uuid:pk>/edit/", wrap(self.edit_view), name="contacts_smsprogram_edit"),
            path("<uuid:pk>/remove/", wrap(self.remove_view), name="contacts_smsprogram_remove"),
            *acts,
            *super().get_urls(),
        ]

    # --- drafts ---

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ProgramForm(request.POST or None, organizations=reach(request).organizations(Scope.MANAGE))
        if form.is_valid() and (program := self._save(request, form)) is not None:
            return HttpResponseRedirect(_url(program))
        return self.page(
            request,
            "contacts/program_form.html",
            {"title": "Add a program", "form": form, "has_senders": form.has_senders},
        )

    def edit_view(self, request: HttpRequest, pk: UUID) -> HttpResponse | TemplateResponse:
        program = self.fetch(request, str(pk), Scope.MANAGE)
        if program is None:
            return self.missing(request, str(pk))
        form = ProgramForm(
            request.POST or None,
            organizations=reach(request).organizations(Scope.MANAGE).filter(pk=program.organization_id),
            program=program,
        )
        if form.is_valid() and self._save(request, form, program) is not None:
            return HttpResponseRedirect(_url(program))
        context = {
            "title": f"Change program: {program}",
            "form": form,
            "original": program,
            "has_senders": form.has_senders,
        }
        return self.page(request, "contacts/program_form.html", context)

    def _save(self, request: HttpRequest, form: ProgramForm, program: SmsProgram | None = None) -> SmsProgram | None:
        """Make or change a draft. None when that is refused: the form then says why."""
        try:
            if program is None:
                made = programs.create(organization=form.organization, **form.fields_of_draft(), user=person(request))
                self.note(request, made, "Made a draft.", flag=ADDITION)
                return made
            changed = programs.change(program=program, fields=form.fields_of_draft())
            self.note(request, changed, "Changed the draft.")
            return changed
        except LinkitError as problem:
            form.add_error(None, problem.message)
            return None

    def remove_view(self, request: HttpRequest, pk: UUID) -> HttpResponse | TemplateResponse:
        program = self.fetch(request, str(pk), Scope.MANAGE)
        if program is None:
            return self.missing(request, str(pk))
        if request.method != "POST":
            return self._ask(request, program, "remove", "Delete", is_danger=True)
        try:
            programs.delete(program=program)
        except LinkitError as problem:
            self.message_user(request, problem.message, messages.WARNING)
            return HttpResponseRedirect(_url(program))
        self.note(request, program, "Deleted the draft.", flag=DELETION)
        self.message_user(request, f"The draft “{program}” is deleted.")
        return HttpResponseRedirect(reverse("admin:contacts_smsprogram_changelist"))

    def _ask(
        self, request: HttpRequest, program: SmsProgram, name: str, label: str, *, is_danger: bool
    ) -> TemplateResponse:
        """Say what follows from an act, and ask."""
        is_launch = name == "launch"
        context = {
            "title": f"{label}?",
            "original": program,
            "program": program,
            "name": name,
            "label": label,
            "is_danger": is_danger,
            "count": programs.recipients(program).count() if is_launch else None,
            "samples": samples(program) if is_launch else [],
        }
        return self.page(request, "contacts/program_confirm.html", context)

    # --- one program ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        program: SmsProgram | None = self.fetch(request, object_id)
        if program is None:
            return self.missing(request, object_id)
        figures = answers.progress(program.job)
        may = self.is_allowed(request, Scope.MANAGE, program)
        is_over = program.job_id is None and program.status != ProgramStatus.DRAFT
        context = {
            "title": f"SMS program: {program}",
            "program": program,
            "original": program,
            "job": program.job,
            "is_draft": program.status == ProgramStatus.DRAFT,
            "banner": tell(program),
            "state": self.state(program),
            "figures": figures,
            "bar": console.bar(figures),
            "percent": console.percent(figures),
            "eta": console.duration(figures["eta_seconds"]),
            "acts": [(ACTS[name], _url(program, name)) for name in _possible(program)] if may else [],
            "may_change": may and program.status == ProgramStatus.DRAFT,
            "may_remove": may and program.job_id is None,
            "count": programs.recipients(program).count() if program.job_id is None and not is_over else None,
            "samples": samples(program) if program.status == ProgramStatus.DRAFT else [],
            "reason": REASONS.get(program.job.reason) if program.job and program.is_paused else None,
            "errors": console.first_rows(answers.errors(program.job), wrong_rows=program.job.failed_count)
            if program.job
            else None,
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "contacts/program.html", context)

    def act_view(self, request: HttpRequest, pk: UUID, name: str) -> HttpResponse | TemplateResponse:
        """Launch, resume or cancel, after asking; then back to the page of the program."""
        program = self.fetch(request, str(pk), Scope.MANAGE)
        if program is None:
            return self.missing(request, str(pk))
        act = ACTS[name]
        if request.method != "POST":
            return self._ask(request, program, name, act.label, is_danger=act.is_danger)
        who = {"user": person(request)} if name == "launch" else {}
        try:
            act.do(program=program, **who)
        except LinkitError as problem:
            self.message_user(request, problem.message, messages.WARNING)
        else:
            self.note(request, program, act.noted)
            self.message_user(request, act.done, messages.SUCCESS)
        return HttpResponseRedirect(_url(program))

    def progress_view(self, request: HttpRequest, pk: UUID) -> JsonResponse:
        """Return the figures that the page of a program follows."""
        program = self.fetch(request, str(pk))
        if program is None:
            return JsonResponse({"error": "There is no such program."}, status=404)
        return JsonResponse(answers.progress(program.job))

    # --- columns ---

    @admin.display(description="Time", ordering="created_at")
    def created(self, program: SmsProgram) -> SafeString:
        return moment(program.created_at)

    @admin.display(description="Name")
    def shown_name(self, program: SmsProgram) -> SafeString:
        return format_html("<bdi>{}</bdi>", program.name)

    @admin.display(description="Status")
    def state(self, program: SmsProgram) -> SafeString:
        shown = badge("Paused", "unsure") if program.is_paused else badge(program.status.label, _BADGES[program.status])
        return format_html("{} {}", shown, badge("Test", "test")) if program.is_test else shown

    @admin.display(description="Messages")
    def total(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "total_count")

    @admin.display(description="Sent")
    def sent(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "sent_count")

    @admin.display(description="Failed")
    def failed(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "failed_count")

    @admin.display(description="Unknown")
    def unknown(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "unknown_count")

    @admin.display(description="Pending")
    def pending(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "pending_count")


def tell(program: SmsProgram) -> Banner:
    """Say how a program stands and what comes next."""
    job = program.job
    if job is None:
        if program.cancelled_at:
            return Banner("off", "Cancelled", "It was never launched, and nothing was sent.")
        return Banner("calm", "Draft", "Nothing is sent before somebody launches it.")
    match job.status:
        case JobStatus.CHECKING:
            return Banner("calm", "Its messages are being queued", "They go out once all of them are.")
        case JobStatus.STOPPED:
            return Banner("off", "Cancelled", job.error_message)
        case JobStatus.FAILED:
            return Banner("bad", "Nothing was sent", job.error_message or "None could be sent; why is below.")
        case JobStatus.COMPLETED if job.is_test or job.provider_slug == SANDBOX:
            return Banner("good", "Sent, but only simulated", "The simulator took all. Nothing left this machine.")
        case JobStatus.COMPLETED:
            return Banner("good", "All sent", "That they arrived is for delivery receipts to say.")
        case JobStatus.PARTLY_FAILED:
            doubt = " Those of unknown outcome may have been sent: do not send them again." if job.unknown_count else ""
            return Banner("caution", "Sent in part", f"The figures below say how many were not.{doubt}")
    return console.tell(job)


def samples(program: SmsProgram) -> list[dict[str, Any]]:
    """Return what the first contacts would get, and what it costs them."""
    template = rendering.compile_template(program.template)
    attributes = single.attribute_names(program.organization_id)
    tariff = rates.tariffs([program.organization_id], today=clock.now().date())[program.organization_id]
    found = []
    for contact in programs.recipients(program)[:_SAMPLES]:
        rendered = template.render(rendering.values_of(contact, attributes))
        counted = encoding.segments(rendered.text)
        cost = tariff.price(contact.primary_phone) * counted.count
        found.append({"contact": contact, "rendered": rendered, "counted": counted, "cost": exact(cost)})
    return found


def _count(job: BulkJob | None, name: str) -> SafeString:
    return ltr(f"{getattr(job, name):,}") if job else SafeString("–")


def _url(program: SmsProgram, page: str = "change") -> str:
    return reverse(f"admin:contacts_smsprogram_{page}", args=[program.pk])
