"""Closes the network to the test process: only loopback is open.

Child processes are not watched; they are given loopback URLs.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any


class NetworkReached(AssertionError):
    """A test tried to leave this machine. No OSError, which the product would take for an outage and live with."""


_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _is_loopback(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in ("localhost", "", None):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _check(family: int, address: Any) -> None:
    if family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
        raise NetworkReached(f"A test tried to connect to {address[0]}:{address[1]}; only loopback is open.")


def _guarded_connect(self: socket.socket, address: Any) -> None:
    _check(self.family, address)
    _connect(self, address)


def _guarded_connect_ex(self: socket.socket, address: Any) -> int:
    _check(self.family, address)
    return _connect_ex(self, address)


def _guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(host, str) and host.rstrip(".").endswith(".invalid"):
        # Reserved never to exist: for tests of exactly this failure.
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    try:
        ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        if not _is_loopback(host):
            raise NetworkReached(f"A test tried to look up {host!r}; only loopback is open.") from None
    return _getaddrinfo(host, *args, **kwargs)


def close_the_network() -> None:
    """Make every connection or look-up that leaves this machine fail the test."""
    socket.socket.connect = _guarded_connect  # type: ignore[method-assign,assignment]
    socket.socket.connect_ex = _guarded_connect_ex  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = _guarded_getaddrinfo
