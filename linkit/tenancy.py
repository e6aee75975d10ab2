"""Who sees and does what in the console: one place that decides, and the admin classes that ask it.

Staff see the organizations they are members of, and may do there what their role allows, by the same table as in the
API. Superusers see and do everything. Django's own model permissions are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import Model, QuerySet, TextChoices
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from linkit import audit
from linkit.models import Membership, Organization, User
from linkit.pagination import COUNT_CAP, count_up_to_cap
from linkit.permissions import ROLE_SCOPES, Scope

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

AnyModel = TypeVar("AnyModel", bound=Model)
_ON_THE_REQUEST = "_linkit_reach"
_LONGEST_SEARCH = 100


@dataclass(frozen=True)
class Reach:
    """How far a person's hands reach: which scopes, in which organizations."""

    is_superuser: bool
    scopes: Mapping[UUID, frozenset[str]]

    def allows(self, scope: Scope, organization_id: UUID | None = None) -> bool:
        """Whether this person has `scope` in that organization, or in any when none is named."""
        if self.is_superuser:
            return True
        if organization_id is None:
            return any(scope in granted for granted in self.scopes.values())
        return scope in self.scopes.get(organization_id, frozenset())

    def narrow(self, rows: QuerySet[AnyModel], path: str, scope: Scope) -> QuerySet[AnyModel]:
        """Return those of `rows` whose organization, found by `path`, gives this person `scope`."""
        if self.is_superuser:
            return rows
        within = [pk for pk, granted in self.scopes.items() if scope in granted]
        # One id by equality: then the index on (organization, time) also gives the order.
        return rows.filter(**({path: within[0]} if len(within) == 1 else {f"{path}__in": within}))

    def organizations(self, scope: Scope = Scope.READ) -> QuerySet[Organization]:
        """Return the organizations in which this person has `scope`."""
        return self.narrow(Organization.objects.all(), "pk", scope)

    @property
    def is_wide(self) -> bool:
        """Whether rows of several organizations may stand side by side."""
        return self.is_superuser or len(self.scopes) > 1


def reach(request: HttpRequest) -> Reach:
    """Return the reach of whoever makes this request; asked of the database once a request."""
    known = getattr(request, _ON_THE_REQUEST, None)
    if known is None:
        known = reach_of(request.user if isinstance(request.user, User) else None)
        setattr(request, _ON_THE_REQUEST, known)
    return known


def person(request: HttpRequest) -> User:
    """Return who makes this request, in the console, whose frame lets nobody else in."""
    assert isinstance(request.user, User)
    return request.user


def reach_of(user: User | None) -> Reach:
    """Return what `user` may do in the console; nothing without console access."""
    if user is None or not (user.is_active and user.is_staff):
        return Reach(is_superuser=False, scopes={})
    if user.is_superuser:
        return Reach(is_superuser=True, scopes={})
    memberships = Membership.objects.usable().filter(user=user)
    return Reach(is_superuser=False, scopes={each.organization_id: ROLE_SCOPES[each.role] for each in memberships})


class Section(TextChoices):
    """The parts of the console's navigation, in order."""

    MESSAGES = "messages", _lazy("Messages")
    CONTACTS = "contacts", _lazy("Contacts")
    APPS = "apps", _lazy("App Store")
    CREDITS = "credits", _lazy("Credits")
    ACCESS = "access", _lazy("Organizations and access")


class Page(NamedTuple):
    """A page of the navigation that is no list; `section` when it is not its list's, `position` when not before it."""

    name: _StrOrPromise
    url: str
    section: Section | None = None
    position: int | None = None


class CappedPaginator(Paginator):
    """Counts so far and no further: the exact size of a table of millions costs more than anybody gains."""

    @cached_property
    def count(self) -> int:
        return min(self._counted, COUNT_CAP)

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than the pages show."""
        return self._counted > COUNT_CAP

    @cached_property
    def _counted(self) -> int:
        rows = self.object_list
        return count_up_to_cap(rows) if isinstance(rows, QuerySet) else len(rows)


class ConsoleAdmin(admin.ModelAdmin):
    """What every list of the console shares. Closed to everybody but superusers unless a subclass opens it."""

    section: ClassVar[Section] = Section.ACCESS
    position: ClassVar[int] = 100  # in its section
    list_title: ClassVar[_StrOrPromise] = ""  # empty: the model's own name
    add_label: ClassVar[_StrOrPromise] = ""  # on the button above the list; empty: the stock one
    empty_message: ClassVar[_StrOrPromise] = _lazy("Nothing here yet.")
    hidden_lookups: ClassVar[Sequence[str]] = ()  # columns that no URL may search by

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    empty_value_display = "–"

    def console_pages(self, request: HttpRequest) -> Sequence[tuple[str, str] | Page]:
        """Return further pages for the navigation, as (name, URL) or `Page`, that stand before the list."""
        return []

    def list_tools(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Return links to stand above the list, as (label, URL)."""
        return []

    def list_note(self, request: HttpRequest) -> str:
        """Return a sentence to stand above the list."""
        return ""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return reach(request).is_superuser

    def has_add_permission(self, request: HttpRequest) -> bool:
        return reach(request).is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return reach(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return reach(request).is_superuser

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        if lookup.partition("__")[0] in self.hidden_lookups:
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # No database column takes a NUL, and PostgreSQL says so by an error. Some stock pages look for the row before
        # they ask who wants it: whether there is one is not for everybody to know.
        if "\x00" in object_id or not self.has_view_permission(request):
            return None
        return super().get_object(request, object_id, from_field)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method == "POST" and not self.get_actions(request):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        start_over = HttpResponseRedirect(f"{request.path}?e=1")
        if any("\x00" in text for name, texts in request.GET.lists() for text in (name, *texts)):
            return start_over  # no database column takes it
        context = {
            "title": self.list_title or capfirst(self.opts.verbose_name_plural),
            "list_tools": self.list_tools(request),
            "list_note": self.list_note(request),
            **(extra_context or {}),
        }
        try:
            return super().changelist_view(request, context)
        except (DataError, OverflowError):  # a number or a date in the URL that no column holds
            return start_over

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Ask before a form is saved that `risks` something; all that was typed is sent again with the answer."""
        obj = self.get_object(request, object_id) if request.method == "POST" and object_id else None
        is_asked = obj is not None and "_confirmed" not in request.POST and self.has_change_permission(request, obj)
        if is_asked and (found := self.risks(request, obj)):
            given = [
                (name, text) for name, texts in request.POST.lists() for text in texts if name != "csrfmiddlewaretoken"
            ]
            context = {"title": _("Save this?"), "risks": found, "given": given, "original": obj}
            return self.page(request, "linkit/risks.html", context)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def risks(self, request: HttpRequest, obj: Any) -> list[str]:
        """Return what the form that is posted would do to `obj` and nobody does by the way, in sentences."""
        return []

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # Every word is a condition of its own: a pasted page of them would keep the database busy.
        return super().get_search_results(request, queryset, search_term[:_LONGEST_SEARCH])

    def note(
        self,
        request: HttpRequest,
        obj: Model,
        text: str,
        values: Mapping[str, audit.Value] | None = None,
        *,
        flag: int = CHANGE,
        name: str = "",
    ) -> None:
        """Write to the audit trail who did what: `text` by `gettext_noop`, with the gaps of `audit.record`."""
        whose, name = self.audited_organization_id(obj), name or self.audited_name(obj)
        audit.record(obj, text, user=person(request), organization_id=whose, values=values, flag=flag, name=name)

    def audited_name(self, obj: Any) -> str:
        """Return what the trail calls a row whose own name holds something personal; empty: its own."""
        return ""

    def audited_organization_id(self, obj: Any) -> UUID | None:
        """Return the organization whose administrators may see what is done to this row."""
        return obj.pk if isinstance(obj, Organization) else getattr(obj, "organization_id", None)

    # What the stock forms write themselves.

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._note_stock(request, obj, message, ADDITION)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._note_stock(request, obj, message, CHANGE)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            self._note_stock(request, obj, "", DELETION)

    def _note_stock(self, request: HttpRequest, obj: Any, message: Any, flag: int) -> None:
        whose = self.audited_organization_id(obj)
        audit.record_stock(obj, message, user=person(request), organization_id=whose, flag=flag)

    def page(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
    ) -> TemplateResponse:
        """Return a page of our own inside the console's frame."""
        request.current_app = self.admin_site.name
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "subtitle": None,
            "list_title": self.list_title,
        }
        return TemplateResponse(request, template, {**frame, **context}, status=status)


class ReadOnlyAdmin(ConsoleAdmin):
    """Rows that are looked at and never edited by hand, not even by a superuser."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class TenantAdmin(ConsoleAdmin):
    """Rows of an organization: scoped to the reach of whoever asks.

    Every queryset of a subclass begins with `get_queryset`, so another tenant's row is answered like a missing one.
    A scope of None closes the door to everybody.
    """

    organization_path: ClassVar[str] = "organization"
    view_scope: ClassVar[Scope] = Scope.READ
    add_scope: ClassVar[Scope | None] = None
    change_scope: ClassVar[Scope | None] = None
    delete_scope: ClassVar[Scope | None] = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return reach(request).narrow(super().get_queryset(request), self.organization_path, self.view_scope)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        is_wide = reach(request).is_wide
        return [name for name in super().get_list_display(request) if is_wide or name != "organization"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.is_allowed(request, self.view_scope, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.is_allowed(request, self.add_scope)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.is_allowed(request, self.change_scope, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.is_allowed(request, self.delete_scope, obj)

    def is_allowed(self, request: HttpRequest, scope: Scope | None, obj: Any = None) -> bool:
        """Whether whoever asks has `scope` in the organization of `obj`, or in any without one."""
        if scope is None:
            return False
        return reach(request).allows(scope, self.organization_id_of(obj) if obj is not None else None)

    def organization_id_of(self, obj: Any) -> UUID:
        owner: UUID = obj.organization_id
        return owner

    def fetch(self, request: HttpRequest, object_id: str, scope: Scope | None = None) -> Any:
        """Return the row, or None when it is missing or another tenant's. Raises `PermissionDenied` without scope."""
        obj = self.get_object(request, object_id)
        if obj is not None and not self.is_allowed(request, scope or self.view_scope, obj):
            raise PermissionDenied
        return obj

    def missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer for a row that is not there, or not this person's to see."""
        answer: HttpResponse = self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
            request, self.opts, object_id
        )
        return answer


class OrganizationFilter(admin.SimpleListFilter):
    """One organization of those in reach; not shown to somebody who sees only one."""

    title = _lazy("organization")
    parameter_name = "organization"
    column: ClassVar[str] = "organization_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if not reach(request).is_wide:
            return []
        return [(str(pk), name) for pk, name in reach(request).organizations().values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if not chosen:
            return queryset
        try:
            return queryset.filter(**{self.column: UUID(chosen)})
        except ValueError:
            return queryset.none()
