"""The one choke point: every SMS of every door is logged before its provider call and settled after it.

`start` and `finish` write a batch inside the caller's transaction; no transaction is open while a provider is being
called. The outbox calls them for its batches, `send_now` for a single direct send.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from billing.ledger import InsufficientCreditsError
from linkit import batches, clock, encoding, faults
from linkit.errors import Conflict, InvalidInput
from linkit.models import Organization, Token, User
from sms_providers import admission, catalogue, charging, signals
from sms_providers.adapters.base import ProviderAdapter, Sms
from sms_providers.models import SANDBOX, Attempt, OrganizationApp, SmsLog, Source, Status
from sms_providers.results import Outcome, Result, unknown
from sms_providers.transport import Budget

logger = logging.getLogger(__name__)

DEFAULT_WAIT = timedelta(seconds=2)  # before the next try, when the provider names no time
_WRITE_TRIES, _WRITE_PAUSE = 3, 0.5  # seconds; the caller of a direct send is waiting

_NOT_SENT = (Outcome.REJECTED, Outcome.UNAVAILABLE)
_RETRY_SOON = {"Retry-After": "2"}

# A log row whose message waits again, as if it were new.
WAITS_AGAIN: dict[str, Any] = {
    "status": Status.PENDING, "outcome": "", "reason": "", "error_message": "",
    "look_up_count": 0, "looked_up_at": None,
}  # fmt: skip
FINAL_STATUS = {
    Outcome.ACCEPTED: Status.SENT,
    Outcome.REJECTED: Status.FAILED,
    Outcome.UNAVAILABLE: Status.FAILED,
    Outcome.UNKNOWN: Status.DISPATCH_TIMEOUT,
}


@dataclass(frozen=True)
class Route:
    """Who sends: an installation and its adapter. Without an installation it is the simulator, for a test key."""

    app: OrganizationApp | None
    adapter: ProviderAdapter

    @property
    def slug(self) -> str:
        return self.adapter.slug


def route_for(organization: Organization, slug: str, *, is_test: bool = False) -> Route:
    """Return who speaks for `slug` in this organization. Raises `InvalidInput` saying why nobody does.

    A test caller may name the simulator without installing it.
    """
    adapter = catalogue.find(slug)
    if is_test and slug == SANDBOX:
        return Route(None, catalogue.sandbox())
    try:
        # With its credentials, which `installed()` would leave for a second query.
        app = OrganizationApp.objects.filter(organization=organization, slug=slug, uninstalled_at=None).first()
    except ImproperlyConfigured:
        raise _unreadable(slug) from None
    if app is None:
        raise InvalidInput(
            _("%(app)s is not installed; nothing was sent.") % {"app": adapter.name}, reason="app_not_installed"
        )
    if not app.is_enabled:
        raise InvalidInput(_("%(app)s is disabled; nothing was sent.") % {"app": adapter.name}, reason="app_disabled")
    return route_through(app)


def route_through(app: OrganizationApp) -> Route:
    """Return the route through this installation. Raises `InvalidInput` when its credentials cannot be read."""
    try:
        return Route(app, catalogue.adapter_for(app))
    except ImproperlyConfigured:
        raise _unreadable(app.slug) from None


def _unreadable(slug: str) -> InvalidInput:
    message = _("The credentials of %(app)s cannot be read; enter them again. Nothing was sent.")
    return InvalidInput(message % {"app": catalogue.app_name(slug)}, reason="credentials_unreadable")


@dataclass(frozen=True)
class Ending:
    """How an attempt ended (`close` has noted that on it) and what that makes of its SMS."""

    attempt: Attempt
    result: Result
    status: str


def new_log(
    *,
    organization_id: UUID,
    source: Source,
    recipient: str,
    text: str,
    sender_id: str = "",
    is_test: bool = False,
    scheduled_at: datetime | None = None,
    token: Token | None = None,
    user: User | None = None,
) -> SmsLog:
    """Return an unsaved log row for one SMS, with its encoding and segments counted."""
    counted = encoding.segments(text)
    return SmsLog(
        organization_id=organization_id,
        is_test=is_test,
        source=source,
        recipient=recipient,
        text=text,
        sender_id=sender_id,
        encoding=counted.encoding.value,
        segment_count=counted.count,
        scheduled_at=scheduled_at,
        token=token,
        user=user,
    )


def start(sends: Sequence[tuple[SmsLog, Route]], *, now: datetime) -> list[Attempt]:
    """Write the log rows and one open attempt each, in the caller's transaction. Logs may be new or known."""
    attempts: list[Attempt] = []
    new: list[SmsLog] = []
    known: list[SmsLog] = []
    for log, route in sends:
        log.status, log.app, log.provider_slug, log.updated_at = Status.SENDING, route.app, route.slug, now
        (new if log._state.adding else known).append(log)
        opened = {"log_id": log.pk, "app_id": log.app_id, "provider_slug": route.slug, "started_at": now}
        attempts.append(attempt := batches.build(Attempt, opened))
        attempt.log = log
    statements = [batches.inserting(attempts, returning=["log", "id"])]
    if known:
        fields = ["status", "app", "provider_slug", "credit_cost", "updated_at"]
        statements.insert(0, batches.updating(known, fields))
    if new:
        statements.insert(0, batches.inserting(new))
    keys = {batches.uuid_of(log_id): key for log_id, key in batches.execute(*statements)[-1]}
    for attempt in attempts:
        attempt.pk = keys[attempt.log_id]
    batches.note_inserted([*new, *attempts])
    return attempts


def sms_for(log: SmsLog, *, send_at: datetime | None = None, times_refused: int = 0) -> Sms:
    """Return what an adapter needs to send this log row; `times_refused`: by the same app, with a certain non-send."""
    return Sms(
        recipient=log.recipient,
        text=log.text,
        sender_id=log.sender_id,
        send_at=send_at,
        reference=str(log.pk),
        times_refused=times_refused,
    )


def times_refused(tries: Sequence[Attempt]) -> int:
    """Return how many tries through one app certainly did not send it, before the first that may have.

    With it a provider is given the reference of the first that may have arrived, and no later one.
    """
    return sum(1 for _ in itertools.takewhile(lambda attempt: attempt.outcome in _NOT_SENT, tries))


def close(attempt: Attempt, result: Result, *, now: datetime, retry_at: datetime | None = None) -> None:
    """Note on `attempt` how it ended, unsaved. `retry_at`: when the same app may be tried again."""
    attempt.outcome, attempt.fault = result.outcome, result.fault.value if result.fault else ""
    attempt.reason, attempt.message, attempt.code = result.reason, result.message, result.code
    attempt.http_status, attempt.response = result.http_status, result.raw
    attempt.provider_message_id = result.provider_message_id
    attempt.finished_at, attempt.retry_at = now, retry_at


def finish(endings: Sequence[Ending], *, now: datetime, along: Sequence[batches.Statement] = ()) -> None:
    """Write results to attempts and logs, and charge or give back, in the caller's transaction.

    The caller has made sure, in this transaction, that each message is still this attempt's to finish. What it has to
    write of its own may come `along`. There must be an ending.
    """
    logs = []
    for ending in endings:
        result, log = ending.result, ending.attempt.log
        log.status, log.outcome, log.reason, log.error_message = (
            ending.status,
            result.outcome,
            result.reason,
            result.message,
        )
        log.provider_message_id = result.provider_message_id
        log.provider_cost, log.provider_currency = result.cost, result.currency
        log.provider_segment_count = result.segment_count
        if result.outcome == Outcome.ACCEPTED:
            log.credit_charged = log.credit_cost or Decimal(0)
        log.sent_at = now if ending.status == Status.SENT else None
        log.deadline_at, log.updated_at = None, now
        if result.outcome == Outcome.UNAVAILABLE and not log.queued_id:
            # Nothing happened that a repeat of the request could double: the key is free again.
            log.idempotency_key = None
        logs.append(log)
    batches.execute(
        *along,
        batches.updating(
            [ending.attempt for ending in endings],
            [
                "outcome", "fault", "reason", "message", "code", "http_status", "response", "provider_message_id",
                "finished_at", "retry_at",
            ],
        ),
        batches.updating(
            logs,
            [
                "status", "outcome", "reason", "error_message", "provider_message_id", "provider_cost",
                "provider_segment_count", "provider_currency", "credit_charged", "sent_at", "deadline_at",
                "idempotency_key", "updated_at",
            ],
        ),
    )  # fmt: skip
    charging.settle(
        accepted=[ending.attempt.log for ending in endings if ending.result.outcome == Outcome.ACCEPTED],
        unsent=[ending.attempt.log for ending in endings if ending.result.outcome in _NOT_SENT],
    )


def close_unsent(message_ids: Sequence[str], *, reason: str, message: str) -> None:
    """Fail the log rows of queued messages that will not be sent (again), in the caller's transaction."""
    SmsLog.objects.filter(queued_id__in=message_ids, status=Status.PENDING).update(
        status=Status.FAILED, reason=reason, error_message=message, updated_at=clock.now()
    )


def reopen(message_ids: Sequence[str], *, now: datetime) -> None:
    """Make the failed log rows of messages that are queued again wait with them, in the caller's transaction."""
    SmsLog.objects.filter(queued_id__in=message_ids, status=Status.FAILED).update(**WAITS_AGAIN, updated_at=now)


def digest(**parts: Any) -> str:
    """Return a fingerprint of a request, to tell a repeat from another request under the same key."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def send_now(
    log: SmsLog,
    route: Route,
    *,
    send_at: datetime | None = None,
    idempotency_key: str | None = None,
    request_digest: str = "",
) -> tuple[SmsLog, Attempt | None]:
    """Send `log` (from `new_log`) through `route` and wait for the end. Returns it with its attempt.

    With `send_at` the provider is asked to hold it, when it can; otherwise the message is queued with us, pinned to
    the installation, and the attempt is None. Without a call it ends as unavailable when the installation's circuit is
    open, or its rate leaves no room within two seconds. A repeated `idempotency_key` returns the first send, whatever
    became of it; with another body it raises `Conflict`, and so it does while the first is under way. Raises
    `InsufficientCreditsError` when it costs credits and there are none: then nothing is logged.
    """
    log.idempotency_key, log.request_digest = idempotency_key or None, request_digest
    if log.idempotency_key is not None:
        # A repeat needs no permit. Of those that race the insert decides.
        first = find_first(log.organization_id, log.idempotency_key, request_digest, is_test=log.is_test)
        if first is not None:
            return first
    is_held_by_us = send_at is not None and not route.adapter.can_schedule(send_at, now=clock.now())
    hindrance = None if is_held_by_us else admission.wait(route.app)
    began = time.monotonic()  # before the database's clock is read: the deadline is no earlier than we think
    now = clock.now()
    try:
        with transaction.atomic():
            if send_at is not None and is_held_by_us:
                _queue(log, route, due_at=send_at)
                return log, None
            log.deadline_at = now + settings.DIRECT_SEND_DEADLINE
            charging.price([(log, route)], now=now)
            attempt = _start_one(log, route, now=now)
            if charging.hold([log]):
                raise InsufficientCreditsError
    except IntegrityError:
        if log.idempotency_key is None:
            raise
        first = find_first(log.organization_id, log.idempotency_key, request_digest, is_test=log.is_test)
        if first is None:
            # The first try ended in between without anything sent, and has set the key free.
            raise Conflict(
                "A send with this key has just ended without anything sent; send again.", headers=_RETRY_SOON
            ) from None
        return first
    latest = settings.DIRECT_SEND_DEADLINE - settings.PROVIDER_CALL_LIMIT_WEB
    budget = Budget(limit=settings.PROVIDER_CALL_LIMIT_WEB, start_by=began + latest.total_seconds())
    if hindrance is not None:
        _settle(attempt, hindrance)
        return attempt.log, attempt
    try:
        result = route.adapter.send(sms_for(log, send_at=send_at), budget)
    except Exception as error:  # of a site's own adapter, after we have said that we start
        logger.error("SMS %s: sending broke off: %s", log.pk, faults.describe(error))
        result = unknown("internal_error", "A fault of ours during the call. The message may have been sent.")
    _settle(attempt, result)
    admission.learn(route.app, result)
    return attempt.log, attempt


def _start_one(log: SmsLog, route: Route, *, now: datetime) -> Attempt:
    log.status, log.app, log.provider_slug = Status.SENDING, route.app, route.slug
    # A plain insert: the constraint on the key must be able to say no, which an upsert would hide.
    log.save(force_insert=True)
    return Attempt.objects.create(log=log, app=route.app, provider_slug=route.slug, started_at=now)


def _queue(log: SmsLog, route: Route, *, due_at: datetime) -> None:
    log.status, log.app, log.provider_slug = Status.PENDING, route.app, route.slug
    log.save(force_insert=True)
    ((_, queued_id),) = signals.queue_requested.send(SmsLog, log=log, app=route.app, due_at=due_at)
    log.queued_id = str(queued_id)
    log.save(update_fields=["queued_id"])


def find_first(
    organization_id: UUID, idempotency_key: str, request_digest: str, *, is_test: bool
) -> tuple[SmsLog, Attempt | None] | None:
    """Return the direct send that has this key already, or None.

    Raises `Conflict` when it was another request, or is still under way.
    """
    first = SmsLog.objects.filter(
        organization_id=organization_id, is_test=is_test, idempotency_key=idempotency_key
    ).first()
    if first is None:
        return None
    if first.request_digest != request_digest:
        raise Conflict(
            "This Idempotency-Key was used for another request; nothing was sent. Use a new key for a new message.",
            reason="idempotency_key_reused",
        )
    if first.status == Status.SENDING and not first.queued_id:
        raise Conflict(
            "The first send with this key is still under way; ask again for its answer.",
            reason="send_under_way",
            headers=_RETRY_SOON,
        )
    return first, first.attempts.last()


def _settle(attempt: Attempt, result: Result) -> None:
    """Record how a direct send ended, unless somebody has settled it since. Retried: the message may have left."""
    log = attempt.log
    for tries_left in reversed(range(_WRITE_TRIES)):
        try:
            with transaction.atomic():
                current = SmsLog.objects.select_for_update().get(pk=log.pk)
                if current.status in (Status.SENDING, Status.DISPATCH_TIMEOUT):
                    now = clock.now()
                    wait = DEFAULT_WAIT if result.retry_after is None else result.retry_after
                    retry_at = now + wait if result.outcome == Outcome.UNAVAILABLE else None
                    close(attempt, result, now=now, retry_at=retry_at)
                    finish([Ending(attempt, result, FINAL_STATUS[result.outcome])], now=now)
                else:
                    attempt.log = current
                    logger.warning(
                        "SMS %s was settled before its answer came: %s %s",
                        log.pk, result.outcome, result.provider_message_id,
                    )  # fmt: skip
            return
        except Exception as error:
            fault = faults.describe(error)
            logger.error("SMS %s: its result (%s) could not be written: %s", log.pk, result.outcome, fault)
            if tries_left:
                time.sleep(_WRITE_PAUSE)
    # The row still says `sending` and the reaper will make it unknown: say the same to the caller.
    lost = unknown("not_recorded", "The provider answered but the answer could not be recorded.")
    log.status, log.outcome, log.reason, log.error_message = (
        Status.DISPATCH_TIMEOUT,
        lost.outcome,
        lost.reason,
        lost.message,
    )
