"""What the console's lists and pages about messages share: filters, search, and a story in words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import phonenumbers
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.models import Hold
from linkit import phone
from linkit.markup import amount, badge, in_figures, ltr, moment, pretty
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import ReadOnlyAdmin, TenantAdmin, reach
from sms_providers import catalogue, settling
from sms_providers.models import SANDBOX, OrganizationApp, SmsLog, Status
from sms_providers.reasons import REASONS
from sms_providers.results import Outcome

_OUTCOME_KINDS: dict[str, str] = {
    Outcome.ACCEPTED: "good",
    Outcome.REJECTED: "bad",
    Outcome.UNAVAILABLE: "bad",
    Outcome.UNKNOWN: "unsure",
}
_REGIONS_TRIED = 5
_ATTEMPTS_SHOWN = 30  # a message that waits for a gateway to come back gathers hundreds
_TYPED_NUMBER = re.compile(r"\+?[\d\s().\-/]{1,40}")


class AppFilter(admin.SimpleListFilter):
    """By app, without asking a table of millions which there are."""

    title = parameter_name = "app"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(slug, adapter.name) for slug, adapter in catalogue.adapters().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(provider_slug=self.value()) if self.value() else queryset


def find_messages(request: HttpRequest, rows: QuerySet[Any], typed: str, *, id_fields: dict[str, str]) -> QuerySet[Any]:
    """Return the rows of a number, typed whole or as it begins, or of an id; `id_fields` maps column to pattern."""
    typed = typed.strip()
    for column, pattern in id_fields.items():
        if re.fullmatch(pattern, typed):
            return rows.filter(**{column: typed})
    digits = "".join(str(unicodedata.digit(character)) for character in typed if character.isdecimal())
    if not digits or not _TYPED_NUMBER.fullmatch(typed):
        return rows.none()
    regions = _regions(request)
    whole = {number for region in regions if (number := _parsed(typed, region))}
    if whole:
        return rows.filter(recipient__in=whole)
    if digits.startswith("00"):
        beginnings = {f"+{digits[2:]}"}
    elif digits.startswith("0"):
        codes = {phonenumbers.country_code_for_region(region) for region in regions}
        beginnings = {f"+{code}{digits[1:]}" for code in codes}
    else:
        beginnings = {f"+{digits}"}
    either = Q()
    for beginning in beginnings:
        either |= Q(recipient__startswith=beginning)
    return rows.filter(either)


def sendable_apps(request: HttpRequest) -> QuerySet[OrganizationApp]:
    """Return the apps through which this person may send, for a form to choose from."""
    usable = OrganizationApp.objects.usable().filter(slug__in=catalogue.adapters())
    apps = reach(request).narrow(usable, "organization", Scope.SEND)
    return apps.select_related("organization").order_by("organization__name", "priority", "installed_at", "pk")


def _regions(request: HttpRequest) -> list[str]:
    regions = reach(request).organizations().order_by().values_list("default_region", flat=True).distinct()
    return list(regions[:_REGIONS_TRIED]) or [Organization._meta.get_field("default_region").default]


def _parsed(typed: str, region: str) -> str | None:
    try:
        return phone.parse_mobile(typed, region=region)
    except phone.InvalidNumber:
        return None


@dataclass(frozen=True)
class Banner:
    """What became of a message, in words. `kind` is the stylesheet's."""

    kind: str
    headline: str
    text: str


def tell(log: SmsLog) -> Banner:
    """Say what became of this SMS and what to do about it."""
    app = catalogue.app_name(log.provider_slug) if log.provider_slug else "The provider"
    match log.status:
        case Status.PENDING if log.queued_id:
            why = f" Last try: {log.error_message}" if log.error_message else ""
            return Banner("calm", "Waiting", f"It is in the outbox and goes out when it is due.{why}")
        case Status.PENDING | Status.SENDING:
            return Banner("calm", "Under way", f"{app} is being called. Load this page again to see the outcome.")
        case Status.SENT if log.error_message == settling.WAS_SENT:
            return Banner("good", "Sent", "Nobody knew for certain, until somebody settled it by hand: it was sent.")
        case Status.SENT if log.error_message == settling.WAS_FOUND:
            return Banner("good", "Sent", f"Nobody knew for certain, until {app} was asked for it: it had taken it.")
        case Status.SENT if log.provider_slug == SANDBOX or log.is_test:
            return Banner("good", "Sent, but only simulated", "The sandbox took it. Nothing left this machine.")
        case Status.SENT:
            return Banner("good", "Sent", f"{app} accepted it. That it arrived is for a delivery receipt to say.")
        case Status.DISPATCH_TIMEOUT:
            return Banner(
                "caution",
                "Outcome unknown: it may have been sent",
                f"{log.error_message} Do not send it again: the recipient might get it twice. Look for it at the"
                " provider, or ask the recipient, before you do.",
            )
    if log.reason == "settled_unsent":
        return Banner("bad", "Not sent", "Somebody settled it by hand: it was not sent. You can send it again.")
    if log.outcome == Outcome.REJECTED:
        return Banner("bad", "Not sent: refused", f"{log.error_message or f'{app} refused it.'}")
    if log.outcome == Outcome.UNAVAILABLE:
        return Banner("bad", "Not sent", f"{log.error_message} It certainly did not leave; you can send it again.")
    return Banner("bad", "Not sent", log.error_message or "It did not leave.")


@dataclass(frozen=True)
class Money:
    """Where the credits of an SMS are. What is neither charged nor held was given back, or is not held yet."""

    cost: Decimal
    charged: Decimal
    held: Decimal

    @property
    def returned(self) -> Decimal:
        return self.cost - self.charged - self.held

    def facts(self) -> list[tuple[str, SafeString]]:
        """Return it in words, for a page."""
        shares = [("Charged", self.charged), ("Held until its end is known", self.held), ("Given back", self.returned)]
        return [("Credits it costs", amount(self.cost)), *((name, amount(each)) for name, each in shares if each)]


def money(log: SmsLog) -> Money | None:
    """Return where the credits of an SMS are; None when it costs none."""
    if log.credit_cost is None:
        return None
    held = Hold.objects.filter(pk=log.pk).values_list("amount", flat=True).first()
    return Money(log.credit_cost, log.credit_charged, held or Decimal(0))


def what_follows(log: SmsLog, *, was_sent: bool) -> list[str]:
    """Say what comes of settling an unknown outcome, before anybody does."""
    spent = money(log)
    if spent is None:
        paid = "It costs no credits."
    elif not spent.held:
        paid = "Its credits have been given back already, and are not charged any more."
    elif was_sent:
        paid = f"{in_figures(spent.held)} credits, which are held for it, are charged."
    else:
        paid = f"{in_figures(spent.held)} credits, which are held for it, are given back."
    if was_sent:
        return [paid, "It is never sent again: a program that repeats its call is told that it was sent."]
    return [paid, "It may be sent again: by hand, or by a program that repeats its call."]


def story(log: SmsLog | None, *, is_superuser: bool) -> dict[str, Any]:
    """Return the money of an SMS, and its attempts, the latest first, with names and answers for people."""
    spent = money(log) if log else None
    total = log.attempts.count() if log else 0
    hides_answers = log is not None and log.is_lent and not is_superuser
    latest = list(log.attempts.order_by("-pk")[:_ATTEMPTS_SHOWN]) if log else []
    shown = [
        {
            "number": total - position,
            "row": attempt,
            "app": catalogue.app_name(attempt.provider_slug),
            "badge": badge(
                attempt.get_outcome_display() or "Under way", _OUTCOME_KINDS.get(attempt.outcome, "pending")
            ),
            "answer": "" if attempt.response is None or hides_answers else pretty(attempt.response),
            "reason": REASONS.get(attempt.reason),
            "took": _seconds(attempt.started_at, attempt.finished_at),
        }
        for position, attempt in enumerate(latest)
    ]
    return {
        "attempts": shown,
        "earlier": total - len(shown),
        "money": spent.facts() if spent else [],
        "hides_answers": hides_answers,
    }


def _seconds(started: Any, finished: Any) -> str:
    return f"{(finished - started).total_seconds():.1f} s" if finished else ""


class MessageListAdmin(ReadOnlyAdmin, TenantAdmin):
    """A list of messages that is only looked at, with a page of our own for each."""

    story_template = ""
    search_help_text = "A number, whole or as it begins (0501…, 00966…, +966…), or an id."
    sortable_by = ("created",)  # the one order that has an index
    list_select_related = ["organization"]
    id_fields: dict[str, str] = {}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        return find_messages(request, queryset, search_term, id_fields=self.id_fields), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        row = self.fetch(request, object_id)
        if row is None:
            return self.missing(request, object_id)
        context = {
            "title": f"SMS to {row.recipient}",
            "row": row,
            "original": row,
            "is_wide": reach(request).is_wide,
            "may_send": self.is_allowed(request, Scope.SEND, row),
            "reason": REASONS.get(row.reason),
        }
        return self.page(request, self.story_template, {**context, **self.story_context(request, row)})

    def story_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        raise NotImplementedError

    @admin.display(description="Time", ordering="created_at")
    def created(self, row: Any) -> SafeString:
        return moment(row.created_at)

    @admin.display(description="To", ordering="recipient")
    def to(self, row: Any) -> SafeString:
        return ltr(row.recipient) if row.recipient else SafeString("–")

    @admin.display(description="App")
    def through(self, row: Any) -> str:
        return catalogue.app_name(row.provider_slug) if row.provider_slug else "–"

    @admin.display(description="Status")
    def state(self, row: Any) -> SafeString:
        shown = badge(row.get_status_display(), row.status)
        return format_html("{} {}", shown, badge("Test", "test")) if row.is_test else shown

    @admin.display(description="Reason")
    def why(self, row: Any) -> str:
        return row.reason.replace("_", " ") or "–"

    @admin.display(description="Parts")
    def parts(self, row: Any) -> SafeString:
        return ltr(row.segment_count)
