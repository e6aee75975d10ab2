"""The ledger in the console: looked at, filtered, and saved as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import DataError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from billing.descriptions import in_words
from billing.models import CreditTransaction, Kind
from linkit import spreadsheet
from linkit.days import DayRangeFilter
from linkit.markup import amount, badge, in_figures, moment
from linkit.tenancy import OrganizationFilter, ReadOnlyAdmin, Section, TenantAdmin

MOST_LINES = 100_000  # of one file
_ROWS_AT_ONCE = 1000
_KINDS: dict[str, str] = {
    Kind.INITIAL: "good",
    Kind.CREDIT_ADD: "good",
    Kind.SMS_CHARGE: "plain",
    Kind.ADJUSTMENT: "unsure",
}
_COLUMNS = {
    "organization": "account__organization__name",
    "type": "kind",
    "amount": "amount",
    "balance after": "balance_after",
    "description": "description",
    "reference": "reference",
    "program": "program_id",
    "by": "created_by__email",
}


class AccountFilter(OrganizationFilter):
    column = "account_id"


@admin.register(CreditTransaction)
class CreditTransactionAdmin(ReadOnlyAdmin, TenantAdmin):
    organization_path = "account"
    section, position = Section.CREDITS, 15
    list_title = _lazy("Ledger")
    empty_message = _lazy("No credits have moved yet.")
    list_display = ["created", "organization", "type", "amount_shown", "balance_shown", "described"]
    list_filter = ["kind", ("created_at", DayRangeFilter), AccountFilter]
    list_select_related = ["account__organization", "created_by"]
    search_fields = ["reference"]
    search_help_text = _lazy("The id of an SMS, or of an entry.")
    sortable_by = ("created",)

    def organization_id_of(self, obj: CreditTransaction) -> UUID:
        return obj.account_id

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export_view)
        return [path("export/", export, name="billing_credittransaction_export"), *super().get_urls()]

    def list_tools(self, request: HttpRequest) -> list[tuple[str, str]]:
        chosen = f"?{request.GET.urlencode()}" if request.GET else ""
        return [(_("Save as CSV"), reverse("admin:billing_credittransaction_export") + chosen)]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        try:
            return queryset.filter(reference=UUID(search_term.strip())), False
        except ValueError:
            return queryset.none(), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        entry: CreditTransaction | None = self.fetch(request, object_id)
        if entry is None:
            return self.missing(request, object_id)
        context = {
            "title": f"{entry.get_kind_display()}: {in_figures(entry.amount)}",
            "entry": entry,
            "description": in_words(entry.description),
            "type": self.type(entry),
            "amount": amount(entry.amount),
            "balance": amount(entry.balance_after),
            "is_sms": entry.kind == Kind.SMS_CHARGE,
        }
        return self.page(request, "billing/entry.html", context)

    # --- the file ---

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Return the entries that the list would show, whatever page it is on."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            if any("\x00" in text for texts in request.GET.lists() for text in (texts[0], *texts[1])):
                raise IncorrectLookupParameters
            chosen = self.get_changelist_instance(request).queryset
        except (IncorrectLookupParameters, DataError, OverflowError):
            text = _("What was chosen makes no sense, so there is no file of it.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:billing_credittransaction_changelist"))
        # The file is written after this view, when the page's time zone is not set any more.
        rows = _lines(chosen, timezone.get_current_timezone())
        return spreadsheet.download(rows, filename=f"ledger-{timezone.localdate()}.csv")

    # --- columns ---

    @admin.display(description=_lazy("Time"), ordering="pk")
    def created(self, entry: CreditTransaction) -> SafeString:
        return moment(entry.created_at)

    @admin.display(description=_lazy("Organization"))
    def organization(self, entry: CreditTransaction) -> str:
        return str(entry.account.organization)

    @admin.display(description=_lazy("Type"))
    def type(self, entry: CreditTransaction) -> SafeString:
        return badge(entry.get_kind_display(), _KINDS[entry.kind])

    @admin.display(description=_lazy("Amount"))
    def amount_shown(self, entry: CreditTransaction) -> SafeString:
        return amount(entry.amount)

    @admin.display(description=_lazy("Balance after"))
    def balance_shown(self, entry: CreditTransaction) -> SafeString:
        return amount(entry.balance_after)

    @admin.display(description=_lazy("Description"))
    def described(self, entry: CreditTransaction) -> SafeString:
        shown = format_html("<bdi>{}</bdi>", in_words(entry.description) or "–")
        if entry.created_by is None:
            return shown
        by = format_html(_("by <bdi>{}</bdi>"), entry.created_by)
        return format_html('{} <span class="quiet">{}</span>', shown, by)


def _lines(chosen: QuerySet[Any], zone: tzinfo) -> Iterator[list[spreadsheet.Cell]]:
    """Yield the file, newest first. By id, since poolers keep no cursor open."""
    yield [f"time ({zone})", *_COLUMNS]
    kinds = {kind.value: str(kind.label) for kind in Kind}
    rows = chosen.order_by("-pk").values_list("pk", "created_at", *_COLUMNS.values())
    written, some = 0, list(rows[:_ROWS_AT_ONCE])
    while some:
        for _pk, created_at, organization, kind, *rest in some:
            if written == MOST_LINES:
                yield [f"Cut after {MOST_LINES:,} lines. Choose fewer days for the others."]
                return
            written += 1
            at = f"{created_at.astimezone(zone):%Y-%m-%d %H:%M:%S}"
            yield [at, organization, kinds[kind], *(str(cell) if isinstance(cell, UUID) else cell for cell in rest)]
        some = list(rows.filter(pk__lt=some[-1][0])[:_ROWS_AT_ONCE])
