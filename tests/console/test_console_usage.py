"""Usage in the console: by day, sender ID and app; exact, in the right time zone, and the same in the file."""

from __future__ import annotations

from csv import reader
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from linkit.models import Membership, Organization, Role
from sms_providers import usage
from sms_providers.models import OrganizationApp, SmsLog, Source, Status
from tests import factories
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

PAGE, FILE = "admin:usage", "admin:usage_export"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAYS = {"since": "2026-03-09", "until": "2026-03-12"}


def log(app: OrganizationApp, *, at: datetime = NOON, **fields: Any) -> SmsLog:
    given = {
        "organization": app.organization, "source": Source.SEND, "app": app, "provider_slug": app.slug,
        "recipient": factories.mobile(), "text": "x", "encoding": "GSM-7", "segment_count": 1, "sender_id": "Shop",
        "status": Status.SENT, "created_at": at,
    }  # fmt: skip
    return SmsLog.objects.create(**{**given, **fields})


def rows_of(answer: Any) -> list[list[str]]:
    assert answer.status_code == 200
    return list(reader(b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()))


def figures_of(browser: Client, **query: Any) -> list[tuple[Any, ...]]:
    answer = browser.get(reverse(PAGE), {**DAYS, **query})
    return [
        (
            str(line["row"].day), line["row"].sender_id, line["figures"].sent, line["figures"].failed,
            line["figures"].unknown, line["figures"].parts, line["figures"].credits,
        )
        for line in answer.context["lines"]
    ]  # fmt: skip


@pytest.fixture
def busy(sandbox: OrganizationApp) -> OrganizationApp:
    """Three parts at 1.887 and more, over two days."""
    log(sandbox, segment_count=3, credit_cost="5.661", credit_charged="5.661")
    log(sandbox, segment_count=1, credit_cost="1.887", credit_charged="1.887")
    log(sandbox, status=Status.FAILED, segment_count=9)
    log(sandbox, status=Status.DISPATCH_TIMEOUT, segment_count=9, credit_cost="1.887")
    log(sandbox, sender_id="=1+1", at=NOON + timedelta(days=1))
    log(sandbox, sender_id="", at=NOON + timedelta(days=1), status=Status.PENDING)
    log(sandbox, is_test=True, credit_cost="9")
    return sandbox


def test_it_counts_by_day_sender_and_app(console: Any, busy: OrganizationApp):
    browser = console("viewer")
    assert figures_of(browser) == [
        ("2026-03-11", "=1+1", 1, 0, 0, 1, 0),
        ("2026-03-10", "Shop", 2, 1, 1, 4, Decimal("7.548")),
    ]
    answer = browser.get(reverse(PAGE), DAYS)
    total = answer.context["total"]
    assert (total.sent, total.failed, total.unknown, total.parts) == (3, 1, 1, 5)
    assert total.credits == Decimal("7.548")
    assert ">7.548</bdi>" in answer.text
    assert answer["Content-Security-Policy"] == django_settings.CONTENT_SECURITY_POLICY
    assert " style=" not in answer.text
    assert 'aria-current="page">Usage' in answer.text


def test_the_file_has_the_same_figures(console: Any, busy: OrganizationApp):
    browser = console("viewer")
    page = browser.get(reverse(PAGE), DAYS)
    answer = browser.get(page.context["export_url"])
    assert answer["Content-Disposition"] == 'attachment; filename="usage-2026-03-09-2026-03-12.csv"'
    assert rows_of(answer) == [
        ["day", "sender ID", "app", "sent", "failed", "unknown", "parts", "credits"],
        ["2026-03-11", "'=1+1", "Sandbox", "1", "0", "0", "1", "0"],
        ["2026-03-10", "Shop", "Sandbox", "2", "1", "1", "4", "7.548"],
        ["total", "", "", "3", "1", "1", "5", "7.548"],
    ]


def test_many_small_amounts_add_up_exactly(console: Any, sandbox: OrganizationApp):
    SmsLog.objects.bulk_create(
        SmsLog(
            organization=sandbox.organization, source=Source.SEND, provider_slug=sandbox.slug, text="x",
            encoding="GSM-7", recipient=factories.mobile(), segment_count=3, status=Status.SENT, created_at=NOON,
            credit_charged="5.661" if number % 2 else "0.0001",
        )
        for number in range(300)
    )  # fmt: skip
    browser = console("viewer")
    assert rows_of(browser.get(reverse(FILE), DAYS))[-1][-1] == "849.165"
    assert ">849.165</bdi>" in browser.get(reverse(PAGE), DAYS).text


def test_days_are_those_of_the_time_zone(
    console: Any, organization: Organization, other_organization: Organization, sandbox: OrganizationApp
):
    late = datetime(2026, 3, 10, 22, 30, tzinfo=UTC)  # 01:30 of the next day in Riyadh
    log(sandbox, at=late)
    assert [row[0] for row in figures_of(console("viewer"))] == ["2026-03-11"]
    Organization.objects.filter(pk=other_organization.pk).update(time_zone="America/New_York")
    root = console("superuser")  # zones differ, so that the console is in UTC
    assert [row[0] for row in figures_of(root)] == ["2026-03-10"]
    assert [row[0] for row in figures_of(root, organization=organization.pk)] == ["2026-03-11"]
    query = {"organization": organization.pk, "since": "2026-03-11", "until": "2026-03-11"}
    assert len(figures_of(root, **query)) == 1
    assert rows_of(root.get(reverse(FILE), query))[1][0] == "2026-03-11"
    assert figures_of(root, **{**query, "since": "2026-03-10", "until": "2026-03-10"}) == []


def test_one_query_counts(busy: OrganizationApp, django_assert_num_queries: Any):
    first = NOON.date()
    with django_assert_num_queries(1):
        found = usage.measure(organization_ids=None, since=first, until=first + timedelta(days=1), zone=UTC)
    assert len(found.lines) == 2


@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "superuser", "stranger", "loner"])
def test_everybody_sees_the_usage_of_whom_they_may(
    console: Any, busy: OrganizationApp, organization: Organization, who: str
):
    browser = console(who)
    page, file = browser.get(reverse(PAGE), DAYS), browser.get(reverse(FILE), DAYS)
    if who == "loner":
        assert (page.status_code, file.status_code) == (403, 403)
        return
    is_theirs = who != "stranger"
    assert ("7.548" in page.text) is is_theirs
    assert ("Nothing was sent" in page.text) is not is_theirs
    assert len(rows_of(file)) == (4 if is_theirs else 2)
    if who == "stranger":
        named = browser.get(reverse(PAGE), {**DAYS, "organization": organization.pk})
        assert "7.548" not in named.text
        answer = browser.get(reverse(FILE), {**DAYS, "organization": organization.pk})
        assert answer.status_code == 302


def test_somebody_of_two_organizations_chooses(client: Client, busy: OrganizationApp, other_organization: Organization):
    person = factories.make_user(busy.organization, role=Role.VIEWER, is_staff=True)
    Membership.objects.create(user=person, organization=other_organization, role=Role.VIEWER)
    client.force_login(person, BACKEND)
    log(factories.install(other_organization, "sandbox-sms"))
    log(factories.install(factories.make_organization(), "sandbox-sms"))
    assert [row[2] for row in figures_of(client)] == [1, 3]
    assert [row[2] for row in figures_of(client, organization=other_organization.pk)] == [1]


def test_the_last_thirty_days_are_shown_first(console: Any, sandbox: OrganizationApp):
    now = timezone.now()
    log(sandbox, at=now)
    log(sandbox, at=now - timedelta(days=28))
    log(sandbox, at=now - timedelta(days=31))
    for query in ({}, {"since": "", "until": ""}):
        answer = console("viewer").get(reverse(PAGE), query)
        assert answer.context["total"].sent == 2


def test_odd_days_are_said_and_show_nothing(console: Any, busy: OrganizationApp):
    browser = console("superuser")
    for since, until in [
        ("2026-02-30", "2026-03-12"), ("x", "2026-03-12"), ("2026-03-12", "2026-03-11"), ("2026-01-01", "2026-04-03"),
        ("0001-01-01", "0001-01-01"), ("9999-12-31", "9999-12-31"), ("\x00", "2026-03-12"), ("2026-03-12", "9" * 400),
    ]:  # fmt: skip
        answer = browser.get(reverse(PAGE), {"since": since, "until": until})
        assert answer.status_code == 200
        assert "Correct what is marked" in answer.text, (since, until)
        assert "errorlist" in answer.text
        file = browser.get(reverse(FILE), {"since": since, "until": until})
        assert file.status_code == 302
        assert browser.get(file["Location"]).status_code == 200
    assert browser.get(reverse(PAGE), {"since": "2026-01-01", "until": "2026-04-02"}).context["total"].sent == 3
    for organization in ("x", "\x00", "00000000-0000-4000-8000-000000000000"):
        assert "Correct what is marked" in browser.get(reverse(PAGE), {**DAYS, "organization": organization}).text


def test_too_many_lines_have_no_sum(console: Any, sandbox: OrganizationApp, monkeypatch: pytest.MonkeyPatch):
    for number in range(4):
        log(sandbox, sender_id=f"Shop {number}")
    browser = console("viewer")
    monkeypatch.setattr("sms_providers.admin.usage._LINES_SHOWN", 3)
    assert '<bdi dir="ltr">1</bdi> more line,' in browser.get(reverse(PAGE), DAYS).text
    assert len(rows_of(browser.get(reverse(FILE), DAYS))) == 6
    monkeypatch.setattr(usage, "MOST_LINES", 3)
    page = browser.get(reverse(PAGE), DAYS).text
    assert "Too much for one table" in page
    assert "credits charged" not in page
    rows = rows_of(browser.get(reverse(FILE), DAYS))
    assert rows[-1] == ["Cut after 3 lines. Choose fewer days, or one organization, for the others."]
    assert len(rows) == 5
