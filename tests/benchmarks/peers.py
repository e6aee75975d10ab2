"""What most would write: one task for each message, in Celery and in dramatiq.

    celery --app=tests.benchmarks.peers:celery_app worker --pool=threads --concurrency=64 ...
    dramatiq tests.benchmarks.peers:broker --processes 1 --threads 64

The task loads its row, posts with the `requests` Session of its thread, and saves the row: no lease, no start mark, no
log, no attempts, no limits. The table has no index but its key. So it is less than half of what a drain does.
"""

from __future__ import annotations

import threading
from typing import ClassVar

import celery
import django
import dramatiq
import requests
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker

django.setup()

from django.db import connection, connections, models  # noqa: E402
from django.utils import timezone  # noqa: E402

from tests.benchmarks.form import SENDER, TEXT  # noqa: E402

# One round trip less for each task: a usual application has not set it.
connections.settings["default"]["CONN_HEALTH_CHECKS"] = False

TABLE = "benchmark_sms"
SENT = "sent"


class Row(models.Model):
    """An SMS as a usual application has it."""

    recipient = models.CharField(max_length=16)
    text = models.TextField()
    sender = models.CharField(max_length=20)
    status = models.CharField(max_length=16, default="pending")
    provider_id = models.CharField(max_length=64, default="")
    response = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Row]] = models.Manager()

    class Meta:
        app_label = "linkit"  # any that is installed; no migration knows it
        managed = False
        db_table = TABLE

    def __str__(self) -> str:
        return self.recipient


_sessions = threading.local()


def send(pk: int) -> None:
    """What both tasks do."""
    if not hasattr(_sessions, "session"):
        _sessions.session = requests.Session()
    row = Row.objects.get(pk=pk)
    form = {
        "api_key": "test-key",
        "username": "966500000000",
        "message": row.text,
        "sender": row.sender,
        "numbers": row.recipient.removeprefix("+"),
        "return": "json",
    }
    response = _sessions.session.post(_url(), data=form, timeout=30)
    body = response.json()
    if response.ok and body["data"]["code"] == 100:
        row.status, row.provider_id, row.response, row.sent_at = SENT, body["data"]["ref_id"], body, timezone.now()
    else:
        row.status, row.response = "failed", body
    row.save()


def _url() -> str:
    return f"{settings.SMS_PROVIDER_BASE_URLS['mora-sms']}/api/v1/sendsms"


# --- Celery -----------------------------------------------------------------------------------------------------

celery_app = celery.Celery("peers", broker=settings.REDIS_URL, set_as_current=False)
celery_app.conf.update(task_ignore_result=True, task_default_queue="peers", broker_connection_retry_on_startup=True)


@celery_app.task(name="send")
def send_by_celery(pk: int) -> None:
    send(pk)


# --- dramatiq ---------------------------------------------------------------------------------------------------

broker = RedisBroker(url=settings.REDIS_URL)
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker, max_retries=0)
def send_by_dramatiq(pk: int) -> None:
    send(pk)


# --- for the benchmark ------------------------------------------------------------------------------------------


def make_table() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Row)


def fill(count: int) -> list[int]:
    """Empty the table, write so many rows, and return their keys."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLE} RESTART IDENTITY")
        cursor.execute(
            f"INSERT INTO {TABLE} (recipient, text, sender, status, provider_id, response, created_at)"
            " SELECT '+9665' || lpad(n::text, 8, '0'), replace(%s, '{}', n::text), %s, 'pending', '', '{}', now()"
            " FROM generate_series(0, %s) AS n",
            [TEXT, SENDER, count - 1],
        )
        cursor.execute(f"VACUUM (ANALYZE) {TABLE}")
    return list(Row.objects.order_by("pk").values_list("pk", flat=True))


def count_unsent() -> int:
    return Row.objects.exclude(status=SENT).count()
