"""What the first page of the console knows about the queue: today, what waits, and first steps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import F, IntegerField, Min, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from linkit import clock
from linkit.dashboard import MOST, Context, Need
from linkit.markup import ltr, moment
from linkit.pagination import COUNT_CAP, count_up_to_cap
from linkit.permissions import Scope
from linkit.tenancy import reach
from outbox.bulk.models import LIVE, BulkJob, JobStatus
from outbox.models import Message
from sms_providers.dashboard import has_sent, month, up_to_cap
from sms_providers.models import OrganizationApp, SmsLog, Status


def today(request: HttpRequest) -> Context | None:
    """Return what was sent, failed and is unknown today, what waits, and for how long the oldest has."""
    found = month(request)
    if found is None:
        return None
    now = clock.now()
    waiting, is_capped, oldest = _waiting(request, now)
    return {
        "sent": ltr(f"{found.today.sent:,}"),
        "failed": ltr(f"{found.today.failed:,}"),
        "unknown": ltr(f"{found.today.unknown:,}"),
        "pending": ltr(f"{waiting:,}{'+' if is_capped else ''}"),
        "oldest": _age(oldest, now),
        "oldest_since": moment(oldest) if oldest else "",
    }


def _waiting(request: HttpRequest, now: datetime) -> tuple[int, bool, datetime | None]:
    """Return how many messages wait or are in hand, whether there are more, and since when the oldest that is due has.

    Those of files and programs wait for hours at a provider's pace, as their own pages show: only the count has them.
    """
    messages = _mine(request, Message.objects.filter(is_test=False, job=None))
    pending = messages.filter(status=Status.PENDING)
    alone = count_up_to_cap(pending)
    count = min(alone, COUNT_CAP) + messages.filter(status=Status.SENDING).count()
    jobs = _mine(request, BulkJob.objects.filter(is_test=False, status__in=LIVE))
    rest = Sum(F("total_count") - F("sent_count") - F("failed_count") - F("unknown_count"), output_field=IntegerField())
    count += jobs.aggregate(rest=rest)["rest"] or 0
    since = Coalesce("scheduled_at", "created_at")
    oldest = pending.annotate(since=since).filter(since__lte=now).aggregate(oldest=Min("since"))["oldest"]
    return count, alone > COUNT_CAP, oldest


def _mine(request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
    return reach(request).narrow(rows, "organization", Scope.READ)


def _age(oldest: datetime | None, now: datetime) -> str:
    if oldest is None:
        return "–"
    if (now - oldest).total_seconds() < 60:
        return _("under a minute")
    return timesince(oldest, now, depth=1)


# --- first steps ----------------------------------------------------------------------------------------------


def first_steps(request: HttpRequest) -> Context | None:
    """Return what to do in an organization that has not sent anything yet, by what this person may do there."""
    who = reach(request)
    if not (who.is_superuser or who.scopes) or has_sent(request) or _mine(request, Message.objects.all()).exists():
        return None
    usable = OrganizationApp.objects.usable()
    has_app = who.narrow(usable, "organization", Scope.READ).exists()
    return {
        "has_app": has_app,
        "may_install": who.allows(Scope.MANAGE),
        "may_send": who.allows(Scope.SEND),
        "may_make_keys": who.allows(Scope.KEYS),
    }


# --- what needs a person --------------------------------------------------------------------------------------


def needs(request: HttpRequest) -> Iterable[Need]:
    """Name queued messages of unknown outcome, and files that have paused."""
    if count := _count_unknown(request):
        text = ngettext(
            "Nobody knows whether %(count)s queued message was sent. It is never sent again by itself: settle it.",
            "Nobody knows whether %(count)s queued messages were sent. They are never sent again by themselves:"
            " settle them.",
            count,
        ) % {"count": up_to_cap(count)}
        chosen = f"status__exact={Status.DISPATCH_TIMEOUT}&is_test__exact=0"
        url = f"{reverse('admin:outbox_message_changelist')}?{chosen}"
        yield Need("unsure", _("Outcome unknown"), text, url, _("Show them in the outbox"))
    paused = BulkJob.objects.files().filter(status=JobStatus.PAUSED, is_test=False)
    jobs = _mine(request, paused).select_related("organization").defer("report").order_by("paused_at", "pk")
    found = list(jobs[: MOST + 1])
    for job in found[:MOST]:
        url = reverse("admin:outbox_bulkjob_change", args=[job.pk])
        yield Need("unsure", _("Paused"), _paused(job, is_wide=reach(request).is_wide), url, _("Look at the file"))
    if len(found) > MOST:
        url = f"{reverse('admin:outbox_bulkjob_changelist')}?status__exact={JobStatus.PAUSED}"
        yield Need("unsure", _("Paused"), _("More files are paused."), url, _("Look at the bulk jobs"))


def _count_unknown(request: HttpRequest) -> int:
    # By the log, whose unknown outcomes have an index of their own; its queue row may have been purged meanwhile.
    unknown = SmsLog.objects.filter(status=Status.DISPATCH_TIMEOUT, is_test=False, queued_id__isnull=False)
    ids = list(_mine(request, unknown).order_by().values_list("queued_id", flat=True)[: COUNT_CAP + 1])
    return Message.objects.filter(pk__in=ids, status=Status.DISPATCH_TIMEOUT).count() if ids else 0


def _paused(job: BulkJob, *, is_wide: bool) -> SafeString:
    name = format_html("<bdi>{}</bdi>", job)
    if is_wide:
        name = format_html("<bdi>{}</bdi> (<bdi>{}</bdi>)", job, job.organization.name)
    words = ngettext(
        "The file {} has paused; {} row waits.", "The file {} has paused; {} rows wait.", job.pending_count
    )
    return format_html(words, name, ltr(f"{job.pending_count:,}"))
