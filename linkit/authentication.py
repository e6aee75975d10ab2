"""How a caller proves who they are: one look-up by hash behind every header form."""

import uuid

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from linkit import tokens
from linkit.errors import NotAllowed
from linkit.models import Membership, Token, User
from linkit.permissions import ROLE_SCOPES, Caller, key_scopes

ORGANIZATION_HEADER = "X-Organization-ID"
_ORGANIZATION_META = "HTTP_X_ORGANIZATION_ID"
_REFUSED = "The session token or API key is unknown, expired or revoked."


def presented_secret(request: Request) -> str | None:
    """Return the secret in the request's headers, or None when there is none.

    `Authorization: Bearer <secret>`, `Authorization: Token <secret>`, `Authorization: <secret>`, `x-api-key: <secret>`.
    """
    headers = request._request.META  # `request.headers` is made of all there are
    words = headers.get("HTTP_AUTHORIZATION", "").split()
    if len(words) == 2 and words[0].lower() in ("bearer", "token"):
        return words[1]
    if len(words) == 1 and words[0].lower() not in ("bearer", "token"):
        return words[0]
    if words:
        raise AuthenticationFailed("Send 'Authorization: Bearer <session token or API key>'.")
    return headers.get("HTTP_X_API_KEY", "").strip() or None


class HeaderAuthentication(BaseAuthentication):
    """Sets `request.auth` to a `Caller` and `request.user` to the logged-in person, or None for a key.

    A view may set `remembers_callers_of`, the methods that are called so often that an API key need not be looked up
    each time (`tokens.find`).
    """

    def authenticate(self, request: Request) -> tuple[User | None, Caller] | None:
        secret = presented_secret(request)
        if secret is None:
            return None
        http_request, view = request._request, request.parser_context.get("view")
        token = tokens.find(secret, may_be_remembered=http_request.method in getattr(view, "remembers_callers_of", ()))
        if token is None:
            raise AuthenticationFailed(_REFUSED)
        wanted = http_request.META.get(_ORGANIZATION_META, "").strip()
        caller = _key_caller(token, wanted) if token.kind == Token.Kind.API_KEY else _session_caller(token, wanted)
        return caller.user, caller

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _key_caller(token: Token, wanted: str) -> Caller:
    if token.organization is None or not token.organization.is_active:
        raise AuthenticationFailed(_REFUSED)
    if wanted and _as_uuid(wanted) != token.organization.pk:
        raise NotAllowed(f"This API key does not belong to the organization that {ORGANIZATION_HEADER} names.")
    return Caller(token=token, user=None, organization=token.organization, scopes=key_scopes(token.scopes))


def _session_caller(token: Token, wanted: str) -> Caller:
    user = token.user
    if user is None or not user.is_active:
        raise AuthenticationFailed(_REFUSED)
    memberships = Membership.objects.usable().filter(user=user)
    if wanted:
        organization_id = _as_uuid(wanted)
        memberships = memberships.filter(organization_id=organization_id) if organization_id else memberships.none()
    membership = memberships.first()
    if membership is None:
        if wanted:
            raise NotAllowed(f"You are not a member of the organization that {ORGANIZATION_HEADER} names.")
        return Caller(token=token, user=user, organization=None, scopes=frozenset())
    return Caller(token=token, user=user, organization=membership.organization, scopes=ROLE_SCOPES[membership.role])


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
