"""One Redis connection pool per process, and the token bucket that our limits share."""

import time
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import redis
from django.conf import settings

# GCRA (generic cell rate algorithm): one number per key, the time at which the bucket is full again.
# Time is Redis's own, so that all processes share a clock. Returns {allowed, remaining, microseconds to wait,
# microseconds until the bucket is full}.
_GCRA = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local interval, burst, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local next_full_at = full_at + count * interval
local wait = next_full_at - now - burst * interval
if wait > 0 then return {0, 0, math.ceil(wait), full_at - now} end
redis.call('SET', KEYS[1], string.format('%.0f', next_full_at), 'PX', math.ceil((next_full_at - now) / 1000) + 1000)
return {1, math.floor(-wait / interval), 0, next_full_at - now}
"""


class Permit(NamedTuple):
    """The answer of the bucket: times are seconds."""

    is_allowed: bool
    remaining: int
    wait: float
    reset: float


@cache
def client() -> redis.Redis:
    """Return this process's client. Every call may raise `redis.RedisError`; the caller says what that means."""
    timeout = settings.REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=timeout, socket_connect_timeout=timeout)


_PAUSE = 15.0  # seconds in which a Redis that did not answer is not asked again: each caller would wait for it
_silent = {"until": 0.0}


@cache
def _script(source: str) -> "redis.commands.core.Script":
    return client().register_script(source)


def evaluate(source: str, *, keys: Sequence[str], args: Sequence[float | str], pause: float = _PAUSE) -> Any:
    """Run a Lua script. Raises `redis.RedisError`, and for `pause` seconds after that at once, without asking."""
    if time.monotonic() < _silent["until"]:
        raise redis.ConnectionError("Redis did not answer a moment ago.")
    try:
        return _script(source)(keys=keys, args=args)
    except redis.RedisError:
        _silent["until"] = time.monotonic() + pause
        raise


def take(key: str, *, per_second: float, burst: int, count: int = 1) -> Permit:
    """Take `count` tokens or none of the bucket `key`, which refills at `per_second` and holds `burst`."""
    args = [1_000_000 / per_second, burst, count]
    allowed, remaining, wait, reset = evaluate(_GCRA, keys=[f"linkit:rate:{key}"], args=args)
    return Permit(bool(allowed), remaining, wait / 1e6, reset / 1e6)
