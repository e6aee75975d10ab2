"""The proof that credits add up: the ledger with itself, with the SMS log, and with what is under way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Sum

from billing import ledger
from billing.ledger import Fault
from billing.models import CreditAccount, Kind
from sms_providers.models import SmsLog, Status

_IN_A_QUERY = 1000


@dataclass(frozen=True)
class Finding:
    """What an audit found of one account. `stray_holds` are SMS that are not under way any more."""

    organization: str
    balance: Decimal
    held: Decimal
    faults: list[Fault]
    stray_holds: list[UUID]

    @property
    def is_sound(self) -> bool:
        return not self.faults and not self.stray_holds


def audit() -> Iterator[Finding]:
    """Look at every account, each in one transaction that sees a single moment, so that sends go on meanwhile."""
    for account_id in CreditAccount.objects.order_by("pk").values_list("pk", flat=True):
        with _one_moment():
            account = CreditAccount.objects.select_related("organization").get(pk=account_id)
            faults = ledger.faults(account)
            charges = account.transactions.filter(kind=Kind.SMS_CHARGE).aggregate(total=Sum("amount"))["total"]
            logged = SmsLog.objects.filter(organization=account_id).aggregate(total=Sum("credit_charged"))["total"]
            charged, of_logs = -(charges or Decimal(0)), logged or Decimal(0)
            if charged != of_logs:
                faults.append(Fault("what the ledger charged is not what the SMS log says", charged, of_logs))
            if odd := _charges_without_their_sms(account):
                faults.append(Fault("charges that the SMS log does not have like that", Decimal(0), Decimal(odd)))
            stray = _stray_holds(account)
        yield Finding(str(account.organization), account.balance, account.held, faults, stray)


def _charges_without_their_sms(account: CreditAccount) -> int:
    """Return how many charges have no SMS of that id in the log that was charged as much."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM billing_credittransaction AS entry
            LEFT JOIN sms_providers_smslog AS log ON log.id = entry.reference AND log.credit_charged = -entry.amount
            WHERE entry.account_id = %s AND entry.kind = 'sms_charge' AND log.id IS NULL
            """,
            [account.pk if connection.features.has_native_uuid_field else account.pk.hex],
        )
        (count,) = cursor.fetchone()
    return int(count)


def _stray_holds(account: CreditAccount) -> list[UUID]:
    held = list(account.holds.order_by("pk").values_list("pk", flat=True))
    live: set[UUID] = set()
    for start in range(0, len(held), _IN_A_QUERY):
        logs = SmsLog.objects.filter(
            pk__in=held[start : start + _IN_A_QUERY], status__in=[Status.SENDING, Status.DISPATCH_TIMEOUT]
        )
        live.update(logs.values_list("pk", flat=True))
    return [reference for reference in held if reference not in live]


@contextlib.contextmanager
def _one_moment() -> Iterator[None]:
    """A transaction whose queries see the same moment. SQLite has one writer, which waits for us."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        if is_outermost and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
