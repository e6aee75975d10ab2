"""The ledger: every movement of credits, each in one transaction with its reason.

An amount is held before a provider is called, and then captured or released. A hold is a row, and taking that row away
is what decides: whoever finds it gone, late or twice, moves nothing.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _

from billing import signals
from billing.models import MAX_AMOUNT, PLACES, BalanceAlert, CreditAccount, CreditTransaction, Hold, Kind
from linkit import clock
from linkit.errors import Conflict, InvalidInput, LinkitError
from linkit.models import Organization, User

_BATCH = 500
_LONGEST_DESCRIPTION = 200

logger = logging.getLogger(__name__)
# A charge is one statement: the account's row is locked for as long as it takes, whatever the client does meanwhile.
# The ledger's ids and times are given behind that lock, so they are in the order of the balances.
_CAPTURE = """
WITH wanted AS MATERIALIZED (
    SELECT reference FROM billing_hold WHERE reference = ANY(%(references)s) AND account_id = %(account)s
    ORDER BY reference FOR UPDATE
), gone AS (
    DELETE FROM billing_hold WHERE reference IN (SELECT reference FROM wanted)
    RETURNING reference, amount, program_id, description
), charged AS (
    UPDATE billing_creditaccount
    SET balance = balance - total, held = held - total, updated_at = clock_timestamp()
    FROM (SELECT sum(amount) AS total FROM gone HAVING count(*) > 0) AS due
    WHERE organization_id = %(account)s
    RETURNING balance + total AS before
)
INSERT INTO billing_credittransaction
    (reference, account_id, kind, amount, balance_after, program_id, description, created_at)
SELECT reference, %(account)s, 'sms_charge', -amount, before - sum(amount) OVER (ORDER BY reference), program_id,
    description, clock_timestamp()
FROM gone, charged ORDER BY reference
RETURNING reference
"""


class InsufficientCreditsError(LinkitError):
    """Nothing is available. Nothing was sent or charged."""

    status = 402
    reason = "insufficient_credits"

    def __init__(self) -> None:
        super().__init__("There are no credits left; nothing was sent or charged. Top up, then send again.")


@dataclass(frozen=True)
class Wanted:
    """An amount to hold for one SMS, and what its ledger entry will say."""

    reference: UUID
    amount: Decimal
    program_id: UUID | None = None
    description: str = ""


class Credits(enum.Enum):
    """Whether an organization could be charged for a next message."""

    AVAILABLE = enum.auto()
    HELD = enum.auto()  # there are some, and messages under way hold them all: that may pass
    NONE = enum.auto()


def look(organization_ids: Collection[UUID]) -> dict[UUID, Credits]:
    """Return how these organizations stand at the moment. A hold decides; this only looks."""
    found = dict.fromkeys(organization_ids, Credits.NONE)
    for account in CreditAccount.objects.filter(pk__in=organization_ids, balance__gt=0):
        found[account.pk] = Credits.AVAILABLE if account.available > 0 else Credits.HELD
    return found


def has_credits(organization: Organization) -> bool:
    """Whether anything is available. A hold decides; this only looks."""
    return look([organization.pk])[organization.pk] is Credits.AVAILABLE


def hold(account_id: UUID, wanted: Sequence[Wanted]) -> set[UUID]:
    """Hold these amounts, in this order, as long as anything is available, in the caller's transaction.

    Returns the references that were granted. The last one may take more than there was: an account ends below zero by
    less than one message, however many race.
    """
    account = _locked(account_id)
    if account is None:
        return set()
    held = set(Hold.objects.filter(pk__in=[each.reference for each in wanted]).values_list("pk", flat=True))
    granted = []
    for each in wanted:
        if account.available <= 0:
            break
        if each.reference in held:
            # Nothing of ours leaves one. Should it be there all the same, others must not wait for it.
            logger.error("Credits for %s are held already; it is not sent.", each.reference)
            continue
        granted.append(each)
        account.held += each.amount
    if granted:
        account.save(update_fields=["held", "updated_at"])
        Hold.objects.bulk_create([Hold(account_id=account_id, **vars(each)) for each in granted])
    return {each.reference for each in granted}


def capture(account_id: UUID, references: Collection[UUID]) -> set[UUID]:
    """Charge what is held for these references. Returns those that were: of a hold that is gone nothing is charged.

    Call it late in a transaction: it locks the account to the end of it.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            if len(references) == 1:
                (reference,) = references
                cursor.execute("SELECT billing_capture(%s, %s)", [reference, account_id])  # migration 0003
                return {reference} if cursor.fetchone()[0] else set()
            cursor.execute(_CAPTURE, {"references": list(references), "account": account_id})
            return {reference for (reference,) in cursor.fetchall()}
    # SQLite has one writer at a time, and no statement that deletes, updates and inserts.
    with transaction.atomic():
        holds, account = _take(Hold.objects.filter(pk__in=references), account_id)
        for each in holds:
            assert account is not None
            _enter(
                account,
                reference=each.reference,
                kind=Kind.SMS_CHARGE,
                amount=-each.amount,
                program_id=each.program_id,
                description=each.description,
            )
    return {each.reference for each in holds}


def release(account_id: UUID, references: Collection[UUID]) -> int:
    """Give back what is held for these references, in a transaction. Final. Returns how many there were."""
    with transaction.atomic():
        holds, _ = _take(Hold.objects.filter(pk__in=references), account_id)
    return len(holds)


def _take(wanted: QuerySet[Hold], account_id: UUID) -> tuple[list[Hold], CreditAccount | None]:
    """Remove these holds of an account, in the caller's transaction. Returns them, and the account, locked."""
    holds = list(wanted.select_for_update().filter(account=account_id).order_by("pk"))
    if not holds:
        return [], None
    Hold.objects.filter(pk__in=[each.pk for each in holds]).delete()
    account = _locked(account_id)
    assert account is not None  # the holds refer to it
    account.held -= sum(each.amount for each in holds)
    account.save(update_fields=["held", "updated_at"])
    return holds, account


def _locked(account_id: UUID) -> CreditAccount | None:
    """Return an account, locked in the caller's transaction; on SQLite a transaction has the one lock there is."""
    return CreditAccount.objects.select_for_update(no_key=True).filter(pk=account_id).first()


def release_expired() -> int:
    """Give back what has been held for longer than an outcome stays open. Returns how many. Safe to run twice at once.

    A message that nobody can tell about is not charged then, whatever is found out later.
    """
    released = 0
    while True:
        overdue = Hold.objects.filter(created_at__lt=clock.now() - settings.CREDIT_HOLD_LIFETIME)
        found = list(overdue.order_by("created_at").values_list("account", "reference")[:_BATCH])
        by_account: dict[UUID, list[UUID]] = {}
        for account_id, reference in found:
            by_account.setdefault(account_id, []).append(reference)
        for account_id, references in by_account.items():
            with transaction.atomic():
                # Once more by time: of one reference there may be a younger hold by now.
                holds, _ = _take(overdue.filter(pk__in=references), account_id)
            released += len(holds)
        if len(found) < _BATCH:
            return released


def top_up(
    *,
    organization: Organization,
    amount: Decimal,
    description: str = "",
    created_by: User | None = None,
    reference: UUID | None = None,
) -> CreditTransaction:
    """Add credits. The first entry of an account is its opening balance. A repeat of `reference` adds nothing.

    Raises `InvalidInput` for an amount that is not above zero, too large or finer than four places, and `Conflict`
    for a reference that named something else.
    """
    if amount.is_nan() or amount <= 0:
        raise InvalidInput(_("A top-up is above zero; nothing was added."), fields={"amount": ["Not above zero."]})
    return _move(organization, amount, Kind.CREDIT_ADD, description, created_by, reference)


def adjust(
    *,
    organization: Organization,
    amount: Decimal,
    description: str,
    created_by: User | None = None,
    reference: UUID | None = None,
) -> CreditTransaction:
    """Correct a balance, up or down, for a reason. Raises as `top_up` does, and `InvalidInput` without a reason."""
    if not amount:
        raise InvalidInput(_("An adjustment of nothing; nothing was changed."), fields={"amount": ["Zero."]})
    if not description.strip():
        raise InvalidInput(_("Say why the balance is adjusted."), fields={"description": ["Required."]})
    return _move(organization, amount, Kind.ADJUSTMENT, description, created_by, reference)


def _move(
    organization: Organization,
    amount: Decimal,
    kind: Kind,
    description: str,
    created_by: User | None,
    reference: UUID | None,
) -> CreditTransaction:
    if not amount.is_finite() or abs(amount) > MAX_AMOUNT:
        raise InvalidInput(
            _("At most %(most)s credits at once; nothing was changed.") % {"most": f"{MAX_AMOUNT:,.0f}"},
            fields={"amount": ["Too large."]},
        )
    if len(description) > _LONGEST_DESCRIPTION:
        raise InvalidInput(
            _("A description has at most %(most)s characters; nothing was changed.") % {"most": _LONGEST_DESCRIPTION},
            fields={"description": ["Too long."]},
        )
    if amount != round(amount, PLACES):
        raise InvalidInput(
            _("Credits have at most %(places)s decimal places; nothing was changed.") % {"places": PLACES},
            fields={"amount": ["Too fine."]},
        )
    with transaction.atomic():
        open_account(organization)
        account = _locked(organization.pk)
        assert account is not None
        if reference is not None and (first := CreditTransaction.objects.filter(reference=reference).first()):
            is_top_up = first.kind != Kind.ADJUSTMENT
            if (first.account_id, first.amount, is_top_up) != (account.pk, amount, kind is Kind.CREDIT_ADD):
                raise Conflict(
                    _("This reference named another movement; nothing was changed."), reason="reference_used"
                )
            return first
        if abs(account.balance + amount) > 10 * MAX_AMOUNT:
            raise InvalidInput(_("No account holds as much; nothing was changed."), fields={"amount": ["Too large."]})
        if kind is Kind.CREDIT_ADD and not account.transactions.exists():
            kind = Kind.INITIAL
        entry = _enter(
            account,
            reference=reference or uuid4(),
            kind=kind,
            amount=amount,
            description=description.strip(),
            created_by=created_by,
        )
        # Once above a threshold again, falling below it is news again.
        BalanceAlert.objects.filter(account=account, threshold__lte=entry.balance_after).update(alerted_at=None)
        if amount > 0:
            signals.credits_added.send(CreditAccount, organization=organization)
    return entry


def _enter(account: CreditAccount, *, amount: Decimal, **fields: Any) -> CreditTransaction:
    """Move the balance of a locked account and write the ledger, in the caller's transaction."""
    account.balance += amount
    account.save(update_fields=["balance", "updated_at"])
    return CreditTransaction.objects.create(
        account=account, amount=amount, balance_after=account.balance, created_at=clock.now(), **fields
    )


def open_account(organization: Organization) -> CreditAccount:
    """Return the organization's account, made on the first call with the thresholds of the settings."""
    account, is_new = CreditAccount.objects.get_or_create(organization=organization)
    if is_new:
        alerts = [BalanceAlert(account=account, threshold=threshold) for threshold in settings.CREDIT_ALERTS]
        BalanceAlert.objects.bulk_create(alerts, ignore_conflicts=True)
    return account


def balance_of(organization: Organization) -> CreditAccount:
    """Return the organization's account as it is, an empty unsaved one when it has none."""
    account = CreditAccount.objects.filter(organization=organization).first()
    return account or CreditAccount(organization=organization)


@dataclass(frozen=True)
class Fault:
    """Two figures of one account that should be the same."""

    what: str
    expected: Decimal
    found: Decimal


def faults(account: CreditAccount) -> list[Fault]:
    """Prove an account as its transaction sees it: the balance is the sum of the ledger, what is held of the holds."""
    total = account.transactions.aggregate(total=Sum("amount"))["total"] or Decimal(0)
    held = account.holds.aggregate(total=Sum("amount"))["total"] or Decimal(0)
    last = account.transactions.order_by("-pk").values_list("balance_after", flat=True).first() or Decimal(0)
    return [
        Fault(what, expected, found)
        for what, expected, found in (
            ("the balance is not the sum of the ledger", total, account.balance),
            ("the last balance in the ledger is not the sum of it", total, last),
            ("what is held is not the sum of the holds", held, account.held),
        )
        if expected != found
    ]
