"""The outbox in the console: what is queued, what became of it, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop
from django.utils.translation import ngettext

from linkit import clock
from linkit.errors import Conflict
from linkit.markup import ltr, moment, pretty
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, reach
from outbox import services, settling, tasks
from outbox.admin.send_one import SendOnePages
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message, id_from
from sms_providers import catalogue
from sms_providers.console import AppFilter, Banner, MessageListAdmin, story, tell, titled, what_follows
from sms_providers.models import OrganizationApp, Status
from sms_providers.reasons import noted

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

_IDS = re.compile("r[0-9a-z]{14}")
_MOST_AT_ONCE = 1000  # a transaction each, while somebody waits for the page
_APART = timedelta(hours=1)  # the clocks of the process that makes an id and of the database, at most


@dataclass(frozen=True)
class Act:
    """Something a person does to a message, or to many: the verb, whom it is for, and its words."""

    do: Callable[[Message], None]
    status: Status  # of the messages it is for
    gone: _StrOrPromise  # what is said of one that has another status meanwhile
    button: _StrOrPromise
    many: _StrOrPromise  # in the menu of the list
    question: _StrOrPromise
    will: _StrOrPromise  # what happens to the one it is for, whose number fills the gap
    will_many: Callable[[int], str]  # what happens to so many, whose number fills the gap
    follows: Sequence[_StrOrPromise]  # what that means, a sentence or two
    done: Callable[[int], str]
    noted: str  # in the audit trail
    sends: bool = False  # whether the message waits to be sent from then on
    is_danger: bool = False


_NOT_UNKNOWN = _lazy("It is not of unknown outcome any more; nothing was changed.")
_QUEUED_AGAIN = _lazy("The SMS to {} is queued again.")
_AGAIN = _lazy(
    "It goes to the end of the queue and is sent as if it were new, with its whole time to live. What costs credits is"
    " charged when it is sent."
)


def _again(count: int) -> str:
    return ngettext("%(count)s message queued again.", "%(count)s messages queued again.", count)


ACTS = {
    "cancel": Act(
        lambda message: services.cancel(message=message),
        Status.PENDING,
        _lazy("It is not pending any more; nothing was changed."),
        _lazy("Cancel…"),
        _lazy("Cancel…"),
        _lazy("Cancel?"),
        _lazy("The SMS to {} is cancelled."),
        lambda count: ngettext(
            "<strong>{} message</strong>, which is pending, is cancelled.",
            "<strong>{} messages</strong>, which are pending, are cancelled.",
            count,
        ),
        [_lazy("It is not sent, and stays in the list as failed. One that a worker has in hand is sent all the same.")],
        lambda count: ngettext("%(count)s message cancelled.", "%(count)s messages cancelled.", count),
        noop("Cancelled."),
        is_danger=True,
    ),
    "requeue": Act(
        settling.requeue,
        Status.FAILED,
        _lazy("It is not failed any more; nothing was changed."),
        _lazy("Send again…"),
        _lazy("Send the failed again…"),
        _lazy("Send again?"),
        _QUEUED_AGAIN,
        lambda count: ngettext(
            "<strong>{} message</strong>, which is failed, is queued again.",
            "<strong>{} messages</strong>, which are failed, are queued again.",
            count,
        ),
        [_AGAIN],
        _again,
        noop("Queued again."),
        sends=True,
    ),
    "sent": Act(
        partial(settling.settle, was_sent=True),
        Status.DISPATCH_TIMEOUT,
        _NOT_UNKNOWN,
        _lazy("It was sent…"),
        _lazy("Unknown outcome: it was sent…"),
        _lazy("It was sent?"),
        _lazy("The SMS to {} is settled as sent."),
        lambda count: ngettext(
            "<strong>{} message</strong>, which is of unknown outcome, is settled as sent.",
            "<strong>{} messages</strong>, which are of unknown outcome, are settled as sent.",
            count,
        ),
        [
            _lazy(
                "It counts as sent from then on, for good. Settle it only when the provider, or the recipient, has told"
                " you."
            )
        ],
        lambda count: ngettext("%(count)s message settled as sent.", "%(count)s messages settled as sent.", count),
        noop("Settled by hand: sent."),
    ),
    "again": Act(
        partial(settling.settle, was_sent=False),
        Status.DISPATCH_TIMEOUT,
        _NOT_UNKNOWN,
        _lazy("Send again…"),
        _lazy("Unknown outcome: send again…"),
        _lazy("Send again?"),
        _QUEUED_AGAIN,
        lambda count: ngettext(
            "<strong>{} message</strong>, which is of unknown outcome, is queued again.",
            "<strong>{} messages</strong>, which are of unknown outcome, are queued again.",
            count,
        ),
        [
            _lazy(
                "If the first one did arrive after all, the recipient gets it twice: ask the provider, or the"
                " recipient, first."
            ),
            _AGAIN,
        ],
        _again,
        noop("Settled by hand: to be sent again."),
        sends=True,
        is_danger=True,
    ),
}


def of_status(rows: QuerySet[Message], status: str) -> QuerySet[Message]:
    """Return those of a status in a way that an index serves, however few they are among a million."""
    if status == Status.PENDING:  # for these there are two indexes: of those of jobs, and of the others
        return rows.filter(Q(status=status, job=None) | Q(status=status, job__isnull=False))
    return rows.filter(status=status)


class StatusFilter(titled(admin.ChoicesFieldListFilter, _lazy("status"))):  # type: ignore[misc]
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.lookup_val and self.lookup_val[-1] == Status.PENDING:
            return of_status(queryset, Status.PENDING)
        return super().queryset(request, queryset)


class CreatedFilter(titled(admin.DateFieldListFilter, _lazy("created at"))):  # type: ignore[misc]
    """By time. Ids are in its order, and have an index over all organizations, which the time has not."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found = super().queryset(request, queryset)
        since = _moment(self.date_params.get(self.lookup_kwarg_since, ""))
        return found.filter(pk__gte=id_from(since - _APART)) if since and _is_over_all(request) else found


class MessageList(ChangeList):
    """In the order of time, by whichever of its indexes fits the rows that are asked for."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        found = super().get_ordering(request, queryset)
        sign = "-" if found[0] == "-created_at" else ""
        if request.GET.get(JobFilter.parameter_name):
            return [f"{sign}row_number" if request.GET.get("o") else "row_number", "-pk"]
        return [f"{sign}pk"] if _is_over_all(request) else found


def _is_over_all(request: HttpRequest) -> bool:
    """Whether rows of several organizations are asked for."""
    return reach(request).is_wide and not request.GET.get(OrganizationFilter.parameter_name)


def _moment(typed: str) -> datetime | None:
    """Return a time that an id can tell."""
    try:
        found = parse_datetime(typed)
    except ValueError:
        return None
    return found if found and found.tzinfo and 2000 < found.year < 2050 else None


class JobFilter(admin.SimpleListFilter):
    """The messages of one file, as the page of its job links to them. Nothing to choose from by itself."""

    title, parameter_name = _lazy("bulk job"), "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if not (wanted := request.GET.get(self.parameter_name, "")):
            return []
        jobs = reach(request).narrow(BulkJob.objects.defer("report"), "organization", Scope.READ)
        found = jobs.filter(pk=job_id).first() if (job_id := _uuid(wanted)) else None
        return [(wanted, str(found or _("Another one")))]

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
class MessageAdmin(SendOnePages, MessageListAdmin):
    section, position = Section.MESSAGES, 20
    list_title = _lazy("Outbox")
    story_template = "outbox/message.html"
    hidden_lookups = ["request_digest", "claim_token", "text", "meta"]
    empty_message = _lazy("Nothing is or was queued. The API's outbox and messages for later come here.")
    list_display = ["created", "organization", "to", "state", "why", "through", "next_try", "message_id"]
    list_filter = [
        ("status", StatusFilter),
        AppFilter,
        ("created_at", CreatedFilter),
        "is_test",
        JobFilter,
        OrganizationFilter,
    ]
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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MessageList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        action = request.POST.get("action")
        if action and action not in self.get_actions(request):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return super().changelist_view(request, extra_context)

    @admin.display(description=_lazy("Next try"))
    def next_try(self, row: Message) -> SafeString:
        return moment(row.next_attempt_at if row.status == Status.PENDING else None)

    @admin.display(description=_lazy("Id"))
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
            "preferred": catalogue.app_name(row.preferred_slug) if row.preferred_slug else "",
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
            self.message_user(request, str(act.gone), messages.WARNING)
            return HttpResponseRedirect(back)
        if request.method == "POST":
            self._act(request, act, [message])
            return HttpResponseRedirect(back)
        context = {
            "title": act.question,
            "act": act,
            "will": format_html(str(act.will), ltr(message.recipient)),
            "follows": _what_follows(name, message),
            "back": back,
            "crumb": _("SMS to %(recipient)s") % {"recipient": message.recipient},
        }
        return self.page(request, "outbox/act.html", context)

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
        sendable = self._sendable(request, chosen)  # in the order of the list, for which there are indexes
        rows = list(of_status(sendable, act.status)[: _MOST_AT_ONCE + 1])
        fitting = rows[:_MOST_AT_ONCE]
        statuses = list(sendable.values_list("status", flat=True)[: _MOST_AT_ONCE + 1])  # no more: it may be the table
        early = [row for row in fitting if _is_early(name, row, now)]
        count = len(fitting) - len(early)
        context = {
            "title": act.question,
            "act": act,
            "ids": ",".join(row.pk for row in fitting if row not in early),
            "count": count,
            "will": format_html(act.will_many(count), ltr(f"{count:,}")),
            "other": sum(status != act.status for status in statuses[:_MOST_AT_ONCE]),
            "may_be_more": len(statuses) > _MOST_AT_ONCE,
            "early": len(early),
            "until": max((at for row in early if (at := settling.may_send_again_from(row))), default=None),
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
            told = act.done(done) % {"count": f"{done:,}"}
            self.message_user(request, told, messages.SUCCESS if done else messages.WARNING)
        for said in problems.values():
            if len(rows) == 1:
                text = said[0]
            else:
                text = _("%(count)s not: %(why)s") % {"count": f"{len(said):,}", "why": said[0]}
            self.message_user(request, text, messages.WARNING)


def _not_before(name: str, message: Message) -> datetime | None:
    """Return from when this may be done to a message; None: now."""
    return settling.may_send_again_from(message) if _is_early(name, message, clock.now()) else None


def _is_early(name: str, message: Message, now: datetime) -> bool:
    until = settling.may_send_again_from(message) if name == "again" else None
    return until is not None and now < until


def _what_follows(name: str, message: Message) -> list[str]:
    """Say what comes of it, before anybody does it."""
    follows = [" ".join(map(str, ACTS[name].follows))]
    if message.status == Status.DISPATCH_TIMEOUT and message.log is not None:
        follows.insert(0, what_follows(message.log, was_sent=name == "sent")[0])  # its credits
    if name in ("requeue", "again") and message.job and message.job.is_ended:
        follows.append(_("Its bulk job, which is over, goes on until it has ended."))
    return follows


_WAITS_FOR_ITS_JOB = {
    JobStatus.CHECKING: _lazy("It waits for its bulk job, whose file is being read."),
    JobStatus.PAUSED: _lazy("It waits for its bulk job, which is not running now: paused."),
    JobStatus.STOPPING: _lazy("Its bulk job is being stopped, and it is cancelled with it."),
    JobStatus.RETRYING: _lazy("It waits for its bulk job, whose failed rows are being queued again."),
}


def _tell(message: Message) -> Banner:
    """Say what became of a queued message. Once it was tried its log row knows best."""
    why = noted(message.reason, message.error_message)
    if message.status == Status.PENDING:
        text: _StrOrPromise = _("It goes out when it is due and an app can take it.")
        if message.job and message.job.status != JobStatus.RUNNING:
            text = _WAITS_FOR_ITS_JOB.get(JobStatus(message.job.status), _("It waits for its bulk job."))
        return Banner("calm", _("Waiting"), f"{text} {why}".strip())
    if message.status == Status.SENDING:
        return Banner("calm", _("Under way"), _("A worker has it in hand. Load this page again to see the outcome."))
    log = message.log
    if log is not None and log.status == message.status:
        return tell(log)
    if message.status == Status.DISPATCH_TIMEOUT:
        warning = _("Do not send it again before you know.")
        return Banner("caution", _("Outcome unknown: it may have been sent"), f"{why} {warning}".strip())
    if message.status == Status.SENT:
        return Banner("good", _("Sent"), _("A provider accepted it."))
    return Banner("bad", _("Not sent"), why or message.reason.replace("_", " "))
