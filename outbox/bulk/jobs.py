"""What happens to a bulk job: paused, resumed, stopped, released, and its failed rows queued again.

What takes longer than a request (reading the file, cancelling or queueing again a million rows) is done in short
transactions by whoever leases the job next, see `outbox.bulk.work`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit import clock
from linkit.errors import Conflict, InvalidInput, Missing
from outbox.bulk import counters
from outbox.bulk.models import ENDED, LIVE, BulkJob, JobStatus
from outbox.models import Message
from sms_providers.models import OrganizationApp, Status


def find(*, jobs: QuerySet[BulkJob], job_id: str) -> BulkJob:
    """Return one of the caller's jobs. Raises `Missing`, also for what is no id."""
    with contextlib.suppress(ValueError):
        if job := jobs.filter(pk=UUID(job_id)).first():
            return job
    raise Missing(_("There is no such bulk job."))


def current(jobs: QuerySet[BulkJob]) -> BulkJob | None:
    """Return the latest of these that goes on at the moment, else the latest."""
    latest = jobs.order_by("-created_at", "-pk")
    going = set(LIVE) - {JobStatus.PAUSED}
    return latest.filter(status__in=going).first() or latest.first()


@dataclass(frozen=True)
class Pace:
    """How fast a job goes, in rows a second, and how long it still takes; None while nobody can tell."""

    rate_per_second: float | None
    eta_seconds: int | None


def pace(job: BulkJob, *, now: datetime) -> Pace:
    """Measure since the job was last started or resumed."""
    if job.status != JobStatus.RUNNING or job.run_started_at is None:
        return Pace(None, None)
    seconds, ended = (now - job.run_started_at).total_seconds(), job.ended_count - job.run_base
    if ended <= 0 or seconds <= 0:
        return Pace(None, None)
    rate = ended / seconds
    return Pace(round(rate, 2), round(job.pending_count / rate))


# --- changing ---------------------------------------------------------------------------------------------------


def pause(job: BulkJob) -> None:
    """Start no more of its messages; those under way end. Raises `Conflict` unless it is running."""
    with transaction.atomic():
        _locked(job, [JobStatus.RUNNING], _("Only a running job can be paused; this one is '%(status)s'."))
        now, said = clock.now(), noop("Paused by hand.")
        BulkJob.objects.filter(pk=job.pk).update(
            status=JobStatus.PAUSED, paused_at=now, reason="paused", error_message=said, updated_at=now
        )
    _let_marks_pass(job)


def resume(job: BulkJob) -> None:
    """Go on with a paused job; the pause does not count towards its deadline. Raises `Conflict` unless it is paused."""
    with transaction.atomic():
        current = _locked(job, [JobStatus.PAUSED], _("Only a paused job can be resumed; this one is '%(status)s'."))
        now = clock.now()
        paused = now - (current.paused_at or now)
        BulkJob.objects.filter(pk=job.pk).update(
            status=JobStatus.RUNNING,
            expires_at=F("expires_at") + paused,
            paused_at=None,
            reason="",
            error_message="",
            run_started_at=now,
            run_base=current.ended_count,
            updated_at=now,
        )


def stop(job: BulkJob) -> None:
    """Start no more of its messages, and cancel those that have not been. Raises `Conflict` once it is over."""
    with transaction.atomic():
        told = _("Only a job under way can be stopped; this one is '%(status)s'.")
        _locked(job, set(LIVE) - {JobStatus.STOPPING}, told)
        _begin_stopping(BulkJob.objects.filter(pk=job.pk), reason="cancelled", message=noop("Stopped by hand."))
    _let_marks_pass(job)


def stop_overdue() -> int:
    """Stop jobs that have been running or paused for too long. Returns how many."""
    now = clock.now()
    stopped = 0
    for jobs, why in (
        (Q(status=JobStatus.RUNNING, expires_at__lte=now), noop("It could not be sent before its deadline.")),
        (Q(status=JobStatus.PAUSED, paused_at__lte=now - settings.BULK_MAX_PAUSE), noop("It was paused for too long.")),
    ):
        with transaction.atomic():
            found = BulkJob.objects.select_for_update(skip_locked=True).filter(jobs)
            ids = list(found.values_list("pk", flat=True))
            stopped += _begin_stopping(BulkJob.objects.filter(pk__in=ids), reason="expired", message=why)
    return stopped


def _begin_stopping(jobs: QuerySet[BulkJob], *, reason: str, message: str) -> int:
    return jobs.update(
        status=JobStatus.STOPPING,
        reason=reason,
        error_message=message,
        work_token=None,
        work_expires_at=None,
        paused_at=None,
        updated_at=clock.now(),
    )


def retry_failed(job: BulkJob) -> None:
    """Queue the failed messages of an ended job again; never one that was sent, or of which nobody knows.

    Rows of the file that were wrong stay out: they are corrected and uploaded anew. Raises `Conflict` while the job
    is under way, and when it has no failed row that may be sent: all of its file must have been checked once.
    """
    with transaction.atomic():
        told = _("The failed rows can be queued again once the job is over; this one is '%(status)s'.")
        current = _locked(job, ENDED, told)
        if not Message.objects.filter(job=job.pk, status=Status.FAILED).exists():
            said = _("No failed row of this job could be sent again.")
            if current.failed_count > current.invalid_count and current.run_started_at is not None:
                said = _("Its failed rows are not kept any more: it ended too long ago. Upload them again.")
            raise Conflict(said, reason="nothing_to_retry")
        if current.run_started_at is None:
            raise Conflict(_("Its file was not read to the end; upload it again."), reason="nothing_to_retry")
        # An uninstalling waits for us and sees the job, or has come first.
        list(OrganizationApp.objects.filter(pk=current.app_id or 0).select_for_update(no_key=True).values_list("pk"))
        refuse_gone(current)
        BulkJob.objects.filter(pk=job.pk).update(
            status=JobStatus.RETRYING,
            finished_at=None,
            reason="",
            error_message="",
            work_token=None,
            work_expires_at=None,
            updated_at=clock.now(),
        )


def lock(job_id: UUID | None) -> BulkJob | None:
    """Return a job as it is, locked in the caller's transaction; None for a message that is of none."""
    if job_id is None:
        return None
    return BulkJob.objects.defer("report").select_for_update(no_key=True).filter(pk=job_id).first()


def _locked(job: BulkJob, allowed: Collection[str], otherwise: str) -> BulkJob:
    """Return the job as it is, locked in the caller's transaction.

    Raises `Conflict` unless its state is `allowed`; `otherwise` says so, with a gap for the state.
    """
    current = BulkJob.objects.select_for_update(no_key=True).get(pk=job.pk)
    if current.status not in allowed:
        raise Conflict(otherwise % {"status": current.status}, reason="wrong_state")
    return current


def _let_marks_pass(job: BulkJob) -> None:
    """Wait for the start marks that began before the job's new state was committed: later ones see it.

    In this order, since a mark does not queue behind a lock that waits: many workers could keep a pause waiting.
    """
    with transaction.atomic():
        BulkJob.objects.select_for_update().get(pk=job.pk)


def release(job_id: UUID, *, now: datetime, rows: int, last_due_at: datetime | None, rate: int | None) -> None:
    """Let the messages of a job be claimed, in the caller's transaction. `rate` is its app's, in messages a second."""
    BulkJob.objects.filter(pk=job_id).update(
        status=JobStatus.RUNNING,
        expires_at=max(now, last_due_at or now) + settings.OUTBOX_TTL + timedelta(seconds=rows / (rate or 10)),
        run_started_at=now,
        run_base=F("sent_count") + F("failed_count") + F("unknown_count"),
        work_token=None,
        work_expires_at=None,
        updated_at=now,
    )
    counters.move(job_id, {}, now=now)  # nothing is left of it if every message was cancelled meanwhile


def refuse_gone(job: BulkJob) -> None:
    """Look at the app once the job is written: uninstalling waits for it, or has come first and is seen here."""
    if job.app_id is not None and not OrganizationApp.objects.usable().filter(pk=job.app_id).exists():
        text = _("The app '%(slug)s' has been uninstalled or disabled; nothing was sent.")
        raise InvalidInput(text % {"slug": job.provider_slug}, reason="app_disabled")
