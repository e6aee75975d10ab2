"""What a test does inside a process where nothing outside of it can: end or freeze it at a step, set its clock wrong.

    stack.manage_start("drain_outbox", env=meddling.kill("after", "outbox.claims.claim"))
    stack.worker(env=meddling.wrong_clock(timedelta(minutes=5)))

tests/warm.py calls `begin` before anything of the product is imported.
"""

from __future__ import annotations

import datetime
import functools
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

_STEP, _CLOCK = "TEST_STEP", "TEST_CLOCK"
When = Literal["before", "after"]


def kill(when: When, function: str) -> dict[str, str]:
    """Return the environment of a process that ends by SIGKILL when it first does this, such as
    `outbox.claims.finish`. A call that returns nothing does not count as one.
    """
    return {_STEP: json.dumps([when, function, signal.SIGKILL])}


def freeze(when: When, function: str) -> dict[str, str]:
    """The same, but it stands still (SIGSTOP) until somebody thaws it."""
    return {_STEP: json.dumps([when, function, signal.SIGSTOP])}


def wrong_clock(ahead: datetime.timedelta) -> dict[str, str]:
    """Return the environment of a process whose clock is ahead of the true time, or behind it."""
    return {_CLOCK: str(ahead.total_seconds())}


def needs_a_cold_start(env: Mapping[str, str]) -> bool:
    """Whether no library may have been imported before: many keep `datetime` as it was then."""
    return _CLOCK in env


def begin(env: Mapping[str, str]) -> None:
    if _CLOCK in env:
        _shift_the_clock(float(env[_CLOCK]))
    if _STEP in env:
        when, path, number = json.loads(env[_STEP])
        module, _, function = path.rpartition(".")
        sys.meta_path.insert(0, _Watch(when, module, function, signal.Signals(number)))


class _Watch(MetaPathFinder):
    """Wraps one function of a module when that is imported."""

    def __init__(self, when: When, module: str, function: str, number: signal.Signals) -> None:
        self._when, self._module, self._function, self._number = when, module, function, number

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: ModuleType) -> None:
            execute(module)
            setattr(module, self._function, self._wrapped(getattr(module, self._function)))

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        is_over = False

        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            nonlocal is_over
            if self._when == "before" and not is_over:
                is_over = True
                os.kill(os.getpid(), self._number)
            result = function(*args, **options)
            if self._when == "after" and result and not is_over:
                is_over = True
                os.kill(os.getpid(), self._number)
            return result

        return wrapper


def _shift_the_clock(seconds: float) -> None:
    """Let `time.time`, `datetime.now` and `date.today` be wrong by so much; the monotonic clock goes on as it was."""
    true_time, true_time_ns, true_datetime, true_date = time.time, time.time_ns, datetime.datetime, datetime.date

    class Kind(type):
        """Makes no instances of its own: what others have made, and are given, is of the true class."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, cls.__mro__[1])

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, cls.__mro__[1])

        def __call__(cls, *args: Any, **options: Any) -> Any:
            return cls.__mro__[1](*args, **options)

    def now(tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return true_datetime.fromtimestamp(time.time(), tz)

    def utcnow() -> datetime.datetime:
        return now(datetime.UTC).replace(tzinfo=None)

    def today() -> datetime.date:
        return true_date.fromtimestamp(time.time())

    wrong: Any = {"now": staticmethod(now), "utcnow": staticmethod(utcnow), "today": staticmethod(now)}
    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_time_ns() + int(seconds * 1_000_000_000)
    datetime.datetime = Kind("datetime", (true_datetime,), wrong)  # type: ignore[assignment, misc]
    datetime.date = Kind("date", (true_date,), {"today": staticmethod(today)})  # type: ignore[assignment, misc]
