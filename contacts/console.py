"""What the console's pages of contacts, attributes and audiences share: filters, search, what a list shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import DELETION
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

from contacts import cells, search
from contacts.models import Audience, AudienceMember, Contact, CustomAttribute
from linkit.errors import Conflict, Missing
from linkit.models import Organization, User
from linkit.pagination import COUNT_CAP
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, TenantAdmin, reach
from sms_providers.console import titled

_AUDIENCES_LISTED = 200  # in the filter
_ORGANIZATIONS_SEARCHED = 10  # one by one
_VALUES_SHOWN = 2  # of a contact's attributes, in the list


class ContactsAdmin(TenantAdmin):
    """Rows that whoever has the scope of contacts adds, changes and deletes, through the verbs of this package."""

    add_scope = change_scope = delete_scope = Scope.CONTACTS
    section = Section.CONTACTS
    list_select_related = ["organization"]

    def organizations(self, request: HttpRequest) -> QuerySet[Organization]:
        """Return the organizations for which this person may add such a row."""
        return reach(request).organizations(Scope.CONTACTS)

    def organization_of(self, request: HttpRequest, scope: Scope = Scope.CONTACTS) -> Organization:
        """Return the organization that the URL names, else the first. Raises `PermissionDenied` or `Http404`."""
        if not reach(request).allows(scope):
            raise PermissionDenied
        found = reach(request).organizations(scope)
        if named := request.GET.get(OrganizationFilter.parameter_name, ""):
            found = found.filter(pk=pk) if (pk := as_uuid(named)) else found.none()
        organization = found.first()
        if organization is None:
            raise Http404
        return organization

    def chooser(self, request: HttpRequest, organization: Organization, scope: Scope) -> dict[str, Any]:
        """Return what a page needs that is made for one organization, for the choice of another."""
        organizations = reach(request).organizations(scope)
        name = OrganizationFilter.parameter_name
        return {
            "organization": organization,
            "organizations": organizations if len(organizations[:2]) > 1 else [],
            "kept": [(other, text) for other, texts in request.GET.lists() if other != name for text in texts],
        }

    def to_page(self, name: str, *args: Any) -> HttpResponseRedirect:
        """Lead on to a page of this model: `changelist`, `change`, …."""
        return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args))

    def ask_to_delete(
        self, request: HttpRequest, object_id: str, *, title: str, told: str, do: Callable[[Any], None]
    ) -> HttpResponse | TemplateResponse:
        """Ask first, saying what goes with the row; then `do`, and note it."""
        obj = self.fetch(request, object_id, Scope.CONTACTS)
        if obj is None:
            return self.missing(request, object_id)
        if request.method != "POST":
            context = {"title": title, "original": obj, "told": told, "is_wide": reach(request).is_wide}
            return self.page(request, "contacts/delete.html", context)
        name, pk = str(obj), obj.pk
        try:
            do(obj)
        except Conflict as problem:  # a program that goes to it is just being queued
            self.message_user(request, problem.message, messages.WARNING)
            return self.to_page("change", pk)
        except Missing:  # somebody else was faster
            return self.missing(request, object_id)
        obj.pk = pk  # which Django has taken from a row that is gone
        self.note(request, obj, noop("Deleted."), flag=DELETION)
        self.message_user(request, _("“%(name)s” is deleted.") % {"name": name})
        return self.to_page("changelist")


def person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # the console's frame lets nobody else in
    return request.user


def as_uuid(typed: str) -> UUID | None:
    try:
        return UUID(typed)
    except ValueError:
        return None


# --- the list of contacts -----------------------------------------------------------------------------------------


class AudienceFilter(admin.SimpleListFilter):
    """The contacts of one audience, of those in reach."""

    title, parameter_name = _lazy("audience"), "audience"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = reach(request).narrow(Audience.objects.all(), "organization", Scope.READ)
        if organization := as_uuid(request.GET.get(OrganizationFilter.parameter_name, "")):
            found = found.filter(organization=organization)
        is_wide = reach(request).is_wide and not organization
        listed = list(found.select_related("organization").order_by("name", "pk")[:_AUDIENCES_LISTED])
        chosen = as_uuid(request.GET.get(self.parameter_name, ""))
        if chosen and chosen not in {audience.pk for audience in listed}:
            listed += found.filter(pk=chosen).select_related("organization")
        return [(str(each.pk), f"{each.name} ({each.organization})" if is_wide else each.name) for each in listed]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not (wanted := self.value()):
            return queryset
        chosen = as_uuid(wanted)
        return queryset.filter(audiencemember__audience=chosen) if chosen else queryset.none()


GENDER_FILTER = ("gender", titled(admin.ChoicesFieldListFilter, _lazy("gender")))
TYPE_FILTER = ("type", titled(admin.ChoicesFieldListFilter, _lazy("type")))


def find_contacts(
    request: HttpRequest, contacts: QuerySet[Contact], typed: str, *, is_first_of: bool = False
) -> QuerySet[Contact]:
    """Return those of `contacts` that a search finds, without looking at each of a million where that can be helped.

    With `is_first_of` the latest are enough, as many as a list shows.
    """
    words = search.terms(typed)
    if not words:
        return contacts
    organizations = _searched(request) if connection.vendor == "postgresql" else []
    found: list[UUID] = []
    for organization_id in organizations:
        found += search.find(
            organization_id=organization_id, words=words, order=["-created_at", "-pk"], start=0, stop=COUNT_CAP + 1
        ).ids
        if len(found) > COUNT_CAP:
            break
    if organizations and (len(found) <= COUNT_CAP or (is_first_of and len(organizations) == 1)):
        return contacts.filter(pk__in=found)
    # Words that many have: going through the list soon finds a page of them.
    return search.matching(contacts, typed)


def _searched(request: HttpRequest) -> list[UUID]:
    """Return the organizations to ask the index about, one by one; none when they are too many."""
    within = reach(request).organizations()
    if chosen := as_uuid(request.GET.get(OrganizationFilter.parameter_name, "")):
        within = within.filter(pk=chosen)
    found = list(within.order_by().values_list("pk", flat=True)[: _ORGANIZATIONS_SEARCHED + 1])
    return found if len(found) <= _ORGANIZATIONS_SEARCHED else []


def dress(contacts: Iterable[Contact]) -> None:
    """Give the contacts of a page what the list shows beside their own columns: `shown_values`, `shown_audiences`."""
    contacts = list(contacts)
    live = CustomAttribute.objects.filter(
        organization__in={contact.organization_id for contact in contacts}, deleted_at__isnull=True
    )
    attributes: dict[UUID, list[CustomAttribute]] = defaultdict(list)
    for attribute in live:
        attributes[attribute.organization_id].append(attribute)
    audiences: dict[UUID, list[str]] = defaultdict(list)
    members = AudienceMember.objects.filter(contact__in=contacts).order_by("audience__name")
    for contact_id, name in members.values_list("contact_id", "audience__name"):
        audiences[contact_id].append(name)
    for contact in contacts:
        values = [
            f"{attribute.display_name}: {cells.shown(contact.attribute_values[str(attribute.pk)])}"
            for attribute in attributes[contact.organization_id]
            if str(attribute.pk) in contact.attribute_values
        ]
        contact.shown_values = _first(values)  # type: ignore[attr-defined]
        contact.shown_audiences = _first(audiences[contact.pk])  # type: ignore[attr-defined]


def _first(texts: Sequence[str]) -> str:
    more = len(texts) - _VALUES_SHOWN
    return _(", ").join([*texts[:_VALUES_SHOWN], *([f"+{more}"] if more > 0 else [])])
