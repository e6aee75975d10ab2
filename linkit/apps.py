"""The kernel as a Django app, and the console's site in place of the stock one."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class LinkitConfig(AppConfig):
    name = "linkit"
    verbose_name = "Organizations and access"
    default = True

    def ready(self) -> None:
        from linkit import checks, health, lockout, schema  # noqa: F401  they register themselves

        health.register("database", health.check_database)
        health.register("broker", health.check_broker)


class LinkitAdminConfig(admin_apps.AdminConfig):
    default_site = "linkit.console.ConsoleSite"
    default = False
