"""Contacts with typed attributes of an organization's own, static lists of them, and programs that text them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _lazy

from contacts import folding
from linkit.models import Organization, TimestampedModel, Token, User
from outbox.bulk.models import BulkJob, JobStatus
from sms_providers.models import SenderId


class AttributeType(models.TextChoices):
    """What the values of an attribute are."""

    TEXT = "text", _lazy("Text")
    NUMBER = "number", _lazy("Number")
    BOOLEAN = "boolean", _lazy("Yes or no")
    DATE = "date", _lazy("Date")
    PHONE_NUMBER = "phone_number", _lazy("Phone number")
    EMAIL = "email", _lazy("E-mail")
    URL = "url", _lazy("URL")


class CustomAttribute(TimestampedModel):
    """A field that an organization adds to its contacts. A deleted one hides its values, also from one named anew."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="custom_attributes")
    name = models.CharField(max_length=64, help_text="The slug of the display name: what templates and the API say.")
    display_name = models.CharField(max_length=64)
    description = models.CharField(max_length=500, blank=True)
    type = models.CharField(max_length=16, choices=AttributeType)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"], condition=Q(deleted_at__isnull=True), name="attribute_name_once"
            ),
        ]

    def __str__(self) -> str:
        return self.display_name


class ContactQuerySet(models.QuerySet["Contact"]):
    def live(self) -> ContactQuerySet:
        """Those that are not deleted."""
        return self.filter(deleted_at__isnull=True)


class Gender(models.TextChoices):
    MALE = "male", _lazy("Male")
    FEMALE = "female", _lazy("Female")


class Contact(TimestampedModel):
    """A person whom an organization texts. Deleting one hides it; its number is free again."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="contacts", db_index=False)
    primary_phone = models.CharField(_lazy("phone"), max_length=16, help_text="E.164, such as +966501234567.")
    first_name = models.CharField(max_length=100, blank=True)
    last_name = models.CharField(max_length=100, blank=True)
    full_name = models.CharField(max_length=200, blank=True, help_text="Empty: first and last name.")
    primary_email = models.EmailField(_lazy("e-mail"), max_length=254, blank=True)
    address = models.CharField(max_length=300, blank=True)
    city = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=100, blank=True)
    zip = models.CharField(_lazy("ZIP code"), max_length=20, blank=True)
    occupation = models.CharField(max_length=100, blank=True)
    gender = models.CharField(max_length=8, choices=Gender, blank=True)
    preferred_channel = models.CharField(max_length=32, blank=True)
    channels = models.JSONField(default=list, blank=True, help_text="Names of channels, such as sms.")
    attribute_values = models.JSONField(
        default=dict, blank=True, help_text="Values by the id of their attribute, so that a deleted one stays hidden."
    )
    search_text = models.TextField(editable=False, help_text="What a search looks through; see contacts.folding.")
    search_pieces = models.TextField(editable=False, help_text="What finds one or two characters in it.")
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ContactQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "primary_phone"],
                condition=Q(deleted_at__isnull=True),
                name="contact_phone_once",
            ),
        ]
        # On PostgreSQL these hold `search_text` too, and there is another, `contact_search`: see migration 0002.
        indexes = [
            # The list of one organization, newest first, by a walk backwards: new contacts come at the end, where they
            # fill pages.
            models.Index(
                fields=["organization", "created_at", "id"],
                condition=Q(deleted_at__isnull=True),
                name="contact_by_organization",
            ),
            # The same list in the other orders that the API offers.
            models.Index(
                fields=["organization", "updated_at", "id"],
                condition=Q(deleted_at__isnull=True),
                name="contact_by_update",
            ),
            models.Index(
                fields=["organization", "first_name", "id"],
                condition=Q(deleted_at__isnull=True),
                name="contact_by_first_name",
            ),
            models.Index(
                fields=["organization", "last_name", "id"],
                condition=Q(deleted_at__isnull=True),
                name="contact_by_last_name",
            ),
        ]

    def __str__(self) -> str:
        return self.shown_name or self.primary_phone

    def save(self, *, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        self.fill_search()
        if update_fields is not None:
            update_fields = {*update_fields, "search_text", "search_pieces"}
        super().save(update_fields=update_fields, **options)

    @property
    def shown_name(self) -> str:
        """The full name, else what first and last name make."""
        return self.full_name or f"{self.first_name} {self.last_name}".strip()

    def fill_search(self) -> None:
        """Set what a search looks through. `save` does; what writes many rows at once does it for each."""
        names = (self.first_name, self.last_name, self.full_name, self.primary_email)
        self.search_text = folding.text_of(names, self.primary_phone)
        self.search_pieces = " ".join(["", *folding.pieces(self.search_text)])


class Audience(TimestampedModel):
    """A static list of contacts."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="audiences", db_index=False)
    name = models.CharField(max_length=120)
    description = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    contacts = models.ManyToManyField(Contact, through="AudienceMember", related_name="audiences")

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="audience_name_once")]

    def __str__(self) -> str:
        return self.name


class AudienceMember(models.Model):
    """A contact in a list."""

    audience = models.ForeignKey(Audience, models.CASCADE, db_index=False)
    contact = models.ForeignKey(Contact, models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["audience", "contact"], name="audience_member_once")]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.audience_id}"


class ProgramStatus(models.TextChoices):
    """Where a program is, in the words of the public API."""

    DRAFT = "draft", _lazy("Draft")
    PENDING = "pending", _lazy("Being queued")
    SENDING = "sending", _lazy("Sending")
    COMPLETED = "completed", _lazy("Completed")
    CANCELLED = "cancelled", _lazy("Cancelled")
    FAILED = "failed", _lazy("Failed")


_STATUS_OF_JOB: dict[str, ProgramStatus] = {
    JobStatus.CHECKING: ProgramStatus.PENDING,
    JobStatus.RUNNING: ProgramStatus.SENDING,
    JobStatus.PAUSED: ProgramStatus.SENDING,
    JobStatus.STOPPING: ProgramStatus.SENDING,
    JobStatus.RETRYING: ProgramStatus.SENDING,
    JobStatus.COMPLETED: ProgramStatus.COMPLETED,
    JobStatus.PARTLY_FAILED: ProgramStatus.COMPLETED,
    JobStatus.FAILED: ProgramStatus.FAILED,
    JobStatus.STOPPED: ProgramStatus.CANCELLED,
}


class SmsProgram(TimestampedModel):
    """A template sent to many contacts: a draft until it is launched, then as its job in the outbox stands."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="sms_programs", db_index=False)
    name = models.CharField(max_length=120)
    template = models.TextField(_lazy("message"), help_text="With {{ $contact.firstName }} and the like.")
    sender = models.ForeignKey(SenderId, models.PROTECT, related_name="+", verbose_name=_lazy("sender ID"))
    audience = models.ForeignKey(
        Audience, models.SET_NULL, null=True, blank=True, related_name="+", help_text="Whom it goes to, as it is then."
    )
    contacts = models.ManyToManyField(Contact, related_name="+", help_text="Whom it goes to, without an audience.")
    is_test = models.BooleanField(_lazy("test"), default=False, help_text="Simulated: made with a test key.")
    token = models.ForeignKey(Token, models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    job = models.OneToOneField(BulkJob, models.PROTECT, null=True, blank=True, editable=False, related_name="+")
    launched_at = models.DateTimeField(null=True, blank=True, editable=False)
    cancelled_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="As a draft.")
    written_until = models.UUIDField(
        null=True, editable=False, help_text="The last contact whose message is written; they come by id."
    )

    class Meta:
        verbose_name = _lazy("SMS program")
        ordering = ["-created_at", "-id"]
        indexes = [
            # The list of one organization, newest first.
            models.Index(fields=["organization", "-created_at", "-id"], name="program_by_organization"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def status(self) -> ProgramStatus:
        """Its own while it is a draft; then it follows from its job, so that the two cannot disagree."""
        if self.job is None:
            return ProgramStatus.CANCELLED if self.cancelled_at else ProgramStatus.DRAFT
        return _STATUS_OF_JOB[self.job.status]

    @property
    def is_paused(self) -> bool:
        return self.job is not None and self.job.status == JobStatus.PAUSED
