"""Numbers and texts that are old enough to be forgotten. Counts, money, reasons and ids stay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Case, Min, OuterRef, QuerySet, Subquery, TextField, Value, When

from linkit.models import Organization
from sms_providers.models import Attempt, SmsLog, Status


def blank(logs: QuerySet[SmsLog], *, limit: int | None = None) -> int:
    """Blank number and text of these, and what providers said, in the caller's transaction. Returns how many.

    A provider's words may repeat the number. Our own, about an SMS that was sent, do not. Rows that somebody holds are
    passed over.
    """
    free = logs.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)
    ids = list(free[:limit])
    if ids:
        ours = Case(When(status=Status.SENT, then="error_message"), default=Value(""), output_field=TextField())
        SmsLog.objects.filter(pk__in=ids).update(recipient="", text="", error_message=ours)
        Attempt.objects.filter(log__in=ids).update(response=None, message="")
    return len(ids)


def over(organizations: Sequence[UUID], *, after: datetime | None, until: datetime) -> QuerySet[SmsLog]:
    """Return the SMS of these organizations and that time that are over and not blanked.

    One that waits needs its number. By organization, since there is no index over all: with their ids the database
    looks into each one's own.
    """
    logs = SmsLog.objects.filter(organization__in=organizations, created_at__lte=until, recipient__gt="").order_by()
    if after is not None:
        logs = logs.filter(created_at__gt=after)
    return logs.exclude(status__in=[Status.PENDING, Status.SENDING])


def oldest() -> datetime | None:
    """Return when the first SMS of all was logged."""
    first = SmsLog.objects.filter(organization=OuterRef("pk")).order_by("created_at").values("created_at")[:1]
    found: datetime | None = Organization.objects.aggregate(first=Min(Subquery(first)))["first"]
    return found
