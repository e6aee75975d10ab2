"""The sender names that a provider knows of an account, for somebody who chooses one: asked seldom, and never long."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from django.core.cache import cache
from django.utils import translation
from django.utils.translation import gettext as _

from linkit.errors import InvalidInput
from sms_providers import catalogue, installing, sending
from sms_providers.adapters.base import ProviderRefused
from sms_providers.models import OrganizationApp
from sms_providers.reasons import noted
from sms_providers.transport import Budget

logger = logging.getLogger(__name__)

_KEPT, _REFUSAL_KEPT = 300, 30  # seconds; a provider that hangs is not asked again with every click


@dataclass(frozen=True)
class SenderNames:
    """The names, and a sentence about them in the reader's language, which says so when there are none."""

    names: list[str]
    note: str


def ask(app: OrganizationApp) -> SenderNames:
    """Return the names at the provider, which may take as long as a call in a request may. Never raises."""
    name = {"app": catalogue.app_name(app.slug)}
    if not catalogue.adapters()[app.slug].capabilities.sender_names:
        return SenderNames([], _("%(app)s does not tell its sender names. Type one that is registered there.") % name)
    known = _known(app)
    if known["problem"] is not None:
        why = {"why": noted(*known["problem"])}
        return SenderNames([], _("%(app)s did not tell its sender names: %(why)s") % {**name, **why})
    if not known["names"]:
        return SenderNames([], _("%(app)s has no sender name for this account.") % name)
    return SenderNames(known["names"], _("Sender names at %(app)s:") % name)


def _known(app: OrganizationApp) -> dict[str, Any]:
    """Return the answer that is kept, else the provider's: names, or a problem as its reason and its English words."""
    key = f"sender-names:{app.pk}:{app.updated_at.timestamp()}"  # other credentials, another answer
    try:
        if (kept := cache.get(key)) is not None:
            found: dict[str, Any] = kept
            return found
    except redis.RedisError as error:
        logger.warning("Sender names are asked for anew, Redis did not answer: %s", type(error).__name__)
    found = _asked(app)
    try:
        cache.set(key, found, _KEPT if found["problem"] is None else _REFUSAL_KEPT)
    except redis.RedisError as error:
        logger.warning("Sender names are not kept, Redis did not answer: %s", type(error).__name__)
    return found


def _asked(app: OrganizationApp) -> dict[str, Any]:
    try:
        with translation.override("en"):
            adapter = sending.route_through(app).adapter
        names = adapter.sender_names(Budget(limit=settings.PROVIDER_CALL_LIMIT_WEB))
    except InvalidInput as error:
        return {"names": [], "problem": (error.reason, error.message)}
    except ProviderRefused as refusal:  # among them that it does not offer it for this account
        return {"names": [], "problem": (refusal.result.reason, refusal.result.message)}
    installing.note_answer(app)
    return {"names": list(dict.fromkeys(names)), "problem": None}
