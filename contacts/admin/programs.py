"""SMS programs in the console: drafted, looked over, launched, watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

from billing import ledger
from contacts import preview, programs
from contacts.console import person
from contacts.models import ProgramStatus, SmsProgram
from contacts.preview import Preview
from contacts.program_forms import ProgramForm
from linkit.errors import LinkitError
from linkit.markup import amount, badge, ltr, moment
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, ReadOnlyAdmin, Section, TenantAdmin, reach
from outbox import console
from outbox.bulk import answers
from outbox.bulk.models import BulkJob, JobStatus
from outbox.sentences import in_words
from sms_providers.console import CREATED_FILTER, Banner
from sms_providers.models import SANDBOX
from sms_providers.reasons import REASONS

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

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
    """Something a person does to a program: the verb, and its words on buttons, afterwards, and in the audit trail."""

    do: Callable[..., SmsProgram]
    label: _StrOrPromise
    yes: _StrOrPromise
    question: _StrOrPromise
    done: _StrOrPromise
    noted: str
    is_danger: bool = False


ACTS = {
    "launch": Act(
        programs.launch,
        label=_lazy("Launch…"),
        yes=_lazy("Yes, launch"),
        question=_lazy("Launch?"),
        done=_lazy("Launched: its messages are being queued."),
        noted=noop("Launched."),
    ),
    "resume": Act(
        programs.resume,
        label=_lazy("Resume…"),
        yes=_lazy("Yes, resume"),
        question=_lazy("Resume?"),
        done=_lazy("It goes on."),
        noted=noop("Resumed."),
    ),
    "cancel": Act(
        programs.cancel,
        label=_lazy("Cancel…"),
        yes=_lazy("Yes, cancel"),
        question=_lazy("Cancel?"),
        done=_lazy("Nothing more is started; the rest is cancelled."),
        noted=noop("Cancelled."),
        is_danger=True,
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
    section, position = Section.MESSAGES, 23
    list_title = _lazy("SMS programs")
    add_label = _lazy("Add a program")
    empty_message = _lazy("No program yet. One sends a text with placeholders to every contact of an audience.")
    list_display = ["created", "organization", "shown_name", "state", "total", "sent", "failed", "unknown", "pending"]
    list_display_links = ["created", "shown_name"]
    list_filter = [CREATED_FILTER, "is_test", OrganizationFilter]
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
            {"title": _("Add a program"), **_of_form(form)},
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
            "title": _("Change program: %(program)s") % {"program": program},
            "original": program,
            **_of_form(form),
        }
        return self.page(request, "contacts/program_form.html", context)

    def _save(self, request: HttpRequest, form: ProgramForm, program: SmsProgram | None = None) -> SmsProgram | None:
        """Make or change a draft. None when that is refused: the form then says why."""
        try:
            if program is None:
                made = programs.create(organization=form.organization, **form.fields_of_draft(), user=person(request))
                self.note(request, made, noop("Made a draft."), flag=ADDITION)
                return made
            changed = programs.change(program=program, fields=form.fields_of_draft())
            self.note(request, changed, noop("Changed the draft."))
            return changed
        except LinkitError as problem:
            form.add_error(None, problem.message)
            return None

    def remove_view(self, request: HttpRequest, pk: UUID) -> HttpResponse | TemplateResponse:
        program = self.fetch(request, str(pk), Scope.MANAGE)
        if program is None:
            return self.missing(request, str(pk))
        if request.method != "POST":
            words = {"title": _("Delete?"), "yes": _("Yes, delete"), "is_danger": True}
            return self._ask(request, program, "remove", words)
        try:
            programs.delete(program=program)
        except LinkitError as problem:
            self.message_user(request, problem.message, messages.WARNING)
            return HttpResponseRedirect(_url(program))
        self.note(request, program, noop("Deleted the draft."), flag=DELETION)
        self.message_user(request, _("The draft “%(program)s” is deleted.") % {"program": program})
        return HttpResponseRedirect(reverse("admin:contacts_smsprogram_changelist"))

    def _ask(self, request: HttpRequest, program: SmsProgram, name: str, words: dict[str, Any]) -> TemplateResponse:
        """Say what follows from an act, and ask."""
        context = {"original": program, "program": program, "name": name, **words}
        if name == "launch":
            count = programs.recipients(program).count()
            # Of more than that nobody waits for every text: only the first are shown.
            is_counted = count <= programs.MAX_CONTACTS
            found = shown(program, most=count if is_counted else _SAMPLES)
            available = ledger.balance_of(program.organization).available
            context |= {
                "count": count,
                "preview": found,
                "is_counted": is_counted,
                "available": amount(available),
                "is_short": is_counted and not program.is_test and found.cost > available,
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
            "title": _("SMS program: %(program)s") % {"program": program},
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
            "acts": [
                (ACTS[name], _url(program, name))
                for name in _possible(program)
                if self.is_allowed(request, _scope(request, program, name), program)
            ],
            "may_change": may and program.status == ProgramStatus.DRAFT,
            "may_remove": may and program.job_id is None,
            "count": programs.recipients(program).count() if program.job_id is None and not is_over else None,
            "preview": shown(program, most=_SAMPLES) if program.status == ProgramStatus.DRAFT else None,
            "reason": REASONS.get(program.job.reason) if program.job and program.is_paused else None,
            "errors": console.first_rows(answers.errors(program.job), wrong_rows=program.job.failed_count)
            if program.job
            else None,
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "contacts/program.html", context)

    def act_view(self, request: HttpRequest, pk: UUID, name: str) -> HttpResponse | TemplateResponse:
        """Launch, resume or cancel, after asking; then back to the page of the program."""
        program = self.fetch(request, str(pk))
        if program is None:
            return self.missing(request, str(pk))
        if not self.is_allowed(request, _scope(request, program, name), program):
            raise PermissionDenied
        act = ACTS[name]
        if request.method != "POST":
            words = {"title": act.question, "yes": act.yes, "is_danger": act.is_danger}
            return self._ask(request, program, name, words)
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
            return JsonResponse({"error": _("There is no such SMS program.")}, status=404)
        return JsonResponse(answers.progress(program.job))

    # --- columns ---

    @admin.display(description=_lazy("Time"), ordering="created_at")
    def created(self, program: SmsProgram) -> SafeString:
        return moment(program.created_at)

    @admin.display(description=_lazy("Name"))
    def shown_name(self, program: SmsProgram) -> SafeString:
        return format_html("<bdi>{}</bdi>", program.name)

    @admin.display(description=_lazy("Status"))
    def state(self, program: SmsProgram) -> SafeString:
        shown = (
            badge(_("Paused"), "unsure") if program.is_paused else badge(program.status.label, _BADGES[program.status])
        )
        return format_html("{} {}", shown, badge(_("Test"), "test")) if program.is_test else shown

    @admin.display(description=_lazy("Messages"))
    def total(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "total_count")

    @admin.display(description=_lazy("Sent"))
    def sent(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "sent_count")

    @admin.display(description=_lazy("Failed"))
    def failed(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "failed_count")

    @admin.display(description=_lazy("Unknown"))
    def unknown(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "unknown_count")

    @admin.display(description=_lazy("Pending"))
    def pending(self, program: SmsProgram) -> SafeString:
        return _count(program.job, "pending_count")


def tell(program: SmsProgram) -> Banner:
    """Say how a program stands and what comes next."""
    job = program.job
    if job is None:
        if program.cancelled_at:
            return Banner("off", _("Cancelled"), _("It was never launched, and nothing was sent."))
        return Banner("calm", _("Draft"), _("Nothing is sent before somebody launches it."))
    why = in_words(job.error_message, job.reason)
    match job.status:
        case JobStatus.CHECKING:
            return Banner("calm", _("Its messages are being queued"), _("They go out once all of them are."))
        case JobStatus.STOPPED:
            return Banner("off", _("Cancelled"), why)
        case JobStatus.FAILED:
            return Banner("bad", _("Nothing was sent"), why or _("None could be sent; why is below."))
        case JobStatus.COMPLETED if job.is_test or job.provider_slug == SANDBOX:
            text = _("The simulator took all. Nothing left this machine.")
            return Banner("good", _("Sent, but only simulated"), text)
        case JobStatus.COMPLETED:
            return Banner("good", _("All sent"), _("That they arrived is for delivery receipts to say."))
        case JobStatus.PARTLY_FAILED:
            text = _("The figures below say how many were not.")
            if job.unknown_count:
                text = f"{text} {_('Those of unknown outcome may have been sent: do not send them again.')}"
            return Banner("caution", _("Sent in part"), text)
    return console.tell(job)


def shown(program: SmsProgram, *, most: int) -> Preview:
    """Return what the first contacts would get, at most so many."""
    contacts = programs.recipients(program)[:most]
    return preview.look(organization_id=program.organization_id, template=program.template, contacts=contacts)


def _scope(request: HttpRequest, program: SmsProgram, name: str) -> Scope:
    """Return what an act needs: who has sent to chosen contacts may also stop that, and go on with it."""
    is_own = program.created_by_id == person(request).pk
    return Scope.SEND if is_own and name != "launch" else Scope.MANAGE


def _of_form(form: ProgramForm) -> dict[str, Any]:
    return {"form": form, "has_senders": form.has_senders}


def _count(job: BulkJob | None, name: str) -> SafeString:
    return ltr(f"{getattr(job, name):,}") if job else SafeString("–")


def _url(program: SmsProgram, page: str = "change") -> str:
    return reverse(f"admin:contacts_smsprogram_{page}", args=[program.pk])
