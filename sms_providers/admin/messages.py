"""The SMS log and the sandbox inbox in the console."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

from linkit.errors import Conflict
from linkit.markup import in_figures
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, reach
from sms_providers import catalogue, settling
from sms_providers.admin.usage import UsagePages
from sms_providers.console import (
    CREATED_FILTER,
    SOURCE_FILTER,
    STATUS_FILTER,
    AppFilter,
    MessageListAdmin,
    story,
    tell,
    title_of,
    what_follows,
)
from sms_providers.models import SANDBOX, SandboxDelivery, SmsLog, Source, Status

_UUID = r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"


@admin.register(SmsLog)
class SmsLogAdmin(UsagePages, MessageListAdmin):
    section, position = Section.MESSAGES, 21
    story_template = "sms_providers/sms_log.html"
    hidden_lookups = ["idempotency_key", "request_digest", "text"]
    empty_message = _lazy("No SMS has been sent yet. Send one by hand, or make an API key and call the API.")
    list_display = ["created", "organization", "to", "state", "why", "through", "door", "parts"]
    list_filter = [STATUS_FILTER, SOURCE_FILTER, AppFilter, CREATED_FILTER, "is_test", OrganizationFilter]
    search_fields = ["recipient"]
    id_fields = {"pk": _UUID, "queued_id": r"r[0-9a-z]{14}"}

    def get_urls(self) -> list[URLPattern]:
        view, settle = self.admin_site.admin_view, "sms_providers_smslog_settle"
        return [
            path("<uuid:pk>/settle/sent/", view(self.settle_view), {"was_sent": True}, name=f"{settle}_sent"),
            path("<uuid:pk>/settle/unsent/", view(self.settle_view), {"was_sent": False}, name=f"{settle}_unsent"),
            *super().get_urls(),
        ]

    @admin.display(description=_lazy("Came by"))
    def door(self, row: SmsLog) -> str:
        return row.get_source_display()

    def story_context(self, request: HttpRequest, row: SmsLog) -> dict[str, Any]:
        return {
            "log": row,
            "app": catalogue.app_name(row.provider_slug) if row.provider_slug else "",
            "banner": tell(row),
            **story(row, is_superuser=reach(request).is_superuser),
            "state": self.state(row),
            "can_settle": settling.can_settle(row),
            # The console's own forms name their intent too, which is of no use to a person.
            "idempotency_key": row.idempotency_key if row.source != Source.CONSOLE else "",
        }

    def settle_view(self, request: HttpRequest, pk: UUID, was_sent: bool) -> HttpResponse | TemplateResponse:
        """Ask before recording how an unknown direct send ended; then record it, once."""
        log: SmsLog | None = self.fetch(request, str(pk), Scope.SEND)
        if log is None:
            return self.missing(request, str(pk))
        back = reverse("admin:sms_providers_smslog_change", args=[log.pk])
        if not settling.can_settle(log):
            text = _("Its outcome is not open any more; nothing was changed.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(back)
        if request.method != "POST":
            context = {
                "title": _("It was sent?") if was_sent else _("It was not sent?"),
                "log": log,
                "app": catalogue.app_name(log.provider_slug) if log.provider_slug else _("its app"),
                "was_sent": was_sent,
                "follows": what_follows(log, was_sent=was_sent),
                "back": back,
                "crumb": title_of(log),
            }
            return self.page(request, "sms_providers/settle.html", context)
        try:
            with transaction.atomic():
                settled = settling.settle(log=log, was_sent=was_sent)
                done = noop("Settled by hand: sent.") if was_sent else noop("Settled by hand: not sent.")
                # The trail outlives the number, which the log blanks after a while.
                self.note(request, log, done, name=str(log.pk))
        except Conflict as problem:
            self.message_user(request, problem.message, messages.WARNING)
        else:
            told = [_("Settled: sent.") if was_sent else _("Settled: not sent.")]
            if settled.credit_charged:
                told.append(_("%(amount)s credits were charged.") % {"amount": in_figures(settled.credit_charged)})
            self.message_user(request, " ".join(told), messages.SUCCESS)
        return HttpResponseRedirect(back)


@admin.register(SandboxDelivery)
class SandboxDeliveryAdmin(MessageListAdmin):
    """What handsets would show had the simulator been real: accepted messages, and those "sent" without an answer."""

    section, position = Section.MESSAGES, 40
    empty_message = _lazy("The sandbox has taken no message yet. Send one through it, or with a test key.")
    list_display = ["created", "organization", "to", "sender", "shown_text"]
    list_filter = [SOURCE_FILTER, CREATED_FILTER, OrganizationFilter]
    search_fields = ["recipient"]
    hidden_lookups = SmsLogAdmin.hidden_lookups
    id_fields = SmsLogAdmin.id_fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        taken = Q(status=Status.SENT) | Q(status=Status.DISPATCH_TIMEOUT, reason="read_timeout")
        rows = super().get_queryset(request).filter(taken, provider_slug=SANDBOX)
        return rows.select_related("organization", "app").defer("app__credentials")  # nothing here needs a secret

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        row = self.fetch(request, object_id)
        if row is None:
            return self.missing(request, object_id)
        return HttpResponseRedirect(reverse("admin:sms_providers_smslog_change", args=[row.pk]))

    @admin.display(description=_lazy("Sender ID"))
    def sender(self, row: SandboxDelivery) -> SafeString:
        shown = row.sender_id or (row.app.default_sender if row.app else "") or "–"
        return format_html("<bdi>{}</bdi>", shown)

    @admin.display(description=_lazy("Message"))
    def shown_text(self, row: SandboxDelivery) -> SafeString:
        return format_html('<div class="sms-text" dir="auto">{}</div>', row.text or _("(blanked)"))
