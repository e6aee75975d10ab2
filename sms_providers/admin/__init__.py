"""The App Store, sender IDs, the SMS log, usage and sending by hand in the console."""

from sms_providers.admin import app_store, messages, sender_ids  # noqa: F401  they register themselves
