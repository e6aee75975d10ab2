"""A local SMS gateway with real sockets that speaks the providers' published contracts.

`/<slug>/<documented path>` is the provider `<slug>`, so `SMS_PROVIDER_BASE_URLS = gateway.base_urls` points the product
at it. Behaviours are scripted by provider and number (`tests.gateway.script`), and the journal holds every message
that was received, with what became of it: it is the witness of "nobody got a message twice".

    with Gateway() as gateway:
        gateway.script("mora-sms", throttle(retry_after=3), times=2)
        ...
        assert gateway.journal.duplicates() == []

`python -m tests.gateway --port 0` is the same as a process of its own; `tests.gateway.remote` talks to it.
A further provider is one module in `tests/gateway/providers` and a line in its `__init__.py`.
"""

from tests.gateway.journal import Entry, Journal
from tests.gateway.script import (
    Behaviour,
    accept,
    answer,
    cut,
    drip,
    drop_after,
    drop_before,
    fault,
    hold,
    html,
    huge,
    redirect,
    refuse,
    silence,
    throttle,
    truncated,
)
from tests.gateway.server import Gateway

__all__ = [
    "Behaviour",
    "Entry",
    "Gateway",
    "Journal",
    "accept",
    "answer",
    "cut",
    "drip",
    "drop_after",
    "drop_before",
    "fault",
    "hold",
    "html",
    "huge",
    "redirect",
    "refuse",
    "silence",
    "throttle",
    "truncated",
]
