"""The outbox in the console: what is queued, what became of it, and why."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from linkit.markup import ltr, moment, pretty
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, reach
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message
from sms_providers import catalogue
from sms_providers.console import AppFilter, Banner, MessageListAdmin, story, tell
from sms_providers.models import OrganizationApp, Status


class JobFilter(admin.SimpleListFilter):
    """The messages of one file, as the page of its job links to them. Nothing to choose from by itself."""

    title, parameter_name = "bulk job", "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if not (wanted := request.GET.get(self.parameter_name, "")):
            return []
        jobs = reach(request).narrow(BulkJob.objects.defer("report"), "organization", Scope.READ)
        found = jobs.filter(pk=job_id).first() if (job_id := _uuid(wanted)) else None
        return [(wanted, str(found or "Another one"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not (wanted := self.value()):
            return queryset
        job_id = _uuid(wanted)
        return queryset.filter(job=job_id) if job_id else queryset.none()


def _uuid(typed: str) -> UUID | None:
    try:
        return UUID(typed)
    except ValueError:
        return None


@admin.register(Message)
class MessageAdmin(MessageListAdmin):
    section, position = Section.MESSAGES, 30
    list_title = "Outbox"
    story_template = "outbox/message.html"
    hidden_lookups = ["request_digest", "claim_token", "text", "meta"]
    empty_message = "Nothing is or was queued. The API's outbox and messages for later come here."
    list_display = ["created", "organization", "to", "state", "why", "through", "next_try", "message_id"]
    list_filter = ["status", AppFilter, "created_at", "is_test", JobFilter, OrganizationFilter]
    search_fields = ["recipient"]
    id_fields = {"pk": r"r[0-9a-z]{14}"}

    @admin.display(description="Next try")
    def next_try(self, row: Message) -> SafeString:
        return moment(row.next_attempt_at if row.status == Status.PENDING else None)

    @admin.display(description="Id")
    def message_id(self, row: Message) -> SafeString:
        return ltr(row.pk)

    def story_context(self, request: HttpRequest, row: Message) -> dict[str, Any]:
        log = row.log
        # Not the whole row, whose credentials nobody may be able to read.
        pinned = OrganizationApp.objects.filter(pk=row.pinned_app_id or 0).values_list("slug", flat=True).first()
        return {
            "log": log,
            "app": catalogue.app_name(row.provider_slug) if row.provider_slug else "",
            "pinned_to": catalogue.app_name(pinned) if pinned else "",
            "banner": _tell(row),
            **story(log, is_superuser=reach(request).is_superuser),
            "state": self.state(row),
            "meta": pretty(row.meta) if row.meta else "",
        }


def _tell(message: Message) -> Banner:
    """Say what became of a queued message. Once it was tried its log row knows best."""
    if message.status == Status.PENDING:
        why = f" {message.error_message}" if message.error_message else ""
        if message.job and message.job.status != JobStatus.RUNNING:
            state = message.job.get_status_display().lower()
            text = f"It waits for its bulk job, which is not running now: {state}.{why}"
            return Banner("calm", "Waiting", text)
        return Banner("calm", "Waiting", f"It goes out when it is due and an app can take it.{why}")
    if message.status == Status.SENDING:
        return Banner("calm", "Under way", "A worker has it in hand. Load this page again to see the outcome.")
    log = message.log
    if log is not None and log.status == message.status:
        return tell(log)
    if message.status == Status.DISPATCH_TIMEOUT:
        text = f"{message.error_message} Do not send it again before you know."
        return Banner("caution", "Outcome unknown: it may have been sent", text)
    if message.status == Status.SENT:
        return Banner("good", "Sent", "A provider accepted it.")
    return Banner("bad", "Not sent", message.error_message or message.reason.replace("_", " "))
