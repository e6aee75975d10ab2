"""Sheets of contacts in the console: import with its preview, export, and one after the other."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

import openpyxl
import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from contacts import attributes, resources, services, sheets
from contacts.admin import sheets as sheets_admin
from contacts.models import AttributeType, Contact, CustomAttribute
from linkit.models import Organization, User
from outbox.bulk import uploads
from outbox.bulk.models import Upload, UploadChunk
from tests import factories
from tests.console.conftest import BACKEND

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
        return services.create(organization=owner, fields={"primary_phone": phone, **given, "attribute_values": values})

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
        workbook.active.append(list(row))
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
    assert "mhmd" not in found[OMAR].search_text
    entry = LogEntry.objects.latest("pk")
    assert entry.object_repr == "Acme"
    assert entry.change_message == "Imported contacts from contacts.csv: 1 new, 1 changed, 1 unchanged."
    assert not Upload.objects.exists()
