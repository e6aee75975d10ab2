"""Sessions and API keys: made here, shown once, found again by their hash."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from linkit import clock
from linkit.models import Organization, Token, User
from linkit.permissions import Scope

LIVE_PREFIX, TEST_PREFIX, SESSION_PREFIX = "lk_live_", "lk_test_", "lk_session_"
VISIBLE_CHARACTERS = 6  # of the random part, beside the prefix
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARACTERS = 40  # 238 bits: nobody guesses one, so an unsalted hash is enough
# The last use is worth a write this often, not at every request.
_LAST_USED_GRAIN = timedelta(minutes=1)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _new(*, secret: str, **fields: object) -> Token:
    prefix = secret[: secret.rindex("_") + 1 + VISIBLE_CHARACTERS]
    return Token.objects.create(prefix=prefix, digest=_digest(secret), **fields)


def _random() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))


def issue_api_key(
    *,
    organization: Organization,
    name: str,
    scopes: Sequence[str],
    is_test: bool = False,
    expires_at: datetime | None = None,
    created_by: User | None = None,
) -> tuple[Token, str]:
    """Make an API key. Returns the row and the secret, which nothing can show again."""
    secret = (TEST_PREFIX if is_test else LIVE_PREFIX) + _random()
    token = _new(
        secret=secret,
        kind=Token.Kind.API_KEY,
        organization=organization,
        user=created_by,
        name=name,
        scopes=sorted(scopes),
        is_test=is_test,
        expires_at=expires_at,
    )
    return token, secret


def derived_secret(*, purpose: str, length: int = _RANDOM_CHARACTERS) -> str:
    """Return characters that only this installation's SECRET_KEY gives for `purpose`, the same every time."""
    number = int.from_bytes(hmac.digest(settings.SECRET_KEY.encode(), purpose.encode(), "sha512"), "big")
    characters = []
    for _ in range(length):
        number, index = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)


def bootstrap_api_key(*, organization: Organization, created_by: User) -> str:
    """Return the organization's first key, made on the first call.

    The secret is derived from SECRET_KEY, so that a repeated `bootstrap` can show it again although only its hash
    is stored. A revoked one stays revoked: the next in line takes its place.
    """
    for turn in range(1000):
        secret = LIVE_PREFIX + derived_secret(purpose=f"bootstrap:{organization.pk}:{turn}")
        known = Token.objects.filter(digest=_digest(secret)).first()
        if known is None:
            _new(
                secret=secret,
                kind=Token.Kind.API_KEY,
                organization=organization,
                user=created_by,
                name="bootstrap",
                scopes=sorted(Scope.for_keys()),
            )
            return secret
        if known.revoked_at is None:
            return secret
    raise RuntimeError("A thousand bootstrap keys of this organization are revoked; make a key in the console.")


def open_session(*, user: User) -> tuple[Token, str]:
    """Make a session token for a person who has just proved who they are, and clear away their expired ones."""
    user.tokens.filter(kind=Token.Kind.SESSION, expires_at__lt=Now()).delete()
    secret = SESSION_PREFIX + _random()
    expires_at = clock.now() + settings.SESSION_TOKEN_LIFETIME
    return _new(secret=secret, kind=Token.Kind.SESSION, user=user, expires_at=expires_at), secret


def find(secret: str) -> Token | None:
    """Return the live token with this secret, or None. Notes its use, once a minute at most."""
    tokens = Token.objects.live().select_related("organization", "user")
    token = tokens.filter(digest=_digest(secret)).first()
    stale = timezone.now() - _LAST_USED_GRAIN
    if token is not None and (token.last_used_at is None or token.last_used_at < stale):
        Token.objects.filter(pk=token.pk).update(last_used_at=Now())
    return token


def revoke(token: Token) -> None:
    """Close the door for this token, now and for good. Safe to repeat."""
    Token.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now())
