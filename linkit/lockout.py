"""Lockout after repeated failed log-ins, for the API and the console alike."""

import hashlib
import logging
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.dispatch import receiver
from django.http import HttpRequest

from linkit.models import User

logger = logging.getLogger(__name__)

_ADDRESS_FACTOR = 5  # an office shares one address: it takes more failures to lock than one account does


def client_address(request: HttpRequest) -> str:
    """Return the caller's address: of the proxies that we were told to trust, the outermost one's word."""
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    trusted = settings.TRUSTED_PROXY_COUNT
    if trusted and len(hops) >= trusted:
        return hops[-trusted]
    return request.META.get("REMOTE_ADDR", "")


def _counters(request: HttpRequest | None, email: str) -> dict[str, int]:
    """Return the cache keys that count failures of this account and from this address, with their limits."""
    limits = {f"account:{email.strip().casefold()}": settings.LOGIN_FAILURE_LIMIT}
    if request is not None:
        limits[f"address:{client_address(request)}"] = settings.LOGIN_FAILURE_LIMIT * _ADDRESS_FACTOR
    return {"lockout:" + hashlib.sha256(name.encode()).hexdigest(): limit for name, limit in limits.items()}


def is_locked(request: HttpRequest | None, email: str) -> bool:
    """Whether this account or address has failed too often. Open while Redis is down."""
    limits = _counters(request, email)
    try:
        failures = cache.get_many(limits)
    except redis.RedisError as error:
        logger.warning("Lockout not applied, Redis did not answer: %s", type(error).__name__)
        return False
    return any(count >= limits[key] for key, count in failures.items())


class LockoutBackend(ModelBackend):
    """Django's own password check, which a locked account or address does not get to."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **others: Any
    ) -> User | None:
        if is_locked(request, username or others.get("email") or ""):
            raise PermissionDenied("Too many failed log-ins.")
        return super().authenticate(request, username=username, password=password, **others)


@receiver(user_login_failed)
def count_failure(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    email = credentials.get("username") or credentials.get("email") or ""
    try:
        for key in _counters(request, email):
            cache.add(key, 0, timeout=settings.LOGIN_LOCKOUT.total_seconds())
            cache.incr(key)
    except (redis.RedisError, ValueError) as error:  # ValueError: the counter expired in between
        logger.warning("Failed log-in not counted: %s", type(error).__name__)


@receiver(user_logged_in)
def forget_failures(sender: Any, request: HttpRequest, user: Any, **_: Any) -> None:
    try:
        cache.delete_many(_counters(None, user.email))
    except redis.RedisError as error:
        logger.warning("Failed log-ins not forgotten: %s", type(error).__name__)
