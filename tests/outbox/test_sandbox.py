"""A real message must never end `sent` in the simulator because of what happens to be installed when its turn comes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from linkit.models import Organization
from outbox import services
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers import installing
from sms_providers.models import SANDBOX, OrganizationApp, Status
from tests.outbox.conftest import Script

Queue = Callable[..., Message]


@pytest.fixture
def sandbox(organization: Organization, script: Script) -> OrganizationApp:
    return OrganizationApp.objects.create(organization=organization, slug=SANDBOX)


def test_where_it_is_the_only_app_it_sends(queue: Queue, sandbox: OrganizationApp) -> None:
    message = queue()
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.provider_slug, message.preferred_slug) == (Status.SENT, SANDBOX, "")


def test_a_real_app_that_is_uninstalled_leaves_its_messages_waiting(
    queue: Queue, sandbox: OrganizationApp, first: OrganizationApp, script: Script
) -> None:
    message = queue()
    installing.uninstall(app=first)
    Drain().run()
    message.refresh_from_db()
    assert (message.status, message.reason) == (Status.PENDING, "no_app")
    assert script.calls == []


def test_nothing_is_queued_while_the_only_real_app_is_disabled(
    queue: Queue, sandbox: OrganizationApp, first: OrganizationApp
) -> None:
    OrganizationApp.objects.filter(pk=first.pk).update(is_enabled=False)
    with pytest.raises(services.NoApp):
        queue()
    assert not Message.objects.exists()
