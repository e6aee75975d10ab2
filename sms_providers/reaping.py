"""Direct sends that never reported back: their web process was killed in mid-call."""

from django.db import transaction
from django.db.models.functions import Now

from linkit import clock
from sms_providers.models import Attempt, SmsLog, Status
from sms_providers.results import Result, unknown
from sms_providers.sending import Ending, finish

_BATCH = 500


def lost() -> Result:
    """The result of an attempt whose process died after its start mark."""
    return unknown(
        "no_report", "The process that was sending this message died or lost its lease; it may have been sent."
    )


def reap_direct_sends() -> int:
    """Turn direct sends past their deadline into unknown outcomes. Returns how many. Safe to run twice at once."""
    reaped = 0
    while True:
        with transaction.atomic():
            overdue = SmsLog.objects.filter(status=Status.SENDING, deadline_at__lt=Now())
            ids = list(overdue.select_for_update(skip_locked=True).values_list("pk", flat=True)[:_BATCH])
            attempts = Attempt.objects.filter(log__in=ids, finished_at__isnull=True).select_related("log")
            endings = [Ending(attempt, lost(), Status.DISPATCH_TIMEOUT) for attempt in attempts]
            finish(endings, now=clock.now())
        reaped += len(ids)
        if len(ids) < _BATCH:
            return reaped
