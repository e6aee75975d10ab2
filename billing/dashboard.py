"""Credits on the first page of the console: what there is, and for how many days that lasts at the present pace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any
from uuid import UUID

from django.db.models import Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing import alerts
from billing.models import BalanceAlert, CreditAccount, CreditTransaction, Kind
from linkit import clock
from linkit.dashboard import MOST, Context, Need, kept
from linkit.markup import amount, in_figures, ltr
from linkit.permissions import Scope
from linkit.tenancy import reach

_PACE_DAYS = 7
_PACE_KEPT = 3600  # seconds: adding up a busy week takes a while, and its average hardly moves in an hour
_MOST_DAYS = 365
_ACCOUNTS_SHOWN = 8


def accounts(request: HttpRequest) -> Context | None:
    """Return the accounts in reach, those that run out first at the top."""
    who = reach(request)
    active = CreditAccount.objects.filter(organization__is_active=True).select_related("organization")
    found = list(who.narrow(active, "organization", Scope.READ))
    if not found:
        return None
    now = clock.now()
    spent = _spent([account.pk for account in found], now)
    paces = {account.pk: _pace(account, spent, now) for account in found}
    left = {account.pk: days_left(account.available, paces[account.pk]) for account in found}
    low = {alert.account_id for alert in alerts.low(None if who.is_superuser else who.scopes.keys())}
    found.sort(key=lambda account: (left[account.pk] is None, left[account.pk] or 0, account.available))
    return {
        "rows": [
            {
                "whose": account.organization.name,
                "url": reverse("admin:billing_creditaccount_change", args=[account.pk]),
                "available": amount(account.available),
                "pace": amount(paces[account.pk].quantize(Decimal("0.01"))) if paces[account.pk] else amount(None),
                "left": _in_words(left[account.pk]),
                "is_low": account.pk in low or account.available <= 0,
            }
            for account in found[:_ACCOUNTS_SHOWN]
        ],
        "more_url": reverse("admin:billing_creditaccount_changelist") if len(found) > _ACCOUNTS_SHOWN else "",
        "is_wide": who.is_wide,
    }


def days_left(available: Decimal, pace: Decimal) -> int | None:
    """Return for how many whole days the credits last at so many a day; None when nothing is spent."""
    if available <= 0:
        return 0
    return int((available / pace).to_integral_value(rounding=ROUND_FLOOR)) if pace > 0 else None


def _spent(account_ids: Sequence[UUID], now: datetime) -> Mapping[str, str]:
    """Return what each account was charged for messages in the last seven days."""
    ids = sorted(account_ids)
    digest = hashlib.sha256(b"".join(each.bytes for each in ids)).hexdigest()[:32]

    def add_up() -> dict[str, str]:
        charges = CreditTransaction.objects.filter(
            account__in=ids, kind=Kind.SMS_CHARGE, created_at__gt=now - timedelta(days=_PACE_DAYS)
        )
        sums = charges.order_by().values("account").annotate(total=Sum("amount")).values_list("account", "total")
        return {str(account_id): str(-total) for account_id, total in sums}

    found: dict[str, str] = kept(f"spent:{digest}", add_up, seconds=_PACE_KEPT)
    return found


def _pace(account: CreditAccount, spent: Mapping[str, str], now: datetime) -> Decimal:
    """Return what is spent in a day, on average of the last seven, or of those since there is the account."""
    age = Decimal((now - account.created_at) / timedelta(days=1))
    return Decimal(spent.get(str(account.pk), "0")) / min(max(age, Decimal(1)), Decimal(_PACE_DAYS))


def _in_words(left: int | None) -> str:
    if left is None:
        return "–"
    if left > _MOST_DAYS:
        return _("more than a year")
    return ngettext("%(count)s day", "%(count)s days", left) % {"count": left}


# --- what needs a person --------------------------------------------------------------------------------------


def needs(request: HttpRequest) -> Iterable[Need]:
    """Name the accounts that are below a threshold."""
    who = reach(request)
    if not (who.is_superuser or who.scopes):
        return
    low = alerts.low(None if who.is_superuser else who.scopes.keys(), most=MOST + 1)
    for alert in low[:MOST]:
        url = reverse("admin:billing_creditaccount_change", args=[alert.account_id])
        kind = "bad" if alert.account.available <= 0 else "unsure"
        yield Need(kind, _("Low on credits"), _low(alert, is_wide=who.is_wide), url, _("Look at the account"))
    if len(low) > MOST:
        url = f"{reverse('admin:billing_creditaccount_changelist')}?state=low"
        yield Need("unsure", _("Low on credits"), _("More organizations are low."), url, _("Look at the accounts"))


def _low(alert: BalanceAlert, *, is_wide: bool) -> SafeString:
    account: Any = alert.account
    left, threshold = in_figures(account.available), in_figures(alert.threshold)
    if is_wide:
        return format_html(
            _("<bdi>{}</bdi> has {} credits left, below {}."), account.organization, ltr(left), ltr(threshold)
        )
    return format_html(_("{} credits are left, below {}."), ltr(left), ltr(threshold))
