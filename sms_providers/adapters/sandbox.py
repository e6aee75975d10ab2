"""The simulator: an app that needs no account and no network. Its numbers script the outcome."""

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from django.utils.translation import gettext_noop as noop

from sms_providers.adapters.base import Balance, Capabilities, ProviderAdapter, Sms
from sms_providers.models import SANDBOX
from sms_providers.results import Fault, Result, accepted, rejected, unavailable, unknown
from sms_providers.transport import Budget

SLOW_SECONDS = 3.0

# A message to one of these numbers ends as written; every other number accepts.
SCRIPT: dict[str, Result] = {
    "+966555555501": rejected(Fault.AUTH, "Simulated: the credentials are refused."),
    "+966555555502": rejected(Fault.BALANCE, "Simulated: the account has no balance."),
    "+966555555503": rejected(Fault.SENDER, "Simulated: the sender ID is not registered."),
    "+966555555504": rejected(Fault.RECIPIENT, "Simulated: the number does not exist."),
    "+966555555505": rejected(Fault.CONTENT, "Simulated: the text is not allowed."),
    "+966555555506": rejected(Fault.OTHER, "Simulated: a refusal with a code that nobody documents.", code="999"),
    "+966555555507": unavailable(Fault.THROTTLED, "Simulated: too many calls; nothing was sent."),
    "+966555555508": unavailable(message="Simulated: the gateway is down; nothing was sent."),
    "+966555555509": unknown("read_timeout", "Simulated: sent, but the gateway's answer never came."),
}
SLOW_NUMBER = "+966555555510"


class SandboxSms(ProviderAdapter):
    """Accepts and delivers nothing. What it took is in the console's sandbox inbox."""

    slug: ClassVar[str] = SANDBOX
    name: ClassVar[str] = "Sandbox"
    origin: ClassVar[str] = ""
    capabilities: ClassVar[Capabilities] = Capabilities(balance=True, sender_names=True)

    def send(self, sms: Sms, budget: Budget) -> Result:
        if sms.recipient == SLOW_NUMBER:
            time.sleep(min(SLOW_SECONDS, budget.limit.total_seconds()))
        scripted = SCRIPT.get(sms.recipient)
        if scripted is None:
            scripted = accepted(f"sandbox-{sms.reference}")
        body: dict[str, Any] = {"sandbox": True, "status": scripted.outcome.value, "to": sms.recipient}
        if scripted.provider_message_id:
            body["id"] = scripted.provider_message_id
        if scripted.reason:
            body |= {"reason": scripted.reason, "message": scripted.message}
        return replace(scripted, raw=body)

    def fetch_balance(self, budget: Budget) -> Balance:
        return Balance(Decimal(1000), unit=noop("messages"))

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        return ["Sandbox"]
