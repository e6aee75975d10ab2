"""What a person does about a message that has ended: queue a failed one again, settle an unknown one.

Every change is one update that names the state in which it finds the message. So of two people at once, or a person
and a late answer, one changes it, and the other is told (`Conflict`). The claim's token is gone from then on: a late
answer of an old attempt changes nothing any more. Whoever calls rings for a drain when something waits again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from linkit import clock
from linkit.errors import Conflict
from outbox.bulk import counters, jobs
from outbox.bulk.models import ENDED, BulkJob, JobStatus
from outbox.models import Message
from sms_providers import catalogue, sending
from sms_providers import settling as logs
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Result


def requeue(message: Message) -> None:
    """Queue a failed message again, at the end of the queue, with its whole time to live.

    What was tried before no longer decides who may send it. One that was scheduled waits for its time. A bulk job that
    is over opens again for it. Raises `Conflict` when it is not failed any more, when its job is stopped or just being
    queued again, and when the only app that may send it is gone.
    """
    with transaction.atomic():
        # The job first, as those who queue all its failed messages again do.
        job = jobs.lock(message.job_id)
        now = clock.now()
        if not Message.objects.filter(pk=message.pk, status=Status.FAILED).update(**_waiting(message, now)):
            told = _("This message is not failed any more, but '%(status)s'; nothing was changed.")
            raise Conflict(_why_not(message, told), reason="wrong_state")
        sending.reopen([message.pk], now=now)
        _let_go_on(message, job, before=Status.FAILED, now=now)


def settle(message: Message, *, was_sent: bool) -> None:
    """Say of an unknown outcome that the message was sent, or that it is to be sent again.

    *Was sent* is charged, if its credits are still held; *send again* gives them back. Raises `Conflict` when its
    outcome is not unknown any more, and for *send again* as `requeue` does and before `may_send_again_from`.
    """
    with transaction.atomic():
        now = clock.now()
        unknown = Message.objects.filter(pk=message.pk, status=Status.DISPATCH_TIMEOUT)
        if was_sent:
            _settle_as_sent(message, unknown.update(**_sent(now, said=logs.WAS_SENT)), now)
            return
        over = unknown.filter(Q(claimed_at=None) | Q(claimed_at__lte=now - longest_call()))
        if not over.update(**_waiting(message, now)):
            if (current := unknown.first()) is not None:
                raise Conflict(too_early(current), reason="too_early")
            raise Conflict(_why_not(message, _not_unknown()), reason="wrong_state")
        if (log := SmsLog.objects.select_for_update().filter(queued_id=message.pk).first()) is not None:
            logs.record_waiting(log, now=now)
        # Last, as late answers do: they have locked the message, and then the job.
        _let_go_on(message, jobs.lock(message.job_id), before=Status.DISPATCH_TIMEOUT, now=now)


def settle_by_answer(message_id: str, attempt_id: int, result: Result) -> bool:
    """Record what the provider says later about an unknown outcome: sent, or failed. Returns True.

    False when the message has another state by now, or was sent again since: then nothing is changed.
    """
    after = sending.FINAL_STATUS[result.outcome]
    with transaction.atomic():
        now = clock.now()
        changes = _sent(now, said=result.message)
        if after != Status.SENT:
            said = {"reason": result.reason, "error_message": result.message}
            changes = {"status": after, "claim_token": None, "updated_at": now, **said}
        is_ours = Message.objects.filter(pk=message_id, status=Status.DISPATCH_TIMEOUT).update(**changes)
        latest = Attempt.objects.filter(log__queued_id=message_id).select_related("log").order_by("-pk").first()
        if not is_ours or latest is None or latest.pk != attempt_id:
            transaction.set_rollback(True)
            return False
        logs.record_answer(latest, result, now=now)
        job_id = Message.objects.values_list("job", flat=True).get(pk=message_id)
        counters.note(job_id, before=Status.DISPATCH_TIMEOUT, after=after, now=now)
    return True


def may_send_again_from(message: Message) -> datetime | None:
    """Return from when an unknown outcome may be sent again: until then its call may still be under way somewhere."""
    return message.claimed_at + longest_call() if message.claimed_at else None


def too_early(message: Message) -> str:
    """Return a sentence that says until when it is too early to send again."""
    until = may_send_again_from(message)
    if until is None:
        return _("It may not be sent again yet: its call may still be under way. Nothing was changed.")
    text = _("It may not be sent again before %(time)s: its call may still be under way. Nothing was changed.")
    return text % {"time": f"{until:%Y-%m-%d %H:%M:%S} UTC"}


def longest_call() -> timedelta:
    """How long after its claim a message may still be in somebody's hand, whatever happened to that process."""
    return settings.OUTBOX_LEASE + settings.PROVIDER_CALL_LIMIT


def _sent(now: datetime, *, said: str) -> dict[str, Any]:
    said_of_it = {"reason": "", "error_message": said}
    return {"status": Status.SENT, "sent_at": now, "claim_token": None, "updated_at": now, **said_of_it}


def _settle_as_sent(message: Message, changed: int, now: datetime) -> None:
    if not changed:
        raise Conflict(_why_not(message, _not_unknown()), reason="wrong_state")
    if (log := SmsLog.objects.select_for_update().filter(queued_id=message.pk).first()) is not None:
        logs.record_sent(log, now=now)
    counters.note(message.job_id, before=Status.DISPATCH_TIMEOUT, after=Status.SENT, now=now)


def _waiting(message: Message, now: datetime) -> dict[str, Any]:
    """Return what makes a message wait again, as if it were queued now."""
    due_at = max(now, message.scheduled_at or now)  # never early
    fields = {"status": Status.PENDING, "reason": "", "error_message": "", "claim_token": None, "started_at": None}
    times = {"next_attempt_at": due_at, "requeued_at": now, "updated_at": now}
    if message.job_id is None:
        times["expires_at"] = due_at + _time_to_live(message)
    return {**fields, **times}


def _time_to_live(message: Message) -> timedelta:
    """Return how long a message of its own may wait, counted from when it is due: as when it was queued."""
    queued_at = message.requeued_at or message.created_at
    since = max(queued_at, message.scheduled_at or queued_at)
    wanted = message.expires_at - since if message.expires_at else timedelta(0)
    return wanted if wanted > timedelta(0) else settings.OUTBOX_TTL


def _not_unknown() -> str:
    return _("This message is not of unknown outcome any more, but '%(status)s'; nothing was changed.")


def _why_not(message: Message, told: str) -> str:
    """Return why nothing was changed; `told` says it of one that has another state, with a gap for that."""
    current = Message.objects.filter(pk=message.pk).values_list("status", flat=True).first()
    if current is None:
        return _("It has been deleted meanwhile; nothing was changed.")
    return told % {"status": current}


# --- its job, and its app ---------------------------------------------------------------------------------------


def _let_go_on(message: Message, job: BulkJob | None, *, before: Status, now: datetime) -> None:
    """Count a message that waits again, and open its job if that is over. Raises `Conflict` if it could not be sent."""
    if job is None:
        _refuse_without_app(message.pinned_app_id)
        return
    if job.status in (JobStatus.STOPPING, JobStatus.STOPPED):
        text = _("Its bulk job was stopped, and nothing of it is sent any more. Send the failed rows of the job again.")
        if before == Status.DISPATCH_TIMEOUT:  # which that does not send
            text = _(
                "Its bulk job was stopped, and nothing of it is sent any more. If it was not sent, send it as a new"
                " message."
            )
        raise Conflict(text, reason="wrong_state")
    if job.status == JobStatus.RETRYING and before == Status.FAILED:
        text = _("Its job is just being queued again, and this message with it.")
        raise Conflict(text, reason="wrong_state")
    if job.status in ENDED:
        _refuse_without_app(job.app_id)
        fresh = max(now, message.scheduled_at or now) + settings.OUTBOX_TTL
        BulkJob.objects.filter(pk=job.pk).update(
            expires_at=max(job.expires_at or fresh, fresh), run_started_at=now, run_base=job.ended_count - 1
        )
    counters.note(job.pk, before=before, after=Status.PENDING, now=now)  # opens it again


def _refuse_without_app(app_id: int | None) -> None:
    """Raise `Conflict` unless the app that alone may send it is there: it would wait until it expires.

    An uninstalling waits for our transaction and sees the message, or has come first and is seen here.
    """
    if app_id is None:
        return
    app = OrganizationApp.objects.defer("credentials").select_for_update(no_key=True).filter(pk=app_id).first()
    if app is None or not app.is_usable:
        if app is None:
            text = _("The only app that may send it is uninstalled or disabled; nothing was changed.")
        else:
            text = _("Only %(app)s may send it, and that is uninstalled or disabled; nothing was changed.")
            text %= {"app": catalogue.app_name(app.slug)}
        raise Conflict(text, reason="app_disabled")
