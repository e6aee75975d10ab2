"""What a file costs in credits."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from django.db.models import Sum
from django.db.models.functions import Left

from billing import rates
from billing.rates import Tariff
from linkit import clock
from outbox.bulk.models import BulkJob
from outbox.models import Message
from sms_providers import charging
from sms_providers.models import OrganizationApp, Source, Status


def tariff_of(job: BulkJob, *, today: date) -> Tariff | None:
    """Return what its messages are priced by on a day; None when they cost no credits. The job need not be saved."""
    # Without credentials, which nobody may be able to read.
    app = OrganizationApp.objects.defer("credentials").filter(pk=job.app_id or 0).first()
    if not charging.is_charged(is_test=job.is_test, source=Source.BULK, app=app):
        return None
    return rates.tariffs({job.organization_id}, today=today)[job.organization_id]


def fingerprint(app: OrganizationApp) -> str:
    """Return what tells whether a file through this app would cost the same as at another time."""
    tariff = tariff_of(BulkJob(organization_id=app.organization_id, app_id=app.pk), today=clock.now().date())
    return tariff.fingerprint if tariff else ""


def of_failed(job: BulkJob) -> Decimal | None:
    """Return how many credits its failed messages cost if all of them are sent now; None when they cost none."""
    tariff = tariff_of(job, today=clock.now().date())
    if tariff is None:
        return None
    failed = Message.objects.filter(job=job.pk, status=Status.FAILED).order_by()
    # A price is of a prefix of up to eight digits.
    parts = failed.values_list(Left("recipient", 9)).annotate(Sum("segment_count"))
    return sum((tariff.price(prefix) * count for prefix, count in parts), Decimal(0))
