"""Credit accounts, the append-only ledger, holds and rates. Amounts are credits, exact to four places."""

from __future__ import annotations

import uuid
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from linkit.models import Organization, TimestampedModel, User

DIGITS, PLACES = 14, 4
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation])  # what is finer than a column is an error, not rounded
MAX_AMOUNT = Decimal(10) ** 8  # of one top-up or adjustment: a typing error is larger


class AmountField(models.DecimalField):
    """Credits: a `Decimal` of at most four places, in the database a whole number of ten-thousandths.

    SQLite would add decimals as floats; whole numbers add up on every database. Fourteen digits, so that a JSON number
    says every amount exactly. Arithmetic is done here, on rows that are locked, and not by F expressions, whose other
    operand would not be scaled.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "max_digits": DIGITS, "decimal_places": PLACES})

    def get_internal_type(self) -> str:
        return "BigIntegerField"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-PLACES)

    def get_prep_value(self, value: Any) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        return int(self.to_python(value).scaleb(PLACES).to_integral_exact(context=_EXACT))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value if prepared else self.get_prep_value(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return value if hasattr(value, "as_sql") else self.get_prep_value(value)


class CreditAccount(TimestampedModel):
    """What an organization has. `balance` is the sum of its ledger, `held` that of its holds.

    Both move in the statements of `billing.ledger` and nowhere else; `manage.py audit_credits` proves the sums.
    """

    organization = models.OneToOneField(
        Organization, models.PROTECT, primary_key=True, related_name="credit_account", editable=False
    )
    balance = AmountField(default=Decimal(0), editable=False)
    held = AmountField(default=Decimal(0), editable=False, help_text=_lazy("Kept back for messages under way."))

    class Meta:
        verbose_name = _lazy("credit account")
        ordering = ["organization__name"]
        constraints = [models.CheckConstraint(condition=Q(held__gte=0), name="credit_held_not_negative")]

    def __str__(self) -> str:
        return _("Credits of %(organization)s") % {"organization": self.organization}

    @property
    def available(self) -> Decimal:
        """What a next message may be charged to."""
        return self.balance - self.held


class Kind(models.TextChoices):
    """Why a balance moved, in the words of the public API."""

    INITIAL = "initial", _lazy("Opening balance")
    CREDIT_ADD = "credit_add", _lazy("Top-up")
    SMS_CHARGE = "sms_charge", _lazy("SMS")
    ADJUSTMENT = "adjustment", _lazy("Adjustment")


class CreditTransaction(models.Model):
    """One line of the ledger: written once. PostgreSQL itself refuses to change or delete one (migration 0002)."""

    # Of an SMS its id in the SMS log, so that nothing can charge it twice.
    reference = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(CreditAccount, models.PROTECT, related_name="transactions", db_index=False)
    kind = models.CharField(_lazy("type"), max_length=16, choices=Kind)
    amount = AmountField(help_text=_lazy("Negative for a charge."))
    balance_after = AmountField()
    program_id = models.UUIDField(null=True, blank=True, help_text=_lazy("The SMS program that it was charged for."))
    description = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = _lazy("ledger entry")
        verbose_name_plural = _lazy("ledger")
        ordering = ["-pk"]
        indexes = [
            # The ledger of one account, newest first; ids are given while the account is locked, so in its order.
            models.Index(fields=["account", "-id"], name="ledger_by_account"),
            # The same between two dates.
            models.Index(fields=["account", "created_at"], name="ledger_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount}"


class Hold(models.Model):
    """Credits kept back for one SMS under way. It is gone once captured or released, and either is final."""

    reference = models.UUIDField(primary_key=True, editable=False, help_text=_lazy("The SMS in the SMS log."))
    account = models.ForeignKey(CreditAccount, models.PROTECT, related_name="holds", db_index=False)
    amount = AmountField()
    program_id = models.UUIDField(null=True, blank=True)
    description = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            # ledger.release_expired, and the audit's sum by account.
            models.Index(fields=["created_at"], name="hold_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} for {self.reference}"


class Rate(TimestampedModel):
    """What one part to a country or network costs, from a day on. What was charged before never changes."""

    organization = models.ForeignKey(
        Organization,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="rates",
        help_text=_lazy("Empty: everybody who has no rate of their own that fits."),
    )
    prefix = models.CharField(
        max_length=8,
        blank=True,
        validators=[
            RegexValidator(r"\A[1-9][0-9]{0,7}\Z", _lazy("Digits of a country code on, such as 966 or 96650."))
        ],
        help_text=_lazy(
            "How numbers begin, without +, such as 966. Empty: every number. The longest that fits counts."
        ),
    )
    price = AmountField(validators=[MinValueValidator(Decimal(0))], help_text=_lazy("Credits for one part."))
    valid_from = models.DateField(help_text=_lazy("The first day, in UTC."))
    valid_until = models.DateField(null=True, blank=True, help_text=_lazy("The last day. Empty: until further notice."))
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["organization", "prefix", "-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "prefix", "valid_from"],
                condition=Q(organization__isnull=False),
                name="rate_once_a_day",
            ),
            models.UniqueConstraint(
                fields=["prefix", "valid_from"], condition=Q(organization__isnull=True), name="general_rate_once_a_day"
            ),
            models.CheckConstraint(condition=Q(price__gte=0), name="rate_not_negative"),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=models.F("valid_from")),
                name="rate_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix or _('every number')}: {self.price}"


class BalanceAlert(models.Model):
    """A balance below which people are told, once until it has been above it again."""

    account = models.ForeignKey(CreditAccount, models.CASCADE, related_name="alerts")
    threshold = AmountField(help_text=_lazy("Credits."))
    alerted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-threshold"]
        constraints = [models.UniqueConstraint(fields=["account", "threshold"], name="alert_once_per_threshold")]

    def __str__(self) -> str:
        return f"below {self.threshold}"
