"""Rates in the console: superusers set them, and everybody sees those that apply to them."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from billing.forms import RateForm
from billing.models import Rate
from linkit import clock
from linkit.markup import amount, badge, in_figures, ltr
from linkit.tenancy import OrganizationFilter, Section, TenantAdmin, reach

_WHY_FIXED = _lazy(
    "It has been in force: what was charged stays. Only its end and its note can be changed; for another price, add a"
    " new rate from a day on."
)
_WHY_OVER = _lazy(
    "It is over: what was charged stays. Only its note can be changed; for another price, add a new rate."
)

# Of a rate that can be looked at only; the other fields are there when they can be changed.
_FACTS = ["whose", "numbers", "price_shown", "first_day"]


class InForceFilter(admin.SimpleListFilter):
    """What is in force or will be, unless another choice is made."""

    title = _lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("over", _("Over")), ("all", _("All"))]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        return [{**first, "display": _("In force or later")}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        today = clock.now().date()
        match self.value():
            case "all":
                return queryset
            case "over":
                return queryset.filter(valid_until__lt=today)
        return queryset.filter(Q(valid_until=None) | Q(valid_until__gte=today))


@admin.register(Rate)
class RateAdmin(TenantAdmin):
    section, position = Section.CREDITS, 30
    form = RateForm
    add_label = _lazy("Add a rate")
    empty_message = _lazy("No rate is set.")
    list_display = ["numbers", "whose", "price_shown", "first_day", "last_day", "state", "note"]
    list_filter = [InForceFilter, OrganizationFilter]
    list_select_related = ["organization"]
    search_fields = ["prefix", "organization__name"]
    search_help_text = _lazy("A prefix, or the name of an organization.")

    def list_note(self, request: HttpRequest) -> str:
        return _(
            "Where no rate fits, one part costs %(price)s credits. An organization's own rates come before those of"
            " everybody; among each the longest prefix counts. Days are in UTC."
        ) % {"price": in_figures(settings.SMS_CREDIT_RATE)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows, who = Rate.objects.all(), reach(request)
        if who.is_superuser:
            return rows
        if not who.allows(self.view_scope):
            return rows.none()
        return rows.filter(Q(organization=None) | Q(organization__in=who.scopes.keys()))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        # What is noted of a rate is between those who set them.
        return [name for name in self.list_display if reach(request).is_superuser or name != "note"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return reach(request).is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Rate | None = None) -> bool:
        return reach(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Rate | None = None) -> bool:
        return reach(request).is_superuser and (obj is None or not _has_begun(obj, clock.now().date()))

    # --- the form ---

    def get_fieldsets(self, request: HttpRequest, obj: Rate | None = None) -> list[Any]:
        today = clock.now().date()
        if not reach(request).is_superuser:
            return [(None, {"fields": [*_FACTS, "last_day", "state"]})]
        if obj is None or not _has_begun(obj, today):
            return [(None, {"fields": [*RateForm.base_fields]})]
        if _is_over(obj, today):
            return [(None, {"fields": [*_FACTS, "last_day", "note"], "description": _WHY_OVER})]
        return [(None, {"fields": [*_FACTS, "valid_until", "note"], "description": _WHY_FIXED})]

    def get_readonly_fields(self, request: HttpRequest, obj: Rate | None = None) -> list[str]:
        return [*_FACTS, "last_day", "state"]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse | TemplateResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError:  # the form has looked, and somebody was faster
            text = _("Somebody has just saved a rate for this prefix that begins on the same day. Nothing was saved.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    # --- columns ---

    @admin.display(description=_lazy("Numbers"), ordering="prefix")
    def numbers(self, rate: Rate) -> SafeString:
        return ltr(f"+{rate.prefix}…") if rate.prefix else format_html("{}", _("Every number"))

    @admin.display(description=_lazy("Of"), ordering="organization__name")
    def whose(self, rate: Rate) -> str:
        return str(rate.organization or _("Everybody"))

    @admin.display(description=_lazy("Credits for one part"), ordering="price")
    def price_shown(self, rate: Rate) -> SafeString:
        return amount(rate.price)

    @admin.display(description=_lazy("From"), ordering="valid_from")
    def first_day(self, rate: Rate) -> SafeString:
        return ltr(rate.valid_from)

    @admin.display(description=_lazy("To"), ordering="valid_until")
    def last_day(self, rate: Rate) -> SafeString:
        return ltr(rate.valid_until or "–")

    @admin.display(description=_lazy("State"))
    def state(self, rate: Rate) -> SafeString:
        today = clock.now().date()
        if _is_over(rate, today):
            return badge(_("Over"), "off")
        return badge(_("In force"), "good") if rate.valid_from <= today else badge(_("Later"), "pending")


def _has_begun(rate: Rate, today: date) -> bool:
    """Whether it has been in force for a whole day. On its first day a mistake can still be mended."""
    return rate.valid_from < today


def _is_over(rate: Rate, today: date) -> bool:
    return rate.valid_until is not None and rate.valid_until < today
