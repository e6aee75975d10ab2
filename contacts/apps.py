"""Contacts as a Django app."""

from django.apps import AppConfig


class ContactsConfig(AppConfig):
    name = "contacts"
    verbose_name = "Contacts"

    def ready(self) -> None:
        from contacts import receivers  # noqa: F401  they connect themselves
