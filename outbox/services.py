"""Enqueue and cancel: the verbs of the outbox's doors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import DataError, IntegrityError, transaction
from django.db import Error as DatabaseFault
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit import clock
from linkit.errors import Conflict, InvalidInput, Missing
from linkit.models import Organization, Token, User
from outbox import entries, routing, tasks
from outbox.bulk import counters, jobs
from outbox.bulk.models import JobStatus
from outbox.entries import Entry, Known, Owner, Sender
from outbox.models import Message
from sms_providers import schedule
from sms_providers.models import SANDBOX, OrganizationApp, SmsLog, Status
from sms_providers.sending import close_unsent, digest

_TRIES = 3  # an app may come or go between looking and inserting


class NoApp(InvalidInput):
    """No installed app can send it."""

    reason = "no_app"


@dataclass(frozen=True)
class Enqueued:
    """The message as it stands, and whether it was there before; `is_mismatch` when it was, with another body."""

    pk: str
    status: str
    is_replay: bool = False
    is_mismatch: bool = False

    @cached_property
    def message(self) -> Message:
        return Message.objects.get(pk=self.pk)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that somebody wants to be queued."""

    recipient: str
    text: str
    sender_id: str = ""
    scheduled_at: datetime | None = None
    preferred_slug: str = ""
    idempotency_key: str | None = None
    meta: dict[str, Any] | None = None
    ttl: timedelta | None = None


# What becomes of one. A fault of the database leaves open whether it was queued.
Fate = Enqueued | InvalidInput | DatabaseFault


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
    wanted = Wanted(recipient, text, sender_id, scheduled_at, preferred_slug, idempotency_key, meta, ttl)
    owner, entry = _owner(organization, is_test=is_test, token=token, user=user), _entry(wanted)
    if scheduled_at is None:
        # Nearly always the key is new and there is an app: then it is queued. Only if it is not, somebody looks why.
        sender = Sender(preferred_slug, is_simulated=is_test and not preferred_slug)
        if entries.insert(owner, [entry], sender):
            transaction.on_commit(tasks.wake, robust=True)  # it is queued, whatever comes of the call
            return Enqueued(entry.id, Status.PENDING.value)
        if entry.idempotency_key and (first := entries.known(owner, [entry.idempotency_key])):
            return _repeat(first[entry.idempotency_key], entry)
    (fate,) = _settle(organization, owner, [entry])
    if isinstance(fate, Exception):
        raise fate
    return fate


def enqueue_many(
    wanted: Sequence[Wanted],
    *,
    organization: Organization,
    is_test: bool = False,
    token: Token | None = None,
    user: User | None = None,
) -> list[Fate]:
    """Do for each message what `enqueue` does, in few statements. Returns what that would return or raise, in order.

    One with the key of another before it is a repeat of that.
    """
    owner = _owner(organization, is_test=is_test, token=token, user=user)
    return _settle(organization, owner, [_entry(each) for each in wanted])


def _settle(organization: Organization, owner: Owner, arrived: Sequence[Entry]) -> list[Fate]:
    arrival = _Arrival(organization, owner, arrived)
    arrival.settle()
    if arrival.is_due:
        transaction.on_commit(tasks.wake, robust=True)
    return [arrival.fates[place] for place in range(len(arrived))]


def _owner(organization: Organization, *, is_test: bool, token: Token | None, user: User | None) -> Owner:
    return Owner(organization.pk, is_test, token.pk if token else None, user.pk if user else None)


def _entry(wanted: Wanted) -> Entry:
    meta = wanted.meta or {}
    request_digest = digest(
        recipient=wanted.recipient,
        text=wanted.text,
        sender_id=wanted.sender_id,
        scheduled_at=wanted.scheduled_at,
        preferred_slug=wanted.preferred_slug,
        meta=meta,
        ttl=wanted.ttl,
    )
    return Entry(
        recipient=wanted.recipient,
        text=wanted.text,
        lifetime=wanted.ttl or settings.OUTBOX_TTL,
        request_digest=request_digest,
        sender_id=wanted.sender_id,
        scheduled_at=wanted.scheduled_at,
        preferred_slug=wanted.preferred_slug,
        idempotency_key=wanted.idempotency_key or None,
        meta=meta,
    )


def _repeat(first: Known, entry: Entry) -> Enqueued:
    is_mismatch = first.request_digest != entry.request_digest
    return Enqueued(first.id, first.status, is_replay=True, is_mismatch=is_mismatch)


class _Arrival:
    """Messages that came together. They are named by place, and `fates` says what became of each."""

    def __init__(self, organization: Organization, owner: Owner, arrived: Sequence[Entry]) -> None:
        self.fates: dict[int, Fate] = {}
        self.is_due = False
        self._organization, self._owner, self._entries = organization, owner, arrived
        self._known: dict[str, Known] = {}
        self._bad_times: dict[int, InvalidInput] = {}  # a known key is answered all the same
        if any(entry.scheduled_at for entry in arrived):
            self._set_due_times(clock.now())

    def settle(self) -> None:
        """Decide all fates. Those that share a key have their turns one after the other."""
        waiting = list(range(len(self._entries)))
        while waiting:
            firsts = {self._entries[place].idempotency_key or place: place for place in reversed(waiting)}
            self._queue(sorted(firsts.values()))
            self._answer_known(waiting)
            waiting = self._undecided(waiting)

    def _set_due_times(self, now: datetime) -> None:
        for place, entry in enumerate(self._entries):
            try:
                entry.due_at = schedule.resolve(entry.scheduled_at, now=now)
            except InvalidInput as error:
                self._bad_times[place] = error

    def _queue(self, places: Sequence[int]) -> None:
        """Decide the fates of these, no two of which have the same key."""
        for _round in range(_TRIES):
            self._look_up(self._undecided(places))
            senders = self._senders(self._undecided(places))
            for sender in set(senders.values()):
                self._insert([place for place, each in senders.items() if each == sender], sender)
            if not self._undecided(places):
                return
        changing = NoApp(_("The apps that may send it keep changing; nothing was queued. Try again."))
        self.fates |= dict.fromkeys(self._undecided(places), changing)

    def _senders(self, places: Iterable[int]) -> dict[int, Sender]:
        """Return who is to send these. What nobody can send has its fate."""
        senders: dict[int, Sender] = {}
        answers: dict[str, Sender | InvalidInput | DatabaseFault] = {}
        for place in places:
            slug = self._entries[place].preferred_slug
            if slug not in answers:
                answers[slug] = self._find_sender(slug)
            answer = self._bad_times.get(place, answers[slug])
            if isinstance(answer, Sender):
                senders[place] = answer
            else:
                self.fates[place] = answer
        return senders

    def _find_sender(self, slug: str) -> Sender | InvalidInput | DatabaseFault:
        is_test = self._owner.is_test
        try:
            app = _pinned_app(self._organization, slug, is_test=is_test)
        except (InvalidInput, DatabaseFault) as error:
            return error
        return Sender(app.slug) if app else Sender(is_simulated=is_test)

    def _insert(self, places: Sequence[int], sender: Sender) -> None:
        """Queue those whose key is free, if `sender` can send them. One that the database refuses stops no other."""
        arrived = [self._entries[place] for place in places]
        try:
            with transaction.atomic():
                queued = entries.insert(self._owner, arrived, sender)
        except (DataError, IntegrityError) as error:
            if len(places) == 1:
                self.fates[places[0]] = error
                return
            half = len(places) // 2
            self._insert(places[:half], sender)
            self._insert(places[half:], sender)
        except DatabaseFault as error:
            self.fates |= dict.fromkeys(places, error)
        else:
            for place, entry in zip(places, arrived, strict=True):
                if entry.id in queued:
                    self.fates[place] = Enqueued(entry.id, Status.PENDING.value)
                    self.is_due = self.is_due or entry.due_at is None
                    if entry.idempotency_key:
                        self._known[entry.idempotency_key] = Known(entry.id, Status.PENDING.value, entry.request_digest)

    def _look_up(self, places: Sequence[int]) -> None:
        """Answer those whose key is known."""
        keys = [key for place in places if (key := self._entries[place].idempotency_key)]
        try:
            self._known |= entries.known(self._owner, keys)
        except DatabaseFault as error:
            self.fates |= dict.fromkeys(places, error)
        self._answer_known(places)

    def _answer_known(self, places: Iterable[int]) -> None:
        for place in self._undecided(places):
            entry = self._entries[place]
            if first := self._known.get(entry.idempotency_key or ""):
                self.fates[place] = _repeat(first, entry)

    def _undecided(self, places: Iterable[int]) -> list[int]:
        return [place for place in places if place not in self.fates]


def queue_pinned(*, log: SmsLog, app: OrganizationApp | None, due_at: datetime) -> Enqueued:
    """Queue a direct send for later, in the caller's transaction. `log` is its row in the SMS log."""
    owner = Owner(log.organization_id, log.is_test, log.token_id, log.user_id)
    entry = Entry(
        recipient=log.recipient,
        text=log.text,
        lifetime=settings.OUTBOX_TTL,
        request_digest=log.request_digest,
        sender_id=log.sender_id,
        scheduled_at=due_at,
        due_at=due_at,
        preferred_slug=app.slug if app else "",
    )
    sender = Sender(app.slug) if app else Sender(is_simulated=True)
    if not entries.insert(owner, [entry], sender):
        text = _("The app '%(slug)s' has just been uninstalled or disabled; nothing was queued.")
        raise NoApp(text % {"slug": sender.slug})
    return Enqueued(entry.id, Status.PENDING.value)


def _pinned_app(organization: Organization, slug: str, *, is_test: bool) -> OrganizationApp | None:
    """Return the app that alone may send, None for any. Raises `NoApp` when nothing could send."""
    apps = list(OrganizationApp.objects.installed().filter(organization=organization))
    if slug:
        app = next((app for app in apps if app.slug == slug and app.is_usable), None)
        if app is None and not (is_test and slug == SANDBOX):
            raise NoApp(
                _("There is no app '%(slug)s' that is installed and enabled; nothing was queued.") % {"slug": slug},
                fields={"preferred_provider_slug": ["Not installed and enabled."]},
                reason="app_not_installed",
            )
        return app
    if is_test or routing.usable(apps):
        return None
    if [app.slug for app in apps] == [SANDBOX] and apps[0].is_usable:
        # Decided here and for good: an app that is uninstalled later must not send its messages into the simulator.
        return apps[0]
    raise NoApp(_("No SMS app is installed and enabled; nothing was queued. Install one in the App Store."))


def find(*, messages: QuerySet[Message], message_id: str) -> Message:
    """Return one of the caller's messages. Raises `Missing`."""
    message = messages.filter(pk=message_id).first()
    if message is None:
        raise Missing("There is no such message.")
    return message


def cancel(*, message: Message) -> None:
    """End a pending message without sending it. Raises `Conflict` when it is not pending any more."""
    said = noop("Cancelled before it was sent.")
    with transaction.atomic():
        # The job first, as everybody does who moves many of its messages. Locked, and not joined to the update below:
        # PostgreSQL looks again at the row it updates, after it has waited for it, but not at what was joined to it.
        job = jobs.lock(message.job_id)
        now = clock.now()
        pending = Message.objects.filter(pk=message.pk, status=Status.PENDING)
        # While the failed messages of a job are queued again, one that fails now would be too.
        if job and job.status == JobStatus.RETRYING and pending.exists():
            text = _("Its job is just being queued again; cancel it in a moment.")
            raise Conflict(text, reason="wrong_state")
        if not pending.update(status=Status.FAILED, reason="cancelled", error_message=said, updated_at=now):
            current = Message.objects.filter(pk=message.pk).values_list("status", flat=True).first()
            text = _("Only a pending message can be cancelled; this one is '%(status)s'.")
            raise Conflict(text % {"status": current}, reason="not_pending")
        close_unsent([message.pk], reason="cancelled", message=said)
        counters.note(message.job_id, before=Status.PENDING, after=Status.FAILED, now=now)
