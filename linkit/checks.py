"""System checks on our settings, run at every start and by `manage.py check`."""

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def encryption_keys_are_usable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`linkit.E001`: a key that Fernet refuses would fail at the first installation instead of now."""
    if not settings.FIELD_ENCRYPTION_KEYS:
        return [Error("FIELD_ENCRYPTION_KEYS is empty.", hint="Give at least one Fernet key.", id="linkit.E001")]
    for position, key in enumerate(settings.FIELD_ENCRYPTION_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            code = "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"
            hint = f'Make one with: python -c "{code}"'
            return [Error(f"Key {position} of FIELD_ENCRYPTION_KEYS is no Fernet key.", hint=hint, id="linkit.E001")]
    return []


@register()
def sending_settings_fit_together(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`linkit.E002`: a call that outlives its lease would be reaped while it runs. `linkit.E003`: nobody would send.

    `linkit.E004`: the same for a call in a web request and the deadline of a direct send.
    """
    found: list[CheckMessage] = []
    if settings.PROVIDER_CALL_LIMIT + settings.OUTBOX_LEASE_MARGIN >= settings.OUTBOX_LEASE:
        found.append(
            Error(
                "OUTBOX_LEASE_SECONDS must be above PROVIDER_CALL_LIMIT_SECONDS plus OUTBOX_LEASE_MARGIN_SECONDS.",
                id="linkit.E002",
            )
        )
    if settings.OUTBOX_SENDERS < 1:
        found.append(Error("OUTBOX_SENDERS must be at least 1.", id="linkit.E003"))
    if settings.PROVIDER_CALL_LIMIT_WEB >= settings.DIRECT_SEND_DEADLINE:
        found.append(
            Error("DIRECT_SEND_DEADLINE_SECONDS must be above PROVIDER_CALL_LIMIT_WEB_SECONDS.", id="linkit.E004")
        )
    return found
