"""Runs a few processes of ours, each in a session of its own: starts, watches, restarts and ends them.

Ctrl-C in a terminal reaches the whole foreground group. In sessions of their own our children do not hear it, so
that they end one after the other, in the order that loses nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL
MAX_RESTARTS = 3
_LOG_BYTES = 5_000_000  # a log that has grown beyond this is set aside at the next start
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ChildFailed(Exception):
    """A child died once too often."""


def _death_bound() -> Callable[[], None] | None:
    """Return what a child does before exec: ask the kernel for SIGTERM when we die without a chance to say so.

    Only Linux can. Elsewhere a killed supervisor leaves its children behind.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()  # loaded here: between fork and exec little is allowed

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return bind


@dataclass
class Child:
    """One process with its log file.

    `stdin` is handed to it at its start, for what must not show in `ps`. `grace` is how many seconds it has to end.
    """

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    stdin: bytes = b""
    grace: float = GRACE_SECONDS
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE if self.stdin else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.env),
                start_new_session=True,
                preexec_fn=_death_bound(),  # noqa: PLW1509  the supervisor has no threads
            )
        if self.process.stdin:
            # One that dies before it reads is found dead by whoever waits for it.
            with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
                pipe.write(self.stdin)

    @property
    def exit_status(self) -> str | None:
        """How it ended, in words; None while it runs."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def stop(self) -> None:
        """End it: SIGTERM to the leader alone, which ends its own children; SIGKILL to all of them after `grace`."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=self.grace)
        self.kill_group()

    def kill_group(self) -> None:
        """Leave nothing behind: a leader that died by itself may have left children that work on."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says "not permitted" of zombies
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def set_aside_long_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))

    def last_lines(self, count: int = 15) -> str:
        if not self.log.exists():
            return ""
        with self.log.open(errors="replace") as lines:
            return "".join(deque(lines, maxlen=count)).rstrip()


class Supervisor:
    """Children in the order of their start; they are ended in the opposite order."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: list[Child] = []
        self._restarts: dict[str, int] = {}
        self._start_at: dict[str, float] = {}

    def add(self, child: Child) -> None:
        """Take over a child, starting it if it is not running."""
        self._children.append(child)
        if child.process is None:
            child.set_aside_long_log()
            child.start()

    def look(self) -> None:
        """Start again what has died. Raises `ChildFailed` when that has been done often enough."""
        for child in self._children:
            if (status := child.exit_status) is not None:
                child.kill_group()
                lines = child.last_lines()
                self._say(f"{child.name} has ended ({status}). Its last lines:\n\n{lines}\n")
                restarts = self._restarts[child.name] = self._restarts.get(child.name, 0) + 1
                if restarts > MAX_RESTARTS:
                    raise ChildFailed(f"{child.name} was started again {MAX_RESTARTS} times and keeps ending.")
                self._start_at[child.name] = time.monotonic() + restarts
            elif child.process is None and time.monotonic() >= self._start_at[child.name]:
                self._say(f"Starting {child.name} again ({self._restarts[child.name]} of {MAX_RESTARTS}).")
                child.start()

    def stop(self) -> None:
        """End all, the last started first, each before the next."""
        for child in reversed(self._children):
            child.stop()
        self._children.clear()


def wait_for(condition: Callable[[], bool], *, seconds: float, meanwhile: Callable[[], None]) -> bool:
    """Wait until `condition` holds, calling `meanwhile` in between, which may raise. False when it took too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        meanwhile()
        time.sleep(_POLL_SECONDS)
    return True
