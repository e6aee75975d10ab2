"""Contacts in the console: the list, one of them, and what is done to those that are chosen."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import ADDITION, CHANGE
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from contacts import audiences, cells, services
from contacts.admin.sheets import SheetsAdmin
from contacts.columns import FIELDS
from contacts.console import AudienceFilter, dress, find_contacts, person
from contacts.forms import ContactForm, MembersForm
from contacts.models import Audience, Contact
from contacts.resources import columns_of
from linkit.errors import LinkitError
from linkit.markup import ltr
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, reach

_MOST_AT_ONCE = audiences.MAX_IDS
_OF_A_PLAIN_SEARCH = {"q", "p", "e", OrganizationFilter.parameter_name}


class ContactList(ChangeList):
    """A page of contacts, each with its attributes and audiences."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        dress(self.result_list)


@admin.register(Contact)
class ContactAdmin(SheetsAdmin):
    position = 10
    add_label = "Add a contact"
    empty_message = "No contact. Add one, or import a CSV or Excel file of them."
    hidden_lookups = ["search_text", "search_pieces", "attribute_values", "deleted_at"]
    list_display = ["name", "organization", "phone", "e_mail", "city", "attributes", "in_audiences"]
    list_display_links = ["name", "phone"]
    list_filter = ["gender", AudienceFilter, OrganizationFilter]
    search_fields = ["search_text"]
    search_help_text = "Parts of a name, an e-mail address or a number."
    sortable_by = ("phone",)  # the one order beside that of time that has an index
    actions = ["add_to_audience", "take_out_of_audience", "delete_chosen"]

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

    def note(self, request: HttpRequest, obj: Model, message: str, *, flag: int = CHANGE, name: str = "") -> None:
        # The audit trail outlives a person's wish to be forgotten.
        own = str(obj.pk) if isinstance(obj, Contact) else name
        super().note(request, obj, message, flag=flag, name=own)

    # --- columns ---

    @admin.display(description="Name")
    def name(self, contact: Contact) -> SafeString:
        return format_html("<bdi>{}</bdi>", contact.shown_name or "–")

    @admin.display(description="Phone", ordering="primary_phone")
    def phone(self, contact: Contact) -> SafeString:
        return ltr(contact.primary_phone)

    @admin.display(description="E-mail")
    def e_mail(self, contact: Contact) -> SafeString:
        return ltr(contact.primary_email or "–")

    @admin.display(description="Attributes")
    def attributes(self, contact: Contact) -> SafeString:
        return format_html("<bdi>{}</bdi>", contact.shown_values or "–")  # type: ignore[attr-defined]

    @admin.display(description="Audiences")
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
                self.note(request, contact, "Added.", flag=ADDITION)
                self.message_user(request, f"{contact} is added.", messages.SUCCESS)
                return self.to_page("change", contact.pk)
        context = {
            "title": "Add a contact",
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
                    self.note(request, changed, f"Changed: {form.labels_of(fields)}.")
                self.message_user(request, "Saved." if fields else "Nothing was changed.", messages.SUCCESS)
                return self.to_page("change", contact.pk)
        context = {"form": form, "organization": contact.organization, "can_delete": True}
        return self.page(request, "contacts/contact.html", {**self._frame(request, contact), **context})

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        told = "It leaves all audiences and its number is free again. Messages that were sent to it stay in the log."
        return self.ask_to_delete(request, object_id, told=told, do=lambda contact: services.delete(contact=contact))

    def _facts_page(self, request: HttpRequest, contact: Contact) -> TemplateResponse:
        columns = columns_of(contact.organization)
        own = [(ContactForm.base_fields[field].label or field.capitalize(), key) for key, field in FIELDS.items()]
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
            "is_wide": reach(request).is_wide,
        }

    # --- those that are chosen ---

    def has_write_permission(self, request: HttpRequest) -> bool:
        return reach(request).allows(Scope.CONTACTS)

    @admin.action(description="Add to an audience…", permissions=["write"])
    def add_to_audience(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        return self._members(request, queryset, action="add_to_audience", label="Add", may_make=True)

    @admin.action(description="Take out of an audience…", permissions=["write"])
    def take_out_of_audience(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        return self._members(request, queryset, action="take_out_of_audience", label="Take out", may_make=False)

    @admin.action(description="Delete…", permissions=["write"])
    def delete_chosen(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        chosen = self._chosen(request, queryset)
        if chosen is None:
            return None
        organization, ids = chosen
        if request.POST.get("confirmed") != str(len(ids)):  # also when a list has got longer since the question
            context = {"title": "Delete contacts?", "label": "Yes, delete", "is_danger": True}
            return self._ask(request, organization, ids, action="delete_chosen", context=context)
        count = services.delete_all(contacts=Contact.objects.filter(organization=organization, pk__in=ids))
        told = f"{count:,} contact{'' if count == 1 else 's'}"
        self.note(request, organization, f"Deleted {told}.")
        self.message_user(request, f"{told} deleted.", messages.SUCCESS)
        return None

    def _members(
        self, request: HttpRequest, queryset: QuerySet[Contact], *, action: str, label: str, may_make: bool
    ) -> HttpResponse | None:
        chosen = self._chosen(request, queryset)
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
        title = "Add to an audience" if may_make else "Take out of an audience"
        context = {"title": title, "form": form, "label": label}
        return self._ask(request, organization, ids, action=action, context=context)

    def _add(self, request: HttpRequest, organization: Organization, ids: list[UUID], form: MembersForm) -> str:
        audience: Audience | None = form.cleaned_data["audience"]
        if audience is None:
            audience = audiences.create(
                organization=organization, name=form.cleaned_data["name"], contact_ids=ids, user=person(request)
            )
            count = len(ids)
            self.note(request, audience, "Added.", flag=ADDITION)
        else:
            count = audiences.add(audience=audience, contact_ids=ids)
        there = len(ids) - count
        self.note(request, audience, f"Put {count:,} contacts into it.")
        return f"{count:,} added to “{audience}”" + (f"; {there:,} were in it already." if there else ".")

    def _take_out(self, request: HttpRequest, ids: list[UUID], form: MembersForm) -> str:
        audience: Audience = form.cleaned_data["audience"]
        count = audiences.remove(audience=audience, contact_ids=ids)
        self.note(request, audience, f"Took {count:,} contacts out of it.")
        return f"{count:,} taken out of “{audience}”."

    def _chosen(self, request: HttpRequest, queryset: QuerySet[Contact]) -> tuple[Organization, list[UUID]] | None:
        """Return the contacts that were chosen and their organization; None, and why, when that is not possible."""
        rows = list(queryset.order_by("pk").values_list("pk", "organization_id")[: _MOST_AT_ONCE + 1])
        owners = {owner for _, owner in rows}
        if len(rows) > _MOST_AT_ONCE:
            problem = f"At most {_MOST_AT_ONCE:,} contacts at once; narrow the list with the search and the filters."
        elif len(owners) > 1:
            problem = "Choose contacts of one organization."
        elif not rows:
            problem = "These contacts are not there any more."
        else:
            organization = reach(request).organizations(Scope.CONTACTS).filter(pk__in=owners).first()
            if organization is None:
                raise PermissionDenied
            return organization, [pk for pk, _ in rows]
        self.message_user(request, problem, messages.WARNING)
        return None

    def _ask(
        self, request: HttpRequest, organization: Organization, ids: list[UUID], *, action: str, context: dict[str, Any]
    ) -> TemplateResponse:
        frame = {
            "organization": organization,
            "is_wide": reach(request).is_wide,
            "count": len(ids),
            "only": Contact.objects.get(pk=ids[0]) if len(ids) == 1 else None,
            "action": action,
            "box": ACTION_CHECKBOX_NAME,
            # All of a list are named by the list itself.
            "is_across": request.POST.get("select_across") == "1",
            "chosen": ids[:1] if request.POST.get("select_across") == "1" else ids,
            "back": request.get_full_path(),
        }
        return self.page(request, "contacts/chosen.html", {**frame, **context})
