"""Installed apps, and the log of every SMS with its attempts."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.core.exceptions import ImproperlyConfigured
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _lazy

from billing.models import AmountField
from linkit.encoding import Encoding
from linkit.encryption import EncryptedJSONField
from linkit.models import Organization, TimestampedModel, Token, User, validate_region
from sms_providers.results import Fault, Outcome

SANDBOX = "sandbox-sms"


class Status(models.TextChoices):
    """Where a message is, in the words of the public API."""

    PENDING = "pending", _lazy("Pending")  # waits for its turn
    SENDING = "sending", _lazy("Sending")  # somebody has it in hand
    SENT = "sent", _lazy("Sent")  # a provider accepted it
    FAILED = "failed", _lazy("Failed")  # final; the reason says why
    DISPATCH_TIMEOUT = "dispatch_timeout", _lazy("Outcome unknown")  # may have been sent; never sent again by itself


class OrganizationAppQuerySet(models.QuerySet["OrganizationApp"]):
    def installed(self) -> OrganizationAppQuerySet:
        """Credentials are read when they are asked for: a row that no key decrypts is no fault of the others."""
        return self.filter(uninstalled_at__isnull=True).defer("credentials")

    def usable(self) -> OrganizationAppQuerySet:
        """Installed and enabled, in the order in which they are tried."""
        return self.installed().filter(is_enabled=True).order_by("priority", "installed_at", "pk")


class OrganizationApp(TimestampedModel):
    """A provider app installed by an organization, with its credentials. Uninstalled rows stay for history."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="apps")
    slug = models.CharField(_lazy("app"), max_length=40)
    credentials = EncryptedJSONField(default=dict, blank=True, help_text="By field name; encrypted.")
    default_sender = models.CharField(
        max_length=20,
        blank=True,
        help_text=_lazy("The sender ID of messages that name none. Empty: the credentials' own."),
    )
    is_enabled = models.BooleanField(
        _lazy("enabled"), default=True, help_text=_lazy("Off: nothing is sent through this app.")
    )
    priority = models.PositiveIntegerField(
        default=100,
        validators=[MaxValueValidator(1_000_000)],
        help_text=_lazy("Lower is tried first; equal ones by installation time."),
    )
    max_per_second = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text=_lazy("How many messages a second the provider takes. Empty: no limit."),
    )
    is_metered = models.BooleanField(
        _lazy("metered"),
        default=False,
        help_text=_lazy("The platform's own account: what is sent through it costs the sender credits."),
    )
    installed_at = models.DateTimeField(db_default=Now(), editable=False)
    uninstalled_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_sync_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the provider last answered a question of ours."
    )

    # What was left when the provider last told; and when `balances.refresh` last asked, with an answer or without.
    balance = models.DecimalField(max_digits=26, decimal_places=5, null=True, blank=True, editable=False)
    balance_unit = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
    balance_read_at = models.DateTimeField(null=True, blank=True, editable=False)
    balance_asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    balance_alert = models.DecimalField(
        _lazy("low balance"),
        max_digits=26,
        decimal_places=5,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_lazy("The dashboard says so when less is left at the provider. Empty: only when nothing is."),
    )

    objects = OrganizationAppQuerySet.as_manager()

    class Meta:
        verbose_name = _lazy("installed app")
        ordering = ["priority", "installed_at", "pk"]
        constraints = [models.UniqueConstraint(fields=["organization", "slug"], name="app_once_per_organization")]

    def __str__(self) -> str:
        return f"{self.slug} of {self.organization}"

    @property
    def is_usable(self) -> bool:
        return self.is_enabled and self.uninstalled_at is None

    @property
    def readable_credentials(self) -> dict[str, str] | None:
        """The credentials; None when no key decrypts them. For rows that were loaded without."""
        try:
            credentials: dict[str, str] = self.credentials
        except ImproperlyConfigured:
            return None
        return credentials


class SenderIdStatus(models.TextChoices):
    ACTIVE = "active", _lazy("Active")
    INACTIVE = "inactive", _lazy("Inactive")
    RESERVED = "reserved", _lazy("Reserved")


class SenderIdQuerySet(models.QuerySet["SenderId"]):
    def accessible_to(self, organization: Organization) -> SenderIdQuerySet:
        """Those that are shared, and the organization's own."""
        return self.filter(Q(organization=None) | Q(organization=organization))


class SenderId(TimestampedModel):
    """A name that handsets show, and the installation that sends under it.

    Without an organization it is shared: everybody sends through its installation, the platform's own account.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="sender_ids",
        help_text=_lazy("Whose it is. Empty: shared with everybody."),
    )
    sender_id = models.CharField(
        _lazy("sender ID"), max_length=11, help_text=_lazy("What the handset shows: up to 11 characters.")
    )
    country = models.CharField(max_length=2, validators=[validate_region], help_text=_lazy("Where it is registered."))
    description = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=16, choices=SenderIdStatus, default=SenderIdStatus.ACTIVE)
    app = models.ForeignKey(
        OrganizationApp,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="sender_ids",
        verbose_name=_lazy("gateway"),
        help_text=_lazy("The installed app that sends under it."),
    )

    objects = SenderIdQuerySet.as_manager()

    class Meta:
        verbose_name = _lazy("sender ID")
        ordering = ["sender_id", "id"]

    def __str__(self) -> str:
        return self.sender_id

    @property
    def is_shared(self) -> bool:
        return self.organization_id is None


class Source(models.TextChoices):
    """The door an SMS came through."""

    SEND = "send", _lazy("API: send")
    OUTBOX = "outbox", _lazy("API: outbox")
    BULK = "bulk", _lazy("Bulk file")
    CONTACT = "contact", _lazy("To a contact")
    PROGRAM = "program", _lazy("SMS program")
    CONSOLE = "console", _lazy("Console")
    COMMAND = "command", _lazy("Command line")


class SmsLog(TimestampedModel):
    """One SMS of any door: written before the provider is called, finished after it.

    A direct send carries its own deadline; a queued one is watched over by its outbox row.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Indexes below begin with it, and no app is ever deleted: neither key needs an index of its own.
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="sms_logs", db_index=False)
    is_test = models.BooleanField(_lazy("test"), default=False, help_text="Simulated: sent with a test key.")
    source = models.CharField(max_length=16, choices=Source)
    app = models.ForeignKey(
        OrganizationApp,
        models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        help_text="The app of the latest attempt.",
    )
    provider_slug = models.CharField("app", max_length=40, blank=True)
    recipient = models.CharField(max_length=16, help_text="E.164, such as +966501234567.")
    text = models.TextField()
    sender_id = models.CharField("sender ID", max_length=20, blank=True)
    encoding = models.CharField(max_length=16, choices=[(e.value, e.value) for e in Encoding])
    segment_count = models.PositiveSmallIntegerField("parts")
    scheduled_at = models.DateTimeField(null=True, blank=True, help_text="When the caller wanted it sent.")
    status = models.CharField(max_length=16, choices=Status, default=Status.SENDING)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True, help_text="Of the latest attempt.")
    reason = models.CharField(max_length=64, blank=True, help_text="Stable, for programs.")
    error_message = models.TextField(blank=True)
    provider_message_id = models.CharField(max_length=128, blank=True)
    provider_segment_count = models.PositiveSmallIntegerField(
        "parts by the provider", null=True, blank=True, help_text="As the provider counts, if it says."
    )
    provider_cost = models.DecimalField(max_digits=12, decimal_places=5, null=True, blank=True)
    provider_currency = models.CharField(max_length=8, blank=True)
    credit_cost = AmountField(
        "credits", null=True, blank=True, help_text="What it costs if it is sent. Empty: no credits."
    )
    credit_charged = AmountField("credits charged", default=Decimal(0), db_default=Decimal(0))
    program_id = models.UUIDField(null=True, blank=True, help_text="The SMS program that it belongs to.")
    idempotency_key = models.CharField(max_length=128, null=True, blank=True, editable=False)
    request_digest = models.CharField(max_length=64, blank=True, editable=False)
    queued_id = models.CharField(
        "outbox id",
        max_length=15,
        null=True,
        blank=True,
        unique=True,
        help_text="The outbox message that sends it, if one does.",
    )
    token = models.ForeignKey(Token, models.SET_NULL, null=True, blank=True, help_text="The key or session it came by.")
    user = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, help_text="The person who sent it.")
    deadline_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="A direct send under way: when it counts as unknown."
    )
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    look_up_count = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False, help_text="How often its provider was asked about an unknown outcome."
    )
    looked_up_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _lazy("SMS")
        verbose_name_plural = _lazy("SMS log")
        ordering = ["-created_at", "-pk"]
        constraints = [
            # A client that repeats a direct send gets its first answer. NULL keys never clash.
            models.UniqueConstraint(fields=["organization", "is_test", "idempotency_key"], name="send_idempotent"),
        ]
        indexes = [
            # The log of one organization, newest first.
            models.Index(fields=["organization", "-created_at", "-id"], name="log_by_organization"),
            # The log of all organizations, newest first.
            models.Index(fields=["-created_at", "-id"], name="log_by_time"),
            # What went wrong or waits, of which there is little: filters of the console.
            models.Index(
                fields=["status", "organization", "-created_at", "-id"],
                condition=Q(status__in=["failed", "pending", "dispatch_timeout"]),
                name="log_not_sent",
            ),
            # The log of one number.
            models.Index(fields=["organization", "recipient", "-created_at"], name="log_by_recipient"),
            # reaping.reap_direct_sends: the few that are under way.
            models.Index(fields=["deadline_at"], condition=Q(status="sending"), name="log_under_way"),
            # looking_up.due: the few that nobody knows about.
            models.Index(
                fields=["provider_slug", "updated_at"], condition=Q(status="dispatch_timeout"), name="log_unknown"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.recipient} {self.status}"

    @cached_property
    def is_lent(self) -> bool:
        """Whether another organization's account sent it, which pays the provider: its figures are not for us."""
        return OrganizationApp.objects.filter(pk=self.app_id or 0).exclude(organization=self.organization_id).exists()


class Attempt(models.Model):
    """One provider call for one SMS. Written before the first byte leaves; never more than one open per SMS."""

    log = models.ForeignKey(SmsLog, models.CASCADE, related_name="attempts")
    app = models.ForeignKey(OrganizationApp, models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    provider_slug = models.CharField("app", max_length=40)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True, help_text="Empty while it is under way.")
    fault = models.CharField(max_length=16, choices=[(f.value, f.value) for f in Fault], blank=True)
    reason = models.CharField(max_length=64, blank=True)
    message = models.TextField(blank=True)
    code = models.CharField(max_length=64, blank=True, help_text="The provider's own code.")
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    response = models.JSONField(null=True, blank=True, help_text="The provider's answer, without secrets.")
    provider_message_id = models.CharField(max_length=128, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(
        null=True, blank=True, help_text="After a certain non-send: when this app may be tried again."
    )

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["log"], condition=Q(finished_at__isnull=True), name="one_open_attempt"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_slug}: {self.outcome or 'under way'}"


class Sweep(models.Model):
    """How far a sweep over a growing table has come, so that it never looks twice at what it has done."""

    name = models.CharField(primary_key=True, max_length=40)
    reached_at = models.DateTimeField(help_text="Everything created up to then is done.")

    def __str__(self) -> str:
        return f"{self.name} until {self.reached_at}"


class SandboxDelivery(SmsLog):
    """What the simulator took, as a handset would show it: for the console's sandbox inbox."""

    class Meta:
        proxy = True
        verbose_name = _lazy("sandbox message")
        verbose_name_plural = _lazy("Sandbox inbox")
