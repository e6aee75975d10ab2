"""What people should know whatever page of the console they open. Each package adds what it watches over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.http import HttpRequest


@dataclass(frozen=True)
class Notice:
    """One strip above the page: a sentence, and where to see to it. `kind` is the stylesheet's."""

    kind: str
    text: str
    url: str = ""
    link: str = ""


_watchers: list[Callable[[HttpRequest], Iterable[Notice]]] = []


def register(watcher: Callable[[HttpRequest], Iterable[Notice]]) -> None:
    """Add somebody who is asked for every page, so with one cheap query; called by an AppConfig when it is ready."""
    if watcher not in _watchers:
        _watchers.append(watcher)


def current(request: HttpRequest) -> list[Notice]:
    """Return what this person should know now."""
    return [notice for watcher in _watchers for notice in watcher(request)]
