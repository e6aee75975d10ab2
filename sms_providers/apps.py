"""The App Store as a Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _lazy


class SmsProvidersConfig(AppConfig):
    name = "sms_providers"
    verbose_name = _lazy("SMS providers")

    def ready(self) -> None:
        from linkit import dashboard, health
        from sms_providers import checks  # noqa: F401  it registers itself
        from sms_providers import dashboard as sends
        from sms_providers.health import check_apps

        health.register("apps", check_apps)
        dashboard.add_watcher(sends.needs)
        dashboard.add_panel(50, "sms_providers/_dashboard_chart.html", sends.chart)
        dashboard.add_panel(60, "sms_providers/_dashboard_providers.html", sends.providers)
        dashboard.add_panel(70, "sms_providers/_dashboard_accounts.html", sends.accounts)
