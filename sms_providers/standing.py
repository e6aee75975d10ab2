"""How an installed app stands, in words for the console: its circuit, and what became of the latest messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from linkit.markup import amount, badge, ltr, moment
from sms_providers.models import OrganizationApp, SmsLog, Status

_LOOKED_AT = 500  # of an organization's messages: their index gives them without a look at the rest


@dataclass(frozen=True)
class Circuit:
    """Whether an app is left alone after failures; `words` may be shown as they are."""

    badge: SafeString
    words: SafeString


def circuit(tried_again_at: datetime | None, *, now: datetime) -> Circuit:
    """Say how a circuit stands that `circuits.not_closed` has open until then, or not at all."""
    if tried_again_at is None:
        words = _("Closed: messages go through it.")
        return Circuit(badge(_("Circuit closed"), "good"), format_html("{}", words))
    if tried_again_at <= now:
        words = _("Half open: the next message tries it, and the others wait for how that ends.")
        return Circuit(badge(_("Circuit half open"), "unsure"), format_html("{}", words))
    words = format_html(
        _("Open: it failed again and again, and is left alone. It is tried again at {}."), moment(tried_again_at)
    )
    return Circuit(badge(_("Circuit open"), "bad"), words)


@dataclass
class Lately:
    """What became of the latest messages through one app."""

    sent: int = 0
    failed: int = 0
    unknown: int = 0
    last_sent_at: datetime | None = None

    def note(self, status: str, sent_at: datetime | None) -> None:
        self.sent += status == Status.SENT
        self.failed += status == Status.FAILED
        self.unknown += status == Status.DISPATCH_TIMEOUT
        if sent_at is not None and (self.last_sent_at is None or sent_at > self.last_sent_at):
            self.last_sent_at = sent_at

    @property
    def words(self) -> SafeString:
        """Whether it has worked lately."""
        counts = format_html(
            _("Of the latest messages it sent {}, {} failed, and of {} nobody knows."),
            ltr(f"{self.sent:,}"),
            ltr(f"{self.failed:,}"),
            ltr(f"{self.unknown:,}"),
        )
        if self.last_sent_at is None:
            return counts
        return format_html("{} {}", counts, format_html(_("The last one went out at {}."), moment(self.last_sent_at)))


def lately(organization_id: UUID) -> dict[int, Lately]:
    """Return what became of an organization's latest messages, by the id of the installation that had them."""
    latest = SmsLog.objects.filter(organization=organization_id).order_by("-created_at", "-pk")
    found: dict[int, Lately] = {}
    for app_id, status, sent_at in latest.values_list("app_id", "status", "sent_at")[:_LOOKED_AT]:
        if app_id is not None and status in (Status.SENT, Status.FAILED, Status.DISPATCH_TIMEOUT):
            found.setdefault(app_id, Lately()).note(status, sent_at)
    return found


def lately_in_words(found: Lately | None) -> SafeString:
    """Return it as a sentence, also when there was none."""
    return found.words if found else format_html("{}", _("It had none of the latest messages."))


def balance(app: OrganizationApp) -> SafeString:
    """Say what was left at the provider when it last told."""
    if app.balance is None:
        return SafeString("–")
    left = format_html("{} {}", amount(app.balance), _(app.balance_unit))
    return format_html(_("{}, as it said at {}"), left, moment(app.balance_read_at)) if app.balance_read_at else left
