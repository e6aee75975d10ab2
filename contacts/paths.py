"""Ids in the paths of the contact API."""

from __future__ import annotations

from uuid import UUID

from linkit.errors import InvalidInput


def path_id(text: str) -> UUID:
    """Return the id in a path. A malformed one is the caller's mistake here (400), and not a missing row."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput("The id in the path is no UUID.", fields={"id": ["Not a valid UUID."]}) from None
