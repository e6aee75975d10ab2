"""SMS programs: one template to many contacts, through the outbox. A launched program stands as its job stands."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from billing import ledger
from billing.ledger import InsufficientCreditsError
from contacts import rendering, single
from contacts.models import Audience, Contact, SmsProgram
from contacts.turns import take_turn
from linkit import clock
from linkit.errors import Conflict, InvalidInput, Missing
from linkit.models import Organization, Token, User
from outbox import tasks
from outbox.bulk import jobs, splitting
from outbox.bulk.checking import Batch
from outbox.bulk.models import LIVE, BulkJob, JobStatus
from outbox.bulk.rows import RowError, ValidRow
from outbox.bulk.writing import RowWriter
from outbox.models import Message
from sms_providers import text as sms_text
from sms_providers.models import SANDBOX

MAX_CONTACTS = 10_000  # named one by one; an audience holds any number
_BATCH = 2000  # contacts in a transaction
# How the API calls what a program is; a page translates it.
_STATES = (noop("draft"), noop("pending"), noop("sending"), noop("completed"), noop("cancelled"), noop("failed"))


def create(
    *,
    organization: Organization,
    name: str,
    template: str,
    sender_id: UUID,
    audience_id: UUID | None = None,
    contact_ids: Sequence[UUID] = (),
    is_test: bool = False,
    token: Token | None = None,
    user: User | None = None,
    program_id: UUID | None = None,
) -> SmsProgram:
    """Make a draft for an audience, or for the contacts that are named. Nothing is sent before `launch`.

    Raises the errors of `single.usable_sender`, and `InvalidInput` for an audience or contact that is not there.
    """
    program = SmsProgram(
        organization=organization, name=name, is_test=is_test, token=token, created_by=user, template=template
    )
    if program_id is not None:
        program.pk = program_id
    with transaction.atomic():
        program.sender = single.usable_sender(organization, sender_id)
        program.audience = _audience(organization, audience_id)
        program.save(force_insert=True)
        _set_contacts(program, contact_ids)
    program.refresh_from_db(fields=["created_at"])
    return program


def change(*, program: SmsProgram, fields: dict[str, Any]) -> SmsProgram:
    """Change a draft: any of `name`, `template`, `sender_id`, `audience_id`, `contact_ids`. Raises as `create` does.

    An audience takes the place of named contacts, and they of it. Raises `Conflict` once it is no draft any more.
    """
    with transaction.atomic():
        current = _locked_draft(program)
        organization = current.organization
        current.name, current.template = fields.get("name", current.name), fields.get("template", current.template)
        if "sender_id" in fields:
            current.sender = single.usable_sender(organization, fields["sender_id"])
        if fields.get("audience_id"):
            current.audience = _audience(organization, fields["audience_id"])
            current.contacts.clear()
        if fields.get("contact_ids"):
            current.audience = None
            _set_contacts(current, fields["contact_ids"])
        current.save()
    return current


def delete(*, program: SmsProgram) -> None:
    """Delete a draft, also a cancelled one. Raises `Conflict` for one that was launched: it is history."""
    with transaction.atomic():
        current = _locked(program)
        if current.job is not None:
            raise _over(current, _("Only a draft can be deleted; this program is '%(status)s'."))
        current.delete()


def launch(*, program: SmsProgram, token: Token | None = None, user: User | None = None) -> SmsProgram:
    """Queue the draft for all its contacts, as they are now. They are written to the outbox by a worker.

    `token` and `user` say who launches it.

    Raises `Conflict` when it is no draft any more, the errors of the sender ID, `InsufficientCreditsError` when
    nothing is available, and `InvalidInput` when it has nobody to go to.
    """
    with transaction.atomic():
        take_turn(program.organization)  # an audience is deleted before, or once its messages are written
        current = _locked_draft(program)
        organization = current.organization
        route = single.gateway(single.usable_sender(organization, current.sender_id))
        if not recipients(current).exists():
            raise InvalidInput(_("There is no contact to send to; nothing was sent."), reason="no_contacts")
        if not current.is_test and not ledger.has_credits(organization):
            raise InsufficientCreditsError
        job = BulkJob.objects.create(
            organization=organization,
            is_test=current.is_test,
            app=None if current.is_test else route.app,
            provider_slug=SANDBOX if current.is_test else route.slug,
            token=token,
            user=user,
            program_id=current.pk,
            filename=current.name,
            size=0,
            region=organization.default_region,
            time_zone=organization.time_zone,
        )
        jobs.refuse_gone(job)
        current.job, current.launched_at = job, clock.now()
        current.save(update_fields=["job", "launched_at", "updated_at"])
        transaction.on_commit(tasks.wake_for_jobs, robust=True)
    return current


def send(
    *,
    program_id: UUID,
    organization: Organization,
    name: str,
    template: str,
    sender_id: UUID,
    contact_ids: Sequence[UUID],
    user: User,
) -> tuple[SmsProgram, bool]:
    """Make a program for these contacts and launch it: both or neither, and once for a `program_id`.

    Returns it, and whether it is new: a repeat returns the first one. Raises as `create` and `launch` do, and
    `Conflict` when the id stands for something else.
    """
    wanted = {"organization": organization, "template": template, "sender_id": sender_id, "created_by": user}

    def sent_before() -> SmsProgram | None:
        first = SmsProgram.objects.select_related("job", "sender", "organization").filter(pk=program_id).first()
        if first is None:
            return None
        is_same = all(getattr(first, field) == value for field, value in wanted.items())
        if not is_same or set(first.contacts.values_list("pk", flat=True)) != set(contact_ids):
            raise Conflict("This id was used for another program; nothing was sent.", reason="idempotency_key_reused")
        return first

    if (first := sent_before()) is not None:
        return first, False
    try:
        with transaction.atomic():
            draft = create(
                organization=organization,
                name=name,
                template=template,
                sender_id=sender_id,
                contact_ids=contact_ids,
                user=user,
                program_id=program_id,
            )
            return launch(program=draft, user=user), True
    except IntegrityError:  # of two at once, the other click's is there now
        if (first := sent_before()) is None:
            raise
        return first, False


def cancel(*, program: SmsProgram) -> SmsProgram:
    """Send no more of a program. What is under way ends; the rest is cancelled. Raises `Conflict` once it is over."""
    with transaction.atomic():
        current = _locked(program)
        if current.job is None:
            if current.cancelled_at is not None:
                raise _over(current, _("Only one that is not over can be cancelled; this program is '%(status)s'."))
            current.cancelled_at = clock.now()
            current.save(update_fields=["cancelled_at", "updated_at"])
            return current
    if current.job.status not in LIVE or current.job.status == JobStatus.STOPPING:
        raise _over(current, _("Only one that is not over can be cancelled; this program is '%(status)s'."))
    jobs.stop(current.job)
    tasks.wake_for_jobs()
    return reload(current)


def resume(*, program: SmsProgram) -> SmsProgram:
    """Go on with a program that paused, for want of credits or of its gateway. Raises `Conflict` otherwise."""
    if program.job is None or program.job.status != JobStatus.PAUSED:
        raise _over(program, _("Only one that has paused can be resumed; this program is '%(status)s'."))
    jobs.resume(program.job)
    tasks.wake()
    return reload(program)


def reload(program: SmsProgram) -> SmsProgram:
    return SmsProgram.objects.select_related("job", "sender").get(pk=program.pk)


def find(*, programs: QuerySet[SmsProgram], program_id: UUID) -> SmsProgram:
    """Return one of the caller's programs. Raises `Missing`."""
    program = programs.select_related("job", "sender", "organization").filter(pk=program_id).first()
    if program is None:
        raise Missing(_("There is no such SMS program."))
    return program


def recipients(program: SmsProgram) -> QuerySet[Contact]:
    """Return whom it goes to at this moment: contacts that are not deleted, by id."""
    chosen = program.audience.contacts if program.audience else program.contacts
    return chosen.filter(organization=program.organization_id, deleted_at=None).order_by("pk")


def _audience(organization: Organization, audience_id: UUID | None) -> Audience | None:
    if audience_id is None:
        return None
    audience = Audience.objects.filter(pk=audience_id, organization=organization).first()
    if audience is None:
        raise InvalidInput(_("There is no such audience."), fields={"audienceId": ["Not an audience of yours."]})
    return audience


def _set_contacts(program: SmsProgram, contact_ids: Sequence[UUID]) -> None:
    wanted = set(contact_ids)
    known = list(Contact.objects.live().filter(pk__in=wanted, organization=program.organization_id))
    if unknown := wanted - {contact.pk for contact in known}:
        named = ", ".join(str(pk) for pk in sorted(unknown)[:5])
        said = _("Not contacts of yours: %(ids)s. Nothing was changed.") % {"ids": named}
        raise InvalidInput(said, fields={"contactIds": [f"Unknown: {named}"]})
    program.contacts.set(known)


def _locked_draft(program: SmsProgram) -> SmsProgram:
    """Return the draft, locked in the caller's transaction. Raises `Conflict` when it is none any more."""
    current = _locked(program)
    if current.job is not None or current.cancelled_at is not None:
        raise _over(current, _("Only a draft can be changed or launched; this program is '%(status)s'."))
    return current


def _locked(program: SmsProgram) -> SmsProgram:
    # Without joins: a lock that is waited for brings its own row up to date, and not what was joined to it.
    return SmsProgram.objects.select_for_update().get(pk=program.pk)


def _over(program: SmsProgram, text: str) -> Conflict:
    return Conflict(text % {"status": _(program.status.value)}, reason="wrong_state")


# --- into the outbox ------------------------------------------------------------------------------------------


def write(job: BulkJob, stop: threading.Event) -> None:
    """Write a message for each contact of a leased job's program beyond those that are written, then release it.

    A transaction moves `written_until` with the messages it writes, so a crash costs nothing and doubles nobody.
    Raises `LeaseLost`. Ends early when `stop` is set.
    """
    program = SmsProgram.objects.select_related("audience", "sender").get(job=job)
    writer = RowWriter(job)
    for contacts, batch in _batches(program, job):
        with transaction.atomic():
            splitting.write(job, writer, batch)
            SmsProgram.objects.filter(pk=program.pk).update(written_until=contacts[-1].pk)
        job.read_until = batch.last
        if stop.is_set():
            return
    if job.read_until == 0:
        splitting.refuse(job, reason="no_contacts", message=noop("There is no contact any more to send to."))
        return
    splitting.conclude(job, {}, last_due_at=None, rate=job.max_per_second)


def _batches(program: SmsProgram, job: BulkJob) -> Iterator[tuple[list[Contact], Batch]]:
    template = rendering.compile_template(program.template)
    attributes = single.attribute_names(program.organization_id)
    first, after = job.read_until + 1, program.written_until
    while True:
        rows = recipients(program) if after is None else recipients(program).filter(pk__gt=after)
        contacts = list(rows[:_BATCH])
        if not contacts:
            return
        # A contact may get another's number while the program is written: nobody is texted twice for it.
        phones = [contact.primary_phone for contact in contacts]
        written = set(Message.objects.filter(job=job, recipient__in=phones).values_list("recipient", flat=True))
        valid: list[ValidRow] = []
        errors: list[RowError] = []
        for number, contact in enumerate(contacts, first):
            if contact.primary_phone in written:
                same = noop("Another contact had this number before.")
                errors.append(RowError(number, "mobile", contact.primary_phone, "", reason="same_number", message=same))
                continue
            written.add(contact.primary_phone)
            text = template.render(rendering.values_of(contact, attributes)).text
            try:
                counted = sms_text.measure(text)
            except sms_text.InvalidText as refusal:
                errors.append(
                    RowError(number, "message", contact.primary_phone, text[:200], refusal.reason, refusal.message)
                )
                continue
            phone = contact.primary_phone
            sender_id = program.sender.sender_id
            valid.append(ValidRow(number, phone, phone, text, counted.encoding, counted.count, sender_id, None, ()))
        yield contacts, Batch(first + len(contacts) - 1, valid, errors)
        first += len(contacts)
        after = contacts[-1].pk
