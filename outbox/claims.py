"""The state changes of a message in hand: claim, start mark, finish, give back. Every one is guarded.

A claim is a random token and a lease. Whoever writes to a message in hand names the token, so a worker that overslept
cannot overwrite what happened since.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from billing import ledger
from billing.ledger import Credits
from linkit import batches, clock
from outbox import routing
from outbox.bulk import counters
from outbox.models import Message
from outbox.turns import Queue, Room, Turns, key_of
from sms_providers import charging, sending
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Outcome, Result
from sms_providers.sending import Ending, Route

# What keeps all rows of a job from being sent, and what to do about it.
_PAUSING = {"no_app": "See to the app, then resume.", "insufficient_credits": "Top up, then resume."}
_APPS_EVERY = 1.0  # seconds that a look at the installed apps is good for
_UNPAID_PAUSE = timedelta(seconds=1)  # before a message is looked at again whose hold was refused
# Columns of what is written at once, with PostgreSQL's types.
_TEXT, _TIME = "text", "timestamptz"
_MARKED = {"id": _TEXT, "claim_token": "uuid", "app_id": "bigint", "app_updated_at": _TIME, "provider_slug": _TEXT}
_FINISHED = {
    "id": _TEXT, "status": _TEXT, "reason": _TEXT, "error_message": _TEXT, "due_at": _TIME, "sent_at": _TIME,
}  # fmt: skip
_GIVEN_BACK = {"id": _TEXT, "claim_token": "uuid", "due_at": _TIME, "reason": _TEXT, "error_message": _TEXT}
# The start mark: only while the claim still holds, the job runs and the app may still send, as it was when it was
# chosen.
_MARK = """
WITH {given},
clock AS MATERIALIZED (SELECT {now} AS now),
running AS MATERIALIZED (
    SELECT id FROM outbox_bulkjob WHERE id IN ({jobs}) AND status = 'running' AND expires_at > (SELECT now FROM clock)
),
usable AS MATERIALIZED (
    SELECT id, updated_at FROM sms_providers_organizationapp
    WHERE id IN ({apps}) AND is_enabled AND uninstalled_at IS NULL
)
UPDATE outbox_message AS m
SET started_at = clock.now, updated_at = clock.now, app_id = given.app_id, provider_slug = given.provider_slug
FROM given, clock
WHERE m.id = given.id AND m.claim_token = given.claim_token AND m.status = 'sending' AND m.started_at IS NULL
AND m.lease_expires_at > clock.now
AND (m.expires_at > clock.now OR m.job_id IN (SELECT id FROM running))
AND (given.app_id IS NULL OR EXISTS (
    SELECT 1 FROM usable WHERE usable.id = given.app_id AND usable.updated_at = given.app_updated_at
))
RETURNING {returned}
"""
# Those that are still their claim's and not settled.
_STILL_OURS = """
SELECT id, claim_token, status FROM outbox_message
WHERE id IN ({ids}) AND status IN ('sending', 'dispatch_timeout') ORDER BY id {lock}
"""
# An unknown one keeps its claim's token: a late answer of the same attempt may still settle it.
_FINISH = """
WITH {given}
UPDATE outbox_message AS m
SET status = given.status, reason = given.reason, error_message = given.error_message, lease_expires_at = NULL,
    claim_token = CASE WHEN given.status = 'dispatch_timeout' THEN m.claim_token END,
    started_at = CASE WHEN given.status = 'pending' THEN NULL ELSE m.started_at END,
    next_attempt_at = COALESCE(given.due_at, m.next_attempt_at), sent_at = given.sent_at, updated_at = %s
FROM given
WHERE m.id = given.id
"""
_GIVE_BACK = """
WITH {given}
UPDATE outbox_message AS m
SET status = 'pending', claim_token = NULL, lease_expires_at = NULL, next_attempt_at = given.due_at,
    reason = given.reason, error_message = given.error_message, updated_at = %s
FROM given
WHERE m.id = given.id AND m.claim_token = given.claim_token AND m.status = 'sending' AND m.started_at IS NULL
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

    @property
    def since(self) -> datetime:
        """When it was claimed, by the database's clock."""
        assert self.message.claimed_at is not None
        return self.message.claimed_at


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
        return sending.times_refused(self.same_app)


def _no_limit(queue: Queue) -> int:
    return settings.OUTBOX_SENDERS * 100


class Installed:
    """The installed apps of organizations, remembered for a moment: the start mark asks whether each is as it was."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Look anew: something has changed."""
        self._good_until = time.monotonic() + _APPS_EVERY
        self._of: dict[uuid.UUID, list[OrganizationApp]] = {}
        self._by_pk: dict[int, OrganizationApp | None] = {}

    def look(self, messages: Iterable[Message]) -> None:
        """Find the apps of all these messages that are not known yet."""
        if time.monotonic() >= self._good_until:
            self.forget()
        organizations = {message.organization_id for message in messages} - self._of.keys()
        pinned = {message.pinned_app_id for message in messages if message.pinned_app_id} - self._by_pk.keys()
        if not (organizations or pinned):
            return
        # What is pinned needs its app alone, which for a program may be the platform's.
        wanted = Q(organization__in=organizations) | Q(pk__in=pinned)
        self._of.update((each, []) for each in organizations)
        self._by_pk.update(dict.fromkeys(pinned))
        for app in OrganizationApp.objects.installed().filter(wanted):
            self._by_pk[app.pk] = app
            if app.organization_id in organizations:
                self._of[app.organization_id].append(app)

    def of(self, message: Message) -> Sequence[OrganizationApp]:
        """Return those that may send a message that was looked for."""
        pinned = self._by_pk.get(message.pinned_app_id) if message.pinned_app_id else None
        return [pinned] if pinned else self._of[message.organization_id]


def claim(
    *, limit: int, turns: Turns | None = None, room: Room = _no_limit, installed: Installed | None = None
) -> list[Claimed]:
    """Lease up to `limit` due messages to the caller: those whose turn it is (`turns`), rows of bulk jobs after others.

    `room` says how many of a queue may be taken. Each queue's come in its order. `installed` keeps for the next claim
    which apps there are.
    """
    began = time.monotonic()  # before the database's clock is read: the lease ends no earlier than we think
    messages = (turns or Turns()).take(limit=limit, token=uuid.uuid4(), now=clock.now(), room=room)
    if not messages:
        return []
    call_limit = settings.PROVIDER_CALL_LIMIT + settings.OUTBOX_LEASE_MARGIN
    start_by = began + (settings.OUTBOX_LEASE - call_limit).total_seconds()
    installed = installed or Installed()
    installed.look(messages)
    apps = {message.pk: installed.of(message) for message in messages}
    standing: dict[uuid.UUID, Credits] = {}
    if any(message.program_id or any(app.is_metered for app in apps[message.pk]) for message in messages):
        standing = ledger.look({message.organization_id for message in messages})
    logs, tries = _former_tries(messages)
    return [
        Claimed(
            message,
            start_by,
            apps[message.pk],
            log := logs.get(message.pk),
            tries.get(log.pk, []) if log else [],
            standing.get(message.organization_id, Credits.AVAILABLE),
        )
        for message in _in_turn(messages)
    ]


def _former_tries(messages: Iterable[Message]) -> tuple[dict[str, SmsLog], dict[uuid.UUID, list[Attempt]]]:
    """Return the log rows that messages have already, by message, and what was tried for these, by log row."""
    # A log row comes with a start mark, which names the app, or from a direct send for later.
    known = [message.pk for message in messages if message.provider_slug or message.scheduled_at]
    found = SmsLog.objects.filter(queued_id__in=known) if known else ()
    logs = {log.queued_id: log for log in found if log.queued_id}
    tries: dict[uuid.UUID, list[Attempt]] = {}
    if logs:
        # Without the providers' answers: a message that is tried for days has hundreds.
        attempts = Attempt.objects.only(
            "log", "app", "provider_slug", "outcome", "reason", "message", "started_at", "retry_at"
        )
        for attempt in attempts.filter(log__in=logs.values()).order_by("pk"):
            tries.setdefault(attempt.log_id, []).append(attempt)
    return logs, tries


def _in_turn(messages: list[Message]) -> list[Message]:
    """Return messages before the rows of jobs, and of each queue the first, then the second of each, and so on."""
    messages.sort(key=lambda each: (each.next_attempt_at, each.row_number or 0, each.pk))
    places: Counter[uuid.UUID] = Counter()
    ranks = {}
    for message in messages:
        queue = key_of(message)
        ranks[message.pk] = (message.job_id is not None, places[queue])
        places[queue] += 1
    return sorted(messages, key=lambda each: ranks[each.pk])


def mark_started(batch: Sequence[tuple[Claimed, Route]]) -> list[Started]:
    """Commit the start mark, log row and attempt of these messages. One that does not come back must not be sent.

    It lost its lease or expired, its job was paused or stopped, its app was disabled or changed meanwhile, or it costs
    credits of which there are none: those it costs are held here.
    """
    batch = sorted(batch, key=lambda pair: pair[0].message.pk)
    with transaction.atomic():
        marked = _mark(batch)
        if not marked:
            return []
        now = next(iter(marked.values()))
        won = [pair for pair in batch if pair[0].message.pk in marked]
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


def _mark(batch: Sequence[tuple[Claimed, Route]]) -> dict[str, datetime]:
    """Set the start mark of what may be sent, and return the ids with the moment, which is the same for all."""
    rows = []
    for claimed, route in batch:
        app = route.app
        which = (app.pk, app.updated_at) if app else (None, None)
        rows.append([claimed.message.pk, claimed.message.claim_token, *which, route.slug])
    given, values = batches.table(_MARKED, rows)
    jobs = {claimed.message.job_id for claimed, _ in batch if claimed.message.job_id}
    apps = {route.app.pk for _, route in batch if route.app}
    if connection.vendor == "postgresql":
        now, moment, returned = None, "clock_timestamp()", "m.id, m.started_at"
    else:  # no server with a clock of its own, and a RETURNING that knows no alias
        now, moment, returned = clock.now(), "%s", "id"
    statement = _MARK.format(
        given=given, now=moment, jobs=batches.holes(jobs), apps=batches.holes(apps), returned=returned
    )
    parameters = [*values, *map(batches.plain, [*([now] if now else []), *jobs, *apps])]
    marked = batches.execute(*counters.holding(jobs), (statement, parameters))[-1]
    return {pk: now or at[0] for pk, *at in marked}


def _unmark(claimed: Claimed) -> None:
    """Take the start mark back from a message whose hold was refused, in the transaction of the mark."""
    claimed.is_refused = True
    message = claimed.message
    Message.objects.filter(pk=message.pk).update(
        started_at=None, app_id=message.app_id, provider_slug=message.provider_slug
    )


def _log_for(message: Message) -> SmsLog:
    return batches.build(
        SmsLog,
        {
            "organization_id": message.organization_id,
            "is_test": message.is_test,
            "source": message.source,
            "recipient": message.recipient,
            "text": message.text,
            "sender_id": message.sender_id,
            "encoding": message.encoding,  # counted when it was queued
            "segment_count": message.segment_count,
            "scheduled_at": message.scheduled_at,
            "program_id": message.program_id,
            "token_id": message.token_id,
            "user_id": message.user_id,
            "queued_id": message.pk,
        },
    )


def finish(results: Sequence[tuple[Started, Result]]) -> dict[str, int]:
    """Write how these calls ended: final states, or back to pending after a certain non-send.

    Returns how many messages went to each status. A message that is not its claim's any more is left as it is; a
    late answer settles its own `dispatch_timeout` as long as nobody else has.
    """
    counts: dict[str, int] = {}
    results = sorted(results, key=lambda pair: pair[0].claimed.message.pk)
    with transaction.atomic():
        now, befores = _still_ours([started.claimed.message for started, _ in results])
        endings, changed = [], []
        moves = counters.Moves()
        for started, result in results:
            message, attempt = started.claimed.message, started.attempt
            retry_at = routing.retry_at(result, tries_before=len(started.same_app), now=now)
            if message.job_id and result.is_about_the_whole_account:
                # The job pauses for it, and whoever resumes it has seen to the account.
                retry_at = now
                why = f"{result.message} Nothing of the rest was sent. {_PAUSING['no_app']}".strip()
                moves.pause(message.job_id, reason=result.reason, message=why, since=attempt.started_at)
            sending.close(attempt, result, now=now, retry_at=retry_at)
            if (before := befores.get(message.pk)) is None:
                continue
            status, due_at = _after(started, result, now)
            said = ("", "") if status == Status.SENT else (result.reason, result.message)
            sent_at = now if status == Status.SENT else None
            changed.append([message.pk, status.value, *said, due_at, sent_at])
            counts[status] = counts.get(status, 0) + 1
            endings.append(Ending(attempt, result, status))
            moves.note(message.job_id, before=before, after=status)
        if changed:
            given, values = batches.table(_FINISHED, changed)
            states = _FINISH.format(given=given), [*values, batches.plain(now)]
            sending.finish(endings, now=now, along=[states])
        moves.write(now=now)
    return counts


def _still_ours(messages: Sequence[Message]) -> tuple[datetime, dict[str, str]]:
    """Lock those that are still their claim's and not settled, in the caller's transaction.

    Returns the time since when, and their states.
    """
    tokens = {message.pk: message.claim_token for message in messages}
    lock = "FOR NO KEY UPDATE" if connection.vendor == "postgresql" else ""  # SQLite has one writer at a time
    now, (rows,) = clock.now_after((_STILL_OURS.format(ids=batches.holes(tokens), lock=lock), [*tokens]))
    return now, {pk: status for pk, token, status in rows if token and batches.uuid_of(token) == tokens[pk]}


def _after(started: Started, result: Result, now: datetime) -> tuple[Status, datetime | None]:
    """Return what a result makes of its message, and when it is due if it goes back to the queue."""
    if result.outcome == Outcome.ACCEPTED:
        return Status.SENT, None
    if result.outcome == Outcome.UNKNOWN:
        return Status.DISPATCH_TIMEOUT, None
    if not result.may_fail_over:
        return Status.FAILED, None
    claimed = started.claimed
    due_at = routing.next_try_at(claimed.message, apps=claimed.apps, tries=[*claimed.tries, started.attempt], now=now)
    return (Status.FAILED, None) if due_at is None else (Status.PENDING, due_at)


def give_back(claimed: Iterable[Claimed], *, waits: Mapping[str, routing.Wait] | None = None) -> None:
    """Return messages without a start mark to the queue: due at once, or as `waits` says for its id.

    A job that cannot send, for want of its app or of credits, is paused: its rows would come back all the time.
    """
    items = sorted(claimed, key=lambda each: each.message.pk)
    if not items:
        return
    moves = counters.Moves()
    with transaction.atomic():
        now = clock.now()
        rows = []
        for item in items:
            message, wait = item.message, (waits or {}).get(item.message.pk)
            pauses = wait is not None and wait.reason in _PAUSING and message.job_id is not None
            due_at = now + _UNPAID_PAUSE if item.is_refused else now
            if wait and not pauses:  # whoever resumes a job need not wait
                due_at = wait.until
            said = (wait.reason, wait.message) if wait else (message.reason, message.error_message)
            rows.append([message.pk, message.claim_token, due_at, *said])
            if wait and message.job_id and pauses:
                why = f"{wait.message} Nothing of the rest was sent. {_PAUSING[wait.reason]}"
                moves.pause(message.job_id, reason=wait.reason, message=why, since=message.claimed_at)
        given, values = batches.table(_GIVEN_BACK, rows)
        with connection.cursor() as cursor:
            cursor.execute(_GIVE_BACK.format(given=given), [*values, batches.plain(now)])
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
            counters.note(claimed.message.job_id, before=Status.PENDING, after=Status.FAILED, now=now)


def _held(claimed: Claimed) -> QuerySet[Message]:
    """The message, if it is still this claim's and has not been started."""
    return Message.objects.filter(
        pk=claimed.message.pk,
        claim_token=claimed.message.claim_token,
        status=Status.SENDING,
        started_at__isnull=True,
    )
