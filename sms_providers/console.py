"""What the console's lists and pages about messages share: filters, search, and a story in words.

What is stored of a failure is English; a page shows it in the reader's language (`reasons.noted`).
"""

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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from billing.models import Hold
from linkit import phone
from linkit.markup import amount, badge, in_figures, ltr, moment, pretty
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import ReadOnlyAdmin, TenantAdmin, reach
from sms_providers import catalogue, chosen, settling
from sms_providers.models import SANDBOX, Attempt, OrganizationApp, SmsLog, Status
from sms_providers.reasons import REASONS, brief, noted
from sms_providers.results import Outcome

_OUTCOME_KINDS: dict[str, str] = {
    Outcome.ACCEPTED: "good",
    Outcome.REJECTED: "bad",
    Outcome.UNAVAILABLE: "bad",
    Outcome.UNKNOWN: "unsure",
}
_REGIONS_TRIED = 5
_ORGANIZATIONS_NAMED = 100
_ATTEMPTS_SHOWN = 30  # a message that waits for a gateway to come back gathers hundreds
_TYPED_NUMBER = re.compile(r"\+?[\d\s().\-/]{1,40}")


def titled(kind: type[admin.FieldListFilter], name: Any) -> type[admin.FieldListFilter]:
    """Return a stock filter under a title of ours: that of a column without a name of its own is not translated."""

    class Titled(kind):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.title = name

    return Titled


STATUS_FILTER = ("status", titled(admin.ChoicesFieldListFilter, _lazy("status")))
SOURCE_FILTER = ("source", titled(admin.ChoicesFieldListFilter, _lazy("source")))
CREATED_FILTER = ("created_at", titled(admin.DateFieldListFilter, _lazy("day")))


class AppFilter(admin.SimpleListFilter):
    """By app, without asking a table of millions which there are."""

    title, parameter_name = _lazy("app"), "app"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(slug, adapter.name) for slug, adapter in catalogue.adapters().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not (slug := self.value()):
            return queryset
        # The simulator needs no installation. Any other app that nobody has ever installed has sent nothing.
        if slug != SANDBOX and not OrganizationApp.objects.filter(slug=slug).exists():
            return queryset.none()
        return queryset.filter(provider_slug=slug)


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
    rows = _of_organizations(request, rows)
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
        # A LIKE finds no index but one of the C collation. A letter stands behind all digits in any.
        either |= Q(recipient__gte=beginning, recipient__lt=f"{beginning}a")
    return rows.filter(either)


def _of_organizations(request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Name the organizations to a database whose indexes begin with them, for whoever sees all."""
    if not reach(request).is_superuser:
        return rows
    known = list(reach(request).organizations().order_by().values_list("pk", flat=True)[: _ORGANIZATIONS_NAMED + 1])
    return rows.filter(organization__in=known) if len(known) <= _ORGANIZATIONS_NAMED else rows


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


def title_of(row: Any) -> str:
    """Return what the page of a message is called."""
    if not row.recipient:
        return _("SMS to a number that is blanked")
    return _("SMS to %(number)s") % {"number": row.recipient}


@dataclass(frozen=True)
class Banner:
    """What became of a message, in words. `kind` is the stylesheet's."""

    kind: str
    headline: str
    text: str


def tell(log: SmsLog) -> Banner:
    """Say what became of this SMS and what to do about it."""
    app = catalogue.app_name(log.provider_slug) if log.provider_slug else _("The provider")
    said = noted(log.reason, log.error_message)
    match log.status:
        case Status.PENDING if log.queued_id:
            waits = _("It is in the outbox and goes out when it is due.")
            last = _("Last try: %(why)s") % {"why": said} if said else ""
            return Banner("calm", _("Waiting"), f"{waits} {last}".strip())
        case Status.PENDING | Status.SENDING:
            text = _("%(app)s is being called. Load this page again to see the outcome.") % {"app": app}
            return Banner("calm", _("Under way"), text)
        case Status.SENT if log.error_message == settling.WAS_SENT:
            text = _("Nobody knew for certain, until somebody settled it by hand: it was sent.")
            return Banner("good", _("Sent"), text)
        case Status.SENT if log.error_message == settling.WAS_FOUND:
            text = _("Nobody knew for certain, until %(app)s was asked for it: it had taken it.") % {"app": app}
            return Banner("good", _("Sent"), text)
        case Status.SENT if log.provider_slug == SANDBOX or log.is_test:
            text = _("The sandbox took it. Nothing left this machine.")
            return Banner("good", _("Sent, but only simulated"), text)
        case Status.SENT:
            text = _("%(app)s accepted it. That it arrived is for a delivery receipt to say.") % {"app": app}
            return Banner("good", _("Sent"), text)
        case Status.DISPATCH_TIMEOUT:
            warning = _(
                "Do not send it again: the recipient might get it twice. Look for it at the provider, or ask the"
                " recipient, before you do."
            )
            return Banner("caution", _("Outcome unknown: it may have been sent"), f"{said} {warning}".strip())
    if log.reason == "settled_unsent":
        text = _("Somebody settled it by hand: it was not sent. You can send it again.")
        return Banner("bad", _("Not sent"), text)
    if log.outcome == Outcome.REJECTED:
        return Banner("bad", _("Not sent: refused"), said or _("%(app)s refused it.") % {"app": app})
    if log.outcome == Outcome.UNAVAILABLE:
        promise = _("It certainly did not leave; you can send it again.")
        return Banner("bad", _("Not sent"), f"{said} {promise}".strip())
    return Banner("bad", _("Not sent"), said or _("It did not leave."))


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
        shares = [
            (_("Charged"), self.charged),
            (_("Held until its end is known"), self.held),
            (_("Given back"), self.returned),
        ]
        return [(_("Credits it costs"), amount(self.cost)), *((name, amount(each)) for name, each in shares if each)]


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
        paid = _("It costs no credits.")
    elif not spent.held:
        paid = _("Its credits have been given back already, and are not charged any more.")
    elif was_sent:
        paid = _("%(amount)s credits, which are held for it, are charged.") % {"amount": in_figures(spent.held)}
    else:
        paid = _("%(amount)s credits, which are held for it, are given back.") % {"amount": in_figures(spent.held)}
    if was_sent:
        return [paid, _("It is never sent again: a program that repeats its call is told that it was sent.")]
    return [paid, _("It may be sent again: by hand, or by a program that repeats its call.")]


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
                attempt.get_outcome_display() or _("Under way"), _OUTCOME_KINDS.get(attempt.outcome, "pending")
            ),
            "answer": "" if attempt.response is None or hides_answers else pretty(attempt.response),
            "reason": REASONS.get(attempt.reason),
            "words": _words(attempt),
            "took": _seconds(attempt.started_at, attempt.finished_at),
        }
        for position, attempt in enumerate(latest)
    ]
    return {
        "attempts": shown,
        "earlier": total - len(shown),
        "receipt": receipt(log),
        "money": spent.facts() if spent else [],
        "hides_answers": hides_answers,
    }


def _words(attempt: Attempt) -> str:
    """Return what was noted of an attempt; nothing where the explanation of its reason says the same."""
    said, reason = noted(attempt.reason, attempt.message), REASONS.get(attempt.reason)
    return "" if reason and said == reason.meaning else said


def receipt(log: SmsLog | None) -> str:
    """Say what is known of its arrival. Receipts of the providers are not taken in: nothing here may sound like one."""
    if log is not None and (log.is_test or log.provider_slug == SANDBOX):
        return _("No delivery receipt: the simulator delivers nothing.")
    if log is not None and log.status == Status.SENT:
        return _(
            "Accepted by the provider; delivery receipts are not collected yet, so whether it arrived is not known."
        )
    return _("No delivery receipt.")


def _seconds(started: Any, finished: Any) -> str:
    return _("%(seconds)s s") % {"seconds": f"{(finished - started).total_seconds():.1f}"} if finished else ""


class MessageListAdmin(ReadOnlyAdmin, TenantAdmin):
    """A list of messages that is only looked at, with a page of our own for each."""

    story_template = ""
    search_help_text = _lazy("A number, whole or as it begins (0501…, 00966…, +966…), or an id.")
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
        told = self.story_context(request, row)
        context = {
            "title": title_of(row),
            "row": row,
            "original": row,
            "is_wide": reach(request).is_wide,
            "may_send": self.is_allowed(request, Scope.SEND, row),
            "reason": REASONS.get(row.reason),
            "routing": self._routing(row, told),
        }
        return self.page(request, self.story_template, {**context, **told})

    def story_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what `story` does, the `log` among it (None before the first attempt), and what else the page shows.

        `pinned_to`, if it is there, names the app that alone may send it, and is empty when any may.
        """
        raise NotImplementedError

    def _routing(self, row: Any, told: dict[str, Any]) -> list[SafeString]:
        log: SmsLog | None = told["log"]
        if log is not None and log.queued_id is None:
            return chosen.direct(log)
        only_through = told.get("pinned_to")
        tries = [each["row"] for each in reversed(told["attempts"])]
        return chosen.queued(tries, is_test=row.is_test, only_through=only_through, is_whole=not told["earlier"])

    @admin.display(description=_lazy("Time"), ordering="created_at")
    def created(self, row: Any) -> SafeString:
        return moment(row.created_at)

    @admin.display(description=_lazy("To"), ordering="recipient")
    def to(self, row: Any) -> SafeString:
        return ltr(row.recipient) if row.recipient else SafeString("–")

    @admin.display(description=_lazy("App"))
    def through(self, row: Any) -> str:
        return catalogue.app_name(row.provider_slug) if row.provider_slug else "–"

    @admin.display(description=_lazy("Status"))
    def state(self, row: Any) -> SafeString:
        shown = badge(row.get_status_display(), row.status)
        return format_html("{} {}", shown, badge(_("Test"), "test")) if row.is_test else shown

    @admin.display(description=_lazy("Reason"))
    def why(self, row: Any) -> str:
        return brief(row.reason) or "–"

    @admin.display(description=_lazy("Parts"))
    def parts(self, row: Any) -> SafeString:
        return ltr(row.segment_count)
