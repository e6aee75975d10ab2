"""Contacts, their attributes and audiences in the console."""

from contacts.admin import attributes, audiences, contacts, programs  # noqa: F401  they register themselves
