"""The limits on API requests and on log-ins, shared by all web processes."""

import logging
import math
import threading
import time
from typing import Any

import redis
from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from linkit.errors import TooManyRequests
from linkit.lockout import client_address
from linkit.permissions import Caller
from linkit.redis import Permit, take

LOGIN_RATE_PER_MINUTE, LOGIN_BURST = 30, 20  # an office behind one address, and no guesser
_AT_ONCE = 0.02  # seconds

logger = logging.getLogger(__name__)


class CallerThrottle(BaseThrottle):
    """So many requests a minute for each key or session."""

    def allow_request(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, Caller):
            bucket = f"api:{request.auth.token.pk}"
            _take(bucket, per_minute=settings.API_RATE_PER_MINUTE, burst=settings.API_RATE_BURST)
        return True


class LoginThrottle(BaseThrottle):
    """So many log-ins a minute from each address, successful ones too: a password takes long to check, on purpose."""

    def allow_request(self, request: Request, view: Any) -> bool:
        # DRF's request wraps Django's.
        _take(f"login:{client_address(request._request)}", per_minute=LOGIN_RATE_PER_MINUTE, burst=LOGIN_BURST)
        return True


class _Spare:
    """Tokens that were taken and not used yet, by bucket. A process must use them within a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, tuple[int, float]] = {}

    def use(self, bucket: str) -> bool:
        """Whether there was one."""
        with self._lock:
            left, until = self._left.get(bucket, (0, 0.0))
            if left and time.monotonic() < until:
                self._left[bucket] = left - 1, until
                return True
            self._left.pop(bucket, None)
            return False

    def keep(self, bucket: str, count: int) -> None:
        with self._lock:
            self._left[bucket] = count, time.monotonic() + 1.0


_spare = _Spare()


def _ask(bucket: str, *, per_minute: int, burst: int) -> Permit:
    """Take a token, and with it what the bucket refills in 20 ms: a high limit need not be asked about every time.

    So it is the processes' to that much. Up to 6,000 a minute it is one token, and exact.
    """
    count = min(int(per_minute / 60 * _AT_ONCE), burst // 10)
    if count > 1:
        permit = take(bucket, per_second=per_minute / 60, burst=burst, count=count)
        if permit.is_allowed:
            _spare.keep(bucket, count - 1)
            return permit
    return take(bucket, per_second=per_minute / 60, burst=burst)


def _take(bucket: str, *, per_minute: int, burst: int) -> None:
    """Raise `TooManyRequests` when the bucket is empty. Open while Redis is down: a limit is not worth an outage."""
    if _spare.use(bucket):
        return
    try:
        permit = _ask(bucket, per_minute=per_minute, burst=burst)
    except redis.RedisError as error:
        logger.warning("Request limit not applied, Redis did not answer: %s", type(error).__name__)
        return
    if permit.is_allowed:
        return
    wait = max(1, math.ceil(permit.wait))
    raise TooManyRequests(
        f"Over {per_minute} requests a minute; nothing was done. Try again in {wait} s.",
        retry_after=wait,
        headers={
            "X-RateLimit-Limit": str(per_minute),
            "X-RateLimit-Remaining": str(permit.remaining),
            "X-RateLimit-Reset": str(max(1, math.ceil(permit.reset))),
        },
    )
