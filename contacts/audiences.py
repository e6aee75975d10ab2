"""Audiences, static lists of contacts: make, rename, fill and empty them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from contacts.models import Audience, AudienceMember, Contact, SmsProgram
from contacts.turns import take_turn
from linkit.errors import Conflict, InvalidInput, Missing, TooLarge
from linkit.models import Organization, User
from outbox.bulk.models import JobStatus

MAX_IDS = 10_000  # contacts named in one call
_NAMED = 5  # of those that are not there


class AudienceExists(Conflict):
    """The organization has an audience of this name."""


def find(*, organization: Organization, audience_id: UUID) -> Audience:
    """Return an audience. Raises `Missing`."""
    audience = Audience.objects.filter(organization=organization, pk=audience_id).first()
    if audience is None:
        raise Missing(_("There is no such audience."))
    return audience


def counts(audiences: Collection[Audience]) -> dict[UUID, int]:
    """Return how many contacts are in each. Deleting a contact takes it out, so no member is looked at."""
    members = AudienceMember.objects.filter(audience__in=audiences).order_by()
    found = dict(members.values_list("audience_id").annotate(Count("pk")))
    return {audience.pk: found.get(audience.pk, 0) for audience in audiences}


def create(
    *,
    organization: Organization,
    name: str,
    description: str = "",
    contact_ids: Collection[UUID] = (),
    user: User | None = None,
) -> Audience:
    """Make an audience of these contacts. Raises `AudienceExists`, and as `add` does."""
    try:
        with transaction.atomic():
            audience = Audience.objects.create(
                organization=organization, name=name, description=description, created_by=user
            )
            if contact_ids:
                add(audience=audience, contact_ids=contact_ids)
    except IntegrityError:
        raise _exists(name) from None
    audience.refresh_from_db(fields=["created_at", "updated_at"])
    return audience


def change(*, audience: Audience, name: str | None = None, description: str | None = None) -> Audience:
    """Rename an audience or describe it anew. Raises `AudienceExists`, and `Missing` once it is deleted."""
    changes = {"name": name, "description": description}
    try:
        with transaction.atomic():
            _update(audience, **{field: value for field, value in changes.items() if value is not None})
    except IntegrityError:
        raise _exists(name or audience.name) from None
    audience.refresh_from_db()
    return audience


def delete(*, audience: Audience) -> None:
    """Delete the list. Its contacts stay. Raises `Conflict` while a program that goes to it is being queued."""
    with transaction.atomic():
        take_turn(audience.organization)  # or a contact is put on it, or a program launched, meanwhile
        if SmsProgram.objects.filter(audience=audience.pk, job__status=JobStatus.CHECKING).exists():
            raise Conflict(_("A program is just being queued for this audience; delete it in a moment."))
        Audience.objects.filter(pk=audience.pk).delete()


def check_number(count: int) -> None:
    """Raise `TooLarge` for more contacts than one call may name."""
    if count > MAX_IDS:
        said = _("At most %(count)s contacts in one call; nothing was changed.")
        raise TooLarge(said % {"count": f"{MAX_IDS:,}"})


def add(*, audience: Audience, contact_ids: Collection[UUID]) -> int:
    """Put contacts on the list and return how many were not on it.

    Raises `InvalidInput` naming those that are no contacts of the organization, and then nothing was changed;
    `TooLarge`, and `Missing` once the audience is deleted.
    """
    with transaction.atomic():
        ids = _known(audience, contact_ids)
        members = AudienceMember.objects.filter(audience=audience)
        before = set(members.filter(contact__in=ids).values_list("contact_id", flat=True))
        new = [AudienceMember(audience=audience, contact_id=pk) for pk in sorted(ids - before)]
        AudienceMember.objects.bulk_create(new)
    return len(new)


def remove(*, audience: Audience, contact_ids: Collection[UUID]) -> int:
    """Take contacts off the list and return how many were on it. Raises as `add` does."""
    with transaction.atomic():
        ids = _known(audience, contact_ids)
        removed, _ = AudienceMember.objects.filter(audience=audience, contact__in=ids).delete()
    return removed


def _known(audience: Audience, contact_ids: Collection[UUID]) -> set[UUID]:
    """Return the ids, all of live contacts, which nobody deletes before the end of the caller's transaction.

    Nobody deletes the audience either.
    """
    check_number(len(contact_ids))
    take_turn(audience.organization)
    _update(audience)
    wanted = set(contact_ids)
    live = Contact.objects.live().filter(organization=audience.organization_id, pk__in=wanted).order_by("pk")
    found = set(live.select_for_update(no_key=True).values_list("pk", flat=True))
    if missing := wanted - found:
        named = ", ".join(str(pk) for pk in sorted(missing)[:_NAMED])
        more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        raise InvalidInput(
            _("Not contacts of yours: %(ids)s. Nothing was changed.") % {"ids": f"{named}{more}"},
            fields={"contactIds": [f"Not contacts of yours: {named}{more}."]},
        )
    return found


def _update(audience: Audience, **changes: Any) -> None:
    if not Audience.objects.filter(pk=audience.pk).update(**changes, updated_at=Now()):
        raise Missing(_("There is no such audience."))


def _exists(name: str) -> AudienceExists:
    return AudienceExists(_("There is an audience '%(name)s' already.") % {"name": name})
