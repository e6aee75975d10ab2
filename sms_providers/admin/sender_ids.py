"""Sender IDs in the console: an organization's own, and those that the platform shares."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import PROTECT, Q, QuerySet
from django.db.models.deletion import ProtectedError
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from linkit.markup import badge
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, TenantAdmin, reach
from linkit.widgets import plain_choice
from sms_providers import catalogue
from sms_providers.console import STATUS_FILTER
from sms_providers.forms import SenderIdForm
from sms_providers.models import SenderId, SenderIdStatus

_STATUS_KINDS: dict[str, str] = {
    SenderIdStatus.ACTIVE: "good",
    SenderIdStatus.INACTIVE: "off",
    SenderIdStatus.RESERVED: "pending",
}


class ShareFilter(admin.SimpleListFilter):
    title = _lazy("whose")
    parameter_name = "shared"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("Of an organization")), ("yes", _("Shared"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "no":
                return queryset.filter(organization__isnull=False)
            case "yes":
                return queryset.filter(organization=None)
        return queryset


@admin.register(SenderId)
class SenderIdAdmin(TenantAdmin):
    """Administrators of an organization see to its own ones. Shared ones everybody sees, and superusers change."""

    add_scope = change_scope = delete_scope = Scope.MANAGE
    section, position = Section.APPS, 20
    form = SenderIdForm
    list_title = _lazy("Sender IDs")
    add_label = _lazy("Add a sender ID")
    empty_message = _lazy(
        "There is no sender ID yet. Messages to contacts need one: add it, or ask an administrator to, once an app is"
        " installed to send under it."
    )
    hidden_lookups = ["app"]
    list_display = ["shown", "whose", "where", "state", "gateway", "gateway_state"]
    list_filter = [STATUS_FILTER, ShareFilter, OrganizationFilter]
    list_select_related = ["organization", "app__organization"]
    search_fields = ["sender_id", "description"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        who = reach(request)
        rows = SenderId.objects.select_related("organization", "app__organization").defer("app__credentials")
        if who.is_superuser:
            return rows
        if not who.allows(self.view_scope):
            return rows.none()
        return rows.filter(Q(organization=None) | Q(organization__in=who.scopes.keys()))

    def is_allowed(self, request: HttpRequest, scope: Scope | None, obj: SenderId | None = None) -> bool:
        if obj is not None and obj.is_shared and scope != self.view_scope:
            return reach(request).is_superuser
        return super().is_allowed(request, scope, obj)

    # --- the form ---

    def get_form(self, request: HttpRequest, obj: SenderId | None = None, change: bool = False, **kwargs: Any) -> Any:
        plain = super().get_form(request, obj, change, **kwargs)
        who = reach(request)

        class Form(plain):  # type: ignore[valid-type, misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                if "app" in self.fields:  # it may be looked at only
                    manageable = who.organizations(Scope.MANAGE)
                    self.reach_to(manageable, may_share=who.is_superuser, is_wide=who.is_wide)

        return Form

    def get_fields(self, request: HttpRequest, obj: SenderId | None = None) -> list[Any]:
        if obj is None:
            return [*SenderIdForm.base_fields]
        if not self.has_change_permission(request, obj):
            return ["sender_id", "whose", "country", "description", "status", "gateway", "gateway_state"]
        return ["whose", "sender_id", "country", "description", "status", "app", "gateway_state"]

    def get_readonly_fields(self, request: HttpRequest, obj: SenderId | None = None) -> list[str]:
        # Whose it is stays: programs of that organization send under it.
        return ["whose", "gateway", "gateway_state"] if obj else []

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return plain_choice(super().formfield_for_dbfield(db_field, request, **kwargs))

    # --- deleting ---

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Only one that nothing uses is deleted. Their names are not said: users of a shared one are others'."""
        kept = [use for each in objs for use in _uses(each)]
        return [str(each) for each in objs], {str(SenderId._meta.verbose_name_plural): len(objs)}, set(), kept

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except ProtectedError:  # somebody has just begun to use it
            text = _("Something has just begun to use it, so it was not deleted. Switch its status instead.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:sms_providers_senderid_change", args=[object_id]))

    # --- columns ---

    @admin.display(description=_lazy("Sender ID"), ordering="sender_id")
    def shown(self, sender: SenderId) -> SafeString:
        return format_html("<bdi>{}</bdi>", sender.sender_id)

    @admin.display(description=_lazy("Country"), ordering="country")
    def where(self, sender: SenderId) -> str:
        return sender.country

    @admin.display(description=_lazy("Of"), ordering="organization__name")
    def whose(self, sender: SenderId) -> SafeString:
        return badge(_("Shared"), "pending") if sender.is_shared else format_html("<bdi>{}</bdi>", sender.organization)

    @admin.display(description=_lazy("Status"), ordering="status")
    def state(self, sender: SenderId) -> SafeString:
        return badge(sender.get_status_display(), _STATUS_KINDS[sender.status])

    @admin.display(description=_lazy("Gateway"))
    def gateway(self, sender: SenderId) -> SafeString:
        if sender.app is None:
            return SafeString("–")
        name = catalogue.app_name(sender.app.slug)
        if sender.is_shared:  # whose account it is, is between superusers
            return format_html(_("{}, of the platform"), name)
        return format_html("{}", name)

    @admin.display(description=_lazy("Gateway's state"))
    def gateway_state(self, sender: SenderId) -> SafeString:
        app = sender.app
        if app is None:
            return badge(_("None yet: nothing is sent"), "unsure")
        if app.uninstalled_at is not None:
            return badge(_("Uninstalled"), "bad")
        if app.slug not in catalogue.adapters():
            return badge(_("Not in the catalogue"), "bad")
        return badge(_("Usable"), "good") if app.is_enabled else badge(_("Switched off"), "bad")


def _uses(sender: SenderId) -> list[str]:
    """Return what keeps a sender ID from being deleted. Packages above this one are known by their relations only."""
    found = []
    for relation in SenderId._meta.get_fields(include_hidden=True):
        if not isinstance(relation, ForeignObjectRel) or relation.on_delete is not PROTECT:
            continue
        model = relation.related_model
        assert not isinstance(model, str)
        if count := model._base_manager.filter(**{relation.field.name: sender}).count():
            text = _("%(what)s: %(count)s. Switch its status to inactive instead.")
            found.append(text % {"what": capfirst(str(model._meta.verbose_name_plural)), "count": count})
    return found
