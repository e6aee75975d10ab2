"""Fixtures of the outbox's tests: messages, and an adapter that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_django import Settings

from billing import ledger
from linkit.models import Organization
from outbox import services
from outbox.models import Message
from sms_providers import catalogue
from sms_providers.adapters.base import Capabilities, ProviderAdapter, Sms
from sms_providers.models import OrganizationApp
from sms_providers.results import Result, accepted
from sms_providers.transport import Budget
from tests import factories


@dataclass
class Script:
    """What the scripted providers do: `answers[slug]` is a result, or is asked for one. `calls` is what they got."""

    answers: dict[str, Result | Callable[[Sms], Result]] = field(default_factory=dict)
    calls: list[tuple[str, Sms]] = field(default_factory=list)

    def recipients(self) -> list[str]:
        return [sms.recipient for _, sms in self.calls]


SCRIPT = Script()


class ScriptedAdapter(ProviderAdapter):
    """A provider without a network."""

    origin = ""
    capabilities = Capabilities()

    def send(self, sms: Sms, budget: Budget) -> Result:
        SCRIPT.calls.append((self.slug, sms))
        answer = SCRIPT.answers.get(self.slug, accepted("id-1", raw={"ok": True}))
        return answer(sms) if callable(answer) else answer


class First(ScriptedAdapter):
    slug, name = "first-sms", "First"


class Second(ScriptedAdapter):
    slug, name = "second-sms", "Second"


@pytest.fixture
def script(settings: Settings) -> Script:
    """Two providers, `first-sms` and `second-sms`, that accept everything until told otherwise, beside the sandbox."""
    settings.SMS_PROVIDERS = [
        f"{__name__}.First",
        f"{__name__}.Second",
        "sms_providers.adapters.sandbox.SandboxSms",
    ]
    SCRIPT.answers.clear()
    SCRIPT.calls.clear()
    return SCRIPT


@pytest.fixture
def first(organization: Organization, script: Script) -> OrganizationApp:
    return OrganizationApp.objects.create(organization=organization, slug="first-sms", priority=1)


@pytest.fixture
def second(organization: Organization, script: Script) -> OrganizationApp:
    return OrganizationApp.objects.create(organization=organization, slug="second-sms", priority=2)


@pytest.fixture
def metered(first: OrganizationApp, organization: Organization) -> OrganizationApp:
    """`first-sms` as the platform's own account, and ten credits to pay with."""
    first.is_metered = True
    first.save()
    factories.top_up(organization, "10")
    return first


def figures(organization: Organization) -> tuple[Any, ...]:
    """Return the balance and what is held of it."""
    account = ledger.balance_of(organization)
    return account.balance, account.held


@pytest.fixture
def queue(organization: Organization) -> Callable[..., Message]:
    """Return a maker of queued messages: `queue()`, `queue(recipient=…, preferred_slug=…)`."""

    def make(**fields: Any) -> Message:
        fields = {"organization": organization, "recipient": factories.mobile(), "text": "Hello", **fields}
        return services.enqueue(**fields).message

    return make


@pytest.fixture(autouse=True)
def _forget_adapters() -> None:
    catalogue.adapters.cache_clear()
