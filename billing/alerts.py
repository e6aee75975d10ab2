"""People are told, once, when a balance falls below a threshold: by e-mail, and by a banner in the console."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from decimal import Decimal
from smtplib import SMTPException
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F

from billing.models import BalanceAlert, CreditAccount
from linkit import clock
from linkit.models import Membership, Organization, Role

logger = logging.getLogger(__name__)


def send_due() -> int:
    """Write to the administrators of each organization that has newly fallen below a threshold. Returns how many mails.

    The alert is marked before the mail goes, so that two processes do not both write; one that could not be mailed is
    unmarked and tried again.
    """
    crossed: dict[UUID, list[BalanceAlert]] = defaultdict(list)
    due = BalanceAlert.objects.filter(alerted_at=None, account__balance__lt=F("threshold"))
    for alert in due.order_by("threshold"):
        if BalanceAlert.objects.filter(pk=alert.pk, alerted_at=None).update(alerted_at=clock.now()):
            crossed[alert.account_id].append(alert)
    sent = 0
    for account_id, alerts in crossed.items():
        account = CreditAccount.objects.select_related("organization").get(pk=account_id)
        try:
            sent += _write(account, alerts[0].threshold)
        except (OSError, SMTPException) as error:
            logger.error("No mail about the balance of %s could be sent: %s", account_id, type(error).__name__)
            BalanceAlert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(alerted_at=None)
    return sent


def _write(account: CreditAccount, threshold: Decimal) -> int:
    to = administrators(account.organization)
    if not to:
        logger.warning("Organization %s has no administrator to tell about its balance.", account.pk)
        return 0
    return send_mail(
        f"{account.organization}: {account.balance.normalize():f} SMS credits left",
        f"The SMS credits of {account.organization} have fallen below {threshold.normalize():f}:"
        f" {account.balance.normalize():f} are left.\n\nWhen none are left, messages to contacts are refused and"
        f" programs pause. Ask whoever runs this platform for a top-up.\n\n{settings.PUBLIC_URL}\n",
        None,
        to,
    )


def administrators(organization: Organization) -> list[str]:
    """Return the addresses of those who may see to an organization's credits."""
    members = Membership.objects.filter(organization=organization, role=Role.ADMIN, user__is_active=True)
    return list(members.order_by("pk").values_list("user__email", flat=True))


def low(organization_ids: Collection[UUID]) -> list[BalanceAlert]:
    """Return for each of these organizations the lowest threshold that its balance is below."""
    below = BalanceAlert.objects.filter(account__in=organization_ids, account__balance__lt=F("threshold"))
    lowest: dict[UUID, BalanceAlert] = {}
    for alert in below.select_related("account__organization").order_by("account__organization__name", "threshold"):
        lowest.setdefault(alert.account_id, alert)
    return list(lowest.values())
