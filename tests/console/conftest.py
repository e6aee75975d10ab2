"""People at the console, and rows to look at."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from linkit.models import Organization, Role, User
from outbox.bulk import receiving, work
from outbox.bulk.models import BulkJob
from outbox.models import Message
from sms_providers import catalogue, sending
from sms_providers.models import OrganizationApp, SmsLog, Source, Status
from tests import factories

# The first backend only locks out; it knows no people.
BACKEND = "linkit.lockout.LockoutBackend"
ROLES = {"viewer": Role.VIEWER, "operator": Role.OPERATOR, "admin": Role.ADMIN}


@pytest.fixture
def console(organization: Organization, other_organization: Organization) -> Callable[[str], Client]:
    """Return a maker of logged-in browsers: viewer, operator, admin, superuser, stranger (admin of another), loner."""

    def browser(who: str) -> Client:
        client = Client()
        client.force_login(person(who), BACKEND)
        return client

    def person(who: str) -> User:
        if who == "superuser":
            return factories.make_user(is_staff=True, is_superuser=True)
        if who == "stranger":
            return factories.make_user(other_organization, role=Role.ADMIN, is_staff=True)
        if who == "loner":
            return factories.make_user(is_staff=True)
        return factories.make_user(organization, role=ROLES[who], is_staff=True)

    return browser


@pytest.fixture
def sandbox(organization: Organization) -> OrganizationApp:
    return factories.install(organization, "sandbox-sms")


@pytest.fixture
def send(organization: Organization) -> Callable[..., SmsLog]:
    """Return a maker of finished sends through an app: `send(app, recipient=…, text=…)`."""

    def make(app: OrganizationApp, **fields: Any) -> SmsLog:
        given = {"source": Source.SEND, "recipient": factories.mobile(), "text": "Hello", **fields}
        log = sending.new_log(organization_id=app.organization_id, **given)
        log, _ = sending.send_now(log, sending.Route(app, catalogue.adapter_for(app)))
        return log

    return make


@pytest.fixture
def queued(organization: Organization) -> Callable[..., Message]:
    def make(**fields: Any) -> Message:
        now = timezone.now()
        given = {
            "organization": organization,
            "recipient": factories.mobile(),
            "text": "Queued text",
            "encoding": "GSM-7",
            "segment_count": 1,
            "request_digest": "x",
            "status": Status.PENDING,
            "next_attempt_at": now,
            "expires_at": now + timedelta(hours=72),
            **fields,
        }
        return Message.objects.create(**given)

    return make


def bulk_job(app: OrganizationApp) -> BulkJob:
    """A job whose file has a wrong row, and is read."""
    file = io.BytesIO(f"mobile,message\n{factories.mobile()},Hello\n12,Hello\n".encode())
    job = receiving.create(organization=app.organization, app=app, slug=app.slug, file=file, filename="file.csv").job
    while work.do_next(threading.Event()):
        pass
    return job
