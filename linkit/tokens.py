"""Sessions and API keys: made here, shown once, found again by their hash."""

import functools
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q
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
_REMEMBERED_SECONDS, _MOST_REMEMBERED = 1.0, 10_000
# What is read of a token's organization; the rest is read when somebody asks for it.
_OF_ORGANIZATION = ("name", "default_region", "time_zone", "is_active")


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


def find(secret: str, *, may_be_remembered: bool = False) -> Token | None:
    """Return the live token with this secret, or None. Notes its use, once a minute at most.

    With `may_be_remembered` an API key is looked up once a second at most: revoked or expired in another process, or
    its organization changed, it works here for up to a second more. In this process revoking takes effect at once.
    """
    digest = _digest(secret)
    if may_be_remembered and (token := _remembered.get(digest)):
        return token
    generation = _remembered.generation
    token = _look_up(digest)
    if token is None:
        return None
    _note_use(token)
    if token.kind == Token.Kind.API_KEY:
        _remembered.put(digest, token, generation)
    return token


def revoke(token: Token) -> None:
    """Close the door for this token, now and for good. Safe to repeat."""
    Token.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now())
    _remembered.forget(token.digest)


class _Remembered:
    """API keys of the last second, by digest."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[float, Token]] = {}
        self._lock = threading.Lock()
        self.generation = 0  # one more for each that was forgotten

    def get(self, digest: str) -> Token | None:
        until, token = self._tokens.get(digest, (0.0, None))
        return token if time.monotonic() < until else None

    def put(self, digest: str, token: Token, generation: int) -> None:
        """Remember it, unless any was forgotten since `generation`: it may be this one, revoked after its look-up."""
        with self._lock:
            if generation != self.generation:
                return
            if len(self._tokens) >= _MOST_REMEMBERED:
                self._tokens.clear()
            self._tokens[digest] = time.monotonic() + _REMEMBERED_SECONDS, token

    def forget(self, digest: str) -> None:
        with self._lock:
            self.generation += 1
            self._tokens.pop(digest, None)


_remembered = _Remembered()


def _look_up(digest: str) -> Token | None:
    found = list(Token.objects.raw(_look_up_statement(), [digest]))
    if not found:
        return None
    (token,) = found
    if token.organization_id:
        values = [token.organization_id, *(getattr(token, f"organization_{name}") for name in _OF_ORGANIZATION)]
        token.organization = Organization.from_db(token._state.db, ["id", *_OF_ORGANIZATION], values)
    return token


@functools.cache
def _look_up_statement() -> str:
    """Return the statement that finds a token by its digest. Written once: that takes the ORM longer than to run it."""
    organization = {f"organization_{name}": F(f"organization__{name}") for name in _OF_ORGANIZATION}
    tokens = Token.objects.live().filter(digest="").annotate(**organization).order_by()
    statement, parameters = tokens.query.sql_with_params()
    assert parameters == ("",)
    return statement


def _note_use(token: Token) -> None:
    stale = timezone.now() - _LAST_USED_GRAIN
    if token.last_used_at is None or token.last_used_at < stale:
        # Of many requests at once one writes.
        unnoted = Token.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=stale), pk=token.pk)
        unnoted.update(last_used_at=Now())
