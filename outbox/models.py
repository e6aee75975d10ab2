"""The queue: one row per message, and the row is the truth."""

from __future__ import annotations

import itertools
import random
import secrets
import time
from datetime import datetime

from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _lazy

from linkit.encoding import Encoding
from linkit.models import Organization, TimestampedModel, Token, User
from outbox.bulk.models import BulkDraft, BulkJob, BulkRowError, Upload, UploadChunk
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Source, Status

__all__ = ["BulkDraft", "BulkJob", "BulkRowError", "Message", "Upload", "UploadChunk"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 15
_TIME_DIGITS, _RANDOM_DIGITS = 8, 6  # milliseconds until the year 2059, then 2 billion to one against a clash
CALLED_OFF = ("cancelled", "expired")  # reasons of a message that may have ended without ever being tried
_TRIPLES = ["".join(triple) for triple in itertools.product(_DIGITS, repeat=_RANDOM_DIGITS // 2)]


def new_id() -> str:
    """Return `r` and 14 lower-case letters and digits, ordered by time."""
    return _id_of_now() + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_DIGITS))


def new_ids(count: int) -> list[str]:
    """Return so many of them, different from each other, for far less than one call each."""
    prefix, thousands = _id_of_now(), len(_TRIPLES)
    numbers = random.sample(range(thousands**2), count)  # they name messages and keep no secret
    return [prefix + _TRIPLES[number // thousands] + _TRIPLES[number % thousands] for number in numbers]


def id_from(moment: datetime) -> str:
    """Return what the ids of that moment begin with: all smaller ones are older."""
    return _id_at(int(moment.timestamp() * 1000))


def _id_of_now() -> str:
    return _id_at(time.time_ns() // 1_000_000)


def _id_at(milliseconds: int) -> str:
    number, digits = milliseconds, []
    for _ in range(_TIME_DIGITS):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "r" + "".join(reversed(digits))


class Message(TimestampedModel):
    """One MT message: pending -> sending -> sent, failed or dispatch_timeout; back to pending if nothing left."""

    id = models.CharField(primary_key=True, max_length=ID_LENGTH, default=new_id, editable=False)
    # Indexes below begin with it or serve it better: none of its own for this key and those of the apps.
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="messages", db_index=False)
    is_test = models.BooleanField(_lazy("test"), default=False, help_text="Simulated: queued with a test key.")
    recipient = models.CharField(max_length=16, help_text="E.164, such as +966501234567.")
    text = models.TextField()
    sender_id = models.CharField("sender ID", max_length=20, blank=True)
    encoding = models.CharField(max_length=16, choices=[(e.value, e.value) for e in Encoding])
    segment_count = models.PositiveSmallIntegerField("parts")
    scheduled_at = models.DateTimeField(null=True, blank=True, help_text="When the caller wants it sent.")
    pinned_app = models.ForeignKey(
        OrganizationApp,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="pinned_messages",
        db_index=False,
        help_text="The only app that may send it. Empty: any.",
    )
    preferred_slug = models.CharField("preferred app", max_length=40, blank=True)
    idempotency_key = models.CharField(max_length=128, null=True, blank=True, help_text="Chosen by the client.")
    request_digest = models.CharField(max_length=64, editable=False)
    meta = models.JSONField(default=dict, blank=True, help_text="The client's own notes.")
    job = models.ForeignKey(
        BulkJob,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="messages",
        db_index=False,
        verbose_name="bulk job",
        help_text="The file it came in. It is sent only while the job runs.",
    )
    row_number = models.PositiveIntegerField(null=True, blank=True, help_text="In the file; the header is row 1.")
    program_id = models.UUIDField(null=True, blank=True, help_text="The SMS program that it belongs to.")
    typed_recipient = models.CharField(max_length=64, blank=True, help_text="The number as the file has it.")
    token = models.ForeignKey(Token, models.SET_NULL, null=True, blank=True, help_text="The key or session it came by.")
    user = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, help_text="The person who queued it.")

    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    reason = models.CharField(max_length=64, blank=True, help_text="Stable, for programs.")
    error_message = models.TextField(blank=True)
    next_attempt_at = models.DateTimeField(help_text="Not sent before this; also its place in the queue.")
    expires_at = models.DateTimeField(
        null=True, help_text="Not sent after this: then it fails. Empty: the deadline of its job."
    )
    requeued_at = models.DateTimeField(
        null=True, editable=False, help_text="What was tried before no longer decides who may send it."
    )
    claim_token = models.UUIDField(null=True, editable=False, help_text="Random; names the claim that may finish it.")
    claimed_at = models.DateTimeField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False, help_text="Until when it is its claim's.")
    started_at = models.DateTimeField(
        null=True, editable=False, help_text="The start mark: committed before the first byte leaves."
    )
    app = models.ForeignKey(
        OrganizationApp,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="The app that was last tried.",
    )
    provider_slug = models.CharField("app", max_length=40, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _lazy("queued message")
        ordering = ["-created_at", "-id"]
        constraints = [
            # A client that repeats a POST gets its first message back.
            models.UniqueConstraint(
                fields=["organization", "is_test", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="outbox_idempotent",
            ),
            # A file that is split twice makes each row once.
            models.UniqueConstraint(
                fields=["job", "row_number"], condition=Q(job__isnull=False), name="outbox_row_once"
            ),
            # A program texts a number once, whatever becomes of contacts while it is written.
            models.UniqueConstraint(
                fields=["job", "recipient"], condition=Q(program_id__isnull=False), name="outbox_program_number_once"
            ),
            models.CheckConstraint(
                condition=Q(status="sending", lease_expires_at__isnull=False, claim_token__isnull=False)
                | (~Q(status="sending") & Q(lease_expires_at__isnull=True)),
                name="outbox_lease_iff_sending",
            ),
            models.CheckConstraint(
                condition=~Q(status="pending") | Q(started_at__isnull=True), name="outbox_pending_not_started"
            ),
            # A message of its own expires by itself, one of a job with the job.
            models.CheckConstraint(
                condition=Q(job__isnull=True, expires_at__isnull=False)
                | Q(job__isnull=False, expires_at__isnull=True, row_number__isnull=False),
                name="outbox_deadline",
            ),
        ]
        indexes = [
            # turns: who has messages waiting, and each one's, the longest waiting first. Finished rows stay out of it.
            models.Index(
                fields=["organization", "next_attempt_at", "id"],
                condition=Q(status="pending", job__isnull=True),
                name="outbox_turns",
            ),
            # turns: what is due of one job, in the order of its file.
            models.Index(
                fields=["job", "next_attempt_at", "row_number"],
                condition=Q(status="pending", job__isnull=False),
                name="outbox_due_of_job",
            ),
            # answers.errors, errors_file, work: the failed rows of one job.
            models.Index(
                fields=["job", "row_number"], condition=Q(status="failed", job__isnull=False), name="outbox_job_failed"
            ),
            # reaping.reap: leases that have run out, and messages that nobody sent in time.
            models.Index(fields=["lease_expires_at"], condition=Q(status="sending"), name="outbox_leased"),
            models.Index(
                fields=["expires_at"], condition=Q(status="pending", job__isnull=True), name="outbox_expiring"
            ),
            # retention: what may never have been tried, the oldest first. Only columns that a start mark leaves alone,
            # or every mark would write to every index.
            models.Index(fields=["id"], condition=Q(status="failed", reason__in=CALLED_OFF), name="outbox_called_off"),
            # The list of one organization, newest first.
            models.Index(fields=["organization", "-created_at", "-id"], name="outbox_by_organization"),
            # The lists of what failed and of what nobody knows about, however few they are among a million. What is
            # sent is never in it.
            models.Index(
                fields=["status", "organization", "-created_at", "-id"],
                condition=Q(status__in=["failed", "dispatch_timeout"]),
                name="outbox_not_sent",
            ),
            # The list of tests, which are few.
            models.Index(fields=["organization", "-created_at", "-id"], condition=Q(is_test=True), name="outbox_tests"),
            # The messages of one number.
            models.Index(fields=["organization", "recipient", "-created_at"], name="outbox_by_recipient"),
            # health.check_queue: since when the oldest has waited, whatever its next try.
            models.Index(
                Coalesce("scheduled_at", "created_at"),
                condition=Q(status="pending", job__isnull=True),
                name="outbox_waiting_since",
            ),
            # Uninstalling: is anything still pinned?
            models.Index(
                fields=["pinned_app"],
                condition=Q(status__in=["pending", "sending"], job__isnull=True),
                name="outbox_pinned",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} to {self.recipient}"

    @property
    def deadline(self) -> datetime | None:
        """Until when it may be sent: its own, or its job's, which a pause puts off and a stop takes away."""
        return self.job.expires_at if self.job else self.expires_at

    @property
    def source(self) -> Source:
        """The door it came through, for its log."""
        if self.program_id:
            return Source.PROGRAM
        return Source.BULK if self.job_id else Source.OUTBOX

    @cached_property
    def log(self) -> SmsLog | None:
        """Its row in the SMS log, which is written with the first attempt; None before."""
        return SmsLog.objects.filter(queued_id=self.pk).first()

    @cached_property
    def attempts(self) -> list[Attempt]:
        """What was tried for it, oldest first."""
        return list(self.log.attempts.all()) if self.log else []
