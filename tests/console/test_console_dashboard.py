"""The first page: figures of one's own organizations, and what needs a person."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from django.test import Client
from django.urls import reverse

from billing import ledger
from billing.dashboard import days_left
from billing.models import BalanceAlert, CreditAccount, CreditTransaction, Kind
from contacts.models import SmsProgram
from linkit import clock
from linkit.models import Organization
from outbox.bulk.models import BulkJob, JobStatus
from outbox.models import Message
from sms_providers import balances, catalogue, circuits, dashboard, installing, tasks
from sms_providers.adapters.base import Balance, ProviderAdapter, ProviderRefused
from sms_providers.catalogue import app_name
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Source, Status
from sms_providers.results import Fault, Outcome, rejected, unavailable
from tests import factories
from tests.conftest import Api
from tests.gateway import Gateway

INDEX = reverse("admin:index")
ZONE = ZoneInfo("Asia/Riyadh")  # of an organization that says nothing else
ROLES = ["viewer", "operator", "admin", "superuser"]


def text_of(browser: Client) -> str:
    """Return the words of the page, without markup, each space once."""
    response = browser.get(INDEX)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text.partition("<main")[2]))


def tile(browser: Client, label: str) -> str:
    found = re.search(rf'<span class="tile-number">(.*?)</span>\s*{label}', browser.get(INDEX).text)
    assert found is not None, label
    return re.sub(r"<[^>]+>", "", found[1])


def links(browser: Client) -> list[str]:
    """Return where the lines about what needs a person lead to."""
    page = browser.get(INDEX).text
    found = re.findall(r'<li class="need need-\w+">.*?<a href="([^"]+)">', page, re.S)
    return [each.replace("&amp;", "&") for each in found]


@pytest.fixture
def sms(organization: Organization) -> Callable[..., SmsLog]:
    """Return a maker of rows in the log, each with one call that took `took` seconds."""

    def make(status: str = Status.SENT, *, at: datetime | None = None, took: float = 1.0, **fields: Any) -> SmsLog:
        at = at or clock.now()
        given = {
            "organization": organization,
            "source": Source.SEND,
            "recipient": factories.mobile(),
            "text": "Hello",
            "encoding": "GSM-7",
            "segment_count": 1,
            "provider_slug": "taqnyat-sms",
            "status": status,
            "created_at": at,
            **fields,
        }
        log = SmsLog.objects.create(**given)
        outcomes = {Status.SENT: Outcome.ACCEPTED, Status.FAILED: Outcome.REJECTED}
        Attempt.objects.create(
            log=log,
            provider_slug=log.provider_slug,
            outcome=outcomes.get(Status(status), Outcome.UNKNOWN),
            started_at=at,
            finished_at=at + timedelta(seconds=took),
        )
        return log

    return make


def file_of(organization: Organization, **fields: Any) -> BulkJob:
    given = {"size": 1, "region": "SA", "time_zone": "UTC", "provider_slug": "taqnyat-sms", "filename": "customers.csv"}
    return BulkJob.objects.create(organization=organization, **{**given, **fields})


def redis_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: Any, **kwargs: Any) -> Any:
        raise redis.ConnectionError("down")

    monkeypatch.setattr("linkit.dashboard.evaluate", down)
    monkeypatch.setattr("sms_providers.circuits.evaluate", down)


# --- figures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ROLES)
def test_everybody_sees_today(who: str, console: Callable[[str], Client], sms: Callable[..., SmsLog]):
    for status in (Status.SENT, Status.SENT, Status.SENT, Status.FAILED, Status.FAILED, Status.DISPATCH_TIMEOUT):
        sms(status)
    browser = console(who)
    assert [tile(browser, label) for label in ("sent", "failed", "unknown")] == ["3", "2", "1"]


def test_nobody_sees_the_figures_of_others(
    console: Callable[[str], Client], sms: Callable[..., SmsLog], other_organization: Organization
):
    sms()
    sms(organization=other_organization)
    sms(organization=other_organization)
    assert [tile(console(who), "sent") for who in ("admin", "stranger", "superuser")] == ["1", "2", "3"]


def test_messages_of_test_keys_are_not_counted(
    console: Callable[[str], Client],
    sms: Callable[..., SmsLog],
    queued: Callable[..., Message],
    organization: Organization,
):
    sms(is_test=True)
    sms(Status.DISPATCH_TIMEOUT, is_test=True)
    queued(is_test=True)
    file_of(organization, is_test=True, status=JobStatus.PAUSED, total_count=4)
    browser = console("admin")
    assert [tile(browser, label) for label in ("sent", "unknown", "pending")] == ["0", "0", "0"]
    assert "No provider was called" in text_of(browser)
    assert links(browser) == []


def test_today_begins_at_midnight_where_the_organization_is(
    console: Callable[[str], Client],
    sms: Callable[..., SmsLog],
    organization: Organization,
    monkeypatch: pytest.MonkeyPatch,
):
    organization.time_zone = "Asia/Riyadh"
    organization.save()
    now = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)  # six in the morning there
    monkeypatch.setattr("sms_providers.usage.timezone.now", lambda: now)
    midnight = datetime(2026, 11, 26, 21, 0, tzinfo=UTC)
    sms(at=midnight)
    sms(at=midnight - timedelta(seconds=1))
    sms(Status.FAILED, at=midnight - timedelta(seconds=1))
    browser = console("viewer")
    assert [tile(browser, label) for label in ("sent", "failed")] == ["1", "0"]
    page = browser.get(INDEX).text
    assert "2026-11-27: 1 sent, 0 failed, 0 of unknown outcome" in page
    assert "2026-11-26: 1 sent, 1 failed, 0 of unknown outcome" in page


def test_thirty_days_are_shown_as_bars_and_as_a_table(console: Callable[[str], Client], sms: Callable[..., SmsLog]):
    now = clock.now().astimezone(ZONE)
    sms(at=now - timedelta(days=40))
    sms(at=now - timedelta(days=5))
    sms(Status.FAILED, at=now - timedelta(days=5))
    sms(Status.DISPATCH_TIMEOUT, at=now)
    page = console("viewer").get(INDEX).text
    svg = page.partition('<svg class="chart-bars"')[2].partition("</svg>")[0]
    assert 'role="img" aria-labelledby="chart-name chart-about"' in svg
    assert '<desc id="chart-about">1 sent, 1 failed, 1 of unknown outcome</desc>' in svg
    assert svg.count('class="chart-slot"') == 30
    assert [svg.count(f'class="slice-{kind}"') for kind in ("sent", "failed", "unknown")] == [1, 1, 1]
    # By its own attributes: the policy lets no style into the page.
    assert "style=" not in page
    rows = re.findall(r'<tr><th scope="row"><bdi dir="ltr" class="moment">(\S+?)</bdi></th>(.*?)</tr>', page)
    assert len(rows) == 30
    assert rows[0][0] == f"{now:%Y-%m-%d}"
    counts = {day: re.findall(r">(\d+)</bdi>", cells) for day, cells in rows}
    assert counts[f"{now - timedelta(days=5):%Y-%m-%d}"] == ["1", "1", "0"]


def test_bars_stay_in_their_frame():
    figures = dashboard.Figures(sent=10**6, failed=1, unknown=1)
    bar = dashboard._bar(29, 30, datetime(2026, 1, 1).date(), figures, dashboard._round_up(10**6 + 2))
    assert [each["kind"] for each in bar["slices"]] == ["sent", "failed", "unknown"]
    assert all(float(each["y"]) >= 0 and float(each["height"]) >= 2 for each in bar["slices"])
    assert [dashboard._round_up(most) for most in (0, 1, 3, 10, 11, 51, 999)] == [1, 1, 5, 10, 20, 100, 1000]


def test_days_that_are_over_are_counted_once_an_hour(console: Callable[[str], Client], sms: Callable[..., SmsLog]):
    yesterday = clock.now().astimezone(ZONE) - timedelta(days=1)
    sms(at=yesterday)
    browser = console("viewer")
    shown = f"{yesterday:%Y-%m-%d}: 1 sent"
    assert shown in browser.get(INDEX).text
    sms(at=yesterday)
    sms()
    page = browser.get(INDEX).text
    assert shown in page
    assert "the days before it at" in page
    assert tile(browser, "sent") == "1"


@pytest.mark.parametrize("who", ROLES)
def test_without_redis_all_is_counted_anew(
    who: str, console: Callable[[str], Client], sms: Callable[..., SmsLog], monkeypatch: pytest.MonkeyPatch
):
    redis_is_down(monkeypatch)
    sms()
    browser = console(who)
    assert tile(browser, "sent") == "1"
    sms()
    assert tile(browser, "sent") == "2"


# --- what waits -----------------------------------------------------------------------------------------------


def test_what_waits_and_since_when(
    console: Callable[[str], Client],
    queued: Callable[..., Message],
    organization: Organization,
    other_organization: Organization,
):
    now = clock.now()
    queued(created_at=now - timedelta(hours=3))
    queued(created_at=now - timedelta(hours=9), scheduled_at=now - timedelta(minutes=5))
    queued(created_at=now - timedelta(hours=9), scheduled_at=now + timedelta(hours=5))
    queued(organization=other_organization, created_at=now - timedelta(days=2))
    queued(status=Status.SENT, created_at=now - timedelta(days=2))
    file_of(organization, status=JobStatus.PAUSED, total_count=1000, sent_count=100, failed_count=50, unknown_count=1)
    file_of(organization, status=JobStatus.STOPPED, total_count=7)
    browser = console("operator")
    assert tile(browser, "pending") == "852"
    assert tile(browser, "oldest pending") == "3\xa0hours"


def test_a_long_queue_is_counted_up_to_a_cap(
    console: Callable[[str], Client], queued: Callable[..., Message], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("linkit.pagination.COUNT_CAP", 2)
    monkeypatch.setattr("outbox.dashboard.COUNT_CAP", 2)
    for _ in range(4):
        queued()
    assert tile(console("operator"), "pending") == "2+"


def test_nothing_waits(console: Callable[[str], Client], sms: Callable[..., SmsLog]):
    sms()
    browser = console("operator")
    assert [tile(browser, label) for label in ("pending", "oldest pending")] == ["0", "–"]


# --- providers ------------------------------------------------------------------------------------------------


def test_calls_by_provider(
    console: Callable[[str], Client], sms: Callable[..., SmsLog], other_organization: Organization
):
    for took in (0.1, 0.2, 0.3, 9.0):
        sms(took=took)
    sms(Status.FAILED, took=5.0)
    sms(provider_slug="mora-sms", took=0.25)
    sms(took=7.0, at=clock.now() - timedelta(hours=25))
    sms(took=8.0, organization=other_organization)
    sms(took=8.0, is_test=True)
    words = text_of(console("viewer"))
    assert "Taqnyat 5 80 % 0.30 s" in words
    assert f"{app_name('mora-sms')} 1 100 % 0.25 s" in words


def test_a_call_that_failed_over_counts_against_its_own_provider(
    console: Callable[[str], Client], sms: Callable[..., SmsLog]
):
    log = sms(provider_slug="mora-sms")
    now = clock.now()
    Attempt.objects.create(
        log=log, provider_slug="taqnyat-sms", outcome=Outcome.UNAVAILABLE, started_at=now, finished_at=now
    )
    words = text_of(console("viewer"))
    assert "Taqnyat 1 0 % 0.00 s" in words
    assert f"{app_name('mora-sms')} 1 100 %" in words


def test_a_busy_day_is_cut_and_says_since_when(
    console: Callable[[str], Client], sms: Callable[..., SmsLog], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dashboard, "_MOST_CALLS_OF", 2)
    now = clock.now().astimezone(ZONE)
    for hours in (1, 2, 3, 4):
        sms(at=now - timedelta(hours=hours))
    words = text_of(console("viewer"))
    assert f"since {now - timedelta(hours=3):%Y-%m-%d %H:%M}" in words
    assert "Taqnyat 3 100 %" in words


def test_a_hundred_percent_is_all_of_them():
    assert [dashboard._percent(*each) for each in ((5, 5), (0, 5), (9999, 10_000), (1, 100_000), (1, 3))] == [
        "100 %", "0 %", "99.9 %", "0.1 %", "33.3 %",
    ]  # fmt: skip


# --- credits --------------------------------------------------------------------------------------------------


def spend(organization: Organization, amount: str, *, days_ago: float, kind: str = Kind.SMS_CHARGE) -> None:
    CreditTransaction.objects.create(
        account=CreditAccount.objects.get(pk=organization.pk),
        kind=kind,
        amount=Decimal(amount),
        balance_after=0,
        created_at=clock.now() - timedelta(days=days_ago),
    )


def test_credits_last_at_the_average_of_seven_days(console: Callable[[str], Client], organization: Organization):
    factories.top_up(organization, "150")
    CreditAccount.objects.update(created_at=clock.now() - timedelta(days=100))
    spend(organization, "-50", days_ago=1)
    spend(organization, "-20", days_ago=6.9)
    spend(organization, "-999", days_ago=7.1)
    spend(organization, "-999", days_ago=1, kind=Kind.ADJUSTMENT)
    assert "150 10 15 days" in text_of(console("viewer"))


def test_a_young_account_is_reckoned_by_its_own_days(console: Callable[[str], Client], organization: Organization):
    factories.top_up(organization, "150")
    CreditAccount.objects.update(created_at=clock.now() - timedelta(days=2))
    spend(organization, "-60", days_ago=1)
    assert "150 30 5 days" in text_of(console("viewer"))


def test_credits_that_nobody_spends_last(console: Callable[[str], Client], organization: Organization):
    factories.top_up(organization, "150")
    assert "150 – –" in text_of(console("viewer"))


@pytest.mark.parametrize(
    ("available", "pace", "left"), [("10", "4", 2), ("10", "0", None), ("0", "0", 0), ("-3", "1", 0), ("1", "2", 0)]
)
def test_days_left(available: str, pace: str, left: int | None):
    assert days_left(Decimal(available), Decimal(pace)) == left


def test_credits_of_others_are_not_shown(
    console: Callable[[str], Client], organization: Organization, other_organization: Organization
):
    factories.top_up(other_organization, "4321")
    assert "4,321" not in console("admin").get(INDEX).text
    assert "4,321" in console("superuser").get(INDEX).text


# --- what needs a person --------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ROLES)
def test_nothing_needs_you(who: str, console: Callable[[str], Client], sms: Callable[..., SmsLog]):
    sms()
    assert "Nothing needs you." in text_of(console(who))


@pytest.mark.parametrize("who", ROLES)
def test_every_need_leads_to_where_one_acts(
    who: str,
    console: Callable[[str], Client],
    sms: Callable[..., SmsLog],
    queued: Callable[..., Message],
    organization: Organization,
    other_organization: Organization,
):
    app = factories.install(organization, "taqnyat-sms")
    direct = sms(Status.DISPATCH_TIMEOUT, app=app)
    message = queued(status=Status.DISPATCH_TIMEOUT)
    sms(Status.DISPATCH_TIMEOUT, queued_id=message.pk)
    sms(Status.DISPATCH_TIMEOUT, queued_id="rpurged12345678")
    circuits.note({app.pk: [unavailable(message="down", reason="connection_failed")] * 10})
    balances.keep(app, Balance(Decimal("4.5"), currency="SAR"))
    OrganizationApp.objects.filter(pk=app.pk).update(balance_alert=5)
    factories.top_up(organization, "10")
    job = file_of(organization, status=JobStatus.PAUSED, total_count=3)
    programs_job = file_of(organization, status=JobStatus.PAUSED, program_id="c" * 32)
    sender = factories.make_sender(organization, app)
    program = SmsProgram.objects.create(
        organization=organization, name="Spring", template="Hi", sender=sender, job=programs_job
    )
    browser = console(who)
    words = text_of(browser)
    unknown = "?status__exact=dispatch_timeout&is_test__exact=0"
    app_page = reverse("admin:sms_providers_organizationapp_change", args=[app.pk])
    expected = {
        f"{reverse('admin:sms_providers_smslog_changelist')}{unknown}&queued_id__isnull=True",
        f"{reverse('admin:outbox_message_changelist')}{unknown}",
        app_page,
        reverse("admin:billing_creditaccount_change", args=[organization.pk]),
        reverse("admin:outbox_bulkjob_change", args=[job.pk]),
        reverse("admin:contacts_smsprogram_change", args=[program.pk]),
    }
    assert set(links(browser)) == expected
    assert links(browser).count(app_page) == 2  # its circuit, and its balance
    for url in expected:
        assert browser.get(url).status_code == 200, url
    found = {url.partition("?")[0]: browser.get(url).text for url in expected}
    assert direct.recipient in found[reverse("admin:sms_providers_smslog_changelist")]
    assert (
        message.recipient
        in browser.get(next(url for url in expected if "outbox_message" in url or "/message/" in url)).text
    )
    assert "whether 1 message was sent" in words
    assert "whether 1 queued message was sent" in words
    assert "failed again and again" in words
    assert "4.5 SAR are left at" in words
    assert "3 rows wait" in words
    assert "Spring" in words
    assert links(console("stranger")) == []


def test_what_is_broken_comes_first(console: Callable[[str], Client], sms: Callable[..., SmsLog], sandbox: Any):
    sms(Status.DISPATCH_TIMEOUT)
    circuits.note({sandbox.pk: [unavailable(message="down", reason="connection_failed")] * 10})
    page = console("viewer").get(INDEX).text
    assert re.findall(r"need need-(\w+)", page) == ["bad", "unsure"]


def test_more_than_a_few_are_one_link(console: Callable[[str], Client], organization: Organization):
    for _ in range(7):
        file_of(organization, status=JobStatus.PAUSED, total_count=1)
    browser = console("viewer")
    found = links(browser)
    assert len(found) == 6
    assert found[-1] == f"{reverse('admin:outbox_bulkjob_changelist')}?status__exact=paused"
    assert browser.get(found[-1]).status_code == 200


def test_an_empty_account_at_the_provider_needs_no_threshold(
    console: Callable[[str], Client], organization: Organization
):
    app = factories.install(organization, "taqnyat-sms")
    balances.keep(app, Balance(Decimal("4.5"), currency="SAR"))
    assert links(console("viewer")) == []
    balances.keep(app, Balance(Decimal(0), currency="SAR"))
    assert "Nothing is left at Taqnyat" in text_of(console("viewer"))


def test_an_app_that_is_switched_off_needs_nobody(console: Callable[[str], Client], organization: Organization):
    app = factories.install(organization, "taqnyat-sms", is_enabled=False)
    balances.keep(app, Balance(Decimal(0), currency="SAR"))
    circuits.note({app.pk: [unavailable(message="down", reason="connection_failed")] * 10})
    assert links(console("admin")) == []


# --- first steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "names"),
    [
        ("viewer", []),
        ("operator", ["send_one", "send_file"]),
        ("admin", ["sms_providers_organizationapp_add", "send_one", "send_file", "linkit_apikey_add"]),
        ("superuser", ["sms_providers_organizationapp_add", "send_one", "send_file", "linkit_apikey_add"]),
    ],
)
def test_a_fresh_organization_is_shown_the_way(who: str, names: list[str], console: Callable[[str], Client]):
    browser = console(who)
    page = browser.get(INDEX).text
    steps = page.partition('aria-labelledby="panel-steps"')[2].partition("</section>")[0]
    urls = [reverse(f"admin:{name}") for name in names]
    assert re.findall(r'href="([^"]+)"', steps) == urls
    assert all(browser.get(url).status_code == 200 for url in urls)
    assert "The last 30 days" not in page


def test_who_has_an_app_is_not_told_to_install_one(console: Callable[[str], Client], sandbox: Any):
    assert "An app is installed." in text_of(console("admin"))


def test_the_steps_go_with_the_first_message(console: Callable[[str], Client], queued: Callable[..., Message]):
    queued()
    assert "First steps" not in text_of(console("admin"))


@pytest.mark.usefixtures("organization")
def test_who_belongs_nowhere_is_told_so(console: Callable[[str], Client]):
    words = text_of(console("loner"))
    assert "member of no active organization" in words
    assert "Today" not in words


def test_a_phone_has_all_pages_below(console: Callable[[str], Client]):
    page = console("viewer").get(INDEX).text
    below = page.partition('<nav class="all-pages"')[2].partition("</nav>")[0]
    assert reverse("admin:sms_providers_smslog_changelist") in below
    assert reverse("admin:send_one") not in below


# --- balances at providers ------------------------------------------------------------------------------------


def test_balances_are_asked_for_and_kept(
    gateway: Gateway, organization: Organization, console: Callable[[str], Client]
):
    app = factories.install(organization, "taqnyat-sms")
    tasks.refresh_balances()
    app.refresh_from_db()
    assert app.balance is not None and app.balance > 0
    assert app.balance_unit
    assert app.balance_read_at and app.last_sync_at
    words = text_of(console("viewer"))
    assert f"{app.balance_read_at.astimezone(ZONE):%Y-%m-%d %H:%M}" in words
    assert app.balance_unit in words


def test_a_balance_is_not_asked_for_again_at_once(organization: Organization, monkeypatch: pytest.MonkeyPatch):
    asked = answers(monkeypatch, Balance(Decimal(7)))
    app = factories.install(organization, "taqnyat-sms")
    assert balances.refresh() == {"answered": 1}
    assert balances.refresh() == {}
    OrganizationApp.objects.update(balance_asked_at=clock.now() - balances.EVERY, balance_read_at=None)
    assert balances.refresh() == {"answered": 1}
    # Somebody has tested the connection meanwhile.
    OrganizationApp.objects.update(balance_asked_at=None, balance_read_at=clock.now())
    assert balances.refresh() == {}
    assert asked == [app.slug] * 2


def answers(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Let every provider answer with this balance, or refuse with this error; return who is asked."""
    asked: list[str] = []

    def balance(self: ProviderAdapter, budget: Any) -> Balance:
        asked.append(self.slug)
        found = answer(self.slug) if callable(answer) else answer
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(ProviderAdapter, "balance", balance)
    return asked


@pytest.mark.parametrize(
    "refusal",
    [
        unavailable(message="down", reason="connection_failed"),
        rejected(Fault.AUTH, "The credentials are wrong."),
    ],
)
def test_a_provider_that_does_not_answer_stops_no_other(
    refusal: Any, organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    bad = factories.install(organization, "mora-sms")
    good = factories.install(organization, "taqnyat-sms")
    balances.keep(bad, Balance(Decimal(3), unit="points"))
    OrganizationApp.objects.update(balance_read_at=clock.now() - timedelta(hours=1))
    answers(monkeypatch, lambda slug: ProviderRefused(refusal) if slug == "mora-sms" else Balance(Decimal(8)))
    assert balances.refresh() == {"answered": 1, "not": 1}
    bad.refresh_from_db()
    good.refresh_from_db()
    assert [bad.balance, good.balance] == [3, 8]
    assert bad.balance_asked_at is not None
    assert bad.balance_read_at is not None and bad.balance_read_at < clock.now() - timedelta(minutes=50)


def test_a_provider_that_is_down_is_asked_over_real_sockets(
    gateway: Gateway, organization: Organization, settings: Any
):
    settings.SMS_PROVIDER_BASE_URLS = {"taqnyat-sms": "http://127.0.0.1:9"}
    app = factories.install(organization, "taqnyat-sms")
    assert balances.refresh() == {"not": 1}
    app.refresh_from_db()
    assert app.balance is None


@pytest.mark.usefixtures("db")
def test_who_is_not_asked(
    organization: Organization, other_organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    asked = answers(monkeypatch, Balance(Decimal(7)))
    factories.install(organization, "sandbox-sms")
    factories.install(organization, "vonage-sms", is_enabled=False)
    installing.uninstall(app=factories.install(organization, "mora-sms"))
    factories.install(other_organization, "taqnyat-sms")
    Organization.objects.filter(pk=other_organization.pk).update(is_active=False)
    balances.refresh()
    assert asked == []


def test_two_rounds_at_once_ask_once(organization: Organization, monkeypatch: pytest.MonkeyPatch):
    factories.install(organization, "taqnyat-sms")
    due = balances._due()
    asked = answers(monkeypatch, Balance(Decimal(7)))
    balances.refresh()
    monkeypatch.setattr(balances, "_due", lambda: due)  # as the other has seen it
    assert balances.refresh() == {}
    assert asked == ["taqnyat-sms"]


def test_the_time_of_a_round_is_bounded_and_the_rest_come_first_in_the_next(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    for slug in ("taqnyat-sms", "mora-sms"):
        factories.install(organization, slug)
    moments = iter([0.0, 1.0, 99.0, 0.0, 1.0, 2.0])
    monkeypatch.setattr("sms_providers.balances.time.monotonic", lambda: next(moments))
    asked = answers(monkeypatch, Balance(Decimal(7)))
    assert balances.refresh(window=10) == {"answered": 1}
    assert balances.refresh(window=10) == {"answered": 1}
    assert sorted(asked) == ["mora-sms", "taqnyat-sms"]


def test_an_answer_about_the_balance_closes_no_circuit(organization: Organization, monkeypatch: pytest.MonkeyPatch):
    answers(monkeypatch, Balance(Decimal(7)))
    app = factories.install(organization, "taqnyat-sms")
    circuits.note({app.pk: [unavailable(message="down", reason="connection_failed")] * 10})
    balances.refresh()
    assert app.pk in circuits.not_closed()


def test_a_lent_account_shows_its_balance_to_its_owner_only(
    console: Callable[[str], Client],
    organization: Organization,
    other_organization: Organization,
    sms: Callable[..., SmsLog],
):
    lent = factories.install(other_organization, "taqnyat-sms")
    factories.make_sender(None, lent)
    sms(app=lent)
    balances.keep(lent, Balance(Decimal("-98765"), currency="SAR"))
    circuits.note({lent.pk: [unavailable(message="down", reason="connection_failed")] * 10})
    tenant, owner = console("admin"), console("stranger")
    assert "98,765" not in tenant.get(INDEX).text
    assert links(tenant) == []
    assert "98,765" in owner.get(INDEX).text
    assert len(links(owner)) == 2


def test_a_ledger_entry_is_told_by_the_real_verbs_too(console: Callable[[str], Client], organization: Organization):
    """The threshold that a new account gets by itself is the one that the page tells of."""
    factories.top_up(organization, "10")
    assert BalanceAlert.objects.filter(account=organization.pk).exists()
    assert ledger.balance_of(organization).available == 10
    assert "10 credits are left, below" in text_of(console("viewer"))


def test_whoever_asks_for_a_balance_keeps_it(
    organization: Organization, api: Api, monkeypatch: pytest.MonkeyPatch, console: Callable[[str], Client]
):
    answers(monkeypatch, Balance(Decimal(7), unit="points"))
    app = factories.install(organization, "taqnyat-sms")
    installing.test(app=app)
    app.refresh_from_db()
    assert (app.balance, app.balance_unit) == (Decimal(7), "points")
    answers(monkeypatch, Balance(Decimal(6), unit="points"))
    assert api.get("/api/v1/sms-providers/taqnyat-sms/balance").status_code == 200
    app.refresh_from_db()
    assert app.balance == Decimal(6)
    assert "6 points" in text_of(console("viewer"))


def test_a_balance_is_forgotten_with_the_credentials(organization: Organization):
    app = factories.install(organization, "taqnyat-sms")
    balances.keep(app, Balance(Decimal(7)))
    installing.change(app=app, priority=5, credentials=factories.CREDENTIALS["taqnyat-sms"])
    assert OrganizationApp.objects.filter(pk=app.pk, balance=7).exists()
    secret = next(field.name for field in catalogue.find(app.slug).credential_fields if field.is_secret)
    installing.change(app=app, credentials={secret: factories.CREDENTIALS["taqnyat-sms"][secret][::-1]})
    assert OrganizationApp.objects.filter(pk=app.pk, balance=None, balance_read_at=None).exists()
    balances.keep(app, Balance(Decimal(7)))
    installing.uninstall(app=app)
    assert OrganizationApp.objects.filter(pk=app.pk, balance=None).exists()


def test_an_answer_about_other_credentials_is_not_kept(organization: Organization):
    app = factories.install(organization, "taqnyat-sms")
    secret = next(field.name for field in catalogue.find(app.slug).credential_fields if field.is_secret)
    asked = OrganizationApp.objects.get(pk=app.pk)
    installing.change(app=app, credentials={secret: factories.CREDENTIALS["taqnyat-sms"][secret][::-1]})
    balances.keep(asked, Balance(Decimal(7)))
    assert OrganizationApp.objects.filter(pk=app.pk, balance=None).exists()


def test_a_figure_that_no_account_has_is_not_kept(organization: Organization):
    app = factories.install(organization, "taqnyat-sms")
    balances.keep(app, Balance(Decimal(10) ** 21))
    assert OrganizationApp.objects.filter(pk=app.pk, balance=None).exists()
