"""Sheets of contacts in the console: import with its preview, export, and one after the other."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.urls import reverse

from contacts import attributes, resources, services, sheets
from contacts.admin import sheets as sheets_admin
from contacts.models import AttributeType, Contact, CustomAttribute
from linkit.audit import in_words
from linkit.models import Organization, User
from outbox.bulk import uploads
from outbox.bulk.models import Upload, UploadChunk
from tests import factories
from tests.console.conftest import BACKEND
from tests.console.test_console_contacts import of_another_moment

pytestmark = pytest.mark.django_db

LIST = "admin:contacts_contact_changelist"
UPLOAD = "admin:contacts_contact_import"
EXPORT = "admin:contacts_contact_export"
ALI, SARA, OMAR = "+966500000001", "+966500000002", "+966500000003"

Make = Callable[..., Contact]


@pytest.fixture
def make(organization: Organization) -> Make:
    """Return a maker of contacts: `make(ALI, first_name="Ali", customer_age=44)`, attributes by their slug."""

    def contact(phone: str, owner: Organization = organization, **given: Any) -> Contact:
        known = attributes.live(owner)
        values = {str(known[name].pk): given.pop(name) for name in list(given) if name in known}
        fields = {"primary_phone": phone, **given, "attribute_values": values}
        return of_another_moment(services.create(organization=owner, fields=fields))

    return contact


@pytest.fixture
def age(organization: Organization) -> CustomAttribute:
    return attribute(organization, "Customer Age", AttributeType.NUMBER)


def attribute(organization: Organization, display_name: str, type: AttributeType) -> CustomAttribute:
    return attributes.create(organization=organization, display_name=display_name, type=type)


def table(*rows: Iterable[str], **how: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=how.get("separator", ",")).writerows(rows)
    return text.getvalue().encode(how.get("encoding", "utf-8"))


def book(*rows: Iterable[Any]) -> bytes:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.worksheets[0].append(list(row))
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()


def form(content: bytes, **fields: Any) -> dict[str, Any]:
    organization = fields.pop("organization", None) or Organization.objects.get(name="Acme")
    file = SimpleUploadedFile(fields.pop("name", "contacts.csv"), content)
    return {"organization": str(organization.pk), "file": file, **fields}


def upload(browser: Client, content: bytes, **fields: Any) -> str:
    """Upload a sheet and return the address of its preview."""
    answer = browser.post(reverse(UPLOAD), form(content, **fields))
    assert answer.status_code == 302, answer.context["form"].errors
    url: str = answer["Location"]
    assert url.startswith(reverse("admin:contacts_contact_process_import"))
    return url


def totals(page: Any) -> tuple[int, ...]:
    found = page.context["totals"]
    return tuple(found[name] for name in ("new", "update", "skip", "invalid"))


def wrong(page: Any) -> list[tuple[str, str, str]]:
    return [(each.row, each.column, each.message) for each in page.context["errors"]]


def live(organization: Organization) -> dict[str, Contact]:
    return {each.primary_phone: each for each in Contact.objects.live().filter(organization=organization)}


# --- import ---


def test_a_sheet_is_shown_first_and_written_when_told_to(
    console: Any, organization: Organization, make: Make, age: CustomAttribute
):
    make(ALI, first_name="Ali", city="Riyadh", customer_age=44)
    make(SARA, first_name="Sara")
    browser = console("operator")
    content = table(
        ["phone", "first_name", "city", "customer_age", "email", "shoe size"],
        ["0500000001", "", "-", "45", "", "9"],  # empty keeps, "-" empties
        ["+966 50 000 0002", "Sara", "", "", "", ""],
        ["٠٥٠٠٠٠٠٠٠٣", "محمد", "", "30", "m@example.com", ""],
    )
    url = upload(browser, content)
    page = browser.get(url)
    assert totals(page) == (1, 1, 1, 0)
    assert "Nothing has been written yet" in page.text
    assert "Columns that are not used: “shoe size”." in page.text
    assert "<del><bdi>Riyadh</bdi></del>" in page.text
    assert "<del><bdi>44</bdi></del>" in page.text
    assert "محمد" in page.text
    assert live(organization)[ALI].city == "Riyadh"
    assert len(live(organization)) == 2
    answer = browser.post(url, follow=True)
    assert "Imported contacts.csv: 1 new, 1 changed, 1 unchanged." in answer.text
    found = live(organization)
    assert (found[ALI].first_name, found[ALI].city) == ("Ali", "")
    assert found[ALI].attribute_values == {str(age.pk): 45}
    assert (found[OMAR].first_name, found[OMAR].primary_email) == ("محمد", "m@example.com")
    assert found[OMAR].attribute_values == {str(age.pk): 30}
    entry = LogEntry.objects.latest("pk")
    assert entry.object_repr == "Acme"
    assert in_words(entry) == "Imported contacts.csv: 1 new, 1 changed, 1 unchanged."
    assert not Upload.objects.exists()


@pytest.mark.parametrize("who", ["viewer", "operator", "admin", "superuser", "stranger", "loner"])
def test_only_whoever_may_imports(console: Any, organization: Organization, who: str):
    browser, content = console(who), table(["phone"], ["0500000001"])
    answer = browser.post(reverse(UPLOAD), form(content))
    if who in ("viewer", "loner"):
        assert answer.status_code == 403
        assert browser.get(reverse("admin:contacts_contact_process_import")).status_code == 403
    elif who == "stranger":
        assert "Select a valid choice" in answer.text
        assert not Upload.objects.exists()
    else:
        browser.post(answer["Location"])
    assert bool(live(organization)) == (who in ("operator", "admin", "superuser"))


def test_a_file_is_its_persons_alone(console: Any, organization: Organization):
    url = upload(console("operator"), table(["phone"], ["0500000001"]))
    for who in ("operator", "admin", "superuser", "stranger"):
        browser = console(who)  # another person, also of the same role
        for answer in (browser.get(url), browser.post(url)):
            assert answer["Location"] == reverse(UPLOAD)
    for odd in (url[:-1], url + "x", url.partition("?")[0], url.partition("?")[0] + "?file=%00"):
        assert console("operator").post(odd)["Location"] == reverse(UPLOAD)
    assert not Contact.objects.exists()
    assert Upload.objects.exists()


def test_whoever_may_import_no_more_confirms_nothing(console: Any, other_organization: Organization):
    browser = console("operator")
    url = upload(browser, table(["phone"], ["0500000001"]))
    person = User.objects.get(pk=browser.session["_auth_user_id"])
    person.memberships.update(organization=other_organization)
    assert browser.post(url)["Location"] == reverse(UPLOAD)
    person.memberships.update(role="viewer")
    assert browser.post(url).status_code == 403
    assert not Contact.objects.exists()


def test_a_superuser_imports_into_the_chosen_organization(
    console: Any, organization: Organization, other_organization: Organization, age: CustomAttribute
):
    browser = console("superuser")
    assert 'name="organization"' in browser.get(reverse(UPLOAD)).text
    content = table(["phone", "customer_age"], ["0500000001", "4"])
    url = upload(browser, content, organization=other_organization)
    page = browser.get(url)
    assert "Columns that are not used: “customer_age”." in page.text  # it is Acme's
    browser.post(url)
    assert list(live(other_organization)) == [ALI]
    assert not live(organization)


def test_a_file_is_imported_once(console: Any, organization: Organization, monkeypatch: Any):
    browser = console("operator")
    url = upload(browser, table(["phone"], ["0500000001"]))
    browser.post(url)
    services.delete_all(contacts=Contact.objects.all())
    answer = browser.post(url, follow=True)
    assert "it has been imported, or was uploaded over an hour ago" in answer.text
    assert browser.get(url)["Location"] == reverse(UPLOAD)
    assert not live(organization)
    # Two clicks at once: the second has read the file before the first one took it.
    url = upload(browser, table(["phone"], ["0500000001"]))
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "delete", lambda ids: 0)
        assert browser.post(url)["Location"] == reverse(UPLOAD)
    assert not live(organization)
    assert LogEntry.objects.count() == 1


def test_a_file_is_kept_for_an_hour(console: Any, monkeypatch: Any):
    browser = console("operator")
    url = upload(browser, table(["phone"], ["0500000001"]))
    UploadChunk.objects.all().delete()
    assert "Upload it again" in browser.get(url, follow=True).text
    url = upload(browser, table(["phone"], ["0500000001"]))
    assert browser.get(url).status_code == 200
    monkeypatch.setattr(sheets_admin, "_LIFETIME_SECONDS", -1)
    assert browser.get(url)["Location"] == reverse(UPLOAD)
    assert Upload.objects.filter(job=None, draft=None).exists()  # which `uploads.purge` takes away


def test_wrong_rows_are_told_by_row_and_column_and_keep_all_out(
    console: Any, organization: Organization, age: CustomAttribute, make: Make
):
    attribute(organization, "Birthday", AttributeType.DATE)
    attribute(organization, "VIP", AttributeType.BOOLEAN)
    make(ALI, first_name="Ali")
    content = table(
        ["Mobile", "first name", "E-mail", "customer_age", "Birthday", "vip", "gender", "zip"],
        ["0500000001", "Changed", "", "", "", "", "", ""],
        [],
        ["12", "x" * 101, "no mail", "old", "2001-02-30", "perhaps", "x", "1" * 21],
        ["0500000002", "", "", "", "", "", "", ""],
        ["+966500000002", "Twice", "", "", "", "", "", ""],
        ["", "Nobody", "", "", "", "", "", ""],
        ["-", "", "", "", "", "", "", ""],
        ["0500000003", "a", "", "", "", "", "", "", "one too many"],
    )
    browser = console("operator")
    url = upload(browser, content)
    page = browser.get(url)
    assert totals(page) == (1, 1, 0, 5)
    assert wrong(page) == [
        ("4", "Mobile", "The number is too short."),
        ("4", "first name", "This has more than 100 characters."),
        ("4", "E-mail", "This is not an e-mail address."),
        ("4", "customer_age", "This must be a number."),
        ("4", "Birthday", "There is no such day."),
        ("4", "vip", "This must be yes or no."),
        ("4", "gender", "This must be male or female."),
        ("4", "zip", "This has more than 20 characters."),
        ("6", "Mobile", "The same number as in row 5: a contact can be in a file once."),
        ("7", "Mobile", "The number is empty."),
        ("8", "Mobile", "This is not a phone number in SA, nor with a country code."),
        ("9", "", "The row has more cells than the first row names: a value with a comma must be in quotes."),
    ]
    assert "Some rows are wrong, so nothing is imported yet" in page.text
    assert "Import only the 2 right rows" in page.text
    again = browser.post(url)  # without a word about the wrong ones: all or nothing
    assert totals(again) == (1, 1, 0, 5)
    assert [(each.first_name) for each in live(organization).values()] == ["Ali"]
    assert not LogEntry.objects.exists()
    answer = browser.post(url, {"rows": "right"}, follow=True)
    assert "1 new, 1 changed, 0 unchanged, 5 wrong and left out." in answer.text
    assert {phone: each.first_name for phone, each in live(organization).items()} == {ALI: "Changed", SARA: ""}


def test_nothing_to_import_has_no_button(console: Any, organization: Organization, make: Make):
    make(ALI, first_name="Ali")
    browser = console("operator")
    page = browser.get(upload(browser, table(["phone", "first_name"], ["0500000001", "Ali"])))
    assert "There is nothing to import" in page.text
    assert 'class="default"' not in page.text
    page = browser.get(upload(browser, table(["phone"], ["12"])))
    assert "Nothing of this file can be imported" in page.text
    assert 'class="default"' not in page.text


def test_only_the_first_rows_are_shown(console: Any, monkeypatch: Any):
    monkeypatch.setattr(resources, "ROWS_SHOWN", 2)
    rows = [[f"05000000{number:02}"] for number in range(5)] + [["12"]] * 4
    browser = console("operator")
    page = browser.get(upload(browser, table(["phone"], *rows)))
    assert totals(page) == (5, 0, 0, 4)
    assert 'And <bdi dir="ltr">3</bdi> more rows.' in page.text
    assert 'And <bdi dir="ltr">2</bdi> more rows.' in page.text


@pytest.mark.parametrize(
    ("content", "fields", "words"),
    [
        (b"", {}, "The file is empty; nothing was imported"),
        (b"phone,first_name\r\n", {}, "a first row and no other"),
        (b"name,city\r\nAli,Riyadh\r\n", {}, "no column is named phone"),
        (b"0501234567,Ali\r\n", {}, "no column is named phone"),
        (b"phone,Mobile\r\n1,2\r\n", {}, "Two columns hold the same, phone: “phone”, “Mobile”"),
        (b"%PDF-1.7 ", {}, "The file is a PDF, not a table; nothing was imported"),
        (bytes(range(256)) * 40, {}, "not a table"),
        (b"PK\x03\x04broken", {}, "The workbook is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), {}, "Excel 97-2003"),
        (b"phone,city\r\n0501234567," + b"x" * 1_000_001, {}, "characters"),
        (b'phone,city\r\n0501234567,"open\r\n0501234568,b', {}, "is not closed"),
        ("phone,city\r\n0501234567,الرياض".encode("cp1256"), {"encoding": "utf-8"}, "Nothing was imported"),
        (b"phone\r\n0501234567", {"encoding": "klingon"}, "Select a valid choice"),
        (b"phone\r\n0501234567", {"organization": Organization(pk="00000000-0000-4000-8000-000000000000")}, "valid"),
    ],
    ids=str,
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(console: Any, content: bytes, fields: Any, words: str):
    answer = console("operator").post(reverse(UPLOAD), form(content, **fields))
    assert answer.status_code == 200
    assert "errornote" in answer.text
    assert words in answer.text
    assert "nothing was sent" not in answer.text.lower()
    assert not Upload.objects.exists()


def test_no_file_at_all(console: Any):
    assert "This field is required" in console("operator").post(reverse(UPLOAD), {}).text


def test_files_have_limits(console: Any, monkeypatch: Any):
    monkeypatch.setattr(sheets, "MAX_ROWS", 2)
    rows = [[f"050000000{number}"] for number in range(3)]
    answer = console("operator").post(reverse(UPLOAD), form(table(["phone"], *rows)))
    assert "over 2 rows of contacts" in answer.text
    assert "Split it" in answer.text
    monkeypatch.setattr(sheets, "MAX_BYTES", 10)
    assert "over 10 bytes" in console("operator").post(reverse(UPLOAD), form(table(["phone"], *rows))).text
    large = form(b"x" * 200_000)
    assert "over 10 bytes" in console("operator").post(reverse(UPLOAD), large, follow=True).text
    assert not Upload.objects.exists()


def test_forms_from_elsewhere_are_refused(organization: Organization):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(factories.make_user(organization, is_staff=True), BACKEND)
    assert browser.post(reverse(UPLOAD), form(table(["phone"], ["0500000001"]))).status_code == 403
    assert browser.post(reverse("admin:contacts_contact_process_import")).status_code == 403
    assert not Upload.objects.exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1256"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_and_separators_are_found_out(
    console: Any, organization: Organization, encoding: str, separator: str
):
    rows = [["رقم الجوال", "الاسم الأول", "المدينة"], ["0500000001", "محمد عبد الله", "الرياض؛ حي النخيل"]]
    browser = console("operator")
    browser.post(upload(browser, table(*rows, encoding=encoding, separator=separator)))
    contact = live(organization)[ALI]
    assert (contact.first_name, contact.city) == ("محمد عبد الله", "الرياض؛ حي النخيل")


def test_names_of_columns_are_taken_as_people_write_them(console: Any, organization: Organization):
    for name in ("Number", "City", "Shoe Size"):
        attribute(organization, name, AttributeType.TEXT)
    header = [
        "primaryPhone", "FIRSTNAME", "Last name", "fullName", "primary_email", "ADDRESS", "المدينة",
        "State", "ZIP Code",
        "occupation", "Gender", "preferredChannel", "channels", "number", "customattributes.city", "shoe size",
    ]  # fmt: skip
    row = [
        "0500000001", "a", "b", "c", "d@example.com", "e", "f", "g", "h", "i", "أنثى", "sms", "sms, whatsapp", "j", "k",
        "l",
    ]  # fmt: skip
    browser = console("operator")
    page = browser.get(url := upload(browser, table(header, row)))
    assert not page.context["warnings"]
    browser.post(url)
    contact = live(organization)[ALI]
    values = {
        attributes.live(organization)[name].pk: text
        for name, text in (("number", "j"), ("city", "k"), ("shoe_size", "l"))
    }
    assert contact.attribute_values == {str(pk): text for pk, text in values.items()}
    names = "first_name last_name full_name primary_email address city state zip occupation gender preferred_channel"
    assert [getattr(contact, name) for name in names.split()] == [*"abc", "d@example.com", *"efghi", "female", "sms"]
    assert contact.channels == ["sms", "whatsapp"]


def test_a_workbook_is_read_as_it_shows(console: Any, organization: Organization, age: CustomAttribute):
    attribute(organization, "Birthday", AttributeType.DATE)
    attribute(organization, "VIP", AttributeType.BOOLEAN)
    content = book(
        ["phone", "customer_age", "Birthday", "VIP", "zip", "mine"],
        [966500000001, 44.5, date(2001, 2, 3), True, 12345, "#N/A"],
        [None, None, None, None, None, None],
        ["0500000002", -5, datetime(2001, 2, 3), "no", "01234", "=1+1"],
    )
    browser = console("operator")
    page = browser.get(url := upload(browser, content, name="contacts.xlsx"))
    assert wrong(page) == [], wrong(page)
    assert "Read as an Excel workbook" in page.text
    browser.post(url)
    known = {name: str(each.pk) for name, each in attributes.live(organization).items()}
    found = live(organization)
    assert found[ALI].attribute_values == {
        known["customer_age"]: 44.5,
        known["birthday"]: "2001-02-03",
        known["vip"]: True,
    }
    assert found[SARA].attribute_values == {
        known["customer_age"]: -5,
        known["birthday"]: "2001-02-03",
        known["vip"]: False,
    }
    assert (found[ALI].zip, found[SARA].zip) == ("12345", "01234")


def test_formulas_in_a_used_column_are_no_values(console: Any, age: CustomAttribute):
    browser = console("operator")
    page = browser.get(upload(browser, book(["phone", "customer_age"], ["0500000001", "=20+1"]), name="a.xlsx"))
    assert totals(page) == (0, 0, 0, 1)
    assert "formula without a stored value" in wrong(page)[0][2]


def test_numbers_that_a_spreadsheet_has_dressed_up(console: Any, organization: Organization):
    rows = [["'0500000001"], ['="0500000002"'], ["500000003.0"], ["'+966500000004"]]
    browser = console("operator")
    browser.post(upload(browser, table(["phone"], *rows)))
    assert set(live(organization)) == {ALI, SARA, OMAR, "+966500000004"}


def test_only_what_a_sheet_says_is_written(console: Any, organization: Organization, make: Make, age: CustomAttribute):
    """A program changes other fields of the same contacts between the preview and the yes."""
    contact = make(ALI, first_name="Ali", city="Riyadh", customer_age=44)
    browser = console("operator")
    url = upload(browser, table(["phone", "first_name", "customer_age"], ["0500000001", "Changed", ""]))
    browser.get(url)
    services.change(contact=contact, fields={"city": "Jeddah", "attribute_values": {str(age.pk): 45}})
    browser.post(url)
    contact = live(organization)[ALI]
    assert (contact.first_name, contact.city, contact.attribute_values) == ("Changed", "Jeddah", {str(age.pk): 45})


def test_deleted_contacts_and_those_of_others_are_not_matched(
    console: Any, organization: Organization, other_organization: Organization, make: Make
):
    deleted, theirs = make(ALI, first_name="Old"), make(ALI, other_organization, first_name="Theirs")
    services.delete(contact=deleted)
    browser = console("operator")
    url = upload(browser, table(["phone", "first_name"], ["0500000001", "New"]))
    assert totals(browser.get(url)) == (1, 0, 0, 0)
    browser.post(url)
    deleted.refresh_from_db()
    theirs.refresh_from_db()
    assert (deleted.first_name, theirs.first_name, live(organization)[ALI].first_name) == ("Old", "Theirs", "New")


def test_a_fault_of_ours_is_none_of_the_file(console: Any, organization: Organization, monkeypatch: Any):
    browser = console("operator")
    url = upload(browser, table(["phone", "city"], ["0500000001", "Riyadh"], ["0500000002", "Riyadh"]))
    with monkeypatch.context() as patch:
        patch.setattr(services, "upsert", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            browser.post(url)
    with monkeypatch.context() as patch:
        patch.setattr(resources.cells, "value_in", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            browser.get(url)
    assert not Contact.objects.exists()
    browser.post(url)  # the file is still there
    assert len(live(organization)) == 2


def test_many_rows_cost_few_questions(console: Any, organization: Organization, django_assert_max_num_queries: Any):
    rows = [[f"05{number:08}", f"Name {number}"] for number in range(1100)]
    browser = console("operator")
    url = upload(browser, table(["phone", "first_name"], *rows))
    with django_assert_max_num_queries(30):
        assert totals(browser.get(url)) == (1100, 0, 0, 0)
    if connection.vendor == "postgresql":
        with django_assert_max_num_queries(60):
            browser.post(url)
    else:
        browser.post(url)
    assert len(live(organization)) == 1100


# --- export ---


def download(browser: Client, format: str, query: str = "") -> tuple[Any, bytes]:
    answer: Any = browser.post(f"{reverse(EXPORT)}?{query}", {"format": format})
    assert answer.status_code == 200, answer.headers
    return answer, b"".join(answer.streaming_content)


def rows_of(content: bytes, format: str) -> list[list[Any]]:
    if format == "csv":
        assert content.startswith(b"\xef\xbb\xbf")
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    return [["" if value is None else value for value in row] for row in sheet.values]


ODD_TEXTS = [
    "-5", "=1+1", "-", "+", "@SUM(A1)", "\tTab", "\rReturn", "'quoted", "'=1+1", "''-5", "'-", "a,b;c\td", 'say "hi"',
    "two\nlines", "two\r\nlines", "محمد, “الرياض”",
    " spaces ", "\u200f+966", "_x000D_", "_x0041_", "<b>&amp;</b>", "é\u0301",
    "0501234567", "1e5", "00012", "true", "😀", "\x01\x1f", "=", "'", "--", "- ",
]  # fmt: skip


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_an_export_that_is_imported_again_changes_nothing(
    console: Any, organization: Organization, make: Make, age: CustomAttribute, format: str
):
    note = attribute(organization, "Note", AttributeType.TEXT)
    attribute(organization, "City", AttributeType.TEXT)  # named like a field
    attribute(organization, "Name", AttributeType.TEXT)  # named like what people call one
    attribute(organization, "VIP", AttributeType.BOOLEAN)
    attribute(organization, "Born", AttributeType.DATE)
    attribute(organization, "Site", AttributeType.URL)
    attribute(organization, "Second Phone", AttributeType.PHONE_NUMBER)
    numbers = [-5, 0, 1.5, 1e-10, 0.1 + 0.2, 123456789012345, -0.0, 1e14]
    for number, text in enumerate(ODD_TEXTS):
        make(
            f"+96650000{number:04}", first_name=text, city=text, note=text, name=text, vip=number % 2 == 0,
            customer_age=numbers[number % len(numbers)], channels=["sms", "a,b"] if number % 3 else [],
            born="2001-02-03", site="https://example.com/?a=1&b=-2", second_phone=SARA, gender="male",
        )  # fmt: skip
    make("+966510000000", note="")
    before = {each.pk: vars(each) for each in Contact.objects.all()}
    browser = console("operator")
    answer, content = download(browser, format)
    assert answer["Content-Disposition"].endswith(f'.{format}"')
    header, *rows = rows_of(content, format)
    assert header[:4] == ["phone", "first_name", "last_name", "full_name"]
    assert header[-8:] == [
        "customer_age",
        "note",
        "customAttributes.city",
        "name",
        "vip",
        "born",
        "site",
        "second_phone",
    ]
    assert len(rows) == len(ODD_TEXTS) + 1
    for row in rows:
        for cell in row:
            assert not str(cell).startswith(("=", "+", "@", "\t", "\r")), cell
            assert not (isinstance(cell, str) and cell.startswith("-")), cell
        assert row[0].startswith("'+966")
    page = browser.get(url := upload(browser, content, name=f"contacts.{format}"))
    assert not page.context["warnings"]
    assert totals(page) == (0, 0, len(ODD_TEXTS) + 1, 0), (wrong(page), page.context["changes"])
    browser.post(url)
    assert {each.pk: vars(each) for each in Contact.objects.all()}.keys() == before.keys()
    for each in Contact.objects.all():
        after, then = vars(each), before[each.pk]
        assert {name: after[name] for name in after if name != "_state"} == {
            name: then[name] for name in then if name != "_state"
        }
    # Into an empty organization it makes the same contacts, without spaces at the ends.
    services.delete_all(contacts=Contact.objects.all())
    page = browser.get(url := upload(browser, content, name=f"contacts.{format}"))
    assert totals(page) == (len(ODD_TEXTS) + 1, 0, 0, 0), wrong(page)
    browser.post(url)
    made = live(organization)
    for number, text in enumerate(ODD_TEXTS):
        contact = made[f"+96650000{number:04}"]
        assert contact.first_name == text.strip()
        assert contact.attribute_values[str(note.pk)] == text.strip()
        assert contact.attribute_values[str(age.pk)] == numbers[number % len(numbers)]


def test_an_export_has_what_the_list_shows(
    console: Any, organization: Organization, other_organization: Organization, make: Make
):
    make(ALI, first_name="Ali", gender="male")
    make(SARA, first_name="Sara", gender="female")
    make(OMAR, other_organization, first_name="Omar", gender="male")
    deleted = make("+966500000009", first_name="Deleted", gender="male")
    services.delete(contact=deleted)
    for query, found in {"": [SARA, ALI], "gender__exact=male": [ALI], "q=sara": [SARA], "q=omar": []}.items():
        browser = console("viewer")
        page = browser.get(f"{reverse(EXPORT)}?{query}")
        assert page.context["count"] == len(found)
        _, content = download(browser, "csv", query)
        assert [row[0] for row in rows_of(content, "csv")[1:]] == [f"'{phone}" for phone in found], query
    browser = console("superuser")
    assert "For the organization" in browser.get(f"{reverse(EXPORT)}?gender__exact=male").text
    _, content = download(browser, "csv", f"organization={other_organization.pk}&gender__exact=male")
    assert [row[0] for row in rows_of(content, "csv")[1:]] == [f"'{OMAR}"]
    assert browser.get(f"{reverse(EXPORT)}?organization=x").status_code == 404
    stranger = console("stranger")
    assert stranger.get(f"{reverse(EXPORT)}?organization={organization.pk}").status_code == 404
    _, content = download(stranger, "csv")
    assert [row[0] for row in rows_of(content, "csv")[1:]] == [f"'{OMAR}"]
    assert console("loner").get(reverse(EXPORT)).status_code == 403
    said = [(entry.object_repr, in_words(entry)) for entry in LogEntry.objects.order_by("pk")]
    assert said[0] == ("Acme", "Contacts exported as CSV: 2.")
    assert ("Stranger", "Contacts exported as CSV: 1.") in said


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_an_export_reads_in_pieces_and_says_when_it_is_cut(
    console: Any, organization: Organization, make: Make, monkeypatch: Any, format: str
):
    monkeypatch.setattr(resources, "_LOADED", 2)
    services.upsert(  # all of one moment
        organization=organization, rows=[{"primary_phone": f"+96650000001{number}"} for number in range(6)]
    )
    for number in range(3):
        make(f"+96650000002{number}")
    browser = console("operator")
    _, content = download(browser, format)
    phones = [row[0] for row in rows_of(content, format)[1:]]
    ordered = Contact.objects.order_by("-created_at", "-pk").values_list("primary_phone", flat=True)
    assert phones == [f"'{phone}" for phone in ordered]
    for module in (resources, sheets_admin):
        monkeypatch.setattr(module, "MAX_EXPORTED", 5)
    assert "Not all of them fit" in browser.get(reverse(EXPORT)).text
    answer, content = download(browser, format)
    assert "first-5" in answer["Content-Disposition"]
    assert [row[0] for row in rows_of(content, format)[1:]] == phones[:5]
    assert in_words(LogEntry.objects.latest("pk")).endswith("of more; the rest did not fit.")


def test_an_export_has_no_other_form(console: Any, make: Make):
    page = console("operator").post(reverse(EXPORT), {"format": "exe"})
    assert "Select a valid choice" in page.text
    assert not LogEntry.objects.exists()
