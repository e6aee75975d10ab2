"""What the first page of the console knows about sends, providers and their accounts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber, TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from linkit import clock, days
from linkit.dashboard import MOST, Context, Need, kept
from linkit.markup import in_figures, ltr, moment
from linkit.pagination import COUNT_CAP, count_up_to_cap
from linkit.permissions import Scope
from linkit.tenancy import reach
from sms_providers import balances, catalogue, circuits, usage
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Status
from sms_providers.results import Outcome
from sms_providers.usage import Figures

_ON_THE_REQUEST = "_sms_providers_month"
_HAS_SENT = "_linkit_has_sent"
# Counting thirty days of a million messages takes a second, one day a hundredth of it. A day that is over changes only
# when an unknown outcome is settled or a message is tried again: so those are counted once an hour, and the page says
# when; today is counted each time.
_CLOSED_DAYS_KEPT = 3600  # seconds
_CALLS_KEPT = 300
_MOST_CALLS_OF = 50_000  # messages: on a busier day the table is about the latest hours, and says since when
_ACCOUNTS_SHOWN = 10
_WIDTH, _HEIGHT, _GAP = 600, 160, 4


@dataclass(frozen=True)
class Month:
    """The last thirty days of a time zone, today the last; those before it were counted at `counted_at`."""

    days: Sequence[tuple[date, Figures]]
    counted_at: datetime

    @property
    def today(self) -> Figures:
        return self.days[-1][1]


def month(request: HttpRequest) -> Month | None:
    """Return what was sent, failed or is unknown by day, in reach, by when it was first tried; test keys left out.

    None for somebody who belongs nowhere. Counted once for a request.
    """
    if not hasattr(request, _ON_THE_REQUEST):
        owners = _owners(request)
        setattr(request, _ON_THE_REQUEST, _month(owners, timezone.get_current_timezone()) if owners else None)
    found: Month | None = getattr(request, _ON_THE_REQUEST)
    return found


def has_sent(request: HttpRequest) -> bool:
    """Whether anything was ever sent in reach, also in a test. Asked once for a request."""
    if not hasattr(request, _HAS_SENT):
        setattr(request, _HAS_SENT, _has_sent(request))
    found: bool = getattr(request, _HAS_SENT)
    return found


def _has_sent(request: HttpRequest) -> bool:
    return reach(request).narrow(SmsLog.objects.all(), "organization", Scope.READ).order_by().exists()


def _owners(request: HttpRequest) -> list[UUID]:
    # Also of a superuser by name: the index on time begins with the organization.
    return sorted(reach(request).organizations(Scope.READ).order_by().values_list("pk", flat=True))


def _month(owners: Sequence[UUID], zone: tzinfo) -> Month:
    first, today = usage.default_days(zone)
    key = f"days:{_digest(owners)}:{zone}:{today}"
    closed = kept(key, lambda: _closed(owners, first, today - timedelta(days=1), zone), seconds=_CLOSED_DAYS_KEPT)
    counted = {**closed["days"], **_count(owners, today, today, zone)}
    shown = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    return Month(
        [(day, Figures(*counted.get(day.isoformat(), ()))) for day in shown],
        datetime.fromisoformat(closed["counted_at"]),
    )


def _closed(owners: Sequence[UUID], since: date, until: date, zone: tzinfo) -> dict[str, Any]:
    return {"counted_at": clock.now().isoformat(), "days": _count(owners, since, until, zone)}


def _count(owners: Sequence[UUID], since: date, until: date, zone: tzinfo) -> dict[str, list[int]]:
    """Return [sent, failed, unknown] by day."""
    tried = _of(owners, SmsLog.objects.filter(is_test=False))
    tried = tried.filter(created_at__gte=days.begin(since, zone), created_at__lt=days.end(until, zone))
    counted = (
        tried.annotate(day=TruncDate("created_at", tzinfo=zone))
        .values("day", "status")
        .annotate(count=Count("pk"))
        .order_by()
        .values_list("day", "status", "count")
    )
    places: dict[str, int] = {Status.SENT: 0, Status.FAILED: 1, Status.DISPATCH_TIMEOUT: 2}
    found: dict[str, list[int]] = {}
    for day, status, count in counted:
        if status in places:
            found.setdefault(day.isoformat(), [0, 0, 0])[places[status]] = count
    return found


def _of(owners: Sequence[UUID], logs: QuerySet[SmsLog]) -> QuerySet[SmsLog]:
    return logs.filter(organization=owners[0]) if len(owners) == 1 else logs.filter(organization__in=owners)


def _digest(owners: Sequence[UUID]) -> str:
    return hashlib.sha256(b"".join(each.bytes for each in owners)).hexdigest()[:32]


# --- the chart ------------------------------------------------------------------------------------------------


def chart(request: HttpRequest) -> Context | None:
    """Return the thirty days as bars of sent, failed and unknown, and as a table."""
    found = month(request)
    if found is None or not has_sent(request):
        return None
    top = _round_up(max(figures.sent + figures.failed + figures.unknown for _day, figures in found.days))
    total = sum((figures for _day, figures in found.days), Figures())
    return {
        "bars": [_bar(place, len(found.days), day, each, top) for place, (day, each) in enumerate(found.days)],
        "scale": [_number(top), _number(top // 2), _number(0)] if top > 1 else [_number(top), _number(0)],
        "width": _WIDTH,
        "height": _HEIGHT,
        "first": _day(found.days[0][0]),
        "last": _day(found.days[-1][0]),
        "total": [(kind, label, _number(count)) for kind, label, count in _by_kind(total)],
        "about": _in_words(total),
        "rows": [
            (_day(day), [_number(count) for _kind, _label, count in _by_kind(figures)])
            for day, figures in reversed(found.days)
        ],
        "counted_at": ltr(f"{timezone.localtime(found.counted_at):%H:%M}"),
        "zone": ltr(timezone.get_current_timezone_name()),
    }


def _by_kind(figures: Figures) -> list[tuple[str, str, int]]:
    """Return kind of the stylesheet, word and count, in the order in which they stand on each other."""
    return [
        ("sent", _("Sent"), figures.sent),
        ("failed", _("Failed"), figures.failed),
        ("unknown", _("Unknown"), figures.unknown),
    ]


def _bar(place: int, places: int, day: date, figures: Figures, top: int) -> dict[str, Any]:
    slot = _WIDTH / places
    slices, foot = [], float(_HEIGHT)
    for kind, _label, count in _by_kind(figures):
        if count:
            # One failure among thousands is thinner than a line, and what one looks for.
            height = max(count / top * _HEIGHT, 2.0)
            foot -= height
            slices.append({"kind": kind, "y": f"{max(foot, 0):.2f}", "height": f"{height:.2f}"})
    return {
        "title": f"{day:%Y-%m-%d}: {_in_words(figures)}",
        "slot": f"{place * slot:.2f}",
        "slot_width": f"{slot:.2f}",
        "x": f"{place * slot + _GAP / 2:.2f}",
        "width": f"{slot - _GAP:.2f}",
        "slices": slices,
    }


def _in_words(figures: Figures) -> str:
    return _("%(sent)s sent, %(failed)s failed, %(unknown)s of unknown outcome") % {
        "sent": f"{figures.sent:,}",
        "failed": f"{figures.failed:,}",
        "unknown": f"{figures.unknown:,}",
    }


def _round_up(most: int) -> int:
    """Return a round number that the highest bar fits under."""
    power = 10 ** max(len(str(most)) - 1, 0)
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= most)


def _number(count: int) -> SafeString:
    return ltr(f"{count:,}")


def _day(day: date) -> SafeString:
    return format_html('<bdi dir="ltr" class="moment">{}</bdi>', f"{day:%Y-%m-%d}")


# --- providers ------------------------------------------------------------------------------------------------


def providers(request: HttpRequest) -> Context | None:
    """Return for each provider how many calls there were lately, how many it accepted, and their median time."""
    owners = _owners(request)
    if not owners or not has_sent(request):
        return None
    found = kept(f"calls:{_digest(owners)}", lambda: _calls(owners), seconds=_CALLS_KEPT)
    return {
        "rows": [
            {
                "name": catalogue.app_name(slug),
                "calls": _number(calls),
                "share": ltr(_percent(accepted, calls)),
                "kind": "good" if accepted * 100 >= calls * 99 else "unsure" if accepted * 10 >= calls * 9 else "bad",
                "median": ltr(_("%(seconds)s s") % {"seconds": f"{seconds:.2f}"}),
            }
            for slug, calls, accepted, seconds in found["rows"]
        ],
        "since": moment(datetime.fromisoformat(found["since"])),
        "counted_at": ltr(f"{timezone.localtime(datetime.fromisoformat(found['counted_at'])):%H:%M}"),
    }


def _calls(owners: Sequence[UUID]) -> dict[str, Any]:
    now = clock.now()
    since = now - timedelta(hours=24)
    logs = _of(owners, SmsLog.objects.filter(created_at__gte=since)).order_by("-created_at")
    if (edge := logs.values_list("created_at", flat=True)[_MOST_CALLS_OF : _MOST_CALLS_OF + 1].first()) is not None:
        since = edge
    ended = Attempt.objects.filter(
        log__in=_of(owners, SmsLog.objects.filter(created_at__gte=since, is_test=False)), finished_at__isnull=False
    )
    took = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
    by_provider = [F("provider_slug")]
    # The call in the middle of each provider's, with the counts beside it. Not every database has a median.
    middle = (
        ended.annotate(
            took=took,
            place=Window(RowNumber(), partition_by=by_provider, order_by=[took.asc(), F("pk").asc()]),
            calls=Window(Count("pk"), partition_by=by_provider),
            accepted=Window(Count("pk", filter=Q(outcome=Outcome.ACCEPTED)), partition_by=by_provider),
        )
        .filter(place=(F("calls") + 1) / 2)
        .order_by("-calls", "provider_slug")
        .values_list("provider_slug", "calls", "accepted", "took")
    )
    rows = [[slug, calls, accepted, max(took.total_seconds(), 0.0)] for slug, calls, accepted, took in middle]
    return {"rows": rows, "since": since.isoformat(), "counted_at": now.isoformat()}


def _percent(part: int, whole: int) -> str:
    """Return a share that says 100 % only of all, and 0 % only of none."""
    share = round(1000 * part / whole)
    if part not in (0, whole):
        share = min(max(share, 1), 999)
    return f"{share / 10:g} %"


# --- accounts at the providers --------------------------------------------------------------------------------


def accounts(request: HttpRequest) -> Context | None:
    """Return what is left at the providers of the apps in reach: of their owners only, also where they are lent."""
    apps = _apps(request).filter(slug__in=balances.telling())
    low = set(balances.low(apps).values_list("pk", flat=True))
    ordered = apps.order_by("organization__name", "priority", "installed_at", "pk")
    rows = sorted(ordered[: _ACCOUNTS_SHOWN + 1], key=lambda app: app.pk not in low)
    if not rows:
        return None
    return {
        "rows": [
            {
                "name": catalogue.app_name(app.slug),
                "whose": app.organization.name,
                "url": _url(app),
                "balance": _balance(app),
                "is_low": app.pk in low,
                "read_at": moment(app.balance_read_at) if app.balance_read_at else "",
            }
            for app in rows[:_ACCOUNTS_SHOWN]
        ],
        "more_url": reverse("admin:sms_providers_organizationapp_changelist") if len(rows) > _ACCOUNTS_SHOWN else "",
        "is_wide": reach(request).is_wide,
    }


def _apps(request: HttpRequest) -> QuerySet[OrganizationApp]:
    usable = OrganizationApp.objects.usable().filter(organization__is_active=True).select_related("organization")
    return reach(request).narrow(usable, "organization", Scope.READ)


def _balance(app: OrganizationApp) -> SafeString:
    if app.balance is None:
        return SafeString("–")
    return format_html('<bdi dir="ltr" class="amount">{} {}</bdi>', in_figures(app.balance), _(app.balance_unit))


def _url(app: OrganizationApp) -> str:
    return reverse("admin:sms_providers_organizationapp_change", args=[app.pk])


# --- what needs a person --------------------------------------------------------------------------------------


def needs(request: HttpRequest) -> Iterable[Need]:
    """Name direct sends of unknown outcome, circuits that are not closed, and accounts with little left."""
    yield from _unknown(request)
    yield from _circuits(request)
    yield from _low(request)


def _unknown(request: HttpRequest) -> Iterable[Need]:
    # Those of the outbox are settled there, and it names them.
    direct = SmsLog.objects.filter(status=Status.DISPATCH_TIMEOUT, is_test=False, queued_id=None)
    if count := count_up_to_cap(reach(request).narrow(direct, "organization", Scope.READ)):
        text = ngettext(
            "Nobody knows whether %(count)s message was sent. Ask the provider or the recipient, and settle it.",
            "Nobody knows whether %(count)s messages were sent. Ask the provider or the recipients, and settle them.",
            count,
        ) % {"count": up_to_cap(count)}
        chosen = f"status__exact={Status.DISPATCH_TIMEOUT}&is_test__exact=0&queued_id__isnull=True"
        url = f"{reverse('admin:sms_providers_smslog_changelist')}?{chosen}"
        yield Need("unsure", _("Outcome unknown"), text, url, _("Show them in the SMS log"))


def up_to_cap(count: int) -> str:
    """Return what `count_up_to_cap` has counted, for people."""
    return f"{COUNT_CAP:,}+" if count > COUNT_CAP else f"{count:,}"


def _circuits(request: HttpRequest) -> Iterable[Need]:
    not_closed = circuits.not_closed()
    resting = list(_apps(request).filter(pk__in=not_closed).order_by("pk")[: MOST + 1]) if not_closed else []
    now = timezone.now()
    for app in resting[:MOST]:
        if (until := not_closed[app.pk]) > now:
            words = _("{} failed again and again and is left alone until {}.")
            text = format_html(words, _named(request, app), ltr(f"{timezone.localtime(until):%H:%M:%S}"))
        else:
            text = format_html(
                _("{} failed again and again; the next message tries whether it is back."), _named(request, app)
            )
        yield Need("bad", _("Left alone"), text, _url(app), _("Look at the app"))
    if len(resting) > MOST:
        url = reverse("admin:sms_providers_organizationapp_changelist")
        yield Need("bad", _("Left alone"), _("More apps are left alone after failures."), url, _("Look at the apps"))


def _low(request: HttpRequest) -> Iterable[Need]:
    low = list(balances.low(_apps(request)).order_by("organization__name", "slug", "pk")[: MOST + 1])
    for app in low[:MOST]:
        assert app.balance is not None
        if app.balance <= 0:
            text = format_html(_("Nothing is left at {}. Top the account up there."), _named(request, app))
        else:
            text = format_html(
                _("{} {} are left at {}, less than the {} that you want to be told of."),
                ltr(in_figures(app.balance)),
                _(app.balance_unit),
                _named(request, app),
                ltr(in_figures(app.balance_alert or app.balance)),
            )
        kind = "bad" if app.balance <= 0 else "unsure"
        yield Need(kind, _("Low balance"), text, _url(app), _("Look at the app"))
    if len(low) > MOST:
        url = reverse("admin:sms_providers_organizationapp_changelist")
        text_of_more = _("More accounts at providers are low.")
        yield Need("unsure", _("Low balance"), text_of_more, url, _("Look at the apps"))


def _named(request: HttpRequest, app: OrganizationApp) -> SafeString:
    name = catalogue.app_name(app.slug)
    if not reach(request).is_wide:
        return format_html("<bdi>{}</bdi>", name)
    return format_html("<bdi>{}</bdi> (<bdi>{}</bdi>)", name, app.organization.name)
