"""What the App Store asks of the outbox."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.dispatch import receiver
from django.utils.translation import gettext as _

from billing.signals import credits_added
from linkit import clock
from linkit.errors import Conflict
from linkit.models import Organization
from outbox import services, tasks
from outbox.bulk.models import LIVE, BulkJob
from outbox.models import Message
from outbox.routing import WAITS_FOR_CREDITS
from sms_providers import signals
from sms_providers.models import OrganizationApp, SmsLog, Status


@receiver(signals.queue_requested)
def queue_for_later(sender: Any, log: SmsLog, app: OrganizationApp | None, due_at: datetime, **_: Any) -> str:
    return services.queue_pinned(log=log, app=app, due_at=due_at).pk


@receiver(credits_added)
def send_what_waited(sender: Any, organization: Organization, **_: Any) -> None:
    """Bring forward what waits for credits. A paused job waits for somebody to resume it."""
    waiting = Message.objects.filter(organization=organization, status=Status.PENDING, job=None)
    now = clock.now()
    if waiting.filter(reason__in=WAITS_FOR_CREDITS).update(next_attempt_at=now, updated_at=now):
        transaction.on_commit(tasks.wake, robust=True)


@receiver(signals.app_uninstalling)
def keep_pinned_apps(sender: Any, app: OrganizationApp, **others: Any) -> None:
    if Message.objects.filter(pinned_app=app, job=None, status__in=[Status.PENDING, Status.SENDING]).exists():
        text = _("Messages that only %(slug)s may send are still waiting; cancel them or wait, then uninstall it.")
        raise Conflict(text % {"slug": app.slug}, reason="app_in_use")
    if BulkJob.objects.filter(app=app, status__in=LIVE).exists():
        text = _("A bulk job through %(slug)s is not over; wait, or stop it, then uninstall the app.")
        raise Conflict(text % {"slug": app.slug}, reason="app_in_use")
