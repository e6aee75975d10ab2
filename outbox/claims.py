"""The state changes of a message in hand: claim, start mark, finish, give back. Every one is guarded.

A claim is a random token and a lease. Whoever writes to a message in hand names the token, so a worker that overslept
cannot overwrite what happened since.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from billing import ledger
from billing.ledger import Credits
from linkit import clock
from outbox import routing
from outbox.bulk import counters
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message
from sms_providers import charging, sending
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Outcome, Result
from sms_providers.sending import Ending, Route

# What keeps all rows of a job from being sent, and what to do about it.
_PAUSING = {"no_app": "See to the app, then resume.", "insufficient_credits": "Top up, then resume."}
_UNPAID_PAUSE = timedelta(seconds=1)  # before a message is looked at again whose hold was refused
# Jobs that cost credits of which messages under way hold all there are: these may come back, and until then a claim
# would only turn their rows over.
_WAITS_FOR_HOLDS = (
    Q(is_test=False)
    & (Q(program_id__isnull=False) | Q(app__is_metered=True))
    & Q(
        organization__credit_account__balance__gt=0,
        organization__credit_account__balance__lte=F("organization__credit_account__held"),
    )
)
_JOBS_LOOKED_AT = 16  # in one claim; which of more comes by lot
_COLUMNS = ", ".join(f'm."{field.column}"' for field in Message._meta.concrete_fields)
# One statement takes a batch. PostgreSQL passes over rows that another worker is taking at this moment; SQLite has
# one writer at a time, so there are none.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id AS due_id FROM outbox_message
    WHERE status = 'pending' AND next_attempt_at <= %s AND {lane} LIMIT %s {lock}
)
UPDATE outbox_message AS m
SET status = 'sending', claim_token = %s, claimed_at = %s, lease_expires_at = %s, updated_at = %s
FROM due WHERE m.id = due.due_id
RETURNING {columns}
"""
# The lanes: messages of their own come first; what room is left goes to running jobs.
_ALONE = "job_id IS NULL AND expires_at > %s ORDER BY next_attempt_at, id"
_OF_JOB = "job_id = %s ORDER BY next_attempt_at, row_number"
# The start mark: only while the claim still holds, the job runs and the app may still send, as it was when it was
# chosen.
_MARK = """
UPDATE outbox_message SET started_at = %s, updated_at = %s, app_id = %s, provider_slug = %s
WHERE id IN ({ids}) AND claim_token = %s AND status = 'sending' AND started_at IS NULL
AND lease_expires_at > %s
AND (expires_at > %s OR EXISTS (
    SELECT 1 FROM outbox_bulkjob AS job
    WHERE job.id = outbox_message.job_id AND job.status = 'running' AND job.expires_at > %s
))
AND (%s OR EXISTS (
    SELECT 1 FROM sms_providers_organizationapp AS app
    WHERE app.id = %s AND app.is_enabled AND app.uninstalled_at IS NULL AND app.updated_at = %s
))
RETURNING id
"""


@dataclass
class Claimed:
    """A message in hand, with what is needed to route and send it.

    `start_by` is the last moment, on this process's monotonic clock, at which its first byte may leave: a call that
    begins then still ends before the lease does. `credits`: whether a message that costs
    could be charged; `is_refused`: its hold was refused since.
    """

    message: Message
    start_by: float
    apps: Sequence[OrganizationApp]
    log: SmsLog | None
    tries: list[Attempt]
    credits: Credits = Credits.AVAILABLE
    is_refused: bool = False


@dataclass
class Started:
    """A claimed message with its start mark committed: it must be sent now or given back by `finish`."""

    claimed: Claimed
    route: Route
    attempt: Attempt

    @property
    def same_app(self) -> list[Attempt]:
        """The former tries through this app."""
        return [attempt for attempt in self.claimed.tries if attempt.app_id == self.attempt.app_id]

    @property
    def times_refused(self) -> int:
        """How many of them certainly did not send it, before any that may have."""
        certain = (Outcome.UNAVAILABLE, Outcome.REJECTED)
        return sum(1 for _ in itertools.takewhile(lambda attempt: attempt.outcome in certain, self.same_app))


def claim(*, limit: int) -> list[Claimed]:
    """Lease up to `limit` due messages to the caller, the longest waiting first, and bulk rows after all others."""
    began = time.monotonic()  # before the database's clock is read: the lease ends no earlier than we think
    token = uuid.uuid4()
    with transaction.atomic():
        now = clock.now()
        messages = _take(_ALONE, now, limit=limit, token=token, now=now)
        if len(messages) < limit:
            messages += _take_of_jobs(limit=limit - len(messages), token=token, now=now)
    if not messages:
        return []
    call_limit = settings.PROVIDER_CALL_LIMIT + settings.OUTBOX_LEASE_MARGIN
    start_by = began + (settings.OUTBOX_LEASE - call_limit).total_seconds()
    organizations = {message.organization_id for message in messages}
    pinned = {message.pinned_app_id for message in messages if message.pinned_app_id is not None}
    # What is pinned needs its app alone, which for a program may be the platform's.
    wanted = Q(organization__in=organizations) | Q(pk__in=pinned)
    by_pk = {app.pk: app for app in OrganizationApp.objects.installed().filter(wanted)}
    apps: dict[uuid.UUID, list[OrganizationApp]] = {}
    for app in by_pk.values():
        apps.setdefault(app.organization_id, []).append(app)
    standing: dict[uuid.UUID, Credits] = {}
    if any(app.is_metered for app in by_pk.values()) or any(message.program_id for message in messages):
        standing = ledger.look(organizations)
    logs = {log.queued_id: log for log in SmsLog.objects.filter(queued_id__in=[m.pk for m in messages])}
    tries: dict[uuid.UUID, list[Attempt]] = {}
    if logs:
        # Without the providers' answers: a message that is tried for days has hundreds.
        known = Attempt.objects.only(
            "log", "app", "provider_slug", "outcome", "reason", "message", "started_at", "retry_at"
        )
        for attempt in known.filter(log__in=logs.values()).order_by("pk"):
            tries.setdefault(attempt.log_id, []).append(attempt)
    messages.sort(key=lambda each: (each.job_id is not None, each.next_attempt_at, each.row_number or 0, each.pk))
    return [
        Claimed(
            message,
            start_by,
            [pinned_app]
            if (pinned_app := by_pk.get(message.pinned_app_id or 0))
            else apps.get(message.organization_id, []),
            log := logs.get(message.pk),
            tries.get(log.pk, []) if log else [],
            standing.get(message.organization_id, Credits.AVAILABLE),
        )
        for message in messages
    ]


def _take(lane: str, owner: object, *, limit: int, token: uuid.UUID, now: datetime) -> list[Message]:
    lock = "FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    columns = _COLUMNS if connection.vendor == "postgresql" else _COLUMNS.replace("m.", "")
    values = (now, owner, limit, token, now, now + settings.OUTBOX_LEASE, now)
    return list(
        Message.objects.raw(_CLAIM.format(lane=lane, lock=lock, columns=columns), [_db(value) for value in values])
    )


def _take_of_jobs(*, limit: int, token: uuid.UUID, now: datetime) -> list[Message]:
    """Lease rows of running jobs: organizations take turns, and so do the jobs of one, both by lot."""
    due = Message.objects.filter(job=OuterRef("pk"), status=Status.PENDING, next_attempt_at__lte=now)
    jobs = BulkJob.objects.filter(Exists(due), status=JobStatus.RUNNING, expires_at__gt=now).exclude(_WAITS_FOR_HOLDS)
    found = list(jobs.order_by("?").values_list("pk", "organization_id")[:_JOBS_LOOKED_AT])
    firsts = list({organization_id: pk for pk, organization_id in found}.values())
    messages: list[Message] = []
    for share, round_of in ((-(-limit // max(1, len(firsts))), firsts), (limit, [pk for pk, _ in found])):
        for job_id in round_of:
            if room := min(share, limit - len(messages)):
                messages += _take(_OF_JOB, job_id, limit=room, token=token, now=now)
    return messages


def mark_started(batch: Sequence[tuple[Claimed, Route]]) -> list[Started]:
    """Commit the start mark, log row and attempt of these messages. One that does not come back must not be sent.

    It lost its lease or expired, its job was paused or stopped, its app was disabled or changed meanwhile, or it costs
    credits of which there are none: those it costs are held here.
    """
    # Rows of one claim that go through one app, as it was at that claim, are marked by one statement.
    groups: dict[tuple[Any, ...], list[tuple[Claimed, Route]]] = {}
    for claimed, route in sorted(batch, key=lambda pair: pair[0].message.pk):
        app = route.app
        key = (claimed.message.claim_token, app.pk if app else None, app.updated_at if app else None, route.slug)
        groups.setdefault(key, []).append((claimed, route))
    with transaction.atomic():
        counters.hold(claimed.message.job_id for claimed, _ in batch)
        now = clock.now()
        won = []
        for (token, app_id, app_updated_at, slug), pairs in groups.items():
            ids = [claimed.message.pk for claimed, _ in pairs]
            guards = [token, now, now, now, app_id is None, app_id, app_updated_at]
            with connection.cursor() as cursor:
                statement = _MARK.format(ids=", ".join(["%s"] * len(ids)))
                cursor.execute(statement, [_db(value) for value in (now, now, app_id, slug, *ids, *guards)])
                marked = {row[0] for row in cursor.fetchall()}
            won += [pair for pair in pairs if pair[0].message.pk in marked]
        sends = [(claimed.log or _log_for(claimed.message), route) for claimed, route in won]
        charging.price(sends, now=now)
        if refused := charging.hold([log for log, _ in sends]):
            paid = [log.pk not in refused for log, _ in sends]
            for (claimed, _), is_paid in zip(won, paid, strict=True):
                if not is_paid:
                    _unmark(claimed)
            won, sends = list(itertools.compress(won, paid)), list(itertools.compress(sends, paid))
        attempts = sending.start(sends, now=now) if sends else []
    started = []
    for (claimed, route), (log, _), attempt in zip(won, sends, attempts, strict=True):
        claimed.log = log
        started.append(Started(claimed, route, attempt))
    return started


def _unmark(claimed: Claimed) -> None:
    """Take the start mark back from a message whose hold was refused, in the transaction of the mark."""
    claimed.is_refused = True
    message = claimed.message
    Message.objects.filter(pk=message.pk).update(
        started_at=None, app_id=message.app_id, provider_slug=message.provider_slug
    )


def _db(value: Any) -> Any:
    """Return a value as this database takes it in plain SQL."""
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, uuid.UUID) and not connection.features.has_native_uuid_field:
        return value.hex
    return value


def _log_for(message: Message) -> SmsLog:
    return SmsLog(
        organization_id=message.organization_id,
        is_test=message.is_test,
        source=message.source,
        recipient=message.recipient,
        text=message.text,
        sender_id=message.sender_id,
        encoding=message.encoding,  # counted when it was queued
        segment_count=message.segment_count,
        scheduled_at=message.scheduled_at,
        program_id=message.program_id,
        token_id=message.token_id,
        user_id=message.user_id,
        queued_id=message.pk,
    )


def finish(results: Sequence[tuple[Started, Result]]) -> dict[str, int]:
    """Write how these calls ended: final states, or back to pending after a certain non-send.

    Returns how many messages went to each status. A message that is not its claim's any more is left as it is; a
    late answer settles its own `dispatch_timeout` as long as nobody else has.
    """
    counts: dict[str, int] = {}
    with transaction.atomic():
        now = clock.now()
        endings = []
        moves = counters.Moves()
        for started, result in sorted(results, key=lambda pair: pair[0].claimed.message.pk):
            message, attempt = started.claimed.message, started.attempt
            retry_at = routing.retry_at(result, tries_before=len(started.same_app), now=now)
            if message.job_id and result.is_about_the_whole_account:
                # The job pauses for it, and whoever resumes it has seen to the account.
                retry_at = now
                why = f"{result.message} Nothing of the rest was sent. {_PAUSING['no_app']}".strip()
                moves.pause(message.job_id, reason=result.reason, message=why, since=attempt.started_at)
            sending.close(attempt, result, now=now, retry_at=retry_at)
            changes = _after(started, result, now)
            held = Message.objects.filter(pk=message.pk, claim_token=message.claim_token)
            for before in (Status.SENDING, Status.DISPATCH_TIMEOUT):
                if held.filter(status=before).update(lease_expires_at=None, updated_at=now, **changes):
                    status = str(changes["status"])
                    counts[status] = counts.get(status, 0) + 1
                    endings.append(Ending(attempt, result, status))
                    moves.note(message.job_id, before=before, after=status)
                    break
        if endings:
            sending.finish(endings, now=now)
        moves.write(now=now)
    return counts


def _after(started: Started, result: Result, now: datetime) -> dict[str, object]:
    """Return what a result makes of its message."""
    said = {"reason": result.reason, "error_message": result.message}
    if result.outcome == Outcome.ACCEPTED:
        return {"status": Status.SENT, "sent_at": now, "claim_token": None, "reason": "", "error_message": ""}
    if result.outcome == Outcome.UNKNOWN:
        # The claim keeps its token: a late answer of the same attempt may still settle it.
        return {"status": Status.DISPATCH_TIMEOUT, **said}
    if not result.may_fail_over:
        return {"status": Status.FAILED, "claim_token": None, **said}
    claimed = started.claimed
    due_at = routing.next_try_at(claimed.message, apps=claimed.apps, tries=[*claimed.tries, started.attempt], now=now)
    if due_at is None:
        return {"status": Status.FAILED, "claim_token": None, **said}
    return {"status": Status.PENDING, "claim_token": None, "started_at": None, "next_attempt_at": due_at, **said}


def give_back(claimed: Iterable[Claimed], *, waits: Mapping[str, routing.Wait] | None = None) -> None:
    """Return messages without a start mark to the queue: due at once, or as `waits` says for its id.

    A job that cannot send, for want of its app or of credits, is paused: its rows would come back all the time.
    """
    moves = counters.Moves()
    with transaction.atomic():
        now = clock.now()
        for item in sorted(claimed, key=lambda each: each.message.pk):
            wait = (waits or {}).get(item.message.pk)
            said = {"reason": wait.reason, "error_message": wait.message} if wait else {}
            pauses = wait is not None and wait.reason in _PAUSING and item.message.job_id is not None
            due_at = now + _UNPAID_PAUSE if item.is_refused else now
            _held(item).update(
                status=Status.PENDING,
                claim_token=None,
                lease_expires_at=None,
                next_attempt_at=wait.until if wait and not pauses else due_at,  # whoever resumes a job need not wait
                updated_at=now,
                **said,
            )
            if wait and item.message.job_id and pauses:
                why = f"{wait.message} Nothing of the rest was sent. {_PAUSING[wait.reason]}"
                moves.pause(item.message.job_id, reason=wait.reason, message=why, since=item.message.claimed_at)
        moves.write(now=now)


def give_up(claimed: Claimed, *, reason: str, message: str) -> None:
    """End a message that nobody can send."""
    with transaction.atomic():
        now = clock.now()
        ended = _held(claimed).update(
            status=Status.FAILED,
            claim_token=None,
            lease_expires_at=None,
            reason=reason,
            error_message=message,
            updated_at=now,
        )
        if ended:
            sending.close_unsent([claimed.message.pk], reason=reason, message=message)
            moves = counters.Moves()
            moves.note(claimed.message.job_id, before=Status.PENDING, after=Status.FAILED)
            moves.write(now=now)


def _held(claimed: Claimed) -> QuerySet[Message]:
    """The message, if it is still this claim's and has not been started."""
    return Message.objects.filter(
        pk=claimed.message.pk,
        claim_token=claimed.message.claim_token,
        status=Status.SENDING,
        started_at__isnull=True,
    )
