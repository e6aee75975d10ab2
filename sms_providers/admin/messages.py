"""The SMS log, sending by hand and the sandbox inbox in the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from linkit.errors import Conflict, InvalidInput
from linkit.markup import in_figures
from linkit.models import User
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Page, Section, reach
from sms_providers import catalogue, sending, settling
from sms_providers.admin.usage import UsagePages
from sms_providers.console import AppFilter, MessageListAdmin, sendable_apps, story, tell, what_follows
from sms_providers.forms import SendForm
from sms_providers.models import SANDBOX, SandboxDelivery, SmsLog, Source, Status

_UUID = r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"


@admin.register(SmsLog)
class SmsLogAdmin(UsagePages, MessageListAdmin):
    section, position = Section.MESSAGES, 20
    story_template = "sms_providers/sms_log.html"
    hidden_lookups = ["idempotency_key", "request_digest", "text"]
    empty_message = "No SMS has been sent yet. Send one by hand, or make an API key and call the API."
    list_display = ["created", "organization", "to", "state", "why", "through", "source", "parts"]
    list_filter = ["status", "source", AppFilter, "created_at", "is_test", OrganizationFilter]
    search_fields = ["recipient"]
    id_fields = {"pk": _UUID, "queued_id": r"r[0-9a-z]{14}"}

    def get_urls(self) -> list[URLPattern]:
        view, settle = self.admin_site.admin_view, "sms_providers_smslog_settle"
        return [
            path("send/", view(self.send_view), name="send_one"),
            path("<uuid:pk>/settle/sent/", view(self.settle_view), {"was_sent": True}, name=f"{settle}_sent"),
            path("<uuid:pk>/settle/unsent/", view(self.settle_view), {"was_sent": False}, name=f"{settle}_unsent"),
            *super().get_urls(),
        ]

    def console_pages(self, request: HttpRequest) -> Sequence[tuple[str, str] | Page]:
        pages = super().console_pages(request)
        return [("Send one", reverse("admin:send_one")), *pages] if reach(request).allows(Scope.SEND) else pages

    def story_context(self, request: HttpRequest, row: SmsLog) -> dict[str, Any]:
        return {
            "log": row,
            "app": catalogue.app_name(row.provider_slug) if row.provider_slug else "",
            "banner": tell(row),
            **story(row, is_superuser=reach(request).is_superuser),
            "state": self.state(row),
            "can_settle": settling.can_settle(row),
        }

    def settle_view(self, request: HttpRequest, pk: UUID, was_sent: bool) -> HttpResponse | TemplateResponse:
        """Ask before recording how an unknown direct send ended; then record it, once."""
        log: SmsLog | None = self.fetch(request, str(pk), Scope.SEND)
        if log is None:
            return self.missing(request, str(pk))
        back = reverse("admin:sms_providers_smslog_change", args=[log.pk])
        if not settling.can_settle(log):
            self.message_user(request, "Its outcome is not open any more; nothing was changed.", messages.WARNING)
            return HttpResponseRedirect(back)
        if request.method != "POST":
            context = {
                "title": "It was sent?" if was_sent else "It was not sent?",
                "log": log,
                "app": catalogue.app_name(log.provider_slug) if log.provider_slug else "its app",
                "was_sent": was_sent,
                "follows": what_follows(log, was_sent=was_sent),
                "back": back,
                "crumb": f"SMS to {log.recipient}",
            }
            return self.page(request, "sms_providers/settle.html", context)
        try:
            with transaction.atomic():
                settled = settling.settle(log=log, was_sent=was_sent)
                ending = "sent" if was_sent else "not sent"
                # The trail outlives the number, which the log blanks after a while.
                self.note(request, log, f"Settled by hand: {ending}.", name=str(log.pk))
        except Conflict as problem:
            self.message_user(request, problem.message, messages.WARNING)
        else:
            charged = f" {in_figures(settled.credit_charged)} credits were charged." if settled.credit_charged else ""
            self.message_user(request, f"Settled: {ending}.{charged}", messages.SUCCESS)
        return HttpResponseRedirect(back)

    def send_view(self, request: HttpRequest) -> HttpResponse | TemplateResponse:
        """Send one message by hand. The answer to a POST is always the page of the message, never a resend."""
        if not reach(request).allows(Scope.SEND):
            raise PermissionDenied
        apps = sendable_apps(request)
        form = SendForm(
            request.POST or None,
            apps=apps,
            is_wide=reach(request).is_wide,
            time_zone=timezone.get_current_timezone_name(),
        )
        if form.is_valid() and (log := self._send(request, form)) is not None:
            return HttpResponseRedirect(reverse("admin:sms_providers_smslog_change", args=[log.pk]))
        context = {"title": "Send one message", "form": form, "has_apps": apps.exists(), "sandbox": SANDBOX}
        return self.page(request, "sms_providers/send_one.html", context)

    def _send(self, request: HttpRequest, form: SendForm) -> SmsLog | None:
        """Send what the form says and return its row, the first one's when the form was sent before.

        None when this form has sent something else already: then it is shown again, as a new one.
        """
        given = form.cleaned_data
        app, send_at, key = given["app"], given["send_at"], form.idempotency_key
        assert isinstance(request.user, User)
        log = sending.new_log(
            organization_id=app.organization_id,
            source=Source.CONSOLE,
            recipient=given["recipient"],
            text=given["text"],
            sender_id=given["sender_id"],
            scheduled_at=send_at,
            user=request.user,
        )
        digest = sending.digest(
            app=app.pk,
            recipient=log.recipient,
            text=log.text,
            sender_id=log.sender_id,
            send_at=form.data.get("send_at", ""),  # as typed: what it means changes as time goes by
            user=request.user.pk,
        )
        try:
            sent, _ = sending.send_now(
                log,
                sending.route_through(app),
                send_at=send_at,
                idempotency_key=key,
                request_digest=digest,
            )
        except InvalidInput as problem:  # credentials that no key decrypts
            self.message_user(request, problem.message, messages.ERROR)
            return None
        except Conflict as conflict:
            first = SmsLog.objects.filter(
                organization_id=app.organization_id, is_test=False, idempotency_key=key
            ).first()
            if first is not None and first.request_digest == digest:
                return first  # the other click's, still under way
            form.renew()
            if conflict.reason == "idempotency_key_reused":
                text = (
                    "This form has been sent already, with other content. Nothing was sent now; look it over and send."
                )
            else:
                text = "Nothing was sent. Try again."
            self.message_user(request, text, messages.WARNING)
            return None
        if sent.pk != log.pk:
            text = "This form had been sent before; nothing was sent again. To repeat the message, start a new one."
            self.message_user(request, text, messages.WARNING)
            return sent
        result = "queued for later" if sent.queued_id else sent.get_status_display().lower()
        # The trail outlives the number, which the log blanks after a while.
        self.note(
            request,
            sent,
            f"Sent by hand through {catalogue.app_name(app.slug)}: {result}.",
            flag=ADDITION,
            name=str(sent.pk),
        )
        return sent


@admin.register(SandboxDelivery)
class SandboxDeliveryAdmin(MessageListAdmin):
    """What handsets would show had the simulator been real: accepted messages, and those "sent" without an answer."""

    section, position = Section.MESSAGES, 40
    empty_message = "The sandbox has taken no message yet. Send one through it, or with a test key."
    list_display = ["created", "organization", "to", "sender", "shown_text"]
    list_filter = ["source", "created_at", OrganizationFilter]
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

    @admin.display(description="From")
    def sender(self, row: SandboxDelivery) -> str:
        return row.sender_id or (row.app.default_sender if row.app else "") or "–"

    @admin.display(description="Message")
    def shown_text(self, row: SandboxDelivery) -> SafeString:
        return format_html('<div class="sms-text" dir="auto">{}</div>', row.text or "(blanked)")
