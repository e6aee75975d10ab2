"""Usage in the console: a table by day, sender ID and app, and the same as a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext

from linkit import spreadsheet
from linkit.markup import amount
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import Page, Section, TenantAdmin, reach
from linkit.widgets import LocalDateInput
from sms_providers import catalogue, usage
from sms_providers.usage import Usage

_LINES_SHOWN = 500
# The file is for programs too, so that its words are the same for every reader.
_COLUMNS = ["day", "sender ID", "app", "sent", "failed", "unknown", "parts", "credits"]


class UsageForm(forms.Form):
    """Whose usage, from one day to another, both included."""

    organization = forms.ModelChoiceField(
        Organization.objects.none(), label=_lazy("Organization"), required=False, empty_label=_lazy("All of them")
    )
    since = forms.DateField(label=_lazy("From"), widget=LocalDateInput)
    until = forms.DateField(label=_lazy("Until"), widget=LocalDateInput)

    def __init__(self, *args: Any, organizations: QuerySet[Organization], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chooser = self.fields["organization"]
        assert isinstance(chooser, forms.ModelChoiceField)
        chooser.queryset = organizations

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until:
            if until < since:
                self.add_error("until", _("It is before the first day."))
            elif until - since >= timedelta(days=usage.MOST_DAYS):
                text = ngettext("At most %(count)s day at once.", "At most %(count)s days at once.", usage.MOST_DAYS)
                self.add_error("until", text % {"count": usage.MOST_DAYS})
        return cleaned


@dataclass(frozen=True)
class Answer:
    """What was asked for and what was found; nothing when it made no sense, which the form then says."""

    form: UsageForm
    found: Usage | None
    zone: tzinfo


class UsagePages(TenantAdmin):
    """The pages about usage, beside the list of messages that they count."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("usage/", view(self.usage_view), name="usage"),
            path("usage/export/", view(self.usage_export_view), name="usage_export"),
            *super().get_urls(),
        ]

    def console_pages(self, request: HttpRequest) -> Sequence[tuple[str, str] | Page]:
        return [*super().console_pages(request), Page(_("Usage"), reverse("admin:usage"), Section.CREDITS)]

    def usage_view(self, request: HttpRequest) -> TemplateResponse:
        answer = self._measure(request)
        form, found = answer.form, answer.found
        context: dict[str, Any] = {
            "title": _("Usage"),
            "form": form,
            "is_wide": reach(request).is_wide,
            "zone": answer.zone,
            "found": found,
        }
        if found:
            context |= {
                "total": found.total,
                "credits": amount(found.total.credits),
                "lines": [
                    {
                        "row": line,
                        "app": _app(line.provider_slug),
                        "figures": line.figures,
                        "credits": amount(line.figures.credits),
                    }
                    for line in found.lines[:_LINES_SHOWN]
                ],
                "more": max(0, len(found.lines) - _LINES_SHOWN),
                "most": usage.MOST_LINES,
                "export_url": f"{reverse('admin:usage_export')}?{_query(form)}",
            }
        return self.page(request, "sms_providers/usage.html", context)

    def usage_export_view(self, request: HttpRequest) -> HttpResponseBase:
        answer = self._measure(request)
        if answer.found is None:
            return HttpResponseRedirect(f"{reverse('admin:usage')}?{request.GET.urlencode()}")
        since, until = answer.form.cleaned_data["since"], answer.form.cleaned_data["until"]
        return spreadsheet.download(_file(answer.found), filename=f"usage-{since}-{until}.csv")

    def _measure(self, request: HttpRequest) -> Answer:
        who = reach(request)
        if not who.allows(Scope.READ):
            raise PermissionDenied
        zone: tzinfo = timezone.get_current_timezone()
        since, until = usage.default_days(zone)
        asked = {name: value for name, value in request.GET.items() if value}
        form = UsageForm({"since": str(since), "until": str(until), **asked}, organizations=who.organizations())
        if not form.is_valid():
            return Answer(form, None, zone)
        owners: Collection[UUID] | None = None if who.is_superuser else who.scopes.keys()
        if (chosen := form.cleaned_data["organization"]) is not None:
            owners, zone = [chosen.pk], ZoneInfo(chosen.time_zone)
        since, until = form.cleaned_data["since"], form.cleaned_data["until"]
        try:
            found = usage.measure(organization_ids=owners, since=since, until=until, zone=zone)
        except ValueError:  # the first or the last day of the calendar
            form.add_error("since", _("There was no SMS then."))
            return Answer(form, None, zone)
        return Answer(form, found, zone)


def _query(form: UsageForm) -> str:
    given = form.cleaned_data
    chosen = {"organization": given["organization"].pk} if given["organization"] else {}
    return urlencode({**chosen, "since": given["since"], "until": given["until"]})


def _app(slug: str) -> str:
    return catalogue.app_name(slug) if slug else "–"


def _file(found: Usage) -> Iterator[Sequence[spreadsheet.Cell]]:
    yield _COLUMNS
    for line in found.lines:
        counted = line.figures
        figures = (counted.sent, counted.failed, counted.unknown, counted.parts, counted.credits)
        yield [line.day, line.sender_id, _app(line.provider_slug), *figures]
    if found.is_cut:
        yield [f"Cut after {usage.MOST_LINES:,} lines. Choose fewer days, or one organization, for the others."]
    else:
        total = found.total
        yield ["total", "", "", total.sent, total.failed, total.unknown, total.parts, total.credits]
