"""The App Store as a Django app."""

from django.apps import AppConfig


class SmsProvidersConfig(AppConfig):
    name = "sms_providers"
    verbose_name = "SMS providers"

    def ready(self) -> None:
        from linkit import health
        from sms_providers import checks  # noqa: F401  it registers itself
        from sms_providers.health import check_apps

        health.register("apps", check_apps)
