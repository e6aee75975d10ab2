"""Contacts as a Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _lazy


class ContactsConfig(AppConfig):
    name = "contacts"
    verbose_name = _lazy("Contacts")

    def ready(self) -> None:
        from contacts import dashboard as programs
        from contacts import receivers  # noqa: F401  they connect themselves
        from linkit import dashboard

        dashboard.add_watcher(programs.needs)
