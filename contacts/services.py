"""Create, change, delete and upsert contacts: what every door calls, so that all of them fill what a search needs.

`fields` are columns of `Contact` by name, checked by whoever calls, and `attribute_values`, which is merged: values by
the id of their attribute, of which None removes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from contacts.models import AudienceMember, Contact
from contacts.turns import take_turn
from linkit.errors import Conflict, Missing
from linkit.models import Organization

#: What `fields` may have.
FIELDS = frozenset(
    {
        "primary_phone", "first_name", "last_name", "full_name", "primary_email", "address", "city", "state", "zip",
        "occupation", "gender", "preferred_channel", "channels", "attribute_values",
    }
)  # fmt: skip
_STORED = ("search_text", "search_pieces", "updated_at", *sorted(FIELDS))  # what an update writes
_BATCH = 1000

Fields = Mapping[str, Any]


class PhoneTaken(Conflict):
    """Another contact of the organization has this number."""


@dataclass(frozen=True)
class Upserted:
    created: int
    updated: int


def find(*, organization: Organization, contact_id: Any) -> Contact:
    """Return a contact that is not deleted. Raises `Missing`."""
    contact = Contact.objects.live().filter(organization=organization, pk=contact_id).first()
    if contact is None:
        raise Missing(_("There is no such contact."))
    return contact


def create(*, organization: Organization, fields: Fields) -> Contact:
    """Make a contact; `fields` has its `primary_phone`. Raises `PhoneTaken`."""
    contact = Contact(organization=organization)
    _set(contact, fields)
    try:
        with transaction.atomic():
            contact.save(force_insert=True)
    except IntegrityError:
        raise _taken(contact) from None
    contact.refresh_from_db(fields=["created_at"])
    return contact


def change(*, contact: Contact, fields: Fields) -> Contact:
    """Change what is in `fields` and return the contact as it is now. Without a difference nothing is written.

    Raises `PhoneTaken`, and `Missing` once it is deleted.
    """
    current = contact
    try:
        with transaction.atomic():
            if fields.get("primary_phone", contact.primary_phone) != contact.primary_phone:
                # An upsert may have this number already and come for the row that is locked next.
                take_turn(contact.organization)
            rows = Contact.objects.live().select_related("organization").select_for_update(of=("self",), no_key=True)
            found = rows.filter(pk=contact.pk).first()
            if found is None:
                raise Missing(_("There is no such contact."))
            current, former = found, _state(found)
            _set(current, fields)
            if _state(current) != former:
                current.save()
    except IntegrityError:
        raise _taken(current) from None
    return current


def delete(*, contact: Contact) -> None:
    """Hide a contact, take it out of all audiences and free its number. Raises `Missing` when it is deleted already."""
    if not delete_all(contacts=Contact.objects.filter(pk=contact.pk)):
        raise Missing(_("There is no such contact."))


def delete_all(*, contacts: QuerySet[Contact]) -> int:
    """Delete those of `contacts` that are not deleted yet, as `delete` does, and return how many there were."""
    count = 0
    ids = list(contacts.filter(deleted_at__isnull=True).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        with transaction.atomic():
            live = Contact.objects.live().filter(pk__in=batch)
            list(live.order_by("pk").select_for_update(no_key=True).values_list("pk"))  # in one order, like everybody
            count += live.update(deleted_at=Now(), updated_at=Now())
            AudienceMember.objects.filter(contact__in=batch).delete()
    return count


def upsert(*, organization: Organization, rows: Sequence[Fields]) -> Upserted:
    """Make or change contacts by their `primary_phone`, all of them or none.

    Of a number that comes twice, the second changes what the first has made. Others who do the same wait their turn.
    """
    created = 0
    with transaction.atomic():
        take_turn(organization)
        left = rows
        while left:
            made, left = _write(organization, left)
            created += made
    return Upserted(created, len(rows) - created)


def _write(organization: Organization, rows: Sequence[Fields]) -> tuple[int, Sequence[Fields]]:
    """Change the contacts that are there and insert the others. Return how many that were, and the rows still to do.

    Those are of numbers with which somebody made a contact after we had looked.
    """
    wanted = {row["primary_phone"] for row in rows}
    live = Contact.objects.live().filter(organization=organization, primary_phone__in=wanted)
    contacts = {each.primary_phone: each for each in live.order_by("pk").select_for_update(no_key=True)}
    former = {phone: _state(contact) for phone, contact in contacts.items()}
    for row in rows:
        phone = row["primary_phone"]
        if phone not in contacts:
            contacts[phone] = Contact(organization=organization)
        _set(contacts[phone], row)
    # By number, so that two who insert the same wait for each other in one order.
    new = [contacts[phone] for phone in sorted(contacts) if phone not in former]
    # What is the same is not written: it would cost an entry in every index.
    changed = [contacts[phone] for phone, state in former.items() if _state(contacts[phone]) != state]
    for contact in (*changed, *new):
        contact.fill_search()
    Contact.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["id"], update_fields=_STORED, batch_size=_BATCH
    )
    Contact.objects.bulk_create(new, ignore_conflicts=True, batch_size=_BATCH)
    made = Contact.objects.filter(pk__in=[contact.pk for contact in new]).values_list("primary_phone", flat=True)
    lost = {contact.primary_phone for contact in new}.difference(made)
    return len(new) - len(lost), [row for row in rows if row["primary_phone"] in lost]


def _state(contact: Contact) -> tuple[Any, ...]:
    values = contact.attribute_values
    # As text: 1 and 1.0 are equal, and written differently.
    return (str(values), *(getattr(contact, name) for name in sorted(FIELDS - {"attribute_values"})))


def _set(contact: Contact, fields: Fields) -> None:
    if unknown := set(fields) - FIELDS:
        raise TypeError(f"A contact has no {', '.join(sorted(unknown))}.")
    for name, value in fields.items():
        if name == "attribute_values":
            merged = {**contact.attribute_values, **value}
            contact.attribute_values = {pk: each for pk, each in merged.items() if each is not None}
        else:
            setattr(contact, name, value)


def _taken(contact: Contact) -> PhoneTaken:
    said = _("There is a contact with the number %(number)s already.")
    return PhoneTaken(said % {"number": contact.primary_phone})
