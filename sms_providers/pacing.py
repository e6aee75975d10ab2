"""How fast an installation sends: permits that Redis gives out to all processes together.

A permit is a moment, and those of an installation are evenly spaced: that is a GCRA (generic cell rate algorithm)
with a burst of one, so no second has more than its rate. They are given out a little ahead, so that one question
brings several. An installation without a rate needs none, until its provider throttles it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import redis

from linkit.redis import evaluate

logger = logging.getLogger(__name__)

AHEAD = 0.2  # seconds; how far ahead permits are given out
# Seconds that a permit may be used late. Little enough that 5 s at the gateway never hold 5 % more than 5 s of permits.
LATE = 0.15
PATIENCE = 2.0  # seconds, at most, that somebody waits for a permit when it is for one message
RECOVERY = 15.0  # seconds in which a rate that was halved for a throttled answer doubles again
_LOWEST = 1.0  # a second
_FORGOTTEN = 300  # seconds after which a lowered rate is
_PAUSE = 2.0  # seconds before a Redis that did not answer is asked again

# Times are Redis's own, in microseconds. KEYS: of each installation the moment of its next permit. ARGV: for each the
# interval, how many are wanted, how far ahead. Returns for each how many are given and in how long the first is due.
_RESERVE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local found = {}
for position, key in ipairs(KEYS) do
  local interval, wanted, ahead = unpack(ARGV, 3 * position - 2, 3 * position)
  interval = tonumber(interval)
  local first = math.max(tonumber(redis.call('GET', key) or now), now)
  if first - now > 20000000 + interval then first = now end -- nobody looks so far ahead: its clock was put back
  local count = math.max(0, math.min(tonumber(wanted), math.floor((now + ahead - first) / interval) + 1))
  if count > 0 then
    local next = first + math.ceil(count * interval)
    redis.call('SET', key, string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1000)
  end
  found[position] = {count, first - now}
end
return found
"""
# ARGV: rate now, lowest, seconds until it is forgotten, and in which it doubles. Answers that come within one second
# are one event.
_SLOW_DOWN = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local at = tonumber(redis.call('HGET', KEYS[1], 'at') or 0)
if now - at < 1000000 then return 0 end
local was = tonumber(ARGV[1])
local lowered = tonumber(redis.call('HGET', KEYS[1], 'rate') or 0)
if lowered > 0 then was = math.min(was, lowered * 2 ^ ((now - at) / 1000000 / ARGV[4])) end
local rate = math.max(was / 2, tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'rate', tostring(rate), 'at', string.format('%.0f', now))
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
# Returns for each key the lowered rate in thousandths and its age, or two zeros.
_LOWERED = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local found = {}
for _, key in ipairs(KEYS) do
  local rate, at = unpack(redis.call('HMGET', key, 'rate', 'at'))
  found[#found + 1] = rate and math.floor(tonumber(rate) * 1000) or 0
  found[#found + 1] = rate and now - tonumber(at) or 0
end
return found
"""


@dataclass(frozen=True)
class Permits:
    """Moments, on this process's monotonic clock, at which one message each may leave; seconds until more come."""

    moments: list[float]
    wait: float


@dataclass(frozen=True)
class Wanted:
    """How many permits of an installation somebody wants, `ahead` seconds ahead at most."""

    per_second: float
    count: int
    ahead: float = AHEAD


def reserve(app_id: int, *, per_second: float, count: int, ahead: float = AHEAD) -> Permits:
    """Take up to `count` permits of an installation. Raises `redis.RedisError`: without Redis there are none."""
    return reserve_each({app_id: Wanted(per_second, count, ahead)})[app_id]


def reserve_each(wanted: Mapping[int, Wanted]) -> dict[int, Permits]:
    """Take permits of several installations at once. Raises `redis.RedisError`: without Redis there are none."""
    if not wanted:
        return {}
    args: list[float] = []
    for each in wanted.values():
        args += [1_000_000 / each.per_second, each.count, each.ahead * 1_000_000]
    answers = evaluate(_RESERVE, keys=[f"linkit:permits:{app_id}" for app_id in wanted], args=args, pause=_PAUSE)
    now = time.monotonic()  # after the answer: rather a moment late than early
    permits = {}
    for (app_id, each), (granted, first_in) in zip(wanted.items(), answers, strict=True):
        interval = 1_000_000 / each.per_second
        moments = [now + (first_in + number * interval) / 1_000_000 for number in range(granted)]
        permits[app_id] = Permits(moments, max(0.0, (first_in + granted * interval) / 1_000_000 - each.ahead))
    return permits


def slow_down(app_id: int, *, per_second: float) -> None:
    """Halve the rate of an installation that was throttled at this one. It recovers by itself."""
    try:
        args = [per_second, _LOWEST, _FORGOTTEN, RECOVERY]
        evaluate(_SLOW_DOWN, keys=[f"linkit:pace:{app_id}"], args=args, pause=_PAUSE)
    except redis.RedisError as error:
        logger.warning("App %s was throttled and is not slowed down: %s", app_id, type(error).__name__)


def lowered(app_ids: Iterable[int]) -> dict[int, float]:
    """Return the rates a second of those installations that were throttled lately. Empty while Redis is down."""
    ids = list(app_ids)
    try:
        found = evaluate(_LOWERED, keys=[f"linkit:pace:{each}" for each in ids], args=[], pause=_PAUSE) if ids else []
    except redis.RedisError:
        return {}
    rates = {}
    for app_id, thousandths, age in zip(ids, found[::2], found[1::2], strict=True):
        if thousandths:
            rates[app_id] = thousandths / 1000 * 2 ** (age / 1_000_000 / RECOVERY)
    return rates


def rate_of(max_per_second: int | None, lowered_to: float | None) -> float | None:
    """Return what holds now: the installation's own rate, or a lower one for throttled answers. None: no limit."""
    if lowered_to is None:
        return max_per_second
    return lowered_to if max_per_second is None else min(max_per_second, lowered_to)


class Meter:
    """How fast one process has lately sent through an installation."""

    def __init__(self) -> None:
        self._second, self._count, self._before = 0, 0, 0

    def note(self) -> None:
        """Count a message that is sent now."""
        second = int(time.monotonic())
        if second != self._second:
            self._before = self._count if second == self._second + 1 else 0
            self._second, self._count = second, 0
        self._count += 1

    @property
    def per_second(self) -> float:
        """How many there were in the fuller of this second and the one before."""
        return float(max(self._count, self._before))
