"""Enqueue and cancel: the verbs of the outbox's doors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from linkit import clock, encoding
from linkit.errors import Conflict, InvalidInput, Missing
from linkit.models import Organization, Token, User
from outbox import routing, tasks
from outbox.bulk import counters
from outbox.bulk.models import JobStatus
from outbox.models import Message
from sms_providers import schedule
from sms_providers.models import SANDBOX, OrganizationApp, SmsLog, Status
from sms_providers.sending import close_unsent, digest


class NoApp(InvalidInput):
    """No installed app can send it."""

    reason = "no_app"


@dataclass(frozen=True)
class Enqueued:
    """The row, and whether it was there before; `is_mismatch` when it was, with another body."""

    message: Message
    is_replay: bool = False
    is_mismatch: bool = False


def enqueue(
    *,
    organization: Organization,
    recipient: str,
    text: str,
    sender_id: str = "",
    scheduled_at: datetime | None = None,
    preferred_slug: str = "",
    idempotency_key: str | None = None,
    meta: dict[str, Any] | None = None,
    ttl: timedelta | None = None,
    is_test: bool = False,
    token: Token | None = None,
    user: User | None = None,
) -> Enqueued:
    """Queue one message, or return the one that has this key already, whatever became of it.

    The insert decides, so any number of callers with one key make one row. Raises `InvalidInput` when a new row
    could not be sent: no app, an unknown or uninstalled preferred app, or a time long past.
    """
    request_digest = digest(
        recipient=recipient,
        text=text,
        sender_id=sender_id,
        scheduled_at=scheduled_at,
        preferred_slug=preferred_slug,
        meta=meta or {},
        ttl=ttl,
    )
    now = clock.now()
    due_at, pinned_app, problem = None, None, None
    try:
        due_at = schedule.resolve(scheduled_at, now=now)
        pinned_app = _pinned_app(organization, preferred_slug, is_test=is_test)
    except InvalidInput as error:
        problem = error  # a known key is answered all the same
    message = _new_message(
        organization_id=organization.pk,
        is_test=is_test,
        recipient=recipient,
        text=text,
        sender_id=sender_id,
        scheduled_at=scheduled_at,
        pinned_app=pinned_app,
        preferred_slug=preferred_slug,
        idempotency_key=idempotency_key or None,
        request_digest=request_digest,
        meta=meta or {},
        token=token,
        user=user,
        next_attempt_at=due_at or now,
        expires_at=(due_at or now) + (ttl or settings.OUTBOX_TTL),
    )
    with transaction.atomic():
        if message.idempotency_key is None:
            message.save(force_insert=True)
        else:
            Message.objects.bulk_create([message], ignore_conflicts=True)
            first = Message.objects.get(
                organization=organization, is_test=is_test, idempotency_key=message.idempotency_key
            )
            if first.pk != message.pk:
                return Enqueued(first, is_replay=True, is_mismatch=first.request_digest != request_digest)
        if problem is None:
            problem = _gone(pinned_app)
        if problem is not None:
            raise problem  # and the row is gone with the transaction
        if due_at is None:
            transaction.on_commit(tasks.wake, robust=True)  # the message is queued, whatever comes of the call
    return Enqueued(message)


def queue_pinned(*, log: SmsLog, app: OrganizationApp | None, due_at: datetime) -> Message:
    """Queue a direct send for later, in the caller's transaction. `log` is its row in the SMS log."""
    message = _new_message(
        organization_id=log.organization_id,
        is_test=log.is_test,
        recipient=log.recipient,
        text=log.text,
        sender_id=log.sender_id,
        scheduled_at=due_at,
        pinned_app=app,
        preferred_slug=app.slug if app else "",
        request_digest=log.request_digest,
        token=log.token,
        user=log.user,
        next_attempt_at=due_at,
        expires_at=due_at + settings.OUTBOX_TTL,
    )
    message.save(force_insert=True)
    if problem := _gone(app):
        raise problem
    return message


def _gone(pinned_app: OrganizationApp | None) -> NoApp | None:
    """Look again once the row is written: uninstalling waits for it, or has come first and is seen here."""
    if pinned_app is None or OrganizationApp.objects.usable().filter(pk=pinned_app.pk).exists():
        return None
    return NoApp(f"The app '{pinned_app.slug}' has just been uninstalled or disabled; nothing was queued.")


def _new_message(*, text: str, **fields: Any) -> Message:
    counted = encoding.segments(text)
    return Message(text=text, encoding=counted.encoding.value, segment_count=counted.count, **fields)


def _pinned_app(organization: Organization, slug: str, *, is_test: bool) -> OrganizationApp | None:
    """Return the app that alone may send, None for any. Raises `NoApp` when nothing could send."""
    apps = list(OrganizationApp.objects.installed().filter(organization=organization))
    if slug:
        app = next((app for app in apps if app.slug == slug and app.is_usable), None)
        if app is None and not (is_test and slug == SANDBOX):
            raise NoApp(
                f"There is no app '{slug}' that is installed and enabled; nothing was queued.",
                fields={"preferred_provider_slug": ["Not installed and enabled."]},
                reason="app_not_installed",
            )
        return app
    if is_test or routing.usable(apps):
        return None
    if [app.slug for app in apps] == [SANDBOX] and apps[0].is_usable:
        # Decided here and for good: an app that is uninstalled later must not send its messages into the simulator.
        return apps[0]
    raise NoApp("No SMS app is installed and enabled; nothing was queued. Install one in the App Store.")


def find(*, messages: QuerySet[Message], message_id: str) -> Message:
    """Return one of the caller's messages. Raises `Missing`."""
    message = messages.filter(pk=message_id).first()
    if message is None:
        raise Missing("There is no such message.")
    return message


def cancel(*, message: Message) -> None:
    """End a pending message without sending it. Raises `Conflict` when it is not pending any more."""
    said = "Cancelled before it was sent."
    with transaction.atomic():
        now = clock.now()
        # While the failed messages of a job are queued again, one that fails now would be too.
        pending = Message.objects.filter(pk=message.pk, status=Status.PENDING)
        cancelled = pending.filter(Q(job=None) | ~Q(job__status=JobStatus.RETRYING)).update(
            status=Status.FAILED,
            reason="cancelled",
            error_message=said,
            updated_at=now,
        )
        if not cancelled:
            current = Message.objects.filter(pk=message.pk).values_list("status", flat=True).first()
            if current == Status.PENDING:
                raise Conflict("Its job is just being queued again; cancel it in a moment.", reason="wrong_state")
            raise Conflict(f"Only a pending message can be cancelled; this one is '{current}'.", reason="not_pending")
        close_unsent([message.pk], reason="cancelled", message=said)
        moves = counters.Moves()
        moves.note(message.job_id, before=Status.PENDING, after=Status.FAILED)
        moves.write(now=now)
