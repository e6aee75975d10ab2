"""Direct sends that never reported back: their web process was killed in mid-call."""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from linkit import clock
from sms_providers.models import Attempt, SmsLog, Status
from sms_providers.results import Result, unknown
from sms_providers.sending import Ending, close, finish

_BATCH = 500


def lost() -> Result:
    """The result of an attempt whose process died after its start mark."""
    return unknown(
        "no_report", "The process that was sending this message died or lost its lease; it may have been sent."
    )


def lose(attempts: QuerySet[Attempt], *, now: datetime) -> None:
    """End those of `attempts` that are still open as unknown, in the caller's transaction."""
    result = lost()
    endings = []
    for attempt in attempts.filter(finished_at__isnull=True).select_related("log"):
        close(attempt, result, now=now)
        endings.append(Ending(attempt, result, Status.DISPATCH_TIMEOUT))
    if endings:
        finish(endings, now=now)


def reap_direct_sends() -> int:
    """Turn direct sends past their deadline into unknown outcomes. Returns how many. Safe to run twice at once."""
    reaped = 0
    while True:
        with transaction.atomic():
            overdue = SmsLog.objects.filter(status=Status.SENDING, deadline_at__lt=Now())
            ids = list(overdue.select_for_update(skip_locked=True).values_list("pk", flat=True)[:_BATCH])
            lose(Attempt.objects.filter(log__in=ids), now=clock.now())
        reaped += len(ids)
        if len(ids) < _BATCH:
            return reaped
