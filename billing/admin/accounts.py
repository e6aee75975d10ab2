"""Credit accounts in the console: what there is, whom to tell when it runs low, and for superusers moving credits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from billing import alerts, ledger
from billing.forms import AdjustForm, MoveForm, ThresholdsForm, TopUpForm
from billing.models import BalanceAlert, CreditAccount, CreditTransaction
from linkit.errors import LinkitError
from linkit.markup import amount, badge, in_figures
from linkit.models import Organization, User
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, TenantAdmin, reach

_ENTRIES_SHOWN = 10


@dataclass(frozen=True)
class Move:
    """A way to move credits: its verb in the ledger, and its words on pages and in the audit trail."""

    do: Callable[..., CreditTransaction]
    title: str
    done: str


TOP_UP = Move(ledger.top_up, "Top up", "Topped up")
ADJUST = Move(ledger.adjust, "Adjust", "Adjusted")


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("low", "Below a threshold"), ("none", "No credits")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "low":
                return queryset.filter(below__isnull=False)
            case "none":
                return queryset.filter(balance__lte=F("held"))
        return queryset


@admin.register(CreditAccount)
class CreditAccountAdmin(TenantAdmin):
    """Accounts. Whoever tops up gives away what is the platform's, so that only superusers move credits."""

    section, position = Section.CREDITS, 10
    add_label = "Top up"
    empty_message = "There is no account yet. An organization gets one by its first top-up."
    list_display = ["organization", "balance_shown", "held_shown", "available_shown", "state"]
    list_filter = [StateFilter, OrganizationFilter]
    list_select_related = ["organization"]
    search_fields = ["organization__name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        crossed = BalanceAlert.objects.filter(account=OuterRef("pk"), threshold__gt=OuterRef("balance"))
        lowest = Subquery(crossed.order_by("threshold").values("threshold")[:1])
        return super().get_queryset(request).annotate(below=lowest)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<uuid:pk>/adjust/", view(self.adjust_view), name="billing_creditaccount_adjust"),
            path("<uuid:pk>/alerts/", view(self.alerts_view), name="billing_creditaccount_alerts"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return reach(request).is_superuser

    # --- columns ---

    @admin.display(description="Balance", ordering="balance")
    def balance_shown(self, account: CreditAccount) -> SafeString:
        return amount(account.balance)

    @admin.display(description="Held")
    def held_shown(self, account: CreditAccount) -> SafeString:
        return amount(account.held)

    @admin.display(description="Available")
    def available_shown(self, account: CreditAccount) -> SafeString:
        return amount(account.available)

    @admin.display(description="State")
    def state(self, account: Any) -> SafeString:
        if account.available <= 0:
            return badge("No credits", "bad")
        return (
            badge("In credit", "good")
            if account.below is None
            else badge(f"Below {in_figures(account.below)}", "unsure")
        )

    # --- one account ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        account = self.fetch(request, object_id)
        if account is None:
            return self.missing(request, object_id)
        return self._account_page(request, account, _thresholds_form(account))

    def alerts_view(self, request: HttpRequest, pk: UUID) -> HttpResponse | TemplateResponse:
        """Take the thresholds below which people are told."""
        account = self.fetch(request, str(pk), Scope.MANAGE)
        if account is None:
            return self.missing(request, str(pk))
        if request.method == "POST":
            form = _thresholds_form(account, request.POST)
            if not form.is_valid():
                return self._account_page(request, account, form)
            added, removed = alerts.set_thresholds(account, form.thresholds())
            if added or removed:
                words = [
                    f"{verb} {', '.join(in_figures(each) for each in some)}"
                    for verb, some in (("added", added), ("removed", removed))
                    if some
                ]
                self.note(request, account, f"Alerts: {'; '.join(words)}.")
            self.message_user(request, "Saved." if added or removed else "Nothing was changed.", messages.SUCCESS)
        return HttpResponseRedirect(_url(account.pk))

    def _account_page(self, request: HttpRequest, account: CreditAccount, form: ThresholdsForm) -> TemplateResponse:
        context = {
            "title": str(account),
            "account": account,
            "original": account,
            "state": self.state(account),
            "figures": [
                ("balance", amount(account.balance)),
                ("held for messages under way", amount(account.held)),
                ("available", amount(account.available)),
            ],
            "form": form,
            "may_manage": self.is_allowed(request, Scope.MANAGE, account),
            "may_move": reach(request).is_superuser,
            "thresholds": [amount(alert.threshold) for alert in account.alerts.all()],
            "entries": [
                {"row": entry, "amount": amount(entry.amount), "after": amount(entry.balance_after)}
                for entry in account.transactions.select_related("created_by")[:_ENTRIES_SHOWN]
            ],
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "billing/account.html", context)

    # --- moving credits ---

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        """Top up an organization, whether it has an account or not."""
        if not reach(request).is_superuser:
            raise PermissionDenied
        form = TopUpForm(request.POST or None, initial={"organization": request.GET.get("organization", "")})
        organization = form.cleaned_data["organization"] if form.is_valid() else None
        return self._move_view(request, TOP_UP, form, organization)

    def adjust_view(self, request: HttpRequest, pk: UUID) -> HttpResponse | TemplateResponse:
        if not reach(request).is_superuser:
            raise PermissionDenied
        account = self.fetch(request, str(pk))
        if account is None:
            return self.missing(request, str(pk))
        return self._move_view(request, ADJUST, AdjustForm(request.POST or None), account.organization)

    def _move_view(
        self, request: HttpRequest, move: Move, form: MoveForm, organization: Organization | None
    ) -> HttpResponse | TemplateResponse:
        """Ask before anything moves; then move it once, however often the form is sent."""
        context: dict[str, Any] = {"title": move.title, "form": form, "organization": organization}
        if form.is_valid() and "back" not in request.POST:
            assert organization is not None
            if "confirmed" not in request.POST:
                before, moved = ledger.balance_of(organization), form.cleaned_data["amount"]
                figures = [
                    ("balance now", amount(before.balance)),
                    ("to be moved", amount(moved)),
                    ("balance afterwards", amount(before.balance + moved)),
                ]
                asked = {
                    "title": f"{move.title}?",
                    "verb": move.title.lower(),
                    "figures": figures,
                    "description": form.cleaned_data["description"],
                }
                is_overdrawn, is_new = before.balance + moved < 0, before._state.adding
                context |= {**asked, "is_overdrawn": is_overdrawn, "is_new": is_new}
                return self.page(request, "billing/move_confirm.html", context)
            if self._moved(request, move, form, organization):
                return HttpResponseRedirect(_url(organization.pk))
        return self.page(request, "billing/move.html", context)

    def _moved(self, request: HttpRequest, move: Move, form: MoveForm, organization: Organization) -> bool:
        """Move what the form says, or say on the form why not."""
        assert isinstance(request.user, User)
        given, once = form.cleaned_data, form.cleaned_data["once"]
        try:
            with transaction.atomic():
                account = ledger.open_account(organization)
                # Of two clicks at once the second waits here for the first's entry, and notes nothing of its own.
                CreditAccount.objects.select_for_update(no_key=True).get(pk=account.pk)
                is_repeat = CreditTransaction.objects.filter(reference=once).exists()
                entry = move.do(
                    organization=organization,
                    amount=given["amount"],
                    description=given["description"],
                    created_by=request.user,
                    reference=once,
                )
                if not is_repeat:
                    words = f": {entry.description}" if entry.description else ""
                    self.note(request, account, f"{move.done} by {in_figures(entry.amount)} credits{words}.")
        except LinkitError as problem:
            form.refuse(problem)
            return False
        if is_repeat:
            text = "This form had been sent before; nothing was moved again. To repeat it, start a new one."
            self.message_user(request, text, messages.WARNING)
        else:
            text = (
                f"{move.done} by {in_figures(entry.amount)} credits; the balance is {in_figures(entry.balance_after)}."
            )
            self.message_user(request, text, messages.SUCCESS)
        return True


def _thresholds_form(account: CreditAccount, data: Any = None) -> ThresholdsForm:
    return ThresholdsForm(data, thresholds=[alert.threshold for alert in account.alerts.all()])


def _url(account_id: UUID) -> str:
    return reverse("admin:billing_creditaccount_change", args=[account_id])
