"""Credits in the console: what there is, moving it once and on purpose, the ledger, rates, low balances."""

from __future__ import annotations

import uuid
from csv import reader
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from billing import alerts, ledger
from billing.admin import entries
from billing.forms import RateForm
from billing.models import BalanceAlert, CreditAccount, CreditTransaction, Kind, Rate
from linkit import audit, clock
from linkit.models import AuditEntry, Membership, Organization, Role
from sms_providers.models import OrganizationApp
from tests import factories
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

MEMBERS, EVERYBODY = ("viewer", "operator", "admin"), ("viewer", "operator", "admin", "superuser", "stranger", "loner")
ACCOUNTS, LEDGER = "admin:billing_creditaccount_changelist", "admin:billing_credittransaction_changelist"
TOP_UP, RATES = "admin:billing_creditaccount_add", "admin:billing_rate_changelist"


def account_url(organization: Organization, page: str = "change") -> str:
    return reverse(f"admin:billing_creditaccount_{page}", args=[organization.pk])


def rate_url(rate: Rate, page: str = "change") -> str:
    return reverse(f"admin:billing_rate_{page}", args=[rate.pk])


def given(organization: Organization | None = None, **fields: Any) -> dict[str, Any]:
    """What is sent by the form of a top-up, or without an organization by that of an adjustment."""
    whose = {"organization": organization.pk} if organization else {}
    return {"once": str(uuid.uuid4()), "amount": "500", "description": "Invoice 7", **whose, **fields}


def balance(organization: Organization) -> Any:
    return CreditAccount.objects.filter(pk=organization.pk).values_list("balance", flat=True).first()


# --- who sees what ---


@pytest.mark.parametrize("who", EVERYBODY)
def test_pages_open_by_role(console: Any, organization: Organization, who: str):
    factories.top_up(organization, "50")
    entry, rate = CreditTransaction.objects.get(), Rate.objects.create(price="2", valid_from=date(2090, 1, 1))
    browser = console(who)
    is_root, is_in = who == "superuser", who != "loner"
    lists = [ACCOUNTS, LEDGER, RATES, "admin:billing_credittransaction_export"]
    for name in lists:
        assert browser.get(reverse(name)).status_code == (200 if is_in else 403), name
    for name in (TOP_UP, "admin:billing_rate_add"):
        for method in (browser.get, browser.post):
            assert method(reverse(name)).status_code == (200 if is_root else 403), name
    seen = 200 if is_root or who in MEMBERS else 302
    assert browser.get(account_url(organization)).status_code == seen
    assert browser.get(reverse("admin:billing_credittransaction_change", args=[entry.pk])).status_code == seen
    assert browser.get(rate_url(rate)).status_code == (200 if is_in else 403)
    assert browser.get(account_url(organization, "adjust")).status_code == (200 if is_root else 403)
    for url in (account_url(organization), reverse("admin:billing_credittransaction_change", args=[entry.pk])):
        assert browser.post(url, {"balance": "1000000"}).status_code == 403
    if not is_root:
        assert browser.post(rate_url(rate), {"price": "0"}).status_code == 403
        assert browser.post(account_url(organization, "adjust"), given(confirmed="yes")).status_code == 403
        assert browser.post(reverse(TOP_UP), given(organization, confirmed="yes")).status_code == 403
    for url in (account_url(organization, "delete"), rate_url(rate, "delete")):
        assert browser.get(url).status_code in ((200, 403) if is_root else (302, 403))
    assert (balance(organization), Rate.objects.get().price) == (50, Decimal(2))


@pytest.mark.parametrize("who", ["stranger", "loner"])
def test_nothing_of_another_organization_is_seen(console: Any, organization: Organization, who: str):
    factories.top_up(organization, "50")
    Rate.objects.create(organization=organization, prefix="96677", price="3.3", valid_from=date(2020, 1, 1))
    browser = console(who)
    for name in (ACCOUNTS, LEDGER, RATES, "admin:usage", "admin:billing_credittransaction_export"):
        answer = browser.get(reverse(name) + f"?organization={organization.pk}")
        text = b"".join(answer).decode()
        for mark in ("Acme", "96677", "50<", '"50"'):
            assert mark not in text, name
    missing = "00000000-0000-4000-8000-000000000000"
    for page in ("change", "alerts"):
        url = account_url(organization, page)
        for method in (browser.get, browser.post):
            theirs, nobodys = method(url), method(url.replace(str(organization.pk), missing))
            assert (theirs.status_code, theirs.get("Location")) == (nobodys.status_code, nobodys.get("Location"))


def test_members_see_their_account(console: Any, organization: Organization):
    factories.top_up(organization, "1234.5")
    ledger.hold(organization.pk, [ledger.Wanted(uuid.uuid4(), Decimal("5.661"))])
    page = console("viewer").get(account_url(organization)).text
    for shown in ("1,234.5", "5.661", "1,228.839", "In credit", "Opening balance"):
        assert shown in page
    for absent in ("Top up…", "Adjust…", "threshold_0"):
        assert absent not in page
    assert "threshold_0" in console("admin").get(account_url(organization)).text
    assert "Top up…" in console("superuser").get(account_url(organization)).text


def test_states_of_accounts(console: Any, organization: Organization, other_organization: Organization):
    factories.top_up(organization, "15.5")
    factories.top_up(other_organization, "500")
    browser = console("superuser")
    page = browser.get(reverse(ACCOUNTS)).text
    assert "Below 20" in page
    assert "In credit" in page
    low = browser.get(reverse(ACCOUNTS) + "?state=low").text
    assert "Below 20" in low
    assert "In credit" not in low
    ledger.hold(organization.pk, [ledger.Wanted(uuid.uuid4(), Decimal("15.5"))])
    assert "No credits" in browser.get(reverse(ACCOUNTS) + "?state=none").text


# --- moving credits ---


def test_a_top_up_asks_first_and_moves_once(console: Any, organization: Organization):
    browser, data = console("superuser"), given(organization)
    assert "Acme" in browser.get(reverse(TOP_UP) + f"?organization={organization.pk}").text
    asked = browser.post(reverse(TOP_UP), data)
    assert asked.status_code == 200
    assert "which gets its account by this" in asked.text
    assert [str(figure) for _, figure in asked.context["figures"]] == [
        f'<bdi dir="ltr" class="amount">{figure}</bdi>' for figure in (0, 500, 500)
    ]
    assert balance(organization) is None

    back = browser.post(reverse(TOP_UP), {**data, "back": "yes"})
    assert 'value="Invoice 7"' in back.text
    assert balance(organization) is None

    answer = browser.post(reverse(TOP_UP), {**data, "confirmed": "yes"})
    assert answer["Location"] == account_url(organization)
    entry = CreditTransaction.objects.get()
    assert (entry.kind, entry.amount, entry.description, str(entry.reference)) == (
        Kind.INITIAL, Decimal(500), "Invoice 7", data["once"],
    )  # fmt: skip
    assert entry.created_by is not None
    assert entry.created_by.is_superuser
    note = AuditEntry.objects.get()
    assert (audit.in_words(note), note.object_repr) == ("Topped up by 500 credits: Invoice 7", "Credits of Acme")
    assert note.organization == organization

    again = browser.post(reverse(TOP_UP), {**data, "confirmed": "yes"}, follow=True)
    assert "nothing was moved again" in again.text
    assert balance(organization) == 500
    assert AuditEntry.objects.count() == 1


def test_a_form_that_was_sent_and_then_changed_is_another_intent(
    console: Any, organization: Organization, other_organization: Organization
):
    browser, data = console("superuser"), given(organization, confirmed="yes")
    browser.post(reverse(TOP_UP), data)
    for change in ({"amount": "501"}, {"organization": other_organization.pk}):
        again = browser.post(reverse(TOP_UP), {**data, **change})
        assert again.status_code == 200
        assert "named another movement" in again.text
        assert again.context["form"]["once"].value() != data["once"]
    assert 'value="500"' in again.text
    assert (balance(organization), balance(other_organization)) == (500, None)
    once = again.context["form"]["once"].value()
    browser.post(reverse(TOP_UP), {**data, "organization": other_organization.pk, "once": once})
    assert balance(other_organization) == 500


BAD_AMOUNTS = [
    "", "0", "-5", "0.00001", "1.23456", "NaN", "Infinity", "1e999", "1e-9", "100000001", "9" * 400, "ten", "5,5",
    "--5", "\x00",
]  # fmt: skip


def test_a_bad_top_up_moves_nothing_and_is_kept(console: Any, organization: Organization):
    browser = console("superuser")
    for bad in (
        *({"amount": amount} for amount in BAD_AMOUNTS), {"organization": ""}, {"organization": "x"},
        {"organization": str(uuid.uuid4())}, {"description": "x" * 201}, {"description": "a\x00b"},
        {"description": " "}, {"once": ""}, {"once": "x"},
    ):  # fmt: skip
        answer = browser.post(reverse(TOP_UP), given(organization, confirmed="yes") | bad)
        assert answer.status_code == 200
        assert "errornote" in answer.text, bad
        assert "before and after" in answer.text, "it is the form again"
        assert uuid.UUID(str(answer.context["form"]["once"].value()))
        if "description" not in bad:
            assert 'value="Invoice 7"' in answer.text
    assert "errornote" in browser.post(reverse(TOP_UP), given(organization, amount="NaN")).text
    assert balance(organization) is None


def test_what_only_the_ledger_knows_is_said_beside_the_field(console: Any, organization: Organization):
    for _ in range(10):
        factories.top_up(organization, "100000000")
    answer = console("superuser").post(reverse(TOP_UP), given(organization, confirmed="yes"))
    assert "No account holds as much" in str(answer.context["form"].errors["amount"])
    assert 'value="500"' in answer.text
    assert not AuditEntry.objects.exists()


def test_an_adjustment_needs_a_reason_and_shows_where_it_leads(console: Any, organization: Organization):
    factories.top_up(organization, "10")
    browser, url = console("superuser"), account_url(organization, "adjust")
    for bad in ({"description": ""}, {"description": "  "}, {"amount": "0"}, {"amount": "-0.00001"}):
        assert "errornote" in browser.post(url, given(confirmed="yes") | bad).text
    data = given(amount="-12.5001", description="Topped up twice")
    asked = browser.post(url, data).text
    assert "Below zero" in asked
    assert "-2.5001" in asked
    browser.post(url, {**data, "confirmed": "yes"})
    browser.post(url, {**data, "confirmed": "yes"})
    assert balance(organization) == Decimal("-2.5001")
    entry = CreditTransaction.objects.first()
    assert entry is not None
    assert (entry.kind, entry.description) == (Kind.ADJUSTMENT, "Topped up twice")
    assert audit.in_words(AuditEntry.objects.get()) == "Adjusted by -12.5001 credits: Topped up twice"


def test_there_is_nothing_to_adjust_without_an_account(console: Any, organization: Organization):
    assert console("superuser").get(account_url(organization, "adjust")).status_code == 302


# --- thresholds ---


def thresholds(organization: Organization) -> list[Decimal]:
    return list(BalanceAlert.objects.filter(account=organization.pk).values_list("threshold", flat=True))


def test_thresholds_are_added_changed_and_removed(console: Any, organization: Organization):
    factories.top_up(organization, "50")
    alerts.send_due()
    url = account_url(organization, "alerts")
    for who in ("viewer", "operator"):
        assert console(who).post(url, {"threshold_0": "7"}).status_code == 403
    assert thresholds(organization) == [100, 20]
    browser = console("admin")
    answer = browser.post(url, {"threshold_0": "100", "threshold_1": "", "threshold_4": "250.5"}, follow=True)
    assert "Saved." in answer.text
    assert thresholds(organization) == [Decimal("250.5"), 100]
    assert [audit.in_words(entry) for entry in AuditEntry.objects.order_by("pk")] == [
        "No alert below 20 any more.", "Alert below 250.5.",
    ]  # fmt: skip
    told = dict(BalanceAlert.objects.values_list("threshold", "alerted_at"))
    assert told[Decimal(100)] is not None, "one that stays has been told"
    assert told[Decimal("250.5")] is None
    assert "Nothing was changed" in browser.post(url, {"threshold_0": "250.5", "threshold_3": "100"}, follow=True).text
    swapped = console("superuser").post(url, {"threshold_0": "100", "threshold_1": "250.5"}, follow=True)
    assert "Nothing was changed" in swapped.text
    browser.post(url, {})
    assert thresholds(organization) == []
    assert browser.get(url).status_code == 302


def test_a_bad_threshold_changes_nothing(console: Any, organization: Organization):
    factories.top_up(organization, "50")
    browser = console("admin")
    for typed in ("-1", "NaN", "1e99", "0.00001", "many", "100"):
        data = {"threshold_0": "100", "threshold_1": typed, "threshold_2": "5"}
        answer = browser.post(account_url(organization, "alerts"), data)
        assert answer.status_code == 200
        assert "errornote" in answer.text
        assert f'value="{typed}"' in answer.text
    assert thresholds(organization) == [100, 20]


def test_odd_questions_to_lists_break_nothing(console: Any, organization: Organization):
    factories.top_up(organization, "50")
    Rate.objects.create(price="2", valid_from=date(2020, 1, 1))
    browser = console("superuser")
    for query in ("state=x", "organization=x", "organization=%00", "balance__gt=x", "o=99.-7.x", "q=%00", "p=-1"):
        for name in (ACCOUNTS, RATES):
            assert browser.get(reverse(name) + f"?{query}", follow=True).status_code in (200, 400), (name, query)
    for name in ("creditaccount", "credittransaction", "rate"):
        for pk in ("x", "%00", "9" * 40):
            assert browser.get(f"/admin/billing/{name}/{pk}/change/").status_code == 302, (name, pk)


# --- the ledger ---


@pytest.fixture
def charged(organization: Organization, sandbox: OrganizationApp, send: Any) -> CreditTransaction:
    """A charge of three parts, after an opening balance."""
    factories.top_up(organization, "100")
    OrganizationApp.objects.update(is_metered=True)
    sandbox.refresh_from_db()
    send(sandbox, text="x" * 400)
    return CreditTransaction.objects.get(kind=Kind.SMS_CHARGE)


def lines_of(answer: Any) -> list[list[str]]:
    assert answer.status_code == 200
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(reader(text.splitlines()))


def test_the_ledger_is_exact_and_leads_to_the_sms(console: Any, charged: CreditTransaction):
    browser = console("viewer")
    page = browser.get(reverse(LEDGER)).text
    assert "-5.661<" in page
    assert "94.339<" in page
    entry = browser.get(reverse("admin:billing_credittransaction_change", args=[charged.pk])).text
    sms = reverse("admin:sms_providers_smslog_change", args=[charged.reference])
    assert sms in entry
    assert browser.get(sms).status_code == 200
    found = browser.get(reverse(LEDGER), {"q": str(charged.reference)}).context["cl"]
    assert [row.pk for row in found.result_list] == [charged.pk]
    assert "Nothing matches" in browser.get(reverse(LEDGER), {"q": "nothing"}).text


def test_the_ledger_is_filtered_by_type_and_day(console: Any, charged: CreditTransaction, organization: Organization):
    browser, today = console("superuser"), clock.now().date()
    near, far = [str(today - timedelta(days=1)), str(today + timedelta(days=1))], str(today + timedelta(days=2))
    for query, count in [
        ("", 2), ("kind__exact=sms_charge", 1), (f"since={near[0]}&until={near[1]}", 2), (f"since={far}", 0),
        (f"until={near[1]}", 2), ("since=&until=", 2), (f"organization={organization.pk}", 2),
        (f"organization={uuid.uuid4()}", 0), ("organization=x", 0), (f"kind__exact=initial&since={near[0]}", 1),
    ]:  # fmt: skip
        answer = browser.get(reverse(LEDGER) + f"?{query}")
        assert answer.context["cl"].result_count == count, query
        assert len(lines_of(browser.get(reverse("admin:billing_credittransaction_export") + f"?{query}"))) == count + 1


def test_odd_questions_to_the_ledger_break_nothing(console: Any, charged: CreditTransaction):
    browser, export = console("superuser"), reverse("admin:billing_credittransaction_export")
    for query in (
        "since=2026-02-30", "until=9999-12-31", "since=0001-01-01", "since=x", "since=%00", "q=%00", "id__exact=x",
    ):  # fmt: skip
        assert browser.get(reverse(LEDGER) + f"?{query}", follow=True).status_code == 200
        answer = browser.get(f"{export}?{query}", follow=True)
        assert "makes no sense" in answer.text, "never more than was asked for"


def test_the_file_has_exact_figures_and_no_formula(
    console: Any, charged: CreditTransaction, organization: Organization
):
    ledger.adjust(organization=organization, amount=Decimal("0.0001"), description='=HYPERLINK("x")')
    head, *rows = lines_of(console("viewer").get(reverse("admin:billing_credittransaction_export")))
    assert head[:5] == ["time (Asia/Riyadh)", "organization", "type", "amount", "balance after"]
    assert [row[1:6] for row in rows] == [
        ["Acme", "Adjustment", "0.0001", "94.3391", '\'=HYPERLINK("x")'],
        ["Acme", "SMS", "-5.661", "94.339", "SMS, 3 parts"],
        ["Acme", "Opening balance", "100", "100", ""],
    ]
    assert rows[1][6] == str(charged.reference)


def test_a_long_file_says_that_it_is_cut(console: Any, organization: Organization, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(entries, "MOST_LINES", 4)
    monkeypatch.setattr(entries, "_ROWS_AT_ONCE", 2)
    browser, url = console("viewer"), reverse("admin:billing_credittransaction_export")
    for number in range(1, 6):
        factories.top_up(organization, str(number))
        _, *rows = lines_of(browser.get(url))
        if number < 5:
            assert [row[3] for row in rows] == [str(each) for each in range(number, 0, -1)]
    assert [row[3] for row in rows[:4]] == ["5", "4", "3", "2"]
    assert rows[4] == ["Cut after 4 lines. Choose fewer days for the others."]


# --- rates ---


def rate_form(**fields: Any) -> dict[str, Any]:
    today = clock.now().date()
    return {
        "organization": "", "prefix": "966", "price": "1.5", "valid_from": str(today), "valid_until": "", "note": "",
        **fields,
    }  # fmt: skip


def test_a_rate_is_added_by_a_superuser(console: Any, organization: Organization):
    browser = console("superuser")
    answer = browser.post(reverse("admin:billing_rate_add"), rate_form(organization=organization.pk, price="0.0001"))
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    rate = Rate.objects.get()
    assert (rate.organization, rate.prefix, rate.price) == (organization, "966", Decimal("0.0001"))
    assert AuditEntry.objects.count() == 1


DAY = timedelta(days=1)


def test_a_bad_rate_is_refused_beside_its_field(console: Any):
    for fields, wrong in [
        *(({"prefix": typed}, "prefix") for typed in ("+966", "0966", "96a", "123456789", "٩٦٦", "9 6", "\x00")),
        *(({"price": typed}, "price") for typed in ("-1", "1.23456", "NaN", "1e99", "", "free", "99999999999")),
        *(({"valid_from": typed}, "valid_from") for typed in ("2026-02-30", "", "2020-01-01", "0000-00-00", "x")),
        ({"valid_until": "2020-01-01"}, "valid_until"),
        ({"valid_from": "2090-01-02", "valid_until": "2090-01-01"}, "valid_until"),
        ({"organization": "x"}, "organization"),
        ({"note": "x" * 201}, "note"),
    ]:
        assert [*RateForm(rate_form(**fields)).errors] == [wrong], fields
    page = console("superuser").post(reverse("admin:billing_rate_add"), rate_form(price="-1"))
    assert page.status_code == 200
    assert "errornote" in page.text
    assert not Rate.objects.exists()


def test_a_second_rate_from_the_same_day_is_refused(console: Any, organization: Organization):
    browser, url = console("superuser"), reverse("admin:billing_rate_add")
    for whose in ("", organization.pk):
        assert browser.post(url, rate_form(organization=whose)).status_code == 302
        again = browser.post(url, rate_form(organization=whose, price="2"))
        assert "begins on this day already" in str(again.context["adminform"].form.errors["valid_from"])
    assert Rate.objects.count() == 2
    assert browser.post(url, rate_form(prefix="")).status_code == 302


def test_a_second_rate_at_the_same_moment_is_no_fault(console: Any, monkeypatch: pytest.MonkeyPatch):
    def too_late(*_: Any, **__: Any) -> None:
        raise IntegrityError

    monkeypatch.setattr(Rate, "save", too_late)
    answer = console("superuser").post(reverse("admin:billing_rate_add"), rate_form(), follow=True)
    assert "Nothing was saved" in answer.text


def test_a_rate_that_was_in_force_is_only_ended(console: Any):
    today = clock.now().date()
    rate = Rate.objects.create(prefix="966", price="2", valid_from=today - DAY, note="old")
    browser = console("superuser")
    page = browser.get(rate_url(rate)).text
    assert "what was charged stays" in page
    assert 'name="price"' not in page
    assert browser.post(rate_url(rate, "delete"), {"post": "yes"}).status_code == 403
    browser.post(rate_url(rate), rate_form(price="9", prefix="1", valid_until=str(today), note="new"))
    rate.refresh_from_db()
    assert (rate.price, rate.prefix, rate.valid_from) == (Decimal(2), "966", today - DAY)
    assert (rate.valid_until, rate.note) == (today, "new")
    early = browser.post(rate_url(rate), {"valid_until": str(today - DAY), "note": ""})
    assert "That day has passed" in str(early.context["adminform"].form.errors["valid_until"])

    Rate.objects.update(valid_until=today - DAY)
    assert "It is over" in browser.get(rate_url(rate)).text
    browser.post(rate_url(rate), {"valid_until": "2090-01-01", "note": "over"})
    rate.refresh_from_db()
    assert (rate.valid_until, rate.note) == (today - DAY, "over")


def test_a_rate_that_has_not_been_in_force_is_mended_or_deleted(console: Any):
    today, browser = clock.now().date(), console("superuser")
    rate = Rate.objects.create(prefix="966", price="2", valid_from=today)
    browser.post(rate_url(rate), rate_form(price="2.5"))
    rate.refresh_from_db()
    assert rate.price == Decimal("2.5")
    assert "for good?" in browser.get(rate_url(rate, "delete")).text
    browser.post(rate_url(rate, "delete"), {"post": "yes"})
    assert not Rate.objects.exists()


def test_people_see_the_rates_that_apply_to_them(
    console: Any, organization: Organization, other_organization: Organization
):
    for owner, prefix in ((None, "11"), (organization, "22"), (other_organization, "33")):
        Rate.objects.create(organization=owner, prefix=prefix, price="2", valid_from=date(2020, 1, 1), note="margin 9")
    Rate.objects.create(prefix="44", price="2", valid_from=date(2020, 1, 1), valid_until=date(2020, 2, 1))
    browser = console("admin")
    page = browser.get(reverse(RATES)).text
    assert "1.887 credits" in page  # where no rate fits
    assert [prefix for prefix in ("+11", "+22", "+33", "+44") if prefix in page] == ["+11", "+22"]
    assert "+44" in browser.get(reverse(RATES) + "?state=over").text
    general = Rate.objects.get(prefix="11")
    for text in (page, browser.get(rate_url(general)).text):
        assert "margin 9" not in text
        assert 'name="price"' not in text
    assert browser.get(rate_url(Rate.objects.get(prefix="33"))).status_code == 302
    assert "margin 9" in console("superuser").get(reverse(RATES)).text


# --- told on every page ---


def test_a_low_balance_is_said_on_every_page(
    console: Any, organization: Organization, django_assert_num_queries: Any, rf: Any
):
    factories.top_up(organization, "500")
    browser, index = console("viewer"), reverse("admin:index")
    assert 'class="notice' not in browser.get(index).text
    ledger.adjust(organization=organization, amount=Decimal("-484.5"), description="spent")
    for url in (index, reverse(ACCOUNTS), account_url(organization), reverse("admin:sms_providers_smslog_changelist")):
        page = browser.get(url).text
        assert "notice-caution" in page
        assert ">15.5</bdi> credits left, below" in page
        assert ">20</bdi>." in page
    ledger.hold(organization.pk, [ledger.Wanted(uuid.uuid4(), Decimal("15.5"))])
    assert "No credits are left" in browser.get(index).text
    assert 'class="notice' not in console("stranger").get(index).text
    assert 'class="notice' not in console("loner").get(index).text
    assert 'class="notice' not in Client().get(reverse("admin:login")).text
    request = rf.get(index)
    request.user = factories.make_user(organization, role=Role.VIEWER, is_staff=True)
    from billing.watch import low_balances

    with django_assert_num_queries(2):  # whose they are, which every page asks, and this
        list(low_balances(request))


def test_superusers_are_told_a_few_names(console: Any):
    for name in ("Alpha", "Beta", "<b>Gamma", "Delta", "Epsilon"):
        factories.top_up(factories.make_organization(name), "5")
    gone = factories.make_organization("Aaa", is_active=False)
    factories.top_up(gone, "5")
    page = console("superuser").get(reverse("admin:index")).text
    notice = page[page.index('class="notice') :].split("</p>")[0]
    assert "<bdi>&lt;b&gt;Gamma</bdi>, <bdi>Alpha</bdi>, <bdi>Beta</bdi> and others." in notice
    assert "Aaa" not in notice
    assert "?state=low" in notice


def test_somebody_of_two_organizations_is_told_whose_it_is(
    organization: Organization, other_organization: Organization, client: Client
):
    person = factories.make_user(organization, role=Role.VIEWER, is_staff=True)
    Membership.objects.create(user=person, organization=other_organization, role=Role.ADMIN)
    client.force_login(person, BACKEND)
    factories.top_up(organization, "5")
    assert "<bdi>Acme</bdi>: " in client.get(reverse("admin:index")).text
    factories.top_up(other_organization, "5")
    assert "<bdi>Acme</bdi>, <bdi>Stranger</bdi>." in client.get(reverse("admin:index")).text
    # A role counts only in its organization.
    assert client.post(account_url(organization, "alerts"), {}).status_code == 403
    assert client.post(account_url(other_organization, "alerts"), {}).status_code == 302


# --- pages as such ---


def test_pages_keep_to_the_content_security_policy(
    console: Any, charged: CreditTransaction, organization: Organization
):
    rate = Rate.objects.create(price="2", valid_from=clock.now().date())
    browser = console("superuser")
    answers = [
        browser.get(url)
        for url in (
            *(reverse(name) for name in (ACCOUNTS, LEDGER, RATES, TOP_UP, "admin:billing_rate_add")),
            account_url(organization), account_url(organization, "adjust"), account_url(organization, "history"),
            rate_url(rate), rate_url(rate, "delete"),
            reverse("admin:billing_credittransaction_change", args=[charged.pk]),
        )
    ]  # fmt: skip
    answers.append(browser.post(reverse(TOP_UP), given(organization)))
    for answer in answers:
        assert answer.status_code == 200
        assert answer["Content-Security-Policy"] == django_settings.CONTENT_SECURITY_POLICY
        for forbidden in ("<style", " style=", " onclick=", "<script>"):
            assert forbidden not in answer.text


def test_an_organization_with_credits_is_not_deleted(console: Any, organization: Organization):
    factories.top_up(organization, "5")
    url = reverse("admin:linkit_organization_delete", args=[organization.pk])
    browser = console("superuser")
    assert "Switch the organization off" in browser.get(url).text
    browser.post(url, {"post": "yes"})
    assert Organization.objects.filter(pk=organization.pk).exists()
