"""What was sent and what it cost, by day, sender ID and app."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from uuid import UUID

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from linkit import days
from sms_providers.models import SmsLog, Status

DEFAULT_DAYS, MOST_DAYS = 30, 92
MOST_LINES = 20_000  # senders are free text, so that there may be as many as messages


@dataclass(frozen=True)
class Figures:
    """Messages by how they ended, and what was sent of them. `parts` and `credits` are of the sent ones."""

    sent: int = 0
    failed: int = 0
    unknown: int = 0
    parts: int = 0
    credits: Decimal = Decimal(0)

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class Line:
    """The figures of one day, sender ID and app. An empty sender ID is the app's own."""

    day: date
    sender_id: str
    provider_slug: str
    figures: Figures


@dataclass(frozen=True)
class Usage:
    """The lines, latest day first, and their sum. `is_cut`: there are more, so that the sum is none."""

    lines: Sequence[Line]
    total: Figures
    is_cut: bool


def default_days(zone: tzinfo, now: datetime | None = None) -> tuple[date, date]:
    """Return the last thirty days of a time zone, the present one included."""
    today = (now or timezone.now()).astimezone(zone).date()
    return today - timedelta(days=DEFAULT_DAYS - 1), today


def measure(*, organization_ids: Collection[UUID] | None, since: date, until: date, zone: tzinfo) -> Usage:
    """Count the messages of these organizations, or of all, that ended and were made in these days of a time zone.

    What test keys sent is not in it. Raises `ValueError` for days at the ends of the calendar.
    """
    ended = SmsLog.objects.filter(
        is_test=False,
        created_at__gte=days.begin(since, zone),
        created_at__lt=days.end(until, zone),
        status__in=[Status.SENT, Status.FAILED, Status.DISPATCH_TIMEOUT],
    )
    if organization_ids is not None:
        ended = ended.filter(organization__in=organization_ids)
    is_sent = Q(status=Status.SENT)
    counted = (
        ended.annotate(day=TruncDate("created_at", tzinfo=zone))
        .values("day", "sender_id", "provider_slug")
        .annotate(
            sent=Count("pk", filter=is_sent),
            failed=Count("pk", filter=Q(status=Status.FAILED)),
            unknown=Count("pk", filter=Q(status=Status.DISPATCH_TIMEOUT)),
            parts=Sum("segment_count", filter=is_sent, default=0),
            credits=Sum("credit_charged", default=Decimal(0)),
        )
        .order_by("-day", "sender_id", "provider_slug")
        .values_list("day", "sender_id", "provider_slug", "sent", "failed", "unknown", "parts", "credits")
    )
    found = list(counted[: MOST_LINES + 1])
    lines = [
        Line(day, sender_id, slug, Figures(sent, failed, unknown, parts, charged))
        for day, sender_id, slug, sent, failed, unknown, parts, charged in found[:MOST_LINES]
    ]
    return Usage(lines, sum((line.figures for line in lines), Figures()), len(found) > MOST_LINES)
