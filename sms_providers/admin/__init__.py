"""The App Store, the SMS log and sending by hand in the console."""

from sms_providers.admin import app_store, messages  # noqa: F401  they register themselves
