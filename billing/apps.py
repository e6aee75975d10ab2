"""Billing as a Django app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = "Credits"

    def ready(self) -> None:
        from billing import checks, watch  # noqa: F401  checks register themselves
        from linkit import notices

        notices.register(watch.low_balances)
