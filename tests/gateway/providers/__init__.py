"""The providers that the gateway can be, one module each."""

from tests.gateway.providers.base import Answer, Call, Provider, Refusal, Send
from tests.gateway.providers.cequens import Cequens
from tests.gateway.providers.fourjawaly import FourJawaly
from tests.gateway.providers.infobip import Infobip
from tests.gateway.providers.mora import Mora
from tests.gateway.providers.msegat import Msegat
from tests.gateway.providers.taqnyat import Taqnyat
from tests.gateway.providers.twilio import Twilio
from tests.gateway.providers.unifonic import Unifonic
from tests.gateway.providers.vonage import Vonage

PROVIDERS: dict[str, type[Provider]] = {
    provider.slug: provider
    for provider in (Mora, Taqnyat, Msegat, FourJawaly, Unifonic, Cequens, Twilio, Infobip, Vonage)
}

__all__ = ["PROVIDERS", "Answer", "Call", "Provider", "Refusal", "Send"]
