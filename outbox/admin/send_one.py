"""Sending one message by hand: through an app at once, or through any by the queue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit import audit
from linkit.errors import Conflict, LinkitError
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import Page, TenantAdmin, person, reach
from outbox import quoting, services
from outbox.models import Message
from outbox.send_forms import ANY, SendOneForm, line_breaks
from sms_providers import sender_names, sending
from sms_providers import text as sms_text
from sms_providers.console import sendable_apps
from sms_providers.models import OrganizationApp, SenderId, SenderIdStatus, SmsLog, Source, Status
from sms_providers.sender_names import SenderNames

_APP_ID = re.compile(r"[0-9]{1,18}")
_MOST_SENDER_IDS = 100
# Of a direct send, for the audit trail.
_RESULTS: dict[str, str] = {
    Status.PENDING: noop("pending"),
    Status.SENDING: noop("under way"),
    Status.SENT: noop("sent"),
    Status.FAILED: noop("failed"),
    Status.DISPATCH_TIMEOUT: noop("outcome unknown"),
}


@dataclass(frozen=True)
class _Desk:
    """Whose message it is, of those organizations in which this person may send, and what may send it."""

    organization: Organization
    organizations: list[Organization]
    apps: list[OrganizationApp]


class SendOnePages(TenantAdmin):
    """The page that sends one message, and what it asks for while somebody types."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("send/", view(self.send_one_view), name="send_one"),
            path("send/senders/", view(self.senders_view), name="send_one_senders"),
            path("send/cost/", view(self.cost_view), name="send_one_cost"),
            *super().get_urls(),
        ]

    def console_pages(self, request: HttpRequest) -> Sequence[tuple[str, str] | Page]:
        pages = super().console_pages(request)
        if not reach(request).allows(Scope.SEND):
            return pages
        return [Page(_("Send one"), reverse("admin:send_one"), position=1), *pages]

    # --- the page ---

    def send_one_view(self, request: HttpRequest) -> HttpResponse:
        """Send one message by hand. The answer to a POST that sends is the page of the message, never a resend."""
        desk = self._desk(request)
        with timezone.override(desk.organization.time_zone):  # in which the moment is read, and the page shows times
            return self._send_one(request, desk)

    def _desk(self, request: HttpRequest) -> _Desk:
        """Return the organization that the request names, else the first with an app.

        Another tenant's is answered like one that is not there. A POST of somebody who has several has to name it:
        which one is the first may have changed since the form was shown.
        """
        mine = reach(request)
        if not mine.allows(Scope.SEND):
            raise PermissionDenied
        organizations = list(mine.organizations(Scope.SEND).order_by("name", "pk"))
        apps = list(sendable_apps(request))
        named = request.POST.get("organization") or request.GET.get("organization", "")
        if named:
            found = next((each for each in organizations if str(each.pk) == _uuid(named)), None)
        elif request.method == "POST" and len(organizations) > 1:
            found = None
        else:
            found = apps[0].organization if apps else next(iter(organizations), None)
        if found is None:
            raise Http404
        return _Desk(found, organizations, [app for app in apps if app.organization_id == found.pk])

    def _send_one(self, request: HttpRequest, desk: _Desk) -> HttpResponse:
        form = SendOneForm(
            request.POST or None,
            organization=desk.organization,
            apps=desk.apps,
            chosen=request.GET.get("app", ""),
        )
        is_check = "check" in request.POST
        if form.is_valid() and not is_check and (url := self._sent(request, desk.organization, form)) is not None:
            return HttpResponseRedirect(url)
        text = line_breaks(str(form["text"].value() or ""))
        context = {
            "title": _("Send one message"),
            "form": form,
            "organization": desk.organization,
            "organizations": desk.organizations if len(desk.organizations) > 1 else [],
            "has_apps": bool(desk.apps),
            "sender_choices": _sender_choices(desk),
            # Only to somebody who asks for it: the provider may take its time. The script asks by itself.
            "senders": sender_names.ask(form.chosen_app) if is_check and form.chosen_app else SenderNames([], ""),
            "written": quoting.written(text),
            "quote": quoting.quote(
                organization=desk.organization,
                app=form.chosen_app,
                apps=desk.apps,
                recipient=str(form["recipient"].value() or ""),
                text=text,
            ),
            "most_parts": sms_text.MAX_SEGMENTS,
            "most_characters": sms_text.MAX_CHARACTERS,
        }
        return self.page(request, "outbox/send_one.html", context).render()

    # --- sending ---

    def _sent(self, request: HttpRequest, organization: Organization, form: SendOneForm) -> str | None:
        """Send what the form says and return the page of the message, the first one's when it was sent before.

        None when nothing was sent, which a message then says: the form is shown again with its input. One that has
        sent something else already becomes a new one.
        """
        send = self._enqueue if form.cleaned_data["app"] is None else self._send_directly
        try:
            row = send(request, organization, form)
        except Conflict as conflict:
            form.renew()
            text = _("Nothing was sent. Try again.")
            if conflict.reason == "idempotency_key_reused":
                text = _(
                    "This form has been sent already, with other content. Nothing was sent now; look it over and send."
                )
            self.message_user(request, text, messages.WARNING)
            return None
        except LinkitError as problem:  # no credits, no app any more, credentials that no key decrypts
            self.message_user(request, problem.message, messages.ERROR)
            return None
        return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])

    def _send_directly(self, request: HttpRequest, organization: Organization, form: SendOneForm) -> SmsLog:
        given, key, user = form.cleaned_data, form.idempotency_key, person(request)
        app = given["app"]
        if Message.objects.filter(organization=organization, is_test=False, idempotency_key=key).exists():
            raise _reused()
        log = sending.new_log(
            organization_id=organization.pk,
            source=Source.CONSOLE,
            recipient=given["recipient"],
            text=given["text"],
            sender_id=given["sender_id"],
            scheduled_at=given["send_at"],
            user=user,
        )
        digest = sending.digest(
            app=app.pk,
            recipient=log.recipient,
            text=log.text,
            sender_id=log.sender_id,
            send_at=form.data.get("send_at", ""),  # as typed: what it means changes as time goes by
            user=user.pk,
        )
        route = sending.route_through(app)
        try:
            sent, _attempt = sending.send_now(
                log, route, send_at=given["send_at"], idempotency_key=key, request_digest=digest
            )
        except Conflict:
            first = SmsLog.objects.filter(organization=organization, is_test=False, idempotency_key=key).first()
            if first is not None and first.request_digest == digest:
                return first  # the other click's, still under way
            raise
        if sent.pk != log.pk:
            self._say_it_was_sent_before(request)
            return sent
        result = noop("queued for later") if sent.queued_id else _RESULTS[sent.status]
        text = noop("Sent by hand through %(app)s: %(result)s.")
        values: dict[str, audit.Value] = {"app": route.adapter.name, "result": [result]}
        # The trail outlives the number, which the log blanks after a while.
        self.note(request, sent, text, values, flag=ADDITION, name=str(sent.pk))
        return sent

    def _enqueue(self, request: HttpRequest, organization: Organization, form: SendOneForm) -> Message:
        given, key = form.cleaned_data, form.idempotency_key
        if SmsLog.objects.filter(organization=organization, is_test=False, idempotency_key=key).exists():
            raise _reused()
        with transaction.atomic():
            queued = services.enqueue(
                organization=organization,
                recipient=given["recipient"],
                text=given["text"],
                sender_id=given["sender_id"],
                scheduled_at=form.wanted_at,
                idempotency_key=key,
                user=person(request),
            )
            if queued.is_mismatch:
                raise _reused()
            message = queued.message
            if queued.is_replay:
                self._say_it_was_sent_before(request)
            else:
                text = noop("Sent by hand through any app: queued.")
                self.note(request, message, text, flag=ADDITION, name=message.pk)
        return message

    def _say_it_was_sent_before(self, request: HttpRequest) -> None:
        text = _("This form had been sent before; nothing was sent again. To repeat the message, start a new one.")
        self.message_user(request, text, messages.WARNING)

    # --- what the page asks for while somebody types ---

    def senders_view(self, request: HttpRequest) -> HttpResponse:
        """Return the sender names at the provider of one app, as JSON."""
        if not reach(request).allows(Scope.SEND):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        app_id = request.GET.get("app", "")
        app = sendable_apps(request).filter(pk=app_id).first() if _APP_ID.fullmatch(app_id) else None
        if app is None:
            return _no_such_app()
        found = sender_names.ask(app)
        return JsonResponse({"names": found.names, "note": found.note})

    def cost_view(self, request: HttpRequest) -> HttpResponse:
        """Return what a message costs as it is typed, as JSON. By POST: no log of URLs holds the number or the text."""
        if not reach(request).allows(Scope.SEND):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            desk = self._desk(request)
        except Http404:
            return _no_such_app()
        chosen = request.POST.get("app", "")
        app = next((each for each in desk.apps if str(each.pk) == chosen), None)
        if not desk.apps or (app is None and chosen != ANY):
            return _no_such_app()
        cost = quoting.quote(
            organization=desk.organization,
            app=app,
            apps=desk.apps,
            recipient=request.POST.get("recipient", ""),
            text=line_breaks(request.POST.get("text", "")),
        )
        return JsonResponse({"cost": cost.text, "is_lacking": cost.is_lacking})


def _sender_choices(desk: _Desk) -> list[str]:
    """Return the senders that we know of: of the apps, and the sender IDs that the organization may use."""
    usable = SenderId.objects.accessible_to(desk.organization).filter(status=SenderIdStatus.ACTIVE)
    names = usable.values_list("sender_id", flat=True).order_by("sender_id").distinct()[:_MOST_SENDER_IDS]
    return list(dict.fromkeys([*(app.default_sender for app in desk.apps if app.default_sender), *names]))


def _reused() -> Conflict:
    return Conflict("This form has been sent with other content.", reason="idempotency_key_reused")


def _no_such_app() -> JsonResponse:
    return JsonResponse({"error": _("There is no such app.")}, status=404)


def _uuid(typed: str) -> str:
    try:
        return str(UUID(typed))
    except ValueError:
        return ""
