"""A bulk job: one file, its counters and where it stands. Its messages are rows of the queue like all others."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _lazy

from linkit.models import Organization, TimestampedModel, Token, User
from sms_providers.models import OrganizationApp


class JobStatus(models.TextChoices):
    """Where a job is. Four of them are ends; `retry-failed` opens an ended job again."""

    CHECKING = "checking", _lazy("Reading the file")  # rows are written; none can be claimed
    RUNNING = "running", _lazy("Sending")
    PAUSED = "paused", _lazy("Paused")  # by a person, or by a refusal that concerns the account
    STOPPING = "stopping", _lazy("Stopping")  # nothing more is started; what has not been is being cancelled
    RETRYING = "retrying", _lazy("Queueing the failed again")  # none can be claimed before all are back
    COMPLETED = "completed", _lazy("Completed")  # every row was sent
    PARTLY_FAILED = "partly_failed", _lazy("Partly failed")  # some were sent, or may have been
    FAILED = "failed", _lazy("Failed")  # none was sent
    STOPPED = "stopped", _lazy("Stopped")


ENDED = (JobStatus.COMPLETED, JobStatus.PARTLY_FAILED, JobStatus.FAILED, JobStatus.STOPPED)
LIVE = tuple(status for status in JobStatus if status not in ENDED)
# What a worker has to do for a job, as opposed to its messages.
NEEDS_WORK = (JobStatus.CHECKING, JobStatus.STOPPING, JobStatus.RETRYING)


class Mode(models.TextChoices):
    VALID_ROWS = "valid_rows", _lazy("Send the valid rows")
    ALL_OR_NOTHING = "all_or_nothing", _lazy("Send nothing if a row is wrong")


class Upload(models.Model):
    """An uploaded file. In the database, because that is where every worker can read it (ADR 8)."""

    size = models.PositiveBigIntegerField(help_text="In bytes.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"{self.size} bytes"


class UploadChunk(models.Model):
    """A piece of an uploaded file."""

    upload = models.ForeignKey(Upload, models.CASCADE, related_name="chunks", db_index=False)
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "number"], name="upload_chunk_once")]

    def __str__(self) -> str:
        return f"{self.upload_id} #{self.number}"


class BulkJobQuerySet(models.QuerySet["BulkJob"]):
    def files(self) -> BulkJobQuerySet:
        """Those that came as a file. The others belong to SMS programs, which show them in their own words."""
        return self.filter(program_id=None)


class BulkJob(TimestampedModel):
    """One file, or one SMS program, sent through one app: checking -> running -> an end; pause, stop and retry between.

    The counters move in the transactions that move its messages, so `sent + failed + unknown + pending_count` is
    `total_count` at every moment. `failed_count` includes the rows of the file that were wrong.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="bulk_jobs", db_index=False)
    is_test = models.BooleanField(_lazy("test"), default=False, help_text="Simulated: uploaded with a test key.")
    app = models.ForeignKey(
        OrganizationApp,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="bulk_jobs",
        db_index=False,
        help_text="The only app that sends it. Empty: the simulator, for a test key.",
    )
    provider_slug = models.CharField("app", max_length=40)
    token = models.ForeignKey(Token, models.SET_NULL, null=True, blank=True, help_text="The key or session it came by.")
    user = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, help_text="The person who uploaded it.")

    program_id = models.UUIDField(
        null=True, blank=True, unique=True, help_text="The SMS program whose messages these are. Empty: a file's."
    )
    filename = models.CharField("file", max_length=200, blank=True)
    size = models.PositiveBigIntegerField(help_text="Of the file, in bytes.")
    content_hash = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the file.")
    options = models.JSONField(default=dict, blank=True, help_text="How the caller wants it read, instead of guessed.")
    region = models.CharField(max_length=2, help_text="The organization's as it was uploaded, for numbers.")
    time_zone = models.CharField(max_length=64, help_text="The same, for times.")
    mode = models.CharField(max_length=16, choices=Mode, default=Mode.VALID_ROWS)
    idempotency_key = models.CharField(max_length=128, null=True, blank=True, editable=False)
    request_digest = models.CharField(max_length=64, blank=True, editable=False)
    report = models.JSONField(default=dict, blank=True, help_text="What the check of the whole file has found.")
    upload = models.OneToOneField(
        Upload,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="job",
        help_text="The file; deleted some days after the end.",
    )

    status = models.CharField(max_length=16, choices=JobStatus, default=JobStatus.CHECKING)
    reason = models.CharField(max_length=64, blank=True, help_text="Why it paused, stopped or failed; for programs.")
    error_message = models.TextField(blank=True)
    total_count = models.PositiveIntegerField("rows", default=0)
    sent_count = models.PositiveIntegerField("sent", default=0)
    failed_count = models.PositiveIntegerField("failed", default=0)
    unknown_count = models.PositiveIntegerField("unknown", default=0)
    invalid_count = models.PositiveIntegerField("wrong rows", default=0, help_text="Of the failed: never queued.")
    read_until = models.PositiveIntegerField(default=0, editable=False, help_text="The last row written.")

    work_token = models.UUIDField(null=True, editable=False, help_text="Names the worker that reads or cancels.")
    work_expires_at = models.DateTimeField(null=True, editable=False, help_text="Then another worker may go on.")
    work_tries = models.PositiveSmallIntegerField(default=0, editable=False, help_text="Without any progress.")

    expires_at = models.DateTimeField(null=True, editable=False, help_text="What is pending then fails.")
    paused_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    run_started_at = models.DateTimeField(null=True, editable=False, help_text="Since when it runs without a pause.")
    run_base = models.PositiveIntegerField(default=0, editable=False, help_text="How many had ended by then.")

    objects = BulkJobQuerySet.as_manager()

    class Meta:
        verbose_name = _lazy("bulk job")
        ordering = ["-created_at", "-id"]
        constraints = [
            # A client that repeats an upload gets its first job back.
            models.UniqueConstraint(
                fields=["organization", "is_test", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="bulk_idempotent",
            ),
            models.CheckConstraint(
                condition=Q(total_count__gte=F("sent_count") + F("failed_count") + F("unknown_count")),
                name="bulk_counts_add_up",
            ),
            # claims.claim asks for running jobs only, and every one of them can end.
            models.CheckConstraint(
                condition=~Q(status="running") | Q(expires_at__isnull=False), name="bulk_running_expires"
            ),
        ]
        indexes = [
            # The list of one organization, newest first.
            models.Index(fields=["organization", "-created_at", "-id"], name="bulk_by_organization"),
            # jobs.current: the latest through one app.
            models.Index(fields=["organization", "provider_slug", "-created_at"], name="bulk_by_app"),
            # receiving.create: the same file again.
            models.Index(fields=["organization", "content_hash", "-created_at"], name="bulk_by_content"),
            # claims.claim, work.do_next, jobs.stop_overdue: the few that are not over.
            models.Index(
                fields=["status"],
                condition=Q(status__in=["checking", "running", "paused", "stopping", "retrying"]),
                name="bulk_live",
            ),
        ]

    def __str__(self) -> str:
        return self.filename or str(self.pk)

    @property
    def pending_count(self) -> int:
        """Rows whose end is not known yet: waiting, or in a sender's hand."""
        return self.total_count - self.ended_count

    @property
    def ended_count(self) -> int:
        return self.sent_count + self.failed_count + self.unknown_count

    @property
    def max_per_second(self) -> int | None:
        """The rate of its app, read without the credentials, which no key may decrypt."""
        return OrganizationApp.objects.filter(pk=self.app_id or 0).values_list("max_per_second", flat=True).first()

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


class BulkRowError(models.Model):
    """One thing that is wrong with one row of a file. A row with an error is never queued."""

    job = models.ForeignKey(BulkJob, models.CASCADE, related_name="row_errors", db_index=False)
    row_number = models.PositiveIntegerField()
    column = models.CharField(max_length=16, blank=True, help_text="mobile, message, sender, datetime; empty: the row.")
    mobile = models.CharField(max_length=64, blank=True, help_text="As it is in the file.")
    value = models.CharField(max_length=200, blank=True, help_text="What is wrong, as it is in the file.")
    reason = models.CharField(max_length=64)
    message = models.CharField(max_length=300)

    class Meta:
        ordering = ["row_number", "pk"]
        indexes = [models.Index(fields=["job", "row_number"], name="bulk_errors_by_row")]

    def __str__(self) -> str:
        return f"{self.row_number}: {self.message}"


class BulkDraft(TimestampedModel):
    """A file that the console has checked and not sent: it waits, for a day, for its person to say yes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    app = models.ForeignKey(OrganizationApp, models.CASCADE, related_name="+")
    user = models.ForeignKey(User, models.CASCADE, related_name="+", help_text="Who uploaded it, and alone sees it.")
    filename = models.CharField("file", max_length=255)
    upload = models.OneToOneField(Upload, models.CASCADE, related_name="draft")
    options = models.JSONField(default=dict, blank=True)
    mode = models.CharField(max_length=16, choices=Mode, default=Mode.VALID_ROWS)
    report = models.JSONField(default=dict, blank=True, help_text="What the check has found, as `bulk-check` answers.")

    class Meta:
        verbose_name = _lazy("checked file")

    def __str__(self) -> str:
        return self.filename or str(self.pk)
