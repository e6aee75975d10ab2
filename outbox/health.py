"""What the outbox knows about its own health: workers seen lately, and how long the oldest message has waited."""

from datetime import timedelta

from django.db.models.functions import Coalesce

from linkit import clock
from linkit.health import Check, Health
from linkit.redis import client
from outbox.bulk.models import NEEDS_WORK, BulkJob
from outbox.models import Message
from outbox.routing import WAITS_FOR_CREDITS
from sms_providers.models import Status

_SEEN_KEY = "linkit:outbox:drained"
WORKER_SILENCE = timedelta(seconds=60)  # a drain starts every second
LONG_WAIT = timedelta(minutes=5)


def note_drain() -> None:
    """Remember for a while that a worker is draining. Raises `redis.RedisError`."""
    client().set(_SEEN_KEY, 1, ex=WORKER_SILENCE)


def check_workers() -> Check:
    if client().exists(_SEEN_KEY):
        return Check(Health.HEALTHY)
    return Check(Health.DEGRADED, f"No worker has drained the outbox for {WORKER_SILENCE.seconds} s: messages wait.")


def check_jobs() -> Check:
    """Tell whether uploaded files are read, and stopped jobs worked off: that needs a worker on the queue `bulk`."""
    waiting = BulkJob.objects.filter(status__in=NEEDS_WORK, updated_at__lt=clock.now() - LONG_WAIT)
    if waiting.filter(work_token=None).exists():
        return Check(Health.DEGRADED, "A bulk job has waited for a worker for long.")
    return Check(Health.HEALTHY)


def check_queue() -> Check:
    now = clock.now()
    # From when it was wanted, not from its next try: a message that is put off again and again waits all the while.
    since = Coalesce("scheduled_at", "created_at")
    # Bulk rows wait for hours at a provider's pace, and while their job is paused; the job's page shows that.
    # And one that somebody has to pay for first says nothing about the platform.
    waiting = Message.objects.filter(status=Status.PENDING, job=None).exclude(reason__in=WAITS_FOR_CREDITS)
    oldest = waiting.order_by(since).values_list(since, flat=True).first()
    wait = max((now - oldest).total_seconds(), 0.0) if oldest else 0.0
    figures = {"oldest_pending_seconds": round(wait, 1)}
    if wait > LONG_WAIT.total_seconds():
        return Check(Health.DEGRADED, "A message has been due for long; its page says why.", figures)
    return Check(Health.HEALTHY, figures=figures)
