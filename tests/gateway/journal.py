"""What the gateway received: one entry for each number of each send, and how it was answered."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any


@dataclass
class Entry:
    """One message that reached the gateway.

    `is_accepted` says whether the provider took it, so that a handset rings, whatever the caller was told. `outcome`
    says what the caller was told: `received` until it is decided, then the behaviour's name.
    """

    id: int
    slug: str
    number: str  # E.164
    text: str
    sender: str
    received_at: float  # seconds since 1970
    is_accepted: bool
    outcome: str = "received"
    provider_id: str = ""
    scheduled: str = ""  # as the caller wrote it
    status: int | None = None  # HTTP status of the answer, if there was one
    answered_at: float | None = None
    has_client_left: bool = False  # before the answer was written
    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)  # the body, decoded


class Reading:
    """Questions about entries, the same for the gateway's own journal and for a copy fetched over HTTP."""

    @property
    def entries(self) -> list[Entry]:
        raise NotImplementedError

    def of(self, slug: str | None = None, number: str | None = None, *, accepted_only: bool = False) -> list[Entry]:
        """Return the entries of a provider, of a number, or of both, oldest first."""
        return [
            entry
            for entry in self.entries
            if (slug is None or entry.slug == slug)
            and (number is None or entry.number == number)
            and (entry.is_accepted or not accepted_only)
        ]

    def numbers(self, *, accepted_only: bool = True, slug: str | None = None) -> list[str]:
        """Return the numbers, in order of arrival, each as often as it came."""
        return [entry.number for entry in self.of(slug, accepted_only=accepted_only) if entry.number]

    def duplicates(self, *, accepted_only: bool = True) -> list[str]:
        """Return the numbers that came more than once. What the whole product promises is: none."""
        return sorted(
            number for number, count in Counter(self.numbers(accepted_only=accepted_only)).items() if count > 1
        )

    def wait_for(
        self, question: Callable[[list[Entry]], bool], *, seconds: float = 15.0, what: str = "the gateway's journal"
    ) -> list[Entry]:
        """Wait until `question(entries)` is true and return the entries. Raises AssertionError when time is up."""
        deadline = time.monotonic() + seconds
        while not question(entries := self.entries):
            if time.monotonic() > deadline:
                outcomes = dict(Counter(entry.outcome for entry in entries))
                raise AssertionError(f"Waited {seconds} s in vain for {what}; it has {outcomes}.")
            self._pause()
        return entries

    def wait_for_count(self, count: int, *, seconds: float = 15.0, outcome: str | None = None) -> list[Entry]:
        """Wait until at least `count` entries (of this outcome) are there."""

        def is_there(entries: list[Entry]) -> bool:
            return sum(outcome is None or entry.outcome == outcome for entry in entries) >= count

        return self.wait_for(is_there, seconds=seconds, what=f"{count} entries {outcome or ''}".rstrip())

    def _pause(self) -> None:
        time.sleep(0.02)


class Journal(Reading):
    """The gateway's own journal. Safe between threads; appended to a file as JSON lines when one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._changed = threading.Condition()
        self._entries: list[Entry] = []
        self._count = 0
        self._file: IO[str] | None = path.open("a", encoding="utf-8", buffering=1) if path else None

    @property
    def entries(self) -> list[Entry]:
        with self._changed:
            return list(self._entries)

    def add(self, entries: Iterable[dict[str, Any]]) -> list[Entry]:
        """Note what has just been received, before anything is answered."""
        added = []
        with self._changed:
            for fields in entries:
                self._count += 1
                added.append(Entry(id=self._count, received_at=time.time(), **fields))
            self._entries += added
            self._write(added)
            self._changed.notify_all()
        return added

    def note(self, entries: Iterable[Entry], **changes: Any) -> None:
        """Note how the same messages went on."""
        entries = list(entries)
        with self._changed:
            for entry in entries:
                for name, value in changes.items():
                    setattr(entry, name, value)
            self._write(entries)
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._entries = []  # ids go on: an answer still under way keeps its own entry

    def close(self) -> None:
        with self._changed:
            if self._file:
                self._file.close()
                self._file = None

    def _write(self, entries: Iterable[Entry]) -> None:
        if self._file:
            self._file.writelines(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait(0.05)
