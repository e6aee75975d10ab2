"""The banner about low balances, on every page of the console."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing import alerts
from billing.models import BalanceAlert
from linkit.markup import amount
from linkit.notices import Notice
from linkit.tenancy import reach

_NAMES = 3  # of organizations in one sentence


def low_balances(request: HttpRequest) -> Iterable[Notice]:
    """Say who in reach is below a threshold: one in full, several by name."""
    who = reach(request)
    if not (who.is_superuser or who.scopes):
        return []
    found = alerts.low(None if who.is_superuser else who.scopes.keys(), most=_NAMES + 1)
    if not found:
        return []
    if len(found) == 1:
        return [_one(found[0], is_wide=who.is_wide)]
    names = format_html_join(_(", "), "<bdi>{}</bdi>", ((alert.account.organization,) for alert in found[:_NAMES]))
    sentence = _("Low on credits: {} and others.") if len(found) > _NAMES else _("Low on credits: {}.")
    text = format_html(sentence, names)
    url = f"{reverse('admin:billing_creditaccount_changelist')}?state=low"
    return [Notice("caution", text, url, _("Look at the accounts"))]


def _one(alert: BalanceAlert, *, is_wide: bool) -> Notice:
    account = alert.account
    whose = format_html("<bdi>{}</bdi>: ", account.organization) if is_wide else SafeString()
    url = reverse("admin:billing_creditaccount_change", args=[account.pk])
    if account.available <= 0:
        words = _("No credits are left. What costs credits is refused, or waits, until there is a top-up.")
        return Notice("bad", format_html("{}{}", whose, words), url, _("Look at the account"))
    words = format_html(_("{} credits left, below {}."), amount(account.available), amount(alert.threshold))
    return Notice("caution", format_html("{}{}", whose, words), url, _("Look at the account"))
