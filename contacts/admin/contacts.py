"""Contacts in the console: the list, one of them, and what is done to those that are chosen."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop
from django.utils.translation import ngettext

from contacts import audiences, cells, services
from contacts.admin.sending import SendingAdmin
from contacts.admin.sheets import SheetsAdmin
from contacts.columns import FIELDS
from contacts.console import GENDER_FILTER, AudienceFilter, dress, find_contacts, person
from contacts.forms import ContactForm, MembersForm
from contacts.models import Audience, Contact
from contacts.resources import columns_of
from linkit.errors import LinkitError
from linkit.markup import ltr
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, reach

_OF_A_PLAIN_SEARCH = {"q", "p", "e", OrganizationFilter.parameter_name}


class ContactList(ChangeList):
    """A page of contacts, each with its attributes and audiences."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        dress(self.result_list)


@admin.register(Contact)
class ContactAdmin(SendingAdmin, SheetsAdmin):
    position = 10
    list_title = _lazy("Contacts")
    add_label = _lazy("Add a contact")
    empty_message = _lazy("No contact. Add one, or import a CSV or Excel file of them.")
    hidden_lookups = ["search_text", "search_pieces", "attribute_values", "deleted_at"]
    list_display = ["name", "organization", "phone", "e_mail", "town", "attributes", "in_audiences"]
    list_display_links = ["name", "phone"]
    list_filter = [GENDER_FILTER, AudienceFilter, OrganizationFilter]
    search_fields = ["search_text"]
    search_help_text = _lazy("Parts of a name, an e-mail address or a number.")
    sortable_by = ("phone",)  # the one order beside that of time that has an index
    actions = ["send_to_chosen", "add_to_audience", "take_out_of_audience", "delete_chosen"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(deleted_at__isnull=True).defer("search_text", "search_pieces")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ContactList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # A list that nothing else narrows or sorts; what is exported or chosen is all that match.
        is_list = request.method == "GET" and request.path == reverse("admin:contacts_contact_changelist")
        is_first_of = is_list and not set(request.GET) - _OF_A_PLAIN_SEARCH
        return find_contacts(request, queryset, search_term, is_first_of=is_first_of), False

    def audited_name(self, obj: Any) -> str:
        # The audit trail outlives a person's wish to be forgotten.
        return str(obj.pk) if isinstance(obj, Contact) else ""

    # --- columns ---

    @admin.display(description=_lazy("Name"))
    def name(self, contact: Contact) -> SafeString:
        return format_html("<bdi>{}</bdi>", contact.shown_name or "–")

    @admin.display(description=_lazy("Phone"), ordering="primary_phone")
    def phone(self, contact: Contact) -> SafeString:
        return ltr(contact.primary_phone)

    @admin.display(description=_lazy("E-mail"))
    def e_mail(self, contact: Contact) -> SafeString:
        return ltr(contact.primary_email or "–")

    @admin.display(description=_lazy("City"))
    def town(self, contact: Contact) -> SafeString:
        return format_html("<bdi>{}</bdi>", contact.city or "–")

    @admin.display(description=_lazy("Attributes"))
    def attributes(self, contact: Contact) -> SafeString:
        return format_html("<bdi>{}</bdi>", contact.shown_values or "–")  # type: ignore[attr-defined]

    @admin.display(description=_lazy("Audiences"))
    def in_audiences(self, contact: Contact) -> SafeString:
        return format_html("<bdi>{}</bdi>", contact.shown_audiences or "–")  # type: ignore[attr-defined]

    # --- one contact ---

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        organization = self.organization_of(request)
        form = ContactForm(request.POST or None, organization=organization, columns=columns_of(organization))
        if form.is_valid():
            try:
                contact = services.create(organization=organization, fields=form.changes())
            except services.PhoneTaken as problem:
                form.add_error("primary_phone", problem.message)
            else:
                self.note(request, contact, noop("Added."), flag=ADDITION)
                self.message_user(request, _("%(name)s is added.") % {"name": contact}, messages.SUCCESS)
                return self.to_page("change", contact.pk)
        context = {
            "title": _("Add a contact"),
            "form": form,
            "is_wide": reach(request).is_wide,
            **self.chooser(request, organization, Scope.CONTACTS),
        }
        return self.page(request, "contacts/contact.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        contact: Contact | None = self.fetch(request, object_id)
        if contact is None:
            return self.missing(request, object_id)
        if not self.has_change_permission(request, contact):
            if request.method == "POST":
                raise PermissionDenied
            return self._facts_page(request, contact)
        columns = columns_of(contact.organization)
        form = ContactForm(request.POST or None, organization=contact.organization, columns=columns, contact=contact)
        if form.is_valid():
            fields = form.changes()
            try:
                changed = services.change(contact=contact, fields=fields) if fields else contact
            except services.PhoneTaken as problem:
                form.add_error("primary_phone", problem.message)
            except LinkitError:  # deleted meanwhile
                return self.missing(request, object_id)
            else:
                if fields:
                    self.note(request, changed, noop("Changed: %(what)s."), {"what": form.labels_of(fields)})
                self.message_user(request, _("Saved.") if fields else _("Nothing was changed."), messages.SUCCESS)
                return self.to_page("change", contact.pk)
        context = {"form": form, "organization": contact.organization, "can_delete": True}
        return self.page(request, "contacts/contact.html", {**self._frame(request, contact), **context})

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        told = _("It leaves all audiences and its number is free again. Messages that were sent to it stay in the log.")
        return self.ask_to_delete(
            request,
            object_id,
            title=_("Delete contact?"),
            told=told,
            do=lambda contact: services.delete(contact=contact),
        )

    def _facts_page(self, request: HttpRequest, contact: Contact) -> TemplateResponse:
        columns = columns_of(contact.organization)
        own = [(ContactForm.base_fields[field].label, key) for key, field in FIELDS.items()]
        custom = [(attribute.display_name, key) for key, attribute in columns.attributes.items()]
        facts = {
            name: [(label, cells.shown(cells.stored(contact, key, columns))) for label, key in pairs]
            for name, pairs in (("facts", own), ("custom", custom))
        }
        return self.page(request, "contacts/contact_facts.html", {**self._frame(request, contact), **facts})

    def _frame(self, request: HttpRequest, contact: Contact) -> dict[str, Any]:
        return {
            "title": str(contact),
            "contact": contact,
            "original": contact,
            "audiences": contact.audiences.order_by("name"),
            "may_send": self.is_allowed(request, Scope.SEND, contact),
            "is_wide": reach(request).is_wide,
        }

    # --- those that are chosen ---

    def has_write_permission(self, request: HttpRequest) -> bool:
        return reach(request).allows(Scope.CONTACTS)

    @admin.action(description=_lazy("Add to an audience…"), permissions=["write"])
    def add_to_audience(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        return self._members(request, queryset, action="add_to_audience", may_make=True)

    @admin.action(description=_lazy("Take out of an audience…"), permissions=["write"])
    def take_out_of_audience(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        return self._members(request, queryset, action="take_out_of_audience", may_make=False)

    @admin.action(description=_lazy("Delete…"), permissions=["write"])
    def delete_chosen(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        chosen = self.chosen(request, queryset)
        if chosen is None:
            return None
        organization, ids = chosen
        if request.POST.get("confirmed") != str(len(ids)):  # also when a list has got longer since the question
            context = {"title": _("Delete contacts?"), "label": _("Yes, delete"), "is_danger": True}
            return self.ask(request, organization, ids, action="delete_chosen", context=context)
        count = services.delete_all(contacts=Contact.objects.filter(organization=organization, pk__in=ids))
        figures = {"count": f"{count:,}"}
        self.note(request, organization, noop("Contacts deleted: %(count)s."), figures)
        told = ngettext("%(count)s contact deleted.", "%(count)s contacts deleted.", count) % figures
        self.message_user(request, told, messages.SUCCESS)
        return None

    def _members(
        self, request: HttpRequest, queryset: QuerySet[Contact], *, action: str, may_make: bool
    ) -> HttpResponse | None:
        chosen = self.chosen(request, queryset)
        if chosen is None:
            return None
        organization, ids = chosen
        is_sent = "confirmed" in request.POST
        wanted = {"audience": request.GET.get(AudienceFilter.parameter_name)}
        form = MembersForm(
            request.POST if is_sent else None, organization=organization, may_make=may_make, initial=wanted
        )
        if form.is_valid():
            try:
                told = self._add(request, organization, ids, form) if may_make else self._take_out(request, ids, form)
                self.message_user(request, told, messages.SUCCESS)
                return None
            except audiences.AudienceExists as problem:
                form.add_error("name", problem.message)
            except LinkitError as problem:  # deleted meanwhile
                form.add_error(None, problem.message)
        title = _("Add to an audience") if may_make else _("Take out of an audience")
        context = {"title": title, "form": form, "label": _("Add") if may_make else _("Take out")}
        return self.ask(request, organization, ids, action=action, context=context)

    def _add(self, request: HttpRequest, organization: Organization, ids: list[UUID], form: MembersForm) -> str:
        audience: Audience | None = form.cleaned_data["audience"]
        if audience is None:
            audience = audiences.create(
                organization=organization, name=form.cleaned_data["name"], contact_ids=ids, user=person(request)
            )
            count = len(ids)
            self.note(request, audience, noop("Added."), flag=ADDITION)
        else:
            count = audiences.add(audience=audience, contact_ids=ids)
        there = len(ids) - count
        self.note(request, audience, noop("Contacts put into it: %(count)s."), {"count": f"{count:,}"})
        told = ngettext("%(count)s added to “%(audience)s”.", "%(count)s added to “%(audience)s”.", count)
        told %= {"count": f"{count:,}", "audience": audience}
        if there:
            more = ngettext("%(count)s was in it already.", "%(count)s were in it already.", there)
            more %= {"count": f"{there:,}"}
            told = f"{told} {more}"
        return told

    def _take_out(self, request: HttpRequest, ids: list[UUID], form: MembersForm) -> str:
        audience: Audience = form.cleaned_data["audience"]
        count = audiences.remove(audience=audience, contact_ids=ids)
        self.note(request, audience, noop("Contacts taken out of it: %(count)s."), {"count": f"{count:,}"})
        told = ngettext("%(count)s taken out of “%(audience)s”.", "%(count)s taken out of “%(audience)s”.", count)
        return told % {"count": f"{count:,}", "audience": audience}
