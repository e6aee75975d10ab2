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
from django.db import transaction
from django.db.models import Exists, F, OuterRef

from billing.models import BalanceAlert, CreditAccount
from linkit import clock
from linkit.models import Membership, Organization, Role
from linkit.spreadsheet import exact

logger = logging.getLogger(__name__)


def send_due() -> int:
    """Write to the administrators of each organization that has newly fallen below a threshold. Returns how many mails.

    The alert is marked before the mail goes, so that two processes do not both write; one that could not be mailed is
    unmarked and tried again. A process that dies in between has told nobody, and the banner is all there is.
    """
    crossed: dict[UUID, list[BalanceAlert]] = defaultdict(list)
    due = BalanceAlert.objects.filter(
        alerted_at=None, account__balance__lt=F("threshold"), account__organization__is_active=True
    )
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
        f"{account.organization}: {exact(account.balance)} SMS credits left",
        f"The SMS credits of {account.organization} have fallen below {exact(threshold)}:"
        f" {exact(account.balance)} are left.\n\nWhen none are left, messages to contacts are refused and"
        f" programs pause. Ask whoever runs this platform for a top-up.\n\n{settings.PUBLIC_URL}\n",
        None,
        to,
    )


def administrators(organization: Organization) -> list[str]:
    """Return the addresses of those who may see to an organization's credits."""
    members = Membership.objects.filter(organization=organization, role=Role.ADMIN, user__is_active=True)
    return list(members.order_by("pk").values_list("user__email", flat=True))


def low(organization_ids: Collection[UUID] | None = None, *, most: int | None = None) -> list[BalanceAlert]:
    """Return for each of these organizations, or of all, the lowest threshold that its balance is below.

    By name of the organization, no more than `most` of them.
    """
    below = BalanceAlert.objects.filter(account__organization__is_active=True, account__balance__lt=F("threshold"))
    if organization_ids is not None:
        below = below.filter(account__in=organization_ids)
    lower = BalanceAlert.objects.filter(
        account=OuterRef("account"), threshold__lt=OuterRef("threshold"), threshold__gt=OuterRef("account__balance")
    )
    lowest = below.filter(~Exists(lower)).select_related("account__organization")
    return list(lowest.order_by("account__organization__name")[:most])


def set_thresholds(account: CreditAccount, wanted: Collection[Decimal]) -> tuple[list[Decimal], list[Decimal]]:
    """Make these the account's thresholds. Returns those that are new and those that are gone, highest first.

    One that stays remembers whether it has been told.
    """
    with transaction.atomic():
        CreditAccount.objects.select_for_update(no_key=True).get(pk=account.pk)  # two people may save at once
        known = set(account.alerts.values_list("threshold", flat=True))
        added, removed = sorted(set(wanted) - known, reverse=True), sorted(known - set(wanted), reverse=True)
        account.alerts.filter(threshold__in=removed).delete()
        BalanceAlert.objects.bulk_create([BalanceAlert(account=account, threshold=threshold) for threshold in added])
    return added, removed
