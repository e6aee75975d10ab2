"""Audiences in the console. Contacts are put into them, and taken out, in the list of contacts."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop
from django.utils.translation import ngettext

from contacts import audiences
from contacts.console import ContactsAdmin, person
from contacts.forms import AudienceForm, NewAudienceForm
from contacts.models import Audience
from linkit.errors import LinkitError
from linkit.markup import moment
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, reach

_CHANGES = {"name": noop("name"), "description": noop("description")}


class AudienceList(ChangeList):
    """A page of audiences, each with its size."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        sizes = audiences.counts(self.result_list)
        for audience in self.result_list:
            audience.size = sizes[audience.pk]


@admin.register(Audience)
class AudienceAdmin(ContactsAdmin):
    position = 20
    list_title = _lazy("Audiences")
    add_label = _lazy("Add an audience")
    empty_message = _lazy(
        "No audience. Choose contacts in their list and put them into one there, or add one and fill it later."
    )
    list_display = ["shown_name", "organization", "members", "about", "added"]
    list_filter = [OrganizationFilter]
    search_fields = ["name"]
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return AudienceList

    @admin.display(description=_lazy("Name"))
    def shown_name(self, audience: Audience) -> SafeString:
        return format_html("<bdi>{}</bdi>", audience.name)

    @admin.display(description=_lazy("Contacts"))
    def members(self, audience: Audience) -> SafeString:
        url = f"{reverse('admin:contacts_contact_changelist')}?audience={audience.pk}"
        return format_html('<a href="{}"><bdi dir="ltr">{}</bdi></a>', url, f"{audience.size:,}")  # type: ignore[attr-defined]

    @admin.display(description=_lazy("Description"))
    def about(self, audience: Audience) -> SafeString:
        return format_html("<bdi>{}</bdi>", audience.description or "–")

    @admin.display(description=_lazy("Added"))
    def added(self, audience: Audience) -> SafeString:
        return moment(audience.created_at)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewAudienceForm(request.POST or None, organizations=reach(request).organizations(Scope.CONTACTS))
        if form.is_valid():
            try:
                audience = audiences.create(user=person(request), **form.cleaned_data)
            except audiences.AudienceExists as problem:
                form.add_error("name", problem.message)
            else:
                self.note(request, audience, noop("Added."), flag=ADDITION)
                self.message_user(request, _("“%(name)s” is added.") % {"name": audience}, messages.SUCCESS)
                return self.to_page("change", audience.pk)
        return self.page(request, "contacts/audience.html", {"title": _("Add an audience"), "form": form})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        audience: Audience | None = self.fetch(request, object_id)
        if audience is None:
            return self.missing(request, object_id)
        may_change = self.has_change_permission(request, audience)
        if request.method == "POST" and not may_change:
            raise PermissionDenied
        initial = {"name": audience.name, "description": audience.description}
        form = AudienceForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            try:
                audiences.change(audience=audience, **form.cleaned_data)
            except audiences.AudienceExists as problem:
                form.add_error("name", problem.message)
                audience.name = initial["name"]
            except LinkitError:  # deleted meanwhile
                return self.missing(request, object_id)
            else:
                if form.has_changed():
                    self.note(
                        request,
                        audience,
                        noop("Changed: %(what)s."),
                        {"what": [_CHANGES[name] for name in form.changed_data]},
                    )
                told = _("Saved.") if form.has_changed() else _("Nothing was changed.")
                self.message_user(request, told, messages.SUCCESS)
                return self.to_page("change", audience.pk)
        size = audiences.counts([audience])[audience.pk]
        context = {
            "title": str(audience),
            "audience": audience,
            "original": audience,
            "form": form if may_change else None,
            "size": ngettext("%(count)s contact", "%(count)s contacts", size) % {"count": f"{size:,}"},
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "contacts/audience.html", context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        told = _("Only the list goes: its contacts stay. A program that is still a draft is left without an audience.")
        return self.ask_to_delete(
            request,
            object_id,
            title=_("Delete audience?"),
            told=told,
            do=lambda audience: audiences.delete(audience=audience),
        )
