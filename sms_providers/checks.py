"""System checks on the App Store's settings."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from sms_providers.catalogue import adapters


@register()
def base_urls_name_known_apps(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`sms_providers.W001`: a misspelt slug would leave real traffic going to the real provider."""
    unknown = sorted(set(settings.SMS_PROVIDER_BASE_URLS) - set(adapters()))
    if unknown:
        return [Warning(f"SMS_PROVIDER_BASE_URLS names unknown apps: {', '.join(unknown)}.", id="sms_providers.W001")]
    return []


@register()
def slugs_are_unique(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`sms_providers.E001`: two adapters with one slug would hide each other."""
    if len(adapters()) != len(settings.SMS_PROVIDERS):
        return [Error("Two adapters in SMS_PROVIDERS have the same slug.", id="sms_providers.E001")]
    return []
