"""An SMS to one contact, or to those that were chosen in the list: written, looked over with its cost, then sent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

from billing import ledger
from contacts import preview, programs, rendering, single
from contacts.admin.choosing import ChoosingAdmin
from contacts.console import person
from contacts.models import Contact, SmsProgram
from contacts.preview import Preview
from contacts.program_forms import SendTextForm, SendToChosenForm, SendToContactForm
from linkit.errors import LinkitError
from linkit.markup import amount
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import reach
from sms_providers import sending
from sms_providers.models import SmsLog

_ACTION = "send_to_chosen"
_ALREADY_SENT = _lazy("This form had been sent before; nothing was sent again. To repeat the message, start a new one.")
_LOOK_AGAIN = _lazy("What would be sent has changed since you looked it over. Look again; nothing was sent yet.")


class SendingAdmin(ChoosingAdmin):
    """Sends to contacts, after showing what they would get and what it costs."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.send_view)
        return [path("<uuid:pk>/send/", view, name="contacts_contact_send"), *super().get_urls()]

    def has_send_permission(self, request: HttpRequest) -> bool:
        return reach(request).allows(Scope.SEND)

    # --- to those that are chosen ---

    @admin.action(description=_lazy("Send an SMS…"), permissions=["send"])
    def send_to_chosen(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        """Send them a text as an SMS program, which is launched at once."""
        chosen = self.chosen(request, queryset, Scope.SEND)
        if chosen is None:
            return None
        organization, ids = chosen
        form = SendToChosenForm(
            request.POST if "template" in request.POST else None,
            organization=organization,
            initial={"name": _name_for(len(ids))},
        )
        found = None
        if form.is_valid():
            contacts = Contact.objects.live().filter(organization=organization, pk__in=ids).order_by("pk")
            template = form.cleaned_data["template"]
            found = preview.look(organization_id=organization.pk, template=template, contacts=contacts)
            if self._is_confirmed(request, form, found, ids) and (
                program := self._launch(request, form, organization, ids)
            ):
                return HttpResponseRedirect(reverse("admin:contacts_smsprogram_change", args=[program.pk]))
        context = {"title": _("Send an SMS to the chosen contacts"), **self._frame_of(form, organization, found)}
        return self.ask(
            request, organization, ids, action=_ACTION, context=context, template="contacts/send_chosen.html"
        )

    def _launch(
        self, request: HttpRequest, form: SendToChosenForm, organization: Organization, ids: list[UUID]
    ) -> SmsProgram | None:
        """Launch a program to these contacts, or return the one that this form has launched. None, and why, if not."""
        given = form.cleaned_data
        try:
            program, is_new = programs.send(
                program_id=given["once"],
                organization=organization,
                name=given["name"],
                template=given["template"],
                sender_id=given["sender"].pk,
                contact_ids=ids,
                user=person(request),
            )
        except LinkitError as problem:
            form.refuse(problem)
            return None
        if not is_new:
            self.message_user(request, _ALREADY_SENT, messages.WARNING)
            return program
        self.note(request, program, noop("Launched for %(count)s chosen contacts."), {"count": len(ids)}, flag=ADDITION)
        self.message_user(request, _("Launched: its messages are being queued."), messages.SUCCESS)
        return program

    # --- to one ---

    def send_view(self, request: HttpRequest, pk: UUID) -> HttpResponse | TemplateResponse:
        """Send a contact a text and wait for the provider's answer, which the page of the message shows."""
        contact: Contact | None = self.fetch(request, str(pk), Scope.SEND)
        if contact is None:
            return self.missing(request, str(pk))
        organization = contact.organization
        form = SendToContactForm(request.POST or None, organization=organization)
        found = None
        if form.is_valid():
            template = form.cleaned_data["template"]
            found = preview.look(organization_id=organization.pk, template=template, contacts=[contact])
            if found.missing:
                form.add_error("template", rendering.missing_sentence(found.missing))
                found = None
            elif found.refused:
                form.add_error("template", found.samples[0].problem)
                found = None
            elif self._is_confirmed(request, form, found, [contact.pk]) and (log := self._send(request, form, contact)):
                return HttpResponseRedirect(reverse("admin:sms_providers_smslog_change", args=[log.pk]))
        context = {
            "title": _("Send an SMS to %(contact)s") % {"contact": contact},
            "contact": contact,
            "original": contact,
            "is_wide": reach(request).is_wide,
            "back": reverse("admin:contacts_contact_change", args=[contact.pk]),
            **self._frame_of(form, organization, found),
        }
        return self.page(request, "contacts/send.html", context)

    def _send(self, request: HttpRequest, form: SendToContactForm, contact: Contact) -> SmsLog | None:
        """Send, or return what this form has sent before. None, and why, when nothing was sent."""
        given, key = form.cleaned_data, f"console:{form.cleaned_data['once']}"
        try:
            log, is_new = single.send(
                organization=contact.organization,
                contact_id=contact.pk,
                sender_id=given["sender"].pk,
                template=given["template"],
                user=person(request),
                idempotency_key=key,
            )
        except LinkitError as problem:
            if problem.reason == "send_under_way":  # by the other click
                return SmsLog.objects.filter(
                    organization=contact.organization_id, is_test=False, idempotency_key=key
                ).first()
            form.refuse(problem)
            return None
        if is_new:
            # The trail outlives the number, which the log blanks after a while.
            self.note(request, log, noop("Sent by hand to a contact."), flag=ADDITION, name=str(log.pk))
        else:
            self.message_user(request, _ALREADY_SENT, messages.WARNING)
        return log

    # --- of both ---

    def _is_confirmed(self, request: HttpRequest, form: SendTextForm, found: Preview, ids: list[UUID]) -> bool:
        """Whether this person has seen just this before: text, sender ID, contacts, and what it costs."""
        was_asked = bool(form.cleaned_data["seen"])
        shown = sending.digest(
            sender=form.cleaned_data["sender"].pk,
            template=form.cleaned_data["template"],
            contacts=ids,
            cost=found.cost,
            parts=found.parts,
        )
        is_confirmed = form.is_looked_over(shown) and found.sendable > 0
        if was_asked and not is_confirmed:
            self.message_user(request, _LOOK_AGAIN, messages.WARNING)
        return is_confirmed

    def _frame_of(self, form: SendTextForm, organization: Organization, found: Preview | None) -> dict[str, Any]:
        available = ledger.balance_of(organization).available
        return {
            "form": form,
            "has_senders": form.has_senders,
            "preview": found,
            "organization": organization,
            "available": amount(available),
            "is_short": found is not None and found.cost > available,
        }


def _name_for(count: int) -> str:
    """Return a name by which a program to chosen contacts is known again; whoever sends it may write another."""
    return f"{timezone.localtime():%Y-%m-%d %H:%M} ({count:,})"  # it is stored, so in no language
