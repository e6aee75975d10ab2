"""The App Store: every adapter of SMS_PROVIDERS, by slug."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from linkit.errors import InvalidInput
from sms_providers.adapters.base import ProviderAdapter
from sms_providers.models import SANDBOX, OrganizationApp


@cache
def adapters() -> dict[str, type[ProviderAdapter]]:
    """Return the adapter classes by slug, in catalogue order."""
    classes = [import_string(dotted) for dotted in settings.SMS_PROVIDERS]
    return {adapter.slug: adapter for adapter in classes}


# By installation: which class and version it was made of.
_made: dict[int, tuple[tuple[type[ProviderAdapter], datetime], ProviderAdapter]] = {}


@receiver(setting_changed)
def _forget(setting: str, **_: Any) -> None:
    if setting == "SMS_PROVIDERS":
        adapters.cache_clear()
    if setting in ("SMS_PROVIDERS", "FIELD_ENCRYPTION_KEYS"):
        _made.clear()


def find(slug: str) -> type[ProviderAdapter]:
    """Return the adapter class of `slug`. Raises `InvalidInput` for an unknown one."""
    try:
        return adapters()[slug]
    except KeyError:
        raise InvalidInput(
            f"There is no SMS app '{slug}'; GET /api/v1/app-store lists them.",
            fields={"slug": ["Unknown app."]},
            reason="unknown_app",
        ) from None


def app_name(slug: str) -> str:
    """Return the name people know an app by; its slug when it is not in the catalogue any more."""
    adapter = adapters().get(slug)
    return adapter.name if adapter else slug


def adapter_for(app: OrganizationApp) -> ProviderAdapter:
    """Return the adapter that speaks for this installation, the same as long as neither of them changes.

    So credentials are read and decrypted once, and not for each batch of messages.
    """
    adapter = find(app.slug)
    version = (adapter, app.updated_at)
    if app.pk in _made and _made[app.pk][0] == version:
        return _made[app.pk][1]
    made = adapter(app.credentials, default_sender=app.default_sender)
    _made[app.pk] = (version, made)
    return made


def forget(app: OrganizationApp) -> None:
    """Keep no credentials of an installation that is gone."""
    _made.pop(app.pk, None)


def sandbox() -> ProviderAdapter:
    """Return the simulator, which needs no installation."""
    return find(SANDBOX)({})
