"""A circuit breaker for each installation: one that fails again and again is left alone for a while.

It opens after `PROVIDER_CIRCUIT_FAILURES` failures in a row, for `PROVIDER_CIRCUIT_PAUSE`, then twice as long each
time. After that it is half open: one message tries, and its result closes the circuit or opens it again. State is in
Redis, for all processes; while Redis is down every circuit is closed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import redis
from django.conf import settings

from linkit.redis import evaluate
from sms_providers.results import Fault, Outcome, Result

logger = logging.getLogger(__name__)

_PROBE_SECONDS = 10  # before another message may try, when the first has not come back
_OPEN = "linkit:circuits"  # the open ones, by when they are half open
_FORGOTTEN = 3600  # seconds after the end of a pause
_REDIS_PAUSE = 2.0  # seconds before a Redis that did not answer is asked again
_OURS = (
    "internal_error",
    "no_time_left",
    "request_not_built",
    "worker_ended",
)  # reasons of results that no provider had a part in

# Returns for each key microseconds until it is half open: -1 when it is closed.
_LOOK = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local found = {}
for position, key in ipairs(KEYS) do
  local till = redis.call('HGET', key, 'until')
  local left = -1
  if till then left = math.max(0, tonumber(till) - now) end
  found[position] = left
end
return found
"""
# KEYS: the open ones, then the circuits. ARGV: how many failures are too many, the shortest and the longest pause in
# microseconds, seconds until all is forgotten; then of each circuit its number, whether it has worked, failures since.
# Returns those that it has opened.
_NOTE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local opened = {}
local function note(key, id, has_worked, failures)
  if has_worked == '1' then
    redis.call('DEL', key, key .. ':probe')
    redis.call('ZREM', KEYS[1], id)
  end
  if failures == 0 then return end
  local till = tonumber(redis.call('HGET', key, 'until') or 0)
  if till > now then return end
  failures = redis.call('HINCRBY', key, 'failures', failures)
  redis.call('EXPIRE', key, ARGV[4])
  if till == 0 and failures < tonumber(ARGV[1]) then return end
  local times = redis.call('HINCRBY', key, 'times', 1)
  local pause = math.min(tonumber(ARGV[2]) * 2 ^ math.min(times - 1, 30), tonumber(ARGV[3]))
  redis.call('HSET', key, 'until', string.format('%.0f', now + pause))
  redis.call('EXPIRE', key, math.ceil(pause / 1000000) + ARGV[4])
  redis.call('DEL', key .. ':probe')
  redis.call('ZADD', KEYS[1], now + pause, id)
  opened[#opened + 1] = id
end
for position = 2, #KEYS do
  local first = 3 * position - 1
  note(KEYS[position], ARGV[first], ARGV[first + 1], tonumber(ARGV[first + 2]))
end
return opened
"""


_TRY = "return redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) and 1 or 0"
_CLOSE = "redis.call('DEL', KEYS[1], KEYS[2]) redis.call('ZREM', KEYS[3], ARGV[1])"
# ARGV: seconds after which one that nobody has tried is forgotten.
_NOT_CLOSED = """
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', (now[1] - ARGV[1]) * 1000000)
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for position = 2, #found, 2 do found[position] = string.format('%.0f', found[position]) end
return found
"""


def look(app_ids: Iterable[int]) -> dict[int, float]:
    """Return the installations whose circuit is not closed: in how many seconds each may be tried.

    Zero is half open: whoever has a message for it asks `may_try`.
    """
    ids = list(app_ids)
    if not ids:
        return {}
    try:
        found = evaluate(_LOOK, keys=[_key(each) for each in ids], args=[], pause=_REDIS_PAUSE)
    except redis.RedisError:
        return {}
    return {app_id: left / 1_000_000 for app_id, left in zip(ids, found, strict=True) if left >= 0}


def may_try(app_id: int) -> bool:
    """Tell whether the caller's message is the one that tries a half-open circuit: one may, every few seconds."""
    try:
        return bool(evaluate(_TRY, keys=[f"{_key(app_id)}:probe"], args=[_PROBE_SECONDS], pause=_REDIS_PAUSE))
    except redis.RedisError:
        return True


def note(ended: Mapping[int, Sequence[Result]]) -> None:
    """Take note of how calls ended, by installation and in their order."""
    keys, args = [], []
    for app_id, results in ended.items():
        if told := [answer for result in results if (answer := works(result)) is not None]:
            failures = next((count for count, has_worked in enumerate(reversed(told)) if has_worked), len(told))
            keys.append(_key(app_id))
            args += [app_id, int(any(told)), failures]
    if not keys:
        return
    pauses = (settings.PROVIDER_CIRCUIT_PAUSE, settings.PROVIDER_CIRCUIT_PAUSE_MAX)
    limits = [
        settings.PROVIDER_CIRCUIT_FAILURES, *(pause.total_seconds() * 1_000_000 for pause in pauses), _FORGOTTEN,
    ]  # fmt: skip
    try:
        for app_id in evaluate(_NOTE, keys=[_OPEN, *keys], args=[*limits, *args], pause=_REDIS_PAUSE):
            logger.warning("App %s failed again and again: left alone for a while.", int(app_id))
    except redis.RedisError as error:
        logger.warning("The circuits of apps %s are not kept: %s", [*ended], type(error).__name__)


def close(app_id: int) -> None:
    """Forget the failures of an installation that somebody has seen to."""
    try:
        evaluate(_CLOSE, keys=[_key(app_id), f"{_key(app_id)}:probe", _OPEN], args=[app_id], pause=_REDIS_PAUSE)
    except redis.RedisError as error:
        logger.warning("The circuit of app %s may stay open for a while: %s", app_id, type(error).__name__)


def works(result: Result) -> bool | None:
    """Tell whether a result speaks for its installation (True), against it (False), or says nothing about it.

    Against it: a call that was not answered or by a fault, and refused credentials. A throttled answer is about the
    pace, which `pacing` lowers.
    """
    if result.is_throttled or result.reason in _OURS:
        return None
    if result.outcome == Outcome.UNAVAILABLE or result.fault == Fault.AUTH:
        return False
    if result.outcome == Outcome.UNKNOWN:
        return False if result.http_status is None or result.http_status >= 500 else None
    # A refusal without an answer is one of ours, such as a missing sender ID.
    return True if result.outcome == Outcome.ACCEPTED or result.http_status is not None else None


def not_closed() -> dict[int, datetime]:
    """Return the installations whose circuit is open, or half open since that moment. Empty while Redis is down."""
    try:
        found = evaluate(_NOT_CLOSED, keys=[_OPEN], args=[_FORGOTTEN], pause=_REDIS_PAUSE)
    except redis.RedisError:
        return {}
    return {
        int(app_id): datetime.fromtimestamp(int(until) / 1_000_000, UTC)
        for app_id, until in zip(found[::2], found[1::2], strict=True)
    }


def _key(app_id: int) -> str:
    return f"linkit:circuit:{app_id}"
