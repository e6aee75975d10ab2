"""Billing as a Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _lazy


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = _lazy("Credits")

    def ready(self) -> None:
        from billing import checks, watch  # noqa: F401  checks register themselves
        from billing import dashboard as credits
        from linkit import dashboard, notices

        notices.register(watch.low_balances)
        dashboard.add_watcher(credits.needs)
        dashboard.add_panel(40, "billing/_dashboard_credits.html", credits.accounts)
