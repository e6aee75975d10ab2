"""Who writes many contacts, lists or attributes of an organization takes turns with others who do."""

from __future__ import annotations

from linkit.models import Organization


def take_turn(organization: Organization) -> None:
    """Wait until nobody else has the turn, and keep it to the end of the caller's transaction.

    Two that write the same rows in another order would deadlock, and two that count could both find room for one more.
    Rows that only refer to the organization are written all the same.
    """
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
