"""Who may do what: scopes of keys, roles of people, and the check that every view passes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from linkit.errors import NotAllowed
from linkit.models import Organization, Role, Token, User


class Scope(enum.StrEnum):
    """One kind of thing a caller may do."""

    READ = "read"  # every GET
    SEND = "send"  # send, bulk, outbox, preview
    MANAGE = "manage"  # apps, contacts, programs
    CONTACTS = "contacts"  # the contacts part of `manage`, which operators have too
    KEYS = "keys"  # API keys: people with the admin role only

    @classmethod
    def for_keys(cls) -> list[str]:
        """Those a key can be given."""
        return [cls.READ.value, cls.SEND.value, cls.MANAGE.value]


ROLE_SCOPES: dict[str, frozenset[str]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.SEND, Scope.CONTACTS}),
    Role.ADMIN: frozenset(Scope),
}


_FOR_KEYS: frozenset[str] = frozenset(Scope.for_keys())


def key_scopes(granted: list[str]) -> frozenset[str]:
    """Return what a key with these scopes may do; `manage` covers contacts, nothing covers keys."""
    scopes = _FOR_KEYS.intersection(granted)
    return scopes | {Scope.CONTACTS} if Scope.MANAGE in scopes else scopes


@dataclass(frozen=True)
class Caller:
    """Who is calling, for which organization: what `request.auth` holds.

    `user` is a logged-in person; for a key it is None, and `token.user` only says who made the key.
    """

    token: Token
    user: User | None
    organization: Organization | None
    scopes: frozenset[str]

    @property
    def is_test(self) -> bool:
        """Whether everything this caller sends is simulated."""
        return self.token.is_test


def caller_of(request: Request) -> Caller:
    """Return who is calling, in a view that only lets callers through."""
    caller: object = request.auth
    assert isinstance(caller, Caller)
    return caller


def organization_of(request: Request) -> Organization:
    """Return the caller's organization, in a view that needs one."""
    organization = caller_of(request).organization
    assert organization is not None
    return organization


class HasScope(BasePermission):
    """Lets a caller through who has the scope that the view names for the method.

    A view sets `required_scopes`, a mapping of method to scope. A GET that is not in it needs `read`; any other
    method that is not in it is refused, so that a forgotten line fails closed; one that the view does not serve at
    all is let through to its 405.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = request.auth
        if not isinstance(caller, Caller):
            return False  # rendered as 401
        method = request._request.method
        if method == "OPTIONS" or not hasattr(view, str(method).lower()):
            return True
        if caller.organization is None:
            raise NotAllowed("You do not belong to an organization; ask an administrator to add you to one.")
        method = "GET" if method == "HEAD" else method
        needed = getattr(view, "required_scopes", {}).get(method, Scope.READ if method == "GET" else None)
        if needed is None:
            raise NotAllowed("This call is not open to API callers.")
        if needed not in caller.scopes:
            who = "Your role" if caller.user else "This API key"
            raise NotAllowed(f"{who} does not allow this: it needs the scope '{needed}'.")
        return True


class IsKnown(BasePermission):
    """Lets every authenticated caller through, with or without an organization."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, Caller)
