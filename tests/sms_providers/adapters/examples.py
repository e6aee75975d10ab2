"""The adapters that the shared tests run, and what they are given.

They are all of the catalogue, and the one of docs/adding-a-provider.md, which is in no catalogue.
"""

from __future__ import annotations

from sms_providers import catalogue
from sms_providers.adapters.base import ProviderAdapter
from sms_providers.models import SANDBOX
from tests import documented
from tests.gateway.providers import PROVIDERS, Provider

NIMBUS: type[ProviderAdapter] = documented.module("sms_providers/adapters/nimbus.py").NimbusSms
ALL: list[type[ProviderAdapter]] = [*catalogue.adapters().values(), NIMBUS]
SPEAKING = [kind for kind in ALL if kind.slug != SANDBOX]

GATEWAY_PROVIDERS: dict[str, type[Provider]] = {
    **PROVIDERS,
    NIMBUS.slug: documented.module("tests/gateway/providers/nimbus.py").Nimbus,
}
UNPLAYED = [kind.slug for kind in SPEAKING if kind.slug not in GATEWAY_PROVIDERS]
assert not UNPLAYED, f"Teach tests/gateway/providers/ to play {UNPLAYED}: the shared tests need a peer."


# Texts that every gateway has to get as they were written.
FAMILY = "مرحبا 👨‍👩‍👧‍👦 أهلاً وسهلاً"  # joined emoji: seven characters, one picture
TEN_PARTS = "".join(f"{number:04d} " for number in range(306))  # 1,530 septets: ten parts of GSM-7
TEN_PARTS_ARABIC = "مرحبا " * 111 + "سلام"  # 670 units: ten parts of UCS-2

REFERENCE = "0190e3a6-7d32-7000-8000-000000000001"
