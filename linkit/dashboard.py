"""The first page of the console: panels, and what needs a person. Each package adds what it watches over."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import redis
from django.http import HttpRequest

from linkit.redis import evaluate
from linkit.tenancy import reach

Context = dict[str, Any]
MOST = 5  # of one kind, each with its own line: the rest is behind one link


@dataclass(frozen=True)
class Panel:
    """A part of the page: what its template shows, found for a request. None: this person has nothing to see there."""

    position: int
    template: str
    look: Callable[[HttpRequest], Context | None]


@dataclass(frozen=True)
class Need:
    """Something that waits for a person: a sentence, and where one acts. `kind` is that of a badge."""

    kind: str  # "bad" or "unsure"
    label: str  # what it is about, in a word
    text: str
    url: str
    link: str


_panels: list[Panel] = []
_watchers: list[Callable[[HttpRequest], Iterable[Need]]] = []


def add_panel(position: int, template: str, look: Callable[[HttpRequest], Context | None]) -> None:
    """Add a panel; called by an AppConfig when it is ready. Those of a lower position come first."""
    if (panel := Panel(position, template, look)) not in _panels:
        _panels.append(panel)
        _panels.sort(key=lambda each: each.position)


def add_watcher(watcher: Callable[[HttpRequest], Iterable[Need]]) -> None:
    """Add somebody who says what needs a person; called by an AppConfig when it is ready."""
    if watcher not in _watchers:
        _watchers.append(watcher)


def panels(request: HttpRequest) -> list[tuple[str, Context]]:
    """Return the template of each panel that this person sees, with what is in it."""
    found = ((panel.template, panel.look(request)) for panel in _panels)
    return [(template, context) for template, context in found if context is not None]


def needs(request: HttpRequest) -> Context | None:
    """Return what needs a person, what is broken before what is unsure: a panel of the kernel's own."""
    who = reach(request)
    if not (who.is_superuser or who.scopes):
        return None
    found = [need for watcher in _watchers for need in watcher(request)]
    return {"needs": sorted(found, key=lambda need: need.kind != "bad")}


def kept(key: str, make: Callable[[], Any], *, seconds: int) -> Any:
    """Return what `make` has returned within the last `seconds`, for figures that cost much. It is JSON.

    While Redis is down it is made each time.
    """
    key = f"linkit:dashboard:{key}"
    try:
        found = evaluate("return redis.call('GET', KEYS[1])", keys=[key], args=[])
    except redis.RedisError:
        return make()
    if found is not None:
        return json.loads(found)
    made = make()
    with contextlib.suppress(redis.RedisError):  # whoever looks next makes it again
        evaluate("redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])", keys=[key], args=[json.dumps(made), seconds])
    return made
