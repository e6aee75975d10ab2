"""Credit accounts in the console: what there is, whom to tell when it runs low, and for superusers moving credits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

from billing import alerts, ledger
from billing.descriptions import in_words
from billing.forms import AdjustForm, MoveForm, ThresholdsForm, TopUpForm
from billing.models import BalanceAlert, CreditAccount, CreditTransaction
from linkit.errors import LinkitError
from linkit.markup import amount, badge, in_figures
from linkit.models import Organization, User
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, TenantAdmin, reach

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

_ENTRIES_SHOWN = 10


@dataclass(frozen=True)
class Move:
    """A way to move credits: its verb in the ledger, and its words on pages and in the audit trail."""

    do: Callable[..., CreditTransaction]
    title: _StrOrPromise
    question: _StrOrPromise
    confirm: _StrOrPromise  # on the button
    noted: str
    done: _StrOrPromise


TOP_UP = Move(
    do=ledger.top_up,
    title=_lazy("Top up"),
    question=_lazy("Top up?"),
    confirm=_lazy("Yes, top up"),
    noted=noop("Topped up by %(amount)s credits: %(why)s"),
    done=_lazy("Topped up by %(amount)s credits; the balance is %(balance)s."),
)
ADJUST = Move(
    do=ledger.adjust,
    title=_lazy("Adjust"),
    question=_lazy("Adjust?"),
    confirm=_lazy("Yes, adjust"),
    noted=noop("Adjusted by %(amount)s credits: %(why)s"),
    done=_lazy("Adjusted by %(amount)s credits; the balance is %(balance)s."),
)


class StateFilter(admin.SimpleListFilter):
    title = _lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("low", _("Below a threshold")), ("none", _("No credits"))]

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
    add_label = _lazy("Top up")
    empty_message = _lazy("There is no account yet. An organization gets one by its first top-up.")
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

    @admin.display(description=_lazy("Balance"), ordering="balance")
    def balance_shown(self, account: CreditAccount) -> SafeString:
        return amount(account.balance)

    @admin.display(description=_lazy("Held"))
    def held_shown(self, account: CreditAccount) -> SafeString:
        return amount(account.held)

    @admin.display(description=_lazy("Available"))
    def available_shown(self, account: CreditAccount) -> SafeString:
        return amount(account.available)

    @admin.display(description=_lazy("State"))
    def state(self, account: Any) -> SafeString:
        if account.available <= 0:
            return badge(_("No credits"), "bad")
        if account.below is None:
            return badge(_("In credit"), "good")
        return badge(_("Below %(threshold)s") % {"threshold": in_figures(account.below)}, "unsure")

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
            for text, some in (
                (noop("No alert below %(thresholds)s any more."), removed),
                (noop("Alert below %(thresholds)s."), added),
            ):
                if some:
                    figures = ", ".join(in_figures(each) for each in some)
                    self.note(request, account, text, {"thresholds": figures})
            text = _("Saved.") if added or removed else _("Nothing was changed.")
            self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(_url(account.pk))

    def _account_page(self, request: HttpRequest, account: CreditAccount, form: ThresholdsForm) -> TemplateResponse:
        context = {
            "title": str(account),
            "account": account,
            "original": account,
            "state": self.state(account),
            "figures": [
                (_("balance"), amount(account.balance)),
                (_("held for messages under way"), amount(account.held)),
                (_("available"), amount(account.available)),
            ],
            "form": form,
            "may_manage": self.is_allowed(request, Scope.MANAGE, account),
            "may_move": reach(request).is_superuser,
            "thresholds": [amount(alert.threshold) for alert in account.alerts.all()],
            "entries": [
                {
                    "row": entry,
                    "amount": amount(entry.amount),
                    "after": amount(entry.balance_after),
                    "description": in_words(entry.description),
                }
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
                    (_("balance now"), amount(before.balance)),
                    (_("to be moved"), amount(moved)),
                    (_("balance afterwards"), amount(before.balance + moved)),
                ]
                asked = {
                    "title": move.question,
                    "verb": move.confirm,
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
                    values = {"amount": in_figures(entry.amount), "why": entry.description}
                    self.note(request, account, move.noted, values)
        except LinkitError as problem:
            form.refuse(problem)
            return False
        if is_repeat:
            text = _("This form had been sent before; nothing was moved again. To repeat it, start a new one.")
            self.message_user(request, text, messages.WARNING)
        else:
            figures = {"amount": in_figures(entry.amount), "balance": in_figures(entry.balance_after)}
            self.message_user(request, str(move.done) % figures, messages.SUCCESS)
        return True


def _thresholds_form(account: CreditAccount, data: Any = None) -> ThresholdsForm:
    return ThresholdsForm(data, thresholds=[alert.threshold for alert in account.alerts.all()])


def _url(account_id: UUID) -> str:
    return reverse("admin:billing_creditaccount_change", args=[account_id])
