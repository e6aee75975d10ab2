"""System checks on the settings of credits."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ValidationError

from billing.models import BalanceAlert, Rate


@register()
def amounts_are_credits(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`billing.E001`: an amount that no column holds would fail at the first message instead of now."""
    price, threshold = Rate._meta.get_field("price"), BalanceAlert._meta.get_field("threshold")
    given = [("SMS_CREDIT_RATE", price, settings.SMS_CREDIT_RATE)]
    given += [("CREDIT_ALERTS", threshold, amount) for amount in settings.CREDIT_ALERTS]
    found: list[CheckMessage] = []
    for name, field, amount in given:
        try:
            field.run_validators(amount)
        except ValidationError as error:
            found.append(Error(f"{name}: {amount} is no amount of credits. {error.messages[0]}", id="billing.E001"))
    return found


@register()
def holds_outlive_calls(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`billing.W001`: a hold that is given back while its message is under way would never be charged."""
    if max(settings.OUTBOX_LEASE, settings.DIRECT_SEND_DEADLINE) >= settings.CREDIT_HOLD_LIFETIME:
        words = "CREDIT_HOLD_HOURS is shorter than a message may be under way: it would be sent and not be charged."
        return [Warning(words, id="billing.W001")]
    return []
