"""What an SMS costs in credits: priced and held with its start mark, charged or given back with its result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from billing import ledger, rates
from billing.ledger import Wanted
from sms_providers.models import OrganizationApp, SmsLog, Source

if TYPE_CHECKING:
    from sms_providers.sending import Route

# Their senders have no provider account of their own to pay from.
_ALWAYS = (Source.CONTACT, Source.PROGRAM)


def is_charged(*, is_test: bool, source: str, app: OrganizationApp | None) -> bool:
    """Whether an SMS through this app costs credits: what comes from the contact API, and what a metered app sends."""
    return not is_test and (source in _ALWAYS or (app is not None and app.is_metered))


def price(sends: Sequence[tuple[SmsLog, Route]], *, now: datetime) -> None:
    """Note on each log what it costs if it is sent this way, unsaved."""
    charged = []
    for log, route in sends:
        log.credit_cost = None  # it may have been tried through an app that costs
        if is_charged(is_test=log.is_test, source=log.source, app=route.app):
            charged.append(log)
    if charged:
        tariffs = rates.tariffs({log.organization_id for log in charged}, today=now.date())
        for log in charged:
            log.credit_cost = tariffs[log.organization_id].price(log.recipient) * log.segment_count


def hold(logs: Sequence[SmsLog]) -> set[UUID]:
    """Hold what these priced logs cost, in the caller's transaction.

    Returns the ids of those for which nothing was available: they must not be sent.
    """
    refused: set[UUID] = set()
    for account_id, charged in sorted(_by_account(logs).items()):  # in one order, so that no two wait for each other
        granted = ledger.hold(account_id, [_wanted(log) for log in charged])
        refused.update(log.pk for log in charged if log.pk not in granted)
    return refused


def _wanted(log: SmsLog) -> Wanted:
    assert log.credit_cost is not None
    parts = "1 part" if log.segment_count == 1 else f"{log.segment_count} parts"
    return Wanted(log.pk, log.credit_cost, log.program_id, f"SMS, {parts}")


def settle(*, accepted: Iterable[SmsLog] = (), unsent: Iterable[SmsLog] = ()) -> None:
    """Charge what was accepted and give back what was not, late in the caller's transaction.

    What is unknown is in neither and keeps its hold. What was given back before an answer came is not charged any
    more: `credit_charged`, which the caller has set to the cost and saved, is corrected to zero.
    """
    charges, returns = _by_account(accepted), _by_account(unsent)
    for account_id in sorted({*charges, *returns}):
        if logs := returns.get(account_id):
            ledger.release(account_id, [log.pk for log in logs])
        if logs := charges.get(account_id):
            captured = ledger.capture(account_id, [log.pk for log in logs])
            if free := [log for log in logs if log.pk not in captured]:
                for log in free:
                    log.credit_charged = Decimal(0)
                SmsLog.objects.filter(pk__in=[log.pk for log in free]).update(credit_charged=Decimal(0))


def _by_account(logs: Iterable[SmsLog]) -> dict[UUID, list[SmsLog]]:
    found: dict[UUID, list[SmsLog]] = {}
    for log in logs:
        if log.credit_cost is not None:
            found.setdefault(log.organization_id, []).append(log)
    return found
