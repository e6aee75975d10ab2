"""The providers that the gateway can be, one module each."""

from tests.gateway.providers.base import Answer, Call, Provider, Refusal, Send
from tests.gateway.providers.mora import Mora
from tests.gateway.providers.taqnyat import Taqnyat
from tests.gateway.providers.twilio import Twilio

PROVIDERS: dict[str, type[Provider]] = {provider.slug: provider for provider in (Mora, Taqnyat, Twilio)}

__all__ = ["PROVIDERS", "Answer", "Call", "Provider", "Refusal", "Send"]
