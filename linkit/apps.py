"""The kernel as a Django app, and the console's site in place of the stock one."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.utils.translation import gettext_lazy as _lazy

from linkit import names  # noqa: F401  before any model is made: it listens for them


class LinkitConfig(AppConfig):
    name = "linkit"
    verbose_name = _lazy("Organizations and access")
    default = True

    def ready(self) -> None:
        from linkit import checks, dashboard, health, lockout, schema  # noqa: F401  they register themselves

        health.register("database", health.check_database)
        health.register("broker", health.check_broker)
        dashboard.add_panel(30, "linkit/_dashboard_needs.html", dashboard.needs)


class LinkitAdminConfig(admin_apps.AdminConfig):
    default_site = "linkit.console.ConsoleSite"
    default = False
