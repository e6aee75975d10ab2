"""The adapters that the shared tests run, each with the example credentials that it declares.

They are all of the catalogue, and the one of docs/adding-a-provider.md, which is in no catalogue.
"""

from __future__ import annotations

from sms_providers import catalogue
from sms_providers.adapters.base import ProviderAdapter
from sms_providers.models import SANDBOX
from tests import documented
from tests.gateway.providers import PROVIDERS, Provider

ACME: type[ProviderAdapter] = documented.module("sms_providers/adapters/acme.py").AcmeSms
ALL: list[type[ProviderAdapter]] = [*catalogue.adapters().values(), ACME]
SPEAKING = [kind for kind in ALL if kind.slug != SANDBOX]

GATEWAY_PROVIDERS: dict[str, type[Provider]] = {
    **PROVIDERS,
    ACME.slug: documented.module("tests/gateway/providers/acme.py").Acme,
}


def example_credentials(kind: type[ProviderAdapter]) -> dict[str, str]:
    """Return credentials that `kind` and the local gateway take."""
    return {field.name: field.example for field in kind.credential_fields if field.example}
