"""The outbox and bulk jobs in the console."""

from outbox.admin import bulk, messages  # noqa: F401  they register themselves
