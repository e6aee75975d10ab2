"""The outbox in the console: what is queued, what became of it, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from linkit import clock
from linkit.errors import Conflict
from linkit.markup import ltr, moment, pretty
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, reach
from outbox import services, settling, tasks
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message
from sms_providers import catalogue
from sms_providers.console import AppFilter, Banner, MessageListAdmin, story, tell, what_follows
from sms_providers.models import OrganizationApp, Status

_IDS = re.compile("r[0-9a-z]{14}")
_MOST_AT_ONCE = 1000  # a transaction each, while somebody waits for the page


@dataclass(frozen=True)
class Act:
    """Something a person does to a message, or to many: the verb, whom it is for, and its words."""

    do: Callable[[Message], None]
    status: Status  # of the messages it is for
    is_for: str  # them, in a word
    button: str
    many: str  # in the menu of the list
    question: str
    will: str  # what happens to those it is for
    follows: str  # what that means
    done: str
    noted: str  # in the audit trail
    is_danger: bool = False

    @property
    def sends(self) -> bool:
        """Whether the message waits to be sent from then on."""
        return self.done == "queued again"


_AGAIN = (
    "It goes to the end of the queue and is sent as if it were new, with its whole time to live. What costs credits is"
    " charged when it is sent."
)
ACTS = {
    "cancel": Act(
        lambda message: services.cancel(message=message),
        Status.PENDING,
        "pending",
        "Cancel…",
        "Cancel…",
        "Cancel?",
        "cancelled",
        "It is not sent, and stays in the list as failed. One that a worker has in hand is sent all the same.",
        "cancelled",
        "Cancelled.",
        is_danger=True,
    ),
    "requeue": Act(
        settling.requeue,
        Status.FAILED,
        "failed",
        "Send again…",
        "Send the failed again…",
        "Send again?",
        "queued again",
        _AGAIN,
        "queued again",
        "Queued again.",
    ),
    "sent": Act(
        partial(settling.settle, was_sent=True),
        Status.DISPATCH_TIMEOUT,
        "of unknown outcome",
        "It was sent…",
        "Unknown outcome: it was sent…",
        "It was sent?",
        "settled as sent",
        "It counts as sent from then on, for good. Settle it only when the provider, or the recipient, has told you.",
        "settled as sent",
        "Settled by hand: sent.",
    ),
    "again": Act(
        partial(settling.settle, was_sent=False),
        Status.DISPATCH_TIMEOUT,
        "of unknown outcome",
        "Send again…",
        "Unknown outcome: send again…",
        "Send again?",
        "queued again",
        "If the first one did arrive after all, the recipient gets it twice: ask the provider, or the recipient, first."
        f" {_AGAIN}",
        "queued again",
        "Settled by hand: to be sent again.",
        is_danger=True,
    ),
}


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
    id_fields = {"pk": _IDS.pattern}
    actions = ["cancel_chosen", "requeue_chosen", "settle_chosen_as_sent", "send_chosen_again"]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        one = [
            path(f"<str:pk>/{name}/", wrap(self.act_view), {"name": name}, name=f"outbox_message_{name}")
            for name in ACTS
        ]
        many = [
            path(f"chosen/{name}/", wrap(self.chosen_view), {"name": name}, name=f"outbox_message_chosen_{name}")
            for name in ACTS
        ]
        return [*many, *one, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        action = request.POST.get("action")
        if action and action not in self.get_actions(request):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return super().changelist_view(request, extra_context)

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
            "acts": [
                (act.button, reverse(f"admin:outbox_message_{name}", args=[row.pk]), _not_before(name, row))
                for name, act in ACTS.items()
                if act.status == row.status
            ],
        }

    # --- what people do to messages ---

    def has_send_permission(self, request: HttpRequest) -> bool:
        return reach(request).allows(Scope.SEND)

    def act_view(self, request: HttpRequest, pk: str, name: str) -> HttpResponse | TemplateResponse:
        """Ask before doing something to a message; then do it, once."""
        message: Message | None = self.fetch(request, pk, Scope.SEND)
        if message is None:
            return self.missing(request, pk)
        act, back = ACTS[name], reverse("admin:outbox_message_change", args=[message.pk])
        if message.status != act.status:
            text = f"It is not {act.is_for} any more; nothing was changed."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(back)
        if request.method == "POST":
            self._act(request, act, [message])
            return HttpResponseRedirect(back)
        context = {
            "title": act.question,
            "act": act,
            "message": message,
            "follows": _what_follows(name, message),
            "back": back,
            "crumb": f"SMS to {message.recipient}",
        }
        return self.page(request, "outbox/message_act.html", context)

    @admin.action(description=ACTS["cancel"].many, permissions=["send"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Message]) -> HttpResponse:
        return self._ask(request, queryset, "cancel")

    @admin.action(description=ACTS["requeue"].many, permissions=["send"])
    def requeue_chosen(self, request: HttpRequest, queryset: QuerySet[Message]) -> HttpResponse:
        return self._ask(request, queryset, "requeue")

    @admin.action(description=ACTS["sent"].many, permissions=["send"])
    def settle_chosen_as_sent(self, request: HttpRequest, queryset: QuerySet[Message]) -> HttpResponse:
        return self._ask(request, queryset, "sent")

    @admin.action(description=ACTS["again"].many, permissions=["send"])
    def send_chosen_again(self, request: HttpRequest, queryset: QuerySet[Message]) -> HttpResponse:
        return self._ask(request, queryset, "again")

    def _ask(self, request: HttpRequest, chosen: QuerySet[Message], name: str) -> TemplateResponse:
        """Say what would become of those that are chosen in the list, and ask."""
        act, now = ACTS[name], clock.now()
        # In the order of the list, for which there are indexes.
        sendable = self._sendable(request, chosen).order_by("-created_at", "-pk")
        rows = list(sendable.filter(status=act.status)[: _MOST_AT_ONCE + 1])
        fitting = rows[:_MOST_AT_ONCE]
        statuses = list(sendable.values_list("status", flat=True)[: _MOST_AT_ONCE + 1])  # no more: it may be the table
        early = [row for row in fitting if _is_early(name, row, now)]
        context = {
            "title": act.question,
            "act": act,
            "ids": ",".join(row.pk for row in fitting if row not in early),
            "count": len(fitting) - len(early),
            "other": sum(status != act.status for status in statuses[:_MOST_AT_ONCE]),
            "may_be_more": len(statuses) > _MOST_AT_ONCE,
            "early": len(early),
            "from": max((at for row in early if (at := settling.may_send_again_from(row))), default=None),
            "most": _MOST_AT_ONCE if len(rows) > _MOST_AT_ONCE else None,
            "url": reverse(f"admin:outbox_message_chosen_{name}"),
            "back": request.get_full_path(),
        }
        return self.page(request, "outbox/message_act_chosen.html", context)

    def chosen_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Do it to those that were shown by `_ask`, each once; then back to the list."""
        if not self.has_send_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            ids = _IDS.findall(request.POST.get("ids", ""))[:_MOST_AT_ONCE]
            rows = self._sendable(request, self.get_queryset(request).filter(pk__in=ids))
            self._act(request, ACTS[name], list(rows.order_by("pk")))
        return HttpResponseRedirect(reverse("admin:outbox_message_changelist"))

    def _sendable(self, request: HttpRequest, rows: QuerySet[Message]) -> QuerySet[Message]:
        return reach(request).narrow(rows, "organization", Scope.SEND)

    def _act(self, request: HttpRequest, act: Act, rows: Sequence[Message]) -> None:
        """Do it to these messages, a transaction each with its line in the audit trail, and tell how many were done."""
        done, problems = 0, dict[str, list[str]]()
        for row in rows:
            try:
                with transaction.atomic():
                    act.do(row)
                    self.note(request, row, act.noted, name=row.pk)  # the trail outlives the number
            except Conflict as problem:
                problems.setdefault(problem.reason, []).append(problem.message)
            else:
                done += 1
        if done and act.sends:
            tasks.wake()
        if done or not rows:
            told = f"{done:,} message{'' if done == 1 else 's'} {act.done}."
            self.message_user(request, told, messages.SUCCESS if done else messages.WARNING)
        for said in problems.values():
            count = "" if len(rows) == 1 else f"{len(said):,} not: "
            self.message_user(request, f"{count}{said[0]}", messages.WARNING)


def _not_before(name: str, message: Message) -> datetime | None:
    """Return from when this may be done to a message; None: now."""
    return settling.may_send_again_from(message) if _is_early(name, message, clock.now()) else None


def _is_early(name: str, message: Message, now: datetime) -> bool:
    until = settling.may_send_again_from(message) if name == "again" else None
    return until is not None and now < until


def _what_follows(name: str, message: Message) -> list[str]:
    """Say what comes of it, before anybody does it."""
    follows = [ACTS[name].follows]
    if message.status == Status.DISPATCH_TIMEOUT and message.log is not None:
        follows.insert(0, what_follows(message.log, was_sent=name == "sent")[0])  # its credits
    if name in ("requeue", "again") and message.job and message.job.is_ended:
        follows.append("Its bulk job, which is over, goes on until it has ended.")
    return follows


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
